//! Another client of a broker, which receives the agent's messages.

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, Publish, QoS};
use tokio::sync::mpsc;

use super::soon;
use print_release_agent::status::mqtt::PACKET_LIMIT;

/// A client that has subscribed to a filter and can publish.
pub struct Peer {
    client: AsyncClient,
    messages: mpsc::UnboundedReceiver<Publish>,
}

impl Peer {
    pub async fn subscribed(port: u16, filter: &str) -> Self {
        let mut options = MqttOptions::new(format!("peer {filter}"), "127.0.0.1", port);
        options.set_max_packet_size(PACKET_LIMIT * 2, PACKET_LIMIT * 2);
        let (client, mut events) = AsyncClient::new(options, 10);
        let (sender, messages) = mpsc::unbounded_channel();
        let (ready, mut subscribed) = mpsc::channel(1);
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::Publish(message)) => drop(sender.send(message)),
                    Event::Incoming(Packet::SubAck(_)) => ready.send(()).await.unwrap(),
                    _ => {}
                }
            }
        });
        soon(subscribed.recv()).await.unwrap();
        Self { client, messages }
    }

    /// Waits for the next message.
    pub async fn message(&mut self) -> Publish {
        soon(self.messages.recv()).await.expect("the broker runs")
    }

    /// Waits for the next message and gives its payload.
    pub async fn payload(&mut self) -> String {
        String::from_utf8(self.message().await.payload.to_vec()).unwrap()
    }

    pub async fn publish(&self, topic: &str, retain: bool, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await.unwrap();
    }
}

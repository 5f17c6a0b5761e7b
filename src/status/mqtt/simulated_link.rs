//! A link to the simulated world's broker, in place of the real one. It takes from the publish queue what is due and brings
//! acknowledgements back, and it knows nothing of packets.

use std::time::Duration;

use tokio::time::{self, Instant};

use super::publish_queue::{MessageKind, Publication};
use super::{BrokerSettings, SharedState};
use crate::simulate;

/// The reason why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Gone(&'static str),
    /// Nobody in the world sends such a message.
    #[expect(dead_code, reason = "the real link has it, and its owner matches on it")]
    #[error("a message of {0} bytes")]
    TooLarge(usize),
}

/// The end of a link.
pub(super) enum LinkEnd {
    Stopped,
    Lost { error: LinkError, lived: Duration },
}

/// Publishes what is due while the broker is there.
pub(super) async fn run(settings: &BrokerSettings, shared: &SharedState, _: bool) -> LinkEnd {
    if !simulate::reach_broker(&settings.host).await {
        return LinkEnd::Lost { error: LinkError::Gone("no broker"), lived: Duration::ZERO };
    }
    let welcomed = Instant::now();
    shared.connected();
    loop {
        let due = shared.queue().take_due();
        let stopping = *shared.stop.borrow();
        match due {
            Some(Publication { kind, topic, payload }) => {
                let event = if let MessageKind::Event(id) = kind { Some(id) } else { None };
                if !simulate::publish(&settings.host, event, &topic, &payload).await {
                    return LinkEnd::Lost { error: LinkError::Gone("cut"), lived: welcomed.elapsed() };
                }
                if let Some(id) = event {
                    shared.acknowledged(id);
                }
            }
            None if stopping => return LinkEnd::Stopped,
            None => tokio::select! {
                biased;
                () = shared.work.notified() => {}
                () = shared.stopped() => {}
                () = time::sleep(simulate::LINK_CHECK) => {
                    if !simulate::reach_broker(&settings.host).await {
                        return LinkEnd::Lost { error: LinkError::Gone("silent"), lived: welcomed.elapsed() };
                    }
                }
            },
        }
    }
}

/// Only the command `check` asks, and there is none in the world.
pub(super) async fn probe(_: &BrokerSettings) -> Result<(), LinkError> {
    Err(LinkError::Gone("no broker"))
}

//! From the checked configuration to the parts of the agent.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use ring::hmac;

use crate::agent::{self, Login, MqttSetup, OutboxSetup, Parts, StationSetup};
use crate::clock::{Clock, Sequence};
use crate::config::{self, Config, LoginMethod, OutputPortType, Record, Transport};
use crate::domain::{OutputPort, ReleaseOptions};
use crate::durable;
use crate::journal::Journal;
use crate::lamp::Lamps;
use crate::print_server::device::{DeviceSetup, Keeper};
use crate::print_server::{Client, Settings, SetupError};
use crate::random;
use crate::reader::{self, Reader};
use crate::station::Policy;
use crate::status::Board;
use crate::status::mqtt::{self, Mqtt};
use crate::status::topics::Topics;
use crate::tls::{self, TlsError, Trust};

/// The key of this box, for hashes that nobody else can make; in the state directory.
const KEY_FILE: &str = "key";

/// A client of the server that the configuration names.
pub(super) fn client(config: &Config) -> Result<Client, SetupError> {
    let server = &config.server;
    Client::new(Settings {
        url: server.url.clone(),
        oauth_url: server.oauth_url.clone(),
        api_key: server.api_key.clone(),
        device_token: server.device_token.clone(),
        trust: trust(&server.tls, &server.pins, config),
        proxy: server.proxy.clone(),
        connect_timeout: server.connect_timeout,
        request_timeout: server.request_timeout,
        history_datetime: server.history_datetime,
    })
}

/// Who this box is at the server.
pub(super) fn device(config: &Config) -> DeviceSetup {
    DeviceSetup { client_id: config.server.device.client_id.clone(), state_dir: config.agent.state_dir.clone() }
}

/// The reader of a station.
pub(super) fn reader(station: &config::Station) -> anyhow::Result<Reader> {
    let config::Reader { transport, profile, .. } = &station.reader;
    let path = |device: &Path| device.display().to_string();
    let transport = match transport {
        Transport::Serial { device, baud } => reader::ReaderTransport::Serial { device: path(device), baud: *baud },
        Transport::Hid { device } => reader::ReaderTransport::Hid { device: path(device) },
        Transport::TcpListen(address) => reader::ReaderTransport::TcpListen(*address),
        Transport::TcpConnect(endpoint) => {
            reader::ReaderTransport::TcpConnect { host: endpoint.host.clone(), port: endpoint.port }
        }
        Transport::Http(address) => {
            reader::ReaderTransport::Http { listen: *address, mac: station.printer.mac.clone() }
        }
        #[cfg(feature = "pcsc")]
        Transport::Pcsc(name) => reader::ReaderTransport::Pcsc(name.clone()),
        // The configuration refuses it.
        #[cfg(not(feature = "pcsc"))]
        Transport::Pcsc(_) => anyhow::bail!("open the reader of {}: this program has no pcsc", station.name),
    };
    Ok(Reader::new(transport, profile.clone(), station.feedback.reader))
}

/// How to reach the broker. To be called inside the runtime only with [`Mqtt::spawn`].
pub(super) fn broker(config: &Config, mqtt: &config::Mqtt) -> Result<(mqtt::Settings, Topics), TlsError> {
    let agent = &config.agent.id;
    let topics = Topics::new(&mqtt.topic, agent, mqtt.discovery.as_deref().unwrap_or_default());
    let tls = if mqtt.broker.tls { Some(Arc::new(tls::client_config(&trust(&mqtt.tls, &[], config))?)) } else { None };
    let settings = mqtt::Settings {
        host: mqtt.broker.endpoint.host.clone(),
        port: mqtt.broker.endpoint.port,
        tls,
        username: mqtt.username.clone(),
        password: mqtt.password.clone(),
        client_id: format!("print-release-{agent}"),
        availability: topics.availability(),
        discovery_status: topics.discovery_status(),
    };
    Ok((settings, topics))
}

/// Everything that runs; `before` is what was told until the configuration was read again. To be called inside the runtime.
pub(super) fn parts(
    config: &Config,
    client: Client,
    journal: Journal,
    sequence: Arc<Sequence>,
    before: Option<&Board>,
) -> anyhow::Result<Parts> {
    let stations = config.stations.iter().map(station).collect::<anyhow::Result<Vec<_>>>()?;
    let names = stations.iter().map(|setup| setup.policy.name.clone());
    let board = match before {
        None => Board::new(&config.agent.id, names, Timestamp::now()),
        Some(before) => before.reloaded(&config.agent.id, names),
    };
    let clock = Clock::open(&config.agent.state_dir);
    board.update(|state| state.time_floor = clock.floor());
    let mqtt = match &config.mqtt {
        None => None,
        Some(mqtt) => {
            let (settings, topics) = broker(config, mqtt)?;
            board.update(|state| state.mqtt = Some(false));
            let (mqtt, notices) = Mqtt::spawn(settings);
            Some(MqttSetup { mqtt, notices, topics })
        }
    };
    let users = match config.mqtt.as_ref().map_or(config::UserNames::Hash, |mqtt| mqtt.users) {
        config::UserNames::Plain => agent::UserNames::Plain,
        config::UserNames::Omit => agent::UserNames::Omit,
        config::UserNames::Hash => agent::UserNames::Hash(box_key(&config.agent.state_dir)),
    };
    let outbox = OutboxSetup {
        in_doubt: config.outbox.in_doubt,
        retry_min: config.outbox.retry_min,
        retry_max: config.outbox.retry_max,
        datetime: config.server.history_datetime,
    };
    let device = match config.server.device.register {
        true => Some(Keeper::open(&client, &device(config))?),
        false => None,
    };
    Ok(Parts { stations, client, device, clock, journal, board, sequence, users, outbox, mqtt })
}

fn station(station: &config::Station) -> anyhow::Result<StationSetup> {
    let release = &station.release;
    let policy = Policy {
        name: station.name.as_str().into(),
        convert: station.reader.convert.clone(),
        debounce: station.reader.debounce,
        select: release.select,
        limit: release.limit.into(),
        parallel: release.parallel.into(),
        options: ReleaseOptions {
            copies: release.copies.map(|copies| u16::from(copies).into()),
            grayscale: release.grayscale,
            duplex: release.duplex,
            retain: release.retain,
        },
        hold: station.offline == config::Offline::Hold,
        deadline: release.deadline,
        // Every release goes through the server so far: nothing is downloaded.
        record: release.record == Record::Always,
        port: output_port(&station.printer),
    };
    let login = match station.login {
        LoginMethod::Card | LoginMethod::CardAndPin => Login::Card,
        LoginMethod::ShortId => Login::ShortId,
    };
    let config::Feedback { led_green, led_red, .. } = &station.feedback;
    let lamps = Lamps { green: led_green.clone(), red: led_red.clone() };
    Ok(StationSetup { policy, login, reader: reader(station)?, lamps })
}

/// An IP address, or a name with dots, is an address; anything else is a serial number.
fn output_port(printer: &config::Printer) -> OutputPort {
    let port = printer.output_port.clone();
    let is_address = match printer.output_port_type {
        OutputPortType::Address => true,
        OutputPortType::Serial => false,
        OutputPortType::Auto => port.parse::<IpAddr>().is_ok() || port.contains('.'),
    };
    if is_address { OutputPort::Address(port) } else { OutputPort::Serial(port) }
}

fn trust(tls: &config::Tls, pins: &[config::Pin], config: &Config) -> Trust {
    let client = tls.identity.as_ref().map(|identity| (identity.certificate.clone(), identity.key.clone()));
    Trust { ca: tls.ca.clone(), client, pins: pins.to_vec(), floor: Clock::open(&config.agent.state_dir).floor() }
}

/// Reads the key of this box, or makes it once. Where it cannot be written, such as on a full disk, it serves until the
/// program ends: people keep printing.
fn box_key(state_dir: &Path) -> hmac::Key {
    let path = state_dir.join(KEY_FILE);
    let key = match std::fs::read(&path) {
        Ok(key) if key.len() == 32 => key,
        _ => {
            let key = [random::bits().to_le_bytes(), random::bits().to_le_bytes()].concat();
            if let Err(error) = durable::write(&path, &key) {
                tracing::warn!(%error, "{} not written: the next run hashes user names with another key", path.display());
            }
            key
        }
    };
    hmac::Key::new(hmac::HMAC_SHA256, &key)
}

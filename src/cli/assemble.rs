//! Builds the parts of the agent from the checked configuration.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use ring::hmac;

use crate::agent::{self, Login, MqttSetup, OutboxSetup, Parts, StationSetup};
use crate::clock::{Clock, Sequence};
use crate::config::{self, Config, LoginMethod, OutputPortType, RecordPolicy, Transport};
use crate::domain::{OutputPort, ReleaseOptions};
use crate::durable;
use crate::journal::Journal;
use crate::lamp::Lamps;
use crate::machine;
use crate::print_server::device::{DeviceError, DeviceSetup, Keeper, Standing, remembered};
use crate::print_server::{Client, ClientSettings, SetupError};
use crate::random;
use crate::reader::{self, Reader};
use crate::station::Policy;
use crate::status::Board;
use crate::status::mqtt::{self, MqttClient};
use crate::status::topics::Topics;
use crate::tls::{self, TlsError, Trust};

/// The file in the state directory with the key of this box, for hashes that nobody else can make.
const KEY_FILE: &str = "key";

/// Builds the client of the server that the configuration names.
pub(super) fn client(config: &Config) -> Result<Client, SetupError> {
    let server = &config.server;
    Client::new(ClientSettings {
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

/// The name of this box at the server, and the place of its credentials.
pub(super) fn device(config: &Config) -> DeviceSetup {
    DeviceSetup { client_id: config.server.device.client_id.clone(), state_dir: config.agent.state_dir.clone() }
}

/// Builds the reader of a station.
pub(super) fn reader(station: &config::StationConfig) -> anyhow::Result<Reader> {
    let config::ReaderConfig { transport, profile, .. } = &station.reader;
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
        // The configuration of a program without pcsc refuses this type already.
        #[cfg(not(feature = "pcsc"))]
        Transport::Pcsc(_) => anyhow::bail!("open the reader of {}: this program has no pcsc", station.name),
    };
    Ok(Reader::new(transport, profile.clone(), station.feedback.reader))
}

/// The settings of the broker's link and the topics. It may be called outside the runtime; [`MqttClient::spawn`] may not.
pub(super) fn broker(config: &Config, mqtt: &config::MqttConfig) -> Result<(mqtt::BrokerSettings, Topics), TlsError> {
    let agent = &config.agent.id;
    let topics = Topics::new(&mqtt.topic, agent, mqtt.discovery.as_deref().unwrap_or_default());
    let tls = if mqtt.broker.tls { Some(Arc::new(tls::client_config(&trust(&mqtt.tls, &[], config))?)) } else { None };
    let settings = mqtt::BrokerSettings {
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

/// Builds everything that runs, inside the runtime. `before` is the board that a reload replaces.
pub(super) fn parts(
    config: &Config,
    client: Client,
    journal: Journal,
    sequence: Arc<Sequence>,
    before: Option<&Board>,
) -> anyhow::Result<Parts> {
    let stations = config.stations.iter().map(|it| station(it, config)).collect::<anyhow::Result<Vec<_>>>()?;
    let names = stations.iter().map(|setup| setup.policy.name.clone());
    let board = match before {
        None => Board::new(&config.agent.id, names, Timestamp::now()),
        Some(before) => before.reloaded(&config.agent.id, names),
    };
    let clock = Clock::open(&config.agent.state_dir);
    let other_machine = machine::set_aside(&config.agent.state_dir).len() as u64;
    board.update(|state| (state.time_floor, state.other_machine) = (clock.floor(), other_machine));
    let mqtt = match &config.mqtt {
        None => None,
        Some(mqtt) => {
            let (settings, topics) = broker(config, mqtt)?;
            board.update(|state| state.mqtt = Some(false));
            let (mqtt, notices) = MqttClient::spawn(settings);
            Some(MqttSetup { mqtt, notices, topics })
        }
    };
    let users = match config.mqtt.as_ref().map_or(config::UserNamePolicy::Hash, |mqtt| mqtt.users) {
        config::UserNamePolicy::Plain => agent::UserNames::Plain,
        config::UserNamePolicy::Omit => agent::UserNames::Omit,
        config::UserNamePolicy::Hash => agent::UserNames::Hash(box_key(&config.agent.state_dir)),
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

/// The way in which the cards of a station log in.
pub(super) fn login(station: &config::StationConfig) -> Login {
    match station.login {
        LoginMethod::Card | LoginMethod::CardAndPin => Login::Card,
        LoginMethod::ShortId => Login::ShortId,
    }
}

/// Gives the client of a command the device token that the agent keeps, if it keeps one.
pub(super) fn remembered_token(config: &Config, client: &Client) -> Result<(), DeviceError> {
    let setup = device(config);
    // Anything but a token that is there already would be made here.
    if !config.server.device.register || remembered(client, &setup)? != Standing::Trusted {
        return Ok(());
    }
    Keeper::open(client, &setup).map(drop)
}

fn station(station: &config::StationConfig, config: &Config) -> anyhow::Result<StationSetup> {
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
        hold: station.offline == config::OfflinePolicy::Hold,
        deadline: release.deadline,
        // So far every release goes through the server, so `downloaded` asks for no record.
        record: release.record == RecordPolicy::Always,
        tag: config.outbox.tag,
        port: output_port(&station.printer),
    };
    let login = login(station);
    let config::FeedbackConfig { led_green, led_red, .. } = &station.feedback;
    let lamps = Lamps { green: led_green.clone(), red: led_red.clone() };
    Ok(StationSetup { policy, login, reader: reader(station)?, lamps })
}

/// Decides whether `auto` is an address: an IP address or a name with dots is one, anything else is a serial number.
fn output_port(printer: &config::PrinterConfig) -> OutputPort {
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
    Trust { ca: tls.ca.clone(), client, pins: pins.to_vec(), floor: Clock::open(&config.agent.state_dir).proofs() }
}

/// Reads the key of this box, or makes it once. If it cannot be written, as on a full disk, the new key serves until the
/// program ends, so that people keep printing.
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

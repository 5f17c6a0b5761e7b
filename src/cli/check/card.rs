//! `check --card`: one card goes the whole way but the release, and each step is a line.

use std::time::Duration;

use super::CheckResult;
use crate::agent::Login;
use crate::cli::{Exit, assemble, readers};
use crate::config::{Config, StationConfig};
use crate::domain::{CardNumber, DocumentStatus, Failure, Reason, Secret};
use crate::print_server::{Credential, OutputPortInfo, Session};

/// The longest wait for a card.
const PATIENCE: Duration = Duration::from_secs(120);

/// The lines for a card at the station `name`, which may be empty where there is one station only.
pub(super) async fn check_card(config: &Config, name: &str, is_running: bool) -> Vec<CheckResult> {
    let station = match readers::pick(config, Some(name).filter(|name| !name.is_empty())) {
        Ok(station) => station,
        Err(error) => return vec![CheckResult::new("card", Err(format!("{error:#}")), Exit::Usage)],
    };
    if is_running {
        let why = "the running agent would release what waits; stop it first (systemctl stop print-release-agent)";
        return vec![CheckResult::new("card", Err(why.to_owned()), Exit::Unavailable)];
    }
    match read(station).await {
        Ok(number) => {
            let mut lines = vec![CheckResult::new("card", Ok("read and converted".to_owned()), Exit::Done)];
            lines.extend(go_the_way(config, station, number).await);
            lines
        }
        Err(why) => vec![CheckResult::new("card", Err(why), Exit::Unavailable)],
    }
}

async fn read(station: &StationConfig) -> Result<CardNumber, String> {
    let reader = assemble::reader(station).map_err(|error| format!("{error:#}"))?;
    say_error!("hold a card to the reader of {}", station.name);
    let read = match tokio::time::timeout(PATIENCE, readers::next_card(reader)).await {
        Ok(read) => read.map_err(|error| format!("{error:#}"))?,
        Err(_) => {
            return Err(format!(
                "no card came within {} seconds; `readers watch` shows the reader",
                PATIENCE.as_secs()
            ));
        }
    };
    let number = match &station.reader.convert {
        None => read,
        Some(convert) => {
            let why = |error| format!("the conversion does not fit this read: {error}; `readers learn` finds one");
            convert.apply(&read).map_err(why)?
        }
    };
    Ok(CardNumber(Secret::new(number)))
}

async fn go_the_way(config: &Config, station: &StationConfig, number: CardNumber) -> Vec<CheckResult> {
    let client = match assemble::client(config) {
        Ok(client) => client,
        Err(error) => return vec![CheckResult::new("login", Err(error.to_string()), Exit::Usage)],
    };
    if let Err(error) = assemble::remembered_token(config, &client) {
        return vec![CheckResult::new("login", Err(error.to_string()), Exit::Disk)];
    }
    let credential = match assemble::login(station) {
        Login::Card => Credential::Card { card: number, pin: None },
        Login::ShortId => Credential::ShortId(number),
    };
    let session = match client.login(&credential).await {
        Ok(session) => session,
        Err(failure) => return vec![CheckResult::new("login", Err(refusal(&failure)), Exit::Unavailable)],
    };
    let mut lines = vec![CheckResult::new(
        "login",
        Ok("the server knows the card, and accepts the API key".to_owned()),
        Exit::Done,
    )];
    lines.push(CheckResult::new("list", list(&session).await, Exit::Unavailable));
    lines.push(port(&session, &station.printer.output_port).await);
    let has_device = config.server.device_token.is_some() || config.server.device.register;
    lines.push(match has_device {
        true => CheckResult::new("job records", Ok("go with the device's token".to_owned()), Exit::Done),
        false => CheckResult::untried(
            "job records",
            "without a device's token the server takes none in the name of this box; use `[server.device] register = true`",
        ),
    });
    lines
}

/// The words of docs/operating.md, "Reasons", with the story of the failure.
fn refusal(failure: &Failure) -> String {
    let reason = Reason::from(failure.cause);
    let advice = match reason {
        Reason::LoginRefused => {
            "the card is unknown or the API key is wrong; `readers learn` finds the conversion, the server's page has the key"
        }
        Reason::UnknownCard => "`readers learn` finds the conversion",
        Reason::DeviceNotTrusted => "this box has to be a trusted device; see `enroll`",
        Reason::NotPermitted => "the person needs the permissions ViewJob and ReleaseJob",
        _ => "docs/operating.md, \"Reasons\" says what helps",
    };
    format!("{reason}: {}; {advice}", failure.detail)
}

async fn list(session: &Session) -> Result<String, String> {
    let documents = session.documents().await.map_err(|failure| refusal(&failure))?;
    let ready = documents.iter().filter(|document| document.status == DocumentStatus::Ready).count();
    Ok(format!("{ready} documents wait (ViewJob); none was released"))
}

/// A person may lack the right to see the ports and print all the same.
async fn port(session: &Session, output_port: &str) -> CheckResult {
    let ports = match session.output_ports().await {
        Ok(ports) => ports,
        Err(failure) => {
            let why = format!("the ports may not be listed ({}); ViewOutputPort would tell", failure.detail);
            return CheckResult::untried("output port", &why);
        }
    };
    let is_it = |port: &OutputPortInfo| {
        [&port.address, &port.device_serial].into_iter().flatten().any(|name| name == output_port)
    };
    let result = match ports.iter().find(|port| is_it(port)) {
        Some(port) => Ok(format!("the server knows it as \"{}\"", port.name)),
        None => Err(format!(
            "no port of the server has output_port \"{output_port}\" as its address or serial number; correct it in [station.printer], or there"
        )),
    };
    CheckResult::new("output port", result, Exit::Unavailable)
}

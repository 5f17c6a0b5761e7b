//! The checks of the print server: address, certificate, API key, token service, history, device.

use reqwest::Url;
use serde_json::Value;

use super::CheckResult;
use crate::cli::{Exit, assemble};
use crate::config::Config;
use crate::domain::{Cause, Failure, Reason};
use crate::print_server::device::{self, Standing};
use crate::print_server::{Client, KeyTrial};

/// The name of the check in the output.
const TOKEN_SERVICE: &str = "token service";

pub(super) async fn check_server(config: &Config, running: Option<&Value>, with_card: bool) -> Vec<CheckResult> {
    let client = match assemble::client(config) {
        Ok(client) => client,
        Err(error) => return vec![CheckResult::new("server", Err(error.to_string()), Exit::Usage)],
    };
    let address = address(&config.server.url);
    let account = client.account().await;
    let there = account.is_ok();
    let account = account.map(|()| format!("{address} answers, the account is there"));
    let mut lines =
        vec![CheckResult::new("server", account.map_err(|why| no_account(&address, &why)), Exit::Unavailable)];
    if there {
        let oauth = client.token_service().await;
        lines.push(check_key(&client, oauth.as_ref().ok()).await);
        lines.push(check_token_service(config, oauth));
        lines.push(check_history(&client).await);
    }
    let is_away = lines.iter().any(|line| line.what == TOKEN_SERVICE && line.result.is_err());
    lines.extend(match is_away {
        // One mistake is told once.
        true => Some(CheckResult::untried("device", "not asked: the token service does not answer")),
        false => check_device(config, &client, running),
    });
    if there && !with_card {
        let why = "ViewJob (list) and ReleaseJob (release); `check --card` tries the first with a card";
        lines.push(CheckResult::untried("rights of the person", why));
    }
    lines
}

fn address(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

fn no_account(address: &str, failure: &Failure) -> String {
    match failure.cause {
        Cause::NotFound => format!(
            "{address}: the server answers, and has no account of this host name; write the host of the account into `url`"
        ),
        _ => format!("{address}: {}", failure.detail),
    }
}

async fn check_key(client: &Client, oauth: Option<&Url>) -> CheckResult {
    let advice =
        "write the key of this account into the file that `api_key_file` names, and see its date and options there";
    let result = match client.try_key(oauth).await {
        Ok(KeyTrial::Accepted(Some(version))) => Ok(format!("accepted, server version {version}")),
        Ok(KeyTrial::Accepted(None)) => Ok("accepted".to_owned()),
        Ok(KeyTrial::Refused(failure)) => {
            let reason = Reason::from(failure.cause);
            let advice = match reason {
                Reason::AddressNotAllowed => "add this box's address to \"Allowed IPs\" of the key at the server",
                _ => advice,
            };
            Err(format!("{reason}: {}; {advice}", failure.detail))
        }
        Ok(KeyTrial::Undecided) => {
            let why =
                "this server answers a wrong key as it answers an unknown card; `check --card` tries it with a card";
            return CheckResult::untried("API key", why);
        }
        Err(failure) => Err(format!("not tried: {}", failure.detail)),
    };
    CheckResult::new("API key", result, Exit::Unavailable)
}

/// A box that registers itself cannot do without it. Otherwise only the refresh of a login needs it, and older servers have none.
fn check_token_service(config: &Config, found: Result<Url, Failure>) -> CheckResult {
    let asked = &config.server.oauth_url;
    match found {
        Ok(url) if url == *asked => {
            CheckResult::new(TOKEN_SERVICE, Ok(format!("{} answers", address(&url))), Exit::Done)
        }
        Ok(url) => {
            let why =
                format!("{} does not answer, {} does; write `oauth_url = \"{url}\"`", address(asked), address(&url));
            match config.server.device.register {
                true => CheckResult::new(TOKEN_SERVICE, Err(why), Exit::Unavailable),
                false => CheckResult::untried(TOKEN_SERVICE, &why),
            }
        }
        Err(failure) => {
            let why = format!("{}: {}; see `oauth_url`", address(asked), failure.detail);
            match config.server.device.register {
                true => CheckResult::new(TOKEN_SERVICE, Err(why), Exit::Unavailable),
                false => CheckResult::untried(TOKEN_SERVICE, &why),
            }
        }
    }
}

async fn check_history(client: &Client) -> CheckResult {
    match client.try_history().await {
        Ok(()) => CheckResult::new("history", Ok("may be read (ViewReport)".to_owned()), Exit::Done),
        Err(failure) => {
            let why = match failure.cause {
                Cause::Refused(_) => "may not be read; give the API key the permission ViewReport, or a release or record whose answer is lost \
                                      stays unknown"
                    .to_owned(),
                _ => format!("not read: {}", failure.detail),
            };
            CheckResult::untried("history", &why)
        }
    }
}

fn check_device(config: &Config, client: &Client, running: Option<&Value>) -> Option<CheckResult> {
    if config.server.device.register {
        return Some(CheckResult::new("device", standing(config, client, running), Exit::Unavailable));
    }
    let end = client.device_token_ends().filter(|end| *end <= client.likely_server_time())?;
    let why = format!(
        "token-expired: the token of `device_token_file` ended at {end}; write a newer one into it, or use `[server.device] register = true`"
    );
    Some(CheckResult::new("device", Err(why), Exit::Unavailable))
}

/// The warning about a device token that nobody renews.
pub(super) fn token_warning(config: &Config) -> Option<String> {
    config.server.device_token.as_ref()?;
    let end = assemble::client(config).ok().and_then(|client| client.device_token_ends());
    let end = end.map_or_else(|| "lives an hour, as a rule".to_owned(), |end| format!("ends at {end}"));
    Some(format!(
        "[server] device_token_file: this token {end}, and nobody renews it; use `[server.device] register = true` instead"
    ))
}

/// The standing of this box as a trusted device: the running agent reports it, or else the files of the last run do.
fn standing(config: &Config, client: &Client, running: Option<&Value>) -> Result<String, String> {
    let id = &config.server.device.client_id;
    let reported = running.and_then(|status| status.pointer("/server/device")).and_then(Value::as_str);
    let remembered = || device::remembered(client, &assemble::device(config)).map(Standing::word);
    let (standing, witness) = match reported {
        Some(standing) => (standing, "says the running agent"),
        None => (remembered().map_err(|error| error.to_string())?, "as far as is remembered here"),
    };
    let advice = match standing {
        "trusted" => return Ok(format!("\"{id}\" is trusted, {witness}")),
        "waiting-for-approval" => "an administrator of the print server has to trust it",
        "refused" => "the server refuses it; see the agent's log",
        "none" => "the agent has not read the configuration again yet: reload it",
        _ => "the agent registers it when it runs and reaches the server; so does `enroll`",
    };
    Err(format!("\"{id}\" is {standing}, {witness}: {advice}"))
}

//! `[directory]`: the neighbours ezeep, NDD Orbix and zops.
//!
//! The files of their secrets are read by the command that needs them, and not with this file: the agent serves taps without
//! them, and its user may not be allowed to read them.

use std::{ops::RangeInclusive, time::Duration};

use reqwest::Url;

use super::{
    address,
    check::{Checked, duration, one_of, some, text},
    secret::SecretFile,
    section::Section,
};

/// The limits of `cache_max_age`: a list of all users takes a while, and people leave within a year.
const CACHE_AGE: RangeInclusive<Duration> = Duration::from_secs(3600)..=Duration::from_secs(365 * 24 * 3600);
/// The longest text that goes into a header or an address.
const MAX_WORD: usize = 256;
/// The most characters of an account's e-mail address and of a password at zops.
const ZOPS_EMAIL: usize = 70;

/// All three.
#[derive(Clone, Debug)]
pub struct DirectoryConfig {
    /// `[directory.ezeep]`.
    pub ezeep: EzeepConfig,
    /// `[directory.orbix]`.
    pub orbix: OrbixConfig,
    /// `[directory.zops]`.
    pub zops: ZopsConfig,
}

/// People and groups in ezeep.
#[derive(Clone, Debug)]
pub struct EzeepConfig {
    /// The name of this program there.
    pub client_id: Option<String>,
    /// Its secret; public clients have none.
    pub client_secret: Option<SecretFile>,
    /// People log in there, and tokens come from there.
    pub account_url: Url,
    /// The API with users and groups.
    pub api_url: Url,
    /// New groups belong to it.
    pub organization_id: Option<String>,
    /// Letter for letter the address that was registered with the client id.
    pub redirect_uri: String,
    /// A cache of groups that is older is stale.
    pub cache_max_age: Duration,
    /// The rule for a tap with a stale cache.
    pub when_stale: WhenStale,
}

/// `directory.ezeep.when_stale`: a tap whose cache of groups is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenStale {
    /// Nobody may release.
    Refuse,
    /// The old cache counts.
    Allow,
}

/// The print queue users of NDD Orbix.
#[derive(Clone, Debug)]
pub struct OrbixConfig {
    /// The API, without `/v1`.
    pub url: Url,
    /// The provider.
    pub tenant: Option<String>,
    /// The customer.
    pub client: Option<String>,
    /// The way to a bearer.
    pub credential: Option<OrbixCredential>,
}

/// The origin of a bearer for Orbix.
#[derive(Clone, Debug)]
pub enum OrbixCredential {
    /// Somebody put it into a file.
    Token(SecretFile),
    /// A token service gives it (RFC 6749, section 4.4).
    Client {
        /// The token service.
        token_url: Url,
        /// The client there.
        client_id: String,
        /// Its secret.
        client_secret: SecretFile,
        /// Words with spaces between them; may be missing.
        scope: Option<String>,
    },
}

/// The project in which this box is a consumer.
#[derive(Clone, Debug)]
pub struct ZopsConfig {
    /// The API; ends in `/api/v1`.
    pub url: Option<Url>,
    /// The account that enrols this box.
    pub email: Option<String>,
    /// Its password.
    pub password: Option<SecretFile>,
    /// The project's id.
    pub project: Option<String>,
    /// The code of the service in the catalogue.
    pub service: Option<String>,
}

impl DirectoryConfig {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let ezeep = section.table("ezeep", EzeepConfig::read);
        let orbix = section.table("orbix", OrbixConfig::read);
        let zops = section.table("zops", ZopsConfig::read);
        Some(Self { ezeep: ezeep?, orbix, zops })
    }
}

impl EzeepConfig {
    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let account_url = address_or(section, "account_url", "https://account.ezeep.com");
        let api_url = address_or(section, "api_url", "https://api2.ezeep.com/printing/v1");
        let redirect_uri = section.optional("redirect_uri", text(redirect));
        let words = [("refuse", WhenStale::Refuse), ("allow", WhenStale::Allow)];
        let cache_max_age = section.get("cache_max_age", Duration::from_secs(7 * 24 * 3600), duration(CACHE_AGE));
        let when_stale = section.get("when_stale", WhenStale::Refuse, one_of(&words));
        if (cache_max_age, when_stale) != (Duration::from_secs(7 * 24 * 3600), WhenStale::Refuse) {
            for key in ["cache_max_age", "when_stale"] {
                section.warn(key, "has no effect yet: no tap asks for groups");
            }
        }
        Some(Self {
            client_id: section.optional("client_id", text(word)),
            client_secret: SecretFile::named_by(section, "client_secret_file"),
            account_url: account_url?,
            api_url: api_url?,
            organization_id: section.optional("organization_id", text(word)),
            redirect_uri: redirect_uri.unwrap_or_else(|| "http://127.0.0.1:8632/".to_owned()),
            cache_max_age,
            when_stale,
        })
    }
}

impl OrbixConfig {
    fn read(section: &mut Section<'_, '_>) -> OrbixConfig {
        const URL: &str = "https://developer.nddorbix.com/printqueue-external-integration-api";
        let url = address_or(section, "url", URL).unwrap_or_else(|| fixed(URL));
        let tenant = section.optional("tenant", text(header));
        let client = section.optional("client", text(some));
        let token = SecretFile::named_by(section, "token_file");
        let token_url = section.optional("token_url", text(base));
        let client_id = section.optional("client_id", text(word));
        let client_secret = SecretFile::named_by(section, "client_secret_file");
        let scope = section.optional("scope", text(some));
        for key in ["token_url", "client_id", "client_secret_file", "scope"] {
            if section.is_set("token_file") && section.is_set(key) {
                section.problem(key, "cannot be set together with token_file");
            } else if section.is_set(key) {
                section.require("token_url", "is required with client_id, client_secret_file or scope");
                section.require("client_id", "is required with token_url");
                section.require("client_secret_file", "is required with token_url");
                break;
            }
        }
        let by_client = || {
            let (token_url, client_id, client_secret) = (token_url?, client_id?, client_secret?);
            Some(OrbixCredential::Client { token_url, client_id, client_secret, scope })
        };
        let credential = token.map(OrbixCredential::Token).or_else(by_client);
        Self { url, tenant, client, credential }
    }
}

impl ZopsConfig {
    fn read(section: &mut Section<'_, '_>) -> ZopsConfig {
        Self {
            url: section.optional("url", text(|url| address::service(url, "/api/v1", 443))),
            email: section.optional("email", text(email)),
            password: SecretFile::named_by(section, "password_file"),
            project: section.optional("project", text(word)),
            service: section.optional("service", text(word)),
        }
    }
}

/// The address of a service, with a default. `None` after a problem, which is noted.
fn address_or(section: &mut Section<'_, '_>, key: &'static str, default: &'static str) -> Option<Url> {
    section.get(key, Some(fixed(default)), |value| match value.as_str() {
        Some("") => Ok(Some(fixed(default))),
        _ => text(base)(value).map(Some),
    })
}

fn fixed(address: &'static str) -> Url {
    Url::parse(address).expect("it is a constant of this file")
}

/// The address of a service, `http` for this machine only.
fn base(address: &str) -> Checked<Url> {
    address::service(address, "", 443)
}

/// The address is kept as it is written: the service compares it letter for letter.
fn redirect(address: &str) -> Checked<String> {
    base(address).map(|_| address.to_owned())
}

/// An id or a code: one word of visible ASCII.
fn word(text: &str) -> Checked<String> {
    match (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!("must be a word of 1 to {MAX_WORD} letters, digits and signs, without spaces")),
    }
}

/// The value of a header (RFC 9110, section 5.5).
fn header(text: &str) -> Checked<String> {
    let fits = text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == text;
    match fits && (1..=MAX_WORD).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err(format!("must be 1 to {MAX_WORD} characters without accents, for it goes into a header")),
    }
}

fn email(text: &str) -> Checked<String> {
    match text.split_once('@') {
        Some((name, host)) if !name.is_empty() && !host.is_empty() && text.chars().count() <= ZOPS_EMAIL => {
            Ok(text.to_owned())
        }
        _ => Err(format!("must be an e-mail address of at most {ZOPS_EMAIL} characters")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Environment, parse_directory};
    use super::*;

    fn read(toml: &str) -> Result<DirectoryConfig, String> {
        let env = Environment { hostname: "box".to_owned(), ..Environment::default() };
        let site = parse_directory(toml, Path::new("agent.toml"), &env);
        site.map(|site| site.directory).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_file_with_nothing_but_the_neighbours_is_enough_for_their_commands() {
        let directory =
            read("[directory.orbix]\ntenant = \"NDD\"\nclient = \"ABC\"\ntoken_file = \"/etc/token\"").unwrap();
        assert!(matches!(directory.orbix.credential, Some(OrbixCredential::Token(_))));
        assert_eq!(directory.ezeep.redirect_uri, "http://127.0.0.1:8632/");
        assert!(read("[server]\n[directory.zops]").unwrap_err().contains("[server] url"), "a box is checked whole");
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for (table, key) in [
            ("ezeep", "account_url"),
            ("ezeep", "api_url"),
            ("ezeep", "redirect_uri"),
            ("orbix", "url"),
            ("orbix", "token_url"),
            ("zops", "url"),
        ] {
            let refusal = read(&format!("[directory.{table}]\n{key} = \"http://example.com/api/v1\"")).unwrap_err();
            assert!(refusal.contains("https://"), "{refusal}");
        }
        assert!(read("[directory.ezeep]\napi_url = \"http://127.0.0.1:8080/printing/v1\"").is_ok());
    }

    #[test]
    fn orbix_takes_a_token_or_a_client_and_neither_half() {
        let both = read("[directory.orbix]\ntoken_file = \"/t\"\ntoken_url = \"https://auth.example.com/token\"");
        assert!(both.unwrap_err().contains("cannot be set together with token_file"));
        let half = read("[directory.orbix]\nclient_id = \"c\"").unwrap_err();
        assert!(half.contains("token_url: is required") && half.contains("client_secret_file: is required"), "{half}");
    }

    #[test]
    fn a_secret_that_was_pasted_in_place_of_its_file_stays_untold() {
        let refusal = read("[directory.zops]\npassword_file = \"hunter2\"").unwrap_err();
        assert!(refusal.contains("password_file") && !refusal.contains("hunter2"), "{refusal}");
    }
}

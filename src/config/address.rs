//! Checks for URLs and addresses of the servers, the broker and the devices.

use std::net::IpAddr;

use reqwest::Url;

use super::check::Checked;

/// Port of raw printing (registered as pdl-datastream, IANA).
const RAW_PORT: u16 = 9100;
/// Port of MQTT without and with TLS (MQTT 3.1.1, section 4.2).
const MQTT_PORT: u16 = 1883;
const MQTTS_PORT: u16 = 8883;

/// A host and a port to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The address of an MQTT broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub(crate) endpoint: Endpoint,
    /// Whether it speaks TLS there.
    pub(crate) tls: bool,
}

/// The address of a printer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrinterAddress {
    /// Raw printing, `socket://`.
    Socket(Endpoint),
    /// IPP, `ipp://` or `ipps://` (RFC 8010, RFC 7472).
    Ipp(Url),
}

/// The URL of a web service whose path ends in `path`.
pub(super) fn service(text: &str, path: &str, port: u16) -> Checked<Url> {
    let url = plain_url(text)?;
    let fault = match url.scheme() {
        "https" => None,
        "http" if is_loopback(&url) => None,
        "http" => Some("must begin with https:// (http:// only for this machine itself)".to_owned()),
        _ => Some("must begin with https://".to_owned()),
    };
    let fault = fault.or_else(|| {
        let example = format!("https://print.example.com:{port}{path}");
        (!url.path().ends_with(path)).then(|| format!("must end in {path} (for example {example})"))
    });
    fault.map_or(Ok(url), Err)
}

/// The URL of an HTTP proxy.
pub(super) fn proxy(text: &str) -> Checked<Url> {
    let url = plain_url(text)?;
    match url.scheme() {
        "http" | "https" if url.path() == "/" => Ok(url),
        _ => Err("must be like http://proxy.example.com:3128".to_owned()),
    }
}

/// The URL of an MQTT broker.
pub(super) fn broker(text: &str) -> Checked<Broker> {
    let url = plain_url(text)?;
    let (tls, default_port) = match url.scheme() {
        "mqtt" => (false, MQTT_PORT),
        "mqtts" => (true, MQTTS_PORT),
        _ => return Err("must begin with mqtt:// or mqtts://".to_owned()),
    };
    match endpoint_of(&url, default_port) {
        Some(endpoint) => Ok(Broker { endpoint, tls }),
        None => Err("must be like mqtts://broker.example.com:8883, without a path".to_owned()),
    }
}

/// The URL of a printer.
pub(super) fn printer(text: &str) -> Checked<PrinterAddress> {
    let expected = "must be like socket://printer:9100, ipp://printer/ipp/print or ipps://...";
    let url = plain_url(text)?;
    let address = match url.scheme() {
        "socket" => endpoint_of(&url, RAW_PORT).map(PrinterAddress::Socket),
        "ipp" | "ipps" => Some(PrinterAddress::Ipp(url)),
        _ => None,
    };
    address.ok_or_else(|| expected.to_owned())
}

/// `host:port`.
pub(super) fn endpoint(text: &str) -> Checked<Endpoint> {
    // A URL without a scheme of its own, so that both are read by the same rules.
    let url = plain_url(&format!("tcp://{text}"));
    let endpoint = url.ok().filter(|url| url.port().is_some()).and_then(|url| endpoint_of(&url, 0));
    endpoint.ok_or_else(|| "must be a host and a port, for example 192.0.2.20:4001".to_owned())
}

/// A URL with a host and nothing that would hold a secret.
fn plain_url(text: &str) -> Checked<Url> {
    let url = Url::parse(text).map_err(|why| format!("must be a URL: {why}"))?;
    if url.host_str().unwrap_or_default().is_empty() {
        return Err("must have a host after ://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not have a user or password in it".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a ? or # in it".to_owned());
    }
    match url.port() {
        Some(0) => Err("must not have port 0".to_owned()),
        _ => Ok(url),
    }
}

/// The endpoint of a URL that has no path.
fn endpoint_of(url: &Url, default_port: u16) -> Option<Endpoint> {
    matches!(url.path(), "" | "/")
        .then(|| Endpoint { host: host(url).to_owned(), port: url.port().unwrap_or(default_port) })
}

fn host(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_loopback(url: &Url) -> bool {
    let host = host(url);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn api(text: &str) -> Checked<Url> {
        service(text, "/api/v1", 7300)
    }

    #[test]
    fn a_service_is_https_with_its_path() {
        assert!(api("https://print.example.com:7300/api/v1").is_ok());
        assert!(api("https://example.com/gateway/api/v1").is_ok());
        assert_eq!(
            api("https://print.example.com:7300/api").expect_err("a short path"),
            "must end in /api/v1 (for example https://print.example.com:7300/api/v1)"
        );
        for bad in [
            "",
            "print.example.com",
            "https://",
            "ftp://example.com/api/v1",
            "https://h/api/v1/",
            "https://h:0/api/v1",
            "https://h/api/v1?x=1",
            "https://h/api/v1#x",
        ] {
            assert!(api(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn plain_http_is_only_for_this_machine() {
        for host in ["127.0.0.1", "127.9.9.9:7300", "[::1]:7300", "localhost", "LOCALHOST:80"] {
            assert!(api(&format!("http://{host}/api/v1")).is_ok(), "{host}");
        }
        for host in ["192.0.2.1", "[2001:db8::1]", "localhost.example.com", "127.0.0.1.example.com", "0.0.0.0"] {
            let refusal = api(&format!("http://{host}/api/v1")).expect_err(host);
            assert!(refusal.contains("https://"), "{refusal}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_stays_untold() {
        for refusal in [
            api("https://user:hunter2@h/api/v1").map(drop),
            proxy("http://hunter2@h:3128").map(drop),
            broker("mqtt://user:hunter2@h").map(drop),
            printer("ipp://:hunter2@h/ipp").map(drop),
        ] {
            let refusal = refusal.expect_err("a password");
            assert!(refusal.contains("password") && !refusal.contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn a_broker_has_the_port_of_its_scheme() {
        for (text, host, port, tls) in [
            ("mqtt://broker.example.com", "broker.example.com", 1883, false),
            ("mqtts://broker.example.com", "broker.example.com", 8883, true),
            ("mqtt://192.0.2.1:2883/", "192.0.2.1", 2883, false),
            ("mqtts://[2001:db8::1]:1", "2001:db8::1", 1, true),
        ] {
            let endpoint = Endpoint { host: host.to_owned(), port };
            assert_eq!(broker(text), Ok(Broker { endpoint, tls }), "{text}");
        }
        for bad in ["broker.example.com:1883", "http://h", "mqtt://", "mqtt://h:99999", "mqtt://h/path"] {
            assert!(broker(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_printer_is_raw_or_ipp() {
        let raw = Endpoint { host: "printer".to_owned(), port: 9100 };
        assert_eq!(printer("socket://printer"), Ok(PrinterAddress::Socket(raw)));
        assert!(matches!(printer("ipps://printer:631/ipp/print"), Ok(PrinterAddress::Ipp(_))));
        for bad in ["printer", "http://printer", "socket://", "socket://printer/queue", "lpd://printer"] {
            assert!(printer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_needs_its_port() {
        let expected = Endpoint { host: "::1".to_owned(), port: 4001 };
        assert_eq!(endpoint("[::1]:4001"), Ok(expected));
        assert!(endpoint("moxa.example.com:4001").is_ok());
        for bad in ["", "moxa", "moxa:", ":4001", "moxa:0", "moxa:70000", "a@b:1", "::1:4001"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_proxy_is_http_without_a_path() {
        assert!(proxy("http://proxy.example.com:3128").is_ok());
        for bad in ["proxy:3128", "socks5://proxy", "http://proxy/path"] {
            assert!(proxy(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_an_address_panic(text in "(https?|mqtts?|socket|ipp)?(://)?.*") {
            let _ = (api(&text), proxy(&text), broker(&text), printer(&text), endpoint(&text));
        }
    }
}

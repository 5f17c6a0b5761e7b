//! A request that got no answer, in one plain sentence that says what to do. The chain of errors is for `[log] level = "debug"`.

use std::error::Error;
use std::io::ErrorKind;

use rustls::CertificateError as Wrong;

/// The sentence for an error of a connection. It holds no URL.
pub(super) fn sentence(error: &reqwest::Error) -> String {
    let chain: Vec<&(dyn Error + 'static)> = std::iter::successors(error.source(), |error| (*error).source()).collect();
    if let Some(tls) = chain.iter().find_map(|error| of_tls(*error)) {
        return of_certificate(tls);
    }
    let kind = chain.iter().find_map(|error| error.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    let text = chain.iter().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    if text.contains("dns error") {
        return "the host name does not resolve; check the name in the URL, and the name server of this box".to_owned();
    }
    match kind {
        Some(ErrorKind::ConnectionRefused) => {
            "nothing listens at this host and port (connection refused); check both in the URL (as a rule 7300 for the API, 7400 or 443 for the token service)"
                .to_owned()
        }
        Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
            "there is no way to this host; check the network of this box, and `proxy`".to_owned()
        }
        _ if error.is_timeout() && error.is_connect() => {
            "no connection in time; check host and port in the URL, firewalls and `proxy`".to_owned()
        }
        _ if error.is_timeout() => "no answer in time".to_owned(),
        _ if error.is_connect() => {
            format!("no connection: {}; check host and port in the URL, and `proxy`", last(&chain))
        }
        _ if text.contains("invalid HTTP version") || text.contains("invalid HTTP status-line") => {
            "the answer is no HTTP; check http or https and the port in the URL".to_owned()
        }
        _ => format!("the connection was cut before the answer: {}", last(&chain)),
    }
}

/// The error of TLS that this error is, or that it holds, also through several errors of the system.
fn of_tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let held = || error.downcast_ref::<std::io::Error>()?.get_ref();
    error.downcast_ref().or_else(|| of_tls(held()?))
}

fn of_certificate(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            Wrong::UnknownIssuer => {
                "the server's certificate is of an authority that this box does not know (UnknownIssuer); \
                                     name that authority's certificate in `ca_file`"
                    .to_owned()
            }
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                "the server's certificate is for another name than the one in the URL; write the URL with its name"
                    .to_owned()
            }
            Wrong::Expired | Wrong::ExpiredContext { .. } => {
                "the server's certificate has expired; check this box's clock, or have the certificate renewed"
                    .to_owned()
            }
            Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet; check this box's clock".to_owned()
            }
            other => format!("the server's certificate cannot be used ({other:?}); see `ca_file`"),
        },
        rustls::Error::InvalidMessage(_) => {
            "the server speaks no TLS at this port; check http or https and the port in the URL".to_owned()
        }
        rustls::Error::AlertReceived(alert) => {
            format!("the server refused the TLS connection ({alert:?}); see `client_cert_file` and `ca_file`")
        }
        rustls::Error::General(text) => format!("{text}; the server's key has changed, or another server answers"),
        other => format!("TLS failed ({other}); check http or https and the port in the URL"),
    }
}

fn last(chain: &[&(dyn Error + 'static)]) -> String {
    chain.last().map(ToString::to_string).unwrap_or_default()
}

//! The TLS files that the print server and the broker have in common.

use super::{
    check::{Checked, text},
    file,
    secret::private_key,
    section::Section,
};
use crate::domain::Secret;

/// The first line of a certificate in PEM (RFC 7468, section 5.1).
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Trust and identity of a TLS client, read when the configuration is loaded.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Trust anchors in PEM, besides those of the system.
    pub(crate) ca: Option<Vec<u8>>,
    /// The identity that the client shows when the server asks.
    pub(crate) identity: Option<Identity>,
}

/// A client certificate and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The chain in PEM, leaf first.
    pub(crate) certificate: Vec<u8>,
    /// The private key in PEM.
    pub(crate) key: Secret,
}

impl Tls {
    /// Reads the three keys. Without encryption they would protect nothing, so then they are refused.
    pub(super) fn read(section: &mut Section<'_, '_>, encrypted: bool) -> Self {
        let ca = certificates(section, "ca_file");
        let certificate = certificates(section, "client_cert_file");
        let key = private_key(section, "client_key_file");
        let pair = ["client_cert_file", "client_key_file"];
        for (one, other) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            if section.is_set(one) && !section.is_set(other) {
                section.problem(one, &format!("needs {other} as well"));
            }
        }
        for key in ["ca_file", "client_cert_file", "client_key_file"] {
            if section.is_set(key) && !encrypted {
                section.problem(key, "is only used with TLS, which the url does not ask for");
            }
        }
        let identity = certificate.zip(key).map(|(certificate, key)| Identity { certificate, key });
        Self { ca, identity }
    }
}

fn certificates(section: &mut Section<'_, '_>, key: &'static str) -> Option<Vec<u8>> {
    let env = section.env();
    section.optional(key, text(|place| pem(file::public(place, env)?)))
}

fn pem(bytes: Vec<u8>) -> Checked<Vec<u8>> {
    match bytes.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE) {
        true => Ok(bytes),
        false => Err("names a file without a certificate in PEM".to_owned()),
    }
}

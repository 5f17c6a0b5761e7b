//! The one way to trust a server, for HTTP and MQTT alike: the system's roots, extra anchors, a pinned key.
//!
//! Verification cannot be switched off. While the clock is certainly wrong, certificates are judged at the earliest time
//! that it can be. Pins narrow the set of servers that the chain allows; they never replace the chain.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};

use crate::domain::Secret;

/// The trust in a server and the identity of this client, as the configuration read them.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Extra trust anchors, PEM, besides those of the system.
    pub ca: Option<Vec<u8>>,
    /// Client certificate chain and key, PEM, for mutual TLS.
    pub client: Option<(Vec<u8>, Secret)>,
    /// If not empty, the SHA-256 of the server's public key (SubjectPublicKeyInfo) must be one of these.
    pub pins: Vec<[u8; 32]>,
    /// The earliest time that it can be. Certificates are judged at the later of this and the system's clock.
    pub floor: Timestamp,
}

/// Why no TLS client could be made. Somebody has to correct a file or a setting.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file that `ca_file` names cannot be used.
    #[error("read a certificate from ca_file: {0}; it must hold PEM certificates")]
    Ca(String),
    /// The files that `client_cert_file` and `client_key_file` name cannot be used.
    #[error("use client_cert_file with client_key_file: {0}; both must be PEM and belong together")]
    Client(String),
    /// Neither the system nor the configuration has a trust anchor.
    #[error("find any trust anchor: install ca-certificates or set ca_file")]
    NoAnchor,
    /// rustls refused the settings.
    #[error("set up TLS: {0}")]
    Setup(String),
}

/// Makes ring the process's crypto provider. `main` and tests call it first; a second call does nothing.
pub fn install_provider() {
    // An error only says that it was installed before.
    drop(ring::default_provider().install_default());
}

/// Builds a client configuration that verifies the server by `trust`. The caller sets ALPN.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, TlsError> {
    let verifier = Arc::new(PinnedVerifier::new(trust)?);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match &trust.client {
        None => Ok(builder.with_no_client_auth()),
        Some((certificates, key)) => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
                .collect::<Result<_, _>>()
                .map_err(|error| TlsError::Client(error.to_string()))?;
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
                .map_err(|error| TlsError::Client(error.to_string()))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::Client(error.to_string()))
        }
    }
}

fn anchors(extra: Option<&[u8]>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = extra {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| TlsError::Ca(error.to_string()))?;
            roots.add(certificate).map_err(|error| TlsError::Ca(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(TlsError::Ca("none in it".to_owned()));
        }
    }
    if roots.is_empty() { Err(TlsError::NoAnchor) } else { Ok(roots) }
}

/// Verifies the usual chain of trust, and then the pins.
#[derive(Debug)]
struct PinnedVerifier {
    chain: Arc<WebPkiServerVerifier>,
    pins: Vec<[u8; 32]>,
    floor: Timestamp,
}

impl PinnedVerifier {
    fn new(trust: &Trust) -> Result<Self, TlsError> {
        let roots = Arc::new(anchors(trust.ca.as_deref())?);
        let chain = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        Ok(Self { chain, pins: trust.pins.clone(), floor: trust.floor })
    }

    /// The time to judge a certificate at: a clock below the floor is certainly wrong.
    fn time(&self, now: UnixTime) -> UnixTime {
        let floor = u64::try_from(self.floor.as_second()).unwrap_or(0);
        UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().max(floor)))
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let now = self.time(now);
        let verified = self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if self.pins.is_empty() {
            return Ok(verified);
        }
        let leaf = webpki::EndEntityCert::try_from(end_entity)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let key = ::ring::digest::digest(&::ring::digest::SHA256, &leaf.subject_public_key_info());
        if self.pins.iter().any(|pin| pin == key.as_ref()) {
            Ok(verified)
        } else {
            Err(rustls::Error::General("the server's public key matches no pin_sha256".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.chain.root_hint_subjects()
    }
}

/// The provider that [`install_provider`] installs, for callers that build a configuration of their own.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_judged_at_the_floor_while_the_clock_is_below_it() {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 3, 1);
        params.not_after = rcgen::date_time_ymd(2027, 3, 1);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let judge = |floor: &str, now: &str| {
            let second = |text: &str| u64::try_from(text.parse::<Timestamp>().unwrap().as_second()).unwrap();
            let trust = Trust { ca: Some(certificate.pem().into()), floor: floor.parse().unwrap(), ..Trust::default() };
            let now = UnixTime::since_unix_epoch(Duration::from_secs(second(now)));
            let verifier = PinnedVerifier::new(&trust).unwrap();
            verifier.verify_server_cert(certificate.der(), &[], &name, &[], now).is_ok()
        };
        let (epoch, before) = ("1970-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
        let (within, after) = ("2026-06-01T00:00:00Z", "2027-06-01T00:00:00Z");
        assert!(judge(epoch, within));
        assert!(!judge(epoch, epoch), "a clock at 1970 alone makes every certificate come from the future");
        assert!(judge(within, epoch));
        assert!(!judge(before, epoch), "the floor is no licence");
        assert!(!judge(within, after), "a clock beyond the floor counts");
        assert!(!judge(after, within), "it is later than the floor, so the certificate has expired");
    }
}

//! The one way to trust a server, for HTTP and MQTT alike: the system's roots, extra anchors, a pinned key.
//!
//! Verification cannot be switched off. While the clock is certainly wrong, certificates are judged at the earliest time
//! that it can be. Pins narrow the set of servers that the chain allows; they never replace the chain.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};

use crate::clock::{Floor, FloorDoubt};
use crate::domain::Secret;

/// The most certificates that are remembered: a balancer may show one for each of its servers.
const SHOWN_LIMIT: usize = 8;

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
    pub floor: Floor,
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
    Ok(watched_client_config(trust)?.0)
}

/// The same, with a witness of its handshakes.
pub fn watched_client_config(trust: &Trust) -> Result<(ClientConfig, HandshakeWitness), TlsError> {
    let verifier = Arc::new(PinnedVerifier::new(trust)?);
    Ok((verified_by(verifier.clone(), trust)?, HandshakeWitness(verifier)))
}

fn verified_by(verifier: Arc<PinnedVerifier>, trust: &Trust) -> Result<ClientConfig, TlsError> {
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
    floor: Floor,
    doubt: Mutex<FloorDoubt>,
    /// The certificates that were accepted last, the newest at the end.
    shown: Mutex<Vec<ShownCertificate>>,
}

/// A server's certificate that was accepted in a handshake.
#[derive(Debug)]
struct ShownCertificate {
    leaf: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
}

/// Knows the handshakes of a client: whether what the server said can be true, and whether the floor had to be given up.
#[derive(Clone, Debug)]
pub struct HandshakeWitness(Arc<PinnedVerifier>);

impl HandshakeWitness {
    /// Whether a certificate that was accepted in a handshake is valid at this time too. A server can tell no other time.
    pub(crate) fn vouches_for(&self, leaf: &[u8], time: Timestamp) -> bool {
        let shown = self.0.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0)));
        shown
            .iter()
            .filter(|it| &*it.leaf == leaf)
            .any(|it| self.0.chain.verify_server_cert(&it.leaf, &it.intermediates, &it.name, &[], at).is_ok())
    }

    /// The floor, if it turned out wrong and was given up.
    pub(crate) fn wrong_floor(&self) -> Option<Floor> {
        let doubt = self.0.doubt.lock().unwrap_or_else(PoisonError::into_inner);
        doubt.has_given_up().then_some(self.0.floor)
    }
}

impl PinnedVerifier {
    fn new(trust: &Trust) -> Result<Self, TlsError> {
        let roots = Arc::new(anchors(trust.ca.as_deref())?);
        let chain = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        let (doubt, shown) = (Mutex::default(), Mutex::default());
        Ok(Self { chain, pins: trust.pins.clone(), floor: trust.floor, doubt, shown })
    }

    /// Judges the chain at the floor, and at the proof before where nothing but a wrong floor speaks against it.
    fn verify_chain(&self, at: impl Fn(Timestamp) -> ChainResult) -> ChainResult {
        let mut doubt = self.doubt.lock().unwrap_or_else(PoisonError::into_inner);
        let (floor, earlier) = (self.floor.time(), self.floor.earlier());
        let error = match at(if doubt.has_given_up() { earlier } else { floor }) {
            Ok(verified) => {
                doubt.accepted();
                return Ok(verified);
            }
            Err(error) => error,
        };
        let has_expired = matches!(
            error,
            rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })
        );
        if doubt.has_given_up() || !has_expired {
            return Err(error);
        }
        let verified = at(earlier).map_err(|_| error.clone())?;
        if doubt.refused(&self.floor, Instant::now()) {
            tracing::error!(%floor, %earlier, "the earliest time that it can be turned out wrong, and is given up");
            return Ok(verified);
        }
        Err(error)
    }

    fn verify_pin(&self, end_entity: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if self.pins.is_empty() {
            return Ok(());
        }
        let leaf = webpki::EndEntityCert::try_from(end_entity)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let key = ::ring::digest::digest(&::ring::digest::SHA256, &leaf.subject_public_key_info());
        if self.pins.iter().any(|pin| pin == key.as_ref()) {
            Ok(())
        } else {
            Err(rustls::Error::General("the server's public key matches no pin_sha256".to_owned()))
        }
    }

    fn remember(&self, shown: ShownCertificate) {
        let mut known = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|it| it.leaf != shown.leaf);
        if known.len() == SHOWN_LIMIT {
            known.remove(0);
        }
        known.push(shown);
    }
}

type ChainResult = Result<ServerCertVerified, rustls::Error>;

/// The later of two times.
fn later(now: UnixTime, floor: Timestamp) -> UnixTime {
    let floor = u64::try_from(floor.as_second()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().max(floor)))
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
        let verified = self.verify_chain(|floor| {
            let at = later(now, floor);
            self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at)
        })?;
        self.verify_pin(end_entity)?;
        self.remember(ShownCertificate {
            leaf: end_entity.clone().into_owned(),
            intermediates: intermediates.iter().map(|it| it.clone().into_owned()).collect(),
            name: server_name.to_owned(),
        });
        Ok(verified)
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

    const NAME: &str = "localhost";

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// A certificate that is valid from March 2026 to March 2027.
    fn certificate() -> rcgen::Certificate {
        let mut params = rcgen::CertificateParams::new([NAME.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 3, 1);
        params.not_after = rcgen::date_time_ymd(2027, 3, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap()
    }

    fn verifier(certificate: &rcgen::Certificate, floor: Floor) -> Arc<PinnedVerifier> {
        let trust = Trust { ca: Some(certificate.pem().into()), floor, ..Trust::default() };
        Arc::new(PinnedVerifier::new(&trust).unwrap())
    }

    fn accepts(verifier: &PinnedVerifier, certificate: &rcgen::Certificate, now: &str) -> bool {
        let now = later(UnixTime::since_unix_epoch(Duration::ZERO), time(now));
        let name = ServerName::try_from(NAME).unwrap();
        verifier.verify_server_cert(certificate.der(), &[], &name, &[], now).is_ok()
    }

    const EPOCH: &str = "1970-01-01T00:00:00Z";
    const BEFORE: &str = "2026-02-01T00:00:00Z";
    const WITHIN: &str = "2026-06-01T00:00:00Z";
    const AFTER: &str = "2027-06-01T00:00:00Z";

    #[test]
    fn a_certificate_is_judged_at_the_floor_while_the_clock_is_below_it() {
        let certificate = certificate();
        let judge = |floor: &str, now: &str| {
            accepts(&verifier(&certificate, Floor::proven(time(floor), time(floor))), &certificate, now)
        };
        assert!(judge(EPOCH, WITHIN));
        assert!(!judge(EPOCH, EPOCH), "a clock at 1970 alone makes every certificate come from the future");
        assert!(judge(WITHIN, EPOCH));
        assert!(!judge(BEFORE, EPOCH), "the floor is no licence");
        assert!(!judge(WITHIN, AFTER), "a clock beyond the floor counts");
        assert!(!judge(AFTER, WITHIN), "it is later than the floor, so the certificate has expired");
    }

    #[test]
    fn a_floor_that_nobody_proved_gives_way_and_a_proven_one_does_not_at_once() {
        let certificate = certificate();
        let unproven = verifier(&certificate, Floor::unproven(time(AFTER)));
        assert!(accepts(&unproven, &certificate, WITHIN));
        assert_eq!(HandshakeWitness(unproven).wrong_floor(), Some(Floor::unproven(time(AFTER))));
        let proven = verifier(&certificate, Floor::proven(time(AFTER), time(BEFORE)));
        for _ in 0..20 {
            assert!(!accepts(&proven, &certificate, WITHIN));
        }
        assert_eq!(HandshakeWitness(proven).wrong_floor(), None);
        let fallen = verifier(&certificate, Floor::unproven(time(AFTER)));
        assert!(!accepts(&fallen, &certificate, AFTER), "the clock itself says that it has expired");
    }

    #[test]
    fn a_server_can_tell_only_a_time_at_which_its_own_certificate_is_valid() {
        let certificate = certificate();
        let verifier = verifier(&certificate, Floor::proven(time(WITHIN), time(WITHIN)));
        let witness = HandshakeWitness(verifier.clone());
        assert!(!witness.vouches_for(certificate.der(), time(WITHIN)), "it was never shown");
        assert!(accepts(&verifier, &certificate, EPOCH));
        for (told, believed) in [(BEFORE, false), (WITHIN, true), (AFTER, false)] {
            assert_eq!(witness.vouches_for(certificate.der(), time(told)), believed, "{told}");
        }
    }
}

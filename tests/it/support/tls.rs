//! Certificates made by the test: an authority, a server that it vouches for, a client.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, PublicKeyData,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// A private certification authority, and the first of January until which its certificates are valid, if it says so.
pub struct Authority(CertifiedIssuer<'static, KeyPair>, Option<i32>);

/// A certificate and its key, PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
    /// SHA-256 of the public key, hex: what `pin_sha256` takes.
    pub pin: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(), None)
    }

    /// Certificates that it gives from now on expire at the beginning of this year.
    pub fn until(self, year: i32) -> Self {
        Self(self.0, Some(year))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, for a server or a client.
    pub fn identity(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Identity {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![usage];
        if let Some(year) = self.1 {
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        let pin = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Identity { certificate: certificate.pem(), key: key.serialize_pem(), pin }
    }

    /// A server for `localhost` and `demo.example` that this authority vouches for; it may want clients to be vouched for too.
    pub fn server(&self, wants_client: bool) -> (Arc<ServerConfig>, Identity) {
        let identity = self.identity(&["localhost", "demo.example"], ExtendedKeyUsagePurpose::ServerAuth);
        let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        print_release_agent::tls::install_provider();
        let builder = ServerConfig::builder();
        let builder = if wants_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        (Arc::new(config), identity)
    }
}

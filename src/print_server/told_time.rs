//! The time that servers tell in their answers, as far as it is a proof: over TLS, with a certificate that is valid at that
//! time. A server on plain HTTP proves nothing.

use jiff::Timestamp;
use reqwest::Response;
use reqwest::tls::TlsInfo;
use tokio::sync::watch;

use crate::clock::{Floor, ProvenTime};
use crate::tls::HandshakeWitness;

/// The `Date` of the last answer over TLS, and the certificate behind it.
#[derive(Clone, Debug)]
struct LastDate {
    leaf: Vec<u8>,
    time: ProvenTime,
}

/// Notes what servers say. A proof is only worked out when somebody asks for one.
#[derive(Clone, Debug)]
pub(super) struct ToldTime {
    witness: HandshakeWitness,
    last: watch::Sender<Option<LastDate>>,
}

impl ToldTime {
    pub(super) fn new(witness: HandshakeWitness) -> Self {
        Self { witness, last: watch::Sender::new(None) }
    }

    /// Notes the `Date` of an answer.
    #[cfg_attr(feature = "simulate", expect(dead_code, reason = "a simulated server has no certificate"))]
    pub(super) fn note(&self, response: &Response, date: Option<Timestamp>) {
        let leaf = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        if let (Some(leaf), Some(server)) = (leaf, date) {
            let time = ProvenTime { server, wall: Timestamp::now() };
            self.last.send_replace(Some(LastDate { leaf: leaf.to_owned(), time }));
        }
    }

    /// The last time that was told, if the server's own certificate is valid at it.
    pub(super) fn proven(&self) -> Option<ProvenTime> {
        let last = self.last.borrow().clone()?;
        self.witness.vouches_for(&last.leaf, last.time.server).then_some(last.time)
    }

    /// The floor of the clock, if it was given up because it alone refused the server.
    pub(super) fn wrong_floor(&self) -> Option<Floor> {
        self.witness.wrong_floor()
    }
}

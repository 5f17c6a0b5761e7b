//! The stored registration: `device.json` in the state directory.
//!
//! It is bound to the API key and the client id; under others it is ignored. A file that this version cannot read is
//! ignored too, because the device's key alone is enough to get new tokens.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::DeviceError;
use crate::domain::Secret;
use crate::token_store::{StoredTokens, TokenStore, secret};

/// The code and tokens that one registration has brought so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registration {
    /// It is redeemed for tokens once an administrator has approved.
    #[serde(with = "secret")]
    pub(super) code: Option<Secret>,
    /// The bearer of requests.
    #[serde(with = "secret")]
    pub(super) access: Option<Secret>,
    /// It is good for one refresh.
    #[serde(with = "secret")]
    pub(super) refresh: Option<Secret>,
}

/// The file, and the key and client that its content must belong to.
#[derive(Clone, Debug)]
pub(super) struct RegistrationStore(TokenStore<Registration>);

impl RegistrationStore {
    pub(super) fn new(path: PathBuf, client_id: &str, api_key: &Secret) -> Self {
        Self(TokenStore::new(path, &[client_id, api_key.expose()]))
    }

    pub(super) fn load(&self) -> Result<StoredTokens<Registration>, DeviceError> {
        self.0.load().map_err(|error| DeviceError::disk(self.0.path(), &error))
    }

    /// Replaces the registration. It is durable when this returns `Ok`.
    pub(super) async fn save(&self, registration: Registration) -> Result<(), DeviceError> {
        self.0.save(registration).await.map_err(|error| DeviceError::disk(self.0.path(), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of an earlier version of this program.
    const EARLIER: &str = r#"{"version":1,"binding":"BINDING","code":null,"access":"a","refresh":"r"}"#;

    #[tokio::test]
    async fn the_file_of_an_earlier_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device.json");
        let hash = ring::digest::digest(&ring::digest::SHA256, b"box\0key");
        let binding: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let content = EARLIER.replace("BINDING", &binding);
        std::fs::write(&path, &content).unwrap();
        let store = RegistrationStore::new(path.clone(), "box", &Secret::new("key"));
        let StoredTokens::Own(registration) = store.load().unwrap() else { panic!("it is its own") };
        assert_eq!((registration.access, registration.code), (Some(Secret::new("a")), None));
        let registration = Registration { access: Some(Secret::new("a")), refresh: Some(Secret::new("r")), code: None };
        store.save(registration).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content, "it is written as it was");
    }
}

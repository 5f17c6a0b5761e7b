//! The stored registration: `device.json` in the state directory, replaced as a whole, readable by its owner only.
//!
//! It is bound to the API key and the client id; under others it is ignored. A file that this version cannot read is
//! ignored too, because the device's key alone is enough to get new tokens.

use std::fs;
use std::io;
use std::path::PathBuf;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::DeviceError;
use crate::domain::Secret;
use crate::durable;

/// The form of the file.
const VERSION: u32 = 1;

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

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    /// SHA-256 of client id and API key, in hex.
    binding: String,
    #[serde(flatten)]
    registration: Registration,
}

/// The content of the file, as this key and client see it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StoredRegistration {
    /// No file, or none of this version.
    Nothing,
    /// Somebody registered under another API key or client id.
    Another,
    /// A registration of this device.
    Own(Registration),
}

/// The file, and the key and client that its content must belong to.
#[derive(Clone, Debug)]
pub(super) struct RegistrationStore {
    path: PathBuf,
    binding: String,
}

impl RegistrationStore {
    pub(super) fn new(path: PathBuf, client_id: &str, api_key: &Secret) -> Self {
        let bound = Zeroizing::new(format!("{client_id}\0{}", api_key.expose()));
        let hash = digest(&SHA256, bound.as_bytes());
        let binding = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { path, binding }
    }

    pub(super) fn load(&self) -> Result<StoredRegistration, DeviceError> {
        let content = match fs::read(&self.path) {
            Ok(content) => Zeroizing::new(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StoredRegistration::Nothing),
            Err(error) => return Err(DeviceError::disk(&self.path, &error)),
        };
        Ok(match serde_json::from_slice::<File>(&content) {
            Ok(File { version: VERSION, binding, registration }) if binding == self.binding => {
                StoredRegistration::Own(registration)
            }
            Ok(File { version: VERSION, .. }) => StoredRegistration::Another,
            Ok(_) | Err(_) => StoredRegistration::Nothing,
        })
    }

    /// Replaces the registration. It is durable when this returns `Ok`. A memory card is slow, so the write happens off
    /// the runtime's threads.
    pub(super) async fn save(&self, registration: Registration) -> Result<(), DeviceError> {
        let file = File { version: VERSION, binding: self.binding.clone(), registration };
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            let content = Zeroizing::new(serde_json::to_vec(&file)?);
            durable::write(&path, &content)
        });
        match written.await {
            Ok(result) => result.map_err(|error| DeviceError::disk(&self.path, &error)),
            Err(_) => Err(DeviceError::disk(&self.path, &io::Error::other("the writing was stopped"))),
        }
    }
}

/// A secret in a file that only its owner can read.
mod secret {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::Secret;

    pub(super) fn serialize<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn store(dir: &Path, client_id: &str, api_key: &str) -> RegistrationStore {
        RegistrationStore::new(dir.join("device.json"), client_id, &Secret::new(api_key))
    }

    #[tokio::test]
    async fn a_registration_comes_back_for_its_own_key_and_client_only() {
        let dir = tempfile::tempdir().unwrap();
        let own = store(dir.path(), "box", "key");
        assert_eq!(own.load().unwrap(), StoredRegistration::Nothing);
        let registration = Registration { access: Some(Secret::new("a")), ..Registration::default() };
        own.save(registration.clone()).await.unwrap();
        assert_eq!(own.load().unwrap(), StoredRegistration::Own(registration));
        assert_eq!(store(dir.path(), "box", "key2").load().unwrap(), StoredRegistration::Another);
        assert_eq!(store(dir.path(), "box2", "key").load().unwrap(), StoredRegistration::Another);
        assert_eq!(store(dir.path(), "bo", "x\0key").load().unwrap(), StoredRegistration::Another);
        let content = fs::read_to_string(&own.path).unwrap();
        assert!(!content.contains("\"key\""), "the API key itself is not in it: {content}");
    }

    #[tokio::test]
    async fn what_is_damaged_or_newer_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let own = store(dir.path(), "box", "key");
        own.save(Registration::default()).await.unwrap();
        let good = fs::read_to_string(&own.path).unwrap();
        for bad in ["", "{", &good[..good.len() / 2], &good.replace("\"version\":1", "\"version\":2")] {
            fs::write(&own.path, bad).unwrap();
            assert_eq!(own.load().unwrap(), StoredRegistration::Nothing, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_disk_that_gives_or_takes_nothing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let own = store(dir.path(), "box", "key");
        fs::create_dir(&own.path).unwrap();
        assert!(matches!(own.load(), Err(DeviceError::Disk { .. })));
        assert!(matches!(own.save(Registration::default()).await, Err(DeviceError::Disk { .. })));
    }
}

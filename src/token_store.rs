//! Tokens that can be used once, in a file that is replaced as a whole and that its owner alone can read.
//!
//! Invariants: new tokens are durable before anybody uses them or forgets the old ones; the file is bound to the credentials that
//! the tokens were given for, and under others it is somebody else's; a file that this version cannot read counts as none.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::durable;

/// The form of the file.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct TokenFile<T> {
    version: u32,
    /// SHA-256 of the parts that the tokens belong to, in hex.
    binding: String,
    #[serde(flatten)]
    tokens: T,
}

/// The content of the file, as its binding sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StoredTokens<T> {
    /// No file, or none of this version.
    Nothing,
    /// Somebody stored tokens that belong to other credentials.
    Another,
    /// Tokens that belong to these credentials.
    Own(T),
}

/// The file, and the credentials that its content must belong to.
#[derive(Clone, Debug)]
pub(crate) struct TokenStore<T> {
    path: PathBuf,
    binding: String,
    tokens: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned + Send + 'static> TokenStore<T> {
    /// A store whose content belongs to `parts`, none of which has a zero byte in it.
    pub(crate) fn new(path: PathBuf, parts: &[&str]) -> Self {
        let bound = Zeroizing::new(parts.join("\0"));
        let hash = digest(&SHA256, bound.as_bytes());
        let binding = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { path, binding, tokens: PhantomData }
    }

    /// The file itself, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn load(&self) -> io::Result<StoredTokens<T>> {
        let content = match fs::read(&self.path) {
            Ok(content) => Zeroizing::new(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StoredTokens::Nothing),
            Err(error) => return Err(error),
        };
        Ok(match serde_json::from_slice::<TokenFile<T>>(&content) {
            Ok(TokenFile { version: VERSION, binding, tokens }) if binding == self.binding => StoredTokens::Own(tokens),
            Ok(TokenFile { version: VERSION, .. }) => StoredTokens::Another,
            Ok(_) | Err(_) => StoredTokens::Nothing,
        })
    }

    /// Replaces the tokens. They are durable when this returns `Ok`. A memory card is slow, so the write happens off the runtime's
    /// threads.
    pub(crate) async fn save(&self, tokens: T) -> io::Result<()> {
        let file = TokenFile { version: VERSION, binding: self.binding.clone(), tokens };
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            let content = Zeroizing::new(serde_json::to_vec(&file)?);
            durable::write(&path, &content)
        });
        written.await.unwrap_or_else(|_| Err(io::Error::other("the writing was stopped")))
    }
}

/// A secret in a file that only its owner can read.
pub(crate) mod secret {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::Secret;

    pub(crate) fn serialize<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::expose).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    struct SampleTokens {
        #[serde(with = "secret")]
        refresh: Option<Secret>,
    }

    fn store(dir: &Path, parts: &[&str]) -> TokenStore<SampleTokens> {
        TokenStore::new(dir.join("tokens.json"), parts)
    }

    #[tokio::test]
    async fn tokens_come_back_for_their_own_credentials_only() {
        let dir = tempfile::tempdir().unwrap();
        let own = store(dir.path(), &["box", "key"]);
        assert_eq!(own.load().unwrap(), StoredTokens::Nothing);
        let tokens = SampleTokens { refresh: Some(Secret::new("r")) };
        own.save(tokens.clone()).await.unwrap();
        assert_eq!(own.load().unwrap(), StoredTokens::Own(tokens));
        for others in [["box", "key2"], ["box2", "key"], ["boxk", "ey"]] {
            assert_eq!(store(dir.path(), &others).load().unwrap(), StoredTokens::Another, "{others:?}");
        }
        let content = fs::read_to_string(own.path()).unwrap();
        assert!(!content.contains("\"key\""), "the credential itself is not in it: {content}");
    }

    #[tokio::test]
    async fn what_is_damaged_or_newer_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let own = store(dir.path(), &["box", "key"]);
        own.save(SampleTokens::default()).await.unwrap();
        let good = fs::read_to_string(own.path()).unwrap();
        for bad in ["", "{", &good[..good.len() / 2], &good.replace("\"version\":1", "\"version\":2")] {
            fs::write(own.path(), bad).unwrap();
            assert_eq!(own.load().unwrap(), StoredTokens::Nothing, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_disk_that_gives_or_takes_nothing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let own = store(dir.path(), &["box", "key"]);
        fs::create_dir(own.path()).unwrap();
        assert!(own.load().is_err());
        assert!(own.save(SampleTokens::default()).await.is_err());
    }
}

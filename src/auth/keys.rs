//! The keys that sign tokens: which there are, which one signs now, and where they are kept.
//!
//! There is one list for each purpose, so that a token of one kind is never a token of another. A key is known before
//! it signs (`signs_from`) and stays until its last token has ended (`expires_at`): rotation adds a key to the list,
//! and needs nothing else of this module.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::Serialize;

use super::key_files;
use super::key_rows;
use super::secrets::SecretText;
use crate::clock::{Clock, Millis};
use crate::config::{Config, DatabaseLocation};
use crate::metadata::{Metadata, MetadataError};

/// Signing keys that are read at most; rotation leaves a handful.
pub(super) const MAX_KEYS: u32 = 64;
/// How long to wait before the database is asked again for a key that nobody knows.
const REFRESH_INTERVAL_MS: i64 = 5_000;

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Registry credentials, which are passwords.
    RegistryCredential,
    /// Access tokens, which are Bearer tokens on `/v2/`.
    AccessToken,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 2] = [Self::RegistryCredential, Self::AccessToken];

    /// Its name where keys are kept.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RegistryCredential => "credential",
            Self::AccessToken => "access",
        }
    }

    /// The `typ` and `aud` of its tokens.
    #[must_use]
    pub const fn token_type(self) -> &'static str {
        match self {
            Self::RegistryCredential => "berth-credential",
            Self::AccessToken => "berth-access",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == name)
    }
}

/// What can go wrong with signing keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file could not be read or written.
    #[error("the signing key {} could not be read or written", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file or row holds something else than a key.
    #[error("{0} holds no signing key that this version can read")]
    Unreadable(String),
    /// PostgreSQL without a secret to wrap keys with.
    #[error(
        "with PostgreSQL the signing keys are kept in the database, wrapped by a secret of yours, so that replicas share \
         them: set auth.key_wrapping_secret or auth.key_wrapping_secret_file to at least {} random characters (such as \
         the output of `openssl rand -hex 32`), the same for every replica",
        key_rows::MIN_SECRET_BYTES
    )]
    NoWrappingSecret,
    /// The configured secret is not the one that a key was wrapped with.
    #[error(
        "the signing key {0} in the database does not open: auth.key_wrapping_secret is not the one it was wrapped with"
    )]
    WrongWrappingSecret(String),
    /// The system gave no randomness, or the cryptography library failed.
    #[error("a signing key could not be made or used")]
    Cryptography,
    /// No key of this purpose signs now.
    #[error("no key signs {} tokens now", .0.as_str())]
    NoSigner(Purpose),
    /// The database failed.
    #[error("the signing keys could not be read from the database")]
    Metadata(#[from] MetadataError),
}

/// A key in use. No `Debug`: it holds the private half.
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) purpose: Purpose,
    pub(super) public_key: Vec<u8>,
    pub(super) pkcs8: Vec<u8>,
    pub(super) created_at: Millis,
    pub(super) signs_from: Millis,
    pub(super) expires_at: Option<Millis>,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl SigningKey {
    /// A new key that signs from now on.
    pub(super) fn generate(purpose: Purpose, now: Millis) -> Result<Self, KeyError> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document =
            Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::Cryptography)?;
        Self::from_pkcs8(document.as_ref(), purpose, now, now, None).ok_or(KeyError::Cryptography)
    }

    pub(super) fn from_pkcs8(
        pkcs8: &[u8],
        purpose: Purpose,
        created_at: Millis,
        signs_from: Millis,
        expires_at: Option<Millis>,
    ) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        let public_key = pair.public_key().as_ref().to_vec();
        Some(Self {
            id: thumbprint(&public_key),
            purpose,
            encoding: EncodingKey::from_ed_der(pkcs8),
            decoding: DecodingKey::from_ed_der(&public_key),
            public_key,
            pkcs8: pkcs8.to_vec(),
            created_at,
            signs_from,
            expires_at,
        })
    }

    pub(super) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    fn lives(&self, now: Millis) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// RFC 7638 over the members that RFC 8037 requires of an Ed25519 key.
fn thumbprint(public_key: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

/// Where the signing keys are kept.
#[derive(Clone, Debug)]
pub enum KeyLocation {
    /// In files of this data folder: one process owns them.
    Files(PathBuf),
    /// In the database, wrapped by this secret: replicas share them.
    Database(Option<SecretText>),
}

impl KeyLocation {
    /// Where a configuration wants them: beside the embedded database, or in the shared one.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        match config.database_location() {
            DatabaseLocation::Sqlite(_) => Self::Files(config.server.data_dir.clone()),
            DatabaseLocation::Postgres(_) => Self::Database(
                config
                    .auth
                    .key_wrapping_secret
                    .as_ref()
                    .map(|secret| SecretText::new(secret.expose().to_owned())),
            ),
        }
    }
}

enum Source {
    /// One process owns the files: nothing appears behind its back.
    Files,
    /// Another replica may add a key at any time.
    Database {
        metadata: Metadata,
        secret: SecretText,
    },
}

struct Ring {
    keys: RwLock<Arc<Vec<Arc<SigningKey>>>>,
    source: Source,
    refreshed_at: Mutex<Millis>,
    clock: Clock,
}

/// The keys of this installation. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing(Arc<Ring>);

impl KeyRing {
    /// Reads the keys, and makes those that are missing.
    pub async fn open(
        location: &KeyLocation,
        metadata: &Metadata,
        clock: Clock,
    ) -> Result<Self, KeyError> {
        match location {
            KeyLocation::Files(data_dir) => Self::open_files(data_dir, clock),
            KeyLocation::Database(secret) => {
                Self::open_database(metadata, secret.as_ref(), clock).await
            }
        }
    }

    /// Reads the keys of an embedded installation from `<data_dir>/keys`, and makes those that are missing.
    ///
    /// It blocks: it is for the start.
    pub fn open_files(data_dir: &std::path::Path, clock: Clock) -> Result<Self, KeyError> {
        let folder = data_dir.join("keys");
        let mut keys = key_files::read(&folder)?;
        let now = clock.now();
        for purpose in Purpose::ALL {
            if signer(&keys, purpose, now).is_none() {
                let key = SigningKey::generate(purpose, now)?;
                key_files::write(&folder, &key)?;
                keys.push(Arc::new(key));
            }
        }
        Ok(Self::new(keys, Source::Files, clock))
    }

    /// Reads the keys that replicas share from the database, and makes those that are missing.
    ///
    /// # Errors
    /// [`KeyError::NoWrappingSecret`] without a secret, or with one that is too short.
    pub async fn open_database(
        metadata: &Metadata,
        secret: Option<&SecretText>,
        clock: Clock,
    ) -> Result<Self, KeyError> {
        let secret = secret
            .filter(|secret| secret.reveal().len() >= key_rows::MIN_SECRET_BYTES)
            .ok_or(KeyError::NoWrappingSecret)?;
        let mut keys = key_rows::read(metadata, secret).await?;
        let now = clock.now();
        for purpose in Purpose::ALL {
            if signer(&keys, purpose, now).is_none() {
                let key = SigningKey::generate(purpose, now)?;
                key_rows::write(metadata, secret, &key).await?;
                keys.push(Arc::new(key));
            }
        }
        let source = Source::Database {
            metadata: metadata.clone(),
            secret: secret.clone(),
        };
        Ok(Self::new(keys, source, clock))
    }

    fn new(keys: Vec<Arc<SigningKey>>, source: Source, clock: Clock) -> Self {
        let refreshed_at = Mutex::new(clock.now());
        Self(Arc::new(Ring {
            keys: RwLock::new(Arc::new(keys)),
            source,
            refreshed_at,
            clock,
        }))
    }

    fn keys(&self) -> Arc<Vec<Arc<SigningKey>>> {
        // A poisoned lock guards a pointer: its value is whole.
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that signs now.
    pub(super) fn signer(&self, purpose: Purpose) -> Result<Arc<SigningKey>, KeyError> {
        signer(&self.keys(), purpose, self.0.clock.now()).ok_or(KeyError::NoSigner(purpose))
    }

    /// The key of this id, if it is one of ours, has this purpose and has not ended.
    pub(super) fn verifier(&self, purpose: Purpose, id: &str) -> Option<Arc<SigningKey>> {
        let now = self.0.clock.now();
        self.keys()
            .iter()
            .find(|key| key.purpose == purpose && key.id == id && key.lives(now))
            .cloned()
    }

    /// Looks for keys that another replica has made, at most once in some seconds; false when it did not look.
    pub(super) async fn refresh(&self) -> Result<bool, KeyError> {
        let Source::Database { metadata, secret } = &self.0.source else {
            return Ok(false);
        };
        {
            let now = self.0.clock.now();
            let mut refreshed_at = self
                .0
                .refreshed_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if now < refreshed_at.plus(REFRESH_INTERVAL_MS) {
                return Ok(false);
            }
            *refreshed_at = now;
        }
        let keys = key_rows::read(metadata, secret).await?;
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(true)
    }

    /// The public keys of access tokens, as a JWK set. Keys of credentials are nobody else's business.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        let now = self.0.clock.now();
        let keys = self.keys();
        let published = keys
            .iter()
            .filter(|key| key.purpose == Purpose::AccessToken && key.lives(now));
        JwkSet {
            keys: published
                .map(|key| Jwk {
                    kty: "OKP",
                    crv: "Ed25519",
                    alg: "EdDSA",
                    r#use: "sig",
                    kid: key.id.clone(),
                    x: URL_SAFE_NO_PAD.encode(&key.public_key),
                })
                .collect(),
        }
    }
}

/// Of the keys that may sign, the newest; of two replicas that started at once, both choose the same.
fn signer(keys: &[Arc<SigningKey>], purpose: Purpose, now: Millis) -> Option<Arc<SigningKey>> {
    keys.iter()
        .filter(|key| key.purpose == purpose && key.signs_from <= now && key.lives(now))
        .max_by_key(|key| (key.signs_from, key.id.as_str()))
        .cloned()
}

/// A JWK set (RFC 7517).
#[derive(Clone, Debug, Serialize)]
pub struct JwkSet {
    /// Its keys.
    pub keys: Vec<Jwk>,
}

/// A public Ed25519 key (RFC 8037).
#[derive(Clone, Debug, Serialize)]
pub struct Jwk {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    r#use: &'static str,
    kid: String,
    x: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_key_is_the_thumbprint_of_the_rfc() {
        // RFC 8037, appendix A.3.
        let public_key = URL_SAFE_NO_PAD
            .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        assert_eq!(
            thumbprint(&public_key),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn files_are_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Millis(1_000));
        let first = KeyRing::open_files(folder.path(), clock.clone()).unwrap();
        let second = KeyRing::open_files(folder.path(), clock).unwrap();
        for purpose in Purpose::ALL {
            let key = first.signer(purpose).unwrap();
            assert_eq!(key.id, second.signer(purpose).unwrap().id);
            assert!(second.verifier(purpose, &key.id).is_some());
        }
        assert_eq!(
            std::fs::read_dir(folder.path().join("keys"))
                .unwrap()
                .count(),
            2
        );
    }

    #[test]
    fn a_key_of_one_purpose_verifies_nothing_of_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let ring = KeyRing::open_files(folder.path(), Clock::manual(Millis(1_000))).unwrap();
        let key = ring.signer(Purpose::RegistryCredential).unwrap();
        assert!(ring.verifier(Purpose::AccessToken, &key.id).is_none());
    }

    #[test]
    fn only_access_token_keys_are_published() {
        let folder = tempfile::tempdir().unwrap();
        let ring = KeyRing::open_files(folder.path(), Clock::manual(Millis(1_000))).unwrap();
        let published = ring.jwks().keys;
        assert_eq!(published.len(), 1);
        assert_eq!(
            published[0].kid,
            ring.signer(Purpose::AccessToken).unwrap().id
        );
        let json = serde_json::to_value(&published[0]).unwrap();
        assert_eq!(json["use"], "sig");
        assert!(json.get("d").is_none());
    }

    #[test]
    fn the_newest_key_that_may_sign_does_and_an_ended_one_is_gone() {
        let key = |signs_from, expires_at: Option<i64>| {
            let mut key = SigningKey::generate(Purpose::AccessToken, Millis(0)).unwrap();
            key.signs_from = Millis(signs_from);
            key.expires_at = expires_at.map(Millis);
            Arc::new(key)
        };
        let old = key(0, Some(300));
        let new = key(200, None);
        let clock = Clock::manual(Millis(100));
        let ring = KeyRing::new(
            vec![Arc::clone(&old), Arc::clone(&new)],
            Source::Files,
            clock.clone(),
        );
        assert_eq!(ring.signer(Purpose::AccessToken).unwrap().id, old.id);
        assert_eq!(
            ring.jwks().keys.len(),
            2,
            "a key is published before it signs"
        );
        clock.advance(100);
        assert_eq!(ring.signer(Purpose::AccessToken).unwrap().id, new.id);
        assert!(ring.verifier(Purpose::AccessToken, &old.id).is_some());
        clock.advance(100);
        assert!(ring.verifier(Purpose::AccessToken, &old.id).is_none());
        assert_eq!(ring.jwks().keys.len(), 1);
    }
}

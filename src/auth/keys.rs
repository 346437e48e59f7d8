//! Signing keys: what one is, what it signs, and where they are kept.
//!
//! There is one list for each purpose, so that a token of one kind is never a token of another. A key is known before
//! it signs (`signs_from`) and stays until its last token has ended (`expires_at`); when that is decides
//! `key_schedule`, and who knows of it now is for `key_ring` to say.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};

use super::key_rows;
use super::secrets::SecretText;
use crate::clock::Millis;
use crate::config::{Config, DatabaseLocation};
use crate::grammar::{documented, word};
use crate::metadata::MetadataError;

/// Signing keys of one purpose at most; rotation leaves two or three.
pub(super) const MAX_KEYS_OF_A_PURPOSE: usize = 32;
/// Signing keys that are read at most.
pub(super) const MAX_KEYS: u32 = 64;

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

    /// The purpose of this name, as keys are kept and asked for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == name)
    }
}

documented!(
    Purpose,
    word("What a key signs.", Purpose::ALL.map(Purpose::as_str))
);

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
        "the signing key {0} in the database does not open: auth.key_wrapping_secret is not the one it was wrapped with; \
         `berth keys rewrap` takes the keys over to another secret, and `berth keys reset` makes new ones where the old \
         secret is lost"
    )]
    WrongWrappingSecret(String),
    /// The keys are files, which no secret wraps.
    #[error(
        "the signing keys of an embedded installation are files, which no secret wraps; `berth keys reset` makes new ones"
    )]
    NotWrapped,
    /// Another rotation is under way, or there were too many.
    #[error("{0}")]
    NotNow(String),
    /// The work on the keys broke off.
    #[error("a change of the signing keys broke off")]
    Broken(#[from] tokio::task::JoinError),
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

/// When a key comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyTimes {
    /// When it was made.
    pub(super) created_at: Millis,
    /// From when on it signs, if there is no newer one.
    pub(super) signs_from: Millis,
    /// When its last token has ended; open while it signs.
    pub(super) expires_at: Option<Millis>,
}

/// Whether a key was taken back before its time. What it signed keeps this at hand, so that a request that is under way
/// is stopped too.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing(Arc<AtomicBool>);

impl Standing {
    pub(super) fn is_taken_back(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn take_back(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A key in use. Cheap to clone. No `Debug`: it holds the private half.
#[derive(Clone)]
pub(super) struct SigningKey {
    pair: Arc<Pair>,
    pub(super) times: KeyTimes,
    standing: Standing,
}

struct Pair {
    id: String,
    purpose: Purpose,
    public_key: Vec<u8>,
    pkcs8: Vec<u8>,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl SigningKey {
    /// A new key.
    pub(super) fn generate(
        purpose: Purpose,
        created_at: Millis,
        signs_from: Millis,
    ) -> Result<Self, KeyError> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document =
            Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::Cryptography)?;
        let times = KeyTimes {
            created_at,
            signs_from,
            expires_at: None,
        };
        Self::from_pkcs8(document.as_ref(), purpose, times).ok_or(KeyError::Cryptography)
    }

    pub(super) fn from_pkcs8(pkcs8: &[u8], purpose: Purpose, times: KeyTimes) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        let public_key = pair.public_key().as_ref().to_vec();
        let pair = Pair {
            id: thumbprint(&public_key),
            purpose,
            encoding: EncodingKey::from_ed_der(pkcs8),
            decoding: DecodingKey::from_ed_der(&public_key),
            public_key,
            pkcs8: pkcs8.to_vec(),
        };
        Some(Self {
            pair: Arc::new(pair),
            times,
            standing: Standing::default(),
        })
    }

    /// The same key with other times.
    pub(super) fn at(&self, times: KeyTimes) -> Self {
        Self {
            times,
            ..self.clone()
        }
    }

    /// The same key, to end then.
    pub(super) fn ending(&self, expires_at: Millis) -> Self {
        self.at(KeyTimes {
            expires_at: Some(expires_at),
            ..self.times
        })
    }

    /// The thumbprint of its public half: the `kid` of its tokens.
    pub(super) fn id(&self) -> &str {
        &self.pair.id
    }

    pub(super) fn purpose(&self) -> Purpose {
        self.pair.purpose
    }

    pub(super) fn public_key(&self) -> &[u8] {
        &self.pair.public_key
    }

    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pair.pkcs8
    }

    pub(super) fn encoding(&self) -> &EncodingKey {
        &self.pair.encoding
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.pair.decoding
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Nothing that it signed counts from now on.
    pub(super) fn take_back(&self) {
        self.standing.take_back();
    }

    /// Whether what it signed may still count.
    pub(super) fn lives(&self, now: Millis) -> bool {
        self.times.expires_at.is_none_or(|end| now < end)
    }
}

/// Of the keys that may sign, the newest: every replica chooses the same.
pub(super) fn signer(keys: &[SigningKey], purpose: Purpose, now: Millis) -> Option<&SigningKey> {
    keys.iter()
        .filter(|key| key.purpose() == purpose && key.times.signs_from <= now && key.lives(now))
        .max_by_key(|key| (key.times.signs_from, key.id()))
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
}

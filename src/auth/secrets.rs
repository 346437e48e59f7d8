//! API keys and pull secrets as people and nodes hold them, and the hash under which the database knows them.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use crate::grammar::{documented, text, whole};

/// What every API key starts with, so that people and secret scanners know one when they see it.
pub const API_KEY_PREFIX: &str = "berth_";
/// What every pull secret starts with. No key starts with it, and no secret of this kind with what keys start with, so that
/// neither is ever taken for the other.
pub const PULL_SECRET_PREFIX: &str = "berthpull_";
/// 43 digits of base 62 carry 256 bits.
const BODY_LENGTH: usize = 43;
/// Digits that catch a mistyped key before the database is asked.
const CHECKSUM_LENGTH: usize = 6;
const SECRET_LENGTH: usize = API_KEY_PREFIX.len() + BODY_LENGTH + CHECKSUM_LENGTH;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The largest multiple of 62 in a byte: random bytes from there on are thrown away, so that each digit is as likely.
const FAIR: u8 = 248;

/// The secret half of an API key. It has no `Debug` and no `Display`: showing it is a deliberate act.
#[derive(Clone)]
pub struct ApiKeySecret(String);

pub(crate) enum Secret {}
documented!(
    Secret,
    text(
        "The secret: it is shown this once.",
        SECRET_LENGTH..=SECRET_LENGTH,
        "berth_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg000000"
    )
    .pattern(whole("berth_[0-9A-Za-z]{49}"))
);

/// The secret half of a pull secret. It has no `Debug` and no `Display` either.
#[derive(Clone)]
pub struct PullSecretPassword(String);

/// SHA-256 of an API key or a pull secret, in hex. Both are 256 random bits, so that a fast hash is enough.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SecretHash(String);

impl ApiKeySecret {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`NoRandomness`] when the system gives none.
    pub fn generate() -> Result<Self, NoRandomness> {
        generate(API_KEY_PREFIX).map(Self)
    }

    /// The key in `text`, if it is one that could have been made here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_well_formed(text, API_KEY_PREFIX).then(|| Self(text.to_owned()))
    }

    /// How the database knows it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }

    /// The key itself, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl PullSecretPassword {
    /// A new secret from the system's randomness.
    ///
    /// # Errors
    /// [`NoRandomness`] when the system gives none.
    pub fn generate() -> Result<Self, NoRandomness> {
        generate(PULL_SECRET_PREFIX).map(Self)
    }

    /// The secret in `text`, if it is one that could have been made here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_well_formed(text, PULL_SECRET_PREFIX).then(|| Self(text.to_owned()))
    }

    /// How the database knows it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }

    /// The secret itself, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl SecretHash {
    fn of(secret: &str) -> Self {
        Self(sha256_hex(secret))
    }

    /// The hash in hex.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a text, in hex.
pub(super) fn sha256_hex(text: &str) -> String {
    hex::encode(digest(&SHA256, text.as_bytes()))
}

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// A secret from the configuration, or a signed token. It has no `Display`, and its `Debug` hides it.
#[derive(Clone)]
pub struct SecretText(String);

impl SecretText {
    /// Takes a text that must not be shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretText(…)")
    }
}

/// A prefix, 256 random bits and their checksum.
fn generate(prefix: &str) -> Result<String, NoRandomness> {
    let mut body = String::with_capacity(BODY_LENGTH);
    while body.len() < BODY_LENGTH {
        let mut bytes = [0; 64];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        let missing = BODY_LENGTH - body.len();
        body.extend(
            bytes
                .iter()
                .filter(|byte| **byte < FAIR)
                .take(missing)
                .map(|byte| digit(*byte)),
        );
    }
    let checksum = checksum(&body);
    Ok(format!("{prefix}{body}{checksum}"))
}

/// Whether a text could have been made by [`generate`].
fn is_well_formed(text: &str, prefix: &str) -> bool {
    let Some(rest) = text.strip_prefix(prefix) else {
        return false;
    };
    if rest.len() != BODY_LENGTH + CHECKSUM_LENGTH
        || !rest.bytes().all(|byte| ALPHABET.contains(&byte))
    {
        return false;
    }
    let (body, given) = rest.split_at(BODY_LENGTH);
    checksum(body) == given
}

fn digit(byte: u8) -> char {
    char::from(ALPHABET[usize::from(byte % 62)])
}

fn checksum(body: &str) -> String {
    digest(&SHA256, body.as_bytes())
        .as_ref()
        .iter()
        .take(CHECKSUM_LENGTH)
        .map(|byte| digit(*byte))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_read_back_and_has_one_hash() {
        let key = ApiKeySecret::generate().unwrap();
        assert_eq!(key.reveal().len(), 55);
        let again = ApiKeySecret::parse(key.reveal()).unwrap();
        assert!(again.hash() == key.hash());
        assert_eq!(key.hash().as_str().len(), 64);
    }

    #[test]
    fn keys_differ() {
        assert_ne!(
            ApiKeySecret::generate().unwrap().reveal(),
            ApiKeySecret::generate().unwrap().reveal()
        );
    }

    #[test]
    fn a_mistyped_key_is_no_key() {
        let key = ApiKeySecret::generate().unwrap();
        let text = key.reveal();
        let wrong = if text.as_bytes()[10] == b'a' {
            "b"
        } else {
            "a"
        };
        let mut mistyped = text.to_owned();
        mistyped.replace_range(10..11, wrong);
        assert!(ApiKeySecret::parse(&mistyped).is_none());
        assert!(ApiKeySecret::parse(&text[..54]).is_none());
        assert!(ApiKeySecret::parse(&format!("{text}0")).is_none());
        assert!(ApiKeySecret::parse("berth_").is_none());
    }

    #[test]
    fn a_pull_secret_is_never_taken_for_a_key_nor_a_key_for_one() {
        let secret = PullSecretPassword::generate().unwrap();
        let key = ApiKeySecret::generate().unwrap();
        assert!(secret.reveal().starts_with("berthpull_"));
        assert!(!secret.reveal().starts_with(API_KEY_PREFIX));
        assert!(ApiKeySecret::parse(secret.reveal()).is_none());
        assert!(PullSecretPassword::parse(key.reveal()).is_none());
        let again = PullSecretPassword::parse(secret.reveal()).unwrap();
        assert!(again.hash() == secret.hash());
        // Not even where the rest of the two is the same.
        let body = key.reveal().strip_prefix(API_KEY_PREFIX).unwrap();
        let twin = PullSecretPassword::parse(&format!("{PULL_SECRET_PREFIX}{body}")).unwrap();
        assert!(twin.hash() != key.hash());
    }

    proptest! {
        #[test]
        fn junk_is_no_key(text in "(berth_)?\\PC{0,80}") {
            prop_assert!(ApiKeySecret::parse(&text).is_none());
        }
    }
}

//! Signing keys that replicas share: rows of the database, with the private key wrapped so that a copy of the database
//! alone signs nothing.
//!
//! The wrapping key is derived from a configured secret by HKDF-SHA256; the private key is sealed by AES-256-GCM, bound
//! to its id and purpose, as `1 || nonce (12 bytes) || ciphertext and tag`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

use super::key_schedule::Plan;
use super::keys::{KeyError, KeyTimes, MAX_KEYS, Purpose, SigningKey};
use super::secrets::SecretText;
use crate::metadata::{Metadata, SigningKeyRow, Transaction};

/// What a secret needs at least: it is a key, not a password, and is not stretched.
pub(super) const MIN_SECRET_BYTES: usize = 32;
const FORMAT: u8 = 1;
const SALT: &[u8] = b"berth signing keys";
const INFO: &[&[u8]] = &[b"wrap version 1"];

/// The keys that could be opened, and why the first other one could not.
pub(super) struct Opened {
    pub(super) keys: Vec<SigningKey>,
    pub(super) unopened: Option<KeyError>,
}

/// Reads the keys. What is `known` already is not opened again, so that a key that was taken away is missed even where
/// the secret no longer fits.
pub(super) async fn read(
    metadata: &Metadata,
    secret: &SecretText,
    known: &[SigningKey],
) -> Result<Opened, KeyError> {
    let mut opened = Opened {
        keys: Vec::new(),
        unopened: None,
    };
    for row in metadata.signing_keys(MAX_KEYS).await? {
        if let Some(key) = known.iter().find(|key| key.id() == row.id) {
            opened.keys.push(key.at(times(&row)));
            continue;
        }
        match open(secret, &row) {
            Ok(key) => opened.keys.push(key),
            Err(error) => opened.unopened = opened.unopened.or(Some(error)),
        }
    }
    Ok(opened)
}

/// Holds the keys until the end of a change and reads them. Each must open: a key that is added beside others that do
/// not would be wrapped by another secret than they.
pub(super) async fn hold(
    transaction: &mut Transaction,
    secret: &SecretText,
) -> Result<Vec<SigningKey>, KeyError> {
    transaction.hold_signing_keys().await?;
    let rows = transaction.signing_keys(MAX_KEYS).await?;
    rows.iter().map(|row| open(secret, row)).collect()
}

/// Does what was planned.
pub(super) async fn apply(
    transaction: &mut Transaction,
    secret: &SecretText,
    plan: &Plan,
) -> Result<(), KeyError> {
    for key in &plan.add {
        transaction.insert_signing_key(&row(secret, key)?).await?;
    }
    for key in &plan.end {
        transaction
            .end_signing_key(key.id(), key.times.expires_at)
            .await?;
    }
    for key in &plan.remove {
        transaction.delete_signing_key(key.id()).await?;
    }
    Ok(())
}

/// Wraps every key anew, by another secret; how many there are.
pub(super) async fn rewrap(
    metadata: &Metadata,
    previous: &SecretText,
    secret: &SecretText,
) -> Result<usize, KeyError> {
    let mut transaction = metadata.begin().await?;
    let keys = hold(&mut transaction, previous).await?;
    for key in &keys {
        let wrapped = wrap(secret, key)?;
        transaction.rewrap_signing_key(key.id(), &wrapped).await?;
    }
    transaction.commit().await?;
    Ok(keys.len())
}

/// Removes all keys, also those that no longer open.
pub(super) async fn remove_all(transaction: &mut Transaction) -> Result<(), KeyError> {
    transaction.hold_signing_keys().await?;
    Ok(transaction.delete_signing_keys().await?)
}

/// A secret that is long enough to wrap keys with.
pub(super) fn long_enough(secret: Option<&SecretText>) -> Result<&SecretText, KeyError> {
    secret
        .filter(|secret| secret.reveal().len() >= MIN_SECRET_BYTES)
        .ok_or(KeyError::NoWrappingSecret)
}

fn row(secret: &SecretText, key: &SigningKey) -> Result<SigningKeyRow, KeyError> {
    Ok(SigningKeyRow {
        id: key.id().to_owned(),
        purpose: key.purpose().as_str().to_owned(),
        public_key: key.public_key().to_vec(),
        wrapped_private_key: wrap(secret, key)?,
        created_at: key.times.created_at,
        signs_from: key.times.signs_from,
        expires_at: key.times.expires_at,
    })
}

fn times(row: &SigningKeyRow) -> KeyTimes {
    KeyTimes {
        created_at: row.created_at,
        signs_from: row.signs_from,
        expires_at: row.expires_at,
    }
}

fn wrapping_key(secret: &SecretText) -> Result<LessSafeKey, KeyError> {
    let derived = Salt::new(HKDF_SHA256, SALT).extract(secret.reveal().as_bytes());
    let derived = derived
        .expand(INFO, &AES_256_GCM)
        .map_err(|_| KeyError::Cryptography)?;
    Ok(LessSafeKey::new(UnboundKey::from(derived)))
}

fn context(id: &str, purpose: Purpose) -> Aad<String> {
    Aad::from(format!("{}:{id}", purpose.as_str()))
}

fn wrap(secret: &SecretText, key: &SigningKey) -> Result<Vec<u8>, KeyError> {
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| KeyError::Cryptography)?;
    let mut sealed = key.pkcs8().to_vec();
    wrapping_key(secret)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            context(key.id(), key.purpose()),
            &mut sealed,
        )
        .map_err(|_| KeyError::Cryptography)?;
    let mut wrapped = vec![FORMAT];
    wrapped.extend_from_slice(&nonce);
    wrapped.append(&mut sealed);
    Ok(wrapped)
}

fn open(secret: &SecretText, row: &SigningKeyRow) -> Result<SigningKey, KeyError> {
    let unreadable = || KeyError::Unreadable(format!("the row {} of signing_keys", row.id));
    let purpose = Purpose::from_name(&row.purpose).ok_or_else(unreadable)?;
    let Some((&FORMAT, rest)) = row.wrapped_private_key.split_first() else {
        return Err(unreadable());
    };
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or_else(unreadable)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unreadable())?;
    let mut sealed = sealed.to_vec();
    let pkcs8 = wrapping_key(secret)?
        .open_in_place(nonce, context(&row.id, purpose), &mut sealed)
        .map_err(|_| KeyError::WrongWrappingSecret(row.id.clone()))?;
    SigningKey::from_pkcs8(pkcs8, purpose, times(row))
        .filter(|key| key.id() == row.id)
        .ok_or_else(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::key_schedule::{Change, Schedule};
    use crate::auth::testing;
    use crate::clock::Clock;

    fn secret(byte: &str) -> SecretText {
        SecretText::new(byte.repeat(MIN_SECRET_BYTES))
    }

    /// A first key of each purpose, wrapped.
    async fn keep_first_keys(metadata: &Metadata, clock: &Clock, secret: &SecretText) -> Plan {
        let schedule = Schedule::of_seconds(0, 3_600, 300);
        let plan = schedule.plan(&Change::Upkeep, &[], clock.now()).unwrap();
        let mut transaction = metadata.begin().await.unwrap();
        apply(&mut transaction, secret, &plan).await.unwrap();
        transaction.commit().await.unwrap();
        plan
    }

    #[tokio::test]
    async fn what_was_wrapped_is_opened_with_its_times() {
        let (metadata, clock, _folder) = testing::metadata().await;
        let plan = keep_first_keys(&metadata, &clock, &secret("a")).await;
        let ending = plan.add[0].ending(clock.now().plus(1_000));
        let mut transaction = metadata.begin().await.unwrap();
        let change = Plan {
            end: vec![ending.clone()],
            ..Plan::default()
        };
        apply(&mut transaction, &secret("a"), &change)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        let opened = read(&metadata, &secret("a"), &[]).await.unwrap();
        assert!(opened.unopened.is_none());
        assert_eq!(opened.keys.len(), 2);
        let read = opened.keys.iter().find(|key| key.id() == ending.id());
        let read = read.unwrap();
        assert_eq!(read.times, ending.times);
        assert_eq!(read.pkcs8(), ending.pkcs8());
    }

    #[tokio::test]
    async fn the_private_key_is_not_in_the_database() {
        let (metadata, clock, _folder) = testing::metadata().await;
        let plan = keep_first_keys(&metadata, &clock, &secret("a")).await;
        for row in metadata.signing_keys(MAX_KEYS).await.unwrap() {
            for key in &plan.add {
                // In PKCS#8 the 32 bytes of the private key follow a header of 16.
                let private = &key.pkcs8()[16..48];
                let mut windows = row.wrapped_private_key.windows(32);
                assert!(!windows.any(|window| window == private));
            }
        }
    }

    #[tokio::test]
    async fn keys_are_wrapped_anew_by_another_secret() {
        let (metadata, clock, _folder) = testing::metadata().await;
        let plan = keep_first_keys(&metadata, &clock, &secret("a")).await;
        let wrong = rewrap(&metadata, &secret("c"), &secret("b")).await;
        assert!(matches!(wrong, Err(KeyError::WrongWrappingSecret(_))));
        let rewrapped = rewrap(&metadata, &secret("a"), &secret("b")).await.unwrap();
        assert_eq!(rewrapped, 2);
        let old = read(&metadata, &secret("a"), &[]).await.unwrap();
        assert!(old.keys.is_empty() && old.unopened.is_some());
        let new = read(&metadata, &secret("b"), &[]).await.unwrap();
        for key in &plan.add {
            assert!(new.keys.iter().any(|new| new.pkcs8() == key.pkcs8()));
        }
        // A server that still has the old secret goes on with what it knows, and adds nothing that others cannot open.
        let known = read(&metadata, &secret("a"), &plan.add).await.unwrap();
        assert_eq!((known.keys.len(), known.unopened.is_some()), (2, false));
        let mut transaction = metadata.begin().await.unwrap();
        assert!(hold(&mut transaction, &secret("a")).await.is_err());
    }
}

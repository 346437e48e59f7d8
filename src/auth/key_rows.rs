//! Signing keys that replicas share: rows of the database, with the private key wrapped so that a copy of the database
//! alone signs nothing.
//!
//! The wrapping key is derived from a configured secret by HKDF-SHA256; the private key is sealed by AES-256-GCM, bound
//! to its id and purpose, as `1 || nonce (12 bytes) || ciphertext and tag`.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

use super::keys::{KeyError, MAX_KEYS, Purpose, SigningKey};
use super::secrets::SecretText;
use crate::metadata::{Metadata, SigningKeyRow};

/// What a secret needs at least: it is a key, not a password, and is not stretched.
pub(super) const MIN_SECRET_BYTES: usize = 32;
const FORMAT: u8 = 1;
const SALT: &[u8] = b"berth signing keys";
const INFO: &[&[u8]] = &[b"wrap version 1"];

pub(super) async fn read(
    metadata: &Metadata,
    secret: &SecretText,
) -> Result<Vec<Arc<SigningKey>>, KeyError> {
    let rows = metadata.signing_keys(MAX_KEYS).await?;
    rows.into_iter()
        .map(|row| open(secret, &row).map(Arc::new))
        .collect()
}

pub(super) async fn write(
    metadata: &Metadata,
    secret: &SecretText,
    key: &SigningKey,
) -> Result<(), KeyError> {
    let row = SigningKeyRow {
        id: key.id.clone(),
        purpose: key.purpose.as_str().to_owned(),
        public_key: key.public_key.clone(),
        wrapped_private_key: wrap(secret, key)?,
        created_at: key.created_at,
        signs_from: key.signs_from,
        expires_at: key.expires_at,
    };
    let mut transaction = metadata.begin().await?;
    transaction.insert_signing_key(&row).await?;
    Ok(transaction.commit().await?)
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
    let mut sealed = key.pkcs8.clone();
    wrapping_key(secret)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            context(&key.id, key.purpose),
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
    SigningKey::from_pkcs8(
        pkcs8,
        purpose,
        row.created_at,
        row.signs_from,
        row.expires_at,
    )
    .filter(|key| key.id == row.id)
    .ok_or_else(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keys::KeyRing;
    use crate::auth::testing;

    fn secret(byte: &str) -> SecretText {
        SecretText::new(byte.repeat(MIN_SECRET_BYTES))
    }

    #[tokio::test]
    async fn replicas_with_one_secret_share_their_keys() {
        let (metadata, clock, _folder) = testing::metadata().await;
        let first = KeyRing::open_database(&metadata, Some(&secret("a")), clock.clone())
            .await
            .unwrap();
        let second = KeyRing::open_database(&metadata, Some(&secret("a")), clock)
            .await
            .unwrap();
        for purpose in Purpose::ALL {
            assert_eq!(
                first.signer(purpose).unwrap().id,
                second.signer(purpose).unwrap().id
            );
        }
    }

    #[tokio::test]
    async fn another_secret_is_told_so() {
        let (metadata, clock, _folder) = testing::metadata().await;
        KeyRing::open_database(&metadata, Some(&secret("a")), clock.clone())
            .await
            .unwrap();
        let error = KeyRing::open_database(&metadata, Some(&secret("b")), clock)
            .await
            .err()
            .unwrap();
        assert!(matches!(error, KeyError::WrongWrappingSecret(_)), "{error}");
    }

    #[tokio::test]
    async fn no_secret_or_a_short_one_stops_the_start() {
        let (metadata, clock, _folder) = testing::metadata().await;
        for bad in [None, Some(SecretText::new("short".to_owned()))] {
            let error = KeyRing::open_database(&metadata, bad.as_ref(), clock.clone())
                .await
                .err()
                .unwrap();
            assert!(
                error.to_string().contains("auth.key_wrapping_secret"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn the_private_key_is_not_in_the_database() {
        let (metadata, clock, _folder) = testing::metadata().await;
        let ring = KeyRing::open_database(&metadata, Some(&secret("a")), clock)
            .await
            .unwrap();
        let key = ring.signer(Purpose::AccessToken).unwrap();
        // In PKCS#8 the 32 bytes of the private key follow a header of 16.
        let private = &key.pkcs8[16..48];
        for row in metadata.signing_keys(MAX_KEYS).await.unwrap() {
            assert!(
                !row.wrapped_private_key
                    .windows(32)
                    .any(|window| window == private)
            );
        }
    }

    #[tokio::test]
    async fn a_key_that_another_replica_made_is_found() {
        let (metadata, clock, _folder) = testing::metadata().await;
        let ring = KeyRing::open_database(&metadata, Some(&secret("a")), clock.clone())
            .await
            .unwrap();
        let other = SigningKey::generate(Purpose::AccessToken, clock.now()).unwrap();
        write(&metadata, &secret("a"), &other).await.unwrap();
        assert!(!ring.refresh().await.unwrap(), "the start has just looked");
        clock.advance(5_000);
        assert!(ring.refresh().await.unwrap());
        assert!(ring.verifier(Purpose::AccessToken, &other.id).is_some());
    }
}

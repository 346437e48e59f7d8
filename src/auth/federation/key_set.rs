//! A set of keys as an issuer publishes it (RFC 7517): only keys that verify and cannot sign are taken from it.

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::config::SigningAlgorithm;

/// Keys of one issuer at most.
const MAX_KEYS: usize = 100;
/// Letters of an RSA modulus in base64: 2048 to 8192 bits.
const MODULUS_LETTERS: std::ops::RangeInclusive<usize> = 340..=1_368;

/// The library's name of an algorithm of the configuration.
pub(super) fn algorithm(of: SigningAlgorithm) -> Algorithm {
    match of {
        SigningAlgorithm::RS256 => Algorithm::RS256,
        SigningAlgorithm::RS384 => Algorithm::RS384,
        SigningAlgorithm::RS512 => Algorithm::RS512,
        SigningAlgorithm::PS256 => Algorithm::PS256,
        SigningAlgorithm::PS384 => Algorithm::PS384,
        SigningAlgorithm::PS512 => Algorithm::PS512,
        SigningAlgorithm::ES256 => Algorithm::ES256,
        SigningAlgorithm::ES384 => Algorithm::ES384,
        SigningAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

/// The usable keys of an issuer.
pub(super) struct KeySet(Vec<(String, Jwk, DecodingKey)>);

impl KeySet {
    /// Reads a set. Keys of other kinds are passed over: an issuer may have some for other purposes. A set without any
    /// usable key is one too: so an issuer takes back the keys that it had.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let published: Published =
            serde_json::from_slice(json).map_err(|_| "it is no set of keys (JWKS)")?;
        if published.keys.len() > MAX_KEYS {
            return Err(format!("it has more than {MAX_KEYS} keys"));
        }
        Ok(Self(
            published.keys.into_iter().filter_map(usable).collect(),
        ))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key of this id, if it is one for this algorithm.
    pub(super) fn key(&self, id: &str, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut keys = self.0.iter();
        keys.find(|(own, jwk, _)| own == id && is_for(jwk, algorithm))
            .map(|(_, _, key)| key)
    }
}

fn usable(value: Value) -> Option<(String, Jwk, DecodingKey)> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let id = jwk.common.key_id.clone()?;
    let is_for_signatures = match &jwk.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => true,
        Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)) => false,
    };
    let may_verify = match &jwk.common.key_operations {
        None => true,
        Some(operations) => operations.contains(&KeyOperations::Verify),
    };
    let is_strong = match &jwk.algorithm {
        AlgorithmParameters::RSA(key) => MODULUS_LETTERS.contains(&key.n.len()),
        AlgorithmParameters::EllipticCurve(_) | AlgorithmParameters::OctetKeyPair(_) => true,
        // A secret that both sides have: whoever can verify with it can sign.
        AlgorithmParameters::OctetKey(_) => false,
        // Not a kind of today.
        _ => false,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    (is_for_signatures && may_verify && is_strong).then_some((id, jwk, key))
}

fn is_for(jwk: &Jwk, algorithm: Algorithm) -> bool {
    let is_of_kind = match (&jwk.algorithm, algorithm) {
        (
            AlgorithmParameters::RSA(_),
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512,
        ) => true,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
            key.curve == EllipticCurve::P256
        }
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => {
            key.curve == EllipticCurve::P384
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
            key.curve == EllipticCurve::Ed25519
        }
        _ => false,
    };
    let named = jwk.common.key_algorithm;
    is_of_kind && named.is_none_or(|named| named == KeyAlgorithm::from(algorithm))
}

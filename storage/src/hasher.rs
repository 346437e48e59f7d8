//! Hashing that can stop in one request and go on in another.
//!
//! Owns the saved form of a hash state, which callers keep in a database row between the requests
//! of one upload. sha2 0.11 gives its state through `SerializableState`, a trait of digest's
//! `hazmat` module that promises one layout per minor version only. So the saved form has a format
//! version of its own, and a test pins its exact bytes: an upgrade of sha2 that changes the layout
//! fails there and must come with a new version, rather than with wrong digests in running uploads.
//!
//! The form, all numbers little-endian: version (1 byte), algorithm (1), bytes hashed so far (8),
//! sha2's state (104 or 208), and the first 8 bytes of the SHA-256 of everything before, so that a
//! damaged row is noticed.

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256, Sha512};

use crate::digest::{Digest, DigestAlgorithm};

const FORMAT_VERSION: u8 = 1;
const SHA256_CODE: u8 = 1;
const SHA512_CODE: u8 = 2;
const HEADER_BYTES: usize = 10;
const CHECK_BYTES: usize = 8;

/// A running SHA-256 or SHA-512 that can be saved and restored at any byte.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    length: u64,
}

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// Begins with no bytes.
    pub fn new(algorithm: DigestAlgorithm) -> Self {
        let state = match algorithm {
            DigestAlgorithm::Sha256 => State::Sha256(Sha256::new()),
            DigestAlgorithm::Sha512 => State::Sha512(Sha512::new()),
        };
        Self { state, length: 0 }
    }

    /// The algorithm this was begun with.
    pub fn algorithm(&self) -> DigestAlgorithm {
        match self.state {
            State::Sha256(_) => DigestAlgorithm::Sha256,
            State::Sha512(_) => DigestAlgorithm::Sha512,
        }
    }

    /// Adds the bytes that follow.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
        self.length += bytes.len() as u64;
    }

    /// The digest of all bytes added, also before a save.
    pub fn finish(self) -> Digest {
        match self.state {
            State::Sha256(state) => Digest::Sha256(state.finalize().into()),
            State::Sha512(state) => Digest::Sha512(state.finalize().into()),
        }
    }

    /// How many bytes were added, also before a save.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The state as bytes for [`Hasher::restore`]; at most 256 of them. They reveal up to 127 bytes
    /// of the content.
    pub fn save(&self) -> Vec<u8> {
        let mut saved = vec![FORMAT_VERSION];
        saved.push(match self.state {
            State::Sha256(_) => SHA256_CODE,
            State::Sha512(_) => SHA512_CODE,
        });
        saved.extend_from_slice(&self.length.to_le_bytes());
        match &self.state {
            State::Sha256(state) => saved.extend_from_slice(&state.serialize()),
            State::Sha512(state) => saved.extend_from_slice(&state.serialize()),
        }
        let check = Sha256::digest(&saved);
        saved.extend_from_slice(&check[..CHECK_BYTES]);
        saved
    }

    /// Goes on where [`Hasher::save`] stopped.
    ///
    /// # Errors
    /// [`HasherStateError`] if the bytes are of another format, or not what `save` gave.
    pub fn restore(saved: &[u8]) -> Result<Self, HasherStateError> {
        let version = *saved.first().ok_or(HasherStateError::Damaged)?;
        if version != FORMAT_VERSION {
            return Err(HasherStateError::UnknownVersion { version });
        }
        let (content, check) = saved
            .len()
            .checked_sub(CHECK_BYTES)
            .and_then(|middle| saved.split_at_checked(middle))
            .ok_or(HasherStateError::Damaged)?;
        if Sha256::digest(content)[..CHECK_BYTES] != *check {
            return Err(HasherStateError::Damaged);
        }
        let (header, inner) = content
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(HasherStateError::Damaged)?;
        let [_, code, length @ ..] = *header;
        let state = match code {
            SHA256_CODE => State::Sha256(restore_inner(inner)?),
            SHA512_CODE => State::Sha512(restore_inner(inner)?),
            _ => return Err(HasherStateError::UnknownAlgorithm { code }),
        };
        Ok(Self {
            state,
            length: u64::from_le_bytes(length),
        })
    }
}

fn restore_inner<S: SerializableState>(inner: &[u8]) -> Result<S, HasherStateError> {
    let state = SerializedState::<S>::try_from(inner).map_err(|_| HasherStateError::Damaged)?;
    S::deserialize(&state).map_err(|_| HasherStateError::Damaged)
}

/// Why a saved hash state cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HasherStateError {
    /// Another version of Berth saved it.
    #[error(
        "the saved hash state has format version {version}, but this version of Berth reads only version {FORMAT_VERSION}"
    )]
    UnknownVersion {
        /// The version byte found.
        version: u8,
    },
    /// It is whole, but names an algorithm that is not known here.
    #[error("the saved hash state names the unknown algorithm {code}")]
    UnknownAlgorithm {
        /// The algorithm byte found.
        code: u8,
    },
    /// It is cut short or changed.
    #[error("the saved hash state is damaged")]
    Damaged,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resealed(mut content: Vec<u8>) -> Vec<u8> {
        let check = Sha256::digest(&content);
        content.extend_from_slice(&check[..CHECK_BYTES]);
        content
    }

    /// Fails when sha2 changes its layout; then raise `FORMAT_VERSION` and keep a reader for
    /// version 1.
    #[test]
    fn the_saved_form_is_pinned() {
        for (algorithm, expected) in [
            (DigestAlgorithm::Sha256, PINNED_SHA256),
            (DigestAlgorithm::Sha512, PINNED_SHA512),
        ] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&[7; 130]);
            let saved = hasher.save();
            assert_eq!(
                Digest::of(DigestAlgorithm::Sha256, &saved).hex(),
                expected,
                "{saved:?}"
            );
        }
    }

    const PINNED_SHA256: &str = "2d024f6296ffae19c75d374182ea3b6b8bc9993b25f7839184265853132153e6";
    const PINNED_SHA512: &str = "6cf7caa5538898219afb40bd0abd0bae20b81753202386bd8c69894250ea20e3";

    #[test]
    fn an_unknown_version_is_refused() {
        let mut saved = Hasher::new(DigestAlgorithm::Sha256).save();
        saved[0] = 9;
        assert_eq!(
            Hasher::restore(&saved).err(),
            Some(HasherStateError::UnknownVersion { version: 9 })
        );
    }

    #[test]
    fn an_unknown_algorithm_is_refused() {
        let saved = Hasher::new(DigestAlgorithm::Sha256).save();
        let mut content = saved[..saved.len() - CHECK_BYTES].to_vec();
        content[1] = 3;
        assert_eq!(
            Hasher::restore(&resealed(content)).err(),
            Some(HasherStateError::UnknownAlgorithm { code: 3 })
        );
    }

    #[test]
    fn the_state_of_another_algorithm_is_refused() {
        let saved = Hasher::new(DigestAlgorithm::Sha256).save();
        let mut content = saved[..saved.len() - CHECK_BYTES].to_vec();
        content[1] = SHA512_CODE;
        assert_eq!(
            Hasher::restore(&resealed(content)).err(),
            Some(HasherStateError::Damaged)
        );
    }

    #[test]
    fn a_saved_state_fits_its_documented_limit() {
        assert!(Hasher::new(DigestAlgorithm::Sha512).save().len() <= 256);
    }

    proptest! {
        #[test]
        fn saving_at_every_split_changes_nothing(pieces: Vec<Vec<u8>>, long: bool) {
            let algorithm = if long { DigestAlgorithm::Sha512 } else { DigestAlgorithm::Sha256 };
            let mut hasher = Hasher::new(algorithm);
            for piece in &pieces {
                hasher.update(piece);
                hasher = Hasher::restore(&hasher.save()).unwrap();
            }
            let whole = pieces.concat();
            prop_assert_eq!(hasher.length(), whole.len() as u64);
            prop_assert_eq!(hasher.finish(), Digest::of(algorithm, &whole));
        }

        #[test]
        fn any_changed_byte_is_noticed(bytes: Vec<u8>, long: bool, position: prop::sample::Index, change in 1_u8..) {
            let algorithm = if long { DigestAlgorithm::Sha512 } else { DigestAlgorithm::Sha256 };
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&bytes);
            let mut saved = hasher.save();
            let position = position.index(saved.len());
            saved[position] ^= change;
            prop_assert!(Hasher::restore(&saved).is_err());
        }

        #[test]
        fn a_state_cut_short_is_noticed(kept in 0_usize..122) {
            let saved = Hasher::new(DigestAlgorithm::Sha256).save();
            prop_assert!(Hasher::restore(&saved[..kept.min(saved.len() - 1)]).is_err());
        }

        #[test]
        fn foreign_bytes_are_refused(bytes: Vec<u8>) {
            prop_assert!(Hasher::restore(&bytes).is_err());
        }
    }
}

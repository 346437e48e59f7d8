//! Digests: the address of bytes.
//!
//! Owns the textual form `<algorithm>:<hex>` and the two algorithms Berth accepts. It computes
//! nothing that does not fit in memory; streams go through [`Hasher`](crate::Hasher). It knows
//! nothing of stores or of what the bytes mean.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// How much of an unknown algorithm's name an error repeats, so that a long request does not become
/// a long answer.
const ECHO_LIMIT_CHARS: usize = 32;

/// The longest part behind the `:`, in characters.
const MAX_HEX_LENGTH: usize = 128;

/// A hash function that may name content.
///
/// These are the two that the OCI image specification registers ("Descriptor", "Registered
/// Algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigestAlgorithm {
    /// SHA-256, what every client uses unless told otherwise.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl DigestAlgorithm {
    /// The name in front of the `:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of the part behind the `:`, in characters.
    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => MAX_HEX_LENGTH,
        }
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for DigestAlgorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            unknown => Err(DigestError::UnsupportedAlgorithm {
                algorithm: unknown.chars().take(ECHO_LIMIT_CHARS).collect(),
            }),
        }
    }
}

/// The hash of some bytes, together with the algorithm that made it.
///
/// Its text is `sha256:` and 64 or `sha512:` and 128 lower-case hexadecimal digits; other spellings
/// do not parse, so that one content has one name per algorithm. Digests of two algorithms are
/// never equal, whatever the bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Digest {
    /// A SHA-256 hash.
    Sha256([u8; 32]),
    /// A SHA-512 hash.
    Sha512([u8; 64]),
}

impl Digest {
    /// Hashes bytes that are in memory anyway.
    pub fn of(algorithm: DigestAlgorithm, bytes: &[u8]) -> Self {
        match algorithm {
            DigestAlgorithm::Sha256 => Self::Sha256(sha2::Sha256::digest(bytes).into()),
            DigestAlgorithm::Sha512 => Self::Sha512(sha2::Sha512::digest(bytes).into()),
        }
    }

    /// The algorithm that made this digest.
    pub fn algorithm(&self) -> DigestAlgorithm {
        match self {
            Self::Sha256(_) => DigestAlgorithm::Sha256,
            Self::Sha512(_) => DigestAlgorithm::Sha512,
        }
    }

    /// The part behind the `:`.
    pub fn hex(&self) -> String {
        hex::encode(self.as_bytes())
    }

    /// Writes the text; into a `String`, that costs much less than formatting does.
    ///
    /// # Errors
    /// Those of the writer; a `String` has none.
    pub fn write_to(&self, writer: &mut impl fmt::Write) -> fmt::Result {
        let mut room = [0; MAX_HEX_LENGTH];
        let hex = &mut room[..self.algorithm().hex_length()];
        hex::encode_to_slice(self.as_bytes(), hex).map_err(|_| fmt::Error)?;
        let hex = std::str::from_utf8(hex).map_err(|_| fmt::Error)?;
        writer.write_str(self.algorithm().as_str())?;
        writer.write_char(':')?;
        writer.write_str(hex)
    }

    /// The hash itself: 32 or 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(hash) => hash,
            Self::Sha512(hash) => hash,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(formatter)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, encoded) = text.split_once(':').ok_or(DigestError::MissingSeparator)?;
        let algorithm: DigestAlgorithm = algorithm.parse()?;
        let found = encoded.chars().count();
        if found != algorithm.hex_length() {
            return Err(DigestError::WrongLength {
                algorithm,
                expected: algorithm.hex_length(),
                found,
            });
        }
        if !encoded
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(DigestError::NotLowerCaseHex);
        }
        let refused = |_| DigestError::NotLowerCaseHex;
        match algorithm {
            DigestAlgorithm::Sha256 => {
                let mut hash = [0; 32];
                hex::decode_to_slice(encoded, &mut hash).map_err(refused)?;
                Ok(Self::Sha256(hash))
            }
            DigestAlgorithm::Sha512 => {
                let mut hash = [0; 64];
                hex::decode_to_slice(encoded, &mut hash).map_err(refused)?;
                Ok(Self::Sha512(hash))
            }
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Why a text is not a digest; each message says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `:` between algorithm and hash.
    #[error(
        "a digest is written <algorithm>:<hex>, such as sha256: and 64 hexadecimal digits, but this has no ':'"
    )]
    MissingSeparator,
    /// The algorithm is none that Berth knows; at most 32 characters of its name are kept.
    #[error("digest algorithm {algorithm:?} is not supported: use sha256 or sha512")]
    UnsupportedAlgorithm {
        /// The name that was given.
        algorithm: String,
    },
    /// The hash has too few or too many characters.
    #[error(
        "a {algorithm} digest has {expected} hexadecimal digits after the ':', but this has {found}"
    )]
    WrongLength {
        /// The algorithm that was named.
        algorithm: DigestAlgorithm,
        /// The right number of characters.
        expected: usize,
        /// The number of characters found.
        found: usize,
    },
    /// The hash has a character other than `0` to `9` and `a` to `f`.
    #[error("the part of a digest after the ':' is written with 0-9 and a-f only, in lower case")]
    NotLowerCaseHex,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    /// image-spec 1.1, `schema/defs-descriptor.json`: the pattern of any digest.
    const GRAMMAR: &str = r"^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$";

    /// The same, "Registered Algorithms": what follows the algorithms that are stored here.
    const REGISTERED: &str = "^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$";

    const EMPTY_SHA256: &str =
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(
            Digest::of(DigestAlgorithm::Sha256, b"").to_string(),
            EMPTY_SHA256
        );
        assert!(
            Digest::of(DigestAlgorithm::Sha512, b"")
                .hex()
                .starts_with("cf83e1357eefb8bd")
        );
    }

    #[test]
    fn a_text_without_separator_is_refused() {
        assert_eq!(
            "sha256".parse::<Digest>(),
            Err(DigestError::MissingSeparator)
        );
        assert_eq!("".parse::<Digest>(), Err(DigestError::MissingSeparator));
    }

    #[test]
    fn an_unknown_algorithm_is_refused_and_the_known_ones_are_named() {
        let error = format!("md5{}:00", "x".repeat(100))
            .parse::<Digest>()
            .unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("sha256") && message.contains("sha512"),
            "{message}"
        );
        assert!(message.len() < 120, "{message}");
        assert!("SHA256:00".parse::<Digest>().is_err());
    }

    #[test]
    fn a_wrong_length_is_refused() {
        for text in [
            &EMPTY_SHA256[..70],
            &format!("{EMPTY_SHA256}0"),
            "sha256:",
            "sha512:00",
        ] {
            let error = text.parse::<Digest>().unwrap_err();
            assert!(matches!(error, DigestError::WrongLength { .. }), "{error}");
        }
    }

    #[test]
    fn upper_case_and_other_characters_are_refused() {
        let upper = EMPTY_SHA256.replace('e', "E");
        let foreign = EMPTY_SHA256.replace('e', "g");
        let wide = EMPTY_SHA256.replace('e', "é");
        for text in [upper, foreign, wide] {
            assert_eq!(
                text.parse::<Digest>(),
                Err(DigestError::NotLowerCaseHex),
                "{text}"
            );
        }
    }

    #[test]
    fn debug_is_the_text() {
        let digest: Digest = EMPTY_SHA256.parse().unwrap();
        assert_eq!(format!("{digest:?}"), EMPTY_SHA256);
    }

    proptest! {
        #[test]
        fn text_and_digest_are_one_to_one(bytes: Vec<u8>, long: bool) {
            let algorithm = if long { DigestAlgorithm::Sha512 } else { DigestAlgorithm::Sha256 };
            let digest = Digest::of(algorithm, &bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
            prop_assert_eq!(digest.algorithm(), algorithm);
        }

        #[test]
        fn every_registered_digest_is_taken_and_displayed_unchanged(text in "sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}") {
            prop_assert!(Regex::new(GRAMMAR).unwrap().is_match(&text));
            prop_assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        }

        #[test]
        fn the_parser_agrees_with_the_specification(
            text in "sha256:[a-f0-9]{62,66}|sha512:[a-f0-9]{126,130}|sha(256|512|384):[a-f0-9]{63}[a-gA-F0-9=é]|[a-z0-9+._-]{1,9}:[a-zA-Z0-9=_-]{1,9}",
            at: prop::sample::Index,
            mistake in "|[ -~]|\\PC",
        ) {
            let registered = Regex::new(REGISTERED).unwrap();
            let mut spoilt = text.clone();
            let place = at.index(text.len());
            if text.is_char_boundary(place) {
                spoilt.insert_str(place, &mistake);
            }
            for text in [text, spoilt] {
                prop_assert_eq!(text.parse::<Digest>().is_ok(), registered.is_match(&text), "{:?}", text);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _outcome = text.parse::<Digest>();
        }
    }
}

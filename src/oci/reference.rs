//! References: what stands after `/manifests/` in a path, a tag or a digest.

use std::fmt;
use std::str::FromStr;

use berth_storage::Digest;
use serde::{Deserialize, Serialize};

use super::tag::{Tag, TagError};

/// Why a text is neither a tag nor a digest.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// It has no colon, so it should be a tag, and is none.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// It has a colon, so it should be a digest, and is none.
    #[error("not a digest: {0}")]
    Digest(#[source] <Digest as FromStr>::Err),
}

/// A manifest's name within its repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Reference {
    /// By tag: what it points to may change.
    Tag(Tag),
    /// By digest: the same bytes for ever.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// Parses a digest if there is a colon, which no tag can have, and else a tag.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') {
            text.parse()
                .map(Self::Digest)
                .map_err(ReferenceError::Digest)
        } else {
            Ok(Self::Tag(text.parse()?))
        }
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(formatter),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use berth_storage::DigestAlgorithm;
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::oci::testing::{made_by, near, whole};

    /// distribution-spec 1.1, "Pulling manifests": `<reference>` is a tag, or a digest; image-spec 1.1, "Registered
    /// Algorithms", says what follows the two that are stored here.
    const GRAMMAR: &str =
        "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}|sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}";

    static SPECIFICATION: LazyLock<Regex> = LazyLock::new(|| whole(GRAMMAR));

    #[test]
    fn a_text_with_a_colon_is_a_digest_or_nothing() {
        for algorithm in [DigestAlgorithm::Sha256, DigestAlgorithm::Sha512] {
            let digest = Digest::of(algorithm, b"x");
            assert_eq!(
                digest.to_string().parse::<Reference>().expect("valid"),
                Reference::Digest(digest)
            );
        }
        for text in [
            "sha256:",
            "sha256:abc",
            ":",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "a:b",
        ] {
            assert!(
                matches!(text.parse::<Reference>(), Err(ReferenceError::Digest(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_text_without_a_colon_is_a_tag_or_nothing() {
        assert_eq!(
            "v1".parse::<Reference>().expect("valid"),
            Reference::Tag("v1".parse().expect("valid"))
        );
        for text in ["", "..", "a/b"] {
            assert!(
                matches!(text.parse::<Reference>(), Err(ReferenceError::Tag(_))),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_matcher_agrees_with_the_specifications_on_references_with_a_mistake(text in near(GRAMMAR)) {
            prop_assert_eq!(text.parse::<Reference>().is_ok(), SPECIFICATION.is_match(&text), "{:?}", text);
        }

        #[test]
        fn what_is_displayed_parses_to_the_same(text in made_by(GRAMMAR)) {
            prop_assert_eq!(text.parse::<Reference>().expect("valid").to_string(), text);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<Reference>();
        }
    }
}

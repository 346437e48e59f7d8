//! The id of an upload session: random, so that it cannot be guessed, and worth nothing outside its repository.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The id of an upload session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(Uuid);

/// A text that is no upload id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an upload id is a UUID in lower case with hyphens, as given by the Location header")]
pub struct UploadIdError;

impl UploadId {
    /// A new id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        let id = Uuid::try_parse(text).map_err(|_| UploadIdError)?;
        // One spelling only: an id is compared and stored as text.
        if id.to_string() == text {
            Ok(Self(id))
        } else {
            Err(UploadIdError)
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::oci::testing::{made_by, near, whole};

    /// RFC 9562 section 4, in lower case alone: `hex-octet` in groups of 4, 2, 2, 2 and 6.
    const GRAMMAR: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";

    static SPECIFICATION: LazyLock<Regex> = LazyLock::new(|| whole(GRAMMAR));

    #[test]
    fn other_spellings_of_an_id_are_none() {
        let id = UploadId::random().to_string();
        assert!(id.parse::<UploadId>().is_ok());
        for other in [
            id.to_ascii_uppercase()
                .replace(|c: char| c.is_ascii_digit(), "A"),
            id.replace('-', ""),
            format!("{{{id}}}"),
            format!("urn:uuid:{id}"),
            format!("{id} "),
            String::new(),
        ] {
            assert_eq!(other.parse::<UploadId>(), Err(UploadIdError), "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_id_is_taken_and_displayed_unchanged(text in made_by(GRAMMAR)) {
            prop_assert_eq!(text.parse::<UploadId>().expect("an id").to_string(), text);
        }

        #[test]
        fn the_matcher_agrees_with_the_grammar_on_ids_with_a_mistake(text in near(GRAMMAR)) {
            prop_assert_eq!(text.parse::<UploadId>().is_ok(), SPECIFICATION.is_match(&text), "{:?}", text);
        }
    }
}

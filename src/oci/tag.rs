//! Tags: the names that people give to manifests.
//!
//! Owns the grammar of the distribution specification ("Pulling manifests"). It must not know what a tag points to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The text is no tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tag has 1 to {max} letters, digits, `_`, `.` and `-`, and does not begin with `.` or `-`",
    max = Tag::MAX_LENGTH
)]
pub struct TagError;

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
///
/// Cheap to clone. Ordered bytewise, as the database orders tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Arc<str>);

impl Tag {
    /// The longest tag, in bytes.
    pub const MAX_LENGTH: usize = 128;

    /// The tag as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let Some((first, rest)) = text.as_bytes().split_first() else {
            return Err(TagError);
        };
        let valid = text.len() <= Self::MAX_LENGTH
            && is_word(first)
            && rest
                .iter()
                .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
        if valid {
            Ok(Self(Arc::from(text)))
        } else {
            Err(TagError)
        }
    }
}

impl TryFrom<String> for Tag {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, TagError> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0.as_ref().to_owned()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::oci::testing::{made_by, near, whole};

    /// distribution-spec 1.1, "Pulling manifests": what `<reference>` must match as a tag.
    const GRAMMAR: &str = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";

    static SPECIFICATION: LazyLock<Regex> = LazyLock::new(|| whole(GRAMMAR));

    #[test]
    fn tags_of_the_grammar_are_taken() {
        for tag in [
            "latest",
            "v1",
            "_",
            "1.0",
            "V1.0-rc_1",
            "a.",
            "a-",
            "uploads",
            "list",
        ] {
            assert_eq!(tag.parse::<Tag>().expect(tag).as_str(), tag);
        }
    }

    #[test]
    fn tags_outside_the_grammar_are_refused() {
        for tag in [
            "", ".", "..", ".a", "-a", "a/b", "a:b", "a b", "a%41", "a\0", "a\n", "ä",
        ] {
            assert_eq!(tag.parse::<Tag>(), Err(TagError), "{tag}");
        }
    }

    #[test]
    fn the_longest_tag_is_taken_and_one_more_is_refused() {
        assert!("a".repeat(Tag::MAX_LENGTH).parse::<Tag>().is_ok());
        assert!("a".repeat(Tag::MAX_LENGTH + 1).parse::<Tag>().is_err());
    }

    #[test]
    fn tags_are_ordered_bytewise() {
        let mut tags: Vec<Tag> = ["b", "a", "_", "B", "10", "9"]
            .iter()
            .map(|tag| tag.parse().expect("valid"))
            .collect();
        tags.sort();
        assert_eq!(
            tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
            ["10", "9", "B", "_", "a", "b"]
        );
    }

    proptest! {
        #[test]
        fn every_tag_of_the_specification_is_taken_and_displayed_unchanged(text in made_by(GRAMMAR)) {
            prop_assert_eq!(text.parse::<Tag>().expect("a tag").to_string(), text);
        }

        #[test]
        fn the_matcher_agrees_with_the_specification_on_tags_with_a_mistake(text in near(GRAMMAR)) {
            prop_assert_eq!(text.parse::<Tag>().is_ok(), SPECIFICATION.is_match(&text), "{:?}", text);
        }

        #[test]
        fn the_matcher_agrees_with_the_specification(text in "[a-cA-C0-1._:/-]{0,6}|[a-z]{126,130}|\\PC*") {
            prop_assert_eq!(text.parse::<Tag>().is_ok(), SPECIFICATION.is_match(&text));
        }
    }
}

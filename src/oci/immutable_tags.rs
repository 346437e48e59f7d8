//! Which tags of an image stay where they are: all of them, or those of a pattern.

use std::fmt;
use std::str::FromStr;

use super::tag::Tag;

/// Characters of a pattern at most: as many as a tag may have.
const MAX_PATTERN_LENGTH: usize = 128;

/// A pattern of tags: `*` is any number of characters, `?` is one; everything else is itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImmutableTags(Option<String>);

/// A text that is no pattern of tags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pattern of tags has 1 to {MAX_PATTERN_LENGTH} letters, digits, `_`, `.` or `-`, with `*` for any characters and `?` for one"
)]
pub struct NoTagPattern;

impl ImmutableTags {
    /// Every tag.
    #[must_use]
    pub fn all() -> Self {
        Self(Some(String::from("*")))
    }

    /// The pattern; none when every tag may move.
    #[must_use]
    pub fn pattern(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether it is every tag.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.0.as_deref() == Some("*")
    }

    /// Whether this tag stays where it is.
    #[must_use]
    pub fn hold(&self, tag: &Tag) -> bool {
        self.0
            .as_deref()
            .is_some_and(|pattern| matches(pattern.as_bytes(), tag.as_str().as_bytes()))
    }
}

/// Whether the pattern fits, in time that is at most the product of both lengths: of several stars only the last one
/// is ever taken back.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while position < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[position] => {
                at += 1;
                position += 1;
            }
            Some(_) | None => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                position = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl FromStr for ImmutableTags {
    type Err = NoTagPattern;

    fn from_str(text: &str) -> Result<Self, NoTagPattern> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-*?".contains(&byte);
        if (1..=MAX_PATTERN_LENGTH).contains(&text.len()) && text.bytes().all(known) {
            Ok(Self(Some(text.to_owned())))
        } else {
            Err(NoTagPattern)
        }
    }
}

impl fmt::Display for ImmutableTags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_deref().unwrap_or("none"))
    }
}

#[cfg(test)]
mod tests {
    use globset::GlobBuilder;
    use proptest::prelude::*;

    use super::*;

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_is_immutable_unless_it_was_said() {
        assert!(!ImmutableTags::default().hold(&tag("v1")));
        assert!(ImmutableTags::all().hold(&tag("v1")));
        let releases: ImmutableTags = "v*.?".parse().unwrap();
        assert!(releases.hold(&tag("v1.0.2")) && !releases.hold(&tag("v1.0-rc")));
        assert!(!releases.hold(&tag("main")));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let long = "a".repeat(MAX_PATTERN_LENGTH + 1);
        for text in ["", "a b", "v[12]", "{a,b}", "a/b", long.as_str()] {
            assert_eq!(text.parse::<ImmutableTags>(), Err(NoTagPattern), "{text}");
        }
    }

    proptest! {
        #[test]
        fn patterns_mean_what_they_mean_elsewhere(pattern in "[a-b*?]{1,8}", text in "[ab]{1,10}") {
            let glob = GlobBuilder::new(&pattern).literal_separator(true).build().unwrap();
            let ours: ImmutableTags = pattern.parse().unwrap();
            prop_assert_eq!(ours.hold(&tag(&text)), glob.compile_matcher().is_match(&text));
        }
    }
}

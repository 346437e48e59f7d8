//! Repository names, and image names: the same without the team's prefix.
//!
//! Owns the grammar of the distribution specification ("Pulling manifests"). It must not know which prefixes
//! exist or to whom they belong.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is no repository or image name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing in it.
    #[error("a repository name must not be empty")]
    Empty,
    /// It is longer than clients can handle.
    #[error("a repository name has at most {max} characters, and this one has more", max = RepositoryName::MAX_LENGTH)]
    TooLong,
    /// There is nothing between two slashes.
    #[error(
        "a repository name begins and ends with a letter or digit, and has no two slashes together"
    )]
    EmptyComponent,
    /// One of the parts between slashes breaks the grammar.
    #[error(
        "`{component}` cannot be part of a repository name: between slashes stand lower-case letters and digits, \
         joined by `.`, `_`, `__` or dashes"
    )]
    Component {
        /// The part that is wrong.
        component: String,
    },
}

/// The full name of a repository in the registry, such as `t-6a1ba868/team/app`.
///
/// At most [`RepositoryName::MAX_LENGTH`] characters of the grammar in the distribution specification,
/// "Pulling manifests". Cheap to clone; ordered bytewise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    /// The longest name, in bytes.
    ///
    /// The specification leaves the limit open and notes that many clients allow 255 for host and name together.
    pub const MAX_LENGTH: usize = 255;

    /// The repository `<prefix>/<image>`.
    ///
    /// # Errors
    ///
    /// [`NameError`] if the prefix breaks the grammar or the whole is too long.
    pub fn new(prefix: &str, image: &ImageName) -> Result<Self, NameError> {
        format!("{prefix}/{image}").parse()
    }

    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first component: whose repository this is.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0
            .split_once('/')
            .map_or(&*self.0, |(prefix, _)| prefix)
    }

    /// The rest after the first component; none for a name of one component.
    #[must_use]
    pub fn image(&self) -> Option<ImageName> {
        let (_, image) = self.0.split_once('/')?;
        // The components of a valid name are valid, so nothing is to be checked again.
        Some(ImageName(Arc::from(image)))
    }
}

/// The name of an image as its own workspace speaks of it, without the prefix, such as `team/app`.
///
/// The same grammar and limit as [`RepositoryName`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(Arc<str>);

impl ImageName {
    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks `text` against
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*` and the limit.
fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > RepositoryName::MAX_LENGTH {
        return Err(NameError::TooLong);
    }
    match text
        .split('/')
        .find(|component| !is_component(component.as_bytes()))
    {
        None => Ok(()),
        Some("") => Err(NameError::EmptyComponent),
        Some(component) => Err(NameError::Component {
            component: component.to_owned(),
        }),
    }
}

fn is_component(component: &[u8]) -> bool {
    let (Some(first), Some(last)) = (component.first(), component.last()) else {
        return false;
    };
    // Splitting at letters and digits leaves the runs of everything else: each must be one whole separator.
    is_alphanumeric(first)
        && is_alphanumeric(last)
        && component
            .split(is_alphanumeric)
            .filter(|run| !run.is_empty())
            .all(is_separator)
}

fn is_alphanumeric(byte: &u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_separator(run: &[u8]) -> bool {
    matches!(run, b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-')
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check(text).map(|()| Self(Arc::from(text)))
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check(text).map(|()| Self(Arc::from(text)))
    }
}

impl TryFrom<String> for RepositoryName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl TryFrom<String> for ImageName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<RepositoryName> for String {
    fn from(name: RepositoryName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for ImageName {
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
    use crate::oci::testing::{near, whole};

    /// distribution-spec 1.1, "Pulling manifests": what `<name>` must match.
    const GRAMMAR: &str =
        r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*";

    /// The grammar with bounds to its repetitions: names that are made quickly, some of them too long.
    const SOME_NAMES: &str = r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,3}(/[a-z0-9]{1,12}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,3}){0,9}";

    static SPECIFICATION: LazyLock<Regex> = LazyLock::new(|| whole(GRAMMAR));

    fn agrees_with_the_specification(text: &str) -> bool {
        let expected = SPECIFICATION.is_match(text) && text.len() <= RepositoryName::MAX_LENGTH;
        text.parse::<RepositoryName>().is_ok() == expected
            && text.parse::<ImageName>().is_ok() == expected
    }

    #[test]
    fn names_of_the_grammar_are_taken() {
        for name in [
            "a",
            "0",
            "a/b",
            "a.b",
            "a_b",
            "a__b",
            "a-b",
            "a---b",
            "t-6a1ba868/team/app",
            "a/b.c/d__e/f-0",
        ] {
            assert_eq!(name.parse::<RepositoryName>().expect(name).as_str(), name);
        }
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        for name in [
            ".", "..", "a/../b", "a..b", "a___b", "a._b", "a-.b", "-a", "a-", "_a", "a_", "A",
            "a/B", "a b", "a%2Fb", "a\0b", "a\n", "ä", "a:b", "a@b", "a\\b", "-",
        ] {
            assert!(
                matches!(
                    name.parse::<RepositoryName>(),
                    Err(NameError::Component { .. })
                ),
                "{name}"
            );
        }
        for name in ["/a", "a/", "a//b", "/", "//"] {
            let refused = name.parse::<RepositoryName>();
            assert_eq!(refused, Err(NameError::EmptyComponent), "{name}");
        }
        assert_eq!("".parse::<RepositoryName>(), Err(NameError::Empty));
    }

    #[test]
    fn the_longest_name_is_taken_and_one_more_is_refused() {
        let longest = "a".repeat(RepositoryName::MAX_LENGTH);
        assert!(longest.parse::<RepositoryName>().is_ok());
        assert_eq!(
            format!("{longest}a").parse::<RepositoryName>(),
            Err(NameError::TooLong)
        );
    }

    #[test]
    fn the_prefix_is_the_first_component_and_the_image_the_rest() {
        let name: RepositoryName = "t-6a1ba868/team/app".parse().expect("valid");
        assert_eq!(name.prefix(), "t-6a1ba868");
        let image = name.image().expect("it has one");
        assert_eq!(image.as_str(), "team/app");
        assert_eq!(RepositoryName::new(name.prefix(), &image), Ok(name));
    }

    #[test]
    fn a_name_of_one_component_is_all_prefix() {
        let name: RepositoryName = "platform".parse().expect("valid");
        assert_eq!(name.prefix(), "platform");
        assert_eq!(name.image(), None);
    }

    #[test]
    fn json_is_checked_as_well() {
        assert_eq!(
            serde_json::from_str::<RepositoryName>(r#""a/b""#)
                .expect("valid")
                .to_string(),
            "a/b"
        );
        assert!(serde_json::from_str::<RepositoryName>(r#""a//b""#).is_err());
        assert_eq!(
            serde_json::to_string(&"a/b".parse::<ImageName>().expect("valid")).expect("json"),
            r#""a/b""#
        );
    }

    proptest! {
        #[test]
        fn the_matcher_agrees_with_the_specification_on_names(text in SOME_NAMES) {
            prop_assert!(agrees_with_the_specification(&text));
        }

        #[test]
        fn the_matcher_agrees_with_the_specification_on_names_with_a_mistake(text in near(SOME_NAMES)) {
            prop_assert!(agrees_with_the_specification(&text), "{text:?}");
        }

        #[test]
        fn what_is_taken_is_displayed_unchanged(text in SOME_NAMES) {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert_eq!(name.to_string(), text.clone());
                prop_assert_eq!(String::from(name), text);
            }
        }

        #[test]
        fn the_matcher_agrees_with_the_specification_on_near_names(text in "[a-c0-1./_A%-]{0,12}") {
            prop_assert!(agrees_with_the_specification(&text));
        }

        #[test]
        fn the_matcher_agrees_with_the_specification_on_anything(text in any::<String>()) {
            prop_assert!(agrees_with_the_specification(&text));
        }

        #[test]
        fn an_image_name_is_itself_a_valid_name(text in SOME_NAMES) {
            let Ok(name) = text.parse::<RepositoryName>() else { return Ok(()) };
            if let Some(image) = name.image() {
                prop_assert_eq!(image.as_str().parse::<ImageName>().expect("valid"), image.clone());
                prop_assert_eq!(format!("{}/{}", name.prefix(), image), text);
            }
        }
    }
}

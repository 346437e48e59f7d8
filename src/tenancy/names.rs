//! What accounts, workspaces, keys and namespaces may be called.

use std::ops::RangeInclusive;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::auth::RequestError;
use crate::grammar::{documented, text, whole};
use crate::oci::RepositoryName;

/// Characters of the name of an account or workspace at most.
pub(super) const MAX_NAME_LENGTH: usize = 64;
const NAME_LENGTHS: RangeInclusive<usize> = 1..=MAX_NAME_LENGTH;
/// Characters of a text that people give things at most.
const MAX_LABEL_LENGTH: usize = 200;
const LABEL_LENGTHS: RangeInclusive<usize> = 1..=MAX_LABEL_LENGTH;
/// Bytes of the id of a team elsewhere at most.
const MAX_TEAM_ID_BYTES: usize = 255;
const TEAM_ID_LENGTHS: RangeInclusive<usize> = 1..=MAX_TEAM_ID_BYTES;
/// Characters of a team key.
const TEAM_KEY_LENGTHS: RangeInclusive<usize> = 4..=32;
/// Hex digits of a derived team key.
const DERIVED_KEY_LENGTH: usize = 8;
/// First components that would be taken for something else by people, clients or proxies.
const RESERVED_NAMESPACES: [&str; 8] = [
    "api",
    "health",
    "localhost",
    "metrics",
    "token",
    "v1",
    "v2",
    "t",
];

/// Regular expressions of what the checks below take, for the API's document.
const NAME: &str = "[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?";
const TEAM_KEY: &str = "[a-z0-9]{4,32}";
/// One component of distribution-spec's `<name>`, without a dot.
const NAMESPACE: &str = "[a-z0-9]+((_|__|-+)[a-z0-9]+)*";
/// No control character anywhere, and no white space at the ends.
const LABEL: &str = concat!(
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    r"([^\u0000-\u001f\u007f-\u009f]*",
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])?"
);

pub(crate) enum Name {}
documented!(
    Name,
    text("The name of an account or workspace.", NAME_LENGTHS, "acme").pattern(whole(NAME))
);

pub(super) enum Label {}
documented!(
    Label,
    text(
        "What people call something: one line, no spaces at its ends.",
        LABEL_LENGTHS,
        "Acme's shop"
    )
    .pattern(whole(LABEL))
);

pub(super) enum TeamKey {}
documented!(
    TeamKey,
    text(
        "What a team's prefix `t-<team key>/` is made of.",
        TEAM_KEY_LENGTHS,
        "6a1ba868"
    )
    .pattern(whole(TEAM_KEY))
);

pub(super) enum Namespace {}
documented!(
    Namespace,
    text(
        "A reserved first component of repository names. It neither begins with `t-` nor is a word that would be taken \
         for something else, such as `v2`.",
        NAME_LENGTHS,
        "platform"
    )
    .pattern(whole(NAMESPACE))
);

pub(super) enum TeamId {}
documented!(
    TeamId,
    text(
        "The id of a team in another system, at most 255 bytes.",
        TEAM_ID_LENGTHS,
        "team-123"
    )
);

/// Checks the name of an account or workspace.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), RequestError> {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let well_formed = NAME_LENGTHS.contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| alphanumeric(*byte) || b"._-".contains(byte))
        && bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric);
    if well_formed {
        return Ok(());
    }
    Err(RequestError::BadRequest(format!(
        "{field}: a name has 1 to {MAX_NAME_LENGTH} lower-case letters, digits, '.', '_' and '-', and begins and ends \
         with a letter or digit"
    )))
}

/// Checks a text for people: any characters but control ones.
pub(super) fn check_label(field: &str, label: &str) -> Result<(), RequestError> {
    let length = label.chars().count();
    let well_formed = LABEL_LENGTHS.contains(&length)
        && label.trim() == label
        && !label.chars().any(char::is_control);
    if well_formed {
        return Ok(());
    }
    Err(RequestError::BadRequest(format!(
        "{field}: 1 to {MAX_LABEL_LENGTH} characters on one line, without spaces at its ends"
    )))
}

/// Checks a team key that was given.
pub(super) fn check_team_key(key: &str) -> Result<(), RequestError> {
    let well_formed = TEAM_KEY_LENGTHS.contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if well_formed {
        return Ok(());
    }
    Err(RequestError::BadRequest(String::from(
        "teamKey: 4 to 32 lower-case letters and digits",
    )))
}

/// Checks a namespace: one component of a repository name that can be mistaken for nothing else.
pub(super) fn check_namespace(namespace: &str) -> Result<(), RequestError> {
    let bad = |message: &str| Err(RequestError::BadRequest(format!("namespace: {message}")));
    if namespace.len() > MAX_NAME_LENGTH
        || namespace.contains('/')
        || namespace.parse::<RepositoryName>().is_err()
    {
        return bad(
            "one component of a repository name: lower-case letters and digits, joined by '_' or '-'",
        );
    }
    if namespace.starts_with("t-") {
        return bad("names that begin with t- belong to team keys");
    }
    // A client would read `my.team/app` as the image `app` of the host `my.team`.
    if namespace.contains('.') {
        return bad("with a '.' it would be taken for a host");
    }
    if RESERVED_NAMESPACES.contains(&namespace) {
        return bad("this word is reserved");
    }
    Ok(())
}

/// Checks the id of a team elsewhere.
pub(super) fn check_team_id(id: &str) -> Result<(), RequestError> {
    if TEAM_ID_LENGTHS.contains(&id.len()) {
        return Ok(());
    }
    Err(RequestError::BadRequest(format!(
        "teamId: 1 to {MAX_TEAM_ID_BYTES} bytes"
    )))
}

/// The team key of a team's id: the first eight hex digits of its SHA-1, as platforms derive it already.
#[must_use]
pub fn team_key_of(team_id: &str) -> String {
    let mut hex = hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, team_id.as_bytes()));
    hex.truncate(DERIVED_KEY_LENGTH);
    hex
}

/// A team key out of nothing.
pub(super) fn random_team_key() -> Result<String, RequestError> {
    let mut bytes = [0; DERIVED_KEY_LENGTH / 2];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| RequestError::Internal(String::from("the system gives no random bytes")))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::oci::testing::{made_by, near, whole};

    const SOME_NAMESPACES: &str = "[a-z0-9]{1,6}((_|__|-{1,3})[a-z0-9]{1,20}){0,4}";

    static NAMES: LazyLock<Regex> = LazyLock::new(|| whole(NAME));
    static TEAM_KEYS: LazyLock<Regex> = LazyLock::new(|| whole(TEAM_KEY));
    static NAMESPACES: LazyLock<Regex> = LazyLock::new(|| whole(NAMESPACE));
    static LABELS: LazyLock<Regex> = LazyLock::new(|| whole(LABEL));

    proptest! {
        #[test]
        fn names_agree_with_their_grammar(made in made_by(NAME), spoilt in near(NAME)) {
            prop_assert!(check_name("name", &made).is_ok(), "{made:?}");
            prop_assert_eq!(check_name("name", &spoilt).is_ok(), NAMES.is_match(&spoilt), "{:?}", spoilt);
        }

        #[test]
        fn team_keys_agree_with_their_grammar(made in made_by(TEAM_KEY), spoilt in near(TEAM_KEY)) {
            prop_assert!(check_team_key(&made).is_ok(), "{made:?}");
            prop_assert_eq!(check_team_key(&spoilt).is_ok(), TEAM_KEYS.is_match(&spoilt), "{:?}", spoilt);
        }

        #[test]
        fn namespaces_agree_with_their_grammar(text in prop_oneof![made_by(SOME_NAMESPACES), near(SOME_NAMESPACES)]) {
            let expected = NAMESPACES.is_match(&text)
                && text.len() <= MAX_NAME_LENGTH
                && !text.starts_with("t-")
                && !RESERVED_NAMESPACES.contains(&text.as_str());
            prop_assert_eq!(check_namespace(&text).is_ok(), expected, "{:?}", text);
        }

        /// A prefix must always be one component of a repository name, or nothing could be pushed below it.
        #[test]
        fn every_prefix_begins_repository_names(key in made_by(TEAM_KEY), namespace in made_by(SOME_NAMESPACES), id in ".{1,40}") {
            let derived = team_key_of(&id);
            prop_assert!(check_team_key(&derived).is_ok());
            for prefix in [format!("t-{key}"), format!("t-{derived}"), namespace] {
                let name: RepositoryName = format!("{prefix}/app").parse().unwrap();
                prop_assert_eq!(name.prefix(), prefix);
            }
        }

        #[test]
        fn labels_are_one_line_without_spaces_at_the_ends(label in "[ -~]{0,6}|.{195,205}|[a-z\\x00-\\x1f\u{85}\u{a0}\u{2028}]{0,4}") {
            let length = label.chars().count();
            let expected = (1..=MAX_LABEL_LENGTH).contains(&length)
                && !label.starts_with(char::is_whitespace)
                && !label.ends_with(char::is_whitespace)
                && !label.contains(char::is_control);
            prop_assert_eq!(check_label("name", &label).is_ok(), expected, "{:?}", label);
            prop_assert_eq!(LABELS.is_match(&label) && LABEL_LENGTHS.contains(&length), expected, "{:?}", label);
        }
    }

    #[test]
    fn the_team_key_of_a_team_id_is_the_one_that_platforms_know() {
        assert_eq!(team_key_of("team-123"), "6a1ba868");
    }

    #[test]
    fn names_are_slugs() {
        let long = "a".repeat(MAX_NAME_LENGTH);
        for good in ["a", "main", "team-1", "a.b_c", long.as_str()] {
            assert!(check_name("name", good).is_ok(), "{good}");
        }
        let too_long = "a".repeat(MAX_NAME_LENGTH + 1);
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a/b",
            "a b",
            "ä",
            "~x",
            too_long.as_str(),
        ] {
            assert!(check_name("name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn namespaces_cannot_be_mistaken() {
        for good in ["platform", "base-images", "a__b", "t2"] {
            assert!(check_namespace(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "t-x",
            "v2",
            "api",
            "localhost",
            "a.b",
            "a/b",
            "-a",
            "Platform",
            "a--",
            "t",
        ] {
            assert!(check_namespace(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn team_keys_have_four_to_thirty_two_characters() {
        for good in ["main", "0000", &"a".repeat(32)] {
            assert!(check_team_key(good).is_ok(), "{good}");
        }
        for bad in ["abc", "a-bc", "ABCD", &"a".repeat(33)] {
            assert!(check_team_key(bad).is_err(), "{bad}");
        }
    }
}

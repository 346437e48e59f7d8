//! How images, tags and digests are written, for the API's document. The checks are those of `oci` and of the storage,
//! which know no document; the tests here hold the two together.

use std::ops::RangeInclusive;

use utoipa::openapi::Ref;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};

use super::reference::MAX_REFERENCE_BYTES;
use crate::grammar::{documented, text, whole};
use crate::oci;

/// Characters of a repository's name at most, and so of an image's.
const NAME_LENGTHS: RangeInclusive<usize> = 1..=oci::RepositoryName::MAX_LENGTH;
const TAG_LENGTHS: RangeInclusive<usize> = 1..=oci::Tag::MAX_LENGTH;
/// Those of `sha256:` and `sha512:` with their hexadecimal digits.
const DIGEST_LENGTHS: RangeInclusive<usize> = 71..=135;
const REFERENCE_LENGTHS: RangeInclusive<usize> = 1..=MAX_REFERENCE_BYTES;

/// distribution-spec 1.1, "Pulling manifests": what stands between the slashes of a `<name>`, the `<name>`, and a tag.
const COMPONENT: &str = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*";
const NAME: &str = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*";
const TAG: &str = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";
const TAG_PATTERN: &str = "[a-zA-Z0-9_.*?-]{1,128}";
const DIGEST: &str = "(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})";
const ENTITY_TAG: &str = r#"(\*|"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")"#;

const SOME_DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(super) enum ImageName {}
documented!(
    ImageName,
    text(
        "The name of an image as its workspace speaks of it, without the prefix: components that are joined by slashes.",
        NAME_LENGTHS,
        "team/app"
    )
    .pattern(whole(NAME))
);

pub(crate) enum ImageInPath {}
documented!(
    ImageInPath,
    text(
        "The name of an image in a path. Where it has several components, their slashes stand raw, as in \
         `/api/v1/images/team/app`: a slash in percent-encoding is a 400. Parameters of a path in OpenAPI have none, so \
         the pattern tells names of one component.",
        NAME_LENGTHS,
        "app"
    )
    .pattern(whole(COMPONENT))
);

pub(crate) enum ImageNameStart {}
documented!(
    ImageNameStart,
    text(
        "The beginning of a name.",
        0..=oci::RepositoryName::MAX_LENGTH,
        "team/"
    )
    .pattern(whole("[a-z0-9._/-]*"))
);

pub(super) enum RepositoryName {}
documented!(
    RepositoryName,
    text(
        "The full name of a repository in the registry, prefix included.",
        NAME_LENGTHS,
        "t-shop/team/app"
    )
    .pattern(whole(NAME))
);

pub(crate) enum Tag {}
documented!(
    Tag,
    text("A tag of an image.", TAG_LENGTHS, "v1").pattern(whole(TAG))
);

pub(crate) enum Digest {}
documented!(
    Digest,
    text("The digest of content.", DIGEST_LENGTHS, SOME_DIGEST).pattern(whole(DIGEST))
);

pub(crate) enum EntityTag {}
documented!(
    EntityTag,
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(whole(ENTITY_TAG))
        .examples([format!("\"{SOME_DIGEST}\"")])
);

pub(super) enum Reference {}
documented!(
    Reference,
    text(
        "An image reference as people write it, at most 1024 bytes: a host or none, a name with a prefix or without, a \
         tag or a digest; `latest` where both are left out.",
        REFERENCE_LENGTHS,
        "team/app:v1"
    )
);

pub(super) enum ImmutableTags {}
documented!(ImmutableTags, {
    let all_or_none = ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some("All tags, or none."));
    let pattern = text(
        "A pattern of tags: `*` is any number of characters, `?` is one.",
        TAG_LENGTHS,
        "v*",
    );
    OneOfBuilder::new()
        .description(Some("Which tags stay where they are."))
        .item(all_or_none)
        .item(pattern.pattern(whole(TAG_PATTERN)))
});

pub(super) enum TagPattern {}
documented!(
    TagPattern,
    text(
        "A pattern of tags: `*` is any number of characters, `?` is one.",
        TAG_LENGTHS,
        "pr-*"
    )
    .pattern(whole(TAG_PATTERN))
);

/// The name of a workspace, as tenancy checks and describes it.
pub(super) enum WorkspaceName {}
documented!(WorkspaceName, Ref::from_schema_name("Name"));

pub(super) enum Platform {}
documented!(
    Platform,
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "An operating system and an architecture, with its variant where it has one."
        ))
        .examples(["linux/amd64"])
);

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::oci::testing::{made_by, near, whole};

    /// Names with bounds to their repetitions, so that they are made quickly.
    const SOME_NAMES: &str = "[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,3}(/[a-z0-9]{1,9}(-[a-z0-9]{1,8}){0,3}){0,9}";

    static NAMES: LazyLock<Regex> = LazyLock::new(|| whole(NAME));
    static COMPONENTS: LazyLock<Regex> = LazyLock::new(|| whole(COMPONENT));
    static TAGS: LazyLock<Regex> = LazyLock::new(|| whole(TAG));
    static TAG_PATTERNS: LazyLock<Regex> = LazyLock::new(|| whole(TAG_PATTERN));
    static DIGESTS: LazyLock<Regex> = LazyLock::new(|| whole(DIGEST));

    fn is_digest(text: &str) -> bool {
        text.parse::<berth_storage::Digest>().is_ok()
    }

    proptest! {
        #[test]
        fn names_agree_with_their_grammar(text in prop_oneof![made_by(SOME_NAMES), near(SOME_NAMES)]) {
            let is_name = text.parse::<oci::ImageName>().is_ok();
            let fits = NAME_LENGTHS.contains(&text.len());
            prop_assert_eq!(NAMES.is_match(&text) && fits, is_name, "{:?}", text);
            prop_assert_eq!(COMPONENTS.is_match(&text) && fits, is_name && !text.contains('/'), "{:?}", text);
        }

        #[test]
        fn tags_agree_with_their_grammar(made in made_by(TAG), spoilt in near(TAG)) {
            prop_assert!(made.parse::<oci::Tag>().is_ok(), "{made:?}");
            prop_assert_eq!(spoilt.parse::<oci::Tag>().is_ok(), TAGS.is_match(&spoilt), "{:?}", spoilt);
        }

        #[test]
        fn patterns_of_tags_agree_with_their_grammar(made in made_by(TAG_PATTERN), spoilt in near(TAG_PATTERN)) {
            prop_assert!(made.parse::<oci::ImmutableTags>().is_ok(), "{made:?}");
            let is_pattern = spoilt.parse::<oci::ImmutableTags>().is_ok();
            prop_assert_eq!(is_pattern, TAG_PATTERNS.is_match(&spoilt), "{:?}", spoilt);
        }

        #[test]
        fn digests_agree_with_their_grammar(made in made_by(DIGEST), spoilt in near(DIGEST)) {
            prop_assert!(is_digest(&made) && DIGEST_LENGTHS.contains(&made.len()), "{made:?}");
            prop_assert_eq!(is_digest(&spoilt), DIGESTS.is_match(&spoilt), "{:?}", spoilt);
        }
    }
}

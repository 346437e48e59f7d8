//! Media types: the grammar, and the ones that a registry must know by name.
//!
//! Most media types are opaque here: an artifact may be of any type. What a manifest type means is in `manifest`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The text is no media type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a media type has the form `type/subtype` of RFC 6838, in at most {max} characters",
    max = MediaType::MAX_LENGTH
)]
pub struct MediaTypeError;

/// A media type such as `application/vnd.oci.image.manifest.v1+json`.
///
/// `type/subtype` by the naming rules of RFC 6838 section 4.2. Descriptors in the wild carry parameters
/// (`text/plain; charset=utf-8`), so a printable rest after a `;` is kept as it is; [`MediaType::parse_header`] drops it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaType(Arc<str>);

impl MediaType {
    /// The longest media type, in bytes: two names of 127 and the slash, by RFC 6838 section 4.2.
    pub const MAX_LENGTH: usize = 255;

    /// The longest type, and the longest subtype, in bytes.
    const MAX_NAME_LENGTH: usize = 127;

    /// An OCI image manifest.
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// The configuration of an OCI image.
    pub const OCI_CONFIG: &'static str = "application/vnd.oci.image.config.v1+json";
    /// The empty descriptor, where a manifest needs a descriptor and has nothing to say.
    pub const OCI_EMPTY: &'static str = "application/vnd.oci.empty.v1+json";
    /// A layer that must not be pushed to other registries, uncompressed.
    pub const OCI_NONDISTRIBUTABLE_LAYER: &'static str =
        "application/vnd.oci.image.layer.nondistributable.v1.tar";
    /// A layer that must not be pushed to other registries, compressed by gzip.
    pub const OCI_NONDISTRIBUTABLE_LAYER_GZIP: &'static str =
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    /// A layer that must not be pushed to other registries, compressed by zstd.
    pub const OCI_NONDISTRIBUTABLE_LAYER_ZSTD: &'static str =
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
    /// A Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &'static str =
        "application/vnd.docker.distribution.manifest.v2+json";
    /// The configuration of a Docker image.
    pub const DOCKER_CONFIG: &'static str = "application/vnd.docker.container.image.v1+json";
    /// A Docker manifest list, schema 2.
    pub const DOCKER_MANIFEST_LIST: &'static str =
        "application/vnd.docker.distribution.manifest.list.v2+json";
    /// A Docker manifest, schema 1: known only to be refused.
    pub const DOCKER_SCHEMA1: &'static str = "application/vnd.docker.distribution.manifest.v1+json";
    /// A signed Docker manifest, schema 1: known only to be refused.
    pub const DOCKER_SCHEMA1_SIGNED: &'static str =
        "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// A foreign layer as Docker manifests name it: kept elsewhere, by its `urls`.
    pub const DOCKER_FOREIGN_LAYER: &'static str =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

    /// The media type of a `Content-Type` header's value, without its parameters.
    ///
    /// # Errors
    ///
    /// [`MediaTypeError`] if what stands before the first `;` is no media type.
    pub fn parse_header(value: &str) -> Result<Self, MediaTypeError> {
        essence(value).trim_matches([' ', '\t']).parse()
    }

    /// One of the names above, which need no check.
    pub(super) fn from_known(name: &'static str) -> Self {
        Self(Arc::from(name))
    }

    /// The media type as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The media type without its parameters.
    #[must_use]
    pub fn essence(&self) -> &str {
        essence(&self.0).trim_end_matches([' ', '\t'])
    }

    /// Whether this names `other`: media types do not tell upper from lower case (RFC 6838 section 4.2), and
    /// parameters do not count.
    #[must_use]
    pub fn names(&self, other: &str) -> bool {
        self.essence().eq_ignore_ascii_case(other)
    }

    /// Whether this is the configuration of an image, which says what it runs on.
    #[must_use]
    pub fn is_image_config(&self) -> bool {
        self.names(Self::OCI_CONFIG) || self.names(Self::DOCKER_CONFIG)
    }

    /// Whether a layer of this type is stored in registries.
    ///
    /// Non-distributable and foreign layers may be absent (image-spec, "Non-Distributable Layers").
    #[must_use]
    pub fn is_distributable(&self) -> bool {
        let essence = self.essence().to_ascii_lowercase();
        !essence.contains("nondistributable") && essence != Self::DOCKER_FOREIGN_LAYER
    }
}

fn essence(text: &str) -> &str {
    text.split_once(';').map_or(text, |(essence, _)| essence)
}

fn is_restricted_name(name: &str) -> bool {
    let is_name_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(byte);
    name.len() <= MediaType::MAX_NAME_LENGTH
        && name
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric)
        && name.as_bytes().iter().all(is_name_byte)
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        let essence = match text.split_once(';') {
            Some((essence, _)) => essence.trim_end_matches([' ', '\t']),
            None => text,
        };
        let (kind, subtype) = essence.split_once('/').ok_or(MediaTypeError)?;
        let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if text.len() > Self::MAX_LENGTH
            || !is_printable
            || !is_restricted_name(kind)
            || !is_restricted_name(subtype)
        {
            return Err(MediaTypeError);
        }
        Ok(Self(Arc::from(text)))
    }
}

impl TryFrom<String> for MediaType {
    type Error = MediaTypeError;

    fn try_from(text: String) -> Result<Self, MediaTypeError> {
        text.parse()
    }
}

impl From<MediaType> for String {
    fn from(media_type: MediaType) -> Self {
        media_type.0.as_ref().to_owned()
    }
}

impl fmt::Display for MediaType {
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

    /// image-spec 1.1, `schema/defs-descriptor.json`: the pattern of `mediaType`.
    const GRAMMAR: &str =
        "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}";

    /// What may follow it: parameters (RFC 9110 section 5.6.6), of which no more is asked than that they are printable.
    const PARAMETERS: &str = "(?: *;[ -~]*)?";

    static SPECIFICATION: LazyLock<Regex> =
        LazyLock::new(|| whole(&format!("{GRAMMAR}{PARAMETERS}")));

    fn agrees_with_the_specification(text: &str) -> bool {
        let expected = SPECIFICATION.is_match(text) && text.len() <= MediaType::MAX_LENGTH;
        text.parse::<MediaType>().is_ok() == expected
    }

    #[test]
    fn names_by_rfc_6838_are_taken() {
        for text in [
            MediaType::OCI_MANIFEST,
            MediaType::OCI_EMPTY,
            "a/b",
            "0/0",
            "a!#$&-^_.+/b",
            "unknown/unknown",
        ] {
            assert_eq!(text.parse::<MediaType>().expect(text).as_str(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "/", "a", "a/", "/b", "a/b/c", "a /b", "a/ b", "*/*", "a/*", ".a/b", "a/-b", "ä/b",
            "a/b\n", ";a/b", "a/b ", "a/b\t", " a/b",
        ] {
            assert_eq!(text.parse::<MediaType>(), Err(MediaTypeError), "{text}");
        }
    }

    #[test]
    fn the_longest_names_are_taken_and_one_more_is_refused() {
        let name = "a".repeat(127);
        let longest = format!("{name}/{name}");
        assert_eq!(longest.len(), MediaType::MAX_LENGTH);
        assert!(longest.parse::<MediaType>().is_ok());
        assert!(format!("a{name}/b").parse::<MediaType>().is_err());
        assert!(format!("b/a{name}").parse::<MediaType>().is_err());
        assert!(format!("{longest};").parse::<MediaType>().is_err());
    }

    #[test]
    fn a_header_loses_its_parameters_and_a_descriptor_keeps_them() {
        let header = MediaType::parse_header(" application/json ; charset=utf-8").expect("valid");
        assert_eq!(header.as_str(), "application/json");
        let descriptor: MediaType = "text/plain; charset=utf-8".parse().expect("valid");
        assert_eq!(descriptor.to_string(), "text/plain; charset=utf-8");
        assert_eq!(descriptor.essence(), "text/plain");
        assert!(descriptor.names("Text/Plain"));
        assert!(MediaType::parse_header("; charset=utf-8").is_err());
    }

    #[test]
    fn foreign_and_non_distributable_layers_need_not_be_here() {
        for text in [
            MediaType::OCI_NONDISTRIBUTABLE_LAYER,
            MediaType::OCI_NONDISTRIBUTABLE_LAYER_GZIP,
            MediaType::OCI_NONDISTRIBUTABLE_LAYER_ZSTD,
            MediaType::DOCKER_FOREIGN_LAYER,
        ] {
            assert!(
                !text.parse::<MediaType>().expect(text).is_distributable(),
                "{text}"
            );
        }
        for text in [
            MediaType::OCI_CONFIG,
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ] {
            assert!(
                text.parse::<MediaType>().expect(text).is_distributable(),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_type_of_the_specification_is_taken_and_displayed_unchanged(text in made_by(GRAMMAR)) {
            prop_assert_eq!(text.parse::<MediaType>().expect("a media type").to_string(), text);
        }

        #[test]
        fn the_matcher_agrees_with_the_specification_on_types_with_a_mistake(
            text in near(GRAMMAR),
            parameters in near("( ?; ?[a-z]{1,3}=[a-z]{1,3}){0,2}"),
        ) {
            for text in [format!("{text}{parameters}"), text] {
                prop_assert!(agrees_with_the_specification(&text), "{text:?}");
            }
        }

        #[test]
        fn a_header_is_the_type_before_its_parameters(text in near("[a-z]{1,3}/[a-z+.]{1,9}"), parameters in "[ \t]{0,2}(;[ -~]{0,9})?") {
            let header = MediaType::parse_header(&format!("{text}{parameters}"));
            let essence = text.split(';').next().expect("a first part").trim_matches([' ', '\t']);
            prop_assert_eq!(header, essence.parse());
        }

        #[test]
        fn what_is_taken_is_displayed_unchanged(text in "\\PC{0,300}|[a-z]{1,3}/[a-z;= ]{1,6}") {
            if let Ok(media_type) = text.parse::<MediaType>() {
                prop_assert_eq!(media_type.to_string(), text);
            }
        }
    }
}

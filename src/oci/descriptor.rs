//! Descriptors: how one piece of content points to another (image-spec, "OCI Content Descriptors").

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_storage::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json::{Fields, clip};
use super::manifest::ManifestError;
use super::media_type::MediaType;

/// Annotations: text by key (image-spec, "Annotations"). In order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Annotations(BTreeMap<String, String>);

impl Annotations {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of one annotation.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All annotations, in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(super) fn read(fields: Fields<'_>) -> Result<Self, ManifestError> {
        let Some(object) = fields.object("annotations")? else {
            return Ok(Self::default());
        };
        let text = |(key, value): (&String, &Value)| match value.as_str() {
            Some(text) => Ok((key.clone(), text.to_owned())),
            None => Err(fields.error(&format!("annotations[{:?}]", clip(key)), "must be a string")),
        };
        object.iter().map(text).collect::<Result<_, _>>().map(Self)
    }
}

/// How the platform of what runs nowhere is written, such as that of an attestation.
const UNKNOWN: &str = "unknown";
/// Characters of an operating system, a processor or its variant, at most, where they are listed.
const MAX_WORD_LENGTH: usize = 32;

/// What a manifest in an index runs on (image-spec, "Image Index").
///
/// The texts are as the client wrote them, and empty where it wrote none. Displayed as `linux/arm64/v8`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The processor, such as `amd64`.
    pub architecture: String,
    /// The variant of the processor, such as `v8`.
    pub variant: Option<String>,
    /// The version of the operating system; Windows images differ by it.
    pub os_version: Option<String>,
}

impl Platform {
    fn read(object: &Map<String, Value>, path: &str) -> Result<Self, ManifestError> {
        let fields = Fields::new(object, path);
        let text = |key: &str| Ok::<_, ManifestError>(fields.string(key)?.map(str::to_owned));
        Ok(Self {
            os: text("os")?.unwrap_or_default(),
            architecture: text("architecture")?.unwrap_or_default(),
            variant: text("variant")?.filter(|variant| !variant.is_empty()),
            os_version: text("os.version")?.filter(|version| !version.is_empty()),
        })
    }
}

impl Platform {
    /// What the configuration of an image says (image-spec, "Image Configuration"); none if it does not say it, or is no
    /// such thing.
    #[must_use]
    pub fn of_config(config: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Config {
            os: String,
            architecture: String,
            #[serde(default)]
            variant: Option<String>,
        }
        let config: Config = serde_json::from_slice(config).ok()?;
        Some(Self {
            os: config.os,
            architecture: config.architecture,
            variant: config.variant.filter(|variant| !variant.is_empty()),
            os_version: None,
        })
    }

    /// As lists show it, such as `linux/arm64/v8`; none for what names no platform: `unknown/unknown` stands for
    /// attestations, and a client may write anything.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        let is_word = |text: &String| {
            (1..=MAX_WORD_LENGTH).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let named = [&self.os, &self.architecture]
            .into_iter()
            .all(|text| is_word(text) && text != UNKNOWN);
        (named && self.variant.iter().all(is_word)).then(|| self.to_string())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A descriptor as it stands in a manifest.
///
/// Embedded `data` was compared with digest and size when the manifest was parsed, and is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The type of the content.
    pub media_type: MediaType,
    /// Its address.
    pub digest: Digest,
    /// How large it is; at most 2^63-1.
    pub size_bytes: u64,
    /// Where else it can be had.
    pub urls: Vec<String>,
    /// The type of artifact, if it is one.
    pub artifact_type: Option<MediaType>,
    /// What was noted about it.
    pub annotations: Annotations,
    /// What it runs on, in an index.
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Reads the descriptor at `path` of a manifest.
    pub(super) fn read(value: &Value, path: &str) -> Result<Self, ManifestError> {
        let Some(object) = value.as_object() else {
            let problem = "must be a descriptor: an object with `mediaType`, `digest` and `size`";
            return Err(ManifestError::Field {
                path: path.to_owned(),
                problem: problem.to_owned(),
            });
        };
        let fields = Fields::new(object, path);
        let missing = |key: &str| fields.error(key, "is required in a descriptor");
        let platform = fields.object("platform")?;
        let descriptor = Self {
            media_type: fields
                .parsed("mediaType")?
                .ok_or_else(|| missing("mediaType"))?,
            digest: read_digest(fields)?.ok_or_else(|| missing("digest"))?,
            size_bytes: read_size(fields)?.ok_or_else(|| missing("size"))?,
            urls: fields.strings("urls")?,
            artifact_type: read_artifact_type(fields)?,
            annotations: Annotations::read(fields)?,
            platform: platform
                .map(|platform| Platform::read(platform, &fields.path_of("platform")))
                .transpose()?,
        };
        descriptor.check_embedded_data(fields)?;
        Ok(descriptor)
    }

    /// Refuses embedded content that is not what the descriptor says: a client that trusts the field would see
    /// something else than one that fetches the blob (image-spec, "Embedded Content").
    fn check_embedded_data(&self, fields: Fields<'_>) -> Result<(), ManifestError> {
        let Some(encoded) = fields.string("data")? else {
            return Ok(());
        };
        let data = STANDARD
            .decode(encoded)
            .map_err(|_| fields.error("data", "must be base64 with its padding"))?;
        if data.len() as u64 != self.size_bytes {
            let problem = format!(
                "has {} bytes where `size` says {}",
                data.len(),
                self.size_bytes
            );
            return Err(fields.error("data", problem));
        }
        let digest = Digest::of(self.digest.algorithm(), &data);
        if digest != self.digest {
            return Err(fields.error(
                "data",
                format!(
                    "has the digest {digest} where `digest` says {}",
                    self.digest
                ),
            ));
        }
        Ok(())
    }
}

fn read_digest(fields: Fields<'_>) -> Result<Option<Digest>, ManifestError> {
    let Some(text) = fields.string("digest")? else {
        return Ok(None);
    };
    let algorithm = text.split_once(':').map_or("", |(algorithm, _)| algorithm);
    let is_other = !algorithm.is_empty() && !matches!(algorithm, "sha256" | "sha512");
    if is_other {
        let problem = "has an algorithm that this registry does not store: use sha256 or sha512";
        return Err(fields.error("digest", problem));
    }
    fields.parsed("digest")
}

fn read_size(fields: Fields<'_>) -> Result<Option<u64>, ManifestError> {
    let Some(value) = fields.get("size") else {
        return Ok(None);
    };
    let size = value.as_i64().and_then(|size| u64::try_from(size).ok());
    let problem = "must be a whole number of bytes from 0 to 9223372036854775807";
    size.map(Some).ok_or_else(|| fields.error("size", problem))
}

/// Reads `artifactType`; empty is absent, as Go programs write it.
pub(super) fn read_artifact_type(fields: Fields<'_>) -> Result<Option<MediaType>, ManifestError> {
    match fields.string("artifactType")? {
        None | Some("") => Ok(None),
        Some(_) => fields.parsed("artifactType"),
    }
}

/// The descriptor of a manifest as the referrers list shows it (distribution-spec, "Listing Referrers").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferrerDescriptor {
    /// The type of the manifest.
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
    /// How large the manifest is.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    /// The manifest's own annotations.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(config: &str) -> Option<String> {
        Platform::of_config(config.as_bytes())?.label()
    }

    #[test]
    fn a_configuration_says_what_it_runs_on() {
        for (config, platform) in [
            (r#"{"os":"linux","architecture":"amd64"}"#, "linux/amd64"),
            (
                r#"{"os":"linux","architecture":"arm64","variant":"v8","rootfs":{}}"#,
                "linux/arm64/v8",
            ),
            (
                r#"{"os":"linux","architecture":"arm","variant":"","config":null}"#,
                "linux/arm",
            ),
        ] {
            assert_eq!(label(config).as_deref(), Some(platform), "{config}");
        }
    }

    #[test]
    fn what_names_no_platform_is_not_listed() {
        let long = format!(r#"{{"os":"linux","architecture":"{}"}}"#, "a".repeat(33));
        for config in [
            "",
            "{}",
            "[]",
            r#"{"os":"linux"}"#,
            r#"{"os":"linux","architecture":7}"#,
            r#"{"os":"unknown","architecture":"unknown"}"#,
            r#"{"os":"linux","architecture":""}"#,
            r#"{"os":"linux","architecture":"a\nb"}"#,
            r#"{"os":"linux","architecture":"arm","variant":"v 7"}"#,
            r#"{"os":"linux","os":"windows","architecture":"amd64"}"#,
            long.as_str(),
        ] {
            assert_eq!(label(config), None, "{config}");
        }
    }
}

//! Manifests: image manifests and indexes, of OCI and of Docker's schema 2.
//!
//! Keeps the exact bytes, since their digest is the address, and derives from them what the registry needs. Whether
//! what a manifest names exists is for `registry` to know. The caller limits the size of the body.

use std::collections::HashSet;

use berth_storage::Digest;
use bytes::Bytes;
use serde_json::Value;

use super::descriptor::{Annotations, Descriptor, ReferrerDescriptor, read_artifact_type};
use super::json::{Fields, clip, parse_object};
use super::manifest_type::{ManifestKind, ManifestType};
use super::media_type::MediaType;

/// How many descriptors a manifest may hold, layers or children.
pub const MAX_DESCRIPTORS: usize = 10_000;

/// The only `schemaVersion` there is (image-spec, "Image Manifest").
const SCHEMA_VERSION: i64 = 2;

/// Why bytes are no manifest that this registry takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are no text.
    #[error("the manifest is not UTF-8")]
    NotUtf8,
    /// The text is no JSON, or JSON that two parsers could read differently, or too deep or too much of it.
    #[error("the manifest cannot be read as JSON: {0}")]
    Json(String),
    /// One value is not as it should be.
    #[error("{}{problem}", if path.is_empty() { String::new() } else { format!("`{path}`: ") })]
    Field {
        /// Where it is, such as `layers[2].digest`; empty for the whole document.
        path: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The manifest is of Docker's schema 1.
    #[error("Docker schema 1 manifests are not taken: push schema 2 ({docker}) or OCI ({oci})", docker = MediaType::DOCKER_MANIFEST, oci = MediaType::OCI_MANIFEST)]
    Schema1,
    /// The type is none of a manifest.
    #[error("{field} `{given}` is no supported type of manifest; supported are {}", ManifestType::ALL.map(ManifestType::as_str).join(", "))]
    UnsupportedType {
        /// Where the type was given.
        field: &'static str,
        /// The type.
        given: String,
    },
    /// The request and the document name different types.
    #[error(
        "Content-Type is `{content_type}`, but the manifest's `mediaType` is `{media_type}`; they must be equal"
    )]
    TypeMismatch {
        /// What the request says.
        content_type: String,
        /// What the document says.
        media_type: String,
    },
    /// Nothing says what the document is.
    #[error(
        "neither Content-Type nor `mediaType` nor a `config` or `manifests` says what kind of manifest this is"
    )]
    UnknownKind,
    /// The document can be read as an image manifest and as an index (CVE-2021-41190).
    #[error(
        "the manifest has `manifests` and also `{also}`: an index has only `manifests`, an image manifest only `config` and `layers`"
    )]
    Ambiguous {
        /// The other field.
        also: &'static str,
    },
    /// There are more descriptors than the limit.
    #[error("`{field}` has {count} descriptors, of which at most {MAX_DESCRIPTORS} are taken")]
    TooManyDescriptors {
        /// `layers` or `manifests`.
        field: &'static str,
        /// How many there are.
        count: usize,
    },
}

/// A manifest: its bytes as they were pushed, and what they say.
#[derive(Clone, Debug)]
pub struct Manifest {
    bytes: Bytes,
    media_type: ManifestType,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    children: Vec<Descriptor>,
    subject: Option<Descriptor>,
    artifact_type: Option<MediaType>,
    annotations: Annotations,
}

impl Manifest {
    /// Reads a manifest as it was pushed, or as it was stored.
    ///
    /// `content_type` is that of the request; without one the document must say what it is.
    ///
    /// # Errors
    ///
    /// [`ManifestError`], whose message names the field at fault and what would be right.
    pub fn parse(bytes: Bytes, content_type: Option<&MediaType>) -> Result<Self, ManifestError> {
        let declared = content_type
            .map(|given| ManifestType::supported(given, "Content-Type"))
            .transpose()?;
        let text = str::from_utf8(&bytes).map_err(|_| ManifestError::NotUtf8)?;
        let object = parse_object(text)?;
        let fields = Fields::new(&object, "");
        refuse_schema_1(fields)?;
        refuse_ambiguity(fields)?;
        let media_type = determine_type(fields, declared)?;
        check_schema_version(fields)?;

        let (config, layers, children) = match media_type.kind() {
            ManifestKind::Image => (
                Some(read_config(fields)?),
                read_descriptors(fields, "layers")?,
                Vec::new(),
            ),
            ManifestKind::Index => (None, Vec::new(), read_descriptors(fields, "manifests")?),
        };
        let subject = fields
            .get("subject")
            .map(|value| Descriptor::read(value, "subject"))
            .transpose()?;
        // Before `artifactType` existed, the type of an artifact's config said what it was (distribution-spec,
        // "Listing Referrers"); an index has no config to ask.
        let config_type = config.as_ref().map(|config| config.media_type.clone());
        let artifact_type = read_artifact_type(fields)?.or(config_type);
        let annotations = Annotations::read(fields)?;
        Ok(Self {
            bytes,
            media_type,
            config,
            layers,
            children,
            subject,
            artifact_type,
            annotations,
        })
    }

    /// The bytes as they were pushed.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The type to serve it with.
    #[must_use]
    pub fn media_type(&self) -> ManifestType {
        self.media_type
    }

    /// The shape.
    #[must_use]
    pub fn kind(&self) -> ManifestKind {
        self.media_type.kind()
    }

    /// The configuration; every image manifest has one, and no index.
    #[must_use]
    pub fn config(&self) -> Option<&Descriptor> {
        self.config.as_ref()
    }

    /// The layers in order; an index has none.
    #[must_use]
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// The manifests of an index in order, with their platforms; an image has none.
    ///
    /// Old BuildKit caches list blobs here.
    #[must_use]
    pub fn children(&self) -> &[Descriptor] {
        &self.children
    }

    /// The manifest that this one refers to; it need not exist.
    #[must_use]
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// The type of artifact for the referrers list: `artifactType`, or for an image manifest the type of its config.
    #[must_use]
    pub fn artifact_type(&self) -> Option<&MediaType> {
        self.artifact_type.as_ref()
    }

    /// The manifest's own annotations.
    #[must_use]
    pub fn annotations(&self) -> &Annotations {
        &self.annotations
    }

    /// The blobs that must be in the repository: the config, and the layers that are stored in registries.
    ///
    /// Each comes once, or once for each size that the manifest claims for it.
    pub fn required_blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let mut seen = HashSet::new();
        let layers = self
            .layers
            .iter()
            .filter(|layer| layer.media_type.is_distributable());
        self.config
            .iter()
            .chain(layers)
            .filter(move |blob| seen.insert((blob.digest, blob.size_bytes)))
    }

    /// How the referrers list shows this manifest, whose digest is `digest`.
    #[must_use]
    pub fn referrer_descriptor(&self, digest: Digest) -> ReferrerDescriptor {
        ReferrerDescriptor {
            media_type: MediaType::from_known(self.media_type.as_str()),
            digest,
            size_bytes: self.bytes.len() as u64,
            artifact_type: self.artifact_type.clone(),
            annotations: self.annotations.clone(),
        }
    }
}

fn refuse_schema_1(fields: Fields<'_>) -> Result<(), ManifestError> {
    let is_version_1 = fields.get("schemaVersion").and_then(Value::as_i64) == Some(1);
    if is_version_1 || fields.has_key("signatures") || fields.has_key("fsLayers") {
        return Err(ManifestError::Schema1);
    }
    Ok(())
}

/// Refuses a document that one client could read as an image and another one as an index (CVE-2021-41190).
fn refuse_ambiguity(fields: Fields<'_>) -> Result<(), ManifestError> {
    let also = ["layers", "config"]
        .into_iter()
        .find(|key| fields.has_key(key));
    match also {
        Some(also) if fields.has_key("manifests") => Err(ManifestError::Ambiguous { also }),
        Some(_) | None => Ok(()),
    }
}

/// The type by the request, else by the document, else by the fields it has; all that are given must agree.
fn determine_type(
    fields: Fields<'_>,
    declared: Option<ManifestType>,
) -> Result<ManifestType, ManifestError> {
    let written: Option<MediaType> = match fields.string("mediaType")? {
        // Go programs write an absent field so.
        None | Some("") => None,
        Some(_) => fields.parsed("mediaType")?,
    };
    match (declared, written) {
        (Some(declared), Some(written)) if !written.names(declared.as_str()) => {
            Err(ManifestError::TypeMismatch {
                content_type: declared.to_string(),
                media_type: clip(written.as_str()),
            })
        }
        (Some(declared), None) if declared.requires_media_type() => Err(fields.error(
            "mediaType",
            format!("is required in a Docker manifest and must be `{declared}`"),
        )),
        (Some(declared), Some(_) | None) => Ok(declared),
        (None, Some(written)) => ManifestType::supported(&written, "mediaType"),
        (None, None) if fields.has_key("manifests") => Ok(ManifestType::OciIndex),
        (None, None) if fields.has_key("config") || fields.has_key("layers") => {
            Ok(ManifestType::OciManifest)
        }
        (None, None) => Err(ManifestError::UnknownKind),
    }
}

fn check_schema_version(fields: Fields<'_>) -> Result<(), ManifestError> {
    match fields.get("schemaVersion").and_then(Value::as_i64) {
        Some(SCHEMA_VERSION) => Ok(()),
        Some(_) | None => {
            Err(fields.error("schemaVersion", "is required and must be the number 2"))
        }
    }
}

fn read_config(fields: Fields<'_>) -> Result<Descriptor, ManifestError> {
    match fields.get("config") {
        Some(config) => Descriptor::read(config, "config"),
        None => Err(fields.error("config", "is required in an image manifest: a descriptor")),
    }
}

/// Reads a required list of descriptors, which may be empty; Go programs write an empty one as `null`.
fn read_descriptors(
    fields: Fields<'_>,
    field: &'static str,
) -> Result<Vec<Descriptor>, ManifestError> {
    if !fields.has_key(field) {
        return Err(fields.error(
            field,
            "is required: an array of descriptors, which may be empty",
        ));
    }
    let values = fields.array(field)?.unwrap_or_default();
    if values.len() > MAX_DESCRIPTORS {
        return Err(ManifestError::TooManyDescriptors {
            field,
            count: values.len(),
        });
    }
    let read = |(index, value)| Descriptor::read(value, &format!("{field}[{index}]"));
    values.iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests;

//! The types of manifest that this registry takes, and their shapes.

use std::fmt;

use super::manifest::ManifestError;
use super::media_type::MediaType;

/// The shape of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    /// A configuration and layers: an image, or an artifact.
    Image,
    /// A list of manifests.
    Index,
}

/// The media types of the manifests that this registry takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManifestType {
    /// An OCI image manifest.
    OciManifest,
    /// An OCI image index.
    OciIndex,
    /// A Docker image manifest, schema 2.
    DockerManifest,
    /// A Docker manifest list, schema 2.
    DockerManifestList,
}

impl ManifestType {
    /// Every type.
    pub const ALL: [Self; 4] = [
        Self::OciManifest,
        Self::OciIndex,
        Self::DockerManifest,
        Self::DockerManifestList,
    ];

    /// The media type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OciManifest => MediaType::OCI_MANIFEST,
            Self::OciIndex => MediaType::OCI_INDEX,
            Self::DockerManifest => MediaType::DOCKER_MANIFEST,
            Self::DockerManifestList => MediaType::DOCKER_MANIFEST_LIST,
        }
    }

    /// The shape of a manifest of this type.
    #[must_use]
    pub fn kind(self) -> ManifestKind {
        match self {
            Self::OciManifest | Self::DockerManifest => ManifestKind::Image,
            Self::OciIndex | Self::DockerManifestList => ManifestKind::Index,
        }
    }

    /// The type of this name, if it is one of a manifest.
    #[must_use]
    pub fn of(media_type: &MediaType) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|manifest_type| media_type.names(manifest_type.as_str()))
    }

    /// The type of this name, which stands in `field`.
    pub(super) fn supported(
        media_type: &MediaType,
        field: &'static str,
    ) -> Result<Self, ManifestError> {
        if [MediaType::DOCKER_SCHEMA1, MediaType::DOCKER_SCHEMA1_SIGNED]
            .iter()
            .any(|old| media_type.names(old))
        {
            return Err(ManifestError::Schema1);
        }
        Self::of(media_type).ok_or_else(|| ManifestError::UnsupportedType {
            field,
            given: media_type.to_string(),
        })
    }

    /// Docker's schema 2 has no document without a `mediaType`; with OCI it is optional.
    pub(super) fn requires_media_type(self) -> bool {
        match self {
            Self::OciManifest | Self::OciIndex => false,
            Self::DockerManifest | Self::DockerManifestList => true,
        }
    }
}

impl fmt::Display for ManifestType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

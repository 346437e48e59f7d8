//! What is pushed: a manifest with an empty config and one layer that no other run has.

use std::path::Path;

use anyhow::Context as _;
use berth::oci::{Manifest, ManifestType};
use berth_storage::{Digest, DigestAlgorithm};
use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use super::super::image::push::files::Piece;
use super::super::image::push::layout::Blob;
use super::credential::IMAGES;

/// The tag of the one manifest that each image has.
pub(super) const TAG: &str = "v1";
/// The size of the layer, in bytes. Proxies that limit bodies allow 1 MiB by default (`client_max_body_size` of nginx).
const LAYER_BYTES: usize = 1024 * 1024 + 64 * 1024;

/// Types that the image specification has for what is no image.
const ARTIFACT_TYPE: &str = "application/vnd.berth.doctor.v1";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY_CONFIG: &[u8] = b"{}";
const LAYER_TYPE: &str = "application/octet-stream";

/// An artifact in files that go with it.
pub(super) struct Artifact {
    /// An image of this run alone, so that to delete it takes nothing else.
    pub(super) image: String,
    pub(super) manifest: Manifest,
    pub(super) digest: Digest,
    pub(super) config: Blob,
    pub(super) layer: Blob,
    _folder: TempDir,
}

impl Artifact {
    /// One that nobody has pushed before.
    pub(super) fn make() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder for temporary files")?;
        let run = Uuid::new_v4().simple().to_string();
        let line = format!("berth doctor {run}\n");
        let layer: Vec<u8> = line.bytes().cycle().take(LAYER_BYTES).collect();
        let config = written(folder.path(), "config", EMPTY_CONFIG)?;
        let layer = written(folder.path(), "layer", &layer)?;
        let described = |blob: &Blob, kind: &str| {
            json!({
                "mediaType": kind, "digest": blob.digest.to_string(), "size": blob.piece.size_bytes,
            })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": ManifestType::OciManifest.as_str(),
            "artifactType": ARTIFACT_TYPE,
            "config": described(&config, EMPTY_TYPE),
            "layers": [described(&layer, LAYER_TYPE)],
        });
        let manifest = Manifest::parse(Bytes::from(manifest.to_string()), None)?;
        Ok(Self {
            image: format!("{IMAGES}/{run}"),
            digest: Digest::of(DigestAlgorithm::Sha256, manifest.bytes()),
            manifest,
            config,
            layer,
            _folder: folder,
        })
    }
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<Blob> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Blob {
        digest: Digest::of(DigestAlgorithm::Sha256, bytes),
        piece: Piece::of_file(path)?,
    })
}

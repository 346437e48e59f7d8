//! What `docker save` wrote before it knew OCI layouts: the layers unpacked, and no manifest that a registry takes.
//!
//! The layers are packed anew and a manifest is made. The same file gives the same digests each time, so that a second
//! push finds what the first one has sent.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use anyhow::{Context as _, bail, ensure};
use berth::oci::{Manifest, ManifestType};
use berth_storage::{Digest, DigestAlgorithm, Hasher};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::json;
use tempfile::{NamedTempFile, TempDir};

use super::files::{Files, Piece};
use super::layout::{Blob, Image, offer};

/// The largest list of images and the largest configuration that are read, in bytes.
const JSON_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// Read at one time, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// An image in the list `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What a configuration says of its layers.
#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// The image `name` of a list, its only one without a name.
pub(super) fn image(files: &Files, list: &Piece, name: Option<&str>) -> anyhow::Result<Image> {
    let list = list.read_whole("manifest.json", JSON_LIMIT_BYTES)?;
    let list: Vec<Listed> = serde_json::from_slice(&list).context("manifest.json")?;
    let listed = choose(&list, name)?;
    let config_piece = find(files, &listed.config)?;
    let config = config_piece.read_whole(&listed.config, JSON_LIMIT_BYTES)?;
    let Config { rootfs } = serde_json::from_slice(&config).context("its configuration")?;
    ensure!(
        rootfs.diff_ids.len() == listed.layers.len(),
        "its configuration has {} layers, and the file {}: it is damaged",
        rootfs.diff_ids.len(),
        listed.layers.len()
    );
    let made = tempfile::tempdir().context("cannot make a folder for the packed layers")?;
    let config_digest = Digest::of(DigestAlgorithm::Sha256, &config);
    let mut blobs = vec![Blob {
        digest: config_digest,
        piece: config_piece,
    }];
    let (mut layers, mut seen) = (Vec::new(), HashSet::new());
    for (layer, diff_id) in listed.layers.iter().zip(&rootfs.diff_ids) {
        let blob = packed(&find(files, layer)?, diff_id, &made)
            .with_context(|| format!("the layer {layer}"))?;
        layers.push(json!({
            "mediaType": LAYER_TYPE, "size": blob.piece.size_bytes, "digest": blob.digest.to_string(),
        }));
        if seen.insert(blob.digest) {
            blobs.push(blob);
        }
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": ManifestType::DockerManifest.as_str(),
        "config": {
            "mediaType": CONFIG_TYPE, "size": config.len(), "digest": config_digest.to_string(),
        },
        "layers": layers,
    });
    let bytes = Bytes::from(serde_json::to_vec(&manifest)?);
    let digest = Digest::of(DigestAlgorithm::Sha256, &bytes);
    Ok(Image {
        _made: Some(made),
        manifests: vec![(digest, Manifest::parse(bytes, None)?)],
        blobs,
    })
}

fn choose<'a>(list: &'a [Listed], name: Option<&str>) -> anyhow::Result<&'a Listed> {
    let names = || {
        let tags = list
            .iter()
            .flat_map(|listed| listed.repo_tags.iter().flatten());
        tags.map(String::as_str)
    };
    let Some(name) = name else {
        let [only] = list else {
            bail!("there are {} images: {}", list.len(), offer(names()));
        };
        return Ok(only);
    };
    list.iter()
        .find(|listed| listed.repo_tags.iter().flatten().any(|tag| tag == name))
        .with_context(|| format!("no image is called {name:?}: {}", offer(names())))
}

fn find(files: &Files, name: &str) -> anyhow::Result<Piece> {
    // It comes out of the file, and a folder is joined with it.
    let is_plain =
        !name.starts_with('/') && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    ensure!(is_plain, "{name:?} is no name of a file in it");
    files
        .find(name)?
        .with_context(|| format!("{name} is missing, which the image needs"))
}

/// Packs a layer, and sees on the way that it is the one that the configuration means.
fn packed(layer: &Piece, diff_id: &str, made: &TempDir) -> anyhow::Result<Blob> {
    let diff_id: Digest = diff_id.parse().context("its digest in the configuration")?;
    let file = NamedTempFile::new_in(made)?;
    let sink = Hashing {
        file,
        hasher: Hasher::new(DigestAlgorithm::Sha256),
    };
    let mut encoder = GzEncoder::new(sink, Compression::default());
    let (mut reader, mut hasher) = (layer.reader(0)?, Hasher::new(diff_id.algorithm()));
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        encoder.write_all(&buffer[..count])?;
    }
    ensure!(
        hasher.finish() == diff_id,
        "its bytes are not those of {diff_id}, as the configuration says: the file is damaged"
    );
    let Hashing { file, hasher } = encoder.finish()?;
    let (_, path) = file.keep()?;
    Ok(Blob {
        digest: hasher.finish(),
        piece: Piece::of_file(path)?,
    })
}

/// A file that is hashed while it is written.
struct Hashing {
    file: NamedTempFile,
    hasher: Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

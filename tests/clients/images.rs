//! Makes images on disk, as OCI image layouts written by hand.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An OCI image layout in a temporary folder, with one reference in it.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: TempDir,
    /// The digest of what the reference names.
    pub(crate) digest: String,
}

/// The name of the one reference in a layout.
const REFERENCE: &str = "latest";

impl Layout {
    /// An image of two layers for linux/amd64; `greeting` makes it differ from all others.
    pub(crate) fn image(greeting: &str) -> Self {
        let folder = empty_layout();
        let image = add_image(folder.path(), greeting, "amd64");
        Self::finish(folder, &image)
    }

    /// An index of linux/amd64 and linux/arm64.
    pub(crate) fn two_platforms(greeting: &str) -> Self {
        let folder = empty_layout();
        let manifests: Vec<Value> = ["amd64", "arm64"]
            .into_iter()
            .map(|architecture| {
                let mut image = add_image(folder.path(), greeting, architecture);
                image["platform"] = json!({"os": "linux", "architecture": architecture});
                image
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let index = add_blob(folder.path(), INDEX, index.to_string().as_bytes());
        Self::finish(folder, &index)
    }

    /// The image as skopeo names it.
    pub(crate) fn source(&self) -> String {
        format!("oci:{}:{REFERENCE}", self.folder.path().display())
    }

    fn finish(folder: TempDir, descriptor: &Value) -> Self {
        let digest = descriptor["digest"].as_str().unwrap_or_default().to_owned();
        let mut entry = descriptor.clone();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": REFERENCE});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        write(
            &folder.path().join("index.json"),
            index.to_string().as_bytes(),
        );
        Self { folder, digest }
    }
}

fn empty_layout() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("berth-layout-")
        .tempdir()
        .expect("a folder is made");
    std::fs::create_dir_all(folder.path().join("blobs/sha256")).expect("a folder is made");
    write(
        &folder.path().join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    );
    folder
}

/// Adds an image with all its blobs, and gives the descriptor of its manifest.
fn add_image(layout: &Path, greeting: &str, architecture: &str) -> Value {
    let files = [("greeting", greeting), ("architecture", architecture)];
    let archives = files.map(|(name, content)| layer(name, content));
    let differences = archives.each_ref().map(|archive| digest_of(archive));
    // Compressed, because skopeo compresses what is not, which changes digests.
    let layers = archives.map(|archive| add_blob(layout, LAYER, &compressed(&archive)));
    let config = json!({
        "os": "linux",
        "architecture": architecture,
        "config": {"Cmd": ["/greeting"]},
        "rootfs": {"type": "layers", "diff_ids": differences},
    });
    let config = add_blob(layout, CONFIG, config.to_string().as_bytes());
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    add_blob(layout, MANIFEST, manifest.to_string().as_bytes())
}

/// A layer with one small file.
fn layer(name: &str, content: &str) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(content.len()).expect("a small file has a small length"));
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(vec![]);
    archive
        .append_data(&mut header, name, content.as_bytes())
        .expect("a vector takes all bytes");
    archive.into_inner().expect("a vector takes all bytes")
}

fn compressed(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder
        .write_all(content)
        .expect("a vector takes all bytes");
    encoder.finish().expect("a vector takes all bytes")
}

fn digest_of(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

/// Writes a blob and gives its descriptor.
fn add_blob(layout: &Path, media_type: &str, content: &[u8]) -> Value {
    let digest = digest_of(content);
    write(
        &layout.join("blobs").join(digest.replace(':', "/")),
        content,
    );
    json!({"mediaType": media_type, "digest": digest, "size": content.len()})
}

fn write(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

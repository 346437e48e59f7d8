//! Makes images on disk and looks into them: OCI image layouts written by hand, and what builders build from.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::process;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const UNPACKED_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The shell that images carry: it needs no libraries.
const BUSYBOX: &str = "/bin/busybox";

/// Its name in a build context.
pub(crate) const BUSYBOX_FILE: &str = "busybox";

/// The file that every image has.
const GREETING: &str = "greeting";

/// What an image is built from: busybox, a greeting, and what is added.
#[derive(Debug)]
pub(crate) struct Context {
    folder: TempDir,
}

impl Context {
    /// One whose file `greeting` has `greeting` in it.
    pub(crate) fn new(greeting: &str) -> Self {
        process::require(Path::new(BUSYBOX), "busybox-static");
        let context = Self {
            folder: process::folder("context"),
        };
        std::fs::copy(BUSYBOX, context.folder.path().join(BUSYBOX_FILE))
            .expect("busybox is copied");
        context.add(GREETING, greeting);
        context
    }

    /// Adds a file.
    pub(crate) fn add(&self, name: &str, content: &str) {
        write(&self.folder.path().join(name), content.as_bytes());
    }

    /// Where it is.
    pub(crate) fn path(&self) -> String {
        self.folder.path().display().to_string()
    }
}

/// An OCI image layout in a temporary folder, with one reference in it.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: TempDir,
    /// The digest of what the reference names.
    pub(crate) digest: String,
}

/// The name of the one reference in a layout.
pub(crate) const REFERENCE: &str = "latest";

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

    /// An image whose layers have `bytes` each, of which no two are alike and none can be made smaller.
    pub(crate) fn heavy(layers: u64, bytes: u64) -> Self {
        let folder = empty_layout();
        // The system is much faster at it than a debug build.
        let mut noise = std::fs::File::open("/dev/urandom").expect("the system makes noise");
        let layers: Vec<Value> = (0..layers)
            .map(|_| {
                let mut content = vec![0; usize::try_from(bytes).expect("a layer fits in memory")];
                noise.read_exact(&mut content).expect("noise has no end");
                add_blob(folder.path(), UNPACKED_LAYER, &content)
            })
            .collect();
        let digests: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let config = add_blob(folder.path(), CONFIG, config.to_string().as_bytes());
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let manifest = add_blob(folder.path(), MANIFEST, manifest.to_string().as_bytes());
        Self::finish(folder, &manifest)
    }

    /// Where the file of a blob is.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        self.path().join("blobs").join(digest.replace(':', "/"))
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The manifest of the reference.
    pub(crate) fn manifest(&self) -> Value {
        let bytes = std::fs::read(self.blob(&self.digest)).expect("a layout has its manifest");
        serde_json::from_slice(&bytes).expect("this is JSON")
    }

    /// The whole layout in one file, which lies beside it.
    pub(crate) fn archive(&self) -> PathBuf {
        let path = self.folder.path().join("layout.tar");
        let file = std::fs::File::create(&path).expect("a file is made");
        let mut archive = tar::Builder::new(file);
        for name in ["oci-layout", "index.json"] {
            let added = archive.append_path_with_name(self.folder.path().join(name), name);
            added.expect("a small file is added");
        }
        archive
            .append_dir_all("blobs", self.folder.path().join("blobs"))
            .expect("small files are added");
        archive.finish().expect("the archive is written");
        path
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

/// The greeting in the image of the layout in `folder`, whose layers are compressed by gzip.
pub(crate) fn greeting_in(folder: &Path) -> String {
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"]
            .as_str()
            .expect("a descriptor has a digest");
        let path = folder.join("blobs").join(digest.replace(':', "/"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).expect("this is JSON") };
    let index = std::fs::read(folder.join("index.json")).expect("a layout has an index");
    let manifest = json(&blob(&json(&index)["manifests"][0]));
    let layers = manifest["layers"].as_array().expect("an image has layers");
    let greeting = layers.iter().find_map(|layer| {
        let mut archive = tar::Archive::new(GzDecoder::new(std::io::Cursor::new(blob(layer))));
        let mut entries = archive.entries().expect("a layer is an archive");
        let mut entry = entries.find_map(|entry| {
            let entry = entry.expect("a layer is an archive");
            let path = entry.path().expect("a file has a name").into_owned();
            path.ends_with(GREETING).then_some(entry)
        })?;
        let mut content = String::new();
        entry
            .read_to_string(&mut content)
            .expect("a greeting is text");
        Some(content)
    });
    greeting.unwrap_or_else(|| panic!("no layer of {manifest} has a greeting"))
}

fn empty_layout() -> TempDir {
    let folder = process::folder("layout");
    std::fs::create_dir_all(folder.path().join("blobs/sha256")).expect("a folder is made");
    write(
        &folder.path().join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    );
    folder
}

/// Adds an image with all its blobs, and gives the descriptor of its manifest.
fn add_image(layout: &Path, greeting: &str, architecture: &str) -> Value {
    let files = [(GREETING, greeting), ("architecture", architecture)];
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

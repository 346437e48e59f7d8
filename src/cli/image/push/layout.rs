//! An image in files: which manifests and blobs it is made of, and where they lie.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use berth::oci::{Descriptor, Manifest, ManifestKind, ManifestType, MediaType};
use berth_storage::Digest;
use bytes::Bytes;

use super::files::{Files, Piece};
use super::saved;

/// The largest manifest that is read, in bytes: as large as registries take them.
const MANIFEST_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// Manifests of one image at most.
const MANIFESTS_LIMIT: usize = 1000;

/// What says how an image in a layout is called.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";

/// Names that are offered at most.
const NAMES_OFFERED: usize = 10;

/// An image that can be pushed.
pub(super) struct Image {
    /// What was made for it and is removed with it.
    pub(super) _made: Option<tempfile::TempDir>,
    /// Each after those that it names; the last one is the image.
    pub(super) manifests: Vec<(Digest, Manifest)>,
    /// Each once.
    pub(super) blobs: Vec<Blob>,
}

/// A blob of an image.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Blob {
    pub(in crate::cli) digest: Digest,
    pub(in crate::cli) piece: Piece,
}

impl Image {
    /// Reads the image `name` of what lies at `path`: its only one without a name.
    pub(super) fn read(path: &Path, name: Option<&str>) -> anyhow::Result<Self> {
        let files = Files::open(path)?;
        let image = match (files.find("index.json")?, files.find("manifest.json")?) {
            (Some(index), _) => of_layout(&files, &index, name),
            (None, Some(list)) => saved::image(&files, &list, name),
            (None, None) => bail!(
                "{} is neither an OCI layout (which has an index.json) nor an archive of `docker save` (which has a \
                 manifest.json)",
                path.display()
            ),
        };
        image.with_context(|| format!("in {}", path.display()))
    }
}

fn of_layout(files: &Files, index: &Piece, name: Option<&str>) -> anyhow::Result<Image> {
    let bytes = index.read_whole("index.json", MANIFEST_LIMIT_BYTES)?;
    let kind: MediaType = ManifestType::OciIndex.as_str().parse()?;
    let index = Manifest::parse(Bytes::from(bytes), Some(&kind)).context("index.json")?;
    let top = choose(index.children(), name)?;
    let mut image = Image {
        _made: None,
        manifests: Vec::new(),
        blobs: Vec::new(),
    };
    add(files, top, &mut image, &mut HashSet::new())?;
    Ok(image)
}

/// The descriptor that is meant.
fn choose<'a>(all: &'a [Descriptor], name: Option<&str>) -> anyhow::Result<&'a Descriptor> {
    let names = |descriptor: &'a Descriptor| {
        [FULL_NAME, REF_NAME].map(|key| descriptor.annotations.get(key))
    };
    let Some(name) = name else {
        let [only] = all else {
            bail!(
                "there are {} images: {}",
                all.len(),
                offer(all.iter().flat_map(names).flatten())
            );
        };
        return Ok(only);
    };
    let mut meant = all
        .iter()
        .filter(|descriptor| names(descriptor).contains(&Some(name)));
    match (meant.next(), meant.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => bail!("several images are called {name:?}"),
        (None, _) => bail!(
            "no image is called {name:?}: {}",
            offer(all.iter().flat_map(names).flatten())
        ),
    }
}

/// Which names there are.
pub(super) fn offer<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.take(NAMES_OFFERED).collect();
    if names.is_empty() {
        String::from("and none has a name; write one image into a file of its own")
    } else {
        format!("name one of {}", names.join(", "))
    }
}

/// Adds a manifest and all that it needs, each once.
fn add(
    files: &Files,
    descriptor: &Descriptor,
    image: &mut Image,
    seen: &mut HashSet<Digest>,
) -> anyhow::Result<()> {
    if !seen.insert(descriptor.digest) {
        return Ok(());
    }
    ensure!(
        image.manifests.len() < MANIFESTS_LIMIT,
        "the image has more than {MANIFESTS_LIMIT} manifests"
    );
    let digest = descriptor.digest;
    let piece = locate(files, descriptor)?;
    let bytes = piece.read_whole(&format!("the manifest {digest}"), MANIFEST_LIMIT_BYTES)?;
    ensure!(
        Digest::of(digest.algorithm(), &bytes) == digest,
        "the bytes of the manifest {digest} are not those of its digest: the files are damaged"
    );
    let manifest = Manifest::parse(Bytes::from(bytes), Some(&descriptor.media_type))
        .with_context(|| format!("the manifest {digest}"))?;
    match manifest.media_type().kind() {
        ManifestKind::Index => {
            for child in manifest.children() {
                add(files, child, image, seen)?;
            }
        }
        ManifestKind::Image => {
            for blob in manifest.required_blobs() {
                // Looked at each time: two layers may say different sizes of one blob.
                let piece = locate(files, blob)?;
                if seen.insert(blob.digest) {
                    image.blobs.push(Blob {
                        digest: blob.digest,
                        piece,
                    });
                }
            }
        }
    }
    image.manifests.push((digest, manifest));
    Ok(())
}

/// Where the content of a descriptor lies, as long as it says.
fn locate(files: &Files, descriptor: &Descriptor) -> anyhow::Result<Piece> {
    let digest = descriptor.digest;
    let name = format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex());
    let piece = files
        .find(&name)?
        .with_context(|| format!("{name} is missing, which the image needs"))?;
    ensure!(
        piece.size_bytes == descriptor.size_bytes,
        "{name} has {} bytes, and the image says {}: the files are damaged or cut off",
        piece.size_bytes,
        descriptor.size_bytes
    );
    Ok(piece)
}

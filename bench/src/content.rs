//! What is pushed: blobs and images that no registry has seen before, made faster than any registry takes them.
//!
//! Hashing is what pushing costs, so the client must not hash 16 MiB for each blob it sends: all blobs of a
//! [`BlobMaker`] share their beginning, whose hash is computed once, and differ in a few bytes at the end.

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Random bytes at the end of a blob: enough that no two blobs are alike.
const TAIL_BYTES: usize = 16;
/// Random bytes that its beginning repeats: too many for a file system to notice.
const BLOCK_BYTES: usize = 1024 * 1024;

pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Layers of a small image, and the bytes of each.
pub(crate) const SMALL_LAYERS: usize = 3;
pub(crate) const SMALL_LAYER_BYTES: usize = 4 * 1024;

/// Bytes and their address.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    head: Bytes,
    tail: Bytes,
    pub(crate) digest: String,
}

impl Blob {
    /// Bytes that are at hand in one piece.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: digest(Sha256::new_with_prefix(&bytes)),
            head: bytes.into(),
            tail: Bytes::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// The bytes in pieces of at most `piece_bytes`.
    pub(crate) fn pieces(&self, piece_bytes: usize) -> impl Iterator<Item = Bytes> + use<> {
        [self.head.clone(), self.tail.clone()]
            .into_iter()
            .flat_map(move |mut rest| {
                std::iter::from_fn(move || {
                    let piece = rest.split_to(piece_bytes.min(rest.len()));
                    (!piece.is_empty()).then_some(piece)
                })
            })
    }
}

fn digest(hash: Sha256) -> String {
    format!("sha256:{}", hex::encode(hash.finalize()))
}

/// Makes blobs of one size.
pub(crate) struct BlobMaker {
    head: Bytes,
    hash: Sha256,
}

impl BlobMaker {
    pub(crate) fn new(size_bytes: usize) -> Self {
        let head_bytes = size_bytes.saturating_sub(TAIL_BYTES);
        let mut block = vec![0; head_bytes.min(BLOCK_BYTES)];
        rand::fill(&mut block[..]);
        let mut head = block.repeat(head_bytes.div_ceil(BLOCK_BYTES));
        head.truncate(head_bytes);
        Self {
            hash: Sha256::new_with_prefix(&head),
            head: head.into(),
        }
    }

    /// A blob that nobody has seen before.
    pub(crate) fn make(&self) -> Blob {
        let tail = rand::random::<[u8; TAIL_BYTES]>();
        Blob {
            head: self.head.clone(),
            tail: Bytes::copy_from_slice(&tail),
            digest: digest(self.hash.clone().chain_update(tail)),
        }
    }
}

/// An image for one platform.
pub(crate) struct Image {
    pub(crate) layers: Vec<Blob>,
    pub(crate) config: Blob,
    pub(crate) manifest: Blob,
}

impl Image {
    pub(crate) fn of(layers: Vec<Blob>) -> Self {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Blob::new(config.to_string().into_bytes());
        let descriptors: Vec<_> = layers
            .iter()
            .map(|layer| descriptor(LAYER_TYPE, layer))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, &config),
            "layers": descriptors,
        });
        Self {
            layers,
            config,
            manifest: Blob::new(manifest.to_string().into_bytes()),
        }
    }

    /// A small image that nobody has seen before.
    pub(crate) fn small(maker: &BlobMaker) -> Self {
        Self::of((0..SMALL_LAYERS).map(|_| maker.make()).collect())
    }
}

fn descriptor(media_type: &str, blob: &Blob) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_of_one_maker_differ_and_have_their_own_digest() {
        let maker = BlobMaker::new(100_000);
        let (one, other) = (maker.make(), maker.make());
        assert_ne!(one.digest, other.digest);
        for blob in [one, other] {
            let bytes = blob.pieces(1000).collect::<Vec<_>>().concat();
            assert_eq!(bytes.len(), 100_000);
            assert_eq!(blob.len(), 100_000);
            assert_eq!(digest(Sha256::new_with_prefix(&bytes)), blob.digest);
        }
    }
}

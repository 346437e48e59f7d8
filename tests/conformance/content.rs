//! Content to push: random blobs, and builders of manifests.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256, Sha512};

/// An image manifest of the OCI image specification.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An image index of the OCI image specification.
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The configuration of an image.
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer as most builders push it.
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The empty JSON object, where an artifact has no configuration.
pub(crate) const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker's image manifest, version 2, schema 2.
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Bytes with their sha256 digest.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Bytes,
    pub(crate) digest: String,
}

impl Content {
    /// These bytes, by sha256.
    pub(crate) fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        Self { bytes, digest }
    }

    /// Bytes that no other case has.
    pub(crate) fn random(size_bytes: usize) -> Self {
        let mut bytes = vec![0; size_bytes];
        rand::fill(&mut bytes[..]);
        Self::of(bytes)
    }

    /// The same bytes, known by their sha512 digest.
    pub(crate) fn by_sha512(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            digest: sha512(&self.bytes),
        }
    }

    /// A descriptor of these bytes.
    pub(crate) fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.bytes.len() })
    }

    /// How many bytes there are.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// The digest of `bytes` as `sha256:…`.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The digest of `bytes` as `sha512:…`.
pub(crate) fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex::encode(Sha512::digest(bytes)))
}

/// A word that no other case has, fit for names and tags.
pub(crate) fn unique_word() -> String {
    hex::encode(rand::random::<[u8; 6]>())
}

/// A manifest, and the blobs that must be there before it.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) body: Content,
    pub(crate) blobs: Vec<Content>,
}

impl Manifest {
    /// Its sha256 digest, or sha512 after [`Manifest::by_sha512`].
    pub(crate) fn digest(&self) -> &str {
        &self.body.digest
    }

    /// What an index or a `subject` says of it.
    pub(crate) fn descriptor(&self) -> Value {
        self.body.descriptor(&self.media_type)
    }

    /// The same manifest, known by its sha512 digest.
    pub(crate) fn by_sha512(&self) -> Self {
        Self {
            body: self.body.by_sha512(),
            ..self.clone()
        }
    }

    /// The same type and blobs around other bytes.
    pub(crate) fn with_bytes(&self, bytes: impl Into<Bytes>) -> Self {
        Self {
            body: Content::of(bytes),
            ..self.clone()
        }
    }
}

/// Builds a manifest of any kind, field by field.
#[derive(Clone, Debug)]
pub(crate) struct ManifestBuilder {
    document: Map<String, Value>,
    media_type: String,
    blobs: Vec<Content>,
}

/// An image with a configuration of its own and no layer yet.
pub(crate) fn image() -> ManifestBuilder {
    let config = json!({ "architecture": "amd64", "os": "linux", "author": unique_word(), "rootfs": { "type": "layers", "diff_ids": [] } });
    ManifestBuilder::new(OCI_MANIFEST)
        .field("layers", json!([]))
        .config(&Content::of(config.to_string()), OCI_CONFIG)
}

/// An artifact of `artifact_type` with the empty configuration.
pub(crate) fn artifact(artifact_type: &str) -> ManifestBuilder {
    ManifestBuilder::new(OCI_MANIFEST)
        .field("artifactType", json!(artifact_type))
        .config(&Content::of("{}"), OCI_EMPTY)
        .field("layers", json!([]))
        .annotation("org.example.unique", &unique_word())
}

/// An index without children yet.
pub(crate) fn index() -> ManifestBuilder {
    ManifestBuilder::new(OCI_INDEX)
        .field("manifests", json!([]))
        .annotation("org.example.unique", &unique_word())
}

impl ManifestBuilder {
    fn new(media_type: &str) -> Self {
        let builder = Self {
            document: Map::new(),
            media_type: String::new(),
            blobs: Vec::new(),
        };
        builder
            .field("schemaVersion", json!(2))
            .media_type(media_type)
    }

    /// Sets any field.
    pub(crate) fn field(mut self, name: &str, value: Value) -> Self {
        self.document.insert(name.to_owned(), value);
        self
    }

    /// Leaves a field out.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.document.remove(name);
        self
    }

    /// The type in the document and in the header.
    pub(crate) fn media_type(mut self, media_type: &str) -> Self {
        media_type.clone_into(&mut self.media_type);
        self.field("mediaType", json!(media_type))
    }

    /// Another configuration; only the last one counts.
    pub(crate) fn config(mut self, config: &Content, media_type: &str) -> Self {
        self.blobs.push(config.clone());
        self.field("config", config.descriptor(media_type))
    }

    /// One more layer of the usual type, which is pushed with the manifest.
    pub(crate) fn layer(mut self, layer: &Content) -> Self {
        self.blobs.push(layer.clone());
        self.layer_descriptor(layer.descriptor(OCI_LAYER))
    }

    /// One more layer that is only described, not pushed.
    pub(crate) fn layer_descriptor(self, descriptor: Value) -> Self {
        self.append("layers", descriptor)
    }

    /// One more child of an index.
    pub(crate) fn child(self, child: &Manifest) -> Self {
        self.append("manifests", child.descriptor())
    }

    fn append(mut self, list: &str, descriptor: Value) -> Self {
        let list = self.document.entry(list).or_insert_with(|| json!([]));
        if let Value::Array(items) = list {
            items.push(descriptor);
        }
        self
    }

    /// What this one refers to.
    pub(crate) fn subject(self, subject: &Manifest) -> Self {
        let descriptor = subject.descriptor();
        self.field("subject", descriptor)
    }

    /// One more annotation.
    pub(crate) fn annotation(mut self, name: &str, value: &str) -> Self {
        self.document
            .entry("annotations")
            .or_insert_with(|| json!({}))[name] = json!(value);
        self
    }

    /// The manifest as compact JSON.
    pub(crate) fn build(self) -> Manifest {
        Manifest {
            body: Content::of(Value::Object(self.document).to_string()),
            media_type: self.media_type,
            blobs: self.blobs,
        }
    }

    /// The manifest, filled up with an annotation to exactly `size_bytes`.
    pub(crate) fn build_with_size(self, size_bytes: usize) -> Manifest {
        const MARK: &str = "@";
        let marked = self.annotation("org.example.padding", MARK).build();
        let padding = "x".repeat(size_bytes + MARK.len() - marked.body.size_bytes());
        let text = String::from_utf8_lossy(&marked.body.bytes).replacen(MARK, &padding, 1);
        marked.with_bytes(text)
    }
}

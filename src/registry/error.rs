//! Why a use-case of the distribution API did not do what it was asked. `http` gives each its status and code.

use berth_storage::{Digest, DigestAlgorithm, StoreError};

use crate::auth::Refusal;
use crate::metadata::MetadataError;
use crate::oci::ManifestError;
use crate::oci::PreconditionFailed;
use crate::oci::Reference;
use crate::oci::{RepositoryName, Tag, UploadId};
use crate::retries::Retriable;

/// An error of the distribution API. The texts are for the person who reads the client's output.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No such repository.
    #[error("repository {0} is not known: it begins with its first push")]
    NameUnknown(RepositoryName),
    /// No such blob in this repository.
    #[error("blob {0} is not in this repository")]
    BlobUnknown(Digest),
    /// No such manifest in this repository.
    #[error("manifest {0} is not in this repository")]
    ManifestUnknown(Reference),
    /// The manifest is not one.
    #[error(transparent)]
    ManifestInvalid(#[from] ManifestError),
    /// The index names too many manifests that the repository does not have.
    #[error(
        "the index names {0} manifests that are not in this repository, of which at most 1000 are taken: push them first"
    )]
    TooManyAbsent(usize),
    /// The manifest needs blobs that the repository does not have.
    #[error("the manifest needs blobs that are not in this repository: push or mount them first")]
    ManifestBlobUnknown(Vec<Digest>),
    /// The content does not have the digest that it was pushed under.
    #[error("the content has the digest {actual}, not {expected}")]
    DigestMismatch {
        /// What the client said.
        expected: Box<Digest>,
        /// What the bytes say.
        actual: Box<Digest>,
    },
    /// The session hashed with one algorithm and was completed with another, and the blob is too large to read again.
    #[error(
        "the upload was hashed with {hashed} and is too large to be hashed again: \
         begin it with the parameter digest-algorithm={wanted}"
    )]
    AlgorithmUnannounced {
        /// What the session used.
        hashed: DigestAlgorithm,
        /// What the digest of the PUT needs.
        wanted: DigestAlgorithm,
    },
    /// No such session here.
    #[error("upload {0} is not known in this repository: begin a new one with POST")]
    UploadUnknown(UploadId),
    /// Another request took the session.
    #[error(
        "another request has taken over this upload; GET the upload for the offset to continue from"
    )]
    UploadSuperseded,
    /// The chunk does not begin where the last one ended.
    #[error(
        "the chunk begins at byte {start}, but the upload is at byte {offset}: send the chunk that begins there"
    )]
    OutOfOrder {
        /// The session.
        id: UploadId,
        /// Where the chunk begins.
        start: u64,
        /// Where it should begin.
        offset: u64,
    },
    /// The body is not as long as was announced.
    #[error("the body has {received} bytes, but {announced} were announced")]
    SizeMismatch {
        /// By `Content-Range` or `Content-Length`.
        announced: u64,
        /// What arrived.
        received: u64,
    },
    /// The client went away, or its body made no sense.
    #[error("the body ended before its time: {0}")]
    BodyBroken(String),
    /// The client sent nothing for too long.
    #[error("no byte of the body arrived for {0} seconds")]
    BodyIdle(u64),
    /// The workspace has too many open sessions.
    #[error("this workspace has {0} open uploads, which is the limit: finish or cancel some")]
    TooManyUploads(u64),
    /// Too many tags in one push.
    #[error(
        "one push may name {limit} tags and names {given}: push the manifest again for the others"
    )]
    TooManyTags {
        /// How many were given.
        given: usize,
        /// How many may be.
        limit: usize,
    },
    /// Tag parameters belong to pushes by digest.
    #[error("tag parameters need a digest in the path: PUT /v2/<name>/manifests/<digest>?tag=…")]
    TagsWithoutDigest,
    /// `If-Match` or `If-None-Match` did not hold.
    #[error("the precondition does not hold: {0}")]
    PreconditionFailed(#[from] PreconditionFailed),
    /// The name is an alias of another workspace's image.
    #[error(
        "\"{alias}\" is shared by {source_name}, and can only be pulled here: push under another name, or to the source"
    )]
    SharedAlias {
        /// The name here.
        alias: RepositoryName,
        /// The name of what it stands for.
        source_name: RepositoryName,
    },
    /// The tag stays where it is.
    #[error(
        "tag {tag} is immutable and points to {digest}: push under another tag, or let an admin change immutableTags of the image"
    )]
    ImmutableTag {
        /// The tag.
        tag: Tag,
        /// What it points to.
        digest: Box<Digest>,
    },
    /// Rights that were good when the request began are not any more.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The storage said no.
    #[error(transparent)]
    Storage(StoreError),
    /// The database said no.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A task of ours broke.
    #[error("a task ended unexpectedly")]
    Broken(#[from] tokio::task::JoinError),
}

impl From<StoreError> for RegistryError {
    /// Another request may take an upload at any moment, also while its bytes are matched or published.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Superseded { .. } => Self::UploadSuperseded,
            error => Self::Storage(error),
        }
    }
}

impl Retriable for RegistryError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Metadata(error) if error.is_conflict())
    }
}

//! Bytes by digest: resumable uploads and objects that are written once.
//!
//! This crate knows no SQL and no HTTP, and is the only place that names `object_store` and `sha2`.
//! Its callers keep which digest is which object, and who may see it.
//!
//! # An upload
//!
//! The caller draws an [`ObjectKey`], records it, and asks [`Store::writer`] for a [`Writer`] at a
//! [`Progress`]. It writes what the client sends. Then it either pauses, and keeps the new
//! `Progress` for the next request, or finishes. A finished upload is [`Staged`]: durable and
//! hashed, but not yet readable. If the digest is the right one, it is published, and only then is
//! there an object to [read](Store::read).
//!
//! # What always holds
//!
//! * What `pause` reported survives a power loss, and its hash is of exactly those bytes.
//! * What `publish` confirmed survives a power loss.
//! * Two writers of one upload never mix bytes, even if one hangs in the kernel while it is
//!   replaced, or is another process that writes to the same bucket.
//! * Keys are written once; deleting one never touches another.
//! * An upload and a download hold a few hundred KiB each, whatever the size and the speed of the
//!   client.

mod batch;
mod blocking;
mod buffers;
mod claim;
mod digest;
mod error;
mod hasher;
mod key;
mod listing;
mod local;
mod memory;
mod read;
mod s3;
mod staged;
mod store;
mod takeover;
#[doc(hidden)]
pub mod testing;
mod upload;

pub use digest::{Digest, DigestAlgorithm, DigestError};
pub use error::StoreError;
pub use hasher::{Hasher, HasherStateError};
pub use key::{OBJECTS, ObjectKey, ObjectKeyError};
pub use listing::{LIST_LIMIT, ListedObject};
pub use read::ObjectReader;
pub use s3::{DEFAULT_PART_BYTES, MAX_PART_BYTES, MIN_PART_BYTES, S3Credentials, S3Options};
pub use staged::{Published, Staged};
pub use store::{
    DEFAULT_READ_CHUNK_BYTES, LocalOptions, MAX_READ_CHUNK_BYTES, MIN_READ_CHUNK_BYTES, Store,
};
pub use upload::{Progress, Writer};

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
//!   replaced.
//! * Keys are written once; deleting one never touches another.
//! * An upload and a download hold a few hundred KiB each, whatever the size and the speed of the
//!   client.
//!
//! # How S3 and its kin will fit
//!
//! A third backend changes no caller. Its sink is told by object_store's `MultipartStore`: it
//! collects 16 MiB (equal parts, since some stores insist) in a spool file under `staging/`, and
//! uploads each full part straight to the final key, so that completing copies nothing.
//! [`Progress::backend`] holds, with a format version, the upload id, the entity tags of the parts
//! done, and where the tail is kept: a small append-only object, so that the next request may reach
//! another replica. `finish` uploads the last part, `publish` completes the multipart upload,
//! `discard` and [`Store::discard_staging`] abort it, and [`Staged::rehash`] completes it first,
//! which is safe since no row knows the object yet. Replicas do not see each other's writers: there
//! the epoch in the caller's row decides, and a part that lost is never in the list that completes.

mod batch;
mod blocking;
mod buffers;
mod digest;
mod error;
mod hasher;
mod key;
mod local;
mod memory;
mod read;
mod staged;
mod store;
mod takeover;
#[doc(hidden)]
pub mod testing;
mod upload;

pub use digest::{Digest, DigestAlgorithm, DigestError};
pub use error::StoreError;
pub use hasher::{Hasher, HasherStateError};
pub use key::{ObjectKey, ObjectKeyError};
pub use read::ObjectReader;
pub use staged::{Published, Staged};
pub use store::{
    DEFAULT_READ_CHUNK_BYTES, LocalOptions, MAX_READ_CHUNK_BYTES, MIN_READ_CHUNK_BYTES, Store,
};
pub use upload::{Progress, Writer};

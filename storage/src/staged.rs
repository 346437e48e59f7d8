//! Bytes that are complete, durable and hashed, but have no object yet.
//!
//! Owns the step in which they get one. Whether the digest is the right one is the caller's
//! judgement, and this is the moment for it.

use std::fmt;

use crate::digest::{Digest, DigestAlgorithm};
use crate::error::StoreError;
use crate::key::ObjectKey;
use crate::store::Store;
use crate::takeover::Lease;

/// A finished upload: publish it, or discard it.
///
/// Dropped without either, its bytes stay in staging, where [`Store::staged_keys`] finds them.
/// While it lives, no other writer gets the key.
pub struct Staged {
    digest: Digest,
    size_bytes: u64,
    store: Store,
    lease: Lease,
}

impl Staged {
    pub(crate) fn new(digest: Digest, size_bytes: u64, store: Store, lease: Lease) -> Self {
        Self {
            digest,
            size_bytes,
            store,
            lease,
        }
    }

    /// The digest of all bytes, by the algorithm the upload was begun with.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes there are.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The key the object will have.
    pub fn key(&self) -> ObjectKey {
        self.lease.key()
    }

    /// Resolves when another writer or a cancellation wants the upload; borrows nothing.
    pub fn superseded(&self) -> impl Future<Output = ()> + Send + use<> {
        self.lease.signal().raised()
    }

    /// Reads the bytes once more to hash them by another algorithm, in flat memory.
    ///
    /// # Errors
    /// `Missing` if the staging bytes are gone, `OutOfRange` if they shrank, else `Io`.
    pub async fn rehash(&self, algorithm: DigestAlgorithm) -> Result<Digest, StoreError> {
        self.store
            .rehash_staged(self.key(), self.size_bytes, algorithm)
            .await
    }

    /// Gives the bytes their final key; once this returns, they survive a power loss.
    ///
    /// What it returns keeps the key from other writers until the caller has written down what it is: drop it then.
    ///
    /// Dropping the future does not stop the work: the object may come to be nevertheless.
    ///
    /// # Errors
    /// `Superseded` if the upload was taken over or cancelled before; `AlreadyPublished` if the key
    /// has an object; `NoSpace` or `Io`, after which the object may or may not exist, so that the
    /// caller must delete the key before it forgets it.
    pub async fn publish(self) -> Result<Published, StoreError> {
        self.lease.check()?;
        self.store.publish(self.lease).await
    }

    /// Drops the bytes, because their digest is not the one that was named.
    ///
    /// # Errors
    /// `Io`; then the bytes stay for the sweep.
    pub async fn discard(self) -> Result<(), StoreError> {
        self.store.remove_staging(self.lease).await
    }
}

/// An object that was just published. While it lives, no writer gets the key.
pub struct Published {
    lease: Lease,
}

impl Published {
    pub(crate) fn new(lease: Lease) -> Self {
        Self { lease }
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Published({})", self.lease.key())
    }
}

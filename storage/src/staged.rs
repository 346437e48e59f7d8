//! Bytes that are complete, durable and hashed, but have no object yet.
//!
//! Owns the step in which they get one. Whether the digest is the right one is the caller's
//! judgement, and this is the moment for it.

use std::fmt;

use tokio::sync::Mutex;

use crate::blocking::joined;
use crate::digest::{Digest, DigestAlgorithm};
use crate::error::StoreError;
use crate::key::ObjectKey;
use crate::s3::S3Upload;
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
    /// What is needed to make an object of it on another machine. Reading it again may complete it there.
    remote: Option<Mutex<Box<S3Upload>>>,
}

impl Staged {
    pub(crate) fn new(
        digest: Digest,
        size_bytes: u64,
        store: Store,
        lease: Lease,
        remote: Option<Box<S3Upload>>,
    ) -> Self {
        Self {
            digest,
            size_bytes,
            store,
            lease,
            remote: remote.map(Mutex::new),
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
        if let Some(remote) = &self.remote {
            let mut remote = remote.lock().await;
            return remote.rehash(self.digest, self.size_bytes, algorithm).await;
        }
        self.store
            .rehash_staged(self.key(), self.size_bytes, algorithm)
            .await
    }

    /// Gives the bytes their final key; once this returns, they survive a power loss.
    ///
    /// What it returns keeps the key from other writers until the caller has written down what it is: then it is
    /// [settled](Published::settle).
    ///
    /// Dropping the future does not stop the work: the object may come to be nevertheless.
    ///
    /// # Errors
    /// `Superseded` if the upload was taken over or cancelled before; `AlreadyPublished` if the key
    /// has an object; `NoSpace` or `Io`, after which the object may or may not exist, so that the
    /// caller must delete the key before it forgets it.
    pub async fn publish(self) -> Result<Published, StoreError> {
        self.lease.check()?;
        let Some(remote) = self.remote else {
            return self.store.publish(self.lease).await;
        };
        self.store.check_publish(self.lease.key())?;
        let (digest, size_bytes, lease) = (self.digest, self.size_bytes, self.lease);
        let mut remote = remote.into_inner();
        let publishing = tokio::spawn(async move {
            remote.publish(digest, size_bytes).await?;
            Ok(Published {
                lease,
                remote: Some(remote),
            })
        });
        joined(publishing.await)
    }

    /// Drops the bytes, because their digest is not the one that was named.
    ///
    /// # Errors
    /// `Io`; then the bytes stay for the sweep.
    pub async fn discard(self) -> Result<(), StoreError> {
        match self.remote {
            Some(remote) => remote.into_inner().discard().await,
            None => self.store.remove_staging(self.lease).await,
        }
    }
}

/// An object that was just published. While it lives, no writer gets the key.
pub struct Published {
    lease: Lease,
    /// What the object was made of, on another machine.
    remote: Option<Box<S3Upload>>,
}

impl Published {
    pub(crate) fn new(lease: Lease) -> Self {
        Self {
            lease,
            remote: None,
        }
    }

    /// Lets what the object was made of go, once the caller has written down that it is there: until then another
    /// process that has the same upload may still need it. What stays goes with the object.
    pub fn settle(self) {
        if let Some(remote) = &self.remote {
            remote.clean_up();
        }
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Published({})", self.lease.key())
    }
}

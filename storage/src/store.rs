//! The store as callers see it, and the choice of the backend behind it.
//!
//! Owns nothing but the dispatch: `local` and `memory` know how, `takeover` knows who may. A
//! backend is a variant here rather than a trait, so that the compiler lists what a new one must
//! do.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;

use crate::batch::batch_bytes;
use crate::blocking::blocking;
use crate::buffers::Buffers;
use crate::digest::{Digest, DigestAlgorithm};
use crate::error::StoreError;
use crate::hasher::Hasher;
use crate::key::ObjectKey;
use crate::local::LocalStore;
use crate::memory::MemoryStore;
use crate::read::{ObjectReader, ReadPlan, Source};
use crate::staged::Published;
use crate::takeover::{Lease, Takeover};
use crate::testing::{Faults, Operation};
use crate::upload::{Progress, Sink, Upload, Writer};

/// The default of [`LocalOptions::read_chunk_bytes`].
pub const DEFAULT_READ_CHUNK_BYTES: usize = 256 * 1024;
/// The least [`LocalOptions::read_chunk_bytes`]; below it the hand-over costs more than the read.
pub const MIN_READ_CHUNK_BYTES: usize = 64 * 1024;
/// The greatest [`LocalOptions::read_chunk_bytes`]; above it nothing gets faster.
pub const MAX_READ_CHUNK_BYTES: usize = 1024 * 1024;

/// How a store in a folder behaves.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// How many bytes a reader gets at a time. Each reader holds two such chunks, so a thousand
    /// slow clients hold two thousand: less saves memory, more saves work. Values outside of
    /// [`MIN_READ_CHUNK_BYTES`] to [`MAX_READ_CHUNK_BYTES`] count as the nearer limit.
    pub read_chunk_bytes: usize,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            read_chunk_bytes: DEFAULT_READ_CHUNK_BYTES,
        }
    }
}

/// A place for bytes. Clones are cheap and are the same store.
///
/// One process opens a folder once and clones: two stores on one folder do not know of each other's
/// writers.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    takeover: Arc<Takeover>,
    faults: Faults,
}

#[derive(Clone)]
enum Backend {
    Local {
        folder: Arc<LocalStore>,
        buffers: Buffers,
    },
    Memory(Arc<MemoryStore>),
}

impl Store {
    /// A store in a folder; creates what is missing, for this user only, and tries that it can be
    /// written.
    ///
    /// # Errors
    /// `Io` or `NoSpace` if the layout cannot be made, `NotWritable` if the trial fails.
    pub async fn local(root: &Path, options: LocalOptions) -> Result<Self, StoreError> {
        let root = root.to_path_buf();
        let folder = blocking(move || LocalStore::open(&root)).await?;
        let LocalOptions { read_chunk_bytes } = options;
        let chunk_bytes = read_chunk_bytes.clamp(MIN_READ_CHUNK_BYTES, MAX_READ_CHUNK_BYTES);
        Ok(Self::of(Backend::Local {
            folder: Arc::new(folder),
            buffers: Buffers::new(chunk_bytes),
        }))
    }

    /// A store that is gone when its last clone is.
    pub fn memory() -> Self {
        Self::of(Backend::Memory(Arc::default()))
    }

    /// The same store, but failing as told; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    fn of(backend: Backend) -> Self {
        Self {
            backend,
            takeover: Arc::default(),
            faults: Faults::default(),
        }
    }

    /// Takes an upload over and goes on at `progress`.
    ///
    /// A writer of this key that lives in this process is told to stop, and this waits until it
    /// has: its last write has returned and its file is closed. That needs the holder to notice, by
    /// calling the writer again, by [`Writer::superseded`], or by being dropped. Bytes beyond
    /// `progress` are cut away.
    ///
    /// # Errors
    /// `StagingLost` if fewer bytes are there than `progress` says; `AlreadyPublished` if the key
    /// has an object; `BadProgress` if `progress` is damaged or from elsewhere; `Superseded` if a
    /// still newer call came while this one waited; `Io` or `NoSpace`.
    pub async fn writer(&self, key: ObjectKey, progress: &Progress) -> Result<Writer, StoreError> {
        let hasher = progress.restore_hasher(key)?;
        let lease = self.takeover.claim(key).acquire().await?;
        let offset = progress.offset;
        let faults = self.faults.clone();
        let upload = match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                blocking(move || {
                    let sink = Sink::Local(folder.open_staging(key, offset)?);
                    Ok(Upload {
                        sink,
                        hasher,
                        faults,
                        lease,
                    })
                })
                .await?
            }
            Backend::Memory(memory) => {
                let sink = Sink::Memory(memory.open_staging(key, offset).await?);
                Upload {
                    sink,
                    hasher,
                    faults,
                    lease,
                }
            }
        };
        Ok(Writer::new(upload, self.clone()))
    }

    /// Drops the bytes of an upload that was cancelled or has expired; stops its writer first, as
    /// [`Store::writer`] does. There being none is fine. Objects are not touched.
    ///
    /// # Errors
    /// `Superseded` if a newer writer came while this waited, else `Io`.
    pub async fn discard_staging(&self, key: ObjectKey) -> Result<(), StoreError> {
        let lease = self.takeover.claim(key).acquire().await?;
        self.remove_staging(lease).await
    }

    /// Reads bytes `range.start` up to, not including, `range.end` of an object.
    ///
    /// # Errors
    /// `Missing` if there is no such object, `OutOfRange` if it is shorter, else `Io`.
    pub async fn read(
        &self,
        key: ObjectKey,
        range: Range<u64>,
    ) -> Result<ObjectReader, StoreError> {
        self.open_object(key, Some(range)).await
    }

    /// How many bytes an object has; `None` if there is no such object.
    ///
    /// # Errors
    /// `Io` or `Backend`.
    pub async fn size(&self, key: ObjectKey) -> Result<Option<u64>, StoreError> {
        match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                blocking(move || folder.size(key)).await
            }
            Backend::Memory(memory) => memory.size(key).await,
        }
    }

    /// Deletes an object; once this returns, it stays gone. There being none is fine.
    ///
    /// # Errors
    /// `Io` or `Backend`.
    pub async fn delete(&self, key: ObjectKey) -> Result<(), StoreError> {
        self.faults.check(Operation::Delete, key)?;
        match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                blocking(move || folder.delete(key)).await
            }
            Backend::Memory(memory) => memory.delete(key).await,
        }
    }

    /// Reads an object once more to hash it, in flat memory.
    ///
    /// # Errors
    /// As for [`Store::read`].
    pub async fn rehash(
        &self,
        key: ObjectKey,
        algorithm: DigestAlgorithm,
    ) -> Result<Digest, StoreError> {
        hash_all(self.open_object(key, None).await?, algorithm).await
    }

    /// The keys that have staging bytes, in no order: those without a live session can be
    /// discarded.
    ///
    /// At most 100 000 are given; after a sweep that found so many, another one finds the rest.
    ///
    /// # Errors
    /// `Io`.
    pub async fn staged_keys(&self) -> Result<Vec<ObjectKey>, StoreError> {
        match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                blocking(move || folder.staged_keys()).await
            }
            Backend::Memory(memory) => Ok(memory.staged_keys()),
        }
    }

    /// Really writes, syncs and removes a small file, for readiness.
    ///
    /// # Errors
    /// `NotWritable`, whose text names the folder and the system's error.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                let faults = self.faults.clone();
                blocking(move || {
                    faults.check_probe(folder.root())?;
                    folder.check_writable()
                })
                .await
            }
            Backend::Memory(_) => self.faults.check_probe(Path::new("memory")),
        }
    }

    /// The lease goes along into the work, so that a caller that goes away cannot free the key
    /// early.
    pub(crate) async fn publish(&self, lease: Lease) -> Result<Published, StoreError> {
        let key = lease.key();
        self.faults.check(Operation::Publish, key)?;
        match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                blocking(move || folder.publish(key).map(|()| Published::new(lease))).await
            }
            Backend::Memory(memory) => memory.publish(key).await.map(|()| Published::new(lease)),
        }
    }

    /// Whether a writer of this upload lives in this process, or waits for another one to stop.
    pub fn is_being_written(&self, key: ObjectKey) -> bool {
        self.takeover.is_claimed(key)
    }

    /// How full the batch of an upload becomes now.
    pub(crate) fn batch_bytes(&self) -> usize {
        batch_bytes(self.takeover.claimed_keys())
    }

    /// As [`Store::publish`] does, takes the lease along.
    pub(crate) async fn remove_staging(&self, lease: Lease) -> Result<(), StoreError> {
        let key = lease.key();
        match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                blocking(move || {
                    let outcome = folder.discard_staging(key);
                    drop(lease);
                    outcome
                })
                .await
            }
            Backend::Memory(memory) => {
                memory.discard_staging(key);
                drop(lease);
                Ok(())
            }
        }
    }

    pub(crate) async fn rehash_staged(
        &self,
        key: ObjectKey,
        size_bytes: u64,
        algorithm: DigestAlgorithm,
    ) -> Result<Digest, StoreError> {
        let plan = self.plan(key, Some(0..size_bytes));
        let reader = match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                let open = move || Ok(Source::File(folder.open_staged(key)?));
                ObjectReader::open(plan, None, open).await?
            }
            Backend::Memory(memory) => {
                let source = Source::Memory(memory.staged_bytes(key)?);
                ObjectReader::of_memory(&plan, source)?
            }
        };
        hash_all(reader, algorithm).await
    }

    async fn open_object(
        &self,
        key: ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectReader, StoreError> {
        let plan = self.plan(key, range);
        match &self.backend {
            Backend::Local { folder, .. } => {
                let at_hand = folder.open_object_at_hand(key).map(Source::File);
                let folder = Arc::clone(folder);
                let open = move || Ok(Source::File(folder.open_object(key)?));
                ObjectReader::open(plan, at_hand, open).await
            }
            Backend::Memory(memory) => {
                let source = Source::Memory(memory.object_bytes(key).await?);
                ObjectReader::of_memory(&plan, source)
            }
        }
    }

    fn plan(&self, key: ObjectKey, range: Option<Range<u64>>) -> ReadPlan {
        let buffers = match &self.backend {
            Backend::Local { buffers, .. } => buffers.clone(),
            Backend::Memory(_) => Buffers::new(DEFAULT_READ_CHUNK_BYTES),
        };
        ReadPlan {
            key,
            range,
            buffers,
            faults: self.faults.clone(),
        }
    }
}

/// Hashes away from the async threads, one chunk at a time, while the next one is read.
async fn hash_all(
    mut reader: ObjectReader,
    algorithm: DigestAlgorithm,
) -> Result<Digest, StoreError> {
    let mut hasher = Hasher::new(algorithm);
    while let Some(chunk) = reader.next().await {
        let chunk = chunk?;
        hasher = blocking(move || {
            hasher.update(&chunk);
            Ok(hasher)
        })
        .await?;
    }
    Ok(hasher.finish())
}

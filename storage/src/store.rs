//! The store as callers see it, and the choice of the backend behind it.
//!
//! Owns nothing but the dispatch: `local` and `memory` know how, `takeover` knows who may. A
//! backend is a variant here rather than a trait, so that the compiler lists what a new one must
//! do.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use crate::batch::batch_bytes;
use crate::blocking::{blocking, joined};
use crate::buffers::Buffers;
use crate::digest::{Digest, DigestAlgorithm};
use crate::error::StoreError;
use crate::hasher::Hasher;
use crate::key::ObjectKey;
use crate::listing::ListedObject;
use crate::local::LocalStore;
use crate::memory::MemoryStore;
use crate::read::{ObjectReader, ReadPlan, Source};
use crate::s3::{RemoteReader, S3Options, S3Store, S3Upload};
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
    S3(Arc<S3Store>),
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

    /// A store in a bucket; tries that objects can be written, read and deleted there.
    ///
    /// # Errors
    /// `Unusable`, whose text says what is wrong with the settings or the bucket and what to do; `Io` or `NoSpace` if
    /// the folder for parts cannot be made.
    pub async fn s3(options: S3Options) -> Result<Self, StoreError> {
        Ok(Self::of(Backend::S3(Arc::new(
            S3Store::open(options).await?,
        ))))
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
                progress.check_local(key)?;
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
            Backend::S3(store) => {
                let progress = progress.in_bucket(key, store.part_bytes())?;
                // A session without bytes has a key that nobody has written to, or else publishing shows it.
                if offset > 0 && store.size(key).await?.is_some() {
                    return Err(StoreError::AlreadyPublished { key });
                }
                let remote = S3Upload::open(store, lease.clone(), progress);
                Upload {
                    sink: Sink::S3(Box::new(remote)),
                    hasher,
                    faults,
                    lease,
                }
            }
            Backend::Memory(memory) => {
                progress.check_local(key)?;
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

    /// Makes all objects durable that are there. Only those need it whose writer ended while it published.
    ///
    /// # Errors
    /// `Io`.
    pub async fn sync_names(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                blocking(move || folder.sync_names()).await
            }
            Backend::S3(_) | Backend::Memory(_) => Ok(()),
        }
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
            Backend::S3(store) => store.size(key).await,
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
            Backend::S3(store) => store.delete(key).await,
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
            Backend::S3(store) => store.staged_keys().await,
        }
    }

    /// Up to `limit` objects whose keys come after `after`, in the order of the keys; at most [`LIST_LIMIT`](crate::LIST_LIMIT). An empty
    /// page is the end. Objects that come or go meanwhile may be listed or not.
    ///
    /// A page costs the listing of a folder, so it should be of thousands.
    ///
    /// # Errors
    /// `Io` or `Backend`.
    pub async fn list_objects(
        &self,
        after: Option<ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StoreError> {
        match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                blocking(move || folder.list_objects(after, limit)).await
            }
            Backend::Memory(memory) => memory.list_objects(after, limit).await,
            Backend::S3(store) => store.list_objects(after, limit).await,
        }
    }

    /// Makes the store this installation's: writes a marker with its id at the root, or compares the one that is there.
    ///
    /// # Errors
    /// `OtherInstallation` if the marker names another one, else `Io`, `NoSpace` or `Backend`.
    pub async fn claim(&self, installation_id: &str) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                let installation_id = installation_id.to_owned();
                blocking(move || folder.claim(&installation_id)).await
            }
            Backend::Memory(memory) => memory.claim(installation_id).await,
            Backend::S3(store) => store.claim(installation_id).await,
        }
    }

    /// Whether the store's marker names this installation, without making one: `false` where there is none.
    ///
    /// # Errors
    /// `OtherInstallation` if the marker names another one, else `Io`, `Backend` or `Unavailable`.
    pub async fn is_claimed_by(&self, installation_id: &str) -> Result<bool, StoreError> {
        match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                let installation_id = installation_id.to_owned();
                blocking(move || folder.is_claimed_by(&installation_id)).await
            }
            Backend::Memory(memory) => memory.is_claimed_by(installation_id).await,
            Backend::S3(store) => store.is_claimed_by(installation_id).await,
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
            Backend::S3(store) => {
                self.faults.check_probe(Path::new(store.place()))?;
                store.check_writable().await
            }
        }
    }

    /// The lease goes along into the work, so that a caller that goes away cannot free the key
    /// early.
    pub(crate) async fn publish(&self, lease: Lease) -> Result<Published, StoreError> {
        let key = lease.key();
        self.check_publish(key)?;
        match &self.backend {
            Backend::Local { folder, .. } => {
                let folder = Arc::clone(folder);
                blocking(move || folder.publish(key).map(|()| Published::new(lease))).await
            }
            Backend::Memory(memory) => memory.publish(key).await.map(|()| Published::new(lease)),
            // What is staged for a bucket publishes itself.
            Backend::S3(_) => Err(StoreError::Missing { key }),
        }
    }

    /// Lets a test have publishing fail.
    pub(crate) fn check_publish(&self, key: ObjectKey) -> Result<(), StoreError> {
        self.faults.check(Operation::Publish, key)
    }

    /// A URL at which a client may read an object for a while, without asking this server; `None` where there is none.
    /// Whoever has it may read: it is a secret for as long.
    ///
    /// # Errors
    /// `Unavailable` or `Backend` if the credentials to sign with cannot be had.
    pub async fn redirect_url(
        &self,
        key: ObjectKey,
        expires: Duration,
    ) -> Result<Option<String>, StoreError> {
        match &self.backend {
            Backend::Local { .. } | Backend::Memory(_) => Ok(None),
            Backend::S3(store) => store.redirect_url(key, expires).await.map(Some),
        }
    }

    /// The least that a request should bring to an upload that goes on, for `OCI-Chunk-Min-Length`: smaller ones cost
    /// the store an object each. `None` where it does not matter.
    pub fn chunk_min_bytes(&self) -> Option<u64> {
        match &self.backend {
            Backend::Local { .. } | Backend::Memory(_) => None,
            Backend::S3(store) => Some(store.part_bytes()),
        }
    }

    /// Whether other processes may write to the same uploads, unseen by this one.
    pub fn is_shared(&self) -> bool {
        match &self.backend {
            Backend::Local { .. } | Backend::Memory(_) => false,
            Backend::S3(_) => true,
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
            Backend::S3(store) => {
                let store = Arc::clone(store);
                // To its end, as on the other ones: the lease lives as long.
                let discarding = tokio::spawn(async move {
                    let outcome = store.discard_staging(key).await;
                    drop(lease);
                    outcome
                });
                joined(discarding.await)
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
            // What is staged for a bucket reads itself.
            Backend::S3(_) => return Err(StoreError::Missing { key }),
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
            Backend::S3(store) => {
                let reader = RemoteReader::open(store, key, plan.range, plan.faults).await?;
                Ok(ObjectReader::of_remote(reader))
            }
        }
    }

    fn plan(&self, key: ObjectKey, range: Option<Range<u64>>) -> ReadPlan {
        let buffers = match &self.backend {
            Backend::Local { buffers, .. } => buffers.clone(),
            Backend::Memory(_) | Backend::S3(_) => Buffers::new(DEFAULT_READ_CHUNK_BYTES),
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
pub(crate) async fn hash_all(
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

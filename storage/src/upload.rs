//! Writing an upload: append, hash, and stop at any byte to go on later.
//!
//! Owns the pipeline of one upload: a batch fills while the batch before it is hashed and written
//! in a blocking task. Knows neither which backend it writes to (that is [`Sink`]) nor what a
//! request is.
//!
//! The open file, the hash state and the lease on the key are one value, [`Upload`], that is either
//! here or in the blocking task. So they always agree, and whoever drops the last of them, be it a
//! task whose client is long gone, gives the key free only after the file is closed.

use std::mem;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::batch::Batch;
use crate::blocking::{blocking, joined};
use crate::digest::DigestAlgorithm;
use crate::error::StoreError;
use crate::hasher::Hasher;
use crate::key::ObjectKey;
use crate::local::StagingFile;
use crate::memory::StagingBuffer;
use crate::s3::{S3Progress, S3Upload};
use crate::staged::Staged;
use crate::store::Store;
use crate::takeover::{Lease, StopSignal};
use crate::testing::{Faults, Operation};

/// What a caller keeps, in a database row, between the requests of one upload.
///
/// All of it is durable in the store: `offset` bytes survive a power loss, and the hash is of
/// exactly those. The bytes of `hasher` and `backend` mean something to this crate only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many bytes are in the store.
    pub offset: u64,
    /// The saved [`Hasher`].
    pub hasher: Vec<u8>,
    /// What the backend needs to go on; empty for folder and memory.
    pub backend: Vec<u8>,
}

impl Progress {
    /// An upload with no bytes yet.
    pub fn start(algorithm: DigestAlgorithm) -> Self {
        Self {
            offset: 0,
            hasher: Hasher::new(algorithm).save(),
            backend: Vec::new(),
        }
    }

    /// The hash state, once it is known to belong to `offset`.
    pub(crate) fn restore_hasher(&self, key: ObjectKey) -> Result<Hasher, StoreError> {
        let hasher = Hasher::restore(&self.hasher).map_err(|error| StoreError::BadProgress {
            key,
            reason: "its hash state cannot be read",
            source: Some(error),
        })?;
        if hasher.length() != self.offset {
            let reason = "its hash state is of another number of bytes";
            return Err(bad_progress(key, reason));
        }
        Ok(hasher)
    }

    /// Folder and memory need nothing but the key.
    pub(crate) fn check_local(&self, key: ObjectKey) -> Result<(), StoreError> {
        if self.backend.is_empty() {
            Ok(())
        } else {
            Err(bad_progress(key, "it belongs to another backend"))
        }
    }

    /// Where the bytes of an upload to a bucket are.
    pub(crate) fn in_bucket(
        &self,
        key: ObjectKey,
        part_bytes: u64,
    ) -> Result<S3Progress, StoreError> {
        S3Progress::decode(&self.backend, self.offset, part_bytes)
            .map_err(|reason| bad_progress(key, reason))
    }
}

fn bad_progress(key: ObjectKey, reason: &'static str) -> StoreError {
    StoreError::BadProgress {
        key,
        reason,
        source: None,
    }
}

/// Where the bytes of an upload go.
pub(crate) enum Sink {
    Local(StagingFile),
    Memory(StagingBuffer),
    S3(Box<S3Upload>),
}

impl Sink {
    fn append(&mut self, pieces: &[Bytes]) -> Result<(), StoreError> {
        match self {
            Self::Local(file) => file.append(pieces),
            Self::Memory(buffer) => {
                buffer.append(pieces);
                Ok(())
            }
            Self::S3(upload) => upload.append(pieces),
        }
    }

    fn sync_for_resume(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Local(file) => file.sync_for_resume(),
            Self::Memory(_) | Self::S3(_) => Ok(()),
        }
    }

    fn sync_for_publish(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Local(file) => file.sync_for_publish(),
            Self::Memory(_) | Self::S3(_) => Ok(()),
        }
    }

    /// Sends what can be sent by now to another machine.
    async fn send(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Local(_) | Self::Memory(_) => Ok(()),
            Self::S3(upload) => upload.send_full_parts().await,
        }
    }

    /// Sends all bytes to another machine, and gives what the next request needs to find them.
    async fn send_for_resume(&mut self) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Local(_) | Self::Memory(_) => Ok(Vec::new()),
            Self::S3(upload) => upload.pause().await,
        }
    }

    /// Sends all bytes but those that the object is made of in the end.
    async fn send_for_publish(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Local(_) | Self::Memory(_) => Ok(()),
            Self::S3(upload) => upload.settle().await,
        }
    }

    fn is_remote(&self) -> bool {
        match self {
            Self::Local(_) | Self::Memory(_) => false,
            Self::S3(_) => true,
        }
    }
}

/// Everything that belongs to the bytes already handed on. What touches a disk blocks; what sends to another machine
/// waits.
pub(crate) struct Upload {
    // The order matters: the file is closed before the lease lets the next writer in.
    pub(crate) sink: Sink,
    pub(crate) hasher: Hasher,
    pub(crate) faults: Faults,
    pub(crate) lease: Lease,
}

impl Upload {
    /// After an error the hash is ahead of the file, so the upload must be dropped.
    fn append(&mut self, pieces: &[Bytes]) -> Result<(), StoreError> {
        self.lease.check()?;
        self.faults.check(Operation::Write, self.lease.key())?;
        for piece in pieces {
            self.hasher.update(piece);
        }
        self.sink.append(pieces)
    }

    fn append_rest(&mut self, pieces: &[Bytes]) -> Result<(), StoreError> {
        if !pieces.is_empty() {
            self.append(pieces)?;
        }
        self.faults.check(Operation::Sync, self.lease.key())
    }

    /// Appends to the disk and then sends to another machine, which a thread must not wait for.
    async fn append_and_send(
        mut self: Box<Self>,
        pieces: Vec<Bytes>,
    ) -> Result<Box<Self>, StoreError> {
        let mut upload = blocking(move || {
            self.append(&pieces)?;
            Ok(self)
        })
        .await?;
        upload.sink.send().await?;
        Ok(upload)
    }

    async fn pause(mut self: Box<Self>, pieces: Vec<Bytes>) -> Result<Progress, StoreError> {
        let mut upload = blocking(move || {
            self.append_rest(&pieces)?;
            self.sink.sync_for_resume()?;
            Ok(self)
        })
        .await?;
        let backend = upload.sink.send_for_resume().await?;
        upload.lease.check()?;
        Ok(Progress {
            offset: upload.hasher.length(),
            hasher: upload.hasher.save(),
            backend,
        })
    }

    async fn finish(
        mut self: Box<Self>,
        pieces: Vec<Bytes>,
        store: Store,
    ) -> Result<Staged, StoreError> {
        let mut upload = blocking(move || {
            self.append_rest(&pieces)?;
            self.sink.sync_for_publish()?;
            Ok(self)
        })
        .await?;
        upload.sink.send_for_publish().await?;
        upload.lease.check()?;
        let Self {
            sink,
            hasher,
            faults: _,
            lease,
        } = *upload;
        let size_bytes = hasher.length();
        let remote = match sink {
            Sink::S3(remote) => Some(remote),
            Sink::Local(_) | Sink::Memory(_) => None,
        };
        Ok(Staged::new(
            hasher.finish(),
            size_bytes,
            store,
            lease,
            remote,
        ))
    }

    /// Runs to its end what sends to another machine, also when the caller goes away.
    async fn to_its_end<T: Send + 'static>(
        is_remote: bool,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        if is_remote {
            joined(tokio::spawn(work).await)
        } else {
            work.await
        }
    }
}

/// The one writer of an upload in this process.
///
/// Dropping it at any point, also inside one of its futures, is safe: what [`Writer::pause`]
/// reported earlier stays, anything newer is cut away by the next writer, which waits until a write
/// that is still in the kernel has returned. After an error the writer takes nothing more.
///
/// It holds at most two batches of 512 KiB, or 128 KiB where many are written at one time, and one piece beyond each as
/// the caller cut them.
pub struct Writer {
    key: ObjectKey,
    offset: u64,
    batch: Batch,
    state: State,
    signal: StopSignal,
    store: Store,
}

enum State {
    Idle(Box<Upload>),
    Busy(JoinHandle<Result<Box<Upload>, StoreError>>),
    Closed,
}

impl Writer {
    pub(crate) fn new(upload: Upload, store: Store) -> Self {
        Self {
            key: upload.lease.key(),
            offset: upload.hasher.length(),
            batch: Batch::default(),
            signal: upload.lease.signal(),
            state: State::Idle(Box::new(upload)),
            store,
        }
    }

    /// Appends bytes; waits while two batches are full.
    ///
    /// A call that is dropped before it returned has taken nothing.
    ///
    /// # Errors
    /// `Superseded` if another writer or a cancellation has taken the upload; `NoSpace` or `Io` for
    /// a write, possibly of earlier bytes, that failed; `WriterClosed` after any of them.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.check_superseded()?;
        let full_bytes = self.store.batch_bytes();
        if self.batch.len() >= full_bytes {
            let upload = self.settled().await?;
            self.begin_append(upload);
        }
        self.offset += bytes.len() as u64;
        self.batch.push(bytes);
        if self.batch.len() >= full_bytes {
            match mem::replace(&mut self.state, State::Closed) {
                State::Idle(upload) => self.begin_append(upload),
                busy @ State::Busy(_) => self.state = busy,
                State::Closed => return Err(StoreError::WriterClosed { key: self.key }),
            }
        }
        Ok(())
    }

    /// Resolves when this writer has been told to stop, for a `select!` beside a silent client.
    ///
    /// The future borrows nothing. Whoever sees it resolve drops the writer: the taker is waiting.
    pub fn superseded(&self) -> impl Future<Output = ()> + Send + use<> {
        self.signal.clone().raised()
    }

    /// How many bytes the upload has with all that were taken here, durable or not.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The key this writes to.
    pub fn key(&self) -> ObjectKey {
        self.key
    }

    /// Makes all bytes durable and gives the upload up, to be continued from what this returns.
    ///
    /// # Errors
    /// As for [`Writer::write`]. Then nothing new was recorded, and the progress known before still
    /// holds.
    pub async fn pause(mut self) -> Result<Progress, StoreError> {
        self.check_superseded()?;
        let upload = self.settled().await?;
        let pieces = self.batch.take();
        Upload::to_its_end(upload.sink.is_remote(), upload.pause(pieces)).await
    }

    /// Makes all bytes durable and computes their digest. Nothing can read them yet.
    ///
    /// # Errors
    /// As for [`Writer::write`]. Then nothing new was recorded, and the progress known before still
    /// holds.
    pub async fn finish(mut self) -> Result<Staged, StoreError> {
        self.check_superseded()?;
        let upload = self.settled().await?;
        let pieces = self.batch.take();
        let store = self.store;
        Upload::to_its_end(upload.sink.is_remote(), upload.finish(pieces, store)).await
    }

    /// Gives the key free at once if told to stop, rather than when the caller drops the writer.
    fn check_superseded(&mut self) -> Result<(), StoreError> {
        if !self.signal.is_raised() {
            return Ok(());
        }
        self.state = State::Closed;
        Err(StoreError::Superseded { key: self.key })
    }

    /// Waits for the write under way. The caller must put the upload to use without waiting again,
    /// so that a dropped future cannot lose it.
    async fn settled(&mut self) -> Result<Box<Upload>, StoreError> {
        let arrived = match &mut self.state {
            State::Busy(write) => Some(write.await),
            State::Idle(_) | State::Closed => None,
        };
        match (arrived, mem::replace(&mut self.state, State::Closed)) {
            (Some(outcome), _) => joined(outcome),
            (None, State::Idle(upload)) => Ok(upload),
            (None, State::Busy(_) | State::Closed) => {
                Err(StoreError::WriterClosed { key: self.key })
            }
        }
    }

    fn begin_append(&mut self, mut upload: Box<Upload>) {
        let pieces = self.batch.take();
        self.state = State::Busy(if upload.sink.is_remote() {
            tokio::spawn(upload.append_and_send(pieces))
        } else {
            spawn_blocking(move || {
                upload.append(&pieces)?;
                Ok(upload)
            })
        });
    }
}

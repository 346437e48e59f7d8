//! Pushing blobs: sessions that take bytes until their digest is known to match.
//!
//! Bytes become a blob in this order: staged and hashed, matched with the digest, published under their key and synced,
//! then the rows committed, then the answer. A request that writes runs in a task of its own, so that a client that
//! goes away leaves what arrived in good order.

use berth_storage::{Digest, ObjectKey, Progress, Staged, StoreError, Writer};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{Registry, RegistryError, to_the_end, with_retries};
use crate::auth::{Granted, Push};
use crate::clock::Millis;
use crate::metadata::{NewBlob, TakenUpload, UploadRow, UploadState};
use crate::oci::ContentRange;
use crate::oci::UploadId;

/// How long an object without a session may be written to before it is given up: no single request lasts longer.
const OBJECT_WRITING_MS: i64 = 48 * 60 * 60 * 1000;

/// What may go wrong with the body of a request, in the words of the one who reads it.
#[derive(Debug)]
pub enum ChunkError {
    /// The client went away, or sent something that is no body.
    Broken(String),
    /// Nothing arrived for this many seconds.
    Idle(u64),
}

/// Bytes for an upload, and what was said about them.
#[derive(Debug)]
pub struct Chunk<B> {
    /// Where they belong, if the client said so.
    pub range: Option<ContentRange>,
    /// How many there are, if the client said so.
    pub length: Option<u64>,
    /// They themselves.
    pub body: B,
}

impl<B> Chunk<B> {
    /// What the client announced must not contradict itself.
    fn check(&self) -> Result<(), RegistryError> {
        match (&self.range, self.length) {
            (Some(range), Some(length)) if range.len() != length => {
                Err(RegistryError::SizeMismatch {
                    announced: range.len(),
                    received: length,
                })
            }
            _ => Ok(()),
        }
    }

    fn announced(&self) -> Option<u64> {
        self.range.map(ContentRange::len).or(self.length)
    }
}

/// How an upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The blob is stored and a member of the repository.
    Stored,
    /// It already was: the same request came before.
    Already,
}

/// What a client may send to an upload.
pub trait Body: Stream<Item = Result<Bytes, ChunkError>> + Send + Unpin + 'static {}
impl<B: Stream<Item = Result<Bytes, ChunkError>> + Send + Unpin + 'static> Body for B {}

impl Registry {
    /// Opens a session. Its bytes will be hashed with `algorithm`.
    pub async fn open_upload(
        &self,
        granted: &Granted<Push>,
        algorithm: berth_storage::DigestAlgorithm,
    ) -> Result<UploadId, RegistryError> {
        let limit = self.limits.open_uploads_per_workspace;
        if self.metadata.open_uploads(granted.workspace_id()).await? >= limit {
            return Err(RegistryError::TooManyUploads(limit));
        }
        let upload = self.new_upload(granted, algorithm);
        self.metadata.open_upload(&upload).await?;
        Ok(upload.id)
    }

    /// How many bytes of a session have arrived.
    pub async fn upload_offset(
        &self,
        granted: &Granted<Push>,
        id: UploadId,
    ) -> Result<u64, RegistryError> {
        let upload = self.find_upload(granted, id).await?;
        match upload.state {
            UploadState::Open => Ok(upload.progress.offset),
            UploadState::Done => Err(RegistryError::UploadUnknown(id)),
        }
    }

    /// Ends a session and gives up its bytes.
    pub async fn cancel_upload(
        &self,
        granted: &Granted<Push>,
        id: UploadId,
    ) -> Result<(), RegistryError> {
        let upload = self.find_upload(granted, id).await?;
        if upload.state == UploadState::Done
            || !self.metadata.close_upload(id, self.clock.now()).await?
        {
            return Err(RegistryError::UploadUnknown(id));
        }
        Ok(self.store.discard_staging(upload.object_key).await?)
    }

    /// Appends bytes to a session and returns its new offset. Bytes that arrived count, even if the rest did not.
    pub async fn append<B: Body>(
        &self,
        granted: &Granted<Push>,
        id: UploadId,
        chunk: Chunk<B>,
    ) -> Result<u64, RegistryError> {
        chunk.check()?;
        let upload = self.find_upload(granted, id).await?;
        self.check_open(&upload, &chunk)?;
        let this = self.clone();
        to_the_end(async move { this.append_taken(id, chunk).await }).await
    }

    async fn append_taken<B: Body>(
        &self,
        id: UploadId,
        mut chunk: Chunk<B>,
    ) -> Result<u64, RegistryError> {
        let taken = self.metadata.take_upload(id, self.clock.now()).await?;
        let TakenUpload { upload, .. } = taken.ok_or(RegistryError::UploadUnknown(id))?;
        self.check_open(&upload, &chunk)?;
        // An object that is published takes no more bytes: only the closing PUT can end the session.
        let writer = self.writer(&upload).await?;
        let mut writer = writer.ok_or(RegistryError::UploadUnknown(id))?;
        let received = receive(&mut writer, &mut chunk).await;
        match received {
            Err(RegistryError::UploadSuperseded) => return Err(RegistryError::UploadSuperseded),
            Err(error @ RegistryError::Storage(_)) => {
                drop(writer);
                self.cut_back(&upload).await;
                return Err(error);
            }
            Ok(()) | Err(_) => {}
        }
        let progress = writer.pause().await?;
        if !self
            .metadata
            .save_upload(id, upload.epoch, &progress, self.clock.now())
            .await?
        {
            return Err(RegistryError::UploadSuperseded);
        }
        received.map(|()| progress.offset)
    }

    /// Completes a session: with its last bytes, if any, its content must have this digest.
    pub async fn complete<B: Body>(
        &self,
        granted: &Granted<Push>,
        id: UploadId,
        digest: &Digest,
        chunk: Chunk<B>,
    ) -> Result<Completion, RegistryError> {
        chunk.check()?;
        let upload = self.find_upload(granted, id).await?;
        if upload.state == UploadState::Done && upload.digest == Some(*digest) {
            return Ok(Completion::Already);
        }
        self.check_open(&upload, &chunk)?;
        let (this, granted, digest) = (self.clone(), granted.clone(), *digest);
        to_the_end(async move {
            let taken = match this.metadata.take_fresh_upload(id) {
                Some(fresh) => Some(fresh),
                None => this.metadata.take_upload(id, this.clock.now()).await?,
            };
            let Some(taken) = taken else {
                return this.settled(id, &digest).await;
            };
            let session = taken.fresh.then(|| taken.upload.clone());
            let completed = this.complete_taken(&granted, taken, &digest, chunk).await;
            if let (Some(session), Err(error)) = (session, &completed) {
                this.reopen(session, error).await?;
            }
            completed
        })
        .await
    }

    /// What became of a session that is not open: the same PUT may have completed it a moment ago.
    async fn settled(&self, id: UploadId, digest: &Digest) -> Result<Completion, RegistryError> {
        match self.metadata.upload(id).await? {
            Some(row) if row.state == UploadState::Done && row.digest == Some(*digest) => {
                Ok(Completion::Already)
            }
            _ => Err(RegistryError::UploadUnknown(id)),
        }
    }

    /// A session without a row goes on from its beginning, with a new object, when a request that had taken it
    /// failed; but a wrong digest closes it.
    async fn reopen(&self, session: UploadRow, error: &RegistryError) -> Result<(), RegistryError> {
        if matches!(
            error,
            RegistryError::DigestMismatch { .. } | RegistryError::UploadSuperseded
        ) {
            return Ok(());
        }
        let session = UploadRow {
            object_key: ObjectKey::random(),
            progress: Progress::start(session.algorithm),
            touched_at: self.clock.now(),
            ..session
        };
        Ok(self.metadata.open_upload(&session).await?)
    }

    /// Stores a blob that comes in one request, without a session.
    pub async fn push_blob<B: Body>(
        &self,
        granted: &Granted<Push>,
        digest: &Digest,
        chunk: Chunk<B>,
    ) -> Result<Completion, RegistryError> {
        chunk.check()?;
        let upload = self.new_upload(granted, digest.algorithm());
        let (this, granted, digest) = (self.clone(), granted.clone(), *digest);
        to_the_end(async move {
            let taken = TakenUpload {
                upload,
                fresh: true,
            };
            this.complete_taken(&granted, taken, &digest, chunk).await
        })
        .await
    }

    async fn complete_taken<B: Body>(
        &self,
        granted: &Granted<Push>,
        mut taken: TakenUpload,
        digest: &Digest,
        mut chunk: Chunk<B>,
    ) -> Result<Completion, RegistryError> {
        self.check_open(&taken.upload, &chunk)?;
        let now = self.clock.now();
        if taken.upload.progress.offset == 0 && taken.upload.algorithm != digest.algorithm() {
            // No byte has been hashed yet: the digest decides.
            taken.upload.algorithm = digest.algorithm();
            taken.upload.progress = Progress::start(digest.algorithm());
        }
        if taken.fresh {
            let mut change = self.metadata.begin().await?;
            change
                .record_object(
                    taken.upload.object_key,
                    Some(now.plus(OBJECT_WRITING_MS)),
                    now,
                )
                .await?;
            change.commit().await?;
        }
        let Some(mut writer) = self.writer(&taken.upload).await? else {
            return self.settle_published(granted, &taken, digest).await;
        };
        if let Err(error) = receive(&mut writer, &mut chunk).await {
            self.leave(taken, writer, &error).await?;
            return Err(error);
        }
        let staged = writer.finish().await?;
        match self.verify(&staged, digest).await {
            Ok(()) => {}
            Err(error) => {
                staged.discard().await?;
                self.give_up(&taken).await?;
                return Err(error);
            }
        }
        let blob = NewBlob {
            digest: *digest,
            object_key: staged.key(),
            size_bytes: staged.size_bytes(),
        };
        // Held until the rows are committed: a second PUT of the session waits for them.
        let _published = staged.publish().await?;
        with_retries!(self.commit_blob(granted, &taken, &blob).await)?;
        if taken.fresh {
            self.metadata
                .finish_fresh_upload(taken.upload, *digest, self.clock.now());
        }
        Ok(Completion::Stored)
    }

    /// Ends a session whose object is published already: another PUT has completed it meanwhile, or the process ended
    /// before its rows were committed. Then the object is looked at once more, and committed if it is what it should be.
    async fn settle_published(
        &self,
        granted: &Granted<Push>,
        taken: &TakenUpload,
        digest: &Digest,
    ) -> Result<Completion, RegistryError> {
        let (id, key) = (taken.upload.id, taken.upload.object_key);
        let open = self.metadata.upload(id).await?;
        if !open.is_some_and(|row| row.state == UploadState::Open) {
            return self.settled(id, digest).await;
        }
        let actual = self.store.rehash(key, digest.algorithm()).await?;
        let size_bytes = self.store.size(key).await?.unwrap_or_default();
        if actual != *digest {
            self.give_up(taken).await?;
            return Err(RegistryError::UploadUnknown(id));
        }
        let blob = NewBlob {
            digest: *digest,
            object_key: key,
            size_bytes,
        };
        with_retries!(self.commit_blob(granted, taken, &blob).await)?;
        Ok(Completion::Stored)
    }

    /// The rows of a blob whose bytes are published: object, blob, link and session in one change.
    async fn commit_blob(
        &self,
        granted: &Granted<Push>,
        taken: &TakenUpload,
        blob: &NewBlob,
    ) -> Result<(), RegistryError> {
        let now = self.clock.now();
        let damaged = self.damaged_object(&blob.digest).await?;
        let mut change = self.metadata.begin().await?;
        granted.confirm(&mut change, now).await?;
        let repository = change
            .ensure_repository(granted.workspace_id(), granted.repository(), now)
            .await?;
        // First of all: who lost the session has lost its object too, and no second try brings them back.
        if !taken.fresh
            && !change
                .finish_upload(taken.upload.id, blob.object_key, &blob.digest, now)
                .await?
        {
            return Err(RegistryError::UploadSuperseded);
        }
        change.store_blob(blob, damaged, now, now).await?;
        change.link(repository.id, &blob.digest, now).await?;
        Ok(change.commit().await?)
    }

    /// The object that holds a digest now, if its bytes are missing or short: the new push replaces it.
    async fn damaged_object(&self, digest: &Digest) -> Result<Option<ObjectKey>, RegistryError> {
        let Some(stored) = self.metadata.stored_blob(digest).await? else {
            return Ok(None);
        };
        let size = self.store.size(stored.object_key).await?;
        Ok((size != Some(stored.size_bytes)).then_some(stored.object_key))
    }

    /// Nothing is stored under a digest before its bytes were hashed and matched.
    async fn verify(&self, staged: &Staged, digest: &Digest) -> Result<(), RegistryError> {
        let hashed = staged.digest();
        let actual = if hashed.algorithm() == digest.algorithm() {
            hashed
        } else if staged.size_bytes() <= self.limits.rehash_bytes {
            staged.rehash(digest.algorithm()).await?
        } else {
            return Err(RegistryError::AlgorithmUnannounced {
                hashed: hashed.algorithm(),
                wanted: digest.algorithm(),
            });
        };
        if actual == *digest {
            Ok(())
        } else {
            Err(RegistryError::DigestMismatch {
                expected: Box::new(*digest),
                actual: Box::new(actual),
            })
        }
    }

    /// Leaves a session whose last request broke so that the next try works.
    async fn leave(
        &self,
        taken: TakenUpload,
        writer: Writer,
        error: &RegistryError,
    ) -> Result<(), RegistryError> {
        if matches!(error, RegistryError::UploadSuperseded) {
            return Ok(());
        }
        if matches!(error, RegistryError::Storage(_)) && !taken.fresh {
            drop(writer);
            self.cut_back(&taken.upload).await;
            return Ok(());
        }
        if !taken.fresh {
            let progress = writer.pause().await?;
            self.metadata
                .save_upload(
                    taken.upload.id,
                    taken.upload.epoch,
                    &progress,
                    self.clock.now(),
                )
                .await?;
            return Ok(());
        }
        drop(writer);
        self.give_up(&taken).await
    }

    /// Cuts the staging file back to what the row knows, so that a full disk gets its room back.
    async fn cut_back(&self, upload: &UploadRow) {
        if let Err(error) = self.store.writer(upload.object_key, &upload.progress).await {
            tracing::warn!(error = %error, "the bytes of a failed upload stay until its session ends");
        }
    }

    /// Closes a session and dooms its object.
    async fn give_up(&self, taken: &TakenUpload) -> Result<(), RegistryError> {
        let now = self.clock.now();
        if taken.fresh {
            let mut change = self.metadata.begin().await?;
            change.doom_object(taken.upload.object_key, now).await?;
            change.commit().await?;
        } else {
            self.metadata.close_upload(taken.upload.id, now).await?;
        }
        Ok(self.store.discard_staging(taken.upload.object_key).await?)
    }

    /// The right to write to a session's object; `None` when that is published already.
    async fn writer(&self, upload: &UploadRow) -> Result<Option<Writer>, RegistryError> {
        match self.store.writer(upload.object_key, &upload.progress).await {
            Ok(writer) => Ok(Some(writer)),
            Err(StoreError::AlreadyPublished { .. }) => Ok(None),
            Err(StoreError::StagingLost { .. }) => {
                // What the row promises is not on disk any more: the client has to begin again.
                self.metadata
                    .close_upload(upload.id, self.clock.now())
                    .await?;
                Err(RegistryError::UploadUnknown(upload.id))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn new_upload(
        &self,
        granted: &Granted<Push>,
        algorithm: berth_storage::DigestAlgorithm,
    ) -> UploadRow {
        UploadRow {
            id: UploadId::random(),
            workspace_id: granted.workspace_id().to_owned(),
            repository: granted.repository().clone(),
            algorithm,
            object_key: ObjectKey::random(),
            state: UploadState::Open,
            epoch: 0,
            progress: Progress::start(algorithm),
            digest: None,
            actor: granted.actor().to_owned(),
            touched_at: self.clock.now(),
        }
    }

    /// A session belongs to its repository and workspace: elsewhere its id is unknown.
    async fn find_upload(
        &self,
        granted: &Granted<Push>,
        id: UploadId,
    ) -> Result<UploadRow, RegistryError> {
        self.metadata
            .upload(id)
            .await?
            .filter(|upload| {
                upload.repository == *granted.repository()
                    && upload.workspace_id == granted.workspace_id()
            })
            .ok_or(RegistryError::UploadUnknown(id))
    }

    fn check_open<B>(&self, upload: &UploadRow, chunk: &Chunk<B>) -> Result<(), RegistryError> {
        if upload.state != UploadState::Open {
            return Err(RegistryError::UploadUnknown(upload.id));
        }
        match &chunk.range {
            Some(range) if range.start() != upload.progress.offset => {
                Err(RegistryError::OutOfOrder {
                    id: upload.id,
                    start: range.start(),
                    offset: upload.progress.offset,
                })
            }
            _ => Ok(()),
        }
    }

    /// Ends sessions that nobody uses. Returns how many.
    pub async fn expire_uploads(
        &self,
        idle_ms: i64,
        done_ms: i64,
        limit: u32,
    ) -> Result<usize, RegistryError> {
        let now: Millis = self.clock.now();
        let uploads = self
            .metadata
            .idle_uploads(now.plus(-idle_ms), now.plus(-done_ms), limit)
            .await?;
        let mut expired = 0;
        for upload in uploads {
            if self.store.is_being_written(upload.object_key) {
                // A request that is still at work has not left it, however long it takes.
                continue;
            }
            if self.metadata.expire_upload(&upload, now).await? {
                expired += 1;
                if upload.state != UploadState::Done {
                    self.store.discard_staging(upload.object_key).await?;
                }
            }
        }
        Ok(expired)
    }
}

/// Writes a body as it comes, until it ends, breaks, or another request takes the session.
async fn receive<B: Body>(writer: &mut Writer, chunk: &mut Chunk<B>) -> Result<(), RegistryError> {
    let announced = chunk.announced();
    let mut received = 0_u64;
    loop {
        let next = tokio::select! {
            biased;
            () = writer.superseded() => return Err(RegistryError::UploadSuperseded),
            next = chunk.body.next() => next,
        };
        let bytes = match next {
            None => break,
            Some(Ok(bytes)) => bytes,
            Some(Err(ChunkError::Broken(cause))) => return Err(RegistryError::BodyBroken(cause)),
            Some(Err(ChunkError::Idle(seconds))) => return Err(RegistryError::BodyIdle(seconds)),
        };
        received += bytes.len() as u64;
        if let Some(announced) = announced.filter(|announced| received > *announced) {
            return Err(RegistryError::SizeMismatch {
                announced,
                received,
            });
        }
        writer.write(bytes).await?;
    }
    match announced {
        Some(announced) if announced != received => Err(RegistryError::SizeMismatch {
            announced,
            received,
        }),
        _ => Ok(()),
    }
}

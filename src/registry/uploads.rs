//! Upload sessions: they take bytes until `completing` makes a blob of them.
//!
//! A request that writes runs in a task of its own, so that a client that goes away leaves what arrived in good order.

use std::pin::pin;
use std::time::Duration;

use berth_storage::{DigestAlgorithm, ObjectKey, Progress, StoreError, Writer};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{sleep, timeout};

use super::heartbeat::Heartbeat;
use super::{Registry, RegistryError, writable};
use crate::auth::{Granted, Push};
use crate::clock::Millis;
use crate::metadata::{TakenUpload, UploadRow, UploadState};
use crate::oci::{ContentRange, UploadId};
use crate::retries::to_the_end;

/// How long an answer about a session waits for a request that writes to it here.
const SETTLING_LIMIT: Duration = Duration::from_secs(3);

/// How often it looks whether that has ended.
const SETTLING_POLL: Duration = Duration::from_millis(20);

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
    pub(super) fn check(&self) -> Result<(), RegistryError> {
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

/// What a client may send to an upload.
pub trait Body: Stream<Item = Result<Bytes, ChunkError>> + Send + Unpin + 'static {}
impl<B: Stream<Item = Result<Bytes, ChunkError>> + Send + Unpin + 'static> Body for B {}

impl Registry {
    /// Opens a session. Its bytes will be hashed with `algorithm`.
    pub async fn open_upload(
        &self,
        granted: &Granted<Push>,
        algorithm: DigestAlgorithm,
    ) -> Result<UploadId, RegistryError> {
        // Told here, a client does not send the bytes in vain.
        if let Some(repository) = self.metadata.repository(granted.repository()).await? {
            writable(repository, granted.repository())?;
        }
        let limit = self.limits.open_uploads_per_workspace;
        let workspace_id = granted.workspace_id();
        if !self.metadata.may_open_upload(workspace_id, limit).await? {
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
        let key = self.find_upload(granted, id).await?.object_key;
        // A client whose connection broke asks at once, while what it had sent is still on its way to the disk. Told less
        // than that, it would send it again.
        let settled = async {
            while self.store.is_being_written(key) {
                sleep(SETTLING_POLL).await;
            }
        };
        // Somebody who asks about a request that goes on learns what came before it.
        let _ = timeout(SETTLING_LIMIT, settled).await;
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
            || !self
                .metadata
                .close_upload(id, None, self.clock.now())
                .await?
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
        if upload.digest.is_some() {
            // It was about to be completed: only the same PUT can end it.
            return Err(RegistryError::UploadUnknown(id));
        }
        let mut heartbeat = self.heartbeat(&upload);
        // An object that is published takes no more bytes: only the closing PUT can end the session.
        let writer = self.writer(&upload).await?;
        let mut writer = writer.ok_or(RegistryError::UploadUnknown(id))?;
        let received = receive(&mut writer, &mut heartbeat, &mut chunk).await;
        match received {
            Err(RegistryError::UploadSuperseded) => {
                drop(writer);
                self.give_up_unknown(upload.object_key).await?;
                return Err(RegistryError::UploadSuperseded);
            }
            Err(error @ RegistryError::Storage(_)) => {
                drop(writer);
                self.cut_back(&upload).await;
                return Err(self.lost(&upload, error).await?);
            }
            Ok(()) | Err(_) => {}
        }
        let syncing = self.latency.sync.start();
        let progress = match writer.pause().await {
            Ok(progress) => progress,
            Err(error) => return Err(self.lost(&upload, error.into()).await?),
        };
        drop(syncing);
        if !self
            .metadata
            .save_upload(id, upload.epoch, &progress, self.clock.now())
            .await?
        {
            self.give_up_unknown(upload.object_key).await?;
            return Err(RegistryError::UploadSuperseded);
        }
        received.map(|()| progress.offset)
    }

    /// After bytes were sent to a place that other processes write to as well, for a session that is not ours any more:
    /// if nobody knows of the object now, nobody else would give it up.
    pub(super) async fn give_up_unknown(&self, key: ObjectKey) -> Result<(), RegistryError> {
        if self.store.is_shared() {
            let now = self.clock.now();
            let mut change = self.metadata.begin().await?;
            change.doom_unknown_object(key, now, now).await?;
            change.commit().await?;
        }
        Ok(())
    }

    /// What a failure means for the session: one whose bytes are lost is closed, and the client has to begin again.
    pub(super) async fn lost(
        &self,
        upload: &UploadRow,
        error: RegistryError,
    ) -> Result<RegistryError, RegistryError> {
        let is_lost = matches!(
            error,
            RegistryError::Storage(StoreError::StagingLost { .. })
        );
        if !is_lost {
            return Ok(error);
        }
        tracing::warn!(upload = %upload.id, %error, "an upload has to begin again");
        let now = self.clock.now();
        let closed = self
            .metadata
            .close_upload(upload.id, Some(upload.epoch), now);
        if closed.await? {
            self.store.discard_staging(upload.object_key).await?;
        }
        Ok(RegistryError::UploadUnknown(upload.id))
    }

    /// Cuts the staging file back to what the row knows, so that a full disk gets its room back.
    pub(super) async fn cut_back(&self, upload: &UploadRow) {
        if let Err(error) = self.store.writer(upload.object_key, &upload.progress).await {
            tracing::warn!(error = %error, "the bytes of a failed upload stay until its session ends");
        }
    }

    /// The right to write to a session's object; `None` when that is published already.
    pub(super) async fn writer(&self, upload: &UploadRow) -> Result<Option<Writer>, RegistryError> {
        match self.store.writer(upload.object_key, &upload.progress).await {
            Ok(writer) => Ok(Some(writer)),
            Err(StoreError::AlreadyPublished { .. }) => Ok(None),
            Err(StoreError::StagingLost { .. }) => {
                // What the row promises is not on disk any more: the client has to begin again.
                self.metadata
                    .close_upload(upload.id, Some(upload.epoch), self.clock.now())
                    .await?;
                Err(RegistryError::UploadUnknown(upload.id))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn new_upload(
        &self,
        granted: &Granted<Push>,
        algorithm: DigestAlgorithm,
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
    pub(super) async fn find_upload(
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

    pub(super) fn check_open<B>(
        &self,
        upload: &UploadRow,
        chunk: &Chunk<B>,
    ) -> Result<(), RegistryError> {
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

    /// Ends sessions that nobody uses at this time, which is that of all servers. Returns how many.
    pub async fn expire_uploads(
        &self,
        now: Millis,
        idle_ms: i64,
        done_ms: i64,
        limit: u32,
    ) -> Result<usize, RegistryError> {
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
                if upload.state != UploadState::Done
                    && let Err(error) = self.store.discard_staging(upload.object_key).await
                {
                    // Its object is doomed: whoever deletes that tries once more.
                    tracing::warn!(key = %upload.object_key, error = %error, "the bytes of an upload could not be deleted yet");
                }
            }
        }
        Ok(expired)
    }
}

/// Writes a body as it comes, until it ends, breaks, or another request takes the session.
pub(super) async fn receive<B: Body>(
    writer: &mut Writer,
    heartbeat: &mut Heartbeat,
    chunk: &mut Chunk<B>,
) -> Result<(), RegistryError> {
    let announced = chunk.announced();
    let mut received = 0_u64;
    let mut superseded = pin!(writer.superseded());
    let mut lost = pin!(heartbeat.lost());
    loop {
        let next = tokio::select! {
            biased;
            () = &mut superseded => return Err(RegistryError::UploadSuperseded),
            () = &mut lost => return Err(RegistryError::UploadSuperseded),
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

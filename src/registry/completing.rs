//! Completing an upload: from staged bytes to a blob that is a member of its repository.
//!
//! The order is what makes 201 mean "on disk": the bytes are hashed and matched, published under their key and synced,
//! then the rows are committed, then the client is answered. The key is held until the rows are committed, so that a
//! second PUT of the same session waits, and finds the blob stored.

use berth_storage::{Digest, ObjectKey, Progress, Staged, StoreError, Writer};

use super::heartbeat::Heartbeat;
use super::uploads::{Body, Chunk, receive};
use super::{Registry, RegistryError, writable};
use crate::auth::{Granted, Push};
use crate::metadata::{NewBlob, TakenUpload, UploadRow, UploadState};
use crate::oci::UploadId;
use crate::retries::{Retriable as _, to_the_end, with_retries};

/// The object that holds a digest already when it is pushed once more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rival {
    /// Whether there is one is not known: mostly there is none.
    Unseen,
    /// It was looked at; `damaged` is its key if it has to give way.
    Seen { damaged: Option<ObjectKey> },
}

/// How an upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The blob is stored and a member of the repository.
    Stored,
    /// It already was: the same request came before.
    Already,
}

impl Registry {
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
        if taken.upload.digest.is_some_and(|fixed| fixed != *digest) {
            return Err(RegistryError::UploadUnknown(taken.upload.id));
        }
        if taken.upload.progress.offset == 0 && taken.upload.algorithm != digest.algorithm() {
            // No byte has been hashed yet: the digest decides.
            taken.upload.algorithm = digest.algorithm();
            taken.upload.progress = Progress::start(digest.algorithm());
        }
        if taken.fresh {
            taken.upload.object_key = self.keys.take(&self.metadata, self.clock.now()).await?;
        }
        // Until the rows are committed: to publish a large object takes its time too.
        let mut heartbeat = if taken.fresh {
            Heartbeat::none()
        } else {
            self.heartbeat(&taken.upload)
        };
        let Some(mut writer) = self.writer(&taken.upload).await? else {
            return self.settle_published(granted, &taken, digest).await;
        };
        if let Err(error) = receive(&mut writer, &mut heartbeat, &mut chunk).await {
            self.leave(&taken, writer, &error).await?;
            return self.broken_off(granted, &taken, digest, error).await;
        }
        let syncing = self.latency.sync.start();
        let staged = match writer.finish().await {
            Ok(staged) => staged,
            Err(error) => {
                return self.broken_off(granted, &taken, digest, error.into()).await;
            }
        };
        drop(syncing);
        // Before the bytes are looked at: to hash them again may make the object.
        if let Err(error) = self.fix_digest(&taken, digest).await {
            drop(staged);
            return self.not_committed(&taken, digest, error).await;
        }
        match self.verify(&staged, digest).await {
            Ok(()) => {}
            Err(error) => {
                // The key first, which giving up needs. If another request has the session by now, it keeps its bytes.
                drop(staged);
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
        let publishing = self.latency.publish.start();
        let published = match staged.publish().await {
            Ok(published) => published,
            Err(StoreError::AlreadyPublished { .. }) => {
                return self.settle_published(granted, &taken, digest).await;
            }
            Err(error) => {
                return self.broken_off(granted, &taken, digest, error.into()).await;
            }
        };
        drop(publishing);
        let committed = with_retries!(self.commit_blob(granted, &taken, &blob).await);
        if let Err(error) = committed {
            drop(published);
            return self.not_committed(&taken, digest, error).await;
        }
        published.settle();
        if taken.fresh {
            self.metadata
                .finish_fresh_upload(taken.upload, *digest, self.clock.now());
        }
        Ok(Completion::Stored)
    }

    /// What a failure means for a session that was being completed. Where its bytes are lost, another process may have
    /// made the object of them meanwhile.
    async fn broken_off(
        &self,
        granted: &Granted<Push>,
        taken: &TakenUpload,
        digest: &Digest,
        error: RegistryError,
    ) -> Result<Completion, RegistryError> {
        let is_lost = matches!(
            error,
            RegistryError::Storage(StoreError::StagingLost { .. })
        );
        if taken.fresh || !is_lost {
            return Err(error);
        }
        if self.store.size(taken.upload.object_key).await?.is_some() {
            return self.settle_published(granted, taken, digest).await;
        }
        match self.lost(&taken.upload, error).await? {
            RegistryError::UploadUnknown(id) => self.settled(id, digest).await,
            error => Err(error),
        }
    }

    /// Where other processes complete the same session unseen, the row says which digest it may have.
    async fn fix_digest(&self, taken: &TakenUpload, digest: &Digest) -> Result<(), RegistryError> {
        if taken.fresh || !self.store.is_shared() {
            return Ok(());
        }
        let (id, epoch) = (taken.upload.id, taken.upload.epoch);
        let now = self.clock.now();
        if self
            .metadata
            .fix_upload_digest(id, epoch, digest, now)
            .await?
        {
            Ok(())
        } else {
            Err(RegistryError::UploadSuperseded)
        }
    }

    /// Bytes were brought to their end, but not committed: another process may have completed the session, or given it
    /// up. Nothing holds the key any more.
    async fn not_committed(
        &self,
        taken: &TakenUpload,
        digest: &Digest,
        error: RegistryError,
    ) -> Result<Completion, RegistryError> {
        let is_not_ours = matches!(error, RegistryError::UploadSuperseded) || error.is_conflict();
        if !is_not_ours {
            return Err(error);
        }
        self.give_up_unknown(taken.upload.object_key).await?;
        match self.settled(taken.upload.id, digest).await {
            Ok(completion) if !taken.fresh => {
                self.forget_staging(taken.upload.object_key).await;
                Ok(completion)
            }
            Ok(_) | Err(_) => Err(error),
        }
    }

    /// Lets what is left of an upload go whose object is there and committed.
    async fn forget_staging(&self, key: ObjectKey) {
        if let Err(error) = self.store.discard_staging(key).await {
            tracing::warn!(%key, %error, "what an object was made of stays until the object goes");
        }
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
        if !taken.fresh && !open.is_some_and(|row| row.state == UploadState::Open) {
            return self.settled(id, digest).await;
        }
        let actual = match self.store.rehash(key, digest.algorithm()).await {
            // The store said that there is one a moment ago.
            Err(error @ StoreError::Missing { .. }) => {
                return Err(RegistryError::Storage(StoreError::Unavailable {
                    action: "read",
                    path: key.to_string(),
                    source: Box::new(error),
                }));
            }
            hashed => hashed?,
        };
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
        let committed = with_retries!(self.commit_blob(granted, taken, &blob).await);
        if let Err(error) = committed {
            return self.not_committed(taken, digest, error).await;
        }
        self.forget_staging(key).await;
        Ok(Completion::Stored)
    }

    /// The rows of a blob whose bytes are published.
    async fn commit_blob(
        &self,
        granted: &Granted<Push>,
        taken: &TakenUpload,
        blob: &NewBlob,
    ) -> Result<(), RegistryError> {
        let first = self.commit_rows(granted, taken, blob, Rival::Unseen);
        if first.await? {
            return Ok(());
        }
        // Whether the bytes of the one that came before are whole is seen on the disk, which no change may wait for.
        let damaged = self.damaged_object(&blob.digest).await?;
        self.commit_rows(granted, taken, blob, Rival::Seen { damaged })
            .await?;
        Ok(())
    }

    /// Object, blob, link and session in one change. `false`, and nothing is changed, when another object holds the
    /// digest that was not looked at yet.
    async fn commit_rows(
        &self,
        granted: &Granted<Push>,
        taken: &TakenUpload,
        blob: &NewBlob,
        rival: Rival,
    ) -> Result<bool, RegistryError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        granted.confirm(&mut change, now).await?;
        let repository = change
            .ensure_repository(granted.workspace_id(), granted.repository(), now)
            .await?;
        let repository = writable(repository, granted.repository())?;
        // First of all: who lost the session has lost its object too, and no second try brings them back.
        if !taken.fresh
            && !change
                .finish_upload(taken.upload.id, blob.object_key, &blob.digest, now)
                .await?
        {
            return Err(RegistryError::UploadSuperseded);
        }
        let damaged = match rival {
            Rival::Unseen => None,
            Rival::Seen { damaged } => damaged,
        };
        let holds = change.store_blob(blob, damaged, now, now).await?;
        if !holds && rival == Rival::Unseen {
            return Ok(false);
        }
        change.link(repository.id, &blob.digest, now).await?;
        change.commit().await?;
        Ok(true)
    }

    /// The object that holds a digest now, if its bytes are missing or wrong: the new push replaces it.
    async fn damaged_object(&self, digest: &Digest) -> Result<Option<ObjectKey>, RegistryError> {
        let Some(stored) = self.metadata.stored_blob(digest).await? else {
            return Ok(None);
        };
        if stored.is_damaged {
            return Ok(Some(stored.object_key));
        }
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
        taken: &TakenUpload,
        writer: Writer,
        error: &RegistryError,
    ) -> Result<(), RegistryError> {
        let key = taken.upload.object_key;
        if matches!(error, RegistryError::UploadSuperseded) {
            drop(writer);
            return self.give_up_unknown(key).await;
        }
        if matches!(error, RegistryError::Storage(_)) && !taken.fresh {
            drop(writer);
            self.cut_back(&taken.upload).await;
            return Ok(());
        }
        if !taken.fresh {
            let progress = writer.pause().await?;
            let (id, epoch) = (taken.upload.id, taken.upload.epoch);
            let now = self.clock.now();
            if !self.metadata.save_upload(id, epoch, &progress, now).await? {
                self.give_up_unknown(key).await?;
            }
            return Ok(());
        }
        drop(writer);
        self.give_up(taken).await
    }

    /// Closes a session and dooms its object, unless another request has taken it.
    async fn give_up(&self, taken: &TakenUpload) -> Result<(), RegistryError> {
        let now = self.clock.now();
        if taken.fresh {
            let mut change = self.metadata.begin().await?;
            change.doom_object(taken.upload.object_key, now).await?;
            change.commit().await?;
        } else {
            let TakenUpload { upload, .. } = taken;
            let closed = self
                .metadata
                .close_upload(upload.id, Some(upload.epoch), now)
                .await?;
            if !closed {
                return Ok(());
            }
        }
        Ok(self.store.discard_staging(taken.upload.object_key).await?)
    }
}

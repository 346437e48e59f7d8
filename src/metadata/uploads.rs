//! Upload sessions: where each stands, and who may write to it.
//!
//! A request *takes* a session by raising its epoch; every later write of that request names the epoch, so that a
//! writer that was overtaken changes nothing. Where one process owns the database, a session that has no bytes yet
//! lives in memory alone: a POST that is followed by one PUT writes no row.

use std::sync::atomic::Ordering;

use berth_storage::{Digest, DigestAlgorithm, ObjectKey, Progress};

use super::Metadata;
use super::database::{Connection, Transaction, on};
use super::error::{MetadataError, parse, to_i64, to_u64};
use crate::clock::Millis;
use crate::oci::RepositoryName;
use crate::oci::UploadId;

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// It takes bytes.
    Open,
    /// Its blob is stored: the same PUT is answered with 201 again.
    Done,
}

impl UploadState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
        }
    }
}

impl std::str::FromStr for UploadState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "open" => Ok(Self::Open),
            "done" => Ok(Self::Done),
            _ => Err(()),
        }
    }
}

/// An upload session.
#[derive(Clone, Debug)]
pub struct UploadRow {
    /// Its id.
    pub id: UploadId,
    /// The workspace that it belongs to.
    pub workspace_id: String,
    /// The repository that it belongs to; under another it does not exist.
    pub repository: RepositoryName,
    /// What its bytes are hashed with.
    pub algorithm: DigestAlgorithm,
    /// The object that its bytes will be.
    pub object_key: ObjectKey,
    /// How far it is.
    pub state: UploadState,
    /// Raised by each request that takes it.
    pub epoch: i64,
    /// What has arrived and is on disk.
    pub progress: Progress,
    /// The digest it was completed with, or is about to be.
    pub digest: Option<Digest>,
    /// Who opened it.
    pub actor: String,
    /// When it was last used.
    pub touched_at: Millis,
}

/// How many open sessions of a workspace had rows, and how many rows this process had written before they were counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct UploadRowCount {
    rows: u64,
    written_before: u64,
}

/// A session that this request may write to.
#[derive(Clone, Debug)]
pub struct TakenUpload {
    /// The session, with the epoch of this request.
    pub upload: UploadRow,
    /// Whether it has no row: its bytes must be completed in this request.
    pub fresh: bool,
}

/// The columns of a [`Row`].
macro_rules! columns {
    () => {
        "id, workspace_id, repository, algorithm, object_key, state, epoch, offset_bytes, hasher, backend, \
         digest, created_by, touched_at"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    workspace_id: String,
    repository: String,
    algorithm: String,
    object_key: String,
    state: String,
    epoch: i64,
    offset_bytes: i64,
    hasher: Vec<u8>,
    backend: Vec<u8>,
    digest: Option<String>,
    created_by: String,
    touched_at: i64,
}

impl TryFrom<Row> for UploadRow {
    type Error = MetadataError;

    fn try_from(row: Row) -> Result<Self, MetadataError> {
        Ok(Self {
            id: parse("upload id", &row.id)?,
            workspace_id: row.workspace_id,
            repository: parse("repository name", &row.repository)?,
            algorithm: parse("digest algorithm", &row.algorithm)?,
            object_key: parse("object key", &row.object_key)?,
            state: parse("upload state", &row.state)?,
            epoch: row.epoch,
            progress: Progress {
                offset: to_u64("upload offset", row.offset_bytes)?,
                hasher: row.hasher,
                backend: row.backend,
            },
            digest: row
                .digest
                .map(|digest| parse("digest", &digest))
                .transpose()?,
            actor: row.created_by,
            touched_at: Millis(row.touched_at),
        })
    }
}

async fn find(
    connection: Connection<'_>,
    id: UploadId,
) -> Result<Option<UploadRow>, MetadataError> {
    let row: Option<Row> = on!(connection, c => sqlx::query_as(
        concat!("SELECT ", columns!(), " FROM uploads WHERE id = $1"),
    )
    .bind(id.to_string())
    .fetch_optional(c)
    .await)?;
    row.map(UploadRow::try_from).transpose()
}

impl Metadata {
    /// Opens a session.
    pub async fn open_upload(&self, upload: &UploadRow) -> Result<(), MetadataError> {
        let kept = self
            .fresh_uploads
            .lock()
            .is_some_and(|mut fresh| fresh.open(upload.clone()));
        if kept {
            Ok(())
        } else {
            self.write_upload(upload).await
        }
    }

    async fn write_upload(&self, upload: &UploadRow) -> Result<(), MetadataError> {
        self.upload_rows_written.fetch_add(1, Ordering::AcqRel);
        let mut change = self.begin().await?;
        change.insert_upload(upload).await?;
        change.commit().await
    }

    /// A session, whoever it belongs to.
    pub async fn upload(&self, id: UploadId) -> Result<Option<UploadRow>, MetadataError> {
        if let Some(upload) = self.fresh_uploads.lock().and_then(|fresh| fresh.find(id)) {
            return Ok(Some(upload));
        }
        find(self.read().await?.connection(), id).await
    }

    /// Whether a workspace may open another session: it has fewer open ones than `limit`.
    ///
    /// Rows are counted, but not each time: as long as the number at the last count and all rows written since are
    /// fewer than the limit, there is room. Sessions that are opened at the same time do not see each other.
    pub async fn may_open_upload(
        &self,
        workspace_id: &str,
        limit: u64,
    ) -> Result<bool, MetadataError> {
        let fresh = self
            .fresh_uploads
            .lock()
            .map_or(0, |fresh| fresh.count_open(workspace_id) as u64);
        let counts = &self.memory.upload_rows;
        let workspace_id = workspace_id.to_owned();
        if let Some(count) = counts.get(&workspace_id) {
            let since = self.upload_rows_written() - count.written_before;
            if fresh + count.rows + since < limit {
                return Ok(true);
            }
        }
        // Asked before the rows are counted, so that none is missed.
        let (ticket, written_before) = (counts.ticket(&workspace_id), self.upload_rows_written());
        let rows = self.count_upload_rows(&workspace_id).await?;
        let count = UploadRowCount {
            rows,
            written_before,
        };
        counts.fill(&ticket, workspace_id, count);
        Ok(fresh + rows < limit)
    }

    async fn count_upload_rows(&self, workspace_id: &str) -> Result<u64, MetadataError> {
        let mut reader = self.read().await?;
        let (rows,): (i64,) = on!(reader.connection(), c => sqlx::query_as(
            "SELECT COUNT(*) FROM uploads WHERE workspace_id = $1 AND state = 'open'",
        )
        .bind(workspace_id)
        .fetch_one(c)
        .await)?;
        to_u64("number of uploads", rows)
    }

    fn upload_rows_written(&self) -> u64 {
        self.upload_rows_written.load(Ordering::Acquire)
    }

    /// Open sessions of all workspaces.
    pub async fn count_open_uploads(&self) -> Result<u64, MetadataError> {
        let fresh = self
            .fresh_uploads
            .lock()
            .map_or(0, |fresh| fresh.count_all_open());
        let mut reader = self.read().await?;
        let (rows,): (i64,) = on!(reader.connection(), c => sqlx::query_as(
            "SELECT COUNT(*) FROM uploads WHERE state = 'open'",
        )
        .fetch_one(c)
        .await)?;
        Ok(fresh as u64 + to_u64("number of uploads", rows)?)
    }

    /// Takes a session whose bytes will be completed in this request, if it has no row yet.
    #[must_use]
    pub fn take_fresh_upload(&self, id: UploadId) -> Option<TakenUpload> {
        let upload = self.fresh_uploads.lock()?.take(id)?;
        Some(TakenUpload {
            upload,
            fresh: true,
        })
    }

    /// Takes a session to write to it: whoever wrote to it before writes no more. `None` when it is not open.
    pub async fn take_upload(
        &self,
        id: UploadId,
        now: Millis,
    ) -> Result<Option<TakenUpload>, MetadataError> {
        if let Some(mut taken) = self.take_fresh_upload(id) {
            taken.upload.epoch += 1;
            taken.upload.touched_at = now;
            if let Err(error) = self.write_upload(&taken.upload).await {
                // The client was promised this session: it goes on without a row.
                if let Some(mut fresh) = self.fresh_uploads.lock() {
                    fresh.open(taken.upload);
                }
                return Err(error);
            }
            return Ok(Some(TakenUpload {
                fresh: false,
                ..taken
            }));
        }
        let mut change = self.begin().await?;
        let taken = change.take_upload(id, now).await?;
        change.commit().await?;
        Ok(taken.map(|upload| TakenUpload {
            upload,
            fresh: false,
        }))
    }

    /// Remembers a session that was completed without ever having a row, so that the same PUT is answered again.
    pub fn finish_fresh_upload(&self, upload: UploadRow, digest: Digest, now: Millis) {
        if let Some(mut fresh) = self.fresh_uploads.lock() {
            fresh.finish(upload, digest, now);
        }
    }

    /// Saves what has arrived. `false` when another request has taken the session.
    pub async fn save_upload(
        &self,
        id: UploadId,
        epoch: i64,
        progress: &Progress,
        now: Millis,
    ) -> Result<bool, MetadataError> {
        let mut change = self.begin().await?;
        let saved = on!(change.connection(), c => sqlx::query(
            "UPDATE uploads SET offset_bytes = $3, hasher = $4, backend = $5, touched_at = $6 \
             WHERE id = $1 AND epoch = $2 AND state = 'open'",
        )
        .bind(id.to_string())
        .bind(epoch)
        .bind(to_i64(progress.offset))
        .bind(&progress.hasher)
        .bind(&progress.backend)
        .bind(now.0)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        change.commit().await?;
        Ok(saved == 1)
    }

    /// Notes that a request is still at work on a session. `false` when another one has taken it, or it is over.
    pub async fn touch_upload(
        &self,
        id: UploadId,
        epoch: i64,
        now: Millis,
    ) -> Result<bool, MetadataError> {
        let mut change = self.begin().await?;
        let touched = on!(change.connection(), c => sqlx::query(
            "UPDATE uploads SET touched_at = $3 WHERE id = $1 AND epoch = $2 AND state = 'open'",
        )
        .bind(id.to_string())
        .bind(epoch)
        .bind(now.0)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        change.commit().await?;
        Ok(touched == 1)
    }

    /// Writes down the digest that a session is completed with, before its object is made. From then on it takes no
    /// other one, so that of two processes that complete it at one time neither can put other bytes in the other's
    /// place. `false` when another request has taken the session, or completes it with another digest.
    pub async fn fix_upload_digest(
        &self,
        id: UploadId,
        epoch: i64,
        digest: &Digest,
        now: Millis,
    ) -> Result<bool, MetadataError> {
        let mut change = self.begin().await?;
        let fixed = on!(change.connection(), c => sqlx::query(
            "UPDATE uploads SET digest = $3, touched_at = $4 \
             WHERE id = $1 AND epoch = $2 AND state = 'open' AND (digest IS NULL OR digest = $3)",
        )
        .bind(id.to_string())
        .bind(epoch)
        .bind(digest.to_string())
        .bind(now.0)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        change.commit().await?;
        Ok(fixed == 1)
    }

    /// Closes a session and dooms its object at once; only while it has this epoch, if one is given. `false` when there
    /// was nothing to close.
    pub async fn close_upload(
        &self,
        id: UploadId,
        epoch: Option<i64>,
        now: Millis,
    ) -> Result<bool, MetadataError> {
        if let Some(mut fresh) = self.fresh_uploads.lock()
            && fresh.take(id).is_some()
        {
            return Ok(true);
        }
        let mut change = self.begin().await?;
        let closed: Option<(String,)> = on!(change.connection(), c => sqlx::query_as(
            "DELETE FROM uploads WHERE id = $1 AND state <> 'done' AND epoch = COALESCE($2, epoch) RETURNING object_key",
        )
        .bind(id.to_string())
        .bind(epoch)
        .fetch_optional(c)
        .await)?;
        if let Some((key,)) = &closed {
            change.doom_object(parse("object key", key)?, now).await?;
        }
        change.commit().await?;
        Ok(closed.is_some())
    }

    /// Sessions that nobody has used since `idle_since`, and finished ones that nobody used since `done_since`.
    pub async fn idle_uploads(
        &self,
        idle_since: Millis,
        done_since: Millis,
        limit: u32,
    ) -> Result<Vec<UploadRow>, MetadataError> {
        if let Some(mut fresh) = self.fresh_uploads.lock() {
            fresh.expire(idle_since, done_since);
        }
        let mut reader = self.read().await?;
        let rows: Vec<Row> = on!(reader.connection(), c => sqlx::query_as(
            concat!(
                "SELECT ",
                columns!(),
                " FROM uploads \
                 WHERE touched_at < $3 AND touched_at < CASE state WHEN 'done' THEN $2 ELSE $1 END \
                 ORDER BY touched_at LIMIT $4"
            ),
        )
        .bind(idle_since.0)
        .bind(done_since.0)
        .bind(idle_since.max(done_since).0)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.into_iter().map(UploadRow::try_from).collect()
    }

    /// The objects that sessions are being written to.
    pub async fn upload_object_keys(&self) -> Result<Vec<ObjectKey>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<(String,)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT object_key FROM uploads WHERE state <> 'done'",
        )
        .fetch_all(c)
        .await)?;
        rows.iter().map(|(key,)| parse("object key", key)).collect()
    }

    /// Forgets a session that is over, unless somebody has used it since; dooms the object of one that was not done.
    pub async fn expire_upload(
        &self,
        upload: &UploadRow,
        now: Millis,
    ) -> Result<bool, MetadataError> {
        let mut change = self.begin().await?;
        let gone = on!(change.connection(), c => sqlx::query(
            "DELETE FROM uploads WHERE id = $1 AND epoch = $2 AND touched_at = $3",
        )
        .bind(upload.id.to_string())
        .bind(upload.epoch)
        .bind(upload.touched_at.0)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
            == 1;
        if gone && upload.state != UploadState::Done {
            change.doom_object(upload.object_key, now).await?;
        }
        change.commit().await?;
        Ok(gone)
    }
}

impl Transaction {
    /// Writes a session's row, and the object's before its first byte.
    async fn insert_upload(&mut self, upload: &UploadRow) -> Result<(), MetadataError> {
        self.record_object(upload.object_key, None, upload.touched_at)
            .await?;
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO uploads (id, workspace_id, repository, algorithm, object_key, state, epoch, offset_bytes, \
             hasher, backend, created_by, created_at, touched_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)",
        )
        .bind(upload.id.to_string())
        .bind(&upload.workspace_id)
        .bind(upload.repository.as_str())
        .bind(upload.algorithm.as_str())
        .bind(upload.object_key.to_string())
        .bind(upload.state.as_str())
        .bind(upload.epoch)
        .bind(to_i64(upload.progress.offset))
        .bind(&upload.progress.hasher)
        .bind(&upload.progress.backend)
        .bind(&upload.actor)
        .bind(upload.touched_at.0)
        .execute(c)
        .await
        .map(|_| ()))
        .map_err(MetadataError::from)
    }

    async fn take_upload(
        &mut self,
        id: UploadId,
        now: Millis,
    ) -> Result<Option<UploadRow>, MetadataError> {
        let row: Option<Row> = on!(self.connection(), c => sqlx::query_as(
            concat!(
                "UPDATE uploads SET epoch = epoch + 1, touched_at = $2 WHERE id = $1 AND state = 'open' \
                 RETURNING ",
                columns!()
            ),
        )
        .bind(id.to_string())
        .bind(now.0)
        .fetch_optional(c)
        .await)?;
        row.map(UploadRow::try_from).transpose()
    }

    /// Marks a session as done with its digest. `false` when it is not open any more.
    ///
    /// Whose epoch it is does not matter here: the object is published and verified, and nobody can change it.
    pub async fn finish_upload(
        &mut self,
        id: UploadId,
        object_key: ObjectKey,
        digest: &Digest,
        now: Millis,
    ) -> Result<bool, MetadataError> {
        let finished = on!(self.connection(), c => sqlx::query(
            "UPDATE uploads SET state = 'done', digest = $3, touched_at = $4 \
             WHERE id = $1 AND object_key = $2 AND state = 'open'",
        )
        .bind(id.to_string())
        .bind(object_key.to_string())
        .bind(digest.to_string())
        .bind(now.0)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        Ok(finished == 1)
    }
}

//! What the collector takes away: links that nothing needs, blobs that are nobody's, and the objects that held them.
//!
//! # Why no answered manifest lacks a blob
//!
//! SQLite makes one change at a time. On PostgreSQL it is rows that order the collector against everybody else, not the
//! lock of the repository, so that nobody waits for a batch to end:
//!
//! * The links of a step are chosen with `FOR UPDATE SKIP LOCKED`. A push that revives one, or that has written a row of
//!   `manifest_blobs` (which holds the link by its foreign key), keeps the step away from it. One that comes later waits
//!   for the step: it revives what was condemned, and finds no member where the link has gone, so that its manifest is
//!   refused and the blob comes once more. That happens at the earliest one grace after HEAD began to say 404.
//! * A blob's row is held before it is looked whether links are left. Two collectors that remove the last two links of a
//!   digest so come one after the other, and the second one sees what the first did. A mount or an upload holds the same
//!   row by the foreign key of its link: either its link is seen, or it comes too late, its change fails as a conflict,
//!   and is made again: an upload then brings the object that it has itself, a mount becomes an upload.
//! * Digests are taken in their order by all, so that two collectors do not wait for each other. They hold no row that a
//!   push waits for while it holds a blob's.
//!
//! A doomed object never lives again: a push of the same digest has a key of its own.

use std::collections::BTreeSet;

use berth_storage::ObjectKey;

use super::Metadata;
use super::database::{Connection, Transaction, on};
use super::dialect::{Statement, claimed, json_list, over_list};
use super::error::{MetadataError, parse, to_u64};
use super::memory::Mark;
use super::repositories::RepositoryId;
use crate::clock::Millis;

/// When links and blobs go.
#[derive(Clone, Copy, Debug)]
pub struct LinkTimes {
    /// Now.
    pub now: Millis,
    /// What waits since then or longer takes its next step.
    pub waiting_since: Millis,
    /// When the objects go that nobody has any more.
    pub object_due: Millis,
}

/// What one step did to links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectedLinks {
    /// How many were looked at.
    pub seen: u64,
    /// How many are condemned since.
    pub condemned: u64,
    /// How many are gone.
    pub removed: u64,
    /// What went with them.
    pub blobs: ReleasedBlobs,
}

/// Blobs that nobody had any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReleasedBlobs {
    /// How many.
    pub count: u64,
    /// Their sizes in sum, in bytes.
    pub bytes: u64,
}

/// An object that one collector has taken to delete it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoomedObject {
    /// Its key in the storage.
    pub key: ObjectKey,
    /// How much that frees, in bytes, where it is known.
    pub size_bytes: u64,
    /// How often it was tried before.
    pub attempts: u32,
}

#[derive(sqlx::FromRow)]
struct WaitingLink {
    repository_id: i64,
    digest: String,
    condemned_at: Option<i64>,
}

const WAITING: Statement = claimed!(
    "SELECT repository_id, digest, condemned_at FROM links \
     WHERE unneeded_since IS NOT NULL AND parked = 0 AND deletion_id IS NULL \
     AND COALESCE(condemned_at, unneeded_since) <= $1 ORDER BY COALESCE(condemned_at, unneeded_since) LIMIT $2"
);

const DOOMED: Statement = claimed!(
    "SELECT key, COALESCE(size_bytes, 0) AS size_bytes, attempts FROM objects \
     WHERE state = 'doomed' AND due_at <= $1 \
     AND NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.object_key = objects.key) ORDER BY due_at LIMIT $2"
);

const TAKE: Statement = over_list!("UPDATE objects SET due_at = $2 WHERE key IN ", "$1", "");

const HOLD_BLOB: &str = "SELECT digest FROM blobs WHERE digest = $1 FOR UPDATE";
const HOLD_CONTENT: &str = "SELECT digest FROM manifest_contents WHERE digest = $1 FOR UPDATE";

impl Metadata {
    /// The database's own time, by which several servers decide alike; none where one process owns the database.
    pub async fn time(&self) -> Result<Option<Millis>, MetadataError> {
        let mut reader = self.read_aside().await?;
        shared_time(reader.connection()).await
    }
}

/// The time of the database, if servers share it.
pub(super) async fn shared_time(
    connection: Connection<'_>,
) -> Result<Option<Millis>, MetadataError> {
    match connection {
        Connection::Sqlite(_) => Ok(None),
        Connection::Postgres(connection) => {
            let (now,): (i64,) = sqlx::query_as(
                "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
            )
            .fetch_one(connection)
            .await?;
            Ok(Some(Millis(now)))
        }
    }
}

impl Transaction {
    /// Takes the next step with links that wait: condemns them, or removes those that are condemned, together with
    /// blobs that nobody has any more. At most `limit` links.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when a push came in between: try again.
    pub async fn collect_links(
        &mut self,
        times: &LinkTimes,
        limit: u32,
    ) -> Result<CollectedLinks, MetadataError> {
        let connection = self.connection();
        let statement = WAITING.of(&connection);
        let waiting: Vec<WaitingLink> = on!(connection, c => sqlx::query_as(statement)
            .bind(times.waiting_since.0)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        let mut collected = CollectedLinks {
            seen: waiting.len() as u64,
            ..CollectedLinks::default()
        };
        let mut removed = BTreeSet::new();
        for link in waiting {
            if self.is_needed(&link).await? {
                self.step("UPDATE links SET parked = 1 WHERE repository_id = $1 AND digest = $2 AND $3 > 0", &link, times)
                    .await?;
                continue;
            }
            if link.condemned_at.is_none() {
                self.step(
                    "UPDATE links SET condemned_at = $3 WHERE repository_id = $1 AND digest = $2",
                    &link,
                    times,
                )
                .await?;
                collected.condemned += 1;
            } else {
                self.step(
                    "DELETE FROM links WHERE repository_id = $1 AND digest = $2 AND $3 > 0",
                    &link,
                    times,
                )
                .await?;
                collected.removed += 1;
                removed.insert(link.digest.clone());
            }
            let digest = parse("digest", &link.digest)?;
            self.mark(Mark::Link(RepositoryId(link.repository_id), digest));
        }
        collected.blobs = self.release_blobs(&removed, times.object_due).await?;
        Ok(collected)
    }

    /// Whether a manifest of its repository names a link, be it deleted: as long as that can come back, so can the link.
    async fn is_needed(&mut self, link: &WaitingLink) -> Result<bool, MetadataError> {
        let row: Option<(i64,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT repository_id FROM manifest_blobs WHERE repository_id = $1 AND blob_digest = $2 LIMIT 1",
        )
        .bind(link.repository_id)
        .bind(&link.digest)
        .fetch_optional(c)
        .await)?;
        Ok(row.is_some())
    }

    async fn step(
        &mut self,
        statement: &'static str,
        link: &WaitingLink,
        times: &LinkTimes,
    ) -> Result<(), MetadataError> {
        Ok(on!(self.connection(), c => sqlx::query(statement)
            .bind(link.repository_id)
            .bind(&link.digest)
            .bind(times.now.0)
            .execute(c)
            .await
            .map(|_| ()))?)
    }

    /// Gives up the blobs of these digests that no repository has any more; their objects go at `due`.
    pub(super) async fn release_blobs(
        &mut self,
        digests: &BTreeSet<String>,
        due: Millis,
    ) -> Result<ReleasedBlobs, MetadataError> {
        let mut released = ReleasedBlobs::default();
        for digest in digests {
            self.hold_row(HOLD_BLOB, digest).await?;
            let row: Option<(String, i64)> = on!(self.connection(), c => sqlx::query_as(
                "DELETE FROM blobs WHERE digest = $1 \
                 AND NOT EXISTS (SELECT 1 FROM links WHERE links.digest = $1) RETURNING object_key, size_bytes",
            )
            .bind(digest)
            .fetch_optional(c)
            .await)?;
            let Some((key, size_bytes)) = row else {
                continue;
            };
            on!(self.connection(), c => sqlx::query(
                "UPDATE objects SET state = 'doomed', due_at = $2, size_bytes = $3, attempts = 0 WHERE key = $1",
            )
            .bind(&key)
            .bind(due.0)
            .bind(size_bytes)
            .execute(c)
            .await
            .map(|_| ()))?;
            released.count += 1;
            released.bytes += to_u64("blob size", size_bytes)?;
        }
        Ok(released)
    }

    /// Forgets the bytes of a manifest that no repository has any more.
    pub(super) async fn release_content(&mut self, digest: &str) -> Result<(), MetadataError> {
        self.hold_row(HOLD_CONTENT, digest).await?;
        Ok(on!(self.connection(), c => sqlx::query(
            "DELETE FROM manifest_contents WHERE digest = $1 \
             AND NOT EXISTS (SELECT 1 FROM manifests WHERE manifests.digest = $1)",
        )
        .bind(digest)
        .execute(c)
        .await
        .map(|_| ()))?)
    }

    /// Waits for others that are at this row, so that the next statement sees what they did. On SQLite there is nobody.
    async fn hold_row(
        &mut self,
        statement: &'static str,
        digest: &str,
    ) -> Result<(), MetadataError> {
        if let Connection::Postgres(connection) = self.connection() {
            sqlx::query(statement)
                .bind(digest)
                .execute(connection)
                .await?;
        }
        Ok(())
    }

    /// Wakes the links of a manifest that is about to go for good: it was the deleted one that kept them.
    pub(super) async fn wake_links(
        &mut self,
        repository: RepositoryId,
        manifest: &str,
    ) -> Result<(), MetadataError> {
        // All of them: whether one is parked may be changing at this moment.
        Ok(on!(self.connection(), c => sqlx::query(
            "UPDATE links SET parked = 0 WHERE repository_id = $1 AND unneeded_since IS NOT NULL \
             AND digest IN (SELECT blob_digest FROM manifest_blobs WHERE repository_id = $1 AND manifest_digest = $2)",
        )
        .bind(repository.0)
        .bind(manifest)
        .execute(c)
        .await
        .map(|_| ()))?)
    }

    /// Takes doomed objects whose time came by `due` for one collector alone. They are due again at `again`, should that
    /// one end before it has deleted them. One that a blob names is never among them, whatever its row says.
    pub async fn take_doomed_objects(
        &mut self,
        due: Millis,
        again: Millis,
        limit: u32,
    ) -> Result<Vec<DoomedObject>, MetadataError> {
        let connection = self.connection();
        let statement = DOOMED.of(&connection);
        let rows: Vec<(String, i64, i64)> = on!(connection, c => sqlx::query_as(statement)
            .bind(due.0)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let keys = json_list(rows.iter().map(|(key, ..)| key));
        let connection = self.connection();
        let statement = TAKE.of(&connection);
        on!(connection, c => sqlx::query(statement)
            .bind(&keys)
            .bind(again.0)
            .execute(c)
            .await
            .map(|_| ()))?;
        rows.iter()
            .map(|(key, size_bytes, attempts)| {
                Ok(DoomedObject {
                    key: parse("object key", key)?,
                    size_bytes: to_u64("object size", *size_bytes)?,
                    attempts: u32::try_from(*attempts).unwrap_or(u32::MAX),
                })
            })
            .collect()
    }

    /// Forgets an object that is no longer in the storage. Says whether it was this change that did.
    pub async fn forget_object(&mut self, key: ObjectKey) -> Result<bool, MetadataError> {
        let forgotten = on!(self.connection(), c => sqlx::query("DELETE FROM objects WHERE key = $1 AND state = 'doomed'")
            .bind(key.to_string())
            .execute(c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(forgotten == 1)
    }

    /// Tries an object again later that could not be deleted.
    pub async fn postpone_object(
        &mut self,
        key: ObjectKey,
        due: Millis,
    ) -> Result<(), MetadataError> {
        Ok(on!(self.connection(), c => sqlx::query(
            "UPDATE objects SET due_at = $2, attempts = attempts + 1 WHERE key = $1 AND state = 'doomed'",
        )
        .bind(key.to_string())
        .bind(due.0)
        .execute(c)
        .await
        .map(|_| ()))?)
    }
}

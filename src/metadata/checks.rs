//! What a check of the storage compares and changes: objects in the order of their keys, and blobs whose bytes are lost.

use berth_storage::{Digest, ObjectKey};

use super::Metadata;
use super::database::{Transaction, on};
use super::error::{MetadataError, parse, to_u64};
use crate::clock::Millis;

/// How far an object is, as its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// Its bytes may come.
    Writing,
    /// Its bytes are there.
    Live,
    /// Its bytes go.
    Doomed,
}

impl std::str::FromStr for ObjectState {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "writing" => Ok(Self::Writing),
            "live" => Ok(Self::Live),
            "doomed" => Ok(Self::Doomed),
            _ => Err(()),
        }
    }
}

/// A blob as the row of its object leads to it.
#[derive(Clone, Copy, Debug)]
pub struct CheckedBlob {
    /// Its digest.
    pub digest: Digest,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// Whether an earlier check found them missing or wrong.
    pub is_damaged: bool,
}

/// An object that the database knows.
#[derive(Clone, Copy, Debug)]
pub struct ObjectRow {
    /// Its key in the storage.
    pub key: ObjectKey,
    /// How far it is.
    pub state: ObjectState,
    /// The blob whose bytes it holds.
    pub blob: Option<CheckedBlob>,
}

#[derive(sqlx::FromRow)]
struct Row {
    key: String,
    state: String,
    digest: Option<String>,
    size_bytes: Option<i64>,
    damaged_at: Option<i64>,
}

impl TryFrom<Row> for ObjectRow {
    type Error = MetadataError;

    fn try_from(row: Row) -> Result<Self, MetadataError> {
        let blob = match (row.digest, row.size_bytes) {
            (Some(digest), Some(size_bytes)) => Some(CheckedBlob {
                digest: parse("digest", &digest)?,
                size_bytes: to_u64("blob size", size_bytes)?,
                is_damaged: row.damaged_at.is_some(),
            }),
            _ => None,
        };
        Ok(Self {
            key: parse("object key", &row.key)?,
            state: parse("object state", &row.state)?,
            blob,
        })
    }
}

impl Metadata {
    /// The objects behind a key, in the order of their keys.
    pub async fn objects_after(
        &self,
        after: Option<ObjectKey>,
        limit: u32,
    ) -> Result<Vec<ObjectRow>, MetadataError> {
        let mut reader = self.read().await?;
        let after = after.map(|key| key.to_string()).unwrap_or_default();
        let rows: Vec<Row> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT objects.key, objects.state, blobs.digest, blobs.size_bytes, blobs.damaged_at \
             FROM objects LEFT JOIN blobs ON blobs.object_key = objects.key \
             WHERE objects.key > $1 ORDER BY objects.key LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.into_iter().map(ObjectRow::try_from).collect()
    }

    /// Objects whose bytes should be there: up to `each` of the first and of the last ones.
    pub async fn some_live_objects(&self, each: u32) -> Result<Vec<ObjectKey>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<(String,)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT key FROM (SELECT objects.key AS key FROM objects JOIN blobs ON blobs.object_key = objects.key \
                 WHERE objects.state = 'live' AND blobs.damaged_at IS NULL ORDER BY objects.key LIMIT $1) AS first_ones \
             UNION SELECT key FROM (SELECT objects.key AS key FROM objects JOIN blobs ON blobs.object_key = objects.key \
                 WHERE objects.state = 'live' AND blobs.damaged_at IS NULL ORDER BY objects.key DESC LIMIT $1) AS last_ones",
        )
        .bind(i64::from(each))
        .fetch_all(c)
        .await)?;
        rows.iter().map(|(key,)| parse("object key", key)).collect()
    }

    /// One object.
    pub async fn object(&self, key: ObjectKey) -> Result<Option<ObjectRow>, MetadataError> {
        let mut reader = self.read().await?;
        let row: Option<Row> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT objects.key, objects.state, blobs.digest, blobs.size_bytes, blobs.damaged_at \
             FROM objects LEFT JOIN blobs ON blobs.object_key = objects.key WHERE objects.key = $1",
        )
        .bind(key.to_string())
        .fetch_optional(c)
        .await)?;
        row.map(ObjectRow::try_from).transpose()
    }

    /// Some of the repositories that a blob is a member of, by their names.
    pub async fn members_of(
        &self,
        digest: &Digest,
        limit: u32,
    ) -> Result<Vec<String>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<(String,)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT DISTINCT repositories.name FROM links JOIN repositories ON repositories.id = links.repository_id \
             WHERE links.digest = $1 ORDER BY repositories.name LIMIT $2",
        )
        .bind(digest.to_string())
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        Ok(rows.into_iter().map(|(name,)| name).collect())
    }
}

impl Transaction {
    /// Says of a blob, which this object holds, whether its bytes are lost: then nobody reads it, and the next push
    /// brings it anew. `false` when that was known, or another object holds it by now.
    pub async fn mark_damaged(
        &mut self,
        digest: &Digest,
        key: ObjectKey,
        damaged_at: Option<Millis>,
    ) -> Result<bool, MetadataError> {
        let marked = on!(self.connection(), c => sqlx::query(
            "UPDATE blobs SET damaged_at = $3 WHERE digest = $1 AND object_key = $2 \
             AND CASE WHEN damaged_at IS NULL THEN 0 ELSE 1 END <> $4",
        )
        .bind(digest.to_string())
        .bind(key.to_string())
        .bind(damaged_at.map(|at| at.0))
        .bind(i64::from(damaged_at.is_some()))
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
            == 1;
        if marked {
            self.forget_links_of(digest).await?;
        }
        Ok(marked)
    }

    /// Takes an object of the storage into the rows that has none, in order to delete it at `due`. `false` when it has
    /// one by now.
    pub async fn doom_unknown_object(
        &mut self,
        key: ObjectKey,
        due: Millis,
        now: Millis,
    ) -> Result<bool, MetadataError> {
        let doomed = on!(self.connection(), c => sqlx::query(
            "INSERT INTO objects (key, state, due_at, created_at) VALUES ($1, 'doomed', $2, $3) \
             ON CONFLICT (key) DO NOTHING",
        )
        .bind(key.to_string())
        .bind(due.0)
        .bind(now.0)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        Ok(doomed == 1)
    }
}

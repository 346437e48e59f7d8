//! Blobs, the objects that hold their bytes, and the links that make them members of repositories.

use std::collections::{BTreeMap, BTreeSet};

use berth_storage::{Digest, ObjectKey};

use super::Metadata;
use super::database::{Transaction, on};
use super::dialect::{Statement, json_list, over_list};
use super::error::{MetadataError, parse, sizes, to_i64, to_u64};
use super::memory::Mark;
use super::repositories::RepositoryId;
use crate::clock::Millis;
use crate::oci::RepositoryName;

/// Where the bytes of a linked blob are.
#[derive(Clone, Copy, Debug)]
pub struct LinkedBlob {
    /// The object that holds them.
    pub object_key: ObjectKey,
    /// How many there are.
    pub size_bytes: u64,
}

/// The blob that a digest is stored as, whoever may read it.
#[derive(Clone, Copy, Debug)]
pub struct StoredBlob {
    /// The object that holds its bytes.
    pub object_key: ObjectKey,
    /// How many there should be.
    pub size_bytes: u64,
    /// Whether a check found them missing or wrong, so that nobody reads them.
    pub is_damaged: bool,
}

/// A blob whose bytes have been hashed, matched and published.
#[derive(Clone, Copy, Debug)]
pub struct NewBlob {
    /// Its address.
    pub digest: Digest,
    /// The object that holds its bytes.
    pub object_key: ObjectKey,
    /// How many there are.
    pub size_bytes: u64,
}

#[derive(sqlx::FromRow)]
struct BlobRow {
    object_key: String,
    size_bytes: i64,
}

impl TryFrom<BlobRow> for LinkedBlob {
    type Error = MetadataError;

    fn try_from(row: BlobRow) -> Result<Self, MetadataError> {
        Ok(Self {
            object_key: parse("object key", &row.object_key)?,
            size_bytes: to_u64("blob size", row.size_bytes)?,
        })
    }
}

/// Objects that are about to be written.
const RECORD: Statement = Statement {
    sqlite: "INSERT INTO objects (key, state, due_at, created_at) \
             SELECT value, 'writing', $1, $2 FROM json_each($3)",
    postgres: "INSERT INTO objects (key, state, due_at, created_at) \
               SELECT json_array_elements_text($3::json), 'writing', $1, $2",
};

/// The members of a list and their sizes, condemned ones included; a link deleted by hand is none, nor is a damaged blob.
const MEMBERS: Statement = over_list!(
    "SELECT links.digest, blobs.size_bytes FROM links JOIN blobs ON blobs.digest = links.digest \
     WHERE links.repository_id = $1 AND links.deletion_id IS NULL AND blobs.damaged_at IS NULL AND links.digest IN ",
    "$2",
    ""
);

/// Brings back what was condemned, and ends the grace of what nobody needed until now.
const REVIVE: Statement = over_list!(
    "UPDATE links SET condemned_at = NULL, unneeded_since = NULL, parked = 0 \
     WHERE repository_id = $1 AND deletion_id IS NULL \
     AND (condemned_at IS NOT NULL OR unneeded_since IS NOT NULL) AND digest IN ",
    "$2",
    " RETURNING digest"
);

impl Metadata {
    /// The blob, if it is a member of this repository.
    pub async fn linked_blob(
        &self,
        repository: RepositoryId,
        digest: &Digest,
    ) -> Result<Option<LinkedBlob>, MetadataError> {
        self.remembered(&self.memory.links, (repository, *digest), async |reader, (repository, digest)| {
            let row: Option<BlobRow> = on!(reader.connection(), c => sqlx::query_as(
                "SELECT blobs.object_key, blobs.size_bytes FROM links JOIN blobs ON blobs.digest = links.digest \
                 WHERE links.repository_id = $1 AND links.digest = $2 \
                 AND links.deletion_id IS NULL AND links.condemned_at IS NULL AND blobs.damaged_at IS NULL",
            )
            .bind(repository.0)
            .bind(digest.to_string())
            .fetch_optional(c)
            .await)?;
            row.map(LinkedBlob::try_from).transpose()
        })
        .await
    }

    /// Repositories of a workspace that hold the blob: candidates for a mount that names no source.
    pub async fn repositories_with_blob(
        &self,
        workspace_id: &str,
        digest: &Digest,
        limit: u32,
    ) -> Result<Vec<RepositoryName>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<(String,)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT repositories.name FROM links JOIN repositories ON repositories.id = links.repository_id \
             WHERE links.digest = $1 AND repositories.workspace_id = $2 AND repositories.deletion_id IS NULL \
             AND links.deletion_id IS NULL AND links.condemned_at IS NULL \
             AND NOT EXISTS (SELECT 1 FROM blobs WHERE digest = $1 AND damaged_at IS NOT NULL) LIMIT $3",
        )
        .bind(digest.to_string())
        .bind(workspace_id)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.iter()
            .map(|(name,)| parse("repository name", name))
            .collect()
    }

    /// The object that holds a digest now, whoever may read it: to judge whether a push replaces a damaged one.
    pub async fn stored_blob(&self, digest: &Digest) -> Result<Option<StoredBlob>, MetadataError> {
        let mut reader = self.read().await?;
        let row: Option<(String, i64, Option<i64>)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT object_key, size_bytes, damaged_at FROM blobs WHERE digest = $1",
        )
        .bind(digest.to_string())
        .fetch_optional(c)
        .await)?;
        row.map(|(object_key, size_bytes, damaged_at)| {
            Ok(StoredBlob {
                object_key: parse("object key", &object_key)?,
                size_bytes: to_u64("blob size", size_bytes)?,
                is_damaged: damaged_at.is_some(),
            })
        })
        .transpose()
    }
}

impl Transaction {
    /// Knows an object before its first byte. Without a session row, it is given up at `due`.
    pub async fn record_object(
        &mut self,
        key: ObjectKey,
        due: Option<Millis>,
        now: Millis,
    ) -> Result<(), MetadataError> {
        self.record_objects(&[key], due, now).await
    }

    /// Knows several objects before their first bytes.
    pub async fn record_objects(
        &mut self,
        keys: &[ObjectKey],
        due: Option<Millis>,
        now: Millis,
    ) -> Result<(), MetadataError> {
        let connection = self.connection();
        let statement = RECORD.of(&connection);
        on!(connection, c => sqlx::query(statement)
            .bind(due.map(|due| due.0))
            .bind(now.0)
            .bind(json_list(keys))
            .execute(c)
            .await
            .map(|_| ()))
        .map_err(MetadataError::from)
    }

    /// Maps a digest to its object. Of two pushes of one digest the first wins; the loser's object is doomed at `due`.
    /// `damaged` names an object found missing or short: it gives way. Says whether the digest has this object now.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when the object was given up in the meantime.
    pub async fn store_blob(
        &mut self,
        blob: &NewBlob,
        damaged: Option<ObjectKey>,
        due: Millis,
        now: Millis,
    ) -> Result<bool, MetadataError> {
        let (digest, key) = (blob.digest.to_string(), blob.object_key.to_string());
        let live = on!(self.connection(), c => sqlx::query(
            "UPDATE objects SET state = 'live', due_at = NULL WHERE key = $1 AND state = 'writing'",
        )
        .bind(&key)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        if live != 1 {
            return Err(MetadataError::Conflict(sqlx::Error::RowNotFound));
        }
        let inserted = on!(self.connection(), c => sqlx::query(
            "INSERT INTO blobs (digest, object_key, size_bytes, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (digest) DO NOTHING",
        )
        .bind(&digest)
        .bind(&key)
        .bind(to_i64(blob.size_bytes))
        .bind(now.0)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        if inserted == 1 {
            return Ok(true);
        }
        if let Some(damaged) = damaged {
            let replaced = on!(self.connection(), c => sqlx::query(
                "UPDATE blobs SET object_key = $2, size_bytes = $4, damaged_at = NULL WHERE digest = $1 AND object_key = $3",
            )
            .bind(&digest)
            .bind(&key)
            .bind(damaged.to_string())
            .bind(to_i64(blob.size_bytes))
            .execute(c)
            .await
            .map(|done| done.rows_affected()))?;
            if replaced == 1 {
                self.forget_links_of(&blob.digest).await?;
                self.doom_object(damaged, due).await?;
                return Ok(true);
            }
        }
        self.doom_object(blob.object_key, due).await?;
        Ok(false)
    }

    /// Every repository that links a digest must look up its object again.
    pub(super) async fn forget_links_of(&mut self, digest: &Digest) -> Result<(), MetadataError> {
        let rows: Vec<(i64,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT repository_id FROM links WHERE digest = $1",
        )
        .bind(digest.to_string())
        .fetch_all(c)
        .await)?;
        for (repository,) in rows {
            self.mark(Mark::Link(RepositoryId(repository), *digest));
        }
        Ok(())
    }

    /// Gives an object up that no blob names: it is deleted from the storage at `due`. `false` when there is no such
    /// object, or a blob names it.
    pub async fn doom_object(
        &mut self,
        key: ObjectKey,
        due: Millis,
    ) -> Result<bool, MetadataError> {
        let doomed = on!(self.connection(), c => sqlx::query(
            "UPDATE objects SET state = 'doomed', due_at = $2 WHERE key = $1 \
             AND NOT EXISTS (SELECT 1 FROM blobs WHERE object_key = $1)",
        )
        .bind(key.to_string())
        .bind(due.0)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        Ok(doomed == 1)
    }

    /// Gives up what was being written when the process ended, or past its time. For an installation that one process
    /// owns, `all` takes every object without a session.
    pub async fn doom_abandoned_objects(
        &mut self,
        all: bool,
        now: Millis,
    ) -> Result<u64, MetadataError> {
        Ok(on!(self.connection(), c => sqlx::query(
            "UPDATE objects SET state = 'doomed', due_at = $1 \
             WHERE state = 'writing' AND (due_at <= $1 OR $2 = 1) \
             AND key NOT IN (SELECT object_key FROM uploads)",
        )
        .bind(now.0)
        .bind(i64::from(all))
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
    }

    /// Makes a stored blob a member of a repository, or brings its membership back.
    pub async fn link(
        &mut self,
        repository: RepositoryId,
        digest: &Digest,
        now: Millis,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO links (repository_id, digest, created_at, unneeded_since) VALUES ($1, $2, $3, $3) \
             ON CONFLICT (repository_id, digest) DO UPDATE SET condemned_at = NULL, deletion_id = NULL, parked = 0, \
             unneeded_since = CASE WHEN links.unneeded_since IS NULL THEN NULL ELSE excluded.unneeded_since END",
        )
        .bind(repository.0)
        .bind(digest.to_string())
        .bind(now.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::Link(repository, *digest));
        Ok(())
    }

    /// Needs these blobs for a manifest: revives what was condemned, and returns those that are members, with their
    /// sizes in bytes.
    pub async fn need_links(
        &mut self,
        repository: RepositoryId,
        digests: &BTreeSet<Digest>,
    ) -> Result<BTreeMap<Digest, u64>, MetadataError> {
        if digests.is_empty() {
            return Ok(BTreeMap::new());
        }
        let digests = json_list(digests);
        let connection = self.connection();
        let statement = REVIVE.of(&connection);
        let revived: Vec<(String,)> = on!(connection, c => sqlx::query_as(statement)
            .bind(repository.0)
            .bind(&digests)
            .fetch_all(c)
            .await)?;
        for (digest,) in revived {
            self.mark(Mark::Link(repository, parse("digest", &digest)?));
        }
        let connection = self.connection();
        let statement = MEMBERS.of(&connection);
        let members: Vec<(String, i64)> = on!(connection, c => sqlx::query_as(statement)
            .bind(repository.0)
            .bind(&digests)
            .fetch_all(c)
            .await)?;
        sizes("blob size", &members)
    }

    /// Whether a blob is a member of a repository, as this change sees it.
    pub async fn has_link(
        &mut self,
        repository: RepositoryId,
        digest: &Digest,
    ) -> Result<bool, MetadataError> {
        let row: Option<(i64,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT repository_id FROM links \
             WHERE repository_id = $1 AND digest = $2 AND deletion_id IS NULL AND condemned_at IS NULL",
        )
        .bind(repository.0)
        .bind(digest.to_string())
        .fetch_optional(c)
        .await)?;
        Ok(row.is_some())
    }

    /// Hides a link under a deletion. Says whether it was there.
    pub async fn remove_link(
        &mut self,
        repository: RepositoryId,
        digest: &Digest,
        deletion: &str,
    ) -> Result<bool, MetadataError> {
        let removed = on!(self.connection(), c => sqlx::query(
            "UPDATE links SET deletion_id = $3 \
             WHERE repository_id = $1 AND digest = $2 AND deletion_id IS NULL AND condemned_at IS NULL",
        )
        .bind(repository.0)
        .bind(digest.to_string())
        .bind(deletion)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        self.mark(Mark::Link(repository, *digest));
        Ok(removed == 1)
    }

    /// Live manifests of a repository that need a blob.
    pub async fn manifests_needing_blob(
        &mut self,
        repository: RepositoryId,
        digest: &Digest,
        limit: u32,
    ) -> Result<Vec<Digest>, MetadataError> {
        let rows: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT manifests.digest FROM manifest_blobs JOIN manifests \
             ON manifests.repository_id = manifest_blobs.repository_id AND manifests.digest = manifest_blobs.manifest_digest \
             WHERE manifest_blobs.repository_id = $1 AND manifest_blobs.blob_digest = $2 \
             AND manifests.deletion_id IS NULL LIMIT $3",
        )
        .bind(repository.0)
        .bind(digest.to_string())
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.iter()
            .map(|(digest,)| parse("digest", digest))
            .collect()
    }
}

//! When something was pulled last, and how much was read: gathered in memory and written together, so that no pull
//! waits for it.

use super::Metadata;
use super::database::on;
use super::error::{MetadataError, to_i64};
use super::repositories::RepositoryId;
use crate::clock::Millis;
use crate::oci::Tag;

/// A pull of an image, or of one of its tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PullRow {
    /// The repository.
    pub repository: RepositoryId,
    /// The tag; none for the image as a whole.
    pub tag: Option<Tag>,
    /// When.
    pub at: Millis,
}

/// What a workspace has read of another, or of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EgressRow {
    /// The id of the workspace that read.
    pub reader: String,
    /// The id of the workspace that owns what was read.
    pub owner: String,
    /// How much, in bytes.
    pub bytes: u64,
}

impl Metadata {
    /// Writes down when images and tags were pulled, in one change.
    pub async fn record_pulls(&self, pulls: &[PullRow]) -> Result<(), MetadataError> {
        if pulls.is_empty() {
            return Ok(());
        }
        // In one order everywhere: two replicas that hold each other's next row would both wait.
        let mut pulls: Vec<&PullRow> = pulls.iter().collect();
        pulls.sort_unstable();
        let mut change = self.begin().await?;
        for pull in pulls {
            // What went away in the meantime needs no row.
            on!(change.connection(), c => sqlx::query(
                "INSERT INTO pulls (repository_id, tag, last_pulled_at) SELECT id, $2, $3 FROM repositories WHERE id = $1 \
                 ON CONFLICT (repository_id, tag) DO UPDATE SET last_pulled_at = excluded.last_pulled_at \
                 WHERE pulls.last_pulled_at < excluded.last_pulled_at",
            )
            .bind(pull.repository.0)
            .bind(pull.tag.as_ref().map_or("", Tag::as_str))
            .bind(pull.at.0)
            .execute(c)
            .await
            .map(|_| ()))?;
        }
        change.commit().await
    }

    /// Adds to what workspaces have read, in one change.
    pub async fn record_egress(&self, egress: &[EgressRow]) -> Result<(), MetadataError> {
        if egress.is_empty() {
            return Ok(());
        }
        let mut egress: Vec<&EgressRow> = egress.iter().collect();
        egress.sort_unstable();
        let mut change = self.begin().await?;
        for row in egress {
            on!(change.connection(), c => sqlx::query(
                "INSERT INTO egress (reader_workspace_id, owner_workspace_id, bytes) VALUES ($1, $2, $3) \
                 ON CONFLICT (reader_workspace_id, owner_workspace_id) DO UPDATE SET bytes = egress.bytes + excluded.bytes",
            )
            .bind(&row.reader)
            .bind(&row.owner)
            .bind(to_i64(row.bytes))
            .execute(c)
            .await
            .map(|_| ()))?;
        }
        change.commit().await
    }

    /// Forgets the pulls of tags that an image no longer has, at most `limit`; how many.
    pub async fn forget_pulls_of_lost_tags(
        &self,
        repository: RepositoryId,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        let mut change = self.begin().await?;
        let forgotten = on!(change.connection(), c => sqlx::query(
            "DELETE FROM pulls WHERE repository_id = $1 AND tag IN (SELECT lost.tag FROM pulls lost \
             WHERE lost.repository_id = $1 AND lost.tag <> '' AND NOT EXISTS (SELECT 1 FROM tags \
               WHERE tags.repository_id = $1 AND tags.name = lost.tag) LIMIT $2)",
        )
        .bind(repository.0)
        .bind(i64::from(limit))
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        change.commit().await?;
        Ok(forgotten)
    }
}

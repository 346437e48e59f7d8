//! Counters: what images and workspaces hold. They are counted in the background and are seconds old; nothing that
//! changes content waits for them.

use super::Metadata;
use super::database::on;
use super::error::{MetadataError, to_i64, to_u64};
use super::repositories::RepositoryId;
use crate::clock::Millis;

/// What a repository holds.
#[derive(Clone, Debug)]
pub struct ImageCount {
    /// The repository.
    pub repository: RepositoryId,
    /// The workspace that owns it.
    pub workspace_id: String,
    /// Whether it is an image, and not deleted.
    pub is_live_image: bool,
    /// Its tags.
    pub tags: u64,
    /// Its manifests and what they need, each digest once, in bytes.
    pub size_bytes: u64,
    /// When a manifest was pushed last.
    pub pushed_at: Option<Millis>,
    /// Rows that are kept of its pulls.
    pub pulls: u64,
}

/// What a workspace holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceCount {
    /// Its images.
    pub images: u64,
    /// Their tags.
    pub tags: u64,
    /// What it stores, each digest once, in bytes.
    pub stored_bytes: u64,
    /// The sum of its images, in bytes: what several have counts in each.
    pub logical_bytes: u64,
    /// What only deletions hold that can still be undone, in bytes.
    pub deleted_bytes: u64,
}

/// A link that no live manifest needs says so itself: an upload whose manifest is still to come, or what a deletion left
/// behind.
macro_rules! count {
    ($which:literal) => {
        concat!(
            "SELECT repositories.id, repositories.workspace_id, \
             repositories.image_at, repositories.deletion_id, \
             (SELECT COUNT(*) FROM tags WHERE tags.repository_id = repositories.id) AS tags, \
             (SELECT CAST(COALESCE(SUM(manifests.size_bytes), 0) AS BIGINT) FROM manifests \
               WHERE manifests.repository_id = repositories.id AND manifests.deletion_id IS NULL) AS manifest_bytes, \
             (SELECT CAST(COALESCE(SUM(blobs.size_bytes), 0) AS BIGINT) FROM links \
               JOIN blobs ON blobs.digest = links.digest WHERE links.repository_id = repositories.id \
               AND links.deletion_id IS NULL AND links.unneeded_since IS NULL) AS blob_bytes, \
             (SELECT MAX(manifests.pushed_at) FROM manifests \
               WHERE manifests.repository_id = repositories.id AND manifests.deletion_id IS NULL) AS pushed_at, \
             (SELECT COUNT(*) FROM pulls WHERE pulls.repository_id = repositories.id) AS pulls \
             FROM repositories WHERE ",
            $which
        )
    };
}

const ONE: &str = count!("repositories.id = $1");
const PAGE: &str = count!("repositories.id > $1 ORDER BY repositories.id LIMIT $2");

/// Each digest of a workspace once. It is live where a live repository has it; else it is what can still be undone that
/// holds it; what nothing holds waits for the collector and is not counted.
const STORED: &str = "SELECT \
     CAST(COALESCE(SUM(CASE WHEN is_live = 1 THEN size_bytes ELSE 0 END), 0) AS BIGINT) AS stored_bytes, \
     CAST(COALESCE(SUM(CASE WHEN is_live = 0 THEN size_bytes ELSE 0 END), 0) AS BIGINT) AS deleted_bytes \
     FROM (SELECT MAX(size_bytes) AS size_bytes, MAX(is_live) AS is_live FROM ( \
       SELECT links.digest AS digest, blobs.size_bytes AS size_bytes, CASE \
         WHEN EXISTS (SELECT 1 FROM deletions WHERE deletions.id IN (repositories.deletion_id, links.deletion_id) \
           AND deletions.purged_at IS NULL) THEN 0 \
         WHEN repositories.deletion_id IS NOT NULL OR links.deletion_id IS NOT NULL THEN NULL \
         WHEN links.unneeded_since IS NULL THEN 1 \
         WHEN EXISTS (SELECT 1 FROM manifest_blobs JOIN manifests \
           ON manifests.repository_id = manifest_blobs.repository_id \
           AND manifests.digest = manifest_blobs.manifest_digest \
           JOIN deletions ON deletions.id = manifests.deletion_id \
           WHERE manifest_blobs.repository_id = links.repository_id AND manifest_blobs.blob_digest = links.digest \
           AND deletions.purged_at IS NULL) THEN 0 \
         WHEN links.condemned_at IS NULL THEN 1 END AS is_live \
       FROM repositories JOIN links ON links.repository_id = repositories.id \
       JOIN blobs ON blobs.digest = links.digest WHERE repositories.workspace_id = $1 \
       UNION ALL \
       SELECT manifests.digest, manifests.size_bytes, CASE \
         WHEN EXISTS (SELECT 1 FROM deletions WHERE deletions.id IN (repositories.deletion_id, manifests.deletion_id) \
           AND deletions.purged_at IS NULL) THEN 0 \
         WHEN repositories.deletion_id IS NULL AND manifests.deletion_id IS NULL THEN 1 END \
       FROM repositories JOIN manifests ON manifests.repository_id = repositories.id \
       WHERE repositories.workspace_id = $1 \
     ) held GROUP BY digest) digests";

const IMAGES_OF: &str = "SELECT COUNT(*) AS images, \
     CAST(COALESCE(SUM(image_counts.tags), 0) AS BIGINT) AS tags, \
     CAST(COALESCE(SUM(image_counts.size_bytes), 0) AS BIGINT) AS logical_bytes \
     FROM repositories LEFT JOIN image_counts ON image_counts.repository_id = repositories.id \
     WHERE repositories.workspace_id = $1 AND repositories.image_at IS NOT NULL AND repositories.deletion_id IS NULL";

#[derive(sqlx::FromRow)]
struct ImageCountRow {
    id: i64,
    workspace_id: String,
    image_at: Option<i64>,
    deletion_id: Option<String>,
    tags: i64,
    manifest_bytes: i64,
    blob_bytes: i64,
    pushed_at: Option<i64>,
    pulls: i64,
}

impl TryFrom<ImageCountRow> for ImageCount {
    type Error = MetadataError;

    fn try_from(row: ImageCountRow) -> Result<Self, MetadataError> {
        Ok(Self {
            repository: RepositoryId(row.id),
            workspace_id: row.workspace_id,
            is_live_image: row.image_at.is_some() && row.deletion_id.is_none(),
            tags: row.tags.unsigned_abs(),
            size_bytes: to_u64("sum of manifests", row.manifest_bytes)?
                .saturating_add(to_u64("sum of blobs", row.blob_bytes)?),
            pushed_at: row.pushed_at.map(Millis),
            pulls: row.pulls.unsigned_abs(),
        })
    }
}

impl Metadata {
    /// What one repository holds.
    pub async fn count_image(
        &self,
        repository: RepositoryId,
    ) -> Result<Option<ImageCount>, MetadataError> {
        let mut reader = self.read_aside().await?;
        let row: Option<ImageCountRow> = on!(reader.connection(), c => sqlx::query_as(ONE)
            .bind(repository.0)
            .fetch_optional(c)
            .await)?;
        row.map(ImageCount::try_from).transpose()
    }

    /// What repositories of all workspaces hold, in the order of their rows, after `last`.
    pub async fn count_images_after(
        &self,
        last: Option<RepositoryId>,
        limit: u32,
    ) -> Result<Vec<ImageCount>, MetadataError> {
        let mut reader = self.read_aside().await?;
        let rows: Vec<ImageCountRow> = on!(reader.connection(), c => sqlx::query_as(PAGE)
            .bind(last.map_or(i64::MIN, |last| last.0))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        rows.into_iter().map(ImageCount::try_from).collect()
    }

    /// What a workspace holds; the sums over its images are those of their counters.
    pub async fn count_workspace(
        &self,
        workspace_id: &str,
    ) -> Result<WorkspaceCount, MetadataError> {
        let mut reader = self.read_aside().await?;
        let (stored, deleted): (i64, i64) = on!(reader.connection(), c => sqlx::query_as(STORED)
            .bind(workspace_id)
            .fetch_one(c)
            .await)?;
        let (images, tags, logical): (i64, i64, i64) = on!(reader.connection(), c => sqlx::query_as(IMAGES_OF)
                .bind(workspace_id)
                .fetch_one(c)
                .await)?;
        Ok(WorkspaceCount {
            images: images.unsigned_abs(),
            tags: tags.unsigned_abs(),
            stored_bytes: to_u64("sum of stored bytes", stored)?,
            logical_bytes: to_u64("sum of images", logical)?,
            deleted_bytes: to_u64("sum of deleted bytes", deleted)?,
        })
    }

    /// The id of the workspace with this prefix.
    pub async fn workspace_of_prefix(&self, prefix: &str) -> Result<Option<String>, MetadataError> {
        let mut reader = self.read_aside().await?;
        let row: Option<(String,)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT id FROM workspaces WHERE prefix = $1",
        )
        .bind(prefix)
        .fetch_optional(c)
        .await)?;
        Ok(row.map(|(id,)| id))
    }

    /// The ids of all workspaces in bytewise order, after `last`.
    pub async fn workspace_ids_after(
        &self,
        last: &str,
        limit: u32,
    ) -> Result<Vec<String>, MetadataError> {
        let mut reader = self.read_aside().await?;
        let rows: Vec<(String,)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT id FROM workspaces WHERE id > $1 AND deleted_at IS NULL ORDER BY id LIMIT $2",
        )
        .bind(last)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Writes down what images hold, in one change.
    pub async fn store_image_counts(
        &self,
        counts: &[ImageCount],
        now: Millis,
    ) -> Result<(), MetadataError> {
        if counts.is_empty() {
            return Ok(());
        }
        // In one order everywhere: two replicas that hold each other's next row would both wait.
        let mut counts: Vec<&ImageCount> = counts.iter().collect();
        counts.sort_unstable_by_key(|count| count.repository);
        let mut change = self.begin().await?;
        for count in counts {
            // A repository that went away in the meantime has nothing to be counted for.
            on!(change.connection(), c => sqlx::query(
                "INSERT INTO image_counts (repository_id, tags, size_bytes, pushed_at, counted_at) \
                 SELECT id, $2, $3, $4, $5 FROM repositories WHERE id = $1 \
                 ON CONFLICT (repository_id) DO UPDATE SET tags = excluded.tags, size_bytes = excluded.size_bytes, \
                 pushed_at = excluded.pushed_at, counted_at = excluded.counted_at",
            )
            .bind(count.repository.0)
            .bind(to_i64(count.tags))
            .bind(to_i64(count.size_bytes))
            .bind(count.pushed_at.map(|time| time.0))
            .bind(now.0)
            .execute(c)
            .await
            .map(|_| ()))?;
        }
        change.commit().await
    }

    /// Writes down what a workspace holds.
    pub async fn store_workspace_count(
        &self,
        workspace_id: &str,
        count: &WorkspaceCount,
        now: Millis,
    ) -> Result<(), MetadataError> {
        let mut change = self.begin().await?;
        on!(change.connection(), c => sqlx::query(
            "INSERT INTO workspace_counts (workspace_id, images, tags, stored_bytes, logical_bytes, deleted_bytes, \
             counted_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (workspace_id) DO UPDATE SET images = excluded.images, tags = excluded.tags, \
             stored_bytes = excluded.stored_bytes, logical_bytes = excluded.logical_bytes, \
             deleted_bytes = excluded.deleted_bytes, counted_at = excluded.counted_at",
        )
        .bind(workspace_id)
        .bind(to_i64(count.images))
        .bind(to_i64(count.tags))
        .bind(to_i64(count.stored_bytes))
        .bind(to_i64(count.logical_bytes))
        .bind(to_i64(count.deleted_bytes))
        .bind(now.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        change.commit().await
    }
}

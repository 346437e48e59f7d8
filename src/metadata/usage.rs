//! What workspaces use: their counters, their shares, and what they have read.

use super::Metadata;
use super::counts::WorkspaceCount;
use super::database::on;
use super::error::{MetadataError, to_u64};

/// What a workspace uses.
#[derive(Clone, Debug)]
pub struct UsageRow {
    /// The name of the workspace.
    pub workspace: String,
    /// What it holds, as counted last; nothing before the first time.
    pub count: WorkspaceCount,
    /// How much it may store.
    pub quota_bytes: Option<u64>,
    /// Images that were shared with it.
    pub shared_in: u64,
    /// Shares that it gives.
    pub shared_out: u64,
    /// What it has read, in bytes.
    pub egress_bytes: u64,
}

macro_rules! usage {
    ($which:literal) => {
        concat!(
            "SELECT workspaces.name, workspaces.quota_bytes, COALESCE(counts.images, 0) AS images, \
             COALESCE(counts.tags, 0) AS tags, COALESCE(counts.stored_bytes, 0) AS stored_bytes, \
             COALESCE(counts.logical_bytes, 0) AS logical_bytes, COALESCE(counts.deleted_bytes, 0) AS deleted_bytes, \
             (SELECT COUNT(*) FROM shares WHERE shares.target_workspace_id = workspaces.id \
               AND shares.status = 'active') AS shared_in, \
             (SELECT COUNT(*) FROM shares WHERE shares.source_workspace_id = workspaces.id \
               AND shares.status = 'active') AS shared_out, \
             (SELECT CAST(COALESCE(SUM(egress.bytes), 0) AS BIGINT) FROM egress \
               WHERE egress.reader_workspace_id = workspaces.id) AS egress_bytes \
             FROM workspaces LEFT JOIN workspace_counts counts ON counts.workspace_id = workspaces.id \
             WHERE workspaces.deleted_at IS NULL AND ",
            $which
        )
    };
}

const ONE: &str = usage!("workspaces.id = $1");
const PAGE: &str = usage!("workspaces.name > $1 ORDER BY workspaces.name LIMIT $2");

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    quota_bytes: Option<i64>,
    images: i64,
    tags: i64,
    stored_bytes: i64,
    logical_bytes: i64,
    deleted_bytes: i64,
    shared_in: i64,
    shared_out: i64,
    egress_bytes: i64,
}

impl TryFrom<Row> for UsageRow {
    type Error = MetadataError;

    fn try_from(row: Row) -> Result<Self, MetadataError> {
        let quota = |bytes| to_u64("quota", bytes);
        Ok(Self {
            workspace: row.name,
            count: WorkspaceCount {
                images: row.images.unsigned_abs(),
                tags: row.tags.unsigned_abs(),
                stored_bytes: to_u64("sum of stored bytes", row.stored_bytes)?,
                logical_bytes: to_u64("sum of images", row.logical_bytes)?,
                deleted_bytes: to_u64("sum of deleted bytes", row.deleted_bytes)?,
            },
            quota_bytes: row.quota_bytes.map(quota).transpose()?,
            shared_in: row.shared_in.unsigned_abs(),
            shared_out: row.shared_out.unsigned_abs(),
            egress_bytes: to_u64("sum of bytes read", row.egress_bytes)?,
        })
    }
}

impl Metadata {
    /// What one live workspace uses.
    pub async fn usage(&self, workspace_id: &str) -> Result<Option<UsageRow>, MetadataError> {
        let mut reader = self.read().await?;
        let row: Option<Row> = on!(reader.connection(), c => sqlx::query_as(ONE)
            .bind(workspace_id)
            .fetch_optional(c)
            .await)?;
        row.map(UsageRow::try_from).transpose()
    }

    /// What live workspaces use, by their names, after `last`.
    pub async fn usage_of_all(
        &self,
        last: &str,
        limit: u32,
    ) -> Result<Vec<UsageRow>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<Row> = on!(reader.connection(), c => sqlx::query_as(PAGE)
            .bind(last)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        rows.into_iter().map(UsageRow::try_from).collect()
    }
}

//! What workspaces use.

use serde::Serialize;
use utoipa::ToSchema;

use super::names::WorkspaceName;
use super::{Images, RequestError};
use crate::auth::{Manager, Principal, Right, ToRead, require};
use crate::listed::Listed;
use crate::metadata::UsageRow;

/// What a workspace uses. What it holds is counted in the background and is seconds old.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "storedBytes": 4_262_144, "logicalBytes": 8_524_288, "deletedBytes": 0, "quotaBytes": null, "images": 2,
    "tags": 5, "sharedIn": 1, "sharedOut": 2, "egressBytes": 12_786_432
})))]
pub struct UsageView {
    /// What it stores, each digest once.
    pub stored_bytes: u64,
    /// The sum of its images.
    pub logical_bytes: u64,
    /// What only deletions hold that can still be undone.
    pub deleted_bytes: u64,
    /// How much it may store; none without a limit.
    #[schema(required)]
    pub quota_bytes: Option<u64>,
    /// Its images.
    pub images: u64,
    /// Their tags.
    pub tags: u64,
    /// Images that were shared with it.
    pub shared_in: u64,
    /// Shares that it gives.
    pub shared_out: u64,
    /// Blobs that it has read, its own and those of others.
    pub egress_bytes: u64,
}

/// What one of several workspaces uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceUsageView {
    /// The name of the workspace.
    #[schema(value_type = WorkspaceName)]
    pub workspace: String,
    /// What it uses.
    #[serde(flatten)]
    pub usage: UsageView,
}

impl From<&UsageRow> for UsageView {
    fn from(row: &UsageRow) -> Self {
        Self {
            stored_bytes: row.count.stored_bytes,
            logical_bytes: row.count.logical_bytes,
            deleted_bytes: row.count.deleted_bytes,
            quota_bytes: row.quota_bytes,
            images: row.count.images,
            tags: row.count.tags,
            shared_in: row.shared_in,
            shared_out: row.shared_out,
            egress_bytes: row.egress_bytes,
        }
    }
}

impl Images {
    /// What one workspace uses.
    pub async fn usage(&self, manager: &Manager<ToRead>) -> Result<UsageView, RequestError> {
        let row = self.metadata.usage(&manager.workspace().id).await?;
        row.as_ref().map(UsageView::from).ok_or_else(|| {
            RequestError::NotFound(String::from("the workspace has just been deleted"))
        })
    }

    /// What every workspace uses, by their names, after `last`. For operators.
    pub async fn usage_of_all(
        &self,
        principal: &Principal,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<WorkspaceUsageView>, RequestError> {
        require(principal, Right::Operate)?;
        let (last, wanted) = (last.unwrap_or_default(), limit.saturating_add(1));
        let rows = self.metadata.usage_of_all(last, wanted).await?;
        Ok(Listed::cut(
            rows,
            limit,
            |row| &row.workspace,
            |row: &UsageRow| WorkspaceUsageView {
                workspace: row.workspace.clone(),
                usage: UsageView::from(row),
            },
        ))
    }
}

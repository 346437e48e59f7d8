//! Workspaces: teams, and the prefix that everything they own lies under. A prefix is never given twice, so a deleted
//! workspace keeps its row.

use std::sync::Arc;

use super::Metadata;
use super::database::{Connection, Transaction, on};
use super::error::{MetadataError, to_i64, to_u64};
use super::memory::Mark;
use crate::clock::Millis;

/// A live workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Its id, never given twice.
    pub id: String,
    /// Its name, unique among the live ones.
    pub name: String,
    /// The id of the account that owns it.
    pub account_id: String,
    /// The name of that account.
    pub account: String,
    /// The first component of its repositories, without the slash: `t-6a1ba868`, or the namespace.
    pub prefix: String,
    /// What follows `t-` in the prefix; none where the operator gave a namespace.
    pub team_key: Option<String>,
    /// The reserved first component that the operator gave instead of a team key.
    pub namespace: Option<String>,
    /// What people call it.
    pub display_name: Option<String>,
    /// How much it may store; no limit when none.
    pub quota_bytes: Option<u64>,
    /// After how many days untagged manifests go; never when none.
    pub untagged_retention_days: Option<u32>,
    /// Counts up whenever all its credentials are revoked: what was issued under a lower number is void.
    pub credential_generation: i64,
    /// When it was made.
    pub created_at: Millis,
}

/// A workspace to be made.
#[derive(Clone, Debug)]
pub struct NewWorkspace {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The account that owns it.
    pub account_id: String,
    /// The first component of its repositories.
    pub prefix: String,
    /// What follows `t-` in the prefix, if the prefix is made of it.
    pub team_key: Option<String>,
    /// The reserved first component, if the prefix is one.
    pub namespace: Option<String>,
    /// What people call it.
    pub display_name: Option<String>,
    /// How much it may store.
    pub quota_bytes: Option<u64>,
    /// When it was made.
    pub created_at: Millis,
}

/// What may be changed of a workspace, as it stands after the change.
#[derive(Clone, Debug)]
pub struct WorkspaceSettings {
    /// What people call it.
    pub display_name: Option<String>,
    /// How much it may store.
    pub quota_bytes: Option<u64>,
    /// After how many days untagged manifests go.
    pub untagged_retention_days: Option<u32>,
}

#[derive(sqlx::FromRow)]
struct WorkspaceRow {
    id: String,
    name: String,
    account_id: String,
    account: String,
    prefix: String,
    team_key: Option<String>,
    namespace: Option<String>,
    display_name: Option<String>,
    quota_bytes: Option<i64>,
    untagged_retention_days: Option<i64>,
    credential_generation: i64,
    created_at: i64,
}

impl TryFrom<WorkspaceRow> for Arc<Workspace> {
    type Error = MetadataError;

    fn try_from(row: WorkspaceRow) -> Result<Self, MetadataError> {
        let days = |days: i64| {
            u32::try_from(days).map_err(|_| MetadataError::Corrupt {
                what: "retention",
                value: days.to_string(),
            })
        };
        Ok(Self::new(Workspace {
            id: row.id,
            name: row.name,
            account_id: row.account_id,
            account: row.account,
            prefix: row.prefix,
            team_key: row.team_key,
            namespace: row.namespace,
            display_name: row.display_name,
            quota_bytes: row
                .quota_bytes
                .map(|bytes| to_u64("quota", bytes))
                .transpose()?,
            untagged_retention_days: row.untagged_retention_days.map(days).transpose()?,
            credential_generation: row.credential_generation,
            created_at: Millis(row.created_at),
        }))
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT workspaces.id, workspaces.name, workspaces.account_id, accounts.name AS account, \
             workspaces.prefix, workspaces.team_key, workspaces.namespace, workspaces.display_name, \
             workspaces.quota_bytes, workspaces.untagged_retention_days, workspaces.credential_generation, \
             workspaces.created_at FROM workspaces JOIN accounts ON accounts.id = workspaces.account_id \
             WHERE workspaces.deleted_at IS NULL AND ",
            $rest
        )
    };
}

const BY_ID: &str = select!("workspaces.id = $1");
const BY_PREFIX: &str = select!("workspaces.prefix = $1");
const BY_NAME: &str = select!("workspaces.name = $1");
const LIST: &str = select!("workspaces.name > $1 ORDER BY workspaces.name LIMIT $2");

async fn find(
    connection: Connection<'_>,
    statement: &'static str,
    value: &str,
) -> Result<Option<Arc<Workspace>>, MetadataError> {
    let row: Option<WorkspaceRow> =
        on!(connection, c => sqlx::query_as(statement).bind(value).fetch_optional(c).await)?;
    row.map(Arc::try_from).transpose()
}

impl Metadata {
    /// The live workspace of this id.
    pub async fn workspace(&self, id: &str) -> Result<Option<Arc<Workspace>>, MetadataError> {
        self.remembered(
            &self.memory.workspaces_by_id,
            id.to_owned(),
            async |reader, id| find(reader.connection(), BY_ID, id).await,
        )
        .await
    }

    /// The live workspace of this name.
    pub async fn workspace_by_name(
        &self,
        name: &str,
    ) -> Result<Option<Arc<Workspace>>, MetadataError> {
        let mut reader = self.read().await?;
        find(reader.connection(), BY_NAME, name).await
    }

    /// The live workspace whose repositories begin with this, without the slash.
    pub async fn workspace_by_prefix(
        &self,
        prefix: &str,
    ) -> Result<Option<Arc<Workspace>>, MetadataError> {
        self.remembered(
            &self.memory.workspaces_by_prefix,
            prefix.to_owned(),
            async |reader, prefix| find(reader.connection(), BY_PREFIX, prefix).await,
        )
        .await
    }

    /// Live workspaces by name, after `last`.
    pub async fn workspaces(
        &self,
        last: &str,
        limit: u32,
    ) -> Result<Vec<Arc<Workspace>>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<WorkspaceRow> = on!(reader.connection(), c => sqlx::query_as(LIST)
            .bind(last)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        rows.into_iter().map(Arc::try_from).collect()
    }
}

impl Transaction {
    /// The live workspace of this id, as this change sees it.
    pub async fn workspace(&mut self, id: &str) -> Result<Option<Arc<Workspace>>, MetadataError> {
        find(self.connection(), BY_ID, id).await
    }

    /// The live workspace of this name, as this change sees it.
    pub async fn workspace_by_name(
        &mut self,
        name: &str,
    ) -> Result<Option<Arc<Workspace>>, MetadataError> {
        find(self.connection(), BY_NAME, name).await
    }

    /// The live workspace of this prefix, as this change sees it.
    pub async fn workspace_by_prefix(
        &mut self,
        prefix: &str,
    ) -> Result<Option<Arc<Workspace>>, MetadataError> {
        find(self.connection(), BY_PREFIX, prefix).await
    }

    /// Whether a prefix was ever given to a workspace, a deleted one included.
    pub async fn prefix_taken(&mut self, prefix: &str) -> Result<bool, MetadataError> {
        let (count,): (i64,) = on!(self.connection(), c => sqlx::query_as(
            "SELECT COUNT(*) FROM workspaces WHERE prefix = $1",
        )
        .bind(prefix)
        .fetch_one(c)
        .await)?;
        Ok(count > 0)
    }

    /// Makes a workspace.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when the name or the prefix is taken, or the account is gone.
    pub async fn insert_workspace(
        &mut self,
        workspace: &NewWorkspace,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO workspaces (id, name, account_id, prefix, team_key, namespace, display_name, quota_bytes, \
             created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&workspace.id)
        .bind(&workspace.name)
        .bind(&workspace.account_id)
        .bind(&workspace.prefix)
        .bind(&workspace.team_key)
        .bind(&workspace.namespace)
        .bind(&workspace.display_name)
        .bind(workspace.quota_bytes.map(to_i64))
        .bind(workspace.created_at.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        Ok(())
    }

    /// Changes the settings of a workspace.
    pub async fn update_workspace(
        &mut self,
        workspace: &Arc<Workspace>,
        settings: &WorkspaceSettings,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "UPDATE workspaces SET display_name = $2, quota_bytes = $3, untagged_retention_days = $4 \
             WHERE id = $1 AND deleted_at IS NULL",
        )
        .bind(&workspace.id)
        .bind(&settings.display_name)
        .bind(settings.quota_bytes.map(to_i64))
        .bind(settings.untagged_retention_days.map(i64::from))
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::Workspace(Arc::clone(workspace)));
        Ok(())
    }

    /// Live images of a workspace.
    pub async fn count_images(&mut self, workspace_id: &str) -> Result<u64, MetadataError> {
        let (count,): (i64,) = on!(self.connection(), c => sqlx::query_as(
            "SELECT COUNT(*) FROM repositories \
             WHERE workspace_id = $1 AND image_at IS NOT NULL AND deletion_id IS NULL",
        )
        .bind(workspace_id)
        .fetch_one(c)
        .await)?;
        Ok(count.unsigned_abs())
    }

    /// Ends a workspace, its API keys and its pull secrets. Its prefix stays taken.
    pub async fn delete_workspace(
        &mut self,
        workspace: &Arc<Workspace>,
        now: Millis,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "UPDATE workspaces SET deleted_at = $2 WHERE id = $1 AND deleted_at IS NULL",
        )
        .bind(&workspace.id)
        .bind(now.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::Workspace(Arc::clone(workspace)));
        let keys: Vec<(String, String)> = on!(self.connection(), c => sqlx::query_as(
            "DELETE FROM api_keys WHERE workspace_id = $1 RETURNING id, hash",
        )
        .bind(&workspace.id)
        .fetch_all(c)
        .await)?;
        for (id, hash) in keys {
            self.mark(Mark::ApiKey(id, hash));
        }
        self.delete_pull_secrets_of(&workspace.id).await
    }

    /// Voids every credential and access token of a workspace that was issued until now.
    pub async fn revoke_workspace_credentials(
        &mut self,
        workspace: &Arc<Workspace>,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "UPDATE workspaces SET credential_generation = credential_generation + 1 WHERE id = $1",
        )
        .bind(&workspace.id)
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::Workspace(Arc::clone(workspace)));
        Ok(())
    }
}

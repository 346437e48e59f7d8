//! Pull secrets: rows that know a secret's hash, never the secret.

use std::sync::Arc;

use super::Metadata;
use super::api_keys::LastUses;
use super::database::{Connection, Transaction, on};
use super::error::{MetadataError, to_i64, to_u64};
use super::memory::Mark;
use crate::clock::Millis;

/// A pull secret as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullSecret {
    /// Its id, never given twice.
    pub id: String,
    /// The workspace it pulls for; none for one that pulls from all of them.
    pub workspace_id: Option<String>,
    /// The name of that workspace.
    pub workspace: Option<String>,
    /// What the Kubernetes Secret is called.
    pub name: String,
    /// The Kubernetes namespace it is for, if one was named.
    pub namespace: Option<String>,
    /// SHA-256 of the secret, in hex.
    pub hash: String,
    /// How many days it was made for: its successor gets as many.
    pub lifetime_days: u64,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it ends.
    pub expires_at: Millis,
    /// When it was last seen, some seconds old.
    pub last_used_at: Option<Millis>,
    /// The id of the one that was made in its place.
    pub replaced_by: Option<String>,
}

/// A pull secret to be made.
#[derive(Clone, Debug)]
pub struct NewPullSecret {
    /// Its id.
    pub id: String,
    /// The workspace it pulls for; none for one that pulls from all of them.
    pub workspace_id: Option<String>,
    /// What the Kubernetes Secret is called.
    pub name: String,
    /// The Kubernetes namespace it is for.
    pub namespace: Option<String>,
    /// SHA-256 of the secret, in hex.
    pub hash: String,
    /// How many days it is made for.
    pub lifetime_days: u64,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it ends.
    pub expires_at: Millis,
}

#[derive(sqlx::FromRow)]
struct PullSecretRow {
    id: String,
    workspace_id: Option<String>,
    workspace: Option<String>,
    name: String,
    namespace: Option<String>,
    hash: String,
    lifetime_days: i64,
    created_by: String,
    created_at: i64,
    expires_at: i64,
    last_used_at: Option<i64>,
    replaced_by: Option<String>,
}

impl TryFrom<PullSecretRow> for Arc<PullSecret> {
    type Error = MetadataError;

    fn try_from(row: PullSecretRow) -> Result<Self, MetadataError> {
        Ok(Self::new(PullSecret {
            id: row.id,
            workspace_id: row.workspace_id,
            workspace: row.workspace,
            name: row.name,
            namespace: row.namespace,
            hash: row.hash,
            lifetime_days: to_u64("lifetime of a pull secret", row.lifetime_days)?,
            created_by: row.created_by,
            created_at: Millis(row.created_at),
            expires_at: Millis(row.expires_at),
            last_used_at: row.last_used_at.map(Millis),
            replaced_by: row.replaced_by,
        }))
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT pull_secrets.id, pull_secrets.workspace_id, workspaces.name AS workspace, pull_secrets.name, \
             pull_secrets.namespace, pull_secrets.hash, pull_secrets.lifetime_days, pull_secrets.created_by, \
             pull_secrets.created_at, pull_secrets.expires_at, pull_secrets.last_used_at, pull_secrets.replaced_by \
             FROM pull_secrets LEFT JOIN workspaces ON workspaces.id = pull_secrets.workspace_id WHERE ",
            $rest
        )
    };
}

const BY_ID: &str = select!("pull_secrets.id = $1");
const BY_HASH: &str = select!("pull_secrets.hash = $1");
const OF_WORKSPACE: &str = select!(
    "pull_secrets.workspace_id = $1 AND pull_secrets.id > $2 ORDER BY pull_secrets.id LIMIT $3"
);
const ALL: &str = select!("pull_secrets.id > $1 ORDER BY pull_secrets.id LIMIT $2");

async fn find(
    connection: Connection<'_>,
    statement: &'static str,
    value: &str,
) -> Result<Option<Arc<PullSecret>>, MetadataError> {
    let row: Option<PullSecretRow> =
        on!(connection, c => sqlx::query_as(statement).bind(value).fetch_optional(c).await)?;
    row.map(Arc::try_from).transpose()
}

impl Metadata {
    /// The pull secret of this id.
    pub async fn pull_secret(&self, id: &str) -> Result<Option<Arc<PullSecret>>, MetadataError> {
        self.remembered(
            &self.memory.pull_secrets_by_id,
            id.to_owned(),
            async |reader, id| find(reader.connection(), BY_ID, id).await,
        )
        .await
    }

    /// The pull secret whose secret has this hash.
    pub async fn pull_secret_by_hash(
        &self,
        hash: &str,
    ) -> Result<Option<Arc<PullSecret>>, MetadataError> {
        self.remembered(
            &self.memory.pull_secrets_by_hash,
            hash.to_owned(),
            async |reader, hash| find(reader.connection(), BY_HASH, hash).await,
        )
        .await
    }

    /// The pull secrets of a workspace, or all there are, by id, after `last`, with their last use as the database knows
    /// it.
    pub async fn pull_secrets(
        &self,
        workspace_id: Option<&str>,
        last: &str,
        limit: u32,
    ) -> Result<Vec<Arc<PullSecret>>, MetadataError> {
        let mut reader = self.read().await?;
        let limit = i64::from(limit);
        let rows: Vec<PullSecretRow> = match workspace_id {
            Some(id) => on!(reader.connection(), c => sqlx::query_as(OF_WORKSPACE)
                .bind(id)
                .bind(last)
                .bind(limit)
                .fetch_all(c)
                .await),
            None => on!(reader.connection(), c => sqlx::query_as(ALL)
                .bind(last)
                .bind(limit)
                .fetch_all(c)
                .await),
        }?;
        rows.into_iter().map(Arc::try_from).collect()
    }

    /// Writes down when pull secrets were last used, in one change.
    pub async fn record_pull_secret_uses(
        &self,
        uses: &[(String, Millis)],
    ) -> Result<(), MetadataError> {
        self.record_uses(LastUses::PULL_SECRETS, uses).await
    }
}

impl Transaction {
    /// The pull secret of this id, as this change sees it.
    pub async fn pull_secret(
        &mut self,
        id: &str,
    ) -> Result<Option<Arc<PullSecret>>, MetadataError> {
        find(self.connection(), BY_ID, id).await
    }

    /// Pull secrets of a workspace, or of those that pull from all.
    pub async fn count_pull_secrets(
        &mut self,
        workspace_id: Option<&str>,
    ) -> Result<u64, MetadataError> {
        let (count,): (i64,) = match workspace_id {
            Some(id) => on!(self.connection(), c => sqlx::query_as(
                "SELECT COUNT(*) FROM pull_secrets WHERE workspace_id = $1",
            )
            .bind(id)
            .fetch_one(c)
            .await),
            None => on!(self.connection(), c => sqlx::query_as(
                "SELECT COUNT(*) FROM pull_secrets WHERE workspace_id IS NULL",
            )
            .fetch_one(c)
            .await),
        }?;
        Ok(count.unsigned_abs())
    }

    /// Makes a pull secret.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when its workspace is gone.
    pub async fn insert_pull_secret(
        &mut self,
        secret: &NewPullSecret,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO pull_secrets (id, workspace_id, name, namespace, hash, lifetime_days, created_by, created_at, \
             expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&secret.id)
        .bind(&secret.workspace_id)
        .bind(&secret.name)
        .bind(&secret.namespace)
        .bind(&secret.hash)
        .bind(to_i64(secret.lifetime_days))
        .bind(&secret.created_by)
        .bind(secret.created_at.0)
        .bind(secret.expires_at.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::PullSecret(secret.id.clone(), secret.hash.clone()));
        Ok(())
    }

    /// Brings the end of a pull secret nearer, never further away, and says what took its place, which only one ever
    /// does; its end now, or none when it is gone or has been replaced by another.
    pub async fn end_pull_secret(
        &mut self,
        secret: &PullSecret,
        at: Millis,
        replaced_by: Option<&str>,
    ) -> Result<Option<Millis>, MetadataError> {
        let row: Option<(i64,)> = on!(self.connection(), c => sqlx::query_as(
            "UPDATE pull_secrets SET expires_at = CASE WHEN expires_at < $2 THEN expires_at ELSE $2 END, \
             replaced_by = COALESCE($3, replaced_by) WHERE id = $1 AND ($3 IS NULL OR replaced_by IS NULL) \
             RETURNING expires_at",
        )
        .bind(&secret.id)
        .bind(at.0)
        .bind(replaced_by)
        .fetch_optional(c)
        .await)?;
        self.mark(Mark::PullSecret(secret.id.clone(), secret.hash.clone()));
        Ok(row.map(|(end,)| Millis(end)))
    }

    /// Removes a pull secret; false when it is gone already.
    pub async fn delete_pull_secret(&mut self, secret: &PullSecret) -> Result<bool, MetadataError> {
        let row: Option<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "DELETE FROM pull_secrets WHERE id = $1 RETURNING id",
        )
        .bind(&secret.id)
        .fetch_optional(c)
        .await)?;
        self.mark(Mark::PullSecret(secret.id.clone(), secret.hash.clone()));
        Ok(row.is_some())
    }

    /// Removes the pull secrets of a workspace.
    pub(super) async fn delete_pull_secrets_of(
        &mut self,
        workspace_id: &str,
    ) -> Result<(), MetadataError> {
        let rows: Vec<(String, String)> = on!(self.connection(), c => sqlx::query_as(
            "DELETE FROM pull_secrets WHERE workspace_id = $1 RETURNING id, hash",
        )
        .bind(workspace_id)
        .fetch_all(c)
        .await)?;
        self.forget_pull_secrets(rows);
        Ok(())
    }

    /// Forgets that one of a workspace's pull secrets, or of those that pull from all, which ended first; false when none
    /// has ended.
    pub async fn forget_ended_pull_secret(
        &mut self,
        workspace_id: Option<&str>,
        now: Millis,
    ) -> Result<bool, MetadataError> {
        let rows: Vec<(String, String)> = match workspace_id {
            Some(id) => on!(self.connection(), c => sqlx::query_as(
                "DELETE FROM pull_secrets WHERE id = (SELECT id FROM pull_secrets \
                 WHERE workspace_id = $1 AND expires_at <= $2 ORDER BY expires_at LIMIT 1) RETURNING id, hash",
            )
            .bind(id)
            .bind(now.0)
            .fetch_all(c)
            .await),
            None => on!(self.connection(), c => sqlx::query_as(
                "DELETE FROM pull_secrets WHERE id = (SELECT id FROM pull_secrets \
                 WHERE workspace_id IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT 1) RETURNING id, hash",
            )
            .bind(now.0)
            .fetch_all(c)
            .await),
        }?;
        let is_gone = !rows.is_empty();
        self.forget_pull_secrets(rows);
        Ok(is_gone)
    }

    /// Forgets at most `limit` pull secrets that ended before a time.
    pub async fn purge_pull_secrets(
        &mut self,
        before: Millis,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        let rows: Vec<(String, String)> = on!(self.connection(), c => sqlx::query_as(
            "DELETE FROM pull_secrets WHERE id IN \
             (SELECT id FROM pull_secrets WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) RETURNING id, hash",
        )
        .bind(before.0)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        let purged = rows.len() as u64;
        self.forget_pull_secrets(rows);
        Ok(purged)
    }

    fn forget_pull_secrets(&mut self, rows: Vec<(String, String)>) {
        for (id, hash) in rows {
            self.mark(Mark::PullSecret(id, hash));
        }
    }
}

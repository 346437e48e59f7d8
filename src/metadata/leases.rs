//! Leases: "this digest is in use by X until T".

use berth_storage::Digest;

use super::Metadata;
use super::database::{Connection, Transaction, on};
use super::error::{MetadataError, parse};
use super::repositories::RepositoryId;
use crate::clock::Millis;
use crate::oci::RepositoryName;

/// A lease, as its workspace sees it.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Its name in its workspace.
    pub holder: String,
    /// The name that the image has for the workspace.
    pub repository: RepositoryName,
    /// The reference that was leased, as it was given.
    pub image: String,
    /// What it pins.
    pub digest: Digest,
    /// When it ends.
    pub expires_at: Millis,
}

/// A lease about to be made, renewed or moved.
#[derive(Clone, Copy, Debug)]
pub struct NewLease<'a> {
    /// The workspace that holds it.
    pub workspace_id: &'a str,
    /// Its name there.
    pub holder: &'a str,
    /// The repository, whosever it is.
    pub repository: RepositoryId,
    /// The name that it has for the workspace.
    pub name: &'a RepositoryName,
    /// What it pins.
    pub digest: &'a Digest,
    /// The reference, as it was given.
    pub image: &'a str,
    /// Who leases.
    pub actor: &'a str,
    /// When.
    pub now: Millis,
    /// When it ends.
    pub expires_at: Millis,
}

/// Which leases stand in the way.
#[derive(Clone, Copy, Debug)]
pub struct LeaseFilter<'a> {
    /// Of this repository.
    pub repository: RepositoryId,
    /// On this digest, or on any.
    pub digest: Option<&'a Digest>,
    /// Of this workspace, or of any.
    pub workspace_id: Option<&'a str>,
    /// Not of this workspace.
    pub but_not_of: Option<&'a str>,
}

/// Somebody who holds a lease.
#[derive(Clone, Debug)]
pub struct LeaseHolder {
    /// The name of the workspace.
    pub workspace: String,
    /// The name of the lease.
    pub holder: String,
    /// When it ends.
    pub expires_at: Millis,
}

impl From<(String, String, i64)> for LeaseHolder {
    fn from((workspace, holder, expires_at): (String, String, i64)) -> Self {
        Self {
            workspace,
            holder,
            expires_at: Millis(expires_at),
        }
    }
}

#[derive(sqlx::FromRow)]
struct LeaseRow {
    holder: String,
    repository: String,
    image: String,
    digest: String,
    expires_at: i64,
}

impl TryFrom<LeaseRow> for Lease {
    type Error = MetadataError;

    fn try_from(row: LeaseRow) -> Result<Self, MetadataError> {
        Ok(Self {
            holder: row.holder,
            repository: parse("repository name", &row.repository)?,
            image: row.image,
            digest: parse("digest", &row.digest)?,
            expires_at: Millis(row.expires_at),
        })
    }
}

async fn find(
    connection: Connection<'_>,
    workspace_id: &str,
    holder: &str,
    now: Millis,
) -> Result<Option<Lease>, MetadataError> {
    let row: Option<LeaseRow> = on!(connection, c => sqlx::query_as(
        "SELECT holder, repository, image, digest, expires_at FROM leases \
         WHERE workspace_id = $1 AND holder = $2 AND expires_at > $3",
    )
    .bind(workspace_id)
    .bind(holder)
    .bind(now.0)
    .fetch_optional(c)
    .await)?;
    row.map(Lease::try_from).transpose()
}

impl Metadata {
    /// The leases of a workspace by their holders, after `last`.
    pub async fn leases(
        &self,
        workspace_id: &str,
        last: &str,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<Lease>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<LeaseRow> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT holder, repository, image, digest, expires_at FROM leases \
             WHERE workspace_id = $1 AND holder > $2 AND expires_at > $3 ORDER BY holder LIMIT $4",
        )
        .bind(workspace_id)
        .bind(last)
        .bind(now.0)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.into_iter().map(Lease::try_from).collect()
    }

    /// One lease of a workspace.
    pub async fn lease(
        &self,
        workspace_id: &str,
        holder: &str,
        now: Millis,
    ) -> Result<Option<Lease>, MetadataError> {
        let mut reader = self.read().await?;
        find(reader.connection(), workspace_id, holder, now).await
    }
}

impl Transaction {
    /// How many leases a workspace holds.
    pub async fn count_leases(
        &mut self,
        workspace_id: &str,
        now: Millis,
    ) -> Result<u64, MetadataError> {
        let (count,): (i64,) = on!(self.connection(), c => sqlx::query_as(
            "SELECT COUNT(*) FROM leases WHERE workspace_id = $1 AND expires_at > $2",
        )
        .bind(workspace_id)
        .bind(now.0)
        .fetch_one(c)
        .await)?;
        Ok(count.unsigned_abs())
    }

    /// One lease of a workspace, as this change sees it.
    pub async fn lease(
        &mut self,
        workspace_id: &str,
        holder: &str,
        now: Millis,
    ) -> Result<Option<Lease>, MetadataError> {
        find(self.connection(), workspace_id, holder, now).await
    }

    /// Writes a lease; one of the same holder is renewed or moved.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when the manifest or the workspace went away at the same time.
    pub async fn put_lease(&mut self, lease: &NewLease<'_>) -> Result<(), MetadataError> {
        self.hold_workspace(lease.workspace_id).await?;
        Ok(on!(self.connection(), c => sqlx::query(
            "INSERT INTO leases (workspace_id, holder, repository_id, repository, digest, image, created_by, created_at, \
             expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT (workspace_id, holder) DO UPDATE SET repository_id = excluded.repository_id, \
             repository = excluded.repository, digest = excluded.digest, image = excluded.image, created_by = excluded.created_by, \
             expires_at = excluded.expires_at",
        )
        .bind(lease.workspace_id)
        .bind(lease.holder)
        .bind(lease.repository.0)
        .bind(lease.name.as_str())
        .bind(lease.digest.to_string())
        .bind(lease.image)
        .bind(lease.actor)
        .bind(lease.now.0)
        .bind(lease.expires_at.0)
        .execute(c)
        .await
        .map(|_| ()))?)
    }

    /// Ends a lease. Says whether there was one.
    pub async fn end_lease(
        &mut self,
        workspace_id: &str,
        holder: &str,
        now: Millis,
    ) -> Result<bool, MetadataError> {
        let ended = on!(self.connection(), c => sqlx::query(
            "DELETE FROM leases WHERE workspace_id = $1 AND holder = $2 AND expires_at > $3",
        )
        .bind(workspace_id)
        .bind(holder)
        .bind(now.0)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        Ok(ended == 1)
    }

    /// Ends every lease of a workspace.
    pub async fn end_leases_of(&mut self, workspace_id: &str) -> Result<(), MetadataError> {
        Ok(
            on!(self.connection(), c => sqlx::query("DELETE FROM leases WHERE workspace_id = $1")
            .bind(workspace_id)
            .execute(c)
            .await
            .map(|_| ()))?,
        )
    }

    /// Leases that have not ended, as far as the filter lets them through.
    pub async fn lease_holders(
        &mut self,
        filter: &LeaseFilter<'_>,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<LeaseHolder>, MetadataError> {
        let rows: Vec<(String, String, i64)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT workspaces.name, leases.holder, leases.expires_at FROM leases \
             JOIN workspaces ON workspaces.id = leases.workspace_id \
             WHERE leases.repository_id = $1 AND (CAST($2 AS TEXT) IS NULL OR leases.digest = $2) \
             AND (CAST($3 AS TEXT) IS NULL OR leases.workspace_id = $3) \
             AND (CAST($4 AS TEXT) IS NULL OR leases.workspace_id <> $4) AND leases.expires_at > $5 LIMIT $6",
        )
        .bind(filter.repository.0)
        .bind(filter.digest.map(ToString::to_string))
        .bind(filter.workspace_id)
        .bind(filter.but_not_of)
        .bind(now.0)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        Ok(rows.into_iter().map(LeaseHolder::from).collect())
    }

    /// Forgets leases that have ended, at most `limit`; how many.
    pub async fn forget_ended_leases(
        &mut self,
        now: Millis,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        let statement = "DELETE FROM leases WHERE (workspace_id, holder) IN \
             (SELECT workspace_id, holder FROM leases WHERE expires_at <= $1 LIMIT $2)";
        self.delete_ended(statement, now, limit).await
    }
}

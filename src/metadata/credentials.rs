//! Registry credentials that were revoked before their time. A credential itself is a signed token and has no row.

use super::Metadata;
use super::database::{Connection, Transaction, on};
use super::error::MetadataError;
use super::memory::Mark;
use crate::clock::Millis;

/// A revocation counts only for credentials of the workspace that made it: otherwise whoever learns the id of a foreign
/// credential could end it, or take its place in the table.
fn row_id(workspace_id: &str, credential_id: &str) -> String {
    format!("{workspace_id}/{credential_id}")
}

async fn exists(connection: Connection<'_>, row_id: &str) -> Result<bool, MetadataError> {
    let (count,): (i64,) = on!(connection, c => sqlx::query_as(
        "SELECT COUNT(*) FROM revoked_credentials WHERE id = $1",
    )
    .bind(row_id)
    .fetch_one(c)
    .await)?;
    Ok(count > 0)
}

impl Metadata {
    /// Whether a credential of a workspace was revoked. "No" is remembered too: it is the answer of every pull.
    pub async fn is_credential_revoked(
        &self,
        workspace_id: &str,
        credential_id: &str,
    ) -> Result<bool, MetadataError> {
        let id = row_id(workspace_id, credential_id);
        let revoked = self
            .remembered(&self.memory.revoked_credentials, id, async |reader, id| {
                exists(reader.connection(), id).await.map(Some)
            })
            .await?;
        Ok(revoked.unwrap_or(false))
    }
}

impl Transaction {
    /// Whether a credential of a workspace was revoked, as this change sees it.
    pub async fn is_credential_revoked(
        &mut self,
        workspace_id: &str,
        credential_id: &str,
    ) -> Result<bool, MetadataError> {
        exists(self.connection(), &row_id(workspace_id, credential_id)).await
    }

    /// Revokes a credential. `expires_at` is when every token that came of it has ended by itself.
    pub async fn revoke_credential(
        &mut self,
        workspace_id: &str,
        credential_id: &str,
        now: Millis,
        expires_at: Millis,
    ) -> Result<(), MetadataError> {
        let id = row_id(workspace_id, credential_id);
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO revoked_credentials (id, workspace_id, revoked_at, expires_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(&id)
        .bind(workspace_id)
        .bind(now.0)
        .bind(expires_at.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::Credential(id));
        Ok(())
    }

    /// Forgets at most `limit` revocations whose credentials have ended by themselves.
    pub async fn purge_revocations(
        &mut self,
        now: Millis,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        let statement = "DELETE FROM revoked_credentials WHERE id IN \
             (SELECT id FROM revoked_credentials WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
        // No mark: these credentials are refused by their own end from now on, whatever is remembered of them.
        self.delete_ended(statement, now, limit).await
    }
}

//! Tokens of other issuers that count once and were used.

use super::database::{Transaction, on};
use super::error::MetadataError;
use crate::clock::Millis;

impl Transaction {
    /// Notes that a token was used, until nobody would take it anyway; false when it was used before. Of two that try at
    /// one time, one waits for the other.
    pub async fn use_token(&mut self, id: &str, expires_at: Millis) -> Result<bool, MetadataError> {
        let row: Option<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "INSERT INTO used_tokens (id, expires_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING id",
        )
        .bind(id)
        .bind(expires_at.0)
        .fetch_optional(c)
        .await)?;
        Ok(row.is_some())
    }

    /// Forgets at most `limit` tokens that have ended.
    pub async fn purge_used_tokens(
        &mut self,
        now: Millis,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        let statement = "DELETE FROM used_tokens WHERE id IN \
             (SELECT id FROM used_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
        self.delete_ended(statement, now, limit).await
    }
}

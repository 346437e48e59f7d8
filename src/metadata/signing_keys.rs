//! Signing keys that replicas share, wrapped. What they sign and how they are wrapped is for `auth` to know.

use super::Metadata;
use super::database::{Connection, Transaction, on};
use super::error::MetadataError;
use crate::clock::Millis;

/// A key as the database keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKeyRow {
    /// Its id: the thumbprint of the public key.
    pub id: String,
    /// What it signs.
    pub purpose: String,
    /// The public key.
    pub public_key: Vec<u8>,
    /// The private key, encrypted.
    pub wrapped_private_key: Vec<u8>,
    /// When it was made.
    pub created_at: Millis,
    /// From when on it signs.
    pub signs_from: Millis,
    /// When its last token has ended; open while it signs.
    pub expires_at: Option<Millis>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    purpose: String,
    public_key: Vec<u8>,
    wrapped_private_key: Vec<u8>,
    created_at: i64,
    signs_from: i64,
    expires_at: Option<i64>,
}

impl From<Row> for SigningKeyRow {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            purpose: row.purpose,
            public_key: row.public_key,
            wrapped_private_key: row.wrapped_private_key,
            created_at: Millis(row.created_at),
            signs_from: Millis(row.signs_from),
            expires_at: row.expires_at.map(Millis),
        }
    }
}

const NEWEST: &str = "SELECT id, purpose, public_key, wrapped_private_key, created_at, signs_from, expires_at \
     FROM signing_keys ORDER BY signs_from DESC, id LIMIT $1";

async fn newest(
    connection: Connection<'_>,
    limit: u32,
) -> Result<Vec<SigningKeyRow>, MetadataError> {
    let rows: Vec<Row> = on!(connection, c => sqlx::query_as(NEWEST)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
    Ok(rows.into_iter().map(SigningKeyRow::from).collect())
}

impl Metadata {
    /// The signing keys, at most `limit`: the newest.
    pub async fn signing_keys(&self, limit: u32) -> Result<Vec<SigningKeyRow>, MetadataError> {
        let mut reader = self.read().await?;
        newest(reader.connection(), limit).await
    }
}

impl Transaction {
    /// Holds all signing keys until this change ends, those too that are yet to be made: of several replicas one looks
    /// and changes at a time. They can still be read. SQLite has one writer: there every change is alone already.
    pub async fn hold_signing_keys(&mut self) -> Result<(), MetadataError> {
        let Connection::Postgres(connection) = self.connection() else {
            return Ok(());
        };
        sqlx::query("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
            .execute(connection)
            .await?;
        Ok(())
    }

    /// The signing keys as this change sees them, at most `limit`: the newest.
    pub async fn signing_keys(&mut self, limit: u32) -> Result<Vec<SigningKeyRow>, MetadataError> {
        newest(self.connection(), limit).await
    }

    /// Adds a signing key.
    pub async fn insert_signing_key(&mut self, key: &SigningKeyRow) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO signing_keys (id, purpose, public_key, wrapped_private_key, created_at, signs_from, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&key.id)
        .bind(&key.purpose)
        .bind(&key.public_key)
        .bind(&key.wrapped_private_key)
        .bind(key.created_at.0)
        .bind(key.signs_from.0)
        .bind(key.expires_at.map(|time| time.0))
        .execute(c)
        .await
        .map(|_| ()))?;
        Ok(())
    }

    /// Writes down when a signing key ends.
    pub async fn end_signing_key(
        &mut self,
        id: &str,
        expires_at: Option<Millis>,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "UPDATE signing_keys SET expires_at = $2 WHERE id = $1",
        )
        .bind(id)
        .bind(expires_at.map(|time| time.0))
        .execute(c)
        .await
        .map(|_| ()))?;
        Ok(())
    }

    /// Wraps a signing key anew.
    pub async fn rewrap_signing_key(
        &mut self,
        id: &str,
        wrapped_private_key: &[u8],
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "UPDATE signing_keys SET wrapped_private_key = $2 WHERE id = $1",
        )
        .bind(id)
        .bind(wrapped_private_key)
        .execute(c)
        .await
        .map(|_| ()))?;
        Ok(())
    }

    /// Removes a signing key.
    pub async fn delete_signing_key(&mut self, id: &str) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query("DELETE FROM signing_keys WHERE id = $1")
            .bind(id)
            .execute(c)
            .await
            .map(|_| ()))?;
        Ok(())
    }

    /// Removes all signing keys.
    pub async fn delete_signing_keys(&mut self) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query("DELETE FROM signing_keys")
            .execute(c)
            .await
            .map(|_| ()))?;
        Ok(())
    }
}

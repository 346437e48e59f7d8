//! Accounts: who pays and owns. A deleted account keeps its row, because its deleted workspaces keep theirs.

use super::Metadata;
use super::database::{Transaction, on};
use super::dialect::Statement;
use super::error::MetadataError;
use crate::clock::Millis;

/// Who owns workspaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id, never given twice.
    pub id: String,
    /// Its name, unique among the live ones.
    pub name: String,
    /// When it was made.
    pub created_at: Millis,
}

#[derive(sqlx::FromRow)]
struct AccountRow {
    id: String,
    name: String,
    created_at: i64,
}

impl From<AccountRow> for Account {
    fn from(row: AccountRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            created_at: Millis(row.created_at),
        }
    }
}

/// For a change: an account that is read cannot be deleted before the change ends.
const HOLD: Statement = Statement {
    sqlite: "SELECT id, name, created_at FROM accounts WHERE name = $1 AND deleted_at IS NULL",
    postgres: "SELECT id, name, created_at FROM accounts WHERE name = $1 AND deleted_at IS NULL FOR SHARE",
};

impl Metadata {
    /// The account of this name.
    pub async fn account(&self, name: &str) -> Result<Option<Account>, MetadataError> {
        let mut reader = self.read().await?;
        let row: Option<AccountRow> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT id, name, created_at FROM accounts WHERE name = $1 AND deleted_at IS NULL",
        )
        .bind(name)
        .fetch_optional(c)
        .await)?;
        Ok(row.map(Account::from))
    }

    /// Accounts by name, after `last`.
    pub async fn accounts(&self, last: &str, limit: u32) -> Result<Vec<Account>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<AccountRow> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT id, name, created_at FROM accounts WHERE name > $1 AND deleted_at IS NULL ORDER BY name LIMIT $2",
        )
        .bind(last)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        Ok(rows.into_iter().map(Account::from).collect())
    }
}

impl Transaction {
    /// The account of this name, as this change sees it.
    pub async fn account(&mut self, name: &str) -> Result<Option<Account>, MetadataError> {
        let connection = self.connection();
        let statement = HOLD.of(&connection);
        let row: Option<AccountRow> =
            on!(connection, c => sqlx::query_as(statement).bind(name).fetch_optional(c).await)?;
        Ok(row.map(Account::from))
    }

    /// Whether there is any account at all, deleted ones included.
    pub async fn any_account(&mut self) -> Result<bool, MetadataError> {
        let (count,): (i64,) = on!(self.connection(), c => sqlx::query_as("SELECT COUNT(*) FROM accounts").fetch_one(c).await)?;
        Ok(count > 0)
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when the name is taken.
    pub async fn insert_account(&mut self, account: &Account) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query("INSERT INTO accounts (id, name, created_at) VALUES ($1, $2, $3)")
            .bind(&account.id)
            .bind(&account.name)
            .bind(account.created_at.0)
            .execute(c)
            .await
            .map(|_| ()))?;
        Ok(())
    }

    /// Live workspaces of an account.
    pub async fn count_workspaces(&mut self, account_id: &str) -> Result<u64, MetadataError> {
        let (count,): (i64,) = on!(self.connection(), c => sqlx::query_as(
            "SELECT COUNT(*) FROM workspaces WHERE account_id = $1 AND deleted_at IS NULL",
        )
        .bind(account_id)
        .fetch_one(c)
        .await)?;
        Ok(count.unsigned_abs())
    }

    /// Ends an account that has no live workspace, and frees its name. The row stays for the deleted workspaces that
    /// point to it.
    pub async fn delete_account(&mut self, id: &str, now: Millis) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query("UPDATE accounts SET deleted_at = $2 WHERE id = $1")
            .bind(id)
            .bind(now.0)
            .execute(c)
            .await
            .map(|_| ()))?;
        Ok(())
    }
}

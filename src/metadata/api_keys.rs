//! API keys: rows that know a secret's hash, never the secret.

use std::sync::Arc;

use super::Metadata;
use super::database::{Connection, Transaction, on};
use super::dialect::Statement;
use super::error::MetadataError;
use super::memory::Mark;
use crate::clock::Millis;

/// A key as it stands. What its words mean is for `auth` to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, never given twice.
    pub id: String,
    /// The workspace it acts in; none for an operator key.
    pub workspace_id: Option<String>,
    /// What people call it.
    pub name: String,
    /// Its role.
    pub role: String,
    /// SHA-256 of the secret, in hex.
    pub hash: String,
    /// Globs of image names that it is narrowed to.
    pub repositories: Option<Vec<String>>,
    /// Actions that it is narrowed to.
    pub actions: Option<Vec<String>>,
    /// Counts up whenever its credentials are revoked: what was issued under a lower number is void.
    pub credential_generation: i64,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it ends; never when none.
    pub expires_at: Option<Millis>,
    /// When it was last seen, some seconds old.
    pub last_used_at: Option<Millis>,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Its id.
    pub id: String,
    /// The workspace it acts in; none for an operator key.
    pub workspace_id: Option<String>,
    /// What people call it.
    pub name: String,
    /// Its role.
    pub role: String,
    /// SHA-256 of the secret, in hex.
    pub hash: String,
    /// Globs of image names that it is narrowed to.
    pub repositories: Option<Vec<String>>,
    /// Actions that it is narrowed to.
    pub actions: Option<Vec<String>>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it ends.
    pub expires_at: Option<Millis>,
}

#[derive(sqlx::FromRow)]
struct ApiKeyRow {
    id: String,
    workspace_id: Option<String>,
    name: String,
    role: String,
    hash: String,
    repositories: Option<String>,
    actions: Option<String>,
    credential_generation: i64,
    created_by: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

fn list(what: &'static str, text: String) -> Result<Vec<String>, MetadataError> {
    serde_json::from_str(&text).map_err(|_| MetadataError::Corrupt { what, value: text })
}

fn text(list: &Option<Vec<String>>) -> Option<String> {
    list.as_ref().map(super::dialect::json_list)
}

impl TryFrom<ApiKeyRow> for Arc<ApiKey> {
    type Error = MetadataError;

    fn try_from(row: ApiKeyRow) -> Result<Self, MetadataError> {
        Ok(Self::new(ApiKey {
            id: row.id,
            workspace_id: row.workspace_id,
            name: row.name,
            role: row.role,
            hash: row.hash,
            repositories: row
                .repositories
                .map(|text| list("list of repositories", text))
                .transpose()?,
            actions: row
                .actions
                .map(|text| list("list of actions", text))
                .transpose()?,
            credential_generation: row.credential_generation,
            created_by: row.created_by,
            created_at: Millis(row.created_at),
            expires_at: row.expires_at.map(Millis),
            last_used_at: row.last_used_at.map(Millis),
        }))
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, workspace_id, name, role, hash, repositories, actions, credential_generation, created_by, \
             created_at, expires_at, last_used_at FROM api_keys WHERE ",
            $rest
        )
    };
}

const BY_ID: &str = select!("id = $1");
const BY_HASH: &str = select!("hash = $1");
const LIST: &str = select!("workspace_id = $1 AND id > $2 ORDER BY id LIMIT $3");
const OPERATORS: &str =
    select!("workspace_id IS NULL AND role = 'operator' AND id > $1 ORDER BY id LIMIT $2");
// In the order in which their last uses are written down, so that neither waits for the other for ever.
const HOLD_OPERATORS: Statement = Statement {
    sqlite: select!("workspace_id IS NULL AND role = 'operator' ORDER BY id LIMIT $1"),
    postgres: select!("workspace_id IS NULL AND role = 'operator' ORDER BY id LIMIT $1 FOR UPDATE"),
};

/// The statement that writes down the last use of one kind of secret.
#[derive(Clone, Copy)]
pub(super) struct LastUses(&'static str);

impl LastUses {
    const API_KEYS: Self = Self(
        "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
    );
    pub(super) const PULL_SECRETS: Self = Self(
        "UPDATE pull_secrets SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
    );
}

async fn find(
    connection: Connection<'_>,
    statement: &'static str,
    value: &str,
) -> Result<Option<Arc<ApiKey>>, MetadataError> {
    let row: Option<ApiKeyRow> =
        on!(connection, c => sqlx::query_as(statement).bind(value).fetch_optional(c).await)?;
    row.map(Arc::try_from).transpose()
}

impl Metadata {
    /// The key of this id.
    pub async fn api_key(&self, id: &str) -> Result<Option<Arc<ApiKey>>, MetadataError> {
        self.remembered(
            &self.memory.api_keys_by_id,
            id.to_owned(),
            async |reader, id| find(reader.connection(), BY_ID, id).await,
        )
        .await
    }

    /// The key whose secret has this hash.
    pub async fn api_key_by_hash(&self, hash: &str) -> Result<Option<Arc<ApiKey>>, MetadataError> {
        self.remembered(
            &self.memory.api_keys_by_hash,
            hash.to_owned(),
            async |reader, hash| find(reader.connection(), BY_HASH, hash).await,
        )
        .await
    }

    /// The keys of a workspace by id, after `last`, with their last use as the database knows it.
    pub async fn api_keys(
        &self,
        workspace_id: &str,
        last: &str,
        limit: u32,
    ) -> Result<Vec<Arc<ApiKey>>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<ApiKeyRow> = on!(reader.connection(), c => sqlx::query_as(LIST)
            .bind(workspace_id)
            .bind(last)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        rows.into_iter().map(Arc::try_from).collect()
    }

    /// The operator keys by id, after `last`, with their last use as the database knows it.
    pub async fn operator_keys(
        &self,
        last: &str,
        limit: u32,
    ) -> Result<Vec<Arc<ApiKey>>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<ApiKeyRow> = on!(reader.connection(), c => sqlx::query_as(OPERATORS)
            .bind(last)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        rows.into_iter().map(Arc::try_from).collect()
    }

    /// Writes down when keys were last used, in one change.
    pub async fn record_api_key_uses(
        &self,
        uses: &[(String, Millis)],
    ) -> Result<(), MetadataError> {
        self.record_uses(LastUses::API_KEYS, uses).await
    }

    /// Writes down the last uses of one kind of secret, in one change.
    pub(super) async fn record_uses(
        &self,
        LastUses(statement): LastUses,
        uses: &[(String, Millis)],
    ) -> Result<(), MetadataError> {
        if uses.is_empty() {
            return Ok(());
        }
        // In one order everywhere: two replicas that hold each other's next row would both wait.
        let mut uses: Vec<&(String, Millis)> = uses.iter().collect();
        uses.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let mut transaction = self.begin().await?;
        for (id, at) in uses {
            // No mark: nothing that is remembered is decided by the time of the last use.
            on!(transaction.connection(), c => sqlx::query(statement)
                .bind(id)
                .bind(at.0)
                .execute(c)
                .await
                .map(|_| ()))?;
        }
        transaction.commit().await
    }
}

impl Transaction {
    /// The key of this id, as this change sees it.
    pub async fn api_key(&mut self, id: &str) -> Result<Option<Arc<ApiKey>>, MetadataError> {
        find(self.connection(), BY_ID, id).await
    }

    /// Whether there is a key that belongs to no workspace.
    pub async fn any_operator_key(&mut self) -> Result<bool, MetadataError> {
        let (count,): (i64,) = on!(self.connection(), c => sqlx::query_as(
            "SELECT COUNT(*) FROM api_keys WHERE workspace_id IS NULL AND role = 'operator'",
        )
        .fetch_one(c)
        .await)?;
        Ok(count > 0)
    }

    /// The operator keys, at most `limit`, held until this change ends: nobody else ends one in the meantime.
    pub async fn hold_operator_keys(
        &mut self,
        limit: u32,
    ) -> Result<Vec<Arc<ApiKey>>, MetadataError> {
        let connection = self.connection();
        let statement = HOLD_OPERATORS.of(&connection);
        let rows: Vec<ApiKeyRow> = on!(connection, c => sqlx::query_as(statement)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        rows.into_iter().map(Arc::try_from).collect()
    }

    /// Writes down when a key ends.
    pub async fn end_api_key(
        &mut self,
        key: &ApiKey,
        expires_at: Millis,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query("UPDATE api_keys SET expires_at = $2 WHERE id = $1")
            .bind(&key.id)
            .bind(expires_at.0)
            .execute(c)
            .await
            .map(|_| ()))?;
        self.mark(Mark::ApiKey(key.id.clone(), key.hash.clone()));
        Ok(())
    }

    /// Removes one operator key.
    pub async fn delete_operator_key(&mut self, key: &ApiKey) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "DELETE FROM api_keys WHERE id = $1 AND workspace_id IS NULL",
        )
        .bind(&key.id)
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::ApiKey(key.id.clone(), key.hash.clone()));
        Ok(())
    }

    /// Removes all operator keys.
    pub async fn delete_operator_keys(&mut self) -> Result<(), MetadataError> {
        let keys: Vec<(String, String)> = on!(self.connection(), c => sqlx::query_as(
            "DELETE FROM api_keys WHERE workspace_id IS NULL AND role = 'operator' RETURNING id, hash",
        )
        .fetch_all(c)
        .await)?;
        for (id, hash) in keys {
            self.mark(Mark::ApiKey(id, hash));
        }
        Ok(())
    }

    /// Keys of a workspace.
    pub async fn count_api_keys(&mut self, workspace_id: &str) -> Result<u64, MetadataError> {
        let (count,): (i64,) = on!(self.connection(), c => sqlx::query_as(
            "SELECT COUNT(*) FROM api_keys WHERE workspace_id = $1",
        )
        .bind(workspace_id)
        .fetch_one(c)
        .await)?;
        Ok(count.unsigned_abs())
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when its workspace is gone.
    pub async fn insert_api_key(&mut self, key: &NewApiKey) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO api_keys (id, workspace_id, name, role, hash, repositories, actions, created_by, created_at, \
             expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&key.id)
        .bind(&key.workspace_id)
        .bind(&key.name)
        .bind(&key.role)
        .bind(&key.hash)
        .bind(text(&key.repositories))
        .bind(text(&key.actions))
        .bind(&key.created_by)
        .bind(key.created_at.0)
        .bind(key.expires_at.map(|time| time.0))
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::ApiKey(key.id.clone(), key.hash.clone()));
        Ok(())
    }

    /// Ends a key of a workspace; false when the workspace has no such key.
    pub async fn delete_api_key(
        &mut self,
        workspace_id: &str,
        id: &str,
    ) -> Result<bool, MetadataError> {
        let row: Option<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "DELETE FROM api_keys WHERE id = $1 AND workspace_id = $2 RETURNING hash",
        )
        .bind(id)
        .bind(workspace_id)
        .fetch_optional(c)
        .await)?;
        let found = row.is_some();
        if let Some((hash,)) = row {
            self.mark(Mark::ApiKey(id.to_owned(), hash));
        }
        Ok(found)
    }

    /// Voids every credential and access token that a key of a workspace got until now; false when there is no such
    /// key.
    pub async fn revoke_api_key_credentials(
        &mut self,
        workspace_id: &str,
        id: &str,
    ) -> Result<bool, MetadataError> {
        let row: Option<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "UPDATE api_keys SET credential_generation = credential_generation + 1 \
             WHERE id = $1 AND workspace_id = $2 RETURNING hash",
        )
        .bind(id)
        .bind(workspace_id)
        .fetch_optional(c)
        .await)?;
        let found = row.is_some();
        if let Some((hash,)) = row {
            self.mark(Mark::ApiKey(id.to_owned(), hash));
        }
        Ok(found)
    }
}

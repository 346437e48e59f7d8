//! Repositories, the names they claim, and the lock that orders pushes against deletions.

use super::Metadata;
use super::database::{Connection, Transaction, on};
use super::dialect::Statement;
use super::error::{MetadataError, parse};
use super::memory::Mark;
use crate::clock::Millis;
use crate::oci::{ImmutableTags, RepositoryName};

/// A repository's row. Never given twice, so that a deleted image and its successor are different repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryId(pub(super) i64);

/// The repository that a name stands for.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Its row.
    pub id: RepositoryId,
    /// The workspace that owns it.
    pub workspace_id: String,
    /// Its own full name; the one that it was looked up by may be an alias.
    pub name: RepositoryName,
    /// The share that made the name, if that is an alias: then it can be pulled and nothing else.
    pub share_id: Option<String>,
    /// Whether it has ever had a manifest: only then it is an image.
    pub is_image: bool,
    /// Whether every workspace may pull it.
    pub is_platform: bool,
    /// Whether nothing of it may be deleted.
    pub protected: bool,
    /// Which of its tags stay where they are.
    pub immutable_tags: ImmutableTags,
}

/// How a change holds a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Beside others that add: pushes, mounts, shares, leases.
    Shared,
    /// Alone: deletions and settings.
    Exclusive,
}

#[derive(sqlx::FromRow)]
struct RepositoryRow {
    id: i64,
    workspace_id: String,
    name: String,
    image_at: Option<i64>,
    protected: i64,
    immutable_tags: Option<String>,
    visibility: String,
    share_id: Option<String>,
}

impl TryFrom<RepositoryRow> for Repository {
    type Error = MetadataError;

    fn try_from(row: RepositoryRow) -> Result<Self, MetadataError> {
        Ok(Self {
            id: RepositoryId(row.id),
            workspace_id: row.workspace_id,
            name: parse("repository name", &row.name)?,
            share_id: row.share_id,
            is_image: row.image_at.is_some(),
            is_platform: row.visibility == PLATFORM,
            protected: row.protected != 0,
            immutable_tags: match row.immutable_tags {
                None => ImmutableTags::default(),
                Some(pattern) => parse("pattern of tags", &pattern)?,
            },
        })
    }
}

/// A workspace that is about to have its first image cannot be deleted as an empty one before this change ends.
const HOLD_WORKSPACE: Statement = Statement {
    sqlite: "SELECT id FROM workspaces WHERE id = $1 AND deleted_at IS NULL",
    postgres: "SELECT id FROM workspaces WHERE id = $1 AND deleted_at IS NULL FOR SHARE",
};

/// The value of `repositories.visibility` for what every workspace may pull.
pub(super) const PLATFORM: &str = "platform";
/// The same for what its own workspace alone may pull.
pub(super) const PRIVATE: &str = "private";

const FIND: &str = "SELECT repositories.id, repositories.workspace_id, repositories.name, repositories.image_at, \
     repositories.protected, repositories.immutable_tags, repositories.visibility, names.share_id \
     FROM names JOIN repositories ON repositories.id = names.repository_id WHERE names.name = $1";

async fn find(
    connection: Connection<'_>,
    name: &RepositoryName,
) -> Result<Option<Repository>, MetadataError> {
    let row: Option<RepositoryRow> =
        on!(connection, c => sqlx::query_as(FIND).bind(name.as_str()).fetch_optional(c).await)?;
    row.map(Repository::try_from).transpose()
}

/// What is bytewise behind every name with this prefix: `0` comes after `/`.
pub(super) fn after_prefix(prefix: &str) -> String {
    format!("{prefix}0")
}

impl Metadata {
    /// The repository that holds this name.
    pub async fn repository(
        &self,
        name: &RepositoryName,
    ) -> Result<Option<Repository>, MetadataError> {
        self.remembered(
            &self.memory.repositories,
            name.clone(),
            async |reader, name| find(reader.connection(), name).await,
        )
        .await
    }

    /// The names of the images and aliases under a prefix in bytewise order, after `last`.
    pub async fn image_names(
        &self,
        prefix: &str,
        last: &str,
        limit: u32,
    ) -> Result<Vec<RepositoryName>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<(String,)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT names.name FROM names JOIN repositories ON repositories.id = names.repository_id \
             WHERE names.name > $1 AND names.name > $2 AND names.name < $3 AND repositories.image_at IS NOT NULL \
             ORDER BY names.name LIMIT $4",
        )
        .bind(last)
        .bind(format!("{prefix}/"))
        .bind(after_prefix(prefix))
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.iter()
            .map(|(name,)| parse("repository name", name))
            .collect()
    }

    /// Names that were first pushed to until `until`, became no image, and of whose blobs nothing is left; at most
    /// `limit`.
    pub async fn unused_names(
        &self,
        until: Millis,
        limit: u32,
    ) -> Result<Vec<(RepositoryId, RepositoryName)>, MetadataError> {
        let mut reader = self.read_aside().await?;
        let rows: Vec<(i64, String)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT id, name FROM repositories WHERE image_at IS NULL AND deletion_id IS NULL AND created_at <= $1 \
             AND NOT EXISTS (SELECT 1 FROM links WHERE links.repository_id = repositories.id) \
             ORDER BY created_at LIMIT $2",
        )
        .bind(until.0)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.iter()
            .map(|(id, name)| Ok((RepositoryId(*id), parse("repository name", name)?)))
            .collect()
    }
}

impl Transaction {
    /// The repository that holds this name, as this change sees it.
    pub async fn repository(
        &mut self,
        name: &RepositoryName,
    ) -> Result<Option<Repository>, MetadataError> {
        find(self.connection(), name).await
    }

    /// The repository of this name, made if there is none, locked for adding to it.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when another change took the name at the same time: try again.
    pub async fn ensure_repository(
        &mut self,
        workspace_id: &str,
        name: &RepositoryName,
        now: Millis,
    ) -> Result<Repository, MetadataError> {
        if let Some(repository) = find(self.connection(), name).await? {
            if !self.is_shared() {
                return Ok(repository);
            }
            self.lock(repository.id, Lock::Shared).await?;
            // It may have been deleted while we waited for the lock.
            return match find(self.connection(), name).await? {
                Some(still) if still.id == repository.id => Ok(still),
                _ => Err(MetadataError::Conflict(sqlx::Error::RowNotFound)),
            };
        }
        self.hold_workspace(workspace_id).await?;
        let (id,): (i64,) = on!(self.connection(), c => sqlx::query_as(
            "INSERT INTO repositories (workspace_id, name, created_at) VALUES ($1, $2, $3) RETURNING id",
        )
        .bind(workspace_id)
        .bind(name.as_str())
        .bind(now.0)
        .fetch_one(c)
        .await)?;
        on!(self.connection(), c => sqlx::query("INSERT INTO names (name, repository_id) VALUES ($1, $2)")
            .bind(name.as_str())
            .bind(id)
            .execute(c)
            .await
            .map(|_| ()))?;
        self.lock(RepositoryId(id), Lock::Shared).await?;
        self.mark(Mark::Repository(name.clone()));
        Ok(Repository {
            id: RepositoryId(id),
            workspace_id: workspace_id.to_owned(),
            name: name.clone(),
            share_id: None,
            is_image: false,
            is_platform: false,
            protected: false,
            immutable_tags: ImmutableTags::default(),
        })
    }

    pub(super) async fn hold_workspace(&mut self, workspace_id: &str) -> Result<(), MetadataError> {
        let connection = self.connection();
        let statement = HOLD_WORKSPACE.of(&connection);
        let held: Option<(String,)> = on!(connection, c => sqlx::query_as(statement)
            .bind(workspace_id)
            .fetch_optional(c)
            .await)?;
        held.map(|_| ())
            .ok_or(MetadataError::Conflict(sqlx::Error::RowNotFound))
    }

    /// Forgets a name that became no image, if there is still nothing of it. The change holds the repository.
    pub async fn forget_unused_name(
        &mut self,
        repository: RepositoryId,
        name: &RepositoryName,
    ) -> Result<bool, MetadataError> {
        // Not by conditions as above: of few rows, the planner would read the whole index of unused names for one.
        let row: Option<(Option<i64>, Option<String>, Option<String>)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT image_at, deletion_id, (SELECT MIN(digest) FROM links WHERE repository_id = $1) \
             FROM repositories WHERE id = $1",
        )
        .bind(repository.0)
        .fetch_optional(c)
        .await)?;
        if row != Some((None, None, None)) {
            return Ok(false);
        }
        on!(self.connection(), c => sqlx::query("DELETE FROM names WHERE repository_id = $1")
            .bind(repository.0)
            .execute(c)
            .await
            .map(|_| ()))?;
        self.forget_repository(repository).await?;
        self.mark(Mark::Repository(name.clone()));
        Ok(true)
    }

    /// Forgets a repository that has no name any more, nor anything in it.
    pub(super) async fn forget_repository(
        &mut self,
        repository: RepositoryId,
    ) -> Result<(), MetadataError> {
        for statement in [
            "DELETE FROM shares WHERE repository_id = $1",
            "DELETE FROM image_retention WHERE repository_id = $1",
            "DELETE FROM image_counts WHERE repository_id = $1",
            "UPDATE deletions SET repository_id = NULL WHERE repository_id = $1",
            "DELETE FROM repositories WHERE id = $1",
        ] {
            on!(self.connection(), c => sqlx::query(statement)
                .bind(repository.0)
                .execute(c)
                .await
                .map(|_| ()))?;
        }
        Ok(())
    }

    /// Holds the repository until this change ends. SQLite has one writer: there every change is alone already.
    pub async fn lock(
        &mut self,
        repository: RepositoryId,
        lock: Lock,
    ) -> Result<(), MetadataError> {
        let Connection::Postgres(connection) = self.connection() else {
            return Ok(());
        };
        let statement = match lock {
            Lock::Shared => "SELECT pg_advisory_xact_lock_shared($1)",
            Lock::Exclusive => "SELECT pg_advisory_xact_lock($1)",
        };
        sqlx::query(statement)
            .bind(repository.0)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// A repository becomes an image with its first manifest.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when its workspace was deleted in the meantime.
    pub async fn become_image(
        &mut self,
        repository: &Repository,
        now: Millis,
    ) -> Result<(), MetadataError> {
        if repository.is_image {
            return Ok(());
        }
        self.hold_workspace(&repository.workspace_id).await?;
        on!(self.connection(), c => sqlx::query(
            "UPDATE repositories SET image_at = $2 WHERE id = $1 AND image_at IS NULL",
        )
        .bind(repository.id.0)
        .bind(now.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::Repository(repository.name.clone()));
        Ok(())
    }
}

//! Shares: grants of an image to another workspace, and the aliases that they make there.

use super::Metadata;
use super::database::{Connection, Transaction, on};
use super::error::{MetadataError, parse};
use super::memory::Mark;
use super::repositories::RepositoryId;
use crate::clock::Millis;
use crate::oci::{ImageName, RepositoryName};

/// How a share stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareStatus {
    /// It waits for the target's account.
    Pending,
    /// The target may pull.
    Active,
}

impl ShareStatus {
    /// The word of the API for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
        }
    }
}

/// One side of a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The id of the workspace.
    pub workspace_id: String,
    /// Its name.
    pub workspace: String,
    /// The id of its account.
    pub account_id: String,
    /// What its repositories begin with, without the slash.
    pub prefix: String,
}

/// A share, with the names of those it is between.
#[derive(Clone, Debug)]
pub struct Share {
    /// Its id; ids are in the order in which shares were made.
    pub id: String,
    /// The repository.
    pub repository_id: RepositoryId,
    /// The full name of the repository.
    pub repository: RepositoryName,
    /// Whose it is.
    pub source: Party,
    /// Who sees it.
    pub target: Party,
    /// How it stands.
    pub status: ShareStatus,
    /// What the target calls it, without the prefix; of a pending share: what it will, unless it says otherwise.
    pub alias: ImageName,
    /// Who shared it.
    pub shared_by: String,
    /// When.
    pub created_at: Millis,
    /// When it ends unless it is accepted; none for an active one.
    pub expires_at: Option<Millis>,
    /// Whether the target has something of this name; only of pending ones.
    pub has_conflict: bool,
}

impl Share {
    /// Whether nobody can accept it any more.
    #[must_use]
    pub fn is_expired(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// A share about to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewShare<'a> {
    /// Its id.
    pub id: &'a str,
    /// The repository.
    pub repository: RepositoryId,
    /// The workspace that owns it.
    pub source_workspace_id: &'a str,
    /// The workspace that will see it.
    pub target_workspace_id: &'a str,
    /// How it stands.
    pub status: ShareStatus,
    /// What the target calls it.
    pub alias: &'a ImageName,
    /// Who shares it.
    pub actor: &'a str,
    /// When.
    pub now: Millis,
    /// When it ends unless it is accepted.
    pub expires_at: Option<Millis>,
}

/// Which end of pending shares a workspace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It may accept them.
    Incoming,
    /// It made them.
    Outgoing,
}

#[derive(sqlx::FromRow)]
struct ShareRow {
    id: String,
    repository_id: i64,
    repository: String,
    source_id: String,
    source: String,
    source_account: String,
    source_prefix: String,
    target_id: String,
    target: String,
    target_account: String,
    target_prefix: String,
    status: String,
    alias: String,
    shared_by: String,
    created_at: i64,
    expires_at: Option<i64>,
    has_conflict: i64,
}

impl TryFrom<ShareRow> for Share {
    type Error = MetadataError;

    fn try_from(row: ShareRow) -> Result<Self, MetadataError> {
        Ok(Self {
            id: row.id,
            repository_id: RepositoryId(row.repository_id),
            repository: parse("repository name", &row.repository)?,
            source: Party {
                workspace_id: row.source_id,
                workspace: row.source,
                account_id: row.source_account,
                prefix: row.source_prefix,
            },
            target: Party {
                workspace_id: row.target_id,
                workspace: row.target,
                account_id: row.target_account,
                prefix: row.target_prefix,
            },
            status: if row.status == ShareStatus::Active.as_str() {
                ShareStatus::Active
            } else {
                ShareStatus::Pending
            },
            alias: parse("image name", &row.alias)?,
            shared_by: row.shared_by,
            created_at: Millis(row.created_at),
            expires_at: row.expires_at.map(Millis),
            has_conflict: row.has_conflict != 0,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT shares.id, shares.repository_id, repositories.name AS repository, \
             source.id AS source_id, source.name AS source, source.account_id AS source_account, \
             source.prefix AS source_prefix, target.id AS target_id, target.name AS target, \
             target.account_id AS target_account, target.prefix AS target_prefix, shares.status, shares.alias, \
             shares.shared_by, shares.created_at, shares.expires_at, \
             CAST(CASE WHEN shares.status = 'pending' AND EXISTS (SELECT 1 FROM names \
               JOIN repositories held ON held.id = names.repository_id \
               WHERE names.name = target.prefix || '/' || shares.alias AND held.image_at IS NOT NULL) THEN 1 ELSE 0 END AS BIGINT) AS has_conflict \
             FROM shares JOIN repositories ON repositories.id = shares.repository_id \
             JOIN workspaces source ON source.id = shares.source_workspace_id \
             JOIN workspaces target ON target.id = shares.target_workspace_id WHERE ",
            $rest
        )
    };
}

const BY_ID: &str = select!("shares.id = $1");
const OF_IMAGE: &str = select!(
    "shares.repository_id = $1 AND shares.id > $2 AND (shares.expires_at IS NULL OR shares.expires_at > $3) \
     ORDER BY shares.id LIMIT $4"
);
const TO_WORKSPACE: &str = select!("shares.repository_id = $1 AND shares.target_workspace_id = $2");
const INCOMING: &str = select!(
    "shares.target_workspace_id = $1 AND shares.status = 'pending' AND shares.id > $2 AND shares.expires_at > $3 \
     ORDER BY shares.id LIMIT $4"
);
const OUTGOING: &str = select!(
    "shares.source_workspace_id = $1 AND shares.status = 'pending' AND shares.id > $2 AND shares.expires_at > $3 \
     ORDER BY shares.id LIMIT $4"
);

fn shares(rows: Vec<ShareRow>) -> Result<Vec<Share>, MetadataError> {
    rows.into_iter().map(Share::try_from).collect()
}

async fn of_image(
    connection: Connection<'_>,
    repository: RepositoryId,
    last: &str,
    now: Millis,
    limit: u32,
) -> Result<Vec<Share>, MetadataError> {
    let rows = on!(connection, c => sqlx::query_as(OF_IMAGE)
        .bind(repository.0)
        .bind(last)
        .bind(now.0)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
    shares(rows)
}

impl Metadata {
    /// Active and pending shares of an image, oldest first, after `last`.
    pub async fn shares_of(
        &self,
        repository: RepositoryId,
        last: &str,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<Share>, MetadataError> {
        let mut reader = self.read().await?;
        of_image(reader.connection(), repository, last, now, limit).await
    }

    /// Shares of a workspace that wait, oldest first, after `last`.
    pub async fn pending_shares(
        &self,
        workspace_id: &str,
        direction: Direction,
        last: &str,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<Share>, MetadataError> {
        let statement = match direction {
            Direction::Incoming => INCOMING,
            Direction::Outgoing => OUTGOING,
        };
        let mut reader = self.read().await?;
        let rows = on!(reader.connection(), c => sqlx::query_as(statement)
            .bind(workspace_id)
            .bind(last)
            .bind(now.0)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        shares(rows)
    }
}

impl Transaction {
    /// Active and pending shares of an image, as this change sees them.
    pub async fn shares_of(
        &mut self,
        repository: RepositoryId,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<Share>, MetadataError> {
        of_image(self.connection(), repository, "", now, limit).await
    }

    /// One share, expired ones included.
    pub async fn share(&mut self, id: &str) -> Result<Option<Share>, MetadataError> {
        let row: Option<ShareRow> = on!(self.connection(), c => sqlx::query_as(BY_ID)
            .bind(id)
            .fetch_optional(c)
            .await)?;
        row.map(Share::try_from).transpose()
    }

    /// The share of an image to a workspace, expired ones included.
    pub async fn share_to(
        &mut self,
        repository: RepositoryId,
        target_workspace_id: &str,
    ) -> Result<Option<Share>, MetadataError> {
        let row: Option<ShareRow> = on!(self.connection(), c => sqlx::query_as(TO_WORKSPACE)
            .bind(repository.0)
            .bind(target_workspace_id)
            .fetch_optional(c)
            .await)?;
        row.map(Share::try_from).transpose()
    }

    /// How many shares a workspace gives, of all its images; expired ones are none.
    pub async fn count_shares_of(
        &mut self,
        source_workspace_id: &str,
        now: Millis,
    ) -> Result<u64, MetadataError> {
        let (count,): (i64,) = on!(self.connection(), c => sqlx::query_as(
            "SELECT COUNT(*) FROM shares WHERE source_workspace_id = $1 \
             AND (expires_at IS NULL OR expires_at > $2)",
        )
        .bind(source_workspace_id)
        .bind(now.0)
        .fetch_one(c)
        .await)?;
        Ok(count.unsigned_abs())
    }

    /// Writes a share. An active one has no name yet: see [`Transaction::claim_alias`].
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when another change shared the image with this workspace at the same time.
    pub async fn insert_share(&mut self, share: &NewShare<'_>) -> Result<(), MetadataError> {
        self.hold_workspace(share.target_workspace_id).await?;
        Ok(on!(self.connection(), c => sqlx::query(
            "INSERT INTO shares (id, repository_id, source_workspace_id, target_workspace_id, status, alias, shared_by, \
             created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(share.id)
        .bind(share.repository.0)
        .bind(share.source_workspace_id)
        .bind(share.target_workspace_id)
        .bind(share.status.as_str())
        .bind(share.alias.as_str())
        .bind(share.actor)
        .bind(share.now.0)
        .bind(share.expires_at.map(|end| end.0))
        .execute(c)
        .await
        .map(|_| ()))?)
    }

    /// Makes a pending share an active one under an alias. `false` when it is not pending any more.
    pub async fn activate_share(
        &mut self,
        id: &str,
        alias: &ImageName,
    ) -> Result<bool, MetadataError> {
        let activated = on!(self.connection(), c => sqlx::query(
            "UPDATE shares SET status = 'active', alias = $2, expires_at = NULL WHERE id = $1 AND status = 'pending'",
        )
        .bind(id)
        .bind(alias.as_str())
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        Ok(activated == 1)
    }

    /// Lets a name stand for a shared repository.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when another change took the name at the same time.
    pub async fn claim_alias(
        &mut self,
        name: &RepositoryName,
        repository: RepositoryId,
        share_id: &str,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO names (name, repository_id, share_id) VALUES ($1, $2, $3)",
        )
        .bind(name.as_str())
        .bind(repository.0)
        .bind(share_id)
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::Repository(name.clone()));
        Ok(())
    }

    /// Ends a share, and its alias with it. Says whether it was there.
    pub async fn end_share(&mut self, id: &str) -> Result<bool, MetadataError> {
        let aliases: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "DELETE FROM names WHERE share_id = $1 RETURNING name",
        )
        .bind(id)
        .fetch_all(c)
        .await)?;
        for (name,) in aliases {
            self.mark(Mark::Repository(parse("repository name", &name)?));
        }
        let ended = on!(self.connection(), c => sqlx::query("DELETE FROM shares WHERE id = $1")
            .bind(id)
            .execute(c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(ended == 1)
    }

    /// Ends every share that a workspace received.
    pub async fn end_shares_to(&mut self, target_workspace_id: &str) -> Result<(), MetadataError> {
        let ids: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT id FROM shares WHERE target_workspace_id = $1",
        )
        .bind(target_workspace_id)
        .fetch_all(c)
        .await)?;
        for (id,) in ids {
            self.end_share(&id).await?;
        }
        Ok(())
    }

    /// Forgets pending shares that expired before `before`, at most `limit`; how many.
    pub async fn forget_expired_shares(
        &mut self,
        before: Millis,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        let statement = "DELETE FROM shares WHERE id IN \
             (SELECT id FROM shares WHERE status = 'pending' AND expires_at <= $1 LIMIT $2)";
        self.delete_ended(statement, before, limit).await
    }
}

//! Images as lists show them: a page of names, and then one statement for all that is to be said of them.

use super::Metadata;
use super::database::{Transaction, on};
use super::dialect::{Statement, json_list};
use super::error::{MetadataError, parse, to_u64};
use super::memory::Mark;
use super::repositories::{PLATFORM, PRIVATE, Repository, RepositoryId, after_prefix};
use crate::clock::Millis;
use crate::oci::{ImmutableTags, RepositoryName};

/// Which names of a workspace are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFilter {
    /// Its images and its aliases.
    Every,
    /// What was shared with it.
    SharedIn,
    /// What it shares, or offers to.
    SharedOut,
    /// Its images that it shares with nobody.
    NotShared,
}

/// A page of names: those that begin with `start`, after `last`.
#[derive(Clone, Copy, Debug)]
pub struct NamePage<'a> {
    /// What the names begin with.
    pub start: &'a str,
    /// After which name.
    pub last: &'a str,
    /// How many at most.
    pub limit: u32,
}

impl NamePage<'_> {
    /// What is bytewise behind every name that begins so: all characters of names come before it.
    fn end(&self) -> String {
        format!("{}\u{7f}", self.start)
    }
}

/// What a list says of an image.
#[derive(Clone, Debug)]
pub struct ImageRow {
    /// The name it was asked for by: its own, or an alias.
    pub name: RepositoryName,
    /// Its repository.
    pub repository: RepositoryId,
    /// The id of the workspace that owns it.
    pub owner_id: String,
    /// The name of that workspace.
    pub owner: String,
    /// The id of the account of that.
    pub owner_account_id: String,
    /// Whether every workspace may pull it.
    pub is_platform: bool,
    /// Whether nothing of it may be deleted.
    pub protected: bool,
    /// Which of its tags stay where they are.
    pub immutable_tags: ImmutableTags,
    /// When its first manifest came.
    pub created_at: Millis,
    /// Its tags, as counted last.
    pub tags: u64,
    /// What it weighs, as counted last, in bytes.
    pub size_bytes: u64,
    /// When a manifest was pushed last, as counted last.
    pub pushed_at: Option<Millis>,
    /// When it was pulled last.
    pub last_pulled_at: Option<Millis>,
    /// Active and pending shares, to its owner.
    pub shares: u64,
    /// Leases that have not ended: to its owner all of them, to others their own.
    pub leases: u64,
}

/// What is decided about an image, as it stands after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSettings {
    /// Whether nothing of it may be deleted.
    pub protected: bool,
    /// Which of its tags stay where they are.
    pub immutable_tags: ImmutableTags,
    /// Whether every workspace may pull it.
    pub is_platform: bool,
}

const EVERY: &str = "SELECT names.name FROM names JOIN repositories ON repositories.id = names.repository_id \
     WHERE names.name > $1 AND names.name >= $2 AND names.name < $3 AND repositories.image_at IS NOT NULL \
     ORDER BY names.name LIMIT $4";
/// From the shares, which are few beside the names.
const SHARED_IN: &str = "SELECT names.name FROM shares JOIN names ON names.share_id = shares.id \
     WHERE shares.target_workspace_id = $5 AND shares.status = 'active' \
     AND names.name > $1 AND names.name >= $2 AND names.name < $3 ORDER BY names.name LIMIT $4";
const SHARED_OUT: &str = "SELECT DISTINCT repositories.name FROM shares \
     JOIN repositories ON repositories.id = shares.repository_id \
     WHERE shares.source_workspace_id = $5 AND (shares.status = 'active' OR shares.expires_at > $6) \
     AND repositories.name > $1 AND repositories.name >= $2 AND repositories.name < $3 \
     AND repositories.deletion_id IS NULL ORDER BY repositories.name LIMIT $4";
/// What is passed over is shared, and shares are bounded. SQLite would take an index for `share_id IS NULL`, which holds of
/// nearly all names.
const NOT_SHARED: &str = "SELECT names.name FROM names JOIN repositories ON repositories.id = names.repository_id \
     WHERE names.name > $1 AND names.name >= $2 AND names.name < $3 AND repositories.image_at IS NOT NULL \
     AND COALESCE(names.share_id, '') = '' AND NOT EXISTS (SELECT 1 FROM shares WHERE shares.repository_id = names.repository_id \
       AND (shares.status = 'active' OR shares.expires_at > $5)) ORDER BY names.name LIMIT $4";
const PLATFORM_NAMES: &str = "SELECT name FROM repositories WHERE visibility = 'platform' AND image_at IS NOT NULL \
     AND deletion_id IS NULL AND name > $1 AND name >= $2 AND name < $3 AND (name < $5 OR name >= $6) \
     ORDER BY name LIMIT $4";

/// Only what was never counted, an image of a second ago, is counted here.
macro_rules! rows {
    ($among:literal) => {
        concat!(
            "SELECT names.name, repositories.id, owners.id AS owner_id, owners.name AS owner, \
             owners.account_id AS owner_account_id, repositories.visibility, repositories.protected, \
             repositories.immutable_tags, repositories.image_at, \
             COALESCE(image_counts.tags, \
               (SELECT COUNT(*) FROM tags WHERE tags.repository_id = repositories.id)) AS tags, \
             COALESCE(image_counts.size_bytes, \
               (SELECT CAST(COALESCE(SUM(blobs.size_bytes), 0) AS BIGINT) FROM links \
                 JOIN blobs ON blobs.digest = links.digest WHERE links.repository_id = repositories.id \
                 AND links.deletion_id IS NULL AND links.unneeded_since IS NULL) \
               + (SELECT CAST(COALESCE(SUM(manifests.size_bytes), 0) AS BIGINT) FROM manifests \
                 WHERE manifests.repository_id = repositories.id AND manifests.deletion_id IS NULL)) AS size_bytes, \
             image_counts.pushed_at, pulls.last_pulled_at, \
             (SELECT COUNT(*) FROM shares WHERE shares.repository_id = repositories.id AND owners.id = $2 \
               AND (shares.status = 'active' OR shares.expires_at > $3)) AS shares, \
             (SELECT COUNT(*) FROM leases WHERE leases.repository_id = repositories.id AND leases.expires_at > $3 \
               AND (owners.id = $2 OR leases.workspace_id = $2)) AS leases \
             FROM names JOIN repositories ON repositories.id = names.repository_id \
             JOIN workspaces owners ON owners.id = repositories.workspace_id \
             LEFT JOIN image_counts ON image_counts.repository_id = repositories.id \
             LEFT JOIN pulls ON pulls.repository_id = repositories.id AND pulls.tag = '' \
             WHERE repositories.image_at IS NOT NULL AND names.name ",
            $among
        )
    };
}

/// An array in PostgreSQL: a list that is joined with would be thought longer than it is, and all names read for it.
const ROWS: Statement = Statement {
    sqlite: rows!("IN (SELECT value FROM json_each($1))"),
    postgres: rows!("= ANY (ARRAY(SELECT json_array_elements_text($1::json)))"),
};

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    id: i64,
    owner_id: String,
    owner: String,
    owner_account_id: String,
    visibility: String,
    protected: i64,
    immutable_tags: Option<String>,
    image_at: i64,
    tags: Option<i64>,
    size_bytes: Option<i64>,
    pushed_at: Option<i64>,
    last_pulled_at: Option<i64>,
    shares: i64,
    leases: i64,
}

impl TryFrom<Row> for ImageRow {
    type Error = MetadataError;

    fn try_from(row: Row) -> Result<Self, MetadataError> {
        Ok(Self {
            name: parse("repository name", &row.name)?,
            repository: RepositoryId(row.id),
            owner_id: row.owner_id,
            owner: row.owner,
            owner_account_id: row.owner_account_id,
            is_platform: row.visibility == PLATFORM,
            protected: row.protected != 0,
            immutable_tags: match row.immutable_tags {
                None => ImmutableTags::default(),
                Some(pattern) => parse("pattern of tags", &pattern)?,
            },
            created_at: Millis(row.image_at),
            tags: row.tags.unwrap_or_default().unsigned_abs(),
            size_bytes: to_u64("size of an image", row.size_bytes.unwrap_or_default())?,
            pushed_at: row.pushed_at.map(Millis),
            last_pulled_at: row.last_pulled_at.map(Millis),
            shares: row.shares.unsigned_abs(),
            leases: row.leases.unsigned_abs(),
        })
    }
}

fn names(rows: &[(String,)]) -> Result<Vec<RepositoryName>, MetadataError> {
    rows.iter()
        .map(|(name,)| parse("repository name", name))
        .collect()
}

impl Metadata {
    /// Names under the prefix of a workspace in bytewise order, as far as the filter lets them through.
    pub async fn names_of(
        &self,
        workspace_id: &str,
        filter: ImageFilter,
        page: &NamePage<'_>,
        now: Millis,
    ) -> Result<Vec<RepositoryName>, MetadataError> {
        let statement = match filter {
            ImageFilter::Every => EVERY,
            ImageFilter::SharedIn => SHARED_IN,
            ImageFilter::SharedOut => SHARED_OUT,
            ImageFilter::NotShared => NOT_SHARED,
        };
        let mut reader = self.read().await?;
        let rows: Vec<(String,)> = on!(reader.connection(), c => {
            let query = sqlx::query_as(statement)
                .bind(page.last)
                .bind(page.start)
                .bind(page.end())
                .bind(i64::from(page.limit));
            let query = match filter {
                ImageFilter::Every => query,
                ImageFilter::SharedIn => query.bind(workspace_id),
                ImageFilter::SharedOut => query.bind(workspace_id).bind(now.0),
                ImageFilter::NotShared => query.bind(now.0),
            };
            query.fetch_all(c).await
        })?;
        names(&rows)
    }

    /// Names of images that every workspace may pull, in bytewise order, but for those under `own_prefix`.
    pub async fn platform_names(
        &self,
        own_prefix: &str,
        page: &NamePage<'_>,
    ) -> Result<Vec<RepositoryName>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<(String,)> = on!(reader.connection(), c => sqlx::query_as(PLATFORM_NAMES)
            .bind(page.last)
            .bind(page.start)
            .bind(page.end())
            .bind(i64::from(page.limit))
            .bind(format!("{own_prefix}/"))
            .bind(after_prefix(own_prefix))
            .fetch_all(c)
            .await)?;
        names(&rows)
    }

    /// What is to be said of images to a workspace, in no order; those that are gone are left out.
    pub async fn image_rows(
        &self,
        names: &[RepositoryName],
        workspace_id: &str,
        now: Millis,
    ) -> Result<Vec<ImageRow>, MetadataError> {
        let mut reader = self.read().await?;
        let connection = reader.connection();
        let statement = ROWS.of(&connection);
        let rows: Vec<Row> = on!(connection, c => sqlx::query_as(statement)
            .bind(json_list(names))
            .bind(workspace_id)
            .bind(now.0)
            .fetch_all(c)
            .await)?;
        rows.into_iter().map(ImageRow::try_from).collect()
    }
}

impl Transaction {
    /// Writes down what was decided about an image.
    pub async fn set_image(
        &mut self,
        repository: &Repository,
        settings: &ImageSettings,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "UPDATE repositories SET protected = $2, immutable_tags = $3, visibility = $4 WHERE id = $1",
        )
        .bind(repository.id.0)
        .bind(i64::from(settings.protected))
        .bind(settings.immutable_tags.pattern())
        .bind(if settings.is_platform { PLATFORM } else { PRIVATE })
        .execute(c)
        .await
        .map(|_| ()))?;
        // Its aliases are remembered with the same decisions.
        let names: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT name FROM names WHERE repository_id = $1",
        )
        .bind(repository.id.0)
        .fetch_all(c)
        .await)?;
        for (name,) in names {
            self.mark(Mark::Repository(parse("repository name", &name)?));
        }
        Ok(())
    }
}

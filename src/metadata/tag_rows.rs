//! Tags as lists show them, and what they pointed to before.

use berth_storage::Digest;

use super::Metadata;
use super::database::on;
use super::error::{MetadataError, parse, to_u64};
use super::repositories::RepositoryId;
use crate::clock::Millis;
use crate::oci::{MediaType, Tag};

/// What is to be said of a manifest.
#[derive(Clone, Debug)]
pub struct ManifestFacts {
    /// Its address.
    pub digest: Digest,
    /// What it was pushed as.
    pub media_type: MediaType,
    /// What it weighs with all that it needs, in bytes.
    pub size_bytes: u64,
    /// What it runs on, as far as it is known.
    pub platforms: Vec<String>,
}

/// What a list says of a tag.
#[derive(Clone, Debug)]
pub struct TagRow {
    /// The tag.
    pub name: Tag,
    /// What it points to.
    pub manifest: ManifestFacts,
    /// When it was made.
    pub created_at: Millis,
    /// When it was last pointed anywhere.
    pub updated_at: Millis,
    /// When it was pulled last.
    pub last_pulled_at: Option<Millis>,
    /// Leases on what it points to that have not ended; counted up to a thousand.
    pub leases: u64,
}

/// What a tag points to, or pointed to.
#[derive(Clone, Debug)]
pub struct TagTarget {
    /// The row in the history; none for where it points now.
    pub id: Option<i64>,
    /// What it is.
    pub digest: Digest,
    /// Who pointed it there.
    pub set_by: String,
    /// When.
    pub set_at: Millis,
    /// Who pointed it elsewhere or deleted it.
    pub ended_by: Option<String>,
    /// When.
    pub ended_at: Option<Millis>,
    /// The deletion that can bring it back, if it was deleted.
    pub deletion_id: Option<String>,
}

/// Which tags of a repository a page has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagPage {
    /// The one of this name.
    Only(Tag),
    /// In bytewise order, after this name.
    ByName(String),
    /// Newest first, after this time and name.
    Newest(Option<(Millis, String)>),
}

/// What is said of a manifest. Of the children of an index, those that came after it are looked at up to a bound.
macro_rules! facts {
    () => {
        "manifests.digest, manifests.media_type, manifests.size_bytes, manifests.total_bytes, manifests.platforms, \
         (SELECT CAST(SUM(COALESCE(child.total_bytes, child.size_bytes)) AS BIGINT) \
           FROM (SELECT manifest_children.child_digest FROM manifest_children \
             WHERE manifest_children.repository_id = manifests.repository_id \
             AND manifest_children.parent_digest = manifests.digest LIMIT 256) named \
           JOIN manifests child ON child.repository_id = manifests.repository_id \
           AND child.digest = named.child_digest WHERE child.deletion_id IS NULL) AS children_bytes"
    };
}

/// Tags come first, in the order of the page, and stop where it is full: SQLite joins in the order that it is told by
/// CROSS JOIN. Leases are counted up to a bound: a page of tags that all point to one manifest is no more work.
macro_rules! tags {
    ($which:literal) => {
        concat!(
            "SELECT tags.name, tags.created_at, tags.updated_at, pulls.last_pulled_at, \
             (SELECT COUNT(*) FROM (SELECT leases.holder FROM leases WHERE leases.repository_id = tags.repository_id \
               AND leases.digest = tags.digest AND leases.expires_at > $2 \
               AND (CAST($3 AS TEXT) IS NULL OR leases.workspace_id = $3) LIMIT 1000) counted) AS leases, ",
            facts!(),
            " FROM tags CROSS JOIN manifests \
             LEFT JOIN pulls ON pulls.repository_id = tags.repository_id AND pulls.tag = tags.name \
             WHERE manifests.repository_id = tags.repository_id AND manifests.digest = tags.digest \
             AND tags.repository_id = $1 AND ",
            $which
        )
    };
}

const ONLY: &str = tags!("tags.name = $4");
const BY_NAME: &str = tags!("tags.name > $4 ORDER BY tags.name LIMIT $5");
const NEWEST: &str = tags!(
    "(tags.updated_at, tags.name) < ($4, $5) ORDER BY tags.updated_at DESC, tags.name DESC LIMIT $6"
);
const FACTS: &str = concat!(
    "SELECT ",
    facts!(),
    " FROM manifests WHERE manifests.repository_id = $1 AND manifests.digest = $2 AND manifests.deletion_id IS NULL"
);

#[derive(sqlx::FromRow)]
struct FactsRow {
    digest: String,
    media_type: String,
    size_bytes: i64,
    total_bytes: Option<i64>,
    platforms: Option<String>,
    children_bytes: Option<i64>,
}

impl TryFrom<FactsRow> for ManifestFacts {
    type Error = MetadataError;

    fn try_from(row: FactsRow) -> Result<Self, MetadataError> {
        let at_push = row.total_bytes.unwrap_or(row.size_bytes);
        let now = row.children_bytes.unwrap_or_default();
        let now = row.size_bytes.saturating_add(now);
        Ok(Self {
            digest: parse("digest", &row.digest)?,
            media_type: parse("media type", &row.media_type)?,
            size_bytes: to_u64("manifest size", at_push.max(now))?,
            platforms: match row.platforms {
                None => Vec::new(),
                Some(json) => serde_json::from_str(&json).map_err(|_| MetadataError::Corrupt {
                    what: "list of platforms",
                    value: json,
                })?,
            },
        })
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    created_at: i64,
    updated_at: i64,
    last_pulled_at: Option<i64>,
    leases: i64,
    #[sqlx(flatten)]
    facts: FactsRow,
}

impl TryFrom<Row> for TagRow {
    type Error = MetadataError;

    fn try_from(row: Row) -> Result<Self, MetadataError> {
        Ok(Self {
            name: parse("tag", &row.name)?,
            manifest: row.facts.try_into()?,
            created_at: Millis(row.created_at),
            updated_at: Millis(row.updated_at),
            last_pulled_at: row.last_pulled_at.map(Millis),
            leases: row.leases.unsigned_abs(),
        })
    }
}

#[derive(sqlx::FromRow)]
struct TargetRow {
    id: Option<i64>,
    digest: String,
    set_by: String,
    set_at: i64,
    ended_by: Option<String>,
    ended_at: Option<i64>,
    deletion_id: Option<String>,
}

impl TryFrom<TargetRow> for TagTarget {
    type Error = MetadataError;

    fn try_from(row: TargetRow) -> Result<Self, MetadataError> {
        Ok(Self {
            id: row.id,
            digest: parse("digest", &row.digest)?,
            set_by: row.set_by,
            set_at: Millis(row.set_at),
            ended_by: row.ended_by,
            ended_at: row.ended_at.map(Millis),
            deletion_id: row.deletion_id,
        })
    }
}

impl Metadata {
    /// Tags of a repository. Of the leases on them those of one workspace are counted, where one is given.
    pub async fn tag_rows(
        &self,
        repository: RepositoryId,
        page: &TagPage,
        leases_of: Option<&str>,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<TagRow>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<Row> = on!(reader.connection(), c => {
            let statement = match page {
                TagPage::Only(_) => ONLY,
                TagPage::ByName(_) => BY_NAME,
                TagPage::Newest(_) => NEWEST,
            };
            let query = sqlx::query_as(statement).bind(repository.0).bind(now.0).bind(leases_of);
            let query = match page {
                TagPage::Only(tag) => query.bind(tag.as_str()),
                TagPage::ByName(last) => query.bind(last.as_str()).bind(i64::from(limit)),
                TagPage::Newest(last) => {
                    let (at, name) = last
                        .as_ref()
                        .map_or((i64::MAX, ""), |(at, name)| (at.0, name.as_str()));
                    query.bind(at).bind(name).bind(i64::from(limit))
                }
            };
            query.fetch_all(c).await
        })?;
        rows.into_iter().map(TagRow::try_from).collect()
    }

    /// What is to be said of a manifest of a repository.
    pub async fn manifest_facts(
        &self,
        repository: RepositoryId,
        digest: &Digest,
    ) -> Result<Option<ManifestFacts>, MetadataError> {
        let mut reader = self.read().await?;
        let row: Option<FactsRow> = on!(reader.connection(), c => sqlx::query_as(FACTS)
            .bind(repository.0)
            .bind(digest.to_string())
            .fetch_optional(c)
            .await)?;
        row.map(ManifestFacts::try_from).transpose()
    }

    /// Where a tag points.
    pub async fn tag_target(
        &self,
        repository: RepositoryId,
        tag: &Tag,
    ) -> Result<Option<TagTarget>, MetadataError> {
        let mut reader = self.read().await?;
        let row: Option<TargetRow> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT CAST(NULL AS BIGINT) AS id, digest, updated_by AS set_by, updated_at AS set_at, \
             CAST(NULL AS TEXT) AS ended_by, CAST(NULL AS BIGINT) AS ended_at, CAST(NULL AS TEXT) AS deletion_id \
             FROM tags WHERE repository_id = $1 AND name = $2",
        )
        .bind(repository.0)
        .bind(tag.as_str())
        .fetch_optional(c)
        .await)?;
        row.map(TagTarget::try_from).transpose()
    }

    /// Where a tag pointed before, newest first, after the row `last`.
    pub async fn tag_history(
        &self,
        repository: RepositoryId,
        tag: &Tag,
        last: Option<i64>,
        limit: u32,
    ) -> Result<Vec<TagTarget>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<TargetRow> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT id, digest, set_by, set_at, ended_by, ended_at, deletion_id FROM tag_history \
             WHERE repository_id = $1 AND name = $2 AND id < $3 ORDER BY id DESC LIMIT $4",
        )
        .bind(repository.0)
        .bind(tag.as_str())
        .bind(last.unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.into_iter().map(TagTarget::try_from).collect()
    }
}

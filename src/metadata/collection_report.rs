//! What waits for the collector, and why something is kept.

use berth_storage::Digest;

use super::Metadata;
use super::database::{Reader, on};
use super::error::{MetadataError, parse, to_u64};
use crate::clock::Millis;
use crate::oci::RepositoryName;

/// Rows that wait under the time of their last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Sessions, since they were used last.
    Uploads,
    /// Workspaces under retention, from when they are due.
    Retention,
    /// Referrers, since they may be without their subject.
    Referrers,
    /// Deletions, from when they are due.
    Deletions,
    /// Links, since nobody needs them, or they are condemned.
    Links,
    /// Objects, from when they are due.
    Objects,
}

/// How long a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLength {
    /// How many wait.
    pub length: u64,
    /// What they weigh, in bytes, as far as that is known.
    pub bytes: u64,
    /// How many of them are due.
    pub due: u64,
    /// What those weigh.
    pub due_bytes: u64,
    /// The earliest time of all.
    pub first: Option<Millis>,
}

/// Something that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRow {
    /// Its id, key or digest.
    pub what: String,
    /// The repository that it belongs to, if it does.
    pub repository: Option<String>,
    /// The time under which it waits.
    pub at: Millis,
    /// What it weighs, in bytes.
    pub bytes: u64,
    /// Whether it has had its first step already.
    pub is_condemned: bool,
}

/// A digest in a repository, as the collector sees it.
#[derive(Clone, Debug)]
pub struct KeptRow {
    /// The repository.
    pub repository: RepositoryName,
    /// The id of its workspace.
    pub workspace_id: String,
    /// The name of its workspace.
    pub workspace: String,
    /// Until when the deletion can be undone that hides it or its repository.
    pub restorable_until: Option<Millis>,
    /// Since when no manifest needs it, of a blob.
    pub unneeded_since: Option<Millis>,
    /// Since when it is condemned, of a blob.
    pub condemned_at: Option<Millis>,
    /// Since when it may be without its subject, of a referrer.
    pub dangling_since: Option<Millis>,
    /// Since when its bytes are known to be wrong or missing, of a blob.
    pub damaged_at: Option<Millis>,
    /// What names it: some of each kind.
    pub holders: Vec<(Holding, String)>,
}

/// How something holds on to a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// A manifest needs the blob.
    Manifest,
    /// A deleted manifest needs the blob.
    DeletedManifest,
    /// A tag points to the manifest.
    Tag,
    /// Somebody leases the manifest.
    Lease,
    /// An index has it as a child.
    Index,
    /// A deleted index has it as a child.
    DeletedIndex,
    /// A tag pointed to it a short while ago.
    FormerTag,
    /// A deleted tag points to it.
    DeletedTag,
    /// It refers to something that is here.
    Subject,
}

macro_rules! length {
    ($at:literal, $bytes:literal, $from:literal) => {
        concat!(
            "SELECT COUNT(*), CAST(COALESCE(SUM(",
            $bytes,
            "), 0) AS BIGINT), COUNT(CASE WHEN ",
            $at,
            " <= $1 THEN 1 END), CAST(COALESCE(SUM(CASE WHEN ",
            $at,
            " <= $1 THEN ",
            $bytes,
            " END), 0) AS BIGINT), MIN(",
            $at,
            ") FROM ",
            $from
        )
    };
}

macro_rules! first {
    ($what:literal, $repository:literal, $at:literal, $bytes:literal, $condemned:literal, $from:literal) => {
        concat!(
            "SELECT ",
            $what,
            ", ",
            $repository,
            ", ",
            $at,
            ", CAST(COALESCE(",
            $bytes,
            ", 0) AS BIGINT), CAST(",
            $condemned,
            " AS BIGINT) FROM ",
            $from,
            " ORDER BY ",
            $at,
            " LIMIT $1"
        )
    };
}

impl Waiting {
    fn length(self) -> &'static str {
        match self {
            Self::Uploads => length!("touched_at", "offset_bytes", "uploads WHERE state = 'open'"),
            Self::Retention => length!("due_at", "0", "retention_runs"),
            Self::Referrers => length!(
                "dangling_since",
                "size_bytes",
                "manifests WHERE dangling_since IS NOT NULL AND deletion_id IS NULL"
            ),
            Self::Deletions => length!("due_at", "bytes", "deletions WHERE purged_at IS NULL"),
            Self::Links => length!(
                "COALESCE(condemned_at, unneeded_since)",
                "blobs.size_bytes",
                "links JOIN blobs ON blobs.digest = links.digest \
                 WHERE unneeded_since IS NOT NULL AND parked = 0 AND deletion_id IS NULL"
            ),
            Self::Objects => length!("due_at", "size_bytes", "objects WHERE state = 'doomed'"),
        }
    }

    fn first(self) -> &'static str {
        match self {
            Self::Uploads => first!(
                "id",
                "repository",
                "touched_at",
                "offset_bytes",
                "0",
                "uploads WHERE state = 'open'"
            ),
            Self::Retention => first!(
                "workspaces.name",
                "NULL",
                "due_at",
                "0",
                "0",
                "retention_runs JOIN workspaces ON workspaces.id = retention_runs.workspace_id"
            ),
            Self::Referrers => first!(
                "digest",
                "repositories.name",
                "dangling_since",
                "size_bytes",
                "0",
                "manifests JOIN repositories ON repositories.id = manifests.repository_id \
                 WHERE dangling_since IS NOT NULL AND manifests.deletion_id IS NULL"
            ),
            Self::Deletions => first!(
                "id",
                "repository",
                "due_at",
                "bytes",
                "0",
                "deletions WHERE purged_at IS NULL"
            ),
            Self::Links => first!(
                "links.digest",
                "repositories.name",
                "COALESCE(condemned_at, unneeded_since)",
                "blobs.size_bytes",
                "CASE WHEN condemned_at IS NULL THEN 0 ELSE 1 END",
                "links JOIN blobs ON blobs.digest = links.digest JOIN repositories ON repositories.id = links.repository_id \
                 WHERE unneeded_since IS NOT NULL AND parked = 0 AND links.deletion_id IS NULL"
            ),
            Self::Objects => first!(
                "key",
                "NULL",
                "due_at",
                "size_bytes",
                "0",
                "objects WHERE state = 'doomed'"
            ),
        }
    }
}

#[derive(sqlx::FromRow)]
struct KeptAs {
    repository_id: i64,
    repository: String,
    workspace_id: String,
    workspace: String,
    restorable_until: Option<i64>,
    unneeded_since: Option<i64>,
    condemned_at: Option<i64>,
    dangling_since: Option<i64>,
    damaged_at: Option<i64>,
}

/// The times by which it is judged what holds on to a digest.
#[derive(Clone, Copy, Debug)]
pub struct HoldTimes {
    /// Leases that end later hold.
    pub now: Millis,
    /// Tags that left later hold.
    pub history_since: Millis,
    /// The same, where the repository is shared.
    pub shared_since: Millis,
}

/// The deletion that hides the row itself, else the one that hides its repository.
macro_rules! kept {
    ($table:literal, $unneeded:literal, $condemned:literal, $dangling:literal, $damaged:literal) => {
        concat!(
            "SELECT repositories.id AS repository_id, repositories.name AS repository, workspaces.id AS workspace_id, \
             workspaces.name AS workspace, deletions.restorable_until, ",
            $unneeded,
            " AS unneeded_since, ",
            $condemned,
            " AS condemned_at, ",
            $dangling,
            " AS dangling_since, ",
            $damaged,
            " AS damaged_at FROM ",
            $table,
            " place JOIN repositories ON repositories.id = place.repository_id \
             JOIN workspaces ON workspaces.id = repositories.workspace_id \
             LEFT JOIN deletions ON deletions.id = COALESCE(place.deletion_id, repositories.deletion_id) \
             WHERE place.digest = $1 AND ($2 = '' OR workspaces.id = $2) AND repositories.name > $3 \
             ORDER BY repositories.name, repositories.id LIMIT $4"
        )
    };
}

const LINKS: &str = kept!(
    "links",
    "place.unneeded_since",
    "place.condemned_at",
    "CAST(NULL AS BIGINT)",
    "(SELECT damaged_at FROM blobs WHERE blobs.digest = place.digest)"
);
const MANIFESTS: &str = kept!(
    "manifests",
    "CAST(NULL AS BIGINT)",
    "CAST(NULL AS BIGINT)",
    "place.dangling_since",
    "CAST(NULL AS BIGINT)"
);

/// What holds a blob, and what holds a manifest.
const HOLD_BLOBS: [(Holding, &str); 2] = [
    (
        Holding::Manifest,
        "SELECT manifest_digest FROM manifest_blobs JOIN manifests \
         ON manifests.repository_id = manifest_blobs.repository_id AND manifests.digest = manifest_digest \
         WHERE manifest_blobs.repository_id = $1 AND blob_digest = $2 AND deletion_id IS NULL LIMIT $3",
    ),
    (
        Holding::DeletedManifest,
        "SELECT manifest_digest FROM manifest_blobs JOIN manifests \
         ON manifests.repository_id = manifest_blobs.repository_id AND manifests.digest = manifest_digest \
         WHERE manifest_blobs.repository_id = $1 AND blob_digest = $2 AND deletion_id IS NOT NULL LIMIT $3",
    ),
];
const HOLD_MANIFESTS: [(Holding, &str); 7] = [
    (
        Holding::Tag,
        "SELECT name FROM tags WHERE repository_id = $1 AND digest = $2 ORDER BY name LIMIT $3",
    ),
    (
        Holding::Lease,
        "SELECT workspaces.name || ' ' || holder FROM leases JOIN workspaces ON workspaces.id = leases.workspace_id \
         WHERE repository_id = $1 AND digest = $2 AND expires_at > $4 LIMIT $3",
    ),
    (
        Holding::Index,
        "SELECT parent_digest FROM manifest_children JOIN manifests \
         ON manifests.repository_id = manifest_children.repository_id AND manifests.digest = parent_digest \
         WHERE manifest_children.repository_id = $1 AND child_digest = $2 AND deletion_id IS NULL LIMIT $3",
    ),
    (
        Holding::DeletedIndex,
        "SELECT parent_digest FROM manifest_children JOIN manifests \
         ON manifests.repository_id = manifest_children.repository_id AND manifests.digest = parent_digest \
         WHERE manifest_children.repository_id = $1 AND child_digest = $2 AND deletion_id IS NOT NULL LIMIT $3",
    ),
    (
        Holding::FormerTag,
        "SELECT DISTINCT name FROM tag_history WHERE repository_id = $1 AND digest = $2 AND deletion_id IS NULL \
         AND (ended_at > $5 OR (ended_at > $6 AND EXISTS (SELECT 1 FROM shares \
           WHERE shares.repository_id = $1 AND (expires_at IS NULL OR expires_at > $4)))) LIMIT $3",
    ),
    (
        Holding::DeletedTag,
        "SELECT DISTINCT name FROM tag_history WHERE repository_id = $1 AND digest = $2 AND deletion_id IS NOT NULL LIMIT $3",
    ),
    (
        Holding::Subject,
        "SELECT subject.digest FROM manifests referrer JOIN manifests subject \
         ON subject.repository_id = $1 AND subject.digest = referrer.subject \
         WHERE referrer.repository_id = $1 AND referrer.digest = $2 AND subject.deletion_id IS NULL LIMIT $3",
    ),
];

/// Repositories that are read at once.
const PAGE: i64 = 500;
/// How often: what is behind a hundred thousand repositories that a caller may not see is not looked for.
const PAGES: u32 = 200;
/// Holders of one kind that are named.
const HOLDERS: i64 = 5;

impl Metadata {
    /// How much waits in a queue, and what of it has waited since `due` or longer.
    pub async fn queue_length(
        &self,
        queue: Waiting,
        due: Millis,
    ) -> Result<QueueLength, MetadataError> {
        let mut reader = self.read_aside().await?;
        let (length, bytes, due, due_bytes, first): (i64, i64, i64, i64, Option<i64>) = on!(reader.connection(), c => sqlx::query_as(queue.length())
            .bind(due.0)
            .fetch_one(c)
            .await)?;
        Ok(QueueLength {
            length: length.unsigned_abs(),
            bytes: to_u64("size of a queue", bytes)?,
            due: due.unsigned_abs(),
            due_bytes: to_u64("size of a queue", due_bytes)?,
            first: first.map(Millis),
        })
    }

    /// What waits longest in a queue.
    pub async fn waiting_first(
        &self,
        queue: Waiting,
        limit: u32,
    ) -> Result<Vec<WaitingRow>, MetadataError> {
        let mut reader = self.read_aside().await?;
        let rows: Vec<(String, Option<String>, i64, i64, i64)> = on!(reader.connection(), c => sqlx::query_as(queue.first())
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        rows.into_iter()
            .map(|(what, repository, at, bytes, condemned)| {
                Ok(WaitingRow {
                    what,
                    repository,
                    at: Millis(at),
                    bytes: to_u64("size of what waits", bytes)?,
                    is_condemned: condemned != 0,
                })
            })
            .collect()
    }

    /// The repositories that have a digest as a blob and as a manifest: of one workspace or of all, those that `shows`
    /// lets through, by their names, at most `limit` of each.
    pub async fn kept_places(
        &self,
        digest: &Digest,
        workspace_id: Option<&str>,
        shows: impl Fn(&RepositoryName) -> bool,
        times: &HoldTimes,
        limit: usize,
    ) -> Result<(Vec<KeptRow>, Vec<KeptRow>), MetadataError> {
        let mut reader = self.read_aside().await?;
        let mut found = Vec::new();
        for (statement, holders) in [(LINKS, &HOLD_BLOBS[..]), (MANIFESTS, &HOLD_MANIFESTS[..])] {
            let mut places = Vec::new();
            let mut last = String::new();
            for _ in 0..PAGES {
                let rows: Vec<KeptAs> = on!(reader.connection(), c => sqlx::query_as(statement)
                    .bind(digest.to_string())
                    .bind(workspace_id.unwrap_or_default())
                    .bind(&last)
                    .bind(PAGE)
                    .fetch_all(c)
                    .await)?;
                let Some(end) = rows.last() else { break };
                last.clone_from(&end.repository);
                for row in rows {
                    let repository = parse("repository name", &row.repository)?;
                    if places.len() < limit && shows(&repository) {
                        let holders = holders_of(&mut reader, &row, digest, holders, times).await?;
                        places.push(row.place(repository, holders));
                    }
                }
                if places.len() >= limit {
                    break;
                }
            }
            found.push(places);
        }
        let manifests = found.pop().unwrap_or_default();
        Ok((found.pop().unwrap_or_default(), manifests))
    }
}

impl KeptAs {
    fn place(self, repository: RepositoryName, holders: Vec<(Holding, String)>) -> KeptRow {
        KeptRow {
            repository,
            workspace_id: self.workspace_id,
            workspace: self.workspace,
            restorable_until: self.restorable_until.map(Millis),
            unneeded_since: self.unneeded_since.map(Millis),
            condemned_at: self.condemned_at.map(Millis),
            dangling_since: self.dangling_since.map(Millis),
            damaged_at: self.damaged_at.map(Millis),
            holders,
        }
    }
}

impl Holding {
    /// What its statement asks for besides the digest.
    fn times(self, times: &HoldTimes) -> Vec<Millis> {
        match self {
            Self::Lease => vec![times.now],
            Self::FormerTag => vec![times.now, times.history_since, times.shared_since],
            Self::Manifest
            | Self::DeletedManifest
            | Self::Tag
            | Self::Index
            | Self::DeletedIndex
            | Self::DeletedTag
            | Self::Subject => Vec::new(),
        }
    }
}

async fn holders_of(
    reader: &mut Reader,
    row: &KeptAs,
    digest: &Digest,
    kinds: &[(Holding, &'static str)],
    times: &HoldTimes,
) -> Result<Vec<(Holding, String)>, MetadataError> {
    let mut holders = Vec::new();
    for (kind, statement) in kinds {
        let names: Vec<(String,)> = on!(reader.connection(), c => {
            let mut query = sqlx::query_as(*statement)
                .bind(row.repository_id)
                .bind(digest.to_string())
                .bind(HOLDERS);
            for time in kind.times(times) {
                query = query.bind(time.0);
            }
            query.fetch_all(c).await
        })?;
        holders.extend(names.into_iter().map(|(name,)| (*kind, name)));
    }
    Ok(holders)
}

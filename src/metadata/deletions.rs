//! Deletions: every delete has an id that covers all that went with it, so that it can be undone, or done for good.

use berth_storage::Digest;

use super::Metadata;
use super::database::{Transaction, on};
use super::dialect::{Statement, claimed, json_list, over_list};
use super::error::{MetadataError, parse, to_i64, to_u64};
use super::leases::LeaseHolder;
use super::memory::Mark;
use super::repositories::RepositoryId;
use super::retention::FormerTarget;
use crate::clock::Millis;
use crate::oci::{RepositoryName, Tag};

/// What was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionKind {
    /// A whole image.
    Image,
    /// A tag.
    Tag,
    /// A manifest, with the tags that pointed at it.
    Manifest,
    /// A blob's membership of the repository.
    Blob,
}

impl DeletionKind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Tag => "tag",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
        }
    }
}

/// A word that is no kind of deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoDeletionKind;

impl std::str::FromStr for DeletionKind {
    type Err = NoDeletionKind;

    fn from_str(text: &str) -> Result<Self, NoDeletionKind> {
        [Self::Image, Self::Tag, Self::Manifest, Self::Blob]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(NoDeletionKind)
    }
}

/// A deletion about to happen.
#[derive(Clone, Debug)]
pub struct NewDeletion<'a> {
    /// The workspace it happens in.
    pub workspace_id: &'a str,
    /// The repository it happens in.
    pub repository: RepositoryId,
    /// The name of that.
    pub name: &'a RepositoryName,
    /// What kind of thing goes.
    pub kind: DeletionKind,
    /// The tag or digest that goes; of an image its name.
    pub subject: &'a str,
    /// Tags that go with it: the first ones, when there are many.
    pub tags: &'a [Tag],
    /// Manifests or blobs that go with it: the first ones, when there are many.
    pub digests: &'a [Digest],
    /// How much will be free once it is done for good.
    pub bytes: u64,
    /// Who deletes it.
    pub actor: &'a str,
    /// When.
    pub now: Millis,
    /// Until when it can be undone.
    pub restorable_until: Millis,
}

/// A deletion that happened.
#[derive(Clone, Debug)]
pub struct Deletion {
    /// Its id; ids are in the order in which things were deleted.
    pub id: String,
    /// The workspace it happened in.
    pub workspace_id: String,
    /// The repository it happened in; none once nothing of it is left.
    pub repository_id: Option<RepositoryId>,
    /// The name that the repository had.
    pub name: RepositoryName,
    /// What kind of thing went.
    pub kind: DeletionKind,
    /// Tags that went with it: the first ones, when there are many.
    pub tags: Vec<String>,
    /// Manifests or blobs that went with it: the first ones, when there are many.
    pub digests: Vec<String>,
    /// How much will be free once it is done for good.
    pub bytes: u64,
    /// Who deleted it.
    pub deleted_by: String,
    /// When.
    pub deleted_at: Millis,
    /// Until when it can be undone.
    pub restorable_until: Millis,
    /// When it was done for good.
    pub purged_at: Option<Millis>,
}

#[derive(sqlx::FromRow)]
struct DeletionRow {
    id: String,
    workspace_id: String,
    repository_id: Option<i64>,
    repository: String,
    kind: String,
    tags: String,
    digests: String,
    bytes: i64,
    deleted_by: String,
    deleted_at: i64,
    restorable_until: i64,
    purged_at: Option<i64>,
}

impl TryFrom<DeletionRow> for Deletion {
    type Error = MetadataError;

    fn try_from(row: DeletionRow) -> Result<Self, MetadataError> {
        Ok(Self {
            id: row.id,
            workspace_id: row.workspace_id,
            repository_id: row.repository_id.map(RepositoryId),
            name: parse("repository name", &row.repository)?,
            kind: row.kind.parse().map_err(|_| MetadataError::Corrupt {
                what: "kind of a deletion",
                value: row.kind.clone(),
            })?,
            tags: texts(&row.tags)?,
            digests: texts(&row.digests)?,
            bytes: to_u64("size of a deletion", row.bytes)?,
            deleted_by: row.deleted_by,
            deleted_at: Millis(row.deleted_at),
            restorable_until: Millis(row.restorable_until),
            purged_at: row.purged_at.map(Millis),
        })
    }
}

fn texts(json: &str) -> Result<Vec<String>, MetadataError> {
    serde_json::from_str(json).map_err(|_| MetadataError::Corrupt {
        what: "list of a deletion",
        value: json.to_owned(),
    })
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, workspace_id, repository_id, repository, kind, tags, digests, bytes, deleted_by, deleted_at, \
             restorable_until, purged_at FROM deletions WHERE ",
            $rest
        )
    };
}

const BY_ID: &str = select!("id = $1 AND workspace_id = $2");
const NEWEST: &str =
    select!("workspace_id = $1 AND purged_at IS NULL AND id < $2 ORDER BY id DESC LIMIT $3");
const DUE: &str = select!("purged_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT $2");

const DUE_ALONE: Statement = claimed!(
    "SELECT id, workspace_id, repository_id, repository, kind, tags, digests, bytes, deleted_by, deleted_at, \
     restorable_until, purged_at FROM deletions WHERE purged_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT $2"
);

/// What is behind every id.
const AFTER_ALL_IDS: &str = "g";

/// Which of a list of manifests are held by something that names them.
const HELD: Statement = over_list!(
    "SELECT manifests.digest FROM manifests WHERE manifests.repository_id = $1 AND manifests.deletion_id IS NULL \
     AND (EXISTS (SELECT 1 FROM tags WHERE tags.repository_id = $1 AND tags.digest = manifests.digest) \
       OR EXISTS (SELECT 1 FROM leases WHERE leases.repository_id = $1 AND leases.digest = manifests.digest \
         AND leases.expires_at > $3) \
       OR EXISTS (SELECT 1 FROM tag_history WHERE tag_history.repository_id = $1 \
         AND tag_history.digest = manifests.digest AND tag_history.ended_at > $4 AND tag_history.deletion_id IS NULL)) \
     AND manifests.digest IN ",
    "$2",
    " LIMIT 1"
);

/// What a list of manifests belongs to: the indexes they are children of, and the subjects they refer to.
const ABOVE: Statement = over_list!(
    "SELECT DISTINCT manifest_children.parent_digest FROM manifest_children JOIN manifests \
     ON manifests.repository_id = $1 AND manifests.digest = manifest_children.parent_digest \
     WHERE manifest_children.repository_id = $1 AND manifests.deletion_id IS NULL \
     AND manifest_children.child_digest IN ",
    "$2",
    " LIMIT 1001"
);
const SUBJECTS: Statement = over_list!(
    "SELECT DISTINCT subject FROM manifests WHERE repository_id = $1 AND subject IS NOT NULL AND deletion_id IS NULL \
     AND digest IN ",
    "$2",
    ""
);

/// How far up it is looked whether something holds a manifest, and at how many in one step: beyond it counts as held.
const ROOT_DEPTH: usize = 8;
const ROOT_BREADTH: usize = 1000;

impl Metadata {
    /// Deletions of a workspace that can be undone or done for good, newest first, after `last`.
    pub async fn deletions(
        &self,
        workspace_id: &str,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Deletion>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<DeletionRow> = on!(reader.connection(), c => sqlx::query_as(NEWEST)
            .bind(workspace_id)
            .bind(last.unwrap_or(AFTER_ALL_IDS))
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        rows.into_iter().map(Deletion::try_from).collect()
    }

    /// Deletions whose window is over, and that were not postponed.
    pub async fn due_deletions(
        &self,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<Deletion>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<DeletionRow> = on!(reader.connection(), c => sqlx::query_as(DUE)
            .bind(now.0)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        rows.into_iter().map(Deletion::try_from).collect()
    }
}

impl Transaction {
    /// Opens a deletion and returns its id.
    pub async fn open_deletion(
        &mut self,
        deletion: &NewDeletion<'_>,
    ) -> Result<String, MetadataError> {
        let id = deletion.now.new_id();
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO deletions (id, workspace_id, repository_id, repository, kind, subject, tags, digests, bytes, \
             deleted_by, deleted_at, restorable_until, due_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)",
        )
        .bind(&id)
        .bind(deletion.workspace_id)
        .bind(deletion.repository.0)
        .bind(deletion.name.as_str())
        .bind(deletion.kind.as_str())
        .bind(deletion.subject)
        .bind(json_list(deletion.tags))
        .bind(json_list(deletion.digests))
        .bind(to_i64(deletion.bytes))
        .bind(deletion.actor)
        .bind(deletion.now.0)
        .bind(deletion.restorable_until.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        Ok(id)
    }

    /// Takes deletions whose windows are over for one collector alone. They are due again at `again`, should that one end
    /// before they do.
    pub async fn take_due_deletions(
        &mut self,
        now: Millis,
        again: Millis,
        limit: u32,
    ) -> Result<Vec<Deletion>, MetadataError> {
        let connection = self.connection();
        let statement = DUE_ALONE.of(&connection);
        let rows: Vec<DeletionRow> = on!(connection, c => sqlx::query_as(statement)
            .bind(now.0)
            .bind(i64::from(limit))
            .fetch_all(c)
            .await)?;
        for row in &rows {
            self.postpone_purge(&row.id, again).await?;
        }
        rows.into_iter().map(Deletion::try_from).collect()
    }

    /// A deletion of a workspace, also one that was done for good.
    pub async fn deletion(
        &mut self,
        workspace_id: &str,
        id: &str,
    ) -> Result<Option<Deletion>, MetadataError> {
        let row: Option<DeletionRow> = on!(self.connection(), c => sqlx::query_as(BY_ID)
            .bind(id)
            .bind(workspace_id)
            .fetch_optional(c)
            .await)?;
        row.map(Deletion::try_from).transpose()
    }

    /// Whether something holds a manifest: a tag, a lease, a former target inside its window, or an index or subject
    /// that is held.
    pub async fn is_rooted(
        &mut self,
        repository: RepositoryId,
        digest: &Digest,
        now: Millis,
        history_since: Millis,
    ) -> Result<bool, MetadataError> {
        let mut level = vec![digest.to_string()];
        for _ in 0..ROOT_DEPTH {
            let list = json_list(&level);
            let connection = self.connection();
            let statement = HELD.of(&connection);
            let held: Option<(String,)> = on!(connection, c => sqlx::query_as(statement)
                .bind(repository.0)
                .bind(&list)
                .bind(now.0)
                .bind(history_since.0)
                .fetch_optional(c)
                .await)?;
            if held.is_some() {
                return Ok(true);
            }
            level.clear();
            for above in [&ABOVE, &SUBJECTS] {
                let connection = self.connection();
                let statement = above.of(&connection);
                let rows: Vec<(String,)> = on!(connection, c => sqlx::query_as(statement)
                    .bind(repository.0)
                    .bind(&list)
                    .fetch_all(c)
                    .await)?;
                level.extend(rows.into_iter().map(|(digest,)| digest));
            }
            if level.len() > ROOT_BREADTH {
                return Ok(true);
            }
            if level.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tags of a repository in the order of their names, after `last`; those of one digest where it is given.
    pub async fn tags_of(
        &mut self,
        repository: RepositoryId,
        digest: Option<&Digest>,
        last: &str,
        limit: u32,
    ) -> Result<Vec<Tag>, MetadataError> {
        let rows: Vec<(String,)> = on!(self.connection(), c => match digest {
            Some(digest) => sqlx::query_as(
                "SELECT name FROM tags WHERE repository_id = $1 AND digest = $2 AND name > $3 ORDER BY name LIMIT $4",
            )
            .bind(repository.0)
            .bind(digest.to_string()),
            None => sqlx::query_as(
                "SELECT name FROM tags WHERE repository_id = $1 AND $2 = '' AND name > $3 ORDER BY name LIMIT $4",
            )
            .bind(repository.0)
            .bind(String::new()),
        }
        .bind(last)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.iter().map(|(name,)| parse("tag", name)).collect()
    }

    /// What a repository weighed when it was counted last.
    pub async fn counted_size(&mut self, repository: RepositoryId) -> Result<u64, MetadataError> {
        let row: Option<(i64,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT size_bytes FROM image_counts WHERE repository_id = $1",
        )
        .bind(repository.0)
        .fetch_optional(c)
        .await)?;
        row.map_or(Ok(0), |(bytes,)| to_u64("size of an image", bytes))
    }

    /// Hides a repository under a deletion; its name is free.
    pub async fn remove_repository(
        &mut self,
        repository: RepositoryId,
        name: &RepositoryName,
        deletion: &str,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query("DELETE FROM names WHERE name = $1 AND repository_id = $2")
            .bind(name.as_str())
            .bind(repository.0)
            .execute(c)
            .await
            .map(|_| ()))?;
        on!(self.connection(), c => sqlx::query("UPDATE repositories SET deletion_id = $2 WHERE id = $1")
            .bind(repository.0)
            .bind(deletion)
            .execute(c)
            .await
            .map(|_| ()))?;
        self.mark(Mark::Repository(name.clone()));
        Ok(())
    }

    /// The deletion that hides a whole repository, if there is one.
    pub async fn deletion_of_repository(
        &mut self,
        repository: RepositoryId,
    ) -> Result<Option<String>, MetadataError> {
        let row: Option<(Option<String>,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT deletion_id FROM repositories WHERE id = $1",
        )
        .bind(repository.0)
        .fetch_optional(c)
        .await)?;
        Ok(row.and_then(|(deletion,)| deletion))
    }

    /// Tags of a deletion whose names point elsewhere now, or whose manifests are deleted themselves.
    pub async fn tags_in_the_way(
        &mut self,
        deletion: &str,
        limit: u32,
    ) -> Result<Vec<String>, MetadataError> {
        let rows: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT tag_history.name FROM tag_history \
             LEFT JOIN tags ON tags.repository_id = tag_history.repository_id AND tags.name = tag_history.name \
             JOIN manifests ON manifests.repository_id = tag_history.repository_id \
             AND manifests.digest = tag_history.digest \
             WHERE tag_history.deletion_id = $1 AND (tags.digest <> tag_history.digest \
             OR (manifests.deletion_id IS NOT NULL AND manifests.deletion_id <> $1)) LIMIT $2",
        )
        .bind(deletion)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        Ok(rows.into_iter().map(|(name,)| name).collect())
    }

    /// Brings the tags of a deletion back; how many there were.
    pub async fn restore_tags(
        &mut self,
        repository: RepositoryId,
        deletion: &str,
        now: Millis,
    ) -> Result<u64, MetadataError> {
        let rows: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "INSERT INTO tags (repository_id, name, digest, created_at, updated_by, updated_at, restored_at) \
             SELECT repository_id, name, digest, set_at, set_by, set_at, CAST($2 AS BIGINT) FROM tag_history \
             WHERE deletion_id = $1 ON CONFLICT (repository_id, name) DO NOTHING RETURNING name",
        )
        .bind(deletion)
        .bind(now.0)
        .fetch_all(c)
        .await)?;
        for (name,) in rows {
            self.mark(Mark::Tag(repository, parse("tag", &name)?));
        }
        self.forget_history_of(deletion).await
    }

    async fn forget_history_of(&mut self, deletion: &str) -> Result<u64, MetadataError> {
        let forgotten: Vec<FormerTarget> = on!(self.connection(), c => sqlx::query_as(
            "DELETE FROM tag_history WHERE deletion_id = $1 RETURNING repository_id, digest, ended_at",
        )
        .bind(deletion)
        .fetch_all(c)
        .await)?;
        self.note_untagged(&forgotten).await?;
        Ok(forgotten.len() as u64)
    }

    /// Brings the manifests of a deletion back, and the blobs they need. What let them go by themselves begins again.
    pub async fn restore_manifests(
        &mut self,
        repository: RepositoryId,
        deletion: &str,
        now: Millis,
    ) -> Result<(), MetadataError> {
        let rows: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "UPDATE manifests SET deletion_id = NULL, untagged_since = $2, \
             dangling_since = CASE WHEN subject IS NULL THEN NULL ELSE CAST($2 AS BIGINT) END \
             WHERE deletion_id = $1 RETURNING digest",
        )
        .bind(deletion)
        .bind(now.0)
        .fetch_all(c)
        .await)?;
        for (digest,) in rows {
            let links: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
                "UPDATE links SET condemned_at = NULL, unneeded_since = NULL, deletion_id = NULL, parked = 0 \
                 WHERE repository_id = $1 AND digest IN \
                 (SELECT blob_digest FROM manifest_blobs WHERE repository_id = $1 AND manifest_digest = $2) \
                 RETURNING digest",
            )
            .bind(repository.0)
            .bind(&digest)
            .fetch_all(c)
            .await)?;
            for (link,) in links {
                self.mark(Mark::Link(repository, parse("digest", &link)?));
            }
            self.mark(Mark::Manifest(repository, parse("digest", &digest)?));
        }
        Ok(())
    }

    /// Brings the blobs of a deletion back. Their grace begins again.
    pub async fn restore_links(
        &mut self,
        repository: RepositoryId,
        deletion: &str,
        now: Millis,
    ) -> Result<(), MetadataError> {
        let rows: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "UPDATE links SET deletion_id = NULL, condemned_at = NULL, parked = 0, \
             unneeded_since = CASE WHEN unneeded_since IS NULL THEN NULL ELSE CAST($2 AS BIGINT) END \
             WHERE deletion_id = $1 RETURNING digest",
        )
        .bind(deletion)
        .bind(now.0)
        .fetch_all(c)
        .await)?;
        for (digest,) in rows {
            self.mark(Mark::Link(repository, parse("digest", &digest)?));
        }
        Ok(())
    }

    /// Brings a whole repository back under its name.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when another change took the name at the same time.
    pub async fn restore_repository(
        &mut self,
        repository: RepositoryId,
        workspace_id: &str,
        name: &RepositoryName,
    ) -> Result<(), MetadataError> {
        self.hold_workspace(workspace_id).await?;
        on!(self.connection(), c => sqlx::query("INSERT INTO names (name, repository_id) VALUES ($1, $2)")
            .bind(name.as_str())
            .bind(repository.0)
            .execute(c)
            .await
            .map(|_| ()))?;
        on!(self.connection(), c => sqlx::query("UPDATE repositories SET deletion_id = NULL WHERE id = $1")
            .bind(repository.0)
            .execute(c)
            .await
            .map(|_| ()))?;
        self.mark(Mark::Repository(name.clone()));
        Ok(())
    }

    /// Forgets a deletion whose things are all back.
    pub async fn forget_deletion(&mut self, id: &str) -> Result<(), MetadataError> {
        Ok(
            on!(self.connection(), c => sqlx::query("DELETE FROM deletions WHERE id = $1")
            .bind(id)
            .execute(c)
            .await
            .map(|_| ()))?,
        )
    }

    /// Says that nothing can be undone any more.
    pub async fn end_undo(&mut self, id: &str, now: Millis) -> Result<(), MetadataError> {
        Ok(on!(self.connection(), c => sqlx::query(
            "UPDATE deletions SET restorable_until = $2, due_at = $2 WHERE id = $1 AND restorable_until > $2",
        )
        .bind(id)
        .bind(now.0)
        .execute(c)
        .await
        .map(|_| ()))?)
    }

    /// Looks at a deletion again later, and at others until then.
    pub async fn postpone_purge(&mut self, id: &str, due_at: Millis) -> Result<(), MetadataError> {
        Ok(
            on!(self.connection(), c => sqlx::query("UPDATE deletions SET due_at = $2 WHERE id = $1")
            .bind(id)
            .bind(due_at.0)
            .execute(c)
            .await
            .map(|_| ()))?,
        )
    }

    /// Who leases what a deletion hides.
    pub async fn leases_on_deletion(
        &mut self,
        deletion: &Deletion,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<LeaseHolder>, MetadataError> {
        let Some(repository) = deletion.repository_id else {
            return Ok(Vec::new());
        };
        let rows: Vec<(String, String, i64)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT workspaces.name, leases.holder, leases.expires_at FROM leases \
             JOIN workspaces ON workspaces.id = leases.workspace_id \
             JOIN manifests ON manifests.repository_id = leases.repository_id \
             AND manifests.digest = leases.digest WHERE leases.repository_id = $1 AND leases.expires_at > $2 \
             AND (manifests.deletion_id = $3 OR $4 = 'image') LIMIT $5",
        )
        .bind(repository.0)
        .bind(now.0)
        .bind(&deletion.id)
        .bind(deletion.kind.as_str())
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        Ok(rows.into_iter().map(LeaseHolder::from).collect())
    }

    /// Does a part of a deletion for good: at most about `limit` rows of each kind. `true` when nothing is left to do.
    /// The bytes of blobs that nobody has any more go at `object_due`.
    pub async fn purge(
        &mut self,
        deletion: &Deletion,
        now: Millis,
        object_due: Millis,
        limit: u32,
    ) -> Result<bool, MetadataError> {
        if let Some(repository) = deletion.repository_id {
            match deletion.kind {
                DeletionKind::Tag => {
                    self.forget_history_of(&deletion.id).await?;
                }
                DeletionKind::Manifest => {
                    // Of a manifest that was pushed again only the history is left.
                    self.forget_history_of(&deletion.id).await?;
                    let digests: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
                        "SELECT digest FROM manifests WHERE deletion_id = $1",
                    )
                    .bind(&deletion.id)
                    .fetch_all(c)
                    .await)?;
                    for (digest,) in digests {
                        self.wake_links(repository, &digest).await?;
                        self.purge_manifest(repository, &digest).await?;
                        self.note_subject_gone(repository, &digest, now).await?;
                    }
                }
                DeletionKind::Blob => {
                    // A deleted manifest may still need it: then it stays hidden, and the collector's.
                    on!(self.connection(), c => sqlx::query(
                        "UPDATE links SET deletion_id = NULL, condemned_at = $2, parked = 0, \
                         unneeded_since = COALESCE(unneeded_since, $2) WHERE deletion_id = $1",
                    )
                    .bind(&deletion.id)
                    .bind(now.0)
                    .execute(c)
                    .await
                    .map(|_| ()))?;
                }
                DeletionKind::Image => {
                    if !self.purge_repository(repository, object_due, limit).await? {
                        return Ok(false);
                    }
                }
            }
        }
        on!(self.connection(), c => sqlx::query("UPDATE deletions SET purged_at = $2 WHERE id = $1")
            .bind(&deletion.id)
            .bind(now.0)
            .execute(c)
            .await
            .map(|_| ()))?;
        // Nothing that is remembered has changed, but what the workspace holds is to be counted again.
        self.mark(Mark::Repository(deletion.name.clone()));
        Ok(true)
    }

    /// Forgets a manifest, its history and its leases; its bytes too if no other repository has it.
    async fn purge_manifest(
        &mut self,
        repository: RepositoryId,
        digest: &str,
    ) -> Result<(), MetadataError> {
        for statement in [
            "DELETE FROM tag_history WHERE repository_id = $1 AND digest = $2",
            "DELETE FROM leases WHERE repository_id = $1 AND digest = $2",
            "DELETE FROM manifest_blobs WHERE repository_id = $1 AND manifest_digest = $2",
            "DELETE FROM manifest_children WHERE repository_id = $1 AND parent_digest = $2",
            "DELETE FROM manifests WHERE repository_id = $1 AND digest = $2",
        ] {
            on!(self.connection(), c => sqlx::query(statement)
                .bind(repository.0)
                .bind(digest)
                .execute(c)
                .await
                .map(|_| ()))?;
        }
        self.release_content(digest).await
    }

    /// Has the referrers of a manifest wait for it anew: it was there for them for as long as it could come back.
    async fn note_subject_gone(
        &mut self,
        repository: RepositoryId,
        subject: &str,
        now: Millis,
    ) -> Result<(), MetadataError> {
        Ok(on!(self.connection(), c => sqlx::query(
            "UPDATE manifests SET dangling_since = $3 WHERE repository_id = $1 AND subject = $2 AND deletion_id IS NULL",
        )
        .bind(repository.0)
        .bind(subject)
        .bind(now.0)
        .execute(c)
        .await
        .map(|_| ()))?)
    }

    /// Forgets a part of a repository; `true` when it was the last one.
    async fn purge_repository(
        &mut self,
        repository: RepositoryId,
        object_due: Millis,
        limit: u32,
    ) -> Result<bool, MetadataError> {
        let tags = self
            .purge_rows(
                "DELETE FROM tags WHERE repository_id = $1 AND name IN \
                 (SELECT name FROM tags WHERE repository_id = $1 LIMIT $2)",
                repository,
                limit,
            )
            .await?;
        if tags >= u64::from(limit) {
            return Ok(false);
        }
        let digests: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT digest FROM manifests WHERE repository_id = $1 ORDER BY digest LIMIT $2",
        )
        .bind(repository.0)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        for (digest,) in &digests {
            self.purge_manifest(repository, digest).await?;
        }
        if digests.len() >= limit as usize {
            return Ok(false);
        }
        let links: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "DELETE FROM links WHERE repository_id = $1 AND digest IN \
             (SELECT digest FROM links WHERE repository_id = $1 ORDER BY digest LIMIT $2) RETURNING digest",
        )
        .bind(repository.0)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        let is_last = links.len() < limit as usize;
        let digests = links.into_iter().map(|(digest,)| digest).collect();
        self.release_blobs(&digests, object_due).await?;
        let pulls = self
            .purge_rows(
                "DELETE FROM pulls WHERE repository_id = $1 AND tag IN \
                 (SELECT tag FROM pulls WHERE repository_id = $1 LIMIT $2)",
                repository,
                limit,
            )
            .await?;
        if !is_last || pulls >= u64::from(limit) {
            return Ok(false);
        }
        self.forget_repository(repository).await?;
        Ok(true)
    }

    async fn purge_rows(
        &mut self,
        statement: &'static str,
        repository: RepositoryId,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        Ok(on!(self.connection(), c => sqlx::query(statement)
            .bind(repository.0)
            .bind(i64::from(limit))
            .execute(c)
            .await
            .map(|done| done.rows_affected()))?)
    }

    /// Forgets deletions that were done for good before `before` and of which nothing is left, at most `limit`.
    pub async fn forget_purged(
        &mut self,
        before: Millis,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        let statement = "DELETE FROM deletions WHERE id IN (SELECT id FROM deletions WHERE purged_at <= $1 LIMIT $2) \
             AND NOT EXISTS (SELECT 1 FROM repositories WHERE repositories.deletion_id = deletions.id) \
             AND NOT EXISTS (SELECT 1 FROM manifests WHERE manifests.deletion_id = deletions.id) \
             AND NOT EXISTS (SELECT 1 FROM links WHERE links.deletion_id = deletions.id) \
             AND NOT EXISTS (SELECT 1 FROM tag_history WHERE tag_history.deletion_id = deletions.id)";
        self.delete_ended(statement, before, limit).await
    }
}

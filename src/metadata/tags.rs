//! Tags: where they point, and where they pointed before.

use std::collections::BTreeSet;

use berth_storage::Digest;

use super::Metadata;
use super::database::{Connection, Transaction, on};
use super::error::{MetadataError, parse};
use super::memory::Mark;
use super::repositories::RepositoryId;
use super::retention::FormerTarget;
use crate::clock::Millis;
use crate::oci::Tag;

/// A tag that is about to point somewhere.
#[derive(Clone, Copy, Debug)]
pub struct TagChange<'a> {
    /// The repository.
    pub repository: RepositoryId,
    /// The tag.
    pub tag: &'a Tag,
    /// Who changes it.
    pub actor: &'a str,
    /// When.
    pub now: Millis,
}

async fn find(
    connection: Connection<'_>,
    repository: RepositoryId,
    tag: &Tag,
) -> Result<Option<Digest>, MetadataError> {
    let row: Option<(String,)> = on!(connection, c => sqlx::query_as("SELECT digest FROM tags WHERE repository_id = $1 AND name = $2")
            .bind(repository.0)
            .bind(tag.as_str())
            .fetch_optional(c)
            .await)?;
    row.map(|(digest,)| parse("digest", &digest)).transpose()
}

impl Metadata {
    /// What a tag points to.
    pub async fn tag(
        &self,
        repository: RepositoryId,
        tag: &Tag,
    ) -> Result<Option<Digest>, MetadataError> {
        self.remembered(
            &self.memory.tags,
            (repository, tag.clone()),
            async |reader, (repository, tag)| find(reader.connection(), *repository, tag).await,
        )
        .await
    }

    /// Tags in bytewise order, after `last`.
    pub async fn tags(
        &self,
        repository: RepositoryId,
        last: &str,
        limit: u32,
    ) -> Result<Vec<Tag>, MetadataError> {
        let mut reader = self.read().await?;
        let rows: Vec<(String,)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT name FROM tags WHERE repository_id = $1 AND name > $2 ORDER BY name LIMIT $3",
        )
        .bind(repository.0)
        .bind(last)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.iter().map(|(name,)| parse("tag", name)).collect()
    }
}

/// Tags of one digest that go: into the history, or away; `which` of them.
macro_rules! removal {
    ("INSERT", $which:literal) => {
        concat!(
            "INSERT INTO tag_history (repository_id, name, digest, set_by, set_at, ended_by, ended_at, deletion_id) \
             SELECT repository_id, name, digest, updated_by, updated_at, $4, $5, $6 FROM tags \
             WHERE repository_id = $1 AND digest = $2 AND ",
            $which
        )
    };
    ("DELETE", $which:literal) => {
        concat!(
            "DELETE FROM tags WHERE repository_id = $1 AND digest = $2 AND ",
            $which,
            " RETURNING name"
        )
    };
}

impl Transaction {
    /// Holds tags until this change ends, so that two pushes of one tag come one after the other and each finds what
    /// the other left. SQLite has one writer: there it is so already.
    pub async fn lock_tags(
        &mut self,
        repository: RepositoryId,
        tags: &BTreeSet<Tag>,
    ) -> Result<(), MetadataError> {
        let Connection::Postgres(mut connection) = self.connection() else {
            return Ok(());
        };
        // In the order of their names, so that two pushes of several tags do not wait for each other.
        for tag in tags {
            sqlx::query("SELECT pg_advisory_xact_lock(hashtext($1::text), hashtext($2))")
                .bind(repository.0)
                .bind(tag.as_str())
                .execute(connection.again())
                .await?;
        }
        Ok(())
    }

    /// What a tag points to, as this change sees it.
    pub async fn tag(
        &mut self,
        repository: RepositoryId,
        tag: &Tag,
    ) -> Result<Option<Digest>, MetadataError> {
        find(self.connection(), repository, tag).await
    }

    /// Points a tag at a manifest of its repository; what it pointed to before goes into its history.
    pub async fn put_tag(
        &mut self,
        change: &TagChange<'_>,
        digest: &Digest,
    ) -> Result<(), MetadataError> {
        let digest = digest.to_string();
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO tag_history (repository_id, name, digest, set_by, set_at, ended_by, ended_at) \
             SELECT repository_id, name, digest, updated_by, updated_at, $4, $5 FROM tags \
             WHERE repository_id = $1 AND name = $2 AND digest <> $3",
        )
        .bind(change.repository.0)
        .bind(change.tag.as_str())
        .bind(&digest)
        .bind(change.actor)
        .bind(change.now.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO tags (repository_id, name, digest, created_at, updated_by, updated_at) \
             VALUES ($1, $2, $3, $5, $4, $5) \
             ON CONFLICT (repository_id, name) DO UPDATE \
             SET digest = excluded.digest, updated_by = excluded.updated_by, updated_at = excluded.updated_at",
        )
        .bind(change.repository.0)
        .bind(change.tag.as_str())
        .bind(&digest)
        .bind(change.actor)
        .bind(change.now.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::Tag(change.repository, change.tag.clone()));
        Ok(())
    }

    /// Takes a tag away, under a deletion that can bring it back. Says whether it was there.
    pub async fn remove_tag(
        &mut self,
        change: &TagChange<'_>,
        deletion: &str,
    ) -> Result<bool, MetadataError> {
        let Some(digest) = self.tag(change.repository, change.tag).await? else {
            return Ok(false);
        };
        self.remove_tags_where(
            change.repository,
            &digest,
            Some(change.tag),
            change.actor,
            change.now,
            deletion,
        )
        .await?;
        Ok(true)
    }

    /// Takes every tag away that points at a manifest, under a deletion that can bring them back.
    pub async fn remove_tags_of(
        &mut self,
        repository: RepositoryId,
        digest: &Digest,
        actor: &str,
        now: Millis,
        deletion: &str,
    ) -> Result<(), MetadataError> {
        self.remove_tags_where(repository, digest, None, actor, now, deletion)
            .await
    }

    async fn remove_tags_where(
        &mut self,
        repository: RepositoryId,
        digest: &Digest,
        only: Option<&Tag>,
        actor: &str,
        now: Millis,
        deletion: &str,
    ) -> Result<(), MetadataError> {
        // Two texts, so that one tag is found by its name and not among all of its digest.
        let (remember, remove) = match only {
            Some(_) => (
                removal!("INSERT", "name = $3"),
                removal!("DELETE", "name = $3"),
            ),
            None => (removal!("INSERT", "$3 = ''"), removal!("DELETE", "$3 = ''")),
        };
        let (digest, only) = (digest.to_string(), only.map_or("", Tag::as_str));
        on!(self.connection(), c => sqlx::query(remember)
        .bind(repository.0)
        .bind(&digest)
        .bind(only)
        .bind(actor)
        .bind(now.0)
        .bind(deletion)
        .execute(c)
        .await
        .map(|_| ()))?;
        let removed: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(remove)
        .bind(repository.0)
        .bind(&digest)
        .bind(only)
        .fetch_all(c)
        .await)?;
        for (name,) in removed {
            self.mark(Mark::Tag(repository, parse("tag", &name)?));
        }
        Ok(())
    }

    /// Forgets where tags pointed before `before`, at most `limit` times; how many. What a deletion keeps stays.
    pub async fn forget_history(
        &mut self,
        before: Millis,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        let forgotten: Vec<FormerTarget> = on!(self.connection(), c => sqlx::query_as(
            "DELETE FROM tag_history WHERE id IN (SELECT id FROM tag_history \
             WHERE deletion_id IS NULL AND ended_at <= $1 ORDER BY ended_at LIMIT $2) \
             RETURNING repository_id, digest, ended_at",
        )
        .bind(before.0)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        self.note_untagged(&forgotten).await?;
        Ok(forgotten.len() as u64)
    }
}

//! What retention goes by: policies, the looks at images that are due, since when manifests have no tag, and which
//! referrers are without their subject.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_storage::Digest;

use super::Metadata;
use super::database::{Transaction, on};
use super::dialect::{Statement, claimed};
use super::error::{MetadataError, parse, to_u64};
use super::memory::Mark;
use super::repositories::RepositoryId;
use super::workspaces::Workspace;
use crate::clock::Millis;
use crate::oci::{RepositoryName, Tag};

/// A tag pointed here until then.
#[derive(sqlx::FromRow)]
pub(super) struct FormerTarget {
    repository_id: i64,
    digest: String,
    ended_at: i64,
}

/// The policies that an image may be under, as they were stored.
#[derive(Clone, Debug, Default)]
pub struct StoredPolicies {
    /// After how many days manifests without a tag go, as the workspace has it.
    pub untagged_days: Option<u32>,
    /// What else the workspace has.
    pub workspace: Option<String>,
    /// What stands in place of both for the image.
    pub image: Option<String>,
}

/// A workspace whose images are to be looked at.
#[derive(Clone, Debug)]
pub struct RetentionRun {
    /// The workspace.
    pub workspace_id: String,
    /// The name of the last image that was looked at.
    pub last: String,
}

/// An image that is to be looked at.
#[derive(Clone, Debug)]
pub struct RetainedImage {
    /// Its repository.
    pub id: RepositoryId,
    /// Its full name.
    pub name: RepositoryName,
}

/// A tag, as retention judges it.
#[derive(Clone, Debug)]
pub struct RetainedTag {
    /// Its name.
    pub name: Tag,
    /// What it points to.
    pub digest: Digest,
    /// When it was last pointed anywhere.
    pub updated_at: Millis,
    /// When somebody last took its deletion back.
    pub restored_at: Option<Millis>,
    /// When it was last pulled, as far as that is known.
    pub pulled_at: Option<Millis>,
}

/// A manifest without a tag, as retention judges it.
#[derive(Clone, Copy, Debug)]
pub struct UntaggedManifest {
    /// Its address.
    pub digest: Digest,
    /// How many bytes it has.
    pub size_bytes: u64,
}

/// A referrer that may be without its subject.
#[derive(Clone, Debug)]
pub struct DanglingReferrer {
    /// Its repository.
    pub repository: RepositoryId,
    /// The name of that.
    pub name: RepositoryName,
    /// Its address.
    pub digest: Digest,
    /// Since when it may be so.
    pub since: Millis,
}

#[derive(sqlx::FromRow)]
struct TagRow {
    name: String,
    digest: String,
    updated_at: i64,
    restored_at: Option<i64>,
    last_pulled_at: Option<i64>,
}

impl TryFrom<&TagRow> for RetainedTag {
    type Error = MetadataError;

    fn try_from(row: &TagRow) -> Result<Self, Self::Error> {
        Ok(Self {
            name: parse("tag", &row.name)?,
            digest: parse("digest", &row.digest)?,
            updated_at: Millis(row.updated_at),
            restored_at: row.restored_at.map(Millis),
            pulled_at: row.last_pulled_at.map(Millis),
        })
    }
}

const RUNS: Statement = claimed!(
    "SELECT workspace_id, last_name FROM retention_runs WHERE due_at <= $1 ORDER BY due_at LIMIT 1"
);

impl Metadata {
    /// The policies that an image of a workspace may be under.
    pub async fn policies(
        &self,
        workspace_id: &str,
        image: Option<RepositoryId>,
    ) -> Result<StoredPolicies, MetadataError> {
        let mut reader = self.read_aside().await?;
        let row: Option<(Option<i64>, Option<String>)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT workspaces.untagged_retention_days, workspace_retention.policy FROM workspaces \
             LEFT JOIN workspace_retention ON workspace_retention.workspace_id = workspaces.id WHERE workspaces.id = $1",
        )
        .bind(workspace_id)
        .fetch_optional(c)
        .await)?;
        let (days, workspace) = row.unwrap_or_default();
        let mut policies = StoredPolicies {
            untagged_days: days.and_then(|days| u32::try_from(days).ok()),
            workspace,
            image: None,
        };
        if let Some(image) = image {
            let row: Option<(String,)> = on!(reader.connection(), c => sqlx::query_as(
                "SELECT policy FROM image_retention WHERE repository_id = $1",
            )
            .bind(image.0)
            .fetch_optional(c)
            .await)?;
            policies.image = row.map(|(policy,)| policy);
        }
        Ok(policies)
    }

    /// Images of a workspace by their names, after `last`.
    pub async fn retained_images(
        &self,
        workspace_id: &str,
        last: &str,
        limit: u32,
    ) -> Result<Vec<RetainedImage>, MetadataError> {
        let mut reader = self.read_aside().await?;
        let rows: Vec<(i64, String)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT id, name FROM repositories WHERE workspace_id = $1 AND name > $2 \
             AND image_at IS NOT NULL AND deletion_id IS NULL ORDER BY name LIMIT $3",
        )
        .bind(workspace_id)
        .bind(last)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        let image = |(id, name): &(i64, String)| {
            Ok(RetainedImage {
                id: RepositoryId(*id),
                name: parse("repository name", name)?,
            })
        };
        rows.iter().map(image).collect()
    }

    /// Tags of an image, the newest first, after the time and name of `last`.
    pub async fn retained_tags(
        &self,
        image: RepositoryId,
        last: Option<(Millis, &Tag)>,
        limit: u32,
    ) -> Result<Vec<RetainedTag>, MetadataError> {
        let (at, name) = last.map_or((i64::MAX, ""), |(at, name)| (at.0, name.as_str()));
        let mut reader = self.read_aside().await?;
        let rows: Vec<TagRow> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT tags.name, tags.digest, tags.updated_at, tags.restored_at, pulls.last_pulled_at FROM tags \
             LEFT JOIN pulls ON pulls.repository_id = tags.repository_id AND pulls.tag = tags.name \
             WHERE tags.repository_id = $1 AND (tags.updated_at, tags.name) < ($2, $3) \
             ORDER BY tags.updated_at DESC, tags.name DESC LIMIT $4",
        )
        .bind(image.0)
        .bind(at)
        .bind(name)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.iter().map(RetainedTag::try_from).collect()
    }

    /// Manifests of an image that have had no tag since `since`, are no referrers, and that no deleted tag points to
    /// that can come back: in the order of their digests, after `last`.
    pub async fn untagged_manifests(
        &self,
        image: RepositoryId,
        since: Millis,
        last: &str,
        limit: u32,
    ) -> Result<Vec<UntaggedManifest>, MetadataError> {
        let mut reader = self.read_aside().await?;
        let rows: Vec<(String, i64)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT digest, COALESCE(total_bytes, size_bytes) FROM manifests \
             WHERE repository_id = $1 AND digest > $2 AND deletion_id IS NULL AND subject IS NULL AND pushed_at <= $3 \
             AND (untagged_since IS NULL OR untagged_since <= $3) \
             AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.repository_id = $1 AND tags.digest = manifests.digest) \
             AND NOT EXISTS (SELECT 1 FROM tag_history WHERE tag_history.repository_id = $1 \
               AND tag_history.digest = manifests.digest \
               AND (tag_history.ended_at > $3 OR tag_history.deletion_id IS NOT NULL)) \
             ORDER BY digest LIMIT $4",
        )
        .bind(image.0)
        .bind(last)
        .bind(since.0)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        let manifest = |(digest, size_bytes): &(String, i64)| {
            Ok(UntaggedManifest {
                digest: parse("digest", digest)?,
                size_bytes: to_u64("manifest size", *size_bytes)?,
            })
        };
        rows.iter().map(manifest).collect()
    }

    /// Referrers that may have been without their subject since `since`.
    pub async fn dangling_referrers(
        &self,
        since: Millis,
        limit: u32,
    ) -> Result<Vec<DanglingReferrer>, MetadataError> {
        let mut reader = self.read_aside().await?;
        let rows: Vec<(i64, String, String, i64)> = on!(reader.connection(), c => sqlx::query_as(
            "SELECT manifests.repository_id, repositories.name, manifests.digest, manifests.dangling_since \
             FROM manifests JOIN repositories ON repositories.id = manifests.repository_id \
             WHERE manifests.dangling_since IS NOT NULL AND manifests.deletion_id IS NULL \
             AND manifests.dangling_since <= $1 ORDER BY manifests.dangling_since LIMIT $2",
        )
        .bind(since.0)
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        let referrer = |(repository, name, digest, since): &(i64, String, String, i64)| {
            Ok(DanglingReferrer {
                repository: RepositoryId(*repository),
                name: parse("repository name", name)?,
                digest: parse("digest", digest)?,
                since: Millis(*since),
            })
        };
        rows.iter().map(referrer).collect()
    }
}

impl Transaction {
    /// Sets what holds for all images of a workspace that have no policy of their own; none takes it away.
    pub async fn set_workspace_policy(
        &mut self,
        workspace: &Arc<Workspace>,
        untagged_days: Option<u32>,
        policy: Option<&str>,
    ) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query("UPDATE workspaces SET untagged_retention_days = $2 WHERE id = $1")
            .bind(&workspace.id)
            .bind(untagged_days.map(i64::from))
            .execute(c)
            .await
            .map(|_| ()))?;
        self.mark(Mark::Workspace(Arc::clone(workspace)));
        match policy {
            None => {
                on!(self.connection(), c => sqlx::query("DELETE FROM workspace_retention WHERE workspace_id = $1")
                .bind(&workspace.id)
                .execute(c)
                .await
                .map(|_| ()))?;
            }
            Some(policy) => on!(self.connection(), c => sqlx::query(
                "INSERT INTO workspace_retention (workspace_id, policy) VALUES ($1, $2) \
                 ON CONFLICT (workspace_id) DO UPDATE SET policy = excluded.policy",
            )
            .bind(&workspace.id)
            .bind(policy)
            .execute(c)
            .await
            .map(|_| ()))?,
        }
        self.schedule_retention(&workspace.id, Millis(0), "").await
    }

    /// Sets what holds for one image in place of its workspace's policy; none takes it away.
    pub async fn set_image_policy(
        &mut self,
        workspace_id: &str,
        image: RepositoryId,
        policy: Option<&str>,
    ) -> Result<(), MetadataError> {
        match policy {
            None => {
                on!(self.connection(), c => sqlx::query("DELETE FROM image_retention WHERE repository_id = $1")
                .bind(image.0)
                .execute(c)
                .await
                .map(|_| ()))?;
            }
            Some(policy) => on!(self.connection(), c => sqlx::query(
                "INSERT INTO image_retention (repository_id, policy) VALUES ($1, $2) \
                 ON CONFLICT (repository_id) DO UPDATE SET policy = excluded.policy",
            )
            .bind(image.0)
            .bind(policy)
            .execute(c)
            .await
            .map(|_| ()))?,
        }
        self.schedule_retention(workspace_id, Millis(0), "").await
    }

    /// Has the images of a workspace looked at from `due` on, those behind `last`.
    pub async fn schedule_retention(
        &mut self,
        workspace_id: &str,
        due: Millis,
        last: &str,
    ) -> Result<(), MetadataError> {
        Ok(on!(self.connection(), c => sqlx::query(
            "INSERT INTO retention_runs (workspace_id, due_at, last_name) VALUES ($1, $2, $3) \
             ON CONFLICT (workspace_id) DO UPDATE SET due_at = excluded.due_at, last_name = excluded.last_name",
        )
        .bind(workspace_id)
        .bind(due.0)
        .bind(last)
        .execute(c)
        .await
        .map(|_| ()))?)
    }

    /// Takes the workspace that is due first for one collector alone; it is due again at `again`. Workspaces whose
    /// admins set an age for manifests without a tag are among them from then on.
    pub async fn take_retention_run(
        &mut self,
        now: Millis,
        again: Millis,
    ) -> Result<Option<RetentionRun>, MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO retention_runs (workspace_id, due_at, last_name) SELECT id, 0, '' FROM workspaces \
             WHERE untagged_retention_days IS NOT NULL AND deleted_at IS NULL \
             AND NOT EXISTS (SELECT 1 FROM retention_runs WHERE retention_runs.workspace_id = workspaces.id) \
             ON CONFLICT (workspace_id) DO NOTHING",
        )
        .execute(c)
        .await
        .map(|_| ()))?;
        let connection = self.connection();
        let statement = RUNS.of(&connection);
        let row: Option<(String, String)> = on!(connection, c => sqlx::query_as(statement)
            .bind(now.0)
            .fetch_optional(c)
            .await)?;
        let Some((workspace_id, last)) = row else {
            return Ok(None);
        };
        self.schedule_retention(&workspace_id, again, &last).await?;
        Ok(Some(RetentionRun { workspace_id, last }))
    }

    /// Looks at a workspace no more that has no policy left, or is gone.
    pub async fn end_retention(&mut self, workspace_id: &str) -> Result<(), MetadataError> {
        Ok(on!(self.connection(), c => sqlx::query(
            "DELETE FROM retention_runs WHERE workspace_id = $1 \
             AND NOT EXISTS (SELECT 1 FROM workspaces WHERE id = $1 AND deleted_at IS NULL \
               AND untagged_retention_days IS NOT NULL) \
             AND NOT EXISTS (SELECT 1 FROM workspace_retention JOIN workspaces \
               ON workspaces.id = workspace_retention.workspace_id \
               WHERE workspace_retention.workspace_id = $1 AND workspaces.deleted_at IS NULL) \
             AND NOT EXISTS (SELECT 1 FROM repositories JOIN image_retention \
               ON image_retention.repository_id = repositories.id WHERE repositories.workspace_id = $1)",
        )
        .bind(workspace_id)
        .execute(c)
        .await
        .map(|_| ()))?)
    }

    /// A tag as it is now, to judge it once more before it goes.
    pub async fn retained_tag(
        &mut self,
        image: RepositoryId,
        tag: &Tag,
    ) -> Result<Option<RetainedTag>, MetadataError> {
        let row: Option<TagRow> = on!(self.connection(), c => sqlx::query_as(
            "SELECT tags.name, tags.digest, tags.updated_at, tags.restored_at, pulls.last_pulled_at FROM tags \
             LEFT JOIN pulls ON pulls.repository_id = tags.repository_id AND pulls.tag = tags.name \
             WHERE tags.repository_id = $1 AND tags.name = $2",
        )
        .bind(image.0)
        .bind(tag.as_str())
        .fetch_optional(c)
        .await)?;
        row.as_ref().map(RetainedTag::try_from).transpose()
    }

    /// Whether a manifest still has no tag, was not pushed again after `since`, and no deleted tag that can come back
    /// points to it.
    pub async fn is_untagged(
        &mut self,
        image: RepositoryId,
        digest: &Digest,
        since: Millis,
    ) -> Result<bool, MetadataError> {
        let row: Option<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT digest FROM manifests WHERE repository_id = $1 AND digest = $2 AND deletion_id IS NULL \
             AND pushed_at <= $3 AND (untagged_since IS NULL OR untagged_since <= $3) \
             AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.repository_id = $1 AND tags.digest = $2) \
             AND NOT EXISTS (SELECT 1 FROM tag_history WHERE tag_history.repository_id = $1 AND tag_history.digest = $2 \
               AND (tag_history.ended_at > $3 OR tag_history.deletion_id IS NOT NULL))",
        )
        .bind(image.0)
        .bind(digest.to_string())
        .bind(since.0)
        .fetch_optional(c)
        .await)?;
        Ok(row.is_some())
    }

    /// Indexes that have this manifest as a child, deleted ones that can come back too.
    pub async fn indexes_that_were_or_are(
        &mut self,
        image: RepositoryId,
        child: &Digest,
        limit: u32,
    ) -> Result<Vec<Digest>, MetadataError> {
        let rows: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT parent_digest FROM manifest_children WHERE repository_id = $1 AND child_digest = $2 LIMIT $3",
        )
        .bind(image.0)
        .bind(child.to_string())
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.iter()
            .map(|(digest,)| parse("digest", digest))
            .collect()
    }

    /// What a referrer refers to, and whether that is here, be it deleted so that it can come back.
    pub async fn subject_of(
        &mut self,
        image: RepositoryId,
        digest: &Digest,
    ) -> Result<Option<(String, bool)>, MetadataError> {
        let row: Option<(String, Option<String>)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT referrer.subject, subject.digest FROM manifests referrer LEFT JOIN manifests subject \
             ON subject.repository_id = $1 AND subject.digest = referrer.subject \
             WHERE referrer.repository_id = $1 AND referrer.digest = $2 AND referrer.subject IS NOT NULL \
             AND referrer.deletion_id IS NULL",
        )
        .bind(image.0)
        .bind(digest.to_string())
        .fetch_optional(c)
        .await)?;
        Ok(row.map(|(subject, here)| (subject, here.is_some())))
    }

    /// Says since when a referrer may be without its subject; none while that is here.
    pub async fn set_dangling(
        &mut self,
        image: RepositoryId,
        digest: &Digest,
        since: Option<Millis>,
    ) -> Result<(), MetadataError> {
        Ok(on!(self.connection(), c => sqlx::query(
            "UPDATE manifests SET dangling_since = $3 WHERE repository_id = $1 AND digest = $2",
        )
        .bind(image.0)
        .bind(digest.to_string())
        .bind(since.map(|since| since.0))
        .execute(c)
        .await
        .map(|_| ()))?)
    }

    /// Keeps in mind when tags left their manifests, for the history is about to forget it.
    pub(super) async fn note_untagged(
        &mut self,
        former: &[FormerTarget],
    ) -> Result<(), MetadataError> {
        let mut latest = BTreeMap::new();
        for target in former {
            let key = (target.repository_id, target.digest.as_str());
            let ended_at = latest.entry(key).or_insert(target.ended_at);
            *ended_at = target.ended_at.max(*ended_at);
        }
        for ((repository, digest), ended_at) in latest {
            on!(self.connection(), c => sqlx::query(
                "UPDATE manifests SET untagged_since = $3 WHERE repository_id = $1 AND digest = $2 \
                 AND (untagged_since IS NULL OR untagged_since < $3)",
            )
            .bind(repository)
            .bind(digest)
            .bind(ended_at)
            .execute(c)
            .await
            .map(|_| ()))?;
        }
        Ok(())
    }
}

//! Deleting, and taking it back: reads answer 404 at once, nothing in use goes, everything comes back byte for byte
//! until its window is over.

use std::sync::Arc;

use berth_storage::Digest;
use serde::Serialize;
use utoipa::ToSchema;

use super::names;
use super::protection::{Going, Protection};
use super::sharing::{HOLDERS_NAMED, shortened};
use super::{Images, RequestError, hold, holders_of_leases};
use crate::audit;
use crate::auth::{
    Covers, Delete, Granted, InUse, InUseReason, Manager, ToAdminister, ToChange, ToRead,
};
use crate::clock::Millis;
use crate::grammar::{Id, Time, documented, word};
use crate::listed::Listed;
use crate::metadata::{
    Deletion, DeletionKind, Lock, MetadataError, NewDeletion, Repository, RepositoryId, TagChange,
    Transaction,
};
use crate::oci::{Reference, RepositoryName, Tag};
use crate::retries::{Retriable, with_retries};

/// Tags and digests that a deletion names at most.
const NAMED: u32 = 100;
/// Deletions read at once for a list: a page at most, and the one behind it.
const LIST_BATCH: u32 = 1001;
/// Rows of one kind that are deleted for good in one change.
const PURGE_BATCH: u32 = 200;
/// How long a deletion that a collector has taken is nobody else's, in milliseconds: ten minutes. Another one that takes
/// it after that waits for its lock, and goes on where the first one is.
const TAKEN_MS: i64 = 10 * 60 * 1000;
/// When a deletion that could not be purged, or hides something leased, is looked at again, in milliseconds: an hour.
const AGAIN_MS: i64 = 60 * 60 * 1000;
/// How long it is known that a deletion was done for good, in milliseconds: 30 days.
const PURGED_KNOWN_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// Shares, leases and deletions that one round of the collector forgets in one change.
const FORGET_BATCH: u32 = 1000;

enum Kind {}
documented!(
    Kind,
    word(
        "What was deleted.",
        [
            DeletionKind::Image,
            DeletionKind::Tag,
            DeletionKind::Manifest,
            DeletionKind::Blob
        ]
        .map(DeletionKind::as_str)
    )
);

/// A deletion, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "id": "0b9f4a2e-6d0c-4f7b-9a53-5f4f4c0f1d2e", "image": "team/app", "kind": "tag", "tags": ["v1"], "digests": [],
    "deletedBy": "key:7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11", "deletedAt": "2026-01-01T00:00:00Z",
    "restorableUntil": "2026-01-08T00:00:00Z", "bytes": 0
})))]
pub struct DeletionView {
    /// Its id: to restore or purge it by.
    #[schema(value_type = Id)]
    pub id: String,
    /// The image it happened in.
    #[schema(value_type = names::ImageName)]
    pub image: String,
    /// `image`, `tag`, `manifest` or `blob`.
    #[schema(value_type = Kind)]
    pub kind: &'static str,
    /// Tags that went with it; the first hundred.
    #[schema(value_type = Vec<names::Tag>)]
    pub tags: Vec<String>,
    /// Manifests or blobs that went with it; the first hundred.
    #[schema(value_type = Vec<names::Digest>)]
    pub digests: Vec<String>,
    /// Who deleted it.
    pub deleted_by: String,
    /// When.
    #[schema(value_type = Time)]
    pub deleted_at: String,
    /// Until when it can be restored; none where the undo window is switched off.
    #[schema(value_type = Option<Time>, required)]
    pub restorable_until: Option<String>,
    /// How much will be free once it is done for good.
    pub bytes: u64,
    /// What its owner should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub warnings: Vec<String>,
}

impl From<&Deletion> for DeletionView {
    fn from(deletion: &Deletion) -> Self {
        let can_be_undone = deletion.restorable_until > deletion.deleted_at;
        Self {
            id: deletion.id.clone(),
            image: image_of(&deletion.name),
            kind: deletion.kind.as_str(),
            tags: deletion.tags.clone(),
            digests: deletion.digests.clone(),
            deleted_by: deletion.deleted_by.clone(),
            deleted_at: deletion.deleted_at.rfc3339(),
            restorable_until: can_be_undone.then(|| deletion.restorable_until.rfc3339()),
            bytes: deletion.bytes,
            warnings: Vec::new(),
        }
    }
}

/// What went, in the audit log.
fn described(deletion: &Deletion) -> String {
    let (tag, digest) = (deletion.tags.first(), deletion.digests.first());
    match (deletion.kind, tag, digest) {
        (DeletionKind::Tag, Some(tag), _) => format!("{}:{tag}", deletion.name),
        (DeletionKind::Manifest | DeletionKind::Blob, _, Some(digest)) => {
            format!("{}@{digest}", deletion.name)
        }
        _ => deletion.name.to_string(),
    }
}

fn image_of(name: &RepositoryName) -> String {
    let image = name.image();
    image.map_or_else(String::new, |image| image.as_str().to_owned())
}

/// Why something was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// No such image.
    #[error("repository {0} is not known")]
    NoRepository(RepositoryName),
    /// No such tag or manifest.
    #[error("manifest {0} is not in this repository")]
    NoManifest(Reference),
    /// No such blob.
    #[error("blob {0} is not in this repository")]
    NoBlob(Digest),
    /// A manifest needs the blob.
    #[error("blob {digest} cannot be deleted: the manifest {manifest} needs it; delete that first")]
    BlobNeeded {
        /// The blob.
        digest: Digest,
        /// A manifest that needs it.
        manifest: Box<Digest>,
    },
    /// Anything else.
    #[error(transparent)]
    Refused(#[from] RequestError),
}

impl From<MetadataError> for DeleteError {
    fn from(error: MetadataError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<crate::auth::Refusal> for DeleteError {
    fn from(refusal: crate::auth::Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<tokio::task::JoinError> for DeleteError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<DeleteError> for RequestError {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::Refused(error) => error,
            DeleteError::NoRepository(name) => super::no_image(&name),
            DeleteError::BlobNeeded { .. } => Self::Conflict(error.to_string()),
            DeleteError::NoManifest(_) | DeleteError::NoBlob(_) => {
                Self::NotFound(error.to_string())
            }
        }
    }
}

impl Retriable for DeleteError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(error) if error.is_conflict())
    }
}

impl Images {
    /// Deletes a whole image. Its name is free at once.
    pub async fn delete_image(
        &self,
        granted: &Granted<Delete>,
        force: bool,
    ) -> Result<DeletionView, DeleteError> {
        let (this, granted) = (self.clone(), granted.clone());
        self.in_turn(Arc::clone(granted.workspace()), async move {
            with_retries!(this.delete_image_once(&granted, force).await)
        })
        .await
    }

    /// Deletes a tag, or a manifest together with the tags that point at it.
    pub async fn delete_reference(
        &self,
        granted: &Granted<Delete>,
        reference: &Reference,
        force: bool,
    ) -> Result<DeletionView, DeleteError> {
        let (this, granted, reference) = (self.clone(), granted.clone(), reference.clone());
        self.in_turn(Arc::clone(granted.workspace()), async move {
            with_retries!(match &reference {
                Reference::Tag(tag) => this.delete_tag_once(&granted, tag, force).await,
                Reference::Digest(digest) =>
                    this.delete_manifest_once(&granted, digest, force).await,
            })
        })
        .await
    }

    /// Deletes a blob's membership of a repository.
    pub async fn delete_blob(
        &self,
        granted: &Granted<Delete>,
        digest: &Digest,
    ) -> Result<(), DeleteError> {
        let (this, granted, digest) = (self.clone(), granted.clone(), *digest);
        self.in_turn(Arc::clone(granted.workspace()), async move {
            with_retries!(this.delete_blob_once(&granted, &digest).await)
        })
        .await
    }

    async fn delete_image_once(
        &self,
        granted: &Granted<Delete>,
        force: bool,
    ) -> Result<DeletionView, DeleteError> {
        let (mut change, repository) = self.begin_deletion(granted).await?;
        if !repository.is_image {
            return Err(DeleteError::NoRepository(granted.repository().clone()));
        }
        let warnings = self
            .check(&mut change, &repository, Going::Image, force)
            .await?;
        let tags = change.tags_of(repository.id, None, "", NAMED).await?;
        let bytes = change.counted_size(repository.id).await?;
        let subject = image_of(&repository.name);
        let going = Gone {
            kind: DeletionKind::Image,
            subject: &subject,
            tags: &tags,
            digests: &[],
            bytes,
        };
        let id = self
            .open_deletion(&mut change, granted.actor(), &repository, &going)
            .await?;
        change
            .remove_repository(repository.id, &repository.name, &id)
            .await?;
        self.finish(change, granted, &id, warnings).await
    }

    async fn delete_tag_once(
        &self,
        granted: &Granted<Delete>,
        tag: &Tag,
        force: bool,
    ) -> Result<DeletionView, DeleteError> {
        let (mut change, repository) = self.begin_deletion(granted).await?;
        let unknown = || DeleteError::NoManifest(Reference::Tag(tag.clone()));
        let digest = change.tag(repository.id, tag).await?;
        let digest = digest.ok_or_else(unknown)?;
        let going = Going::Tag(tag, &digest);
        let warnings = self.check(&mut change, &repository, going, force).await?;
        let gone = Gone {
            kind: DeletionKind::Tag,
            subject: tag.as_str(),
            tags: std::slice::from_ref(tag),
            digests: &[],
            bytes: 0,
        };
        let id = self
            .open_deletion(&mut change, granted.actor(), &repository, &gone)
            .await?;
        let tag_change = TagChange {
            repository: repository.id,
            tag,
            actor: granted.actor(),
            now: self.clock.now(),
        };
        if !change.remove_tag(&tag_change, &id).await? {
            return Err(unknown());
        }
        self.finish(change, granted, &id, warnings).await
    }

    async fn delete_manifest_once(
        &self,
        granted: &Granted<Delete>,
        digest: &Digest,
        force: bool,
    ) -> Result<DeletionView, DeleteError> {
        let (mut change, repository) = self.begin_deletion(granted).await?;
        let manifest = change.manifest(repository.id, digest).await?;
        let manifest =
            manifest.ok_or_else(|| DeleteError::NoManifest(Reference::Digest(*digest)))?;
        let going = Going::Manifest(digest);
        let warnings = self.check(&mut change, &repository, going, force).await?;
        let tags = change
            .tags_of(repository.id, Some(digest), "", NAMED)
            .await?;
        let gone = Gone {
            kind: DeletionKind::Manifest,
            subject: &digest.to_string(),
            tags: &tags,
            digests: std::slice::from_ref(digest),
            bytes: manifest.size_bytes,
        };
        let id = self
            .open_deletion(&mut change, granted.actor(), &repository, &gone)
            .await?;
        let (actor, now) = (granted.actor(), self.clock.now());
        change
            .remove_tags_of(repository.id, digest, actor, now, &id)
            .await?;
        change
            .remove_manifest(repository.id, digest, &id, now)
            .await?;
        self.finish(change, granted, &id, warnings).await
    }

    async fn delete_blob_once(
        &self,
        granted: &Granted<Delete>,
        digest: &Digest,
    ) -> Result<(), DeleteError> {
        let (mut change, repository) = self.begin_deletion(granted).await?;
        let gone = Gone {
            kind: DeletionKind::Blob,
            subject: &digest.to_string(),
            tags: &[],
            digests: std::slice::from_ref(digest),
            bytes: 0,
        };
        let id = self
            .open_deletion(&mut change, granted.actor(), &repository, &gone)
            .await?;
        if !change.remove_link(repository.id, digest, &id).await? {
            return Err(DeleteError::NoBlob(*digest));
        }
        let manifests = change
            .manifests_needing_blob(repository.id, digest, 1)
            .await?;
        if let Some(manifest) = manifests.first() {
            return Err(DeleteError::BlobNeeded {
                digest: *digest,
                manifest: Box::new(*manifest),
            });
        }
        self.finish(change, granted, &id, Vec::new()).await?;
        Ok(())
    }

    async fn check(
        &self,
        change: &mut Transaction,
        repository: &Repository,
        going: Going<'_>,
        force: bool,
    ) -> Result<Vec<String>, RequestError> {
        let protection = Protection {
            repository,
            options: &self.options,
            now: self.clock.now(),
            force,
        };
        protection.check(change, going).await
    }

    /// The repository, held so that no push, share or lease comes in between.
    async fn begin_deletion(
        &self,
        granted: &Granted<Delete>,
    ) -> Result<(Transaction, Repository), DeleteError> {
        let mut change = self.metadata.begin().await?;
        granted.confirm(&mut change, self.clock.now()).await?;
        let name = granted.repository();
        let unknown = || DeleteError::NoRepository(name.clone());
        let repository = change.repository(name).await?.ok_or_else(unknown)?;
        if repository.share_id.is_some() {
            return Err(DeleteError::Refused(RequestError::Forbidden(format!(
                "\"{name}\" is shared by {}: it can be pulled here, and only its owner deletes it; \
                 to be rid of it, drop the share",
                repository.name
            ))));
        }
        let repository = hold(&mut change, name, &repository, Lock::Exclusive).await?;
        Ok((change, repository))
    }

    pub(super) async fn open_deletion(
        &self,
        change: &mut Transaction,
        actor: &str,
        repository: &Repository,
        gone: &Gone<'_>,
    ) -> Result<String, MetadataError> {
        let now = self.clock.now();
        let deletion = NewDeletion {
            workspace_id: &repository.workspace_id,
            repository: repository.id,
            name: &repository.name,
            kind: gone.kind,
            subject: gone.subject,
            tags: gone.tags,
            digests: gone.digests,
            bytes: gone.bytes,
            actor,
            now,
            restorable_until: now.plus(self.options.undo_window_ms),
        };
        change.open_deletion(&deletion).await
    }

    async fn finish(
        &self,
        mut change: Transaction,
        granted: &Granted<Delete>,
        id: &str,
        warnings: Vec<String>,
    ) -> Result<DeletionView, DeleteError> {
        let deletion = change.deletion(granted.workspace_id(), id).await?;
        let deletion =
            deletion.ok_or_else(|| RequestError::Internal(String::from("a new deletion")))?;
        let action = match deletion.kind {
            DeletionKind::Image => "image.delete",
            DeletionKind::Tag => "tag.delete",
            DeletionKind::Manifest => "manifest.delete",
            DeletionKind::Blob => "blob.delete",
        };
        let (own, now) = (Some(granted.workspace_id()), self.clock.now());
        let target = described(&deletion);
        let mut event = audit::done(granted.principal(), own, action, &target, now);
        if !warnings.is_empty() {
            event = event.because(&warnings.join("; "));
        }
        change.audit(&event).await?;
        change.commit().await?;
        Ok(DeletionView {
            warnings,
            ..DeletionView::from(&deletion)
        })
    }

    /// What was deleted and can be restored or purged, newest first.
    pub async fn deletions(
        &self,
        manager: &Manager<ToRead>,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<DeletionView>, RequestError> {
        let mut last = last.map(str::to_owned);
        let mut shown = Vec::new();
        // A narrowed key sees the deletions of images that it reaches.
        loop {
            let rows = self
                .metadata
                .deletions(&manager.workspace().id, last.as_deref(), LIST_BATCH)
                .await?;
            let is_last = rows.len() < LIST_BATCH as usize;
            last = rows.last().map(|row| row.id.clone());
            shown.extend(rows.into_iter().filter(|row| manager.shows(&row.name)));
            if is_last || shown.len() > limit as usize {
                break;
            }
        }
        Ok(Listed::cut(
            shown,
            limit,
            |row| &row.id,
            |row: &Deletion| DeletionView::from(row),
        ))
    }

    /// Brings back everything that went with a deletion.
    pub async fn restore(
        &self,
        manager: &Manager<ToChange>,
        id: &str,
    ) -> Result<DeletionView, RequestError> {
        let (this, manager, id) = (self.clone(), manager.clone(), id.to_owned());
        self.in_turn(Arc::clone(manager.workspace()), async move {
            with_retries!(this.restore_once(&manager, &id).await)
        })
        .await
    }

    async fn restore_once(
        &self,
        manager: &Manager<ToChange>,
        id: &str,
    ) -> Result<DeletionView, RequestError> {
        let (mut change, deletion) = self.hold_deletion(manager, id).await?;
        let (workspace, now) = (&manager.workspace().id, self.clock.now());
        let repository = restorable(&deletion, now)?;
        let by = (manager.actor(), now);
        bring_back(&mut change, &deletion, repository, by).await?;
        change.forget_deletion(id).await?;
        let (by, target) = (manager.principal(), described(&deletion));
        let event = audit::done(by, Some(workspace), "deletion.restore", &target, now);
        change.audit(&event).await?;
        change.commit().await?;
        Ok(DeletionView::from(&deletion))
    }

    /// A deletion of the manager's workspace, held so that nobody else restores or purges it. Whoever judges its window
    /// asks the clock after this: it may have ended while the lock was waited for.
    async fn hold_deletion<W: Covers<Delete>>(
        &self,
        manager: &Manager<W>,
        id: &str,
    ) -> Result<(Transaction, Deletion), RequestError> {
        let mut change = self.metadata.begin().await?;
        manager.confirm(&mut change, self.clock.now()).await?;
        let workspace = &manager.workspace().id;
        let deletion = change.deletion(workspace, id).await?;
        let deletion = deletion.ok_or_else(|| no_deletion(id))?;
        if let Some(image) = deletion.name.image() {
            manager.image::<Delete>(&image)?;
        }
        if let Some(repository) = deletion.repository_id {
            change.lock(repository, Lock::Exclusive).await?;
        }
        // Another one may have restored or purged it while we waited for the lock.
        let deletion = change.deletion(workspace, id).await?;
        let deletion = deletion.ok_or_else(|| no_deletion(id))?;
        Ok((change, deletion))
    }

    /// Does a deletion for good, now.
    pub async fn purge(
        &self,
        manager: &Manager<ToAdminister>,
        id: &str,
    ) -> Result<DeletionView, RequestError> {
        let (this, manager, id) = (self.clone(), manager.clone(), id.to_owned());
        self.in_turn(Arc::clone(manager.workspace()), async move {
            let deletion = with_retries!(this.end_undo(&manager, &id).await)?;
            this.purge_all(&deletion, this.clock.now()).await?;
            Ok(DeletionView::from(&deletion))
        })
        .await
    }

    /// From here on nobody restores it; what is left over by a crash is the collector's.
    async fn end_undo(
        &self,
        manager: &Manager<ToAdminister>,
        id: &str,
    ) -> Result<Deletion, RequestError> {
        let (mut change, deletion) = self.hold_deletion(manager, id).await?;
        let (workspace, now) = (&manager.workspace().id, self.clock.now());
        if deletion.purged_at.is_some() {
            return Err(no_deletion(id));
        }
        let leases = change
            .leases_on_deletion(&deletion, now, HOLDERS_NAMED)
            .await?;
        if !leases.is_empty() {
            return Err(RequestError::InUse(InUse {
                reason: InUseReason::Leased,
                holders: holders_of_leases(leases),
                what: format!("deletion {id}"),
                hint: String::from("wait for the end of the leases on it"),
            }));
        }
        change.end_undo(id, now).await?;
        let (by, target) = (manager.principal(), described(&deletion));
        let event = audit::done(by, Some(workspace), "deletion.purge", &target, now);
        change.audit(&event).await?;
        change.commit().await?;
        Ok(deletion)
    }

    /// Does deletions for good whose windows are over, at most `limit`. For the collector.
    pub async fn purge_due(
        &self,
        now: Millis,
        limit: u32,
    ) -> Result<PurgedDeletions, RequestError> {
        let mut change = self.metadata.begin().await?;
        let due = change
            .take_due_deletions(now, now.plus(TAKEN_MS), limit)
            .await?;
        change.commit().await?;
        let mut purged = PurgedDeletions {
            taken: due.len(),
            ..PurgedDeletions::default()
        };
        for deletion in &due {
            match self.purge_all(deletion, now).await {
                Ok(true) => purged.purged += 1,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(deletion = deletion.id, error = %error, "a deletion could not be purged; later again");
                    let mut change = self.metadata.begin().await?;
                    change
                        .postpone_purge(&deletion.id, now.plus(AGAIN_MS))
                        .await?;
                    change.commit().await?;
                    purged.failed += 1;
                }
            }
        }
        Ok(purged)
    }

    /// Forgets a batch of leases, shares and former targets of tags that have ended; whether there may be more. For the
    /// collector.
    pub async fn forget_ended(&self, now: Millis) -> Result<bool, RequestError> {
        let options = &self.options;
        let history_since = now.plus(-options.undo_window_ms.max(options.shared_untagged_ms));
        let known_since = now.plus(-PURGED_KNOWN_MS);
        let mut change = self.metadata.begin().await?;
        let forgotten = [
            change.forget_ended_leases(now, FORGET_BATCH).await?,
            change
                .forget_expired_shares(known_since, FORGET_BATCH)
                .await?,
            change.forget_purged(known_since, FORGET_BATCH).await?,
            change.forget_history(history_since, FORGET_BATCH).await?,
        ];
        change.commit().await?;
        Ok(forgotten
            .iter()
            .any(|count| *count >= u64::from(FORGET_BATCH)))
    }

    /// Purges in changes of bounded size; what somebody leases is left for later.
    ///
    /// Says whether it was this call that ended it.
    async fn purge_all(&self, deletion: &Deletion, now: Millis) -> Result<bool, RequestError> {
        loop {
            match with_retries!(self.purge_step(deletion, now).await)? {
                Purge::Part => {}
                Purge::Whole => return Ok(true),
                Purge::NotNow => return Ok(false),
            }
        }
    }

    /// Purges a part.
    async fn purge_step(&self, deletion: &Deletion, now: Millis) -> Result<Purge, RequestError> {
        let mut change = self.metadata.begin().await?;
        if let Some(repository) = deletion.repository_id {
            change.lock(repository, Lock::Exclusive).await?;
        }
        // Another worker may have been faster.
        let current = change
            .deletion(&deletion.workspace_id, &deletion.id)
            .await?;
        let Some(current) = current.filter(|current| current.purged_at.is_none()) else {
            return Ok(Purge::NotNow);
        };
        let leases = change.leases_on_deletion(&current, now, 1).await?;
        if !leases.is_empty() {
            change
                .postpone_purge(&current.id, now.plus(AGAIN_MS))
                .await?;
            change.commit().await?;
            return Ok(Purge::NotNow);
        }
        let object_due = now.plus(self.options.object_delay_ms);
        let all = change.purge(&current, now, object_due, PURGE_BATCH).await?;
        change.commit().await?;
        Ok(if all { Purge::Whole } else { Purge::Part })
    }
}

/// What became of deletions whose windows are over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgedDeletions {
    /// How many were looked at.
    pub taken: usize,
    /// How many are done for good.
    pub purged: u64,
    /// How many could not be done, and are tried again later.
    pub failed: u64,
}

/// How far a purge has come.
enum Purge {
    Part,
    Whole,
    /// Somebody leases what it hides, or it is over already.
    NotNow,
}

/// What goes with a deletion.
pub(super) struct Gone<'a> {
    pub(super) kind: DeletionKind,
    pub(super) subject: &'a str,
    pub(super) tags: &'a [Tag],
    pub(super) digests: &'a [Digest],
    pub(super) bytes: u64,
}

/// The repository of a deletion, if that can still be undone.
fn restorable(deletion: &Deletion, now: Millis) -> Result<RepositoryId, RequestError> {
    let is_over = deletion.purged_at.is_some() || deletion.restorable_until <= now;
    deletion.repository_id.filter(|_| !is_over).ok_or_else(|| {
        RequestError::Gone(format!(
            "the deletion could be undone until {}: push the image again",
            deletion.restorable_until.rfc3339()
        ))
    })
}

async fn bring_back(
    change: &mut Transaction,
    deletion: &Deletion,
    repository: RepositoryId,
    (actor, now): (&str, Millis),
) -> Result<(), RequestError> {
    if deletion.kind == DeletionKind::Image {
        if !free_name(change, &deletion.name, actor, now).await? {
            return Err(RequestError::Conflict(format!(
                "there is an image \"{}\" again, or an alias of this name: remove it first",
                image_of(&deletion.name)
            )));
        }
        let workspace = &deletion.workspace_id;
        return Ok(change
            .restore_repository(repository, workspace, &deletion.name)
            .await?);
    }
    if let Some(of_image) = change.deletion_of_repository(repository).await? {
        return Err(RequestError::Conflict(format!(
            "the image itself was deleted afterwards: restore the deletion {of_image} first"
        )));
    }
    let in_the_way = change.tags_in_the_way(&deletion.id, HOLDERS_NAMED).await?;
    if !in_the_way.is_empty() {
        return Err(RequestError::Conflict(format!(
            "the tags {} point elsewhere by now, or their manifests were deleted too: delete these tags, or restore those \
             manifests, first",
            in_the_way.join(", ")
        )));
    }
    change
        .restore_manifests(repository, &deletion.id, now)
        .await?;
    let tags = change.restore_tags(repository, &deletion.id, now).await?;
    if deletion.kind == DeletionKind::Tag && tags == 0 {
        return Err(RequestError::Gone(String::from(
            "what the tag pointed to was deleted for good: push it again",
        )));
    }
    Ok(change.restore_links(repository, &deletion.id, now).await?)
}

/// Whether a name stands for nothing, or for nothing that anybody can see: a push that was never finished gives way,
/// since nobody could remove it. What it has is the collector's at once.
pub(super) async fn free_name(
    change: &mut Transaction,
    name: &RepositoryName,
    actor: &str,
    now: Millis,
) -> Result<bool, MetadataError> {
    let Some(found) = change.repository(name).await? else {
        return Ok(true);
    };
    if found.is_image {
        return Ok(false);
    }
    let found = hold(change, name, &found, Lock::Exclusive).await?;
    if found.is_image {
        return Ok(false);
    }
    let deletion = NewDeletion {
        workspace_id: &found.workspace_id,
        repository: found.id,
        name,
        kind: DeletionKind::Image,
        subject: &image_of(name),
        tags: &[],
        digests: &[],
        bytes: 0,
        actor,
        now,
        restorable_until: now,
    };
    let id = change.open_deletion(&deletion).await?;
    change.remove_repository(found.id, name, &id).await?;
    Ok(true)
}

fn no_deletion(id: &str) -> RequestError {
    RequestError::NotFound(format!("there is no deletion \"{}\"", shortened(id)))
}

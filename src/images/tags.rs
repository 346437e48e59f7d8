//! Tags of an image: a page of them, one, what it pointed to before, and pointing it elsewhere.

use std::sync::Arc;

use std::collections::BTreeSet;

use berth_storage::Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::catalogue::Readable;
use super::{Images, RequestError, find_in, hold, names};
use crate::audit;
use crate::auth::{Granted, InUse, InUseReason, Manager, Push, ToChange, ToRead};
use crate::clock::Millis;
use crate::grammar::{Id, Time};
use crate::listed::Listed;
use crate::metadata::{
    Lock, Repository, TagChange, TagPage, TagRow, TagTarget, Transaction, Workspace,
};
use crate::oci::{ImageName, Precondition, Tag};
use crate::retries::with_retries;

/// A tag, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "name": "v1", "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "mediaType": "application/vnd.oci.image.index.v1+json", "sizeBytes": 4_262_144, "platforms": ["linux/amd64"],
    "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-02T00:00:00Z",
    "lastPulledAt": "2026-01-03T00:00:00Z", "leaseCount": 2
})))]
pub struct TagView {
    /// The tag.
    #[schema(value_type = names::Tag)]
    pub name: Tag,
    /// What it points to.
    #[schema(value_type = names::Digest)]
    pub digest: Digest,
    /// The type of that.
    pub media_type: String,
    /// What that weighs, with all that it needs.
    pub size_bytes: u64,
    /// What it runs on, as far as it is known.
    #[schema(value_type = Vec<names::Platform>)]
    pub platforms: Vec<String>,
    /// When the tag was made.
    #[schema(value_type = Time)]
    pub created_at: String,
    /// When it was last pointed anywhere.
    #[schema(value_type = Time)]
    pub updated_at: String,
    /// When somebody pulled it last, to the owner of the image.
    #[schema(value_type = Option<Time>, required)]
    pub last_pulled_at: Option<String>,
    /// Leases on what it points to, up to a thousand: all of them to the owner, their own to others.
    pub lease_count: u64,
}

impl TagView {
    fn of(row: TagRow, is_own: bool) -> Self {
        Self {
            name: row.name,
            digest: row.manifest.digest,
            media_type: row.manifest.media_type.as_str().to_owned(),
            size_bytes: row.manifest.size_bytes,
            platforms: row.manifest.platforms,
            created_at: row.created_at.rfc3339(),
            updated_at: row.updated_at.rfc3339(),
            last_pulled_at: row.last_pulled_at.filter(|_| is_own).map(Millis::rfc3339),
            lease_count: row.leases,
        }
    }
}

/// What a tag points to, or pointed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "current": true,
    "setBy": "key:7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11", "setAt": "2026-01-01T00:00:00Z", "endedBy": null,
    "endedAt": null, "deletionId": null
})))]
pub struct TagTargetView {
    /// What it is.
    #[schema(value_type = names::Digest)]
    pub digest: Digest,
    /// Whether it points there now.
    pub current: bool,
    /// Who pointed it there, to the owner of the image.
    #[schema(required)]
    pub set_by: Option<String>,
    /// When.
    #[schema(value_type = Time)]
    pub set_at: String,
    /// Who pointed it elsewhere or deleted it, to the owner of the image.
    #[schema(required)]
    pub ended_by: Option<String>,
    /// When.
    #[schema(value_type = Option<Time>, required)]
    pub ended_at: Option<String>,
    /// The deletion that can bring it back, if it was deleted.
    #[schema(value_type = Option<Id>, required)]
    pub deletion_id: Option<String>,
}

impl TagTargetView {
    fn of(target: &TagTarget, is_own: bool) -> Self {
        Self {
            digest: target.digest,
            current: target.id.is_none(),
            set_by: is_own.then(|| target.set_by.clone()),
            set_at: target.set_at.rfc3339(),
            ended_by: target.ended_by.clone().filter(|_| is_own),
            ended_at: target.ended_at.map(Millis::rfc3339),
            deletion_id: target.deletion_id.clone().filter(|_| is_own),
        }
    }
}

/// The order of a list of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagOrder {
    /// By when they were last pointed anywhere, newest first.
    Newest,
    /// Bytewise by their names.
    Name,
}

/// Where to point a tag.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromoteRequest {
    /// A manifest of the image.
    #[schema(value_type = names::Digest)]
    pub digest: Digest,
}

impl Images {
    /// Tags of an image, after `last`.
    pub async fn tags(
        &self,
        manager: &Manager<ToRead>,
        image: &ImageName,
        order: TagOrder,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<TagView>, RequestError> {
        let page = match (order, last) {
            (TagOrder::Name, last) => TagPage::ByName(last.unwrap_or_default().to_owned()),
            (TagOrder::Newest, None) => TagPage::Newest(None),
            (TagOrder::Newest, Some(last)) => TagPage::Newest(Some(parse_position(last)?)),
        };
        let found = self.readable(manager, image).await?;
        let rows = self.tag_rows(&found, manager.workspace(), &page, limit.saturating_add(1));
        let mut rows = rows.await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|row| match order {
            TagOrder::Name => row.name.to_string(),
            TagOrder::Newest => format!("{} {}", row.updated_at.0, row.name),
        });
        let view = |row| TagView::of(row, found.is_own);
        Ok(Listed {
            items: rows.into_iter().map(view).collect(),
            next,
        })
    }

    /// The tag of an image that was last pointed anywhere, as a list of its own.
    pub async fn newest_tag(
        &self,
        manager: &Manager<ToRead>,
        image: &ImageName,
    ) -> Result<Listed<TagView>, RequestError> {
        let found = self.readable(manager, image).await?;
        let page = TagPage::Newest(None);
        Ok(Listed {
            items: self
                .tag_views(&found, manager.workspace(), &page, 1)
                .await?,
            next: None,
        })
    }

    /// One tag.
    pub async fn tag(
        &self,
        manager: &Manager<ToRead>,
        image: &ImageName,
        tag: &Tag,
    ) -> Result<TagView, RequestError> {
        let found = self.readable(manager, image).await?;
        let page = TagPage::Only(tag.clone());
        let views = self
            .tag_views(&found, manager.workspace(), &page, 1)
            .await?;
        views.into_iter().next().ok_or_else(|| no_tag(image, tag))
    }

    async fn tag_rows(
        &self,
        found: &Readable,
        workspace: &Workspace,
        page: &TagPage,
        limit: u32,
    ) -> Result<Vec<TagRow>, RequestError> {
        let leases_of = (!found.is_own).then_some(workspace.id.as_str());
        let (id, now) = (found.repository.id, self.clock.now());
        Ok(self
            .metadata
            .tag_rows(id, page, leases_of, now, limit)
            .await?)
    }

    pub(super) async fn tag_views(
        &self,
        found: &Readable,
        workspace: &Workspace,
        page: &TagPage,
        limit: u32,
    ) -> Result<Vec<TagView>, RequestError> {
        let rows = self.tag_rows(found, workspace, page, limit).await?;
        let view = |row| TagView::of(row, found.is_own);
        Ok(rows.into_iter().map(view).collect())
    }

    /// What a tag points to and pointed to before, newest first, after `last`. A deleted tag has a history too, as long
    /// as its deletion can be undone.
    pub async fn tag_history(
        &self,
        manager: &Manager<ToRead>,
        image: &ImageName,
        tag: &Tag,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<TagTargetView>, RequestError> {
        let found = self.readable(manager, image).await?;
        let repository = found.repository.id;
        // The present target comes first and is no row of the history: after it the first page goes on from the newest.
        let last_id = match last {
            None | Some(PRESENT) => None,
            Some(last) => Some(last.parse::<i64>().map_err(|_| bad_cursor())?),
        };
        let mut targets = Vec::new();
        if last.is_none() {
            targets.extend(self.metadata.tag_target(repository, tag).await?);
        }
        let wanted = limit.saturating_add(1);
        let history = self.metadata.tag_history(repository, tag, last_id, wanted);
        targets.extend(history.await?);
        if targets.is_empty() && last.is_none() {
            return Err(no_tag(image, tag));
        }
        let more = targets.len() > limit as usize;
        targets.truncate(limit as usize);
        let id = |target: &TagTarget| {
            let id = target.id;
            id.map_or_else(|| PRESENT.to_owned(), |id| id.to_string())
        };
        let view = |target| TagTargetView::of(target, found.is_own);
        Ok(Listed {
            next: targets.last().filter(|_| more).map(id),
            items: targets.iter().map(view).collect(),
        })
    }

    /// Points a tag at a manifest that the image has.
    pub async fn promote(
        &self,
        manager: &Manager<ToChange>,
        image: &ImageName,
        tag: &Tag,
        request: &PromoteRequest,
        precondition: Precondition,
    ) -> Result<TagView, RequestError> {
        let promotion = Promotion {
            granted: manager.image::<Push>(image)?,
            tag: tag.clone(),
            digest: request.digest,
            precondition,
        };
        let this = self.clone();
        let repository = self
            .in_turn(Arc::clone(manager.workspace()), async move {
                with_retries!(this.promote_once(&promotion).await)
            })
            .await?;
        let found = Readable {
            name: repository.name.clone(),
            repository,
            is_own: true,
        };
        let page = TagPage::Only(tag.clone());
        let views = self
            .tag_views(&found, manager.workspace(), &page, 1)
            .await?;
        views.into_iter().next().ok_or_else(|| no_tag(image, tag))
    }

    async fn promote_once(&self, promotion: &Promotion) -> Result<Repository, RequestError> {
        let (granted, tag, digest) = (&promotion.granted, &promotion.tag, &promotion.digest);
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        granted.confirm(&mut change, now).await?;
        let repository =
            hold_own_image(&mut change, granted, Lock::Shared, "its tags move").await?;
        let tags = BTreeSet::from([tag.clone()]);
        change.lock_tags(repository.id, &tags).await?;
        let current = change.tag(repository.id, tag).await?;
        promotion.precondition.check(current).map_err(|error| {
            RequestError::PreconditionFailed(format!("the precondition does not hold: {error}"))
        })?;
        if change.manifest(repository.id, digest).await?.is_none() {
            return Err(RequestError::NotFound(format!(
                "the image has no manifest {digest}"
            )));
        }
        if current.is_some_and(|current| current != *digest) && repository.immutable_tags.hold(tag)
        {
            return Err(RequestError::InUse(InUse {
                reason: InUseReason::Immutable,
                holders: Vec::new(),
                what: format!("what tag {tag} points to"),
                hint: String::from("use another tag, or let an admin change immutableTags"),
            }));
        }
        let tag_change = TagChange {
            repository: repository.id,
            tag,
            actor: granted.actor(),
            now,
        };
        change.put_tag(&tag_change, digest).await?;
        let (by, own) = (granted.principal(), Some(granted.workspace_id()));
        let target = format!("{}:{tag}@{digest}", repository.name);
        let event = audit::done(by, own, "tag.promote", &target, now);
        change.audit(&event).await?;
        change.commit().await?;
        Ok(repository)
    }
}

/// A tag on its way to another manifest.
struct Promotion {
    granted: Granted<Push>,
    tag: Tag,
    digest: Digest,
    precondition: Precondition,
}

/// In place of a row of the history: where the tag points now.
const PRESENT: &str = "present";

/// Holds the image, unless it is another workspace's: `what` happens only there.
pub(super) async fn hold_own_image<P: crate::auth::Permission>(
    change: &mut Transaction,
    granted: &Granted<P>,
    lock: Lock,
    what: &str,
) -> Result<Repository, RequestError> {
    let name = granted.repository();
    let found = find_in(change, name).await?;
    if found.share_id.is_none() {
        return Ok(hold(change, name, &found, lock).await?);
    }
    Err(RequestError::Forbidden(format!(
        "\"{name}\" is shared by {}: it can be pulled here, and {what} only there",
        found.name
    )))
}

/// A time and a name.
fn parse_position(text: &str) -> Result<(Millis, String), RequestError> {
    let (at, name) = text.split_once(' ').ok_or_else(bad_cursor)?;
    let at = at.parse().map_err(|_| bad_cursor())?;
    Ok((Millis(at), name.to_owned()))
}

fn bad_cursor() -> RequestError {
    RequestError::BadRequest(String::from(
        "the cursor is not one of this list: use nextCursor as it was given",
    ))
}

fn no_tag(image: &ImageName, tag: &Tag) -> RequestError {
    RequestError::NotFound(format!("the image \"{image}\" has no tag \"{tag}\""))
}

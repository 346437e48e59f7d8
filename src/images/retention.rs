//! What goes by itself: tags by the rules of a policy, manifests that have had no tag for long, and referrers whose subject
//! never came.
//!
//! It goes by deletions that can be undone like those of people. A manifest without a tag is not for that one that
//! nobody uses: what an index names, also a deleted one that can come back, what is leased, shared or protected, what
//! refers to something that is there, and what a tag may point to again, stays. Each thing is judged once more in the
//! change that deletes it.

mod policy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_storage::Digest;
use serde::Serialize;
use utoipa::ToSchema;

use super::deletions::Gone;
use super::names;
use super::protection::{Going, Protection};
use super::sharing::HOLDERS_NAMED;
use super::tags::hold_own_image;
use super::{Images, RequestError, hold};
use crate::audit;
use crate::auth::{Granted, Manage, Manager, Pull, ToAdminister, ToRead};
use crate::clock::Millis;
use crate::metadata::{
    DeletionKind, LeaseFilter, Lock, NewAuditEvent, Repository, RetainedImage, RetainedTag,
    TagChange, Transaction, UntaggedManifest,
};
use crate::oci::ImageName;
use crate::retries::with_retries;
use policy::{DAY_MS, Ruling, Rulings};
pub use policy::{RetentionPolicy, RetentionRule};

/// Who deletes what retention lets go.
const ACTOR: &str = "retention";
/// How often the images of a workspace are looked at, in milliseconds: once an hour.
const EVERY_MS: i64 = 60 * 60 * 1000;
/// How long a workspace that a collector has taken is nobody else's, in milliseconds: ten minutes.
const TAKEN_MS: i64 = 10 * 60 * 1000;
/// Images that are looked at before it is written down how far the look has come.
const IMAGES_AT_ONCE: u32 = 20;
/// Tags or manifests that are read at once.
const PAGE: u32 = 500;
/// How long what somebody has taken back is left alone, in milliseconds: a week.
const RESTORED_MS: i64 = 7 * DAY_MS;
/// How long a preview looks before it tells what it has found by then.
const PREVIEW_TIME: Duration = Duration::from_secs(5);
/// When a referrer that something keeps is looked at again, in milliseconds: a day.
const REFERRER_AGAIN_MS: i64 = DAY_MS;

/// A policy, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionView {
    /// Whether the image has a policy of its own; in its place that of the workspace holds.
    pub inherited: bool,
    /// What holds.
    pub policy: RetentionPolicy,
}

/// What a policy says of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionVerdict {
    /// The image.
    #[schema(value_type = names::ImageName)]
    pub image: String,
    /// The tag; none for a manifest without one.
    #[schema(value_type = Option<names::Tag>, required)]
    pub tag: Option<String>,
    /// The manifest.
    #[schema(value_type = names::Digest)]
    pub digest: String,
    /// Whether it goes.
    pub goes: bool,
    /// The rule that takes it, or what keeps it from that.
    #[schema(examples("the rule for pr-*, keepLast 10"))]
    pub reason: String,
    /// What the manifest and all it needs weigh, where it is one without a tag, in bytes.
    pub size_bytes: u64,
}

/// What a policy would do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPreview {
    /// How many of the items go.
    pub going: u64,
    /// What goes, and what a rule names that something keeps.
    pub items: Vec<RetentionVerdict>,
    /// Whether that is all: else there was more than was asked for, or than could be looked at in a few seconds.
    pub complete: bool,
}

/// What retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Whether there was anything to look at.
    pub looked: bool,
    /// Tags and manifests that were deleted.
    pub deleted: u64,
    /// What could not be done, and is tried again later.
    pub failed: u64,
}

/// Something that a policy takes.
enum Candidate<'a> {
    Tag(&'a RetainedTag),
    Untagged(&'a UntaggedManifest, Millis),
    Referrer(&'a Digest),
}

impl Candidate<'_> {
    fn digest(&self) -> &Digest {
        match self {
            Self::Tag(tag) => &tag.digest,
            Self::Untagged(manifest, _) => &manifest.digest,
            Self::Referrer(digest) => digest,
        }
    }

    fn going(&self) -> Going<'_> {
        match self {
            Self::Tag(tag) => Going::Tag(&tag.name, &tag.digest),
            Self::Untagged(..) | Self::Referrer(_) => Going::Manifest(self.digest()),
        }
    }
}

/// Whether verdicts are carried out, or told.
enum Mode<'a> {
    Apply(&'a mut Retained),
    Tell {
        preview: &'a mut RetentionPreview,
        limit: usize,
        until: Instant,
    },
}

impl Images {
    /// The policy of a workspace.
    pub async fn workspace_retention(
        &self,
        manager: &Manager<ToRead>,
    ) -> Result<RetentionView, RequestError> {
        let stored = self
            .metadata
            .policies(&manager.workspace().id, None)
            .await?;
        Ok(RetentionView {
            inherited: false,
            policy: RetentionPolicy::of(&stored)?,
        })
    }

    /// The policy that holds for an image.
    pub async fn image_retention(
        &self,
        manager: &Manager<ToRead>,
        image: &ImageName,
    ) -> Result<RetentionView, RequestError> {
        let repository = self.own(manager, image).await?;
        let stored = self
            .metadata
            .policies(&repository.workspace_id, Some(repository.id))
            .await?;
        Ok(RetentionView {
            inherited: stored.image.is_none(),
            policy: RetentionPolicy::of(&stored)?,
        })
    }

    async fn own(
        &self,
        manager: &Manager<ToRead>,
        image: &ImageName,
    ) -> Result<Repository, RequestError> {
        let granted = manager.image::<Pull>(image)?;
        let repository = self.find(granted.repository()).await?;
        if repository.share_id.is_some() {
            return Err(RequestError::Forbidden(format!(
                "\"{image}\" is shared by {}: how long its tags stay is its owner's",
                repository.name
            )));
        }
        Ok(repository)
    }

    /// Sets the policy of a workspace, or takes it away.
    pub async fn set_workspace_retention(
        &self,
        manager: &Manager<ToAdminister>,
        policy: Option<RetentionPolicy>,
    ) -> Result<RetentionView, RequestError> {
        if let Some(policy) = &policy {
            policy.check()?;
        }
        let policy = policy.unwrap_or_default();
        let (this, manager, wanted) = (self.clone(), manager.clone(), policy.clone());
        self.in_turn(Arc::clone(manager.workspace()), async move {
            with_retries!(this.set_workspace_once(&manager, &wanted).await)
        })
        .await?;
        Ok(RetentionView {
            inherited: false,
            policy,
        })
    }

    async fn set_workspace_once(
        &self,
        manager: &Manager<ToAdminister>,
        policy: &RetentionPolicy,
    ) -> Result<(), RequestError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        manager.confirm(&mut change, now).await?;
        let text = policy.text();
        let stored = (*policy != RetentionPolicy::default()).then_some(text.as_str());
        let workspace = manager.workspace();
        change
            .set_workspace_policy(workspace, policy.untagged_days(), stored)
            .await?;
        let (by, own) = (manager.principal(), Some(workspace.id.as_str()));
        let event = audit::done(by, own, "retention.update", &workspace.name, now).because(&text);
        change.audit(&event).await?;
        Ok(change.commit().await?)
    }

    /// Sets the policy of an image, or takes it away, so that its workspace's holds.
    pub async fn set_image_retention(
        &self,
        manager: &Manager<ToAdminister>,
        image: &ImageName,
        policy: Option<RetentionPolicy>,
    ) -> Result<RetentionView, RequestError> {
        if let Some(policy) = &policy {
            policy.check()?;
        }
        let granted = manager.image::<Manage>(image)?;
        let this = self.clone();
        self.in_turn(Arc::clone(manager.workspace()), async move {
            with_retries!(this.set_image_once(&granted, policy.as_ref()).await)
        })
        .await
    }

    async fn set_image_once(
        &self,
        granted: &Granted<Manage>,
        policy: Option<&RetentionPolicy>,
    ) -> Result<RetentionView, RequestError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        granted.confirm(&mut change, now).await?;
        let what = "how long its tags stay is set";
        let repository = hold_own_image(&mut change, granted, Lock::Shared, what).await?;
        let text = policy.map(RetentionPolicy::text);
        change
            .set_image_policy(&repository.workspace_id, repository.id, text.as_deref())
            .await?;
        let (by, own) = (granted.principal(), Some(granted.workspace_id()));
        let target = repository.name.as_str();
        let what = text.as_deref().unwrap_or("as its workspace");
        let event = audit::done(by, own, "retention.update", target, now).because(what);
        change.audit(&event).await?;
        change.commit().await?;
        let stored = self
            .metadata
            .policies(&repository.workspace_id, Some(repository.id))
            .await?;
        Ok(RetentionView {
            inherited: stored.image.is_none(),
            policy: RetentionPolicy::of(&stored)?,
        })
    }

    /// What a policy would do now to the images of a workspace, or to one: the given one, or the one that holds.
    pub async fn preview_retention(
        &self,
        manager: &Manager<ToRead>,
        image: Option<&ImageName>,
        policy: Option<RetentionPolicy>,
        limit: u32,
    ) -> Result<RetentionPreview, RequestError> {
        if let Some(policy) = &policy {
            policy.check()?;
        }
        let turn = self.turns.wait(&manager.workspace().id).await;
        let _turn = turn.map_err(RequestError::from)?;
        let now = self.clock.now();
        let until = Instant::now() + PREVIEW_TIME;
        let mut preview = RetentionPreview {
            going: 0,
            items: Vec::new(),
            complete: true,
        };
        if let Some(image) = image {
            let repository = self.own(manager, image).await?;
            let image = RetainedImage {
                id: repository.id,
                name: repository.name,
            };
            self.tell(
                manager,
                &image,
                policy.as_ref(),
                now,
                (&mut preview, limit, until),
            )
            .await?;
            return Ok(preview);
        }
        let mut last = String::new();
        loop {
            let images = self
                .metadata
                .retained_images(&manager.workspace().id, &last, IMAGES_AT_ONCE)
                .await?;
            for image in &images {
                if manager.shows(&image.name) && preview.complete {
                    self.tell(
                        manager,
                        image,
                        policy.as_ref(),
                        now,
                        (&mut preview, limit, until),
                    )
                    .await?;
                }
                image.name.as_str().clone_into(&mut last);
            }
            if images.len() < IMAGES_AT_ONCE as usize || !preview.complete {
                return Ok(preview);
            }
        }
    }

    async fn tell(
        &self,
        manager: &Manager<ToRead>,
        image: &RetainedImage,
        policy: Option<&RetentionPolicy>,
        now: Millis,
        (preview, limit, until): (&mut RetentionPreview, u32, Instant),
    ) -> Result<(), RequestError> {
        let workspace_id = &manager.workspace().id;
        let held;
        let policy = if let Some(policy) = policy {
            policy
        } else {
            let stored = self.metadata.policies(workspace_id, Some(image.id)).await?;
            held = RetentionPolicy::of(&stored)?;
            &held
        };
        let limit = limit as usize;
        let mut mode = Mode::Tell {
            preview,
            limit,
            until,
        };
        if mode.is_late() {
            return Ok(());
        }
        self.judge(image, policy, now, &mut mode).await
    }

    /// Looks at the next images of a workspace whose time has come, and deletes what their policies take. For the
    /// collector.
    pub async fn apply_retention(&self, now: Millis) -> Result<Retained, RequestError> {
        let mut change = self.metadata.begin().await?;
        let run = change.take_retention_run(now, now.plus(TAKEN_MS)).await?;
        change.commit().await?;
        let Some(run) = run else {
            return Ok(Retained::default());
        };
        let mut retained = Retained {
            looked: true,
            ..Retained::default()
        };
        let images = self
            .metadata
            .retained_images(&run.workspace_id, &run.last, IMAGES_AT_ONCE)
            .await?;
        for image in &images {
            if let Err(error) = self
                .retain(&run.workspace_id, image, now, &mut retained)
                .await
            {
                tracing::warn!(repository = %image.name, error = %error, "retention could not look at an image; later again");
                retained.failed += 1;
            }
        }
        let is_last = images.len() < IMAGES_AT_ONCE as usize;
        let (due, last) = match images.last() {
            Some(image) if !is_last => (now, image.name.as_str()),
            Some(_) | None => (now.plus(EVERY_MS), ""),
        };
        let mut change = self.metadata.begin().await?;
        change
            .schedule_retention(&run.workspace_id, due, last)
            .await?;
        if is_last {
            change.end_retention(&run.workspace_id).await?;
        }
        change.commit().await?;
        Ok(retained)
    }

    async fn retain(
        &self,
        workspace_id: &str,
        image: &RetainedImage,
        now: Millis,
        retained: &mut Retained,
    ) -> Result<(), RequestError> {
        let stored = self.metadata.policies(workspace_id, Some(image.id)).await?;
        let policy = RetentionPolicy::of(&stored)?;
        let mut mode = Mode::Apply(retained);
        self.judge(image, &policy, now, &mut mode).await
    }

    async fn judge(
        &self,
        image: &RetainedImage,
        policy: &RetentionPolicy,
        now: Millis,
        mode: &mut Mode<'_>,
    ) -> Result<(), RequestError> {
        if policy.has_rules() {
            self.judge_tags(image, policy, now, mode).await?;
        }
        let Some(since) = policy.untagged_since(now) else {
            return Ok(());
        };
        let rule = format!("no tag for {} days", policy.untagged_days().unwrap_or(0));
        let mut last = String::new();
        loop {
            let page = self
                .metadata
                .untagged_manifests(image.id, since, &last, PAGE)
                .await?;
            for manifest in &page {
                last = manifest.digest.to_string();
                let candidate = Candidate::Untagged(manifest, since);
                if !self.settle(image, &candidate, &rule, now, mode).await? {
                    return Ok(());
                }
            }
            if page.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    async fn judge_tags(
        &self,
        image: &RetainedImage,
        policy: &RetentionPolicy,
        now: Millis,
        mode: &mut Mode<'_>,
    ) -> Result<(), RequestError> {
        let mut rulings = Rulings::new(policy, now);
        let mut last: Option<RetainedTag> = None;
        loop {
            let after = last.as_ref().map(|tag| (tag.updated_at, &tag.name));
            let page = self.metadata.retained_tags(image.id, after, PAGE).await?;
            if mode.is_late() {
                return Ok(());
            }
            for tag in &page {
                let more = match rulings.on(tag) {
                    Ruling::Unnamed => true,
                    Ruling::Kept(reason) => {
                        mode.tell(verdict(image, &Candidate::Tag(tag), false, reason))
                    }
                    Ruling::Taken(rule) => {
                        self.settle(image, &Candidate::Tag(tag), &rule, now, mode)
                            .await?
                    }
                };
                if !more {
                    return Ok(());
                }
            }
            let is_last = page.len() < PAGE as usize;
            last = page.into_iter().last();
            if is_last {
                return Ok(());
            }
        }
    }

    /// Deletes a candidate, or tells whether it goes; `false` when there is no room to tell more.
    async fn settle(
        &self,
        image: &RetainedImage,
        candidate: &Candidate<'_>,
        rule: &str,
        now: Millis,
        mode: &mut Mode<'_>,
    ) -> Result<bool, RequestError> {
        match mode {
            Mode::Tell { .. } => {
                if mode.is_late() {
                    return Ok(false);
                }
                if mode.is_full() {
                    return Ok(mode.tell(verdict(image, candidate, true, String::new())));
                }
                let verdict = match self.why_kept_now(image, candidate, now).await? {
                    None => verdict(image, candidate, true, rule.to_owned()),
                    Some(reason) => verdict(image, candidate, false, reason),
                };
                Ok(mode.tell(verdict))
            }
            Mode::Apply(retained) => {
                // What is kept for long takes no lock at each look: pushes to the image wait for that.
                let settled = match self.why_kept_now(image, candidate, now).await {
                    Ok(None) => {
                        with_retries!(self.delete_candidate(image, candidate, rule, now).await)
                    }
                    kept => kept.map(|_| false),
                };
                match settled {
                    Ok(true) => retained.deleted += 1,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(
                            repository = %image.name, digest = %candidate.digest(), error = %error,
                            "retention could not delete something; later again"
                        );
                        retained.failed += 1;
                    }
                }
                Ok(true)
            }
        }
    }

    /// What keeps a candidate as things are now, if anything does.
    async fn why_kept_now(
        &self,
        image: &RetainedImage,
        candidate: &Candidate<'_>,
        now: Millis,
    ) -> Result<Option<String>, RequestError> {
        let mut change = self.metadata.look().await?;
        match change.repository(&image.name).await? {
            Some(repository) if repository.id == image.id => {
                self.why_kept(&mut change, &repository, candidate, now)
                    .await
            }
            Some(_) | None => Ok(Some(String::from("the image is being deleted"))),
        }
    }

    /// Deletes a candidate unless something keeps it. Says whether it did.
    async fn delete_candidate(
        &self,
        image: &RetainedImage,
        candidate: &Candidate<'_>,
        rule: &str,
        now: Millis,
    ) -> Result<bool, RequestError> {
        let mut change = self.metadata.begin().await?;
        let Some(found) = change.repository(&image.name).await? else {
            return Ok(false);
        };
        let repository = hold(&mut change, &image.name, &found, Lock::Exclusive).await?;
        if repository.id != image.id || repository.share_id.is_some() {
            return Ok(false);
        }
        if self
            .why_kept(&mut change, &repository, candidate, now)
            .await?
            .is_some()
        {
            return Ok(false);
        }
        let digest = candidate.digest();
        let (action, target) = match candidate {
            Candidate::Tag(tag) => {
                let gone = Gone {
                    kind: DeletionKind::Tag,
                    subject: tag.name.as_str(),
                    tags: std::slice::from_ref(&tag.name),
                    digests: &[],
                    bytes: 0,
                };
                let id = self
                    .open_deletion(&mut change, ACTOR, &repository, &gone)
                    .await?;
                let tag_change = TagChange {
                    repository: repository.id,
                    tag: &tag.name,
                    actor: ACTOR,
                    now,
                };
                change.remove_tag(&tag_change, &id).await?;
                ("tag.delete", format!("{}:{}", repository.name, tag.name))
            }
            Candidate::Untagged(..) | Candidate::Referrer(_) => {
                let row = change.manifest(repository.id, digest).await?;
                let gone = Gone {
                    kind: DeletionKind::Manifest,
                    subject: &digest.to_string(),
                    tags: &[],
                    digests: std::slice::from_ref(digest),
                    bytes: row.map_or(0, |row| row.size_bytes),
                };
                let id = self
                    .open_deletion(&mut change, ACTOR, &repository, &gone)
                    .await?;
                change
                    .remove_manifest(repository.id, digest, &id, now)
                    .await?;
                ("manifest.delete", format!("{}@{digest}", repository.name))
            }
        };
        let own = Some(repository.workspace_id.as_str());
        let event = NewAuditEvent::new(now, own, ACTOR, action, &target).because(rule);
        change.audit(&event).await?;
        change.commit().await?;
        Ok(true)
    }

    /// What keeps a candidate, if anything does.
    async fn why_kept(
        &self,
        change: &mut Transaction,
        repository: &Repository,
        candidate: &Candidate<'_>,
        now: Millis,
    ) -> Result<Option<String>, RequestError> {
        let digest = candidate.digest();
        match candidate {
            Candidate::Tag(tag) => {
                let current = change.retained_tag(repository.id, &tag.name).await?;
                let Some(current) = current
                    .filter(|now| (now.updated_at, now.digest) == (tag.updated_at, tag.digest))
                else {
                    return Ok(Some(String::from("it was pointed elsewhere meanwhile")));
                };
                if current.pulled_at != tag.pulled_at {
                    return Ok(Some(String::from("it was pulled just now")));
                }
                if current
                    .restored_at
                    .is_some_and(|at| at.plus(RESTORED_MS) > now)
                {
                    return Ok(Some(String::from("it was restored in the last 7 days")));
                }
            }
            Candidate::Untagged(_, since) => {
                if !change.is_untagged(repository.id, digest, *since).await? {
                    return Ok(Some(String::from("it was pushed or tagged meanwhile")));
                }
            }
            Candidate::Referrer(digest) => match change.subject_of(repository.id, digest).await? {
                Some((_, false)) => {}
                Some((subject, true)) => {
                    return Ok(Some(format!("its subject {subject} is here again")));
                }
                None => return Ok(Some(String::from("it is being deleted"))),
            },
        }
        let leases = LeaseFilter {
            repository: repository.id,
            digest: Some(digest),
            workspace_id: None,
            but_not_of: None,
        };
        let leases = change.lease_holders(&leases, now, HOLDERS_NAMED).await?;
        if let Some(lease) = leases.first() {
            return Ok(Some(format!(
                "{} of {} leases it",
                lease.holder, lease.workspace
            )));
        }
        if !matches!(candidate, Candidate::Tag(_))
            && let Some(reason) = self.why_rooted(change, repository, digest, now).await?
        {
            return Ok(Some(reason));
        }
        let protection = Protection {
            repository,
            options: &self.options,
            now,
            force: false,
        };
        match protection.check(change, candidate.going()).await {
            Ok(_) => Ok(None),
            Err(RequestError::InUse(in_use)) => Ok(Some(in_use.to_string())),
            Err(error) => Err(error),
        }
    }

    async fn why_rooted(
        &self,
        change: &mut Transaction,
        repository: &Repository,
        digest: &Digest,
        now: Millis,
    ) -> Result<Option<String>, RequestError> {
        let parents = change
            .indexes_that_were_or_are(repository.id, digest, 1)
            .await?;
        if let Some(index) = parents.first() {
            return Ok(Some(format!("the index {index} has it as a child")));
        }
        let history_since = now.plus(-self.options.undo_window_ms);
        if change
            .is_rooted(repository.id, digest, now, history_since)
            .await?
        {
            return Ok(Some(String::from(
                "a tag points to it, or pointed to it a short while ago",
            )));
        }
        Ok(None)
    }

    /// Deletes referrers whose subject has not been there since `since`. For the collector.
    pub async fn collect_referrers(
        &self,
        now: Millis,
        since: Millis,
        limit: u32,
    ) -> Result<(usize, Retained), RequestError> {
        let due = self.metadata.dangling_referrers(since, limit).await?;
        let mut retained = Retained {
            looked: !due.is_empty(),
            ..Retained::default()
        };
        for referrer in &due {
            let image = RetainedImage {
                id: referrer.repository,
                name: referrer.name.clone(),
            };
            // What is looked at without going is looked at again in a day.
            let again = since.plus(REFERRER_AGAIN_MS);
            match with_retries!(
                self.collect_referrer(&image, &referrer.digest, now, again)
                    .await
            ) {
                Ok(true) => retained.deleted += 1,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(
                        repository = %image.name, digest = %referrer.digest, error = %error,
                        "a referrer could not be deleted; later again"
                    );
                    retained.failed += 1;
                    let mut change = self.metadata.begin().await?;
                    change
                        .set_dangling(image.id, &referrer.digest, Some(again))
                        .await?;
                    change.commit().await?;
                }
            }
        }
        Ok((due.len(), retained))
    }

    async fn collect_referrer(
        &self,
        image: &RetainedImage,
        digest: &Digest,
        now: Millis,
        again: Millis,
    ) -> Result<bool, RequestError> {
        let mut change = self.metadata.begin().await?;
        change.lock(image.id, Lock::Shared).await?;
        let subject = change.subject_of(image.id, digest).await?;
        let is_dangling = matches!(&subject, Some((_, false)));
        let next = is_dangling.then_some(again);
        change.set_dangling(image.id, digest, next).await?;
        change.commit().await?;
        let Some((subject, false)) = subject else {
            return Ok(false);
        };
        let rule = format!("its subject {subject} is not here");
        self.delete_candidate(image, &Candidate::Referrer(digest), &rule, now)
            .await
    }
}

fn verdict(
    image: &RetainedImage,
    candidate: &Candidate<'_>,
    goes: bool,
    reason: String,
) -> RetentionVerdict {
    let name = image.name.image();
    RetentionVerdict {
        image: name.map_or_else(String::new, |image| image.as_str().to_owned()),
        tag: match candidate {
            Candidate::Tag(tag) => Some(tag.name.to_string()),
            Candidate::Untagged(..) | Candidate::Referrer(_) => None,
        },
        digest: candidate.digest().to_string(),
        goes,
        reason,
        size_bytes: match candidate {
            Candidate::Untagged(manifest, _) => manifest.size_bytes,
            Candidate::Tag(_) | Candidate::Referrer(_) => 0,
        },
    }
}

impl Mode<'_> {
    fn is_full(&self) -> bool {
        matches!(self, Self::Tell { preview, limit, .. } if preview.items.len() >= *limit)
    }

    /// Whether there is no time to tell more; then what was told is not all.
    fn is_late(&mut self) -> bool {
        let Self::Tell { preview, until, .. } = self else {
            return false;
        };
        let is_late = Instant::now() >= *until;
        preview.complete &= !is_late;
        is_late
    }

    /// Notes a verdict; `false` when there is no room for it.
    fn tell(&mut self, verdict: RetentionVerdict) -> bool {
        let Self::Tell { preview, limit, .. } = self else {
            return true;
        };
        if preview.items.len() >= *limit {
            preview.complete = false;
            return false;
        }
        preview.going += u64::from(verdict.goes);
        preview.items.push(verdict);
        true
    }
}

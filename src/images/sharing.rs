//! Sharing an image with another workspace: `<target prefix>/<alias>` stands for the source, to be pulled alone.
//!
//! Inside an account a share is active at once. Another account has to accept it; until then it is pending, and ends by
//! itself after a while.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::deletions::free_name;
use super::names::{self, WorkspaceName};
use super::{Images, RequestError, find_in, hold, holders_of_leases};
use crate::audit;
use crate::auth::{
    Granted, Holder, InUse, InUseReason, Manage, Manager, Principal, ToAdminister, ToRead,
};
use crate::clock::Millis;
use crate::grammar::{Id, Time, documented, word};
use crate::listed::Listed;
use crate::metadata::{
    Direction, LeaseFilter, Lock, NewShare, RepositoryId, Share, ShareStatus, Transaction,
    Workspace,
};
use crate::oci::{ImageName, RepositoryName};
use crate::retries::with_retries;

/// Holders that a refusal names at most.
pub(super) const HOLDERS_NAMED: u32 = 5;

enum Status {}
documented!(
    Status,
    word(
        "Whether a share counts, or waits to be accepted.",
        [ShareStatus::Active, ShareStatus::Pending].map(ShareStatus::as_str)
    )
);

/// With whom to share an image.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"targetWorkspace": "site"})))]
pub struct ShareRequest {
    /// The name of the workspace.
    #[schema(value_type = WorkspaceName)]
    pub target_workspace: String,
    /// The id of its account; needed when it is another one.
    #[schema(value_type = Option<Id>)]
    pub target_account_id: Option<String>,
    /// What it will call the image; by default what we call it.
    #[schema(value_type = Option<names::ImageName>)]
    pub alias: Option<ImageName>,
}

/// How to take a pending share.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"alias": "vendor/app"})))]
pub struct AcceptRequest {
    /// What to call the image; by default what the share says.
    #[schema(value_type = Option<names::ImageName>)]
    pub alias: Option<ImageName>,
}

/// A share, as its source sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "workspace": "site", "accountId": "7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11", "status": "active",
    "alias": "team/app", "pendingShareId": null, "sharedBy": "key:7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11",
    "createdAt": "2026-01-01T00:00:00Z", "expiresAt": null
})))]
pub struct ShareView {
    /// The name of the workspace that it is shared with.
    #[schema(value_type = WorkspaceName)]
    pub workspace: String,
    /// The id of that workspace's account.
    #[schema(value_type = Id)]
    pub account_id: String,
    /// `active` or `pending`.
    #[schema(value_type = Status)]
    pub status: &'static str,
    /// What the other workspace calls it.
    #[schema(value_type = names::ImageName)]
    pub alias: ImageName,
    /// The id to accept, decline or withdraw it by, while it is pending.
    #[schema(value_type = Option<Id>, required)]
    pub pending_share_id: Option<String>,
    /// Who shared it.
    pub shared_by: String,
    /// When.
    #[schema(value_type = Time)]
    pub created_at: String,
    /// When it ends unless it is accepted, while it is pending.
    #[schema(value_type = Option<Time>, required)]
    pub expires_at: Option<String>,
}

impl From<&Share> for ShareView {
    fn from(share: &Share) -> Self {
        let is_pending = share.status == ShareStatus::Pending;
        Self {
            workspace: share.target.workspace.clone(),
            account_id: share.target.account_id.clone(),
            status: share.status.as_str(),
            alias: share.alias.clone(),
            pending_share_id: is_pending.then(|| share.id.clone()),
            shared_by: share.shared_by.clone(),
            created_at: share.created_at.rfc3339(),
            expires_at: share.expires_at.map(Millis::rfc3339),
        }
    }
}

/// A share that waits, as both sides see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "id": "0b9f4a2e-6d0c-4f7b-9a53-5f4f4c0f1d2e", "imageName": "team/app", "alias": "team/app",
    "sourceWorkspace": "shop", "sourceAccountId": "7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11",
    "targetWorkspace": "partner", "targetAccountId": "3c1b6a1e-0a4b-4b0e-8f7d-2a9d5b1f4c77",
    "sharedBy": "key:7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11", "createdAt": "2026-01-01T00:00:00Z",
    "expiresAt": "2026-01-08T00:00:00Z"
})))]
pub struct PendingShareView {
    /// Its id.
    #[schema(value_type = Id)]
    pub id: String,
    /// The image, as its owner calls it.
    #[schema(value_type = names::ImageName)]
    pub image_name: String,
    /// What the target will call it, unless it says otherwise.
    #[schema(value_type = names::ImageName)]
    pub alias: ImageName,
    /// Whose it is.
    #[schema(value_type = WorkspaceName)]
    pub source_workspace: String,
    /// The id of the account of that workspace.
    #[schema(value_type = Id)]
    pub source_account_id: String,
    /// Who may accept it.
    #[schema(value_type = WorkspaceName)]
    pub target_workspace: String,
    /// The id of the account of that workspace.
    #[schema(value_type = Id)]
    pub target_account_id: String,
    /// Who shared it.
    pub shared_by: String,
    /// When.
    #[schema(value_type = Time)]
    pub created_at: String,
    /// When it ends unless it is accepted.
    #[schema(value_type = Option<Time>, required)]
    pub expires_at: Option<String>,
    /// Whether the target has something of this name: then it takes another alias. Only the target is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    pub has_conflict: Option<bool>,
}

impl PendingShareView {
    fn of(share: &Share, direction: Direction) -> Self {
        let image = share.repository.image();
        Self {
            id: share.id.clone(),
            image_name: image.map_or_else(String::new, |image| image.as_str().to_owned()),
            alias: share.alias.clone(),
            source_workspace: share.source.workspace.clone(),
            source_account_id: share.source.account_id.clone(),
            target_workspace: share.target.workspace.clone(),
            target_account_id: share.target.account_id.clone(),
            shared_by: share.shared_by.clone(),
            created_at: share.created_at.rfc3339(),
            expires_at: share.expires_at.map(Millis::rfc3339),
            has_conflict: (direction == Direction::Incoming).then_some(share.has_conflict),
        }
    }
}

/// What sharing made.
#[derive(Clone, Debug)]
pub enum Shared {
    /// The other workspace may pull it now.
    Active(ShareView),
    /// An admin of the other workspace has to accept it.
    Pending(PendingShareView),
}

impl Images {
    /// Shares a whole image with another workspace.
    pub async fn share(
        &self,
        granted: &Granted<Manage>,
        request: ShareRequest,
    ) -> Result<Shared, RequestError> {
        let (this, granted) = (self.clone(), granted.clone());
        self.in_turn(Arc::clone(granted.workspace()), async move {
            with_retries!(this.share_once(&granted, &request).await)
        })
        .await
    }

    async fn share_once(
        &self,
        granted: &Granted<Manage>,
        request: &ShareRequest,
    ) -> Result<Shared, RequestError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        granted.confirm(&mut change, now).await?;
        let repository = find_in(&mut change, granted.repository()).await?;
        if repository.share_id.is_some() {
            return Err(RequestError::Forbidden(format!(
                "this image is shared by {}: only its owner shares it with others",
                repository.name
            )));
        }
        let name = granted.repository();
        let repository = hold(&mut change, name, &repository, Lock::Shared).await?;
        let own = granted.workspace();
        let target = target(&mut change, own, request).await?;
        match change.share_to(repository.id, &target.id).await? {
            Some(earlier) if !earlier.is_expired(now) => {
                return Err(RequestError::Conflict(format!(
                    "the image is shared with the workspace \"{}\" already ({})",
                    target.name,
                    earlier.status.as_str()
                )));
            }
            Some(expired) => {
                change.end_share(&expired.id).await?;
            }
            None => {}
        }
        let limit = self.options.shares_per_workspace;
        if change.count_shares_of(&own.id, now).await? >= limit {
            return Err(RequestError::Conflict(format!(
                "this workspace gives {limit} shares, which is the limit: end some first"
            )));
        }
        let alias = match (&request.alias, granted.repository().image()) {
            (Some(alias), _) => alias.clone(),
            (None, Some(own_name)) => own_name,
            (None, None) => return Err(super::no_image(granted.repository())),
        };
        let name = alias_name(&target.prefix, &alias)?;
        let status = if target.account_id == own.account_id {
            ShareStatus::Active
        } else {
            ShareStatus::Pending
        };
        let id = now.new_id();
        let new = NewShare {
            id: &id,
            repository: repository.id,
            source_workspace_id: &own.id,
            target_workspace_id: &target.id,
            status,
            alias: &alias,
            actor: granted.actor(),
            now,
            expires_at: match status {
                ShareStatus::Active => None,
                ShareStatus::Pending => Some(now.plus(self.options.pending_share_ms)),
            },
        };
        change.insert_share(&new).await?;
        if status == ShareStatus::Active {
            let by = (granted.actor(), now);
            claim(&mut change, &name, &target.name, repository.id, &id, by).await?;
        }
        let share = change.share(&id).await?;
        let share = share.ok_or_else(|| RequestError::Internal(String::from("a new share")))?;
        tell(
            &mut change,
            granted.principal(),
            &own.id,
            "share.create",
            &share,
            &[],
            now,
        )
        .await?;
        change.commit().await?;
        Ok(match status {
            ShareStatus::Active => Shared::Active(ShareView::from(&share)),
            ShareStatus::Pending => {
                Shared::Pending(PendingShareView::of(&share, Direction::Outgoing))
            }
        })
    }

    /// With whom an image is shared, oldest share first.
    pub async fn shares(
        &self,
        granted: &Granted<crate::auth::Pull>,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<ShareView>, RequestError> {
        let repository = self.find(granted.repository()).await?;
        if repository.share_id.is_some() {
            // Whom else its owner shares it with is the owner's business.
            return Ok(Listed::empty());
        }
        let now = self.clock.now();
        let rows = self
            .metadata
            .shares_of(repository.id, last.unwrap_or_default(), now, limit + 1)
            .await?;
        Ok(Listed::cut(
            rows,
            limit,
            |row| &row.id,
            |row: &Share| ShareView::from(row),
        ))
    }

    /// Ends the share of an image with a workspace, or takes a pending one back.
    pub async fn unshare(
        &self,
        granted: &Granted<Manage>,
        target: &str,
        force: bool,
    ) -> Result<ShareView, RequestError> {
        let (this, granted, target) = (self.clone(), granted.clone(), target.to_owned());
        self.in_turn(Arc::clone(granted.workspace()), async move {
            with_retries!(this.unshare_once(&granted, &target, force).await)
        })
        .await
    }

    async fn unshare_once(
        &self,
        granted: &Granted<Manage>,
        target: &str,
        force: bool,
    ) -> Result<ShareView, RequestError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        granted.confirm(&mut change, now).await?;
        let repository = find_in(&mut change, granted.repository()).await?;
        let unknown = || {
            RequestError::NotFound(format!(
                "the image is not shared with a workspace \"{}\"",
                shortened(target)
            ))
        };
        if repository.share_id.is_some() {
            return Err(unknown());
        }
        // Leases are made, and shares accepted, under the shared lock: neither comes in between.
        let name = granted.repository();
        let repository = hold(&mut change, name, &repository, Lock::Exclusive).await?;
        let workspace = change.workspace_by_name(target).await?;
        let workspace = workspace.ok_or_else(unknown)?;
        let share = change.share_to(repository.id, &workspace.id).await?;
        let share = share
            .filter(|share| !share.is_expired(now))
            .ok_or_else(unknown)?;
        // What waits has no pulls that its end could break.
        let broken = match share.status {
            ShareStatus::Active => leases_of_target(&mut change, &share, now).await?,
            ShareStatus::Pending => Vec::new(),
        };
        if !force && !broken.is_empty() {
            let hint = "end them first, or use force=true";
            return Err(leased(&share, broken, hint));
        }
        if !change.end_share(&share.id).await? {
            return Err(unknown());
        }
        let own = granted.workspace_id();
        tell(
            &mut change,
            granted.principal(),
            own,
            "share.end",
            &share,
            &broken,
            now,
        )
        .await?;
        change.commit().await?;
        Ok(ShareView::from(&share))
    }

    /// Gives an alias up: by the workspace that has it.
    pub async fn drop_alias(&self, granted: &Granted<Manage>) -> Result<ShareView, RequestError> {
        let (this, granted) = (self.clone(), granted.clone());
        self.in_turn(Arc::clone(granted.workspace()), async move {
            with_retries!(this.drop_alias_once(&granted).await)
        })
        .await
    }

    async fn drop_alias_once(&self, granted: &Granted<Manage>) -> Result<ShareView, RequestError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        granted.confirm(&mut change, now).await?;
        let repository = find_in(&mut change, granted.repository()).await?;
        let Some(share_id) = &repository.share_id else {
            return Err(RequestError::NotFound(String::from(
                "this image is the workspace's own, and not shared to it: name the workspace to end a share of it",
            )));
        };
        let name = granted.repository();
        hold(&mut change, name, &repository, Lock::Exclusive).await?;
        let share = change.share(share_id).await?;
        let share = share.ok_or_else(|| super::no_image(name))?;
        let broken = leases_of_target(&mut change, &share, now).await?;
        if !broken.is_empty() {
            return Err(leased(&share, broken, "end these leases first"));
        }
        if !change.end_share(&share.id).await? {
            return Err(super::no_image(name));
        }
        let own = granted.workspace_id();
        tell(
            &mut change,
            granted.principal(),
            own,
            "share.drop",
            &share,
            &[],
            now,
        )
        .await?;
        change.commit().await?;
        Ok(ShareView::from(&share))
    }

    /// Shares that wait for somebody to accept them, oldest first.
    pub async fn pending_shares(
        &self,
        manager: &Manager<ToRead>,
        direction: Direction,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<PendingShareView>, RequestError> {
        let rows = self
            .metadata
            .pending_shares(
                &manager.workspace().id,
                direction,
                last.unwrap_or_default(),
                self.clock.now(),
                limit + 1,
            )
            .await?;
        Ok(Listed::cut(
            rows,
            limit,
            |row| &row.id,
            |row| PendingShareView::of(row, direction),
        ))
    }

    /// Takes what another account shared.
    pub async fn accept_share(
        &self,
        manager: &Manager<ToAdminister>,
        id: &str,
        request: AcceptRequest,
    ) -> Result<ShareView, RequestError> {
        let (this, manager, id) = (self.clone(), manager.clone(), id.to_owned());
        self.in_turn(Arc::clone(manager.workspace()), async move {
            with_retries!(this.accept_once(&manager, &id, &request).await)
        })
        .await
    }

    async fn accept_once(
        &self,
        manager: &Manager<ToAdminister>,
        id: &str,
        request: &AcceptRequest,
    ) -> Result<ShareView, RequestError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        manager.confirm(&mut change, now).await?;
        let share = received(&mut change, manager, id, Lock::Shared).await?;
        let accepted = || RequestError::Conflict(String::from("the share is accepted already"));
        if share.status == ShareStatus::Active {
            return Err(accepted());
        }
        if share.is_expired(now) {
            return Err(RequestError::Gone(format!(
                "the share ended {}: ask the workspace \"{}\" to share the image again",
                share.expires_at.map_or_else(String::new, Millis::rfc3339),
                share.source.workspace
            )));
        }
        let alias = request.alias.as_ref().unwrap_or(&share.alias);
        manager.image::<Manage>(alias)?;
        let name = alias_name(&share.target.prefix, alias)?;
        if !change.activate_share(id, alias).await? {
            return Err(accepted());
        }
        let (target, by) = (&share.target.workspace, (manager.actor(), now));
        claim(&mut change, &name, target, share.repository_id, id, by).await?;
        let share = change.share(id).await?;
        let share = share.ok_or_else(|| no_such_share(id))?;
        let own = &manager.workspace().id;
        tell(
            &mut change,
            manager.principal(),
            own,
            "share.accept",
            &share,
            &[],
            now,
        )
        .await?;
        change.commit().await?;
        Ok(ShareView::from(&share))
    }

    /// Refuses what another account wanted to share.
    pub async fn decline_share(
        &self,
        manager: &Manager<ToAdminister>,
        id: &str,
    ) -> Result<(), RequestError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        manager.confirm(&mut change, now).await?;
        // Nobody accepts it in between: that is done under the shared lock.
        let share = received(&mut change, manager, id, Lock::Exclusive).await?;
        manager.image::<Manage>(&share.alias)?;
        if share.status == ShareStatus::Active || !change.end_share(id).await? {
            return Err(no_such_share(id));
        }
        let own = &manager.workspace().id;
        tell(
            &mut change,
            manager.principal(),
            own,
            "share.decline",
            &share,
            &[],
            now,
        )
        .await?;
        Ok(change.commit().await?)
    }
}

/// The workspace to share with. Whether it is missing, in another account than was said, or in one that was not said:
/// the answer is the same, so that nobody can look for workspaces of other accounts.
async fn target(
    change: &mut Transaction,
    own: &Workspace,
    request: &ShareRequest,
) -> Result<Arc<Workspace>, RequestError> {
    let name = &request.target_workspace;
    // PostgreSQL takes no text with a NUL; no workspace has such a name.
    let found = match name.contains('\0') {
        true => None,
        false => change.workspace_by_name(name).await?,
    };
    let account_id = request.target_account_id.as_ref();
    let account_id = account_id.unwrap_or(&own.account_id);
    let target = found.filter(|target| target.account_id == *account_id);
    let target = target.ok_or_else(|| {
        RequestError::NotFound(format!(
            "there is no workspace \"{}\" in this account; for another account give its id as targetAccountId",
            shortened(name)
        ))
    })?;
    if target.id == own.id {
        return Err(RequestError::BadRequest(String::from(
            "targetWorkspace: an image is not shared with its own workspace",
        )));
    }
    Ok(target)
}

/// A share that was made to the manager's workspace, with its image held.
async fn received(
    change: &mut Transaction,
    manager: &Manager<ToAdminister>,
    id: &str,
    lock: Lock,
) -> Result<Share, RequestError> {
    let share = change.share(id).await?.ok_or_else(|| no_such_share(id))?;
    let own = &manager.workspace().id;
    if share.target.workspace_id == *own {
        change.lock(share.repository_id, lock).await?;
        // It may have been withdrawn, declined or accepted while we waited for the lock.
        return change.share(id).await?.ok_or_else(|| no_such_share(id));
    }
    if share.source.workspace_id == *own {
        return Err(RequestError::Forbidden(format!(
            "the workspace \"{}\" accepts or declines this share; to take it back, end it where it was made",
            share.target.workspace
        )));
    }
    Err(no_such_share(id))
}

async fn claim(
    change: &mut Transaction,
    name: &RepositoryName,
    target: &str,
    repository: RepositoryId,
    share_id: &str,
    (actor, now): (&str, Millis),
) -> Result<(), RequestError> {
    if !free_name(change, name, actor, now).await? {
        return Err(RequestError::Conflict(format!(
            "the workspace \"{target}\" has something of the name \"{}\": give another alias",
            name.image()
                .map_or_else(String::new, |image| image.as_str().to_owned())
        )));
    }
    Ok(change.claim_alias(name, repository, share_id).await?)
}

/// What the target of a share leases of it.
async fn leases_of_target(
    change: &mut Transaction,
    share: &Share,
    now: Millis,
) -> Result<Vec<Holder>, RequestError> {
    let filter = LeaseFilter {
        repository: share.repository_id,
        digest: None,
        workspace_id: Some(&share.target.workspace_id),
        but_not_of: None,
    };
    let leases = change.lease_holders(&filter, now, HOLDERS_NAMED).await?;
    Ok(holders_of_leases(leases))
}

fn leased(share: &Share, holders: Vec<Holder>, hint: &str) -> RequestError {
    RequestError::InUse(InUse {
        reason: InUseReason::Leased,
        holders,
        what: format!(
            "the share with the workspace \"{}\"",
            share.target.workspace
        ),
        hint: hint.to_owned(),
    })
}

/// Writes into the audit log of the workspace that acted what became of a share, and which leases it broke.
async fn tell(
    change: &mut Transaction,
    principal: &Principal,
    workspace_id: &str,
    action: &str,
    share: &Share,
    broken: &[Holder],
    now: Millis,
) -> Result<(), RequestError> {
    let target = format!(
        "{} with workspace {} as {}",
        share.repository,
        share.target.workspace,
        share.alias.as_str()
    );
    let mut event = audit::done(principal, Some(workspace_id), action, &target, now);
    if !broken.is_empty() {
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        event = event.because(&format!("forced, over {}", broken.join(", ")));
    }
    Ok(change.audit(&event).await?)
}

fn alias_name(prefix: &str, alias: &ImageName) -> Result<RepositoryName, RequestError> {
    RepositoryName::new(prefix, alias)
        .map_err(|error| RequestError::BadRequest(format!("alias: {error}")))
}

fn no_such_share(id: &str) -> RequestError {
    RequestError::NotFound(format!("there is no pending share \"{}\"", shortened(id)))
}

/// As much of what was asked for as an answer repeats.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

//! Pull secrets: what nodes hold. An admin makes those of a workspace, an operator also those that pull from all of them.

mod manifest;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::names::Name;
use super::{Listed, Tenancy, require, taken};
use crate::audit;
use crate::auth::{
    Action, Principal, PullSecretPassword, RegistryHosts, RequestError, Right, WholeNumber,
    pull_secret_actor, pull_secret_username,
};
use crate::clock::Millis;
use crate::grammar::{Id, Time};
use crate::metadata::{NewPullSecret, PullSecret, Transaction, Workspace};
use manifest::{
    DEFAULT_NAME, KubernetesNamespace, SecretName, check_namespace, check_secret_name, hosts_of,
};
pub use manifest::{SecretData, SecretLabels, SecretManifest, SecretMetadata};

/// Pull secrets of one workspace at most. One that has ended makes room for a new one.
pub const MAX_PULL_SECRETS: u64 = 1_000;
/// Pull secrets that pull from every workspace, at most.
pub const MAX_PULL_SECRETS_OF_ALL: u64 = 100;
/// How many days one lives when nothing is said.
const LIFETIME_DEFAULT_DAYS: u64 = 365;
/// How many days one may live: ten years.
const LIFETIME_MAX_DAYS: u64 = 3_650;
/// How long a replaced one goes on when nothing is said: a day.
const OVERLAP_DEFAULT_SECONDS: u64 = 24 * 3_600;
/// How long a replaced one may go on: thirty days.
pub(crate) const OVERLAP_MAX_SECONDS: u64 = 30 * 24 * 3_600;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// What is said with a pull secret of all workspaces.
const WARNING: &str = "this secret pulls from every workspace: keep it in the configuration of nodes, and never in a \
     namespace, where whoever can read its Secrets can pull everything";

/// How many days a pull secret lives.
type Lifetime = WholeNumber<1, LIFETIME_MAX_DAYS>;
/// How many seconds one goes on that is to end.
pub(crate) type Overlap = WholeNumber<0, OVERLAP_MAX_SECONDS>;

/// How far a pull secret reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PullSecretScope {
    /// One workspace: its own images, those that are shared with it, and platform images.
    Workspace,
    /// Every workspace: for the configuration of nodes.
    All,
}

/// How a pull secret is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PullSecretFormat {
    /// What there is to know of it, with the Secret inside.
    Json,
    /// The Secret alone, for `kubectl apply`.
    Yaml,
}

/// A request for a pull secret.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"expiresInDays": 90, "name": "berth-pull", "namespace": "shop"})))]
pub struct CreatePullSecret {
    /// The workspace it pulls for; an operator may name it by `X-Workspace` too.
    #[schema(value_type = Option<Name>)]
    pub workspace: Option<String>,
    /// `all` for one that pulls from every workspace (operator).
    #[schema(inline)]
    pub scope: Option<PullSecretScope>,
    /// How many days it lives; 365 unless something is said.
    #[schema(inline)]
    pub expires_in_days: Option<Lifetime>,
    /// What the Kubernetes Secret is called; `berth-pull` unless something is said.
    #[schema(value_type = Option<SecretName>)]
    pub name: Option<String>,
    /// The Kubernetes namespace it is for.
    #[schema(value_type = Option<KubernetesNamespace>)]
    pub namespace: Option<String>,
    /// Leaves out a host that is only known from this request, and refuses where no other one is: that of a server's own
    /// network is none for nodes.
    pub configured_hosts_only: Option<bool>,
    /// `yaml` for the Secret alone; the parameter of the query says the same.
    #[schema(inline)]
    pub format: Option<PullSecretFormat>,
}

/// A request for a pull secret in the place of another.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"overlapSeconds": 3600})))]
pub struct RotatePullSecret {
    /// How long the old one goes on; a day unless something is said.
    #[schema(inline)]
    pub overlap_seconds: Option<Overlap>,
    /// How many days the new one lives; as many as the old one was made for unless something is said.
    #[schema(inline)]
    pub expires_in_days: Option<Lifetime>,
    /// Leaves out a host that is only known from this request, and refuses where no other one is: that of a server's own
    /// network is none for nodes.
    pub configured_hosts_only: Option<bool>,
    /// `yaml` for the Secret alone; the parameter of the query says the same.
    #[schema(inline)]
    pub format: Option<PullSecretFormat>,
}

/// A pull secret, without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "id": "0b9f4a2e-6d0c-4f7b-9a53-5f4f4c0f1d2e", "scope": "workspace", "workspace": "shop", "username": "pull-0b9f4a2e",
    "name": "berth-pull", "namespace": "shop", "createdBy": "key:7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11",
    "createdAt": "2026-01-01T00:00:00Z", "expiresAt": "2027-01-01T00:00:00Z", "lastUsedAt": null, "replacedBy": null
})))]
pub struct PullSecretView {
    /// Its id.
    #[schema(value_type = Id)]
    pub id: String,
    /// How far it reaches.
    pub scope: PullSecretScope,
    /// The workspace it pulls for.
    #[schema(value_type = Option<Name>, required)]
    pub workspace: Option<String>,
    /// The user name that it goes with.
    pub username: String,
    /// What the Kubernetes Secret is called.
    #[schema(value_type = SecretName)]
    pub name: String,
    /// The Kubernetes namespace it is for.
    #[schema(value_type = Option<KubernetesNamespace>, required)]
    pub namespace: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[schema(value_type = Time)]
    pub created_at: String,
    /// When it ends.
    #[schema(value_type = Time)]
    pub expires_at: String,
    /// When it was last used, some seconds old.
    #[schema(value_type = Option<Time>, required)]
    pub last_used_at: Option<String>,
    /// The id of the one that took its place.
    #[schema(value_type = Option<Id>, required)]
    pub replaced_by: Option<String>,
}

// No `Debug`: it holds the secret.
/// A pull secret that was just made, with the secret that is shown this once.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedPullSecret {
    /// The pull secret.
    #[serde(flatten)]
    pub view: PullSecretView,
    /// The hosts it is for: that to pull from, and that to push to if it is another.
    #[schema(examples("127.0.0.1:5001"))]
    pub hosts: Vec<String>,
    /// The Kubernetes Secret.
    pub secret: SecretManifest,
    /// What to mind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, examples("this secret pulls from every workspace"))]
    pub warning: Option<&'static str>,
    /// The one whose place it takes, with its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = PullSecretView)]
    pub replaces: Option<PullSecretView>,
}

impl CreatedPullSecret {
    /// The Secret alone, in YAML, under what there is to mind.
    #[must_use]
    pub fn yaml(&self) -> String {
        let warning = self.warning.map(|warning| format!("# {warning}\n"));
        warning.unwrap_or_default() + &self.secret.yaml()
    }
}

impl PullSecretScope {
    fn of(workspace_id: Option<&String>) -> Self {
        match workspace_id {
            Some(_) => Self::Workspace,
            None => Self::All,
        }
    }
}

impl From<&PullSecret> for PullSecretView {
    fn from(secret: &PullSecret) -> Self {
        Self {
            id: secret.id.clone(),
            scope: PullSecretScope::of(secret.workspace_id.as_ref()),
            workspace: secret.workspace.clone(),
            username: pull_secret_username(&secret.id),
            name: secret.name.clone(),
            namespace: secret.namespace.clone(),
            created_by: secret.created_by.clone(),
            created_at: secret.created_at.rfc3339(),
            expires_at: secret.expires_at.rfc3339(),
            last_used_at: secret.last_used_at.map(Millis::rfc3339),
            replaced_by: secret.replaced_by.clone(),
        }
    }
}

/// What a pull secret is made of, whether it is the first one or takes the place of another.
struct Order<'a> {
    /// The id and the name of its workspace.
    workspace: Option<(&'a str, &'a str)>,
    name: &'a str,
    namespace: Option<&'a str>,
    lifetime_days: u64,
}

impl Tenancy {
    /// Makes a pull secret of a workspace, or of all of them.
    pub async fn create_pull_secret(
        &self,
        principal: &Principal,
        named: Option<&str>,
        request: &CreatePullSecret,
        hosts: &RegistryHosts,
    ) -> Result<CreatedPullSecret, RequestError> {
        let workspace = self.workspace_to_pull(principal, named, request).await?;
        let name = request.name.as_deref().unwrap_or(DEFAULT_NAME);
        check_secret_name(name)?;
        request
            .namespace
            .as_deref()
            .map_or(Ok(()), check_namespace)?;
        let workspace = workspace.as_ref();
        let order = Order {
            workspace: workspace.map(|own| (own.id.as_str(), own.name.as_str())),
            name,
            namespace: request.namespace.as_deref(),
            lifetime_days: request
                .expires_in_days
                .map_or(LIFETIME_DEFAULT_DAYS, Lifetime::get),
        };
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        let created = make(&mut change, principal, &order, hosts, now).await?;
        let (id, target) = (
            workspace.map(|own| own.id.as_str()),
            pull_secret_actor(&created.view.id),
        );
        let event = audit::done(principal, id, "pull_secret.create", &target, now);
        let days = order.lifetime_days;
        let reach = match order.workspace {
            Some(_) => "its workspace",
            None => "every workspace",
        };
        change
            .audit(&event.because(&format!("pulls from {reach} for {days} days")))
            .await?;
        change.commit().await?;
        Ok(created)
    }

    /// The pull secrets by id, after `last`: to an admin those of its workspace, to an operator those of the workspace
    /// that it names, or all.
    pub async fn pull_secrets(
        &self,
        principal: &Principal,
        named: Option<&str>,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<PullSecretView>, RequestError> {
        let workspace = self.named_workspace(principal, named).await?;
        require(principal, Right::Administer)?;
        let workspace_id = workspace.as_ref().map(|workspace| workspace.id.as_str());
        let last = last.unwrap_or_default();
        let rows = self
            .metadata
            .pull_secrets(workspace_id, last, limit.saturating_add(1))
            .await?;
        Ok(Listed::cut(
            rows,
            limit,
            |secret| &secret.id,
            |secret| PullSecretView::from(&**secret),
        ))
    }

    /// Ends a pull secret, now or after a while, with every token that came from it.
    pub async fn delete_pull_secret(
        &self,
        principal: &Principal,
        named: Option<&str>,
        id: &str,
        overlap: Option<Overlap>,
    ) -> Result<(), RequestError> {
        let workspace = self.named_workspace(principal, named).await?;
        require(principal, Right::Administer)?;
        let (overlap, now) = (overlap.map_or(0, Overlap::get), self.clock.now());
        let mut change = self.metadata.begin().await?;
        let secret = find(&mut change, principal, workspace.as_deref(), id).await?;
        let is_there = if overlap == 0 {
            change.delete_pull_secret(&secret).await?
        } else {
            let end = change.end_pull_secret(&secret, after(now, overlap), None);
            end.await?.is_some()
        };
        if !is_there {
            return Err(unknown());
        }
        let (workspace_id, target) = (secret.workspace_id.as_deref(), pull_secret_actor(id));
        let event = audit::done(principal, workspace_id, "pull_secret.delete", &target, now);
        let event = if overlap == 0 {
            event
        } else {
            event.because(&format!("in {overlap} seconds"))
        };
        change.audit(&event).await?;
        Ok(change.commit().await?)
    }

    /// Makes a pull secret in the place of another, which goes on for a while.
    pub async fn rotate_pull_secret(
        &self,
        principal: &Principal,
        named: Option<&str>,
        id: &str,
        request: &RotatePullSecret,
        hosts: &RegistryHosts,
    ) -> Result<CreatedPullSecret, RequestError> {
        let workspace = self.named_workspace(principal, named).await?;
        require(principal, Right::Administer)?;
        let overlap = request
            .overlap_seconds
            .map_or(OVERLAP_DEFAULT_SECONDS, Overlap::get);
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        let old = find(&mut change, principal, workspace.as_deref(), id).await?;
        if let Some(next) = &old.replaced_by {
            return Err(replaced(next));
        }
        if old.expires_at <= now {
            return Err(RequestError::Conflict(String::from(
                "this pull secret has ended: make a new one instead",
            )));
        }
        let order = Order {
            workspace: old.workspace_id.as_deref().zip(old.workspace.as_deref()),
            name: &old.name,
            namespace: old.namespace.as_deref(),
            lifetime_days: request
                .expires_in_days
                .map_or(old.lifetime_days, Lifetime::get),
        };
        let mut created = make(&mut change, principal, &order, hosts, now).await?;
        let new_id = created.view.id.clone();
        let old_end = change
            .end_pull_secret(&old, after(now, overlap), Some(&new_id))
            .await?;
        let Some(old_end) = old_end else {
            // Another request was faster.
            let left = change.pull_secret(&old.id).await?;
            let next = left.as_ref().and_then(|secret| secret.replaced_by.as_ref());
            return Err(next.map_or_else(unknown, |next| replaced(next)));
        };
        let (workspace_id, target) = (old.workspace_id.as_deref(), pull_secret_actor(&old.id));
        let event = audit::done(principal, workspace_id, "pull_secret.rotate", &target, now);
        let event = event.because(&format!("replaced by {}", pull_secret_actor(&new_id)));
        change.audit(&event).await?;
        change.commit().await?;
        created.replaces = Some(PullSecretView {
            expires_at: old_end.rfc3339(),
            replaced_by: Some(new_id),
            ..PullSecretView::from(&*old)
        });
        Ok(created)
    }

    /// The workspace that a new pull secret is for; none for all of them.
    async fn workspace_to_pull(
        &self,
        principal: &Principal,
        named: Option<&str>,
        request: &CreatePullSecret,
    ) -> Result<Option<Arc<Workspace>>, RequestError> {
        let in_body = request.workspace.as_deref();
        if request.scope == Some(PullSecretScope::All) {
            if in_body.is_some() {
                return Err(RequestError::BadRequest(String::from(
                    "workspace: a pull secret of the scope all is of no single workspace: leave one of the two out",
                )));
            }
            require(principal, Right::Operate)?;
            return Ok(None);
        }
        if let (Some(own), Some(other)) = (principal.workspace(), in_body)
            && own.name != other
        {
            return Err(RequestError::Forbidden(format!(
                "this key makes pull secrets of the workspace \"{}\" alone: leave workspace out",
                own.name
            )));
        }
        if let (Some(one), Some(other)) = (in_body, named)
            && one != other
        {
            return Err(RequestError::BadRequest(format!(
                "workspace: the body names \"{one}\" and X-Workspace another one: name one"
            )));
        }
        let workspace = self.named_workspace(principal, in_body.or(named)).await?;
        require(principal, Right::Administer)?;
        workspace.map(Some).ok_or_else(|| {
            RequestError::BadRequest(String::from(
                "name the workspace that the secret pulls for, with workspace or X-Workspace, or say \"scope\": \"all\"",
            ))
        })
    }
}

fn after(now: Millis, seconds: u64) -> Millis {
    now.plus(i64::try_from(seconds).map_or(i64::MAX, |seconds| seconds.saturating_mul(1_000)))
}

/// Only one takes the place of another: a second one would live on, and nothing would lead to the first.
fn replaced(next: &str) -> RequestError {
    RequestError::Conflict(format!(
        "this pull secret has been replaced by {next}: rotate that one, or make a new one"
    ))
}

fn unknown() -> RequestError {
    RequestError::NotFound(String::from("there is no such pull secret"))
}

/// The pull secret of an id, as far as the caller may know of it.
async fn find(
    change: &mut Transaction,
    principal: &Principal,
    workspace: Option<&Workspace>,
    id: &str,
) -> Result<Arc<PullSecret>, RequestError> {
    let found = change.pull_secret(id).await?;
    let found = found.filter(|secret| match (&secret.workspace_id, workspace) {
        (_, None) => principal.role().may(Right::Operate),
        (Some(id), Some(workspace)) => *id == workspace.id,
        // It is in no workspace: an operator need not stop naming one.
        (None, Some(_)) => principal.role().may(Right::Operate),
    });
    found.ok_or_else(unknown)
}

/// Nobody hands out more than they have: a pull secret reaches all images, and lives on without the key that made it.
fn check_bounds(principal: &Principal, end: Millis) -> Result<(), RequestError> {
    let is_operator = principal.role().may(Right::Operate);
    let narrowing = principal.narrowing();
    if narrowing.images().is_some() || !is_operator && !principal.actions().contains(Action::Pull) {
        return Err(RequestError::Forbidden(String::from(
            "this key is limited to some images or actions, and a pull secret pulls every image: make it with another key",
        )));
    }
    match principal.expires_at() {
        Some(own_end) if own_end < end => Err(RequestError::Forbidden(format!(
            "this key ends at {}, and no pull secret it makes may end later: give an expiresInDays",
            own_end.rfc3339()
        ))),
        Some(_) | None => Ok(()),
    }
}

async fn make(
    change: &mut Transaction,
    principal: &Principal,
    order: &Order<'_>,
    hosts: &RegistryHosts,
    now: Millis,
) -> Result<CreatedPullSecret, RequestError> {
    let days = i64::try_from(order.lifetime_days).unwrap_or(i64::MAX);
    let expires_at = now.plus(days.saturating_mul(DAY_MS));
    check_bounds(principal, expires_at)?;
    let workspace_id = order.workspace.map(|(id, _)| id);
    let most = match workspace_id {
        Some(_) => MAX_PULL_SECRETS,
        None => MAX_PULL_SECRETS_OF_ALL,
    };
    if change.count_pull_secrets(workspace_id).await? >= most
        && !change.forget_ended_pull_secret(workspace_id, now).await?
    {
        return Err(RequestError::Conflict(format!(
            "there are at most {most} pull secrets here: delete some that are not used any more"
        )));
    }
    let password = PullSecretPassword::generate()
        .map_err(|error| RequestError::Internal(error.to_string()))?;
    let secret = NewPullSecret {
        id: Uuid::new_v4().to_string(),
        workspace_id: workspace_id.map(str::to_owned),
        name: order.name.to_owned(),
        namespace: order.namespace.map(str::to_owned),
        hash: password.hash().as_str().to_owned(),
        lifetime_days: order.lifetime_days,
        created_by: principal.actor().to_owned(),
        created_at: now,
        expires_at,
    };
    let gone = || String::from("the workspace was deleted in this moment");
    change
        .insert_pull_secret(&secret)
        .await
        .map_err(|error| taken(error, gone))?;
    let (username, hosts) = (pull_secret_username(&secret.id), hosts_of(hosts));
    let manifest = SecretManifest::new(order.name, order.namespace, &hosts, &username, &password);
    Ok(CreatedPullSecret {
        view: PullSecretView {
            id: secret.id,
            scope: PullSecretScope::of(secret.workspace_id.as_ref()),
            workspace: order.workspace.map(|(_, name)| name.to_owned()),
            username,
            name: secret.name,
            namespace: secret.namespace,
            created_by: secret.created_by,
            created_at: now.rfc3339(),
            expires_at: expires_at.rfc3339(),
            last_used_at: None,
            replaced_by: None,
        },
        hosts,
        secret: manifest,
        warning: workspace_id.is_none().then_some(WARNING),
        replaces: None,
    })
}

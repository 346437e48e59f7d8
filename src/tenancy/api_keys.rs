//! API keys of a workspace: an admin makes them, never with more than the admin's own key has.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::names::{Label, check_label};
use super::{Listed, Tenancy, require, taken};
use crate::audit;
use crate::auth::{
    Action, ActionSet, ApiKeySecret, ImagePattern, ImagePatterns, Principal, PrincipalKind,
    RequestError, Right, Role, Secret, WorkspaceRole, key_actor,
};
use crate::clock::Millis;
use crate::grammar::{End, Id, Time};
use crate::metadata::{ApiKey, NewApiKey};

/// Keys of one workspace at most.
pub const MAX_API_KEYS: u64 = 1_000;

/// A request for a key.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"name": "ci", "role": "builder", "repositories": ["web/*"]})))]
pub struct CreateApiKey {
    /// What people call it.
    #[schema(value_type = Label)]
    pub name: String,
    /// Its role.
    #[schema(value_type = WorkspaceRole)]
    pub role: String,
    /// Globs of image names to narrow it to.
    #[schema(value_type = Option<Vec<ImagePattern>>, min_items = 1, max_items = 64)]
    pub repositories: Option<Vec<String>>,
    /// Actions to narrow it to.
    #[schema(value_type = Option<Vec<Action>>, min_items = 1)]
    pub actions: Option<Vec<String>>,
    /// When it ends.
    #[schema(value_type = Option<End>)]
    pub expires_at: Option<String>,
}

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "id": "0b9f4a2e-6d0c-4f7b-9a53-5f4f4c0f1d2e", "name": "ci", "role": "builder", "repositories": ["web/*"],
    "actions": null, "createdBy": "key:7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11", "createdAt": "2026-01-01T00:00:00Z",
    "expiresAt": null, "lastUsedAt": null
})))]
pub struct ApiKeyView {
    /// Its id.
    #[schema(value_type = Id)]
    pub id: String,
    /// What people call it.
    #[schema(value_type = Label)]
    pub name: String,
    /// Its role.
    #[schema(value_type = WorkspaceRole)]
    pub role: String,
    /// What it is narrowed to.
    #[schema(value_type = Option<Vec<ImagePattern>>, required)]
    pub repositories: Option<Vec<String>>,
    /// What it is narrowed to.
    #[schema(value_type = Option<Vec<Action>>, required)]
    pub actions: Option<Vec<String>>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[schema(value_type = Time)]
    pub created_at: String,
    /// When it ends.
    #[schema(value_type = Option<Time>, required)]
    pub expires_at: Option<String>,
    /// When it was last used, some seconds old.
    #[schema(value_type = Option<Time>, required)]
    pub last_used_at: Option<String>,
}

// No `Debug`: it holds the secret.
/// A key that was just made, with the secret that is shown this once.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedApiKey {
    /// The key.
    #[serde(flatten)]
    pub view: ApiKeyView,
    /// Its secret.
    #[schema(value_type = Secret)]
    pub key: String,
}

impl From<&ApiKey> for ApiKeyView {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            role: key.role.clone(),
            repositories: key.repositories.clone(),
            actions: key.actions.clone(),
            created_by: key.created_by.clone(),
            created_at: key.created_at.rfc3339(),
            expires_at: key.expires_at.map(Millis::rfc3339),
            last_used_at: key.last_used_at.map(Millis::rfc3339),
        }
    }
}

impl From<&NewApiKey> for ApiKeyView {
    fn from(key: &NewApiKey) -> Self {
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            role: key.role.clone(),
            repositories: key.repositories.clone(),
            actions: key.actions.clone(),
            created_by: key.created_by.clone(),
            created_at: key.created_at.rfc3339(),
            expires_at: key.expires_at.map(Millis::rfc3339),
            last_used_at: None,
        }
    }
}

impl Tenancy {
    /// Makes a key of a workspace.
    pub async fn create_api_key(
        &self,
        principal: &Principal,
        workspace: &str,
        request: &CreateApiKey,
    ) -> Result<CreatedApiKey, RequestError> {
        let workspace = self.find(principal, workspace).await?;
        require(principal, Right::Administer)?;
        check_label("name", &request.name)?;
        let role = role(principal, &request.role)?;
        let actions = actions(principal, role, request.actions.as_deref())?;
        check_repositories(principal, request.repositories.as_deref())?;
        let now = self.clock.now();
        let expires_at = expiry(principal, request.expires_at.as_deref(), now)?;
        let secret =
            ApiKeySecret::generate().map_err(|error| RequestError::Internal(error.to_string()))?;
        let key = NewApiKey {
            id: Uuid::new_v4().to_string(),
            workspace_id: Some(workspace.id.clone()),
            name: request.name.clone(),
            role: role.as_str().to_owned(),
            hash: secret.hash().as_str().to_owned(),
            repositories: request.repositories.clone(),
            actions,
            created_by: principal.actor().to_owned(),
            created_at: now,
            expires_at,
        };
        let mut change = self.metadata.begin().await?;
        if change.count_api_keys(&workspace.id).await? >= MAX_API_KEYS {
            return Err(RequestError::Conflict(format!(
                "a workspace has at most {MAX_API_KEYS} API keys: delete some that are not used any more"
            )));
        }
        let gone = || String::from("the workspace was deleted in this moment");
        change
            .insert_api_key(&key)
            .await
            .map_err(|error| taken(error, gone))?;
        let (id, target) = (Some(workspace.id.as_str()), key_actor(&key.id));
        let event = audit::done(principal, id, "api_key.create", &target, now);
        let event = event.because(&format!("role {role}"));
        change.audit(&event).await?;
        change.commit().await?;
        Ok(CreatedApiKey {
            view: ApiKeyView::from(&key),
            key: secret.reveal().to_owned(),
        })
    }

    /// The keys of a workspace by id, after `last`.
    pub async fn api_keys(
        &self,
        principal: &Principal,
        workspace: &str,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<ApiKeyView>, RequestError> {
        let workspace = self.find(principal, workspace).await?;
        require(principal, Right::Administer)?;
        let last = last.unwrap_or_default();
        let rows: Vec<Arc<ApiKey>> = self
            .metadata
            .api_keys(&workspace.id, last, limit.saturating_add(1))
            .await?;
        Ok(Listed::cut(
            rows,
            limit,
            |key| &key.id,
            |key| ApiKeyView::from(&**key),
        ))
    }

    /// Ends a key, and everything that was issued to it.
    pub async fn delete_api_key(
        &self,
        principal: &Principal,
        workspace: &str,
        id: &str,
    ) -> Result<(), RequestError> {
        let workspace = self.find(principal, workspace).await?;
        require(principal, Right::Administer)?;
        let mut change = self.metadata.begin().await?;
        if !change.delete_api_key(&workspace.id, id).await? {
            return Err(RequestError::NotFound(String::from(
                "this workspace has no such API key",
            )));
        }
        let (workspace_id, now) = (Some(workspace.id.as_str()), self.clock.now());
        let target = key_actor(id);
        let event = audit::done(principal, workspace_id, "api_key.delete", &target, now);
        change.audit(&event).await?;
        Ok(change.commit().await?)
    }
}

fn role(principal: &Principal, word: &str) -> Result<Role, RequestError> {
    let role: Role = word
        .parse()
        .map_err(|error| RequestError::BadRequest(format!("role: {error}")))?;
    if principal.role().may_hand_out(role) {
        return Ok(role);
    }
    let message =
        format!("role: a workspace's key is a viewer, builder, developer or admin, not {role}");
    match principal.kind() {
        PrincipalKind::OperatorKey => Err(RequestError::BadRequest(message)),
        PrincipalKind::ApiKey
        | PrincipalKind::RegistryCredential
        | PrincipalKind::PullSecret
        | PrincipalKind::ExchangedIdentity => Err(RequestError::Forbidden(message)),
    }
}

/// Whether the principal's own limits bind the keys it makes. An operator's do not: it has no actions to pass on.
fn is_bound(principal: &Principal) -> bool {
    match principal.kind() {
        PrincipalKind::OperatorKey => false,
        PrincipalKind::ApiKey
        | PrincipalKind::RegistryCredential
        | PrincipalKind::PullSecret
        | PrincipalKind::ExchangedIdentity => true,
    }
}

fn actions(
    principal: &Principal,
    role: Role,
    wanted: Option<&[String]>,
) -> Result<Option<Vec<String>>, RequestError> {
    let effective = match wanted {
        None => role.actions(),
        Some([]) => {
            return Err(RequestError::BadRequest(String::from(
                "actions names at least one of pull, push and delete; leave it out for all that the role has",
            )));
        }
        Some(words) => {
            let parsed = words
                .iter()
                .map(|word| word.parse::<Action>())
                .collect::<Result<ActionSet, _>>();
            let parsed =
                parsed.map_err(|error| RequestError::BadRequest(format!("actions: {error}")))?;
            if !parsed.is_subset(role.actions()) {
                let message = format!(
                    "actions: the role {role} has {} and no more",
                    role.actions()
                );
                return Err(RequestError::BadRequest(message));
            }
            parsed
        }
    };
    if is_bound(principal) && !effective.is_subset(principal.actions()) {
        return Err(RequestError::Forbidden(format!(
            "this key is limited to {}, and so are the keys it makes: name their actions",
            principal.actions()
        )));
    }
    Ok(wanted.map(|_| effective.iter().map(|action| action.to_string()).collect()))
}

fn check_repositories(
    principal: &Principal,
    wanted: Option<&[String]>,
) -> Result<(), RequestError> {
    if let Some(wanted) = wanted {
        ImagePatterns::new(wanted)
            .map_err(|error| RequestError::BadRequest(format!("repositories: {error}")))?;
    }
    let Some(own) = principal
        .narrowing()
        .images()
        .filter(|_| is_bound(principal))
    else {
        return Ok(());
    };
    let covered = wanted.is_some_and(|wanted| wanted.iter().all(|pattern| own.cover(pattern)));
    if covered {
        return Ok(());
    }
    Err(RequestError::Forbidden(format!(
        "this key is limited to the images {}, and so are the keys it makes: name some of these patterns, or images \
         among them",
        own.patterns().join(", ")
    )))
}

/// The end that a request gives a key.
pub(super) fn end_in_text(
    wanted: Option<&str>,
    now: Millis,
) -> Result<Option<Millis>, RequestError> {
    let Some(text) = wanted else {
        return Ok(None);
    };
    let bad = |_| {
        RequestError::BadRequest(String::from(
            "expiresAt: an RFC 3339 time such as 2027-01-01T00:00:00Z",
        ))
    };
    let time = text.parse::<jiff::Timestamp>().map_err(bad)?;
    let end = Millis(time.as_millisecond());
    if end <= now {
        return Err(RequestError::BadRequest(String::from(
            "expiresAt: a time that is still to come",
        )));
    }
    Ok(Some(end))
}

fn expiry(
    principal: &Principal,
    wanted: Option<&str>,
    now: Millis,
) -> Result<Option<Millis>, RequestError> {
    let wanted = end_in_text(wanted, now)?;
    let Some(own_end) = principal.expires_at().filter(|_| is_bound(principal)) else {
        return Ok(wanted);
    };
    if wanted.is_some_and(|end| end <= own_end) {
        return Ok(wanted);
    }
    Err(RequestError::Forbidden(format!(
        "this key ends at {}, and no key it makes may end later: give an expiresAt",
        own_end.rfc3339()
    )))
}

//! Accounts, workspaces, their API keys and pull secrets: who may make, see, change and end them, and what they may be called.
//!
//! Foreign things are not found, whether they exist or not. This module knows no HTTP and no SQL.

mod accounts;
mod api_keys;
mod audit_events;
mod first_start;
mod names;
mod operator_keys;
mod pull_secrets;
#[cfg(test)]
mod tests;
mod whoami;
mod workspaces;

use std::sync::Arc;

pub use accounts::{AccountView, CreateAccount};
pub use api_keys::{ApiKeyView, CreateApiKey, CreatedApiKey, MAX_API_KEYS};
pub use audit_events::AuditEventView;
pub use first_start::{FirstStart, FirstStartError};
pub(crate) use names::Name;
pub use names::team_key_of;
pub use operator_keys::{
    CreateOperatorKey, CreatedOperatorKey, MAX_OPERATOR_KEYS, OperatorKeyView, RotateOperatorKey,
};
pub use pull_secrets::{
    CreatePullSecret, CreatedPullSecret, MAX_PULL_SECRETS, MAX_PULL_SECRETS_OF_ALL,
    PullSecretFormat, PullSecretScope, PullSecretView, RotatePullSecret, SecretData, SecretLabels,
    SecretManifest, SecretMetadata,
};
pub(crate) use pull_secrets::{OVERLAP_MAX_SECONDS, Overlap};
pub use whoami::Whoami;
pub use workspaces::{CreateWorkspace, UpdateWorkspace, WorkspaceView};

pub use crate::auth::RequestError;
pub use crate::listed::Listed;

use crate::auth::{Principal, Right, require};
use crate::clock::Clock;
use crate::metadata::{Metadata, MetadataError, Workspace};

/// The use-cases. Cheap to clone.
#[derive(Clone)]
pub struct Tenancy {
    metadata: Metadata,
    clock: Clock,
}

impl Tenancy {
    /// Puts it together.
    #[must_use]
    pub fn new(metadata: Metadata, clock: Clock) -> Self {
        Self { metadata, clock }
    }

    /// The workspace that a request acts in: the caller's own, or the one that an operator names in `X-Workspace`.
    pub async fn acting_workspace(
        &self,
        principal: &Principal,
        named: Option<&str>,
    ) -> Result<Arc<Workspace>, RequestError> {
        let workspace = self.named_workspace(principal, named).await?;
        workspace.ok_or_else(|| {
            RequestError::BadRequest(String::from(
                "an operator key acts in a workspace of its choice: name one with X-Workspace",
            ))
        })
    }

    /// The same where an operator need not name one: none, for all of them.
    async fn named_workspace(
        &self,
        principal: &Principal,
        named: Option<&str>,
    ) -> Result<Option<Arc<Workspace>>, RequestError> {
        check_named(principal, named)?;
        match (principal.workspace(), named) {
            (Some(own), _) => Ok(Some(Arc::clone(own))),
            (None, Some(named)) => self.find(principal, named).await.map(Some),
            (None, None) => Ok(None),
        }
    }

    /// The workspace of a path, as far as the caller may know of it.
    async fn find(
        &self,
        principal: &Principal,
        name: &str,
    ) -> Result<Arc<Workspace>, RequestError> {
        let found = match principal.workspace() {
            Some(own) => Some(Arc::clone(own)).filter(|own| own.name == name),
            None => {
                require(principal, Right::Operate)?;
                self.metadata.workspace_by_name(name).await?
            }
        };
        found.ok_or_else(|| unknown("workspace", name))
    }
}

/// Refuses a workspace's key that names another workspace than its own.
pub fn check_named(principal: &Principal, named: Option<&str>) -> Result<(), RequestError> {
    match (principal.workspace(), named) {
        (Some(own), Some(named)) if own.name != named => Err(RequestError::Forbidden(format!(
            "this key acts in the workspace \"{}\" alone: leave X-Workspace out",
            own.name
        ))),
        _ => Ok(()),
    }
}

fn unknown(what: &str, name: &str) -> RequestError {
    let name: String = name.chars().take(names::MAX_NAME_LENGTH).collect();
    RequestError::NotFound(format!("there is no {what} \"{name}\""))
}

/// A row was taken by another request in the meantime.
fn taken(error: MetadataError, message: impl FnOnce() -> String) -> RequestError {
    if error.is_conflict() {
        RequestError::Conflict(message())
    } else {
        RequestError::Metadata(error)
    }
}

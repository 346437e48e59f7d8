//! Accounts, workspaces and their API keys: who may make, see, change and end them, and what they may be called.
//!
//! Foreign things are not found, whether they exist or not. This module knows no HTTP and no SQL.

mod accounts;
mod api_keys;
mod first_start;
mod names;
mod operator_keys;
#[cfg(test)]
mod tests;
mod whoami;
mod workspaces;

use std::sync::Arc;

use serde::Serialize;

pub use accounts::{AccountView, CreateAccount};
pub use api_keys::{ApiKeyView, CreateApiKey, CreatedApiKey, MAX_API_KEYS};
pub use first_start::{FirstStart, FirstStartError};
pub(crate) use names::Name;
pub use names::team_key_of;
pub use operator_keys::{
    CreateOperatorKey, CreatedOperatorKey, MAX_OPERATOR_KEYS, OperatorKeyView, RotateOperatorKey,
};
pub use whoami::Whoami;
pub use workspaces::{CreateWorkspace, UpdateWorkspace, WorkspaceView};

pub use crate::auth::RequestError;

use crate::auth::{Principal, Right};
use crate::clock::Clock;
use crate::metadata::{Metadata, MetadataError, Workspace};

/// The use-cases. Cheap to clone.
#[derive(Clone)]
pub struct Tenancy {
    metadata: Metadata,
    clock: Clock,
}

/// One page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Listed<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page starts: the last key of this one; none on the last page.
    pub next: Option<String>,
}

impl<T> Listed<T> {
    /// A page of at most `limit`, of rows that were asked for with one more.
    pub(crate) fn cut<R>(
        mut rows: Vec<R>,
        limit: u32,
        key: impl Fn(&R) -> &str,
        view: impl Fn(&R) -> T,
    ) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more {
            rows.last().map(|row| key(row).to_owned())
        } else {
            None
        };
        Self {
            items: rows.iter().map(view).collect(),
            next,
        }
    }
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
        check_named(principal, named)?;
        match (principal.workspace(), named) {
            (Some(own), _) => Ok(Arc::clone(own)),
            (None, Some(named)) => self.find(principal, named).await,
            (None, None) => Err(RequestError::BadRequest(String::from(
                "an operator key acts in a workspace of its choice: name one with X-Workspace",
            ))),
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

/// Refuses a key whose role does not have a right.
fn require(principal: &Principal, right: Right) -> Result<(), RequestError> {
    if principal.role().may(right) {
        return Ok(());
    }
    let needed = match right {
        Right::Read => "viewer or a higher one",
        Right::Lease => "builder or a higher one",
        Right::Change => "developer or a higher one",
        Right::Administer => "admin",
        Right::Operate => "operator",
    };
    Err(RequestError::Forbidden(format!(
        "this takes a key with the role {needed}; this one is {}",
        principal.role()
    )))
}

/// A row was taken by another request in the meantime.
fn taken(error: MetadataError, message: impl FnOnce() -> String) -> RequestError {
    if error.is_conflict() {
        RequestError::Conflict(message())
    } else {
        RequestError::Metadata(error)
    }
}

//! Who the caller is, as far as it may know.

use serde::Serialize;

use super::Tenancy;
use crate::auth::Principal;
use crate::clock::Millis;

/// The caller, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Whoami {
    /// `operator_key` or `api_key`.
    pub kind: &'static str,
    /// The id of the key.
    pub id: String,
    /// Its role.
    pub role: String,
    /// The name of its workspace.
    pub workspace: Option<String>,
    /// The name of the account of the workspace.
    pub account: Option<String>,
    /// The id of that account.
    pub account_id: Option<String>,
    /// What the workspace's repositories begin with, slash included.
    pub repository_prefix: Option<String>,
    /// When the key ends.
    pub expires_at: Option<String>,
}

impl Tenancy {
    /// Who the caller is.
    #[must_use]
    pub fn whoami(&self, principal: &Principal) -> Whoami {
        let workspace = principal.workspace();
        Whoami {
            kind: principal.kind().as_str(),
            id: principal.id().to_owned(),
            role: principal.role().to_string(),
            workspace: workspace.map(|workspace| workspace.name.clone()),
            account: workspace.map(|workspace| workspace.account.clone()),
            account_id: workspace.map(|workspace| workspace.account_id.clone()),
            repository_prefix: workspace.map(|workspace| format!("{}/", workspace.prefix)),
            expires_at: principal.expires_at().map(Millis::rfc3339),
        }
    }
}

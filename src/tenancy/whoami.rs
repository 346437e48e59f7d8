//! Who the caller is, as far as it may know.

use serde::Serialize;
use utoipa::ToSchema;

use super::Tenancy;
use super::names::Name;
use crate::auth::{Principal, PrincipalKind, Role};
use crate::clock::Millis;
use crate::grammar::{Id, Time, documented, word};

pub(super) enum KeyKind {}
documented!(
    KeyKind,
    word(
        "What the caller showed.",
        [PrincipalKind::OperatorKey, PrincipalKind::ApiKey].map(PrincipalKind::as_str)
    )
);

/// The caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "kind": "api_key", "id": "0b9f4a2e-6d0c-4f7b-9a53-5f4f4c0f1d2e", "role": "builder", "workspace": "shop",
    "account": "acme", "accountId": "7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11", "repositoryPrefix": "t-shop/",
    "expiresAt": null
})))]
pub struct Whoami {
    /// `operator_key` or `api_key`.
    #[schema(value_type = KeyKind)]
    pub kind: &'static str,
    /// The id of the key.
    #[schema(value_type = Id)]
    pub id: String,
    /// Its role.
    #[schema(value_type = Role)]
    pub role: String,
    /// The name of its workspace.
    #[schema(value_type = Option<Name>, required)]
    pub workspace: Option<String>,
    /// The name of the account of the workspace.
    #[schema(value_type = Option<Name>, required)]
    pub account: Option<String>,
    /// The id of that account.
    #[schema(value_type = Option<Id>, required)]
    pub account_id: Option<String>,
    /// What the workspace's repositories begin with, slash included.
    #[schema(required)]
    pub repository_prefix: Option<String>,
    /// When the key ends.
    #[schema(value_type = Option<Time>, required)]
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

//! `/api/v1/whoami`: who a key is, and what it reaches.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::extract::{Key, answer};
use crate::auth::PrincipalKind;

pub(super) async fn show(key: Key) -> Response {
    let principal = &key.principal;
    let kind = match principal.kind() {
        PrincipalKind::OperatorKey => "operatorKey",
        PrincipalKind::ApiKey => "apiKey",
        PrincipalKind::RegistryCredential => "registryCredential",
    };
    let workspace = principal.workspace();
    answer(
        StatusCode::OK,
        &json!({
            "kind": kind,
            "id": principal.id(),
            "role": principal.role(),
            "workspace": workspace.map(|workspace| &workspace.name),
            "account": workspace.map(|workspace| &workspace.account),
            "accountId": workspace.map(|workspace| &workspace.account_id),
            "repositoryPrefix": workspace.map(|workspace| format!("{}/", workspace.prefix)),
            "expiresAt": principal.expires_at().map(crate::clock::Millis::rfc3339),
        }),
    )
}

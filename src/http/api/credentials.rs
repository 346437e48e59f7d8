//! `/api/v1/registry/credentials`: short-lived passwords for pushing and pulling.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, answer};
use crate::auth::{CredentialRequest, RegistryHosts, Revocation};

/// How this registry is reached: by configuration, else as this client reached it.
pub(super) struct Hosts(pub(super) RegistryHosts);

impl FromRequestParts<Shared> for Hosts {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, http: &Shared) -> Result<Self, ApiError> {
        let asked = http.asked_host(parts);
        let push = http
            .options
            .public_url
            .as_ref()
            .map(|url| url.authority().to_owned());
        let push = push.or_else(|| asked.clone()).ok_or_else(|| {
            ApiError::bad_request(
                "the request has no Host header with a host name and an optional port",
            )
        })?;
        let pull = http
            .options
            .pull_url
            .as_ref()
            .map(|url| url.authority().to_owned());
        Ok(Self(RegistryHosts {
            push,
            pull,
            aliases: asked.into_iter().collect(),
        }))
    }
}

pub(super) async fn issue(
    State(http): State<Shared>,
    key: Key,
    Hosts(hosts): Hosts,
    Json(request): Json<CredentialRequest>,
) -> Result<Response, ApiError> {
    let workspace = http
        .tenancy
        .acting_workspace(&key.principal, key.named_workspace.as_deref())
        .await?;
    let issued = http
        .auth
        .issue_credential(&key.principal, &workspace, &request, &hosts)?;
    Ok(answer(StatusCode::OK, &issued))
}

pub(super) async fn revoke(
    State(http): State<Shared>,
    key: Key,
    Json(request): Json<Revocation>,
) -> Result<Response, ApiError> {
    let workspace = http
        .tenancy
        .acting_workspace(&key.principal, key.named_workspace.as_deref())
        .await?;
    http.auth
        .revoke_credentials(&key.principal, &workspace, &request)
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

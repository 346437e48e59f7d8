//! `/api/v1/registry/credentials`: short-lived passwords for pushing and pulling.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, answer};
use super::openapi::InWorkspace;
use crate::auth::{CredentialRequest, IssuedCredential, RegistryHosts, Revocation};

/// How this registry is reached: by configuration, else as this client reached it.
pub(super) struct Hosts(pub(super) RegistryHosts);

impl FromRequestParts<Shared> for Hosts {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, http: &Shared) -> Result<Self, ApiError> {
        Self::of(parts, http).ok_or_else(|| ApiError::bad_request(NO_HOST))
    }
}

/// What to say to a request that does not tell how this registry is reached, where the configuration does not either.
pub(super) const NO_HOST: &str =
    "the request has no Host header with a host name and an optional port";

impl Hosts {
    pub(super) fn of(parts: &Parts, http: &Shared) -> Option<Self> {
        let asked = http.asked_host(parts);
        let push = http
            .options
            .public_url
            .as_ref()
            .map(|url| url.authority().to_owned());
        let push = push.or_else(|| asked.clone())?;
        let pull = http
            .options
            .pull_url
            .as_ref()
            .map(|url| url.authority().to_owned());
        Some(Self(RegistryHosts {
            push,
            pull,
            aliases: asked.into_iter().collect(),
        }))
    }
}

/// Issues a registry credential: a short-lived password for `docker login`.
///
/// Without `actions` it may pull, and push where the key may.
#[utoipa::path(
    post, path = "/api/v1/registry/credentials", tag = "credentials",
    params(InWorkspace),
    request_body = CredentialRequest,
    responses(
        (status = 200, description = "The credential.", body = IssuedCredential),
        (status = 404, description = "There is no such workspace."),
    )
)]
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
        .issue_credential(&key.principal, &workspace, &request, &hosts)
        .await?;
    let (id, reach) = (&issued.credential_id, &issued.reach);
    http.audit
        .issued(&key.principal, Some(&workspace), id, reach);
    Ok(answer(StatusCode::OK, &issued))
}

/// Revokes registry credentials (admin).
#[utoipa::path(
    post, path = "/api/v1/registry/credentials/revoke", tag = "credentials",
    params(InWorkspace),
    request_body = Revocation,
    responses(
        (status = 204, description = "They count no longer."),
        (status = 404, description = "There is no such workspace or API key."),
    )
)]
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

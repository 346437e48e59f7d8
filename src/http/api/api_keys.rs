//! `/api/v1/workspaces/{name}/api-keys`: who may act for a team.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, ListQuery, PathId, PathName, answer, listed};
use crate::tenancy::{ApiKeyView, CreateApiKey, CreatedApiKey};

/// The list, as its cursors name it.
const LIST: &str = "api-keys";

/// Makes an API key of a workspace (admin).
///
/// It never reaches further than the key that makes it.
#[utoipa::path(
    post, path = "/api/v1/workspaces/{name}/api-keys", tag = "api-keys",
    params(PathName),
    request_body = CreateApiKey,
    responses(
        (status = 201, description = "The key, with its secret.", body = CreatedApiKey),
        (status = 409, description = "The workspace has as many keys as it may have."),
    )
)]
pub(super) async fn create(
    State(http): State<Shared>,
    key: Key,
    PathName(workspace): PathName,
    Json(request): Json<CreateApiKey>,
) -> Result<Response, ApiError> {
    let created = http
        .tenancy
        .create_api_key(&key.principal, &workspace, &request)
        .await?;
    Ok(answer(StatusCode::CREATED, &created))
}

/// Lists the API keys of a workspace (admin).
#[utoipa::path(
    get, path = "/api/v1/workspaces/{name}/api-keys", tag = "api-keys",
    params(PathName, ListQuery),
    responses((status = 200, description = "Keys by id, without their secrets.", body = [ApiKeyView]))
)]
pub(super) async fn list(
    State(http): State<Shared>,
    key: Key,
    PathName(workspace): PathName,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let after = query.after(LIST)?;
    let page = http
        .tenancy
        .api_keys(&key.principal, &workspace, after.as_deref(), query.limit())
        .await?;
    Ok(listed(LIST, &page))
}

/// Ends an API key, and everything that was issued to it (admin).
#[utoipa::path(
    delete, path = "/api/v1/workspaces/{name}/api-keys/{id}", tag = "api-keys",
    params(PathName, PathId),
    responses((status = 204, description = "The key is gone."))
)]
pub(super) async fn delete(
    State(http): State<Shared>,
    key: Key,
    PathName(workspace): PathName,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    http.tenancy
        .delete_api_key(&key.principal, &workspace, &id)
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

//! `/api/v1/workspaces/{name}/api-keys`: who may act for a team.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, ListQuery, PathId, PathName, answer, listed};
use crate::tenancy::CreateApiKey;

/// The list, as its cursors name it.
const LIST: &str = "api-keys";

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

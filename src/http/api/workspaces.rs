//! `/api/v1/workspaces`: teams.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, ListQuery, PathName, answer, listed};
use crate::tenancy::{CreateWorkspace, UpdateWorkspace};

/// The list, as its cursors name it.
const LIST: &str = "workspaces";

pub(super) async fn create(
    State(http): State<Shared>,
    key: Key,
    Json(request): Json<CreateWorkspace>,
) -> Result<Response, ApiError> {
    let workspace = http
        .tenancy
        .create_workspace(&key.principal, &request)
        .await?;
    Ok(answer(StatusCode::CREATED, &workspace))
}

pub(super) async fn list(
    State(http): State<Shared>,
    key: Key,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let after = query.after(LIST)?;
    let page = http
        .tenancy
        .workspaces(&key.principal, after.as_deref(), query.limit())
        .await?;
    Ok(listed(LIST, &page))
}

pub(super) async fn show(
    State(http): State<Shared>,
    key: Key,
    PathName(name): PathName,
) -> Result<Response, ApiError> {
    Ok(answer(
        StatusCode::OK,
        &http.tenancy.workspace(&key.principal, &name).await?,
    ))
}

pub(super) async fn update(
    State(http): State<Shared>,
    key: Key,
    PathName(name): PathName,
    Json(request): Json<UpdateWorkspace>,
) -> Result<Response, ApiError> {
    Ok(answer(
        StatusCode::OK,
        &http
            .tenancy
            .update_workspace(&key.principal, &name, &request)
            .await?,
    ))
}

pub(super) async fn delete(
    State(http): State<Shared>,
    key: Key,
    PathName(name): PathName,
) -> Result<Response, ApiError> {
    http.tenancy.delete_workspace(&key.principal, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

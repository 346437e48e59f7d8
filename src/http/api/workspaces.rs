//! `/api/v1/workspaces`: teams.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, ListQuery, PathName, answer, listed};
use crate::tenancy::{CreateWorkspace, UpdateWorkspace, WorkspaceView};

/// The list, as its cursors name it.
const LIST: &str = "workspaces";

/// Makes a workspace (operator).
#[utoipa::path(
    post, path = "/api/v1/workspaces", tag = "workspaces",
    request_body = CreateWorkspace,
    responses(
        (status = 201, description = "The workspace.", body = WorkspaceView),
        (status = 409, description = "The name is taken, or the prefix belongs or belonged to another workspace."),
    )
)]
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

/// Lists workspaces: all of them to an operator, their own to others.
#[utoipa::path(
    get, path = "/api/v1/workspaces", tag = "workspaces",
    params(ListQuery),
    responses((status = 200, description = "Workspaces by name.", body = [WorkspaceView]))
)]
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

/// Shows a workspace.
#[utoipa::path(
    get, path = "/api/v1/workspaces/{name}", tag = "workspaces",
    params(PathName),
    responses((status = 200, description = "The workspace.", body = WorkspaceView))
)]
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

/// Changes the settings of a workspace (admin).
#[utoipa::path(
    patch, path = "/api/v1/workspaces/{name}", tag = "workspaces",
    params(PathName),
    request_body = UpdateWorkspace,
    responses((status = 200, description = "The workspace as it is now.", body = WorkspaceView))
)]
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

/// Ends a workspace that has no images, and its keys with it (operator).
#[utoipa::path(
    delete, path = "/api/v1/workspaces/{name}", tag = "workspaces",
    params(PathName),
    responses(
        (status = 204, description = "The workspace is gone; its prefix is never given again."),
        (status = 409, description = "The workspace has images."),
    )
)]
pub(super) async fn delete(
    State(http): State<Shared>,
    key: Key,
    PathName(name): PathName,
) -> Result<Response, ApiError> {
    http.tenancy.delete_workspace(&key.principal, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

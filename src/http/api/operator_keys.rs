//! `/api/v1/operator-keys`: who has the installation in hands.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, ListQuery, PathId, answer, listed};
use crate::tenancy::{CreateOperatorKey, RotateOperatorKey};

/// The list, as its cursors name it.
const LIST: &str = "operator-keys";

pub(super) async fn create(
    State(http): State<Shared>,
    key: Key,
    Json(request): Json<CreateOperatorKey>,
) -> Result<Response, ApiError> {
    let created = http
        .tenancy
        .create_operator_key(&key.principal, &request)
        .await?;
    Ok(answer(StatusCode::CREATED, &created))
}

pub(super) async fn list(
    State(http): State<Shared>,
    key: Key,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let after = query.after(LIST)?;
    let page = http
        .tenancy
        .operator_keys(&key.principal, after.as_deref(), query.limit())
        .await?;
    Ok(listed(LIST, &page))
}

pub(super) async fn delete(
    State(http): State<Shared>,
    key: Key,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    http.tenancy
        .delete_operator_key(&key.principal, &id)
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn rotate(
    State(http): State<Shared>,
    key: Key,
    PathId(id): PathId,
    Json(request): Json<RotateOperatorKey>,
) -> Result<Response, ApiError> {
    let created = http
        .tenancy
        .rotate_operator_key(&key.principal, &id, &request)
        .await?;
    Ok(answer(StatusCode::CREATED, &created))
}

//! `/api/v1/operator-keys`: who has the installation in hands.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, ListQuery, PathId, answer, listed};
use crate::tenancy::{CreateOperatorKey, CreatedOperatorKey, OperatorKeyView, RotateOperatorKey};

/// The list, as its cursors name it.
const LIST: &str = "operator-keys";

/// Makes an operator key (operator).
#[utoipa::path(
    post, path = "/api/v1/operator-keys", tag = "operator-keys",
    request_body = CreateOperatorKey,
    responses(
        (status = 201, description = "The key, with its secret.", body = CreatedOperatorKey),
        (status = 409, description = "There are as many operator keys as there may be."),
    )
)]
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

/// Lists the operator keys (operator).
#[utoipa::path(
    get, path = "/api/v1/operator-keys", tag = "operator-keys",
    params(ListQuery),
    responses((status = 200, description = "Keys by id, without their secrets.", body = [OperatorKeyView]))
)]
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

/// Ends an operator key (operator).
#[utoipa::path(
    delete, path = "/api/v1/operator-keys/{id}", tag = "operator-keys",
    params(PathId),
    responses(
        (status = 204, description = "The key is gone."),
        (status = 409, description = "No other operator key lives as long as this one."),
    )
)]
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

/// Makes a new operator key in the place of another, which goes on for a while (operator).
#[utoipa::path(
    post, path = "/api/v1/operator-keys/{id}/rotate", tag = "operator-keys",
    params(PathId),
    request_body = RotateOperatorKey,
    responses(
        (status = 201, description = "The new key, and the old one with its end.", body = CreatedOperatorKey),
        (status = 409, description = "The key has ended, no other would live as long, or there are too many."),
    )
)]
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

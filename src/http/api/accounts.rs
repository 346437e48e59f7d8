//! `/api/v1/accounts`: for operators.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, ListQuery, PathName, answer, listed};
use crate::tenancy::CreateAccount;

/// The list, as its cursors name it.
const LIST: &str = "accounts";

pub(super) async fn create(
    State(http): State<Shared>,
    key: Key,
    Json(request): Json<CreateAccount>,
) -> Result<Response, ApiError> {
    let account = http
        .tenancy
        .create_account(&key.principal, &request)
        .await?;
    Ok(answer(StatusCode::CREATED, &account))
}

pub(super) async fn list(
    State(http): State<Shared>,
    key: Key,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let after = query.after(LIST)?;
    let page = http
        .tenancy
        .accounts(&key.principal, after.as_deref(), query.limit())
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
        &http.tenancy.account(&key.principal, &name).await?,
    ))
}

pub(super) async fn delete(
    State(http): State<Shared>,
    key: Key,
    PathName(name): PathName,
) -> Result<Response, ApiError> {
    http.tenancy.delete_account(&key.principal, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

//! `/api/v1/accounts`: for operators.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, ListQuery, PathName, answer, listed};
use crate::tenancy::{AccountView, CreateAccount};

/// The list, as its cursors name it.
const LIST: &str = "accounts";

/// Makes an account (operator).
#[utoipa::path(
    post, path = "/api/v1/accounts", tag = "accounts",
    request_body = CreateAccount,
    responses(
        (status = 201, description = "The account.", body = AccountView),
        (status = 409, description = "There is an account of this name already."),
    )
)]
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

/// Lists the accounts (operator).
#[utoipa::path(
    get, path = "/api/v1/accounts", tag = "accounts",
    params(ListQuery),
    responses((status = 200, description = "Accounts by name.", body = [AccountView]))
)]
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

/// Shows an account (operator).
#[utoipa::path(
    get, path = "/api/v1/accounts/{name}", tag = "accounts",
    params(PathName),
    responses((status = 200, description = "The account.", body = AccountView))
)]
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

/// Ends an account that has no workspaces (operator).
#[utoipa::path(
    delete, path = "/api/v1/accounts/{name}", tag = "accounts",
    params(PathName),
    responses(
        (status = 204, description = "The account is gone."),
        (status = 409, description = "The account has workspaces."),
    )
)]
pub(super) async fn delete(
    State(http): State<Shared>,
    key: Key,
    PathName(name): PathName,
) -> Result<Response, ApiError> {
    http.tenancy.delete_account(&key.principal, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

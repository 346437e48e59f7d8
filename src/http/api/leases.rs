//! `/api/v1/leases`: what is in use.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::credentials::Hosts;
use super::error::ApiError;
use super::extract::{Json, ListQuery, Manage, PathHolder, answer, listed};
use crate::auth::{ToLease, ToRead};
use crate::images::LeaseRequest;

/// The list, as its cursors name it.
const LIST: &str = "leases";

pub(super) async fn put(
    State(http): State<Shared>,
    Manage(manager): Manage<ToLease>,
    PathHolder(holder): PathHolder,
    Hosts(hosts): Hosts,
    Json(request): Json<LeaseRequest>,
) -> Result<Response, ApiError> {
    let lease = http
        .images
        .put_lease(&manager, holder, request, &hosts)
        .await?;
    Ok(answer(StatusCode::OK, &lease))
}

pub(super) async fn list(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let after = query.after(LIST)?;
    let page = http
        .images
        .leases(&manager, after.as_deref(), query.limit())
        .await?;
    Ok(listed(LIST, &page))
}

pub(super) async fn show(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    PathHolder(holder): PathHolder,
) -> Result<Response, ApiError> {
    let lease = http.images.lease(&manager, &holder).await?;
    Ok(answer(StatusCode::OK, &lease))
}

pub(super) async fn delete(
    State(http): State<Shared>,
    Manage(manager): Manage<ToLease>,
    PathHolder(holder): PathHolder,
) -> Result<Response, ApiError> {
    http.images.end_lease(&manager, &holder).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

//! `/api/v1/leases`: what is in use.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::credentials::Hosts;
use super::error::ApiError;
use super::extract::{Json, ListQuery, Manage, PathHolder, answer, listed};
use super::openapi::InWorkspace;
use crate::auth::{ToLease, ToRead};
use crate::images::{LeaseRequest, LeaseView};

/// The list, as its cursors name it.
const LIST: &str = "leases";

/// Says that an image is in use, so that nobody deletes it (builder).
///
/// The lease pins the digest that the reference names now. The same call again renews it, or moves it to another image.
#[utoipa::path(
    put, path = "/api/v1/leases/{holder}", tag = "leases",
    params(InWorkspace, PathHolder),
    request_body = LeaseRequest,
    responses(
        (status = 200, description = "The lease.", body = LeaseView),
        (status = 404, description = "There is no such image that this workspace may pull, or it has no such tag or digest."),
        (status = 409, description = "The workspace holds as many leases as it may."),
    )
)]
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

/// Lists the leases of the workspace.
#[utoipa::path(
    get, path = "/api/v1/leases", tag = "leases",
    params(InWorkspace, ListQuery),
    responses((status = 200, description = "Leases by their holders.", body = [LeaseView]))
)]
pub(super) async fn list(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let list = format!("{LIST} {}", manager.workspace().id);
    let after = query.after(&list)?;
    let page = http
        .images
        .leases(&manager, after.as_deref(), query.limit())
        .await?;
    Ok(listed(&list, &page))
}

/// Shows a lease.
#[utoipa::path(
    get, path = "/api/v1/leases/{holder}", tag = "leases",
    params(InWorkspace, PathHolder),
    responses(
        (status = 200, description = "The lease.", body = LeaseView),
        (status = 404, description = "There is no such lease in this workspace, or it has ended."),
    )
)]
pub(super) async fn show(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    PathHolder(holder): PathHolder,
) -> Result<Response, ApiError> {
    let lease = http.images.lease(&manager, &holder).await?;
    Ok(answer(StatusCode::OK, &lease))
}

/// Ends a lease (builder).
#[utoipa::path(
    delete, path = "/api/v1/leases/{holder}", tag = "leases",
    params(InWorkspace, PathHolder),
    responses(
        (status = 204, description = "The lease has ended."),
        (status = 404, description = "There is no such lease in this workspace, or it has ended already."),
    )
)]
pub(super) async fn delete(
    State(http): State<Shared>,
    Manage(manager): Manage<ToLease>,
    PathHolder(holder): PathHolder,
) -> Result<Response, ApiError> {
    http.images.end_lease(&manager, &holder).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

//! `/api/v1/checks`: whether the storage has what the rows say.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, answer};
use crate::checks::{CheckRequest, CheckView};

/// Checks the next objects of the storage against the database (operator).
///
/// A check is made of slices of some seconds each: repeat the call with `nextCursor` as `cursor` until that is null. It
/// stops nobody, and what `repair` does is told to the audit log.
#[utoipa::path(
    post, path = "/api/v1/checks", tag = "checks", operation_id = "slice",
    request_body = CheckRequest,
    responses(
        (status = 200, description = "What this slice saw.", body = CheckView),
        (status = 409, description = "The storage does not carry the mark of this installation."),
    )
)]
pub(super) async fn check(
    State(http): State<Shared>,
    key: Key,
    Json(request): Json<CheckRequest>,
) -> Result<Response, ApiError> {
    let view = http.checks.check(&key.principal, &request).await?;
    Ok(answer(StatusCode::OK, &view))
}

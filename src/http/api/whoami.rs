//! `/api/v1/whoami`: who a key is, and what it reaches.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::Shared;
use super::extract::{Key, answer};
use crate::tenancy::Whoami;

/// Says who calls.
#[utoipa::path(
    get, path = "/api/v1/whoami", tag = "whoami",
    responses((status = 200, description = "The caller.", body = Whoami))
)]
pub(super) async fn show(State(http): State<Shared>, key: Key) -> Response {
    answer(StatusCode::OK, &http.tenancy.whoami(&key.principal))
}

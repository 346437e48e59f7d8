//! `/api/v1/whoami`: who a key is, and what it reaches.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::Shared;
use super::extract::{Key, answer};

pub(super) async fn show(State(http): State<Shared>, key: Key) -> Response {
    answer(StatusCode::OK, &http.tenancy.whoami(&key.principal))
}

//! The door of the operator: metrics and health.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::error::log_cause;
use crate::telemetry::METRICS_CONTENT_TYPE;

pub(super) async fn metrics(State(http): State<Shared>) -> Response {
    http.metrics.set_writer_queue_length(
        i64::try_from(http.metadata.writer_queue_length()).unwrap_or(i64::MAX),
    );
    match http.metadata.count_open_uploads().await {
        Ok(uploads) => http
            .metrics
            .set_open_uploads(i64::try_from(uploads).unwrap_or(i64::MAX)),
        Err(error) => log_cause("open uploads could not be counted", &error),
    }
    http.metrics
        .set_buffered_bytes(http.bodies.held_bytes(), http.forms.held_bytes());
    for count in http.metadata.memory_counts() {
        http.metrics
            .set_cache_lookups(count.table, count.hits, count.misses);
    }
    (
        [(CONTENT_TYPE, METRICS_CONTENT_TYPE)],
        http.metrics.render(),
    )
        .into_response()
}

/// The process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The database answers and keeps what it is given, and the storage can be written.
pub(super) async fn readyz(State(http): State<Shared>) -> Response {
    if let Err(error) = http.metadata.ready().await {
        log_cause("not ready: the database", &error);
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: the database\n").into_response();
    }
    if let Err(error) = http.store.check_writable().await {
        log_cause("not ready: the storage", &error);
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: the storage\n").into_response();
    }
    "ready\n".into_response()
}

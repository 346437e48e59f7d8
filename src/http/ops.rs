//! The door of the operator: metrics and health.

use std::error::Error;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use tokio::time::error::Elapsed;

use super::Shared;
use super::error::log_cause;
use crate::telemetry::METRICS_CONTENT_TYPE;

/// How long the database or the storage may take to say that it is there. Kubernetes asks every ten seconds.
const READY_LIMIT: Duration = Duration::from_secs(5);

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
    for (of, bytes) in http.bodies.held_bytes() {
        http.metrics.set_buffered_bytes(of, bytes);
    }
    http.metrics.set_open_transfers(http.transfers.held());
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

/// The database answers and keeps what it is given, and the storage can be written: both, and soon.
pub(super) async fn readyz(State(http): State<Shared>) -> Response {
    let database = tokio::time::timeout(READY_LIMIT, http.metadata.ready());
    let storage = tokio::time::timeout(READY_LIMIT, http.store.check_writable());
    let (database, storage) = tokio::join!(database, storage);
    if let Some(cause) = failure(&database) {
        log_cause("not ready: the database", cause);
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: the database\n").into_response();
    }
    if let Some(cause) = failure(&storage) {
        log_cause("not ready: the storage", cause);
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: the storage\n").into_response();
    }
    "ready\n".into_response()
}

/// Why something is not ready: it failed, or it took too long.
fn failure<E: Error>(outcome: &Result<Result<(), E>, Elapsed>) -> Option<&dyn Error> {
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(elapsed) => Some(elapsed),
    }
}

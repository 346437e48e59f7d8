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
use crate::clock::{Clock, Millis};
use crate::metadata::MetadataError;
use crate::telemetry::METRICS_CONTENT_TYPE;

/// How long the database or the storage may take to say that it is there. Kubernetes asks every ten seconds.
const READY_LIMIT: Duration = Duration::from_secs(5);

/// How far this machine's clock may be from the database's, which the servers share: what one of them writes the others
/// judge, and windows of minutes would end too early or too late.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

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
    let shared_time = tokio::time::timeout(READY_LIMIT, http.metadata.time());
    let (database, storage, shared_time) = tokio::join!(database, storage, shared_time);
    if let Some(cause) = failure(&database) {
        log_cause("not ready: the database", cause);
        // What an operator has to change is said here too; it names settings and versions, and nothing that is secret.
        let text = match &database {
            Ok(Err(MetadataError::Refused(reason))) => {
                format!("not ready: the database: {reason}\n")
            }
            Ok(_) | Err(_) => String::from("not ready: the database\n"),
        };
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    if let Ok(Ok(Some(shared))) = shared_time
        && let Some(reason) = wrong_clock(&http.clock, shared)
    {
        tracing::error!(reason, "not ready: the clock");
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        )
            .into_response();
    }
    if let Some(cause) = failure(&storage) {
        log_cause("not ready: the storage", cause);
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: the storage\n").into_response();
    }
    "ready\n".into_response()
}

/// What is wrong with this machine's clock beside that of the database. One that tests move is always right.
fn wrong_clock(clock: &Clock, shared: Millis) -> Option<String> {
    if matches!(clock, Clock::Manual(_)) {
        return None;
    }
    let ahead_seconds = (clock.now().0 - shared.0) / 1000;
    (ahead_seconds.unsigned_abs() > CLOCK_TOLERANCE.as_secs()).then(|| {
        let word = if ahead_seconds > 0 { "ahead of" } else { "behind" };
        format!(
            "the clock of this machine is {} s {word} that of the database: set both, for example by NTP",
            ahead_seconds.unsigned_abs()
        )
    })
}

/// Why something is not ready: it failed, or it took too long.
fn failure<E: Error>(outcome: &Result<Result<(), E>, Elapsed>) -> Option<&dyn Error> {
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(elapsed) => Some(elapsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_far_from_that_of_the_database_is_named() {
        let shared = |by_ms| Clock::System.now().plus(by_ms);
        assert_eq!(wrong_clock(&Clock::System, shared(0)), None);
        assert_eq!(wrong_clock(&Clock::System, shared(-50_000)), None);
        let ahead = wrong_clock(&Clock::System, shared(-90_000)).unwrap();
        assert!(ahead.contains("s ahead of that"), "{ahead}");
        let behind = wrong_clock(&Clock::System, shared(90_000)).unwrap();
        assert!(behind.contains("s behind that"), "{behind}");
        assert_eq!(wrong_clock(&Clock::manual(Millis(0)), shared(0)), None);
    }
}

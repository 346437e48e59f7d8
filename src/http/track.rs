//! What every request leaves behind: an id in its answer, one line in the log, counts in the metrics.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::Body as _;
use tracing::Instrument as _;

use super::Shared;
use super::counted::Counted;
use super::door::{Door, Peer};
use super::error::LimitReached;
use super::respond::{API_VERSION, API_VERSION_VALUE, REQUEST_ID};
use super::strict;
use crate::oci::RepositoryName;
use crate::telemetry::{RequestId, UNMATCHED_ROUTE, known_method};

/// What the inner layers learn about a request, for its log line.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Mutex<NotesInner>>);

#[derive(Default)]
struct NotesInner {
    principal: Option<String>,
    repository: Option<RepositoryName>,
}

impl Notes {
    pub(super) fn principal(&self, actor: &str) {
        self.change(|notes| notes.principal = Some(actor.to_owned()));
    }

    pub(super) fn repository(&self, name: &RepositoryName) {
        self.change(|notes| notes.repository = Some(name.clone()));
    }

    fn change(&self, change: impl FnOnce(&mut NotesInner)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Gives a request its id, answers it, and says once what became of it.
pub(super) async fn track(State(http): State<Shared>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let id = RequestId::accept(parts.headers.get(&REQUEST_ID).map(HeaderValue::as_bytes));
    let peer = parts.extensions.get::<Peer>();
    let door = peer.map_or(Door::Public, |peer| peer.door);
    let address = http.client_address(&parts);
    let route = parts.extensions.get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(UNMATCHED_ROUTE, MatchedPath::as_str);
    let method = parts.method.clone();
    let notes = Notes::default();
    parts.extensions.insert(notes.clone());
    parts.extensions.insert(id.clone());
    let span = tracing::error_span!("request", request_id = id.as_str());
    let received_bytes = Arc::new(AtomicU64::new(0));
    let mut response = match strict::refuse(&parts) {
        Some(refused) => refused,
        None => {
            let request = Request::from_parts(parts, counted(body, &received_bytes));
            next.run(request).instrument(span).await
        }
    };
    if route.starts_with("/v2/") {
        response
            .headers_mut()
            .insert(API_VERSION, API_VERSION_VALUE);
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status();
    let limit = response.extensions().get::<LimitReached>().copied();
    if let Some(LimitReached(key)) = limit {
        http.metrics.limit_reached(key);
    }
    let duration = started.elapsed();
    http.metrics.request(
        door.as_str(),
        route,
        method.as_str(),
        status.as_u16(),
        duration,
    );
    let sent_bytes = if method == Method::HEAD {
        0
    } else {
        announced_bytes(&response)
    };
    http.metrics.sent(door.as_str(), sent_bytes);
    let received_bytes = received_bytes.load(Ordering::Relaxed);
    http.metrics.received(door.as_str(), received_bytes);
    let line = Line {
        id: &id,
        door,
        route,
        method: &method,
        status,
        address,
        received_bytes,
        sent_bytes,
        notes: &notes,
        limit: limit.map(|LimitReached(key)| key),
    };
    line.write(duration);
    response
}

/// Counts the bytes of the body as they are read.
fn counted(body: Body, received_bytes: &Arc<AtomicU64>) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(Counted::new(body, received_bytes))
}

/// How many bytes the body of an answer will have.
fn announced_bytes(response: &Response) -> u64 {
    let header = response.headers().get(CONTENT_LENGTH);
    let announced = header.and_then(|value| value.to_str().ok()?.parse().ok());
    announced
        .or_else(|| response.body().size_hint().exact())
        .unwrap_or(0)
}

/// One line of the log.
struct Line<'a> {
    id: &'a RequestId,
    door: Door,
    route: &'a str,
    method: &'a Method,
    status: StatusCode,
    address: IpAddr,
    received_bytes: u64,
    sent_bytes: u64,
    notes: &'a Notes,
    limit: Option<&'static str>,
}

impl Line<'_> {
    /// Reads that went well are for debugging; what changed or refused something is for the operator.
    fn write(&self, duration: std::time::Duration) {
        let read = self.door == Door::Ops || matches!(*self.method, Method::GET | Method::HEAD);
        let went_well = !self.status.is_client_error() && !self.status.is_server_error();
        if (read && went_well) || self.is_first_step() {
            if tracing::enabled!(tracing::Level::DEBUG) {
                self.event(duration, false);
            }
        } else {
            self.event(duration, true);
        }
    }

    /// Clients begin without credentials, to be told where to get a token.
    fn is_first_step(&self) -> bool {
        let notes = self.notes.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.status == StatusCode::UNAUTHORIZED && notes.principal.as_deref() == Some("anonymous")
    }

    fn event(&self, duration: std::time::Duration, loud: bool) {
        let notes = self.notes.0.lock().unwrap_or_else(PoisonError::into_inner);
        let repository = notes.repository.as_ref().map(RepositoryName::as_str);
        let address = self.address.to_string();
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = self.id.as_str(),
                    door = self.door.as_str(),
                    method = known_method(self.method.as_str()),
                    route = self.route,
                    status = self.status.as_u16(),
                    principal = notes.principal.as_deref(),
                    repository,
                    address,
                    received_bytes = self.received_bytes,
                    sent_bytes = self.sent_bytes,
                    duration_ms,
                    limit = self.limit,
                    "request answered"
                )
            };
        }
        if loud { line!(info) } else { line!(debug) }
    }
}

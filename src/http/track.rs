//! What every request leaves behind: an id in its answer, one line in the log, counts in the metrics, and a word to the
//! audit log where it was refused.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use hyper::body::Body as _;
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::Shared;
use super::counted::Counted;
use super::door::Door;
use super::error::{LimitReached, Refused};
use super::respond::{API_VERSION, API_VERSION_VALUE, REQUEST_ID};
use super::strict;
use crate::audit::Refusal;
use crate::auth::{Caller, Origin, Principal, SecretOwner};
use crate::oci::RepositoryName;
use crate::telemetry::{Answer, RequestId, RouteMetrics, UNMATCHED_ROUTE, known_method};

/// What the inner layers learn about a request, for its log line and the audit log.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Mutex<NotesInner>>);

#[derive(Default)]
struct NotesInner {
    sender: Option<Sender>,
    repository: Option<RepositoryName>,
}

/// Who sent a request.
enum Sender {
    /// Nobody in particular.
    Anonymous,
    /// Somebody who was let in.
    Principal(Arc<Principal>),
    /// Somebody who showed a secret of ours that is not taken any more, or not here.
    Owner(SecretOwner),
}

impl Sender {
    fn actor(&self) -> &str {
        match self {
            Self::Anonymous => ANONYMOUS,
            Self::Principal(principal) => principal.actor(),
            Self::Owner(owner) => &owner.actor,
        }
    }
}

impl Notes {
    pub(super) fn caller(&self, caller: &Caller) {
        match caller.principal() {
            Some(principal) => self.principal(principal),
            None => self.change(|notes| notes.sender = Some(Sender::Anonymous)),
        }
    }

    pub(super) fn principal(&self, principal: &Arc<Principal>) {
        self.change(|notes| notes.sender = Some(Sender::Principal(Arc::clone(principal))));
    }

    pub(super) fn owner(&self, owner: &SecretOwner) {
        self.change(|notes| notes.sender = Some(Sender::Owner(owner.clone())));
    }

    pub(super) fn repository(&self, name: &RepositoryName) {
        self.change(|notes| notes.repository = Some(name.clone()));
    }

    fn change(&self, change: impl FnOnce(&mut NotesInner)) {
        change(&mut self.read());
    }

    fn read(&self) -> MutexGuard<'_, NotesInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the log names who sends no credentials.
const ANONYMOUS: &str = "anonymous";

/// Puts what every request leaves behind around the routes of a door.
#[derive(Clone)]
pub(super) struct Tracking(Arc<TrackingInner>);

struct TrackingInner {
    http: Shared,
    door: Door,
    /// By the templates of the routes.
    routes: HashMap<&'static str, RouteMetrics>,
    unmatched: RouteMetrics,
}

impl Tracking {
    /// For a door with routes of these templates.
    pub(super) fn new(
        http: &Shared,
        door: Door,
        templates: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let metrics = |route| http.metrics.route(door.as_str(), route);
        let routes = templates.into_iter().map(|route| (route, metrics(route)));
        Self(Arc::new(TrackingInner {
            http: Arc::clone(http),
            door,
            routes: routes.collect(),
            unmatched: metrics(UNMATCHED_ROUTE),
        }))
    }

    fn metrics(&self, route: &str) -> &RouteMetrics {
        self.0.routes.get(route).unwrap_or(&self.0.unmatched)
    }
}

impl<S> Layer<S> for Tracking {
    type Service = Tracked<S>;

    fn layer(&self, inner: S) -> Tracked<S> {
        Tracked {
            inner,
            tracking: self.clone(),
        }
    }
}

/// A route with [`Tracking`] around it.
#[derive(Clone)]
pub(super) struct Tracked<S> {
    inner: S,
    tracking: Tracking,
}

impl<S> Service<Request> for Tracked<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let under_way = UnderWay::begin(&self.tracking, &mut parts);
        if let Some(refused) = strict::refuse(&parts) {
            return Box::pin(std::future::ready(Ok(under_way.end(refused))));
        }
        let span =
            tracing::error_span!("request", request_id = under_way.origin.request_id.as_str());
        let body = counted(body, &under_way.received_bytes);
        let request = Request::from_parts(parts, body);
        let answered = self.inner.call(request).instrument(span);
        Box::pin(async move { Ok(under_way.end(answered.await?)) })
    }
}

/// A request that is being answered.
struct UnderWay {
    tracking: Tracking,
    started: Instant,
    origin: Origin,
    route: Option<MatchedPath>,
    method: Method,
    notes: Notes,
    received_bytes: Arc<AtomicU64>,
}

impl UnderWay {
    /// Gives a request its id.
    fn begin(tracking: &Tracking, request: &mut Parts) -> Self {
        let incoming = request.headers.get(&REQUEST_ID);
        let under_way = Self {
            tracking: tracking.clone(),
            started: Instant::now(),
            origin: Origin {
                address: tracking.0.http.client_address(request),
                request_id: RequestId::accept(incoming.map(HeaderValue::as_bytes)),
            },
            route: request.extensions.get::<MatchedPath>().cloned(),
            method: request.method.clone(),
            notes: Notes::default(),
            received_bytes: Arc::default(),
        };
        request.extensions.insert(under_way.notes.clone());
        request.extensions.insert(under_way.origin.clone());
        under_way
    }

    /// Says once what became of it.
    fn end(self, mut response: Response) -> Response {
        let duration = self.started.elapsed();
        let route = self.route.as_ref();
        let route = route.map_or(UNMATCHED_ROUTE, MatchedPath::as_str);
        if route.starts_with("/v2/") {
            response
                .headers_mut()
                .insert(API_VERSION, API_VERSION_VALUE);
        }
        if let Ok(value) = HeaderValue::from_str(self.origin.request_id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let limit = response.extensions().get::<LimitReached>().copied();
        if let Some(LimitReached(key)) = limit {
            self.tracking.0.http.metrics.limit_reached(key);
        }
        if let Some(Refused(reason)) = response.extensions_mut().remove::<Refused>() {
            self.tell_audit(route, response.status(), &reason);
        }
        let answer = Answer {
            method: self.method.as_str(),
            status: response.status().as_u16(),
            duration,
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            sent_bytes: if self.method == Method::HEAD {
                0
            } else {
                announced_bytes(&response)
            },
        };
        self.tracking.metrics(route).answered(&answer);
        let line = Line {
            origin: &self.origin,
            door: self.tracking.0.door,
            route,
            method: &self.method,
            status: response.status(),
            received_bytes: answer.received_bytes,
            sent_bytes: answer.sent_bytes,
            notes: &self.notes,
            limit: limit.map(|LimitReached(key)| key),
        };
        line.write(duration);
        response
    }
}

impl UnderWay {
    /// Tells the audit log that somebody known was refused. Who is asked for a token, or for one that was given for more,
    /// comes back with it: that is a step of the protocol and no refusal.
    fn tell_audit(&self, route: &str, status: StatusCode, reason: &str) {
        let notes = self.notes.read();
        let (actor, workspace_id) = match &notes.sender {
            Some(Sender::Principal(principal)) if status != StatusCode::UNAUTHORIZED => {
                let workspace = principal.workspace();
                (principal.actor(), workspace.map(|own| own.id.as_str()))
            }
            Some(Sender::Owner(owner)) => (owner.actor.as_str(), owner.workspace_id.as_deref()),
            Some(Sender::Anonymous | Sender::Principal(_)) | None => return,
        };
        let repository = notes.repository.as_ref().map(RepositoryName::as_str);
        self.tracking.0.http.audit.refused(&Refusal {
            actor,
            workspace_id,
            action: &format!("{} {route}", known_method(self.method.as_str())),
            target: repository.unwrap_or(route),
            reason,
            origin: &self.origin,
        });
    }
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
    origin: &'a Origin,
    door: Door,
    route: &'a str,
    method: &'a Method,
    status: StatusCode,
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
        self.status == StatusCode::UNAUTHORIZED
            && matches!(self.notes.read().sender, Some(Sender::Anonymous))
    }

    fn event(&self, duration: std::time::Duration, loud: bool) {
        let notes = self.notes.read();
        let principal = notes.sender.as_ref().map(Sender::actor);
        let repository = notes.repository.as_ref().map(RepositoryName::as_str);
        let address = self.origin.address.to_string();
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = self.origin.request_id.as_str(),
                    door = self.door.as_str(),
                    method = known_method(self.method.as_str()),
                    route = self.route,
                    status = self.status.as_u16(),
                    principal,
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

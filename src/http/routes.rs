//! The route tables of the doors: what there is, read like the specification's table of endpoints.
//!
//! HEAD is a row of its own. axum would answer it with the handler of a GET, whether that was thought of or not, and
//! name it twice in `Allow`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::handler::Handler;
use axum::http::header::ALLOW;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, any, on};
use tower::util::MapRequest;
use tower_http::catch_panic::CatchPanicLayer;

use super::access::Authenticated;
use super::door::Door;
use super::error::DistributionError;
use super::respond::{self, JSON};
use super::{Shared, api, blobs, fold, manifests, ops, referrers, tags, token, track, uploads};
use crate::oci::ErrorCode;

/// A route of a door, for whoever wants to check that none was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteRow {
    /// The method.
    pub method: String,
    /// The path as the route table has it.
    pub path: &'static str,
}

/// A door's whole service: the name is folded, then the request is routed.
pub type DoorService = MapRequest<Router, fold::Fold<Body>>;

/// A router that remembers its rows.
pub(super) struct Routes {
    router: Router<Shared>,
    rows: Vec<RouteRow>,
}

impl Routes {
    pub(super) fn add<H, T>(mut self, method: &Method, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        let filter = match *method {
            Method::HEAD => MethodFilter::HEAD,
            Method::POST => MethodFilter::POST,
            Method::PUT => MethodFilter::PUT,
            Method::PATCH => MethodFilter::PATCH,
            Method::DELETE => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        self.router = self.router.route(path, on(filter, handler));
        self.rows.push(RouteRow {
            method: method.to_string(),
            path,
        });
        self
    }

    /// A GET and its HEAD: whatever can be read can be asked for without its body (RFC 9110 section 9.1).
    pub(super) fn read<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        self.add(&Method::GET, path, handler.clone())
            .add(&Method::HEAD, path, handler)
    }

    /// The router, with a 405 of ours wherever a path has no row for a method.
    fn into_router(self) -> Router<Shared> {
        let mut allowed: BTreeMap<&'static str, String> = BTreeMap::new();
        for row in &self.rows {
            let methods = allowed.entry(row.path).or_default();
            if !methods.is_empty() {
                methods.push_str(", ");
            }
            methods.push_str(&row.method);
        }
        let allowed = Arc::new(allowed);
        let refuse = move |path: MatchedPath, request: Request| {
            let methods = allowed.get(path.as_str()).cloned().unwrap_or_default();
            async move { method_not_allowed(&request, &methods) }
        };
        let mut router = self.router;
        let has = |method: &str, path| {
            let mut rows = self.rows.iter();
            rows.any(|row| row.method == method && row.path == path)
        };
        for row in self.rows.iter().filter(|row| row.method == "GET") {
            if !has("HEAD", row.path) {
                router = router.route(row.path, on(MethodFilter::HEAD, refuse.clone()));
            }
        }
        router.method_not_allowed_fallback(refuse)
    }
}

const BASE: &str = "/v2/";
const CATALOG: &str = "/v2/_catalog";
const BLOB: &str = "/v2/{name}/blobs/{digest}";
const UPLOADS: &str = "/v2/{name}/blobs/uploads/";
/// Without the slash it can only mean the same: some clients leave it out.
const UPLOADS_BARE: &str = "/v2/{name}/blobs/uploads";
const UPLOAD: &str = "/v2/{name}/blobs/uploads/{upload}";
const MANIFEST: &str = "/v2/{name}/manifests/{reference}";
const TAGS: &str = "/v2/{name}/tags/list";
const REFERRERS: &str = "/v2/{name}/referrers/{digest}";

/// What reads: the whole of the pull door, and a part of the public one.
fn reads(routes: Routes) -> Routes {
    routes
        .read(BASE, base)
        .read(CATALOG, tags::catalog)
        .add(&Method::GET, BLOB, blobs::get_blob)
        .add(&Method::HEAD, BLOB, blobs::head_blob)
        .add(&Method::GET, MANIFEST, manifests::get_manifest)
        .add(&Method::HEAD, MANIFEST, manifests::head_manifest)
        .read(TAGS, tags::list_tags)
        .read(REFERRERS, referrers::list_referrers)
}

/// What writes.
fn writes(routes: Routes) -> Routes {
    routes
        .add(&Method::DELETE, BLOB, blobs::delete_blob)
        .add(&Method::POST, UPLOADS, uploads::post_upload)
        .add(&Method::POST, UPLOADS_BARE, uploads::post_upload)
        .read(UPLOAD, uploads::get_upload)
        .add(&Method::PATCH, UPLOAD, uploads::patch_upload)
        .add(&Method::PUT, UPLOAD, uploads::put_upload)
        .add(&Method::DELETE, UPLOAD, uploads::delete_upload)
        .add(&Method::PUT, MANIFEST, manifests::put_manifest)
        .add(&Method::DELETE, MANIFEST, manifests::delete_manifest)
}

/// Tokens: every door for clients gives them, so that a client finds them where it already is. No HEAD: a token is
/// made each time, and its answer is nothing without its body.
fn tokens(routes: Routes) -> Routes {
    routes
        .add(&Method::GET, "/token", token::get_token)
        .add(&Method::POST, "/token", token::post_token)
        .read("/.well-known/jwks.json", token::jwks)
}

fn table(door: Door, api_has_own_door: bool) -> Routes {
    let routes = Routes {
        router: Router::new(),
        rows: Vec::new(),
    };
    match door {
        Door::Public if api_has_own_door => api::credentials(tokens(writes(reads(routes)))),
        Door::Public => api::everything(tokens(writes(reads(routes)))),
        Door::Pull => tokens(reads(routes)),
        Door::Api => api::everything(tokens(routes)),
        Door::Ops => routes
            .read("/metrics", ops::metrics)
            .read("/healthz", ops::healthz)
            .read("/readyz", ops::readyz),
    }
}

/// Every route of a door.
#[must_use]
pub fn rows(door: Door, api_has_own_door: bool) -> Vec<RouteRow> {
    table(door, api_has_own_door).rows
}

/// What a door answers with.
#[must_use]
pub fn service(http: &Shared, door: Door) -> DoorService {
    let table = table(door, http.options.api_has_own_door);
    let templates = table.rows.iter().map(|row| row.path);
    let templates = templates.chain([UPLOADS, UPLOADS_BARE, UPLOAD]);
    let tracking = track::Tracking::new(http, door, templates);
    let mut router = table.into_router();
    if door == Door::Pull {
        // They have no GET of their own here, and would otherwise be paths that do not exist.
        for path in [UPLOADS, UPLOADS_BARE, UPLOAD] {
            router = router.route(path, any(|| pulls_only("")));
        }
        // What a push and a deletion end with.
        let changes = MethodFilter::PUT.or(MethodFilter::DELETE);
        for path in [BLOB, MANIFEST] {
            router = router.route(path, on(changes, || pulls_only("GET, HEAD")));
        }
    }
    let router = router
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(tracking)
        .with_state(http.clone());
    fold::fold_names(router)
}

/// end-1: says to whoever has a credential that this is a registry.
async fn base(_: Authenticated) -> Response {
    (
        StatusCode::OK,
        [(axum::http::header::CONTENT_TYPE, JSON)],
        "{}",
    )
        .into_response()
}

async fn not_found(request: Request) -> Response {
    let path = request.uri().path();
    if api::owns(path) {
        return api::no_such_route();
    }
    // `NAME_UNKNOWN` would say that a repository is missing, and clients that look for an endpoint believe it.
    let message = if path.starts_with(BASE) {
        "the distribution API has no endpoint of this form: there are manifests/<reference>, blobs/<digest>, \
         blobs/uploads/, tags/list and referrers/<digest> after /v2/<name>/, and /v2/_catalog"
    } else {
        "there is nothing at this path; the distribution API is under /v2/"
    };
    DistributionError::new(StatusCode::NOT_FOUND, ErrorCode::Unsupported, message).into_response()
}

fn method_not_allowed(request: &Request, allowed: &str) -> Response {
    let message = format!("this path answers {allowed} and no other method");
    let mut response = if api::owns(request.uri().path()) {
        api::no_such_method(&message)
    } else {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        DistributionError::new(status, ErrorCode::Unsupported, message).into_response()
    };
    let allowed = respond::header_value(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}

/// A change at a door that only reads.
async fn pulls_only(allowed: &str) -> Response {
    DistributionError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::Unsupported,
        "this address is for pulls alone: push to the registry's public address",
    )
    .header(ALLOW, allowed)
    .into_response()
}

/// A panic is a bug of ours: the client gets 500, the log the place.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the layer hands the panic over"
)]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let place = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(panic = place, "a handler panicked");
    DistributionError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Unsupported,
        "something went wrong inside the registry; its log has the cause under the id of this request",
    )
    .into_response()
}

//! `/api/v1`: the management API. Its envelope, its errors, and who calls.

mod accounts;
mod api_keys;
mod audit_events;
mod checks;
mod collection;
mod credentials;
mod deletions;
mod error;
mod extract;
mod images;
mod leases;
mod openapi;
mod operator_keys;
mod pull_secrets;
mod retention;
mod shares;
mod signing_keys;
mod tags;
mod token_exchange;
mod usage;
mod whoami;
mod workspaces;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::routes::Routes;
use error::ApiError;

/// Where the management API begins.
const ROOT: &str = "/api/";

/// Whether a path belongs to the management API, so that its errors have that shape.
pub(super) fn owns(path: &str) -> bool {
    path.starts_with(ROOT)
}

pub(super) fn no_such_route() -> Response {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "there is nothing at this path; the API is under /api/v1/",
    )
    .into_response()
}

pub(super) fn no_such_method(message: &str) -> Response {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).into_response()
}

pub(super) fn malformed(message: &str) -> Response {
    ApiError::bad_request(message).into_response()
}

/// What the public door keeps when the API has its own: what a push needs.
pub(super) fn credentials(routes: Routes) -> Routes {
    routes
        .add(
            &Method::POST,
            "/api/v1/registry/credentials",
            credentials::issue,
        )
        .add(
            &Method::POST,
            token_exchange::PATH,
            token_exchange::exchange,
        )
}

/// The whole API.
pub(super) fn everything(routes: Routes) -> Routes {
    const ACCOUNT: &str = "/api/v1/accounts/{name}";
    const WORKSPACE: &str = "/api/v1/workspaces/{name}";
    const API_KEYS: &str = "/api/v1/workspaces/{name}/api-keys";
    const API_KEY: &str = "/api/v1/workspaces/{name}/api-keys/{id}";
    const OPERATOR_KEYS: &str = "/api/v1/operator-keys";
    const OPERATOR_KEY: &str = "/api/v1/operator-keys/{id}";
    const PULL_SECRETS: &str = "/api/v1/registry/pull-secret";
    const SIGNING_KEYS: &str = "/api/v1/signing-keys";
    images(credentials(routes))
        .add(
            &Method::POST,
            "/api/v1/registry/credentials/revoke",
            credentials::revoke,
        )
        .add(&Method::POST, PULL_SECRETS, pull_secrets::create)
        .read(PULL_SECRETS, pull_secrets::list)
        .add(
            &Method::DELETE,
            "/api/v1/registry/pull-secret/{id}",
            pull_secrets::delete,
        )
        .add(
            &Method::POST,
            "/api/v1/registry/pull-secret/{id}/rotate",
            pull_secrets::rotate,
        )
        .read("/api/v1/openapi.json", openapi::show)
        .read("/api/v1/whoami", whoami::show)
        .add(&Method::POST, "/api/v1/accounts", accounts::create)
        .read("/api/v1/accounts", accounts::list)
        .read(ACCOUNT, accounts::show)
        .add(&Method::DELETE, ACCOUNT, accounts::delete)
        .add(&Method::POST, "/api/v1/workspaces", workspaces::create)
        .read("/api/v1/workspaces", workspaces::list)
        .read(WORKSPACE, workspaces::show)
        .add(&Method::PATCH, WORKSPACE, workspaces::update)
        .add(&Method::DELETE, WORKSPACE, workspaces::delete)
        .add(&Method::POST, API_KEYS, api_keys::create)
        .read(API_KEYS, api_keys::list)
        .add(&Method::DELETE, API_KEY, api_keys::delete)
        .add(&Method::POST, OPERATOR_KEYS, operator_keys::create)
        .read(OPERATOR_KEYS, operator_keys::list)
        .add(&Method::DELETE, OPERATOR_KEY, operator_keys::delete)
        .add(
            &Method::POST,
            "/api/v1/operator-keys/{id}/rotate",
            operator_keys::rotate,
        )
        .read(SIGNING_KEYS, signing_keys::list)
        .add(
            &Method::POST,
            "/api/v1/signing-keys/rotate",
            signing_keys::rotate,
        )
        .read("/api/v1/audit-events", audit_events::list)
        .read("/api/v1/collection", collection::show)
        .add(&Method::POST, "/api/v1/collection/run", collection::run)
        .read("/api/v1/collection/preview", collection::preview)
        .read("/api/v1/collection/explain/{digest}", collection::explain)
        .add(&Method::POST, "/api/v1/checks", checks::check)
}

/// Images, and what is about them.
fn images(routes: Routes) -> Routes {
    const IMAGE: &str = "/api/v1/images/{name}";
    const TAGS: &str = "/api/v1/images/{name}/-/tags";
    const TAG: &str = "/api/v1/images/{name}/-/tags/{tag}";
    const MANIFEST: &str = "/api/v1/images/{name}/-/manifests/{digest}";
    const SHARES: &str = "/api/v1/images/{name}/-/share";
    const SHARE: &str = "/api/v1/images/{name}/-/share/{target}";
    const PENDING: &str = "/api/v1/pending-image-shares";
    const LEASE: &str = "/api/v1/leases/{holder}";
    const RETENTION: &str = "/api/v1/retention";
    const IMAGE_RETENTION: &str = "/api/v1/images/{name}/-/retention";
    routes
        .read("/api/v1/usage", usage::show)
        .read("/api/v1/images", images::list)
        .add(&Method::POST, "/api/v1/images/resolve", images::resolve)
        .read(IMAGE, images::show)
        .add(&Method::PATCH, IMAGE, images::update)
        .read(TAGS, tags::list)
        .read(TAG, tags::show)
        .add(&Method::PUT, TAG, tags::promote)
        .read("/api/v1/images/{name}/-/tags/{tag}/history", tags::history)
        .add(&Method::DELETE, IMAGE, deletions::delete_image)
        .add(&Method::DELETE, TAG, deletions::delete_tag)
        .add(&Method::DELETE, MANIFEST, deletions::delete_manifest)
        .read("/api/v1/deletions", deletions::list)
        .add(
            &Method::POST,
            "/api/v1/deletions/{id}/restore",
            deletions::restore,
        )
        .add(
            &Method::POST,
            "/api/v1/deletions/{id}/purge",
            deletions::purge,
        )
        .add(&Method::POST, SHARES, shares::create)
        .read(SHARES, shares::list)
        .add(&Method::DELETE, SHARES, shares::drop_alias)
        .add(&Method::DELETE, SHARE, shares::end)
        .read(PENDING, shares::pending)
        .add(
            &Method::POST,
            "/api/v1/pending-image-shares/{id}/accept",
            shares::accept,
        )
        .add(
            &Method::POST,
            "/api/v1/pending-image-shares/{id}/decline",
            shares::decline,
        )
        .read("/api/v1/leases", leases::list)
        .add(&Method::PUT, LEASE, leases::put)
        .read(LEASE, leases::show)
        .add(&Method::DELETE, LEASE, leases::delete)
        .read(RETENTION, retention::show)
        .add(&Method::PUT, RETENTION, retention::put)
        .add(&Method::DELETE, RETENTION, retention::delete)
        .add(
            &Method::POST,
            "/api/v1/retention/preview",
            retention::preview,
        )
        .read(IMAGE_RETENTION, retention::show_image)
        .add(&Method::PUT, IMAGE_RETENTION, retention::put_image)
        .add(&Method::DELETE, IMAGE_RETENTION, retention::delete_image)
        .add(
            &Method::POST,
            "/api/v1/images/{name}/-/retention/preview",
            retention::preview_image,
        )
}

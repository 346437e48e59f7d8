//! The document of the API in OpenAPI 3.1: put together from the annotations of the handlers and from the types that
//! they take and give, and rendered once.
//!
//! An annotation says what is particular to its operation. `envelopes` puts its success into the envelope, `refusals`
//! adds what can go wrong with any, `examples` makes an example of each body out of those of its fields.

mod envelopes;
mod examples;
mod parameters;
mod refusals;

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use berth_storage::{Digest, DigestAlgorithm};
use bytes::Bytes;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::super::conditions::Known;
use super::super::respond::{JSON, REVALIDATE, etag, response};
use super::super::token;
use super::{
    accounts, api_keys, audit_events, checks, collection, credentials, deletions, images, leases,
    operator_keys, pull_secrets, retention, shares, signing_keys, tags, token_exchange, usage,
    whoami, workspaces,
};
use envelopes::Envelopes;
use examples::Examples;
pub(super) use parameters::{InWorkspace, OfWorkspace, optional};
use refusals::Refusals;

/// Where it is served.
const PATH: &str = "/api/v1/openapi.json";

/// What holds for all of it, in Markdown.
const DESCRIPTION: &str = "\
The management API of Berth, a self-hosted registry for container images. The registry itself, under `/v2/`, is that of \
the [OCI distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md), and is not \
described here.

* Bodies are JSON objects in camelCase; an empty one is `{}`. Times are RFC 3339 in UTC, sizes are in bytes.
* A success is `{\"success\":true,\"data\":…}`, an error \
`{\"success\":false,\"error\":{\"code\",\"message\",\"details\"?}}`.
* The token exchange speaks OAuth 2.0: it takes a form, and answers in the shapes of RFC 8693 and RFC 6749.
* Unknown fields in a request are a 400 that names them; a number out of range is a 400 that gives the range.
* Names of images and holders of leases stand in paths as they are, slashes included; what is about a part of an image \
comes after `/-/`: `/api/v1/images/team/app/-/tags/v1`.
* Lists come in pages: `limit` says how long they are, and `nextCursor` is the `cursor` of the next one.
* `HEAD` is answered wherever `GET` is, but for `/token`. Another method than those of a path is 405, and `Allow` names \
them.
* Every answer has `X-Request-Id`.
* What another workspace owns is 404, as if it did not exist.
";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Berth", description = DESCRIPTION),
    servers((url = "/", description = "The server that gave this document.")),
    paths(
        show,
        whoami::show,
        accounts::create,
        accounts::list,
        accounts::show,
        accounts::delete,
        workspaces::create,
        workspaces::list,
        workspaces::show,
        workspaces::update,
        workspaces::delete,
        api_keys::create,
        api_keys::list,
        api_keys::delete,
        operator_keys::create,
        operator_keys::list,
        operator_keys::delete,
        operator_keys::rotate,
        signing_keys::list,
        signing_keys::rotate,
        credentials::issue,
        credentials::revoke,
        token_exchange::exchange,
        pull_secrets::create,
        pull_secrets::list,
        pull_secrets::delete,
        pull_secrets::rotate,
        images::list,
        images::show,
        images::update,
        images::resolve,
        tags::list,
        tags::show,
        tags::history,
        tags::promote,
        deletions::delete_image,
        deletions::delete_tag,
        deletions::delete_manifest,
        deletions::list,
        deletions::restore,
        deletions::purge,
        shares::create,
        shares::list,
        shares::end,
        shares::drop_alias,
        shares::pending,
        shares::accept,
        shares::decline,
        leases::put,
        leases::list,
        leases::show,
        leases::delete,
        retention::show,
        retention::put,
        retention::delete,
        retention::preview,
        retention::show_image,
        retention::put_image,
        retention::delete_image,
        retention::preview_image,
        collection::show,
        collection::run,
        collection::preview,
        collection::explain,
        usage::show,
        audit_events::list,
        checks::check,
        token::get_token,
        token::post_token,
        token::jwks,
    ),
    tags(
        (name = "whoami", description = "Who calls."),
        (name = "accounts", description = "Owners of workspaces; for operators."),
        (name = "workspaces", description = "Teams, each with a prefix of its own in the registry."),
        (name = "api-keys", description = "Who may act for a workspace."),
        (name = "operator-keys", description = "Who has the installation in hands."),
        (name = "checks", description = "Whether the storage has what the database says."),
        (name = "signing-keys", description = "The keys that sign credentials and access tokens."),
        (name = "credentials", description = "Short-lived passwords for the registry."),
        (name = "pull-secrets", description = "Long-lived passwords for nodes, which pull and do nothing else."),
        (name = "images", description = "What the workspace has, and what others let it pull."),
        (name = "tags", description = "Where the tags of an image point, pointed, and shall point."),
        (name = "deletions", description = "Deleting images, tags and manifests, and taking it back."),
        (name = "shares", description = "Who else sees an image."),
        (name = "leases", description = "What is in use, and so stays."),
        (name = "retention", description = "What goes by itself."),
        (name = "collection", description = "What ends by itself, when, and why not."),
        (name = "usage", description = "What workspaces store and transfer."),
        (name = "audit-events", description = "Who did what, and what was refused to whom."),
        (name = "tokens", description = "Access tokens for the registry, as its clients get them by themselves."),
        (name = "openapi", description = "This document."),
    ),
    security(("bearer" = []), ("basic" = [])),
    modifiers(&Names, &Envelopes, &Refusals, &Examples),
)]
struct Document;

/// What the derivation cannot say: how callers show who they are, and names of operations that are no other's.
struct Names;

impl utoipa::Modify for Names {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = |scheme, description| {
            SecurityScheme::Http(
                Http::builder()
                    .scheme(scheme)
                    .description(Some(description))
                    .build(),
            )
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(
            "bearer",
            scheme(HttpAuthScheme::Bearer, "An API key or an operator key."),
        );
        components.add_security_scheme(
            "basic",
            scheme(
                HttpAuthScheme::Basic,
                "The same key as the password, with any user name.",
            ),
        );
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            let tag = operation.tags.iter().flatten().next();
            if let (Some(tag), Some(name)) = (tag, &mut operation.operation_id) {
                *name = format!("{tag}.{name}");
            }
        }
    }
}

/// The operations of a path.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        put,
        post,
        delete,
        patch,
        ..
    } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

struct Rendered {
    json: Bytes,
    digest: Digest,
}

static RENDERED: LazyLock<Rendered> = LazyLock::new(|| {
    // Serialising plain values cannot fail.
    let json = Document::openapi().to_json().unwrap_or_default();
    Rendered {
        digest: Digest::of(DigestAlgorithm::Sha256, json.as_bytes()),
        json: json.into(),
    }
});

/// Shows this document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "openapi",
    params(("If-None-Match" = Option<String>, Header, description = "The entity tag of what the client has.")),
    responses(
        (status = 200, description = "This document.", body = Object,
            headers(("ETag" = String, description = "What to send in `If-None-Match`.")),
            example = json!({"openapi": "3.1.0"})),
        (status = 304, description = "The client has it already."),
    ),
    security(()),
)]
pub(super) async fn show(known: Known) -> Response {
    let Rendered { json, digest } = &*RENDERED;
    let mut headers = HeaderMap::from_iter([(ETAG, etag(digest)), (CACHE_CONTROL, REVALIDATE)]);
    if known.includes(digest) {
        return response(StatusCode::NOT_MODIFIED, headers, Body::empty());
    }
    headers.insert(CONTENT_TYPE, JSON);
    response(StatusCode::OK, headers, Body::from(json.clone()))
}

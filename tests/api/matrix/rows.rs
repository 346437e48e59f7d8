//! The rows of the access matrix: every route of every door, and what it asks of its caller.

use std::collections::BTreeSet;

use berth::auth::{Action, Right};
use berth::http::{Door, RouteRow, rows};

/// What a route asks of whoever calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Nothing at all.
    Nothing,
    /// A registry password, to make a token of.
    Password,
    /// To be somebody.
    Somebody,
    /// To be somebody who may pull from a workspace.
    Catalogue,
    /// An action on the repository of the path.
    Repository(Action),
    /// A key of `/api/v1`, with a right at a place; none for a right that every key has.
    Key(Option<Right>, Place),
    /// A key that pulls or pushes, in the workspace of the header.
    KeyOfWorkspace,
    /// A token of another issuer in the body, and no credentials of ours.
    SubjectToken,
}

/// Where a right of the management API is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The path names no workspace.
    Installation,
    /// The path names an account.
    Account,
    /// The path names a workspace.
    Path,
    /// `X-Workspace` names it, or the key has one.
    Header,
    /// The same; an operator who names none means all.
    HeaderOrAll,
    /// The same, and the path names an image of it.
    Image,
}

/// A route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) asks: Asks,
}

const fn row(method: &'static str, path: &'static str, asks: Asks) -> Row {
    Row { method, path, asks }
}

const PULL: Asks = Asks::Repository(Action::Pull);
const PUSH: Asks = Asks::Repository(Action::Push);
const DELETE: Asks = Asks::Repository(Action::Delete);
const OPERATE: Asks = Asks::Key(Some(Right::Operate), Place::Installation);
const OPERATE_ON_ACCOUNT: Asks = Asks::Key(Some(Right::Operate), Place::Account);
const ANY_KEY: Asks = Asks::Key(None, Place::Installation);
const LIST: Asks = Asks::Key(Some(Right::Read), Place::Installation);
const READ: Asks = Asks::Key(Some(Right::Read), Place::Path);
const ADMINISTER: Asks = Asks::Key(Some(Right::Administer), Place::Path);
const READ_HERE: Asks = Asks::Key(Some(Right::Read), Place::Header);
const READ_USAGE: Asks = Asks::Key(Some(Right::Read), Place::HeaderOrAll);
const READ_IMAGE: Asks = Asks::Key(Some(Right::Read), Place::Image);
const CHANGE_IMAGE: Asks = Asks::Key(Some(Right::Change), Place::Image);
const ADMINISTER_IMAGE: Asks = Asks::Key(Some(Right::Administer), Place::Image);

const READ_OWN: Asks = Asks::Key(Some(Right::Read), Place::Header);
const LEASE: Asks = Asks::Key(Some(Right::Lease), Place::Header);
const CHANGE: Asks = Asks::Key(Some(Right::Change), Place::Header);
const ADMINISTER_OWN: Asks = Asks::Key(Some(Right::Administer), Place::Header);
const ADMINISTER_OWN_OR_ALL: Asks = Asks::Key(Some(Right::Administer), Place::HeaderOrAll);

pub(crate) const ROWS: [Row; 126] = [
    row("GET", "/v2/", Asks::Somebody),
    row("HEAD", "/v2/", Asks::Somebody),
    row("GET", "/v2/_catalog", Asks::Catalogue),
    row("HEAD", "/v2/_catalog", Asks::Catalogue),
    row("GET", "/v2/{name}/blobs/{digest}", PULL),
    row("HEAD", "/v2/{name}/blobs/{digest}", PULL),
    row("GET", "/v2/{name}/manifests/{reference}", PULL),
    row("HEAD", "/v2/{name}/manifests/{reference}", PULL),
    row("GET", "/v2/{name}/tags/list", PULL),
    row("HEAD", "/v2/{name}/tags/list", PULL),
    row("GET", "/v2/{name}/referrers/{digest}", PULL),
    row("HEAD", "/v2/{name}/referrers/{digest}", PULL),
    row("POST", "/v2/{name}/blobs/uploads/", PUSH),
    row("POST", "/v2/{name}/blobs/uploads", PUSH),
    row("GET", "/v2/{name}/blobs/uploads/{upload}", PUSH),
    row("HEAD", "/v2/{name}/blobs/uploads/{upload}", PUSH),
    row("PATCH", "/v2/{name}/blobs/uploads/{upload}", PUSH),
    row("PUT", "/v2/{name}/blobs/uploads/{upload}", PUSH),
    row("DELETE", "/v2/{name}/blobs/uploads/{upload}", PUSH),
    row("PUT", "/v2/{name}/manifests/{reference}", PUSH),
    row("DELETE", "/v2/{name}/blobs/{digest}", DELETE),
    row("DELETE", "/v2/{name}/manifests/{reference}", DELETE),
    row("GET", "/token", Asks::Password),
    row("POST", "/token", Asks::Password),
    row("GET", "/.well-known/jwks.json", Asks::Nothing),
    row("HEAD", "/.well-known/jwks.json", Asks::Nothing),
    row("GET", "/metrics", Asks::Nothing),
    row("HEAD", "/metrics", Asks::Nothing),
    row("GET", "/healthz", Asks::Nothing),
    row("HEAD", "/healthz", Asks::Nothing),
    row("GET", "/readyz", Asks::Nothing),
    row("HEAD", "/readyz", Asks::Nothing),
    row("GET", "/api/v1/openapi.json", Asks::Nothing),
    row("HEAD", "/api/v1/openapi.json", Asks::Nothing),
    row("POST", "/api/v1/registry/credentials", Asks::KeyOfWorkspace),
    row(
        "POST",
        "/api/v1/registry/token-exchange",
        Asks::SubjectToken,
    ),
    row(
        "POST",
        "/api/v1/registry/credentials/revoke",
        Asks::Key(Some(Right::Administer), Place::Header),
    ),
    row("POST", "/api/v1/registry/pull-secret", ADMINISTER_OWN),
    row("GET", "/api/v1/registry/pull-secret", ADMINISTER_OWN_OR_ALL),
    row(
        "HEAD",
        "/api/v1/registry/pull-secret",
        ADMINISTER_OWN_OR_ALL,
    ),
    row(
        "DELETE",
        "/api/v1/registry/pull-secret/{id}",
        ADMINISTER_OWN_OR_ALL,
    ),
    row(
        "POST",
        "/api/v1/registry/pull-secret/{id}/rotate",
        ADMINISTER_OWN_OR_ALL,
    ),
    row("GET", "/api/v1/whoami", ANY_KEY),
    row("HEAD", "/api/v1/whoami", ANY_KEY),
    row("POST", "/api/v1/accounts", OPERATE),
    row("GET", "/api/v1/accounts", OPERATE),
    row("HEAD", "/api/v1/accounts", OPERATE),
    row("GET", "/api/v1/accounts/{name}", OPERATE_ON_ACCOUNT),
    row("HEAD", "/api/v1/accounts/{name}", OPERATE_ON_ACCOUNT),
    row("DELETE", "/api/v1/accounts/{name}", OPERATE_ON_ACCOUNT),
    row("POST", "/api/v1/workspaces", OPERATE),
    row("GET", "/api/v1/workspaces", LIST),
    row("HEAD", "/api/v1/workspaces", LIST),
    row("GET", "/api/v1/workspaces/{name}", READ),
    row("HEAD", "/api/v1/workspaces/{name}", READ),
    row("PATCH", "/api/v1/workspaces/{name}", ADMINISTER),
    row(
        "DELETE",
        "/api/v1/workspaces/{name}",
        Asks::Key(Some(Right::Operate), Place::Path),
    ),
    row("POST", "/api/v1/workspaces/{name}/api-keys", ADMINISTER),
    row("GET", "/api/v1/workspaces/{name}/api-keys", ADMINISTER),
    row("HEAD", "/api/v1/workspaces/{name}/api-keys", ADMINISTER),
    row(
        "DELETE",
        "/api/v1/workspaces/{name}/api-keys/{id}",
        ADMINISTER,
    ),
    row("POST", "/api/v1/operator-keys", OPERATE),
    row("GET", "/api/v1/operator-keys", OPERATE),
    row("HEAD", "/api/v1/operator-keys", OPERATE),
    row("DELETE", "/api/v1/operator-keys/{id}", OPERATE),
    row("POST", "/api/v1/operator-keys/{id}/rotate", OPERATE),
    row("GET", "/api/v1/signing-keys", OPERATE),
    row("HEAD", "/api/v1/signing-keys", OPERATE),
    row("POST", "/api/v1/signing-keys/rotate", OPERATE),
    row("POST", "/api/v1/checks", OPERATE),
    row("GET", "/api/v1/audit-events", ADMINISTER_OWN_OR_ALL),
    row("HEAD", "/api/v1/audit-events", ADMINISTER_OWN_OR_ALL),
    row("GET", "/api/v1/usage", READ_USAGE),
    row("HEAD", "/api/v1/usage", READ_USAGE),
    row("GET", "/api/v1/images", READ_HERE),
    row("HEAD", "/api/v1/images", READ_HERE),
    row("POST", "/api/v1/images/resolve", READ_HERE),
    row("GET", "/api/v1/images/{name}", READ_IMAGE),
    row("HEAD", "/api/v1/images/{name}", READ_IMAGE),
    row("PATCH", "/api/v1/images/{name}", ADMINISTER_IMAGE),
    row("GET", "/api/v1/images/{name}/-/tags", READ_IMAGE),
    row("HEAD", "/api/v1/images/{name}/-/tags", READ_IMAGE),
    row("GET", "/api/v1/images/{name}/-/tags/{tag}", READ_IMAGE),
    row("HEAD", "/api/v1/images/{name}/-/tags/{tag}", READ_IMAGE),
    row("PUT", "/api/v1/images/{name}/-/tags/{tag}", CHANGE_IMAGE),
    row(
        "GET",
        "/api/v1/images/{name}/-/tags/{tag}/history",
        READ_IMAGE,
    ),
    row(
        "HEAD",
        "/api/v1/images/{name}/-/tags/{tag}/history",
        READ_IMAGE,
    ),
    row("DELETE", "/api/v1/images/{name}", CHANGE),
    row("DELETE", "/api/v1/images/{name}/-/tags/{tag}", CHANGE),
    row(
        "DELETE",
        "/api/v1/images/{name}/-/manifests/{digest}",
        CHANGE,
    ),
    row("GET", "/api/v1/deletions", READ_OWN),
    row("HEAD", "/api/v1/deletions", READ_OWN),
    row("POST", "/api/v1/deletions/{id}/restore", CHANGE),
    row("POST", "/api/v1/deletions/{id}/purge", ADMINISTER_OWN),
    row("POST", "/api/v1/images/{name}/-/share", ADMINISTER_OWN),
    row("GET", "/api/v1/images/{name}/-/share", READ_OWN),
    row("HEAD", "/api/v1/images/{name}/-/share", READ_OWN),
    row("DELETE", "/api/v1/images/{name}/-/share", ADMINISTER_OWN),
    row(
        "DELETE",
        "/api/v1/images/{name}/-/share/{target}",
        ADMINISTER_OWN,
    ),
    row("GET", "/api/v1/pending-image-shares", READ_OWN),
    row("HEAD", "/api/v1/pending-image-shares", READ_OWN),
    row(
        "POST",
        "/api/v1/pending-image-shares/{id}/accept",
        ADMINISTER_OWN,
    ),
    row(
        "POST",
        "/api/v1/pending-image-shares/{id}/decline",
        ADMINISTER_OWN,
    ),
    row("GET", "/api/v1/leases", READ_OWN),
    row("HEAD", "/api/v1/leases", READ_OWN),
    row("PUT", "/api/v1/leases/{holder}", LEASE),
    row("GET", "/api/v1/leases/{holder}", READ_OWN),
    row("HEAD", "/api/v1/leases/{holder}", READ_OWN),
    row("DELETE", "/api/v1/leases/{holder}", LEASE),
    row("GET", "/api/v1/retention", READ_OWN),
    row("HEAD", "/api/v1/retention", READ_OWN),
    row("PUT", "/api/v1/retention", ADMINISTER_OWN),
    row("DELETE", "/api/v1/retention", ADMINISTER_OWN),
    row("POST", "/api/v1/retention/preview", READ_OWN),
    row("GET", "/api/v1/images/{name}/-/retention", READ_IMAGE),
    row("HEAD", "/api/v1/images/{name}/-/retention", READ_IMAGE),
    row("PUT", "/api/v1/images/{name}/-/retention", ADMINISTER_IMAGE),
    row(
        "DELETE",
        "/api/v1/images/{name}/-/retention",
        ADMINISTER_IMAGE,
    ),
    row(
        "POST",
        "/api/v1/images/{name}/-/retention/preview",
        READ_IMAGE,
    ),
    row("GET", "/api/v1/collection", OPERATE),
    row("HEAD", "/api/v1/collection", OPERATE),
    row("POST", "/api/v1/collection/run", OPERATE),
    row("GET", "/api/v1/collection/preview", OPERATE),
    row("HEAD", "/api/v1/collection/preview", OPERATE),
    row("GET", "/api/v1/collection/explain/{digest}", READ_USAGE),
    row("HEAD", "/api/v1/collection/explain/{digest}", READ_USAGE),
];

/// Every door there is.
pub(crate) const DOORS: [Door; 4] = [Door::Public, Door::Pull, Door::Api, Door::Ops];

/// The row of a route.
pub(crate) fn row_of(route: &RouteRow) -> Option<&'static Row> {
    ROWS.iter()
        .find(|row| row.method == route.method && row.path == route.path)
}

/// Every route of every door, whether the API has a door of its own or not.
pub(crate) fn all_routes() -> Vec<RouteRow> {
    let mut routes = BTreeSet::new();
    for api_has_own_door in [false, true] {
        for door in DOORS {
            routes.extend(rows(door, api_has_own_door));
        }
    }
    routes.into_iter().collect()
}

/// What is missing on either side, in words.
pub(crate) fn gaps(routes: &[RouteRow], matrix: &[Row]) -> Vec<String> {
    let routes: BTreeSet<String> = routes
        .iter()
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    let driven: BTreeSet<String> = matrix
        .iter()
        .map(|row| format!("{} {}", row.method, row.path))
        .collect();
    let forgotten = routes
        .difference(&driven)
        .map(|route| format!("{route} has no row in the access matrix"));
    let invented = driven
        .difference(&routes)
        .map(|row| format!("{row} is in the access matrix, and no door has it"));
    forgotten.chain(invented).collect()
}

mod coverage {
    use super::*;

    #[test]
    fn every_route_of_every_door_has_its_row_and_every_row_a_route() {
        assert_eq!(gaps(&all_routes(), &ROWS), Vec::<String>::new());
    }

    #[test]
    fn a_route_without_a_row_is_found() {
        let mut routes = all_routes();
        routes.push(RouteRow {
            method: String::from("GET"),
            path: "/api/v1/secrets",
        });
        assert_eq!(
            gaps(&routes, &ROWS),
            ["GET /api/v1/secrets has no row in the access matrix"]
        );
    }

    #[test]
    fn another_method_of_a_known_path_is_found() {
        let mut routes = all_routes();
        routes.push(RouteRow {
            method: String::from("PUT"),
            path: "/api/v1/whoami",
        });
        assert_eq!(
            gaps(&routes, &ROWS),
            ["PUT /api/v1/whoami has no row in the access matrix"]
        );
    }

    #[test]
    fn a_row_without_a_route_is_found() {
        let mut routes = all_routes();
        routes.retain(|route| (&*route.method, route.path) != ("GET", "/api/v1/whoami"));
        assert_eq!(
            gaps(&routes, &ROWS),
            ["GET /api/v1/whoami is in the access matrix, and no door has it"]
        );
    }

    #[test]
    fn no_row_stands_twice() {
        let distinct: BTreeSet<_> = ROWS.iter().map(|row| (row.method, row.path)).collect();
        assert_eq!(distinct.len(), ROWS.len());
    }
}

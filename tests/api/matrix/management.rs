//! The half of the access matrix that speaks the management API: every route, every caller, own, foreign and absent.

use berth::http::{Door, rows};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::cast::{Caller, Cast, SEEN_IMAGE, at};
use super::images::Images;
use super::registry::{SEEN_TAG, blurred, seen_content};
use super::rows::{Asks, Place, Row, row_of};
use super::table::Cell;
use crate::support::TestRegistry;
use crate::support::distribution::{Distribution, Reply};

const OWN: &str = "own";
const FOREIGN: &str = "foreign";
const ABSENT: &str = "absent";
const UNNAMED: &str = "-";

/// A workspace and an account that nobody made; as long as the names of those that are there.
const GHOST: &str = "ghost";
const GHOST_ACCOUNT: &str = "mist";

struct Drive<'a> {
    registry: &'a TestRegistry,
    cast: &'a Cast,
    door: Distribution,
    foreign_key_id: String,
    operator_key_id: String,
    images: Option<Images>,
    made: u32,
}

/// Drives every row of a door that is the management API's.
pub(crate) async fn drive(
    registry: &TestRegistry,
    door: Door,
    api_has_own_door: bool,
    cast: &Cast,
) -> Vec<Cell> {
    let body = json!({"name": "known to a stranger", "role": "viewer"});
    let (_, foreign_key_id) = registry.key_with("rival", &body).await;
    let mut drive = Drive {
        registry,
        cast,
        door: at(registry, door),
        foreign_key_id,
        operator_key_id: operator_key(registry).await,
        images: Some(Images::stage(registry).await),
        made: 0,
    };
    let mut cells = Vec::new();
    let routes = rows(door, api_has_own_door);
    let driven = routes
        .iter()
        .filter_map(row_of)
        .filter(|row| row.path.starts_with("/api/"));
    for row in driven {
        for target in targets(row) {
            for caller in &cast.managers {
                let request = drive.request(row, target, caller).await;
                let reply = Reply::of(request).await;
                let caller = caller.clone();
                cells.push(Cell {
                    row,
                    target,
                    caller,
                    reply,
                });
            }
        }
    }
    cells
}

/// The id of a new operator key.
async fn operator_key(registry: &TestRegistry) -> String {
    let body = json!({"name": "known to strangers"});
    let operator = registry.operator();
    let key = operator.post("/operator-keys", &body).await.expect(201);
    key["id"].as_str().unwrap().to_owned()
}

/// The id of a new pull secret: where another workspace or none is named, of the rival's.
async fn pull_secret(registry: &TestRegistry, target: &str) -> String {
    let workspace = match target {
        OWN | UNNAMED => "acme",
        _ => "rival",
    };
    let api = registry.operator().in_workspace(workspace);
    let made = api.post("/registry/pull-secret", &json!({})).await;
    made.expect(201)["id"].as_str().unwrap().to_owned()
}

fn targets(row: &Row) -> &'static [&'static str] {
    match row.asks {
        Asks::Nothing | Asks::SubjectToken | Asks::Key(_, Place::Installation) => &[UNNAMED],
        Asks::Key(_, Place::Account) => &[OWN, ABSENT],
        Asks::Key(_, Place::Path) => &[OWN, FOREIGN, ABSENT],
        Asks::Key(_, Place::Header | Place::HeaderOrAll | Place::Image) | Asks::KeyOfWorkspace => {
            &[UNNAMED, OWN, FOREIGN, ABSENT]
        }
        Asks::Password | Asks::Somebody | Asks::Catalogue | Asks::Repository(_) => {
            unreachable!("not of this half")
        }
    }
}

fn workspace(target: &str) -> &'static str {
    match target {
        OWN => "acme",
        FOREIGN => "rival",
        _ => GHOST,
    }
}

impl Drive<'_> {
    async fn request(&mut self, row: &Row, target: &str, caller: &Caller) -> RequestBuilder {
        self.made += 1;
        if let Some(request) = self.about_image(row, target, caller).await {
            return request;
        }
        let name = match (row.asks, target) {
            (Asks::Key(_, Place::Image), _) => SEEN_IMAGE,
            (Asks::Key(_, Place::Account), OWN) => "main",
            (Asks::Key(_, Place::Account), _) => GHOST_ACCOUNT,
            (_, target) => workspace(target),
        };
        let digest = seen_content().manifest.digest;
        let path = row.path.replace("{name}", name).replace("{tag}", SEEN_TAG);
        let mut path = path.replace("{digest}", &digest);
        if path.starts_with("/api/v1/operator-keys/") {
            let id = if caller.group == "operator" {
                operator_key(self.registry).await
            } else {
                self.operator_key_id.clone()
            };
            path = path.replace("{id}", &id);
        } else if path.starts_with("/api/v1/registry/pull-secret/") {
            let id = pull_secret(self.registry, target).await;
            path = path.replace("{id}", &id);
        } else if path.contains("{id}") {
            let deletes_it = target == OWN || (target == FOREIGN && caller.group == "operator");
            let id = if deletes_it {
                let body = json!({"name": "to be deleted", "role": "viewer"});
                self.registry.key_with(workspace(target), &body).await.1
            } else {
                self.foreign_key_id.clone()
            };
            path = path.replace("{id}", &id);
        }
        let mut request = self
            .door
            .with(caller.login.clone())
            .request(row.method.parse().unwrap(), &path);
        let by_header = matches!(
            row.asks,
            Asks::Key(_, Place::Header | Place::HeaderOrAll | Place::Image) | Asks::KeyOfWorkspace
        );
        if by_header && target != UNNAMED {
            request = request.header("x-workspace", workspace(target));
        }
        match self.body(row) {
            Some(body) => request
                .header("content-type", "application/json")
                .body(body.to_string()),
            None => request,
        }
    }

    /// A request about images, with what it is about set up for it.
    async fn about_image(
        &self,
        row: &Row,
        target: &str,
        caller: &Caller,
    ) -> Option<RequestBuilder> {
        let team = match target {
            FOREIGN => &self.cast.rival,
            _ => &self.cast.acme,
        };
        let images = self.images.as_ref()?;
        let (path, body) = images.prepare(self.registry, row, team).await?;
        let door = self.door.with(caller.login.clone());
        let mut request = door.request(row.method.parse().unwrap(), &path);
        if target != UNNAMED {
            request = request.header("x-workspace", workspace(target));
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        Some(request)
    }

    fn body(&self, row: &Row) -> Option<Value> {
        let number = self.made;
        match (row.method, row.path) {
            ("POST", "/api/v1/registry/credentials/revoke") => {
                Some(json!({"credentialId": "0123456789abcdef0123456789abcdef"}))
            }
            ("POST", "/api/v1/accounts") => Some(json!({"name": format!("account-{number}")})),
            ("POST", "/api/v1/workspaces") => {
                Some(json!({"name": format!("workspace-{number}"), "account": "main"}))
            }
            ("POST", "/api/v1/workspaces/{name}/api-keys") => {
                Some(json!({"name": "made in the matrix", "role": "viewer"}))
            }
            ("POST", "/api/v1/operator-keys") => {
                Some(json!({"name": "made in the matrix", "expiresAt": "2026-01-02T00:00:00Z"}))
            }
            // No token is needed any more; otherwise the second rotation would have to wait for the first.
            ("POST", "/api/v1/signing-keys/rotate") => Some(json!({"now": true})),
            ("POST", "/api/v1/images/resolve") => Some(json!({"image": SEEN_IMAGE})),
            ("PUT", "/api/v1/images/{name}/-/tags/{tag}") => {
                Some(json!({"digest": seen_content().manifest.digest}))
            }
            ("PATCH", "/api/v1/images/{name}") => Some(json!({"immutableTags": false})),
            ("PATCH", _) => Some(json!({"displayName": "The Matrix"})),
            _ => None,
        }
    }

    fn check(&self, cell: &Cell) {
        let power = cell.caller.power;
        let is_operator = !power.is_member() && power.has(berth::auth::Right::Operate);
        let at_home = match cell.target {
            OWN => true,
            FOREIGN => is_operator,
            UNNAMED => {
                !is_operator
                    || matches!(
                        cell.row.asks,
                        Asks::Key(_, Place::Installation | Place::HeaderOrAll)
                    )
            }
            _ => false,
        };
        let should = match cell.row.asks {
            Asks::Nothing => true,
            Asks::Key(None, _) => power.is_member() || is_operator,
            Asks::Key(Some(right), _) => at_home && power.has(right),
            Asks::KeyOfWorkspace => at_home && power.is_member(),
            // Whatever is sent with it: it is no place for credentials of ours.
            Asks::SubjectToken => {
                assert!(matches!(cell.reply.status, 400 | 415), "{}", cell.says());
                return;
            }
            _ => unreachable!("not of this half"),
        };
        // What was let in and does not fit what is there is a 409: deleting what is in use.
        let let_in = (200..300).contains(&cell.reply.status) || cell.reply.status == 409;
        assert_eq!(let_in, should, "{}", cell.says());
        if !should && !power.is_member() && !is_operator {
            assert_eq!(cell.reply.status, 401, "{}", cell.says());
            if cell.row.method != "HEAD" {
                assert_eq!(cell.reply.json()["error"]["code"], "unauthorized");
            }
        }
    }
}

/// What must hold of every cell, whatever the table says.
pub(crate) fn check(registry: &TestRegistry, door: Door, cast: &Cast, cells: &[Cell]) {
    let drive = Drive {
        registry,
        cast,
        door: at(registry, door),
        foreign_key_id: String::new(),
        operator_key_id: String::new(),
        images: None,
        made: 0,
    };
    for cell in cells {
        drive.check(cell);
    }
    check_secrecy(cells, drive.cast);
}

/// What a member may not see does not exist.
fn check_secrecy(cells: &[Cell], cast: &Cast) {
    assert_eq!(cast.rival.workspace.len(), GHOST.len());
    let echoes = [
        (cast.rival.workspace.clone(), "<name>"),
        (GHOST.to_owned(), "<name>"),
        (String::from("main"), "<name>"),
        (GHOST_ACCOUNT.to_owned(), "<name>"),
    ];
    let of = |target: &'static str, places: &'static [Place]| {
        cells.iter().filter(move |cell| {
            let placed = match cell.row.asks {
                Asks::Key(_, place) => places.contains(&place),
                Asks::KeyOfWorkspace => places.contains(&Place::Header),
                _ => false,
            };
            placed && cell.target == target && !is_operator(cell)
        })
    };
    let places: &[(&str, &[Place])] = &[
        (
            FOREIGN,
            &[Place::Path, Place::Header, Place::HeaderOrAll, Place::Image],
        ),
        (OWN, &[Place::Account]),
    ];
    for (there, places) in places.iter().copied() {
        let pairs = of(there, places).zip(of(ABSENT, places));
        assert_eq!(of(there, places).count(), of(ABSENT, places).count());
        for (known, unknown) in pairs {
            assert_eq!(
                blurred(&known.reply, &echoes),
                blurred(&unknown.reply, &echoes),
                "{}\n{}",
                known.says(),
                unknown.says()
            );
        }
    }
}

fn is_operator(cell: &Cell) -> bool {
    cell.caller.group == "operator"
}

/// What the rival has is as it was.
pub(crate) async fn check_untouched(registry: &TestRegistry, cast: &Cast) {
    let rival = registry.api(&cast.rival.admin_key);
    let workspace = rival.get("/workspaces/rival").await.expect(200);
    // The operator of the matrix, and nobody else, has changed it.
    assert_eq!(workspace["displayName"], "The Matrix");
    let keys = rival.get("/workspaces/rival/api-keys").await.expect(200);
    let names: Vec<&str> = keys["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].as_str().unwrap())
        .filter(|name| *name != "made in the matrix")
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"known to a stranger"), "{names:?}");
}

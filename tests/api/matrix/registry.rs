//! The half of the access matrix that speaks the distribution API: every route of a door, every caller, four targets.

use berth::auth::Action;
use berth::http::{Door, rows};
use reqwest::{Method, RequestBuilder};

use super::cast::{Caller, Cast, SEEN_IMAGE, VOID_IMAGE, at};
use super::rows::{Asks, Row, row_of};
use super::table::Cell;
use crate::support::TestRegistry;
use crate::support::distribution::{Content, Distribution, Image, Login, Reply, form, image};

pub(crate) const OWN: &str = "own";
pub(crate) const FOREIGN: &str = "foreign";
pub(crate) const ABSENT: &str = "absent";
pub(crate) const UNKNOWN: &str = "unknown";
/// For routes that name no repository.
pub(crate) const NOWHERE: &str = "-";

/// A prefix that no workspace has, as long as that of the rival.
const UNKNOWN_PREFIX: &str = "t-ghostkey";

/// A repository that requests go to, and what is known to be in it.
struct Target {
    name: &'static str,
    repository: String,
    /// Makes what a request needs to be there; none where nothing can be made.
    owner: Option<Distribution>,
    /// An upload that a stranger might have heard of.
    upload: String,
}

/// What both workspaces hold before anybody calls.
pub(crate) struct Stage {
    content: Image,
    targets: Vec<Target>,
    made: std::cell::Cell<u32>,
}

/// The tag of what both workspaces hold.
pub(crate) const SEEN_TAG: &str = "v1";

/// What both workspaces hold.
pub(crate) fn seen_content() -> Image {
    image().layer("a layer that both have").build()
}

impl Stage {
    pub(crate) async fn set(registry: &TestRegistry, cast: &Cast) -> Self {
        let content = seen_content();
        let owner = registry.with_key(&cast.acme.admin_key);
        let rival = registry.with_key(&cast.rival.admin_key);
        let own = format!("{}/{SEEN_IMAGE}", cast.acme.prefix);
        let foreign = format!("{}/{SEEN_IMAGE}", cast.rival.prefix);
        owner.push_image(&own, SEEN_TAG, &content).await;
        rival.push_image(&foreign, SEEN_TAG, &content).await;
        let upload_of = |location: String| location.rsplit('/').next().unwrap().to_owned();
        let upload = upload_of(rival.open_upload(&foreign).await);
        let own_upload = upload_of(owner.open_upload(&own).await);
        let target = |name, repository, owner, upload: &str| Target {
            name,
            repository,
            owner,
            upload: upload.to_owned(),
        };
        let targets = vec![
            target(OWN, own, Some(owner), &own_upload),
            target(FOREIGN, foreign, None, &upload),
            target(
                ABSENT,
                format!("{}/{VOID_IMAGE}", cast.rival.prefix),
                None,
                &upload,
            ),
            target(
                UNKNOWN,
                format!("{UNKNOWN_PREFIX}/{SEEN_IMAGE}"),
                None,
                &upload,
            ),
        ];
        Self {
            content,
            targets,
            made: std::cell::Cell::new(0),
        }
    }

    /// The names that answers may echo, each with the word that stands for it.
    pub(crate) fn echoes(cast: &Cast) -> [(String, &'static str); 4] {
        [
            (cast.rival.prefix.clone(), "<prefix>"),
            (UNKNOWN_PREFIX.to_owned(), "<prefix>"),
            (SEEN_IMAGE.to_owned(), "<image>"),
            (VOID_IMAGE.to_owned(), "<image>"),
        ]
    }

    fn label(&self) -> String {
        self.made.set(self.made.get() + 1);
        format!("number {}", self.made.get())
    }

    /// The request of a row, at a target that has what it needs.
    async fn request(&self, row: &Row, target: &Target, caller: &Distribution) -> RequestBuilder {
        let method: Method = row.method.parse().unwrap();
        let fresh = Content::empty_index(&self.label());
        let (mut digest, mut reference) = (
            self.content.layers[0].digest.clone(),
            self.content.manifest.digest.clone(),
        );
        let mut upload = target.upload.clone();
        if let Some(owner) = &target.owner {
            match (row.method, row.path) {
                ("DELETE", "/v2/{name}/blobs/{digest}") => {
                    owner
                        .push_blob(&target.repository, &fresh)
                        .await
                        .expect(201);
                    digest = fresh.digest.clone();
                }
                ("DELETE", "/v2/{name}/manifests/{reference}") => {
                    let digest = &fresh.digest;
                    let pushed = owner.put_manifest(&target.repository, digest, &fresh).await;
                    reference.clone_from(digest);
                    pushed.expect(201);
                }
                (_, "/v2/{name}/blobs/uploads/{upload}") => {
                    let location = owner.open_upload(&target.repository).await;
                    upload = location.rsplit('/').next().unwrap().to_owned();
                }
                _ => {}
            }
        }
        if row.method == "PUT" {
            digest.clone_from(&fresh.digest);
            reference.clone_from(&fresh.digest);
        }
        let mut path = row
            .path
            .replace("{name}", &target.repository)
            .replace("{digest}", &digest)
            .replace("{reference}", &reference)
            .replace("{upload}", &upload);
        if (row.method, row.path) == ("PUT", "/v2/{name}/blobs/uploads/{upload}") {
            path = format!("{path}?digest={digest}");
        }
        let request = caller.request(method, &path);
        match row.method {
            "PUT" => request
                .header("content-type", fresh.media_type)
                .body(fresh.bytes),
            "PATCH" => request
                .header("content-type", "application/octet-stream")
                .body("bytes"),
            _ => request,
        }
    }
}

/// What callers send to a repository: their logins, or the tokens they get for it.
async fn logins(registry: &TestRegistry, cast: &Cast, repository: &str) -> Vec<Login> {
    let door = at(registry, Door::Public);
    let scope = format!("repository:{repository}:pull,push,delete");
    let mut logins = Vec::new();
    for caller in &cast.pullers {
        let mut sender = door.with(caller.login.clone());
        if caller.exchanges {
            sender = sender.exchanged(&[&scope, "registry:catalog:*"]).await;
        }
        logins.push(sender.login);
    }
    logins
}

/// POST `/token` as containerd does: a password where there is a user name, else a refresh token.
fn token_form(door: &Distribution, login: &Login) -> RequestBuilder {
    let mut fields = vec![("service", "berth"), ("client_id", "containerd-client")];
    match login {
        Login::Nobody => fields.extend([
            ("grant_type", "password"),
            ("username", ""),
            ("password", ""),
        ]),
        Login::Basic(user, password) => fields.extend([
            ("grant_type", "password"),
            ("username", user),
            ("password", password),
        ]),
        Login::Bearer(token) => {
            fields.extend([("grant_type", "refresh_token"), ("refresh_token", token)]);
        }
    }
    let request = door.with(Login::Nobody).request(Method::POST, "/token");
    form(request, &fields)
}

/// Drives every row of a door that is not the management API's.
pub(crate) async fn drive(
    registry: &TestRegistry,
    door: Door,
    api_has_own_door: bool,
    cast: &Cast,
    stage: &Stage,
) -> Vec<Cell> {
    let here = at(registry, door);
    let mut cells = Vec::new();
    let routes = rows(door, api_has_own_door);
    let driven: Vec<&'static Row> = routes
        .iter()
        .filter_map(row_of)
        .filter(|row| !row.path.starts_with("/api/"))
        .collect();
    let repository_of = |row: &Row| matches!(row.asks, Asks::Repository(_));
    for target in &stage.targets {
        let logins = logins(registry, cast, &target.repository).await;
        for row in driven.iter().filter(|row| repository_of(row)) {
            for (caller, login) in cast.pullers.iter().zip(&logins) {
                let sender = here.with(login.clone());
                let reply = Reply::of(stage.request(row, target, &sender).await).await;
                cells.push(cell(row, target.name, caller, reply));
            }
        }
    }
    let logins = logins(registry, cast, &stage.targets[0].repository).await;
    for row in driven.iter().filter(|row| !repository_of(row)) {
        for (caller, login) in cast.pullers.iter().zip(&logins) {
            let request = if (row.method, row.path) == ("POST", "/token") {
                token_form(&here, login)
            } else {
                here.with(login.clone())
                    .request(row.method.parse().unwrap(), row.path)
            };
            cells.push(cell(row, NOWHERE, caller, Reply::of(request).await));
        }
    }
    cells
}

fn cell(row: &'static Row, target: &'static str, caller: &Caller, reply: Reply) -> Cell {
    Cell {
        row,
        target,
        caller: caller.clone(),
        reply,
    }
}

/// What must hold of every cell, whatever the table says.
pub(crate) fn check(cells: &[Cell], own_prefix: &str) {
    for cell in cells {
        let let_in = (200..300).contains(&cell.reply.status);
        let power = cell.caller.power;
        let should = match cell.row.asks {
            Asks::Nothing => true,
            Asks::Somebody => power.is_member(),
            Asks::Catalogue => {
                if let_in && cell.row.method == "GET" {
                    let listed = cell.reply.json();
                    let names = listed["repositories"].as_array().unwrap();
                    let own =
                        |name: &serde_json::Value| name.as_str().unwrap().starts_with(own_prefix);
                    assert!(names.iter().all(own), "{}", cell.says());
                }
                power.is_member()
            }
            // A registry credential is what the grant of a refresh token takes; nothing else that a stranger has is.
            Asks::Password => {
                let is_identity =
                    cell.row.method == "POST" && cell.caller.way.ends_with("credential as token");
                is_identity || (power.is_member() && !cell.caller.exchanges)
            }
            Asks::Repository(action) => cell.target == OWN && power.may(action),
            Asks::Key(..) | Asks::KeyOfWorkspace | Asks::SubjectToken => {
                unreachable!("not of this half")
            }
        };
        assert_eq!(let_in, should, "{}", cell.says());
        let is_stranger = !power.is_member();
        if is_stranger && matches!(cell.row.asks, Asks::Repository(_) | Asks::Somebody) {
            assert_eq!(cell.reply.status, 401, "{}", cell.says());
            let challenge = cell.reply.header("www-authenticate");
            assert!(challenge.starts_with("Bearer realm="), "{}", cell.says());
        }
    }
}

/// Foreign names give one and the same answer whether they exist or not.
pub(crate) fn check_secrecy(cells: &[Cell], echoes: &[(String, &str)]) {
    let of = |target: &'static str| {
        cells.iter().filter(move |cell| {
            cell.target == target && matches!(cell.row.asks, Asks::Repository(_))
        })
    };
    assert!(of(FOREIGN).count() > 0);
    for other in [ABSENT, UNKNOWN] {
        assert_eq!(of(FOREIGN).count(), of(other).count());
        for (known, unknown) in of(FOREIGN).zip(of(other)) {
            assert_eq!(
                (known.row.method, known.row.path),
                (unknown.row.method, unknown.row.path)
            );
            assert_eq!(
                blurred(&known.reply, echoes),
                blurred(&unknown.reply, echoes),
                "{}\n{}",
                known.says(),
                unknown.says()
            );
        }
    }
}

/// An answer without the name it echoes, its id and its date.
pub(crate) fn blurred(reply: &Reply, echoes: &[(String, &str)]) -> String {
    let mut text = format!("{}\n", reply.status);
    for (name, value) in &reply.headers {
        if name != "date" && name != "x-request-id" {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
    }
    text.push_str(&reply.text());
    for (name, word) in echoes {
        text = text.replace(name, word);
    }
    text
}

/// Nothing of all that was refused left a trace with the rival.
pub(crate) async fn check_untouched(registry: &TestRegistry, cast: &Cast, stage: &Stage) {
    let rival = registry.with_key(&cast.rival.admin_key);
    let foreign = &stage.targets[1];
    let repository = &foreign.repository;
    let manifest = rival.get(&format!("/v2/{repository}/manifests/v1")).await;
    assert_eq!(manifest.expect(200).body, stage.content.manifest.bytes);
    let layer = &stage.content.layers[0];
    let blob = rival
        .get(&format!("/v2/{repository}/blobs/{}", layer.digest))
        .await;
    assert_eq!(blob.expect(200).body, layer.bytes);
    let upload = rival
        .get(&format!(
            "/v2/{repository}/blobs/uploads/{}",
            foreign.upload
        ))
        .await;
    assert_eq!(upload.expect(204).header("range"), "0-0");
    let tags = rival.get(&format!("/v2/{repository}/tags/list")).await;
    assert_eq!(tags.expect(200).json()["tags"], serde_json::json!(["v1"]));
    let catalogue = rival.get("/v2/_catalog").await.expect(200).json();
    assert_eq!(catalogue["repositories"], serde_json::json!([repository]));
}

/// On the pull door nothing writes: what only the public door has is 405 for everybody.
pub(crate) async fn check_pull_door_writes(registry: &TestRegistry, cast: &Cast, stage: &Stage) {
    let (here, there) = (rows(Door::Pull, false), rows(Door::Public, false));
    let writes: Vec<&'static Row> = there
        .iter()
        .filter(|route| !here.contains(route) && !route.path.starts_with("/api/"))
        .filter_map(row_of)
        .collect();
    assert_eq!(writes.len(), 10, "{writes:?}");
    let door = at(registry, Door::Pull);
    let mut wrong = Vec::new();
    for row in writes {
        assert!(
            row.asks == Asks::Repository(Action::Push)
                || row.asks == Asks::Repository(Action::Delete)
        );
        for login in [Login::Nobody, Login::key(&cast.acme.admin_key)] {
            let sender = door.with(login);
            let target = &stage.targets[0];
            let reply = Reply::of(stage.request(row, target, &sender).await).await;
            if reply.status != 405 {
                wrong.push(format!("{} {}: {}", row.method, row.path, reply.status));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

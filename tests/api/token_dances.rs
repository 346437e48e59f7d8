//! How each client comes to its tokens, replayed without the client: its own methods, parameters and headers, in its
//! own order, and as strict a reading of the answers as the strictest of them.
//!
//! The requests are those that the clients send to a registry with such a challenge, at the version that each file
//! names. `tests/clients` has the same clients themselves, where they are installed.

use std::sync::atomic::{AtomicUsize, Ordering};

use berth::http::Door;
use jiff::Timestamp;
use regex::Regex;
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde_json::json;

use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Image, Login, Reply, image};
use crate::support::{START, Team, TestRegistry};

/// The largest answer of a token endpoint that every client reads (oras-go: 128 KiB).
const ANSWER_LIMIT_BYTES: usize = 128 << 10;

/// What a token must live at least: clients take anything shorter for this (distribution's token specification).
const MIN_LIFETIME_S: u32 = 60;

/// Headers that a client adds to each of its requests.
type Headers = &'static [(&'static str, &'static str)];

/// A team on a registry that has `base:v1`, and a registry credential of the team.
struct Scene<'r> {
    registry: &'r TestRegistry,
    team: Team,
    user: String,
    password: String,
    image: Image,
}

impl<'r> Scene<'r> {
    async fn on(registry: &'r TestRegistry) -> Self {
        static TEAMS: AtomicUsize = AtomicUsize::new(0);
        let number = TEAMS.fetch_add(1, Ordering::Relaxed);
        let team = registry.team(&format!("team{number}")).await;
        let image = image().layer("a layer").build();
        let owner = registry.with_key(&team.admin_key);
        let base = format!("{}/base", team.prefix);
        owner.push_image(&base, "v1", &image).await;
        let request = json!({"actions": ["pull", "push", "delete"]});
        let api = registry.api(&team.admin_key);
        let issued = api.post("/registry/credentials", &request).await;
        let issued = issued.expect(200);
        let text = |field: &str| issued[field].as_str().unwrap().to_owned();
        Self {
            user: text("username"),
            password: text("password"),
            registry,
            team,
            image,
        }
    }

    /// The full name of an image of the team.
    fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.team.prefix)
    }

    /// The digest of `base:v1`.
    fn digest(&self) -> &str {
        &self.image.manifest.digest
    }

    fn layer(&self) -> &Content {
        &self.image.layers[0]
    }

    /// A client of this team at the public door, and one at the pull door.
    fn at_each_door(&self, headers: Headers) -> [Client; 2] {
        [Door::Public, Door::Pull].map(|door| self.client(door, headers))
    }

    /// A client of this team at `door`.
    fn client(&self, door: Door, headers: Headers) -> Client {
        Client {
            caller: self.registry.distribution(door, Login::Nobody),
            headers,
            user: self.user.clone(),
            password: self.password.clone(),
        }
    }
}

/// Makes a test on SQLite of each dance, and one of them all on PostgreSQL, where a database takes longer than a dance.
macro_rules! dances {
    ($($dance:ident),+ $(,)?) => {
        $(mod $dance { #[tokio::test] async fn on_sqlite() { crate::token_dances::on_sqlite(super::$dance).await } })+
        #[tokio::test]
        async fn all_on_postgres() {
            super::on_postgres(async |registry| { $(super::run(registry, $dance).await;)+ }).await;
        }
    };
}

mod containerd;
mod containers_image;
mod docker;
mod go_containerregistry;
mod oras;

/// Runs a dance with a team of its own.
async fn run(registry: &TestRegistry, dance: impl AsyncFn(&Scene<'_>)) {
    dance(&Scene::on(registry).await).await;
}

async fn on_sqlite(dance: impl AsyncFn(&Scene<'_>)) {
    let registry = TestRegistry::start().await;
    run(&registry, dance).await;
    registry.running.stop().await;
}

/// Runs `dances` on PostgreSQL, where there is one.
async fn on_postgres(dances: impl AsyncFn(&TestRegistry)) {
    if TestDatabase::available().contains(&TestDatabase::Postgres) {
        let registry = TestRegistry::start_on(TestDatabase::Postgres).await;
        dances(&registry).await;
        registry.running.stop().await;
    }
}

/// A client at one door, with a password and no token yet.
struct Client {
    caller: Distribution,
    headers: Headers,
    user: String,
    password: String,
}

impl Client {
    /// The same client with another password.
    fn with_password(&self, user: &str, password: &str) -> Self {
        Self {
            caller: self.caller.clone(),
            headers: self.headers,
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    fn request_as(&self, login: Login, method: Method, path: &str) -> RequestBuilder {
        let request = self.caller.with(login).request(method, path);
        let add =
            |request: RequestBuilder, &(name, value): &(&str, &str)| request.header(name, value);
        self.headers.iter().fold(request, add)
    }

    /// The challenge to a request without a token.
    async fn challenge(&self, method: Method, path: &str) -> Challenge {
        let reply = Reply::of(self.request_as(Login::Nobody, method, path)).await;
        let challenge = Challenge::of(&reply);
        assert_eq!(
            challenge.error, None,
            "nothing was sent that could be wrong"
        );
        assert_eq!(
            challenge.realm,
            format!("{}/token", self.caller.base),
            "clients refuse a realm elsewhere, or lose the password to it"
        );
        challenge
    }

    /// GET of the realm with the password by Basic.
    async fn get_token(&self, challenge: &Challenge, query: &[(&str, &str)]) -> Reply {
        let login = Login::Basic(self.user.clone(), self.password.clone());
        Reply::of(
            self.request_as(login, Method::GET, &challenge.realm)
                .query(query),
        )
        .await
    }

    /// POST of a form to the realm; `content_type` as the client words it.
    async fn post_token(
        &self,
        challenge: &Challenge,
        content_type: &str,
        fields: &[(&str, &str)],
    ) -> Reply {
        let request = self
            .request_as(Login::Nobody, Method::POST, &challenge.realm)
            .header("content-type", content_type)
            .body(serde_urlencoded::to_string(fields).unwrap());
        Reply::of(request).await
    }

    /// A request with the token that `reply` brought.
    fn with_token(&self, reply: &Reply, method: Method, path: &str) -> RequestBuilder {
        self.request_as(Login::Bearer(token(reply)), method, path)
    }

    async fn send(&self, reply: &Reply, method: Method, path: &str) -> Reply {
        Reply::of(self.with_token(reply, method, path)).await
    }

    /// Pulls `base:v1` with the token in `reply`: HEAD and GET of the manifest, GET of its layer.
    async fn pulls(&self, scene: &Scene<'_>, reply: &Reply) {
        let name = scene.name("base");
        let tag = format!("/v2/{name}/manifests/v1");
        let head = self.send(reply, Method::HEAD, &tag).await.expect(200);
        assert_eq!(head.header("docker-content-digest"), scene.digest());
        for path in [
            format!("/v2/{name}/manifests/{}", scene.digest()),
            format!("/v2/{name}/blobs/{}", scene.layer().digest),
        ] {
            self.send(reply, Method::GET, &path).await.expect(200);
        }
    }

    /// Pushes a whole image to `image` with the token in `reply`.
    async fn pushes(&self, scene: &Scene<'_>, image: &str, reply: &Reply) {
        let pusher = self.caller.with(Login::Bearer(token(reply)));
        pusher
            .push_image(&scene.name(image), "v1", &scene.image)
            .await;
    }

    /// Mounts the layer of `base` in `image` with the token in `reply`; the status.
    async fn mount(&self, scene: &Scene<'_>, image: &str, from: &str, reply: &Reply) -> u16 {
        let path = format!("/v2/{}/blobs/uploads/", scene.name(image));
        let request = self
            .with_token(reply, Method::POST, &path)
            .query(&[("from", from), ("mount", &scene.layer().digest)]);
        Reply::of(request).await.status
    }
}

/// A 401 of the registry.
#[derive(Debug)]
struct Challenge {
    realm: String,
    service: String,
    scope: Option<String>,
    error: Option<String>,
}

impl Challenge {
    /// Reads it as the least flexible parsers do: one header, one scheme, quoted values, nothing but commas between.
    #[track_caller]
    fn of(reply: &Reply) -> Self {
        let reply = reply.clone().expect(401);
        let version = reply.header("docker-distribution-api-version");
        assert_eq!(version, "registry/2.0");
        let headers = reply.headers.get_all("www-authenticate");
        assert_eq!(headers.iter().count(), 1, "{headers:?}");
        let challenge = reply.header("www-authenticate");
        let form = r#"^Bearer realm="([^"]+)",service="([^"]+)"(?:,scope="([^"]+)")?(?:,error="([a-z_]+)")?$"#;
        let parts = Regex::new(form).unwrap().captures(challenge);
        let parts = parts.unwrap_or_else(|| panic!("no client reads {challenge}"));
        let part = |index| parts.get(index).map(|part| part.as_str().to_owned());
        Self {
            realm: part(1).unwrap(),
            service: part(2).unwrap(),
            scope: part(3),
            error: part(4),
        }
    }

    /// The scopes it asks for.
    fn scopes(&self) -> Vec<&str> {
        let scopes = self.scope.as_deref().unwrap_or_default();
        scopes.split_terminator(' ').collect()
    }
}

/// The fields that clients know, with the types that they read them as.
#[derive(Deserialize)]
struct Tokens {
    token: String,
    access_token: String,
    expires_in: u32,
    issued_at: Timestamp,
    refresh_token: Option<String>,
    scope: Option<String>,
}

/// Reads an answer of the token endpoint.
#[track_caller]
fn tokens(reply: &Reply) -> Tokens {
    let reply = reply.clone().expect(200);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert!(reply.body.len() < ANSWER_LIMIT_BYTES);
    let tokens: Tokens = serde_json::from_slice(&reply.body).unwrap();
    assert!(!tokens.token.is_empty());
    assert_eq!(tokens.token, tokens.access_token);
    assert!(tokens.expires_in >= MIN_LIFETIME_S, "{}", tokens.expires_in);
    assert!(tokens.issued_at.as_millisecond() >= START.0);
    // Clients keep it in the place of the password that a person typed.
    assert_eq!(tokens.refresh_token, None);
    tokens
}

#[track_caller]
fn token(reply: &Reply) -> String {
    tokens(reply).token
}

/// What a POST says that the token is for.
#[track_caller]
fn granted(reply: &Reply) -> String {
    tokens(reply).scope.unwrap_or_default()
}

/// Asserts that a token endpoint refused a password, with a sentence that the clients show.
#[track_caller]
fn is_refused(reply: &Reply, words: &str) {
    let reply = reply.clone().expect(401);
    let error = &reply.json()["errors"][0];
    assert_eq!(error["code"], "UNAUTHORIZED");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains(words), "{message}");
}

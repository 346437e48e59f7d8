//! Pull secrets in the hands of docker, podman and containerd: they pull, and do nothing else, until they end.

use std::fs;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use crate::berth::WithPullAddress;
use crate::client::{Client, Scene, trials_of};
use crate::containerd::Ctr;
use crate::containers::{Containers, Podman};
use crate::database::TestDatabase;
use crate::docker::Docker;
use crate::http;
use crate::manifests::text;
use crate::process;
use crate::team::{Login, Team};

/// How long something may work after its right to has ended (ARCHITECTURE.md, rights are read live).
const EFFECT_LIMIT: Duration = Duration::from_secs(5);

/// What a push is told.
const NO_PUSH: &str = "this is a pull secret: it pulls and does nothing else";

/// What a push at the pull door is told.
const PULLS_ALONE: &str = "this address is for pulls alone";

/// The facts of this file, for each client.
pub(crate) fn trials() -> Vec<Trial> {
    let files = [
        trials_of::<Docker>(&[("takes_a_pull_secret_as_its_configuration", docker_config)]),
        trials_of::<Containers<Podman>>(&[("takes_a_pull_secret_as_its_authfile", authfile)]),
    ];
    [
        of_each::<Docker>(),
        of_each::<Containers<Podman>>(),
        of_each::<Ctr>(),
    ]
    .into_iter()
    .chain(files)
    .flatten()
    .collect()
}

fn of_each<C: Told>() -> Vec<Trial> {
    trials_of::<C>(&[
        ("a_pull_secret_pulls_at_both_doors", pulls::<C>),
        ("a_pull_secret_never_pushes", never_pushes::<C>),
        ("a_replaced_pull_secret_is_refused", replaced::<C>),
        ("an_expired_pull_secret_is_refused", expired::<C>),
    ])
}

/// What a person hears whose pull secret has ended.
trait Told: Client {
    const REPLACED: &str;
    const EXPIRED: &str;
}

impl Told for Docker {
    const REPLACED: &str = "unauthorized: the pull secret has been replaced, and its time is over";
    const EXPIRED: &str = "unauthorized: the pull secret has expired: ask for a new one";
}

impl Told for Containers<Podman> {
    const REPLACED: &str = Docker::REPLACED;
    const EXPIRED: &str = Docker::EXPIRED;
}

impl Told for Ctr {
    // It shows the status alone.
    const REPLACED: &str = Self::WORDS.revoked;
    const EXPIRED: &str = Self::WORDS.revoked;
}

/// A pull secret as the server shows it once.
struct PullSecret {
    id: String,
    login: Login,
    /// The docker configuration inside it.
    config: String,
    /// The hosts in there, sorted.
    hosts: Vec<String>,
}

impl PullSecret {
    /// What the management API gives the team's admin at `path`.
    fn made(team: &Team, path: &str, body: &Value) -> Self {
        let path = format!("/registry/pull-secret{path}");
        let made = team.call(Method::POST, &path, Some(body)).expect(201);
        let made = &made.json()["data"];
        let config = text(&made["secret"]["data"][".dockerconfigjson"]);
        let config = BASE64_STANDARD.decode(config);
        let config = String::from_utf8(config.expect("a Secret is base64"));
        let config = config.expect("a docker configuration is text");
        let parsed: Value = serde_json::from_str(&config).expect("it is JSON");
        let auths = parsed["auths"].as_object().expect("it has passwords");
        let login = auths.values().next().expect("one at least");
        Self {
            id: String::from(text(&made["id"])),
            login: Login {
                user_name: String::from(text(&login["username"])),
                password: String::from(text(&login["password"])),
                id: String::new(),
            },
            hosts: auths.keys().cloned().collect(),
            config,
        }
    }

    fn of(team: &Team) -> Self {
        Self::made(team, "", &json!({}))
    }
}

/// A team that has pushed app:v1, whose bytes are nowhere else.
fn pushed<C: Client>() -> Scene<C> {
    let scene = Scene::<C>::start();
    scene.push("app:v1", "for the nodes");
    scene.client.forget(&scene.team.reference("app:v1"));
    scene
}

/// A node that has `secret`.
fn node<C: Client>(scene: &Scene<C>, secret: &PullSecret) -> C {
    let node = C::new();
    scene.enter_as(&node, &secret.login);
    node
}

fn assert_pulls<C: Client>(node: &C, reference: &str) {
    node.pull(reference).succeeded();
    assert_eq!(node.greeting(reference), "for the nodes", "{reference}");
    node.forget(reference);
}

fn pulls<C: Client>() {
    let scene = pushed::<C>();
    let node = node(&scene, &PullSecret::of(&scene.team));
    assert_pulls(&node, &scene.team.reference_at_pull_door("app:v1"));
    assert_pulls(&node, &scene.team.reference("app:v1"));
}

fn never_pushes<C: Client>() {
    let scene = pushed::<C>();
    let secret = PullSecret::of(&scene.team);
    let node = node(&scene, &secret);
    for (reference, told) in [
        (scene.team.reference("app:v2"), NO_PUSH),
        (scene.team.reference("other:v2"), NO_PUSH),
        (scene.team.reference_at_pull_door("app:v2"), PULLS_ALONE),
    ] {
        node.make(&reference, "never to be stored");
        node.push(&reference).refused_with(&[told]);
    }
    scene.team.has_not("app", "v2");
    assert_eq!(scene.team.catalogue(), ["t-blue/app"]);

    let uploads = format!("/v2/{}app/blobs/uploads/", scene.team.prefix);
    let at_pull_door = format!("http://{}{uploads}", scene.server.pull_door);
    for (url, status, told) in [
        (scene.server.url(&uploads), 403, NO_PUSH),
        (at_pull_door, 405, PULLS_ALONE),
    ] {
        let refused = http::send(http::request(Method::POST, &url, &secret.login.caller()));
        let refused = refused.expect(status);
        assert!(refused.body.contains(told), "{}", refused.body);
    }
}

fn replaced<C: Told>() {
    let scene = pushed::<C>();
    let reference = scene.team.reference_at_pull_door("app:v1");
    let old = PullSecret::of(&scene.team);
    let node_with_old = node(&scene, &old);
    assert_pulls(&node_with_old, &reference);

    let rotate = format!("/{}/rotate", old.id);
    let new = PullSecret::made(&scene.team, &rotate, &json!({"overlapSeconds": 0}));
    thread::sleep(TestDatabase::chosen().rights_are_remembered());
    node_with_old.pull(&reference).refused_with(&[C::REPLACED]);
    assert_pulls(&node(&scene, &new), &reference);
}

fn expired<C: Told>() {
    let scene = pushed::<C>();
    let reference = scene.team.reference_at_pull_door("app:v1");
    let secret = PullSecret::of(&scene.team);
    let node = node(&scene, &secret);
    let path = format!("/registry/pull-secret/{}?overlapSeconds=1", secret.id);
    scene.team.call(Method::DELETE, &path, None).expect(204);
    // Then each server knows its end.
    thread::sleep(TestDatabase::chosen().rights_are_remembered());
    let door = format!("http://{}/v2/", scene.server.pull_door);
    process::wait_for("the end of the pull secret", EFFECT_LIMIT, || {
        (http::get(&door, &secret.login.caller()).status == 401).then_some(())
    });
    node.pull(&reference).refused_with(&[C::EXPIRED]);
}

/// A server with an address for pulls, a team on it that has pushed app:v1, and its pull secret.
struct Installation {
    servers: WithPullAddress,
    team: Team,
    secret: PullSecret,
}

impl Installation {
    fn start<C: Client>() -> Self {
        let servers = WithPullAddress::start();
        let team = Team::new(&servers.server, "blue");
        let person = C::new();
        person
            .login(&servers.server.registry, &team.key_login())
            .succeeded();
        let reference = team.reference("app:v1");
        person.make(&reference, "for the nodes");
        person.push(&reference).succeeded();
        person.forget(&reference);
        let secret = PullSecret::of(&team);
        let mut hosts = [servers.pull.clone(), servers.server.registry.clone()];
        hosts.sort();
        assert_eq!(secret.hosts, hosts);
        Self {
            servers,
            team,
            secret,
        }
    }

    /// The image at both addresses.
    fn references(&self) -> [String; 2] {
        let at_pull_door = format!("{}/{}app:v1", self.servers.pull, self.team.prefix);
        [at_pull_door, self.team.reference("app:v1")]
    }
}

fn docker_config() {
    let installation = Installation::start::<Docker>();
    let node = Docker::new();
    node.configure(&installation.secret.config);
    for reference in installation.references() {
        assert_pulls(&node, &reference);
    }
}

fn authfile() {
    let installation = Installation::start::<Containers<Podman>>();
    let folder = process::folder("authfile");
    let path = folder.path().join("config.json");
    fs::write(&path, &installation.secret.config).expect("a small file is written");
    let path = path.display().to_string();
    let node = Containers::<Podman>::new();
    for reference in installation.references() {
        node.pull_with(&["--authfile", &path], &reference)
            .succeeded();
        assert_eq!(node.greeting(&reference), "for the nodes");
    }
}

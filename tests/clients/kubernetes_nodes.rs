//! What the page about Kubernetes says to the container runtime of a node, with containerd, whose `ctr` reads the same
//! files.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use libtest_mimic::Trial;
use rcgen::{CertificateParams, KeyPair};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client as _, Scene};
use crate::containerd::Ctr;
use crate::fact;
use crate::http;
use crate::manifests::{command_of_page, files_of_page, kubectl, text};
use crate::process::{self, Outcome};
use crate::server::Server;
use crate::team::{Login, Team};

/// Where containerd looks, as the page says it.
const HOSTS_FOLDER: &str = "/etc/containerd/certs.d/";

/// The image that is pulled.
const APP: &str = "app:v1";

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact(
            "kubernetes::a_node_needs_no_settings_for_loopback",
            loopback_needs_nothing,
        ),
        fact(
            "kubernetes::a_node_pulls_over_plain_http_from_elsewhere",
            plain_http,
        ),
        fact(
            "kubernetes::a_node_believes_an_authority_of_ones_own",
            own_authority,
        ),
        fact(
            "kubernetes::a_node_is_led_to_the_pull_door",
            led_to_the_pull_door,
        ),
        fact(
            "kubernetes::a_node_asks_the_pull_url_itself_for_tokens",
            tokens_come_from_the_pull_url,
        ),
        fact(
            "kubernetes::a_node_pulls_with_the_secret_of_the_page",
            secret_of_the_page,
        ),
    ]
}

/// A folder with the page's file for `registry`, in which each of `changes` is made.
fn hosts_folder(registry: &str, changes: &[(&str, &str)]) -> TempDir {
    let folder = process::folder("certs.d");
    let prefix = format!("{HOSTS_FOLDER}{registry}/");
    for (path, content) in files_of_page(&prefix) {
        let mut content = String::from(content);
        for (page, here) in changes {
            assert!(content.contains(page), "no {page} in {path}");
            content = content.replace(page, here);
        }
        let path = folder.path().join(&path[HOSTS_FOLDER.len()..]);
        fs::create_dir(path.parent().expect("a file has a folder")).expect("a folder is made");
        fs::write(path, content).expect("a small file is written");
    }
    folder
}

/// Pulls the team's image by the name that it has at `registry`, as a node does that has these files.
fn pull(ctr: &Ctr, hosts: &Path, registry: &str, team: &Team, login: &Login) -> Outcome {
    let user = format!("{}:{}", login.user_name, login.password);
    let reference = format!("{registry}/{}{APP}", team.prefix);
    let hosts = hosts.display().to_string();
    let options = ["pull", "--snapshotter", "native", "--hosts-dir", &hosts];
    ctr.images(&[&options[..], &["--user", &user, &reference]].concat())
}

/// A team that has pushed the image, and what its nodes pull with.
fn pushed() -> (Scene<Ctr>, Login) {
    let scene = Scene::<Ctr>::start();
    scene.push(APP, "for the nodes");
    let login = Login::of_key(&scene.team.api_key("viewer").key);
    (scene, login)
}

fn loopback_needs_nothing() {
    let (scene, login) = pushed();
    let none = process::folder("certs.d");
    let pull_door = &scene.server.pull_door;
    pull(&Ctr::new(), none.path(), pull_door, &scene.team, &login).succeeded();
}

fn plain_http() {
    let (scene, login) = pushed();
    let registry = "10.0.0.5:30501";
    let hosts = hosts_folder(registry, &[(registry, &scene.server.pull_door)]);
    pull(&Ctr::new(), hosts.path(), registry, &scene.team, &login).succeeded();
}

fn led_to_the_pull_door() {
    let (scene, login) = pushed();
    let registry = "registry.example.com";
    let hosts = hosts_folder(registry, &[("127.0.0.1:30501", &scene.server.pull_door)]);
    pull(&Ctr::new(), hosts.path(), registry, &scene.team, &login).succeeded();
}

/// A server of its own with `variables`, on which a team has pushed the image, and its admin's key.
fn pushed_to_one_with(variables: &[(&str, &str)]) -> (Server, Team, Login) {
    let server = Server::start_alone(variables);
    let team = Team::new(&server, "blue");
    let login = team.key_login();
    let ctr = Ctr::new();
    ctr.login(&server.registry, &login).succeeded();
    let reference = team.reference(APP);
    ctr.make(&reference, "for the nodes");
    ctr.push(&reference).succeeded();
    (server, team, login)
}

fn own_authority() {
    let folder = process::folder("tls");
    let key = KeyPair::generate().expect("a key is made");
    let certificate = CertificateParams::new(vec![String::from("127.0.0.1")])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate is made");
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("a small file is written");
        path.to_string_lossy().into_owned()
    };
    let certificate = write("tls.crt", &certificate.pem());
    let (server, team, login) = pushed_to_one_with(&[
        ("BERTH_TLS__CERTIFICATE_FILE", &certificate),
        (
            "BERTH_TLS__KEY_FILE",
            &write("tls.key", &key.serialize_pem()),
        ),
        ("BERTH_TLS__DOORS", "pull"),
    ]);

    let registry = "pull.registry.example.com";
    let authority = format!("{HOSTS_FOLDER}{registry}/ca.crt");
    let door = format!("https://{}", server.pull_door);
    let url = format!("https://{registry}");
    let hosts = hosts_folder(registry, &[(&url, &door), (&authority, &certificate)]);
    let node = Ctr::new();
    pull(&node, hosts.path(), registry, &team, &login).succeeded();

    let line = format!("ca = \"{authority}\"");
    let hosts = hosts_folder(registry, &[(&url, &door), (&line, "")]);
    pull(&node, hosts.path(), registry, &team, &login).refused_with(&["x509"]);
}

/// So a name that only `hosts.toml` knows will not do as `pull_url`.
fn tokens_come_from_the_pull_url() {
    let pull_url = "http://pull.registry.invalid";
    let variables = [("BERTH_SERVER__PULL_URL", pull_url)];
    let (server, team, login) = pushed_to_one_with(&variables);
    let registry = "registry.example.com";
    let hosts = hosts_folder(registry, &[("127.0.0.1:30501", &server.pull_door)]);
    let token = format!("{pull_url}/token");
    pull(&Ctr::new(), hosts.path(), registry, &team, &login).refused_with(&[&token]);
}

fn secret_of_the_page() {
    let (scene, _) = pushed();
    let body = json!({"name": "nodes", "role": "viewer", "actions": ["pull"]});
    let path = format!("/workspaces/{}/api-keys", scene.team.name);
    let made = scene.team.call(Method::POST, &path, Some(&body));
    let key = made.expect(201).json();
    let key = text(&key["data"]["key"]);

    let words = command_of_page("kubectl create secret docker-registry berth-pull ");
    let words: Vec<String> = words
        .into_iter()
        .map(|word| word.replace("\"$KEY\"", key))
        .collect();
    let mut arguments = vec!["create", "secret", "docker-registry", "berth-pull"];
    arguments.extend(words.iter().map(String::as_str));
    arguments.extend(["--dry-run=client", "--output=json"]);
    let folder = process::folder("secret");
    let secret = kubectl(folder.path(), &arguments).succeeded().stdout;
    let secret: Value = serde_json::from_str(&secret).expect("kubectl prints JSON");
    let config = BASE64_STANDARD
        .decode(text(&secret["data"][".dockerconfigjson"]))
        .expect("a Secret is base64");
    let config: Value = serde_json::from_slice(&config).expect("it is a docker config");
    let auth = &config["auths"]["127.0.0.1:30501"];
    let login = Login {
        user_name: String::from(text(&auth["username"])),
        password: String::from(text(&auth["password"])),
        id: String::new(),
    };

    let none = process::folder("certs.d");
    let pull_door = &scene.server.pull_door;
    pull(&Ctr::new(), none.path(), pull_door, &scene.team, &login).succeeded();
    let uploads = format!("/v2/{}app/blobs/uploads/", scene.team.prefix);
    let push = |url: &str| http::send(http::request(Method::POST, url, &login.caller()));
    let denied = push(&scene.server.url(&uploads)).expect(403);
    assert!(denied.body.contains("may not push"), "{}", denied.body);
    push(&format!("http://{pull_door}{uploads}")).expect(405);
}

//! docker and podman with `docker-credential-berth`: they push and pull, and nothing is stored.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::berth::{Berth, WithPullAddress};
use crate::client::Client;
use crate::containers::{Containers, Podman, Program};
use crate::database::TestDatabase;
use crate::docker::{Docker, PROGRAMS};
use crate::fact;
use crate::process::{self, Outcome};
use crate::server::{self, Server};
use crate::team::{Login, Team};

/// Somebody without rights: `nobody` on Debian.
const NOBODY: u32 = 65_534;

/// How long a key that is made for two seconds may last.
const LIMIT: Duration = Duration::from_secs(60);

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact(
            "credential_helper::docker_needs_no_login",
            docker_needs_no_login,
        ),
        fact(
            "credential_helper::podman_needs_no_login",
            podman_needs_no_login,
        ),
        fact(
            "credential_helper::podman_may_have_a_file_of_its_own",
            podman_may_have_a_file_of_its_own,
        ),
        fact(
            "credential_helper::a_key_that_has_ended_is_told",
            a_key_that_has_ended_is_told,
        ),
        fact(
            "credential_helper::a_foreign_host_gets_no_password",
            a_foreign_host_gets_no_password,
        ),
        fact(
            "credential_helper::a_login_is_refused_and_a_logout_says_what_remains",
            a_login_is_refused,
        ),
        fact(
            "credential_helper::without_the_helper_docker_is_as_before",
            without_the_helper_docker_is_as_before,
        ),
        fact(
            "credential_helper::a_file_that_may_not_be_written_stays",
            a_file_that_may_not_be_written_stays,
        ),
    ]
}

/// The command lines of docker on this machine.
fn programs() -> impl Iterator<Item = &'static Path> {
    PROGRAMS
        .iter()
        .map(|(_, path)| Path::new(*path))
        .filter(|path| path.exists())
}

/// The one that comes with the engine.
fn first_program() -> &'static Path {
    Path::new(PROGRAMS[0].1)
}

/// podman, with a store of this person's own.
fn podman(person: &Berth, arguments: &[&str]) -> Outcome {
    podman_with_input(person, arguments, None)
}

fn podman_with_input(person: &Berth, arguments: &[&str], input: Option<&str>) -> Outcome {
    let (root, run) = (person.path("root"), person.path("run"));
    let (root, run) = (root.display().to_string(), run.display().to_string());
    let store = ["--root", &root, "--runroot", &run];
    let options = [&store[..], Podman::OPTIONS, arguments].concat();
    person.run_with_input(&Containers::<Podman>::program(), &options, input)
}

/// Makes an image with docker, as somebody who needs no login for it.
fn make(reference: &str, greeting: &str) -> Docker {
    let docker = Docker::new();
    docker.make(reference, greeting);
    docker
}

/// Asserts that docker's file names the helper, and holds nothing that could be a password.
#[track_caller]
fn nothing_is_stored(config: &str, hosts: &[&str]) {
    let config: Value = serde_json::from_str(config).expect("docker's file is JSON");
    for host in hosts {
        assert_eq!(config["credHelpers"][host], "berth", "{config}");
    }
    let logins = config["auths"].as_object().cloned().unwrap_or_default();
    assert!(logins.values().all(|login| *login == json!({})), "{config}");
}

fn docker_needs_no_login() {
    let registry = WithPullAddress::start();
    let server = &registry.server;
    let team = Team::new(server, "blue");
    let person = Berth::set_up(server, &team.api_key("builder").key);
    let hosts = [server.registry.as_str(), &registry.pull];
    nothing_is_stored(&person.docker_config(), &hosts);
    for (number, program) in programs().enumerate() {
        let image = format!("app:v{number}");
        let pushed = team.reference(&image);
        let docker = make(&pushed, "hello from a helper");
        person.run(program, &["push", &pushed]).succeeded();
        docker.forget(&pushed);
        let pulled = format!("{}/t-blue/{image}", registry.pull);
        person.run(program, &["pull", &pulled]).succeeded();
        assert_eq!(docker.greeting(&pulled), "hello from a helper");
        person
            .run(program, &["push", &pulled])
            .refused_with(&["unsupported: "]);
        docker.forget(&pulled);
    }
    nothing_is_stored(&person.docker_config(), &hosts);
}

fn podman_needs_no_login() {
    let registry = WithPullAddress::start();
    let server = &registry.server;
    let team = Team::new(server, "blue");
    let person = Berth::set_up(server, &team.api_key("builder").key);
    round_trip(&person, &team, &registry.pull);
    nothing_is_stored(&person.docker_config(), &[&server.registry, &registry.pull]);
    let own = person.path("runtime/containers/auth.json");
    assert!(!own.exists(), "podman has stored something");
}

fn podman_may_have_a_file_of_its_own() {
    let registry = WithPullAddress::start();
    let server = &registry.server;
    let team = Team::new(server, "blue");
    let person = Berth::logged_in(server, &team.api_key("builder").key);
    let file = person.path("podman.json");
    let person = person
        .with("REGISTRY_AUTH_FILE", &file)
        // What docker reads is not read then.
        .with("DOCKER_CONFIG", file.with_file_name("elsewhere"));
    person.configure(&[]).succeeded().said("podman.json");
    round_trip(&person, &team, &registry.pull);
    let stored = std::fs::read_to_string(&file).expect("the file was made");
    nothing_is_stored(&stored, &[&server.registry, &registry.pull]);

    // A helper that refused a logout would make this podman crash.
    podman(&person, &["logout", &server.registry])
        .succeeded()
        .said("berth logout");
    let key = team.key_login().password;
    let login = [
        "login",
        "--tls-verify=false",
        "--username",
        "me",
        "--password-stdin",
    ];
    podman_with_input(
        &person,
        &[&login[..], &[&server.registry]].concat(),
        Some(&key),
    )
    .refused_with(&["nothing is stored for", "berth configure-docker --remove"]);
    let after = std::fs::read_to_string(&file).expect("the file is there");
    nothing_is_stored(&after, &[&server.registry, &registry.pull]);
}

/// podman makes an image, pushes it, and pulls it at the address for pulls.
fn round_trip(person: &Berth, team: &Team, pull: &str) {
    let context = crate::images::Context::new("hello from podman");
    context.add("Dockerfile", "FROM scratch\nCOPY greeting /greeting\n");
    let pushed = team.reference("pod:v1");
    let build = [
        "build",
        "--network",
        "none",
        "--tag",
        &pushed,
        &context.path(),
    ];
    podman(person, &build).succeeded();
    podman(person, &["push", "--tls-verify=false", &pushed]).succeeded();
    podman(person, &["rmi", "--force", &pushed]).succeeded();
    let pulled = format!("{pull}/t-blue/pod:v1");
    podman(person, &["pull", "--tls-verify=false", &pulled]).succeeded();
    team.stored("pod", "v1");
}

fn a_key_that_has_ended_is_told() {
    let server = Server::start();
    let team = Team::new(&server, "blue");
    let key = team.api_key("builder");
    let person = Berth::set_up(&server, &key.key);
    let pushed = team.reference("app:v1");
    let docker = make(&pushed, "while it lasts");
    person.run(first_program(), &["push", &pushed]).succeeded();
    team.delete_api_key(&key);
    std::thread::sleep(TestDatabase::chosen().rights_are_remembered());
    let words = "docker-credential-berth: there is no such API key, or it has been deleted";
    for program in programs() {
        let (push, pull) = (["push", &pushed], ["pull", &pushed]);
        for arguments in [&push, &pull] {
            let told = person.run(program, arguments).refused_with(&[words]);
            assert!(told.contains("run `berth login`"), "{told}");
        }
    }
    let pull = ["pull", "--tls-verify=false", &pushed];
    podman(&person, &pull).refused_with(&[words, "getting username and password"]);
    docker.forget(&pushed);

    // So is one whose time is over,
    let admin = Berth::logged_in(&server, &team.key_login().password);
    let create = [
        "api-key",
        "create",
        "short",
        "--role",
        "builder",
        "--expires-in",
        "10s",
    ];
    let created = admin
        .berth(&[&create[..], &["-o", "json"]].concat())
        .succeeded()
        .stdout;
    let created: Value = serde_json::from_str(&created).expect("a key is JSON");
    let short = person.with("BERTH_API_KEY", created["key"].as_str().unwrap_or_default());
    let short = short.with("BERTH_URL", server.url(""));
    let told = process::wait_for("the end of the key", LIMIT, || {
        // Each look takes one of the 120 credentials that a key may ask for in a minute.
        std::thread::sleep(Duration::from_millis(500));
        let outcome = short.helper("get", &server.registry);
        outcome.failed().then_some(outcome.stdout)
    });
    assert!(told.contains("expired"), "{told}");

    // and a server that is gone.
    let host = server.registry.clone();
    server.stop();
    let outcome = short.helper("get", &host);
    assert!(outcome.failed());
    assert!(
        outcome
            .stdout
            .starts_with(&format!("cannot reach http://{host}: ")),
        "{outcome:?}"
    );
}

fn a_foreign_host_gets_no_password() {
    let (own, foreign) = (Server::start(), Server::start());
    let person = Berth::set_up(&own, &Team::new(&own, "blue").api_key("builder").key);
    // With nothing listening, whoever asked would get another answer.
    for host in ["ghcr.io", "https://index.docker.io/v1/", &foreign.registry] {
        let outcome = person.helper("get", host);
        assert!(outcome.failed());
        assert_eq!(
            outcome.text(),
            "credentials not found in native keychain\n",
            "{host}"
        );
    }
    let config = json!({"credHelpers": {&*foreign.registry: "berth"}}).to_string();
    std::fs::write(person.path("docker/config.json"), config).expect("a small file is written");
    let reference = Team::new(&foreign, "green").reference("app:v1");
    person
        .run(first_program(), &["pull", &reference])
        .refused_with(&["unauthorized: a token needs credentials"]);
}

/// `docker login` with a key of the team.
fn login(person: &Berth, program: &Path, server: &Server, team: &Team) -> Outcome {
    let Login {
        user_name,
        password,
        ..
    } = team.key_login();
    let login = [
        "login",
        "--username",
        &user_name,
        "--password-stdin",
        &server.registry,
    ];
    person.run_with_input(program, &login, Some(&password))
}

fn a_login_is_refused() {
    let server = Server::start();
    let team = Team::new(&server, "blue");
    let person = Berth::set_up(&server, &team.api_key("builder").key);
    let before = person.docker_config();
    for program in programs() {
        login(&person, program, &server, &team)
            .refused_with(&["nothing is stored for", "berth configure-docker --remove"]);
        person
            .run(program, &["logout", &server.registry])
            .said("the key of `berth login` still lets you in: `berth logout`");
    }
    let after = person.docker_config();
    nothing_is_stored(&after, &[&server.registry]);
    let helpers = |text: &str| {
        serde_json::from_str::<Value>(text).expect("it is JSON")["credHelpers"].clone()
    };
    assert_eq!(helpers(&before), helpers(&after));
}

fn without_the_helper_docker_is_as_before() {
    let server = Server::start();
    let team = Team::new(&server, "blue");
    let person = Berth::set_up(&server, &team.api_key("builder").key);
    person.berth(&["configure-docker", "--remove"]).succeeded();
    for program in programs() {
        login(&person, program, &server, &team)
            .succeeded()
            .said("Login Succeeded");
    }
}

fn a_file_that_may_not_be_written_stays() {
    let server = Server::start();
    let key = Team::new(&server, "blue").api_key("builder").key;
    let person = Berth::new()
        .with("BERTH_URL", server.url(""))
        .with("BERTH_API_KEY", key);
    let config = person.path("docker/config.json");
    std::fs::create_dir(person.path("docker")).expect("a folder is made");
    // Where nobody may look, nobody can run a program.
    let program = person.path("berth");
    std::fs::copy(server::binary(), &program).expect("the program is copied");
    for path in ["", "bin", "docker"] {
        chown(person.path(path), Some(NOBODY), Some(NOBODY)).expect("root gives folders away");
    }
    let text = "{\n  \"auths\": {}\n}\n";
    std::fs::write(&config, text).expect("a small file is written");
    chown(&config, Some(NOBODY), Some(NOBODY)).expect("root gives files away");
    let configure = |mode: u32, folder_mode: u32| {
        let set = |path: PathBuf, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
                .expect("root may");
        };
        set(config.clone(), mode);
        set(person.path("docker"), folder_mode);
        let prepare = |command: &mut Command| {
            person.prepare(command);
            let id = NOBODY.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
            command
                .arg(&program)
                .args(["configure-docker", "--bin-dir"]);
            command.arg(person.path("bin"));
        };
        process::run(Path::new("/usr/bin/setpriv"), prepare, None)
    };
    for (mode, folder_mode) in [(0o400, 0o700), (0o600, 0o500)] {
        configure(mode, folder_mode).refused_with(&["cannot write", "Permission denied"]);
        let now = std::fs::read_to_string(&config).expect("the file is there");
        assert_eq!(now, text);
        let left = std::fs::read_dir(person.path("docker")).expect("the folder is there");
        assert_eq!(left.count(), 1);
        assert!(!person.path("bin/docker-credential-berth").is_symlink());
    }
    configure(0o400, 0o000).refused_with(&["cannot read", "Permission denied"]);
    configure(0o600, 0o700).succeeded();
    nothing_is_stored(&person.docker_config(), &[&server.registry]);
}

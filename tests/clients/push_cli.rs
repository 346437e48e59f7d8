//! `berth image build` and `berth image push` with a real engine.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::json;

use crate::berth::{Berth, WithPullAddress};
use crate::client::Client;
use crate::database::TestDatabase;
use crate::docker::Docker;
use crate::fact;
use crate::images::Context;
use crate::process;
use crate::server::{self, Server};
use crate::tcp_engine::TcpEngine;
use crate::team::Team;

/// How long a push may take to begin, and to end when it is told to.
const LIMIT: Duration = Duration::from_secs(120);

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact(
            "push_cli::what_was_built_is_pushed_and_pulled_by_the_reference_for_templates",
            what_was_built_is_pushed_and_pulled,
        ),
        fact(
            "push_cli::a_build_ends_as_docker_ends",
            a_build_ends_as_docker_ends,
        ),
        fact(
            "push_cli::names_that_docker_had_stay",
            names_that_docker_had_stay,
        ),
        fact(
            "push_cli::a_refusal_says_what_would_be_right",
            a_refusal_says_what_would_be_right,
        ),
        fact(
            "push_cli::a_registry_that_the_engine_cannot_reach_is_named",
            a_registry_out_of_reach_is_named,
        ),
        fact(
            "push_cli::an_engine_may_be_behind_tcp",
            an_engine_may_be_behind_tcp,
        ),
        fact(
            "push_cli::an_interrupted_push_leaves_no_name",
            an_interrupted_push_leaves_no_name,
        ),
    ]
}

/// Whether the engine has an image of this name.
fn has(docker: &Docker, reference: &str) -> bool {
    !docker.run(&["image", "inspect", reference]).failed()
}

/// A folder to build from.
fn sources(greeting: &str) -> Context {
    let context = Context::new(greeting);
    context.add(
        "Dockerfile",
        "FROM scratch\nARG WORD=none\nCOPY busybox /bin/busybox\nCOPY greeting /greeting\nLABEL word=$WORD\n\
         CMD [\"/bin/busybox\", \"cat\", \"/greeting\"]\n",
    );
    context
}

fn what_was_built_is_pushed_and_pulled() {
    let registry = WithPullAddress::start();
    let team = Team::new(&registry.server, "blue");
    let person = Berth::set_up(&registry.server, &team.api_key("builder").key);
    let docker = Docker::new();
    let sources = sources("hello from a template");
    let own = "push-cli-built:v1";
    let build = ["image", "build", &sources.path(), "-t", own, "--no-cache"];
    let options = ["--", "--network", "none", "--build-arg", "WORD=given"];
    person.berth(&[&build[..], &options].concat()).succeeded();
    let label = [
        "image",
        "inspect",
        "--format",
        "{{.Config.Labels.word}}",
        own,
    ];
    docker.run(&label).succeeded().said("given");

    let pushed = person
        .berth(&["image", "push", own, "-t", "team/my-app:v1"])
        .succeeded();
    let digest = team.digest("team/my-app", "v1");
    let (push, pull) = (
        team.reference("team/my-app:v1"),
        format!("{}/t-blue/team/my-app:v1", registry.pull),
    );
    assert_eq!(
        pushed.stdout,
        format!(
            "Digest: {digest}\nImage pushed successfully: {push}\nTemplate image reference: {pull}\n"
        )
    );
    assert!(pushed.stderr.contains(": Pushed\n"), "{}", pushed.stderr);
    assert!(!has(&docker, &push), "the name for the push has stayed");
    assert!(has(&docker, own));

    // Once more, as programs see it: nothing is sent, and the words before go elsewhere.
    let again = ["template", "image", "push", own, "-t", &push, "-o", "json"];
    let again = person.berth(&again).succeeded();
    let answer: serde_json::Value = serde_json::from_str(&again.stdout).expect("one object");
    assert_eq!(
        answer,
        json!({"digest": digest, "pushImage": push, "pullImage": pull})
    );
    assert!(
        again.stderr.contains("Layer already exists"),
        "{}",
        again.stderr
    );

    docker.forget(own);
    person
        .run(Path::new("/usr/bin/docker"), &["pull", &pull])
        .succeeded();
    assert_eq!(docker.greeting(&pull), "hello from a template");
    docker.forget(&pull);
}

fn a_build_ends_as_docker_ends() {
    let person = Berth::new();
    let context = Context::new("never built");
    context.add("Dockerfile", "FROM scratch\nCOPY missing /missing\n");
    let status = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        person.prepare(&mut command);
        let command = command
            .args(arguments)
            .args(["-t", "push-cli:never", &context.path()]);
        let output = command.stdin(Stdio::null()).output().expect("it runs");
        (output.status.code(), output.stderr)
    };
    let (by_docker, _) = status(Path::new("docker"), &["build"]);
    let (by_berth, told) = status(&server::binary(), &["image", "build"]);
    assert_eq!(by_berth, by_docker);
    assert_ne!(by_berth, Some(0));
    let told = String::from_utf8_lossy(&told);
    assert!(
        told.contains("missing") && !told.contains("error:"),
        "{told}"
    );
}

fn names_that_docker_had_stay() {
    let server = Server::start();
    let team = Team::new(&server, "blue");
    let person = Berth::logged_in(&server, &team.api_key("builder").key);
    let docker = Docker::new();
    let (first, second) = ("push-cli-first:v1", "push-cli-second:v1");
    docker.make(first, "first");
    docker.make(second, "second");
    let reference = team.reference("app:v1");
    let id = |name: &str| {
        let inspect = ["image", "inspect", "--format", "{{.Id}}", name];
        docker.run(&inspect).succeeded().stdout
    };
    docker.tag(first, &reference);
    for name in [second, first] {
        person
            .berth(&["image", "push", name, "-t", "app:v1"])
            .succeeded();
        assert_eq!(id(&reference), id(first));
    }

    // The only name of an image is what keeps it.
    let nameless = id(second);
    let nameless = nameless.trim();
    docker.tag(second, &team.reference("only:v1"));
    docker.forget(second);
    person
        .berth(&["image", "push", nameless, "-t", "only:v1"])
        .succeeded();
    assert_eq!(id(nameless).trim(), nameless);
    for name in [first, &reference, &team.reference("only:v1")] {
        docker.forget(name);
    }
}

fn a_refusal_says_what_would_be_right() {
    let server = Server::start();
    let team = Team::new(&server, "blue");
    let person = Berth::logged_in(&server, &team.api_key("builder").key);
    let docker = Docker::new();
    let own = "push-cli-refused:v1";
    docker.make(own, "never stored");
    let push = |person: &Berth, name: &str, target: &str| {
        person.berth(&["image", "push", name, "-t", target])
    };
    push(&person, "push-cli-refuse:v1", "app:v1").refused_with(&[
        "docker has no image \"push-cli-refuse:v1\"; did you mean push-cli-refused:v1",
    ]);
    push(&person, own, "t-green/app:v1")
        .refused_with(&["\"t-green/\" is the prefix of another team; yours is \"t-blue/\""]);
    push(&person, own, "ghcr.io/app:v1").refused_with(&["\"ghcr.io\" is another registry"]);
    push(&person, own, "app@sha256:00").refused_with(&["a digest cannot be pushed to by name"]);
    push(&Berth::new(), own, "app:v1").refused_with(&["no API key: run `berth login`"]);
    let viewer = Berth::logged_in(&server, &team.api_key("viewer").key);
    push(&viewer, own, "app:v1").refused_with(&["this key may not push", "(forbidden, request "]);
    let key = team.api_key("builder");
    let former = Berth::logged_in(&server, &key.key);
    team.delete_api_key(&key);
    std::thread::sleep(TestDatabase::chosen().rights_are_remembered());
    push(&former, own, "app:v1").refused_with(&["(unauthorized, request "]);
    assert_eq!(team.catalogue(), [""; 0]);

    push(&person, own, "app:v1").succeeded();
    let path = "/images/app";
    let immutable = json!({"immutableTags": true});
    team.call(Method::PATCH, path, Some(&immutable)).expect(200);
    docker.make("push-cli-other:v1", "another one");
    push(&person, "push-cli-other:v1", "app:v1").refused_with(&["docker could not push: denied: "]);
    assert!(!has(&docker, &team.reference("app:v1")));
    docker.forget("push-cli-other:v1");
    docker.forget(own);

    let nowhere = person.with("DOCKER_HOST", "unix:///nowhere/docker.sock");
    push(&nowhere, own, "app:v1").refused_with(&[
        "no Docker daemon answers at unix:///nowhere/docker.sock",
        "start it",
    ]);
}

fn a_registry_out_of_reach_is_named() {
    let server =
        Server::start_with_variables(&[("BERTH_SERVER__PUBLIC_URL", "http://127.0.0.1:1")]);
    let team = Team::new(&server, "blue");
    let person = Berth::logged_in(&server, &team.api_key("builder").key);
    let docker = Docker::new();
    let own = "push-cli-unreachable:v1";
    docker.make(own, "never sent");
    person
        .berth(&["image", "push", own, "-t", "app:v1"])
        .refused_with(&[
            "cannot reach 127.0.0.1:1: ",
            "connection refused",
            "connects by itself",
        ]);
    assert!(!has(&docker, "127.0.0.1:1/t-blue/app:v1"));
    docker.forget(own);
}

fn an_engine_may_be_behind_tcp() {
    let server = Server::start();
    let team = Team::new(&server, "blue");
    let key = team.api_key("builder").key;
    let docker = Docker::new();
    let own = "push-cli-tcp:v1";
    docker.make(own, "by another way");
    let push = ["image", "push", own, "-t", "app:v1"];
    let engine = TcpEngine::plain();
    let host = format!("tcp://{}", engine.address);
    let person = Berth::logged_in(&server, &key).with("DOCKER_HOST", &host);
    person.berth(&push).succeeded();

    let person = Berth::logged_in(&server, &key);
    let certificates = person.path("certificates");
    let engine = TcpEngine::with_tls(&certificates);
    let host = format!("tcp://{}", engine.address);
    let person = person
        .with("DOCKER_HOST", &host)
        .with("DOCKER_TLS_VERIFY", "1")
        .with("DOCKER_CERT_PATH", &certificates);
    person.berth(&push).succeeded();

    // A context says the same by files.
    let run = |arguments: &[&str]| person.run(Path::new("/usr/bin/docker"), arguments);
    let endpoint = format!(
        "host={host},ca={0}/ca.pem,cert={0}/cert.pem,key={0}/key.pem",
        certificates.display()
    );
    run(&["context", "create", "far", "--docker", &endpoint]).succeeded();
    let person = person
        .with("DOCKER_HOST", "")
        .with("DOCKER_TLS_VERIFY", "")
        .with("DOCKER_CONTEXT", "far");
    person.berth(&push).succeeded();

    // Whoever has no certificate is not let in.
    let stranger = Berth::logged_in(&server, &key).with("DOCKER_HOST", &host);
    let folder = stranger.path("certificates");
    TcpEngine::with_tls(&folder);
    let stranger = stranger
        .with("DOCKER_TLS_VERIFY", "1")
        .with("DOCKER_CERT_PATH", &folder);
    stranger
        .berth(&push)
        .refused_with(&["no Docker daemon answers at tcp://", "certificate"]);
    docker.forget(own);
}

fn an_interrupted_push_leaves_no_name() {
    // It takes connections and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    silent
        .set_nonblocking(true)
        .expect("a listener need not wait");
    let host = silent.local_addr().expect("it has an address").to_string();
    let url = format!("http://{host}");
    let server = Server::start_with_variables(&[("BERTH_SERVER__PUBLIC_URL", &url)]);
    let team = Team::new(&server, "blue");
    let person = Berth::logged_in(&server, &team.api_key("builder").key);
    let docker = Docker::new();
    let own = "push-cli-interrupted:v1";
    docker.make(own, "never sent");
    let mut command = Command::new(server::binary());
    person.prepare(&mut command);
    command
        .args(["image", "push", own, "-t", "app:v1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut push = command.spawn().expect("it starts");
    let reference = format!("{host}/t-blue/app:v1");
    // Once the engine has connected, the push is under way.
    let connected = process::wait_for("a connection of the engine", LIMIT, || silent.accept().ok());
    assert!(has(&docker, &reference));
    let interrupt = ["-INT", &push.id().to_string()];
    let sent = Command::new("kill").args(interrupt).status();
    assert!(sent.is_ok_and(|status| status.success()));
    process::wait_for("the end of the push", LIMIT, || {
        push.try_wait().expect("it can be waited for")
    });
    drop(connected);
    let output = push.wait_with_output().expect("it has ended");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains(&format!("error: interrupted: {reference} is not pushed")),
        "{told}"
    );
    assert!(!has(&docker, &reference));
    docker.forget(own);
}

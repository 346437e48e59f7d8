//! The image that the Dockerfile makes, run as an operator runs it: not as root, and with nothing to write but its volume.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Client as _;
use crate::container::{
    BASE, Container, HARDENED, IMAGE, LIMIT, REVISION, VERSION, built, is_release,
};
use crate::docker::Docker;
use crate::http;
use crate::process::{self, wait_for};
use crate::server::address_of;
use crate::team::Login;
use crate::{fact, tell};

/// Any free ports of this machine, since the engine of these tests has no network of its own to publish from.
const ON_FREE_PORTS: [&str; 9] = [
    "serve",
    "--data-dir",
    "/var/lib/berth",
    "--listen",
    "127.0.0.1:0",
    "--pull-listen",
    "127.0.0.1:0",
    "--ops-listen",
    "127.0.0.1:0",
];

/// The user and the group that the Dockerfile names.
const NOT_ROOT: &str = "65532";

/// The most that a release may add to its base, in bytes.
const ADDED_LIMIT_BYTES: u64 = 48 << 20;

/// What the image may hold beside the program: folders, and what the engine itself puts there, in bytes.
const BESIDE_LIMIT_BYTES: u64 = 64 << 10;

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact(
            "image::it_starts_as_it_is_and_gets_healthy",
            starts_as_it_is,
        ),
        fact("image::it_writes_to_its_volume_alone", writes_to_its_volume),
        fact(
            "image::docker_pushes_to_it_and_pulls_after_a_restart",
            takes_pushes,
        ),
        fact("image::sigterm_lets_a_request_end", lets_a_request_end),
        fact(
            "image::it_says_what_it_is_and_holds_only_the_program",
            says_what_it_is,
        ),
        fact(
            "image::the_classic_builder_takes_every_stage",
            classic_builder,
        ),
    ]
}

/// The hardened image on this machine's own network, with its data in `volume`.
fn on_free_ports<'d>(docker: &'d Docker, name: &'static str, volume: &str) -> Container<'d> {
    built();
    let volume = format!("--volume={volume}:/var/lib/berth");
    let options = ["--network=host", &volume];
    Container::run(
        docker,
        name,
        &[&HARDENED, &options[..], &[IMAGE], &ON_FREE_PORTS].concat(),
    )
}

#[track_caller]
fn door(lines: &[String], label: &str) -> String {
    address_of(lines, label).unwrap_or_else(|| panic!("no {label} door in {lines:#?}"))
}

fn starts_as_it_is() {
    built();
    let docker = Docker::new();
    let options = [
        "--network=none",
        "--volume=as-it-is:/var/lib/berth",
        "--health-interval=1s",
    ];
    let arguments = [&HARDENED, &options[..], &[IMAGE]].concat();
    let container = Container::run(&docker, "as-it-is", &arguments);
    let printed = container.ready(1).concat();
    assert!(printed.contains("the first start"), "{printed}");
    // It listens on every interface, which is no address that a client could use.
    assert!(
        printed.contains("docker login 127.0.0.1:5000 "),
        "{printed}"
    );
    wait_for("a healthy container", LIMIT, || {
        (container.inspect("{{.State.Health.Status}}") == "healthy").then_some(())
    });
    container.berth(&[], &["health"]).succeeded().said("ready");
    let elsewhere = ["--env", "BERTH_SERVER__OPS_LISTEN=127.0.0.1:1"];
    container
        .berth(&elsewhere, &["health"])
        .refused_with(&["cannot reach 127.0.0.1:1"]);

    let process = container.inspect("{{.State.Pid}}");
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .expect("the container's process is one of this machine");
    let ids = [NOT_ROOT; 4].join("\t");
    for line in [
        &format!("Uid:\t{ids}"),
        &format!("Gid:\t{ids}"),
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.lines().any(|one| one == line), "{line} in {status}");
    }

    docker.run(&["stop", "--time=60", "as-it-is"]).succeeded();
    container.ended_well();
    docker.run(&["start", "as-it-is"]).succeeded();
    assert!(!container.ready(2).concat().contains("the first start"));
}

fn writes_to_its_volume() {
    built();
    let docker = Docker::new();
    let container = Container::run(&docker, "writes", &["--network=none", IMAGE]);
    container.ready(1);
    // It writes a file, and removes it.
    container.berth(&[], &["health"]).succeeded();
    let changed = docker.run(&["diff", "writes"]).succeeded().stdout;
    assert_eq!(changed, "", "it wrote beside its volume");

    let elsewhere = ["--rm", IMAGE, "serve", "--data-dir", "/elsewhere"];
    let run = [&["run", "--network=none"], &HARDENED[..], &elsewhere].concat();
    docker.run(&run).refused_with(&["Read-only file system"]);
}

fn takes_pushes() {
    let docker = Docker::new();
    let container = on_free_ports(&docker, "pushes", "pushes");
    let registry = door(&container.ready(1), "public");
    let login = container.main_login();
    docker.login(&registry, &login).succeeded();
    let pushed = format!("{registry}/t-main/app:v1");
    docker.make(&pushed, "from a container");
    docker.push(&pushed).succeeded();
    docker.forget(&pushed);

    docker.run(&["restart", "--time=60", "pushes"]).succeeded();
    let pull_door = door(&container.ready(2), "pull");
    docker.login(&pull_door, &login).succeeded();
    let pulled = format!("{pull_door}/t-main/app:v1");
    docker.pull(&pulled).succeeded();
    assert_eq!(docker.greeting(&pulled), "from a container");
}

fn lets_a_request_end() {
    let docker = Docker::new();
    let container = on_free_ports(&docker, "drains", "drains");
    let registry = door(&container.ready(1), "public");
    let login = container.main_login();
    let uploads = format!("http://{registry}/v2/t-main/app/blobs/uploads/");
    let upload = http::send(http::request(Method::POST, &uploads, &login.caller())).expect(202);
    let location = upload.location.expect("an upload has a location");
    let mut patch = begin_patch(&registry, &location, &login);

    docker.run(&["kill", "--signal=TERM", "drains"]).succeeded();
    wait_for("a closed door", LIMIT, || {
        TcpStream::connect(&registry).is_err().then_some(())
    });
    assert_eq!(container.inspect("{{.State.Running}}"), "true");
    patch.write_all(b"bytes").expect("the request goes on");
    let mut status = String::new();
    BufReader::new(patch)
        .read_line(&mut status)
        .expect("the request is answered");
    assert!(status.starts_with("HTTP/1.1 202"), "{status}");
    container.ended_well();
}

/// Sends the head of a PATCH with five bytes, and waits until the server asks for them.
fn begin_patch(registry: &str, location: &str, login: &Login) -> TcpStream {
    let mut stream = TcpStream::connect(registry).expect("the door is open");
    let basic = BASE64_STANDARD.encode(format!("{}:{}", login.user_name, login.password));
    write!(
        stream,
        "PATCH {location} HTTP/1.1\r\n\
         Host: {registry}\r\n\
         Authorization: Basic {basic}\r\n\
         Content-Type: application/octet-stream\r\n\
         Content-Length: 5\r\n\
         Expect: 100-continue\r\n\r\n"
    )
    .expect("the head is sent");
    let mut lines = BufReader::new(stream.try_clone().expect("a socket can be doubled")).lines();
    let line = lines.next().and_then(Result::ok).unwrap_or_default();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    assert_eq!(lines.next().and_then(Result::ok).as_deref(), Some(""));
    stream
}

/// What `docker image inspect` says of `image`.
fn inspect(docker: &Docker, image: &str) -> Value {
    let outcome = docker.run(&["image", "inspect", image]).succeeded();
    let images: Value = serde_json::from_str(&outcome.stdout).expect("docker prints JSON");
    images[0].clone()
}

fn says_what_it_is() {
    let program_bytes = built();
    let docker = Docker::new();
    let image = inspect(&docker, IMAGE);
    let config = &image["Config"];
    assert_eq!(config["User"], format!("{NOT_ROOT}:{NOT_ROOT}"));
    assert_eq!(config["WorkingDir"], "/var/lib/berth");
    assert_eq!(config["Volumes"], json!({"/var/lib/berth": {}}));
    let ports = json!({"5000/tcp": {}, "5001/tcp": {}, "5009/tcp": {}});
    assert_eq!(config["ExposedPorts"], ports);
    let check = json!(["CMD", "/usr/local/bin/berth", "health"]);
    assert_eq!(config["Healthcheck"]["Test"], check);
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], VERSION);
    assert_eq!(labels["org.opencontainers.image.revision"], REVISION);

    let size = |image: &Value| image["Size"].as_u64().expect("an image has a size");
    let added_bytes = size(&image) - size(&inspect(&docker, BASE));
    tell(&format!(
        "the image has {} MiB, {} MiB of it beside the base",
        size(&image) >> 20,
        added_bytes >> 20
    ));
    assert!(
        added_bytes < program_bytes + BESIDE_LIMIT_BYTES,
        "the program has {program_bytes} bytes, but the image adds {added_bytes} to its base"
    );
    assert!(
        !is_release() || added_bytes < ADDED_LIMIT_BYTES,
        "the image adds {added_bytes} bytes to its base"
    );
}

/// The older builder runs all stages and knows no mounts. It runs them here with a toolchain of three lines, so that
/// what is tested is the Dockerfile and not the compiler.
fn classic_builder() {
    built();
    let docker = Docker::new();
    let context = tempfile::tempdir().expect("a folder is made");
    let programs = context.path().join("bin");
    std::fs::create_dir(&programs).expect("a folder is made");
    let busybox = Path::new("/bin/busybox");
    process::require(busybox, "busybox-static");
    std::fs::copy(busybox, programs.join("busybox")).expect("busybox is copied");
    for applet in ["chmod", "cp", "mkdir", "sh", "touch"] {
        std::os::unix::fs::symlink("busybox", programs.join(applet)).expect("a link is made");
    }
    let cargo = "#!/bin/sh\n\
         case $1 in\n\
         chef) touch recipe.json ;;\n\
         build) mkdir -p target/release && cp /bin/busybox target/release/berth ;;\n\
         esac\n";
    std::fs::write(programs.join("cargo"), cargo).expect("a small file is written");
    let dockerfile =
        "FROM scratch\nCOPY bin /bin\nRUN [\"/bin/busybox\", \"chmod\", \"+x\", \"/bin/cargo\"]\n";
    std::fs::write(context.path().join("Dockerfile"), dockerfile).expect("a small file is written");
    let context = context.path().to_string_lossy();
    let build = ["build", "--no-cache", "--network=none", "--tag"];
    docker
        .run(&[&build[..], &["berth-toolchain", &context]].concat())
        .succeeded();
    // A base of few files too: this engine copies all of it at each step.
    let arguments = [
        "berth-classic",
        "--build-arg=BUILD_IMAGE=berth-toolchain",
        "--build-arg=BASE_IMAGE=berth-toolchain",
        env!("CARGO_MANIFEST_DIR"),
    ];
    docker
        .run(&[&build[..], &arguments].concat())
        .succeeded()
        .said("Successfully tagged");
    let (classic, image) = (inspect(&docker, "berth-classic"), inspect(&docker, IMAGE));
    for key in ["User", "Volumes", "Entrypoint", "Cmd", "Healthcheck"] {
        assert_eq!(classic["Config"][key], image["Config"][key], "{key}");
    }
}

//! The page `docs/custom-images.md`, pasted into a shell.

use std::os::unix::fs::symlink;
use std::path::Path;

use libtest_mimic::Trial;

use crate::berth::{Berth, WithPullAddress};
use crate::client::Client as _;
use crate::docker::Docker;
use crate::fact;
use crate::images::Context;
use crate::server;

const PAGE: &str = include_str!("../../docs/custom-images.md");

/// The addresses on the page.
const PUSH: &str = "127.0.0.1:5000";
const PULL: &str = "127.0.0.1:5001";

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![fact(
        "custom_images::the_page_can_be_pasted",
        the_page_can_be_pasted,
    )]
}

/// The commands of the page, in their order.
fn blocks() -> Vec<&'static str> {
    let fences = PAGE.split("```sh\n").skip(1);
    fences
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect()
}

/// The image that the page builds on.
fn make_base(docker: &Docker) {
    let context = Context::new("");
    context.add(
        "Dockerfile",
        "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/cat\n",
    );
    // The cache is the engine's, and another test may be removing the layers that it offers.
    docker
        .run(&["build", "--no-cache", "--tag", "busybox", &context.path()])
        .succeeded();
}

fn the_page_can_be_pasted() {
    let docker = Docker::new();
    make_base(&docker);
    let registry = WithPullAddress::start();
    let person = Berth::new();
    symlink(server::binary(), person.path("bin/berth")).expect("berth is found");
    std::fs::create_dir(person.path("data")).expect("a folder is made");
    std::fs::write(person.path("data/main.key"), registry.server.main_key())
        .expect("the key is there");

    let blocks = blocks();
    let (start, commands) = blocks.split_first().expect("the page has commands");
    assert!(start.contains("berth serve"), "the first one is: {start}");
    let script: String = commands.concat();
    let here = |text: &str| {
        text.replace(PUSH, &registry.server.registry)
            .replace(PULL, &registry.pull)
    };
    let script = format!("set -euxo pipefail\ncd \"$HOME\"\n{}", here(&script));
    let told = person
        .run_with_input(Path::new("/bin/bash"), &[], Some(&script))
        .succeeded();

    let image = here("127.0.0.1:5001/t-main/my-app:v1.2.3");
    for line in [
        &here("Image pushed successfully: 127.0.0.1:5000/t-main/my-app:v1.2.3"),
        &format!("Template image reference: {image}"),
        &format!("    image: {image}"),
        "hello from my-app",
        "refused, as it should be",
        &here("Template image reference: 127.0.0.1:5001/t-main/my-app:v1.2.4"),
    ] {
        let is_there = told.stdout.lines().any(|other| other == line);
        assert!(is_there, "no line {line:?} in\n{}", told.stdout);
    }
    assert!(
        told.stderr.contains("this address is for pulls alone"),
        "{}",
        told.stderr
    );
    for name in [&image, "my-app:v1.2.4", "busybox"] {
        docker.forget(name);
    }
}

//! Real clients against the real binary: docker, podman, buildah, skopeo, containerd, ORAS and Schemathesis; and what
//! Kubernetes would be told.
//!
//! They need programs that `cargo test` cannot install, so they run where `BERTH_TEST_CLIENTS` is set, as
//! `make test` does; there a missing program is a failure, never a skip.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod berth;
mod client;
mod container;
mod containerd;
mod containers;
mod containers_images;
mod credential_helper;
mod ctr_images;
mod custom_images;
#[path = "../support/database.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod database;
mod docker;
mod docker_images;
mod docker_logins;
mod http;
mod image;
mod images;
mod kubelet_provider;
mod kubernetes;
mod kubernetes_nodes;
mod kubernetes_pods;
mod kubernetes_pull_secrets;
mod manifests;
mod memory;
mod meter;
mod nginx;
mod oras;
mod oras_artifacts;
mod process;
mod pull_secret;
mod push_cli;
mod push_files;
mod refusals;
mod refusals_live;
#[path = "../support/round_robin.rs"]
mod round_robin;
mod round_trips;
mod schemathesis;
mod server;
mod service;
mod sharing;
mod skopeo;
mod skopeo_copies;
mod tcp_engine;
mod team;

use libtest_mimic::{Arguments, Trial};

use crate::database::TestDatabase;

/// The variable that says that the client programs are there.
const ENABLED: &str = "BERTH_TEST_CLIENTS";

fn main() {
    let arguments = Arguments::from_args();
    let enabled = std::env::var_os(ENABLED).is_some_and(|value| !value.is_empty());
    if !enabled && !arguments.list {
        tell(&format!(
            "client tests are not run: `make test` installs the clients and sets {ENABLED}"
        ));
    }
    let on_each_stack = [
        docker_logins::trials(),
        round_trips::trials(),
        docker_images::trials(),
        containers_images::trials(),
        skopeo_copies::trials(),
        ctr_images::trials(),
        oras_artifacts::trials(),
        sharing::trials(),
        push_cli::trials(),
        push_files::trials(),
        custom_images::trials(),
        credential_helper::trials(),
        refusals::trials(),
        refusals_live::trials(),
        pull_secret::trials(),
        schemathesis::trials(),
    ];
    // What starts a server of its own kind is the same on every stack.
    let once = [
        memory::trials(),
        kubelet_provider::trials(),
        image::trials(),
        service::trials(),
        nginx::trials(),
        kubernetes::trials(),
        kubernetes_pods::trials(),
        kubernetes_pull_secrets::trials(),
        kubernetes_nodes::trials(),
    ];
    let is_first = TestDatabase::chosen() == TestDatabase::Sqlite;
    let once = once.into_iter().filter(|_| is_first);
    let trials = on_each_stack
        .into_iter()
        .chain(once)
        .flatten()
        .map(|trial| trial.with_ignored_flag(!enabled))
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    docker::stop_engine();
    conclusion.exit();
}

/// A trial that passes unless `test` panics.
fn fact(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// Tells the person who runs the tests something that no assertion says.
#[expect(clippy::print_stderr, reason = "the tests' only way to a person")]
fn tell(message: &str) {
    eprintln!("{message}");
}

//! Real clients against the real binary: docker, podman, buildah, skopeo, containerd, ORAS and Schemathesis.
//!
//! They need programs that `cargo test` cannot install, so they run where `BERTH_TEST_CLIENTS` is set, as
//! `make test` does; there a missing program is a failure, never a skip.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot set itself up has failed"
)]

mod client;
mod container;
mod containerd;
mod containers;
mod containers_images;
mod ctr_images;
mod docker;
mod docker_images;
mod docker_logins;
mod http;
mod image;
mod images;
mod memory;
mod nginx;
mod oras;
mod oras_artifacts;
mod process;
mod refusals;
mod refusals_live;
mod round_trips;
mod schemathesis;
mod server;
mod service;
mod sharing;
mod skopeo;
mod skopeo_copies;
mod team;

use libtest_mimic::{Arguments, Trial};

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
    let trials = [
        docker_logins::trials(),
        round_trips::trials(),
        docker_images::trials(),
        containers_images::trials(),
        skopeo_copies::trials(),
        ctr_images::trials(),
        oras_artifacts::trials(),
        sharing::trials(),
        refusals::trials(),
        refusals_live::trials(),
        memory::trials(),
        image::trials(),
        service::trials(),
        nginx::trials(),
        schemathesis::trials(),
    ];
    let trials = trials
        .into_iter()
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

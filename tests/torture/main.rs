//! What must hold whatever happens at the same time, and whenever a server dies.
//!
//! A short form runs with all tests; `make torture` runs it long.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]
#![expect(
    clippy::print_stdout,
    reason = "a long run tells what it did, and by which seed"
)]

#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod kills;
mod race;
mod world;

/// A number that the environment may set.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap(),
        Err(_) => default,
    }
}

//! What every backend must do: one suite, run against each of them.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod faults;
mod objects;
mod resuming;
mod support;
mod takeover;
mod uploads;

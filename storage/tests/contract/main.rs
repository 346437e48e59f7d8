//! What every backend must do: one suite, run against each of them.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod bucket;
mod faults;
mod inventory;
mod objects;
mod proxy;
mod resuming;
mod s3;
mod support;
mod takeover;
mod uploads;
mod weather;

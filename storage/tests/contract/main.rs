//! What every backend must do: one suite, run against each of them.

mod faults;
mod objects;
mod resuming;
mod support;
mod takeover;
mod uploads;

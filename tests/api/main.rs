//! The management API, authorisation and the house plan, from outside.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

mod audit;
mod cli_images;
mod concurrency;
mod credentials;
mod durability;
mod hot_path;
mod images;
mod input;
mod layers;
mod limits;
mod listeners;
mod live_rights;
mod matrix;
mod openapi;
mod operations;
mod operator_keys;
mod proxies;
mod raw;
mod repairs;
mod rotation;
mod secrecy;
mod sharing;
#[path = "../support/mod.rs"]
mod support;
mod tenancy;
mod tls;
mod token_dances;
mod tokens;
mod uploads;

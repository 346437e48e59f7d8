//! The management API, authorisation and the house plan, from outside.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

mod audit;
mod backup;
mod bucket;
mod checks;
mod cli_images;
mod collection;
mod concurrency;
mod credentials;
mod database;
mod doctor;
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
mod pull_secret_sync;
mod pull_secrets;
mod raw;
mod repairs;
mod replicas;
mod rotation;
mod secrecy;
mod sharing;
#[path = "../support/mod.rs"]
mod support;
mod tenancy;
mod tls;
mod token_dances;
mod token_exchange;
mod tokens;
mod uploads;

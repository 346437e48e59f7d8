//! Berth: a self-hosted OCI registry whose credentials reach one team and no other.
//!
//! ARCHITECTURE.md has the map.

pub mod app;
pub mod audit;
pub mod auth;
pub mod checks;
pub mod clock;
pub mod collect;
pub mod config;
mod grammar;
pub mod http;
pub mod images;
pub mod listed;
pub mod metadata;
pub mod oci;
pub mod registry;
mod retries;
pub mod server;
pub mod shares;
pub mod telemetry;
pub mod tenancy;
pub mod tls;
pub mod turns;

//! Berth: a self-hosted OCI registry whose credentials reach one team and no other.
//!
//! ARCHITECTURE.md has the map.

pub mod clock;
pub mod config;
pub mod telemetry;

//! HTTP: the only place that names axum, headers and status codes. One file per resource.
//!
//! A request passes, from outside in: `fold` (the repository name becomes one segment), the route table of its door,
//! `track` (its id, its log line, its metrics), `strict` (whether it means one thing only), `access` (who calls, and
//! what that grants), the handler, one use-case. Handlers hold no rules.

mod access;
mod api;
mod blobs;
mod body;
mod conditions;
mod counted;
mod door;
mod error;
pub mod fold;
mod manifests;
mod ops;
mod query;
mod referrers;
mod respond;
mod routes;
mod strict;
mod tags;
mod token;
mod track;
mod transfers;
mod uploads;

use std::sync::Arc;

pub use body::Budgets;
pub use door::{Door, Peer, PublicUrl};
pub use routes::{DoorService, RouteRow, rows, service};

use crate::audit::Audit;
use crate::auth::Auth;
use crate::checks::Checks;
use crate::clock::Clock;
use crate::collect::Collector;
use crate::config::AddressRange;
use crate::images::Images;
use crate::metadata::Metadata;
use crate::registry::Registry;
use crate::shares::Shares;
use crate::telemetry::Metrics;
use crate::tenancy::Tenancy;
use crate::turns::Turns;

/// What the doors may take and say.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// How clients reach the public door, if it is not by the address they use.
    pub public_url: Option<PublicUrl>,
    /// How nodes reach the pull door.
    pub pull_url: Option<PublicUrl>,
    /// Proxies whose word on the client's address, host and scheme counts.
    pub trusted_proxies: Vec<AddressRange>,
    /// Whether the management API has a door of its own.
    pub api_has_own_door: bool,
    /// The largest manifest, in bytes.
    pub manifest_limit_bytes: usize,
    /// The largest JSON body, in bytes.
    pub json_limit_bytes: usize,
    /// Tags or repositories on one page at most.
    pub page_limit: u32,
    /// How long a body may be silent, in seconds.
    pub body_idle_seconds: u64,
    /// Doors whose clients are sent to the store for a blob, where it has an address for them.
    pub redirect_doors: Vec<Door>,
}

/// What every handler may use.
pub struct Http {
    /// The distribution API.
    pub registry: Registry,
    /// Images, shares, leases and deletions.
    pub images: Images,
    /// Accounts, workspaces and keys.
    pub tenancy: Tenancy,
    /// Who may do what.
    pub auth: Auth,
    /// Whether the storage has what the rows say.
    pub checks: Checks,
    /// What is told to the audit log beside the changes that tell it themselves.
    pub audit: Audit,
    /// What ends by itself.
    pub collector: Collector,
    /// For readiness and metrics alone.
    pub metadata: Metadata,
    /// For readiness alone.
    pub store: berth_storage::Store,
    /// Memory for the bodies of requests.
    pub bodies: Budgets,
    /// Blobs that are sent or received now, by the workspace that asked.
    pub transfers: Shares<String>,
    /// The turns of each workspace to change manifests.
    pub turns: Turns,
    /// One place for each manifest that is parsed in a thread of its own.
    pub parsing: tokio::sync::Semaphore,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// The clock.
    pub clock: Clock,
    /// Limits and URLs.
    pub options: HttpOptions,
}

/// The state of the routers.
pub type Shared = Arc<Http>;

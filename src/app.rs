//! The composition root: from a configuration to a running registry, and back to nothing in order.

mod backup;
mod database;
mod inspect;
mod offline;
mod store;

use std::fs::{File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::audit::Audit;
use crate::auth::{
    Auth, AuthOptions, Federation, FederationError, KeyLocation, SIGNING_KEYS_INTERVAL,
};
use crate::checks::Checks;
use crate::clock::{self, Clock};
use crate::collect::{Collector, CollectorParts};
use crate::config::{Config, DoorName};
use crate::http::{Budgets, Door, Http, HttpOptions, PublicUrl, service};
use crate::images::{ImageOptions, Images};
use crate::registry::{Registry, RegistryLimits};
use crate::server::{BoundDoor, ServerOptions, connections_that_fit, serve, transfers_that_fit};
use crate::shares::Shares;
use crate::telemetry::Metrics;
use crate::tenancy::{FirstStart, Tenancy};
use crate::tls::Certificates;
use crate::turns::Turns;
use store::open_store;

pub use backup::{BackupReport, backup};
pub use database::migrate;
pub use inspect::{StorageSeen, inspect_database, inspect_storage};
pub use offline::{reset_operator_keys, reset_signing_keys, rewrap_signing_keys};

/// The embedded database, in the data folder.
const DATABASE_FILE: &str = "berth.db";
/// The file whose lock says that a process owns the data folder.
const LOCK_FILE: &str = "berth.lock";
/// How often the last uses of keys are written down.
const RIGHTS_INTERVAL: Duration = Duration::from_secs(10);
/// How often a long upload says that it goes on, at the least.
const UPLOAD_HEARTBEAT: Duration = Duration::from_secs(30);
/// How often what is held for the audit log is written.
const AUDIT_INTERVAL: Duration = Duration::from_secs(5);
/// How often the audit log is searched for events that are old enough to go.
const AUDIT_RETENTION_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// How often pulls are written down.
const PULLS_INTERVAL: Duration = Duration::from_secs(5);
/// Large manifests that are parsed at one time: a hostile one takes some ten times its size in memory.
const PARSED_AT_ONCE: usize = 2;

/// A running registry. Dropping it leaves it running; [`Running::stop`] ends it.
pub struct Running {
    /// The doors and where they really listen.
    pub addresses: Vec<(Door, SocketAddr)>,
    /// What the first start made, if this was it.
    pub first_start: Option<FirstStart>,
    /// The shared state, for tests that look inside.
    pub http: Arc<Http>,
    certificates: Option<Arc<Certificates>>,
    tls_doors: Vec<Door>,
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    _owners: [File; 2],
}

impl Running {
    /// Where a door listens, if it is open.
    #[must_use]
    pub fn address(&self, door: Door) -> Option<SocketAddr> {
        self.addresses
            .iter()
            .find(|(open, _)| *open == door)
            .map(|(_, address)| *address)
    }

    /// The URL of a door as it listens, if it is open.
    #[must_use]
    pub fn url(&self, door: Door) -> Option<String> {
        let scheme = if self.tls_doors.contains(&door) {
            "https"
        } else {
            "http"
        };
        Some(format!("{scheme}://{}", self.address(door)?))
    }

    /// Looks at the files of the certificate now, if there is one.
    pub async fn reload_certificate(&self) {
        if let Some(certificates) = &self.certificates {
            certificates.reload().await;
        }
    }

    /// Takes no more connections, lets requests under way end, and closes the database.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(error = %error, "a task did not end in order");
            }
        }
        // Only now nobody pulls any more.
        flush_pulls(&self.http.images).await;
        if let Err(error) = self.http.audit.flush_all().await {
            tracing::error!(error = %error, "the last events of the audit log could not be written");
        }
        self.http.metadata.close().await;
    }
}

/// Starts everything a configuration asks for. When this returns, every door answers.
pub async fn start(config: &Config, clock: Clock) -> anyhow::Result<Running> {
    let metrics = Metrics::new()?;
    // First, since nothing has to be undone when the files are wrong.
    let certificates = Certificates::open(&config.tls, clock.clone(), metrics.clone())?;
    let data_dir = &config.server.data_dir;
    let owner = own(data_dir)?;
    let metadata = database::open(config, metrics.database_latency()).await?;
    let (store, blobs_owner) = open_store(config, &metadata).await?;
    let auth = Auth::open(
        auth_options(config, &clock)?,
        metadata.clone(),
        clock.clone(),
    )
    .await?;
    let tenancy = Tenancy::new(metadata.clone(), clock.clone());
    let first_start = tenancy.first_start(data_dir).await?;
    let registry = Registry::new(
        metadata.clone(),
        store.clone(),
        clock.clone(),
        registry_limits(config),
        metrics.storage_latency(),
    );
    let turns = Turns::default();
    let images = Images::new(
        metadata.clone(),
        clock.clone(),
        image_options(config),
        turns.clone(),
    );
    let collector = Collector::new(
        CollectorParts {
            registry: registry.clone(),
            images: images.clone(),
            metadata: metadata.clone(),
            store: store.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        },
        config,
    );
    collector
        .sweep()
        .await
        .context("what an earlier run left behind could not be swept")?;
    let checks = Checks::new(
        metadata.clone(),
        store.clone(),
        clock.clone(),
        clock::milliseconds(config.collection.object_delay_seconds),
    );
    let audit = Audit::new(metadata.clone(), clock.clone(), config.audit.retention_days);
    let http = Arc::new(Http {
        registry,
        images,
        tenancy,
        auth,
        checks,
        audit,
        collector: collector.clone(),
        metadata,
        store,
        bodies: Budgets::new(
            config.limits.buffered_bytes,
            config
                .limits
                .manifest_bytes
                .max(config.limits.json_body_bytes),
        ),
        transfers: transfers(config),
        turns,
        parsing: Semaphore::new(PARSED_AT_ONCE),
        metrics: metrics.clone(),
        clock,
        options: http_options(config),
    });
    let tls_doors = if certificates.is_some() {
        config.tls.doors.iter().copied().map(door_named).collect()
    } else {
        Vec::new()
    };
    let mut doors = Vec::new();
    let mut addresses = Vec::new();
    for (door, address) in wanted_doors(config) {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the {} door cannot listen on {address}", door.as_str()))?;
        addresses.push((door, listener.local_addr()?));
        let tls = certificates
            .as_ref()
            .filter(|_| tls_doors.contains(&door))
            .map(|certificates| certificates.acceptor());
        let bound = BoundDoor {
            door,
            listener,
            tls,
        };
        doors.push((bound, service(&http, door)));
    }
    let (stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(serve(
        doors,
        server_options(config, addresses.len()),
        metrics,
        stopping.clone(),
    ));
    let collecting = tokio::spawn(collector.run(stopping.clone()));
    let remembering = tokio::spawn(keep_rights(http.auth.clone(), stopping.clone()));
    let keeping_keys = tokio::spawn(keep_signing_keys(http.auth.clone(), stopping.clone()));
    let auditing = tokio::spawn(keep_audit(http.audit.clone(), stopping.clone()));
    let counting = tokio::spawn(http.images.clone().keep_counts(stopping.clone()));
    let noting_pulls = tokio::spawn(keep_pulls(http.images.clone(), stopping.clone()));
    let mut tasks = vec![
        serving,
        collecting,
        remembering,
        keeping_keys,
        counting,
        noting_pulls,
        auditing,
    ];
    if let Some(certificates) = &certificates {
        tasks.push(tokio::spawn(Arc::clone(certificates).watch(stopping)));
    }
    Ok(Running {
        addresses,
        first_start,
        http,
        certificates,
        tls_doors,
        stop,
        tasks,
        _owners: [owner, blobs_owner],
    })
}

/// Writes down when keys were last used and forgets revocations, pull secrets and tokens that ended, until `stop` says so.
async fn keep_rights(auth: Auth, mut stop: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(RIGHTS_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let stopped = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => true,
            _ = interval.tick() => false,
        };
        if let Err(error) = auth.flush_last_used().await {
            tracing::warn!(error = %error, "the last uses of keys could not be written down");
        }
        if stopped {
            return;
        }
        if let Err(error) = auth.purge_ended().await {
            tracing::warn!(error = %error, "ended revocations and pull secrets could not be forgotten");
        }
    }
}

/// Writes what is held for the audit log and removes what is old, until `stop` says so. The last of it is written after
/// the last request.
async fn keep_audit(audit: Audit, mut stop: watch::Receiver<bool>) {
    let interval = |period| {
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval
    };
    let mut flush = interval(AUDIT_INTERVAL);
    let mut retention = interval(AUDIT_RETENTION_INTERVAL);
    loop {
        let is_retention = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = flush.tick() => false,
            _ = retention.tick() => true,
        };
        if !is_retention {
            if let Err(error) = audit.flush().await {
                tracing::warn!(error = %error, "events of the audit log could not be written; later again");
            }
            continue;
        }
        match audit.remove_old().await {
            // What waits to be written has its turn in between.
            Ok(true) => retention.reset_immediately(),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(error = %error, "old events of the audit log could not be removed; later again");
            }
        }
    }
}

/// Writes down what was pulled, until `stop` says so.
async fn keep_pulls(images: Images, mut stop: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(PULLS_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = interval.tick() => {}
        }
        flush_pulls(&images).await;
    }
}

async fn flush_pulls(images: &Images) {
    if let Err(error) = images.flush_pulls().await {
        tracing::warn!(error = %error, "some pulls could not be written down");
    }
}

/// Rotates the signing keys in time, and takes over what other servers did to them, until `stop` says so.
async fn keep_signing_keys(auth: Auth, mut stop: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(SIGNING_KEYS_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut works = true;
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = interval.tick() => {}
        }
        let result = auth.keep_signing_keys().await;
        if let Err(error) = &result
            && works
        {
            // Once, and not every other second until it works again.
            tracing::error!(error = %error, "the signing keys cannot be looked after");
        }
        works = result.is_ok();
    }
}

/// Makes the data folder and locks it: two processes on one folder would not know of each other's changes.
fn own(data_dir: &Path) -> anyhow::Result<File> {
    make_private_folder(data_dir)
        .with_context(|| format!("the data folder {} cannot be made", data_dir.display()))?;
    let path = data_dir.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("{} cannot be opened", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => anyhow::bail!(
            "another berth owns {}: stop it first, or name another folder; servers that share a database keep their \
             blobs in a bucket, never in one folder",
            data_dir.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

fn make_private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn wanted_doors(config: &Config) -> Vec<(Door, SocketAddr)> {
    let server = &config.server;
    let mut doors = vec![(Door::Public, server.public_listen)];
    doors.extend(server.pull_listen.map(|address| (Door::Pull, address)));
    doors.extend(server.api_listen.map(|address| (Door::Api, address)));
    doors.push((Door::Ops, server.ops_listen));
    doors
}

/// Of the blobs under way, one workspace may have three quarters: the rest is for the others.
fn transfers(config: &Config) -> Shares<String> {
    let all = transfers_that_fit(config.limits.open_transfers);
    Shares::new(all, (all * 3 / 4).max(1))
}

fn door_named(name: DoorName) -> Door {
    match name {
        DoorName::Public => Door::Public,
        DoorName::Pull => Door::Pull,
        DoorName::Api => Door::Api,
        DoorName::Ops => Door::Ops,
    }
}

fn auth_options(config: &Config, clock: &Clock) -> Result<AuthOptions, FederationError> {
    let auth = &config.auth;
    Ok(AuthOptions {
        service_name: auth.service_name.clone(),
        credential_default_seconds: auth.credential_default_seconds,
        credential_max_seconds: auth.credential_max_seconds,
        access_token_seconds: auth.access_token_seconds,
        api_keys_as_passwords: auth.api_keys_as_passwords,
        auth_failures_per_minute: config.limits.auth_failures_per_minute,
        credentials_per_minute: config.limits.credentials_per_minute,
        tokens_per_minute: config.limits.tokens_per_minute,
        exchanges_per_minute: config.limits.exchanges_per_minute,
        token_cache_entries: auth.token_cache_entries,
        federation: Federation::open(&auth.issuers, clock)?,
        keys: KeyLocation::of(config),
        signing_key_rotation_seconds: auth.signing_key_rotation_seconds,
    })
}

fn registry_limits(config: &Config) -> RegistryLimits {
    RegistryLimits {
        open_uploads_per_workspace: config.limits.open_uploads_per_workspace,
        rehash_bytes: config.limits.rehash_bytes,
        tag_parameters: config.limits.tag_parameters,
        // Often enough that a session under way is far from ending, even if some beats are lost.
        heartbeat: Duration::from_secs(config.limits.upload_idle_seconds / 4)
            .clamp(Duration::from_secs(1), UPLOAD_HEARTBEAT),
    }
}

fn image_options(config: &Config) -> ImageOptions {
    let images = &config.images;
    ImageOptions {
        undo_window_ms: clock::milliseconds(config.collection.undo_window_seconds),
        object_delay_ms: clock::milliseconds(config.collection.object_delay_seconds),
        pending_share_ms: clock::milliseconds(images.pending_share_seconds),
        shared_untagged_ms: clock::milliseconds(images.shared_untagged_seconds),
        lease_max_ms: clock::milliseconds(images.lease_max_seconds),
        leases_per_workspace: images.leases_per_workspace,
        shares_per_workspace: images.shares_per_workspace,
        admins_may_publish: images.admins_may_publish,
        external_images: images.external_images.clone(),
    }
}

fn http_options(config: &Config) -> HttpOptions {
    HttpOptions {
        public_url: config.server.public_url.as_ref().map(PublicUrl::from),
        pull_url: config.server.pull_url.as_ref().map(PublicUrl::from),
        trusted_proxies: config.server.trusted_proxies.clone(),
        api_has_own_door: config.server.api_listen.is_some(),
        manifest_limit_bytes: config.limits.manifest_bytes,
        json_limit_bytes: config.limits.json_body_bytes,
        page_limit: config.limits.page,
        body_idle_seconds: config.server.body_idle_timeout_seconds,
        redirect_doors: redirect_doors(config),
    }
}

/// Where blobs are not sent but redirected to: nowhere unless they are in a bucket.
fn redirect_doors(config: &Config) -> Vec<Door> {
    let s3 = &config.storage.s3;
    s3.redirect_doors.iter().copied().map(door_named).collect()
}

fn server_options(config: &Config, doors: usize) -> ServerOptions {
    let server = &config.server;
    ServerOptions {
        max_connections: connections_that_fit(
            server.max_connections,
            doors,
            config.database.max_connections,
        ),
        handshake: Duration::from_secs(config.tls.handshake_timeout_seconds),
        max_connections_per_address: server.max_connections_per_address,
        trusted_proxies: server.trusted_proxies.clone(),
        header_read_timeout: Duration::from_secs(server.header_read_timeout_seconds),
        header_limit_bytes: server.header_limit_bytes,
        response_idle: Duration::from_secs(server.response_idle_timeout_seconds),
        drain: Duration::from_secs(server.drain_seconds),
    }
}

//! What the registry knows, in SQL: the only place that names sqlx.
//!
//! One set of statements runs on SQLite and PostgreSQL (see `database`). Reads go through `memory` where the answer
//! may be remembered; changes go through a [`Transaction`]. This module knows rows and their rules, not who may change
//! them, and no HTTP.

mod accounts;
mod api_keys;
mod audit;
mod blobs;
mod changes;
mod checks;
mod collection;
mod collection_report;
mod counts;
mod credentials;
mod database;
mod deletions;
mod dialect;
mod error;
mod fresh_uploads;
mod images;
mod inspection;
mod leases;
mod manifests;
mod memory;
mod postgres;
mod pull_secrets;
mod pulls;
mod repositories;
mod retention;
mod schema;
mod shares;
mod signing_keys;
mod snapshot;
mod tag_rows;
mod tags;
mod uploads;
mod usage;
mod used_tokens;
mod workspaces;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub use accounts::Account;
pub use api_keys::{ApiKey, NewApiKey};
pub use audit::{AuditEvent, AuditOutcome, NewAuditEvent};
pub use blobs::{LinkedBlob, NewBlob, StoredBlob};
pub use changes::Changed;
pub use checks::{CheckedBlob, ObjectRow, ObjectState};
pub use collection::{CollectedLinks, DoomedObject, LinkTimes, ReleasedBlobs};
pub use collection_report::{HoldTimes, Holding, KeptRow, QueueLength, Waiting, WaitingRow};
pub use counts::{ImageCount, WorkspaceCount};
pub use database::Transaction;
pub use deletions::{Deletion, DeletionKind, NewDeletion};
pub use error::MetadataError;
pub use images::{ImageFilter, ImageRow, ImageSettings, NamePage};
pub use inspection::Inspection;
pub use leases::{Lease, LeaseFilter, LeaseHolder, NewLease};
pub use manifests::{ManifestRow, NewManifest, ReferrerRow};
pub use memory::MemoryCount;
pub use pull_secrets::{NewPullSecret, PullSecret};
pub use pulls::{EgressRow, PullRow};
pub use repositories::{Lock, Repository, RepositoryId};
pub use retention::{
    DanglingReferrer, RetainedImage, RetainedTag, RetentionRun, StoredPolicies, UntaggedManifest,
};
pub use schema::Migrated;
pub use shares::{Direction, NewShare, Party, Share, ShareStatus};
pub use signing_keys::SigningKeyRow;
pub use snapshot::{Snapshot, SnapshotBlob};
pub use tag_rows::{ManifestFacts, TagPage, TagRow, TagTarget};
pub use tags::TagChange;
pub use uploads::{TakenUpload, UploadRow, UploadState};
pub use usage::UsageRow;
pub use workspaces::{NewWorkspace, Workspace, WorkspaceSettings};

use uuid::Uuid;

use crate::config::{Config, DatabaseLocation};
use crate::telemetry::DatabaseLatency;
use database::{Database, ReadCount, Reader};
use memory::{Memory, Ownership, Table};

/// How the database is reached, and how much of it is remembered.
#[derive(Clone, Debug)]
pub struct MetadataOptions {
    /// Which database.
    pub location: DatabaseLocation,
    /// Connections that are kept even if nobody uses them, of PostgreSQL.
    pub min_connections: u32,
    /// Connections in the pool at most.
    pub max_connections: u32,
    /// How long a request waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a connection to PostgreSQL may be without use.
    pub idle_timeout: Duration,
    /// How old a connection to PostgreSQL may become.
    pub max_lifetime: Duration,
    /// How long a statement may take on PostgreSQL.
    pub statement_timeout: Duration,
    /// How long a statement may wait for a lock on PostgreSQL.
    pub lock_timeout: Duration,
    /// How long PostgreSQL keeps the locks of a change whose server says nothing more.
    pub idle_transaction_timeout: Duration,
    /// Whether PostgreSQL keeps statements for a connection: not behind a pooler that lends servers by transaction.
    pub statement_cache: bool,
    /// Whether the schema is brought up to date, else it is only looked at.
    pub migrate: bool,
    /// Rows remembered at most, of each kind.
    pub memory_entries: u64,
    /// Bytes of manifests remembered at most.
    pub memory_bytes: u64,
    /// What its times are measured with.
    pub latency: DatabaseLatency,
}

impl MetadataOptions {
    /// What a configuration says.
    #[must_use]
    pub fn of(config: &Config, latency: DatabaseLatency) -> Self {
        let database = &config.database;
        Self {
            location: config.database_location(),
            min_connections: database.min_connections,
            max_connections: database.max_connections,
            acquire_timeout: Duration::from_secs(database.acquire_timeout_seconds),
            idle_timeout: Duration::from_secs(database.idle_timeout_seconds),
            max_lifetime: Duration::from_secs(database.max_lifetime_seconds),
            statement_timeout: Duration::from_secs(database.statement_timeout_seconds),
            lock_timeout: Duration::from_secs(database.lock_timeout_seconds),
            idle_transaction_timeout: Duration::from_secs(
                database.idle_transaction_timeout_seconds,
            ),
            statement_cache: database.statement_cache,
            migrate: database.migrate,
            memory_entries: database.cache_entries,
            memory_bytes: database.cache_bytes,
            latency,
        }
    }
}

/// The database, and what is remembered of it. Cheap to clone.
#[derive(Clone)]
pub struct Metadata {
    database: Database,
    memory: Arc<Memory>,
    contents: manifests::Contents,
    fresh_uploads: fresh_uploads::FreshUploads,
    reads: Arc<ReadCount>,
    upload_rows_written: Arc<AtomicU64>,
    latency: DatabaseLatency,
    installation_id: Uuid,
}

impl Metadata {
    /// Brings the schema of a database up to date, and does nothing else with it.
    pub async fn migrate(options: &MetadataOptions) -> Result<Migrated, MetadataError> {
        Database::migrate(options).await
    }

    /// Connects, brings the schema up to date, and checks that the database keeps what it is given.
    pub async fn open(options: &MetadataOptions) -> Result<Self, MetadataError> {
        let ownership = match options.location {
            DatabaseLocation::Sqlite(_) => Ownership::Sole,
            DatabaseLocation::Postgres(_) => Ownership::Shared,
        };
        let memory = Arc::new(Memory::new(ownership, options.memory_entries));
        let database = Database::open(options, &memory).await?;
        database.ready(&options.latency.read).await?;
        let installation_id = database.installation_id(&options.latency.read).await?;
        Ok(Self {
            database,
            memory,
            contents: manifests::Contents::new(options.memory_bytes),
            fresh_uploads: fresh_uploads::FreshUploads::new(ownership),
            reads: Arc::default(),
            upload_rows_written: Arc::default(),
            latency: options.latency.clone(),
            installation_id,
        })
    }

    /// What tells this installation from every other one: made with its database, and carried on by its backups.
    #[must_use]
    pub fn installation_id(&self) -> Uuid {
        self.installation_id
    }

    /// Whether other servers may change the same database.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        match &self.database {
            Database::Sqlite { .. } => false,
            Database::Postgres { .. } => true,
        }
    }

    /// Starts a change.
    pub async fn begin(&self) -> Result<Transaction, MetadataError> {
        let waiting = self.latency.wait.start();
        let transaction = self.database.begin(&self.latency.change).await;
        drop(waiting);
        transaction
    }

    /// Begins what asks as a change would, and changes nothing.
    pub async fn look(&self) -> Result<Transaction, MetadataError> {
        let waiting = self.latency.wait.start();
        let look = self.database.look(&self.latency.read).await;
        drop(waiting);
        look
    }

    /// Whether the database answers, and keeps what it says it keeps.
    pub async fn ready(&self) -> Result<(), MetadataError> {
        self.database.ready(&self.latency.read).await
    }

    /// Ends in order: waits for the changes under way.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Times a read asked the database since the start: what the hot path must not do.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Hits and misses of the memory.
    #[must_use]
    pub fn memory_counts(&self) -> Vec<MemoryCount> {
        self.memory.counts()
    }

    /// Changes waiting for the writer of the embedded database.
    #[must_use]
    pub fn writer_queue_length(&self) -> usize {
        match &self.database {
            Database::Sqlite { writer, .. } => writer.waiting(),
            Database::Postgres { .. } => 0,
        }
    }

    async fn read(&self) -> Result<Reader, MetadataError> {
        self.reads.increment();
        self.read_aside().await
    }

    /// A read that no request waits for, so that it is none of those that [`Metadata::reads`] counts.
    async fn read_aside(&self) -> Result<Reader, MetadataError> {
        let waiting = self.latency.wait.start();
        let reader = self.database.read(&self.latency.read).await;
        drop(waiting);
        reader
    }

    /// Answers from `table`, or asks the database and remembers what it found.
    async fn remembered<K, V>(
        &self,
        table: &Table<K, V>,
        key: K,
        load: impl AsyncFnOnce(&mut Reader, &K) -> Result<Option<V>, MetadataError>,
    ) -> Result<Option<V>, MetadataError>
    where
        K: std::hash::Hash + Eq + Send + Sync + Clone + 'static,
        V: Clone + Send + Sync + 'static,
    {
        if let Some(value) = table.get(&key) {
            return Ok(Some(value));
        }
        // The rare way has a place of its own: within the future of each request, its statements would be kilobytes
        // that are moved about and never used.
        Box::pin(self.loaded(table, key, load)).await
    }

    async fn loaded<K, V>(
        &self,
        table: &Table<K, V>,
        key: K,
        load: impl AsyncFnOnce(&mut Reader, &K) -> Result<Option<V>, MetadataError>,
    ) -> Result<Option<V>, MetadataError>
    where
        K: std::hash::Hash + Eq + Send + Sync + Clone + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let ticket = table.ticket(&key);
        let mut reader = self.read().await?;
        let loaded = load(&mut reader, &key).await?;
        if let Some(value) = &loaded {
            table.fill(&ticket, key, value.clone());
        }
        Ok(loaded)
    }
}

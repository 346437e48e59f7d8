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
mod counts;
mod credentials;
mod database;
mod deletions;
mod dialect;
mod error;
mod fresh_uploads;
mod images;
mod leases;
mod manifests;
mod memory;
mod pulls;
mod repositories;
mod shares;
mod signing_keys;
mod tag_rows;
mod tags;
mod uploads;
mod usage;
mod workspaces;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub use accounts::Account;
pub use api_keys::{ApiKey, NewApiKey};
pub use audit::{AuditEvent, AuditOutcome, NewAuditEvent};
pub use blobs::{DoomedObject, LinkedBlob, NewBlob};
pub use changes::Changed;
pub use counts::{ImageCount, WorkspaceCount};
pub use database::Transaction;
pub use deletions::{Deletion, DeletionKind, NewDeletion};
pub use error::MetadataError;
pub use images::{ImageFilter, ImageRow, ImageSettings, NamePage};
pub use leases::{Lease, LeaseFilter, LeaseHolder, NewLease};
pub use manifests::{ManifestRow, NewManifest, ReferrerRow};
pub use memory::MemoryCount;
pub use pulls::{EgressRow, PullRow};
pub use repositories::{Lock, Repository, RepositoryId};
pub use shares::{Direction, NewShare, Party, Share, ShareStatus};
pub use signing_keys::SigningKeyRow;
pub use tag_rows::{ManifestFacts, TagPage, TagRow, TagTarget};
pub use tags::TagChange;
pub use uploads::{TakenUpload, UploadRow, UploadState};
pub use usage::UsageRow;
pub use workspaces::{NewWorkspace, Workspace, WorkspaceSettings};

use crate::config::DatabaseLocation;
use crate::telemetry::DatabaseLatency;
use database::{Database, ReadCount, Reader};
use memory::{Memory, Ownership, Table};

/// How the database is reached, and how much of it is remembered.
#[derive(Clone, Debug)]
pub struct MetadataOptions {
    /// Which database.
    pub location: DatabaseLocation,
    /// Connections in the pool at most.
    pub max_connections: u32,
    /// How long a request waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a statement may take on PostgreSQL.
    pub statement_timeout: Duration,
    /// Rows remembered at most, of each kind.
    pub memory_entries: u64,
    /// Bytes of manifests remembered at most.
    pub memory_bytes: u64,
    /// What its times are measured with.
    pub latency: DatabaseLatency,
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
}

impl Metadata {
    /// Connects, brings the schema up to date, and checks that the database keeps what it is given.
    pub async fn open(options: &MetadataOptions) -> Result<Self, MetadataError> {
        let ownership = match options.location {
            DatabaseLocation::Sqlite(_) => Ownership::Sole,
            DatabaseLocation::Postgres(_) => Ownership::Shared,
        };
        let memory = Arc::new(Memory::new(ownership, options.memory_entries));
        let database = Database::open(options, &memory).await?;
        database.ready(&options.latency.read).await?;
        Ok(Self {
            database,
            memory,
            contents: manifests::Contents::new(options.memory_bytes),
            fresh_uploads: fresh_uploads::FreshUploads::new(ownership),
            reads: Arc::default(),
            upload_rows_written: Arc::default(),
            latency: options.latency.clone(),
        })
    }

    /// Starts a change.
    pub async fn begin(&self) -> Result<Transaction, MetadataError> {
        let waiting = self.latency.wait.start();
        let transaction = self.database.begin(&self.latency.change).await;
        drop(waiting);
        transaction
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

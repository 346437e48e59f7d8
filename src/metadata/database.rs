//! The two databases behind one set of statements: connecting, reading, and the one transaction type.
//!
//! Each statement is written once, with `$1` placeholders, and runs on the concrete driver by [`on!`]. sqlx's `Any`
//! driver is not used: it cannot bind some types and rewrites none of the placeholders.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Sqlite, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::MetadataOptions;
use super::error::MetadataError;
use super::memory::{Mark, Memory};
use super::postgres::{Lent, PostgresPool, PostgresReader, PostgresTransaction};
use super::schema::{self, Migrated};
use super::writer::{Turn, Writer};
use crate::clock::Millis;
use crate::config::DatabaseLocation;
use crate::telemetry::{Latency, Timing};

/// Pages (of 4 KiB) after which SQLite checkpoints inside a commit, should the checkpoint task fall behind.
const WAL_AUTOCHECKPOINT_PAGES: &str = "16384";
/// How often the log of the embedded database is moved into its file, outside of any commit.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);

/// Runs one expression on whichever driver a [`Connection`] holds.
macro_rules! on {
    ($source:expr, $connection:ident => $expression:expr) => {
        match $source {
            $crate::metadata::database::Connection::Sqlite($connection) => $expression,
            $crate::metadata::database::Connection::Postgres($connection) => $expression,
        }
    };
}
pub(super) use on;

/// One connection, lent for one statement.
pub(super) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(Lent<'c>),
}

impl Connection<'_> {
    /// The same for the next statement.
    pub(super) fn again(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(connection) => Connection::Sqlite(connection),
            Self::Postgres(lent) => Connection::Postgres(lent.again()),
        }
    }
}

/// A connection that only reads. It must never be held across a client's reads or writes.
pub(super) struct Reader {
    connection: Pooled,
    _timing: Timing,
}

enum Pooled {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PostgresReader),
}

impl Reader {
    pub(super) fn connection(&mut self) -> Connection<'_> {
        match &mut self.connection {
            Pooled::Sqlite(connection) => Connection::Sqlite(connection),
            Pooled::Postgres(reader) => Connection::Postgres(reader.lent()),
        }
    }
}

/// The pools, and for SQLite the one writer.
#[derive(Clone)]
pub(super) enum Database {
    Sqlite {
        readers: SqlitePool,
        writer: Writer,
    },
    Postgres {
        pool: Arc<PostgresPool>,
        memory: Arc<Memory>,
    },
}

impl Database {
    /// Connects, and brings the schema up to date, or only looks at it, as the options say.
    pub(super) async fn open(
        options: &MetadataOptions,
        memory: &Arc<Memory>,
    ) -> Result<Self, MetadataError> {
        match &options.location {
            DatabaseLocation::Sqlite(path) => {
                let mut connection = sqlite_writer(path, options).await?;
                if options.migrate {
                    noted(&migrate_sqlite(&mut connection).await?);
                } else {
                    schema::expect(&mut Connection::Sqlite(&mut connection)).await?;
                }
                let readers = SqlitePoolOptions::new()
                    .max_connections(options.max_connections)
                    .acquire_timeout(options.acquire_timeout)
                    .test_before_acquire(false)
                    .connect_with(sqlite_options(path, options).pragma("query_only", "1"))
                    .await?;
                tokio::spawn(checkpoint(readers.clone()));
                Ok(Self::Sqlite {
                    readers,
                    writer: Writer::start(connection, Arc::clone(memory)),
                })
            }
            DatabaseLocation::Postgres(url) => {
                let pool = PostgresPool::connect(url.expose(), options).await?;
                if options.migrate {
                    noted(&pool.migrate().await?);
                } else {
                    let mut reader = pool.read().await?;
                    schema::expect(&mut Connection::Postgres(reader.lent())).await?;
                }
                Ok(Self::Postgres {
                    pool: Arc::new(pool),
                    memory: Arc::clone(memory),
                })
            }
        }
    }

    /// Brings the schema of a database up to date, and does nothing else with it.
    pub(super) async fn migrate(options: &MetadataOptions) -> Result<Migrated, MetadataError> {
        match &options.location {
            DatabaseLocation::Sqlite(path) => {
                let mut connection = sqlite_writer(path, options).await?;
                let migrated = migrate_sqlite(&mut connection).await;
                drop(connection);
                migrated
            }
            DatabaseLocation::Postgres(url) => {
                let pool = PostgresPool::connect(url.expose(), options).await?;
                let migrated = pool.migrate().await;
                pool.close().await;
                migrated
            }
        }
    }

    pub(super) async fn installation_id(&self, latency: &Latency) -> Result<Uuid, MetadataError> {
        schema::installation_id(self.read(latency).await?.connection()).await
    }

    pub(super) async fn read(&self, latency: &Latency) -> Result<Reader, MetadataError> {
        // What may have to connect first waits on the heap: within the futures of requests it would be a hundred
        // kilobytes.
        let connection = match self {
            Self::Sqlite { readers, .. } => Pooled::Sqlite(match readers.try_acquire() {
                Some(connection) => connection,
                None => Box::pin(readers.acquire()).await?,
            }),
            Self::Postgres { pool, .. } => Pooled::Postgres(Box::pin(pool.read()).await?),
        };
        Ok(Reader {
            connection,
            _timing: latency.start(),
        })
    }

    pub(super) async fn begin(&self, latency: &Latency) -> Result<Transaction, MetadataError> {
        let kind = match self {
            Self::Sqlite { writer, .. } => TransactionKind::Sqlite(writer.turn().await?),
            Self::Postgres { pool, memory } => {
                TransactionKind::Postgres(Box::pin(pool.begin()).await?, Arc::clone(memory))
            }
        };
        Ok(Transaction {
            kind,
            marks: Vec::new(),
            _timing: latency.start(),
        })
    }

    /// What begins like a change and only reads: on SQLite it takes nobody the writer's turn.
    pub(super) async fn look(&self, latency: &Latency) -> Result<Transaction, MetadataError> {
        let kind = match self {
            Self::Sqlite { readers, .. } => TransactionKind::SqliteReader(readers.acquire().await?),
            Self::Postgres { .. } => return self.begin(latency).await,
        };
        Ok(Transaction {
            kind,
            marks: Vec::new(),
            _timing: latency.start(),
        })
    }

    /// Whether the database answers, keeps what it says it keeps, and has a schema that this server may use.
    pub(super) async fn ready(&self, latency: &Latency) -> Result<(), MetadataError> {
        let mut reader = self.read(latency).await?;
        schema::check(&mut reader.connection()).await?;
        match (self, &mut reader.connection) {
            // Taking a turn and giving it back says that changes are taken.
            (Self::Sqlite { writer, .. }, _) => drop(writer.turn().await?),
            (_, Pooled::Postgres(reader)) => reader.check_settings().await?,
            (Self::Postgres { .. }, Pooled::Sqlite(_)) => {}
        }
        Ok(())
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { readers, writer } => {
                writer.stop().await;
                readers.close().await;
            }
            Self::Postgres { pool, .. } => pool.close().await,
        }
    }
}

fn sqlite_options(path: &Path, options: &MetadataOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)
        .busy_timeout(options.acquire_timeout)
}

/// The one connection that changes the embedded database.
async fn sqlite_writer(
    path: &Path,
    options: &MetadataOptions,
) -> Result<PoolConnection<Sqlite>, MetadataError> {
    make_private(path)?;
    let writers = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(sqlite_options(path, options))
        .await?;
    Ok(writers.acquire().await?)
}

async fn migrate_sqlite(connection: &mut SqliteConnection) -> Result<Migrated, MetadataError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let migrated = schema::migrate(&mut Connection::Sqlite(&mut transaction)).await?;
    transaction.commit().await?;
    Ok(migrated)
}

/// Notes that the schema has changed.
fn noted(migrated: &Migrated) {
    for migration in &migrated.applied {
        tracing::info!(migration, "the schema was brought up to date");
    }
}

/// Makes the database file readable by its owner alone; SQLite gives its log the same mode.
pub(super) fn make_private(path: &Path) -> Result<(), MetadataError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(MetadataError::Unavailable(sqlx::Error::Io(error))),
    }
}

/// Moves SQLite's log into the database file, so that no commit has to.
async fn checkpoint(readers: SqlitePool) {
    let mut interval = tokio::time::interval(CHECKPOINT_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !readers.is_closed() {
        interval.tick().await;
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
            .execute(&readers)
            .await
            && !readers.is_closed()
        {
            tracing::warn!(error = %error, "the log of the database could not be moved into its file");
        }
    }
}

enum TransactionKind {
    Sqlite(Turn),
    /// A reader's connection, on which SQLite refuses changes.
    SqliteReader(PoolConnection<Sqlite>),
    Postgres(PostgresTransaction, Arc<Memory>),
}

/// A change that is kept whole or not at all. Dropping it undoes it.
pub struct Transaction {
    kind: TransactionKind,
    marks: Vec<Mark>,
    _timing: Timing,
}

impl Transaction {
    pub(super) fn connection(&mut self) -> Connection<'_> {
        match &mut self.kind {
            TransactionKind::Sqlite(turn) => Connection::Sqlite(turn.connection()),
            TransactionKind::SqliteReader(reader) => Connection::Sqlite(reader),
            TransactionKind::Postgres(transaction, _) => Connection::Postgres(transaction.lent()),
        }
    }

    /// Runs a statement that deletes rows which were over at a time (`$1`), at most so many (`$2`); how many it did.
    pub(super) async fn delete_ended(
        &mut self,
        statement: &'static str,
        at: Millis,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        Ok(on!(self.connection(), c => sqlx::query(statement)
            .bind(at.0)
            .bind(i64::from(limit))
            .execute(c)
            .await
            .map(|done| done.rows_affected()))?)
    }

    /// Whether others may change the database beside this change. On SQLite nobody can.
    pub(super) fn is_shared(&self) -> bool {
        match &self.kind {
            TransactionKind::Sqlite(_) | TransactionKind::SqliteReader(_) => false,
            TransactionKind::Postgres(..) => true,
        }
    }

    /// Notes what the memory must forget when this change is committed.
    pub(super) fn mark(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    /// Commits with full sync. When this returns, the change is on disk and every later read sees it.
    pub async fn commit(self) -> Result<(), MetadataError> {
        match self.kind {
            TransactionKind::Sqlite(turn) => turn.commit(self.marks).await,
            // Nothing can have been changed.
            TransactionKind::SqliteReader(_) => Ok(()),
            TransactionKind::Postgres(transaction, memory) => {
                // Other processes may go on for a moment with what they remember; this one may not. As in the writer
                // of SQLite: before, so that an unknown outcome leaves nothing old, and after, for readers that raced.
                memory.forget(&self.marks);
                let committed = transaction.commit().await;
                memory.forget_and_note(&self.marks);
                committed
            }
        }
    }
}

/// Counts the statements of the read path, so that a test can say that there are none.
#[derive(Default)]
pub(super) struct ReadCount(AtomicU64);

impl ReadCount {
    pub(super) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

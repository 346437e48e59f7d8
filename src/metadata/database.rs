//! The two databases behind one set of statements: connecting, reading, and the one transaction type.
//!
//! Each statement is written once, with `$1` placeholders, and runs on the concrete driver by [`on!`]. sqlx's `Any`
//! driver is not used: it cannot bind some types and rewrites none of the placeholders.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool};

use super::MetadataOptions;
use super::error::MetadataError;
use super::memory::{Mark, Memory};
use super::writer::{Turn, Writer};
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
    Postgres(&'c mut PgConnection),
}

/// A connection that only reads. It must never be held across a client's reads or writes.
pub(super) struct Reader {
    connection: Pooled,
    _timing: Timing,
}

enum Pooled {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Reader {
    pub(super) fn connection(&mut self) -> Connection<'_> {
        match &mut self.connection {
            Pooled::Sqlite(connection) => Connection::Sqlite(connection),
            Pooled::Postgres(connection) => Connection::Postgres(connection),
        }
    }
}

/// The pools, and for SQLite the one writer.
#[derive(Clone)]
pub(super) enum Database {
    Sqlite { readers: SqlitePool, writer: Writer },
    Postgres { pool: PgPool, memory: Arc<Memory> },
}

impl Database {
    /// Connects and brings the schema up to date.
    pub(super) async fn open(
        options: &MetadataOptions,
        memory: &Arc<Memory>,
    ) -> Result<Self, MetadataError> {
        match &options.location {
            DatabaseLocation::Sqlite(path) => Self::open_sqlite(path, options, memory).await,
            DatabaseLocation::Postgres(url) => {
                Self::open_postgres(url.expose(), options, memory).await
            }
        }
    }

    async fn open_sqlite(
        path: &Path,
        options: &MetadataOptions,
        memory: &Arc<Memory>,
    ) -> Result<Self, MetadataError> {
        let limits = options;
        make_private(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)
            .busy_timeout(limits.acquire_timeout);
        let writers = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("migrations/sqlite")
            .run(&writers)
            .await
            .map_err(MetadataError::Migrate)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(limits.max_connections)
            .acquire_timeout(limits.acquire_timeout)
            .test_before_acquire(false)
            .connect_with(options.pragma("query_only", "1"))
            .await?;
        let connection = writers.acquire().await?;
        tokio::spawn(checkpoint(readers.clone()));
        Ok(Self::Sqlite {
            readers,
            writer: Writer::start(connection, Arc::clone(memory)),
        })
    }

    async fn open_postgres(
        url: &str,
        limits: &MetadataOptions,
        memory: &Arc<Memory>,
    ) -> Result<Self, MetadataError> {
        let timeout = format!("{}ms", limits.statement_timeout.as_millis());
        let options = PgConnectOptions::from_str(url)?
            .application_name("berth")
            .options([("statement_timeout", timeout.as_str())]);
        let pool = PgPoolOptions::new()
            .max_connections(limits.max_connections)
            .acquire_timeout(limits.acquire_timeout)
            .connect_with(options)
            .await?;
        sqlx::migrate!("migrations/postgres")
            .run(&pool)
            .await
            .map_err(MetadataError::Migrate)?;
        Ok(Self::Postgres {
            pool,
            memory: Arc::clone(memory),
        })
    }

    pub(super) async fn read(&self, latency: &Latency) -> Result<Reader, MetadataError> {
        // What may have to connect first waits on the heap: within the futures of requests it would be a hundred
        // kilobytes.
        let connection = match self {
            Self::Sqlite { readers, .. } => Pooled::Sqlite(match readers.try_acquire() {
                Some(connection) => connection,
                None => Box::pin(readers.acquire()).await?,
            }),
            Self::Postgres { pool, .. } => Pooled::Postgres(Box::pin(pool.acquire()).await?),
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

    /// Whether the database answers, and keeps what it says it keeps.
    pub(super) async fn ready(&self, latency: &Latency) -> Result<(), MetadataError> {
        let mut reader = self.read(latency).await?;
        on!(reader.connection(), c => sqlx::query("SELECT 1").execute(c).await.map(|_| ()))?;
        if let Self::Sqlite { writer, .. } = self {
            // Taking a turn and giving it back says that changes are taken.
            drop(writer.turn().await?);
        }
        if let Pooled::Postgres(connection) = &mut reader.connection {
            for setting in ["fsync", "synchronous_commit"] {
                let value: String = sqlx::query_scalar("SELECT current_setting($1)")
                    .bind(setting)
                    .fetch_one(&mut **connection)
                    .await?;
                if value == "off" {
                    return Err(MetadataError::Refused(format!(
                        "PostgreSQL has {setting} off: a push that was answered 201 would not survive a power loss; set it to on"
                    )));
                }
            }
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

/// Makes the database file readable by its owner alone; SQLite gives its log the same mode.
fn make_private(path: &Path) -> Result<(), MetadataError> {
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
    Postgres(sqlx::Transaction<'static, Postgres>, Arc<Memory>),
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
            TransactionKind::Postgres(transaction, _) => Connection::Postgres(transaction),
        }
    }

    /// Whether others may change the database beside this change. On SQLite nobody can.
    pub(super) fn is_shared(&self) -> bool {
        match &self.kind {
            TransactionKind::Sqlite(_) => false,
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
            TransactionKind::Postgres(transaction, memory) => {
                // Other processes may go on for a moment with what they remember; this one may not. As in the writer
                // of SQLite: before, so that an unknown outcome leaves nothing old, and after, for readers that raced.
                memory.forget(&self.marks);
                let committed = transaction.commit().await;
                memory.forget_and_note(&self.marks);
                Ok(committed?)
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

//! PostgreSQL: how it is connected to, directly or through a pooler, and what bounds each wait for it.
//!
//! The server ends what takes too long, where it can be asked to; a server that hangs, or a network that lost it, is
//! given up on this side. Whatever was not answered is `Unavailable`, and its connection is closed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use sqlx::error::BoxDynError;
use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use sqlx::postgres::{
    PgArguments, PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo,
};
use sqlx::{
    AssertSqlSafe, Connection as _, Either, Error, Execute, Executor, PgConnection, PgPool,
    Postgres, SqlSafeStr as _, SqlStr,
};

use super::MetadataOptions;
use super::database::Connection;
use super::error::MetadataError;
use super::schema::{self, MIGRATION_LOCK, Migrated};

/// How long a connection may rest before it is asked whether it still works: less costs each request a round trip.
const ASKED_AFTER: Duration = Duration::from_secs(1);
/// How long a connection may take to say that it still works, or to undo what was given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// What a statement may take longer than the server was told, until the server is given up.
const GRACE: Duration = Duration::from_secs(2);
/// What a pooler answers to options that it does not know.
const PROTOCOL_VIOLATION: &str = "08P01";
/// How long a change of the schema may take, with its wait for a replica that is at it.
const MIGRATION_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How the statements of a connection are sent.
#[derive(Clone, Copy, Debug)]
struct Sending {
    /// Whether the server keeps them under names, from one use to the next. Behind a pooler the next use may meet
    /// another server.
    named: bool,
    /// How long each may take.
    limit: Duration,
}

/// The pool, and how its connections are used.
pub(super) struct PostgresPool {
    pool: PgPool,
    sending: Sending,
    acquire_limit: Duration,
    begin: SqlStr,
    /// How a read begins, where its statements have to meet one server.
    begin_read: Option<SqlStr>,
}

/// A connection that only reads.
pub(super) struct PostgresReader {
    kind: ReaderKind,
    sending: Sending,
}

enum ReaderKind {
    Plain(PoolConnection<Postgres>),
    InTransaction(sqlx::Transaction<'static, Postgres>),
}

/// A change on PostgreSQL.
pub(super) struct PostgresTransaction {
    transaction: sqlx::Transaction<'static, Postgres>,
    sending: Sending,
}

impl PostgresPool {
    pub(super) async fn connect(
        url: &str,
        options: &MetadataOptions,
    ) -> Result<Self, MetadataError> {
        let limits = [
            ("statement_timeout", options.statement_timeout),
            ("lock_timeout", options.lock_timeout),
            (
                "idle_in_transaction_session_timeout",
                options.idle_transaction_timeout,
            ),
        ];
        let mut connect = PgConnectOptions::from_str(url)?.application_name("berth");
        // Whatever the role's own default is: what a lock protects is looked up again under it.
        let mut begin = String::from("BEGIN ISOLATION LEVEL READ COMMITTED");
        let mut begin_read = None;
        if options.statement_cache {
            connect = connect
                .options(limits.map(|(name, limit)| (name, format!("{}ms", limit.as_millis()))));
        } else {
            // A pooler takes no options at the start of a connection, and what a session sets may be left to another.
            connect = connect.extra_float_digits(None);
            let set: String = limits
                .map(|(name, limit)| format!("; SET LOCAL {name} = {}", limit.as_millis()))
                .concat();
            begin_read = Some(format!("{begin} READ ONLY{set}"));
            begin.push_str(&set);
        }
        let pool = PgPoolOptions::new()
            .min_connections(options.min_connections)
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(options.idle_timeout)
            .max_lifetime(options.max_lifetime)
            .test_before_acquire(false)
            .before_acquire(|connection, rest: PoolConnectionMetadata| {
                Box::pin(async move {
                    if rest.idle_for >= ASKED_AFTER {
                        answers(connection).await?;
                    }
                    Ok(true)
                })
            })
            // sqlx would wait without a limit for a server that hangs, and its place in the pool with it.
            .after_release(|connection, _| {
                Box::pin(async move {
                    answers(connection).await?;
                    Ok(true)
                })
            })
            .connect_with(connect)
            .await
            .map_err(|error| refused_at_the_start(error, options))?;
        let text = |text: String| AssertSqlSafe(text).into_sql_str();
        Ok(Self {
            pool,
            sending: Sending {
                named: options.statement_cache,
                limit: options.statement_timeout + GRACE,
            },
            acquire_limit: options.acquire_timeout + GRACE,
            begin: text(begin),
            begin_read: begin_read.map(text),
        })
    }

    pub(super) async fn read(&self) -> Result<PostgresReader, MetadataError> {
        let kind = match &self.begin_read {
            None => ReaderKind::Plain(self.pool.acquire().await?),
            Some(begin) => ReaderKind::InTransaction(self.begun(begin).await?),
        };
        Ok(PostgresReader {
            kind,
            sending: self.sending,
        })
    }

    pub(super) async fn begin(&self) -> Result<PostgresTransaction, MetadataError> {
        Ok(PostgresTransaction {
            transaction: self.begun(&self.begin).await?,
            sending: self.sending,
        })
    }

    async fn begun(
        &self,
        begin: &SqlStr,
    ) -> Result<sqlx::Transaction<'static, Postgres>, MetadataError> {
        let beginning = self.pool.begin_with(begin.clone());
        Ok(within(self.acquire_limit, beginning).await?)
    }

    /// Brings the schema up to date, one replica after the other, and all of it or nothing.
    pub(super) async fn migrate(&self) -> Result<Migrated, MetadataError> {
        let mut change = self.begin().await?;
        change.sending.limit = MIGRATION_LIMIT + GRACE;
        let limit = MIGRATION_LIMIT.as_millis();
        let prepare = format!(
            "SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit}; \
             SET LOCAL idle_in_transaction_session_timeout = {limit}; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"
        );
        sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(change.lent())
            .await?;
        let migrated = schema::migrate(&mut Connection::Postgres(change.lent())).await?;
        change.commit().await?;
        Ok(migrated)
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

impl PostgresReader {
    pub(super) fn lent(&mut self) -> Lent<'_> {
        let connection = match &mut self.kind {
            ReaderKind::Plain(connection) => &mut **connection,
            ReaderKind::InTransaction(transaction) => &mut **transaction,
        };
        Lent {
            connection,
            sending: self.sending,
        }
    }

    /// Refuses a server that would lose what it says it keeps, or that keeps nothing.
    pub(super) async fn check_settings(&mut self) -> Result<(), MetadataError> {
        let (fsync, synchronous_commit, encoding, is_standby): (String, String, String, bool) =
            sqlx::query_as(
                "SELECT current_setting('fsync'), current_setting('synchronous_commit'), \
                 current_setting('server_encoding'), pg_is_in_recovery()",
            )
            .fetch_one(self.lent())
            .await?;
        let losing = [("fsync", fsync), ("synchronous_commit", synchronous_commit)];
        if let Some((setting, _)) = losing.iter().find(|(_, value)| value == "off") {
            return Err(MetadataError::Refused(format!(
                "PostgreSQL has {setting} off: a push that was answered 201 would not survive a power loss; set it to on"
            )));
        }
        if encoding != "UTF8" {
            return Err(MetadataError::Refused(format!(
                "the database has the encoding {encoding}, which cannot hold every name; make one with ENCODING 'UTF8'"
            )));
        }
        if is_standby {
            return Err(MetadataError::Refused(String::from(
                "PostgreSQL is a standby, which takes no changes; name the primary in database.url",
            )));
        }
        Ok(())
    }
}

impl PostgresTransaction {
    pub(super) fn lent(&mut self) -> Lent<'_> {
        Lent {
            connection: &mut self.transaction,
            sending: self.sending,
        }
    }

    pub(super) async fn commit(self) -> Result<(), MetadataError> {
        Ok(within(self.sending.limit, self.transaction.commit()).await?)
    }
}

/// What a pooler says to options at the start of a connection is said in the words of the setting that helps.
fn refused_at_the_start(error: Error, options: &MetadataOptions) -> MetadataError {
    match &error {
        Error::Database(cause)
            if options.statement_cache && cause.code().as_deref() == Some(PROTOCOL_VIOLATION) =>
        {
            MetadataError::Refused(format!(
                "what stands before PostgreSQL refused the connection ({}): if it is a pooler, start with database.statement_cache = false",
                cause.message()
            ))
        }
        _ => error.into(),
    }
}

/// Whether a connection still works; what was left undone on it is undone.
async fn answers(connection: &mut PgConnection) -> Result<(), Error> {
    within(ANSWER_LIMIT, connection.ping()).await
}

/// Waits for the server, but not longer than `limit`.
async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("PostgreSQL did not answer within {} s", limit.as_secs()),
        ))),
    }
}

/// A connection of PostgreSQL, lent for one statement, which is sent as the pool wants it.
pub(super) struct Lent<'c> {
    connection: &'c mut PgConnection,
    sending: Sending,
}

impl Lent<'_> {
    /// The same for the next statement.
    pub(super) fn again(&mut self) -> Lent<'_> {
        Lent {
            connection: self.connection,
            sending: self.sending,
        }
    }
}

impl fmt::Debug for Lent<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lent")
            .field("sending", &self.sending)
            .finish_non_exhaustive()
    }
}

/// A statement that may be kept from being given a name.
struct Sent<E> {
    statement: E,
    named: bool,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Sent<E> {
    fn sql(self) -> SqlStr {
        self.statement.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.statement.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.statement.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.named && self.statement.persistent()
    }
}

impl<'c> Executor<'c> for Lent<'c> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        statement: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let Sending { named, limit } = self.sending;
        let connection = self.connection;
        // Whole, so that one limit counts for all of it: who asks for many rows gathers them anyway.
        let all = async move {
            let steps = connection.fetch_many(Sent { statement, named });
            let steps: Vec<_> = within(limit, steps.try_collect()).await?;
            Ok::<_, Error>(stream::iter(steps.into_iter().map(Ok)))
        };
        stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        statement: E,
    ) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let Sending { named, limit } = self.sending;
        let found = self.connection.fetch_optional(Sent { statement, named });
        Box::pin(within(limit, found))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        let preparing = self.connection.prepare_with(sql, parameters);
        Box::pin(within(self.sending.limit, preparing))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        let describing = self.connection.describe(sql);
        Box::pin(within(self.sending.limit, describing))
    }
}

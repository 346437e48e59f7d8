//! The one writer of the embedded database: it lends its connection to one request at a time and commits the changes
//! of several requests together, so that they share one fsync.
//!
//! The first request of a batch has the transaction to itself; each further one works inside a savepoint of its own. So a
//! request that fails or goes away undoes only itself, and one that comes alone, as most do, does not pay for a
//! savepoint. Nobody is told "done" before the COMMIT of the whole batch has returned.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::error::MetadataError;
use super::memory::{Mark, Memory};

/// Requests that may wait for the writer; the next one waits in its own task.
const QUEUE_LENGTH: usize = 1024;
/// Changes in one batch at most.
const BATCH_LENGTH: usize = 64;
/// How long a request waits for its turn before the answer is 503.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a batch takes new members before it commits.
const BATCH_TIME: Duration = Duration::from_millis(4);

type Lent = PoolConnection<Sqlite>;

struct Request {
    lend: oneshot::Sender<Turn>,
}

struct Returned {
    connection: Lent,
    outcome: Outcome,
}

enum Outcome {
    Keep {
        marks: Vec<Mark>,
        committed: oneshot::Sender<Result<(), MetadataError>>,
    },
    Undo,
}

struct Kept {
    marks: Vec<Mark>,
    committed: oneshot::Sender<Result<(), MetadataError>>,
}

/// The handle to the writer task.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Request>,
    stopped: Arc<tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>>,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Writer {
    pub(super) fn start(connection: Lent, memory: Arc<Memory>) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE_LENGTH);
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(run(connection, requests, stopping, memory));
        Self {
            queue,
            stopped: Arc::new(tokio::sync::Mutex::new(Some(task))),
            stop,
        }
    }

    /// Waits for this request's turn to change the database.
    pub(super) async fn turn(&self) -> Result<Turn, MetadataError> {
        let (lend, turn) = oneshot::channel();
        let gone = || MetadataError::Unavailable(sqlx::Error::WorkerCrashed);
        let lent = async {
            self.queue
                .send(Request { lend })
                .await
                .map_err(|_| gone())?;
            turn.await.map_err(|_| gone())
        };
        tokio::time::timeout(TURN_TIMEOUT, lent)
            .await
            .unwrap_or(Err(MetadataError::Unavailable(sqlx::Error::PoolTimedOut)))
    }

    /// Requests waiting for the writer.
    pub(super) fn waiting(&self) -> usize {
        QUEUE_LENGTH - self.queue.capacity()
    }

    /// Commits what is under way and ends.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        if let Some(task) = self.stopped.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(error = %error, "the writer of the database did not end in order");
        }
    }
}

/// The writer's connection, lent to one request. Dropping it undoes the request's change.
pub(super) struct Turn {
    connection: Option<Lent>,
    give_back: Option<oneshot::Sender<Returned>>,
}

impl Turn {
    #[expect(
        clippy::expect_used,
        reason = "the connection leaves only in commit and drop, which consume the turn"
    )]
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        self.connection
            .as_mut()
            .expect("a turn holds its connection until it ends")
    }

    /// Gives the change to the batch and waits until the batch is on disk.
    pub(super) async fn commit(mut self, marks: Vec<Mark>) -> Result<(), MetadataError> {
        let (committed, outcome) = oneshot::channel();
        self.finish(Outcome::Keep { marks, committed });
        outcome
            .await
            .unwrap_or(Err(MetadataError::Unavailable(sqlx::Error::WorkerCrashed)))
    }

    fn finish(&mut self, outcome: Outcome) {
        if let (Some(connection), Some(give_back)) = (self.connection.take(), self.give_back.take())
        {
            // The writer always waits for the connection; if it is gone, so is the database.
            let _ = give_back.send(Returned {
                connection,
                outcome,
            });
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.finish(Outcome::Undo);
    }
}

async fn run(
    connection: Lent,
    mut requests: mpsc::Receiver<Request>,
    mut stopping: tokio::sync::watch::Receiver<bool>,
    memory: Arc<Memory>,
) {
    let mut connection = Some(connection);
    while let Some(held) = connection.take() {
        // Stopping comes first, or those who keep asking would keep the writer for ever; who waits already is served.
        let first = loop {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop), if !requests.is_closed() => requests.close(),
                request = requests.recv() => break request,
            }
        };
        let Some(first) = first else { return };
        connection = batch(held, first, &mut requests, &memory).await;
    }
    tracing::error!("the writer of the database lost its connection");
}

/// Runs requests one after the other inside one transaction and commits them together.
async fn batch(
    mut connection: Lent,
    first: Request,
    requests: &mut mpsc::Receiver<Request>,
    memory: &Memory,
) -> Option<Lent> {
    let started = Instant::now();
    let mut kept: Vec<Kept> = Vec::new();
    let mut next = Some(first);
    let mut broken = None;
    while let Some(request) = next.take() {
        let within = if kept.is_empty() {
            Within::Transaction
        } else {
            Within::Savepoint
        };
        let (returned, outcome) = lend(connection, request, within).await?;
        connection = returned;
        match outcome {
            Ok(Some(change)) => kept.push(change),
            Ok(None) => {}
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
        if kept.len() < BATCH_LENGTH && started.elapsed() < BATCH_TIME {
            next = requests.try_recv().ok();
        }
    }
    for change in &kept {
        memory.forget(&change.marks);
    }
    let result = match broken {
        Some(error) => Err(error),
        // Every request was undone, and the transaction with it.
        None if kept.is_empty() => Ok(()),
        None => execute(&mut connection, "COMMIT").await,
    };
    if let Err(error) = &result {
        tracing::error!(error = %error, "changes to the database could not be committed");
        // After some errors SQLite has rolled back by itself; a second ROLLBACK only says so.
        let _ = execute(&mut connection, "ROLLBACK").await;
    }
    for change in kept {
        memory.forget_and_note(&change.marks);
        let told = match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(MetadataError::Unavailable(sqlx::Error::Protocol(
                error.to_string(),
            ))),
        };
        // A request that went away does not need the answer.
        let _ = change.committed.send(told);
    }
    Some(connection)
}

/// What a request can be undone with.
#[derive(Clone, Copy)]
enum Within {
    /// The transaction: nobody else has changed anything in it.
    Transaction,
    /// A savepoint after the changes of others.
    Savepoint,
}

impl Within {
    fn begin(self) -> &'static str {
        match self {
            Self::Transaction => "BEGIN IMMEDIATE",
            Self::Savepoint => "SAVEPOINT request",
        }
    }

    fn keep(self) -> &'static [&'static str] {
        match self {
            Self::Transaction => &[],
            Self::Savepoint => &["RELEASE request"],
        }
    }

    fn undo(self) -> &'static [&'static str] {
        match self {
            Self::Transaction => &["ROLLBACK"],
            Self::Savepoint => &["ROLLBACK TO request", "RELEASE request"],
        }
    }
}

/// Lends the connection to one request; `Err` means that the whole transaction can no longer be trusted.
async fn lend(
    mut connection: Lent,
    request: Request,
    within: Within,
) -> Option<(Lent, Result<Option<Kept>, sqlx::Error>)> {
    if let Err(error) = execute(&mut connection, within.begin()).await {
        // Dropping the request tells its sender that the database is unavailable.
        return Some((connection, Err(error)));
    }
    let (give_back, returned) = oneshot::channel();
    let turn = Turn {
        connection: Some(connection),
        give_back: Some(give_back),
    };
    // A request that went away drops the turn here, which gives the connection back with "undo".
    drop(request.lend.send(turn));
    let Returned {
        mut connection,
        outcome,
    } = returned.await.ok()?;
    let statements = match &outcome {
        Outcome::Keep { .. } => within.keep(),
        Outcome::Undo => within.undo(),
    };
    let mut ended = Ok(());
    for statement in statements {
        ended = ended.and(execute(&mut connection, statement).await);
    }
    let outcome = match (ended, outcome) {
        (Err(error), Outcome::Keep { committed, .. }) => {
            let told = sqlx::Error::Protocol(error.to_string());
            let _ = committed.send(Err(MetadataError::Unavailable(told)));
            Err(error)
        }
        (Err(error), Outcome::Undo) => Err(error),
        (Ok(()), Outcome::Keep { marks, committed }) => Ok(Some(Kept { marks, committed })),
        (Ok(()), Outcome::Undo) => Ok(None),
    };
    Some((connection, outcome))
}

async fn execute(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), sqlx::Error> {
    // As a query it is prepared once, unlike as raw SQL.
    sqlx::query(statement).execute(connection).await.map(|_| ())
}

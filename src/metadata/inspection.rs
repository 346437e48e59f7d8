//! A look at a database that changes nothing, while its servers go on: for whoever wants to know what is wrong.

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use uuid::Uuid;

use super::database::Connection;
use super::error::MetadataError;
use super::postgres::PostgresPool;
use super::{Metadata, MetadataOptions, schema};
use crate::clock::Millis;
use crate::config::DatabaseLocation;

/// What was seen.
#[derive(Debug)]
pub struct Inspection {
    /// The version of the schema, if this version of Berth may use it.
    pub schema: Result<i64, MetadataError>,
    /// What makes a commit last, if it does.
    pub durability: Result<String, MetadataError>,
    /// What tells this installation from every other one, if its schema could be read.
    pub installation_id: Option<Uuid>,
    /// What the database's own clock said, where it has one that servers share.
    pub time: Option<Millis>,
}

impl Metadata {
    /// Looks at a database as it is: brings nothing up to date, and makes no file that is not there.
    ///
    /// # Errors
    /// `Unavailable` or `Refused` if there is no connection to it.
    pub async fn inspect(options: &MetadataOptions) -> Result<Inspection, MetadataError> {
        match &options.location {
            DatabaseLocation::Sqlite(path) => {
                let open = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(false)
                    .busy_timeout(options.acquire_timeout)
                    .pragma("query_only", "1");
                let mut sqlite = open.connect().await?;
                let durability = sqlite_durability(&mut sqlite).await;
                let seen = look(&mut Connection::Sqlite(&mut sqlite), durability).await;
                sqlx::Connection::close(sqlite).await?;
                Ok(seen)
            }
            DatabaseLocation::Postgres(url) => {
                let few = MetadataOptions {
                    min_connections: 0,
                    max_connections: 1,
                    ..options.clone()
                };
                let pool = PostgresPool::connect(url.expose(), &few).await?;
                let mut reader = pool.read().await?;
                let durability = reader.check_settings().await.map(|()| {
                    String::from("fsync and synchronous_commit are on, and it takes changes")
                });
                let seen = look(&mut Connection::Postgres(reader.lent()), durability).await;
                drop(reader);
                pool.close().await;
                Ok(seen)
            }
        }
    }
}

async fn look(
    connection: &mut Connection<'_>,
    durability: Result<String, MetadataError>,
) -> Inspection {
    let schema = schema::expect(connection).await;
    // Of a schema that this version cannot use, it may be readable all the same.
    let installation_id = schema::installation_id(connection.again()).await.ok();
    let time = super::collection::shared_time(connection.again()).await;
    Inspection {
        schema,
        durability,
        installation_id,
        time: time.ok().flatten(),
    }
}

/// A server sets how it syncs with each connection; how the file is written is kept in it.
async fn sqlite_durability(connection: &mut SqliteConnection) -> Result<String, MetadataError> {
    let (mode,): (String,) = sqlx::query_as("PRAGMA journal_mode")
        .fetch_one(connection)
        .await?;
    Ok(format!("journal {mode}; the server syncs each commit"))
}

//! A look past the registry at its rows, and settings for which there is no call.

use std::time::{Duration, Instant};

use berth::config::DatabaseLocation;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::TestRegistry;

/// Past this, a request that should be under way is not.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

enum Rows {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl TestRegistry {
    async fn rows(&self) -> Rows {
        match self.config.database_location() {
            DatabaseLocation::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(path)
                    .foreign_keys(true);
                Rows::Sqlite(SqliteConnection::connect_with(&options).await.unwrap())
            }
            DatabaseLocation::Postgres(url) => {
                Rows::Postgres(PgConnection::connect(url.expose()).await.unwrap())
            }
        }
    }

    /// Changes rows. What the registry remembers of them is as it was: better before anybody has read them.
    pub(crate) async fn execute(&self, statement: &str) {
        let statement = AssertSqlSafe(statement.to_owned());
        match self.rows().await {
            Rows::Sqlite(mut c) => sqlx::query(statement).execute(&mut c).await.map(|_| ()),
            Rows::Postgres(mut c) => sqlx::query(statement).execute(&mut c).await.map(|_| ()),
        }
        .unwrap();
    }

    /// The one number that a statement answers.
    pub(crate) async fn number(&self, statement: &str) -> i64 {
        let statement = AssertSqlSafe(statement.to_owned());
        match self.rows().await {
            Rows::Sqlite(mut c) => sqlx::query_scalar(statement).fetch_one(&mut c).await,
            Rows::Postgres(mut c) => sqlx::query_scalar(statement).fetch_one(&mut c).await,
        }
        .unwrap()
    }

    /// Waits until the one upload session was taken by so many requests. The first of them that brings bytes gives it a
    /// row; a first one that ends it may do without.
    pub(crate) async fn until_upload_is_taken(&self, times: i64) {
        let statement = "SELECT COALESCE(MAX(epoch), 0) FROM uploads";
        let since = Instant::now();
        while self.number(statement).await < times {
            assert!(since.elapsed() < LIMIT, "the request is not under way");
            tokio::time::sleep(POLL).await;
        }
    }
}

//! Databases for tests: SQLite always, PostgreSQL where `BERTH_TEST_POSTGRES_URL` says where it is.

use std::env;

use berth::config::{Config, Secret};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// Which database a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestDatabase {
    Sqlite,
    Postgres,
}

/// A database of one test's own.
pub(crate) enum Location {
    Sqlite,
    Postgres {
        url: String,
        server: String,
        name: String,
    },
}

/// The server that tests may make databases on. `make test` and CI always set it.
pub(crate) fn postgres_server() -> Option<String> {
    env::var("BERTH_TEST_POSTGRES_URL")
        .ok()
        .filter(|url| !url.is_empty())
}

impl TestDatabase {
    /// Every database that this machine has.
    pub(crate) fn available() -> Vec<Self> {
        let mut databases = vec![Self::Sqlite];
        databases.extend(postgres_server().map(|_| Self::Postgres));
        databases
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    pub(crate) async fn make(self) -> Location {
        match self {
            Self::Sqlite => Location::Sqlite,
            Self::Postgres => {
                let server =
                    postgres_server().expect("BERTH_TEST_POSTGRES_URL says where PostgreSQL is");
                let name = format!("berth_test_{}", uuid::Uuid::new_v4().simple());
                let mut connection = PgConnection::connect(&server)
                    .await
                    .expect("PostgreSQL answers");
                let statement = format!("CREATE DATABASE {name}");
                connection
                    .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement)))
                    .await
                    .unwrap();
                let (base, _) = server.rsplit_once('/').expect("the URL names a database");
                Location::Postgres {
                    url: format!("{base}/{name}"),
                    server,
                    name,
                }
            }
        }
    }
}

impl Location {
    pub(crate) fn configure(&self, config: &mut Config) {
        if let Self::Postgres { url, .. } = self {
            config.database.url = Some(url.parse().unwrap());
            config.database.max_connections = 6;
            config.auth.key_wrapping_secret = Some(Secret::new(String::from(
                "a secret of thirty-two bytes....",
            )));
        }
    }
}

impl Drop for Location {
    fn drop(&mut self) {
        let Self::Postgres { server, name, .. } = self else {
            return;
        };
        let (server, name) = (server.clone(), name.clone());
        // A thread with a runtime of its own: this may run inside another runtime, or after it.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&server).await.unwrap();
                let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                connection
                    .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement)))
                    .await
                    .unwrap();
            });
        });
        let _ = dropping.join();
    }
}

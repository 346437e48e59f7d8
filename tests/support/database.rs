//! What tests run on, which `BERTH_TEST_STACK` chooses: `sqlite`, the default, with blobs in a folder; `postgres`, on the
//! server that `BERTH_TEST_POSTGRES_URL` names, with blobs in a folder; or `replicas`: two servers behind a proxy, with
//! that PostgreSQL and the bucket that `BERTH_TEST_S3` describes.

use std::env;
use std::time::Duration;

use berth::config::{Config, Secret};
use serde::Deserialize;
use sqlx::{Connection as _, Executor as _, PgConnection};

/// What a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestDatabase {
    Sqlite,
    Postgres,
    /// Two servers on PostgreSQL and S3, behind a proxy that sends each request to the next of them.
    Replicas,
}

/// Where tests may keep objects, as `scripts/garage.sh` says it in `BERTH_TEST_S3`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bucket {
    endpoint: String,
    region: String,
    bucket: String,
    access_key_id: String,
    secret_access_key: String,
}

impl Bucket {
    pub(crate) fn of_environment() -> Option<Self> {
        let text = env::var("BERTH_TEST_S3")
            .ok()
            .filter(|text| !text.is_empty())?;
        Some(serde_json::from_str(&text).expect("BERTH_TEST_S3 is what scripts/garage.sh prints"))
    }

    /// Settings for a part of the bucket of its own.
    pub(crate) fn configure(&self, config: &mut Config, prefix: &str) {
        let s3 = &mut config.storage.s3;
        s3.endpoint = Some(self.endpoint.clone());
        s3.allow_http = true;
        s3.region.clone_from(&self.region);
        s3.bucket = Some(self.bucket.clone());
        s3.prefix = format!("{prefix}/");
        s3.access_key_id = Some(Secret::new(self.access_key_id.clone()));
        s3.secret_access_key = Some(Secret::new(self.secret_access_key.clone()));
    }

    /// The same for a server in a process of its own.
    pub(crate) fn variables(&self, prefix: &str) -> Vec<(&'static str, String)> {
        vec![
            ("BERTH_STORAGE__S3__ENDPOINT", self.endpoint.clone()),
            ("BERTH_STORAGE__S3__ALLOW_HTTP", String::from("true")),
            ("BERTH_STORAGE__S3__REGION", self.region.clone()),
            ("BERTH_STORAGE__S3__BUCKET", self.bucket.clone()),
            ("BERTH_STORAGE__S3__PREFIX", format!("{prefix}/")),
            (
                "BERTH_STORAGE__S3__ACCESS_KEY_ID",
                self.access_key_id.clone(),
            ),
            (
                "BERTH_STORAGE__S3__SECRET_ACCESS_KEY",
                self.secret_access_key.clone(),
            ),
        ]
    }
}

/// A database of one test's own.
pub(crate) enum Location {
    Sqlite,
    Postgres {
        url: String,
        server: String,
        name: String,
        bucket: Option<Bucket>,
    },
}

/// The server that tests may make databases on. `make test` and CI always set it.
pub(crate) fn postgres_server() -> Option<String> {
    env::var("BERTH_TEST_POSTGRES_URL")
        .ok()
        .filter(|url| !url.is_empty())
}

impl TestDatabase {
    /// The same, but one server with blobs in a folder: for tests that look at files, at bytes on the wire, or at what
    /// each server counts for itself.
    pub(crate) fn one_server() -> Self {
        match Self::chosen() {
            Self::Replicas => Self::Postgres,
            database @ (Self::Sqlite | Self::Postgres) => database,
        }
    }

    /// The same, for tests that try several things on it.
    pub(crate) fn available() -> Vec<Self> {
        vec![Self::chosen()]
    }

    /// How long a server may go by rights that another one has changed, as the manual says.
    pub(crate) fn rights_are_remembered(self) -> Duration {
        match self {
            Self::Sqlite | Self::Postgres => Duration::ZERO,
            Self::Replicas => Duration::from_secs(5),
        }
    }

    /// What this run is about.
    pub(crate) fn chosen() -> Self {
        match env::var("BERTH_TEST_STACK").as_deref() {
            Err(_) | Ok("" | "sqlite") => Self::Sqlite,
            Ok("postgres") => Self::Postgres,
            Ok("replicas") => Self::Replicas,
            Ok(other) => panic!("BERTH_TEST_STACK is sqlite, postgres or replicas, not {other}"),
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Replicas => "replicas",
        }
    }

    pub(crate) async fn make(self) -> Location {
        match self {
            Self::Sqlite => Location::Sqlite,
            Self::Postgres | Self::Replicas => {
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
                    bucket: (self == Self::Replicas).then(|| {
                        Bucket::of_environment().expect("BERTH_TEST_S3 says where a bucket is")
                    }),
                }
            }
        }
    }
}

/// What seals the signing keys in tests' databases.
const WRAPPING_SECRET: &str = "a secret of thirty-two bytes....";

impl Location {
    /// What the tools of PostgreSQL take.
    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Sqlite => panic!("SQLite has no URL"),
            Self::Postgres { url, .. } => url,
        }
    }

    /// The folder of the objects as rclone names it, and the settings that it needs for that.
    pub(crate) fn rclone(&self) -> (String, [(&'static str, String); 7]) {
        let Self::Postgres {
            name,
            bucket: Some(bucket),
            ..
        } = self
        else {
            panic!("this is in no bucket");
        };
        let settings = [
            ("RCLONE_CONFIG", String::from("/dev/null")),
            ("RCLONE_CONFIG_S3_TYPE", String::from("s3")),
            ("RCLONE_CONFIG_S3_PROVIDER", String::from("Other")),
            ("RCLONE_CONFIG_S3_ENDPOINT", bucket.endpoint.clone()),
            ("RCLONE_CONFIG_S3_REGION", bucket.region.clone()),
            (
                "RCLONE_CONFIG_S3_ACCESS_KEY_ID",
                bucket.access_key_id.clone(),
            ),
            (
                "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY",
                bucket.secret_access_key.clone(),
            ),
        ];
        (format!("s3:{}/{name}/objects", bucket.bucket), settings)
    }

    /// Settings for a server in a process of its own.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let Self::Postgres {
            url, name, bucket, ..
        } = self
        else {
            return Vec::new();
        };
        let mut variables = vec![
            ("BERTH_DATABASE__URL", url.clone()),
            (
                "BERTH_AUTH__KEY_WRAPPING_SECRET",
                String::from(WRAPPING_SECRET),
            ),
        ];
        if let Some(bucket) = bucket {
            variables.extend(bucket.variables(name));
        }
        variables
    }

    pub(crate) fn configure(&self, config: &mut Config) {
        if let Self::Postgres {
            url, name, bucket, ..
        } = self
        {
            if let Some(bucket) = bucket {
                bucket.configure(config, name);
            }
            config.database.url = Some(url.parse().unwrap());
            config.database.max_connections = 6;
            // On a slow machine many requests may wait for so few.
            config.database.acquire_timeout_seconds = 30;
            config.auth.key_wrapping_secret = Some(Secret::new(String::from(WRAPPING_SECRET)));
        }
    }
}

impl Drop for Location {
    fn drop(&mut self) {
        let Self::Postgres { server, name, .. } = self else {
            return;
        };
        let (server, name) = (server.clone(), name.clone());
        // A thread with a runtime of its own: this may run inside another runtime, or after it. It is not waited for: what
        // is dropped next to this may hold a connection half made, and the database waits for that.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let Ok(mut connection) = PgConnection::connect(&server).await else {
                    return;
                };
                // A server that still runs would connect again, and the database waits five seconds for it to leave.
                for statement in [
                    format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"),
                    format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
                ] {
                    let statement = sqlx::AssertSqlSafe(statement);
                    // At the worst it stays until the cluster is started anew.
                    let _ = connection.execute(sqlx::raw_sql(statement)).await;
                }
            });
        });
    }
}

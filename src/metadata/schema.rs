//! The version of the schema: bringing it up to date, and saying whether this server may use what it finds.
//!
//! A version is the number of a migration. A database may be newer than the server, so that an upgrade can go from one
//! replica to the next: the row in `installation` says by `min_schema` which migration a server must know. The table of
//! migrations is the one that sqlx makes, but its runner is not used: it commits each migration by itself, under a lock
//! of the session, which a pooler gives to somebody else.

use std::collections::BTreeMap;

use sqlx::migrate::Migrator;
use uuid::Uuid;

use super::database::{Connection, on};
use super::dialect::Statement;
use super::error::{MetadataError, parse};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// Held while a schema is brought up to date. Repositories are locked by their own numbers, which are positive.
pub(super) const MIGRATION_LOCK: i64 = -0x6265_7274_6800;

/// The table of migrations, as sqlx makes it.
const TABLE: Statement = Statement {
    sqlite: "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, \
             checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
    postgres: "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
               installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, \
               checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)",
};
/// How many of our two tables there are.
const TABLES: Statement = Statement {
    sqlite: "SELECT COUNT(*) FROM sqlite_master WHERE name IN ('_sqlx_migrations', 'installation')",
    postgres: "SELECT COUNT(*) FROM (VALUES (to_regclass('_sqlx_migrations')), (to_regclass('installation'))) AS t (name) \
               WHERE name IS NOT NULL",
};

/// What a database turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    /// Its last migration.
    last: i64,
    /// The migration that a server must know.
    min_schema: i64,
}

/// What was done to a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were applied, such as `0005 installation`, in their order.
    pub applied: Vec<String>,
    /// The version of the schema now.
    pub version: i64,
}

/// The last migration that this server knows: the same for both databases.
fn known() -> i64 {
    let versions = POSTGRES.iter().map(|migration| migration.version);
    versions.max().unwrap_or_default()
}

impl Version {
    /// Whether this server may use a database of this version.
    fn judge(self) -> Result<(), MetadataError> {
        let (last, known) = (self.last, known());
        let berth = env!("CARGO_PKG_VERSION");
        if last < known {
            return Err(MetadataError::Refused(format!(
                "the schema of the database is at {last}, and berth {berth} needs {known}: run `berth migrate`, or start with database.migrate = true"
            )));
        }
        if self.min_schema > known {
            return Err(MetadataError::Refused(format!(
                "the schema of the database is at {last} and needs a berth that knows {}, but berth {berth} knows only {known}: \
                 start the newer berth that upgraded it, or restore the backup from before the upgrade",
                self.min_schema
            )));
        }
        Ok(())
    }
}

/// Brings a schema up to date inside the transaction of `connection`, which must exclude every other one that does the
/// same.
pub(super) async fn migrate(connection: &mut Connection<'_>) -> Result<Migrated, MetadataError> {
    let migrator = match connection {
        Connection::Sqlite(_) => &SQLITE,
        Connection::Postgres(_) => &POSTGRES,
    };
    let table = TABLE.of(connection);
    on!(connection.again(), c => sqlx::raw_sql(table).execute(c).await.map(|_| ()))?;
    let rows: Vec<(i64, Vec<u8>)> = on!(connection.again(), c => sqlx::query_as(
        "SELECT version, checksum FROM _sqlx_migrations ORDER BY version",
    )
    .fetch_all(c)
    .await)?;
    let there: BTreeMap<i64, Vec<u8>> = rows.into_iter().collect();
    let mut applied = Vec::new();
    for migration in migrator.iter() {
        let number = migration.version;
        let name = format!("{number:04} {}", migration.description);
        match there.get(&number) {
            Some(checksum) if *checksum == *migration.checksum => continue,
            Some(_) => {
                return Err(MetadataError::Refused(format!(
                    "the migration {name} of the database is not the one that this berth knows: the database was made by another build"
                )));
            }
            None => {}
        }
        on!(connection.again(), c => sqlx::raw_sql(migration.sql.clone()).execute(c).await.map(|_| ()))
            .map_err(|source| MetadataError::Migrate { name: name.clone(), source })?;
        on!(connection.again(), c => sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES ($1, $2, TRUE, $3, -1)",
        )
        .bind(number)
        .bind(&*migration.description)
        .bind(&*migration.checksum)
        .execute(c)
        .await
        .map(|_| ()))?;
        applied.push(name);
    }
    let version = version(connection).await?;
    version.judge()?;
    Ok(Migrated {
        applied,
        version: version.last,
    })
}

async fn version(connection: &mut Connection<'_>) -> Result<Version, MetadataError> {
    let row: Option<(i64, i64)> = on!(connection.again(), c => sqlx::query_as(
        "SELECT (SELECT MAX(version) FROM _sqlx_migrations), min_schema FROM installation",
    )
    .fetch_optional(c)
    .await)?;
    let (last, min_schema) = row.ok_or_else(|| MetadataError::Refused(String::from(
        "the table installation of the database has lost its row: restore the database from a backup",
    )))?;
    Ok(Version { last, min_schema })
}

/// Whether this server may use the schema as it is now.
pub(super) async fn check(connection: &mut Connection<'_>) -> Result<(), MetadataError> {
    version(connection).await?.judge()
}

/// Whether this server may use the schema of a database that nobody may have prepared; its version.
pub(super) async fn expect(connection: &mut Connection<'_>) -> Result<i64, MetadataError> {
    let tables = TABLES.of(connection);
    let (found,): (i64,) = on!(connection.again(), c => sqlx::query_as(tables).fetch_one(c).await)?;
    if found < 2 {
        return Err(MetadataError::Refused(format!(
            "the database has no schema that berth {} can use: run `berth migrate`, or start with database.migrate = true",
            env!("CARGO_PKG_VERSION")
        )));
    }
    let version = version(connection).await?;
    version.judge()?;
    Ok(version.last)
}

/// What tells this installation from every other one.
pub(super) async fn installation_id(connection: Connection<'_>) -> Result<Uuid, MetadataError> {
    let (id,): (String,) =
        on!(connection, c => sqlx::query_as("SELECT id FROM installation").fetch_one(c).await)?;
    parse("installation id", &id)
}

//! The schema: the same on both databases; and what the layer says of a database that would lose data.

use berth::config::DatabaseLocation;
use berth::metadata::{Metadata, MetadataError, MetadataOptions};

use crate::contracts;
use crate::fixture::{Fixture, together};
use crate::support::database::{Location, TestDatabase};

contracts![
    both_databases_have_the_same_columns,
    both_databases_have_the_same_indexes,
    both_databases_have_the_same_foreign_keys,
    a_migrated_database_is_opened_as_it_is,
    a_database_that_loses_commits_is_refused,
    servers_that_start_together_on_an_empty_database_agree,
    a_schema_is_brought_up_to_date_once,
    a_newer_schema_is_used_as_long_as_it_allows_it,
    without_migrations_an_older_schema_is_refused,
];

const SQLITE_COLUMNS: &str = "SELECT m.name || '.' || c.name || ' ' || lower(c.type) || \
     CASE WHEN c.\"notnull\" = 1 OR c.pk = 1 THEN ' not null' ELSE '' END \
     FROM sqlite_master m, pragma_table_info(m.name) c \
     WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> '_sqlx_migrations' ORDER BY 1";
const POSTGRES_COLUMNS: &str = "SELECT table_name || '.' || column_name || ' ' || \
     CASE data_type WHEN 'bigint' THEN 'integer' WHEN 'bytea' THEN 'blob' ELSE data_type END || \
     CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END FROM information_schema.columns \
     WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations' ORDER BY 1";

const SQLITE_INDEXES: &str = "SELECT i.name || CASE i.\"unique\" WHEN 1 THEN ' unique' ELSE '' END || \
     CASE i.partial WHEN 1 THEN ' partial' ELSE '' END || ' ' || m.name || ' ' || \
     COALESCE((SELECT group_concat(name, ',') FROM (SELECT c.name FROM pragma_index_info(i.name) c ORDER BY c.seqno)), \
     'an expression') \
     FROM sqlite_master m, pragma_index_list(m.name) i \
     WHERE m.type = 'table' AND m.name <> '_sqlx_migrations' AND i.origin = 'c' ORDER BY 1";
const POSTGRES_INDEXES: &str = "SELECT i.relname || CASE x.indisunique WHEN true THEN ' unique' ELSE '' END || \
     CASE WHEN x.indpred IS NOT NULL THEN ' partial' ELSE '' END || ' ' || t.relname || ' ' || \
     COALESCE((SELECT string_agg(a.attname, ',' ORDER BY k.place) \
      FROM unnest(x.indkey) WITH ORDINALITY AS k (number, place) \
      JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number), 'an expression') \
     FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid \
     WHERE t.relnamespace = 'public'::regnamespace AND t.relname <> '_sqlx_migrations' \
     AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = x.indexrelid AND contype IN ('p', 'u')) ORDER BY 1";

const SQLITE_FOREIGN_KEYS: &str = "SELECT name FROM (SELECT m.name || ' (' || group_concat(f.\"from\", ',') || ') ' || \
     f.\"table\" || ' (' || group_concat(f.\"to\", ',') || ')' AS name \
     FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table' \
     GROUP BY m.name, f.id) ORDER BY 1";
const POSTGRES_FOREIGN_KEYS: &str = "SELECT c.conrelid::regclass::text || ' (' || \
     (SELECT string_agg(a.attname, ',' ORDER BY k.place) FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place) \
      JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number) || ') ' || \
     c.confrelid::regclass::text || ' (' || \
     (SELECT string_agg(a.attname, ',' ORDER BY k.place) FROM unnest(c.confkey) WITH ORDINALITY AS k (number, place) \
      JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number) || ')' \
     FROM pg_constraint c WHERE c.contype = 'f' ORDER BY 1";

/// Asks both databases the same question. Where only SQLite is, there is nothing to compare.
async fn compare(fixture: &Fixture, sqlite: &str, postgres: &str) {
    if fixture.is_sqlite() {
        return;
    }
    let embedded = Fixture::open(TestDatabase::Sqlite).await;
    let mut of_sqlite = embedded.texts(sqlite).await;
    let mut of_postgres = fixture.texts(postgres).await;
    of_sqlite.sort_unstable();
    of_postgres.sort_unstable();
    assert!(of_sqlite.len() > 10, "{of_sqlite:?}");
    assert_eq!(of_sqlite, of_postgres);
}

async fn both_databases_have_the_same_columns(fixture: Fixture) {
    compare(&fixture, SQLITE_COLUMNS, POSTGRES_COLUMNS).await;
}

async fn both_databases_have_the_same_indexes(fixture: Fixture) {
    compare(&fixture, SQLITE_INDEXES, POSTGRES_INDEXES).await;
}

async fn both_databases_have_the_same_foreign_keys(fixture: Fixture) {
    compare(&fixture, SQLITE_FOREIGN_KEYS, POSTGRES_FOREIGN_KEYS).await;
}

async fn a_migrated_database_is_opened_as_it_is(fixture: Fixture) {
    fixture.repository("t-1111/app").await;
    let migrations = "SELECT COUNT(*) FROM _sqlx_migrations WHERE success";
    let before = fixture.number(migrations).await;
    assert!(before > 0);
    fixture.metadata.close().await;
    // Replicas start together; the embedded database has one owner.
    let starts = if fixture.is_sqlite() { 1 } else { 4 };
    let options = fixture.options.clone();
    let opened = together(starts, move |_| {
        let options = options.clone();
        async move { Metadata::open(&options).await.unwrap() }
    })
    .await;
    assert_eq!(fixture.number(migrations).await, before);
    let name = "t-1111/app".parse().unwrap();
    assert!(opened[0].repository(&name).await.unwrap().is_some());
}

async fn a_database_that_loses_commits_is_refused(fixture: Fixture) {
    fixture.metadata.ready().await.unwrap();
    if fixture.is_sqlite() {
        // Its connections set this themselves.
        return;
    }
    let name = fixture
        .texts("SELECT current_database()::text")
        .await
        .remove(0);
    let set = async |value: &str| {
        let statement = format!("ALTER DATABASE {name} SET synchronous_commit = {value}");
        fixture.execute(&statement).await.unwrap();
    };
    set("off").await;
    let refused = Metadata::open(&fixture.options).await.err().unwrap();
    let text = refused.to_string();
    assert!(matches!(refused, MetadataError::Refused(_)), "{text}");
    assert!(text.contains("synchronous_commit"), "{text}");
    for value in ["on", "local", "remote_apply"] {
        set(value).await;
        let metadata = Metadata::open(&fixture.options).await.unwrap();
        metadata.ready().await.unwrap();
    }
}

/// Options of a database that nobody has opened yet; it goes with what comes along.
async fn empty(fixture: &Fixture) -> (MetadataOptions, Location, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let location = fixture.database.make().await;
    let options = MetadataOptions {
        location: match &location {
            Location::Sqlite => DatabaseLocation::Sqlite(folder.path().join("berth.db")),
            Location::Postgres { url, .. } => DatabaseLocation::Postgres(url.parse().unwrap()),
        },
        ..fixture.options.clone()
    };
    (options, location, folder)
}

async fn servers_that_start_together_on_an_empty_database_agree(fixture: Fixture) {
    let (options, _location, _folder) = empty(&fixture).await;
    let starts = if fixture.is_sqlite() { 1 } else { 5 };
    let opened = together(starts, move |_| {
        let options = options.clone();
        async move { Metadata::open(&options).await.unwrap().installation_id() }
    })
    .await;
    assert!(opened.iter().all(|id| *id == opened[0]), "{opened:?}");
    assert_ne!(opened[0], fixture.metadata.installation_id());
    assert_eq!(opened[0].get_version_num(), 4);
}

async fn a_schema_is_brought_up_to_date_once(fixture: Fixture) {
    let (options, _location, _folder) = empty(&fixture).await;
    let without = MetadataOptions {
        migrate: false,
        ..options.clone()
    };
    let refused = Metadata::open(&without).await.err().unwrap().to_string();
    assert!(refused.contains("run `berth migrate`"), "{refused}");
    let first = Metadata::migrate(&options).await.unwrap();
    assert_eq!(first.applied[0], "0001 tenancy");
    let second = Metadata::migrate(&options).await.unwrap();
    assert!(second.applied.is_empty(), "{second:?}");
    assert_eq!(second.version, first.version);
    let metadata = Metadata::open(&without).await.unwrap();
    metadata.ready().await.unwrap();
    metadata.close().await;
}

const LATER: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
     VALUES (9999, 'of a later version', TRUE, '', 0)";

async fn a_newer_schema_is_used_as_long_as_it_allows_it(fixture: Fixture) {
    fixture.execute(LATER).await.unwrap();
    fixture.metadata.ready().await.unwrap();
    let raise = "UPDATE installation SET min_schema = 9999";
    fixture.execute(raise).await.unwrap();
    let unready = fixture.metadata.ready().await.err().unwrap();
    fixture.metadata.close().await;
    let refused = Metadata::open(&fixture.options).await.err().unwrap();
    for error in [unready, refused] {
        let text = error.to_string();
        assert!(matches!(error, MetadataError::Refused(_)), "{text}");
        assert!(text.contains("needs a berth that knows 9999"), "{text}");
        assert!(text.contains("restore the backup"), "{text}");
    }
    let lower = "UPDATE installation SET min_schema = 1";
    fixture.execute(lower).await.unwrap();
    let metadata = Metadata::open(&fixture.options).await.unwrap();
    metadata.ready().await.unwrap();
}

async fn without_migrations_an_older_schema_is_refused(fixture: Fixture) {
    let last =
        "DELETE FROM _sqlx_migrations WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)";
    fixture.execute(last).await.unwrap();
    let unready = fixture.metadata.ready().await.err().unwrap();
    fixture.metadata.close().await;
    let options = MetadataOptions {
        migrate: false,
        ..fixture.options.clone()
    };
    let refused = Metadata::open(&options).await.err().unwrap();
    for error in [unready, refused] {
        let text = error.to_string();
        assert!(text.contains("run `berth migrate`"), "{text}");
    }
}

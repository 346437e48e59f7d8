//! The schema: the same on both databases; and what the layer says of a database that would lose data.

use berth::metadata::{Metadata, MetadataError};

use crate::contracts;
use crate::fixture::{Fixture, together};
use crate::support::database::TestDatabase;

contracts![
    both_databases_have_the_same_columns,
    both_databases_have_the_same_indexes,
    both_databases_have_the_same_foreign_keys,
    a_migrated_database_is_opened_as_it_is,
    a_database_that_loses_commits_is_refused,
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
     (SELECT group_concat(name, ',') FROM (SELECT c.name FROM pragma_index_info(i.name) c ORDER BY c.seqno)) \
     FROM sqlite_master m, pragma_index_list(m.name) i \
     WHERE m.type = 'table' AND m.name <> '_sqlx_migrations' AND i.origin = 'c' ORDER BY 1";
const POSTGRES_INDEXES: &str = "SELECT i.relname || CASE x.indisunique WHEN true THEN ' unique' ELSE '' END || \
     CASE WHEN x.indpred IS NOT NULL THEN ' partial' ELSE '' END || ' ' || t.relname || ' ' || \
     (SELECT string_agg(a.attname, ',' ORDER BY k.place) FROM unnest(x.indkey) WITH ORDINALITY AS k (number, place) \
      JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number) \
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

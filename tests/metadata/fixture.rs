//! A database of one contract's own, short words for what the contracts put into it, and a look past the layer at the
//! rows themselves.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use berth::clock::Millis;
use berth::config::{Config, DatabaseLocation};
use berth::metadata::{
    Account, DeletionKind, Metadata, MetadataError, MetadataOptions, NewBlob, NewDeletion,
    NewManifest, NewWorkspace, Repository, RepositoryId, TagChange, Transaction,
};
use berth::oci::{MediaType, Tag};
use berth::telemetry::DatabaseLatency;
use berth_storage::{Digest, DigestAlgorithm, ObjectKey};
use bytes::Bytes;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::support::database::{Location, TestDatabase};

/// When everything begins, unless a contract says otherwise.
pub(crate) const START: Millis = Millis(1_767_225_600_000);
/// The workspace that everything belongs to, unless a contract says otherwise.
pub(crate) const WORKSPACE: &str = "workspace-one";
/// Another one.
pub(crate) const OTHER_WORKSPACE: &str = "workspace-two";
/// Who does everything.
pub(crate) const ACTOR: &str = "key:one";
/// How often a change is tried while others get in its way: as often as the use-cases try.
pub(crate) const ATTEMPTS: u32 = 4;
/// Past this, something that should go on is stuck.
pub(crate) const STUCK: Duration = Duration::from_secs(30);

/// A migrated database with two workspaces.
pub(crate) struct Fixture {
    pub(crate) metadata: Metadata,
    pub(crate) database: TestDatabase,
    pub(crate) options: MetadataOptions,
    _location: Arc<Location>,
    _directory: Arc<TempDir>,
}

/// Tries a change again while others get in its way, and panics with any other error.
macro_rules! retried {
    ($attempt:expr) => {{
        let mut left = $crate::fixture::ATTEMPTS;
        loop {
            left -= 1;
            match $attempt {
                Err(error) if error.is_conflict() && left > 0 => {}
                result => break result.expect("the change succeeds in a few attempts"),
            }
        }
    }};
}
pub(crate) use retried;

impl Fixture {
    pub(crate) async fn open(database: TestDatabase) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let location = database.make().await;
        let options = MetadataOptions {
            location: match &location {
                Location::Sqlite => DatabaseLocation::Sqlite(directory.path().join("berth.db")),
                Location::Postgres { url, .. } => DatabaseLocation::Postgres(url.parse().unwrap()),
            },
            max_connections: 6,
            acquire_timeout: STUCK,
            statement_timeout: STUCK,
            memory_entries: 1_000,
            memory_bytes: 1_000_000,
            ..MetadataOptions::of(&Config::default(), DatabaseLatency::unseen())
        };
        let metadata = Metadata::open(&options).await.unwrap();
        let fixture = Self {
            metadata,
            database,
            options,
            _location: Arc::new(location),
            _directory: Arc::new(directory),
        };
        fixture.make_workspaces().await;
        fixture
    }

    async fn make_workspaces(&self) {
        let mut change = self.metadata.begin().await.unwrap();
        let account = Account {
            id: String::from("account"),
            name: String::from("main"),
            created_at: START,
        };
        change.insert_account(&account).await.unwrap();
        for (id, name, team_key) in [(WORKSPACE, "one", "1111"), (OTHER_WORKSPACE, "two", "2222")] {
            let workspace = NewWorkspace {
                id: String::from(id),
                name: String::from(name),
                account_id: account.id.clone(),
                prefix: format!("t-{team_key}"),
                team_key: Some(String::from(team_key)),
                namespace: None,
                display_name: None,
                quota_bytes: None,
                created_at: START,
            };
            change.insert_workspace(&workspace).await.unwrap();
        }
        change.commit().await.unwrap();
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.database == TestDatabase::Sqlite
    }

    /// A change that is begun and committed around `steps`, which sees it by itself.
    pub(crate) async fn change<T>(
        &self,
        steps: impl AsyncFnOnce(&mut Transaction) -> Result<T, MetadataError>,
    ) -> Result<T, MetadataError> {
        let mut change = self.metadata.begin().await?;
        let result = steps(&mut change).await?;
        change.commit().await?;
        Ok(result)
    }

    pub(crate) async fn repository(&self, name: &str) -> Repository {
        self.repository_of(WORKSPACE, name).await
    }

    pub(crate) async fn repository_of(&self, workspace: &str, name: &str) -> Repository {
        let name = name.parse().unwrap();
        self.change(async |change| change.ensure_repository(workspace, &name, START).await)
            .await
            .unwrap()
    }

    /// A blob that is stored, and linked to the repository.
    pub(crate) async fn blob(&self, repository: RepositoryId, content: &str) -> Digest {
        let blob = new_blob(content);
        self.change(async |change| {
            change.record_object(blob.object_key, None, START).await?;
            change.store_blob(&blob, None, START, START).await?;
            change.link(repository, &blob.digest, START).await
        })
        .await
        .unwrap();
        blob.digest
    }

    /// A manifest of this content that needs these blobs.
    pub(crate) async fn manifest(
        &self,
        repository: RepositoryId,
        content: &str,
        blobs: &[Digest],
    ) -> Digest {
        let manifest = TestManifest::new(content).needing(blobs);
        self.change(async |change| manifest.put(change, repository, START).await)
            .await
            .unwrap()
    }

    /// A manifest with a deletion of its own, deleted at `now`.
    pub(crate) async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
        now: Millis,
    ) -> String {
        self.change(async |change| {
            let deletion = open_deletion(change, repository, now).await?;
            change
                .remove_tags_of(repository.id, digest, ACTOR, now, &deletion)
                .await?;
            change
                .remove_manifest(repository.id, digest, &deletion, now)
                .await?;
            Ok(deletion)
        })
        .await
        .unwrap()
    }

    /// Another process on the same database, or on SQLite the same one again.
    pub(crate) async fn open_again(&self) -> Metadata {
        Metadata::open(&self.options).await.unwrap()
    }

    pub(crate) async fn rows(&self) -> Rows {
        match &self.options.location {
            DatabaseLocation::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(path)
                    .foreign_keys(true)
                    .busy_timeout(STUCK);
                Rows::Sqlite(SqliteConnection::connect_with(&options).await.unwrap())
            }
            DatabaseLocation::Postgres(url) => {
                Rows::Postgres(PgConnection::connect(url.expose()).await.unwrap())
            }
        }
    }

    pub(crate) async fn number(&self, statement: &str) -> i64 {
        self.rows().await.number(statement).await
    }

    pub(crate) async fn texts(&self, statement: &str) -> Vec<String> {
        self.rows().await.texts(statement).await
    }

    pub(crate) async fn execute(&self, statement: &str) -> Result<u64, sqlx::Error> {
        self.rows().await.execute(statement).await
    }
}

/// A connection past the metadata layer.
pub(crate) enum Rows {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

macro_rules! on_rows {
    ($rows:expr, $connection:ident => $expression:expr) => {
        match $rows {
            Rows::Sqlite($connection) => $expression,
            Rows::Postgres($connection) => $expression,
        }
    };
}

impl Rows {
    /// The one number that a statement answers; NULL is -1.
    pub(crate) async fn number(&mut self, statement: &str) -> i64 {
        let statement = AssertSqlSafe(statement.to_owned());
        let number: Option<i64> =
            on_rows!(self, c => sqlx::query_scalar(statement).fetch_one(c).await).unwrap();
        number.unwrap_or(-1)
    }

    pub(crate) async fn texts(&mut self, statement: &str) -> Vec<String> {
        let statement = AssertSqlSafe(statement.to_owned());
        on_rows!(self, c => sqlx::query_scalar(statement).fetch_all(c).await).unwrap()
    }

    pub(crate) async fn execute(&mut self, statement: &str) -> Result<u64, sqlx::Error> {
        let statement = AssertSqlSafe(statement.to_owned());
        on_rows!(self, c => sqlx::query(statement).execute(c).await.map(|done| done.rows_affected()))
    }
}

/// A manifest to be, whose bytes are its content.
#[derive(Clone)]
pub(crate) struct TestManifest {
    pub(crate) bytes: Bytes,
    pub(crate) media_type: &'static str,
    pub(crate) subject: Option<(Digest, Option<&'static str>, String)>,
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) children: BTreeSet<Digest>,
    pub(crate) platforms: Option<Vec<String>>,
}

impl TestManifest {
    pub(crate) fn new(content: &str) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(content.as_bytes()),
            media_type: MediaType::OCI_MANIFEST,
            subject: None,
            blobs: BTreeSet::new(),
            children: BTreeSet::new(),
            platforms: None,
        }
    }

    pub(crate) fn needing(mut self, blobs: &[Digest]) -> Self {
        self.blobs = blobs.iter().copied().collect();
        self
    }

    pub(crate) fn index_of(mut self, children: &[Digest]) -> Self {
        self.media_type = MediaType::OCI_INDEX;
        self.children = children.iter().copied().collect();
        self
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(DigestAlgorithm::Sha256, &self.bytes)
    }

    /// Puts it as a push does: what it needs is revived first.
    pub(crate) async fn put(
        &self,
        change: &mut Transaction,
        repository: RepositoryId,
        now: Millis,
    ) -> Result<Digest, MetadataError> {
        let blobs = change.need_links(repository, &self.blobs).await?;
        let children = change.present_manifests(repository, &self.children).await?;
        let needed: u64 = blobs.values().chain(children.values()).sum();
        change
            .put_manifest(&NewManifest {
                repository,
                digest: self.digest(),
                media_type: self.media_type,
                bytes: &self.bytes,
                subject: self.subject.clone(),
                blobs: &self.blobs,
                children: &self.children,
                total_bytes: needed + self.bytes.len() as u64,
                platforms: self.platforms.as_deref(),
                actor: ACTOR,
                now,
            })
            .await?;
        Ok(self.digest())
    }
}

pub(crate) fn digest_of(content: &str) -> Digest {
    Digest::of(DigestAlgorithm::Sha256, content.as_bytes())
}

/// A blob of this content, in an object of its own.
pub(crate) fn new_blob(content: &str) -> NewBlob {
    NewBlob {
        digest: digest_of(content),
        object_key: ObjectKey::random(),
        size_bytes: content.len() as u64,
    }
}

pub(crate) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub(crate) fn tag_change(repository: RepositoryId, tag: &Tag, now: Millis) -> TagChange<'_> {
    TagChange {
        repository,
        tag,
        actor: ACTOR,
        now,
    }
}

pub(crate) async fn open_deletion(
    change: &mut Transaction,
    repository: &Repository,
    now: Millis,
) -> Result<String, MetadataError> {
    change
        .open_deletion(&NewDeletion {
            workspace_id: &repository.workspace_id,
            repository: repository.id,
            name: &repository.name,
            kind: DeletionKind::Manifest,
            subject: "a test",
            tags: &[],
            digests: &[],
            bytes: 0,
            actor: ACTOR,
            now,
            restorable_until: now.plus(1_000),
        })
        .await
}

/// Runs tasks beside each other and returns what each came to, in their order.
pub(crate) async fn together<T, F>(tasks: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let running: Vec<_> = (0..tasks).map(|i| tokio::spawn(task(i))).collect();
    let mut results = Vec::new();
    for task in running {
        let result = tokio::time::timeout(STUCK, task).await;
        results.push(result.expect("no task is stuck").unwrap());
    }
    results
}

/// Asks until the answer is yes. For what only another task or the database's server can bring about.
pub(crate) async fn until(what: &str, mut yes: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let asking = async {
        while !yes().await {
            tick.tick().await;
        }
    };
    let seen = tokio::time::timeout(STUCK, asking).await;
    assert!(seen.is_ok(), "{what} never happened");
}

//! What the database said, remembered: authoritative where one process owns the database, a few seconds old elsewhere.
//!
//! A *fill* takes a ticket before its query begins and is dropped if its shard has moved on since. A change forgets its
//! keys before COMMIT and again after it, before anybody is answered, so that neither a reader that raced with it nor a
//! COMMIT whose outcome is unknown can leave an old value behind.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth_storage::Digest;
use quick_cache::sync::Cache;

use super::api_keys::ApiKey;
use super::blobs::LinkedBlob;
use super::changes::Changes;
use super::manifests::ManifestRow;
use super::pull_secrets::PullSecret;
use super::repositories::{Repository, RepositoryId};
use super::uploads::UploadRowCount;
use super::workspaces::Workspace;
use crate::oci::{RepositoryName, Tag};

/// Locks of a table: more than the threads that fill it.
const SHARDS: usize = 64;
/// How old a right may be where other processes change the same database. Invariant 5 allows five seconds for all of it.
const SHARED_RIGHTS_AGE: Duration = Duration::from_secs(3);

/// Something that a change made untrue.
#[derive(Clone, Debug)]
pub(super) enum Mark {
    /// The repository of this name came, went or became an image.
    Repository(RepositoryName),
    /// Where a tag points.
    Tag(RepositoryId, Tag),
    /// Whether a blob is linked, and to which object.
    Link(RepositoryId, Digest),
    /// Whether a manifest is there.
    Manifest(RepositoryId, Digest),
    /// Anything about a workspace.
    Workspace(Arc<Workspace>),
    /// An API key: its id and its hash.
    ApiKey(String, String),
    /// A pull secret: its id and its hash.
    PullSecret(String, String),
    /// A credential was revoked.
    Credential(String),
}

/// How long what was read may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// This process alone changes the database.
    Sole,
    /// Others change it too: content is never remembered, rights for a moment.
    Shared,
}

struct Entry<V> {
    value: V,
    asked_at: Instant,
}

impl<V: Clone> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            asked_at: self.asked_at,
        }
    }
}

/// The right to fill one key with the answer of a query that begins now.
pub(super) struct Ticket {
    generation: u64,
    asked_at: Instant,
}

/// One kind of thing remembered, bounded in number.
pub(super) struct Table<K, V> {
    entries: Cache<K, Entry<V>>,
    generations: [Mutex<u64>; SHARDS],
    hasher: RandomState,
    oldest: Option<Duration>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl<K, V> Table<K, V>
where
    K: Hash + Eq + Send + Sync + Clone + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn new(capacity: u64, oldest: Option<Duration>) -> Self {
        Self {
            entries: Cache::new(usize::try_from(capacity).unwrap_or(usize::MAX)),
            generations: std::array::from_fn(|_| Mutex::new(0)),
            hasher: RandomState::new(),
            oldest,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let entry = self.entries.get(key).filter(|entry| match self.oldest {
            None => true,
            Some(oldest) => entry.asked_at.elapsed() < oldest,
        });
        let counter = if entry.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        entry.map(|entry| entry.value)
    }

    pub(super) fn ticket(&self, key: &K) -> Ticket {
        Ticket {
            generation: *self.generation(key),
            asked_at: Instant::now(),
        }
    }

    pub(super) fn fill(&self, ticket: &Ticket, key: K, value: V) {
        if self.oldest == Some(Duration::ZERO) {
            return;
        }
        let generation = self.generation(&key);
        if *generation == ticket.generation {
            self.entries.insert(
                key,
                Entry {
                    value,
                    asked_at: ticket.asked_at,
                },
            );
        }
    }

    fn forget(&self, key: &K) {
        let mut generation = self.generation(key);
        *generation += 1;
        self.entries.remove(key);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "only the low bits choose the shard"
    )]
    fn generation(&self, key: &K) -> std::sync::MutexGuard<'_, u64> {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        // A poisoned lock guards a bare counter: its value is whole.
        self.generations[shard]
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn counts(&self) -> (u64, u64) {
        (
            self.hits.load(Ordering::Relaxed),
            self.misses.load(Ordering::Relaxed),
        )
    }
}

/// Hits and misses of one table, for the metrics.
#[derive(Clone, Copy, Debug)]
pub struct MemoryCount {
    /// The table's name.
    pub table: &'static str,
    /// Look-ups answered from memory.
    pub hits: u64,
    /// Look-ups that asked the database.
    pub misses: u64,
}

/// All tables.
pub(super) struct Memory {
    pub(super) repositories: Table<RepositoryName, Repository>,
    pub(super) tags: Table<(RepositoryId, Tag), Digest>,
    pub(super) links: Table<(RepositoryId, Digest), LinkedBlob>,
    pub(super) manifests: Table<(RepositoryId, Digest), ManifestRow>,
    pub(super) workspaces_by_id: Table<String, Arc<Workspace>>,
    pub(super) workspaces_by_prefix: Table<String, Arc<Workspace>>,
    pub(super) api_keys_by_id: Table<String, Arc<ApiKey>>,
    pub(super) api_keys_by_hash: Table<String, Arc<ApiKey>>,
    pub(super) pull_secrets_by_id: Table<String, Arc<PullSecret>>,
    pub(super) pull_secrets_by_hash: Table<String, Arc<PullSecret>>,
    pub(super) revoked_credentials: Table<String, bool>,
    /// By workspace. Nothing forgets them: they say by themselves what they are good for.
    pub(super) upload_rows: Table<String, UploadRowCount>,
    /// What changed since it was counted.
    pub(super) changes: Changes,
}

impl Memory {
    pub(super) fn new(ownership: Ownership, entries: u64) -> Self {
        let (content, rights) = match ownership {
            Ownership::Sole => (None, None),
            Ownership::Shared => (Some(Duration::ZERO), Some(SHARED_RIGHTS_AGE)),
        };
        Self {
            repositories: Table::new(entries, content),
            tags: Table::new(entries, content),
            links: Table::new(entries, content),
            manifests: Table::new(entries, content),
            workspaces_by_id: Table::new(entries, rights),
            workspaces_by_prefix: Table::new(entries, rights),
            api_keys_by_id: Table::new(entries, rights),
            api_keys_by_hash: Table::new(entries, rights),
            pull_secrets_by_id: Table::new(entries, rights),
            pull_secrets_by_hash: Table::new(entries, rights),
            revoked_credentials: Table::new(entries, rights),
            upload_rows: Table::new(entries, content),
            changes: Changes::default(),
        }
    }

    pub(super) fn forget(&self, marks: &[Mark]) {
        for mark in marks {
            match mark {
                Mark::Repository(name) => self.repositories.forget(name),
                Mark::Tag(repository, tag) => self.tags.forget(&(*repository, tag.clone())),
                Mark::Link(repository, digest) => self.links.forget(&(*repository, *digest)),
                Mark::Manifest(repository, digest) => {
                    self.manifests.forget(&(*repository, *digest));
                }
                Mark::Workspace(workspace) => {
                    self.workspaces_by_id.forget(&workspace.id);
                    self.workspaces_by_prefix.forget(&workspace.prefix);
                }
                Mark::ApiKey(id, hash) => {
                    self.api_keys_by_id.forget(id);
                    self.api_keys_by_hash.forget(hash);
                }
                Mark::PullSecret(id, hash) => {
                    self.pull_secrets_by_id.forget(id);
                    self.pull_secrets_by_hash.forget(hash);
                }
                Mark::Credential(id) => self.revoked_credentials.forget(id),
            }
        }
    }

    /// The same after COMMIT, whatever its outcome: what may have changed is counted again.
    pub(super) fn forget_and_note(&self, marks: &[Mark]) {
        self.forget(marks);
        self.changes.note(marks);
    }

    pub(super) fn counts(&self) -> Vec<MemoryCount> {
        [
            ("repositories", self.repositories.counts()),
            ("tags", self.tags.counts()),
            ("links", self.links.counts()),
            ("manifests", self.manifests.counts()),
            ("workspaces_by_id", self.workspaces_by_id.counts()),
            ("workspaces_by_prefix", self.workspaces_by_prefix.counts()),
            ("api_keys_by_id", self.api_keys_by_id.counts()),
            ("api_keys_by_hash", self.api_keys_by_hash.counts()),
            ("pull_secrets_by_id", self.pull_secrets_by_id.counts()),
            ("pull_secrets_by_hash", self.pull_secrets_by_hash.counts()),
            ("revoked_credentials", self.revoked_credentials.counts()),
            ("upload_rows", self.upload_rows.counts()),
        ]
        .map(|(table, (hits, misses))| MemoryCount {
            table,
            hits,
            misses,
        })
        .to_vec()
    }
}

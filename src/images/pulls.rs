//! When images were pulled last, and how much each workspace read: kept in memory and written down every few seconds, so
//! that no pull waits for a write. Losing a few is fine; nothing is decided by them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Images;
use crate::clock::Millis;
use crate::metadata::{EgressRow, MetadataError, PullRow, RepositoryId, Workspace};
use crate::oci::Tag;

/// Locks that pulls are spread over: more than the threads that answer them.
const SHARDS: usize = 16;
/// Images and tags remembered in one shard between two writings. The pulls of those beyond are lost.
const MAX_IN_SHARD: usize = 1_000;
/// Pairs of reader and owner remembered between two writings.
const MAX_PAIRS: usize = 10_000;
/// Rows written in one change: others write too.
const BATCH: usize = 100;

/// What was pulled since the last writing. Cheap to clone.
#[derive(Clone, Default)]
pub struct Pulls(Arc<Inner>);

#[derive(Default)]
struct Inner {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    /// By the reader and the owner.
    egress: Mutex<HashMap<String, HashMap<String, u64>>>,
    /// Held by whoever writes, so that the next one finds everything written that was noted before.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Shard {
    images: HashMap<RepositoryId, Pulled>,
    /// Images and tags in it.
    rows: usize,
}

struct Pulled {
    at: Millis,
    tags: HashMap<Tag, Millis>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters that a panic left half changed are a few pulls off.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn note(&mut self, repository: RepositoryId, tag: Option<&Tag>, now: Millis) {
        if !self.images.contains_key(&repository) {
            if self.rows >= MAX_IN_SHARD {
                return;
            }
            self.rows += 1;
            let tags = HashMap::new();
            self.images.insert(repository, Pulled { at: now, tags });
        }
        let Some(pulled) = self.images.get_mut(&repository) else {
            return;
        };
        pulled.at = now;
        let Some(tag) = tag else { return };
        if let Some(at) = pulled.tags.get_mut(tag) {
            *at = now;
        } else if self.rows < MAX_IN_SHARD {
            self.rows += 1;
            pulled.tags.insert(tag.clone(), now);
        }
    }

    fn take(&mut self) -> Vec<PullRow> {
        let mut rows = Vec::with_capacity(self.rows);
        for (repository, pulled) in std::mem::take(self).images {
            let row = |tag, at| PullRow {
                repository,
                tag,
                at,
            };
            rows.push(row(None, pulled.at));
            rows.extend(pulled.tags.into_iter().map(|(tag, at)| row(Some(tag), at)));
        }
        rows
    }
}

impl Pulls {
    /// Notes that an image was pulled, by a tag if one was named.
    pub fn note(&self, repository: RepositoryId, tag: Option<&Tag>, now: Millis) {
        let shard = self.0.hasher.hash_one(repository) % SHARDS as u64;
        #[expect(clippy::cast_possible_truncation, reason = "it is less than SHARDS")]
        let shard = &self.0.shards[shard as usize];
        lock(shard).note(repository, tag, now);
    }

    /// Begins to count what is sent of one blob.
    #[must_use]
    pub fn sending(&self, reader: &Arc<Workspace>, owner: String) -> Sending {
        Sending {
            pulls: self.clone(),
            reader: Arc::clone(reader),
            owner,
            bytes: 0,
        }
    }

    fn sent(&self, reader: &str, owner: &str, bytes: u64) {
        let mut egress = lock(&self.0.egress);
        if let Some(counted) = egress
            .get_mut(reader)
            .and_then(|owners| owners.get_mut(owner))
        {
            *counted = counted.saturating_add(bytes);
            return;
        }
        let pairs: usize = egress.values().map(HashMap::len).sum();
        if pairs < MAX_PAIRS {
            let owners = egress.entry(reader.to_owned()).or_default();
            owners.insert(owner.to_owned(), bytes);
        }
    }

    fn take_pulls(&self) -> Vec<PullRow> {
        let shards = self.0.shards.iter();
        shards.flat_map(|shard| lock(shard).take()).collect()
    }

    fn take_egress(&self) -> Vec<EgressRow> {
        let taken = std::mem::take(&mut *lock(&self.0.egress));
        let mut rows = Vec::new();
        for (reader, owners) in taken {
            rows.extend(owners.into_iter().map(|(owner, bytes)| EgressRow {
                reader: reader.clone(),
                owner,
                bytes,
            }));
        }
        rows
    }
}

/// Bytes of one blob on their way; they count when it ends, whole or not.
pub struct Sending {
    pulls: Pulls,
    reader: Arc<Workspace>,
    owner: String,
    bytes: u64,
}

impl Sending {
    /// More of them were sent.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.pulls.sent(&self.reader.id, &self.owner, self.bytes);
        }
    }
}

impl Images {
    /// Where pulls are noted.
    #[must_use]
    pub fn pulls(&self) -> &Pulls {
        &self.pulls
    }

    /// Writes down what was pulled since the last time. For a task in the background; what cannot be written is lost.
    pub async fn flush_pulls(&self) -> Result<(), MetadataError> {
        let _writing = self.pulls.0.writing.lock().await;
        let (pulls, egress) = (self.pulls.take_pulls(), self.pulls.take_egress());
        for batch in pulls.chunks(BATCH) {
            self.metadata.record_pulls(batch).await?;
        }
        for batch in egress.chunks(BATCH) {
            self.metadata.record_egress(batch).await?;
        }
        Ok(())
    }
}

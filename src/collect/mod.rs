//! What ends by itself: uploads that nobody uses, deletions that cannot be undone any more, what retention lets go, links
//! and blobs that nothing needs, and their objects.
//!
//! Work comes from rows with due times, in small batches; nothing walks the store, and nobody has to wait. Several
//! workers, of one server or of many, take different rows. Each step leaves the rows in good order, so that a worker may
//! end anywhere; what cannot be done now is tried again later, and keeps nothing else waiting.

mod clock_watch;
mod links;
mod objects;
mod pace;
mod report;
mod uploads;

use std::collections::HashSet;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_storage::Store;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use utoipa::ToSchema;

use crate::clock::{Clock, Millis, milliseconds};
use crate::config::{Config, DatabaseLocation};
use crate::images::{Images, RequestError};
use crate::metadata::{Metadata, MetadataError};
use crate::registry::{Registry, RegistryError};
use crate::retries::Retriable;
use crate::telemetry::Metrics;
use clock_watch::{ClockJumped, ClockWatch};
use pace::Pace;
use report::RoundView;
pub use report::{CollectionPreview, CollectionView, Explanation, PlaceView, QueueView, RunView};

/// How often due work is looked for.
const INTERVAL: Duration = Duration::from_secs(30);
/// Batches of one queue before another one has its turn.
const BATCHES_PER_TURN: u32 = 20;
/// Deletions that one worker takes at once.
const DELETIONS: u32 = 10;
/// Referrers that one worker looks at at once.
const REFERRERS: u32 = 100;

/// Why a part of a round was not finished.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Uploads or objects could not be collected.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Deletions, shares or leases could not be.
    #[error(transparent)]
    Images(#[from] RequestError),
    /// The database said no.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl Retriable for MetadataError {
    fn is_conflict(&self) -> bool {
        Self::is_conflict(self)
    }
}

/// Kinds of work, in the order in which one makes the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Sessions that rested too long.
    Uploads,
    /// Objects that were being written past their time.
    Abandoned,
    /// Images that are under a policy of retention.
    Retention,
    /// Referrers without a subject.
    Referrers,
    /// Deletions that cannot be undone any more.
    Deletions,
    /// Leases, shares and histories that have ended, and names of which no image came.
    Ended,
    /// Links that no manifest needs.
    Links,
    /// Objects that nobody needs.
    Objects,
}

impl Queue {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Uploads,
        Self::Abandoned,
        Self::Retention,
        Self::Referrers,
        Self::Deletions,
        Self::Ended,
        Self::Links,
        Self::Objects,
    ];

    /// Its name, as metrics and the API have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uploads => "uploads",
            Self::Abandoned => "abandoned",
            Self::Retention => "retention",
            Self::Referrers => "referrers",
            Self::Deletions => "deletions",
            Self::Ended => "ended",
            Self::Links => "links",
            Self::Objects => "objects",
        }
    }
}

/// What was collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CollectedView)]
pub struct Collected {
    /// Uploads that rested too long.
    pub uploads: u64,
    /// Tags and manifests that retention deleted; they can be restored.
    pub retired: u64,
    /// Deletions that were done for good.
    pub deletions: u64,
    /// Blobs that are not found in a repository since, and can be brought back.
    pub links_condemned: u64,
    /// Blobs that are no longer in a repository.
    pub links_removed: u64,
    /// Blobs that no repository has any more.
    pub blobs: u64,
    /// Their sizes in sum; their bytes go later.
    pub blob_bytes: u64,
    /// Objects that were deleted from the storage.
    pub objects: u64,
    /// How much that freed, as far as it is known.
    pub object_bytes: u64,
    /// What could not be done, and is tried again later.
    pub failures: u64,
    // Said of one turn only.
    #[serde(skip)]
    more: bool,
}

impl AddAssign for Collected {
    fn add_assign(&mut self, other: Self) {
        self.uploads += other.uploads;
        self.retired += other.retired;
        self.deletions += other.deletions;
        self.links_condemned += other.links_condemned;
        self.links_removed += other.links_removed;
        self.blobs += other.blobs;
        self.blob_bytes += other.blob_bytes;
        self.objects += other.objects;
        self.object_bytes += other.object_bytes;
        self.failures += other.failures;
        self.more |= other.more;
    }
}

/// What a collector works with.
pub struct CollectorParts {
    /// For uploads.
    pub registry: Registry,
    /// For deletions and retention.
    pub images: Images,
    /// For links, blobs and objects.
    pub metadata: Metadata,
    /// Where the bytes are.
    pub store: Store,
    /// The clock.
    pub clock: Clock,
    /// What is told of it.
    pub metrics: Metrics,
}

/// How long things stay, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Windows {
    upload_idle_ms: i64,
    link_grace_ms: i64,
    object_delay_ms: i64,
    dangling_referrer_ms: i64,
    undo_ms: i64,
    shared_untagged_ms: i64,
}

struct Inner {
    registry: Registry,
    images: Images,
    metadata: Metadata,
    store: Store,
    clock: Clock,
    metrics: Metrics,
    windows: Windows,
    sole_owner: bool,
    workers: u32,
    pace: Pace,
    watch: Mutex<ClockWatch>,
    last: Mutex<Option<(Millis, Collected)>>,
}

/// The collector of one server. Cheap to clone.
#[derive(Clone)]
pub struct Collector(Arc<Inner>);

impl Collector {
    /// A collector for one installation.
    #[must_use]
    pub fn new(parts: CollectorParts, config: &Config) -> Self {
        let collection = &config.collection;
        let CollectorParts {
            registry,
            images,
            metadata,
            store,
            clock,
            metrics,
        } = parts;
        Self(Arc::new(Inner {
            registry,
            images,
            metadata,
            store,
            clock,
            metrics,
            windows: Windows {
                upload_idle_ms: milliseconds(config.limits.upload_idle_seconds),
                link_grace_ms: milliseconds(collection.link_grace_seconds),
                object_delay_ms: milliseconds(collection.object_delay_seconds),
                dangling_referrer_ms: milliseconds(collection.dangling_referrer_seconds),
                undo_ms: milliseconds(collection.undo_window_seconds),
                shared_untagged_ms: milliseconds(config.images.shared_untagged_seconds),
            },
            sole_owner: matches!(config.database_location(), DatabaseLocation::Sqlite(_)),
            workers: collection.workers,
            pace: Pace::per_second(collection.objects_per_second),
            watch: Mutex::new(ClockWatch::new(Duration::from_secs(
                collection.link_grace_seconds,
            ))),
            last: Mutex::default(),
        }))
    }

    /// Gives up what an earlier run left half written. Only the sole owner of a database may take everything without
    /// a session; elsewhere another process may still be writing it.
    pub async fn sweep(&self) -> Result<(), RegistryError> {
        let Inner {
            metadata,
            store,
            sole_owner,
            ..
        } = &*self.0;
        let now = self.0.clock.now();
        let mut change = metadata.begin().await?;
        change.doom_abandoned_objects(*sole_owner, now).await?;
        change.commit().await?;
        if *sole_owner {
            let sessions: HashSet<_> = metadata.upload_object_keys().await?.into_iter().collect();
            for key in store.staged_keys().await? {
                if !sessions.contains(&key)
                    && let Err(error) = store.discard_staging(key).await
                {
                    tracing::warn!(%key, error = %error, "bytes that nobody knows stay in the staging folder");
                }
            }
        }
        Ok(())
    }

    /// Works until `stop` says so. What is under way then ends where it is, and is taken up by the next start.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let mut workers = JoinSet::new();
        for worker in 0..self.0.workers {
            // One after the other, so that they find different work.
            let delay = INTERVAL * worker / self.0.workers;
            workers.spawn(self.clone().work(delay, worker == 0, stop.clone()));
        }
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(error = %error, "a worker of the collector did not end in order");
            }
        }
    }

    /// `measures`: counting what waits costs more the more it is, so one worker of a server does it.
    async fn work(self, delay: Duration, measures: bool, mut stop: watch::Receiver<bool>) {
        let start = tokio::time::Instant::now() + delay;
        let mut interval = tokio::time::interval_at(start, INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let working = async {
                interval.tick().await;
                self.work_once(measures).await;
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = working => {}
            }
        }
    }

    async fn work_once(&self, measures: bool) {
        let done = async {
            let paused = self.paused().await?;
            self.0.metrics.set_collection_paused(paused.is_some());
            match paused {
                None => {
                    // What failed in a queue has been told.
                    self.round().await.ok();
                }
                Some(jumped) => tracing::error!(
                    by_ms = jumped.by_ms,
                    wait_seconds = jumped.left.as_secs(),
                    "the clock has jumped: nothing is collected until it is right again, or has stayed for this long"
                ),
            }
            if measures {
                self.queues(self.now().await?).await?;
            }
            Ok::<(), CollectError>(())
        };
        if let Err(error) = done.await {
            tracing::warn!(error = %error, "collecting will be tried again");
        }
    }

    /// The time by which windows are judged: the database's, where several servers share it.
    async fn now(&self) -> Result<Millis, MetadataError> {
        match &self.0.clock {
            Clock::Manual(_) => Ok(self.0.clock.now()),
            Clock::System => {
                let shared = self.0.metadata.time().await?;
                Ok(shared.unwrap_or_else(|| self.0.clock.now()))
            }
        }
    }

    /// Why nothing may be collected now. A clock that tests move is always right.
    async fn paused(&self) -> Result<Option<ClockJumped>, MetadataError> {
        Ok(self.look(self.now().await?))
    }

    fn look(&self, now: Millis) -> Option<ClockJumped> {
        if matches!(self.0.clock, Clock::Manual(_)) {
            return None;
        }
        self.watch().look(now, Instant::now()).err()
    }

    fn watch(&self) -> std::sync::MutexGuard<'_, ClockWatch> {
        // Whoever panicked with it left it as it was.
        self.0.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does all that is due now. What fails in one queue keeps no other one waiting; the first of it is told.
    pub async fn round(&self) -> Result<Collected, CollectError> {
        let mut total = Collected::default();
        loop {
            let (collected, failed) = self.pass().await;
            let more = collected.more;
            total += collected;
            if let Some((_, error)) = failed.into_iter().next() {
                return Err(error);
            }
            if !more {
                break;
            }
        }
        total.more = false;
        let ended_at = self.now().await?;
        *self.last() = Some((ended_at, total));
        self.0.metrics.collection_round_ended(ended_at.seconds());
        Ok(total)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<(Millis, Collected)>> {
        // It is written whole.
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_round(&self) -> Option<RoundView> {
        self.last().map(|(ended_at, collected)| RoundView {
            ended_at: ended_at.rfc3339(),
            collected,
        })
    }

    /// Gives each queue one turn.
    async fn pass(&self) -> (Collected, Vec<(Queue, CollectError)>) {
        let mut total = Collected::default();
        let mut failed = Vec::new();
        for queue in Queue::ALL {
            match self.turn(queue).await {
                Ok(collected) => total += collected,
                Err(error) => {
                    tracing::warn!(queue = queue.as_str(), error = %error, "a queue will be tried again");
                    self.0.metrics.collection_failed(queue.as_str(), 1);
                    failed.push((queue, error));
                }
            }
        }
        (total, failed)
    }

    /// Works on one queue for a while, unless the clock has jumped since the round began.
    async fn turn(&self, queue: Queue) -> Result<Collected, CollectError> {
        let now = self.now().await?;
        let mut total = Collected::default();
        if self.look(now).is_some() {
            return Ok(total);
        }
        for _ in 0..BATCHES_PER_TURN {
            let collected = match queue {
                Queue::Uploads => self.expire_uploads().await?,
                Queue::Abandoned => self.give_up_abandoned(now).await?,
                Queue::Retention => self.apply_retention(now).await?,
                Queue::Referrers => self.collect_referrers(now).await?,
                Queue::Deletions => self.purge_deletions(now).await?,
                Queue::Ended => self.forget_ended(now).await?,
                Queue::Links => self.collect_links(now).await?,
                Queue::Objects => self.delete_objects(now).await?,
            };
            self.tell(queue, &collected);
            let more = collected.more;
            total += collected;
            total.more = more;
            if !more {
                break;
            }
        }
        Ok(total)
    }

    fn tell(&self, queue: Queue, collected: &Collected) {
        let metrics = &self.0.metrics;
        for (what, count) in [
            ("uploads", collected.uploads),
            ("retired", collected.retired),
            ("deletions", collected.deletions),
            ("links_condemned", collected.links_condemned),
            ("links_removed", collected.links_removed),
            ("blobs", collected.blobs),
            ("objects", collected.objects),
        ] {
            metrics.collected(what, count);
        }
        metrics.collection_freed(collected.object_bytes);
        metrics.collection_failed(queue.as_str(), collected.failures);
    }

    async fn purge_deletions(&self, now: Millis) -> Result<Collected, CollectError> {
        let purged = self.0.images.purge_due(now, DELETIONS).await?;
        Ok(Collected {
            deletions: purged.purged,
            failures: purged.failed,
            more: purged.taken >= DELETIONS as usize,
            ..Collected::default()
        })
    }

    async fn apply_retention(&self, now: Millis) -> Result<Collected, CollectError> {
        let retained = self.0.images.apply_retention(now).await?;
        Ok(Collected {
            retired: retained.deleted,
            failures: retained.failed,
            more: retained.looked,
            ..Collected::default()
        })
    }

    async fn collect_referrers(&self, now: Millis) -> Result<Collected, CollectError> {
        let since = now.plus(-self.0.windows.dangling_referrer_ms);
        let (seen, retained) = self
            .0
            .images
            .collect_referrers(now, since, REFERRERS)
            .await?;
        Ok(Collected {
            retired: retained.deleted,
            failures: retained.failed,
            more: seen >= REFERRERS as usize,
            ..Collected::default()
        })
    }

    async fn forget_ended(&self, now: Millis) -> Result<Collected, CollectError> {
        let mut collected = Collected {
            more: self.0.images.forget_ended(now).await?,
            ..Collected::default()
        };
        collected += self.forget_unused_names(now).await?;
        Ok(collected)
    }
}

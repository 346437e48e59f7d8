//! What the collector tells: how much waits, what goes when, and why something is kept.

use std::time::Instant;

use berth_storage::Digest;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Collected, Collector, Queue};
use crate::auth::RequestError;
use crate::clock::Millis;
use crate::grammar::Time;
use crate::metadata::{HoldTimes, Holding, KeptRow, MetadataError, Waiting, WaitingRow};
use crate::oci::RepositoryName;

/// Repositories that an explanation names at most.
const PLACES: usize = 100;

/// A queue of the collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueView {
    /// Its name.
    #[schema(examples("links"))]
    pub name: &'static str,
    /// How many things wait in it.
    pub length: u64,
    /// What they weigh, as far as that is known.
    pub bytes: u64,
    /// How many of them are due.
    pub due: u64,
    /// What those weigh.
    pub due_bytes: u64,
    /// When the first of all is due, or was.
    #[schema(value_type = Option<Time>, required)]
    pub first_due_at: Option<String>,
}

/// A clock that cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseView {
    /// How far the clock jumped: ahead, or back where it is negative.
    pub clock_jumped_seconds: i64,
    /// After how many seconds the clock is believed, if it stays as it is.
    pub seconds_left: u64,
}

/// The last round of this server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoundView {
    /// When it ended.
    #[schema(value_type = Time)]
    pub ended_at: String,
    /// What it did.
    pub collected: Collected,
}

/// How the collector is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectionView {
    /// Why nothing is collected now; mostly nothing.
    #[schema(required)]
    pub paused: Option<PauseView>,
    /// The last round of this server, if there was one.
    #[schema(required)]
    pub last_round: Option<RoundView>,
    /// What waits, in the order in which it is looked at.
    pub queues: Vec<QueueView>,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// What it did.
    pub collected: Collected,
    /// What went wrong in a queue.
    #[schema(examples("objects: the storage is unavailable"))]
    pub errors: Vec<String>,
    /// Whether more is due.
    pub more: bool,
}

/// Something that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingView {
    /// The digest, key, id or name of it.
    #[schema(examples("sha256:4bf92f3577b34da6a3ce929d0e0e4736a4f2c1d9e8b7a6f5e4d3c2b1a0918273"))]
    pub what: String,
    /// The repository that it belongs to.
    #[schema(required, examples("t-6a1ba868/app"))]
    pub repository: Option<String>,
    /// What it weighs, as far as that is known.
    pub bytes: u64,
    /// What is going to happen to it.
    #[schema(examples("it leaves the repository"))]
    pub next: &'static str,
    /// When.
    #[schema(value_type = Time)]
    pub due_at: String,
}

/// What a queue has to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueuePreview {
    /// How much of it there is.
    #[serde(flatten)]
    pub queue: QueueView,
    /// What comes first.
    pub items: Vec<WaitingView>,
}

/// What the collector is going to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectionPreview {
    /// What waits, in the order in which it is looked at.
    pub queues: Vec<QueuePreview>,
}

/// Why a digest is in a repository, or when it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaceView {
    /// The full name of the repository.
    #[schema(examples("t-6a1ba868/app"))]
    pub repository: String,
    /// The name of its workspace.
    #[schema(examples("acme"))]
    pub workspace: String,
    /// `blob` or `manifest`.
    #[schema(examples("blob"))]
    pub kind: &'static str,
    /// Whether something keeps it for now.
    pub kept: bool,
    /// Why it is kept, or why it goes.
    #[schema(examples("tag v1 points to it"))]
    pub reasons: Vec<String>,
    /// When it goes from this repository at the earliest, where that is known.
    #[schema(value_type = Option<Time>, required)]
    pub goes_at: Option<String>,
}

/// Why a digest is stored, or when it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The digest.
    #[schema(examples("sha256:4bf92f3577b34da6a3ce929d0e0e4736a4f2c1d9e8b7a6f5e4d3c2b1a0918273"))]
    pub digest: String,
    /// Where it is, as far as the caller may know; the first hundred of each kind.
    pub places: Vec<PlaceView>,
    /// All of it in one sentence.
    #[schema(examples("it is kept by 1 of 2 repositories"))]
    pub summary: String,
}

impl Queue {
    /// The rows that wait in it, if it is one of those that can be counted.
    fn waiting(self) -> Option<Waiting> {
        match self {
            Self::Uploads => Some(Waiting::Uploads),
            Self::Retention => Some(Waiting::Retention),
            Self::Referrers => Some(Waiting::Referrers),
            Self::Deletions => Some(Waiting::Deletions),
            Self::Links => Some(Waiting::Links),
            Self::Objects => Some(Waiting::Objects),
            Self::Abandoned | Self::Ended => None,
        }
    }
}

impl Collector {
    /// How long after the time under which something waits it is due, in milliseconds.
    fn wait_ms(&self, queue: Waiting) -> i64 {
        let windows = &self.0.windows;
        match queue {
            Waiting::Uploads => windows.upload_idle_ms,
            Waiting::Referrers => windows.dangling_referrer_ms,
            Waiting::Links => windows.link_grace_ms,
            Waiting::Objects => self.settle_ms(),
            Waiting::Deletions | Waiting::Retention => 0,
        }
    }

    /// Every queue that can be counted.
    pub(super) async fn queues(
        &self,
        now: Millis,
    ) -> Result<Vec<(Waiting, QueueView)>, MetadataError> {
        let mut views = Vec::new();
        for queue in Queue::ALL {
            let Some(waiting) = queue.waiting() else {
                continue;
            };
            let wait = self.wait_ms(waiting);
            let length = self
                .0
                .metadata
                .queue_length(waiting, now.plus(-wait))
                .await?;
            let view = QueueView {
                name: queue.as_str(),
                length: length.length,
                bytes: length.bytes,
                due: length.due,
                due_bytes: length.due_bytes,
                first_due_at: length.first.map(|at| at.plus(wait).rfc3339()),
            };
            let overdue = length
                .first
                .map_or(0, |at| (now.0 - at.plus(wait).0).max(0));
            self.0.metrics.set_collection_queue(
                view.name,
                view.length,
                view.bytes,
                overdue.unsigned_abs() / 1000,
            );
            views.push((waiting, view));
        }
        Ok(views)
    }

    /// How the collector is.
    pub async fn status(&self) -> Result<CollectionView, RequestError> {
        let now = self.now().await?;
        let queues = self.queues(now).await?;
        Ok(CollectionView {
            paused: self.paused().await?.map(|jumped| PauseView {
                clock_jumped_seconds: jumped.by_ms / 1000,
                seconds_left: jumped.left.as_secs(),
            }),
            last_round: self.last_round(),
            queues: queues.into_iter().map(|(_, view)| view).collect(),
        })
    }

    /// Does what is due now, one turn of each queue. A clock that jumped is believed from then on if `force` says so.
    pub async fn run_now(&self, force: bool) -> Result<RunView, RequestError> {
        if let Some(jumped) = self.paused().await? {
            if !force {
                return Err(RequestError::Conflict(format!(
                    "the clock jumped by {} seconds: set it right, or say force if it is right now",
                    jumped.by_ms / 1000
                )));
            }
            let now = self.now().await?;
            self.watch().believe(now, Instant::now());
        }
        let (collected, failed) = self.pass().await;
        Ok(RunView {
            more: collected.more,
            collected,
            errors: failed
                .iter()
                .map(|(queue, error)| format!("{}: {error}", queue.as_str()))
                .collect(),
        })
    }

    /// What is going to be done, the first `limit` things of each queue by name.
    pub async fn preview(&self, limit: u32) -> Result<CollectionPreview, RequestError> {
        let now = self.now().await?;
        let mut queues = Vec::new();
        for (waiting, queue) in self.queues(now).await? {
            let wait = self.wait_ms(waiting);
            let rows = self.0.metadata.waiting_first(waiting, limit).await?;
            let item = |row: WaitingRow| WaitingView {
                next: next_step(waiting, &row),
                what: row.what,
                repository: row.repository,
                bytes: row.bytes,
                due_at: row.at.plus(wait).rfc3339(),
            };
            queues.push(QueuePreview {
                queue,
                items: rows.into_iter().map(item).collect(),
            });
        }
        Ok(CollectionPreview { queues })
    }

    /// Why a digest is kept where, or when it goes: in the repositories of one workspace or of all that `shows` lets
    /// through.
    pub async fn explain(
        &self,
        digest: &Digest,
        workspace_id: Option<&str>,
        shows: impl Fn(&RepositoryName) -> bool,
    ) -> Result<Explanation, RequestError> {
        let now = self.now().await?;
        let windows = &self.0.windows;
        let times = HoldTimes {
            now,
            history_since: now.plus(-windows.undo_ms),
            shared_since: now.plus(-windows.undo_ms.max(windows.shared_untagged_ms)),
        };
        let (blobs, manifests) = self
            .0
            .metadata
            .kept_places(digest, workspace_id, shows, &times, PLACES)
            .await?;
        let blobs = blobs.iter().map(|row| self.blob_place(row, now));
        let manifests = manifests.iter().map(|row| self.manifest_place(row, now));
        let places: Vec<PlaceView> = blobs.chain(manifests).collect();
        let kept = places.iter().filter(|place| place.kept).count();
        let summary = if places.is_empty() && workspace_id.is_some() {
            String::from("no repository that you may see has it")
        } else if places.is_empty() {
            String::from("no repository has it: its bytes are gone, or go by themselves")
        } else if kept > 0 {
            format!("it is kept by {kept} of {} repositories", places.len())
        } else {
            String::from("nothing keeps it: it goes when the last of these times has come")
        };
        Ok(Explanation {
            digest: digest.to_string(),
            places,
            summary,
        })
    }

    fn blob_place(&self, row: &KeptRow, now: Millis) -> PlaceView {
        let grace = self.0.windows.link_grace_ms;
        let mut reasons = reasons(row);
        let goes_at = match (row.restorable_until, row.unneeded_since) {
            (Some(_), _) => None,
            (None, Some(since)) if row.holders.is_empty() => {
                let condemned = row.condemned_at;
                reasons.push(match condemned {
                    Some(at) => format!(
                        "no manifest needs it, and since {} it is condemned: a manifest or an upload brings it back",
                        at.rfc3339()
                    ),
                    None => format!("no manifest needs it since {}", since.rfc3339()),
                });
                // It is condemned at the earliest now, and goes one grace after that.
                let condemned = condemned.unwrap_or_else(|| Millis(since.plus(grace).0.max(now.0)));
                Some(condemned.plus(grace))
            }
            (None, _) => None,
        };
        place(row, "blob", goes_at.is_none(), reasons, goes_at)
    }

    fn manifest_place(&self, row: &KeptRow, now: Millis) -> PlaceView {
        let mut reasons = reasons(row);
        let is_held = !reasons.is_empty();
        let goes_at = row.dangling_since.filter(|_| !is_held).map(|since| {
            reasons.push(String::from("what it refers to is not here"));
            Millis(since.plus(self.0.windows.dangling_referrer_ms).0.max(now.0))
        });
        if reasons.is_empty() {
            reasons.push(String::from(
                "nothing points to it: it stays until a policy of retention takes it, or somebody deletes it",
            ));
        }
        place(row, "manifest", goes_at.is_none(), reasons, goes_at)
    }
}

fn place(
    row: &KeptRow,
    kind: &'static str,
    kept: bool,
    reasons: Vec<String>,
    goes_at: Option<Millis>,
) -> PlaceView {
    PlaceView {
        repository: row.repository.to_string(),
        workspace: row.workspace.clone(),
        kind,
        kept,
        reasons,
        goes_at: goes_at.map(Millis::rfc3339),
    }
}

/// What holds a digest, for people.
fn reasons(row: &KeptRow) -> Vec<String> {
    let mut reasons: Vec<String> = row
        .holders
        .iter()
        .map(|(holding, name)| match holding {
            Holding::Manifest => format!("the manifest {name} needs it"),
            Holding::DeletedManifest => {
                format!("the deleted manifest {name} needs it, until that is done for good")
            }
            Holding::Tag => format!("tag {name} points to it"),
            Holding::Lease => format!("the lease {name} holds it"),
            Holding::Index => format!("the index {name} has it as a child"),
            Holding::DeletedIndex => {
                format!("the deleted index {name} has it as a child, until that is done for good")
            }
            Holding::FormerTag => format!("tag {name} pointed to it a short while ago"),
            Holding::DeletedTag => {
                format!("the deleted tag {name} points to it, until that is done for good")
            }
            Holding::Subject => format!("it refers to {name}"),
        })
        .collect();
    if let Some(until) = row.restorable_until {
        reasons.push(format!(
            "it was deleted, and can be restored until {}",
            until.rfc3339()
        ));
    }
    if let Some(at) = row.damaged_at {
        reasons.push(format!(
            "its bytes are damaged or missing, as was found at {}: it is not served until somebody uploads it again",
            at.rfc3339()
        ));
    }
    reasons
}

fn next_step(waiting: Waiting, row: &WaitingRow) -> &'static str {
    match waiting {
        Waiting::Uploads => "the upload ends",
        Waiting::Retention => "the images of the workspace are looked at",
        Waiting::Referrers => "it is deleted if its subject is not there and nothing else holds it",
        Waiting::Deletions => "the deletion is done for good, unless somebody leases what it hides",
        Waiting::Links if row.is_condemned => "it leaves the repository",
        Waiting::Links => "it is condemned: not found any more, but it can be brought back",
        Waiting::Objects => "its bytes are deleted",
    }
}

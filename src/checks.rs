//! Checking the storage against the rows: is everything there that should be, as it should be, and nothing else?
//!
//! A check is a walk in the order of the objects' keys, in slices of a few seconds each. A slice ends with a cursor, by
//! which the next one goes on, on any server of the installation: so a check of any length needs no state, can be left
//! and taken up again, and stops nobody. What looks wrong is looked at once more before it is called so, since pushes
//! and collection go on beside it.

mod cursor;
mod finding;

use std::collections::BTreeMap;
use std::time::Duration;

use berth_storage::{Digest, Hasher, ObjectKey, Store, StoreError};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::audit;
use crate::auth::{Principal, RequestError, Right, require};
use crate::clock::Clock;
use crate::metadata::{CheckedBlob, Metadata, MetadataError, ObjectRow, ObjectState};
use cursor::{Cursor, Hashing};
pub use finding::{FindingView, Problem};

/// How long one slice looks at objects; it ends after the object it is at, or in the middle of one that it hashes.
const SLICE: Duration = Duration::from_secs(5);
/// Objects that one slice looks at at most.
const SLICE_OBJECTS: u32 = 1_000;
/// Findings after which a slice ends.
const SLICE_FINDINGS: usize = 200;
/// Repositories that a finding names at most.
const NAMED_REPOSITORIES: u32 = 10;

/// A request for one slice of a check.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"hash": true})))]
pub struct CheckRequest {
    /// Where to go on: `nextCursor` of the slice before. Without it the check begins.
    #[schema(max_length = 1024)]
    pub cursor: Option<String>,
    /// Whether the bytes are read and hashed too, rather than their number compared alone.
    #[serde(default)]
    pub hash: bool,
    /// Whether what is wrong is put right: damaged blobs are set aside until a push brings them anew, and objects that
    /// nothing knows are deleted.
    #[serde(default)]
    pub repair: bool,
}

/// What one slice of a check saw.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckView {
    /// Objects that were looked at to their end.
    pub examined: u64,
    /// Bytes that were hashed.
    pub hashed_bytes: u64,
    /// What is wrong.
    pub findings: Vec<FindingView>,
    /// Where the next slice begins; none when the check is over.
    #[schema(
        required,
        examples(
            "eyJhZnRlciI6ImFiMGQxZjZlLTBiN2UtNGY2Yi04YTUzLTBjNGYwZDBhNWUxMSIsImtleSI6bnVsbCwiaGFzaGVyIjpudWxsfQ"
        )
    )]
    pub next_cursor: Option<String>,
}

/// Why a slice could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The request is not right, or the caller may not.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The storage cannot be read, which says nothing of its objects.
    #[error("the storage cannot be read")]
    Storage(#[from] StoreError),
    /// The database cannot be read.
    #[error("the database cannot answer now")]
    Metadata(#[from] MetadataError),
}

/// The use-case. Cheap to clone.
#[derive(Clone)]
pub struct Checks {
    metadata: Metadata,
    store: Store,
    clock: Clock,
    object_delay_ms: i64,
}

/// One object, by what is known of it.
struct Candidate {
    key: ObjectKey,
    row: Option<ObjectRow>,
    listed_bytes: Option<u64>,
}

/// What is being done in a slice.
struct Slice {
    hash: bool,
    until: Instant,
    hashed_bytes: u64,
}

/// What a look at one object said.
enum Look {
    Fine,
    Wrong(Problem, Option<u64>),
    /// The time was over in the middle of it.
    Unfinished(Box<Hashing>),
}

impl Checks {
    /// Puts it together. What a repair gives up is deleted so many milliseconds later.
    #[must_use]
    pub fn new(metadata: Metadata, store: Store, clock: Clock, object_delay_ms: i64) -> Self {
        Self {
            metadata,
            store,
            clock,
            object_delay_ms,
        }
    }

    /// Checks the next slice.
    pub async fn check(
        &self,
        principal: &Principal,
        request: &CheckRequest,
    ) -> Result<CheckView, CheckError> {
        require(principal, Right::Operate)?;
        let id = self.metadata.installation_id().to_string();
        if !self.store.is_claimed_by(&id).await? {
            // A disk that is not mounted has no objects either, and none of them is damaged.
            return Err(CheckError::Request(RequestError::Conflict(String::from(
                "the storage does not carry the mark of this installation: is the right disk mounted, and the right \
                 bucket set?",
            ))));
        }
        let mut cursor = Cursor::read(request.cursor.as_deref())?;
        let (candidates, last) = self.candidates(cursor.after).await?;
        let mut slice = Slice {
            hash: request.hash,
            until: Instant::now() + SLICE,
            hashed_bytes: 0,
        };
        let mut view = CheckView {
            examined: 0,
            hashed_bytes: 0,
            findings: Vec::new(),
            next_cursor: None,
        };
        let mut is_over = last;
        for candidate in candidates {
            if Instant::now() >= slice.until || view.findings.len() >= SLICE_FINDINGS {
                is_over = false;
                break;
            }
            let begun = cursor.hashing.take();
            match self.look(&candidate, begun, &mut slice).await? {
                Look::Fine => {}
                Look::Wrong(problem, found) => {
                    let finding = self.finding(&candidate, problem, found).await?;
                    let repaired =
                        request.repair && self.repair(principal, &candidate, problem).await?;
                    view.findings.push(FindingView {
                        repaired,
                        ..finding
                    });
                }
                Look::Unfinished(hashing) => {
                    cursor.hashing = Some(*hashing);
                    is_over = false;
                    break;
                }
            }
            view.examined += 1;
            cursor.after = Some(candidate.key);
        }
        view.hashed_bytes = slice.hashed_bytes;
        view.next_cursor = (!is_over).then(|| cursor.text());
        Ok(view)
    }

    /// The next objects in the order of their keys, from the rows and from the storage, and whether they are the last.
    async fn candidates(
        &self,
        after: Option<ObjectKey>,
    ) -> Result<(Vec<Candidate>, bool), CheckError> {
        // The storage first: an object has its row before its first byte, so what is listed has been known before.
        let listed = self
            .store
            .list_objects(after, SLICE_OBJECTS as usize)
            .await?;
        let rows = self.metadata.objects_after(after, SLICE_OBJECTS).await?;
        let full = SLICE_OBJECTS as usize;
        // Beyond the end of a full page nothing is known of the other side.
        let ends = [
            (listed.len() == full).then(|| listed.last().map(|object| object.key)),
            (rows.len() == full).then(|| rows.last().map(|row| row.key)),
        ];
        let end = ends.into_iter().flatten().flatten().min();
        let mut candidates = BTreeMap::new();
        let within = |key: &ObjectKey| end.is_none_or(|end| *key <= end);
        for row in rows.into_iter().filter(|row| within(&row.key)) {
            let candidate = Candidate {
                key: row.key,
                row: Some(row),
                listed_bytes: None,
            };
            candidates.insert(row.key, candidate);
        }
        for object in listed.into_iter().filter(|object| within(&object.key)) {
            let candidate = candidates.entry(object.key).or_insert(Candidate {
                key: object.key,
                row: None,
                listed_bytes: None,
            });
            candidate.listed_bytes = Some(object.size_bytes);
        }
        Ok((candidates.into_values().collect(), end.is_none()))
    }

    async fn look(
        &self,
        candidate: &Candidate,
        begun: Option<Hashing>,
        slice: &mut Slice,
    ) -> Result<Look, CheckError> {
        let key = candidate.key;
        let Some(row) = candidate.row else {
            return self.look_at_unknown(key).await;
        };
        if row.state != ObjectState::Live {
            return Ok(Look::Fine);
        }
        let Some(blob) = row.blob else {
            let row = self.metadata.object(key).await?;
            let still = row.is_some_and(|row| row.state == ObjectState::Live && row.blob.is_none());
            return Ok(if still {
                Look::Wrong(Problem::Unneeded, candidate.listed_bytes)
            } else {
                Look::Fine
            });
        };
        let found = match candidate.listed_bytes {
            Some(size_bytes) if size_bytes == blob.size_bytes => Some(size_bytes),
            // It may have been published a moment ago.
            _ => self.store.size(key).await?,
        };
        let problem = match found {
            None => Problem::Missing,
            Some(size_bytes) if size_bytes != blob.size_bytes => Problem::WrongSize,
            // What was found damaged is called whole only when its bytes say so.
            Some(_) if slice.hash || blob.is_damaged => {
                return self.look_inside(key, blob, begun, slice).await;
            }
            Some(_) => return Ok(Look::Fine),
        };
        self.confirmed(key, blob, problem, found).await
    }

    async fn look_at_unknown(&self, key: ObjectKey) -> Result<Look, CheckError> {
        if self.metadata.object(key).await?.is_some() {
            return Ok(Look::Fine);
        }
        // Its row may have gone together with its bytes.
        Ok(match self.store.size(key).await? {
            Some(size_bytes) => Look::Wrong(Problem::Unknown, Some(size_bytes)),
            None => Look::Fine,
        })
    }

    async fn look_inside(
        &self,
        key: ObjectKey,
        blob: CheckedBlob,
        begun: Option<Hashing>,
        slice: &mut Slice,
    ) -> Result<Look, CheckError> {
        let begun = begun.filter(|begun| begun.fits(key));
        let mut hasher = match begun {
            Some(begun) => begun.hasher,
            None => Hasher::new(blob.digest.algorithm()),
        };
        match self.hash(key, &mut hasher, blob.size_bytes, slice).await {
            Ok(()) => {}
            Err(StoreError::Missing { .. }) => {
                return self.confirmed(key, blob, Problem::Missing, None).await;
            }
            Err(StoreError::OutOfRange { size_bytes, .. }) => {
                let found = Some(size_bytes);
                return self.confirmed(key, blob, Problem::WrongSize, found).await;
            }
            // A bad sector of one file: the others are looked at all the same.
            Err(error @ (StoreError::Io { .. } | StoreError::Backend { .. })) => {
                tracing::warn!(%key, error = %error, "an object cannot be read");
                return self.confirmed(key, blob, Problem::Unreadable, None).await;
            }
            Err(error) => return Err(error.into()),
        }
        if hasher.length() < blob.size_bytes {
            return Ok(Look::Unfinished(Box::new(Hashing { key, hasher })));
        }
        let is_whole = hasher.finish() == blob.digest;
        let found = Some(blob.size_bytes);
        match (is_whole, blob.is_damaged) {
            (true, false) => Ok(Look::Fine),
            (true, true) => Ok(Look::Wrong(Problem::Recovered, found)),
            (false, _) => {
                self.confirmed(key, blob, Problem::WrongContent, found)
                    .await
            }
        }
    }

    /// Hashes on to the end of the object, or of the time.
    async fn hash(
        &self,
        key: ObjectKey,
        hasher: &mut Hasher,
        size_bytes: u64,
        slice: &mut Slice,
    ) -> Result<(), StoreError> {
        if hasher.length() >= size_bytes {
            return Ok(());
        }
        let mut reader = self.store.read(key, hasher.length()..size_bytes).await?;
        while let Some(chunk) = reader.next().await {
            let chunk = chunk?;
            slice.hashed_bytes += chunk.len() as u64;
            hasher.update(&chunk);
            if Instant::now() >= slice.until {
                break;
            }
            // Chunks that are in memory come without waiting, and others want this thread too.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// A problem of a blob, if this object still is the one that holds it.
    async fn confirmed(
        &self,
        key: ObjectKey,
        blob: CheckedBlob,
        problem: Problem,
        found: Option<u64>,
    ) -> Result<Look, CheckError> {
        let row = self.metadata.object(key).await?;
        let holds = row
            .and_then(|row| row.blob)
            .is_some_and(|now| now.digest == blob.digest);
        Ok(if holds {
            Look::Wrong(problem, found)
        } else {
            Look::Fine
        })
    }

    async fn finding(
        &self,
        candidate: &Candidate,
        problem: Problem,
        found: Option<u64>,
    ) -> Result<FindingView, CheckError> {
        let blob = candidate.row.and_then(|row| row.blob);
        let repositories = match &blob {
            Some(blob) => {
                self.metadata
                    .members_of(&blob.digest, NAMED_REPOSITORIES)
                    .await?
            }
            None => Vec::new(),
        };
        Ok(FindingView {
            object: candidate.key.to_string(),
            problem,
            digest: blob.map(|blob| blob.digest.to_string()),
            expected_bytes: blob.map(|blob| blob.size_bytes),
            found_bytes: found,
            is_set_aside: blob.is_some_and(|blob| blob.is_damaged),
            repositories,
            repaired: false,
        })
    }

    /// Puts right what can be; whether that changed anything.
    async fn repair(
        &self,
        principal: &Principal,
        candidate: &Candidate,
        problem: Problem,
    ) -> Result<bool, CheckError> {
        let (key, now) = (candidate.key, self.clock.now());
        let due = now.plus(self.object_delay_ms);
        let digest: Option<Digest> = candidate
            .row
            .and_then(|row| row.blob)
            .map(|blob| blob.digest);
        let mut change = self.metadata.begin().await?;
        let (changed, action) = match (problem, &digest) {
            (Problem::Missing | Problem::WrongSize | Problem::WrongContent, Some(digest)) => {
                let changed = change.mark_damaged(digest, key, Some(now)).await?;
                (changed, "blob.set-aside")
            }
            (Problem::Recovered, Some(digest)) => {
                let changed = change.mark_damaged(digest, key, None).await?;
                (changed, "blob.take-back")
            }
            (Problem::Unknown, _) => {
                let changed = change.doom_unknown_object(key, due, now).await?;
                (changed, "object.delete")
            }
            (Problem::Unneeded, _) => (change.doom_object(key, due).await?, "object.delete"),
            (Problem::Unreadable, _) | (_, None) => return Ok(false),
        };
        if changed {
            let target = digest.map_or_else(|| key.to_string(), |digest| digest.to_string());
            let event = audit::done(principal, None, action, &target, now);
            change.audit(&event).await?;
            change.commit().await?;
        }
        Ok(changed)
    }
}

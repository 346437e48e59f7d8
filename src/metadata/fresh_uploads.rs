//! Upload sessions that have no row: those that have no bytes yet, and those that were completed in one request.
//!
//! Only where one process owns the database; elsewhere another one may get the next request of a session.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_storage::Digest;

use super::memory::Ownership;
use super::uploads::{UploadRow, UploadState};
use crate::clock::Millis;
use crate::oci::UploadId;

/// Sessions of each kind that are kept at most. Past it, an open one gets a row, and the oldest done one is forgotten.
const LIMIT: usize = 20_000;

/// The sessions of one process.
#[derive(Clone)]
pub(super) struct FreshUploads(Option<Arc<Mutex<Sessions>>>);

/// Open sessions and done ones are kept apart: however many blobs are pushed, no open session is given up for a done
/// one, which only answers a repeated request.
#[derive(Default)]
pub(super) struct Sessions {
    open: HashMap<UploadId, UploadRow>,
    /// How many of the open ones each workspace has.
    open_of: HashMap<String, usize>,
    done: HashMap<UploadId, UploadRow>,
    /// The done ones, oldest first.
    done_order: VecDeque<UploadId>,
}

impl FreshUploads {
    pub(super) fn new(ownership: Ownership) -> Self {
        Self((ownership == Ownership::Sole).then(Arc::default))
    }

    pub(super) fn lock(&self) -> Option<MutexGuard<'_, Sessions>> {
        // No change of the maps can panic half way through.
        self.0
            .as_ref()
            .map(|sessions| sessions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sessions {
    /// Keeps an open session, unless there are too many: then it needs a row.
    pub(super) fn open(&mut self, upload: UploadRow) -> bool {
        if self.open.len() >= LIMIT {
            return false;
        }
        *self.open_of.entry(upload.workspace_id.clone()).or_default() += 1;
        self.open.insert(upload.id, upload);
        true
    }

    pub(super) fn find(&self, id: UploadId) -> Option<UploadRow> {
        self.open.get(&id).or_else(|| self.done.get(&id)).cloned()
    }

    /// Takes an open session away.
    pub(super) fn take(&mut self, id: UploadId) -> Option<UploadRow> {
        let upload = self.open.remove(&id)?;
        forget_one(&mut self.open_of, &upload.workspace_id);
        Some(upload)
    }

    pub(super) fn finish(&mut self, mut upload: UploadRow, digest: Digest, now: Millis) {
        upload.state = UploadState::Done;
        upload.digest = Some(digest);
        upload.touched_at = now;
        if self.done.len() >= LIMIT
            && let Some(oldest) = self.done_order.pop_front()
        {
            self.done.remove(&oldest);
        }
        self.done_order.push_back(upload.id);
        self.done.insert(upload.id, upload);
    }

    pub(super) fn count_open(&self, workspace_id: &str) -> usize {
        self.open_of.get(workspace_id).copied().unwrap_or(0)
    }

    pub(super) fn count_all_open(&self) -> usize {
        self.open.len()
    }

    /// Forgets what nobody has used since.
    pub(super) fn expire(&mut self, idle_since: Millis, done_since: Millis) {
        let open_of = &mut self.open_of;
        self.open.retain(|_, upload| {
            let stays = upload.touched_at >= idle_since;
            if !stays {
                forget_one(open_of, &upload.workspace_id);
            }
            stays
        });
        self.done
            .retain(|_, upload| upload.touched_at >= done_since);
        self.done_order.retain(|id| self.done.contains_key(id));
    }
}

fn forget_one(open_of: &mut HashMap<String, usize>, workspace_id: &str) {
    if let Some(open) = open_of.get_mut(workspace_id) {
        *open -= 1;
        if *open == 0 {
            open_of.remove(workspace_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_storage::{DigestAlgorithm, ObjectKey, Progress};

    use super::*;

    fn upload(workspace_id: &str, touched_at: Millis) -> UploadRow {
        UploadRow {
            id: UploadId::random(),
            workspace_id: workspace_id.to_owned(),
            repository: "t-main/app".parse().unwrap(),
            algorithm: DigestAlgorithm::Sha256,
            object_key: ObjectKey::random(),
            state: UploadState::Open,
            epoch: 0,
            progress: Progress::start(DigestAlgorithm::Sha256),
            digest: None,
            actor: String::from("key:a"),
            touched_at,
        }
    }

    #[test]
    fn open_sessions_are_counted_for_each_workspace_however_they_end() {
        let mut sessions = Sessions::default();
        let taken = upload("a", Millis(5));
        for session in [
            taken.clone(),
            upload("a", Millis(1)),
            upload("a", Millis(5)),
            upload("b", Millis(5)),
        ] {
            assert!(sessions.open(session));
        }
        assert_eq!((sessions.count_open("a"), sessions.count_open("b")), (3, 1));
        sessions.take(taken.id).unwrap();
        assert!(sessions.take(taken.id).is_none());
        sessions.expire(Millis(2), Millis(2));
        assert_eq!((sessions.count_open("a"), sessions.count_open("b")), (1, 1));
        sessions.expire(Millis(9), Millis(9));
        assert!(sessions.open_of.is_empty());
    }
}

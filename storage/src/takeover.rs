//! One writer per upload, and the newest one wins.
//!
//! Owns who may touch the staging bytes of a key in this process. Whoever wants them makes a
//! [`Claim`], which tells every earlier holder to stop, and then waits for the [`Lease`]. The lease
//! travels into blocking work together with the open file and is given back only when both are
//! gone, so that a write that hangs in the kernel can never land behind the back of its successor.
//!
//! The table has one entry per key that is being written or waited for, so it is as long as the
//! requests of the server are many. Several processes on one folder are not its concern: a data
//! folder has one owner.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};

use crate::error::StoreError;
use crate::key::ObjectKey;

#[derive(Default)]
pub(crate) struct Takeover {
    uploads: Mutex<HashMap<ObjectKey, Entry>>,
}

struct Entry {
    /// The ticket of the newest claim; everyone with an older one must stop.
    newest: watch::Sender<u64>,
    lock: Arc<AsyncMutex<()>>,
    claims: usize,
}

impl Takeover {
    /// Tells all earlier claimants of this key to stop.
    pub(crate) fn claim(self: &Arc<Self>, key: ObjectKey) -> Claim {
        let mut uploads = self.uploads();
        let entry = uploads.entry(key).or_insert_with(|| Entry {
            newest: watch::Sender::new(0),
            lock: Arc::default(),
            claims: 0,
        });
        entry.claims += 1;
        entry.newest.send_modify(|ticket| *ticket += 1);
        let newest = entry.newest.subscribe();
        let ticket = *newest.borrow();
        Claim {
            lock: Arc::clone(&entry.lock),
            signal: StopSignal { newest, ticket },
            key,
            takeover: Arc::clone(self),
        }
    }

    /// Whether anybody holds this key or waits for it.
    pub(crate) fn is_claimed(&self, key: ObjectKey) -> bool {
        self.uploads().contains_key(&key)
    }

    /// How many keys are held or waited for.
    pub(crate) fn claimed_keys(&self) -> usize {
        self.uploads().len()
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<ObjectKey, Entry>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wish to have an upload.
pub(crate) struct Claim {
    lock: Arc<AsyncMutex<()>>,
    signal: StopSignal,
    key: ObjectKey,
    takeover: Arc<Takeover>,
}

impl Claim {
    /// Waits until the former holder has really stopped.
    ///
    /// # Errors
    /// `Superseded` if a newer claim was made meanwhile.
    pub(crate) async fn acquire(self) -> Result<Lease, StoreError> {
        let lock = Arc::clone(&self.lock);
        let guard = tokio::select! {
            biased;
            () = self.signal.clone().raised() => return Err(StoreError::Superseded { key: self.key }),
            guard = lock.lock_owned() => guard,
        };
        Ok(Lease(Arc::new(Held {
            _guard: guard,
            claim: self,
        })))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut uploads = self.takeover.uploads();
        if let Some(entry) = uploads.get_mut(&self.key) {
            entry.claims -= 1;
            if entry.claims == 0 {
                uploads.remove(&self.key);
            }
        }
    }
}

/// The right to touch the staging bytes of one key. Clones share it; when the last one is dropped, the next claimant
/// is let in.
#[derive(Clone)]
pub(crate) struct Lease(Arc<Held>);

struct Held {
    /// Dropped before the claim, so that an entry of the table outlives its locked lock.
    _guard: OwnedMutexGuard<()>,
    claim: Claim,
}

impl Lease {
    /// The key this lease is for.
    pub(crate) fn key(&self) -> ObjectKey {
        self.0.claim.key
    }

    /// A view of the order to stop that outlives the lease.
    pub(crate) fn signal(&self) -> StopSignal {
        self.0.claim.signal.clone()
    }

    /// # Errors
    /// `Superseded` if a newer claim was made.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.0.claim.signal.is_raised() {
            return Err(StoreError::Superseded { key: self.key() });
        }
        Ok(())
    }
}

/// Says whether the holder of a lease was told to stop.
#[derive(Clone)]
pub(crate) struct StopSignal {
    newest: watch::Receiver<u64>,
    ticket: u64,
}

impl StopSignal {
    pub(crate) fn is_raised(&self) -> bool {
        *self.newest.borrow() > self.ticket
    }

    /// Resolves when told to stop, or when nobody is left who could be told.
    pub(crate) async fn raised(mut self) {
        let ticket = self.ticket;
        let _last_or_closed = self.newest.wait_for(|newest| *newest > ticket).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_claim_waits_for_the_lease_before_it() {
        let takeover = Arc::new(Takeover::default());
        let key = ObjectKey::random();
        let first = takeover.claim(key).acquire().await.unwrap();
        assert!(first.check().is_ok());

        let mut second = Box::pin(takeover.claim(key).acquire());
        assert!(first.check().is_err());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.await.unwrap().check().is_ok());
    }

    #[tokio::test]
    async fn of_two_waiting_claims_the_newer_one_wins() {
        let takeover = Arc::new(Takeover::default());
        let key = ObjectKey::random();
        let first = takeover.claim(key).acquire().await.unwrap();
        let older = takeover.claim(key);
        let newer = takeover.claim(key);
        assert!(matches!(
            older.acquire().await,
            Err(StoreError::Superseded { .. })
        ));
        drop(first);
        assert!(newer.acquire().await.is_ok());
    }

    #[tokio::test]
    async fn an_entry_leaves_the_table_with_its_last_claim() {
        let takeover = Arc::new(Takeover::default());
        let key = ObjectKey::random();
        let lease = takeover.claim(key).acquire().await.unwrap();
        let waiting = takeover.claim(key);
        drop(lease);
        assert_eq!(takeover.uploads().len(), 1);
        drop(waiting);
        assert!(takeover.uploads().is_empty());
    }
}

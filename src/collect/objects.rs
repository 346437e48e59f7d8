//! Objects that nobody needs: first their bytes go, then their rows, so that nothing is forgotten that still takes space.

use berth_storage::StoreError;
use futures_util::{StreamExt as _, stream};

use super::{CollectError, Collected, Collector};
use crate::clock::Millis;
use crate::metadata::{DoomedObject, MetadataError};

/// Objects that one worker takes at once.
const BATCH: u32 = 100;
/// Objects of a batch whose bytes are deleted at one time: most of it is waiting for the store.
const AT_ONCE: usize = 8;
/// How long an object that was taken is nobody else's, in milliseconds: ten minutes.
const TAKEN_MS: i64 = 10 * 60 * 1000;
/// When an object that could not be deleted is tried again for the first time, in milliseconds. Each time in vain
/// doubles it.
const FIRST_RETRY_MS: i64 = 60 * 1000;
/// The longest that it is waited, in milliseconds: six hours.
const LAST_RETRY_MS: i64 = 6 * 60 * 60 * 1000;
/// How much later objects go where other servers write to the same store, in milliseconds: a quarter of an hour. One
/// that hung meanwhile, or what a killed one had sent, may still bring the bytes of an upload that it has lost.
const SETTLE_MS: i64 = 15 * 60 * 1000;

impl Collector {
    /// How much later than their rows say objects go.
    pub(super) fn settle_ms(&self) -> i64 {
        if self.0.store.is_shared() {
            SETTLE_MS
        } else {
            0
        }
    }

    /// Gives up objects that were being written and have no session, past their time.
    pub(super) async fn give_up_abandoned(&self, now: Millis) -> Result<Collected, CollectError> {
        let mut change = self.0.metadata.begin().await?;
        change.doom_abandoned_objects(false, now).await?;
        change.commit().await?;
        Ok(Collected::default())
    }

    /// Deletes a batch of doomed objects.
    pub(super) async fn delete_objects(&self, now: Millis) -> Result<Collected, CollectError> {
        let due = now.plus(-self.settle_ms());
        let mut change = self.0.metadata.begin().await?;
        let taken = change
            .take_doomed_objects(due, due.plus(TAKEN_MS), BATCH)
            .await?;
        change.commit().await?;
        let more = taken.len() >= BATCH as usize;
        if taken.is_empty() {
            return Ok(Collected::default());
        }
        let done: Vec<(DoomedObject, Result<(), StoreError>)> = stream::iter(taken)
            .map(async |object| {
                self.0.pace.step().await;
                (object, self.delete_object(&object).await)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let collected = match self.settle_objects(&done, now).await {
            Err(error) if error.is_conflict() => self.settle_each(&done, now).await?,
            settled => settled?,
        };
        Ok(Collected { more, ..collected })
    }

    /// Notes one by one what became of objects, since one of them keeps the others from it.
    async fn settle_each(
        &self,
        done: &[(DoomedObject, Result<(), StoreError>)],
        now: Millis,
    ) -> Result<Collected, MetadataError> {
        let mut collected = Collected::default();
        for one in done {
            match self.settle_objects(std::slice::from_ref(one), now).await {
                Ok(settled) => collected += settled,
                Err(error) => {
                    let key = one.0.key;
                    tracing::warn!(%key, error = %error, "an object could not be forgotten; later again");
                    let mut change = self.0.metadata.begin().await?;
                    change.postpone_object(key, now.plus(LAST_RETRY_MS)).await?;
                    change.commit().await?;
                    collected.failures += 1;
                }
            }
        }
        Ok(collected)
    }

    /// Notes what became of objects.
    async fn settle_objects(
        &self,
        done: &[(DoomedObject, Result<(), StoreError>)],
        now: Millis,
    ) -> Result<Collected, MetadataError> {
        let mut collected = Collected::default();
        let mut change = self.0.metadata.begin().await?;
        for (object, deleted) in done {
            match deleted {
                Ok(()) => {
                    if change.forget_object(object.key).await? {
                        collected.objects += 1;
                        collected.object_bytes += object.size_bytes;
                    }
                }
                Err(error) => {
                    let wait = FIRST_RETRY_MS << object.attempts.min(16);
                    let later = now.plus(wait.min(LAST_RETRY_MS));
                    tracing::warn!(
                        key = %object.key, attempts = object.attempts + 1, error = %error,
                        "an object could not be deleted; later again"
                    );
                    change.postpone_object(object.key, later).await?;
                    collected.failures += 1;
                }
            }
        }
        change.commit().await?;
        Ok(collected)
    }

    async fn delete_object(&self, object: &DoomedObject) -> Result<(), StoreError> {
        self.0.store.discard_staging(object.key).await?;
        self.0.store.delete(object.key).await
    }
}

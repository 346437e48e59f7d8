//! Object keys that are recorded before they are needed.
//!
//! No object comes to be without a row that knows its key, and that row is committed before the first byte. For a blob
//! of a few kilobytes that commit would be half of the work, so a busy registry records keys for the next blobs too. Those
//! that nobody uses are given up like any object that was never finished.

use berth_storage::ObjectKey;
use tokio::sync::Mutex;

use super::RegistryError;
use crate::clock::Millis;
use crate::metadata::Metadata;

/// How long an object without a session may be written to before it is given up: no single request lasts longer.
const OBJECT_WRITING_MS: i64 = 48 * 60 * 60 * 1000;
/// How long a key may lie unused: what then remains of the time to write is still more than any request takes.
const UNUSED_MS: i64 = 60 * 60 * 1000;
/// Keys that are recorded together at most.
const BATCH_LIMIT: usize = 64;

/// Keys that are recorded and not used yet.
#[derive(Default)]
pub(super) struct RecordedKeys(Mutex<Spare>);

#[derive(Default)]
struct Spare {
    keys: Vec<ObjectKey>,
    recorded_at: Option<Millis>,
    /// How many were recorded together the last time.
    batch: usize,
}

impl RecordedKeys {
    /// A key that is recorded, and that nobody else gets.
    pub(super) async fn take(
        &self,
        metadata: &Metadata,
        now: Millis,
    ) -> Result<ObjectKey, RegistryError> {
        let mut spare = self.0.lock().await;
        if !spare.are_fresh(now) {
            // Nobody pushed for a while, or the clock was set: begin again with as many as are needed, one.
            *spare = Spare::default();
        }
        if let Some(key) = spare.keys.pop() {
            return Ok(key);
        }
        let batch = (2 * spare.batch).clamp(1, BATCH_LIMIT);
        let key = ObjectKey::random();
        let mut keys = vec![key];
        keys.extend((1..batch).map(|_| ObjectKey::random()));
        let mut change = metadata.begin().await?;
        change
            .record_objects(&keys, Some(now.plus(OBJECT_WRITING_MS)), now)
            .await?;
        change.commit().await?;
        keys.swap_remove(0);
        *spare = Spare {
            keys,
            recorded_at: Some(now),
            batch,
        };
        Ok(key)
    }
}

impl Spare {
    fn are_fresh(&self, now: Millis) -> bool {
        self.recorded_at
            .is_some_and(|recorded| (0..UNUSED_MS).contains(&(now.0 - recorded.0)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::auth::testing::{START, metadata};

    #[tokio::test]
    async fn every_key_is_recorded_before_it_is_handed_out_and_none_twice() {
        let (metadata, _, _folder) = metadata().await;
        let keys = RecordedKeys::default();
        let mut seen = BTreeSet::new();
        for _ in 0..3 * BATCH_LIMIT {
            let key = keys.take(&metadata, START).await.unwrap();
            assert!(seen.insert(key));
            // A key that is recorded cannot be recorded again.
            let mut change = metadata.begin().await.unwrap();
            let again = change.record_objects(&[key], None, START).await;
            assert!(again.is_err());
        }
        assert_eq!(keys.0.lock().await.batch, BATCH_LIMIT);
    }

    #[tokio::test]
    async fn a_registry_that_is_seldom_pushed_to_records_one_key_at_a_time() {
        let (metadata, _, _folder) = metadata().await;
        let keys = RecordedKeys::default();
        let mut now = START;
        for _ in 0..5 {
            for _ in 0..3 {
                keys.take(&metadata, now).await.unwrap();
            }
            now = now.plus(UNUSED_MS);
            keys.take(&metadata, now).await.unwrap();
            let spare = keys.0.lock().await;
            assert_eq!((spare.batch, spare.keys.len()), (1, 0));
        }
        // As after a clock that was set back.
        keys.take(&metadata, now.plus(-1)).await.unwrap();
        assert_eq!(keys.0.lock().await.batch, 1);
    }
}

//! Links that no manifest needs: condemned when their grace is over, gone one grace later, and with the last link of a
//! digest its blob. Then the name goes too that they were pushed to, if it became no image.

use super::{CollectError, Collected, Collector};
use crate::clock::Millis;
use crate::metadata::{CollectedLinks, LinkTimes, Lock, MetadataError, RepositoryId};
use crate::oci::RepositoryName;
use crate::retries::with_retries;

/// Links that take a step in one change: few, since a push that needs one of them waits so long.
const BATCH: u32 = 50;

impl Collector {
    /// Takes a step with a batch of links.
    pub(super) async fn collect_links(&self, now: Millis) -> Result<Collected, CollectError> {
        let times = LinkTimes {
            now,
            waiting_since: now.plus(-self.0.windows.link_grace_ms),
            object_due: now.plus(self.0.windows.object_delay_ms),
        };
        let step = with_retries!(self.step_links(&times).await)?;
        Ok(Collected {
            links_condemned: step.condemned,
            links_removed: step.removed,
            blobs: step.blobs.count,
            blob_bytes: step.blobs.bytes,
            more: step.seen >= u64::from(BATCH),
            ..Collected::default()
        })
    }

    async fn step_links(&self, times: &LinkTimes) -> Result<CollectedLinks, MetadataError> {
        let mut change = self.0.metadata.begin().await?;
        let step = change.collect_links(times, BATCH).await?;
        if step.seen > 0 {
            change.commit().await?;
        }
        Ok(step)
    }

    /// Forgets a batch of names of which no image came.
    pub(super) async fn forget_unused_names(&self, now: Millis) -> Result<Collected, CollectError> {
        let until = now.plus(-2 * self.0.windows.link_grace_ms);
        let unused = self.0.metadata.unused_names(until, BATCH).await?;
        let mut failures = 0;
        for (repository, name) in &unused {
            if let Err(error) = with_retries!(self.forget_unused_name(*repository, name).await) {
                tracing::warn!(%name, %error, "a name of which no image came could not be forgotten; later again");
                failures += 1;
            }
        }
        Ok(Collected {
            failures,
            more: unused.len() >= BATCH as usize && failures == 0,
            ..Collected::default()
        })
    }

    async fn forget_unused_name(
        &self,
        repository: RepositoryId,
        name: &RepositoryName,
    ) -> Result<(), MetadataError> {
        let mut change = self.0.metadata.begin().await?;
        change.lock(repository, Lock::Exclusive).await?;
        // A push may have brought something while we waited for the lock.
        if change.forget_unused_name(repository, name).await? {
            change.commit().await?;
        }
        Ok(())
    }
}

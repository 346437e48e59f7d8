//! Sessions that nobody uses any more.

use super::{CollectError, Collected, Collector};

/// Sessions that are closed in one go.
const BATCH: u32 = 100;
/// How long a finished upload answers the same PUT again, in milliseconds.
const DONE_UPLOAD_MS: i64 = 60 * 60 * 1000;

impl Collector {
    /// Closes a batch of sessions that rested too long.
    pub(super) async fn expire_uploads(&self) -> Result<Collected, CollectError> {
        let now = self.now().await?;
        let idle_ms = self.0.windows.upload_idle_ms;
        let expired = self
            .0
            .registry
            .expire_uploads(now, idle_ms, DONE_UPLOAD_MS, BATCH)
            .await?;
        Ok(Collected {
            uploads: expired as u64,
            more: expired == BATCH as usize,
            ..Collected::default()
        })
    }
}

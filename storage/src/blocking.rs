//! The bridge to tokio's blocking threads.
//!
//! Disks block, so their work leaves the async threads here. The number of threads is tokio's limit
//! (512 unless the runtime's builder says otherwise); work beyond it waits in tokio's queue, whose
//! length is bounded by the requests being served, since each has at most three pieces of work
//! there.

use tokio::task::{JoinError, spawn_blocking};

use crate::error::StoreError;

/// Runs work that blocks. If the caller goes away the work still ends, and drops what it holds
/// then.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    joined(spawn_blocking(work).await)
}

/// The outcome of work, or that there was none.
pub(crate) fn joined<T>(
    outcome: Result<Result<T, StoreError>, JoinError>,
) -> Result<T, StoreError> {
    outcome.unwrap_or_else(|source| Err(StoreError::Interrupted { source }))
}

//! The places of blobs under way, and the turns of those who change manifests: no workspace takes all of either.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Http;
use super::error::DistributionError;
use crate::oci::ErrorCode;
use crate::shares::Share;

/// Changes of manifests that one workspace may have in the queue of the database at one time: the next one waits here,
/// where it stands in nobody else's way.
const TURNS_OF_WORKSPACE: usize = 2;
/// How long a change of a manifest waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// Workspaces whose turns are remembered.
const MAX_WORKSPACES: u64 = 10_000;

/// The turns of each workspace.
#[derive(Clone, Debug)]
pub struct Turns(moka::sync::Cache<String, Arc<Semaphore>>);

impl Default for Turns {
    fn default() -> Self {
        Self(moka::sync::Cache::new(MAX_WORKSPACES))
    }
}

impl Turns {
    /// Waits for a turn of a workspace.
    pub(super) async fn wait(
        &self,
        workspace_id: &str,
    ) -> Result<OwnedSemaphorePermit, DistributionError> {
        let turns = self.0.get_with_by_ref(workspace_id, || {
            Arc::new(Semaphore::new(TURNS_OF_WORKSPACE))
        });
        // The semaphore is never closed: no turn means that none came in time.
        match tokio::time::timeout(TURN_TIMEOUT, turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(busy(
                "too many manifests of this workspace wait to be stored",
            )),
        }
    }
}

impl Http {
    /// A place for a blob that is sent or received.
    pub(super) fn transfer(&self, workspace_id: &str) -> Result<Share<String>, DistributionError> {
        let place = self.transfers.take(workspace_id.to_owned(), 1);
        place.ok_or_else(|| {
            busy("too many blobs are under way at once").limit("limits.open_transfers")
        })
    }
}

fn busy(message: &str) -> DistributionError {
    DistributionError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::TooManyRequests,
        format!("{message}; try again in a few seconds"),
    )
    .header(RETRY_AFTER, "5")
}

//! Turns to change what a workspace has: whoever changes much at once waits here, where it stands in nobody else's way,
//! and not in the queue of the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Changes that one workspace may have in the queue of the database at one time.
const TURNS_OF_WORKSPACE: usize = 2;
/// How long a change waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// Workspaces whose turns are remembered.
const MAX_WORKSPACES: u64 = 10_000;

/// The turns of each workspace. Clones share them.
#[derive(Clone, Debug)]
pub struct Turns(moka::sync::Cache<String, Arc<Semaphore>>);

/// No turn came in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too many changes of this workspace wait for their turn; try again in a few seconds")]
pub struct NoTurn;

impl Default for Turns {
    fn default() -> Self {
        Self(moka::sync::Cache::new(MAX_WORKSPACES))
    }
}

impl Turns {
    /// Waits for a turn of a workspace.
    pub(crate) async fn wait(&self, workspace_id: &str) -> Result<OwnedSemaphorePermit, NoTurn> {
        let turns = self.0.get_with_by_ref(workspace_id, || {
            Arc::new(Semaphore::new(TURNS_OF_WORKSPACE))
        });
        // The semaphore is never closed: no turn means that none came in time.
        match tokio::time::timeout(TURN_TIMEOUT, turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(NoTurn),
        }
    }
}

//! The sign of life of a session that a request writes to, where several servers share the database.
//!
//! A server knows of its own writers alone. So a request that writes for long says in the session's row, now and then,
//! that it is at work, which keeps every other server from ending the session. In the same moment it learns whether
//! another request has taken the session, by the epoch, and stops.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Registry;
use crate::clock::Clock;
use crate::metadata::{Metadata, UploadRow};

/// Runs from when a request took a session until this is dropped.
pub(super) struct Heartbeat {
    /// Absent where nobody else could end or take the session unseen.
    beating: Option<(AbortHandle, watch::Receiver<bool>)>,
}

impl Registry {
    /// Says that a request is at work on a session that it took.
    pub(super) fn heartbeat(&self, upload: &UploadRow) -> Heartbeat {
        if !self.metadata.is_shared() {
            return Heartbeat::none();
        }
        let (lost, is_lost) = watch::channel(false);
        let beating = tokio::spawn(beat(
            self.metadata.clone(),
            self.clock.clone(),
            self.limits.heartbeat,
            upload.clone(),
            lost,
        ));
        Heartbeat {
            beating: Some((beating.abort_handle(), is_lost)),
        }
    }
}

impl Heartbeat {
    /// For a request whose session no other request can know of.
    pub(super) fn none() -> Self {
        Self { beating: None }
    }

    /// Returns when another request has the session.
    pub(super) async fn lost(&mut self) {
        if let Some((_, lost)) = &mut self.beating
            && lost.wait_for(|lost| *lost).await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if let Some((beating, _)) = &self.beating {
            beating.abort();
        }
    }
}

async fn beat(
    metadata: Metadata,
    clock: Clock,
    period: Duration,
    upload: UploadRow,
    lost: watch::Sender<bool>,
) {
    loop {
        tokio::time::sleep(period).await;
        match metadata
            .touch_upload(upload.id, upload.epoch, clock.now())
            .await
        {
            Ok(true) => {}
            Ok(false) => {
                lost.send_replace(true);
                return;
            }
            // The row keeps its last sign of life for long; whether the session is still ours is asked again when the
            // bytes are saved.
            Err(error) => {
                tracing::warn!(error = %error, upload = %upload.id, "an upload could not say that it goes on");
            }
        }
    }
}

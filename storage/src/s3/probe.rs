//! Whether the bucket can be used.
//!
//! Owns the trial with a small object, when the store is opened and whenever readiness asks, and the memory of the last
//! one: probes come often, and each costs the store two requests.

use std::sync::atomic::Ordering;
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::time::Instant;

use super::refusal::{explain, failed, unusable};
use super::{S3Options, S3Store};
use crate::error::StoreError;
use crate::listing::under;

/// Where the small objects come and go.
const PROBES: &str = "probe";
/// How long the outcome of a trial stands.
const STANDS: Duration = Duration::from_secs(5);
const CONTENT: &[u8] = b"berth";

/// The last trial.
#[derive(Default)]
pub(super) struct Probed {
    succeeded: Option<Instant>,
}

impl S3Store {
    /// Writes, reads and deletes a small object, and sees whether the store can refuse to write over one.
    pub(super) async fn try_out(&self, options: &S3Options) -> Result<(), StoreError> {
        let probe = self.probe();
        self.put_probe(&probe, PutMode::Overwrite)
            .await
            .map_err(|error| unusable(explain(&error, options)))?;
        // Some stores refuse a condition that they do not know, others pass over it.
        let creates = match self.put_probe(&probe, PutMode::Create).await {
            Err(Error::AlreadyExists { .. }) => true,
            Ok(()) | Err(_) => false,
        };
        if !creates {
            tracing::info!(
                "the object store knows no If-None-Match: it is asked for an object before that is written"
            );
        }
        self.creates.store(creates, Ordering::Relaxed);
        let tried = self.read_and_delete(&probe).await;
        match tried {
            Ok(true) => Ok(()),
            Ok(false) => Err(unusable(String::from(
                "the object store gives back other bytes than it was given",
            ))),
            Err(error) => Err(unusable(explain(&error, options))),
        }
    }

    /// Writes and deletes a small object, unless that succeeded a moment ago.
    pub(crate) async fn check_writable(&self) -> Result<(), StoreError> {
        // Held meanwhile: those who ask at the same time get the same answer.
        let mut probed = self.probed.lock().await;
        if probed.succeeded.is_some_and(|at| at.elapsed() < STANDS) {
            return Ok(());
        }
        probed.succeeded = None;
        let probe = self.probe();
        let failed = |error| failed("write a probe to", self.place.clone(), error);
        self.put_probe(&probe, PutMode::Overwrite)
            .await
            .map_err(failed)?;
        self.remove(&probe).await?;
        probed.succeeded = Some(Instant::now());
        Ok(())
    }

    async fn put_probe(&self, probe: &Path, mode: PutMode) -> Result<(), Error> {
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        let content = PutPayload::from_static(CONTENT);
        self.client
            .put_opts(probe, content, options)
            .await
            .map(|_| ())
    }

    async fn read_and_delete(&self, probe: &Path) -> Result<bool, Error> {
        let read = self.client.get(probe).await?.bytes().await?;
        self.client.delete(probe).await?;
        Ok(read == CONTENT)
    }

    /// The one of this process: a probe that was given up before its end leaves nothing that the next one does not
    /// write over and delete.
    fn probe(&self) -> Path {
        under(&self.root, &format!("{PROBES}/{}", self.probe_id))
    }
}

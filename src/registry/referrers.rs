//! Listing the manifests that refer to another one.

use berth_storage::Digest;

use super::{Registry, RegistryError};
use crate::auth::{Granted, Pull};

/// Referrers on one page at most.
const PAGE: u32 = 100;
/// Bytes of descriptors on one page: what a manifest may have, so that every client can take it.
const PAGE_BYTES: usize = 4 * 1024 * 1024 - 4096;

/// One page of referrers.
#[derive(Clone, Debug, Default)]
pub struct Referrers {
    /// Their descriptors, each a JSON object.
    pub descriptors: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<Digest>,
}

impl Registry {
    /// Manifests of this repository whose subject is `digest`, whether or not that one is here.
    pub async fn referrers(
        &self,
        granted: &Granted<Pull>,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&Digest>,
    ) -> Result<Referrers, RegistryError> {
        // The specification forbids 404 here: nothing pushed means nothing that refers.
        let Some(repository) = self.metadata.repository(granted.repository()).await? else {
            return Ok(Referrers::default());
        };
        let last = last.map(ToString::to_string).unwrap_or_default();
        let (rows, more) = self
            .metadata
            .referrers(
                repository.id,
                subject,
                artifact_type,
                &last,
                PAGE,
                PAGE_BYTES,
            )
            .await?;
        let next = if more {
            rows.last().map(|row| row.digest)
        } else {
            None
        };
        Ok(Referrers {
            descriptors: rows.into_iter().map(|row| row.descriptor).collect(),
            next,
        })
    }
}

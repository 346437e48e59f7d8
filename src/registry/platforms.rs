//! What a manifest runs on, as far as it says: for lists, and for nothing that is decided.

use std::collections::BTreeSet;

use bytes::BytesMut;
use futures_util::TryStreamExt as _;

use super::{Registry, RegistryError};
use crate::auth::{Granted, Push};
use crate::oci::{Descriptor, Manifest, Platform};

/// The largest configuration that is looked into.
const CONFIG_LIMIT_BYTES: u64 = 256 * 1024;
/// Platforms kept of one index at most.
const MAX_PLATFORMS: usize = 100;

impl Registry {
    /// The platforms of a manifest that is about to be stored; none when nothing says so. A push never fails for it.
    pub(super) async fn platforms(
        &self,
        granted: &Granted<Push>,
        manifest: &Manifest,
    ) -> Option<Vec<String>> {
        match manifest.config() {
            None => Some(of_index(manifest.children())),
            Some(config) if config.media_type.is_image_config() => {
                match self.of_config(granted, config).await {
                    Ok(platform) => platform.map(|platform| vec![platform]),
                    Err(error) => {
                        tracing::debug!(repository = granted.repository().as_str(), digest = %config.digest, error = %error,
                            "the configuration of an image could not be read");
                        None
                    }
                }
            }
            Some(_) => None,
        }
    }

    async fn of_config(
        &self,
        granted: &Granted<Push>,
        config: &Descriptor,
    ) -> Result<Option<String>, RegistryError> {
        let Some(repository) = self.metadata.repository(granted.repository()).await? else {
            return Ok(None);
        };
        let linked = self.metadata.linked_blob(repository.id, &config.digest);
        let Some(blob) = linked.await? else {
            return Ok(None);
        };
        if blob.size_bytes > CONFIG_LIMIT_BYTES {
            return Ok(None);
        }
        let mut reader = self.store.read(blob.object_key, 0..blob.size_bytes).await?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = reader.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(Platform::of_config(&bytes).and_then(|platform| platform.label()))
    }
}

/// In the order of the index, each once.
fn of_index(children: &[Descriptor]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    children
        .iter()
        .filter_map(|child| child.platform.as_ref()?.label())
        .filter(|label| seen.insert(label.clone()))
        .take(MAX_PLATFORMS)
        .collect()
}

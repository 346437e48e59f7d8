//! The store of the blobs, as the configuration wants it: a folder, or a bucket.

use std::fs::File;
use std::time::Duration;

use anyhow::Context as _;
use berth_storage::{LocalOptions, S3Credentials, S3Options, Store};

use super::own;
use crate::config::{Config, S3};
use crate::metadata::Metadata;

/// How many of the objects that the database knows are looked for in a store without a marker: of the first and of the
/// last ones each.
const SAMPLE: u32 = 3;

/// Opens the store, makes sure that it is this installation's, and takes what only one process may have: the folder of
/// the blobs, or that of the parts on their way to the bucket. What is wrong is one sentence that says what to do.
pub(super) async fn open_store(
    config: &Config,
    metadata: &Metadata,
) -> anyhow::Result<(Store, File)> {
    let s3 = &config.storage.s3;
    let (opened, owner, place) = if let Some(bucket) = &s3.bucket {
        let owner = own(&config.spool_path())?;
        let options = s3_options(config, s3, bucket);
        (Store::s3(options).await, owner, format!("bucket {bucket}"))
    } else {
        let blobs = config.blobs_path();
        // Two servers on one folder would not know of each other's writers, whatever they know of each other's rows.
        let owner = own(&blobs)?;
        let opened = Store::local(&blobs, LocalOptions::default()).await;
        (opened, owner, blobs.display().to_string())
    };
    let store = opened.with_context(|| format!("the blobs in {place} cannot be opened"))?;
    claim(&store, metadata)
        .await
        .with_context(|| format!("the blobs in {place} cannot be used"))?;
    Ok((store, owner))
}

/// Makes the store this installation's. One without a marker is new, or older than the marker: where the database knows
/// of blobs, some of them must lie there. An empty store would be filled anew, and every blob counted as lost.
async fn claim(store: &Store, metadata: &Metadata) -> anyhow::Result<()> {
    let installation_id = metadata.installation_id().to_string();
    if !store.is_claimed_by(&installation_id).await? {
        let known = metadata.some_live_objects(SAMPLE).await?;
        let mut is_there = known.is_empty();
        for key in known {
            is_there = is_there || store.size(key).await?.is_some();
        }
        anyhow::ensure!(
            is_there,
            "none of the blobs that the database knows is there: see that the folder is mounted, that the path or the \
             prefix is right, and that it was not emptied; if the blobs are really lost, write {installation_id} into an \
             object or file named installation there, and start again"
        );
    }
    Ok(store.claim(&installation_id).await?)
}

pub(super) fn s3_options(config: &Config, s3: &S3, bucket: &str) -> S3Options {
    let credentials = match (&s3.access_key_id, &s3.secret_access_key) {
        (Some(id), Some(secret)) => S3Credentials::Key {
            access_key_id: id.expose().to_owned(),
            secret_access_key: secret.expose().to_owned(),
        },
        _ => S3Credentials::Surroundings,
    };
    S3Options {
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        bucket: bucket.to_owned(),
        prefix: s3.prefix.clone(),
        credentials,
        virtual_hosted: s3.virtual_hosted,
        allow_http: s3.allow_http,
        part_bytes: s3.part_bytes,
        parts_in_flight: s3.parts_in_flight,
        request_timeout: Duration::from_secs(s3.request_timeout_seconds),
        retries: s3.retries,
        spool: config.spool_path(),
        redirect_endpoint: s3.redirect_endpoint.clone(),
    }
}

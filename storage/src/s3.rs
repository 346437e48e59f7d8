//! The store in a bucket of S3, or of anything that speaks like it.
//!
//! Owns the layout of the bucket below its prefix, the clients, and the budget of memory. An object lies at
//! `objects/ab/<uuid>` and is written there once; what an upload needs until then lies under `staging/<uuid>/`: the
//! note that names its multipart upload, and the tails of its requests.
//!
//! Several processes work on one bucket and see nothing of each other's writers. The epoch in the caller's row decides
//! between them; what is here makes sure that the one that lost leaves no byte in the object.

mod client;
mod probe;
mod progress;
mod publish;
mod read;
mod refusal;
mod spool;
mod staging;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use tokio::sync::{Mutex, Semaphore};
use uuid::Uuid;

use crate::buffers::Buffers;
use crate::claim::{MARKER, claim, claim_plainly, is_claimed};
use crate::error::StoreError;
use crate::key::{OBJECTS, ObjectKey};
use crate::listing::{ListedObject, list_page, under};
use probe::Probed;
use refusal::{failed, trouble};
use spool::SpoolFolder;

pub(crate) use progress::S3Progress;
pub(crate) use read::RemoteReader;
pub(crate) use upload::S3Upload;

/// The default of [`S3Options::part_bytes`].
pub const DEFAULT_PART_BYTES: u64 = 16 * 1024 * 1024;
/// The least [`S3Options::part_bytes`]: S3 takes no smaller part but the last.
pub const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
/// The greatest [`S3Options::part_bytes`]: a part is held in memory while it is sent.
pub const MAX_PART_BYTES: u64 = 512 * 1024 * 1024;

/// How a store in a bucket is reached, and what it may use. It holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct S3Options {
    /// The URL of the service without the bucket; that of AWS when absent.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket, which must exist.
    pub bucket: String,
    /// What the name of every object in the bucket starts with; folders, or nothing.
    pub prefix: String,
    /// Who asks.
    pub credentials: S3Credentials,
    /// Whether the bucket is part of the host's name rather than of the path.
    pub virtual_hosted: bool,
    /// Whether an endpoint without TLS will do.
    pub allow_http: bool,
    /// The size of every part of a large object but the last. Values outside of [`MIN_PART_BYTES`] to
    /// [`MAX_PART_BYTES`] count as the nearer limit.
    pub part_bytes: u64,
    /// How many parts are in memory at one time, in the whole process; at least 1.
    pub parts_in_flight: usize,
    /// How long one request may take, and how long a download may be silent.
    pub request_timeout: Duration,
    /// How often a request that failed on its way, or by the store's own fault, is tried again.
    pub retries: usize,
    /// A folder for the parts that are being filled; emptied when the store is opened. One process owns it.
    pub spool: PathBuf,
    /// The URL that clients reach the service at, for redirects; `endpoint` when absent.
    pub redirect_endpoint: Option<String>,
}

/// Who asks an object store.
#[derive(Clone)]
pub enum S3Credentials {
    /// A key that does not change.
    Key {
        /// Its public half.
        access_key_id: String,
        /// Its secret half.
        secret_access_key: String,
    },
    /// What the surroundings give, as AWS names it: the variables `AWS_…`, a web identity, the container's or the
    /// machine's role.
    Surroundings,
}

pub(crate) struct S3Store {
    /// For requests that end soon: all of a request is bounded in time.
    client: AmazonS3,
    /// For downloads, which last as long as their readers: their silence is bounded.
    downloads: AmazonS3,
    /// Signs URLs for clients; sends nothing.
    redirects: AmazonS3,
    root: Path,
    /// The bucket and the prefix, as messages name them.
    place: String,
    part_bytes: u64,
    /// Of parts in memory.
    budget: Arc<Semaphore>,
    /// Of the size of a part. As many are made as the budget has places.
    buffers: Buffers,
    spool: SpoolFolder,
    silence: Duration,
    /// Whether the store can make an object only if there is none.
    creates: AtomicBool,
    probed: Mutex<Probed>,
    /// Names the small object of this process.
    probe_id: Uuid,
}

impl S3Store {
    /// The size of the parts of new uploads.
    pub(crate) fn part_bytes(&self) -> u64 {
        self.part_bytes
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) async fn size(&self, key: ObjectKey) -> Result<Option<u64>, StoreError> {
        match self.client.head(&self.object(key)).await {
            Ok(object) => Ok(Some(object.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("inspect", key.object_path(), error)),
        }
    }

    /// Deletes the object and whatever an upload of it left.
    pub(crate) async fn delete(&self, key: ObjectKey) -> Result<(), StoreError> {
        self.remove(&self.object(key)).await?;
        self.discard_staging(key).await
    }

    pub(crate) async fn list_objects(
        &self,
        after: Option<ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StoreError> {
        list_page(&self.client, &self.root, after, limit)
            .await
            .map_err(|error| failed("list", OBJECTS, error))
    }

    pub(crate) async fn claim(&self, installation_id: &str) -> Result<(), StoreError> {
        let claimed = if self.creates() {
            claim(&self.client, &self.root, installation_id).await
        } else {
            claim_plainly(&self.client, &self.root, installation_id).await
        };
        claimed.unwrap_or_else(|error| Err(failed("write", MARKER, error)))
    }

    pub(crate) async fn is_claimed_by(&self, installation_id: &str) -> Result<bool, StoreError> {
        is_claimed(&self.client, &self.root, installation_id)
            .await
            .unwrap_or_else(|error| Err(failed("read", MARKER, error)))
    }

    /// A URL at which a client may read the object for a while. It is a secret for as long.
    pub(crate) async fn redirect_url(
        &self,
        key: ObjectKey,
        expires: Duration,
    ) -> Result<String, StoreError> {
        self.redirects
            .signed_url(http::Method::GET, &self.object(key), expires)
            .await
            .map(String::from)
            .map_err(|error| failed("sign a URL of", key.object_path(), error))
    }

    /// Deletes one object by its path; there being none is fine.
    async fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match self.client.delete(path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", path.to_string(), error)),
        }
    }

    /// The paths below a folder of the store.
    async fn paths_below(&self, folder: &Path) -> Result<Vec<Path>, StoreError> {
        self.client
            .list(Some(folder))
            .map_ok(|object| object.location)
            .try_collect()
            .await
            .map_err(|error| failed("list", folder.to_string(), error))
    }

    fn object(&self, key: ObjectKey) -> Path {
        under(&self.root, &key.object_path())
    }
}

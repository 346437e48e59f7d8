//! From options to clients: addresses, credentials, timeouts.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use tokio::sync::{Mutex, Semaphore};
use uuid::Uuid;

use super::probe::Probed;
use super::refusal::unusable;
use super::spool::SpoolFolder;
use super::{MAX_PART_BYTES, MIN_PART_BYTES, S3Credentials, S3Options, S3Store};
use crate::blocking::blocking;
use crate::buffers::Buffers;
use crate::error::StoreError;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before the first retry, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Idle connections that are kept for each client.
const IDLE_CONNECTIONS: usize = 32;

/// What AWS's own tools read of the surroundings. Other `AWS_…` variables do not count here: the configuration says
/// where the bucket is.
const SURROUNDINGS: [(&str, AmazonS3ConfigKey); 9] = [
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    (
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        AmazonS3ConfigKey::WebIdentityTokenFile,
    ),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
    ),
    (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        AmazonS3ConfigKey::ContainerCredentialsFullUri,
    ),
    (
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
    ),
];

/// How long an answer may take.
#[derive(Clone, Copy)]
enum Patience {
    /// All of it.
    Whole,
    /// Its beginning alone; how long its body may be silent is the reader's to watch, since a slow client must not
    /// look like a slow store.
    Beginning,
}

impl S3Store {
    /// Opens the bucket, and tries that objects can be written, read and deleted there.
    pub(crate) async fn open(options: S3Options) -> Result<Self, StoreError> {
        let client = client(&options, &options.endpoint, Patience::Whole, None)?;
        let downloads = self::client(
            &options,
            &options.endpoint,
            Patience::Beginning,
            Some(&client),
        )?;
        let at = options
            .redirect_endpoint
            .clone()
            .or(options.endpoint.clone());
        let redirects = self::client(&options, &at, Patience::Whole, Some(&client))?;
        let folder = options.spool.clone();
        let spool = blocking(move || SpoolFolder::open(&folder)).await?;
        let part_bytes = options.part_bytes.clamp(MIN_PART_BYTES, MAX_PART_BYTES);
        let root = Path::parse(&options.prefix).map_err(|error| {
            unusable(format!(
                "the prefix {:?} cannot be used: {error}",
                options.prefix
            ))
        })?;
        let store = Self {
            client,
            downloads,
            redirects,
            place: place(&options.bucket, &root),
            root,
            part_bytes,
            budget: Arc::new(Semaphore::new(options.parts_in_flight.max(1))),
            buffers: Buffers::new(usize::try_from(part_bytes).unwrap_or(usize::MAX)),
            spool,
            silence: options.request_timeout,
            creates: AtomicBool::new(true),
            probed: Mutex::new(Probed::default()),
            probe_id: Uuid::new_v4(),
        };
        store.try_out(&options).await?;
        Ok(store)
    }

    /// Whether the store can make an object only if there is none.
    pub(super) fn creates(&self) -> bool {
        self.creates.load(Ordering::Relaxed)
    }
}

fn place(bucket: &str, root: &Path) -> String {
    if root.as_ref().is_empty() {
        format!("bucket {bucket}")
    } else {
        format!("bucket {bucket}, prefix {root}")
    }
}

/// A client; with the credentials of another one, so that they are fetched once.
fn client(
    options: &S3Options,
    endpoint: &Option<String>,
    patience: Patience,
    same_as: Option<&AmazonS3>,
) -> Result<AmazonS3, StoreError> {
    let client_options = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_pool_max_idle_per_host(IDLE_CONNECTIONS)
        .with_allow_http(options.allow_http);
    let client_options = match patience {
        Patience::Whole => client_options.with_timeout(options.request_timeout),
        Patience::Beginning => client_options.with_timeout_disabled(),
    };
    let retries = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: FIRST_PAUSE,
            max_backoff: LONGEST_PAUSE,
            base: 2.0,
        },
        max_retries: options.retries,
        retry_timeout: options.request_timeout * 2,
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&options.bucket)
        .with_region(&options.region)
        .with_virtual_hosted_style_request(options.virtual_hosted)
        // Few objects are deleted at a time, and not every store knows how to delete several at once.
        .with_disable_bulk_delete(true)
        .with_client_options(client_options)
        .with_retry(retries);
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(address(endpoint, options)?);
    }
    builder = match (same_as, &options.credentials) {
        (Some(same), _) => builder.with_credentials(Arc::clone(same.credentials())),
        (
            None,
            S3Credentials::Key {
                access_key_id,
                secret_access_key,
            },
        ) => builder
            .with_access_key_id(access_key_id)
            .with_secret_access_key(secret_access_key),
        (None, S3Credentials::Surroundings) => SURROUNDINGS
            .into_iter()
            .filter_map(|(name, key)| Some((key, env::var(name).ok()?)))
            .fold(builder, |builder, (key, value)| {
                builder.with_config(key, value)
            }),
    };
    builder.build().map_err(|error| {
        unusable(format!(
            "the settings of the object store cannot be used: {error}"
        ))
    })
}

/// The endpoint as the library wants it, which puts no bucket into a host's name by itself.
fn address(endpoint: &str, options: &S3Options) -> Result<String, StoreError> {
    let endpoint = endpoint.trim_end_matches('/');
    match endpoint.split_once("://") {
        Some(("http", _)) if !options.allow_http => Err(unusable(format!(
            "{endpoint} is without TLS; write https://, or set allow_http where the network is trusted"
        ))),
        Some((scheme @ ("http" | "https"), host)) if options.virtual_hosted => {
            Ok(format!("{scheme}://{}.{host}", options.bucket))
        }
        Some(("http" | "https", _)) => Ok(endpoint.to_owned()),
        Some(_) | None => Err(unusable(format!(
            "{endpoint:?} is not a URL; write one such as https://s3.example.com"
        ))),
    }
}

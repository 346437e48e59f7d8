//! A corner of a real bucket for one test, and a look into it from aside.

use std::time::Duration;

use berth_storage::{MIN_PART_BYTES, S3Credentials, S3Options, Store};
use futures_util::TryStreamExt;
use object_store::ObjectStore;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use serde::Deserialize;
use tempfile::TempDir;

/// What `scripts/garage.sh` prints.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Server {
    pub(crate) endpoint: String,
    region: String,
    pub(crate) bucket: String,
    access_key_id: String,
    secret_access_key: String,
}

impl Server {
    pub(crate) fn here() -> Option<Self> {
        let text = std::env::var("BERTH_TEST_S3").ok()?;
        (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap())
    }
}

/// A prefix that no other test has, and spools for the stores on it.
pub(crate) struct Bucket {
    pub(crate) server: Server,
    pub(crate) prefix: String,
    spools: TempDir,
}

impl Bucket {
    pub(crate) fn own() -> Option<Self> {
        Some(Self {
            server: Server::here()?,
            prefix: format!("tests/{}", uuid::Uuid::new_v4()),
            spools: tempfile::tempdir().unwrap(),
        })
    }

    /// With the smallest parts, so that tests need few bytes.
    pub(crate) fn options(&self) -> S3Options {
        S3Options {
            endpoint: Some(self.server.endpoint.clone()),
            region: self.server.region.clone(),
            bucket: self.server.bucket.clone(),
            prefix: self.prefix.clone(),
            credentials: S3Credentials::Key {
                access_key_id: self.server.access_key_id.clone(),
                secret_access_key: self.server.secret_access_key.clone(),
            },
            virtual_hosted: false,
            allow_http: true,
            part_bytes: MIN_PART_BYTES,
            parts_in_flight: 4,
            request_timeout: Duration::from_secs(20),
            retries: 3,
            spool: self.spools.path().join(uuid::Uuid::new_v4().to_string()),
            redirect_endpoint: None,
        }
    }

    /// A store as another replica has it: nothing but the bucket is shared.
    pub(crate) async fn store(&self) -> Store {
        Store::s3(self.options()).await.unwrap()
    }

    /// What lies in the bucket, below the prefix.
    pub(crate) async fn names(&self) -> Vec<String> {
        let prefix = Path::parse(&self.prefix).unwrap();
        let listed: Vec<_> = self
            .client()
            .list(Some(&prefix))
            .try_collect()
            .await
            .unwrap();
        let mut names: Vec<String> = listed
            .into_iter()
            .map(|object| object.location.to_string()[self.prefix.len() + 1..].to_owned())
            .collect();
        names.sort();
        names
    }

    /// The multipart uploads of this prefix that are neither completed nor aborted, as the server lists them.
    pub(crate) async fn unfinished_uploads(&self) -> usize {
        let options =
            SignedUrlOptions::default().with_query([("uploads", ""), ("prefix", &self.prefix)]);
        let url = self
            .client()
            .signed_url_opts(
                http::Method::GET,
                &Path::default(),
                Duration::from_secs(60),
                &options,
            )
            .await
            .unwrap();
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap().matches("<UploadId>").count()
    }

    pub(crate) fn client(&self) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(&self.server.endpoint)
            .with_region(&self.server.region)
            .with_bucket_name(&self.server.bucket)
            .with_access_key_id(&self.server.access_key_id)
            .with_secret_access_key(&self.server.secret_access_key)
            .with_allow_http(true)
            .build()
            .unwrap()
    }
}

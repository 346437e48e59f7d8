//! One case's repository, and the steps that most cases share.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::{Method, Url};

use crate::case::{Failure, Outcome, ensure};
use crate::client::{Answer, Call, Registry};
use crate::content::{Content, Manifest, unique_word};

/// A repository that no other case uses.
#[derive(Clone)]
pub(crate) struct Repository {
    pub(crate) registry: Arc<Registry>,
    /// The full name, prefix included.
    pub(crate) name: String,
}

impl Repository {
    /// A new name for a case; nothing is sent.
    pub(crate) fn fresh(registry: Arc<Registry>, case: &str) -> Self {
        let name = format!("{}/{case}-{}", registry.target.prefix, unique_word());
        Self { registry, name }
    }

    /// Another repository of the same case.
    pub(crate) fn sibling(&self) -> Self {
        self.named(&format!("{}-{}", self.name, unique_word()))
    }

    /// A repository of this full name.
    pub(crate) fn named(&self, name: &str) -> Self {
        Self {
            registry: Arc::clone(&self.registry),
            name: name.to_owned(),
        }
    }

    /// A call of `/v2/<name>/<rest>`.
    pub(crate) fn call(&self, method: Method, rest: &str) -> Result<Call<'_>, Failure> {
        let access = self.access(&method);
        Ok(self
            .registry
            .call(method, &format!("/v2/{}/{rest}", self.name))?
            .access(access))
    }

    /// A call of an address that the registry gave us.
    pub(crate) fn call_url(&self, method: Method, url: &Url) -> Result<Call<'_>, Failure> {
        let access = self.access(&method);
        Ok(self.registry.call_url(method, url.as_str())?.access(access))
    }

    /// The key under which the token for such calls is remembered.
    pub(crate) fn access(&self, method: &Method) -> String {
        let kind = match *method {
            Method::GET | Method::HEAD => "read",
            Method::DELETE => "delete",
            _ => "write",
        };
        format!("{kind} {}", self.name)
    }

    /// `GET` or `HEAD` or `DELETE` of a manifest.
    pub(crate) fn manifest(&self, method: Method, reference: &str) -> Result<Call<'_>, Failure> {
        self.call(method, &format!("manifests/{reference}"))
    }

    /// `GET` or `HEAD` or `DELETE` of a blob.
    pub(crate) fn blob(&self, method: Method, digest: &str) -> Result<Call<'_>, Failure> {
        self.call(method, &format!("blobs/{digest}"))
    }

    /// `GET` of the tag list, without parameters yet.
    pub(crate) fn tags(&self) -> Result<Call<'_>, Failure> {
        self.call(Method::GET, "tags/list")
    }

    /// `PUT` of a manifest whose blobs are there already.
    pub(crate) fn put(&self, manifest: &Manifest, reference: &str) -> Result<Call<'_>, Failure> {
        let call = self.manifest(Method::PUT, reference)?;
        Ok(call
            .header("content-type", &manifest.media_type)
            .body(manifest.body.bytes.clone()))
    }

    /// Pushes the blobs of a manifest, then the manifest, and hands out the last answer.
    pub(crate) async fn push(
        &self,
        manifest: &Manifest,
        reference: &str,
    ) -> Result<Answer, Failure> {
        self.push_blobs(manifest).await?;
        self.put(manifest, reference)?.send().await?.expect(201)
    }

    /// Pushes a manifest under its own digest.
    pub(crate) async fn push_by_digest(&self, manifest: &Manifest) -> Result<Answer, Failure> {
        self.push(manifest, manifest.digest()).await
    }

    /// Pushes a new image of one layer under `tag`.
    pub(crate) async fn push_image(&self, tag: &str) -> Result<Manifest, Failure> {
        let manifest = crate::content::image().layer(&Content::random(64)).build();
        self.push(&manifest, tag).await?;
        Ok(manifest)
    }

    /// Pushes what a manifest needs.
    pub(crate) async fn push_blobs(&self, manifest: &Manifest) -> Outcome {
        for blob in &manifest.blobs {
            self.push_blob(blob).await?;
        }
        Ok(())
    }

    /// Pushes one blob by `POST` and `PUT`.
    pub(crate) async fn push_blob(&self, blob: &Content) -> Result<Answer, Failure> {
        let upload = self.start_upload().await?;
        upload.put(blob)?.send().await?.expect(201)
    }

    /// Pushes a new blob of this size.
    pub(crate) async fn push_random_blob(&self, size_bytes: usize) -> Result<Content, Failure> {
        let blob = Content::random(size_bytes);
        self.push_blob(&blob).await?;
        Ok(blob)
    }

    /// `POST` that opens an upload, without parameters yet.
    pub(crate) fn start(&self) -> Result<Call<'_>, Failure> {
        self.call(Method::POST, "blobs/uploads/")
    }

    /// Opens an upload.
    pub(crate) async fn start_upload(&self) -> Result<Upload, Failure> {
        Upload::of(self, &self.start()?.send().await?)
    }

    /// Checks that a `GET` of this blob gives these bytes.
    pub(crate) async fn expect_blob(&self, blob: &Content) -> Outcome {
        let answer = self
            .blob(Method::GET, &blob.digest)?
            .send()
            .await?
            .expect(200)?;
        answer.expect_body(&blob.bytes).map(drop)
    }

    /// Checks that there is no such blob here.
    pub(crate) async fn expect_no_blob(&self, digest: &str) -> Outcome {
        let answer = self.blob(Method::GET, digest)?.send().await?;
        answer
            .expect_error(&[404], &["BLOB_UNKNOWN", "NAME_UNKNOWN"])
            .map(drop)
    }

    /// Checks that a `GET` of this reference gives this manifest.
    pub(crate) async fn expect_manifest(&self, manifest: &Manifest, reference: &str) -> Outcome {
        let answer = self
            .manifest(Method::GET, reference)?
            .send()
            .await?
            .expect(200)?;
        answer.expect_body(&manifest.body.bytes).map(drop)
    }

    /// Checks that there is no such manifest here.
    pub(crate) async fn expect_no_manifest(&self, reference: &str) -> Outcome {
        let answer = self.manifest(Method::GET, reference)?.send().await?;
        answer
            .expect_error(&[404], &["MANIFEST_UNKNOWN", "NAME_UNKNOWN"])
            .map(drop)
    }

    /// All tags, over however many pages.
    pub(crate) async fn all_tags(&self) -> Result<Vec<String>, Failure> {
        let mut tags = Vec::new();
        let mut next = self.tags()?.send().await?;
        loop {
            tags.extend(tags_of(&next)?);
            let Some(url) = next.next_page()? else {
                return Ok(tags);
            };
            next = self.call_url(Method::GET, &url)?.send().await?;
        }
    }
}

/// The tags in an answer of the tag list.
pub(crate) fn tags_of(answer: &Answer) -> Result<Vec<String>, Failure> {
    let body = answer.clone().expect(200)?.json()?;
    let tags = body.get("tags").and_then(|tags| tags.as_array());
    let tags = tags.ok_or_else(|| answer.wrong("`tags` should be a list"))?;
    Ok(tags
        .iter()
        .filter_map(|tag| tag.as_str().map(str::to_owned))
        .collect())
}

/// An open upload.
#[derive(Clone)]
pub(crate) struct Upload {
    repository: Repository,
    /// Where the next request goes.
    pub(crate) location: Url,
    /// How long a chunk must be that is not the last.
    pub(crate) chunk_bytes: usize,
}

impl Upload {
    /// Long enough to be told apart, where the registry names no minimum.
    const DEFAULT_CHUNK_BYTES: usize = 100;

    /// The upload that a `POST` opened.
    pub(crate) fn of(repository: &Repository, answer: &Answer) -> Result<Self, Failure> {
        let answer = answer.clone().expect(202)?;
        let minimum = answer
            .header("oci-chunk-min-length")
            .and_then(|value| value.parse().ok());
        Ok(Self {
            location: answer.location()?,
            chunk_bytes: minimum.unwrap_or(0).max(Self::DEFAULT_CHUNK_BYTES),
            repository: repository.clone(),
        })
    }

    /// A random blob of `chunks` chunks and a bit.
    pub(crate) fn content(&self, chunks: usize) -> Content {
        Content::random(self.chunk_bytes * chunks + 7)
    }

    /// A call of the upload's location.
    pub(crate) fn call(&self, method: Method) -> Result<Call<'_>, Failure> {
        self.repository.call_url(method, &self.location)
    }

    /// `PATCH` without a range: bytes that follow the last ones.
    pub(crate) fn patch(&self, bytes: Bytes) -> Result<Call<'_>, Failure> {
        Ok(self
            .call(Method::PATCH)?
            .header("content-type", "application/octet-stream")
            .body(bytes))
    }

    /// `PATCH` of the bytes at `start` and after.
    pub(crate) fn chunk(&self, start: usize, bytes: Bytes) -> Result<Call<'_>, Failure> {
        let range = range(start, &bytes);
        Ok(self.patch(bytes)?.header("content-range", &range))
    }

    /// Sends a chunk that must be taken, and follows the new location.
    pub(crate) async fn send_chunk(&mut self, start: usize, bytes: Bytes) -> Outcome {
        let end = start + bytes.len();
        let answer = self.chunk(start, bytes)?.send().await?;
        self.advance(answer, end)
    }

    /// Checks the answer to a `PATCH` after which there are `received_bytes`, and follows its location.
    pub(crate) fn advance(&mut self, answer: Answer, received_bytes: usize) -> Outcome {
        let expected = format!("0-{}", received_bytes - 1);
        self.location = answer
            .expect(202)?
            .expect_header("range", &expected)?
            .location()?;
        Ok(())
    }

    /// Sends the first `chunks` chunks of a blob; the number of bytes sent.
    pub(crate) async fn send_chunks(
        &mut self,
        blob: &Content,
        chunks: usize,
    ) -> Result<usize, Failure> {
        let size = self.chunk_bytes;
        for start in (0..chunks * size).step_by(size) {
            self.send_chunk(start, blob.bytes.slice(start..start + size))
                .await?;
        }
        Ok(chunks * size)
    }

    /// `PUT` that closes the upload with all of a blob in it.
    pub(crate) fn put(&self, blob: &Content) -> Result<Call<'_>, Failure> {
        self.put_last(&blob.digest, blob.bytes.clone())
    }

    /// `PUT` that closes the upload with its last bytes, or none.
    pub(crate) fn put_last(&self, digest: &str, bytes: Bytes) -> Result<Call<'_>, Failure> {
        let call = self
            .call(Method::PUT)?
            .header("content-type", "application/octet-stream");
        Ok(call.query("digest", digest).body(bytes))
    }

    /// `PUT` that closes the upload with the bytes at `start` and after.
    pub(crate) fn put_chunk(
        &self,
        digest: &str,
        start: usize,
        bytes: Bytes,
    ) -> Result<Call<'_>, Failure> {
        let range = range(start, &bytes);
        Ok(self
            .put_last(digest, bytes)?
            .header("content-range", &range))
    }

    /// Closes an upload that has everything, and checks that the blob is there.
    pub(crate) async fn finish(&self, blob: &Content) -> Outcome {
        self.put_last(&blob.digest, Bytes::new())?
            .send()
            .await?
            .expect(201)?;
        self.repository.expect_blob(blob).await
    }

    /// Asks how far the upload is: the number of bytes received.
    pub(crate) async fn received_bytes(&mut self) -> Result<usize, Failure> {
        let answer = self.call(Method::GET)?.send().await?.expect(204)?;
        self.location = answer.location()?;
        let Some(range) = answer.header("range") else {
            return Ok(0);
        };
        let end = range
            .strip_prefix("0-")
            .and_then(|end| end.parse::<usize>().ok());
        let end = end.ok_or_else(|| answer.wrong("`Range` should be `0-<end>`"))?;
        // An upload of nothing and one of a single byte both say `0-0`; no case sends a single byte.
        Ok(if end == 0 { 0 } else { end + 1 })
    }

    /// Checks that the upload is gone.
    pub(crate) async fn expect_gone(&self) -> Outcome {
        let answer = self.call(Method::GET)?.send().await?;
        answer
            .expect_error(&[404], &["BLOB_UPLOAD_UNKNOWN"])
            .map(drop)
    }

    /// Checks that the upload still has exactly `bytes`.
    pub(crate) async fn expect_received(&mut self, bytes: usize) -> Outcome {
        let received = self.received_bytes().await?;
        ensure(received == bytes, || {
            format!(
                "{}: {received} bytes received, expected {bytes}",
                self.location.path()
            )
        })
    }
}

fn range(start: usize, bytes: &Bytes) -> String {
    format!("{start}-{}", start + bytes.len().saturating_sub(1))
}

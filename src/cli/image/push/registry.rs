//! Speaks to a registry: is a blob there, send it, go on where it broke off, and put a manifest.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth::config::Secret;
use berth::oci::Manifest;
use berth_storage::{Digest, Hasher};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::super::client::{connecting_to, root_cause};
use super::super::super::connection::is_loopback;
use super::super::super::output::plain;
use super::layout::Blob;

/// How long a registry may take for an answer to a request without a long body.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long nothing of a body may be taken.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// How long a registry may think of a blob that it has whole: some copy it first.
const FINISH_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Read and sent at one time, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// Chunks that are read ahead of what is sent.
const CHUNKS_AHEAD: usize = 4;

/// What is read of a refusal, in bytes.
const REFUSAL_LIMIT_BYTES: usize = 64 * 1024;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Why something could not be sent.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum SendError {
    /// The connection broke, or the registry is not well: it may be better the next time.
    #[error("{0}")]
    Broken(String),
    /// The session is not known any more.
    #[error("the registry knows the upload no longer")]
    Gone,
    /// The session goes on at another place than the registry said, as it may while it still takes what an earlier
    /// attempt has sent.
    #[error("the registry goes on with the upload at another place than it said")]
    Elsewhere,
    /// The upload is to go on at an address that is not the registry's, so the password does not go there.
    #[error("the registry sends the upload to {location}, and it is {base} itself")]
    Astray { location: String, base: String },
    /// The registry refused.
    #[error("{message}")]
    Refused { status: StatusCode, message: String },
    /// What is to be sent cannot be read, or is not what it should be.
    #[error("{0}")]
    Local(String),
}

/// The error that the specification gives.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// One repository of a registry, as one principal. Cheap to clone.
#[derive(Clone)]
pub(in crate::cli) struct Registry {
    http: reqwest::Client,
    base: Url,
    repository: Arc<str>,
    username: Arc<str>,
    password: Arc<Secret>,
}

/// What became of the beginning of an upload.
pub(in crate::cli) enum Begun {
    /// Another repository had it: nothing is to be sent.
    Mounted,
    /// It is to be sent here.
    Session(Url),
}

/// Where the registry of this host is. `api` is where the API is: a registry of the same name speaks as it does.
pub(in crate::cli) fn base_of(host: &str, api: &Url) -> anyhow::Result<Url> {
    let as_https = Url::parse(&format!("https://{host}/"))?;
    let as_http = Url::parse(&format!("http://{host}/"))?;
    let is_api = api.scheme() == "http" && as_http.origin() == api.origin();
    let is_plain = is_api || (is_loopback(&as_http) && api.scheme() == "http");
    Ok(if is_plain { as_http } else { as_https })
}

impl Registry {
    /// The repository `name` at `host`, as [`base_of`] finds it.
    pub(in crate::cli) fn new(
        host: &str,
        name: &str,
        api: &Url,
        username: &str,
        password: Secret,
    ) -> anyhow::Result<Self> {
        let base = base_of(host, api)?;
        Ok(Self {
            http: connecting_to(&base).build()?,
            base,
            repository: name.into(),
            username: username.into(),
            password: Arc::new(password),
        })
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        request.basic_auth(&self.username, Some(self.password.expose()))
    }

    fn url(&self, rest: &str) -> Result<Url, SendError> {
        let path = format!("v2/{}/{rest}", self.repository);
        self.base
            .join(&path)
            .map_err(|error| SendError::Local(error.to_string()))
    }

    /// The place that an answer names, if the password may go there.
    fn location(&self, answer: &Response) -> Result<Url, SendError> {
        let location = answer.headers().get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let url = location.and_then(|text| answer.url().join(text).ok());
        match url {
            Some(url) if self.is_own(&url) => Ok(url),
            Some(url) => Err(SendError::Astray {
                location: plain(&url.origin().ascii_serialization()),
                base: self.base.origin().ascii_serialization(),
            }),
            None => Err(refused(
                answer.status(),
                "the registry did not say where the upload goes on",
            )),
        }
    }

    /// Whether an address is of this registry.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Whether the repository has a blob.
    pub(in crate::cli) async fn has(&self, digest: &Digest) -> Result<bool, SendError> {
        let request = self.request(Method::HEAD, self.url(&format!("blobs/{digest}"))?);
        let answer = answered(request, ANSWER_TIMEOUT).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refusal(answer).await),
        }
    }

    /// Begins to upload a blob, unless another repository that the principal reads has it.
    pub(in crate::cli) async fn begin(&self, digest: &Digest) -> Result<Begun, SendError> {
        let mut url = self.url("blobs/uploads/")?;
        url.query_pairs_mut()
            .append_pair("mount", &digest.to_string());
        let request = self.request(Method::POST, url).header(CONTENT_LENGTH, 0);
        let answer = answered(request, ANSWER_TIMEOUT).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(Begun::Mounted),
            StatusCode::ACCEPTED => self.location(&answer).map(Begun::Session),
            _ => Err(refusal(answer).await),
        }
    }

    /// How many bytes a session has, and where it goes on.
    pub(super) async fn status(&self, session: &Url) -> Result<(u64, Url), SendError> {
        let request = self.request(Method::GET, session.clone());
        let answer = answered(request, ANSWER_TIMEOUT).await?;
        match answer.status() {
            StatusCode::NO_CONTENT => {
                let range = answer
                    .headers()
                    .get(RANGE)
                    .and_then(|value| value.to_str().ok());
                let end = range
                    .and_then(|range| range.rsplit_once('-'))
                    .and_then(|(_, end)| end.parse::<u64>().ok());
                // Of an upload without a byte, `0-0` is said, as of one with a single byte.
                let received = end.filter(|end| *end > 0).map_or(0, |end| end + 1);
                Ok((received, self.location(&answer)?))
            }
            StatusCode::NOT_FOUND => Err(SendError::Gone),
            _ => Err(refusal(answer).await),
        }
    }

    /// Sends a blob from `offset` on, and closes the session. `sent` counts what was handed to the connection.
    pub(in crate::cli) async fn send(
        &self,
        session: &Url,
        blob: &Blob,
        offset: u64,
        sent: &Arc<AtomicU64>,
    ) -> Result<(), SendError> {
        sent.store(offset, Ordering::Relaxed);
        let mut session = session.clone();
        let size = blob.piece.size_bytes;
        if offset < size {
            let (body, failure) = body(blob.clone(), offset, Arc::clone(sent));
            let request = self
                .request(Method::PATCH, session.clone())
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, size - offset)
                .header(CONTENT_RANGE, format!("{offset}-{}", size - 1))
                .body(reqwest::Body::wrap_stream(body));
            let answer = watched(request, sent, size).await;
            if let Some(reason) = failure.take() {
                return Err(SendError::Local(reason));
            }
            let answer = answer?;
            match answer.status() {
                StatusCode::ACCEPTED => session = self.location(&answer)?,
                StatusCode::NOT_FOUND => return Err(SendError::Gone),
                StatusCode::RANGE_NOT_SATISFIABLE => return Err(SendError::Elsewhere),
                _ => return Err(refusal(answer).await),
            }
        }
        session
            .query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let request = self.request(Method::PUT, session).header(CONTENT_LENGTH, 0);
        let answer = answered(request, FINISH_TIMEOUT).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(()),
            StatusCode::NOT_FOUND => Err(SendError::Gone),
            _ => Err(refusal(answer).await),
        }
    }

    /// Gives a session up.
    pub(in crate::cli) async fn cancel(&self, session: &Url) -> Result<(), SendError> {
        let request = self.request(Method::DELETE, session.clone());
        let answer = answered(request, ANSWER_TIMEOUT).await?;
        match answer.status() {
            StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refusal(answer).await),
        }
    }

    /// Puts a manifest under a tag or its digest.
    pub(in crate::cli) async fn put(
        &self,
        reference: &str,
        digest: &Digest,
        manifest: &Manifest,
    ) -> Result<(), SendError> {
        let request = self
            .request(Method::PUT, self.url(&format!("manifests/{reference}"))?)
            .header(CONTENT_TYPE, manifest.media_type().as_str())
            .body(manifest.bytes().clone());
        let answer = answered(request, ANSWER_TIMEOUT).await?;
        if answer.status() != StatusCode::CREATED {
            return Err(refusal(answer).await);
        }
        let told = answer.headers().get(CONTENT_DIGEST);
        match told.and_then(|value| value.to_str().ok()) {
            Some(told) if told != digest.to_string() => Err(refused(
                answer.status(),
                &format!("the registry calls the manifest {told}, and it is {digest}"),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// Why a body could not be read to its end, if it could not.
struct Failure(mpsc::UnboundedReceiver<String>);

impl Failure {
    fn take(mut self) -> Option<String> {
        self.0.try_recv().ok()
    }
}

/// The bytes of a blob from `offset` on. All of it is hashed, so that a damaged file is known as such.
fn body(
    blob: Blob,
    offset: u64,
    sent: Arc<AtomicU64>,
) -> (
    impl Stream<Item = io::Result<Bytes>> + Send + use<>,
    Failure,
) {
    let (chunks, ahead) = mpsc::channel(CHUNKS_AHEAD);
    let (failed, failure) = mpsc::unbounded_channel();
    tokio::task::spawn_blocking(move || {
        if let Err(reason) = read(&blob, offset, &chunks) {
            // The request has ended where nobody hears it.
            let _ = failed.send(reason.clone());
            let _ = chunks.blocking_send(Err(io::Error::other(reason)));
        }
    });
    let body = stream::unfold(ahead, |mut ahead| async {
        let chunk: io::Result<Bytes> = ahead.recv().await?;
        Some((chunk, ahead))
    });
    let body = body.inspect(move |chunk| {
        if let Ok(bytes) = chunk {
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    });
    (body, Failure(failure))
}

/// Reads a blob into a channel, the part before `offset` for its digest alone. The last chunk is held back until the
/// digest is known to be right.
fn read(blob: &Blob, offset: u64, chunks: &mpsc::Sender<io::Result<Bytes>>) -> Result<(), String> {
    let unreadable = |error: io::Error| format!("{} cannot be read: {error}", blob.digest);
    let mut reader = blob.piece.reader(0).map_err(unreadable)?;
    let mut hasher = Hasher::new(blob.digest.algorithm());
    let mut held: Option<Bytes> = None;
    loop {
        let before = hasher.length();
        let end = if before < offset {
            offset - before
        } else {
            u64::MAX
        };
        let room = usize::try_from(end).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let mut chunk = Vec::with_capacity(room);
        let mut part = (&mut reader).take(room as u64);
        part.read_to_end(&mut chunk).map_err(unreadable)?;
        if chunk.is_empty() {
            break;
        }
        hasher.update(&chunk);
        if before < offset {
            continue;
        }
        if let Some(bytes) = held.replace(Bytes::from(chunk))
            && chunks.blocking_send(Ok(bytes)).is_err()
        {
            return Ok(());
        }
    }
    if hasher.finish() != blob.digest {
        return Err(format!(
            "the bytes of {} are not those of its digest: the files are damaged",
            blob.digest
        ));
    }
    if let Some(bytes) = held {
        let _ = chunks.blocking_send(Ok(bytes));
    }
    Ok(())
}

/// An answer within a time.
async fn answered(request: RequestBuilder, limit: Duration) -> Result<Response, SendError> {
    match timeout(limit, request.send()).await {
        Ok(answer) => answer.map_err(|error| SendError::Broken(root_cause(&error))),
        Err(_) => Err(SendError::Broken(format!(
            "the registry did not answer within {} seconds",
            limit.as_secs()
        ))),
    }
}

/// The answer to a long body, as long as the registry takes something of it.
async fn watched(
    request: RequestBuilder,
    sent: &AtomicU64,
    size: u64,
) -> Result<Response, SendError> {
    let mut answer = std::pin::pin!(request.send());
    let mut before = sent.load(Ordering::Relaxed);
    loop {
        let limit = if before >= size {
            FINISH_TIMEOUT
        } else {
            STALL_LIMIT
        };
        if let Ok(answer) = timeout(limit, &mut answer).await {
            return answer.map_err(|error| SendError::Broken(root_cause(&error)));
        }
        let now = sent.load(Ordering::Relaxed);
        if now == before {
            return Err(SendError::Broken(format!(
                "the registry took nothing for {} seconds",
                limit.as_secs()
            )));
        }
        before = now;
    }
}

fn refused(status: StatusCode, message: &str) -> SendError {
    SendError::Refused {
        status,
        message: message.to_owned(),
    }
}

/// What a registry says no with.
async fn refusal(mut answer: Response) -> SendError {
    let status = answer.status();
    let mut body = Vec::new();
    while body.len() < REFUSAL_LIMIT_BYTES {
        match timeout(ANSWER_TIMEOUT, answer.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    let errors = serde_json::from_slice::<Errors>(&body);
    let first = errors
        .ok()
        .and_then(|errors| errors.errors.into_iter().next());
    let message = match first {
        Some(ErrorEntry { code, message }) if !message.is_empty() => {
            format!(
                "{}: {}",
                code.to_ascii_lowercase().replace('_', " "),
                plain(&message)
            )
        }
        Some(_) | None => format!("the registry answered {status}"),
    };
    let again = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    if again.contains(&status) {
        SendError::Broken(message)
    } else {
        SendError::Refused { status, message }
    }
}

//! Speaks to a Docker daemon: looks at an image, names it, pushes it.
//!
//! Paths have no version of the API in them: what is asked for here is in all of them, and no version is known to old
//! and new daemons alike. reqwest does the speaking, and not a client of Docker's API: of the messages of a push, the
//! one there is (bollard) keeps neither the layer that they are about nor the digest at the end.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use berth::config::Secret;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Certificate, Identity, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::super::client::root_cause;
use super::super::connection::is_loopback;
use super::super::output::plain;
use super::endpoint::{Endpoint, Transport};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a daemon may say nothing during a push: it tells of every part of a layer that it sends, but nothing while
/// the registry looks at what it got.
const SILENCE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The largest answer, and the longest message of a push, in bytes.
const ANSWER_LIMIT_BYTES: usize = 32 * 1024 * 1024;
const MESSAGE_LIMIT_BYTES: usize = 1024 * 1024;

/// What the registry's password travels in.
const REGISTRY_AUTH: HeaderName = HeaderName::from_static("x-registry-auth");

/// Why a daemon did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum EngineError {
    /// The client could not be set up.
    #[error("cannot set up the connection to the Docker daemon at {address}: {reason}")]
    SetUp { address: String, reason: String },
    /// Nobody answers.
    #[error(
        "no Docker daemon answers at {address}: {reason}; start it, or name another one by DOCKER_HOST or `docker context use`"
    )]
    Unreachable { address: String, reason: String },
    /// A name that would change the path it becomes part of.
    #[error("{0:?} is not the name of an image")]
    Name(String),
    /// The daemon refused.
    #[error("{0}")]
    Refused(String),
    /// The answer is not one of Docker's.
    #[error(
        "{address} answered {status} with something that is not Docker's API; check DOCKER_HOST"
    )]
    Foreign { address: String, status: StatusCode },
    /// The connection broke in the middle of something.
    #[error("the Docker daemon at {address} went away: {reason}")]
    Broken { address: String, reason: String },
}

/// A daemon.
pub(in crate::cli) struct Engine {
    http: reqwest::Client,
    base: Url,
    address: String,
}

/// Who pushes.
pub(in crate::cli) struct Login<'a> {
    pub(in crate::cli) registry: &'a str,
    pub(in crate::cli) username: &'a str,
    pub(in crate::cli) password: &'a Secret,
}

/// An image that the daemon has.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::cli) struct Image {
    pub(in crate::cli) id: String,
    /// The names with tags that lead to it.
    #[serde(default)]
    pub(in crate::cli) repo_tags: Option<Vec<String>>,
}

/// What a daemon says during a push.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cli) struct Message {
    /// The layer that it is about.
    pub(in crate::cli) id: Option<String>,
    pub(in crate::cli) status: Option<String>,
    pub(in crate::cli) progress_detail: Option<ProgressDetail>,
    /// Why the push has failed.
    pub(in crate::cli) error: Option<String>,
    /// What was pushed, at the end.
    pub(in crate::cli) aux: Option<Aux>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::cli) struct ProgressDetail {
    pub(in crate::cli) current: Option<u64>,
    pub(in crate::cli) total: Option<u64>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(in crate::cli) struct Aux {
    pub(in crate::cli) digest: Option<String>,
}

/// The messages of a push under way; dropped, it ends the push.
pub(in crate::cli) struct Messages<'a> {
    engine: &'a Engine,
    response: Response,
    buffer: Vec<u8>,
    ended: bool,
}

/// How a daemon says no.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Engine {
    /// A client of the daemon; nothing is sent yet.
    pub(in crate::cli) fn new(endpoint: Endpoint) -> Result<Self, EngineError> {
        let Endpoint { address, transport } = endpoint;
        let set_up = |error: reqwest::Error| EngineError::SetUp {
            address: address.clone(),
            reason: root_cause(&error),
        };
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_LIMIT)
            .redirect(reqwest::redirect::Policy::none());
        let (builder, base) = match transport {
            Transport::Unix(path) => socket(builder, path),
            Transport::Tcp(url) => (builder.tls_certs_only([]), url),
            Transport::Tls(url, files) => {
                let authority = Certificate::from_pem_bundle(&files.authority).map_err(set_up)?;
                let identity = Identity::from_pem(&files.identity).map_err(set_up)?;
                (builder.tls_certs_only(authority).identity(identity), url)
            }
        };
        let builder = match is_loopback(&base) {
            true => builder.no_proxy(),
            false => builder,
        };
        Ok(Self {
            http: builder.build().map_err(set_up)?,
            base,
            address,
        })
    }

    /// As the docker command writes it.
    pub(in crate::cli) fn address(&self) -> &str {
        &self.address
    }

    /// The image of this name or id, if there is one.
    pub(in crate::cli) async fn image(&self, name: &str) -> Result<Option<Image>, EngineError> {
        let url = self.url(name, &["json"])?;
        let response = self.send(self.http.get(url)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            // Something else than Docker has nothing here either.
            self.refusal(response).await?;
            return Ok(None);
        }
        self.answer(response).await.map(Some)
    }

    /// All images.
    pub(in crate::cli) async fn images(&self) -> Result<Vec<Image>, EngineError> {
        let response = self.send(self.http.get(self.path(&["images", "json"])?));
        self.answer(response.await?).await
    }

    /// Gives an image one more name.
    pub(in crate::cli) async fn tag(
        &self,
        image: &str,
        repository: &str,
        tag: &str,
    ) -> Result<(), EngineError> {
        let mut url = self.url(image, &["tag"])?;
        url.query_pairs_mut()
            .extend_pairs([("repo", repository), ("tag", tag)]);
        self.done(self.http.post(url)).await
    }

    /// Takes a name off its image. The last name of an image takes the image with it.
    pub(in crate::cli) async fn untag(&self, reference: &str) -> Result<(), EngineError> {
        let mut url = self.url(reference, &[])?;
        url.query_pairs_mut().append_pair("noprune", "true");
        self.done(self.http.delete(url)).await
    }

    /// Pushes what has this name.
    pub(in crate::cli) async fn push(
        &self,
        repository: &str,
        tag: &str,
        login: &Login<'_>,
    ) -> Result<Messages<'_>, EngineError> {
        let mut url = self.url(repository, &["push"])?;
        url.query_pairs_mut().append_pair("tag", tag);
        let auth = json!({
            "username": login.username,
            "password": login.password.expose(),
            "serveraddress": login.registry,
        });
        let mut auth = HeaderValue::try_from(URL_SAFE.encode(auth.to_string()))
            .map_err(|_| EngineError::Name(login.registry.to_owned()))?;
        auth.set_sensitive(true);
        let request = self.http.post(url).header(REGISTRY_AUTH, auth);
        let response = self.sent(request).await?;
        if !response.status().is_success() {
            return Err(EngineError::Refused(self.refusal(response).await?));
        }
        Ok(Messages {
            engine: self,
            response,
            buffer: Vec::new(),
            ended: false,
        })
    }

    /// The address of an image; its slashes stay what they are.
    fn url(&self, image: &str, rest: &[&str]) -> Result<Url, EngineError> {
        let mut segments = vec!["images"];
        segments.extend(image.split('/'));
        if segments
            .iter()
            .any(|segment| matches!(*segment, "" | "." | ".."))
        {
            return Err(EngineError::Name(image.to_owned()));
        }
        segments.extend(rest);
        self.path(&segments)
    }

    fn path(&self, segments: &[&str]) -> Result<Url, EngineError> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut path) => {
                path.pop_if_empty().extend(segments);
            }
            Err(()) => return Err(EngineError::Name(self.address.clone())),
        }
        Ok(url)
    }

    /// Sends a request that is answered soon.
    async fn send(&self, request: RequestBuilder) -> Result<Response, EngineError> {
        self.sent(request.timeout(REQUEST_TIMEOUT)).await
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, EngineError> {
        request.send().await.map_err(|error| {
            let address = self.address.clone();
            let reason = reason(&error);
            if error.is_connect() {
                EngineError::Unreachable { address, reason }
            } else {
                EngineError::Broken { address, reason }
            }
        })
    }

    /// Sends a request whose answer says nothing.
    async fn done(&self, request: RequestBuilder) -> Result<(), EngineError> {
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(EngineError::Refused(self.refusal(response).await?))
    }

    async fn answer<T: DeserializeOwned>(&self, response: Response) -> Result<T, EngineError> {
        let status = response.status();
        if !status.is_success() {
            return Err(EngineError::Refused(self.refusal(response).await?));
        }
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|_| self.foreign(status))
    }

    /// What the daemon says of its refusal.
    async fn refusal(&self, response: Response) -> Result<String, EngineError> {
        let status = response.status();
        let body = self.body(response).await?;
        let refusal: Refusal = serde_json::from_slice(&body).map_err(|_| self.foreign(status))?;
        Ok(refusal.message)
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, EngineError> {
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            if body.len() + chunk.len() > ANSWER_LIMIT_BYTES {
                return Err(self.foreign(status));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn chunk(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, EngineError> {
        let chunk = response.chunk().await;
        chunk.map_err(|error| EngineError::Broken {
            address: self.address.clone(),
            reason: reason(&error),
        })
    }

    fn foreign(&self, status: StatusCode) -> EngineError {
        EngineError::Foreign {
            address: self.address.clone(),
            status,
        }
    }
}

impl Messages<'_> {
    /// The next message; nothing at the end.
    ///
    /// What was read is kept when the wait for more is broken off.
    pub(in crate::cli) async fn next(&mut self) -> Result<Option<Message>, EngineError> {
        let status = self.response.status();
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return self.parsed(&line).map(Some);
            }
            if self.ended {
                let line = std::mem::take(&mut self.buffer);
                return match line.trim_ascii() {
                    [] => Ok(None),
                    line => self.parsed(line).map(Some),
                };
            }
            if self.buffer.len() > MESSAGE_LIMIT_BYTES {
                return Err(self.engine.foreign(status));
            }
            match self.engine.chunk(&mut self.response).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => self.ended = true,
            }
        }
    }

    fn parsed(&self, line: &[u8]) -> Result<Message, EngineError> {
        serde_json::from_slice(line).map_err(|_| self.engine.foreign(self.response.status()))
    }
}

/// A client whose every connection goes to a socket; the host of its addresses means nothing.
fn socket(builder: reqwest::ClientBuilder, path: PathBuf) -> (reqwest::ClientBuilder, Url) {
    #[expect(clippy::expect_used, reason = "the text is a URL")]
    let base = Url::parse("http://localhost").expect("the text is a URL");
    (builder.tls_certs_only([]).unix_socket(path), base)
}

fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return String::from("no answer in time");
    }
    plain(&root_cause(error))
}

//! The client of `/api/v1`: sends a request, takes the envelope off its answer.

use std::time::Duration;

use berth::config::Secret;
use berth_storage::Digest;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, IF_MATCH, LOCATION, RETRY_AFTER,
};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use super::connection::is_loopback;
use super::pages::Pages;
use super::refusal::Refusal;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer that is read, in bytes.
const ANSWER_LIMIT_BYTES: usize = 32 * 1024 * 1024;

/// What an address says behind its `?`.
pub(super) type Query<'a> = &'a [(&'a str, &'a str)];

/// The name and the version of the program.
pub(super) const USER_AGENT: &str = concat!("berth/", env!("CARGO_PKG_VERSION"));

/// Why a request did not end as it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The key cannot be sent in a header.
    #[error("the API key has characters that no key of Berth has")]
    Key,
    /// The workspace cannot be sent in a header.
    #[error("{0:?} is not the name of a workspace")]
    Workspace(String),
    /// A name that would change the path it becomes part of.
    #[error("{0:?} is not a name or an id")]
    Name(String),
    /// The client could not be set up.
    #[error("cannot set up the connection: {0}")]
    SetUp(String),
    /// The server was not reached, or the connection broke.
    #[error("cannot reach {url}: {reason}")]
    Unreachable { url: String, reason: String },
    /// The server refused.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The server sends elsewhere.
    #[error("{url} redirects to {location}; use that one as the URL")]
    Redirected { url: String, location: String },
    /// The answer is not one of Berth's.
    #[error("{url} answered {status} with something that is not Berth's API; check the URL")]
    Foreign { url: String, status: StatusCode },
    /// The answer is larger than any of Berth's.
    #[error("{url} answered with more than {ANSWER_LIMIT_BYTES} bytes")]
    TooLarge { url: String },
    /// A list that never ends.
    #[error("{url} has more than {limit} pages")]
    TooManyPages { url: String, limit: usize },
}

/// What every answer is wrapped in.
#[derive(Deserialize)]
struct Envelope {
    success: bool,
    #[serde(default)]
    data: Value,
    error: Option<ErrorBody>,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
    message: String,
    #[serde(default)]
    details: Value,
}

/// A connection to one server as one principal.
pub(super) struct Client {
    runtime: Runtime,
    requests: Requests,
}

/// The requests of a [`Client`], for a command that waits for other things at the same time.
pub(super) struct Requests {
    http: reqwest::Client,
    base: Url,
    workspace: Option<String>,
}

impl Client {
    /// A client that acts with `api_key`, for `workspace` if one is named.
    pub(super) fn new(
        base: &Url,
        api_key: &Secret,
        workspace: Option<String>,
    ) -> Result<Self, ClientError> {
        let requests = Requests::new(base, api_key, workspace)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ClientError::SetUp(error.to_string()))?;
        Ok(Self { runtime, requests })
    }

    /// The workspace that was named: by flag, by variable or by the login.
    pub(super) fn workspace(&self) -> Option<&str> {
        self.requests.workspace.as_deref()
    }

    /// Where the server is.
    pub(super) fn base(&self) -> &Url {
        &self.requests.base
    }

    /// GET; `segments` are the parts of the path behind `/api/v1`, as they are.
    pub(super) fn get(&self, segments: &[&str]) -> Result<Value, ClientError> {
        self.runtime.block_on(self.requests.get(segments, &[]))
    }

    /// GET of a whole address.
    pub(super) fn get_url(&self, url: Url) -> Result<Value, ClientError> {
        self.send(self.requests.http.get(url))
    }

    /// GET of a list, page by page.
    pub(super) fn pages(
        &self,
        segments: &[&str],
        query: Query<'_>,
    ) -> Result<Pages<'_>, ClientError> {
        Ok(Pages::of(self, self.requests.url(segments, query)?))
    }

    /// GET of a list that fits in memory: all its pages.
    pub(super) fn list(&self, segments: &[&str]) -> Result<Vec<Value>, ClientError> {
        let pages: Result<Vec<_>, _> = self.pages(segments, &[])?.collect();
        Ok(pages?.concat())
    }

    /// POST of a JSON body.
    pub(super) fn post(&self, segments: &[&str], body: &Value) -> Result<Value, ClientError> {
        self.runtime.block_on(self.requests.post(segments, body))
    }

    /// PUT of a JSON body, if need be only over what has this digest now.
    pub(super) fn put(
        &self,
        segments: &[&str],
        body: &Value,
        if_match: Option<&Digest>,
    ) -> Result<Value, ClientError> {
        let mut request = self
            .requests
            .http
            .put(self.requests.url(segments, &[])?)
            .json(body);
        if let Some(digest) = if_match {
            request = request.header(IF_MATCH, format!("\"{digest}\""));
        }
        self.send(request)
    }

    /// PATCH of a JSON body.
    pub(super) fn patch(&self, segments: &[&str], body: &Value) -> Result<Value, ClientError> {
        self.send(
            self.requests
                .http
                .patch(self.requests.url(segments, &[])?)
                .json(body),
        )
    }

    /// DELETE.
    pub(super) fn delete(&self, segments: &[&str], query: Query<'_>) -> Result<Value, ClientError> {
        self.runtime.block_on(self.requests.delete(segments, query))
    }

    fn send(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        self.runtime.block_on(self.requests.send(request))
    }
}

impl Requests {
    /// Requests with `api_key`, for `workspace` if one is named.
    pub(super) fn new(
        base: &Url,
        api_key: &Secret,
        workspace: Option<String>,
    ) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", api_key.expose()))
            .map_err(|_| ClientError::Key)?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(workspace) = &workspace {
            let value = HeaderValue::from_str(workspace)
                .map_err(|_| ClientError::Workspace(workspace.clone()))?;
            headers.insert("x-workspace", value);
        }
        let http = connecting_to(base)
            .default_headers(headers)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|error| ClientError::SetUp(root_cause(&error)))?;
        Ok(Self {
            http,
            base: base.clone(),
            workspace,
        })
    }

    /// GET; `segments` are the parts of the path behind `/api/v1`, as they are.
    pub(super) async fn get(
        &self,
        segments: &[&str],
        query: Query<'_>,
    ) -> Result<Value, ClientError> {
        self.send(self.http.get(self.url(segments, query)?)).await
    }

    /// POST of a JSON body.
    pub(super) async fn post(&self, segments: &[&str], body: &Value) -> Result<Value, ClientError> {
        let request = self.http.post(self.url(segments, &[])?);
        self.send(request.json(body)).await
    }

    /// DELETE.
    pub(super) async fn delete(
        &self,
        segments: &[&str],
        query: Query<'_>,
    ) -> Result<Value, ClientError> {
        self.send(self.http.delete(self.url(segments, query)?))
            .await
    }

    fn url(&self, segments: &[&str], query: Query<'_>) -> Result<Url, ClientError> {
        // A URL would swallow these, and the request would mean something else.
        if let Some(name) = segments
            .iter()
            .find(|segment| matches!(**segment, "" | "." | ".."))
        {
            return Err(ClientError::Name((*name).to_owned()));
        }
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::SetUp(format!("{} cannot have a path", self.base)))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        self.take_answer(response).await
    }

    async fn take_answer(&self, mut response: Response) -> Result<Value, ClientError> {
        let status = response.status();
        let base = self.base.as_str().trim_end_matches('/').to_owned();
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        if let Some(location) = header(LOCATION.as_str()).filter(|_| status.is_redirection()) {
            return Err(ClientError::Redirected {
                url: base,
                location,
            });
        }
        let request_id = header("x-request-id");
        let retry_after = header(RETRY_AFTER.as_str());
        let bytes = whole_body(&mut response, ANSWER_LIMIT_BYTES)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let Some(bytes) = bytes else {
            return Err(ClientError::TooLarge { url: base });
        };
        match serde_json::from_slice::<Envelope>(&bytes) {
            Ok(envelope) if envelope.success && status.is_success() => Ok(envelope.data),
            Ok(Envelope {
                success: false,
                error: Some(error),
                ..
            }) => Err(ClientError::Refused(Box::new(Refusal {
                code: error.code,
                message: error.message,
                details: error.details,
                request_id,
                retry_after,
            }))),
            Ok(_) | Err(_) => Err(ClientError::Foreign { url: base, status }),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let reason = if error.is_timeout() {
            String::from("no answer in time")
        } else {
            root_cause(error)
        };
        ClientError::Unreachable {
            url: self.base.as_str().trim_end_matches('/').to_owned(),
            reason,
        }
    }
}

/// How every command connects to a server.
pub(super) fn connecting_to(base: &Url) -> reqwest::ClientBuilder {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    if base.scheme() == "http" {
        // Without TLS no certificates are needed, and a small container has none to load.
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(base) {
        builder = builder.no_proxy();
    }
    builder
}

/// A JSON body of those fields that were given.
pub(super) fn body(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let fields: Map<String, Value> = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    Value::Object(fields)
}

/// The whole body of an answer, unless it has more than `limit` bytes.
pub(super) async fn whole_body(
    response: &mut Response,
    limit: usize,
) -> reqwest::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// The innermost error: the outer ones only say that sending failed.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

//! A small registry client: calls, answers, and what can be expected of an answer.

use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{
    ACCEPT as ACCEPT_HEADER, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    LOCATION,
};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::case::{Failure, Outcome, ensure, same};
use crate::target::Target;
use crate::tokens::{self, Challenge, Tokens};

/// No answer takes longer, on any machine that runs this.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What clients of today take: the manifests of OCI and of Docker, and any blob.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, */*";
/// How much of a body a failure shows.
const SHOWN_BODY_CHARACTERS: usize = 300;
/// The `code` values of the specification's table of errors.
const ERROR_CODES: [&str; 14] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];
/// Codes of old that the specification tells clients they may meet.
const LEGACY_ERROR_CODES: [&str; 2] = ["TAG_INVALID", "MANIFEST_UNVERIFIED"];

/// A registry under test.
pub(crate) struct Registry {
    pub(crate) target: Target,
    pub(crate) tokens: Tokens,
    /// Whether `/v2/` wants credentials.
    pub(crate) demands_credentials: bool,
    http: reqwest::Client,
}

impl Registry {
    /// Looks whether the target is there and wants credentials.
    pub(crate) async fn connect(target: Target) -> anyhow::Result<Self> {
        let accept = HeaderMap::from_iter([(ACCEPT_HEADER, HeaderValue::from_static(ACCEPT))]);
        let http = reqwest::Client::builder()
            .default_headers(accept)
            .timeout(TIMEOUT)
            // One connection a request: a registry that hangs up after one refusal cannot fail the next request.
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()?;
        let base = format!("{}/v2/", target.base_url);
        let answer = http
            .get(&base)
            .send()
            .await
            .with_context(|| format!("no answer from {base}"))?;
        Ok(Self {
            demands_credentials: answer.status() == StatusCode::UNAUTHORIZED,
            tokens: Tokens::default(),
            http,
            target,
        })
    }

    /// A call of a path under the target's address.
    pub(crate) fn call(&self, method: Method, path: &str) -> Result<Call<'_>, Failure> {
        self.call_url(method, &format!("{}{path}", self.target.base_url))
    }

    /// A call of any address, absolute.
    pub(crate) fn call_url(&self, method: Method, url: &str) -> Result<Call<'_>, Failure> {
        let url = Url::parse(url)
            .map_err(|error| Failure::Wrong(format!("`{url}` is no address: {error}")))?;
        Ok(Call {
            registry: self,
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Whole(Bytes::new()),
            access: Access::Ours(String::new()),
        })
    }

    /// The target's own user and password as a header value.
    pub(crate) fn basic(&self) -> String {
        basic(&self.target.username, &self.target.password)
    }
}

/// A user and a password as a header value.
pub(crate) fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    )
}

#[derive(Clone)]
enum Body {
    Whole(Bytes),
    /// Sent with `Transfer-Encoding: chunked`, so its length is not told before.
    Streamed(Vec<Bytes>),
}

#[derive(Clone)]
enum Access {
    /// With our user's rights, by a token where one is wanted; the word tells which cached token to try first.
    Ours(String),
    /// With just this `Authorization`, or none.
    Given(Option<String>),
}

/// A request that is not sent yet.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    registry: &'a Registry,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Body,
    access: Access,
}

impl Call<'_> {
    /// Sets a header; a case writes only valid ones.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Adds a query parameter, encoded.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Sends these bytes.
    pub(crate) fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = Body::Whole(bytes.into());
        self
    }

    /// Sends these bytes in pieces without telling the length before.
    pub(crate) fn streamed(mut self, bytes: &Bytes, piece_bytes: usize) -> Self {
        let pieces = bytes
            .chunks(piece_bytes)
            .map(|piece| bytes.slice_ref(piece));
        self.body = Body::Streamed(pieces.collect());
        self
    }

    /// Which cached token to try first.
    pub(crate) fn access(mut self, access: String) -> Self {
        self.access = Access::Ours(access);
        self
    }

    /// With just this `Authorization`.
    pub(crate) fn authorization(mut self, authorization: &str) -> Self {
        self.access = Access::Given(Some(authorization.to_owned()));
        self
    }

    /// Without any credentials.
    pub(crate) fn anonymous(mut self) -> Self {
        self.access = Access::Given(None);
        self
    }

    /// Sends it; a 401 is answered with a token once, as clients do.
    pub(crate) async fn send(self) -> Result<Answer, Failure> {
        let access = match &self.access {
            Access::Given(authorization) => {
                return self.attempt(authorization.as_deref(), &self.body).await;
            }
            Access::Ours(access) => access,
        };
        let known = self.registry.tokens.known(access);
        // A body is only sent once a token is there: a server may refuse and hang up before it has read it.
        let asks_first = known.is_none() && self.registry.demands_credentials;
        let first_body = if asks_first {
            Body::Whole(Bytes::new())
        } else {
            self.body.clone()
        };
        let answer = self.attempt(known.as_deref(), &first_body).await?;
        let challenge =
            Challenge::of(&answer).filter(|_| answer.status == StatusCode::UNAUTHORIZED);
        let Some(challenge) = challenge.filter(|_| !self.registry.target.username.is_empty())
        else {
            return Ok(answer);
        };
        let authorization = Box::pin(tokens::authorize(
            self.registry,
            access,
            &challenge,
            known.as_deref(),
        ))
        .await?;
        self.attempt(Some(&authorization), &self.body).await
    }

    async fn attempt(&self, authorization: Option<&str>, body: &Body) -> Result<Answer, Failure> {
        let request = format!("{} {}", self.method, shown(&self.url));
        let mut builder = self
            .registry
            .http
            .request(self.method.clone(), self.url.clone())
            .headers(self.headers.clone());
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        let is_read = self.method == Method::GET || self.method == Method::HEAD;
        builder = match body {
            Body::Whole(bytes) if bytes.is_empty() && is_read => builder,
            Body::Whole(bytes) => builder.body(bytes.clone()),
            Body::Streamed(pieces) => {
                let pieces: Vec<Result<Bytes, std::io::Error>> =
                    pieces.iter().cloned().map(Ok).collect();
                builder.body(reqwest::Body::wrap_stream(stream::iter(pieces)))
            }
        };
        let broken = |error: reqwest::Error| {
            Failure::Wrong(format!("{request}: {:#}", anyhow::Error::from(error)))
        };
        let response = builder.send().await.map_err(broken)?;
        let mut answer = Answer {
            url: response.url().clone(),
            status: response.status(),
            headers: response.headers().clone(),
            body: Bytes::new(),
            is_head: self.method == Method::HEAD,
            is_berth: self.registry.target.is_berth,
            request: request.clone(),
        };
        let body = response.bytes().await;
        answer.body = body.map_err(|_| answer.wrong("the body should not break off"))?;
        answer.check_warnings()?;
        Ok(answer)
    }
}

fn shown(url: &Url) -> String {
    url.query().map_or_else(
        || url.path().to_owned(),
        |query| format!("{}?{query}", url.path()),
    )
}

/// What a registry answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Method and path, for messages.
    pub(crate) request: String,
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    is_head: bool,
    is_berth: bool,
}

impl Answer {
    /// A failure about this answer.
    pub(crate) fn wrong(&self, what: &str) -> Failure {
        let body: String = String::from_utf8_lossy(&self.body)
            .trim()
            .chars()
            .take(SHOWN_BODY_CHARACTERS)
            .collect();
        Failure::Wrong(format!(
            "{}: {what}; the answer was {} {body}",
            self.request,
            self.status.as_u16()
        ))
    }

    /// The answer, if its status is this one.
    pub(crate) fn expect(self, status: u16) -> Result<Self, Failure> {
        self.expect_one_of(&[status])
    }

    /// The answer, if its status is one of these.
    pub(crate) fn expect_one_of(self, statuses: &[u16]) -> Result<Self, Failure> {
        if statuses.contains(&self.status.as_u16()) {
            return Ok(self);
        }
        let expected: Vec<String> = statuses.iter().map(u16::to_string).collect();
        Err(self.wrong(&format!("expected {}", expected.join(" or "))))
    }

    /// The answer, unless its status says that the registry declines the feature.
    pub(crate) fn unless_declined(self, statuses: &[u16], feature: &str) -> Result<Self, Failure> {
        if statuses.contains(&self.status.as_u16()) {
            return Err(Failure::NotOffered(format!(
                "{feature}: {} answered {}",
                self.request,
                self.status.as_u16()
            )));
        }
        Ok(self)
    }

    /// The answer, if the registry refused: Berth must do so as the client's mistake, with one of these codes.
    pub(crate) fn expect_refused(self, codes: &[&str]) -> Result<Self, Failure> {
        if self.is_berth {
            return self.expect_error(&[400, 404, 405, 414], codes);
        }
        if self.status.is_success() {
            return Err(self.wrong("it should be refused"));
        }
        Ok(self)
    }

    /// The first value of a header, or nothing.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All members of a list header, over however many lines.
    pub(crate) fn list_header(&self, name: &str) -> Vec<&str> {
        let lines = self
            .headers
            .get_all(name)
            .iter()
            .filter_map(|line| line.to_str().ok());
        lines
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .collect()
    }

    /// The answer, if it has this header with this value.
    pub(crate) fn expect_header(self, name: &str, value: &str) -> Result<Self, Failure> {
        match self.header(name) {
            Some(found) if found == value => Ok(self),
            found => {
                let found = found.unwrap_or("nothing");
                Err(self.wrong(&format!("`{name}` should be `{value}`, found `{found}`")))
            }
        }
    }

    /// The answer, if it does not have this header.
    pub(crate) fn expect_no_header(self, name: &str) -> Result<Self, Failure> {
        match self.header(name).map(str::to_owned) {
            None => Ok(self),
            Some(found) => {
                Err(self.wrong(&format!("there should be no `{name}`, found `{found}`")))
            }
        }
    }

    /// The answer, if its body is exactly this.
    pub(crate) fn expect_body(self, bytes: &[u8]) -> Result<Self, Failure> {
        if self.body == bytes {
            return Ok(self);
        }
        Err(self.wrong(&format!(
            "the body should be the {} bytes pushed, found {} others",
            bytes.len(),
            self.body.len()
        )))
    }

    /// Where `Location` points, absolute.
    pub(crate) fn location(&self) -> Result<Url, Failure> {
        let location = self
            .headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.wrong("there should be a `Location`"))?;
        self.url
            .join(location)
            .map_err(|_| self.wrong("`Location` should be an address"))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|_| self.wrong("the body should be JSON"))
    }

    /// Where `Link` with `rel="next"` points, if there is one (RFC 5988).
    pub(crate) fn next_page(&self) -> Result<Option<Url>, Failure> {
        let Some(link) = self.header("link") else {
            return Ok(None);
        };
        let target = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let (target, parameters) =
            target.ok_or_else(|| self.wrong("`Link` should be `<address>; rel=\"next\"`"))?;
        let is_next = parameters
            .split(';')
            .any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"));
        ensure(is_next, || {
            format!("{}: `Link` should have rel=\"next\": {link}", self.request)
        })?;
        self.url
            .join(target)
            .map(Some)
            .map_err(|_| self.wrong("`Link` should hold an address"))
    }

    /// Checks an error: its status, its shape if it is JSON (always, from Berth), and from Berth one of these codes.
    pub(crate) fn expect_error(self, statuses: &[u16], codes: &[&str]) -> Result<Self, Failure> {
        let answer = self.expect_one_of(statuses)?;
        let is_json = answer
            .header(CONTENT_TYPE.as_str())
            .is_some_and(|value| value.starts_with("application/json"));
        if answer.is_head || !(is_json || answer.is_berth) {
            return Ok(answer);
        }
        let found = answer.error_codes()?;
        if answer.is_berth && !found.iter().any(|code| codes.contains(&code.as_str())) {
            return Err(answer.wrong(&format!("expected the code {}", codes.join(" or "))));
        }
        Ok(answer)
    }

    /// The codes of a well-formed error body.
    pub(crate) fn error_codes(&self) -> Result<Vec<String>, Failure> {
        let body = self.json()?;
        let errors = body
            .get("errors")
            .and_then(Value::as_array)
            .filter(|errors| !errors.is_empty());
        let errors =
            errors.ok_or_else(|| self.wrong("an error body should have a list `errors`"))?;
        let mut codes = Vec::new();
        for error in errors {
            let code = error
                .get("code")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if !ERROR_CODES.contains(&code) && !LEGACY_ERROR_CODES.contains(&code) {
                return Err(self.wrong(&format!("`{code}` is no code of the specification")));
            }
            if error
                .get("message")
                .is_some_and(|message| !message.is_string())
            {
                return Err(self.wrong("`message` should be a string"));
            }
            codes.push(code.to_owned());
        }
        Ok(codes)
    }

    /// Warnings must be `299 - "text"`, without a date, and 4096 bytes at most in all: looked at on every answer.
    fn check_warnings(&self) -> Outcome {
        let mut total_bytes = 0;
        for warning in self.headers.get_all("warning") {
            let text = warning.to_str().unwrap_or_default();
            total_bytes += warning.len();
            let is_plain = text.starts_with("299 - \"") && text.ends_with('"');
            ensure(is_plain, || {
                format!(
                    "{}: `Warning` should be 299 - \"text\": {text}",
                    self.request
                )
            })?;
        }
        same(
            "all warnings fit into 4096 bytes",
            &(total_bytes <= 4096),
            &true,
        )
    }
}

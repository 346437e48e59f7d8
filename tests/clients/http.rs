//! A plain HTTP caller for what these tests ask the server beside its clients.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use reqwest::header::{LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime starts"));
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    reqwest::Client::builder()
        .no_proxy()
        // By far less than servers keep a connection that rests: no request meets their end of it.
        .pool_idle_timeout(Duration::from_secs(20))
        .build()
        .expect("a client without options is always built")
});

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// An API key or an access token.
    Bearer(String),
    /// A user name and a password.
    Basic(String, String),
    /// Nobody.
    Anonymous,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The `Location` header, if any.
    pub(crate) location: Option<String>,
    /// The `WWW-Authenticate` header, if any.
    pub(crate) challenge: Option<String>,
    /// The `Docker-Content-Digest` header, if any.
    pub(crate) digest: Option<String>,
    /// The body as text.
    pub(crate) body: String,
}

impl Answer {
    /// The answer to a call that had to be answered with `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "the body is: {}", self.body);
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.body))
    }
}

/// Waits for `future`.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

/// A request that is still to be sent.
pub(crate) fn request(method: Method, url: &str, caller: &Caller) -> RequestBuilder {
    let request = CLIENT.request(method, url);
    match caller {
        Caller::Bearer(token) => request.bearer_auth(token),
        Caller::Basic(user_name, password) => request.basic_auth(user_name, Some(password)),
        Caller::Anonymous => request,
    }
}

/// Sends `request` and reads the whole answer.
#[track_caller]
pub(crate) fn send(request: RequestBuilder) -> Answer {
    wait(async {
        let response = request
            .send()
            .await
            .unwrap_or_else(|error| panic!("no answer: {error:?}"));
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(String::from)
        };
        let (location, challenge) = (header(LOCATION.as_str()), header(WWW_AUTHENTICATE.as_str()));
        let digest = header("docker-content-digest");
        let status = response.status().as_u16();
        let body = response
            .text()
            .await
            .unwrap_or_else(|error| panic!("half an answer: {error:?}"));
        Answer {
            status,
            location,
            challenge,
            digest,
            body,
        }
    })
}

/// GETs `url`.
#[track_caller]
pub(crate) fn get(url: &str, caller: &Caller) -> Answer {
    send(request(Method::GET, url, caller))
}

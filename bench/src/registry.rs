//! A registry as its clients know it: the way to a token, and the requests of a push.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE,
};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode};

use crate::content::{Blob, Image, MANIFEST_TYPE};
use crate::load::Read;

/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// The pieces of a streamed upload: as large as Go's `io.Copy` makes them, which most clients are written with.
const STREAM_PIECE_BYTES: usize = 32 * 1024;

/// A user name and a password. No `Debug`: the password is a secret.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// A registry, and one repository in it.
#[derive(Clone)]
pub(crate) struct Registry {
    client: reqwest::Client,
    url: String,
    pub(crate) address: SocketAddr,
    repository: String,
    login: Option<Login>,
}

impl Registry {
    /// A registry at `http://<host>:<port>`.
    pub(crate) async fn at(
        url: &str,
        repository: &str,
        login: Option<Login>,
    ) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/');
        let host = url.strip_prefix("http://").with_context(|| {
            format!("\"{url}\" is no address of a registry: write http://host:port")
        })?;
        let address = tokio::net::lookup_host(host)
            .await
            .ok()
            .and_then(|mut addresses| addresses.next())
            .with_context(|| format!("\"{host}\" cannot be found: write host:port"))?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(REQUEST_LIMIT)
            .build()?;
        Ok(Self {
            client,
            url: url.to_owned(),
            address,
            repository: repository.to_owned(),
            login,
        })
    }

    /// Opens a session with the registry, as a client does before a pull or a push.
    pub(crate) async fn session(&self) -> anyhow::Result<Session<'_>> {
        let asked = self.client.get(format!("{}/v2/", self.url)).send().await?;
        let authorization = match asked.status() {
            StatusCode::OK => None,
            StatusCode::UNAUTHORIZED => Some(self.authorization(&asked).await?),
            status => bail!("GET {}/v2/ is answered with {status}", self.url),
        };
        Ok(Session {
            registry: self,
            authorization,
        })
    }

    /// What the challenge asks for: a password, or a token that is got with it.
    async fn authorization(&self, challenge: &Response) -> anyhow::Result<String> {
        let challenge = header(challenge, WWW_AUTHENTICATE.as_str())?;
        let Some(login) = &self.login else {
            bail!("the registry asks for a login: give --user and --password");
        };
        let with_login = |request: RequestBuilder| {
            request.basic_auth(&login.user, Some(login.password.as_str()))
        };
        if challenge.to_ascii_lowercase().starts_with("basic") {
            let request = with_login(self.client.get(&self.url)).build()?;
            let value = request.headers().get(AUTHORIZATION);
            let value = value.context("a login makes no header")?;
            return Ok(value.to_str()?.to_owned());
        }
        let realm = parameter(challenge, "realm").context("the challenge has no realm")?;
        let scope = format!("repository:{}:pull,push", self.repository);
        let request = self.client.get(realm).query(&[
            ("service", parameter(challenge, "service").unwrap_or("")),
            ("scope", &scope),
        ]);
        let answer = expect(with_login(request), StatusCode::OK).await?;
        let answer: serde_json::Value = answer.json().await?;
        let token = ["token", "access_token"]
            .iter()
            .find_map(|field| answer[field].as_str());
        let token = token.context("the token endpoint gave no token")?;
        Ok(format!("Bearer {token}"))
    }
}

/// The value of a parameter of a challenge.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

fn header<'a>(response: &'a Response, name: &str) -> anyhow::Result<&'a str> {
    let value = response.headers().get(name);
    let value = value.with_context(|| format!("{} has no {name} header", response.url()))?;
    Ok(value.to_str()?)
}

/// Sends a request; any other answer than the expected one ends the measurement.
async fn expect(request: RequestBuilder, status: StatusCode) -> anyhow::Result<Response> {
    let response = request.send().await?;
    let (url, got) = (response.url().clone(), response.status());
    if got != status {
        let body = response.text().await.unwrap_or_default();
        bail!("{url} is answered with {got}: {body}");
    }
    Ok(response)
}

/// A registry with a token that is good for the next minute.
pub(crate) struct Session<'a> {
    registry: &'a Registry,
    authorization: Option<String>,
}

impl Session<'_> {
    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.registry.repository)
    }

    fn request(&self, method: Method, path_or_url: &str) -> RequestBuilder {
        let url = if path_or_url.starts_with('/') {
            format!("{}{path_or_url}", self.registry.url)
        } else {
            path_or_url.to_owned()
        };
        let request = self.registry.client.request(method, url);
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }

    /// A read of something under the repository, for [`crate::load`].
    pub(crate) fn read(&self, method: &str, rest: &str, size_bytes: usize) -> Read {
        let mut headers = vec![(ACCEPT.as_str(), MANIFEST_TYPE)];
        if let Some(authorization) = &self.authorization {
            headers.push((AUTHORIZATION.as_str(), authorization));
        }
        Read::new(
            method,
            self.registry.address,
            &self.path(rest),
            &headers,
            size_bytes as u64,
        )
    }

    /// Whether the registry has a blob already: what clients ask before they push one.
    async fn has_blob(&self, blob: &Blob) -> anyhow::Result<bool> {
        let path = self.path(&format!("blobs/{}", blob.digest));
        let status = self.request(Method::HEAD, &path).send().await?.status();
        match status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => bail!("HEAD {path} is answered with {status}"),
        }
    }

    async fn begin_upload(&self) -> anyhow::Result<String> {
        let post = self
            .request(Method::POST, &self.path("blobs/uploads/"))
            .header(CONTENT_LENGTH, 0);
        let accepted = expect(post, StatusCode::ACCEPTED).await?;
        Ok(header(&accepted, LOCATION.as_str())?.to_owned())
    }

    fn closing(&self, location: &str, blob: &Blob) -> RequestBuilder {
        let separator = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{separator}digest={}", blob.digest);
        self.request(Method::PUT, &url)
            .header(CONTENT_TYPE, "application/octet-stream")
    }

    async fn close(&self, request: RequestBuilder, blob: &Blob) -> anyhow::Result<()> {
        let created = expect(request, StatusCode::CREATED).await?;
        let digest = header(&created, "docker-content-digest")?;
        ensure!(
            digest == blob.digest,
            "{} was stored as {digest}",
            blob.digest
        );
        Ok(())
    }

    /// Pushes a blob by POST and one PUT that has all of it.
    pub(crate) async fn put_blob(&self, blob: &Blob) -> anyhow::Result<()> {
        let location = self.begin_upload().await?;
        let request = self
            .closing(&location, blob)
            .header(CONTENT_LENGTH, blob.len())
            .body(body(blob, blob.len()));
        self.close(request, blob).await
    }

    /// Pushes a blob by POST, a PATCH of unknown length, and an empty PUT, as most clients do.
    pub(crate) async fn stream_blob(&self, blob: &Blob) -> anyhow::Result<()> {
        let location = self.begin_upload().await?;
        let patch = self
            .request(Method::PATCH, &location)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(body(blob, STREAM_PIECE_BYTES));
        let accepted = expect(patch, StatusCode::ACCEPTED).await?;
        let location = header(&accepted, LOCATION.as_str())?;
        let request = self.closing(location, blob).header(CONTENT_LENGTH, 0);
        self.close(request, blob).await
    }

    /// Pushes an image under a tag: its blobs, unless they are there, then its manifest.
    pub(crate) async fn push_image(&self, image: &Image, tag: &str) -> anyhow::Result<()> {
        for blob in image.layers.iter().chain([&image.config]) {
            if !self.has_blob(blob).await? {
                self.put_blob(blob).await?;
            }
        }
        let manifest = &image.manifest;
        let put = self
            .request(Method::PUT, &self.path(&format!("manifests/{tag}")))
            .header(CONTENT_TYPE, MANIFEST_TYPE)
            .header(CONTENT_LENGTH, manifest.len())
            .body(body(manifest, manifest.len()));
        self.close(put, manifest).await
    }
}

fn body(blob: &Blob, piece_bytes: usize) -> Body {
    let pieces = blob.pieces(piece_bytes).map(Ok::<_, std::io::Error>);
    Body::wrap_stream(futures_util::stream::iter(pieces))
}

#[cfg(test)]
mod tests {
    use super::parameter;

    #[test]
    fn the_parameters_of_a_challenge_are_found() {
        let challenge = "Bearer realm=\"http://h/token\",service=\"berth\",scope=\"\"";
        assert_eq!(parameter(challenge, "realm"), Some("http://h/token"));
        assert_eq!(parameter(challenge, "service"), Some("berth"));
        assert_eq!(parameter(challenge, "error"), None);
    }
}

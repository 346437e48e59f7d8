//! The distribution API as its clients speak it: who calls, what is pushed, what comes back.

use berth_storage::{Digest, DigestAlgorithm};
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// The media type of an image's manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What a request is sent with.
#[derive(Clone, Debug)]
pub(crate) enum Login {
    /// Nothing.
    Nobody,
    /// A user name and a password.
    Basic(String, String),
    /// A token.
    Bearer(String),
}

impl Login {
    /// An API key as a password.
    pub(crate) fn key(key: &str) -> Self {
        Self::Basic(String::from("anyone"), key.to_owned())
    }

    /// Adds it to a request.
    pub(crate) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Nobody => request,
            Self::Basic(user, password) => request.basic_auth(user, Some(password)),
            Self::Bearer(token) => request.bearer_auth(token),
        }
    }
}

/// Sends a form, as POST `/token` takes it.
pub(crate) fn form(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    request
        .header("content-type", "application/x-www-form-urlencoded")
        .body(serde_urlencoded::to_string(fields).unwrap())
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        Self {
            status,
            headers,
            body,
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// A caller of one door.
#[derive(Clone)]
pub(crate) struct Distribution {
    pub(crate) client: Client,
    pub(crate) base: String,
    pub(crate) login: Login,
}

impl Distribution {
    pub(crate) fn new(client: &Client, url: &str, login: Login) -> Self {
        Self {
            client: client.clone(),
            base: url.to_owned(),
            login,
        }
    }

    /// Another caller over the same connections.
    pub(crate) fn with(&self, login: Login) -> Self {
        Self {
            login,
            ..self.clone()
        }
    }

    /// A request to `path`, which may be a `Location` as it was given.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = match path.strip_prefix('/') {
            Some(_) => format!("{}{path}", self.base),
            None => path.to_owned(),
        };
        self.login.sign(self.client.request(method, url))
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn head(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::HEAD, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::DELETE, path)).await
    }

    /// A blob in one POST.
    pub(crate) async fn push_blob(&self, repository: &str, blob: &Content) -> Reply {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest);
        let request = self
            .request(Method::POST, &path)
            .header("content-type", "application/octet-stream")
            .body(blob.bytes.clone());
        Reply::of(request).await
    }

    /// A new upload session: its path.
    pub(crate) async fn open_upload(&self, repository: &str) -> String {
        let request = self.request(Method::POST, &format!("/v2/{repository}/blobs/uploads/"));
        let reply = Reply::of(request).await.expect(202);
        reply.header("location").to_owned()
    }

    pub(crate) async fn patch(&self, location: &str, bytes: impl Into<reqwest::Body>) -> Reply {
        let request = self
            .request(Method::PATCH, location)
            .header("content-type", "application/octet-stream")
            .body(bytes);
        Reply::of(request).await
    }

    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        manifest: &Content,
    ) -> Reply {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let request = self
            .request(Method::PUT, &path)
            .header("content-type", manifest.media_type)
            .body(manifest.bytes.clone());
        Reply::of(request).await
    }

    /// Everything of an image, under a tag.
    pub(crate) async fn push_image(&self, repository: &str, tag: &str, image: &Image) {
        for blob in std::iter::once(&image.config).chain(&image.layers) {
            self.push_blob(repository, blob).await.expect(201);
        }
        self.put_manifest(repository, tag, &image.manifest)
            .await
            .expect(201);
    }

    /// Pulls every tag that is listed, byte for byte; how many there are.
    pub(crate) async fn pull_everything(&self) -> usize {
        let catalog = self.get("/v2/_catalog").await.expect(200).json();
        let mut pulled = 0;
        for name in catalog["repositories"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let tags = self.get(&format!("/v2/{name}/tags/list")).await;
            for tag in tags.expect(200).json()["tags"].as_array().unwrap() {
                self.pull(name, tag.as_str().unwrap()).await;
                pulled += 1;
            }
        }
        pulled
    }

    async fn pull(&self, name: &str, tag: &str) {
        let manifest = self.get(&format!("/v2/{name}/manifests/{tag}")).await;
        let manifest = manifest.expect(200).json();
        let layers = manifest["layers"].as_array().unwrap();
        for descriptor in layers.iter().chain([&manifest["config"]]) {
            let digest = descriptor["digest"].as_str().unwrap();
            let blob = self.get(&format!("/v2/{name}/blobs/{digest}")).await;
            let blob = blob.expect(200).body;
            assert_eq!(descriptor["size"], blob.len());
            assert_eq!(Content::new(blob).digest, digest, "{name}:{tag}");
        }
    }

    /// GET `/token` as a client with a password asks for it.
    pub(crate) async fn token_reply(&self, scopes: &[&str]) -> Reply {
        let mut query = vec![("service", "berth"), ("account", "anyone")];
        query.extend(scopes.iter().map(|scope| ("scope", *scope)));
        Reply::of(self.request(Method::GET, "/token").query(&query)).await
    }

    /// The same caller with an access token for the scopes.
    pub(crate) async fn exchanged(&self, scopes: &[&str]) -> Self {
        let reply = self.token_reply(scopes).await.expect(200);
        let token = reply.json()["token"].as_str().unwrap().to_owned();
        self.with(Login::Bearer(token))
    }
}

/// Bytes and their digest.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Bytes,
    pub(crate) digest: String,
    pub(crate) media_type: &'static str,
}

impl Content {
    /// A blob.
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Self {
        Self::typed(bytes.into(), LAYER)
    }

    /// An index that needs nothing; each `label` gives another digest.
    pub(crate) fn empty_index(label: &str) -> Self {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [],
            "annotations": {"label": label}});
        Self::typed(Bytes::from(index.to_string()), INDEX)
    }

    /// An index of manifests, each with its platform, if it has one.
    pub(crate) fn index_of(children: &[(&Content, Option<(&str, &str)>)]) -> Self {
        let child = |(manifest, platform): &(&Content, Option<(&str, &str)>)| {
            let mut descriptor = manifest.descriptor();
            if let Some((os, architecture)) = platform {
                descriptor["platform"] = json!({"os": os, "architecture": architecture});
            }
            descriptor
        };
        let manifests: Vec<Value> = children.iter().map(child).collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        Self::typed(Bytes::from(index.to_string()), INDEX)
    }

    fn typed(bytes: Bytes, media_type: &'static str) -> Self {
        let digest = Digest::of(DigestAlgorithm::Sha256, &bytes).to_string();
        Self {
            bytes,
            digest,
            media_type,
        }
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// An image with everything it needs.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) config: Content,
    pub(crate) layers: Vec<Content>,
    pub(crate) manifest: Content,
}

/// An image that is being put together.
pub(crate) struct ImageBuilder {
    config: Bytes,
    layers: Vec<Content>,
    subject: Option<Value>,
}

/// Begins an image.
pub(crate) fn image() -> ImageBuilder {
    ImageBuilder {
        config: Bytes::from_static(b"{}"),
        layers: Vec::new(),
        subject: None,
    }
}

impl ImageBuilder {
    pub(crate) fn layer(mut self, bytes: impl Into<Bytes>) -> Self {
        self.layers.push(Content::new(bytes));
        self
    }

    pub(crate) fn config(mut self, config: impl Into<Bytes>) -> Self {
        self.config = config.into();
        self
    }

    /// With a configuration that says what it runs on.
    pub(crate) fn runs_on(self, os: &str, architecture: &str) -> Self {
        let config = json!({"os": os, "architecture": architecture, "config": {}});
        self.config(config.to_string())
    }

    pub(crate) fn subject(mut self, manifest: &Content) -> Self {
        self.subject = Some(manifest.descriptor());
        self
    }

    pub(crate) fn build(self) -> Image {
        let config = Content::typed(self.config, CONFIG);
        let layers: Vec<Value> = self.layers.iter().map(Content::descriptor).collect();
        let mut manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": config.descriptor(), "layers": layers});
        if let Some(subject) = self.subject {
            manifest["subject"] = subject;
        }
        Image {
            config,
            layers: self.layers,
            manifest: Content::typed(Bytes::from(manifest.to_string()), MANIFEST),
        }
    }
}

//! An OpenID Connect issuer over real HTTP: discovery, keys, and tokens of whatever claims a test wants.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth::config::Issuer;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::START;

pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";
pub(crate) const KEYS: &str = "/keys";
/// What tokens of tests are for.
pub(crate) const AUDIENCE: &str = "berth-test";
/// Bytes of PKCS #8 before the key of PKCS #1, for RSA with 2048 bits.
const PKCS8_HEAD: usize = 26;

/// A key that signs, and how it is published.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pub(crate) id: String,
    pub(crate) algorithm: Algorithm,
    encoding: EncodingKey,
}

impl SigningKey {
    pub(crate) fn new(id: &str, algorithm: Algorithm) -> Self {
        let encoding = match algorithm {
            Algorithm::ES256 => {
                let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                EncodingKey::from_ec_der(key.to_pkcs8v1().unwrap().as_ref())
            }
            Algorithm::ES384 => {
                let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
                EncodingKey::from_ec_der(key.to_pkcs8v1().unwrap().as_ref())
            }
            Algorithm::EdDSA => {
                let key = Ed25519KeyPair::generate().unwrap();
                EncodingKey::from_ed_der(key.to_pkcs8v1().unwrap().as_ref())
            }
            _ => {
                let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
                let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
                EncodingKey::from_rsa_der(&der.as_ref()[PKCS8_HEAD..])
            }
        };
        Self {
            id: id.to_owned(),
            algorithm,
            encoding,
        }
    }

    /// The key as the issuer publishes it.
    pub(crate) fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.encoding, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["use"] = json!("sig");
        jwk
    }

    pub(crate) fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.clone());
        header
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    pub(crate) fn sign_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.encoding).unwrap()
    }

    /// A token whose header and claims are these very texts.
    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.encoding, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// A set of keys as issuers publish it.
pub(crate) fn key_set(keys: &[&SigningKey]) -> Value {
    let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
    json!({"keys": keys})
}

/// What is answered at a path.
#[derive(Clone)]
pub(crate) enum Page {
    Json(Value),
    Text(String),
    Status(u16),
    Redirect(String),
    /// Nothing, until another page is put there.
    Held,
}

#[derive(Default)]
struct Site {
    pages: HashMap<String, Page>,
    /// The paths that were asked for, with the `Authorization` header.
    asked: Vec<(String, Option<String>)>,
}

/// A running issuer; it ends when this is dropped.
pub(crate) struct TestIssuer {
    pub(crate) url: String,
    site: Arc<Mutex<Site>>,
    /// Tells that it was asked, or that a page is another one now.
    changed: Arc<Notify>,
    accepting: JoinHandle<()>,
}

impl TestIssuer {
    /// With one key, called `one`.
    pub(crate) async fn start(key: &SigningKey) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let site = Arc::new(Mutex::new(Site::default()));
        let changed = Arc::new(Notify::new());
        let (served, changes) = (Arc::clone(&site), Arc::clone(&changed));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (site, changes) = (Arc::clone(&served), Arc::clone(&changes));
                let service = service_fn(move |request| {
                    let (site, changes) = (Arc::clone(&site), Arc::clone(&changes));
                    async move { Ok::<_, Infallible>(answer(&site, &changes, &request).await) }
                });
                tokio::spawn(async move {
                    let builder = hyper::server::conn::http1::Builder::new();
                    // A client may hang up at any time.
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        let issuer = Self {
            url,
            site,
            changed,
            accepting,
        };
        issuer.names_keys_at(&format!("{}{KEYS}", issuer.url));
        issuer.publish(&[key]);
        issuer
    }

    /// Says where its keys are.
    pub(crate) fn names_keys_at(&self, url: &str) {
        let document = json!({"issuer": self.url, "jwks_uri": url});
        self.put(DISCOVERY, Page::Json(document));
    }

    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        self.put(KEYS, Page::Json(key_set(keys)));
    }

    pub(crate) fn put(&self, path: &str, page: Page) {
        let mut site = self.site.lock().unwrap();
        site.pages.insert(path.to_owned(), page);
        self.changed.notify_waiters();
    }

    /// Waits until a path was asked for.
    pub(crate) async fn until_asked(&self, path: &str) {
        loop {
            // Whatever happens from here on is told.
            let changed = self.changed.notified();
            if self.asked(path) > 0 {
                return;
            }
            changed.await;
        }
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let site = self.site.lock().unwrap();
        site.asked.iter().filter(|(asked, _)| asked == path).count()
    }

    /// What it was asked with last.
    pub(crate) fn last_authorization(&self) -> Option<String> {
        let site = self.site.lock().unwrap();
        site.asked.last().and_then(|(_, header)| header.clone())
    }

    /// Its entry in the configuration, with these rules.
    pub(crate) fn entry(&self, rules: &Value) -> Issuer {
        let entry = json!({
            "name": "test", "issuer": self.url, "audience": AUDIENCE, "rules": rules,
            "algorithms": ["RS256", "ES256", "EdDSA"],
        });
        serde_json::from_value(entry).unwrap()
    }

    /// The claims of a service account's token in the namespace `shop`, as a kubelet gets it for five minutes.
    pub(crate) fn claims(&self, service_account: &str) -> Value {
        let now = START.seconds();
        json!({
            "iss": self.url, "aud": [AUDIENCE], "sub": format!("system:serviceaccount:shop:{service_account}"),
            "iat": now, "nbf": now, "exp": now + 300, "jti": uuid::Uuid::new_v4().to_string(),
            "kubernetes.io": {
                "namespace": "shop",
                "node": {"name": "node-1", "uid": "6d0c4f7b-9a53-4f4f-8c0f-1d2e0b9f4a2e"},
                "pod": {"name": "app-7d9c5b6f4-x2x7k", "uid": "0b9f4a2e-6d0c-4f7b-9a53-5f4f4c0f1d2e"},
                "serviceaccount": {"name": service_account, "uid": "7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11"},
            },
        })
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer<B>(
    site: &Mutex<Site>,
    changed: &Notify,
    request: &Request<B>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let authorization = request.headers().get(AUTHORIZATION);
    let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
    let asked = (path.to_owned(), authorization);
    site.lock().unwrap().asked.push(asked);
    changed.notify_waiters();
    loop {
        let changed = changed.notified();
        let page = site.lock().unwrap().pages.get(path).cloned();
        let response = Response::builder();
        let (response, body) = match page.unwrap_or(Page::Status(404)) {
            Page::Json(value) => (
                response.header(CONTENT_TYPE, "application/json"),
                value.to_string(),
            ),
            Page::Text(text) => (response, text),
            Page::Status(status) => (response.status(status), String::new()),
            Page::Redirect(location) => (
                response.status(302).header(LOCATION, location),
                String::new(),
            ),
            Page::Held => {
                changed.await;
                continue;
            }
        };
        return response.body(Full::new(Bytes::from(body))).unwrap();
    }
}

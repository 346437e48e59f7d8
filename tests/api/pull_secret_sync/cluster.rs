//! A stand-in for the API of a Kubernetes cluster, over HTTPS: it speaks the real protocol for what is in it, and refuses
//! what the roles do not allow.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::resources::{Answer, Interference, Refusal, Resources, Selector, refusal};
use super::rights::{Attributes, Rights};

/// The token of the ServiceAccount.
pub(super) const TOKEN: &str = "the-token-of-berth-pull-secrets";
/// How long a test waits for something to happen.
const LIMIT: Duration = Duration::from_secs(60);
/// Namespaces in one answer at most: fewer than are asked for, so that there are pages.
const PAGE: usize = 2;
/// How namespaces are asked for without what is in them.
const PARTIAL: &str = "application/json;as=PartialObjectMetadata";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The running stand-in; it ends when this is dropped.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    address: SocketAddr,
    certificate: String,
    accepting: JoinHandle<()>,
}

struct Shared {
    resources: Mutex<Resources>,
    /// Counts requests and changes.
    moved: watch::Sender<u64>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Cluster {
    pub(super) async fn start(rights: Rights) -> Self {
        let key = KeyPair::generate().unwrap();
        let names = vec![String::from("127.0.0.1")];
        let certificate = CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            resources: Mutex::new(Resources::with(rights)),
            moved: watch::Sender::new(0),
        });
        let served = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&served));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| {
                        let shared = Arc::clone(&shared);
                        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    // A client may hang up at any time.
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            shared,
            address,
            certificate: certificate.pem(),
            accepting,
        }
    }

    /// What `KUBECONFIG` names; JSON is YAML.
    pub(super) fn kubeconfig(&self) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority-data": STANDARD.encode(&self.certificate),
            }}],
            "users": [{"name": "berth", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "berth"}}],
        });
        config.to_string()
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(super) fn look(&self) -> MutexGuard<'_, Resources> {
        self.shared.resources.lock().unwrap()
    }

    /// Changes the cluster, and tells those who watch.
    pub(super) fn change(&self, by: impl FnOnce(&mut Resources)) {
        by(&mut self.look());
        self.shared.moved.send_modify(|count| *count += 1);
    }

    /// Has something happen right before the next request of a verb on a resource.
    pub(super) fn interfere(
        &self,
        verb: &'static str,
        resource: &'static str,
        by: impl FnOnce(&mut Resources) + Send + 'static,
    ) {
        let interference: Interference = (verb, resource, Box::new(by));
        self.look().interferences.push_back(interference);
    }

    /// Waits until something is so.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Resources) -> bool) {
        let mut moved = self.shared.moved.subscribe();
        let waited = tokio::time::timeout(LIMIT, async {
            while !is_so(&self.look()) {
                moved.changed().await.unwrap();
            }
        });
        let waited = waited.await;
        assert!(waited.is_ok(), "{what}: {:#?}", self.look().requests);
    }
}

fn whole(code: u16, body: &Value) -> Response<Body> {
    let bytes = Full::new(Bytes::from(body.to_string()));
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(bytes.boxed_unsync())
        .unwrap()
}

fn query(request: &Request<Incoming>, key: &str) -> String {
    let pairs = request.uri().query().unwrap_or_default();
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(pairs).unwrap();
    let found = pairs.into_iter().find(|(name, _)| name == key);
    found.map(|(_, value)| value).unwrap_or_default()
}

/// What a request is about, or nothing for what this stand-in does not have.
fn attributes(request: &Request<Incoming>) -> Option<Attributes> {
    let path = request.uri().path().strip_prefix("/api/v1/namespaces")?;
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let (namespace, resource, name) = match parts[..] {
        [] => ("", "namespaces", ""),
        [name] => ("", "namespaces", name),
        [namespace, resource] => (namespace, resource, ""),
        [namespace, resource, name] => (namespace, resource, name),
        _ => return None,
    };
    let is_watch = query(request, "watch") == "true";
    let verb = match (request.method(), name.is_empty()) {
        (&Method::GET, true) if is_watch => "watch",
        (&Method::GET, true) => "list",
        (&Method::GET, false) => "get",
        (&Method::POST, true) => "create",
        (&Method::PUT, false) => "update",
        (&Method::PATCH, false) => "patch",
        (&Method::DELETE, false) => "delete",
        _ => return None,
    };
    Some(Attributes {
        verb,
        resource: resource.to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
    })
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let answered = handle(shared, request).await;
    shared.moved.send_modify(|count| *count += 1);
    answered.unwrap_or_else(|refusal| whole(refusal.code, &refusal.status()))
}

async fn handle(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    if header("authorization") != format!("Bearer {TOKEN}") {
        return Err(refusal(401, "Unauthorized", "Unauthorized"));
    }
    let asked = attributes(&request).ok_or_else(|| {
        refusal(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    })?;
    let is_dry = query(&request, "dryRun") == "All";
    let line = format!(
        "{}{} {} {}/{}",
        if is_dry { "dry " } else { "" },
        asked.verb,
        asked.resource,
        asked.namespace,
        asked.name
    );
    {
        let mut resources = shared.resources.lock().unwrap();
        if let Some(code) = resources.outage {
            return Err(refusal(code, "ServiceUnavailable", "the API is down"));
        }
        if resources.failing.contains(&asked.namespace) {
            resources.requests.push(line);
            return Err(refusal(500, "InternalError", "a webhook is broken"));
        }
        if !resources.rights.allow(&asked) {
            let message = format!("User \"berth-pull-secrets\" cannot {line}");
            resources.forbidden.push(line);
            return Err(refusal(403, "Forbidden", message));
        }
        resources.requests.push(line);
        let next = resources.interferences.front();
        if !is_dry
            && next.is_some_and(|(verb, resource, _)| {
                *verb == asked.verb && *resource == asked.resource
            })
        {
            let (_, _, by) = resources.interferences.pop_front().unwrap();
            by(&mut resources);
            if let Some(code) = resources.refused.take() {
                return Err(refusal(code, "Invalid", "this is not taken"));
            }
        }
    }
    let is_partial = header("accept").starts_with(PARTIAL);
    if asked.resource == "namespaces" {
        return namespaces(shared, &request, &asked, is_partial);
    }
    let kind = header("content-type");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut resources = shared.resources.lock().unwrap();
    let (namespace, name) = (asked.namespace.as_str(), asked.name.as_str());
    let done: Answer = match (asked.verb, asked.resource.as_str()) {
        ("get", resource) => resources.get(resource, namespace, name),
        ("create", "secrets") => resources.create(namespace, parsed(&body)?, is_dry),
        ("update", "secrets") => resources.replace(namespace, name, parsed(&body)?, is_dry),
        ("patch", "serviceaccounts") if is_merge(&kind) => {
            resources.patch(namespace, name, &parsed(&body)?)
        }
        ("patch", _) => Err(refusal(415, "UnsupportedMediaType", kind)),
        _ => Err(refusal(405, "MethodNotAllowed", "not in this stand-in")),
    };
    let code = if asked.verb == "create" { 201 } else { 200 };
    Ok(whole(code, &part(done?, is_partial)))
}

fn is_merge(kind: &str) -> bool {
    let kinds = [
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ];
    kinds.contains(&kind)
}

fn parsed(body: &Bytes) -> Answer {
    serde_json::from_slice(body).map_err(|error| refusal(400, "BadRequest", error.to_string()))
}

/// An object, or its metadata alone where that was asked for.
fn part(object: Value, is_partial: bool) -> Value {
    if !is_partial {
        return object;
    }
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
    })
}

fn namespaces(
    shared: &Arc<Shared>,
    request: &Request<Incoming>,
    asked: &Attributes,
    is_partial: bool,
) -> Result<Response<Body>, Refusal> {
    let selector = Selector::parse(&query(request, "labelSelector"))?;
    if asked.verb == "list" {
        let limit = query(request, "limit")
            .parse()
            .unwrap_or(usize::MAX)
            .min(PAGE);
        let after = query(request, "continue");
        let resources = shared.resources.lock().unwrap();
        let mut list = resources.namespaces(&selector, limit, &after);
        if is_partial {
            list["kind"] = json!("PartialObjectMetadataList");
            list["apiVersion"] = json!("meta.k8s.io/v1");
            let items = list["items"].as_array_mut().unwrap();
            for item in items {
                *item = part(item.take(), true);
            }
        }
        return Ok(whole(200, &list));
    }
    let version: u64 = query(request, "resourceVersion").parse().unwrap();
    let seconds: u64 = query(request, "timeoutSeconds").parse().unwrap();
    if version < shared.resources.lock().unwrap().oldest {
        // As the real one does it: in the stream, where the answer is 200 already.
        let gone = refusal(
            410,
            "Expired",
            format!("too old resource version: {version}"),
        );
        let event = json!({"type": "ERROR", "object": gone.status()});
        return Ok(whole(200, &event));
    }
    Ok(watched(
        shared,
        selector,
        version,
        Duration::from_secs(seconds),
        is_partial,
    ))
}

/// Changes since a version, as they happen.
fn watched(
    shared: &Arc<Shared>,
    selector: Selector,
    version: u64,
    limit: Duration,
    is_partial: bool,
) -> Response<Body> {
    let moved = shared.moved.subscribe();
    let breaks = shared.resources.lock().unwrap().breaks;
    let until = tokio::time::Instant::now() + limit;
    let start = (Arc::clone(shared), moved, version);
    let events = stream::unfold(start, move |(shared, mut moved, mut version)| {
        let selector = selector.clone();
        async move {
            loop {
                let mut lines = String::new();
                {
                    let resources = shared.resources.lock().unwrap();
                    if resources.breaks != breaks {
                        return None;
                    }
                    let newer = resources
                        .events
                        .iter()
                        .filter(|event| event.version > version);
                    for (kind, object) in newer.filter_map(|event| selector.event(event)) {
                        let event = json!({"type": kind, "object": part(object, is_partial)});
                        lines.push_str(&format!("{event}\n"));
                    }
                    version = resources.version();
                }
                if !lines.is_empty() {
                    let frame = Ok(Frame::data(Bytes::from(lines)));
                    return Some((frame, (shared, moved, version)));
                }
                let changed = tokio::time::timeout_at(until, moved.changed()).await;
                changed.ok()?.ok()?;
            }
        }
    });
    Response::builder()
        .header("content-type", "application/json")
        .body(StreamBody::new(events).boxed_unsync())
        .unwrap()
}

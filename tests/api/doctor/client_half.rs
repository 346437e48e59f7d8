//! What the doctor sees from a client's side.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use berth::http::Door;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use super::bent::{Answer, Asked, Bent};
use super::{Patient, start};
use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, image};
use crate::support::process::Folder;

/// Nothing listens here.
const NOWHERE: &str = "http://127.0.0.1:1";

fn public(registry: &TestRegistry) -> SocketAddr {
    registry.running.address(Door::Public).unwrap()
}

async fn names(registry: &TestRegistry) -> Vec<Value> {
    let images = registry.api(&registry.main_key()).get("/images").await;
    let items = images.expect(200)["items"].take();
    let items: Vec<Value> = serde_json::from_value(items).unwrap();
    items
        .into_iter()
        .map(|mut image| image["name"].take())
        .collect()
}

/// What the doctor says of a registry whose answers go through `change`.
async fn through(
    change: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static,
) -> (super::Diagnosis, TestRegistry) {
    let registry = start().await;
    let bent = Bent::before(public(&registry), change).await;
    let diagnosis = Patient::at(&bent.url(), &registry.main_key()).asks().await;
    assert_eq!(names(&registry).await, Vec::<Value>::new());
    (diagnosis, registry)
}

/// An answer with another header.
fn with(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    let value = HeaderValue::from_str(value).unwrap();
    answer.headers_mut().insert(name, value);
    answer
}

#[tokio::test]
async fn all_is_well_and_nothing_is_left() {
    let server = Folder::new().start(&[]);
    let key = server.folder().secret("main.key");
    let patient = Patient::at(&server.url, &key);
    let diagnosis = patient.asks().await;
    diagnosis
        .is_well()
        .is("ok", "API: key", "admin in workspace main")
        .is(
            "ok",
            "API: credential",
            "to pull and push t-main/berth-doctor/",
        )
        .is(
            "ok",
            "registry: token",
            "for pull,push of t-main/berth-doctor/",
        )
        .is("ok", "registry: pull", "and a blob of 1114112 bytes")
        .is("ok", "clean-up", "the image berth-doctor/")
        .skips("pull address", "server.pull_url is not set")
        .skips("server", "no installation is here");
    let images = server.api(&key).get("/images").await.expect(200);
    assert_eq!(images["items"], json!([]));
    // For people: a line for each check.
    let (code, text) = patient.output(&[]).await;
    assert_eq!(code, 0);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), diagnosis.checks.len() + 1);
    assert!(lines[0].starts_with("ok       API: name  "), "{text}");
    assert_eq!(lines.last(), Some(&"All is well."));
}

#[tokio::test]
async fn both_addresses_are_checked_and_the_pull_door_takes_no_pushes() {
    let pull = Bent::start(|_, answer| answer).await;
    let url = pull.url();
    let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
        config.server.pull_url = Some(url.parse().unwrap());
    })
    .await;
    pull.lead_to(registry.running.address(Door::Pull).unwrap());
    let patient = Patient::at(&registry.url(Door::Public), &registry.main_key());
    let diagnosis = patient.asks().await;
    diagnosis.is_well();
    for check in [
        "name",
        "connection",
        "HTTP",
        "challenge",
        "realm",
        "token",
        "pull",
    ] {
        diagnosis.ok(&format!("pull address: {check}"));
    }
    diagnosis.is("ok", "pull address: read-only", "405");
    // The same address, but at the door that takes everything.
    pull.lead_to(public(&registry));
    let diagnosis = patient.asks().await;
    diagnosis.warns(
        "pull address: read-only",
        "answered with 403",
        "server.pull_listen",
    );
    assert_eq!(diagnosis.code, 0);
    let _held = pull.end().await;
    let diagnosis = patient.asks().await;
    diagnosis
        .fails("pull address: connection", "refused", "firewall")
        .skips("pull address: pull", "cannot be entered")
        .ok("registry: pull")
        .ok("clean-up");
}

#[tokio::test]
async fn a_server_that_is_down_and_a_name_that_is_not_known_are_told_apart() {
    // Bound, so that nobody else gets the port, and not listening.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    let diagnosis = Patient::at(&url, "berth_key").asks().await;
    diagnosis
        .ok("API: name")
        .fails("API: connection", "refused", "see that the server runs")
        .skips("API: HTTP", "no connection")
        .skips("API: key", "the API is not reached")
        .skips("registry", "the API is not reached");
    let diagnosis = Patient::at("https://registry.invalid", "berth_key")
        .asks()
        .await;
    diagnosis
        .fails("API: name", "registry.invalid does not resolve", "DNS")
        .skips("API: connection", "does not resolve");
    let (code, text) = Patient::at(&url, "berth_key").output(&[]).await;
    assert_eq!(code, 1);
    assert!(
        text.contains("\n         what to do: see that the server runs"),
        "{text}"
    );
    assert!(text.ends_with(" checks.\n"), "{text}");
}

#[tokio::test]
async fn without_a_key_and_with_a_wrong_one_the_rest_is_skipped() {
    let registry = start().await;
    let url = registry.url(Door::Public);
    let diagnosis = Patient::new().says(&["--url", &url]).asks().await;
    diagnosis
        .is_well()
        .ok("API: HTTP")
        .ok("clock")
        .skips("registry", "berth login");
    let diagnosis = Patient::at(&url, "berth_wrong").asks().await;
    diagnosis
        .fails("API: key", "unauthorized", "berth login")
        .skips("API: credential", "the key does not count");
    let operator = Patient::at(&url, &registry.operator_key());
    let diagnosis = operator.says(&["--workspace", "main"]).asks().await;
    diagnosis
        .is_well()
        .skips("registry", "an operator's key neither pulls nor pushes");
}

#[tokio::test]
async fn a_key_that_only_pulls_pulls_what_is_there() {
    let registry = start().await;
    let viewer = registry.key_of("main", "viewer").await;
    let patient = Patient::at(&registry.url(Door::Public), &viewer);
    let diagnosis = patient.asks().await;
    diagnosis
        .is_well()
        .is("ok", "API: credential", "to pull alone: ")
        .skips("registry: push", "may not push")
        .skips("registry: pull", "no image to pull");
    let content = image().layer("layer").build();
    let docker = registry.with_key(&registry.main_key());
    docker.push_image("t-main/team/app", "v1", &content).await;
    let diagnosis = patient.asks().await;
    diagnosis
        .is_well()
        .is(
            "ok",
            "registry: pull",
            "team/app:v1 by its tag and its digest",
        )
        .skips("clean-up", "may not push");
    assert_eq!(names(&registry).await, ["team/app"]);
}

#[tokio::test]
async fn a_key_that_may_not_delete_says_what_stays_and_other_images_stay_too() {
    let registry = start().await;
    let url = registry.url(Door::Public);
    let builder = registry.key_of("main", "builder").await;
    let diagnosis = Patient::at(&url, &builder).asks().await;
    diagnosis.ok("registry: pull").warns(
        "clean-up",
        "berth-doctor/",
        "berth image rm berth-doctor/",
    );
    assert_eq!(diagnosis.code, 0);
    let left = names(&registry).await;
    assert_eq!(left.len(), 1, "{left:?}");
    // What is there of that name, from another run or of somebody's own, is not this one's to delete.
    let docker = registry.with_key(&registry.main_key());
    let own = Content::empty_index("somebody's own");
    let pushed = docker.put_manifest("t-main/berth-doctor", "v1", &own).await;
    pushed.expect(201);
    let main = Patient::at(&url, &registry.main_key());
    main.asks()
        .await
        .is_well()
        .is("ok", "clean-up", "is deleted");
    let kept = names(&registry).await;
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept.contains(&left[0]) && kept.contains(&json!("berth-doctor")));
}

#[tokio::test]
async fn without_a_key_what_answers_has_to_be_berth() {
    let registry = start().await;
    let stranger = |url: &str| Patient::new().with("BERTH_URL", url);
    let diagnosis = stranger(&registry.url(Door::Public)).asks().await;
    diagnosis.is_well().skips("API: key", "there is no API key");
    let other = Bent::start(|_, answer| answer).await;
    let diagnosis = stranger(&other.url()).asks().await;
    diagnosis.fails("API: key", "answers 502", "passes /api/v1 on");
}

#[tokio::test]
async fn clocks_that_are_apart_are_named() {
    let date = |text: &'static str| move |_: &Asked, answer| with(answer, "date", text);
    let (diagnosis, _registry) = through(date("Mon, 01 Jan 2024 00:00:00 GMT")).await;
    diagnosis
        .fails("clock", "ahead of the server's", "NTP")
        .ok("registry: push");
    let (diagnosis, _registry) = through(date("Sun, 01 Jan 2090 00:00:00 GMT")).await;
    diagnosis.fails("clock", "behind the server's", "NTP");
}

#[tokio::test]
async fn a_realm_elsewhere_gets_no_password_and_has_to_be_reached() {
    let challenge = |realm: String| {
        move |_: &Asked, answer: Answer| {
            if answer.headers().contains_key("www-authenticate") {
                let text = format!("Bearer realm=\"{realm}/token\",service=\"berth\"");
                return with(answer, "www-authenticate", &text);
            }
            answer
        }
    };
    let (diagnosis, _registry) = through(challenge(NOWHERE.to_owned())).await;
    diagnosis
        .fails(
            "registry: realm",
            "is not reached from here",
            "server.public_url",
        )
        .skips("registry: token", "the password is not sent")
        .ok("registry: push")
        .ok("clean-up");
    let sent = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&sent);
    let other = Bent::start(move |asked, mut answer| {
        assert_eq!(asked.path, "/token");
        *seen.lock().unwrap() += 1;
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
        answer
    })
    .await;
    let (diagnosis, _registry) = through(challenge(other.url())).await;
    diagnosis.warns("registry: realm", &other.url(), "server.trusted_proxies");
    assert_eq!(*sent.lock().unwrap(), 1);
}

#[tokio::test]
async fn what_is_no_registry_is_not_entered() {
    for (status, words) in [(200, "200 to anybody"), (404, "no registry"), (503, "503")] {
        let (diagnosis, _registry) = through(move |asked, mut answer| {
            if asked.path == "/v2/" {
                *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            }
            answer
        })
        .await;
        diagnosis
            .fails("registry: challenge", words, "proxy")
            .skips("registry: push", "cannot be entered")
            .skips("registry: pull", "cannot be entered");
    }
    let (diagnosis, _registry) = through(|asked, mut answer| {
        if asked.path == "/v2/" {
            answer.headers_mut().remove("www-authenticate");
        }
        answer
    })
    .await;
    diagnosis.fails(
        "registry: challenge",
        "does not say where",
        "WWW-Authenticate",
    );
}

#[tokio::test]
async fn tokens_that_are_refused_or_none_are_named() {
    let (diagnosis, _registry) = through(|asked, mut answer| {
        if asked.path == "/token" {
            *answer.status_mut() = StatusCode::UNAUTHORIZED;
        }
        answer
    })
    .await;
    diagnosis
        .fails("registry: token", "answers 401", "Authorization")
        .ok("registry: push");
    let (diagnosis, _registry) = through(|asked, mut answer| {
        if asked.path == "/token" {
            *answer.body_mut() = Full::from("{\"token\":\"none\"}");
            answer.headers_mut().remove("content-length");
        }
        answer
    })
    .await;
    diagnosis.fails("registry: token", "to a token that is new", "clocks agree");
}

#[tokio::test]
async fn uploads_that_are_sent_elsewhere_are_not_followed() {
    let (diagnosis, _registry) = through(|asked, answer| {
        if asked.method == Method::POST && asked.path.ends_with("/blobs/uploads/") {
            return with(answer, "location", &format!("{NOWHERE}/v2/upload"));
        }
        answer
    })
    .await;
    diagnosis
        .fails("registry: upload address", NOWHERE, "server.public_url")
        .skips("registry: push", "could not begin")
        .skips("registry: pull", "the push has failed");
}

#[tokio::test]
async fn a_proxy_that_limits_bodies_is_found_and_no_upload_stays_open() {
    let (diagnosis, registry) = through(|asked, mut answer| {
        if asked.body_bytes > 1024 * 1024 {
            *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        }
        answer
    })
    .await;
    diagnosis
        .fails("registry: push", "413", "client_max_body_size")
        .skips("registry: pull", "the push has failed");
    let open = "SELECT COUNT(*) FROM uploads WHERE state = 'open'";
    assert_eq!(registry.number(open).await, 0);
}

#[tokio::test]
async fn bytes_that_change_on_their_way_are_found_and_the_push_is_taken_back() {
    for kind in ["/manifests/", "/blobs/"] {
        let (diagnosis, _registry) = through(move |asked, mut answer| {
            if asked.method == Method::GET && asked.path.contains(kind) {
                *answer.body_mut() = Full::from("other bytes");
                answer.headers_mut().remove("content-length");
            }
            answer
        })
        .await;
        diagnosis
            .fails("registry: pull", "other bytes than it has", "no proxy")
            .is("ok", "clean-up", "is deleted");
    }
}

#[tokio::test]
async fn what_a_proxy_of_the_environment_does_is_left_to_it() {
    let proxy = Bent::start(|_, answer| answer).await;
    let patient = Patient::at("http://registry.invalid:5000", "berth_key");
    let diagnosis = patient.with("http_proxy", proxy.url()).asks().await;
    diagnosis
        .skips("API: name", "the proxy 127.0.0.1 does this")
        .skips("API: connection", "by the environment's variables")
        .warns("API: HTTP", "without TLS", "insecure registries")
        .fails("API: key", "not Berth's API", "/api/v1");
}

#[tokio::test]
async fn a_redirect_is_followed_to_the_bytes() {
    let blob = Arc::new(Mutex::new(Bytes::new()));
    let kept = Arc::clone(&blob);
    let store = Bent::start(move |_, mut answer| {
        let bytes = blob.lock().unwrap().clone();
        *answer.status_mut() = if bytes.is_empty() {
            StatusCode::FORBIDDEN
        } else {
            StatusCode::OK
        };
        *answer.body_mut() = Full::new(bytes);
        answer
    })
    .await;
    let sends_to = |url: String, kept: Arc<Mutex<Bytes>>, keeps: bool| {
        move |asked: &Asked, mut answer: Answer| {
            let is_blob = asked.method == Method::GET && asked.path.contains("/blobs/sha256:");
            if is_blob {
                let body = std::mem::take(answer.body_mut());
                *kept.lock().unwrap() = if keeps { whole(body) } else { Bytes::new() };
                *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
                answer.headers_mut().remove("content-length");
                let to = HeaderValue::from_str(&format!("{url}/bucket/blob?signature=secret"));
                answer.headers_mut().insert(LOCATION, to.unwrap());
            }
            answer
        }
    };
    let (diagnosis, _registry) = through(sends_to(store.url(), Arc::clone(&kept), true)).await;
    diagnosis
        .is_well()
        .is("ok", "registry: pull", "clients are sent to")
        .ok("registry: redirect: connection")
        .is("ok", "registry: redirect: bytes", "byte for byte");
    let (diagnosis, _registry) = through(sends_to(store.url(), Arc::clone(&kept), false)).await;
    diagnosis.fails("registry: redirect: bytes", "403", "redirect_endpoint");
    let (diagnosis, _registry) = through(sends_to(NOWHERE.to_owned(), kept, true)).await;
    diagnosis.fails("registry: redirect: connection", "refused", "firewall");
    // A signed address is a secret.
    assert!(!diagnosis.all.contains("secret"), "{}", diagnosis.all);
}

/// The bytes of a body that is at hand.
fn whole(body: Full<Bytes>) -> Bytes {
    use http_body_util::BodyExt as _;
    let collected = futures_util::FutureExt::now_or_never(body.collect());
    collected.unwrap().unwrap().to_bytes()
}

//! TLS at the doors: what is agreed on, what a new certificate changes, and what is refused.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use berth::clock::Clock;
use berth::config::{Config, DoorName};
use berth::http::Door;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, Client, ClientBuilder, Method, Version, tls};
use tempfile::TempDir;

use crate::raw::{Raw, cut, metric, open, until};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Login, image};
use crate::support::process::Folder;
use crate::support::{START, TestRegistry};

const REPOSITORY: &str = "t-main/app";
const EXPIRY: &str = "berth_tls_certificate_expires_seconds";

/// A certificate of its own for the loopback address, and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let names = vec![String::from("127.0.0.1"), String::from("localhost")];
        let certificate = CertificateParams::new(names).unwrap();
        Self {
            certificate: certificate.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client that believes this certificate and no other.
    fn client(&self) -> Client {
        self.client_with(|builder| builder)
    }

    fn client_with(&self, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        let believed = Certificate::from_pem(self.certificate.as_bytes()).unwrap();
        let builder = Client::builder().no_proxy().tls_certs_only([believed]);
        change(builder).build().unwrap()
    }
}

/// The files that a server is told of.
struct Files(TempDir);

impl Files {
    fn of(pair: &Pair) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write(pair);
        files
    }

    fn certificate(&self) -> std::path::PathBuf {
        self.0.path().join("tls.crt")
    }

    fn key(&self) -> std::path::PathBuf {
        self.0.path().join("tls.key")
    }

    fn write(&self, pair: &Pair) {
        std::fs::write(self.certificate(), &pair.certificate).unwrap();
        std::fs::write(self.key(), &pair.key).unwrap();
    }

    fn configure(&self, config: &mut Config) {
        config.tls.certificate_file = Some(self.certificate());
        config.tls.key_file = Some(self.key());
    }
}

async fn start(files: &Files, change: impl FnOnce(&mut Config)) -> TestRegistry {
    TestRegistry::start_with(TestDatabase::Sqlite, |config| {
        files.configure(config);
        // A test that waits for the watcher asks for it.
        config.tls.watch_interval_seconds = 3600;
        change(config);
    })
    .await
}

fn docker(registry: &TestRegistry, client: &Client) -> Distribution {
    let login = Login::key(&registry.main_key());
    Distribution::new(client, &registry.url(Door::Public), login)
}

async fn version(client: &Client, url: &str) -> Version {
    let reply = client.get(format!("{url}/nothing")).send().await.unwrap();
    assert_eq!(reply.status(), 404);
    reply.version()
}

#[tokio::test]
async fn an_image_goes_in_and_out_over_tls_with_http2() {
    let pair = Pair::new();
    let registry = start(&Files::of(&pair), |_| {}).await;
    let client = pair.client();
    let url = registry.url(Door::Public);
    assert!(url.starts_with("https://"));
    assert_eq!(version(&client, &url).await, Version::HTTP_2);
    let docker = docker(&registry, &client);
    let content = image().layer(vec![7; 3_000_000]).build();
    docker.push_image(REPOSITORY, "v1", &content).await;
    let path = format!("/v2/{REPOSITORY}/blobs/{}", content.layers[0].digest);
    let read = docker.get(&path).await.expect(200);
    assert!(read.body == content.layers[0].bytes);
    assert_eq!(read.header("content-length"), "3000000");
    // Nobody said how the registry is reached: the connection tells.
    for door in [Door::Public, Door::Pull] {
        let nobody = Distribution::new(&client, &registry.url(door), Login::Nobody);
        let challenge = nobody.get("/v2/").await.expect(401);
        let realm = format!("realm=\"{}/token\"", registry.url(door));
        assert!(challenge.header("www-authenticate").contains(&realm));
    }
    // The operators' door stays as it was.
    assert!(registry.url(Door::Ops).starts_with("http://"));
    assert!(metric(&registry, EXPIRY).await > 4_000_000_000);
}

#[tokio::test]
async fn the_doors_that_are_named_speak_tls_and_the_others_do_not() {
    let pair = Pair::new();
    let files = Files::of(&pair);
    let registry = start(&files, |config| {
        config.tls.doors = vec![DoorName::Ops];
    })
    .await;
    assert!(registry.url(Door::Public).starts_with("http://"));
    let docker = registry.with_key(&registry.main_key());
    docker.get("/v2/").await.expect(200);
    let ops = registry.url(Door::Ops);
    let healthy = pair.client().get(format!("{ops}/healthz")).send();
    assert_eq!(healthy.await.unwrap().status(), 200);
    // The command that containers ask.
    let listens = registry.running.address(Door::Ops).unwrap().to_string();
    let asked = |variables: Vec<(String, String)>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command
            .args(["health", "--ops-listen", &listens])
            .env_clear()
            .envs(variables);
        tokio::task::spawn_blocking(move || command.output().unwrap().status.success())
    };
    let mut variables = environment(&files).to_vec();
    assert!(!asked(Vec::new()).await.unwrap());
    assert!(!asked(variables.clone()).await.unwrap());
    variables.push((String::from("BERTH_TLS__DOORS"), String::from("ops")));
    assert!(asked(variables).await.unwrap());
}

#[tokio::test]
async fn older_clients_agree_on_tls_12_and_http1() {
    let pair = Pair::new();
    let registry = start(&Files::of(&pair), |_| {}).await;
    let url = registry.url(Door::Public);
    let older = pair.client_with(ClientBuilder::http1_only);
    assert_eq!(version(&older, &url).await, Version::HTTP_11);
    let older = pair.client_with(|builder| builder.tls_version_max(tls::Version::TLS_1_2));
    assert_eq!(version(&older, &url).await, Version::HTTP_2);
}

#[tokio::test]
async fn a_new_certificate_is_served_to_new_connections() {
    let (first, second) = (Pair::new(), Pair::new());
    let files = Files::of(&first);
    let registry = start(&files, |_| {}).await;
    let url = registry.url(Door::Public);
    let connected = first.client();
    assert_eq!(version(&connected, &url).await, Version::HTTP_2);
    files.write(&second);
    registry.running.reload_certificate().await;
    assert_eq!(version(&second.client(), &url).await, Version::HTTP_2);
    first.client().get(&url).send().await.unwrap_err();
    // What is connected stays so.
    assert_eq!(version(&connected, &url).await, Version::HTTP_2);

    std::fs::write(files.key(), &first.key).unwrap();
    registry.running.reload_certificate().await;
    assert_eq!(version(&second.client(), &url).await, Version::HTTP_2);
}

#[tokio::test]
async fn a_change_of_the_files_is_noticed() {
    let (first, second) = (Pair::new(), Pair::new());
    let files = Files::of(&first);
    let registry = start(&files, |config| config.tls.watch_interval_seconds = 1).await;
    let url = registry.url(Door::Public);
    assert_eq!(version(&first.client(), &url).await, Version::HTTP_2);
    files.write(&second);
    until(1, async || {
        let reply = second.client().get(&url).send().await;
        u64::from(reply.is_ok())
    })
    .await;
}

fn environment(files: &Files) -> [(String, String); 2] {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    [
        (
            String::from("BERTH_TLS__CERTIFICATE_FILE"),
            path(&files.certificate()),
        ),
        (String::from("BERTH_TLS__KEY_FILE"), path(&files.key())),
    ]
}

#[tokio::test]
async fn a_hangup_signal_has_the_files_looked_at_and_ends_nothing() {
    let (first, second) = (Pair::new(), Pair::new());
    let files = Files::of(&first);
    let variables = environment(&files);
    let mut variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    variables.push(("BERTH_TLS__WATCH_INTERVAL_SECONDS", "3600"));
    let server = Folder::new().start(&variables);
    assert_eq!(version(&first.client(), &server.url).await, Version::HTTP_2);
    files.write(&second);
    server.signal("-HUP");
    until(1, async || {
        let reply = second.client().get(&server.url).send().await;
        u64::from(reply.is_ok())
    })
    .await;
    server.terminate();
    // Elsewhere, so that the clients of this thread can say goodbye.
    let ended = tokio::task::spawn_blocking(|| server.ended());
    let (status, folder) = ended.await.unwrap();
    assert!(status.success(), "{status}");
    let log = folder.log();
    assert!(log.contains("a new certificate is served"), "{log}");
    // Without a certificate the signal means nothing, and does not end the server either.
    let server = folder.start(&[]);
    server.signal("-HUP");
    server.docker().get("/v2/").await.expect(200);
}

#[tokio::test]
async fn a_key_of_another_certificate_is_refused_at_the_start() {
    let files = Files::of(&Pair::new());
    std::fs::write(files.key(), Pair::new().key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.data_dir = folder.path().join("data");
    files.configure(&mut config);
    let refused = berth::app::start(&config, Clock::manual(START)).await;
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("does not belong to"), "{message}");
    assert!(!config.server.data_dir.exists());

    let output = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["config", "check"])
        .env_clear()
        .envs(environment(&files))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&message), "{said}");
}

#[tokio::test]
async fn plain_http_is_told_to_use_https() {
    let registry = start(&Files::of(&Pair::new()), |_| {}).await;
    let mut plain = Raw::connect(&registry, Door::Public).await;
    let length = "Content-Length: 8388608\r\n";
    plain
        .send_head("PUT /v2/t-main/app/manifests/v1", length)
        .await;
    plain.send(vec![b'a'; 8 << 20]).await;
    let answer = plain.rest().await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("https://"), "{answer}");
    until(1, async || cut(&registry, "plain_http").await).await;
}

#[tokio::test]
async fn a_handshake_that_fails_or_does_not_end_is_cut() {
    let registry = start(&Files::of(&Pair::new()), |config| {
        config.tls.handshake_timeout_seconds = 3;
        config.server.header_read_timeout_seconds = 3;
    })
    .await;
    for (number, beginning) in [
        // Neither TLS nor HTTP.
        (1, b"\x80\x00".as_slice()),
        // A record of another kind inside of what looked like a handshake.
        (2, b"\x16\x03\x01\x00\x05hello"),
        // The beginning of a ClientHello, and nothing more.
        (3, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"),
    ] {
        let mut client = Raw::connect(&registry, Door::Public).await;
        client.send(beginning).await;
        client.read_to_any_end().await;
        until(number, async || cut(&registry, "handshake").await).await;
    }
    let mut silent = Raw::connect(&registry, Door::Public).await;
    assert_eq!(silent.rest().await, "");
    until(1, async || cut(&registry, "silent").await).await;
}

#[tokio::test]
async fn a_handshake_under_way_takes_a_place() {
    let pair = Pair::new();
    let registry = start(&Files::of(&pair), |config| {
        config.server.max_connections = 1;
        config.tls.handshake_timeout_seconds = 60;
    })
    .await;
    let mut slow = Raw::connect(&registry, Door::Public).await;
    slow.send(b"\x16\x03\x01\x02\x00\x01").await;
    until(1, async || open(&registry).await).await;
    let (client, url) = (pair.client(), registry.url(Door::Public));
    let waiting = tokio::spawn(async move { version(&client, &url).await });
    for _ in 0..20 {
        assert_eq!(open(&registry).await, 1);
    }
    assert!(!waiting.is_finished());
    drop(slow);
    assert_eq!(waiting.await.unwrap(), Version::HTTP_2);
}

#[tokio::test]
async fn over_tls_an_idle_connection_is_cut() {
    let pair = Pair::new();
    let registry = start(&Files::of(&pair), |config| {
        config.server.header_read_timeout_seconds = 3;
        config.server.response_idle_timeout_seconds = 3;
    })
    .await;
    let url = registry.url(Door::Public);
    for (number, client) in [
        (1, pair.client()),
        (2, pair.client_with(ClientBuilder::http1_only)),
    ] {
        version(&client, &url).await;
        until(number, async || cut(&registry, "idle").await).await;
        until(0, async || open(&registry).await).await;
    }
}

/// A body that goes on when the test says so.
fn in_two_halves(content: &Content) -> (tokio::sync::oneshot::Sender<()>, reqwest::Body) {
    let (go_on, waits) = tokio::sync::oneshot::channel();
    let half = content.bytes.len() / 2;
    let (first, second) = (content.bytes.slice(..half), content.bytes.slice(half..));
    let first = stream::iter([Ok::<Bytes, std::io::Error>(first)]);
    let second = stream::once(async move {
        waits.await.map_err(std::io::Error::other)?;
        Ok(second)
    });
    (go_on, reqwest::Body::wrap_stream(first.chain(second)))
}

#[tokio::test]
async fn a_stop_lets_uploads_over_tls_finish() {
    let pair = Pair::new();
    for (client, expected) in [
        (pair.client(), Version::HTTP_2),
        (
            pair.client_with(ClientBuilder::http1_only),
            Version::HTTP_11,
        ),
    ] {
        let registry = start(&Files::of(&pair), |config| config.server.drain_seconds = 30).await;
        let docker = docker(&registry, &client);
        let content = Content::new(vec![9; 300_000]);
        let (go_on, body) = in_two_halves(&content);
        let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={}", content.digest);
        let request = docker.request(Method::POST, &path).body(body);
        let upload = tokio::spawn(request.send());
        let received = registry.config().blobs_path().join("staging");
        until(1, async || {
            std::fs::read_dir(&received).unwrap().count() as u64
        })
        .await;
        let address = registry.running.address(Door::Public).unwrap();
        let stopping = tokio::spawn(registry.running.stop());
        until(0, async || {
            u64::from(tokio::net::TcpStream::connect(address).await.is_ok())
        })
        .await;
        assert!(!stopping.is_finished());
        go_on.send(()).unwrap();
        let reply = upload.await.unwrap().unwrap();
        assert_eq!((reply.status().as_u16(), reply.version()), (201, expected));
        drop((reply, docker, client));
        tokio::time::timeout(Duration::from_secs(20), stopping)
            .await
            .expect("the server ends when the last request has")
            .unwrap();
    }
}

//! Servers are killed by `kill -9` again and again while clients push and pull through the proxy before them. What was
//! answered 201 is whole, what failed can be tried again, and nobody waits for ever.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Client, Method, RequestBuilder, StatusCode};

use crate::setting;
use crate::support::calls::Api;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Image, Login, image};
use crate::support::process::{Folder, Process};
use crate::support::round_robin::RoundRobin;

const CLIENTS: usize = 6;
/// How long the short form kills.
const SECONDS: u64 = 10;
/// No request may take longer: a client that waits longer hangs.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);
/// How long a push may take that is tried until it is answered.
const PUSH_LIMIT: Duration = Duration::from_secs(300);

/// Nobody listens here.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A server, in its place behind the proxy.
struct Place {
    number: usize,
    process: Option<Process>,
    variables: Arc<Vec<(&'static str, String)>>,
}

fn address(process: &Process) -> SocketAddr {
    let (_, address) = process.url.rsplit_once('/').unwrap();
    address.parse().unwrap()
}

fn start(folder: Folder, variables: &[(&'static str, String)]) -> Process {
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    folder.start(&variables)
}

impl Place {
    /// Kills the server and starts it again, on the same folder and another port.
    async fn kill(&mut self, proxy: &RoundRobin, pause: Duration) {
        let process = self.process.take().unwrap();
        // Another server may get its port.
        proxy.replace(self.number, NOWHERE);
        let folder = process.kill();
        tokio::time::sleep(pause).await;
        let variables = Arc::clone(&self.variables);
        let process = tokio::task::spawn_blocking(move || start(folder, &variables));
        let process = process.await.unwrap();
        proxy.replace(self.number, address(&process));
        self.process = Some(process);
    }
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    pushed: AtomicU64,
    failed: AtomicU64,
    resumed: AtomicU64,
    pulled: AtomicU64,
}

/// Somebody who pushes and pulls, and tries again what failed.
struct Pusher {
    docker: Distribution,
    repository: String,
    random: StdRng,
    seen: Arc<Seen>,
    answered: Vec<(String, Image)>,
}

/// A request as a patient client makes it: what it is answered, or nothing when the server went away.
async fn ask(request: RequestBuilder) -> Option<reqwest::Response> {
    let begun = Instant::now();
    match request.timeout(REQUEST_LIMIT).send().await {
        Ok(response) if response.status().is_server_error() => {
            // 500 is for what should not happen, and servers that die are no such thing.
            assert_ne!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            None
        }
        Ok(response) => Some(response),
        Err(error) => {
            assert!(
                !error.is_timeout(),
                "a request hung for {:?}",
                begun.elapsed()
            );
            None
        }
    }
}

impl Pusher {
    async fn run(mut self, over: Arc<AtomicBool>) -> Vec<(String, Image)> {
        let mut number = 0;
        while !over.load(Ordering::SeqCst) {
            if self.answered.is_empty() || self.random.random_bool(0.6) {
                number += 1;
                self.push(number).await;
            } else {
                let place = self.random.random_range(0..self.answered.len());
                self.pull(place).await;
            }
        }
        self.answered
    }

    /// Pushes until it is answered.
    async fn push(&mut self, number: u64) {
        let size = self.random.random_range(1..300_000);
        let mut layer = vec![0_u8; size];
        self.random.fill(&mut layer[..]);
        let config = format!(
            r#"{{"number":{number},"repository":"{}"}}"#,
            self.repository
        );
        let image = image().config(config).layer(layer).build();
        let tag = format!("v{number}");
        let begun = Instant::now();
        while self.try_push(&tag, &image).await.is_none() {
            self.seen.failed.fetch_add(1, Ordering::Relaxed);
            assert!(begun.elapsed() < PUSH_LIMIT, "a push could not be retried");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.seen.pushed.fetch_add(1, Ordering::Relaxed);
        self.answered.push((tag, image));
    }

    async fn try_push(&mut self, tag: &str, image: &Image) -> Option<()> {
        for blob in std::iter::once(&image.config).chain(&image.layers) {
            let path = format!("/v2/{}/blobs/{}", self.repository, blob.digest);
            let head = ask(self.docker.request(Method::HEAD, &path)).await?;
            if head.status() == 200 {
                continue;
            }
            assert_eq!(head.status(), 404);
            if self.random.random_bool(0.5) {
                self.send_whole(blob).await?;
            } else {
                self.send_in_chunks(blob).await?;
            }
        }
        let path = format!("/v2/{}/manifests/{tag}", self.repository);
        let manifest = &image.manifest;
        let put = self
            .docker
            .request(Method::PUT, &path)
            .header("content-type", manifest.media_type)
            .body(manifest.bytes.clone());
        let put = ask(put).await?;
        assert_eq!(put.status(), 201, "{}", put.text().await.unwrap());
        Some(())
    }

    async fn open(&self) -> Option<String> {
        let path = format!("/v2/{}/blobs/uploads/", self.repository);
        let open = ask(self.docker.request(Method::POST, &path)).await?;
        assert_eq!(open.status(), 202);
        Some(open.headers()["location"].to_str().unwrap().to_owned())
    }

    async fn complete(&self, location: &str, blob: &Content, body: bytes::Bytes) -> Option<()> {
        let separator = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{separator}digest={}", blob.digest);
        let put = self
            .docker
            .request(Method::PUT, &path)
            .header("content-type", "application/octet-stream")
            .body(body);
        let put = ask(put).await?;
        // A session of the embedded database that had no bytes yet is forgotten by a restart.
        (put.status() == 201).then_some(()).or_else(|| {
            assert!(
                matches!(put.status().as_u16(), 404 | 416),
                "{}",
                put.status()
            );
            None
        })
    }

    async fn send_whole(&self, blob: &Content) -> Option<()> {
        let location = self.open().await?;
        self.complete(&location, blob, blob.bytes.clone()).await
    }

    /// Sends a blob piece by piece, and after a failure goes on where the registry says it is.
    async fn send_in_chunks(&mut self, blob: &Content) -> Option<()> {
        let location = self.open().await?;
        let mut sent = 0;
        let mut failures = 0;
        while sent < blob.bytes.len() {
            let end = (sent + self.random.random_range(1..100_000)).min(blob.bytes.len());
            let patch = self
                .docker
                .request(Method::PATCH, &location)
                .header("content-type", "application/octet-stream")
                .header("content-range", format!("{sent}-{}", end - 1))
                .body(blob.bytes.slice(sent..end));
            if ask(patch).await.is_some_and(|patch| patch.status() == 202) {
                sent = end;
                continue;
            }
            failures += 1;
            if failures > 20 {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let Some(status) = ask(self.docker.request(Method::GET, &location)).await else {
                continue;
            };
            if status.status() == 404 {
                return None;
            }
            assert_eq!(status.status(), 204);
            let range = status.headers()["range"].to_str().unwrap();
            let (_, last) = range.split_once('-').unwrap();
            sent = match last.parse::<usize>().unwrap() {
                0 => 0,
                last => last + 1,
            };
            self.seen.resumed.fetch_add(1, Ordering::Relaxed);
        }
        self.complete(&location, blob, bytes::Bytes::new()).await
    }

    /// What was answered is there, whole, whenever a server answers at all.
    async fn pull(&mut self, place: usize) {
        let (tag, image) = &self.answered[place];
        let manifest = format!("/v2/{}/manifests/{tag}", self.repository);
        let Some(reply) = ask(self.docker.request(Method::GET, &manifest)).await else {
            return;
        };
        assert_eq!(reply.status(), 200, "{tag} was answered 201");
        let layer = &image.layers[0];
        let path = format!("/v2/{}/blobs/{}", self.repository, layer.digest);
        let Some(reply) = ask(self.docker.request(Method::GET, &path)).await else {
            return;
        };
        assert_eq!(reply.status(), 200, "the layer of {tag} was answered 201");
        // A server may be killed in the middle of a download; then it ends too soon, and never with other bytes.
        if let Ok(body) = reply.bytes().await {
            assert_eq!(body, layer.bytes);
            self.seen.pulled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_servers_that_are_killed() {
    let stack = TestDatabase::chosen();
    let seconds = setting("BERTH_TORTURE_SECONDS", SECONDS);
    let seed = setting("BERTH_TORTURE_SEED", 1);
    println!("{stack:?}: {seconds} s, BERTH_TORTURE_SEED={seed}");
    let database = stack.make().await;
    let variables = Arc::new(database.variables());
    let servers = if stack == TestDatabase::Replicas {
        2
    } else {
        1
    };
    let mut places = Vec::new();
    for number in 0..servers {
        let own = Arc::clone(&variables);
        let process = tokio::task::spawn_blocking(move || start(Folder::new(), &own));
        places.push(Place {
            number,
            process: Some(process.await.unwrap()),
            variables: Arc::clone(&variables),
        });
    }
    let first = places[0].process.as_ref().unwrap();
    let (main_key, operator_key) = (
        first.folder().secret("main.key"),
        first.folder().secret("operator.key"),
    );
    let addresses = places
        .iter()
        .map(|place| address(place.process.as_ref().unwrap()));
    let proxy = RoundRobin::start(addresses.collect()).await;
    // A client that tries again must not find the connection that the last try broke.
    let client = Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build();
    let client = client.unwrap();
    let docker = Distribution::new(&client, &proxy.url(), Login::key(&main_key));
    let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
    let pushers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let pusher = Pusher {
                docker: docker.clone(),
                repository: format!("t-main/app{number}"),
                random: StdRng::seed_from_u64(seed + number as u64),
                seen: Arc::clone(&seen),
                answered: Vec::new(),
            };
            tokio::spawn(pusher.run(Arc::clone(&over)))
        })
        .collect();
    let mut random = StdRng::seed_from_u64(seed);
    let (begun, mut kills) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1_000))).await;
        let place = random.random_range(0..places.len());
        let pause = Duration::from_millis(random.random_range(0..300));
        places[place].kill(&proxy, pause).await;
        kills += 1;
    }
    over.store(true, Ordering::SeqCst);
    let mut answered = Vec::new();
    for (number, pusher) in pushers.into_iter().enumerate() {
        let own = pusher.await.unwrap();
        answered.extend(
            own.into_iter()
                .map(|push| (format!("t-main/app{number}"), push)),
        );
    }
    let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{stack:?}: {kills} kills, {} pushes answered, {} tries that failed, {} uploads resumed, {} pulls",
        number(&seen.pushed),
        number(&seen.failed),
        number(&seen.resumed),
        number(&seen.pulled)
    );
    assert!(kills > 0 && !answered.is_empty());
    for (repository, (tag, image)) in &answered {
        is_whole(&docker, repository, tag, image).await;
    }
    let operator = Api::new(&client, &proxy.url(), &operator_key);
    let findings = operator.findings(true, false).await;
    assert!(findings.is_empty(), "{findings:?}");
}

async fn is_whole(docker: &Distribution, repository: &str, tag: &str, image: &Image) {
    let manifest = docker
        .get(&format!("/v2/{repository}/manifests/{tag}"))
        .await;
    assert_eq!(manifest.expect(200).body, image.manifest.bytes);
    for blob in std::iter::once(&image.config).chain(&image.layers) {
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        assert_eq!(docker.get(&path).await.expect(200).body, blob.bytes);
    }
}

//! One endless upload costs no memory.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use libtest_mimic::Trial;
use reqwest::Method;
use sha2::{Digest as _, Sha256};

use crate::http::{self, Caller};
use crate::server::Server;
use crate::team::Team;
use crate::{fact, tell};

/// What is sent, in chunks of `CHUNK_BYTES`.
const UPLOAD_BYTES: u64 = 2 << 30;
const CHUNK_BYTES: usize = 1 << 20;

/// What the server may have had in memory at its peak, programs and libraries included.
const PEAK_LIMIT_KIB: u64 = 64 << 10;

/// How often the anonymous memory is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![fact(
        "memory::one_patch_of_two_gibibytes_stays_under_64_mib",
        one_patch_of_two_gibibytes,
    )]
}

/// The `number`th chunk: no two are equal, and making one costs next to nothing.
fn chunk(pattern: &Bytes, number: u64) -> Bytes {
    let mut chunk = pattern.to_vec();
    chunk[..8].copy_from_slice(&number.to_le_bytes());
    chunk.into()
}

/// Bytes that do not repeat soon (xorshift).
fn pattern() -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let words = (0..CHUNK_BYTES / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect::<Vec<u8>>().into()
}

/// A value of `/proc/<pid>/status`, in KiB.
fn status_kib(process_id: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status"))
        .expect("the server is running");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line
        .and_then(|line| line.split_whitespace().next())
        .and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("no {field} in:\n{status}"))
}

/// Looks at the anonymous memory of a process until it is told to stop, and gives the most it saw.
fn watch(process_id: u32, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let mut peak = 0;
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            peak = peak.max(status_kib(process_id, "RssAnon"));
            std::thread::sleep(SAMPLE_INTERVAL);
        }
        peak
    })
}

/// Sends the whole upload in one PATCH without a length; gives its digest and the upload's next location.
fn send_in_one_patch(server: &Server, location: &str, caller: &Caller) -> (String, String) {
    let hash = Arc::new(Mutex::new(Sha256::new()));
    let pattern = pattern();
    let chunks = {
        let hash = Arc::clone(&hash);
        (0..UPLOAD_BYTES / CHUNK_BYTES as u64).map(move |number| {
            let chunk = chunk(&pattern, number);
            hash.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .update(&chunk);
            Ok::<_, std::io::Error>(chunk)
        })
    };
    let request = http::request(Method::PATCH, &absolute(server, location), caller)
        .header("content-type", "application/octet-stream")
        .body(reqwest::Body::wrap_stream(stream::iter(chunks)));
    let location = http::send(request)
        .expect(202)
        .location
        .expect("the upload goes on somewhere");
    let digest = hash
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
        .finalize();
    (format!("sha256:{}", hex::encode(digest)), location)
}

/// The digest of what `url` gives.
fn digest_of(url: &str, caller: &Caller) -> String {
    http::wait(async {
        let mut response = http::request(Method::GET, url, caller)
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 200);
        let mut hash = Sha256::new();
        while let Some(chunk) = response.chunk().await.expect("the whole answer") {
            hash.update(&chunk);
        }
        format!("sha256:{}", hex::encode(hash.finalize()))
    })
}

fn absolute(server: &Server, location: &str) -> String {
    if location.starts_with('/') {
        server.url(location)
    } else {
        String::from(location)
    }
}

fn one_patch_of_two_gibibytes() {
    // The build's own folder: /tmp may be a small one, or in memory.
    let server = Server::start_in(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let team = Team::new(&server, "blue");
    let caller = team.credential(&serde_json::json!({})).caller();
    let uploads = server.url(&format!("/v2/{}large/blobs/uploads/", team.prefix));
    let upload = http::send(http::request(Method::POST, &uploads, &caller))
        .expect(202)
        .location;
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = watch(server.process_id(), Arc::clone(&stop));
    let begun = Instant::now();
    let (digest, location) =
        send_in_one_patch(&server, &upload.expect("an upload has a location"), &caller);
    let separator = if location.contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}digest={digest}", absolute(&server, &location));
    http::send(http::request(Method::PUT, &url, &caller).header("content-length", "0")).expect(201);
    let elapsed = begun.elapsed();
    let blob = server.url(&format!("/v2/{}large/blobs/{digest}", team.prefix));
    assert_eq!(
        digest_of(&blob, &caller),
        digest,
        "what is stored is not what was sent"
    );
    stop.store(true, Ordering::Relaxed);
    let anonymous_kib = watcher.join().expect("the watcher ends");
    let peak_kib = status_kib(server.process_id(), "VmHWM");
    tell(&format!(
        "an upload of 2 GiB in one PATCH took {elapsed:.1?}; the server's peak was {} MiB, {} MiB of it anonymous",
        peak_kib >> 10,
        anonymous_kib >> 10
    ));
    assert!(peak_kib < PEAK_LIMIT_KIB, "the peak was {peak_kib} KiB");
    server.stop();
}

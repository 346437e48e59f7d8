//! What was answered 201 is there after the process was killed, and what was begun can be gone on with.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::Method;

use crate::support::distribution::{Content, Distribution, Reply, image};
use crate::support::process::{Folder, Process, files};

const REPOSITORY: &str = "t-main/app";
/// How long something that is to happen soon may take.
const LIMIT: Duration = Duration::from_secs(60);

fn staged(folder: &Folder) -> usize {
    files(&folder.data().join("blobs/staging")).len()
}

async fn blob(docker: &Distribution, content: &Content) -> Reply {
    docker
        .get(&format!("/v2/{REPOSITORY}/blobs/{}", content.digest))
        .await
}

/// Kills the server in the moment after an answer, and starts it on the same folder.
fn killed_and_started(server: Process) -> Process {
    server.kill().start(&[])
}

#[tokio::test]
async fn what_was_answered_201_survives_a_kill_byte_for_byte() {
    let mut server = Folder::new().start(&[]);
    for round in 0..3 {
        let layer: Vec<u8> = (0..3_000_000_u32)
            .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8 ^ round)
            .collect();
        let content = image().layer(layer).build();
        let docker = server.docker();
        docker
            .push_blob(REPOSITORY, &content.layers[0])
            .await
            .expect(201);
        server = killed_and_started(server);
        let docker = server.docker();
        let read = blob(&docker, &content.layers[0]).await.expect(200);
        assert!(read.body == content.layers[0].bytes, "round {round}");

        docker
            .push_blob(REPOSITORY, &content.config)
            .await
            .expect(201);
        let tag = format!("v{round}");
        docker
            .put_manifest(REPOSITORY, &tag, &content.manifest)
            .await
            .expect(201);
        server = killed_and_started(server);
        let path = format!("/v2/{REPOSITORY}/manifests/{tag}");
        let read = server.docker().get(&path).await.expect(200);
        assert_eq!(read.body, content.manifest.bytes);
        assert_eq!(
            read.header("docker-content-digest"),
            content.manifest.digest
        );
    }
    let folder = server.kill();
    assert_eq!(staged(&folder), 0);
}

#[tokio::test]
async fn a_deletion_that_was_answered_survives_a_kill() {
    let server = Folder::new().start(&[]);
    let content = image().layer("layer").build();
    let docker = server.docker();
    docker.push_image(REPOSITORY, "v1", &content).await;
    let path = format!("/v2/{REPOSITORY}/manifests/v1");
    docker.delete(&path).await.expect(202);
    let server = killed_and_started(server);
    server.docker().get(&path).await.expect(404);
}

#[tokio::test]
async fn an_open_upload_goes_on_from_its_offset_after_a_kill() {
    let server = Folder::new().start(&[]);
    let whole = Content::new(
        (0..2_000_000_u32)
            .map(|n| (n % 251) as u8)
            .collect::<Vec<_>>(),
    );
    let (first, rest) = (
        whole.bytes.slice(..1_200_000),
        whole.bytes.slice(1_200_000..),
    );
    let docker = server.docker();
    let session = docker.open_upload(REPOSITORY).await;
    let patched = docker.patch(&session, first).await.expect(202);
    assert_eq!(patched.header("range"), "0-1199999");
    // Two more that were begun and come to nothing: one was cancelled, one is open without a byte.
    let cancelled = docker.open_upload(REPOSITORY).await;
    docker.patch(&cancelled, "bytes").await.expect(202);
    docker.delete(&cancelled).await.expect(204);
    docker.open_upload(REPOSITORY).await;

    let server = killed_and_started(server);
    let docker = server.docker();
    let status = docker.get(&session).await.expect(204);
    assert_eq!(status.header("range"), "0-1199999");
    docker.get(&cancelled).await.expect(404);
    let put = docker
        .request(Method::PUT, &format!("{session}?digest={}", whole.digest))
        .header("content-range", "1200000-1999999")
        .header("content-type", "application/octet-stream")
        .body(rest);
    Reply::of(put).await.expect(201);
    let read = blob(&docker, &whole).await.expect(200);
    assert!(read.body == whole.bytes);
    let folder = server.kill();
    assert_eq!(staged(&folder), 0);
}

/// A request whose body is sent by hand.
struct SlowUpload {
    stream: TcpStream,
}

impl SlowUpload {
    /// Sends the head, and waits until the server wants the body.
    fn begin(server: &Process, method: &str, path: &str, length: usize) -> Self {
        use base64::Engine as _;
        let key = server.folder().secret("main.key");
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("any:{key}"));
        let address = server.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {basic}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 25];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
        Self { stream }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn status(mut self) -> String {
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the connection ended before an answer");
            answer.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&answer)[..12].to_owned()
    }
}

#[tokio::test]
async fn half_a_body_and_a_kill_leave_nothing_without_a_session() {
    let server = Folder::new().start(&[]);
    let content = Content::new(vec![7; 1_000_000]);
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={}", content.digest);
    let mut single = SlowUpload::begin(&server, "POST", &path, content.bytes.len());
    single.send(&content.bytes[..600_000]);
    let session = server.docker().open_upload(REPOSITORY).await;
    let path = session.strip_prefix(&server.url).unwrap_or(&session);
    let mut patch = SlowUpload::begin(&server, "PATCH", path, content.bytes.len());
    patch.send(&content.bytes[..600_000]);
    let begun = Instant::now();
    while staged(server.folder()) < 2 {
        assert!(begun.elapsed() < LIMIT, "no byte ever reached the storage");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let server = killed_and_started(server);
    let docker = server.docker();
    blob(&docker, &content).await.expect(404);
    assert!(
        staged(server.folder()) <= 1,
        "only the session may keep bytes"
    );
    let status = docker.get(path).await.expect(204);
    let range = status.header("range").to_owned();
    let offset: usize = match range.strip_prefix("0-").unwrap().parse().unwrap() {
        0 => 0,
        last => last + 1,
    };
    let put = docker
        .request(Method::PUT, &format!("{path}?digest={}", content.digest))
        .header("content-type", "application/octet-stream")
        .body(content.bytes.slice(offset..));
    Reply::of(put).await.expect(201);
    let read = blob(&docker, &content).await.expect(200);
    assert!(read.body == content.bytes);
    let folder = server.kill();
    assert_eq!(staged(&folder), 0);
}

#[tokio::test]
async fn a_stop_signal_lets_an_upload_finish() {
    let server = Folder::new().start(&[]);
    let content = Content::new(vec![9; 300_000]);
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={}", content.digest);
    let mut upload = SlowUpload::begin(&server, "POST", &path, content.bytes.len());
    upload.send(&content.bytes[..100_000]);
    server.terminate();
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let begun = Instant::now();
    while TcpStream::connect(&address).is_ok() {
        assert!(begun.elapsed() < LIMIT, "the door stays open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    upload.send(&content.bytes[100_000..]);
    assert_eq!(upload.status(), "HTTP/1.1 201");
    let (status, folder) = server.ended();
    assert!(status.success(), "{status}");
    let server = folder.start(&[]);
    let read = blob(&server.docker(), &content).await.expect(200);
    assert!(read.body == content.bytes);
}

#[tokio::test]
async fn a_second_start_on_a_folder_says_that_it_is_owned() {
    let server = Folder::new().start(&[]);
    let mut second = server.folder().command(&[]);
    let output = second
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    let data = server.data();
    let expected = format!("another berth owns {}: stop it first", data.display());
    assert!(said.contains(&expected), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    server.docker().get("/v2/").await.expect(200);
}

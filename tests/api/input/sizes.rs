//! Bodies that are too large, too small, or not as long as they say; chunks of HTTP that are none.

use super::row::{Row, get, patch, post, put};
use super::scene::Scene;
use crate::support::database::TestDatabase;
use crate::support::raw::{RawAnswer, Wire};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A body in HTTP's own chunks.
fn chunked(row: Row, body: &str) -> Row {
    row.unframed()
        .header("Transfer-Encoding", "chunked")
        .body(body)
}

/// A body whose length is what this says.
fn long(row: Row, length: &str, body: &str) -> Row {
    row.unframed().header("Content-Length", length).body(body)
}

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let manifest = || put("/v2/{own}/manifests/new").typed(MANIFEST);
    let upload = || patch("/v2/{own}/blobs/uploads/{upload}");
    let fresh = || patch("/v2/{own}/blobs/uploads/{fresh}");
    let end = || put("/v2/{own}/blobs/uploads/{fresh}?digest={layer}");
    let whole = || post("/v2/{own}/blobs/uploads/?digest={layer}");
    let credentials = || post("/api/v1/registry/credentials").typed("application/json");
    let form = || post("/token").typed("application/x-www-form-urlencoded").anonymous();
    let mut rows = Vec::new();
    for length in ["-1", "+5", "5.0", "0x5", "5,6", "five", "99999999999999999999", "18446744073709551616", "5 5", "\"5\""] {
        rows.push(long(upload(), length, "01234").breaks_http(400));
    }
    // Lengths that contradict each other or themselves: whoever sends them may want two readers to see two requests.
    rows.extend([
        long(upload(), "5", "01234").header("Content-Length", "6").breaks_http(400),
        long(upload(), "5", "01234").header("Transfer-Encoding", "identity").breaks_http(400),
        long(upload(), "5", "01234").header("Transfer-Encoding", "chunked, identity").breaks_http(400),
        chunked(upload(), "0\r\n\r\n").header("Transfer-Encoding", "identity").breaks_http(400),
        chunked(upload(), "0\r\n\r\n").header("Transfer-Encoding", "chunked").is(400, "UNSUPPORTED", "Transfer-Encoding may be \"chunked\" and nothing else"),
        upload().unframed().header("Transfer-Encoding", "gzip, chunked").body("0\r\n\r\n").is(400, "UNSUPPORTED", "Transfer-Encoding may be"),
        upload().unframed().header("Transfer-Encoding", "chunked, chunked").body("0\r\n\r\n").is(400, "UNSUPPORTED", "Transfer-Encoding may be"),
        upload().unframed().header("Transfer-Encoding", "xchunked").body("0\r\n\r\n").breaks_http(400),
        upload().unframed().header("Transfer-Encoding", "").body("0\r\n\r\n").breaks_http(400),
        chunked(upload(), "0\r\n\r\n").in_version("HTTP/1.0").breaks_http(400),
        // Chunks of HTTP that are none. What came before them counts, so each is sent to an upload of its own.
        chunked(fresh(), "x\r\nabc\r\n0\r\n\r\n").is(400, "BLOB_UPLOAD_INVALID", "the body ended before its time"),
        chunked(fresh(), "-1\r\nabc\r\n0\r\n\r\n").is(400, "BLOB_UPLOAD_INVALID", "the body ended before its time"),
        chunked(fresh(), "fffffffffffffffff\r\nabc\r\n0\r\n\r\n").is(400, "BLOB_UPLOAD_INVALID", "the body ended before its time"),
        chunked(fresh(), "\r\nabc\r\n0\r\n\r\n").is(400, "BLOB_UPLOAD_INVALID", "the body ended before its time"),
        chunked(fresh(), "3\r\nabcdef\r\n0\r\n\r\n").is(400, "BLOB_UPLOAD_INVALID", "the body ended before its time"),
        chunked(fresh(), "3\nabc\n0\n\n").is(400, "BLOB_UPLOAD_INVALID", "the body ended before its time"),
        chunked(fresh(), "5\r\nabc").cut_off().is(400, "BLOB_UPLOAD_INVALID", "the body ended before its time"),
        chunked(fresh(), &format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(20_000))).is(400, "BLOB_UPLOAD_INVALID", "the body ended before its time"),
        chunked(manifest(), "x\r\n{}\r\n0\r\n\r\n").is(400, "MANIFEST_INVALID", "the body ended before its time"),
        chunked(credentials(), "x\r\n{}\r\n0\r\n\r\n").is(400, "bad_request", "the body ended before its time"),
        // Too few bytes, and then nothing more.
        long(fresh(), "9", "01234").cut_off().is(400, "BLOB_UPLOAD_INVALID", "the body ended before its time"),
        long(end(), "9", "01234").cut_off().is(400, "BLOB_UPLOAD_INVALID", "the body ended before its time"),
        long(whole(), "9", "01234").cut_off().is(400, "BLOB_UPLOAD_INVALID", "the body ended before its time"),
        long(manifest(), "9", "{}").cut_off().is(400, "MANIFEST_INVALID", "the body ended before its time"),
        long(credentials(), "9", "{}").cut_off().is(400, "bad_request", "the body ended before its time"),
        long(form(), "99", "grant_type=password").cut_off().is(400, "UNSUPPORTED", "the body ended before its time"),
        // Too many.
        manifest().body(" ".repeat(64 * 1024 + 1)).is(413, "MANIFEST_INVALID", "the body may have 65536 bytes"),
        manifest().body(" ".repeat(64 * 1024)).is(400, "MANIFEST_INVALID", "cannot be read as JSON"),
        long(manifest(), "9223372036854775807", "{}").is(413, "MANIFEST_INVALID", "the body may have 65536 bytes"),
        chunked(manifest(), &format!("{:x}\r\n{}\r\n0\r\n\r\n", 65_537, " ".repeat(65_537))).is(413, "MANIFEST_INVALID", "the body may have 65536 bytes"),
        credentials().body(" ".repeat(4097)).is(413, "payload_too_large", "the body may have 4096 bytes"),
        long(credentials(), "9223372036854775807", "{}").is(413, "payload_too_large", "the body may have 4096 bytes"),
        chunked(credentials(), &format!("{:x}\r\n{}\r\n0\r\n\r\n", 4097, " ".repeat(4097))).is(413, "payload_too_large", "the body may have 4096 bytes"),
        form().body(format!("grant_type=password&password={}", "p".repeat(32 * 1024))).is(413, "UNSUPPORTED", "the body may have 32768 bytes"),
        long(form(), "9223372036854775807", "a=b").is(413, "UNSUPPORTED", "the body may have 32768 bytes"),
        form().body("x=y&".repeat(257)).is(400, "UNSUPPORTED", "more than 256 parameters"),
        get(format!("/v2/{{own}}/tags/list?{}", "x=y&".repeat(257))).is(400, "UNSUPPORTED", "more than 256 parameters"),
        get(format!("/v2/_catalog?{}", "&".repeat(10_000))).is(200, "", ""),
        // A body where none belongs is read past.
        get("/v2/{own}/tags/list").body("{\"n\":1}").is(200, "", ""),
    ]);
    rows
}

#[tokio::test]
async fn sizes_that_are_wrong_are_refused() {
    super::drive(&rows()).await;
}

/// The ids of the requests that the registry answered on one connection.
async fn answered(scene: &Scene, bytes: &str) -> Vec<String> {
    let mut wire = Wire::open(&scene.host, scene.port).await.unwrap();
    let _ = wire.send(scene.fill(bytes).as_bytes()).await;
    let bytes = wire.rest().await.unwrap();
    let mut rest = bytes.as_slice();
    std::iter::from_fn(|| RawAnswer::take(&mut rest, false))
        .map(|answer| answer.header("x-request-id").to_owned())
        .collect()
}

/// A proxy that counts by one length and we by the other would see two requests where the sender wrote one.
#[tokio::test]
async fn no_body_is_taken_for_a_request() {
    const LENGTH: &str = "Content-Length: 5\r\n";
    const CHUNKS: &str = "Transfer-Encoding: chunked\r\n";
    let scene = Scene::set(TestDatabase::Sqlite).await;
    let begin = "PATCH /v2/{own}/blobs/uploads/{upload} HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: first\r\n";
    let smuggled = "GET /v2/_catalog HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: smuggled\r\n\r\n";
    // Of two lengths the chunks count, and the connection ends with the answer (RFC 9112 section 6.1).
    for lengths in [format!("{LENGTH}{CHUNKS}"), format!("{CHUNKS}{LENGTH}")] {
        let request = format!("{begin}{lengths}\r\n0\r\n\r\n{smuggled}");
        assert_eq!(answered(&scene, &request).await, ["first"], "{lengths}");
    }
    // The body of a request that is refused unread is still a body.
    let refused = format!(
        "{begin}Content-Length: {}\r\n\r\n",
        scene.fill(smuggled).len()
    );
    let next =
        "GET /v2/ HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: next\r\nConnection: close\r\n\r\n";
    let ids = answered(&scene, &format!("{refused}{smuggled}{next}")).await;
    assert!(ids == ["first", "next"] || ids == ["first"], "{ids:?}");
    scene.works().await;
}

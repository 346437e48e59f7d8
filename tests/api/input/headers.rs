//! Heads of requests that are no HTTP, or HTTP that two readers could take for two things.

use super::row::{Row, get, head, post, put, request};
use super::scene::EMPTY_INDEX;

const LIST: &str = "/v2/{own}/tags/list";

/// What is no host that a registry could be reached by.
const NO_HOSTS: [&str; 10] = [
    "", "a b", "a/b", "a@b", "a:b", "a:123456", "http://a", "[::1", "a,b", "\"a\"",
];

/// Methods that no path has.
const METHODS: [&str; 9] = [
    "get", "FOO", "TRACE", "OPTIONS", "PROPFIND", "COPY", "PUT", "DELETE", "G-E_T",
];

/// Lines that are no headers.
const BROKEN: [(&str, &str); 12] = [
    ("X-Nul", "a\0b"),
    ("X-Bell", "a\x07b"),
    ("X-Return", "a\rb"),
    ("X-Folded", "a\r\n b"),
    ("X-Folded", "a\r\n\tb"),
    ("X Space", "a"),
    ("X-Space ", "a"),
    (" X-Space", "a"),
    ("", "a"),
    ("X(y)", "a"),
    ("X-\u{e9}", "a"),
    ("no colon\r\nX-After", "a"),
];

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let host = "a request needs a Host header with a host name or address and an optional port";
    let twice = |row: Row, says| row.is(400, "UNSUPPORTED", says);
    for name in NO_HOSTS {
        rows.push(get(LIST).hostless().header("Host", name).is(400, "UNSUPPORTED", host));
    }
    for method in METHODS {
        rows.push(request(method, LIST).is(405, "UNSUPPORTED", "this path answers GET, HEAD and no other method"));
    }
    for (name, value) in BROKEN {
        rows.push(get(LIST).header(name, value).breaks_http(400));
    }
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/3", "http/1.1", "HTTP/1.1.1", "HTTPS/1.1", ""] {
        rows.push(get(LIST).in_version(version).breaks_http(400));
    }
    for method in ["", "G@T", "GET\t", "G\0T", "(GET)", "\u{e9}"] {
        rows.push(request(method, LIST).breaks_http(400));
    }
    let mut many = get(LIST);
    for number in 0..120 {
        many = many.header(&format!("X-Header-{number}"), "x");
    }
    rows.extend([
        many.breaks_http(431),
        get(LIST).header("X-Large", "x".repeat(70_000)).breaks_http(431),
        get(LIST).header(&"X".repeat(70_000), "x").breaks_http(431),
        request(&"X".repeat(5000), LIST).is(405, "UNSUPPORTED", "this path answers GET, HEAD and no other method"),
        // Hosts.
        get(LIST).hostless().is(400, "UNSUPPORTED", host),
        get("/api/v1/whoami").hostless().is(400, "bad_request", host),
        head(LIST).hostless().is(400, "", ""),
        get(LIST).hostless().header("Host", b"\xff").is(400, "UNSUPPORTED", host),
        twice(get(LIST).header("Host", "{host}"), "host is sent more than once"),
        twice(get(LIST).header("Host", "evil.example"), "host is sent more than once"),
        get("/api/v1/whoami").header("hOsT", "evil.example").is(400, "bad_request", "host is sent more than once"),
        get(LIST).hostless().in_version("HTTP/1.0").is(200, "", ""),
        get(LIST).hostless().header("Host", "[::1]:5000").is(200, "", ""),
        get("/v2/").hostless().in_version("HTTP/1.0").anonymous().is(400, "UNAUTHORIZED", "authentication needs a Host header"),
        // What a proxy says counts from a proxy alone.
        get("/v2/").header("X-Forwarded-Host", "evil.example\" x").header("X-Forwarded-Proto", "gopher").is(200, "", ""),
        get(LIST).header("X-Forwarded-For", "1.2.3.4").header("Forwarded", "for=\"").is(200, "", ""),
        // The id of a request is for logs: one that could do harm there is replaced.
        get("/v2/").header("X-Request-Id", "").is(200, "", ""),
        get("/v2/").header("X-Request-Id", "x".repeat(1000)).is(200, "", ""),
        get("/v2/").header("X-Request-Id", "a b\u{e9}<script>").is(200, "", ""),
        // The workspace that an operator names.
        get("/api/v1/workspaces/acme").header("X-Workspace", "acme").header("X-Workspace", "rival").is(400, "bad_request", "x-workspace is sent more than once"),
        post("/api/v1/registry/credentials").header("X-Workspace", b"\xff").is(400, "bad_request", "X-Workspace names a workspace, and has characters"),
        post("/api/v1/registry/credentials/revoke").header("X-Workspace", "").json(r#"{"all":true}"#).is(404, "not_found", "workspace"),
        post("/api/v1/registry/credentials/revoke").header("X-Workspace", "../acme").json(r#"{"all":true}"#).is(404, "not_found", "workspace"),
        post("/api/v1/registry/credentials/revoke").header("X-Workspace", "ACME").json(r#"{"all":true}"#).is(404, "not_found", "workspace"),
        post("/api/v1/registry/credentials/revoke").header("X-Workspace", "w".repeat(5000)).json(r#"{"all":true}"#).is(404, "not_found", "workspace"),
        post("/api/v1/registry/credentials/revoke").json(r#"{"all":true}"#).is(400, "bad_request", "X-Workspace"),
        // Offers that are not taken up.
        get(LIST).header("Upgrade", "h2c").header("HTTP2-Settings", "AAMAAABkAAQAAP__").is(200, "", ""),
        get(LIST).header("Upgrade", "websocket").is(200, "", ""),
        put("/v2/{own}/manifests/.x").header("Expect", "100-continue").body(EMPTY_INDEX).is(400, "MANIFEST_INVALID", "a tag has"),
        get(LIST).header("If-None-Match", "\"").header("If-Modified-Since", "yesterday").is(200, "", ""),
        get("/v2/{own}/manifests/v1").header("If-None-Match", "W/\"{layer}\", nonsense, \"\"").is(200, "", ""),
        get("/v2/{own}/manifests/v1").header("If-None-Match", b"\xff").is(200, "", ""),
        get(LIST).header("Cookie", "x=y; ".repeat(1000)).is(200, "", ""),
        get(LIST).header("X-HTTP-Method-Override", "DELETE").is(200, "", ""),
        get(LIST).header("Content-Encoding", "nonsense").is(200, "", ""),
        get(LIST).header("X-Latin", b"caf\xe9").is(200, "", ""),
        get(LIST).header("Keep-Alive", "timeout=-1").header("TE", "trailers, deflate;q=x").is(200, "", ""),
    ]);
    rows
}

#[tokio::test]
async fn heads_that_are_none_are_refused() {
    super::drive(&rows()).await;
}

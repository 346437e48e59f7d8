//! Paths that lead nowhere, and the forms in which a request may name one.

use super::row::{Row, delete, get, head, post, put, request};

/// Where the registry answers nothing.
const NOWHERE: [&str; 26] = [
    "/",
    "/v2",
    "//v2/",
    "/V2/",
    "/v1/",
    "/v2.",
    "/%762/",
    "/v2%2F",
    "/v2%2F{own}/tags/list",
    "/./v2/",
    "/../v2/",
    "/..%2fv2/",
    "/token/",
    "/Token",
    "/token%00",
    "/favicon.ico",
    "/index.html",
    "/etc/passwd",
    "/..%2f..%2f..%2fetc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/metrics",
    "/healthz",
    "/.well-known/",
    "/.well-known/jwks.json/",
    "/api",
    "/\\",
];

/// Where the distribution API has no endpoint.
const NO_ENDPOINTS: [&str; 19] = [
    "/v2/x",
    "/v2/./",
    "/v2/%2e%2e/",
    "/v2//",
    "/v2/_catalog/",
    "/v2/_catalog%00",
    "/v2/_CATALOG",
    "/v2/_oci/ext/discover",
    "/v2/{own}",
    "/v2/{own}/",
    "/v2/{own}/tags",
    "/v2/{own}/tags/",
    "/v2/{own}/tags/list/",
    "/v2/{own}/tags/LIST",
    "/v2/{own}/tags/list%00",
    "/v2/{own}/manifests",
    "/v2/{own}/unknown/v1",
    "/v2/{own}/%6danifests/v1",
    "/v2/manifests/v1",
];

/// Where the management API has nothing.
const NO_CALLS: [&str; 16] = [
    "/api/",
    "/api/v1",
    "/api/v1/",
    "/api/v2/whoami",
    "/api/v1/whoami/",
    "/api/v1//whoami",
    "/api/v1/WHOAMI",
    "/api/v1/whoami%00",
    "/api/v1/./whoami",
    "/api/v1/../v1/whoami",
    "/api/../v2/",
    "/api/v1/unknown",
    "/api/v1/workspaces/",
    "/api/v1/workspaces/acme/",
    "/api/v1/workspaces/acme/api-keys/",
    "/api/v1/registry/credentials/",
];

/// Names of workspaces that could mean something else to a file system or a database.
const NO_WORKSPACES: [&str; 12] = [
    "..",
    "%2e%2e",
    "%252e%252e",
    "a%2Fb",
    "acme%2F..%2Frival",
    "ACME",
    "acme%20",
    "acme;x=1",
    "acme'--",
    "%E2%80%AEacme",
    "acme*",
    "\\acme",
];

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for path in NOWHERE {
        rows.push(get(path).is(404, "UNSUPPORTED", "there is nothing at this path; the distribution API is under /v2/"));
    }
    for path in NO_ENDPOINTS {
        rows.push(get(path).is(404, "UNSUPPORTED", "the distribution API has no endpoint of this form: there are manifests/<reference>"));
    }
    for path in NO_CALLS {
        rows.push(get(path).is(404, "not_found", "there is nothing at this path; the API is under /api/v1/"));
    }
    for name in NO_WORKSPACES {
        rows.push(get(format!("/api/v1/workspaces/{name}")).is(404, "not_found", "there is no workspace"));
    }
    let controls = "the path has control characters";
    let no_text = "the path is not UTF-8 in percent-encoding";
    let endpoint = "the distribution API has no endpoint of this form";
    let long = "x".repeat(60_000);
    rows.extend([
        get("/api/v1/workspaces//api-keys").is(404, "not_found", "there is no workspace \"\""),
        get("/api/v1/workspaces/%00").is(400, "bad_request", controls),
        get("/api/v1/workspaces/acme%0A").is(400, "bad_request", controls),
        get("/api/v1/workspaces/acme%00/api-keys").is(400, "bad_request", controls),
        delete("/api/v1/workspaces/acme/api-keys/%00").is(400, "bad_request", controls),
        delete("/api/v1/workspaces/acme/api-keys/%C2%85").is(400, "bad_request", controls),
        get("/api/v1/accounts/%7F").is(400, "bad_request", controls),
        get("/api/v1/workspaces/%ff").is(400, "bad_request", no_text),
        get("/api/v1/accounts/%C3%28").is(400, "bad_request", no_text),
        delete("/api/v1/workspaces/acme/api-keys/%ff").is(400, "bad_request", no_text),
        get(format!("/api/v1/workspaces/{long}")).is(404, "not_found", "there is no workspace"),
        // Beyond the name nothing is decoded twice, and what is no UTF-8 is nothing.
        get("/v2/{own}/manifests/%ff").is(400, "UNSUPPORTED", no_text),
        get("/v2/{own}/blobs/%ff").is(400, "UNSUPPORTED", no_text),
        get("/v2/{own}/blobs/uploads/%ff").is(400, "UNSUPPORTED", no_text),
        get("/v2/{own}/referrers/%C3%28").is(400, "UNSUPPORTED", no_text),
        head("/v2/{own}/manifests/%ff").is(400, "", ""),
        get("/v2/{own}/manifests/").is(404, "UNSUPPORTED", endpoint),
        get("/v2/{own}/blobs/").is(404, "UNSUPPORTED", endpoint),
        get("/v2/{own}/referrers/").is(404, "UNSUPPORTED", endpoint),
        put("/v2/{own}/manifests/").body("{}").is(404, "UNSUPPORTED", endpoint),
        get("/v2/{own}/blobs/uploads/").is(405, "UNSUPPORTED", "this path answers POST and no other method"),
        get("/v2/{own}/blobs/uploads").is(405, "UNSUPPORTED", "this path answers POST and no other method"),
        get("/v2/{own}/blobs/uploads/a/b").is(404, "UNSUPPORTED", endpoint),
        post("/v2/{own}/manifests/v1").is(405, "UNSUPPORTED", "this path answers GET, HEAD, PUT, DELETE and no other method"),
        post("/v2/{own}/blobs/{layer}").is(405, "UNSUPPORTED", "this path answers GET, HEAD, DELETE and no other method"),
        put("/v2/_catalog").is(405, "UNSUPPORTED", "this path answers GET, HEAD and no other method"),
        delete("/v2/").is(405, "UNSUPPORTED", "this path answers GET, HEAD and no other method"),
        put("/token").is(405, "UNSUPPORTED", "this path answers GET, POST and no other method"),
        delete("/api/v1/whoami").is(405, "bad_request", "this path answers GET, HEAD and no other method"),
        put("/api/v1/workspaces/acme").is(405, "bad_request", "this path answers GET, HEAD, PATCH, DELETE and no other method"),
        get("/api/v1/registry/credentials").is(405, "bad_request", "this path answers POST and no other method"),
        // Semicolons and questions are no parts of a path, backslashes are no slashes.
        get("/v2/{own}/tags/list;v=1").is(404, "UNSUPPORTED", endpoint),
        get("/v2/{own};v=1/tags/list").is(400, "NAME_INVALID", "cannot be part of a repository name"),
        get("/v2/{acme}\\app/tags/list").is(400, "NAME_INVALID", "cannot be part of a repository name"),
        get("/v2\\{own}/tags/list").is(404, "UNSUPPORTED", "there is nothing at this path"),
        get("/v2/{own}/tags/list%3Fn=1").is(404, "UNSUPPORTED", endpoint),
        get("/v2/{own}/tags/list?").is(200, "", ""),
        get("/v2/{own}/tags/list??n=x").is(200, "", ""),
        get("/v2/{own}/tags/list?%").is(200, "", ""),
        get("/v2/{own}/tags/list?%zz=%z").is(200, "", ""),
        get("/v2/{own}/tags/list?=&=&;").is(200, "", ""),
        // A fragment is none of a server's business.
        get("/v2/{own}/tags/list#n=x").is(200, "", ""),
        // The other forms of a request's target (RFC 9112 section 3.2).
        get("http://{host}/v2/{own}/tags/list").is(200, "", ""),
        get("http://evil.example/v2/{own}/tags/list").is(200, "", ""),
        get("http://{host}/v2/{own}/manifests/.x").is(400, "MANIFEST_INVALID", "a tag has 1 to 128"),
        get("http://{host}").is(404, "UNSUPPORTED", "there is nothing at this path"),
        get("http://{host}/api/v1/workspaces/nobody").is(404, "not_found", "there is no workspace"),
        get("ftp://{host}/etc/passwd").is(404, "UNSUPPORTED", "there is nothing at this path"),
        request("OPTIONS", "*").is(404, "UNSUPPORTED", "there is nothing at this path"),
        request("CONNECT", "example.org:443").is(404, "UNSUPPORTED", "there is nothing at this path"),
        get("*").is(404, "UNSUPPORTED", "there is nothing at this path"),
        head("/v2/{own}/unknown").is(404, "", ""),
        get("v2/").breaks_http(400),
        get("").breaks_http(400),
        get("/v2/ /x").breaks_http(400),
        get("/v2/\0").breaks_http(400),
        get("/v2/\x7f").breaks_http(400),
        get("http://").breaks_http(400),
        get("http:///v2/").breaks_http(400),
        get("http://user:password@{host}/v2/").is(400, "UNSUPPORTED", "a host name or address and an optional port"),
        get(format!("/v2/{{own}}/manifests/{long}")).is(400, "MANIFEST_INVALID", "a tag has 1 to 128"),
        get(format!("/{long}")).is(404, "UNSUPPORTED", "there is nothing at this path"),
        get(format!("/{}", "/".repeat(60_000))).is(404, "UNSUPPORTED", "there is nothing at this path"),
        get(format!("/{}", "x".repeat(65_600))).breaks_http(431),
    ]);
    rows
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_refused() {
    super::drive(&rows()).await;
}

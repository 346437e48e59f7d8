//! Types that are none: of manifests that are pushed, of forms and JSON, and of what is asked for.

use super::row::{Row, get, head, patch, post, put};
use super::scene::EMPTY_INDEX;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const TARGET: &str = "/v2/{own}/manifests/new";

/// What is no type at all.
const NO_TYPES: [&str; 12] = [
    "",
    "/",
    "json",
    "application/",
    "/json",
    "*/*",
    "application/*",
    "application/json/x",
    "application /json",
    "; charset=utf-8",
    "application/json, text/plain",
    "\"application/json\"",
];

/// Types that are none of a manifest.
const OTHER_TYPES: [&str; 8] = [
    "application/json",
    "text/html",
    "text/plain; charset=utf-8",
    "application/octet-stream",
    "multipart/form-data; boundary=x",
    "application/vnd.oci.image.manifest.v2+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.distribution.manifest.v3+json",
];

/// What a client may say it takes; a registry answers with what it has.
const ACCEPTS: [&str; 9] = [
    "",
    "*",
    "text/html",
    "application/json;q=0",
    "*/*;q=0",
    "application/vnd.oci.image.manifest.v1+json;q=nonsense",
    ",,,,",
    "a/b, c/d, e/f; q=\"",
    "é",
];

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let invalid = |row: Row, says| row.is(400, "MANIFEST_INVALID", says);
    let index = |content_type: &str| put(TARGET).typed(content_type).body(EMPTY_INDEX);
    let mut rows = Vec::new();
    for content_type in NO_TYPES {
        rows.push(invalid(index(content_type), "Content-Type: a media type has the form `type/subtype`"));
    }
    for content_type in OTHER_TYPES {
        rows.push(invalid(index(content_type), "is no supported type of manifest; supported are application/vnd.oci"));
    }
    for accept in ACCEPTS {
        rows.push(get("/v2/{own}/manifests/v1").header("Accept", accept).is(200, "", ""));
    }
    let long = format!("application/{}", "x".repeat(300));
    let form = "POST /token takes a form of the type application/x-www-form-urlencoded";
    let credentials = "/api/v1/registry/credentials";
    let json = "the body must be JSON: Content-Type: application/json";
    rows.extend([
        invalid(index(MANIFEST), "Content-Type is `application/vnd.oci.image.manifest.v1+json`, but the manifest's `mediaType` is"),
        invalid(index("APPLICATION/VND.OCI.IMAGE.MANIFEST.V1+JSON; a=b"), "they must be equal"),
        invalid(index(&long), "a media type has the form `type/subtype`"),
        invalid(put(TARGET).header("Content-Type", b"application/\xff").body(EMPTY_INDEX), "a media type has the form `type/subtype`"),
        put(TARGET).typed(INDEX).typed(MANIFEST).body(EMPTY_INDEX).is(400, "UNSUPPORTED", "content-type is sent more than once"),
        put(TARGET).typed(INDEX).typed(INDEX).body(EMPTY_INDEX).is(400, "UNSUPPORTED", "content-type is sent more than once"),
        invalid(put(TARGET).typed(INDEX).body(r#"{"schemaVersion":2,"mediaType":"nonsense","manifests":[]}"#), "`mediaType`: `nonsense`: a media type has the form"),
        invalid(put(TARGET).typed(INDEX).body(r#"{"schemaVersion":2,"mediaType":7,"manifests":[]}"#), "`mediaType`: must be a string"),
        invalid(put(TARGET).body(r#"{"schemaVersion":2,"mediaType":"text/html","manifests":[]}"#), "mediaType `text/html` is no supported type of manifest"),
        head("/v2/{own}/manifests/v1").header("Accept", "text/html").is(200, "", ""),
        get("/v2/{own}/manifests/v1").header("Accept", b"\xff\xfe").is(200, "", ""),
        get("/v2/{own}/manifests/v1").header("Accept", "a/b,".repeat(2000)).is(200, "", ""),
        get("/v2/{own}/blobs/{layer}").header("Accept-Encoding", "gzip;q=nonsense, br, *;q=0").is(200, "", ""),
        // A chunk is bytes, whatever its sender calls them; so is the beginning of an upload.
        patch("/v2/{own}/blobs/uploads/{upload}").typed("text/html; é").header("Content-Range", "0-0").body("x").is(416, "BLOB_UPLOAD_INVALID", "the upload is at byte 10"),
        // Forms and JSON.
        post("/token").json("{}").anonymous().is(415, "UNSUPPORTED", form),
        post("/token").body("grant_type=password").anonymous().is(415, "UNSUPPORTED", form),
        post("/token").typed("multipart/form-data; boundary=x").body("--x--").anonymous().is(415, "UNSUPPORTED", form),
        post("/token").typed("application/x-www-form-urlencoded-not").body("a=b").anonymous().is(415, "UNSUPPORTED", form),
        post("/token").typed("application/x-www-form-urlencoded").typed("text/plain").body("a=b").anonymous().is(400, "UNSUPPORTED", "content-type is sent more than once"),
        post(credentials).typed("text/plain").body("{\"actions\":[\"pull\"]}").is(415, "bad_request", json),
        post(credentials).typed("application/x-www-form-urlencoded").body("actions=pull").is(415, "bad_request", json),
        post(credentials).typed("application/jsonp").body("{\"actions\":[\"pull\"]}").is(415, "bad_request", json),
        post(credentials).typed("application/json").typed("text/plain").body("{}").is(400, "bad_request", "content-type is sent more than once"),
    ]);
    rows
}

#[tokio::test]
async fn types_that_are_none_are_refused() {
    super::drive(&rows()).await;
}

/// Case, parameters and absence of the type leave no doubt about what a manifest is.
#[tokio::test]
async fn types_that_leave_no_doubt_are_taken() {
    use crate::support::database::TestDatabase;
    for database in TestDatabase::available() {
        let scene = super::Scene::set(database).await;
        let spellings = [
            put(TARGET).typed(INDEX),
            put(TARGET).typed("Application/VND.OCI.image.INDEX.v1+json"),
            put(TARGET).typed("application/vnd.oci.image.index.v1+json; charset=utf-8"),
            put(TARGET).typed(" application/vnd.oci.image.index.v1+json ;a=\"b;c\""),
            put(TARGET),
        ];
        for row in spellings {
            let row = row.body(EMPTY_INDEX).is(201, "", "");
            let answer = super::exchange(&scene, &row, "").await.unwrap();
            super::check_row(&scene, &row, &answer).unwrap();
            let stored = scene.docker.get(&scene.fill(TARGET)).await.expect(200);
            assert_eq!(stored.header("content-type"), INDEX);
            scene.docker.delete(&scene.fill(TARGET)).await.expect(202);
        }
        scene.registry.running.stop().await;
    }
}

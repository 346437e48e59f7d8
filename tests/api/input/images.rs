//! Requests about shares, leases and deletions that are none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::row::{Row, delete, get, post, put};

const SHARE: &str = "/api/v1/images/app/-/share";
const PENDING: &str = "/api/v1/pending-image-shares";
const LEASES: &str = "/api/v1/leases";
const DELETIONS: &str = "/api/v1/deletions";

/// An id as they look, of nothing.
const NO_ID: &str = "0123456789abcdef0123456789abcdef";

/// Names that are no image's: with what else stands in a reference, or that no repository has.
const NO_IMAGES: [&str; 14] = [
    "app:v1",
    "app@sha256:00",
    "App",
    "team%2Fapp",
    "team%2fapp",
    "team//app",
    "/app",
    "app/",
    "app..",
    "-app",
    "a%00b",
    "a%20b",
    "%C3%A4pp",
    "app%2F..%2Fapp",
];

/// What holds no lease.
const NO_HOLDERS: [&str; 9] = [
    "a%2Fb", "a//b", "a/", "%20", "a%00b", "a%3Fb", "%C3%A4", "a%25b", "a%5Cb",
];

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let signed = |row: Row| row.signed("Bearer {key}");
    let bad = |row: Row, says| signed(row).is(400, "bad_request", says);
    let absent = |row: Row, says| signed(row).is(404, "not_found", says);
    let share = |body: &str| post(SHARE).json(body);
    let lease = |body: &str| put(format!("{LEASES}/web")).json(body);
    let accept = |body: &str| post(format!("{PENDING}/{NO_ID}/accept")).json(body);
    let cursor = |list: &str| URL_SAFE_NO_PAD.encode(format!("{list}\n{NO_ID}"));
    let mut rows = Vec::new();
    for name in NO_IMAGES {
        let share = format!("/api/v1/images/{name}/-/share");
        rows.push(bad(post(share.clone()).json(r#"{"targetWorkspace":"rival"}"#), ""));
        rows.push(bad(get(share.clone()), ""));
        rows.push(bad(delete(share.clone()), ""));
        rows.push(bad(delete(format!("{share}/rival")), ""));
        rows.push(bad(delete(format!("/api/v1/images/{name}")), ""));
        rows.push(bad(delete(format!("/api/v1/images/{name}/-/tags/v1")), ""));
    }
    for holder in NO_HOLDERS {
        let path = format!("{LEASES}/{holder}");
        let says = "a holder has 1 to 200 letters, digits and ._-:@";
        rows.push(bad(put(path.clone()).json(r#"{"image":"app:v1"}"#), says));
        rows.push(bad(get(path.clone()), says));
        rows.push(bad(delete(path), says));
    }
    for list in [SHARE, PENDING, LEASES, DELETIONS] {
        for limit in ["0", "1001", "-1", "x", ""] {
            rows.push(bad(get(format!("{list}?limit={limit}")), "limit is a number from 1 to 1000"));
        }
        for foreign in ["workspaces", "accounts", "", "share", "leases2"] {
            rows.push(bad(get(format!("{list}?cursor={}", cursor(foreign))), "the cursor is not one of this list"));
        }
        rows.push(bad(get(format!("{list}?cursor=%00")), "the cursor is not one of this list"));
    }
    rows.extend([
        // Shares.
        bad(post("/api/v1/images/app:v1/-/share").json(r#"{"targetWorkspace":"rival"}"#), "this call is about a whole image"),
        bad(share("[]"), "the body is a JSON object"),
        bad(share("{}"), "missing field `targetWorkspace`"),
        bad(share(r#"{"targetWorkspace":"rival","force":true}"#), "unknown field `force`"),
        bad(share(r#"{"targetWorkspace":"rival","image":"app:v1"}"#), "unknown field `image`"),
        bad(share(r#"{"targetWorkspace":["rival"]}"#), "targetWorkspace: invalid type"),
        bad(share(r#"{"targetWorkspace":null}"#), "targetWorkspace: invalid type"),
        bad(share(r#"{"targetWorkspace":"rival","targetAccountId":7}"#), "targetAccountId: invalid type"),
        bad(share(r#"{"targetWorkspace":"rival","alias":"App"}"#), "alias: "),
        bad(share(r#"{"targetWorkspace":"rival","alias":"app:v1"}"#), "alias: "),
        bad(share(r#"{"targetWorkspace":"rival","alias":"a/../b"}"#), "alias: "),
        bad(share(&format!(r#"{{"targetWorkspace":"rival","alias":"{}"}}"#, "a".repeat(256))), "alias: "),
        bad(share(r#"{"targetWorkspace":"acme"}"#), "an image is not shared with its own workspace"),
        absent(share(r#"{"targetWorkspace":"nobody"}"#), "there is no workspace \"nobody\" in this account"),
        absent(share(r#"{"targetWorkspace":""}"#), "there is no workspace \"\" in this account"),
        absent(share(r#"{"targetWorkspace":"a\u0000"}"#), "there is no workspace"),
        absent(share(r#"{"targetWorkspace":"rival","targetAccountId":"nobody"}"#), "there is no workspace \"rival\" in this account"),
        absent(share(r#"{"targetWorkspace":"rival","targetAccountId":"a\u0000"}"#), "there is no workspace \"rival\""),
        absent(post("/api/v1/images/nothing/-/share").json(r#"{"targetWorkspace":"rival"}"#), "there is no image \"nothing\" in this workspace"),
        absent(get("/api/v1/images/nothing/-/share"), "there is no image \"nothing\""),
        absent(delete("/api/v1/images/nothing/-/share"), "there is no image \"nothing\""),
        absent(delete(SHARE), "not shared to it"),
        absent(delete(format!("{SHARE}/rival")), "the image is not shared with a workspace \"rival\""),
        absent(delete(format!("{SHARE}/nobody")), "the image is not shared with a workspace \"nobody\""),
        bad(delete(format!("{SHARE}/a%00")), "control characters"),
        bad(delete(format!("{SHARE}/rival?force=yes")), "force is true or false"),
        bad(delete(format!("{SHARE}/rival?force=true&force=true")), "force is given more than once"),
        // Pending ones.
        bad(get(format!("{PENDING}?direction=both")), "direction is incoming or outgoing"),
        bad(get(format!("{PENDING}?direction=incoming&direction=outgoing")), "direction is given more than once"),
        bad(get(format!("{PENDING}?cursor={}", cursor("outgoing-shares"))), "the cursor is not one of this list"),
        bad(get(format!("{PENDING}?direction=outgoing&cursor={}", cursor("incoming-shares"))), "the cursor is not one of this list"),
        bad(accept("[]"), "the body is a JSON object"),
        bad(accept(r#"{"alias":7}"#), "alias: "),
        bad(accept(r#"{"name":"app"}"#), "unknown field `name`"),
        absent(accept("{}"), "there is no pending share"),
        absent(accept(r#"{"alias":"app"}"#), "there is no pending share"),
        absent(post(format!("{PENDING}/{NO_ID}/decline")), "there is no pending share"),
        absent(post(format!("{PENDING}/..%2F/decline")), "there is no pending share"),
        bad(post(format!("{PENDING}/%00/decline")), "control characters"),
        // Leases.
        bad(lease("[]"), "the body is a JSON object"),
        bad(lease("{}"), "missing field `image`"),
        bad(lease(r#"{"image":"app:v1","digest":"sha256:00"}"#), "unknown field `digest`"),
        bad(lease(r#"{"image":""}"#), "image: an image reference has 1 to 1024 bytes"),
        bad(lease(r#"{"image":"a\u0000"}"#), "image: "),
        bad(lease(r#"{"image":"../app"}"#), "image: "),
        bad(lease(r#"{"image":"app@sha256:abc"}"#), "is no digest"),
        bad(lease(r#"{"image":"app:"}"#), "is no tag"),
        bad(lease(r#"{"image":"docker.io/library/app"}"#), "is another registry"),
        bad(lease(r#"{"image":"app:v1","expiresAt":"soon"}"#), "expiresAt: a time in the future and not after"),
        bad(lease(r#"{"image":"app:v1","expiresAt":"1970-01-01T00:00:00Z"}"#), "expiresAt: a time in the future"),
        bad(lease(r#"{"image":"app:v1","expiresAt":"9999-12-31T23:59:59Z"}"#), "expiresAt: a time in the future"),
        bad(lease(r#"{"image":"app:v1","expiresAt":1767225601}"#), "expiresAt: invalid type"),
        absent(lease(r#"{"image":"nothing:v1"}"#), "that this workspace may pull"),
        absent(lease(r#"{"image":"{foreign}:v1"}"#), "that this workspace may pull"),
        absent(lease(r#"{"image":"app:v2"}"#), "the image has no tag \"v2\""),
        absent(get(format!("{LEASES}/nobody")), "there is no lease of \"nobody\""),
        absent(delete(format!("{LEASES}/nobody")), "there is no lease of \"nobody\""),
        // Deletions.
        absent(delete("/api/v1/images/nothing"), "there is no image \"nothing\""),
        absent(delete("/api/v1/images/app/-/tags/v2"), "manifest v2 is not in this repository"),
        absent(delete("/api/v1/images/app/-/manifests/{layer}"), "is not in this repository"),
        bad(delete("/api/v1/images/app/-/tags/-v1"), ""),
        bad(delete("/api/v1/images/app/-/manifests/v1"), ""),
        bad(delete("/api/v1/images/app/-/manifests/sha256:00"), ""),
        bad(delete("/api/v1/images/app?force="), "force is true or false"),
        absent(post(format!("{DELETIONS}/{NO_ID}/restore")), "there is no deletion"),
        absent(post(format!("{DELETIONS}/{NO_ID}/purge")), "there is no deletion"),
        bad(post(format!("{DELETIONS}/%0A/restore")), "control characters"),
        // The operator says where.
        get(LEASES).is(400, "bad_request", "X-Workspace"),
        get(LEASES).header("X-Workspace", "nobody").is(404, "not_found", "there is no workspace"),
        signed(get(LEASES)).header("X-Workspace", "rival").is(403, "forbidden", ""),
    ]);
    rows
}

#[tokio::test]
async fn requests_about_shares_leases_and_deletions_that_are_none_are_refused() {
    super::drive(&rows()).await;
}

//! Bodies, queries and cursors of the management API that are none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::row::{Row, delete, get, patch, post};

const ACCOUNTS: &str = "/api/v1/accounts";
const WORKSPACES: &str = "/api/v1/workspaces";
const ACME: &str = "/api/v1/workspaces/acme";
const KEYS: &str = "/api/v1/workspaces/acme/api-keys";
const CREDENTIALS: &str = "/api/v1/registry/credentials";
const AUDIT: &str = "/api/v1/audit-events";
const REVOKE: &str = "/api/v1/registry/credentials/revoke";

/// Bodies that are no JSON object.
const NO_OBJECTS: [&str; 10] = [
    "null",
    "true",
    "7",
    "\"name\"",
    "[]",
    "[\"evil\"]",
    "[{\"name\":\"evil\"}]",
    "\u{FEFF}{\"name\":\"evil\"}",
    "name=evil",
    "<name>evil</name>",
];

/// Bodies that look like an object and cannot be read as one.
const BROKEN: [(&str, &str); 14] = [
    ("{", "takes: EOF while parsing"),
    ("{\"name\":\"a\"}}", "trailing characters"),
    ("{\"name\":\"a\"} {}", "trailing characters"),
    ("{\"name\":\"a\",}", "trailing comma"),
    ("{'name':'a'}", "key must be a string"),
    ("{\"name\":\"a\",\"name\":\"b\"}", "duplicate field `name`"),
    (
        "{\"name\":\"\\ud800\"}",
        "the body is not what this call takes",
    ),
    ("{\"name\":\"\n\"}", "control character"),
    (
        "{\"name\":1}",
        "name: invalid type: integer `1`, expected a string",
    ),
    ("{\"name\":1e400}", "number out of range"),
    ("{\"name\":null}", "invalid type: null, expected a string"),
    ("{\"name\":[]}", "expected a string"),
    ("{}", "missing field `name`"),
    ("{\"name\":\"a\",\"Name\":\"b\"}", "unknown field `Name`"),
];

/// What no account and no workspace may be called.
const NO_NAMES: [&str; 14] = [
    "", " ", "-a", "a-", ".a", "a.", "A", "a b", "a/b", "a\\\\b", "\u{e4}", "a\\u0000", "a\\nb",
    "..",
];

const NO_LABELS: [&str; 6] = ["", " ", " a", "a ", "a\\u0000", "a\\nb"];

/// What no page can be.
const NO_LIMITS: [&str; 12] = [
    "",
    "0",
    "-1",
    "+x",
    "1001",
    "1.5",
    "ten",
    "1e2",
    "%00",
    "99999999999999999999",
    "%D9%A1",
    "0x10",
];

/// A cursor as the list of this name would give it.
fn cursor(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let bad = |row: Row, says| row.is(400, "bad_request", says);
    let mut rows = Vec::new();
    for body in NO_OBJECTS {
        rows.push(bad(post(ACCOUNTS).json(body), "the body is a JSON object in UTF-8"));
    }
    for (body, says) in BROKEN {
        rows.push(bad(post(ACCOUNTS).json(body), says));
    }
    for name in NO_NAMES {
        let says = "name: a name has 1 to 64 lower-case letters, digits, '.', '_' and '-'";
        rows.push(bad(post(ACCOUNTS).json(format!(r#"{{"name":"{name}"}}"#)), says));
    }
    for label in NO_LABELS {
        let says = "displayName: 1 to 200 characters on one line";
        rows.push(bad(patch(ACME).json(format!(r#"{{"displayName":"{label}"}}"#)), says));
    }
    for limit in NO_LIMITS {
        rows.push(bad(get(format!("{WORKSPACES}?limit={limit}")), "limit is a number from 1 to 1000"));
    }
    let foreign_cursor = "the cursor is not one of this list: use nextCursor as it was given";
    for text in ["accounts\nacme", "acme", "", "workspaces", "workspaces\na\0", "\nworkspaces\nacme"] {
        rows.push(bad(get(format!("{WORKSPACES}?cursor={}", cursor(text))), foreign_cursor));
    }
    for raw in ["x", "===", "%00", "..%2f", "d29ya3NwYWNlcwph=", "%C3%A9"] {
        rows.push(bad(get(format!("{WORKSPACES}?cursor={raw}")), foreign_cursor));
    }
    let workspace = |more: &str| post(WORKSPACES).json(format!(r#"{{"name":"new","account":"main"{more}}}"#));
    let key = |more: &str| post(KEYS).json(format!(r#"{{"name":"new","role":"viewer"{more}}}"#));
    let credential = |body: &str| post(CREDENTIALS).signed("Bearer {key}").json(body);
    let revoke = |body: &str| post(REVOKE).signed("Bearer {key}").json(body);
    let nested = format!("{{\"name\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    rows.extend([
        bad(post(ACCOUNTS).json(b"{\"name\":\"\xff\"}"), "the body is not what this call takes"),
        bad(post(ACCOUNTS).json([0xFF, 0xFE, b'{', 0, b'}', 0]), "the body is a JSON object in UTF-8"),
        bad(post(ACCOUNTS).json(nested), "expected a string"),
        bad(post(ACCOUNTS), "missing field `name`"),
        bad(post(ACCOUNTS).json(format!(r#"{{"name":"{}"}}"#, "a".repeat(65))), "1 to 64"),
        post(ACCOUNTS).json(r#"{"name":"main"}"#).is(409, "conflict", "main"),
        get(format!("{ACCOUNTS}/nobody")).is(404, "not_found", "there is no account"),
        delete(format!("{ACCOUNTS}/nobody")).is(404, "not_found", "there is no account"),
        delete(format!("{ACCOUNTS}/main")).is(409, "conflict", "workspaces"),
        // Workspaces.
        bad(workspace(r#","teamKey":"abc""#), "teamKey: 4 to 32 lower-case letters and digits"),
        bad(workspace(r#","teamKey":"ABCD""#), "teamKey: 4 to 32"),
        bad(workspace(r#","teamKey":"a-bc""#), "teamKey: 4 to 32"),
        bad(workspace(r#","teamKey":"abcd\u0000""#), "teamKey: 4 to 32"),
        bad(workspace(&format!(r#","teamKey":"{}""#, "a".repeat(33))), "teamKey: 4 to 32"),
        bad(workspace(r#","teamId":"""#), "teamId: 1 to 255 bytes"),
        bad(workspace(&format!(r#","teamId":"{}""#, "x".repeat(256))), "teamId: 1 to 255 bytes"),
        bad(workspace(r#","namespace":"t-x""#), "namespace: names that begin with t- belong to team keys"),
        bad(workspace(r#","namespace":"v2""#), "namespace: this word is reserved"),
        bad(workspace(r#","namespace":"a.b""#), "namespace: with a '.' it would be taken for a host"),
        bad(workspace(r#","namespace":"a/b""#), "namespace: one component of a repository name"),
        bad(workspace(r#","namespace":"Base""#), "namespace: one component of a repository name"),
        bad(workspace(r#","namespace":"""#), "namespace: one component of a repository name"),
        bad(workspace(r#","teamKey":"abcd","namespace":"base""#), "teamKey"),
        bad(workspace(r#","teamKey":"abcd","teamId":"x""#), "teamKey"),
        bad(workspace(r#","quotaBytes":-1"#), "quotaBytes: invalid value: integer `-1`, expected a whole number from 1 to 9223372036854775807"),
        bad(workspace(r#","quotaBytes":0"#), "quotaBytes: invalid value: integer `0`, expected a whole number from 1 to"),
        bad(workspace(r#","quotaBytes":1.5"#), "quotaBytes: invalid type: floating point `1.5`, expected a whole number from 1 to"),
        bad(workspace(r#","quotaBytes":"10""#), "quotaBytes: invalid type: string \"10\", expected a whole number from 1 to"),
        bad(workspace(r#","quotaBytes":9223372036854775808"#), "quotaBytes: invalid value"),
        bad(workspace(r#","quotaBytes":1e400"#), "number out of range"),
        bad(workspace(r#","displayName":" x""#), "displayName: 1 to 200 characters"),
        bad(workspace(r#","prefix":"t-acmekey""#), "unknown field `prefix`"),
        bad(post(WORKSPACES).json(r#"{"name":"new"}"#), "missing field `account`"),
        bad(post(WORKSPACES).json(r#"{"name":"new","account":"nobody"}"#), "account: there is no account \"nobody\""),
        bad(post(WORKSPACES).json(r#"{"name":"new","account":"a\u0000"}"#), "account: a name has 1 to 64"),
        bad(post(WORKSPACES).json(r#"{"name":"..","account":"main"}"#), "name: a name has 1 to 64"),
        workspace(r#","teamKey":"acmekey""#).is(409, "conflict", "acmekey"),
        post(WORKSPACES).json(r#"{"name":"acme","account":"main"}"#).is(409, "conflict", "acme"),
        bad(patch(ACME).json(r#"{"name":"other"}"#), "unknown field `name`"),
        bad(patch(ACME).json(r#"{"untaggedRetentionDays":-1}"#), "untaggedRetentionDays: invalid value: integer `-1`, expected a whole number from 1 to 36500"),
        bad(patch(ACME).json(r#"{"untaggedRetentionDays":0}"#), "expected a whole number from 1 to 36500"),
        bad(patch(ACME).json(r#"{"untaggedRetentionDays":36501}"#), "expected a whole number from 1 to 36500"),
        bad(patch(ACME).json(r#"{"untaggedRetentionDays":1.5}"#), "untaggedRetentionDays"),
        bad(patch(ACME).json(r#"{"untaggedRetentionDays":"7"}"#), "untaggedRetentionDays"),
        bad(patch(ACME).json(r#"{"quotaBytes":-0.0}"#), "quotaBytes"),
        bad(patch(ACME).json("[\"Acme\",7,1]"), "the body is a JSON object"),
        bad(patch(ACME).json(format!(r#"{{"displayName":"{}"}}"#, "x".repeat(201))), "displayName: 1 to 200 characters"),
        patch("/api/v1/workspaces/nobody").json("{}").is(404, "not_found", "there is no workspace"),
        delete("/api/v1/workspaces/nobody").is(404, "not_found", "there is no workspace"),
        delete(ACME).is(409, "conflict", "images"),
        // Keys.
        bad(post(KEYS).json(r#"{"name":"new"}"#), "missing field `role`"),
        bad(post(KEYS).json(r#"{"name":"new","role":"owner"}"#), "role: "),
        bad(post(KEYS).json(r#"{"name":"new","role":"operator"}"#), "role: a workspace's key is a viewer, builder, developer or admin"),
        bad(post(KEYS).json(r#"{"name":"new","role":"Admin"}"#), "role: "),
        bad(post(KEYS).json(r#"{"name":"a\u0007","role":"viewer"}"#), "name: 1 to 200 characters"),
        bad(key(r#","actions":[]"#), "actions names at least one of pull, push and delete"),
        bad(key(r#","actions":["push"]"#), "actions: the role viewer has pull and no more"),
        bad(key(r#","actions":["PULL"]"#), "actions: "),
        bad(key(r#","actions":"pull""#), "actions: invalid type: string \"pull\", expected a sequence"),
        bad(key(r#","actions":[1]"#), "actions[0]: invalid type: integer `1`, expected a string"),
        bad(key(r#","repositories":[]"#), "repositories: "),
        bad(key(r#","repositories":[""]"#), "repositories: "),
        bad(key(r#","repositories":["App"]"#), "repositories: "),
        bad(key(r#","repositories":["a{b,c}"]"#), "repositories: "),
        bad(key(r#","repositories":["[a]"]"#), "repositories: "),
        bad(key(r#","repositories":["/a"]"#), "repositories: "),
        bad(key(r#","repositories":["a//b"]"#), "repositories: "),
        bad(key(r#","repositories":["a\u0000"]"#), "repositories: "),
        bad(key(r#","repositories":"app""#), "repositories: invalid type"),
        bad(key(&format!(r#","repositories":[{}]"#, vec![r#""a""#; 200].join(","))), "repositories: "),
        bad(key(&format!(r#","repositories":["{}"]"#, "a*".repeat(500))), "repositories: "),
        bad(key(r#","expiresAt":"tomorrow""#), "expiresAt: an RFC 3339 time such as"),
        bad(key(r#","expiresAt":"""#), "expiresAt: an RFC 3339 time such as"),
        bad(key(r#","expiresAt":"2027-13-01T00:00:00Z""#), "expiresAt: an RFC 3339 time such as"),
        bad(key(r#","expiresAt":"2027-01-01""#), "expiresAt: an RFC 3339 time such as"),
        bad(key(r#","expiresAt":"1970-01-01T00:00:00Z""#), "expiresAt: a time that is still to come"),
        bad(key(r#","expiresAt":1767225600"#), "expiresAt: invalid type"),
        delete(format!("{KEYS}/nobody")).is(404, "not_found", "this workspace has no such API key"),
        delete(format!("{KEYS}/{{key-id}}{{key-id}}")).is(404, "not_found", "this workspace has no such API key"),
        get("/api/v1/workspaces/nobody/api-keys").is(404, "not_found", "there is no workspace"),
        // Credentials.
        bad(credential("[]"), "the body is a JSON object"),
        bad(credential("[\"app\"]"), "the body is a JSON object"),
        bad(credential(r#"{"workspace":"rival"}"#), "unknown field `workspace`"),
        bad(credential(r#"{"expiresInSeconds":59}"#), "expected a whole number from 60 to 43200"),
        bad(credential(r#"{"expiresInSeconds":0}"#), "expected a whole number from 60 to 43200"),
        bad(credential(r#"{"expiresInSeconds":-60}"#), "expected a whole number from 60 to 43200"),
        bad(credential(r#"{"expiresInSeconds":43201}"#), "expected a whole number from 60 to 43200"),
        bad(credential(r#"{"expiresInSeconds":9223372036854775807}"#), "expected a whole number from 60 to 43200"),
        bad(credential(r#"{"expiresInSeconds":9223372036854775808}"#), "expiresInSeconds: invalid value"),
        bad(credential(r#"{"expiresInSeconds":3600.5}"#), "expiresInSeconds: invalid type: floating point `3600.5`"),
        bad(credential(r#"{"expiresInSeconds":"3600"}"#), "expiresInSeconds: invalid type"),
        bad(credential(r#"{"actions":[]}"#), "actions"),
        bad(credential(r#"{"actions":["admin"]}"#), "actions"),
        bad(credential(r#"{"actions":["*"]}"#), "actions"),
        bad(credential(r#"{"actions":"pull"}"#), "actions"),
        bad(credential(r#"{"targetImage":""}"#), "targetImage: an image reference has 1 to 1024 bytes"),
        bad(credential(r#"{"targetImage":"App"}"#), "targetImage: \"App\" is no image name"),
        bad(credential(r#"{"targetImage":"app:-x"}"#), "targetImage: \"-x\" is no tag"),
        bad(credential(r#"{"targetImage":"app@sha256:abc"}"#), "targetImage: a digest cannot be pushed to by name"),
        bad(credential(r#"{"targetImage":"docker.io/library/app"}"#), "\"docker.io\" is another registry; this one is {host}"),
        bad(credential(r#"{"targetImage":"t-rivalkey/app"}"#), "\"t-rivalkey/\" is the prefix of another team; yours is \"{acme}/\""),
        bad(credential(r#"{"targetImage":"../app"}"#), "targetImage: "),
        bad(credential(r#"{"targetImage":"a\u0000b"}"#), "targetImage: "),
        bad(credential(r#"{"targetImage":7}"#), "targetImage: invalid type: integer `7`, expected a string"),
        bad(revoke("{}"), "credentialId"),
        bad(revoke("[true]"), "the body is a JSON object"),
        bad(revoke(r#"{"all":false}"#), "credentialId"),
        bad(revoke(r#"{"all":true,"credentialId":"0123456789abcdef0123456789abcdef"}"#), "credentialId"),
        bad(revoke(r#"{"all":"true"}"#), "all"),
        bad(revoke(r#"{"credentialId":"x"}"#), "credentialId is no id of a credential"),
        bad(revoke(r#"{"credentialId":""}"#), "credentialId is no id of a credential"),
        bad(revoke(r#"{"credentialId":"0123456789abcdef0123456789abcde\u0000"}"#), "credentialId is no id of a credential"),
        bad(revoke(r#"{"apiKeyId":"a\u0000"}"#), "apiKeyId is no id of an API key"),
        bad(revoke(r#"{"apiKeyId":7}"#), "apiKeyId: invalid type"),
        revoke(r#"{"apiKeyId":"nobody"}"#).is(404, "not_found", "no such API key"),
        // Lists.
        bad(get(format!("{WORKSPACES}?limit=1&limit=2")), "limit is given more than once"),
        bad(get(format!("{WORKSPACES}?cursor=a&cursor=b")), "cursor is given more than once"),
        bad(get(format!("{WORKSPACES}?cursor=%ff")), "not UTF-8"),
        bad(get(format!("{WORKSPACES}?cursor={}", "A".repeat(2000))), foreign_cursor),
        bad(get(format!("{KEYS}?cursor={}", cursor("workspaces\nacme"))), foreign_cursor),
        bad(get(format!("{ACCOUNTS}?limit=0")), "limit is a number from 1 to 1000"),
        get(format!("{WORKSPACES}?limit=1000&cursor={}", cursor("workspaces\n~"))).is(200, "", ""),
        // The audit log.
        bad(get(format!("{AUDIT}?limit=0")), "limit is a number from 1 to 1000"),
        bad(get(format!("{AUDIT}?cursor={}", cursor("workspaces\n7"))), foreign_cursor),
        bad(get(format!("{AUDIT}?cursor={}", cursor("audit-events\nacme"))), foreign_cursor),
        bad(get(format!("{AUDIT}?cursor={}", cursor("audit-events\n7.0"))), foreign_cursor),
        bad(get(format!("{AUDIT}?cursor={}", cursor("audit-events\n9223372036854775808"))), foreign_cursor),
        get(format!("{AUDIT}?cursor={}", cursor("audit-events\n-1"))).is(200, "", ""),
    ]);
    rows
}

#[tokio::test]
async fn requests_to_the_management_api_that_are_none_are_refused() {
    super::drive(&rows()).await;
}

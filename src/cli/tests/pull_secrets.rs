//! The commands on pull secrets, against a stub.

use super::*;

/// `{"auths":{"pull.example":{"username":"pull-s1","password":"berthpull_new"}}}`
const CONFIG: &str = "eyJhdXRocyI6eyJwdWxsLmV4YW1wbGUiOnsidXNlcm5hbWUiOiJwdWxsLXMxIiwicGFzc3dvcmQiOiJiZXJ0aHB1bGxfbmV3In19fQ==";

fn made(more: &str) -> Answer {
    ok(&format!(
        r#"{{"id":"s1","scope":"workspace","workspace":"shop","username":"pull-s1","name":"berth-pull","namespace":"web",
        "createdBy":"key:k1","createdAt":"2026-01-01T00:00:00Z","expiresAt":"2027-01-01T00:00:00Z","lastUsedAt":null,
        "replacedBy":null,"hosts":["pull.example","push.example"],"secret":{{"apiVersion":"v1","kind":"Secret",
        "metadata":{{"name":"berth-pull","namespace":"web","labels":{{"app.kubernetes.io/managed-by":"berth"}}}},
        "type":"kubernetes.io/dockerconfigjson","data":{{".dockerconfigjson":"{CONFIG}"}}}}{more}}}"#
    ))
}

#[test]
fn a_new_pull_secret_is_printed_once() {
    let stub = Stub::start([made("")]);
    let ended = Person::with_key(&stub.url).run(&["pull-secret", "create"]);
    insta::assert_snapshot!(ended.output, @r"
    Id         s1
    Scope      workspace
    Workspace  shop
    Name       berth-pull
    Namespace  web
    Hosts      pull.example,push.example
    Username   pull-s1
    Password   berthpull_new
    Expires    2027-01-01T00:00:00Z
    ");
    let says = "The password is shown this once; -o yaml prints the Secret for kubectl.\n";
    assert_eq!(ended.notes, says);
    let request = stub.request();
    assert_eq!(request.line, "POST /api/v1/registry/pull-secret HTTP/1.1");
    assert_eq!(request.body, "{}");
}

#[test]
fn a_manifest_is_all_that_kubectl_gets() {
    let more =
        r#","warning":"mind this","replaces":{"id":"s0","expiresAt":"2026-01-02T00:00:00Z"}"#;
    let stub = Stub::start([made(more), made(more), made(more)]);
    let person = Person::with_key(&stub.url);
    let arguments = [
        "pull-secret",
        "create",
        "--all",
        "--expires-in",
        "90d",
        "--name",
        "nodes",
        "--namespace",
        "web",
        "-o",
        "yaml",
    ];
    let ended = person.run(&arguments);
    assert_eq!(
        ended.output,
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: \"berth-pull\"\n  namespace: \"web\"\n  labels:\n    \
             app.kubernetes.io/managed-by: berth\ntype: kubernetes.io/dockerconfigjson\ndata:\n  \
             .dockerconfigjson: \"{CONFIG}\"\n"
        )
    );
    assert_eq!(
        ended.notes,
        "warning: mind this\nThe old one, s0, ends at 2026-01-02T00:00:00Z.\n"
    );
    assert_eq!(
        stub.request().body,
        r#"{"expiresInDays":90,"name":"nodes","namespace":"web","scope":"all"}"#
    );
    let arguments = [
        "pull-secret",
        "rotate",
        "s0",
        "--overlap",
        "0",
        "-o",
        "yaml",
    ];
    assert_eq!(person.run(&arguments).output, ended.output);
    let request = stub.request();
    let line = "POST /api/v1/registry/pull-secret/s0/rotate HTTP/1.1";
    assert_eq!(
        (request.line.as_str(), request.body.as_str()),
        (line, r#"{"overlapSeconds":0}"#)
    );
    let json = person.run(&["pull-secret", "rotate", "s0", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(json["replaces"]["id"], "s0");
}

#[test]
fn pull_secrets_are_listed_and_removed() {
    let items = r#"{"items":[{"id":"s1","scope":"all","workspace":null,"username":"pull-s1","name":"berth-pull",
        "namespace":null,"createdBy":"key:k1","createdAt":"2026-01-01T00:00:00Z","expiresAt":"2027-01-01T00:00:00Z",
        "lastUsedAt":"2026-01-02T00:00:00.123Z","replacedBy":null}],"nextCursor":null}"#;
    let stub = Stub::start([ok(items), no_content(), no_content()]);
    let person = Person::with_key(&stub.url);
    let output = person.run(&["pull-secret", "ls"]).succeeded();
    insta::assert_snapshot!(output, @r"
    ID  SCOPE  WORKSPACE  NAME        NAMESPACE  CREATED               EXPIRES               LAST USED             REPLACED BY
    s1  all    -          berth-pull  -          2026-01-01T00:00:00Z  2027-01-01T00:00:00Z  2026-01-02T00:00:00Z  -
    ");
    let line = "GET /api/v1/registry/pull-secret?limit=1000 HTTP/1.1";
    assert_eq!(stub.request().line, line);
    let output = person.run(&["pull-secret", "rm", "s1"]).succeeded();
    assert_eq!(output, "Pull secret s1 is removed.\n");
    let line = "DELETE /api/v1/registry/pull-secret/s1 HTTP/1.1";
    assert_eq!(stub.request().line, line);
    let arguments = ["pull-secret", "delete", "s1", "--overlap", "1h"];
    let output = person.run(&arguments).succeeded();
    assert_eq!(output, "Pull secret s1 ends in 3600 seconds.\n");
    let line = "DELETE /api/v1/registry/pull-secret/s1?overlapSeconds=3600 HTTP/1.1";
    assert_eq!(stub.request().line, line);
}

#[test]
fn a_lifetime_is_in_whole_days() {
    for time in ["12h", "90", "0d", "x"] {
        let arguments = ["pull-secret", "create", "--expires-in", time];
        let ended = Person::new().run(&arguments);
        assert_eq!(ended.code, 2, "{time}");
        assert!(ended.notes.contains("in whole days"), "{}", ended.notes);
    }
}

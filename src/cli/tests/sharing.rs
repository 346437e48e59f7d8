//! The commands on shares, on both sides, and on leases, usage and the audit log.

use super::*;

const PENDING: &str = r#"{"id":"p1","imageName":"team/app","sourceWorkspace":"main","sourceAccountId":"a1","targetWorkspace":"web","targetAccountId":"a2","sharedBy":"key:k1","createdAt":"2026-01-01T00:00:00Z","expiresAt":"2026-01-08T00:00:00Z","hasConflict":true}"#;
const ACTIVE: &str = r#"{"workspace":"web","accountId":"a1","status":"active","alias":"shop/app","pendingShareId":null,"sharedBy":"key:k1","createdAt":"2026-01-01T00:00:00Z"}"#;
const LEASE: &str = r#"{"holder":"template/my-app","image":"team/app:v1","digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","expiresAt":"2026-01-08T00:00:00Z"}"#;

fn list(items: &str) -> Answer {
    ok(&format!("{{\"items\":[{items}],\"nextCursor\":null}}"))
}

#[test]
fn a_share_is_active_or_says_who_accepts_it_and_how() {
    let offered = r#"{"workspace":"web","accountId":"a2","status":"pending","alias":null,"pendingShareId":"p1"}"#;
    let stub = Stub::start([
        ok(ACTIVE),
        Answer {
            status: 202,
            ..ok(PENDING)
        },
        Answer {
            status: 202,
            ..ok(offered)
        },
    ]);
    let person = Person::with_key(&stub.url).with("BERTH_WORKSPACE", "main");
    let share = ["image", "share", "team/app", "--workspace", "web"];
    let output = person
        .run(&[&share[..], &["--alias", "shop/app"]].concat())
        .succeeded();
    assert_eq!(
        output,
        "team/app is shared with workspace web, where it is called shop/app.\n"
    );
    let request = stub.request();
    assert_eq!(
        request.line,
        "POST /api/v1/images/team/app/-/share HTTP/1.1"
    );
    assert_eq!(
        request.body,
        r#"{"alias":"shop/app","targetWorkspace":"web"}"#
    );
    // The one that shares is another than the one it is shared with.
    assert_eq!(request.headers["x-workspace"], "main");

    let arguments = [
        &share[..],
        &["--account", "a2", "--source-workspace", "own"],
    ]
    .concat();
    let output = person.run(&arguments).succeeded();
    insta::assert_snapshot!(output, @r"
    The share of team/app with workspace web is pending.
    An admin of web accepts it until 2026-01-08T00:00:00Z with: berth share accept p1
    ");
    let request = stub.request();
    assert_eq!(
        request.body,
        r#"{"targetAccountId":"a2","targetWorkspace":"web"}"#
    );
    assert_eq!(request.headers["x-workspace"], "own");
    let output = person.run(&share).succeeded();
    assert!(output.ends_with("berth share accept p1\n"), "{output}");
}

#[test]
fn a_share_of_one_tag_is_refused_with_a_hint() {
    let line = Person::with_key("http://127.0.0.1:1")
        .run(&["image", "share", "team/app:v1", "--workspace", "web"])
        .failed();
    assert_eq!(
        line,
        "error: \"team/app:v1\" is one tag; a whole image is meant here, with all its tags: write team/app"
    );
}

#[test]
fn shares_are_listed_and_taken_back() {
    let stub = Stub::start([list(ACTIVE), ok(ACTIVE), ok(ACTIVE)]);
    let person = Person::with_key(&stub.url);
    let output = person.run(&["image", "shares", "team/app"]).succeeded();
    insta::assert_snapshot!(output, @r"
    WORKSPACE  ACCOUNT ID  STATUS  ALIAS     PENDING SHARE  SHARED BY  CREATED
    web        a1          active  shop/app  -              key:k1     2026-01-01T00:00:00Z
    ");
    let line = stub.request().line;
    assert_eq!(
        line,
        "GET /api/v1/images/team/app/-/share?limit=1000 HTTP/1.1"
    );
    let unshare = ["image", "unshare", "team/app", "--workspace", "web"];
    assert_eq!(
        person.run(&unshare).succeeded(),
        "team/app is no longer shared with workspace web.\n"
    );
    let line = stub.request().line;
    assert_eq!(line, "DELETE /api/v1/images/team/app/-/share/web HTTP/1.1");
    let forced = [&unshare[..], &["--force", "-o", "json"]].concat();
    assert!(person.run(&forced).succeeded().contains("\"alias\""));
    let line = stub.request().line;
    assert_eq!(
        line,
        "DELETE /api/v1/images/team/app/-/share/web?force=true HTTP/1.1"
    );
}

#[test]
fn offers_are_listed_in_both_directions() {
    let stub = Stub::start([list(PENDING), list(PENDING), list("")]);
    let person = Person::with_key(&stub.url);
    let output = person.run(&["share", "ls"]).succeeded();
    insta::assert_snapshot!(output, @r"
    ID  IMAGE     FROM  ACCOUNT ID  SHARED BY  CREATED               EXPIRES               NAME TAKEN
    p1  team/app  main  a1          key:k1     2026-01-01T00:00:00Z  2026-01-08T00:00:00Z  yes
    ");
    let line = stub.request().line;
    assert_eq!(
        line,
        "GET /api/v1/pending-image-shares?direction=incoming&limit=1000 HTTP/1.1"
    );
    let output = person.run(&["share", "ls", "--outgoing"]).succeeded();
    insta::assert_snapshot!(output, @r"
    ID  IMAGE     TO   ACCOUNT ID  SHARED BY  CREATED               EXPIRES
    p1  team/app  web  a2          key:k1     2026-01-01T00:00:00Z  2026-01-08T00:00:00Z
    ");
    let line = stub.request().line;
    assert_eq!(
        line,
        "GET /api/v1/pending-image-shares?direction=outgoing&limit=1000 HTTP/1.1"
    );
    let none = person.run(&["share", "ls"]);
    assert_eq!(none.notes, "No pending shares.\n");
}

#[test]
fn an_offer_is_accepted_declined_and_dropped_later() {
    let stub = Stub::start([ok(ACTIVE), ok(ACTIVE), no_content(), no_content()]);
    let person = Person::with_key(&stub.url);
    let accept = ["share", "accept", "p1", "--alias", "shop/app"];
    assert_eq!(
        person.run(&accept).succeeded(),
        "The share is accepted. Here the image is called shop/app.\n"
    );
    let request = stub.request();
    assert_eq!(
        request.line,
        "POST /api/v1/pending-image-shares/p1/accept HTTP/1.1"
    );
    assert_eq!(request.body, r#"{"alias":"shop/app"}"#);
    person.run(&["share", "accept", "p1"]).succeeded();
    assert_eq!(stub.request().body, "{}");

    assert_eq!(
        person.run(&["share", "decline", "p1"]).succeeded(),
        "The share is declined.\n"
    );
    let line = stub.request().line;
    assert_eq!(
        line,
        "POST /api/v1/pending-image-shares/p1/decline HTTP/1.1"
    );
    assert_eq!(
        person.run(&["share", "drop", "shop/app"]).succeeded(),
        "shop/app is dropped.\n"
    );
    let line = stub.request().line;
    assert_eq!(line, "DELETE /api/v1/images/shop/app/-/share HTTP/1.1");
}

#[test]
fn a_lease_is_set_for_a_while_shown_and_ended() {
    let stub = Stub::start([ok(LEASE), ok(LEASE), list(LEASE), ok(LEASE), no_content()]);
    let person = Person::with_key(&stub.url);
    let set = ["lease", "set", "template/my-app", "team/app:v1"];
    let output = person
        .run(&[&set[..], &["--expires-in", "7d"]].concat())
        .succeeded();
    insta::assert_snapshot!(output, @r"
    Holder   template/my-app
    Image    team/app:v1
    Digest   sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    Expires  2026-01-08T00:00:00Z
    ");
    let request = stub.request();
    assert_eq!(request.line, "PUT /api/v1/leases/template/my-app HTTP/1.1");
    assert_eq!(
        request.body,
        r#"{"expiresAt":"2026-01-08T00:00:00Z","image":"team/app:v1"}"#
    );
    person.run(&set).succeeded();
    assert_eq!(stub.request().body, r#"{"image":"team/app:v1"}"#);

    let output = person.run(&["lease", "ls"]).succeeded();
    insta::assert_snapshot!(output, @r"
    HOLDER           IMAGE        DIGEST        EXPIRES
    template/my-app  team/app:v1  0123456789ab  2026-01-08T00:00:00Z
    ");
    stub.request();
    person
        .run(&["lease", "show", "template/my-app"])
        .succeeded();
    let line = stub.request().line;
    assert_eq!(line, "GET /api/v1/leases/template/my-app HTTP/1.1");
    // Slashes are the holder's own; whatever else could change the address is escaped.
    assert_eq!(
        person.run(&["lease", "rm", "a b/c?d"]).succeeded(),
        "The lease of a b/c?d is ended.\n"
    );
    let line = stub.request().line;
    assert_eq!(line, "DELETE /api/v1/leases/a%20b/c%3Fd HTTP/1.1");
}

#[test]
fn usage_is_that_of_one_workspace_or_to_operators_of_all() {
    let one = r#"{"storedBytes":1048576,"logicalBytes":3145728,"deletedBytes":0,"quotaBytes":null,"images":3,"tags":9,"sharedIn":1,"sharedOut":2,"egressBytes":10485760}"#;
    let all = list(&one.replacen('{', r#"{"workspace":"main","#, 1));
    let stub = Stub::start([ok(one), all.clone(), all]);
    let person = Person::with_key(&stub.url);
    let output = person.run(&["usage"]).succeeded();
    insta::assert_snapshot!(output, @r"
    Images      3
    Tags        9
    Stored      1.0 MiB
    Logical     3.0 MiB
    Deleted     0 B
    Quota       -
    Shared in   1
    Shared out  2
    Egress      10.0 MiB
    ");
    assert_eq!(stub.request().line, "GET /api/v1/usage HTTP/1.1");
    let output = person.run(&["usage"]).succeeded();
    insta::assert_snapshot!(output, @r"
    WORKSPACE  IMAGES  TAGS  STORED   LOGICAL  DELETED  QUOTA  SHARED IN  SHARED OUT  EGRESS
    main       3       9     1.0 MiB  3.0 MiB  0 B      -      1          2           10.0 MiB
    ");
    assert_eq!(stub.request().line, "GET /api/v1/usage HTTP/1.1");
    assert_eq!(stub.request().line, "GET /api/v1/usage?limit=1000 HTTP/1.1");
}

#[test]
fn the_audit_log_is_read_as_far_as_was_asked() {
    let event = r#"{"id":"e1","at":"2026-01-01T00:00:00.123Z","actor":"key:k1","action":"image.share","target":"team/app","outcome":"ok","reason":null,"address":"10.0.0.1","requestId":"r1"}"#;
    let more = |count: usize, cursor: &str| {
        ok(&format!(
            r#"{{"items":[{}],"nextCursor":{cursor}}}"#,
            vec![event; count].join(",")
        ))
    };
    let stub = Stub::start([
        more(1, "null"),
        more(1000, "\"c\""),
        // A server that gives more than was asked for, and says that there is even more.
        more(3, "\"d\""),
    ]);
    let person = Person::with_key(&stub.url);
    let output = person.run(&["audit"]).succeeded();
    insta::assert_snapshot!(output, @r"
    TIME                  ACTOR   ACTION       TARGET    OUTCOME  REASON  ADDRESS
    2026-01-01T00:00:00Z  key:k1  image.share  team/app  ok       -       10.0.0.1
    ");
    let line = stub.request().line;
    assert_eq!(line, "GET /api/v1/audit-events?limit=100 HTTP/1.1");

    let output = person.run(&["audit", "--limit", "1002"]).succeeded();
    assert_eq!(output.lines().count(), 1 + 1002);
    let line = stub.request().line;
    assert_eq!(line, "GET /api/v1/audit-events?limit=1000 HTTP/1.1");
    let line = stub.request().line;
    assert_eq!(line, "GET /api/v1/audit-events?limit=2&cursor=c HTTP/1.1");
    assert_eq!(person.run(&["audit", "--limit", "0"]).code, 2);
}

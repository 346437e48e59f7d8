//! The commands on images of one's own: looking, tagging, settings, deleting and undoing.

use super::*;

const IMAGE: &str = r#"{"name":"team/app","repository":"t-main/team/app","pullReference":"127.0.0.1:5001/t-main/team/app","workspace":"main","sourceWorkspace":null,"sourceAccountId":null,"visibility":"private","protected":false,"immutableTags":"v*","tagCount":2,"sizeBytes":12900000,"sharedWithCount":1,"leaseCount":0,"createdAt":"2026-01-01T00:00:00Z","pushedAt":"2026-01-02T03:04:05.678Z","lastPulledAt":null,
    "latest":{"name":"v2","digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","sizeBytes":12900000}}"#;
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const DELETION: &str = r#"{"id":"d1","image":"team/app","kind":"image","tags":["v1","v2"],"digests":["sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],"deletedBy":"key:k1","deletedAt":"2026-01-01T00:00:00Z","restorableUntil":"2026-01-08T00:00:00.5Z","bytes":2048}"#;

fn list(items: &str) -> Answer {
    ok(&format!("{{\"items\":[{items}],\"nextCursor\":null}}"))
}

fn tag(name: &str) -> String {
    format!(
        r#"{{"name":"{name}","digest":"{DIGEST}","mediaType":"application/vnd.oci.image.index.v1+json","sizeBytes":1536,"platforms":["linux/amd64","linux/arm64"],"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-02T00:00:00Z","lastPulledAt":null,"leaseCount":1}}"#
    )
}

#[test]
fn images_are_listed_with_sizes_and_the_words_of_the_query() {
    let stub = Stub::start([list(IMAGE), list(IMAGE), list(IMAGE)]);
    let person = Person::with_key(&stub.url);
    let output = person.run(&["image", "ls"]).succeeded();
    insta::assert_snapshot!(output, @r"
    NAME      FROM  VISIBILITY  TAGS  SIZE      SHARES  LEASES  PUSHED                LAST PULLED
    team/app  -     private     2     12.3 MiB  1       0       2026-01-02T03:04:05Z  -
    ");
    let line = stub.request().line;
    assert_eq!(line, "GET /api/v1/images?limit=1000 HTTP/1.1");

    let arguments = ["image", "ls", "--shared", "in", "--name", "team/"];
    person.run(&arguments).succeeded();
    let line = stub.request().line;
    assert_eq!(
        line,
        "GET /api/v1/images?shared=in&name=team%2F&limit=1000 HTTP/1.1"
    );
    let output = person.run(&["image", "ls", "--platform"]).succeeded();
    assert!(output.contains("t-main/team/app"), "{output}");
    let line = stub.request().line;
    assert_eq!(line, "GET /api/v1/images?platform=true&limit=1000 HTTP/1.1");
}

#[test]
fn one_image_is_shown_whole_or_its_newest_reference_alone() {
    let stub = Stub::start((0..4).map(|_| ok(IMAGE)));
    let person = Person::with_key(&stub.url);
    let output = person.run(&["image", "show", "team/app"]).succeeded();
    insta::assert_snapshot!(output, @r"
    Name            team/app
    Repository      t-main/team/app
    Pull reference  127.0.0.1:5001/t-main/team/app
    Shared by       -
    Of account      -
    Visibility      private
    Protected       no
    Immutable tags  v*
    Tags            2
    Latest          v2 (0123456789ab)
    Size            12.3 MiB
    Shares          1
    Leases          0
    Created         2026-01-01T00:00:00Z
    Pushed          2026-01-02T03:04:05Z
    Last pulled     -
    ");
    let line = stub.request().line;
    assert_eq!(line, "GET /api/v1/images/team/app HTTP/1.1");
    let newest = ["image", "show", "team/app", "--latest"];
    assert_eq!(
        person.run(&newest).succeeded(),
        "127.0.0.1:5001/t-main/team/app:v2\n"
    );
    assert_eq!(
        person
            .run(&[&newest[..], &["-o", "json"]].concat())
            .succeeded(),
        "\"127.0.0.1:5001/t-main/team/app:v2\"\n"
    );
    // Programs get what the server said, with the whole digest.
    let output = person.run(&["image", "show", "team/app", "-o", "json"]);
    assert!(output.succeeded().contains(DIGEST));
}

#[test]
fn an_image_without_tags_has_no_newest_one() {
    let stub = Stub::start([ok(
        r#"{"name":"app","pullReference":"x/app","latest":null}"#,
    )]);
    let line = Person::with_key(&stub.url)
        .run(&["image", "show", "app", "--latest"])
        .failed();
    assert_eq!(line, "error: image app has no tags");
}

#[test]
fn tags_are_listed_with_short_digests_and_whole_ones_for_programs() {
    let stub = Stub::start([list(&tag("v1")), list(&tag("v1"))]);
    let person = Person::with_key(&stub.url);
    let output = person.run(&["image", "tags", "team/app"]).succeeded();
    insta::assert_snapshot!(output, @r"
    TAG  DIGEST        SIZE     PLATFORMS                UPDATED               LAST PULLED  LEASES
    v1   0123456789ab  1.5 KiB  linux/amd64,linux/arm64  2026-01-02T00:00:00Z  -            1
    ");
    let line = stub.request().line;
    assert_eq!(
        line,
        "GET /api/v1/images/team/app/-/tags?limit=1000 HTTP/1.1"
    );
    let arguments = ["image", "tags", "team/app", "--sort", "name", "-o", "json"];
    assert!(person.run(&arguments).succeeded().contains(DIGEST));
    let line = stub.request().line;
    assert_eq!(
        line,
        "GET /api/v1/images/team/app/-/tags?sort=name&limit=1000 HTTP/1.1"
    );
}

#[test]
fn the_history_is_that_of_one_tag() {
    let entry = format!(
        r#"{{"digest":"{DIGEST}","setAt":"2026-01-01T00:00:00Z","setBy":"key:k1","endedAt":null,"endedBy":null}}"#
    );
    let stub = Stub::start([list(&entry)]);
    let person = Person::with_key(&stub.url);
    let output = person.run(&["image", "history", "team/app:v1"]).succeeded();
    insta::assert_snapshot!(output, @r"
    DIGEST        SET                   SET BY  ENDED  ENDED BY
    0123456789ab  2026-01-01T00:00:00Z  key:k1  -      -
    ");
    let line = stub.request().line;
    assert_eq!(
        line,
        "GET /api/v1/images/team/app/-/tags/v1/history?limit=1000 HTTP/1.1"
    );
    for whole in ["team/app".to_owned(), format!("team/app@{DIGEST}")] {
        let line = person.run(&["image", "history", &whole]).failed();
        assert!(line.ends_with("write one such as team/app:v1"), "{line}");
    }
}

#[test]
fn a_tag_is_promoted_to_the_digest_that_its_source_has() {
    let moved = tag("stable");
    let stub = Stub::start([ok(&tag("v1")), ok(&moved), ok(&moved)]);
    let person = Person::with_key(&stub.url);
    let output = person.run(&["image", "tag", "team/app:v1", "stable"]);
    // There is room for the whole digest.
    assert!(output.succeeded().contains(DIGEST));
    let line = stub.request().line;
    assert_eq!(line, "GET /api/v1/images/team/app/-/tags/v1 HTTP/1.1");
    let request = stub.request();
    assert_eq!(
        request.line,
        "PUT /api/v1/images/team/app/-/tags/stable HTTP/1.1"
    );
    assert_eq!(request.body, format!("{{\"digest\":\"{DIGEST}\"}}"));
    assert!(!request.headers.contains_key("if-match"));

    let source = format!("team/app@{DIGEST}");
    let arguments = ["image", "tag", &source, "stable", "--if-match", DIGEST];
    person.run(&arguments).succeeded();
    let request = stub.request();
    assert!(request.line.starts_with("PUT "), "{}", request.line);
    assert_eq!(request.headers["if-match"], format!("\"{DIGEST}\""));
}

#[test]
fn settings_are_sent_as_they_were_given() {
    let stub = Stub::start((0..4).map(|_| ok(IMAGE)));
    let person = Person::with_key(&stub.url);
    for (arguments, body) in [
        (&["--protected", "true"][..], r#"{"protected":true}"#),
        (&["--immutable-tags", "false"], r#"{"immutableTags":false}"#),
        (&["--immutable-tags", "v*"], r#"{"immutableTags":"v*"}"#),
        (
            &["--visibility", "platform", "--protected", "false"],
            r#"{"protected":false,"visibility":"platform"}"#,
        ),
    ] {
        let arguments = [&["image", "set", "team/app"], arguments].concat();
        let output = person.run(&arguments).succeeded();
        assert!(!output.contains("Latest"), "{output}");
        let request = stub.request();
        assert_eq!(request.line, "PATCH /api/v1/images/team/app HTTP/1.1");
        assert_eq!(request.body, body);
    }
    for wrong in [&["--protected", "maybe"][..], &[]] {
        let arguments = [&["image", "set", "app"], wrong].concat();
        assert_eq!(person.run(&arguments).code, 2);
    }
}

#[test]
fn a_deletion_says_what_went_and_how_it_comes_back() {
    let no_undo =
        r#"{"id":"d1","image":"app","tags":[],"digests":[],"bytes":0,"restorableUntil":null}"#;
    let stub = Stub::start([ok(DELETION), ok(DELETION), ok(DELETION), ok(no_undo)]);
    let person = Person::with_key(&stub.url);
    let output = person.run(&["image", "rm", "team/app"]).succeeded();
    insta::assert_snapshot!(output, @r"
    team/app is deleted (2 tags, 1 manifest, 2.0 KiB).
    Until 2026-01-08T00:00:00Z it comes back with: berth deletions restore d1
    ");
    let line = stub.request().line;
    assert_eq!(line, "DELETE /api/v1/images/team/app HTTP/1.1");

    let arguments = ["image", "rm", "team/app:v1", "--force"];
    person.run(&arguments).succeeded();
    let line = stub.request().line;
    assert_eq!(
        line,
        "DELETE /api/v1/images/team/app/-/tags/v1?force=true HTTP/1.1"
    );
    let manifest = format!("team/app@{DIGEST}");
    let output = person.run(&["image", "rm", &manifest, "-o", "json"]);
    assert!(output.succeeded().contains("\"id\": \"d1\""));
    let line = stub.request().line;
    assert_eq!(
        line,
        format!("DELETE /api/v1/images/team/app/-/manifests/{DIGEST} HTTP/1.1")
    );
    let output = person.run(&["image", "rm", "app:v1"]).succeeded();
    assert!(output.starts_with("app:v1 is deleted.\nIt cannot be restored"));
}

#[test]
fn a_whole_image_is_deleted_only_after_a_yes_at_a_terminal() {
    let stub = Stub::start([ok(DELETION), ok(DELETION), ok(DELETION)]);
    let mut person = Person::with_key(&stub.url);
    person.at_terminal = true;
    let question = "Delete the whole image team/app with all its tags? [y/N] ";
    for no in ["", "\n", "n\n", "no\n", "yesterday\n"] {
        person.input = no.to_owned();
        let ended = person.run(&["image", "rm", "team/app"]);
        assert_eq!(ended.code, 1, "{no:?}");
        assert_eq!(
            ended.notes,
            format!("{question}error: nothing was changed\n")
        );
    }
    for yes in ["y\n", " YES \n"] {
        person.input = yes.to_owned();
        let ended = person.run(&["image", "rm", "team/app"]);
        assert_eq!((ended.code, ended.notes.as_str()), (0, question));
    }
    person.input = String::new();
    let arguments = ["image", "rm", "team/app", "--yes"];
    person.run(&arguments).succeeded();
}

#[test]
fn one_tag_is_deleted_without_a_question() {
    let stub = Stub::start([ok(DELETION)]);
    let mut person = Person::with_key(&stub.url);
    person.at_terminal = true;
    person.run(&["image", "rm", "team/app:v1"]).succeeded();
}

#[test]
fn deletions_are_listed_restored_and_purged() {
    let stub = Stub::start([list(DELETION), ok(DELETION), no_content(), ok(DELETION)]);
    let mut person = Person::with_key(&stub.url);
    let output = person.run(&["deletions", "ls"]).succeeded();
    insta::assert_snapshot!(output, @r"
    ID  IMAGE     KIND   TAGS   SIZE     DELETED BY  DELETED               RESTORABLE UNTIL
    d1  team/app  image  v1,v2  2.0 KiB  key:k1      2026-01-01T00:00:00Z  2026-01-08T00:00:00Z
    ");
    let line = stub.request().line;
    assert_eq!(line, "GET /api/v1/deletions?limit=1000 HTTP/1.1");

    let output = person.run(&["deletions", "restore", "d1"]).succeeded();
    assert_eq!(output, "What was deleted of team/app is back.\n");
    let line = stub.request().line;
    assert_eq!(line, "POST /api/v1/deletions/d1/restore HTTP/1.1");

    person.at_terminal = true;
    let line = person.run(&["deletions", "purge", "d1"]);
    assert!(line.notes.ends_with("error: nothing was changed\n"));
    let arguments = ["deletions", "purge", "d1", "-y"];
    assert_eq!(
        person.run(&arguments).succeeded(),
        "Deletion d1 is purged.\n"
    );
    let line = stub.request().line;
    assert_eq!(line, "POST /api/v1/deletions/d1/purge HTTP/1.1");
    let arguments = ["deletions", "restore", "d1", "-o", "json"];
    assert!(person.run(&arguments).succeeded().starts_with("{\n"));
}

#[test]
fn what_cannot_be_used_ends_with_1_and_its_reason() {
    let usable = format!(
        r#"{{"kind":"own","usable":true,"reason":null,"digest":"{DIGEST}","pullReference":"127.0.0.1:5001/t-main/app:v1","platforms":["linux/amd64"],"sizeBytes":1024}}"#
    );
    let foreign = r#"{"kind":"foreign","usable":false,"reason":"another workspace's","digest":null,"pullReference":null,"platforms":[],"sizeBytes":null}"#;
    let stub = Stub::start([ok(&usable), ok(foreign), ok(foreign)]);
    let person = Person::with_key(&stub.url);
    let output = person.run(&["image", "resolve", "app:v1"]).succeeded();
    insta::assert_snapshot!(output, @r"
    Kind            own
    Usable          yes
    Reason          -
    Digest          sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    Pull reference  127.0.0.1:5001/t-main/app:v1
    Platforms       linux/amd64
    Size            1.0 KiB
    ");
    let request = stub.request();
    assert_eq!(request.line, "POST /api/v1/images/resolve HTTP/1.1");
    assert_eq!(request.body, r#"{"image":"app:v1"}"#);
    for format in ["table", "json"] {
        let ended = person.run(&["image", "resolve", "t-x/app", "-o", format]);
        assert_eq!(ended.code, 1);
        assert!(ended.output.contains("foreign"), "{}", ended.output);
        assert_eq!(
            ended.notes,
            "error: t-x/app cannot be used: another workspace's\n"
        );
    }
}

#[test]
fn wrong_names_are_refused_before_anything_is_sent() {
    // Nothing listens there.
    let person = Person::with_key("http://127.0.0.1:1");
    for (arguments, part) in [
        (&["image", "show", "Team/App"][..], "`Team` cannot be part"),
        (&["image", "show", "app/"], "no two slashes"),
        (&["image", "show", "../workspaces"], "`..` cannot be part"),
        (&["image", "show", ""], "must not be empty"),
        (
            &["image", "tags", "127.0.0.1:5000/t-main/app"],
            "write it without the registry",
        ),
        (&["image", "tags", "app:v1"], "write app"),
        (
            &["image", "set", "app:v1", "--protected", "true"],
            "one tag",
        ),
        (&["image", "rm", "app:"], "is not a tag"),
        (&["image", "rm", "app:v1@sha256:00"], "a tag and a digest"),
        (&["image", "rm", "app@sha256:00"], "is not a digest"),
        (&["image", "tag", "app", "v1"], "is a whole image"),
        (&["image", "tag", "app:v1", "app:v2"], "is not a tag"),
        (
            &["image", "tag", "app:v1", "v2", "--if-match", "v1"],
            "is not a digest",
        ),
        (
            &["image", "share", "app:v1", "--workspace", "web"],
            "one tag",
        ),
        (
            &["image", "share", "app@sha256:00", "--workspace", "web"],
            "is not a digest",
        ),
        (
            &[
                "image",
                "share",
                "app",
                "--workspace",
                "web",
                "--alias",
                "A",
            ],
            "`A` cannot be part",
        ),
        (
            &["image", "unshare", "app", "--workspace", ".."],
            "not a name",
        ),
        (&["share", "drop", "app:v1"], "one tag"),
        (&["lease", "show", "template/../x"], "not a name"),
        (&["lease", "rm", "/x"], "not a name"),
    ] {
        let line = person.run(arguments).failed();
        assert!(line.contains(part), "{arguments:?}: {line}");
    }
}

#[test]
fn templates_name_images_by_the_same_commands() {
    let stub = Stub::start([ok(IMAGE)]);
    let arguments = ["template", "image", "show", "team/app", "--latest"];
    let output = Person::with_key(&stub.url).run(&arguments).succeeded();
    assert_eq!(output, "127.0.0.1:5001/t-main/team/app:v2\n");
}

//! `berth image push` and `build`, with a daemon that says what the test wrote down.

use base64::Engine as _;
use berth_storage::{Digest, DigestAlgorithm};
use serde_json::json;

use super::*;

const IMAGE: &str = r#"{"Id":"sha256:aaa","RepoTags":["my-app:v1"],"Size":1}"#;
const PUSHED: &str = "{\"status\":\"The push refers to repository [127.0.0.1:5000/t-6a1ba868/my-app]\"}\r\n\
    {\"status\":\"Preparing\",\"progressDetail\":{},\"id\":\"b3169f1a5ffe\"}\r\n\
    {\"status\":\"Pushing\",\"progressDetail\":{\"current\":512,\"total\":1024},\"progress\":\"[=>]\",\"id\":\"b3169f1a5ffe\"}\r\n\
    {\"status\":\"Pushed\",\"progressDetail\":{},\"id\":\"b3169f1a5ffe\"}\r\n\
    {\"status\":\"v1: digest: sha256:ddd size: 528\"}\r\n\
    {\"progressDetail\":{},\"aux\":{\"Tag\":\"v1\",\"Digest\":\"sha256:ddd\",\"Size\":528}}\r\n";
const PUSH: [&str; 5] = ["image", "push", "my-app:v1", "-t", "my-app:v1"];
const REFERENCE: &str = "127.0.0.1:5000/t-6a1ba868/my-app";

/// An answer of the daemon.
fn says(status: u16, body: &str) -> Answer {
    Answer {
        status,
        headers: "",
        body: String::from(body),
    }
}

fn no_such_image() -> Answer {
    says(404, r#"{"message":"No such image"}"#)
}

/// The fifth request, which ends what a push does to names.
fn fifth(daemon: &Stub) -> Request {
    for _ in 0..4 {
        daemon.request();
    }
    daemon.request()
}

/// A person with a key at a server that gives a credential, and with a daemon.
fn at_daemon(answers: impl IntoIterator<Item = Answer>) -> (Stub, Stub, Person) {
    let (server, daemon) = (Stub::start([ok(CREDENTIAL)]), Stub::start(answers));
    let host = daemon.url.replace("http", "tcp");
    let person = Person::with_key(&server.url).with("DOCKER_HOST", &host);
    (server, daemon, person)
}

#[test]
fn an_image_is_named_pushed_and_loses_the_name_again() {
    let (server, daemon, person) = at_daemon([
        says(200, IMAGE),
        no_such_image(),
        says(201, ""),
        says(200, PUSHED),
        says(200, "[]"),
    ]);
    let ended = person.run(&PUSH);
    assert_eq!(ended.code, 0, "{}", ended.notes);
    insta::assert_snapshot!(ended.output, @r"
    Digest: sha256:ddd
    Image pushed successfully: 127.0.0.1:5000/t-6a1ba868/my-app:v1
    Template image reference: 127.0.0.1:5001/t-6a1ba868/my-app:v1
    ");
    insta::assert_snapshot!(ended.notes, @r"
    b3169f1a5ffe: Preparing
    b3169f1a5ffe: Pushing
    b3169f1a5ffe: Pushed
    ");
    let request = server.request();
    assert_eq!(request.line, "POST /api/v1/registry/credentials HTTP/1.1");
    assert_eq!(
        request.body,
        r#"{"actions":["pull","push"],"targetImage":"my-app:v1"}"#
    );

    let line = |request: &Request| request.line.trim_end_matches(" HTTP/1.1").to_owned();
    assert_eq!(line(&daemon.request()), "GET /images/my-app:v1/json");
    assert_eq!(
        line(&daemon.request()),
        format!("GET /images/{REFERENCE}:v1/json")
    );
    assert_eq!(
        line(&daemon.request()),
        "POST /images/sha256:aaa/tag?repo=127.0.0.1%3A5000%2Ft-6a1ba868%2Fmy-app&tag=v1"
    );
    let push = daemon.request();
    assert_eq!(line(&push), format!("POST /images/{REFERENCE}/push?tag=v1"));
    let login = base64::engine::general_purpose::URL_SAFE
        .decode(&push.headers["x-registry-auth"])
        .unwrap();
    let login: serde_json::Value = serde_json::from_slice(&login).unwrap();
    assert_eq!(
        login,
        serde_json::json!({
            "username": "t-6a1ba868", "serveraddress": "127.0.0.1:5000",
            "password": "eyJhbGciOiJFZERTQSJ9.payload.signature",
        })
    );
    assert_eq!(
        line(&daemon.request()),
        format!("DELETE /images/{REFERENCE}:v1?noprune=true")
    );
}

#[test]
fn programs_get_one_object() {
    let (_server, _daemon, person) = at_daemon([
        says(200, IMAGE),
        says(200, IMAGE),
        says(201, ""),
        says(200, PUSHED),
    ]);
    let ended = person.run(&[&["template"], &PUSH[..], &["-o", "json"]].concat());
    assert_eq!(ended.code, 0, "{}", ended.notes);
    insta::assert_snapshot!(ended.output, @r#"
    {
      "digest": "sha256:ddd",
      "pullImage": "127.0.0.1:5001/t-6a1ba868/my-app:v1",
      "pushImage": "127.0.0.1:5000/t-6a1ba868/my-app:v1"
    }
    "#);
}

#[test]
fn the_name_goes_back_to_the_image_that_had_it() {
    let other = IMAGE.replace("aaa", "bbb");
    let (_server, daemon, person) = at_daemon([
        says(200, IMAGE),
        says(200, &other),
        says(201, ""),
        says(200, PUSHED),
        says(201, ""),
    ]);
    assert_eq!(person.run(&PUSH).code, 0);
    let last = fifth(&daemon);
    assert!(
        last.line.starts_with("POST /images/sha256:bbb/tag?"),
        "{}",
        last.line
    );
}

#[test]
fn an_image_without_a_name_keeps_the_one_it_got() {
    let nameless = r#"{"Id":"sha256:aaa","RepoTags":["<none>:<none>"]}"#;
    let (_server, _daemon, person) = at_daemon([
        says(200, nameless),
        no_such_image(),
        says(201, ""),
        says(200, PUSHED),
    ]);
    let ended = person.run(&["image", "push", "aaa", "-t", "my-app:v1"]);
    assert_eq!(ended.code, 0);
    let note = format!("note: the image had no name; docker calls it {REFERENCE}:v1 now\n");
    assert!(ended.notes.ends_with(&note), "{}", ended.notes);
}

#[test]
fn a_name_without_a_tag_means_the_latest() {
    let credential = CREDENTIAL.replace("my-app:v1", "my-app");
    let server = Stub::start([ok(&credential)]);
    let daemon = Stub::start([
        says(200, IMAGE),
        says(200, IMAGE),
        says(201, ""),
        says(200, PUSHED),
    ]);
    let person =
        Person::with_key(&server.url).with("DOCKER_HOST", &daemon.url.replace("http", "tcp"));
    let ended = person.run(&["image", "push", "my-app:v1", "-t", "my-app"]);
    assert_eq!(ended.code, 0, "{}", ended.notes);
    let lines = format!(
        "Image pushed successfully: {REFERENCE}:latest\n\
         Template image reference: 127.0.0.1:5001/t-6a1ba868/my-app:latest\n"
    );
    assert!(ended.output.ends_with(&lines), "{}", ended.output);
    assert_eq!(
        server.request().body,
        r#"{"actions":["pull","push"],"targetImage":"my-app"}"#
    );
}

/// The last line of a push that fails after these answers of the daemon; the name is taken away all the same.
#[track_caller]
fn failed_push(said: &str) -> String {
    let (_server, daemon, person) = at_daemon([
        says(200, IMAGE),
        no_such_image(),
        says(201, ""),
        says(200, said),
        says(200, "[]"),
    ]);
    let ended = person.run(&PUSH);
    assert_eq!((ended.code, &*ended.output), (1, ""));
    let last = fifth(&daemon);
    assert!(last.line.starts_with("DELETE /images/"), "{}", last.line);
    ended
        .notes
        .lines()
        .last()
        .unwrap()
        .replace(&daemon.url.replace("http", "tcp"), "DAEMON")
}

#[test]
fn what_the_registry_says_is_passed_on_and_what_the_daemon_lacks_is_explained() {
    let error = |text: &str| {
        failed_push(&format!(
            "{{\"errorDetail\":{{\"message\":\"{text}\"}},\"error\":\"{text}\"}}\r\n"
        ))
    };
    assert_eq!(
        error("denied: the tag v1 is immutable"),
        "error: docker could not push: denied: the tag v1 is immutable"
    );
    assert_eq!(
        error("dial tcp 127.0.0.1:5000: connect: connection refused"),
        "error: the Docker daemon at DAEMON cannot reach 127.0.0.1:5000: dial tcp 127.0.0.1:5000: connect: connection \
         refused; the daemon resolves the name and connects by itself, from where it runs: there 127.0.0.1:5000 must be \
         reachable"
    );
    let line = failed_push("{\"status\":\"Pushed\",\"id\":\"b3169f1a5ffe\"}");
    assert!(line.contains("did not say what it pushed"), "{line}");
    let line = failed_push("this is not Docker\n");
    assert!(
        line.contains("something that is not Docker's API"),
        "{line}"
    );
}

#[test]
fn an_image_that_docker_has_not_is_told_before_a_credential_is_asked_for() {
    let images = format!("[{IMAGE},{{\"Id\":\"sha256:c\",\"RepoTags\":null}}]");
    let daemon = Stub::start([no_such_image(), says(200, &images)]);
    let person = Person::with_key("http://127.0.0.1:1")
        .with("DOCKER_HOST", &daemon.url.replace("http", "tcp"));
    assert_eq!(
        person
            .run(&["image", "push", "my-ap:v1", "-t", "my-app:v1"])
            .failed(),
        "error: docker has no image \"my-ap:v1\"; did you mean my-app:v1?"
    );
    for name in ["", "/app", "a/../b"] {
        let line = person
            .run(&["image", "push", name, "-t", "my-app:v1"])
            .failed();
        assert_eq!(line, format!("error: {name:?} is not the name of an image"));
    }
}

#[test]
fn without_a_login_or_a_daemon_it_is_said_what_to_do() {
    let person = Person::new().with("DOCKER_HOST", "unix:///nowhere/docker.sock");
    assert!(
        person
            .run(&PUSH)
            .failed()
            .starts_with("error: no API key: run `berth login`")
    );
    let person = person.with("BERTH_API_KEY", "berth_key");
    let line = person.run(&PUSH).failed();
    assert!(
        line.starts_with(
            "error: no Docker daemon answers at unix:///nowhere/docker.sock: No such file"
        ) && line.contains("start it"),
        "{line}"
    );
    let stub = Stub::start([says(404, "<html>not found</html>")]);
    let person = person.with("DOCKER_HOST", &stub.url.replace("http", "tcp"));
    let line = person.run(&PUSH).failed();
    assert!(
        line.contains("something that is not Docker's API; check DOCKER_HOST"),
        "{line}"
    );
    let person = person.with("DOCKER_HOST", "ssh://me@box");
    assert!(
        person
            .run(&PUSH)
            .failed()
            .contains("push with `docker push`")
    );
}

#[test]
fn what_the_server_refuses_is_said_and_docker_is_left_alone() {
    for (status, code, message) in [
        (
            403,
            "forbidden",
            "this key may not push, so a credential of it may not either",
        ),
        (
            400,
            "bad_request",
            "targetImage: \"t-other/\" is the prefix of another team; yours is \"t-main/\"",
        ),
    ] {
        let server = Stub::start([refused(status, code, message)]);
        let daemon = Stub::start([says(200, IMAGE)]);
        let person =
            Person::with_key(&server.url).with("DOCKER_HOST", &daemon.url.replace("http", "tcp"));
        assert_eq!(
            person.run(&PUSH).failed(),
            format!("error: {message} ({code}, request request-1)")
        );
    }
}

#[test]
fn a_daemon_behind_tls_needs_its_certificates() {
    let person = Person::with_key("http://127.0.0.1:1")
        .with("DOCKER_HOST", "tcp://127.0.0.1:1")
        .with("DOCKER_TLS_VERIFY", "1");
    let line = person.run(&PUSH).failed();
    assert!(
        line.starts_with("error: cannot read ") && line.contains("/.docker/cert.pem"),
        "{line}"
    );
}

#[test]
fn a_build_without_docker_says_what_is_missing() {
    let person = Person::new().with("DOCKER", "/nowhere/docker");
    assert_eq!(
        person
            .run(&["image", "build", ".", "-t", "my-app:v1"])
            .failed(),
        "error: cannot find /nowhere/docker: install docker, or name another program by DOCKER, such as DOCKER=podman"
    );
}

/// A folder with an image of one blob, of these bytes.
fn layout_of(config: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let blobs = folder.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let keep = |bytes: &str| {
        let digest = Digest::of(DigestAlgorithm::Sha256, bytes.as_bytes());
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        (digest.to_string(), bytes.len())
    };
    let (digest, size) = keep(config);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": size},
        "layers": [],
    });
    let (digest, size) = keep(&manifest.to_string());
    let index = json!({
        "schemaVersion": 2,
        "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size},
        ],
    });
    let write = |name: &str, value: serde_json::Value| {
        std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    };
    write("index.json", index);
    write("oci-layout", json!({"imageLayoutVersion": "1.0.0"}));
    folder
}

#[test]
fn an_upload_that_goes_on_elsewhere_after_a_break_is_not_begun_anew() {
    const WHOLE: &str = "a blob that is sent in two";
    let session = |status, headers| Answer {
        status,
        headers,
        body: String::new(),
    };
    let registry = Stub::start([
        says(404, ""),
        session(202, "Location: /session\r\n"),
        says(503, ""),
        // What the broken attempt sent is not told at once,
        session(204, "Location: /session\r\nRange: 0-0\r\n"),
        says(416, ""),
        // and then it is.
        session(204, "Location: /session\r\nRange: 0-9\r\n"),
        session(202, "Location: /session\r\n"),
        says(201, ""),
        says(201, ""),
    ]);
    let host = registry.url.trim_start_matches("http://");
    let credential = CREDENTIAL.replace("127.0.0.1:5000", host);
    let api = Stub::start([ok(&credential), ok(&credential)]);
    let layout = layout_of(WHOLE);
    let from = layout.path().to_str().unwrap();
    let person = Person::with_key(&api.url);
    let ended = person.run(&["image", "push", "--from", from, "-t", "my-app:v1"]);
    assert_eq!(ended.code, 0, "{}", ended.notes);

    let sent: Vec<String> = (0..9)
        .map(|_| registry.request())
        .filter(|request| request.line.starts_with("PATCH"))
        .map(|request| request.body)
        .collect();
    assert_eq!(sent, [WHOLE, WHOLE, &WHOLE[10..]]);
}

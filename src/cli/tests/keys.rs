//! The commands on operator keys and signing keys: against a stub, and on an installation whose server is stopped.

use berth::app;
use berth::config::Config;

use super::*;

const NEW_KEY: &str = r#"{"id":"o2","name":"alice","createdBy":"key:o1","createdAt":"2026-01-01T00:00:00Z","expiresAt":null,"lastUsedAt":null,"key":"berth_new_secret","replaces":{"id":"o1","expiresAt":"2026-01-02T00:00:00Z"}}"#;
const SIGNING_KEYS: &str = r#"{"items":[
    {"id":"a","purpose":"credential","state":"signing","createdAt":"2026-01-01T00:00:00Z","signsFrom":"2026-01-01T00:00:00Z","expiresAt":null},
    {"id":"b","purpose":"access","state":"pending","createdAt":"2026-01-02T00:00:00Z","signsFrom":"2026-01-02T00:10:00Z","expiresAt":null},
    {"id":"c","purpose":"access","state":"signing","createdAt":"2026-01-01T00:00:00Z","signsFrom":"2026-01-01T00:00:00Z","expiresAt":"2026-01-02T00:16:00Z"}
    ],"nextCursor":null}"#;

#[test]
fn a_new_operator_key_is_printed_once() {
    let stub = Stub::start([ok(NEW_KEY)]);
    let arguments = ["operator-key", "create", "alice", "--expires-in", "30d"];
    let ended = Person::with_key(&stub.url).run(&arguments);
    assert!(ended.output.contains("berth_new_secret"), "{ended:?}");
    assert_eq!(ended.notes, "The key is shown this once.\n");
    let request = stub.request();
    assert_eq!(request.line, "POST /api/v1/operator-keys HTTP/1.1");
    assert_eq!(
        request.body,
        r#"{"expiresAt":"2026-01-31T00:00:00Z","name":"alice"}"#
    );
}

#[test]
fn a_key_for_a_file_is_in_the_file_alone() {
    let stub = Stub::start([ok(r#"{"id":"o1"}"#), ok(NEW_KEY), ok(NEW_KEY)]);
    let person = Person::with_key(&stub.url);
    let file = person.home.path().join("operator.key");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "the old one\n").unwrap();
    let ended = person.run(&["operator-key", "rotate", "--overlap", "0", "--file", path]);
    assert_eq!(ended.code, 0, "{}", ended.notes);
    assert!(!ended.output.contains("berth_new_secret"), "{ended:?}");
    assert_eq!(
        ended.notes,
        format!("The key is in {path}.\nThe old key, o1, ends at 2026-01-02T00:00:00Z.\n")
    );
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "berth_new_secret\n"
    );
    assert_eq!(mode(&file), 0o600);
    assert_eq!(stub.request().line, "GET /api/v1/whoami HTTP/1.1");
    let request = stub.request();
    assert_eq!(
        request.line,
        "POST /api/v1/operator-keys/o1/rotate HTTP/1.1"
    );
    assert_eq!(request.body, r#"{"overlapSeconds":0}"#);

    let arguments = ["operator-key", "create", "x", "--file", path, "-o", "json"];
    let output = person.run(&arguments).succeeded();
    assert!(!output.contains("berth_new_secret"), "{output}");
}

#[test]
fn a_key_whose_file_cannot_be_written_is_not_lost() {
    let stub = Stub::start([ok(NEW_KEY)]);
    let arguments = ["operator-key", "rotate", "o1", "--file", "/nowhere/key"];
    let ended = Person::with_key(&stub.url).run(&arguments);
    assert_eq!(ended.code, 1);
    assert!(ended.output.contains("berth_new_secret"), "{ended:?}");
    let says = ended.notes.contains("error: cannot write /nowhere/key");
    assert!(says, "{}", ended.notes);
}

#[test]
fn an_operator_key_is_removed_by_its_id() {
    let stub = Stub::start([no_content(), no_content()]);
    let person = Person::with_key(&stub.url);
    for word in ["rm", "delete"] {
        let output = person.run(&["operator-key", word, "o1"]).succeeded();
        assert_eq!(output, "Operator key o1 is removed.\n");
        let line = stub.request().line;
        assert_eq!(line, "DELETE /api/v1/operator-keys/o1 HTTP/1.1");
    }
}

#[test]
fn signing_keys_are_listed_by_purpose_in_the_order_in_which_they_sign() {
    let stub = Stub::start([ok(SIGNING_KEYS)]);
    let output = Person::with_key(&stub.url).run(&["keys", "ls"]).succeeded();
    insta::assert_snapshot!(output, @r"
    ID  PURPOSE     STATE    CREATED               SIGNS FROM            EXPIRES
    c   access      signing  2026-01-01T00:00:00Z  2026-01-01T00:00:00Z  2026-01-02T00:16:00Z
    b   access      pending  2026-01-02T00:00:00Z  2026-01-02T00:10:00Z  -
    a   credential  signing  2026-01-01T00:00:00Z  2026-01-01T00:00:00Z  -
    ");
    let line = stub.request().line;
    assert_eq!(line, "GET /api/v1/signing-keys?limit=1000 HTTP/1.1");
}

#[test]
fn a_rotation_says_what_was_typed() {
    let stub = Stub::start([ok(SIGNING_KEYS), ok(SIGNING_KEYS)]);
    let person = Person::with_key(&stub.url);
    person.run(&["keys", "rotate"]).succeeded();
    assert_eq!(stub.request().body, "{}");
    let arguments = ["keys", "rotate", "--purpose", "access", "--now"];
    person.run(&arguments).succeeded();
    let request = stub.request();
    assert_eq!(request.line, "POST /api/v1/signing-keys/rotate HTTP/1.1");
    assert_eq!(request.body, r#"{"now":true,"purpose":"access"}"#);
}

/// The time of a person's commands.
const NOW: Millis = Millis(1_767_225_600_000);

/// Runs something on an installation that is started in a folder.
fn started<T>(data: &Path, look: impl FnOnce() -> T) -> T {
    let mut config = Config::default();
    config.server.data_dir = data.to_owned();
    let any_port = ([127, 0, 0, 1], 0).into();
    config.server.public_listen = any_port;
    config.server.ops_listen = any_port;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = runtime
        .block_on(app::start(&config, Clock::manual(NOW)))
        .unwrap();
    let seen = look();
    runtime.block_on(running.stop());
    seen
}

#[test]
fn keys_are_reset_on_an_installation_that_is_stopped_and_on_no_other() {
    let person = Person::new();
    let data = person.home.path().join("data");
    let folder = data.to_str().unwrap();
    let operator_key = || std::fs::read_to_string(data.join("operator.key")).unwrap();
    let signing_keys = || {
        let files = std::fs::read_dir(data.join("keys")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort_unstable();
        names
    };
    let before = started(&data, || {
        for command in ["operator-key", "keys"] {
            let line = person.run(&[command, "reset", "--data-dir", folder]);
            let line = line.failed();
            assert!(line.contains("another berth owns"), "{line}");
        }
        (operator_key(), signing_keys())
    });
    assert_eq!((operator_key(), signing_keys()), before);

    let output = person
        .run(&["operator-key", "reset", "--data-dir", folder])
        .succeeded();
    assert!(output.contains("data/operator.key"), "{output}");
    assert_ne!(operator_key(), before.0);
    let elsewhere = person.home.path().join("new.key");
    let arguments = ["operator-key", "reset", "--data-dir", folder, "--file"];
    let arguments = [arguments.as_slice(), &[elsewhere.to_str().unwrap()]].concat();
    person.run(&arguments).succeeded();
    assert_eq!(mode(&elsewhere), 0o600);

    person
        .run(&["keys", "reset", "--data-dir", folder])
        .succeeded();
    let after = signing_keys();
    assert_eq!(after.len(), 2);
    assert!(before.1.iter().all(|name| !after.contains(name)));
    started(&data, || assert_eq!(signing_keys(), after));

    let secret = person.home.path().join("secret");
    std::fs::write(&secret, "old\n").unwrap();
    let arguments = ["keys", "rewrap", "--data-dir", folder];
    let file = ["--previous-secret-file", secret.to_str().unwrap()];
    let line = person.run(&[arguments.as_slice(), &file].concat()).failed();
    assert!(line.contains("which no secret wraps"), "{line}");
}

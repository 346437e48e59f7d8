//! Tests of the command line: whole commands against a server that answers what the test wrote down.

mod configure_docker;
mod credential_helper;
mod holders;
mod images;
mod keys;
mod kubelet_provider;
mod lists;
mod pull_secrets;
mod push;
mod sharing;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use berth::clock::{Clock, Millis};
use clap::CommandFactory;
use tempfile::TempDir;

use super::connection::warn_of_plain_http;
use super::output::{Output, masked, plain};
use super::{Cli, Context, run};

/// One answer of the stub.
#[derive(Clone)]
struct Answer {
    status: u16,
    headers: &'static str,
    body: String,
}

fn ok(data: &str) -> Answer {
    Answer {
        status: 200,
        headers: "",
        body: format!("{{\"success\":true,\"data\":{data}}}"),
    }
}

fn no_content() -> Answer {
    Answer {
        status: 204,
        headers: "",
        body: String::new(),
    }
}

fn refused(status: u16, code: &str, message: &str) -> Answer {
    Answer {
        status,
        headers: "X-Request-Id: request-1\r\n",
        body: serde_json::json!({
            "success": false,
            "error": { "code": code, "message": message },
        })
        .to_string(),
    }
}

/// A request as the stub saw it.
struct Request {
    line: String,
    headers: HashMap<String, String>,
    body: String,
}

/// A server of canned answers, one for each request.
struct Stub {
    url: String,
    requests: mpsc::Receiver<Request>,
}

impl Stub {
    fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers: Vec<Answer> = answers.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                sender.send(serve(stream, &answer)).unwrap();
            }
        });
        Self { url, requests }
    }

    fn request(&self) -> Request {
        // The answer may be read before the request is handed over.
        self.requests
            .recv_timeout(Duration::from_secs(10))
            .expect("one more request")
    }
}

fn serve(mut stream: TcpStream, answer: &Answer) -> Request {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(
        stream,
        "HTTP/1.1 {} Status\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n{}",
        answer.status,
        answer.headers,
        answer.body.len(),
        answer.body
    )
    .unwrap();
    Request {
        line: line.trim_end().to_owned(),
        headers,
        body: String::from_utf8(body).unwrap(),
    }
}

/// A person at a machine: a home folder and an environment.
struct Person {
    home: TempDir,
    environment: Vec<(OsString, OsString)>,
    input: String,
    at_terminal: bool,
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: u8,
    output: String,
    notes: String,
}

impl Person {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let environment = vec![("HOME".into(), home.path().into())];
        Self {
            home,
            environment,
            input: String::new(),
            at_terminal: false,
        }
    }

    fn with_key(url: &str) -> Self {
        Self::new()
            .with("BERTH_URL", url)
            .with("BERTH_API_KEY", "berth_key")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_as("berth", arguments)
    }

    /// Runs the program under another name.
    fn run_as(&self, program: &str, arguments: &[&str]) -> Ended {
        let (mut output, mut notes) = (Vec::new(), Vec::new());
        let mut input = Cursor::new(self.input.clone());
        let context = Context {
            environment: self.environment.iter().cloned().collect(),
            input: &mut input,
            input_is_terminal: self.at_terminal,
            output: Output::new(&mut output, &mut notes),
            clock: Clock::manual(Millis(1_767_225_600_000)),
        };
        let arguments = [program].into_iter().chain(arguments.iter().copied());
        let arguments = arguments.map(OsString::from);
        let code = run(arguments, context);
        Ended {
            code,
            output: String::from_utf8(output).unwrap(),
            notes: String::from_utf8(notes).unwrap(),
        }
    }

    fn saved_path(&self) -> PathBuf {
        self.home.path().join(".config/berth/config.toml")
    }

    fn save(&self, url: &str, workspace: &str) {
        let path = self.saved_path();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text =
            format!("url = \"{url}\"\napi_key = \"berth_saved\"\nworkspace = \"{workspace}\"\n");
        std::fs::write(path, text).unwrap();
    }
}

impl Ended {
    /// The output of a command that succeeded without a note.
    fn succeeded(self) -> String {
        assert_eq!((self.code, self.notes.as_str()), (0, ""), "{}", self.output);
        self.output
    }

    /// The one line of a command that failed.
    fn failed(self) -> String {
        assert_eq!((self.code, self.output.as_str()), (1, ""));
        assert_eq!(self.notes.lines().count(), 1, "{}", self.notes);
        self.notes.trim_end().to_owned()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const WORKSPACE_PRINCIPAL: &str = r#"{"kind":"api_key","id":"k1","role":"admin","workspace":"main","account":"main","accountId":"a1","repositoryPrefix":"t-main/","expiresAt":null}"#;
const OPERATOR_PRINCIPAL: &str = r#"{"kind":"operator","id":"o1","role":"operator","workspace":null,"account":null,"accountId":null,"repositoryPrefix":null,"expiresAt":null}"#;
const CREDENTIAL: &str = r#"{"provider":"builtin","pushRegistry":"127.0.0.1:5000/t-6a1ba868","pullRegistry":"127.0.0.1:5001/t-6a1ba868","pushImage":"127.0.0.1:5000/t-6a1ba868/my-app:v1","pullImage":"127.0.0.1:5001/t-6a1ba868/my-app:v1","username":"t-6a1ba868","password":"eyJhbGciOiJFZERTQSJ9.payload.signature","expiresAt":"2026-01-01T00:00:00Z","credentialId":"c1"}"#;

#[test]
fn every_help_reads_as_it_was_written() {
    fn render(command: &mut clap::Command, path: &str, text: &mut String) {
        text.push_str(&format!("=== {path}\n{}\n", command.render_long_help()));
        let names: Vec<String> = command
            .get_subcommands()
            // The others say the same once more.
            .filter(|command| !command.is_hide_set())
            .map(|command| command.get_name().to_owned())
            .filter(|name| name != "help")
            .collect();
        for name in names {
            let path = format!("{path} {name}");
            let command = command.find_subcommand_mut(&name).unwrap();
            render(command, &path, text);
        }
    }
    let mut text = String::new();
    let mut command = Cli::command();
    command.build();
    render(&mut command, "berth", &mut text);
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest < Some(120), "{longest:?}");
    insta::assert_snapshot!(text);
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn what_is_typed_wrong_ends_with_2() {
    let person = Person::new();
    for arguments in [
        &["frobnicate"][..],
        &["account", "create"],
        &["workspace", "set", "web"],
        &[
            "workspace",
            "create",
            "web",
            "--account",
            "a",
            "--team-id",
            "x",
            "--team-key",
            "y",
        ],
        &["workspace", "set", "web", "--quota", "much"],
        &["api-key", "create", "ci"],
        &["api-key", "create", "ci", "--role", "king"],
        &[
            "api-key",
            "create",
            "ci",
            "--role",
            "admin",
            "--expires-in",
            "1d",
            "--expires-at",
            "x",
        ],
        &["credentials", "revoke"],
        &["credentials", "revoke", "c1", "--all"],
        &["configure-docker", "--remove", "--force"],
        &["image", "push", "my-app:v1"],
        &["image", "push", "-t", "my-app:v1"],
        &["image", "build", "."],
        &["template", "image", "push", "my-app:v1"],
        &["whoami", "-o", "xml"],
        &[],
    ] {
        let ended = person.run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}");
        assert!(
            ended.output.is_empty() && ended.notes.contains("--help"),
            "{arguments:?}"
        );
    }
}

#[test]
fn help_and_version_are_results() {
    let person = Person::new();
    assert!(person.run(&["--help"]).succeeded().contains("Examples:"));
    assert!(person.run(&["-V"]).succeeded().starts_with("berth 0."));
}

#[test]
fn whoami_sends_the_key_and_prints_a_record() {
    let stub = Stub::start([ok(WORKSPACE_PRINCIPAL)]);
    let output = Person::with_key(&stub.url).run(&["whoami"]).succeeded();
    insta::assert_snapshot!(output, @r"
    Kind        api_key
    Id          k1
    Role        admin
    Workspace   main
    Account     main
    Account id  a1
    Prefix      t-main/
    Expires     -
    ");
    let request = stub.request();
    assert_eq!(request.line, "GET /api/v1/whoami HTTP/1.1");
    assert_eq!(request.headers["authorization"], "Bearer berth_key");
    assert!(request.headers["user-agent"].starts_with("berth/"));
    assert!(!request.headers.contains_key("x-workspace"));
}

#[test]
fn json_output_is_what_the_server_answered() {
    let stub = Stub::start([ok(WORKSPACE_PRINCIPAL)]);
    let output = Person::with_key(&stub.url)
        .run(&["whoami", "-o", "json"])
        .succeeded();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&output).unwrap(),
        serde_json::from_str::<serde_json::Value>(WORKSPACE_PRINCIPAL).unwrap()
    );
}

#[test]
fn flags_win_over_variables_and_those_over_the_saved_login() {
    let stub = Stub::start((0..3).map(|_| ok(WORKSPACE_PRINCIPAL)));

    let person = Person::new();
    person.save(&stub.url, "saved");
    person.run(&["whoami"]).succeeded();
    let request = stub.request();
    assert_eq!(request.headers["authorization"], "Bearer berth_saved");
    assert_eq!(request.headers["x-workspace"], "saved");

    let person = person
        .with("BERTH_API_KEY", "berth_variable")
        .with("BERTH_WORKSPACE", "variable");
    person.run(&["whoami"]).succeeded();
    let request = stub.request();
    assert_eq!(request.headers["authorization"], "Bearer berth_variable");
    assert_eq!(request.headers["x-workspace"], "variable");

    person
        .with("BERTH_URL", "http://127.0.0.1:1")
        .run(&[
            "whoami",
            "--url",
            &stub.url,
            "--api-key",
            "berth_flag",
            "--workspace",
            "flag",
        ])
        .succeeded();
    let request = stub.request();
    assert_eq!(request.headers["authorization"], "Bearer berth_flag");
    assert_eq!(request.headers["x-workspace"], "flag");
}

#[test]
fn a_saved_key_goes_to_no_other_server() {
    let stub = Stub::start([]);
    let person = Person::new().with("BERTH_URL", &stub.url);
    person.save("https://registry.example.com", "saved");
    assert!(
        person
            .run(&["whoami"])
            .failed()
            .starts_with("error: no API key: run `berth login`")
    );
}

#[test]
fn a_saved_workspace_goes_with_no_other_key() {
    let stub = Stub::start([ok(WORKSPACE_PRINCIPAL)]);
    let person = Person::new().with("BERTH_API_KEY", "berth_variable");
    person.save(&stub.url, "saved");
    person.run(&["whoami"]).succeeded();
    assert!(!stub.request().headers.contains_key("x-workspace"));
}

#[test]
fn a_refusal_is_one_plain_line_with_the_request_id() {
    let stub = Stub::start([
        refused(
            404,
            "not_found",
            "there is no account \"acme\"\nanywhere\u{1b}[31m",
        ),
        Answer {
            headers: "Retry-After: 7\r\n",
            ..refused(429, "too_many_requests", "slow down")
        },
    ]);
    let person = Person::with_key(&stub.url);
    assert_eq!(
        person.run(&["account", "show", "acme"]).failed(),
        "error: there is no account \"acme\" anywhere [31m (not_found, request request-1)"
    );
    assert_eq!(
        person.run(&["account", "show", "acme"]).failed(),
        "error: slow down (too_many_requests, try again in 7 s)"
    );
}

#[test]
fn what_is_not_berth_is_named() {
    let foreign = |status, body: &str| Answer {
        status,
        headers: "",
        body: body.to_owned(),
    };
    let stub = Stub::start([
        foreign(404, "<html>"),
        foreign(200, "{}"),
        foreign(200, r#"{"success":true,"data":{"rows":[]}}"#),
        foreign(500, r#"{"success":true,"data":{}}"#),
        Answer {
            status: 308,
            headers: "Location: https://registry.example.com/api/v1/accounts\r\n",
            body: String::new(),
        },
    ]);
    let person = Person::with_key(&stub.url);
    for _ in 0..4 {
        let line = person.run(&["account", "ls"]).failed();
        assert!(line.contains("is not Berth's API"), "{line}");
    }
    let line = person.run(&["account", "ls"]).failed();
    assert!(
        line.contains("redirects to https://registry.example.com"),
        "{line}"
    );
}

#[test]
fn an_unreachable_server_is_named() {
    // A port that was just free.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let line = Person::with_key(&url).run(&["whoami"]).failed();
    assert!(
        line.starts_with(&format!("error: cannot reach {url}: ")),
        "{line}"
    );
}

#[test]
fn wrong_urls_are_refused_before_anything_is_sent() {
    for url in [
        "registry.example.com",
        "ftp://registry.example.com",
        "https://user:password@registry.example.com",
        "https://registry.example.com/?x=y",
    ] {
        let line = Person::with_key(url).run(&["whoami"]).failed();
        assert!(line.contains("URL"), "{line}");
        assert!(!line.contains("password@"), "{line}");
    }
}

#[test]
fn names_that_would_change_the_path_are_refused_and_others_are_escaped() {
    let stub = Stub::start([no_content()]);
    let person = Person::with_key(&stub.url);
    for name in ["", ".", ".."] {
        let line = person.run(&["account", "rm", name]).failed();
        assert!(line.contains("is not a name"), "{line}");
    }
    let output = person.run(&["account", "rm", "a/b?c"]).succeeded();
    assert_eq!(output, "Account a/b?c is removed.\n");
    assert_eq!(
        stub.request().line,
        "DELETE /api/v1/accounts/a%2Fb%3Fc HTTP/1.1"
    );
}

#[test]
fn a_url_may_have_a_path() {
    let stub = Stub::start([ok(WORKSPACE_PRINCIPAL)]);
    Person::with_key(&format!("{}/berth/", stub.url))
        .run(&["whoami"])
        .succeeded();
    assert_eq!(stub.request().line, "GET /berth/api/v1/whoami HTTP/1.1");
}

#[test]
fn plain_http_to_another_machine_is_warned_of() {
    for (url, warned) in [
        ("http://registry.example.com:5000", true),
        ("http://10.0.0.1:5000", true),
        ("https://registry.example.com", false),
        ("http://127.0.0.1:5000", false),
        ("http://127.8.0.1:5000", false),
        ("http://[::1]:5000", false),
        ("http://localhost:5000", false),
        ("http://localhost.example.com", true),
    ] {
        let (mut output, mut notes) = (Vec::new(), Vec::new());
        let mut context = Context {
            environment: HashMap::new(),
            input: &mut Cursor::new(""),
            input_is_terminal: false,
            output: Output::new(&mut output, &mut notes),
            clock: Clock::System,
        };
        warn_of_plain_http(&mut context, &url.parse().unwrap()).unwrap();
        assert_eq!(!notes.is_empty(), warned, "{url}");
    }
}

#[test]
fn a_list_is_read_to_its_last_page_and_aligned() {
    let stub = Stub::start([
        ok(
            r#"{"items":[{"id":"1","name":"a","createdAt":"2026-01-01T00:00:00Z"}],"nextCursor":"c/1"}"#,
        ),
        ok(r#"{"items":[{"id":"22","name":"longer"}],"nextCursor":null}"#),
    ]);
    let output = Person::with_key(&stub.url)
        .run(&["account", "ls"])
        .succeeded();
    insta::assert_snapshot!(output, @r"
    NAME    ID  CREATED
    a       1   2026-01-01T00:00:00Z
    longer  22  -
    ");
    assert_eq!(
        stub.request().line,
        "GET /api/v1/accounts?limit=1000 HTTP/1.1"
    );
    assert_eq!(
        stub.request().line,
        "GET /api/v1/accounts?limit=1000&cursor=c%2F1 HTTP/1.1"
    );
}

#[test]
fn an_empty_list_is_a_note_to_people_and_an_array_to_programs() {
    let empty = r#"{"items":[],"nextCursor":null}"#;
    let stub = Stub::start([ok(empty), ok(empty)]);
    let person = Person::with_key(&stub.url);
    let ended = person.run(&["workspace", "ls"]);
    assert_eq!(
        (ended.code, ended.output.as_str(), ended.notes.as_str()),
        (0, "", "No workspaces.\n")
    );
    assert_eq!(
        person.run(&["workspace", "ls", "-o", "json"]).succeeded(),
        "[]\n"
    );
}

#[test]
fn a_workspace_is_created_with_what_was_given_and_changed_by_what_was_given() {
    let workspace = r#"{"id":"w1","name":"web","account":"acme","accountId":"a1","teamKey":"6a1ba868","repositoryPrefix":"t-6a1ba868/","displayName":null,"quotaBytes":1024,"untaggedRetentionDays":null,"createdAt":"2026-01-01T00:00:00Z"}"#;
    let stub = Stub::start([ok(workspace), ok(workspace), ok(workspace)]);
    let person = Person::with_key(&stub.url);
    let output = person
        .run(&[
            "workspace",
            "create",
            "web",
            "--account",
            "acme",
            "--team-id",
            "team-123",
            "--quota",
            "1KiB",
        ])
        .succeeded();
    assert!(
        output.contains("Prefix               t-6a1ba868/"),
        "{output}"
    );
    let request = stub.request();
    assert_eq!(request.line, "POST /api/v1/workspaces HTTP/1.1");
    assert_eq!(
        request.body,
        r#"{"account":"acme","name":"web","quotaBytes":1024,"teamId":"team-123"}"#
    );

    person
        .run(&[
            "workspace",
            "set",
            "web",
            "--quota",
            "none",
            "--untagged-retention",
            "keep",
        ])
        .succeeded();
    let request = stub.request();
    assert_eq!(request.line, "PATCH /api/v1/workspaces/web HTTP/1.1");
    assert_eq!(
        request.body,
        r#"{"quotaBytes":null,"untaggedRetentionDays":null}"#
    );

    person
        .run(&["workspace", "set", "web", "--display-name", ""])
        .succeeded();
    assert_eq!(stub.request().body, r#"{"displayName":""}"#);
}

#[test]
fn an_api_key_is_made_in_the_keys_own_workspace_and_shown() {
    let key = r#"{"id":"k2","name":"ci","role":"builder","repositories":["team/*"],"actions":["push"],"expiresAt":"2026-04-01T00:00:00Z","key":"berth_new_secret"}"#;
    let stub = Stub::start([ok(WORKSPACE_PRINCIPAL), ok(key)]);
    let ended = Person::with_key(&stub.url).run(&[
        "api-key",
        "create",
        "ci",
        "--role",
        "builder",
        "--repository",
        "team/*",
        "--actions",
        "push",
        "--expires-in",
        "90d",
    ]);
    assert_eq!(ended.code, 0, "{}", ended.notes);
    assert!(
        ended.output.contains("Key           berth_new_secret"),
        "{}",
        ended.output
    );
    assert_eq!(ended.notes, "The key is shown this once.\n");
    stub.request();
    let request = stub.request();
    assert_eq!(
        request.line,
        "POST /api/v1/workspaces/main/api-keys HTTP/1.1"
    );
    assert_eq!(
        request.body,
        r#"{"actions":["push"],"expiresAt":"2026-04-01T00:00:00Z","name":"ci","repositories":["team/*"],"role":"builder"}"#
    );
}

#[test]
fn an_operator_names_the_workspace() {
    let stub = Stub::start([
        ok(OPERATOR_PRINCIPAL),
        ok(r#"{"items":[],"nextCursor":null}"#),
    ]);
    let person = Person::with_key(&stub.url);
    assert!(
        person
            .run(&["api-key", "ls"])
            .failed()
            .contains("name one with --workspace")
    );
    stub.request();
    assert_eq!(person.run(&["api-key", "ls", "--workspace", "web"]).code, 0);
    let request = stub.request();
    assert_eq!(
        request.line,
        "GET /api/v1/workspaces/web/api-keys?limit=1000 HTTP/1.1"
    );
    assert_eq!(request.headers["x-workspace"], "web");
}

#[test]
fn a_table_masks_the_password_and_json_has_it() {
    let stub = Stub::start([ok(CREDENTIAL), ok(CREDENTIAL)]);
    let person = Person::with_key(&stub.url);
    let output = person
        .run(&[
            "credentials",
            "-t",
            "my-app:v1",
            "--actions",
            "pull,push",
            "--expires-in",
            "30m",
        ])
        .succeeded();
    insta::assert_snapshot!(output, @r"
    Push registry  127.0.0.1:5000/t-6a1ba868
    Pull registry  127.0.0.1:5001/t-6a1ba868
    Push image     127.0.0.1:5000/t-6a1ba868/my-app:v1
    Pull image     127.0.0.1:5001/t-6a1ba868/my-app:v1
    Username       t-6a1ba868
    Password       eyJ********ure
    Expires        2026-01-01T00:00:00Z
    Id             c1
    ");
    let request = stub.request();
    assert_eq!(request.line, "POST /api/v1/registry/credentials HTTP/1.1");
    assert_eq!(
        request.body,
        r#"{"actions":["pull","push"],"expiresInSeconds":1800,"targetImage":"my-app:v1"}"#
    );

    let output = person.run(&["credentials", "-o", "json"]).succeeded();
    assert!(output.contains("\"password\": \"eyJhbGciOiJFZERTQSJ9.payload.signature\""));
    assert_eq!(stub.request().body, "{}");
}

#[test]
fn docker_is_logged_in_by_standard_input() {
    let stub = Stub::start([ok(CREDENTIAL), ok(CREDENTIAL)]);
    let tools = TempDir::new().unwrap();
    let script = |name: &str, text: &str| {
        let path = tools.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let log = tools.path().join("log");
    let docker = script(
        "docker",
        &format!(
            "#!/bin/sh\n{{ echo \"$@\"; cat; }} > {}\necho Login Succeeded\n",
            log.display()
        ),
    );
    let ended = Person::with_key(&stub.url)
        .with("DOCKER", &docker)
        .run(&["credentials", "--docker-login"]);
    assert_eq!(ended.code, 0, "{}", ended.notes);
    assert_eq!(ended.notes, "docker is logged in to 127.0.0.1:5000.\n");
    assert_eq!(
        std::fs::read_to_string(&log).unwrap(),
        "login --username t-6a1ba868 --password-stdin 127.0.0.1:5000\n\
         eyJhbGciOiJFZERTQSJ9.payload.signature"
    );

    let failing = script("failing", "#!/bin/sh\nexit 3\n");
    let line = Person::with_key(&stub.url)
        .with("DOCKER", &failing)
        .run(&["credentials", "--docker-login"])
        .failed();
    assert!(line.starts_with("error: docker login failed"), "{line}");
}

#[test]
fn credentials_are_revoked_by_id_by_key_or_all() {
    let stub = Stub::start([no_content(), no_content(), no_content()]);
    let person = Person::with_key(&stub.url);
    for (arguments, body) in [
        (&["c1"][..], r#"{"credentialId":"c1"}"#),
        (&["--key-id", "k1"], r#"{"apiKeyId":"k1"}"#),
        (&["--all"], r#"{"all":true}"#),
    ] {
        let output = person
            .run(&[&["credentials", "revoke"], arguments].concat())
            .succeeded();
        assert!(output.contains("revoked"));
        let request = stub.request();
        assert_eq!(
            request.line,
            "POST /api/v1/registry/credentials/revoke HTTP/1.1"
        );
        assert_eq!(request.body, body);
    }
}

#[test]
fn a_login_is_checked_and_saved_for_its_owner_alone() {
    let stub = Stub::start([ok(WORKSPACE_PRINCIPAL), ok(WORKSPACE_PRINCIPAL)]);
    let mut person = Person::new();
    person.input = String::from("  berth_typed\nrest\n");
    let output = person
        .run(&["login", "--url", &stub.url, "--api-key-stdin"])
        .succeeded();
    assert_eq!(
        output,
        format!(
            "Logged in to {} as admin in workspace main; saved in {}.\n",
            stub.url,
            person.saved_path().display()
        )
    );
    assert_eq!(
        stub.request().headers["authorization"],
        "Bearer berth_typed"
    );
    assert_eq!(mode(&person.saved_path()), 0o600);
    assert_eq!(mode(person.saved_path().parent().unwrap()), 0o700);

    person.run(&["whoami"]).succeeded();
    let request = stub.request();
    assert_eq!(request.headers["authorization"], "Bearer berth_typed");
    assert_eq!(request.headers["x-workspace"], "main");

    assert!(
        person
            .run(&["logout"])
            .succeeded()
            .starts_with("Logged out")
    );
    assert!(!person.saved_path().exists());
    let again = person.run(&["logout"]);
    assert_eq!(
        (again.code, again.notes.as_str()),
        (0, "Nobody is logged in.\n")
    );
}

#[test]
fn a_login_over_an_open_file_closes_it() {
    let stub = Stub::start([ok(WORKSPACE_PRINCIPAL)]);
    let person = Person::new();
    person.save("https://other.example.com", "other");
    std::fs::set_permissions(person.saved_path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    person
        .run(&["login", "--url", &stub.url, "--api-key", "berth_flag"])
        .succeeded();
    assert_eq!(mode(&person.saved_path()), 0o600);
    let text = std::fs::read_to_string(person.saved_path()).unwrap();
    assert!(
        text.contains("berth_flag") && !text.contains("other"),
        "{text}"
    );
}

#[test]
fn a_refused_login_saves_nothing() {
    let stub = Stub::start([
        refused(401, "unauthorized", "the API key is not valid"),
        ok(WORKSPACE_PRINCIPAL),
        ok(OPERATOR_PRINCIPAL),
        refused(404, "not_found", "there is no such workspace"),
    ]);
    let person = Person::new().with("BERTH_URL", &stub.url);
    let login = |extra: &[&str]| {
        let arguments = [&["login", "--api-key", "berth_flag"], extra].concat();
        let line = person.run(&arguments).failed();
        assert!(!person.saved_path().exists());
        line
    };
    assert!(login(&[]).contains("the API key is not valid (unauthorized"));
    assert!(login(&["--workspace", "web"]).contains("belongs to workspace main, not to web"));
    assert!(login(&["--workspace", "web"]).contains("no such workspace"));
}

#[test]
fn a_login_without_a_key_or_a_terminal_says_how() {
    let mut person = Person::new();
    assert!(person.run(&["login"]).failed().contains("--api-key-stdin"));
    person.input = String::from("\n");
    assert!(
        person
            .run(&["login", "--api-key-stdin"])
            .failed()
            .contains("the API key is empty")
    );
}

#[test]
fn a_broken_saved_login_is_named_and_not_shown() {
    let person = Person::new();
    person.save("x", "y");
    std::fs::write(person.saved_path(), "api_key = \"berth_secret\nurl").unwrap();
    let line = person.run(&["whoami"]).failed();
    assert!(line.contains("is not a saved login"), "{line}");
    assert!(!line.contains("berth_secret"), "{line}");
}

#[test]
fn config_check_prints_what_is_in_effect_or_each_error() {
    let person = Person::new().with("BERTH_SERVER__DRAIN_SECONDS", "5");
    let output = person.run(&["config", "check"]).succeeded();
    assert!(output.contains("drain_seconds = 5\n"));

    let person = person
        .with("BERTH_LIMITS__UPLOAD_IDLE_SECONDS", "0")
        .with("BERTH_AUTH__ACCESS_TOKEN_SECONDS", "1");
    let ended = person.run(&["config", "check"]);
    assert_eq!((ended.code, ended.output.as_str()), (1, ""));
    insta::assert_snapshot!(ended.notes, @r"
    error: limits.upload_idle_seconds is 0, but must be from 60 to 2592000
    error: auth.access_token_seconds is 1, but must be from 60 to 3600
    ");

    let filter = Person::new().with("BERTH_LOG__FILTER", "berth=loud");
    assert!(
        filter
            .run(&["config", "check"])
            .failed()
            .starts_with("error: log.filter is")
    );
    let file = Person::new().run(&["config", "check", "--config", "/nowhere/berth.toml"]);
    assert!(
        file.failed()
            .starts_with("error: cannot read /nowhere/berth.toml")
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (mut closed, mut notes) = (Closed, Vec::new());
    let context = Context {
        environment: HashMap::new(),
        input: &mut Cursor::new(""),
        input_is_terminal: false,
        output: Output::new(&mut closed, &mut notes),
        clock: Clock::System,
    };
    run(["berth", "config", "check"].map(OsString::from), context);
    assert!(notes.is_empty());
}

#[test]
fn short_secrets_are_masked_whole() {
    assert_eq!(masked("0123456789abcde"), "********");
    assert_eq!(masked("0123456789abcdef"), "012********def");
    assert_eq!(masked("äöü3456789abcüöä"), "äöü********üöä");
    assert_eq!(plain("a\u{1b}[31m\r\nb"), "a [31m  b");
}

/// The address of `stub`, as the ops door's setting has it.
fn address_of(stub: &Stub) -> &str {
    stub.url.strip_prefix("http://").unwrap()
}

#[test]
fn health_asks_the_ops_door_and_says_what_it_answered() {
    let answers = [
        (200, "ready\n"),
        (503, "not ready: the storage\n"),
        (204, ""),
        (301, "elsewhere"),
        (404, &"x".repeat(5000)),
    ];
    let stub = Stub::start(answers.map(|(status, body)| Answer {
        status,
        headers: "Location: http://127.0.0.1:1/\r\n",
        body: body.to_owned(),
    }));
    let person = Person::new().with("BERTH_SERVER__OPS_LISTEN", address_of(&stub));
    assert_eq!(person.run(&["health"]).succeeded(), "ready\n");
    assert_eq!(stub.request().line, "GET /readyz HTTP/1.1");
    assert_eq!(
        person.run(&["health"]).failed(),
        format!(
            "error: {} answered 503 Service Unavailable: not ready: the storage",
            address_of(&stub)
        )
    );
    for status in ["204", "301"] {
        assert!(person.run(&["health"]).failed().contains(status));
    }
    assert!(person.run(&["health"]).failed().len() < 1200);
}

#[test]
fn health_finds_the_door_as_the_server_does() {
    let ready = || Answer {
        status: 200,
        headers: "",
        body: String::from("ready\n"),
    };
    let stub = Stub::start([ready(), ready()]);
    let port = address_of(&stub).rsplit_once(':').unwrap().1;
    let person = Person::new().with("BERTH_SERVER__OPS_LISTEN", "127.0.0.1:1");
    assert_eq!(
        person.run(&["health"]).failed(),
        "error: cannot reach 127.0.0.1:1: Connection refused (os error 111)"
    );
    // Every interface is one that no client can connect to; this machine's own is meant.
    let everywhere = format!("0.0.0.0:{port}");
    person
        .run(&["health", "--ops-listen", &everywhere])
        .succeeded();
    let file = person.home.path().join("berth.toml");
    std::fs::write(
        &file,
        format!("[server]\nops_listen = \"{}\"\n", address_of(&stub)),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    Person::new().run(&["health", "--config", file]).succeeded();
    assert!(
        Person::new()
            .run(&["health", "--ops-listen", "here"])
            .failed()
            .contains("ops")
    );
}

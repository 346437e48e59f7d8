//! The program under the name by which docker asks for passwords.

use super::*;

const PROGRAM: &str = "/usr/local/bin/docker-credential-berth";
const NOT_FOUND: &str = "credentials not found in native keychain\n";

/// The answer of a server whose registry has these hosts.
fn credential(push: &str, pull: &str) -> Answer {
    ok(&format!(
        r#"{{"pushRegistry":"{push}/t-main","pullRegistry":"{pull}/t-main","username":"t-main","password":"a.b.c"}}"#
    ))
}

impl Person {
    fn says(mut self, input: &str) -> Self {
        self.input = input.to_owned();
        self
    }

    /// Knows what `berth configure-docker` was told by the server at `url`.
    fn knows(self, url: &str, hosts: &[&str]) -> Self {
        let path = self.saved_path().with_file_name("registries.toml");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text =
            format!("[[server]]\nurl = \"{url}\"\nhosts = {hosts:?}\nusername = \"t-main\"\n");
        std::fs::write(path, text).unwrap();
        self
    }

    fn helper(&self, action: &str) -> Ended {
        self.run_as(PROGRAM, &[action])
    }
}

impl Ended {
    /// The one line that a client and a person are told.
    #[track_caller]
    fn refused(self) -> String {
        assert_eq!((self.code, self.output.lines().count()), (1, 1), "{self:?}");
        assert_eq!(
            self.notes,
            format!("docker-credential-berth: {}", self.output)
        );
        self.output.trim_end().to_owned()
    }
}

#[test]
fn docker_gets_a_fresh_credential_for_the_host_of_the_login() {
    for (before, after) in [("", ""), ("", "\n"), ("https://", ""), ("http://", "/v2/")] {
        // The host that the key goes to anyway may have the credential, whatever the registry calls itself.
        let stub = Stub::start([credential("registry.example.com", "pull.example.com")]);
        let asked = format!("{before}{}{after}", address_of(&stub));
        let person = Person::with_key(&stub.url).says(&asked);
        let answer = person.helper("get").succeeded();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            answer,
            serde_json::json!({"ServerURL": asked.trim(), "Username": "t-main", "Secret": "a.b.c"})
        );
        let request = stub.request();
        assert_eq!(request.line, "POST /api/v1/registry/credentials HTTP/1.1");
        assert_eq!(request.headers["authorization"], "Bearer berth_key");
        assert_eq!(request.body, "{}");
    }
}

#[test]
fn the_hosts_that_the_server_named_are_answered_with_the_saved_login() {
    let hosts = ["registry.example.com", "pull.example.com:8443"];
    let stub = Stub::start(hosts.map(|_| credential(hosts[0], hosts[1])));
    let mut person = Person::new().knows(&stub.url, &hosts);
    person.save(&stub.url, "main");
    for host in ["registry.example.com", "PULL.example.com:8443"] {
        person.input = String::from(host);
        let answer = person.helper("get").succeeded();
        assert!(answer.contains(r#""Secret":"a.b.c""#), "{answer}");
        assert_eq!(
            stub.request().headers["authorization"],
            "Bearer berth_saved"
        );
    }
}

#[test]
fn a_foreign_host_is_not_found_and_nobody_is_asked() {
    // Nothing listens there: a request would be an error of another kind.
    let person = Person::with_key("http://127.0.0.1:1").says("ghcr.io");
    let person = person.knows("http://127.0.0.1:1", &["registry.example.com"]);
    let ended = person.helper("get");
    assert_eq!(
        (ended.code, &*ended.output, &*ended.notes),
        (1, NOT_FOUND, "")
    );
    let nobody = Person::new().says("127.0.0.1:5000");
    let ended = nobody.helper("get");
    assert_eq!((ended.code, &*ended.output), (1, NOT_FOUND));
}

#[test]
fn a_registry_of_another_server_is_named() {
    let person = Person::with_key("http://127.0.0.1:1").says("registry.example.com");
    let person = person.knows("https://api.example.com", &["registry.example.com"]);
    assert_eq!(
        person.helper("get").refused(),
        "registry.example.com is the registry of https://api.example.com, where nobody is logged in now: run `berth \
         login --url https://api.example.com`"
    );
}

#[test]
fn a_host_that_the_server_no_longer_names_gets_nothing() {
    let stub = Stub::start([credential("new.example.com", "new.example.com")]);
    let person = Person::with_key(&stub.url).says("old.example.com");
    let person = person.knows(&stub.url, &["old.example.com"]);
    let line = person.helper("get").refused();
    assert_eq!(
        line,
        format!(
            "old.example.com is no longer a registry of {}: run `berth configure-docker` again",
            stub.url
        )
    );
}

#[test]
fn what_keeps_docker_out_is_one_plain_line() {
    let stub = Stub::start([refused(401, "unauthorized", "the API key has\nexpired")]);
    let person = Person::with_key(&stub.url).says(address_of(&stub));
    assert_eq!(
        person.helper("get").refused(),
        "the API key has expired (unauthorized, request request-1): run `berth login`, or set BERTH_API_KEY anew"
    );
    let person = Person::with_key("http://127.0.0.1:1").says("127.0.0.1:1");
    let line = person.helper("get").refused();
    assert!(
        line.starts_with("cannot reach http://127.0.0.1:1: "),
        "{line}"
    );
    let person = Person::new().says("registry.example.com");
    let person = person.knows("http://127.0.0.1:5000", &["registry.example.com"]);
    assert_eq!(
        person.helper("get").refused(),
        "nobody is logged in to http://127.0.0.1:5000: run `berth login`, or set BERTH_API_KEY"
    );
}

#[test]
fn nothing_is_stored_and_that_is_said() {
    let login = r#"{"ServerURL":"registry.example.com","Username":"me","Secret":"berth_secret"}"#;
    let line = Person::new().says(login).helper("store").refused();
    assert!(
        line.starts_with("nothing is stored for registry.example.com: "),
        "{line}"
    );
    assert!(
        line.contains("berth configure-docker --remove") && !line.contains("berth_secret"),
        "{line}"
    );
    for (login, told) in [
        (
            r#"{"ServerURL":"","Username":"me","Secret":"s"}"#,
            "no credentials server URL\n",
        ),
        (
            r#"{"ServerURL":"r","Username":"","Secret":"s"}"#,
            "no credentials username\n",
        ),
    ] {
        let ended = Person::new().says(login).helper("store");
        assert_eq!((ended.code, &*ended.output, &*ended.notes), (1, told, ""));
    }
    let line = Person::new().says("berth_secret").helper("store").refused();
    assert!(!line.contains("berth_secret"), "{line}");
}

#[test]
fn an_end_of_a_login_succeeds_and_says_who_is_let_in_still() {
    let ended = Person::new().says("registry.example.com").helper("erase");
    assert_eq!((ended.code, &*ended.output), (0, ""));
    assert!(ended.notes.contains("`berth logout`"), "{}", ended.notes);
}

#[test]
fn the_hosts_are_listed_with_their_user_name() {
    let person = Person::with_key("https://api.example.com").says("unused");
    assert_eq!(
        person.helper("list").succeeded(),
        "{\"api.example.com\":\"berth\"}\n"
    );
    let person = person.knows(
        "https://api.example.com",
        &["r.example.com", "p.example.com"],
    );
    assert_eq!(
        person.helper("list").succeeded(),
        "{\"api.example.com\":\"berth\",\"p.example.com\":\"t-main\",\"r.example.com\":\"t-main\"}\n"
    );
    assert_eq!(Person::new().helper("list").succeeded(), "{}\n");
}

#[test]
fn the_rest_of_the_protocol_is_word_for_word() {
    let person = Person::new();
    for action in ["get", "erase"] {
        let ended = person.helper(action);
        assert_eq!(
            (ended.code, &*ended.output, &*ended.notes),
            (1, "no credentials server URL\n", "")
        );
    }
    for arguments in [&[][..], &["get", "it"], &["frobnicate"]] {
        let ended = person.run_as(PROGRAM, arguments);
        assert_eq!(
            (ended.code, &*ended.output),
            (
                1,
                "Usage: docker-credential-berth <store|get|erase|list|version>\n"
            )
        );
    }
    let version = person.helper("version").succeeded();
    assert!(
        version.starts_with("docker-credential-berth (berth) 0."),
        "{version}"
    );
}

//! `berth configure-docker`: what it changes in docker's files, and what it leaves alone.

use std::os::unix::fs::symlink;

use super::*;

/// As docker writes it, with a login elsewhere.
const CONFIG: &str = "{\n\t\"auths\": {\n\t\t\"ghcr.io\": {\n\t\t\t\"auth\": \"c2VjcmV0\"\n\t\t}\n\t},\n\t\"credsStore\": \"pass\",\n\t\"psFormat\": \"{{.ID}}\"\n}";

const HOSTS: &str = r#"{"pushRegistry":"push.example.com/t-main","pullRegistry":"pull.example.com/t-main","username":"t-main","password":"p"}"#;

impl Person {
    /// A person who may set docker up, at a server that is asked `times`.
    fn at_docker(times: usize) -> (Stub, Self) {
        let stub = Stub::start(std::iter::repeat_n(ok(HOSTS), times));
        let person = Self::with_key(&stub.url);
        let folder = person.bin_folder();
        std::fs::create_dir(&folder).unwrap();
        let search = folder.display().to_string();
        let runtime = person.home.path().display().to_string();
        let person = person
            .with("PATH", &search)
            .with("XDG_RUNTIME_DIR", &runtime);
        (stub, person)
    }

    fn bin_folder(&self) -> PathBuf {
        self.home.path().join("bin")
    }

    fn link(&self) -> PathBuf {
        self.bin_folder().join("docker-credential-berth")
    }

    fn docker_config(&self) -> PathBuf {
        self.home.path().join(".docker/config.json")
    }

    fn writes(&self, text: &str) -> PathBuf {
        let path = self.docker_config();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs the command with the link in a folder of this person's own.
    fn configures(&self, options: &[&str]) -> Ended {
        let folder = self.bin_folder().display().to_string();
        let folder: &[&str] = match options.contains(&"--remove") {
            true => &[],
            false => &["--bin-dir", &folder],
        };
        self.run(&[&["configure-docker"], folder, options].concat())
    }

    /// What was printed, with names that are the same everywhere.
    fn seen(&self, output: &str) -> String {
        let program = std::env::current_exe().unwrap();
        let home = self.home.path().display().to_string();
        // The columns are as wide as the real names.
        let spare = " ".repeat(home.len() - "HOME".len());
        output
            .replace(&program.display().to_string(), "BERTH")
            .replace(&home, "HOME")
            .replace(&format!("{spare}  HOST"), "  HOST")
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn docker_is_set_up_and_the_rest_of_its_file_stays() {
    let (stub, person) = Person::at_docker(2);
    let path = person.writes(CONFIG);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let output = person.configures(&[]).succeeded();
    insta::assert_snapshot!(person.seen(&output), @r"
    FILE                      HOST              HELPER BEFORE  AFTER
    HOME/.docker/config.json  push.example.com  -              berth
    HOME/.docker/config.json  pull.example.com  -              berth
    HOME/bin/docker-credential-berth -> BERTH
    docker gets a short-lived credential for push.example.com and pull.example.com each time; nothing is stored.
    ");
    let added = ",\n\t\"credHelpers\": {\n\t\t\"push.example.com\": \"berth\",\n\t\t\"pull.example.com\": \"berth\"\n\t}\n}";
    assert_eq!(
        read(&path),
        format!("{}{added}", CONFIG.trim_end_matches("\n}"))
    );
    assert_eq!(mode(&path), 0o640);
    assert_eq!(
        std::fs::read_link(person.link()).unwrap(),
        std::env::current_exe().unwrap()
    );
    // The shortest credential there is: it was asked for only to learn the hosts.
    assert_eq!(stub.request().body, r#"{"expiresInSeconds":60}"#);

    let known = person.saved_path().with_file_name("registries.toml");
    assert_eq!(mode(&known), 0o600);
    assert!(read(&known).contains("pull.example.com"));
    let output = person.configures(&[]).succeeded();
    assert_eq!(output, "There was nothing to change.\n");

    let output = person.configures(&["--remove"]).succeeded();
    insta::assert_snapshot!(person.seen(&output), @r"
    FILE                      HOST              HELPER BEFORE  AFTER
    HOME/.docker/config.json  push.example.com  berth          -
    HOME/.docker/config.json  pull.example.com  berth          -
    docker no longer asks docker-credential-berth; the link stays where it is.
    ");
    assert_eq!(read(&path), CONFIG);
    assert_eq!(mode(&path), 0o640);
}

#[test]
fn files_that_are_not_there_are_made_for_their_owner() {
    let (_stub, person) = Person::at_docker(1);
    let auth_file = person.home.path().join("podman/auth.json");
    let auth_file = auth_file.display().to_string();
    person.configures(&["--auth-file", &auth_file]).succeeded();
    for path in [&person.docker_config(), Path::new(&auth_file)] {
        assert!(read(path).contains("\"push.example.com\": \"berth\""));
        assert_eq!(mode(path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
    let person = person.with("REGISTRY_AUTH_FILE", &auth_file);
    let output = person.configures(&["--remove"]).succeeded();
    assert!(output.contains("podman/auth.json"), "{output}");
    assert_eq!(read(Path::new(&auth_file)), "{}");
}

#[test]
fn a_link_is_followed_and_stays_one() {
    let (_stub, person) = Person::at_docker(1);
    let (real, path) = (
        person.home.path().join("dotfiles.json"),
        person.docker_config(),
    );
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::write(&real, " {}\n").unwrap();
    symlink("../dotfiles.json", &path).unwrap();
    person.configures(&[]).succeeded();
    assert_eq!(
        std::fs::read_link(&path).unwrap(),
        Path::new("../dotfiles.json")
    );
    assert!(read(&real).starts_with(" {\n\t\"credHelpers\": {\n"));
    assert!(read(&real).ends_with("}\n}\n"));
}

/// Runs the command on a file of this text, and asserts that it is refused and that nothing has changed.
#[track_caller]
fn refused_for(text: &str, options: &[&str]) -> String {
    let (_stub, person) = Person::at_docker(1);
    let path = person.writes(text);
    let line = person.configures(options).failed();
    assert_eq!(read(&path), text);
    let left = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "something is left beside the file");
    assert_eq!(std::fs::read_dir(person.bin_folder()).unwrap().count(), 0);
    assert!(
        !person
            .saved_path()
            .with_file_name("registries.toml")
            .exists()
    );
    person.seen(&line)
}

#[test]
fn a_refusal_changes_nothing() {
    let other = r#"{"credHelpers": {"a.example.com":"pass", "pull.example.com": "ecr-login"}}"#;
    assert_eq!(
        refused_for(other, &[]),
        "error: HOME/.docker/config.json has the helper ecr-login for pull.example.com already; nothing was changed \
         (--force replaces it)"
    );
    for (text, words) in [
        (
            "{\"auths\": \"secret\",}",
            "it is no JSON object (line 1, column 20)",
        ),
        ("\"secret\"", "it is no JSON object"),
        (
            "{\"credHelpers\": \"secret\"}",
            "credHelpers is no JSON object",
        ),
        (
            "{\"credHelpers\": {}, \"credHelpers\": {}}",
            "has credHelpers twice",
        ),
        (
            "{\"credHelpers\": {\"push.example.com\": 7}}",
            "has the helper 7 for push.example.com",
        ),
    ] {
        for options in [&[][..], &["--dry-run"]] {
            let line = refused_for(text, options);
            assert!(
                line.contains(words) && line.contains("nothing was changed"),
                "{line}"
            );
            assert!(!line.contains("secret"), "{line}");
        }
    }
}

#[test]
fn another_helper_gives_way_to_force_and_those_of_other_hosts_stay() {
    let (_stub, person) = Person::at_docker(1);
    let path =
        person.writes(r#"{"credHelpers":{"a.example.com":"pass","pull.example.com":"ecr-login"}}"#);
    let output = person.configures(&["--force"]).succeeded();
    assert!(output.contains("ecr-login      berth"), "{output}");
    assert_eq!(
        read(&path),
        r#"{"credHelpers":{"a.example.com":"pass","pull.example.com":"berth","push.example.com":"berth"}}"#
    );
    person.configures(&["--remove"]).succeeded();
    assert_eq!(read(&path), r#"{"credHelpers":{"a.example.com":"pass"}}"#);
}

#[test]
fn a_dry_run_shows_all_and_changes_nothing() {
    let (_stub, person) = Person::at_docker(2);
    let path = person.writes(CONFIG);
    let output = person.configures(&["--dry-run"]).succeeded();
    insta::assert_snapshot!(person.seen(&output), @r"
    FILE                      HOST              HELPER BEFORE  AFTER
    HOME/.docker/config.json  push.example.com  -              berth
    HOME/.docker/config.json  pull.example.com  -              berth
    HOME/bin/docker-credential-berth -> BERTH
    This was a dry run: nothing has changed.
    ");
    let output = person.configures(&["--dry-run", "-o", "json"]).succeeded();
    insta::assert_snapshot!(person.seen(&output), @r#"
    {
      "changes": [
        {
          "after": "berth",
          "before": null,
          "file": "HOME/.docker/config.json",
          "host": "push.example.com"
        },
        {
          "after": "berth",
          "before": null,
          "file": "HOME/.docker/config.json",
          "host": "pull.example.com"
        }
      ],
      "dryRun": true,
      "link": {
        "path": "HOME/bin/docker-credential-berth",
        "program": "BERTH"
      },
      "notes": []
    }
    "#);
    assert_eq!(read(&path), CONFIG);
    assert!(!person.link().exists());
    assert!(
        !person
            .saved_path()
            .with_file_name("registries.toml")
            .exists()
    );
}

#[test]
fn what_would_come_before_the_helper_is_named() {
    let (_stub, person) = Person::at_docker(1);
    let login = r#"{"auths":{"push.example.com":{"auth":"c2VjcmV0"},"pull.example.com":{}}}"#;
    person.writes(login);
    std::fs::create_dir(person.home.path().join("containers")).unwrap();
    std::fs::write(person.home.path().join("containers/auth.json"), login).unwrap();
    let person = person.with("DOCKER_AUTH_CONFIG", login);
    let ended = person.configures(&[]);
    assert_eq!(ended.code, 0);
    insta::assert_snapshot!(person.seen(&ended.notes), @r"
    note: DOCKER_AUTH_CONFIG has a password for push.example.com, which docker takes before it asks the helper
    note: HOME/.docker/config.json still has a password for push.example.com in auths, which is no longer used: take it out
    note: podman has a password for push.example.com in HOME/containers/auth.json, which it prefers: `podman logout push.example.com`
    ");
}

#[test]
fn the_link_has_to_be_where_docker_looks() {
    // The folder of the tests is not on this person's PATH.
    let (_stub, person) = Person::at_docker(3);
    let line = person.run(&["configure-docker"]).failed();
    assert!(
        line.contains("is not on it: name a folder on PATH"),
        "{line}"
    );
    assert!(!person.docker_config().exists());

    std::fs::write(person.link(), "another program").unwrap();
    let line = person.configures(&[]).failed();
    assert!(
        line.contains("is there already and is another program"),
        "{line}"
    );
    assert!(!person.docker_config().exists());
    person.configures(&["--force"]).succeeded();
    assert!(person.link().is_symlink());
}

#[test]
fn a_link_that_docker_would_not_find_is_refused_or_told() {
    let (_stub, person) = Person::at_docker(2);
    let first = person.home.path().join("first");
    std::fs::create_dir(&first).unwrap();
    let folder = first.display().to_string();
    let ended = person.run(&["configure-docker", "--dry-run", "--bin-dir", &folder]);
    let note = person.seen(&ended.notes);
    assert_eq!(
        note,
        "note: HOME/first is not on PATH: docker finds docker-credential-berth when it is\n"
    );
    std::fs::write(first.join("docker-credential-berth"), "another program").unwrap();
    let search = format!("{folder}:{}", person.bin_folder().display());
    let line = person.with("PATH", &search).configures(&[]).failed();
    assert!(
        line.contains("comes first on PATH and is another program"),
        "{line}"
    );
}

#[test]
fn where_the_link_cannot_be_made_nothing_is_changed() {
    let (_stub, person) = Person::at_docker(1);
    let line = person
        .run(&["configure-docker", "--bin-dir", "/proc/self"])
        .failed();
    assert!(
        line.starts_with("error: cannot make a link in /proc/self: "),
        "{line}"
    );
    assert!(!person.docker_config().exists());
}

#[test]
fn a_key_that_the_server_refuses_changes_nothing() {
    let stub = Stub::start([refused(401, "unauthorized", "the API key has been deleted")]);
    let person = Person::with_key(&stub.url);
    let line = person.configures(&[]).failed();
    assert!(
        line.starts_with("error: the API key has been deleted"),
        "{line}"
    );
    assert!(!person.docker_config().exists());
}

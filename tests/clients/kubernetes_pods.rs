//! The pods of the Kubernetes manifests without a cluster: their commands with their settings, as processes of this
//! machine and in a container with the rights that they have.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use libtest_mimic::Trial;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client as _;
use crate::container::{Container, HARDENED, IMAGE, built};
use crate::database::TestDatabase;
use crate::docker::Docker;
use crate::fact;
use crate::http::{self, Caller};
use crate::manifests::{
    BASE, Manifests, PAGE, REPLICAS, all, command_of_page, example, kubectl, list, number, text,
};
use crate::process::{self, Daemon, Outcome};
use crate::server::{address_of, binary, ready_lines};

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact("kubernetes::settings_are_accepted", settings_are_accepted),
        fact("kubernetes::probes_are_answered", probes_are_answered),
        fact(
            "kubernetes::replicas_migrate_before_they_serve",
            replicas_migrate,
        ),
        fact(
            "kubernetes::a_container_starts_with_the_rights_of_the_pod",
            container_starts,
        ),
    ]
}

/// Ports that other tests have not, in the place of those of the settings.
const ON_FREE_PORTS: [&str; 6] = [
    "--listen",
    "127.0.0.1:0",
    "--pull-listen",
    "127.0.0.1:0",
    "--ops-listen",
    "127.0.0.1:0",
];

/// Each secret by its name among the variables of a stack, and in the Secret.
const SECRETS: [(&str, &str); 4] = [
    ("BERTH_DATABASE__URL", "database-url"),
    ("BERTH_AUTH__KEY_WRAPPING_SECRET", "key-wrapping-secret"),
    ("BERTH_STORAGE__S3__ACCESS_KEY_ID", "s3-access-key-id"),
    (
        "BERTH_STORAGE__S3__SECRET_ACCESS_KEY",
        "s3-secret-access-key",
    ),
];

/// A pod whose volumes are folders of this machine.
struct Pod<'m> {
    manifests: &'m Manifests,
    folder: TempDir,
}

impl<'m> Pod<'m> {
    /// One whose volumes hold what the cluster would put into them, but for Secrets.
    fn new(manifests: &'m Manifests) -> Self {
        let folder = process::folder("pod");
        for volume in list(&manifests.pod()["volumes"]) {
            let path = folder.path().join(text(&volume["name"]));
            fs::create_dir(path).expect("a folder is made");
        }
        let pod = Self { manifests, folder };
        for (name, content) in manifests.settings() {
            pod.write("configuration", name, &pod.here(text(content)));
        }
        pod
    }

    fn volume(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, volume: &str, name: &str, content: &str) {
        fs::write(self.volume(volume).join(name), content).expect("a small file is written");
    }

    /// `words` with the folders of this machine in the place of those of the container.
    fn here(&self, words: &str) -> String {
        let mounts = list(&self.manifests.container("berth")["volumeMounts"]).iter();
        let mut mounts: Vec<(&str, PathBuf)> = mounts
            .map(|mount| {
                let volume = self.volume(text(&mount["name"]));
                (text(&mount["mountPath"]), volume)
            })
            .collect();
        // One path may begin another one.
        mounts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        mounts
            .iter()
            .fold(String::from(words), |words, (path, volume)| {
                words.replace(path, &volume.to_string_lossy())
            })
    }

    /// Puts what `kubectl` makes of `secrets`, by the command of the page, into the volume of the Secret.
    fn make_secret(&self, secrets: &[(&str, String)]) {
        let files = process::folder("secrets");
        for (name, secret) in secrets {
            // Editors end files with a line break.
            let line = format!("{secret}\n");
            fs::write(files.path().join(name), line).expect("a small file is written");
        }
        let words = command_of_page("kubectl create secret generic berth ");
        let create = ["create", "secret", "generic", "berth"];
        let dry = ["--dry-run=client", "--output=json"];
        let arguments = [&create, words.as_slice(), &dry].concat();
        let made = kubectl(files.path(), &arguments).succeeded().stdout;
        let made: Value = serde_json::from_str(&made).expect("kubectl prints JSON");
        let volume = &self.manifests.volume("secrets")["secret"];
        assert_eq!(made["metadata"]["name"], volume["secretName"]);
        let data = made["data"].as_object().expect("a Secret has data");
        for (name, encoded) in data {
            let secret = BASE64_STANDARD.decode(text(encoded)).expect("it is base64");
            let path = self.volume("secrets").join(name);
            fs::write(path, secret).expect("a small file is written");
        }
    }

    fn prepare(&self, command: &mut Command, container: &str, variables: &[(&str, String)]) {
        command
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)));
        for variable in list(&self.manifests.container(container)["env"]) {
            command.env(text(&variable["name"]), self.here(text(&variable["value"])));
        }
    }

    /// Runs `berth` with `arguments`, which name paths of the container, to its end.
    fn run(&self, container: &str, variables: &[(&str, String)], arguments: &[&str]) -> Outcome {
        let prepare = |command: &mut Command| {
            self.prepare(command, container, variables);
            command.args(arguments.iter().map(|argument| self.here(argument)));
        };
        process::run(&binary(), prepare, None)
    }

    /// The arguments that the manifests give to `container`.
    fn arguments(&self, container: &str) -> Vec<&'m str> {
        let arguments = list(&self.manifests.container(container)["args"]).iter();
        arguments.map(text).collect()
    }

    /// Starts the server and waits until it is ready; gives what it printed.
    fn serve(&self, variables: &[(&str, String)]) -> (Daemon, Vec<String>) {
        let log = File::create(self.folder.path().join("log")).expect("a log file is made");
        let mut daemon = Daemon::start(&binary(), |command| {
            self.prepare(command, "berth", variables);
            let arguments = self.arguments("berth").into_iter();
            command.args(arguments.map(|argument| self.here(argument)));
            command.args(ON_FREE_PORTS);
            command.stdout(Stdio::piped()).stderr(log);
        });
        let lines = ready_lines(&mut daemon, self.folder.path());
        (daemon, lines)
    }

    /// Asserts that each probe hears what it waits for at the ops door.
    #[track_caller]
    fn assert_probed(&self, lines: &[String]) {
        let ops = address_of(lines, "ops").expect("the ops door is open");
        let container = self.manifests.container("berth");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let path = text(&container[probe]["httpGet"]["path"]);
            http::get(&format!("http://{ops}{path}"), &Caller::Anonymous).expect(200);
        }
        let elsewhere = format!("http://{ops}/not-there");
        http::get(&elsewhere, &Caller::Anonymous).expect(404);
    }
}

/// Secrets that nothing is asked with.
fn stand_ins() -> Vec<(&'static str, String)> {
    SECRETS
        .map(|(_, file)| {
            let secret = match file {
                "database-url" => "postgres://berth:password@db.example.com/berth",
                _ => "a stand-in of thirty-two bytes or more",
            };
            (file, String::from(secret))
        })
        .into()
}

fn settings_are_accepted() {
    let check = ["config", "check", "--config", "/etc/berth/berth.toml"];
    for manifests in all() {
        let pod = Pod::new(manifests);
        if pod.volume("secrets").exists() {
            pod.run("berth", &[], &check)
                .refused_with(&["database.url_file names ", "No such file"]);
            pod.make_secret(&stand_ins());
        }
        pod.run("berth", &[], &check).succeeded();
    }
    let node_port = example("my-node-port");
    let pod = Pod::new(&node_port);
    let key = KeyPair::generate().expect("a key is made");
    let certificate = CertificateParams::new(vec![String::from("registry.example.com")])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate is made");
    pod.write("tls", "tls.crt", &certificate.pem());
    pod.write("tls", "tls.key", &key.serialize_pem());
    pod.run("berth", &[], &check)
        .succeeded()
        .said("public_url = \"https://registry.example.com:30500\"")
        .said("doors = [\"public\"]");
}

fn probes_are_answered() {
    let pod = Pod::new(&BASE);
    let (mut server, lines) = pod.serve(&[]);
    pod.assert_probed(&lines);
    assert!(pod.volume("data").join("operator.key").exists());
    let status = server.stop().expect("the server ends soon after SIGTERM");
    assert!(status.success(), "the server ended with {status}");
}

fn replicas_migrate() {
    let database = http::wait(TestDatabase::Replicas.make());
    let (secrets, variables): (Vec<_>, Vec<_>) = database
        .variables()
        .into_iter()
        .partition(|(name, _)| SECRETS.iter().any(|(secret, _)| secret == name));
    let files = secrets.into_iter().filter_map(|(name, secret)| {
        let (_, file) = SECRETS.iter().find(|(variable, _)| *variable == name)?;
        Some((*file, secret))
    });
    let pod = Pod::new(&REPLICAS);
    pod.make_secret(&files.collect::<Vec<_>>());

    let serve = [pod.arguments("berth").as_slice(), &ON_FREE_PORTS].concat();
    pod.run("berth", &variables, &serve)
        .refused_with(&["has no schema", "berth migrate"]);
    let migrate = pod.arguments("migrate");
    for said in ["migrations were applied", "The schema is up to date"] {
        let outcome = pod.run("migrate", &variables, &migrate);
        outcome.succeeded().said(said);
    }
    let (_server, lines) = pod.serve(&variables);
    pod.assert_probed(&lines);

    let file = "/var/lib/berth/operator.key";
    let reset =
        "operator-key reset --config /etc/berth/berth.toml --file /var/lib/berth/operator.key";
    let reset: Vec<&str> = reset.split(' ').collect();
    assert!(PAGE.contains(&reset.join(" ")));
    pod.run("berth", &variables, &reset).succeeded();
    let key = fs::read_to_string(pod.here(file)).expect("there is a new key");
    let public = address_of(&lines, "public").expect("the public door is open");
    let whoami = format!("http://{public}/api/v1/whoami");
    http::get(&whoami, &Caller::Bearer(String::from(key.trim_end()))).expect(200);
}

/// Gives `folder` to the group, as the kubelet does for `fsGroup`.
fn give_to_group(folder: &Path, group: u32) {
    chown(folder, Some(0), Some(group)).expect("root gives folders away");
    let mode = fs::Permissions::from_mode(0o2770);
    fs::set_permissions(folder, mode).expect("its mode is set");
}

/// In a container, which has the paths that the command names and ports of its own. Then the first key is read as the
/// page says: beside it, without a right that the pod has not.
fn container_starts() {
    built();
    let docker = Docker::new();
    let pod = Pod::new(&BASE);
    // The paths in it are the container's own.
    for (name, content) in BASE.settings() {
        pod.write("configuration", name, text(content));
    }
    let security = &BASE.pod()["securityContext"];
    let [user, group, fs_group] = ["runAsUser", "runAsGroup", "fsGroup"]
        .map(|key| u32::try_from(number(&security[key])).expect("an id fits"));
    give_to_group(&pod.volume("data"), fs_group);
    // Only its owner may look into a temporary folder.
    fs::set_permissions(pod.folder.path(), fs::Permissions::from_mode(0o755))
        .expect("its mode is set");
    let user = format!("--user={user}:{group}");
    let mounts = list(&BASE.container("berth")["volumeMounts"]).iter();
    let mounts: Vec<String> = mounts
        .map(|mount| {
            let volume = pod.volume(text(&mount["name"]));
            let mode = if mount["readOnly"] == true {
                "ro"
            } else {
                "rw"
            };
            let path = text(&mount["mountPath"]);
            format!("--volume={}:{path}:{mode}", volume.display())
        })
        .collect();
    let mounts: Vec<&str> = mounts.iter().map(String::as_str).collect();
    let command = pod.arguments("berth");
    let arguments = [
        HARDENED.as_slice(),
        &["--network=none", &user],
        &mounts,
        &[IMAGE],
        &command,
    ]
    .concat();
    let container = Container::run(&docker, "kubernetes", &arguments);
    container.ready(1);
    container.berth(&[], &["health"]).succeeded().said("ready");

    docker.make("beside:v1", "a shell");
    let cat = [
        "/bin/busybox",
        "cat",
        "/proc/1/root/var/lib/berth/operator.key",
    ];
    assert!(PAGE.contains(&cat[1..].join(" ")));
    let beside = [
        "run",
        "--rm",
        "--network=none",
        "--pid=container:kubernetes",
        &user,
    ];
    let arguments = [&beside, HARDENED.as_slice(), &["beside:v1"], &cat].concat();
    let read = docker.run(&arguments).succeeded().stdout;
    let key = fs::read_to_string(pod.volume("data").join("operator.key"));
    assert_eq!(read, key.expect("there is a key"));
    docker.forget("beside:v1");
}

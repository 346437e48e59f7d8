//! The Kubernetes manifests as `kubectl` renders them and as the schemas of Kubernetes allow them.
//!
//! It knows nothing of what should be in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use berth::config::Config;
use serde_json::{Map, Value};

use crate::process::{self, Outcome};

/// What renders. Any version will do: that of Debian is old.
const KUBECTL: &str = "/usr/bin/kubectl";

/// The environment that has the schemas.
const ENVIRONMENT: &str = "kubernetes";

/// What looks at rendered objects.
const CHECK_SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/clients/kubernetes_check.py"
);

/// The oldest Kubernetes that the manifests are for, and the newest that has schemas.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

/// The page about them.
pub(crate) const PAGE: &str = include_str!("../../docs/kubernetes.md");

/// One server on a volume.
pub(crate) static BASE: LazyLock<Manifests> =
    LazyLock::new(|| Manifests::render(&folder().join("base")));

/// Several on PostgreSQL and S3.
pub(crate) static REPLICAS: LazyLock<Manifests> =
    LazyLock::new(|| Manifests::render(&folder().join("overlays/replicas")));

/// What keeps pull secrets in namespaces with a label.
pub(crate) static PULL_SECRETS: LazyLock<Manifests> =
    LazyLock::new(|| Manifests::render(&folder().join("pull-secrets/by-label")));

/// Both kinds of servers.
pub(crate) fn all() -> [&'static Manifests; 2] {
    [&BASE, &REPLICAS]
}

/// Where the manifests are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kubernetes")
}

/// Runs `kubectl` with `arguments`, in `folder`.
pub(crate) fn kubectl(folder: &Path, arguments: &[&str]) -> Outcome {
    process::require(Path::new(KUBECTL), "kubernetes-client");
    let prepare = |command: &mut Command| {
        // It would look for a cluster, and keep a cache at home.
        command.current_dir(folder).env("HOME", folder);
        command.env("KUBECONFIG", "/dev/null").args(arguments);
    };
    process::run(Path::new(KUBECTL), prepare, None)
}

/// Holds objects, as YAML, against the schemas of each version; prints them as JSON.
pub(crate) fn check(objects: &str) -> Outcome {
    let prepare = |command: &mut Command| {
        command.arg(CHECK_SCRIPT).args(VERSIONS);
    };
    let python = process::python_program(ENVIRONMENT, "python");
    process::run(&python, prepare, Some(objects))
}

/// The objects of one kustomization.
#[derive(Debug)]
pub(crate) struct Manifests {
    /// As YAML.
    pub(crate) text: String,
    objects: Vec<Value>,
}

impl Manifests {
    /// Renders the kustomization in `folder`, and asserts that every field of it is one.
    #[track_caller]
    pub(crate) fn render(folder: &Path) -> Self {
        let text = kubectl(folder, &["kustomize", "."]).succeeded().stdout;
        let json = check(&text).succeeded().stdout;
        let objects = serde_json::from_str(&json).expect("the script prints JSON");
        Self { text, objects }
    }

    /// Kind and name of each object, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .objects
            .iter()
            .map(|object| {
                let name = text(&object["metadata"]["name"]);
                format!("{}/{name}", text(&object["kind"]))
            })
            .collect();
        names.sort();
        names
    }

    /// The objects of `kind`.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<&Value> {
        let of_kind = self.objects.iter().filter(|object| object["kind"] == kind);
        of_kind.collect()
    }

    /// The object of `kind` that is called `name`.
    #[track_caller]
    pub(crate) fn named(&self, kind: &str, name: &str) -> &Value {
        let mut objects = self.of_kind(kind).into_iter();
        objects
            .find(|object| object["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("no {kind} {name} in {:?}", self.names()))
    }

    /// The only Deployment.
    #[track_caller]
    pub(crate) fn deployment(&self) -> &Value {
        let deployments = self.of_kind("Deployment");
        assert_eq!(deployments.len(), 1, "{:?}", self.names());
        deployments[0]
    }

    /// What its pods are made of.
    #[track_caller]
    pub(crate) fn pod(&self) -> &Value {
        &self.deployment()["spec"]["template"]["spec"]
    }

    /// Every container of a pod.
    #[track_caller]
    pub(crate) fn containers(&self) -> Vec<&Value> {
        let pod = self.pod();
        let containers = ["initContainers", "containers"].map(|key| list(&pod[key]));
        containers.into_iter().flatten().collect()
    }

    /// One container of a pod.
    #[track_caller]
    pub(crate) fn container(&self, name: &str) -> &Value {
        let mut containers = self.containers().into_iter();
        containers
            .find(|container| container["name"] == name)
            .unwrap_or_else(|| panic!("no container {name}"))
    }

    /// The files of the ConfigMap that the pods mount, under the name that its content gave it.
    #[track_caller]
    pub(crate) fn settings(&self) -> &Map<String, Value> {
        let volume = self.volume("configuration");
        let name = text(&volume["configMap"]["name"]);
        let settings = self.named("ConfigMap", name)["data"].as_object();
        settings.expect("a ConfigMap has data")
    }

    /// The file of the settings as it is written, without the files that it names.
    #[track_caller]
    pub(crate) fn configuration(&self) -> Config {
        let file = text(&self.settings()["berth.toml"]);
        toml::from_str(file).expect("the settings are TOML with known keys")
    }

    /// A volume of a pod.
    #[track_caller]
    pub(crate) fn volume(&self, name: &str) -> &Value {
        let volumes = list(&self.pod()["volumes"]);
        let volume = volumes.iter().find(|volume| volume["name"] == name);
        volume.unwrap_or_else(|| panic!("no volume {name}"))
    }
}

/// An example of the page, rendered where it would lie: beside a clone.
#[track_caller]
pub(crate) fn example(name: &str) -> Manifests {
    let place = process::folder("kustomize");
    let clone = place.path().join("berth/config");
    let own = place.path().join(name);
    for folder in [&clone, &own] {
        fs::create_dir_all(folder).expect("a folder is made");
    }
    let copy = |command: &mut Command| {
        command.arg("--recursive").arg(folder()).arg(&clone);
    };
    process::run(Path::new("cp"), copy, None).succeeded();
    for (path, content) in files_of_page(&format!("{name}/")) {
        fs::write(place.path().join(path), content).expect("a small file is written");
    }
    // The page says to copy it.
    let settings = clone.join("kubernetes/overlays/replicas/berth.toml");
    fs::copy(settings, own.join("berth.toml")).expect("a small file is copied");
    Manifests::render(&own)
}

/// A list, which may be missing.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text.
#[track_caller]
pub(crate) fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

/// A number.
#[track_caller]
pub(crate) fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// An amount of memory or disk, in bytes.
#[track_caller]
pub(crate) fn bytes(value: &Value) -> u64 {
    let amount = text(value);
    let units = [("Mi", 20), ("Gi", 30)];
    let bytes = units.into_iter().find_map(|(unit, shift)| {
        let number: u64 = amount.strip_suffix(unit)?.parse().ok()?;
        Some(number << shift)
    });
    bytes.unwrap_or_else(|| panic!("{amount} is no amount in Mi or Gi"))
}

/// The code blocks of the page whose first line is a comment with a path that begins with `prefix`: each path, and
/// what follows the comment.
pub(crate) fn files_of_page(prefix: &str) -> Vec<(&'static str, &'static str)> {
    let mut files = vec![];
    // Every second part lies between two fences.
    for block in PAGE.split("```").skip(1).step_by(2) {
        let content = block.split_once('\n').map_or("", |(_, content)| content);
        let Some((first, rest)) = content.split_once('\n') else {
            continue;
        };
        if let Some(path) = first.strip_prefix("# ")
            && path.starts_with(prefix)
        {
            files.push((path, rest));
        }
    }
    assert!(!files.is_empty(), "the page has no file {prefix}…");
    files
}

/// The command of the page that begins with `beginning`: what follows it, word by word.
pub(crate) fn command_of_page(beginning: &str) -> Vec<&'static str> {
    let command = PAGE
        .split("```sh\n")
        .find_map(|block| block.strip_prefix(beginning)?.split("\n```").next());
    let command = command.unwrap_or_else(|| panic!("the page has no command {beginning}"));
    let words = command.split_whitespace().filter(|word| *word != "\\");
    words.collect()
}

//! The house plan, checked: libraries stay in their places and nothing points back up.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the sources has failed"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A library and the places (relative to the repository) that may name it.
const LIBRARIES: [(&str, &[&str]); 16] = [
    ("axum", &["src/http/", "src/server/"]),
    ("tower_http", &["src/http/"]),
    (
        "tower",
        &["src/http/", "src/server/", "src/cli/pull_secret/sync/"],
    ),
    (
        "hyper",
        &["src/http/", "src/server/", "src/cli/pull_secret/sync/"],
    ),
    ("kube", &["src/cli/pull_secret/sync/"]),
    ("k8s_openapi", &["src/cli/pull_secret/sync/"]),
    ("rustls", &["src/tls.rs", "src/tls/"]),
    (
        "tokio_rustls",
        &["src/tls.rs", "src/server.rs", "src/server/"],
    ),
    ("x509_cert", &["src/tls.rs"]),
    ("rustix", &["src/cli/", "src/server/", "storage/src/local/"]),
    ("socket2", &["src/server/"]),
    ("sqlx", &["src/metadata/"]),
    ("jsonwebtoken", &["src/auth/"]),
    (
        "utoipa",
        &[
            "src/http/",
            "src/tenancy/",
            "src/images/",
            "src/checks.rs",
            "src/checks/",
            "src/collect/",
            "src/auth/",
            "src/grammar.rs",
        ],
    ),
    ("object_store", &["storage/src/"]),
    ("sha2", &["storage/src/"]),
];

/// A module of the crate and the modules of the crate that it may use.
const MODULES: [(&str, &[&str]); 21] = [
    ("grammar", &[]),
    ("listed", &[]),
    ("retries", &[]),
    ("turns", &[]),
    ("shares", &[]),
    ("clock", &[]),
    ("config", &[]),
    ("oci", &[]),
    ("telemetry", &["config"]),
    ("metadata", &["clock", "config", "oci", "telemetry"]),
    (
        "auth",
        &[
            "grammar",
            "turns",
            "shares",
            "clock",
            "config",
            "oci",
            "telemetry",
            "metadata",
        ],
    ),
    ("audit", &["clock", "telemetry", "metadata", "auth"]),
    (
        "tenancy",
        &[
            "grammar", "clock", "config", "oci", "metadata", "auth", "audit", "listed",
        ],
    ),
    (
        "registry",
        &[
            "clock",
            "config",
            "oci",
            "telemetry",
            "metadata",
            "auth",
            "retries",
        ],
    ),
    (
        "images",
        &[
            "grammar", "turns", "clock", "config", "oci", "metadata", "auth", "audit", "listed",
            "retries",
        ],
    ),
    (
        "collect",
        &[
            "grammar",
            "clock",
            "config",
            "oci",
            "telemetry",
            "metadata",
            "auth",
            "audit",
            "listed",
            "retries",
            "registry",
            "images",
        ],
    ),
    ("checks", &["clock", "metadata", "auth", "audit"]),
    (
        "http",
        &[
            "checks",
            "grammar",
            "turns",
            "turns",
            "shares",
            "clock",
            "config",
            "oci",
            "metadata",
            "auth",
            "audit",
            "listed",
            "tenancy",
            "registry",
            "images",
            "collect",
            "telemetry",
        ],
    ),
    ("tls", &["clock", "config", "telemetry"]),
    ("server", &["config", "shares", "http", "telemetry", "tls"]),
    (
        "app",
        &[
            "turns",
            "shares",
            "clock",
            "config",
            "metadata",
            "auth",
            "audit",
            "tenancy",
            "registry",
            "images",
            "checks",
            "collect",
            "http",
            "server",
            "telemetry",
            "tls",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn sources(folder: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    rust_files(&root().join(folder), &mut files);
    let relative = |path: &Path| {
        path.strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    files
        .iter()
        .map(|path| (relative(path), fs::read_to_string(path).unwrap()))
        .collect()
}

/// The code of a file, without its comments: they may speak of anything.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
}

/// The first segment of each path that begins with `start` in this line, such as `auth` of `crate::auth::Granted`.
fn heads<'a>(line: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(start).map(move |(place, _)| {
        let rest = &line[place + start.len()..];
        let end = rest.find(|character: char| !character.is_alphanumeric() && character != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// Whether a line names a library: as the root of a path, not as the middle of another word or path.
fn names_library(line: &str, library: &str) -> bool {
    let path = format!("{library}::");
    line.match_indices(&path).any(|(place, _)| {
        !line[..place]
            .ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
    })
}

fn strays(files: &[(String, String)]) -> BTreeSet<String> {
    let mut strays = BTreeSet::new();
    for (file, text) in files {
        for (library, places) in LIBRARIES {
            let at_home = places.iter().any(|place| file.starts_with(place));
            if !at_home && code(text).any(|line| names_library(line, library)) {
                strays.insert(format!(
                    "{file} names {library}, which belongs to {}",
                    places.join(", ")
                ));
            }
        }
    }
    strays
}

fn climbers(files: &[(String, String)]) -> BTreeSet<String> {
    let mut climbers = BTreeSet::new();
    for (file, text) in files {
        let Some((module, allowed)) = MODULES.iter().find(|(module, _)| {
            file.starts_with(&format!("src/{module}/")) || *file == format!("src/{module}.rs")
        }) else {
            continue;
        };
        for head in code(text).flat_map(|line| heads(line, "crate::")) {
            let is_module = MODULES.iter().any(|(name, _)| *name == head);
            if is_module && head != *module && !allowed.contains(&head) {
                climbers.insert(format!("{file} uses {head}, which {module} may not"));
            }
        }
    }
    climbers
}

#[test]
fn libraries_stay_in_their_places() {
    let mut files = sources("src");
    files.extend(sources("storage/src"));
    assert_eq!(strays(&files), BTreeSet::new());
}

#[test]
fn no_module_uses_one_above_it() {
    assert_eq!(climbers(&sources("src")), BTreeSet::new());
}

#[test]
fn every_module_has_its_place_in_the_plan() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let planned: BTreeSet<&str> = MODULES.iter().map(|(name, _)| *name).collect();
    let declared: BTreeSet<&str> = code(&library)
        .filter_map(|line| {
            line.strip_prefix("pub mod ")
                .or_else(|| line.strip_prefix("mod "))
        })
        .map(|name| name.trim_end_matches(';'))
        .collect();
    assert_eq!(declared, planned);
}

#[test]
fn a_library_out_of_its_place_is_found() {
    let file = (
        String::from("src/registry/blobs.rs"),
        String::from("use axum::body::Body;\n"),
    );
    assert_eq!(strays(&[file]).len(), 1);
    let file = (
        String::from("src/registry/blobs.rs"),
        String::from("let b = sqlx::query(\"\");\n"),
    );
    assert_eq!(strays(&[file]).len(), 1);
    let file = (
        String::from("src/registry/blobs.rs"),
        String::from("// axum::body is elsewhere\n"),
    );
    assert_eq!(strays(&[file]).len(), 0);
}

#[test]
fn a_use_that_points_back_up_is_found() {
    let file = (
        String::from("src/metadata/tags.rs"),
        String::from("use crate::auth::Granted;\n"),
    );
    assert_eq!(climbers(&[file]).len(), 1);
    let file = (
        String::from("src/auth/keys.rs"),
        String::from("use crate::metadata::Metadata;\n"),
    );
    assert_eq!(climbers(&[file]).len(), 0);
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |folder: &str| -> BTreeSet<String> {
        fs::read_dir(root().join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert_eq!(names("migrations/sqlite"), names("migrations/postgres"));
}

//! Backups of an embedded installation, taken while it is used, and what comes back of them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::distribution::{Image, image};
use crate::support::process::{Folder, Process, files};

/// The repository of one of those who push.
fn repository(pusher: usize) -> String {
    format!("t-main/app{pusher}")
}

fn berth(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

fn back_up(data: &Path, to: &Path) -> Output {
    let (data, to) = (data.to_str().unwrap(), to.to_str().unwrap());
    berth(&["backup", "--data-dir", data, "--to", to])
}

#[track_caller]
fn backed_up(data: &Path, to: &Path) -> String {
    let output = back_up(data, to);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(data: &Path, to: &Path) -> String {
    let output = back_up(data, to);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn an_image(label: &str) -> Image {
    let config = format!(r#"{{"label":"{label}"}}"#);
    let layer = label.repeat(5_000);
    image().config(config).layer(layer).build()
}

/// Serves a copy of a backup, which is what a restore is.
fn restored(backup: &Path) -> Process {
    let folder = Folder::new();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(backup).arg(folder.data());
    assert!(copy.status().unwrap().success());
    folder.start(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_restores_to_images_that_all_pull() {
    let server = Folder::new().start(&[]);
    let backup = tempfile::tempdir().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    server
        .docker()
        .push_image("t-main/first", "v1", &an_image("first"))
        .await;
    let pushers: Vec<_> = (0..4)
        .map(|pusher| {
            let (docker, over) = (server.docker(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut pushed = 0;
                while !over.load(Ordering::Relaxed) {
                    let tag = format!("v{pushed}");
                    let image = an_image(&format!("{pusher} {pushed}"));
                    docker.push_image(&repository(pusher), &tag, &image).await;
                    pushed += 1;
                    if pushed % 3 == 0 {
                        // What goes meanwhile stays for those who hold an older copy of the database.
                        let digest = &image.manifest.digest;
                        let path = format!("/v2/{}/manifests/{digest}", repository(pusher));
                        docker.delete(&path).await.expect(202);
                    }
                }
            })
        })
        .collect();
    let data = server.data();
    for _ in 0..4 {
        let (data, to) = (data.clone(), backup.path().to_owned());
        tokio::task::spawn_blocking(move || backed_up(&data, &to))
            .await
            .unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for pusher in pushers {
        pusher.await.unwrap();
    }
    let copy = restored(backup.path());
    let pulled = copy.docker().pull_everything().await;
    assert!(pulled > 1, "{pulled}");
    // It is an installation like any other: the same keys work, and it takes pushes.
    copy.docker()
        .push_image("t-main/new", "v1", &an_image("new"))
        .await;
    let operator = copy.api(&copy.folder().secret("operator.key"));
    assert!(operator.findings(true, false).await.is_empty());
}

#[tokio::test]
async fn a_second_backup_copies_what_is_new_and_drops_what_is_gone() {
    let server = Folder::new().start(&[]);
    let backup = tempfile::tempdir().unwrap();
    let docker = server.docker();
    docker
        .push_image("t-main/app", "v1", &an_image("one"))
        .await;
    let text = backed_up(&server.data(), backup.path());
    assert!(text.starts_with("2 blobs"), "{text}");
    assert!(text.contains("2 of them"), "{text}");
    let objects = backup.path().join("blobs/objects");
    let stray = objects.join("ab/ab0d1f6e-0b7e-4f6b-8a53-0c4f0d0a5e11");
    fs::write(&stray, "of an older backup").unwrap();
    docker
        .push_image("t-main/app", "v2", &an_image("two"))
        .await;
    let text = backed_up(&server.data(), backup.path());
    assert!(text.starts_with("4 blobs"), "{text}");
    assert!(text.contains("2 of them"), "{text}");
    assert!(!stray.exists());
    assert_eq!(files(&objects).len(), 4);
    let mode = |file: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let file = fs::metadata(backup.path().join(file)).unwrap();
        file.permissions().mode() & 0o777
    };
    for file in ["berth.db", "operator.key", "main.key"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    // The same of an installation that is stopped.
    server.terminate();
    let (_, folder) = server.ended();
    let text = backed_up(&folder.data(), backup.path());
    assert!(text.contains("0 of them"), "{text}");
    assert_eq!(restored(backup.path()).docker().pull_everything().await, 2);
}

#[tokio::test]
async fn a_backup_with_a_damaged_blob_is_kept_only_when_that_is_allowed() {
    let server = Folder::new().start(&[]);
    let backup = tempfile::tempdir().unwrap();
    let image = an_image("one");
    server.docker().push_image("t-main/app", "v1", &image).await;
    let objects = files(&server.data().join("blobs/objects"));
    let layer = &image.layers[0];
    let object = objects
        .iter()
        .find(|file| fs::read(file).unwrap() == layer.bytes);
    let mut damaged = layer.bytes.to_vec();
    damaged[0] ^= 1;
    fs::write(object.unwrap(), damaged).unwrap();
    let notes = refused(&server.data(), backup.path());
    assert!(notes.contains(&layer.digest), "{notes}");
    assert!(notes.contains("berth check"), "{notes}");
    assert!(!backup.path().join("berth.db").exists());
    let (from, to) = (server.data(), backup.path().to_str().unwrap());
    let from = from.to_str().unwrap();
    let kept = berth(&["backup", "--data-dir", from, "--to", to, "--allow-damaged"]);
    assert!(kept.status.success());
    assert_eq!(files(&backup.path().join("blobs/objects")).len(), 1);
    assert!(backup.path().join("berth.db").exists());
}

#[tokio::test]
async fn a_backup_goes_into_no_folder_that_holds_something_else() {
    let server = Folder::new().start(&[]);
    let data = server.data();
    let inside = refused(&data, &data.join("backup"));
    assert!(inside.contains("a folder of the installation"), "{inside}");
    let full = tempfile::tempdir().unwrap();
    fs::write(full.path().join("letter.txt"), "dear").unwrap();
    let notes = refused(&data, full.path());
    assert!(notes.contains("something else"), "{notes}");
    assert_eq!(fs::read_dir(full.path()).unwrap().count(), 1);
    let nowhere = tempfile::tempdir().unwrap();
    let notes = refused(&nowhere.path().join("none"), full.path());
    assert!(notes.contains("there is no installation"), "{notes}");

    let backup = tempfile::tempdir().unwrap();
    backed_up(&data, backup.path());
    fs::write(backup.path().join("berth.lock"), "").unwrap();
    let notes = refused(&data, backup.path());
    assert!(notes.contains("served from"), "{notes}");

    // Its blobs alone may be served, by an installation whose data lies elsewhere.
    let backup = tempfile::tempdir().unwrap();
    backed_up(&data, backup.path());
    let blobs = backup.path().join("blobs");
    fs::write(blobs.join("berth.lock"), "").unwrap();
    let notes = refused(&data, backup.path());
    assert!(notes.contains("served from"), "{notes}");
    fs::remove_file(blobs.join("berth.lock")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["backup", "--data-dir"])
        .args([&data, Path::new("--to"), backup.path()])
        .env_clear()
        .env("BERTH_STORAGE__PATH", &blobs)
        .output()
        .unwrap();
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(notes.contains("a folder of the installation"), "{notes}");
}

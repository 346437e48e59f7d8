//! What the doctor sees on the server.

use std::path::Path;

use super::{Diagnosis, Patient};
use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::process::Folder;

fn patient(data: &Path) -> Patient {
    Patient::new().says(&["--data-dir", data.to_str().unwrap()])
}

/// What the doctor says of the installation of a server that was stopped, after something happened to it.
async fn after(happened: impl FnOnce(&Path)) -> Diagnosis {
    let server = Folder::new().start(&[]);
    let folder = server.kill();
    happened(&folder.data());
    patient(&folder.data()).asks().await
}

#[tokio::test]
async fn an_installation_is_well_while_its_server_runs_and_afterwards() {
    let server = Folder::new().start(&[]);
    let files = |data: &Path| {
        let mut files = crate::support::process::files(data);
        files.retain(|file| !file.to_str().unwrap().contains("berth.db"));
        files
    };
    let before = files(&server.data());
    let running = patient(&server.data()).asks().await;
    assert_eq!(files(&server.data()), before);
    let folder = server.kill();
    let stopped = patient(&folder.data()).asks().await;
    for diagnosis in [running, stopped] {
        diagnosis
            .is_well()
            .skips("API", "nobody is logged in")
            .skips("server: certificate", "plain HTTP")
            .is("ok", "server: schema", "version ")
            .is("ok", "server: durability", "journal wal")
            .is("ok", "server: storage", "a trial was written")
            .is("ok", "server: storage's owner", "of this installation")
            .ok("server: free space");
    }
    // Both halves, in the folder where the server was started.
    let server = folder.start(&[]);
    let key = server.folder().secret("main.key");
    let both = Patient::at(&server.url, &key)
        .with("BERTH_SERVER__DATA_DIR", server.data().to_str().unwrap());
    both.asks()
        .await
        .is_well()
        .ok("clean-up")
        .ok("server: storage");
}

/// On what this run is about: with PostgreSQL, and a bucket if there is one.
#[tokio::test]
async fn the_configured_database_and_storage_are_looked_at() {
    let registry = TestRegistry::start().await;
    let mut patient = patient(registry.data_dir());
    for (name, value) in registry.location().variables() {
        patient = patient.with(name, value);
    }
    let diagnosis = patient.asks().await;
    diagnosis
        .ok("server: database")
        .ok("server: schema")
        .ok("server: durability")
        .ok("server: storage")
        .ok("server: storage's owner");
}

#[tokio::test]
async fn what_is_missing_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let diagnosis = patient(&data).asks().await;
    diagnosis
        .ok("server: configuration")
        .fails("server: database", "there is no ", "--data-dir")
        .skips("server: schema", "not reached")
        .skips("server: storage", "without the database");
    assert!(!data.exists());
    let diagnosis = after(|data| {
        std::fs::remove_dir_all(data.join("blobs")).unwrap();
        // As a new disk looks.
        std::fs::create_dir_all(data.join("blobs/lost+found")).unwrap();
    })
    .await;
    diagnosis.fails("server: storage", "is its disk mounted?", "disk is mounted");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berth.toml");
    std::fs::write(&file, "[server]\npublic_lisen = \"127.0.0.1:1\"\n").unwrap();
    let broken = Patient::new().says(&["--config", file.to_str().unwrap()]);
    broken
        .asks()
        .await
        .fails("server: configuration", "public_lisen", "berth.toml")
        .skips("server: database", "no configuration");
    let variable = Patient::new().with("BERTH_SERVER__DRAIN_SECONDS", "long");
    let diagnosis = variable.asks().await;
    diagnosis.fails("server: configuration", "BERTH_SERVER__DRAIN_SECONDS", "");
    let certificate = "[tls]\ncertificate_file = \"/nothing.crt\"\nkey_file = \"/nothing.key\"\n";
    std::fs::write(&file, certificate).unwrap();
    let diagnosis = broken.asks().await;
    diagnosis.fails("server: certificate", "/nothing.crt", "right files");
}

#[tokio::test]
async fn a_schema_of_a_newer_berth_is_named() {
    let registry = TestRegistry::start_on(TestDatabase::Sqlite).await;
    registry
        .execute("UPDATE installation SET min_schema = 9999")
        .await;
    let diagnosis = patient(registry.data_dir()).asks().await;
    diagnosis
        .ok("server: database")
        .fails("server: schema", "needs a berth that knows 9999", "docs/")
        .ok("server: storage");
}

#[tokio::test]
async fn what_is_no_database_is_named() {
    let diagnosis = after(|data| {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(data.join(format!("berth.db{suffix}")));
        }
        std::fs::write(data.join("berth.db"), "not a database, by far".repeat(100)).unwrap();
    })
    .await;
    assert_eq!(diagnosis.code, 1);
    diagnosis.skips("server: storage", "without the database");
}

#[tokio::test]
async fn a_storage_that_cannot_be_written_is_named() {
    let diagnosis = after(|data| {
        // Not by its mode: whoever may do everything would write all the same.
        std::fs::remove_dir_all(data.join("blobs/staging")).unwrap();
        std::fs::write(data.join("blobs/staging"), "").unwrap();
    })
    .await;
    diagnosis
        .fails("server: storage", "blobs/staging", "chown")
        .skips("server: storage's owner", "cannot be used");
}

#[tokio::test]
async fn a_storage_of_another_installation_or_of_none_is_named() {
    let diagnosis = after(|data| {
        std::fs::write(data.join("blobs/installation"), "another one").unwrap();
    })
    .await;
    diagnosis.ok("server: storage").fails(
        "server: storage's owner",
        "another one",
        "another installation's",
    );
    let diagnosis = after(|data| std::fs::remove_file(data.join("blobs/installation")).unwrap());
    let diagnosis = diagnosis.await;
    diagnosis.fails("server: storage's owner", "no mark", "right disk");
}

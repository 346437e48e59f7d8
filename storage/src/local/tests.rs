//! What only the folder can show: modes, layout, and the operating system's own errors.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn opened() -> (tempfile::TempDir, LocalStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(&folder.path().join("data")).unwrap();
    (folder, store)
}

fn staged(store: &LocalStore, key: ObjectKey, bytes: &'static [u8]) {
    let mut staging = store.open_staging(key, 0).unwrap();
    staging.append(&[Bytes::from_static(bytes)]).unwrap();
    staging.sync_for_publish().unwrap();
}

#[test]
fn folders_and_files_are_for_their_owner_only() {
    let (_folder, store) = opened();
    let key = ObjectKey::random();
    staged(&store, key, b"bytes");
    store.publish(key).unwrap();
    let mode = |path: &str| {
        fs::metadata(store.root.join(path))
            .unwrap()
            .permissions()
            .mode()
    };
    for folder in ["", "staging", "objects", "objects/00", "objects/ff"] {
        assert_eq!(mode(folder) & 0o777, 0o700, "{folder}");
    }
    assert_eq!(mode(&key.object_path()) & 0o777, 0o600);
}

#[test]
fn opening_twice_leaves_no_probe_behind() {
    let (_folder, store) = opened();
    LocalStore::open(&store.root).unwrap();
    assert_eq!(fs::read_dir(store.root.join("staging")).unwrap().count(), 0);
    assert_eq!(
        fs::read_dir(store.root.join("objects")).unwrap().count(),
        256
    );
}

#[test]
fn publishing_leaves_only_the_final_name() {
    let (_folder, store) = opened();
    let key = ObjectKey::random();
    staged(&store, key, b"bytes");
    store.publish(key).unwrap();
    assert!(!store.root.join(key.staging_path()).exists());
    assert_eq!(
        fs::read(store.root.join(key.object_path())).unwrap(),
        b"bytes"
    );
}

#[test]
fn publishing_onto_an_existing_file_is_refused_and_changes_nothing() {
    let (_folder, store) = opened();
    let key = ObjectKey::random();
    staged(&store, key, b"second");
    fs::write(store.root.join(key.object_path()), b"first").unwrap();
    let error = store.publish(key).unwrap_err();
    assert!(
        matches!(error, StoreError::AlreadyPublished { .. }),
        "{error}"
    );
    assert_eq!(
        fs::read(store.root.join(key.object_path())).unwrap(),
        b"first"
    );
}

#[test]
fn a_staging_name_left_by_a_crash_does_not_open_the_object_for_writing() {
    let (_folder, store) = opened();
    let key = ObjectKey::random();
    staged(&store, key, b"bytes");
    let (staging, object) = (key.staging_path(), key.object_path());
    fs::hard_link(store.root.join(staging), store.root.join(&object)).unwrap();
    let error = store.open_staging(key, 0).err().unwrap();
    assert!(
        matches!(error, StoreError::AlreadyPublished { .. }),
        "{error}"
    );
    store.discard_staging(key).unwrap();
    assert_eq!(fs::read(store.root.join(object)).unwrap(), b"bytes");
}

#[test]
fn foreign_files_in_the_staging_folder_are_not_listed() {
    let (_folder, store) = opened();
    for name in [
        "notes.txt",
        ".probe-1",
        "AB0D1F6E-0B7E-4F6B-8A53-0C4F0D0A5E11",
    ] {
        fs::write(store.staging_folder().join(name), b"").unwrap();
    }
    let key = ObjectKey::random();
    staged(&store, key, b"");
    assert_eq!(store.staged_keys().unwrap(), [key]);
}

#[test]
fn a_store_that_cannot_be_written_names_its_folder_and_the_errno() {
    let (_folder, store) = opened();
    assert!(store.check_writable().is_ok());
    fs::remove_dir(store.staging_folder()).unwrap();
    let text = store.check_writable().unwrap_err().to_string();
    assert!(text.contains(&store.root.display().to_string()), "{text}");
    assert!(text.contains("os error 2"), "{text}");
}

#[test]
fn a_root_that_is_a_file_is_refused_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    fs::write(&root, b"").unwrap();
    let error = LocalStore::open(&root).err().unwrap();
    assert!(error.to_string().contains("data"), "{error}");
}

#[test]
fn deleting_a_missing_object_is_fine() {
    let (_folder, store) = opened();
    store.delete(ObjectKey::random()).unwrap();
}

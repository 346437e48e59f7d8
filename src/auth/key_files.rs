//! Signing keys of an embedded installation: one file each, mode 0600, in the data folder.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::key_schedule::Plan;
use super::keys::{KeyError, KeyTimes, MAX_KEYS, Purpose, SigningKey};
use super::secret_file::{create_secret_folder, remove_secret_file, write_secret_file};
use crate::clock::Millis;

/// A key file is a few hundred bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024;

#[derive(Serialize, Deserialize)]
struct KeyFile {
    purpose: String,
    private_key: String,
    created_at_ms: i64,
    signs_from_ms: i64,
    expires_at_ms: Option<i64>,
}

/// The keys in a folder that may not be there yet.
pub(super) fn read(folder: &Path) -> Result<Vec<SigningKey>, KeyError> {
    let mut keys = Vec::new();
    for path in files(folder)? {
        let unreadable = || KeyError::Unreadable(path.display().to_string());
        let length = std::fs::metadata(&path).map_err(failed(&path))?.len();
        if length > MAX_FILE_BYTES || keys.len() >= MAX_KEYS as usize {
            return Err(unreadable());
        }
        let bytes = std::fs::read(&path).map_err(failed(&path))?;
        keys.push(decode(&bytes).ok_or_else(unreadable)?);
    }
    Ok(keys)
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::File {
        path: path.clone(),
        source,
    }
}

/// The files of keys, readable or not.
fn files(folder: &Path) -> Result<Vec<PathBuf>, KeyError> {
    create_secret_folder(folder).map_err(failed(folder))?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    Ok(files)
}

fn decode(bytes: &[u8]) -> Option<SigningKey> {
    let file: KeyFile = serde_json::from_slice(bytes).ok()?;
    let pkcs8 = STANDARD.decode(&file.private_key).ok()?;
    let purpose = Purpose::from_name(&file.purpose)?;
    let times = KeyTimes {
        created_at: Millis(file.created_at_ms),
        signs_from: Millis(file.signs_from_ms),
        expires_at: file.expires_at_ms.map(Millis),
    };
    SigningKey::from_pkcs8(&pkcs8, purpose, times)
}

fn path(folder: &Path, key: &SigningKey) -> PathBuf {
    folder.join(format!("{}-{}.json", key.purpose().as_str(), key.id()))
}

/// Writes a key, or what has become of it.
pub(super) fn write(folder: &Path, key: &SigningKey) -> Result<(), KeyError> {
    let file = KeyFile {
        purpose: key.purpose().as_str().to_owned(),
        private_key: STANDARD.encode(key.pkcs8()),
        created_at_ms: key.times.created_at.0,
        signs_from_ms: key.times.signs_from.0,
        expires_at_ms: key.times.expires_at.map(|time| time.0),
    };
    let path = path(folder, key);
    let content = serde_json::to_vec_pretty(&file).map_err(|_| KeyError::Cryptography)?;
    write_secret_file(&path, &content).map_err(failed(&path))
}

/// Does what was planned, file by file. New keys come first: wherever it breaks off, some key signs, and the next look
/// at the keys takes it up again.
pub(super) fn apply(folder: &Path, plan: &Plan) -> Result<(), KeyError> {
    for key in plan.add.iter().chain(&plan.end) {
        write(folder, key)?;
    }
    if plan.remove.is_empty() {
        return Ok(());
    }
    // By what is in the files, not by their names: a copy that somebody made would come back with the next start.
    for path in files(folder)? {
        let bytes = std::fs::read(&path).map_err(failed(&path))?;
        let key = decode(&bytes);
        if key.is_some_and(|key| plan.remove.iter().any(|gone| gone.id() == key.id())) {
            remove_secret_file(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// Removes all keys, also those that cannot be read.
pub(super) fn remove_all(folder: &Path) -> Result<(), KeyError> {
    for path in files(folder)? {
        remove_secret_file(&path).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_key_stops_the_start_and_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("access-x.json"), b"{}").unwrap();
        let error = read(folder.path()).err().unwrap();
        assert!(error.to_string().contains("access-x.json"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn key_files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        assert!(read(&keys).unwrap().is_empty());
        write(
            &keys,
            &SigningKey::generate(Purpose::AccessToken, Millis(0), Millis(0)).unwrap(),
        )
        .unwrap();
        let file = std::fs::read_dir(&keys).unwrap().next().unwrap().unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}

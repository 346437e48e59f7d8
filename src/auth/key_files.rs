//! Signing keys of an embedded installation: one file each, mode 0600, in the data folder.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::keys::{KeyError, MAX_KEYS, Purpose, SigningKey};
use super::secret_file::{create_secret_folder, write_secret_file};
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

/// Reads the keys in a folder that may not be there yet.
pub(super) fn read(folder: &Path) -> Result<Vec<Arc<SigningKey>>, KeyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KeyError::File { path, source }
    };
    create_secret_folder(folder).map_err(failed(folder))?;
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let unreadable = || KeyError::Unreadable(path.display().to_string());
        let length = std::fs::metadata(&path).map_err(failed(&path))?.len();
        if length > MAX_FILE_BYTES || keys.len() >= MAX_KEYS as usize {
            return Err(unreadable());
        }
        let bytes = std::fs::read(&path).map_err(failed(&path))?;
        keys.push(Arc::new(decode(&bytes).ok_or_else(unreadable)?));
    }
    Ok(keys)
}

fn decode(bytes: &[u8]) -> Option<SigningKey> {
    let file: KeyFile = serde_json::from_slice(bytes).ok()?;
    let pkcs8 = STANDARD.decode(&file.private_key).ok()?;
    let purpose = Purpose::from_name(&file.purpose)?;
    let expires_at = file.expires_at_ms.map(Millis);
    SigningKey::from_pkcs8(
        &pkcs8,
        purpose,
        Millis(file.created_at_ms),
        Millis(file.signs_from_ms),
        expires_at,
    )
}

/// Adds a key to the folder.
pub(super) fn write(folder: &Path, key: &SigningKey) -> Result<(), KeyError> {
    let file = KeyFile {
        purpose: key.purpose.as_str().to_owned(),
        private_key: STANDARD.encode(&key.pkcs8),
        created_at_ms: key.created_at.0,
        signs_from_ms: key.signs_from.0,
        expires_at_ms: key.expires_at.map(|time| time.0),
    };
    let path = folder.join(format!("{}-{}.json", key.purpose.as_str(), key.id));
    let content = serde_json::to_vec_pretty(&file).map_err(|_| KeyError::Cryptography)?;
    write_secret_file(&path, &content).map_err(|source| KeyError::File { path, source })
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
            &SigningKey::generate(Purpose::AccessToken, Millis(0)).unwrap(),
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

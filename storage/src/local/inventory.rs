//! What lies in the folder: its objects in the order of their keys, and whose folder it is.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use uuid::Uuid;

use super::{FILE_MODE, LocalStore, sync_folder};
use crate::claim::{MARKER, MAX_MARKER_BYTES, compare};
use crate::error::StoreError;
use crate::key::{OBJECTS, ObjectKey};
use crate::listing::{LIST_LIMIT, ListedObject};

impl LocalStore {
    /// Objects behind a key, in order. Each page reads the folder it begins in anew.
    pub(crate) fn list_objects(
        &self,
        after: Option<ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StoreError> {
        let limit = limit.min(LIST_LIMIT);
        let mut page = Vec::new();
        for first in after.map_or(0, |key| key.fan_out())..=u8::MAX {
            if page.len() >= limit {
                break;
            }
            let folder = self.root().join(format!("{OBJECTS}/{first:02x}"));
            let mut keys = keys_in(&folder, after)?;
            keys.sort_unstable();
            for key in keys {
                if page.len() >= limit {
                    break;
                }
                // One that is deleted meanwhile is not there.
                if let Some(size_bytes) = self.size(key)? {
                    page.push(ListedObject { key, size_bytes });
                }
            }
        }
        Ok(page)
    }

    /// Whether what is written there names this installation; `false` where nothing is.
    pub(crate) fn is_claimed_by(&self, installation_id: &str) -> Result<bool, StoreError> {
        match read_marker(&self.root().join(MARKER))? {
            Some(found) => compare(&found, installation_id).map(|()| true),
            None => Ok(false),
        }
    }

    /// Writes down whose folder this is, or compares what is written there.
    pub(crate) fn claim(&self, installation_id: &str) -> Result<(), StoreError> {
        let path = self.root().join(MARKER);
        loop {
            if let Some(found) = read_marker(&path)? {
                return compare(&found, installation_id);
            }
            let written = self.root().join(format!(".{MARKER}-{}", Uuid::new_v4()));
            let outcome = write_marker(&written, &path, installation_id);
            if let Err(error) = fs::remove_file(&written)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %written.display(), %error, "could not remove a file that is not needed any more");
            }
            match outcome {
                Ok(()) => return sync_folder(self.root()),
                // Another process was faster: what it wrote counts.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::from_io("write", path, error)),
            }
        }
    }
}

fn keys_in(folder: &Path, after: Option<ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
    let failed = |error| StoreError::from_io("list", folder, error);
    let mut keys = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let key = name
            .to_str()
            .and_then(|name| name.parse::<ObjectKey>().ok());
        let is_home = |key: &ObjectKey| folder.ends_with(format!("{:02x}", key.fan_out()));
        keys.extend(key.filter(|key| is_home(key) && after.is_none_or(|after| *key > after)));
    }
    Ok(keys)
}

fn read_marker(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let mut content = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(MAX_MARKER_BYTES).read_to_end(&mut content));
    match read {
        Ok(_) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::from_io("read", path, error)),
    }
}

/// The marker appears whole or not at all, and never in place of another one.
fn write_marker(written: &Path, path: &Path, installation_id: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(written)?;
    file.write_all(installation_id.as_bytes())?;
    file.sync_all()?;
    fs::hard_link(written, path)
}

//! The store in a folder.
//!
//! Owns the folder's layout on disk, the order of its syncs, and its errors. Everything here blocks
//! and is called from blocking tasks. It knows nothing of hashing, of take-overs or of callers.
//!
//! object_store's `LocalFileSystem` is not used: it neither appends nor syncs, it deletes without
//! making that durable, and it streams in 8 KiB pieces.

pub(crate) mod at_hand;
mod inventory;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::error::StoreError;
use crate::key::{OBJECTS, ObjectKey, STAGING, object_folders};

/// Only the server's own user may look into the store.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// After this many bytes of an upload the disk is asked to begin, if it is not at it already.
const EARLY_SYNC_BYTES: usize = 8 * 1024 * 1024;

/// How many keys one listing of the staging folder gives; a sweep that finds more comes again.
pub(crate) const STAGED_KEYS_LIMIT: usize = 100_000;

pub(crate) struct LocalStore {
    root: PathBuf,
    /// The root itself, so that objects are found from there and not from the top of the file system.
    folder: File,
}

impl LocalStore {
    /// Creates what is missing of the layout, durably, and tries it out.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        create_folder(root)?;
        let folder =
            File::open(root).map_err(|error| StoreError::from_io("open folder", root, error))?;
        let store = Self {
            root: root.to_path_buf(),
            folder,
        };
        let objects = store.root.join(OBJECTS);
        for folder in [&objects, &store.staging_folder()] {
            create_folder(folder)?;
        }
        for folder in object_folders() {
            create_folder(&store.root.join(folder))?;
        }
        sync_folder(&objects)?;
        sync_folder(root)?;
        if let Some(parent) = root
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            sync_folder(parent)?;
        }
        store.check_writable()?;
        Ok(store)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Opens the staging file and cuts it to `offset`; begins a new one if `offset` is 0.
    ///
    /// A key that has its object is refused: its staging file may be a second name of the object.
    pub(crate) fn open_staging(
        &self,
        key: ObjectKey,
        offset: u64,
    ) -> Result<StagingFile, StoreError> {
        if self.size(key)?.is_some() {
            // Whoever published it may have ended before the name was durable, and the caller builds on it.
            sync_parent(&self.root.join(key.object_path()))?;
            return Err(StoreError::AlreadyPublished { key });
        }
        let path = self.root.join(key.staging_path());
        let mut options = OpenOptions::new();
        options.append(true).create(offset == 0).mode(FILE_MODE);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && offset > 0 => {
                return Err(StoreError::StagingLost {
                    key,
                    expected: offset,
                    found: None,
                });
            }
            Err(error) => return Err(StoreError::from_io("open", path, error)),
        };
        let found = match file.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) => return Err(StoreError::from_io("inspect", path, error)),
        };
        if found < offset {
            return Err(StoreError::StagingLost {
                key,
                expected: offset,
                found: Some(found),
            });
        }
        if found > offset {
            file.set_len(offset)
                .map_err(|error| StoreError::from_io("truncate", &path, error))?;
        }
        let folder_to_sync = (offset == 0).then(|| self.staging_folder());
        Ok(StagingFile {
            file,
            path,
            folder_to_sync,
            unsynced_bytes: 0,
            early_sync: None,
        })
    }

    /// Opens the staging file of a finished upload for reading.
    pub(crate) fn open_staged(&self, key: ObjectKey) -> Result<File, StoreError> {
        open_for_reading(key, self.root.join(key.staging_path()))
    }

    /// Gives the staging file its final name, durably.
    ///
    /// A hard link, unlike a rename, fails on an existing name, so the kernel itself keeps keys
    /// written once.
    pub(crate) fn publish(&self, key: ObjectKey) -> Result<(), StoreError> {
        let staging = self.root.join(key.staging_path());
        let object = self.root.join(key.object_path());
        match fs::hard_link(&staging, &object) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                sync_parent(&object)?;
                return Err(StoreError::AlreadyPublished { key });
            }
            Err(error) => return Err(StoreError::from_io("publish", object, error)),
        }
        sync_parent(&object)?;
        if let Err(error) = fs::remove_file(&staging) {
            // The object is safe by now, and the sweep at the next start removes the second name.
            tracing::warn!(%key, %error, "could not remove the staging name of a published object");
        }
        Ok(())
    }

    /// Makes the names of all objects durable, also of those whose publisher ended before it did.
    pub(crate) fn sync_names(&self) -> Result<(), StoreError> {
        object_folders().try_for_each(|folder| sync_folder(&self.root.join(folder)))
    }

    pub(crate) fn discard_staging(&self, key: ObjectKey) -> Result<(), StoreError> {
        remove_file(&self.root.join(key.staging_path()))?;
        Ok(())
    }

    /// As [`Self::open_object`], if that needs no disk. Unlike all else here, this does not block.
    pub(crate) fn open_object_at_hand(&self, key: ObjectKey) -> Option<File> {
        at_hand::open(&self.folder, &key.object_path())
    }

    pub(crate) fn open_object(&self, key: ObjectKey) -> Result<File, StoreError> {
        open_for_reading(key, self.root.join(key.object_path()))
    }

    pub(crate) fn size(&self, key: ObjectKey) -> Result<Option<u64>, StoreError> {
        let path = self.root.join(key.object_path());
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::from_io("inspect", path, error)),
        }
    }

    /// Removes the object, durably: its row goes next, and a file that came back would have none.
    pub(crate) fn delete(&self, key: ObjectKey) -> Result<(), StoreError> {
        let path = self.root.join(key.object_path());
        if remove_file(&path)? {
            sync_parent(&path)?;
        }
        Ok(())
    }

    pub(crate) fn staged_keys(&self) -> Result<Vec<ObjectKey>, StoreError> {
        let folder = self.staging_folder();
        let failed = |error| StoreError::from_io("list", &folder, error);
        let mut keys = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            keys.extend(
                name.to_str()
                    .and_then(|name| name.parse::<ObjectKey>().ok()),
            );
            if keys.len() == STAGED_KEYS_LIMIT {
                break;
            }
        }
        Ok(keys)
    }

    /// Does with a small file what an upload does, so that a full disk, a read-only mount or a
    /// staging folder on another file system shows.
    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        let name = format!(".probe-{}", Uuid::new_v4());
        let objects = self.root.join(OBJECTS);
        let staged = self.staging_folder().join(&name);
        let linked = objects.join(&name);
        let outcome = write_probe(&staged, &linked);
        for path in [&staged, &linked] {
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "could not remove a probe file");
            }
        }
        outcome.map_err(|(action, source)| StoreError::NotWritable {
            folder: self.root.clone(),
            action,
            source,
        })
    }

    fn staging_folder(&self) -> PathBuf {
        self.root.join(STAGING)
    }
}

/// An open staging file; all writes go to its end.
pub(crate) struct StagingFile {
    file: File,
    path: PathBuf,
    /// The folder whose entry for a new file is not yet durable.
    folder_to_sync: Option<PathBuf>,
    /// Bytes written since the last early sync began.
    unsynced_bytes: usize,
    early_sync: Option<JoinHandle<()>>,
}

impl StagingFile {
    pub(crate) fn append(&mut self, pieces: &[Bytes]) -> Result<(), StoreError> {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let outcome = self.write_all(&mut slices);
        outcome.map_err(|error| StoreError::from_io("write", &self.path, error))?;
        self.unsynced_bytes += pieces.iter().map(Bytes::len).sum::<usize>();
        self.sync_early();
        Ok(())
    }

    /// Lets the disk begin while the upload goes on, so that the sync at its end has little to do.
    ///
    /// This is a hint: it opens the file anew, since the kernel reports a failed write-back once
    /// per open file, and the sync that counts must not miss it.
    fn sync_early(&mut self) {
        let is_under_way = self
            .early_sync
            .as_ref()
            .is_some_and(|sync| !sync.is_finished());
        if self.unsynced_bytes < EARLY_SYNC_BYTES || is_under_way {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        self.unsynced_bytes = 0;
        let path = self.path.clone();
        self.early_sync = Some(runtime.spawn_blocking(move || {
            let _hint = File::open(path).and_then(|file| file.sync_data());
        }));
    }

    fn write_all(&mut self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Empty pieces in front would look like a disk that takes nothing.
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the bytes durable, and the file's name in the staging folder, so that both are there
    /// after a power loss.
    pub(crate) fn sync_for_resume(&mut self) -> Result<(), StoreError> {
        self.sync_for_publish()?;
        if let Some(folder) = self.folder_to_sync.take() {
            sync_folder(&folder)?;
        }
        Ok(())
    }

    /// Makes the bytes durable; the name does not matter, since publishing gives another one.
    pub(crate) fn sync_for_publish(&mut self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(|error| StoreError::from_io("sync", &self.path, error))
    }
}

fn create_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
        .map_err(|error| StoreError::from_io("create folder", path, error))
}

fn open_for_reading(key: ObjectKey, path: PathBuf) -> Result<File, StoreError> {
    match File::open(&path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::Missing { key }),
        Err(error) => Err(StoreError::from_io("open", path, error)),
    }
}

/// Says whether there was a file.
fn remove_file(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::from_io("remove", path, error)),
    }
}

fn sync_parent(path: &Path) -> Result<(), StoreError> {
    path.parent().map_or(Ok(()), sync_folder)
}

fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| StoreError::from_io("sync folder", path, error))
}

fn write_probe(staged: &Path, linked: &Path) -> Result<(), (&'static str, io::Error)> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(staged)
        .map_err(|error| ("create a probe file", error))?;
    file.write_all(b"berth")
        .map_err(|error| ("write a probe file", error))?;
    file.sync_all()
        .map_err(|error| ("sync a probe file", error))?;
    fs::hard_link(staged, linked).map_err(|error| ("link a probe file", error))
}

#[cfg(test)]
mod tests;

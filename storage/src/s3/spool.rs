//! Bytes that wait on this machine's disk until they fill a part.
//!
//! Owns the files they wait in. A file loses its name as soon as it is open, so that the system frees it when the
//! process ends, however it ends. Everything here blocks. Nothing is synced: what counts is in the bucket.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::error::StoreError;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// So many bytes need no file: most blobs that are no layers are smaller.
pub(super) const MEMORY_BYTES: usize = 64 * 1024;
/// What the name of a file here starts with; others are not ours to remove.
const NAME: &str = "part-";

#[derive(Clone)]
pub(super) struct SpoolFolder(Arc<PathBuf>);

impl SpoolFolder {
    /// Makes the folder, and removes what a process that ended early left in it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |action, error| StoreError::from_io(action, path, error);
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(path)
            .map_err(|error| failed("create folder", error))?;
        for entry in fs::read_dir(path).map_err(|error| failed("list", error))? {
            let entry = entry.map_err(|error| failed("list", error))?;
            if entry.file_name().to_string_lossy().starts_with(NAME) {
                fs::remove_file(entry.path()).map_err(|error| failed("empty", error))?;
            }
        }
        Ok(Self(Arc::new(path.to_path_buf())))
    }

    pub(super) fn spool(&self) -> Spool {
        Spool {
            folder: self.clone(),
            beginning: Vec::new(),
            file: None,
            length: 0,
        }
    }

    fn nameless_file(&self) -> Result<File, StoreError> {
        let path = self.0.join(format!("{NAME}{}", Uuid::new_v4()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(|error| StoreError::from_io("create", &path, error))?;
        fs::remove_file(&path).map_err(|error| StoreError::from_io("remove", &path, error))?;
        Ok(file)
    }
}

/// Bytes in order, appended and then read as a whole.
pub(super) struct Spool {
    folder: SpoolFolder,
    /// The bytes, as long as there is no file.
    beginning: Vec<u8>,
    file: Option<Arc<File>>,
    length: u64,
}

impl Spool {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    pub(super) fn append(&mut self, bytes: &Bytes) -> Result<(), StoreError> {
        if self.file.is_none() && self.beginning.len() + bytes.len() <= MEMORY_BYTES {
            self.beginning.extend_from_slice(bytes);
        } else {
            let file = match self.file.take() {
                Some(file) => file,
                None => Arc::new(self.folder.nameless_file()?),
            };
            let beginning = std::mem::take(&mut self.beginning);
            (&*file)
                .write_all(&beginning)
                .and_then(|()| (&*file).write_all(bytes))
                .map_err(|error| StoreError::from_io("write to", &*self.folder.0, error))?;
            self.file = Some(file);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Gives what was appended up to now, on another thread.
    pub(super) fn reader(&self) -> SpoolReader {
        SpoolReader {
            folder: self.folder.clone(),
            beginning: self.beginning.clone(),
            file: self.file.clone(),
        }
    }
}

/// The bytes of a spool as a whole.
pub(super) struct SpoolReader {
    folder: SpoolFolder,
    beginning: Vec<u8>,
    file: Option<Arc<File>>,
}

impl SpoolReader {
    /// Fills a buffer of exactly the length with the bytes; blocks.
    pub(super) fn read_into(&self, buffer: &mut [u8]) -> Result<(), StoreError> {
        match &self.file {
            None => {
                buffer.copy_from_slice(&self.beginning);
                Ok(())
            }
            Some(file) => file
                .read_exact_at(buffer, 0)
                .map_err(|error| StoreError::from_io("read from", &*self.folder.0, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn content_of(spool: &Spool) -> Vec<u8> {
        let mut buffer = vec![0; usize::try_from(spool.len()).unwrap()];
        spool.reader().read_into(&mut buffer).unwrap();
        buffer
    }

    #[test]
    fn small_and_large_spools_give_back_what_they_took_and_leave_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let spools = SpoolFolder::open(&path).unwrap();
        for pieces in [1, 4, 5, 40] {
            let mut spool = spools.spool();
            let mut expected = Vec::new();
            for piece in 0..pieces {
                let bytes = vec![piece; MEMORY_BYTES / 4];
                expected.extend_from_slice(&bytes);
                spool.append(&Bytes::from(bytes)).unwrap();
            }
            assert_eq!(spool.file.is_some(), pieces > 4);
            assert!(content_of(&spool) == expected);
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FOLDER_MODE);
    }

    #[test]
    fn opening_removes_leftovers_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("part-1"), b"left").unwrap();
        fs::write(folder.path().join("notes"), b"not ours").unwrap();
        SpoolFolder::open(folder.path()).unwrap();
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["notes"]);
    }
}

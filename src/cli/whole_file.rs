//! Writes a file whole or not at all: what is new lies beside the old until it takes its place in one step.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::{NamedTempFile, TempPath};

/// The access of folders that are made on the way.
const FOLDER_MODE: u32 = 0o700;

/// New content that waits for its turn; dropped, it leaves nothing behind.
pub(super) struct WholeFile {
    path: PathBuf,
    new: TempPath,
}

impl WholeFile {
    /// Prepares new content for `path`. What a link leads to is written, not the link; the access of an old file stays
    /// as it is, a new one gets `mode`. An error says that nothing has changed and why it cannot.
    pub(super) fn stage(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<Self> {
        stage(path, content, mode).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Puts it in its place.
    pub(super) fn commit(self) -> anyhow::Result<()> {
        let Self { path, new } = self;
        let place = || -> io::Result<()> {
            new.persist(&path).map_err(|error| error.error)?;
            fs::File::open(folder_of(&path))?.sync_all()
        };
        place().with_context(|| format!("cannot write {}", path.display()))
    }
}

fn stage(path: &Path, content: &[u8], mode: u32) -> io::Result<WholeFile> {
    let path = followed(path)?;
    let old = match fs::metadata(&path) {
        Ok(old) => {
            // A file that may not be written may be replaced all the same, where its folder may; that is not meant.
            OpenOptions::new().append(true).open(&path)?;
            Some(old)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder_of(&path))?;
    let mut new = NamedTempFile::new_in(folder_of(&path))?;
    new.write_all(content)?;
    let file = new.as_file();
    if let Some(old) = &old {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
            fchown(file, Some(old.uid()), Some(old.gid()))?;
        }
    }
    let mode = old.map_or(mode, |old| old.mode() & 0o7777);
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    Ok(WholeFile {
        path,
        new: new.into_temp_path(),
    })
}

/// Where a path leads; itself if nothing is there yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(path) {
            Ok(_) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "it is a link to something that is not there",
            )),
            Err(_) => Ok(path.to_path_buf()),
        },
        Err(error) => Err(error),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

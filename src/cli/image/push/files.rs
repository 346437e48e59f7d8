//! Files of an image that lie in a folder or in a tar archive. Nothing is unpacked: a file is a piece of another one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use tar::EntryType;

/// Files of an archive at most: an image has one for each layer and a few more.
const ENTRIES_LIMIT: usize = 100_000;

/// Links that are followed from one name of an archive to the next at most.
const LINKS_LIMIT: usize = 8;

/// How packed files begin: gzip, zstd, xz, bzip2.
const PACKED: [(&[u8], &str); 4] = [
    (&[0x1f, 0x8b], "gunzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "unzstd"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "unxz"),
    (b"BZh", "bunzip2"),
];

/// Where bytes lie.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Piece {
    path: Arc<PathBuf>,
    offset: u64,
    pub(in crate::cli) size_bytes: u64,
}

/// A folder or an archive.
pub(super) enum Files {
    Folder(PathBuf),
    Archive {
        path: Arc<PathBuf>,
        entries: HashMap<String, Entry>,
    },
}

/// What an archive has under a name.
pub(super) enum Entry {
    /// Bytes of its own.
    Bytes { offset: u64, size_bytes: u64 },
    /// Those of another name.
    Link(String),
}

impl Piece {
    /// The piece from `offset` on, for reading in order.
    pub(super) fn reader(&self, offset: u64) -> io::Result<impl Read + use<>> {
        let mut file = File::open(self.path.as_path())?;
        file.seek(SeekFrom::Start(self.offset + offset))?;
        Ok(file.take(self.size_bytes.saturating_sub(offset)))
    }

    /// All of it, if it has no more than `limit` bytes.
    pub(super) fn read_whole(&self, what: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
        ensure!(
            self.size_bytes <= limit,
            "{what} has {} bytes, of which at most {limit} are read",
            self.size_bytes
        );
        let mut bytes = Vec::new();
        self.reader(0)
            .and_then(|mut reader| reader.read_to_end(&mut bytes))
            .with_context(|| format!("cannot read {what}"))?;
        Ok(bytes)
    }

    /// A whole file.
    pub(in crate::cli) fn of_file(path: PathBuf) -> io::Result<Self> {
        let size_bytes = fs::metadata(&path)?.len();
        Ok(Self {
            path: Arc::new(path),
            offset: 0,
            size_bytes,
        })
    }
}

impl Files {
    /// Opens what `path` leads to.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let about =
            fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        if about.is_dir() {
            return Ok(Self::Folder(path.to_path_buf()));
        }
        let entries = entries(path, about.len())
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::Archive {
            path: Arc::new(path.to_path_buf()),
            entries,
        })
    }

    /// The file of this name, if there is one. The name is one that we made, or checked.
    pub(super) fn find(&self, name: &str) -> anyhow::Result<Option<Piece>> {
        match self {
            Self::Folder(folder) => match Piece::of_file(folder.join(name)) {
                Ok(piece) => Ok(Some(piece)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error).with_context(|| format!("cannot read {name}")),
            },
            Self::Archive { path, entries } => {
                let mut name = name;
                for _ in 0..LINKS_LIMIT {
                    match entries.get(name) {
                        None => return Ok(None),
                        Some(Entry::Link(other)) => name = other,
                        Some(Entry::Bytes { offset, size_bytes }) => {
                            return Ok(Some(Piece {
                                path: Arc::clone(path),
                                offset: *offset,
                                size_bytes: *size_bytes,
                            }));
                        }
                    }
                }
                bail!("{name} is a link that leads nowhere");
            }
        }
    }
}

/// What an archive holds, by name.
fn entries(path: &Path, length: u64) -> anyhow::Result<HashMap<String, Entry>> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    (&mut file).take(8).read_to_end(&mut start)?;
    for (magic, unpack) in PACKED {
        ensure!(
            !start.starts_with(magic),
            "it is packed: unpack it first, as with `{unpack}`"
        );
    }
    file.rewind()?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut entries = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry.context("it is no tar archive, or it is cut off")?;
        let Some(name) = entry.path().ok().and_then(|path| normal(&path)) else {
            continue;
        };
        let found = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let (offset, size_bytes) = (entry.raw_file_position(), entry.size());
                ensure!(
                    offset
                        .checked_add(size_bytes)
                        .is_some_and(|end| end <= length),
                    "it is cut off in the middle of {name}"
                );
                Entry::Bytes { offset, size_bytes }
            }
            kind @ (EntryType::Link | EntryType::Symlink) => {
                let target = entry.link_name().ok().flatten();
                let target = target.map(|target| match kind {
                    // A symbolic link is read from the folder that it is in.
                    EntryType::Symlink => Path::new(&name)
                        .parent()
                        .unwrap_or(Path::new(""))
                        .join(target),
                    _ => target.into_owned(),
                });
                match target.as_deref().and_then(normal) {
                    Some(target) => Entry::Link(target),
                    None => continue,
                }
            }
            _ => continue,
        };
        entries.insert(name, found);
        ensure!(
            entries.len() <= ENTRIES_LIMIT,
            "it has more than {ENTRIES_LIMIT} files"
        );
    }
    Ok(entries)
}

/// A path without `.` and `..`; none if it leads out of the archive or is not text.
fn normal(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            std::path::Component::Normal(part) => parts.push(part.to_str()?),
            std::path::Component::CurDir | std::path::Component::RootDir => {}
            std::path::Component::ParentDir => {
                parts.pop()?;
            }
            std::path::Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_plain() {
        for (path, expected) in [
            ("./a/b", Some("a/b")),
            ("a/../b/c", Some("b/c")),
            ("../a", None),
            ("/a", Some("a")),
        ] {
            assert_eq!(normal(Path::new(path)).as_deref(), expected, "{path}");
        }
    }
}

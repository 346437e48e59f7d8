//! What the system holds in memory already, had without waiting for a disk.
//!
//! Most reads of a registry are of such files. Asking for them from the async threads saves handing the work to a
//! blocking thread and back, which costs more than reading a small blob does. Whatever cannot be had so, for any reason,
//! is asked for again in the way that may wait, and that one's errors count.

use std::fs::File;

#[cfg(target_os = "linux")]
mod system {
    use std::fs::File;
    use std::io::IoSliceMut;

    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    use rustix::io::{ReadWriteFlags, preadv2};

    pub(super) fn open(folder: &File, path: &str) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = openat2(folder, path, flags, Mode::empty(), ResolveFlags::CACHED);
        opened.ok().map(File::from)
    }

    pub(super) fn read(file: &File, buffer: &mut [u8], position: u64) -> usize {
        let mut slices = [IoSliceMut::new(buffer)];
        preadv2(file, &mut slices, position, ReadWriteFlags::NOWAIT).unwrap_or(0)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::fs::File;

    pub(super) fn open(_: &File, _: &str) -> Option<File> {
        None
    }

    pub(super) fn read(_: &File, _: &mut [u8], _: u64) -> usize {
        0
    }
}

/// Opens a file below a folder if its name and what is known of it are in memory.
pub(super) fn open(folder: &File, path: &str) -> Option<File> {
    system::open(folder, path)
}

/// Fills a buffer from a position if the page cache has all of it.
pub(crate) fn read_exactly(file: &File, buffer: &mut [u8], position: u64) -> bool {
    system::read(file, buffer, position) == buffer.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_at_hand() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"bytes").unwrap();
        let opened = File::open(folder.path()).unwrap();
        assert!(open(&opened, "other").is_none());
        let file = File::open(folder.path().join("file")).unwrap();
        let mut buffer = [0; 6];
        assert!(!read_exactly(&file, &mut buffer, 0));
        assert!(!read_exactly(&file, &mut buffer[..1], 5));
    }

    #[test]
    fn what_is_at_hand_is_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"bytes").unwrap();
        let opened = File::open(folder.path()).unwrap();
        // Not every file system says what it has in memory.
        let Some(file) = open(&opened, "file") else {
            return;
        };
        let mut buffer = [0; 3];
        if read_exactly(&file, &mut buffer, 2) {
            assert_eq!(&buffer, b"tes");
        }
    }
}

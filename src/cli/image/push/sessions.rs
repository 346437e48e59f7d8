//! Uploads that have begun, kept in files, so that a push that was killed goes on where it was.
//!
//! A file holds the address of a session. It lets nobody do anything: the session is its principal's.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use berth::clock::Clock;
use berth_storage::{Digest, DigestAlgorithm};
use reqwest::Url;

use super::super::super::Context;
use super::super::super::whole_file::WholeFile;

/// The longest address that is read back, in bytes.
const LIMIT_BYTES: u64 = 16 * 1024;

/// The access of a file.
const MODE: u32 = 0o600;

/// How long a session may rest until no registry knows it any more.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The folder of the sessions; nothing is kept where no folder for it is known.
#[derive(Clone)]
pub(super) struct Sessions(Option<PathBuf>);

impl Sessions {
    /// Those of this user.
    pub(super) fn find(context: &Context<'_>) -> Self {
        let own = |variable: &str| {
            context
                .variable(variable)
                .filter(|text| text.starts_with('/'))
        };
        let cache = own("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| own("HOME").map(|home| Path::new(home).join(".cache")));
        let folder = cache.map(|cache| cache.join("berth/uploads"));
        if let Some(folder) = &folder {
            forget_old(folder, &context.clock);
        }
        Self(folder)
    }

    fn path(&self, repository: &str, digest: &Digest) -> Option<PathBuf> {
        let name = format!("{repository}@{digest}");
        let name = Digest::of(DigestAlgorithm::Sha256, name.as_bytes()).hex();
        self.0.as_ref().map(|folder| folder.join(name))
    }

    /// The session in which a blob was being sent to a repository, written with its host.
    pub(super) fn of(&self, repository: &str, digest: &Digest) -> Option<Url> {
        let mut text = String::new();
        let file = fs::File::open(self.path(repository, digest)?).ok()?;
        file.take(LIMIT_BYTES).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// Keeps a session. What cannot be kept is sent again the next time.
    pub(super) fn keep(&self, repository: &str, digest: &Digest, session: &Url) {
        if let Some(path) = self.path(repository, digest)
            && let Ok(file) = WholeFile::stage(&path, session.as_str().as_bytes(), MODE)
        {
            let _ = file.commit();
        }
    }

    /// Forgets a session, which has ended.
    pub(super) fn forget(&self, repository: &str, digest: &Digest) {
        if let Some(path) = self.path(repository, digest) {
            // It may not have been kept.
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes what nobody will come back for.
fn forget_old(folder: &Path, clock: &Clock) {
    let now = u128::try_from(clock.now().0).unwrap_or_default();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let changed = entry.metadata().and_then(|about| about.modified());
        let changed = changed
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        if changed.is_some_and(|at| at.as_millis() + KEPT.as_millis() < now) {
            // Another push may have removed it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

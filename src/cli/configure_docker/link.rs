//! The link under which docker finds its helper: `docker-credential-berth` in a folder on PATH.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempPath;

use super::super::credential_helper::PROGRAM;

/// A link that is to be made.
pub(super) struct Link {
    pub(super) path: PathBuf,
    pub(super) program: PathBuf,
}

/// The same, made beside its place.
pub(super) struct StagedLink {
    path: PathBuf,
    new: TempPath,
}

/// Where `program` is to be found by docker; nothing if it is found already.
///
/// `search` is PATH, `folder` a person's choice on it.
pub(super) fn plan(
    program: &Path,
    folder: Option<&Path>,
    search: &OsStr,
    force: bool,
) -> anyhow::Result<Option<Link>> {
    let found = || std::env::split_paths(search).map(|folder| folder.join(PROGRAM));
    let first = found().find(|path| fs::metadata(path).is_ok_and(|found| found.is_file()));
    if folder.is_none() && first.as_deref().is_some_and(|first| same(first, program)) {
        return Ok(None);
    }
    let folder = match folder {
        Some(folder) => std::path::absolute(folder)
            .with_context(|| format!("cannot use {}", folder.display()))?,
        None => own_folder(program, search)?,
    };
    let path = folder.join(PROGRAM);
    if let Some(other) = first.filter(|first| !same(first, program))
        && !same(&other, &path)
        && is_before(&other, &path, search)
    {
        anyhow::bail!(
            "{} comes first on PATH and is another program; remove it, or name its folder by --bin-dir; nothing was \
             changed",
            other.display()
        );
    }
    if same(&path, program) {
        return Ok(None);
    }
    anyhow::ensure!(
        force || fs::symlink_metadata(&path).is_err(),
        "{} is there already and is another program; nothing was changed (--force replaces it)",
        path.display()
    );
    Ok(Some(Link {
        path,
        program: program.to_path_buf(),
    }))
}

/// Whether `folder` is on PATH.
pub(super) fn is_searched(folder: &Path, search: &OsStr) -> bool {
    std::env::split_paths(search).any(|searched| same(&searched, folder))
}

/// The folder of the program, if docker looks there.
fn own_folder(program: &Path, search: &OsStr) -> anyhow::Result<PathBuf> {
    let folder = program.parent().unwrap_or(Path::new("/"));
    anyhow::ensure!(
        is_searched(folder, search),
        "docker looks for its helpers on PATH, and {}, where this program is, is not on it: name a folder on PATH \
         that you can write to, such as --bin-dir /usr/local/bin; nothing was changed",
        folder.display()
    );
    Ok(folder.to_path_buf())
}

/// Whether the folder of `one` is searched before that of `other`.
fn is_before(one: &Path, other: &Path, search: &OsStr) -> bool {
    let place = |path: &Path| {
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::env::split_paths(search).position(|searched| same(&searched, folder))
    };
    match (place(one), place(other)) {
        (Some(one), Some(other)) => one < other,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// Whether two paths lead to the same file or folder.
fn same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

impl Link {
    /// Makes the link beside its place; the error says where it can be made.
    pub(super) fn staged(&self) -> anyhow::Result<StagedLink> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let new = tempfile::Builder::new()
            .prefix(".docker-credential-berth")
            .make_in(folder, |path| symlink(&self.program, path))
            .with_context(|| {
                format!(
                    "cannot make a link in {}: name a folder on PATH that you can write to, such as --bin-dir \
                     ~/.local/bin",
                    folder.display()
                )
            })?;
        Ok(StagedLink {
            path: self.path.clone(),
            new: new.into_temp_path(),
        })
    }
}

impl StagedLink {
    /// Puts it in its place.
    pub(super) fn commit(self) -> anyhow::Result<()> {
        let Self { path, new } = self;
        new.persist(&path)
            .map_err(|error| error.error)
            .with_context(|| format!("cannot make {}", path.display()))
    }
}

/// The running program.
pub(super) fn program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

//! The backup of an embedded installation, whose server may go on: a folder that can be served as it is.
//!
//! The database comes first, then the objects that this copy of it promises. What is deleted meanwhile stays in the
//! storage for the delay of objects, so a backup that takes no longer finds everything. Objects never change, so those of
//! an earlier backup in the same folder are not copied again. At every moment the folder holds one whole backup: the new
//! database takes the place of the old one when all its objects are there, and only then the objects go that it does not
//! need.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use berth_storage::{LocalOptions, ObjectKey, Progress, Store, StoreError};
use futures_util::{StreamExt as _, stream};

use super::{DATABASE_FILE, LOCK_FILE, make_private_folder};
use crate::auth::{remove_secret_file, write_secret_file};
use crate::config::{Config, DatabaseLocation};
use crate::metadata::{Snapshot, SnapshotBlob};

/// The file whose lock says that a backup into this folder runs, and that the folder holds backups.
const BACKUP_LOCK_FILE: &str = "backup.lock";
/// The folder of the objects.
const BLOBS_FOLDER: &str = "blobs";
/// The copy of the database until its objects are there.
const NEW_DATABASE_FILE: &str = "berth.db.new";
/// The folder of the signing keys, and the files beside it that a backup takes along.
const KEYS_FOLDER: &str = "keys";
const KEY_FILES: [&str; 2] = ["operator.key", "main.key"];
/// Objects that are copied at one time.
const COPIED_AT_ONCE: usize = 4;
/// Objects asked for at a time.
const PAGE: u32 = 500;
/// Failed objects that are named.
const NAMED_FAILURES: usize = 20;

/// What a backup has done so far.
#[derive(Clone, Debug, Default)]
pub struct BackupReport {
    /// Blobs of the snapshot, and their bytes.
    pub blobs: u64,
    /// The bytes of all of them.
    pub bytes: u64,
    /// Blobs that were looked at.
    pub done: u64,
    /// Of these, blobs that were copied now.
    pub copied: u64,
    /// The bytes that were copied now.
    pub copied_bytes: u64,
    /// Objects of earlier backups that were removed.
    pub removed: u64,
    /// Blobs that could not be copied, and why; the first of them are named.
    pub failed: u64,
    /// The names of the first of them.
    pub failures: Vec<String>,
}

/// Backs the installation of a configuration up into a folder. `progress` is told now and then. When blobs cannot be
/// copied, what the folder held before stays in its place, unless `allow_damaged` says that this copy is good enough.
pub async fn backup(
    config: &Config,
    to: &Path,
    allow_damaged: bool,
    mut progress: impl FnMut(&BackupReport),
) -> anyhow::Result<BackupReport> {
    let DatabaseLocation::Sqlite(database) = config.database_location() else {
        anyhow::bail!(
            "this installation is on PostgreSQL, whose backup is pg_dump and a copy of the storage, in this order: \
             see docs/operations.md"
        );
    };
    anyhow::ensure!(
        config.storage.s3.bucket.is_none(),
        "the blobs of this installation are in a bucket: copy berth.db and the keys while the server is stopped, and \
         keep the bucket by its own means, such as versions or replication: see docs/s3.md"
    );
    anyhow::ensure!(
        database.exists(),
        "there is no installation in {}: name its folder by --data-dir, or its configuration by --config",
        config.server.data_dir.display()
    );
    let blobs = config.blobs_path();
    let _running = own_backup_folder(to, &[&config.server.data_dir, &blobs])?;
    let source = open_blobs(&blobs).await?;
    let target = open_blobs(&to.join(BLOBS_FOLDER)).await?;
    let new_database = to.join(NEW_DATABASE_FILE);
    remove(&new_database)?;
    let mut snapshot = Snapshot::take(&database, &new_database)
        .await
        .context("the database cannot be copied")?;
    let id = snapshot.installation_id().await?;
    anyhow::ensure!(
        source.is_claimed_by(&id).await?,
        "the blobs in {} are not those of this installation: is the right disk mounted?",
        config.blobs_path().display()
    );
    target.claim(&id).await?;
    let (blobs, bytes) = snapshot.totals().await?;
    let mut report = BackupReport {
        blobs,
        bytes,
        ..BackupReport::default()
    };
    copy_objects(&mut snapshot, &source, &target, &mut report, &mut progress).await?;
    if report.failed > 0 && !allow_damaged {
        // The folder holds what it held before: an earlier backup is worth more than one that is not whole.
        snapshot.close().await?;
        remove(&new_database)?;
        return Ok(report);
    }
    // Of those that were there already, some may be of a run that broke off.
    target.sync_names().await?;
    copy_keys(&config.server.data_dir, to)?;
    fs::rename(&new_database, to.join(DATABASE_FILE))
        .context("the copy of the database cannot be put in its place")?;
    File::open(to)?.sync_all()?;
    report.removed = remove_unneeded(&mut snapshot, &target).await?;
    snapshot.close().await?;
    Ok(report)
}

/// Makes the folder, or sees that it holds backups, and nothing that is served or of the installation itself.
fn own_backup_folder(to: &Path, own: &[&Path]) -> anyhow::Result<File> {
    let is_new = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => true,
    };
    make_private_folder(to).with_context(|| format!("{} cannot be made", to.display()))?;
    let to = to.canonicalize()?;
    for folder in own {
        let folder = folder
            .canonicalize()
            .with_context(|| format!("{} cannot be found", folder.display()))?;
        anyhow::ensure!(
            !to.starts_with(&folder) && !folder.starts_with(&to),
            "the backup cannot lie in {}, a folder of the installation, nor around it: name another one, best on \
             another disk",
            folder.display()
        );
    }
    for served in [to.clone(), to.join(BLOBS_FOLDER)] {
        anyhow::ensure!(
            !served.join(LOCK_FILE).exists(),
            "{} has been served from, and is an installation's now: back up into another folder",
            served.display()
        );
    }
    let lock_file = to.join(BACKUP_LOCK_FILE);
    anyhow::ensure!(
        is_new || lock_file.exists(),
        "{} holds something else: name an empty folder, a new one, or one with an earlier backup",
        to.display()
    );
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_file)
        .with_context(|| format!("{} cannot be opened", lock_file.display()))?;
    anyhow::ensure!(
        lock.try_lock().is_ok(),
        "another backup into {} is running",
        to.display()
    );
    Ok(lock)
}

async fn open_blobs(folder: &Path) -> anyhow::Result<Store> {
    Store::local(folder, LocalOptions::default())
        .await
        .with_context(|| format!("the blobs in {} cannot be opened", folder.display()))
}

/// The signing keys, and the files with the first API keys if they are still there. A key that is gone from the
/// installation goes from the backup too: a restore must not bring it back.
fn copy_keys(from: &Path, to: &Path) -> anyhow::Result<()> {
    make_private_folder(&to.join(KEYS_FOLDER))?;
    let mut files: Vec<PathBuf> = KEY_FILES.iter().map(PathBuf::from).collect();
    for folder in [from, to] {
        let keys = fs::read_dir(folder.join(KEYS_FOLDER));
        for entry in keys.context("the signing keys cannot be read")? {
            files.push(Path::new(KEYS_FOLDER).join(entry?.file_name()));
        }
    }
    files.sort_unstable();
    files.dedup();
    for file in &files {
        let (source, target) = (from.join(file), to.join(file));
        if source.is_file() {
            fs::read(&source)
                .and_then(|content| write_secret_file(&target, &content))
                .with_context(|| format!("{} cannot be copied", source.display()))?;
        } else {
            remove(&target)?;
        }
    }
    Ok(())
}

fn remove(file: &Path) -> anyhow::Result<()> {
    remove_secret_file(file).with_context(|| format!("{} cannot be removed", file.display()))
}

async fn copy_objects(
    snapshot: &mut Snapshot,
    source: &Store,
    target: &Store,
    report: &mut BackupReport,
    progress: &mut impl FnMut(&BackupReport),
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = snapshot.blobs_after(after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.object_key);
        let copies = page
            .into_iter()
            .map(|blob| async move { (blob, copy_object(blob, source, target).await) });
        let mut copies = stream::iter(copies).buffer_unordered(COPIED_AT_ONCE);
        while let Some((blob, outcome)) = copies.next().await {
            report.done += 1;
            match outcome {
                Ok(false) => {}
                Ok(true) => {
                    report.copied += 1;
                    report.copied_bytes += blob.size_bytes;
                }
                Err(CopyError::Source(reason)) => {
                    report.failed += 1;
                    if report.failures.len() < NAMED_FAILURES {
                        report.failures.push(format!("{}: {reason}", blob.digest));
                    }
                }
                Err(CopyError::Target(error)) => {
                    return Err(error).context("the backup cannot be written");
                }
            }
            progress(report);
        }
    }
}

enum CopyError {
    /// This blob cannot be had; others can.
    Source(String),
    /// Nothing can be written.
    Target(StoreError),
}

/// Copies one object, unless it is there. What is copied is hashed on its way, and kept only if it is the blob.
async fn copy_object(
    blob: SnapshotBlob,
    source: &Store,
    target: &Store,
) -> Result<bool, CopyError> {
    let key = blob.object_key;
    match target.size(key).await.map_err(CopyError::Target)? {
        Some(size_bytes) if size_bytes == blob.size_bytes => return Ok(false),
        Some(_) => target.delete(key).await.map_err(CopyError::Target)?,
        None => {}
    }
    let unreadable = |error: StoreError| CopyError::Source(error.to_string());
    let mut reader = source
        .read(key, 0..blob.size_bytes)
        .await
        .map_err(unreadable)?;
    let start = Progress::start(blob.digest.algorithm());
    let mut writer = target
        .writer(key, &start)
        .await
        .map_err(CopyError::Target)?;
    while let Some(chunk) = reader.next().await {
        let chunk = chunk.map_err(unreadable)?;
        writer.write(chunk).await.map_err(CopyError::Target)?;
    }
    let staged = writer.finish().await.map_err(CopyError::Target)?;
    if staged.digest() != blob.digest {
        staged.discard().await.map_err(CopyError::Target)?;
        let reason =
            "its bytes are not those of its digest; `berth check --hash --repair` sets it aside";
        return Err(CopyError::Source(String::from(reason)));
    }
    staged.publish().await.map_err(CopyError::Target)?;
    Ok(true)
}

/// Removes the objects of earlier backups that the newest one does not need, and what a backup that broke off left.
async fn remove_unneeded(snapshot: &mut Snapshot, target: &Store) -> anyhow::Result<u64> {
    for key in target.staged_keys().await? {
        target.discard_staging(key).await?;
    }
    let (mut after, mut removed): (Option<ObjectKey>, u64) = (None, 0);
    loop {
        let page = target.list_objects(after, PAGE as usize).await?;
        let Some(last) = page.last() else {
            return Ok(removed);
        };
        after = Some(last.key);
        for object in page {
            if !snapshot.needs(object.key).await? {
                target.delete(object.key).await?;
                removed += 1;
            }
        }
    }
}

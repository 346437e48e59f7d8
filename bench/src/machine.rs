//! What the figures were measured on.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The line that belongs to a table of figures.
pub(crate) fn description(folder: &Path) -> anyhow::Result<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let mut models = cpus.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim())
    });
    let model = models.next().unwrap_or("unknown processor");
    let cores = 1 + models.count();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let file_system = file_system(folder)?;
    Ok(format!(
        "{model}, {cores} cores, Linux {}, {file_system}",
        kernel.trim()
    ))
}

/// The type of the file system that a folder is on.
fn file_system(folder: &Path) -> anyhow::Result<String> {
    let folder = folder.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    mounts
        .filter(|(mount, _)| folder.starts_with(mount))
        .max_by_key(|(mount, _)| mount.len())
        .map(|(_, kind)| kind.to_owned())
        .context("the folder is on no file system")
}

/// Keeps this process, and the threads it will have, on one core.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let process = std::process::id().to_string();
    let output = Command::new("taskset")
        .args(["-c", "-p", &core.to_string(), &process])
        .output()
        .context("taskset is missing: it is in Debian's util-linux")?;
    ensure!(
        output.status.success(),
        "there is no core {core} for the client: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

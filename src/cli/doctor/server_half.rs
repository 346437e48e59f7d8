//! The checks on the server: what its configuration leads to, looked at from beside the server.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth::app::{self, StorageSeen};
use berth::auth::CLOCK_LEEWAY_MS;
use berth::clock::{Clock, Millis};
use berth::config::{Config, ConfigError, DatabaseLocation};
use berth::metadata::{Inspection, MetadataError};
use berth::telemetry;

use super::super::units;
use super::reach::Prober;
use super::report::{Finding, Report, Trouble};

/// How long the database and the storage may each take for all that is asked of them.
const DATABASE_LIMIT: Duration = Duration::from_secs(30);
const STORAGE_LIMIT: Duration = Duration::from_secs(60);
const SPACE_LIMIT: Duration = Duration::from_secs(10);
/// Free space under which something is soon to happen, and under which it has, in bytes.
const LOW_SPACE_BYTES: u64 = 1024 * 1024 * 1024;
const NO_SPACE_BYTES: u64 = 64 * 1024 * 1024;

const CONFIGURATION: &str = "server: configuration";
const CERTIFICATE: &str = "server: certificate";
const DATABASE: &str = "server: database";
const SCHEMA: &str = "server: schema";
const DURABILITY: &str = "server: durability";
const CLOCK: &str = "server: clock";
const STORAGE: &str = "server: storage";
const MARK: &str = "server: storage's owner";
const SPACE: &str = "server: free space";

/// The configuration, if there is one here.
pub(super) enum Found {
    Nothing,
    Broken(ConfigError),
    Here(Box<Config>),
}

/// Finds the configuration as `berth serve` does. Where none is named, there has to be an installation.
pub(super) fn find(
    file: Option<&Path>,
    data_dir: Option<String>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Found {
    let is_named = file.is_some() || data_dir.is_some();
    let flags: Vec<(&str, String)> = data_dir
        .map(|folder| ("server.data_dir", folder))
        .into_iter()
        .collect();
    match Config::load(file, environment, &flags) {
        Ok(config) if is_named || is_installed(&config) => Found::Here(Box::new(config)),
        Ok(_) => Found::Nothing,
        Err(error) => Found::Broken(error),
    }
}

fn is_installed(config: &Config) -> bool {
    match config.database_location() {
        DatabaseLocation::Sqlite(path) => path.exists(),
        DatabaseLocation::Postgres(_) => true,
    }
}

/// Checks what the configuration leads to.
pub(super) fn run(found: Found, clock: &Clock, report: &mut Report<'_, '_>) -> anyhow::Result<()> {
    let config = match found {
        Found::Here(config) => config,
        Found::Nothing => {
            let why = "no installation is here: name its --config or --data-dir where it runs";
            return Ok(report.skip(&["server"], why)?);
        }
        Found::Broken(error) => {
            let remedy = "correct it: config/berth.toml describes every key";
            let trouble = Trouble::new(error.to_string().replace('\n', "; "), remedy);
            report.tell(CONFIGURATION, Finding::Failed(trouble))?;
            return Ok(report.skip(&[DATABASE, STORAGE], "there is no configuration to go by")?);
        }
    };
    report.tell(CONFIGURATION, configuration(&config))?;
    report.tell(CERTIFICATE, certificate(&config))?;
    let prober = Prober::new()?;
    let told = inside(&config, &prober, clock, report);
    prober.leave();
    told
}

/// Looks at the database and the storage, and waits for none of them for longer than it may take.
fn inside(
    config: &Config,
    prober: &Prober,
    clock: &Clock,
    report: &mut Report<'_, '_>,
) -> anyhow::Result<()> {
    report.begin(DATABASE)?;
    let seen = prober.run_within(DATABASE_LIMIT, app::inspect_database(config));
    let id = database(config, seen, clock, report)?;
    match id {
        Some(id) => storage(config, &id, prober, report)?,
        None => {
            let why = "whose storage it should be is not known without the database";
            report.skip(&[STORAGE, MARK], why)?;
        }
    }
    let folders = filling(config);
    let looking = async { Ok(tokio::task::spawn_blocking(move || spaces(folders)).await?) };
    let space = match prober.run_within(SPACE_LIMIT, looking) {
        Ok(spaces) => judge_space(&spaces),
        Err(error) => Finding::Failed(Trouble::new(
            format!("{error:#}"),
            "see that the disk is well",
        )),
    };
    report.tell(SPACE, space)?;
    Ok(())
}

fn configuration(config: &Config) -> Result<String, Trouble> {
    match telemetry::check_filter(&config.log) {
        Ok(()) => Ok(format!("data in {}", config.server.data_dir.display())),
        Err(error) => Err(Trouble::new(format!("{error:#}"), "correct log.filter")),
    }
}

fn certificate(config: &Config) -> Finding {
    let Some(file) = &config.tls.certificate_file else {
        return Finding::Skipped(String::from(
            "none is configured: the doors speak plain HTTP",
        ));
    };
    match berth::tls::check(&config.tls) {
        Ok(()) => Finding::Ok(file.display().to_string()),
        Err(error) => Finding::Failed(Trouble::new(
            error.to_string(),
            "put the right files there: the server reads them again by itself",
        )),
    }
}

/// Tells what was seen of the database; the id of its installation.
fn database(
    config: &Config,
    seen: anyhow::Result<Inspection>,
    clock: &Clock,
    report: &mut Report<'_, '_>,
) -> io::Result<Option<String>> {
    let (place, remedy) = match config.database_location() {
        DatabaseLocation::Sqlite(path) => (
            path.display().to_string(),
            "name the folder of the installation by --data-dir or its configuration by --config, and run this as the \
             server's user; a new installation is made by the first `berth serve`",
        ),
        DatabaseLocation::Postgres(url) => (
            url.to_string(),
            "see that PostgreSQL runs, takes connections from here, and knows the user, the password and the database \
             of database.url",
        ),
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => {
            let trouble = Trouble::new(format!("{error:#}"), remedy);
            report.tell(DATABASE, Finding::Failed(trouble))?;
            report.skip(&[SCHEMA, DURABILITY, CLOCK], "the database is not reached")?;
            return Ok(None);
        }
    };
    report.tell(DATABASE, Finding::Ok(place))?;
    let schema = seen.schema.map(|version| format!("version {version}"));
    report.tell(SCHEMA, schema.map_err(refused))?;
    report.tell(DURABILITY, seen.durability.map_err(refused))?;
    report.tell(CLOCK, judge_clock(seen.time, clock.now()))?;
    Ok(seen.installation_id.map(|id| id.to_string()))
}

/// What the database layer refuses, it refuses with what to do.
fn refused(error: MetadataError) -> Trouble {
    let remedy = match &error {
        MetadataError::Refused(_) => "as said; docs/operations.md and docs/postgresql.md have more",
        _ => "see the log of the database, and restore it from a backup if it is damaged",
    };
    Trouble::new(format!("{:#}", anyhow::Error::from(error)), remedy)
}

fn judge_clock(theirs: Option<Millis>, now: Millis) -> Finding {
    let Some(theirs) = theirs else {
        return Finding::Skipped(String::from("the database has no clock of its own"));
    };
    let apart_ms = (now.0 - theirs.0).abs();
    if apart_ms <= CLOCK_LEEWAY_MS {
        return Finding::Ok(format!("{} s from that of the database", apart_ms / 1000));
    }
    Finding::Failed(Trouble::new(
        format!("{} s from that of the database", apart_ms / 1000),
        "set both clocks, for example by NTP",
    ))
}

fn storage(
    config: &Config,
    id: &str,
    prober: &Prober,
    report: &mut Report<'_, '_>,
) -> io::Result<()> {
    report.begin(STORAGE)?;
    let seen = prober.run_within(STORAGE_LIMIT, app::inspect_storage(config, id));
    let StorageSeen { place, claimed } = match seen {
        Ok(seen) => seen,
        Err(error) => {
            let remedy = if config.storage.s3.bucket.is_some() {
                "correct storage.s3, or what the key may do: docs/s3.md lists it"
            } else {
                "see that the disk is mounted, has space, and that the folder is the server's: `chown -R`; run this as \
                 the server's user"
            };
            let trouble = Trouble::new(format!("{error:#}"), remedy);
            report.tell(STORAGE, Finding::Failed(trouble))?;
            return report.skip(&[MARK], "the storage cannot be used");
        }
    };
    let detail = format!("{place}: a trial was written and deleted");
    report.tell(STORAGE, Finding::Ok(detail))?;
    let mark = match claimed {
        Ok(true) => Finding::Ok(String::from("it carries the mark of this installation")),
        Ok(false) => Finding::Failed(Trouble::new(
            "it carries no mark of an installation",
            "see that the right disk is mounted, and that storage.path, or the bucket and its prefix, are right; \
             `berth serve` makes the mark where nothing is amiss",
        )),
        Err(error) => Finding::Failed(Trouble::new(
            format!("{:#}", anyhow::Error::from(error)),
            "correct storage.path, or the bucket and its prefix, or database.url: one of them is another installation's",
        )),
    };
    report.tell(MARK, mark)?;
    Ok(())
}

/// The folders that fill up.
fn filling(config: &Config) -> [PathBuf; 2] {
    let storage = if config.storage.s3.bucket.is_some() {
        config.spool_path()
    } else {
        config.blobs_path()
    };
    [config.server.data_dir.clone(), storage]
}

/// What is free on the disks of those folders that are there.
fn spaces(folders: [PathBuf; 2]) -> Vec<(PathBuf, io::Result<u64>)> {
    folders
        .into_iter()
        .filter(|folder| folder.exists())
        .map(|folder| {
            let free = rustix::fs::statvfs(&folder);
            let free = free.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
            (folder, free.map_err(io::Error::from))
        })
        .collect()
}

fn judge_space(spaces: &[(PathBuf, io::Result<u64>)]) -> Finding {
    let mut least: Option<(&Path, u64)> = None;
    for (folder, free) in spaces {
        match free {
            Ok(free) if least.is_none_or(|(_, before)| *free < before) => {
                least = Some((folder, *free));
            }
            Ok(_) => {}
            Err(error) => {
                return Finding::Failed(Trouble::new(
                    format!("{}: {error}", folder.display()),
                    "see that the disk is well",
                ));
            }
        }
    }
    let Some((folder, free)) = least else {
        return Finding::Skipped(String::from("none of the folders is there"));
    };
    let detail = format!("{} on the disk of {}", units::size(free), folder.display());
    let remedy =
        "make room: a full disk refuses pushes with 507; docs/operations.md says what takes space";
    match free {
        0..NO_SPACE_BYTES => Finding::Failed(Trouble::new(detail, remedy)),
        NO_SPACE_BYTES..LOW_SPACE_BYTES => Finding::Warning(Trouble::new(detail, remedy)),
        LOW_SPACE_BYTES.. => Finding::Ok(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_disk_counts() {
        let disk = |free| (PathBuf::from(format!("/{free}")), Ok(free));
        let roomy = [disk(LOW_SPACE_BYTES + 1), disk(LOW_SPACE_BYTES)];
        assert!(matches!(judge_space(&roomy), Finding::Ok(_)));
        let low = [disk(LOW_SPACE_BYTES), disk(LOW_SPACE_BYTES - 1)];
        assert!(matches!(judge_space(&low), Finding::Warning(_)));
        let full = [disk(NO_SPACE_BYTES - 1), disk(LOW_SPACE_BYTES)];
        assert!(matches!(judge_space(&full), Finding::Failed(_)));
        let broken = [(PathBuf::from("/x"), Err(io::Error::other("gone")))];
        assert!(matches!(judge_space(&broken), Finding::Failed(_)));
        assert!(matches!(judge_space(&[]), Finding::Skipped(_)));
    }

    #[test]
    fn a_clock_far_from_the_databases_is_named() {
        let now = Millis(1_000_000);
        let judged = |theirs| judge_clock(theirs, now);
        assert!(matches!(judged(None), Finding::Skipped(_)));
        assert!(matches!(judged(Some(Millis(940_000))), Finding::Ok(_)));
        assert!(matches!(
            judged(Some(Millis(1_061_000))),
            Finding::Failed(_)
        ));
    }
}

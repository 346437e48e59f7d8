//! `berth configure-docker`: makes docker and podman ask `docker-credential-berth` for the registry's passwords.
//!
//! Everything is looked at before anything is changed, and every file is replaced whole: a refusal leaves all as it was.

mod json_text;
mod link;
mod login_file;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::connection::Connection;
use super::credential_helper::PROGRAM;
use super::docker::config_folder;
use super::output::{Format, plain, widths};
use super::registries::{self, Registries, host_of};

use link::{Link, StagedLink};
use login_file::{Edited, LoginFile};

/// How long the credential lives that is asked for only to learn the hosts: the shortest time there is.
const LIFETIME_SECONDS: u64 = 60;

/// Let docker and podman push and pull with short-lived credentials, and nothing stored
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth configure-docker
  berth configure-docker --dry-run
  berth configure-docker --bin-dir ~/.local/bin
  berth configure-docker --remove

Names berth as the helper of the registry's push and pull hosts (credHelpers) in
docker's config.json, which podman reads too, and links docker-credential-berth
to this program in a folder on PATH. From then on docker gets a new credential
each time with the key of `berth login`, or of BERTH_API_KEY. Everything else in
the file stays as it is written. Give podman's own file by --auth-file where
REGISTRY_AUTH_FILE or --authfile is used.")]
pub(super) struct ConfigureDocker {
    /// The folder for the link [default: that of this program, if it is on PATH]
    #[arg(long, value_name = "FOLDER", conflicts_with = "remove")]
    bin_dir: Option<PathBuf>,
    /// A login file of podman to change too [env: REGISTRY_AUTH_FILE]
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// Replace another helper or program that is there
    #[arg(long, conflicts_with = "remove")]
    force: bool,
    /// Show what would change and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take the helper out again; needs no server
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What of a credential tells the registry's hosts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hosts {
    push_registry: String,
    pull_registry: String,
    username: String,
}

/// What is to be done, and what a person should know besides.
struct Plan {
    files: Vec<Edited>,
    link: Option<Link>,
    registries: Option<(PathBuf, Registries)>,
    notes: Vec<String>,
    /// The sentence for when it is done.
    done: String,
}

impl ConfigureDocker {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let docker = config_folder(context)
            .context("no place for docker's config.json: neither DOCKER_CONFIG nor HOME is set")?
            .join("config.json");
        let podman = self
            .auth_file
            .clone()
            .or_else(|| context.variable("REGISTRY_AUTH_FILE").map(PathBuf::from));
        let mut paths: Vec<PathBuf> = [Some(docker), podman.clone()]
            .into_iter()
            .flatten()
            .collect();
        paths.dedup();
        let files: Vec<LoginFile> = paths
            .iter()
            .map(|path| LoginFile::load(path))
            .collect::<Result<_, _>>()?;
        let plan = if self.remove {
            removal(&files)?
        } else {
            self.set_up(context, &files, podman.is_none())?
        };
        if !self.dry_run {
            plan.carry_out()?;
        }
        plan.tell(context, self.connection.format, self.dry_run)
    }

    fn set_up(
        &self,
        context: &mut Context<'_>,
        files: &[LoginFile],
        podman_default: bool,
    ) -> anyhow::Result<Plan> {
        let path = registries::path(context).context(
            "no place to note the registry's hosts: neither XDG_CONFIG_HOME nor HOME is set",
        )?;
        let mut known = Registries::load(&path)?;
        let url = self.connection.server.target(context)?.url;
        let client = self.connection.client(context)?;
        let answer = client.post(
            &["registry", "credentials"],
            &json!({ "expiresInSeconds": LIFETIME_SECONDS }),
        )?;
        let named: Hosts =
            serde_json::from_value(answer).context("the server's answer is not a credential")?;
        let mut hosts = vec![
            host_of(&named.push_registry).to_owned(),
            host_of(&named.pull_registry).to_owned(),
        ];
        hosts.dedup();
        let before = known.clone();
        known.note(&url, hosts.clone(), named.username);
        let edited = files
            .iter()
            .map(|file| file.with_helper(&hosts, self.force))
            .collect::<Result<_, _>>()?;
        let search = search(context);
        let program = link::program().context("cannot tell where this program is")?;
        let link = link::plan(&program, self.bin_dir.as_deref(), &search, self.force)?;
        let mut notes = shadows(context, files, &hosts, podman_default);
        if let Some(folder) = self.bin_dir.as_deref()
            && !link::is_searched(folder, &search)
        {
            let folder = folder.display();
            notes.push(format!(
                "{folder} is not on PATH: docker finds {PROGRAM} when it is"
            ));
        }
        Ok(Plan {
            files: edited,
            link,
            registries: (known != before).then_some((path, known)),
            notes,
            done: format!(
                "docker gets a short-lived credential for {} each time; nothing is stored.",
                hosts.join(" and ")
            ),
        })
    }
}

/// Takes the helper out of all files. The link stays: other people's files may name the helper too.
fn removal(files: &[LoginFile]) -> anyhow::Result<Plan> {
    Ok(Plan {
        files: files
            .iter()
            .map(LoginFile::without_helper)
            .collect::<Result<_, _>>()?,
        link: None,
        registries: None,
        notes: Vec::new(),
        done: format!("docker no longer asks {PROGRAM}; the link stays where it is."),
    })
}

/// What would keep docker or podman from asking the helper, and passwords that nobody needs any more.
fn shadows(
    context: &Context<'_>,
    files: &[LoginFile],
    hosts: &[String],
    podman_default: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    let variable = context.variable("DOCKER_AUTH_CONFIG").unwrap_or_default();
    let podman = podman_auth_file(context).filter(|_| podman_default);
    let podman = podman.and_then(|path| Some((LoginFile::load(&path).ok()?, path)));
    for host in hosts {
        if login_file::has_password(variable, host) {
            notes.push(format!(
                "DOCKER_AUTH_CONFIG has a password for {host}, which docker takes before it asks the helper"
            ));
        }
        for file in files.iter().filter(|file| file.has_password(host)) {
            notes.push(format!(
                "{} still has a password for {host} in auths, which is no longer used: take it out",
                file.path().display()
            ));
        }
        if let Some((file, path)) = &podman
            && file.has_password(host)
        {
            notes.push(format!(
                "podman has a password for {host} in {}, which it prefers: `podman logout {host}`",
                path.display()
            ));
        }
    }
    notes
}

/// Where podman keeps what people log in with.
fn podman_auth_file(context: &Context<'_>) -> Option<PathBuf> {
    let folder = match context.variable("XDG_RUNTIME_DIR") {
        Some(folder) => PathBuf::from(folder).join("containers"),
        None => Path::new("/run/containers").join(rustix::process::getuid().as_raw().to_string()),
    };
    Some(folder.join("auth.json"))
}

/// Where programs are looked for.
fn search(context: &Context<'_>) -> OsString {
    let search = context.environment.get(OsStr::new("PATH"));
    search.cloned().unwrap_or_default()
}

impl Plan {
    /// Whether there is something that a person would notice.
    fn changes_something(&self) -> bool {
        self.link.is_some() || self.files.iter().any(|file| !file.changes.is_empty())
    }

    /// Does it all, or says why not and does nothing.
    fn carry_out(&self) -> anyhow::Result<()> {
        let link = self.link.as_ref().map(Link::staged).transpose()?;
        let mut staged = Vec::new();
        if let Some((path, registries)) = &self.registries {
            staged.push(registries.staged(path)?);
        }
        for file in &self.files {
            staged.extend(file.staged()?);
        }
        // docker's own file is the last: with it the helper begins to count.
        link.map(StagedLink::commit).transpose()?;
        staged
            .into_iter()
            .try_for_each(super::whole_file::WholeFile::commit)
    }

    /// Shows what has changed, or would have.
    fn tell(&self, context: &mut Context<'_>, format: Format, dry_run: bool) -> anyhow::Result<()> {
        if format == Format::Json {
            return Ok(context.output.record(format, &[], &self.json(dry_run))?);
        }
        let mut rows = Vec::new();
        for file in &self.files {
            for change in &file.changes {
                let shown = |helper: &Option<String>| plain(helper.as_deref().unwrap_or("-"));
                rows.push(vec![
                    file.path().display().to_string(),
                    plain(&change.host),
                    shown(&change.before),
                    shown(&change.after),
                ]);
            }
        }
        if !rows.is_empty() {
            let titles = ["FILE", "HOST", "HELPER BEFORE", "AFTER"];
            rows.insert(0, titles.map(String::from).to_vec());
            context.output.aligned(&widths(&rows), &rows)?;
        }
        if let Some(link) = &self.link {
            let (path, program) = (link.path.display(), link.program.display());
            context.output.line(&format!("{path} -> {program}"))?;
        }
        for note in &self.notes {
            context.output.note(&format!("note: {}", plain(note)))?;
        }
        let sentence = match (self.changes_something(), dry_run) {
            (_, true) => "This was a dry run: nothing has changed.",
            (false, false) => "There was nothing to change.",
            (true, false) => &self.done,
        };
        context.output.line(sentence)?;
        Ok(())
    }

    fn json(&self, dry_run: bool) -> Value {
        let change = |file: &Edited| {
            let path = file.path().display().to_string();
            let changes = file.changes.iter().map(move |change| {
                json!({
                    "file": path, "host": change.host, "before": change.before, "after": change.after,
                })
            });
            changes.collect::<Vec<_>>()
        };
        let link = self.link.as_ref().map(|link| {
            json!({ "path": link.path.display().to_string(), "program": link.program.display().to_string() })
        });
        json!({
            "dryRun": dry_run,
            "changes": self.files.iter().flat_map(change).collect::<Vec<_>>(),
            "link": link,
            "notes": self.notes,
        })
    }
}

//! A login file of docker or podman (`config.json`, `auth.json`): which helper each host has in it, and that changed.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::credential_helper::HELPER;
use super::super::whole_file::WholeFile;
use super::json_text::ObjectText;

/// The largest login file that is read, in bytes.
const LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// The access of a login file that is made: it may come to hold passwords.
const MODE: u32 = 0o600;

/// The member that names a helper for each host.
const HELPERS: &str = "credHelpers";

/// The login file as it is.
pub(super) struct LoginFile {
    path: PathBuf,
    /// All of it, with the white space around the object.
    text: String,
    object: ObjectText,
    helpers: ObjectText,
}

/// The login file as it is to become.
pub(super) struct Edited {
    path: PathBuf,
    content: String,
    pub(super) changes: Vec<Change>,
}

/// One host, and the helper it had and will have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) host: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl LoginFile {
    /// Reads the file; one that is not there, or empty, has nothing in it.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let parse = |text: &str, what: &str| {
            // The parser's own words could repeat a password.
            ObjectText::parse(text).map_err(|error| {
                anyhow::anyhow!(
                    "{} is not what docker writes: {what} is no JSON object (line {}, column {}); nothing was changed",
                    path.display(),
                    error.line(),
                    error.column()
                )
            })
        };
        let object = match text.trim() {
            "" => ObjectText::empty(),
            text => parse(text, "it")?,
        };
        let named: Vec<&str> = object
            .members()
            .filter_map(|(name, value)| (name == HELPERS).then_some(value))
            .collect();
        anyhow::ensure!(
            named.len() < 2,
            "{} has {HELPERS} twice; nothing was changed",
            path.display()
        );
        let helpers = match named.first() {
            None | Some(&"null") => ObjectText::empty(),
            Some(helpers) => parse(helpers, HELPERS)?,
        };
        Ok(Self {
            path: path.to_path_buf(),
            text,
            object,
            helpers,
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes Berth the helper of `hosts`; another helper gives way only to force.
    pub(super) fn with_helper(&self, hosts: &[String], force: bool) -> anyhow::Result<Edited> {
        let layout = self.object.layout();
        let mut helpers = self.helpers.clone();
        let mut changes = Vec::new();
        for host in hosts {
            let before = helpers.get(host).map(named);
            if before.as_deref() == Some(HELPER) {
                continue;
            }
            if let Some(before) = &before {
                anyhow::ensure!(
                    force,
                    "{} has the helper {before} for {host} already; nothing was changed (--force replaces it)",
                    self.path.display()
                );
            }
            helpers = helpers.with(host, &json!(HELPER).to_string(), &layout, 2)?;
            changes.push(Change {
                host: host.clone(),
                before,
                after: Some(String::from(HELPER)),
            });
        }
        let object = self.object.with(HELPERS, helpers.text(), &layout, 1)?;
        Ok(self.edited(&object, changes))
    }

    /// Takes Berth away from every host that has it as its helper.
    pub(super) fn without_helper(&self) -> anyhow::Result<Edited> {
        let own: Vec<String> = self
            .helpers
            .members()
            .filter(|(_, helper)| named(helper) == HELPER)
            .map(|(host, _)| host.to_owned())
            .collect();
        let (mut object, mut helpers) = (self.object.clone(), self.helpers.clone());
        for host in &own {
            helpers = helpers.without(host)?;
        }
        if !own.is_empty() {
            object = match helpers.members().next() {
                Some(_) => object.with(HELPERS, helpers.text(), &object.layout(), 1)?,
                None => object.without(HELPERS)?,
            };
        }
        let changes = own.into_iter().map(|host| Change {
            host,
            before: Some(String::from(HELPER)),
            after: None,
        });
        let changes = changes.collect();
        Ok(self.edited(&object, changes))
    }

    /// Whether the file has a password for `host`.
    pub(super) fn has_password(&self, host: &str) -> bool {
        has_password(self.object.text(), host)
    }

    fn edited(&self, object: &ObjectText, changes: Vec<Change>) -> Edited {
        let begin = self.text.len() - self.text.trim_start().len();
        let end = self.text.trim_end().len().max(begin);
        let content = format!(
            "{}{}{}",
            &self.text[..begin],
            object.text(),
            &self.text[end..]
        );
        Edited {
            path: self.path.clone(),
            content,
            changes,
        }
    }
}

impl Edited {
    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Prepares the file as it is to become; nothing if it is so already.
    pub(super) fn staged(&self) -> anyhow::Result<Option<WholeFile>> {
        if self.changes.is_empty() {
            return Ok(None);
        }
        WholeFile::stage(&self.path, self.content.as_bytes(), MODE).map(Some)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(text),
        Err(error) => return Err(error),
    };
    file.take(LIMIT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT_BYTES {
        return Err(io::Error::other(format!(
            "it has more than {LIMIT_BYTES} bytes"
        )));
    }
    Ok(text)
}

/// The name of a helper, as its JSON text has it.
fn named(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_else(|_| json.to_owned())
}

/// Whether a login file of this text has a password for `host`; an entry may be there without one.
pub(super) fn has_password(text: &str, host: &str) -> bool {
    #[derive(Deserialize)]
    struct Logins {
        #[serde(default)]
        auths: Value,
    }
    let logins: Option<Logins> = serde_json::from_str(text).ok();
    let entry = logins.map(|logins| logins.auths[host].clone());
    let secrets = ["auth", "password", "identitytoken", "registrytoken"];
    entry.is_some_and(|entry| {
        secrets
            .iter()
            .any(|name| entry[*name].as_str().is_some_and(|text| !text.is_empty()))
    })
}

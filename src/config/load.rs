//! Where values come from: defaults, then the file, then the environment, then flags.
//!
//! Every layer is a TOML table of two levels, so that one merge and one set of messages serve them all.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::keys::{Key, flatten, keys, nest, unknown_key};
use super::layers::{Layer, environment_layer, flag_layer};
use super::{Config, DatabaseUrl, Secret};

/// Secrets, each with its section and key; the key of its file ends in `_file`.
const SECRETS: [(&str, &str); 4] = [
    ("database", "url"),
    ("auth", "key_wrapping_secret"),
    ("storage.s3", "access_key_id"),
    ("storage.s3", "secret_access_key"),
];

/// The largest file that is read, in bytes: the configuration, or a secret.
const FILE_LIMIT_BYTES: u64 = 1024 * 1024;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not TOML, or a value in it has the wrong type.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what, with the line.
        message: String,
    },
    /// Keys or values are wrong; never empty.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
}

/// One key or value that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key as `section.key`, or the environment variable or flag it came from.
    pub key: String,
    /// What was wrong and what would be right; follows the key in a sentence.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.key, self.message)
    }
}

impl Config {
    /// Reads the file (if there is one), the environment and the flags, reads the files of secrets, and validates.
    ///
    /// `environment` is all of it; what does not start with `BERTH_` is passed over. `flags` are pairs of a key
    /// (`server.data_dir`) and its text.
    ///
    /// # Errors
    ///
    /// Whatever is wrong, by key; of the environment, the flags and the validation everything at once.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        let keys = keys();
        let mut table = file.map_or_else(|| Ok(Table::new()), |path| read_file(path, &keys))?;
        merge(&mut table, environment_layer(environment, &keys)?);
        merge(&mut table, flag_layer(flags, &keys)?);
        // Every layer was deserialised before, so this cannot fail; it is an error all the same.
        let mut config: Self = nest(table)
            .try_into()
            .map_err(|error: toml::de::Error| invalid("configuration", error.message()))?;
        config.read_secret_files()?;
        config.validate()?;
        Ok(config)
    }

    /// Moves the content of every `_file` twin to its secret.
    fn read_secret_files(&mut self) -> Result<(), ConfigError> {
        if let Some(path) = self.database.url_file.take() {
            let text = read_secret("database.url_file", &path)?;
            let url: DatabaseUrl = text.parse().map_err(|error| {
                invalid("database.url_file", &format!("cannot be used: {error}"))
            })?;
            self.database.url = Some(url);
        }
        if let Some(path) = self.auth.key_wrapping_secret_file.take() {
            let text = read_secret("auth.key_wrapping_secret_file", &path)?;
            self.auth.key_wrapping_secret = Some(Secret::new(text));
        }
        let s3 = &mut self.storage.s3;
        if let Some(path) = s3.access_key_id_file.take() {
            let text = read_secret("storage.s3.access_key_id_file", &path)?;
            s3.access_key_id = Some(Secret::new(text));
        }
        if let Some(path) = s3.secret_access_key_file.take() {
            let text = read_secret("storage.s3.secret_access_key_file", &path)?;
            s3.secret_access_key = Some(Secret::new(text));
        }
        Ok(())
    }
}

fn invalid(key: &str, message: &str) -> ConfigError {
    ConfigError::Invalid(vec![Problem {
        key: key.to_owned(),
        message: message.to_owned(),
    }])
}

fn read_file(path: &Path, keys: &[Key]) -> Result<Table, ConfigError> {
    let text = read_text(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        message: place_and_message(&text, &error),
    };
    let table = flatten(text.parse().map_err(syntax)?, keys);
    let mut problems = unknown_keys(&table, keys);
    problems.extend(both_twins(&table));
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems));
    }
    // From the text once more, because only there an error knows its line.
    toml::from_str::<Config>(&text).map_err(syntax)?;
    Ok(table)
}

/// The line of `error` and what is wrong there. The line itself is not repeated, nor is what the parser says of a
/// secret: both could show it.
fn place_and_message(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return error.message().to_owned();
    };
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let name = line.split('=').next().unwrap_or_default().trim();
    if SECRETS.iter().any(|(_, secret)| *secret == name) {
        return format!(
            "line {number}: {name} cannot be used; write it as a text in quotes, or see berth.toml"
        );
    }
    format!("line {number}: {}", error.message())
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read_bytes = File::open(path)?
        .take(FILE_LIMIT_BYTES + 1)
        .read_to_string(&mut text)?;
    if read_bytes as u64 > FILE_LIMIT_BYTES {
        return Err(io::Error::other(format!(
            "it is larger than {FILE_LIMIT_BYTES} bytes"
        )));
    }
    Ok(text)
}

/// The content of a secret's file without the line break that editors leave at the end.
fn read_secret(key: &str, path: &Path) -> Result<String, ConfigError> {
    let text = read_text(path)
        .map_err(|error| invalid(key, &format!("names {}: {error}", path.display())))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(invalid(
            key,
            &format!("names {}, which is empty", path.display()),
        ));
    }
    Ok(secret.to_owned())
}

fn unknown_keys(table: &Table, keys: &[Key]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (section, entries) in table {
        let Some(entries) = entries.as_table() else {
            problems.push(unknown_key(section, keys));
            continue;
        };
        let names: Vec<String> = entries
            .keys()
            .map(|name| format!("{section}.{name}"))
            .collect();
        let section_exists = keys.iter().any(|key| &key.section == section);
        if names.is_empty() && !section_exists {
            problems.push(unknown_key(section, keys));
        }
        problems.extend(
            names
                .iter()
                .filter(|name| !keys.iter().any(|key| &key.path() == *name))
                .map(|name| unknown_key(name, keys)),
        );
    }
    problems
}

/// A secret and its file, given by the same layer: nobody could say which one counts.
pub(super) fn both_twins(layer: &Table) -> Vec<Problem> {
    SECRETS
        .iter()
        .filter(|(section, name)| {
            let has = |name: &str| {
                layer
                    .get(*section)
                    .and_then(Value::as_table)
                    .is_some_and(|entries| entries.contains_key(name))
            };
            has(name) && has(&format!("{name}_file"))
        })
        .map(|(section, name)| Problem {
            key: format!("{section}.{name}"),
            message: format!("and {section}.{name}_file are both set; set one of them"),
        })
        .collect()
}

fn merge(table: &mut Table, layer: Layer) {
    let mut unset = layer.unset;
    // A secret replaces the file that a lower layer named for it, and the other way round.
    for (section, name) in SECRETS {
        let file_name = format!("{name}_file");
        let given = |name: &str| {
            layer
                .table
                .get(section)
                .and_then(Value::as_table)
                .is_some_and(|entries| entries.contains_key(name))
        };
        if given(name) {
            unset.push((section.to_owned(), file_name));
        } else if given(&file_name) {
            unset.push((section.to_owned(), name.to_owned()));
        }
    }
    for (section, name) in unset {
        if let Some(entries) = table.get_mut(&section).and_then(Value::as_table_mut) {
            entries.remove(&name);
        }
    }
    merge_tables(table, layer.table);
}

pub(super) fn merge_tables(table: &mut Table, other: Table) {
    for (section, entries) in other {
        match (table.get_mut(&section), entries) {
            (Some(Value::Table(existing)), Value::Table(entries)) => existing.extend(entries),
            (_, entries) => {
                table.insert(section, entries);
            }
        }
    }
}

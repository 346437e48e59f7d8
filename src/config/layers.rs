//! The layers above the file: environment variables and flags.

use std::ffi::OsString;

use toml::Table;

use super::keys::{ENVIRONMENT_PREFIX, Key, nearest};
use super::load::{both_twins, merge_tables};
use super::{ConfigError, Problem};

/// Variables of the command-line client and of the tests, which are no keys.
const OTHER_VARIABLES: [&str; 4] = [
    "BERTH_URL",
    "BERTH_API_KEY",
    "BERTH_API_KEY_FILE",
    "BERTH_WORKSPACE",
];
const OTHER_VARIABLE_PREFIXES: [&str; 2] = ["BERTH_TEST_", "BERTH_CONFORMANCE_"];

/// What a higher layer changes: values, and keys it unsets.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) table: Table,
    /// Sections and names of the keys.
    pub(super) unset: Vec<(String, String)>,
}

impl Layer {
    /// Takes the value of `key` from `text`, or says what is wrong with it.
    fn set(&mut self, key: &Key, text: &str) -> Result<(), String> {
        match key.parse(text)? {
            Some(table) => merge_tables(&mut self.table, table),
            None => self.unset.push((key.section.clone(), key.name.clone())),
        }
        Ok(())
    }
}

pub(super) fn environment_layer(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    keys: &[Key],
) -> Result<Layer, ConfigError> {
    let mut variables: Vec<(String, OsString)> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, value)| is_ours(name, &value.to_string_lossy()))
        .collect();
    // So that messages come in the same order each time.
    variables.sort();
    let mut layer = Layer::default();
    let mut problems = Vec::new();
    for (name, value) in variables {
        let result = match (
            keys.iter().find(|key| key.variable() == name),
            value.to_str(),
        ) {
            (Some(key), Some(value)) => layer.set(key, value),
            (Some(_), None) => Err(String::from("is not valid UTF-8")),
            (None, _) => Err(format!(
                "is not a variable of Berth; the nearest is {}",
                nearest(&name, keys.iter().map(Key::variable))
            )),
        };
        if let Err(message) = result {
            problems.push(Problem { key: name, message });
        }
    }
    problems.extend(both_twins(&layer.table));
    if problems.is_empty() {
        Ok(layer)
    } else {
        Err(ConfigError::Invalid(problems))
    }
}

/// Whether a variable is meant to be a key of ours.
fn is_ours(name: &str, value: &str) -> bool {
    name.starts_with(ENVIRONMENT_PREFIX)
        && !OTHER_VARIABLES.contains(&name)
        && !OTHER_VARIABLE_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
        && !is_service_link(name, value)
}

/// Whether Kubernetes made the variable, as it does in every pod beside a Service called `berth` or `berth-pull`:
/// `BERTH_SERVICE_HOST`, `BERTH_PORT=tcp://10.0.0.1:5000`, `BERTH_PORT_5000_TCP_ADDR` and their like. None of them
/// has the `__` that every key of ours has.
fn is_service_link(name: &str, value: &str) -> bool {
    if name.contains("__") {
        return false;
    }
    let is_port_part = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        let mut parts = rest.split('_');
        let has_number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
        let protocol = parts.next();
        has_number && matches!(protocol, Some("TCP" | "UDP" | "SCTP"))
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || is_port_part
        || (name.ends_with("_PORT") && value.contains("://"))
}

pub(super) fn flag_layer(flags: &[(&str, String)], keys: &[Key]) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    let mut problems = Vec::new();
    for (path, text) in flags {
        let result = match keys.iter().find(|key| key.path() == *path) {
            Some(key) => layer.set(key, text),
            None => Err(String::from("is not a key")),
        };
        if let Err(message) = result {
            problems.push(Problem {
                key: (*path).to_owned(),
                message,
            });
        }
    }
    if problems.is_empty() {
        Ok(layer)
    } else {
        Err(ConfigError::Invalid(problems))
    }
}

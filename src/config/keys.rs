//! The keys there are: their names, the type each text is parsed to, and the nearest one to a wrong name.
//!
//! The list is taken from [`Config`] itself, so that nobody has to keep a second one.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use toml::{Table, Value};

use super::{Config, Problem};

/// What the name of every environment variable of Berth starts with.
pub(super) const ENVIRONMENT_PREFIX: &str = "BERTH_";

/// A key of [`Config`] and the type its text is parsed to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) section: String,
    pub(super) name: String,
    kind: Kind,
}

/// How the text of an environment variable or flag becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer,
    Text,
    /// A text that may be absent: an empty one removes what a lower layer set.
    OptionalText,
    /// Texts separated by commas.
    List,
}

/// The sections of `config` with their keys and values, in the order of the struct; a key without a value is null. A
/// section inside another one follows it, under both names: `storage.s3`.
pub(super) fn sections(config: &Config) -> Vec<(String, Vec<(String, serde_json::Value)>)> {
    // By way of text, because a JSON map sorts its keys.
    let sections: Ordered<Ordered<Entry>> = serde_json::to_string(config)
        .and_then(|text| serde_json::from_str(&text))
        .unwrap_or_else(|_| Ordered(Vec::new()));
    let mut flat = Vec::new();
    for (section, entries) in sections.0 {
        let mut keys = Vec::new();
        let mut inner = Vec::new();
        for (name, entry) in entries.0 {
            match entry {
                Entry::Section(keys) => inner.push((format!("{section}.{name}"), keys.0)),
                Entry::Value(value) => keys.push((name, value)),
            }
        }
        flat.push((section, keys));
        flat.extend(inner);
    }
    flat
}

/// What stands in a section: no value is a map, so a map is a section inside it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Section(Ordered<serde_json::Value>),
    Value(serde_json::Value),
}

/// Puts sections that lie in others beside them, under both names, as [`sections`] does: so every layer is a table of
/// two levels.
pub(super) fn flatten(table: Table, keys: &[Key]) -> Table {
    let mut flat = Table::new();
    for (section, entries) in table {
        let Value::Table(entries) = entries else {
            flat.insert(section, entries);
            continue;
        };
        let (inner, own): (Table, Table) = entries.into_iter().partition(|(name, value)| {
            let path = format!("{section}.{name}");
            value.is_table() && keys.iter().any(|key| key.section == path)
        });
        let has_inner = !inner.is_empty();
        flat.extend(
            inner
                .into_iter()
                .map(|(name, value)| (format!("{section}.{name}"), value)),
        );
        if !own.is_empty() || !has_inner {
            flat.insert(section, Value::Table(own));
        }
    }
    flat
}

/// What [`flatten`] was given.
pub(super) fn nest(table: Table) -> Table {
    let (inner, mut nested): (Table, Table) = table
        .into_iter()
        .partition(|(section, _)| section.contains('.'));
    for (path, entries) in inner {
        if let Some((section, name)) = path.split_once('.') {
            let outer = nested
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Some(outer) = outer.as_table_mut() {
                outer.insert(name.to_owned(), entries);
            }
        }
    }
    nested
}

/// A map that keeps the order of its entries.
struct Ordered<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Ordered<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(std::marker::PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Ordered<V>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<V>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

/// Every key there is; its kind follows from the default's type, and a key without a default is a text.
pub(super) fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    for (section, entries) in sections(&Config::default()) {
        for (name, value) in entries {
            let kind = match value {
                serde_json::Value::Bool(_) => Kind::Boolean,
                serde_json::Value::Number(_) => Kind::Integer,
                serde_json::Value::Array(_) => Kind::List,
                serde_json::Value::Null => Kind::OptionalText,
                serde_json::Value::String(_) | serde_json::Value::Object(_) => Kind::Text,
            };
            keys.push(Key {
                section: section.clone(),
                name,
                kind,
            });
        }
    }
    keys
}

impl Key {
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    pub(super) fn variable(&self) -> String {
        let section = self.section.replace('.', "__");
        format!("{ENVIRONMENT_PREFIX}{section}__{}", self.name).to_ascii_uppercase()
    }

    /// The key's value alone in a table, checked for its type. Nothing, where an empty text removes the value.
    pub(super) fn parse(&self, text: &str) -> Result<Option<Table>, String> {
        let value = match self.kind {
            Kind::Boolean => Value::Boolean(
                text.trim()
                    .parse()
                    .map_err(|_| String::from("is neither true nor false"))?,
            ),
            Kind::Integer => text
                .trim()
                .parse::<u64>()
                .ok()
                .and_then(|number| i64::try_from(number).ok())
                .map(Value::Integer)
                .ok_or("is not a whole number, 0 or more, in digits")?,
            Kind::OptionalText if text.is_empty() => return Ok(None),
            Kind::Text | Kind::OptionalText => Value::String(text.to_owned()),
            Kind::List => Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Value::String(item.to_owned()))
                    .collect(),
            ),
        };
        let section = Table::from_iter([(self.name.clone(), value)]);
        let table = Table::from_iter([(self.section.clone(), Value::Table(section))]);
        match nest(table.clone()).try_into::<Config>() {
            Ok(_) => Ok(Some(table)),
            Err(error) => Err(format!("cannot be used: {}", error.message())),
        }
    }
}

pub(super) fn unknown_key(name: &str, keys: &[Key]) -> Problem {
    let candidates = keys.iter().map(Key::path);
    Problem {
        key: name.to_owned(),
        message: format!("is not a key; the nearest is {}", nearest(name, candidates)),
    }
}

/// The candidate that takes the fewest edits to reach from `text`.
pub(super) fn nearest(text: &str, candidates: impl Iterator<Item = String>) -> String {
    candidates
        .min_by_key(|candidate| edit_distance(text, candidate))
        .unwrap_or_default()
}

/// The Levenshtein distance: insertions, deletions and replacements of one character.
fn edit_distance(one: &str, other: &str) -> usize {
    // Names are short; what is longer than any key only has to be far from all of them.
    let one: Vec<char> = one.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=one.len()).collect();
    for (line, expected) in other.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, found) in one.iter().enumerate() {
            let replaced = diagonal + usize::from(*found != expected);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[one.len()]
}

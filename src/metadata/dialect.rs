//! The few places where the two databases need different words.

use super::database::Connection;

/// A statement in both dialects.
pub(super) struct Statement {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

impl Statement {
    pub(super) fn of(&self, connection: &Connection<'_>) -> &'static str {
        match connection {
            Connection::Sqlite(_) => self.sqlite,
            Connection::Postgres(_) => self.postgres,
        }
    }
}

/// A statement over a list of texts, bound as one JSON array: `$before {list} $after`, where the list has one column.
macro_rules! over_list {
    ($before:literal, $parameter:literal, $after:literal) => {
        $crate::metadata::dialect::Statement {
            sqlite: concat!(
                $before,
                "(SELECT value FROM json_each(",
                $parameter,
                "))",
                $after
            ),
            postgres: concat!(
                $before,
                "(SELECT json_array_elements_text(",
                $parameter,
                "::json))",
                $after
            ),
        }
    };
}
pub(super) use over_list;

/// A statement that chooses rows for this change alone: it passes over those that another one has at this moment. SQLite
/// makes one change at a time.
macro_rules! claimed {
    ($select:literal) => {
        $crate::metadata::dialect::Statement {
            sqlite: $select,
            postgres: concat!($select, " FOR UPDATE SKIP LOCKED"),
        }
    };
}
pub(super) use claimed;

/// A list of texts as [`over_list!`] wants it bound.
pub(super) fn json_list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<serde_json::Value> = items
        .into_iter()
        .map(|item| serde_json::Value::String(item.to_string()))
        .collect();
    serde_json::Value::Array(texts).to_string()
}

//! Pages of lists, as use-cases give them.

use serde::Serialize;

/// One page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Listed<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page starts: the last key of this one; none on the last page.
    pub next: Option<String>,
}

impl<T> Listed<T> {
    /// A list with nothing in it.
    pub(crate) fn empty() -> Self {
        Self {
            items: Vec::new(),
            next: None,
        }
    }

    /// A page of at most `limit`, of rows that were asked for with one more.
    pub(crate) fn cut<R>(
        mut rows: Vec<R>,
        limit: u32,
        key: impl Fn(&R) -> &str,
        view: impl Fn(&R) -> T,
    ) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more {
            rows.last().map(|row| key(row).to_owned())
        } else {
            None
        };
        Self {
            items: rows.iter().map(view).collect(),
            next,
        }
    }
}

//! The pages of a list, asked for one after the other as they are needed.

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, ClientError};

/// Entries asked for in one page: the most that the API gives.
const PAGE_SIZE: usize = 1000;

/// Pages read of one list.
const PAGE_LIMIT: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// What is still to be read of a list.
pub(super) struct Pages<'a> {
    client: &'a Client,
    url: Url,
    next: Next,
    read: usize,
    entries_left: usize,
}

enum Next {
    First,
    After(String),
    End,
}

impl<'a> Pages<'a> {
    /// The list at `url`, which says nothing of pages.
    pub(super) fn of(client: &'a Client, url: Url) -> Self {
        Self {
            client,
            url,
            next: Next::First,
            read: 0,
            entries_left: usize::MAX,
        }
    }

    /// No more than the first `entries`.
    pub(super) fn at_most(self, entries: usize) -> Self {
        Self {
            entries_left: entries,
            ..self
        }
    }

    fn read(&mut self, cursor: Option<String>) -> Result<Vec<Value>, ClientError> {
        if self.read == PAGE_LIMIT {
            return Err(ClientError::TooManyPages {
                url: self.url.to_string(),
                limit: PAGE_LIMIT,
            });
        }
        self.read += 1;
        let mut url = self.url.clone();
        let size = PAGE_SIZE.min(self.entries_left).to_string();
        url.query_pairs_mut().append_pair("limit", &size);
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", &cursor);
        }
        let answer = self.client.get_url(url)?;
        let mut page: Page = serde_json::from_value(answer).map_err(|_| ClientError::Foreign {
            url: self.url.to_string(),
            status: StatusCode::OK,
        })?;
        page.items.truncate(self.entries_left);
        self.entries_left -= page.items.len();
        if let Some(cursor) = page.next_cursor.filter(|_| self.entries_left > 0) {
            self.next = Next::After(cursor);
        }
        Ok(page.items)
    }
}

impl Iterator for Pages<'_> {
    type Item = Result<Vec<Value>, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        match std::mem::replace(&mut self.next, Next::End) {
            Next::First => Some(self.read(None)),
            Next::After(cursor) => Some(self.read(Some(cursor))),
            Next::End => None,
        }
    }
}

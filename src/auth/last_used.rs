//! When keys were last used: kept in memory and written together, so that no request waits for it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::clock::Millis;

/// Keys remembered between two flushes at most. The uses of the ones beyond are lost, which is fine.
const MAX_KEYS: usize = 10_000;

#[derive(Default)]
pub(super) struct LastUsed(Mutex<HashMap<String, Millis>>);

impl LastUsed {
    pub(super) fn record(&self, key_id: &str, now: Millis) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = uses.get_mut(key_id) {
            *at = now;
        } else if uses.len() < MAX_KEYS {
            uses.insert(key_id.to_owned(), now);
        }
    }

    /// Hands out what was recorded since the last time.
    pub(super) fn take(&self) -> Vec<(String, Millis)> {
        let uses = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        uses.into_iter().collect()
    }
}

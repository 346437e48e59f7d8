//! Which repositories changed since they were counted last: noted in memory after each commit, so that no change waits
//! for its counting.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::Metadata;
use super::memory::Mark;
use super::repositories::RepositoryId;

/// Repositories noted at most; beyond them it is noted that anything may have changed.
const MAX_NOTED: usize = 10_000;

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Repositories in which something came, went or moved.
    pub repositories: BTreeSet<RepositoryId>,
    /// What the names of repositories begin with that came or went themselves, without the slash.
    pub prefixes: BTreeSet<String>,
    /// More changed than is noted.
    pub everything: bool,
}

impl Changed {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Everything, as far as anybody knows.
    fn everything() -> Self {
        Self {
            everything: true,
            ..Self::default()
        }
    }

    fn add(&mut self, other: Self) {
        if self.everything || other.everything {
            *self = Self::everything();
            return;
        }
        self.repositories.extend(other.repositories);
        self.prefixes.extend(other.prefixes);
        if self.repositories.len() + self.prefixes.len() > MAX_NOTED {
            *self = Self::everything();
        }
    }

    fn of(marks: &[Mark]) -> Self {
        let mut changed = Self::default();
        for mark in marks {
            match mark {
                Mark::Repository(name) => {
                    changed.prefixes.insert(name.prefix().to_owned());
                }
                Mark::Tag(repository, _)
                | Mark::Link(repository, _)
                | Mark::Manifest(repository, _) => {
                    changed.repositories.insert(*repository);
                }
                Mark::Workspace(_)
                | Mark::ApiKey(..)
                | Mark::PullSecret(..)
                | Mark::Credential(_) => {}
            }
        }
        changed
    }
}

/// The note.
#[derive(Default)]
pub(super) struct Changes {
    noted: Mutex<Changed>,
    some: Notify,
}

impl Changes {
    pub(super) fn note(&self, marks: &[Mark]) {
        self.add(Changed::of(marks));
    }

    fn add(&self, changed: Changed) {
        if changed.is_empty() {
            return;
        }
        self.lock().add(changed);
        self.some.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Changed> {
        // Sets that were added to half way are sets: what is missing is counted with the next change.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metadata {
    /// Hands out what changed since the last time. Whoever cannot count it gives it back.
    #[must_use]
    pub fn take_changed(&self) -> Changed {
        std::mem::take(&mut *self.memory.changes.lock())
    }

    /// Takes back what was not counted.
    pub fn give_changed_back(&self, changed: Changed) {
        self.memory.changes.add(changed);
    }

    /// Says that everything is to be counted.
    pub fn note_everything_changed(&self) {
        self.memory.changes.add(Changed::everything());
    }

    /// Waits until something has changed.
    pub async fn something_changed(&self) {
        self.memory.changes.some.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(repository: i64) -> Mark {
        let digest = berth_storage::Digest::of(berth_storage::DigestAlgorithm::Sha256, b"");
        Mark::Link(RepositoryId(repository), digest)
    }

    #[test]
    fn what_changed_is_noted_once_until_it_is_taken() {
        let changes = Changes::default();
        changes.note(&[
            link(1),
            link(1),
            Mark::Repository("t-1111/app".parse().unwrap()),
        ]);
        changes.note(&[Mark::Credential(String::from("id")), link(2)]);
        let changed = std::mem::take(&mut *changes.lock());
        assert_eq!(
            changed.repositories,
            BTreeSet::from([RepositoryId(1), RepositoryId(2)])
        );
        assert_eq!(changed.prefixes, BTreeSet::from([String::from("t-1111")]));
        assert!(!changed.everything && changes.lock().is_empty());
    }

    #[test]
    fn beyond_its_bound_the_note_says_everything() {
        let changes = Changes::default();
        let most = i64::try_from(MAX_NOTED).unwrap();
        for repository in 0..most {
            changes.note(&[link(repository)]);
        }
        assert!(!changes.lock().everything);
        changes.note(&[link(most)]);
        assert_eq!(*changes.lock(), Changed::everything());
        changes.note(&[link(1)]);
        assert_eq!(*changes.lock(), Changed::everything());
    }
}

//! The proof that somebody may do something to a repository. Use-cases take it in place of a name, and only this module
//! can make one, so that a forgotten check does not compile.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::action::{Action, ActionSet};
use super::decide::{Decision, decide, pulling_workspace};
use super::live::{self, LiveError, Rights};
use super::principal::{PatternCache, Principal};
use super::refusal::Refusal;
use crate::clock::Millis;
use crate::metadata::{Transaction, Workspace};
use crate::oci::RepositoryName;

/// How old a decision may be when a change commits. The right it was made with may have been remembered for three
/// seconds before where other processes change it too: together no more than the five of invariants 4 and 5.
const CONFIRM_AFTER_MS: i64 = 2_000;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Pull {}
    impl Sealed for super::Push {}
    impl Sealed for super::Delete {}
}

/// What a grant is for.
pub trait Permission: sealed::Sealed + Send + Sync + 'static {
    /// The action it needs.
    const ACTION: Action;
    /// The actions that a client is told to ask for: clients that push also look first.
    const ASKED: ActionSet;
}

/// Reading.
#[derive(Clone, Copy, Debug)]
pub enum Pull {}
/// Writing.
#[derive(Clone, Copy, Debug)]
pub enum Push {}
/// Removing.
#[derive(Clone, Copy, Debug)]
pub enum Delete {}

impl Permission for Pull {
    const ACTION: Action = Action::Pull;
    const ASKED: ActionSet = ActionSet::of(&[Action::Pull]);
}

impl Permission for Push {
    const ACTION: Action = Action::Push;
    const ASKED: ActionSet = ActionSet::of(&[Action::Pull, Action::Push]);
}

impl Permission for Delete {
    const ACTION: Action = Action::Delete;
    const ASKED: ActionSet = ActionSet::of(&[Action::Delete]);
}

/// Somebody may do `P` to one repository, as of a moment ago.
pub struct Granted<P> {
    repository: RepositoryName,
    workspace: Arc<Workspace>,
    principal: Arc<Principal>,
    patterns: PatternCache,
    evaluated_at: Millis,
    permission: PhantomData<P>,
}

impl<P: Permission> Granted<P> {
    pub(super) fn decide(
        principal: &Arc<Principal>,
        repository: &RepositoryName,
        patterns: &PatternCache,
        now: Millis,
    ) -> Result<Self, Refusal> {
        match decide(principal, repository, P::ACTION) {
            Decision::Denied(message) => Err(Refusal::Denied { message }),
            Decision::Allowed(workspace) => Ok(Self {
                repository: repository.clone(),
                workspace,
                principal: Arc::clone(principal),
                patterns: patterns.clone(),
                evaluated_at: now,
                permission: PhantomData,
            }),
        }
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// The workspace it belongs to.
    #[must_use]
    pub fn workspace_id(&self) -> &str {
        &self.workspace.id
    }

    /// The workspace it belongs to, as it stood when this was decided.
    #[must_use]
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.workspace
    }

    /// Who it was granted to.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// How rows name who made them: `key:<id>` or `credential:<id>`.
    #[must_use]
    pub fn actor(&self) -> &str {
        self.principal.actor()
    }

    /// Decides again, inside the transaction that is about to commit, if the decision is older than two seconds.
    ///
    /// A key or token that ended by itself in the meantime may finish what it began; one that was revoked may not.
    pub async fn confirm(&self, transaction: &mut Transaction, now: Millis) -> Result<(), Refusal> {
        // Also when the clock went backwards: then the age is not known.
        let age_ms = now.0.saturating_sub(self.evaluated_at.0);
        if (0..=CONFIRM_AFTER_MS).contains(&age_ms) {
            return Ok(());
        }
        let mut rights = Rights::Inside(transaction);
        match live::principal(&mut rights, &self.principal.basis, &self.patterns).await {
            Err(LiveError::Metadata(error)) => Err(Refusal::Unavailable(error)),
            Err(LiveError::Withdrawn(reason)) => Err(Refusal::Denied {
                message: format!("what this request was sent with no longer counts: {reason}"),
            }),
            Ok(principal) => match decide(&principal, &self.repository, P::ACTION) {
                Decision::Allowed(_) => Ok(()),
                Decision::Denied(message) => Err(Refusal::Denied { message }),
            },
        }
    }
}

// Derived, it would ask for `P: Clone`.
impl<P> Clone for Granted<P> {
    fn clone(&self) -> Self {
        Self {
            repository: self.repository.clone(),
            workspace: Arc::clone(&self.workspace),
            principal: Arc::clone(&self.principal),
            patterns: self.patterns.clone(),
            evaluated_at: self.evaluated_at,
            permission: PhantomData,
        }
    }
}

impl<P> fmt::Debug for Granted<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Granted({:?} on {})",
            self.principal, self.repository
        )
    }
}

/// Somebody may list the repositories of one workspace, as far as [`GrantedCatalog::shows`] says.
#[derive(Clone, Debug)]
pub struct GrantedCatalog {
    workspace: Arc<Workspace>,
    principal: Arc<Principal>,
}

impl GrantedCatalog {
    pub(super) fn decide(principal: &Arc<Principal>) -> Result<Self, Refusal> {
        let workspace =
            pulling_workspace(principal).map_err(|message| Refusal::Denied { message })?;
        if !principal.actions().contains(Action::Pull) {
            let message = String::from(
                "the catalogue shows what may be pulled, and this credential may not pull",
            );
            return Err(Refusal::Denied { message });
        }
        Ok(Self {
            workspace: Arc::clone(workspace),
            principal: Arc::clone(principal),
        })
    }

    /// The workspace.
    #[must_use]
    pub fn workspace_id(&self) -> &str {
        &self.workspace.id
    }

    /// Whether a repository of the workspace may be listed: a narrowed key sees what it may pull.
    #[must_use]
    pub fn shows(&self, repository: &RepositoryName) -> bool {
        match decide(&self.principal, repository, Action::Pull) {
            Decision::Allowed(_) => true,
            Decision::Denied(_) => false,
        }
    }
}

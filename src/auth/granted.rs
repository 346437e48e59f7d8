//! The proof that somebody may do something to a repository. Use-cases take it in place of a name, and only this module
//! can make one, so that a forgotten check does not compile.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::action::{Action, ActionSet};
use super::decide::{Decision, decide, decide_live, pulling_workspace};
use super::error::RequestError;
use super::live::{self, LiveError, Rights};
use super::managing::may_manage;
use super::principal::{PatternCache, Principal};
use super::refusal::Refusal;
use super::role::Right;
use crate::clock::Millis;
use crate::metadata::{Transaction, Workspace};
use crate::oci::{ImageName, RepositoryName};

/// How old a decision may be when a change commits. The right it was made with may have been remembered for three
/// seconds before where other processes change it too: together no more than the five of invariants 4 and 5.
const CONFIRM_AFTER_MS: i64 = 2_000;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Pull {}
    impl Sealed for super::Push {}
    impl Sealed for super::Delete {}
    impl Sealed for super::Manage {}
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
/// Settings and shares, by the management API alone. A key that is narrowed takes the right to push.
#[derive(Clone, Copy, Debug)]
pub enum Manage {}

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

impl Permission for Manage {
    const ACTION: Action = Action::Push;
    const ASKED: ActionSet = ActionSet::EMPTY;
}

/// What something was granted for.
#[derive(Clone, Copy, Debug)]
enum Ground {
    /// An action in the registry.
    Action,
    /// A right in the management API.
    Right(Right),
}

/// Somebody may do `P` to one repository, as of a moment ago.
pub struct Granted<P> {
    repository: RepositoryName,
    workspace: Arc<Workspace>,
    principal: Arc<Principal>,
    patterns: PatternCache,
    evaluated_at: Millis,
    ground: Ground,
    permission: PhantomData<P>,
}

impl<P: Permission> Granted<P> {
    pub(super) async fn decide(
        rights: &mut Rights<'_>,
        principal: &Arc<Principal>,
        repository: &RepositoryName,
        patterns: &PatternCache,
        now: Millis,
    ) -> Result<Self, Refusal> {
        let decision = decide_live(rights, principal, repository, P::ACTION).await;
        match decision.map_err(Refusal::Unavailable)? {
            Decision::Denied(message) => Err(Refusal::Denied { message }),
            Decision::Unknown(message) => Err(Refusal::Unknown { message }),
            Decision::Allowed(workspace) => Ok(Self {
                repository: repository.clone(),
                workspace,
                principal: Arc::clone(principal),
                patterns: patterns.clone(),
                evaluated_at: now,
                ground: Ground::Action,
                permission: PhantomData,
            }),
        }
    }

    /// For an image of a workspace that the principal manages.
    pub(super) fn managing(
        principal: &Arc<Principal>,
        workspace: &Arc<Workspace>,
        image: &ImageName,
        right: Right,
        patterns: &PatternCache,
        now: Millis,
    ) -> Result<Self, RequestError> {
        may_manage(principal, right, Some((image, P::ACTION)))?;
        let repository = RepositoryName::new(&workspace.prefix, image)
            .map_err(|error| RequestError::BadRequest(error.to_string()))?;
        Ok(Self {
            repository,
            workspace: Arc::clone(workspace),
            principal: Arc::clone(principal),
            patterns: patterns.clone(),
            evaluated_at: now,
            ground: Ground::Right(right),
            permission: PhantomData,
        })
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

    /// How rows name who made them: as [`Principal::actor`] says.
    #[must_use]
    pub fn actor(&self) -> &str {
        self.principal.actor()
    }

    /// Decides again, inside the transaction that is about to commit, if the decision is older than two seconds.
    ///
    /// A key or token that ended by itself in the meantime may finish what it began; one that was revoked may not.
    pub async fn confirm(&self, transaction: &mut Transaction, now: Millis) -> Result<(), Refusal> {
        if !is_stale(self.evaluated_at, now) {
            return Ok(());
        }
        let mut rights = Rights::Inside(transaction);
        let principal = principal_now(&mut rights, &self.principal, &self.patterns).await?;
        match self.ground {
            Ground::Action => {
                let decision =
                    decide_live(&mut rights, &principal, &self.repository, P::ACTION).await;
                match decision.map_err(Refusal::Unavailable)? {
                    Decision::Allowed(_) => Ok(()),
                    Decision::Denied(message) => Err(Refusal::Denied { message }),
                    Decision::Unknown(message) => Err(Refusal::Unknown { message }),
                }
            }
            Ground::Right(right) => {
                let image = self.repository.image();
                let image = image.as_ref().map(|image| (image, P::ACTION));
                may_manage(&principal, right, image).map_err(|error| Refusal::Denied {
                    message: error.to_string(),
                })
            }
        }
    }
}

/// Whether a decision of this moment is too old for a change that is about to commit. Also when the clock went
/// backwards: then the age is not known.
pub(super) fn is_stale(evaluated_at: Millis, now: Millis) -> bool {
    let age_ms = now.0.saturating_sub(evaluated_at.0);
    !(0..=CONFIRM_AFTER_MS).contains(&age_ms)
}

/// Who is behind what a principal showed, as the transaction sees it.
pub(super) async fn principal_now(
    rights: &mut Rights<'_>,
    principal: &Principal,
    patterns: &PatternCache,
) -> Result<Principal, Refusal> {
    match live::principal(rights, &principal.basis, patterns).await {
        Ok(principal) => Ok(principal),
        Err(LiveError::Metadata(error)) => Err(Refusal::Unavailable(error)),
        Err(LiveError::Withdrawn(reason)) => Err(Refusal::Denied {
            message: format!("what this request was sent with no longer counts: {reason}"),
        }),
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
            ground: self.ground,
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

    /// What its repositories begin with, without the slash.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.workspace.prefix
    }

    /// Whether a repository of the workspace may be listed: a narrowed key sees what it may pull.
    #[must_use]
    pub fn shows(&self, repository: &RepositoryName) -> bool {
        match decide(&self.principal, repository, Action::Pull) {
            Decision::Allowed(_) => true,
            Decision::Denied(_) | Decision::Unknown(_) => false,
        }
    }
}

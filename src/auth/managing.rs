//! The proof that somebody may manage what a workspace owns. Use-cases of the management API take a [`Manager`] in place
//! of a workspace, and a [`Granted`] that it gives in place of an image.

use std::marker::PhantomData;
use std::sync::Arc;

use super::action::Action;
use super::decide::{check_action, check_image};
use super::error::RequestError;
use super::granted::{Delete, Granted, Manage, Permission, Pull, Push, is_stale, principal_now};
use super::live::Rights;
use super::principal::{PatternCache, Principal};
use super::refusal::Refusal;
use super::role::Right;
use crate::clock::Millis;
use crate::metadata::{Transaction, Workspace};
use crate::oci::{ImageName, RepositoryName};

/// What somebody wants to do in a workspace.
pub trait Wish: Send + Sync + 'static {
    /// The right it takes.
    const RIGHT: Right;
}

/// What whoever has this wish granted may do to single images.
pub trait Covers<P: Permission>: Wish {}

macro_rules! wishes {
    ($($(#[$doc:meta])* $name:ident takes $right:ident and covers $($permission:ident)*;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub enum $name {}
            impl Wish for $name {
                const RIGHT: Right = Right::$right;
            }
            $(impl Covers<$permission> for $name {})*
        )*
    };
}

wishes! {
    /// See.
    ToRead takes Read and covers Pull;
    /// Say that something is in use.
    ToLease takes Lease and covers Pull;
    /// Move tags, delete and restore.
    ToChange takes Change and covers Pull Push Delete;
    /// Share, protect, purge.
    ToAdminister takes Administer and covers Pull Delete Manage;
}

/// Somebody may do what `W` says in one workspace, as of a moment ago.
pub struct Manager<W> {
    workspace: Arc<Workspace>,
    principal: Arc<Principal>,
    patterns: PatternCache,
    evaluated_at: Millis,
    wish: PhantomData<W>,
}

impl<W: Wish> Manager<W> {
    pub(super) fn new(
        principal: &Arc<Principal>,
        workspace: Arc<Workspace>,
        patterns: PatternCache,
        now: Millis,
    ) -> Result<Self, RequestError> {
        require(principal, W::RIGHT)?;
        Ok(Self {
            workspace,
            principal: Arc::clone(principal),
            patterns,
            evaluated_at: now,
            wish: PhantomData,
        })
    }

    /// The workspace.
    #[must_use]
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.workspace
    }

    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// How rows name who made them.
    #[must_use]
    pub fn actor(&self) -> &str {
        self.principal.actor()
    }

    /// The right to do `P` to one image of the workspace, which need not exist.
    pub fn image<P: Permission>(&self, image: &ImageName) -> Result<Granted<P>, RequestError>
    where
        W: Covers<P>,
    {
        Granted::managing(
            &self.principal,
            &self.workspace,
            image,
            W::RIGHT,
            &self.patterns,
            self.evaluated_at,
        )
    }

    /// Whether an image of this name may be listed: a narrowed key sees those that it may pull, and of other workspaces
    /// none.
    #[must_use]
    pub fn shows(&self, repository: &RepositoryName) -> bool {
        let is_own = repository.prefix() == self.workspace.prefix;
        if check_action(&self.principal, Action::Pull).is_err() {
            return false;
        }
        match (self.principal.narrowing().images(), repository.image()) {
            (None, _) => true,
            (Some(images), Some(image)) => is_own && images.hold(&image),
            (Some(_), None) => false,
        }
    }

    /// Decides again, inside the transaction that is about to commit, if the decision is older than two seconds.
    pub async fn confirm(&self, transaction: &mut Transaction, now: Millis) -> Result<(), Refusal> {
        if !is_stale(self.evaluated_at, now) {
            return Ok(());
        }
        let mut rights = Rights::Inside(transaction);
        let principal = principal_now(&mut rights, &self.principal, &self.patterns).await?;
        may_manage(&principal, W::RIGHT, None).map_err(|error| Refusal::Denied {
            message: error.to_string(),
        })
    }
}

// Derived, it would ask for `W: Clone`.
impl<W> Clone for Manager<W> {
    fn clone(&self) -> Self {
        Self {
            workspace: Arc::clone(&self.workspace),
            principal: Arc::clone(&self.principal),
            patterns: self.patterns.clone(),
            evaluated_at: self.evaluated_at,
            wish: PhantomData,
        }
    }
}

/// Whether a principal has a right, also to one image where it is about one.
pub(super) fn may_manage(
    principal: &Principal,
    right: Right,
    image: Option<(&ImageName, Action)>,
) -> Result<(), RequestError> {
    require(principal, right)?;
    let Some((image, action)) = image else {
        return Ok(());
    };
    check_image(principal, image)
        .and_then(|()| check_action(principal, action))
        .map_err(RequestError::Forbidden)
}

/// Refuses a key whose role does not have a right.
pub fn require(principal: &Principal, right: Right) -> Result<(), RequestError> {
    if principal.role().may(right) {
        return Ok(());
    }
    let needed = match right {
        Right::Read => "viewer or a higher one",
        Right::Lease => "builder or a higher one",
        Right::Change => "developer or a higher one",
        Right::Administer => "admin",
        Right::Operate => "operator",
    };
    Err(RequestError::Forbidden(format!(
        "this takes a key with the role {needed}; this one is {}",
        principal.role()
    )))
}

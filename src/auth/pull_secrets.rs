//! Pull secrets as registry passwords: where they are taken, and under which user name.

use std::sync::Arc;

use super::Auth;
use super::authenticate::refused;
use super::live::{self, Basis, LiveError, Rights};
use super::origin::{Origin, SecretOwner, pull_secret_actor};
use super::principal::Principal;
use super::rejection::{AuthenticationError, Rejection};
use super::secrets::{PULL_SECRET_PREFIX, PullSecretPassword};
use crate::metadata::PullSecret;

/// Letters of the id that a user name has.
const ID_LETTERS: usize = 8;

/// The user name that a pull secret goes with. It tells the secrets of one node apart in its configuration and in what
/// clients say.
#[must_use]
pub fn pull_secret_username(id: &str) -> String {
    let letters: String = id.chars().take(ID_LETTERS).collect();
    format!("pull-{letters}")
}

/// Whether a text is meant to be a pull secret, mistyped or not.
pub(super) fn is_pull_secret(text: &str) -> bool {
    text.starts_with(PULL_SECRET_PREFIX)
}

fn owner(secret: &PullSecret) -> SecretOwner {
    SecretOwner {
        actor: pull_secret_actor(&secret.id),
        workspace_id: secret.workspace_id.clone(),
    }
}

impl Auth {
    /// Who a pull secret belongs to that was shown as a registry password.
    pub(super) async fn pull_secret(
        &self,
        username: &str,
        password: &str,
        from: &Origin,
    ) -> Result<Arc<Principal>, AuthenticationError> {
        let secret = self.known_pull_secret(password).await?;
        let owner = owner(&secret);
        let rejected =
            |message: String| AuthenticationError::Refused(Rejection::of(owner.clone(), message));
        let expected = pull_secret_username(&secret.id);
        if username != expected {
            return Err(rejected(format!(
                "this pull secret goes with the user name {expected}"
            )));
        }
        if secret.expires_at <= self.clock().now() {
            return Err(rejected(match &secret.replaced_by {
                Some(_) => String::from(
                    "the pull secret has been replaced, and its time is over: use the one that took its place",
                ),
                None => String::from("the pull secret has expired: ask for a new one"),
            }));
        }
        let basis = Basis::PullSecret {
            id: secret.id.clone(),
        };
        let mut rights = Rights::Remembered(self.metadata());
        let principal = live::principal_of_pull_secret(&mut rights, secret, &basis).await;
        let principal = principal.map_err(|error| match error {
            LiveError::Withdrawn(reason) => {
                rejected(format!("the pull secret no longer counts: {reason}"))
            }
            LiveError::Metadata(error) => AuthenticationError::Unavailable(error),
        })?;
        Ok(self.seen(principal, from))
    }

    /// What to say to a pull secret in a place that takes none. It names its owner, for the audit log: nodes have no
    /// business there.
    pub(super) async fn misplaced_pull_secret(
        &self,
        text: &str,
    ) -> Result<Arc<Principal>, AuthenticationError> {
        let secret = self.known_pull_secret(text).await?;
        Err(AuthenticationError::Refused(Rejection::of(
            owner(&secret),
            "a pull secret pulls from the registry and does nothing else: the API takes the keys that start with berth_",
        )))
    }

    async fn known_pull_secret(&self, text: &str) -> Result<Arc<PullSecret>, AuthenticationError> {
        let secret = PullSecretPassword::parse(text).ok_or_else(|| {
            refused("the password looks like a pull secret but is mistyped or cut off")
        })?;
        let found = self
            .metadata()
            .pull_secret_by_hash(secret.hash().as_str())
            .await
            .map_err(AuthenticationError::Unavailable)?;
        found.ok_or_else(|| refused("there is no such pull secret, or it has been deleted"))
    }
}

//! The signing keys as operators see and change them, and their upkeep.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::key_ring::{self, KEEP_INTERVAL, Report};
use super::key_rows;
use super::key_schedule::Change;
use super::keys::{KeyError, KeyLocation, Purpose, SigningKey, signer};
use super::principal::Principal;
use super::role::Right;
use super::secrets::SecretText;
use super::{Auth, AuthOptions, RequestError};
use crate::clock::{Clock, Millis};
use crate::grammar::{Time, documented, word};
use crate::metadata::{Metadata, NewAuditEvent};

/// How often [`Auth::keep_signing_keys`] is to be called.
pub const SIGNING_KEYS_INTERVAL: Duration = KEEP_INTERVAL;

/// Which keys to replace, and how.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"purpose": "access"})))]
pub struct RotateSigningKeys {
    /// The purpose of the keys; all when absent.
    #[schema(value_type = Option<Purpose>)]
    pub purpose: Option<String>,
    /// The old keys end at once, with everything that they signed.
    pub now: Option<bool>,
}

/// A signing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeyView {
    /// Its id: the `kid` of its tokens.
    #[schema(examples("3q2-7wXyZ0a1b2c3"))]
    pub id: String,
    /// `access` or `credential`.
    #[schema(value_type = Purpose)]
    pub purpose: &'static str,
    /// `pending`, `signing` or `verifying`.
    #[schema(value_type = SigningKeyState)]
    pub state: &'static str,
    /// When it was made.
    #[schema(value_type = Time)]
    pub created_at: String,
    /// From when on it signs.
    #[schema(value_type = Time)]
    pub signs_from: String,
    /// When its last token has ended; none while no other one follows.
    #[schema(value_type = Option<Time>, required)]
    pub expires_at: Option<String>,
}

const PENDING: &str = "pending";
const SIGNING: &str = "signing";
const VERIFYING: &str = "verifying";

enum SigningKeyState {}
documented!(
    SigningKeyState,
    word(
        "What a key does: it will sign, it signs, or it verifies what it has signed.",
        [PENDING, SIGNING, VERIFYING]
    )
);

fn view(key: &SigningKey, signs: bool, now: Millis) -> SigningKeyView {
    let state = if key.times.signs_from > now {
        PENDING
    } else if signs {
        SIGNING
    } else {
        VERIFYING
    };
    SigningKeyView {
        id: key.id().to_owned(),
        purpose: key.purpose().as_str(),
        state,
        created_at: key.times.created_at.rfc3339(),
        signs_from: key.times.signs_from.rfc3339(),
        expires_at: key.times.expires_at.map(Millis::rfc3339),
    }
}

impl Auth {
    /// The signing keys that have not ended, by id.
    pub fn signing_keys(&self, principal: &Principal) -> Result<Vec<SigningKeyView>, RequestError> {
        require_operator(principal)?;
        let now = self.clock().now();
        let keys = self.inner().keys.keys();
        let signs = |key: &SigningKey| {
            signer(&keys, key.purpose(), now).is_some_and(|signer| signer.id() == key.id())
        };
        let living = keys.iter().filter(|key| key.lives(now));
        let mut views: Vec<_> = living.map(|key| view(key, signs(key), now)).collect();
        views.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        Ok(views)
    }

    /// Makes new signing keys. The old ones sign on until the new ones are known everywhere, and verify until their
    /// last token has ended; or end at once, where they are said to be in wrong hands.
    pub async fn rotate_signing_keys(
        &self,
        principal: &Principal,
        request: &RotateSigningKeys,
    ) -> Result<Vec<SigningKeyView>, RequestError> {
        require_operator(principal)?;
        let purposes = match request.purpose.as_deref() {
            None => Purpose::ALL.to_vec(),
            Some(name) => vec![Purpose::from_name(name).ok_or_else(|| {
                let names = Purpose::ALL.map(Purpose::as_str).join(" or ");
                RequestError::BadRequest(format!("purpose: {names}; leave it out for both"))
            })?],
        };
        let now = self.clock().now();
        let event = principal.did(None, "signing_key.rotate", &names(&purposes), now);
        let (change, event) = if request.now.unwrap_or(false) {
            let event = event.because("what the old keys signed ended with them");
            (Change::Replace(purposes), event)
        } else {
            (Change::Rotate(purposes), event)
        };
        let report = Report {
            metadata: self.metadata().clone(),
            event,
        };
        self.inner().keys.change_for(change, report).await?;
        self.signing_keys(principal)
    }

    /// Learns which signing keys other servers have made and ended, makes the next ones when it is time, and ends those
    /// whose last token has ended. For a task in the background, every [`SIGNING_KEYS_INTERVAL`].
    pub async fn keep_signing_keys(&self) -> Result<(), KeyError> {
        self.inner().keys.keep().await
    }
}

/// Ends every signing key and makes new ones, without a server: for keys that nobody can read any more, or a server
/// that cannot be trusted to do it.
pub async fn reset_signing_keys(
    options: &AuthOptions,
    metadata: &Metadata,
    clock: &Clock,
) -> Result<(), KeyError> {
    let now = clock.now();
    let event = NewAuditEvent::new(
        now,
        None,
        "reset",
        "signing_key.reset",
        &names(&Purpose::ALL),
    );
    let report = Report {
        metadata: metadata.clone(),
        event,
    };
    key_ring::reset(&options.keys, &report, options.schedule(), now).await
}

fn names(purposes: &[Purpose]) -> String {
    let names: Vec<&str> = purposes.iter().map(|purpose| purpose.as_str()).collect();
    names.join(", ")
}

/// Wraps the signing keys of a database by the configured secret, which `previous` did until now; how many there are.
///
/// # Errors
/// [`KeyError::NotWrapped`] where the keys are files, and [`KeyError::WrongWrappingSecret`] if `previous` is not the
/// secret.
pub async fn rewrap_signing_keys(
    options: &AuthOptions,
    metadata: &Metadata,
    previous: &SecretText,
) -> Result<usize, KeyError> {
    match &options.keys {
        KeyLocation::Files(_) => Err(KeyError::NotWrapped),
        KeyLocation::Database(secret) => {
            let secret = key_rows::long_enough(secret.as_ref())?;
            key_rows::rewrap(metadata, previous, secret).await
        }
    }
}

fn require_operator(principal: &Principal) -> Result<(), RequestError> {
    if principal.role().may(Right::Operate) {
        return Ok(());
    }
    Err(RequestError::Forbidden(format!(
        "signing keys are for operators; this key is {}",
        principal.role()
    )))
}

impl From<KeyError> for RequestError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::NotNow(message) => Self::Conflict(message),
            KeyError::Metadata(error) => Self::Metadata(error),
            KeyError::File { .. }
            | KeyError::Unreadable(_)
            | KeyError::NoWrappingSecret
            | KeyError::WrongWrappingSecret(_)
            | KeyError::NotWrapped
            | KeyError::Broken(_)
            | KeyError::Cryptography
            | KeyError::NoSigner(_) => Self::Internal(error.to_string()),
        }
    }
}

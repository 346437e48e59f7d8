//! Operator keys: who has the installation in hands. Operators make, replace and end them; one at least is always left.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::api_keys::end_in_text;
use super::first_start::{FirstStartError, make_key, write};
use super::names::{Label, check_label};
use super::{Listed, Tenancy, require};
use crate::audit;
use crate::auth::{ApiKeySecret, Principal, RequestError, Right, Role, Secret, key_actor};
use crate::clock::Millis;
use crate::grammar::{End, Id, Time};
use crate::metadata::{ApiKey, NewApiKey, NewAuditEvent, Transaction};

/// Operator keys at most, ended ones included.
pub const MAX_OPERATOR_KEYS: u32 = 100;
/// How long a replaced key goes on when nothing is said: a day.
const OVERLAP_DEFAULT_SECONDS: i64 = 24 * 3_600;
/// How long a replaced key may go on: thirty days.
const OVERLAP_MAX_SECONDS: i64 = 30 * 24 * 3_600;
/// What the key of a reset is called, and who made it.
const RESET: &str = "reset";

/// A request for an operator key.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"name": "alice", "expiresAt": "2099-01-01T00:00:00Z"})))]
pub struct CreateOperatorKey {
    /// What people call it.
    #[schema(value_type = Label)]
    pub name: String,
    /// When it ends.
    #[schema(value_type = Option<End>)]
    pub expires_at: Option<String>,
}

/// A request for an operator key in the place of another.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"overlapSeconds": 3600})))]
pub struct RotateOperatorKey {
    /// How long the old key goes on.
    #[schema(minimum = 0, maximum = 2_592_000)]
    pub overlap_seconds: Option<i64>,
    /// When the new key ends.
    #[schema(value_type = Option<End>)]
    pub expires_at: Option<String>,
}

/// An operator key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "id": "0b9f4a2e-6d0c-4f7b-9a53-5f4f4c0f1d2e", "name": "alice",
    "createdBy": "key:7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11", "createdAt": "2026-01-01T00:00:00Z",
    "expiresAt": "2099-01-01T00:00:00Z", "lastUsedAt": null
})))]
pub struct OperatorKeyView {
    /// Its id.
    #[schema(value_type = Id)]
    pub id: String,
    /// What people call it.
    #[schema(value_type = Label)]
    pub name: String,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[schema(value_type = Time)]
    pub created_at: String,
    /// When it ends.
    #[schema(value_type = Option<Time>, required)]
    pub expires_at: Option<String>,
    /// When it was last used, some seconds old.
    #[schema(value_type = Option<Time>, required)]
    pub last_used_at: Option<String>,
}

// No `Debug`: it holds the secret.
/// An operator key that was just made, with the secret that is shown this once.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedOperatorKey {
    /// The key.
    #[serde(flatten)]
    pub view: OperatorKeyView,
    /// Its secret.
    #[schema(value_type = Secret)]
    pub key: String,
    /// The key whose place it takes, with its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = OperatorKeyView)]
    pub replaces: Option<OperatorKeyView>,
}

impl From<&ApiKey> for OperatorKeyView {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            created_by: key.created_by.clone(),
            created_at: key.created_at.rfc3339(),
            expires_at: key.expires_at.map(Millis::rfc3339),
            last_used_at: key.last_used_at.map(Millis::rfc3339),
        }
    }
}

impl From<&NewApiKey> for OperatorKeyView {
    fn from(key: &NewApiKey) -> Self {
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            created_by: key.created_by.clone(),
            created_at: key.created_at.rfc3339(),
            expires_at: key.expires_at.map(Millis::rfc3339),
            last_used_at: None,
        }
    }
}

impl Tenancy {
    /// Makes an operator key.
    pub async fn create_operator_key(
        &self,
        principal: &Principal,
        request: &CreateOperatorKey,
    ) -> Result<CreatedOperatorKey, RequestError> {
        require(principal, Right::Operate)?;
        check_label("name", &request.name)?;
        let now = self.clock.now();
        let expires_at = end(principal, request.expires_at.as_deref(), now)?;
        let mut change = self.metadata.begin().await?;
        let keys = hold(&mut change).await?;
        check_room(&keys)?;
        let created = make(&mut change, principal, &request.name, now, expires_at).await?;
        let target = key_actor(&created.view.id);
        let event = audit::done(principal, None, "operator_key.create", &target, now);
        change.audit(&event).await?;
        change.commit().await?;
        Ok(created)
    }

    /// The operator keys by id, after `last`.
    pub async fn operator_keys(
        &self,
        principal: &Principal,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<OperatorKeyView>, RequestError> {
        require(principal, Right::Operate)?;
        let rows = self
            .metadata
            .operator_keys(last.unwrap_or_default(), limit.saturating_add(1))
            .await?;
        Ok(Listed::cut(
            rows,
            limit,
            |key| &key.id,
            |key| OperatorKeyView::from(&**key),
        ))
    }

    /// Ends an operator key, unless it is the last one that has not ended.
    pub async fn delete_operator_key(
        &self,
        principal: &Principal,
        id: &str,
    ) -> Result<(), RequestError> {
        require(principal, Right::Operate)?;
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        let keys = hold(&mut change).await?;
        let key = find(&keys, id)?;
        let other_stays = keys
            .iter()
            .any(|other| other.id != id && outlives(other, key, now));
        if lives(key, now) && !other_stays {
            return Err(RequestError::Conflict(String::from(
                "no other operator key lives as long as this one: make one first, or rotate it",
            )));
        }
        change.delete_operator_key(key).await?;
        let target = key_actor(&key.id);
        let event = audit::done(principal, None, "operator_key.delete", &target, now);
        change.audit(&event).await?;
        Ok(change.commit().await?)
    }

    /// Makes a new operator key in the place of another, which goes on for a while.
    pub async fn rotate_operator_key(
        &self,
        principal: &Principal,
        id: &str,
        request: &RotateOperatorKey,
    ) -> Result<CreatedOperatorKey, RequestError> {
        require(principal, Right::Operate)?;
        let overlap = request.overlap_seconds.unwrap_or(OVERLAP_DEFAULT_SECONDS);
        if !(0..=OVERLAP_MAX_SECONDS).contains(&overlap) {
            return Err(RequestError::BadRequest(format!(
                "overlapSeconds is a number from 0 to {OVERLAP_MAX_SECONDS}"
            )));
        }
        let now = self.clock.now();
        let expires_at = end(principal, request.expires_at.as_deref(), now)?;
        let mut change = self.metadata.begin().await?;
        let keys = hold(&mut change).await?;
        let old = find(&keys, id)?;
        if !lives(old, now) {
            return Err(RequestError::Conflict(String::from(
                "this key has ended: make a new one instead",
            )));
        }
        let ends_sooner = match (expires_at, old.expires_at) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(end), Some(old_end)) => end < old_end,
        };
        let other_stays = keys
            .iter()
            .any(|other| other.id != id && outlives(other, old, now));
        if ends_sooner && !other_stays {
            return Err(RequestError::Conflict(String::from(
                "the new key would end sooner than this one, and no other operator key lives as long: rotate it with a \
                 key that lives as long, or make one first",
            )));
        }
        check_room(&keys)?;
        let old_end = now.plus(overlap.saturating_mul(1_000));
        let old_end = old.expires_at.map_or(old_end, |end| end.min(old_end));
        change.end_api_key(old, old_end).await?;
        let mut created = make(&mut change, principal, &old.name, now, expires_at).await?;
        let target = key_actor(&old.id);
        let event = audit::done(principal, None, "operator_key.rotate", &target, now);
        let event = event.because(&format!("replaced by {}", key_actor(&created.view.id)));
        change.audit(&event).await?;
        change.commit().await?;
        created.replaces = Some(OperatorKeyView {
            expires_at: Some(old_end.rfc3339()),
            ..OperatorKeyView::from(&**old)
        });
        Ok(created)
    }

    /// Ends every operator key and writes a new one to `file`: the way in when the keys are lost or in wrong hands.
    ///
    /// The file is written first, as at the first start: a crash in between leaves a file that opens nothing.
    pub async fn reset_operator_keys(&self, file: &Path) -> Result<(), FirstStartError> {
        let mut change = self.metadata.begin().await?;
        change.delete_operator_keys().await?;
        let now = self.clock.now();
        let secret = make_key(&mut change, None, Role::Operator, RESET, now).await?;
        let event = NewAuditEvent::new(now, None, RESET, "operator_key.reset", "all");
        change.audit(&event).await?;
        write(file, &secret)?;
        Ok(change.commit().await?)
    }
}

async fn hold(change: &mut Transaction) -> Result<Vec<Arc<ApiKey>>, RequestError> {
    Ok(change.hold_operator_keys(MAX_OPERATOR_KEYS).await?)
}

fn find<'a>(keys: &'a [Arc<ApiKey>], id: &str) -> Result<&'a Arc<ApiKey>, RequestError> {
    keys.iter()
        .find(|key| key.id == id)
        .ok_or_else(|| RequestError::NotFound(String::from("there is no such operator key")))
}

fn lives(key: &ApiKey, now: Millis) -> bool {
    key.expires_at.is_none_or(|end| now < end)
}

/// Whether a key lives now and ends no sooner than another: then that one may go, and whoever keeps this rule keeps a
/// key without an end for as long as there was one.
fn outlives(key: &ApiKey, other: &ApiKey, now: Millis) -> bool {
    lives(key, now)
        && match (key.expires_at, other.expires_at) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(other_end)) => end >= other_end,
        }
}

fn check_room(keys: &[Arc<ApiKey>]) -> Result<(), RequestError> {
    if keys.len() < MAX_OPERATOR_KEYS as usize {
        return Ok(());
    }
    Err(RequestError::Conflict(format!(
        "there are at most {MAX_OPERATOR_KEYS} operator keys: delete some that have ended or are not used any more"
    )))
}

/// When a key ends that `principal` makes. A key that ends by itself makes none that outlives it.
fn end(
    principal: &Principal,
    wanted: Option<&str>,
    now: Millis,
) -> Result<Option<Millis>, RequestError> {
    let wanted = end_in_text(wanted, now)?;
    let Some(own_end) = principal.expires_at() else {
        return Ok(wanted);
    };
    if wanted.is_some_and(|end| end <= own_end) {
        return Ok(wanted);
    }
    Err(RequestError::Forbidden(format!(
        "this key ends at {}, and no operator key it makes may end later: give an expiresAt",
        own_end.rfc3339()
    )))
}

async fn make(
    change: &mut Transaction,
    principal: &Principal,
    name: &str,
    now: Millis,
    expires_at: Option<Millis>,
) -> Result<CreatedOperatorKey, RequestError> {
    let secret =
        ApiKeySecret::generate().map_err(|error| RequestError::Internal(error.to_string()))?;
    let key = NewApiKey {
        id: Uuid::new_v4().to_string(),
        workspace_id: None,
        name: name.to_owned(),
        role: Role::Operator.as_str().to_owned(),
        hash: secret.hash().as_str().to_owned(),
        repositories: None,
        actions: None,
        created_by: principal.actor().to_owned(),
        created_at: now,
        expires_at,
    };
    change.insert_api_key(&key).await?;
    Ok(CreatedOperatorKey {
        view: OperatorKeyView::from(&key),
        key: secret.reveal().to_owned(),
        replaces: None,
    })
}

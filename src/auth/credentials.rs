//! Registry credentials: signed, short-lived passwords for one workspace or one repository, and their revocation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Auth;
use super::action::{Action, ActionSet};
use super::error::RequestError;
use super::keys::Purpose;
use super::origin::{credential_actor, key_actor};
use super::principal::{Foundation, Principal};
use super::role::Right;
use super::target::{ImageReference, RegistryHosts, Target};
use super::token_endpoint::parent;
use super::tokens::{self, Claims, CredentialClaims, CredentialParent};
use super::whole_number::WholeNumber;
use crate::clock::Millis;
use crate::grammar::{Time, documented, text, whole, word};
use crate::metadata::Workspace;

/// The shortest credential.
const MIN_LIFETIME_S: i64 = 60;
/// The longest credential that any configuration allows: twelve hours.
pub(super) const LIFETIME_CEILING_S: i64 = 12 * 3_600;
/// How much longer a revocation is kept: an access token may outlive its credential by a minute.
const REVOCATION_SLACK_S: i64 = 300;
/// Bytes of a credential's id.
const ID_LENGTH: usize = 32;

/// How long a credential may live by any configuration, in seconds.
type Lifetime = WholeNumber<{ MIN_LIFETIME_S as u64 }, { LIFETIME_CEILING_S as u64 }>;

/// Where credentials come from: Berth itself.
const PROVIDER: &str = "builtin";

enum Provider {}
documented!(
    Provider,
    word("Where the credential comes from.", [PROVIDER])
);

enum CredentialId {}
documented!(
    CredentialId,
    text(
        "The id of a registry credential.",
        ID_LENGTH..=ID_LENGTH,
        "9f2c1e5a7b3d4c6e8f0a1b2c3d4e5f60"
    )
    .pattern(whole("[0-9a-fA-F]{32}"))
);

/// What a credential is asked for with.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({
    "targetImage": "my-app:v1", "actions": ["pull", "push"], "expiresInSeconds": 900
})))]
pub struct CredentialRequest {
    /// Narrows it to one repository.
    #[schema(value_type = Option<ImageReference>)]
    pub target_image: Option<String>,
    /// Narrows it to these actions.
    #[schema(value_type = Option<Vec<Action>>, min_items = 1)]
    pub actions: Option<Vec<String>>,
    /// How long it shall live.
    #[schema(inline)]
    pub expires_in_seconds: Option<Lifetime>,
}

// No `Debug`: it holds the password.
/// A registry credential.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedCredential {
    /// Always `builtin`.
    #[schema(value_type = Provider)]
    pub provider: &'static str,
    /// Host and prefix to push to.
    #[schema(examples("127.0.0.1:5000/t-6a1ba868"))]
    pub push_registry: String,
    /// Host and prefix to pull from.
    #[schema(examples("127.0.0.1:5001/t-6a1ba868"))]
    pub pull_registry: String,
    /// The target as it is pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, examples("127.0.0.1:5000/t-6a1ba868/my-app:v1"))]
    pub push_image: Option<String>,
    /// The target as it is pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, examples("127.0.0.1:5001/t-6a1ba868/my-app:v1"))]
    pub pull_image: Option<String>,
    /// The workspace's prefix.
    #[schema(examples("t-6a1ba868"))]
    pub username: String,
    /// The signed token.
    #[schema(examples("eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJiZXJ0aCJ9.c2lnbmF0dXJl"))]
    pub password: String,
    /// When it ends.
    #[schema(value_type = Time)]
    pub expires_at: String,
    /// What it is revoked by.
    #[schema(value_type = CredentialId)]
    pub credential_id: String,
    /// What it is good for, for the audit log.
    #[serde(skip)]
    pub reach: String,
}

/// What to revoke: exactly one of the three.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(
    examples(json!({"credentialId": "9f2c1e5a7b3d4c6e8f0a1b2c3d4e5f60"})),
    min_properties = 1,
    max_properties = 1
)]
pub struct Revocation {
    /// One credential.
    #[schema(value_type = Option<CredentialId>)]
    pub credential_id: Option<String>,
    /// All credentials that a key got until now.
    pub api_key_id: Option<String>,
    /// All credentials of the workspace until now.
    pub all: Option<bool>,
}

impl Auth {
    /// An alias is pulled by the name that it has, and pushed to by nobody.
    async fn refuse_alias(&self, target: &Target) -> Result<(), RequestError> {
        let found = self.metadata().repository(target.repository()).await?;
        match found.filter(|found| found.share_id.is_some()) {
            None => Ok(()),
            Some(shared) => Err(RequestError::BadRequest(format!(
                "targetImage: \"{}\" is shared by {}: it can be pulled and not pushed; leave targetImage out to pull it",
                target.image(),
                shared.name
            ))),
        }
    }

    /// Issues a registry credential to a key of `workspace`.
    pub async fn issue_credential(
        &self,
        principal: &Principal,
        workspace: &Arc<Workspace>,
        request: &CredentialRequest,
        hosts: &RegistryHosts,
    ) -> Result<IssuedCredential, RequestError> {
        if principal
            .workspace()
            .is_none_or(|own| own.id != workspace.id)
        {
            return Err(RequestError::Forbidden(String::from(
                "an operator key neither pulls nor pushes: ask with an API key of the workspace",
            )));
        }
        let Foundation::Key(key) = &principal.foundation else {
            return Err(RequestError::Forbidden(String::from(
                "only API keys get registry credentials: ask with one of the workspace",
            )));
        };
        let actions = actions(principal, request.actions.as_deref())?;
        let target = request
            .target_image
            .as_deref()
            .map(|text| Target::parse(text, workspace, hosts))
            .transpose()?;
        if let (Some(target), Some(images)) = (&target, principal.narrowing().images())
            && !images.hold(target.image())
        {
            let patterns = images.patterns().join(", ");
            return Err(RequestError::Forbidden(format!(
                "this key is limited to the images {patterns}; \"{}\" is not one of them",
                target.image()
            )));
        }
        if let Some(target) = &target {
            self.refuse_alias(target).await?;
        }
        let now = self.clock().now();
        self.inner().credentials_issued.take(key.id.clone(), now)?;
        let expires_at_s = self.credential_end_s(principal, request.expires_in_seconds, now)?;
        let id = Uuid::new_v4().simple().to_string();
        let claims = Claims {
            iss: self.options().service_name.clone(),
            aud: Purpose::RegistryCredential.token_type().to_owned(),
            sub: principal.actor().to_owned(),
            jti: id.clone(),
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: expires_at_s,
            body: CredentialClaims {
                parent: CredentialParent::Key(parent(key, workspace)),
                prefix: workspace.prefix.clone(),
                repository: target
                    .as_ref()
                    .map(|target| target.repository().as_str().to_owned()),
                actions,
            },
        };
        let password = tokens::sign(&self.inner().keys, Purpose::RegistryCredential, &claims)
            .map_err(|error| RequestError::Internal(error.to_string()))?;
        let repositories = match &target {
            Some(target) => target.repository().to_string(),
            None => format!("{}/", workspace.prefix),
        };
        let reach = format!("{actions} on {repositories}");
        let pull_host = hosts.pull_host();
        Ok(IssuedCredential {
            provider: PROVIDER,
            push_registry: format!("{}/{}", hosts.push, workspace.prefix),
            pull_registry: format!("{pull_host}/{}", workspace.prefix),
            push_image: target.as_ref().map(|target| target.reference(&hosts.push)),
            pull_image: target.as_ref().map(|target| target.reference(pull_host)),
            username: workspace.prefix.clone(),
            password: password.reveal().to_owned(),
            expires_at: Millis(expires_at_s.saturating_mul(1000)).rfc3339(),
            credential_id: id,
            reach,
        })
    }

    fn credential_end_s(
        &self,
        principal: &Principal,
        wanted: Option<Lifetime>,
        now: Millis,
    ) -> Result<i64, RequestError> {
        let limit = |seconds: u64| {
            i64::try_from(seconds)
                .unwrap_or(i64::MAX)
                .min(LIFETIME_CEILING_S)
        };
        let longest = limit(self.options().credential_max_seconds);
        let default = self.options().credential_default_seconds;
        let lifetime = match wanted {
            Some(wanted) => limit(wanted.get()),
            None => limit(default).min(longest),
        };
        if !(MIN_LIFETIME_S..=longest).contains(&lifetime) {
            return Err(RequestError::BadRequest(format!(
                "expiresInSeconds is a number from {MIN_LIFETIME_S} to {longest}"
            )));
        }
        let end = now.seconds() + lifetime;
        Ok(principal
            .expires_at()
            .map_or(end, |key_end| end.min(key_end.seconds())))
    }

    /// Revokes one credential, those of a key, or all of the workspace.
    pub async fn revoke_credentials(
        &self,
        principal: &Principal,
        workspace: &Arc<Workspace>,
        revocation: &Revocation,
    ) -> Result<(), RequestError> {
        let own = principal
            .workspace()
            .is_none_or(|own| own.id == workspace.id);
        if !own || !principal.role().may(Right::Administer) {
            return Err(RequestError::Forbidden(String::from(
                "revoking credentials takes a key with the role admin",
            )));
        }
        let now = self.clock().now();
        let mut change = self.metadata().begin().await?;
        let target = match (
            &revocation.credential_id,
            &revocation.api_key_id,
            revocation.all,
        ) {
            (Some(id), None, None) => {
                if id.len() != ID_LENGTH || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(RequestError::BadRequest(String::from(
                        "credentialId is no id of a credential: give the one that came with it",
                    )));
                }
                // Each is a row for half a day.
                self.inner()
                    .credentials_revoked
                    .take(principal.foundation.id().to_owned(), now)?;
                let kept_until = now.plus((LIFETIME_CEILING_S + REVOCATION_SLACK_S) * 1000);
                let id = id.to_ascii_lowercase();
                change
                    .revoke_credential(&workspace.id, &id, now, kept_until)
                    .await?;
                credential_actor(&id)
            }
            (None, Some(id), None) => {
                if id.contains(char::is_control) {
                    return Err(RequestError::BadRequest(String::from(
                        "apiKeyId is no id of an API key: give the one that the list has",
                    )));
                }
                if !change.revoke_api_key_credentials(&workspace.id, id).await? {
                    return Err(RequestError::NotFound(String::from(
                        "this workspace has no such API key",
                    )));
                }
                key_actor(id)
            }
            (None, None, Some(true)) => {
                change.revoke_workspace_credentials(workspace).await?;
                String::from("all")
            }
            _ => {
                return Err(RequestError::BadRequest(String::from(
                    "say what to revoke by exactly one of credentialId, apiKeyId and \"all\": true",
                )));
            }
        };
        let id = Some(workspace.id.as_str());
        change
            .audit(&principal.did(id, "credential.revoke", &target, now))
            .await?;
        Ok(change.commit().await?)
    }
}

/// The actions of a credential: those asked for, each of which the key must have; else pull, and push where it has it.
fn actions(principal: &Principal, wanted: Option<&[String]>) -> Result<ActionSet, RequestError> {
    let own = principal.actions();
    let Some(wanted) = wanted else {
        let default = own.intersection(ActionSet::of(&[Action::Pull, Action::Push]));
        if default.is_empty() {
            return Err(RequestError::Forbidden(String::from(
                "this key may neither pull nor push",
            )));
        }
        return Ok(default);
    };
    let mut actions = ActionSet::EMPTY;
    for word in wanted {
        let action: Action = word
            .parse()
            .map_err(|error| RequestError::BadRequest(format!("actions: {error}")))?;
        if !own.contains(action) {
            return Err(RequestError::Forbidden(format!(
                "this key may not {action}, so a credential of it may not either"
            )));
        }
        actions = actions.union(ActionSet::of(&[action]));
    }
    if actions.is_empty() {
        return Err(RequestError::BadRequest(String::from(
            "actions names at least one of pull, push and delete; leave it out for the default",
        )));
    }
    Ok(actions)
}

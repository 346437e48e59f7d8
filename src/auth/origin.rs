//! Where a request came from: what the audit log says about whoever asked, beside who it was.

use std::net::IpAddr;

use super::principal::Principal;
use crate::clock::Millis;
use crate::metadata::NewAuditEvent;
use crate::telemetry::RequestId;

/// The address and the id of a request.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Whoever sent it: the other end of the connection, or whom a trusted proxy saw there.
    pub address: IpAddr,
    /// The id in its answer and in the log.
    pub request_id: RequestId,
}

/// Who a secret belongs to that is not taken any more, or not in this place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretOwner {
    /// How rows name it: `key:<id>`, `credential:<id>`, `pull-secret:<id>` or `identity:<issuer>/<rule>:<subject>`.
    pub actor: String,
    /// Its workspace; none for an operator key, and for a pull secret of all workspaces.
    pub workspace_id: Option<String>,
}

/// How rows and the audit log name an API key or operator key.
#[must_use]
pub fn key_actor(id: &str) -> String {
    format!("key:{id}")
}

/// How rows and the audit log name a registry credential.
#[must_use]
pub fn credential_actor(id: &str) -> String {
    format!("credential:{id}")
}

/// How the names of those of other issuers begin.
const IDENTITY: &str = "identity:";

/// How rows and the audit log name somebody of another issuer: by the names that the configuration gives the issuer and
/// the rule, and by the subject.
pub(super) fn identity_actor(issuer: &str, rule: Option<&str>, subject: &str) -> String {
    // Neither name has a slash or a colon, and no rule is called so.
    let rule = rule.unwrap_or("-");
    format!("{IDENTITY}{issuer}/{rule}:{subject}")
}

/// The issuer of somebody whom rows and the audit log name so; none of whoever has a key or a secret of ours.
#[must_use]
pub fn issuer_of(actor: &str) -> Option<&str> {
    let (issuer, _) = actor.strip_prefix(IDENTITY)?.split_once('/')?;
    Some(issuer)
}

/// How rows and the audit log name a pull secret.
#[must_use]
pub fn pull_secret_actor(id: &str) -> String {
    format!("pull-secret:{id}")
}

impl Principal {
    /// The event of a change that this principal makes. `workspace_id` is the workspace whose log it belongs to; none
    /// for what concerns the installation alone.
    #[must_use]
    pub fn did(
        &self,
        workspace_id: Option<&str>,
        action: &str,
        target: &str,
        now: Millis,
    ) -> NewAuditEvent {
        let event = NewAuditEvent::new(now, workspace_id, self.actor(), action, target);
        match self.origin() {
            Some(origin) => event.from(origin.address, &origin.request_id),
            None => event,
        }
    }
}

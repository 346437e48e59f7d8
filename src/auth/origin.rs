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
    /// How rows name it: `key:<id>` or `credential:<id>`.
    pub actor: String,
    /// Its workspace; none for an operator key.
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

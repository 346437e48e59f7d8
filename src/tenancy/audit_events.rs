//! The audit log as admins and operators read it.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Listed, Tenancy, require};
use crate::auth::{Principal, RequestError, Right};
use crate::grammar::{Time, documented, word};
use crate::metadata::{AuditEvent, AuditOutcome};

enum Outcome {}
documented!(
    Outcome,
    word(
        "How it went.",
        [AuditOutcome::Allowed, AuditOutcome::Refused].map(AuditOutcome::as_str)
    )
);

/// An event, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "id": "42", "at": "2026-01-01T00:00:00Z", "actor": "key:7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11", "action": "image.delete",
    "target": "t-shop/team/app", "outcome": "allowed", "reason": null, "address": "192.0.2.7",
    "requestId": "a462c60da049429fc69088820bfc7663", "count": 1
})))]
pub struct AuditEventView {
    /// Its id: later ones have higher ones.
    pub id: String,
    /// When it happened, the first time where it is a sum.
    #[schema(value_type = Time)]
    pub at: String,
    /// Who: `key:<id>`, `credential:<id>` or `pull-secret:<id>`.
    pub actor: String,
    /// What: `<thing>.<verb>`, or the request that was refused.
    pub action: String,
    /// To what.
    pub target: String,
    /// `allowed` or `refused`.
    #[schema(value_type = Outcome)]
    pub outcome: &'static str,
    /// Why it was refused, or how it was done.
    #[schema(required)]
    pub reason: Option<String>,
    /// Where the request came from; none for what the command line did to a stopped server.
    #[schema(required)]
    pub address: Option<String>,
    /// The id of the request: that of the first where it is a sum.
    #[schema(required)]
    pub request_id: Option<String>,
    /// How often: refusals of one actor, action and reason are one event in a minute.
    pub count: u64,
}

impl From<AuditEvent> for AuditEventView {
    fn from(event: AuditEvent) -> Self {
        Self {
            id: event.id.to_string(),
            at: event.at.rfc3339(),
            actor: event.actor,
            action: event.action,
            target: event.target,
            outcome: event.outcome.as_str(),
            reason: event.reason,
            address: event.address,
            request_id: event.request_id,
            count: event.count,
        }
    }
}

impl Tenancy {
    /// Events from the newest on, those before `before`: to an admin those of its workspace, to an operator those of the
    /// workspace that it names, or all.
    pub async fn audit_events(
        &self,
        principal: &Principal,
        named: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Listed<AuditEventView>, RequestError> {
        let workspace = self.named_workspace(principal, named).await?;
        require(principal, Right::Administer)?;
        let workspace_id = workspace.as_ref().map(|workspace| workspace.id.as_str());
        let rows = self
            .metadata
            .audit_events(workspace_id, before, limit.saturating_add(1))
            .await?;
        let views = rows.into_iter().map(AuditEventView::from).collect();
        Ok(Listed::cut(
            views,
            limit,
            |view: &AuditEventView| &view.id,
            Clone::clone,
        ))
    }
}

//! The audit log as use-cases write it: who changed what, and what was refused to whom.
//!
//! A change writes its event in its own transaction, so that there is neither without the other: [`done`] makes it. What
//! has no change of its own, credentials that were issued and refusals, is held in memory for a moment and written by a
//! task in the background, within bounds: nobody waits for it, and nobody fills the database with it. This module knows
//! no HTTP and no SQL.

mod buffer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::{Origin, Principal, credential_actor};
use crate::clock::{Clock, Millis};
use crate::metadata::{Metadata, MetadataError, NewAuditEvent, Workspace};
use buffer::{Buffer, Due};

/// Events that one transaction writes at most.
const WRITE_BATCH: usize = 200;
/// Old events that one transaction removes at most.
const REMOVE_BATCH: u32 = 1_000;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The event of a change that `principal` makes, for [`crate::metadata::Transaction::audit`] of the same change.
///
/// `workspace_id` is the workspace whose log it belongs to, none for what concerns the installation alone; `action` is
/// `<thing>.<verb>`; `target` names the thing, and never holds a secret.
#[must_use]
pub fn done(
    principal: &Principal,
    workspace_id: Option<&str>,
    action: &str,
    target: &str,
    now: Millis,
) -> NewAuditEvent {
    principal.did(workspace_id, action, target, now)
}

/// Something that was asked for and not done.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Who asked.
    pub actor: &'a str,
    /// The workspace of whoever asked.
    pub workspace_id: Option<&'a str>,
    /// What was asked for.
    pub action: &'a str,
    /// Of what.
    pub target: &'a str,
    /// Why not, as the answer says it.
    pub reason: &'a str,
    /// The request.
    pub origin: &'a Origin,
}

struct Inner {
    metadata: Metadata,
    clock: Clock,
    retention_ms: i64,
    buffer: Mutex<Buffer>,
    /// Whose turn it is to write, so that a flush that has returned left nothing to another one under way.
    writing: tokio::sync::Mutex<()>,
}

/// What is held for the audit log until it is written. Cheap to clone.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

impl Audit {
    /// Puts it together; events are kept for so many days.
    #[must_use]
    pub fn new(metadata: Metadata, clock: Clock, retention_days: u32) -> Self {
        Self(Arc::new(Inner {
            metadata,
            clock,
            retention_ms: i64::from(retention_days) * DAY_MS,
            buffer: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }))
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        // No change of it can panic half way through.
        let buffer = self.0.buffer.lock();
        buffer.unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a registry credential was issued, which leaves no row of its own: whose it is, and what it is good for.
    pub fn issued(
        &self,
        principal: &Principal,
        workspace: Option<&Workspace>,
        credential_id: &str,
        reach: &str,
    ) {
        let event = done(
            principal,
            workspace.map(|workspace| workspace.id.as_str()),
            "credential.issue",
            &credential_actor(credential_id),
            self.0.clock.now(),
        );
        self.buffer().push(event.because(reach));
    }

    /// Notes a refusal: those of one actor, action and reason in one minute become one event, which tells of the first
    /// of them and of their number.
    pub fn refused(&self, refusal: &Refusal<'_>) {
        let event = NewAuditEvent::new(
            self.0.clock.now(),
            refusal.workspace_id,
            refusal.actor,
            refusal.action,
            refusal.target,
        )
        .refused(refusal.reason)
        .from(refusal.origin.address, &refusal.origin.request_id);
        self.buffer().sum(event);
    }

    /// Writes what is due: every event, and the sums of the minutes that are over. For a task in the background, every
    /// few seconds.
    pub async fn flush(&self) -> Result<(), MetadataError> {
        self.write(Due::Before(self.0.clock.now())).await
    }

    /// Writes everything, also the sums of this minute: for the end.
    pub async fn flush_all(&self) -> Result<(), MetadataError> {
        self.write(Due::Everything).await
    }

    async fn write(&self, due: Due) -> Result<(), MetadataError> {
        let _turn = self.0.writing.lock().await;
        let (mut events, lost) = self.buffer().take(due);
        if lost > 0 {
            tracing::warn!(
                lost,
                "refusals were not written into the audit log: there were too many of them"
            );
        }
        while !events.is_empty() {
            let batch = events.len().min(WRITE_BATCH);
            if let Err(error) = self.insert(&events[..batch]).await {
                self.buffer().put_back(events);
                return Err(error);
            }
            events.drain(..batch);
        }
        Ok(())
    }

    async fn insert(&self, events: &[NewAuditEvent]) -> Result<(), MetadataError> {
        let mut change = self.0.metadata.begin().await?;
        for event in events {
            change.audit(event).await?;
        }
        change.commit().await
    }

    /// Removes some of the events that are older than they are kept for; whether there may be more. For a task in the
    /// background.
    pub async fn remove_old(&self) -> Result<bool, MetadataError> {
        let end = self.0.clock.now().plus(-self.0.retention_ms);
        let mut change = self.0.metadata.begin().await?;
        let removed = change.remove_audit_events(end, REMOVE_BATCH).await?;
        change.commit().await?;
        Ok(removed == u64::from(REMOVE_BATCH))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::auth::testing;
    use crate::telemetry::RequestId;

    #[tokio::test]
    async fn what_cannot_be_written_is_held_until_it_can() {
        let (metadata, clock, _folder) = testing::metadata().await;
        let audit = Audit::new(metadata.clone(), clock, 90);
        let origin = Origin {
            address: Ipv4Addr::LOCALHOST.into(),
            request_id: RequestId::fresh(),
        };
        let refused = |actor: &str, workspace_id: Option<&str>| {
            audit.refused(&Refusal {
                actor,
                workspace_id,
                action: "GET /a",
                target: "b",
                reason: "no",
                origin: &origin,
            });
        };
        for number in 0..=WRITE_BATCH {
            refused("key:early", Some(&format!("workspace-{number}")));
        }
        audit.flush_all().await.unwrap();
        let limit = u32::try_from(2 * WRITE_BATCH).unwrap();
        let written = metadata.audit_events(None, None, limit).await.unwrap();
        assert_eq!(written.len(), WRITE_BATCH + 1);
        metadata.close().await;
        refused("key:late", None);
        audit.flush_all().await.unwrap_err();
        refused("key:later", None);
        audit.flush_all().await.unwrap_err();
        let (held, lost) = audit.buffer().take(Due::Everything);
        let actors: Vec<&str> = held.iter().map(NewAuditEvent::actor).collect();
        assert_eq!((actors, lost), (vec!["key:late", "key:later"], 0));
    }
}

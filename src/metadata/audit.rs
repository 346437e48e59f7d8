//! The audit log: events that are added, read from the newest on, and removed when they are old. Never changed.

use std::net::IpAddr;

use super::Metadata;
use super::database::{Transaction, on};
use super::error::{MetadataError, parse, to_i64, to_u64};
use crate::clock::Millis;
use crate::telemetry::RequestId;

/// The longest actor and action, in characters.
const MAX_NAME_CHARS: usize = 160;
/// The longest target, in characters: a repository with a digest or a tag.
const MAX_TARGET_CHARS: usize = 512;
/// The longest reason, in characters.
const MAX_REASON_CHARS: usize = 512;

/// What became of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditOutcome {
    /// It was done.
    Allowed,
    /// It was not.
    Refused,
}

impl AuditOutcome {
    /// The word of the API and of the rows for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
        }
    }
}

impl std::str::FromStr for AuditOutcome {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "allowed" => Ok(Self::Allowed),
            "refused" => Ok(Self::Refused),
            _ => Err(()),
        }
    }
}

/// An event about to be written. Its texts are cut to their limits when they are given, and have no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAuditEvent {
    at: Millis,
    workspace_id: Option<String>,
    actor: String,
    action: String,
    target: String,
    outcome: AuditOutcome,
    reason: Option<String>,
    address: Option<String>,
    request_id: Option<String>,
    count: u64,
}

/// A text as the log keeps it.
fn bounded(text: &str, limit_chars: usize) -> String {
    let plain = |character: char| {
        if character.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    };
    match text.char_indices().nth(limit_chars) {
        None => text.chars().map(plain).collect(),
        Some(_) => {
            let kept = text.chars().take(limit_chars - 1);
            kept.map(plain).chain(['…']).collect()
        }
    }
}

impl NewAuditEvent {
    /// `actor` did `action` to `target`. `workspace_id` is the workspace whose log it belongs to.
    #[must_use]
    pub fn new(
        at: Millis,
        workspace_id: Option<&str>,
        actor: &str,
        action: &str,
        target: &str,
    ) -> Self {
        Self {
            at,
            workspace_id: workspace_id.map(str::to_owned),
            actor: bounded(actor, MAX_NAME_CHARS),
            action: bounded(action, MAX_NAME_CHARS),
            target: bounded(target, MAX_TARGET_CHARS),
            outcome: AuditOutcome::Allowed,
            reason: None,
            address: None,
            request_id: None,
            count: 1,
        }
    }

    /// The request that it came with.
    #[must_use]
    pub fn from(mut self, address: IpAddr, request_id: &RequestId) -> Self {
        self.address = Some(address.to_string());
        self.request_id = Some(request_id.as_str().to_owned());
        self
    }

    /// With more to say about what was done.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = Some(bounded(reason, MAX_REASON_CHARS));
        self
    }

    /// It was not done after all, and this is why.
    #[must_use]
    pub fn refused(mut self, reason: &str) -> Self {
        self.outcome = AuditOutcome::Refused;
        self.because(reason)
    }

    /// As part of the sum of several, of which nothing is left but the workspace, the outcome and the number.
    #[must_use]
    pub fn unspecific(&self, several: &str, reason: &str) -> Self {
        let sum = Self::new(
            self.at,
            self.workspace_id.as_deref(),
            several,
            several,
            several,
        );
        Self {
            outcome: self.outcome,
            count: self.count,
            ..sum.because(reason)
        }
    }

    /// Counts `more` of the same.
    pub fn add(&mut self, more: u64) {
        self.count = self.count.saturating_add(more);
    }

    /// When it happened, the first time.
    #[must_use]
    pub fn at(&self) -> Millis {
        self.at
    }

    /// The workspace whose log it belongs to.
    #[must_use]
    pub fn workspace_id(&self) -> Option<&str> {
        self.workspace_id.as_deref()
    }

    /// Who.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// What.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// What became of it.
    #[must_use]
    pub fn outcome(&self) -> AuditOutcome {
        self.outcome
    }

    /// Why, or how.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// How often.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// An event as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// Its place in the log.
    pub id: i64,
    /// When it happened, the first time where it is a sum.
    pub at: Millis,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// What became of it.
    pub outcome: AuditOutcome,
    /// Why, or how.
    pub reason: Option<String>,
    /// Where the request came from.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// How often.
    pub count: u64,
}

#[derive(sqlx::FromRow)]
struct AuditRow {
    id: i64,
    at: i64,
    actor: String,
    action: String,
    target: String,
    outcome: String,
    reason: Option<String>,
    address: Option<String>,
    request_id: Option<String>,
    count: i64,
}

impl TryFrom<AuditRow> for AuditEvent {
    type Error = MetadataError;

    fn try_from(row: AuditRow) -> Result<Self, MetadataError> {
        Ok(Self {
            id: row.id,
            at: Millis(row.at),
            actor: row.actor,
            action: row.action,
            target: row.target,
            outcome: parse("outcome of an audit event", &row.outcome)?,
            reason: row.reason,
            address: row.address,
            request_id: row.request_id,
            count: to_u64("count of an audit event", row.count)?,
        })
    }
}

macro_rules! select {
    ($where:literal) => {
        concat!(
            "SELECT id, at, actor, action, target, outcome, reason, address, request_id, count FROM audit_events WHERE ",
            $where
        )
    };
}

const ALL: &str = select!("id < $1 ORDER BY id DESC LIMIT $2");
const OF_WORKSPACE: &str = select!("workspace_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");

impl Metadata {
    /// Events from the newest on, those before `before`: of one workspace, or of all and of the installation.
    pub async fn audit_events(
        &self,
        workspace_id: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, MetadataError> {
        let before = before.unwrap_or(i64::MAX);
        let mut reader = self.read().await?;
        let rows: Vec<AuditRow> = match workspace_id {
            Some(workspace_id) => on!(reader.connection(), c => sqlx::query_as(OF_WORKSPACE)
                .bind(workspace_id)
                .bind(before)
                .bind(i64::from(limit))
                .fetch_all(c)
                .await)?,
            None => on!(reader.connection(), c => sqlx::query_as(ALL)
                .bind(before)
                .bind(i64::from(limit))
                .fetch_all(c)
                .await)?,
        };
        rows.into_iter().map(AuditEvent::try_from).collect()
    }
}

impl Transaction {
    /// Adds an event. Inside the change that it reports, so that there is neither without the other.
    pub async fn audit(&mut self, event: &NewAuditEvent) -> Result<(), MetadataError> {
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO audit_events (at, workspace_id, actor, action, target, outcome, reason, address, request_id, \
             count) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(event.at.0)
        .bind(&event.workspace_id)
        .bind(&event.actor)
        .bind(&event.action)
        .bind(&event.target)
        .bind(event.outcome.as_str())
        .bind(&event.reason)
        .bind(&event.address)
        .bind(&event.request_id)
        .bind(to_i64(event.count))
        .execute(c)
        .await
        .map(|_| ()))?;
        Ok(())
    }

    /// Removes at most `limit` events that happened before `end`, the oldest first; how many there were.
    pub async fn remove_audit_events(
        &mut self,
        end: Millis,
        limit: u32,
    ) -> Result<u64, MetadataError> {
        let removed = on!(self.connection(), c => sqlx::query(
            "DELETE FROM audit_events WHERE id IN \
             (SELECT id FROM audit_events WHERE at < $1 ORDER BY at LIMIT $2)",
        )
        .bind(end.0)
        .bind(i64::from(limit))
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
        Ok(removed)
    }
}

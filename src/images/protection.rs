//! What may not go: what is protected, shared, leased, immutable, or needed by an index. One order of reasons for every
//! way to delete, so that the management API and `/v2/` refuse alike.

use berth_storage::Digest;

use super::sharing::HOLDERS_NAMED;
use super::{ImageOptions, RequestError, holders_of_leases};
use crate::auth::{Holder, InUse, InUseReason};
use crate::clock::Millis;
use crate::metadata::{LeaseFilter, Repository, Transaction};
use crate::oci::Tag;

/// Tags looked at in one go, where some are immutable.
const TAGS_AT_ONCE: u32 = 1000;

/// What is about to go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Going<'a> {
    Image,
    Tag(&'a Tag, &'a Digest),
    Manifest(&'a Digest),
}

impl Going<'_> {
    fn describe(&self) -> String {
        match self {
            Self::Image => String::from("the image"),
            Self::Tag(tag, _) => format!("tag {tag}"),
            Self::Manifest(digest) => format!("manifest {digest}"),
        }
    }

    fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Image => None,
            Self::Tag(_, digest) | Self::Manifest(digest) => Some(digest),
        }
    }
}

/// Looks at everything that could need what goes.
pub(super) struct Protection<'a> {
    pub(super) repository: &'a Repository,
    pub(super) options: &'a ImageOptions,
    pub(super) now: Millis,
    /// Whether the leases of other workspaces count.
    pub(super) force: bool,
}

impl Protection<'_> {
    /// Refuses what may not go; otherwise says what its owner should know.
    pub(super) async fn check(
        &self,
        change: &mut Transaction,
        going: Going<'_>,
    ) -> Result<Vec<String>, RequestError> {
        if self.repository.protected {
            let hint = "an admin can end the protection of the image";
            return Err(refusal(going, InUseReason::Protected, Vec::new(), hint));
        }
        self.check_shares(change, going).await?;
        if let Going::Manifest(digest) = going {
            let indexes = change
                .indexes_of(self.repository.id, digest, HOLDERS_NAMED)
                .await?;
            if !indexes.is_empty() {
                let hint = "delete the index first";
                let holders = indexes.iter().map(|index| named("index", index)).collect();
                return Err(refusal(going, InUseReason::IndexChild, holders, hint));
            }
        }
        let warnings = self.check_leases(change, going).await?;
        // Last of all, since it may have to look at many tags.
        self.check_immutable(change, going).await?;
        Ok(warnings)
    }

    async fn check_shares(
        &self,
        change: &mut Transaction,
        going: Going<'_>,
    ) -> Result<(), RequestError> {
        let (id, now) = (self.repository.id, self.now);
        let shares = change.shares_of(id, now, HOLDERS_NAMED).await?;
        if shares.is_empty() {
            return Ok(());
        }
        if let Going::Manifest(digest) = going {
            let history_since = now.plus(-self.options.shared_untagged_ms);
            if !change.is_rooted(id, digest, now, history_since).await? {
                return Ok(());
            }
        }
        let holders = shares.iter().map(|share| Holder {
            kind: "workspace",
            name: share.target.workspace.clone(),
            workspace: None,
            expires_at: share.expires_at.map(Millis::rfc3339),
        });
        let hint = "end the shares first";
        Err(refusal(going, InUseReason::Shared, holders.collect(), hint))
    }

    async fn check_immutable(
        &self,
        change: &mut Transaction,
        going: Going<'_>,
    ) -> Result<(), RequestError> {
        let immutable = &self.repository.immutable_tags;
        if immutable.pattern().is_none() {
            return Ok(());
        }
        let mut held = Vec::new();
        match going {
            Going::Tag(tag, _) if immutable.hold(tag) => held.push(tag.clone()),
            Going::Tag(..) => {}
            Going::Image | Going::Manifest(_) => {
                let mut last = String::new();
                while held.is_empty() {
                    let (id, digest) = (self.repository.id, going.digest());
                    let tags = change.tags_of(id, digest, &last, TAGS_AT_ONCE).await?;
                    let Some(end) = tags.last() else { break };
                    end.as_str().clone_into(&mut last);
                    held.extend(tags.into_iter().filter(|tag| immutable.hold(tag)));
                }
            }
        }
        if held.is_empty() {
            return Ok(());
        }
        let holders = held
            .iter()
            .take(HOLDERS_NAMED as usize)
            .map(|tag| named("tag", tag));
        let hint = "an admin can let the tags of the image move";
        Err(refusal(
            going,
            InUseReason::Immutable,
            holders.collect(),
            hint,
        ))
    }

    /// Own leases always stand in the way. Those of others do too, unless they are overridden, or the image is for
    /// everybody: then its owner could never delete it, and is only told.
    async fn check_leases(
        &self,
        change: &mut Transaction,
        going: Going<'_>,
    ) -> Result<Vec<String>, RequestError> {
        let owner = self.repository.workspace_id.as_str();
        let own = LeaseFilter {
            repository: self.repository.id,
            digest: going.digest(),
            workspace_id: Some(owner),
            but_not_of: None,
        };
        let leases = change.lease_holders(&own, self.now, HOLDERS_NAMED).await?;
        if !leases.is_empty() {
            let hint = "end these leases first";
            let holders = holders_of_leases(leases);
            return Err(refusal(going, InUseReason::Leased, holders, hint));
        }
        let foreign = LeaseFilter {
            workspace_id: None,
            but_not_of: Some(owner),
            ..own
        };
        let leases = change
            .lease_holders(&foreign, self.now, HOLDERS_NAMED)
            .await?;
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let holders = holders_of_leases(leases);
        if self.repository.is_platform || self.force {
            let warn = |holder: &Holder| format!("it is in use: {holder}");
            return Ok(holders.iter().map(warn).collect());
        }
        let hint = "wait for the end of these leases; an admin can override them with force=true";
        Err(refusal(going, InUseReason::Leased, holders, hint))
    }
}

fn named(kind: &'static str, name: &impl ToString) -> Holder {
    Holder {
        kind,
        name: name.to_string(),
        workspace: None,
        expires_at: None,
    }
}

fn refusal(
    going: Going<'_>,
    reason: InUseReason,
    holders: Vec<Holder>,
    hint: &str,
) -> RequestError {
    RequestError::InUse(InUse {
        reason,
        holders,
        what: going.describe(),
        hint: hint.to_owned(),
    })
}

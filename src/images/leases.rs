//! Leases: a platform says which digests it uses, and they stay.

use std::ops::RangeInclusive;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::names;
use super::sharing::shortened;
use super::{Images, RequestError, reference};
use crate::audit;
use crate::auth::{Manager, Pull, RegistryHosts, ToLease, ToRead};
use crate::clock::Millis;
use crate::grammar::{End, Time, documented, text, whole};
use crate::listed::Listed;
use crate::metadata::{Lease, Lock, MetadataError, NewLease, Repository, Transaction};
use crate::oci::{Reference, RepositoryName};
use crate::retries::with_retries;

/// Characters of a holder at most.
const MAX_HOLDER_LENGTH: usize = 200;
const HOLDER_LENGTHS: RangeInclusive<usize> = 1..=MAX_HOLDER_LENGTH;

/// What stands between the slashes of a holder, which is neither `.` nor `..`; and a holder.
const HOLDER_PART: &str = r"(\.{0,2}[a-zA-Z0-9_:@-]|\.{3})[a-zA-Z0-9._:@-]*";
const HOLDER: &str = r"(\.{0,2}[a-zA-Z0-9_:@-]|\.{3})[a-zA-Z0-9._:@-]*(/(\.{0,2}[a-zA-Z0-9_:@-]|\.{3})[a-zA-Z0-9._:@-]*)*";

documented!(
    LeaseHolderName,
    text(
        "The caller's own name for whatever uses an image: parts that are joined by slashes.",
        HOLDER_LENGTHS,
        "template/my-app"
    )
    .pattern(whole(HOLDER))
);

pub(crate) enum HolderInPath {}
documented!(
    HolderInPath,
    text(
        "The holder of a lease in a path. Where it has several parts, their slashes stand raw, as in \
         `/api/v1/leases/template/my-app`. Parameters of a path in OpenAPI have none, so the pattern tells holders of \
         one part.",
        HOLDER_LENGTHS,
        "my-app"
    )
    .pattern(whole(HOLDER_PART))
);

/// Leases read at once for a list.
const BATCH: u32 = 1001;

/// What to lease, and for how long.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"image": "team/app:v1"})))]
pub struct LeaseRequest {
    /// A reference: of an own image, a shared one, or a platform image.
    #[schema(value_type = names::Reference)]
    pub image: String,
    /// When the lease ends; by default as late as it may.
    #[schema(value_type = Option<End>)]
    pub expires_at: Option<String>,
}

/// A lease, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseView {
    /// Its name in the workspace.
    #[schema(value_type = LeaseHolderName)]
    pub holder: String,
    /// The reference, as it was given.
    #[schema(value_type = names::Reference)]
    pub image: String,
    /// What it pins.
    #[schema(value_type = names::Digest)]
    pub digest: String,
    /// When it ends.
    #[schema(value_type = Time)]
    pub expires_at: String,
}

impl From<&Lease> for LeaseView {
    fn from(lease: &Lease) -> Self {
        Self {
            holder: lease.holder.clone(),
            image: lease.image.clone(),
            digest: lease.digest.to_string(),
            expires_at: lease.expires_at.rfc3339(),
        }
    }
}

/// The caller's own name for whatever uses an image, such as `template/my-app`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHolderName(String);

impl std::str::FromStr for LeaseHolderName {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@".contains(&byte);
        let fits = HOLDER_LENGTHS.contains(&text.len())
            && text.bytes().all(known)
            && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(RequestError::BadRequest(format!(
                "a holder has 1 to {MAX_HOLDER_LENGTH} letters, digits and ._-:@, with / between its parts, such as template/my-app"
            )))
        }
    }
}

impl Images {
    /// Makes, renews or moves a lease.
    pub async fn put_lease(
        &self,
        manager: &Manager<ToLease>,
        holder: LeaseHolderName,
        request: LeaseRequest,
        hosts: &RegistryHosts,
    ) -> Result<LeaseView, RequestError> {
        let (names, reference) = leased(manager, &request.image, hosts)?;
        let wanted = Wanted {
            holder,
            image: request.image,
            names,
            reference,
            expires_at: self.lease_end(request.expires_at.as_deref())?,
        };
        let (this, manager) = (self.clone(), manager.clone());
        self.in_turn(Arc::clone(manager.workspace()), async move {
            with_retries!(this.put_lease_once(&manager, &wanted).await)
        })
        .await
    }

    fn lease_end(&self, wanted: Option<&str>) -> Result<Millis, RequestError> {
        let now = self.clock.now();
        let latest = now.plus(self.options.lease_max_ms);
        let Some(text) = wanted else {
            return Ok(latest);
        };
        let bad = || {
            RequestError::BadRequest(format!(
                "expiresAt: a time in the future and not after {}, such as {}",
                latest.rfc3339(),
                now.plus(self.options.lease_max_ms / 2).rfc3339()
            ))
        };
        let end: Timestamp = text.parse().map_err(|_| bad())?;
        let end = Millis(end.as_millisecond());
        if end <= now || end > latest {
            return Err(bad());
        }
        Ok(end)
    }

    async fn put_lease_once(
        &self,
        manager: &Manager<ToLease>,
        wanted: &Wanted,
    ) -> Result<LeaseView, RequestError> {
        let now = self.clock.now();
        let (workspace, holder) = (manager.workspace(), &wanted.holder.0);
        let mut change = self.metadata.begin().await?;
        manager.confirm(&mut change, now).await?;
        let (repository, name) = usable(&mut change, manager, wanted).await?;
        change.lock(repository.id, Lock::Shared).await?;
        // It may have gone while we waited for the lock, and another one, which is not held, may have its name.
        let (held, _) = usable(&mut change, manager, wanted).await?;
        if held.id != repository.id {
            return Err(MetadataError::overtaken().into());
        }
        let unknown = || {
            RequestError::NotFound(format!(
                "the image has no {} that could be leased",
                match &wanted.reference {
                    Reference::Tag(tag) => format!("tag \"{tag}\""),
                    Reference::Digest(digest) => format!("manifest {digest}"),
                }
            ))
        };
        let digest = match &wanted.reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => {
                let digest = change.tag(repository.id, tag).await?;
                digest.ok_or_else(unknown)?
            }
        };
        if change.manifest(repository.id, &digest).await?.is_none() {
            return Err(unknown());
        }
        let before = change.lease(&workspace.id, holder, now).await?;
        match &before {
            Some(before) if !manager.shows(&before.repository) => {
                return Err(RequestError::Forbidden(String::from(
                    "this lease holds an image that this key is not for: give the lease another name",
                )));
            }
            Some(_) => {}
            None => {
                self.check_lease_limit(&mut change, &workspace.id, now)
                    .await?;
            }
        }
        let lease = NewLease {
            workspace_id: &workspace.id,
            holder,
            repository: repository.id,
            name,
            digest: &digest,
            image: &wanted.image,
            actor: manager.actor(),
            now,
            expires_at: wanted.expires_at,
        };
        change.put_lease(&lease).await?;
        // Platforms renew all day long: what was renewed is not told.
        let is_renewed =
            |before: Lease| before.digest == digest && before.expires_at <= wanted.expires_at;
        if !before.is_some_and(is_renewed) {
            let target = format!("{holder} on {}@{digest}", repository.name);
            let own = Some(workspace.id.as_str());
            let event = audit::done(manager.principal(), own, "lease.put", &target, now);
            change.audit(&event).await?;
        }
        change.commit().await?;
        Ok(LeaseView {
            holder: holder.clone(),
            image: wanted.image.clone(),
            digest: digest.to_string(),
            expires_at: wanted.expires_at.rfc3339(),
        })
    }

    async fn check_lease_limit(
        &self,
        change: &mut Transaction,
        workspace_id: &str,
        now: Millis,
    ) -> Result<(), RequestError> {
        let limit = self.options.leases_per_workspace;
        if change.count_leases(workspace_id, now).await? < limit {
            return Ok(());
        }
        Err(RequestError::Conflict(format!(
            "this workspace holds {limit} leases, which is the limit: end some first"
        )))
    }

    /// The leases of a workspace by their holders; a narrowed key sees those on images that it reaches.
    pub async fn leases(
        &self,
        manager: &Manager<ToRead>,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<LeaseView>, RequestError> {
        let (workspace, now) = (&manager.workspace().id, self.clock.now());
        let mut last = last.unwrap_or_default().to_owned();
        let mut shown = Vec::new();
        loop {
            let rows = self.metadata.leases(workspace, &last, now, BATCH).await?;
            let is_last = rows.len() < BATCH as usize;
            if let Some(row) = rows.last() {
                row.holder.clone_into(&mut last);
            }
            shown.extend(
                rows.into_iter()
                    .filter(|row| manager.shows(&row.repository)),
            );
            if is_last || shown.len() > limit as usize {
                break;
            }
        }
        Ok(Listed::cut(
            shown,
            limit,
            |row| &row.holder,
            |row: &Lease| LeaseView::from(row),
        ))
    }

    /// One lease.
    pub async fn lease(
        &self,
        manager: &Manager<ToRead>,
        holder: &LeaseHolderName,
    ) -> Result<LeaseView, RequestError> {
        let (workspace, now) = (&manager.workspace().id, self.clock.now());
        let lease = self.metadata.lease(workspace, &holder.0, now).await?;
        lease
            .filter(|lease| manager.shows(&lease.repository))
            .as_ref()
            .map(LeaseView::from)
            .ok_or_else(|| no_lease(holder))
    }

    /// Ends a lease.
    pub async fn end_lease(
        &self,
        manager: &Manager<ToLease>,
        holder: &LeaseHolderName,
    ) -> Result<(), RequestError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        manager.confirm(&mut change, now).await?;
        let workspace = &manager.workspace().id;
        let lease = change.lease(workspace, &holder.0, now).await?;
        let lease = lease.filter(|lease| manager.shows(&lease.repository));
        if lease.is_none() || !change.end_lease(workspace, &holder.0, now).await? {
            return Err(no_lease(holder));
        }
        let own = Some(manager.workspace().id.as_str());
        let event = audit::done(manager.principal(), own, "lease.end", &holder.0, now);
        change.audit(&event).await?;
        Ok(change.commit().await?)
    }
}

/// A lease to be.
struct Wanted {
    holder: LeaseHolderName,
    image: String,
    /// What the reference may mean, the likelier one first.
    names: Vec<RepositoryName>,
    reference: Reference,
    expires_at: Millis,
}

/// What a reference may mean to this workspace.
fn leased(
    manager: &Manager<ToLease>,
    text: &str,
    hosts: &RegistryHosts,
) -> Result<(Vec<RepositoryName>, Reference), RequestError> {
    let bad = |message: String| RequestError::BadRequest(format!("image: {message}"));
    let written = reference::parse(text).map_err(bad)?;
    if let Some(host) = written.host
        && !hosts.include(host)
    {
        return Err(bad(format!(
            "\"{host}\" is another registry; what is here begins with {}",
            hosts.push
        )));
    }
    let names = written
        .repositories(&manager.workspace().prefix)
        .map_err(bad)?;
    Ok((names, written.reference))
}

/// The image that was meant, if this workspace may pull it.
async fn usable<'a>(
    change: &mut Transaction,
    manager: &Manager<ToLease>,
    wanted: &'a Wanted,
) -> Result<(Repository, &'a RepositoryName), RequestError> {
    for name in &wanted.names {
        let is_own = name.prefix() == manager.workspace().prefix;
        if is_own && let Some(image) = name.image() {
            // Before it is looked for: what the key is not for, it does not find.
            manager.image::<Pull>(&image)?;
        } else if !manager.shows(name) {
            continue;
        }
        let found = change.repository(name).await?;
        let found = found
            .filter(|found| found.is_image)
            .filter(|found| is_own || (found.is_platform && found.share_id.is_none()));
        if let Some(found) = found {
            return Ok((found, name));
        }
    }
    Err(RequestError::NotFound(format!(
        "there is no image \"{}\" that this workspace may pull",
        shortened(&wanted.image)
    )))
}

fn no_lease(holder: &LeaseHolderName) -> RequestError {
    RequestError::NotFound(format!("there is no lease of \"{}\"", shortened(&holder.0)))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::oci::testing::{near, whole};

    const SOME_HOLDERS: &str = "[a-z.:@]{1,3}(/[A-Z0-9._-]{1,3}){0,3}|[a-z/]{198,202}";

    static HOLDERS: LazyLock<Regex> = LazyLock::new(|| whole(HOLDER));
    static PARTS: LazyLock<Regex> = LazyLock::new(|| whole(HOLDER_PART));

    proptest! {
        #[test]
        fn holders_agree_with_their_grammar(text in prop_oneof![SOME_HOLDERS, near(SOME_HOLDERS)]) {
            let is_holder = text.parse::<LeaseHolderName>().is_ok();
            let fits = HOLDER_LENGTHS.contains(&text.len());
            prop_assert_eq!(HOLDERS.is_match(&text) && fits, is_holder, "{:?}", text);
            prop_assert_eq!(PARTS.is_match(&text) && fits, is_holder && !text.contains('/'), "{:?}", text);
        }
    }
}

//! What images there are: a workspace's own, those that were shared with it, and those that every workspace may pull.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::names::{self, WorkspaceName};
use super::settings::Visibility;
use super::tags::TagView;
use super::{Images, RequestError, no_image};
use crate::auth::{Covers, Manager, Pull, RegistryHosts, ToRead, Wish};
use crate::clock::Millis;
use crate::grammar::{Id, Time};
use crate::listed::Listed;
use crate::metadata::{ImageFilter, ImageRow, NamePage, Repository, TagPage, Workspace};
use crate::oci::{ImageName, ImmutableTags, RepositoryName};

/// Names looked at in one go for a key that sees some images alone.
const SCANNED: u32 = 1000;
/// How often it looks on for one page. Whoever has more images than that follows the cursor.
const SCANS: usize = 100;

/// Which images to list.
#[derive(Clone, Debug)]
pub struct ImagesQuery {
    /// Which of its own, and of those that were shared with it.
    pub filter: ImageFilter,
    /// What their names begin with.
    pub start: String,
    /// Whether those follow that every workspace may pull.
    pub with_platform: bool,
}

/// Which tags of an image stay where they are: all, none, or those of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ImmutableTagsView {
    /// All or none.
    Whether(bool),
    /// A pattern.
    Pattern(String),
}

impl From<&ImmutableTags> for ImmutableTagsView {
    fn from(tags: &ImmutableTags) -> Self {
        match tags.pattern() {
            None => Self::Whether(false),
            Some(_) if tags.are_all() => Self::Whether(true),
            Some(pattern) => Self::Pattern(pattern.to_owned()),
        }
    }
}

/// An image, as the API shows it to one workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "name": "team/app", "repository": "t-shop/team/app", "pullReference": "127.0.0.1:5001/t-shop/team/app",
    "workspace": "shop", "sourceWorkspace": null, "sourceAccountId": null, "visibility": "private",
    "protected": false, "immutableTags": "v*", "tagCount": 3, "sizeBytes": 4_262_144, "sharedWithCount": 1,
    "leaseCount": 2, "createdAt": "2026-01-01T00:00:00Z", "pushedAt": "2026-01-02T00:00:00Z",
    "lastPulledAt": "2026-01-03T00:00:00Z"
})))]
pub struct ImageView {
    /// What the workspace calls it: without its prefix, or the full name of an image that is everybody's.
    #[schema(value_type = names::ImageName)]
    pub name: String,
    /// The full name.
    #[schema(value_type = names::RepositoryName)]
    pub repository: String,
    /// What to pull, without a tag.
    pub pull_reference: String,
    /// The name of the workspace that sees it.
    #[schema(value_type = WorkspaceName)]
    pub workspace: String,
    /// The name of the workspace that owns it, if that is another one.
    #[schema(value_type = Option<WorkspaceName>, required)]
    pub source_workspace: Option<String>,
    /// The id of the account of that.
    #[schema(value_type = Option<Id>, required)]
    pub source_account_id: Option<String>,
    /// `private` or `platform`.
    #[schema(value_type = Visibility)]
    pub visibility: &'static str,
    /// Whether nothing of it may be deleted.
    pub protected: bool,
    /// Which of its tags stay where they are.
    #[schema(value_type = names::ImmutableTags)]
    pub immutable_tags: ImmutableTagsView,
    /// Its tags.
    pub tag_count: u64,
    /// What it weighs, each digest once.
    pub size_bytes: u64,
    /// Active and pending shares; none to others than its owner.
    pub shared_with_count: u64,
    /// Leases: all of them to its owner, their own to others.
    pub lease_count: u64,
    /// When it was made.
    #[schema(value_type = Time)]
    pub created_at: String,
    /// When something was pushed last.
    #[schema(value_type = Time)]
    pub pushed_at: String,
    /// When somebody pulled it last, to its owner.
    #[schema(value_type = Option<Time>, required)]
    pub last_pulled_at: Option<String>,
}

impl ImageView {
    fn of(row: &ImageRow, workspace: &Workspace, hosts: &RegistryHosts) -> Self {
        let is_own = row.owner_id == workspace.id;
        let source = |text: &String| (!is_own).then(|| text.clone());
        let name = &row.name;
        let image = name
            .image()
            .filter(|_| name.prefix() == workspace.prefix)
            .map_or_else(|| name.to_string(), |image| image.to_string());
        Self {
            name: image,
            repository: name.to_string(),
            pull_reference: format!("{}/{name}", hosts.pull_host()),
            workspace: workspace.name.clone(),
            source_workspace: source(&row.owner),
            source_account_id: source(&row.owner_account_id),
            visibility: visibility(row.is_platform),
            protected: row.protected,
            immutable_tags: ImmutableTagsView::from(&row.immutable_tags),
            tag_count: row.tags,
            size_bytes: row.size_bytes,
            shared_with_count: row.shares,
            lease_count: row.leases,
            created_at: row.created_at.rfc3339(),
            pushed_at: row.pushed_at.unwrap_or(row.created_at).rfc3339(),
            last_pulled_at: row.last_pulled_at.filter(|_| is_own).map(Millis::rfc3339),
        }
    }
}

/// The word of the API for who may pull an image.
pub(super) fn visibility(is_platform: bool) -> &'static str {
    if is_platform { "platform" } else { "private" }
}

/// An image with its newest tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageDetails {
    /// The image.
    #[serde(flatten)]
    pub image: ImageView,
    /// The tag that was pointed somewhere last; none when it has no tags.
    #[schema(required)]
    pub latest: Option<TagView>,
}

/// An image that a workspace may read.
pub(super) struct Readable {
    /// What it was found by.
    pub(super) name: RepositoryName,
    pub(super) repository: Repository,
    /// Whether it is the workspace's own.
    pub(super) is_own: bool,
}

/// Names that may be listed.
struct Scan {
    names: Vec<RepositoryName>,
    /// The last name looked at, where there was more to look at than one page may.
    stopped_at: Option<String>,
}

fn is_narrowed<W: Wish>(manager: &Manager<W>) -> bool {
    manager.principal().narrowing().images().is_some()
}

impl Images {
    /// Images in bytewise order after `last`: own ones and those that were shared, then those that are everybody's.
    pub async fn images(
        &self,
        manager: &Manager<ToRead>,
        query: &ImagesQuery,
        hosts: &RegistryHosts,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<ImageView>, RequestError> {
        let (workspace, now) = (manager.workspace(), self.clock.now());
        let wanted = limit.saturating_add(1);
        let is_own = |name: &str| name.split('/').next() == Some(workspace.prefix.as_str());
        let mut scan = match last {
            Some(last) if !is_own(last) => Scan {
                names: Vec::new(),
                stopped_at: None,
            },
            Some(_) | None => {
                let last = last.unwrap_or_default();
                self.scan(manager, query, last, wanted).await?
            }
        };
        let found = u32::try_from(scan.names.len()).unwrap_or(u32::MAX);
        let goes_on = scan.stopped_at.is_none() && found < wanted;
        if query.with_platform && goes_on && !is_narrowed(manager) {
            let page = NamePage {
                start: &query.start,
                last: last.filter(|last| !is_own(last)).unwrap_or_default(),
                limit: wanted - found,
            };
            let names = self.metadata.platform_names(&workspace.prefix, &page).await;
            scan.names.extend(names?);
        }
        let mut next = scan.stopped_at;
        if scan.names.len() > limit as usize {
            scan.names.truncate(limit as usize);
            next = scan.names.last().map(ToString::to_string);
        }
        let rows = self
            .metadata
            .image_rows(&scan.names, &workspace.id, now)
            .await?;
        let rows: HashMap<&RepositoryName, &ImageRow> =
            rows.iter().map(|row| (&row.name, row)).collect();
        let listed = scan.names.iter().filter_map(|name| rows.get(name));
        Ok(Listed {
            items: listed
                .map(|row| ImageView::of(row, workspace, hosts))
                .collect(),
            next,
        })
    }

    /// Names under the workspace's prefix. A narrowed key sees less than there is: what it may not see must not show in
    /// the length of a page either, unless there is too much of it.
    async fn scan(
        &self,
        manager: &Manager<ToRead>,
        query: &ImagesQuery,
        last: &str,
        wanted: u32,
    ) -> Result<Scan, RequestError> {
        let (workspace, now) = (manager.workspace(), self.clock.now());
        let start = format!("{}/{}", workspace.prefix, query.start);
        let limit = if is_narrowed(manager) {
            SCANNED
        } else {
            wanted
        };
        let (mut visible, mut last) = (Vec::new(), last.to_owned());
        for _ in 0..SCANS {
            let page = NamePage {
                start: &start,
                last: &last,
                limit,
            };
            let names = self
                .metadata
                .names_of(&workspace.id, query.filter, &page, now)
                .await?;
            let is_last_page = names.len() < limit as usize;
            if let Some(end) = names.last() {
                last = end.to_string();
            }
            visible.extend(names.into_iter().filter(|name| manager.shows(name)));
            if is_last_page || visible.len() >= wanted as usize {
                return Ok(Scan {
                    names: visible,
                    stopped_at: None,
                });
            }
        }
        Ok(Scan {
            names: visible,
            stopped_at: Some(last),
        })
    }

    /// One image, with its newest tag.
    pub async fn image<W: Covers<Pull>>(
        &self,
        manager: &Manager<W>,
        image: &ImageName,
        hosts: &RegistryHosts,
    ) -> Result<ImageDetails, RequestError> {
        let (workspace, now) = (manager.workspace(), self.clock.now());
        let found = self.readable(manager, image).await?;
        let names = std::slice::from_ref(&found.name);
        let rows = self.metadata.image_rows(names, &workspace.id, now).await?;
        let row = rows.first().ok_or_else(|| no_image(&found.name))?;
        let page = TagPage::Newest(None);
        let latest = self.tag_views(&found, workspace, &page, 1).await?;
        Ok(ImageDetails {
            image: ImageView::of(row, workspace, hosts),
            latest: latest.into_iter().next(),
        })
    }

    /// What a workspace calls so: its own image, one that was shared with it, or in full the name of one that is
    /// everybody's.
    pub(super) async fn readable<W: Covers<Pull>>(
        &self,
        manager: &Manager<W>,
        image: &ImageName,
    ) -> Result<Readable, RequestError> {
        let granted = manager.image::<Pull>(image)?;
        let own = granted.repository();
        if let Some(repository) = self.metadata.repository(own).await?
            && repository.is_image
        {
            return Ok(Readable {
                name: own.clone(),
                is_own: repository.share_id.is_none(),
                repository,
            });
        }
        if let Ok(name) = image.as_str().parse::<RepositoryName>()
            && manager.shows(&name)
            && let Some(repository) = self.metadata.repository(&name).await?
            && is_everybodys(&repository)
        {
            return Ok(Readable {
                name,
                is_own: repository.workspace_id == manager.workspace().id,
                repository,
            });
        }
        Err(no_image(own))
    }
}

/// Whether every workspace may pull it by this name: an alias is its target's alone.
pub(super) fn is_everybodys(repository: &Repository) -> bool {
    repository.is_image && repository.is_platform && repository.share_id.is_none()
}

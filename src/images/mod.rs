//! The use-cases of the management API for images: what there is, who shares it, what is in use, what may go and what
//! comes back.
//!
//! Each takes a [`Manager`](crate::auth::Manager) in place of a workspace, or a [`Granted`](crate::auth::Granted) in
//! place of an image, so that a forgotten check does not compile. Nothing here knows HTTP or SQL.

mod catalogue;
mod counting;
mod deletions;
mod leases;
pub(crate) mod names;
mod protection;
mod pulls;
mod reference;
mod resolve;
mod retention;
mod settings;
mod sharing;
mod tags;
mod usage;

use std::sync::Arc;

use tokio::task::JoinError;

pub use catalogue::{ImageDetails, ImageView, ImagesQuery, ImmutableTagsView};
pub use deletions::{DeleteError, DeletionView, PurgedDeletions};
pub(crate) use leases::HolderInPath;
pub use leases::{LeaseHolderName, LeaseRequest, LeaseView};
pub use pulls::{Pulls, Sending};
pub use resolve::{ImageKind, Resolution, ResolveRequest};
pub use retention::{
    Retained, RetentionPolicy, RetentionPreview, RetentionRule, RetentionVerdict, RetentionView,
};
pub use settings::{UpdateImage, Visibility};
pub use sharing::{AcceptRequest, PendingShareView, ShareRequest, ShareView, Shared};
pub use tags::{PromoteRequest, TagOrder, TagTargetView, TagView};
pub use usage::{UsageView, WorkspaceUsageView};

pub use crate::auth::RequestError;
pub use crate::metadata::{Direction, ImageFilter};

use crate::auth::Holder;
use crate::clock::Clock;
use crate::config::ExternalImages;
use crate::metadata::{
    LeaseHolder, Lock, Metadata, MetadataError, Repository, Transaction, Workspace,
};
use crate::oci::RepositoryName;
use crate::retries::{Retriable, to_the_end};
use crate::turns::Turns;

/// What an installation decides about images.
#[derive(Clone, Debug)]
pub struct ImageOptions {
    /// How long a deletion can be undone, and how long a tag's former target stays, in milliseconds.
    pub undo_window_ms: i64,
    /// How long the bytes of a blob stay that nobody has any more, in milliseconds.
    pub object_delay_ms: i64,
    /// How long a share waits for the other account, in milliseconds.
    pub pending_share_ms: i64,
    /// How long a digest that a push untagged stays while its image is shared, in milliseconds.
    pub shared_untagged_ms: i64,
    /// How long a lease may last, in milliseconds.
    pub lease_max_ms: i64,
    /// Leases of one workspace.
    pub leases_per_workspace: u64,
    /// Shares that one workspace gives.
    pub shares_per_workspace: u64,
    /// Whether admins may let every workspace pull an image of theirs.
    pub admins_may_publish: bool,
    /// Which images of other registries may be used.
    pub external_images: ExternalImages,
}

/// The use-cases. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    metadata: Metadata,
    clock: Clock,
    options: Arc<ImageOptions>,
    turns: Turns,
    pulls: Pulls,
    counting: Arc<tokio::sync::Mutex<()>>,
}

impl Images {
    /// Puts it together.
    #[must_use]
    pub fn new(metadata: Metadata, clock: Clock, options: ImageOptions, turns: Turns) -> Self {
        Self {
            metadata,
            clock,
            options: Arc::new(options),
            turns,
            pulls: Pulls::default(),
            counting: Arc::default(),
        }
    }

    /// Makes a change of a workspace when it has its turn, and to its end even if the request goes away.
    async fn in_turn<T, E>(
        &self,
        workspace: Arc<Workspace>,
        change: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<RequestError> + From<JoinError> + Send + 'static,
    {
        let turn = self.turns.wait(&workspace.id).await;
        let turn = turn.map_err(RequestError::from)?;
        to_the_end(async move {
            let _turn = turn;
            change.await
        })
        .await
    }

    /// The image of this name; an alias is one too.
    async fn find(&self, name: &RepositoryName) -> Result<Repository, RequestError> {
        let found = self.metadata.repository(name).await?;
        found
            .filter(|repository| repository.is_image)
            .ok_or_else(|| no_image(name))
    }
}

/// The same, as a change sees it.
async fn find_in(
    change: &mut Transaction,
    name: &RepositoryName,
) -> Result<Repository, RequestError> {
    let found = change.repository(name).await?;
    found
        .filter(|repository| repository.is_image)
        .ok_or_else(|| no_image(name))
}

/// Holds what a name stands for. While the lock was waited for, another image or an alias may have taken the name: that
/// one is not held, so the change has to begin again.
async fn hold(
    change: &mut Transaction,
    name: &RepositoryName,
    found: &Repository,
    lock: Lock,
) -> Result<Repository, MetadataError> {
    change.lock(found.id, lock).await?;
    match change.repository(name).await? {
        Some(held) if held.id == found.id && held.share_id == found.share_id => Ok(held),
        Some(_) | None => Err(MetadataError::overtaken()),
    }
}

fn no_image(name: &RepositoryName) -> RequestError {
    let image = name.image().map_or_else(
        || name.as_str().to_owned(),
        |image| image.as_str().to_owned(),
    );
    RequestError::NotFound(format!("there is no image \"{image}\" in this workspace"))
}

/// Leases, as a refusal names them.
fn holders_of_leases(leases: Vec<LeaseHolder>) -> Vec<Holder> {
    leases
        .into_iter()
        .map(|lease| Holder {
            kind: "lease",
            name: lease.holder,
            workspace: Some(lease.workspace),
            expires_at: Some(lease.expires_at.rfc3339()),
        })
        .collect()
}

impl Retriable for RequestError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Metadata(error) if error.is_conflict())
    }
}

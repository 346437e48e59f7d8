//! What an admin decides about an image: that nothing of it goes, that its tags stay, and who may pull it.

use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::names;
use super::tags::hold_own_image;
use super::{ImageDetails, Images, RequestError};
use crate::audit;
use crate::auth::{Granted, Manage, Manager, RegistryHosts, Right, ToAdminister};
use crate::metadata::{ImageSettings, Lock};
use crate::oci::{ImageName, ImmutableTags};
use crate::retries::with_retries;

/// Who may pull an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Its workspace, and those that it is shared with.
    Private,
    /// Every workspace.
    Platform,
}

/// A change of an image. What is left out stays.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"protected": true, "immutableTags": "v*"})))]
pub struct UpdateImage {
    /// Whether nothing of it may be deleted.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool, required = false)]
    pub protected: Option<bool>,
    /// Which of its tags stay where they are: all, none, or those of a pattern.
    #[serde(default, deserialize_with = "immutable_tags")]
    #[schema(value_type = names::ImmutableTags, required = false)]
    pub immutable_tags: Option<ImmutableTags>,
    /// Who may pull it; for operators, and for admins where the installation lets them.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Visibility, required = false)]
    pub visibility: Option<Visibility>,
}

/// A value that may be left out but is not `null`.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn immutable_tags<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ImmutableTags>, D::Error> {
    struct Words;

    impl Visitor<'_> for Words {
        type Value = ImmutableTags;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("true, false or a pattern of tags such as \"v*\"")
        }

        fn visit_bool<E: de::Error>(self, all: bool) -> Result<ImmutableTags, E> {
            Ok(if all {
                ImmutableTags::all()
            } else {
                ImmutableTags::default()
            })
        }

        fn visit_str<E: de::Error>(self, pattern: &str) -> Result<ImmutableTags, E> {
            pattern.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_any(Words).map(Some)
}

impl Images {
    /// Changes what is decided about an image.
    pub async fn update_image(
        &self,
        manager: &Manager<ToAdminister>,
        image: &ImageName,
        request: UpdateImage,
        hosts: &RegistryHosts,
    ) -> Result<ImageDetails, RequestError> {
        let granted = manager.image::<Manage>(image)?;
        let is_operator = manager.principal().role().may(Right::Operate);
        if request.visibility.is_some() && !is_operator && !self.options.admins_may_publish {
            return Err(RequestError::Forbidden(String::from(
                "visibility is set by the operator in this installation: leave it out",
            )));
        }
        let this = self.clone();
        self.in_turn(Arc::clone(manager.workspace()), async move {
            with_retries!(this.update_image_once(&granted, &request).await)
        })
        .await?;
        self.image(manager, image, hosts).await
    }

    async fn update_image_once(
        &self,
        granted: &Granted<Manage>,
        request: &UpdateImage,
    ) -> Result<(), RequestError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        granted.confirm(&mut change, now).await?;
        let repository =
            hold_own_image(&mut change, granted, Lock::Exclusive, "it is set up").await?;
        let settings = ImageSettings {
            protected: request.protected.unwrap_or(repository.protected),
            immutable_tags: request
                .immutable_tags
                .clone()
                .unwrap_or_else(|| repository.immutable_tags.clone()),
            is_platform: match request.visibility {
                None => repository.is_platform,
                Some(visibility) => visibility == Visibility::Platform,
            },
        };
        change.set_image(&repository, &settings).await?;
        let (by, own) = (granted.principal(), Some(granted.workspace_id()));
        let target = repository.name.as_str();
        let event = audit::done(by, own, "image.update", target, now).because(&decided(&settings));
        change.audit(&event).await?;
        Ok(change.commit().await?)
    }
}

/// What holds from now on, in the audit log.
fn decided(settings: &ImageSettings) -> String {
    let protected = if settings.protected {
        "protected"
    } else {
        "not protected"
    };
    let visibility = super::catalogue::visibility(settings.is_platform);
    format!(
        "{protected}, immutable tags: {}, visibility {visibility}",
        settings.immutable_tags
    )
}

//! Whether a workspace may use what a reference names, and what that is: what a check of a template asks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::catalogue::is_everybodys;
use super::names;
use super::reference::{self, Written};
use super::sharing::shortened;
use super::{Images, RequestError};
use crate::auth::{Manager, Pull, RegistryHosts, ToRead};
use crate::config::ExternalImages;
use crate::metadata::{ManifestFacts, Repository};
use crate::oci::{Reference, RepositoryName};

/// Hosts that a refusal names at most.
const HOSTS_NAMED: usize = 5;

/// What to look into.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolveRequest {
    /// A reference: bare, with a prefix, or with a host.
    #[schema(value_type = names::Reference)]
    pub image: String,
}

/// Whose an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// The workspace's own.
    Own,
    /// Another workspace's, which shared it.
    Shared,
    /// Another workspace's, which every workspace may pull.
    Platform,
    /// Another workspace's, if there is one at all.
    Foreign,
    /// Another registry's.
    External,
}

/// What a reference came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "kind": "own", "usable": true, "reason": null,
    "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "pullReference": "127.0.0.1:5001/t-shop/team/app:v1", "platforms": ["linux/amd64"], "sizeBytes": 4_262_144
})))]
pub struct Resolution {
    /// Whose the image is.
    pub kind: ImageKind,
    /// Whether the workspace may use it, and it is there.
    pub usable: bool,
    /// Why not.
    #[schema(required)]
    pub reason: Option<String>,
    /// What the reference names now.
    #[schema(value_type = Option<names::Digest>, required)]
    pub digest: Option<String>,
    /// How a node pulls it.
    #[schema(required)]
    pub pull_reference: Option<String>,
    /// What it runs on, as far as it is known.
    #[schema(value_type = Vec<names::Platform>)]
    pub platforms: Vec<String>,
    /// What it weighs.
    #[schema(required)]
    pub size_bytes: Option<u64>,
}

impl Resolution {
    fn unusable(kind: ImageKind, reason: String) -> Self {
        Self {
            kind,
            usable: false,
            reason: Some(reason),
            digest: None,
            pull_reference: None,
            platforms: Vec::new(),
            size_bytes: None,
        }
    }
}

impl Images {
    /// Looks into a reference.
    pub async fn resolve(
        &self,
        manager: &Manager<ToRead>,
        request: &ResolveRequest,
        hosts: &RegistryHosts,
    ) -> Result<Resolution, RequestError> {
        let bad = |message: String| RequestError::BadRequest(format!("image: {message}"));
        let written = reference::parse(&request.image).map_err(bad)?;
        if let Some(host) = written.host
            && !hosts.include(host)
        {
            return Ok(self.external(host, &written, &request.image));
        }
        let own_prefix = &manager.workspace().prefix;
        let names = written.repositories(own_prefix).map_err(bad)?;
        for name in &names {
            let is_own = name.prefix() == own_prefix;
            if let Some(image) = name.image().filter(|_| is_own)
                && let Err(RequestError::Forbidden(reason)) = manager.image::<Pull>(&image)
            {
                return Ok(Resolution::unusable(ImageKind::Own, reason));
            }
            let Some(found) = self.metadata.repository(name).await? else {
                continue;
            };
            let kind = match &found.share_id {
                Some(_) if is_own => ImageKind::Shared,
                None if is_own => ImageKind::Own,
                _ if is_everybodys(&found) && manager.shows(name) => ImageKind::Platform,
                _ => continue,
            };
            if found.is_image {
                return self.resolved(kind, name, &found, &written, hosts).await;
            }
        }
        Ok(not_found(own_prefix, &names, &written))
    }

    async fn resolved(
        &self,
        kind: ImageKind,
        name: &RepositoryName,
        found: &Repository,
        written: &Written<'_>,
        hosts: &RegistryHosts,
    ) -> Result<Resolution, RequestError> {
        let digest = match &written.reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(tag) => self.metadata.tag(found.id, tag).await?,
        };
        let facts: Option<ManifestFacts> = match digest {
            None => None,
            Some(digest) => self.metadata.manifest_facts(found.id, &digest).await?,
        };
        let Some(facts) = facts else {
            let what = match &written.reference {
                Reference::Digest(digest) => format!("manifest {digest}"),
                Reference::Tag(tag) => format!("tag \"{tag}\""),
            };
            let reason = format!("the image \"{}\" has no {what}", written.name);
            return Ok(Resolution::unusable(kind, reason));
        };
        let separator = match &written.reference {
            Reference::Digest(_) => '@',
            Reference::Tag(_) => ':',
        };
        Ok(Resolution {
            kind,
            usable: true,
            reason: None,
            digest: Some(facts.digest.to_string()),
            pull_reference: Some(format!(
                "{}/{name}{separator}{}",
                hosts.pull_host(),
                written.reference
            )),
            platforms: facts.platforms,
            size_bytes: Some(facts.size_bytes),
        })
    }

    /// An image of another registry, which is not asked.
    fn external(&self, host: &str, written: &Written<'_>, text: &str) -> Resolution {
        let allowed = &self.options.external_images;
        if !allowed.allow(host) {
            let hint = match allowed {
                ExternalImages::Allow | ExternalImages::Deny => {
                    String::from("push it to this registry and use it from here")
                }
                ExternalImages::Hosts(hosts) => {
                    let named: Vec<&str> =
                        hosts.iter().take(HOSTS_NAMED).map(String::as_str).collect();
                    let more = if hosts.len() > HOSTS_NAMED {
                        ", …"
                    } else {
                        ""
                    };
                    format!("allowed are those of {}{more}", named.join(", "))
                }
            };
            let reason = format!("images of {host} may not be used here; {hint}");
            return Resolution::unusable(ImageKind::External, reason);
        }
        Resolution {
            kind: ImageKind::External,
            usable: true,
            reason: None,
            digest: match &written.reference {
                Reference::Digest(digest) => Some(digest.to_string()),
                Reference::Tag(_) => None,
            },
            pull_reference: Some(text.to_owned()),
            platforms: Vec::new(),
            size_bytes: None,
        }
    }
}

/// The same answer whether there is such an image somewhere else or not.
fn not_found(own_prefix: &str, names: &[RepositoryName], written: &Written<'_>) -> Resolution {
    let name = shortened(written.name);
    let may_be_own = names.iter().any(|name| name.prefix() == own_prefix);
    if !may_be_own {
        return Resolution::unusable(
            ImageKind::Foreign,
            format!(
                "\"{name}\" is no image of this workspace, whose images begin with {own_prefix}/, nor one that every \
                 workspace may pull; its owner can share it"
            ),
        );
    }
    let library = if written.name.contains('/') {
        ""
    } else {
        "library/"
    };
    Resolution::unusable(
        ImageKind::Own,
        format!(
            "there is no image \"{name}\" in this workspace; an image of another registry is written with its host, \
             such as docker.io/{library}{name}"
        ),
    )
}

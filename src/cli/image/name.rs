//! Images, tags and manifests as people type them: `app`, `app:v1`, `app@sha256:…`; and their paths in the API.

use anyhow::Context as _;
use berth::oci::{ImageName, Reference, Tag};
use berth_storage::Digest;

/// An image, and one of its tags or manifests if one was named.
pub(in crate::cli) struct Named {
    pub(super) image: ImageName,
    pub(super) reference: Option<Reference>,
}

impl Named {
    /// Parses what was typed; registries and prefixes are no part of it.
    pub(in crate::cli) fn parse(text: &str) -> anyhow::Result<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[last..].find(':') {
            Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
            None => (name, None),
        };
        let image = name.parse::<ImageName>().with_context(|| {
            format!(
                "{text:?} does not name an image; write it without the registry, such as team/app"
            )
        })?;
        let reference = match (tag, digest) {
            (None, None) => None,
            (Some(tag), None) => Some(Reference::Tag(parsed_tag(tag)?)),
            (None, Some(digest)) => Some(Reference::Digest(parsed_digest(digest)?)),
            (Some(_), Some(_)) => {
                anyhow::bail!("{text:?} has a tag and a digest; write one of them")
            }
        };
        Ok(Self { image, reference })
    }
}

/// An image as a whole; a tag or a digest is refused.
pub(in crate::cli) fn whole(text: &str) -> anyhow::Result<ImageName> {
    let Named { image, reference } = Named::parse(text)?;
    let part = match reference {
        None => return Ok(image),
        Some(Reference::Tag(_)) => "tag",
        Some(Reference::Digest(_)) => "manifest",
    };
    anyhow::bail!(
        "{text:?} is one {part}; a whole image is meant here, with all its tags: write {image}"
    )
}

/// An image and one of its tags.
pub(super) fn tagged(text: &str) -> anyhow::Result<(ImageName, Tag)> {
    match Named::parse(text)? {
        Named {
            image,
            reference: Some(Reference::Tag(tag)),
        } => Ok((image, tag)),
        Named { image, .. } => {
            anyhow::bail!("{text:?} does not name a tag; write one such as {image}:v1")
        }
    }
}

pub(super) fn parsed_tag(text: &str) -> anyhow::Result<Tag> {
    text.parse()
        .with_context(|| format!("{text:?} is not a tag"))
}

pub(super) fn parsed_digest(text: &str) -> anyhow::Result<Digest> {
    text.parse()
        .with_context(|| format!("{text:?} is not a digest"))
}

/// The path of an image in the API, and what stands behind it.
pub(in crate::cli) fn path<'a>(image: &'a ImageName, rest: &[&'a str]) -> Vec<&'a str> {
    let name = image.as_str().split('/');
    ["images"]
        .into_iter()
        .chain(name)
        .chain(rest.iter().copied())
        .collect()
}

//! The image that a credential is asked for: bare (`my-app:v1`), with the prefix, or a full reference with one of our
//! own hosts. Anything else is refused with a sentence that says which part is wrong.

use std::ops::RangeInclusive;

use super::error::RequestError;
use crate::grammar::{documented, text, whole};
use crate::metadata::Workspace;
use crate::oci::{ImageName, RepositoryName, Tag, WrittenReference};

/// Bytes of a target at most: host, repository and tag.
const MAX_TARGET_BYTES: usize = 1024;
const TARGET_LENGTHS: RangeInclusive<usize> = 1..=MAX_TARGET_BYTES;

pub(super) enum ImageReference {}
documented!(
    ImageReference,
    text(
        "An image of the workspace with a tag or without: its name alone, with the prefix, or with one of the \
         registry's own hosts too.",
        TARGET_LENGTHS,
        "my-app:v1"
    )
    .pattern(whole("[^@]+"))
);

/// How this registry is reached.
#[derive(Clone, Debug)]
pub struct RegistryHosts {
    /// Host and port that clients push to.
    pub push: String,
    /// Host and port that nodes pull from, where it is another.
    pub pull: Option<String>,
    /// Further hosts that mean this registry, such as the one of the request.
    pub aliases: Vec<String>,
}

impl RegistryHosts {
    /// Host and port to pull from.
    #[must_use]
    pub fn pull_host(&self) -> &str {
        self.pull.as_deref().unwrap_or(&self.push)
    }

    /// Whether a host means this registry.
    #[must_use]
    pub fn include(&self, host: &str) -> bool {
        let own = std::iter::once(&self.push)
            .chain(&self.pull)
            .chain(&self.aliases);
        own.into_iter().any(|own| own.eq_ignore_ascii_case(host))
    }
}

/// A repository of the workspace, and a tag if one was given.
#[derive(Debug)]
pub(super) struct Target {
    repository: RepositoryName,
    image: ImageName,
    tag: Option<Tag>,
}

impl Target {
    pub(super) fn parse(
        text: &str,
        workspace: &Workspace,
        hosts: &RegistryHosts,
    ) -> Result<Self, RequestError> {
        let bad = |message: String| RequestError::BadRequest(format!("targetImage: {message}"));
        if !TARGET_LENGTHS.contains(&text.len()) {
            return Err(bad(format!(
                "an image reference has 1 to {MAX_TARGET_BYTES} bytes"
            )));
        }
        if text.contains('@') {
            return Err(bad(String::from(
                "a digest cannot be pushed to by name: give the repository, and a tag if you like",
            )));
        }
        let WrittenReference { host, name, tag } = WrittenReference::split(text);
        if let Some(host) = host
            && !hosts.include(host)
        {
            return Err(bad(format!(
                "\"{host}\" is another registry; this one is {}",
                hosts.push
            )));
        }
        let tag = tag
            .map(|tag| {
                tag.parse::<Tag>()
                    .map_err(|error| bad(format!("\"{tag}\" is no tag: {error}")))
            })
            .transpose()?;
        let image = own_image(name, workspace).map_err(bad)?;
        let image: ImageName = image
            .parse()
            .map_err(|error| bad(format!("\"{image}\" is no image name: {error}")))?;
        let repository = RepositoryName::new(&workspace.prefix, &image)
            .map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            repository,
            image,
            tag,
        })
    }

    pub(super) fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    pub(super) fn image(&self) -> &ImageName {
        &self.image
    }

    /// The full reference at a host.
    pub(super) fn reference(&self, host: &str) -> String {
        match &self.tag {
            None => format!("{host}/{}", self.repository),
            Some(tag) => format!("{host}/{}:{tag}", self.repository),
        }
    }
}

/// The name without the workspace's prefix, whether it was given or not.
fn own_image<'a>(name: &'a str, workspace: &Workspace) -> Result<&'a str, String> {
    let prefix = workspace.prefix.as_str();
    let (first, rest) = name
        .split_once('/')
        .map_or((name, None), |(first, rest)| (first, Some(rest)));
    match rest {
        Some(rest) if first == prefix => Ok(rest),
        None if first == prefix => Err(format!(
            "\"{name}\" names no image: add one, such as \"{prefix}/my-app\""
        )),
        Some(_) if first.starts_with("t-") => Err(format!(
            "\"{first}/\" is the prefix of another team; yours is \"{prefix}/\""
        )),
        Some(_) | None => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Millis;

    fn workspace() -> Workspace {
        Workspace {
            id: String::from("w"),
            name: String::from("main"),
            account_id: String::from("a"),
            account: String::from("main"),
            prefix: String::from("t-main"),
            team_key: Some(String::from("main")),
            namespace: None,
            display_name: None,
            quota_bytes: None,
            untagged_retention_days: None,
            credential_generation: 0,
            created_at: Millis(0),
        }
    }

    fn hosts() -> RegistryHosts {
        RegistryHosts {
            push: String::from("127.0.0.1:5000"),
            pull: Some(String::from("registry.local:5001")),
            aliases: vec![String::from("localhost:5000")],
        }
    }

    fn parse(text: &str) -> Result<String, String> {
        match Target::parse(text, &workspace(), &hosts()) {
            Ok(target) => Ok(target.reference("h")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn bare_prefixed_and_full_references_are_the_same_target() {
        for text in [
            "team/app:v1",
            "t-main/team/app:v1",
            "127.0.0.1:5000/t-main/team/app:v1",
            "127.0.0.1:5000/team/app:v1",
            "registry.local:5001/t-main/team/app:v1",
            "REGISTRY.local:5001/t-main/team/app:v1",
            "localhost:5000/t-main/team/app:v1",
        ] {
            assert_eq!(parse(text).as_deref(), Ok("h/t-main/team/app:v1"), "{text}");
        }
        assert_eq!(parse("app").as_deref(), Ok("h/t-main/app"));
        assert_eq!(parse("t-app:v1").as_deref(), Ok("h/t-main/t-app:v1"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("", "1 to 1024"),
            ("app@sha256:0000", "digest"),
            ("docker.io/library/app", "\"docker.io\" is another registry"),
            ("localhost/app", "\"localhost\" is another registry"),
            ("127.0.0.1:5001/t-main/app", "another registry"),
            (
                "t-other/app:v1",
                "\"t-other/\" is the prefix of another team",
            ),
            ("127.0.0.1:5000/t-other/app", "another team"),
            ("t-main", "names no image"),
            ("t-main:v1", "names no image"),
            ("t-main/", "is no image name"),
            ("App", "is no image name"),
            ("app:-x", "is no tag"),
            ("app:", "is no tag"),
            ("a//b", "is no image name"),
            ("https://127.0.0.1:5000/app", "another registry"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.starts_with("targetImage: ") && error.contains(word),
                "{text}: {error}"
            );
        }
        assert!(parse(&"a".repeat(252)).is_err(), "too long with the prefix");
    }

    proptest! {
        #[test]
        fn a_target_is_always_under_the_own_prefix(text in "[a-z0-9:/@._-]{0,40}|\\PC{0,40}") {
            if let Ok(target) = Target::parse(&text, &workspace(), &hosts()) {
                prop_assert_eq!(target.repository().prefix(), "t-main");
            }
        }
    }
}

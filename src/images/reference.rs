//! Image references as people write them: a host or none, a name, a tag or a digest.

use crate::oci::{Reference, RepositoryName, WrittenReference};

/// Bytes of a reference at most: host, repository, tag and digest.
pub(super) const MAX_REFERENCE_BYTES: usize = 1024;

/// A reference taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written<'a> {
    /// Host and port, if one was given.
    pub(super) host: Option<&'a str>,
    /// The name, with or without a workspace's prefix.
    pub(super) name: &'a str,
    /// The digest, else the tag, else `latest`, as clients read a name alone.
    pub(super) reference: Reference,
}

impl Written<'_> {
    /// The full names that a workspace with this prefix may mean, the likelier one first. A name that begins with no
    /// prefix of a team is its own image's, or else a platform image's in full.
    pub(super) fn repositories(&self, own_prefix: &str) -> Result<Vec<RepositoryName>, String> {
        let own = format!("{own_prefix}/{}", self.name);
        let names = match self.name.split_once('/') {
            Some((first, _)) if first == own_prefix || self.host.is_some() => vec![self.name],
            Some((first, _)) if first.starts_with("t-") => vec![self.name],
            Some(_) => vec![own.as_str(), self.name],
            None if self.name == own_prefix => {
                return Err(format!(
                    "\"{own_prefix}\" names no image: add one, such as \"{own_prefix}/my-app\""
                ));
            }
            None => vec![own.as_str()],
        };
        names
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("\"{}\" is no image name: {error}", self.name))
    }
}

/// Takes a reference apart; an error says which part is wrong.
pub(super) fn parse(text: &str) -> Result<Written<'_>, String> {
    if text.is_empty() || text.len() > MAX_REFERENCE_BYTES {
        return Err(format!(
            "an image reference has 1 to {MAX_REFERENCE_BYTES} bytes"
        ));
    }
    let (text, digest) = match text.split_once('@') {
        None => (text, None),
        Some((text, digest)) => {
            let digest = digest
                .parse()
                .map_err(|error| format!("\"{digest}\" is no digest: {error}"))?;
            (text, Some(Reference::Digest(digest)))
        }
    };
    let WrittenReference { host, name, tag } = WrittenReference::split(text);
    let tag = tag
        .map(|tag| {
            let tag = tag
                .parse()
                .map_err(|error| format!("\"{tag}\" is no tag: {error}"))?;
            Ok::<_, String>(Reference::Tag(tag))
        })
        .transpose()?;
    let reference = match digest.or(tag) {
        Some(reference) => reference,
        None => Reference::Tag(
            "latest"
                .parse()
                .map_err(|error| format!("\"latest\" is no tag: {error}"))?,
        ),
    };
    Ok(Written {
        host,
        name,
        reference,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_clients_read_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, host, name, reference) in [
            ("app", None, "app", "latest"),
            ("app:v1", None, "app", "v1"),
            ("team/app:v1", None, "team/app", "v1"),
            ("localhost/app", Some("localhost"), "app", "latest"),
            (
                "127.0.0.1:5000/t-x/app:v1",
                Some("127.0.0.1:5000"),
                "t-x/app",
                "v1",
            ),
            (&format!("app:v1@{digest}"), None, "app", &digest),
            (
                &format!("r.example/a/b@{digest}"),
                Some("r.example"),
                "a/b",
                &digest,
            ),
        ] {
            let written = parse(text).unwrap();
            assert_eq!((written.host, written.name), (host, name), "{text}");
            assert_eq!(written.reference.to_string(), reference, "{text}");
        }
        let long = "a".repeat(MAX_REFERENCE_BYTES + 1);
        for text in ["", "app:", "app:-v1", "app@sha256:00", "app@", &long] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

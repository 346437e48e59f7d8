//! Which images of other registries a workspace may use: what the check of a template goes by.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::values::{BaseUrl, InvalidValue};

const ALLOW: &str = "allow";
const DENY: &str = "deny";
/// Hosts in the list at most.
const MAX_HOSTS: usize = 1000;

/// Images of other registries: all of them, none, or those of some hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExternalImages {
    /// Whatever it is.
    #[default]
    Allow,
    /// None.
    Deny,
    /// Those of these hosts, each with its port where it has one.
    Hosts(Vec<String>),
}

impl ExternalImages {
    /// Whether images of this host may be used.
    #[must_use]
    pub fn allow(&self, host: &str) -> bool {
        match self {
            Self::Allow => true,
            Self::Deny => false,
            Self::Hosts(hosts) => hosts.iter().any(|known| known.eq_ignore_ascii_case(host)),
        }
    }

    fn of_hosts<T: AsRef<str>>(hosts: &[T]) -> Result<Self, InvalidValue> {
        if hosts.is_empty() || hosts.len() > MAX_HOSTS {
            return Err(InvalidValue::new(format!(
                "a list of registries has 1 to {MAX_HOSTS} hosts; write \"{DENY}\" for none"
            )));
        }
        let parse = |host: &T| {
            let host = host.as_ref();
            let url = format!("https://{host}").parse::<BaseUrl>();
            url.map(|url| url.authority().to_owned()).map_err(|_| {
                InvalidValue::new(format!(
                    "{host:?} is no host that an image reference can start with; write one such as docker.io or \
                     registry.example.com:5000"
                ))
            })
        };
        hosts
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self::Hosts)
    }
}

impl FromStr for ExternalImages {
    type Err = InvalidValue;

    /// A word, or hosts with commas between them, as environment variables have it.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.trim() {
            ALLOW => Ok(Self::Allow),
            DENY => Ok(Self::Deny),
            text => {
                let hosts = text.split(',').map(str::trim);
                let hosts: Vec<&str> = hosts.filter(|host| !host.is_empty()).collect();
                Self::of_hosts(&hosts)
            }
        }
    }
}

impl<'de> Deserialize<'de> for ExternalImages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl<'de> Visitor<'de> for Words {
            type Value = ExternalImages;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "\"{ALLOW}\", \"{DENY}\" or a list of hosts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ExternalImages, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ExternalImages, A::Error> {
                let mut hosts: Vec<String> = Vec::new();
                while let Some(host) = list.next_element()? {
                    hosts.push(host);
                }
                ExternalImages::of_hosts(&hosts).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(Words)
    }
}

impl Serialize for ExternalImages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Allow => serializer.serialize_str(ALLOW),
            Self::Deny => serializer.serialize_str(DENY),
            Self::Hosts(hosts) => hosts.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_allowed_by_their_whole_name_and_port() {
        let some: ExternalImages = "docker.io, Registry.example:5000".parse().unwrap();
        for (host, allowed) in [
            ("docker.io", true),
            ("DOCKER.io", true),
            ("registry.example:5000", true),
            ("registry.example", false),
            ("evil-docker.io", false),
            ("docker.io.evil.example", false),
        ] {
            assert_eq!(some.allow(host), allowed, "{host}");
            assert!(ExternalImages::Allow.allow(host));
            assert!(!ExternalImages::Deny.allow(host));
        }
    }

    #[test]
    fn what_is_no_host_is_refused_with_what_would_be_right() {
        for text in [
            "",
            ",",
            "none",
            "https://docker.io",
            "docker.io/library",
            "a b.c",
        ] {
            let error = text.parse::<ExternalImages>().unwrap_err().to_string();
            assert!(error.contains("write"), "{text}: {error}");
        }
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for json in [
            r#""allow""#,
            r#""deny""#,
            r#"["docker.io","localhost:5000"]"#,
        ] {
            let read: ExternalImages = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
        }
        for json in ["7", "null", "[]", "[7]", r#""maybe""#] {
            assert!(
                serde_json::from_str::<ExternalImages>(json).is_err(),
                "{json}"
            );
        }
    }
}

//! The listeners a request may come through, and how the outside reaches them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::header::HOST;
use axum::http::request::Parts;

use super::{Http, HttpOptions};
use crate::config::{BaseUrl, Scheme};

/// The longest `Host` that is believed, in bytes: a name of 253, a colon and a port.
const HOST_LIMIT_BYTES: usize = 260;

/// A listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// What clients push to and pull from.
    Public,
    /// What the nodes of a cluster pull from.
    Pull,
    /// The management API alone.
    Api,
    /// Metrics and health.
    Ops,
}

impl Door {
    /// Its name in logs, metrics and on the terminal.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Pull => "pull",
            Self::Api => "api",
            Self::Ops => "ops",
        }
    }
}

/// Where a connection comes from and through which door. Every request carries it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The listener.
    pub door: Door,
    /// The other end.
    pub address: SocketAddr,
}

/// How a door is reached: a scheme and an authority, nothing after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    scheme: &'static str,
    authority: String,
}

impl PublicUrl {
    /// From a scheme, `http` or `https`, and an authority.
    #[must_use]
    pub fn new(https: bool, authority: &str) -> Self {
        Self {
            scheme: if https { "https" } else { "http" },
            authority: authority.to_owned(),
        }
    }

    /// The host and port, as they begin an image reference.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The URL of an absolute path.
    #[must_use]
    pub fn join(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.authority)
    }
}

impl From<&BaseUrl> for PublicUrl {
    fn from(url: &BaseUrl) -> Self {
        Self::new(url.scheme() == Scheme::Https, url.authority())
    }
}

impl HttpOptions {
    fn url_of(&self, door: Door) -> Option<&PublicUrl> {
        match door {
            Door::Public | Door::Api | Door::Ops => self.public_url.as_ref(),
            Door::Pull => self.pull_url.as_ref(),
        }
    }
}

impl Http {
    /// How this request's door is reached: by configuration, else by the address that the client used. `None` when the
    /// client sent no `Host` that could be one.
    pub(super) fn door_url(&self, parts: &Parts) -> Option<PublicUrl> {
        let door = parts
            .extensions
            .get::<Peer>()
            .map_or(Door::Public, |peer| peer.door);
        if let Some(url) = self.options.url_of(door) {
            return Some(url.clone());
        }
        let https = self.forwarded(parts, "x-forwarded-proto") == Some("https");
        self.asked_host(parts)
            .map(|host| PublicUrl::new(https, &host))
    }

    /// Where a request came from.
    pub(super) fn client_address(&self, parts: &Parts) -> IpAddr {
        let peer = parts.extensions.get::<Peer>();
        peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip())
    }

    /// What a proxy says about its client, if it is one that may.
    fn forwarded<'a>(&self, parts: &'a Parts, header: &str) -> Option<&'a str> {
        let peer = parts.extensions.get::<Peer>()?.address.ip();
        let trusted = &self.options.trusted_proxies;
        let value = parts.headers.get(header)?.to_str().ok()?;
        trusted
            .iter()
            .any(|range| range.contains(peer))
            .then_some(value)
    }

    /// The host and port that the client says it talks to, if they could be some.
    pub(super) fn asked_host(&self, parts: &Parts) -> Option<String> {
        // HTTP/2 carries the authority in the URI.
        let host = match (
            self.forwarded(parts, "x-forwarded-host"),
            parts.uri.authority(),
        ) {
            (Some(host), _) => host,
            (None, Some(authority)) => authority.as_str(),
            (None, None) => parts.headers.get(HOST)?.to_str().ok()?,
        };
        is_host(host).then(|| host.to_owned())
    }
}

/// A host name or address with an optional port, and nothing that could mean anything else in a header or a URL.
pub(super) fn is_host(text: &str) -> bool {
    if text.is_empty() || text.len() > HOST_LIMIT_BYTES {
        return false;
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let inside = address
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.');
            return inside
                && !address.is_empty()
                && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
        }
        None => text
            .split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let named = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    named && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn hosts_are_names_or_addresses_with_a_port() {
        for host in [
            "localhost",
            "127.0.0.1:5000",
            "[::1]:5000",
            "[::1]",
            "registry.example.org",
            "a-b.c:1",
        ] {
            assert!(is_host(host), "{host}");
        }
    }

    #[test]
    fn what_could_mean_something_else_is_no_host() {
        for host in [
            "", "a b", "a\"b", "a/b", "a@b", "a:b", "a:", "[::1", "[]", "[::1]x", "a:123456",
            "a,b", "a:1:2",
        ] {
            assert!(!is_host(host), "{host}");
        }
    }
}

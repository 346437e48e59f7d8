//! The listeners a request may come through, and how the outside reaches them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::request::Parts;

use super::{Http, HttpOptions};
use crate::auth::Origin;
use crate::config::{AddressRange, BaseUrl, Scheme};
use crate::telemetry::RequestId;

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The addresses of `X-Forwarded-For` that are looked at, from the right.
const HOPS_LIMIT: usize = 32;

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
    /// The other end: the client, or a proxy.
    pub address: SocketAddr,
    /// Whether the connection speaks TLS.
    pub tls: bool,
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
        let peer = parts.extensions.get::<Peer>();
        let door = peer.map_or(Door::Public, |peer| peer.door);
        if let Some(url) = self.options.url_of(door) {
            return Some(url.clone());
        }
        let https = self
            .forwarded(parts, FORWARDED_PROTO)
            .and_then(parse_scheme)
            .unwrap_or_else(|| peer.is_some_and(|peer| peer.tls));
        self.asked_host(parts)
            .map(|host| PublicUrl::new(https, &host))
    }

    /// The host and port that the client says it talks to, if they could be some.
    pub(super) fn asked_host(&self, parts: &Parts) -> Option<String> {
        let forwarded = self.forwarded(parts, FORWARDED_HOST);
        // HTTP/2 carries the authority in the URI.
        let asked = || match parts.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => parts.headers.get(HOST)?.to_str().ok(),
        };
        forwarded
            .filter(|host| is_host(host))
            .or_else(|| asked().filter(|host| is_host(host)))
            .map(str::to_owned)
    }

    /// The address of whoever sent the request: the other end of the connection, or, behind configured proxies, whom
    /// they saw.
    pub(super) fn client_address(&self, parts: &Parts) -> IpAddr {
        let peer = parts.extensions.get::<Peer>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip());
        client_address(&self.options.trusted_proxies, peer, &parts.headers)
    }

    /// Where a request came from, as `track` found out; for one that it has not seen, the same without its id.
    pub(super) fn origin(&self, parts: &Parts) -> Origin {
        let known = parts.extensions.get::<Origin>().cloned();
        known.unwrap_or_else(|| Origin {
            address: self.client_address(parts),
            request_id: RequestId::fresh(),
        })
    }

    /// What the nearest proxy says about its client, if it is one that may: of several values the last one, since what
    /// is before it may have come from anybody.
    fn forwarded<'a>(&self, parts: &'a Parts, header: &'static str) -> Option<&'a str> {
        let peer = parts.extensions.get::<Peer>()?.address.ip();
        if !is_trusted(&self.options.trusted_proxies, peer) {
            return None;
        }
        items_from_the_right(&parts.headers, header).next()?
    }
}

fn is_trusted(proxies: &[AddressRange], address: IpAddr) -> bool {
    proxies.iter().any(|range| range.contains(address))
}

/// The items of a header that is a list, over all its lines, last one first; nothing in the place of one that is no
/// text.
fn items_from_the_right<'a>(
    headers: &'a HeaderMap,
    header: &'static str,
) -> impl Iterator<Item = Option<&'a str>> {
    let lines = headers.get_all(header).iter().rev();
    lines
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
        .map(|item| std::str::from_utf8(item).ok().map(str::trim))
}

/// Walks `X-Forwarded-For` from the right, where the nearest proxy wrote, for as long as proxies that are trusted
/// vouch for what stands there. What is left of that is the client's own claim and never looked at.
fn client_address(proxies: &[AddressRange], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut address = peer.to_canonical();
    let mut hops = items_from_the_right(headers, FORWARDED_FOR).take(HOPS_LIMIT);
    while is_trusted(proxies, address) {
        match hops.next().flatten().and_then(parse_address) {
            Some(before) => address = before,
            None => return address,
        }
    }
    address
}

/// An address as proxies write it: alone, in brackets, or with a port behind it.
fn parse_address(text: &str) -> Option<IpAddr> {
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address
        .ok()
        .or_else(bracketed)
        .map(|address: IpAddr| address.to_canonical())
}

/// Whether a scheme is that of TLS.
fn parse_scheme(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("https") {
        Some(true)
    } else if text.eq_ignore_ascii_case("http") {
        Some(false)
    } else {
        None
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
mod tests;

//! The types of single values: parsed once, never checked again.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What stands where a secret would.
const MASK: &str = "********";

/// A value that cannot be used; says what was wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

impl InvalidValue {
    pub(super) fn new(reason: String) -> Self {
        Self(reason)
    }
}

/// A text that `Debug` and serialisation never show.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Guards `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one place that uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// A PostgreSQL URL, whose password `Display`, `Debug` and serialisation never show.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL with its password, for the driver.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"));
        // The text is not repeated: whatever it is, it may hold a password.
        match rest {
            Some(rest) if !rest.is_empty() => Ok(Self(text.to_owned())),
            Some(_) | None => Err(InvalidValue(String::from(
                "this is not a PostgreSQL URL; write postgres://user:password@host/database, or leave it out for the \
                 SQLite file in the data folder",
            ))),
        }
    }
}

impl TryFrom<String> for DatabaseUrl {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("postgres", ""));
        let (rest, query) = rest
            .split_once('?')
            .map_or((rest, None), |(rest, query)| (rest, Some(query)));
        write!(formatter, "{scheme}://")?;
        // A password may hold an unescaped `@` or `/`: everything from the first colon to the last `@` is hidden.
        match rest.rsplit_once('@') {
            Some((user, host)) => match user.split_once(':') {
                Some((user, _)) => write!(formatter, "{user}:{MASK}@{host}")?,
                None => write!(formatter, "{user}@{host}")?,
            },
            None => formatter.write_str(rest)?,
        }
        match query {
            Some(query) if query.contains("password") || query.contains('@') => {
                write!(formatter, "?{MASK}")
            }
            Some(query) => write!(formatter, "?{query}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DatabaseUrl({self})")
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The scheme of a [`BaseUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// The scheme as a URL writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// How a door is reached: scheme, host and port, without path.
///
/// The host is one that an image reference can start with, so that `docker` takes it for a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl {
    scheme: Scheme,
    authority: String,
}

impl BaseUrl {
    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and, where one was given, port: what image references start with.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = |reason: &str| {
            InvalidValue(format!(
                "{text:?} {reason}; write one such as https://registry.example.com"
            ))
        };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some(_) | None => return Err(invalid("is not an http or https URL")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
        if authority.contains('@') {
            return Err(InvalidValue(String::from(
                "the URL holds a user name; write one such as https://registry.example.com",
            )));
        }
        if authority.contains(['/', '?', '#']) {
            return Err(invalid("has a path, query or fragment"));
        }
        let (host, port) = split_port(&authority);
        if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port != 0)) {
            return Err(invalid("has a port that is not from 1 to 65535"));
        }
        let address = host.parse::<IpAddr>().ok().or_else(|| bracketed(host));
        if address.is_some_and(|address| address.is_unspecified()) {
            return Err(invalid("names an address that nobody can connect to"));
        }
        if address.is_none() && !is_host_name(host) {
            return Err(invalid("has no valid host"));
        }
        // The rule of image references: the first component is a host only if it has a dot or a colon or is localhost.
        if !authority.contains(['.', ':']) && authority != "localhost" {
            let port = match scheme {
                Scheme::Http => 80,
                Scheme::Https => 443,
            };
            return Err(InvalidValue(format!(
                "{text:?} has a host without a dot, which docker would take for a name on Docker Hub; add the port: \
                 {}://{authority}:{port}",
                scheme.as_str()
            )));
        }
        Ok(Self { scheme, authority })
    }
}

/// Host and port of an authority; a bracketed IPv6 address keeps its colons.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    }
}

fn bracketed(host: &str) -> Option<IpAddr> {
    let address = host.strip_prefix('[')?.strip_suffix(']')?;
    address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn is_host_name(host: &str) -> bool {
    host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme.as_str(), self.authority)
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> Self {
        url.to_string()
    }
}

/// An IP address, or a range of them in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    network: IpAddr,
    prefix_bits: u8,
}

impl AddressRange {
    /// Whether `address` lies in the range. An IPv4 address that came in over IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix_bits) == Some(self.network)
    }
}

/// `address` with all but its first `prefix_bits` cleared; nothing if it has not so many.
fn masked(address: IpAddr, prefix_bits: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let cleared = 32_u32.checked_sub(u32::from(prefix_bits))?;
            let mask = u32::MAX.checked_shl(cleared).unwrap_or(0);
            Some(IpAddr::V4((address.to_bits() & mask).into()))
        }
        IpAddr::V6(address) => {
            let cleared = 128_u32.checked_sub(u32::from(prefix_bits))?;
            let mask = u128::MAX.checked_shl(cleared).unwrap_or(0);
            Some(IpAddr::V6((address.to_bits() & mask).into()))
        }
    }
}

impl FromStr for AddressRange {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || {
            InvalidValue(format!(
                "{text:?} is not an address or a range; write one such as 10.0.0.0/8 or 192.0.2.7"
            ))
        };
        let (address, prefix_bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix_bits = match prefix_bits {
            Some(bits) => bits.parse().map_err(|_| invalid())?,
            None if address.is_ipv4() => 32,
            None => 128,
        };
        let network = masked(address, prefix_bits).ok_or_else(invalid)?;
        if network != address {
            return Err(InvalidValue(format!(
                "{text:?} has bits set behind its prefix; write {network}/{prefix_bits}, or {address} for the one \
                 address"
            )));
        }
        Ok(Self {
            network,
            prefix_bits,
        })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.prefix_bits)
    }
}

impl TryFrom<String> for AddressRange {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

/// An address to listen on, with an error that says how to write one.
pub(super) fn listen_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        de::Error::custom(format!(
            "{text:?} is not an address and a port; write one such as 127.0.0.1:5000, or 0.0.0.0:5000 for every \
             interface"
        ))
    })
}

/// Like [`listen_address`], for a door that may be off.
pub(super) fn optional_listen_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    listen_address(deserializer).map(Some)
}

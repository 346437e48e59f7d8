//! Issuers of identities: whose tokens are exchanged for registry credentials, and what each of them then may do.

mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// How long after its issue a token is taken unless the issuer says otherwise, in seconds.
const MAX_TOKEN_AGE_SECONDS: u64 = 3600;
/// The longest that an issuer may say, in seconds.
pub const LONGEST_TOKEN_AGE_SECONDS: u64 = 86_400;
/// How far clocks may be apart unless the issuer says otherwise, in seconds.
const LEEWAY_SECONDS: u64 = 30;
/// How long a credential lives unless its rule says otherwise, in seconds.
const LIFETIME_SECONDS: u64 = 900;

/// An OpenID Connect issuer whose tokens are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// What logs and the audit log call it.
    pub name: String,
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// What must be in the `aud` of its tokens.
    pub audience: String,
    /// Where its keys are; discovered when neither this nor `jwks_file` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// A file with its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    /// Further origins that its discovery document may name for the keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwks_origins: Vec<String>,
    /// The only authorities that its server's certificate may come from, in PEM; those of the system when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A file with a Bearer token that its server asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Whether its keys may come without TLS from another host than this one.
    #[serde(default)]
    pub allow_http: bool,
    /// What its tokens may be signed with.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<SigningAlgorithm>,
    /// How long after its issue a token is taken, in seconds.
    #[serde(default = "default_max_token_age_seconds")]
    pub max_token_age_seconds: u64,
    /// How far the issuer's clock may be away from ours, in seconds.
    #[serde(default = "default_leeway_seconds")]
    pub leeway_seconds: u64,
    /// Whether each token is taken once.
    #[serde(default)]
    pub single_use: bool,
    /// Who gets what; the first rule that fits counts.
    #[serde(default)]
    pub rules: Vec<IssuerRule>,
}

/// Whoever has these claims gets this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerRule {
    /// What logs and the audit log call it.
    pub name: String,
    /// The workspace, by its name.
    pub workspace: String,
    /// The prefix of its repositories: a workspace that took the name of a deleted one has another, and gets nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What the credential may do there.
    pub role: IssuedRole,
    /// Globs of image names that it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repositories: Option<Vec<String>>,
    /// Actions that it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<IssuedAction>>,
    /// How long the credential lives, in seconds.
    #[serde(default = "default_lifetime_seconds")]
    pub lifetime_seconds: u64,
    /// Claims by their names, or as JSON pointers (RFC 6901), with the values that each may have.
    pub claims: BTreeMap<String, ClaimValues>,
}

/// A role that a rule may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuedRole {
    /// Pulls.
    Viewer,
    /// Also pushes.
    Builder,
}

/// An action that a rule may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuedAction {
    /// Reads.
    Pull,
    /// Writes.
    Push,
}

/// The values that a claim may have, letter for letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "the value of a claim is a text, or a list of texts; claims inside others are written as \
                 \"/kubernetes.io/namespace\""
)]
pub enum ClaimValues {
    /// This one.
    One(String),
    /// One of these.
    Any(Vec<String>),
}

impl ClaimValues {
    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Any(values) => values,
        }
    }
}

/// An algorithm with two keys: what one can verify with can never sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    /// RSA with PKCS #1 and SHA-256.
    RS256,
    /// RSA with PKCS #1 and SHA-384.
    RS384,
    /// RSA with PKCS #1 and SHA-512.
    RS512,
    /// RSA with PSS and SHA-256.
    PS256,
    /// RSA with PSS and SHA-384.
    PS384,
    /// RSA with PSS and SHA-512.
    PS512,
    /// ECDSA on P-256.
    ES256,
    /// ECDSA on P-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

fn default_algorithms() -> Vec<SigningAlgorithm> {
    vec![SigningAlgorithm::RS256, SigningAlgorithm::ES256]
}

fn default_max_token_age_seconds() -> u64 {
    MAX_TOKEN_AGE_SECONDS
}

fn default_leeway_seconds() -> u64 {
    LEEWAY_SECONDS
}

fn default_lifetime_seconds() -> u64 {
    LIFETIME_SECONDS
}

impl Issuer {
    /// Where its discovery document is (OpenID Connect Discovery 1.0 section 4).
    #[must_use]
    pub fn discovery_url(&self) -> String {
        let issuer = self.issuer.trim_end_matches('/');
        format!("{issuer}/.well-known/openid-configuration")
    }

    /// Whether its discovery document may name this place for the keys: one at the issuer's own origin, or at one that
    /// is named for it, and with TLS wherever the issuer has it.
    #[must_use]
    pub fn may_keep_keys_at(&self, url: &str) -> bool {
        let (Some(url), Some(issuer)) = (parse(url), parse(&self.issuer)) else {
            return false;
        };
        let mut origins = self.jwks_origins.iter().filter_map(|origin| parse(origin));
        url.origin() == issuer.origin() || origins.any(|origin| url.origin() == origin.origin())
    }
}

/// An http or https URL without a user name, a password or a fragment.
fn parse(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    })
}

/// Whether a URL leads to this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

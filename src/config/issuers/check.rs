//! Which issuers and rules are allowed. What is refused here would let in somebody whom nobody meant.

use reqwest::Url;

use super::super::Config;
use super::super::check::Findings;
use super::{Issuer, IssuerRule, LONGEST_TOKEN_AGE_SECONDS, is_loopback, parse};

/// Issuers at most.
const MAX_ISSUERS: usize = 32;
/// Rules of one issuer at most.
const MAX_RULES: usize = 256;
/// Claims of one rule at most.
const MAX_CLAIMS: usize = 16;
/// Values of one claim at most.
const MAX_VALUES: usize = 64;
/// Bytes of a name, of a claim and of its value at most.
const MAX_NAME_BYTES: usize = 64;
const MAX_TEXT_BYTES: usize = 512;

/// What is checked of every token, so that no rule need say it.
const OF_EVERY_TOKEN: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// Claims that say whose a token is, by numbers or by names that are never another's.
const IDENTIFYING: [&str; 6] = [
    "repository_id",
    "repository_owner_id",
    "project_id",
    "namespace_id",
    "/kubernetes.io/namespace",
    "/kubernetes.io/serviceaccount/uid",
];

/// An issuer that serves everybody, and whose `sub` is made of names, as those of GitHub are.
const GITLAB: &str = "https://gitlab.com";
/// The issuer of GitHub Actions; an enterprise may have one of its own below it.
const GITHUB: &str = "https://token.actions.githubusercontent.com";
/// How the issuer of a GitHub Enterprise Server ends, behind its host.
const GITHUB_SERVER: &str = "/_services/token";
/// What the issuer of an enterprise with a host of its own at GitHub has before and behind its name.
const GITHUB_HOST: (&str, &str) = ("https://token.actions.", ".ghe.com");
/// How a `sub` of GitHub and of GitLab begins, as it is or as a template makes it.
const FORGE_SUBJECTS: [&str; 6] = [
    "repo:",
    "repository:",
    "repository_owner:",
    "job_workflow_ref:",
    "workflow_ref:",
    "project_path:",
];
/// Claims of GitHub and of GitLab that are names.
const FORGE_NAMES: [&str; 6] = [
    "repository",
    "repository_owner",
    "job_workflow_ref",
    "workflow_ref",
    "project_path",
    "namespace_path",
];

/// How the audiences begin that tokens for the API of a cluster have, and two more of them.
const CLUSTER_API: &str = "https://kubernetes.default.svc";
const CLUSTER_APIS: [&str; 2] = ["k3s", "rke2"];

impl Config {
    pub(in super::super) fn check_issuers(&self, findings: &mut Findings) {
        let issuers = &self.auth.issuers;
        if issuers.len() > MAX_ISSUERS {
            findings.add(
                "auth.issuers",
                &format!("has {} issuers, and may have {MAX_ISSUERS}", issuers.len()),
            );
        }
        for (index, issuer) in issuers.iter().enumerate() {
            let mut check = Check {
                key: format!("auth.issuers.{}", shown(&issuer.name, index)),
                findings,
            };
            let before = &issuers[..index];
            if before.iter().any(|other| other.name == issuer.name) {
                check.add("name", "is that of another issuer; give each its own");
            }
            let twin = before.iter().find(|other| {
                (&other.issuer, &other.audience) == (&issuer.issuer, &issuer.audience)
            });
            if let Some(twin) = twin {
                check.add(
                    "audience",
                    &format!(
                        "is that of {:?} too, which has the same issuer; give each an audience of its own",
                        twin.name
                    ),
                );
            }
            check.issuer(issuer, self.auth.credential_max_seconds);
        }
    }
}

/// A name as messages say it; a bad one by its place.
fn shown(name: &str, index: usize) -> String {
    if is_name(name) {
        name.to_owned()
    } else {
        (index + 1).to_string()
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_plain(text: &str) -> bool {
    (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.contains(char::is_control)
}

/// What is wrong with one issuer, or one rule.
struct Check<'a> {
    key: String,
    findings: &'a mut Findings,
}

impl Check<'_> {
    fn add(&mut self, key: &str, message: &str) {
        self.findings.add(&format!("{}.{key}", self.key), message);
    }

    fn range(&mut self, key: &str, value: u64, allowed: std::ops::RangeInclusive<u64>) {
        let key = format!("{}.{key}", self.key);
        self.findings.range(&key, value, allowed);
    }

    fn name(&mut self, name: &str) {
        if !is_name(name) {
            let message = format!(
                "is {name:?}, but must be 1 to {MAX_NAME_BYTES} small letters, digits and dashes"
            );
            self.add("name", &message);
        }
    }

    fn issuer(&mut self, issuer: &Issuer, credential_max_seconds: u64) {
        self.name(&issuer.name);
        self.place(issuer, "issuer", &issuer.issuer);
        self.audience(issuer);
        match (&issuer.jwks_url, &issuer.jwks_file) {
            (Some(_), Some(_)) => {
                self.add("jwks_file", "and jwks_url are both set; set one of them");
            }
            (Some(url), None) => self.place(issuer, "jwks_url", url),
            (None, _) => {}
        }
        for origin in &issuer.jwks_origins {
            self.place(issuer, "jwks_origins", origin);
        }
        self.token_file(issuer);
        if issuer.algorithms.is_empty() {
            self.add("algorithms", "is empty; write one such as \"RS256\"");
        }
        self.range(
            "max_token_age_seconds",
            issuer.max_token_age_seconds,
            60..=LONGEST_TOKEN_AGE_SECONDS,
        );
        self.range("leeway_seconds", issuer.leeway_seconds, 0..=300);
        if issuer.rules.len() > MAX_RULES {
            self.add("rules", &format!("has more than {MAX_RULES} rules"));
        }
        for (index, rule) in issuer.rules.iter().enumerate() {
            let name = shown(&rule.name, index);
            let mut check = Check {
                key: format!("{}.rules.{name}", self.key),
                findings: self.findings,
            };
            if issuer.rules[..index]
                .iter()
                .any(|other| other.name == rule.name)
            {
                check.add("name", "is that of another rule; give each its own");
            }
            check.rule(issuer, rule, credential_max_seconds);
        }
    }

    /// A URL that is asked, or that a token must name. Without TLS anybody on the way could put keys there.
    fn place(&mut self, issuer: &Issuer, key: &str, text: &str) {
        let Some(url) = parse(text).filter(|url| is_plain(text) && url.query().is_none()) else {
            self.add(
                key,
                &format!(
                    "is {text:?}, which is not a URL; write one such as https://issuer.example.com"
                ),
            );
            return;
        };
        if url.scheme() == "http" && !issuer.allow_http && !is_loopback(&url) {
            self.add(
                key,
                &format!(
                    "is {text:?}, where anybody on the way could put keys of their own; write an https URL, or allow_http \
                     = true if the network is to be trusted"
                ),
            );
        }
        if key == "jwks_origins" && !is_origin(&url) {
            self.add(
                key,
                &format!("has {text:?}; write scheme, host and port alone"),
            );
        }
    }

    /// A secret of ours: to be allowed to ask without TLS is not to be allowed to show that to whoever listens.
    fn token_file(&mut self, issuer: &Issuer) {
        let asked: Vec<&String> = match (&issuer.jwks_file, &issuer.jwks_url) {
            (Some(_), _) => Vec::new(),
            (None, Some(url)) => vec![url],
            (None, None) => issuer.jwks_origins.iter().chain([&issuer.issuer]).collect(),
        };
        let is_open = |url: &&String| {
            let url = parse(url);
            url.is_some_and(|url| url.scheme() == "http" && !is_loopback(&url))
        };
        if issuer.token_file.is_some() && asked.iter().any(is_open) {
            self.add(
                "token_file",
                "names a token that anybody on the way to the issuer could read; write https URLs, or leave it out",
            );
        }
    }

    fn audience(&mut self, issuer: &Issuer) {
        let audience = &issuer.audience;
        if !is_plain(audience) {
            let message = "is empty or too long; write what clients ask the issuer for, such as your registry's host";
            self.add("audience", message);
        } else if audience.trim_end_matches('/') == issuer.issuer.trim_end_matches('/') {
            self.add(
                "audience",
                "is the issuer itself: tokens that are meant for its own API would be taken here; name this registry",
            );
        } else if audience.starts_with(CLUSTER_API) || CLUSTER_APIS.contains(&audience.as_str()) {
            self.add(
                "audience",
                "is what tokens for the API of a cluster have: every pod's would be taken here; name this registry",
            );
        } else if github_owners(&issuer.issuer).is_some_and(|start| audience.starts_with(&start)) {
            self.add(
                "audience",
                "is what GitHub writes when a job names none: tokens that are meant for others would be taken here; name \
                 this registry",
            );
        }
    }

    fn rule(&mut self, issuer: &Issuer, rule: &IssuerRule, credential_max_seconds: u64) {
        self.name(&rule.name);
        if !is_plain(&rule.workspace) {
            self.add("workspace", "is empty; write the name of a workspace");
        }
        let is_prefix = |text: &String| is_plain(text) && !text.contains('/');
        if !rule.prefix.as_ref().is_none_or(is_prefix) {
            self.add(
                "prefix",
                "is no prefix; write that of the workspace without a slash, such as t-shop, or leave it out",
            );
        }
        self.range(
            "lifetime_seconds",
            rule.lifetime_seconds,
            60..=credential_max_seconds,
        );
        if rule.actions.as_ref().is_some_and(Vec::is_empty) {
            self.add("actions", "is empty; name pull or push, or leave it out");
        }
        if rule.claims.len() > MAX_CLAIMS {
            self.add("claims", &format!("has more than {MAX_CLAIMS} claims"));
        }
        for (claim, values) in &rule.claims {
            self.claim(claim, values.as_slice());
        }
        if let Err(message) = identifies(issuer, rule) {
            self.add("claims", message);
        }
    }

    fn claim(&mut self, claim: &str, values: &[String]) {
        let key = format!("claims.{claim:?}");
        if OF_EVERY_TOKEN.contains(&claim) {
            self.add(&key, "is looked at in every token; leave it out");
        }
        if claim.starts_with("kubernetes.io") {
            self.add(
                &key,
                "is of tokens that no longer exist; tokens of today have an object: write \"/kubernetes.io/namespace\" and \
                 \"/kubernetes.io/serviceaccount/name\"",
            );
        }
        if !is_plain(claim) || claim == "/" {
            self.add(&key, "is not the name of a claim");
        }
        if values.is_empty() || values.len() > MAX_VALUES {
            self.add(&key, &format!("has to have 1 to {MAX_VALUES} values"));
        }
        for value in values {
            if !is_plain(value) {
                self.add(
                    &key,
                    &format!("has a value that has not 1 to {MAX_TEXT_BYTES} bytes"),
                );
            }
            if value.contains('*') {
                self.add(
                    &key,
                    &format!("has the value {value:?}; values are compared letter for letter, so name each of them"),
                );
            }
        }
    }
}

fn is_origin(url: &Url) -> bool {
    url.path() == "/" && url.query().is_none()
}

/// How the URLs of owners begin at the GitHub whose issuer this is: what GitHub writes as the audience when a job names
/// none. None where it is no issuer of GitHub.
fn github_owners(issuer: &str) -> Option<String> {
    let issuer = issuer.trim_end_matches('/');
    let (before, behind) = GITHUB_HOST;
    if let Some(rest) = issuer.strip_prefix(GITHUB) {
        (rest.is_empty() || rest.starts_with('/')).then(|| String::from("https://github.com/"))
    } else if let Some(host) = issuer.strip_suffix(GITHUB_SERVER) {
        Some(format!("{host}/"))
    } else {
        // An enterprise may have one of its own below this one too.
        let host = issuer.strip_prefix(before)?.split('/').next()?;
        host.ends_with(behind).then(|| format!("https://{host}/"))
    }
}

/// Whether the claims of a rule say whose token it is, so that nobody else can come to have them.
fn identifies(issuer: &Issuer, rule: &IssuerRule) -> Result<(), &'static str> {
    let has = |claim: &str| rule.claims.contains_key(claim);
    if IDENTIFYING.iter().any(|claim| has(claim)) {
        return Ok(());
    }
    let of_forge = |value: &String| FORGE_SUBJECTS.iter().any(|start| value.starts_with(start));
    let is_forge = issuer.issuer == GITLAB
        || github_owners(&issuer.issuer).is_some()
        || rule
            .claims
            .get("sub")
            .is_some_and(|values| values.as_slice().iter().any(of_forge))
        || FORGE_NAMES.iter().any(|claim| has(claim));
    if is_forge {
        return Err(
            "name a repository or a project by names alone, which change and can become another's, as can a sub that is \
             made of them; add repository_id or repository_owner_id (GitHub), or project_id or namespace_id (GitLab)",
        );
    }
    if has("sub") {
        return Ok(());
    }
    if has("/kubernetes.io/serviceaccount/name") {
        return Err(
            "name a service account, and every namespace may have one of that name; add \"/kubernetes.io/namespace\"",
        );
    }
    Err(
        "do not say whose token it is; add sub, or a claim such as \"/kubernetes.io/namespace\", repository_id or project_id",
    )
}

//! Who calls, as the database knows them now, and what they are narrowed to.

use std::fmt;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet};

use super::action::ActionSet;
use super::live::{Basis, Identified};
use super::origin::Origin;
use super::role::Role;
use crate::clock::Millis;
use crate::grammar::{documented, text, whole};
use crate::metadata::{ApiKey, MetadataError, PullSecret, Workspace};
use crate::oci::{ImageName, RepositoryName};

/// Patterns of one key at most.
pub const MAX_PATTERNS: usize = 64;
/// Bytes of one pattern at most: as long as a repository name may be.
const MAX_PATTERN_BYTES: usize = 255;
/// Lists of patterns that stay compiled.
const COMPILED_LISTS: u64 = 1024;

/// What a principal showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// A key of the installation.
    OperatorKey,
    /// A key of a workspace.
    ApiKey,
    /// A signed credential that a key of a workspace asked for.
    RegistryCredential,
    /// A secret that pulls and does nothing else: what nodes hold.
    PullSecret,
    /// A signed credential that a token of another issuer was exchanged for.
    ExchangedIdentity,
}

impl PrincipalKind {
    /// The word of the API for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OperatorKey => "operator_key",
            Self::ApiKey => "api_key",
            Self::RegistryCredential => "registry_credential",
            Self::PullSecret => "pull_secret",
            Self::ExchangedIdentity => "exchanged_identity",
        }
    }
}

/// The row that a principal stands on: without it there is no principal.
#[derive(Clone)]
pub(super) enum Foundation {
    /// The key that it is, or that asked for it.
    Key(Arc<ApiKey>),
    /// The pull secret.
    PullSecret(Arc<PullSecret>),
    /// The rule of the configuration that it was let in by, with who it is.
    Rule(Arc<Identified>),
}

impl Foundation {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Key(key) => &key.id,
            Self::PullSecret(secret) => &secret.id,
            Self::Rule(identified) => &identified.id,
        }
    }
}

/// Who calls. Made only by looking at the database (see `live`), so that a role or narrowing is never out of date.
#[derive(Clone)]
pub struct Principal {
    pub(super) kind: PrincipalKind,
    pub(super) id: String,
    pub(super) actor: String,
    pub(super) role: Role,
    pub(super) foundation: Foundation,
    pub(super) workspace: Option<Arc<Workspace>>,
    pub(super) narrowing: Narrowing,
    pub(super) expires_at: Option<Millis>,
    pub(super) basis: Basis,
    pub(super) origin: Option<Origin>,
}

impl Principal {
    /// What it showed.
    #[must_use]
    pub fn kind(&self) -> PrincipalKind {
        self.kind
    }

    /// The id of the key, of the credential, or of the pull secret.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The role; a credential has that of its key.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether it pulls from every workspace.
    pub(super) fn is_everywhere(&self) -> bool {
        match self.kind {
            PrincipalKind::PullSecret => self.workspace.is_none(),
            PrincipalKind::OperatorKey
            | PrincipalKind::ApiKey
            | PrincipalKind::RegistryCredential
            | PrincipalKind::ExchangedIdentity => false,
        }
    }

    /// The workspace it acts in; none for an operator key, and for a pull secret of all workspaces.
    #[must_use]
    pub fn workspace(&self) -> Option<&Arc<Workspace>> {
        self.workspace.as_ref()
    }

    /// What it is narrowed to.
    #[must_use]
    pub fn narrowing(&self) -> &Narrowing {
        &self.narrowing
    }

    /// What it may do to the repositories it reaches: what its role allows and nothing has narrowed away.
    #[must_use]
    pub fn actions(&self) -> ActionSet {
        self.role.actions().intersection(self.narrowing.actions)
    }

    /// When what it showed ends by itself.
    #[must_use]
    pub fn expires_at(&self) -> Option<Millis> {
        self.expires_at
    }

    /// How rows name who made them: `key:<id>`, `credential:<id>`, `pull-secret:<id>` or
    /// `identity:<issuer>/<rule>:<subject>`.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// The request that it came with; none where it was looked up again inside a change.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Principal({} as {})", self.actor, self.role)
    }
}

/// Limits on top of a role. Every one that is present holds: narrowing only ever intersects.
#[derive(Clone, Debug)]
pub struct Narrowing {
    pub(super) images: Option<Arc<ImagePatterns>>,
    pub(super) repository: Option<RepositoryName>,
    pub(super) actions: ActionSet,
}

impl Narrowing {
    /// The globs of image names that the key is limited to.
    #[must_use]
    pub fn images(&self) -> Option<&ImagePatterns> {
        self.images.as_deref()
    }

    /// The one repository that the credential is limited to.
    #[must_use]
    pub fn repository(&self) -> Option<&RepositoryName> {
        self.repository.as_ref()
    }

    /// The actions that are left.
    #[must_use]
    pub fn actions(&self) -> ActionSet {
        self.actions
    }
}

/// What a pattern is made of, as its message tells it.
const PATTERN: &str = "[a-z0-9._*?-]+(/[a-z0-9._*?-]+)*";

pub(crate) enum ImagePattern {}
documented!(
    ImagePattern,
    text(
        "A glob of image names: `*` and `?` stay within one component, `**` as a whole component crosses.",
        1..=MAX_PATTERN_BYTES,
        "web/*"
    )
    .pattern(whole(PATTERN))
);

/// Globs of image names (without the prefix).
///
/// `*` and `?` stay within one component of a name, `**` as a whole component crosses: `team/*` holds `team/app` and
/// not `team/app/cache`; `team/**` holds both. Anything else is literal.
#[derive(Debug)]
pub struct ImagePatterns {
    patterns: Vec<String>,
    set: GlobSet,
}

/// A list of patterns that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// An empty list would be a key that reaches nothing.
    #[error("a list of repositories names at least one; leave it out for all of them")]
    Empty,
    /// More than [`MAX_PATTERNS`].
    #[error("a key is narrowed to at most {MAX_PATTERNS} patterns")]
    TooMany,
    /// Not a pattern of image names.
    #[error(
        "\"{0}\" is no pattern of image names: use lower-case letters, digits, . _ - and /, with * within a component \
         and ** across components, at most {MAX_PATTERN_BYTES} bytes, without the workspace's prefix"
    )]
    Bad(String),
}

impl ImagePatterns {
    /// Checks and compiles a list of patterns.
    pub fn new(patterns: &[String]) -> Result<Self, PatternError> {
        if patterns.is_empty() {
            return Err(PatternError::Empty);
        }
        if patterns.len() > MAX_PATTERNS {
            return Err(PatternError::TooMany);
        }
        let mut builder = GlobSet::builder();
        for pattern in patterns {
            let bad = || PatternError::Bad(pattern.chars().take(MAX_PATTERN_BYTES).collect());
            let known = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/*?".contains(&byte)
            };
            let well_formed = pattern.len() <= MAX_PATTERN_BYTES
                && pattern.bytes().all(known)
                && pattern.split('/').all(|component| !component.is_empty());
            if !well_formed {
                return Err(bad());
            }
            let glob = GlobBuilder::new(pattern)
                .literal_separator(true)
                .build()
                .map_err(|_| bad())?;
            builder.add(glob);
        }
        let set = builder.build().map_err(|_| PatternError::TooMany)?;
        Ok(Self {
            patterns: patterns.to_vec(),
            set,
        })
    }

    /// Whether an image is among them.
    #[must_use]
    pub fn hold(&self, image: &ImageName) -> bool {
        self.set.is_match(image.as_str())
    }

    /// Whether `pattern` can hold no image that these do not: it is one of them, or a plain name that they hold.
    #[must_use]
    pub fn cover(&self, pattern: &str) -> bool {
        self.patterns.iter().any(|own| own == pattern)
            || (!pattern.contains(['*', '?']) && self.set.is_match(pattern))
    }

    /// The patterns as they were given.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

/// Compiled lists of patterns, so that a narrowed key costs no compilation per request.
#[derive(Clone)]
pub(super) struct PatternCache(moka::sync::Cache<Vec<String>, Arc<ImagePatterns>>);

impl PatternCache {
    pub(super) fn new() -> Self {
        Self(moka::sync::Cache::new(COMPILED_LISTS))
    }

    pub(super) fn get(&self, patterns: &[String]) -> Result<Arc<ImagePatterns>, MetadataError> {
        if let Some(compiled) = self.0.get(patterns) {
            return Ok(compiled);
        }
        let compiled = ImagePatterns::new(patterns).map_err(|error| MetadataError::Corrupt {
            what: "list of repositories of a key",
            value: error.to_string(),
        })?;
        let compiled = Arc::new(compiled);
        self.0.insert(patterns.to_vec(), Arc::clone(&compiled));
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::oci::testing::{made_by, near, whole};

    const SOME_PATTERNS: &str = "(\\*\\*|[a-c*?-]{1,4})(/(\\*\\*|[a-c*?-]{1,4})){0,3}";
    const SOME_IMAGES: &str = "[a-c]{1,3}(-[a-c]{1,2})?(/[a-c]{1,3}){0,3}";

    static SPECIFICATION: LazyLock<Regex> = LazyLock::new(|| whole(PATTERN));

    /// The regular expression of a pattern without `**`: what globs have meant since they are.
    fn meaning(pattern: &str) -> Regex {
        let translated: String = pattern
            .chars()
            .map(|character| match character {
                '*' => String::from("[^/]*"),
                '?' => String::from("[^/]"),
                other => regex::escape(&other.to_string()),
            })
            .collect();
        whole(&translated)
    }

    proptest! {
        #[test]
        fn patterns_agree_with_their_grammar(text in prop_oneof![made_by(SOME_PATTERNS), near(SOME_PATTERNS)], long in 1..300_usize) {
            let repeated = text.repeat(long);
            for text in [text, repeated] {
                let expected = SPECIFICATION.is_match(&text) && text.len() <= MAX_PATTERN_BYTES;
                prop_assert_eq!(patterns(&[&text]).is_ok(), expected, "{:?}", text);
            }
        }

        #[test]
        fn a_pattern_holds_what_it_means(pattern in "[a-c*?-]{1,4}(/[a-c*?-]{1,4}){0,2}", image in made_by(SOME_IMAGES)) {
            prop_assume!(!pattern.contains("**"));
            let held = patterns(&[&pattern]).unwrap().hold(&image.parse().unwrap());
            prop_assert_eq!(held, meaning(&pattern).is_match(&image), "{} {}", pattern, image);
        }

        #[test]
        fn a_name_is_a_pattern_that_holds_itself_alone(name in made_by(SOME_IMAGES), other in made_by(SOME_IMAGES)) {
            let held = patterns(&[&name]).unwrap().hold(&other.parse().unwrap());
            prop_assert_eq!(held, name == other);
            prop_assert!(patterns(&[&name]).unwrap().cover(&name));
        }

        /// A key never makes another one that holds an image which it does not hold itself.
        #[test]
        fn what_is_covered_holds_no_more(own in made_by(SOME_PATTERNS), wanted in prop_oneof![made_by(SOME_PATTERNS), made_by(SOME_IMAGES)], image in made_by(SOME_IMAGES)) {
            let (own, image) = (patterns(&[&own]).unwrap(), image.parse().unwrap());
            if own.cover(&wanted) && patterns(&[&wanted]).unwrap().hold(&image) {
                prop_assert!(own.hold(&image));
            }
        }
    }

    fn patterns(list: &[&str]) -> Result<ImagePatterns, PatternError> {
        ImagePatterns::new(&list.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_star_stays_within_a_component() {
        let held = |pattern: &str, image: &str| {
            patterns(&[pattern]).unwrap().hold(&image.parse().unwrap())
        };
        assert!(held("app", "app"));
        assert!(!held("app", "app2"));
        assert!(!held("app", "team/app"));
        assert!(held("app-*", "app-web"));
        assert!(held("team/*", "team/app"));
        assert!(!held("team/*", "team/app/cache"));
        assert!(held("team/**", "team/app/cache"));
        assert!(held("team/**", "team/app"));
        assert!(!held("team/**", "teams/app"));
        assert!(!held("*", "team/app"));
        assert!(held("**", "team/app"));
        assert!(!held("a.b", "axb"));
    }

    #[test]
    fn bad_lists_are_refused() {
        assert_eq!(patterns(&[]).unwrap_err(), PatternError::Empty);
        assert_eq!(
            patterns(&["a"; MAX_PATTERNS + 1]).unwrap_err(),
            PatternError::TooMany
        );
        let long = "a".repeat(MAX_PATTERN_BYTES + 1);
        for bad in [
            "",
            "A",
            "a//b",
            "/a",
            "a/",
            "a{b,c}",
            "[a]",
            "!a",
            "a b",
            "a\\b",
            long.as_str(),
        ] {
            assert!(
                matches!(patterns(&[bad]), Err(PatternError::Bad(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_pattern_is_covered_by_itself_or_as_a_plain_name() {
        let own = patterns(&["team/*", "app"]).unwrap();
        assert!(own.cover("team/*"));
        assert!(own.cover("team/web"));
        assert!(own.cover("app"));
        assert!(!own.cover("team/**"));
        assert!(!own.cover("*"));
        assert!(!own.cover("other"));
    }
}

//! What an admin decides about the age of tags and manifests.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::names;
use crate::auth::{RequestError, WholeNumber};
use crate::clock::Millis;
use crate::metadata::{RetainedTag, StoredPolicies};
use crate::oci::ImmutableTags;

/// The longest age, in days: a hundred years.
const MAX_DAYS: u64 = 36_500;
/// Tags that a rule keeps at most whatever their age.
const MAX_KEPT: u64 = 100_000;
/// Rules of one policy.
const MAX_RULES: usize = 20;
/// Patterns of one list.
const MAX_PATTERNS: usize = 50;
/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1000;

type Days = WholeNumber<1, MAX_DAYS>;
type Kept = WholeNumber<0, MAX_KEPT>;

/// A pattern of tags: `*` is any number of characters, `?` is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct TagPattern(ImmutableTags);

impl TryFrom<String> for TagPattern {
    type Error = crate::oci::NoTagPattern;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<TagPattern> for String {
    fn from(pattern: TagPattern) -> Self {
        pattern.0.to_string()
    }
}

/// Which tags go, and which manifests without a tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(examples(json!({
    "untaggedDays": 14, "keepTags": ["v*", "latest"],
    "rules": [{"tags": ["pr-*"], "keepLast": 10, "olderThanDays": 30}]
})))]
pub struct RetentionPolicy {
    /// After how many days without a tag a manifest goes; none keeps all.
    #[schema(inline)]
    untagged_days: Option<Days>,
    /// Patterns of tags that no rule takes; at most 50.
    #[schema(value_type = Vec<names::TagPattern>, max_items = 50)]
    keep_tags: Vec<TagPattern>,
    /// What takes tags; at most 20.
    #[schema(inline, max_items = 20)]
    rules: Vec<RetentionRule>,
}

/// A rule takes the tags that fit one of its patterns, but the newest of them, once they are old enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetentionRule {
    /// The patterns; at most 50.
    #[schema(value_type = Vec<names::TagPattern>, min_items = 1, max_items = 50)]
    tags: Vec<TagPattern>,
    /// How many of them stay whatever their age: those that were pointed somewhere last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    keep_last: Option<Kept>,
    /// How old a tag is at least when it goes, since it was last pointed anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    older_than_days: Option<Days>,
    /// For how many days nobody has pulled a tag that goes, as far as is known: by its name, not by a digest. It narrows
    /// `olderThanDays` or `keepLast`, and does not stand alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    not_pulled_days: Option<Days>,
}

impl RetentionPolicy {
    /// Refuses what is too much, and rules that would take all tags at once.
    pub(super) fn check(&self) -> Result<(), RequestError> {
        let bad = |message: String| Err(RequestError::BadRequest(message));
        if self.rules.len() > MAX_RULES {
            return bad(format!("a policy has at most {MAX_RULES} rules"));
        }
        if self.keep_tags.len() > MAX_PATTERNS {
            return bad(format!("keepTags has at most {MAX_PATTERNS} patterns"));
        }
        for (number, rule) in self.rules.iter().enumerate() {
            if !(1..=MAX_PATTERNS).contains(&rule.tags.len()) {
                return bad(format!(
                    "rules[{number}].tags has 1 to {MAX_PATTERNS} patterns; for all tags it is [\"*\"]"
                ));
            }
            if rule.keep_last.is_none()
                && rule.older_than_days.is_none()
                && rule.not_pulled_days.is_none()
            {
                return bad(format!(
                    "rules[{number}] would take every tag at once: say keepLast or olderThanDays"
                ));
            }
            // Pulls are counted in memory first: what is known of them is no reason by itself.
            let keeps_some = rule.keep_last.is_some_and(|kept| kept.get() > 0);
            if !keeps_some && rule.older_than_days.is_none() && rule.not_pulled_days.is_some() {
                return bad(format!(
                    "rules[{number}] goes by notPulledDays alone, and not every pull is known: \
                     say olderThanDays, or a keepLast above 0, too"
                ));
            }
        }
        Ok(())
    }

    /// The policy that holds: the image's own, else its workspace's.
    pub(super) fn of(stored: &StoredPolicies) -> Result<Self, RequestError> {
        if let Some(policy) = &stored.image {
            return Self::read(policy);
        }
        let mut policy = match &stored.workspace {
            None => Self::default(),
            Some(policy) => Self::read(policy)?,
        };
        policy.untagged_days = stored.untagged_days.and_then(|days| Days::new(days.into()));
        Ok(policy)
    }

    fn read(text: &str) -> Result<Self, RequestError> {
        serde_json::from_str(text).map_err(|error| {
            RequestError::Internal(format!("a stored policy cannot be read: {error}"))
        })
    }

    /// As it is stored.
    pub(super) fn text(&self) -> String {
        // Numbers and texts can always be written as JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn untagged_days(&self) -> Option<u32> {
        self.untagged_days
            .map(|days| u32::try_from(days.get()).unwrap_or(u32::MAX))
    }

    /// Since when a manifest has no tag that goes.
    pub(super) fn untagged_since(&self, now: Millis) -> Option<Millis> {
        self.untagged_days.map(|days| before(now, days))
    }

    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }
}

fn before(now: Millis, days: Days) -> Millis {
    let days = i64::try_from(days.get()).unwrap_or(i64::MAX);
    now.plus(-days.saturating_mul(DAY_MS))
}

/// What is said of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// No rule is about it.
    Unnamed,
    /// A rule would take it, but for this.
    Kept(String),
    /// A rule takes it.
    Taken(String),
}

/// Judges the tags of one image, which come the newest first.
pub(super) struct Rulings<'a> {
    policy: &'a RetentionPolicy,
    now: Millis,
    /// How many tags each rule has seen.
    seen: Vec<u64>,
}

impl<'a> Rulings<'a> {
    pub(super) fn new(policy: &'a RetentionPolicy, now: Millis) -> Self {
        Self {
            policy,
            now,
            seen: vec![0; policy.rules.len()],
        }
    }

    pub(super) fn on(&mut self, tag: &RetainedTag) -> Ruling {
        let mut ruling = Ruling::Unnamed;
        let fits = |patterns: &[TagPattern]| patterns.iter().any(|p| p.0.hold(&tag.name));
        let is_kept = fits(&self.policy.keep_tags);
        for (rule, seen) in self.policy.rules.iter().zip(&mut self.seen) {
            if !fits(&rule.tags) {
                continue;
            }
            *seen += 1;
            let kept = if is_kept {
                Some(String::from("keepTags names it"))
            } else {
                rule.keeps(tag, *seen, self.now)
            };
            match kept {
                None => return self.taken(tag, rule),
                Some(reason) => ruling = Ruling::Kept(reason),
            }
        }
        ruling
    }

    /// The other rules have seen the tag as well.
    fn taken(&mut self, tag: &RetainedTag, by: &RetentionRule) -> Ruling {
        let mut is_behind = false;
        for (rule, seen) in self.policy.rules.iter().zip(&mut self.seen) {
            if is_behind && rule.tags.iter().any(|p| p.0.hold(&tag.name)) {
                *seen += 1;
            }
            is_behind |= std::ptr::eq(rule, by);
        }
        Ruling::Taken(by.describe())
    }
}

impl RetentionRule {
    fn keeps(&self, tag: &RetainedTag, place: u64, now: Millis) -> Option<String> {
        if let Some(last) = self.keep_last
            && place <= last.get()
        {
            return Some(format!("it is one of the last {}", last.get()));
        }
        if let Some(days) = self.older_than_days
            && tag.updated_at > before(now, days)
        {
            return Some(format!("it is not older than {} days", days.get()));
        }
        if let Some(days) = self.not_pulled_days {
            let used = tag
                .pulled_at
                .map_or(tag.updated_at, |at| at.max(tag.updated_at));
            if used > before(now, days) {
                return Some(format!("it was in use in the last {} days", days.get()));
            }
        }
        None
    }

    /// The rule, as deletions and previews tell it.
    fn describe(&self) -> String {
        let patterns: Vec<String> = self.tags.iter().map(|p| p.0.to_string()).collect();
        let mut text = format!("the rule for {}", patterns.join(", "));
        for (word, number) in [
            ("keepLast", self.keep_last.map(WholeNumber::get)),
            ("olderThanDays", self.older_than_days.map(WholeNumber::get)),
            ("notPulledDays", self.not_pulled_days.map(WholeNumber::get)),
        ] {
            if let Some(number) = number {
                text.push_str(&format!(", {word} {number}"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_767_225_600_000);

    fn policy(text: &str) -> RetentionPolicy {
        let policy: RetentionPolicy = serde_json::from_str(text).unwrap();
        policy.check().unwrap();
        policy
    }

    fn tag(name: &str, days: i64, pulled: Option<i64>) -> RetainedTag {
        let digest = berth_storage::Digest::of(berth_storage::DigestAlgorithm::Sha256, b"");
        RetainedTag {
            name: name.parse().unwrap(),
            digest,
            updated_at: NOW.plus(-days * DAY_MS),
            restored_at: None,
            pulled_at: pulled.map(|days| NOW.plus(-days * DAY_MS)),
        }
    }

    fn taken(policy: &RetentionPolicy, tags: &[RetainedTag]) -> Vec<String> {
        let mut rulings = Rulings::new(policy, NOW);
        let mut taken = Vec::new();
        for tag in tags {
            if let Ruling::Taken(_) = rulings.on(tag) {
                taken.push(tag.name.to_string());
            }
        }
        taken
    }

    #[test]
    fn a_rule_keeps_the_last_and_the_young_and_what_is_pulled() {
        let tags = [
            tag("pr-5", 1, None),
            tag("v1", 2, None),
            tag("pr-4", 40, Some(3)),
            tag("pr-3", 50, Some(39)),
            tag("pr-2", 60, None),
            tag("main", 90, None),
        ];
        let all = policy(r#"{"rules":[{"tags":["pr-*"],"keepLast":0}]}"#);
        assert_eq!(taken(&all, &tags), ["pr-5", "pr-4", "pr-3", "pr-2"]);
        let last = policy(r#"{"rules":[{"tags":["pr-*"],"keepLast":2}]}"#);
        assert_eq!(taken(&last, &tags), ["pr-3", "pr-2"]);
        let old = policy(r#"{"rules":[{"tags":["*"],"olderThanDays":45}]}"#);
        assert_eq!(taken(&old, &tags), ["pr-3", "pr-2", "main"]);
        let unused = policy(
            r#"{"rules":[{"tags":["*"],"olderThanDays":1,"notPulledDays":30}],"keepTags":["m?in"]}"#,
        );
        assert_eq!(taken(&unused, &tags), ["pr-3", "pr-2"]);
        let exactly = policy(r#"{"rules":[{"tags":["pr-4"],"olderThanDays":40}]}"#);
        assert_eq!(taken(&exactly, &tags), ["pr-4"]);
        let several = policy(
            r#"{"rules":[{"tags":["pr-5","pr-4"],"keepLast":1},{"tags":["pr-*"],"keepLast":3}]}"#,
        );
        assert_eq!(taken(&several, &tags), ["pr-4", "pr-2"]);
    }

    #[test]
    fn what_would_take_all_or_is_too_much_is_refused() {
        let many = format!(
            r#"{{"rules":[{}]}}"#,
            vec![r#"{"tags":["*"],"keepLast":1}"#; 21].join(",")
        );
        let patterns = format!(r#"{{"keepTags":[{}]}}"#, vec![r#""v*""#; 51].join(","));
        for text in [
            r#"{"rules":[{"tags":["*"]}]}"#,
            r#"{"rules":[{"tags":[],"keepLast":1}]}"#,
            r#"{"rules":[{"tags":["*"],"notPulledDays":30}]}"#,
            r#"{"rules":[{"tags":["*"],"keepLast":0,"notPulledDays":30}]}"#,
            &many,
            &patterns,
        ] {
            let policy: RetentionPolicy = serde_json::from_str(text).unwrap();
            assert!(policy.check().is_err(), "{text}");
        }
        for text in [
            r#"{"untaggedDays":0}"#,
            r#"{"untaggedDays":36501}"#,
            r#"{"keepTags":["v[1]"]}"#,
            r#"{"rules":[{"tags":["*"],"keepFirst":1}]}"#,
        ] {
            assert!(
                serde_json::from_str::<RetentionPolicy>(text).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_policy_is_read_as_it_was_stored() {
        let stored =
            policy(r#"{"untaggedDays":3,"keepTags":["v*"],"rules":[{"tags":["*"],"keepLast":1}]}"#);
        assert_eq!(RetentionPolicy::read(&stored.text()).unwrap(), stored);
    }
}

//! Identities of others: who signs them, and what each may do here, by the rules of the configuration.
//!
//! A rule is to an exchanged identity what a row of the database is to a key: without it there is no principal. It is known
//! by a digest of all that it says, so that what was issued by a rule ends when the rule changes.

mod claims;
mod key_set;
mod key_source;
mod rules;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::IgnoredAny;

use crate::clock::{Clock, Millis};
use crate::config;
pub(super) use claims::shown;
use claims::{Claims, Unverified};
use key_source::{KeySource, NoKey};
pub(super) use rules::{Identity, Rule};

/// Why the configuration of an issuer cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("auth.issuers.{issuer}.{problem}")]
pub struct FederationError {
    issuer: String,
    problem: String,
}

/// Why a token of another issuer is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SubjectError {
    /// It is not good, or not for us. The identity is known once the signature is good.
    #[error("{message}")]
    Refused {
        message: String,
        identity: Option<Identity>,
    },
    /// The keys of its issuer cannot be had now.
    #[error("the keys of the issuer \"{0}\" cannot be had now; try again in a few seconds")]
    Unavailable(String),
}

fn refused(message: impl Into<String>) -> SubjectError {
    SubjectError::Refused {
        message: message.into(),
        identity: None,
    }
}

/// A token with what is needed to look at it, for which its issuer may have been asked.
pub(super) struct Prepared<'a> {
    token: &'a str,
    issuer: &'a Issuer,
    key: DecodingKey,
    algorithm: Algorithm,
    claims: Claims,
}

/// Somebody whom an issuer vouches for, and the rules that fit.
#[derive(Debug)]
pub(super) struct Subject {
    /// The name of the issuer.
    pub(super) issuer: String,
    /// The `sub` of the token.
    pub(super) subject: String,
    /// In the order of the configuration; at least one.
    pub(super) rules: Vec<Arc<Rule>>,
    /// What has to be remembered of a token that counts once.
    pub(super) single_use: Option<SingleUse>,
}

/// A token that counts once.
#[derive(Debug)]
pub(super) struct SingleUse {
    /// A digest of its issuer and its `jti`.
    pub(super) id: String,
    /// From when on nobody would take it anyway.
    pub(super) until: Millis,
}

struct Issuer {
    config: config::Issuer,
    algorithms: Vec<Algorithm>,
    rules: Vec<Arc<Rule>>,
    keys: Arc<KeySource>,
}

/// All issuers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Federation {
    issuers: Arc<[Issuer]>,
    rules: Arc<HashMap<String, Arc<Rule>>>,
}

impl fmt::Debug for Federation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.issuers.iter().map(|issuer| &issuer.config.name);
        formatter.debug_list().entries(names).finish()
    }
}

impl Federation {
    /// Puts the issuers of a configuration together. No issuer is asked anything yet.
    ///
    /// # Errors
    /// What is wrong with one of them, by its key in the configuration.
    pub fn open(issuers: &[config::Issuer], clock: &Clock) -> Result<Self, FederationError> {
        let mut rules = HashMap::new();
        let mut opened = Vec::new();
        for config in issuers {
            let wrong = |problem: String| FederationError {
                issuer: config.name.clone(),
                problem,
            };
            let own: Vec<Arc<Rule>> = config
                .rules
                .iter()
                .map(|rule| Rule::new(config, rule).map(Arc::new))
                .collect::<Result<_, _>>()
                .map_err(wrong)?;
            rules.extend(
                own.iter()
                    .map(|rule| (rule.id().to_owned(), Arc::clone(rule))),
            );
            opened.push(Issuer {
                algorithms: config
                    .algorithms
                    .iter()
                    .copied()
                    .map(key_set::algorithm)
                    .collect(),
                rules: own,
                keys: Arc::new(KeySource::new(config, clock.clone()).map_err(wrong)?),
                config: config.clone(),
            });
        }
        Ok(Self {
            issuers: opened.into(),
            rules: Arc::new(rules),
        })
    }

    /// Whether anybody's tokens are taken.
    pub(super) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// The rule of this id, if the configuration still has it.
    pub(super) fn rule(&self, id: &str) -> Option<Arc<Rule>> {
        self.rules.get(id).cloned()
    }

    /// Gets what it takes to look at a token. This may wait for its issuer.
    pub(super) async fn prepare<'a>(
        &'a self,
        token: &'a str,
    ) -> Result<Prepared<'a>, SubjectError> {
        let Unverified {
            algorithm,
            key_id,
            claims,
        } = Unverified::read(token).map_err(refused)?;
        let issuer = self.issuer_of(&claims)?;
        Ok(Prepared {
            token,
            issuer,
            key: issuer.key(&key_id, algorithm).await?,
            algorithm,
            claims,
        })
    }

    /// Who is behind a token, and what rules fit.
    pub(super) fn verify(prepared: Prepared<'_>, now: Millis) -> Result<Subject, SubjectError> {
        let issuer = prepared.issuer;
        let claims = prepared.verified(now)?;
        let subject = claims.subject().map_err(refused)?.to_owned();
        let rules: Vec<Arc<Rule>> = issuer
            .rules
            .iter()
            .filter(|rule| rule.fits(&claims))
            .cloned()
            .collect();
        let name = issuer.config.name.clone();
        if rules.is_empty() {
            return Err(SubjectError::Refused {
                message: format!(
                    "no rule of the issuer \"{name}\" fits the claims of the token: {}",
                    claims.summary()
                ),
                identity: Some(Identity {
                    issuer: name,
                    rule: None,
                    subject,
                }),
            });
        }
        let single_use = issuer
            .config
            .single_use
            .then(|| claims.single_use(&issuer.config))
            .transpose()
            .map_err(refused)?;
        Ok(Subject {
            issuer: name,
            subject,
            rules,
            single_use,
        })
    }

    /// Whom a token says it is of, which is to be proved. Two clusters may call themselves by one name and differ in the
    /// audience.
    fn issuer_of(&self, claims: &Claims) -> Result<&Issuer, SubjectError> {
        let named = claims
            .text("iss")
            .ok_or_else(|| refused("the token names no issuer"))?;
        let mut of_name = self
            .issuers
            .iter()
            .filter(|issuer| issuer.config.issuer == named)
            .peekable();
        if of_name.peek().is_none() {
            let named = shown(named);
            return Err(refused(format!(
                "tokens of the issuer \"{named}\" are not taken here"
            )));
        }
        let audiences: Vec<&str> = of_name
            .clone()
            .map(|issuer| issuer.config.audience.as_str())
            .collect();
        of_name
            .find(|issuer| claims.is_for(&issuer.config.audience))
            .ok_or_else(|| {
                refused(format!(
                    "the token is not for this registry: ask its issuer for one with the audience \"{}\"",
                    audiences.join("\" or \"")
                ))
            })
    }
}

impl Issuer {
    /// The key of this id, which may have to be asked for.
    async fn key(&self, id: &str, algorithm: Algorithm) -> Result<DecodingKey, SubjectError> {
        if !self.algorithms.contains(&algorithm) {
            return Err(refused(format!(
                "the token is signed with {algorithm:?}, which the configuration of its issuer does not allow"
            )));
        }
        let name = &self.config.name;
        let key = self.keys.key(id, algorithm).await;
        key.map_err(|error| match error {
            NoKey::Unknown => refused(format!(
                "the token is signed with a key that its issuer \"{name}\" does not have"
            )),
            NoKey::Unavailable => SubjectError::Unavailable(name.clone()),
        })
    }
}

impl Prepared<'_> {
    /// The claims of a token whose signature and times are good.
    fn verified(self, now: Millis) -> Result<Claims, SubjectError> {
        let Self {
            token,
            issuer,
            key,
            algorithm,
            claims,
        } = self;
        let mut validation = Validation::new(algorithm);
        // All that the claims say is looked at by `claims`, by our own clock.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode::<IgnoredAny>(token, &key, &validation)
            .map_err(|_| refused("the signature of the token is not good"))?;
        claims
            .check_times(&issuer.config, now.seconds())
            .map_err(refused)?;
        Ok(claims)
    }
}

//! Rules: who gets what. Claims are compared letter for letter; there are no prefixes and no patterns.

use std::sync::Arc;

use super::super::action::{Action, ActionSet};
use super::super::origin::identity_actor;
use super::super::principal::ImagePatterns;
use super::super::role::Role;
use super::super::secrets::sha256_hex;
use super::claims::Claims;
use crate::config::{self, IssuedAction, IssuedRole};

/// Somebody of another issuer, as logs and rows name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Identity {
    /// The name of the issuer.
    pub(in super::super) issuer: String,
    /// The name of the rule that fits; none while no rule does.
    pub(in super::super) rule: Option<String>,
    /// The `sub` of the token.
    pub(in super::super) subject: String,
}

impl Identity {
    /// How rows and the audit log name it.
    pub(in super::super) fn actor(&self) -> String {
        identity_actor(&self.issuer, self.rule.as_deref(), &self.subject)
    }

    /// Who it is, whatever the rule: whose share of the limits is used up.
    pub(in super::super) fn id(&self) -> String {
        format!("{}/{}", self.issuer, self.subject)
    }
}

/// What whoever has some claims may do in a workspace.
#[derive(Debug)]
pub(in super::super) struct Rule {
    id: String,
    claims: Vec<(String, Vec<String>)>,
    /// Its name.
    pub(in super::super) name: String,
    /// The name of the workspace.
    pub(in super::super) workspace: String,
    /// Its prefix, where the rule says which one of that name is meant.
    pub(in super::super) prefix: Option<String>,
    pub(in super::super) role: Role,
    pub(in super::super) images: Option<Arc<ImagePatterns>>,
    pub(in super::super) actions: ActionSet,
    pub(in super::super) lifetime_seconds: u64,
}

impl Rule {
    pub(super) fn new(issuer: &config::Issuer, rule: &config::IssuerRule) -> Result<Self, String> {
        let images = rule
            .repositories
            .as_deref()
            .map(ImagePatterns::new)
            .transpose();
        let images =
            images.map_err(|error| format!("rules.{}.repositories: {error}", rule.name))?;
        let actions = match &rule.actions {
            None => ActionSet::ALL,
            Some(actions) => actions
                .iter()
                .map(|action| match action {
                    IssuedAction::Pull => Action::Pull,
                    IssuedAction::Push => Action::Push,
                })
                .collect(),
        };
        let claims = rule.claims.iter();
        Ok(Self {
            id: digest(issuer, rule),
            claims: claims
                .map(|(claim, values)| (claim.clone(), values.as_slice().to_vec()))
                .collect(),
            name: rule.name.clone(),
            workspace: rule.workspace.clone(),
            prefix: rule.prefix.clone(),
            role: match rule.role {
                IssuedRole::Viewer => Role::Viewer,
                IssuedRole::Builder => Role::Builder,
            },
            images: images.map(Arc::new),
            actions,
            lifetime_seconds: rule.lifetime_seconds,
        })
    }

    /// A digest of all that it says, which what was issued by it carries.
    pub(in super::super) fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is about whoever has these claims.
    pub(super) fn fits(&self, claims: &Claims) -> bool {
        let named = |claim: &str| self.claims.iter().any(|(own, _)| own == claim);
        let fits = |(claim, values): &(String, Vec<String>)| {
            claims
                .text(claim)
                .is_some_and(|text| values.iter().any(|value| value == text))
        };
        let is_foreign = claims.foreign_event().is_some() && !named("event_name");
        !is_foreign && !self.claims.is_empty() && self.claims.iter().all(fits)
    }
}

/// Each part with its length before it, and each list with its number, so that no two rules are the same text.
fn digest(issuer: &config::Issuer, rule: &config::IssuerRule) -> String {
    let mut text = String::new();
    let mut add = |part: &str| text.push_str(&format!("{}:{part}", part.len()));
    for part in [
        &issuer.name,
        &issuer.issuer,
        &issuer.audience,
        &rule.name,
        &rule.workspace,
    ] {
        add(part);
    }
    add(&format!(
        "{:?} {:?} {:?} {}",
        rule.prefix, rule.role, rule.actions, rule.lifetime_seconds
    ));
    let mut add_all = |list: &[String]| {
        add(&list.len().to_string());
        list.iter().for_each(|one| add(one));
    };
    add_all(rule.repositories.as_deref().unwrap_or_default());
    for (claim, values) in &rule.claims {
        add_all(std::slice::from_ref(claim));
        add_all(values.as_slice());
    }
    sha256_hex(&text)
}

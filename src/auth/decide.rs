//! The one decision: may this principal do this to that repository, now?
//!
//! It looks at the principal and the name alone, never at what exists, so that a foreign name gives one and the same
//! answer whether it exists or not.

use std::sync::Arc;

use super::action::Action;
use super::principal::{Principal, PrincipalKind};
use super::role::Role;
use crate::metadata::Workspace;
use crate::oci::RepositoryName;

/// What was decided.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It may, in this workspace.
    Allowed(Arc<Workspace>),
    /// It may not; a sentence that says what would be right.
    Denied(String),
}

/// Decides whether `principal` may do `action` to `repository`.
#[must_use]
pub fn decide(principal: &Principal, repository: &RepositoryName, action: Action) -> Decision {
    match check(principal, repository, action) {
        Ok(workspace) => Decision::Allowed(Arc::clone(workspace)),
        Err(reason) => Decision::Denied(reason),
    }
}

fn check<'a>(
    principal: &'a Principal,
    repository: &RepositoryName,
    action: Action,
) -> Result<&'a Arc<Workspace>, String> {
    let workspace = pulling_workspace(principal)?;
    // Here platform images and aliases will join: both for pulls alone, both under names that are not looked up unless
    // the principal may know of them.
    let image = repository
        .image()
        .filter(|_| repository.prefix() == workspace.prefix)
        .ok_or_else(|| foreign(principal, workspace, repository, action))?;
    let narrowing = principal.narrowing();
    if let Some(only) = narrowing.repository()
        && only != repository
    {
        return Err(format!(
            "this credential was issued for \"{only}\" alone: ask for another one to {action} \"{repository}\""
        ));
    }
    if let Some(images) = narrowing.images()
        && !images.hold(&image)
    {
        let patterns = images.patterns().join(", ");
        return Err(format!(
            "this key is limited to the images {patterns}; \"{image}\" is not one of them"
        ));
    }
    if !principal.role().actions().contains(action) {
        let (role, least) = (principal.role(), Role::least_for(action));
        return Err(format!(
            "the role {role} may not {action}: that takes a key with the role {least} or a higher one"
        ));
    }
    if !narrowing.actions().contains(action) {
        let noun = noun(principal);
        return Err(match narrowing.actions() {
            left if left.is_empty() => format!("this {noun} may do nothing to repositories"),
            left => format!("this {noun} is limited to {left}: it may not {action}"),
        });
    }
    Ok(workspace)
}

/// The workspace whose repositories the principal reaches; operator keys reach none.
pub(super) fn pulling_workspace(principal: &Principal) -> Result<&Arc<Workspace>, String> {
    let none = || {
        String::from("an operator key neither pulls nor pushes: use an API key of the workspace")
    };
    match principal.kind() {
        PrincipalKind::OperatorKey => Err(none()),
        PrincipalKind::ApiKey | PrincipalKind::RegistryCredential => {
            principal.workspace().ok_or_else(none)
        }
    }
}

fn noun(principal: &Principal) -> &'static str {
    match principal.kind() {
        PrincipalKind::OperatorKey | PrincipalKind::ApiKey => "key",
        PrincipalKind::RegistryCredential => "credential",
    }
}

/// What to say about a name that is not under the own prefix.
fn foreign(
    principal: &Principal,
    workspace: &Workspace,
    repository: &RepositoryName,
    action: Action,
) -> String {
    let (noun, prefix, name) = (noun(principal), &workspace.prefix, repository.as_str());
    if name == prefix {
        return format!("\"{name}\" names no image: add one, such as \"{prefix}/my-app\"");
    }
    // Whoever names another prefix most likely means the same image under their own.
    let image = name.split_once('/').map_or(name, |(_, image)| image);
    let hint = match format!("{prefix}/{image}").parse::<RepositoryName>() {
        Ok(right) => format!(": {action} \"{right}\""),
        Err(_) => String::new(),
    };
    format!("this {noun} reaches {prefix}/…; \"{name}\" is not under it{hint}")
}

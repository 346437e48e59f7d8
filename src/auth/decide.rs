//! The one decision: may this principal do this to that repository, now?
//!
//! [`decide`] looks at the principal and the name alone, never at what exists, so that a foreign name gives one and the
//! same answer whether it exists or not. Only what every workspace may pull is looked up, by [`decide_live`].

use std::sync::Arc;

use super::action::Action;
use super::live::Rights;
use super::principal::{Principal, PrincipalKind};
use super::role::Role;
use crate::metadata::{MetadataError, Workspace};
use crate::oci::{ImageName, RepositoryName};

/// What was decided.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It may, in this workspace.
    Allowed(Arc<Workspace>),
    /// It may not; a sentence that says what would be right.
    Denied(String),
    /// There is no such repository, for somebody who may know that; a sentence that says so.
    Unknown(String),
}

/// Decides whether `principal` may do `action` to `repository`, which is one of its workspace or nobody's.
#[must_use]
pub fn decide(principal: &Principal, repository: &RepositoryName, action: Action) -> Decision {
    match check(principal, repository, action) {
        Ok(workspace) => Decision::Allowed(Arc::clone(workspace)),
        Err(reason) => Decision::Denied(reason),
    }
}

/// The same, and pulls of what every workspace may pull, unless the principal is narrowed.
pub(super) async fn decide_live(
    rights: &mut Rights<'_>,
    principal: &Principal,
    repository: &RepositoryName,
    action: Action,
) -> Result<Decision, MetadataError> {
    if principal.is_everywhere() && action == Action::Pull {
        return decide_everywhere(rights, repository).await;
    }
    let decision = decide(principal, repository, action);
    if let Decision::Denied(_) = decision
        && action == Action::Pull
        && let Some(workspace) = may_pull_of_others(principal, repository)
        && rights.is_platform_image(repository).await?
    {
        return Ok(Decision::Allowed(Arc::clone(workspace)));
    }
    Ok(decision)
}

/// For whoever may pull from every workspace: it does so as the workspace whose name the image has.
async fn decide_everywhere(
    rights: &mut Rights<'_>,
    repository: &RepositoryName,
) -> Result<Decision, MetadataError> {
    Ok(match rights.workspace_of(repository).await? {
        Some(workspace) => Decision::Allowed(workspace),
        None => Decision::Unknown(format!(
            "repository {repository} is not known: it begins with its first push"
        )),
    })
}

/// The workspace of a principal that may pull another one's repository, if that is for everybody.
fn may_pull_of_others<'a>(
    principal: &'a Principal,
    repository: &RepositoryName,
) -> Option<&'a Arc<Workspace>> {
    let workspace = pulling_workspace(principal).ok()?;
    let narrowing = principal.narrowing();
    // A key gets no credential for another's image; an identity may be narrowed to just the one that it is about to pull.
    let is_elsewhere = narrowing
        .repository()
        .is_some_and(|only| only != repository);
    let is_narrowed = is_elsewhere || narrowing.images().is_some();
    (repository.prefix() != workspace.prefix
        && !is_narrowed
        && principal.actions().contains(Action::Pull))
    .then_some(workspace)
}

fn check<'a>(
    principal: &'a Principal,
    repository: &RepositoryName,
    action: Action,
) -> Result<&'a Arc<Workspace>, String> {
    check_kind(principal, action)?;
    let workspace = pulling_workspace(principal)?;
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
    check_image(principal, &image)?;
    if !principal.role().actions().contains(action) {
        let (role, least) = (principal.role(), Role::least_for(action));
        return Err(format!(
            "the role {role} may not {action}: that takes a key with the role {least} or a higher one"
        ));
    }
    check_action(principal, action)?;
    Ok(workspace)
}

/// Whether what was shown is for this action at all, whatever the repository is.
fn check_kind(principal: &Principal, action: Action) -> Result<(), String> {
    match principal.kind() {
        PrincipalKind::PullSecret if action != Action::Pull => Err(format!(
            "this is a pull secret: it pulls and does nothing else; to {action}, use an API key of the workspace, or a \
             registry credential"
        )),
        PrincipalKind::OperatorKey
        | PrincipalKind::ApiKey
        | PrincipalKind::RegistryCredential
        | PrincipalKind::PullSecret
        | PrincipalKind::ExchangedIdentity => Ok(()),
    }
}

/// Whether a key that is narrowed to some images may have to do with this one.
pub(super) fn check_image(principal: &Principal, image: &ImageName) -> Result<(), String> {
    match principal.narrowing().images() {
        Some(images) if !images.hold(image) => Err(format!(
            "this key is limited to the images {}; \"{image}\" is not one of them",
            images.patterns().join(", ")
        )),
        Some(_) | None => Ok(()),
    }
}

/// Whether a key that is narrowed to some actions still has this one.
pub(super) fn check_action(principal: &Principal, action: Action) -> Result<(), String> {
    let left = principal.narrowing().actions();
    if left.contains(action) {
        return Ok(());
    }
    let noun = noun(principal);
    Err(if left.is_empty() {
        format!("this {noun} may do nothing to repositories")
    } else {
        format!("this {noun} is limited to {left}: it may not {action}")
    })
}

/// The workspace whose repositories the principal reaches. Operator keys reach none, and a pull secret of all workspaces
/// has none of its own.
pub(super) fn pulling_workspace(principal: &Principal) -> Result<&Arc<Workspace>, String> {
    let none = || {
        String::from("an operator key neither pulls nor pushes: use an API key of the workspace")
    };
    match principal.kind() {
        PrincipalKind::OperatorKey => Err(none()),
        PrincipalKind::ApiKey
        | PrincipalKind::RegistryCredential
        | PrincipalKind::ExchangedIdentity => principal.workspace().ok_or_else(none),
        PrincipalKind::PullSecret => principal.workspace().ok_or_else(|| {
            String::from(
                "a pull secret of all workspaces pulls images by their names and lists none",
            )
        }),
    }
}

fn noun(principal: &Principal) -> &'static str {
    match principal.kind() {
        PrincipalKind::OperatorKey | PrincipalKind::ApiKey => "key",
        PrincipalKind::RegistryCredential | PrincipalKind::ExchangedIdentity => "credential",
        PrincipalKind::PullSecret => "pull secret",
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

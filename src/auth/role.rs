//! Roles, and the one table of what each may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::action::{Action, ActionSet};
use crate::grammar::{documented, word};

/// What a key is for. Ordered by power within a workspace up to `Admin`; the last two stand beside that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Lists and pulls.
    Viewer,
    /// Also pushes and leases: for CI.
    Builder,
    /// Also deletes and restores.
    Developer,
    /// Also settings, shares, keys and purges.
    Admin,
    /// The installation: accounts, workspaces, quotas. It neither pulls nor pushes.
    Operator,
    /// Pulls, and nothing else: what nodes hold.
    Puller,
}

/// A right in the management API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// See the workspace and what is in it.
    Read,
    /// Lease images.
    Lease,
    /// Delete, restore, move tags.
    Change,
    /// Image settings, shares, keys, display name, retention, purge, audit.
    Administer,
    /// Accounts, workspaces, quotas, namespaces.
    Operate,
}

impl Right {
    /// All rights.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Lease,
        Self::Change,
        Self::Administer,
        Self::Operate,
    ];
}

const PULL: ActionSet = ActionSet::of(&[Action::Pull]);
const PULL_PUSH: ActionSet = ActionSet::of(&[Action::Pull, Action::Push]);

impl Role {
    /// All roles.
    pub const ALL: [Self; 6] = [
        Self::Viewer,
        Self::Builder,
        Self::Developer,
        Self::Admin,
        Self::Operator,
        Self::Puller,
    ];

    /// The table: what a role may do in the registry, and in the management API.
    const fn rights(self) -> (ActionSet, &'static [Right]) {
        match self {
            Self::Viewer => (PULL, &[Right::Read]),
            Self::Builder => (PULL_PUSH, &[Right::Read, Right::Lease]),
            Self::Developer => (ActionSet::ALL, &[Right::Read, Right::Lease, Right::Change]),
            Self::Admin => (
                ActionSet::ALL,
                &[Right::Read, Right::Lease, Right::Change, Right::Administer],
            ),
            Self::Operator => (ActionSet::EMPTY, &Right::ALL),
            Self::Puller => (PULL, &[]),
        }
    }

    /// What it may do to repositories.
    #[must_use]
    pub const fn actions(self) -> ActionSet {
        self.rights().0
    }

    /// Whether it has a right in the management API.
    #[must_use]
    pub fn may(self, right: Right) -> bool {
        self.rights().1.contains(&right)
    }

    /// Whether a key of this role may make a key of `other`.
    #[must_use]
    pub fn may_hand_out(self, other: Self) -> bool {
        other.is_of_a_workspace() && self.may(Right::Administer)
    }

    /// Whether API keys of a workspace may have it.
    const fn is_of_a_workspace(self) -> bool {
        match self {
            Self::Viewer | Self::Builder | Self::Developer | Self::Admin => true,
            Self::Operator | Self::Puller => false,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Builder => "builder",
            Self::Developer => "developer",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Puller => "puller",
        }
    }

    /// The least role of a workspace that may do `action`: what to ask an admin for.
    #[must_use]
    pub const fn least_for(action: Action) -> Self {
        match action {
            Action::Pull => Self::Viewer,
            Action::Push => Self::Builder,
            Action::Delete => Self::Developer,
        }
    }
}

documented!(
    Role,
    word("What a key is for.", Role::ALL.map(Role::as_str))
);

pub(crate) enum WorkspaceRole {}
documented!(
    WorkspaceRole,
    word(
        "What an API key of a workspace is for.",
        Role::ALL
            .into_iter()
            .filter(|role| role.is_of_a_workspace())
            .map(Role::as_str)
    )
);

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of viewer, builder, developer and admin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(UnknownRole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table again, as API.md tells it: a change of one without the other must be meant.
    #[test]
    fn each_role_may_do_what_the_contract_says() {
        let table: Vec<String> = Role::ALL
            .into_iter()
            .map(|role| {
                let rights: Vec<String> = Right::ALL
                    .into_iter()
                    .filter(|right| role.may(*right))
                    .map(|right| format!("{right:?}"))
                    .collect();
                format!("{role}: {} / {}", role.actions(), rights.join(" "))
            })
            .collect();
        assert_eq!(
            table,
            [
                "viewer: pull / Read",
                "builder: pull,push / Read Lease",
                "developer: pull,push,delete / Read Lease Change",
                "admin: pull,push,delete / Read Lease Change Administer",
                "operator:  / Read Lease Change Administer Operate",
                "puller: pull / ",
            ]
        );
    }

    #[test]
    fn only_admins_and_operators_hand_out_roles_and_only_those_of_a_workspace() {
        for giver in Role::ALL {
            for given in Role::ALL {
                let expected = matches!(giver, Role::Admin | Role::Operator)
                    && matches!(
                        given,
                        Role::Viewer | Role::Builder | Role::Developer | Role::Admin
                    );
                assert_eq!(giver.may_hand_out(given), expected, "{giver} gives {given}");
            }
        }
    }

    #[test]
    fn the_least_role_for_an_action_has_it() {
        for action in Action::ALL {
            assert!(Role::least_for(action).actions().contains(action));
        }
    }
}

//! Accounts: for operators alone.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::names::{Name, check_name};
use super::{Listed, Tenancy, require, taken, unknown};
use crate::audit;
use crate::auth::{Principal, RequestError, Right};
use crate::grammar::{Id, Time};
use crate::metadata::Account;

/// A request for an account.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateAccount {
    /// Its name.
    #[schema(value_type = Name)]
    pub name: String,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountView {
    /// Its id.
    #[schema(value_type = Id)]
    pub id: String,
    /// Its name.
    #[schema(value_type = Name)]
    pub name: String,
    /// When it was made.
    #[schema(value_type = Time)]
    pub created_at: String,
}

impl From<&Account> for AccountView {
    fn from(account: &Account) -> Self {
        Self {
            id: account.id.clone(),
            name: account.name.clone(),
            created_at: account.created_at.rfc3339(),
        }
    }
}

impl Tenancy {
    /// Makes an account.
    pub async fn create_account(
        &self,
        principal: &Principal,
        request: &CreateAccount,
    ) -> Result<AccountView, RequestError> {
        require(principal, Right::Operate)?;
        check_name("name", &request.name)?;
        let account = Account {
            id: Uuid::new_v4().to_string(),
            name: request.name.clone(),
            created_at: self.clock.now(),
        };
        let message = || format!("there is an account \"{}\" already", request.name);
        let mut change = self.metadata.begin().await?;
        change
            .insert_account(&account)
            .await
            .map_err(|error| taken(error, message))?;
        let now = account.created_at;
        let event = audit::done(principal, None, "account.create", &account.name, now);
        change.audit(&event).await?;
        change.commit().await?;
        Ok(AccountView::from(&account))
    }

    /// Accounts by name, after `last`.
    pub async fn accounts(
        &self,
        principal: &Principal,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<AccountView>, RequestError> {
        require(principal, Right::Operate)?;
        let rows = self
            .metadata
            .accounts(last.unwrap_or_default(), limit.saturating_add(1))
            .await?;
        Ok(Listed::cut(
            rows,
            limit,
            |account| &account.name,
            |account| AccountView::from(account),
        ))
    }

    /// One account.
    pub async fn account(
        &self,
        principal: &Principal,
        name: &str,
    ) -> Result<AccountView, RequestError> {
        require(principal, Right::Operate)?;
        let account = self.metadata.account(name).await?;
        account
            .as_ref()
            .map(AccountView::from)
            .ok_or_else(|| unknown("account", name))
    }

    /// Ends an account that has no workspaces.
    pub async fn delete_account(
        &self,
        principal: &Principal,
        name: &str,
    ) -> Result<(), RequestError> {
        require(principal, Right::Operate)?;
        let mut change = self.metadata.begin().await?;
        let account = change.account(name).await?;
        let account = account.ok_or_else(|| unknown("account", name))?;
        // The row is taken first, so that a workspace that is being made for it either counts or fails.
        let now = self.clock.now();
        change.delete_account(&account.id, now).await?;
        let workspaces = change.count_workspaces(&account.id).await?;
        if workspaces > 0 {
            return Err(RequestError::Conflict(format!(
                "the account \"{name}\" has workspaces ({workspaces}): delete them first"
            )));
        }
        let event = audit::done(principal, None, "account.delete", &account.name, now);
        change.audit(&event).await?;
        Ok(change.commit().await?)
    }
}

//! Workspaces: made and ended by operators, seen by their members, set up by their admins.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::names::{
    Label, Name, Namespace, TeamId, TeamKey, check_label, check_name, check_namespace,
    check_team_id, check_team_key, random_team_key, team_key_of,
};
use super::{Listed, Tenancy, require, taken, unknown};
use crate::audit;
use crate::auth::{Principal, RequestError, Right, WholeNumber};
use crate::grammar::{Id, Time};
use crate::metadata::{NewWorkspace, Transaction, Workspace, WorkspaceSettings};

/// How often a random team key is drawn before giving up.
const TEAM_KEY_DRAWS: usize = 8;
/// The longest retention, in days: a hundred years.
const MAX_RETENTION_DAYS: u64 = 36_500;
/// The largest quota: what the database can count.
const MAX_QUOTA_BYTES: u64 = i64::MAX.unsigned_abs();

type Quota = WholeNumber<1, MAX_QUOTA_BYTES>;
type RetentionDays = WholeNumber<1, MAX_RETENTION_DAYS>;

/// A request for a workspace. At most one of `teamId`, `teamKey` and `namespace`; a random team key without any.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({
    "name": "shop", "account": "acme", "teamKey": "shop", "displayName": "The shop"
})))]
pub struct CreateWorkspace {
    /// Its name.
    #[schema(value_type = Name)]
    pub name: String,
    /// The name of the account that owns it.
    #[schema(value_type = Name)]
    pub account: String,
    /// The id of the team elsewhere; the team key is derived from it.
    #[schema(value_type = Option<TeamId>)]
    pub team_id: Option<String>,
    /// The team key itself.
    #[schema(value_type = Option<TeamKey>)]
    pub team_key: Option<String>,
    /// A reserved first component in place of `t-<team key>`.
    #[schema(value_type = Option<Namespace>)]
    pub namespace: Option<String>,
    /// What people call it.
    #[schema(value_type = Option<Label>)]
    pub display_name: Option<String>,
    /// How much it may store.
    #[schema(inline)]
    pub quota_bytes: Option<Quota>,
}

/// A change of a workspace. What is left out stays; `null` takes away.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({"displayName": "The shop", "untaggedRetentionDays": 30})))]
pub struct UpdateWorkspace {
    /// What people call it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Label>)]
    pub display_name: Option<Option<String>>,
    /// After how many days untagged manifests go; `null` keeps them.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<RetentionDays>, inline)]
    pub untagged_retention_days: Option<Option<RetentionDays>>,
    /// How much it may store; for operators.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Quota>, inline)]
    pub quota_bytes: Option<Option<Quota>>,
}

impl UpdateWorkspace {
    /// The names of the settings that it has something to say about.
    fn changed(&self) -> Vec<&'static str> {
        let named = [
            ("displayName", self.display_name.is_some()),
            (
                "untaggedRetentionDays",
                self.untagged_retention_days.is_some(),
            ),
            ("quotaBytes", self.quota_bytes.is_some()),
        ];
        let changed = named.into_iter().filter(|(_, is_named)| *is_named);
        changed.map(|(name, _)| name).collect()
    }
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceView {
    /// Its id.
    #[schema(value_type = Id)]
    pub id: String,
    /// Its name.
    #[schema(value_type = Name)]
    pub name: String,
    /// The name of its account.
    #[schema(value_type = Name)]
    pub account: String,
    /// The id of its account.
    #[schema(value_type = Id)]
    pub account_id: String,
    /// Its team key.
    #[schema(value_type = Option<TeamKey>, required)]
    pub team_key: Option<String>,
    /// What its repositories begin with, slash included.
    #[schema(examples("t-6a1ba868/"))]
    pub repository_prefix: String,
    /// What people call it.
    #[schema(value_type = Option<Label>, required)]
    pub display_name: Option<String>,
    /// How much it may store.
    #[schema(required, examples(10_737_418_240_u64))]
    pub quota_bytes: Option<u64>,
    /// After how many days untagged manifests go.
    #[schema(required, examples(30))]
    pub untagged_retention_days: Option<u32>,
    /// When it was made.
    #[schema(value_type = Time)]
    pub created_at: String,
}

impl From<&Workspace> for WorkspaceView {
    fn from(workspace: &Workspace) -> Self {
        Self {
            id: workspace.id.clone(),
            name: workspace.name.clone(),
            account: workspace.account.clone(),
            account_id: workspace.account_id.clone(),
            team_key: workspace.team_key.clone(),
            repository_prefix: format!("{}/", workspace.prefix),
            display_name: workspace.display_name.clone(),
            quota_bytes: workspace.quota_bytes,
            untagged_retention_days: workspace.untagged_retention_days,
            created_at: workspace.created_at.rfc3339(),
        }
    }
}

/// What the repositories of a new workspace will begin with.
pub(super) struct Prefix {
    pub(super) prefix: String,
    pub(super) team_key: Option<String>,
    pub(super) namespace: Option<String>,
}

impl Prefix {
    pub(super) fn of_team(key: String) -> Self {
        Self {
            prefix: format!("t-{key}"),
            team_key: Some(key),
            namespace: None,
        }
    }

    fn of_namespace(namespace: &str) -> Self {
        Self {
            prefix: namespace.to_owned(),
            team_key: None,
            namespace: Some(namespace.to_owned()),
        }
    }
}

impl Tenancy {
    /// Makes a workspace.
    pub async fn create_workspace(
        &self,
        principal: &Principal,
        request: &CreateWorkspace,
    ) -> Result<WorkspaceView, RequestError> {
        require(principal, Right::Operate)?;
        check(request)?;
        let mut change = self.metadata.begin().await?;
        let account = change.account(&request.account).await?;
        let account = account.ok_or_else(|| {
            RequestError::BadRequest(format!(
                "account: there is no account \"{}\"",
                request.account
            ))
        })?;
        let name_taken = || format!("there is a workspace \"{}\" already", request.name);
        if change.workspace_by_name(&request.name).await?.is_some() {
            return Err(RequestError::Conflict(name_taken()));
        }
        let prefix = free_prefix(&mut change, request).await?;
        let workspace = NewWorkspace {
            id: Uuid::new_v4().to_string(),
            name: request.name.clone(),
            account_id: account.id,
            prefix: prefix.prefix,
            team_key: prefix.team_key,
            namespace: prefix.namespace,
            display_name: request.display_name.clone(),
            quota_bytes: request.quota_bytes.map(WholeNumber::get),
            created_at: self.clock.now(),
        };
        let raced = || String::from("the name or the prefix was taken in this moment");
        change
            .insert_workspace(&workspace)
            .await
            .map_err(|error| taken(error, raced))?;
        let made = change.workspace(&workspace.id).await?;
        let (id, now) = (Some(workspace.id.as_str()), workspace.created_at);
        let event = audit::done(principal, id, "workspace.create", &workspace.name, now);
        change.audit(&event).await?;
        change.commit().await?;
        made.as_deref().map(WorkspaceView::from).ok_or_else(|| {
            RequestError::Internal(String::from("a workspace that was just made is not there"))
        })
    }

    /// All workspaces by name after `last` to an operator, and to others their own.
    pub async fn workspaces(
        &self,
        principal: &Principal,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Listed<WorkspaceView>, RequestError> {
        require(principal, Right::Read)?;
        let last = last.unwrap_or_default();
        let rows = match principal.workspace() {
            None => {
                self.metadata
                    .workspaces(last, limit.saturating_add(1))
                    .await?
            }
            // By the principal's own knowledge of it, its settings may be those of a few seconds ago.
            Some(own) if own.name.as_str() > last => {
                let own = self.metadata.workspace_by_name(&own.name).await?;
                own.into_iter().collect()
            }
            Some(_) => Vec::new(),
        };
        Ok(Listed::cut(
            rows,
            limit,
            |row| &row.name,
            |row| WorkspaceView::from(&**row),
        ))
    }

    /// One workspace.
    pub async fn workspace(
        &self,
        principal: &Principal,
        name: &str,
    ) -> Result<WorkspaceView, RequestError> {
        require(principal, Right::Read)?;
        let found = self.find(principal, name).await?;
        let workspace = self.metadata.workspace_by_name(&found.name).await?;
        let workspace = workspace.ok_or_else(|| unknown("workspace", name))?;
        Ok(WorkspaceView::from(&*workspace))
    }

    /// Changes the settings of a workspace.
    pub async fn update_workspace(
        &self,
        principal: &Principal,
        name: &str,
        request: &UpdateWorkspace,
    ) -> Result<WorkspaceView, RequestError> {
        let workspace = self.find(principal, name).await?;
        require(principal, Right::Administer)?;
        if request.quota_bytes.is_some() {
            require(principal, Right::Operate)?;
        }
        if let Some(Some(label)) = &request.display_name {
            check_label("displayName", label)?;
        }
        let mut change = self.metadata.begin().await?;
        let current = change
            .workspace(&workspace.id)
            .await?
            .ok_or_else(|| unknown("workspace", name))?;
        let settings = WorkspaceSettings {
            display_name: request
                .display_name
                .clone()
                .unwrap_or_else(|| current.display_name.clone()),
            quota_bytes: match request.quota_bytes {
                Some(quota) => quota.map(WholeNumber::get),
                None => current.quota_bytes,
            },
            untagged_retention_days: match request.untagged_retention_days {
                Some(days) => days.and_then(|days| u32::try_from(days.get()).ok()),
                None => current.untagged_retention_days,
            },
        };
        change.update_workspace(&current, &settings).await?;
        let (id, now) = (Some(current.id.as_str()), self.clock.now());
        let event = audit::done(principal, id, "workspace.update", &current.name, now);
        let event = event.because(&request.changed().join(", "));
        change.audit(&event).await?;
        change.commit().await?;
        Ok(WorkspaceView {
            display_name: settings.display_name,
            quota_bytes: settings.quota_bytes,
            untagged_retention_days: settings.untagged_retention_days,
            ..WorkspaceView::from(&*current)
        })
    }

    /// Ends a workspace that has no images, and its keys with it. Its prefix is never given again.
    pub async fn delete_workspace(
        &self,
        principal: &Principal,
        name: &str,
    ) -> Result<(), RequestError> {
        let found = self.find(principal, name).await?;
        require(principal, Right::Operate)?;
        let mut change = self.metadata.begin().await?;
        let workspace = change
            .workspace(&found.id)
            .await?
            .ok_or_else(|| unknown("workspace", name))?;
        // The row is taken first, so that the count sees every push that was there before.
        let now = self.clock.now();
        change.delete_workspace(&workspace, now).await?;
        let images = change.count_images(&workspace.id).await?;
        if images > 0 {
            return Err(RequestError::Conflict(format!(
                "the workspace \"{name}\" has images ({images}): delete them first"
            )));
        }
        // Without images it shares none; what others shared with it ends here.
        change.end_shares_to(&workspace.id).await?;
        // Nobody could end its leases any more.
        change.end_leases_of(&workspace.id).await?;
        let id = Some(workspace.id.as_str());
        let event = audit::done(principal, id, "workspace.delete", &workspace.name, now);
        change.audit(&event).await?;
        Ok(change.commit().await?)
    }
}

fn check(request: &CreateWorkspace) -> Result<(), RequestError> {
    check_name("name", &request.name)?;
    check_name("account", &request.account)?;
    if let Some(label) = &request.display_name {
        check_label("displayName", label)?;
    }
    match (&request.team_id, &request.team_key, &request.namespace) {
        (None, None, None) => Ok(()),
        (Some(id), None, None) => check_team_id(id),
        (None, Some(key), None) => check_team_key(key),
        (None, None, Some(namespace)) => check_namespace(namespace),
        _ => Err(RequestError::BadRequest(String::from(
            "give at most one of teamId, teamKey and namespace: each decides the prefix",
        ))),
    }
}

/// The prefix that was asked for, or a random one; never one that any workspace ever had.
async fn free_prefix(
    change: &mut Transaction,
    request: &CreateWorkspace,
) -> Result<Prefix, RequestError> {
    let (prefix, hint) = match (&request.team_id, &request.team_key, &request.namespace) {
        (Some(id), _, _) => (
            Prefix::of_team(team_key_of(id)),
            ", which teamId gives: give a teamKey of your own",
        ),
        (None, Some(key), _) => (Prefix::of_team(key.clone()), ""),
        (None, None, Some(namespace)) => (Prefix::of_namespace(namespace), ""),
        (None, None, None) => {
            for _ in 0..TEAM_KEY_DRAWS {
                let prefix = Prefix::of_team(random_team_key()?);
                if !change.prefix_taken(&prefix.prefix).await? {
                    return Ok(prefix);
                }
            }
            return Err(RequestError::Internal(String::from(
                "no free team key was drawn",
            )));
        }
    };
    if change.prefix_taken(&prefix.prefix).await? {
        return Err(RequestError::Conflict(format!(
            "the prefix {}/ belongs, or once belonged, to another workspace{hint}",
            prefix.prefix
        )));
    }
    Ok(prefix)
}

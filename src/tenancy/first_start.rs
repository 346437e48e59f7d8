//! The first start: an operator key, and an account and workspace `main` with an admin key, so that there is something
//! to begin with and no default secret.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Tenancy;
use super::workspaces::Prefix;
use crate::auth::{ApiKeySecret, NoRandomness, Role, write_secret_file};
use crate::clock::Millis;
use crate::metadata::{Account, MetadataError, NewApiKey, NewWorkspace, Transaction};

/// What the first account, workspace and team key are called.
const MAIN: &str = "main";
/// Who made what nobody asked for.
const MADE_BY: &str = "first start";
/// How often to look again when another replica starts in the same moment.
const ATTEMPTS: usize = 3;

/// What the first start made. No `Debug`: it holds secrets.
pub struct FirstStart {
    /// The operator key.
    pub operator_key: ApiKeySecret,
    /// The file that holds it.
    pub operator_key_file: PathBuf,
    /// The admin key of the workspace `main`, and its file; none when there were accounts already.
    pub main_key: Option<(ApiKeySecret, PathBuf)>,
}

/// Why the first start did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// A key could not be written to its file; nothing was made.
    #[error("the key file {} cannot be written", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No secret could be made.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The database failed.
    #[error("the keys could not be made")]
    Metadata(#[from] MetadataError),
}

impl Tenancy {
    /// Makes what an empty installation needs; nothing if there is an operator key.
    ///
    /// The files are written before the rows commit: a crash in between leaves files that open nothing, which the next
    /// start replaces, and never a key that nobody knows.
    pub async fn first_start(
        &self,
        data_dir: &Path,
    ) -> Result<Option<FirstStart>, FirstStartError> {
        let mut attempt = 1;
        loop {
            match self.try_first_start(data_dir).await {
                Err(FirstStartError::Metadata(error))
                    if error.is_conflict() && attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn try_first_start(
        &self,
        data_dir: &Path,
    ) -> Result<Option<FirstStart>, FirstStartError> {
        let mut change = self.metadata.begin().await?;
        if change.any_operator_key().await? {
            return Ok(None);
        }
        let now = self.clock.now();
        let main_key = if change.any_account().await? {
            None
        } else {
            let workspace_id = make_main(&mut change, now).await?;
            let key = make_key(&mut change, Some(workspace_id), Role::Admin, MADE_BY, now).await?;
            Some((key, data_dir.join("main.key")))
        };
        let operator_key = make_key(&mut change, None, Role::Operator, MADE_BY, now).await?;
        let operator_key_file = data_dir.join("operator.key");
        write(&operator_key_file, &operator_key)?;
        if let Some((key, path)) = &main_key {
            write(path, key)?;
        }
        change.commit().await?;
        Ok(Some(FirstStart {
            operator_key,
            operator_key_file,
            main_key,
        }))
    }
}

async fn make_main(change: &mut Transaction, now: Millis) -> Result<String, MetadataError> {
    let account = Account {
        id: Uuid::new_v4().to_string(),
        name: MAIN.to_owned(),
        created_at: now,
    };
    change.insert_account(&account).await?;
    let prefix = Prefix::of_team(MAIN.to_owned());
    let workspace = NewWorkspace {
        id: Uuid::new_v4().to_string(),
        name: MAIN.to_owned(),
        account_id: account.id,
        prefix: prefix.prefix,
        team_key: prefix.team_key,
        namespace: prefix.namespace,
        display_name: None,
        quota_bytes: None,
        created_at: now,
    };
    change.insert_workspace(&workspace).await?;
    Ok(workspace.id)
}

/// A key that nobody asked for by the API: named after what made it.
pub(super) async fn make_key(
    change: &mut Transaction,
    workspace_id: Option<String>,
    role: Role,
    made_by: &str,
    now: Millis,
) -> Result<ApiKeySecret, FirstStartError> {
    let secret = ApiKeySecret::generate()?;
    let key = NewApiKey {
        id: Uuid::new_v4().to_string(),
        workspace_id,
        name: made_by.to_owned(),
        role: role.as_str().to_owned(),
        hash: secret.hash().as_str().to_owned(),
        repositories: None,
        actions: None,
        created_by: made_by.to_owned(),
        created_at: now,
        expires_at: None,
    };
    change.insert_api_key(&key).await?;
    Ok(secret)
}

pub(super) fn write(path: &Path, secret: &ApiKeySecret) -> Result<(), FirstStartError> {
    let content = format!("{}\n", secret.reveal());
    write_secret_file(path, content.as_bytes()).map_err(|source| FirstStartError::File {
        path: path.to_owned(),
        source,
    })
}

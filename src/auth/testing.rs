//! What tests of authorisation and tenancy share: an embedded database in a temporary folder, a clock that is moved by
//! hand, and callers.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Auth, AuthOptions, IssuedCredential, KeyLocation, Principal, RegistryHosts, RequestError,
    TokenAnswer, TokenCredentials, TokenRequest, basic_credentials,
};
use crate::clock::{Clock, Millis};
use crate::config::DatabaseLocation;
use crate::metadata::{Metadata, MetadataOptions};
use crate::tenancy::{CreateAccount, CreatedApiKey, Tenancy};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: Millis = Millis(1_767_225_600_000);

/// An empty database.
pub(crate) async fn metadata() -> (Metadata, Clock, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let options = MetadataOptions {
        location: DatabaseLocation::Sqlite(folder.path().join("berth.db")),
        max_connections: 2,
        acquire_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(5),
        memory_entries: 1_000,
        memory_bytes: 1_000_000,
    };
    let metadata = Metadata::open(&options, clock.clone()).await.unwrap();
    (metadata, clock, folder)
}

/// Options of an embedded installation in `folder`.
pub(crate) fn options(folder: &TempDir) -> AuthOptions {
    AuthOptions {
        service_name: String::from("berth"),
        credential_default_seconds: 3_600,
        credential_max_seconds: 12 * 3_600,
        access_token_seconds: 300,
        api_keys_as_passwords: true,
        token_cache_entries: 100,
        keys: KeyLocation::Files(folder.path().to_owned()),
    }
}

/// How the installation of tests is reached.
pub(crate) fn hosts() -> RegistryHosts {
    RegistryHosts {
        push: String::from("127.0.0.1:5000"),
        pull: Some(String::from("127.0.0.1:5001")),
        aliases: Vec::new(),
    }
}

/// A Basic header.
pub(crate) fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    )
}

/// A Bearer header.
pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// An installation after its first start: workspace `main`, and a workspace `other` in another account.
pub(crate) struct Installation {
    pub(crate) auth: Auth,
    pub(crate) tenancy: Tenancy,
    pub(crate) clock: Clock,
    pub(crate) operator_secret: String,
    pub(crate) main_secret: String,
    pub(crate) folder: TempDir,
}

impl Installation {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut AuthOptions)) -> Self {
        let (metadata, clock, folder) = metadata().await;
        let mut options = options(&folder);
        change(&mut options);
        let auth = Auth::open(options, metadata.clone(), clock.clone())
            .await
            .unwrap();
        let tenancy = Tenancy::new(metadata, clock.clone());
        let made = tenancy.first_start(folder.path()).await.unwrap().unwrap();
        let operator_secret = made.operator_key.reveal().to_owned();
        let main_secret = made.main_key.unwrap().0.reveal().to_owned();
        let installation = Self {
            auth,
            tenancy,
            clock,
            operator_secret,
            main_secret,
            folder,
        };
        let operator = installation.operator().await;
        let account = CreateAccount {
            name: String::from("other"),
        };
        installation
            .tenancy
            .create_account(&operator, &account)
            .await
            .unwrap();
        let workspace = json!({"name": "other", "account": "other", "teamKey": "other"});
        let workspace = serde_json::from_value(workspace).unwrap();
        installation
            .tenancy
            .create_workspace(&operator, &workspace)
            .await
            .unwrap();
        installation
    }

    pub(crate) async fn operator(&self) -> Arc<Principal> {
        self.auth
            .authenticate_api(Some(&bearer(&self.operator_secret)))
            .await
            .unwrap()
    }

    /// An admin of the workspace `other`.
    pub(crate) async fn other_admin(&self) -> Arc<Principal> {
        let operator = self.operator().await;
        let request = serde_json::from_value(json!({"name": "admin", "role": "admin"})).unwrap();
        let key = self
            .tenancy
            .create_api_key(&operator, "other", &request)
            .await
            .unwrap();
        self.auth
            .authenticate_api(Some(&bearer(&key.key)))
            .await
            .unwrap()
    }

    /// A new key of a role in `main`, with further fields of the request.
    pub(crate) async fn key(&self, role: &str, mut fields: Value) -> CreatedApiKey {
        fields["name"] = json!(format!("a {role}"));
        fields["role"] = json!(role);
        let request = serde_json::from_value(fields).unwrap();
        let operator = self.operator().await;
        self.tenancy
            .create_api_key(&operator, "main", &request)
            .await
            .unwrap()
    }

    pub(crate) async fn try_credential(
        &self,
        key: &str,
        request: Value,
    ) -> Result<IssuedCredential, RequestError> {
        let principal = self
            .auth
            .authenticate_api(Some(&bearer(key)))
            .await
            .unwrap();
        let workspace = Arc::clone(principal.workspace().unwrap());
        let request = serde_json::from_value(request).unwrap();
        self.auth
            .issue_credential(&principal, &workspace, &request, &hosts())
    }

    /// A registry credential of a key.
    pub(crate) async fn credential(&self, key: &str, request: Value) -> IssuedCredential {
        self.try_credential(key, request)
            .await
            .map_err(|error| error.to_string())
            .unwrap()
    }

    /// An access token for a Basic header.
    pub(crate) async fn token(&self, header: &str, scopes: &[&str]) -> TokenAnswer {
        let credentials = basic_credentials(Some(header))
            .unwrap()
            .map(TokenCredentials::Password);
        let scopes = scopes.iter().map(ToString::to_string).collect();
        let answer = self
            .auth
            .issue_access_token(&TokenRequest {
                credentials,
                scopes,
            })
            .await;
        answer.map_err(|error| error.to_string()).unwrap()
    }
}

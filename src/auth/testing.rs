//! What tests of authorisation and tenancy share: an embedded database in a temporary folder, a clock that is moved by
//! hand, and callers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    ApiKeySecret, Auth, AuthOptions, Federation, IssuedCredential, KeyLocation, Origin, Principal,
    RegistryHosts, RequestError, TokenAnswer, TokenCredentials, TokenRequest, basic_credentials,
};
use crate::clock::{Clock, Millis};
use crate::config::{Config, DatabaseLocation};
use crate::metadata::{Account, Metadata, MetadataOptions, NewApiKey, NewWorkspace};
use crate::telemetry::RequestId;

/// 2026-01-01T00:00:00Z.
pub(crate) const START: Millis = Millis(1_767_225_600_000);

/// An empty database.
pub(crate) async fn metadata() -> (Metadata, Clock, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let options = MetadataOptions {
        location: DatabaseLocation::Sqlite(folder.path().join("berth.db")),
        max_connections: 2,
        ..MetadataOptions::of(
            &Config::default(),
            crate::telemetry::DatabaseLatency::unseen(),
        )
    };
    let metadata = Metadata::open(&options).await.unwrap();
    (metadata, clock, folder)
}

/// Where the requests of tests come from.
pub(crate) static HERE: LazyLock<Origin> = LazyLock::new(|| Origin {
    address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    request_id: RequestId::fresh(),
});

/// Options of an embedded installation in `folder`.
pub(crate) fn options(folder: &TempDir) -> AuthOptions {
    AuthOptions {
        service_name: String::from("berth"),
        credential_default_seconds: 3_600,
        credential_max_seconds: 12 * 3_600,
        access_token_seconds: 300,
        api_keys_as_passwords: true,
        auth_failures_per_minute: 1_000,
        credentials_per_minute: 1_000,
        tokens_per_minute: 1_000,
        exchanges_per_minute: 1_000,
        token_cache_entries: 100,
        federation: Federation::default(),
        keys: KeyLocation::Files(folder.path().to_owned()),
        signing_key_rotation_seconds: 90 * 24 * 3_600,
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

/// An API key that a test made.
pub(crate) struct TestKey {
    pub(crate) id: String,
    pub(crate) key: String,
}

/// Workspaces `main` and `other`, an operator key, and an admin key of `main`.
pub(crate) struct Installation {
    pub(crate) auth: Auth,
    pub(crate) clock: Clock,
    pub(crate) operator_secret: String,
    pub(crate) main_secret: String,
    _folder: TempDir,
}

impl Installation {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut AuthOptions)) -> Self {
        let (metadata, clock, folder) = metadata().await;
        for name in ["main", "other"] {
            make_workspace(&metadata, name).await;
        }
        let mut options = options(&folder);
        change(&mut options);
        let auth = Auth::open(options, metadata, clock.clone()).await.unwrap();
        let operator_secret = make_key(&auth, None, "operator", &json!({})).await.key;
        let main_secret = make_key(&auth, Some("main"), "admin", &json!({})).await.key;
        Self {
            auth,
            clock,
            operator_secret,
            main_secret,
            _folder: folder,
        }
    }

    pub(crate) async fn operator(&self) -> Arc<Principal> {
        self.auth
            .authenticate_api(Some(&bearer(&self.operator_secret)), &HERE)
            .await
            .unwrap()
    }

    /// An admin of the workspace `other`.
    pub(crate) async fn other_admin(&self) -> Arc<Principal> {
        let key = make_key(&self.auth, Some("other"), "admin", &json!({})).await;
        self.auth
            .authenticate_api(Some(&bearer(&key.key)), &HERE)
            .await
            .unwrap()
    }

    /// A new key of a role in `main`, narrowed by `repositories`, `actions` and `expiresAt`.
    pub(crate) async fn key(&self, role: &str, limits: Value) -> TestKey {
        make_key(&self.auth, Some("main"), role, &limits).await
    }

    /// Ends a key of `main`.
    pub(crate) async fn delete_key(&self, id: &str) {
        let workspace = self
            .auth
            .metadata()
            .workspace_by_name("main")
            .await
            .unwrap()
            .unwrap();
        let mut change = self.auth.metadata().begin().await.unwrap();
        assert!(change.delete_api_key(&workspace.id, id).await.unwrap());
        change.commit().await.unwrap();
    }

    pub(crate) async fn try_credential(
        &self,
        key: &str,
        request: Value,
    ) -> Result<IssuedCredential, RequestError> {
        let principal = self
            .auth
            .authenticate_api(Some(&bearer(key)), &HERE)
            .await
            .unwrap();
        let workspace = Arc::clone(principal.workspace().unwrap());
        let request = serde_json::from_value(request)
            .map_err(|error| RequestError::BadRequest(error.to_string()))?;
        self.auth
            .issue_credential(&principal, &workspace, &request, &hosts())
            .await
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
                from: HERE.clone(),
                scopes,
            })
            .await;
        answer.map_err(|error| error.to_string()).unwrap()
    }
}

async fn make_workspace(metadata: &Metadata, name: &str) {
    let account = Account {
        id: format!("account-{name}"),
        name: name.to_owned(),
        created_at: START,
    };
    let workspace = NewWorkspace {
        id: format!("workspace-{name}"),
        name: name.to_owned(),
        account_id: account.id.clone(),
        prefix: format!("t-{name}"),
        team_key: Some(name.to_owned()),
        namespace: None,
        display_name: None,
        quota_bytes: None,
        created_at: START,
    };
    let mut change = metadata.begin().await.unwrap();
    change.insert_account(&account).await.unwrap();
    change.insert_workspace(&workspace).await.unwrap();
    change.commit().await.unwrap();
}

async fn make_key(auth: &Auth, workspace: Option<&str>, role: &str, limits: &Value) -> TestKey {
    let list = |field: &str| serde_json::from_value(limits[field].clone()).unwrap();
    let end = limits["expiresAt"].as_str();
    let secret = ApiKeySecret::generate().unwrap();
    let key = NewApiKey {
        id: uuid::Uuid::new_v4().to_string(),
        workspace_id: workspace.map(|name| format!("workspace-{name}")),
        name: format!("a {role}"),
        role: role.to_owned(),
        hash: secret.hash().as_str().to_owned(),
        repositories: list("repositories"),
        actions: list("actions"),
        created_by: String::from("a test"),
        created_at: START,
        expires_at: end.map(|end| Millis(end.parse::<jiff::Timestamp>().unwrap().as_millisecond())),
    };
    let mut change = auth.metadata().begin().await.unwrap();
    change.insert_api_key(&key).await.unwrap();
    change.commit().await.unwrap();
    TestKey {
        id: key.id,
        key: secret.reveal().to_owned(),
    }
}

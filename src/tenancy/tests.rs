//! Tenancy over a real embedded database: who may do what, and what is refused.

use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::auth::Auth;
use crate::auth::testing::{HERE, START, basic, bearer, metadata, options};

/// An installation after its first start, with a workspace `other` in another account.
struct Installation {
    auth: Auth,
    tenancy: Tenancy,
    operator_secret: String,
    main_secret: String,
    folder: TempDir,
}

impl Installation {
    async fn start() -> Self {
        let (metadata, clock, folder) = metadata().await;
        let auth = Auth::open(options(&folder), metadata.clone(), clock.clone())
            .await
            .unwrap();
        let tenancy = Tenancy::new(metadata, clock);
        let made = tenancy.first_start(folder.path()).await.unwrap().unwrap();
        let operator_secret = made.operator_key.reveal().to_owned();
        let main_secret = made.main_key.unwrap().0.reveal().to_owned();
        let installation = Self {
            auth,
            tenancy,
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

    async fn operator(&self) -> Arc<Principal> {
        self.auth
            .authenticate_api(Some(&bearer(&self.operator_secret)), &HERE)
            .await
            .unwrap()
    }

    /// An admin of the workspace `other`.
    async fn other_admin(&self) -> Arc<Principal> {
        let operator = self.operator().await;
        let request = serde_json::from_value(json!({"name": "admin", "role": "admin"})).unwrap();
        let key = self
            .tenancy
            .create_api_key(&operator, "other", &request)
            .await
            .unwrap();
        self.auth
            .authenticate_api(Some(&bearer(&key.key)), &HERE)
            .await
            .unwrap()
    }

    /// A new key of a role in `main`, with further fields of the request.
    async fn key(&self, role: &str, mut fields: Value) -> CreatedApiKey {
        fields["name"] = json!(format!("a {role}"));
        fields["role"] = json!(role);
        let request = serde_json::from_value(fields).unwrap();
        let operator = self.operator().await;
        self.tenancy
            .create_api_key(&operator, "main", &request)
            .await
            .unwrap()
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it ends what a call returned"
)]
fn code<T>(result: Result<T, RequestError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(RequestError::BadRequest(_)) => "bad_request",
        Err(RequestError::Unauthorized(_)) => "unauthorized",
        Err(RequestError::Forbidden(_)) => "forbidden",
        Err(RequestError::NotFound(_)) => "not_found",
        Err(RequestError::Conflict(_)) => "conflict",
        Err(RequestError::InUse(_)) => "in_use",
        Err(RequestError::Gone(_)) => "gone",
        Err(RequestError::Busy(_)) => "busy",
        Err(RequestError::PreconditionFailed(_)) => "precondition_failed",
        Err(RequestError::Throttled(_)) => "throttled",
        Err(RequestError::Metadata(_)) => "metadata",
        Err(RequestError::Broken(_) | RequestError::Internal(_)) => "internal",
    }
}

async fn create(
    installation: &Installation,
    by: &Principal,
    body: Value,
) -> Result<WorkspaceView, RequestError> {
    let request: CreateWorkspace = serde_json::from_value(body).unwrap();
    installation.tenancy.create_workspace(by, &request).await
}

async fn api_key(
    installation: &Installation,
    by: &Principal,
    workspace: &str,
    body: Value,
) -> Result<CreatedApiKey, RequestError> {
    let request: CreateApiKey = serde_json::from_value(body).unwrap();
    installation
        .tenancy
        .create_api_key(by, workspace, &request)
        .await
}

async fn caller(installation: &Installation, secret: &str) -> Arc<Principal> {
    installation
        .auth
        .authenticate_api(Some(&bearer(secret)), &HERE)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_first_start_makes_keys_once_and_writes_them_to_files() {
    let installation = Installation::start().await;
    let folder = installation.folder.path();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(
        read("operator.key"),
        format!("{}\n", installation.operator_secret)
    );
    assert_eq!(read("main.key"), format!("{}\n", installation.main_secret));
    assert!(
        installation
            .tenancy
            .first_start(folder)
            .await
            .unwrap()
            .is_none()
    );
    let admin = caller(&installation, &installation.main_secret).await;
    let whoami = serde_json::to_value(installation.tenancy.whoami(&admin)).unwrap();
    assert_eq!(whoami["kind"], "api_key");
    assert_eq!(whoami["role"], "admin");
    assert_eq!(whoami["workspace"], "main");
    assert_eq!(whoami["account"], "main");
    assert_eq!(whoami["repositoryPrefix"], "t-main/");
    let operator = installation.operator().await;
    let whoami = serde_json::to_value(installation.tenancy.whoami(&operator)).unwrap();
    assert_eq!(
        (&whoami["kind"], &whoami["workspace"]),
        (&json!("operator_key"), &Value::Null)
    );
}

#[tokio::test]
async fn a_first_start_that_cannot_write_its_files_makes_nothing() {
    let (metadata, clock, folder) = metadata().await;
    let tenancy = Tenancy::new(metadata, clock);
    let missing = folder.path().join("missing");
    let error = tenancy.first_start(&missing).await.err().unwrap();
    assert!(error.to_string().contains("operator.key"), "{error}");
    assert!(tenancy.first_start(folder.path()).await.unwrap().is_some());
}

#[tokio::test]
async fn accounts_are_for_operators() {
    let installation = Installation::start().await;
    let tenancy = &installation.tenancy;
    let operator = installation.operator().await;
    let admin = caller(&installation, &installation.main_secret).await;
    let request = CreateAccount {
        name: String::from("acme"),
    };
    assert_eq!(
        code(tenancy.create_account(&admin, &request).await),
        "forbidden"
    );
    assert_eq!(code(tenancy.accounts(&admin, None, 10).await), "forbidden");
    assert_eq!(code(tenancy.account(&admin, "main").await), "forbidden");
    assert_eq!(
        code(tenancy.delete_account(&admin, "main").await),
        "forbidden"
    );

    let made = tenancy.create_account(&operator, &request).await.unwrap();
    assert_eq!(
        code(tenancy.create_account(&operator, &request).await),
        "conflict"
    );
    assert_eq!(tenancy.account(&operator, "acme").await.unwrap(), made);
    let bad = CreateAccount {
        name: String::from("Not a name"),
    };
    assert_eq!(
        code(tenancy.create_account(&operator, &bad).await),
        "bad_request"
    );

    let first = tenancy.accounts(&operator, None, 2).await.unwrap();
    let names: Vec<&str> = first
        .items
        .iter()
        .map(|account| account.name.as_str())
        .collect();
    assert_eq!(
        (names.as_slice(), first.next.as_deref()),
        (["acme", "main"].as_slice(), Some("main"))
    );
    let second = tenancy
        .accounts(&operator, first.next.as_deref(), 2)
        .await
        .unwrap();
    assert_eq!((second.items.len(), second.next), (1, None));
}

#[tokio::test]
async fn an_account_ends_with_its_last_workspace_and_frees_its_name() {
    let installation = Installation::start().await;
    let tenancy = &installation.tenancy;
    let operator = installation.operator().await;
    assert_eq!(
        code(tenancy.delete_account(&operator, "other").await),
        "conflict"
    );
    tenancy.delete_workspace(&operator, "other").await.unwrap();
    let old = tenancy.account(&operator, "other").await.unwrap();
    tenancy.delete_account(&operator, "other").await.unwrap();
    assert_eq!(code(tenancy.account(&operator, "other").await), "not_found");
    assert_eq!(
        code(tenancy.delete_account(&operator, "other").await),
        "not_found"
    );
    assert_eq!(
        tenancy
            .accounts(&operator, None, 10)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let new = tenancy
        .create_account(
            &operator,
            &CreateAccount {
                name: String::from("other"),
            },
        )
        .await
        .unwrap();
    assert_ne!(new.id, old.id);
}

#[tokio::test]
async fn the_prefix_of_a_workspace_is_given_derived_or_drawn() {
    let installation = Installation::start().await;
    let operator = installation.operator().await;
    let made = create(
        &installation,
        &operator,
        json!({"name": "a", "account": "main", "teamId": "team-123"}),
    )
    .await
    .unwrap();
    assert_eq!(
        (made.team_key.as_deref(), made.repository_prefix.as_str()),
        (Some("6a1ba868"), "t-6a1ba868/")
    );
    let made = create(
        &installation,
        &operator,
        json!({"name": "b", "account": "main", "teamKey": "blue"}),
    )
    .await
    .unwrap();
    assert_eq!(made.repository_prefix, "t-blue/");
    let made = create(
        &installation,
        &operator,
        json!({"name": "c", "account": "main", "namespace": "platform"}),
    )
    .await
    .unwrap();
    assert_eq!(
        (made.team_key, made.repository_prefix.as_str()),
        (None, "platform/")
    );
    let made = create(
        &installation,
        &operator,
        json!({"name": "d", "account": "main", "displayName": "Team D"}),
    )
    .await
    .unwrap();
    assert_eq!(made.team_key.unwrap().len(), 8);
    assert_eq!(made.display_name.as_deref(), Some("Team D"));
    for (body, expected) in [
        (json!({"name": "a", "account": "main"}), "conflict"),
        (
            json!({"name": "e", "account": "main", "teamId": "team-123"}),
            "conflict",
        ),
        (
            json!({"name": "e", "account": "main", "teamKey": "blue"}),
            "conflict",
        ),
        (
            json!({"name": "e", "account": "main", "namespace": "platform"}),
            "conflict",
        ),
        (
            json!({"name": "e", "account": "main", "teamKey": "green", "teamId": "x"}),
            "bad_request",
        ),
        (
            json!({"name": "e", "account": "main", "teamKey": "green", "namespace": "x"}),
            "bad_request",
        ),
        (json!({"name": "e", "account": "nobody"}), "bad_request"),
        (json!({"name": "E", "account": "main"}), "bad_request"),
        (
            json!({"name": "e", "account": "main", "teamKey": "a-b-c"}),
            "bad_request",
        ),
        (
            json!({"name": "e", "account": "main", "namespace": "t-e"}),
            "bad_request",
        ),
        (
            json!({"name": "e", "account": "main", "teamId": ""}),
            "bad_request",
        ),
    ] {
        assert_eq!(
            code(create(&installation, &operator, body.clone()).await),
            expected,
            "{body}"
        );
    }
    let admin = caller(&installation, &installation.main_secret).await;
    assert_eq!(
        code(
            create(
                &installation,
                &admin,
                json!({"name": "e", "account": "main"})
            )
            .await
        ),
        "forbidden"
    );
}

#[tokio::test]
async fn a_deleted_workspace_takes_its_keys_and_never_gives_its_prefix_back() {
    let installation = Installation::start().await;
    let tenancy = &installation.tenancy;
    let operator = installation.operator().await;
    let key = api_key(
        &installation,
        &operator,
        "other",
        json!({"name": "k", "role": "developer"}),
    )
    .await
    .unwrap();
    assert!(
        installation
            .auth
            .authenticate_registry(Some(&basic("x", &key.key)), &HERE)
            .await
            .is_ok()
    );
    tenancy.delete_workspace(&operator, "other").await.unwrap();
    assert!(
        installation
            .auth
            .authenticate_registry(Some(&basic("x", &key.key)), &HERE)
            .await
            .is_err()
    );
    assert_eq!(
        code(tenancy.workspace(&operator, "other").await),
        "not_found"
    );
    assert_eq!(
        code(
            create(
                &installation,
                &operator,
                json!({"name": "other", "account": "other", "teamKey": "other"})
            )
            .await
        ),
        "conflict"
    );
    assert_eq!(
        code(
            create(
                &installation,
                &operator,
                json!({"name": "other", "account": "other", "teamKey": "other2"})
            )
            .await
        ),
        "ok"
    );
}

#[tokio::test]
async fn a_workspace_with_images_is_not_deleted() {
    let installation = Installation::start().await;
    let operator = installation.operator().await;
    let metadata = installation.auth.metadata();
    let workspace = metadata.workspace_by_name("other").await.unwrap().unwrap();
    let name = "t-other/app".parse().unwrap();
    let mut change = metadata.begin().await.unwrap();
    let repository = change
        .ensure_repository(&workspace.id, &name, START)
        .await
        .unwrap();
    change.commit().await.unwrap();
    let mut change = metadata.begin().await.unwrap();
    change.become_image(&repository, START).await.unwrap();
    change.commit().await.unwrap();
    assert_eq!(
        code(
            installation
                .tenancy
                .delete_workspace(&operator, "other")
                .await
        ),
        "conflict"
    );
    assert_eq!(
        code(installation.tenancy.workspace(&operator, "other").await),
        "ok",
        "the refusal changed nothing"
    );
}

#[tokio::test]
async fn members_see_and_set_up_their_own_workspace_only() {
    let installation = Installation::start().await;
    let tenancy = &installation.tenancy;
    let operator = installation.operator().await;
    let admin = caller(&installation, &installation.main_secret).await;
    let viewer = installation.key("viewer", json!({})).await;
    let viewer = caller(&installation, &viewer.key).await;
    for member in [&admin, &viewer] {
        assert_eq!(code(tenancy.workspace(member, "main").await), "ok");
        assert_eq!(code(tenancy.workspace(member, "other").await), "not_found");
        assert_eq!(code(tenancy.workspace(member, "nobody").await), "not_found");
        assert_eq!(
            tenancy
                .workspaces(member, None, 10)
                .await
                .unwrap()
                .items
                .len(),
            1
        );
        assert_eq!(
            tenancy
                .workspaces(member, Some("main"), 10)
                .await
                .unwrap()
                .items
                .len(),
            0
        );
        assert_eq!(
            code(tenancy.delete_workspace(member, "main").await),
            "forbidden"
        );
        assert_eq!(
            code(tenancy.delete_workspace(member, "other").await),
            "not_found"
        );
        assert_eq!(code(tenancy.acting_workspace(member, None).await), "ok");
        assert_eq!(
            code(tenancy.acting_workspace(member, Some("main")).await),
            "ok"
        );
        assert_eq!(
            code(tenancy.acting_workspace(member, Some("other")).await),
            "forbidden"
        );
        assert_eq!(
            code(tenancy.acting_workspace(member, Some("nobody")).await),
            "forbidden"
        );
    }
    assert_eq!(
        code(tenancy.acting_workspace(&operator, None).await),
        "bad_request"
    );
    assert_eq!(
        code(tenancy.acting_workspace(&operator, Some("other")).await),
        "ok"
    );
    assert_eq!(
        code(tenancy.acting_workspace(&operator, Some("nobody")).await),
        "not_found"
    );
    assert_eq!(
        tenancy
            .workspaces(&operator, None, 10)
            .await
            .unwrap()
            .items
            .len(),
        2
    );

    let update = |body: Value| serde_json::from_value::<UpdateWorkspace>(body).unwrap();
    let label = update(json!({"displayName": "Main", "untaggedRetentionDays": 30}));
    assert_eq!(
        code(tenancy.update_workspace(&viewer, "main", &label).await),
        "forbidden"
    );
    assert_eq!(
        code(tenancy.update_workspace(&admin, "other", &label).await),
        "not_found"
    );
    let changed = tenancy
        .update_workspace(&admin, "main", &label)
        .await
        .unwrap();
    assert_eq!(
        (
            changed.display_name.as_deref(),
            changed.untagged_retention_days
        ),
        (Some("Main"), Some(30))
    );
    let quota = update(json!({"quotaBytes": 1_000}));
    assert_eq!(
        code(tenancy.update_workspace(&admin, "main", &quota).await),
        "forbidden"
    );
    tenancy
        .update_workspace(&operator, "main", &quota)
        .await
        .unwrap();
    let keep = update(json!({"untaggedRetentionDays": null}));
    tenancy
        .update_workspace(&admin, "main", &keep)
        .await
        .unwrap();
    // As the next request sees it.
    let admin = caller(&installation, &installation.main_secret).await;
    let shown = tenancy.workspace(&admin, "main").await.unwrap();
    assert_eq!(
        (
            shown.display_name.as_deref(),
            shown.untagged_retention_days,
            shown.quota_bytes
        ),
        (Some("Main"), None, Some(1_000))
    );
    for bad in [json!({"displayName": ""}), json!({"displayName": "a\nb"})] {
        assert_eq!(
            code(tenancy.update_workspace(&admin, "main", &update(bad)).await),
            "bad_request"
        );
    }
}

#[tokio::test]
async fn admins_make_keys_of_their_workspace_and_see_no_secret_again() {
    let installation = Installation::start().await;
    let tenancy = &installation.tenancy;
    let admin = caller(&installation, &installation.main_secret).await;
    let made = api_key(
        &installation,
        &admin,
        "main",
        json!({"name": "ci", "role": "builder"}),
    )
    .await
    .unwrap();
    assert!(made.key.starts_with("berth_"));
    let listed = tenancy.api_keys(&admin, "main", None, 100).await.unwrap();
    assert!(listed.items.contains(&made.view));
    assert!(!serde_json::to_string(&listed).unwrap().contains(&made.key));
    let page = tenancy.api_keys(&admin, "main", None, 1).await.unwrap();
    assert!(page.next.is_some());

    let developer = installation.key("developer", json!({})).await;
    let developer = caller(&installation, &developer.key).await;
    assert_eq!(
        code(tenancy.api_keys(&developer, "main", None, 10).await),
        "forbidden"
    );
    assert_eq!(
        code(
            tenancy
                .delete_api_key(&developer, "main", &made.view.id)
                .await
        ),
        "forbidden"
    );
    let body = json!({"name": "x", "role": "viewer"});
    assert_eq!(
        code(api_key(&installation, &developer, "main", body.clone()).await),
        "forbidden"
    );
    assert_eq!(
        code(api_key(&installation, &admin, "other", body).await),
        "not_found"
    );
    let foreigner = installation.other_admin().await;
    assert_eq!(
        code(
            tenancy
                .delete_api_key(&foreigner, "main", &made.view.id)
                .await
        ),
        "not_found"
    );
    assert_eq!(
        code(
            tenancy
                .delete_api_key(&foreigner, "other", &made.view.id)
                .await
        ),
        "not_found"
    );
    assert_eq!(
        code(tenancy.delete_api_key(&admin, "main", &made.view.id).await),
        "ok"
    );
    assert_eq!(
        code(tenancy.delete_api_key(&admin, "main", &made.view.id).await),
        "not_found"
    );

    let operator = installation.operator().await;
    for (body, by_admin, by_operator) in [
        (
            json!({"name": "x", "role": "operator"}),
            "forbidden",
            "bad_request",
        ),
        (
            json!({"name": "x", "role": "puller"}),
            "forbidden",
            "bad_request",
        ),
        (
            json!({"name": "x", "role": "owner"}),
            "bad_request",
            "bad_request",
        ),
        (
            json!({"name": "", "role": "viewer"}),
            "bad_request",
            "bad_request",
        ),
        (
            json!({"name": "x", "role": "viewer", "actions": ["push"]}),
            "bad_request",
            "bad_request",
        ),
        (
            json!({"name": "x", "role": "viewer", "actions": []}),
            "bad_request",
            "bad_request",
        ),
        (
            json!({"name": "x", "role": "viewer", "repositories": []}),
            "bad_request",
            "bad_request",
        ),
        (
            json!({"name": "x", "role": "viewer", "repositories": ["{a,b}"]}),
            "bad_request",
            "bad_request",
        ),
        (
            json!({"name": "x", "role": "viewer", "expiresAt": "tomorrow"}),
            "bad_request",
            "bad_request",
        ),
        (
            json!({"name": "x", "role": "viewer", "expiresAt": START.rfc3339()}),
            "bad_request",
            "bad_request",
        ),
        (json!({"name": "x", "role": "admin"}), "ok", "ok"),
    ] {
        assert_eq!(
            code(api_key(&installation, &admin, "main", body.clone()).await),
            by_admin,
            "{body}"
        );
        assert_eq!(
            code(api_key(&installation, &operator, "main", body.clone()).await),
            by_operator,
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_key_never_makes_a_wider_or_longer_one() {
    let installation = Installation::start().await;
    let end = START.plus(3_600_000).rfc3339();
    let later = START.plus(3_600_001).rfc3339();
    let narrow = json!({"repositories": ["team/*"], "actions": ["pull", "push"], "expiresAt": end});
    let key = installation.key("admin", narrow).await;
    let admin = caller(&installation, &key.key).await;
    let with = |fields: Value| {
        let mut body = json!({
            "name": "x", "role": "builder", "repositories": ["team/app"], "actions": ["pull"], "expiresAt": end,
        });
        for (field, value) in fields.as_object().unwrap() {
            body[field] = value.clone();
        }
        body
    };
    for (fields, expected) in [
        (json!({}), "ok"),
        (json!({"repositories": ["team/*"]}), "ok"),
        (json!({"actions": null}), "ok"),
        (json!({"role": "developer", "actions": null}), "forbidden"),
        (
            json!({"role": "developer", "actions": ["delete"]}),
            "forbidden",
        ),
        (json!({"repositories": null}), "forbidden"),
        (json!({"repositories": ["team/**"]}), "forbidden"),
        (json!({"repositories": ["team/app", "other"]}), "forbidden"),
        (json!({"expiresAt": null}), "forbidden"),
        (json!({"expiresAt": later}), "forbidden"),
    ] {
        assert_eq!(
            code(api_key(&installation, &admin, "main", with(fields.clone())).await),
            expected,
            "{fields}"
        );
    }
}

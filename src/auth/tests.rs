//! Authorisation as a whole, over a real embedded database: who gets in, with what, and until when.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::keys::SigningKey;
use super::testing::{HERE, Installation, START, basic, bearer};
use super::*;

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn message<T: std::fmt::Debug, E: std::error::Error>(result: Result<T, E>) -> String {
    result.unwrap_err().to_string()
}

async fn grants(installation: &Installation, header: &str, repository: &str) -> ActionSet {
    let caller = installation
        .auth
        .authenticate_registry(Some(header), &HERE)
        .await
        .unwrap();
    let repository = name(repository);
    let auth = &installation.auth;
    let mut actions = ActionSet::EMPTY;
    if auth.grant::<Pull>(&caller, &repository).await.is_ok() {
        actions = actions.union(ActionSet::of(&[Action::Pull]));
    }
    if auth.grant::<Push>(&caller, &repository).await.is_ok() {
        actions = actions.union(ActionSet::of(&[Action::Push]));
    }
    if auth.grant::<Delete>(&caller, &repository).await.is_ok() {
        actions = actions.union(ActionSet::of(&[Action::Delete]));
    }
    actions
}

mod who_gets_in {
    use super::*;

    #[tokio::test]
    async fn nobody_is_anonymous_and_is_challenged_with_the_scope() {
        let installation = Installation::start().await;
        let caller = installation
            .auth
            .authenticate_registry(None, &HERE)
            .await
            .unwrap();
        assert!(matches!(caller, Caller::Anonymous));
        assert!(installation.auth.grant_base(&caller).is_err());
        let refusal = installation
            .auth
            .grant::<Push>(&caller, &name("t-main/app"))
            .await
            .unwrap_err();
        let Refusal::Challenge {
            error: None, scope, ..
        } = refusal
        else {
            panic!("{refusal:?}")
        };
        assert_eq!(scope, "repository:t-main/app:pull,push");
        let refusal = installation.auth.grant_catalog(&caller).await.unwrap_err();
        let Refusal::Challenge {
            error: None, scope, ..
        } = refusal
        else {
            panic!("{refusal:?}")
        };
        assert_eq!(scope, "registry:catalog:*");
    }

    #[tokio::test]
    async fn an_api_key_is_a_password_of_any_user() {
        let installation = Installation::start().await;
        let key = installation.key("developer", json!({})).await;
        for user in ["", "anyone", "t-main"] {
            let caller = installation
                .auth
                .authenticate_registry(Some(&basic(user, &key.key)), &HERE)
                .await
                .unwrap();
            assert!(installation.auth.grant_base(&caller).is_ok());
            assert_eq!(caller.actor(), format!("key:{}", key.id));
        }
    }

    #[tokio::test]
    async fn bad_credentials_are_never_anonymous() {
        let installation = Installation::start().await;
        let unknown = ApiKeySecret::generate().unwrap();
        let long = "x".repeat(MAX_HEADER_BYTES);
        let no_colon = format!("Basic {}", STANDARD.encode("nocolon"));
        let control = format!("Basic {}", STANDARD.encode("a\n:b"));
        for header in [
            "",
            "Basic",
            "Basic ",
            "Bearer",
            "Bearer  ",
            "Digest x",
            "Basic %%%",
            "junk",
            no_colon.as_str(),
            control.as_str(),
            long.as_str(),
            &basic("u", ""),
            &basic("u", "wrong"),
            &basic("u", unknown.reveal()),
            &basic("u", "berth_x"),
            &bearer("a.b.c"),
            &bearer("x"),
            &bearer(unknown.reveal()),
            &basic("u", &"a.".repeat(9_000)),
        ] {
            let refusal = installation
                .auth
                .authenticate_registry(Some(header), &HERE)
                .await
                .map(|_| ())
                .map_err(Refusal::from)
                .unwrap_err();
            assert!(
                matches!(refusal, Refusal::Challenge { .. }),
                "{header}: {refusal:?}"
            );
            assert!(
                installation
                    .auth
                    .authenticate_api(Some(header), &HERE)
                    .await
                    .is_err(),
                "{header}"
            );
        }
        assert!(
            installation
                .auth
                .authenticate_api(None, &HERE)
                .await
                .is_err()
        );
        let two = single_header([b"Basic eA==".as_slice(), b"Bearer x".as_slice()]);
        assert!(two.is_err());
    }

    #[tokio::test]
    async fn each_secret_opens_its_own_doors_only() {
        let installation = Installation::start().await;
        let auth = &installation.auth;
        let operator = installation.operator_secret.as_str();
        let key = installation.key("admin", json!({})).await;
        let credential = installation.credential(&key.key, json!({})).await;
        let access = installation
            .token(&basic("t-main", &credential.password), &[])
            .await;
        let registry = async |header: String| {
            auth.authenticate_registry(Some(&header), &HERE)
                .await
                .map(|_| ())
        };

        assert!(
            message(registry(basic("x", operator)).await)
                .contains("operator key is no registry password")
        );
        assert!(message(registry(bearer(&key.key)).await).contains("Basic password"));
        assert!(registry(bearer(&credential.password)).await.is_err());
        assert!(
            registry(basic("t-main", access.token.reveal()))
                .await
                .is_err()
        );
        assert!(registry(bearer(access.token.reveal())).await.is_ok());
        assert!(
            registry(basic("t-main", &credential.password))
                .await
                .is_ok()
        );
        assert!(
            message(registry(basic("t-other", &credential.password)).await)
                .contains("user name t-main")
        );

        let api = async |header: String| {
            auth.authenticate_api(Some(&header), &HERE)
                .await
                .map(|_| ())
        };
        assert!(api(bearer(operator)).await.is_ok());
        assert!(api(basic("x", &key.key)).await.is_ok());
        assert!(api(bearer(&credential.password)).await.is_err());
        assert!(api(basic("t-main", &credential.password)).await.is_err());
        assert!(api(bearer(access.token.reveal())).await.is_err());
    }

    #[tokio::test]
    async fn api_keys_as_registry_passwords_can_be_switched_off() {
        let installation =
            Installation::start_with(|options| options.api_keys_as_passwords = false).await;
        let key = installation.key("admin", json!({})).await;
        let result = installation
            .auth
            .authenticate_registry(Some(&basic("x", &key.key)), &HERE)
            .await
            .map(|_| ());
        assert!(message(result).contains("registry credential"));
        assert!(
            installation
                .auth
                .authenticate_api(Some(&bearer(&key.key)), &HERE)
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_key_ends_when_it_was_told_to() {
        let installation = Installation::start().await;
        let key = installation
            .key("viewer", json!({"expiresAt": START.plus(10_000).rfc3339()}))
            .await;
        assert!(
            installation
                .auth
                .authenticate_api(Some(&bearer(&key.key)), &HERE)
                .await
                .is_ok()
        );
        installation.clock.advance(10_000);
        let error = installation
            .auth
            .authenticate_api(Some(&bearer(&key.key)), &HERE)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("expired"));
    }
}

mod what_is_granted {
    use super::*;

    #[tokio::test]
    async fn each_role_gets_its_actions_under_its_own_prefix() {
        let installation = Installation::start().await;
        for (role, expected) in [
            ("viewer", ActionSet::of(&[Action::Pull])),
            ("builder", ActionSet::of(&[Action::Pull, Action::Push])),
            ("developer", ActionSet::ALL),
            ("admin", ActionSet::ALL),
        ] {
            let key = installation.key(role, json!({})).await;
            assert_eq!(
                grants(&installation, &basic("x", &key.key), "t-main/team/app").await,
                expected,
                "{role}"
            );
            for foreign in [
                "t-other/app",
                "t-unknown/app",
                "platform/app",
                "t-main",
                "app",
                "t-main2/app",
            ] {
                let got = grants(&installation, &basic("x", &key.key), foreign).await;
                assert_eq!(got, ActionSet::EMPTY, "{role} {foreign}");
            }
        }
    }

    #[tokio::test]
    async fn a_foreign_name_is_answered_alike_whether_it_exists_or_not() {
        let installation = Installation::start().await;
        let key = installation.key("admin", json!({})).await;
        let caller = installation
            .auth
            .authenticate_registry(Some(&basic("x", &key.key)), &HERE)
            .await
            .unwrap();
        let answer =
            async |text: &str| message(installation.auth.grant::<Push>(&caller, &name(text)).await);
        let existing = answer("t-other/bar").await;
        assert_eq!(
            existing,
            "this key reaches t-main/…; \"t-other/bar\" is not under it: push \"t-main/bar\""
        );
        assert_eq!(
            answer("t-nobody/bar").await.replace("t-nobody", "t-other"),
            existing
        );
        assert_eq!(
            answer("bar").await,
            "this key reaches t-main/…; \"bar\" is not under it: push \"t-main/bar\""
        );
    }

    #[tokio::test]
    async fn narrowings_intersect() {
        let installation = Installation::start().await;
        let narrow = json!({"repositories": ["team/*", "app"], "actions": ["pull", "push"]});
        let key = installation.key("developer", narrow).await;
        let pull_push = ActionSet::of(&[Action::Pull, Action::Push]);
        let with_key = basic("x", &key.key);
        assert_eq!(
            grants(&installation, &with_key, "t-main/team/web").await,
            pull_push
        );
        assert_eq!(
            grants(&installation, &with_key, "t-main/team/web/cache").await,
            ActionSet::EMPTY
        );
        assert_eq!(
            grants(&installation, &with_key, "t-main/other").await,
            ActionSet::EMPTY
        );

        // A credential for one repository and one action, of a key that is narrowed itself.
        let request = json!({"targetImage": "team/web:v1", "actions": ["push"]});
        let credential = installation.credential(&key.key, request).await;
        let with_credential = basic("t-main", &credential.password);
        let push = ActionSet::of(&[Action::Push]);
        assert_eq!(
            grants(&installation, &with_credential, "t-main/team/web").await,
            push
        );
        assert_eq!(
            grants(&installation, &with_credential, "t-main/app").await,
            ActionSet::EMPTY
        );

        // And an access token of that credential, asked for everything.
        let token = installation
            .token(
                &with_credential,
                &["repository:t-main/team/web:* repository:t-main/app:*"],
            )
            .await;
        assert_eq!(token.scope, "repository:t-main/team/web:push");
        let with_token = bearer(token.token.reveal());
        assert_eq!(
            grants(&installation, &with_token, "t-main/team/web").await,
            push
        );
    }

    #[tokio::test]
    async fn a_token_is_a_challenge_if_another_one_would_help_and_a_denial_if_not() {
        let installation = Installation::start().await;
        let key = installation.key("builder", json!({})).await;
        let token = installation
            .token(&basic("x", &key.key), &["repository:t-main/a:pull"])
            .await;
        let caller = installation
            .auth
            .authenticate_registry(Some(&bearer(token.token.reveal())), &HERE)
            .await
            .unwrap();
        assert!(
            installation
                .auth
                .grant::<Pull>(&caller, &name("t-main/a"))
                .await
                .is_ok()
        );
        let refusal = installation
            .auth
            .grant::<Push>(&caller, &name("t-main/a"))
            .await
            .unwrap_err();
        let Refusal::Challenge {
            error: Some(ChallengeError::InsufficientScope),
            scope,
            ..
        } = refusal
        else {
            panic!("{refusal:?}")
        };
        assert_eq!(scope, "repository:t-main/a:pull,push");
        let refusal = installation
            .auth
            .grant::<Delete>(&caller, &name("t-main/a"))
            .await
            .unwrap_err();
        assert!(matches!(refusal, Refusal::Denied { .. }), "{refusal:?}");
        let refusal = installation
            .auth
            .grant::<Pull>(&caller, &name("t-other/a"))
            .await
            .unwrap_err();
        assert!(matches!(refusal, Refusal::Denied { .. }), "{refusal:?}");
        let refusal = installation.auth.grant_catalog(&caller).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Challenge { .. }), "{refusal:?}");
    }

    #[tokio::test]
    async fn the_catalogue_shows_what_may_be_pulled() {
        let installation = Installation::start().await;
        let key = installation
            .key("viewer", json!({"repositories": ["app"]}))
            .await;
        let caller = installation
            .auth
            .authenticate_registry(Some(&basic("x", &key.key)), &HERE)
            .await
            .unwrap();
        let catalog = installation.auth.grant_catalog(&caller).await.unwrap();
        assert!(catalog.shows(&name("t-main/app")));
        assert!(!catalog.shows(&name("t-main/other")));
        assert!(!catalog.shows(&name("t-other/app")));
        let token = installation
            .token(&basic("x", &key.key), &["registry:catalog:*"])
            .await;
        assert_eq!(token.scope, "registry:catalog:*");
        let caller = installation
            .auth
            .authenticate_registry(Some(&bearer(token.token.reveal())), &HERE)
            .await
            .unwrap();
        assert!(installation.auth.grant_catalog(&caller).await.is_ok());
    }

    #[tokio::test]
    async fn a_pull_with_a_known_token_asks_the_database_nothing() {
        let installation = Installation::start().await;
        let key = installation
            .key("developer", json!({"repositories": ["**"]}))
            .await;
        let credential = installation.credential(&key.key, json!({})).await;
        let token = installation
            .token(
                &basic("t-main", &credential.password),
                &["repository:t-main/a:pull"],
            )
            .await;
        let header = bearer(token.token.reveal());
        let pull = ActionSet::of(&[Action::Pull]);
        assert_eq!(grants(&installation, &header, "t-main/a").await, pull);
        let reads = installation.auth.metadata().reads();
        for _ in 0..10 {
            assert_eq!(grants(&installation, &header, "t-main/a").await, pull);
        }
        assert_eq!(installation.auth.metadata().reads(), reads);
    }
}

mod what_is_taken_back {
    use super::*;

    async fn rejected(installation: &Installation, header: &str) -> bool {
        installation
            .auth
            .authenticate_registry(Some(header), &HERE)
            .await
            .is_err()
    }

    #[tokio::test]
    async fn revocations_end_credentials_and_their_tokens_and_no_others() {
        let installation = Installation::start().await;
        let admin = installation
            .auth
            .authenticate_api(Some(&bearer(&installation.main_secret)), &HERE)
            .await
            .unwrap();
        let workspace = Arc::clone(admin.workspace().unwrap());
        let (one, other) = (
            installation.key("developer", json!({})).await,
            installation.key("builder", json!({})).await,
        );
        let mut headers = Vec::new();
        let mut ids = Vec::new();
        for key in [&one, &one, &other] {
            let credential = installation.credential(&key.key, json!({})).await;
            let password = basic("t-main", &credential.password);
            let token = installation
                .token(&password, &["repository:t-main/a:pull"])
                .await;
            ids.push(credential.credential_id);
            headers.push([password, bearer(token.token.reveal())]);
        }
        let state = async || {
            let mut state = Vec::new();
            for [password, token] in &headers {
                let ended = rejected(&installation, password).await;
                assert_eq!(
                    ended,
                    rejected(&installation, token).await,
                    "a token follows its credential"
                );
                state.push(!ended);
            }
            state
        };
        let revoke = async |revocation: Revocation| {
            installation
                .auth
                .revoke_credentials(&admin, &workspace, &revocation)
                .await
                .unwrap();
        };
        assert_eq!(state().await, [true, true, true]);
        revoke(Revocation {
            credential_id: Some(ids[0].clone()),
            ..Revocation::default()
        })
        .await;
        assert_eq!(state().await, [false, true, true]);
        revoke(Revocation {
            api_key_id: Some(one.id.clone()),
            ..Revocation::default()
        })
        .await;
        assert_eq!(state().await, [false, false, true]);
        revoke(Revocation {
            all: Some(true),
            ..Revocation::default()
        })
        .await;
        assert_eq!(state().await, [false, false, false]);
        // New ones are good again, and the keys themselves never ended.
        let again = installation.credential(&one.key, json!({})).await;
        assert!(!rejected(&installation, &basic("t-main", &again.password)).await);
        assert!(!rejected(&installation, &basic("x", &other.key)).await);
    }

    #[tokio::test]
    async fn a_deleted_key_takes_everything_with_it() {
        let installation = Installation::start().await;
        let key = installation.key("developer", json!({})).await;
        let credential = installation.credential(&key.key, json!({})).await;
        let with_credential = basic("t-main", &credential.password);
        let of_credential = installation.token(&with_credential, &[]).await;
        let of_key = installation.token(&basic("x", &key.key), &[]).await;
        installation.delete_key(&key.id).await;
        for header in [
            basic("x", &key.key),
            with_credential,
            bearer(of_credential.token.reveal()),
            bearer(of_key.token.reveal()),
        ] {
            assert!(rejected(&installation, &header).await);
        }
    }

    #[tokio::test]
    async fn the_id_of_a_foreign_credential_is_of_no_use() {
        let installation = Installation::start().await;
        let key = installation.key("developer", json!({})).await;
        let credential = installation.credential(&key.key, json!({})).await;
        let foreigner = installation.other_admin().await;
        let theirs = Arc::clone(foreigner.workspace().unwrap());
        let revocation = Revocation {
            credential_id: Some(credential.credential_id.clone()),
            ..Revocation::default()
        };
        installation
            .auth
            .revoke_credentials(&foreigner, &theirs, &revocation)
            .await
            .unwrap();
        assert!(!rejected(&installation, &basic("t-main", &credential.password)).await);
        // Nor may they name our workspace or our key.
        let ours = installation
            .auth
            .metadata()
            .workspace_by_name("main")
            .await
            .unwrap()
            .unwrap();
        assert!(
            installation
                .auth
                .revoke_credentials(&foreigner, &ours, &revocation)
                .await
                .is_err()
        );
        let by_key = Revocation {
            api_key_id: Some(key.id.clone()),
            ..Revocation::default()
        };
        let error = installation
            .auth
            .revoke_credentials(&foreigner, &theirs, &by_key)
            .await
            .unwrap_err();
        assert!(matches!(error, RequestError::NotFound(_)));
        // And their row does not stand in the way of our own revocation.
        let admin = installation
            .auth
            .authenticate_api(Some(&bearer(&installation.main_secret)), &HERE)
            .await
            .unwrap();
        installation
            .auth
            .revoke_credentials(&admin, &ours, &revocation)
            .await
            .unwrap();
        assert!(rejected(&installation, &basic("t-main", &credential.password)).await);
    }

    #[tokio::test]
    async fn a_revocation_names_exactly_one_thing_and_takes_an_admin() {
        let installation = Installation::start().await;
        let admin = installation
            .auth
            .authenticate_api(Some(&bearer(&installation.main_secret)), &HERE)
            .await
            .unwrap();
        let workspace = Arc::clone(admin.workspace().unwrap());
        for bad in [
            json!({}),
            json!({"all": false}),
            json!({"all": true, "apiKeyId": "x"}),
            json!({"credentialId": "short"}),
        ] {
            let revocation: Revocation = serde_json::from_value(bad.clone()).unwrap();
            let error = installation
                .auth
                .revoke_credentials(&admin, &workspace, &revocation)
                .await
                .unwrap_err();
            assert!(
                matches!(error, RequestError::BadRequest(_)),
                "{bad}: {error}"
            );
        }
        let developer = installation.key("developer", json!({})).await;
        let developer = installation
            .auth
            .authenticate_api(Some(&bearer(&developer.key)), &HERE)
            .await
            .unwrap();
        let all = Revocation {
            all: Some(true),
            ..Revocation::default()
        };
        let error = installation
            .auth
            .revoke_credentials(&developer, &workspace, &all)
            .await
            .unwrap_err();
        assert!(matches!(error, RequestError::Forbidden(_)));
    }

    #[tokio::test]
    async fn a_commit_looks_again_at_what_is_older_than_two_seconds() {
        let installation = Installation::start().await;
        let key = installation.key("developer", json!({})).await;
        let credential = installation.credential(&key.key, json!({})).await;
        let caller = installation
            .auth
            .authenticate_registry(Some(&basic("t-main", &credential.password)), &HERE)
            .await
            .unwrap();
        let granted = installation
            .auth
            .grant::<Push>(&caller, &name("t-main/a"))
            .await
            .unwrap();
        let confirm = async || {
            let mut change = installation.auth.metadata().begin().await.unwrap();
            granted.confirm(&mut change, installation.clock.now()).await
        };
        let admin = installation
            .auth
            .authenticate_api(Some(&bearer(&installation.main_secret)), &HERE)
            .await
            .unwrap();
        let workspace = Arc::clone(admin.workspace().unwrap());
        let id = credential.credential_id.clone();
        installation.clock.advance(3_000);
        assert!(confirm().await.is_ok());
        let revocation = Revocation {
            credential_id: Some(id),
            ..Revocation::default()
        };
        installation
            .auth
            .revoke_credentials(&admin, &workspace, &revocation)
            .await
            .unwrap();
        installation.clock.advance(-1_000);
        assert!(
            confirm().await.is_ok(),
            "two seconds are not looked at again"
        );
        installation.clock.advance(1);
        assert!(message(confirm().await).contains("revoked"));
        // A clock that went backwards is no reason to trust.
        installation.clock.advance(-60_000);
        assert!(confirm().await.is_err());
    }

    #[tokio::test]
    async fn a_push_may_finish_after_its_token_ended_by_itself() {
        let installation = Installation::start().await;
        let key = installation.key("developer", json!({})).await;
        let token = installation
            .token(&basic("x", &key.key), &["repository:t-main/a:push"])
            .await;
        let caller = installation
            .auth
            .authenticate_registry(Some(&bearer(token.token.reveal())), &HERE)
            .await
            .unwrap();
        let granted = installation
            .auth
            .grant::<Push>(&caller, &name("t-main/a"))
            .await
            .unwrap();
        installation.clock.advance(3_600_000);
        let mut change = installation.auth.metadata().begin().await.unwrap();
        assert!(
            granted
                .confirm(&mut change, installation.clock.now())
                .await
                .is_ok()
        );
        drop(change);
        installation.delete_key(&key.id).await;
        let mut change = installation.auth.metadata().begin().await.unwrap();
        assert!(
            granted
                .confirm(&mut change, installation.clock.now())
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn revocations_are_forgotten_after_the_longest_life_of_a_credential() {
        let installation = Installation::start().await;
        let admin = installation
            .auth
            .authenticate_api(Some(&bearer(&installation.main_secret)), &HERE)
            .await
            .unwrap();
        let workspace = Arc::clone(admin.workspace().unwrap());
        let revocation = Revocation {
            credential_id: Some("0".repeat(32)),
            ..Revocation::default()
        };
        installation
            .auth
            .revoke_credentials(&admin, &workspace, &revocation)
            .await
            .unwrap();
        installation.clock.advance(12 * 3_600_000);
        assert_eq!(installation.auth.purge_ended().await.unwrap(), 0);
        installation.clock.advance(301_000);
        assert_eq!(installation.auth.purge_ended().await.unwrap(), 1);
    }
}

mod what_tokens_are {
    use super::*;

    #[tokio::test]
    async fn a_token_lives_as_long_as_configured_but_not_much_longer_than_its_credential() {
        let installation = Installation::start().await;
        let key = installation.key("developer", json!({})).await;
        let credential = installation
            .credential(&key.key, json!({"expiresInSeconds": 200}))
            .await;
        let password = basic("t-main", &credential.password);
        assert_eq!(installation.token(&password, &[]).await.expires_in, 200);
        installation.clock.advance(190_000);
        let token = installation.token(&password, &[]).await;
        assert_eq!(token.expires_in, 60);
        assert_eq!(
            installation
                .token(&basic("x", &key.key), &[])
                .await
                .expires_in,
            300
        );
        installation.clock.advance(10_000);
        assert!(
            message(
                installation
                    .auth
                    .authenticate_registry(Some(&password), &HERE)
                    .await
                    .map(|_| ())
            )
            .contains("expired")
        );
        let header = bearer(token.token.reveal());
        assert!(
            installation
                .auth
                .authenticate_registry(Some(&header), &HERE)
                .await
                .is_ok()
        );
        installation.clock.advance(50_000);
        let refusal = installation
            .auth
            .authenticate_registry(Some(&header), &HERE)
            .await
            .map(|_| ())
            .map_err(Refusal::from)
            .unwrap_err();
        let Refusal::Challenge {
            error: Some(ChallengeError::InvalidToken),
            message,
            ..
        } = refusal
        else {
            panic!("{refusal:?}")
        };
        assert!(message.contains("expired"));
    }

    #[tokio::test]
    async fn the_token_endpoint_wants_credentials_and_takes_a_registry_credential_as_refresh_token()
    {
        let installation = Installation::start().await;
        let request = TokenRequest {
            credentials: None,
            from: HERE.clone(),
            scopes: vec![],
        };
        let error = installation
            .auth
            .issue_access_token(&request)
            .await
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(error, TokenEndpointError::Unauthorized(_)));
        let key = installation.key("viewer", json!({})).await;
        let credential = installation.credential(&key.key, json!({})).await;
        let refresh = |text: &str| TokenRequest {
            credentials: Some(TokenCredentials::RefreshToken(SecretText::new(
                text.to_owned(),
            ))),
            from: HERE.clone(),
            scopes: vec![
                String::from("repository:t-main/a:pull,push"),
                String::from("repository:t-other/a:pull x"),
            ],
        };
        let answer = installation
            .auth
            .issue_access_token(&refresh(&credential.password))
            .await
            .map_err(|e| e.to_string());
        assert_eq!(
            answer.map(|answer| answer.scope),
            Ok(String::from("repository:t-main/a:pull"))
        );
        assert!(
            installation
                .auth
                .issue_access_token(&refresh(&key.key))
                .await
                .is_err()
        );
        let mut many = refresh(&credential.password);
        many.scopes = vec![String::from("repository:t-main/a:pull"); MAX_SCOPES + 1];
        let error = installation
            .auth
            .issue_access_token(&many)
            .await
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(error, TokenEndpointError::BadRequest(_)));
    }

    #[tokio::test]
    async fn the_largest_token_that_can_be_asked_for_is_taken() {
        let installation = Installation::start().await;
        let key = installation.key("developer", json!({})).await;
        let scopes: Vec<String> = (0..MAX_SCOPES)
            .map(|index| {
                format!(
                    "repository:t-main/{}{index:02}:pull,push,delete",
                    "a".repeat(210)
                )
            })
            .collect();
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let token = installation.token(&basic("x", &key.key), &scopes).await;
        let header = bearer(token.token.reveal());
        assert!(
            installation
                .auth
                .authenticate_registry(Some(&header), &HERE)
                .await
                .is_ok()
        );
    }

    /// Rewrites header and claims of a token and signs it anew.
    fn forge(token: &str, key: &SigningKey, change: impl Fn(&mut Value, &mut Value)) -> String {
        let parts: Vec<&str> = token.split('.').collect();
        let decode = |part: &str| {
            serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let (mut header, mut claims) = (decode(parts[0]), decode(parts[1]));
        change(&mut header, &mut claims);
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let pair = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(key.pkcs8()).unwrap();
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()))
        )
    }

    #[tokio::test]
    async fn every_wrong_kind_of_token_is_refused() {
        let installation = Installation::start().await;
        let auth = &installation.auth;
        let key = installation.key("developer", json!({})).await;
        let credential = installation.credential(&key.key, json!({})).await;
        let good = installation
            .token(&basic("x", &key.key), &["repository:t-main/a:pull"])
            .await;
        let good = good.token.reveal();
        let access_key = auth.inner().keys.signer(Purpose::AccessToken).unwrap();
        let credential_key = auth
            .inner()
            .keys
            .signer(Purpose::RegistryCredential)
            .unwrap();
        let stranger = SigningKey::generate(Purpose::AccessToken, START, START).unwrap();
        let now = installation.clock.now().seconds();
        let taken = async |token: &str| {
            auth.authenticate_registry(Some(&bearer(token)), &HERE)
                .await
                .is_ok()
        };

        assert!(
            taken(&forge(good, &access_key, |_, _| {})).await,
            "the forge itself works"
        );
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(stranger.public_key())});
        assert!(
            taken(&forge(good, &access_key, |header, _| {
                header["jwk"] = jwk.clone();
            }))
            .await,
            "a key in a token means nothing, for better or worse"
        );

        let ours = &access_key;
        let forged = [
            (
                "alg none",
                forge(good, ours, |header, _| {
                    header["alg"] = json!("none");
                }),
            ),
            (
                "another alg",
                forge(good, ours, |header, _| {
                    header["alg"] = json!("HS256");
                }),
            ),
            (
                "no typ",
                forge(good, ours, |header, _| {
                    header["typ"] = Value::Null;
                }),
            ),
            (
                "typ JWT",
                forge(good, ours, |header, _| {
                    header["typ"] = json!("JWT");
                }),
            ),
            (
                "typ of a credential",
                forge(good, ours, |header, _| {
                    header["typ"] = json!("berth-credential");
                }),
            ),
            (
                "another aud",
                forge(good, ours, |_, claims| {
                    claims["aud"] = json!("berth-credential");
                }),
            ),
            (
                "no aud",
                forge(good, ours, |_, claims| {
                    claims["aud"] = Value::Null;
                }),
            ),
            (
                "another iss",
                forge(good, ours, |_, claims| {
                    claims["iss"] = json!("else");
                }),
            ),
            (
                "no kid",
                forge(good, ours, |header, _| {
                    header["kid"] = Value::Null;
                }),
            ),
            (
                "unknown kid",
                forge(good, ours, |header, _| {
                    header["kid"] = json!(stranger.id());
                }),
            ),
            (
                "kid of the other purpose",
                forge(good, &credential_key, |header, _| {
                    header["kid"] = json!(credential_key.id());
                }),
            ),
            ("another key", forge(good, &stranger, |_, _| {})),
            (
                "another key in jwk",
                forge(good, &stranger, |header, _| {
                    header["jwk"] = jwk.clone();
                }),
            ),
            (
                "a key at jku",
                forge(good, &stranger, |header, _| {
                    header["jku"] = json!("https://evil.example/jwks");
                }),
            ),
            (
                "a key at x5u",
                forge(good, &stranger, |header, _| {
                    header["x5u"] = json!("https://evil.example/x");
                }),
            ),
            (
                "expired",
                forge(good, ours, |_, claims| {
                    claims["exp"] = json!(now);
                }),
            ),
            (
                "no exp",
                forge(good, ours, |_, claims| {
                    claims["exp"] = Value::Null;
                }),
            ),
            (
                "exp of text",
                forge(good, ours, |_, claims| {
                    claims["exp"] = json!("never");
                }),
            ),
            (
                "exp beyond time",
                forge(good, ours, |_, claims| {
                    claims["exp"] = json!(i64::MAX);
                }),
            ),
            (
                "nbf in the future",
                forge(good, ours, |_, claims| {
                    claims["nbf"] = json!(now + 6);
                }),
            ),
            (
                "no nbf",
                forge(good, ours, |_, claims| {
                    claims["nbf"] = Value::Null;
                }),
            ),
            (
                "unknown action",
                forge(good, ours, |_, claims| {
                    claims["access"][0]["actions"] = json!(["own"]);
                }),
            ),
            (
                "unknown type",
                forge(good, ours, |_, claims| {
                    claims["access"][0]["type"] = json!("x");
                }),
            ),
            (
                "another workspace",
                forge(good, ours, |_, claims| {
                    claims["workspace"] = json!("x");
                }),
            ),
            (
                "another key's id",
                forge(good, ours, |_, claims| {
                    claims["key"] = json!("x");
                }),
            ),
            (
                "a future generation",
                forge(good, ours, |_, claims| {
                    claims["key_generation"] = json!(7);
                }),
            ),
            ("a credential", credential.password.clone()),
            ("not a token", String::from("x.y.z")),
            ("two parts", good.rsplit_once('.').unwrap().0.to_owned()),
            ("four parts", format!("{good}.x")),
            (
                "no signature",
                format!("{}.", good.rsplit_once('.').unwrap().0),
            ),
        ];
        for (what, token) in &forged {
            assert!(!taken(token).await, "{what}");
        }
        assert!(
            taken(&forge(good, ours, |_, claims| {
                claims["nbf"] = json!(now + 5);
            }))
            .await,
            "clocks differ a little"
        );

        // HS256 with the public key as the secret, as confused libraries take it.
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        header.typ = Some(String::from("berth-access"));
        header.kid = Some(access_key.id().to_owned());
        let claims: Value = serde_json::from_slice(
            &URL_SAFE_NO_PAD
                .decode(good.split('.').nth(1).unwrap())
                .unwrap(),
        )
        .unwrap();
        let secret = jsonwebtoken::EncodingKey::from_secret(access_key.public_key());
        assert!(!taken(&jsonwebtoken::encode(&header, &claims, &secret).unwrap()).await);

        // Any flipped character of the signed parts.
        for index in (0..good.rfind('.').unwrap()).step_by(17) {
            let mut tampered = good.as_bytes().to_vec();
            tampered[index] = if tampered[index] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(tampered).unwrap();
            assert!(
                tampered == good || !taken(&tampered).await,
                "character {index}"
            );
        }
        assert!(taken(good).await);
    }

    #[tokio::test]
    async fn a_token_that_was_seen_ends_like_any_other() {
        let installation = Installation::start().await;
        let key = installation.key("developer", json!({})).await;
        let token = installation.token(&basic("x", &key.key), &[]).await;
        let header = bearer(token.token.reveal());
        assert!(
            installation
                .auth
                .authenticate_registry(Some(&header), &HERE)
                .await
                .is_ok()
        );
        installation.clock.advance(299_999);
        assert!(
            installation
                .auth
                .authenticate_registry(Some(&header), &HERE)
                .await
                .is_ok()
        );
        installation.clock.advance(1);
        assert!(
            installation
                .auth
                .authenticate_registry(Some(&header), &HERE)
                .await
                .is_err()
        );
    }
}

mod what_credentials_are {
    use super::*;

    #[tokio::test]
    async fn a_credential_says_where_and_until_when() {
        let installation = Installation::start().await;
        let key = installation.key("builder", json!({})).await;
        let credential = installation
            .credential(&key.key, json!({"targetImage": "my-app:v1"}))
            .await;
        let shown = serde_json::to_value(&credential).unwrap();
        assert_eq!(shown["provider"], "builtin");
        assert_eq!(shown["pushRegistry"], "127.0.0.1:5000/t-main");
        assert_eq!(shown["pullRegistry"], "127.0.0.1:5001/t-main");
        assert_eq!(shown["pushImage"], "127.0.0.1:5000/t-main/my-app:v1");
        assert_eq!(shown["pullImage"], "127.0.0.1:5001/t-main/my-app:v1");
        assert_eq!(shown["username"], "t-main");
        assert_eq!(shown["expiresAt"], "2026-01-01T01:00:00Z");
        let plain =
            serde_json::to_value(installation.credential(&key.key, json!({})).await).unwrap();
        assert!(plain.get("pushImage").is_none() && plain.get("pullImage").is_none());
    }

    #[tokio::test]
    async fn a_credential_has_no_more_than_its_key() {
        let installation = Installation::start().await;
        let ends = START.plus(600_000).rfc3339();
        let key = installation
            .key(
                "builder",
                json!({"expiresAt": ends, "repositories": ["app"]}),
            )
            .await;
        let credential = installation.credential(&key.key, json!({})).await;
        assert_eq!(credential.expires_at, ends);
        let with_credential = basic("t-main", &credential.password);
        let pull_push = ActionSet::of(&[Action::Pull, Action::Push]);
        assert_eq!(
            grants(&installation, &with_credential, "t-main/app").await,
            pull_push
        );
        assert_eq!(
            grants(&installation, &with_credential, "t-main/other").await,
            ActionSet::EMPTY
        );
        for (request, forbidden) in [
            (json!({"actions": ["delete"]}), true),
            (json!({"targetImage": "other"}), true),
            (json!({"actions": []}), false),
            (json!({"actions": ["own"]}), false),
            (json!({"expiresInSeconds": 59}), false),
            (json!({"expiresInSeconds": 43_201}), false),
            (json!({"expiresInSeconds": -1}), false),
            (json!({"targetImage": "t-other/app"}), false),
        ] {
            let error = installation
                .try_credential(&key.key, request.clone())
                .await
                .map(|_| ())
                .unwrap_err();
            assert_eq!(
                matches!(error, RequestError::Forbidden(_)),
                forbidden,
                "{request}: {error}"
            );
            assert_eq!(
                matches!(error, RequestError::BadRequest(_)),
                !forbidden,
                "{request}: {error}"
            );
        }
        assert!(
            installation
                .try_credential(&key.key, json!({"expiresInSeconds": 60}))
                .await
                .is_ok()
        );
        assert!(
            installation
                .try_credential(&key.key, json!({"expiresInSeconds": 43_200}))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn delete_comes_only_when_asked_for_and_a_viewer_gets_pull() {
        let installation = Installation::start().await;
        let developer = installation.key("developer", json!({})).await;
        let viewer = installation.key("viewer", json!({})).await;
        for (key, request, expected) in [
            (
                &developer,
                json!({}),
                ActionSet::of(&[Action::Pull, Action::Push]),
            ),
            (
                &developer,
                json!({"actions": ["delete", "pull"]}),
                ActionSet::of(&[Action::Pull, Action::Delete]),
            ),
            (&viewer, json!({}), ActionSet::of(&[Action::Pull])),
        ] {
            let credential = installation.credential(&key.key, request).await;
            let header = basic("t-main", &credential.password);
            assert_eq!(grants(&installation, &header, "t-main/a").await, expected);
        }
    }

    #[tokio::test]
    async fn an_operator_gets_no_credential() {
        let installation = Installation::start().await;
        let operator = installation.operator().await;
        let workspace = installation
            .auth
            .metadata()
            .workspace_by_name("main")
            .await
            .unwrap()
            .unwrap();
        let request = CredentialRequest::default();
        let result = installation
            .auth
            .issue_credential(&operator, &workspace, &request, &testing::hosts())
            .await;
        assert!(matches!(
            result.map(|_| ()),
            Err(RequestError::Forbidden(_))
        ));
    }

    #[tokio::test]
    async fn the_last_use_of_a_key_is_written_in_batches() {
        let installation = Installation::start().await;
        let key = installation.key("viewer", json!({})).await;
        installation.clock.advance(1_000);
        installation
            .auth
            .authenticate_registry(Some(&basic("x", &key.key)), &HERE)
            .await
            .unwrap();
        installation.auth.flush_last_used().await.unwrap();
        let keys = installation
            .auth
            .metadata()
            .api_keys("workspace-main", "", 100)
            .await
            .unwrap();
        let shown = keys.iter().find(|item| item.id == key.id).unwrap();
        assert_eq!(shown.last_used_at, Some(START.plus(1_000)));
    }
}

/// What handlers await must be able to move between threads.
#[tokio::test]
async fn requests_may_move_between_threads() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    let installation = Installation::start().await;
    let auth = &installation.auth;
    let caller = is_send(auth.authenticate_registry(None, &HERE))
        .await
        .unwrap();
    let repository = name("t-main/a");
    assert!(
        is_send(auth.grant::<Pull>(&caller, &repository))
            .await
            .is_err()
    );
    assert!(is_send(auth.authenticate_api(None, &HERE)).await.is_err());
    let request = TokenRequest {
        credentials: None,
        from: HERE.clone(),
        scopes: Vec::new(),
    };
    assert!(is_send(auth.issue_access_token(&request)).await.is_err());
    let operator = installation.operator().await;
    let workspace = auth
        .metadata()
        .workspace_by_name("main")
        .await
        .unwrap()
        .unwrap();
    let revocation = Revocation::default();
    assert!(
        is_send(auth.revoke_credentials(&operator, &workspace, &revocation))
            .await
            .is_err()
    );
}

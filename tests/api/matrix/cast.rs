//! Who calls in the access matrix.

use berth::auth::{Action, Right, Role};
use berth::config::Config;
use berth::http::Door;
use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Login};
use crate::support::issuer::{SigningKey, TestIssuer};
use crate::support::{Team, TestRegistry};

/// Longer than any access token lives, shorter than a registry credential.
const PAST_ACCESS_TOKENS_MS: i64 = 10 * 60 * 1000;
/// Names of one length, so that answers that differ in nothing else have one length too.
pub(crate) const SEEN_IMAGE: &str = "seen-image";
pub(crate) const VOID_IMAGE: &str = "void-image";
/// What narrowed callers are narrowed to. Nothing is ever pushed there.
const OTHER_IMAGE: &str = "else-image";

/// What a caller has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Power {
    /// Nothing: every door shuts.
    Nothing,
    /// The installation.
    Operator,
    /// A role in the workspace `acme`, as far as the actions go, in one image or in all.
    Role(Role, &'static [Action], Reach),
}

/// How far a caller's power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of the workspace.
    Workspace,
    /// Another image than the one of the matrix.
    OtherImage,
}

impl Power {
    /// Whether it may do this to the image of the matrix in its own workspace.
    pub(crate) fn may(self, action: Action) -> bool {
        match self {
            Self::Nothing | Self::Operator => false,
            Self::Role(_, actions, reach) => reach == Reach::Workspace && actions.contains(&action),
        }
    }

    /// Whether it has a right in the management API, as API.md gives them out.
    pub(crate) fn has(self, right: Right) -> bool {
        match self {
            Self::Nothing => false,
            Self::Operator => true,
            Self::Role(role, _, _) => match right {
                Right::Read => true,
                Right::Lease => role != Role::Viewer,
                Right::Change => matches!(role, Role::Developer | Role::Admin),
                Right::Administer => role == Role::Admin,
                Right::Operate => false,
            },
        }
    }

    /// Whether it belongs to a workspace.
    pub(crate) fn is_member(self) -> bool {
        matches!(self, Self::Role(..))
    }
}

/// One column, or a part of one.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The column.
    pub(crate) group: &'static str,
    /// What of it, for messages.
    pub(crate) way: &'static str,
    pub(crate) power: Power,
    pub(crate) login: Login,
    /// Whether the login is a password that `/token` turns into what is sent.
    pub(crate) exchanges: bool,
}

/// A server with the two workspaces of the matrix, and everybody who calls it.
pub(crate) struct Cast {
    pub(crate) acme: Team,
    pub(crate) rival: Team,
    /// Callers of the registry.
    pub(crate) pullers: Vec<Caller>,
    /// Callers of the management API.
    pub(crate) managers: Vec<Caller>,
}

const EVERYTHING: &[Action] = &Action::ALL;
const PULL_PUSH: &[Action] = &[Action::Pull, Action::Push];
const PULL_ONLY: &[Action] = &[Action::Pull];

const ROLES: [(&str, Role, &[Action]); 4] = [
    ("viewer", Role::Viewer, PULL_ONLY),
    ("builder", Role::Builder, PULL_PUSH),
    ("developer", Role::Developer, EVERYTHING),
    ("admin", Role::Admin, EVERYTHING),
];

fn caller(group: &'static str, way: &'static str, login: Login) -> Caller {
    Caller {
        group,
        way,
        power: Power::Nothing,
        login,
        exchanges: false,
    }
}

fn words(actions: &[Action]) -> Vec<&'static str> {
    actions.iter().map(|action| action.as_str()).collect()
}

/// A registry credential as a login.
async fn credential(registry: &TestRegistry, key: &str, body: &serde_json::Value) -> Login {
    let issued = registry.api(key).post("/registry/credentials", body).await;
    let issued = issued.expect(200);
    let text = |field: &str| issued[field].as_str().unwrap().to_owned();
    Login::Basic(text("username"), text("password"))
}

/// A new pull secret of a workspace as a login, and its id.
async fn pull_secret(registry: &TestRegistry, workspace: &str) -> (Login, String) {
    let operator = registry.operator().in_workspace(workspace);
    let made = operator.post("/registry/pull-secret", &json!({})).await;
    let made = made.expect(201);
    (
        crate::pull_secrets::login(&made),
        made["id"].as_str().unwrap().to_owned(),
    )
}

/// An issuer that lets the service account `build` push and pull in the workspace `acme`.
pub(crate) struct Identities {
    issuer: TestIssuer,
    key: SigningKey,
}

impl Identities {
    pub(crate) async fn start() -> Self {
        let key = SigningKey::new("one", Algorithm::ES256);
        let issuer = TestIssuer::start(&key).await;
        Self { issuer, key }
    }

    /// A registry that takes them, and what differs.
    pub(crate) async fn registry(
        &self,
        database: TestDatabase,
        change: impl FnOnce(&mut Config),
    ) -> TestRegistry {
        let rules = json!([{
            "name": "build", "workspace": "acme", "role": "builder", "lifetime_seconds": 43_200,
            "claims": {"sub": "system:serviceaccount:shop:build"},
        }]);
        let entry = self.issuer.entry(&rules);
        TestRegistry::start_with(database, |config| {
            config.auth.issuers = vec![entry];
            change(config);
        })
        .await
    }

    /// What a token is exchanged for.
    async fn exchanged(&self, registry: &TestRegistry) -> Login {
        let mut claims = self.issuer.claims("build");
        let now = registry.clock.now().seconds();
        for (claim, time) in [("iat", now), ("nbf", now), ("exp", now + 300)] {
            claims[claim] = json!(time);
        }
        let token = self.key.sign(&claims);
        let issued = crate::token_exchange::exchange(registry, &token, None).await;
        crate::token_exchange::login(&issued)
    }
}

fn secret(login: &Login) -> String {
    match login {
        Login::Nobody => String::new(),
        Login::Basic(_, secret) | Login::Bearer(secret) => secret.clone(),
    }
}

impl Cast {
    pub(crate) async fn gather(registry: &TestRegistry, identities: &Identities) -> Self {
        let (acme, rival) = (registry.team("acme").await, registry.team("rival").await);
        let admin = registry.with_key(&acme.admin_key);
        let scope = format!("repository:{}/{SEEN_IMAGE}:pull,push,delete", acme.prefix);
        let mut strangers = Strangers::make(registry, &admin, &scope).await;
        registry.clock.advance(PAST_ACCESS_TOKENS_MS);
        strangers.live(registry, &acme, &admin, &scope).await;

        let exchanged = identities.exchanged(registry).await;
        let (mut pullers, mut managers) = (strangers.pullers, strangers.managers);
        for (way, login) in [
            ("exchanged", exchanged.clone()),
            ("exchanged, bearer", Login::Bearer(secret(&exchanged))),
        ] {
            managers.push(caller("misplaced", way, login));
        }
        let bearer = Login::Bearer(secret(&exchanged));
        pullers.push(caller("misplaced", "exchanged credential as token", bearer));
        let operator = registry.operator_key();
        for list in [&mut pullers, &mut managers] {
            for (way, login) in [
                ("basic", Login::key(&operator)),
                ("bearer", Login::Bearer(operator.clone())),
            ] {
                let power = Power::Operator;
                list.push(Caller {
                    power,
                    ..caller("operator", way, login)
                });
            }
        }
        for (group, role, actions) in ROLES {
            let key = registry.key_of("acme", role.as_str()).await;
            let power = Power::Role(role, actions, Reach::Workspace);
            let body = json!({"actions": words(actions)});
            let credential = credential(registry, &key, &body).await;
            pullers.extend(four_ways(group, power, &key, &credential));
            managers.extend(two_ways(group, power, &key));
        }
        let (key, _) = registry
            .key_with(
                "acme",
                &json!({"name": "else", "role": "developer", "repositories": [OTHER_IMAGE]}),
            )
            .await;
        let power = Power::Role(Role::Developer, EVERYTHING, Reach::OtherImage);
        let developer = registry.key_of("acme", "developer").await;
        let body = json!({"actions": words(EVERYTHING), "targetImage": OTHER_IMAGE});
        let narrowed = credential(registry, &developer, &body).await;
        pullers.extend(four_ways("other image", power, &key, &narrowed));
        let (key, _) = registry
            .key_with(
                "acme",
                &json!({"name": "pull", "role": "developer", "actions": ["pull"]}),
            )
            .await;
        let power = Power::Role(Role::Developer, PULL_ONLY, Reach::Workspace);
        let body = json!({"actions": ["pull"]});
        let narrowed = credential(registry, &developer, &body).await;
        pullers.extend(four_ways("pull only", power, &key, &narrowed));
        let power = Power::Role(Role::Puller, PULL_ONLY, Reach::Workspace);
        let (login, _) = pull_secret(registry, "acme").await;
        for (way, exchanges) in [("secret", false), ("secret's token", true)] {
            pullers.push(Caller {
                group: "pull secret",
                way,
                power,
                login: login.clone(),
                exchanges,
            });
        }
        let power = Power::Role(Role::Builder, PULL_PUSH, Reach::Workspace);
        for (way, exchanges) in [("credential", false), ("credential's token", true)] {
            pullers.push(Caller {
                group: "exchanged",
                way,
                power,
                login: exchanged.clone(),
                exchanges,
            });
        }
        Self {
            acme,
            rival,
            pullers,
            managers,
        }
    }
}

fn four_ways(group: &'static str, power: Power, key: &str, credential: &Login) -> [Caller; 4] {
    let one = |way, login: &Login, exchanges| Caller {
        group,
        way,
        power,
        login: login.clone(),
        exchanges,
    };
    let key = Login::key(key);
    [
        one("key", &key, false),
        one("key's token", &key, true),
        one("credential", credential, false),
        one("credential's token", credential, true),
    ]
}

fn two_ways(group: &'static str, power: Power, key: &str) -> [Caller; 2] {
    let one = |way, login| Caller {
        power,
        ..caller(group, way, login)
    };
    [
        one("basic", Login::key(key)),
        one("bearer", Login::Bearer(key.to_owned())),
    ]
}

/// Everybody who has nothing: no credentials, bad ones, ended ones, and good ones in the wrong place.
struct Strangers {
    pullers: Vec<Caller>,
    managers: Vec<Caller>,
}

impl Strangers {
    async fn make(registry: &TestRegistry, admin: &Distribution, scope: &str) -> Self {
        let expired = admin.exchanged(&[scope]).await.login;
        let ended = json!({"name": "ended", "role": "admin", "expiresAt": "2026-01-01T00:01:00Z"});
        let (ended, _) = registry.key_with("acme", &ended).await;
        let (deleted, id) = registry
            .key_with("acme", &json!({"name": "deleted", "role": "admin"}))
            .await;
        let path = format!("/workspaces/acme/api-keys/{id}");
        registry.operator().delete(&path).await.expect(204);
        let wrong = || Login::Basic(String::from("t-acmekey"), String::from("wrong"));
        let junk = || Login::Bearer(String::from("a.b.c"));
        let shared = |list: &mut Vec<Caller>| {
            list.push(caller("nobody", "anonymous", Login::Nobody));
            list.push(caller("wrong", "password", wrong()));
            list.push(caller("wrong", "token", junk()));
            list.push(caller("ended", "expired key", Login::key(&ended)));
            list.push(caller("ended", "deleted key", Login::key(&deleted)));
        };
        let (deleted_secret, id) = pull_secret(registry, "acme").await;
        let path = format!("/registry/pull-secret/{id}");
        registry.operator().delete(&path).await.expect(204);
        let (mut pullers, mut managers) = (Vec::new(), Vec::new());
        shared(&mut pullers);
        pullers.push(caller("ended", "deleted pull secret", deleted_secret));
        pullers.push(caller("ended", "expired token", expired));
        shared(&mut managers);
        let bearer = Login::Bearer(ended.clone());
        managers.push(caller("ended", "expired key, bearer", bearer));
        Self { pullers, managers }
    }

    /// Secrets that are good, but not for this place.
    async fn live(
        &mut self,
        registry: &TestRegistry,
        acme: &Team,
        admin: &Distribution,
        scope: &str,
    ) {
        let key = acme.admin_key.clone();
        let credential = credential(registry, &key, &json!({})).await;
        let token = secret(&admin.exchanged(&[scope]).await.login);
        let secret_of_credential = secret(&credential);
        let as_password = Login::Basic(acme.prefix.clone(), token.clone());
        let (pull_secret, _) = pull_secret(registry, "acme").await;
        let pull_password = secret(&pull_secret);
        self.pullers.push(caller(
            "wrong",
            "user name of a pull secret",
            Login::Basic(acme.prefix.clone(), pull_password.clone()),
        ));
        self.pullers.extend([
            caller(
                "misplaced",
                "pull secret as token",
                Login::Bearer(pull_password.clone()),
            ),
            caller("misplaced", "key as token", Login::Bearer(key)),
            caller(
                "misplaced",
                "credential as token",
                Login::Bearer(secret_of_credential.clone()),
            ),
            caller("misplaced", "token as password", as_password.clone()),
        ]);
        self.managers.extend([
            caller("misplaced", "pull secret", pull_secret),
            caller(
                "misplaced",
                "pull secret, bearer",
                Login::Bearer(pull_password),
            ),
            caller("misplaced", "credential", credential),
            caller(
                "misplaced",
                "credential, bearer",
                Login::Bearer(secret_of_credential),
            ),
            caller("misplaced", "token", Login::Bearer(token)),
            caller("misplaced", "token as password", as_password),
        ]);
    }
}

/// The distribution API at a door without anybody yet.
pub(crate) fn at(registry: &TestRegistry, door: Door) -> Distribution {
    registry.distribution(door, Login::Nobody)
}

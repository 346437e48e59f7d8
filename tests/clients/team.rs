//! Teams on a server: their keys and credentials, and what the registry says to them beside its clients.

use reqwest::Method;
use serde_json::{Value, json};

use crate::http::{self, Answer, Caller};
use crate::server::Server;

/// What a client that takes every kind of manifest says.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// The `data` of a successful answer.
#[track_caller]
fn data(answer: &Answer) -> Value {
    answer.json()["data"].clone()
}

/// The string `field` of `value`.
#[track_caller]
fn text(value: &Value, field: &str) -> String {
    value[field]
        .as_str()
        .map_or_else(|| panic!("no string {field:?} in {value}"), String::from)
}

/// A workspace with an account of its own, and an admin key of it.
#[derive(Debug)]
pub(crate) struct Team {
    /// Its name, which is its key too.
    pub(crate) name: String,
    /// The id of its account.
    pub(crate) account_id: String,
    registry: String,
    pull_door: String,
    /// The prefix of its repositories, with the slash at its end.
    pub(crate) prefix: String,
    key: String,
}

/// An API key and its id.
#[derive(Debug)]
pub(crate) struct ApiKey {
    /// What it is revoked by.
    pub(crate) id: String,
    /// The secret.
    pub(crate) key: String,
}

/// What a client logs in with.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// The user name.
    pub(crate) user_name: String,
    /// The password.
    pub(crate) password: String,
    /// The id of the registry credential; empty for an API key.
    pub(crate) id: String,
}

impl Login {
    /// An API key as a password.
    pub(crate) fn of_key(key: &str) -> Self {
        Self {
            user_name: String::from("key"),
            password: String::from(key),
            id: String::new(),
        }
    }

    /// The same by Basic.
    pub(crate) fn caller(&self) -> Caller {
        Caller::Basic(self.user_name.clone(), self.password.clone())
    }
}

impl Team {
    /// A new team on `server`, under the prefix `t-<key>/`, in an account of its own.
    pub(crate) fn new(server: &Server, key: &str) -> Self {
        let account = format!("account-{key}");
        let operator = Caller::Bearer(server.operator_key());
        let url = server.url("/api/v1/accounts");
        let body = json!({"name": account});
        http::send(http::request(Method::POST, &url, &operator).json(&body)).expect(201);
        Self::in_account(server, key, &account)
    }

    /// Another team in an account that is there already.
    pub(crate) fn in_account(server: &Server, key: &str, account: &str) -> Self {
        let operator = Caller::Bearer(server.operator_key());
        let api = |path: &str, body: &Value| {
            let url = server.url(&format!("/api/v1{path}"));
            data(&http::send(http::request(Method::POST, &url, &operator).json(body)).expect(201))
        };
        let workspace = api(
            "/workspaces",
            &json!({"name": key, "account": account, "teamKey": key}),
        );
        let admin = api(
            &format!("/workspaces/{key}/api-keys"),
            &json!({"name": "admin", "role": "admin"}),
        );
        Self {
            name: String::from(key),
            account_id: text(&workspace, "accountId"),
            registry: server.registry.clone(),
            pull_door: server.pull_door.clone(),
            prefix: text(&workspace, "repositoryPrefix"),
            key: text(&admin, "key"),
        }
    }

    /// The reference that a person pushes `image` (such as `app:v1`) to.
    pub(crate) fn reference(&self, image: &str) -> String {
        format!("{}/{}{image}", self.registry, self.prefix)
    }

    /// The same image at the pull door.
    pub(crate) fn reference_at_pull_door(&self, image: &str) -> String {
        format!("{}/{}{image}", self.pull_door, self.prefix)
    }

    /// The admin key as a password.
    pub(crate) fn key_login(&self) -> Login {
        Login::of_key(&self.key)
    }

    /// A new API key of `role`.
    pub(crate) fn api_key(&self, role: &str) -> ApiKey {
        let path = format!("/workspaces/{}/api-keys", self.name);
        let made = self.call(
            Method::POST,
            &path,
            Some(&json!({"name": format!("a {role}"), "role": role})),
        );
        let made = data(&made.expect(201));
        ApiKey {
            id: text(&made, "id"),
            key: text(&made, "key"),
        }
    }

    /// Ends `key`.
    pub(crate) fn delete_api_key(&self, key: &ApiKey) {
        self.call(
            Method::DELETE,
            &format!("/workspaces/{}/api-keys/{}", self.name, key.id),
            None,
        )
        .expect(204);
    }

    /// A registry credential that the admin key asks for with `body`.
    pub(crate) fn credential(&self, body: &Value) -> Login {
        self.credential_of(&self.key, body)
    }

    /// A registry credential that `key` asks for with `body`.
    pub(crate) fn credential_of(&self, key: &str, body: &Value) -> Login {
        let url = self.url("/api/v1/registry/credentials");
        let request =
            http::request(Method::POST, &url, &Caller::Bearer(String::from(key))).json(body);
        let made = data(&http::send(request).expect(200));
        Login {
            user_name: text(&made, "username"),
            password: text(&made, "password"),
            id: text(&made, "credentialId"),
        }
    }

    /// Ends a registry credential.
    pub(crate) fn revoke(&self, login: &Login) {
        let body = json!({"credentialId": login.id});
        self.call(Method::POST, "/registry/credentials/revoke", Some(&body))
            .expect(204);
    }

    /// An access token for `actions` on `image`.
    pub(crate) fn access_token(&self, login: &Login, image: &str, actions: &str) -> Caller {
        let challenge = http::get(&self.url("/v2/"), &Caller::Anonymous)
            .expect(401)
            .challenge;
        let challenge = challenge.expect("a 401 comes with a challenge");
        let service = challenge
            .split("service=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let service = service.unwrap_or_else(|| panic!("no service in {challenge}"));
        let scope = format!("repository:{}{image}:{actions}", self.prefix);
        let url = self.url("/token");
        let request = http::request(Method::GET, &url, &login.caller());
        let request = request.query(&[("service", service), ("scope", scope.as_str())]);
        Caller::Bearer(text(&http::send(request).expect(200).json(), "token"))
    }

    /// The manifest of `image` (such as `app`) at `reference`, as `caller` sees it.
    pub(crate) fn manifest(&self, image: &str, reference: &str, caller: &Caller) -> Answer {
        let url = self.url(&format!("/v2/{}{image}/manifests/{reference}", self.prefix));
        http::send(http::request(Method::GET, &url, caller).header("accept", MANIFEST_TYPES))
    }

    /// The manifest of `image` at `reference`, which the registry must have.
    #[track_caller]
    pub(crate) fn stored(&self, image: &str, reference: &str) -> Value {
        self.manifest(image, reference, &self.key_login().caller())
            .expect(200)
            .json()
    }

    /// The digest of `image` at `reference`, which the registry must have.
    #[track_caller]
    pub(crate) fn digest(&self, image: &str, reference: &str) -> String {
        let answer = self
            .manifest(image, reference, &self.key_login().caller())
            .expect(200);
        answer.digest.expect("a manifest comes with its digest")
    }

    /// Asserts that `image` has nothing at `reference`.
    #[track_caller]
    pub(crate) fn has_not(&self, image: &str, reference: &str) {
        self.manifest(image, reference, &self.key_login().caller())
            .expect(404);
    }

    /// What refers to the manifest `digest` of `image`, those of `artifact_type` alone.
    #[track_caller]
    pub(crate) fn referrers(&self, image: &str, digest: &str, artifact_type: &str) -> Vec<Value> {
        let url = self.url(&format!("/v2/{}{image}/referrers/{digest}", self.prefix));
        let request = http::request(Method::GET, &url, &self.key_login().caller());
        let index = http::send(request.query(&[("artifactType", artifact_type)]));
        let index = index.expect(200).json();
        let manifests = index["manifests"].as_array();
        manifests.expect("an index has manifests").clone()
    }

    /// The repositories that `/v2/_catalog` shows this team.
    pub(crate) fn catalogue(&self) -> Vec<String> {
        let answer = http::get(&self.url("/v2/_catalog"), &self.key_login().caller())
            .expect(200)
            .json();
        let names = answer["repositories"]
            .as_array()
            .unwrap_or_else(|| panic!("no repositories in {answer}"));
        names
            .iter()
            .filter_map(Value::as_str)
            .map(String::from)
            .collect()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.registry)
    }

    /// Calls the management API with the admin key.
    pub(crate) fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let caller = Caller::Bearer(self.key.clone());
        let request = http::request(method, &self.url(&format!("/api/v1{path}")), &caller);
        http::send(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }
}

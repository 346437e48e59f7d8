//! What stands before the first row is sent, and what must stand unchanged after the last one.

use berth::http::Door;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Image, Login, Reply, image};
use crate::support::process::files;
use crate::support::{Team, TestRegistry};

/// An index that needs nothing, and that nobody has pushed.
pub(crate) const EMPTY_INDEX: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// Items that the longest list of the scene may have.
const LIST_LIMIT: &str = "limit=1000";

/// Two teams, an image, an upload that has begun, and the names by which rows speak of them.
pub(crate) struct Scene {
    pub(crate) registry: TestRegistry,
    pub(crate) acme: Team,
    pub(crate) docker: Distribution,
    pub(crate) own: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    names: Vec<(&'static str, String)>,
    secrets: Vec<String>,
    image: Image,
}

impl Scene {
    pub(crate) async fn set(database: TestDatabase) -> Self {
        let registry = TestRegistry::start_with(database, |config| {
            // Small, so that what is too large is sent quickly.
            config.limits.manifest_bytes = 64 * 1024;
            config.limits.json_body_bytes = 4 * 1024;
            config.limits.tag_parameters = 4;
        })
        .await;
        let acme = registry.team("acme").await;
        let rival = registry.team("rival").await;
        let docker = registry.with_key(&acme.admin_key);
        let own = format!("{}/app", acme.prefix);
        let image = image().layer("twenty bytes of layer").build();
        docker.push_image(&own, "v1", &image).await;
        let foreign = format!("{}/app", rival.prefix);
        let stranger = registry.with_key(&rival.admin_key);
        // Nothing that would be stored twice, and given up by a task whose time nobody knows.
        let theirs = Content::empty_index("foreign");
        stranger
            .put_manifest(&foreign, "v1", &theirs)
            .await
            .expect(201);
        let opened = docker.open_upload(&own).await;
        let patched = docker.patch(&opened, "0123456789").await.expect(202);
        let upload = patched.header("docker-upload-uuid").to_owned();
        let key_id = registry
            .api(&acme.admin_key)
            .get("/whoami")
            .await
            .expect(200);
        let url = registry.url(Door::Public);
        let (host, port) = url.trim_start_matches("http://").split_once(':').unwrap();
        let (host, port) = (host.to_owned(), port.parse().unwrap());
        let layer = &image.layers[0];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names = vec![
            ("{own}", own.clone()),
            ("{acme}", acme.prefix.clone()),
            ("{rival}", rival.prefix.clone()),
            ("{foreign}", foreign),
            ("{layer}", layer.digest.clone()),
            ("{layer-hex}", layer.digest[7..].to_owned()),
            ("{layer-size}", layer.bytes.len().to_string()),
            ("{upper-hex}", layer.digest[7..].to_ascii_uppercase()),
            ("{other-hex}", format!("{}g", &layer.digest[7..70])),
            ("{absent}", digest_of("nowhere to be found")),
            ("{fresh-index}", digest_of(EMPTY_INDEX)),
            ("{config}", image.config.digest.clone()),
            ("{config-size}", image.config.bytes.len().to_string()),
            ("{manifest}", image.manifest.digest.clone()),
            ("{upload}", upload),
            ("{host}", format!("{host}:{port}")),
            ("{key}", acme.admin_key.clone()),
            ("{key-id}", text(&key_id["id"])),
            ("{operator}", registry.operator_key()),
        ];
        let secrets = vec![
            acme.admin_key.clone(),
            rival.admin_key.clone(),
            registry.operator_key(),
            registry.main_key(),
        ];
        Self {
            registry,
            acme,
            docker,
            own,
            host,
            port,
            names,
            secrets,
            image,
        }
    }

    /// Gives something a name by which rows may speak of it.
    pub(crate) fn name(&mut self, name: &'static str, value: String) {
        self.names.push((name, value));
    }

    /// The same, for what no answer may hold.
    pub(crate) fn name_secret(&mut self, name: &'static str, value: String) {
        self.secrets.push(value.clone());
        self.name(name, value);
    }

    /// A text with the names replaced by what they stand for.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        if filled.contains('{') {
            for (name, value) in &self.names {
                filled = filled.replace(name, value);
            }
        }
        filled
    }

    /// The secret in a text, if there is one.
    pub(crate) fn secret_in(&self, text: &str) -> Option<&str> {
        let mut secrets = self.secrets.iter();
        secrets
            .find(|secret| text.contains(secret.as_str()))
            .map(String::as_str)
    }

    /// A registry credential of the team.
    pub(crate) async fn credential(&self, body: Value) -> (String, String) {
        let api = self.registry.api(&self.acme.admin_key);
        let issued = api.post("/registry/credentials", &body).await.expect(200);
        let text = |field: &str| issued[field].as_str().unwrap().to_owned();
        (text("username"), text("password"))
    }

    /// An access token for everything in the repository.
    pub(crate) async fn access_token(&self) -> String {
        let scope = format!("repository:{}:pull,push,delete", self.own);
        let token = self.docker.token_reply(&[&scope]).await.expect(200);
        token.json()["token"].as_str().unwrap().to_owned()
    }

    /// Opens an upload for one row: its id.
    pub(crate) async fn fresh_upload(&self) -> String {
        let location = self.docker.open_upload(&self.own).await;
        location.rsplit('/').next().unwrap().to_owned()
    }

    /// Ends what [`Scene::fresh_upload`] began, if the row has not.
    pub(crate) async fn cancel_upload(&self, id: &str) {
        let path = format!("/v2/{}/blobs/uploads/{id}", self.own);
        let ended = self.docker.delete(&path).await.status;
        assert!(ended == 204 || ended == 404, "{ended}");
    }

    /// Everything that a refused request must leave as it was.
    pub(crate) async fn state(&self) -> Value {
        let operator = self.registry.operator();
        let listed = async |path: &str| {
            let page = operator.get(&format!("{path}?{LIST_LIMIT}")).await;
            let mut items = page.expect(200)["items"].take();
            for item in items.as_array_mut().unwrap() {
                // It says when a key was seen last, which is not what the key may change.
                item["lastUsedAt"].take();
            }
            items
        };
        let read = async |path: &str| self.docker.get(path).await.expect(200).json();
        let upload = self.fill("/v2/{own}/blobs/uploads/{upload}");
        let upload = self.docker.get(&upload).await.expect(204);
        let metadata = &self.registry.running.http.metadata;
        let objects = self.registry.data_dir().join("blobs/objects");
        json!({
            "accounts": listed("/accounts").await,
            "workspaces": listed("/workspaces").await,
            "keys": listed("/workspaces/acme/api-keys").await,
            "catalogue": read("/v2/_catalog").await,
            "tags": read(&self.fill("/v2/{own}/tags/list")).await,
            "referrers": read(&self.fill("/v2/{own}/referrers/{manifest}")).await,
            "upload": upload.header("range"),
            "open uploads": metadata.count_open_uploads().await.unwrap(),
            "objects": files(&objects).len(),
        })
    }

    /// Whether it still does what it is for.
    pub(crate) async fn works(&self) {
        let docker = &self.docker;
        let manifest = docker.get(&self.fill("/v2/{own}/manifests/v1")).await;
        assert_eq!(manifest.expect(200).body, self.image.manifest.bytes);
        let blob = docker.get(&self.fill("/v2/{own}/blobs/{layer}")).await;
        assert_eq!(blob.expect(200).body, self.image.layers[0].bytes);
        let after = format!("{}/after", self.acme.prefix);
        let other = image().layer("pushed after all rows").build();
        docker.push_image(&after, "v1", &other).await;
        let upload = self.fill("/v2/{own}/blobs/uploads/{upload}?digest=");
        let digest = digest_of("0123456789 and on");
        let put = docker
            .request(Method::PUT, &format!("{upload}{digest}"))
            .body(" and on");
        Reply::of(put).await.expect(201);
        let token = self.access_token().await;
        let bearer = docker.with(Login::Bearer(token));
        bearer
            .get(&self.fill("/v2/{own}/tags/list"))
            .await
            .expect(200);
    }
}

pub(crate) fn digest_of(text: &'static str) -> String {
    Content::new(text).digest
}

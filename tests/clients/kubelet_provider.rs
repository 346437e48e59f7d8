//! The kubelet's credential provider: the program answers as the kubelet is told to run it, and docker, podman and
//! containerd pull with what it answers, that image and no other.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use berth::clock::Clock;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client, trials_of};
use crate::containerd::Ctr;
use crate::containers::{Containers, Podman};
use crate::docker::Docker;
use crate::process::{self, Outcome};
use crate::server::{self, Server};
use crate::team::{Login, Team};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const AUDIENCE: &str = "registry.example.com";

/// The facts of this file, for each client.
pub(crate) fn trials() -> Vec<Trial> {
    [
        of_each::<Docker>(),
        of_each::<Containers<Podman>>(),
        of_each::<Ctr>(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of_each<C: Client>() -> Vec<Trial> {
    trials_of::<C>(&[(
        "pulls_with_what_the_credential_provider_answers",
        pulls::<C>,
    )])
}

/// A cluster whose pods may pull, the provider as its nodes have it, and the registry.
struct Cluster {
    folder: TempDir,
    key: EncodingKey,
    server: Server,
}

impl Cluster {
    fn start() -> Self {
        let folder = process::folder("cluster");
        let path = |name: &str| folder.path().join(name);
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key is made");
        let pair = pair.to_pkcs8v1().expect("a key can be written");
        let key = EncodingKey::from_ec_der(pair.as_ref());
        let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256).expect("a key is public");
        public.common.key_id = Some(String::from("one"));
        let keys = path("jwks.json");
        std::fs::write(&keys, json!({"keys": [public]}).to_string()).expect("a file is written");
        let configuration = format!(
            r#"
            [[auth.issuers]]
            name = "cluster"
            issuer = "{ISSUER}"
            audience = "{AUDIENCE}"
            jwks_file = "{}"

            [[auth.issuers.rules]]
            name = "pods"
            workspace = "blue"
            role = "viewer"
            [auth.issuers.rules.claims]
            "/kubernetes.io/namespace" = "shop"
            "#,
            keys.display()
        );
        let file = path("berth.toml");
        std::fs::write(&file, configuration).expect("a file is written");
        symlink(server::binary(), path("berth-credential-provider")).expect("a link is made");
        let server = Server::start_with_file(&file);
        Self {
            folder,
            key,
            server,
        }
    }

    /// The token of the service account `default` of a namespace, as the kubelet gets it for the audience.
    fn token(&self, namespace: &str) -> String {
        let now = Clock::System.now().seconds();
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(String::from("one"));
        let claims = json!({
            "iss": ISSUER, "aud": [AUDIENCE], "sub": format!("system:serviceaccount:{namespace}:default"),
            "iat": now, "nbf": now, "exp": now + 600, "jti": "0b9f4a2e-6d0c-4f7b-9a53-5f4f4c0f1d2e",
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": "default", "uid": "7f0b7a56"}},
        });
        jsonwebtoken::encode(&header, &claims, &self.key).expect("a token is signed")
    }

    /// What the kubelet does before a pull.
    fn asked(&self, namespace: &str, image: &str) -> Outcome {
        let request = json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest",
            "image": image, "serviceAccountToken": self.token(namespace),
        });
        let program: PathBuf = self.folder.path().join("berth-credential-provider");
        let prepare = |command: &mut std::process::Command| {
            command.env_remove("BERTH_URL");
            command.args(["--url", &self.server.url("")]);
            command.args(["--registry", &self.server.pull_door]);
        };
        process::run(Path::new(&program), prepare, Some(&request.to_string()))
    }

    /// What the kubelet hands to the container runtime for this image.
    fn login(&self, image: &str) -> Login {
        let answer = self.asked("shop", image).succeeded();
        let answer: Value = serde_json::from_str(&answer.stdout).expect("the answer is JSON");
        assert_eq!(answer["kind"], "CredentialProviderResponse");
        assert_eq!(answer["cacheKeyType"], "Image");
        let auth = answer["auth"].as_object().expect("there is a password");
        let (pattern, auth) = auth.iter().next().expect("there is one");
        assert!(image.starts_with(pattern.as_str()), "{pattern}");
        let text = |field: &str| String::from(auth[field].as_str().expect("a text"));
        Login {
            user_name: text("username"),
            password: text("password"),
            id: String::new(),
        }
    }
}

fn pulls<C: Client>() {
    let cluster = Cluster::start();
    let team = Team::new(&cluster.server, "blue");
    let person = C::new();
    let door = &cluster.server.registry;
    person.login(door, &team.key_login()).succeeded();
    for image in ["app:v1", "tools:v1"] {
        let reference = team.reference(image);
        person.make(&reference, "for the pods");
        person.push(&reference).succeeded();
        person.forget(&reference);
    }
    let node = C::new();
    let image = team.reference_at_pull_door("app:v1");
    node.login(&cluster.server.pull_door, &cluster.login(&image))
        .succeeded();
    node.pull(&image).succeeded();
    assert_eq!(node.greeting(&image), "for the pods");
    let other = node.pull(&team.reference_at_pull_door("tools:v1"));
    assert!(other.failed(), "{}", other.text());
    // Another namespace gets nothing, and neither does anybody for an image of another registry.
    cluster
        .asked("other", &image)
        .refused_with(&["no rule of the issuer", "invalid_grant"]);
    cluster
        .asked("shop", "registry.example.org/t-blue/app:v1")
        .refused_with(&["is not an image of"]);
}

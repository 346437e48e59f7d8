//! A pull secret as Kubernetes takes it: a Secret of the type `kubernetes.io/dockerconfigjson`, and its YAML.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::auth::{PullSecretPassword, RegistryHosts, RequestError};
use crate::grammar::{documented, text, whole};

const API_VERSION: &str = "v1";
const KIND: &str = "Secret";
const TYPE: &str = "kubernetes.io/dockerconfigjson";
const MANAGER: &str = "berth";
/// What a Secret is called if nothing is said.
pub(super) const DEFAULT_NAME: &str = "berth-pull";
/// Characters of the name of a Secret, a DNS subdomain of RFC 1123.
const NAME_LENGTHS: RangeInclusive<usize> = 1..=253;
/// Characters of a namespace, a DNS label of RFC 1123.
const NAMESPACE_LENGTHS: RangeInclusive<usize> = 1..=63;
/// Regular expressions of what the checks below take, for the API's document.
const LABEL: &str = "[a-z0-9]([a-z0-9-]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*";

pub(crate) enum SecretName {}
documented!(
    SecretName,
    text(
        "The name of a Kubernetes Secret.",
        NAME_LENGTHS,
        DEFAULT_NAME
    )
    .pattern(whole(SUBDOMAIN))
);

pub(crate) enum KubernetesNamespace {}
documented!(
    KubernetesNamespace,
    text(
        "The name of a Kubernetes namespace.",
        NAMESPACE_LENGTHS,
        "shop"
    )
    .pattern(whole(LABEL))
);

// No `Debug`: it holds the secret.
/// A Kubernetes Secret.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretManifest {
    /// Always `v1`.
    #[schema(examples("v1"))]
    pub api_version: String,
    /// Always `Secret`.
    #[schema(examples("Secret"))]
    pub kind: String,
    /// Its name, and where it lies.
    pub metadata: SecretMetadata,
    /// Always `kubernetes.io/dockerconfigjson`.
    #[serde(rename = "type")]
    #[schema(examples("kubernetes.io/dockerconfigjson"))]
    pub kind_of_secret: String,
    /// What is in it.
    pub data: SecretData,
}

/// The name of a Secret, and where it lies.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SecretMetadata {
    /// Its name.
    #[schema(value_type = SecretName)]
    pub name: String,
    /// Its namespace, if one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = KubernetesNamespace)]
    pub namespace: Option<String>,
    /// Who looks after it.
    pub labels: SecretLabels,
}

/// Who looks after a Secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SecretLabels {
    /// Always `berth`.
    #[serde(rename = "app.kubernetes.io/managed-by")]
    #[schema(examples("berth"))]
    pub managed_by: String,
}

// No `Debug`: it holds the secret.
/// What is in a Secret.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct SecretData {
    /// A docker configuration in base64, with the user name and the password of each host of the registry.
    #[serde(rename = ".dockerconfigjson")]
    #[schema(examples("eyJhdXRocyI6e319"))]
    pub docker_config_json: String,
}

impl SecretManifest {
    pub(super) fn new(
        name: &str,
        namespace: Option<&str>,
        hosts: &[String],
        username: &str,
        password: &PullSecretPassword,
    ) -> Self {
        let login = json!({
            "username": username,
            "password": password.reveal(),
            "auth": STANDARD.encode(format!("{username}:{}", password.reveal())),
        });
        let auths: BTreeMap<&String, _> = hosts.iter().map(|host| (host, &login)).collect();
        let config = json!({"auths": auths}).to_string();
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            metadata: SecretMetadata {
                name: name.to_owned(),
                namespace: namespace.map(str::to_owned),
                labels: SecretLabels {
                    managed_by: MANAGER.to_owned(),
                },
            },
            kind_of_secret: TYPE.to_owned(),
            data: SecretData {
                docker_config_json: STANDARD.encode(config),
            },
        }
    }

    /// The same in YAML. The shape never changes; what stands in it is quoted, since names such as `1e3` and `null` would
    /// mean something else.
    #[must_use]
    pub fn yaml(&self) -> String {
        // A string of JSON is one of YAML.
        let quoted = |text: &str| json!(text).to_string();
        let mut metadata = format!("  name: {}\n", quoted(&self.metadata.name));
        if let Some(namespace) = &self.metadata.namespace {
            metadata.push_str(&format!("  namespace: {}\n", quoted(namespace)));
        }
        let data = quoted(&self.data.docker_config_json);
        format!(
            "apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n{metadata}  labels:\n    \
             app.kubernetes.io/managed-by: {MANAGER}\ntype: {TYPE}\ndata:\n  .dockerconfigjson: {data}\n"
        )
    }
}

/// The hosts that nodes may name: that to pull from, and that to push to, which templates may have from elsewhere.
pub(super) fn hosts_of(hosts: &RegistryHosts) -> Vec<String> {
    let (pull, push) = (hosts.pull_host(), &hosts.push);
    let mut all = vec![pull.to_owned()];
    if !push.eq_ignore_ascii_case(pull) {
        all.push(push.clone());
    }
    all
}

/// Checks the name of a Secret.
pub(super) fn check_secret_name(name: &str) -> Result<(), RequestError> {
    if NAME_LENGTHS.contains(&name.len()) && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(RequestError::BadRequest(format!(
        "name: a Secret's name has 1 to {} lower-case letters, digits, '-' and '.', with a letter or digit at both ends \
         of each part",
        NAME_LENGTHS.end()
    )))
}

/// Checks the name of a namespace.
pub(super) fn check_namespace(name: &str) -> Result<(), RequestError> {
    if NAMESPACE_LENGTHS.contains(&name.len()) && is_label(name) {
        return Ok(());
    }
    Err(RequestError::BadRequest(format!(
        "namespace: a namespace of Kubernetes has 1 to {} lower-case letters, digits and '-', with a letter or digit at \
         both ends",
        NAMESPACE_LENGTHS.end()
    )))
}

fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::oci::testing::{made_by, near, whole};

    static NAMES: LazyLock<Regex> = LazyLock::new(|| whole(SUBDOMAIN));
    static NAMESPACES: LazyLock<Regex> = LazyLock::new(|| whole(LABEL));
    const SOME: &str = r"[a-b0-](\.?[a-b0-]){0,5}";

    proptest! {
        #[test]
        fn names_agree_with_their_grammar(text in prop_oneof![made_by(SOME), near(SOME)], long in 1..300_usize) {
            for text in [text.repeat(long), text] {
                let expected = NAMES.is_match(&text) && text.len() <= 253;
                prop_assert_eq!(check_secret_name(&text).is_ok(), expected, "{:?}", text);
                let expected = NAMESPACES.is_match(&text) && text.len() <= 63;
                prop_assert_eq!(check_namespace(&text).is_ok(), expected, "{:?}", text);
            }
        }
    }

    #[test]
    fn the_yaml_quotes_what_would_mean_something_else() {
        let password = PullSecretPassword::generate().unwrap();
        let hosts = [String::from("registry.example:5000")];
        let manifest = SecretManifest::new("1e3", Some("null"), &hosts, "pull-1", &password);
        let data = &manifest.data.docker_config_json;
        assert_eq!(
            manifest.yaml(),
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata:\n  name: \"1e3\"\n  namespace: \"null\"\n  labels:\n    \
                 app.kubernetes.io/managed-by: berth\ntype: kubernetes.io/dockerconfigjson\ndata:\n  \
                 .dockerconfigjson: \"{data}\"\n"
            )
        );
        let manifest = SecretManifest::new("berth-pull", None, &hosts, "pull-1", &password);
        assert!(!manifest.yaml().contains("namespace"));
    }

    #[test]
    fn one_address_for_pushes_and_pulls_stands_once() {
        let hosts = |pull: Option<&str>| {
            hosts_of(&RegistryHosts {
                push: String::from("push.example"),
                pull: pull.map(str::to_owned),
                aliases: vec![String::from("localhost")],
            })
        };
        assert_eq!(hosts(None), ["push.example"]);
        assert_eq!(hosts(Some("Push.example")), ["Push.example"]);
        assert_eq!(
            hosts(Some("pull.example:5001")),
            ["pull.example:5001", "push.example"]
        );
    }
}

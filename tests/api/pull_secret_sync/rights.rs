//! Who may do what in the stand-in of a cluster: the roles of `config/kubernetes/pull-secrets`, judged as RBAC does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

const ROLES: &str = include_str!("../../../config/kubernetes/pull-secrets/base/roles.yaml");
const BINDINGS: &str =
    include_str!("../../../config/kubernetes/pull-secrets/by-label/bindings.yaml");

/// The role of what is done inside of namespaces.
const ROLE: &str = "berth-pull-secrets";

/// What a request asks for.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    pub(super) verb: &'static str,
    pub(super) resource: String,
    /// Empty for what has none yet, and for lists.
    pub(super) name: String,
    /// Empty for what is in none.
    pub(super) namespace: String,
}

/// Rules of roles, and where they hold.
#[derive(Clone, Default)]
pub(super) struct Rights {
    everywhere: Vec<Value>,
    inside: BTreeMap<String, Vec<Value>>,
}

fn documents(text: &str) -> Vec<Value> {
    let texts = text.split("\n---\n");
    texts
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect()
}

fn rules_of(role: &str) -> Vec<Value> {
    let roles = documents(ROLES).into_iter();
    let role = roles
        .filter(|object| object["kind"] == "ClusterRole")
        .find(|object| object["metadata"]["name"] == role);
    role.unwrap()["rules"].as_array().unwrap().clone()
}

impl Rights {
    /// As `by-label` binds them.
    pub(super) fn by_label() -> Self {
        let bindings = documents(BINDINGS).into_iter();
        let rules = bindings.flat_map(|binding| {
            assert_eq!(binding["kind"], "ClusterRoleBinding");
            rules_of(binding["roleRef"]["name"].as_str().unwrap())
        });
        Self {
            everywhere: rules.collect(),
            inside: BTreeMap::new(),
        }
    }

    /// As RoleBindings in these namespaces bind them.
    pub(super) fn inside(namespaces: &[&str]) -> Self {
        let inside = namespaces.iter();
        Self {
            everywhere: Vec::new(),
            inside: inside
                .map(|namespace| ((*namespace).to_owned(), rules_of(ROLE)))
                .collect(),
        }
    }

    /// The same without one verb on one resource.
    pub(super) fn without(mut self, verb: &str, resource: &str) -> Self {
        for rule in &mut self.everywhere {
            if rule["resources"] == json!([resource]) {
                let verbs = rule["verbs"].as_array_mut().unwrap();
                verbs.retain(|other| other != verb);
            }
        }
        self
    }

    pub(super) fn allow(&self, asked: &Attributes) -> bool {
        let inside = self.inside.get(&asked.namespace).into_iter().flatten();
        self.everywhere
            .iter()
            .chain(inside)
            .any(|rule| allows(rule, asked))
    }
}

fn names(list: &Value, wanted: &str) -> bool {
    let list = list.as_array().unwrap();
    list.iter().any(|entry| entry == wanted || entry == "*")
}

fn allows(rule: &Value, asked: &Attributes) -> bool {
    let is_named = match &rule["resourceNames"] {
        Value::Null => true,
        // What has no name is never one of those that are named.
        some => !asked.name.is_empty() && names(some, &asked.name),
    };
    names(&rule["apiGroups"], "")
        && names(&rule["resources"], &asked.resource)
        && names(&rule["verbs"], asked.verb)
        && is_named
}

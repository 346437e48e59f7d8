//! What the stand-in of a cluster keeps, and what Kubernetes' rules do to it: versions, conflicts, patches, selectors.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::rights::Rights;

/// Something that happens right before a request of a verb on a resource is done.
pub(super) type Interference = (
    &'static str,
    &'static str,
    Box<dyn FnOnce(&mut Resources) + Send>,
);

/// Kind, namespace and name.
type Place = (&'static str, String, String);

/// A change of a namespace, for those who watch.
pub(super) struct Event {
    pub(super) version: u64,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// A refusal, as a Status of the API.
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

pub(super) type Answer = Result<Value, Refusal>;

/// Everything in the cluster.
#[derive(Default)]
pub(super) struct Resources {
    version: u64,
    objects: BTreeMap<Place, Value>,
    pub(super) events: Vec<Event>,
    /// The oldest version from which changes can still be told.
    pub(super) oldest: u64,
    pub(super) rights: Rights,
    /// Requests that were answered, as `verb resource namespace/name`; those that changed nothing on purpose have `dry` in front.
    pub(super) requests: Vec<String>,
    /// Requests that somebody had no right to.
    pub(super) forbidden: Vec<String>,
    pub(super) interferences: VecDeque<Interference>,
    /// How often all watches were broken off.
    pub(super) breaks: u64,
    /// What everything is answered with while the API is down.
    pub(super) outage: Option<u16>,
    /// Namespaces in which every request fails.
    pub(super) failing: BTreeSet<String>,
    /// What the request is answered with, instead of being done, that an interference came before.
    pub(super) refused: Option<u16>,
}

pub(super) fn refusal(code: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        code,
        reason,
        message: message.into(),
    }
}

impl Refusal {
    pub(super) fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        })
    }
}

fn kind_of(resource: &str) -> &'static str {
    match resource {
        "secrets" => "Secret",
        "serviceaccounts" => "ServiceAccount",
        other => panic!("the stand-in has no {other}"),
    }
}

fn not_found(resource: &str, name: &str) -> Refusal {
    refusal(404, "NotFound", format!("{resource} \"{name}\" not found"))
}

impl Resources {
    /// An empty cluster with these rights.
    pub(super) fn with(rights: Rights) -> Self {
        Self {
            rights,
            ..Self::default()
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    fn store(&mut self, kind: &'static str, mut object: Value) -> Value {
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(uuid::Uuid::new_v4().to_string());
            metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let text = |key: &str| metadata[key].as_str().unwrap_or_default().to_owned();
        let place = (kind, text("namespace"), text("name"));
        let before = self.objects.insert(place, object.clone());
        if kind == "Namespace" {
            self.events.push(Event {
                version: self.version,
                before,
                after: Some(object.clone()),
            });
        }
        object
    }

    /// Makes or changes a namespace, with its ServiceAccount unless that comes later.
    pub(super) fn namespace(&mut self, name: &str, labels: &Value) {
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
            "status": {"phase": "Active"},
        });
        self.store("Namespace", object);
    }

    /// A ServiceAccount that has these pull secrets.
    pub(super) fn account(&mut self, namespace: &str, pull_secrets: &[&str]) {
        let entries: Vec<_> = pull_secrets
            .iter()
            .map(|name| json!({"name": name}))
            .collect();
        let object = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": namespace},
            "secrets": [{"name": "default-token"}], "imagePullSecrets": entries,
        });
        self.store("ServiceAccount", object);
    }

    /// Something that others put in.
    pub(super) fn put(&mut self, object: Value) {
        self.store("Secret", object);
    }

    /// Changes something as others do.
    pub(super) fn change(
        &mut self,
        resource: &str,
        namespace: &str,
        name: &str,
        by: impl FnOnce(&mut Value),
    ) {
        let mut object = self.find(resource, namespace, name).unwrap().clone();
        by(&mut object);
        self.store(kind_of(resource), object);
    }

    pub(super) fn remove(&mut self, resource: &str, namespace: &str, name: &str) {
        let place = (kind_of(resource), namespace.to_owned(), name.to_owned());
        self.objects.remove(&place).unwrap();
        self.version += 1;
    }

    pub(super) fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<&Value> {
        let place = (kind_of(resource), namespace.to_owned(), name.to_owned());
        self.objects.get(&place)
    }

    pub(super) fn get(&self, resource: &str, namespace: &str, name: &str) -> Answer {
        let found = self.find(resource, namespace, name);
        found.cloned().ok_or_else(|| not_found(resource, name))
    }

    pub(super) fn create(&mut self, namespace: &str, object: Value, is_dry: bool) -> Answer {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        if metadata["namespace"] != namespace || name.is_empty() {
            return Err(refusal(
                400,
                "BadRequest",
                "the namespace of the provided object does not match",
            ));
        }
        if !metadata["resourceVersion"].is_null() {
            return Err(refusal(
                400,
                "BadRequest",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let place = ("Namespace", String::new(), namespace.to_owned());
        if !self.objects.contains_key(&place) {
            return Err(not_found("namespaces", namespace));
        }
        if self.find("secrets", namespace, &name).is_some() {
            return Err(refusal(
                409,
                "AlreadyExists",
                format!("secrets \"{name}\" already exists"),
            ));
        }
        check_secret(&object)?;
        if is_dry {
            return Ok(object);
        }
        Ok(self.store("Secret", object))
    }

    pub(super) fn replace(
        &mut self,
        namespace: &str,
        name: &str,
        object: Value,
        is_dry: bool,
    ) -> Answer {
        let current = self.get("secrets", namespace, name)?;
        let (old, new) = (&current["metadata"], &object["metadata"]);
        if new["name"] != name || new["namespace"] != namespace {
            return Err(refusal(
                400,
                "BadRequest",
                "the name of the object does not match the name on the URL",
            ));
        }
        let same = |key: &str| new[key].is_null() || new[key] == old[key];
        if !same("resourceVersion") || !same("uid") {
            return Err(modified("secrets", name));
        }
        if object["type"] != current["type"] {
            return Err(refusal(
                422,
                "Invalid",
                "type: Invalid value: field is immutable",
            ));
        }
        check_secret(&object)?;
        if is_dry {
            return Ok(object);
        }
        Ok(self.store("Secret", object))
    }

    /// A merge patch. To a strategic one the pull secrets of a ServiceAccount are one value as well.
    pub(super) fn patch(&mut self, namespace: &str, name: &str, patch: &Value) -> Answer {
        let current = self.get("serviceaccounts", namespace, name)?;
        let mut patched = current.clone();
        merge(&mut patched, patch);
        let version = &current["metadata"]["resourceVersion"];
        if patched["metadata"]["resourceVersion"] != *version {
            return Err(modified("serviceaccounts", name));
        }
        if patched == current {
            return Ok(current);
        }
        Ok(self.store("ServiceAccount", patched))
    }

    /// The namespaces that fit, behind those of the page before.
    pub(super) fn namespaces(&self, selector: &Selector, limit: usize, after: &str) -> Value {
        let all = self
            .objects
            .iter()
            .filter(|((kind, ..), _)| *kind == "Namespace");
        let mut fitting = all
            .map(|(_, object)| object)
            .filter(|object| selector.fits(object))
            .filter(|object| object["metadata"]["name"].as_str().unwrap() > after)
            .peekable();
        let page: Vec<_> = fitting.by_ref().take(limit).cloned().collect();
        let last = page.last().filter(|_| fitting.peek().is_some());
        let next = last.map_or(json!(""), |object| object["metadata"]["name"].clone());
        json!({
            "kind": "NamespaceList", "apiVersion": "v1",
            "metadata": {"resourceVersion": self.version.to_string(), "continue": next},
            "items": page,
        })
    }
}

fn modified(resource: &str, name: &str) -> Refusal {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    refusal(
        409,
        "Conflict",
        format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}"),
    )
}

fn check_secret(object: &Value) -> Result<(), Refusal> {
    let data = object["data"][".dockerconfigjson"].as_str();
    let config = data.and_then(|text| STANDARD.decode(text).ok());
    let config = config.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let is_docker = object["type"] == "kubernetes.io/dockerconfigjson";
    if is_docker && config.is_none() {
        let message = "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\"";
        return Err(refusal(422, "Invalid", message));
    }
    Ok(())
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// A selector of labels, with equality as its only operator.
#[derive(Clone)]
pub(super) struct Selector(Vec<(String, String)>);

impl Selector {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        let pairs = parts.map(|part| {
            let (key, value) = part.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        });
        let pairs: Option<Vec<_>> = pairs.collect();
        let wrong = || {
            refusal(
                400,
                "BadRequest",
                format!("unable to parse requirement: {text}"),
            )
        };
        pairs.map(Self).ok_or_else(wrong)
    }

    fn fits(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.0.iter().all(|(key, value)| labels[key] == **value)
    }

    /// How a change looks to those who see what fits alone.
    pub(super) fn event(&self, event: &Event) -> Option<(&'static str, Value)> {
        let fitting = |object: &Option<Value>| object.clone().filter(|object| self.fits(object));
        match (fitting(&event.before), fitting(&event.after)) {
            (None, None) => None,
            (None, Some(after)) => Some(("ADDED", after)),
            (Some(_), Some(after)) => Some(("MODIFIED", after)),
            (Some(before), None) => Some(("DELETED", event.after.clone().unwrap_or(before))),
        }
    }
}

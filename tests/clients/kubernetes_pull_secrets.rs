//! The manifests of what keeps pull secrets in namespaces: its rights, what it may reach, and its command.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::fact;
use crate::manifests::{BASE, Manifests, PAGE, PULL_SECRETS, example, list, number, text};
use crate::process;
use crate::server::binary;

/// The name of everything here.
const NAME: &str = "berth-pull-secrets";

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact("kubernetes::pull_secrets_have_these_parts", parts),
        fact("kubernetes::pull_secrets_have_few_rights", few_rights),
        fact("kubernetes::pull_secrets_are_held_to_it", policies),
        fact("kubernetes::pull_secrets_run_without_more", no_more),
        fact("kubernetes::pull_secrets_reach_berth_and_the_api", reach),
        fact(
            "kubernetes::pull_secrets_have_a_command_that_is_taken",
            command,
        ),
        fact(
            "kubernetes::pull_secrets_are_for_named_namespaces_too",
            named,
        ),
    ]
}

fn parts() {
    let mut parts = vec![
        "ClusterRole/berth-pull-secrets",
        "ClusterRole/berth-pull-secrets-namespaces",
        "ClusterRoleBinding/berth-pull-secrets",
        "ClusterRoleBinding/berth-pull-secrets-namespaces",
        "Deployment/berth-pull-secrets",
        "NetworkPolicy/berth-from-pull-secrets",
        "NetworkPolicy/berth-pull-secrets",
        "ServiceAccount/berth-pull-secrets",
        "ValidatingAdmissionPolicy/berth-pull-secrets",
        "ValidatingAdmissionPolicy/berth-pull-secrets-accounts",
        "ValidatingAdmissionPolicyBinding/berth-pull-secrets",
        "ValidatingAdmissionPolicyBinding/berth-pull-secrets-accounts",
    ];
    parts.sort_unstable();
    assert_eq!(PULL_SECRETS.names(), parts);
    assert_eq!(example("my-pull-secrets").names(), parts);
}

fn few_rights() {
    let secrets = json!({
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["berth-pull"], "verbs": ["get", "update"],
    });
    let new = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]});
    let accounts = json!({
        "apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["default"], "verbs": ["get", "patch"],
    });
    let namespaces =
        json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]});
    let rules = |name| &PULL_SECRETS.named("ClusterRole", name)["rules"];
    assert_eq!(*rules(NAME), json!([secrets, new, accounts]));
    assert_eq!(*rules("berth-pull-secrets-namespaces"), json!([namespaces]));
    for binding in PULL_SECRETS.of_kind("ClusterRoleBinding") {
        assert_eq!(binding["roleRef"]["name"], binding["metadata"]["name"]);
        assert_eq!(binding["subjects"], subject());
    }
}

/// What the roles cannot say: of new Secrets, of namespaces with a label, and of what in a ServiceAccount is changed.
fn policies() {
    let policies = [
        (NAME, "secrets", 2),
        ("berth-pull-secrets-accounts", "serviceaccounts", 6),
    ];
    for (name, resource, count) in policies {
        let policy = &PULL_SECRETS.named("ValidatingAdmissionPolicy", name)["spec"];
        assert_eq!(policy["failurePolicy"], "Fail");
        let rules = list(&policy["matchConstraints"]["resourceRules"]);
        assert_eq!(rules[0]["resources"], json!([resource]));
        assert_eq!(list(&policy["validations"]).len(), count);
        let condition = text(&policy["matchConditions"][0]["expression"]);
        assert!(condition.contains(NAME), "{condition}");
        let binding = &PULL_SECRETS.named("ValidatingAdmissionPolicyBinding", name)["spec"];
        let deny = json!({"policyName": name, "validationActions": ["Deny"]});
        assert_eq!(*binding, deny);
    }
    let of_secrets = |manifests: &Manifests| {
        let policy = manifests.named("ValidatingAdmissionPolicy", NAME);
        let validations = list(&policy["spec"]["validations"]).iter();
        let expressions = validations.map(|validation| text(&validation["expression"]).to_owned());
        expressions.collect::<Vec<_>>()
    };
    let expressions = of_secrets(&PULL_SECRETS);
    for part in ["== 'berth-pull'", "== 'kubernetes.io/dockerconfigjson'"] {
        assert!(expressions[0].contains(part), "{expressions:?}");
    }
    let selector = arguments(&PULL_SECRETS)
        .into_iter()
        .find_map(|argument| argument.split_once('='));
    let (key, value) = selector.expect("a label");
    let demanded = format!("namespaceObject.metadata.labels['{key}'] == '{value}'");
    assert!(expressions[1].contains(&demanded), "{expressions:?}");
    // Namespaces that are named need no label.
    assert_eq!(of_secrets(&example("my-named-namespaces")).len(), 1);
}

fn subject() -> Value {
    json!([{"kind": "ServiceAccount", "name": NAME, "namespace": "berth"}])
}

fn no_more() {
    let pod = PULL_SECRETS.pod();
    let mut security = BASE.pod()["securityContext"].clone();
    // There is no volume of many files.
    security
        .as_object_mut()
        .and_then(|fields| fields.remove("fsGroupChangePolicy"));
    assert_eq!(pod["securityContext"], security);
    let container = PULL_SECRETS.container(NAME);
    let server = BASE.container("berth");
    assert_eq!(container["securityContext"], server["securityContext"]);
    assert_eq!(container["image"], server["image"]);
    assert_eq!(pod["serviceAccountName"], NAME);
    let account = PULL_SECRETS.named("ServiceAccount", NAME);
    assert_eq!(account["automountServiceAccountToken"], false);
    let spec = &PULL_SECRETS.deployment()["spec"];
    assert_eq!(number(&spec["replicas"]), 1);
    assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
    assert!(number(&pod["terminationGracePeriodSeconds"]) > 20);
}

fn reach() {
    let labels = |manifests: &Manifests| {
        manifests.deployment()["spec"]["template"]["metadata"]["labels"].clone()
    };
    let (own, servers) = (labels(&PULL_SECRETS), labels(&BASE));
    let own_policy = &PULL_SECRETS.named("NetworkPolicy", NAME)["spec"];
    assert_eq!(own_policy["podSelector"]["matchLabels"], own);
    assert_eq!(own_policy["ingress"], json!([]));
    let to_berth = &list(&own_policy["egress"])[0];
    assert_eq!(to_berth["to"][0]["podSelector"]["matchLabels"], servers);
    let service = &BASE.named("Service", "berth")["spec"]["ports"][0]["port"];
    assert_eq!(to_berth["ports"][0]["port"], *service);
    let door = &PULL_SECRETS.named("NetworkPolicy", "berth-from-pull-secrets")["spec"];
    assert_eq!(door["podSelector"]["matchLabels"], servers);
    let from = &door["ingress"][0]["from"][0]["podSelector"]["matchLabels"];
    assert_eq!(*from, own);
    let url = format!("http://berth:{service}");
    assert!(arguments(&PULL_SECRETS).contains(&url.as_str()));
}

fn arguments(manifests: &Manifests) -> Vec<&str> {
    let arguments = list(&manifests.container(NAME)["args"]);
    arguments.iter().map(text).collect()
}

/// The command takes its flags: it goes on to the file of the key, which is not there.
fn command() {
    // A key that lies in the cluster pushes nothing.
    assert!(PAGE.contains("berth api-key create cluster --role admin --actions pull "));
    for manifests in [&*PULL_SECRETS, &example("my-named-namespaces")] {
        let prepare = |command: &mut std::process::Command| {
            command.env_clear().args(arguments(manifests));
        };
        let ended = process::run(&binary(), prepare, None);
        ended.refused_with(&["cannot read the API key in /run/secrets/berth/api-key"]);
        let mount = &manifests.container(NAME)["volumeMounts"][0];
        assert_eq!(mount["mountPath"], "/run/secrets/berth");
        assert_eq!(manifests.volume("api-key")["secret"]["secretName"], NAME);
    }
}

fn named() {
    let named = example("my-named-namespaces");
    assert!(named.of_kind("ClusterRoleBinding").is_empty());
    let binding = named.named("RoleBinding", NAME);
    assert_eq!(binding["roleRef"]["name"], NAME);
    assert_eq!(binding["roleRef"]["kind"], "ClusterRole");
    assert_eq!(binding["subjects"], subject());
    let namespace = text(&binding["metadata"]["namespace"]);
    assert!(arguments(&named).contains(&namespace));
    assert!(!arguments(&named).contains(&"--namespace-selector"));
}

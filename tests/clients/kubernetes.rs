//! The Kubernetes manifests: what a cluster would be told, and whether it fits the server, the image and the page about
//! them.

use std::collections::BTreeMap;

use berth::config::{BaseUrl, Config, DoorName};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::fact;
use crate::manifests::{
    BASE, Manifests, PAGE, REPLICAS, all, bytes, check, example, list, number, text,
};

/// The name of the image until somebody gives their own.
const IMAGE: &str = "registry.example.com/berth";

/// What the image is made by.
const DOCKERFILE: &str = include_str!("../../Dockerfile");

/// What a blob under way takes in memory, in bytes: `limits.open_transfers` in `config/berth.toml` says so.
const TRANSFER_BYTES: u64 = 512 << 10;

/// What the process takes beside its budgets, in bytes.
const PROCESS_BYTES: u64 = 64 << 20;

/// Parts that one upload may have on the disk, as docs/s3.md says.
const PARTS_OF_AN_UPLOAD: u64 = 3;

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact("kubernetes::the_parts_are_these", parts),
        fact("kubernetes::a_mistyped_field_is_refused", mistyped),
        fact("kubernetes::containers_may_do_nothing", may_do_nothing),
        fact(
            "kubernetes::ports_are_those_of_the_settings",
            ports_are_configured,
        ),
        fact("kubernetes::services_lead_to_the_pods", services_lead),
        fact("kubernetes::policies_cover_the_pods", policies_cover),
        fact("kubernetes::no_secret_is_in_them", no_secret),
        fact(
            "kubernetes::the_image_is_a_placeholder_of_this_version",
            placeholder,
        ),
        fact("kubernetes::one_server_owns_its_volume", one_owner),
        fact("kubernetes::replicas_leave_no_gap", no_gap),
        fact("kubernetes::pods_have_time_to_drain", time_to_drain),
        fact("kubernetes::budgets_fit_into_the_limits", budgets_fit),
        fact("kubernetes::examples_of_the_page_render", examples),
    ]
}

/// Kind and name of each object, without the hash of the content.
fn parts_of(manifests: &Manifests) -> Vec<String> {
    let names = manifests.names().into_iter().map(|name| {
        let config_map = name.starts_with("ConfigMap/berth-");
        if config_map {
            String::from("ConfigMap/berth-…")
        } else {
            name
        }
    });
    names.collect()
}

fn parts() {
    let shared = [
        "ConfigMap/berth-…",
        "Deployment/berth",
        "NetworkPolicy/berth",
        "Service/berth",
        "Service/berth-ops",
        "Service/berth-pull",
        "ServiceAccount/berth",
    ];
    let with = |more: &[&'static str]| {
        let mut parts = [&shared, more].concat();
        parts.sort_unstable();
        parts
    };
    assert_eq!(parts_of(&BASE), with(&["PersistentVolumeClaim/berth"]));
    let more = ["NetworkPolicy/berth-egress", "PodDisruptionBudget/berth"];
    assert_eq!(parts_of(&REPLICAS), with(&more));
}

fn mistyped() {
    let text = BASE
        .text
        .replace("readOnlyRootFilesystem", "readOnlyRootFileSystem");
    check(&text).refused_with(&["Deployment/berth, 1.30", "readOnlyRootFileSystem"]);
}

fn may_do_nothing() {
    let user = DOCKERFILE
        .lines()
        .find_map(|line| line.strip_prefix("USER "));
    let (user, group) = user
        .and_then(|ids| ids.split_once(':'))
        .expect("the image has a user and a group");
    for manifests in all() {
        let pod = manifests.pod();
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        for (key, id) in [
            ("runAsUser", user),
            ("runAsGroup", group),
            ("fsGroup", group),
        ] {
            assert_eq!(security[key].to_string(), id, "{key}");
        }
        assert_eq!(
            security["seccompProfile"],
            json!({"type": "RuntimeDefault"})
        );
        assert_eq!(pod["automountServiceAccountToken"], false);
        let account = manifests.named("ServiceAccount", text(&pod["serviceAccountName"]));
        assert_eq!(account["automountServiceAccountToken"], false);
        for key in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
            assert_eq!(pod[key], Value::Null, "{key}");
        }
        // All of it: a key that is not here would take something back.
        let nothing = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        for container in manifests.containers() {
            assert_eq!(container["securityContext"], nothing);
            for port in list(&container["ports"]) {
                assert_eq!(port["hostPort"], Value::Null);
            }
        }
        for volume in list(&pod["volumes"]) {
            let harmless = ["configMap", "emptyDir", "persistentVolumeClaim", "secret"];
            let is_harmless = harmless.iter().any(|kind| volume.get(kind).is_some());
            assert!(is_harmless, "{volume}");
        }
    }
}

/// The ports of the server's container by name.
fn ports(manifests: &Manifests) -> BTreeMap<&str, u64> {
    let ports = list(&manifests.container("berth")["ports"]).iter();
    ports
        .map(|port| (text(&port["name"]), number(&port["containerPort"])))
        .collect()
}

fn ports_are_configured() {
    for manifests in all() {
        let server = manifests.configuration().server;
        let pull_listen = server.pull_listen.expect("the pull door is on");
        let doors = [
            ("public", server.public_listen),
            ("pull", pull_listen),
            ("ops", server.ops_listen),
        ];
        let mut wanted = BTreeMap::new();
        for (name, address) in doors {
            assert!(address.ip().is_unspecified(), "{name} is for one address");
            wanted.insert(name, u64::from(address.port()));
        }
        assert_eq!(ports(manifests), wanted);
        let container = manifests.container("berth");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], "ops", "{probe}");
        }
    }
}

fn services_lead() {
    for manifests in all() {
        let ports = ports(manifests);
        let labels = &manifests.deployment()["spec"]["template"]["metadata"]["labels"];
        let selector = &manifests.deployment()["spec"]["selector"]["matchLabels"];
        assert_labelled(labels, selector);
        for service in manifests.of_kind("Service") {
            assert_labelled(labels, &service["spec"]["selector"]);
            for port in list(&service["spec"]["ports"]) {
                let (name, target) = (text(&port["name"]), text(&port["targetPort"]));
                assert_eq!(name, target);
                assert_eq!(Some(&number(&port["port"])), ports.get(target), "{target}");
            }
        }
        let spec = |name| &manifests.named("Service", name)["spec"];
        assert_eq!(spec("berth")["type"], "ClusterIP");
        assert_eq!(spec("berth-ops")["type"], "ClusterIP");
        assert_eq!(spec("berth-pull")["type"], "NodePort");
        // References of pods lead to this port of each node.
        let pull_url = manifests.configuration().server.pull_url;
        let pull_host = pull_url.as_ref().map(BaseUrl::authority);
        let node_port = number(&spec("berth-pull")["ports"][0]["nodePort"]);
        assert_eq!(pull_host, Some(format!("127.0.0.1:{node_port}").as_str()));
        assert!(PAGE.contains(&format!("--docker-server=127.0.0.1:{node_port} ")));
    }
}

/// Asserts that `selector` selects by something, and what has `labels`.
#[track_caller]
fn assert_labelled(labels: &Value, selector: &Value) {
    let selector = selector.as_object().expect("a selector has labels");
    assert!(!selector.is_empty(), "it selects everything");
    for (key, value) in selector {
        assert_eq!(&labels[key], value, "{key}");
    }
}

fn policies_cover() {
    for manifests in all() {
        let labels = &manifests.deployment()["spec"]["template"]["metadata"]["labels"];
        for policy in manifests.of_kind("NetworkPolicy") {
            assert_labelled(labels, &policy["spec"]["podSelector"]["matchLabels"]);
        }
        let policy = &manifests.named("NetworkPolicy", "berth")["spec"];
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["egress"], json!([]));
        let from = |label: &str| json!([{"namespaceSelector": {"matchLabels": {label: "allow"}}}]);
        let mut rules = BTreeMap::new();
        for rule in list(&policy["ingress"]) {
            assert_eq!(list(&rule["ports"]).len(), 1, "{rule}");
            rules.insert(text(&rule["ports"][0]["port"]), rule["from"].clone());
        }
        let wanted = [
            ("public", from("berth/public")),
            ("pull", Value::Null),
            ("ops", from("berth/ops")),
        ];
        assert_eq!(rules, BTreeMap::from(wanted));
        assert!(rules.keys().eq(ports(manifests).keys()));
    }
    let egress = &REPLICAS.named("NetworkPolicy", "berth-egress")["spec"]["egress"];
    let rules = list(egress).iter();
    let open: Vec<u64> = rules
        .filter(|rule| rule.get("to").is_none())
        .flat_map(|rule| list(&rule["ports"]))
        .map(|port| number(&port["port"]))
        .collect();
    // DNS goes to the cluster's own alone.
    assert_eq!(open, [5432, 443]);
}

fn no_secret() {
    for manifests in all() {
        assert!(manifests.of_kind("Secret").is_empty());
        for container in manifests.containers() {
            assert_eq!(container.get("env"), None);
            assert_eq!(container.get("envFrom"), None);
        }
        let settings: Vec<&String> = manifests.settings().keys().collect();
        assert_eq!(settings, ["berth.toml"]);
        let Config {
            database,
            storage,
            auth,
            ..
        } = manifests.configuration();
        assert!(database.url.is_none());
        assert!(auth.key_wrapping_secret.is_none());
        assert!(storage.s3.access_key_id.is_none());
        assert!(storage.s3.secret_access_key.is_none());
    }
}

fn placeholder() {
    let image = format!("{IMAGE}:{}", env!("CARGO_PKG_VERSION"));
    for manifests in all() {
        for container in manifests.containers() {
            assert_eq!(container["image"], *image);
        }
    }
    assert!(PAGE.contains(&format!("- name: {IMAGE}\n")));
}

fn one_owner() {
    let spec = &BASE.deployment()["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
    let claim = text(&BASE.volume("data")["persistentVolumeClaim"]["claimName"]);
    BASE.named("PersistentVolumeClaim", claim);
    for manifests in all() {
        let data_dir = manifests.configuration().server.data_dir;
        let mounts = list(&manifests.container("berth")["volumeMounts"]).iter();
        let writable: Vec<_> = mounts
            .filter(|mount| mount["readOnly"] != true)
            .map(|mount| (text(&mount["name"]), text(&mount["mountPath"])))
            .collect();
        assert_eq!(writable, [("data", &*data_dir.to_string_lossy())]);
    }
}

fn no_gap() {
    let spec = &REPLICAS.deployment()["spec"];
    let replicas = number(&spec["replicas"]);
    assert!(replicas > 1);
    let rolling =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    assert_eq!(spec["strategy"], rolling);
    let labels = &spec["template"]["metadata"]["labels"];
    let budget = &REPLICAS.named("PodDisruptionBudget", "berth")["spec"];
    assert_labelled(labels, &budget["selector"]["matchLabels"]);
    assert_eq!(budget["maxUnavailable"], 1);
    for constraint in list(&REPLICAS.pod()["topologySpreadConstraints"]) {
        assert_labelled(labels, &constraint["labelSelector"]["matchLabels"]);
    }
    let data = REPLICAS.volume("data");
    assert_eq!(data.get("persistentVolumeClaim"), None);
    assert!(data["emptyDir"]["sizeLimit"].is_string());

    let database = REPLICAS.configuration().database;
    assert!(!database.migrate, "the init container does it");
    assert_eq!(REPLICAS.container("migrate")["args"][0], "migrate");
    let connections = (replicas + 1) * u64::from(database.max_connections);
    assert!(PAGE.contains(&format!(
        "during a rollout: {connections} with these settings"
    )));
}

fn time_to_drain() {
    for manifests in all() {
        let container = manifests.container("berth");
        let sleep_seconds = number(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
        let drain_seconds = manifests.configuration().server.drain_seconds;
        let grace_seconds = number(&manifests.pod()["terminationGracePeriodSeconds"]);
        assert!(grace_seconds > sleep_seconds + drain_seconds);
    }
}

fn size(value: usize) -> u64 {
    u64::try_from(value).expect("a size fits")
}

/// What the settings let the server take in memory, in bytes.
fn memory_bytes(config: &Config) -> u64 {
    let doors = [DoorName::Public, DoorName::Pull, DoorName::Ops];
    let connections = size(doors.len() * config.server.max_connections);
    let s3 = &config.storage.s3;
    let parts = match s3.bucket {
        Some(_) => size(s3.parts_in_flight) * s3.part_bytes,
        None => 0,
    };
    connections * size(config.server.header_limit_bytes)
        + size(config.limits.open_transfers) * TRANSFER_BYTES
        + 3 * size(config.limits.buffered_bytes)
        + config.database.cache_bytes
        + parts
        + PROCESS_BYTES
}

fn budgets_fit() {
    for (manifests, name) in [(&BASE, "one server"), (&REPLICAS, "a replica")] {
        let limit = bytes(&manifests.container("berth")["resources"]["limits"]["memory"]);
        let sum = memory_bytes(&manifests.configuration());
        assert!(sum <= limit, "{name} may take {sum} bytes of {limit}");
    }
    let sums = [&BASE, &REPLICAS].map(|manifests| {
        let mib = memory_bytes(&manifests.configuration()).div_ceil(1 << 20);
        mib.to_string()
    });
    let row = format!("| together | {} |", sums.join(" | "));
    assert!(PAGE.contains(&row), "the page does not say {row}");

    let config = REPLICAS.configuration();
    let spool_limit = bytes(&REPLICAS.volume("data")["emptyDir"]["sizeLimit"]);
    let uploads = size(config.limits.open_transfers);
    let spool = uploads * PARTS_OF_AN_UPLOAD * config.storage.s3.part_bytes;
    assert!(spool <= spool_limit, "{spool} bytes of {spool_limit}");
    let disk_limit = &REPLICAS.container("berth")["resources"]["limits"]["ephemeral-storage"];
    assert!(spool_limit < bytes(disk_limit));
}

fn examples() {
    for name in ["my-berth", "my-replicas"] {
        for container in example(name).containers() {
            assert_eq!(
                container["image"],
                "images.example.org/platform/berth:0.1.0"
            );
        }
    }
    let own = example("my-berth");
    let claim = &own.named("PersistentVolumeClaim", "berth")["spec"];
    assert_eq!(claim["resources"]["requests"]["storage"], "200Gi");

    let node_port = example("my-node-port");
    let ports = &node_port.named("Service", "berth")["spec"]["ports"];
    let port = json!([{"name": "public", "port": 5000, "targetPort": "public", "nodePort": 30500}]);
    assert_eq!(*ports, port);
    let labels = &node_port.deployment()["spec"]["template"]["metadata"]["labels"];
    let policy = &node_port.named("NetworkPolicy", "berth-public")["spec"];
    assert_labelled(labels, &policy["podSelector"]["matchLabels"]);
    assert_eq!(policy["ingress"], json!([{"ports": [{"port": "public"}]}]));
}

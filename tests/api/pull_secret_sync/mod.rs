//! `berth pull-secret sync`: the real program between a real registry and a stand-in for a cluster.

mod cluster;
mod limits;
mod resources;
mod rights;
mod running;
mod scene;
mod stand_in;
mod troubles;

use serde_json::{Value, json};

use rights::Rights;
use scene::{BY_LABEL, DAY_MS, NAME, PULL_HOST, Scene, auths};

#[tokio::test]
async fn a_namespace_gets_a_secret_that_pulls_and_its_pods_use_it() {
    let scene = Scene::set().await;
    scene.namespace("web");
    scene.cluster.change(|resources| {
        resources.account("web", &["other"]);
        resources.namespace("private", &json!({}));
        resources.account("private", &[]);
    });
    scene.once(&BY_LABEL).await.well();
    let secret = scene.secret("web");
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    let label = &secret["metadata"]["labels"]["app.kubernetes.io/managed-by"];
    assert_eq!(label, "berth");
    assert_eq!(scene.admitted("web"), json!(["other", NAME]));
    assert_eq!(scene.admitted("private"), json!([]));
    assert!(
        scene
            .cluster
            .look()
            .find("secrets", "private", NAME)
            .is_none()
    );
    assert_eq!(
        scene.writes(),
        ["create secrets web/", "patch serviceaccounts web/default"]
    );

    // It pulls, and does nothing else.
    assert!(scene.pulls(&secret).await);
    let logins = auths(&secret);
    let hosts: Vec<_> = logins.as_object().unwrap().keys().collect();
    assert_eq!(hosts, [PULL_HOST]);
    let node = scene.node(&secret);
    let upload = "/v2/t-acmekey/app/blobs/uploads/";
    let pushed = node.request(reqwest::Method::POST, upload).send().await;
    assert_eq!(pushed.unwrap().status(), 405);

    let issued = scene.issued().await;
    assert_eq!(issued.len(), 1, "{issued:?}");
    for (key, value) in [
        ("id", json!(scene.id("web"))),
        ("namespace", json!("web")),
        ("name", json!(NAME)),
        ("createdBy", json!(format!("key:{}", scene.key_id))),
    ] {
        assert_eq!(issued[0][key], value, "{key}");
    }

    // What is in order stays as it is.
    scene.once(&BY_LABEL).await.well();
    assert_eq!(scene.writes(), Vec::<String>::new());
    assert_eq!(scene.secret("web"), secret);
    assert_eq!(scene.issued().await.len(), 1);
    scene.assert_rights_suffice();
    scene.registry.stop().await;
}

#[tokio::test]
async fn each_namespace_has_its_own_and_one_that_is_ended_is_replaced_alone() {
    let scene = Scene::set().await;
    for name in ["a", "b", "c"] {
        scene.namespace(name);
    }
    scene.once(&BY_LABEL).await.well();
    let before = ["a", "b", "c"].map(|name| scene.secret(name));
    assert_eq!(scene.issued().await.len(), 3);
    let path = format!("/registry/pull-secret/{}", scene.id("b"));
    scene.admin.delete(&path).await.expect(204);
    scene.registry.rights_known().await;
    assert!(!scene.pulls(&before[1]).await);

    scene.writes();
    scene.once(&BY_LABEL).await.well();
    assert_eq!(scene.writes(), ["update secrets b/berth-pull"]);
    for (name, before) in ["a", "b", "c"].into_iter().zip(before) {
        let secret = scene.secret(name);
        assert_eq!(secret == before, name != "b", "{name}");
        assert!(scene.pulls(&secret).await, "{name}");
    }
    scene.assert_rights_suffice();
    scene.registry.stop().await;
}

#[tokio::test]
async fn one_that_was_deleted_or_damaged_is_made_anew() {
    let scene = Scene::set().await;
    scene.namespace("web");
    scene.once(&BY_LABEL).await.well();
    let first = scene.id("web");
    scene
        .cluster
        .change(|resources| resources.remove("secrets", "web", NAME));
    scene.once(&BY_LABEL).await.well();
    let second = scene.id("web");
    assert_ne!(first, second);
    assert!(scene.pulls(&scene.secret("web")).await);

    // Whatever differs from what was written; what others wrote beside it stays.
    scene.cluster.change(|resources| {
        resources.change("secrets", "web", NAME, |secret| {
            secret["data"] = json!({".dockerconfigjson": "e30="});
            secret["metadata"]["labels"]["team"] = json!("web");
        });
        resources.account("web", &["other"]);
    });
    scene.once(&BY_LABEL).await.well();
    let secret = scene.secret("web");
    assert_ne!(scene.id("web"), second);
    assert!(scene.pulls(&secret).await);
    assert_eq!(secret["metadata"]["labels"]["team"], "web");
    assert_eq!(scene.admitted("web"), json!(["other", NAME]));
    // What lies in no Secret ends soon.
    let lasting = scene.lasting().await;
    assert_eq!(lasting, [scene.id("web")]);
    scene.assert_rights_suffice();
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone_and_named() {
    let scene = Scene::set().await;
    for name in ["labelled", "last", "opaque", "plain"] {
        scene.namespace(name);
    }
    let foreign = |namespace: &str, kind: &str, labels: Value, marks: Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind, "data": {".dockerconfigjson": "e30="},
            "metadata": {"name": NAME, "namespace": namespace, "labels": labels, "annotations": marks},
        })
    };
    let docker = "kubernetes.io/dockerconfigjson";
    let ours = json!({"app.kubernetes.io/managed-by": "berth"});
    scene.cluster.change(|resources| {
        resources.put(foreign("plain", docker, json!({}), json!({})));
        resources.put(foreign("opaque", "Opaque", ours.clone(), json!({})));
        resources.put(foreign(
            "labelled",
            docker,
            ours,
            json!({"berth/workspace": "rival"}),
        ));
    });
    let names = ["plain", "opaque", "labelled"];
    let before = names.map(|name| scene.secret(name));
    let ended = scene.once(&BY_LABEL).await;
    ended.badly(&[
        "3 of 4 namespaces are not in order",
        "no label app.kubernetes.io/managed-by=berth",
        "the type \\\"Opaque\\\"",
        "of the workspace \\\"rival\\\"",
        "give another name with --name",
    ]);
    assert_eq!(names.map(|name| scene.secret(name)), before);
    for name in names {
        assert_eq!(scene.admitted(name), json!([]), "{name}");
    }
    assert!(scene.pulls(&scene.secret("last")).await);
    assert_eq!(scene.issued().await.len(), 1);
    scene.registry.stop().await;
}

#[tokio::test]
async fn changes_of_others_at_the_same_time_are_kept() {
    let scene = Scene::set().await;
    scene.namespace("web");
    scene
        .cluster
        .interfere("patch", "serviceaccounts", |resources| {
            resources.account("web", &["quick"]);
        });
    scene.once(&BY_LABEL).await.well();
    assert_eq!(scene.admitted("web"), json!(["quick", NAME]));

    // A pull secret takes the place of the other although the Secret changes meanwhile.
    let path = format!("/registry/pull-secret/{}", scene.id("web"));
    scene.admin.delete(&path).await.expect(204);
    scene.cluster.interfere("update", "secrets", |resources| {
        resources.change("secrets", "web", NAME, |secret| {
            secret["metadata"]["annotations"]["team"] = json!("web");
        });
    });
    scene.once(&BY_LABEL).await.well();
    let secret = scene.secret("web");
    assert!(scene.pulls(&secret).await);
    assert_eq!(secret["metadata"]["annotations"]["team"], "web");
    assert_eq!(scene.issued().await.len(), 1);

    // Another command was faster: what this one made is ended, and the other's stays.
    let path = format!("/registry/pull-secret/{}", scene.id("web"));
    scene.admin.delete(&path).await.expect(204);
    scene.cluster.interfere("update", "secrets", |resources| {
        resources.change("secrets", "web", NAME, |secret| {
            secret["metadata"]["annotations"]["berth/pull-secret-id"] = json!("another");
        });
    });
    let ended = scene.once(&BY_LABEL).await;
    ended.badly(&["refuses to change the Secret", "has been modified"]);
    assert_eq!(scene.id("web"), "another");
    assert_eq!(scene.issued().await, Vec::<Value>::new());
    scene.assert_rights_suffice();
    scene.registry.stop().await;
}

#[tokio::test]
async fn two_at_once_leave_one_pull_secret() {
    let scene = Scene::set().await;
    scene.namespace("web");
    let begun = [scene.begin(&BY_LABEL), scene.begin(&BY_LABEL)];
    for begun in begun {
        // The slower one may find the Secret made, or be refused in the middle.
        let ended = scene.end(begun).await;
        assert!(
            ended.code == Some(0) || ended.notes.contains("web"),
            "{ended:?}"
        );
    }
    scene.once(&BY_LABEL).await.well();
    let issued = scene.issued().await;
    let ids: Vec<_> = issued.iter().map(|known| &known["id"]).collect();
    assert_eq!(ids, [&json!(scene.id("web"))]);
    assert!(scene.pulls(&scene.secret("web")).await);
    assert_eq!(scene.admitted("web"), json!([NAME]));
    scene.registry.stop().await;
}

#[tokio::test]
async fn one_is_replaced_before_its_end_and_pulls_until_then() {
    let scene = Scene::set().await;
    scene.namespace("web");
    let for_days = |days: &'static str| [BY_LABEL.as_slice(), &["--expires-in", days]].concat();
    scene.once(&for_days("2d")).await.well();
    let (old, old_id) = (scene.secret("web"), scene.id("web"));
    // Two thirds of its life are before it.
    scene.once(&for_days("2d")).await.well();
    assert_eq!(scene.id("web"), old_id);

    let wanted = [for_days("10d").as_slice(), &["--renew-before", "5d"]].concat();
    scene.once(&wanted).await.well();
    let new = scene.secret("web");
    assert_ne!(scene.id("web"), old_id);
    assert!(scene.pulls(&old).await && scene.pulls(&new).await);
    let issued = scene.issued().await;
    let replaced = issued.iter().find(|known| known["id"] == *old_id).unwrap();
    assert_eq!(replaced["replacedBy"], scene.id("web"));
    scene.once(&wanted).await.well();
    assert_eq!(scene.secret("web"), new);

    scene.registry.clock.advance(2 * DAY_MS - 60_000);
    assert!(scene.pulls(&old).await);
    scene.registry.clock.advance(120_000);
    assert!(!scene.pulls(&old).await && scene.pulls(&new).await);
    scene.assert_rights_suffice();
    scene.registry.stop().await;
}

#[tokio::test]
async fn logins_for_other_registries_are_merged_in_and_follow_their_file() {
    let scene = Scene::set().await;
    scene.namespace("web");
    let file = |auths: Value| scene.file("auths.json", &json!({"auths": auths}).to_string());
    let path = file(json!({"ghcr.io": {"auth": "eDp5"}, PULL_HOST: {"auth": "eDp5"}}));
    let arguments = [BY_LABEL.as_slice(), &["--auths", &path]].concat();
    let notes = scene.once(&arguments).await.well();
    assert!(notes.contains("Berth's own host is left out"), "{notes}");
    let secret = scene.secret("web");
    assert_eq!(auths(&secret)["ghcr.io"], json!({"auth": "eDp5"}));
    assert!(scene.pulls(&secret).await);
    let id = scene.id("web");

    file(json!({"quay.io": {"username": "x", "password": "hidden"}}));
    scene.once(&arguments).await.well();
    let secret = scene.secret("web");
    let logins = auths(&secret);
    assert!(
        logins["ghcr.io"].is_null() && logins["quay.io"].is_object(),
        "{logins}"
    );
    assert!(scene.pulls(&secret).await);
    assert_eq!(scene.id("web"), id);
    assert_eq!(scene.issued().await.len(), 1);

    scene.file(
        "auths.json",
        "{\"auths\": {\"quay.io\": {\"password\": \"hidden\"",
    );
    let notes = scene
        .once(&arguments)
        .await
        .badly(&["is not used: it is not JSON"]);
    assert!(!notes.contains("hidden"), "{notes}");
    assert_eq!(scene.secret("web"), secret);
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_key_that_is_refused_changes_nothing_and_is_told() {
    let scene = Scene::set().await;
    scene.namespace("web");
    scene.once(&BY_LABEL).await.well();
    let before = scene.secret("web");
    scene
        .cluster
        .change(|resources| resources.account("web", &[]));
    let viewer = scene.registry.key_of("acme", "viewer").await;
    let path = scene.file("viewer", &viewer);
    let arguments = [BY_LABEL.as_slice(), &["--api-key-file", &path]].concat();
    let ended = scene.once(&arguments).await;
    ended.badly(&["it takes that of an admin"]);

    let path = format!("/workspaces/acme/api-keys/{}", scene.key_id);
    scene.admin.delete(&path).await.expect(204);
    scene.registry.rights_known().await;
    let ended = scene.once(&BY_LABEL).await;
    ended.badly(&[
        "Berth refuses the API key",
        "berth api-key create --role admin",
    ]);
    assert_eq!(scene.secret("web"), before);
    assert!(scene.pulls(&before).await, "what is there goes on");

    let operator = scene.registry.operator_key();
    let path = scene.file("operator", &operator);
    let arguments = [BY_LABEL.as_slice(), &["--api-key-file", &path]].concat();
    scene
        .once(&arguments)
        .await
        .badly(&["name one with --workspace"]);
    let arguments = [arguments.as_slice(), &["--workspace", "acme"]].concat();
    scene.once(&arguments).await.well();
    assert_eq!(scene.secret("web"), before);
    scene.registry.stop().await;
}

#[tokio::test]
async fn nothing_is_made_that_the_cluster_would_not_take() {
    let scene = Scene::with(Rights::by_label().without("create", "secrets")).await;
    scene.namespace("web");
    let ended = scene.once(&BY_LABEL).await;
    ended.badly(&["refuses to make the Secret", "(403)"]);
    assert_eq!(scene.issued().await, Vec::<Value>::new());
    // Not one was made and taken back either.
    let events = scene
        .admin
        .get("/audit-events?limit=1000")
        .await
        .expect(200);
    let events = events["items"].as_array().unwrap();
    assert!(
        events
            .iter()
            .all(|event| event["action"] != "pull_secret.create")
    );
    scene.registry.stop().await;
}

#[tokio::test]
async fn namespaces_may_be_named_and_rights_end_there() {
    let scene = Scene::with(Rights::inside(&["site", "web"])).await;
    for name in ["other", "site", "web"] {
        scene.namespace(name);
    }
    let named = ["--namespace", "web", "--namespace", "site"];
    scene.once(&named).await.well();
    scene.assert_rights_suffice();
    for name in ["site", "web"] {
        assert!(scene.pulls(&scene.secret(name)).await, "{name}");
    }
    let ended = scene.once(&["--namespace", "other"]).await;
    ended.badly(&["1 of 1 namespaces", "(403)"]);
    // A namespace that is not there is told, and nothing is made for it.
    scene.cluster.look().rights = Rights::inside(&["nowhere"]);
    let ended = scene.once(&["--namespace", "nowhere"]).await;
    ended.badly(&["no such namespace"]);
    assert_eq!(scene.issued().await.len(), 2);
    scene.registry.stop().await;
}

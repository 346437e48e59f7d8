//! The stand-in itself: what would let the command get away with something is refused.

use reqwest::{Certificate, Client, Method, Response};
use serde_json::{Value, json};

use super::cluster::{Cluster, TOKEN};
use super::rights::Rights;
use super::scene::NAME;

struct Caller {
    client: Client,
    url: String,
    token: &'static str,
}

impl Caller {
    fn new(cluster: &Cluster, token: &'static str) -> Self {
        let believed = Certificate::from_pem(cluster.certificate().as_bytes()).unwrap();
        let builder = Client::builder().no_proxy().tls_certs_only([believed]);
        Self {
            client: builder.build().unwrap(),
            url: format!("{}/api/v1/namespaces", cluster.url()),
            token,
        }
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: &Value) -> Response {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(self.token).header("content-type", kind);
        request.body(body.to_string()).send().await.unwrap()
    }

    async fn status(&self, method: Method, path: &str, body: &Value) -> u16 {
        let answer = self.send(method, path, "application/json", body).await;
        answer.status().as_u16()
    }
}

#[tokio::test]
async fn it_allows_what_the_roles_say_and_nothing_else() {
    let cluster = Cluster::start(Rights::by_label()).await;
    cluster.change(|resources| {
        resources.namespace("web", &json!({}));
        resources.account("web", &[]);
    });
    let none = json!({});
    let stranger = Caller::new(&cluster, "another");
    assert_eq!(stranger.status(Method::GET, "", &none).await, 401);
    let caller = Caller::new(&cluster, TOKEN);
    for (method, path, code) in [
        (Method::GET, "", 200),
        (Method::GET, "/web", 403),
        (Method::GET, "/web/secrets", 403),
        (Method::GET, "/web/secrets/other", 403),
        (Method::GET, "/web/secrets/berth-pull", 404),
        (Method::PUT, "/web/secrets/other", 403),
        (Method::PATCH, "/web/secrets/berth-pull", 403),
        (Method::DELETE, "/web/secrets/berth-pull", 403),
        (Method::GET, "/web/serviceaccounts", 403),
        (Method::GET, "/web/serviceaccounts/default", 200),
        (Method::GET, "/web/serviceaccounts/other", 403),
        (Method::PUT, "/web/serviceaccounts/default", 403),
        (Method::GET, "/web/pods", 403),
    ] {
        let answered = caller.status(method.clone(), path, &none).await;
        assert_eq!(answered, code, "{method} {path}");
    }
    let inside = Cluster::start(Rights::inside(&["web"])).await;
    let caller = Caller::new(&inside, TOKEN);
    assert_eq!(caller.status(Method::GET, "", &none).await, 403);
    let path = "/site/secrets/berth-pull";
    assert_eq!(caller.status(Method::GET, path, &none).await, 403);
}

#[tokio::test]
async fn it_refuses_old_versions_and_replaces_lists_as_a_whole() {
    let cluster = Cluster::start(Rights::by_label()).await;
    cluster.change(|resources| {
        resources.namespace("web", &json!({}));
        resources.account("web", &["one"]);
    });
    let caller = Caller::new(&cluster, TOKEN);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": NAME, "namespace": "web"}, "data": {".dockerconfigjson": "e30="},
    });
    let path = "/web/secrets";
    let rehearsed = format!("{path}?dryRun=All");
    assert_eq!(caller.status(Method::POST, &rehearsed, &secret).await, 201);
    assert_eq!(caller.status(Method::POST, path, &secret).await, 201);
    assert_eq!(caller.status(Method::POST, path, &secret).await, 409);
    let nowhere = "/nowhere/secrets";
    assert_eq!(caller.status(Method::POST, nowhere, &secret).await, 400);

    let path = format!("{path}/{NAME}");
    let answer = caller
        .send(Method::GET, &path, "application/json", &json!({}))
        .await;
    let mut current: Value = answer.json().await.unwrap();
    assert_eq!(caller.status(Method::PUT, &path, &current).await, 200);
    assert_eq!(caller.status(Method::PUT, &path, &current).await, 409);
    current["metadata"]["resourceVersion"].take();
    current["type"] = json!("Opaque");
    assert_eq!(caller.status(Method::PUT, &path, &current).await, 422);

    let path = "/web/serviceaccounts/default";
    let patch = json!({"imagePullSecrets": [{"name": "two"}]});
    for kind in [
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ] {
        let answer = caller.send(Method::PATCH, path, kind, &patch).await;
        let account: Value = answer.json().await.unwrap();
        assert_eq!(account["imagePullSecrets"], patch["imagePullSecrets"]);
    }
    let answer = caller
        .send(Method::PATCH, path, "application/json", &patch)
        .await;
    assert_eq!(answer.status(), 415);
    let old = json!({"metadata": {"resourceVersion": "1"}, "imagePullSecrets": []});
    let kind = "application/merge-patch+json";
    let answer = caller.send(Method::PATCH, path, kind, &old).await;
    assert_eq!(answer.status(), 409);
    assert_eq!(answer.json::<Value>().await.unwrap()["kind"], "Status");
}

//! The program as the kubelet's credential provider.

use serde_json::{Value, json};

use super::*;

const PROGRAM: &str = "/usr/libexec/kubelet-plugins/berth-credential-provider";
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.c2VydmljZSBhY2NvdW50.c2lnbmF0dXJl";

fn request(image: &str) -> Value {
    json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": image,
        "serviceAccountToken": TOKEN, "serviceAccountAnnotations": {"team": "shop"},
    })
}

fn issued() -> Answer {
    Answer {
        status: 200,
        headers: "",
        body: json!({
            "access_token": "a.b.c", "issued_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_type": "N_A",
            "expires_in": 900, "scope": "repository:t-shop/team/app:pull", "username": "t-shop",
        })
        .to_string(),
    }
}

fn answers(input: &Value, flags: &[&str]) -> Ended {
    let mut person = Person::new();
    person.input = input.to_string();
    person.run_as(PROGRAM, flags)
}

#[test]
fn the_token_is_exchanged_for_a_credential_of_exactly_the_image() {
    for tag in [
        "",
        ":v1",
        "@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        let stub = Stub::start([issued()]);
        let input = request(&format!("127.0.0.1:30501/t-shop/team/app{tag}"));
        let flags = ["--url", &stub.url, "--registry", "127.0.0.1:30501"];
        let answer: Value = serde_json::from_str(&answers(&input, &flags).succeeded()).unwrap();
        assert_eq!(
            answer,
            json!({
                "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",
                "cacheKeyType": "Image", "cacheDuration": "450s",
                "auth": {"127.0.0.1:30501/t-shop/team/app": {"username": "t-shop", "password": "a.b.c"}},
            })
        );
        let asked = stub.request();
        assert_eq!(asked.line, "POST /api/v1/registry/token-exchange HTTP/1.1");
        assert_eq!(
            asked.headers["content-type"],
            "application/x-www-form-urlencoded"
        );
        assert!(!asked.headers.contains_key("authorization"));
        let form: HashMap<String, String> = serde_urlencoded::from_str(&asked.body).unwrap();
        assert_eq!(form["subject_token"], TOKEN);
        assert_eq!(form["scope"], "repository:t-shop/team/app:pull");
        assert_eq!(
            form["grant_type"],
            "urn:ietf:params:oauth:grant-type:token-exchange"
        );
    }
}

#[test]
fn the_host_of_the_url_is_one_of_the_registrys() {
    let stub = Stub::start([issued()]);
    let host = stub.url.strip_prefix("http://").unwrap();
    let mut person = Person::new().with("BERTH_URL", &stub.url);
    person.input = request(&format!("{host}/t-shop/team/app")).to_string();
    let answer = person.run(&["kubelet-credential-provider"]).succeeded();
    assert!(
        answer.contains(&format!("{host}/t-shop/team/app")),
        "{answer}"
    );
}

/// Nothing listens at this address: whatever is refused here is refused before anything is sent.
#[test]
fn what_is_not_asked_rightly_is_refused_and_nothing_is_sent() {
    let good = request("registry.example.com/t-shop/app:v1");
    let with = |field: &str, value: Value| {
        let mut request = good.clone();
        request[field] = value;
        request
    };
    let url = "https://registry.example.com";
    for (input, says) in [
        (
            with(
                "apiVersion",
                json!("credentialprovider.kubelet.k8s.io/v1beta1"),
            ),
            "v1beta1",
        ),
        (
            with("kind", json!("CredentialProviderResponse")),
            "CredentialProviderResponse",
        ),
        (json!({}), "CredentialProviderRequest"),
        (json!([1]), "standard input"),
        (with("serviceAccountToken", Value::Null), "tokenAttributes"),
        (with("serviceAccountToken", json!("")), "tokenAttributes"),
        (
            with("image", json!("registry.example.com.evil.org/t-shop/app")),
            "is not an image of registry.example.com",
        ),
        (
            with("image", json!("registry.example.com:5000/t-shop/app")),
            "is not an image of registry.example.com",
        ),
        (
            with("image", json!("busybox")),
            "is not an image of registry.example.com",
        ),
        (
            with("image", json!("docker.io/library/busybox")),
            "matchImages",
        ),
        (
            with("image", json!("registry.example.com/T-Shop/app")),
            "is not an image of this registry",
        ),
        (with("image", json!("")), "is not an image"),
        (with("more", json!("x".repeat(600_000))), "524288 bytes"),
    ] {
        let said = answers(&input, &["--url", url]).failed();
        assert!(said.contains(says), "{said}");
        assert!(!said.contains(TOKEN), "{said}");
    }
    let said = answers(&good, &[]).failed();
    assert!(said.contains("--url https://"), "{said}");
    for host in ["127.0.0.1:30501/t-shop", "https://127.0.0.1:30501"] {
        let said = answers(&good, &["--url", url, "--registry", host]).failed();
        assert!(said.contains("with its port alone"), "{said}");
    }
}

/// Nobody would see a warning in the kubelet's log before the tokens of many pods have travelled.
#[test]
fn a_token_travels_without_tls_only_where_that_is_allowed() {
    // It is this machine by a name that says nothing of it, and nothing listens there.
    let input = request("0.0.0.0:1/t-shop/app");
    let flags = ["--url", "http://0.0.0.0:1", "--allow-http"];
    let said = answers(&input, &flags[..2]).failed();
    assert!(said.contains("add --allow-http"), "{said}");
    assert!(!said.contains("cannot reach"), "{said}");
    let said = answers(&input, &flags).failed();
    assert!(said.contains("cannot reach http://0.0.0.0:1/"), "{said}");
}

#[test]
fn what_the_registry_refuses_is_told() {
    let refusal = Answer {
        status: 400,
        headers: "",
        body: json!({"error": "invalid_grant", "error_description": "no rule of the issuer 'cluster' fits"}).to_string(),
    };
    let elsewhere = Answer {
        status: 302,
        headers: "Location: http://127.0.0.1:1/\r\n",
        body: String::new(),
    };
    let many_lines = Answer {
        status: 400,
        headers: "",
        body: json!({"error": "no\u{1b}[2J", "error_description": "first\nsecond"}).to_string(),
    };
    let foreign = Answer {
        status: 200,
        headers: "",
        body: String::from("<html>"),
    };
    let endless = Answer {
        status: 200,
        headers: "",
        body: "x".repeat(70_000),
    };
    for (answer, says) in [
        (
            refusal,
            "no rule of the issuer 'cluster' fits (invalid_grant)",
        ),
        (elsewhere, "redirects to \"http://127.0.0.1:1/\""),
        (many_lines, "first second (no [2J)"),
        (foreign, "not Berth's"),
        (endless, "not Berth's"),
    ] {
        let stub = Stub::start([answer]);
        let host = stub.url.strip_prefix("http://").unwrap().to_owned();
        let said = answers(
            &request(&format!("{host}/t-shop/app")),
            &["--url", &stub.url],
        )
        .failed();
        assert!(said.contains(says), "{said}");
        assert!(!said.contains(TOKEN), "{said}");
    }
    let nowhere = "http://127.0.0.1:1";
    let said = answers(&request("127.0.0.1:1/t-shop/app"), &["--url", nowhere]).failed();
    assert!(said.contains("cannot reach http://127.0.0.1:1/"), "{said}");
}

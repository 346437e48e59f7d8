//! Tests of issuers and rules: what is refused, and in what words.

use serde_json::{Value, json};

use super::super::Config;

const GITHUB: &str = "https://token.actions.githubusercontent.com";
const GITHUB_ENTERPRISE: &str = "https://token.actions.githubusercontent.com/octo-enterprise";
const GITHUB_SERVER: &str = "https://github.example.com/_services/token";
const GITHUB_HOST: &str = "https://token.actions.octo.ghe.com";

fn issuer(differs: &Value) -> Value {
    let mut issuer = json!({
        "name": "cluster", "issuer": "https://issuer.example.com", "audience": "registry.example.com",
        "rules": [{
            "name": "pods", "workspace": "shop", "role": "viewer", "claims": {"sub": "system:serviceaccount:shop:default"},
        }],
    });
    for (field, value) in differs.as_object().unwrap() {
        issuer[field] = value.clone();
    }
    issuer
}

fn with_claims(at: &str, claims: &Value) -> Value {
    let mut issuer = issuer(&json!({"issuer": at}));
    issuer["rules"][0]["claims"] = claims.clone();
    issuer
}

fn check(issuers: &Value) -> Result<(), String> {
    let mut config = Config::default();
    config.auth.issuers =
        serde_json::from_value(issuers.clone()).map_err(|error| error.to_string())?;
    config.validate().map_err(|error| error.to_string())
}

#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers are done with what they hand in"
)]
fn refused(issuer: Value, says: &str) {
    let error = check(&json!([issuer])).unwrap_err();
    assert!(error.contains(says), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn an_issuer_is_read_from_the_file_and_shown_as_it_is() {
    let text = r#"
        [[auth.issuers]]
        name = "cluster"
        issuer = "https://kubernetes.default.svc.cluster.local"
        audience = "registry.example.com"
        jwks_file = "/etc/berth/jwks.json"

        [[auth.issuers.rules]]
        name = "pods"
        workspace = "shop"
        role = "viewer"
        [auth.issuers.rules.claims]
        "/kubernetes.io/namespace" = ["shop", "shop-test"]
    "#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("berth.toml");
    std::fs::write(&path, text).unwrap();
    let config = Config::load(Some(&path), [], &[]).unwrap();
    let issuer = &config.auth.issuers[0];
    assert_eq!(
        (
            issuer.max_token_age_seconds,
            issuer.leeway_seconds,
            issuer.single_use
        ),
        (3600, 30, false)
    );
    assert_eq!(
        (issuer.algorithms.len(), issuer.rules[0].lifetime_seconds),
        (2, 900)
    );
    let shown = config.to_masked_toml();
    let again: Config = toml::from_str(&shown).unwrap();
    assert_eq!(again.auth, config.auth);
    std::fs::write(&path, text.replace("role =", "rolle =")).unwrap();
    let error = Config::load(Some(&path), [], &[]).unwrap_err().to_string();
    assert!(error.contains("rolle"), "{error}");
}

#[test]
fn a_place_without_tls_is_refused_unless_it_is_here_or_allowed() {
    for url in [
        "https://issuer.example.com/realms/a",
        "http://127.0.0.1:8080",
        "http://localhost",
        "http://[::1]:1",
    ] {
        check(&json!([issuer(&json!({"issuer": url}))])).unwrap();
    }
    for key in ["issuer", "jwks_url"] {
        for url in [
            "http://issuer.example.com",
            "http://127.0.0.1.example.com",
            "http://10.0.0.5",
        ] {
            refused(issuer(&json!({key: url})), "keys of their own");
            check(&json!([issuer(&json!({key: url, "allow_http": true}))])).unwrap();
        }
        for url in [
            "",
            "issuer",
            "ftp://a",
            "https://user:pw@issuer.example.com",
            "https://a/?b",
            "https://a/#b",
        ] {
            refused(issuer(&json!({key: url})), "which is not a URL");
        }
    }
    refused(
        issuer(&json!({"jwks_origins": ["https://keys.example.com/path"]})),
        "scheme, host and port alone",
    );
    refused(
        issuer(&json!({"jwks_url": "https://a", "jwks_file": "/b"})),
        "set one of them",
    );
}

#[test]
fn the_keys_of_an_issuer_may_be_at_its_origin_or_one_that_is_named() {
    let entry = issuer(&json!({"jwks_origins": ["https://10.0.0.1:6443"]}));
    let issuer: super::Issuer = serde_json::from_value(entry).unwrap();
    for (url, may) in [
        ("https://issuer.example.com/keys", true),
        ("https://issuer.example.com:443/keys?a=b", true),
        ("https://10.0.0.1:6443/openid/v1/jwks", true),
        ("http://issuer.example.com/keys", false),
        ("https://issuer.example.com:8443/keys", false),
        ("https://issuer.example.com.evil.org/keys", false),
        ("https://issuer.example.com@evil.org/keys", false),
        ("https://10.0.0.1/openid/v1/jwks", false),
        ("/keys", false),
    ] {
        assert_eq!(issuer.may_keep_keys_at(url), may, "{url}");
    }
}

#[test]
fn an_audience_that_is_meant_for_others_is_refused() {
    refused(issuer(&json!({"audience": ""})), "audience is empty");
    refused(
        issuer(&json!({"audience": "https://issuer.example.com"})),
        "for its own API",
    );
    refused(
        issuer(&json!({"audience": "https://issuer.example.com/"})),
        "for its own API",
    );
    for audience in [
        "https://kubernetes.default.svc",
        "https://kubernetes.default.svc.cluster.local",
        "k3s",
        "rke2",
    ] {
        refused(
            issuer(&json!({"audience": audience})),
            "tokens for the API of a cluster",
        );
    }
    let of_github = |at: &str, audience: &str| {
        let mut entry = with_claims(at, &json!({"repository_id": "74"}));
        entry["audience"] = json!(audience);
        entry
    };
    for (at, owner) in [
        (GITHUB, "https://github.com/octo-org"),
        (GITHUB_ENTERPRISE, "https://github.com/octo-org"),
        (GITHUB_SERVER, "https://github.example.com/octo-org"),
        (GITHUB_HOST, "https://octo.ghe.com/octo-org"),
    ] {
        refused(of_github(at, owner), "when a job names none");
        check(&json!([of_github(at, "registry.example.com")])).unwrap();
    }
}

/// What may be read without TLS is not what may be shown without it.
#[test]
fn a_token_of_ours_is_shown_with_tls_alone() {
    let token = json!("/run/secrets/token");
    let open = "http://10.0.0.5";
    for (differs, is_fine) in [
        (json!({"issuer": open}), false),
        (json!({"jwks_url": open}), false),
        (json!({"jwks_origins": [open]}), false),
        (json!({"jwks_url": "http://127.0.0.1:1"}), true),
        (
            json!({"issuer": open, "jwks_url": "https://10.0.0.5/keys"}),
            true,
        ),
    ] {
        let mut entry = issuer(&differs);
        entry["allow_http"] = json!(true);
        check(&json!([entry])).unwrap();
        entry["token_file"] = token.clone();
        if is_fine {
            check(&json!([entry])).unwrap();
        } else {
            refused(entry, "could read");
        }
    }
}

#[test]
fn only_algorithms_with_two_keys_can_be_named() {
    for bad in ["none", "HS256", "HS512", "ES512", "rs256"] {
        let error = check(&json!([issuer(&json!({"algorithms": [bad]}))])).unwrap_err();
        assert!(error.contains("unknown variant"), "{error}");
    }
    refused(issuer(&json!({"algorithms": []})), "algorithms is empty");
}

#[test]
fn a_rule_has_to_say_whose_token_it_is() {
    let (github, gitlab) = (GITHUB, "https://gitlab.com");
    let (own, cluster) = (
        "https://gitlab.example.com",
        "https://kubernetes.default.svc",
    );
    for (at, claims) in [
        (github, json!({"repository_id": "74"})),
        (
            github,
            json!({"repository_owner_id": "65", "repository": "octo-org/octo-repo"}),
        ),
        (own, json!({"project_id": "20", "ref_protected": "true"})),
        (
            gitlab,
            json!({"namespace_id": "72", "project_path": ["group/a", "group/b"]}),
        ),
        (
            cluster,
            json!({"sub": "system:serviceaccount:shop:default"}),
        ),
        (cluster, json!({"/kubernetes.io/namespace": "shop"})),
        ("https://login.example.com", json!({"sub": "5f1c"})),
    ] {
        check(&json!([with_claims(at, &claims)])).unwrap();
    }
    for (at, claims, says) in [
        (
            github,
            json!({"sub": "repo:octo-org/octo-repo:ref:refs/heads/main"}),
            "add repository_id",
        ),
        (
            github,
            json!({"sub": "whatever a template makes of it"}),
            "add repository_id",
        ),
        (
            github,
            json!({"repository": "octo-org/octo-repo"}),
            "add repository_id",
        ),
        (
            github,
            json!({"environment": "production"}),
            "add repository_id",
        ),
        (GITHUB_SERVER, json!({"sub": "x"}), "add repository_id"),
        (GITHUB_ENTERPRISE, json!({"sub": "x"}), "add repository_id"),
        (GITHUB_HOST, json!({"sub": "x"}), "add repository_id"),
        // What templates make.
        (
            "https://github.example.com/token",
            json!({"sub": ["5f1c", "repository_owner:octo-org:environment:production"]}),
            "add repository_id",
        ),
        (
            "https://github.example.com/token",
            json!({"sub": "repository:octo-org/octo-repo"}),
            "add repository_id",
        ),
        (
            "https://github.example.com/token",
            json!({"sub": "job_workflow_ref:octo-org/a/.github/workflows/b.yml@refs/heads/main"}),
            "add repository_id",
        ),
        (
            "https://github.example.com/token",
            json!({"sub": "x", "job_workflow_ref": "octo-org/a/.github/workflows/b.yml@refs/heads/main"}),
            "add repository_id",
        ),
        (
            own,
            json!({"sub": "project_path:group/a:ref_type:branch:ref:main"}),
            "project_id",
        ),
        (own, json!({"project_path": "group/a"}), "project_id"),
        // A merge request of a fork has them too.
        (
            own,
            json!({"job_project_id": "20"}),
            "do not say whose token it is",
        ),
        (
            cluster,
            json!({"/kubernetes.io/serviceaccount/name": "default"}),
            "add \"/kubernetes.io/namespace\"",
        ),
        (cluster, json!({}), "do not say whose token it is"),
        (
            cluster,
            json!({"ref_protected": "true"}),
            "do not say whose token it is",
        ),
    ] {
        refused(with_claims(at, &claims), says);
    }
}

#[test]
fn claims_are_texts_that_are_compared_letter_for_letter() {
    let cluster = "https://kubernetes.default.svc";
    let with = |claim: &str, value: Value| {
        with_claims(
            cluster,
            &json!({"/kubernetes.io/namespace": "shop", claim: value}),
        )
    };
    refused(
        with("sub", json!("system:serviceaccount:shop:*")),
        "letter for letter",
    );
    refused(with("sub", json!([])), "1 to 64 values");
    refused(with("sub", json!("")), "1 to 512 bytes");
    refused(with("aud", json!("x")), "looked at in every token");
    refused(
        with("kubernetes.io/serviceaccount/namespace", json!("shop")),
        "of tokens that no longer exist",
    );
    for value in [json!(true), json!(7), json!({"namespace": "shop"})] {
        let error = check(&json!([with("sub", value)])).unwrap_err();
        assert!(error.contains("is a text, or a list of texts"), "{error}");
    }
}

#[test]
fn names_and_numbers_have_their_limits() {
    for name in ["", "Cluster", "a b", "a/b", "a:b"] {
        refused(
            issuer(&json!({"name": name})),
            "small letters, digits and dashes",
        );
    }
    refused(
        issuer(&json!({"max_token_age_seconds": 59})),
        "from 60 to 86400",
    );
    refused(issuer(&json!({"leeway_seconds": 301})), "from 0 to 300");
    let mut long = issuer(&json!({}));
    long["rules"][0]["lifetime_seconds"] = json!(43_201);
    refused(long, "from 60 to 43200");
    let mut empty = issuer(&json!({}));
    empty["rules"][0]["actions"] = json!([]);
    refused(empty, "name pull or push");
    for prefix in ["", "t-shop/"] {
        let mut bad = issuer(&json!({}));
        bad["rules"][0]["prefix"] = json!(prefix);
        refused(bad, "without a slash");
    }
    let mut twice = issuer(&json!({}));
    let rule = twice["rules"][0].clone();
    twice["rules"].as_array_mut().unwrap().push(rule);
    refused(twice, "is that of another rule");
    let other = |name: &str, audience: &str| issuer(&json!({"name": name, "audience": audience}));
    check(&json!([other("a", "x"), other("b", "y")])).unwrap();
    for (two, says) in [
        (
            json!([other("a", "x"), other("a", "y")]),
            "is that of another issuer",
        ),
        (
            json!([other("a", "x"), other("b", "x")]),
            "an audience of its own",
        ),
    ] {
        let error = check(&two).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    for role in ["developer", "admin", "operator"] {
        let mut strong = issuer(&json!({}));
        strong["rules"][0]["role"] = json!(role);
        assert!(
            check(&json!([strong]))
                .unwrap_err()
                .contains("unknown variant")
        );
    }
}

/// There is no variable that a list of tables could be written in.
#[test]
fn issuers_are_set_in_the_file_alone() {
    let variable = [("BERTH_AUTH__ISSUERS".into(), "cluster".into())];
    let error = Config::load(None, variable, &[]).unwrap_err().to_string();
    assert!(
        error.contains("BERTH_AUTH__ISSUERS cannot be used"),
        "{error}"
    );
}

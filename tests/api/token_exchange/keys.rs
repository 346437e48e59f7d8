//! Where the keys of an issuer come from, and how often it is asked.

use berth::config::Issuer;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{Scene, refused, rule};
use crate::support::START;
use crate::support::database::TestDatabase;
use crate::support::issuer::{AUDIENCE, DISCOVERY, KEYS, Page, SigningKey, TestIssuer, key_set};

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// How long an issuer is left alone after an answer, and a little more.
const PAUSE_MS: i64 = 10 * SECOND_MS + 1;
/// How long keys count before they are asked for again, and a little more.
const FRESH_MS: i64 = 10 * MINUTE_MS + 1;

/// Each server asks for itself: what is counted here is counted of one.
async fn scene(change: impl FnOnce(&mut Issuer)) -> Scene {
    let rules = json!([rule(json!({}))]);
    Scene::with(TestDatabase::one_server(), rules, change).await
}

impl Scene {
    /// A token of this moment.
    fn fresh_by(&self, key: &SigningKey) -> String {
        let mut claims = self.issuer.claims("default");
        let now = self.registry.clock.now().seconds();
        claims["iat"] = json!(now);
        claims["nbf"] = json!(now);
        claims["exp"] = json!(now + 300);
        key.sign(&claims)
    }

    fn fresh(&self) -> String {
        self.fresh_by(&self.key)
    }

    fn asked(&self) -> (usize, usize) {
        (self.issuer.asked(DISCOVERY), self.issuer.asked(KEYS))
    }
}

#[tokio::test]
async fn keys_are_asked_for_once_and_again_when_they_are_old() {
    let scene = scene(|_| {}).await;
    assert_eq!(scene.asked(), (0, 0));
    for _ in 0..3 {
        scene.exchange(&scene.token()).await.expect(200);
    }
    assert_eq!(scene.asked(), (1, 1));
    scene.registry.clock.advance(FRESH_MS);
    scene.exchange(&scene.fresh()).await.expect(200);
    assert_eq!(scene.asked(), (2, 2));
    // A key that the issuer has taken back counts no longer then.
    let next = SigningKey::new("two", Algorithm::ES256);
    scene.issuer.publish(&[&next]);
    scene.exchange(&scene.fresh()).await.expect(200);
    scene.registry.clock.advance(FRESH_MS);
    refused(
        &scene.exchange(&scene.fresh()).await,
        400,
        "invalid_grant",
        "does not have",
    );
    scene.exchange(&scene.fresh_by(&next)).await.expect(200);
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_new_key_is_found_at_once_and_junk_does_not_make_us_ask() {
    let scene = scene(|_| {}).await;
    scene.exchange(&scene.token()).await.expect(200);
    let next = SigningKey::new("two", Algorithm::RS256);
    scene.issuer.publish(&[&scene.key, &next]);
    scene.registry.clock.advance(PAUSE_MS);
    scene.exchange(&scene.fresh_by(&next)).await.expect(200);
    scene.exchange(&scene.fresh()).await.expect(200);
    assert_eq!(scene.asked(), (2, 2));
    for number in 0..20 {
        let junk = SigningKey::new(&format!("junk-{number}"), Algorithm::ES256);
        let reply = scene.exchange(&scene.fresh_by(&junk)).await;
        refused(&reply, 400, "invalid_grant", "does not have");
    }
    assert_eq!(scene.asked(), (2, 2));
    scene.registry.clock.advance(PAUSE_MS);
    let junk = SigningKey::new("junk", Algorithm::ES256);
    scene.exchange(&scene.fresh_by(&junk)).await;
    assert_eq!(scene.asked(), (3, 3));
    scene.registry.stop().await;
}

#[tokio::test]
async fn while_an_issuer_is_down_its_last_keys_count_for_some_hours() {
    let scene = scene(|_| {}).await;
    scene.issuer.put(KEYS, Page::Status(503));
    let reply = scene.exchange(&scene.token()).await;
    refused(
        &reply,
        503,
        "temporarily_unavailable",
        "issuer 'test' cannot be had now",
    );
    assert!(!reply.header("retry-after").is_empty());
    // It is left alone for a while, whatever it answered.
    scene.issuer.publish(&[&scene.key]);
    refused(
        &scene.exchange(&scene.token()).await,
        503,
        "temporarily_unavailable",
        "",
    );
    scene.registry.clock.advance(PAUSE_MS);
    scene.exchange(&scene.token()).await.expect(200);

    scene.issuer.put(DISCOVERY, Page::Status(500));
    scene.registry.clock.advance(5 * HOUR_MS);
    scene.exchange(&scene.fresh()).await.expect(200);
    // A key that nobody knows may be a new one of it: nothing can be said of that now.
    let unknown = SigningKey::new("two", Algorithm::ES256);
    let reply = scene.exchange(&scene.fresh_by(&unknown)).await;
    refused(&reply, 503, "temporarily_unavailable", "");
    scene.registry.clock.advance(HOUR_MS + MINUTE_MS);
    refused(
        &scene.exchange(&scene.fresh()).await,
        503,
        "temporarily_unavailable",
        "",
    );
    scene.registry.stop().await;
}

/// Answers that would lead us elsewhere, or that are no answers.
#[tokio::test]
async fn an_issuer_does_not_choose_where_we_ask() {
    let scene = scene(|_| {}).await;
    let stranger = SigningKey::new("one", Algorithm::ES256);
    let elsewhere = TestIssuer::start(&stranger).await;
    let (own, other) = (&scene.issuer, &elsewhere);
    let good = json!({"issuer": own.url, "jwks_uri": format!("{}{KEYS}", own.url)});
    let document = |jwks_uri: &str| Page::Json(json!({"issuer": own.url, "jwks_uri": jwks_uri}));
    let other_keys = format!("{}{KEYS}", other.url);
    let many: Vec<Value> = (0..101).map(|_| scene.key.public()).collect();
    for (what, path, page) in [
        (
            "a redirect of the document",
            DISCOVERY,
            Page::Redirect(format!("{}{DISCOVERY}", other.url)),
        ),
        (
            "a redirect of the keys",
            KEYS,
            Page::Redirect(other_keys.clone()),
        ),
        ("keys of another host", DISCOVERY, document(&other_keys)),
        (
            "keys of another scheme",
            DISCOVERY,
            document("file:///etc/passwd"),
        ),
        ("keys without a host", DISCOVERY, document("/keys")),
        (
            "keys with a password",
            DISCOVERY,
            document(&other_keys.replace("http://", &format!("{}@", own.url))),
        ),
        (
            "the document of another issuer",
            DISCOVERY,
            Page::Json(json!({"issuer": other.url, "jwks_uri": format!("{}{KEYS}", own.url)})),
        ),
        ("no document", DISCOVERY, Page::Text(String::from("<html>"))),
        ("too many keys", KEYS, Page::Json(json!({"keys": many}))),
        ("too much", KEYS, Page::Text(" ".repeat(256 * 1024 + 1))),
        (
            "too much of a document",
            DISCOVERY,
            Page::Text(" ".repeat(256 * 1024 + 1)),
        ),
    ] {
        own.put(DISCOVERY, Page::Json(good.clone()));
        own.publish(&[&scene.key]);
        own.put(path, page);
        scene.registry.clock.advance(PAUSE_MS);
        let asked = own.asked(DISCOVERY);
        let reply = scene.exchange(&scene.fresh()).await;
        assert_eq!(reply.status, 503, "{what}: {}", reply.text());
        assert_eq!(own.asked(DISCOVERY), asked + 1, "{what}");
    }
    assert_eq!((other.asked(DISCOVERY), other.asked(KEYS)), (0, 0));
    own.put(DISCOVERY, Page::Json(good));
    own.publish(&[&scene.key]);
    scene.registry.clock.advance(PAUSE_MS);
    scene.exchange(&scene.fresh()).await.expect(200);
    scene.registry.stop().await;
}

/// An issuer that lost its keys has nothing else to say so with: this is no failure, during which old keys count.
#[tokio::test]
async fn keys_that_are_taken_back_count_no_longer_even_if_there_are_no_others() {
    let scene = scene(|_| {}).await;
    let mut encryption = scene.key.public();
    encryption["use"] = json!("enc");
    let mut wrapping = scene.key.public();
    wrapping.as_object_mut().unwrap().remove("use");
    wrapping["key_ops"] = json!(["wrapKey"]);
    let secret = json!({"kty": "oct", "kid": "one", "k": "c2VjcmV0"});
    for keys in [
        json!([]),
        json!([encryption]),
        json!([wrapping]),
        json!([secret]),
    ] {
        scene.issuer.publish(&[&scene.key]);
        scene.registry.clock.advance(FRESH_MS);
        scene.exchange(&scene.fresh()).await.expect(200);
        scene.issuer.put(KEYS, Page::Json(json!({"keys": keys})));
        scene.registry.clock.advance(FRESH_MS);
        let reply = scene.exchange(&scene.fresh()).await;
        refused(&reply, 400, "invalid_grant", "does not have");
        scene.registry.clock.advance(PAUSE_MS);
    }
    scene.registry.stop().await;
}

/// How old keys are is not known then.
#[tokio::test]
async fn keys_are_asked_for_anew_when_the_clock_was_set_back() {
    let scene = scene(|_| {}).await;
    scene.exchange(&scene.fresh()).await.expect(200);
    scene.issuer.publish(&[]);
    scene.registry.clock.advance(-HOUR_MS);
    let reply = scene.exchange(&scene.fresh()).await;
    refused(&reply, 400, "invalid_grant", "does not have");
    assert_eq!(scene.asked(), (2, 2));
    scene.registry.stop().await;
}

#[tokio::test]
async fn keys_may_be_at_an_origin_that_the_configuration_names() {
    let key = SigningKey::new("one", Algorithm::ES256);
    let keeper = TestIssuer::start(&key).await;
    let scene = scene(|issuer| issuer.jwks_origins = vec![keeper.url.clone()]).await;
    scene.issuer.names_keys_at(&format!("{}{KEYS}", keeper.url));
    scene.exchange(&scene.fresh_by(&key)).await.expect(200);
    refused(
        &scene.exchange(&scene.token()).await,
        400,
        "invalid_grant",
        "signature",
    );
    assert_eq!((keeper.asked(KEYS), scene.issuer.asked(KEYS)), (1, 0));
    scene.registry.stop().await;
}

/// How a server asks the API of its cluster: with its own token, which is renewed.
#[tokio::test]
async fn keys_may_be_named_outright_and_asked_for_with_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    let key = SigningKey::new("one", Algorithm::ES256);
    let cluster = TestIssuer::start(&key).await;
    let scene = scene(|issuer| {
        issuer.issuer = String::from("https://kubernetes.default.svc.cluster.local");
        issuer.jwks_url = Some(format!("{}{KEYS}", cluster.url));
        issuer.token_file = Some(token.clone());
    })
    .await;
    let issuer = json!("https://kubernetes.default.svc.cluster.local");
    let sign = |now: i64| {
        let mut claims = cluster.claims("default");
        claims["iss"] = issuer.clone();
        claims["iat"] = json!(now);
        claims["exp"] = json!(now + 300);
        key.sign(&claims)
    };
    scene.exchange(&sign(START.seconds())).await.expect(200);
    assert_eq!(cluster.last_authorization().unwrap(), "Bearer first");
    assert_eq!(cluster.asked(DISCOVERY), 0);
    std::fs::write(&token, "second").unwrap();
    scene.registry.clock.advance(FRESH_MS);
    let now = scene.registry.clock.now().seconds();
    scene.exchange(&sign(now)).await.expect(200);
    assert_eq!(cluster.last_authorization().unwrap(), "Bearer second");
    scene.registry.stop().await;
}

#[tokio::test]
async fn keys_may_be_in_a_file_which_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let [one, two] = ["one", "two"].map(|id| SigningKey::new(id, Algorithm::RS256));
    std::fs::write(&file, key_set(&[&one]).to_string()).unwrap();
    let scene = scene(|issuer| issuer.jwks_file = Some(file.clone())).await;
    scene.exchange(&scene.fresh_by(&one)).await.expect(200);
    std::fs::write(&file, key_set(&[&two]).to_string()).unwrap();
    scene.registry.clock.advance(PAUSE_MS);
    scene.exchange(&scene.fresh_by(&two)).await.expect(200);
    refused(
        &scene.exchange(&scene.fresh_by(&one)).await,
        400,
        "invalid_grant",
        "does not have",
    );
    assert_eq!(scene.asked(), (0, 0));
    scene.registry.stop().await;
}

/// Two clusters often call themselves by one name.
#[tokio::test]
async fn two_issuers_of_one_name_are_told_apart_by_the_audience() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["one", "two"].map(|id| SigningKey::new(id, Algorithm::ES256));
    let mut entries = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let file = folder.path().join(format!("{number}.json"));
        std::fs::write(&file, key_set(&[key]).to_string()).unwrap();
        entries.push(json!({
            "name": format!("cluster-{number}"), "issuer": "https://kubernetes.default.svc",
            "audience": format!("{AUDIENCE}-{number}"), "jwks_file": file, "single_use": true,
            "rules": [rule(json!({}))],
        }));
    }
    let scene = scene(|_| {}).await;
    let Scene {
        registry,
        issuer,
        key,
    } = scene;
    let registry = registry
        .restart_after(async |config| {
            config.auth.issuers = serde_json::from_value(json!(entries)).unwrap();
            config.validate().unwrap();
        })
        .await;
    let scene = Scene {
        registry,
        issuer,
        key,
    };
    for (signer, audience, good) in [(0, 0, true), (1, 1, true), (0, 1, false), (1, 0, false)] {
        let mut claims = scene.issuer.claims("default");
        claims["iss"] = json!("https://kubernetes.default.svc");
        claims["aud"] = json!([format!("{AUDIENCE}-{audience}")]);
        // Each counts its own tokens.
        claims["jti"] = json!("1");
        let reply = scene.exchange(&keys[signer].sign(&claims)).await;
        assert_eq!(
            reply.status == 200,
            good,
            "{signer} {audience}: {}",
            reply.text()
        );
    }
    let mut claims = scene.issuer.claims("default");
    claims["iss"] = json!("https://kubernetes.default.svc");
    let reply = scene.exchange(&keys[0].sign(&claims)).await;
    refused(
        &reply,
        400,
        "invalid_grant",
        "'berth-test-0' or 'berth-test-1'",
    );
    scene.registry.stop().await;
}

//! Which tokens are taken, and which are not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth::http::Door;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{Scene, exchange_at, refused, rule};
use crate::support::START;
use crate::support::database::TestDatabase;
use crate::support::distribution::Login;
use crate::support::issuer::{AUDIENCE, KEYS, Page, SigningKey, TestIssuer};

/// Seconds of a day.
const DAY_S: i64 = 24 * 3_600;

#[tokio::test]
async fn claims_that_are_not_for_us_or_not_for_now_are_refused() {
    let scene = Scene::set().await;
    let now = START.seconds();
    scene.exchange(&scene.token()).await.expect(200);
    for (claim, value, says) in [
        ("aud", json!("elsewhere"), "the audience 'berth-test'"),
        (
            "aud",
            json!(["elsewhere", "berth-test2"]),
            "the audience 'berth-test'",
        ),
        ("aud", json!("BERTH-TEST"), "the audience 'berth-test'"),
        ("aud", Value::Null, "the audience 'berth-test'"),
        (
            "aud",
            json!({"berth-test": true}),
            "the audience 'berth-test'",
        ),
        (
            "iss",
            json!("https://issuer.example.com"),
            "'https://issuer.example.com' are not taken",
        ),
        (
            "iss",
            json!(format!("{}/", scene.issuer.url)),
            "are not taken",
        ),
        ("iss", Value::Null, "names no issuer"),
        ("exp", json!(now - 30), "expired"),
        ("exp", Value::Null, "exp"),
        ("exp", json!("never"), "exp"),
        ("nbf", json!(now + 31), "not valid yet"),
        ("iat", json!(now + 31), "not valid yet"),
        ("iat", json!(now - 3630), "more than 3600 s ago"),
        ("iat", Value::Null, "iat"),
        ("sub", Value::Null, "no sub"),
        ("sub", json!(""), "no sub"),
        ("sub", json!("a\nb"), "no sub"),
        ("sub", json!("a\u{202e}b"), "no sub"),
        ("sub", json!("a\u{2028}b"), "no sub"),
        ("sub", json!(7), "no sub"),
    ] {
        let token = scene.token_with(|claims| claims[claim] = value.clone());
        let what = format!("{claim} {value}");
        let reply = scene.exchange(&token).await;
        let said = refused(&reply, 400, "invalid_grant", says);
        assert!(!said.contains(&token), "{what}");
    }
    // What is still within the leeway is good, and so are both shapes of an audience.
    for (claim, value) in [
        ("exp", json!(now - 29)),
        ("nbf", json!(now + 30)),
        ("iat", json!(now - 3629)),
        ("exp", json!(f64::from(i32::MAX) + 0.5)),
        ("aud", json!(AUDIENCE)),
        ("aud", json!(["elsewhere", AUDIENCE])),
    ] {
        let token = scene.token_with(|claims| claims[claim] = value.clone());
        assert_eq!(scene.exchange(&token).await.status, 200, "{claim} {value}");
    }
    scene.registry.stop().await;
}

/// Tokens that somebody without the issuer's key can make, or that say where their key is.
#[tokio::test]
async fn forged_tokens_are_refused() {
    let scene = Scene::set().await;
    let claims = scene.issuer.claims("default");
    let mut forged: Vec<(&str, String, &str)> = Vec::new();

    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"one"}"#),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    forged.push(("alg none", none, "no signed JWT"));

    // What is public of the key, as the secret of an algorithm that has one key for both sides.
    let public = scene.key.public();
    for secret in [public.to_string(), public["x"].as_str().unwrap().to_owned()] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(String::from("one"));
        let secret = EncodingKey::from_secret(secret.as_bytes());
        let token = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
        forged.push(("HS256", token, "signed with HS256"));
    }

    let stranger = SigningKey::new("one", Algorithm::ES256);
    forged.push((
        "another's key under this id",
        stranger.sign(&claims),
        "signature",
    ));
    let mut embedded = stranger.header();
    embedded.jwk = serde_json::from_value(stranger.public()).ok();
    assert!(embedded.jwk.is_some());
    embedded.jku = Some(String::from("http://127.0.0.1:1/keys"));
    embedded.x5u = embedded.jku.clone();
    forged.push((
        "its own key",
        stranger.sign_with(&embedded, &claims),
        "signature",
    ));
    for id in [
        "two",
        "../../keys",
        "' OR '1'='1",
        "http://127.0.0.1:1/keys",
    ] {
        embedded.kid = Some(id.to_owned());
        let token = stranger.sign_with(&embedded, &claims);
        forged.push(("another id", token, "does not have"));
    }
    embedded.kid = None;
    forged.push((
        "no id",
        stranger.sign_with(&embedded, &claims),
        "does not name the key",
    ));

    let good = scene.key.sign(&claims);
    let parts: Vec<&str> = good.split('.').collect();
    let other = URL_SAFE_NO_PAD.encode(scene.issuer.claims("admin").to_string());
    let changed = format!("{}.{other}.{}", parts[0], parts[2]);
    forged.push(("other claims", changed, "signature"));
    let unsigned = format!("{}.{}.", parts[0], parts[1]);
    forged.push(("no signature", unsigned, "signature"));
    forged.push(("one part", String::from("abc"), "no signed JWT"));
    forged.push(("junk", String::from("a.b.c"), "no signed JWT"));
    forged.push(("five parts", format!("{good}.x.y"), "no signed JWT"));
    for (what, token, says) in forged {
        let said = refused(&scene.exchange(&token).await, 400, "invalid_grant", says);
        assert!(!said.contains(&token), "{what}");
    }
    scene.exchange(&good).await.expect(200);
    scene.registry.stop().await;
}

/// What another parser could read otherwise.
#[tokio::test]
async fn tokens_that_can_be_read_in_two_ways_are_refused() {
    let scene = Scene::set().await;
    let header = serde_json::to_string(&scene.key.header()).unwrap();
    let claims = scene.issuer.claims("default").to_string();
    let twice = |more: &str| claims.replacen('{', &format!("{{{more},"), 1);
    for (header, claims, says) in [
        (
            header.clone(),
            twice(r#""sub":"system:serviceaccount:kube-system:admin""#),
            "twice",
        ),
        (header.clone(), twice(r#""aud":"elsewhere""#), "twice"),
        (
            header.clone(),
            claims.replace(
                r#""namespace":"shop""#,
                r#""namespace":"rival","namespace":"shop""#,
            ),
            "twice",
        ),
        (header.clone(), String::from("[1]"), "no signed JWT"),
        (
            header.replacen('{', r#"{"kid":"two","#, 1),
            claims.clone(),
            "no signed JWT",
        ),
        (
            header.replacen('{', r#"{"crit":["exp"],"#, 1),
            claims.clone(),
            "crit",
        ),
        (
            header.replace(r#""JWT""#, r#""at+jwt""#),
            claims.clone(),
            "at+jwt",
        ),
    ] {
        let token = scene.key.sign_text(&header, &claims);
        refused(&scene.exchange(&token).await, 400, "invalid_grant", says);
    }
    let token = scene.key.sign_text(&header, &claims);
    scene.exchange(&token).await.expect(200);
    let long = scene.token_with(|claims| claims["more"] = json!("x".repeat(16 * 1024)));
    refused(
        &scene.exchange(&long).await,
        400,
        "invalid_grant",
        "16384 bytes",
    );
    scene.registry.stop().await;
}

#[tokio::test]
async fn each_algorithm_that_is_allowed_works_and_no_other_does() {
    let scene = Scene::set().await;
    let claims = scene.issuer.claims("default");
    let algorithms = [
        (Algorithm::RS256, true),
        (Algorithm::ES256, true),
        (Algorithm::EdDSA, true),
        (Algorithm::PS256, false),
        (Algorithm::ES384, false),
    ];
    let keys: Vec<(SigningKey, bool)> = algorithms
        .into_iter()
        .map(|(algorithm, good)| (SigningKey::new(&format!("{algorithm:?}"), algorithm), good))
        .collect();
    let all: Vec<&SigningKey> = keys.iter().map(|(key, _)| key).collect();
    scene.issuer.publish(&all);
    for (key, good) in &keys {
        let reply = scene.exchange(&key.sign(&claims)).await;
        if *good {
            assert_eq!(reply.status, 200, "{:?}: {}", key.algorithm, reply.text());
        } else {
            refused(&reply, 400, "invalid_grant", "does not allow");
        }
    }
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_token_that_counts_once_counts_once_on_all_servers() {
    let rules = json!([rule(json!({}))]);
    let once = Scene::with(TestDatabase::chosen(), rules, |issuer| {
        issuer.single_use = true;
    })
    .await;
    let replica = match TestDatabase::chosen() {
        TestDatabase::Sqlite | TestDatabase::Postgres => None,
        TestDatabase::Replicas => Some(once.registry.replica().await),
    };
    let token = once.token();
    // What comes to nothing uses nothing up.
    let scope = "repository:t-rivalkey/app:pull";
    refused(
        &once.exchange_for(&token, scope).await,
        400,
        "invalid_scope",
        "",
    );
    once.exchange(&token).await.expect(200);
    // Twice, so that behind a proxy each server is asked.
    for _ in 0..2 {
        refused(
            &once.exchange(&token).await,
            400,
            "invalid_grant",
            "exchanged before",
        );
    }
    if let Some(replica) = &replica {
        let url = replica.url(Door::Public);
        refused(
            &exchange_at(&url, &token, None).await,
            400,
            "invalid_grant",
            "exchanged before",
        );
        exchange_at(&url, &once.token(), None).await.expect(200);
    }
    // Its memory is bounded by the life of tokens, however long they say that is.
    let endless = once.token_with(|claims| claims["exp"] = json!(START.seconds() + 400 * DAY_S));
    once.exchange(&endless).await.expect(200);
    once.registry.clock.advance((DAY_S + 3_600) * 1000);
    while once.registry.running.http.auth.purge_ended().await.unwrap() > 0 {}
    let kept = once.registry.number("SELECT COUNT(*) FROM used_tokens");
    assert_eq!(kept.await, 0);
    let nameless = once.token_with(|claims| {
        let now = START.seconds() + DAY_S + 3_600;
        claims["iat"] = json!(now);
        claims["exp"] = json!(now + 300);
        claims.as_object_mut().unwrap().remove("jti");
    });
    refused(&once.exchange(&nameless).await, 400, "invalid_grant", "jti");
    once.registry.stop().await;
    if let Some(replica) = replica {
        replica.stop().await;
    }
}

/// Of many that try at one time, one gets it.
#[tokio::test]
async fn a_race_for_a_token_that_counts_once_has_one_winner() {
    let rules = json!([rule(json!({}))]);
    let once = Scene::with(TestDatabase::chosen(), rules, |issuer| {
        issuer.single_use = true;
    })
    .await;
    let token = once.token();
    let tries = (0..16).map(|_| once.exchange(&token));
    let replies = futures_util::future::join_all(tries).await;
    let won = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(won, 1);
    once.registry.stop().await;
}

#[tokio::test]
async fn a_token_counts_again_where_it_may() {
    let scene = Scene::set().await;
    let token = scene.token();
    for _ in 0..3 {
        scene.exchange(&token).await.expect(200);
    }
    scene.registry.stop().await;
}

#[tokio::test]
async fn bad_tokens_count_against_the_address_as_wrong_passwords_do() {
    let rules = json!([rule(json!({}))]);
    let scene = Scene::with(TestDatabase::one_server(), rules, |_| {}).await;
    let scene = Scene {
        registry: scene
            .registry
            .restart_after(async |config| config.limits.auth_failures_per_minute = 3)
            .await,
        ..scene
    };
    for _ in 0..3 {
        refused(
            &scene.exchange("a.b.c").await,
            400,
            "invalid_grant",
            "no signed JWT",
        );
    }
    let reply = scene.exchange("a.b.c").await;
    refused(&reply, 429, "slow_down", "too many wrong");
    assert_eq!(reply.header("retry-after"), "20");
    // A good one is let in all the same, and what it asks for wrongly is no guess.
    scene.exchange(&scene.token()).await.expect(200);
    let wrong = Login::Basic(String::from("t-shopkey"), String::from("wrong"));
    let wrong = scene.registry.distribution(Door::Public, wrong);
    wrong.get("/v2/").await.expect(429);
    scene.registry.stop().await;
}

/// Two secrets of such an address are looked at at one time. Tokens whose issuers are slow to say which keys they have are
/// none of them yet.
#[tokio::test]
async fn a_slow_issuer_keeps_nobody_behind_a_doubtful_address_waiting() {
    let rules = json!([rule(json!({}))]);
    let scene = Scene::with(TestDatabase::one_server(), rules.clone(), |_| {}).await;
    let key = SigningKey::new("one", Algorithm::ES256);
    let other = TestIssuer::start(&key).await;
    let mut entries = [&scene.issuer, &other].map(|issuer| issuer.entry(&rules));
    entries[1].name = String::from("other");
    let team = scene.registry.team("late").await;
    let scene = Scene {
        registry: scene
            .registry
            .restart_after(async |config| {
                config.limits.auth_failures_per_minute = 1;
                config.auth.issuers = entries.to_vec();
            })
            .await,
        ..scene
    };
    scene.exchange("a.b.c").await.expect(400);
    scene.exchange("a.b.c").await.expect(429);
    for issuer in [&scene.issuer, &other] {
        issuer.put(KEYS, Page::Held);
    }
    let (token, of_other) = (scene.token(), key.sign(&other.claims("default")));
    let docker = scene.registry.with_key(&team.admin_key);
    // The registry does not wait for an issuer for long: what happens meanwhile is as little as can be.
    let meanwhile = async {
        scene.issuer.until_asked(KEYS).await;
        other.until_asked(KEYS).await;
        docker.get("/v2/").await.expect(200);
        scene.issuer.publish(&[&scene.key]);
        other.publish(&[&key]);
    };
    let (first, second, ()) =
        tokio::join!(scene.exchange(&token), scene.exchange(&of_other), meanwhile);
    first.expect(200);
    second.expect(200);
    scene.registry.stop().await;
}

//! Credentials that are none: headers, tokens that were forged, cut or shown in the wrong place, and what `/token` is
//! asked for.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::row::{Row, get, head, post, put};
use super::scene::Scene;
use crate::support::database::TestDatabase;

const MINUTE_MS: i64 = 60_000;
const LIST: &str = "/v2/{own}/tags/list";

/// What no `Authorization` header may be.
const UNREADABLE: [&str; 19] = [
    "",
    " ",
    "Basic",
    "Basic ",
    "Basic ????",
    "Basic YW55b25l",
    "Basic YTpiYw",
    "Basic YTpi-_8=",
    "Basic //8=",
    "Basic YQA6Yg==",
    "Basic =",
    "Bearer",
    "Bearer ",
    "Negotiate abc",
    "Digest username=\"anyone\"",
    "AWS4-HMAC-SHA256 Credential=x",
    "Token {key}",
    "{key}",
    "Basic-Bearer {key}",
];

/// Tokens that were not made here, or not like this, and what is said of them.
const FORGED: [(&str, &str); 15] = [
    ("x", "the token is not valid"),
    ("a.b.c", "the token is not valid"),
    ("..", "the token is not valid"),
    ("{access}x", "the token is not valid"),
    ("{access}.x", "the token is not valid"),
    ("{cut-off}", "the token is not valid"),
    ("{no-signature}", "the token is not valid"),
    ("{more-rights}", "the token is not valid"),
    ("{no-algorithm}", "the token is not valid"),
    ("{with-public-key}", "the token is not valid"),
    ("{with-own-key}", "the token is not valid"),
    (
        "{unknown-key}",
        "was signed by a key that is not known here",
    ),
    ("{no-key-id}", "the token is not valid"),
    ("{expired}", "the access token has expired"),
    ("{not-yet}", "the token is not valid yet"),
];

/// Scopes that mean nothing here: there is a token, and nothing in it.
const VOID_SCOPES: [&str; 15] = [
    "",
    "%20",
    "repository",
    "repository:",
    "repository:{own}",
    "repository::pull",
    "repository:{foreign}:pull",
    "repository:App:pull",
    "repository:../app:pull",
    "repository:{own}:frobnicate",
    "registry:catalog:pull",
    "registry:other:*",
    "artifact:{own}:pull",
    "repository(plugin:{own}:pull",
    ":::::",
];

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let refused = |row: Row, says| row.is(401, "UNAUTHORIZED", says);
    let api = |row: Row, says| row.is(401, "unauthorized", says);
    let unreadable = "the Authorization header cannot be read: send Basic or Bearer credentials";
    for header in UNREADABLE {
        let row = get(LIST).signed(header);
        // A scheme without anything behind it is no token that could be wrong.
        rows.push(refused(row.challenges("Bearer realm="), unreadable));
    }
    for (token, says) in FORGED {
        let row = get(LIST).signed(format!("Bearer {token}"));
        rows.push(refused(row.challenges("error=\"invalid_token\""), says));
    }
    for scope in VOID_SCOPES {
        rows.push(get(format!("/token?service=berth&scope={scope}")).is(200, "", ""));
    }
    let no_password = "the password is no API key and no registry credential of this registry";
    let no_key = "this is no API key: the API takes the keys that start with berth_";
    let long = "x".repeat(20 * 1024);
    let longer = "x".repeat(25 * 1024);
    let grants = "grant_type is password (with username and password) or refresh_token (with a registry credential)";
    let form = |body: &str| post("/token").form(body).anonymous();
    rows.extend([
        // Tokens and passwords in places that do not take them.
        refused(get(LIST).signed("Bearer {key}"), "an API key is no Bearer token in the registry: send it as a Basic password"),
        refused(get(LIST).signed("Bearer {operator}"), "an API key is no Bearer token in the registry"),
        refused(get(LIST).signed("Bearer {credential}"), "this kind of token is not taken here: get an access token from the token endpoint"),
        refused(get(LIST).signed(format!("Bearer {long}")), "the token is not valid"),
        refused(get(LIST).signed(format!("Bearer {longer}")), "the Authorization header is too long: it may have 24576 bytes"),
        refused(put("/v2/{own}/manifests/v2").signed("Bearer {more-rights}").body("{}"), "the token is not valid"),
        refused(get("/v2/").signed("Bearer {no-algorithm}"), "the token is not valid"),
        head(LIST).signed("Bearer {with-own-key}").is(401, "", ""),
        refused(get(LIST).basic("anyone:"), no_password),
        refused(get(LIST).basic(":"), no_password),
        refused(get(LIST).basic("anyone:secret"), no_password),
        refused(get(LIST).basic("{key}:"), no_password),
        refused(get(LIST).basic("anyone:{access}"), no_password),
        refused(get(LIST).basic("{acme}:{credential}x"), no_password),
        refused(get(LIST).basic("{acme}:{old-credential}"), "the registry credential has expired: ask for a new one"),
        refused(get(LIST).basic("{acme}:{new-credential}"), "the registry credential is not valid yet"),
        refused(get(LIST).basic("anyone:{credential}"), "this registry credential goes with the user name {acme}"),
        refused(get(LIST).basic("{rival}:{credential}"), "this registry credential goes with the user name {acme}"),
        refused(get(LIST).basic(":{credential}"), "this registry credential goes with the user name {acme}"),
        refused(get(LIST).basic("anyone:{operator}"), "an operator key is no registry password: use an API key of a workspace, or a registry credential"),
        refused(get(LIST).basic("anyone:berth_"), "looks like an API key but is mistyped or cut off"),
        refused(get(LIST).basic("anyone:{key}x"), "looks like an API key but is mistyped or cut off"),
        refused(get(LIST).basic("anyone:{unknown-api-key}"), "there is no such API key, or it has been deleted"),
        refused(get(LIST).basic(&format!("anyone:{long}")), "the Authorization header is too long: it may have 24576 bytes"),
        refused(get(LIST).basic(&format!("anyone:{}", "x".repeat(17 * 1024))), no_password),
        refused(get(LIST).basic("anyone:pass\u{7}word"), unreadable),
        refused(get(LIST).signed(b"Basic \xff\xfe"), "the Authorization header cannot be read"),
        refused(get(LIST).signed("Basic a").header("Authorization", "Bearer b"), "more than one Authorization header was sent"),
        refused(get(LIST).signed("Bearer {access}").header("Authorization", "Bearer {access}"), "more than one Authorization header was sent"),
        refused(get(LIST).anonymous(), "authentication is needed: log in with an API key"),
        // The management API.
        api(get("/api/v1/whoami").anonymous(), "an API key is needed: send it as Authorization: Bearer"),
        api(get("/api/v1/whoami").signed("Bearer {access}"), no_key),
        api(get("/api/v1/whoami").signed("Bearer {credential}"), no_key),
        api(get("/api/v1/whoami").basic("{acme}:{credential}"), no_key),
        api(get("/api/v1/whoami").signed("Bearer {no-algorithm}"), no_key),
        api(get("/api/v1/whoami").signed("Bearer {key}x"), no_key),
        api(get("/api/v1/whoami").signed("Bearer {unknown-api-key}"), "there is no such API key, or it has been deleted"),
        api(get("/api/v1/whoami").signed("Token {key}"), unreadable),
        api(get("/api/v1/whoami").signed("Bearer {key}").header("Authorization", "Bearer {operator}"), "more than one Authorization header was sent"),
        // What a token is asked for with.
        refused(get("/token").anonymous(), "a token needs credentials: an API key, or a registry credential"),
        refused(get("/token").signed("Bearer {key}"), "a token is asked for with a user name and a password"),
        refused(get("/token").basic("anyone:secret"), no_password),
        refused(get("/token").basic("anyone:{access}"), no_password),
        refused(get("/token").basic("anyone:{operator}"), "an operator key is no registry password"),
        refused(get("/token").signed("Basic ????"), unreadable),
        form("").is(400, "UNSUPPORTED", grants),
        form("grant_type=").is(400, "UNSUPPORTED", grants),
        form("grant_type=client_credentials").is(400, "UNSUPPORTED", grants),
        form("grant_type=password").is(400, "UNSUPPORTED", "username is missing"),
        form("grant_type=password&username=a").is(400, "UNSUPPORTED", "password is missing"),
        form("grant_type=password&grant_type=password").is(400, "UNSUPPORTED", "grant_type is given more than once"),
        form("grant_type=password&username=a&password=b&password=c").is(400, "UNSUPPORTED", "password is given more than once"),
        form("grant_type=refresh_token").is(400, "UNSUPPORTED", "refresh_token is missing"),
        form("grant_type=password&username=a&password=%ff").is(400, "UNSUPPORTED", "not UTF-8"),
        refused(form("grant_type=password&username=a&password=\u{ff}"), no_password),
        refused(form("grant_type=password&username=a&password=b"), no_password),
        refused(form("grant_type=password&username=&password="), no_password),
        refused(form("grant_type=password&username=a&password={operator}"), "an operator key is no registry password"),
        refused(form("grant_type=password&username=a&password={access}"), no_password),
        refused(form("grant_type=refresh_token&refresh_token={key}"), no_password),
        refused(form("grant_type=refresh_token&refresh_token={access}"), no_password),
        refused(form("grant_type=refresh_token&refresh_token={old-credential}"), "the registry credential has expired"),
        refused(form(&format!("grant_type=refresh_token&refresh_token={long}")), no_password),
        get(format!("/token?{}", "scope=repository:{own}:pull&".repeat(33))).is(400, "UNSUPPORTED", "at most 32"),
        get(format!("/token?scope={}", "repository:{own}:pull%20".repeat(33))).is(400, "UNSUPPORTED", "at most 32"),
        get(format!("/token?scope=repository:{{own}}:{}", "pull,".repeat(5000))).is(400, "UNSUPPORTED", "scope"),
        get(format!("/token?{}", "x=y&".repeat(257))).is(400, "UNSUPPORTED", "more than 256 parameters"),
        get("/token?scope=%ff").is(400, "UNSUPPORTED", "not UTF-8"),
        get("/token?service=other&account=&client_id=%00&offline_token=maybe").is(200, "", ""),
        head("/token").is(405, "", ""),
    ]);
    rows
}

/// A token of its parts, each as JSON, with a signature over both.
fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn part(token: &str, index: usize) -> Value {
    let encoded = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
}

/// Makes the tokens that the rows name.
async fn forge(scene: &mut Scene) {
    let (expired, (_, old)) = (
        scene.access_token().await,
        scene.credential(json!({"expiresInSeconds": 60})).await,
    );
    scene.registry.clock.advance(10 * MINUTE_MS);
    let (access, (_, credential)) = (
        scene.access_token().await,
        scene.credential(json!({})).await,
    );
    scene.registry.clock.advance(60 * MINUTE_MS);
    let (not_yet, (_, new)) = (
        scene.access_token().await,
        scene.credential(json!({})).await,
    );
    scene.registry.clock.advance(-60 * MINUTE_MS);

    let published = scene.docker.get("/.well-known/jwks.json").await.expect(200);
    let published = published.json()["keys"][0].clone();
    let public_key = URL_SAFE_NO_PAD.decode(published["x"].as_str().unwrap());
    let public_key = public_key.unwrap();
    let (header, claims) = (part(&access, 0), part(&access, 1));
    let kid = header["kid"].as_str().unwrap().to_owned();
    let (message, signature) = access.rsplit_once('.').unwrap();

    let own = Ed25519KeyPair::generate().unwrap();
    let own_sign = |message: &[u8]| own.sign(message).as_ref().to_vec();
    let own_public = URL_SAFE_NO_PAD.encode(own.public_key().as_ref());
    let with = |field: &str, value: Value| {
        let mut changed = header.clone();
        changed[field] = value;
        changed
    };
    let own_jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": own_public, "kid": kid});
    let with_own_key = with("jwk", own_jwk);
    let mut symmetric = Header::new(Algorithm::HS256);
    symmetric.typ = header["typ"].as_str().map(str::to_owned);
    symmetric.kid = Some(kid);
    let secret = EncodingKey::from_secret(&public_key);
    let symmetric = jsonwebtoken::encode(&symmetric, &claims, &secret).unwrap();
    let mut more = claims.clone();
    more["access"][0]["name"] = json!("t-rivalkey/app");
    let more = URL_SAFE_NO_PAD.encode(more.to_string());
    let (head_part, _) = message.split_once('.').unwrap();
    let unknown = berth::auth::ApiKeySecret::generate().unwrap();
    for (name, value) in [
        ("{cut-off}", access[..access.len() - 2].to_owned()),
        ("{no-signature}", format!("{message}.")),
        ("{more-rights}", format!("{head_part}.{more}.{signature}")),
        (
            "{no-algorithm}",
            token(&with("alg", json!("none")), &claims, |_| Vec::new()),
        ),
        ("{with-public-key}", symmetric),
        ("{with-own-key}", token(&with_own_key, &claims, own_sign)),
        (
            "{unknown-key}",
            token(&with("kid", json!("unknown")), &claims, own_sign),
        ),
        (
            "{no-key-id}",
            token(&with("kid", Value::Null), &claims, own_sign),
        ),
        ("{expired}", expired),
        ("{not-yet}", not_yet),
        ("{old-credential}", old),
        ("{new-credential}", new),
        ("{unknown-api-key}", unknown.reveal().to_owned()),
        ("{access}", access.clone()),
        ("{credential}", credential),
    ] {
        scene.name_secret(name, value);
    }
}

#[tokio::test]
async fn credentials_that_are_none_are_refused() {
    let mut scene = Scene::set(TestDatabase::one_server()).await;
    forge(&mut scene).await;
    super::drive_on(scene, &rows()).await;
}

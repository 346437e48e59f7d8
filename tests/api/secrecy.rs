//! Secrets never reach the log, however much of it is written.

use serde_json::{Value, json};

use crate::support::distribution::{Content, Distribution, Login, Reply, form, image};
use crate::support::process::Folder;

/// A password that is none, typed into the place of one.
const WRONG_PASSWORD: &str = "correct-horse-battery-staple";
const WRONG_KEY: &str = "berth_0123456789012345678901234567890123456789012";
const WRONG_TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmVyeWJvZHkifQ.c2lnbmF0dXJl";

/// Every secret of a run, each with a word for it.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn keep(&mut self, name: &str, secret: &str) -> String {
        assert!(secret.len() > 20, "{name}");
        self.0.push((name.to_owned(), secret.to_owned()));
        secret.to_owned()
    }

    /// The secrets that a text holds: whole, by the part that matters, or as Basic carries them.
    fn found_in(&self, text: &str) -> Vec<&str> {
        use base64::Engine as _;
        let holds = |secret: &str| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(secret);
            // The signature alone, or the random half of a key, is as good as the whole.
            let tail = &secret[secret.len() - 16..];
            [secret, tail, &encoded[..encoded.len() - 4]]
                .iter()
                .any(|part| text.contains(part))
        };
        let found = self.0.iter().filter(|(_, secret)| holds(secret));
        found.map(|(name, _)| name.as_str()).collect()
    }
}

async fn everything_with_a_secret(docker: &Distribution, secrets: &mut Secrets) {
    let login = |user: &str, password: &str| Login::Basic(user.to_owned(), password.to_owned());
    let scope = "repository:t-main/app:pull,push,delete";
    let token = docker.exchanged(&[scope]).await;
    let Login::Bearer(text) = &token.login else {
        unreachable!("it was exchanged")
    };
    secrets.keep("access token", text);
    let content = image().layer("a layer").build();
    token.push_image("t-main/app", "v1", &content).await;
    token.get("/v2/t-main/app/manifests/v1").await.expect(200);
    let location = token.open_upload("t-main/app").await;
    token.patch(&location, "bytes").await.expect(202);
    token.delete(&location).await.expect(204);
    for wrong in [
        login("t-main", WRONG_PASSWORD),
        login(WRONG_PASSWORD, WRONG_KEY),
        Login::Bearer(WRONG_TOKEN.to_owned()),
        Login::Bearer(WRONG_KEY.to_owned()),
    ] {
        let wrong = docker.with(wrong);
        wrong.get("/v2/").await.expect(401);
        wrong.get("/v2/t-main/app/tags/list").await.expect(401);
        wrong.token_reply(&[scope]).await.expect(401);
        wrong.get("/api/v1/whoami").await.expect(401);
        wrong
            .push_blob("t-main/app", &Content::new("bytes"))
            .await
            .expect(401);
    }
    // Clients that put a secret where none belongs.
    for path in [
        format!("/token?account={WRONG_KEY}&password={WRONG_PASSWORD}"),
        format!("/v2/?access_token={WRONG_TOKEN}"),
        format!("/{WRONG_KEY}"),
    ] {
        docker.get(&path).await;
        docker.with(Login::Nobody).get(&path).await;
    }
    for fields in [
        vec![
            ("grant_type", "password"),
            ("username", "u"),
            ("password", WRONG_PASSWORD),
        ],
        vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", WRONG_TOKEN),
        ],
        vec![("grant_type", WRONG_PASSWORD)],
    ] {
        let request = form(docker.request(reqwest::Method::POST, "/token"), &fields);
        assert!(Reply::of(request).await.status >= 400);
    }
}

async fn run(filter: &str, format: &str) -> (Secrets, String) {
    let environment = [("BERTH_LOG__FILTER", filter), ("BERTH_LOG__FORMAT", format)];
    let server = Folder::new().start(&environment);
    let mut secrets = Secrets::default();
    for wrong in [WRONG_PASSWORD, WRONG_KEY, WRONG_TOKEN] {
        secrets.keep(wrong, wrong);
    }
    let operator = secrets.keep("operator key", &server.folder().secret("operator.key"));
    let main = secrets.keep("main key", &server.folder().secret("main.key"));
    everything_with_a_secret(&server.docker(), &mut secrets).await;
    let made = server
        .api(&operator)
        .post(
            "/workspaces/main/api-keys",
            &json!({"name": "ci", "role": "builder"}),
        )
        .await
        .expect(201);
    let key = secrets.keep("new key", made["key"].as_str().unwrap());
    let made_operator = server
        .api(&operator)
        .post("/operator-keys", &json!({"name": "alice"}))
        .await
        .expect(201);
    let alice = secrets.keep("new operator key", made_operator["key"].as_str().unwrap());
    // Its files are read at the end, with those of the keys that signed until now.
    server
        .api(&alice)
        .post("/signing-keys/rotate", &json!({}))
        .await
        .expect(200);
    let made_secret = server
        .api(&main)
        .post("/registry/pull-secret", &json!({}))
        .await
        .expect(201);
    let node = server
        .docker()
        .with(crate::pull_secrets::login(&made_secret));
    let Login::Basic(_, password) = &node.login else {
        unreachable!("it is a password")
    };
    let password = secrets.keep("pull secret", password);
    let token = node.exchanged(&["repository:t-main/app:pull"]).await;
    for puller in [&node, &token] {
        let pulled = puller.get("/v2/t-main/app/manifests/v1").await;
        pulled.expect(200);
    }
    let misplaced = node.with(Login::Bearer(password));
    misplaced.get("/v2/").await.expect(401);
    misplaced.get("/api/v1/whoami").await.expect(401);
    let issued = server
        .api(&key)
        .post("/registry/credentials", &json!({}))
        .await
        .expect(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let password = secrets.keep("credential", &text(&issued["password"]));
    let docker = server.docker();
    let docker = docker.with(Login::Basic(text(&issued["username"]), password));
    everything_with_a_secret(&docker.with(Login::key(&key)), &mut secrets).await;
    docker.token_reply(&[]).await.expect(200);
    let path = format!("/workspaces/main/api-keys/{}", text(&made["id"]));
    server.api(&operator).delete(&path).await.expect(204);
    docker.get("/v2/").await.expect(401);
    server
        .api(&main)
        .post("/registry/credentials/revoke", &json!({"all": true}))
        .await
        .expect(204);
    server.terminate();
    let (status, folder) = server.ended();
    assert!(status.success(), "{status}");
    // The keys that sign and the keys in the database's own words are secrets too.
    for file in crate::support::process::files(&folder.data().join("keys")) {
        let key = std::fs::read_to_string(&file).unwrap();
        let longest = key.lines().max_by_key(|line| line.len()).unwrap();
        secrets.keep("signing key", longest);
    }
    (secrets, folder.log())
}

#[tokio::test]
async fn no_secret_is_in_the_log_at_its_most_talkative() {
    for format in ["json", "text"] {
        let (secrets, log) = run("trace", format).await;
        assert!(log.contains("request answered"), "the log is not empty");
        let found: Vec<String> = log
            .lines()
            .filter(|line| !secrets.found_in(line).is_empty())
            .take(5)
            .map(|line| format!("{:?} in {line}", secrets.found_in(line)))
            .collect();
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn a_secret_in_a_text_would_be_found() {
    use base64::Engine as _;
    let mut secrets = Secrets::default();
    secrets.keep("key", WRONG_KEY);
    let basic = base64::engine::general_purpose::STANDARD.encode(WRONG_KEY);
    for text in [WRONG_KEY, &WRONG_KEY[30..], &basic] {
        assert_eq!(secrets.found_in(&format!("x {text} y")), ["key"]);
    }
    assert!(secrets.found_in("nothing").is_empty());
}

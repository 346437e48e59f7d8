//! Tests of what becomes of a question whose asker goes away, and of files that cannot be used.

use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const START: Millis = Millis(1_767_225_600_000);

/// The set of the keys with these ids.
fn key_set(ids: &[&str]) -> Value {
    // RFC 7517 appendix A.1.
    let key = |id: &&str| {
        json!({
            "kty": "EC", "crv": "P-256", "kid": id, "use": "sig",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        })
    };
    json!({"keys": ids.iter().map(key).collect::<Vec<_>>()})
}

fn issuer(differs: &Value) -> config::Issuer {
    let mut issuer =
        json!({"name": "test", "issuer": "https://issuer.example.com", "audience": "berth"});
    let fields = differs.as_object().unwrap().clone();
    issuer.as_object_mut().unwrap().extend(fields);
    serde_json::from_value(issuer).unwrap()
}

/// An issuer that answers when it is told to.
struct Slow(TcpListener);

impl Slow {
    async fn start() -> (Self, Arc<KeySource>, Clock) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let clock = Clock::manual(START);
        let source = KeySource::new(&issuer(&json!({"jwks_url": url})), clock.clone()).unwrap();
        (Self(listener), Arc::new(source), clock)
    }

    /// The next question, whole.
    async fn asked(&self) -> TcpStream {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream
    }
}

async fn answer(mut stream: TcpStream, ids: &[&str]) {
    let body = key_set(ids).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // Nobody may be there any more.
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

/// Asks for a key, and goes away while the issuer has the question.
async fn ask_and_go(source: &Arc<KeySource>, slow: &Slow) -> TcpStream {
    tokio::select! {
        _ = source.key("one", Algorithm::ES256) => unreachable!("the issuer has not answered"),
        stream = slow.asked() => stream,
    }
}

#[tokio::test]
async fn an_answer_counts_even_if_whoever_asked_has_gone() {
    let (slow, source, _) = Slow::start().await;
    let stream = ask_and_go(&source, &slow).await;
    let (found, ()) = tokio::join!(
        source.key("one", Algorithm::ES256),
        answer(stream, &["one"])
    );
    assert_eq!(found.err(), None);
}

/// Who has a stolen key could keep it alive otherwise, by asking and going away again and again.
#[tokio::test]
async fn a_key_is_taken_back_even_if_whoever_asked_has_gone() {
    let (slow, source, clock) = Slow::start().await;
    let (found, ()) = tokio::join!(source.key("one", Algorithm::ES256), async {
        answer(slow.asked().await, &["one"]).await;
    });
    assert_eq!(found.err(), None);
    clock.advance(FRESH_MS);
    let stream = ask_and_go(&source, &slow).await;
    // Whoever asks for a key that is not known waits for the answer.
    let (other, ()) = tokio::join!(
        source.key("other", Algorithm::ES256),
        answer(stream, &["two"])
    );
    assert_eq!(other.err(), Some(NoKey::Unknown));
    let withdrawn = source.key("one", Algorithm::ES256).await;
    assert_eq!(withdrawn.err(), Some(NoKey::Unknown));
    assert_eq!(source.key("two", Algorithm::ES256).await.err(), None);
}

#[test]
fn files_that_cannot_be_used_are_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let open = |key: &str, path: &Path| {
        KeySource::new(&issuer(&json!({key: path})), Clock::manual(START)).map(|_| ())
    };
    let keys = file("jwks.json", &key_set(&["one"]).to_string());
    let token = file("token", "a.b.c\n");
    open("jwks_file", &keys).unwrap();
    open("token_file", &token).unwrap();
    let missing = folder.path().join("missing");
    let empty = file("empty.json", &key_set(&[]).to_string());
    let nothing = file("nothing", " \n");
    for (key, path, says) in [
        ("jwks_file", &missing, "No such file"),
        ("jwks_file", &token, "no set of keys"),
        ("jwks_file", &empty, "no key that signatures"),
        ("token_file", &missing, "No such file"),
        ("token_file", &nothing, "it is empty"),
        ("token_file", &file("lines", "a\nb"), "header value"),
    ] {
        let error = open(key, path).unwrap_err();
        let start = format!("{key} names {}: ", path.display());
        assert!(error.starts_with(&start), "{error}");
        assert!(error.contains(says), "{error}");
    }
}

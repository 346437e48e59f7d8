//! A row of the table: one request, and what it must be answered with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::scene::Scene;

/// Who sends a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The admin of the team, or for the management API the operator.
    Good,
    /// Nobody.
    Nobody,
    /// Whoever the row's own `Authorization` headers say.
    Itself,
}

/// One request and its answer. Texts may hold the names of a [`Scene`].
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) method: String,
    pub(crate) target: String,
    version: &'static str,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    pub(crate) sender: Sender,
    host: bool,
    framed: bool,
    pub(crate) cut_off: bool,
    pub(crate) status: u16,
    /// The code of the error; empty for an answer that is none, or that has no body.
    pub(crate) code: &'static str,
    /// A part of its message.
    pub(crate) says: &'static str,
    /// A part of the challenge.
    pub(crate) challenge: &'static str,
    /// It is HTTP that is broken, so that the answer is the bare status of the HTTP library.
    pub(crate) bare: bool,
}

pub(crate) fn request(method: &str, target: impl Into<String>) -> Row {
    Row {
        method: method.to_owned(),
        target: target.into(),
        version: "HTTP/1.1",
        headers: Vec::new(),
        body: Vec::new(),
        sender: Sender::Good,
        host: true,
        framed: true,
        cut_off: false,
        status: 0,
        code: "",
        says: "",
        challenge: "",
        bare: false,
    }
}

pub(crate) fn get(target: impl Into<String>) -> Row {
    request("GET", target)
}

pub(crate) fn head(target: impl Into<String>) -> Row {
    request("HEAD", target)
}

pub(crate) fn put(target: impl Into<String>) -> Row {
    request("PUT", target)
}

pub(crate) fn post(target: impl Into<String>) -> Row {
    request("POST", target)
}

pub(crate) fn patch(target: impl Into<String>) -> Row {
    request("PATCH", target)
}

pub(crate) fn delete(target: impl Into<String>) -> Row {
    request("DELETE", target)
}

impl Row {
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn typed(self, content_type: &str) -> Self {
        self.header("Content-Type", content_type)
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_owned();
        self
    }

    pub(crate) fn json(self, body: impl AsRef<[u8]>) -> Self {
        self.typed("application/json").body(body)
    }

    pub(crate) fn form(self, body: impl AsRef<[u8]>) -> Self {
        self.typed("application/x-www-form-urlencoded").body(body)
    }

    /// Sent by nobody.
    pub(crate) fn anonymous(mut self) -> Self {
        self.sender = Sender::Nobody;
        self
    }

    /// Sent with this `Authorization`, in place of a good one.
    pub(crate) fn signed(mut self, authorization: impl AsRef<[u8]>) -> Self {
        self.sender = Sender::Itself;
        self.header("Authorization", authorization)
    }

    /// Sent with this user name and password, or whatever else `pair` is.
    pub(crate) fn basic(self, pair: &str) -> Self {
        // The names stand for something only when the row is sent; so does what is encoded.
        self.signed(format!("Basic-of {pair}"))
    }

    pub(crate) fn in_version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Without the `Host` that belongs to every request.
    pub(crate) fn hostless(mut self) -> Self {
        self.host = false;
        self
    }

    /// Without the `Content-Length` that fits the body: the row has headers of its own for that.
    pub(crate) fn unframed(mut self) -> Self {
        self.framed = false;
        self
    }

    /// The sender stops in the middle of the request.
    pub(crate) fn cut_off(mut self) -> Self {
        self.cut_off = true;
        self
    }

    /// What it must be answered with.
    pub(crate) fn is(mut self, status: u16, code: &'static str, says: &'static str) -> Self {
        (self.status, self.code, self.says) = (status, code, says);
        self
    }

    /// It is refused by HTTP itself, and the connection is closed.
    pub(crate) fn breaks_http(mut self, status: u16) -> Self {
        self.bare = true;
        self.is(status, "", "")
    }

    /// The row as it is sent when nobody is behind it.
    pub(crate) fn unsigned(&self) -> Self {
        self.clone().anonymous()
    }

    /// Whether it speaks of an upload of its own.
    pub(crate) fn is_for_fresh_upload(&self) -> bool {
        self.target.contains("{fresh}")
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether it goes to the management API, by its path.
    pub(crate) fn is_api(&self) -> bool {
        let path = self.target.strip_prefix("http://{host}");
        path.unwrap_or(&self.target).starts_with("/api/")
    }

    /// The challenge must hold this too.
    pub(crate) fn challenges(mut self, challenge: &'static str) -> Self {
        self.challenge = challenge;
        self
    }

    /// What people find it by.
    pub(crate) fn label(&self) -> String {
        let clip = |text: &str| text.chars().take(100).collect::<String>();
        let mut label = format!("{} {}", clip(&self.method), clip(&self.target));
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value);
            label.push_str(&format!(" | {}: {}", clip(name), clip(&value)));
        }
        label.push_str(&format!(
            " | {}",
            clip(&String::from_utf8_lossy(&self.body))
        ));
        label
    }

    /// The request as it goes over the wire.
    pub(crate) fn bytes(&self, scene: &Scene, fresh: &str) -> Vec<u8> {
        let fill = |text: &str| scene.fill(&text.replace("{fresh}", fresh));
        let fill_bytes = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => fill(text).into_bytes(),
            Err(_) => bytes.to_owned(),
        };
        let body = fill_bytes(&self.body);
        let mut wire = format!(
            "{} {} {}\r\n",
            self.method,
            fill(&self.target),
            self.version
        )
        .into_bytes();
        let mut push = |name: &str, value: &[u8]| {
            wire.extend_from_slice(name.as_bytes());
            wire.extend_from_slice(b": ");
            wire.extend_from_slice(value);
            wire.extend_from_slice(b"\r\n");
        };
        if self.host {
            push("Host", fill("{host}").as_bytes());
        }
        push("Connection", b"close");
        if self.sender == Sender::Good {
            let login = if self.is_api() {
                fill("Bearer {operator}")
            } else {
                format!("Basic {}", STANDARD.encode(fill("anyone:{key}")))
            };
            push("Authorization", login.as_bytes());
        }
        let signs = |name: &str| name.eq_ignore_ascii_case("authorization");
        for (name, value) in &self.headers {
            if signs(name) && self.sender == Sender::Nobody {
                continue;
            }
            match value.strip_prefix(b"Basic-of ") {
                Some(pair) => {
                    let pair = STANDARD.encode(fill_bytes(pair));
                    push(name, format!("Basic {pair}").as_bytes());
                }
                None => push(name, &fill_bytes(value)),
            }
        }
        if self.framed && (!body.is_empty() || !matches!(&*self.method, "GET" | "HEAD")) {
            push("Content-Length", body.len().to_string().as_bytes());
        }
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(&body);
        wire
    }
}

//! Calls of the management API and of the registry, as their clients make them.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

/// A caller of `/api/v1` with one key.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    base: String,
    key: String,
    workspace: Option<String>,
    if_match: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The data of a success; panics with the whole answer when the status is another one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        if self.body.is_null() {
            return Value::Null;
        }
        assert_eq!(self.body["success"], Value::Bool(true), "{:#}", self.body);
        self.body["data"].clone()
    }

    /// The reason of a 409 and whoever stands in the way; panics with the whole answer when it is another one.
    #[track_caller]
    pub(crate) fn expect_in_use(self, reason: &str) -> Vec<String> {
        assert_eq!(self.status.as_u16(), 409, "{:#}", self.body);
        assert_eq!(self.body["error"]["code"], "conflict", "{:#}", self.body);
        let details = &self.body["error"]["details"];
        assert_eq!(details["reason"], reason, "{:#}", self.body);
        let message = self.body["error"]["message"].as_str().unwrap();
        let holders = details["holders"].as_array().unwrap().iter().map(|holder| {
            let name = holder["name"].as_str().unwrap();
            assert!(message.contains(name), "{message}");
            format!("{} {name}", holder["kind"].as_str().unwrap())
        });
        holders.collect()
    }

    /// The code and message of an error; panics with the whole answer when the status is another one.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, code: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        assert_eq!(self.body["success"], Value::Bool(false), "{:#}", self.body);
        assert_eq!(self.body["error"]["code"], code, "{:#}", self.body);
        self.body["error"]["message"].as_str().unwrap().to_owned()
    }
}

impl Api {
    pub(crate) fn new(client: &Client, url: &str, key: &str) -> Self {
        Self {
            client: client.clone(),
            base: format!("{url}/api/v1"),
            key: key.to_owned(),
            workspace: None,
            if_match: None,
        }
    }

    /// Everything that a check of the whole storage finds.
    pub(crate) async fn findings(&self, hash: bool, repair: bool) -> Vec<Value> {
        let (mut cursor, mut findings) = (Value::Null, Vec::new());
        loop {
            let request = json!({"cursor": cursor, "hash": hash, "repair": repair});
            let slice = self.post("/checks", &request).await.expect(200);
            findings.extend(slice["findings"].as_array().unwrap().iter().cloned());
            cursor = slice["nextCursor"].clone();
            if cursor.is_null() {
                return findings;
            }
        }
    }

    /// The same key, in this workspace.
    pub(crate) fn in_workspace(&self, name: &str) -> Self {
        Self {
            workspace: Some(name.to_owned()),
            ..self.clone()
        }
    }

    /// The same key, with a precondition.
    pub(crate) fn if_match(&self, tags: &str) -> Self {
        Self {
            if_match: Some(tags.to_owned()),
            ..self.clone()
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body.to_string())).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, Some(body.to_string())).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, Some(body.to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<String>) -> Answer {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.key);
        if let Some(workspace) = &self.workspace {
            request = request.header("x-workspace", workspace);
        }
        if let Some(tags) = &self.if_match {
            request = request.header("if-match", tags);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        };
        Answer {
            status,
            headers,
            body,
        }
    }
}

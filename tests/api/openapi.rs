//! The document of the API: served where the API is, of one mind with the routes that there are, and complete.

use std::collections::{BTreeMap, BTreeSet};

use berth::http::{Door, rows};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::support::database::TestDatabase;
use crate::support::{TestRegistry, client};

const PATH: &str = "/api/v1/openapi.json";

/// What the document describes; `/v2/` is the distribution specification's.
const DESCRIBED: [&str; 3] = ["/api/v1/", "/token", "/.well-known/jwks.json"];

async fn document(registry: &TestRegistry) -> Value {
    let url = registry.url(Door::Public);
    let answer = client().get(format!("{url}{PATH}")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    answer.json().await.unwrap()
}

/// The operations by names such as `GET /api/v1/whoami`.
fn operations(document: &Value) -> BTreeMap<String, &Value> {
    let paths = document["paths"].as_object().unwrap().iter();
    let of_path = |(path, item): (&String, &'_ Value)| -> Vec<(String, String)> {
        let methods = item.as_object().unwrap().keys();
        methods
            .map(|method| (method.clone(), path.clone()))
            .collect()
    };
    let names = paths.flat_map(of_path);
    names
        .map(|(method, path)| {
            let name = format!("{} {path}", method.to_uppercase());
            (name, &document["paths"][path][method])
        })
        .collect()
}

/// What a reference refers to, and anything else as it is.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        None => value,
        Some(reference) => {
            let pointer = reference.strip_prefix('#').unwrap();
            document
                .pointer(pointer)
                .unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
    }
}

/// Every value of a key, wherever it stands.
fn all_of<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|field| all_of(field, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| all_of(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A HEAD is its GET without the body: the document says so once, and has none.
#[tokio::test]
async fn every_route_is_documented_and_every_operation_is_a_route() {
    let registry = TestRegistry::start().await;
    let document = document(&registry).await;
    let documented: BTreeSet<String> = operations(&document).into_keys().collect();
    for (door, api_has_own_door) in [(Door::Public, false), (Door::Api, true)] {
        let rows = rows(door, api_has_own_door);
        let described = rows
            .iter()
            .filter(|row| DESCRIBED.iter().any(|path| row.path.starts_with(path)));
        let (heads, others): (Vec<_>, Vec<_>) = described.partition(|row| row.method == "HEAD");
        let routes: BTreeSet<String> = others
            .iter()
            .map(|row| format!("{} {}", row.method, row.path))
            .collect();
        assert_eq!(documented, routes, "at the door {door:?}");
        for head in heads {
            assert!(
                documented.contains(&format!("GET {}", head.path)),
                "{head:?}"
            );
        }
    }
    let description = document["info"]["description"].as_str().unwrap();
    assert!(description.contains("`HEAD` is answered wherever `GET` is"));
}

#[tokio::test]
async fn it_is_served_without_credentials_where_the_whole_api_is() {
    let any_port = ([127, 0, 0, 1], 0).into();
    let with_door = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
        config.server.api_listen = Some(any_port);
    });
    let (alone, with_door) = (TestRegistry::start().await, with_door.await);
    let ask = async |registry: &TestRegistry, door: Door, method: Method| {
        let url = format!("{}{PATH}", registry.url(door));
        let answer = client().request(method, url).send().await.unwrap();
        answer.status().as_u16()
    };
    for (registry, door, expected) in [
        (&alone, Door::Public, 200),
        (&alone, Door::Pull, 404),
        (&alone, Door::Ops, 404),
        (&with_door, Door::Api, 200),
        (&with_door, Door::Public, 404),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let status = ask(registry, door, method.clone()).await;
            assert_eq!(status, expected, "{method} at {door:?}");
        }
    }
    assert_eq!(ask(&alone, Door::Public, Method::POST).await, 405);
}

#[tokio::test]
async fn a_client_that_has_it_gets_it_once() {
    let registry = TestRegistry::start().await;
    let url = format!("{}{PATH}", registry.url(Door::Public));
    let ask = async |client: &Client, header: &HeaderName, value: &str| {
        let request = client.get(&url).header(header, value);
        request.send().await.unwrap()
    };
    let client = client();
    let first = client.get(&url).send().await.unwrap();
    let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
    let again = ask(&client, &IF_NONE_MATCH, &tag).await;
    assert_eq!(
        (again.status().as_u16(), &again.headers()[ETAG]),
        (304, &first.headers()[ETAG])
    );
    assert_eq!(again.text().await.unwrap(), "");
    let other = ask(&client, &IF_NONE_MATCH, "\"sha256:00\"").await;
    assert_eq!(other.status(), 200);
    assert_eq!(other.text().await.unwrap(), first.text().await.unwrap());
}

#[tokio::test]
async fn every_operation_says_what_it_does_and_how_it_is_answered() {
    let registry = TestRegistry::start().await;
    let document = document(&registry).await;
    let tags: BTreeSet<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|tag| tag["name"].as_str())
        .collect();
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let text = |field: &str| operation[field].as_str().unwrap_or_default();
        assert!(text("summary").ends_with('.'), "{name} has no summary");
        assert!(
            ids.insert(text("operationId").to_owned()),
            "{name} has the id of another"
        );
        assert!(
            tags.contains(operation["tags"][0].as_str().unwrap()),
            "{name} has no tag"
        );
        if let Some(content) = operation["requestBody"]["content"].as_object() {
            check_bodies(&document, &name, content);
        }
        let responses = operation["responses"].as_object().unwrap();
        for (status, response) in responses {
            let name = format!("{name} {status}");
            let response = resolved(&document, response);
            assert!(
                response["headers"]["X-Request-Id"].is_object(),
                "{name} has no id"
            );
            assert_ne!(response["description"], "", "{name} is not described");
            let content = response["content"].as_object();
            let has_body = !matches!(status.as_str(), "204" | "304");
            assert_eq!(
                content.is_some(),
                has_body,
                "{name}: refusals.rs knows which statuses have a body"
            );
            if let Some(content) = content {
                check_bodies(&document, &name, content);
            }
        }
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{name}"
        );
        let is_public = operation["security"] == json!([{}]);
        let mut expected = vec!["400", "500"];
        if !is_public {
            expected.extend(["401", "429", "503"]);
        }
        if operation["requestBody"].is_object() {
            expected.extend(["408", "413", "415"]);
        }
        for status in expected {
            assert!(responses.contains_key(status), "{name} is never {status}");
        }
    }
}

/// Every body has a schema and an example, and the example has what the schema asks for.
fn check_bodies(document: &Value, name: &str, content: &serde_json::Map<String, Value>) {
    for (content_type, body) in content {
        let example = &body["example"];
        assert!(
            example.is_object(),
            "{name} has no example of {content_type}"
        );
        check_example(document, name, &body["schema"], example);
    }
}

fn check_example(document: &Value, name: &str, schema: &Value, example: &Value) {
    let schema = resolved(document, schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check_example(document, name, part, example);
    }
    for field in schema["required"].as_array().into_iter().flatten() {
        let field = field.as_str().unwrap();
        assert!(
            example.get(field).is_some(),
            "the example of {name} has no {field}: {example}"
        );
    }
    for (field, value) in example.as_object().into_iter().flatten() {
        check_example(document, name, &schema["properties"][field], value);
    }
    for item in example.as_array().into_iter().flatten() {
        check_example(document, name, &schema["items"], item);
    }
}

#[tokio::test]
async fn requests_take_no_other_fields_than_the_documented_ones() {
    let registry = TestRegistry::start().await;
    let document = document(&registry).await;
    for (name, operation) in operations(&document) {
        let body = &operation["requestBody"]["content"]["application/json"];
        if body.is_object() {
            let schema = resolved(&document, &body["schema"]);
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_nothing_is_described_in_vain() {
    let registry = TestRegistry::start().await;
    let document = document(&registry).await;
    let mut references = Vec::new();
    all_of(&document, "$ref", &mut references);
    let used: BTreeSet<&str> = references
        .iter()
        .filter_map(|found| found.as_str())
        .collect();
    let mut described = BTreeSet::new();
    for kind in ["schemas", "responses", "headers"] {
        let parts = document["components"][kind].as_object().unwrap();
        described.extend(
            parts
                .keys()
                .map(|name| format!("#/components/{kind}/{name}")),
        );
    }
    let described: BTreeSet<&str> = described.iter().map(String::as_str).collect();
    assert_eq!(used, described);
}

/// Numbers that the annotations repeat, since they take no constants.
#[tokio::test]
async fn the_limits_of_the_document_are_those_of_the_server() {
    let registry = TestRegistry::start().await;
    let document = document(&registry).await;
    let operator = registry.operator();
    let number = |pointer: &str| document.pointer(pointer).and_then(Value::as_u64).unwrap();

    let limit = "/paths/~1api~1v1~1accounts/get/parameters/0/schema";
    let (least, most) = (
        number(&format!("{limit}/minimum")),
        number(&format!("{limit}/maximum")),
    );
    for (limit, expected) in [(least, 200), (most, 200), (least - 1, 400), (most + 1, 400)] {
        let answer = operator.get(&format!("/accounts?limit={limit}")).await;
        assert_eq!(answer.status, expected, "limit={limit}");
    }

    let longest = number("/components/schemas/RotateOperatorKey/properties/overlapSeconds/maximum");
    let key = operator
        .post("/operator-keys", &json!({"name": "second"}))
        .await
        .expect(201);
    let rotate = format!("/operator-keys/{}/rotate", key["id"].as_str().unwrap());
    for (seconds, expected) in [(longest + 1, 400), (longest, 201)] {
        let answer = operator
            .post(&rotate, &json!({"overlapSeconds": seconds}))
            .await;
        assert_eq!(answer.status, expected, "overlapSeconds={seconds}");
    }

    let most = number("/components/schemas/CreateApiKey/properties/repositories/maxItems");
    for (patterns, expected) in [(most, 201), (most + 1, 400)] {
        let patterns: Vec<String> = (0..patterns).map(|number| format!("app{number}")).collect();
        let body = json!({"name": "narrow", "role": "viewer", "repositories": patterns});
        let answer = operator.post("/workspaces/main/api-keys", &body).await;
        assert_eq!(answer.status, expected, "{} patterns", patterns.len());
    }
}

/// RFC 9110 section 15.5.2: a 401 says how to authenticate.
#[tokio::test]
async fn a_401_says_how_to_authenticate() {
    let registry = TestRegistry::start().await;
    let url = format!("{}/api/v1/whoami", registry.url(Door::Public));
    let answer = client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.headers()["www-authenticate"],
        "Bearer realm=\"berth\""
    );
}

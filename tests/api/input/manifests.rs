//! Manifests that are none: JSON that is broken or could be read in two ways, and fields that are not as they should be.

use super::row::{Row, put};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const TARGET: &str = "/v2/{own}/manifests/new";

const CONFIG: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{config-size}}"#;
const LAYER: &str = r#"{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{layer-size}}"#;

/// An image manifest with one field more, or without one of its own.
fn image(field: &str) -> Row {
    manifest(&format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{CONFIG},"layers":[{LAYER}]{field}}}"#
    ))
}

/// An image manifest whose one layer is this.
fn layer(layer: &str) -> Row {
    manifest(&format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{CONFIG},"layers":[{layer}]}}"#
    ))
}

/// A layer with another value for one of its fields.
fn layer_with(field: &str, value: &str) -> Row {
    let mut fields = vec![
        ("mediaType", r#""application/vnd.oci.image.layer.v1.tar""#),
        ("digest", r#""{layer}""#),
        ("size", "{layer-size}"),
    ];
    fields.retain(|(name, _)| *name != field);
    fields.push((field, value));
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!(r#""{name}":{value}"#))
        .collect();
    layer(&format!("{{{}}}", fields.join(",")))
}

fn manifest(body: &str) -> Row {
    put(TARGET).typed(MANIFEST).body(body)
}

fn index(body: &str) -> Row {
    put(TARGET).typed(INDEX).body(body)
}

/// What is no JSON object, or one that two parsers could read in two ways.
fn broken() -> Vec<(Vec<u8>, &'static str)> {
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_mark: Vec<u8> = [0xFF, 0xFE].into_iter().chain(utf16.clone()).collect();
    let text = |text: &str| text.as_bytes().to_owned();
    let nested = |open: &str, close: &str, depth: usize| {
        text(&format!("{}0{}", open.repeat(depth), close.repeat(depth)))
    };
    let json = "cannot be read as JSON";
    vec![
        (text(""), json),
        (text(" \n\t"), json),
        (text("null"), "a manifest is a JSON object"),
        (text("true"), "a manifest is a JSON object"),
        (text("7"), "a manifest is a JSON object"),
        (text("\"{}\""), "a manifest is a JSON object"),
        (text("[]"), "a manifest is a JSON object"),
        (
            text("[{\"schemaVersion\":2}]"),
            "a manifest is a JSON object",
        ),
        (text("{"), json),
        (text("{}}"), json),
        (text("{} {}"), json),
        (text("{}\0"), json),
        (text("{\"a\":1,}"), json),
        (text("{'a':1}"), json),
        (text("{a:1}"), json),
        (text("{\"a\":1 /* why */}"), json),
        (text("{\"a\":01}"), json),
        (text("{\"a\":+1}"), json),
        (text("{\"a\":1e400}"), json),
        (text("{\"a\":-1e999}"), json),
        (text("{\"a\":NaN}"), json),
        (text("{\"a\":Infinity}"), json),
        (text("{\"a\":\"\n\"}"), json),
        (text("{\"a\":\"\\x41\"}"), json),
        (text("{\"a\":\"\\ud800\"}"), json),
        (text("{\"a\":\"\\udc00\\ud800\"}"), json),
        (text("{\"a\":tru}"), json),
        (text("\u{FEFF}{}"), json),
        (text("<html></html>"), json),
        (b"{\"a\":\"\xff\"}".to_vec(), "the manifest is not UTF-8"),
        (
            b"{\"a\":\"\xed\xa0\x80\"}".to_vec(),
            "the manifest is not UTF-8",
        ),
        (utf16, json),
        (with_mark, "the manifest is not UTF-8"),
        (
            b"\x1f\x8b\x08\x00\x00".to_vec(),
            "the manifest is not UTF-8",
        ),
        (text("{\"a\":1,\"a\":1}"), "the key `a` stands twice"),
        (text("{\"a\":1,\"\\u0061\":2}"), "the key `a` stands twice"),
        (
            text("{\"b\":[{\"c\":{\"a\":1,\"a\":2}}]}"),
            "the key `a` stands twice",
        ),
        (nested("{\"a\":", "}", 33), "nested deeper than 32 levels"),
        (nested("[", "]", 5000), "nested deeper than 32 levels"),
        (
            nested("{\"a\":[", "]}", 3000),
            "nested deeper than 32 levels",
        ),
    ]
}

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let invalid = |row: Row, says| row.is(400, "MANIFEST_INVALID", says);
    let mut rows: Vec<Row> = broken()
        .into_iter()
        .map(|(body, says)| invalid(put(TARGET).typed(MANIFEST).body(body), says))
        .collect();
    let size = "`layers[0].size`: must be a whole number of bytes from 0 to 9223372036854775807";
    for value in ["-1", "-0.5", "21.0", "1e2", "9223372036854775808", "18446744073709551616", "\"21\"", "true", "[21]", "{}"] {
        rows.push(invalid(layer_with("size", value), size));
    }
    for value in ["21", "null", "true", "[]", "{}"] {
        let says = if value == "null" { "`layers[0].digest`: is required" } else { "`layers[0].digest`: must be a string" };
        rows.push(invalid(layer_with("digest", value), says));
    }
    for value in [r#""v1""#, r#""sha256:abc""#, r#""sha256:{upper-hex}""#, r#""""#, r#""{layer} ""#] {
        rows.push(invalid(layer_with("digest", value), "`layers[0].digest`: "));
    }
    for value in [r#""tar""#, r#""a/b/c""#, r#""*/*""#, r#""""#, r#""a/b\n""#, r#""a/b ""#, r#""é/b""#] {
        rows.push(invalid(layer_with("mediaType", value), "a media type has the form `type/subtype`"));
    }
    let many = |count: usize| vec!["0"; count].join(",");
    let children = r#"{"mediaType":"a/b","digest":"{layer}","size":1}"#;
    rows.extend([
        // Versions and kinds.
        invalid(manifest("{}"), "`schemaVersion`: is required and must be the number 2"),
        invalid(manifest(r#"{"schemaVersion":3}"#), "must be the number 2"),
        invalid(manifest(r#"{"schemaVersion":"2"}"#), "must be the number 2"),
        invalid(manifest(r#"{"schemaVersion":2.0}"#), "must be the number 2"),
        invalid(manifest(r#"{"schemaVersion":-0}"#), "must be the number 2"),
        invalid(manifest(r#"{"schemaVersion":null}"#), "must be the number 2"),
        invalid(manifest(r#"{"schemaVersion":1}"#), "Docker schema 1 manifests are not taken: push schema 2"),
        invalid(put(TARGET).typed(SCHEMA_1).body(r#"{"schemaVersion":1}"#), "Docker schema 1 manifests are not taken"),
        invalid(manifest(r#"{"schemaVersion":2,"fsLayers":[],"history":[]}"#), "Docker schema 1 manifests are not taken"),
        invalid(manifest(r#"{"schemaVersion":2,"signatures":[]}"#), "Docker schema 1 manifests are not taken"),
        invalid(image(r#","manifests":[]"#), "has `manifests` and also `layers`"),
        invalid(index(r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#), "has `manifests` and also `layers`"),
        invalid(index(r#"{"schemaVersion":2,"manifests":[],"config":{}}"#), "has `manifests` and also `config`"),
        invalid(index(r#"{"schemaVersion":2,"manifests":[],"layers":null}"#), "has `manifests` and also `layers`"),
        invalid(put(TARGET).body(r#"{"schemaVersion":2}"#), "neither Content-Type nor `mediaType` nor a `config` or `manifests` says"),
        // The fields of an image.
        invalid(manifest(r#"{"schemaVersion":2}"#), "`config`: is required in an image manifest"),
        invalid(manifest(r#"{"schemaVersion":2,"config":null,"layers":[]}"#), "`config`: is required"),
        invalid(manifest(r#"{"schemaVersion":2,"config":[],"layers":[]}"#), "`config`: must be a descriptor"),
        invalid(manifest(r#"{"schemaVersion":2,"config":"{config}","layers":[]}"#), "`config`: must be a descriptor"),
        invalid(manifest(&format!(r#"{{"schemaVersion":2,"config":{CONFIG}}}"#)), "`layers`: is required: an array of descriptors"),
        invalid(manifest(&format!(r#"{{"schemaVersion":2,"config":{CONFIG},"layers":{{}}}}"#)), "`layers`: must be an array"),
        invalid(manifest(&format!(r#"{{"schemaVersion":2,"config":{CONFIG},"layers":"{LAYER}"}}"#)), "cannot be read as JSON"),
        invalid(layer("null"), "`layers[0]`: must be a descriptor"),
        invalid(layer("[]"), "`layers[0]`: must be a descriptor"),
        invalid(layer(r#""{layer}""#), "`layers[0]`: must be a descriptor"),
        invalid(layer("{}"), "`layers[0].mediaType`: is required in a descriptor"),
        invalid(layer(r#"{"mediaType":"a/b"}"#), "`layers[0].digest`: is required in a descriptor"),
        invalid(layer(r#"{"mediaType":"a/b","digest":"{layer}"}"#), "`layers[0].size`: is required in a descriptor"),
        invalid(layer_with("digest", r#""md5:d41d8cd98f00b204e9800998ecf8427e""#), "an algorithm that this registry does not store: use sha256 or sha512"),
        invalid(layer_with("urls", r#""https://example.org""#), "`layers[0].urls`: must be an array"),
        invalid(layer_with("urls", "[1]"), "`layers[0].urls[0]`: must be a string"),
        invalid(layer_with("annotations", "[]"), "`layers[0].annotations`: must be an object"),
        invalid(layer_with("annotations", r#"{"a":1}"#), "annotations[\"a\"]`: must be a string"),
        invalid(layer_with("annotations", r#"{"a":null}"#), "annotations[\"a\"]`: must be a string"),
        invalid(layer_with("platform", r#""linux/amd64""#), "`layers[0].platform`: must be an object"),
        invalid(layer_with("platform", r#"{"os":1}"#), "`layers[0].platform.os`: must be a string"),
        invalid(layer_with("artifactType", "1"), "`layers[0].artifactType`: must be a string"),
        invalid(layer_with("data", "1"), "`layers[0].data`: must be a string"),
        invalid(layer_with("data", r#""?""#), "must be base64 with its padding"),
        invalid(layer_with("data", r#""eA==""#), "has 1 bytes where `size` says {layer-size}"),
        invalid(layer_with("data", r#""YWFhYWFhYWFhYWFhYWFhYWFhYWFh""#), "has the digest sha256:"),
        invalid(image(r#","annotations":{"a":{}}"#), "`annotations[\"a\"]`: must be a string"),
        invalid(image(r#","annotations":"a=b""#), "`annotations`: must be an object"),
        invalid(image(r#","subject":[]"#), "`subject`: must be a descriptor"),
        invalid(image(r#","subject":{"digest":"{manifest}"}"#), "`subject.mediaType`: is required"),
        invalid(image(r#","artifactType":"x""#), "`artifactType`: `x`: a media type has the form"),
        invalid(image(r#","artifactType":7"#), "`artifactType`: must be a string"),
        invalid(image(r#","config":{}"#), "the key `config` stands twice"),
        // The fields of an index.
        invalid(index(r#"{"schemaVersion":2}"#), "`manifests`: is required: an array of descriptors"),
        invalid(index(r#"{"schemaVersion":2,"manifests":{}}"#), "`manifests`: must be an array"),
        invalid(index(r#"{"schemaVersion":2,"manifests":[[]]}"#), "`manifests[0]`: must be a descriptor"),
        invalid(index(r#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"{layer}","size":-1}]}"#), "`manifests[0].size`"),
        invalid(index(&format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, many(10_001))), "has 10001 descriptors, of which at most 10000 are taken"),
        invalid(index(&format!(r#"{{"schemaVersion":2,"manifests":[{children},{children},7]}}"#)), "`manifests[2]`: must be a descriptor"),
        // Everything in order, but for what it needs.
        layer_with("digest", r#""{absent}""#).is(400, "MANIFEST_BLOB_UNKNOWN", "push or mount them first"),
        layer_with("digest", r#""{manifest}""#).is(400, "MANIFEST_BLOB_UNKNOWN", "push or mount them first"),
        put(TARGET).typed(DOCKER).body(r#"{"schemaVersion":2}"#).is(400, "MANIFEST_INVALID", "`mediaType`: is required in a Docker manifest"),
        image("").header("If-Match", "\"{layer}\"").is(412, "DENIED", "the reference does not exist"),
        image("").header("If-Match", "*").is(412, "DENIED", "the reference does not exist"),
        image("").header("If-Match", "*").header("If-None-Match", "*").is(400, "UNSUPPORTED", "cannot both be given"),
        image("").header("If-Match", "\"v1\"").is(400, "UNSUPPORTED", "the entity tag of a manifest is its digest in quotes"),
        image("").header("If-None-Match", "W/\"{layer}\"").is(400, "UNSUPPORTED", "the entity tag of a manifest is its digest in quotes"),
        image("").header("If-Match", b"\"\xff\"").is(400, "UNSUPPORTED", "the entity tag of a manifest is its digest in quotes"),
    ]);
    rows
}

#[tokio::test]
async fn manifests_that_are_none_are_refused() {
    super::drive(&rows()).await;
}

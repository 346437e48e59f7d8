use berth_storage::DigestAlgorithm;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn digest(content: &str) -> Digest {
    Digest::of(DigestAlgorithm::Sha256, content.as_bytes())
}

fn descriptor(media_type: &str, content: &str) -> Value {
    json!({"mediaType": media_type, "digest": digest(content).to_string(), "size": content.len()})
}

fn layer(content: &str) -> Value {
    descriptor("application/vnd.oci.image.layer.v1.tar+gzip", content)
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": descriptor(MediaType::OCI_CONFIG, "config"),
        "layers": [layer("one"), layer("two")],
    })
}

fn index() -> Value {
    let mut child = descriptor(MediaType::OCI_MANIFEST, "child");
    child["platform"] = json!({"os": "linux", "architecture": "arm64", "variant": "v8"});
    json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [child]})
}

/// The document with one field changed.
fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = document.pointer_mut(parent).expect("a parent");
    match parent {
        Value::Array(array) => array[key.parse::<usize>().expect("an index")] = value,
        _ => parent[key] = value,
    }
    document
}

fn without(mut document: Value, pointer: &str) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let object = document
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .expect("an object");
    object.remove(key).expect("a field");
    document
}

fn parse_bytes(bytes: &[u8], content_type: Option<&str>) -> Result<Manifest, ManifestError> {
    let content_type =
        content_type.map(|text| MediaType::parse_header(text).expect("a media type"));
    Manifest::parse(Bytes::copy_from_slice(bytes), content_type.as_ref())
}

fn parse_as(document: &Value, content_type: &str) -> Result<Manifest, ManifestError> {
    parse_bytes(document.to_string().as_bytes(), Some(content_type))
}

fn parse(document: &Value) -> Result<Manifest, ManifestError> {
    parse_bytes(document.to_string().as_bytes(), None)
}

#[track_caller]
fn assert_problem(document: &Value, message: &str) {
    let error = parse(document).expect_err("it is wrong").to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn an_image_manifest_is_read() {
    let manifest = parse_as(&image(), MediaType::OCI_MANIFEST).expect("valid");
    assert_eq!(manifest.media_type(), ManifestType::OciManifest);
    assert_eq!(manifest.kind(), ManifestKind::Image);
    assert_eq!(
        manifest.config().expect("a config").digest,
        digest("config")
    );
    assert_eq!(
        manifest
            .layers()
            .iter()
            .map(|layer| layer.digest)
            .collect::<Vec<_>>(),
        [digest("one"), digest("two")]
    );
    assert_eq!(manifest.layers()[0].size_bytes, 3);
    assert!(manifest.children().is_empty());
    assert_eq!(manifest.subject(), None);
}

#[test]
fn an_index_is_read() {
    let manifest = parse_as(&index(), MediaType::OCI_INDEX).expect("valid");
    assert_eq!(manifest.kind(), ManifestKind::Index);
    assert_eq!(manifest.config(), None);
    let [child] = manifest.children() else {
        panic!("one child")
    };
    assert_eq!(child.digest, digest("child"));
    assert_eq!(
        child.platform.as_ref().expect("a platform").to_string(),
        "linux/arm64/v8"
    );
    assert_eq!(manifest.required_blobs().count(), 0);
}

#[test]
fn the_bytes_are_kept_as_they_were_pushed() {
    let text = format!(
        "  {} \n",
        serde_json::to_string_pretty(&image()).expect("json")
    );
    assert_eq!(
        parse_bytes(text.as_bytes(), None).expect("valid").bytes(),
        text.as_bytes()
    );
}

#[test]
fn lists_may_be_empty_or_null_but_not_missing() {
    for empty in [json!([]), Value::Null] {
        assert!(
            parse(&with(image(), "/layers", empty.clone()))
                .expect("valid")
                .layers()
                .is_empty()
        );
        assert!(
            parse(&with(index(), "/manifests", empty))
                .expect("valid")
                .children()
                .is_empty()
        );
    }
    assert_problem(&without(image(), "/layers"), "`layers`: is required");
    assert_problem(&without(index(), "/manifests"), "`manifests`: is required");
    assert_problem(
        &with(image(), "/layers", json!({})),
        "`layers`: must be an array",
    );
}

#[test]
fn the_config_is_required() {
    assert_problem(&without(image(), "/config"), "`config`: is required");
    assert_problem(
        &with(image(), "/config", Value::Null),
        "`config`: is required",
    );
    assert_problem(
        &with(image(), "/config", json!([])),
        "`config`: must be a descriptor",
    );
}

#[test]
fn what_is_no_json_object_is_refused() {
    assert_eq!(
        parse_bytes(b"{\"a\":\"\xff\"}", None).expect_err("no text"),
        ManifestError::NotUtf8
    );
    assert!(matches!(
        parse_bytes(b"", None),
        Err(ManifestError::Json(_))
    ));
    assert!(matches!(
        parse_bytes(b"{", None),
        Err(ManifestError::Json(_))
    ));
    assert_eq!(
        parse_bytes(b"[]", None).expect_err("no object").to_string(),
        "a manifest is a JSON object"
    );
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let text = image().to_string();
    let doubled = text.replacen('{', r#"{"schemaVersion":2,"#, 1);
    assert!(
        parse_bytes(doubled.as_bytes(), None)
            .expect_err("doubled")
            .to_string()
            .contains("`schemaVersion` stands twice")
    );
    let doubled = text.replace(r#""size":3"#, r#""size":3,"size":4"#);
    assert!(
        parse_bytes(doubled.as_bytes(), None)
            .expect_err("doubled")
            .to_string()
            .contains("`size` stands twice")
    );
}

#[test]
fn the_schema_version_is_the_number_2() {
    assert_problem(
        &without(image(), "/schemaVersion"),
        "`schemaVersion`: is required",
    );
    for other in [json!(3), json!(0), json!("2"), json!(2.0), Value::Null] {
        assert_problem(
            &with(image(), "/schemaVersion", other),
            "must be the number 2",
        );
    }
}

#[test]
fn docker_schema_1_is_refused_with_what_to_push_instead() {
    for document in [
        json!({"schemaVersion": 1}),
        json!({"schemaVersion": 1, "fsLayers": [], "signatures": []}),
        with(image(), "/fsLayers", json!([])),
        with(image(), "/signatures", json!([])),
        with(image(), "/mediaType", json!(MediaType::DOCKER_SCHEMA1)),
    ] {
        let error = parse(&document).expect_err("schema 1");
        assert_eq!(error, ManifestError::Schema1);
        assert!(error.to_string().contains(MediaType::DOCKER_MANIFEST));
        assert!(error.to_string().contains(MediaType::OCI_MANIFEST));
    }
    for content_type in [MediaType::DOCKER_SCHEMA1, MediaType::DOCKER_SCHEMA1_SIGNED] {
        assert_eq!(
            parse_as(&image(), content_type).expect_err("schema 1"),
            ManifestError::Schema1
        );
    }
}

#[test]
fn a_content_type_with_parameters_or_in_capitals_is_the_same_type() {
    let content_type = format!(
        "{}; charset=utf-8",
        MediaType::OCI_MANIFEST.to_ascii_uppercase()
    );
    assert_eq!(
        parse_as(&image(), &content_type)
            .expect("valid")
            .media_type(),
        ManifestType::OciManifest
    );
}

#[test]
fn a_content_type_of_no_manifest_is_refused_with_those_that_are() {
    for content_type in [
        "application/json",
        "application/octet-stream",
        MediaType::OCI_CONFIG,
        "application/vnd.oci.artifact.manifest.v1+json",
    ] {
        let error = parse_as(&image(), content_type)
            .expect_err("unsupported")
            .to_string();
        assert!(
            error.starts_with(&format!(
                "Content-Type `{content_type}` is no supported type"
            )),
            "{error}"
        );
        assert!(
            ManifestType::ALL
                .iter()
                .all(|supported| error.contains(supported.as_str())),
            "{error}"
        );
    }
    assert_problem(
        &with(image(), "/mediaType", json!("a/b")),
        "mediaType `a/b` is no supported type",
    );
}

#[test]
fn content_type_and_media_type_must_agree() {
    for (document, content_type) in [
        (image(), MediaType::OCI_INDEX),
        (image(), MediaType::DOCKER_MANIFEST),
        (index(), MediaType::OCI_MANIFEST),
        (
            with(image(), "/mediaType", json!("a/b")),
            MediaType::OCI_MANIFEST,
        ),
    ] {
        assert!(
            matches!(
                parse_as(&document, content_type),
                Err(ManifestError::TypeMismatch { .. })
            ),
            "{content_type}"
        );
    }
    assert_problem(
        &with(image(), "/mediaType", json!(7)),
        "`mediaType`: must be a string",
    );
}

#[test]
fn an_oci_document_need_not_say_what_it_is() {
    for absent in [
        without(image(), "/mediaType"),
        with(image(), "/mediaType", json!("")),
    ] {
        assert_eq!(
            parse_as(&absent, MediaType::OCI_MANIFEST)
                .expect("valid")
                .media_type(),
            ManifestType::OciManifest
        );
        assert_eq!(
            parse(&absent).expect("valid").media_type(),
            ManifestType::OciManifest
        );
    }
    assert_eq!(
        parse(&without(index(), "/mediaType"))
            .expect("valid")
            .media_type(),
        ManifestType::OciIndex
    );
    assert_eq!(
        parse(&json!({"schemaVersion": 2})).expect_err("nothing"),
        ManifestError::UnknownKind
    );
}

#[test]
fn a_docker_document_must_say_what_it_is() {
    let image = with(image(), "/mediaType", json!(MediaType::DOCKER_MANIFEST));
    assert_eq!(
        parse_as(&image, MediaType::DOCKER_MANIFEST)
            .expect("valid")
            .media_type(),
        ManifestType::DockerManifest
    );
    assert_eq!(
        parse(&image).expect("valid").media_type(),
        ManifestType::DockerManifest
    );
    let list = with(
        index(),
        "/mediaType",
        json!(MediaType::DOCKER_MANIFEST_LIST),
    );
    assert_eq!(parse(&list).expect("valid").kind(), ManifestKind::Index);
    for (document, content_type) in [
        (image, MediaType::DOCKER_MANIFEST),
        (list, MediaType::DOCKER_MANIFEST_LIST),
    ] {
        let error = parse_as(&without(document, "/mediaType"), content_type)
            .expect_err("missing")
            .to_string();
        assert_eq!(
            error,
            format!("`mediaType`: is required in a Docker manifest and must be `{content_type}`")
        );
    }
}

#[test]
fn a_document_that_is_an_image_and_an_index_is_refused() {
    for media_type in [MediaType::OCI_MANIFEST, MediaType::OCI_INDEX] {
        for (field, value) in [
            ("layers", json!([])),
            ("config", json!({})),
            ("layers", Value::Null),
            ("config", Value::Null),
        ] {
            let mut document =
                json!({"schemaVersion": 2, "mediaType": media_type, "manifests": []});
            document[field] = value;
            assert_eq!(
                parse_as(&document, media_type).expect_err("both"),
                ManifestError::Ambiguous { also: field }
            );
            assert_eq!(
                parse(&without(document, "/mediaType")).expect_err("both"),
                ManifestError::Ambiguous { also: field }
            );
        }
    }
}

#[test]
fn a_document_of_the_other_shape_is_refused() {
    let error = parse_as(&without(index(), "/mediaType"), MediaType::OCI_MANIFEST)
        .expect_err("an index")
        .to_string();
    assert!(error.contains("`config`: is required"), "{error}");
    let error = parse_as(&without(image(), "/mediaType"), MediaType::OCI_INDEX)
        .expect_err("an image")
        .to_string();
    assert!(error.contains("`manifests`: is required"), "{error}");
}

#[test]
fn errors_in_descriptors_name_their_place() {
    for field in ["mediaType", "digest", "size"] {
        let message = format!("`layers[1].{field}`: is required in a descriptor");
        assert_problem(&without(image(), &format!("/layers/1/{field}")), &message);
        assert_problem(
            &with(image(), &format!("/layers/1/{field}"), Value::Null),
            &message,
        );
    }
    assert_problem(
        &with(image(), "/layers/0", json!("a")),
        "`layers[0]`: must be a descriptor",
    );
    assert_problem(
        &with(image(), "/config/mediaType", json!("")),
        "`config.mediaType`: ``: a media type has the form",
    );
    assert_problem(
        &with(image(), "/config/digest", json!("abc")),
        "`config.digest`: `abc`: ",
    );
    assert_problem(
        &with(image(), "/config/digest", json!(1)),
        "`config.digest`: must be a string",
    );
    assert_problem(
        &with(image(), "/config/urls", json!(["a", 1])),
        "`config.urls[1]`: must be a string",
    );
    assert_problem(
        &with(image(), "/config/annotations", json!({"a": 1})),
        "`config.annotations[\"a\"]`: must be a string",
    );
    assert_problem(
        &with(index(), "/manifests/0/platform", json!("linux")),
        "`manifests[0].platform`: must be an object",
    );
    assert_problem(
        &with(index(), "/manifests/0/platform/os", json!(1)),
        "`manifests[0].platform.os`: must be a string",
    );
    assert_problem(
        &with(image(), "/subject", json!({})),
        "`subject.mediaType`: is required",
    );
}

#[test]
fn digests_are_of_an_algorithm_that_is_stored() {
    let sha512 = Digest::of(DigestAlgorithm::Sha512, b"one");
    let manifest = parse(&with(
        image(),
        "/layers/0/digest",
        json!(sha512.to_string()),
    ))
    .expect("valid");
    assert_eq!(manifest.layers()[0].digest, sha512);
    for other in [
        "sha384:00",
        "blake3:00",
        "multihash+base58:QmRZ",
        "SHA256:00",
    ] {
        assert_problem(
            &with(image(), "/layers/0/digest", json!(other)),
            "`layers[0].digest`: has an algorithm that this",
        );
    }
    for malformed in ["sha256:00", "sha256:", ":00", "sha256"] {
        assert_problem(
            &with(image(), "/layers/0/digest", json!(malformed)),
            "`layers[0].digest`: `",
        );
    }
    let capitals = digest("one")
        .to_string()
        .to_ascii_uppercase()
        .replace("SHA", "sha");
    assert_problem(
        &with(image(), "/layers/0/digest", json!(capitals)),
        "`layers[0].digest`: `",
    );
}

#[test]
fn sizes_are_whole_numbers_of_63_bits() {
    for size in [0, 1, i64::MAX as u64] {
        let manifest = parse(&with(image(), "/layers/0/size", json!(size))).expect("valid");
        assert_eq!(manifest.layers()[0].size_bytes, size);
    }
    for size in [
        json!(-1),
        json!(i64::MAX as u64 + 1),
        json!(u64::MAX),
        json!(1.5),
        json!("1"),
        json!(1e30),
        json!([]),
    ] {
        assert_problem(
            &with(image(), "/layers/0/size", size),
            "`layers[0].size`: must be a whole number of bytes",
        );
    }
}

#[test]
fn embedded_data_must_be_what_the_descriptor_says() {
    // base64 of "config".
    assert!(parse(&with(image(), "/config/data", json!("Y29uZmln"))).is_ok());
    assert_problem(
        &with(image(), "/config/data", json!("Y29uZmlo")),
        "`config.data`: has the digest sha256:",
    );
    assert_problem(
        &with(image(), "/config/data", json!("Y29uZg==")),
        "`config.data`: has 4 bytes where `size` says 6",
    );
    assert_problem(
        &with(image(), "/config/data", json!("Y29uZg")),
        "`config.data`: must be base64",
    );
    assert_problem(
        &with(image(), "/config/data", json!(["a"])),
        "`config.data`: must be a string",
    );
    let empty = json!({"mediaType": MediaType::OCI_EMPTY, "digest": digest("{}").to_string(), "size": 2, "data": "e30="});
    assert!(parse(&with(image(), "/config", empty)).is_ok());
}

#[test]
fn the_most_descriptors_are_taken_and_one_more_is_refused() {
    let of = |count: usize| with(image(), "/layers", Value::Array(vec![layer("one"); count]));
    assert_eq!(
        parse(&of(MAX_DESCRIPTORS)).expect("valid").layers().len(),
        MAX_DESCRIPTORS
    );
    let error = parse(&of(MAX_DESCRIPTORS + 1)).expect_err("too many");
    assert_eq!(
        error,
        ManifestError::TooManyDescriptors {
            field: "layers",
            count: MAX_DESCRIPTORS + 1
        }
    );
}

#[test]
fn every_blob_that_is_stored_in_registries_is_required_once() {
    let foreign = descriptor(MediaType::DOCKER_FOREIGN_LAYER, "foreign");
    let nondistributable = descriptor(MediaType::OCI_NONDISTRIBUTABLE_LAYER_GZIP, "secret");
    let layers = json!([
        layer("one"),
        foreign,
        layer("two"),
        nondistributable,
        layer("one"),
        layer("config")
    ]);
    let manifest = parse(&with(image(), "/layers", layers)).expect("valid");
    let required: Vec<_> = manifest.required_blobs().map(|blob| blob.digest).collect();
    assert_eq!(required, [digest("config"), digest("one"), digest("two")]);
}

#[test]
fn a_blob_with_two_sizes_is_required_with_both() {
    let layers = json!([layer("one"), with(layer("one"), "/size", json!(99))]);
    let manifest = parse(&with(image(), "/layers", layers)).expect("valid");
    let sizes: Vec<_> = manifest
        .required_blobs()
        .map(|blob| blob.size_bytes)
        .collect();
    assert_eq!(sizes, [6, 3, 99]);
}

#[test]
fn the_artifact_type_of_an_image_falls_back_to_that_of_its_config() {
    let artifact_type = |document: &Value| {
        parse(document)
            .expect("valid")
            .artifact_type()
            .map(ToString::to_string)
    };
    assert_eq!(
        artifact_type(&image()).as_deref(),
        Some(MediaType::OCI_CONFIG)
    );
    assert_eq!(
        artifact_type(&with(image(), "/artifactType", json!(""))).as_deref(),
        Some(MediaType::OCI_CONFIG)
    );
    assert_eq!(
        artifact_type(&with(image(), "/artifactType", json!("a/b"))).as_deref(),
        Some("a/b")
    );
    assert_eq!(artifact_type(&index()), None);
    assert_eq!(
        artifact_type(&with(index(), "/artifactType", json!("a/b"))).as_deref(),
        Some("a/b")
    );
    assert_problem(
        &with(image(), "/artifactType", json!("a")),
        "`artifactType`: `a`: a media type",
    );
}

#[test]
fn the_referrers_list_shows_type_and_annotations() {
    let document = with(
        image(),
        "/subject",
        descriptor(MediaType::OCI_MANIFEST, "subject"),
    );
    let document = with(
        document,
        "/artifactType",
        json!("application/vnd.example.signature"),
    );
    let document = with(document, "/annotations", json!({"b": "2", "a": "1"}));
    let manifest = parse(&document).expect("valid");
    assert_eq!(
        manifest.subject().expect("a subject").digest,
        digest("subject")
    );
    assert_eq!(manifest.annotations().get("a"), Some("1"));
    let shown = manifest.referrer_descriptor(digest("manifest"));
    let expected = json!({
        "mediaType": MediaType::OCI_MANIFEST,
        "digest": digest("manifest").to_string(),
        "size": document.to_string().len(),
        "artifactType": "application/vnd.example.signature",
        "annotations": {"a": "1", "b": "2"},
    });
    assert_eq!(serde_json::to_value(&shown).expect("json"), expected);
    assert_eq!(
        serde_json::from_value::<ReferrerDescriptor>(expected).expect("json"),
        shown
    );
}

#[test]
fn the_referrers_list_leaves_out_what_a_manifest_does_not_have() {
    let shown = parse(&index())
        .expect("valid")
        .referrer_descriptor(digest("index"));
    let keys: Vec<_> = serde_json::to_value(&shown)
        .expect("json")
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    assert_eq!(keys, ["digest", "mediaType", "size"]);
}

#[test]
fn annotations_are_texts() {
    assert!(
        parse(&with(image(), "/annotations", Value::Null))
            .expect("valid")
            .annotations()
            .is_empty()
    );
    assert_problem(
        &with(image(), "/annotations", json!({"a": {"b": "c"}})),
        "`annotations[\"a\"]`: must be a string",
    );
    assert_problem(
        &with(image(), "/annotations", json!([])),
        "`annotations`: must be an object",
    );
}

#[test]
fn unknown_fields_are_kept_for_the_client_and_otherwise_ignored() {
    assert!(parse(&with(image(), "/x-ours", json!({"deep": [1, null]}))).is_ok());
    assert!(parse(&with(image(), "/layers/0/x-ours", json!(1))).is_ok());
}

#[test]
fn a_message_repeats_only_the_beginning_of_a_long_text() {
    let error = parse(&with(
        image(),
        "/config/mediaType",
        json!("é".repeat(100_000)),
    ))
    .expect_err("too long")
    .to_string();
    assert!(error.len() < 1000, "{}", error.len());
}

/// Any JSON, of the fields that a manifest has.
fn documents() -> impl Strategy<Value = Value> {
    let keys = "(schemaVersion|mediaType|config|layers|manifests|subject|annotations|digest|size|data|urls|platform|artifactType)";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        Just(json!(2)),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!(MediaType::OCI_MANIFEST)),
        Just(layer("one")),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(keys, inner, 0..8)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_panics(document in documents()) {
        let _ = parse(&document);
    }

    #[test]
    fn no_change_of_one_byte_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = image().to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = parse_bytes(&bytes, None);
    }

    #[test]
    fn what_is_taken_is_an_image_or_an_index_and_never_both(document in documents()) {
        if let Ok(manifest) = parse(&document) {
            prop_assert_eq!(manifest.config().is_some(), manifest.kind() == ManifestKind::Image);
            prop_assert!(manifest.layers().is_empty() || manifest.children().is_empty());
        }
    }
}

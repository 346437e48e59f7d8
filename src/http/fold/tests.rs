use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::RawPathParams;
use axum::http::{Method, StatusCode};
use axum::routing::get;
use proptest::prelude::*;
use tower::ServiceExt;

use super::*;

const NAME: &str = r"[a-z0-9]{1,3}(([.]|_|__|-{1,3})[a-z0-9]{1,3}){0,2}";
const WORDS: &str = "(blobs|uploads|manifests|tags|list|referrers|v2)";

/// Names, many of them made of the words that the paths are made of as well.
fn names() -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("({WORDS}|{NAME})(/({WORDS}|{NAME})){{0,5}}"))
        .expect("a regex")
}

fn endings() -> impl Strategy<Value = String> {
    let parameter = format!("({WORDS}|[a-zA-Z0-9_][a-zA-Z0-9._-]{{0,8}}|sha256:[0-9a-f]{{64}})");
    let text =
        format!("(manifests|blobs|referrers|blobs/uploads)/{parameter}|tags/list|blobs/uploads/");
    proptest::string::string_regex(&text).expect("a regex")
}

/// Texts of characters that a path may hold and that have a meaning to something.
const WIRE: &str =
    "(%2[fF]|%25|%2e|%00|%ff|%|/|//|[.]{1,2}|a|b|blobs|uploads|manifests|tags|list|;|:|@|~|é){0,8}";

/// Says which route took a request, and with what.
async fn report(params: RawPathParams, matched: axum::extract::MatchedPath) -> String {
    let params: Vec<_> = params
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("{} {}", matched.as_str(), params.join(" "))
}

fn router() -> impl tower::Service<
    Request<Body>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
> + Clone {
    let router = Router::new()
        .route("/v2/", get(report))
        .route("/v2/_catalog", get(report))
        .route("/v2/{name}/tags/list", get(report))
        .route("/v2/{name}/manifests/{reference}", get(report).put(report))
        .route("/v2/{name}/blobs/{digest}", get(report))
        .route("/v2/{name}/blobs/uploads/", get(report).post(report))
        .route("/v2/{name}/blobs/uploads/{id}", get(report).patch(report))
        .route("/v2/{name}/referrers/{digest}", get(report));
    fold_names(router)
}

/// What the router made of a path: the route and its parameters, or nothing for a 404.
async fn routed(method: Method, path: &str) -> Option<String> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .expect("a request");
    let response = router().oneshot(request).await.expect("infallible");
    if response.status() == StatusCode::NOT_FOUND {
        return None;
    }
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    let body = to_bytes(response.into_body(), 1 << 20)
        .await
        .expect("a body");
    Some(String::from_utf8(body.to_vec()).expect("text"))
}

async fn assert_routed(path: &str, expected: &str) {
    assert_eq!(
        routed(Method::GET, path).await.as_deref(),
        Some(expected),
        "{path}"
    );
}

fn parameter<'a>(report: &'a str, name: &str) -> &'a str {
    let text = format!("{name}=");
    report
        .split(' ')
        .find_map(|word| word.strip_prefix(&*text))
        .expect("the parameter")
}

#[tokio::test]
async fn every_endpoint_is_routed_with_its_whole_name() {
    assert_routed("/v2/a/b/c/tags/list", "/v2/{name}/tags/list name=a/b/c").await;
    assert_routed(
        "/v2/a/b/manifests/v1",
        "/v2/{name}/manifests/{reference} name=a/b reference=v1",
    )
    .await;
    assert_routed(
        "/v2/a/b/blobs/sha256:00",
        "/v2/{name}/blobs/{digest} name=a/b digest=sha256:00",
    )
    .await;
    assert_routed(
        "/v2/a/b/blobs/uploads/",
        "/v2/{name}/blobs/uploads/ name=a/b",
    )
    .await;
    assert_routed(
        "/v2/a/b/blobs/uploads/1",
        "/v2/{name}/blobs/uploads/{id} name=a/b id=1",
    )
    .await;
    assert_routed(
        "/v2/a/b/referrers/sha256:00",
        "/v2/{name}/referrers/{digest} name=a/b digest=sha256:00",
    )
    .await;
}

#[tokio::test]
async fn a_name_of_one_component_is_routed_too() {
    assert_routed("/v2/a/tags/list", "/v2/{name}/tags/list name=a").await;
    assert_routed("/v2/a/blobs/uploads/", "/v2/{name}/blobs/uploads/ name=a").await;
}

#[tokio::test]
async fn the_method_makes_no_difference() {
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        assert!(routed(method, "/v2/a/b/manifests/v1").await.is_some());
    }
    assert!(
        routed(Method::POST, "/v2/a/b/blobs/uploads/")
            .await
            .is_some()
    );
    assert!(
        routed(Method::PATCH, "/v2/a/b/blobs/uploads/1")
            .await
            .is_some()
    );
}

#[tokio::test]
async fn names_made_of_the_words_of_paths_are_found_from_the_right() {
    for (path, name) in [
        ("/v2/a/blobs/b/manifests/v1", "a/blobs/b"),
        ("/v2/a/blobs/uploads/manifests/latest", "a/blobs/uploads"),
        ("/v2/a/manifests/blobs/uploads/", "a/manifests"),
        ("/v2/a/manifests/blobs/uploads/1", "a/manifests"),
        ("/v2/a/blobs/uploads/blobs/uploads/", "a/blobs/uploads"),
        ("/v2/a/blobs/uploads/blobs/sha256:00", "a/blobs/uploads"),
        ("/v2/x/tags/list/tags/list", "x/tags/list"),
        ("/v2/a/manifests/tags/list", "a/manifests"),
        ("/v2/a/tags/manifests/list", "a/tags"),
        ("/v2/a/tags/list/manifests/tags", "a/tags/list"),
        ("/v2/manifests/manifests/manifests", "manifests"),
        ("/v2/blobs/blobs/uploads/uploads", "blobs"),
        ("/v2/tags/list/tags/list", "tags/list"),
        ("/v2/v2/manifests/v2/tags/list", "v2/manifests/v2"),
        ("/v2/_catalog/tags/list", "_catalog"),
    ] {
        let report = routed(Method::GET, path)
            .await
            .unwrap_or_else(|| panic!("{path} has no route"));
        assert_eq!(parameter(&report, "name"), name, "{path}");
    }
}

#[tokio::test]
async fn the_query_is_untouched() {
    let request = Request::get("/v2/a/b/tags/list?n=1&last=x/y%2Fz")
        .body(())
        .expect("a request");
    let uri = fold_request(request).uri().clone();
    assert_eq!(uri.to_string(), "/v2/a%2Fb/tags/list?n=1&last=x/y%2Fz");
}

#[tokio::test]
async fn scheme_and_host_are_untouched() {
    let request = Request::get("http://r.example:5000/v2/a/b/tags/list?")
        .body(())
        .expect("a request");
    assert_eq!(
        fold_request(request).uri().to_string(),
        "http://r.example:5000/v2/a%2Fb/tags/list?"
    );
}

#[test]
fn other_paths_are_left_alone() {
    for path in [
        "",
        "/",
        "*",
        "/v2",
        "/v2/",
        "/v2/_catalog",
        "/v2/a",
        "/v2/a/b",
        "/v2/a/b/c",
        "/v2/tags/list",
        "/v2/blobs/uploads/",
        "/v2/manifests/latest",
        "/v2//tags/list",
        "/v2/a/tags/lists",
        "/v2/a/tags/",
        "/v2/a/b/uploads/1",
        "/v1/a/b/tags/list",
        "/V2/a/b/tags/list",
        "//v2/a/b/tags/list",
        "/api/v1/images",
        "/api/v1/images/a",
        "/api/v1/image/a/b",
        "/api/v1/deletions/a/restore",
        "/token",
        "/v2/a/b/tags/list/",
        "/v2/a/b/%6danifests/v1",
    ] {
        assert!(
            matches!(fold_path(path), Cow::Borrowed(same) if same == path),
            "{path}"
        );
    }
}

#[test]
fn a_name_of_one_valid_component_costs_no_allocation() {
    for path in [
        "/v2/a/tags/list",
        "/v2/a/manifests/v1",
        "/v2/a/blobs/uploads/",
        "/v2/a/manifests/a%2Fb",
    ] {
        assert!(
            matches!(fold_path(path), Cow::Borrowed(same) if same == path),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_encoded_name_is_never_decoded_into_another_one() {
    for sent in [
        "a%2Fb",
        "a%2fb",
        "a%252Fb",
        "a%25252Fb",
        "%61",
        "a/%62",
        "a%2F..%2Fb",
        "%2e%2e/b",
        "a%00",
        "a%",
        "%",
        "%2",
        "%ff",
        "a/b%2F",
        "a%EF%BC%852Fb",
    ] {
        for ending in [
            "tags/list",
            "manifests/v1",
            "blobs/sha256:00",
            "blobs/uploads/",
            "blobs/uploads/1",
        ] {
            let path = format!("/v2/{sent}/{ending}");
            let report = routed(Method::GET, &path)
                .await
                .unwrap_or_else(|| panic!("{path} has no route"));
            let name = parameter(&report, "name");
            assert_eq!(name, sent.replace('%', PERCENT_STAND_IN), "{path}");
            assert!(name.parse::<RepositoryName>().is_err(), "{path}");
            assert_eq!(
                unfold_name(name),
                name,
                "{path}: a second decoding changes it"
            );
        }
    }
}

#[tokio::test]
async fn dots_and_double_slashes_stay_in_the_name_and_spoil_it() {
    for sent in ["a/../b", "..", "./a", "a//b", "/a", "a/", "a/./b"] {
        let report = routed(Method::GET, &format!("/v2/{sent}/manifests/v1"))
            .await
            .expect(sent);
        assert_eq!(parameter(&report, "name"), sent);
        assert!(sent.parse::<RepositoryName>().is_err());
    }
}

#[tokio::test]
async fn an_encoded_slash_in_the_last_segment_stays_in_it() {
    assert_routed(
        "/v2/a/b/manifests/x%2Ftags%2Flist",
        "/v2/{name}/manifests/{reference} name=a/b reference=x/tags/list",
    )
    .await;
    assert_routed(
        "/v2/a/b/blobs/uploads%2F1",
        "/v2/{name}/blobs/{digest} name=a/b digest=uploads/1",
    )
    .await;
    assert_routed(
        "/v2/a/b/blobs/sha256%3A00",
        "/v2/{name}/blobs/{digest} name=a/b digest=sha256:00",
    )
    .await;
}

#[tokio::test]
async fn encoded_words_of_a_path_are_no_route() {
    for path in [
        "/v2/a%2Fb/%6danifests/v1",
        "/v2/a%2Fmanifests%2Fv1",
        "/v2/a%2Fb%2Ftags/list",
        "/%762/a/b/tags/list",
    ] {
        assert_eq!(routed(Method::GET, path).await, None, "{path}");
    }
}

#[tokio::test]
async fn an_empty_name_is_invalid_and_a_missing_one_is_no_route() {
    for path in ["/v2//manifests/v1", "/v2//blobs/uploads/", "/v2//tags/list"] {
        let report = routed(Method::GET, path).await.expect(path);
        assert_eq!(parameter(&report, "name"), "", "{path}");
    }
    for path in ["/v2/manifests/v1", "/v2/blobs/uploads/", "/v2/tags/list"] {
        assert_eq!(routed(Method::GET, path).await, None, "{path}");
    }
}

#[tokio::test]
async fn a_name_beyond_the_limit_is_cut_and_stays_invalid() {
    let longest = format!("{}/b", "a".repeat(RepositoryName::MAX_LENGTH - 2));
    let report = routed(Method::GET, &format!("/v2/{longest}/tags/list"))
        .await
        .expect("a route");
    assert_eq!(parameter(&report, "name"), longest);
    for sent in [
        format!("{longest}b"),
        "%61".repeat(20_000),
        "a/".repeat(30_000),
        "é/".repeat(20_000),
    ] {
        let report = routed(Method::GET, &format!("/v2/{sent}/tags/list"))
            .await
            .expect("a route");
        let name = parameter(&report, "name");
        assert!(
            name.len() <= 2 * RepositoryName::MAX_LENGTH * 3,
            "{}",
            name.len()
        );
        assert!(name.parse::<RepositoryName>().is_err());
    }
}

#[tokio::test]
async fn a_path_that_no_longer_fits_goes_nowhere() {
    let path = format!("/v2/%61/manifests/{}", "a".repeat(65_516));
    assert_eq!(routed(Method::GET, &path).await, None);
}

#[test]
fn folding_a_request_twice_changes_nothing_further() {
    let request = Request::get("/v2/a/b/tags/list?n=1")
        .body(())
        .expect("a request");
    let once = fold_request(request);
    let uri = once.uri().clone();
    assert_eq!(*fold_request(once).uri(), uri);
}

proptest! {
    #[test]
    fn folding_and_unfolding_keeps_every_name_and_endpoint(name in names(), ending in endings()) {
        let path = format!("/v2/{name}/{ending}");
        let folded = fold_path(&path);
        let (segment, rest) = folded.strip_prefix("/v2/").and_then(|rest| rest.split_once('/')).expect("a segment");
        prop_assert_eq!(unfold_name(segment), name);
        prop_assert_eq!(rest, ending);
    }

    #[test]
    fn the_router_sees_every_name_as_it_was_sent(name in names(), ending in endings()) {
        let path = format!("/v2/{name}/{ending}");
        let report = tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(routed(Method::GET, &path));
        let report = report.expect("a route");
        prop_assert_eq!(parameter(&report, "name"), &*name);
        if let Some((_, parameter)) = ending.rsplit_once('/').filter(|(_, last)| !last.is_empty() && ending != "tags/list") {
            prop_assert!(report.ends_with(&format!("={parameter}")), "{} {}", report, ending);
        }
    }

    #[test]
    fn whatever_is_sent_reaches_that_name_or_an_invalid_one(sent in WIRE, ending in endings()) {
        let path = format!("/v2/{sent}/{ending}");
        prop_assume!(path.parse::<Uri>().is_ok());
        let report = tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(routed(Method::GET, &path));
        if let Some(report) = report {
            let name = parameter(&report, "name");
            prop_assert!(!name.contains('%'));
            if name.parse::<RepositoryName>().is_ok() {
                prop_assert!(path.starts_with(&format!("/v2/{name}/")), "{} {}", path, name);
            }
        }
    }

    #[test]
    fn no_text_panics_and_no_request_folds_twice(text in "\\PC*|/v2/[a-z%/.]{0,40}/(manifests|blobs|tags)/[a-z/%]{0,10}") {
        let folded = fold_path(&text).into_owned();
        let _ = unfold_name(&folded);
        if let Ok(uri) = text.parse::<Uri>() {
            let once = fold_request(Request::get(uri).body(()).expect("a request"));
            let uri = once.uri().clone();
            let twice = fold_request(once);
            prop_assert_eq!(twice.uri(), &uri);
        }
    }
}

/// `POST` resolves a reference; what images answer to is an image of that name; anything else is neither.
#[test]
fn resolve_names_an_image_to_the_methods_of_images_alone() {
    let folded = |method: Method| {
        let request = Request::builder().method(method).uri(RESOLVE).body(());
        let request = fold_request(request.expect("a request"));
        request.uri().path().to_owned()
    };
    for method in [Method::GET, Method::HEAD, Method::PATCH, Method::DELETE] {
        assert_eq!(folded(method), IMAGE_NAMED_RESOLVE);
    }
    for method in [Method::POST, Method::PUT, Method::OPTIONS] {
        assert_eq!(folded(method), RESOLVE);
    }
}

#[test]
fn images_and_holders_are_folded_with_what_is_behind_them() {
    for (path, folded) in [
        ("/api/v1/images/a/b", "/api/v1/images/a%2Fb"),
        ("/api/v1/images/a/b/-/tags", "/api/v1/images/a%2Fb/-/tags"),
        (
            "/api/v1/images/a/b/-/tags/v1/history",
            "/api/v1/images/a%2Fb/-/tags/v1/history",
        ),
        (
            "/api/v1/images/a/b/-/share/c",
            "/api/v1/images/a%2Fb/-/share/c",
        ),
        (
            "/api/v1/images/a/b/-/retention",
            "/api/v1/images/a%2Fb/-/retention",
        ),
        (
            "/api/v1/images/a/b/-/retention/preview",
            "/api/v1/images/a%2Fb/-/retention/preview",
        ),
        ("/api/v1/leases/a/b/c", "/api/v1/leases/a%2Fb%2Fc"),
    ] {
        assert_eq!(fold_path(path), folded);
    }
}

//! Tags that are none, and the pages of lists that cannot be had.

use super::row::{Row, delete, get, head, put};
use super::scene::{EMPTY_INDEX, Scene};
use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::Content;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What no tag may be.
const BAD: [&str; 21] = [
    ".hidden", "-v1", "v1+build", "v1,v2", "v1;x", "a@b", "a$b", "a*", "a=b", "é", "%C3%A9",
    "v%20", "%20v", "v%00", "%2e%2e", "..", "a%2Fb", "a%252Fb", "v1%0A", "a\\b", "v1%23",
];

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let grammar = "a tag has 1 to 128 letters, digits, `_`, `.` and `-`";
    let mut rows = Vec::new();
    for tag in BAD {
        let target = format!("/v2/{{own}}/manifests/{tag}");
        rows.push(get(target).is(400, "MANIFEST_INVALID", grammar));
    }
    for tag in ["", ".a", "-a", "a%2Fb", "a:b", "a%20b", "a%00", "%C3%A9", "a+b"] {
        let target = format!("/v2/{{own}}/manifests/{{fresh-index}}?tag={tag}");
        rows.push(index(target).is(400, "MANIFEST_INVALID", grammar));
    }
    let too_long = "v".repeat(129);
    let number = "`n` is how many items are wanted: a number from 0, of which at most 1000 are sent";
    for n in ["", "-1", "+1", "1.0", "1e3", "0x10", "ten", "%20", "1%20", "%00", "١", "1,2", "null"] {
        rows.push(get(format!("/v2/{{own}}/tags/list?n={n}")).is(400, "UNSUPPORTED", number));
    }
    let by_digest = "/v2/{own}/manifests/{fresh-index}";
    rows.extend([
        get(format!("/v2/{{own}}/manifests/{too_long}")).is(400, "MANIFEST_INVALID", grammar),
        head(format!("/v2/{{own}}/manifests/{too_long}")).is(400, "", ""),
        delete(format!("/v2/{{own}}/manifests/{too_long}")).is(400, "MANIFEST_INVALID", grammar),
        index(format!("/v2/{{own}}/manifests/{too_long}")).is(400, "MANIFEST_INVALID", grammar),
        index("/v2/{own}/manifests/.hidden").is(400, "MANIFEST_INVALID", grammar),
        index(format!("{by_digest}?tag={too_long}")).is(400, "MANIFEST_INVALID", grammar),
        index(format!("{by_digest}?tag=good&tag=.bad")).is(400, "MANIFEST_INVALID", grammar),
        index(format!("{by_digest}?tag=v%ff")).is(400, "UNSUPPORTED", "not UTF-8"),
        index(format!("{by_digest}?tag=a&tag=b&tag=c&tag=d&tag=e")).is(414, "MANIFEST_INVALID", "one push may name 4 tags and names 5"),
        index("/v2/{own}/manifests/v2?tag=v3").is(400, "MANIFEST_INVALID", "digest"),
        get("/v2/{own}/manifests/v2").is(404, "MANIFEST_UNKNOWN", "v2"),
        delete("/v2/{own}/manifests/v2").is(404, "MANIFEST_UNKNOWN", "v2"),
        head("/v2/{own}/manifests/V1").is(404, "", ""),
        get("/v2/{acme}/unseen/tags/list").is(404, "NAME_UNKNOWN", "{acme}/unseen"),
        get("/v2/{own}/tags/list?n=1&n=2").is(400, "UNSUPPORTED", "n is given more than once"),
        get("/v2/{own}/tags/list?last=a&last=b").is(400, "UNSUPPORTED", "last is given more than once"),
        get(format!("/v2/{{own}}/tags/list?last={}", "a".repeat(256))).is(400, "UNSUPPORTED", "`last` has at most 255 characters"),
        get("/v2/{own}/tags/list?last=a%00").is(400, "UNSUPPORTED", "`last` has a control character"),
        get("/v2/{own}/tags/list?last=%ff").is(400, "UNSUPPORTED", "not UTF-8"),
        get("/v2/_catalog?n=x").is(400, "UNSUPPORTED", number),
        get("/v2/_catalog?n=-1").is(400, "UNSUPPORTED", number),
        get("/v2/_catalog?last=%0A").is(400, "UNSUPPORTED", "`last` has a control character"),
        // An empty list, the largest one, and a place that was never in the list are no mistakes.
        get("/v2/{own}/tags/list?n=0").is(200, "", ""),
        get("/v2/{own}/tags/list?n=000001").is(200, "", ""),
        get("/v2/{own}/tags/list?n=99999999999999999999999999").is(200, "", ""),
        get("/v2/{own}/tags/list?last=").is(200, "", ""),
        get("/v2/{own}/tags/list?last=~nowhere%20é").is(200, "", ""),
        get("/v2/_catalog?last={foreign}&n=4294967296").is(200, "", ""),
        get("/v2/{own}/tags/list?unknown=1&N=x").is(200, "", ""),
        head("/v2/{own}/tags/list").is(200, "", ""),
        head("/v2/_catalog").is(200, "", ""),
    ]);
    rows
}

fn index(target: impl Into<String>) -> Row {
    put(target).typed(INDEX).body(EMPTY_INDEX)
}

#[tokio::test]
async fn tags_and_pages_that_are_none_are_refused() {
    super::drive(&rows()).await;
}

#[tokio::test]
async fn a_page_is_as_long_as_the_configuration_says_and_links_to_the_next() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_with(database, |config| config.limits.page = 2).await;
        let docker = registry.with_key(&registry.main_key());
        let index = Content::empty_index("of many tags");
        for name in ["a", "b", "c"] {
            for tag in ["v1", "v2", "v3"] {
                let repository = format!("t-main/{name}");
                let put = docker.put_manifest(&repository, tag, &index).await;
                put.expect(201);
            }
        }
        for (path, field, items) in [
            ("/v2/t-main/a/tags/list", "tags", ["v1", "v2", "v3"]),
            (
                "/v2/_catalog",
                "repositories",
                ["t-main/a", "t-main/b", "t-main/c"],
            ),
        ] {
            for query in ["", "?n=3", "?n=999999999999"] {
                let first = docker.get(&format!("{path}{query}")).await.expect(200);
                assert_eq!(
                    first.json()[field],
                    serde_json::json!(items[..2]),
                    "{query}"
                );
                let link = first.header("link").trim_start_matches('<');
                let (next, _) = link.split_once('>').unwrap();
                let second = docker.get(next).await.expect(200);
                assert_eq!(
                    second.json()[field],
                    serde_json::json!(items[2..]),
                    "{next}"
                );
                assert_eq!(second.header("link"), "", "{next}");
            }
        }
        registry.running.stop().await;
    }
}

/// A link must lead on, whatever characters the filter has that end a query or a link.
#[tokio::test]
async fn a_link_of_referrers_keeps_the_type_that_it_filters_by() {
    const TYPE: &str = "text/x+y; a=\"<b>, &c=#d%41\"";
    const ONE_PAGE: usize = 100;
    let scene = Scene::set(TestDatabase::Sqlite).await;
    let subject =
        serde_json::json!({"mediaType": INDEX, "digest": scene.fill("{absent}"), "size": 2});
    for number in 0..=ONE_PAGE {
        let referrer = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [],
            "artifactType": TYPE, "subject": subject, "annotations": {"number": number.to_string()}});
        let row = put(format!("/v2/{{own}}/manifests/r{number}"))
            .typed(INDEX)
            .body(referrer.to_string());
        let answer = super::exchange(&scene, &row, "").await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    let filter = serde_urlencoded::to_string([("artifactType", TYPE)]).unwrap();
    let first = scene.fill(&format!("/v2/{{own}}/referrers/{{absent}}?{filter}"));
    let first = scene.docker.get(&first).await.expect(200);
    let listed = |reply: &crate::support::distribution::Reply| {
        reply.json()["manifests"].as_array().unwrap().len()
    };
    assert_eq!(listed(&first), ONE_PAGE);
    let link = first.header("link");
    let (next, relation) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
    assert_eq!(relation, "; rel=\"next\"");
    let second = scene.docker.get(next).await.expect(200);
    assert_eq!(listed(&second), 1);
    assert_eq!(second.header("oci-filters-applied"), "artifactType");
}

//! Digests that are none, or not those of the bytes.

use super::row::{Row, delete, get, head, post, put};

/// What no digest may be, and what the message says to it.
const BAD: [(&str, &str); 17] = [
    ("sha256", "<algorithm>:<hex>"),
    ("v1", "<algorithm>:<hex>"),
    (
        "sha256:",
        "64 hexadecimal digits after the ':', but this has 0",
    ),
    ("sha256:abc", "but this has 3"),
    ("sha256:{layer-hex}0", "but this has 65"),
    (
        "sha512:{layer-hex}",
        "128 hexadecimal digits after the ':', but this has 64",
    ),
    ("sha256:{upper-hex}", "in lower case"),
    ("sha256:{other-hex}", "with 0-9 and a-f only"),
    ("SHA256:{layer-hex}", "use sha256 or sha512"),
    ("sha384:{layer-hex}", "use sha256 or sha512"),
    (
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "use sha256 or sha512",
    ),
    ("sha256+b64u:abc", "use sha256 or sha512"),
    (":{layer-hex}", "use sha256 or sha512"),
    ("sha256::{layer-hex}", "but this has 65"),
    ("sha256:{layer-hex}%00", "but this has 65"),
    ("%20{layer}", "use sha256 or sha512"),
    ("sha256%253A{layer-hex}", "<algorithm>:<hex>"),
];

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (digest, says) in BAD {
        rows.push(get(format!("/v2/{{own}}/blobs/{digest}")).is(400, "DIGEST_INVALID", says));
    }
    let lower = "in lower case";
    let length = "64 hexadecimal digits";
    let algorithm = "use sha256 or sha512";
    let upload = "/v2/{own}/blobs/uploads/{fresh}";
    let start = "/v2/{own}/blobs/uploads/";
    rows.extend([
        head("/v2/{own}/blobs/sha256:abc").is(400, "", ""),
        delete("/v2/{own}/blobs/sha256:abc").is(400, "DIGEST_INVALID", length),
        get("/v2/{own}/manifests/sha256:abc").is(400, "DIGEST_INVALID", length),
        get("/v2/{own}/manifests/sha256:{upper-hex}").is(400, "DIGEST_INVALID", lower),
        head("/v2/{own}/manifests/md5:00").is(400, "", ""),
        delete("/v2/{own}/manifests/md5:00").is(400, "DIGEST_INVALID", algorithm),
        put("/v2/{own}/manifests/sha256:abc").body("{}").is(400, "DIGEST_INVALID", length),
        get("/v2/{own}/referrers/v1").is(400, "DIGEST_INVALID", "<algorithm>:<hex>"),
        get("/v2/{own}/referrers/sha256:{upper-hex}").is(400, "DIGEST_INVALID", lower),
        get("/v2/{own}/referrers/{manifest}?last=v1").is(400, "DIGEST_INVALID", "<algorithm>:<hex>"),
        get("/v2/{own}/referrers/{manifest}?last={layer}&last={layer}").is(400, "UNSUPPORTED", "more than once"),
        get("/v2/{own}/referrers/{manifest}?artifactType=x").is(400, "UNSUPPORTED", "artifactType: "),
        get("/v2/{own}/referrers/{manifest}?artifactType=").is(400, "UNSUPPORTED", "artifactType: "),
        get("/v2/{own}/referrers/{manifest}?artifactType=a/b&artifactType=c/d").is(400, "UNSUPPORTED", "more than once"),
        // A digest that could be, of nothing that is here.
        get("/v2/{own}/blobs/{absent}").is(404, "BLOB_UNKNOWN", "{absent}"),
        head("/v2/{own}/blobs/{absent}").is(404, "", ""),
        delete("/v2/{own}/blobs/{absent}").is(404, "BLOB_UNKNOWN", "{absent}"),
        get("/v2/{own}/manifests/{absent}").is(404, "MANIFEST_UNKNOWN", "{absent}"),
        get("/v2/{own}/manifests/{layer}").is(404, "MANIFEST_UNKNOWN", "{layer}"),
        get("/v2/{own}/blobs/{manifest}").is(404, "BLOB_UNKNOWN", "{manifest}"),
        get("/v2/{acme}/unseen/blobs/{layer}").is(404, "NAME_UNKNOWN", "{acme}/unseen"),
        // One that percent-encodes what needs none names the same.
        get("/v2/{own}/blobs/sha256%3A{layer-hex}").is(200, "", ""),
        // The end of an upload.
        put(upload).is(400, "DIGEST_INVALID", "?digest=sha256:<64 hex digits>"),
        put(format!("{upload}?digest=")).is(400, "DIGEST_INVALID", "<algorithm>:<hex>"),
        put(format!("{upload}?digest")).is(400, "DIGEST_INVALID", "<algorithm>:<hex>"),
        put(format!("{upload}?Digest={{layer}}")).is(400, "DIGEST_INVALID", "?digest=sha256:<64 hex digits>"),
        put(format!("{upload}?digest={{layer}}&digest={{layer}}")).is(400, "DIGEST_INVALID", "digest is given more than once"),
        put(format!("{upload}?digest={{layer}}&digest={{config}}")).is(400, "DIGEST_INVALID", "digest is given more than once"),
        put(format!("{upload}?digest=sha256:{{upper-hex}}")).is(400, "DIGEST_INVALID", lower),
        put(format!("{upload}?digest=sha256:abc")).is(400, "DIGEST_INVALID", length),
        put(format!("{upload}?digest=md5:00")).is(400, "DIGEST_INVALID", algorithm),
        put(format!("{upload}?digest={{layer}}%ff")).is(400, "UNSUPPORTED", "not UTF-8"),
        put(format!("{upload}?digest={{layer}}")).body("other bytes").is(400, "DIGEST_INVALID", "{layer}"),
        put(format!("{upload}?digest={{layer}}")).is(400, "DIGEST_INVALID", "{layer}"),
        // A blob in one request.
        post(format!("{start}?digest=")).body("x").is(400, "DIGEST_INVALID", "<algorithm>:<hex>"),
        post(format!("{start}?digest=sha256:abc")).body("x").is(400, "DIGEST_INVALID", length),
        post(format!("{start}?digest={{absent}}")).body("x").is(400, "DIGEST_INVALID", "{absent}"),
        post(format!("{start}?digest={{layer}}&digest={{layer}}")).body("x").is(400, "DIGEST_INVALID", "more than once"),
        post(format!("{start}?mount=")).is(400, "DIGEST_INVALID", "<algorithm>:<hex>"),
        post(format!("{start}?mount=sha256:abc&from={{own}}")).is(400, "DIGEST_INVALID", length),
        post(format!("{start}?mount={{layer}}&mount={{layer}}")).is(400, "DIGEST_INVALID", "mount is given more than once"),
        post(format!("{start}?digest-algorithm=md5")).is(400, "DIGEST_INVALID", algorithm),
        post(format!("{start}?digest-algorithm=")).is(400, "DIGEST_INVALID", algorithm),
        post(format!("{start}?digest-algorithm=SHA512")).is(400, "DIGEST_INVALID", algorithm),
        post(format!("{start}?digest-algorithm=sha256&digest-algorithm=sha512")).is(400, "DIGEST_INVALID", "more than once"),
        // A manifest under a digest that is not its own; it cannot name itself for the same reason.
        put("/v2/{own}/manifests/{absent}").typed("application/vnd.oci.image.index.v1+json").body(
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{absent}","size":2}]}"#,
        ).is(400, "DIGEST_INVALID", "{absent}"),
    ]);
    rows
}

#[tokio::test]
async fn digests_that_are_none_are_refused() {
    super::drive(&rows()).await;
}

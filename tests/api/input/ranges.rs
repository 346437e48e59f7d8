//! Ranges of every wrong kind: of blobs that are pulled, and of chunks that are pushed.

use super::row::{Row, get, head, patch, put};

/// What a server is to ignore, or may (RFC 9110 section 14.2): the whole blob is the answer.
const IGNORED: [&str; 17] = [
    "",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=a-b",
    "bytes=5-4",
    "bytes=+1-2",
    "bytes=0x1-2",
    "bytes=1.0-2",
    "bytes=0--1",
    "bytes 0-1",
    "bytes:0-1",
    "items=0-1",
    "octets=0-1",
    "bytes=0-1,3-4",
    "bytes=0-0,-1",
    "0-1",
];

/// What a blob of so many bytes does not have.
const UNSATISFIABLE: [&str; 5] = [
    "bytes={layer-size}-",
    "bytes={layer-size}-30",
    "bytes=99999999999999999999999999-",
    "bytes=18446744073709551615-18446744073709551615",
    "bytes=-0",
];

/// What is no range of a chunk.
const NO_RANGES: [&str; 22] = [
    "",
    "-",
    "0-",
    "-9",
    "10",
    "a-b",
    "10-9",
    "+10-19",
    "10 - 19",
    "10-19-29",
    "0x10-0x20",
    "bytes=10-19",
    "bytes 10-19",
    "bytes 10-19/",
    "bytes 10-19/19",
    "bytes */20",
    "items 10-19/20",
    "10-99999999999999999999999999",
    "0-9223372036854775807",
    "10-19,20-29",
    "\"10-19\"",
    "10–19",
];

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let blob = "/v2/{own}/blobs/{layer}";
    for range in IGNORED {
        rows.push(get(blob).header("Range", range).is(200, "", ""));
    }
    for range in UNSATISFIABLE {
        let row = get(blob).header("Range", range);
        rows.push(row.is(416, "SIZE_INVALID", "the blob has {layer-size} bytes: ask for a range inside them"));
    }
    let upload = "/v2/{own}/blobs/uploads/{upload}";
    let form = "Content-Range has the form `<first byte>-<last byte>`";
    for range in NO_RANGES {
        let row = patch(upload).header("Content-Range", range).body("0123456789");
        rows.push(row.is(400, "BLOB_UPLOAD_INVALID", form));
    }
    let ten = "0123456789";
    let expected = "the upload is at byte 10";
    let end = "/v2/{own}/blobs/uploads/{fresh}?digest={layer}";
    rows.extend([
        get(blob).header("Range", "bytes=0-1").header("Range", "bytes=3-4").is(400, "UNSUPPORTED", "range is sent more than once"),
        get(blob).header("Range", format!("bytes={}0-0", "0-0,".repeat(2000))).is(200, "", ""),
        get(blob).header("Range", b"bytes=\xff-1").is(200, "", ""),
        get(blob).header("Range", "bytes=0-0").header("If-Range", "\"of something else\"").is(200, "", ""),
        get(blob).header("Range", "bytes=0-0").header("If-Range", "W/\"{layer}\"").is(200, "", ""),
        get(blob).header("Range", "bytes=0-0").header("If-Range", "Thu, 01 Jan 1970 00:00:00 GMT").is(200, "", ""),
        get(blob).header("Range", "bytes=-99999999999999999999999999").is(206, "", ""),
        get(blob).header("Range", "bytes=0-99999999999999999999999999").is(206, "", ""),
        head(blob).header("Range", "bytes=99-").is(200, "", ""),
        get("/v2/{own}/manifests/v1").header("Range", "bytes=99999-").is(200, "", ""),
        get("/v2/{own}/tags/list").header("Range", "bytes=99999-").is(200, "", ""),
        // Chunks that are none, or do not follow on what is there.
        patch(upload).header("Content-Range", "0-9").body(ten).is(416, "BLOB_UPLOAD_INVALID", expected),
        patch(upload).header("Content-Range", "9-18").body(ten).is(416, "BLOB_UPLOAD_INVALID", expected),
        patch(upload).header("Content-Range", "11-20").body(ten).is(416, "BLOB_UPLOAD_INVALID", expected),
        patch(upload).header("Content-Range", "9223372036854775000-9223372036854775009").body(ten).is(416, "BLOB_UPLOAD_INVALID", expected),
        patch(upload).header("Content-Range", "bytes 0-9/*").body(ten).is(416, "BLOB_UPLOAD_INVALID", expected),
        patch(upload).header("Content-Range", b"10-1\xff").body(ten).is(400, "BLOB_UPLOAD_INVALID", form),
        patch(upload).header("Content-Range", "10-19").header("Content-Range", "10-19").body(ten).is(400, "UNSUPPORTED", "content-range is sent more than once"),
        patch(upload).header("Content-Range", "10-18").body(ten).is(400, "SIZE_INVALID", "9"),
        patch(upload).header("Content-Range", "10-20").body(ten).is(400, "SIZE_INVALID", "11"),
        patch(upload).header("Content-Range", "10-10").body("").is(400, "SIZE_INVALID", "1"),
        put(end).header("Content-Range", "5-14").body(ten).is(416, "BLOB_UPLOAD_INVALID", "the upload is at byte 0"),
        put(end).header("Content-Range", "0-8").body(ten).is(400, "SIZE_INVALID", "9"),
        put(end).header("Content-Range", "0..9").body(ten).is(400, "BLOB_UPLOAD_INVALID", form),
        patch("/v2/{own}/blobs/uploads/not-an-id").body(ten).is(404, "BLOB_UPLOAD_UNKNOWN", "an upload id is a UUID"),
        patch("/v2/{own}/blobs/uploads/00000000-0000-0000-0000-000000000000").body(ten).is(404, "BLOB_UPLOAD_UNKNOWN", "00000000"),
        patch("/v2/{acme}/other/blobs/uploads/{upload}").body(ten).is(404, "BLOB_UPLOAD_UNKNOWN", "{upload}"),
        get("/v2/{own}/blobs/uploads/{upload}%00").is(404, "BLOB_UPLOAD_UNKNOWN", "an upload id is a UUID"),
        get("/v2/{own}/blobs/uploads/%7B{upload}%7D").is(404, "BLOB_UPLOAD_UNKNOWN", "an upload id is a UUID"),
        get("/v2/{own}/blobs/uploads/..").is(404, "BLOB_UPLOAD_UNKNOWN", "an upload id is a UUID"),
    ]);
    rows
}

#[tokio::test]
async fn ranges_that_are_none_are_refused_or_ignored() {
    super::drive(&rows()).await;
}

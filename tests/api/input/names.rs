//! Names that are none, in every place where a request can hold one.

use super::row::{Row, delete, get, head, patch, post, put};

/// What no repository may be called, below a prefix that exists, and the part of it that the message names.
const BAD: [(&str, &str); 30] = [
    ("App", "`App` cannot be part of a repository name"),
    ("app.", "`app.` cannot"),
    (".app", "`.app` cannot"),
    ("-app", "`-app` cannot"),
    ("app-", "`app-` cannot"),
    ("_app", "`_app` cannot"),
    ("app_", "`app_` cannot"),
    ("a..b", "`a..b` cannot"),
    ("a___b", "`a___b` cannot"),
    ("a._b", "`a._b` cannot"),
    ("a.-b", "`a.-b` cannot"),
    ("a-_b", "`a-_b` cannot"),
    ("a~b", "`a~b` cannot"),
    ("a+b", "`a+b` cannot"),
    ("a:b", "`a:b` cannot"),
    ("a@b", "`a@b` cannot"),
    ("a;b", "`a;b` cannot"),
    ("a,b", "`a,b` cannot"),
    ("a=b", "`a=b` cannot"),
    ("a&b", "`a&b` cannot"),
    ("a$b", "`a$b` cannot"),
    ("a*b", "`a*b` cannot"),
    ("a!b", "`a!b` cannot"),
    ("a'b", "`a'b` cannot"),
    ("a(b)", "`a(b)` cannot"),
    ("..", "`..` cannot"),
    (".", "`.` cannot"),
    ("é", "cannot be part of a repository name"),
    ("a//b", "has no two slashes together"),
    ("app/", "begins and ends with a letter or digit"),
];

/// What a name may not hold on the wire. It stays what it is: nothing is decoded in a name.
const ENCODED: [&str; 20] = [
    "a%2Fb",
    "a%2fb",
    "a%252Fb",
    "a%25252Fb",
    "%61pp",
    "a%5Cb",
    "%2e%2e",
    "%2E%2E%2Fapp",
    "..%2fapp",
    "a%00",
    "%00",
    "a%0D%0AX-Evil:1",
    "a%ff",
    "a%C3%A9",
    "a%E2%80%AEb",
    "a%20b",
    "a%3Bb",
    "a%",
    "a%2",
    "a%zz",
];

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, says) in BAD {
        rows.push(get(format!("/v2/{{acme}}/{name}/tags/list")).is(400, "NAME_INVALID", says));
    }
    for name in ENCODED {
        let target = format!("/v2/{{acme}}/{name}/manifests/v1");
        let says = "cannot be part of a repository name";
        rows.push(get(target).is(400, "NAME_INVALID", says));
    }
    let cannot = "cannot be part of a repository name";
    let longer = "at most 255 characters, and this one has more";
    let long = format!("/v2/{{acme}}/{}", "a".repeat(256));
    let deep = format!("/v2/{{acme}}/{}", "x/".repeat(2000) + "x");
    rows.extend([
        head("/v2/{acme}/App/manifests/v1").is(400, "", ""),
        head("/v2/{acme}/App/blobs/{layer}").is(400, "", ""),
        put("/v2/{acme}/App/manifests/v1").body("{}").is(400, "NAME_INVALID", cannot),
        delete("/v2/{acme}/App/manifests/v1").is(400, "NAME_INVALID", cannot),
        get("/v2/{acme}/App/blobs/{layer}").is(400, "NAME_INVALID", cannot),
        delete("/v2/{acme}/App/blobs/{layer}").is(400, "NAME_INVALID", cannot),
        post("/v2/{acme}/App/blobs/uploads/").is(400, "NAME_INVALID", cannot),
        post("/v2/{acme}/App/blobs/uploads/?digest={layer}").body("x").is(400, "NAME_INVALID", cannot),
        patch("/v2/{acme}/App/blobs/uploads/{upload}").body("x").is(400, "NAME_INVALID", cannot),
        put("/v2/{acme}/App/blobs/uploads/{upload}?digest={layer}").is(400, "NAME_INVALID", cannot),
        get("/v2/{acme}/App/referrers/{manifest}").is(400, "NAME_INVALID", cannot),
        // A decoy: what follows is a name too.
        get("/v2/{own}/manifests/v1/tags/list").is(404, "NAME_UNKNOWN", "{own}/manifests/v1"),
        get("/v2/{own}/tags/list/tags/list").is(404, "NAME_UNKNOWN", "{own}/tags/list"),
        get("/v2/{own}/blobs/uploads/manifests/v1").is(404, "NAME_UNKNOWN", "{own}/blobs/uploads"),
        get("/v2//manifests/v1").is(400, "NAME_INVALID", "must not be empty"),
        get("/v2//{own}/manifests/v1").is(400, "NAME_INVALID", "has no two slashes together"),
        get("/v2/{own}/../{own}/manifests/v1").is(400, "NAME_INVALID", "`..` cannot"),
        get("/v2/../v2/{own}/manifests/v1").is(400, "NAME_INVALID", "`..` cannot"),
        // On the wire is what counts, so these are hosts, schemes and addresses only to a reader who guesses.
        get("/v2/{host}/{own}/manifests/v1").is(400, "NAME_INVALID", cannot),
        get("/v2/http://{host}/{own}/manifests/v1").is(400, "NAME_INVALID", "`http:` cannot"),
        get(format!("{long}/tags/list")).is(400, "NAME_INVALID", longer),
        put(format!("{long}/manifests/v1")).body("{}").is(400, "NAME_INVALID", longer),
        post(format!("{deep}/blobs/uploads/")).is(400, "NAME_INVALID", longer),
        get(format!("/v2/{{acme}}/{}/tags/list", "%61".repeat(10_000))).is(400, "NAME_INVALID", longer),
        // Names that could be, of which no team has the prefix.
        get("/v2/app/tags/list").is(403, "DENIED", "{acme}/"),
        get("/v2/library/app/manifests/v1").is(403, "DENIED", "{acme}/"),
        post("/v2/app/blobs/uploads/").is(403, "DENIED", "{acme}/"),
        post("/v2/{acme}/blobs/uploads/").is(403, "DENIED", "{acme}/"),
        get("/v2/{acme}/tags/list").is(403, "DENIED", "{acme}/"),
        put("/v2/{foreign}/manifests/v1").body("{}").is(403, "DENIED", "{acme}/"),
        get("/v2/{foreign}/manifests/v1").is(403, "DENIED", "{acme}/"),
        head("/v2/{foreign}/manifests/v1").is(404, "", ""),
        get("/v2/{acme}x/app/tags/list").is(403, "DENIED", "{acme}/"),
        get("/v2/t-/app/tags/list").is(400, "NAME_INVALID", "`t-` cannot"),
        post("/v2/{own}/blobs/uploads/?mount={layer}&from=App").is(400, "NAME_INVALID", "from: "),
        post("/v2/{own}/blobs/uploads/?mount={layer}&from=").is(400, "NAME_INVALID", "from: "),
        post("/v2/{own}/blobs/uploads/?mount={layer}&from=a%2F%2Fb").is(400, "NAME_INVALID", "from: "),
        post("/v2/{own}/blobs/uploads/?mount={layer}&from=..%2Fapp").is(400, "NAME_INVALID", "from: "),
        post("/v2/{own}/blobs/uploads/?mount={layer}&from={own}&from={own}").is(400, "NAME_INVALID", "from is given more than once"),
    ]);
    rows
}

#[tokio::test]
async fn names_that_are_none_are_refused() {
    super::drive(&rows()).await;
}

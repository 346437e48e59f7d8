//! What a refusal says of those that hold something, and what helps.

use serde_json::{Value, json};

use super::*;

/// What a person reads after the server refused with these details.
fn told(details: &Value) -> String {
    let body = json!({
        "success": false,
        "error": { "code": "conflict", "message": "no", "details": details },
    });
    let stub = Stub::start([Answer {
        status: 409,
        headers: "",
        body: body.to_string(),
    }]);
    let ended = Person::with_key(&stub.url).run(&["image", "rm", "app:v1"]);
    assert_eq!((ended.code, ended.output.as_str()), (1, ""));
    let rest = ended.notes.strip_prefix("error: no (conflict)\n");
    rest.expect("the error comes first").to_owned()
}

#[test]
fn holders_are_named_by_what_is_known_of_them() {
    let told = told(&json!({
        "reason": "leased",
        "holders": [
            {
                "kind": "lease", "name": "template/my-app", "workspace": "web",
                "expiresAt": "2026-01-08T00:00:00.5Z",
                "more": 1,
            },
            { "workspace": "shop" },
            { "name": "x", "workspace": null },
            "the index sha256:00\nof\u{1b}[31m app",
            { "something": "else" },
            7,
        ],
    }));
    insta::assert_snapshot!(told, @r#"
      lease template/my-app, workspace web, until 2026-01-08T00:00:00Z
      workspace shop
      x
      the index sha256:00 of [31m app
      {"something":"else"}
      7
    hint: `berth lease rm HOLDER` ends a lease of your own; --force overrides those of other workspaces
    "#);
}

#[test]
fn a_long_list_of_holders_is_cut() {
    let holders: Vec<Value> = (0..13).map(|number| json!(format!("h{number}"))).collect();
    let told = told(&json!({ "holders": holders }));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[9..], ["  h9", "  and 3 more"]);
}

#[test]
fn each_reason_has_its_remedy() {
    for (reason, remedy) in [
        ("shared", "berth image unshare NAME --workspace W"),
        ("leased", "berth lease rm HOLDER"),
        ("protected", "--protected false"),
        ("immutable", "--immutable-tags false"),
        ("index_child", "delete the index"),
    ] {
        let told = told(&json!({ "reason": reason }));
        assert!(told.starts_with("hint: "), "{told}");
        assert!(told.contains(remedy), "{told}");
    }
    assert_eq!(told(&json!({ "reason": "another" })), "");
}

#[test]
fn details_of_another_shape_are_passed_over() {
    for details in [
        json!(null),
        json!("text"),
        json!([1]),
        json!({ "holders": "all", "reason": 3 }),
    ] {
        assert_eq!(told(&details), "");
    }
}

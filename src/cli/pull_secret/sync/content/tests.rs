//! What a Secret says of itself, and how logins are put together.

use super::*;

const OWN: &str = r#"{"auths":{"127.0.0.1:30501":{"username":"pull-1","password":"p"},"Reg.example":{"username":"pull-1"}}}"#;

fn own() -> Auths {
    auths_of(OWN.as_bytes()).unwrap()
}

fn content() -> Content {
    Content {
        id: String::from("1"),
        expires_at: String::from("2027-01-01T00:00:00Z"),
        text: OWN.to_owned(),
    }
}

#[test]
fn logins_for_other_registries_are_added_and_none_takes_the_place_of_ours() {
    let extra = Extra::parse(
        r#"{"auths":{"ghcr.io":{"auth":"eA=="},"https://reg.example/v2/":{"auth":"eA=="},
        "127.0.0.1:30501/t-shop":{"username":"a","password":"b"},"127.0.0.1:30502":{"auth":"eA=="}}}"#,
    )
    .unwrap();
    let left_out = ["127.0.0.1:30501/t-shop", "https://reg.example/v2/"];
    assert_eq!(extra.left_out(&own()), left_out);
    let merged = extra.merged_with(&own());
    let auths = auths_of(merged.as_bytes()).unwrap();
    let hosts: Vec<_> = auths.keys().collect();
    assert_eq!(
        hosts,
        [
            "127.0.0.1:30501",
            "127.0.0.1:30502",
            "Reg.example",
            "ghcr.io"
        ]
    );
    assert_eq!(of_user(auths, "pull-1"), own());
}

#[test]
fn a_file_without_logins_is_refused_and_never_repeated() {
    for (text, says) in [
        (r#"{"auths":{"h":{"auth":"hidden"}}"#, "not JSON"),
        (r#"{"hidden":{}}"#, "no object"),
        (r#"{"auths":{"h":{"password":"hidden"}}}"#, "no login for"),
        (r#"{"auths":{"h":{}},"credsStore":"hidden"}"#, "credsStore"),
        (
            r#"{"auths":{},"credHelpers":{"hidden":"x"}}"#,
            "credHelpers",
        ),
    ] {
        let error = Extra::parse(text).err().unwrap();
        let error = format!("{error:#}");
        assert!(error.contains(says) && !error.contains("hidden"), "{error}");
    }
    let long = " ".repeat(usize::try_from(EXTRA_LIMIT_BYTES).unwrap() + 1);
    let error = Extra::parse(&long).err().unwrap().to_string();
    assert!(error.contains("more than"), "{error}");
}

#[test]
fn a_secret_is_known_again_until_somebody_changes_it() {
    let written = content().secret(None, "berth-pull", "web", "shop");
    assert!(matches!(
        Found::of(Some(&written), "shop"),
        Found::Whole { id, text } if id == "1" && text == OWN
    ));
    assert!(matches!(Found::of(None, "shop"), Found::Missing));

    let mut changed = written.clone();
    let bytes = changed.data.as_mut().unwrap().get_mut(KEY).unwrap();
    bytes.0.push(b' ');
    assert!(matches!(Found::of(Some(&changed), "shop"), Found::Damaged(Some(id)) if id == "1"));

    // As `berth pull-secret create -o yaml` makes it.
    let mut by_hand = written.clone();
    by_hand.metadata.annotations = None;
    assert!(matches!(
        Found::of(Some(&by_hand), "shop"),
        Found::Damaged(None)
    ));
    // Its logins do not stay beside those of the one that takes its place.
    let applied = BTreeMap::from([(APPLIED.to_owned(), OWN.to_owned())]);
    by_hand.metadata.annotations = Some(applied);
    let taken = content().secret(Some(&by_hand), "berth-pull", "web", "shop");
    assert_eq!(taken.metadata.annotations, written.metadata.annotations);
}

#[test]
fn what_is_not_ours_is_told_apart() {
    let written = content().secret(None, "berth-pull", "web", "shop");
    let (mut other_type, mut no_label) = (written.clone(), written.clone());
    other_type.type_ = Some(String::from("Opaque"));
    no_label.metadata.labels = None;
    for (secret, workspace, says) in [
        (&other_type, "shop", "Opaque"),
        (
            &no_label,
            "shop",
            "no label app.kubernetes.io/managed-by=berth",
        ),
        (&written, "site", "workspace \"shop\""),
    ] {
        let Found::Foreign(why) = Found::of(Some(secret), workspace) else {
            panic!("{says}");
        };
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn what_others_wrote_to_a_secret_stays() {
    let mut before = content().secret(None, "berth-pull", "web", "shop");
    before.metadata.resource_version = Some(String::from("7"));
    let labels = before.metadata.labels.as_mut().unwrap();
    labels.insert(String::from("team"), String::from("a"));
    let after = Content {
        id: String::from("2"),
        ..content()
    };
    let after = after.secret(Some(&before), "berth-pull", "web", "shop");
    assert_eq!(after.metadata.labels, before.metadata.labels);
    assert_eq!(after.metadata.resource_version.as_deref(), Some("7"));
    assert_eq!(Found::of(Some(&after), "shop").id(), Some("2"));
}

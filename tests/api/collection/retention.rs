//! Retention: what a policy takes, what it never takes, and that all of it can be taken back.

use serde_json::{Value, json};

use super::{DAY_MS, Scene, texts};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, image};

async fn set(scene: &Scene, policy: &Value) {
    scene.api.put("/retention", policy).await.expect(200);
}

/// What goes, as the preview says it: tags, and digests of manifests without one.
async fn going(scene: &Scene) -> Vec<String> {
    let preview = scene.api.post("/retention/preview", &json!({})).await;
    let preview = preview.expect(200);
    assert_eq!(preview["complete"], json!(true));
    let items = preview["items"].as_array().unwrap().iter();
    let going: Vec<String> = items
        .filter(|item| item["goes"] == true)
        .map(|item| {
            let name = item["tag"].as_str().or(item["digest"].as_str());
            name.unwrap().to_owned()
        })
        .collect();
    assert_eq!(preview["going"], json!(going.len()));
    going
}

/// What was deleted by retention: tags and digests.
async fn deleted(scene: &Scene) -> Vec<String> {
    let list = scene.api.get("/deletions").await.expect(200);
    let items = list["items"].as_array().unwrap().iter();
    items
        .filter(|item| item["deletedBy"] == "retention")
        .map(|item| {
            let name = item["tags"][0].as_str().or(item["digests"][0].as_str());
            name.unwrap().to_owned()
        })
        .collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test]
async fn rules_take_tags_and_a_preview_says_which() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        for number in 1..=4 {
            scene
                .push("app", &format!("pr-{number}"), &format!("layer {number}"))
                .await;
            scene.later(DAY_MS);
        }
        scene.push("app", "v1", "a release").await;
        let policy = json!({"rules": [{"tags": ["*"], "keepLast": 2}], "keepTags": ["pr-1"]});
        set(&scene, &policy).await;
        let told = going(&scene).await;
        assert_eq!(sorted(told.clone()), ["pr-2", "pr-3"]);
        assert_eq!(scene.collect().await.retired, 2);
        assert_eq!(sorted(deleted(&scene).await), sorted(told));
        for (tag, status) in [
            ("pr-1", 200),
            ("pr-2", 404),
            ("pr-3", 404),
            ("pr-4", 200),
            ("v1", 200),
        ] {
            assert_eq!(scene.pull("app", tag).await, status, "{tag}");
        }
        // What was taken back is left alone.
        let list = scene.api.get("/deletions").await.expect(200);
        for deletion in list["items"].as_array().unwrap() {
            assert_eq!(scene.restore(deletion).await, 200);
        }
        scene.later(DAY_MS);
        assert_eq!(scene.collect().await.retired, 0);
        assert_eq!(scene.pull("app", "pr-2").await, 200);
        scene.later(7 * DAY_MS);
        assert_eq!(scene.collect().await.retired, 2);
        // The audit log tells who, what and by which rule.
        let log = scene.api.get("/audit-events").await.expect(200);
        let events = log["items"].as_array().unwrap().iter();
        let events: Vec<_> = events
            .filter(|event| event["actor"] == "retention")
            .collect();
        assert_eq!(events.len(), 4);
        assert_eq!(events[0]["reason"], json!("the rule for *, keepLast 2"));
        scene.stop().await;
    }
}

#[tokio::test]
async fn the_policy_of_an_image_stands_in_place_of_its_workspaces() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("one", "old", "first").await;
        scene.push("team/two", "old", "second").await;
        scene.later(10 * DAY_MS);
        set(
            &scene,
            &json!({"rules": [{"tags": ["*"], "olderThanDays": 9}]}),
        )
        .await;
        let path = "/images/team/two/-/retention";
        let inherited = scene.api.get(path).await.expect(200);
        assert_eq!(inherited["inherited"], json!(true));
        let own = json!({"untaggedDays": 3});
        let set = scene.api.put(path, &own).await.expect(200);
        assert_eq!(
            (&set["inherited"], &set["policy"]["untaggedDays"]),
            (&json!(false), &json!(3))
        );
        scene.collect().await;
        assert_eq!(
            (
                scene.pull("one", "old").await,
                scene.pull("team/two", "old").await
            ),
            (404, 200)
        );
        let cleared = scene.api.delete(path).await.expect(200);
        assert_eq!(cleared["inherited"], json!(true));
        scene.collect().await;
        assert_eq!(scene.pull("team/two", "old").await, 404);
        // The setting of the workspace and its policy are one.
        let patch = json!({"untaggedRetentionDays": 5});
        scene
            .api
            .patch("/workspaces/acme", &patch)
            .await
            .expect(200);
        let policy = scene.api.get("/retention").await.expect(200);
        assert_eq!(policy["policy"]["untaggedDays"], json!(5));
        scene.api.delete("/retention").await.expect(200);
        let workspace = scene.api.get("/workspaces/acme").await.expect(200);
        assert_eq!(workspace["untaggedRetentionDays"], json!(null));
        scene.stop().await;
    }
}

#[tokio::test]
async fn untagged_is_not_unused() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let name = scene.name("app");
        // Without a tag: a child of a tagged index, one that is leased, one that was signed, a signature, one that is
        // nothing of that, and one that a tag has only just left.
        let child = scene.push("app", "child", "a child").await;
        let leased = scene.push("app", "leased", "a leased one").await;
        let signed = scene.push("app", "signed", "a signed one").await;
        let unused = scene.push("app", "unused", "an unused one").await;
        let signature = image()
            .layer("a signature")
            .subject(&signed.manifest)
            .build();
        let by_digest = signature.manifest.digest.clone();
        scene.docker.push_image(&name, &by_digest, &signature).await;
        let index = Content::index_of(&[(&child.manifest, None)]);
        scene
            .docker
            .put_manifest(&name, "multi", &index)
            .await
            .expect(201);
        let lease = json!({"image": format!("app@{}", leased.manifest.digest)});
        scene.api.put("/leases/job", &lease).await.expect(200);
        for tag in ["child", "leased", "unused"] {
            let answer = scene.api.delete(&format!("/images/app/-/tags/{tag}")).await;
            if tag == "leased" {
                answer.expect_in_use("leased");
            } else {
                answer.expect(200);
            }
        }
        scene
            .push("app", "leased", "another one takes its tag")
            .await;
        scene.push("app", "moved", "had a tag").await;
        scene.later(20 * DAY_MS);
        // Its deleted tag cannot come back any more.
        scene.collect().await;
        scene.push("app", "moved", "has it now").await;
        let patch = json!({"untaggedRetentionDays": 14});
        scene
            .api
            .patch("/workspaces/acme", &patch)
            .await
            .expect(200);
        assert_eq!(going(&scene).await, [unused.manifest.digest.as_str()]);
        assert_eq!(scene.collect().await.retired, 1);
        assert_eq!(deleted(&scene).await, [unused.manifest.digest.as_str()]);
        for kept in [&child, &leased, &signed] {
            assert_eq!(scene.pull("app", &kept.manifest.digest).await, 200);
        }
        assert_eq!(scene.pull("app", &by_digest).await, 200);
        assert_eq!(scene.pull("app", &unused.manifest.digest).await, 404);
        let preview = scene
            .api
            .post("/retention/preview", &json!({}))
            .await
            .expect(200);
        let kept = texts(&preview["items"], "reason").join("; ");
        assert!(
            kept.contains("has it as a child") && kept.contains("leases it"),
            "{kept}"
        );
        // Once the index is deleted its child still can come back with it; when that is over, it goes.
        scene.delete("/images/app/-/tags/multi").await;
        scene
            .delete(&format!("/images/app/-/manifests/{}", index.digest))
            .await;
        scene.later(6 * DAY_MS);
        scene.collect().await;
        assert_eq!(scene.pull("app", &child.manifest.digest).await, 200);
        scene.later(3 * DAY_MS);
        scene.collect().await;
        scene.later(DAY_MS);
        scene.collect().await;
        assert_eq!(scene.pull("app", &child.manifest.digest).await, 404);
        scene.stop().await;
    }
}

#[tokio::test]
async fn what_is_shared_or_protected_or_immutable_is_not_taken() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.registry.team("beta").await;
        for image in ["shared", "protected", "immutable", "plain"] {
            scene.push(image, "old", image).await;
        }
        let share = json!({"targetWorkspace": "beta"});
        scene
            .api
            .post("/images/shared/-/share", &share)
            .await
            .expect(200);
        for (image, setting) in [
            ("protected", json!({"protected": true})),
            ("immutable", json!({"immutableTags": true})),
        ] {
            let path = format!("/images/{image}");
            scene.api.patch(&path, &setting).await.expect(200);
        }
        scene.later(10 * DAY_MS);
        set(
            &scene,
            &json!({"rules": [{"tags": ["*"], "olderThanDays": 5}]}),
        )
        .await;
        scene.collect().await;
        for (image, status) in [
            ("shared", 200),
            ("protected", 200),
            ("immutable", 200),
            ("plain", 404),
        ] {
            assert_eq!(scene.pull(image, "old").await, status, "{image}");
        }
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_referrer_goes_when_its_subject_does_not_come() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let name = scene.name("app");
        let subject = image().layer("a subject").build();
        let lonely = image().layer("one").subject(&subject.manifest).build();
        let tagged = image().layer("two").subject(&subject.manifest).build();
        let digest = lonely.manifest.digest.clone();
        scene.docker.push_image(&name, &digest, &lonely).await;
        scene.docker.push_image(&name, "kept", &tagged).await;
        scene.later(7 * DAY_MS - 1);
        scene.collect().await;
        assert_eq!(scene.pull("app", &digest).await, 200);
        scene.later(1);
        assert_eq!(scene.collect().await.retired, 1);
        assert_eq!(
            (
                scene.pull("app", &digest).await,
                scene.pull("app", "kept").await
            ),
            (404, 200)
        );
        // It comes back, and so does its subject: then it stays.
        let list = scene.api.get("/deletions").await.expect(200);
        assert_eq!(scene.restore(&list["items"][0]).await, 200);
        scene.docker.push_image(&name, "subject", &subject).await;
        scene.later(30 * DAY_MS);
        assert_eq!(scene.collect().await.retired, 0);
        assert_eq!(scene.pull("app", &digest).await, 200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_referrer_goes_after_its_deleted_subject() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let subject = scene.push("app", "subject", "a subject").await;
        let signature = image()
            .layer("a signature")
            .subject(&subject.manifest)
            .build();
        let digest = signature.manifest.digest.clone();
        let name = scene.name("app");
        scene.docker.push_image(&name, &digest, &signature).await;
        let path = format!("/images/app/-/manifests/{}", subject.manifest.digest);
        scene.delete("/images/app/-/tags/subject").await;
        scene.delete(&path).await;
        // The windows of both end in one round, and the referrer is looked at first: its subject is there still.
        scene.later(7 * DAY_MS);
        let round = scene.collect().await;
        assert_eq!((round.retired, round.deletions), (0, 2));
        scene.later(7 * DAY_MS - 1);
        assert_eq!(scene.collect().await.retired, 0);
        scene.later(1);
        assert_eq!(scene.collect().await.retired, 1);
        assert_eq!(scene.pull("app", &digest).await, 404);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_wrong_policy_is_refused_and_changes_nothing() {
    let scene = Scene::set(TestDatabase::Sqlite).await;
    for (policy, word) in [
        (json!({"rules": [{"tags": ["*"]}]}), "keepLast"),
        (json!({"rules": [{"tags": [], "keepLast": 1}]}), "patterns"),
        (json!({"untaggedDays": 0}), "1 to 36500"),
        (json!({"keepTags": ["a b"]}), "pattern"),
        (json!({"keepForever": true}), "keepForever"),
    ] {
        let answer = scene.api.put("/retention", &policy).await;
        let message = answer.expect_error(400, "bad_request");
        assert!(message.contains(word), "{message}");
    }
    let policy = scene.api.get("/retention").await.expect(200);
    let empty = json!({"untaggedDays": null, "keepTags": [], "rules": []});
    assert_eq!(policy["policy"], empty);
    scene.stop().await;
}

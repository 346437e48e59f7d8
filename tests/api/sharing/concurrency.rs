//! Changes that cannot both be: whatever the order, one of them wins, and nothing is half there.

use std::pin::Pin;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{APP, Scene, Side, items};
use crate::support::calls::{Answer, Api};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Reply, image};

/// Clients at once, where more than two want the same.
const CLIENTS: usize = 6;
/// Races of one kind, each with an image of its own.
const ROUNDS: usize = 8;

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

fn call(api: &Api, method: Method, path: &str, body: Option<&Value>) -> Call {
    let (api, path, body) = (api.clone(), path.to_owned(), body.map(Value::to_string));
    Box::pin(async move { api.send(method, &path, body).await })
}

fn post(api: &Api, path: &str, body: &Value) -> Call {
    call(api, Method::POST, path, Some(body))
}

fn delete(api: &Api, path: &str) -> Call {
    call(api, Method::DELETE, path, None)
}

/// Sends requests at once; their answers in the order in which they were given.
async fn at_once<T: Send + 'static>(calls: Vec<Pin<Box<dyn Future<Output = T> + Send>>>) -> Vec<T> {
    let mut tasks = JoinSet::new();
    for (index, call) in calls.into_iter().enumerate() {
        tasks.spawn(async move { (index, call.await) });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn statuses(calls: Vec<Call>) -> Vec<u16> {
    let answers = at_once(calls).await;
    let statuses = answers.iter().map(|answer| answer.status.as_u16());
    statuses.collect()
}

/// How many rows there are.
async fn count(scene: &Scene, rows: &str) -> i64 {
    let statement = format!("SELECT COUNT(*) FROM {rows}");
    scene.registry.number(&statement).await
}

/// A small image of its own for each round.
async fn push(side: &Side, name: &str) -> Content {
    let index = Content::empty_index(name);
    let repository = side.name(name);
    side.docker
        .put_manifest(&repository, "v1", &index)
        .await
        .expect(201);
    index
}

#[track_caller]
fn one_winner(statuses: &[u16], won: u16, lost: u16) {
    let winners = statuses.iter().filter(|status| **status == won).count();
    let losers = statuses.iter().filter(|status| **status == lost).count();
    assert_eq!((winners, losers), (1, statuses.len() - 1), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_accept_a_share_one_does() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let share = scene.offer().await;
        let path = format!(
            "/pending-image-shares/{}/accept",
            share["id"].as_str().unwrap()
        );
        let calls = (0..CLIENTS).map(|number| {
            let body = json!({"alias": format!("alias-{number}")});
            post(&scene.gamma.api, &path, &body)
        });
        one_winner(&statuses(calls.collect()).await, 200, 409);
        assert_eq!(count(&scene, "names WHERE share_id IS NOT NULL").await, 1);
        assert_eq!(count(&scene, "shares WHERE status = 'active'").await, 1);
        let alias = items(&scene.acme.api, &format!("/images/{APP}/-/share")).await;
        let alias = alias[0]["alias"].as_str().unwrap();
        scene.gamma.pull(alias, "v1").await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_shares_one_has_the_alias() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, gamma) = (&scene.acme, &scene.gamma);
        let body = json!({"targetWorkspace": "beta", "alias": "same"});
        let offer = json!({"targetWorkspace": "gamma", "targetAccountId": scene.other_account,
            "alias": "same"});
        let (mut shares, mut accepts) = (Vec::new(), Vec::new());
        for number in 0..CLIENTS {
            let name = format!("image-{number}");
            push(acme, &name).await;
            let path = format!("/images/{name}/-/share");
            shares.push(post(&acme.api, &path, &body));
            let offered = acme.api.post(&path, &offer).await.expect(202);
            let id = offered["id"].as_str().unwrap();
            let path = format!("/pending-image-shares/{id}/accept");
            accepts.push(post(&gamma.api, &path, &json!({})));
        }
        one_winner(&statuses(shares).await, 200, 409);
        one_winner(&statuses(accepts).await, 200, 409);
        assert_eq!(count(&scene, "names WHERE share_id IS NOT NULL").await, 2);
        assert_eq!(count(&scene, "shares WHERE status = 'active'").await, 2);
        let left = items(&gamma.api, "/pending-image-shares").await;
        assert_eq!(left.len(), CLIENTS - 1);
        for side in [&scene.beta, gamma] {
            side.pull("same", "v1").await.expect(200);
        }
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_image_is_shared_with_one_workspace_once() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let path = format!("/images/{APP}/-/share");
        let calls = (0..CLIENTS).map(|number| {
            let alias = format!("alias-{number}");
            let body = json!({"targetWorkspace": "beta", "alias": alias});
            post(&scene.acme.api, &path, &body)
        });
        one_winner(&statuses(calls.collect()).await, 200, 409);
        assert_eq!(count(&scene, "names WHERE share_id IS NOT NULL").await, 1);
        assert_eq!(count(&scene, "shares").await, 1);
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_races_with_its_end_is_accepted_or_gone() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, gamma) = (&scene.acme, &scene.gamma);
        let offer = json!({"targetWorkspace": "gamma", "targetAccountId": scene.other_account});
        for round in 0..ROUNDS {
            let name = format!("image-{round}");
            push(acme, &name).await;
            let share = format!("/images/{name}/-/share");
            let offered = acme.api.post(&share, &offer).await.expect(202);
            let pending = format!("/pending-image-shares/{}", offered["id"].as_str().unwrap());
            let accept = post(&gamma.api, &format!("{pending}/accept"), &json!({}));
            let withdraws = round % 2 == 0;
            let end = if withdraws {
                delete(&acme.api, &format!("{share}/gamma"))
            } else {
                post(&gamma.api, &format!("{pending}/decline"), &json!({}))
            };
            let statuses = statuses(vec![accept, end]).await;
            let pulled = gamma.pull(&name, "v1").await.status;
            match (statuses[0], statuses[1], withdraws) {
                // Accepted, and then ended as an active one.
                (200 | 404, 200, true) | (404, 204, false) => assert_eq!(pulled, 404),
                (200, 404, false) => assert_eq!(pulled, 200),
                _ => panic!("{statuses:?} {withdraws}"),
            }
            let id = offered["id"].as_str().unwrap();
            let (names, shares) = (
                count(&scene, &format!("names WHERE share_id = '{id}'")).await,
                count(&scene, &format!("shares WHERE id = '{id}'")).await,
            );
            let left = i64::from(pulled == 200);
            assert_eq!((names, shares), (left, left), "{statuses:?}");
        }
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shared_or_leased_while_it_is_deleted_stays_or_is_gone() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let api = &scene.acme.api;
        for round in 0..ROUNDS {
            let name = format!("image-{round}");
            let index = push(&scene.acme, &name).await;
            let path = format!("/images/{name}");
            let shares = round % 2 == 0;
            let keep = if shares {
                let body = json!({"targetWorkspace": "beta"});
                post(api, &format!("{path}/-/share"), &body)
            } else {
                let body = json!({"image": format!("{name}:v1")});
                call(api, Method::PUT, &format!("/leases/{name}"), Some(&body))
            };
            let way = match round % 4 {
                0 | 1 => path.clone(),
                _ => format!("{path}/-/manifests/{}", index.digest),
            };
            let statuses = statuses(vec![keep, delete(api, &way)]).await;
            let read = scene.acme.pull(&name, "v1").await.status;
            let deleted_a_manifest = way != path;
            match (statuses[0], statuses[1]) {
                (200, 409) => assert_eq!(read, 200),
                (404, 200) => assert_eq!(read, 404),
                // The image is there without its manifest, and is shared.
                (200, 200) if shares && deleted_a_manifest => assert_eq!(read, 404),
                _ => panic!("{statuses:?} {shares} {way}"),
            }
            let leases = count(&scene, &format!("leases WHERE holder = '{name}'")).await;
            assert_eq!(leases, i64::from(!shares && statuses[0] == 200));
            let of_it = format!(
                "names WHERE share_id IS NOT NULL AND name = '{}'",
                scene.beta.name(&name)
            );
            let aliases = count(&scene, &of_it).await;
            assert_eq!(aliases, i64::from(shares && statuses[0] == 200));
        }
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_races_with_the_end_of_its_share_keeps_it_or_is_refused() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        for round in 0..ROUNDS {
            let name = format!("image-{round}");
            push(acme, &name).await;
            acme.share(&name, beta).await.expect(200);
            let body = json!({"image": format!("{name}:v1")});
            let lease = call(
                &beta.api,
                Method::PUT,
                &format!("/leases/{name}"),
                Some(&body),
            );
            let path = format!("/images/{name}/-/share");
            // By its source, or given up by its target.
            let end = match round % 2 {
                0 => delete(&acme.api, &format!("{path}/beta")),
                _ => delete(&beta.api, &path),
            };
            let statuses = statuses(vec![lease, end]).await;
            let pulled = beta.pull(&name, "v1").await.status;
            match (statuses[0], statuses[1]) {
                (200, 409) => assert_eq!(pulled, 200),
                (404, 200) => assert_eq!(pulled, 404),
                _ => panic!("{statuses:?}"),
            }
            let leases = count(&scene, &format!("leases WHERE holder = '{name}'")).await;
            assert_eq!(leases, i64::from(statuses[0] == 200));
        }
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_restored_while_it_is_purged_is_all_there_or_all_gone() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let acme = &scene.acme;
        for round in 0..ROUNDS {
            let name = format!("image-{round}");
            let index = push(acme, &name).await;
            let path = match round % 3 {
                0 => format!("/images/{name}"),
                1 => format!("/images/{name}/-/manifests/{}", index.digest),
                _ => format!("/images/{name}/-/tags/v1"),
            };
            let deletion = acme.api.delete(&path).await.expect(200);
            let path = format!("/deletions/{}", deletion["id"].as_str().unwrap());
            let end = |end: &str| call(&acme.api, Method::POST, &format!("{path}/{end}"), None);
            let statuses = statuses(vec![end("restore"), end("purge"), end("restore")]).await;
            let read = acme.pull(&name, "v1").await;
            match (statuses[0], statuses[1], statuses[2]) {
                (200, 404, 404) | (404, 404, 200) => {
                    assert_eq!(read.expect(200).body, index.bytes);
                }
                (410, 200, 410) => assert_eq!(read.status, 404),
                _ => panic!("{statuses:?}"),
            }
        }
        // Nothing is left over that only a deletion knew.
        assert_eq!(
            count(&scene, "repositories WHERE deletion_id IS NOT NULL").await,
            0
        );
        assert_eq!(
            count(&scene, "manifests WHERE deletion_id IS NOT NULL").await,
            0
        );
        assert_eq!(
            count(&scene, "tag_history WHERE deletion_id IS NOT NULL").await,
            0
        );
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_an_image_that_is_deleted_goes_with_it_or_begins_another() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let acme = &scene.acme;
        for round in 0..ROUNDS {
            let name = format!("image-{round}");
            let first = push(acme, &name).await;
            let second = Content::empty_index(&format!("{name}, once more"));
            let (docker, repository) = (acme.docker.clone(), acme.name(&name));
            let manifest = second.clone();
            let put = async move {
                docker
                    .put_manifest(&repository, "v2", &manifest)
                    .await
                    .status
            };
            let gone = async |answer: Call| answer.await.status.as_u16();
            let path = format!("/images/{name}");
            let (one, other) = (delete(&acme.api, &path), delete(&acme.api, &path));
            let calls: Vec<Pin<Box<dyn Future<Output = u16> + Send>>> =
                vec![Box::pin(put), Box::pin(gone(one)), Box::pin(gone(other))];
            let statuses = at_once(calls).await;
            assert_eq!(statuses[0], 201, "{statuses:?}");
            let mut deletes = [statuses[1], statuses[2]];
            deletes.sort_unstable();
            // Both delete something where the push came in between.
            assert!(
                deletes == [200, 404] || deletes == [200, 200],
                "{statuses:?}"
            );
            let (v1, v2) = (acme.pull(&name, "v1").await, acme.pull(&name, "v2").await);
            assert_eq!(v1.status, 404);
            let live = format!("names WHERE name = '{}'", acme.name(&name));
            if v2.status == 200 {
                assert_eq!(v2.body, second.bytes);
                assert_eq!(count(&scene, &live).await, 1);
                continue;
            }
            assert_eq!(count(&scene, &live).await, 0);
            let of_it = items(&acme.api, "/deletions").await;
            let mut of_it = of_it.iter().filter(|deletion| deletion["image"] == name);
            // Two of one millisecond are in no order.
            let took_v1 = |deletion: &&Value| deletion["tags"][0] == "v1";
            let older = of_it.find(took_v1).unwrap();
            let path = format!("/deletions/{}/restore", older["id"].as_str().unwrap());
            acme.api.post(&path, &json!({})).await.expect(200);
            assert_eq!(acme.pull(&name, "v1").await.expect(200).body, first.bytes);
        }
        scene.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_comes_back_while_its_name_is_pushed_to_is_one_or_the_other() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let acme = &scene.acme;
        for round in 0..ROUNDS {
            let name = format!("image-{round}");
            push(acme, &name).await;
            let deletion = acme
                .api
                .delete(&format!("/images/{name}"))
                .await
                .expect(200);
            let path = format!("/deletions/{}/restore", deletion["id"].as_str().unwrap());
            let restore = call(&acme.api, Method::POST, &path, None);
            let content = image().build();
            let (docker, repository) = (acme.docker.clone(), acme.name(&name));
            let pushing = async move {
                let pushed: Reply = docker.push_blob(&repository, &content.config).await;
                pushed.expect(201);
                docker
                    .put_manifest(&repository, "v2", &content.manifest)
                    .await
                    .status
            };
            let calls: Vec<Pin<Box<dyn Future<Output = u16> + Send>>> = vec![
                Box::pin(async move { restore.await.status.as_u16() }),
                Box::pin(pushing),
            ];
            let statuses = at_once(calls).await;
            let (v1, v2) = match (statuses[0], statuses[1]) {
                (200, 201) => (200, 200),
                (409, 201) => (404, 200),
                // The blob went with the name that the unfinished push had: the client pushes once more.
                (200, 400) => (200, 404),
                _ => panic!("{statuses:?}"),
            };
            assert_eq!(acme.pull(&name, "v1").await.status, v1);
            assert_eq!(acme.pull(&name, "v2").await.status, v2);
            acme.push(&name, "v2", &image().build()).await;
            let live = format!("names WHERE name = '{}'", acme.name(&name));
            assert_eq!(count(&scene, &live).await, 1);
        }
        scene.stop().await;
    }
}

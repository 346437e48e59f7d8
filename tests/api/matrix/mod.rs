//! The access matrix: every route of every door with every kind of caller, own and foreign.
//!
//! The table is a snapshot, for people; what must hold whatever it says is computed from what each caller has.

mod cast;
mod images;
mod management;
mod registry;
mod rows;
mod table;

use berth::http::{Door, rows as routes};

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Login, Reply};
use cast::{Cast, Identities, at};
use registry::Stage;
use table::table;

/// The whole matrix on one database, with every door open but that of the API.
async fn matrix_on(database: TestDatabase) -> String {
    let identities = Identities::start().await;
    let registry = identities.registry(database, |_| {}).await;
    let cast = Cast::gather(&registry, &identities).await;
    let stage = Stage::set(&registry, &cast).await;
    let mut text = String::new();
    for door in [Door::Public, Door::Pull, Door::Ops] {
        let cells = registry::drive(&registry, door, false, &cast, &stage).await;
        registry::check(&cells, &cast.acme.prefix);
        if door != Door::Ops {
            registry::check_secrecy(&cells, &Stage::echoes(&cast));
        }
        let heading = format!(
            "{} door: own, foreign, absent and unknown repositories",
            door.as_str()
        );
        text.push_str(&table(&heading, &cells));
        text.push('\n');
    }
    registry::check_untouched(&registry, &cast, &stage).await;
    registry::check_pull_door_writes(&registry, &cast, &stage).await;
    let cells = management::drive(&registry, Door::Public, false, &cast).await;
    management::check(&registry, Door::Public, &cast, &cells);
    management::check_untouched(&registry, &cast).await;
    text.push_str(&table(
        "management API: own, foreign and absent workspaces",
        &cells,
    ));
    registry.running.stop().await;
    text
}

#[tokio::test]
async fn everybody_gets_what_the_matrix_says_and_nobody_more() {
    for database in TestDatabase::available() {
        let matrix = matrix_on(database).await;
        insta::assert_snapshot!("access_matrix", matrix);
    }
}

#[tokio::test]
async fn with_a_door_of_its_own_the_api_leaves_the_public_one_but_for_credentials() {
    let any_port = ([127, 0, 0, 1], 0).into();
    let identities = Identities::start().await;
    let registry = identities.registry(TestDatabase::Sqlite, |config| {
        config.server.api_listen = Some(any_port);
    });
    let registry = registry.await;
    let cast = Cast::gather(&registry, &identities).await;
    // What is in use is not deleted when the matrix comes to that.
    let stage = Stage::set(&registry, &cast).await;
    let mut text = String::new();
    let cells = registry::drive(&registry, Door::Api, true, &cast, &stage).await;
    registry::check(&cells, &cast.acme.prefix);
    text.push_str(&table("tokens at the api door", &cells));
    text.push('\n');
    for door in [Door::Public, Door::Api] {
        let cells = management::drive(&registry, door, true, &cast).await;
        management::check(&registry, door, &cast, &cells);
        let heading = format!("management API at the {} door", door.as_str());
        text.push_str(&table(&heading, &cells));
        text.push('\n');
    }
    insta::assert_snapshot!("access_matrix_with_an_api_door", text);

    let kept = routes(Door::Public, true);
    let admin = at(&registry, Door::Public).with(Login::key(&registry.operator_key()));
    for route in routes(Door::Api, true) {
        if kept.contains(&route) {
            continue;
        }
        let path = route.path.replace("{name}", "acme").replace("{id}", "1");
        let request = admin.request(route.method.parse().unwrap(), &path);
        let reply = Reply::of(request).await;
        assert_eq!(reply.status, 404, "{} {}", route.method, route.path);
        if route.method != "HEAD" {
            assert_eq!(reply.json()["error"]["code"], "not_found");
        }
    }
    registry.running.stop().await;
}

#[tokio::test]
async fn the_api_is_not_at_the_pull_and_ops_doors() {
    let registry = TestRegistry::start().await;
    for door in [Door::Pull, Door::Ops] {
        let operator = at(&registry, door).with(Login::key(&registry.operator_key()));
        for route in routes(Door::Public, false) {
            if !route.path.starts_with("/api/") {
                continue;
            }
            let path = route.path.replace("{name}", "main").replace("{id}", "1");
            let request = operator.request(route.method.parse().unwrap(), &path);
            let reply = Reply::of(request).await;
            assert_eq!(reply.status, 404, "{} {}", route.method, route.path);
        }
    }
}

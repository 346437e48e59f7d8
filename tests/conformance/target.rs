//! Which registries the suite runs against.

use std::any::Any;
use std::env;

use berth::http::Door;

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;

/// One registry, with what is needed to use it.
pub(crate) struct Target {
    /// First part of the names of its trials: `sqlite`, `postgres`, `foreign`.
    pub(crate) name: String,
    /// Where it listens, such as `http://127.0.0.1:5000`, without a slash at the end.
    pub(crate) base_url: String,
    /// Repositories are made under `<prefix>/`.
    pub(crate) prefix: String,
    /// May pull, push and delete under the prefix.
    pub(crate) username: String,
    /// Goes with the user name; without a user name requests are anonymous.
    pub(crate) password: String,
    /// Whether Berth's own promises are asked for too.
    pub(crate) is_berth: bool,
}

/// What must stay alive as long as the trials run: servers in this process, their folders and databases.
pub(crate) type Servers = Vec<Box<dyn Any + Send>>;

/// The registry that the environment names, else the ones this process starts.
pub(crate) async fn targets() -> (Vec<Target>, Servers) {
    match target_of_environment() {
        Some(target) => (vec![target], Servers::new()),
        None => in_process_targets().await,
    }
}

/// Starts one server per database on the runtime that polls this, each with a target of its name and `is_berth: true`.
async fn in_process_targets() -> (Vec<Target>, Servers) {
    let (mut targets, mut servers) = (Vec::new(), Servers::new());
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        targets.push(Target {
            name: database.as_str().to_owned(),
            base_url: registry.url(Door::Public),
            prefix: String::from("t-main"),
            username: String::from("main"),
            password: registry.main_key(),
            is_berth: true,
        });
        servers.push(Box::new(registry));
    }
    (targets, servers)
}

fn target_of_environment() -> Option<Target> {
    let base_url = env::var("BERTH_CONFORMANCE_URL").ok()?;
    let variable = |name: &str| env::var(format!("BERTH_CONFORMANCE_{name}")).ok();
    Some(Target {
        name: variable("NAME").unwrap_or_else(|| String::from("foreign")),
        base_url: base_url.trim_end_matches('/').to_owned(),
        prefix: variable("PREFIX").unwrap_or_else(|| String::from("conformance")),
        username: variable("USER").unwrap_or_default(),
        password: variable("PASSWORD").unwrap_or_default(),
        is_berth: variable("IS_BERTH").is_some_and(|value| value == "true"),
    })
}

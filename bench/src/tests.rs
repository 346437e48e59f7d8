//! The tool itself against a registry of its own: every row once, for a moment.

use std::time::Duration;

use berth::clock::Clock;
use berth::config::Config;
use berth::http::Door;

use crate::compare::{self, Effort};
use crate::registry::{Login, Registry};

const MOMENT: Effort = Effort {
    rounds: 1,
    time: Duration::from_millis(20),
    blobs: 1,
};

#[tokio::test]
async fn every_row_is_measured_on_a_registry_that_asks_for_a_login() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.data_dir = folder.path().join("data");
    config.server.public_listen = ([127, 0, 0, 1], 0).into();
    config.server.ops_listen = ([127, 0, 0, 1], 0).into();
    let running = berth::app::start(&config, Clock::System).await.unwrap();
    let url = format!("http://{}", running.address(Door::Public).unwrap());
    let key = std::fs::read_to_string(folder.path().join("data/main.key")).unwrap();
    let login = |password: &str| {
        Some(Login {
            user: String::from("main"),
            password: password.trim().to_owned(),
        })
    };

    let registry = Registry::at(&url, "t-main/bench", login(&key))
        .await
        .unwrap();
    let report = compare::one(&url, registry, true, true, MOMENT)
        .await
        .unwrap();
    assert_eq!(report.lines.len(), 7);
    for line in &report.lines {
        let cell = line.cells[0].as_ref().unwrap();
        assert!(cell.median > 0.0, "{}", line.title);
    }

    for (login, message) in [(None, "asks for a login"), (login("wrong"), "401")] {
        let registry = Registry::at(&url, "t-main/bench", login).await.unwrap();
        let error = compare::one(&url, registry, true, false, MOMENT).await;
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains(message), "{error}");
    }
    running.stop().await;
}

//! `docker login`, by each kind of password and at each door.

use libtest_mimic::Trial;
use serde_json::json;

use crate::client::Client;
use crate::docker::{Docker, with_each_program};
use crate::server::Server;
use crate::team::{Login, Team};

/// The facts of this file, for each command line of the machine.
pub(crate) fn trials() -> Vec<Trial> {
    with_each_program(&[
        ("login_takes_an_api_key", login_takes_an_api_key),
        (
            "login_takes_a_registry_credential",
            login_takes_a_registry_credential,
        ),
        (
            "login_refuses_a_wrong_password",
            login_refuses_a_wrong_password,
        ),
        (
            "login_refuses_the_operator_key",
            login_refuses_the_operator_key,
        ),
    ])
}

fn login_takes_an_api_key(docker: &Docker) {
    let server = Server::start();
    let login = Team::new(&server, "blue").key_login();
    for door in [&server.registry, &server.pull_door] {
        docker
            .login(door, &login)
            .succeeded()
            .said("Login Succeeded");
    }
}

fn login_takes_a_registry_credential(docker: &Docker) {
    let server = Server::start();
    let login = Team::new(&server, "blue").credential(&json!({}));
    assert_eq!(login.user_name, "t-blue");
    for door in [&server.registry, &server.pull_door] {
        docker
            .login(door, &login)
            .succeeded()
            .said("Login Succeeded");
    }
}

fn login_refuses_a_wrong_password(docker: &Docker) {
    let server = Server::start();
    let mut login = Team::new(&server, "blue").credential(&json!({}));
    login.password.push('x');
    for door in [&server.registry, &server.pull_door] {
        docker
            .login(door, &login)
            .refused_with(&[Docker::WORDS.wrong_password]);
        docker
            .login(door, &Login::of_key("berth_no_such_key"))
            .refused_with(&["unauthorized: the password looks like an API key but is mistyped"]);
    }
}

fn login_refuses_the_operator_key(docker: &Docker) {
    let server = Server::start();
    let login = Login::of_key(&server.operator_key());
    docker
        .login(&server.registry, &login)
        .refused_with(&["unauthorized: an operator key is no registry password"]);
}

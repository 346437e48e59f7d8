//! The API against its own OpenAPI document: Schemathesis makes thousands of calls out of it, valid ones and others, and
//! looks whether each is answered as the document says.

use std::process::Command;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::fact;
use crate::http::{self, Caller};
use crate::process;
use crate::server::Server;
use crate::team::Team;

/// The environment that has it.
const ENVIRONMENT: &str = "schemathesis";

/// What looks at the document itself.
const CHECK_SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/clients/openapi_check.py"
);

/// The same cases each time.
const SEED: &str = "1";

/// Cases of each operation at most, in each phase that makes them at random.
const CASES_OF_AN_OPERATION: &str = "30";

/// How long one answer may take.
const ANSWER_LIMIT_SECONDS: &str = "120";

/// Cases that each key must have made at least; the two make more than 2,000.
const CASES_LEAST: u64 = 1_200;

/// Whether everything that the schemas allow is taken. It is not: whether a cursor is one of this list, or a time is
/// still to come, no schema can say.
const CHECK_LEFT_OUT: &str = "positive_data_acceptance";

/// Operations that could end the key of the run, with an id that a list has told. They are called in a run of their
/// own, which knows no ids.
const ENDING: [&str; 3] = [
    "api-keys.delete",
    "operator-keys.delete",
    "operator-keys.rotate",
];

/// The run calls more often than people may.
const VARIABLES: [(&str, &str); 3] = [
    ("BERTH_LIMITS__AUTH_FAILURES_PER_MINUTE", "60000"),
    ("BERTH_LIMITS__CREDENTIALS_PER_MINUTE", "60000"),
    ("BERTH_LIMITS__TOKENS_PER_MINUTE", "60000"),
];

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact(
            "schemathesis::the_document_and_its_examples_are_valid",
            valid,
        ),
        fact(
            "schemathesis::an_operator_meets_only_what_is_documented",
            operator,
        ),
        fact(
            "schemathesis::an_admin_meets_only_what_is_documented",
            admin,
        ),
    ]
}

fn document_url(server: &Server) -> String {
    server.url("/api/v1/openapi.json")
}

fn valid() {
    let server = Server::start();
    let folder = process::folder("openapi");
    let document = http::get(&document_url(&server), &Caller::Anonymous).expect(200);
    let path = folder.path().join("openapi.json");
    std::fs::write(&path, document.body).expect("a small file is written");
    let prepare = |command: &mut Command| {
        command.arg(CHECK_SCRIPT).arg(&path);
    };
    process::run(
        &process::python_program(ENVIRONMENT, "python"),
        prepare,
        None,
    )
    .succeeded()
    .said(" examples");
}

/// With the operator's key as a Bearer token.
fn operator() {
    let server = Server::start_with_variables(&VARIABLES);
    Team::new(&server, "acme");
    let key = server.operator_key();
    let header = format!("Authorization: Bearer {key}");
    run_all(&server, ["--header", &header], &key);
}

/// With a workspace's key as the password of Basic, which `/token` takes too.
fn admin() {
    let server = Server::start_with_variables(&VARIABLES);
    let team = Team::new(&server, "acme");
    let login = team.key_login();
    let password = format!("{}:{}", login.user_name, login.password);
    run_all(&server, ["--auth", &password], &login.password);
}

fn run_all(server: &Server, login: [&str; 2], key: &str) {
    let mut others = vec![];
    let mut these = vec![];
    for operation in ENDING {
        others.extend(["--exclude-operation-id", operation]);
        these.extend(["--include-operation-id", operation]);
    }
    let cases = run(server, login, &others) + run(server, login, &these);
    assert!(cases >= CASES_LEAST, "only {cases} cases were made");
    let caller = Caller::Bearer(String::from(key));
    http::get(&server.url("/api/v1/whoami"), &caller).expect(200);
}

/// Runs all phases on some operations, and says how many cases there were.
fn run(server: &Server, login: [&str; 2], operations: &[&str]) -> u64 {
    let folder = process::folder("schemathesis");
    let report = folder.path().join("report.json");
    let program = process::python_program(ENVIRONMENT, "schemathesis");
    let outcome = process::run(
        &program,
        |command| {
            // It writes down what it has seen where it runs.
            command
                .current_dir(folder.path())
                .env("HOME", folder.path());
            command.arg("run").arg(document_url(server)).args(login);
            command.args(operations);
            command.args(["--request-timeout", ANSWER_LIMIT_SECONDS]);
            command.args(["--seed", SEED, "--max-examples", CASES_OF_AN_OPERATION]);
            command.args(["--exclude-checks", CHECK_LEFT_OUT, "--continue-on-failure"]);
            command.args(["--generation-database", "none", "--no-color"]);
            // Made-up logins, which the one of the run would replace; whether they are looked at is checked anyway.
            command.args(["--generation-with-security-parameters", "false"]);
            command
                .args(["--report", "json", "--report-json-path"])
                .arg(&report);
        },
        None,
    );
    outcome.succeeded();
    let report = std::fs::read_to_string(&report).expect("a report is written");
    let report: Value = serde_json::from_str(&report).expect("the report is JSON");
    report["test_cases"]["generated"]
        .as_u64()
        .expect("a report counts cases")
}

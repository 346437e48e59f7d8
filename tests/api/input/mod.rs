//! The input table: every kind of wrong request, each with its status, its code and what its message says.
//!
//! The rows are sent byte by byte, as no HTTP library would send some of them, with a good login and again without
//! one, over every database there is. Whatever a row says, no answer may be a 5xx or come late, hold a secret, lack its
//! id or have another shape than that of its API, and afterwards nothing may have changed.
//!
//! One row is one line, however long: the tables are not formatted.

mod digests;
mod headers;
mod images;
mod management;
mod manifests;
mod media_types;
mod methods;
mod names;
mod paths;
mod ranges;
mod row;
mod scene;
mod sizes;
mod tags;
mod tokens;

use serde_json::Value;

use crate::support::database::TestDatabase;
use crate::support::raw::{RawAnswer, Wire};
use row::{Row, Sender};
use scene::Scene;

/// The table has rows for every subject, and is meant to grow.
const LEAST_ROWS: usize = 900;

/// How many rows may leave a trace before somebody looks.
const ROWS_BETWEEN_LOOKS: usize = 16;

/// What judges an answer.
type Check = fn(&Scene, &Row, &RawAnswer) -> Result<(), String>;

/// Every code of the distribution specification.
const CODES: [&str; 14] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];

/// The error in an answer: its code and its message.
struct Problem {
    code: String,
    message: String,
}

/// The error that an answer holds, if it has the shape that its API gives to errors.
fn problem(answer: &RawAnswer, api: bool) -> Result<Problem, String> {
    let body: Value = serde_json::from_str(&answer.body)
        .map_err(|error| format!("the body is no JSON ({error})"))?;
    let error = if api {
        let shaped = body["success"] == Value::Bool(false);
        shaped.then_some(&body["error"])
    } else {
        body["errors"].as_array().and_then(|errors| errors.first())
    };
    let text = |field: &str| error.and_then(|error| error[field].as_str());
    let (Some(code), Some(message)) = (text("code"), text("message")) else {
        return Err(String::from("the body has not the shape of an error"));
    };
    if answer.header("content-type") != "application/json" {
        return Err(String::from("an error that does not say it is JSON"));
    }
    if !api && !CODES.contains(&code) {
        return Err(format!("{code} is no code of the specification"));
    }
    if message.len() < 12 || !message.contains(' ') {
        return Err(format!("the message is no sentence: {message}"));
    }
    Ok(Problem {
        code: code.to_owned(),
        message: message.to_owned(),
    })
}

/// What is wrong with an answer, whatever the row wants.
fn check_any(scene: &Scene, row: &Row, answer: &RawAnswer) -> Result<Option<Problem>, String> {
    if answer.status >= 500 {
        return Err(String::from("a failure of the registry's own"));
    }
    if answer.header("x-request-id").is_empty() {
        return Err(String::from("no X-Request-Id"));
    }
    let text = format!("{:?} {}", answer.headers, answer.body);
    if let Some(secret) = scene.secret_in(&text) {
        return Err(format!("the answer holds the secret {secret}"));
    }
    if answer.status < 400 {
        return Ok(None);
    }
    if row.is_head() {
        let empty = answer.body.is_empty();
        return empty.then_some(None).ok_or("a HEAD with a body".into());
    }
    let problem = problem(answer, row.is_api())?;
    if answer.status == 401 && !row.is_api() && answer.header("www-authenticate").is_empty() {
        return Err(String::from("401 without a challenge"));
    }
    Ok(Some(problem))
}

fn check_row(scene: &Scene, row: &Row, answer: &RawAnswer) -> Result<(), String> {
    if row.bare {
        let bare = answer.status == row.status && answer.body.is_empty();
        return bare.then_some(()).ok_or("not refused by HTTP".into());
    }
    let problem = check_any(scene, row, answer)?;
    if answer.status != row.status {
        return Err(format!("{} was wanted", row.status));
    }
    let challenge = answer.header("www-authenticate");
    if !challenge.contains(row.challenge) {
        return Err(format!("the challenge is {challenge}"));
    }
    let says = scene.fill(row.says);
    match problem {
        Some(problem) if problem.code != row.code => Err(format!("{} was wanted", row.code)),
        Some(problem) if !problem.message.contains(&says) => {
            Err(format!("the message was to hold: {says}"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The same request from nobody learns no more than that it is refused.
fn check_unsigned(scene: &Scene, row: &Row, answer: &RawAnswer) -> Result<(), String> {
    if row.bare {
        return Ok(());
    }
    check_any(scene, row, answer)?;
    let let_in = answer.status < 400 || answer.status == 403;
    if let_in {
        return Err(String::from("let in without a login"));
    }
    Ok(())
}

/// Sends a row and reads its one answer.
async fn exchange(scene: &Scene, row: &Row, fresh: &str) -> Result<RawAnswer, String> {
    let broken = |error: std::io::Error| error.to_string();
    let mut wire = Wire::open(&scene.host, scene.port).await.map_err(broken)?;
    // The registry may answer and hang up before it has seen everything.
    let _ = wire.send(&row.bytes(scene, fresh)).await;
    if row.cut_off {
        wire.shut().await;
    }
    let bytes = wire.rest().await.map_err(broken)?;
    let mut rest = bytes.as_slice();
    let answer = RawAnswer::take(&mut rest, row.is_head());
    let answer = answer.ok_or_else(|| format!("no answer: {}", String::from_utf8_lossy(&bytes)))?;
    if rest.is_empty() {
        Ok(answer)
    } else {
        Err(String::from("more than one answer to one request"))
    }
}

/// Sends a row, and again without its login: what is wrong with the answers.
async fn send(scene: &Scene, row: &Row) -> Vec<String> {
    let fresh = if row.is_for_fresh_upload() {
        scene.fresh_upload().await
    } else {
        String::new()
    };
    let mut wrong = Vec::new();
    let mut judge = |row: &Row, outcome: Result<RawAnswer, String>, check: Check| {
        let said = outcome.as_ref().map_or_else(Clone::clone, |answer| {
            format!("{} {}", answer.status, answer.body)
        });
        if let Err(problem) = outcome.and_then(|answer| check(scene, row, &answer)) {
            wrong.push(format!("{}\n    {problem}: {said:.500}", row.label()));
        }
    };
    judge(row, exchange(scene, row, &fresh).await, check_row);
    if row.sender == Sender::Good {
        let row = row.unsigned();
        judge(&row, exchange(scene, &row, &fresh).await, check_unsigned);
    }
    if !fresh.is_empty() {
        scene.cancel_upload(&fresh).await;
    }
    wrong
}

/// Sends every row of a theme, on one database, and says all that is wrong at once.
async fn drive_on(scene: Scene, rows: &[Row]) {
    let mut wrong = Vec::new();
    let before = scene.state().await;
    for rows in rows.chunks(ROWS_BETWEEN_LOOKS) {
        for row in rows {
            wrong.extend(send(&scene, row).await);
        }
        let after = scene.state().await;
        if after != before {
            let labels: Vec<String> = rows.iter().map(Row::label).collect();
            let labels = labels.join("\n    ");
            wrong.push(format!(
                "one of these left a trace:\n    {labels}\n{before}\n{after}"
            ));
            break;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    scene.works().await;
    scene.registry.running.stop().await;
}

/// Sends every row of a theme.
async fn drive(rows: &[Row]) {
    let scene = Scene::set(TestDatabase::one_server()).await;
    drive_on(scene, rows).await;
}

#[test]
fn the_table_is_as_long_as_it_was() {
    let themes = [
        names::rows(),
        tags::rows(),
        digests::rows(),
        ranges::rows(),
        manifests::rows(),
        media_types::rows(),
        sizes::rows(),
        tokens::rows(),
        headers::rows(),
        paths::rows(),
        management::rows(),
        images::rows(),
    ];
    let rows: usize = themes.iter().map(Vec::len).sum();
    assert!(rows >= LEAST_ROWS, "{rows}");
}

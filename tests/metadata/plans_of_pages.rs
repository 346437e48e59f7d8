//! What a page of a long list costs: as many statements as of a short one, and no more rows.

use std::collections::BTreeMap;

use berth::clock::Millis;
use berth::metadata::{ImageFilter, NamePage, Repository, TagPage};
use sqlx::AssertSqlSafe;

use crate::contracts;
use crate::fixture::{Fixture, Rows, START, WORKSPACE, tag};
use crate::plans::{plan, reads_everything, recorded};

contracts![
    a_page_of_many_tags_costs_what_one_of_few_does,
    a_page_of_many_images_costs_what_one_of_few_does,
];

const FEW: u32 = 100;
const MANY: u32 = 100_000;
const PAGE: u32 = 10;
/// Rows that one step of a page of ten may read: the rest is read in vain.
const MOST_ROWS: u64 = 100;

/// Numbers from one to another, in either dialect.
fn numbers(from: u32, to: u32) -> String {
    format!(
        "WITH RECURSIVE numbers(n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM numbers WHERE n < {to})"
    )
}

/// The parameters of a statement as it was run, in words.
type Parameters = fn(&str) -> Vec<String>;

/// Statements with how often each was run, and what was found of how.
type Cost = BTreeMap<String, (u32, Vec<String>)>;

/// What the database was asked, and how it went about it: a plan that SQLite keeps to whatever is in its tables, and
/// for PostgreSQL, which chooses by what it has seen there, nothing but that it read little.
async fn cost(fixture: &Fixture, parameters: Parameters, most: u64) -> Cost {
    let mut statements = recorded();
    // SQLite moves its log now and then.
    statements.retain(|statement, _| statement.starts_with("SELECT"));
    let mut rows = fixture.rows().await;
    let mut cost = Cost::new();
    for (statement, times) in statements {
        let steps = match &mut rows {
            Rows::Sqlite(_) => {
                let steps = plan(&mut rows, &statement).await.unwrap();
                assert!(!reads_everything(&rows, &steps), "{statement}: {steps:#?}");
                let sorted = steps.iter().any(|step| step.contains("FOR ORDER BY"));
                assert!(!sorted, "{statement}: {steps:#?}");
                steps
            }
            Rows::Postgres(connection) => {
                let filled = filled(&statement, &parameters(&statement));
                let explain = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {filled}");
                let explain = sqlx::query_scalar(AssertSqlSafe(explain));
                let steps: Vec<String> = explain.fetch_all(connection).await.unwrap();
                let read = most_rows(&steps);
                assert!(read <= most, "{read} rows: {steps:#?}");
                Vec::new()
            }
        };
        cost.insert(statement, (times, steps));
    }
    cost
}

/// A statement with its parameters in it.
fn filled(statement: &str, parameters: &[String]) -> String {
    let mut filled = statement.to_owned();
    for (index, parameter) in parameters.iter().enumerate().rev() {
        filled = filled.replace(&format!("${}", index + 1), parameter);
    }
    filled
}

/// The rows of the step that read the most, those included that it passed over.
fn most_rows(steps: &[String]) -> u64 {
    let number = |step: &str, before: &str| -> Option<f64> {
        let (_, rest) = step.split_once(before)?;
        let end = rest.find(|digit: char| !digit.is_ascii_digit() && digit != '.');
        rest[..end.unwrap_or(rest.len())].parse().ok()
    };
    let (mut most, mut loops) = (0.0_f64, 1.0);
    for step in steps {
        if let Some(rows) = number(step, "actual rows=") {
            loops = number(step, "loops=").unwrap_or(1.0);
            most = most.max(rows * loops);
        } else if let Some(removed) = number(step, "Rows Removed by Filter: ") {
            most = most.max(removed * loops);
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of rows"
    )]
    let most = most.ceil() as u64;
    most
}

/// Tags on manifests of their own, a thousand of one time each, so that the time alone does not find the place.
async fn add_tags(fixture: &Fixture, from: u32, to: u32) {
    let digest = if fixture.is_sqlite() {
        "'sha256:' || printf('%064x', n)"
    } else {
        "'sha256:' || lpad(to_hex(n), 64, '0')"
    };
    let numbers = numbers(from, to);
    for statement in [
        format!(
            "INSERT INTO manifest_contents (digest, bytes, created_at) {numbers} \
             SELECT {digest}, (SELECT bytes FROM manifest_contents LIMIT 1), 0 FROM numbers"
        ),
        format!(
            "INSERT INTO manifests (repository_id, digest, media_type, size_bytes, pushed_by, pushed_at) {numbers} \
             SELECT repositories.id, {digest}, 'a/b', 1, 'key:one', 0 FROM numbers, repositories"
        ),
        format!(
            "INSERT INTO tags (repository_id, name, digest, created_at, updated_by, updated_at) {numbers} \
             SELECT repositories.id, 'v' || n, {digest}, n / 1000, 'key:one', n / 1000 FROM numbers, repositories"
        ),
        format!(
            "INSERT INTO pulls (repository_id, tag, last_pulled_at) {numbers} \
             SELECT repositories.id, 'v' || n, 0 FROM numbers, repositories"
        ),
    ] {
        fixture.execute(&statement).await.unwrap();
    }
    if !fixture.is_sqlite() {
        fixture.execute("ANALYZE").await.unwrap();
    }
}

async fn tag_pages(fixture: &Fixture, repository: &Repository) {
    let after = |name: &str| TagPage::Newest(Some((Millis(0), name.to_owned())));
    for (page, expected) in [
        (TagPage::Newest(None), PAGE),
        (after("v50"), PAGE),
        (TagPage::ByName(String::new()), PAGE),
        (TagPage::ByName(String::from("v50")), PAGE),
        (TagPage::Only(tag("v50")), 1),
    ] {
        let rows = fixture
            .metadata
            .tag_rows(repository.id, &page, None, START, PAGE);
        assert_eq!(rows.await.unwrap().len(), expected as usize, "{page:?}");
    }
    let name = tag("v50");
    let history = fixture
        .metadata
        .tag_history(repository.id, &name, None, PAGE);
    history.await.unwrap();
}

fn tag_parameters(statement: &str) -> Vec<String> {
    let repository = "(SELECT id FROM repositories)";
    let words = if statement.contains("FROM tag_history") {
        vec![repository, "'v50'", "9999", "10"]
    } else if statement.contains("tags.name = $4") {
        vec![repository, "0", "NULL", "'v50'"]
    } else if statement.contains("tags.name > $4") {
        vec![repository, "0", "NULL", "'v50'", "10"]
    } else {
        vec![repository, "0", "NULL", "0", "'v50'", "10"]
    };
    words.into_iter().map(str::to_owned).collect()
}

async fn a_page_of_many_tags_costs_what_one_of_few_does(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    fixture.manifest(repository.id, "one", &[]).await;
    let mut costs = Vec::new();
    for (from, to, most) in [(1, FEW, u64::MAX), (FEW + 1, MANY, MOST_ROWS)] {
        add_tags(&fixture, from, to).await;
        recorded();
        tag_pages(&fixture, &repository).await;
        costs.push(cost(&fixture, tag_parameters, most).await);
    }
    assert_eq!(costs[0], costs[1]);
    let statements: u32 = costs[1].values().map(|(times, _)| times).sum();
    assert_eq!(statements, 6);
}

async fn add_images(fixture: &Fixture, from: u32, to: u32) {
    let numbers = numbers(from, to);
    for statement in [
        format!(
            "INSERT INTO repositories (workspace_id, name, created_at, image_at) {numbers} \
             SELECT '{WORKSPACE}', 't-1111/app-' || n, 0, 0 FROM numbers"
        ),
        String::from(
            "INSERT INTO names (name, repository_id) SELECT name, id FROM repositories \
             WHERE id NOT IN (SELECT repository_id FROM names)",
        ),
        String::from(
            "INSERT INTO image_counts (repository_id, tags, size_bytes, counted_at) SELECT id, 1, 1, 0 \
             FROM repositories WHERE id NOT IN (SELECT repository_id FROM image_counts)",
        ),
        String::from(
            "INSERT INTO pulls (repository_id, tag, last_pulled_at) SELECT id, '', 0 \
             FROM repositories WHERE id NOT IN (SELECT repository_id FROM pulls)",
        ),
    ] {
        fixture.execute(&statement).await.unwrap();
    }
    if !fixture.is_sqlite() {
        fixture.execute("ANALYZE").await.unwrap();
    }
}

async fn image_pages(fixture: &Fixture) {
    let page = NamePage {
        start: "t-1111/app-",
        last: "t-1111/app-50",
        limit: PAGE,
    };
    for filter in [ImageFilter::Every, ImageFilter::NotShared] {
        let metadata = &fixture.metadata;
        let names = metadata.names_of(WORKSPACE, filter, &page, START);
        let names = names.await.unwrap();
        assert_eq!(names.len(), PAGE as usize);
        let rows = metadata.image_rows(&names, WORKSPACE, START);
        assert_eq!(rows.await.unwrap().len(), PAGE as usize);
    }
}

fn image_parameters(statement: &str) -> Vec<String> {
    let words = if statement.contains("LIMIT $4") {
        vec![
            "'t-1111/app-50'",
            "'t-1111/app-'",
            "'t-1111/app.'",
            "10",
            "0",
        ]
    } else {
        vec![
            "'[\"t-1111/app-1\",\"t-1111/app-2\"]'",
            "'workspace-one'",
            "0",
        ]
    };
    words.into_iter().map(str::to_owned).collect()
}

async fn a_page_of_many_images_costs_what_one_of_few_does(fixture: Fixture) {
    let mut costs = Vec::new();
    for (from, to, most) in [(1, FEW, u64::MAX), (FEW + 1, MANY / 4, MOST_ROWS)] {
        add_images(&fixture, from, to).await;
        recorded();
        image_pages(&fixture).await;
        costs.push(cost(&fixture, image_parameters, most).await);
    }
    assert_eq!(costs[0], costs[1]);
    let statements: u32 = costs[1].values().map(|(times, _)| times).sum();
    assert_eq!(statements, 4);
}

//! Lists that come in many pages: printed as they come, for people and for programs.

use serde_json::{Value, json};

use super::super::output::{Column, Format};
use super::*;

const COLUMNS: [Column; 2] = [("Name", "name"), ("Size", "sizeBytes")];

/// A page of `count` entries whose names begin with `name`.
fn page(name: &str, count: usize) -> anyhow::Result<Vec<Value>> {
    let entry = |number| json!({ "name": format!("{name}{number}"), "sizeBytes": 1024 });
    Ok((0..count).map(entry).collect())
}

/// What a list of these pages prints, as results and as notes.
fn printed(
    format: Format,
    watched: bool,
    pages: Vec<anyhow::Result<Vec<Value>>>,
) -> (String, String, anyhow::Result<()>) {
    let (mut results, mut notes) = (Vec::new(), Vec::new());
    let mut output = Output::new(&mut results, &mut notes).watched(watched);
    let result = output.pages(format, &COLUMNS, pages, "things");
    if result.is_err() {
        output.note("broken").unwrap();
    }
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(results), text(notes), result)
}

#[test]
fn columns_keep_their_widths_once_many_rows_are_there() {
    let pages = vec![page("a", 1000), page("a-longer-name-", 1), page("b", 1)];
    let (results, notes, result) = printed(Format::Table, false, pages);
    result.unwrap();
    let lines: Vec<&str> = results.lines().collect();
    assert_eq!(lines.len(), 1 + 1002);
    assert_eq!(lines[0], "NAME  SIZE");
    assert_eq!(lines[1], "a0    1.0 KiB");
    assert_eq!(lines[1001], "a-longer-name-0  1.0 KiB");
    assert_eq!(lines[1002], "b0    1.0 KiB");
    assert_eq!(notes, "");
}

#[test]
fn rows_are_printed_before_the_last_page_is_asked_for() {
    let (mut results, mut notes) = (Vec::new(), Vec::new());
    let asked = std::cell::Cell::new(0);
    let mut output = Output::new(&mut results, &mut notes);
    let pages = [page("a", 1000), page("b", 1000), Err(anyhow::anyhow!("x"))];
    let pages = pages.into_iter().inspect(|_| asked.set(asked.get() + 1));
    let failed = output.pages(Format::Table, &COLUMNS, pages, "things");
    assert_eq!((failed.is_err(), asked.get()), (true, 3));
    let results = String::from_utf8(results).unwrap();
    assert_eq!(results.lines().count(), 1 + 2000);
}

#[test]
fn an_array_of_many_pages_is_one_array() {
    let pages = vec![page("a", 2), page("b", 0), page("c", 1)];
    let (results, notes, result) = printed(Format::Json, false, pages);
    result.unwrap();
    let expected: Vec<Value> = [page("a", 2), page("c", 1)]
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    // The very text that printing it in one piece gives.
    let expected = serde_json::to_string_pretty(&expected).unwrap();
    assert_eq!(results, format!("{expected}\n"));
    assert_eq!(notes, "");
}

#[test]
fn progress_shows_from_the_second_page_on_and_goes_away() {
    let pages = || vec![page("a", 2), page("b", 1)];
    let (_, notes, _) = printed(Format::Json, true, pages());
    assert_eq!(notes, "\r3 things so far\u{1b}[K\r\u{1b}[K");
    let (_, notes, _) = printed(Format::Json, true, vec![page("a", 2)]);
    assert_eq!(notes, "");
    let mut broken = pages();
    broken.push(Err(anyhow::anyhow!("x")));
    let (_, notes, _) = printed(Format::Json, true, broken);
    assert_eq!(notes, "\r3 things so far\u{1b}[K\r\u{1b}[Kbroken\n");
}

#[test]
fn a_long_array_is_cut_in_a_list() {
    let tags: Vec<String> = (0..9).map(|number| format!("v{number}")).collect();
    let deletion = json!({ "id": "d1", "image": "app", "tags": tags });
    let items = format!("{{\"items\":[{deletion}],\"nextCursor\":null}}");
    let stub = Stub::start([ok(&items)]);
    let output = Person::with_key(&stub.url)
        .run(&["deletions", "ls"])
        .succeeded();
    assert!(output.contains("v0,v1,v2,v3,v4,v5,+3"), "{output}");
}

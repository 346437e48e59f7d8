//! `berth check`: whether the storage has what the database says, and nothing else.

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::connection::Connection;
use super::output::{Column, Format, shown_in_list};
use super::units;

const COLUMNS: [Column; 7] = [
    ("Problem", "problem"),
    ("Digest", "digest"),
    ("Object", "object"),
    ("Expected", "expectedBytes"),
    ("Found", "foundBytes"),
    ("Repaired", "repaired"),
    ("Repositories", "repositories"),
];
/// The widths of the columns: findings are shown as they come, before the widest of them is known.
const WIDTHS: [usize; 7] = [13, 12, 36, 10, 10, 8, 0];

/// Compare the storage with the database (operators)
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth check                    Are all blobs there, and of the right size?
  berth check --hash             Read every byte too, and compare the digests
  berth check --hash --repair    Put right what can be

The server goes on meanwhile. A repair sets damaged blobs aside: nobody can pull
them, and the next push of the same image brings their bytes anew. Objects that
nothing knows are deleted. The exit code is 1 if something is wrong and was not
put right.")]
pub(super) struct Check {
    /// Read and hash every object
    #[arg(long)]
    hash: bool,
    /// Set damaged blobs aside and delete what nothing knows
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    examined: u64,
    hashed_bytes: u64,
    findings: Vec<Value>,
}

impl Check {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let format = self.connection.format;
        let client = self.connection.client(context)?;
        let mut seen = Seen::default();
        let mut cursor = Value::Null;
        loop {
            let request = json!({"cursor": cursor, "hash": self.hash, "repair": self.repair});
            let mut slice = client.post(&["checks"], &request)?;
            seen.examined += slice["examined"].as_u64().unwrap_or_default();
            seen.hashed_bytes += slice["hashedBytes"].as_u64().unwrap_or_default();
            if let Value::Array(findings) = slice["findings"].take() {
                if format == Format::Table {
                    show(context, &findings, seen.findings.is_empty())?;
                }
                seen.findings.extend(findings);
            }
            cursor = slice["nextCursor"].take();
            if cursor.is_null() {
                break;
            }
            context.output.progress(&seen.so_far())?;
        }
        context.output.end_progress()?;
        let wrong = seen
            .findings
            .iter()
            .filter(|finding| is_wrong(finding))
            .count();
        let answer = json!({
            "examined": seen.examined, "hashedBytes": seen.hashed_bytes, "findings": seen.findings,
        });
        let summary = format!("{}: {}", seen.so_far(), seen.verdict(wrong));
        context.output.outcome(format, &answer, &[summary])?;
        anyhow::ensure!(
            wrong == 0,
            "{wrong} of the findings {} still wrong{}",
            if wrong == 1 { "is" } else { "are" },
            self.advice(),
        );
        Ok(())
    }

    fn advice(&self) -> &'static str {
        if self.repair {
            "; push the images of the damaged blobs again"
        } else {
            "; see `berth check --help` on --repair"
        }
    }
}

impl Seen {
    fn so_far(&self) -> String {
        let mut text = format!("{} objects", self.examined);
        if self.hashed_bytes > 0 {
            text.push_str(&format!(", {} hashed", units::size(self.hashed_bytes)));
        }
        text
    }

    fn verdict(&self, wrong: usize) -> String {
        match (self.findings.len(), wrong) {
            (0, _) => String::from("all is well"),
            (found, 0) => format!("{found} found, all put right"),
            (found, wrong) => format!("{found} found, {wrong} still wrong"),
        }
    }
}

/// Whether a finding is still to be dealt with: the bytes of a blob that was set aside are still lost.
fn is_wrong(finding: &Value) -> bool {
    let is_repaired = finding["repaired"] == true;
    match finding["problem"].as_str() {
        Some("recovered" | "unknown" | "unneeded") => !is_repaired,
        _ => true,
    }
}

fn show(context: &mut Context<'_>, findings: &[Value], is_first: bool) -> anyhow::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    context.output.end_progress()?;
    let titles = COLUMNS
        .iter()
        .map(|(title, _)| (*title).to_owned())
        .collect();
    let rows = findings.iter().map(|finding| {
        let cells = COLUMNS
            .iter()
            .map(|(_, field)| shown_in_list(field, &finding[*field]));
        cells.collect()
    });
    let head: Vec<Vec<String>> = is_first.then_some(titles).into_iter().collect();
    context.output.aligned(&WIDTHS, &head)?;
    context.output.aligned(&WIDTHS, &rows.collect::<Vec<_>>())?;
    Ok(())
}

//! The access matrix as people read it: a line for each route and target, a column for each kind of caller.

use std::fmt::Write as _;

use crate::support::distribution::Reply;

use super::cast::Caller;
use super::rows::Row;

/// One cell: who sent what to what, and what came back.
pub(crate) struct Cell {
    pub(crate) row: &'static Row,
    pub(crate) target: &'static str,
    pub(crate) caller: Caller,
    pub(crate) reply: Reply,
}

impl Cell {
    pub(crate) fn says(&self) -> String {
        format!(
            "{} {} ({}) as {} ({}): {} {}",
            self.row.method,
            self.row.path,
            self.target,
            self.caller.group,
            self.caller.way,
            self.reply.status,
            self.reply.text()
        )
    }
}

/// The cells of one door under a heading. Where all ways of a caller get one status, it stands once.
pub(crate) fn table(heading: &str, cells: &[Cell]) -> String {
    let mut columns: Vec<&str> = Vec::new();
    let mut lines: Vec<(String, Vec<Vec<u16>>)> = Vec::new();
    for cell in cells {
        let group = cell.caller.group;
        let column = columns.iter().position(|column| *column == group);
        let column = column.unwrap_or_else(|| {
            columns.push(group);
            columns.len() - 1
        });
        let name = format!("{:<9} {} {}", cell.target, cell.row.method, cell.row.path);
        if lines.last().is_none_or(|(last, _)| *last != name) {
            lines.push((name, Vec::new()));
        }
        let Some((_, statuses)) = lines.last_mut() else {
            unreachable!("a line was pushed just now")
        };
        if statuses.len() <= column {
            statuses.resize(column + 1, Vec::new());
        }
        statuses[column].push(cell.reply.status);
    }
    let texts: Vec<(String, Vec<String>)> = lines
        .into_iter()
        .map(|(name, statuses)| (name, statuses.iter().map(|ways| together(ways)).collect()))
        .collect();
    let mut out = format!("{heading}\n\n");
    let first = texts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = texts
            .iter()
            .map(|(_, cells)| cells.get(column).map_or(0, String::len));
        cells.max().unwrap_or(0).max(columns[column].len())
    };
    let mut write = |name: &str, cells: &[&str]| {
        let mut line = format!("{name:<first$}");
        for (column, cell) in cells.iter().enumerate() {
            let _ = write!(line, "  {cell:<width$}", width = width(column));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    };
    write("", &columns);
    for (name, cells) in &texts {
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        write(name, &cells);
    }
    out
}

fn together(ways: &[u16]) -> String {
    match ways {
        [first, rest @ ..] if rest.iter().all(|way| way == first) => first.to_string(),
        _ => {
            let ways: Vec<String> = ways.iter().map(u16::to_string).collect();
            ways.join("/")
        }
    }
}

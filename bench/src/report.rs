//! Figures as a table for people, which is Markdown, and as JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::sample::{Sample, Unit};

/// A client that was at work for more of the time than this may have been the limit.
const BUSY: f64 = 0.95;

/// All measurements of one server in one row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    /// The median of the samples, in the unit of the row.
    pub(crate) median: f64,
    pub(crate) samples: Vec<f64>,
    /// The part of the time in which the client was at work, where that means something.
    #[serde(rename = "clientLoad")]
    pub(crate) client_load: Option<f64>,
}

impl Cell {
    pub(crate) fn of(samples: &[Sample]) -> Self {
        let rates: Vec<f64> = samples.iter().map(|sample| sample.rate).collect();
        let loads: Vec<f64> = samples.iter().map(|sample| sample.client_load).collect();
        Self {
            median: median(&rates),
            samples: rates,
            client_load: Some(median(&loads)),
        }
    }

    /// Figures of clients that are processes of their own.
    pub(crate) fn of_rates(rates: Vec<f64>) -> Self {
        Self {
            median: median(&rates),
            samples: rates,
            client_load: None,
        }
    }

    /// A figure that is read and not sampled.
    pub(crate) fn single(value: f64) -> Self {
        Self::of_rates(vec![value])
    }

    fn client_was_busy(&self) -> bool {
        self.client_load.is_some_and(|load| load > BUSY)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => f64::NAN,
        (1, Some(value)) => *value,
        (_, Some(value)) => f64::midpoint(sorted[middle - 1], *value),
    }
}

/// One kind of work, and what each server made of it; `None` where it does not do such work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) cells: Vec<Option<Cell>>,
}

impl Line {
    /// How far the first server is ahead of another one: more is better, but for memory.
    fn lead(&self, other: usize) -> Option<f64> {
        let first = self.cells.first()?.as_ref()?.median;
        let other = self.cells.get(other)?.as_ref()?.median;
        Some(match self.unit {
            Unit::Requests | Unit::Throughput | Unit::Images => first / other,
            Unit::Size => other / first,
        })
    }
}

/// All figures of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The servers, in the order of the cells.
    pub(crate) servers: Vec<String>,
    pub(crate) lines: Vec<Line>,
    /// How it was measured.
    pub(crate) method: String,
    /// What it was measured on.
    pub(crate) machine: String,
}

impl Report {
    /// A table in Markdown, aligned for reading as it is.
    pub(crate) fn table(&self) -> String {
        let mut head = vec![String::from("work"), String::from("unit")];
        for (index, server) in self.servers.iter().enumerate() {
            head.push(server.clone());
            if index > 0 {
                head.push(String::from("lead"));
            }
        }
        let mut rows = vec![head];
        let mut busy = false;
        for line in &self.lines {
            let mut row = vec![line.title.to_owned(), line.unit.as_str().to_owned()];
            for (index, cell) in line.cells.iter().enumerate() {
                row.push(match cell {
                    None => String::from("–"),
                    Some(cell) => {
                        busy |= cell.client_was_busy();
                        let mark = if cell.client_was_busy() { "*" } else { "" };
                        format!("{}{mark}", figure(cell.median))
                    }
                });
                if index > 0 {
                    let lead = line.lead(index);
                    row.push(lead.map_or_else(|| String::from("–"), |lead| format!("×{lead:.2}")));
                }
            }
            rows.push(row);
        }
        let mut text = aligned(&rows);
        if busy {
            text.push_str("\n`*` the client was the limit: the server could do more\n");
        }
        let _ = write!(text, "\n{}; {}\n", self.machine, self.method);
        text
    }
}

/// Three digits that mean something, and groups of thousands.
fn figure(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column < 2 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                let end = if column < 2 { '-' } else { ':' };
                let _ = write!(text, "|{dashes}{end}");
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(title: &'static str, unit: Unit, cells: [Option<f64>; 2]) -> Line {
        Line {
            title,
            unit,
            cells: cells.map(|cell| cell.map(Cell::single)).to_vec(),
        }
    }

    #[test]
    fn the_table_says_who_is_ahead() {
        let report = Report {
            servers: vec![String::from("one"), String::from("other")],
            lines: vec![
                line("reads", Unit::Requests, [Some(54_321.0), Some(10_000.0)]),
                line("pushes", Unit::Throughput, [Some(99.94), None]),
                line("peak memory", Unit::Size, [Some(50.0), Some(100.0)]),
            ],
            method: String::from("in some way"),
            machine: String::from("a machine"),
        };
        let expected = "\
| work        | unit  |    one |  other |  lead |
|-------------|-------|-------:|-------:|------:|
| reads       | req/s | 54,321 | 10,000 | ×5.43 |
| pushes      | MiB/s |   99.9 |      – |     – |
| peak memory | MiB   |   50.0 |    100 | ×2.00 |

a machine; in some way
";
        assert_eq!(report.table(), expected);
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }
}

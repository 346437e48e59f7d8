//! What commands print: tables to people, JSON to programs, notes to standard error.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::Value;

/// How results are printed: aligned columns for people, or what the server answered for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

/// A column of a table or a line of a record: its title, and the field of the JSON object it shows.
pub(super) type Column = (&'static str, &'static str);

/// The two streams of a command.
pub(super) struct Output<'a> {
    results: &'a mut dyn Write,
    notes: &'a mut dyn Write,
}

impl<'a> Output<'a> {
    /// Prints results to one stream and notes to another.
    pub(super) fn new(results: &'a mut dyn Write, notes: &'a mut dyn Write) -> Self {
        Self { results, notes }
    }

    /// A line of the result.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.results, "{text}")?;
        self.results.flush()
    }

    /// A line beside the result.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.notes, "{text}")?;
        self.notes.flush()
    }

    /// A question, after which the cursor stays.
    pub(super) fn ask(&mut self, text: &str) -> io::Result<()> {
        write!(self.notes, "{text}")?;
        self.notes.flush()
    }

    /// One object: a line for each column, or all of it as JSON.
    pub(super) fn record(
        &mut self,
        format: Format,
        columns: &[Column],
        object: &Value,
    ) -> io::Result<()> {
        match format {
            Format::Json => self.json(object),
            Format::Table => {
                let rows = columns
                    .iter()
                    .filter(|(_, field)| object.get(field).is_some())
                    .map(|(title, field)| vec![(*title).to_owned(), cell(&object[*field])])
                    .collect::<Vec<_>>();
                self.aligned(&rows)
            }
        }
    }

    /// Many objects: a line for each under a line of titles, or all of them as JSON. `noun` says what there are none
    /// of.
    pub(super) fn list(
        &mut self,
        format: Format,
        columns: &[Column],
        objects: Vec<Value>,
        noun: &str,
    ) -> io::Result<()> {
        match format {
            Format::Json => self.json(&Value::Array(objects)),
            Format::Table if objects.is_empty() => self.note(&format!("No {noun}.")),
            Format::Table => {
                let titles = columns
                    .iter()
                    .map(|(title, _)| title.to_uppercase())
                    .collect();
                let mut rows = vec![titles];
                for object in &objects {
                    rows.push(
                        columns
                            .iter()
                            .map(|(_, field)| cell(&object[*field]))
                            .collect(),
                    );
                }
                self.aligned(&rows)
            }
        }
    }

    /// A sentence on what was done; programs get an exit code instead.
    pub(super) fn done(&mut self, format: Format, text: &str) -> io::Result<()> {
        match format {
            Format::Json => Ok(()),
            Format::Table => self.line(&plain(text)),
        }
    }

    fn json(&mut self, value: &Value) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(&text)
    }

    fn aligned(&mut self, rows: &[Vec<String>]) -> io::Result<()> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                rows.iter()
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for row in rows {
            let line: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            self.line(line.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A value as people read it; `-` for none.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::from("-"),
        Value::Bool(true) => String::from("yes"),
        Value::Bool(false) => String::from("no"),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => String::from("-"),
        Value::String(text) => plain(text),
        Value::Array(items) if items.is_empty() => String::from("-"),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(_) => value.to_string(),
    }
}

/// `text` on one line and without the control characters that could steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

/// A secret as a table shows it: its first three and its last three characters, if it is long enough to keep the rest.
pub(super) fn masked(secret: &str) -> String {
    let characters: Vec<char> = secret.chars().collect();
    if characters.len() < 16 {
        return String::from("********");
    }
    let first: String = characters[..3].iter().collect();
    let last: String = characters[characters.len() - 3..].iter().collect();
    format!("{first}********{last}")
}

//! What commands print: tables to people, JSON to programs, notes to standard error.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::Value;

use super::units;

/// Hexadecimal digits of a digest in a list.
const SHORT_DIGEST_CHARS: usize = 12;

/// Entries of an array in a list.
const ARRAY_SHOWN: usize = 6;

/// The size of a terminal that does not tell its own.
const DEFAULT_COLUMNS: usize = 80;
const DEFAULT_ROWS: usize = 24;

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
    watched: bool,
    in_progress: bool,
    screen: Option<Screen>,
    block_lines: usize,
}

/// How much a terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Screen {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Screen {
    /// The terminal that standard error is, if it is one.
    pub(super) fn of_stderr() -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
        let or = |size: u16, default: usize| match usize::from(size) {
            0 => default,
            size => size,
        };
        Some(Self {
            columns: or(size.ws_col, DEFAULT_COLUMNS),
            rows: or(size.ws_row, DEFAULT_ROWS),
        })
    }
}

impl<'a> Output<'a> {
    /// Prints results to one stream and notes to another.
    pub(super) fn new(results: &'a mut dyn Write, notes: &'a mut dyn Write) -> Self {
        Self {
            results,
            notes,
            watched: false,
            in_progress: false,
            screen: None,
            block_lines: 0,
        }
    }

    /// The same; `watched` says that the notes are on a terminal and the results are not, so that progress shows there.
    pub(super) fn watched(self, watched: bool) -> Self {
        Self { watched, ..self }
    }

    /// The same; `screen` is the terminal that the notes are shown on.
    pub(super) fn on_screen(self, screen: Option<Screen>) -> Self {
        Self { screen, ..self }
    }

    /// The terminal that the notes are shown on, if it is one.
    pub(super) fn screen(&self) -> Option<Screen> {
        self.screen
    }

    /// A line of the result.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.results, "{text}")?;
        self.results.flush()
    }

    /// A line beside the result.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        self.end_progress()?;
        writeln!(self.notes, "{text}")?;
        self.notes.flush()
    }

    /// A question, after which the cursor stays.
    pub(super) fn ask(&mut self, text: &str) -> io::Result<()> {
        self.end_progress()?;
        write!(self.notes, "{text}")?;
        self.notes.flush()
    }

    /// How far long work is, in place of what was said of it before. Nothing where nobody watches.
    pub(super) fn progress(&mut self, text: &str) -> io::Result<()> {
        if !self.watched {
            return Ok(());
        }
        self.in_progress = true;
        write!(self.notes, "\r{text}\x1b[K")?;
        self.notes.flush()
    }

    /// Takes the line of progress away.
    pub(super) fn end_progress(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.in_progress) {
            return Ok(());
        }
        write!(self.notes, "\r\x1b[K")?;
        self.notes.flush()
    }

    /// Lines beside the result, in place of those of the block before. What comes next comes below them.
    ///
    /// Only for a screen, and for no more lines than it has below its first.
    pub(super) fn block(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = String::new();
        if self.block_lines > 0 {
            text.push_str(&format!("\x1b[{}A", self.block_lines));
        }
        for line in lines {
            text.push_str(&format!("\r{line}\x1b[K\n"));
        }
        text.push_str("\x1b[J");
        self.block_lines = lines.len();
        self.notes.write_all(text.as_bytes())?;
        self.notes.flush()
    }

    /// Leaves the block as it is: the next one begins below it.
    pub(super) fn end_block(&mut self) {
        self.block_lines = 0;
    }

    /// A part of the result that may end in the middle of a line.
    pub(super) fn part(&mut self, text: &str) -> io::Result<()> {
        write!(self.results, "{text}")
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
                    .map(|(title, field)| vec![(*title).to_owned(), shown(field, &object[*field])])
                    .collect::<Vec<_>>();
                self.aligned(&widths(&rows), &rows)
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

    /// What was done: sentences to people, what the server answered to programs.
    pub(super) fn outcome(
        &mut self,
        format: Format,
        answer: &Value,
        sentences: &[String],
    ) -> io::Result<()> {
        match format {
            Format::Json if answer.is_null() => Ok(()),
            Format::Json => self.json(answer),
            Format::Table => sentences
                .iter()
                .try_for_each(|sentence| self.line(&plain(sentence))),
        }
    }

    fn json(&mut self, value: &Value) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(&text)
    }

    /// Lines of cells, each as wide as its column.
    pub(super) fn aligned(&mut self, widths: &[usize], rows: &[Vec<String>]) -> io::Result<()> {
        for row in rows {
            let line: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            self.line(line.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// The widths that the columns of some rows need.
pub(super) fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect()
}

/// A field as people read it. The API's names say what they hold: a size ends with `bytes`, a time with `at` or
/// `until`.
pub(super) fn shown(field: &str, value: &Value) -> String {
    let named = |last: &str| {
        let capital = format!("{}{}", last[..1].to_uppercase(), &last[1..]);
        field == last || field.ends_with(&capital)
    };
    match value {
        Value::Number(number) if named("bytes") => number
            .as_u64()
            .map_or_else(|| number.to_string(), units::size),
        Value::String(time) if named("at") || named("until") => plain(&short_time(time)),
        _ => cell(value),
    }
}

/// The same where there is one line for many fields.
pub(super) fn shown_in_list(field: &str, value: &Value) -> String {
    match value {
        Value::String(digest) if field == "digest" => plain(short_digest(digest)),
        Value::Array(items) if items.len() > ARRAY_SHOWN => {
            let first = items[..ARRAY_SHOWN].iter().map(cell);
            let first: Vec<String> = first.collect();
            format!("{},+{}", first.join(","), items.len() - ARRAY_SHOWN)
        }
        _ => shown(field, value),
    }
}

/// The first digits of a digest, enough to tell it from others.
pub(super) fn short_digest(digest: &str) -> &str {
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    digits.get(..SHORT_DIGEST_CHARS).unwrap_or(digits)
}

/// A time of the API to the second.
pub(super) fn short_time(time: &str) -> String {
    match time.strip_suffix('Z').and_then(|time| time.split_once('.')) {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
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

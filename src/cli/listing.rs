//! Lists, printed as they come in page by page: aligned rows to people, one array to programs.

use std::io;

use serde_json::Value;

use super::output::{Column, Format, Output, shown_in_list, widths};

/// Rows that are read before the widths of the columns are settled.
const ROWS_BEFORE_WIDTHS: usize = 1000;

impl Output<'_> {
    /// Objects that are at hand: a line for each under a line of titles, or all of them as JSON. `noun` says what there
    /// are none of.
    pub(super) fn list(
        &mut self,
        format: Format,
        columns: &[Column],
        objects: Vec<Value>,
        noun: &str,
    ) -> anyhow::Result<()> {
        let page = Ok::<_, io::Error>(objects);
        self.pages(format, columns, [page], noun)
    }

    /// The same of objects that are still to come.
    pub(super) fn pages<E>(
        &mut self,
        format: Format,
        columns: &[Column],
        pages: impl IntoIterator<Item = Result<Vec<Value>, E>>,
        noun: &str,
    ) -> anyhow::Result<()>
    where
        anyhow::Error: From<E>,
    {
        let mut printer = match format {
            Format::Json => Printer::Array,
            Format::Table => Printer::Table(Table::new(columns)),
        };
        let mut count = 0;
        for (number, page) in pages.into_iter().enumerate() {
            let page = page?;
            printer.print(self, count, &page)?;
            count += page.len();
            if number > 0 {
                self.progress(&format!("{count} {noun} so far"))?;
            }
        }
        self.end_progress()?;
        printer.end(self, count, noun)?;
        Ok(())
    }
}

/// Where the rows of one list go.
enum Printer<'a> {
    Array,
    Table(Table<'a>),
}

impl Printer<'_> {
    /// Prints what comes after the first `before` objects.
    fn print(
        &mut self,
        output: &mut Output<'_>,
        before: usize,
        objects: &[Value],
    ) -> io::Result<()> {
        match self {
            Self::Array => {
                for (place, object) in objects.iter().enumerate() {
                    let start = if before + place == 0 { "[\n" } else { ",\n" };
                    let text = serde_json::to_string_pretty(object)?;
                    // No text in JSON has a line break in it.
                    output.part(&format!("{start}  {}", text.replace('\n', "\n  ")))?;
                }
                Ok(())
            }
            Self::Table(table) => table.print(output, objects),
        }
    }

    fn end(self, output: &mut Output<'_>, count: usize, noun: &str) -> io::Result<()> {
        match self {
            Self::Array if count == 0 => output.line("[]"),
            Self::Array => output.line("\n]"),
            Self::Table(_) if count == 0 => output.note(&format!("No {noun}.")),
            Self::Table(mut table) => table.flush(output),
        }
    }
}

/// Rows that wait until there are enough of them to see how wide the columns are.
struct Table<'a> {
    columns: &'a [Column],
    widths: Option<Vec<usize>>,
    waiting: Vec<Vec<String>>,
}

impl<'a> Table<'a> {
    fn new(columns: &'a [Column]) -> Self {
        let titles = columns.iter().map(|(title, _)| title.to_uppercase());
        Self {
            columns,
            widths: None,
            waiting: vec![titles.collect()],
        }
    }

    fn print(&mut self, output: &mut Output<'_>, objects: &[Value]) -> io::Result<()> {
        for object in objects {
            let cells = self.columns.iter();
            let cells = cells.map(|(_, field)| shown_in_list(field, &object[*field]));
            self.waiting.push(cells.collect());
        }
        if self.widths.is_some() || self.waiting.len() > ROWS_BEFORE_WIDTHS {
            self.flush(output)?;
        }
        Ok(())
    }

    fn flush(&mut self, output: &mut Output<'_>) -> io::Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        let widths = self.widths.get_or_insert_with(|| widths(&rows));
        output.aligned(widths, &rows)
    }
}

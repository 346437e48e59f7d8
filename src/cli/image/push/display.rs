//! How a push comes along, layer by layer: redrawn in place on a terminal, a line for each step elsewhere.

use std::io;

use super::super::super::output::{Output, plain};
use super::super::super::units;

/// Layers that are kept apart; a manifest has room for fewer.
const PARTS_LIMIT: usize = 1000;

/// The widest a bar becomes, in characters.
const BAR_COLUMNS: usize = 50;

/// The room for everything beside the bar, in characters.
const WORDS_COLUMNS: usize = 48;

/// The bytes of a layer that are sent, and how many there are: 0 if that is not known.
type Progress = Option<(u64, u64)>;

/// All layers, and what was said of each last.
#[derive(Default)]
pub(super) struct Display {
    parts: Vec<Part>,
    changed: bool,
}

/// One layer.
struct Part {
    id: String,
    status: String,
    progress: Progress,
}

impl Display {
    /// Notes how far a layer is. Where nothing is redrawn, a new step is a line.
    pub(super) fn update(
        &mut self,
        id: &str,
        status: &str,
        progress: Progress,
        output: &mut Output<'_>,
    ) -> io::Result<()> {
        self.changed = true;
        let known = self.parts.iter().position(|part| part.id == id);
        let new_step = match known {
            Some(index) => {
                let part = &mut self.parts[index];
                let new_step = part.status != status;
                status.clone_into(&mut part.status);
                part.progress = progress;
                new_step
            }
            None if self.parts.len() < PARTS_LIMIT => {
                self.parts.push(Part {
                    id: id.to_owned(),
                    status: status.to_owned(),
                    progress,
                });
                true
            }
            None => false,
        };
        if new_step && output.screen().is_none() {
            output.note(&plain(&format!("{id}: {status}")))?;
        }
        Ok(())
    }

    /// Draws what has changed since it was drawn last.
    pub(super) fn draw(&mut self, output: &mut Output<'_>) -> io::Result<()> {
        let Some(screen) = output.screen() else {
            return Ok(());
        };
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        // One line stays free for the cursor.
        let room = screen.rows.saturating_sub(1).max(1);
        let lines: Vec<String> = self
            .shown(room)
            .map(|part| part.line(screen.columns.saturating_sub(1)))
            .collect();
        output.block(&lines)
    }

    /// Draws the last of it and leaves it standing.
    pub(super) fn end(&mut self, output: &mut Output<'_>) -> io::Result<()> {
        self.draw(output)?;
        output.end_block();
        Ok(())
    }

    /// The layers there is room for: where not all have it, those that still move come first.
    fn shown(&self, room: usize) -> impl Iterator<Item = &Part> {
        let crowded = self.parts.len() > room;
        let moving = self.parts.iter().filter(|part| part.progress.is_some());
        let resting = self.parts.iter().filter(|part| part.progress.is_none());
        let (all, few) = match crowded {
            false => (Some(self.parts.iter()), None),
            true => (None, Some(moving.chain(resting))),
        };
        all.into_iter()
            .flatten()
            .chain(few.into_iter().flatten())
            .take(room)
    }
}

impl Part {
    /// In at most `columns` characters.
    fn line(&self, columns: usize) -> String {
        let step = plain(&format!("{}: {}", self.id, self.status));
        let text = match self.progress {
            None => step,
            Some((done, 0)) => format!("{step} {}", units::size(done)),
            Some((done, total)) => {
                // A layer is sent as an archive, which is a little larger than what is in it.
                let done = done.min(total);
                let amount = format!("{}/{}", units::size(done), units::size(total));
                match bar(columns.saturating_sub(WORDS_COLUMNS), done, total) {
                    Some(bar) => format!("{step} {bar} {amount}"),
                    None => format!("{step} {amount}"),
                }
            }
        };
        text.chars().take(columns).collect()
    }
}

/// A bar such as `[===>      ]`, if there is room for one.
fn bar(columns: usize, done: u64, total: u64) -> Option<String> {
    let width = columns.min(BAR_COLUMNS);
    if width < 10 {
        return None;
    }
    let filled = u128::from(done) * width as u128 / u128::from(total.max(1));
    let filled = usize::try_from(filled).unwrap_or(width).min(width);
    let head = if filled < width { ">" } else { "" };
    let empty = " ".repeat(width - filled - head.len());
    Some(format!("[{}{head}{empty}]", "=".repeat(filled)))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::output::Screen;
    use super::*;

    fn shown(screen: Option<Screen>, updates: &[(&str, &str, Progress)]) -> String {
        let (mut results, mut notes) = (Vec::new(), Vec::new());
        let mut output = Output::new(&mut results, &mut notes).on_screen(screen);
        let mut display = Display::default();
        for (id, status, progress) in updates {
            display.update(id, status, *progress, &mut output).unwrap();
        }
        display.draw(&mut output).unwrap();
        display.update("aaa", "Pushed", None, &mut output).unwrap();
        display.end(&mut output).unwrap();
        assert!(results.is_empty());
        String::from_utf8(notes).unwrap().replace('\x1b', "^")
    }

    const UPDATES: [(&str, &str, Progress); 5] = [
        ("aaa", "Preparing", None),
        ("bbb", "Preparing", None),
        ("aaa", "Pushing", Some((0, 4096))),
        ("aaa", "Pushing", Some((1024, 4096))),
        ("bbb", "Layer already exists", None),
    ];

    #[test]
    fn elsewhere_each_step_is_a_line() {
        insta::assert_snapshot!(shown(None, &UPDATES), @r"
        aaa: Preparing
        bbb: Preparing
        aaa: Pushing
        bbb: Layer already exists
        aaa: Pushed
        ");
    }

    #[test]
    fn on_a_terminal_the_lines_are_drawn_again() {
        let screen = Screen {
            columns: 81,
            rows: 24,
        };
        insta::assert_snapshot!(shown(Some(screen), &UPDATES));
    }

    #[test]
    fn a_small_terminal_shows_what_moves_and_nothing_too_wide() {
        let screen = Screen {
            columns: 21,
            rows: 2,
        };
        insta::assert_snapshot!(shown(Some(screen), &UPDATES));
    }

    #[test]
    fn a_bar_is_never_wider_than_its_room() {
        assert_eq!(bar(10, 0, 0).as_deref(), Some("[>         ]"));
        assert_eq!(bar(10, 5, 10).as_deref(), Some("[=====>    ]"));
        assert_eq!(bar(10, 10, 10).as_deref(), Some("[==========]"));
        assert_eq!(bar(9, 1, 2), None);
        let widest = bar(1000, u64::MAX, u64::MAX).map(|bar| bar.len());
        assert_eq!(widest, Some(BAR_COLUMNS + 2));
    }
}

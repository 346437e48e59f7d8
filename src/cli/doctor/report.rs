//! What the checks said: a line for each as it ends, or all of them as JSON.

use std::io;

use serde_json::{Value, json};

use super::super::output::{Format, Output, plain};

/// The widths of the first two columns: checks are shown as they end, before the widest is known.
const STATE_CHARS: usize = 7;
const NAME_CHARS: usize = 26;

/// Something that does not work, and what helps.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) what: String,
    pub(super) remedy: String,
}

impl Trouble {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// How a check ended.
pub(super) enum Finding {
    Ok(String),
    /// It works, and something should be done all the same.
    Warning(Trouble),
    Failed(Trouble),
    /// It was not made, for this reason.
    Skipped(String),
}

impl From<Result<String, Trouble>> for Finding {
    fn from(result: Result<String, Trouble>) -> Self {
        match result {
            Ok(detail) => Self::Ok(detail),
            Err(trouble) => Self::Failed(trouble),
        }
    }
}

/// Tells the checks, and counts them.
pub(super) struct Report<'a, 'b> {
    output: &'a mut Output<'b>,
    format: Format,
    checks: Vec<Value>,
    failed: usize,
    warnings: usize,
}

impl<'a, 'b> Report<'a, 'b> {
    pub(super) fn new(output: &'a mut Output<'b>, format: Format) -> Self {
        Self {
            output,
            format,
            checks: Vec::new(),
            failed: 0,
            warnings: 0,
        }
    }

    /// Says what is being waited for.
    pub(super) fn begin(&mut self, name: &str) -> io::Result<()> {
        self.output.progress(&format!("{name} …"))
    }

    /// Tells how a check ended; whether what depends on it makes sense.
    pub(super) fn tell(&mut self, name: &str, finding: impl Into<Finding>) -> io::Result<bool> {
        let (state, detail, remedy) = match finding.into() {
            Finding::Ok(detail) => ("ok", detail, None),
            Finding::Warning(trouble) => ("warning", trouble.what, Some(trouble.remedy)),
            Finding::Failed(trouble) => ("failed", trouble.what, Some(trouble.remedy)),
            Finding::Skipped(why) => ("skipped", why, None),
        };
        self.failed += usize::from(state == "failed");
        self.warnings += usize::from(state == "warning");
        self.output.end_progress()?;
        if self.format == Format::Table {
            let detail = plain(&detail);
            let line = format!("{state:STATE_CHARS$}  {name:NAME_CHARS$}  {detail}");
            self.output.line(line.trim_end())?;
            if let Some(remedy) = &remedy {
                let indent = STATE_CHARS + 2;
                self.output
                    .line(&format!("{:indent$}what to do: {}", "", plain(remedy)))?;
            }
        }
        let check = json!({
            "check": name, "state": state, "detail": detail, "remedy": remedy,
        });
        self.checks.push(check);
        Ok(matches!(state, "ok" | "warning"))
    }

    /// Tells that checks are not made, and why.
    pub(super) fn skip(&mut self, names: &[&str], why: &str) -> io::Result<()> {
        for name in names {
            self.tell(name, Finding::Skipped(why.to_owned()))?;
        }
        Ok(())
    }

    /// Tells what came of it all; an error if a check failed.
    pub(super) fn end(self) -> anyhow::Result<()> {
        let Self {
            output,
            checks,
            failed,
            warnings,
            format,
        } = self;
        let all = checks.len();
        let answer = json!({ "checks": checks, "failed": failed, "warnings": warnings });
        let summary = match (failed, warnings) {
            (0, 0) => String::from("All is well."),
            (0, warnings) => format!("It works; warnings: {warnings}."),
            (failed, _) => format!("Failed: {failed} of {all} checks."),
        };
        output.outcome(format, &answer, &[summary])?;
        anyhow::ensure!(
            failed == 0,
            "something does not work: see what each failed check says"
        );
        Ok(())
    }
}

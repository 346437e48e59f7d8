//! Asking a person: for a secret, or whether to go on.

use std::io::{self, BufRead, Read};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;

use super::Context;
use super::output::plain;

/// The longest key that is read, in bytes.
const SECRET_LIMIT_BYTES: u64 = 4096;

/// The longest yes or no that is read, in bytes.
const CONSENT_LIMIT_BYTES: u64 = 64;

/// The flag of a command that asks before it acts.
#[derive(Args)]
pub(super) struct Consent {
    /// Do not ask
    #[arg(short = 'y', long)]
    yes: bool,
}

impl Consent {
    /// Asks on a terminal, unless the answer was given before; an error is the answer no. Elsewhere nobody can answer.
    pub(super) fn ask(&self, context: &mut Context<'_>, question: &str) -> anyhow::Result<()> {
        if self.yes || !context.input_is_terminal {
            return Ok(());
        }
        context.output.ask(&format!("{} [y/N] ", plain(question)))?;
        let answer =
            read_at_most(context.input, CONSENT_LIMIT_BYTES).context("cannot read the answer")?;
        let agreed = ["y", "yes"]
            .iter()
            .any(|yes| answer.trim().eq_ignore_ascii_case(yes));
        anyhow::ensure!(agreed, "nothing was changed");
        Ok(())
    }
}

/// Asks on the terminal and reads a line without showing it.
pub(super) fn secret(context: &mut Context<'_>, question: &str) -> anyhow::Result<String> {
    context.output.ask(question)?;
    let hidden = HiddenInput::begin()
        .context("cannot hide what you type on this terminal; use --api-key-stdin")?;
    let answer = read_line(context.input);
    drop(hidden);
    // The line break that was typed was not shown either.
    context.output.note("")?;
    answer
}

/// The first line of `input`, without spaces around it.
pub(super) fn read_line(input: &mut dyn BufRead) -> anyhow::Result<String> {
    let line = read_at_most(input, SECRET_LIMIT_BYTES).context("cannot read the API key")?;
    let line = line.trim();
    anyhow::ensure!(!line.is_empty(), "the API key is empty");
    Ok(line.to_owned())
}

fn read_at_most(input: &mut dyn BufRead, limit_bytes: u64) -> io::Result<String> {
    let mut line = String::new();
    input.take(limit_bytes).read_line(&mut line)?;
    Ok(line)
}

/// While it lives, the terminal does not show what is typed.
struct HiddenInput;

impl HiddenInput {
    fn begin() -> io::Result<Self> {
        stty("-echo").map(|()| Self)
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        // A shell sets its terminal right again in any case.
        let _ = stty("echo");
    }
}

/// Sets the terminal by the program made for it: `unsafe` code is forbidden here.
fn stty(mode: &str) -> io::Result<()> {
    let status = Command::new("stty")
        .arg(mode)
        .stdin(Stdio::inherit())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("stty failed"))
    }
}

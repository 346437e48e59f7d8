//! Asking a person for a secret.

use std::io::{self, BufRead, Read};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::Context;

/// The longest key that is read, in bytes.
const SECRET_LIMIT_BYTES: u64 = 4096;

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
    let mut line = String::new();
    input
        .take(SECRET_LIMIT_BYTES)
        .read_line(&mut line)
        .context("cannot read the API key")?;
    let line = line.trim();
    anyhow::ensure!(!line.is_empty(), "the API key is empty");
    Ok(line.to_owned())
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

//! The command line: what can be typed, and how a command ends.
//!
//! One file for each command. The server's commands read the configuration; the client's speak to `/api/v1` through
//! [`client`] and know nothing of the server's inside.

mod account;
mod api_key;
mod audit;
mod backup;
mod check;
mod client;
mod config;
mod configure_docker;
mod connection;
mod credential_helper;
mod credentials;
mod deletions;
mod docker;
mod doctor;
mod expiry;
mod gc;
mod health;
mod image;
mod installation;
mod keys;
mod kubelet_provider;
mod lease;
mod listing;
mod login;
mod migrate;
mod operator_key;
mod output;
mod pages;
mod prompt;
mod pull_secret;
mod refusal;
mod registries;
mod retention;
mod serve;
mod share;
#[cfg(test)]
mod tests;
mod units;
mod usage;
mod whoami;
mod whole_file;
mod workspace;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use berth::clock::Clock;
use berth::config::ConfigError;
use clap::{Parser, Subcommand};

use client::ClientError;
use output::{Output, Screen};

/// A self-hosted OCI registry whose credentials reach one team and no other.
#[derive(Parser)]
#[command(
    name = "berth",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  berth serve                               Start a registry in the folder ./data
  berth login --api-key-stdin < data/main.key
  berth image push my-app:v1 -t my-app:v1   Push what docker has built
  berth image ls                            See what is in your workspace
  berth configure-docker                    Let docker push and pull by itself
  berth doctor                              Find out what does not work

Client commands take their flags first, then BERTH_URL, BERTH_API_KEY and
BERTH_WORKSPACE, then what `berth login` saved."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    #[command(subcommand)]
    Config(config::Config),
    Health(health::Health),
    Login(login::Login),
    Logout(login::Logout),
    Whoami(whoami::Whoami),
    Credentials(credentials::Credentials),
    ConfigureDocker(configure_docker::ConfigureDocker),
    #[command(subcommand)]
    Image(image::Image),
    #[command(subcommand, hide = true)]
    Template(image::Template),
    #[command(subcommand)]
    Deletions(deletions::Deletions),
    #[command(subcommand)]
    Retention(retention::Retention),
    Gc(gc::Gc),
    #[command(subcommand)]
    Share(share::Share),
    #[command(subcommand)]
    Lease(lease::Lease),
    Usage(usage::Usage),
    Audit(audit::Audit),
    #[command(subcommand)]
    Account(account::Account),
    #[command(subcommand)]
    Workspace(workspace::Workspace),
    #[command(subcommand)]
    ApiKey(api_key::ApiKey),
    #[command(subcommand)]
    PullSecret(pull_secret::PullSecret),
    #[command(subcommand)]
    OperatorKey(operator_key::OperatorKey),
    #[command(subcommand)]
    Keys(keys::Keys),
    #[command(hide = true)]
    KubeletCredentialProvider(kubelet_provider::KubeletCredentialProvider),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Backup(backup::Backup),
    Migrate(migrate::Migrate),
}

/// What a command may use of the process around it; tests hand in their own.
struct Context<'a> {
    environment: HashMap<OsString, OsString>,
    input: &'a mut dyn BufRead,
    input_is_terminal: bool,
    output: Output<'a>,
    clock: Clock,
}

impl Context<'_> {
    /// A variable that is set to valid, non-empty text.
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(&OsString::from(name))
            .and_then(|value| value.to_str())
            .filter(|value| !value.is_empty())
    }
}

/// Runs the process.
pub(crate) fn main() -> ExitCode {
    // Not locked: the server logs from many threads while its command still runs.
    let (mut stdout, mut stderr) = (std::io::stdout(), std::io::stderr());
    let mut stdin = std::io::stdin().lock();
    let input_is_terminal = std::io::stdin().is_terminal();
    let watched = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
    let context = Context {
        environment: std::env::vars_os().collect(),
        input: &mut stdin,
        input_is_terminal,
        output: Output::new(&mut stdout, &mut stderr)
            .watched(watched)
            .on_screen(Screen::of_stderr()),
        clock: Clock::System,
    };
    ExitCode::from(run(std::env::args_os(), context))
}

/// Runs one command line; the answer is the exit code: 0, 1 for what failed, 2 for what was typed wrong.
fn run(arguments: impl IntoIterator<Item = OsString>, mut context: Context<'_>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if credential_helper::is_meant(&arguments) {
        return credential_helper::run(&arguments[1..], &mut context);
    }
    let cli = match Cli::try_parse_from(kubelet_provider::meant(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render().to_string();
            // Nobody is left to tell when these streams are closed.
            let _ = if error.use_stderr() {
                context.output.note(text.trim_end())
            } else {
                context.output.line(text.trim_end())
            };
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let result = match cli.command {
        Command::Serve(command) => command.run(&mut context),
        Command::Config(command) => command.run(&mut context),
        Command::Health(command) => command.run(&mut context),
        Command::Login(command) => command.run(&mut context),
        Command::Logout(command) => command.run(&mut context),
        Command::Whoami(command) => command.run(&mut context),
        Command::Credentials(command) => command.run(&mut context),
        Command::ConfigureDocker(command) => command.run(&mut context),
        Command::Image(command) => command.run(&mut context),
        Command::Template(command) => command.run(&mut context),
        Command::Deletions(command) => command.run(&mut context),
        Command::Retention(command) => command.run(&mut context),
        Command::Gc(command) => command.run(&mut context),
        Command::Share(command) => command.run(&mut context),
        Command::Lease(command) => command.run(&mut context),
        Command::Usage(command) => command.run(&mut context),
        Command::Audit(command) => command.run(&mut context),
        Command::Account(command) => command.run(&mut context),
        Command::Workspace(command) => command.run(&mut context),
        Command::ApiKey(command) => command.run(&mut context),
        Command::PullSecret(command) => command.run(&mut context),
        Command::OperatorKey(command) => command.run(&mut context),
        Command::Keys(command) => command.run(&mut context),
        Command::KubeletCredentialProvider(command) => command.run(&mut context),
        Command::Check(command) => command.run(&mut context),
        Command::Doctor(command) => command.run(&mut context),
        Command::Backup(command) => command.run(&mut context),
        Command::Migrate(command) => command.run(&mut context),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            report(&error, &mut context.output);
            1
        }
    }
}

/// One plain line for each thing that is wrong, and below a refusal what the server said of its cause.
fn report(error: &anyhow::Error, output: &mut Output<'_>) {
    // A reader that went away, as `head` does, is no error of ours, and nobody reads what could be said.
    let reader_went_away = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
    if reader_went_away {
        return;
    }
    let lines = match error.downcast_ref::<ConfigError>() {
        Some(ConfigError::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
        Some(ConfigError::Read { .. } | ConfigError::Syntax { .. }) | None => {
            vec![format!("{error:#}")]
        }
    };
    for line in lines {
        let _ = output.note(&format!("error: {}", output::plain(&line)));
    }
    if let Some(ClientError::Refused(refusal)) = error.downcast_ref() {
        for line in refusal.advice() {
            let _ = output.note(&output::plain(&line));
        }
    }
}

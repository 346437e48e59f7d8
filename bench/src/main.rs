//! `berth-bench`: what a registry can do, and how Berth compares with others on the same machine.
//!
//! Every answer is checked for its status and its length; one that is wrong ends the measurement. All work is done in
//! one thread, so that client and server can have a core each.

mod clients;
mod compare;
mod content;
mod load;
mod machine;
mod pushes;
mod reads;
mod registry;
mod report;
mod sample;
mod servers;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

use compare::Effort;
use registry::{Login, Registry};
use report::Report;

/// Measures what a registry can do, and compares Berth with others
#[derive(Parser)]
#[command(
    name = "berth-bench",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  berth-bench compare
  berth-bench all --registry http://127.0.0.1:5000 --repository t-main/bench \\
      --user main --password \"$(cat data/main.key)\""
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure reads of a registry
    Reads(Single),
    /// Measure pushes to a registry
    Pushes(Single),
    /// Measure reads and pushes
    All(Single),
    /// Start Berth, docker-registry and nginx on one core and measure them in turn from another one
    Compare(Compare),
    /// Push an image of 1 GiB from files to Berth on one core, by `berth` and by skopeo in turn on another one
    Clients(Compare),
}

/// A registry that is there already.
#[derive(Args)]
struct Single {
    /// Where it is, without TLS
    #[arg(long, value_name = "URL")]
    registry: String,
    /// A repository that may be written to; what is pushed stays
    #[arg(long, value_name = "NAME")]
    repository: String,
    /// The user, where the registry asks for one
    #[arg(long, value_name = "NAME", requires = "password")]
    user: Option<String>,
    /// The password
    #[arg(long, env = "BERTH_BENCH_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    #[command(flatten)]
    effort: EffortFlags,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Compare {
    /// The program to compare
    #[arg(long, value_name = "FILE", default_value = "target/release/berth")]
    berth: PathBuf,
    /// Where the servers keep their data; needs room for 10 GB, and gives it back
    #[arg(long, value_name = "FOLDER", default_value = "target")]
    folder: PathBuf,
    /// The processor core of the servers
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The processor core of the client
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    #[command(flatten)]
    effort: EffortFlags,
    #[command(flatten)]
    output: Output,
}

impl Compare {
    fn place(&self) -> servers::Place<'_> {
        servers::Place {
            folder: &self.folder,
            core: self.server_core,
        }
    }
}

#[derive(Args)]
struct EffortFlags {
    /// How often each row is measured; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long a row of reads or small images is measured each time; an access token must last as long
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=50))]
    seconds: u64,
    /// How many blobs of 16 MiB are pushed each time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    blobs: u32,
}

impl EffortFlags {
    fn effort(&self) -> Effort {
        Effort {
            rounds: self.rounds,
            time: Duration::from_secs(self.seconds),
            blobs: self.blobs,
        }
    }
}

#[derive(Args)]
struct Output {
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            compare::note(&format!("berth-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    if let Command::Compare(compare) | Command::Clients(compare) = &command {
        // Before the runtime has threads: they inherit the core.
        machine::pin(compare.client_core)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (format, report) = runtime.block_on(async {
        tokio::select! {
            report = measure(command) => report,
            // So that servers end and folders go.
            interrupt = tokio::signal::ctrl_c() => {
                interrupt?;
                anyhow::bail!("interrupted");
            }
        }
    })?;
    print(format, &report)
}

async fn measure(command: Command) -> anyhow::Result<(Format, Report)> {
    let (single, reads, pushes) = match command {
        Command::Reads(single) => (single, true, false),
        Command::Pushes(single) => (single, false, true),
        Command::All(single) => (single, true, true),
        Command::Clients(options) => {
            let place = options.place();
            let rounds = options.effort.rounds;
            let report = clients::compare(&options.berth, &place, rounds).await?;
            return Ok((options.output.output, report));
        }
        Command::Compare(options) => {
            let place = options.place();
            let report = compare::servers(&options.berth, &place, options.effort.effort()).await?;
            return Ok((options.output.output, report));
        }
    };
    let login = single
        .user
        .zip(single.password)
        .map(|(user, password)| Login { user, password });
    let registry = Registry::at(&single.registry, &single.repository, login).await?;
    let effort = single.effort.effort();
    let report = compare::one(&single.registry, registry, reads, pushes, effort).await?;
    Ok((single.output.output, report))
}

fn print(format: Format, report: &Report) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => report.table(),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(report)?),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("the result cannot be printed")
}

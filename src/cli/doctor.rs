//! `berth doctor`: what works and what does not, from where it runs, and what to do about it.
//!
//! Two halves. The client's asks as docker does: by the addresses that the API gives, with a credential of its own. The
//! server's looks at the database and the storage of a configuration, beside a server that may run. Each file here
//! owns some of the checks; [`report`] owns how they are told.

mod artifact;
mod challenge;
mod client_half;
mod credential;
mod pull;
mod push;
mod reach;
mod report;
mod server_half;

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::connection::Connection;
use report::Report;

/// Find out what does not work, and what to do about it
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth doctor                                  With the saved login
  berth doctor --url https://registry.example.com
  berth doctor --config /etc/berth/berth.toml   On the server: its inside too
  berth doctor -o json | jq '.checks[] | select(.state != \"ok\")'

From a client: names, connections, certificates, clocks, the token that docker
asks for, a push of about 1 MiB to an image berth-doctor/…, pulls from both
addresses, and redirects. What was pushed is deleted again, where the key may
delete. Without a key, only the address is checked.

On the server: the configuration, the database and its schema, whether commits
last, the storage, whose it is, and free space. That half runs if --config or
--data-dir is given, or if the environment or ./data lead to an installation.

The exit code is 1 if a check has failed.")]
pub(super) struct Doctor {
    /// The server's configuration file
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    config: Option<PathBuf>,
    /// The server's data folder
    #[arg(long, value_name = "FOLDER", help_heading = "Server")]
    data_dir: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

impl Doctor {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let format = self.connection.format;
        let server = server_half::find(
            self.config.as_deref(),
            self.data_dir,
            context.environment.clone(),
        );
        let target = self.connection.server.target(context);
        let clock = context.clock.clone();
        let mut report = Report::new(&mut context.output, format);
        client_half::run(target, &server, &clock, &mut report)?;
        server_half::run(server, &clock, &mut report)?;
        report.end()
    }
}

//! `berth backup`: a copy of an embedded installation, whose server may go on.

use std::path::PathBuf;

use berth::app::{self, BackupReport};
use clap::Args;

use super::Context;
use super::installation::Installation;
use super::output::Format;
use super::units;

/// Copy an embedded installation into another folder, while its server runs
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth backup --data-dir /var/lib/berth --to /mnt/backup/berth
  berth serve --data-dir /mnt/restored   What a copy of the backup needs

The same folder can be used again and again: only new blobs are copied then, and
those go that the newest copy does not need. Every blob is compared with its
digest on its way. With PostgreSQL, see docs/operations.md.")]
pub(super) struct Backup {
    /// The folder of the backup: new, empty, or of an earlier backup
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Keep this backup even if blobs are missing or damaged, in place of the one before
    #[arg(long)]
    allow_damaged: bool,
    #[command(flatten)]
    installation: Installation,
}

impl Backup {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let (to, allow_damaged) = (self.to, self.allow_damaged);
        let mut shown = String::new();
        let config = self.installation.config(context)?;
        let output = &mut context.output;
        let report =
            super::installation::block_on(app::backup(&config, &to, allow_damaged, |report| {
                let text = so_far(report);
                if text != shown {
                    // Nobody is left to tell when the stream is closed.
                    let _ = output.progress(&text);
                    shown = text;
                }
            }))?;
        context.output.end_progress()?;
        for failure in &report.failures {
            context.output.note(failure)?;
        }
        let is_kept = report.failed == 0 || allow_damaged;
        anyhow::ensure!(
            is_kept,
            "{} blobs could not be copied, so this backup is not kept; what {} held before is as it was. \
             `berth check --hash --repair` sets damaged blobs aside, and then a backup is whole; --allow-damaged keeps \
             it as it is; and collection.object_delay_seconds must be longer than a backup takes",
            report.failed,
            to.display(),
        );
        let text = format!(
            "{} blobs, {}, are in {}; {} of them, {}, were copied now.",
            report.blobs - report.failed,
            units::size(report.bytes),
            to.display(),
            report.copied,
            units::size(report.copied_bytes),
        );
        context.output.done(Format::Table, &text)?;
        Ok(())
    }
}

fn so_far(report: &BackupReport) -> String {
    format!(
        "{} of {} blobs, {} copied",
        report.done,
        report.blobs,
        units::size(report.copied_bytes)
    )
}

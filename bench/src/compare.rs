//! A run: every row on every server, in turn and several times, so that what the machine does meanwhile hits all alike.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::machine;
use crate::pushes::{PushRow, Pushes};
use crate::reads::{ReadRow, Readings};
use crate::registry::Registry;
use crate::report::{Cell, Line, Report};
use crate::sample::{MIB, Sample, Unit};
use crate::servers::{Place, Server};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How often each row is measured.
    pub(crate) rounds: u32,
    /// How long reads and pushes of small images go on each time.
    pub(crate) time: Duration,
    /// How many large blobs are pushed each time.
    pub(crate) blobs: u32,
}

impl Effort {
    fn description(&self) -> String {
        format!(
            "medians of {} rounds of {} s or {} blobs",
            self.rounds,
            self.time.as_secs(),
            self.blobs
        )
    }
}

/// A row of either kind.
#[derive(Clone, Copy, Debug)]
enum Row {
    Read(ReadRow),
    Push(PushRow),
}

impl Row {
    fn title(self) -> &'static str {
        match self {
            Self::Read(row) => row.title(),
            Self::Push(row) => row.title(),
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::Read(row) => row.unit(),
            Self::Push(row) => row.unit(),
        }
    }
}

fn rows(reads: bool, pushes: bool) -> Vec<Row> {
    let reads = ReadRow::ALL.into_iter().filter(|_| reads).map(Row::Read);
    let pushes = PushRow::ALL.into_iter().filter(|_| pushes).map(Row::Push);
    reads.chain(pushes).collect()
}

/// What is measured: a server, and whether it takes pushes.
struct Subject {
    name: String,
    registry: Registry,
    takes_pushes: bool,
}

/// Measures one registry that is there already.
pub(crate) async fn one(
    name: &str,
    registry: Registry,
    reads: bool,
    pushes: bool,
    effort: Effort,
) -> anyhow::Result<Report> {
    let readings = Readings::new();
    if reads {
        readings.push(&registry).await?;
    }
    let subject = Subject {
        name: name.to_owned(),
        registry,
        takes_pushes: true,
    };
    let subjects = [subject];
    let lines = measure(&rows(reads, pushes), &subjects, &readings, effort).await?;
    Ok(Report {
        servers: names(&subjects),
        lines,
        method: effort.description(),
        machine: machine::description(Path::new("."))?,
    })
}

/// Starts Berth, docker-registry and nginx, and compares them.
pub(crate) async fn servers(
    berth: &Path,
    place: &Place<'_>,
    effort: Effort,
) -> anyhow::Result<Report> {
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(place.folder)
        .with_context(|| format!("no folder can be made in {}", place.folder.display()))?;
    let place = Place {
        folder: &folder.path().canonicalize()?,
        core: place.core,
    };
    let readings = Readings::new();
    let berth = berth
        .canonicalize()
        .with_context(|| format!("{} is not there: build it first", berth.display()))?;
    let berth = place.berth(&berth).await?;
    let peer = place.docker_registry().await?;
    for server in [&berth, &peer] {
        readings.push(&server.registry).await?;
    }
    let files = place.nginx(&readings).await?;
    let subject = |server: &Server, takes_pushes| Subject {
        name: server.name.clone(),
        registry: server.registry.clone(),
        takes_pushes,
    };
    let subjects = [
        subject(&berth, true),
        subject(&peer, true),
        subject(&files, false),
    ];
    let mut lines = measure(&rows(true, true), &subjects, &readings, effort).await?;
    lines.push(Line {
        title: "peak memory of all this",
        unit: Unit::Size,
        cells: vec![Some(peak_memory(&berth)?), Some(peak_memory(&peer)?), None],
    });
    Ok(Report {
        servers: names(&subjects),
        lines,
        method: format!(
            "each server on one core, the client on another; {}",
            effort.description()
        ),
        machine: machine::description(place.folder)?,
    })
}

fn names(subjects: &[Subject]) -> Vec<String> {
    subjects
        .iter()
        .map(|subject| subject.name.clone())
        .collect()
}

fn peak_memory(server: &Server) -> anyhow::Result<Cell> {
    #[expect(clippy::cast_precision_loss, reason = "some MiB")]
    let bytes = server.peak_memory_bytes()? as f64;
    Ok(Cell::single(bytes / MIB))
}

async fn measure(
    rows: &[Row],
    subjects: &[Subject],
    readings: &Readings,
    effort: Effort,
) -> anyhow::Result<Vec<Line>> {
    let pushes = Pushes::new();
    let mut samples = vec![vec![Vec::new(); subjects.len()]; rows.len()];
    for round in 1..=effort.rounds {
        for (row, samples) in rows.iter().zip(&mut samples) {
            note(&format!(
                "round {round} of {}: {}",
                effort.rounds,
                row.title()
            ));
            for (subject, samples) in subjects.iter().zip(samples) {
                let measured = sample(*row, subject, readings, &pushes, effort).await;
                let measured = measured
                    .with_context(|| format!("{} failed at \"{}\"", subject.name, row.title()))?;
                samples.extend(measured);
            }
        }
    }
    Ok(rows
        .iter()
        .zip(samples)
        .map(|(row, samples)| Line {
            title: row.title(),
            unit: row.unit(),
            cells: samples
                .iter()
                .map(|samples| (!samples.is_empty()).then(|| Cell::of(samples)))
                .collect(),
        })
        .collect())
}

async fn sample(
    row: Row,
    subject: &Subject,
    readings: &Readings,
    pushes: &Pushes,
    effort: Effort,
) -> anyhow::Result<Option<Sample>> {
    let registry = &subject.registry;
    Ok(match row {
        Row::Read(row) => Some(readings.measure(row, registry, effort.time).await?),
        Row::Push(_) if !subject.takes_pushes => None,
        Row::Push(row) => {
            settle_disk()?;
            Some(
                pushes
                    .measure(row, registry, effort.time, effort.blobs)
                    .await?,
            )
        }
    })
}

/// Lets the disk finish what the measurement before has left to it.
pub(crate) fn settle_disk() -> anyhow::Result<()> {
    let status = std::process::Command::new("sync").status()?;
    ensure!(status.success(), "sync failed");
    Ok(())
}

/// Says how far it is, beside the result.
pub(crate) fn note(text: &str) {
    // Who closed the stream does not want to know.
    let _ = writeln!(std::io::stderr(), "{text}");
}

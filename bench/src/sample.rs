//! One measurement: so much of something by the second, and how busy the client was with it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

pub(crate) const MIB: f64 = 1024.0 * 1024.0;

/// The unit of `/proc/<pid>/stat`'s times: USER_HZ, which Linux fixes for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a row is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    #[serde(rename = "req/s")]
    Requests,
    #[serde(rename = "MiB/s")]
    Throughput,
    #[serde(rename = "images/s")]
    Images,
    #[serde(rename = "MiB")]
    Size,
}

impl Unit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "req/s",
            Self::Throughput => "MiB/s",
            Self::Images => "images/s",
            Self::Size => "MiB",
        }
    }
}

/// One measurement of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// In the unit of the row.
    pub(crate) rate: f64,
    /// The part of the time in which this process was at work: near 1, the client was the limit.
    pub(crate) client_load: f64,
}

impl Sample {
    /// Does some work, which says how much it was and how long it took.
    pub(crate) async fn of(
        work: impl Future<Output = anyhow::Result<(f64, Duration)>>,
    ) -> anyhow::Result<Self> {
        let (begun, cpu_begun) = (Instant::now(), cpu_seconds()?);
        let (amount, elapsed) = work.await?;
        let cpu = cpu_seconds()? - cpu_begun;
        Ok(Self {
            rate: amount / elapsed.as_secs_f64(),
            client_load: cpu / begun.elapsed().as_secs_f64(),
        })
    }
}

/// How long this process has been at work since it started.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program comes second, in parentheses, and may hold anything; `utime` and `stime` are the
    // fields 14 and 15 of proc(5).
    let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest);
    let ticks: Option<f64> = after_name.and_then(|rest| {
        let mut fields = rest.split(' ').skip(11).map(str::parse::<f64>);
        Some(fields.next()?.ok()? + fields.next()?.ok()?)
    });
    Ok(ticks.context("/proc/self/stat cannot be read")? / TICKS_PER_SECOND)
}

//! The rows that push: content that no registry has seen before.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::content::{Blob, BlobMaker, Image, SMALL_LAYER_BYTES};
use crate::registry::{Registry, Session};
use crate::sample::{MIB, Sample, Unit};

/// Uploads, or images, beside each other.
const STREAMS: usize = 4;
const LARGE_BYTES: usize = 16 * 1024 * 1024;

/// A row that pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushRow {
    PutBlobs,
    StreamedBlobs,
    SmallImages,
}

impl PushRow {
    pub(crate) const ALL: [Self; 3] = [Self::PutBlobs, Self::StreamedBlobs, Self::SmallImages];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::PutBlobs => "blob push, 16 MiB by one PUT, 4 streams",
            Self::StreamedBlobs => "blob push, 16 MiB by streamed PATCH, 4 streams",
            Self::SmallImages => "image push, 3 layers of 4 KiB, 4 streams",
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::PutBlobs | Self::StreamedBlobs => Unit::Throughput,
            Self::SmallImages => Unit::Images,
        }
    }
}

/// Makes what is pushed.
pub(crate) struct Pushes {
    large: BlobMaker,
    small: BlobMaker,
}

impl Pushes {
    pub(crate) fn new() -> Self {
        Self {
            large: BlobMaker::new(LARGE_BYTES),
            small: BlobMaker::new(SMALL_LAYER_BYTES),
        }
    }

    /// Measures a row, after one push that does not count: small images for `time`, large ones by number, so that a
    /// fast registry need not store more.
    pub(crate) async fn measure(
        &self,
        row: PushRow,
        registry: &Registry,
        time: Duration,
        blobs: u32,
    ) -> anyhow::Result<Sample> {
        let session = registry.session().await?;
        let session = &session;
        match row {
            PushRow::PutBlobs => {
                session.put_blob(&self.large.make()).await?;
                Sample::of(self.blobs(blobs, async |blob| session.put_blob(&blob).await)).await
            }
            PushRow::StreamedBlobs => {
                session.stream_blob(&self.large.make()).await?;
                Sample::of(self.blobs(blobs, async |blob| session.stream_blob(&blob).await)).await
            }
            PushRow::SmallImages => {
                self.push_small_image(session).await?;
                Sample::of(self.small_images(session, time)).await
            }
        }
    }

    async fn blobs(
        &self,
        number: u32,
        push: impl AsyncFn(Blob) -> anyhow::Result<()>,
    ) -> anyhow::Result<(f64, Duration)> {
        let begun = Instant::now();
        stream::iter(0..number)
            .map(|_| push(self.large.make()))
            .buffer_unordered(STREAMS)
            .try_collect::<()>()
            .await?;
        #[expect(clippy::cast_precision_loss, reason = "16 MiB")]
        let mebibytes = LARGE_BYTES as f64 / MIB;
        Ok((f64::from(number) * mebibytes, begun.elapsed()))
    }

    async fn small_images(
        &self,
        session: &Session<'_>,
        time: Duration,
    ) -> anyhow::Result<(f64, Duration)> {
        let begun = Instant::now();
        let pushing = (0..STREAMS).map(|_| async {
            let mut pushed = 0;
            while begun.elapsed() < time {
                self.push_small_image(session).await?;
                pushed += 1;
            }
            anyhow::Ok(f64::from(pushed))
        });
        let pushed = try_join_all(pushing).await?;
        Ok((pushed.into_iter().sum(), begun.elapsed()))
    }

    async fn push_small_image(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let image = Image::small(&self.small);
        let (_, hex) = image
            .manifest
            .digest
            .split_once(':')
            .context("a digest has a colon")?;
        session.push_image(&image, &format!("b-{hex}")).await
    }
}

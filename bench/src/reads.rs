//! The rows that read: the same image from every registry.

use std::path::Path;
use std::time::Duration;

use crate::content::{Blob, BlobMaker, Image, SMALL_LAYER_BYTES};
use crate::load;
use crate::registry::Registry;
use crate::sample::{MIB, Sample, Unit};

/// Connections of the rows that read little at a time.
const CONNECTIONS: usize = 16;
/// Large downloads beside each other.
const STREAMS: usize = 4;
const LARGE_BYTES: usize = 64 * 1024 * 1024;
/// The tag that is read.
const TAG: &str = "bench";

/// A row that reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadRow {
    ManifestGet,
    ManifestHead,
    SmallBlob,
    LargeBlob,
}

impl ReadRow {
    pub(crate) const ALL: [Self; 4] = [
        Self::ManifestGet,
        Self::ManifestHead,
        Self::SmallBlob,
        Self::LargeBlob,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ManifestGet => "manifest GET by tag, 16 connections",
            Self::ManifestHead => "manifest HEAD by tag, 16 connections",
            Self::SmallBlob => "blob GET, 4 KiB, 16 connections",
            Self::LargeBlob => "blob GET, 64 MiB, 4 streams",
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::ManifestGet | Self::ManifestHead | Self::SmallBlob => Unit::Requests,
            Self::LargeBlob => Unit::Throughput,
        }
    }

    fn connections(self) -> usize {
        match self {
            Self::ManifestGet | Self::ManifestHead | Self::SmallBlob => CONNECTIONS,
            Self::LargeBlob => STREAMS,
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::ManifestHead => "HEAD",
            Self::ManifestGet | Self::SmallBlob | Self::LargeBlob => "GET",
        }
    }
}

/// What is read.
pub(crate) struct Readings {
    small: Blob,
    large: Blob,
    image: Image,
}

impl Readings {
    /// An image with a small and a large layer.
    pub(crate) fn new() -> Self {
        let small = BlobMaker::new(SMALL_LAYER_BYTES).make();
        let large = BlobMaker::new(LARGE_BYTES).make();
        Self {
            image: Image::of(vec![small.clone(), large.clone()]),
            small,
            large,
        }
    }

    /// Pushes it.
    pub(crate) async fn push(&self, registry: &Registry) -> anyhow::Result<()> {
        registry.session().await?.push_image(&self.image, TAG).await
    }

    /// Writes it as files below the folder of a repository, for a server of files to compare with.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        for row in ReadRow::ALL {
            let (path, content) = self.content(row);
            let file = folder.join(path);
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let bytes = content.pieces(content.len()).collect::<Vec<_>>().concat();
            std::fs::write(file, bytes)?;
        }
        Ok(())
    }

    /// Where a row's content is below its repository, and the content itself.
    fn content(&self, row: ReadRow) -> (String, &Blob) {
        match row {
            ReadRow::ManifestGet | ReadRow::ManifestHead => {
                (format!("manifests/{TAG}"), &self.image.manifest)
            }
            ReadRow::SmallBlob => (format!("blobs/{}", self.small.digest), &self.small),
            ReadRow::LargeBlob => (format!("blobs/{}", self.large.digest), &self.large),
        }
    }

    /// Measures a row for so long.
    pub(crate) async fn measure(
        &self,
        row: ReadRow,
        registry: &Registry,
        time: Duration,
    ) -> anyhow::Result<Sample> {
        let (path, content) = self.content(row);
        let session = registry.session().await?;
        let read = session.read(row.method(), &path, content.len());
        Sample::of(async {
            let count = load::repeat(registry.address, &read, row.connections(), time).await?;
            #[expect(clippy::cast_precision_loss, reason = "counts of some seconds")]
            let amount = match row.unit() {
                Unit::Throughput => count.body_bytes as f64 / MIB,
                Unit::Requests | Unit::Images | Unit::Size => count.requests as f64,
            };
            Ok((amount, count.elapsed))
        })
        .await
    }
}

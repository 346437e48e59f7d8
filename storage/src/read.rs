//! Reading an object as a stream of chunks.
//!
//! Owns the bound on what a reader holds: the chunk just given out and one read ahead. It knows
//! neither digests nor why someone reads.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Seek, SeekFrom};
use std::mem;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::blocking::{blocking, joined};
use crate::error::StoreError;
use crate::key::ObjectKey;
use crate::testing::{Faults, Operation};

/// What to read, and how.
pub(crate) struct ReadPlan {
    pub(crate) key: ObjectKey,
    /// `None` is everything.
    pub(crate) range: Option<Range<u64>>,
    pub(crate) chunk_bytes: usize,
    pub(crate) faults: Faults,
}

/// Where the bytes come from.
pub(crate) enum Source {
    File(File),
    Memory(Bytes),
}

/// A stream of the bytes of an object, in chunks of equal size except for the last.
///
/// It gives exactly the range that was asked for, or an error and then nothing more: an object that
/// turns out too short is [`StoreError::OutOfRange`], never a silent end. At most one chunk is read
/// ahead of the one given out, so a reader holds two chunks and a slow client costs no more.
pub struct ObjectReader {
    step: Step,
    state: State,
}

/// What the next read needs besides the source.
#[derive(Clone)]
struct Step {
    key: ObjectKey,
    position: u64,
    end: u64,
    chunk_bytes: usize,
    faults: Faults,
}

enum State {
    Ready(Source, Bytes),
    Reading(JoinHandle<Result<(Source, Bytes), StoreError>>),
    Done,
}

impl ObjectReader {
    /// Opens the source and reads the first chunk, in one visit to the blocking threads: for a
    /// small object that is all there is to do.
    pub(crate) async fn open(
        plan: ReadPlan,
        open: impl FnOnce() -> Result<Source, StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        blocking(move || {
            let mut source = open()?;
            let size_bytes = source.size_bytes(plan.key)?;
            let Range { start, end } = plan.range.unwrap_or(0..size_bytes);
            if start > end || end > size_bytes {
                return Err(StoreError::OutOfRange {
                    key: plan.key,
                    start,
                    end,
                    size_bytes,
                });
            }
            let step = Step {
                key: plan.key,
                position: start,
                end,
                chunk_bytes: plan.chunk_bytes,
                faults: plan.faults,
            };
            if start == end {
                return Ok(Self {
                    step,
                    state: State::Done,
                });
            }
            source.seek(plan.key, start)?;
            let (source, chunk) = step.read(source)?;
            Ok(Self {
                step,
                state: State::Ready(source, chunk),
            })
        })
        .await
    }

    /// How many bytes the stream has yet to give.
    pub fn remaining_bytes(&self) -> u64 {
        self.step.end - self.step.position
    }

    fn give(&mut self, source: Source, chunk: Bytes) -> Poll<Option<Result<Bytes, StoreError>>> {
        self.step.position += chunk.len() as u64;
        if self.step.position < self.step.end {
            let step = self.step.clone();
            self.state = State::Reading(spawn_blocking(move || step.read(source)));
        }
        Poll::Ready(Some(Ok(chunk)))
    }
}

impl Stream for ObjectReader {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match mem::replace(&mut self.state, State::Done) {
            State::Done => Poll::Ready(None),
            State::Ready(source, chunk) => self.give(source, chunk),
            State::Reading(mut read) => match Pin::new(&mut read).poll(context) {
                Poll::Pending => {
                    self.state = State::Reading(read);
                    Poll::Pending
                }
                Poll::Ready(outcome) => match joined(outcome) {
                    Ok((source, chunk)) => self.give(source, chunk),
                    Err(error) => Poll::Ready(Some(Err(error))),
                },
            },
        }
    }
}

impl Step {
    fn read(&self, mut source: Source) -> Result<(Source, Bytes), StoreError> {
        self.faults.check(Operation::Read, self.key)?;
        let left = self.end - self.position;
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(self.chunk_bytes);
        let chunk = source.read(self.key, wanted)?;
        if chunk.len() < wanted {
            return Err(StoreError::OutOfRange {
                key: self.key,
                start: self.position,
                end: self.end,
                size_bytes: self.position + chunk.len() as u64,
            });
        }
        Ok((source, chunk))
    }
}

impl Source {
    fn size_bytes(&self, key: ObjectKey) -> Result<u64, StoreError> {
        match self {
            Self::File(file) => {
                let metadata = file.metadata();
                Ok(metadata
                    .map_err(|error| StoreError::from_io("inspect", key.object_path(), error))?
                    .len())
            }
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    fn seek(&mut self, key: ObjectKey, position: u64) -> Result<(), StoreError> {
        match self {
            Self::File(_) if position == 0 => Ok(()),
            Self::File(file) => {
                let outcome = file.seek(SeekFrom::Start(position));
                outcome.map_err(|error| StoreError::from_io("read", key.object_path(), error))?;
                Ok(())
            }
            Self::Memory(bytes) => {
                // `open` has seen that the position is within the bytes.
                *bytes = bytes.slice(usize::try_from(position).unwrap_or(bytes.len())..);
                Ok(())
            }
        }
    }

    /// Reads `wanted` bytes, or fewer if there are no more.
    fn read(&mut self, key: ObjectKey, wanted: usize) -> Result<Bytes, StoreError> {
        match self {
            Self::File(file) => {
                // `read_to_end` fills the capacity without clearing it first, as `read_exact`
                // needs.
                let mut chunk = Vec::with_capacity(wanted);
                let outcome = file.by_ref().take(wanted as u64).read_to_end(&mut chunk);
                outcome.map_err(|error| StoreError::from_io("read", key.object_path(), error))?;
                Ok(chunk.into())
            }
            Self::Memory(bytes) => Ok(bytes.split_to(wanted.min(bytes.len()))),
        }
    }
}

//! Reading an object as a stream of chunks.
//!
//! Owns the bound on what a reader holds: the chunk just given out and one read ahead. It knows
//! neither digests nor why someone reads.

use std::fs::File;
use std::future::Future;
use std::io;
use std::mem;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::blocking::{blocking, joined};
use crate::buffers::Buffers;
use crate::error::StoreError;
use crate::key::ObjectKey;
use crate::local::at_hand;
use crate::s3::RemoteReader;
use crate::testing::{Faults, Operation};

/// What to read, and how.
pub(crate) struct ReadPlan {
    pub(crate) key: ObjectKey,
    /// `None` is everything.
    pub(crate) range: Option<Range<u64>>,
    /// Of the size of a chunk.
    pub(crate) buffers: Buffers,
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
/// turns out too short is [`StoreError::OutOfRange`], never a silent end. What the system has in memory is read when it
/// is asked for; what has to come from the disk is read one chunk ahead of the one given out. So a reader holds two
/// chunks at most, and a slow client costs no more.
pub struct ObjectReader(Reader);

enum Reader {
    Here(HereReader),
    Remote(RemoteReader),
}

/// Reads what this machine has.
struct HereReader {
    step: Step,
    state: State,
}

/// What the next read needs besides the source.
#[derive(Clone)]
struct Step {
    key: ObjectKey,
    position: u64,
    end: u64,
    buffers: Buffers,
    faults: Faults,
}

enum State {
    /// Nothing is read ahead.
    Idle(Source),
    /// The first chunk, and whether it had to come from the disk.
    Ready(Source, Bytes, Origin),
    Reading(JoinHandle<Result<(Source, Bytes), StoreError>>),
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Memory,
    Disk,
}

impl ObjectReader {
    /// Reads the first chunk of what is open already, if the system has it in memory; else opens the source and reads
    /// it, in one visit to the blocking threads. For a small object that is all there is to do.
    pub(crate) async fn open(
        plan: ReadPlan,
        at_hand: Option<Source>,
        open: impl FnOnce() -> Result<Source, StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let mut opened = None;
        if let Some(source) = at_hand {
            let step = plan.begin(&source)?;
            match step.read_at_hand(&source) {
                Some(first) => return Ok(Self::begun(step, source, first?, Origin::Memory)),
                None => opened = Some(source),
            }
        }
        blocking(move || {
            let source = match opened {
                Some(source) => source,
                None => open()?,
            };
            let step = plan.begin(&source)?;
            let first = step.read(&source)?;
            Ok(Self::begun(step, source, first, Origin::Disk))
        })
        .await
    }

    /// Reads what is in memory anyway.
    pub(crate) fn of_memory(plan: &ReadPlan, source: Source) -> Result<Self, StoreError> {
        let step = plan.begin(&source)?;
        let first = step.read(&source)?;
        Ok(Self::begun(step, source, first, Origin::Memory))
    }

    /// Reads what another machine has.
    pub(crate) fn of_remote(reader: RemoteReader) -> Self {
        Self(Reader::Remote(reader))
    }

    fn begun(step: Step, source: Source, first: Bytes, origin: Origin) -> Self {
        let state = if first.is_empty() {
            State::Done
        } else {
            State::Ready(source, first, origin)
        };
        Self(Reader::Here(HereReader { step, state }))
    }

    /// How many bytes the stream has yet to give.
    pub fn remaining_bytes(&self) -> u64 {
        match &self.0 {
            Reader::Here(reader) => reader.step.end - reader.step.position,
            Reader::Remote(reader) => reader.remaining_bytes(),
        }
    }
}

impl Stream for ObjectReader {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Reader::Here(reader) => reader.poll_chunk(context),
            Reader::Remote(reader) => reader.poll_chunk(context),
        }
    }
}

impl HereReader {
    fn give(&mut self, source: Source, chunk: Bytes, origin: Origin) -> Bytes {
        self.step.position += chunk.len() as u64;
        if self.step.position < self.step.end {
            self.state = match origin {
                Origin::Memory => State::Idle(source),
                Origin::Disk => State::Reading(self.step.begin_read(source)),
            };
        }
        chunk
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, StoreError>>> {
        let mut read = match mem::replace(&mut self.state, State::Done) {
            State::Done => return Poll::Ready(None),
            State::Ready(source, chunk, origin) => {
                return Poll::Ready(Some(Ok(self.give(source, chunk, origin))));
            }
            State::Idle(source) => match self.step.read_at_hand(&source) {
                Some(Ok(chunk)) => {
                    return Poll::Ready(Some(Ok(self.give(source, chunk, Origin::Memory))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.step.begin_read(source),
            },
            State::Reading(read) => read,
        };
        match Pin::new(&mut read).poll(context) {
            Poll::Pending => {
                self.state = State::Reading(read);
                Poll::Pending
            }
            Poll::Ready(outcome) => Poll::Ready(Some(match joined(outcome) {
                Ok((source, chunk)) => Ok(self.give(source, chunk, Origin::Disk)),
                Err(error) => Err(error),
            })),
        }
    }
}

impl ReadPlan {
    /// The first step. An object that must have several chunks is measured before any of them is given out; one that
    /// has a single chunk shows by itself that it is too short.
    fn begin(&self, source: &Source) -> Result<Step, StoreError> {
        let one_chunk = 1..=self.buffers.size_bytes() as u64;
        let Range { start, end } = match &self.range {
            Some(range) if one_chunk.contains(&range.end.saturating_sub(range.start)) => {
                range.clone()
            }
            range => {
                let size_bytes = source.size_bytes(self.key)?;
                let range = range.clone().unwrap_or(0..size_bytes);
                if range.start > range.end || range.end > size_bytes {
                    return Err(out_of_range(self.key, &range, size_bytes));
                }
                range
            }
        };
        Ok(Step {
            key: self.key,
            position: start,
            end,
            buffers: self.buffers.clone(),
            faults: self.faults.clone(),
        })
    }
}

/// The error of a range that an object does not have.
pub(crate) fn out_of_range(key: ObjectKey, range: &Range<u64>, size_bytes: u64) -> StoreError {
    StoreError::OutOfRange {
        key,
        start: range.start,
        end: range.end,
        size_bytes,
    }
}

impl Step {
    fn wanted(&self) -> usize {
        usize::try_from(self.end - self.position)
            .unwrap_or(usize::MAX)
            .min(self.buffers.size_bytes())
    }

    /// The next chunk, if it can be had without waiting.
    fn read_at_hand(&self, source: &Source) -> Option<Result<Bytes, StoreError>> {
        match source {
            Source::Memory(_) => Some(self.read(source)),
            Source::File(file) => {
                let mut buffer = self.buffers.take(self.wanted());
                if !at_hand::read_exactly(file, buffer.as_mut(), self.position) {
                    return None;
                }
                let checked = self.faults.check(Operation::Read, self.key);
                Some(checked.map(|()| buffer.freeze()))
            }
        }
    }

    fn begin_read(&self, source: Source) -> JoinHandle<Result<(Source, Bytes), StoreError>> {
        let step = self.clone();
        spawn_blocking(move || {
            let chunk = step.read(&source)?;
            Ok((source, chunk))
        })
    }

    /// The next chunk; this may wait for the disk.
    fn read(&self, source: &Source) -> Result<Bytes, StoreError> {
        self.faults.check(Operation::Read, self.key)?;
        let wanted = self.wanted();
        let read = match source {
            Source::Memory(bytes) => {
                let begin = usize::try_from(self.position).unwrap_or(usize::MAX);
                bytes
                    .get(begin..begin.saturating_add(wanted))
                    .map(|part| bytes.slice_ref(part))
            }
            Source::File(file) => {
                let mut buffer = self.buffers.take(wanted);
                match file.read_exact_at(buffer.as_mut(), self.position) {
                    Ok(()) => Some(buffer.freeze()),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
                    Err(error) => {
                        return Err(StoreError::from_io("read", self.key.object_path(), error));
                    }
                }
            }
        };
        match read {
            Some(chunk) => Ok(chunk),
            None => {
                let size_bytes = source.size_bytes(self.key)?;
                Err(out_of_range(
                    self.key,
                    &(self.position..self.end),
                    size_bytes,
                ))
            }
        }
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
}

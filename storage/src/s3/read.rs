//! Reading an object from the bucket.
//!
//! Owns what the store may do wrong on the way: a download that breaks off, ends early or falls silent is asked for
//! again from where it stopped, a few times. One chunk is read ahead of the one given out, in a task of its own, so
//! that a slow client is never taken for a silent store.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use object_store::{Error, GetOptions, GetRange, ObjectStore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{S3Store, failed};
use crate::blocking::joined;
use crate::error::StoreError;
use crate::key::ObjectKey;
use crate::read::out_of_range;
use crate::store::DEFAULT_READ_CHUNK_BYTES;
use crate::testing::{Faults, Operation};

/// How often one chunk is asked for.
const ATTEMPTS: usize = 3;

/// A download that goes on by itself.
struct Download {
    store: Arc<S3Store>,
    key: ObjectKey,
    position: u64,
    end: u64,
    faults: Faults,
    body: Option<Body>,
}

/// What the store is sending.
struct Body {
    stream: BoxStream<'static, Result<Bytes, Error>>,
    /// What has come and belongs to the next chunk.
    rest: Bytes,
}

/// The chunks of an object, in order.
pub(crate) struct RemoteReader {
    /// Of all chunks that are still to be given out.
    remaining_bytes: u64,
    state: State,
}

enum State {
    Ready(Download, Bytes),
    Reading(Reading),
    Done,
}

/// The chunk that is read ahead; nobody wants it any more when this is dropped.
struct Reading(JoinHandle<Result<(Download, Bytes), StoreError>>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RemoteReader {
    /// Opens an object and reads its first chunk, so that what is wrong with it is known before anything is given out.
    pub(crate) async fn open(
        store: &Arc<S3Store>,
        key: ObjectKey,
        range: Option<Range<u64>>,
        faults: Faults,
    ) -> Result<Self, StoreError> {
        let mut download = Download {
            store: Arc::clone(store),
            key,
            position: 0,
            end: 0,
            faults,
            body: None,
        };
        download.begin(range).await?;
        let remaining_bytes = download.end - download.position;
        let state = if remaining_bytes == 0 {
            State::Done
        } else {
            let first = download.chunk().await?;
            State::Ready(download, first)
        };
        Ok(Self {
            remaining_bytes,
            state,
        })
    }

    pub(crate) fn remaining_bytes(&self) -> u64 {
        self.remaining_bytes
    }

    pub(crate) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, StoreError>>> {
        let outcome = match std::mem::replace(&mut self.state, State::Done) {
            State::Done => return Poll::Ready(None),
            State::Ready(download, chunk) => Ok((download, chunk)),
            State::Reading(mut reading) => match Pin::new(&mut reading.0).poll(context) {
                Poll::Pending => {
                    self.state = State::Reading(reading);
                    return Poll::Pending;
                }
                Poll::Ready(outcome) => joined(outcome),
            },
        };
        Poll::Ready(Some(outcome.map(|(download, chunk)| {
            self.remaining_bytes -= chunk.len() as u64;
            if self.remaining_bytes > 0 {
                self.state = State::Reading(Reading(tokio::spawn(download.next())));
            }
            chunk
        })))
    }
}

impl Download {
    /// The range that is to be read, and its download unless it is empty.
    async fn begin(&mut self, range: Option<Range<u64>>) -> Result<(), StoreError> {
        let whole = match &range {
            None => None,
            Some(range) if range.start < range.end => Some(range.clone()),
            Some(range) => {
                // Nothing is to be read, but the object must be there and long enough all the same.
                let size_bytes = self.store.size(self.key).await?;
                let size_bytes = size_bytes.ok_or(StoreError::Missing { key: self.key })?;
                if range.start > range.end || range.end > size_bytes {
                    return Err(out_of_range(self.key, range, size_bytes));
                }
                return Ok(());
            }
        };
        let size_bytes = self.request(whole.clone()).await?;
        let range = whole.unwrap_or(0..size_bytes);
        if range.end > size_bytes {
            return Err(out_of_range(self.key, &range, size_bytes));
        }
        (self.position, self.end) = (range.start, range.end);
        Ok(())
    }

    /// Asks for bytes, and gives the size of the object.
    async fn request(&mut self, range: Option<Range<u64>>) -> Result<u64, StoreError> {
        let options = GetOptions {
            range: range.clone().map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let path = self.store.object(self.key);
        let asked = timeout(
            // The library tries again by itself; this bounds all of that.
            self.store.silence * 3,
            self.store.downloads.get_opts(&path, options),
        );
        match asked.await {
            Ok(Ok(object)) => {
                let size_bytes = object.meta.size;
                self.body = Some(Body {
                    stream: object.into_stream(),
                    rest: Bytes::new(),
                });
                Ok(size_bytes)
            }
            Ok(Err(Error::NotFound { .. })) => Err(StoreError::Missing { key: self.key }),
            Ok(Err(error)) => self.explain(range, error).await,
            Err(_) => Err(self.silent()),
        }
    }

    /// A range behind the end of the object is refused by the store in ways of its own.
    async fn explain(
        &mut self,
        range: Option<Range<u64>>,
        error: Error,
    ) -> Result<u64, StoreError> {
        let failure = failed("read", self.key.object_path(), error);
        if matches!(failure, StoreError::Unavailable { .. }) {
            return Err(failure);
        }
        match (range, self.store.size(self.key).await?) {
            (_, None) => Err(StoreError::Missing { key: self.key }),
            (Some(range), Some(size_bytes)) if range.end > size_bytes => {
                Err(out_of_range(self.key, &range, size_bytes))
            }
            _ => Err(failure),
        }
    }

    async fn next(mut self) -> Result<(Self, Bytes), StoreError> {
        let chunk = self.chunk().await?;
        Ok((self, chunk))
    }

    /// The next chunk, whole.
    async fn chunk(&mut self) -> Result<Bytes, StoreError> {
        self.faults.check(Operation::Read, self.key)?;
        let wanted = usize::try_from(self.end - self.position)
            .unwrap_or(usize::MAX)
            .min(DEFAULT_READ_CHUNK_BYTES);
        let mut chunk = BytesMut::with_capacity(wanted);
        let mut attempt = 1;
        while chunk.len() < wanted {
            if let Err(error) = self.fill(&mut chunk, wanted).await {
                if attempt == ATTEMPTS || !matches!(error, StoreError::Unavailable { .. }) {
                    return Err(error);
                }
                tracing::info!(key = %self.key, %error, "a download broke off and is asked for again");
                attempt += 1;
                self.body = None;
            }
        }
        self.position += chunk.len() as u64;
        Ok(chunk.freeze())
    }

    /// Adds what comes to a chunk, until it is full or the download ends.
    async fn fill(&mut self, chunk: &mut BytesMut, wanted: usize) -> Result<(), StoreError> {
        let from = self.position + chunk.len() as u64;
        if self.body.is_none() {
            let size_bytes = self.request(Some(from..self.end)).await?;
            if self.end > size_bytes {
                return Err(out_of_range(self.key, &(from..self.end), size_bytes));
            }
        }
        let Some(mut body) = self.body.take() else {
            return Ok(());
        };
        while chunk.len() < wanted {
            if !body.rest.is_empty() {
                let fits = body.rest.len().min(wanted - chunk.len());
                chunk.extend_from_slice(&body.rest.split_to(fits));
                continue;
            }
            match timeout(self.store.silence, body.stream.try_next()).await {
                Ok(Ok(Some(bytes))) => body.rest = bytes,
                // An early end is no end.
                Ok(Ok(None)) => return Err(self.broken("the download ended early")),
                Ok(Err(error)) => {
                    return Err(StoreError::Unavailable {
                        action: "read",
                        path: self.key.object_path(),
                        source: Box::new(error),
                    });
                }
                Err(_) => return Err(self.silent()),
            }
        }
        self.body = Some(body);
        Ok(())
    }

    fn silent(&self) -> StoreError {
        self.broken("the object store fell silent")
    }

    fn broken(&self, reason: &'static str) -> StoreError {
        StoreError::Unavailable {
            action: "read",
            path: self.key.object_path(),
            source: reason.into(),
        }
    }
}

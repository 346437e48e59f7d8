//! An upload on its way into the bucket.
//!
//! Owns what is between the client and the object: a part that fills in a spool file while those before it are sent.
//! Every part but the last has one size. Parts are sent by tasks of their own, few at a time for each upload and for
//! the process: what waits is on this machine's disk and not in memory.
//!
//! A task holds the lease of its key, so that the next writer in this process begins only when nothing of this one is
//! on its way any more. What a stale writer of another process sends is not in the list that completes the object.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::join;
use object_store::multipart::MultipartStore;
use object_store::{Error, ObjectStoreExt, PutPayload};
use tokio::task::JoinHandle;

use super::progress::{S3Progress, Tail};
use super::spool::{MEMORY_BYTES, Spool};
use super::{S3Store, failed};
use crate::blocking::{blocking, joined};
use crate::error::StoreError;
use crate::key::ObjectKey;
use crate::takeover::Lease;

/// Parts of one upload that are being sent, or wait for their turn, while the next one fills: with it, the disk holds
/// so many and one more.
const MAX_PENDING_PARTS: usize = 2;
/// S3 takes so many parts.
const MAX_PARTS: usize = 10_000;

/// A run of bytes of one upload: tails of earlier requests, and what this one has brought since.
pub(super) struct Run {
    pub(super) tails: Vec<Tail>,
    pub(super) spool: Spool,
}

impl Run {
    pub(super) fn len(&self) -> u64 {
        self.tails.iter().map(|tail| tail.bytes).sum::<u64>() + self.spool.len()
    }
}

pub(crate) struct S3Upload {
    pub(super) store: Arc<S3Store>,
    pub(super) key: ObjectKey,
    pub(super) lease: Lease,
    pub(super) upload_id: Option<Arc<str>>,
    pub(super) part_bytes: u64,
    /// The entity tags of the parts that the store has.
    pub(super) parts: Vec<String>,
    /// Parts on their way, in order.
    pending: VecDeque<JoinHandle<Result<String, StoreError>>>,
    /// Parts that are full and not on their way yet.
    full: VecDeque<Run>,
    /// What comes after them.
    pub(super) last: Run,
    /// The names of tails that the caller's row needs no more.
    removable: Vec<String>,
    /// The names of tails whose bytes are elsewhere by now: the caller's row still needs them.
    spent: Vec<String>,
    /// Whether the object has been made of it.
    pub(super) completed: bool,
}

impl S3Upload {
    /// Goes on where an earlier request stopped. That asks the store nothing: what is lost shows when it is needed.
    pub(crate) fn open(store: &Arc<S3Store>, lease: Lease, progress: S3Progress) -> Self {
        let mut tails = progress.tails;
        let spent = tails.iter_mut().map(|tail| std::mem::take(&mut tail.spent));
        let removable = spent.flatten().collect();
        Self {
            key: lease.key(),
            lease,
            upload_id: progress.upload_id.map(Arc::from),
            part_bytes: progress.part_bytes,
            parts: progress.parts,
            pending: VecDeque::new(),
            full: VecDeque::new(),
            last: Run {
                tails,
                spool: store.spool.spool(),
            },
            removable,
            spent: Vec::new(),
            store: Arc::clone(store),
            completed: false,
        }
    }

    /// Takes bytes into the spool; blocks. A part is closed when the byte behind it comes, so that the last one is
    /// never empty, and what fits into one part never becomes several.
    pub(crate) fn append(&mut self, pieces: &[Bytes]) -> Result<(), StoreError> {
        for piece in pieces {
            let mut rest = piece.clone();
            while !rest.is_empty() {
                let room = self.part_bytes.saturating_sub(self.last.len());
                if room == 0 {
                    let next = Run {
                        tails: Vec::new(),
                        spool: self.store.spool.spool(),
                    };
                    self.full.push_back(std::mem::replace(&mut self.last, next));
                    continue;
                }
                let fits = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
                self.last.spool.append(&rest.split_to(fits))?;
            }
        }
        Ok(())
    }

    /// Sends the parts that are full; waits while too many are on their way.
    pub(crate) async fn send_full_parts(&mut self) -> Result<(), StoreError> {
        while let Some(run) = self.full.pop_front() {
            if self.pending.len() >= MAX_PENDING_PARTS {
                self.collect_one().await?;
            }
            self.lease.check()?;
            self.spent.extend(names(&run.tails));
            let part = Part {
                upload_id: self.multipart().await?,
                number: self.parts.len() + self.pending.len(),
                run,
                store: Arc::clone(&self.store),
                lease: self.lease.clone(),
            };
            self.check_number(part.number)?;
            self.pending.push_back(tokio::spawn(part.put()));
        }
        Ok(())
    }

    /// Whether the store takes a part of this number, from 0.
    pub(super) fn check_number(&self, number: usize) -> Result<(), StoreError> {
        if number < MAX_PARTS {
            return Ok(());
        }
        Err(StoreError::TooLarge {
            key: self.key,
            limit_bytes: self.part_bytes * MAX_PARTS as u64,
        })
    }

    /// Waits until the store has every part that is full, and keeps the rest for the next request.
    pub(crate) async fn pause(&mut self) -> Result<Vec<u8>, StoreError> {
        let removal = remove_tails(
            Arc::clone(&self.store),
            self.key,
            std::mem::take(&mut self.removable),
        );
        // At one time: the client waits for the answer.
        let (kept, ()) = join(self.keep_rest(), removal).await;
        kept?;
        let progress = S3Progress {
            upload_id: self.upload_id.as_deref().map(str::to_owned),
            part_bytes: self.part_bytes,
            parts: self.parts.clone(),
            tails: self.last.tails.clone(),
        };
        Ok(progress.encode())
    }

    /// Waits until the store has every part that is full, and puts what follows them as a tail.
    async fn keep_rest(&mut self) -> Result<(), StoreError> {
        self.settle().await?;
        if self.last.spool.len() > 0 {
            let spooled = std::mem::replace(&mut self.last.spool, self.store.spool.spool());
            let kept = self.last.tails.len() - self.tails_to_join(spooled.len());
            let run = Run {
                tails: self.last.tails.split_off(kept),
                spool: spooled,
            };
            let _permit = self.store.permit(&run).await;
            let bytes = self.store.load(self.key, &run).await?;
            let tail = self.store.put_tail(self.key, bytes).await?;
            self.last.tails.push(tail);
            self.spent.extend(names(&run.tails));
        }
        // Whoever goes on from here needs them no more. Without a tail to say so, they stay until the upload ends.
        if let Some(tail) = self.last.tails.last_mut() {
            tail.spent.append(&mut self.spent);
        }
        Ok(())
    }

    /// Waits until the store has every part that is full.
    pub(crate) async fn settle(&mut self) -> Result<(), StoreError> {
        self.send_full_parts().await?;
        while !self.pending.is_empty() {
            self.collect_one().await?;
        }
        Ok(())
    }

    /// Whether the bucket has anything of this upload.
    pub(crate) fn is_staged(&self) -> bool {
        self.upload_id.is_some() || !self.last.tails.is_empty()
    }

    pub(super) async fn multipart(&mut self) -> Result<Arc<str>, StoreError> {
        if let Some(id) = &self.upload_id {
            return Ok(Arc::clone(id));
        }
        let id: Arc<str> = self.store.begin_multipart(self.key).await?.into();
        self.upload_id = Some(Arc::clone(&id));
        Ok(id)
    }

    async fn collect_one(&mut self) -> Result<(), StoreError> {
        if let Some(part) = self.pending.pop_front() {
            self.parts.push(joined(part.await)?);
        }
        Ok(())
    }

    /// How many of the last tails the new one takes the place of: those that are not much larger. So their number
    /// grows with the logarithm of the bytes, however small the requests are, and so does the work for each byte.
    fn tails_to_join(&self, new_bytes: u64) -> usize {
        let mut bytes = new_bytes;
        let mut joined = 0;
        for tail in self.last.tails.iter().rev() {
            if tail.bytes > 2 * bytes {
                break;
            }
            bytes += tail.bytes;
            joined += 1;
        }
        joined
    }
}

fn names(tails: &[Tail]) -> impl Iterator<Item = String> {
    tails.iter().map(|tail| tail.name.clone())
}

/// Removes tails that no row needs. What stays costs a little until the upload ends.
async fn remove_tails(store: Arc<S3Store>, key: ObjectKey, names: Vec<String>) {
    if let Err(error) = store.remove_staged(key, &names).await {
        tracing::warn!(%key, %error, "bytes that nobody needs stay until their upload ends");
    }
}

/// A part on its way.
struct Part {
    upload_id: Arc<str>,
    /// From 0.
    number: usize,
    run: Run,
    store: Arc<S3Store>,
    lease: Lease,
}

impl Part {
    /// Sends the part and gives its entity tag.
    async fn put(self) -> Result<String, StoreError> {
        let key = self.lease.key();
        let _permit = self.store.permit(&self.run).await;
        self.lease.check()?;
        let bytes = self.store.load(key, &self.run).await?;
        // The disk has room again while the part is sent.
        drop(self.run);
        self.store
            .put_part(key, &self.upload_id, self.number, bytes)
            .await
    }
}

impl S3Store {
    /// A place in memory for one part. So few bytes that their upload holds them in memory anyway need none, and do
    /// not wait behind large parts.
    pub(super) async fn permit(&self, run: &Run) -> Option<tokio::sync::OwnedSemaphorePermit> {
        if run.len() < MEMORY_BYTES as u64 {
            return None;
        }
        // Cannot fail: nobody closes the budget.
        loop {
            if let Ok(permit) = Arc::clone(&self.budget).acquire_owned().await {
                return Some(permit);
            }
        }
    }

    pub(super) async fn put_part(
        &self,
        key: ObjectKey,
        upload_id: &str,
        number: usize,
        bytes: Bytes,
    ) -> Result<String, StoreError> {
        let payload = PutPayload::from_bytes(bytes);
        self.client
            .put_part(&self.object(key), &upload_id.to_owned(), number, payload)
            .await
            .map(|part| part.content_id)
            .map_err(|error| match error {
                // The multipart upload was aborted or completed.
                Error::NotFound { .. } => StoreError::StagingLost {
                    key,
                    expected: (number as u64).saturating_mul(self.part_bytes),
                    found: None,
                },
                error => failed("write a part of", key.object_path(), error),
            })
    }

    /// Reads a run into memory. Whoever calls this has asked for a permit.
    pub(super) async fn load(
        self: &Arc<Self>,
        key: ObjectKey,
        run: &Run,
    ) -> Result<Bytes, StoreError> {
        let mut buffer = self
            .buffers
            .take(usize::try_from(run.len()).unwrap_or(usize::MAX));
        let mut filled = 0;
        for tail in &run.tails {
            let room = usize::try_from(tail.bytes).unwrap_or(usize::MAX);
            self.load_tail(key, tail, &mut buffer.as_mut()[filled..filled + room])
                .await?;
            filled += room;
        }
        let spool = run.spool.reader();
        blocking(move || {
            spool.read_into(&mut buffer.as_mut()[filled..])?;
            Ok(buffer.freeze())
        })
        .await
    }

    async fn load_tail(
        &self,
        key: ObjectKey,
        tail: &Tail,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        let path = self.staged(key, &tail.name);
        let lost = |found| StoreError::StagingLost {
            key,
            expected: tail.bytes,
            found,
        };
        let object = match self.client.get(&path).await {
            Ok(object) => object,
            Err(Error::NotFound { .. }) => return Err(lost(None)),
            Err(error) => return Err(failed("read", path.to_string(), error)),
        };
        if object.meta.size != tail.bytes {
            return Err(lost(Some(object.meta.size)));
        }
        let mut filled = 0;
        let mut stream = object.into_stream();
        while let Some(bytes) = stream
            .try_next()
            .await
            .map_err(|error| failed("read", path.to_string(), error))?
        {
            let Some(room) = buffer.get_mut(filled..filled + bytes.len()) else {
                return Err(lost(Some((filled + bytes.len()) as u64)));
            };
            room.copy_from_slice(&bytes);
            filled += bytes.len();
        }
        if filled == buffer.len() {
            Ok(())
        } else {
            Err(lost(Some(filled as u64)))
        }
    }
}

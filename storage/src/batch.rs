//! The bytes an upload has taken but not yet handed to the disk.
//!
//! Owns the bound on them. A batch keeps what the network gave without copying it, except for small
//! pieces: those are gathered, so that neither a list of a hundred thousand tiny pieces nor the
//! large receive buffers that such pieces keep alive can grow without a limit.

use bytes::{Bytes, BytesMut};

/// A batch is handed on when it holds this many bytes, or as few as [`MIN_BATCH_BYTES`] if there are many uploads.
///
/// The larger it is, the less often the work changes threads, which a fast upload pays a tenth of its time for.
const MAX_BATCH_BYTES: usize = 512 * 1024;
const MIN_BATCH_BYTES: usize = 128 * 1024;

/// What the batches of all uploads that are being filled may hold together, while they can be small enough for it.
const ALL_BATCHES_BYTES: usize = 8 * 1024 * 1024;

/// How full a batch becomes when there are so many uploads.
///
/// One batch is filled while one is written, so an upload holds twice this and two more pieces as
/// the caller cut them: a hundred uploads in 16 KiB pieces hold 28 MiB.
pub(crate) fn batch_bytes(uploads: usize) -> usize {
    (ALL_BATCHES_BYTES / uploads.max(1)).clamp(MIN_BATCH_BYTES, MAX_BATCH_BYTES)
}

/// Pieces below this size are copied; at this size a copy costs more than the list entry it saves.
const COPY_BELOW_BYTES: usize = 4 * 1024;

#[derive(Default)]
pub(crate) struct Batch {
    pieces: Vec<Bytes>,
    gathered: BytesMut,
    length: usize,
}

impl Batch {
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        if piece.len() < COPY_BELOW_BYTES {
            self.gathered.extend_from_slice(&piece);
            return;
        }
        self.close_gathered();
        self.pieces.push(piece);
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The pieces in order; the batch is empty afterwards.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        self.close_gathered();
        self.length = 0;
        std::mem::take(&mut self.pieces)
    }

    fn close_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.pieces.push(self.gathered.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_between_small_and_large_pieces() {
        let mut batch = Batch::default();
        let large = Bytes::from(vec![2; COPY_BELOW_BYTES]);
        for piece in [
            Bytes::from_static(b"a"),
            Bytes::from_static(b"b"),
            large.clone(),
        ] {
            batch.push(piece);
        }
        batch.push(Bytes::from_static(b"c"));
        assert_eq!(batch.take().concat(), [b"ab", &large[..], b"c"].concat());
        assert!(batch.take().is_empty());
    }

    #[test]
    fn tiny_pieces_do_not_make_a_long_list() {
        let mut batch = Batch::default();
        while batch.len() < MIN_BATCH_BYTES {
            batch.push(Bytes::from_static(b"x"));
        }
        let pieces = batch.take();
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].len(), MIN_BATCH_BYTES);
        assert_eq!(batch.len(), 0);
    }

    #[test]
    fn few_uploads_have_large_batches_and_many_do_not_hold_more_together() {
        assert_eq!(batch_bytes(0), MAX_BATCH_BYTES);
        assert_eq!(batch_bytes(16), MAX_BATCH_BYTES);
        for uploads in 16..64 {
            assert!(uploads * batch_bytes(uploads) <= ALL_BATCHES_BYTES);
        }
        assert_eq!(batch_bytes(1000), MIN_BATCH_BYTES);
    }

    #[test]
    fn large_pieces_are_not_copied() {
        let mut batch = Batch::default();
        let large = Bytes::from(vec![1; COPY_BELOW_BYTES]);
        batch.push(large.clone());
        assert_eq!(batch.take()[0].as_ptr(), large.as_ptr());
    }
}

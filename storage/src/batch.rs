//! The bytes an upload has taken but not yet handed to the disk.
//!
//! Owns the bound on them. A batch keeps what the network gave without copying it, except for small
//! pieces: those are gathered, so that neither a list of a hundred thousand tiny pieces nor the
//! large receive buffers that such pieces keep alive can grow without a limit.

use bytes::{Bytes, BytesMut};

/// A batch is handed on when it holds this many bytes.
///
/// One batch is filled while one is written, so an upload holds twice this and two more pieces as
/// the caller cut them: a hundred uploads in 16 KiB pieces hold 28 MiB.
pub(crate) const BATCH_BYTES: usize = 128 * 1024;

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

    pub(crate) fn is_full(&self) -> bool {
        self.length >= BATCH_BYTES
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
        while !batch.is_full() {
            batch.push(Bytes::from_static(b"x"));
        }
        let pieces = batch.take();
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].len(), BATCH_BYTES);
        assert!(!batch.is_full());
    }

    #[test]
    fn large_pieces_are_not_copied() {
        let mut batch = Batch::default();
        let large = Bytes::from(vec![1; COPY_BELOW_BYTES]);
        batch.push(large.clone());
        assert_eq!(batch.take()[0].as_ptr(), large.as_ptr());
    }
}

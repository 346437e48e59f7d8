//! Buffers for reading, used again and again.
//!
//! Owns the bound on those that lie idle. A buffer of a quarter of a mebibyte that is fresh from the system costs about
//! as much as reading into it: its pages are cleared and mapped one by one, and none of it is in the processor's cache.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Idle buffers that are kept; more are given back to the system.
const IDLE_LIMIT: usize = 16;

/// Below this size a buffer is made when it is needed.
const SHARED_FROM_BYTES: usize = 64 * 1024;

/// Buffers of one size. Clones share them.
#[derive(Clone)]
pub(crate) struct Buffers {
    size_bytes: usize,
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Buffers {
    pub(crate) fn new(size_bytes: usize) -> Self {
        Self {
            size_bytes,
            idle: Arc::default(),
        }
    }

    /// The size of the buffers.
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// A buffer of this length; one that is longer than the size is not shared. Its bytes are whatever was in it before.
    pub(crate) fn take(&self, length: usize) -> Buffer {
        if length < SHARED_FROM_BYTES || length > self.size_bytes {
            return Buffer {
                bytes: vec![0; length],
                length,
                home: None,
            };
        }
        let idle = self.idle().pop();
        Buffer {
            bytes: idle.unwrap_or_else(|| vec![0; self.size_bytes]),
            length,
            home: Some(self.clone()),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer on loan; when it, or the last part of the [`Bytes`] made of it, is dropped, it is idle again.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    home: Option<Buffers>,
}

impl Buffer {
    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let mut idle = home.idle();
            // The last one in is the first one out: the processor's cache still has it.
            if idle.len() < IDLE_LIMIT {
                idle.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_used_again_once_its_last_part_is_gone() {
        let buffers = Buffers::new(256 * 1024);
        let mut buffer = buffers.take(200_000);
        buffer.as_mut().fill(7);
        let bytes = buffer.freeze();
        assert!(bytes.len() == 200_000 && bytes.iter().all(|byte| *byte == 7));
        let part = bytes.slice(10..20);
        drop(bytes);
        assert!(buffers.idle().is_empty());
        drop(part);
        assert_eq!(buffers.idle().len(), 1);
        assert_eq!(buffers.take(256 * 1024).as_ref()[..10], [7; 10]);
    }

    #[test]
    fn a_buffer_that_is_longer_than_the_size_is_whole_and_not_kept() {
        let buffers = Buffers::new(100_000);
        drop(buffers.take(100_000));
        assert_eq!(buffers.take(200_000).as_mut().len(), 200_000);
        assert_eq!(buffers.idle().len(), 1);
    }

    #[test]
    fn idle_buffers_are_few_and_small_ones_are_none() {
        let buffers = Buffers::new(256 * 1024);
        drop(buffers.take(1000));
        assert!(buffers.idle().is_empty());
        let many: Vec<Buffer> = (0..2 * IDLE_LIMIT).map(|_| buffers.take(100_000)).collect();
        drop(many);
        assert_eq!(buffers.idle().len(), IDLE_LIMIT);
    }
}

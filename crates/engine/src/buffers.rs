//! Buffers for bytes on their way, shared by the connections of a worker.
//!
//! A connection that waits holds none. The buffer used last is the next to be lent: a few stay in the processor's
//! cache, however many connections there are.

use std::cell::RefCell;

/// Largest buffer kept for later, in bytes.
const KEPT_BYTES: usize = 128 << 10;
/// Buffers kept for later.
const KEPT: usize = 64;

/// The buffers of one worker that nobody uses at the moment.
#[derive(Default)]
pub struct Buffers {
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer.
    #[inline]
    pub fn take(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps a buffer for the next who needs one, unless it is large or there are enough.
    #[inline]
    pub fn give(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if buffer.capacity() > 0 && buffer.capacity() <= KEPT_BYTES && spare.len() < KEPT {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_given_back_last_is_lent_next_and_comes_empty() {
        let buffers = Buffers::default();
        buffers.give(Vec::with_capacity(16));
        buffers.give(b"bytes".repeat(10));
        let lent = buffers.take();
        assert!(lent.is_empty() && lent.capacity() >= 50);
        assert_eq!(buffers.take().capacity(), 16);
        assert_eq!(buffers.take().capacity(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Buffers::default();
        buffers.give(Vec::with_capacity(KEPT_BYTES + 1));
        assert_eq!(buffers.take().capacity(), 0);
        (0..KEPT + 9).for_each(|_| buffers.give(Vec::with_capacity(1)));
        assert_eq!(buffers.spare.borrow().len(), KEPT);
    }
}

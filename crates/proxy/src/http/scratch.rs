//! Buffers in which heads are put together: a thread keeps some, so that a request allocates none.

use std::cell::RefCell;

/// How many free buffers a thread keeps, and how large they may be.
const KEPT: usize = 32;
const LARGEST: usize = 8 * 1024;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with at least this much room.
pub(crate) fn take(room: usize) -> Vec<u8> {
    let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    buffer.reserve(room.max(1024));
    buffer
}

/// Keeps the buffer for the next one who needs one.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > LARGEST {
        return;
    }
    buffer.clear();
    FREE.with_borrow_mut(|free| {
        if free.len() < KEPT {
            free.push(buffer);
        }
    });
}

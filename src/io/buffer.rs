//! Memory that a disk can take directly.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::BLOCK;

/// A growable run of bytes at a fixed, block-aligned place, within a fixed capacity.
///
/// It never moves its memory, so a kernel that was given the address may use it for as long as
/// the value lives. Whoever submits it to a ring keeps the value until the completion has come.
pub struct AlignedBuffer {
    start: NonNull<u8>,
    length: usize,
    capacity: usize,
    slot: Option<u16>,
}

// SAFETY: the buffer owns its memory alone, like a `Box<[u8]>`.
unsafe impl Send for AlignedBuffer {}
// SAFETY: a shared reference gives only shared access to the bytes.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// An empty buffer of at least this capacity, rounded up to whole blocks, of zeros.
    pub fn new(capacity: usize) -> AlignedBuffer {
        let capacity = capacity.max(1).next_multiple_of(BLOCK);
        let layout = layout(capacity);
        // SAFETY: the layout's size is at least one block.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        AlignedBuffer {
            start,
            length: 0,
            capacity,
            slot: None,
        }
    }

    /// The same as one of a fixed set, known to a ring by its slot.
    pub fn with_slot(capacity: usize, slot: u16) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::new(capacity);
        buffer.slot = Some(slot);
        buffer
    }

    /// Its number in the set that a ring may register; `None` for one made for a single use.
    pub fn slot(&self) -> Option<u16> {
        self.slot
    }

    /// Bytes that it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets the content.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Appends bytes; panics past the capacity, which the caller has checked.
    pub fn extend(&mut self, bytes: &[u8]) {
        let start = self.length;
        self.set_length(start + bytes.len());
        self[start..].copy_from_slice(bytes);
    }

    /// Grows to `length` bytes with copies of `fill`; panics past the capacity.
    pub fn grow(&mut self, length: usize, fill: u8) {
        assert!(length >= self.length, "a buffer only grows");
        let start = self.length;
        self.set_length(length);
        self[start..].fill(fill);
    }

    fn set_length(&mut self, length: usize) {
        assert!(length <= self.capacity, "past the end of the buffer");
        self.length = length;
    }
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, BLOCK).expect("a capacity far below isize::MAX")
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` owns `capacity` initialised bytes and `length` is at most that.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the exclusive borrow makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and owned alone.
        unsafe { dealloc(self.start.as_ptr(), layout(self.capacity)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_stays_where_it_is() {
        let mut buffer = AlignedBuffer::new(5000);
        assert_eq!(buffer.capacity(), 2 * BLOCK);
        let place = buffer.as_ptr();
        assert_eq!(place as usize % BLOCK, 0);
        buffer.extend(b"abc");
        buffer.grow(BLOCK, 7);
        assert_eq!((&buffer[..4], buffer.len()), (&b"abc\x07"[..], BLOCK));
        let moved = buffer;
        assert_eq!(moved.as_ptr(), place);
    }
}

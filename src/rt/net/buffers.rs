//! Buffers that the kernel picks from when bytes come in (`IORING_REGISTER_PBUF_RING`, Linux 5.19):
//! sockets that wait hold no memory.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use memmap2::MmapMut;

/// The one group of buffers of a ring.
pub(super) const GROUP: u16 = 0;

/// How many buffers there are; a power of two, and below 2^15.
pub(super) const COUNT: u16 = 512;

/// Bytes of each.
const BYTES: usize = 8 << 10;

/// Buffers shared with the kernel. It fills one and names it in a completion; until it is given
/// back it is ours.
///
/// Must be unregistered before it is dropped.
pub(super) struct Buffers {
    /// What the kernel takes buffers from: `COUNT` entries. The tail, up to which they are filled
    /// in, lies in the first one.
    entries: MmapMut,
    memory: MmapMut,
    tail: u16,
}

impl Buffers {
    /// Buffers that are registered with a ring; an error where the kernel has no such thing.
    pub(super) fn register(submitter: &Submitter<'_>) -> io::Result<Buffers> {
        let mut buffers = Buffers {
            // Pages of their own, as the kernel asks for.
            entries: MmapMut::map_anon(usize::from(COUNT) * size_of::<BufRingEntry>())?,
            memory: MmapMut::map_anon(usize::from(COUNT) * BYTES)?,
            tail: 0,
        };
        let address = buffers.entries.as_ptr() as u64;
        // SAFETY: the mapping has room for so many entries, and is neither moved nor freed until
        // `unregister`.
        unsafe { submitter.register_buf_ring_with_flags(address, COUNT, GROUP, 0)? };
        for id in 0..COUNT {
            buffers.give_back(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Takes the buffers from the kernel.
    pub(super) fn unregister(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        submitter.unregister_buf_ring(GROUP)
    }

    /// What the kernel has put into a buffer that it named.
    pub(super) fn bytes(&self, id: u16, length: usize) -> &[u8] {
        let start = usize::from(id) * BYTES;
        &self.memory[start..start + length]
    }

    /// Gives a buffer back to the kernel, which sees it after [`Buffers::publish`].
    pub(super) fn give_back(&mut self, id: u16) {
        debug_assert!(id < COUNT, "the kernel names only what it was given");
        let address = self.memory[usize::from(id) * BYTES..].as_ptr() as u64;
        let index = usize::from(self.tail % COUNT);
        let entries = self.entries.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: the index is within the mapping, which is aligned to a page. The kernel does not
        // look at an entry at or past the tail, of which there is one for every buffer that it
        // does not have; the tail itself lies in a field that is not touched here.
        let entry = unsafe { &mut *entries.add(index) };
        entry.set_addr(address);
        entry.set_len(BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was given back.
    pub(super) fn publish(&mut self) {
        let entries = self.entries.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the mapping starts with an entry, and holds zeros or what was written.
        let tail = unsafe { BufRingEntry::tail(entries) };
        // SAFETY: the tail is two aligned bytes within the mapping, which the kernel reads and
        // nobody else writes.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the entries are seen before it.
        tail.store(self.tail, Ordering::Release);
    }
}

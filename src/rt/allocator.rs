//! The allocator of the server: mimalloc, asked so that it wastes nothing.
//!
//! `mi_malloc_aligned`, by which the crate `mimalloc` asks for everything, adds the alignment to the
//! size wherever the size is not a power of two and no block of the right size lies ready. So it takes
//! blocks of the next class, of which there is never one ready the next time: 96 bytes for each 80. But
//! every block is aligned for what C knows as the strictest type, and that is all that most of ours ask
//! for.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mimalloc;

/// How blocks are aligned that are at least as large (mimalloc's `MI_MAX_ALIGN_SIZE`).
const ALIGNED: usize = 16;

/// Mimalloc as a global allocator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

fn is_usual(align: usize, size: usize) -> bool {
    align <= ALIGNED && align <= size
}

// SAFETY: mimalloc's functions keep the contract of malloc, and blocks of one may be given to any other
// of them. A block has the alignment that is asked for, or is at least as large as an alignment of at
// most `ALIGNED`.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size and any power of two are allowed.
        unsafe {
            match is_usual(align, size) {
                true => mimalloc::mi_malloc(size).cast(),
                false => mimalloc::mi_malloc_aligned(size, align).cast(),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as above.
        unsafe {
            match is_usual(align, size) {
                true => mimalloc::mi_zalloc(size).cast(),
                false => mimalloc::mi_zalloc_aligned(size, align).cast(),
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller says that the block is of this allocator and used no more.
        unsafe { mimalloc::mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let align = layout.align();
        // SAFETY: the caller says that the block is of this allocator.
        unsafe {
            match is_usual(align, new_size) {
                true => mimalloc::mi_realloc(block.cast(), new_size).cast(),
                false => mimalloc::mi_realloc_aligned(block.cast(), new_size, align).cast(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes around every class up to some pages, and beyond.
    fn sizes() -> impl Iterator<Item = usize> {
        (1..2048).chain((11..24).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]))
    }

    #[test]
    fn blocks_are_aligned_zeroed_where_asked_and_keep_their_bytes() {
        for align in [1, 2, 4, 8, 16, 32, 128, 4096] {
            for size in sizes() {
                let layout = Layout::from_size_align(size, align).expect("a power of two");
                // SAFETY: sizes are above zero, each block is used within its size and freed once.
                unsafe {
                    let block = Allocator.alloc_zeroed(layout);
                    assert_eq!(block.addr() % align, 0, "{layout:?}");
                    assert!(
                        std::slice::from_raw_parts(block, size)
                            .iter()
                            .all(|&byte| byte == 0)
                    );
                    block.write_bytes(7, size);
                    let block = Allocator.realloc(block, layout, size * 2);
                    assert_eq!(block.addr() % align, 0, "{layout:?} twice as large");
                    assert!(
                        std::slice::from_raw_parts(block, size)
                            .iter()
                            .all(|&byte| byte == 7)
                    );
                    let layout = Layout::from_size_align(size * 2, align).expect("as before");
                    Allocator.dealloc(block, layout);
                    let block = Allocator.alloc(layout);
                    assert_eq!(block.addr() % align, 0, "{layout:?}");
                    Allocator.dealloc(block, layout);
                }
            }
        }
    }

    #[test]
    fn no_class_is_left_out() {
        let layout = Layout::from_size_align(80, 8).expect("a power of two");
        // SAFETY: the blocks are used by nobody and freed once.
        unsafe {
            let blocks: Vec<*mut u8> = (0..100).map(|_| Allocator.alloc(layout)).collect();
            for &block in &blocks {
                assert_eq!(mimalloc::mi_usable_size(block.cast()), 80);
                Allocator.dealloc(block, layout);
            }
        }
    }
}

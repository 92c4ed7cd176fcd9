//! From path to cell: extendible hashing, read without locks.
//!
//! A directory of pointers, chosen by the upper bits of the hash, leads to segments of open
//! addressing. A segment that fills up is split in two, so growing costs the same at any size: no
//! write ever waits for the whole index to be rebuilt. A slot holds the pointer to a cell with 16
//! bits of its hash on top, so that other cells are rarely looked at.
//!
//! Cells of one path may stand here several times, dead ones until no view needs them: readers take
//! the one that they can see.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell as StdCell;
use std::hash::{BuildHasher, Hasher};
use std::mem::{offset_of, size_of};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use foldhash::fast::FixedState;

use super::cell::{Cell, CellRef};

/// Segments are made of so many bytes, of which the header takes a few: what an allocator keeps for
/// a power of two, but not for a little more.
const UNIT_BYTES: usize = 4096;
/// Units of a segment, unless it must grow.
const UNITS: usize = 2;
/// Past this depth (16 Mi segments) segments grow instead of being split.
const DEPTH_MAX: u32 = 24;
const TAG_SHIFT: u32 = 48;
/// As many as a tag can say.
const UNITS_MAX: usize = (1 << (64 - TAG_SHIFT)) - 1;
const ADDRESS_MASK: usize = (1 << TAG_SHIFT) - 1;
const ADDRESSES: &str = "addresses in user space have 48 bits";
/// What stands in a slot whose cell was taken out.
const VACATED: usize = 1;

#[repr(C)]
pub(super) struct Segment {
    cap: u32,
    /// How many upper bits of the hash all cells here share.
    depth: u32,
    /// Slots that are not null, and those that hold a cell; the writer's own notes.
    used: StdCell<u32>,
    live: StdCell<u32>,
    slots: [AtomicPtr<Cell>; 0],
}

pub(super) struct Directory {
    bits: u32,
    /// With the segment's units on top, so that a reader goes to the slot without a look at the
    /// segment's header.
    segments: Box<[AtomicPtr<Segment>]>,
}

/// What a change of the index left behind; readers may be in it still.
pub(super) enum OldPart {
    Segment(NonNull<Segment>),
    Directory(NonNull<Directory>),
}

impl OldPart {
    /// # Safety
    /// Nobody reads it now or later.
    pub(super) unsafe fn free(self) {
        // SAFETY: as the caller says; each comes from the allocation that is named here.
        unsafe {
            match self {
                OldPart::Segment(segment) => Segment::free(segment),
                OldPart::Directory(directory) => drop(Box::from_raw(directory.as_ptr())),
            }
        }
    }
}

fn segment_layout(cap: u32) -> Layout {
    let slots = Layout::array::<AtomicPtr<Cell>>(cap as usize).expect("cap is an u32");
    let (layout, offset) = Layout::new::<Segment>()
        .extend(slots)
        .expect("an u32 of pointers fits memory");
    debug_assert_eq!(offset, offset_of!(Segment, slots));
    layout
}

impl Segment {
    fn allocate(units: usize, depth: u32) -> NonNull<Segment> {
        assert!((1..=UNITS_MAX).contains(&units), "{ADDRESSES}");
        let cap = cap_of(units) as u32;
        let layout = segment_layout(cap);
        // SAFETY: the layout has a size above zero; zeroes are a valid segment of null slots, and
        // `cap` and `depth` are written before anybody else knows of the memory.
        unsafe {
            let Some(segment) = NonNull::new(alloc_zeroed(layout).cast::<Segment>()) else {
                handle_alloc_error(layout)
            };
            (*segment.as_ptr()).cap = cap;
            (*segment.as_ptr()).depth = depth;
            segment
        }
    }

    /// # Safety
    /// Nobody reads the segment now or later.
    unsafe fn free(segment: NonNull<Segment>) {
        // SAFETY: as the caller says; `cap` never changes.
        unsafe {
            dealloc(
                segment.cast().as_ptr(),
                segment_layout((*segment.as_ptr()).cap),
            )
        }
    }

    /// # Safety
    /// The segment must not be freed during `'a`.
    unsafe fn slots<'a>(segment: NonNull<Segment>) -> &'a [AtomicPtr<Cell>] {
        // SAFETY: as the caller says.
        unsafe { Segment::slots_of_cap(segment, (*segment.as_ptr()).cap as usize) }
    }

    /// # Safety
    /// The segment must not be freed during `'a`, and has the capacity `cap`.
    unsafe fn slots_of_cap<'a>(segment: NonNull<Segment>, cap: usize) -> &'a [AtomicPtr<Cell>] {
        // SAFETY: the caller keeps it alive; `cap` slots follow the header, all of them atomics
        // that were initialised with null. The pointer has the provenance of the allocation.
        unsafe {
            let first = (&raw const (*segment.as_ptr()).slots).cast::<AtomicPtr<Cell>>();
            std::slice::from_raw_parts(first, cap)
        }
    }

    /// What stands in a directory for this segment.
    ///
    /// # Safety
    /// The segment is alive.
    unsafe fn entry(segment: NonNull<Segment>) -> *mut Segment {
        // SAFETY: as the caller says.
        let cap = unsafe { (*segment.as_ptr()).cap };
        assert!(segment.as_ptr().addr() <= ADDRESS_MASK, "{ADDRESSES}");
        segment
            .as_ptr()
            .map_addr(|address| address | units_of(cap) << TAG_SHIFT)
    }
}

/// The segment of a directory's entry, and its capacity.
fn segment_of(entry: *mut Segment) -> (NonNull<Segment>, usize) {
    let segment = entry.map_addr(|address| address & ADDRESS_MASK);
    let segment = NonNull::new(segment).expect("every position has a segment");
    (segment, cap_of(entry.addr() >> TAG_SHIFT))
}

/// Slots of a segment of so many units.
fn cap_of(units: usize) -> usize {
    (units * UNIT_BYTES - size_of::<Segment>()) / size_of::<usize>()
}

/// Units of a segment with so many slots.
fn units_of(cap: u32) -> usize {
    segment_layout(cap).size() / UNIT_BYTES
}

/// The slot where the search for a hash begins.
fn home(hash: u64, cap: usize) -> usize {
    // The lower half of the hash, as a part of the capacity.
    (((hash & u64::from(u32::MAX)) * cap as u64) >> 32) as usize
}

/// The slot after this one.
fn after(at: usize, cap: usize) -> usize {
    if at + 1 == cap { 0 } else { at + 1 }
}

/// The index. Reading is for any thread, changing for the one writer.
pub(super) struct Index {
    directory: AtomicPtr<Directory>,
    hasher: FixedState,
}

impl Index {
    pub(super) fn new(hash_seed: u64) -> Index {
        let segment = Segment::allocate(UNITS, 0);
        let directory = Directory {
            bits: 0,
            // SAFETY: it was just made.
            segments: Box::new([AtomicPtr::new(unsafe { Segment::entry(segment) })]),
        };
        Index {
            directory: AtomicPtr::new(Box::into_raw(Box::new(directory))),
            hasher: FixedState::with_seed(hash_seed),
        }
    }

    fn hash(&self, path: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(path.as_bytes());
        hasher.finish()
    }

    /// The first cell of this path for which `choose` gives an answer.
    ///
    /// # Safety
    /// What the index leaves behind from now on, and cells taken out of it from now on, must not be
    /// freed before this returns.
    pub(super) unsafe fn find<T>(
        &self,
        path: &str,
        mut choose: impl FnMut(CellRef) -> Option<T>,
    ) -> Option<T> {
        let hash = self.hash(path);
        // SAFETY: the caller keeps alive whatever is loaded here, even if the writer replaces it
        // meanwhile. What the loads give was published by release stores.
        let slots = unsafe {
            let (segment, cap) = self.segment(hash);
            Segment::slots_of_cap(segment, cap)
        };
        let mut at = home(hash, slots.len());
        loop {
            let entry = slots[at].load(Ordering::Acquire);
            if entry.is_null() {
                return None;
            }
            if entry.addr() >> TAG_SHIFT == tag(hash)
                && let Some(cell) = cell_of(entry)
                && cell.path() == path
                && let Some(chosen) = choose(cell)
            {
                return Some(chosen);
            }
            at = after(at, slots.len());
        }
    }

    /// # Safety
    /// As for [`Index::find`].
    unsafe fn segment(&self, hash: u64) -> (NonNull<Segment>, usize) {
        // SAFETY: a published directory is whole and the caller keeps it from being freed.
        let directory = unsafe { &*self.directory.load(Ordering::Acquire) };
        let position = position(hash, directory.bits);
        segment_of(directory.segments[position].load(Ordering::Acquire))
    }

    /// Adds a cell. What is replaced goes to `old`.
    ///
    /// # Safety
    /// The caller is the writer, and the cell stays alive until it is taken out.
    pub(super) unsafe fn insert(&self, cell: CellRef, old: &mut Vec<OldPart>) {
        let hash = self.hash(cell.path());
        // SAFETY: only the writer replaces and retires segments, so what it loads is alive.
        unsafe {
            let (mut segment, _) = self.segment(hash);
            while is_full(segment) {
                self.make_room(segment, hash, old);
                (segment, _) = self.segment(hash);
            }
            put(segment, cell.pointer(), hash);
        }
    }

    /// Takes a cell out; readers that are at it still may go on reading it.
    ///
    /// # Safety
    /// The caller is the writer.
    pub(super) unsafe fn remove(&self, cell: CellRef) {
        let hash = self.hash(cell.path());
        // SAFETY: only the writer replaces and retires segments, so what it loads is alive.
        unsafe {
            let (segment, cap) = self.segment(hash);
            let slots = Segment::slots_of_cap(segment, cap);
            let mut at = home(hash, cap);
            let wanted = cell.pointer().as_ptr().addr();
            loop {
                let entry = slots[at].load(Ordering::Relaxed);
                assert!(
                    !entry.is_null(),
                    "a cell is in the index until it is removed"
                );
                if entry.addr() & ADDRESS_MASK == wanted {
                    break;
                }
                at = after(at, cap);
            }
            let header = segment.as_ref();
            header.live.set(header.live.get() - 1);
            // A search that would go on from here ends at the next slot if that is null, so it may
            // as well end here.
            if slots[after(at, cap)].load(Ordering::Relaxed).is_null() {
                slots[at].store(ptr::null_mut(), Ordering::Release);
                header.used.set(header.used.get() - 1);
            } else {
                slots[at].store(ptr::without_provenance_mut(VACATED), Ordering::Release);
            }
        }
    }

    /// Replaces a full segment: by two, by a bigger one, or by one without vacated slots.
    ///
    /// # Safety
    /// The caller is the writer.
    unsafe fn make_room(&self, segment: NonNull<Segment>, hash: u64, old: &mut Vec<OldPart>) {
        // SAFETY: only the writer replaces and retires segments, so both are alive. Cells in a
        // segment are alive: they are freed only after they were taken out.
        unsafe {
            let (cap, depth, live) = {
                let header = segment.as_ref();
                (header.cap, header.depth, header.live.get())
            };
            let is_crowded = live > cap / 5 * 3;
            let cells = Segment::slots(segment)
                .iter()
                .filter_map(|slot| cell_of(slot.load(Ordering::Relaxed)));
            if is_crowded && depth < DEPTH_MAX {
                let halves = [
                    Segment::allocate(units_of(cap), depth + 1),
                    Segment::allocate(units_of(cap), depth + 1),
                ];
                for cell in cells {
                    let hash = self.hash(cell.path());
                    let half = (hash >> (63 - depth) & 1) as usize;
                    put(halves[half], cell.pointer(), hash);
                }
                self.replace(hash, depth, halves, old);
            } else {
                let growth = if is_crowded { 2 } else { 1 };
                let whole = Segment::allocate(units_of(cap) * growth, depth);
                for cell in cells {
                    put(whole, cell.pointer(), self.hash(cell.path()));
                }
                self.replace(hash, depth, [whole, whole], old);
            }
            old.push(OldPart::Segment(segment));
        }
    }

    /// Lets all positions that led to the segment of `hash` lead to its successors.
    ///
    /// # Safety
    /// The caller is the writer.
    unsafe fn replace(
        &self,
        hash: u64,
        depth: u32,
        halves: [NonNull<Segment>; 2],
        old: &mut Vec<OldPart>,
    ) {
        // SAFETY: only the writer replaces the directory, so it is alive.
        let mut directory = unsafe { &*self.directory.load(Ordering::Relaxed) };
        if halves[0] != halves[1] && depth == directory.bits {
            directory = self.double(directory, old);
        }
        let bits = directory.bits;
        let span = 1usize << (bits - depth);
        let first = position(hash, bits) & !(span - 1);
        for at in 0..span {
            let half = halves[usize::from(at >= span / 2)];
            // SAFETY: the caller has just made it.
            let entry = unsafe { Segment::entry(half) };
            directory.segments[first + at].store(entry, Ordering::Release);
        }
    }

    fn double<'a>(&'a self, directory: &Directory, old: &mut Vec<OldPart>) -> &'a Directory {
        let segments = directory
            .segments
            .iter()
            .flat_map(|segment| {
                let segment = segment.load(Ordering::Relaxed);
                [AtomicPtr::new(segment), AtomicPtr::new(segment)]
            })
            .collect();
        let doubled = Box::into_raw(Box::new(Directory {
            bits: directory.bits + 1,
            segments,
        }));
        let former = self.directory.swap(doubled, Ordering::AcqRel);
        old.push(OldPart::Directory(
            NonNull::new(former).expect("there always is a directory"),
        ));
        // SAFETY: it was just made and is freed only after the writer replaced it.
        unsafe { &*doubled }
    }

    /// Frees the index and hands out every cell in it.
    ///
    /// # Safety
    /// Nobody uses the index now or later.
    pub(super) unsafe fn dismantle(&mut self, mut take: impl FnMut(CellRef)) {
        // SAFETY: nobody else is there; positions that share a segment are neighbours, so
        // each segment is met first once.
        unsafe {
            let directory = Box::from_raw(*self.directory.get_mut());
            let mut last = ptr::null_mut();
            for segment in &directory.segments {
                let entry = segment.load(Ordering::Relaxed);
                if entry == last {
                    continue;
                }
                last = entry;
                let (segment, _) = segment_of(entry);
                Segment::slots(segment)
                    .iter()
                    .filter_map(|slot| cell_of(slot.load(Ordering::Relaxed)))
                    .for_each(&mut take);
                Segment::free(segment);
            }
        }
    }
}

/// Bits of the hash that say nothing of where a cell stands, but in the deepest directories.
fn tag(hash: u64) -> usize {
    (hash >> 32) as usize & 0xffff
}

fn position(hash: u64, bits: u32) -> usize {
    if bits == 0 {
        0
    } else {
        (hash >> (64 - bits)) as usize
    }
}

fn cell_of(entry: *mut Cell) -> Option<CellRef> {
    let cell = entry.map_addr(|address| address & ADDRESS_MASK);
    if cell.addr() == VACATED {
        return None;
    }
    // SAFETY: slots hold nothing but cells, null and the mark of a vacated slot; a cell that a slot
    // holds is alive as long as whoever loaded it may use it, see `Index::find`.
    NonNull::new(cell).map(|cell| unsafe { CellRef::new(cell) })
}

/// # Safety
/// The caller is the writer, and the segment is alive.
unsafe fn is_full(segment: NonNull<Segment>) -> bool {
    // SAFETY: as the caller says.
    let header = unsafe { segment.as_ref() };
    header.used.get() + 1 > header.cap / 5 * 4
}

/// # Safety
/// The caller is the writer, the segment alive and not full.
unsafe fn put(segment: NonNull<Segment>, cell: NonNull<Cell>, hash: u64) {
    let address = cell.as_ptr().addr();
    assert!(address <= ADDRESS_MASK, "{ADDRESSES}");
    let entry = cell
        .as_ptr()
        .map_addr(|address| address | tag(hash) << TAG_SHIFT);
    // SAFETY: as the caller says.
    unsafe {
        let slots = Segment::slots(segment);
        let mut at = home(hash, slots.len());
        loop {
            let found = slots[at].load(Ordering::Relaxed);
            if found.is_null() || found.addr() == VACATED {
                let header = segment.as_ref();
                header.live.set(header.live.get() + 1);
                if found.is_null() {
                    header.used.set(header.used.get() + 1);
                }
                slots[at].store(entry, Ordering::Release);
                return;
            }
            at = after(at, slots.len());
        }
    }
}

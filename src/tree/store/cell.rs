//! The memory of one node: its cell, its versions, and what it has as a directory.
//!
//! A **cell** is one incarnation of a node, from its creation to its deletion; a node that is
//! deleted and created again gets a new cell. What never changes over an incarnation (path, czxid,
//! ctime, owner) stands in the cell. The rest stands in a chain of immutable **versions**, newest
//! first, each stamped with the zxid that made it. A deleted cell has a tombstone on top of the
//! chain, told apart by the lowest bit of the head pointer.
//!
//! A cell that has or had children also has a [`Dir`]: a chain of [`DirVersion`]s (what changes of
//! a node when its children do) and an array of the children's cells. A child belongs to the
//! directory as of a zxid when the child's own cell is visible as of it.
//!
//! Cells and versions are allocations of variable length: a header, then path or data.
//!
//! # Who may touch what
//!
//! The writer allocates, publishes by a release store, and later frees. Readers reach memory by
//! acquire loads only, so they see it initialised. Nothing that is published is written again but
//! atomics and, by the writer alone, what no reader reads ([`DirOwn`]). When memory may be freed is
//! the subject of the parent module.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::mem::{align_of, offset_of, size_of};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::super::change::AclList;

/// The stamp of what was there before every view.
pub(super) const BEFORE_ALL: i64 = i64::MIN;

/// The longest path, in bytes: its length shares a word with flags.
pub(crate) const PATH_LEN_MAX: usize = (1 << 28) - 1;

const FLAG_LOADED: u32 = 1 << 28;
const FLAG_HIDDEN: u32 = 1 << 29;
const KIND_SHIFT: u32 = 30;

/// What kind of owner a node has: which index beside the tree it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum OwnerKind {
    /// An ordinary node.
    None = 0,
    /// An ephemeral: the owner is a session.
    Session = 1,
    /// A container.
    Container = 2,
    /// A node with a time to live.
    Ttl = 3,
}

/// Start of every version and of every tombstone.
#[repr(C)]
pub(super) struct Link {
    /// The version that this one superseded. Once all views are past `stamp` it may dangle, and
    /// nobody follows it any more.
    pub(super) next: *mut Link,
    /// The zxid that made this version.
    pub(super) stamp: i64,
}

/// One version of a node; the data follows right after `data_len`.
#[repr(C)]
pub(super) struct Version {
    pub(super) link: Link,
    pub(super) mzxid: i64,
    pub(super) mtime: i64,
    pub(super) acl: Arc<AclList>,
    pub(super) version: i32,
    pub(super) aversion: i32,
    /// What this version adds to the digest, as long as it is the newest; the writer's own note.
    pub(super) digest: AtomicU32,
    /// Bytes of data, or −1 for a null.
    data_len: i32,
}

const DATA_OFFSET: usize = offset_of!(Version, data_len) + size_of::<i32>();

/// What a new version says, but for its data.
#[derive(Clone)]
pub(crate) struct VersionFields {
    /// See `Stat::mzxid`.
    pub(crate) mzxid: i64,
    /// See `Stat::mtime`.
    pub(crate) mtime: i64,
    /// See `Stat::version`.
    pub(crate) version: i32,
    /// See `Stat::aversion`.
    pub(crate) aversion: i32,
    /// The ACL, interned.
    pub(crate) acl: Arc<AclList>,
}

fn version_layout(data_len: usize) -> Layout {
    let size = (DATA_OFFSET + data_len).max(size_of::<Version>());
    Layout::from_size_align(size, align_of::<Version>()).expect("data is far shorter than memory")
}

/// Allocates a version on top of `next`.
pub(super) fn new_version(
    stamp: i64,
    next: *mut Link,
    fields: VersionFields,
    data: Option<&[u8]>,
) -> NonNull<Version> {
    let data_len = data.map_or(-1, |data| {
        i32::try_from(data.len()).expect("data fits a jute buffer")
    });
    let layout = version_layout(data.map_or(0, <[u8]>::len));
    // SAFETY: the layout has a size above zero. The allocation holds the header and the data behind
    // it, so both writes are in bounds; nobody else knows of the memory yet.
    unsafe {
        let version = alloc(layout).cast::<Version>();
        let Some(version) = NonNull::new(version) else {
            handle_alloc_error(layout)
        };
        version.write(Version {
            link: Link { next, stamp },
            mzxid: fields.mzxid,
            mtime: fields.mtime,
            acl: fields.acl,
            version: fields.version,
            aversion: fields.aversion,
            digest: AtomicU32::new(0),
            data_len,
        });
        if let Some(data) = data {
            let to = version.cast::<u8>().add(DATA_OFFSET);
            to.copy_from_nonoverlapping(NonNull::from(data).cast(), data.len());
        }
        version
    }
}

/// The data of a version.
///
/// # Safety
/// The version must not be freed during `'a`.
pub(super) unsafe fn version_data<'a>(version: NonNull<Version>) -> Option<&'a [u8]> {
    // SAFETY: the caller keeps the version alive; it is immutable, and `new_version` put
    // `data_len` bytes there. The pointer has the provenance of the whole allocation.
    unsafe {
        let len = (*version.as_ptr()).data_len;
        (len >= 0).then(|| {
            let data = version.cast::<u8>().add(DATA_OFFSET);
            std::slice::from_raw_parts(data.as_ptr(), len as usize)
        })
    }
}

/// The writer's note of what a version adds to the digest.
///
/// # Safety
/// The version must not be freed during `'a`.
pub(super) unsafe fn version_digest<'a>(version: NonNull<Version>) -> &'a AtomicU32 {
    // SAFETY: the caller keeps the version alive, and nothing else of it is borrowed mutably.
    unsafe { &(*version.as_ptr()).digest }
}

/// Length of a version's data, 0 for a null.
///
/// # Safety
/// The version must not be freed yet.
pub(super) unsafe fn version_data_len(version: NonNull<Version>) -> i32 {
    // SAFETY: the caller keeps the version alive, and it is immutable.
    unsafe { (*version.as_ptr()).data_len.max(0) }
}

/// Frees a version.
///
/// # Safety
/// It comes from [`new_version`], and nobody reads it now or later.
pub(super) unsafe fn free_version(version: NonNull<Version>) {
    // SAFETY: the caller says that this is the last use; the layout is the one of the allocation.
    unsafe {
        let layout = version_layout(version_data_len(version) as usize);
        ptr::drop_in_place(&raw mut (*version.as_ptr()).acl);
        dealloc(version.cast().as_ptr(), layout);
    }
}

/// One state of a node's children.
pub(super) struct DirVersion {
    /// The state before; as [`Link::next`].
    pub(super) next: *mut DirVersion,
    /// The zxid that made this state.
    pub(super) stamp: i64,
    pub(super) fields: DirFields,
}

/// What changes of a node when its children do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirFields {
    /// See `Stat::pzxid`.
    pub(crate) pzxid: i64,
    /// How many children were created, as `StatPersisted::cversion` counts.
    pub(crate) cversion: i32,
    /// How many children there are.
    pub(crate) num_children: i32,
}

/// A growing array of cells, some of them null.
#[repr(C)]
pub(super) struct ChildArray {
    cap: u32,
    len: AtomicU32,
    slots: [AtomicPtr<Cell>; 0],
}

fn array_layout(cap: u32) -> Layout {
    let slots = Layout::array::<AtomicPtr<Cell>>(cap as usize).expect("cap is an u32");
    let (layout, offset) = Layout::new::<ChildArray>()
        .extend(slots)
        .expect("an u32 of pointers fits memory");
    debug_assert_eq!(offset, offset_of!(ChildArray, slots));
    layout
}

impl ChildArray {
    pub(super) fn allocate(cap: u32) -> NonNull<ChildArray> {
        let layout = array_layout(cap);
        // SAFETY: the layout has a size above zero; zeroes are a valid array of null slots, and
        // `cap` is written before anybody else knows of the memory.
        unsafe {
            let Some(array) = NonNull::new(alloc_zeroed(layout).cast::<ChildArray>()) else {
                handle_alloc_error(layout)
            };
            (*array.as_ptr()).cap = cap;
            array
        }
    }

    /// # Safety
    /// The array comes from [`ChildArray::allocate`], and nobody reads it now or later.
    pub(super) unsafe fn free(array: NonNull<ChildArray>) {
        // SAFETY: as the caller says; `cap` never changes, so the layout is that of the allocation.
        unsafe { dealloc(array.cast().as_ptr(), array_layout((*array.as_ptr()).cap)) }
    }

    /// How many slots there are and how many of them, from the first, were ever used.
    ///
    /// # Safety
    /// The array must not be freed yet.
    pub(super) unsafe fn cap_and_len(array: NonNull<ChildArray>) -> (u32, u32) {
        // SAFETY: the caller keeps it alive; `cap` is immutable and `len` atomic.
        unsafe {
            let array = array.as_ptr();
            ((*array).cap, (*array).len.load(Ordering::Acquire))
        }
    }

    /// # Safety
    /// The array must not be freed during `'a`, and `at` must be below its capacity.
    pub(super) unsafe fn slot<'a>(array: NonNull<ChildArray>, at: u32) -> &'a AtomicPtr<Cell> {
        // SAFETY: `at` is in bounds of the allocation, whose provenance the pointer has.
        unsafe {
            debug_assert!(at < (*array.as_ptr()).cap);
            let first = (&raw const (*array.as_ptr()).slots).cast::<AtomicPtr<Cell>>();
            &*first.add(at as usize)
        }
    }

    /// # Safety
    /// The array must not be freed yet; the slots below `len` are initialised by atomic stores.
    pub(super) unsafe fn set_len(array: NonNull<ChildArray>, len: u32) {
        // SAFETY: the caller keeps it alive; `len` is atomic.
        unsafe { (*array.as_ptr()).len.store(len, Ordering::Release) }
    }
}

/// What a node has as a directory; lives as long as its cell.
pub(super) struct Dir {
    /// Newest state; null for the hidden directories, whose states nobody asks for.
    pub(super) head: AtomicPtr<DirVersion>,
    pub(super) array: AtomicPtr<ChildArray>,
    /// The writer's own notes.
    pub(super) own: UnsafeCell<DirOwn>,
}

/// The part of a [`Dir`] that only the writer reads and writes.
pub(super) struct DirOwn {
    /// Slots below the array's length that are null.
    pub(super) holes: Vec<u32>,
    /// Whether members are found by [`Cell::group_slot`] instead of by [`Cell::slot`].
    pub(super) is_group: bool,
}

/// One incarnation of a node; group slot and owner follow where it has an owner, then the path.
#[repr(C)]
pub(super) struct Cell {
    /// Newest version, or with [`DEAD`] set the tombstone; null for the hidden directories.
    pub(super) head: AtomicPtr<Link>,
    /// Null while there never was a child.
    pub(super) dir: AtomicPtr<Dir>,
    pub(super) czxid: i64,
    pub(super) ctime: i64,
    /// Where the cell stands in its parent's array; the writer's own note.
    pub(super) slot: AtomicU32,
    len_and_flags: u32,
}

// A cell with a path of 40 bytes and a version with data of 100 are to fit what an allocator keeps for
// them: 80 and 160 bytes.
const _: () = assert!(size_of::<Cell>() == CELL_END && CELL_END == 40 && DATA_OFFSET == 56);

/// Set in the head pointer of a deleted cell.
pub(super) const DEAD: usize = 1;

const CELL_END: usize = offset_of!(Cell, len_and_flags) + size_of::<u32>();
const GROUP_SLOT_OFFSET: usize = CELL_END;
const OWNER_OFFSET: usize = (CELL_END + size_of::<u32>()).next_multiple_of(align_of::<i64>());
const OWNED_PATH_OFFSET: usize = OWNER_OFFSET + size_of::<i64>();
const _: () = assert!(OWNER_OFFSET.is_multiple_of(align_of::<i64>()));
const _: () = assert!(align_of::<Link>() > DEAD);

/// What a new cell says.
pub(crate) struct CellFields {
    /// See `Stat::czxid`.
    pub(crate) czxid: i64,
    /// See `Stat::ctime`.
    pub(crate) ctime: i64,
    /// See `StatPersisted::ephemeral_owner`.
    pub(crate) owner: i64,
    /// Read from the owner.
    pub(crate) kind: OwnerKind,
    /// Whether every view sees it, whatever its czxid.
    pub(crate) is_loaded: bool,
}

fn cell_layout(path_len: usize, kind: OwnerKind) -> Layout {
    let path_offset = if kind == OwnerKind::None {
        CELL_END
    } else {
        OWNED_PATH_OFFSET
    };
    let size = (path_offset + path_len).max(size_of::<Cell>());
    Layout::from_size_align(size, align_of::<Cell>()).expect("paths are far shorter than memory")
}

/// Allocates a cell without versions.
///
/// # Panics
/// If the path is longer than [`PATH_LEN_MAX`].
pub(super) fn new_cell(path: &str, fields: &CellFields, is_hidden: bool) -> NonNull<Cell> {
    assert!(path.len() <= PATH_LEN_MAX, "a path fits a request");
    let mut len_and_flags = path.len() as u32 | (fields.kind as u32) << KIND_SHIFT;
    if fields.is_loaded {
        len_and_flags |= FLAG_LOADED;
    }
    if is_hidden {
        len_and_flags |= FLAG_HIDDEN;
    }
    let layout = cell_layout(path.len(), fields.kind);
    // SAFETY: the layout has a size above zero and room for header, owner and path, in this order;
    // nobody else knows of the memory yet.
    unsafe {
        let Some(cell) = NonNull::new(alloc(layout).cast::<Cell>()) else {
            handle_alloc_error(layout)
        };
        cell.write(Cell {
            head: AtomicPtr::new(ptr::null_mut()),
            dir: AtomicPtr::new(ptr::null_mut()),
            czxid: fields.czxid,
            ctime: fields.ctime,
            slot: AtomicU32::new(0),
            len_and_flags,
        });
        let bytes = cell.cast::<u8>();
        if fields.kind != OwnerKind::None {
            bytes.add(GROUP_SLOT_OFFSET).cast::<u32>().write(0);
            bytes.add(OWNER_OFFSET).cast::<i64>().write(fields.owner);
        }
        bytes
            .add(path_offset(len_and_flags))
            .copy_from_nonoverlapping(NonNull::from(path).cast(), path.len());
        cell
    }
}

fn path_offset(len_and_flags: u32) -> usize {
    if len_and_flags >> KIND_SHIFT == 0 {
        CELL_END
    } else {
        OWNED_PATH_OFFSET
    }
}

/// A pointer to a cell that is not freed as long as it is used: the promise that whoever makes one
/// gives (see the parent module for why it holds).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CellRef(NonNull<Cell>);

impl CellRef {
    /// # Safety
    /// The cell comes from [`new_cell`] and is not freed as long as the result is used.
    pub(super) unsafe fn new(cell: NonNull<Cell>) -> CellRef {
        CellRef(cell)
    }

    pub(super) fn pointer(self) -> NonNull<Cell> {
        self.0
    }

    /// The header. Its lifetime is free; the promise of [`CellRef`] bounds it.
    pub(super) fn header<'a>(self) -> &'a Cell {
        // SAFETY: the cell is alive by the promise of `CellRef::new`; fields are immutable or
        // atomic.
        unsafe { self.0.as_ref() }
    }

    /// The path. Its lifetime is free; the promise of [`CellRef`] bounds it.
    pub(super) fn path<'a>(self) -> &'a str {
        let len_and_flags = self.header().len_and_flags;
        let len = len_and_flags as usize & PATH_LEN_MAX;
        // SAFETY: `new_cell` copied `len` bytes of a string there, and they never change; the
        // pointer has the provenance of the whole allocation.
        unsafe {
            let path = self.0.cast::<u8>().add(path_offset(len_and_flags));
            std::str::from_utf8_unchecked(std::slice::from_raw_parts(path.as_ptr(), len))
        }
    }

    pub(super) fn kind(self) -> OwnerKind {
        match self.header().len_and_flags >> KIND_SHIFT {
            0 => OwnerKind::None,
            1 => OwnerKind::Session,
            2 => OwnerKind::Container,
            _ => OwnerKind::Ttl,
        }
    }

    pub(super) fn is_hidden(self) -> bool {
        self.header().len_and_flags & FLAG_HIDDEN != 0
    }

    /// The zxid from which on views see the cell.
    fn born(self) -> i64 {
        let header = self.header();
        if header.len_and_flags & FLAG_LOADED != 0 {
            BEFORE_ALL
        } else {
            header.czxid
        }
    }

    pub(super) fn owner(self) -> i64 {
        if self.kind() == OwnerKind::None {
            return 0;
        }
        // SAFETY: a cell with an owner has room for it, and it never changes.
        unsafe { self.0.cast::<u8>().add(OWNER_OFFSET).cast::<i64>().read() }
    }

    /// Where the cell stands in the array of its group; the writer's own note.
    pub(super) fn group_slot<'a>(self) -> &'a AtomicU32 {
        assert!(
            self.kind() != OwnerKind::None,
            "only owned nodes are in a group"
        );
        // SAFETY: a cell with an owner has room for an aligned u32 there; all access is atomic.
        unsafe {
            self.0
                .cast::<u8>()
                .add(GROUP_SLOT_OFFSET)
                .cast::<AtomicU32>()
                .as_ref()
        }
    }

    /// The directory part, if there is one. Lives as long as the cell.
    pub(super) fn dir<'a>(self) -> Option<&'a Dir> {
        let dir = NonNull::new(self.header().dir.load(Ordering::Acquire))?;
        // SAFETY: a Dir is freed only with its cell. Shared access is sound: the fields are atomics
        // and an UnsafeCell that only the writer enters.
        Some(unsafe { dir.as_ref() })
    }

    /// The newest version or tombstone, and whether it is a tombstone.
    fn head(self) -> (*mut Link, bool) {
        let head = self.header().head.load(Ordering::Acquire);
        (
            head.map_addr(|address| address & !DEAD),
            head.addr() & DEAD != 0,
        )
    }

    /// Whether the cell is there as of `zxid`.
    pub(super) fn is_visible(self, zxid: i64) -> bool {
        if self.born() > zxid {
            return false;
        }
        let (head, is_dead) = self.head();
        // SAFETY: the head is never freed before the cell.
        !is_dead || unsafe { (*head).stamp } > zxid
    }

    /// The version as of `zxid`; `None` where the cell is not there as of it.
    ///
    /// # Safety
    /// No view older than `zxid` needs to be live, but what a view of `zxid` can see must not be
    /// freed: `zxid` is at or past a pinned one, or the caller is the writer.
    pub(super) unsafe fn version_at(self, zxid: i64) -> Option<NonNull<Version>> {
        if self.born() > zxid {
            return None;
        }
        let (mut at, is_dead) = self.head();
        // SAFETY: the head is never freed before the cell. A link is followed only from a version
        // that is newer than `zxid`; what that one superseded is then still needed as of `zxid`,
        // hence not freed. Everything behind a head that is no tombstone is a Version, and so is
        // what a tombstone superseded.
        unsafe {
            if is_dead {
                if (*at).stamp <= zxid {
                    return None;
                }
                at = (*at).next;
            }
            while !at.is_null() && (*at).stamp > zxid {
                at = (*at).next;
            }
        }
        NonNull::new(at.cast::<Version>())
    }

    /// The newest version, also of a dead cell, which keeps it.
    ///
    /// # Safety
    /// The version must not be superseded and freed as long as it is used: the cell is dead, or the caller
    /// is the writer.
    pub(super) unsafe fn last_version(self) -> Option<NonNull<Version>> {
        let (head, is_dead) = self.head();
        if !is_dead {
            return NonNull::new(head.cast());
        }
        // SAFETY: a tombstone and what it superseded are freed with the cell.
        NonNull::new(unsafe { (*head).next }.cast())
    }

    /// The state of the children as of `zxid`.
    ///
    /// # Safety
    /// As for [`CellRef::version_at`].
    pub(super) unsafe fn dir_fields_at(self, zxid: i64) -> DirFields {
        let Some(dir) = self.dir() else {
            return DirFields {
                pzxid: self.header().czxid,
                cversion: 0,
                num_children: 0,
            };
        };
        let mut at = dir.head.load(Ordering::Acquire);
        // SAFETY: as in `version_at`; the oldest state is stamped before all, so the walk ends.
        unsafe {
            while (*at).stamp > zxid {
                at = (*at).next;
            }
            (*at).fields
        }
    }

    /// Publishes a new head.
    pub(super) fn set_head(self, head: *mut Link) {
        self.header().head.store(head, Ordering::Release);
    }
}

/// Allocates a tombstone on top of `next`; returns it marked as a head pointer is.
pub(super) fn new_tombstone(stamp: i64, next: *mut Link) -> *mut Link {
    Box::into_raw(Box::new(Link { next, stamp })).map_addr(|address| address | DEAD)
}

/// Frees a tombstone, but not what it superseded.
///
/// # Safety
/// It comes from [`new_tombstone`], and nobody reads it now or later.
pub(super) unsafe fn free_tombstone(tombstone: *mut Link) {
    // SAFETY: as the caller says.
    drop(unsafe { Box::from_raw(tombstone.map_addr(|address| address & !DEAD)) });
}

/// Frees a cell with its newest version, its tombstone and its directory.
///
/// # Safety
/// Nobody reads the cell or anything it owns, now or later.
pub(super) unsafe fn free_cell(cell: CellRef) {
    let (head, is_dead) = cell.head();
    // SAFETY: the cell owns its head, what a tombstone superseded, its Dir, and the newest state
    // and array of that; everything else behind them has an owner of its own. Each is freed once,
    // with the function that belongs to its allocation.
    unsafe {
        let mut version = head;
        if is_dead {
            version = (*head).next;
            free_tombstone(head);
        }
        if let Some(version) = NonNull::new(version.cast::<Version>()) {
            free_version(version);
        }
        if let Some(dir) = NonNull::new(cell.header().dir.load(Ordering::Relaxed)) {
            let dir = Box::from_raw(dir.as_ptr());
            if let Some(head) = NonNull::new(dir.head.load(Ordering::Relaxed)) {
                drop(Box::from_raw(head.as_ptr()));
            }
            if let Some(array) = NonNull::new(dir.array.load(Ordering::Relaxed)) {
                ChildArray::free(array);
            }
        }
        let layout = cell_layout(cell.path().len(), cell.kind());
        dealloc(cell.pointer().cast().as_ptr(), layout);
    }
}

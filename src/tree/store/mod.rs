//! The memory of the tree: one writer, readers on any thread, and when what is freed.
//!
//! All unsafe code of the tree is in this module and its children: [`cell`] (layout of nodes), [`index`]
//! (from path to cell), [`members`] (who is in which directory), [`reader`] (views) and [`retired`] (what
//! waits to be freed). What they offer to the rest of the tree is safe.
//!
//! # Why readers never touch freed memory
//!
//! A view pins a zxid `p`; it looks at the tree as of `p` or later. Between two moves of its pin it
//! may hold pointers to whatever it found, and none across a move: what it hands out borrows it,
//! and moving takes it mutably. The writer puts everything that is no longer needed into a queue
//! with a stamp, and frees it when no pin is below the stamp ([`Store::reclaim`]).
//!
//! - A **superseded version** (or state of a directory) is stamped with the zxid `s` that
//!   superseded it. A reader as of `z >= s` stops at the newer one. A reader as of `z < s` has a
//!   pin below `s`.
//! - What is **taken out while zxid `s` is being applied** (parts of the index, arrays) is stamped
//!   `s`. A pin of `s` or more was set after `s` was published (a view checks that), hence after
//!   the taking out, and the check's acquire load makes the reader see it.
//! - What is **taken out between two applications** (dead cells) is stamped one above the tip, by the
//!   same argument.
//! - Stamps in the queue never decrease, so looking at its front is enough.
//! - A [`Pointer`] is to a cell that was alive before or while its zxid `z` was applied, and is followed
//!   by views of the same store with a pin below `z` only. Such a cell is freed under a stamp of `z` or
//!   more, so not while there is such a pin; and a view that is made later with a pin below `z` is
//!   refused once that has happened ([`Store::view`]).
//!
//! # Ownership
//!
//! A version is owned by its cell as long as it is the newest, then by the queue. A live cell is
//! owned by the index; so is a dead one until no view needs it, then by the queue.

mod cell;
mod index;
mod members;
mod reader;
mod retired;

use std::collections::VecDeque;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cell::{BEFORE_ALL, CellRef, DirVersion};
pub(crate) use cell::{CellFields, DirFields, OwnerKind, PATH_LEN_MAX, VersionFields};
use index::{Index, OldPart};
use members::{group_key, group_path};
pub use reader::{NodeRef, View};
use retired::{Entry, Retired};

use crate::types::Zxid;

/// As of the newest change: later than every stamp.
const TIP: i64 = i64::MAX;
/// A pin that holds nothing.
const UNPINNED: i64 = i64::MAX;
/// Entries of the queue of retired memory for which there may always be room.
const QUEUE_CAP_KEPT: usize = 16 * 1024;

/// An atomic alone on its cache lines, so that those who only read its neighbours are not slowed.
#[repr(align(128))]
struct Alone(AtomicI64);

/// What the writer shares with the views.
struct Shared {
    /// Which store of this process it is.
    number: u64,
    index: Index,
    root: CellRef,
    /// Directory of the groups: hidden cells that list nodes by owner.
    groups: CellRef,
    /// The newest zxid that is applied as a whole.
    tip: Alone,
    /// What is still to be freed when writer and views are gone.
    leftovers: Mutex<VecDeque<Entry>>,
}

// SAFETY: the module's documentation says which parts readers touch and how; the rest is touched by
// the one writer, whose `Store` is not shared, or by the last owner in `drop`.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        let leftovers = self
            .leftovers
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        // SAFETY: writer and views are gone, so nobody reads anything any more. Each piece of
        // memory has one owner, the index or the queue.
        unsafe {
            for entry in std::mem::take(leftovers) {
                entry.what.free();
            }
            self.index.dismantle(|cell| cell::free_cell(cell));
        }
    }
}

/// A node of this store as the writer holds it, until the next [`Store::reclaim`]. Handles do not leave the tree
/// that they come from.
#[derive(Clone, Copy)]
pub(super) struct Handle {
    cell: CellRef,
    generation: u64,
}

/// A node of some store as of a zxid, for its views: with nothing to free, so that who hands it to
/// another thread pays nothing for it.
#[derive(Clone, Copy)]
pub(super) struct Pointer {
    cell: CellRef,
    store: u64,
    zxid: i64,
}

// SAFETY: nobody follows it but `View::pointed_out`, which checks that the cell is alive; a cell may be
// read on any thread.
unsafe impl Send for Pointer {}
// SAFETY: as above.
unsafe impl Sync for Pointer {}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a node as of {}", Zxid(self.zxid))
    }
}

/// Numbers the stores of this process.
static STORES: AtomicU64 = AtomicU64::new(0);

/// Sums over the whole tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// The digest.
    pub(super) digest: u64,
    /// Nodes, the root counted once.
    pub(super) nodes: u64,
    /// Ephemerals of all sessions.
    pub(super) ephemerals: u64,
    /// Bytes of paths and data as Apache's `cachedApproximateDataSize` counts them.
    pub(super) data_size: i64,
}

/// The writer's side.
pub(super) struct Store {
    shared: Arc<Shared>,
    pins: Mutex<Vec<Arc<Alone>>>,
    queue: VecDeque<Entry>,
    /// No view older than this can be made: what it needs may be freed.
    floor: i64,
    /// The stamp of what is written now.
    stamp: i64,
    /// Counts what makes handles invalid.
    generation: u64,
    old_parts: Vec<OldPart>,
}

// SAFETY: what the pointers lead to is reached by this store and by views only, under the rules of
// the module's documentation, none of which is tied to a thread.
unsafe impl Send for Store {}

impl Store {
    /// A store with a root, stamped before all.
    pub(super) fn new(
        hash_seed: u64,
        root: &CellFields,
        version: VersionFields,
        data: Option<&[u8]>,
    ) -> Store {
        let index = Index::new(hash_seed);
        let root = cell::new_cell("/", root, false);
        let hidden = CellFields {
            czxid: BEFORE_ALL,
            ctime: 0,
            owner: 0,
            kind: OwnerKind::None,
            is_loaded: true,
        };
        let groups = cell::new_cell("\0", &hidden, true);
        // SAFETY: both cells live as long as `Shared`: the root and this one are never removed.
        let (root, groups) = unsafe { (CellRef::new(root), CellRef::new(groups)) };
        let mut store = Store {
            shared: Arc::new(Shared {
                number: STORES.fetch_add(1, Ordering::Relaxed),
                index,
                root,
                groups,
                tip: Alone(AtomicI64::new(0)),
                leftovers: Mutex::default(),
            }),
            pins: Mutex::default(),
            queue: VecDeque::new(),
            floor: 0,
            stamp: BEFORE_ALL,
            generation: 0,
            old_parts: Vec::new(),
        };
        let version = cell::new_version(BEFORE_ALL, ptr::null_mut(), version, data);
        root.set_head(version.as_ptr().cast());
        store.index_insert(root);
        store.index_insert(groups);
        store.make_dir(groups, false);
        store
    }

    /// The newest zxid that is applied.
    pub(super) fn tip(&self) -> i64 {
        self.shared.tip.0.load(Ordering::Relaxed)
    }

    /// Starts a transaction; `digest` is the tree's before it.
    ///
    /// # Panics
    /// If `zxid` is not above the tip.
    pub(super) fn begin(&mut self, zxid: i64, digest: u64) {
        assert!(zxid > self.tip(), "transactions come in zxid order");
        self.stamp = zxid;
        self.retire(Retired::Mark { digest });
    }

    /// Ends a transaction: views may advance to it.
    pub(super) fn publish(&mut self) {
        self.shared.tip.0.store(self.stamp, Ordering::Release);
    }

    /// Ends loading: what was added is the state as of `zxid`.
    pub(super) fn publish_loaded(&mut self, zxid: i64) {
        assert!(self.stamp == BEFORE_ALL, "only a new store is loaded");
        self.floor = zxid;
        self.shared.tip.0.store(zxid, Ordering::Release);
    }

    /// The tree's digest as of `zxid`, where it is not the newest.
    pub(super) fn digest_before_tip(&self, zxid: i64) -> Option<u64> {
        // The first transaction after `zxid` notes what was before it.
        let first_after = self.queue.partition_point(|entry| entry.stamp <= zxid);
        self.queue
            .range(first_after..)
            .find_map(|entry| match entry.what {
                Retired::Mark { digest } => Some(digest),
                _ => None,
            })
    }

    /// A node as of the tip.
    pub(super) fn find(&self, path: &str) -> Option<Handle> {
        // SAFETY: only the writer frees, and not before this returns.
        unsafe {
            self.shared
                .index
                .find(path, |cell| cell.is_visible(TIP).then_some(cell))
                .filter(|cell| !cell.is_hidden())
                .map(|cell| self.handle(cell))
        }
    }

    /// Reads a node at the tip.
    pub(super) fn node(&self, handle: Handle) -> NodeRef<'_> {
        let cell = self.check(handle);
        // SAFETY: versions at the tip are not freed while the store is borrowed.
        let version = unsafe { cell.version_at(TIP) }.expect("a handle is to a live node");
        // SAFETY: as above.
        unsafe { NodeRef::new(cell, version, TIP) }
    }

    /// Visits all descendants of a node at the tip, parents before children.
    pub(super) fn walk<'a>(&'a self, handle: Handle, visit: &mut dyn FnMut(NodeRef<'a>)) {
        let cell = self.check(handle);
        // SAFETY: the writer frees nothing while the store is borrowed.
        unsafe { reader::walk_nodes(cell, TIP, visit) }
    }

    /// What [`Store::set_digest`] noted last, for this version or one before it; 0 in a new cell.
    pub(super) fn digest(&self, handle: Handle) -> u32 {
        self.digest_note(handle).load(Ordering::Relaxed)
    }

    /// Notes what the newest version of a node adds to the digest.
    pub(super) fn set_digest(&mut self, handle: Handle, digest: u32) {
        self.digest_note(handle).store(digest, Ordering::Relaxed);
    }

    fn digest_note(&self, handle: Handle) -> &AtomicU32 {
        // SAFETY: the version at the tip is not freed while the store is borrowed.
        unsafe {
            let version = self.check(handle).version_at(TIP);
            cell::version_digest(version.expect("a handle is to a live node"))
        }
    }

    /// Creates a node; the caller counts it by [`Store::set_dir`]. There must be no live one of
    /// this path.
    ///
    /// # Panics
    /// If the path is longer than [`PATH_LEN_MAX`].
    pub(super) fn create(
        &mut self,
        parent: Handle,
        path: &str,
        fields: &CellFields,
        version: VersionFields,
        data: Option<&[u8]>,
    ) -> Handle {
        let parent = self.check(parent);
        let cell = cell::new_cell(path, fields, false);
        // SAFETY: it is freed only after it was taken out of index and arrays, which makes handles
        // invalid.
        let cell = unsafe { CellRef::new(cell) };
        let version = cell::new_version(self.stamp, ptr::null_mut(), version, data);
        cell.set_head(version.as_ptr().cast());
        self.index_insert(cell);
        self.make_dir(parent, false);
        self.add_member(parent, cell);
        if let Some(path) = group_path(cell) {
            let group = self.group(&path).unwrap_or_else(|| self.make_group(&path));
            self.add_member(group, cell);
        }
        self.handle(cell)
    }

    /// Deletes a node without children; the caller counts it by [`Store::set_dir`].
    pub(super) fn remove(&mut self, parent: Handle, handle: Handle) {
        let (parent, cell) = (self.check(parent), self.check(handle));
        assert!(cell != self.shared.root, "the root is never deleted");
        let head = cell.header().head.load(Ordering::Relaxed);
        cell.set_head(cell::new_tombstone(self.stamp, head));
        self.retire(Retired::Died { cell, parent });
    }

    /// Gives a node a new version. Without `data` it keeps what it has.
    pub(super) fn update(
        &mut self,
        handle: Handle,
        version: VersionFields,
        data: Option<Option<&[u8]>>,
    ) {
        let cell = self.check(handle);
        // SAFETY: the version at the tip is not freed meanwhile.
        let old = unsafe { cell.version_at(TIP) }.expect("a handle is to a live node");
        // SAFETY: as above.
        let data = data.unwrap_or_else(|| unsafe { cell::version_data(old) });
        let new = cell::new_version(self.stamp, old.as_ptr().cast(), version, data);
        // SAFETY: neither is freed meanwhile.
        unsafe {
            let digest = cell::version_digest(old).load(Ordering::Relaxed);
            cell::version_digest(new).store(digest, Ordering::Relaxed);
        }
        cell.set_head(new.as_ptr().cast());
        self.retire(Retired::Version(old));
    }

    /// Gives a node a new state of its children.
    pub(super) fn set_dir(&mut self, handle: Handle, fields: DirFields) {
        let cell = self.check(handle);
        self.make_dir(cell, false);
        let dir = cell.dir().expect("it was just made");
        let old = dir.head.load(Ordering::Relaxed);
        let new = Box::new(DirVersion {
            next: old,
            stamp: self.stamp,
            fields,
        });
        dir.head.store(Box::into_raw(new), Ordering::Release);
        let old = NonNull::new(old).expect("a directory that is not hidden has a state");
        self.retire(Retired::DirVersion(old));
    }

    /// The nodes of a group, at the tip, in no order.
    pub(super) fn group_members(&self, kind: OwnerKind, owner: i64) -> Vec<NodeRef<'_>> {
        let mut members = Vec::new();
        if let Some(group) = self.group(&group_key(kind, owner)) {
            // SAFETY: the writer frees nothing while the store is borrowed.
            unsafe { reader::for_each_member(group, TIP, &mut |node| members.push(node)) }
        }
        members
    }

    /// A view as of `zxid`.
    ///
    /// # Panics
    /// If `zxid` is not applied yet, or older than what may be freed already.
    pub(super) fn view(&self, zxid: i64) -> View {
        assert!(
            self.floor <= zxid && zxid <= self.tip(),
            "a view is between the oldest live one and the tip"
        );
        let pin = Arc::new(Alone(AtomicI64::new(zxid)));
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.push(Arc::clone(&pin));
        View::new(Arc::clone(&self.shared), pin, zxid)
    }

    /// The oldest zxid that a view holds.
    fn pinned_min(&self) -> i64 {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let mut min = UNPINNED;
        pins.retain(|pin| {
            // Acquire: what the view read before it let go happens before what is freed now.
            let pinned = pin.0.load(Ordering::Acquire);
            min = min.min(pinned);
            pinned != UNPINNED
        });
        min
    }

    /// Frees what no view can see, at most `most` pieces; returns how many.
    pub(super) fn reclaim(&mut self, most: usize) -> usize {
        let pinned = self.pinned_min();
        let tip = self.tip();
        self.generation += 1;
        let mut freed = 0;
        while freed < most {
            if self.queue.front().is_none_or(|entry| entry.stamp > pinned) {
                break;
            }
            let entry = self.queue.pop_front().expect("it has a front");
            self.floor = self.floor.max(entry.stamp.min(tip));
            if let Retired::Died { cell, parent } = entry.what {
                self.detach(cell, parent);
                self.queue.push_back(Entry {
                    stamp: tip + 1,
                    what: Retired::Cell(cell),
                });
            } else {
                // SAFETY: no pin is below the stamp; the module's documentation says why this means
                // that nobody reads it.
                unsafe { entry.what.free() }
            }
            freed += 1;
        }
        self.shrink_queue();
        freed
    }

    /// Gives memory back that the queue took while a view was held for long: by a snapshot.
    fn shrink_queue(&mut self) {
        let capacity = self.queue.capacity();
        if capacity > QUEUE_CAP_KEPT && self.queue.len() < capacity / 8 {
            self.queue.shrink_to(capacity / 4);
        }
    }

    /// A node that the transaction that is being applied has changed, for views that are behind it.
    pub(super) fn point_out(&self, handle: Handle) -> Pointer {
        Pointer {
            cell: self.check(handle),
            store: self.shared.number,
            zxid: self.stamp,
        }
    }

    fn handle(&self, cell: CellRef) -> Handle {
        Handle {
            cell,
            generation: self.generation,
        }
    }

    fn check(&self, handle: Handle) -> CellRef {
        assert!(
            handle.generation == self.generation,
            "a handle is used before the next reclaim"
        );
        handle.cell
    }

    fn retire(&mut self, what: Retired) {
        if self.stamp == BEFORE_ALL {
            // Nobody has a view yet, and there is nothing to go back to.
            // SAFETY: the store is being loaded, so there are no readers.
            unsafe { what.free() }
            return;
        }
        self.queue.push_back(Entry {
            stamp: self.stamp,
            what,
        });
    }

    fn index_insert(&mut self, cell: CellRef) {
        let mut old_parts = std::mem::take(&mut self.old_parts);
        // SAFETY: this is the writer, and cells are taken out before they are freed.
        unsafe { self.shared.index.insert(cell, &mut old_parts) }
        for part in old_parts.drain(..) {
            self.retire(Retired::IndexPart(part));
        }
        self.old_parts = old_parts;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let mut leftovers = self
            .shared
            .leftovers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *leftovers = std::mem::take(&mut self.queue);
    }
}

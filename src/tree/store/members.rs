//! Directories: the array of the children of a node, and groups, which are hidden directories of the
//! nodes of one owner. A cell notes its place in either array, so that it is taken out without a search.

use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::cell::{self, BEFORE_ALL, CellRef, ChildArray, Dir, DirOwn, DirVersion};
use super::retired::Retired;
use super::{CellFields, DirFields, OwnerKind, Store};

/// Slots that the first array of a directory has.
const ARRAY_CAP_MIN: u32 = 4;

impl Store {
    pub(super) fn group(&self, path: &str) -> Option<CellRef> {
        // SAFETY: only the writer frees, and not before this returns.
        unsafe { self.shared.index.find(path, Some) }
    }

    pub(super) fn make_group(&mut self, path: &str) -> CellRef {
        let fields = CellFields {
            czxid: BEFORE_ALL,
            ctime: 0,
            owner: 0,
            kind: OwnerKind::None,
            is_loaded: true,
        };
        // SAFETY: it is freed only after it was taken out of index and arrays.
        let group = unsafe { CellRef::new(cell::new_cell(path, &fields, true)) };
        self.make_dir(group, true);
        self.index_insert(group);
        self.add_member(self.shared.groups, group);
        group
    }

    pub(super) fn make_dir(&mut self, cell: CellRef, is_group: bool) {
        if cell.dir().is_some() {
            return;
        }
        let head = if cell.is_hidden() {
            ptr::null_mut()
        } else {
            Box::into_raw(Box::new(DirVersion {
                next: ptr::null_mut(),
                stamp: BEFORE_ALL,
                fields: DirFields {
                    pzxid: cell.header().czxid,
                    cversion: 0,
                    num_children: 0,
                },
            }))
        };
        let dir = Box::into_raw(Box::new(Dir {
            head: AtomicPtr::new(head),
            array: AtomicPtr::new(ptr::null_mut()),
            own: UnsafeCell::new(DirOwn {
                holes: Vec::new(),
                is_group,
            }),
        }));
        cell.header().dir.store(dir, Ordering::Release);
    }

    /// Puts a cell into a hole of its directory's array, or behind its end.
    pub(super) fn add_member(&mut self, directory: CellRef, member: CellRef) {
        let dir = directory.dir().expect("directories are made before");
        // SAFETY: only the writer touches `own`, one reference at a time; the array is retired only
        // by the writer.
        unsafe {
            let array = NonNull::new(dir.array.load(Ordering::Relaxed));
            let (cap, len) = array.map_or((0, 0), |array| ChildArray::cap_and_len(array));
            let own = &mut *dir.own.get();
            let is_group = own.is_group;
            if let Some(hole) = own.holes.pop() {
                let array = array.expect("holes are in an array");
                put_member(array, hole, member, is_group);
                return;
            }
            let array = match array {
                Some(array) if len < cap => array,
                _ => self.replace_array(directory, (cap * 2).max(ARRAY_CAP_MIN)),
            };
            put_member(array, len, member, is_group);
            ChildArray::set_len(array, len + 1);
        }
    }

    /// Moves the members of a directory to a new array, without holes.
    fn replace_array(&mut self, directory: CellRef, cap: u32) -> NonNull<ChildArray> {
        let dir = directory.dir().expect("only directories have arrays");
        let new = ChildArray::allocate(cap);
        // SAFETY: as in `add_member`; readers see the new array only when it is filled.
        unsafe {
            let own = &mut *dir.own.get();
            own.holes = Vec::new();
            let old = NonNull::new(dir.array.load(Ordering::Relaxed));
            let mut len = 0;
            if let Some(old) = old {
                for at in 0..ChildArray::cap_and_len(old).1 {
                    let member = ChildArray::slot(old, at).load(Ordering::Relaxed);
                    if let Some(member) = NonNull::new(member) {
                        put_member(new, len, CellRef::new(member), own.is_group);
                        len += 1;
                    }
                }
            }
            ChildArray::set_len(new, len);
            dir.array.store(new.as_ptr(), Ordering::Release);
            if let Some(old) = old {
                self.retire(Retired::Array(old));
            }
        }
        new
    }

    /// Takes a cell out of a directory; returns how many are left.
    fn remove_member(&mut self, directory: CellRef, member: CellRef) -> u32 {
        let dir = directory.dir().expect("it has a member");
        // SAFETY: as in `add_member`.
        unsafe {
            let array = NonNull::new(dir.array.load(Ordering::Relaxed)).expect("it has a member");
            let own = &mut *dir.own.get();
            let at = slot_note(member, own.is_group).load(Ordering::Relaxed);
            let slot = ChildArray::slot(array, at);
            debug_assert_eq!(slot.load(Ordering::Relaxed), member.pointer().as_ptr());
            slot.store(ptr::null_mut(), Ordering::Release);
            own.holes.push(at);
            let (cap, len) = ChildArray::cap_and_len(array);
            let left = len - own.holes.len() as u32;
            if cap > 64 && left < cap / 4 {
                self.stamp_between_transactions(|store| {
                    store.replace_array(directory, cap / 2);
                });
            }
            left
        }
    }

    /// Takes a cell out of the index, of its parent's array and of its group, between transactions.
    pub(super) fn detach(&mut self, cell: CellRef, parent: CellRef) {
        // SAFETY: this is the writer.
        unsafe { self.shared.index.remove(cell) }
        self.remove_member(parent, cell);
        let Some(path) = group_path(cell) else {
            return;
        };
        let group = self
            .group(&path)
            .expect("a group lives while it has members");
        let left = self.remove_member(group, cell);
        if left == 0 {
            // SAFETY: this is the writer.
            unsafe { self.shared.index.remove(group) }
            self.remove_member(self.shared.groups, group);
            self.stamp_between_transactions(|store| store.retire(Retired::Cell(group)));
        }
    }

    /// Runs `work` with the stamp of what is taken out after the tip was published.
    fn stamp_between_transactions(&mut self, work: impl FnOnce(&mut Store)) {
        let stamp = self.stamp;
        self.stamp = self.tip() + 1;
        work(self);
        self.stamp = stamp;
    }
}

fn slot_note<'a>(member: CellRef, is_group: bool) -> &'a AtomicU32 {
    if is_group {
        member.group_slot()
    } else {
        &member.header().slot
    }
}

/// # Safety
/// The caller is the writer, the array is alive and has this slot.
unsafe fn put_member(array: NonNull<ChildArray>, at: u32, member: CellRef, is_group: bool) {
    slot_note(member, is_group).store(at, Ordering::Relaxed);
    // SAFETY: as the caller says.
    unsafe { ChildArray::slot(array, at) }.store(member.pointer().as_ptr(), Ordering::Release);
}

/// The hidden path of the group of a node, if it belongs to one.
pub(super) fn group_path(cell: CellRef) -> Option<String> {
    (cell.kind() != OwnerKind::None).then(|| group_key(cell.kind(), cell.owner()))
}

/// No path of a node begins with a null character.
pub(super) fn group_key(kind: OwnerKind, owner: i64) -> String {
    match kind {
        OwnerKind::None | OwnerKind::Container => "\0containers".to_string(),
        OwnerKind::Ttl => "\0ttls".to_string(),
        OwnerKind::Session => format!("\0{owner:016x}"),
    }
}

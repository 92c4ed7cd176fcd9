//! Who watches which path: an entry for each pair of both, reachable from either side.
//!
//! Each path is kept once, in a slot; the hash table and the connections refer to it by number.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::BitOr;

use hashbrown::{DefaultHashBuilder, HashMap, HashSet, HashTable};

use crate::exchange::ConnId;

use super::Summary;

/// What one connection watches at one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    const NONE: Flags = Flags(0);
    pub(super) const DATA_STANDARD: Flags = Flags(1);
    pub(super) const DATA_PERSISTENT: Flags = Flags(1 << 1);
    pub(super) const DATA_RECURSIVE: Flags = Flags(1 << 2);
    pub(super) const CHILD_STANDARD: Flags = Flags(1 << 3);
    pub(super) const CHILD_PERSISTENT: Flags = Flags(1 << 4);
    /// All that Apache keeps in its table of data watches.
    pub(super) const DATA: Flags = Flags(0b0_0111);
    /// All that Apache keeps in its table of child watches.
    pub(super) const CHILD: Flags = Flags(0b1_1000);
    const ONE_SHOT: Flags = Flags(0b0_1001);

    pub(super) fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    fn and(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }

    /// In how many of Apache's two tables such an entry would be.
    fn tables(self) -> usize {
        usize::from(self.intersects(Flags::DATA)) + usize::from(self.intersects(Flags::CHILD))
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// The connections that watch a path. Most paths have one watcher, a few have thousands.
#[derive(Debug)]
enum Watchers {
    One(ConnId, Flags),
    /// Sorted, so that events go out in the same order on every run.
    Many(BTreeMap<ConnId, Flags>),
}

#[derive(Debug)]
struct Slot {
    path: Box<str>,
    /// Absent in a free slot.
    watchers: Option<Watchers>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    hasher: DefaultHashBuilder,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots by path.
    by_path: HashTable<u32>,
    /// Slots by connection.
    by_conn: HashMap<ConnId, HashSet<u32>>,
    /// Entries, by Apache's count.
    entries: usize,
    /// Entries with [`Flags::DATA_RECURSIVE`].
    recursive: usize,
    /// Connections whose entry at a path went away, kept for its memory.
    gone: Vec<ConnId>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    pub(super) fn has_recursive(&self) -> bool {
        self.recursive > 0
    }

    pub(super) fn flags(&self, path: &str, conn: ConnId) -> Flags {
        match self.find(path).map(|slot| self.watchers(slot)) {
            Some(Watchers::One(only, flags)) if *only == conn => *flags,
            Some(Watchers::Many(all)) => all.get(&conn).copied().unwrap_or(Flags::NONE),
            _ => Flags::NONE,
        }
    }

    pub(super) fn add(&mut self, path: &str, conn: ConnId, flags: Flags) {
        let Some(slot) = self.find(path) else {
            self.insert(path, conn, flags);
            self.count(Flags::NONE, flags);
            return;
        };
        let watchers = self.slots[slot as usize].watchers.as_mut();
        let watchers = watchers.expect("a slot found by its path is in use");
        let before = match watchers {
            Watchers::One(only, held) if *only == conn => {
                let before = *held;
                *held = before | flags;
                before
            }
            Watchers::One(only, held) => {
                *watchers = Watchers::Many(BTreeMap::from([(*only, *held), (conn, flags)]));
                Flags::NONE
            }
            Watchers::Many(all) => {
                let held = all.entry(conn).or_insert(Flags::NONE);
                let before = *held;
                *held = before | flags;
                before
            }
        };
        if before == Flags::NONE {
            self.by_conn.entry(conn).or_default().insert(slot);
        }
        self.count(before, before | flags);
    }

    /// Removes the flags of an entry; false where it had none of them.
    pub(super) fn remove(&mut self, path: &str, conn: ConnId, flags: Flags) -> bool {
        let before = self.flags(path, conn);
        if !before.intersects(flags) {
            return false;
        }
        let slot = self.find(path).expect("an entry with flags has a slot");
        let after = before.without(flags);
        if after == Flags::NONE {
            self.forget_slot_of(conn, slot);
        }
        self.set(slot, conn, after);
        self.count(before, after);
        true
    }

    pub(super) fn remove_connection(&mut self, conn: ConnId) {
        for slot in self.by_conn.remove(&conn).unwrap_or_default() {
            let before = match self.watchers(slot) {
                Watchers::One(_, flags) => *flags,
                Watchers::Many(all) => all[&conn],
            };
            self.set(slot, conn, Flags::NONE);
            self.count(before, Flags::NONE);
        }
    }

    /// Appends to `fired`, sorted, the connections that watch `path` with any of `flags`, and
    /// removes the one-shot watches among these.
    pub(super) fn trigger(&mut self, path: &str, flags: Flags, fired: &mut Vec<ConnId>) {
        let Some(slot) = self.find(path) else {
            return;
        };
        let spent = Flags::ONE_SHOT.and(flags);
        let watchers = self.slots[slot as usize].watchers.as_mut();
        let watchers = watchers.expect("a slot found by its path is in use");
        let mut entries = self.entries;
        let mut gone = std::mem::take(&mut self.gone);
        let mut fire = |conn: ConnId, held: &mut Flags| {
            if held.intersects(flags) {
                fired.push(conn);
                let after = held.without(spent);
                entries = entries + after.tables() - held.tables();
                *held = after;
            }
            if *held == Flags::NONE {
                gone.push(conn);
            }
            *held != Flags::NONE
        };
        let is_used = match watchers {
            Watchers::One(conn, held) => fire(*conn, held),
            Watchers::Many(all) => {
                all.retain(|&conn, held| fire(conn, held));
                !all.is_empty()
            }
        };
        self.entries = entries;
        for &conn in &gone {
            self.forget_slot_of(conn, slot);
        }
        gone.clear();
        self.gone = gone;
        if !is_used {
            self.release(slot);
        }
    }

    /// Appends the connections with a recursive watch at `path`.
    pub(super) fn recursive_at(&self, path: &str, fired: &mut Vec<ConnId>) {
        let Some(slot) = self.find(path) else {
            return;
        };
        match self.watchers(slot) {
            Watchers::One(conn, flags) if flags.intersects(Flags::DATA_RECURSIVE) => {
                fired.push(*conn);
            }
            Watchers::One(..) => {}
            Watchers::Many(all) => fired.extend(
                all.iter()
                    .filter(|(_, flags)| flags.intersects(Flags::DATA_RECURSIVE))
                    .map(|(&conn, _)| conn),
            ),
        }
    }

    pub(super) fn data_summary(&self) -> Summary {
        let mut connections = HashSet::new();
        let mut summary = Summary::default();
        for slot in &self.slots {
            let before = summary.total;
            slot.for_each(&mut |conn, flags| {
                if flags.intersects(Flags::DATA) {
                    connections.insert(conn);
                    summary.total += 1;
                }
            });
            summary.paths += usize::from(summary.total > before);
        }
        summary.connections = connections.len();
        summary
    }

    pub(super) fn for_each_data(&self, visit: &mut dyn FnMut(&str, ConnId)) {
        for slot in &self.slots {
            slot.for_each(&mut |conn, flags| {
                if flags.intersects(Flags::DATA) {
                    visit(&slot.path, conn);
                }
            });
        }
    }

    fn find(&self, path: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(path);
        let is_it = |&slot: &u32| &*self.slots[slot as usize].path == path;
        self.by_path.find(hash, is_it).copied()
    }

    fn watchers(&self, slot: u32) -> &Watchers {
        let watchers = self.slots[slot as usize].watchers.as_ref();
        watchers.expect("a slot found by its path or connection is in use")
    }

    fn insert(&mut self, path: &str, conn: ConnId, flags: Flags) {
        let used = Slot {
            path: path.into(),
            watchers: Some(Watchers::One(conn, flags)),
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = used;
                slot
            }
            None => {
                self.slots.push(used);
                u32::try_from(self.slots.len() - 1).expect("watches do not outgrow memory")
            }
        };
        let (hasher, slots) = (&self.hasher, &self.slots);
        let hash = |&slot: &u32| hasher.hash_one(&*slots[slot as usize].path);
        self.by_path
            .insert_unique(hasher.hash_one(path), slot, hash);
        self.by_conn.entry(conn).or_default().insert(slot);
    }

    /// Sets the flags of an entry that is there, without counting or touching `by_conn`.
    fn set(&mut self, slot: u32, conn: ConnId, flags: Flags) {
        let watchers = self.slots[slot as usize].watchers.as_mut();
        let watchers = watchers.expect("a slot found by its path or connection is in use");
        let is_used = match watchers {
            Watchers::One(_, held) => {
                *held = flags;
                flags != Flags::NONE
            }
            Watchers::Many(all) if flags == Flags::NONE => {
                all.remove(&conn);
                !all.is_empty()
            }
            Watchers::Many(all) => {
                all.insert(conn, flags);
                true
            }
        };
        if !is_used {
            self.release(slot);
        }
    }

    fn release(&mut self, slot: u32) {
        let path = std::mem::take(&mut self.slots[slot as usize].path);
        self.slots[slot as usize].watchers = None;
        let hash = self.hasher.hash_one(&*path);
        match self.by_path.find_entry(hash, |&other| other == slot) {
            Ok(found) => {
                found.remove();
            }
            Err(_) => unreachable!("a slot in use is found by its path"),
        }
        self.free.push(slot);
    }

    fn forget_slot_of(&mut self, conn: ConnId, slot: u32) {
        if let Some(slots) = self.by_conn.get_mut(&conn) {
            slots.remove(&slot);
            if slots.is_empty() {
                self.by_conn.remove(&conn);
            }
        }
    }

    fn count(&mut self, before: Flags, after: Flags) {
        self.entries = self.entries + after.tables() - before.tables();
        let recursive = |flags: Flags| usize::from(flags.intersects(Flags::DATA_RECURSIVE));
        self.recursive = self.recursive + recursive(after) - recursive(before);
    }
}

impl Slot {
    fn for_each(&self, visit: &mut dyn FnMut(ConnId, Flags)) {
        match &self.watchers {
            None => {}
            Some(Watchers::One(conn, flags)) => visit(*conn, *flags),
            Some(Watchers::Many(all)) => all.iter().for_each(|(&conn, &flags)| visit(conn, flags)),
        }
    }
}

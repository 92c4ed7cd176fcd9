//! The watches registered with one shard: changes of the tree in, events out.
//!
//! Implements what Apache's `DataTree` and `WatchManager` do together: one-shot data, exist and
//! child watches, persistent and persistent recursive ones. A connection has at most one entry a
//! path, whose flags say which of Apache's two tables it would be in and with which modes.
//!
//! Rules worth knowing:
//! - an exist watch is a data watch on a path that has no node;
//! - a recursive watch gets the data events of its whole subtree, and no child events;
//! - a connection that watches a deleted node's data and its children is told once;
//! - a one-shot watch is gone once its event was due, even if the event was then kept back because
//!   the connection may not read the node.
//!
//! Who may read a node is decided by the caller, who knows the connections' identities.

mod table;

use crate::exchange::ConnId;
use crate::jute::proto::SetWatches2;
use crate::tree::{AclList, ChangeKind, Changed};
use crate::types::path;

use table::{Flags, Table};

/// What happened to a watched node (Apache's `Watcher.Event.EventType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are Apache's own")]
#[repr(i32)]
pub enum EventType {
    NodeCreated = 1,
    NodeDeleted = 2,
    NodeDataChanged = 3,
    NodeChildrenChanged = 4,
}

/// The mode of an `addWatch` request (Apache's `AddWatchMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Apache's own")]
pub enum AddWatchMode {
    Persistent,
    PersistentRecursive,
}

impl AddWatchMode {
    /// The mode with this number on the wire, if there is one.
    pub fn from_code(code: i32) -> Option<AddWatchMode> {
        match code {
            0 => Some(AddWatchMode::Persistent),
            1 => Some(AddWatchMode::PersistentRecursive),
            _ => None,
        }
    }

    fn flags(self) -> Flags {
        match self {
            AddWatchMode::Persistent => Flags::DATA_PERSISTENT | Flags::CHILD_PERSISTENT,
            AddWatchMode::PersistentRecursive => Flags::DATA_RECURSIVE,
        }
    }
}

/// Which watches `removeWatches` and `checkWatches` mean (Apache's `Watcher.WatcherType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Apache's own")]
pub enum WatcherType {
    Children,
    Data,
    Any,
    Persistent,
    PersistentRecursive,
}

impl WatcherType {
    /// The type with this number on the wire, if there is one.
    pub fn from_code(code: i32) -> Option<WatcherType> {
        Some(match code {
            1 => WatcherType::Children,
            2 => WatcherType::Data,
            3 => WatcherType::Any,
            4 => WatcherType::Persistent,
            5 => WatcherType::PersistentRecursive,
            _ => return None,
        })
    }

    fn flags(self) -> Flags {
        match self {
            WatcherType::Children => Flags::CHILD_STANDARD,
            WatcherType::Data => Flags::DATA_STANDARD,
            WatcherType::Any => Flags::DATA | Flags::CHILD,
            WatcherType::Persistent => Flags::DATA_PERSISTENT | Flags::CHILD_PERSISTENT,
            WatcherType::PersistentRecursive => Flags::DATA_RECURSIVE,
        }
    }
}

/// What [`Watches::restore`] has to know of a node: the zxids of the last change of its data and
/// of its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastChange {
    /// [`crate::jute::data::Stat::mzxid`].
    pub mzxid: i64,
    /// [`crate::jute::data::Stat::pzxid`].
    pub pzxid: i64,
}

/// The data watches of a shard in numbers (Apache's `WatchesSummary`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// Connections that watch something.
    pub connections: usize,
    /// Paths that are watched.
    pub paths: usize,
    /// Pairs of both.
    pub total: usize,
}

/// The watches registered with one shard.
#[derive(Debug, Default)]
pub struct Watches {
    table: Table,
    /// Whom the event at hand goes to, kept for its memory.
    fired: Vec<ConnId>,
    /// Whom the deletion of the node was told already, kept for its memory.
    told: Vec<ConnId>,
}

impl Watches {
    /// No watches.
    pub fn new() -> Watches {
        Watches::default()
    }

    /// Registers a one-shot watch on a node's data, or on its coming into being.
    pub fn add_data(&mut self, path: &str, conn: ConnId) {
        self.table.add(path, conn, Flags::DATA_STANDARD);
    }

    /// Registers a one-shot watch on a node's children.
    pub fn add_child(&mut self, path: &str, conn: ConnId) {
        self.table.add(path, conn, Flags::CHILD_STANDARD);
    }

    /// Registers a watch that stays.
    pub fn add(&mut self, path: &str, conn: ConnId, mode: AddWatchMode) {
        self.table.add(path, conn, mode.flags());
    }

    /// Removes watches; false where there was none of that type.
    pub fn remove(&mut self, path: &str, conn: ConnId, kind: WatcherType) -> bool {
        self.table.remove(path, conn, kind.flags())
    }

    /// Whether the connection has a watch of that type.
    pub fn contains(&self, path: &str, conn: ConnId, kind: WatcherType) -> bool {
        self.table.flags(path, conn).intersects(kind.flags())
    }

    /// Removes all watches of a connection.
    pub fn remove_connection(&mut self, conn: ConnId) {
        self.table.remove_connection(conn);
    }

    /// How many watches there are, by Apache's count: a connection that watches data and children
    /// of a path counts twice.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// The data watches in numbers. Looks at every path.
    pub fn data_summary(&self) -> Summary {
        self.table.data_summary()
    }

    /// Visits every data watch, in no order.
    pub fn for_each_data(&self, visit: &mut dyn FnMut(&str, ConnId)) {
        self.table.for_each_data(visit);
    }

    /// Fires the watches for one change. `sink` gets the connection, the event, its path, and the
    /// ACL by which the connection must be allowed to read the node to be told.
    ///
    /// Returns how many watches each event fired, in order.
    pub fn changed(
        &mut self,
        change: &Changed<'_>,
        sink: &mut dyn FnMut(ConnId, EventType, &str, &AclList),
    ) -> Fired {
        let mut fired = Fired::default();
        if self.is_empty() {
            return fired;
        }
        match change.kind {
            ChangeKind::DataChanged => {
                fired.node = self.fire_data(change, EventType::NodeDataChanged, sink);
            }
            ChangeKind::Created => {
                fired.node = self.fire_data(change, EventType::NodeCreated, sink);
                fired.parent = self.fire_parent(change, sink);
            }
            ChangeKind::Deleted => {
                fired.node = self.fire_data(change, EventType::NodeDeleted, sink);
                std::mem::swap(&mut self.fired, &mut self.told);
                self.fired.clear();
                self.table
                    .trigger(change.path, Flags::CHILD, &mut self.fired);
                for &conn in &self.fired {
                    if self.told.binary_search(&conn).is_err() {
                        sink(conn, EventType::NodeDeleted, change.path, change.acl);
                    }
                }
                fired.node_children = self.fired.len();
                fired.parent = self.fire_parent(change, sink);
            }
        }
        fired
    }

    /// Leaves the connections told in `self.fired`, sorted.
    fn fire_data(
        &mut self,
        change: &Changed<'_>,
        event: EventType,
        sink: &mut dyn FnMut(ConnId, EventType, &str, &AclList),
    ) -> usize {
        self.fired.clear();
        self.table
            .trigger(change.path, Flags::DATA, &mut self.fired);
        if self.table.has_recursive() && change.path != "/" {
            let mut ancestor = path::parent(change.path);
            loop {
                self.table.recursive_at(ancestor, &mut self.fired);
                if ancestor == "/" {
                    break;
                }
                ancestor = path::parent(ancestor);
            }
            self.fired.sort_unstable();
            self.fired.dedup();
        }
        for &conn in &self.fired {
            sink(conn, event, change.path, change.acl);
        }
        self.fired.len()
    }

    fn fire_parent(
        &mut self,
        change: &Changed<'_>,
        sink: &mut dyn FnMut(ConnId, EventType, &str, &AclList),
    ) -> usize {
        // Only the root has no parent, and it is neither created nor deleted.
        let Some(acl) = change.parent_acl else {
            return 0;
        };
        let parent = path::parent(change.path);
        self.fired.clear();
        self.table.trigger(parent, Flags::CHILD, &mut self.fired);
        for &conn in &self.fired {
            sink(conn, EventType::NodeChildrenChanged, parent, acl);
        }
        self.fired.len()
    }

    /// Registers again what a client that reconnected had registered before; what it missed since
    /// `relative_zxid` it is told at once instead (Apache's `DataTree.setWatches`).
    pub fn restore(
        &mut self,
        request: &SetWatches2<'_>,
        conn: ConnId,
        node: &dyn Fn(&str) -> Option<LastChange>,
        sink: &mut dyn FnMut(EventType, &str),
    ) {
        let since = request.relative_zxid;
        for &path in &request.data_watches {
            match node(path) {
                None => sink(EventType::NodeDeleted, path),
                Some(last) if last.mzxid > since => sink(EventType::NodeDataChanged, path),
                Some(_) => self.add_data(path, conn),
            }
        }
        for &path in &request.exist_watches {
            match node(path) {
                Some(_) => sink(EventType::NodeCreated, path),
                None => self.add_data(path, conn),
            }
        }
        for &path in &request.child_watches {
            match node(path) {
                None => sink(EventType::NodeDeleted, path),
                Some(last) if last.pzxid > since => sink(EventType::NodeChildrenChanged, path),
                Some(_) => self.add_child(path, conn),
            }
        }
        for &path in &request.persistent_watches {
            self.add(path, conn, AddWatchMode::Persistent);
        }
        for &path in &request.persistent_recursive_watches {
            self.add(path, conn, AddWatchMode::PersistentRecursive);
        }
    }
}

/// How many watches a change fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fired {
    /// Data watches of the node, and recursive ones above it.
    pub node: usize,
    /// Child watches of the deleted node.
    pub node_children: usize,
    /// Child watches of the parent.
    pub parent: usize,
}

#[cfg(test)]
mod tests;

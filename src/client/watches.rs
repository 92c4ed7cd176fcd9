//! The client's own record of its watches (Apache's `ZKWatchManager`): who is to be called for an
//! event, and what must be registered again after a reconnect. Paths are the client's (below its
//! chroot).

use std::collections::{BTreeMap, BTreeSet};

use crate::types::ErrorCode;
use crate::types::path::parent;

use super::event::{EventKind, KeeperState, Watcher};

/// The lists that a watch can stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// One-shot, on a node that was there.
    Data = 0,
    /// One-shot, on a node that was not there.
    Exist = 1,
    /// One-shot, on a list of children.
    Child = 2,
    /// Stays until removed, on one node.
    Persistent = 3,
    /// Stays until removed, on a node and all below it.
    PersistentRecursive = 4,
}

/// Which watches an operation means (Apache's `WatcherType`), with the number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Apache's own")]
#[repr(i32)]
pub enum WatcherType {
    Children = 1,
    Data = 2,
    Any = 3,
    Persistent = 4,
    PersistentRecursive = 5,
}

impl WatcherType {
    /// The lists meant, each with the event that tells of a removal from it.
    fn lists(self) -> &'static [(WatchKind, EventKind)] {
        const CHILD: (WatchKind, EventKind) = (WatchKind::Child, EventKind::ChildWatchRemoved);
        const DATA: (WatchKind, EventKind) = (WatchKind::Data, EventKind::DataWatchRemoved);
        const EXIST: (WatchKind, EventKind) = (WatchKind::Exist, EventKind::DataWatchRemoved);
        const ONE: (WatchKind, EventKind) =
            (WatchKind::Persistent, EventKind::PersistentWatchRemoved);
        const SUBTREE: (WatchKind, EventKind) = (
            WatchKind::PersistentRecursive,
            EventKind::PersistentWatchRemoved,
        );
        match self {
            WatcherType::Children => &[CHILD],
            WatcherType::Data => &[DATA, EXIST],
            WatcherType::Any => &[CHILD, DATA, EXIST, ONE, SUBTREE],
            WatcherType::Persistent => &[ONE],
            WatcherType::PersistentRecursive => &[SUBTREE],
        }
    }
}

/// How long a watch of `addWatch` reaches (Apache's `AddWatchMode`), with the number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Apache's own")]
#[repr(i32)]
pub enum AddWatchMode {
    Persistent = 0,
    PersistentRecursive = 1,
}

/// Which reply puts a watch into which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registers {
    /// `exists`: a data watch where the node is there, an exist watch where it is not.
    Exists,
    /// `getData`.
    Data,
    /// `getChildren`.
    Child,
    /// `addWatch`.
    Add(AddWatchMode),
}

impl Registers {
    /// The list that a reply with the error code `err` puts the watch into, if any.
    pub fn list(self, err: i32) -> Option<WatchKind> {
        let ok = err == ErrorCode::Ok.code();
        let no_node = err == ErrorCode::NoNode.code();
        match self {
            Registers::Exists if ok => Some(WatchKind::Data),
            Registers::Exists if no_node => Some(WatchKind::Exist),
            Registers::Data if ok => Some(WatchKind::Data),
            Registers::Child if ok => Some(WatchKind::Child),
            Registers::Add(AddWatchMode::Persistent) if ok => Some(WatchKind::Persistent),
            Registers::Add(AddWatchMode::PersistentRecursive) if ok => {
                Some(WatchKind::PersistentRecursive)
            }
            _ => None,
        }
    }
}

type ByPath = BTreeMap<String, BTreeSet<Watcher>>;

/// The watches of one client.
#[derive(Debug, Default)]
pub struct WatchManager {
    lists: [ByPath; 5],
}

impl WatchManager {
    /// Records a watch.
    pub fn add(&mut self, kind: WatchKind, path: &str, watcher: Watcher) {
        self.lists[kind as usize]
            .entry(path.to_owned())
            .or_default()
            .insert(watcher);
    }

    /// The watched paths of a list, in order.
    pub fn paths(&self, kind: WatchKind) -> impl Iterator<Item = &str> {
        self.lists[kind as usize].keys().map(String::as_str)
    }

    /// Whether there is a watch of this type at `path`: that of `watcher`, or any.
    pub fn contains(&self, path: &str, watcher: Option<&Watcher>, of: WatcherType) -> bool {
        of.lists().iter().any(|(kind, _)| {
            self.lists[*kind as usize]
                .get(path)
                .is_some_and(|watchers| watcher.is_none_or(|watcher| watchers.contains(watcher)))
        })
    }

    /// Takes away the watches of this type at `path`: that of `watcher`, or all. Answers who is to
    /// be told, by the event that tells of it; nobody where there was none.
    pub fn remove(
        &mut self,
        path: &str,
        watcher: Option<&Watcher>,
        of: WatcherType,
    ) -> BTreeMap<EventKind, BTreeSet<Watcher>> {
        let mut removed: BTreeMap<EventKind, BTreeSet<Watcher>> = BTreeMap::new();
        for (kind, event) in of.lists() {
            let list = &mut self.lists[*kind as usize];
            let Some(watchers) = list.get_mut(path) else {
                continue;
            };
            match watcher {
                None => removed.entry(*event).or_default().append(watchers),
                Some(watcher) => {
                    if let Some(watcher) = watchers.take(watcher) {
                        removed.entry(*event).or_default().insert(watcher);
                    }
                }
            }
            if watchers.is_empty() {
                list.remove(path);
            }
        }
        removed
    }

    /// Who is called for a change of a node; one-shot watches are used up by it.
    pub fn fire(&mut self, kind: EventKind, path: &str) -> BTreeSet<Watcher> {
        let one_shot: &[WatchKind] = match kind {
            EventKind::NodeCreated | EventKind::NodeDataChanged => {
                &[WatchKind::Data, WatchKind::Exist]
            }
            EventKind::NodeChildrenChanged => &[WatchKind::Child],
            EventKind::NodeDeleted => &[WatchKind::Data, WatchKind::Exist, WatchKind::Child],
            // No server sends these; a client tells itself of them.
            EventKind::None
            | EventKind::DataWatchRemoved
            | EventKind::ChildWatchRemoved
            | EventKind::PersistentWatchRemoved => return BTreeSet::new(),
        };
        let mut called = BTreeSet::new();
        for list in one_shot {
            if let Some(mut watchers) = self.lists[*list as usize].remove(path) {
                called.append(&mut watchers);
            }
        }
        self.add_persistent(kind, path, &mut called);
        called
    }

    fn add_persistent(&self, kind: EventKind, path: &str, called: &mut BTreeSet<Watcher>) {
        let mut add_from = |list: WatchKind, path: &str| {
            if let Some(watchers) = self.lists[list as usize].get(path) {
                called.extend(watchers.iter().cloned());
            }
        };
        add_from(WatchKind::Persistent, path);
        // A recursive watch promises no event for lists of children, but a child watch on the same
        // node makes the server send one.
        if kind == EventKind::NodeChildrenChanged {
            return;
        }
        let mut at = path;
        loop {
            add_from(WatchKind::PersistentRecursive, at);
            if at == "/" {
                return;
            }
            at = parent(at);
        }
    }

    /// Who is called for a change of the session's state: everybody. With `clear_one_shot` (the
    /// setting `zookeeper.disableAutoWatchReset`) a state other than connected uses up the
    /// one-shot watches.
    pub fn fire_session(&mut self, state: KeeperState, clear_one_shot: bool) -> BTreeSet<Watcher> {
        let called = self
            .lists
            .iter()
            .flat_map(BTreeMap::values)
            .flatten()
            .cloned()
            .collect();
        if clear_one_shot && state != KeeperState::SyncConnected {
            for kind in [WatchKind::Data, WatchKind::Exist, WatchKind::Child] {
                self.lists[kind as usize].clear();
            }
        }
        called
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watcher() -> Watcher {
        Watcher::new(|_| {})
    }

    #[test]
    fn one_shot_watches_are_used_up() {
        let mut manager = WatchManager::default();
        let (data, child) = (watcher(), watcher());
        manager.add(WatchKind::Data, "/a", data.clone());
        manager.add(WatchKind::Exist, "/a", data.clone());
        manager.add(WatchKind::Child, "/a", child.clone());

        let called = manager.fire(EventKind::NodeDataChanged, "/a");
        assert_eq!(called, BTreeSet::from([data]));
        assert!(manager.fire(EventKind::NodeDataChanged, "/a").is_empty());

        let called = manager.fire(EventKind::NodeDeleted, "/a");
        assert_eq!(called, BTreeSet::from([child]));
        assert!(manager.fire(EventKind::NodeDeleted, "/a").is_empty());
    }

    #[test]
    fn persistent_watches_stay_and_recursive_ones_reach_down() {
        let mut manager = WatchManager::default();
        let (one, subtree) = (watcher(), watcher());
        manager.add(WatchKind::Persistent, "/a", one.clone());
        manager.add(WatchKind::PersistentRecursive, "/", subtree.clone());

        for _ in 0..2 {
            let called = manager.fire(EventKind::NodeDataChanged, "/a");
            assert_eq!(called, BTreeSet::from([one.clone(), subtree.clone()]));
            let called = manager.fire(EventKind::NodeCreated, "/a/b");
            assert_eq!(called, BTreeSet::from([subtree.clone()]));
            let called = manager.fire(EventKind::NodeChildrenChanged, "/a");
            assert_eq!(called, BTreeSet::from([one.clone()]));
        }
    }

    #[test]
    fn removal_tells_those_who_watched() {
        let mut manager = WatchManager::default();
        let (first, second) = (watcher(), watcher());
        manager.add(WatchKind::Data, "/a", first.clone());
        manager.add(WatchKind::Child, "/a", first.clone());
        manager.add(WatchKind::Child, "/a", second.clone());

        assert!(manager.contains("/a", Some(&second), WatcherType::Any));
        assert!(!manager.contains("/a", Some(&second), WatcherType::Data));
        let removed = manager.remove("/a", Some(&second), WatcherType::Any);
        assert_eq!(
            removed,
            BTreeMap::from([(EventKind::ChildWatchRemoved, BTreeSet::from([second]))])
        );
        let removed = manager.remove("/a", None, WatcherType::Any);
        assert_eq!(
            removed,
            BTreeMap::from([
                (EventKind::DataWatchRemoved, BTreeSet::from([first.clone()])),
                (EventKind::ChildWatchRemoved, BTreeSet::from([first])),
            ])
        );
        assert!(!manager.contains("/a", None, WatcherType::Any));
        assert!(manager.remove("/a", None, WatcherType::Any).is_empty());
    }

    #[test]
    fn replies_choose_the_list() {
        let no_node = ErrorCode::NoNode.code();
        for (registers, err, list) in [
            (Registers::Exists, 0, Some(WatchKind::Data)),
            (Registers::Exists, no_node, Some(WatchKind::Exist)),
            (Registers::Data, no_node, None),
            (Registers::Child, 0, Some(WatchKind::Child)),
            (
                Registers::Add(AddWatchMode::Persistent),
                0,
                Some(WatchKind::Persistent),
            ),
        ] {
            assert_eq!(registers.list(err), list);
        }
    }

    #[test]
    fn session_events_reach_everybody() {
        let mut manager = WatchManager::default();
        let (data, one) = (watcher(), watcher());
        manager.add(WatchKind::Data, "/a", data.clone());
        manager.add(WatchKind::Persistent, "/b", one.clone());
        let everybody = BTreeSet::from([data, one.clone()]);
        let lost = KeeperState::Disconnected;
        assert_eq!(manager.fire_session(lost, false), everybody);
        assert_eq!(manager.fire_session(lost, true), everybody);
        assert_eq!(manager.fire_session(lost, true), BTreeSet::from([one]));
    }
}

//! What a client watches, and the events that it must get for it: no others, in this order, and
//! before it can see the changes.

use std::collections::{BTreeSet, VecDeque};

use crate::jute::proto::SetWatches2;
use crate::tree::ChangeKind;
use crate::types::{Zxid, path, perms};
use crate::watch::EventType;

use super::guard::{Users, allows};
use super::model::Model;

/// An event that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The transaction's zxid.
    pub zxid: Zxid,
    /// What happened.
    pub kind: i32,
    /// To which node.
    pub path: String,
    /// Which one-shot watches it has used up: on data, on existence, on children.
    used: [bool; 3],
}

/// The watches of one client.
#[derive(Clone, Debug, Default)]
pub struct Watching {
    data: BTreeSet<String>,
    exist: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
    /// Up to where the events are known.
    accounted: Zxid,
    due: VecDeque<Due>,
    /// Events that do not come, since the client may not read the node: their watches are used up, and
    /// it does not know.
    withheld: Vec<Due>,
    /// Events of what was missed that have come while watches are being restored.
    missed: Vec<(i32, String)>,
}

/// What a read registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registers {
    Data,
    Exist,
    Child,
    Persistent,
    Recursive,
}

impl Watching {
    fn list(&mut self, what: Registers) -> &mut BTreeSet<String> {
        match what {
            Registers::Data => &mut self.data,
            Registers::Exist => &mut self.exist,
            Registers::Child => &mut self.child,
            Registers::Persistent => &mut self.persistent,
            Registers::Recursive => &mut self.recursive,
        }
    }

    /// Whether nothing is watched, as far as the client knows.
    pub fn is_empty(&self) -> bool {
        let lists = [
            &self.data,
            &self.exist,
            &self.child,
            &self.persistent,
            &self.recursive,
        ];
        lists.iter().all(|list| list.is_empty()) && self.withheld.is_empty()
    }

    /// A watch is registered.
    pub fn add(&mut self, what: Registers, path: &str) {
        self.list(what).insert(path.to_owned());
    }

    /// Everything up to a zxid can be seen. The event that should have come before, if there is
    /// one.
    pub fn shown(&mut self, model: &Model, zxid: Zxid, users: Users) -> Option<Due> {
        self.advance(model, zxid, users);
        self.due.front().cloned()
    }

    /// An event has come; what is wrong with it.
    pub fn notified(
        &mut self,
        model: &Model,
        (zxid, kind, path): (Zxid, i32, &str),
        users: Users,
    ) -> Result<(), String> {
        self.advance(model, zxid, users);
        match self.due.pop_front() {
            Some(due) if (due.zxid, due.kind, due.path.as_str()) == (zxid, kind, path) => Ok(()),
            due => Err(format!(
                "event {kind} of {path} at {zxid}, and due is {due:?}"
            )),
        }
    }

    fn advance(&mut self, model: &Model, up_to: Zxid, users: Users) {
        if up_to <= self.accounted {
            return;
        }
        let from = std::mem::replace(&mut self.accounted, up_to);
        if self.is_empty() {
            return;
        }
        for (zxid, entry) in model.range(from, up_to) {
            let may_read = |path: &str| may_read(model, path, zxid, users);
            for (path, kind) in &entry.changes {
                self.change(zxid, path, *kind, &may_read);
            }
        }
    }

    fn change(
        &mut self,
        zxid: Zxid,
        path: &str,
        kind: ChangeKind,
        may_read: &dyn Fn(&str) -> bool,
    ) {
        let event = match kind {
            ChangeKind::Created => EventType::NodeCreated,
            ChangeKind::Deleted => EventType::NodeDeleted,
            ChangeKind::DataChanged => EventType::NodeDataChanged,
        };
        let used = [self.data.remove(path), self.exist.remove(path), false];
        let is_persistent = self.persistent.contains(path);
        let is_told = used[0] || used[1] || is_persistent || self.is_below_recursive(path);
        if is_told {
            self.owe(zxid, event, path, used, may_read(path));
        }
        if kind == ChangeKind::Deleted {
            let used = [false, false, self.child.remove(path)];
            if (used[2] || is_persistent) && !is_told {
                self.owe(zxid, EventType::NodeDeleted, path, used, may_read(path));
            }
        }
        if kind != ChangeKind::DataChanged {
            let parent = path::parent(path);
            let used = [false, false, self.child.remove(parent)];
            if used[2] || self.persistent.contains(parent) {
                let event = EventType::NodeChildrenChanged;
                self.owe(zxid, event, parent, used, may_read(parent));
            }
        }
    }

    fn owe(&mut self, zxid: Zxid, event: EventType, path: &str, used: [bool; 3], may_read: bool) {
        let due = Due {
            zxid,
            kind: event as i32,
            path: path.to_owned(),
            used,
        };
        if may_read {
            self.due.push_back(due);
        } else {
            self.withheld.push(due);
        }
    }

    fn is_below_recursive(&self, path: &str) -> bool {
        self.recursive
            .iter()
            .any(|above| path::is_at_or_below(path, above))
    }

    /// The connection is gone: watches whose events have not come stand as they were.
    pub fn disconnected(&mut self) {
        let withheld = std::mem::take(&mut self.withheld);
        for due in std::mem::take(&mut self.due).into_iter().chain(withheld) {
            let lists = [&mut self.data, &mut self.exist, &mut self.child];
            for (list, used) in lists.into_iter().zip(due.used) {
                if used {
                    list.insert(due.path.clone());
                }
            }
        }
        self.missed.clear();
    }

    /// What registers all of them again, unless there are none.
    pub fn request(&self, relative: Zxid) -> Option<SetWatches2<'_>> {
        fn all(list: &BTreeSet<String>) -> Vec<&str> {
            list.iter().map(String::as_str).collect()
        }
        (!self.is_empty()).then(|| SetWatches2 {
            relative_zxid: relative.0,
            data_watches: all(&self.data),
            exist_watches: all(&self.exist),
            child_watches: all(&self.child),
            persistent_watches: all(&self.persistent),
            persistent_recursive_watches: all(&self.recursive),
        })
    }

    /// An event of what was missed has come.
    pub fn notified_of_missed(&mut self, kind: i32, path: &str) {
        self.missed.push((kind, path.to_owned()));
    }

    /// The watches are restored as of `zxid`; what is wrong with the events that came for it.
    pub fn restored(&mut self, model: &Model, relative: Zxid, zxid: Zxid) -> Result<(), String> {
        let mut expected = Vec::new();
        let mut keep = |list: &mut BTreeSet<String>, fires: &dyn Fn(&str) -> Option<EventType>| {
            list.retain(|path| match fires(path) {
                Some(event) => {
                    expected.push((event as i32, path.clone()));
                    false
                }
                None => true,
            });
        };
        keep(&mut self.data, &|path| match model.node_at(path, zxid) {
            None => Some(EventType::NodeDeleted),
            Some(node) if node.stat.mzxid > relative.0 => Some(EventType::NodeDataChanged),
            Some(_) => None,
        });
        keep(&mut self.exist, &|path| {
            model.node_at(path, zxid).map(|_| EventType::NodeCreated)
        });
        keep(&mut self.child, &|path| match model.node_at(path, zxid) {
            None => Some(EventType::NodeDeleted),
            Some(node) if node.stat.pzxid > relative.0 => Some(EventType::NodeChildrenChanged),
            Some(_) => None,
        });
        self.accounted = zxid;
        let missed = std::mem::take(&mut self.missed);
        if missed == expected {
            Ok(())
        } else {
            Err(format!(
                "watches restored at {zxid} for what came after {relative}: {missed:?} instead of \
                 {expected:?}"
            ))
        }
    }
}

/// Whether these users may read a node that a transaction changes: by its list, of what is deleted by
/// its last one.
fn may_read(model: &Model, path: &str, zxid: Zxid, users: Users) -> bool {
    let node = model.node_at(path, zxid);
    let node = node.or_else(|| model.node_at(path, Zxid(zxid.0 - 1)));
    node.is_none_or(|node| allows(&node.acl, perms::READ, users))
}

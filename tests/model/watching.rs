//! Watches in the reference model: a plain list of who watches what.

use std::collections::BTreeSet;

use zkore::tree::ChangeKind;
use zkore::watch::EventType;

use super::reference::{Change, Model, parent};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// On data, or on coming into being; once.
    Data,
    /// On children; once.
    Child,
    /// On both, for good.
    Persistent,
    /// On the data of a whole subtree, for good.
    Recursive,
}

/// Who watches, the path, how.
pub type Watch = (u64, String, Kind);

/// Who is told, of what, where.
pub type Event = (u64, EventType, String);

#[derive(Clone, Debug, Default)]
pub struct Watching {
    pub all: BTreeSet<Watch>,
}

impl Watching {
    pub fn of(&self, conn: u64, kind: Kind) -> Vec<String> {
        let own = self
            .all
            .iter()
            .filter(|watch| watch.0 == conn && watch.2 == kind);
        own.map(|watch| watch.1.clone()).collect()
    }

    pub fn drop_connection(&mut self, conn: u64) {
        self.all.retain(|watch| watch.0 != conn);
    }

    /// The events of a change; `may_read` says who may hear of a node with that ACL.
    pub fn fire(
        &mut self,
        change: &Change,
        may_read: &dyn Fn(u64, &[zkore::jute::data::Acl]) -> bool,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let path = &change.path;
        let data_event = match change.kind {
            ChangeKind::Created => EventType::NodeCreated,
            ChangeKind::Deleted => EventType::NodeDeleted,
            ChangeKind::DataChanged => EventType::NodeDataChanged,
        };
        let mut told = self.take(|at, kind| match kind {
            Kind::Data | Kind::Persistent => at == path,
            Kind::Recursive => is_at_or_below(path, at),
            Kind::Child => false,
        });
        if change.kind == ChangeKind::Deleted {
            told.extend(self.take(|at, kind| at == path && kind == Kind::Child));
        }
        told.retain(|&conn| may_read(conn, &change.acl));
        events.extend(told.iter().map(|&conn| (conn, data_event, path.clone())));
        if let Some(parent_acl) = &change.parent_acl {
            let parent = parent(path).expect("not the root");
            let mut told = self
                .take(|at, kind| at == parent && matches!(kind, Kind::Child | Kind::Persistent));
            told.retain(|&conn| may_read(conn, parent_acl));
            let event = EventType::NodeChildrenChanged;
            events.extend(told.iter().map(|&conn| (conn, event, parent.to_owned())));
        }
        events
    }

    /// Who has such a watch; those that are for once are gone then.
    fn take(&mut self, is_meant: impl Fn(&str, Kind) -> bool) -> BTreeSet<u64> {
        let meant: Vec<Watch> = self
            .all
            .iter()
            .filter(|(_, path, kind)| is_meant(path, *kind))
            .cloned()
            .collect();
        for watch in &meant {
            if matches!(watch.2, Kind::Data | Kind::Child) {
                self.all.remove(watch);
            }
        }
        meant.into_iter().map(|watch| watch.0).collect()
    }

    /// Registers anew what a connection lost, and returns what it has missed since `zxid`.
    /// `existed` tells a watch on data from one on coming into being.
    pub fn restore(
        &mut self,
        model: &Model,
        conn: u64,
        lost: &[(String, Kind, bool)],
        zxid: i64,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for (path, kind, existed) in lost {
            let node = model.nodes.get(path);
            let missed = match (kind, node) {
                (Kind::Data, None) if *existed => Some(EventType::NodeDeleted),
                (Kind::Data, Some(_)) if !existed => Some(EventType::NodeCreated),
                (Kind::Data, Some(node)) if node.mzxid > zxid => Some(EventType::NodeDataChanged),
                (Kind::Child, None) => Some(EventType::NodeDeleted),
                (Kind::Child, Some(node)) if node.pzxid > zxid => {
                    Some(EventType::NodeChildrenChanged)
                }
                _ => None,
            };
            match missed {
                Some(event) => events.push((conn, event, path.clone())),
                None => {
                    self.all.insert((conn, path.clone(), *kind));
                }
            }
        }
        events
    }
}

fn is_at_or_below(path: &str, ancestor: &str) -> bool {
    ancestor == "/" || path == ancestor || path.starts_with(&format!("{ancestor}/"))
}

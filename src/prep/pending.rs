//! The tip of the tree, with what earlier operations of the same multi will change.

use std::collections::HashMap;

use crate::jute::data::Acl;
use crate::tree::{AclList, NodeRef, Tree};
use crate::types::ErrorCode;

/// What the checks look at in a node.
#[derive(Clone, Copy)]
pub(super) struct NodeState<'t> {
    pub version: i32,
    pub aversion: i32,
    pub child_counter: i32,
    pub num_children: i32,
    pub ephemeral_owner: i64,
    pub data_len: usize,
    pub acl: &'t AclList,
}

/// The same, of a node that a pending operation touches.
#[derive(Clone)]
struct Pending {
    version: i32,
    aversion: i32,
    child_counter: i32,
    num_children: i32,
    ephemeral_owner: i64,
    data_len: usize,
    acl: AclList,
}

/// The tip. Changes are noted only in a multi: a single operation has nobody after it to see them.
pub(super) struct Tip<'t> {
    pub tree: &'t Tree,
    /// `None` outside of a multi; in it, `None` for a node that a pending operation deletes.
    changes: Option<HashMap<Box<str>, Option<Pending>>>,
}

impl<'t> Tip<'t> {
    pub fn new(tree: &'t Tree) -> Tip<'t> {
        Tip {
            tree,
            changes: None,
        }
    }

    /// Begins to note the changes of operations for those after them.
    pub fn note_changes(&mut self) {
        self.changes = Some(HashMap::new());
    }

    /// A node; the root is `/` or, as the parent part of its children's paths, empty.
    pub fn node(&self, path: &str) -> Result<NodeState<'_>, ErrorCode> {
        let path = or_root(path);
        if let Some(changes) = &self.changes
            && let Some(pending) = changes.get(path)
        {
            return pending
                .as_ref()
                .map(Pending::state)
                .ok_or(ErrorCode::NoNode);
        }
        self.tree.node(path).map(state_of).ok_or(ErrorCode::NoNode)
    }

    pub fn create(&mut self, path: &str, parent: &str, owner: i64, data_len: usize, acl: &[Acl]) {
        if let Some(parent) = self.pending(parent) {
            parent.child_counter = parent.child_counter.wrapping_add(1);
            parent.num_children += 1;
        }
        if let Some(changes) = &mut self.changes {
            let created = Pending {
                version: 0,
                aversion: 0,
                child_counter: 0,
                num_children: 0,
                ephemeral_owner: owner,
                data_len,
                acl: acl.into(),
            };
            changes.insert(path.into(), Some(created));
        }
    }

    pub fn delete(&mut self, path: &str, parent: &str) {
        if let Some(parent) = self.pending(parent) {
            parent.num_children -= 1;
        }
        if let Some(changes) = &mut self.changes {
            changes.insert(path.into(), None);
        }
    }

    pub fn set_data(&mut self, path: &str, version: i32, data_len: usize) {
        if let Some(node) = self.pending(path) {
            node.version = version;
            node.data_len = data_len;
        }
    }

    #[cfg(test)]
    pub fn set_counter_for_test(&mut self, path: &str, counter: i32) {
        self.pending(path).expect("changes are noted").child_counter = counter;
    }

    /// The noted state of a node that is there, to be changed; `None` where nothing is noted.
    fn pending(&mut self, path: &str) -> Option<&mut Pending> {
        let path = or_root(path);
        let tree = self.tree;
        let changes = self.changes.as_mut()?;
        if !changes.contains_key(path) {
            let node = tree
                .node(path)
                .expect("a node is looked up before it changes");
            changes.insert(path.into(), Some(Pending::of(state_of(node))));
        }
        let pending = changes.get_mut(path).and_then(Option::as_mut);
        Some(pending.expect("a node that changes is there"))
    }
}

impl Pending {
    fn of(state: NodeState<'_>) -> Pending {
        Pending {
            version: state.version,
            aversion: state.aversion,
            child_counter: state.child_counter,
            num_children: state.num_children,
            ephemeral_owner: state.ephemeral_owner,
            data_len: state.data_len,
            acl: state.acl.clone(),
        }
    }

    fn state(&self) -> NodeState<'_> {
        NodeState {
            version: self.version,
            aversion: self.aversion,
            child_counter: self.child_counter,
            num_children: self.num_children,
            ephemeral_owner: self.ephemeral_owner,
            data_len: self.data_len,
            acl: &self.acl,
        }
    }
}

fn state_of(node: NodeRef<'_>) -> NodeState<'_> {
    let stat = node.persisted();
    NodeState {
        version: stat.version,
        aversion: stat.aversion,
        child_counter: stat.cversion,
        num_children: node.num_children(),
        ephemeral_owner: stat.ephemeral_owner,
        data_len: node.data().map_or(0, <[u8]>::len),
        acl: node.acl(),
    }
}

fn or_root(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

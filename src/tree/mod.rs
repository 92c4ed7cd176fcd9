//! The multi-version znode tree: one writer, many views.
//!
//! The writer ([`Tree`]) stamps each change with its zxid. A [`View`] is the tree as of one zxid;
//! each shard and each running snapshot holds one. Views are read on other threads while the
//! writer goes on, without locks. A version is freed once no view holds an older zxid than the one
//! that superseded it.

mod change;

pub use change::{AclList, Applied, Change, ChangeKind, Outcome};

use std::sync::Arc;

use crate::jute::data::{Acl, Stat, StatPersisted};
use crate::jute::txn::{Txn, TxnHeader};
use crate::types::{SessionId, Zxid};

/// What the tree must know of the configuration.
#[derive(Clone, Debug)]
pub struct TreeConfig {
    /// Whether TTL nodes are told apart from ephemerals (`zookeeper.extendedTypesEnabled`).
    pub extended_types: bool,
    /// Whether the digest of the tree is kept (`zookeeper.digest.enabled`, default true).
    pub digest_enabled: bool,
}

/// The writer's side of the tree.
pub struct Tree {}

/// Figures that any thread may read: [`Tree::stats`].
#[derive(Debug, Default)]
pub struct TreeStats {}

/// Builds a tree from what a snapshot holds.
pub struct TreeLoader {}

/// Why a tree could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A node came before its parent, or without one.
    #[error("node {0} has no parent")]
    NoParent(String),
    /// A node came twice.
    #[error("node {0} occurs twice")]
    Duplicate(String),
    /// No root came.
    #[error("the root is missing")]
    NoRoot,
    /// The digest of what came is not the one that was recorded.
    #[error("the digest is {actual:#x}, recorded was {expected:#x}")]
    DigestMismatch {
        /// Of the nodes that came.
        actual: u64,
        /// As recorded.
        expected: u64,
    },
    /// Versions above this zxid cannot be dropped any more: the older ones are freed.
    #[error("versions above {0} can no longer be dropped")]
    RollbackTooLate(Zxid),
}

impl TreeLoader {
    /// A loader that has no nodes yet.
    pub fn new(_config: TreeConfig) -> TreeLoader {
        todo!()
    }

    /// Adds a node; its parent must have been added. The root's path is `/` or, as in a snapshot of
    /// Apache's, empty.
    pub fn add(
        &mut self,
        _path: &str,
        _stat: &StatPersisted,
        _data: Option<&[u8]>,
        _acl: &[Acl],
    ) -> Result<(), TreeError> {
        todo!()
    }

    /// The tree as of `zxid`. Checks the digest, where one was recorded and digests are kept.
    pub fn finish(self, _zxid: Zxid, _digest: Option<u64>) -> Result<Tree, TreeError> {
        todo!()
    }
}

/// The tree as of one zxid, readable on any thread.
///
/// A view pins its zxid: nothing that it can see is freed until it advances or is dropped.
pub struct View {}

/// A node as some version of the tree has it.
#[derive(Clone, Copy)]
pub struct NodeRef<'a> {
    _life: std::marker::PhantomData<&'a ()>,
}

impl Tree {
    /// A tree with the root, `/zookeeper`, `/zookeeper/quota` and `/zookeeper/config`.
    pub fn new(_config: TreeConfig) -> Tree {
        todo!()
    }

    /// The zxid of the newest change.
    pub fn tip_zxid(&self) -> Zxid {
        todo!()
    }

    /// Applies a transaction at the tip. Transactions come in zxid order; one that cannot be
    /// applied (its node is not there) gives `Outcome::Failed`, as replaying over a fuzzy snapshot
    /// of Apache's does (Apache's `DataTree.processTxn`).
    pub fn apply(&mut self, _header: &TxnHeader, _txn: &Txn<'_>) -> Applied {
        todo!()
    }

    /// The newest version of a node, committed or not.
    pub fn node(&self, _path: &str) -> Option<NodeRef<'_>> {
        todo!()
    }

    /// Paths of a session's ephemerals at the tip, sorted.
    pub fn ephemerals(&self, _session: SessionId) -> Vec<String> {
        todo!()
    }

    /// The digest of the tree at the tip (Apache's digest version 2); 0 where it is not kept.
    pub fn digest(&self) -> u64 {
        todo!()
    }

    /// A view of the tree as of `zxid`, which must not be older than the oldest live view's.
    pub fn view(&self, _zxid: Zxid) -> View {
        todo!()
    }

    /// The digest of the tree as of `zxid`, which the oldest live view must not have passed.
    pub fn digest_at(&self, _zxid: Zxid) -> u64 {
        todo!()
    }

    /// Figures that any thread may read.
    pub fn stats(&self) -> Arc<TreeStats> {
        todo!()
    }

    /// The nearest node at or above `path` that has a quota (Apache's `getMaxPrefixWithQuota`).
    pub fn quota_prefix(&self, _path: &str) -> Option<String> {
        todo!()
    }

    /// Containers and TTL nodes that may go: those that are empty and were used or are past their
    /// time, sorted (Apache's `ContainerManager.getCandidates`). `max_never_used_ms` 0 keeps
    /// containers that never had a child.
    pub fn reap_candidates(&self, _now_ms: i64, _max_never_used_ms: i64) -> Vec<String> {
        todo!()
    }

    /// Drops every change above `zxid`, which no view may have seen.
    pub fn rollback_above(&mut self, _zxid: Zxid) -> Result<(), TreeError> {
        todo!()
    }

    /// Frees at most `most` superseded versions that no view can see any more; returns how many.
    pub fn reclaim(&mut self, _most: usize) -> usize {
        todo!()
    }
}

impl View {
    /// The zxid that this view shows.
    pub fn zxid(&self) -> Zxid {
        todo!()
    }

    /// Moves the view forward. `zxid` must have been applied by the writer already.
    pub fn advance(&mut self, _zxid: Zxid) {
        todo!()
    }

    /// A node as of this view's zxid.
    pub fn node(&self, _path: &str) -> Option<NodeRef<'_>> {
        todo!()
    }

    /// A node as of `zxid`, which is this view's or a newer one that the writer has applied.
    pub fn node_at(&self, _path: &str, _zxid: Zxid) -> Option<NodeRef<'_>> {
        todo!()
    }

    /// Paths of a session's ephemerals, sorted, as of `zxid`.
    pub fn ephemerals_at(&self, _session: SessionId, _zxid: Zxid) -> Vec<String> {
        todo!()
    }

    /// How many descendants a node has, as of `zxid` (`getAllChildrenNumber`; the node itself is
    /// not counted, as in Apache's `DataTree.getAllChildrenNumber`).
    pub fn descendants_at(&self, _path: &str, _zxid: Zxid) -> usize {
        todo!()
    }

    /// Visits every node, parents before children.
    pub fn for_each(&self, _visit: &mut dyn FnMut(&str, NodeRef<'_>)) {
        todo!()
    }
}

impl<'a> NodeRef<'a> {
    /// The data; `None` where the node was created with a null.
    pub fn data(&self) -> Option<&'a [u8]> {
        todo!()
    }

    /// The Stat, as a client is told it.
    pub fn stat(&self) -> Stat {
        todo!()
    }

    /// The ACL.
    pub fn acl(&self) -> &'a AclList {
        todo!()
    }

    /// The path.
    pub fn path(&self) -> &'a str {
        todo!()
    }

    /// What a snapshot keeps of the Stat: the raw owner, and the raw counter of created children.
    pub fn persisted(&self) -> StatPersisted {
        todo!()
    }

    /// The owner as stored: a session, or the mark of a container or TTL node, or 0.
    pub fn ephemeral_owner(&self) -> i64 {
        todo!()
    }

    /// How many children there are.
    pub fn num_children(&self) -> i32 {
        todo!()
    }

    /// The counter that names sequential children: how many children were ever created.
    pub fn child_counter(&self) -> i32 {
        todo!()
    }

    /// What the node adds to the tree's digest; the digest is the wrapping sum over all nodes.
    pub fn digest(&self) -> u64 {
        todo!()
    }

    /// Visits the names of the children, in no order.
    pub fn for_each_child(&self, _visit: &mut dyn FnMut(&'a str)) {
        todo!()
    }
}

/// An entry that allows everything to everybody (Apache's `Ids.OPEN_ACL_UNSAFE`).
pub fn open_acl() -> Acl {
    Acl {
        perms: crate::types::perms::ALL,
        scheme: "world".into(),
        id: "anyone".into(),
    }
}

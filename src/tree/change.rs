//! What applying a transaction did: the input of watches and of replies.

use std::sync::Arc;

use smallvec::SmallVec;

use super::store::Pointer;
use crate::jute::data::{Acl, Stat};
use crate::types::{ErrorCode, Zxid};

/// An access control list, interned by the tree and shared with whoever needs it.
pub type AclList = Arc<[Acl]>;

/// What happened to one node. That the parent's children changed follows from `Created` and
/// `Deleted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The node was created.
    Created,
    /// The node was deleted.
    Deleted,
    /// The data was set.
    DataChanged,
}

/// One change of one node, in the order in which it happened. Few changes have watchers, so this only
/// points out what [`View::changed`](super::View::changed) shows.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// What happened to it.
    pub kind: ChangeKind,
    pub(super) node: Pointer,
    /// For `DataChanged` it is absent.
    pub(super) parent: Option<Pointer>,
}

/// The changes of a transaction, in order; most have one.
pub type Changes = SmallVec<[Change; 1]>;

/// What happened to a node, and who may know.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'a> {
    /// The node.
    pub path: &'a str,
    /// What happened to it.
    pub kind: ChangeKind,
    /// Its ACL (of a deleted node, the last one): events go only to those who may read the node.
    pub acl: &'a AclList,
    /// The parent's ACL; for `DataChanged` it is absent.
    pub parent_acl: Option<&'a AclList>,
}

/// The result of one operation, as its reply needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing but success: delete, check, closeSession, sync.
    Done,
    /// create, create2, createContainer, createTTL.
    Created {
        /// The path, with its sequence number.
        path: Box<str>,
        /// The new node's Stat.
        stat: Stat,
    },
    /// setData and setACL.
    Stat(Stat),
    /// A multi that was applied: one outcome an operation, with the operation's code.
    Multi(Vec<(i32, Outcome)>),
    /// The operation failed.
    Failed(ErrorCode),
    /// A multi that failed: one code an operation, with the operation's code.
    MultiFailed(Vec<ErrorCode>),
}

/// What applying one transaction did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The transaction's zxid.
    pub zxid: Zxid,
    /// For the reply.
    pub outcome: Outcome,
    /// For the watches.
    pub changes: Changes,
}

//! What applying a transaction did: the input of watches and of replies.

use std::sync::Arc;

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

/// One change of one node, in the order in which it happened.
#[derive(Clone, Debug)]
pub struct Change {
    /// The node.
    pub path: Box<str>,
    /// What happened to it.
    pub kind: ChangeKind,
    /// Its ACL (of a deleted node, the last one): events go only to those who may read the node.
    pub acl: AclList,
    /// The parent's ACL; for `DataChanged` it is absent.
    pub parent_acl: Option<AclList>,
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
    pub changes: Vec<Change>,
}

//! Module `org.apache.zookeeper.data` of the schema.

use super::{fixed_record, record};

record! {
    /// One entry of an access control list, with its `Id` inlined.
    Acl {
        /// Permission bits, see [`crate::types::perms`].
        perms: i32,
        /// Authentication scheme.
        scheme: String,
        /// Identity within the scheme.
        id: String,
    }
}

fixed_record! {
    /// What a client is told of a node. Times are milliseconds since the epoch.
    Stat {
        /// Zxid that created the node.
        czxid: i64,
        /// Zxid that last changed the data.
        mzxid: i64,
        /// Time of creation.
        ctime: i64,
        /// Time of the last change of the data.
        mtime: i64,
        /// Version of the data.
        version: i32,
        /// Version of the list of children.
        cversion: i32,
        /// Version of the ACL.
        aversion: i32,
        /// Owning session, or the mark of a container or TTL node, or 0.
        ephemeral_owner: i64,
        /// Bytes of data.
        data_length: i32,
        /// Children.
        num_children: i32,
        /// Zxid that last changed the list of children.
        pzxid: i64,
    }
}

record! {
    /// What a snapshot keeps of a node's [`Stat`].
    StatPersisted {
        /// See [`Stat::czxid`].
        czxid: i64,
        /// See [`Stat::mzxid`].
        mzxid: i64,
        /// See [`Stat::ctime`].
        ctime: i64,
        /// See [`Stat::mtime`].
        mtime: i64,
        /// See [`Stat::version`].
        version: i32,
        /// See [`Stat::cversion`]. In a snapshot of Apache's it counts creations of children.
        cversion: i32,
        /// See [`Stat::aversion`].
        aversion: i32,
        /// See [`Stat::ephemeral_owner`].
        ephemeral_owner: i64,
        /// See [`Stat::pzxid`].
        pzxid: i64,
    }
}

record! {
    /// An identity of a connection, as `whoAmI` lists it.
    ClientInfo {
        /// Authentication scheme.
        auth_scheme: String,
        /// User name or other identity.
        user: String,
    }
}

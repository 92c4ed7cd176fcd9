//! Module `org.apache.zookeeper.server.quorum` of the schema, and the kinds of its packets.

use super::record;

record! {
    /// What servers of an ensemble say to each other (Apache's `QuorumPacket`). On the wire one
    /// follows the other without a length.
    QuorumPacket<'a> {
        /// One of [`kind`].
        kind: i32,
        /// Depends on the kind.
        zxid: i64,
        /// Depends on the kind.
        data: Option<&'a [u8]>,
        /// Identities of the client whose request this is.
        authinfo: Vec<AuthId<'a>>,
    }
}

record! {
    /// An identity (Apache's `Id`).
    AuthId<'a> {
        /// Authentication scheme.
        scheme: &'a str,
        /// Identity within the scheme.
        id: &'a str,
    }
}

record! {
    /// How a learner introduces itself. Apache's servers ignore bytes after it.
    LearnerInfo {
        /// Its number.
        server_id: i64,
        /// 0x10000 for ZAB 1.0.
        protocol_version: i32,
        /// Version of its configuration.
        config_version: i64,
    }
}

/// Kinds of packets (Apache's `Leader`).
pub mod kind {
    /// Leader to learner: what follows brings the learner up to the leader.
    pub const DIFF: i32 = 13;
    /// Leader to learner: cut the log off after the zxid.
    pub const TRUNC: i32 = 14;
    /// Leader to learner: a whole tree follows.
    pub const SNAP: i32 = 15;
    /// Observer to leader: introduces itself.
    pub const OBSERVER_INFO: i32 = 16;
    /// Leader to learner: the synchronisation ends here.
    pub const NEW_LEADER: i32 = 10;
    /// Follower to leader: introduces itself with its accepted epoch.
    pub const FOLLOWER_INFO: i32 = 11;
    /// Leader to learner: serve clients now.
    pub const UP_TO_DATE: i32 = 12;
    /// Leader to learner: the new epoch.
    pub const LEADER_INFO: i32 = 17;
    /// Learner to leader: the epoch is accepted.
    pub const ACK_EPOCH: i32 = 18;
    /// Learner to leader: a client's request.
    pub const REQUEST: i32 = 1;
    /// Leader to follower: a transaction.
    pub const PROPOSAL: i32 = 2;
    /// Follower to leader: the transaction is durable.
    pub const ACK: i32 = 3;
    /// Leader to follower: the transaction is committed.
    pub const COMMIT: i32 = 4;
    /// Both ways: alive. The learner adds the sessions that it heard from.
    pub const PING: i32 = 5;
    /// Both ways: does this session live?
    pub const REVALIDATE: i32 = 6;
    /// Leader to learner: a client's sync is done.
    pub const SYNC: i32 = 7;
    /// Leader to observer: a committed transaction.
    pub const INFORM: i32 = 8;
    /// Leader to follower: a reconfiguration is committed.
    pub const COMMIT_AND_ACTIVATE: i32 = 9;
    /// Leader to observer: a committed reconfiguration.
    pub const INFORM_AND_ACTIVATE: i32 = 19;
}

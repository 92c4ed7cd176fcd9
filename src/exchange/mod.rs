//! What shards and the sequencer say to each other.
//!
//! A shard sends [`ToSequencer`] messages over its own bounded ring. The sequencer answers every
//! shard with the same [`Batch`]es: one ordered history of [`Item`]s. A shard walks a batch item by
//! item: it fires the watches for the item's changes, answers the item's request if it is its own,
//! and then serves the reads of that session that waited behind it, at that item's zxid.

use std::sync::Arc;

use crate::auth::Identity;
use crate::tree::{Changes, Outcome};
use crate::types::{ErrorCode, LinkId, SessionId, Zxid};

/// Index of a shard, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A connection of one shard. Never used twice by the same shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Where a request came from and where its reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The shard that holds the connection.
    pub shard: ShardId,
    /// The connection.
    pub conn: ConnId,
}

/// Who holds a session, as this server sees it: requests of anybody else are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A connection of one of our shards.
    Connection(Origin),
    /// A learner, for one of its connections.
    Learner(LinkId),
}

/// A message from a shard.
#[derive(Debug)]
pub enum ToSequencer {
    /// A client's write (or sync) that wants an ordered answer.
    Request(Request),
    /// A client without a session wants one.
    OpenSession {
        /// Who asks.
        origin: Origin,
        /// The timeout, already negotiated, in milliseconds.
        timeout_ms: i32,
    },
    /// A client that reconnected wants to go on with its session. Refused as an unknown session is
    /// when the password is wrong (Apache's `reopenSession`). The sequencer tells the former
    /// connection to close.
    ReattachSession {
        /// Who asks.
        origin: Origin,
        /// The session.
        session: SessionId,
        /// Its password.
        password: Vec<u8>,
        /// The timeout, already negotiated, in milliseconds.
        timeout_ms: i32,
    },
    /// The sessions that a shard heard from since its last report. The sequencer expires nobody
    /// later than the oldest `as_of_ms` of all shards, so a shard takes that time, then serves all
    /// that its sockets hold, then reports.
    Heard {
        /// Which shard.
        shard: ShardId,
        /// Until when this report is complete, in milliseconds on the server's monotonic clock.
        as_of_ms: u64,
        /// The sessions heard from.
        sessions: Vec<SessionId>,
    },
}

impl ToSequencer {
    /// When a shard took it in, if it is a client's request.
    pub fn received_us(&self) -> Option<u64> {
        match self {
            ToSequencer::Request(request) => Some(request.received_us),
            _ => None,
        }
    }
}

/// A client's request that needs the sequencer.
#[derive(Debug)]
pub struct Request {
    /// Where the reply goes.
    pub origin: Origin,
    /// The client's session.
    pub session: SessionId,
    /// The client's number for the request.
    pub xid: i32,
    /// Operation code, see [`crate::jute::op`].
    pub op: i32,
    /// The request record, undecoded.
    pub body: Box<[u8]>,
    /// The identities of the connection.
    pub identities: Arc<[Identity]>,
    /// When the shard took it in, in microseconds on the server's monotonic clock.
    pub received_us: u64,
}

/// The answer to one message of a shard, in the order of the history.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To a [`Request`].
    Reply {
        /// The request's xid.
        xid: i32,
        /// The request's operation code.
        op: i32,
        /// The result.
        outcome: Outcome,
        /// When the shard took the request in, in microseconds.
        received_us: u64,
    },
    /// To `OpenSession` and `ReattachSession`: the connection now speaks for this session.
    Attached {
        /// The session.
        session: SessionId,
        /// Its password: 16 bytes.
        password: [u8; 16],
        /// Its timeout in milliseconds.
        timeout_ms: i32,
    },
    /// To `ReattachSession`: the session is unknown or the password wrong.
    SessionRefused,
    /// To nobody who asked: the session has gone to another connection, or has expired or been
    /// closed by other means. The connection closes.
    Detached {
        /// The session.
        session: SessionId,
        /// `SessionExpired` or `SessionMoved`.
        reason: ErrorCode,
    },
}

/// One step of the history.
#[derive(Clone, Debug)]
pub struct Item {
    /// The tree's zxid after this step; steps that are no transaction repeat the one before.
    pub zxid: Zxid,
    /// What it changed in the tree.
    pub changes: Changes,
    /// Whom to answer, and what.
    pub answer: Option<(Origin, Answer)>,
}

/// A durable stretch of the history, published to every shard.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The steps, in order.
    pub items: Vec<Item>,
}

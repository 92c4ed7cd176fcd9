//! What a leader and its host say to each other.

use std::sync::Arc;

use crate::auth::Identity;
use crate::types::{Ensemble, LinkId, ServerId, SessionId, Zxid};

/// What a leader must know.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// Its number.
    pub my_id: ServerId,
    /// Who votes.
    pub ensemble: Arc<Ensemble>,
    /// How long until a quorum must have its log, in milliseconds (`initLimit` ticks).
    pub init_limit_ms: u64,
    /// How long a learner may be silent, in milliseconds (`syncLimit` ticks).
    pub sync_limit_ms: u64,
    /// How long a learner of ours may be silent once it serves, in milliseconds.
    pub silence_limit_ms: u64,
    /// Milliseconds between two pings.
    pub heartbeat_ms: u64,
}

/// The history that a leader was elected with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The newest epoch that it acknowledged to a leader of.
    pub accepted_epoch: u32,
    /// The epoch of the last leader that it was synchronised with.
    pub current_epoch: u32,
    /// Its last transaction, which is durable.
    pub zxid: Zxid,
}

/// The host could not do what was asked and has noted why; the leader must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFailed;

/// What is durable at a leader. Calls return when it is done.
pub trait LeaderHost {
    /// Writes `acceptedEpoch`.
    fn accept_epoch(&mut self, epoch: u32) -> Result<(), HostFailed>;
    /// Writes `currentEpoch`.
    fn adopt_epoch(&mut self, epoch: u32) -> Result<(), HostFailed>;
    /// Reads the transactions after `after` up to and with `up_to` out of the log; `None` where
    /// the log does not go back so far without a gap, or where a tree would be shorter.
    fn read_log(&mut self, after: Zxid, up_to: Zxid) -> Option<Vec<(Zxid, Arc<[u8]>)>>;
}

/// A client's request that a learner forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The client's session.
    pub session: SessionId,
    /// The client's number for it.
    pub cxid: i32,
    /// Operation code.
    pub op: i32,
    /// The request record.
    pub body: Box<[u8]>,
    /// The identities of the client.
    pub identities: Arc<[Identity]>,
}

/// What a leader tells its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderEvent {
    /// A quorum has the leader's log: it is committed, and clients may be served.
    Established,
    /// Everything up to this zxid is committed.
    Committed(Zxid),
    /// A learner forwards a request.
    Request(LinkId, Forwarded),
    /// A learner heard from these sessions, with their timeouts in milliseconds. All that it heard
    /// up to this time, in milliseconds, is in it and in what came before.
    Touched(LinkId, u64, Vec<(SessionId, i32)>),
    /// A learner's client wants to go on with a session; answered by
    /// [`ToLearner::Revalidated`].
    Revalidate(LinkId, SessionId, i32),
    /// A learner needs the tree as of this zxid: the host gives it in pieces to
    /// [`Leader::tree_piece`].
    SendTree(LinkId, Zxid),
    /// A round of pings has come back from a quorum: this server led when the round was asked for.
    RoundConfirmed(u64),
    /// The link is of no more use; the host closes it. Said once.
    Close(LinkId, String),
    /// The leader cannot go on; nothing more is to be given to it.
    SteppedDown(String),
}

/// What a learner is told for one of its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToLearner {
    /// The oldest sync that it has forwarded is done.
    Synced,
    /// This server led when the oldest [`Rejection`] was sent that is not confirmed.
    Confirmed,
    /// Whether a session lives.
    Revalidated(SessionId, bool),
}

/// A learner, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerReport {
    /// Who.
    pub server: ServerId,
    /// Whether it only observes.
    pub is_observer: bool,
    /// Whether it has a vote.
    pub votes: bool,
    /// Whether it has our log.
    pub is_synced: bool,
}

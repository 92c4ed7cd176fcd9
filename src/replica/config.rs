//! What a server must know of the configuration to be a replica.

use std::sync::Arc;

use crate::sequencer::LocalSessions;
use crate::tree::TreeConfig;
use crate::types::{Ensemble, ServerId};

/// For any server.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The ensemble that the server belongs to; `None` for one that is alone.
    pub member: Option<MemberConfig>,
    /// For trees that a leader sends.
    pub tree: TreeConfig,
}

/// For a member of an ensemble.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// Its number.
    pub my_id: ServerId,
    /// All members.
    pub ensemble: Arc<Ensemble>,
    /// `initLimit` in milliseconds.
    pub init_limit_ms: u64,
    /// `syncLimit` in milliseconds.
    pub sync_limit_ms: u64,
    /// How long another server of ours may be silent, in milliseconds.
    pub silence_limit_ms: u64,
    /// Milliseconds between two pings of a leader.
    pub heartbeat_ms: u64,
    /// Whether it serves clients while it leads.
    pub leader_serves: bool,
    /// How long it looks for a leader, in milliseconds, before it serves clients that only read;
    /// `None` is never (`readonlymode.enabled`).
    pub read_only_after_ms: Option<u64>,
    /// Whether sessions may live on this member alone.
    pub local_sessions: LocalSessions,
    /// Milliseconds after which a vote is sent again: at first, and at most.
    pub notification_interval_ms: (u64, u64),
}

impl MemberConfig {
    /// Whether this member has no vote.
    pub fn is_observer(&self) -> bool {
        !self.ensemble.is_voter(self.my_id)
    }
}

//! What a server must know of the configuration to be a replica.

use std::sync::Arc;

use crate::tree::TreeConfig;
use crate::types::{Ensemble, Role, ServerId};

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
    /// Milliseconds after which a vote is sent again: at first, and at most.
    pub notification_interval_ms: (u64, u64),
    /// Whether this server's log was damaged, so that it must not vote with what is left of it
    /// until a leader has mended it.
    pub needs_repair: bool,
}

impl MemberConfig {
    /// Whether this member has no vote.
    pub fn is_observer(&self) -> bool {
        self.needs_repair || !self.ensemble.is_voter(self.my_id)
    }

    /// The members as this one's elections see them.
    pub fn voting_ensemble(&self) -> Arc<Ensemble> {
        if !self.needs_repair {
            return Arc::clone(&self.ensemble);
        }
        let mut ensemble = Ensemble::clone(&self.ensemble);
        if let Some(me) = ensemble.members.get_mut(&self.my_id) {
            me.role = Role::Observer;
        }
        Arc::new(ensemble)
    }
}

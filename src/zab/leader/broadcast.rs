//! Broadcast: what is proposed, what a quorum has on disk, and what learners are told is committed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::mutation::{self, Mutation};
use crate::types::{LinkId, Zxid};

use super::link::Phase;
use super::{Leader, LeaderEvent};

impl Leader {
    /// Proposes a transaction to all followers; it is being written to our own log meanwhile.
    pub fn propose(&mut self, zxid: Zxid, payload: &[u8]) {
        debug_assert!(self.is_established, "clients are served only then");
        let payload: Arc<[u8]> = payload.into();
        let (_, least, most) = self.proposal_bytes;
        let bytes = payload.len() as i64;
        let least = if least < 0 { bytes } else { least.min(bytes) };
        self.proposal_bytes = (bytes, least, most.max(bytes));
        for link in self.links.values_mut() {
            if link.phase >= Phase::Syncing && !link.is_observer {
                link.send_proposal(zxid, &payload);
            }
        }
        self.proposals.push(zxid, payload);
    }

    /// Our own log is durable up to `zxid`.
    pub fn durable(&mut self, zxid: Zxid) {
        self.durable = self.durable.max(zxid);
        self.commit();
    }

    pub(super) fn acked(&mut self, id: LinkId, zxid: Zxid) {
        // UPTODATE is acknowledged with the beginning of the epoch, which is no transaction.
        let is_proposal = zxid != self.new_leader_zxid();
        let link = self.links.get_mut(&id).expect("it was found before");
        if is_proposal && zxid > link.acked && zxid <= self.proposals.tip() {
            link.acked = zxid;
            self.commit();
        }
    }

    /// Commits what a quorum has on disk (TLA+ action `LeaderProcessACK`).
    fn commit(&mut self) {
        if !self.is_established {
            return;
        }
        let Some(zxid) = self.quorum_position() else {
            return;
        };
        self.committed = zxid;
        for link in self.links.values_mut() {
            link.announce(zxid, &self.proposals);
        }
        self.trim();
        self.events.push_back(LeaderEvent::Committed(zxid));
    }

    /// The newest zxid above what is committed that a quorum has.
    fn quorum_position(&self) -> Option<Zxid> {
        let mut positions = vec![(self.durable, self.config.my_id)];
        for link in self.links.values() {
            if let Some(server) = link.server
                && link.phase >= Phase::Synced
                && !link.is_observer
            {
                positions.push((link.acked, server));
            }
        }
        positions.sort_unstable_by(|a, b| b.cmp(a));
        let mut servers = BTreeSet::new();
        for (zxid, server) in positions {
            if zxid <= self.committed {
                return None;
            }
            servers.insert(server);
            let is_enough = mutation::is(Mutation::CommitOnMinority);
            if is_enough || self.config.ensemble.is_quorum(&servers) {
                return Some(zxid);
            }
        }
        None
    }

    /// Forgets old transactions, but none that a learner has yet to hear the commit of.
    pub(super) fn trim(&mut self) {
        let unheard = self
            .links
            .values()
            .filter(|link| link.phase >= Phase::Syncing);
        let oldest = unheard.map(|link| link.announced).min();
        self.proposals
            .trim(oldest.unwrap_or(self.committed).min(self.committed));
    }
}

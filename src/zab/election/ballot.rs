//! Who has voted for whom, and when two votes are the same (Apache's `Vote.equals`,
//! `FastLeaderElection.getVoteTracker` and `checkLeader`).

use std::collections::{BTreeMap, BTreeSet};

use super::{PeerState, Vote};
use crate::types::ServerId;

/// A vote as another server sent it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cast {
    pub(super) vote: Vote,
    /// The state in which its sender cast it.
    pub(super) state: PeerState,
    /// The version of the notification; 0 where it must not count.
    pub(super) version: i32,
}

impl Cast {
    /// Whether both are for the same leader of the same time.
    ///
    /// Servers that are no longer looking may tell different zxids and election epochs of one
    /// established leader, and those of before 3.4.6 different epochs too, so less is compared.
    pub(super) fn agrees(&self, other: &Cast) -> bool {
        if self.state == PeerState::Looking || other.state == PeerState::Looking {
            return self.vote == other.vote;
        }
        let is_one_old = (self.version > 0) != (other.version > 0);
        self.vote.leader == other.vote.leader
            && (is_one_old || self.vote.peer_epoch == other.vote.peer_epoch)
    }
}

/// The newest vote of each voter.
#[derive(Clone, Debug, Default)]
pub(super) struct Ballots {
    cast: BTreeMap<ServerId, Cast>,
}

impl Ballots {
    pub(super) fn clear(&mut self) {
        self.cast.clear();
    }

    pub(super) fn put(&mut self, from: ServerId, cast: Cast) {
        self.cast.insert(from, cast);
    }

    pub(super) fn remove(&mut self, from: ServerId) {
        self.cast.remove(&from);
    }

    /// Who voted the same as `cast`.
    pub(super) fn supporters(&self, cast: &Cast) -> BTreeSet<ServerId> {
        self.cast
            .iter()
            .filter(|(_, other)| cast.agrees(other))
            .map(|(&id, _)| id)
            .collect()
    }

    /// Whether this server has said itself that it leads. Without that, servers could elect one
    /// over and over that has crashed.
    pub(super) fn is_leading(&self, id: ServerId) -> bool {
        self.cast
            .get(&id)
            .is_some_and(|cast| cast.state == PeerState::Leading)
    }
}

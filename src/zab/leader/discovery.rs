//! Discovery: which epoch a new leader leads, and whether a quorum follows it into that epoch (Apache's
//! `getEpochToPropose` and `waitForEpochAck`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{HostFailed, LeaderHost, Summary};
use crate::mutation::{self, Mutation};
use crate::types::{Ensemble, ServerId, Zxid};

/// What voters have said, and what follows from it.
pub struct Discovery {
    ensemble: Arc<Ensemble>,
    summary: Summary,
    /// The newest epoch that each voter has accepted.
    accepted: BTreeMap<ServerId, u32>,
    /// Voters that have accepted ours, and whose history is not newer.
    followers: BTreeSet<ServerId>,
    epoch: Option<u32>,
    is_confirmed: bool,
}

impl Discovery {
    pub fn new(ensemble: Arc<Ensemble>, summary: Summary) -> Discovery {
        Discovery {
            ensemble,
            summary,
            accepted: BTreeMap::new(),
            followers: BTreeSet::new(),
            epoch: None,
            is_confirmed: false,
        }
    }

    /// The epoch, above all that a quorum has accepted, once that quorum is there.
    pub fn epoch(&self) -> Option<u32> {
        self.epoch
    }

    /// Whether a quorum has accepted the epoch and none of it has a newer history.
    pub fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    /// A voter has connected; whether the epoch is chosen with that, durably.
    pub fn connected(
        &mut self,
        voter: ServerId,
        accepted_epoch: u32,
        host: &mut dyn LeaderHost,
    ) -> Result<bool, HostFailed> {
        self.accepted.insert(voter, accepted_epoch);
        let voters = self.accepted.keys().copied().collect();
        if self.epoch.is_some() || !self.ensemble.is_quorum(&voters) {
            return Ok(false);
        }
        let newest = self.accepted.values().max().expect("one was just put in");
        let epoch = newest + u32::from(!mutation::is(Mutation::KeepEpoch));
        host.accept_epoch(epoch)?;
        self.epoch = Some(epoch);
        Ok(true)
    }

    /// Whether a history with this end, last synchronised in this epoch, is newer than ours.
    pub fn is_newer(&self, current_epoch: i32, zxid: Zxid) -> bool {
        let ours = (i64::from(self.summary.current_epoch), self.summary.zxid);
        (i64::from(current_epoch), zxid) > ours
    }

    /// A voter without a newer history has accepted the epoch; whether the election is confirmed
    /// with that, durably.
    pub fn followed(
        &mut self,
        voter: ServerId,
        host: &mut dyn LeaderHost,
    ) -> Result<bool, HostFailed> {
        self.followers.insert(voter);
        if self.is_confirmed || !self.ensemble.is_quorum(&self.followers) {
            return Ok(false);
        }
        host.adopt_epoch(self.epoch.expect("it was accepted, so it is chosen"))?;
        self.is_confirmed = true;
        Ok(true)
    }
}

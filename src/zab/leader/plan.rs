//! How a learner is brought up to its leader's log (Apache's `LearnerHandler.syncFollower`).

use std::sync::Arc;

use super::link::Link;
use super::{LeaderHost, Summary};
use crate::mutation::{self, Mutation};
use crate::types::Zxid;
use crate::zab::proposals::Proposals;

/// What the learner is sent first.
pub enum Plan {
    /// What it lacks: all after `after`, of which `older` is not kept in memory any more.
    Diff {
        after: Zxid,
        older: Vec<(Zxid, Arc<[u8]>)>,
    },
    /// The order to cut its log after `to`, and what it lacks then.
    Trunc { to: Zxid },
    /// The whole tree.
    Snap,
}

impl Plan {
    /// Decides. `committed` is the leader's own end before it is established.
    ///
    /// A learner's log that holds a transaction of ours holds all before it too. So where its last
    /// one is in our log, what it lacks is what comes after. Where it is not, only a common epoch
    /// tells that its log and ours are one up to a place, since an epoch's leader gave all the same;
    /// else it gets the tree.
    pub fn of(
        link: &Link,
        committed: Zxid,
        epoch: u32,
        summary: &Summary,
        proposals: &Proposals,
        host: &mut dyn LeaderHost,
    ) -> Plan {
        let diff = |after| Plan::Diff {
            after,
            older: Vec::new(),
        };
        let trunc = |to| {
            if to < link.tree_base {
                // It would have to give up all that it has, and count for nobody's leader until it gets more.
                Plan::Snap
            } else {
                Plan::Trunc { to }
            }
        };
        let zxid = link.zxid;
        if zxid < Zxid::ZERO {
            return Plan::Snap;
        }
        if zxid == committed {
            return diff(zxid);
        }
        if zxid.counter() == 0 && zxid != Zxid::ZERO {
            return Plan::of_new_epoch(zxid, epoch, summary, proposals).map_or(Plan::Snap, diff);
        }
        let is_known = proposals.knows(zxid);
        if zxid > committed {
            // Apache's learners take what they have for committed, so they must cut it off, even
            // where it is on its way to being committed.
            return if is_known && link.is_ours {
                diff(zxid)
            } else if is_known || zxid.epoch() == committed.epoch() {
                trunc(committed)
            } else {
                Plan::Snap
            };
        }
        if is_known {
            return diff(zxid);
        }
        if zxid > proposals.before() {
            if mutation::is(Mutation::TrustLearnersLog) {
                return diff(zxid);
            }
            // A leader that was lost alone had it. What it had of its epoch before that is ours too.
            let to = proposals.newest_up_to(zxid);
            return if to.epoch() == zxid.epoch() {
                trunc(to)
            } else {
                Plan::Snap
            };
        }
        if mutation::is(Mutation::DiffOverGap) {
            return diff(zxid);
        }
        match host.read_log(zxid, proposals.before()) {
            Some(older) => Plan::Diff { after: zxid, older },
            None => Plan::Snap,
        }
    }

    /// A learner of Apache's that was synchronised with the leader of an epoch, and has seen no
    /// transaction of that epoch, names the beginning of the epoch instead of its last transaction.
    /// That is of use where we were synchronised with the same leader or are it: then it has what
    /// we have of older epochs.
    fn of_new_epoch(
        zxid: Zxid,
        epoch: u32,
        summary: &Summary,
        proposals: &Proposals,
    ) -> Option<Zxid> {
        if zxid.epoch() == epoch {
            let first_of_epoch = summary.zxid;
            return (first_of_epoch >= proposals.before()).then_some(first_of_epoch);
        }
        if zxid.epoch() != summary.current_epoch {
            return None;
        }
        if summary.zxid < zxid {
            return (summary.zxid >= proposals.before()).then_some(summary.zxid);
        }
        (zxid >= proposals.before()).then_some(zxid)
    }

    /// For log lines: as Apache calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Plan::Diff { .. } => "DIFF",
            Plan::Trunc { .. } => "TRUNC",
            Plan::Snap => "SNAP",
        }
    }
}

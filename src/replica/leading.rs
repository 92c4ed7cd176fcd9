//! A server that leads: what its leader's part says, done.

use std::collections::VecDeque;

use crate::jute::op;
use crate::sequencer::Now;
use crate::types::{LinkId, Zxid};
use crate::zab::Proposals;
use crate::zab::leader::{Forwarded, Leader, LeaderConfig, LeaderEvent};

use super::hosts::{LogOf, OfLeader};
use super::{Output, Replica, Role};

/// A leader, and what its learners wait for.
pub struct Leading {
    pub leader: Leader,
    /// Syncs of learners: done when this zxid is committed and this round confirmed.
    syncs: VecDeque<(Zxid, u64, LinkId)>,
    confirmed_round: u64,
}

impl Leading {
    /// Syncs of learners that wait.
    pub fn pending_syncs(&self) -> usize {
        self.syncs.len()
    }
}

impl Replica {
    /// This server was elected.
    pub(super) fn lead(&mut self, now: Now) {
        let summary = self.summary();
        let Some(member) = &mut self.member else {
            return;
        };
        tracing::info!(zxid = %summary.zxid, epoch = summary.current_epoch, "elected to lead");
        let config = LeaderConfig {
            my_id: member.config.my_id,
            ensemble: member.config.ensemble.clone(),
            init_limit_ms: member.config.init_limit_ms,
            sync_limit_ms: member.config.sync_limit_ms,
            silence_limit_ms: member.config.silence_limit_ms,
            heartbeat_ms: member.config.heartbeat_ms,
        };
        let mut host = OfLeader {
            storage: &mut self.storage,
            is_serving: false,
            failure: &mut self.failure,
        };
        let kept = std::mem::replace(&mut self.proposals, Proposals::new(Zxid::ZERO));
        let now_ms = now.monotonic_ms;
        let mut leader = Leader::new(config, summary, kept, now_ms, &mut host);
        for (link, bytes) in std::mem::take(&mut member.early) {
            leader.link_opened(link, now_ms);
            leader.receive(link, &bytes, now_ms, &mut host);
        }
        self.role = Role::Leading(Box::new(Leading {
            leader,
            syncs: VecDeque::new(),
            confirmed_round: 0,
        }));
        self.settle_leader(now);
    }

    pub(super) fn leader_received(&mut self, link: LinkId, bytes: &[u8], now: Now) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let mut host = OfLeader {
            storage: &mut self.storage,
            is_serving: leading.leader.is_established(),
            failure: &mut self.failure,
        };
        leading
            .leader
            .receive(link, bytes, now.monotonic_ms, &mut host);
    }

    /// A piece of the tree that [`Output::SendTree`] asked for; `is_last` ends it.
    pub fn tree_piece(&mut self, link: LinkId, bytes: &[u8], is_last: bool) {
        if let Role::Leading(leading) = &mut self.role {
            leading.leader.tree_piece(link, bytes, is_last);
        }
    }

    /// Does what the leader's part says.
    pub(super) fn settle_leader(&mut self, now: Now) {
        loop {
            let Role::Leading(leading) = &mut self.role else {
                return;
            };
            let Some(event) = leading.leader.poll_event() else {
                break;
            };
            match event {
                LeaderEvent::Established => {
                    let epoch = leading
                        .leader
                        .epoch()
                        .expect("an established leader has one");
                    tracing::info!(epoch, "leading");
                    self.sequencer.lead(epoch, now);
                    self.sequencer.commit(leading.leader.committed());
                    if let Some(member) = &mut self.member {
                        member.election.set_vote_epoch(i64::from(epoch));
                        if member.config.leader_serves {
                            self.serve(epoch);
                        }
                    }
                }
                LeaderEvent::Committed(zxid) => self.sequencer.commit(zxid),
                LeaderEvent::Request(link, request) => self.learner_asks(link, &request, now),
                LeaderEvent::Touched(_, _, sessions) => self.sequencer.touched(&sessions, now),
                LeaderEvent::Revalidate(link, session, timeout_ms) => {
                    let is_valid = self.sequencer.revalidate(link, session, timeout_ms, now);
                    leading.leader.revalidated(link, session, is_valid);
                }
                LeaderEvent::SendTree(link, zxid) => {
                    let view = self.sequencer.tree().view(zxid);
                    let sessions = self.sequencer.sessions().snapshot();
                    self.outputs.push_back(Output::SendTree {
                        link,
                        view,
                        sessions,
                    });
                }
                LeaderEvent::RoundConfirmed(round) => {
                    leading.confirmed_round = round;
                    self.sequencer.confirm_round(round);
                }
                LeaderEvent::Close(link, reason) => {
                    tracing::warn!(reason, "closing the link to a learner");
                    self.outputs.push_back(Output::Close(link));
                }
                LeaderEvent::SteppedDown(reason) => {
                    self.look(now, &reason);
                    return;
                }
            }
        }
        self.finish_syncs();
        if !self.is_serving {
            // Nobody is there to tell (`leaderServes=no`).
            while self.sequencer.poll_publish().is_some() {}
        }
        if self.sequencer.is_epoch_used_up() && self.decides() {
            self.look(now, "the zxids of this epoch are used up");
        }
    }

    fn learner_asks(&mut self, link: LinkId, request: &Forwarded, now: Now) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let leader = &mut leading.leader;
        if request.op == op::SYNC {
            let tip = self.sequencer.tree().tip_zxid();
            let round = leader.ask_round(now.monotonic_ms);
            leader.sync_begun(link, tip);
            leading.syncs.push_back((tip, round, link));
            return;
        }
        let takes_rejections = leader.takes_rejections(link);
        let mut log = LogOf {
            wal: self.wal.as_mut().expect("the storage gives it back"),
            leader: Some(leader),
            now_ms: now.monotonic_ms,
        };
        let rejected = self
            .sequencer
            .request_of_learner(link, request, now, &mut log);
        match rejected {
            Some(rejection) if takes_rejections => leading.leader.reject(link, &rejection),
            Some(rejection) => {
                let mut log = LogOf {
                    wal: self.wal.as_mut().expect("the storage gives it back"),
                    leader: Some(&mut leading.leader),
                    now_ms: now.monotonic_ms,
                };
                self.sequencer.log_rejection(&rejection, now, &mut log);
            }
            None => {}
        }
    }

    fn finish_syncs(&mut self) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let committed = leading.leader.committed();
        while let Some(&(zxid, round, link)) = leading.syncs.front() {
            if zxid > committed || round > leading.confirmed_round {
                return;
            }
            leading.syncs.pop_front();
            leading.leader.synced(link);
        }
    }

    /// Closes all links, and keeps the newest transactions.
    pub(super) fn give_up_leading(&mut self, leading: Leading) {
        let (links, proposals) = leading.leader.end();
        self.proposals = proposals;
        for link in links {
            self.outputs.push_back(Output::Close(link));
        }
    }
}

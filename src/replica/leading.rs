//! A server that leads: what its leader's part says, done.

use std::collections::VecDeque;

use crate::jute::op;
use crate::sequencer::Now;
use crate::types::{LinkId, SessionId, Zxid};
use crate::zab::Proposals;
use crate::zab::leader::{Forwarded, Leader, LeaderConfig, LeaderEvent, ToLearner};

use super::hosts::{LogOf, OfLeader};
use super::{Output, Replica, Role};

/// A leader, and what its learners wait for.
pub struct Leading {
    pub leader: Leader,
    /// Answers for learners, in the order in which they were decided.
    answers: VecDeque<Waiting>,
    confirmed_round: u64,
    /// Since when there has been no room in our log, in milliseconds.
    pub(super) full_since_ms: Option<u64>,
}

/// An answer for a learner that must not leave yet.
struct Waiting {
    /// The newest zxid when it was decided: what has to be committed first.
    tip: Zxid,
    /// The round that has to be confirmed first, or 0.
    round: u64,
    link: LinkId,
    answer: ToLearner,
}

impl Leading {
    /// Syncs of learners that wait.
    pub fn pending_syncs(&self) -> usize {
        let is_sync = |waiting: &&Waiting| waiting.answer == ToLearner::Synced;
        self.answers.iter().filter(is_sync).count()
    }

    /// Answers a learner, if this server still leads: once a quorum has said so after `tip` was the
    /// newest zxid. What rests on no transaction could be long out of date otherwise.
    fn answer_if_leading(&mut self, link: LinkId, answer: ToLearner, tip: Zxid, now: Now) {
        let round = self.leader.ask_round(now.monotonic_ms);
        self.answer_in_turn(link, answer, tip, round);
    }

    fn answer_in_turn(&mut self, link: LinkId, answer: ToLearner, tip: Zxid, round: u64) {
        self.leader.hold(link, tip);
        self.answers.push_back(Waiting {
            tip,
            round,
            link,
            answer,
        });
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
            answers: VecDeque::new(),
            confirmed_round: 0,
            full_since_ms: None,
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

    /// Whether the learner behind a link waits for more of its tree.
    pub fn awaits_tree(&self, link: LinkId) -> bool {
        matches!(&self.role, Role::Leading(leading) if leading.leader.awaits_tree(link))
    }

    /// Whether [`Replica::tree_piece`] may be given one: the learner waits for it, and its link keeps up.
    pub fn has_tree_room(&self, link: LinkId) -> bool {
        matches!(&self.role, Role::Leading(leading) if leading.leader.has_tree_room(link))
    }

    /// A piece of the tree that [`Output::SendTree`] asked for; `is_last` ends it.
    pub fn tree_piece(&mut self, link: LinkId, bytes: &[u8], is_last: bool, now: Now) {
        if let Role::Leading(leading) = &mut self.role {
            leading
                .leader
                .tree_piece(link, bytes, is_last, now.monotonic_ms);
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
                    if let Err(error) = self.storage.tree_confirmed() {
                        self.failure.get_or_insert(error.into());
                        return self.look(now, "this server cannot write to its disk");
                    }
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
                    self.revalidated(link, session, is_valid, now);
                }
                LeaderEvent::SendTree(link, zxid) => {
                    let view = self.sequencer.tree().view(zxid);
                    let sessions = self.sequencer.committed_sessions();
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
        self.give_answers();
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
            return leading.answer_if_leading(link, ToLearner::Synced, tip, now);
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
            Some(rejection) if takes_rejections => {
                leading.leader.reject(link, &rejection);
                let tip = rejection.after;
                leading.answer_if_leading(link, ToLearner::Confirmed, tip, now);
            }
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

    /// A learner's client may go on with a session, or may not.
    fn revalidated(&mut self, link: LinkId, session: SessionId, is_valid: bool, now: Now) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let tip = self.sequencer.tree().tip_zxid();
        let answer = ToLearner::Revalidated(session, is_valid);
        if !is_valid {
            leading.answer_if_leading(link, answer, tip, now);
        } else if leading.leader.is_observer(link) || leading.leader.is_holding(link) {
            // An observer has yet to hear of what is not committed. What the session asked for elsewhere
            // must not come to it as the answer to what the client asks there, whose numbers may be
            // the same.
            leading.answer_in_turn(link, answer, tip, 0);
        } else {
            leading.leader.answer(link, &answer);
        }
    }

    fn give_answers(&mut self) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let (committed, confirmed) = (leading.leader.committed(), leading.confirmed_round);
        while let Some(waiting) = leading.answers.front_mut()
            && waiting.tip <= committed
            && waiting.round <= confirmed
        {
            if let ToLearner::Revalidated(session, is_valid) = &mut waiting.answer {
                // It may have been closed meanwhile.
                *is_valid &= self.sequencer.sessions().is_open(*session);
            }
            leading.leader.release(waiting.link, &waiting.answer);
            leading.answers.pop_front();
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

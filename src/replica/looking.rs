//! Looking for a leader, and what comes in between two leaders.

use crate::sequencer::Now;
use crate::types::{LinkId, ServerId, Zxid};
use crate::zab::election::Decision;
use crate::zab::leader::Summary;

use super::{Output, Replica, Role};

/// Milliseconds before a leader is dialed again that could not be followed; doubles with each time.
const DIAL_PAUSE_MS: u64 = 20;
/// How often it doubles.
const DIAL_PAUSE_DOUBLINGS: u32 = 6;
/// How many such pauses fit into `initLimit` at least: one that is longer than a leader waits for its
/// followers keeps an ensemble from ever coming together.
const DIAL_PAUSES_IN_LIMIT: u64 = 4;

/// Learners that may connect before this server leads, and bytes that each may send by then.
const EARLY_LINKS_MAX: usize = 64;
const EARLY_BYTES_MAX: usize = 64 << 10;

/// How long a server is passed over that was elected and could not be reached, in milliseconds: the
/// first time, and at most. A passing trouble of the network costs little that way; in the end it is
/// twice what an attempt to reach it may take, so that all voters who fail pass it over at once.
pub(super) fn pass_over_ms(init_limit_ms: u64) -> (u64, u64) {
    (init_limit_ms / 4, init_limit_ms * 2)
}

impl Replica {
    /// Leaves whatever role this server has, and looks for a leader.
    pub(super) fn look(&mut self, now: Now, reason: &str) {
        tracing::info!(reason, "looking for a leader");
        let role = std::mem::replace(&mut self.role, Role::Draining);
        match role {
            Role::Leading(leading) => self.give_up_leading(*leading),
            Role::Learning(learning) => {
                self.outputs.push_back(Output::Close(learning.link));
            }
            _ => {}
        }
        let was_serving = std::mem::take(&mut self.is_serving);
        if was_serving {
            self.outputs.push_back(Output::Retire);
        }
        self.sequencer.halt();
        if let Some(member) = &mut self.member {
            member.failures = if was_serving { 0 } else { member.failures + 1 };
            let doublings = member.failures.min(DIAL_PAUSE_DOUBLINGS);
            let pause_ms_max = member.config.init_limit_ms / DIAL_PAUSES_IN_LIMIT;
            let pause_ms = (DIAL_PAUSE_MS * ((1 << doublings) - 1)).min(pause_ms_max);
            member.dial_not_before_ms = now.monotonic_ms + pause_ms;
            if self.is_aside {
                tracing::error!(
                    "this server takes no part in its ensemble until there is room on the disk of dataLogDir"
                );
                member.election.abstain();
            }
        }
        self.try_vote(now);
    }

    /// Votes as soon as all of the log is durable: others may rely on what a vote says.
    pub(super) fn try_vote(&mut self, now: Now) {
        if self.has_failed() {
            return;
        }
        let wal = self.wal();
        if wal.has_unwritten() || wal.in_flight() > 0 {
            return;
        }
        let tip = self.known_zxid();
        let epoch = self.storage.current_epoch();
        let Some(member) = &mut self.member else {
            return;
        };
        member.looking_since_ms = now.monotonic_ms;
        self.role = Role::Looking;
        if self.is_aside {
            return;
        }
        member.election.look(tip, epoch, now.monotonic_ms);
        self.settle_election(now);
    }

    pub(super) fn tip(&self) -> Zxid {
        self.sequencer.tree().tip_zxid()
    }

    /// The end of the log, as far as others may rely on it: not at all where the log was damaged
    /// and lacks what this server may have acknowledged. Nobody counts a server that says −1.
    fn known_zxid(&self) -> Zxid {
        if self.storage.needs_repair() {
            Zxid(-1)
        } else {
            self.tip()
        }
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            accepted_epoch: self.storage.accepted_epoch() as u32,
            current_epoch: self.storage.current_epoch() as u32,
            zxid: self.known_zxid(),
        }
    }

    pub(super) fn settle_election(&mut self, now: Now) {
        let Some(member) = &mut self.member else {
            return;
        };
        if !matches!(self.role, Role::Looking) {
            return;
        }
        let Some(decision) = member.election.poll_decision() else {
            return;
        };
        self.end_read_only();
        match decision {
            Decision::Lead if self.storage.needs_repair() => {
                self.look(now, "its log was damaged, so this server cannot lead");
            }
            Decision::Lead => self.lead(now),
            Decision::Follow(leader) | Decision::Observe(leader) => {
                tracing::info!(%leader, "following");
                self.role = Role::Dialing(leader);
                self.dial_if_due(now);
            }
        }
    }

    /// Asks for a link to the leader, unless the last attempt was just now.
    fn dial_if_due(&mut self, now: Now) {
        let Some(member) = &mut self.member else {
            return;
        };
        if let Role::Dialing(leader) = self.role
            && now.monotonic_ms >= member.dial_not_before_ms
        {
            // Asked for once: the answer comes as `dialed`.
            member.dial_not_before_ms = u64::MAX;
            for (link, _) in std::mem::take(&mut member.early) {
                self.outputs.push_back(Output::Close(link));
            }
            self.outputs.push_back(Output::Dial(leader));
        }
    }

    /// An election message has come.
    pub fn election_message(&mut self, from: ServerId, message: &[u8], now: Now) {
        if let Some(member) = &mut self.member {
            member.election.receive(from, message, now.monotonic_ms);
        }
        self.settle(now);
    }

    /// The election link to a member has come up or gone down.
    pub fn reachable(&mut self, peer: ServerId, is_reachable: bool, now: Now) {
        if let Some(member) = &mut self.member {
            member
                .election
                .reachable(peer, is_reachable, now.monotonic_ms);
        }
        if matches!(self.role, Role::Dialing(leader) if leader == peer) && !is_reachable {
            self.look(now, "the leader went away before it could be reached");
        }
        self.settle(now);
    }

    /// What came of an [`Output::Dial`].
    pub fn dialed(&mut self, leader: ServerId, link: Option<LinkId>, now: Now) {
        let is_wanted = matches!(self.role, Role::Dialing(wanted) if wanted == leader);
        if let Some(member) = &mut self.member {
            member.dial_not_before_ms = 0;
            match link {
                Some(_) => member.election.reached(leader),
                None if is_wanted => member.election.pass_over(leader, now.monotonic_ms),
                None => {}
            }
        }
        match link {
            Some(link) if is_wanted => self.learn(leader, link, now),
            Some(link) => self.outputs.push_back(Output::Close(link)),
            None if is_wanted => self.look(now, "the leader cannot be reached"),
            None => {}
        }
    }

    /// A learner has connected to our quorum port.
    pub fn accepted(&mut self, link: LinkId, now: Now) {
        if let Role::Leading(leading) = &mut self.role {
            leading.leader.link_opened(link, now.monotonic_ms);
            return;
        }
        let is_looking = matches!(self.role, Role::Looking | Role::Draining);
        let is_expected = is_looking && !self.is_aside;
        match &mut self.member {
            // It may have heard of our election before we have.
            Some(member) if is_expected => {
                if member.early.len() >= EARLY_LINKS_MAX
                    && let Some((oldest, _)) = member.early.pop_first()
                {
                    self.outputs.push_back(Output::Close(oldest));
                }
                member.early.insert(link, Vec::new());
            }
            _ => self.outputs.push_back(Output::Close(link)),
        }
    }

    /// Bytes have come over a link.
    pub fn received(&mut self, link: LinkId, bytes: &[u8], now: Now) {
        match &mut self.role {
            Role::Leading(_) => self.leader_received(link, bytes, now),
            Role::Learning(learning) if learning.link == link => self.learner_received(bytes, now),
            _ => {
                if let Some(member) = &mut self.member
                    && let Some(early) = member.early.get_mut(&link)
                {
                    early.extend_from_slice(bytes);
                    if early.len() > EARLY_BYTES_MAX {
                        member.early.remove(&link);
                        self.outputs.push_back(Output::Close(link));
                    }
                }
            }
        }
        self.settle(now);
    }

    /// A link has broken, or the driver has closed it.
    pub fn link_closed(&mut self, link: LinkId, now: Now) {
        if let Some(member) = &mut self.member {
            member.early.remove(&link);
        }
        match &mut self.role {
            Role::Leading(leading) => leading.leader.link_closed(link),
            Role::Learning(learning) if learning.link == link => {
                self.look(now, "the link to the leader has broken");
            }
            _ => {}
        }
        self.settle(now);
    }

    /// The links that have something to send.
    pub fn links_with_output(&self, into: &mut Vec<LinkId>) {
        match &self.role {
            Role::Leading(leading) => into.extend(leading.leader.links_with_output()),
            Role::Learning(learning) if learning.learner.has_output() => into.push(learning.link),
            _ => {}
        }
    }

    /// Moves what a link has to send to the end of `into`.
    pub fn take_link_output(&mut self, link: LinkId, into: &mut Vec<u8>) {
        match &mut self.role {
            Role::Leading(leading) => leading.leader.take_output(link, into),
            Role::Learning(learning) if learning.link == link => {
                learning.learner.take_output(into);
            }
            _ => {}
        }
    }

    /// When [`Replica::tick`] is needed at the latest, in milliseconds, where that is sooner than
    /// the driver would call it anyway.
    pub fn next_wake_ms(&self) -> Option<u64> {
        let member = self.member.as_ref()?;
        match &self.role {
            Role::Looking => member.election.next_wake_ms(),
            Role::Dialing(_) => Some(member.dial_not_before_ms),
            _ => None,
        }
    }

    pub(super) fn tick_member(&mut self, now: Now) {
        let now_ms = now.monotonic_ms;
        if let Some(member) = &mut self.member {
            member.election.tick(now_ms);
        }
        match &mut self.role {
            Role::Leading(leading) => {
                leading.leader.tick(now_ms);
                self.give_way_if_due(now);
            }
            Role::Learning(learning) => learning.learner.tick(now_ms),
            Role::Dialing(_) => self.dial_if_due(now),
            Role::Looking => {
                self.come_back_if_there_is_room(now);
                self.serve_read_only_if_due(now);
            }
            _ => {}
        }
    }
}

//! Fast Leader Election (Apache's `FastLeaderElection`).
//!
//! Every looking server votes, first for itself, and tells all voters. Who hears of a better vote
//! takes it over and tells all again: the higher epoch wins, then the higher zxid, then the higher
//! id. A vote counts only in its own round (the logical clock); a later round replaces an earlier.
//! When a quorum agrees for a while, the election is over. A server that comes later is told by
//! those that have settled, and joins when a quorum of them agrees and the leader itself says that
//! it leads.
//!
//! It is a heuristic with regard to safety: two servers may decide differently when messages are
//! late. That at most one of them leads is the matter of the discovery that follows.
//!
//! Differences from Apache, none of which its servers can tell:
//! - The election ends without the wait when every voter agrees, or every voter that is connected.
//! - A looker in the same round with a worse vote is told ours, not only one of an earlier round:
//!   it may have begun to look after our vote had reached it.
//! - While looking we tell a non-voter our present vote, where Apache tells its last leader; and
//!   a non-voter that asked while we looked is told the outcome.
//! - Non-voters are answered only while they look, and not without pause: two servers whose
//!   configurations disagree about each other would answer for ever.
//! - Who was elected and cannot be reached is passed over for a while. Apache's elect it again and
//!   again, and nobody leads.

mod ballot;
mod disagreement;
mod passed_over;
pub mod wire;

#[cfg(test)]
mod network;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ballot::{Ballots, Cast};
use disagreement::{Disagreements, Finding};
use passed_over::PassedOver;
use wire::Notification;

use crate::mutation::{self, Mutation};
use crate::types::{Ensemble, ServerId, Zxid};

/// What a server does (Apache's `QuorumPeer.ServerState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Searches for a leader.
    Looking,
    /// Follows a leader and votes.
    Following,
    /// Leads.
    Leading,
    /// Follows a leader without a vote.
    Observing,
}

impl PeerState {
    /// The number on the wire.
    pub fn code(self) -> i32 {
        match self {
            PeerState::Looking => 0,
            PeerState::Following => 1,
            PeerState::Leading => 2,
            PeerState::Observing => 3,
        }
    }

    /// The state with this number on the wire.
    pub fn from_code(code: i32) -> Option<PeerState> {
        match code {
            0 => Some(PeerState::Looking),
            1 => Some(PeerState::Following),
            2 => Some(PeerState::Leading),
            3 => Some(PeerState::Observing),
            _ => None,
        }
    }
}

/// For whom a server votes (Apache's `Vote`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The proposed leader; [`NOBODY`] at first in a server without a vote.
    pub leader: ServerId,
    /// The last zxid in its log.
    pub zxid: Zxid,
    /// Its current epoch.
    pub peer_epoch: i64,
    /// The round in which the vote was cast: the logical clock.
    pub election_epoch: i64,
}

impl Vote {
    /// What decides between two votes.
    fn rank(&self) -> (i64, Zxid, ServerId) {
        (self.peer_epoch, self.zxid, self.leader)
    }
}

/// The vote of a server that may not vote for itself and has not heard of another.
pub const NOBODY: ServerId = ServerId(i64::MIN);

/// The outcome of an election for this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This server is to lead.
    Lead,
    /// It is to follow this leader.
    Follow(ServerId),
    /// It is to observe this leader.
    Observe(ServerId),
}

/// Who takes part, and how long to wait.
#[derive(Clone, Debug)]
pub struct ElectionConfig {
    /// This server.
    pub my_id: ServerId,
    /// All servers.
    pub ensemble: Arc<Ensemble>,
    /// How long a quorum that agrees waits for a better vote, in milliseconds. Default: 200.
    pub finalize_wait_ms: u64,
    /// The same when all connected voters agree. Default: 5.
    pub settle_ms: u64,
    /// After what time without an outcome the vote is sent again, in milliseconds; doubles with
    /// each time. Default: 200 (`zookeeper.fastleader.minNotificationInterval`).
    pub notification_interval_min_ms: u64,
    /// The longest such time. Default: 60,000 (`zookeeper.fastleader.maxNotificationInterval`).
    pub notification_interval_max_ms: u64,
    /// How long a server is passed over that was elected and could not be reached, in milliseconds:
    /// the first time, and at most. Default: 5,000 and 40,000.
    pub pass_over_ms: (u64, u64),
}

impl ElectionConfig {
    /// The defaults.
    pub fn new(my_id: ServerId, ensemble: Arc<Ensemble>) -> ElectionConfig {
        ElectionConfig {
            my_id,
            ensemble,
            finalize_wait_ms: 200,
            settle_ms: 5,
            notification_interval_min_ms: 200,
            notification_interval_max_ms: 60_000,
            pass_over_ms: (5_000, 40_000),
        }
    }
}

/// The shortest time between two answers to one server that has no vote.
const ANSWER_INTERVAL_MS: u64 = 20;
/// How many servers that have no vote are remembered. Ids come from the network, so it is bounded.
const ANSWERED_MAX: usize = 256;

/// One server's part in elections, over its whole life.
///
/// [`Election::look`] begins one; [`Election::poll_decision`] gives its outcome, once, and from
/// then on lookers are told of it until the next `look`.
#[derive(Debug)]
pub struct Election {
    config: ElectionConfig,
    config_text: String,
    disagreements: Disagreements,
    state: PeerState,
    /// Whether an election was begun since it began to abstain: before, there is no vote to tell.
    has_begun: bool,
    /// The round (Apache's `logicalclock`).
    round: i64,
    /// The vote with which this server entered the election.
    own: Vote,
    /// While looking, the proposal; afterwards the outcome (Apache's `currentVote`).
    vote: Vote,
    /// Votes of this round (Apache's `recvset`).
    ballots: Ballots,
    /// Votes of servers that have settled, of any round (Apache's `outofelection`).
    settled: Ballots,
    connected: BTreeSet<ServerId>,
    passed_over: PassedOver,
    /// Since when a quorum agrees with the vote, and since when all connected voters do.
    agreed_since_ms: Option<u64>,
    unanimous_since_ms: Option<u64>,
    resend_at_ms: u64,
    resend_interval_ms: u64,
    /// When servers without a vote were last answered.
    answered_ms: BTreeMap<ServerId, u64>,
    /// Members without a vote that asked while we looked.
    waiting: BTreeSet<ServerId>,
    /// Of whom something was logged in this election: once is enough.
    complained: BTreeSet<ServerId>,
    outgoing: BTreeMap<ServerId, Vec<u8>>,
    decision: Option<Decision>,
}

impl Election {
    /// A server that has not begun to look: it drops what it receives. So call
    /// [`Election::look`] before there are connections.
    pub fn new(config: ElectionConfig) -> Election {
        let nothing = Vote {
            leader: NOBODY,
            zxid: Zxid(i64::MIN),
            peer_epoch: i64::MIN,
            election_epoch: 0,
        };
        let config_text = config.ensemble.to_string();
        Election {
            disagreements: Disagreements::new(&config_text),
            config_text,
            state: PeerState::Looking,
            has_begun: false,
            round: 0,
            own: nothing,
            vote: nothing,
            ballots: Ballots::default(),
            settled: Ballots::default(),
            connected: BTreeSet::new(),
            passed_over: PassedOver::default(),
            agreed_since_ms: None,
            unanimous_since_ms: None,
            resend_at_ms: u64::MAX,
            resend_interval_ms: config.notification_interval_min_ms,
            answered_ms: BTreeMap::new(),
            waiting: BTreeSet::new(),
            complained: BTreeSet::new(),
            outgoing: BTreeMap::new(),
            decision: None,
            config,
        }
    }

    /// Begins an election: `zxid` is the last in this server's log, `current_epoch` that of the
    /// leader it last followed or was. An election that runs already is left for a new round.
    pub fn look(&mut self, zxid: Zxid, current_epoch: i64, now_ms: u64) {
        self.state = PeerState::Looking;
        self.has_begun = true;
        self.decision = None;
        self.own = if self.is_voter(self.config.my_id) {
            Vote {
                leader: self.config.my_id,
                zxid,
                peer_epoch: current_epoch,
                election_epoch: 0,
            }
        } else {
            Vote {
                leader: NOBODY,
                zxid: Zxid(i64::MIN),
                peer_epoch: i64::MIN,
                election_epoch: 0,
            }
        };
        self.passed_over.end_due(now_ms);
        self.begin_round(now_ms);
    }

    /// Takes no part, and tells nobody anything, until the next [`Election::look`].
    pub fn abstain(&mut self) {
        self.has_begun = false;
        self.decision = None;
        self.outgoing.clear();
    }

    fn begin_round(&mut self, now_ms: u64) {
        // A peer may have sent any number; a round is left only when everybody looks again.
        self.round = self.round.saturating_add(1);
        self.own.election_epoch = self.round;
        self.ballots.clear();
        self.settled.clear();
        self.complained.clear();
        self.propose(self.own);
        self.resend_soon(now_ms);
        self.count(now_ms);
    }

    /// A server that was elected cannot be reached: for a while, no vote for it counts here, unless
    /// this server has no vote that could bring forth another leader. To be called before
    /// [`Election::look`].
    pub fn pass_over(&mut self, leader: ServerId, now_ms: u64) {
        if mutation::is(Mutation::ElectUnreachable) || !self.is_voter(self.config.my_id) {
            return;
        }
        let span_ms = self.config.pass_over_ms;
        let wait_ms = self.passed_over.add(leader, now_ms, span_ms);
        tracing::warn!(%leader, wait_ms, "passing over a server that was elected and cannot be reached");
    }

    /// A server that was elected was reached.
    pub fn reached(&mut self, leader: ServerId) {
        self.passed_over.remove(leader);
    }

    /// The leader's epoch is established: later lookers are told it with our vote, so that
    /// they hear the same from all members (Apache's `QuorumPeer.updateElectionVote`,
    /// ZOOKEEPER-1732).
    pub fn set_vote_epoch(&mut self, new_epoch: i64) {
        if self.state != PeerState::Looking {
            self.vote.peer_epoch = new_epoch;
        }
    }

    /// Takes a message of another server. Any bytes will do.
    pub fn receive(&mut self, from: ServerId, message: &[u8], now_ms: u64) {
        if !self.has_begun || from == self.config.my_id {
            return;
        }
        let notification = match wire::read(message) {
            Ok(notification) => notification,
            Err(error) => return self.complain(from, &error),
        };
        let Some(state) = notification.state else {
            return self.complain(from, &"a notification with an unknown state");
        };
        self.compare_configs(from, &notification, now_ms);
        if !self.is_voter(from) {
            if state == PeerState::Looking {
                self.answer_non_voter(from, now_ms);
            }
            return;
        }
        if self.state != PeerState::Looking {
            if state == PeerState::Looking {
                self.send(from);
            }
            return;
        }
        let vote = notification.vote;
        if state == PeerState::Looking && vote.election_epoch < self.round {
            // Apache answers before it looks at the vote.
            return self.send(from);
        }
        if !self.is_voter(vote.leader) {
            return self.complain(from, &format_args!("a vote for {}", vote.leader));
        }
        if self.passed_over.contains(vote.leader) {
            // Nor does it stand by what it said before.
            self.ballots.remove(from);
            self.settled.remove(from);
            return self.count(now_ms);
        }
        match state {
            PeerState::Looking => self.receive_looking(from, vote, now_ms),
            PeerState::Following | PeerState::Leading => {
                self.receive_settled(from, state, &notification);
            }
            PeerState::Observing => {}
        }
    }

    /// Tells whether there is a connection to a server.
    pub fn reachable(&mut self, peer: ServerId, is_reachable: bool, now_ms: u64) {
        if !is_reachable {
            self.connected.remove(&peer);
        } else if self.connected.insert(peer)
            && self.has_begun
            && self.state == PeerState::Looking
            && self.is_voter(peer)
        {
            // What was sent over an earlier connection may be lost, and it may know the leader.
            self.send(peer);
            self.resend_soon(now_ms);
        }
        self.count(now_ms);
    }

    /// Does what is due at this time.
    pub fn tick(&mut self, now_ms: u64) {
        if !self.has_begun || self.state != PeerState::Looking {
            return;
        }
        if self.decides_at_ms().is_some_and(|at| at <= now_ms) {
            return self.decide(self.vote, now_ms);
        }
        if self.passed_over.end_due(now_ms) {
            // What was left out is said again in a new round.
            return self.begin_round(now_ms);
        }
        if self.resend_at_ms <= now_ms {
            self.resend_interval_ms = (self.resend_interval_ms * 2)
                .min(self.config.notification_interval_max_ms)
                .max(1);
            self.resend_at_ms = now_ms + self.resend_interval_ms;
            self.send_all();
        }
    }

    /// When [`Election::tick`] has something to do next; never while settled.
    pub fn next_wake_ms(&self) -> Option<u64> {
        if !self.has_begun || self.state != PeerState::Looking {
            return None;
        }
        let decides = self.decides_at_ms().unwrap_or(u64::MAX);
        let counts_again = self.passed_over.next_end_ms().unwrap_or(u64::MAX);
        Some(decides.min(counts_again).min(self.resend_at_ms))
    }

    /// The next message to send. Only the newest for each server is kept.
    pub fn poll_send(&mut self) -> Option<(ServerId, Vec<u8>)> {
        self.outgoing.pop_first()
    }

    /// The outcome, once for each election.
    pub fn poll_decision(&mut self) -> Option<Decision> {
        self.decision.take()
    }

    /// The vote: the proposal while looking, then the outcome.
    pub fn vote(&self) -> Vote {
        self.vote
    }

    /// What this server does, as far as elections know.
    pub fn state(&self) -> PeerState {
        self.state
    }

    fn receive_looking(&mut self, from: ServerId, vote: Vote, now_ms: u64) {
        if self.own.zxid == Zxid(-1) || vote.zxid == Zxid(-1) {
            return;
        }
        if vote.election_epoch > self.round {
            self.round = vote.election_epoch;
            self.own.election_epoch = self.round;
            self.ballots.clear();
            let better = if self.beats(&vote, &self.own) {
                vote
            } else {
                self.own
            };
            self.propose(better);
        } else if self.beats(&vote, &self.vote) {
            self.propose(vote);
        } else if self.beats(&self.vote, &vote) {
            self.send(from);
        }
        self.ballots.put(
            from,
            Cast {
                vote,
                state: PeerState::Looking,
                version: 0,
            },
        );
        self.count(now_ms);
    }

    /// A server that has a leader already: join it when a quorum says the same, in this round or
    /// in any.
    fn receive_settled(&mut self, from: ServerId, state: PeerState, told: &Notification<'_>) {
        let vote = told.vote;
        let cast = Cast {
            vote,
            state,
            version: told.version,
        };
        if vote.election_epoch == self.round {
            // Here Apache keeps no version, so that of votes with one only the leader counts.
            self.ballots.put(from, Cast { version: 0, ..cast });
            if self.is_established(&self.ballots, &cast) {
                return self.settle(vote);
            }
        }
        self.settled.put(from, cast);
        if self.is_established(&self.settled, &cast) {
            self.round = vote.election_epoch;
            self.settle(vote);
        }
    }

    fn is_established(&self, ballots: &Ballots, cast: &Cast) -> bool {
        let leader = cast.vote.leader;
        let is_leading = if leader == self.config.my_id {
            cast.vote.election_epoch == self.round
        } else {
            ballots.is_leading(leader)
        };
        is_leading && self.is_quorum(&ballots.supporters(cast))
    }

    /// Apache's `totalOrderPredicate`: who has no weight is never better.
    fn beats(&self, new: &Vote, old: &Vote) -> bool {
        self.has_weight(new.leader) && new.rank() > old.rank()
    }

    fn has_weight(&self, id: ServerId) -> bool {
        let groups = &self.config.ensemble.groups;
        groups.is_empty()
            || groups
                .values()
                .any(|weights| weights.get(&id).is_some_and(|&weight| weight != 0))
    }

    fn is_voter(&self, id: ServerId) -> bool {
        self.config.ensemble.is_voter(id)
    }

    fn is_quorum(&self, ids: &BTreeSet<ServerId>) -> bool {
        self.config.ensemble.is_quorum(ids)
    }

    /// Votes for another, or anew, and tells everybody.
    fn propose(&mut self, vote: Vote) {
        self.vote = Vote {
            election_epoch: self.round,
            ..vote
        };
        self.agreed_since_ms = None;
        self.unanimous_since_ms = None;
        if self.is_voter(self.config.my_id) {
            self.ballots.put(self.config.my_id, self.cast());
        }
        self.send_all();
    }

    fn cast(&self) -> Cast {
        Cast {
            vote: self.vote,
            state: PeerState::Looking,
            version: 0,
        }
    }

    /// Looks whether the votes suffice, and since when. A server that says −1 does not even count
    /// itself.
    fn count(&mut self, now_ms: u64) {
        if !self.has_begun || self.state != PeerState::Looking || self.own.zxid == Zxid(-1) {
            return;
        }
        let supporters = self.ballots.supporters(&self.cast());
        if !self.is_quorum(&supporters) {
            self.agreed_since_ms = None;
            self.unanimous_since_ms = None;
            return;
        }
        if self
            .config
            .ensemble
            .voters()
            .all(|id| supporters.contains(&id))
        {
            return self.decide(self.vote, now_ms);
        }
        self.agreed_since_ms.get_or_insert(now_ms);
        if self.is_unanimous(&supporters) {
            self.unanimous_since_ms.get_or_insert(now_ms);
        } else {
            self.unanimous_since_ms = None;
        }
    }

    /// Whether all voters that are connected agree, they are a quorum, and the leader is one.
    fn is_unanimous(&self, supporters: &BTreeSet<ServerId>) -> bool {
        let present: BTreeSet<ServerId> = self
            .config
            .ensemble
            .voters()
            .filter(|id| *id == self.config.my_id || self.connected.contains(id))
            .collect();
        present.contains(&self.vote.leader)
            && present.is_subset(supporters)
            && self.is_quorum(&present)
    }

    fn decides_at_ms(&self) -> Option<u64> {
        let finalized = self
            .agreed_since_ms
            .map(|since| since.saturating_add(self.config.finalize_wait_ms));
        let settled = self
            .unanimous_since_ms
            .map(|since| since.saturating_add(self.config.settle_ms));
        finalized.into_iter().chain(settled).min()
    }

    /// The votes of this round are enough.
    fn decide(&mut self, vote: Vote, now_ms: u64) {
        tracing::debug!(now_ms, round = self.round, leader = %vote.leader, "a quorum agrees");
        self.settle(vote);
    }

    fn settle(&mut self, vote: Vote) {
        let leader = vote.leader;
        let (state, decision) = if leader == self.config.my_id {
            (PeerState::Leading, Decision::Lead)
        } else if self.is_voter(self.config.my_id) {
            (PeerState::Following, Decision::Follow(leader))
        } else {
            (PeerState::Observing, Decision::Observe(leader))
        };
        self.state = state;
        self.vote = vote;
        self.decision = Some(decision);
        self.agreed_since_ms = None;
        self.unanimous_since_ms = None;
        for id in std::mem::take(&mut self.waiting) {
            self.send(id);
        }
    }

    fn answer_non_voter(&mut self, from: ServerId, now_ms: u64) {
        if self.state == PeerState::Looking && self.config.ensemble.members.contains_key(&from) {
            self.waiting.insert(from);
        }
        let is_early = self
            .answered_ms
            .get(&from)
            .is_some_and(|&at| now_ms < at.saturating_add(ANSWER_INTERVAL_MS));
        if is_early {
            return;
        }
        if self.answered_ms.len() >= ANSWERED_MAX {
            self.answered_ms.clear();
        }
        self.answered_ms.insert(from, now_ms);
        self.send(from);
    }

    fn resend_soon(&mut self, now_ms: u64) {
        self.resend_interval_ms = self.config.notification_interval_min_ms;
        self.resend_at_ms = now_ms.saturating_add(self.resend_interval_ms);
    }

    fn send_all(&mut self) {
        let voters: Vec<ServerId> = self.config.ensemble.voters().collect();
        for id in voters {
            self.send(id);
        }
    }

    fn send(&mut self, to: ServerId) {
        if to != self.config.my_id {
            let message = wire::write(self.state, self.vote, self.config_text.as_bytes());
            self.outgoing.insert(to, message);
        }
    }

    /// Warns of a member that was told something else of the ensemble than we were.
    fn compare_configs(&mut self, from: ServerId, told: &Notification<'_>, now_ms: u64) {
        if !self.config.ensemble.members.contains_key(&from) {
            return self.complain(from, &"a vote, and is not in our configuration");
        }
        let Some(theirs) = told.config else { return };
        match self.disagreements.hear(from, theirs, now_ms) {
            Some(Finding::Differs(how)) => tracing::warn!(
                "server {from} has another configuration of the ensemble than this server: {how}. \
                 Give all members the same server, group, weight and version lines"
            ),
            Some(Finding::Agrees) => {
                tracing::info!("server {from} has our configuration of the ensemble again");
            }
            None => {}
        }
    }

    /// Logs once in an election what is wrong with a server's messages.
    fn complain(&mut self, from: ServerId, what: &dyn std::fmt::Display) {
        if self.complained.len() < ANSWERED_MAX && self.complained.insert(from) {
            tracing::warn!("server {from} sent {what}");
        }
    }
}

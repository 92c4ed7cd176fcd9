//! A leader: discovery, synchronisation and broadcast towards its learners (Apache's `Leader` and
//! `LearnerHandler`; TLA+ actions `LeaderProcessFOLLOWERINFO` to `LeaderProcessACK` of the
//! reference's ZAB 1.0 specification).
//!
//! A leader begins with the log that it was elected with. It chooses an epoch above all that a
//! quorum has accepted, makes sure that no member of that quorum has a newer history, brings each
//! learner up to its own log, and serves once a quorum has that log. What it proposes from then on
//! is committed when a quorum, itself perhaps among it, has it on disk.
//!
//! Acknowledgements are positions: one stands for everything before it. Apache's followers send
//! one for each proposal, in order, which comes to the same.
//!
//! A packet is read here and goes on to the module of its matter: `handshake` takes a learner up to our
//! log, `broadcast` commits, `requests` passes on what its clients want, `liveness` counts its pings.
//! Those decide by means of modules that know nothing of links: `discovery`, `plan`, `marks`, `rounds`.

mod broadcast;
mod discovery;
mod handshake;
mod host;
mod link;
mod liveness;
mod marks;
mod plan;
mod requests;
mod rounds;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::auth::Identity;
use crate::jute::quorum::{QuorumPacket, kind};
use crate::types::{LinkId, ServerId, Zxid};

use super::packet::{PacketError, PacketName};
use super::proposals::Proposals;

pub use host::{
    Forwarded, HostFailed, LeaderConfig, LeaderEvent, LeaderHost, LearnerReport, Summary, ToLearner,
};

use discovery::Discovery;
use link::{Link, Phase};
use marks::Marks;
use rounds::Rounds;

/// How long a leader waits for a quorum to connect, in milliseconds: who follows it does so at once. If
/// nobody does, others have elected somebody else, whom this server can then follow.
const CONNECT_LIMIT_MS: u64 = 3000;

/// Peers that have not said who they are; a further one closes the oldest.
const FRESH_LINKS_MAX: usize = 64;

/// Bytes in which a learner has said who it is.
const FRESH_BYTES_MAX: usize = 64 << 10;

/// A leader. See the module's documentation.
pub struct Leader {
    config: LeaderConfig,
    summary: Summary,
    config_text: Vec<u8>,
    discovery: Discovery,
    is_established: bool,
    has_ended: bool,
    new_leader_acks: BTreeSet<ServerId>,
    links: BTreeMap<LinkId, Link>,
    proposals: Proposals,
    durable: Zxid,
    committed: Zxid,
    rounds: Rounds,
    events: VecDeque<LeaderEvent>,
    /// Of the last request of a learner.
    identities: Arc<[Identity]>,
    deadline_ms: u64,
    connect_deadline_ms: u64,
    next_ping_ms: u64,
    marks: Marks,
    established_ms: u64,
    proposal_bytes: (i64, i64, i64),
}

impl Leader {
    /// A leader that was just elected. `kept` are the newest transactions of its log.
    pub fn new(
        config: LeaderConfig,
        summary: Summary,
        mut kept: Proposals,
        now_ms: u64,
        host: &mut dyn LeaderHost,
    ) -> Leader {
        if kept.tip() != summary.zxid {
            kept = Proposals::new(summary.zxid);
        }
        let mut leader = Leader {
            config_text: config.ensemble.to_string().into_bytes(),
            deadline_ms: now_ms + config.init_limit_ms,
            connect_deadline_ms: now_ms + config.init_limit_ms.min(CONNECT_LIMIT_MS),
            next_ping_ms: now_ms,
            discovery: Discovery::new(config.ensemble.clone(), summary),
            marks: Marks::new(config.sync_limit_ms),
            config,
            summary,
            is_established: false,
            has_ended: false,
            new_leader_acks: BTreeSet::new(),
            links: BTreeMap::new(),
            proposals: kept,
            durable: summary.zxid,
            committed: summary.zxid,
            rounds: Rounds::default(),
            events: VecDeque::new(),
            identities: Arc::default(),
            established_ms: now_ms,
            proposal_bytes: (-1, -1, -1),
        };
        let my_id = leader.config.my_id;
        leader.voter_connected(my_id, summary.accepted_epoch, host);
        leader
    }

    /// Ends it: the links that it had, and the newest transactions.
    pub fn end(self) -> (Vec<LinkId>, Proposals) {
        (self.links.into_keys().collect(), self.proposals)
    }

    /// The epoch, once it is chosen.
    pub fn epoch(&self) -> Option<u32> {
        self.discovery.epoch()
    }

    /// Whether clients may be served.
    pub fn is_established(&self) -> bool {
        self.is_established
    }

    /// What is committed.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// The next thing to tell the host.
    pub fn poll_event(&mut self) -> Option<LeaderEvent> {
        self.events.pop_front()
    }

    /// Learners that are connected.
    pub fn learners(&self) -> impl Iterator<Item = LearnerReport> {
        self.links.values().filter_map(|link| {
            let server = link.server?;
            Some(LearnerReport {
                server,
                is_observer: link.is_observer,
                votes: !link.is_observer && self.config.ensemble.is_voter(server),
                is_synced: link.phase >= Phase::Synced,
            })
        })
    }

    /// For how long it has led, in milliseconds.
    pub fn uptime_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.established_ms)
    }

    /// Bytes of the newest, the smallest and the largest proposal; −1 before the first.
    pub fn proposal_bytes(&self) -> (i64, i64, i64) {
        self.proposal_bytes
    }

    /// Until when, in milliseconds, the learner behind a link has told whom it heard from. An observer
    /// whose answers are a `syncLimit` late does not count, or it would keep every session of the
    /// ensemble from expiring.
    pub fn heard_up_to_ms(&self, now_ms: u64) -> impl Iterator<Item = u64> {
        self.links
            .values()
            .filter(move |link| link.phase == Phase::Active && !self.is_late(link, now_ms))
            .map(|link| link.pong_sent_ms)
    }

    /// A learner has connected.
    pub fn link_opened(&mut self, link: LinkId, now_ms: u64) {
        let fresh = self.links.iter().filter(|(_, link)| link.is_fresh());
        if fresh.clone().count() >= FRESH_LINKS_MAX
            && let Some((&oldest, _)) = fresh.min_by_key(|(_, link)| link.opened_ms)
        {
            self.close(
                oldest,
                "too many peers have not said who they are".to_owned(),
            );
        }
        self.links.insert(link, Link::new(now_ms));
    }

    /// A link has broken.
    pub fn link_closed(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.check_quorum();
    }

    /// Moves the bytes that are to be sent over a link to the end of `into`.
    pub fn take_output(&mut self, link: LinkId, into: &mut Vec<u8>) {
        if let Some(link) = self.links.get_mut(&link) {
            link.take_output(into);
        }
    }

    /// Whether the learner behind a link waits for more of its tree.
    pub fn awaits_tree(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| link.is_streaming)
    }

    /// Whether [`Leader::tree_piece`] may be given one: the learner waits for it, and its link keeps up.
    pub fn has_tree_room(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(Link::has_tree_room)
    }

    /// Links that have something to send.
    pub fn links_with_output(&self) -> impl Iterator<Item = LinkId> {
        self.links
            .iter()
            .filter(|(_, link)| link.has_output())
            .map(|(&id, _)| id)
    }

    /// Bytes have come over a link, cut in any way.
    pub fn receive(&mut self, id: LinkId, bytes: &[u8], now_ms: u64, host: &mut dyn LeaderHost) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.heard_ms = now_ms;
        let mut reader = std::mem::take(&mut link.reader);
        reader.extend(bytes);
        while !self.has_ended && self.links.contains_key(&id) {
            let length = match reader.peek() {
                Ok(None) => break,
                Ok(Some((packet, length))) => {
                    if let Err(error) = self.packet(id, &packet, now_ms, host) {
                        self.close(id, error.to_string());
                    }
                    length
                }
                Err(error) => {
                    self.close(id, error.to_string());
                    break;
                }
            };
            reader.skip(length);
        }
        if let Some(link) = self.links.get_mut(&id) {
            if link.is_fresh() && reader.rest().len() > FRESH_BYTES_MAX {
                let reason = format!("it sent {FRESH_BYTES_MAX} bytes and has not said who it is");
                return self.close(id, reason);
            }
            link.reader = reader;
        }
    }

    fn packet(
        &mut self,
        id: LinkId,
        packet: &QuorumPacket<'_>,
        now_ms: u64,
        host: &mut dyn LeaderHost,
    ) -> Result<(), PacketError> {
        let phase = self.links[&id].phase;
        match (phase, packet.kind) {
            (Phase::Fresh, kind::FOLLOWER_INFO | kind::OBSERVER_INFO) => {
                self.introduced(id, packet, host)
            }
            (Phase::EpochSent, kind::ACK_EPOCH) => self.epoch_acked(id, packet, host),
            (Phase::Syncing, kind::ACK) => self.new_leader_acked(id, packet.zxid, now_ms),
            (Phase::Synced | Phase::Active, kind::ACK) => {
                self.acked(id, Zxid(packet.zxid));
                Ok(())
            }
            (Phase::Synced | Phase::Active, kind::PING) => self.pinged(id, packet, now_ms),
            (Phase::Synced | Phase::Active, kind::REQUEST) => self.request(id, packet),
            (Phase::Synced | Phase::Active, kind::REVALIDATE) => self.revalidate(id, packet),
            _ => Err(PacketError::Unexpected(PacketName(packet.kind))),
        }
    }

    fn close(&mut self, id: LinkId, reason: String) {
        if let Some(link) = self.links.remove(&id) {
            let server = link
                .server
                .map_or_else(String::new, |id| format!("server {id}: "));
            self.events
                .push_back(LeaderEvent::Close(id, format!("{server}{reason}")));
        }
    }

    fn step_down(&mut self, reason: &str) {
        if !self.has_ended {
            self.has_ended = true;
            self.events
                .push_back(LeaderEvent::SteppedDown(reason.to_owned()));
        }
    }
}

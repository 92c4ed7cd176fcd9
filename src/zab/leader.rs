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

mod link;
mod plan;
mod rounds;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::jute::quorum::{AuthId, LearnerInfo, QuorumPacket, kind};
use crate::jute::{Decoder, Record};
use crate::mutation::{self, Mutation};
use crate::types::{Ensemble, LinkId, ServerId, SessionId, Zxid};

use super::packet::{PacketError, PacketName, encode_packet};
use super::proposals::Proposals;
use super::rejection::Rejection;
use super::{EPOCH_MAX, EXTENSION, PROTOCOL_VERSION};

use link::{Link, Phase};
use plan::Plan;
use rounds::Rounds;

/// What a leader must know.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// Its number.
    pub my_id: ServerId,
    /// Who votes.
    pub ensemble: Arc<Ensemble>,
    /// How long until a quorum must have its log, in milliseconds (`initLimit` ticks).
    pub init_limit_ms: u64,
    /// How long a learner may be silent, in milliseconds (`syncLimit` ticks).
    pub sync_limit_ms: u64,
    /// How long a learner of ours may be silent once it serves, in milliseconds.
    pub silence_limit_ms: u64,
    /// Milliseconds between two pings.
    pub heartbeat_ms: u64,
}

/// The history that a leader was elected with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The newest epoch that it acknowledged to a leader of.
    pub accepted_epoch: u32,
    /// The epoch of the last leader that it was synchronised with.
    pub current_epoch: u32,
    /// Its last transaction, which is durable.
    pub zxid: Zxid,
}

/// The host could not do what was asked and has noted why; the leader must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFailed;

/// What is durable at a leader. Calls return when it is done.
pub trait LeaderHost {
    /// Writes `acceptedEpoch`.
    fn accept_epoch(&mut self, epoch: u32) -> Result<(), HostFailed>;
    /// Writes `currentEpoch`.
    fn adopt_epoch(&mut self, epoch: u32) -> Result<(), HostFailed>;
    /// Reads the transactions after `after` up to and with `up_to` out of the log; `None` where
    /// the log does not go back so far without a gap, or where a tree would be shorter.
    fn read_log(&mut self, after: Zxid, up_to: Zxid) -> Option<Vec<(Zxid, Arc<[u8]>)>>;
}

/// A client's request that a learner forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The client's session.
    pub session: SessionId,
    /// The client's number for it.
    pub cxid: i32,
    /// Operation code.
    pub op: i32,
    /// The request record.
    pub body: Box<[u8]>,
    /// The identities of the client.
    pub identities: Vec<AuthId>,
}

/// What a leader tells its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderEvent {
    /// A quorum has the leader's log: it is committed, and clients may be served.
    Established,
    /// Everything up to this zxid is committed.
    Committed(Zxid),
    /// A learner forwards a request.
    Request(LinkId, Forwarded),
    /// A learner heard from these sessions, with their timeouts in milliseconds. All that it heard
    /// up to this time, in milliseconds, is in it and in what came before.
    Touched(LinkId, u64, Vec<(SessionId, i32)>),
    /// A learner's client wants to go on with a session; answered by [`Leader::revalidated`].
    Revalidate(LinkId, SessionId, i32),
    /// A learner needs the tree as of this zxid: the host gives it in pieces to
    /// [`Leader::tree_piece`].
    SendTree(LinkId, Zxid),
    /// A round of pings has come back from a quorum: this server led when the round was asked for.
    RoundConfirmed(u64),
    /// The link is of no more use; the host closes it. Said once.
    Close(LinkId, String),
    /// The leader cannot go on; nothing more is to be given to it.
    SteppedDown(String),
}

/// How long a leader waits for a quorum to connect, in milliseconds: who follows it does so at once. If
/// nobody does, others have elected somebody else, whom this server can then follow.
const CONNECT_LIMIT_MS: u64 = 3000;

/// Peers that have not said who they are; a further one closes the oldest.
const FRESH_LINKS_MAX: usize = 64;

/// Bytes in which a learner has said who it is.
const FRESH_BYTES_MAX: usize = 64 << 10;

/// Into how many steps `syncLimit` is cut to see who is behind.
const MARKS: u64 = 16;

/// A learner, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerReport {
    /// Who.
    pub server: ServerId,
    /// Whether it only observes.
    pub is_observer: bool,
    /// Whether it has a vote.
    pub votes: bool,
    /// Whether it has our log.
    pub is_synced: bool,
}

/// A leader. See the module's documentation.
pub struct Leader {
    config: LeaderConfig,
    summary: Summary,
    config_text: Vec<u8>,
    /// Chosen when a quorum has told its accepted epochs.
    epoch: Option<u32>,
    /// Whether a quorum has accepted the epoch and none of it has a newer history.
    is_elected: bool,
    is_established: bool,
    has_ended: bool,
    connecting: BTreeMap<ServerId, u32>,
    epoch_acks: BTreeSet<ServerId>,
    new_leader_acks: BTreeSet<ServerId>,
    links: BTreeMap<LinkId, Link>,
    proposals: Proposals,
    durable: Zxid,
    committed: Zxid,
    rounds: Rounds,
    events: VecDeque<LeaderEvent>,
    deadline_ms: u64,
    connect_deadline_ms: u64,
    next_ping_ms: u64,
    /// The newest proposals at some times in the last `syncLimit`, oldest first.
    marks: VecDeque<(u64, Zxid)>,
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
            config,
            summary,
            epoch: None,
            is_elected: false,
            is_established: false,
            has_ended: false,
            connecting: BTreeMap::new(),
            epoch_acks: BTreeSet::new(),
            new_leader_acks: BTreeSet::new(),
            links: BTreeMap::new(),
            proposals: kept,
            durable: summary.zxid,
            committed: summary.zxid,
            rounds: Rounds::default(),
            events: VecDeque::new(),
            marks: VecDeque::new(),
            established_ms: now_ms,
            proposal_bytes: (-1, -1, -1),
        };
        let my_id = leader.config.my_id;
        leader.connecting.insert(my_id, summary.accepted_epoch);
        leader.choose_epoch(host);
        leader
    }

    /// Ends it: the links that it had, and the newest transactions.
    pub fn end(self) -> (Vec<LinkId>, Proposals) {
        (self.links.into_keys().collect(), self.proposals)
    }

    /// The epoch, once it is chosen.
    pub fn epoch(&self) -> Option<u32> {
        self.epoch
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

    /// Until when, in milliseconds, the learner behind a link has told whom it heard from.
    pub fn heard_up_to_ms(&self) -> impl Iterator<Item = u64> {
        let active = |link: &&Link| link.phase == Phase::Active;
        self.links
            .values()
            .filter(active)
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

    /// Bytes that wait to be sent over a link.
    pub fn queued_bytes(&self, link: LinkId) -> usize {
        self.links.get(&link).map_or(0, Link::queued_bytes)
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

    /// FOLLOWERINFO and OBSERVERINFO (Apache's `getEpochToPropose`).
    fn introduced(
        &mut self,
        id: LinkId,
        packet: &QuorumPacket<'_>,
        host: &mut dyn LeaderHost,
    ) -> Result<(), PacketError> {
        let missing = PacketError::Data(PacketName(packet.kind));
        let mut from = Decoder::new(packet.data.ok_or(missing.clone())?);
        let info = LearnerInfo::decode(&mut from)?;
        if info.protocol_version < PROTOCOL_VERSION {
            return Err(missing);
        }
        let server = ServerId(info.server_id);
        if server == self.config.my_id {
            self.close(id, format!("the peer has our own number {server}"));
            return Ok(());
        }
        let accepted_epoch = Zxid(packet.zxid).epoch();
        if accepted_epoch >= EPOCH_MAX {
            let reason = format!(
                "server {server} says that it has accepted epoch {accepted_epoch}, after which \
                 there is none: its acceptedEpoch file is damaged, or it is no ZooKeeper server"
            );
            self.close(id, reason);
            return Ok(());
        }
        let former = self
            .links
            .iter()
            .find(|(_, link)| link.server == Some(server))
            .map(|(&id, _)| id);
        if let Some(former) = former {
            self.close(former, format!("server {server} has connected anew"));
        }
        let link = self.links.get_mut(&id).expect("it was found before");
        link.server = Some(server);
        link.is_observer = packet.kind == kind::OBSERVER_INFO;
        link.is_ours = from.rest().starts_with(EXTENSION);
        link.phase = Phase::Introduced;
        let is_voter = !link.is_observer && self.config.ensemble.is_voter(server);
        if let Some(epoch) = self.epoch {
            if is_voter && accepted_epoch > epoch {
                // It can follow nobody of an older epoch, so it would stay outside for ever.
                self.step_down(&format!(
                    "server {server} has accepted epoch {accepted_epoch}, later than {epoch}"
                ));
                return Ok(());
            }
            self.send_epoch(id);
        } else if is_voter {
            self.connecting.insert(server, accepted_epoch);
            self.choose_epoch(host);
        }
        Ok(())
    }

    /// Chooses the epoch once a quorum is there.
    fn choose_epoch(&mut self, host: &mut dyn LeaderHost) {
        let servers = self.connecting.keys().copied().collect();
        if self.epoch.is_some() || !self.config.ensemble.is_quorum(&servers) {
            return;
        }
        let newest = self.connecting.values().max().expect("we are among them");
        let epoch = newest + u32::from(!mutation::is(Mutation::KeepEpoch));
        if host.accept_epoch(epoch).is_err() {
            self.step_down("the accepted epoch could not be written");
            return;
        }
        self.epoch = Some(epoch);
        let waiting: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| link.phase == Phase::Introduced)
            .map(|(&id, _)| id)
            .collect();
        for id in waiting {
            self.send_epoch(id);
        }
        self.count_epoch_ack(self.config.my_id, host);
    }

    fn new_leader_zxid(&self) -> Zxid {
        Zxid::new(self.epoch.expect("it is chosen by now"), 0)
    }

    fn send_epoch(&mut self, id: LinkId) {
        let zxid = self.new_leader_zxid();
        let link = self.links.get_mut(&id).expect("a link that is there");
        let mut data = PROTOCOL_VERSION.to_be_bytes().to_vec();
        if link.is_ours {
            data.extend_from_slice(EXTENSION);
        }
        link.send(|out| encode_packet(kind::LEADER_INFO, zxid.0, Some(&data), out));
        link.phase = Phase::EpochSent;
    }

    /// ACKEPOCH (Apache's `waitForEpochAck`).
    fn epoch_acked(
        &mut self,
        id: LinkId,
        packet: &QuorumPacket<'_>,
        host: &mut dyn LeaderHost,
    ) -> Result<(), PacketError> {
        let data = packet.data.unwrap_or_default();
        let current_epoch = data
            .first_chunk::<4>()
            .map(|bytes| i32::from_be_bytes(*bytes))
            .ok_or(PacketError::Data(PacketName(packet.kind)))?;
        let zxid = Zxid(packet.zxid);
        let link = self.links.get_mut(&id).expect("it was found before");
        link.zxid = zxid;
        link.phase = Phase::EpochAcked;
        let server = link.server.expect("it has introduced itself");
        let votes = !link.is_observer && self.config.ensemble.is_voter(server);
        if self.is_elected {
            self.synchronise(id, host);
            return Ok(());
        }
        // −1 as the epoch says that the learner accepted this one before: it may have done so for
        // another leader, so it does not count. Nor does who has the zxid −1: its log was damaged.
        if current_epoch != -1 && zxid.0 != -1 && votes {
            let ours = (i64::from(self.summary.current_epoch), self.summary.zxid);
            if (i64::from(current_epoch), zxid) > ours {
                self.step_down(&format!(
                    "server {server} has a newer history: epoch {current_epoch}, zxid {zxid}"
                ));
                return Ok(());
            }
            self.count_epoch_ack(server, host);
        }
        Ok(())
    }

    fn count_epoch_ack(&mut self, server: ServerId, host: &mut dyn LeaderHost) {
        self.epoch_acks.insert(server);
        if self.is_elected || !self.config.ensemble.is_quorum(&self.epoch_acks) {
            return;
        }
        let epoch = self.epoch.expect("it is chosen by now");
        if host.adopt_epoch(epoch).is_err() {
            self.step_down("the current epoch could not be written");
            return;
        }
        self.is_elected = true;
        let waiting: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| link.phase == Phase::EpochAcked)
            .map(|(&id, _)| id)
            .collect();
        for id in waiting {
            self.synchronise(id, host);
        }
        self.count_new_leader_ack(self.config.my_id);
    }

    /// Brings a learner up to our log (Apache's `syncFollower` and `startForwarding`).
    fn synchronise(&mut self, id: LinkId, host: &mut dyn LeaderHost) {
        let (committed, epoch) = (self.committed, self.epoch.expect("it is chosen"));
        let link = self.links.get_mut(&id).expect("a link that is there");
        let plan = Plan::of(link, committed, epoch, &self.summary, &self.proposals, host);
        let server = link.server.expect("it has introduced itself");
        tracing::info!(%server, zxid = %link.zxid, %committed, plan = plan.name(), "synchronising");
        let from = match plan {
            Plan::Diff { after, older } => {
                link.send(|out| encode_packet(kind::DIFF, committed.0, None, out));
                for (zxid, payload) in &older {
                    link.send_committed(*zxid, payload);
                }
                older.last().map_or(after, |(zxid, _)| *zxid)
            }
            Plan::Trunc { to } => {
                link.send(|out| encode_packet(kind::TRUNC, to.0, None, out));
                to
            }
            Plan::Snap => {
                link.send(|out| encode_packet(kind::SNAP, committed.0, None, out));
                link.is_streaming = true;
                self.events.push_back(LeaderEvent::SendTree(id, committed));
                committed
            }
        };
        for (zxid, payload) in self.proposals.range(from, committed) {
            link.send_committed(zxid, payload);
        }
        if !link.is_observer {
            for (zxid, payload) in self.proposals.range(from.max(committed), Zxid(i64::MAX)) {
                link.send_proposal(zxid, payload);
            }
        }
        let zxid = Zxid::new(epoch, 0).0;
        let text = &self.config_text;
        link.send(|out| encode_packet(kind::NEW_LEADER, zxid, Some(text), out));
        link.phase = Phase::Syncing;
        link.acked = committed;
        link.announced = committed;
    }

    /// A piece of the tree that a learner needs, in order. `is_last` ends it.
    pub fn tree_piece(&mut self, id: LinkId, bytes: &[u8], is_last: bool) {
        if let Some(link) = self.links.get_mut(&id) {
            link.tree_piece(bytes, is_last);
        }
    }

    fn new_leader_acked(&mut self, id: LinkId, zxid: i64, now_ms: u64) -> Result<(), PacketError> {
        if zxid != self.new_leader_zxid().0 {
            return Err(PacketError::Unexpected(PacketName(kind::ACK)));
        }
        let link = self.links.get_mut(&id).expect("it was found before");
        link.phase = Phase::Synced;
        link.pong_sent_ms = now_ms;
        let server = link.server.expect("it has introduced itself");
        let votes = !link.is_observer && self.config.ensemble.is_voter(server);
        if self.is_established {
            link.activate();
        } else if votes {
            self.count_new_leader_ack(server);
        }
        Ok(())
    }

    fn count_new_leader_ack(&mut self, server: ServerId) {
        self.new_leader_acks.insert(server);
        if self.is_established || !self.config.ensemble.is_quorum(&self.new_leader_acks) {
            return;
        }
        self.is_established = true;
        self.events.push_back(LeaderEvent::Established);
        for link in self.links.values_mut() {
            if link.phase == Phase::Synced {
                link.activate();
            }
        }
    }

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

    fn acked(&mut self, id: LinkId, zxid: Zxid) {
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

    fn pinged(
        &mut self,
        id: LinkId,
        packet: &QuorumPacket<'_>,
        now_ms: u64,
    ) -> Result<(), PacketError> {
        let mut sessions = Vec::new();
        let mut from = Decoder::new(packet.data.unwrap_or_default());
        while !from.is_empty() {
            sessions.push((SessionId(i64::decode(&mut from)?), i32::decode(&mut from)?));
        }
        let link = self.links.get_mut(&id).expect("it was found before");
        if let Some(sent_ms) = link.ponged() {
            self.events
                .push_back(LeaderEvent::Touched(id, sent_ms, sessions));
        }
        self.confirm_rounds(now_ms);
        Ok(())
    }

    fn request(&mut self, id: LinkId, packet: &QuorumPacket<'_>) -> Result<(), PacketError> {
        let missing = PacketError::Data(PacketName(packet.kind));
        let mut from = Decoder::new(packet.data.ok_or(missing)?);
        let forwarded = Forwarded {
            session: SessionId(i64::decode(&mut from)?),
            cxid: i32::decode(&mut from)?,
            op: i32::decode(&mut from)?,
            body: from.rest().into(),
            identities: packet.authinfo.clone(),
        };
        self.events.push_back(LeaderEvent::Request(id, forwarded));
        Ok(())
    }

    fn revalidate(&mut self, id: LinkId, packet: &QuorumPacket<'_>) -> Result<(), PacketError> {
        let missing = PacketError::Data(PacketName(packet.kind));
        let mut from = Decoder::new(packet.data.ok_or(missing)?);
        let session = SessionId(i64::decode(&mut from)?);
        let timeout_ms = i32::decode(&mut from)?;
        self.events
            .push_back(LeaderEvent::Revalidate(id, session, timeout_ms));
        Ok(())
    }

    /// Answers a [`LeaderEvent::Revalidate`].
    pub fn revalidated(&mut self, id: LinkId, session: SessionId, is_valid: bool) {
        if let Some(link) = self.links.get_mut(&id) {
            let mut data = session.0.to_be_bytes().to_vec();
            data.push(u8::from(is_valid));
            link.send(|out| encode_packet(kind::REVALIDATE, -1, Some(&data), out));
        }
    }

    /// A learner has forwarded a sync when `tip` was the newest zxid: it hears of no later commit
    /// until [`Leader::synced`], so that its client's answers keep their order.
    pub fn sync_begun(&mut self, id: LinkId, tip: Zxid) {
        if let Some(link) = self.links.get_mut(&id) {
            link.begin_sync(tip);
        }
    }

    /// Whether a learner takes rejections: it is one of ours.
    pub fn takes_rejections(&self, id: LinkId) -> bool {
        self.links.get(&id).is_some_and(|link| link.is_ours)
    }

    /// Tells a learner of ours that a request of its client has failed.
    pub fn reject(&mut self, id: LinkId, rejection: &Rejection) {
        if let Some(link) = self.links.get_mut(&id) {
            link.reject(rejection);
        }
    }

    /// The oldest sync that a learner has forwarded is done: what it was forwarded after is
    /// committed, and this server has led since.
    pub fn synced(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.announce(self.committed, &self.proposals);
            link.finish_sync();
            link.announce(self.committed, &self.proposals);
        }
        self.trim();
    }

    /// Forgets old transactions, but none that a learner has yet to hear the commit of.
    fn trim(&mut self) {
        let unheard = self
            .links
            .values()
            .filter(|link| link.phase >= Phase::Syncing);
        let oldest = unheard.map(|link| link.announced).min();
        self.proposals
            .trim(oldest.unwrap_or(self.committed).min(self.committed));
    }

    /// Asks for a round of pings, whose number comes back in [`LeaderEvent::RoundConfirmed`] once a
    /// quorum has answered: nobody else can have led when it was asked for.
    pub fn ask_round(&mut self, now_ms: u64) -> u64 {
        let round = self.rounds.ask();
        if self.rounds.begin_if_idle() {
            self.ping_all(now_ms);
            self.confirm_rounds(now_ms);
        }
        round
    }

    fn ping_all(&mut self, now_ms: u64) {
        let tip = self.proposals.tip().max(self.new_leader_zxid());
        let round = self.rounds.running();
        // Apache's learners do not answer before they serve.
        for link in self.links.values_mut() {
            if link.phase == Phase::Active {
                link.ping(tip, now_ms, round);
            }
        }
    }

    fn confirm_rounds(&mut self, now_ms: u64) {
        loop {
            let running = self.rounds.running();
            let mut servers = BTreeSet::from([self.config.my_id]);
            for link in self.links.values() {
                if let Some(server) = link.server
                    && link.round_ponged >= running
                    && !link.is_observer
                {
                    servers.insert(server);
                }
            }
            if !self.is_established || !self.config.ensemble.is_quorum(&servers) {
                return;
            }
            let Some(confirmed) = self.rounds.confirm() else {
                return;
            };
            self.events
                .push_back(LeaderEvent::RoundConfirmed(confirmed));
            if !self.rounds.begin_if_idle() {
                return;
            }
            self.ping_all(now_ms);
        }
    }

    /// Looks at timeouts and pings. To be called every few milliseconds to tens of them.
    pub fn tick(&mut self, now_ms: u64) {
        if self.has_ended {
            return;
        }
        if !self.is_established && now_ms >= self.deadline_ms {
            self.step_down("no quorum of followers came in step within initLimit");
            return;
        }
        if self.epoch.is_none() && now_ms >= self.connect_deadline_ms {
            self.step_down("no quorum of followers has connected");
            return;
        }
        if now_ms >= self.next_ping_ms && self.epoch.is_some() {
            self.next_ping_ms = now_ms + self.config.heartbeat_ms;
            self.ping_all(now_ms);
        }
        let due = self.due(now_ms);
        let mut late = Vec::new();
        for (&id, link) in &self.links {
            let limit_ms = match link.phase {
                Phase::Active if link.is_ours => self.config.silence_limit_ms,
                Phase::Active => self.config.sync_limit_ms,
                _ => self.config.init_limit_ms,
            };
            // Who only trickles has to come to an end as well.
            let heard_ms = if link.is_fresh() {
                link.opened_ms
            } else {
                link.heard_ms
            };
            if now_ms.saturating_sub(heard_ms) > limit_ms {
                late.push((id, "it was silent for too long"));
            } else if link.queued_bytes() > link::QUEUED_BYTES_MAX
                || link.phase == Phase::Active && !link.is_observer && link.acked < due
            {
                late.push((id, "it cannot keep up"));
            }
        }
        for (id, reason) in late {
            self.close(id, reason.to_owned());
        }
        self.check_quorum();
    }

    /// What every follower must have acknowledged by now: what was proposed a `syncLimit` ago. A
    /// follower that is further behind must not go on serving (Apache's `SyncLimitCheck`).
    fn due(&mut self, now_ms: u64) -> Zxid {
        if mutation::is(Mutation::FarBehindServes) {
            return Zxid::ZERO;
        }
        let step_ms = self.config.sync_limit_ms / MARKS;
        let is_time = |&(at_ms, _): &(u64, Zxid)| now_ms >= at_ms + step_ms;
        if self.marks.back().is_none_or(is_time) {
            self.marks.push_back((now_ms, self.proposals.tip()));
        }
        let is_old = |at_ms: u64| now_ms.saturating_sub(at_ms) > self.config.sync_limit_ms;
        while self.marks.get(1).is_some_and(|&(at_ms, _)| is_old(at_ms)) {
            self.marks.pop_front();
        }
        match self.marks.front() {
            Some(&(at_ms, zxid)) if is_old(at_ms) => zxid,
            _ => Zxid::ZERO,
        }
    }

    /// A leader without a quorum of followers in step leads nobody.
    fn check_quorum(&mut self) {
        if !self.is_established || self.has_ended {
            return;
        }
        let mut servers = BTreeSet::from([self.config.my_id]);
        for link in self.links.values() {
            if link.phase >= Phase::Synced && !link.is_observer {
                servers.extend(link.server);
            }
        }
        if !self.config.ensemble.is_quorum(&servers) {
            self.step_down("too few followers are in step");
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

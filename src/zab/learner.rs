//! A learner: a follower or observer towards its leader (Apache's `Learner`, `Follower` and
//! `Observer`; TLA+ actions `FollowerProcessLEADERINFO` to `FollowerProcessCOMMIT` of the
//! reference's ZAB 1.0 specification).
//!
//! Nothing is acknowledged before it is durable: not the epoch, not the log that the leader
//! brings it up to (ZOOKEEPER-3911, 4643, 4646, 4785), and no proposal. What came before NEWLEADER
//! is appended to the log as it comes, so nothing is committed that was not logged
//! (ZOOKEEPER-4394).

use std::collections::VecDeque;

use crate::jute::quorum::{LearnerInfo, QuorumPacket, kind};
use crate::jute::{Decoder, Record};
use crate::mutation::{self, Mutation};
use crate::types::{ServerId, SessionId, Zxid};

use super::leader::{Forwarded, HostFailed, Summary};
use super::packet::{
    PacketError, PacketName, PacketReader, encode_packet, encode_packet_of, move_output,
};
use super::rejection::{CONFIRM, REJECT, Rejection};
use super::{EPOCH_MAX, EXTENSION, PROTOCOL_VERSION};

/// What follows Apache's tree on the wire.
pub const SIGNATURE: &str = "BenWasHere";

/// What a learner must know.
#[derive(Clone, Debug)]
pub struct LearnerConfig {
    /// Its number.
    pub my_id: ServerId,
    /// Whether it has no vote.
    pub is_observer: bool,
    /// Version of its configuration.
    pub config_version: i64,
    /// Before this zxid its history cannot be cut off: that of a tree whose leader was never established.
    /// Zero where there is none.
    pub tree_base: Zxid,
    /// How long until the leader has brought it up, in milliseconds (`initLimit` ticks).
    pub init_limit_ms: u64,
    /// How long the leader may be silent, in milliseconds (`syncLimit` ticks).
    pub sync_limit_ms: u64,
    /// How long a leader of ours may be silent, in milliseconds.
    pub silence_limit_ms: u64,
}

/// What a learner does to its server. Calls return when it is done, or, for `append`, begun.
pub trait LearnerHost {
    /// Writes `acceptedEpoch`.
    fn accept_epoch(&mut self, epoch: u32) -> Result<(), HostFailed>;
    /// Writes `currentEpoch`.
    fn adopt_epoch(&mut self, epoch: u32) -> Result<(), HostFailed>;
    /// The last transaction in the log.
    fn tip(&self) -> Zxid;
    /// Whether nothing is being written, so that log and tree can be cut off or replaced.
    fn is_quiet(&self) -> bool;
    /// Drops everything after `zxid` from log and tree.
    ///
    /// # Errors
    /// Also where it must not be dropped, with the reason.
    fn truncate(&mut self, zxid: Zxid) -> Result<(), TreeFault>;
    /// Bytes of a tree as of `zxid` have come; how many of them belong to it, and whether it is
    /// whole now and has durably replaced tree and log.
    ///
    /// # Errors
    /// Where they are no tree, with the reason.
    fn tree_bytes(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(usize, bool), TreeFault>;
    /// Applies a transaction and appends it to the log.
    ///
    /// # Errors
    /// Where it is none.
    fn append(&mut self, payload: &[u8]) -> Result<Zxid, AppendFault>;
}

/// Why a tree that a leader sent cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeFault {
    /// It is no tree, or one that must not replace ours.
    Bad(String),
    /// Our own disk failed.
    Host(HostFailed),
}

/// Why a transaction that a leader sent cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendFault {
    /// It is no transaction, or does not follow the last one.
    Bad(String),
    /// There is no room for it on the disk.
    NoRoom,
}

/// What a learner tells its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LearnerEvent {
    /// Everything up to this zxid is committed. The host serves clients once it was also told
    /// [`LearnerEvent::UpToDate`].
    Committed(Zxid),
    /// Clients may be served. The log is that of the leader of this epoch.
    UpToDate(u32),
    /// The leader knows this session, or does not.
    Revalidated(SessionId, bool),
    /// The oldest sync that was forwarded is done.
    Synced,
    /// A request that was forwarded has failed, without a transaction, if the leader still leads.
    Rejected(Rejection),
    /// The leader led when it sent the oldest rejection that was not confirmed.
    Confirmed,
    /// The leader asks who was heard from; answered by [`Learner::pong`].
    Ping(Zxid),
    /// The learner must end.
    Ended(String),
}

/// How far a learner has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It waits for the epoch.
    Introduced,
    /// It waits for DIFF, TRUNC or SNAP.
    EpochAcked,
    /// A tree as of this zxid is coming.
    Tree(Zxid),
    /// The signature behind the tree is coming.
    Signature,
    /// Transactions are coming.
    Syncing,
    /// NEWLEADER came; it is acknowledged when the log is durable up to this zxid.
    Settling(Zxid),
    /// NEWLEADER is acknowledged.
    Settled,
    /// Clients are served.
    Active,
    /// It has ended.
    Ended,
}

/// A learner that is connected to its leader. See the module's documentation.
pub struct Learner {
    config: LearnerConfig,
    summary: Summary,
    phase: Phase,
    /// The leader's, once it is known.
    epoch: u32,
    is_leader_ours: bool,
    reader: PacketReader,
    out: Vec<u8>,
    events: VecDeque<LearnerEvent>,
    /// What is known to be committed.
    committed: Zxid,
    /// Proposals that are not acknowledged yet.
    unacked: VecDeque<Zxid>,
    acked: Zxid,
    /// Whether log and tree are to be cut off or replaced.
    wants_quiet: bool,
    heard_ms: u64,
    deadline_ms: u64,
}

impl Learner {
    /// A learner whose link to its leader has just been opened: it introduces itself. Its log is
    /// durable up to the summary's zxid, which is its end.
    pub fn new(config: LearnerConfig, summary: Summary, now_ms: u64) -> Learner {
        let info = LearnerInfo {
            server_id: config.my_id.0,
            protocol_version: PROTOCOL_VERSION,
            config_version: config.config_version,
        };
        let mut data = Vec::new();
        info.encode(&mut data);
        data.extend_from_slice(EXTENSION);
        let kind = if config.is_observer {
            kind::OBSERVER_INFO
        } else {
            kind::FOLLOWER_INFO
        };
        let accepted = Zxid::new(summary.accepted_epoch, 0);
        let mut out = Vec::new();
        encode_packet(kind, accepted.0, Some(&data), &mut out);
        Learner {
            deadline_ms: now_ms + config.init_limit_ms,
            config,
            summary,
            phase: Phase::Introduced,
            epoch: 0,
            is_leader_ours: false,
            reader: PacketReader::default(),
            out,
            events: VecDeque::new(),
            committed: Zxid::ZERO,
            unacked: VecDeque::new(),
            acked: summary.zxid,
            wants_quiet: false,
            heard_ms: now_ms,
        }
    }

    /// Whether clients may be served.
    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// The next thing to tell the host.
    pub fn poll_event(&mut self) -> Option<LearnerEvent> {
        self.events.pop_front()
    }

    /// Whether there are bytes to send.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Moves the bytes that are to be sent to the end of `into`.
    pub fn take_output(&mut self, into: &mut Vec<u8>) {
        move_output(&mut self.out, into);
    }

    /// Bytes have come from the leader, cut in any way.
    pub fn receive(&mut self, bytes: &[u8], now_ms: u64, host: &mut dyn LearnerHost) {
        self.heard_ms = now_ms;
        let mut reader = std::mem::take(&mut self.reader);
        reader.extend(bytes);
        loop {
            match self.step(&mut reader, host) {
                Ok(true) => {}
                Ok(false) => break,
                Err(reason) => {
                    self.end(reason);
                    break;
                }
            }
        }
        self.reader = reader;
    }

    /// Whether nothing new should be begun on log and tree: they are to be cut off or replaced.
    pub fn wants_quiet(&self) -> bool {
        self.wants_quiet
    }

    /// Whether it takes nothing in before there is quiet: what is read meanwhile only piles up.
    pub fn awaits_quiet(&self) -> bool {
        self.wants_quiet && self.phase == Phase::EpochAcked
    }

    /// Goes on where it waited for quiet.
    pub fn retry(&mut self, host: &mut dyn LearnerHost) {
        if self.awaits_quiet() {
            self.receive(&[], self.heard_ms, host);
        }
    }

    /// Takes one packet, or a part of the tree; whether there may be more.
    fn step(
        &mut self,
        reader: &mut PacketReader,
        host: &mut dyn LearnerHost,
    ) -> Result<bool, String> {
        match self.phase {
            Phase::Ended => Ok(false),
            Phase::Tree(zxid) => self.take_tree(zxid, reader, host),
            Phase::Signature => self.take_signature(reader, host),
            _ => {
                let Some((packet, length)) = reader.peek().map_err(|error| error.to_string())?
                else {
                    return Ok(false);
                };
                let changes_all = matches!(packet.kind, kind::TRUNC | kind::SNAP);
                if changes_all && self.phase == Phase::EpochAcked {
                    self.wants_quiet = true;
                    if !host.is_quiet() {
                        return Ok(false);
                    }
                }
                self.packet(&packet, host)?;
                reader.skip(length);
                Ok(true)
            }
        }
    }

    fn take_tree(
        &mut self,
        zxid: Zxid,
        reader: &mut PacketReader,
        host: &mut dyn LearnerHost,
    ) -> Result<bool, String> {
        if reader.rest().is_empty() {
            return Ok(false);
        }
        let (taken, is_whole) =
            host.tree_bytes(zxid, reader.rest())
                .map_err(|fault| match fault {
                    TreeFault::Bad(reason) => {
                        format!("the leader's tree cannot be taken: {reason}")
                    }
                    TreeFault::Host(HostFailed) => OWN_FAULT.to_owned(),
                })?;
        reader.skip(taken);
        if is_whole {
            self.phase = Phase::Signature;
        }
        Ok(is_whole)
    }

    fn take_signature(
        &mut self,
        reader: &mut PacketReader,
        host: &mut dyn LearnerHost,
    ) -> Result<bool, String> {
        let length = 4 + SIGNATURE.len();
        let Some(bytes) = reader.rest().get(..length) else {
            return Ok(false);
        };
        if <&str>::from_slice(bytes) != Ok(SIGNATURE) {
            return Err("the leader's tree does not end as one does".into());
        }
        reader.skip(length);
        self.acked = host.tip();
        self.committed = host.tip();
        self.wants_quiet = false;
        self.phase = Phase::Syncing;
        Ok(true)
    }

    fn packet(
        &mut self,
        packet: &QuorumPacket<'_>,
        host: &mut dyn LearnerHost,
    ) -> Result<(), String> {
        let zxid = Zxid(packet.zxid);
        if self.phase == Phase::EpochAcked {
            let plan = PacketName(packet.kind);
            tracing::info!(%plan, %zxid, ours = %host.tip(), "the leader synchronises us");
        }
        match (self.phase, packet.kind) {
            (Phase::Introduced, kind::LEADER_INFO) => self.epoch_chosen(packet, host),
            (Phase::EpochAcked, kind::DIFF) => {
                self.keep_all(zxid.min(host.tip()));
                Ok(())
            }
            (Phase::EpochAcked, kind::TRUNC) => self.truncated(zxid, host),
            (Phase::EpochAcked, kind::SNAP) => {
                self.phase = Phase::Tree(zxid);
                Ok(())
            }
            (
                Phase::Syncing | Phase::Settling(_) | Phase::Settled | Phase::Active,
                kind::PROPOSAL | kind::INFORM,
            ) => self.transaction(packet, host),
            (
                Phase::Syncing | Phase::Settling(_) | Phase::Settled | Phase::Active,
                kind::COMMIT,
            ) => self.commit(zxid, host),
            (Phase::Syncing, kind::NEW_LEADER) => {
                if zxid.epoch() != self.epoch {
                    return Err(format!("NEWLEADER is of epoch {}", zxid.epoch()));
                }
                if mutation::is(Mutation::AdoptEpochEarly) {
                    host.adopt_epoch(self.epoch).map_err(own_fault)?;
                }
                self.phase = Phase::Settling(host.tip());
                Ok(())
            }
            (Phase::Settled, kind::UP_TO_DATE) => {
                let newest = Zxid::new(self.epoch, 0);
                encode_packet(kind::ACK, newest.0, None, &mut self.out);
                self.phase = Phase::Active;
                self.events
                    .push_back(LearnerEvent::Committed(self.committed));
                self.events.push_back(LearnerEvent::UpToDate(self.epoch));
                Ok(())
            }
            (Phase::Active, kind::REVALIDATE) => self.revalidated(packet),
            (Phase::Active, kind::SYNC) => {
                self.events.push_back(LearnerEvent::Synced);
                Ok(())
            }
            (Phase::Active, REJECT) if self.is_leader_ours => {
                let rejection = Rejection::decode(zxid, packet.data.unwrap_or_default())
                    .map_err(|error| format!("REJECT cannot be read: {error}"))?;
                self.events.push_back(LearnerEvent::Rejected(rejection));
                Ok(())
            }
            (Phase::Active, CONFIRM) if self.is_leader_ours => {
                self.events.push_back(LearnerEvent::Confirmed);
                Ok(())
            }
            (Phase::Active, kind::PING) => {
                self.events.push_back(LearnerEvent::Ping(zxid));
                Ok(())
            }
            // Apache's leader pings from NEWLEADER on, and closes the link if what it reads first then
            // is no ACK.
            (_, kind::PING) => Ok(()),
            (_, kind::COMMIT_AND_ACTIVATE | kind::INFORM_AND_ACTIVATE) => Err(
                "the ensemble was reconfigured; restart this server with its new configuration"
                    .into(),
            ),
            _ => Err(PacketError::Unexpected(PacketName(packet.kind)).to_string()),
        }
    }

    /// DIFF: nothing is cut off, and this much is committed.
    fn keep_all(&mut self, committed: Zxid) {
        self.committed = committed;
        // The leader knows of no acknowledgement beyond it: they may have been lost.
        self.acked = committed;
        self.phase = Phase::Syncing;
    }

    /// LEADERINFO (Apache's `registerWithLeader`).
    fn epoch_chosen(
        &mut self,
        packet: &QuorumPacket<'_>,
        host: &mut dyn LearnerHost,
    ) -> Result<(), String> {
        let epoch = Zxid(packet.zxid).epoch();
        let accepted = self.summary.accepted_epoch;
        if epoch < accepted {
            return Err(format!(
                "the leader's epoch {epoch} is below {accepted}, which this server has accepted"
            ));
        }
        if epoch > EPOCH_MAX {
            return Err(format!("the leader's epoch {epoch} is none"));
        }
        let data = packet.data.unwrap_or_default();
        self.is_leader_ours = data
            .get(4..)
            .is_some_and(|rest| rest.starts_with(EXTENSION));
        self.epoch = epoch;
        // Who has accepted the epoch before may have done so for another leader: −1 does not count.
        let current: i32 = if epoch > accepted {
            host.accept_epoch(epoch).map_err(own_fault)?;
            self.summary.current_epoch as i32
        } else {
            -1
        };
        let mut data = current.to_be_bytes().to_vec();
        if self.is_leader_ours && self.config.tree_base > Zxid::ZERO {
            self.config.tree_base.0.encode(&mut data);
        }
        let zxid = self.summary.zxid;
        encode_packet(kind::ACK_EPOCH, zxid.0, Some(&data), &mut self.out);
        self.phase = Phase::EpochAcked;
        Ok(())
    }

    fn truncated(&mut self, zxid: Zxid, host: &mut dyn LearnerHost) -> Result<(), String> {
        host.truncate(zxid).map_err(|fault| match fault {
            TreeFault::Bad(reason) => reason,
            TreeFault::Host(failed) => own_fault(failed),
        })?;
        self.wants_quiet = false;
        if host.tip() != zxid && zxid.counter() != 0 {
            // The log never held that transaction. What it holds now is a part of the leader's, so
            // the next attempt brings what is missing.
            return Err(format!(
                "cut off after {zxid} as the leader asked, the log ends at {}",
                host.tip()
            ));
        }
        self.acked = host.tip();
        self.committed = host.tip();
        self.phase = Phase::Syncing;
        Ok(())
    }

    /// PROPOSAL and INFORM.
    fn transaction(
        &mut self,
        packet: &QuorumPacket<'_>,
        host: &mut dyn LearnerHost,
    ) -> Result<(), String> {
        let zxid = Zxid(packet.zxid);
        let payload = packet.data.unwrap_or_default();
        if zxid <= host.tip() {
            return Err(format!("{zxid} came after {}", host.tip()));
        }
        if mutation::is(Mutation::CommitUnlogged) && self.phase == Phase::Settled {
            return Ok(());
        }
        let appended = host.append(payload).map_err(|fault| match fault {
            AppendFault::Bad(reason) => format!("transaction {zxid} cannot be taken: {reason}"),
            AppendFault::NoRoom => "the disk is full".to_owned(),
        })?;
        if appended != zxid {
            return Err(format!("transaction {appended} came as {zxid}"));
        }
        if packet.kind == kind::INFORM {
            self.commit(zxid, host)
        } else {
            self.unacked.push_back(zxid);
            Ok(())
        }
    }

    /// COMMIT (TLA+ action `FollowerProcessCOMMIT`). A leader of ours names only the last of
    /// several.
    fn commit(&mut self, zxid: Zxid, host: &mut dyn LearnerHost) -> Result<(), String> {
        let zxid = match mutation::is(Mutation::CommitUnlogged) {
            true => zxid.min(host.tip()),
            false => zxid,
        };
        if zxid > host.tip() {
            return Err(format!("{zxid} is committed, and was never proposed"));
        }
        if zxid > self.committed {
            self.committed = zxid;
            if self.phase == Phase::Active {
                self.events.push_back(LearnerEvent::Committed(zxid));
            }
        }
        Ok(())
    }

    fn revalidated(&mut self, packet: &QuorumPacket<'_>) -> Result<(), String> {
        let mut from = Decoder::new(packet.data.unwrap_or_default());
        let session = i64::decode(&mut from).map_err(|error| error.to_string())?;
        let is_valid = bool::decode(&mut from).map_err(|error| error.to_string())?;
        self.events
            .push_back(LearnerEvent::Revalidated(SessionId(session), is_valid));
        Ok(())
    }

    /// The log is durable up to `zxid`.
    pub fn durable(&mut self, zxid: Zxid, host: &mut dyn LearnerHost) {
        let zxid = if mutation::is(Mutation::AckBeforeSync) {
            host.tip()
        } else {
            zxid
        };
        if let Phase::Settling(wanted) = self.phase
            && (zxid >= wanted || mutation::is(Mutation::AckNewLeaderEarly))
        {
            // Only now that all of the leader's log is durable may this server say so
            // (ZOOKEEPER-3911, 4643, 4646, 4785).
            if host.adopt_epoch(self.epoch).is_err() {
                self.end(OWN_FAULT.to_owned());
                return;
            }
            let new_leader = Zxid::new(self.epoch, 0);
            encode_packet(kind::ACK, new_leader.0, None, &mut self.out);
            self.phase = Phase::Settled;
            if self.is_leader_ours && !self.config.is_observer && self.acked < zxid {
                // What this server had beyond what was committed counts from now on.
                self.acked = zxid;
                encode_packet(kind::ACK, zxid.0, None, &mut self.out);
            }
        }
        if matches!(self.phase, Phase::Settled | Phase::Active) {
            self.ack(zxid);
        }
    }

    /// Acknowledges what is durable; an observer's acknowledgements are of no use to anybody.
    fn ack(&mut self, durable: Zxid) {
        let count = self.unacked.partition_point(|zxid| *zxid <= durable);
        for (index, zxid) in self.unacked.drain(..count).enumerate() {
            self.acked = zxid;
            let is_said = !self.is_leader_ours || index + 1 == count;
            if is_said && !self.config.is_observer {
                encode_packet(kind::ACK, zxid.0, None, &mut self.out);
            }
        }
    }

    /// Answers a [`LearnerEvent::Ping`] with the sessions that were heard from, and their timeouts
    /// in milliseconds.
    pub fn pong(&mut self, zxid: Zxid, sessions: impl IntoIterator<Item = (SessionId, i32)>) {
        let mut data = Vec::new();
        for (session, timeout_ms) in sessions {
            session.0.encode(&mut data);
            timeout_ms.encode(&mut data);
        }
        encode_packet(kind::PING, zxid.0, Some(&data), &mut self.out);
    }

    /// Forwards a client's request (Apache's `Learner.request`).
    pub fn request(&mut self, request: &Forwarded) {
        let mut data = Vec::with_capacity(16 + request.body.len());
        request.session.0.encode(&mut data);
        request.cxid.encode(&mut data);
        request.op.encode(&mut data);
        data.extend_from_slice(&request.body);
        let identities = &request.identities;
        encode_packet_of(kind::REQUEST, -1, Some(&data), identities, &mut self.out);
    }

    /// Asks the leader whether a session lives (Apache's `Learner.validateSession`).
    pub fn revalidate(&mut self, session: SessionId, timeout_ms: i32) {
        let mut data = session.0.to_be_bytes().to_vec();
        timeout_ms.encode(&mut data);
        encode_packet(kind::REVALIDATE, -1, Some(&data), &mut self.out);
    }

    /// Looks at timeouts.
    pub fn tick(&mut self, now_ms: u64) {
        let silent_ms = now_ms.saturating_sub(self.heard_ms);
        match self.phase {
            Phase::Ended => {}
            Phase::Active => {
                let limit_ms = if self.is_leader_ours {
                    self.config.silence_limit_ms
                } else {
                    self.config.sync_limit_ms
                };
                if silent_ms > limit_ms {
                    self.end(format!("the leader was silent for {silent_ms} ms"));
                }
            }
            // A tree may take long to come: as long as it goes on coming, it is waited for.
            Phase::Tree(_) if silent_ms <= self.config.init_limit_ms => {
                self.deadline_ms = now_ms + self.config.init_limit_ms;
            }
            _ if now_ms >= self.deadline_ms => {
                let reason = if self.awaits_quiet() {
                    "the leader's tree waited longer than initLimit for this server's own snapshot"
                } else {
                    "the leader did not bring this server up within initLimit"
                };
                self.end(reason.into());
            }
            _ => {}
        }
    }

    fn end(&mut self, reason: String) {
        self.phase = Phase::Ended;
        self.events.push_back(LearnerEvent::Ended(reason));
    }
}

/// Why a learner ends whose host has failed: the host has said more.
const OWN_FAULT: &str = "this server cannot write to its disk";

fn own_fault(HostFailed: HostFailed) -> String {
    OWN_FAULT.to_owned()
}

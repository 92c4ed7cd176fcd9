//! A learner's way from its first packet to serving clients: it introduces itself, accepts the epoch,
//! is brought up to our log, and says that it has it on disk.

use crate::jute::quorum::{LearnerInfo, QuorumPacket, kind};
use crate::jute::{Decoder, Record};
use crate::types::{LinkId, ServerId, Zxid};
use crate::zab::packet::{PacketError, PacketName, encode_packet};
use crate::zab::{EPOCH_MAX, EXTENSION, PROTOCOL_VERSION};

use super::link::Phase;
use super::plan::Plan;
use super::{HostFailed, Leader, LeaderEvent, LeaderHost};

impl Leader {
    /// FOLLOWERINFO and OBSERVERINFO (Apache's `LearnerHandler` and `getEpochToPropose`).
    pub(super) fn introduced(
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
        let (theirs, ours) = (info.config_version, self.config.ensemble.version);
        if theirs > ours {
            // It knows of members, or of a quorum, that we do not.
            let reason = format!(
                "server {server} has version {theirs:x} of the ensemble's configuration, later than \
                 ours, {ours:x}: it is refused until this server has its version too"
            );
            self.close(id, reason);
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
        if let Some(epoch) = self.discovery.epoch() {
            if is_voter && accepted_epoch > epoch {
                // It can follow nobody of an older epoch, so it would stay outside for ever.
                self.step_down(&format!(
                    "server {server} has accepted epoch {accepted_epoch}, later than {epoch}"
                ));
                return Ok(());
            }
            self.send_epoch(id);
        } else if is_voter {
            self.voter_connected(server, accepted_epoch, host);
        }
        Ok(())
    }

    /// A voter is there, we ourselves being the first.
    pub(super) fn voter_connected(
        &mut self,
        voter: ServerId,
        accepted_epoch: u32,
        host: &mut dyn LeaderHost,
    ) {
        match self.discovery.connected(voter, accepted_epoch, host) {
            Ok(false) => return,
            Ok(true) => {}
            Err(HostFailed) => return self.step_down("the accepted epoch could not be written"),
        }
        for id in self.links_in(Phase::Introduced) {
            self.send_epoch(id);
        }
        self.voter_followed(self.config.my_id, host);
    }

    fn links_in(&self, phase: Phase) -> Vec<LinkId> {
        let links = self.links.iter();
        links
            .filter(|(_, link)| link.phase == phase)
            .map(|(&id, _)| id)
            .collect()
    }

    /// The beginning of our epoch, as NEWLEADER names it.
    pub(super) fn new_leader_zxid(&self) -> Zxid {
        let epoch = self.discovery.epoch().expect("it is chosen by now");
        Zxid::new(epoch, 0)
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
    pub(super) fn epoch_acked(
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
        if let Some(bytes) = data.get(4..12).filter(|_| link.is_ours) {
            link.tree_base = Zxid(i64::from_slice(bytes)?);
        }
        link.zxid = zxid;
        link.phase = Phase::EpochAcked;
        let server = link.server.expect("it has introduced itself");
        let votes = !link.is_observer && self.config.ensemble.is_voter(server);
        if self.discovery.is_confirmed() {
            self.synchronise(id, host);
            return Ok(());
        }
        // −1 as the epoch says that the learner accepted this one before: it may have done so for
        // another leader, so it does not count. Nor does who has the zxid −1: its log was damaged.
        if current_epoch != -1 && zxid.0 != -1 && votes {
            if self.discovery.is_newer(current_epoch, zxid) {
                self.step_down(&format!(
                    "server {server} has a newer history: epoch {current_epoch}, zxid {zxid}"
                ));
                return Ok(());
            }
            self.voter_followed(server, host);
        }
        Ok(())
    }

    /// A voter has accepted our epoch, and its history is not newer.
    fn voter_followed(&mut self, voter: ServerId, host: &mut dyn LeaderHost) {
        match self.discovery.followed(voter, host) {
            Ok(false) => return,
            Ok(true) => {}
            Err(HostFailed) => return self.step_down("the current epoch could not be written"),
        }
        for id in self.links_in(Phase::EpochAcked) {
            self.synchronise(id, host);
        }
        self.count_new_leader_ack(self.config.my_id);
    }

    /// Brings a learner up to our log (Apache's `syncFollower` and `startForwarding`).
    fn synchronise(&mut self, id: LinkId, host: &mut dyn LeaderHost) {
        let (committed, new_leader) = (self.committed, self.new_leader_zxid());
        let link = self.links.get_mut(&id).expect("a link that is there");
        let plan = Plan::of(
            link,
            committed,
            new_leader.epoch(),
            &self.summary,
            &self.proposals,
            host,
        );
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
        let text = &self.config_text;
        link.send(|out| encode_packet(kind::NEW_LEADER, new_leader.0, Some(text), out));
        link.phase = Phase::Syncing;
        link.acked = committed;
        link.announced = committed;
    }

    /// A piece of the tree that a learner needs, in order. `is_last` ends it.
    pub fn tree_piece(&mut self, id: LinkId, bytes: &[u8], is_last: bool, now_ms: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            link.tree_piece(bytes, is_last, now_ms);
        }
    }

    pub(super) fn new_leader_acked(
        &mut self,
        id: LinkId,
        zxid: i64,
        now_ms: u64,
    ) -> Result<(), PacketError> {
        if zxid != self.new_leader_zxid().0 {
            return Err(PacketError::Unexpected(PacketName(kind::ACK)));
        }
        let link = self.links.get_mut(&id).expect("it was found before");
        link.phase = Phase::Synced;
        link.synced_ms = now_ms;
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
}

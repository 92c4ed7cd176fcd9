//! Time: pings and the rounds that they make, and who is silent, slow or missing.

use std::collections::BTreeSet;

use crate::jute::quorum::QuorumPacket;
use crate::jute::{Decoder, Record};
use crate::mutation::{self, Mutation};
use crate::types::{LinkId, ServerId, SessionId, Zxid};
use crate::zab::packet::PacketError;

use super::link::{self, Link, Phase};
use super::{Leader, LeaderEvent};

impl Leader {
    /// Looks at timeouts and pings. To be called every few milliseconds to tens of them.
    pub fn tick(&mut self, now_ms: u64) {
        if self.has_ended {
            return;
        }
        if !self.is_established && now_ms >= self.deadline_ms {
            self.step_down("no quorum of followers came in step within initLimit");
            return;
        }
        if self.discovery.epoch().is_none() && now_ms >= self.connect_deadline_ms {
            self.step_down("no quorum of followers has connected");
            return;
        }
        if now_ms >= self.next_ping_ms && self.discovery.epoch().is_some() {
            self.next_ping_ms = now_ms + self.config.heartbeat_ms;
            self.ping_all(now_ms);
        }
        let due = match mutation::is(Mutation::FarBehindServes) {
            true => Zxid::ZERO,
            false => self.marks.due(self.proposals.tip(), now_ms),
        };
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
                || link.acked < due && self.is_bound(link, now_ms)
            {
                late.push((id, "it cannot keep up"));
            } else if self.is_far(link, now_ms) {
                late.push((id, "its answers are late"));
            }
        }
        for (id, reason) in late {
            self.close(id, reason.to_owned());
        }
        self.check_quorum();
    }

    /// Whether a follower must have acknowledged what was proposed a `syncLimit` ago. Not before it
    /// has had as long itself: what was proposed while a tree was sent comes all at once.
    fn is_bound(&self, link: &Link, now_ms: u64) -> bool {
        link.phase == Phase::Active
            && !link.is_observer
            && now_ms.saturating_sub(link.synced_ms) > self.config.sync_limit_ms
    }

    /// Whether a follower of ours hears what was said a `syncLimit` ago, or less. When there is
    /// nothing to write, only pings tell; and if it is cut off at the next write it learns of that no
    /// sooner.
    fn is_far(&self, link: &Link, now_ms: u64) -> bool {
        link.is_ours
            && !link.is_observer
            && self.is_late(link, now_ms)
            && !mutation::is(Mutation::FarBehindServes)
    }

    /// Whether a ping was sent more than a `syncLimit` ago and is not answered yet.
    pub(super) fn is_late(&self, link: &Link, now_ms: u64) -> bool {
        let is_old = |sent_ms| now_ms.saturating_sub(sent_ms) > self.config.sync_limit_ms;
        link.oldest_ping_ms().is_some_and(is_old)
    }

    /// A leader without a quorum of followers in step leads nobody.
    pub(super) fn check_quorum(&mut self) {
        if !self.is_established || self.has_ended {
            return;
        }
        let mut servers = self.in_step();
        servers.insert(self.config.my_id);
        if !self.config.ensemble.is_quorum(&servers) {
            self.step_down("too few followers are in step");
        }
    }

    /// Whether the followers in step are a quorum without this server.
    pub fn can_be_replaced(&self) -> bool {
        self.config.ensemble.is_quorum(&self.in_step())
    }

    fn in_step(&self) -> BTreeSet<ServerId> {
        let links = self.links.values();
        links
            .filter(|link| link.phase >= Phase::Synced && !link.is_observer)
            .filter_map(|link| link.server)
            .collect()
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

    pub(super) fn pinged(
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

    /// Asks for a round of pings, whose number comes back in [`LeaderEvent::RoundConfirmed`] once a
    /// quorum has answered: nobody else can have led when it was asked for.
    pub fn ask_round(&mut self, now_ms: u64) -> u64 {
        if mutation::is(Mutation::SyncUnasked) {
            return 0;
        }
        let round = self.rounds.ask();
        if self.rounds.begin_if_idle() {
            self.ping_all(now_ms);
            self.confirm_rounds(now_ms);
        }
        round
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
}

//! What learners forward and ask on behalf of their clients, and the answers.

use std::sync::Arc;

use crate::auth::Identity;
use crate::jute::quorum::QuorumPacket;
use crate::jute::{Decoder, Record};
use crate::types::{LinkId, SessionId, Zxid};
use crate::zab::packet::{PacketError, PacketName};
use crate::zab::rejection::Rejection;

use super::link::Link;
use super::{Forwarded, Leader, LeaderEvent, ToLearner};

impl Leader {
    pub(super) fn request(
        &mut self,
        id: LinkId,
        packet: &QuorumPacket<'_>,
    ) -> Result<(), PacketError> {
        let mut from = data_of(packet)?;
        let forwarded = Forwarded {
            session: SessionId(i64::decode(&mut from)?),
            cxid: i32::decode(&mut from)?,
            op: i32::decode(&mut from)?,
            body: from.rest().into(),
            identities: self.identities_of(packet),
        };
        self.events.push_back(LeaderEvent::Request(id, forwarded));
        Ok(())
    }

    /// Clients of one host often ask one after the other, and each time say the same of themselves.
    fn identities_of(&mut self, packet: &QuorumPacket<'_>) -> Arc<[Identity]> {
        let named = packet.authinfo.iter().map(|id| (id.scheme, id.id));
        let last = self.identities.iter();
        if !last.map(|id| (&*id.scheme, &*id.id)).eq(named.clone()) {
            self.identities = named
                .map(|(scheme, id)| Identity::new(scheme, id))
                .collect();
        }
        Arc::clone(&self.identities)
    }

    /// Whether a learner takes rejections: it is one of ours.
    pub fn takes_rejections(&self, id: LinkId) -> bool {
        self.links.get(&id).is_some_and(|link| link.is_ours)
    }

    /// Tells a learner of ours that a request of its client has failed, in the order of what is proposed.
    /// It tells the client once [`ToLearner::Confirmed`] has come.
    pub fn reject(&mut self, id: LinkId, rejection: &Rejection) {
        if let Some(link) = self.links.get_mut(&id) {
            link.reject(rejection);
        }
    }

    /// Whether a learner only observes: it hears of a transaction when that is committed.
    pub fn is_observer(&self, id: LinkId) -> bool {
        self.links.get(&id).is_some_and(|link| link.is_observer)
    }

    pub(super) fn revalidate(
        &mut self,
        id: LinkId,
        packet: &QuorumPacket<'_>,
    ) -> Result<(), PacketError> {
        let mut from = data_of(packet)?;
        let session = SessionId(i64::decode(&mut from)?);
        let timeout_ms = i32::decode(&mut from)?;
        self.events
            .push_back(LeaderEvent::Revalidate(id, session, timeout_ms));
        Ok(())
    }

    /// An answer for a learner waits, which was decided when `tip` was the newest zxid: the learner
    /// hears of no later commit until [`Leader::release`], so that its clients' answers keep their
    /// order.
    pub fn hold(&mut self, id: LinkId, tip: Zxid) {
        if let Some(link) = self.links.get_mut(&id) {
            link.hold(tip);
        }
    }

    /// Whether answers wait for a learner.
    pub fn is_holding(&self, id: LinkId) -> bool {
        self.links.get(&id).is_some_and(Link::is_holding)
    }

    /// Gives a learner the oldest answer that waits.
    pub fn release(&mut self, id: LinkId, answer: &ToLearner) {
        if let Some(link) = self.links.get_mut(&id) {
            link.announce(self.committed, &self.proposals);
            link.answer(answer);
            link.release();
            link.announce(self.committed, &self.proposals);
        }
        self.trim();
    }

    /// Gives a learner an answer at once.
    pub fn answer(&mut self, id: LinkId, answer: &ToLearner) {
        if let Some(link) = self.links.get_mut(&id) {
            link.answer(answer);
        }
    }
}

/// What a packet carries, which it may not lack.
fn data_of<'a>(packet: &QuorumPacket<'a>) -> Result<Decoder<'a>, PacketError> {
    let missing = PacketError::Data(PacketName(packet.kind));
    packet.data.map(Decoder::new).ok_or(missing)
}

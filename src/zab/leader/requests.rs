//! What learners forward and ask on behalf of their clients, and the answers.

use crate::jute::quorum::{QuorumPacket, kind};
use crate::jute::{Decoder, Record};
use crate::types::{LinkId, SessionId};
use crate::zab::packet::{PacketError, PacketName, encode_packet};
use crate::zab::rejection::Rejection;

use super::{Forwarded, Leader, LeaderEvent};

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
            identities: packet.authinfo.clone(),
        };
        self.events.push_back(LeaderEvent::Request(id, forwarded));
        Ok(())
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

    /// Answers a [`LeaderEvent::Revalidate`].
    pub fn revalidated(&mut self, id: LinkId, session: SessionId, is_valid: bool) {
        if let Some(link) = self.links.get_mut(&id) {
            let mut data = session.0.to_be_bytes().to_vec();
            data.push(u8::from(is_valid));
            link.send(|out| encode_packet(kind::REVALIDATE, -1, Some(&data), out));
        }
    }
}

/// What a packet carries, which it may not lack.
fn data_of<'a>(packet: &QuorumPacket<'a>) -> Result<Decoder<'a>, PacketError> {
    let missing = PacketError::Data(PacketName(packet.kind));
    packet.data.map(Decoder::new).ok_or(missing)
}

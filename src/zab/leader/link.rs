//! One learner, as its leader sees it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::jute::Record;
use crate::jute::quorum::kind;
use crate::types::{ServerId, Zxid};
use crate::zab::packet::{PacketReader, encode_packet, move_output};
use crate::zab::proposals::Proposals;
use crate::zab::rejection::{CONFIRM, REJECT, Rejection};

use super::ToLearner;

/// Bytes that may wait to be sent to one learner; past it the learner is cut off and comes back
/// to be synchronised.
pub const QUEUED_BYTES_MAX: usize = 512 << 20;

/// Bytes of a tree that may wait to be sent to one learner. A socket's buffer holds more, so it is enough
/// to keep the link busy; what is more would have to be moved about between two log writes.
const TREE_AHEAD_BYTES: usize = 256 << 10;

/// How far a learner has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It has said nothing.
    Fresh,
    /// It has introduced itself and waits for an epoch.
    Introduced,
    /// It was told the epoch.
    EpochSent,
    /// It has accepted the epoch and waits for the election to be confirmed.
    EpochAcked,
    /// It is being brought up to our log and gets all that is proposed since.
    Syncing,
    /// It has our log.
    Synced,
    /// It serves clients.
    Active,
}

/// A link to a learner.
pub struct Link {
    pub reader: PacketReader,
    pub phase: Phase,
    pub server: Option<ServerId>,
    pub is_observer: bool,
    /// Whether it speaks the extension.
    pub is_ours: bool,
    /// Its last transaction when it came.
    pub zxid: Zxid,
    /// Before this zxid it cannot cut its history off.
    pub tree_base: Zxid,
    /// What it has on disk of our log.
    pub acked: Zxid,
    /// Up to where it was told what is committed.
    pub announced: Zxid,
    /// The tips when those answers were decided that it has yet to get.
    holds: VecDeque<Zxid>,
    /// Whether the tree is being sent; packets wait behind it.
    pub is_streaming: bool,
    pub opened_ms: u64,
    pub heard_ms: u64,
    /// When it had all of our log as of its coming.
    pub synced_ms: u64,
    /// When the newest ping that it has answered was sent.
    pub pong_sent_ms: u64,
    /// The newest round that it has answered.
    pub round_ponged: u64,
    out: Vec<u8>,
    behind_tree: Vec<u8>,
    /// Pings on their way: when they were sent, and the round that they belong to.
    pings: VecDeque<(u64, u64)>,
}

/// Pings that may be unanswered: far more than fit into any limit on silence.
const PINGS_MAX: usize = 4096;

impl Link {
    pub fn new(now_ms: u64) -> Link {
        Link {
            reader: PacketReader::default(),
            phase: Phase::Fresh,
            server: None,
            is_observer: false,
            is_ours: false,
            zxid: Zxid::ZERO,
            tree_base: Zxid::ZERO,
            acked: Zxid::ZERO,
            announced: Zxid::ZERO,
            holds: VecDeque::new(),
            is_streaming: false,
            opened_ms: now_ms,
            heard_ms: now_ms,
            synced_ms: now_ms,
            pong_sent_ms: now_ms,
            round_ponged: 0,
            out: Vec::new(),
            behind_tree: Vec::new(),
            pings: VecDeque::new(),
        }
    }

    /// Whether the peer has not said who it is.
    pub fn is_fresh(&self) -> bool {
        self.phase == Phase::Fresh
    }

    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    pub fn queued_bytes(&self) -> usize {
        self.out.len() + self.behind_tree.len()
    }

    pub fn take_output(&mut self, into: &mut Vec<u8>) {
        move_output(&mut self.out, into);
        if !self.is_streaming {
            // As it is: it may be large, and is empty as a rule.
            std::mem::swap(&mut self.out, &mut self.behind_tree);
        }
    }

    /// Whether a piece of its tree may come. What waits behind the tree does not count: it cannot
    /// leave before.
    pub fn has_tree_room(&self) -> bool {
        self.is_streaming && self.out.len() < TREE_AHEAD_BYTES
    }

    pub fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let waits = self.is_streaming || !self.behind_tree.is_empty();
        encode(match waits {
            true => &mut self.behind_tree,
            false => &mut self.out,
        });
    }

    pub fn send_proposal(&mut self, zxid: Zxid, payload: &Arc<[u8]>) {
        self.send(|out| encode_packet(kind::PROPOSAL, zxid.0, Some(payload), out));
    }

    /// A transaction that is committed already, while the learner is brought up to our log.
    pub fn send_committed(&mut self, zxid: Zxid, payload: &Arc<[u8]>) {
        self.send_proposal(zxid, payload);
        self.send(|out| encode_packet(kind::COMMIT, zxid.0, None, out));
    }

    /// Tells it what is committed, as far as it may hear. A learner of ours takes the last for all.
    pub fn announce(&mut self, committed: Zxid, proposals: &Proposals) {
        let up_to = self
            .holds
            .front()
            .map_or(committed, |tip| committed.min(*tip));
        if self.phase < Phase::Syncing || up_to <= self.announced {
            return;
        }
        let from = std::mem::replace(&mut self.announced, up_to);
        if self.is_observer {
            for (zxid, payload) in proposals.range(from, up_to) {
                self.send(|out| encode_packet(kind::INFORM, zxid.0, Some(payload), out));
            }
        } else if self.is_ours {
            self.send(|out| encode_packet(kind::COMMIT, up_to.0, None, out));
        } else {
            for (zxid, _) in proposals.range(from, up_to) {
                self.send(|out| encode_packet(kind::COMMIT, zxid.0, None, out));
            }
        }
    }

    /// Until [`Link::release`] it hears of no commit after `tip`.
    pub fn hold(&mut self, tip: Zxid) {
        self.holds.push_back(tip);
    }

    /// Whether answers wait for it.
    pub fn is_holding(&self) -> bool {
        !self.holds.is_empty()
    }

    /// It has got the oldest answer that waited.
    pub fn release(&mut self) {
        self.holds.pop_front();
    }

    /// A request of one of its clients has failed.
    pub fn reject(&mut self, rejection: &Rejection) {
        let mut data = Vec::new();
        rejection.encode(&mut data);
        let zxid = rejection.after.0;
        self.send(|out| encode_packet(REJECT, zxid, Some(&data), out));
    }

    /// Tells it what its client is to be told.
    pub fn answer(&mut self, answer: &ToLearner) {
        match answer {
            ToLearner::Synced => self.send(|out| encode_packet(kind::SYNC, 0, None, out)),
            ToLearner::Confirmed => self.send(|out| encode_packet(CONFIRM, -1, None, out)),
            ToLearner::Revalidated(session, is_valid) => {
                let mut data = Vec::new();
                session.0.encode(&mut data);
                is_valid.encode(&mut data);
                self.send(|out| encode_packet(kind::REVALIDATE, -1, Some(&data), out));
            }
        }
    }

    pub fn tree_piece(&mut self, bytes: &[u8], is_last: bool, now_ms: u64) {
        if self.is_streaming {
            self.out.extend_from_slice(bytes);
            self.is_streaming = !is_last;
            // It takes what it gets, or there were no room; it has nothing to say before the end.
            self.heard_ms = now_ms;
        }
    }

    /// Lets it serve clients.
    pub fn activate(&mut self) {
        self.send(|out| encode_packet(kind::UP_TO_DATE, -1, None, out));
        self.phase = Phase::Active;
    }

    pub fn ping(&mut self, tip: Zxid, now_ms: u64, round: u64) {
        if self.pings.len() < PINGS_MAX {
            self.pings.push_back((now_ms, round));
            self.send(|out| encode_packet(kind::PING, tip.0, None, out));
        }
    }

    /// An answer to the oldest ping; when that was sent. `None` where none was.
    pub fn ponged(&mut self) -> Option<u64> {
        let (sent_ms, round) = self.pings.pop_front()?;
        self.pong_sent_ms = sent_ms;
        self.round_ponged = self.round_ponged.max(round);
        Some(sent_ms)
    }

    /// When the oldest ping that waits for its answer was sent.
    pub fn oldest_ping_ms(&self) -> Option<u64> {
        self.pings.front().map(|&(sent_ms, _)| sent_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_behind_a_tree_does_not_hold_it_up() {
        let mut link = Link::new(0);
        assert!(!link.has_tree_room(), "none was asked for");
        link.is_streaming = true;
        let proposals = vec![1; 2 * TREE_AHEAD_BYTES];
        link.send(|out| out.extend_from_slice(&proposals));
        let piece = [2; TREE_AHEAD_BYTES / 4];
        while link.has_tree_room() {
            link.tree_piece(&piece, false, 1);
        }
        let mut sent = Vec::new();
        link.take_output(&mut sent);
        assert_eq!(sent, piece.repeat(4), "no more than may wait");

        assert!(link.has_tree_room(), "all of it is with the kernel");
        link.tree_piece(&piece, true, 2);
        assert_eq!(link.heard_ms, 2);
        assert!(!link.has_tree_room(), "it is whole");
        let later = [3; 5];
        link.send(|out| out.extend_from_slice(&later));
        sent.clear();
        link.take_output(&mut sent);
        assert_eq!(sent, piece);
        link.send(|out| out.extend_from_slice(&later));
        sent.clear();
        link.take_output(&mut sent);
        assert_eq!(sent, [&proposals[..], &later, &later].concat());
        assert!(!link.has_output());
    }
}

//! One connection, and the table of all.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::auth::{Identity, peer_identity};
use crate::exchange::ConnId;
use crate::types::{SessionId, limits};

use super::{Close, Now};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has not said yet what it is: a client or a four-letter word.
    Fresh,
    /// It sent `stmk`; the 8 bytes of the mask are still to come.
    TraceMask,
    /// It sent a four-letter word, whose answer is being gathered.
    Word,
    /// It asked for a session; the sequencer has not answered.
    Attaching,
    /// It speaks for its session.
    Open,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) enum Pending {
    /// With the sequencer.
    Write {
        xid: i32,
        op: i32,
        /// Bytes of the request.
        bytes: usize,
        /// What a reply to `sync` repeats; absent where the request could not be read.
        path: Option<Box<str>>,
    },
    /// Waits behind one that is.
    Read {
        xid: i32,
        op: i32,
        body: Box<[u8]>,
        /// Those that the connection had when the request came.
        identities: Arc<[Identity]>,
        received_us: u64,
    },
}

impl Pending {
    fn bytes(&self) -> usize {
        match self {
            Pending::Write { bytes, .. } => *bytes,
            Pending::Read { body, .. } => body.len(),
        }
    }
}

/// What the words `cons` and `stat` tell of a connection.
#[derive(Clone, Debug)]
pub(super) struct ConnStats {
    pub(super) established_wall_ms: i64,
    pub(super) packets_received: u64,
    pub(super) packets_sent: u64,
    pub(super) last_op: &'static str,
    pub(super) last_cxid: i64,
    pub(super) last_zxid: i64,
    pub(super) last_response_ms: u64,
    pub(super) last_latency_ms: u64,
    pub(super) min_latency_ms: u64,
    pub(super) max_latency_ms: u64,
    pub(super) total_latency_ms: u64,
    pub(super) responses: u64,
}

impl ConnStats {
    fn new(established_wall_ms: i64) -> ConnStats {
        ConnStats {
            established_wall_ms,
            packets_received: 0,
            packets_sent: 0,
            last_op: "NA",
            last_cxid: -1,
            last_zxid: -1,
            last_response_ms: 0,
            last_latency_ms: 0,
            min_latency_ms: u64::MAX,
            max_latency_ms: 0,
            total_latency_ms: 0,
            responses: 0,
        }
    }

    /// Forgets all but when the connection was made (Apache's `ServerCnxn.resetStats`).
    pub(super) fn reset(&mut self) {
        *self = ConnStats::new(self.established_wall_ms);
    }

    /// Notes a reply. Reserved xids do not overwrite the client's last real one.
    pub(super) fn replied(
        &mut self,
        xid: i32,
        zxid: i64,
        op: &'static str,
        now: Now,
        latency_us: u64,
    ) {
        if xid >= 0 {
            self.last_cxid = i64::from(xid);
        }
        let latency_ms = latency_us / 1000;
        self.last_zxid = zxid;
        self.last_op = op;
        self.last_response_ms = now.ms();
        self.last_latency_ms = latency_ms;
        self.min_latency_ms = self.min_latency_ms.min(latency_ms);
        self.max_latency_ms = self.max_latency_ms.max(latency_ms);
        self.total_latency_ms += latency_ms;
        self.responses += 1;
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) peer: SocketAddr,
    pub(super) state: State,
    pub(super) session: SessionId,
    /// Of the session, in milliseconds.
    pub(super) timeout_ms: i32,
    /// Whether the client sent the `readOnly` byte, and so expects one.
    pub(super) knows_read_only: bool,
    pub(super) identities: Arc<[Identity]>,
    /// Received and not taken in: the start of a frame, or what came while the connection stalls.
    pub(super) input: Vec<u8>,
    /// To be sent and not fetched by the driver.
    pub(super) output: Vec<u8>,
    /// Bytes that the driver fetched and has not reported as sent.
    pub(super) in_flight_bytes: usize,
    /// Since when a reply waits for the socket.
    pub(super) output_since_us: Option<u64>,
    /// Requests without an answer, oldest first.
    pub(super) pending: VecDeque<Pending>,
    /// Bytes of those requests.
    pub(super) pending_bytes: usize,
    /// Requests of its turn that are left: the turn begins where none was without an answer.
    pub(super) turn: usize,
    pub(super) close: Close,
    /// Whether taking requests in is put off until there is room.
    pub(super) is_stalled: bool,
    /// Whether it is in the shard's queue for room.
    pub(super) is_queued: bool,
    /// Whether the peer has sent everything.
    pub(super) is_ended: bool,
    /// Whether it is in the shard's list of dirty connections.
    pub(super) is_dirty: bool,
    /// Whether it is in the shard's list of connections heard from.
    pub(super) is_heard: bool,
    pub(super) last_heard_us: u64,
    pub(super) stats: ConnStats,
}

impl Conn {
    fn new(id: ConnId, peer: SocketAddr, now: Now) -> Conn {
        Conn {
            id,
            peer,
            state: State::Fresh,
            session: SessionId::NONE,
            timeout_ms: 0,
            knows_read_only: false,
            identities: Arc::new([peer_identity(peer.ip())]),
            input: Vec::new(),
            output: Vec::new(),
            in_flight_bytes: 0,
            output_since_us: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            turn: 0,
            close: Close::No,
            is_stalled: false,
            is_queued: false,
            is_ended: false,
            is_dirty: false,
            is_heard: false,
            last_heard_us: now.us,
            stats: ConnStats::new(now.wall_ms),
        }
    }

    /// Bytes that the client has not taken.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.output.len() + self.in_flight_bytes
    }

    /// Queues a request that cannot be answered yet.
    pub(super) fn push_pending(&mut self, pending: Pending) {
        if self.pending.is_empty() {
            self.turn = limits::CONNECTION_TURN;
        }
        self.turn = self.turn.saturating_sub(1);
        self.pending_bytes += pending.bytes();
        self.pending.push_back(pending);
    }

    /// Takes the oldest of those.
    pub(super) fn pop_pending(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.pending_bytes -= pending.bytes();
        Some(pending)
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open && self.close == Close::No
    }

    /// Whether it is not read for a reason of the server's (a full ring, requests without an
    /// answer), and not because its client leaves replies unread.
    pub(super) fn is_held_back(&self) -> bool {
        self.is_open() && self.is_stalled && self.unsent_bytes() < limits::CONNECTION_SEND_SOFT_MAX
    }

    /// Until when its client may stay silent: for twice the timeout of its session, so that a session
    /// that is known here expires before. That is a tick later than its timeout and more, and a timeout
    /// may be as short as two ticks.
    pub(super) fn silence_limit_ms(&self) -> u64 {
        let timeout_ms = u64::from(self.timeout_ms.unsigned_abs());
        self.last_heard_us / 1000 + 2 * timeout_ms
    }
}

/// The connections of a shard. An id holds the index of a slot and how often the slot was used.
#[derive(Debug, Default)]
pub(super) struct ConnTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot {
    uses: u32,
    conn: Option<Box<Conn>>,
}

impl ConnTable {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, peer: SocketAddr, now: Now) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                uses: 0,
                conn: None,
            });
            u32::try_from(self.slots.len() - 1).expect("sockets are fewer than 2^32")
        });
        let slot = &mut self.slots[index as usize];
        slot.uses += 1;
        let id = ConnId(u64::from(slot.uses) << 32 | u64::from(index));
        slot.conn = Some(Box::new(Conn::new(id, peer, now)));
        self.len += 1;
        id
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<Conn>> {
        self.get(id)?;
        let index = id.0 as u32;
        let slot = &mut self.slots[index as usize];
        self.len -= 1;
        // A slot used up is left alone: an id must never come back.
        if slot.uses < u32::MAX {
            self.free.push(index);
        }
        slot.conn.take()
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        let conn = self.slots.get(id.0 as u32 as usize)?.conn.as_deref()?;
        (conn.id == id).then_some(conn)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.slots.get_mut(id.0 as u32 as usize)?;
        let conn = conn.conn.as_deref_mut()?;
        (conn.id == id).then_some(conn)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.slots.iter().filter_map(|slot| slot.conn.as_deref())
    }

    /// Slots, used or not.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The connections in `count` slots from the slot `from` on.
    pub(super) fn slice(&self, from: usize, count: usize) -> impl Iterator<Item = &Conn> {
        let slots = self.slots.iter().skip(from).take(count);
        slots.filter_map(|slot| slot.conn.as_deref())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Conn> {
        let slots = self.slots.iter_mut();
        slots.filter_map(|slot| slot.conn.as_deref_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_comes_back() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut table = ConnTable::default();
        let first = table.insert(peer, Now::default());
        let second = table.insert(peer, Now::default());
        assert!(table.remove(first).is_some());
        assert!(table.remove(first).is_none());
        let third = table.insert(peer, Now::default());
        assert_ne!(first, third);
        assert!(table.get(first).is_none());
        assert_eq!(table.get(third).map(|conn| conn.id), Some(third));
        assert_eq!((table.len(), table.iter().count()), (2, 2));
        assert!(table.get(second).is_some());
    }
}

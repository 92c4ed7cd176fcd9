//! One core's clients: framing, request order, limits, watches, and reads from its own view.
//!
//! A [`Shard`] does no I/O and knows no clock. Whoever drives it (the runtime, a test, the
//! simulator) feeds it inputs and carries its outputs away. All calls are made from one thread.
//!
//! # Inputs
//!
//! | call | when |
//! |---|---|
//! | [`Shard::open`] | a socket was accepted; `Err` means: close it at once |
//! | [`Shard::receive`] | bytes came, cut in any way |
//! | [`Shard::received_all`] | the bytes of a turn's sockets have been received |
//! | [`Shard::end_of_input`] | the peer sent its FIN (a read of 0 bytes) |
//! | [`Shard::sent`] | bytes taken with [`Shard::take_output`] are with the kernel |
//! | [`Shard::closed`] | the socket is closed, for whatever reason; the last call for a connection |
//! | [`Shard::publish`] | the sequencer published a batch |
//! | [`Shard::admin_answer`] | the answer to an [`AdminQuery`] is ready |
//! | [`Shard::heard`] | all that the sockets held at `as_of_ms` has been received |
//! | [`Shard::tick`] | every 100 to 1,000 ms |
//!
//! # Outputs
//!
//! After any input, and in any order:
//! - [`Shard::drain_to_sequencer`] hands out messages until the ring is full; what does not fit
//!   stays, and the shard stops taking requests in before its own queue grows past its bound;
//! - [`Shard::take_dirty`] names the connections about which there is something new: bytes to
//!   send, a changed wish to read, a wish to close. Ask each for [`Shard::status`] and
//!   [`Shard::take_output`];
//! - [`Shard::take_admin_query`] gives the four-letter words that need all shards: for each one
//!   call [`Shard::report`] with the word on every shard, put the reports into an
//!   [`crate::admin::Status`], and give the text of [`crate::admin::answer`] to
//!   [`Shard::admin_answer`] of the shard that asked.
//!
//! # Driving one connection
//!
//! ```text
//! reader: while status(conn).wants_read { read socket; receive(conn, bytes) }    0 bytes: end_of_input(conn)
//! writer: take_output(conn, &mut buffer); write all of buffer; sent(conn, buffer.len()); buffer.clear()
//! both:   status(conn).close == Now                 close the socket without more ado
//!         status(conn).close == AfterFlush          close it once there is nothing left to write
//!         then closed(conn)
//! ```
//! A connection that wants no reading is to be left unread, so that TCP slows its client.
//! `take_output` may be called while an earlier buffer is still being written, but buffers must
//! reach the socket in order.
//!
//! # Order
//!
//! Replies leave in the order of the requests. A request that the sequencer must decide waits for
//! its [`crate::exchange::Answer`]; what the same connection sent after it waits behind it and is
//! served as of the zxid of that answer. While no answer is awaited, reads are answered at once, as of the
//! shard's view. [`Shard::publish`] walks a batch item by item: watch events of the item's
//! changes, then its answer, then the reads that waited behind it.

//! # What the sequencer owes
//!
//! Every [`ToSequencer::Request`], `OpenSession` and `ReattachSession` gets exactly one answer, and
//! the requests of one connection get theirs in order. That holds too for a connection that has
//! closed since.

mod config;
mod conn;
mod input;
mod publish;
mod read;
mod reply;
mod report;
mod request;

pub use config::{ShardConfig, Shared};
pub use input::LogLimit;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::admin::Word;
use crate::exchange::{ConnId, Origin, ShardId, ToSequencer};
use crate::metrics::ShardMetrics;
use crate::tree::View;
use crate::types::{SessionId, Zxid, limits};
use crate::watch::Watches;

use conn::{Conn, ConnTable, State};

/// How long a connection that is to close may take to read what was left for it, in milliseconds.
const LINGER_MS: u64 = 10_000;

/// Slots of the table of connections that one tick looks through for silent ones: few enough that
/// nobody waits for it, and 50,000 idle connections are still through within seconds.
const SILENT_SLICE: usize = 1024;

/// A point in time, as the driver's clocks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// The server's monotonic clock, in microseconds.
    pub us: u64,
    /// Wall-clock time, in milliseconds since the epoch; only shown, never computed with.
    pub wall_ms: i64,
}

impl Now {
    /// The monotonic clock in milliseconds.
    pub fn ms(self) -> u64 {
        self.us / 1000
    }
}

/// Why a new connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address has as many connections as `maxClientCnxns` allows.
    #[error("too many connections from this address (maxClientCnxns={0})")]
    TooManyFromAddress(usize),
    /// The server has as many connections as `maxCnxns` allows.
    #[error("too many connections (maxCnxns={0})")]
    TooMany(usize),
}

/// What the driver has to know of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnStatus {
    /// Whether the socket is to be read.
    pub wants_read: bool,
    /// Whether there are bytes for [`Shard::take_output`].
    pub has_output: bool,
    /// Whether the socket is to be closed.
    pub close: Close,
}

/// Whether a socket is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Close {
    /// No.
    #[default]
    No,
    /// Once all output is written.
    AfterFlush,
    /// At once; output is lost. Also what `status` says of a connection that it does not know.
    Now,
}

/// A four-letter word that one shard alone cannot answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminQuery {
    /// What was asked.
    pub word: Word,
    /// Who asked: pass it back to [`Shard::admin_answer`].
    pub conn: ConnId,
}

/// Bytes that a buffer of a connection keeps allocated while it is empty: a client that once read a
/// large node must not hold its memory for ever.
const IDLE_BUFFER_MAX: usize = 64 << 10;

/// One core's clients.
pub struct Shard {
    config: Arc<ShardConfig>,
    shared: Arc<Shared>,
    metrics: Arc<ShardMetrics>,
    id: ShardId,
    view: View,
    /// Whether clients are served. A member of an ensemble does so only in step with a leader.
    is_serving: bool,
    /// Whether only those clients are served that make do with reading. The sequencer sees to it
    /// that they do.
    is_read_only: bool,
    /// Requests of ours that are with the sequencer.
    outstanding: usize,
    conns: ConnTable,
    watches: Watches,
    /// Messages that the driver has not handed on. Bounded: connections stall when it is full.
    outbox: VecDeque<ToSequencer>,
    /// A report of sessions that the driver has not handed on: until when, and who.
    heard_report: Option<(u64, Vec<SessionId>)>,
    /// Connections heard from since the last report, and their sessions.
    heard: Vec<(ConnId, SessionId)>,
    /// Until when all that the sockets held has been received.
    heard_up_to_ms: u64,
    /// The slot at which the search for silent connections goes on.
    silent_from: usize,
    dirty: Vec<ConnId>,
    /// Connections that wait for room, in the order in which they may go on.
    stalled: VecDeque<ConnId>,
    /// When connections came, as long as they may be without a session: in order of time.
    fresh: VecDeque<(ConnId, u64)>,
    /// Since when connections are closing: in order of time.
    closing: VecDeque<(ConnId, u64)>,
    admin_queries: VecDeque<AdminQuery>,
    malformed_log: input::LogLimit,
    /// The driver's time at the last input.
    now: Now,
}

impl Shard {
    /// A shard without clients. `view` is its own; `shared` is the same for all shards of a
    /// server; `metrics` is this shard's, and others may read it.
    pub fn new(
        config: Arc<ShardConfig>,
        shared: Arc<Shared>,
        metrics: Arc<ShardMetrics>,
        id: ShardId,
        view: View,
    ) -> Shard {
        Shard {
            config,
            shared,
            metrics,
            id,
            view,
            is_serving: true,
            is_read_only: false,
            outstanding: 0,
            conns: ConnTable::default(),
            watches: Watches::new(),
            outbox: VecDeque::new(),
            heard_report: None,
            heard: Vec::new(),
            heard_up_to_ms: 0,
            silent_from: 0,
            dirty: Vec::new(),
            stalled: VecDeque::new(),
            fresh: VecDeque::new(),
            closing: VecDeque::new(),
            admin_queries: VecDeque::new(),
            malformed_log: input::LogLimit::default(),
            now: Now::default(),
        }
    }

    /// Serves clients from now on, from this view. Those are welcome that have seen up to `seen`,
    /// and with `is_read_only` only those who make do with reading.
    pub fn begin(&mut self, view: View, seen: Zxid, is_read_only: bool, now: Now) {
        self.now = now;
        self.view = view;
        self.is_read_only = is_read_only;
        self.shared.publish(seen);
        self.is_serving = true;
    }

    /// Serves nobody until [`Shard::begin`]: all clients are disconnected, and what they asked
    /// for is forgotten. `view` takes the place of the one that was served.
    pub fn retire(&mut self, view: View, now: Now) {
        self.now = now;
        self.is_serving = false;
        let all: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|conn| conn.state != State::Word)
            .map(|conn| conn.id)
            .collect();
        for conn in all {
            self.close(conn, Close::Now);
            self.watches.remove_connection(conn);
        }
        self.outbox.clear();
        for _ in 0..std::mem::take(&mut self.outstanding) {
            self.shared.request_answered();
        }
        self.view = view;
    }

    /// Takes a new connection in. `peer` is the client's address.
    pub fn open(&mut self, peer: SocketAddr, now: Now) -> Result<ConnId, Refused> {
        self.now = now;
        // An IPv4 client of a socket for both families counts and shows as what it is.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if let Err(refused) = self.shared.connect(peer.ip(), &self.config) {
            self.metrics.connections_rejected.increment();
            return Err(refused);
        }
        let conn = self.conns.insert(peer, now);
        self.fresh.push_back((conn, now.ms()));
        Ok(conn)
    }

    /// The socket is gone: forgets the connection and its watches. Its session lives on.
    pub fn closed(&mut self, conn: ConnId) {
        if let Some(conn) = self.conns.remove(conn) {
            self.shared.disconnect(conn.peer.ip());
            self.watches.remove_connection(conn.id);
            tracing::debug!(peer = %conn.peer, session = %conn.session, "connection closed");
        }
    }

    /// Checks timeouts, and lets connections go on that waited for room.
    pub fn tick(&mut self, now: Now) {
        self.now = now;
        while let Some(&(conn, since_ms)) = self.fresh.front() {
            if since_ms + self.config.sessionless_timeout_ms > now.ms() {
                break;
            }
            self.fresh.pop_front();
            let state = self.conns.get(conn).map(|conn| conn.state);
            if matches!(state, Some(State::Fresh | State::TraceMask)) {
                self.metrics.sessionless_expired.increment();
                self.close(conn, Close::Now);
            }
        }
        while let Some(&(conn, since_ms)) = self.closing.front() {
            if since_ms + LINGER_MS > now.ms() {
                break;
            }
            self.closing.pop_front();
            self.close(conn, Close::Now);
        }
        self.close_silent();
        self.resume();
    }

    /// Closes connections that were silent for much longer than their session lives. Where this
    /// server knows of a session's end it has closed its connection by then; left are those whose
    /// client was lost without a FIN and whose session lives on at another member.
    ///
    /// The measure is not the clock but until when [`Shard::heard`] was told that all has been
    /// received, so a server that was stopped for a while closes nobody for it; and there it counts
    /// those as heard from whom the shard keeps waiting.
    fn close_silent(&mut self) {
        let heard_up_to_ms = self.heard_up_to_ms;
        let silent: Vec<ConnId> = self
            .conns
            .slice(self.silent_from, SILENT_SLICE)
            .filter(|conn| conn.is_open() && conn.pending.is_empty())
            .filter(|conn| conn.silence_limit_ms() < heard_up_to_ms)
            .map(|conn| conn.id)
            .collect();
        self.silent_from += SILENT_SLICE;
        if self.silent_from >= self.conns.slots() {
            self.silent_from = 0;
        }
        for id in silent {
            if let Some(conn) = self.conns.get(id) {
                tracing::info!(peer = %conn.peer, session = %conn.session, "closing a silent connection");
            }
            // The reference counts these here, too.
            self.metrics.sessionless_expired.increment();
            self.close(id, Close::Now);
        }
    }

    /// Queues a [`ToSequencer::Heard`] with the sessions heard from since the last one. The driver
    /// notes the time `as_of_ms`, then receives all that its sockets hold, then calls this.
    ///
    /// Clients that the shard itself keeps waiting count as heard from: their pings may lie unread,
    /// and it is not they who are late.
    pub fn heard(&mut self, as_of_ms: u64) {
        for index in 0..self.stalled.len() {
            let conn = self.stalled[index];
            if self.conns.get(conn).is_some_and(Conn::is_held_back) {
                self.note_heard(conn);
            }
        }
        self.heard_up_to_ms = as_of_ms;
        let is_waiting = self.heard_report.is_some();
        let (until, sessions) = self.heard_report.get_or_insert_default();
        *until = as_of_ms;
        for (conn, session) in self.heard.drain(..) {
            sessions.push(session);
            if let Some(conn) = self.conns.get_mut(conn) {
                conn.is_heard = false;
            }
        }
        if is_waiting {
            // The ring is full, and who waits for it is heard from again each time.
            sessions.sort_unstable();
            sessions.dedup();
        }
    }

    /// How many messages [`Shard::drain_to_sequencer`] has to hand out.
    pub fn messages(&self) -> usize {
        usize::from(self.heard_report.is_some()) + self.outbox.len()
    }

    /// Hands out messages in order until there are none, or until `send` gives one back (its ring
    /// is full); that one stays first in the queue.
    pub fn drain_to_sequencer(
        &mut self,
        mut send: impl FnMut(ToSequencer) -> Result<(), ToSequencer>,
    ) {
        if let Some((as_of_ms, sessions)) = self.heard_report.take() {
            let report = ToSequencer::Heard {
                shard: self.id,
                as_of_ms,
                sessions,
            };
            if let Err(ToSequencer::Heard { sessions, .. }) = send(report) {
                self.heard_report = Some((as_of_ms, sessions));
                return;
            }
        }
        while let Some(message) = self.outbox.pop_front() {
            let received_us = message.received_us();
            if let Err(message) = send(message) {
                self.outbox.push_front(message);
                return;
            }
            if let Some(since_us) = received_us {
                let waited_us = self.now.us.saturating_sub(since_us);
                self.metrics.stages.handed.record(waited_us);
            }
        }
    }

    /// Moves the connections whose [`ConnStatus`] may have changed into `into`, each once.
    pub fn take_dirty(&mut self, into: &mut Vec<ConnId>) {
        for &conn in &self.dirty {
            if let Some(conn) = self.conns.get_mut(conn) {
                conn.is_dirty = false;
            }
        }
        into.append(&mut self.dirty);
    }

    /// What to do with a connection.
    pub fn status(&self, conn: ConnId) -> ConnStatus {
        self.conns.get(conn).map_or(
            ConnStatus {
                wants_read: false,
                has_output: false,
                close: Close::Now,
            },
            |conn| ConnStatus {
                wants_read: conn.close == Close::No && !conn.is_stalled && !conn.is_ended,
                has_output: !conn.output.is_empty(),
                close: conn.close,
            },
        )
    }

    /// Appends the bytes to send to `into` (by swapping, when `into` is empty). They count as
    /// unsent until [`Shard::sent`] says so.
    pub fn take_output(&mut self, conn: ConnId, into: &mut Vec<u8>) {
        let Some(conn) = self.conns.get_mut(conn) else {
            return;
        };
        conn.in_flight_bytes += conn.output.len();
        if into.is_empty() {
            std::mem::swap(into, &mut conn.output);
        } else {
            into.append(&mut conn.output);
        }
        if conn.output.capacity() > IDLE_BUFFER_MAX {
            conn.output = Vec::new();
        }
    }

    /// All that a turn's sockets brought in has been received, `elapsed_us` after the first of it was.
    pub fn received_all(&mut self, elapsed_us: u64) {
        self.metrics.stages.receive.record(elapsed_us);
    }

    /// So many bytes of a connection's output have been handed to the kernel.
    pub fn sent(&mut self, conn: ConnId, bytes: usize, now: Now) {
        self.now = now;
        let Some(found) = self.conns.get_mut(conn) else {
            return;
        };
        debug_assert!(bytes <= found.in_flight_bytes, "sent what was taken");
        found.in_flight_bytes = found.in_flight_bytes.saturating_sub(bytes);
        if let Some(since_us) = found.output_since_us.take() {
            let waited_us = now.us.saturating_sub(since_us);
            self.metrics.stages.output.record(waited_us);
        }
        self.serve_guarded(conn, |shard| {
            shard.serve_waiting(conn, shard.view.zxid(), false);
            shard.resume_one(conn);
        });
    }

    /// The next four-letter word that needs the whole server.
    pub fn take_admin_query(&mut self) -> Option<AdminQuery> {
        self.admin_queries.pop_front()
    }

    /// Sends the answer to an [`AdminQuery`] and closes the connection.
    pub fn admin_answer(&mut self, conn: ConnId, text: &str) {
        if let Some(found) = self.conns.get_mut(conn) {
            found.output.extend_from_slice(text.as_bytes());
            self.close(conn, Close::AfterFlush);
        }
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Asks every connection to close, once it has what was already answered: the server is
    /// shutting down.
    pub fn close_all(&mut self) {
        let all: Vec<ConnId> = self.conns.iter().map(|conn| conn.id).collect();
        for conn in all {
            self.close(conn, Close::AfterFlush);
        }
    }

    /// Has a connection closed. What `Close::Now` decided, nothing takes back.
    fn close(&mut self, conn: ConnId, how: Close) {
        let Some(found) = self.conns.get_mut(conn) else {
            return;
        };
        match (found.close, how) {
            (Close::Now, _) | (Close::AfterFlush, Close::AfterFlush) => return,
            _ => found.close = how,
        }
        found.input = Vec::new();
        found.pending = VecDeque::new();
        found.pending_bytes = 0;
        if how == Close::AfterFlush {
            self.closing.push_back((conn, self.now.ms()));
        }
        mark_dirty(&mut self.dirty, found);
    }

    fn origin(&self, conn: ConnId) -> Origin {
        Origin {
            shard: self.id,
            conn,
        }
    }

    /// Whether a connection may take another request in. Beyond the limit for all clients together
    /// they take turns of several requests: clients that pipeline would otherwise be answered one
    /// request at a time, each with a system call or two on both sides.
    fn has_room(&self, conn: &Conn) -> bool {
        conn.state != State::Attaching
            && conn.pending.len() < limits::CONNECTION_PIPELINE_MAX
            && (conn.pending.is_empty()
                || conn.pending_bytes < limits::CONNECTION_PENDING_BYTES_MAX)
            && conn.unsent_bytes() < limits::CONNECTION_SEND_SOFT_MAX
            && self.outbox.len() < limits::SHARD_RING_LEN
            && (conn.pending.is_empty()
                || conn.turn > 0
                || self.shared.outstanding() <= self.config.global_outstanding_limit)
    }

    /// Lets the connections go on that waited for room and have it now.
    fn resume(&mut self) {
        for _ in 0..self.stalled.len() {
            let Some(conn) = self.stalled.pop_front() else {
                return;
            };
            if let Some(found) = self.conns.get_mut(conn) {
                found.is_queued = false;
                self.serve_guarded(conn, |shard| {
                    shard.resume_one(conn);
                    shard.queue_if_stalled(conn);
                });
            }
        }
    }

    /// Does something on behalf of one connection. A bug that makes it panic costs that connection
    /// and not the server: what was half done is the connection's own (its output, its queue, its
    /// watches) and goes with it, or counters. A close is agreed before anything else can look.
    ///
    /// Not guarded is what concerns many connections at once, as finding out who watches a node:
    /// were it cut short, some would miss an event without knowing. A panic there ends the server,
    /// and every client comes back and asks for what it missed.
    fn serve_guarded(&mut self, conn: ConnId, serve: impl FnOnce(&mut Shard)) {
        if catch_unwind(AssertUnwindSafe(|| serve(self))).is_err() {
            let found = self.conns.get(conn);
            let peer = found.map(|conn| conn.peer);
            let session = found.map(|conn| conn.session);
            tracing::error!(
                ?peer,
                ?session,
                "serving a connection panicked; it is closed"
            );
            self.close(conn, Close::Now);
        }
    }

    fn resume_one(&mut self, conn: ConnId) {
        let Some(found) = self.conns.get(conn) else {
            return;
        };
        if found.is_stalled && found.close == Close::No && self.has_room(found) {
            let found = self.conns.get_mut(conn).expect("it was found above");
            found.is_stalled = false;
            mark_dirty(&mut self.dirty, found);
            self.take_in(conn, &[]);
        }
    }

    /// Puts a connection into the queue for room, where it is at most once.
    fn queue_if_stalled(&mut self, conn: ConnId) {
        if let Some(found) = self.conns.get_mut(conn)
            && found.is_stalled
            && !found.is_queued
            && found.close == Close::No
        {
            found.is_queued = true;
            self.stalled.push_back(conn);
        }
    }
}

fn mark_dirty(dirty: &mut Vec<ConnId>, conn: &mut Conn) {
    if !conn.is_dirty {
        conn.is_dirty = true;
        dirty.push(conn.id);
    }
}

#[cfg(test)]
mod tests;

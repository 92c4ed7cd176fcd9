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

use std::net::SocketAddr;
use std::sync::Arc;

use crate::admin::{ShardReport, Word};
use crate::exchange::{Batch, ConnId, ShardId, ToSequencer};
use crate::metrics::ShardMetrics;
use crate::tree::View;

mod config;

pub use config::{ShardConfig, Shared};

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

/// A four-letter word that cannot be answered from one shard alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminQuery {
    /// What was asked.
    pub word: Word,
    /// Who asked: pass it back to [`Shard::admin_answer`].
    pub conn: ConnId,
}

/// One core's clients.
pub struct Shard {}

impl Shard {
    /// A shard without clients. `view` is its own; `shared` is the same for all shards of a
    /// server; `metrics` is this shard's, and others may read it.
    pub fn new(
        _config: Arc<ShardConfig>,
        _shared: Arc<Shared>,
        _metrics: Arc<ShardMetrics>,
        _id: ShardId,
        _view: View,
    ) -> Shard {
        todo!()
    }

    /// Takes a new connection in. `peer` is the client's address.
    pub fn open(&mut self, _peer: SocketAddr, _now: Now) -> Result<ConnId, Refused> {
        todo!()
    }

    /// Takes bytes in that came from a connection, cut in any way. May be called although the
    /// connection wants no reading (a read was already under way): the bytes are kept.
    pub fn receive(&mut self, _conn: ConnId, _bytes: &[u8], _now: Now) {
        todo!()
    }

    /// The peer will send nothing more. A connection that still has a four-letter word's answer to
    /// get, or output before an agreed close, goes on to that; any other is to be closed.
    pub fn end_of_input(&mut self, _conn: ConnId, _now: Now) {
        todo!()
    }

    /// The socket is gone: forgets the connection and its watches. Its session lives on.
    pub fn closed(&mut self, _conn: ConnId) {
        todo!()
    }

    /// Walks a batch that the sequencer published, then advances the view.
    pub fn publish(&mut self, _batch: &Batch, _now: Now) {
        todo!()
    }

    /// Checks timeouts, and lets connections go on that waited for room.
    pub fn tick(&mut self, _now: Now) {
        todo!()
    }

    /// Queues a [`ToSequencer::Heard`] with the sessions heard from since the last one. The driver
    /// notes the time `as_of_ms`, then receives all that its sockets hold, then calls this.
    pub fn heard(&mut self, _as_of_ms: u64) {
        todo!()
    }

    /// Hands out messages in order until there are none, or until `send` gives one back (its ring
    /// is full); that one stays first in the queue.
    pub fn drain_to_sequencer(
        &mut self,
        _send: impl FnMut(ToSequencer) -> Result<(), ToSequencer>,
    ) {
        todo!()
    }

    /// Moves the connections whose [`ConnStatus`] may have changed into `into`, each once.
    pub fn take_dirty(&mut self, _into: &mut Vec<ConnId>) {
        todo!()
    }

    /// What to do with a connection.
    pub fn status(&self, _conn: ConnId) -> ConnStatus {
        todo!()
    }

    /// Appends the bytes to send to `into` (usually by swapping, when `into` is empty). They count
    /// as unsent until [`Shard::sent`] says so.
    pub fn take_output(&mut self, _conn: ConnId, _into: &mut Vec<u8>) {
        todo!()
    }

    /// So many bytes of a connection's output have been handed to the kernel.
    pub fn sent(&mut self, _conn: ConnId, _bytes: usize, _now: Now) {
        todo!()
    }

    /// The next four-letter word that needs the whole server.
    pub fn take_admin_query(&mut self) -> Option<AdminQuery> {
        todo!()
    }

    /// Sends the answer to an [`AdminQuery`] and closes the connection.
    pub fn admin_answer(&mut self, _conn: ConnId, _text: &str) {
        todo!()
    }

    /// This shard's part of the answer to a word; for `crst` and `srst`, does its part of the
    /// reset.
    pub fn report(&mut self, _word: Word, _now: Now) -> ShardReport {
        todo!()
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        todo!()
    }

    /// Asks every connection to close: the server is shutting down.
    pub fn close_all(&mut self) {
        todo!()
    }
}

//! Drives one [`Shard`] on one executor: sockets in and out, the sequencer's batches in, messages
//! to the sequencer out.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::exchange::{Batch, ConnId, ShardId, ToSequencer};
use crate::rt::clock::{self, Monotonic};
use crate::rt::executor::{self, Notify};
use crate::rt::mailbox::{Sender, UnboundReceiver};
use crate::rt::net::{Connection, Listener, UnboundListener};
use crate::rt::pulse::Pulse;
use crate::shard::{AdminQuery, Close, LogLimit, Now, Shard};

use crate::tree::View;
use crate::types::Zxid;

use super::gather::{Gather, Gatherers};

/// What reaches a shard from other threads.
pub enum ToShard {
    /// A stretch of the history.
    Batch(Arc<Batch>),
    /// Clients are served from now on, from this view.
    Serve {
        /// What clients see.
        view: Box<View>,
        /// The newest zxid that a client can have seen.
        seen: Zxid,
        /// Whether only those are welcome who make do with reading.
        is_read_only: bool,
    },
    /// Nobody is served until then.
    Retire {
        /// What takes the place of the view that was served.
        view: Box<View>,
    },
    /// Somebody asks for this shard's part of an answer.
    Report(Arc<Gather>),
    /// An answer that this shard asked for is complete.
    Gathered(Arc<Gather>),
    /// The server stops.
    Stop,
}

/// Everything that a shard's loop is made from; may be sent to its thread.
pub struct ShardParts {
    /// Its number.
    pub id: ShardId,
    /// The logic.
    pub shard: Shard,
    /// Its socket.
    pub listener: UnboundListener,
    /// Its inbox.
    pub inbox: UnboundReceiver<ToShard>,
    /// The ring to the sequencer.
    pub to_sequencer: Sender<ToSequencer>,
    /// Those who contribute to the answers of four-letter words.
    pub gatherers: Gatherers,
    /// The server's clock.
    pub clock: Monotonic,
    /// Shows that the shard lives.
    pub pulse: Arc<Pulse>,
    /// How often the sequencer is told who was heard from.
    pub heard_interval: Duration,
}

/// Bytes read from a socket at once; one buffer serves all connections of a shard.
const READ_BUFFER_BYTES: usize = 256 << 10;

/// How often a shard looks at its timeouts.
const TICK: Duration = Duration::from_millis(100);

/// How long to wait before a full ring to the sequencer is tried again.
const RING_RETRY: Duration = Duration::from_millis(1);

/// How long to wait before a full inbox is asked again for a part of an answer, and how often: for
/// less time than those who ask by script wait.
const GATHER_RETRY: Duration = Duration::from_millis(5);
const GATHER_RETRIES: u32 = 400;

/// How long to wait before accepting again after an error such as "too many open files".
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Messages taken from the inbox before sockets have their turn.
const INBOX_BURST: usize = 64;

/// How long sockets have their turn before a report of who was heard from, and how often that is
/// repeated at most while they bring something in.
const HEARD_SETTLE: Duration = Duration::from_millis(5);
const HEARD_SETTLE_ROUNDS: u32 = 20;

/// Messages that leave for the sequencer at once: enough for a log write of their own.
const MESSAGES_BATCH: usize = 32;

/// Reads of a connection that always has more before the others have their turn.
const READS_BURST: u32 = 16;

/// How long connections may take to close when the server stops.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

struct Client {
    socket: Connection,
    /// Output that the socket did not take yet.
    unsent: RefCell<Vec<u8>>,
    /// Whether a task is busy sending `unsent`.
    sending: Cell<bool>,
    /// Raised when the shard wants to read again, or the connection closes.
    resume: Notify,
    /// The socket is shut; its reader is about to forget it.
    closing: Cell<bool>,
}

struct ShardLoop {
    id: ShardId,
    shard: RefCell<Shard>,
    clients: RefCell<HashMap<ConnId, Rc<Client>>>,
    to_sequencer: Sender<ToSequencer>,
    gatherers: Gatherers,
    clock: Monotonic,
    pulse: Arc<Pulse>,
    read_buffer: RefCell<Vec<u8>>,
    dirty: RefCell<Vec<ConnId>>,
    /// Raised when there are messages for the sequencer.
    outgoing: Notify,
    ring_retry_armed: Cell<bool>,
    /// For connections that are not taken.
    refusal_log: RefCell<LogLimit>,
    /// Set whenever a socket brings something in.
    has_received: Cell<bool>,
    stopping: Cell<bool>,
}

/// Runs a shard until it is told to stop.
pub async fn run(parts: ShardParts) -> io::Result<()> {
    let ShardParts {
        id,
        shard,
        listener,
        inbox,
        to_sequencer,
        gatherers,
        clock,
        pulse,
        heard_interval,
    } = parts;
    let inbox = inbox.bind();
    let this = Rc::new(ShardLoop {
        id,
        shard: RefCell::new(shard),
        clients: RefCell::default(),
        to_sequencer,
        gatherers,
        clock,
        pulse,
        read_buffer: RefCell::new(vec![0; READ_BUFFER_BYTES]),
        dirty: RefCell::default(),
        outgoing: Notify::default(),
        ring_retry_armed: Cell::new(false),
        refusal_log: RefCell::default(),
        has_received: Cell::new(false),
        stopping: Cell::new(false),
    });
    executor::spawn_local(Rc::clone(&this).accept_all(listener.bind()));
    executor::spawn_local(Rc::clone(&this).send_messages());
    executor::spawn_local(Rc::clone(&this).tick());
    executor::spawn_local(Rc::clone(&this).report_heard(heard_interval));
    while !this.stopping.get() {
        let mut message = Some(inbox.receive().await?);
        let mut taken = 0;
        while let Some(next) = message {
            this.take(next);
            taken += 1;
            message = if taken < INBOX_BURST {
                inbox.try_receive()
            } else {
                None
            };
        }
        this.flush();
        if taken == INBOX_BURST {
            executor::breathe().await;
        }
    }
    Rc::clone(&this).stop().await;
    this.pulse.end();
    Ok(())
}

impl ShardLoop {
    fn now(&self) -> Now {
        Now {
            us: self.clock.now_us(),
            wall_ms: clock::wall_ms(),
        }
    }

    fn take(&self, message: ToShard) {
        match message {
            ToShard::Batch(batch) => self.shard.borrow_mut().publish(&batch, self.now()),
            ToShard::Serve {
                view,
                seen,
                is_read_only,
            } => {
                let mut shard = self.shard.borrow_mut();
                shard.begin(*view, seen, is_read_only, self.now());
            }
            ToShard::Retire { view } => self.shard.borrow_mut().retire(*view, self.now()),
            ToShard::Report(gather) => {
                let report = self.shard.borrow_mut().report(gather.word, self.now());
                self.gatherers.add_shard(&gather, report);
            }
            ToShard::Gathered(gather) => self.answer_word(&gather),
            ToShard::Stop => self.stopping.set(true),
        }
    }

    /// Asks all shards and the sequencer for their parts of an answer; those whose inbox is full
    /// again and again, for a while.
    fn gather(self: &Rc<Self>, query: AdminQuery) {
        let mut asking = self.gatherers.start(self.id, query);
        if self.gatherers.ask(&mut asking) {
            return;
        }
        let this = Rc::clone(self);
        executor::spawn_local(async move {
            for _ in 0..GATHER_RETRIES {
                executor::sleep(GATHER_RETRY).await;
                if this.gatherers.ask(&mut asking) {
                    return;
                }
            }
            tracing::warn!("the answer to a four-letter word is not whole: a thread is overloaded");
            this.gatherers.leave_out_unasked(asking);
        });
    }

    fn answer_word(&self, gather: &Gather) {
        let text = self.gatherers.answer(gather);
        self.shard.borrow_mut().admin_answer(gather.conn, &text);
    }

    async fn accept_all(self: Rc<Self>, listener: Listener) {
        while !self.stopping.get() {
            match listener.accept().await {
                Ok(socket) => self.open(socket),
                Err(error) => {
                    if let Some(suppressed) = self.refusal_log.borrow_mut().admit(self.now()) {
                        tracing::warn!(%error, suppressed, "cannot accept a connection");
                    }
                    executor::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn open(self: &Rc<Self>, socket: Connection) {
        let peer = socket.peer();
        let opened = self.shard.borrow_mut().open(peer, self.now());
        match opened {
            Ok(conn) => {
                let client = Rc::new(Client {
                    socket,
                    unsent: RefCell::default(),
                    sending: Cell::new(false),
                    resume: Notify::default(),
                    closing: Cell::new(false),
                });
                self.clients.borrow_mut().insert(conn, Rc::clone(&client));
                executor::spawn_local(Rc::clone(self).serve(conn, client));
            }
            Err(refused) => {
                if let Some(suppressed) = self.refusal_log.borrow_mut().admit(self.now()) {
                    tracing::warn!(%peer, suppressed, "refusing a connection: {refused}");
                }
            }
        }
    }

    /// Reads one connection to its end.
    async fn serve(self: Rc<Self>, conn: ConnId, client: Rc<Client>) {
        let mut reads_without_wait = 0;
        while !client.closing.get() {
            if !self.shard.borrow().status(conn).wants_read {
                client.resume.raised().await;
                continue;
            }
            let read = client
                .socket
                .read(&self.read_buffer, |bytes| self.receive(conn, bytes))
                .await;
            match read {
                Ok(received) if received.bytes > 0 => {
                    reads_without_wait = if received.waited {
                        0
                    } else {
                        reads_without_wait + 1
                    };
                }
                Ok(_) => self.input_ended(conn, &client).await,
                Err(_) => break,
            }
            if reads_without_wait == READS_BURST {
                reads_without_wait = 0;
                executor::breathe().await;
            }
        }
        client.socket.shut();
        self.shard.borrow_mut().closed(conn);
        self.clients.borrow_mut().remove(&conn);
        self.flush();
    }

    fn receive(self: &Rc<Self>, conn: ConnId, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.has_received.set(true);
        let now = self.now();
        self.shard.borrow_mut().receive(conn, bytes, now);
        self.flush();
    }

    /// The peer has ended its side: what is left to do is to send, until the connection closes.
    async fn input_ended(self: &Rc<Self>, conn: ConnId, client: &Client) {
        self.shard.borrow_mut().end_of_input(conn, self.now());
        self.flush();
        while !client.closing.get() {
            client.resume.raised().await;
        }
    }

    /// Carries away everything that the shard has put out. A few messages to the sequencer wait
    /// until all sockets that are ready now have had their turn: they then cost one wake-up.
    fn flush(self: &Rc<Self>) {
        let messages = self.shard.borrow().messages();
        if messages >= MESSAGES_BATCH {
            self.send_to_sequencer();
        } else if messages > 0 && !self.ring_retry_armed.get() {
            self.outgoing.raise();
        }
        let mut dirty = self.dirty.take();
        loop {
            self.shard.borrow_mut().take_dirty(&mut dirty);
            if dirty.is_empty() {
                break;
            }
            for conn in dirty.drain(..) {
                self.attend(conn);
            }
        }
        self.dirty.replace(dirty);
        loop {
            let query = self.shard.borrow_mut().take_admin_query();
            let Some(query) = query else { break };
            self.gather(query);
        }
    }

    async fn send_messages(self: Rc<Self>) {
        while !self.stopping.get() {
            self.outgoing.raised().await;
            self.send_to_sequencer();
            // Room in the shard's queue may let connections go on.
            self.flush();
        }
    }

    fn send_to_sequencer(self: &Rc<Self>) {
        let mut ring_full = false;
        self.shard.borrow_mut().drain_to_sequencer(|message| {
            let sent = self.to_sequencer.send(message);
            ring_full = sent.is_err();
            sent
        });
        if ring_full && !self.ring_retry_armed.replace(true) {
            let this = Rc::clone(self);
            executor::spawn_local(async move {
                executor::sleep(RING_RETRY).await;
                this.ring_retry_armed.set(false);
                this.outgoing.raise();
            });
        }
    }

    /// Does for one connection what its status asks for.
    fn attend(self: &Rc<Self>, conn: ConnId) {
        let client = self.clients.borrow().get(&conn).cloned();
        let Some(client) = client else { return };
        // Even while sending: a peer that never reads would keep that up for ever.
        if self.shard.borrow().status(conn).close == Close::Now {
            self.close(conn);
            return;
        }
        if client.sending.get() {
            return;
        }
        if self.shard.borrow().status(conn).has_output && self.send(conn, &client).is_err() {
            self.close(conn);
            return;
        }
        if !client.unsent.borrow().is_empty() {
            client.sending.set(true);
            executor::spawn_local(Rc::clone(self).send_rest(conn, client));
            return;
        }
        let status = self.shard.borrow().status(conn);
        if status.close != Close::No {
            self.close(conn);
        } else if status.wants_read {
            client.resume.raise();
        }
    }

    /// Sends as much of a connection's output as the socket takes at once.
    fn send(&self, conn: ConnId, client: &Client) -> io::Result<()> {
        let mut unsent = client.unsent.borrow_mut();
        self.shard.borrow_mut().take_output(conn, &mut unsent);
        let count = client.socket.try_write(&unsent)?;
        unsent.drain(..count);
        self.shard.borrow_mut().sent(conn, count, self.now());
        Ok(())
    }

    /// Sends what is left, waiting for the socket.
    async fn send_rest(self: Rc<Self>, conn: ConnId, client: Rc<Client>) {
        let bytes = client.unsent.take();
        let mut position = 0;
        while position < bytes.len() {
            match client.socket.write(&bytes[position..]).await {
                Ok(count) if count > 0 => {
                    position += count;
                    self.shard.borrow_mut().sent(conn, count, self.now());
                }
                _ => {
                    self.close(conn);
                    break;
                }
            }
        }
        client.sending.set(false);
        self.attend(conn);
        self.flush();
    }

    /// Shuts a connection; the task that reads it does the rest.
    fn close(&self, conn: ConnId) {
        if let Some(client) = self.clients.borrow().get(&conn) {
            client.closing.set(true);
            client.socket.shut();
            client.resume.raise();
        }
    }

    async fn tick(self: Rc<Self>) {
        while !self.stopping.get() {
            self.pulse.beat();
            executor::sleep(TICK).await;
            self.shard.borrow_mut().tick(self.now());
            for gather in self.gatherers.take_unnoticed(self.id) {
                self.answer_word(&gather);
            }
            self.flush();
        }
    }

    /// Tells the sequencer whom we heard from. Before that, every socket that held something at the
    /// time of the report has its turn: pauses follow one another until one brings nothing in, so
    /// that a server that was stopped for a while does not take its clients for dead.
    async fn report_heard(self: Rc<Self>, interval: Duration) {
        while !self.stopping.get() {
            let as_of_ms = self.clock.now_ms();
            for _ in 0..HEARD_SETTLE_ROUNDS {
                self.has_received.set(false);
                executor::sleep(HEARD_SETTLE).await;
                if !self.has_received.get() {
                    break;
                }
            }
            self.shard.borrow_mut().heard(as_of_ms);
            self.flush();
            executor::sleep(interval).await;
        }
    }

    async fn stop(self: Rc<Self>) {
        self.shard.borrow_mut().close_all();
        self.flush();
        let deadline_us = self.clock.now_us() + STOP_PATIENCE.as_micros() as u64;
        while !self.clients.borrow().is_empty() && self.clock.now_us() < deadline_us {
            executor::sleep(RING_RETRY).await;
        }
        let left: Vec<ConnId> = self.clients.borrow().keys().copied().collect();
        for conn in left {
            self.close(conn);
        }
    }
}

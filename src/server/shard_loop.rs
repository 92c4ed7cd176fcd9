//! Drives one [`Shard`]: sockets in and out, the sequencer's batches in, messages to the sequencer
//! out. One turn takes all that has happened, then does all that it calls for, then waits.

mod clients;
mod schedule;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::exchange::{Batch, ConnId, ShardId, ToSequencer};
use crate::rt::clock::{self, Monotonic};
use crate::rt::mailbox::{RingReceiver, Sender};
use crate::rt::net::{Event, SocketId, Sockets};
use crate::shard::{AdminQuery, Close, LogLimit, Now, Shard};
use crate::tree::View;
use crate::types::Zxid;

use super::gather::{Asking, Gather, Gatherers};
use clients::{Client, Clients};
use schedule::{Due, Schedule};

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

/// Everything that a shard's loop is made from, but its sockets; may be sent to its thread.
pub struct ShardParts {
    /// Its number.
    pub id: ShardId,
    /// The logic.
    pub shard: Shard,
    /// Its inbox.
    pub inbox: RingReceiver<ToShard>,
    /// The ring to the sequencer.
    pub to_sequencer: Sender<ToSequencer>,
    /// Those who contribute to the answers of four-letter words.
    pub gatherers: Gatherers,
    /// The server's clock.
    pub clock: Monotonic,
    /// How often the sequencer is told who was heard from.
    pub heard_interval: Duration,
}

/// How often a full inbox is asked again for a part of an answer: for less time than those who ask
/// by script wait.
const GATHER_RETRIES: u32 = 400;

/// Messages taken from the inbox before sockets have their turn.
const INBOX_BURST: usize = 64;

/// Messages that leave for the sequencer at once, while others still come in: enough for a log
/// write of their own.
const MESSAGES_BATCH: usize = 32;

/// How long connections may take to close when the server stops.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

struct ShardLoop<S> {
    sockets: S,
    inbox: RingReceiver<ToShard>,
    gatherers: Gatherers,
    /// Questions that have not reached everybody, and how often that was tried.
    asking: Vec<(Asking, u32)>,
    dirty: Vec<ConnId>,
    intake: Intake,
}

/// What the sockets' events change.
struct Intake {
    id: ShardId,
    shard: Shard,
    clients: Clients,
    to_sequencer: Sender<ToSequencer>,
    clock: Monotonic,
    schedule: Schedule,
    /// When this turn's events came.
    now: Option<Now>,
    /// Since when bytes come in this turn, in microseconds.
    receiving_since_us: Option<u64>,
    /// Sockets to be closed that no client has.
    unwanted: Vec<SocketId>,
    /// Clients whose socket takes more, or is broken.
    touched: Vec<ConnId>,
    /// For connections that are not taken.
    refusal_log: LogLimit,
    is_stopping: bool,
}

/// Runs a shard until it is told to stop.
pub async fn run<S: Sockets>(parts: ShardParts, sockets: S) -> io::Result<()> {
    let mut this = ShardLoop {
        sockets,
        inbox: parts.inbox,
        gatherers: parts.gatherers,
        asking: Vec::new(),
        dirty: Vec::new(),
        intake: Intake {
            id: parts.id,
            shard: parts.shard,
            clients: Clients::default(),
            to_sequencer: parts.to_sequencer,
            clock: parts.clock,
            schedule: Schedule::new(parts.heard_interval),
            now: None,
            receiving_since_us: None,
            unwanted: Vec::new(),
            touched: Vec::new(),
            refusal_log: LogLimit::default(),
            is_stopping: false,
        },
    };
    while !this.intake.is_stopping {
        this.turn().await?;
    }
    this.stop().await
}

impl<S: Sockets> ShardLoop<S> {
    async fn turn(&mut self) -> io::Result<()> {
        let (inbox, intake) = (&self.inbox, &mut self.intake);
        intake.now = None;
        let patience = intake.schedule.patience(intake.clock.now_us());
        self.sockets
            .wait(patience, || inbox.is_empty(), |event| intake.take(event))
            .await?;
        let now_us = self.intake.clock.now_us();
        if let Some(since_us) = self.intake.receiving_since_us.take() {
            self.intake
                .shard
                .received_all(now_us.saturating_sub(since_us));
        }
        self.take_messages();
        self.do_due(now_us);
        self.flush()
    }

    fn take_messages(&mut self) {
        for _ in 0..INBOX_BURST {
            let Some(message) = self.inbox.try_receive() else {
                return;
            };
            let now = self.intake.now();
            let shard = &mut self.intake.shard;
            match message {
                ToShard::Batch(batch) => shard.publish(&batch, now),
                ToShard::Serve {
                    view,
                    seen,
                    is_read_only,
                } => shard.begin(*view, seen, is_read_only, now),
                ToShard::Retire { view } => shard.retire(*view, now),
                ToShard::Report(gather) => {
                    let report = shard.report(gather.word, now);
                    self.gatherers.add_shard(&gather, report);
                }
                ToShard::Gathered(gather) => self.answer_word(&gather),
                ToShard::Stop => self.intake.is_stopping = true,
            }
        }
    }

    fn answer_word(&mut self, gather: &Gather) {
        let text = self.gatherers.answer(gather);
        self.intake.shard.admin_answer(gather.conn, &text);
    }

    fn do_due(&mut self, now_us: u64) {
        while let Some(due) = self.intake.schedule.poll(now_us) {
            match due {
                Due::Tick => {
                    let now = self.intake.now();
                    self.intake.shard.tick(now);
                    for gather in self.gatherers.take_unnoticed(self.intake.id) {
                        self.answer_word(&gather);
                    }
                }
                Due::Heard { as_of_us } => self.intake.shard.heard(as_of_us / 1000),
                Due::Accept => self.sockets.accept(),
                Due::Gather => self.ask_again(now_us),
            }
        }
    }

    /// Asks all shards and the sequencer for their parts of an answer; those whose inbox is full
    /// again and again, for a while.
    fn gather(&mut self, query: AdminQuery) {
        let mut asking = self.gatherers.start(self.intake.id, query);
        if !self.gatherers.ask(&mut asking) {
            self.asking.push((asking, 0));
            let now_us = self.intake.clock.now_us();
            self.intake.schedule.ask_again(now_us);
        }
    }

    fn ask_again(&mut self, now_us: u64) {
        let gatherers = &self.gatherers;
        for (mut asking, tries) in std::mem::take(&mut self.asking) {
            if gatherers.ask(&mut asking) {
                continue;
            }
            if tries < GATHER_RETRIES {
                self.asking.push((asking, tries + 1));
                continue;
            }
            tracing::warn!("the answer to a four-letter word is not whole: a thread is overloaded");
            gatherers.leave_out_unasked(asking);
        }
        if !self.asking.is_empty() {
            self.intake.schedule.ask_again(now_us);
        }
    }

    /// Carries away everything that the shard has put out.
    fn flush(&mut self) -> io::Result<()> {
        for socket in std::mem::take(&mut self.intake.unwanted) {
            self.sockets.close(socket);
        }
        // Taken and put back for its memory.
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.append(&mut self.intake.touched);
        loop {
            self.intake.shard.take_dirty(&mut dirty);
            if dirty.is_empty() {
                break;
            }
            for conn in dirty.drain(..) {
                self.attend(conn);
            }
        }
        self.dirty = dirty;
        while let Some(query) = self.intake.shard.take_admin_query() {
            self.gather(query);
        }
        if self.intake.hand_on(Sender::post) {
            self.sockets.ring(self.intake.to_sequencer.bell())?;
        }
        Ok(())
    }

    /// Does for one connection what its status asks for.
    fn attend(&mut self, conn: ConnId) {
        let now = self.intake.now();
        let Some(client) = self.intake.clients.of(conn) else {
            return;
        };
        let shard = &mut self.intake.shard;
        let mut status = shard.status(conn);
        // Even while it is sending: a peer that never reads would keep that up for ever.
        if client.is_broken || status.close == Close::Now {
            self.close(conn);
            return;
        }
        if status.has_output && client.sending_bytes == 0 {
            shard.take_output(conn, &mut client.output);
            let length = client.output.len();
            match self.sockets.send(client.socket, &mut client.output) {
                Ok(sent) => {
                    client.sending_bytes = length - sent;
                    if sent > 0 {
                        shard.sent(conn, sent, now);
                    }
                }
                Err(_) => {
                    self.close(conn);
                    return;
                }
            }
            status = shard.status(conn);
        }
        if status.close != Close::No && client.sending_bytes == 0 && !status.has_output {
            self.close(conn);
        } else if status.wants_read != client.is_reading {
            client.is_reading = status.wants_read;
            self.sockets.set_reading(client.socket, status.wants_read);
        }
    }

    fn close(&mut self, conn: ConnId) {
        if let Some(client) = self.intake.clients.remove(conn) {
            self.sockets.close(client.socket);
            self.intake.shard.closed(conn);
        }
    }

    /// Lets clients have what was already answered, for a while.
    async fn stop(mut self) -> io::Result<()> {
        self.intake.shard.close_all();
        self.flush()?;
        let deadline_us = self.intake.clock.now_us() + STOP_PATIENCE.as_micros() as u64;
        while !self.intake.clients.is_empty() && self.intake.clock.now_us() < deadline_us {
            self.turn().await?;
        }
        for conn in self.intake.clients.all() {
            self.close(conn);
        }
        Ok(())
    }
}

impl Intake {
    fn now(&mut self) -> Now {
        let clock = self.clock;
        *self.now.get_or_insert_with(|| Now {
            us: clock.now_us(),
            wall_ms: clock::wall_ms(),
        })
    }

    fn take(&mut self, event: Event<'_>) {
        let now = self.now();
        match event {
            Event::Accepted { socket, .. } if self.is_stopping => self.unwanted.push(socket),
            Event::Accepted { socket, peer } => match self.shard.open(peer, now) {
                Ok(conn) => self.clients.insert(Client::new(conn, socket)),
                Err(refused) => {
                    self.unwanted.push(socket);
                    if let Some(suppressed) = self.refusal_log.admit(now) {
                        tracing::warn!(%peer, suppressed, "refusing a connection: {refused}");
                    }
                }
            },
            Event::NotAccepted(error) => {
                if let Some(suppressed) = self.refusal_log.admit(now) {
                    tracing::warn!(%error, suppressed, "cannot accept a connection");
                }
                self.schedule.accept_again(now.us);
            }
            Event::Received { socket, bytes } => {
                let Some(client) = self.clients.at(socket) else {
                    return;
                };
                self.schedule.has_received = true;
                self.receiving_since_us.get_or_insert(now.us);
                self.shard.receive(client.conn, bytes, now);
                if self.shard.messages() >= MESSAGES_BATCH {
                    self.hand_on(Sender::send);
                }
            }
            Event::Ended(socket) => {
                if let Some(client) = self.clients.at(socket) {
                    self.shard.end_of_input(client.conn, now);
                }
            }
            Event::Sent { socket, bytes } => {
                if let Some(client) = self.clients.at(socket) {
                    client.sending_bytes -= bytes;
                    self.touched.push(client.conn);
                    self.shard.sent(client.conn, bytes, now);
                }
            }
            Event::Failed(socket) => {
                if let Some(client) = self.clients.at(socket) {
                    client.is_broken = true;
                    self.touched.push(client.conn);
                }
            }
        }
    }

    /// Hands messages on to the sequencer, by [`Sender::send`] or [`Sender::post`]; returns whether
    /// there were any. A full ring is tried again later.
    fn hand_on(
        &mut self,
        send: fn(&Sender<ToSequencer>, ToSequencer) -> Result<(), ToSequencer>,
    ) -> bool {
        if self.shard.messages() == 0 || self.schedule.is_ring_full {
            return false;
        }
        let (to_sequencer, schedule) = (&self.to_sequencer, &mut self.schedule);
        let now_us = self.clock.now_us();
        self.shard.drain_to_sequencer(|message| {
            let sent = send(to_sequencer, message);
            if sent.is_err() {
                schedule.ring_is_full(now_us);
            }
            sent
        });
        true
    }
}

//! Drives the [`Replica`] on one ring: the shards' messages and the peers' packets in, log writes
//! and packets out and their completions in, batches out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::exchange::{Answer, Batch, ToSequencer};
use crate::io::{AlignedBuffer, DiskFile};
use crate::metrics::WriteMetrics;
use crate::peer::{PeerEvent, Peers};
use crate::replica::{Output, Replica};
use crate::rt::clock::{self, Monotonic};
use crate::rt::mailbox::{RingBell, RingReceiver, Sender};
use crate::rt::ring::{Completion, Ring, StableBytes};
use crate::sequencer::Now;
use crate::types::{LinkId, Zxid};

use super::ServerError;
use super::background::{Background, Done, EncodedTree};
use super::gather::{Gather, Gatherers};
use super::links::Links;
use super::placement::{Mover, Processors};
use super::shard_loop::ToShard;

/// Stretches of the log whose wait for a quorum is timed; of more the oldest are not.
const DURABLE_MAX: usize = 1_024;

/// What reaches the sequencer beside the shards' messages.
pub enum Control {
    /// Somebody asks for the sequencer's part of an answer.
    Report(Arc<Gather>),
    /// Something has come from another member of the ensemble.
    Peer(PeerEvent),
    /// The server stops.
    Stop,
}

/// Everything that the loop is made from; may be sent to its thread.
pub struct SequencerParts {
    /// The logic.
    pub replica: Replica,
    /// The links to the other members, if there are any.
    pub peers: Option<Peers>,
    /// One ring a shard.
    pub inboxes: Vec<RingReceiver<ToSequencer>>,
    /// Questions and orders.
    pub control: RingReceiver<Control>,
    /// Results of the background threads.
    pub done: RingReceiver<Done>,
    /// What all of the above ring.
    pub bell: RingBell,
    /// The shards' inboxes.
    pub shards: Vec<Sender<ToShard>>,
    /// The threads for what blocks.
    pub background: Background,
    /// Those who contribute to the answers of four-letter words.
    pub gatherers: Gatherers,
    /// What is counted here.
    pub metrics: Arc<WriteMetrics>,
    /// The server's clock.
    pub clock: Monotonic,
    /// How long to try to connect to a leader, in milliseconds.
    pub dial_timeout_ms: u64,
    /// How long to look for something to do before sleeping.
    pub spin: Duration,
    /// Where to run as the load calls for; `None` to stay.
    pub processors: Option<Processors>,
    /// Milliseconds between two looks at timeouts.
    pub tick_interval_ms: u64,
    /// Duration of a log write in milliseconds past which a warning is logged.
    pub write_warning_ms: u64,
}

/// Messages taken from one shard before the log and the other shards have their turn.
const MESSAGES_BURST: u64 = 256;

/// Room that every shard's inbox keeps for messages other than batches.
const INBOX_RESERVE: usize = 64;

/// Superseded versions of the tree freed in one round.
const RECLAIM_BURST: usize = 1024;

/// How often an idle log says that all of it is durable, and failed segment work is tried again.
const LOG_UPKEEP_MS: u64 = 1000;

/// A buffer that the kernel reads, and the file that it goes to.
struct Writing {
    buffer: AlignedBuffer,
    _file: Arc<dyn DiskFile>,
}

// SAFETY: an AlignedBuffer owns one heap allocation, which stays where it is when the value moves,
// and nobody can change it while the ring has it.
unsafe impl StableBytes for Writing {
    fn bytes(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

/// Buffers of what was sent to other members that are kept for reuse, and the largest of them.
const SPARE_BUFFERS: usize = 16;
const SPARE_BYTES: usize = 1 << 20;

struct SequencerLoop {
    parts: SequencerParts,
    ring: Ring<Writing>,
    links: Links,
    /// Trees on their way to learners.
    trees: Vec<(LinkId, EncodedTree)>,
    /// Buffers for what is sent to other members.
    spare: Vec<Vec<u8>>,
    completions: Vec<Completion<Writing>>,
    mover: Option<Mover>,
    /// Whose output is looked at; kept for its memory.
    ready: Vec<LinkId>,
    /// What is durable here and not committed yet: up to where, and since when in microseconds.
    durable: VecDeque<(Zxid, u64)>,
    next_tick_ms: u64,
    next_upkeep_ms: u64,
    /// Whether the log's next segment could not be made, and whether this one is used up.
    room: (bool, bool),
    stopping: bool,
}

/// Runs the sequencer until it is told to stop, or until its log fails.
pub fn run(mut parts: SequencerParts) -> Result<(), ServerError> {
    let now_us = parts.clock.now_us();
    let mover = parts.processors.take();
    let mover = mover.map(|processors| Mover::new(processors, now_us));
    let ring = Ring::new(parts.bell.clone(), parts.spin).map_err(ServerError::Ring)?;
    let mut this = SequencerLoop {
        parts,
        ring,
        links: Links::default(),
        trees: Vec::new(),
        spare: Vec::new(),
        completions: Vec::new(),
        mover,
        ready: Vec::new(),
        durable: VecDeque::new(),
        next_tick_ms: 0,
        next_upkeep_ms: LOG_UPKEEP_MS,
        room: (false, false),
        stopping: false,
    };
    while !(this.stopping && this.log_is_idle()) {
        this.round()?;
    }
    this.leave_marked()
}

impl SequencerLoop {
    fn now(&self) -> Now {
        Now {
            monotonic_ms: self.parts.clock.now_ms(),
            wall_ms: clock::wall_ms(),
        }
    }

    /// One turn: what has completed, what has come in, what can go out; then wait, unless there is
    /// more to do at once. What was started is handed to the kernel by the same call that waits.
    fn round(&mut self) -> Result<(), ServerError> {
        self.take_completions()?;
        self.check_failure()?;
        self.do_outputs()?;
        self.publish()?;
        self.take_control()?;
        self.check_failure()?;
        if !self.stopping {
            self.take_messages();
            self.take_pieces();
            self.tick();
        }
        self.start_writes()?;
        self.do_outputs()?;
        self.publish()?;
        let replica = &self.parts.replica;
        self.links
            .resume(|link| replica.reads_on(link), &mut self.ring)
            .map_err(ServerError::Ring)?;
        self.keep_up();
        self.check_failure()?;
        let has_more = self.parts.replica.reclaim(RECLAIM_BURST) == RECLAIM_BURST;
        let parts = &self.parts;
        let is_open = Self::is_open(parts);
        let trees = &self.trees;
        let idle = || {
            !has_more
                && parts.control.is_empty()
                && parts.done.is_empty()
                && trees
                    .iter()
                    .all(|(link, tree)| tree.is_empty() || !parts.replica.has_tree_room(*link))
                && (!is_open || parts.inboxes.iter().all(RingReceiver::is_empty))
        };
        self.ring
            .wait(self.patience(), idle, &mut self.completions)
            .map_err(ServerError::Ring)
    }

    /// How long to wait for something to happen: until the next tick, or until an election wants
    /// to go on.
    fn patience(&self) -> Duration {
        let now_ms = self.parts.clock.now_ms();
        let wake_ms = self.parts.replica.next_wake_ms().unwrap_or(u64::MAX);
        let due_ms = wake_ms.min(now_ms + self.parts.tick_interval_ms);
        // At least a millisecond: the clock has no finer steps, and a wait of none would spin.
        Duration::from_millis(due_ms.saturating_sub(now_ms).max(1))
    }

    fn check_failure(&mut self) -> Result<(), ServerError> {
        match self.parts.replica.take_failure() {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    fn take_completions(&mut self) -> Result<(), ServerError> {
        let before = self.parts.replica.sequencer().published_zxid();
        for completion in std::mem::take(&mut self.completions) {
            match completion {
                Completion::Written { id, buffer, result } => self.written(id, buffer, result)?,
                Completion::Received { link, result } => self.received(LinkId(link), result)?,
                Completion::Sent {
                    link,
                    buffer,
                    result,
                } => {
                    let link = LinkId(link);
                    self.reuse(buffer);
                    if !self.links.sent(link, result.is_ok(), &self.ring) {
                        self.parts.replica.link_closed(link, self.now());
                    }
                }
            }
        }
        let after = self.parts.replica.sequencer().published_zxid();
        if after > before {
            let transactions = u64::from(after.counter().wrapping_sub(before.counter()));
            self.parts.metrics.batch_size.record(transactions);
        }
        Ok(())
    }

    fn written(
        &mut self,
        id: u64,
        writing: Writing,
        result: std::io::Result<usize>,
    ) -> Result<(), ServerError> {
        let (now, now_us) = (self.now(), self.parts.clock.now_us());
        let written = self
            .parts
            .replica
            .complete(id, writing.buffer, result, now, now_us)?;
        self.parts.metrics.stages.log.record(written.elapsed_us);
        self.durable
            .push_back((self.parts.replica.wal().durable_zxid(), now_us));
        if self.durable.len() > DURABLE_MAX {
            self.durable.pop_front();
        }
        let elapsed_ms = written.elapsed_us / 1000;
        self.parts.metrics.fsync_time.record(elapsed_ms);
        if elapsed_ms >= self.parts.write_warning_ms {
            self.parts.metrics.fsync_threshold_exceeded.increment();
            tracing::warn!(
                elapsed_ms,
                bytes = written.bytes,
                "a log write took long; this delays every write (fsync.warningthresholdms)"
            );
        }
        Ok(())
    }

    fn received(
        &mut self,
        link: LinkId,
        result: std::io::Result<Vec<u8>>,
    ) -> Result<(), ServerError> {
        let now = self.now();
        let bytes = result.unwrap_or_default();
        if !bytes.is_empty() {
            self.parts.replica.received(link, &bytes, now);
        }
        let is_well = !bytes.is_empty();
        self.ring.reuse(bytes);
        let reads_on = self.parts.replica.reads_on(link);
        let stands = self
            .links
            .received(link, is_well, reads_on, &mut self.ring)
            .map_err(ServerError::Ring)?;
        if !stands {
            self.parts.replica.link_closed(link, now);
        }
        Ok(())
    }

    /// Does what the replica asks for, and sends what its links have to say.
    fn do_outputs(&mut self) -> Result<(), ServerError> {
        while let Some(output) = self.parts.replica.poll_output() {
            match output {
                Output::Election(to, message) => {
                    if let Some(peers) = &self.parts.peers {
                        peers.send(to, message);
                    }
                }
                Output::Dial(leader) => {
                    if let Some(peers) = &self.parts.peers {
                        peers.dial(leader, self.parts.dial_timeout_ms);
                    }
                }
                Output::Close(link) => {
                    self.links.close(link, &self.ring);
                }
                Output::SendTree {
                    link,
                    view,
                    sessions,
                } => {
                    let tree = self.parts.background.encode_tree(view, sessions);
                    self.trees.push((link, tree));
                }
                Output::Serve { seen, is_read_only } => {
                    self.tell_shards(|replica| ToShard::Serve {
                        view: Box::new(replica.view()),
                        seen,
                        is_read_only,
                    })?
                }
                Output::Retire => self.tell_shards(|replica| ToShard::Retire {
                    view: Box::new(replica.view()),
                })?,
            }
        }
        self.parts.replica.links_with_output(&mut self.ready);
        for link in std::mem::take(&mut self.ready) {
            if self.links.can_send(link) {
                let mut buffer = self.spare.pop().unwrap_or_default();
                self.parts.replica.take_link_output(link, &mut buffer);
                self.links
                    .send(link, buffer, &mut self.ring)
                    .map_err(ServerError::Ring)?;
            }
        }
        Ok(())
    }

    /// Tells every shard; an inbox that is full is waited for, since no client may be served
    /// otherwise.
    fn tell_shards(&mut self, message: impl Fn(&Replica) -> ToShard) -> Result<(), ServerError> {
        // Who was rung for what was published must hear it, to make room.
        self.ring.hand_over().map_err(ServerError::Ring)?;
        for shard in &self.parts.shards {
            let mut message = message(&self.parts.replica);
            while let Err(refused) = shard.send(message) {
                message = refused;
                clock::pause(Duration::from_micros(100));
            }
        }
        Ok(())
    }

    /// Moves pieces of trees on, as far as their learners keep up.
    fn take_pieces(&mut self) {
        if self.trees.is_empty() {
            return;
        }
        let now = self.now();
        let replica = &mut self.parts.replica;
        self.trees.retain(|(link, tree)| {
            while replica.has_tree_room(*link)
                && let Some(piece) = tree.try_receive()
            {
                replica.tree_piece(*link, &piece.bytes, piece.is_last, now);
            }
            replica.awaits_tree(*link)
        });
    }

    /// Keeps the buffer of what was sent for what is sent next.
    fn reuse(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS && buffer.capacity() <= SPARE_BYTES {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    fn take_control(&mut self) -> Result<(), ServerError> {
        while let Some(control) = self.parts.control.try_receive() {
            match control {
                Control::Report(gather) => {
                    self.parts
                        .gatherers
                        .add_sequencer(&gather, &self.parts.replica);
                }
                Control::Peer(event) => self.take_peer_event(event)?,
                Control::Stop => self.stopping = true,
            }
        }
        while let Some(done) = self.parts.done.try_receive() {
            let now = self.now();
            match done {
                Done::Segment(result) => {
                    if let Err(error) = self.parts.replica.segment_done(result, now) {
                        tracing::error!(%error, "cannot make the next log segment");
                    }
                }
                Done::Snapshot {
                    elapsed_ms,
                    is_written,
                } => {
                    self.parts.replica.snapshot_ended(now);
                    self.parts.metrics.snapshot_time.record(elapsed_ms);
                    if !is_written {
                        self.parts.metrics.snapshot_errors.increment();
                    }
                }
            }
        }
        Ok(())
    }

    fn take_peer_event(&mut self, event: PeerEvent) -> Result<(), ServerError> {
        let now = self.now();
        match event {
            PeerEvent::ElectionMessage { from, bytes } => {
                self.parts.replica.election_message(from, &bytes, now);
            }
            PeerEvent::Reachable(peer) => self.parts.replica.reachable(peer, true, now),
            PeerEvent::Unreachable(peer) => self.parts.replica.reachable(peer, false, now),
            PeerEvent::LearnerAccepted { stream, address } => {
                let link = self
                    .links
                    .open(stream, &mut self.ring)
                    .map_err(ServerError::Ring)?;
                tracing::debug!(%address, ?link, "a learner has connected");
                self.parts.replica.accepted(link, now);
            }
            PeerEvent::Dialed { leader, result } => {
                let link = match result {
                    Ok(stream) => Some(
                        self.links
                            .open(stream, &mut self.ring)
                            .map_err(ServerError::Ring)?,
                    ),
                    Err(error) => {
                        tracing::warn!(%leader, %error, "cannot connect to the leader");
                        None
                    }
                };
                self.parts.replica.dialed(leader, link, now);
            }
            PeerEvent::Fault(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether messages may be taken in: the history, the log and every shard's inbox have room.
    fn is_open(parts: &SequencerParts) -> bool {
        parts.replica.is_open()
            && parts
                .shards
                .iter()
                .all(|shard| shard.room() > INBOX_RESERVE)
    }

    fn take_messages(&mut self) {
        let now = self.now();
        let start_us = self.parts.clock.now_us();
        let taken = self.take_bursts(now, start_us);
        let end_us = self.parts.clock.now_us();
        if let Some(mover) = &mut self.mover {
            mover.look(end_us);
        }
        let elapsed_us = end_us - start_us;
        // One look at the clock a burst: the metric is the average over it.
        if let Some(each_us) = elapsed_us.checked_div(taken) {
            self.parts.metrics.prep_time_us.record(each_us);
        }
    }

    fn take_bursts(&mut self, now: Now, now_us: u64) -> u64 {
        let mut taken = 0;
        for shard in 0..self.parts.inboxes.len() {
            let burst = self.take_burst(shard, now, now_us);
            if let Some(mover) = &mut self.mover {
                mover.count(shard, burst);
            }
            taken += burst;
        }
        taken
    }

    /// Takes what one shard has sent, as far as there is room; returns how much.
    fn take_burst(&mut self, shard: usize, now: Now, now_us: u64) -> u64 {
        let mut taken = 0;
        while taken < MESSAGES_BURST && Self::is_open(&self.parts) {
            let Some(message) = self.parts.inboxes[shard].try_receive() else {
                break;
            };
            taken += 1;
            if let Some(since_us) = message.received_us() {
                let waited_us = now_us.saturating_sub(since_us);
                self.parts.metrics.stages.taken.record(waited_us);
            }
            self.parts.replica.handle(message, now);
        }
        taken
    }

    fn tick(&mut self) {
        let now = self.now();
        let wake_ms = self.parts.replica.next_wake_ms().unwrap_or(u64::MAX);
        if now.monotonic_ms < self.next_tick_ms.min(wake_ms) {
            return;
        }
        self.next_tick_ms = now.monotonic_ms + self.parts.tick_interval_ms;
        self.parts.replica.tick(now);
        self.tell_room();
    }

    /// Says when room for the log runs out, and when there is room again.
    fn tell_room(&mut self) {
        let wal = self.parts.replica.wal();
        let room = (wal.refusal().is_some(), wal.lacks_room());
        if std::mem::replace(&mut self.room, room) == room {
            return;
        }
        match wal.refusal() {
            Some(reason) if wal.lacks_room() => tracing::error!(
                reason,
                "writes are refused: make room on the disk of dataLogDir"
            ),
            Some(reason) => tracing::warn!(
                reason,
                "the next segment of the log cannot be made, and writes will be refused when this one is \
                 used up: make room on the disk of dataLogDir"
            ),
            None => tracing::info!("there is room again: writes are accepted"),
        }
    }

    fn start_writes(&mut self) -> Result<(), ServerError> {
        while let Some(write) = self.parts.replica.poll_write(self.parts.clock.now_us()) {
            let file = write
                .file
                .raw_fd()
                .expect("segments on a real disk have descriptors");
            let writing = Writing {
                buffer: write.buffer,
                _file: write.file,
            };
            self.ring
                .write(write.id, file, write.offset, writing)
                .map_err(ServerError::Ring)?;
        }
        Ok(())
    }

    /// Publishes what is durable, as far as every shard has room for it.
    fn publish(&mut self) -> Result<(), ServerError> {
        let mut has_published = false;
        while self
            .parts
            .shards
            .iter()
            .all(|shard| shard.room() > INBOX_RESERVE / 2)
        {
            let Some(batch) = self.parts.replica.poll_publish() else {
                break;
            };
            self.note_published(&batch);
            let batch = Arc::new(batch);
            for shard in &self.parts.shards {
                let sent = shard.post(ToShard::Batch(Arc::clone(&batch)));
                debug_assert!(
                    sent.is_ok(),
                    "room was asked for, and the reserve is for the others"
                );
            }
            has_published = true;
        }
        if has_published {
            for shard in &self.parts.shards {
                self.ring.ring(shard.bell()).map_err(ServerError::Ring)?;
            }
            // Their bells leave with the wait, unless there is much to do before it.
            if !self.parts.inboxes.iter().all(RingReceiver::is_empty) {
                self.ring.hand_over().map_err(ServerError::Ring)?;
            }
        }
        Ok(())
    }

    /// Counts how long what is published now has waited.
    fn note_published(&mut self, batch: &Batch) {
        let now_us = self.parts.clock.now_us();
        let stages = &self.parts.metrics.stages;
        for item in &batch.items {
            if let Some((_, Answer::Reply { received_us, .. })) = &item.answer {
                let waited_us = now_us.saturating_sub(*received_us);
                stages.published.record(waited_us);
            }
        }
        let published = batch.items.last().map(|item| item.zxid);
        while let Some(&(zxid, since_us)) = self.durable.front()
            && Some(zxid) <= published
        {
            self.durable.pop_front();
            stages.quorum.record(now_us.saturating_sub(since_us));
        }
    }

    /// Hands work to the background threads.
    fn keep_up(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        if now_ms >= self.next_upkeep_ms {
            self.next_upkeep_ms = now_ms + LOG_UPKEEP_MS;
            self.parts.replica.upkeep();
        }
        while let Some(task) = self.parts.replica.poll_segment_task() {
            self.parts.background.make_segment(task);
        }
        if let Some(request) = self.parts.replica.poll_snapshot() {
            self.parts.background.take_snapshot(request);
        }
    }

    fn log_is_idle(&self) -> bool {
        !self.parts.replica.wal().has_unwritten() && self.parts.replica.wal().in_flight() == 0
    }

    /// Has the log say that all of it is durable before a clean stop.
    fn leave_marked(&mut self) -> Result<(), ServerError> {
        self.publish()?;
        self.parts.replica.mark();
        self.start_writes()?;
        while self.parts.replica.wal().in_flight() > 0 {
            let wait = Duration::from_millis(self.parts.tick_interval_ms);
            self.ring
                .wait(wait, || true, &mut self.completions)
                .map_err(ServerError::Ring)?;
            self.take_completions()?;
        }
        Ok(())
    }
}

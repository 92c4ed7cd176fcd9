//! Drives the [`Sequencer`] and its log on one ring: the shards' messages in, log writes out and
//! their completions in, batches out.

use std::sync::Arc;
use std::time::Duration;

use crate::exchange::ToSequencer;
use crate::io::{AlignedBuffer, DiskFile};
use crate::metrics::WriteMetrics;
use crate::rt::clock::{self, Monotonic};
use crate::rt::mailbox::{RingBell, RingReceiver, Sender};
use crate::rt::ring::{Completion, Ring, StableBytes};
use crate::sequencer::{Log, Now, Sequencer};
use crate::types::Zxid;
use crate::wal::Wal;

use super::ServerError;
use super::background::{Background, Done};
use super::gather::{Gather, Gatherers};
use super::shard_loop::ToShard;

/// What reaches the sequencer beside the shards' messages.
pub enum Control {
    /// Somebody asks for the sequencer's part of an answer.
    Report(Arc<Gather>),
    /// The server stops.
    Stop,
}

/// Everything that the loop is made from; may be sent to its thread.
pub struct SequencerParts {
    /// The logic.
    pub sequencer: Sequencer,
    /// The log.
    pub wal: Wal,
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
    /// Milliseconds between two looks at timeouts.
    pub tick_interval_ms: u64,
    /// Duration of a log write in milliseconds past which a warning is logged.
    pub write_warning_ms: u64,
}

/// Messages taken from one shard before the log and the other shards have their turn.
const MESSAGES_BURST: usize = 256;

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

/// The log as the sequencer sees it.
struct LogOf<'a>(&'a mut Wal);

impl Log for LogOf<'_> {
    fn has_room(&mut self, payload_len: usize) -> bool {
        self.0.check_room(payload_len).is_ok()
    }

    fn append(&mut self, zxid: Zxid, payload: &[u8]) {
        self.0
            .append(zxid, payload)
            .expect("room was asked for just before");
    }
}

struct SequencerLoop {
    parts: SequencerParts,
    ring: Ring<Writing>,
    completions: Vec<Completion<Writing>>,
    next_tick_ms: u64,
    next_upkeep_ms: u64,
    is_refusing: bool,
    stopping: bool,
}

/// Runs the sequencer until it is told to stop, or until its log fails.
pub fn run(parts: SequencerParts) -> Result<(), ServerError> {
    let ring = Ring::new(parts.bell.clone()).map_err(ServerError::Ring)?;
    let mut this = SequencerLoop {
        parts,
        ring,
        completions: Vec::new(),
        next_tick_ms: 0,
        next_upkeep_ms: LOG_UPKEEP_MS,
        is_refusing: false,
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
        self.publish();
        self.take_control();
        if !self.stopping {
            self.take_messages();
            self.tick();
        }
        self.start_writes()?;
        self.publish();
        self.keep_up();
        let has_more = self.parts.sequencer.reclaim(RECLAIM_BURST) == RECLAIM_BURST;
        let parts = &self.parts;
        let is_open = Self::is_open(parts);
        let idle = || {
            !has_more
                && parts.control.is_empty()
                && parts.done.is_empty()
                && (!is_open || parts.inboxes.iter().all(RingReceiver::is_empty))
        };
        let timeout = Duration::from_millis(parts.tick_interval_ms);
        self.ring
            .wait(timeout, idle, &mut self.completions)
            .map_err(ServerError::Ring)
    }

    fn take_completions(&mut self) -> Result<(), ServerError> {
        for completion in self.completions.drain(..) {
            let Completion::Written { id, buffer, result } = completion else {
                unreachable!("a lone server starts nothing on sockets")
            };
            let now_us = self.parts.clock.now_us();
            let written = self.parts.wal.complete(id, buffer.buffer, result, now_us)?;
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
        }
        let durable = self.parts.wal.durable_zxid();
        let before = self.parts.sequencer.published_zxid();
        if durable > before {
            let transactions = u64::from(durable.counter().wrapping_sub(before.counter()));
            self.parts.metrics.batch_size.record(transactions);
            self.parts.sequencer.durable(durable);
        }
        Ok(())
    }

    fn take_control(&mut self) {
        while let Some(control) = self.parts.control.try_receive() {
            match control {
                Control::Report(gather) => {
                    self.parts
                        .gatherers
                        .add_sequencer(&gather, &self.parts.sequencer);
                }
                Control::Stop => self.stopping = true,
            }
        }
        while let Some(done) = self.parts.done.try_receive() {
            match done {
                Done::Segment(result) => {
                    if let Err(error) = self.parts.wal.segment_done(result) {
                        tracing::error!(%error, "cannot make the next log segment");
                    }
                }
                Done::Snapshot {
                    elapsed_ms,
                    is_written,
                } => {
                    self.parts.sequencer.snapshot_ended();
                    self.parts.metrics.snapshot_time.record(elapsed_ms);
                    if !is_written {
                        self.parts.metrics.snapshot_errors.increment();
                    }
                }
            }
        }
    }

    /// Whether messages may be taken in: the history, the log and every shard's inbox have room.
    fn is_open(parts: &SequencerParts) -> bool {
        !parts.sequencer.is_full()
            && !parts.wal.is_full()
            && parts
                .shards
                .iter()
                .all(|shard| shard.room() > INBOX_RESERVE)
    }

    fn take_messages(&mut self) {
        let now = self.now();
        let start_us = self.parts.clock.now_us();
        let taken = self.take_bursts(now);
        let elapsed_us = self.parts.clock.now_us() - start_us;
        // One look at the clock a burst: the metric is the average over it.
        if let Some(each_us) = elapsed_us.checked_div(taken) {
            self.parts.metrics.prep_time_us.record(each_us);
        }
    }

    fn take_bursts(&mut self, now: Now) -> u64 {
        let mut taken = 0;
        for at in 0..self.parts.inboxes.len() {
            for _ in 0..MESSAGES_BURST {
                if !Self::is_open(&self.parts) {
                    return taken;
                }
                let Some(message) = self.parts.inboxes[at].try_receive() else {
                    break;
                };
                taken += 1;
                self.parts
                    .sequencer
                    .handle(message, now, &mut LogOf(&mut self.parts.wal));
            }
        }
        taken
    }

    fn tick(&mut self) {
        let now = self.now();
        if now.monotonic_ms < self.next_tick_ms || self.parts.sequencer.is_full() {
            return;
        }
        self.next_tick_ms = now.monotonic_ms + self.parts.tick_interval_ms;
        self.parts
            .sequencer
            .tick(now, &mut LogOf(&mut self.parts.wal));
        let refusal = self.parts.wal.refusal();
        if refusal.is_some() != self.is_refusing {
            self.is_refusing = refusal.is_some();
            match refusal {
                Some(reason) => tracing::error!(
                    reason,
                    "writes are refused: make room on the disk of dataLogDir"
                ),
                None => tracing::info!("there is room again: writes are accepted"),
            }
        }
    }

    fn start_writes(&mut self) -> Result<(), ServerError> {
        while let Some(write) = self.parts.wal.poll_write(self.parts.clock.now_us()) {
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
    fn publish(&mut self) {
        while self
            .parts
            .shards
            .iter()
            .all(|shard| shard.room() > INBOX_RESERVE / 2)
        {
            let Some(batch) = self.parts.sequencer.poll_publish() else {
                break;
            };
            let batch = Arc::new(batch);
            for shard in &self.parts.shards {
                let sent = shard.send(ToShard::Batch(Arc::clone(&batch)));
                debug_assert!(
                    sent.is_ok(),
                    "room was asked for, and the reserve is for the others"
                );
            }
        }
    }

    /// Hands work to the background threads.
    fn keep_up(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        if now_ms >= self.next_upkeep_ms {
            self.next_upkeep_ms = now_ms + LOG_UPKEEP_MS;
            self.parts.wal.retry_segment_tasks();
            self.parts.wal.mark();
        }
        while let Some(task) = self.parts.wal.poll_segment_task() {
            self.parts.background.make_segment(task);
        }
        if let Some(request) = self.parts.sequencer.poll_snapshot() {
            self.parts.wal.roll();
            self.parts.background.take_snapshot(request);
        }
    }

    fn log_is_idle(&self) -> bool {
        !self.parts.wal.has_unwritten() && self.parts.wal.in_flight() == 0
    }

    /// Has the log say that all of it is durable before a clean stop.
    fn leave_marked(&mut self) -> Result<(), ServerError> {
        self.publish();
        self.parts.wal.mark();
        self.start_writes()?;
        while self.parts.wal.in_flight() > 0 {
            let wait = Duration::from_millis(self.parts.tick_interval_ms);
            self.ring
                .wait(wait, || true, &mut self.completions)
                .map_err(ServerError::Ring)?;
            self.take_completions()?;
        }
        Ok(())
    }
}

//! Group commit: records in, writes out, completions in, the durable zxid out.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{
    BATCH_HEADER, BatchHeader, FILL, RECORD_HEADER, SegmentHeader, encode_record_header,
    segment_name,
};
use super::segment::{Filling, Outcome, Plan, Prepared, SegmentResult, SegmentTask, Work};
use super::{WalError, WalOptions};
use crate::io::{AlignedBuffer, BLOCK, DiskError, DiskFile};
use crate::types::Zxid;

/// The log of one server, as the sequencer drives it.
///
/// The driver loops over three things: it appends and submits what [`Wal::poll_write`] gives,
/// it hands completions to [`Wal::complete`], and it has the background thread run what
/// [`Wal::poll_segment_task`] gives, with the results to [`Wal::segment_done`].
pub struct Wal {
    dir: PathBuf,
    options: WalOptions,
    current: Option<Active>,
    next: Next,
    /// Why the last attempt to make a segment failed, until one succeeds.
    refusal: Option<Arc<str>>,
    sequence_next: u64,
    roll_wanted: bool,
    tasks: VecDeque<Work>,
    tasks_failed: Vec<Work>,
    open: Option<Batch>,
    closed: VecDeque<Batch>,
    pending_bytes: usize,
    spare: Vec<AlignedBuffer>,
    in_flight: VecDeque<Flight>,
    /// Writes and segment tasks that were handed out and have not come back.
    handed_out: usize,
    id_next: u64,
    appended: Zxid,
    durable: Zxid,
    /// Up to where the log itself says that it is durable.
    marked: Zxid,
    failed: Option<Arc<str>>,
}

/// The segment being written.
pub(super) struct Active {
    pub file: Arc<dyn DiskFile>,
    pub path: Arc<Path>,
    /// Where its zeros end.
    pub bytes: u64,
    /// Where the next batch starts.
    pub tail: u64,
    pub seed: u32,
}

/// How much faster than the log grows the segment after it is filled with zeros: ready when half of this one
/// is used, and no sooner, so that those writes do not keep the log's from the disk for longer than they must.
const FILL_PACE: u64 = 2;

enum Next {
    Wanted,
    Requested,
    /// A part of it is there.
    Begun(Filling),
    /// It could not be made; tried again when the driver says so.
    Refused,
    Ready(Prepared),
}

/// Records that one write will carry.
struct Batch {
    file: Arc<dyn DiskFile>,
    path: Arc<Path>,
    offset: u64,
    seed: u32,
    buffer: AlignedBuffer,
    /// Where in the buffer the batch's header stands: after the segment's, if it has that too.
    header_at: usize,
    records: u32,
    previous: Zxid,
    last: Zxid,
    /// Bytes before the filling.
    used: usize,
}

struct Flight {
    id: u64,
    path: Arc<Path>,
    offset: u64,
    bytes: usize,
    last: Zxid,
    started_us: u64,
    is_done: bool,
}

/// A write to submit. The buffer is the driver's until it gives it back with the result.
pub struct LogWrite {
    /// For [`Wal::complete`].
    pub id: u64,
    /// The segment.
    pub file: Arc<dyn DiskFile>,
    /// Where in it, in bytes; a multiple of the block.
    pub offset: u64,
    /// What; whole blocks.
    pub buffer: AlignedBuffer,
}

/// What a completed write meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Bytes written, filling included.
    pub bytes: usize,
    /// Time from [`Wal::poll_write`] to [`Wal::complete`] in microseconds
    /// (`fsync.warningthresholdms` bounds it).
    pub elapsed_us: u64,
    /// Whether [`Wal::durable_zxid`] advanced.
    pub has_advanced: bool,
}

/// Where a record goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    OpenBatch,
    NewBatch,
    NewSegment,
}

/// What recovery found for the log to go on from.
pub(super) struct Start {
    pub dir: PathBuf,
    pub options: WalOptions,
    pub current: Option<Active>,
    pub next: Option<Prepared>,
    pub sequence_next: u64,
    pub last: Zxid,
    pub marked: Zxid,
}

impl Wal {
    pub(super) fn new(start: Start) -> Wal {
        assert!(
            start.current.is_some() || start.next.is_some(),
            "a log has a segment to write to"
        );
        let options = start.options;
        let spare = (0..options.in_flight_max as u16 + 2)
            .map(|slot| AlignedBuffer::with_slot(options.batch_bytes_max + BLOCK, slot))
            .collect();
        Wal {
            dir: start.dir,
            options,
            current: start.current,
            next: start.next.map_or(Next::Wanted, Next::Ready),
            refusal: None,
            sequence_next: start.sequence_next,
            roll_wanted: false,
            tasks: VecDeque::new(),
            tasks_failed: Vec::new(),
            open: None,
            closed: VecDeque::new(),
            pending_bytes: 0,
            spare,
            in_flight: VecDeque::new(),
            handed_out: 0,
            id_next: 0,
            appended: start.last,
            durable: start.last,
            marked: start.marked,
            failed: None,
        }
    }

    /// The buffers that have a slot, for a ring to register; all of them only before the first
    /// append.
    pub fn buffers(&self) -> impl Iterator<Item = &AlignedBuffer> {
        self.spare.iter().filter(|buffer| buffer.slot().is_some())
    }

    /// Whether a record of this many bytes would be taken now.
    ///
    /// # Errors
    /// [`WalError::Failed`] and [`WalError::NoSpace`].
    pub fn check_room(&self, payload_bytes: usize) -> Result<(), WalError> {
        self.place(RECORD_HEADER + payload_bytes).map(|_| ())
    }

    /// Takes a record in; it is copied. Zxids rise.
    ///
    /// # Errors
    /// As [`Wal::check_room`]; nothing was taken in then.
    pub fn append(&mut self, zxid: Zxid, payload: &[u8]) -> Result<(), WalError> {
        assert!(zxid > self.appended, "zxids rise in a log");
        assert!(payload.len() < 1 << 31, "a record's length fits its field");
        let needed = RECORD_HEADER + payload.len();
        let place = self.place(needed)?;
        if place != Place::OpenBatch {
            self.close_batch();
            if place == Place::NewSegment {
                self.take_next_segment(zxid);
            }
            self.open_batch(needed, zxid);
        }
        let batch = self.open.as_mut().expect("placed in the open batch");
        let header = encode_record_header(zxid, payload, batch.seed);
        batch.buffer.extend(&header);
        batch.buffer.extend(payload);
        batch.records += 1;
        batch.last = zxid;
        self.appended = zxid;
        self.pending_bytes += needed;
        Ok(())
    }

    fn place(&self, needed: usize) -> Result<Place, WalError> {
        if let Some(reason) = &self.failed {
            return Err(WalError::Failed(reason.clone()));
        }
        let has_next = matches!(self.next, Next::Ready(_));
        // Past the zeros: slower, and right. `is_full` has told the driver to wait instead, so only
        // what was on its way already goes there: of a learner, all that its leader has sent.
        let may_pass = !has_next && self.refusal.is_none();
        let Some(current) = &self.current else {
            return Ok(Place::NewSegment);
        };
        let mut start = current.tail;
        if let Some(batch) = &self.open {
            let bytes = (batch.buffer.len() + needed).next_multiple_of(BLOCK);
            let fits = batch.offset + bytes as u64 <= current.bytes;
            if bytes <= batch.buffer.capacity() && (fits || may_pass) {
                return Ok(Place::OpenBatch);
            }
            start = batch.offset + batch.buffer.len().next_multiple_of(BLOCK) as u64;
        }
        let bytes = (BATCH_HEADER + needed).next_multiple_of(BLOCK) as u64;
        if start + bytes <= current.bytes && !(self.roll_wanted && has_next) {
            return Ok(Place::NewBatch);
        }
        if has_next {
            return Ok(Place::NewSegment);
        }
        match &self.refusal {
            Some(reason) => Err(WalError::NoSpace(reason.clone())),
            None => Ok(Place::NewBatch),
        }
    }

    fn close_batch(&mut self) {
        let Some(mut batch) = self.open.take() else {
            return;
        };
        let current = self.current.as_mut().expect("a batch has its segment");
        batch.used = batch.buffer.len();
        batch.buffer.grow(batch.used.next_multiple_of(BLOCK), FILL);
        assert_eq!(batch.offset, current.tail, "batches follow one another");
        current.tail += batch.buffer.len() as u64;
        self.closed.push_back(batch);
    }

    /// Starts to write the segment made ahead. It is found at a restart under its first name too,
    /// so nothing waits for the renaming.
    fn take_next_segment(&mut self, first: Zxid) {
        let Next::Ready(prepared) = std::mem::replace(&mut self.next, Next::Wanted) else {
            unreachable!("placed in a segment that is ready");
        };
        let header = self.segment_header(prepared.sequence, first);
        let path: Arc<Path> = self.dir.join(segment_name(first)).into();
        self.tasks.push_back(Work::Name {
            from: prepared.file.path().to_path_buf(),
            to: path.to_path_buf(),
        });
        self.current = Some(Active {
            file: prepared.file,
            path,
            bytes: prepared.bytes,
            tail: 0,
            seed: header.seed(),
        });
        self.sequence_next = prepared.sequence + 1;
        self.roll_wanted = false;
    }

    fn segment_header(&self, sequence: u64, first: Zxid) -> SegmentHeader {
        SegmentHeader {
            sequence,
            first,
            previous: self.appended,
        }
    }

    fn open_batch(&mut self, needed: usize, first: Zxid) {
        let current = self.current.as_ref().expect("a batch has its segment");
        let header_at = if current.tail == 0 { BLOCK } else { 0 };
        let wanted = header_at + BATCH_HEADER + needed;
        let standard = self.options.batch_bytes_max + BLOCK;
        let mut buffer = match self.spare.pop() {
            Some(buffer) if wanted <= standard => buffer,
            other => {
                self.spare.extend(other);
                AlignedBuffer::new(wanted.max(standard))
            }
        };
        if header_at > 0 {
            let header = self.segment_header(self.sequence_next - 1, first);
            buffer.extend(&header.encode());
        }
        buffer.grow(header_at + BATCH_HEADER, 0);
        self.open = Some(Batch {
            file: current.file.clone(),
            path: current.path.clone(),
            offset: current.tail,
            seed: current.seed,
            buffer,
            header_at,
            records: 0,
            previous: self.appended,
            last: self.appended,
            used: 0,
        });
    }

    /// The next write, if one is due and fewer than `in_flight_max` are under way.
    pub fn poll_write(&mut self, now_us: u64) -> Option<LogWrite> {
        if self.failed.is_some() || self.in_flight.len() >= self.options.in_flight_max {
            return None;
        }
        if self.closed.is_empty() {
            self.close_batch();
        }
        let mut batch = self.closed.pop_front()?;
        let header = BatchHeader {
            length: (batch.used - batch.header_at) as u32,
            records: batch.records,
            previous: batch.previous,
            last: batch.last,
            durable: self.durable_for_sure(),
        };
        let at = batch.header_at;
        batch.buffer[at..at + BATCH_HEADER].copy_from_slice(&header.encode(batch.seed));
        self.marked = header.durable;
        self.pending_bytes -= batch.used - at - BATCH_HEADER;
        let id = self.id_next;
        self.id_next += 1;
        self.handed_out += 1;
        self.in_flight.push_back(Flight {
            id,
            path: batch.path,
            offset: batch.offset,
            bytes: batch.buffer.len(),
            last: batch.last,
            started_us: now_us,
            is_done: false,
        });
        Some(LogWrite {
            id,
            file: batch.file,
            offset: batch.offset,
            buffer: batch.buffer,
        })
    }

    /// Takes the result of a write: the bytes written, as the ring reports them.
    ///
    /// # Errors
    /// [`WalError::Failed`] when it failed or fell short, now and ever after; what was durable
    /// stays so.
    pub fn complete(
        &mut self,
        id: u64,
        mut buffer: AlignedBuffer,
        result: io::Result<usize>,
        now_us: u64,
    ) -> Result<Completion, WalError> {
        let flight = self.in_flight.iter_mut().find(|flight| flight.id == id);
        let flight = flight.expect("a completion belongs to a write in flight");
        assert!(!flight.is_done, "a write completes once");
        self.handed_out -= 1;
        let fault = match result {
            Ok(count) if count == flight.bytes => None,
            Ok(count) => Some(format!("only {count} bytes were taken")),
            Err(error) => Some(error.to_string()),
        };
        let is_standard = buffer.capacity() <= self.options.batch_bytes_max + BLOCK;
        let has_place = self.spare.len() < self.options.in_flight_max + 2;
        if is_standard && (has_place || buffer.slot().is_some()) {
            buffer.clear();
            self.spare.push(buffer);
        }
        if let Some(fault) = fault {
            let reason: Arc<str> = format!(
                "{} bytes at offset {} of {}: {fault}",
                flight.bytes,
                flight.offset,
                flight.path.display()
            )
            .into();
            let reason = self.failed.get_or_insert(reason).clone();
            return Err(WalError::Failed(reason));
        }
        flight.is_done = true;
        let bytes = flight.bytes;
        let elapsed_us = now_us.saturating_sub(flight.started_us);
        let before = self.durable;
        while self.in_flight.front().is_some_and(|flight| flight.is_done) {
            let flight = self.in_flight.pop_front().expect("looked at just now");
            self.durable = flight.last;
        }
        Ok(Completion {
            bytes,
            elapsed_us,
            has_advanced: self.durable > before,
        })
    }

    /// The last zxid such that it and all before it are durable.
    pub fn durable_zxid(&self) -> Zxid {
        self.durable
    }

    /// What a batch may say of durability: nothing where writes do not wait for the device
    /// (`forceSync=no`), or a tail that a power loss tore would pass for damage.
    fn durable_for_sure(&self) -> Zxid {
        if self.options.is_synchronous {
            self.durable
        } else {
            Zxid::ZERO
        }
    }

    /// The last zxid taken in.
    pub fn appended_zxid(&self) -> Zxid {
        self.appended
    }

    /// Whether records wait to be submitted.
    pub fn has_unwritten(&self) -> bool {
        self.open.is_some() || !self.closed.is_empty()
    }

    /// Writes submitted whose place in the durable prefix is not reached yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the driver should take in no more for now: too much waits to be submitted, or the
    /// segment is nearly used up and the next one is still being made. Not so when it cannot be
    /// made: then [`Wal::append`] refuses, and the client is told.
    pub fn is_full(&self) -> bool {
        if self.pending_bytes >= self.options.pending_bytes_max {
            return true;
        }
        self.refusal.is_none() && self.is_used_up()
    }

    /// Whether the next segment cannot be made and this one is nearly used up: records are refused, or
    /// will be soon.
    pub fn lacks_room(&self) -> bool {
        self.refusal.is_some() && self.is_used_up()
    }

    /// Whether the segment is nearly used up, and there is no other yet.
    fn is_used_up(&self) -> bool {
        let Some(current) = &self.current else {
            return false;
        };
        let reserve = (self.options.batch_bytes_max as u64).min(current.bytes / 4);
        let open = self.open.as_ref().map_or(0, |batch| batch.buffer.len());
        let left = current.bytes.saturating_sub(current.tail + open as u64);
        left < reserve && !matches!(self.next, Next::Ready(_))
    }

    /// Why records are or will soon be refused for want of space.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Lets the next record start a new segment, as soon as one is ready and if enough of this one is
    /// used: asked for when a snapshot starts, so that purging can remove what lies before it.
    pub fn roll(&mut self) {
        self.close_batch();
        let used = self.current.as_ref().map(|current| current.tail);
        self.roll_wanted = used.is_some_and(|used| used >= self.options.roll_bytes_min);
    }

    /// Has an idle log say that all of it is durable, in a block without records; to be called
    /// every second or so and before a clean stop. Returns whether that gave something to write.
    ///
    /// Without it the last writes before a pause could not be told from a torn tail if they were
    /// damaged later.
    pub fn mark(&mut self) -> bool {
        let is_idle = self.failed.is_none() && !self.has_unwritten() && self.in_flight.is_empty();
        let has_room = self.current.as_ref().is_some_and(|current| {
            current.tail > 0 && current.tail + BLOCK as u64 <= current.bytes
        });
        if !is_idle || !has_room || self.marked >= self.durable_for_sure() {
            return false;
        }
        self.open_batch(0, self.appended);
        self.close_batch();
        true
    }

    /// Writes what was taken in, waiting for the device: for when no ring drives the log. Nothing
    /// may be in flight.
    ///
    /// # Errors
    /// [`WalError::Failed`].
    pub fn flush(&mut self) -> Result<(), WalError> {
        assert!(
            self.in_flight.is_empty() || self.failed.is_some(),
            "nothing is in flight"
        );
        while let Some(write) = self.poll_write(0) {
            let count = write.buffer.len();
            let result = write.file.write_at(write.offset, &write.buffer);
            let result = result.map(|()| count).map_err(|error| error.source);
            self.complete(write.id, write.buffer, result, 0)?;
        }
        match &self.failed {
            Some(reason) => Err(WalError::Failed(reason.clone())),
            None => Ok(()),
        }
    }

    /// Whether no write and no task is under way, so that nothing else touches the log's files.
    pub fn is_quiet(&self) -> bool {
        self.handed_out == 0
    }

    /// Work for the background thread, which runs it in the order given.
    pub fn poll_segment_task(&mut self) -> Option<SegmentTask> {
        if let Some(work) = self.tasks.pop_front() {
            self.handed_out += 1;
            return Some(SegmentTask { work });
        }
        if self.failed.is_some() {
            return None;
        }
        // A segment shorter than the next one, made under another `preAllocSize` or cut by hand, is used up
        // before the next one would be ready.
        // And without room for it before, it is waited for.
        let due = match (&self.current, &self.refusal) {
            (Some(current), None) => {
                let missing = self.options.segment_bytes.saturating_sub(current.bytes);
                missing + FILL_PACE * current.tail
            }
            (None, None) => 0,
            (_, Some(_)) => u64::MAX,
        };
        let work = match std::mem::replace(&mut self.next, Next::Requested) {
            Next::Wanted => Work::Begin(Plan {
                dir: self.dir.clone(),
                sequence: self.sequence_next,
                bytes: self.options.segment_bytes,
                is_synchronous: self.options.is_synchronous,
            }),
            Next::Begun(filling) if filling.filled <= due => Work::Fill(filling),
            other => {
                self.next = other;
                return None;
            }
        };
        self.handed_out += 1;
        Some(SegmentTask { work })
    }

    /// Takes the result of a task.
    ///
    /// # Errors
    /// What went wrong, to be logged. The log goes on; [`Wal::retry_segment_tasks`] tries again.
    pub fn segment_done(&mut self, result: SegmentResult) -> Result<(), DiskError> {
        self.handed_out -= 1;
        match result.outcome {
            Outcome::Filled(filling) => {
                self.next = Next::Begun(filling);
                Ok(())
            }
            Outcome::Prepared(Ok(prepared)) => {
                assert!(matches!(self.next, Next::Requested), "one at a time");
                self.next = Next::Ready(prepared);
                self.refusal = None;
                Ok(())
            }
            Outcome::Prepared(Err(error)) => {
                self.next = Next::Refused;
                self.refusal = Some(error.to_string().into());
                Err(error)
            }
            Outcome::Named { result: Ok(()), .. } => Ok(()),
            Outcome::Named {
                result: Err(error),
                from,
                to,
            } => {
                self.tasks_failed.push(Work::Name { from, to });
                Err(error)
            }
        }
    }

    /// Lets tasks that failed be tried again; to be called every second or so.
    pub fn retry_segment_tasks(&mut self) {
        self.tasks.extend(self.tasks_failed.drain(..));
        if matches!(self.next, Next::Refused) {
            self.next = Next::Wanted;
        }
    }
}

//! Reading records back from the files of a log that is being written: a leader sends them to a
//! learner that is behind (Apache's `TxnLogProposalIterator`).

use std::path::Path;
use std::sync::Arc;

use super::WalError;
use super::format::{
    BATCH_HEADER, BatchHeader, SegmentHeader, sequence_of_ahead_name, zxid_of_name,
};
use super::scan::read_batch;
use crate::io::{BLOCK, Disk, DiskFile, OpenMode};
use crate::types::Zxid;

/// Bytes read at once.
const WINDOW: usize = 256 << 10;

/// How often the files are listed anew because one was renamed or removed meanwhile.
const LISTINGS_MAX: usize = 10;

/// What [`read_log`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLog {
    /// The zxid right before the first record handed out: the newest that is not above `after`,
    /// of a record or of the snapshot that the log began with. It is `after` itself if that is
    /// part of this history, and older if not. `None` where the log does not reach back to
    /// `after`; nothing was handed out then.
    pub previous: Option<Zxid>,
    /// The last record handed out; without one, `previous`, or else `after`.
    pub last: Zxid,
    /// Whether all records up to `up_to` were handed out. If not, the bound on bytes was reached,
    /// or what follows is not written yet.
    pub is_complete: bool,
}

impl ReadLog {
    /// Whether the first record handed out follows `after` without a gap.
    pub fn follows(&self, after: Zxid) -> bool {
        self.previous == Some(after)
    }
}

/// Calls `on_record` with the records above `after` and up to `up_to`, in order, until their
/// payloads together have `bytes_max` bytes, but with at least one. The log may be written
/// meanwhile; what is durable is found, what is not yet may be or not.
///
/// Cost: the headers of the batches before `after` in its segment, and what is handed out.
///
/// # Errors
/// [`WalError::Disk`]. Where a batch is damaged, reading ends before it.
pub fn read_log(
    disk: &dyn Disk,
    dir: &Path,
    after: Zxid,
    up_to: Zxid,
    bytes_max: usize,
    on_record: &mut dyn FnMut(Zxid, &[u8]),
) -> Result<ReadLog, WalError> {
    let segments = open_segments(disk, dir)?;
    let mut read = ReadLog {
        previous: None,
        last: after,
        is_complete: false,
    };
    let is_before = |segment: &Segment| segment.header.first <= after;
    let start = segments.iter().rposition(is_before).unwrap_or(0);
    let begins_at = segments.get(start).map(|segment| segment.header.previous);
    let Some(previous) = begins_at.filter(|previous| *previous <= after) else {
        return Ok(read);
    };
    let mut reading = Reading {
        after,
        up_to,
        bytes_left: bytes_max,
        previous,
        last: previous,
        has_record: false,
        is_complete: previous >= up_to,
        is_over: false,
        on_record,
    };
    for segment in &segments[start..] {
        if reading.is_over || segment.header.previous != reading.last {
            break;
        }
        reading.read(segment)?;
    }
    read.previous = Some(reading.previous);
    read.last = if reading.has_record {
        reading.last
    } else {
        reading.previous
    };
    read.is_complete = reading.is_complete || read.last >= up_to;
    Ok(read)
}

/// A segment's file, which stays readable under whatever name.
struct Segment {
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
}

fn open_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<Segment>, WalError> {
    for _ in 1..LISTINGS_MAX {
        let (segments, is_whole) = list_segments(disk, dir)?;
        if is_whole {
            return Ok(segments);
        }
    }
    Ok(list_segments(disk, dir)?.0)
}

/// The segments in their order, and whether none was missed while names changed.
fn list_segments(disk: &dyn Disk, dir: &Path) -> Result<(Vec<Segment>, bool), WalError> {
    let mut segments = Vec::new();
    let mut is_whole = true;
    for name in disk.list(dir)? {
        if zxid_of_name(&name).is_none() && sequence_of_ahead_name(&name).is_none() {
            continue;
        }
        let file = match disk.open(&dir.join(&name), OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => {
                is_whole = false;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let mut head = vec![0; BLOCK];
        let count = file.read_at(0, &mut head)?;
        if let Ok(header) = SegmentHeader::decode(&head[..count]) {
            segments.push(Segment { file, header });
        }
    }
    segments.sort_by_key(|segment| segment.header.first);
    segments.dedup_by_key(|segment| segment.header.sequence);
    let mut pairs = segments.windows(2);
    is_whole &= pairs.all(|pair| pair[1].header.sequence == pair[0].header.sequence + 1);
    Ok((segments, is_whole))
}

/// On the way through the segments.
struct Reading<'a> {
    after: Zxid,
    up_to: Zxid,
    bytes_left: usize,
    previous: Zxid,
    /// The last record seen.
    last: Zxid,
    has_record: bool,
    is_complete: bool,
    is_over: bool,
    on_record: &'a mut dyn FnMut(Zxid, &[u8]),
}

impl Reading<'_> {
    fn read(&mut self, segment: &Segment) -> Result<(), WalError> {
        let seed = segment.header.seed();
        let mut window = Window::new(&segment.file);
        let mut offset = BLOCK as u64;
        while !self.is_over {
            let Some(header) = window.header(offset, seed)? else {
                return Ok(());
            };
            if header.previous != self.last {
                self.is_over = true;
                return Ok(());
            }
            let length = header.length as usize;
            if header.last <= self.after {
                (self.last, self.previous) = (header.last, header.last);
            } else if !self.take_batch(&mut window, offset, length, seed)? {
                self.is_over = true;
                return Ok(());
            }
            offset += length.next_multiple_of(BLOCK) as u64;
        }
        Ok(())
    }

    /// Hands out what is wanted of a batch; returns whether it is whole.
    fn take_batch(
        &mut self,
        window: &mut Window<'_>,
        offset: u64,
        length: usize,
        seed: u32,
    ) -> Result<bool, WalError> {
        if read_batch(window.bytes(offset, length)?, 0, seed).is_err() {
            // It may have been read while it was written.
            window.forget();
        }
        let Ok(batch) = read_batch(window.bytes(offset, length)?, 0, seed) else {
            return Ok(false);
        };
        for record in batch.records() {
            if record.zxid > self.up_to {
                (self.is_complete, self.is_over) = (true, true);
                break;
            }
            self.last = record.zxid;
            if record.zxid <= self.after {
                self.previous = record.zxid;
                continue;
            }
            (self.on_record)(record.zxid, record.payload);
            self.has_record = true;
            self.bytes_left = self.bytes_left.saturating_sub(record.payload.len());
            if self.bytes_left == 0 {
                self.is_over = true;
                break;
            }
        }
        Ok(true)
    }
}

/// A part of a file in memory.
struct Window<'a> {
    file: &'a Arc<dyn DiskFile>,
    offset: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a Arc<dyn DiskFile>) -> Window<'a> {
        Window {
            file,
            offset: 0,
            bytes: Vec::new(),
        }
    }

    fn forget(&mut self) {
        self.bytes.clear();
    }

    /// The bytes at `offset`; fewer than `length` where the file ends.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8], WalError> {
        let end = self.offset + self.bytes.len() as u64;
        if offset < self.offset || offset + length as u64 > end {
            // A length comes from a header whose checksum is right, but the file has the say.
            let rest = self.file.length()?.saturating_sub(offset);
            let wanted = (length.max(WINDOW) as u64).min(rest) as usize;
            self.bytes.resize(wanted, 0);
            let count = self.file.read_at(offset, &mut self.bytes)?;
            self.bytes.truncate(count);
            self.offset = offset;
        }
        let from = (offset - self.offset) as usize;
        let to = (from + length).min(self.bytes.len());
        Ok(&self.bytes[from..to])
    }

    /// The header of the batch at `offset`, if one is there.
    fn header(&mut self, offset: u64, seed: u32) -> Result<Option<BatchHeader>, WalError> {
        let found = BatchHeader::decode(self.bytes(offset, BATCH_HEADER)?, seed);
        if found.is_some() {
            return Ok(found);
        }
        self.forget();
        Ok(BatchHeader::decode(self.bytes(offset, BATCH_HEADER)?, seed))
    }
}

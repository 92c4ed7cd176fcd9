//! The write-ahead log: segments, group commit, recovery.
//!
//! [`Wal`] is sans-IO in its hot part: [`Wal::append`] collects records, [`Wal::poll_write`] gives
//! the next write for the sequencer's ring, [`Wal::complete`] takes its result. Completions come in
//! any order; [`Wal::durable_zxid`] covers only the contiguous prefix. What blocks (making files,
//! renaming them) is a [`SegmentTask`] for the background thread.
//!
//! Invariants:
//! - a block is written once: a batch of records starts at a block of its own, so a torn write
//!   harms nothing that was acknowledged before;
//! - a failed or short write latches: nothing is written after it;
//! - a batch says up to where the log was durable when it was submitted, which tells a tail torn
//!   by a crash (records that nobody was told of) from damage to acknowledged records;
//! - a segment knows its number and the zxid before it, so a missing one is noticed.
//!
//! The format is described byte by byte in ARCHITECTURE.md, "On disk".

mod aside;
mod dump;
mod error;
mod format;
mod log;
mod purge;
mod read;
mod recovery;
mod scan;
mod segment;
#[cfg(test)]
mod tests;
mod truncate;

pub use aside::set_aside_damage;
pub use dump::{DumpSummary, dump};
pub use error::WalError;
pub use log::{Completion, LogWrite, Wal};
pub use purge::purge;
pub use read::{ReadLog, read_log};
pub use recovery::Recovered;
pub use segment::{SegmentResult, SegmentTask};
pub use truncate::remove_all;

use crate::io::BLOCK;

/// Default of [`WalOptions::segment_bytes`] (Apache's `preAllocSize`).
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

/// The smallest segment: a header and a batch of a few blocks.
pub const SEGMENT_BYTES_MIN: u64 = 16 * BLOCK as u64;

/// Most writes in flight, at most; one more batch collects meanwhile.
const IN_FLIGHT_LIMIT: usize = 16;

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Bytes of a segment, made and zero-filled ahead; rounded up to whole blocks and to at least
    /// [`SEGMENT_BYTES_MIN`], default 64 MiB. (`preAllocSize`, or `txnLogSizeLimitInKb` where that
    /// is smaller)
    pub segment_bytes: u64,
    /// Bytes of a segment that must be used before [`Wal::roll`] leaves it; default 0. Zeros cost the disk
    /// as much as records do, and what is left of a segment was filled in vain.
    pub roll_bytes_min: u64,
    /// Bytes that one write carries at most, but for a record that is larger alone; default 256
    /// KiB.
    pub batch_bytes_max: usize,
    /// Writes submitted and not yet counted as durable; 1 to 16, default 2.
    pub in_flight_max: usize,
    /// Bytes taken in and not yet submitted past which [`Wal::is_full`]; default 4 MiB.
    pub pending_bytes_max: usize,
    /// Whether a write counts only when the device has it; default yes. (`forceSync`)
    pub is_synchronous: bool,
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            roll_bytes_min: 0,
            batch_bytes_max: 256 << 10,
            in_flight_max: 2,
            pending_bytes_max: 4 << 20,
            is_synchronous: true,
        }
    }
}

impl WalOptions {
    /// The same with every value in its range.
    fn rounded(mut self) -> WalOptions {
        let block = BLOCK as u64;
        self.segment_bytes = self
            .segment_bytes
            .max(SEGMENT_BYTES_MIN)
            .next_multiple_of(block);
        self.batch_bytes_max = self.batch_bytes_max.next_multiple_of(BLOCK).max(2 * BLOCK);
        self.in_flight_max = self.in_flight_max.clamp(1, IN_FLIGHT_LIMIT);
        self
    }
}

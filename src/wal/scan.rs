//! Reading the batches of a segment, whole or damaged.

use super::format::{
    BATCH_HEADER, BatchHeader, RECORD_HEADER, RecordRef, SegmentHeader, decode_record,
    seed_from_first_batch,
};
use crate::io::{BLOCK, SECTOR};
use crate::types::Zxid;

/// A batch that is whole.
pub(super) struct BatchRef<'a> {
    pub header: BatchHeader,
    /// Where the next batch would start.
    pub end: usize,
    records: &'a [u8],
    seed: u32,
}

impl<'a> BatchRef<'a> {
    /// Its records, in order.
    pub fn records(&self) -> impl Iterator<Item = RecordRef<'a>> {
        let (mut rest, seed) = (self.records, self.seed);
        std::iter::from_fn(move || {
            let record = decode_record(rest, seed)?;
            rest = &rest[RECORD_HEADER + record.payload.len()..];
            Some(record)
        })
    }
}

/// Where a batch is not whole, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Offset in the segment.
    pub offset: usize,
    pub detail: &'static str,
}

/// Reads the batch that starts at `offset`.
pub(super) fn read_batch(bytes: &[u8], offset: usize, seed: u32) -> Result<BatchRef<'_>, Fault> {
    let fault = |offset, detail| Err(Fault { offset, detail });
    let rest = bytes.get(offset..).unwrap_or_default();
    let Some(header) = BatchHeader::decode(rest, seed) else {
        return fault(offset, "no valid batch header");
    };
    let records = rest.get(BATCH_HEADER..header.length as usize);
    let Some(records) = records else {
        return fault(offset, "the file ends within the batch");
    };
    let (mut at, mut last) = (0, header.previous);
    for _ in 0..header.records {
        let record_at = offset + BATCH_HEADER + at;
        let Some(record) = decode_record(&records[at..], seed) else {
            return fault(record_at, "the record does not match its checksum");
        };
        if record.zxid <= last {
            return fault(record_at, "the zxid does not rise");
        }
        last = record.zxid;
        at += RECORD_HEADER + record.payload.len();
    }
    if at != records.len() || last != header.last {
        return fault(offset, "the batch does not match its header");
    }
    Ok(BatchRef {
        header,
        end: offset + (header.length as usize).next_multiple_of(BLOCK),
        records,
        seed,
    })
}

/// What stands after a place where no whole batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beyond {
    /// Where the first whole batch is.
    pub first_valid: Option<usize>,
    /// Up to where whole batches say that the log was durable.
    pub durable: Zxid,
}

/// Looks for whole batches at or after `offset`.
pub(super) fn look_beyond(bytes: &[u8], offset: usize, seed: u32) -> Beyond {
    let mut beyond = Beyond::default();
    let mut at = offset.next_multiple_of(BLOCK);
    while at < bytes.len() {
        match read_batch(bytes, at, seed) {
            Ok(batch) => {
                beyond.first_valid.get_or_insert(at);
                beyond.durable = beyond.durable.max(batch.header.durable);
                at = batch.end;
            }
            Err(_) => at += BLOCK,
        }
    }
    beyond
}

/// What a segment's checksums start from; worked out from its first batch where its header is
/// lost.
pub(super) fn seed_of_segment(bytes: &[u8]) -> Option<u32> {
    match SegmentHeader::decode(bytes) {
        Ok(header) => Some(header.seed()),
        Err(_) => seed_from_first_batch(bytes.get(BLOCK..)?),
    }
}

/// Whether the batch at `offset` was written in full and is damaged all the same: none of its
/// sectors is the zeros that were there before. `end` is where the next whole batch starts, if
/// that is known.
pub(super) fn is_damaged_not_torn(
    bytes: &[u8],
    offset: usize,
    end: Option<usize>,
    seed: u32,
) -> bool {
    let by_header = || {
        let header = BatchHeader::decode(bytes.get(offset..)?, seed)?;
        Some(offset + (header.length as usize).next_multiple_of(BLOCK))
    };
    let Some(extent) = end
        .or_else(by_header)
        .and_then(|end| bytes.get(offset..end))
    else {
        return false;
    };
    extent
        .chunks(SECTOR)
        .all(|sector| sector.iter().any(|byte| *byte != 0))
}

/// Where the last byte that is not zero ends.
pub(super) fn written_end(bytes: &[u8]) -> usize {
    // By whole blocks first: most of a segment is zeros, and comparing blocks is fast.
    let mut end = bytes.len();
    while end >= BLOCK && bytes[end - BLOCK..end] == [0; BLOCK] {
        end -= BLOCK;
    }
    let zeros = bytes[..end].iter().rev().take_while(|byte| **byte == 0);
    end - zeros.count()
}

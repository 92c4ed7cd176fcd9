//! The bytes of a segment: its header, batches and records. All integers are little-endian.

use crate::io::BLOCK;
use crate::types::Zxid;

/// Starts a segment.
pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"zkoreLOG";

/// Starts a transaction log of Apache ZooKeeper's.
pub(super) const APACHE_MAGIC: [u8; 4] = *b"ZKLG";

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// Starts a batch.
const BATCH_MAGIC: [u8; 4] = *b"zkBT";

/// Bytes of a segment's header that carry something; it fills a whole block.
const SEGMENT_HEADER: usize = 44;

/// Bytes of a batch's header.
pub(super) const BATCH_HEADER: usize = 40;

/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER: usize = 16;

/// Fills a block after the last record. Not zero, so that a sector of zeros tells that it was
/// never written.
pub(super) const FILL: u8 = 0xa5;

/// What stands at the start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Its number; each is one more than that of the segment before.
    pub sequence: u64,
    /// The zxid of its first record.
    pub first: Zxid,
    /// The zxid before that: of the last record of the segment before, or of the snapshot that
    /// the log was started from.
    pub previous: Zxid,
}

/// Why a segment's header is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Nothing was written there yet.
    Blank,
    /// Not what was written.
    Damaged,
    /// A file of Apache ZooKeeper's.
    Foreign,
    /// Another version of the format.
    Version(u32),
}

impl SegmentHeader {
    /// The whole block.
    pub fn encode(&self) -> [u8; BLOCK] {
        let mut block = [FILL; BLOCK];
        block[0..8].copy_from_slice(&SEGMENT_MAGIC);
        block[8..12].copy_from_slice(&VERSION.to_le_bytes());
        block[12..16].copy_from_slice(&(BLOCK as u32).to_le_bytes());
        block[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        block[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        block[32..40].copy_from_slice(&self.previous.0.to_le_bytes());
        let crc = crc32c::crc32c(&block[..40]);
        block[40..SEGMENT_HEADER].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads the header of a segment.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        if bytes.starts_with(&APACHE_MAGIC) {
            return Err(HeaderFault::Foreign);
        }
        let head = bytes.get(..SEGMENT_HEADER).ok_or(HeaderFault::Blank)?;
        if head.iter().all(|byte| *byte == 0) {
            return Err(HeaderFault::Blank);
        }
        if head[..8] != SEGMENT_MAGIC || u32_at(head, 40) != crc32c::crc32c(&head[..40]) {
            return Err(HeaderFault::Damaged);
        }
        if u32_at(head, 8) != VERSION || u32_at(head, 12) != BLOCK as u32 {
            return Err(HeaderFault::Version(u32_at(head, 8)));
        }
        Ok(SegmentHeader {
            sequence: u64_at(head, 16),
            first: zxid_at(head, 24),
            previous: zxid_at(head, 32),
        })
    }

    /// What the checksums within the segment start from, so that bytes of another segment, or of
    /// this file's earlier use, never pass for its own.
    pub fn seed(&self) -> u32 {
        seed_of(self.first, self.previous)
    }
}

fn seed_of(first: Zxid, previous: Zxid) -> u32 {
    let first = crc32c::crc32c(&first.0.to_le_bytes());
    crc32c::crc32c_append(first, &previous.0.to_le_bytes())
}

/// What the seed of a segment must be if its first batch, at the start of `bytes`, is whole: for a
/// segment whose header is lost.
pub(super) fn seed_from_first_batch(bytes: &[u8]) -> Option<u32> {
    let head = bytes.get(..BATCH_HEADER + RECORD_HEADER)?;
    Some(seed_of(zxid_at(head, BATCH_HEADER + 8), zxid_at(head, 16)))
}

/// What stands before the records of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// Bytes of this header and the records.
    pub length: u32,
    /// Number of records; none in a mark.
    pub records: u32,
    /// The zxid before the batch.
    pub previous: Zxid,
    /// The zxid of the last record; `previous` in a mark.
    pub last: Zxid,
    /// Up to where the log was durable when the batch was submitted.
    pub durable: Zxid,
}

impl BatchHeader {
    /// The bytes.
    pub fn encode(&self, seed: u32) -> [u8; BATCH_HEADER] {
        let mut bytes = [0; BATCH_HEADER];
        bytes[4..8].copy_from_slice(&BATCH_MAGIC);
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.records.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.previous.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.last.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.durable.0.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a batch's header, if one is whole at the start of `bytes`.
    pub fn decode(bytes: &[u8], seed: u32) -> Option<BatchHeader> {
        let head = bytes.get(..BATCH_HEADER)?;
        if head[4..8] != BATCH_MAGIC || u32_at(head, 0) != crc32c::crc32c_append(seed, &head[4..]) {
            return None;
        }
        Some(BatchHeader {
            length: u32_at(head, 8),
            records: u32_at(head, 12),
            previous: zxid_at(head, 16),
            last: zxid_at(head, 24),
            durable: zxid_at(head, 32),
        })
    }
}

/// The bytes before a record's payload.
pub(super) fn encode_record_header(zxid: Zxid, payload: &[u8], seed: u32) -> [u8; RECORD_HEADER] {
    let mut bytes = [0; RECORD_HEADER];
    bytes[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[8..16].copy_from_slice(&zxid.0.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &bytes[4..]), payload);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordRef<'a> {
    /// Its zxid.
    pub zxid: Zxid,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Reads the record at the start of `bytes`, if it is whole.
pub(super) fn decode_record(bytes: &[u8], seed: u32) -> Option<RecordRef<'_>> {
    let head = bytes.get(..RECORD_HEADER)?;
    let end = RECORD_HEADER.checked_add(u32_at(head, 4) as usize)?;
    let payload = bytes.get(RECORD_HEADER..end)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &head[4..]), payload);
    (u32_at(head, 0) == crc).then(|| RecordRef {
        zxid: zxid_at(head, 8),
        payload,
    })
}

/// The file name of a segment whose first record has this zxid (Apache's `Util.makeLogName`).
pub(super) fn segment_name(first: Zxid) -> String {
    format!("log.{:x}", first.0)
}

/// The zxid in a segment's file name.
pub(super) fn zxid_of_name(name: &str) -> Option<Zxid> {
    let digits = name.strip_prefix("log.")?;
    i64::from_str_radix(digits, 16).ok().map(Zxid)
}

/// The file name of a segment made ahead.
pub(super) fn ahead_name(sequence: u64) -> String {
    format!("segment.{sequence}.ahead")
}

/// The number in the name of a segment made ahead.
pub(super) fn sequence_of_ahead_name(name: &str) -> Option<u64> {
    let number = name.strip_prefix("segment.")?.strip_suffix(".ahead")?;
    number.parse().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn zxid_at(bytes: &[u8], at: usize) -> Zxid {
    Zxid(u64_at(bytes, at) as i64)
}

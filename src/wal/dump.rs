//! Listing a segment for people: `zkore log`, and what can be saved of a damaged one.

use std::io::Write;
use std::path::Path;

use super::WalError;
use super::format::{
    BATCH_HEADER, BatchHeader, RECORD_HEADER, RecordRef, SegmentHeader, decode_record,
};
use super::scan::{read_batch, seed_of_segment, written_end};
use crate::io::{BLOCK, Disk, read_whole};
use crate::jute::txn::{Txn, decode_txn};
use crate::types::{SessionId, Zxid};

/// What a listing found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpSummary {
    /// Records listed.
    pub records: u64,
    /// Places where a batch was not whole.
    pub faults: u64,
}

/// Lists the records of a segment to `out`, one a line, and says where it is damaged; records
/// after a damaged place are listed too.
///
/// # Errors
/// [`WalError`] when the file cannot be read or is not a segment at all, or `out` not be written.
pub fn dump(disk: &dyn Disk, path: &Path, out: &mut dyn Write) -> Result<DumpSummary, WalError> {
    let bytes = read_whole(disk, path)?;
    let header = SegmentHeader::decode(&bytes);
    if let Err(fault) = header
        && let Some(error) = WalError::of_other_format(path, fault)
    {
        return Err(error);
    }
    list(&bytes, header.ok(), out).map_err(WalError::Output)
}

fn list(
    bytes: &[u8],
    header: Option<SegmentHeader>,
    out: &mut dyn Write,
) -> std::io::Result<DumpSummary> {
    let mut summary = DumpSummary::default();
    match header {
        Some(header) => writeln!(
            out,
            "segment {}, first zxid {}, after zxid {}",
            header.sequence, header.first, header.previous
        )?,
        None => {
            summary.faults += 1;
            writeln!(out, "offset 0: the header does not match its checksum")?;
        }
    }
    let Some(seed) = seed_of_segment(bytes) else {
        return Ok(summary);
    };
    let end = written_end(bytes);
    let (mut offset, mut is_in_fault) = (BLOCK, false);
    while offset < end {
        match read_batch(bytes, offset, seed) {
            Ok(batch) => {
                is_in_fault = false;
                for record in batch.records() {
                    summary.records += 1;
                    write_record(record, out)?;
                }
                offset = batch.end;
            }
            Err(fault) => {
                if !is_in_fault {
                    summary.faults += 1;
                    writeln!(out, "offset {}: {}", fault.offset, fault.detail)?;
                }
                is_in_fault = true;
                for record in records_of_broken_batch(&bytes[offset..], seed) {
                    summary.records += 1;
                    write_record(record, out)?;
                }
                offset += BLOCK;
            }
        }
    }
    Ok(summary)
}

/// The records before the damaged one, of a batch whose header is whole.
fn records_of_broken_batch(bytes: &[u8], seed: u32) -> Vec<RecordRef<'_>> {
    let mut records = Vec::new();
    let Some(header) = BatchHeader::decode(bytes, seed) else {
        return records;
    };
    let mut rest = &bytes[BATCH_HEADER..];
    while let Some(record) = decode_record(rest, seed)
        && records.len() < header.records as usize
    {
        rest = &rest[RECORD_HEADER + record.payload.len()..];
        records.push(record);
    }
    records
}

fn write_record(record: RecordRef<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    let zxid: Zxid = record.zxid;
    match decode_txn(record.payload) {
        Ok((header, txn, _)) => writeln!(
            out,
            "{} session {} cxid 0x{:x} zxid {zxid} {}",
            header.time,
            SessionId(header.client_id),
            header.cxid,
            describe(&txn),
        ),
        Err(error) => writeln!(
            out,
            "zxid {zxid}: {} bytes that are no transaction: {error}",
            record.payload.len()
        ),
    }
}

/// One transaction in words, without its data.
fn describe(txn: &Txn<'_>) -> String {
    let bytes = |data: &Option<&[u8]>| data.map_or(0, <[u8]>::len);
    match txn {
        Txn::Create { txn, is_create2 } => {
            let name = if *is_create2 { "create2" } else { "create" };
            format!("{name} {} {} bytes", txn.path, bytes(&txn.data))
        }
        Txn::CreateTtl(txn) => {
            let (data, ttl_ms) = (bytes(&txn.data), txn.ttl_ms);
            format!("createTTL {} {data} bytes ttl {ttl_ms} ms", txn.path)
        }
        Txn::CreateContainer(txn) => {
            format!("createContainer {} {} bytes", txn.path, bytes(&txn.data))
        }
        Txn::Delete { txn, .. } => format!("delete {}", txn.path),
        Txn::SetData(txn) => format!(
            "setData {} {} bytes version {}",
            txn.path,
            bytes(&txn.data),
            txn.version
        ),
        Txn::SetAcl(txn) => format!("setACL {} version {}", txn.path, txn.version),
        Txn::Check(txn) => format!("check {} version {}", txn.path, txn.version),
        Txn::CreateSession(txn) => format!("createSession timeout {} ms", txn.timeout_ms),
        Txn::CloseSession(_) => "closeSession".to_string(),
        Txn::Error(txn) => format!("error {}", txn.err),
        Txn::Multi(txns) => {
            let parts: Vec<String> = txns.iter().map(describe).collect();
            format!("multi [{}]", parts.join("; "))
        }
    }
}

//! Dropping the records above a zxid, which a leader asks for (Apache's `FileTxnLog.truncate`).
//!
//! A file `truncate.<hexadecimal zxid>` is the decision: once its name is durable, every start
//! finishes what is left to do. The steps may be repeated. No step makes sound batches look
//! damaged: whole segments go newest first, and the one with the cut in it is written anew beside
//! the old one, which it then replaces.

use std::path::{Path, PathBuf};

use super::format::{BATCH_HEADER, BatchHeader, FILL, RECORD_HEADER, SegmentHeader};
use super::recovery::find_segments;
use super::scan::read_batch;
use super::{Wal, WalError, WalOptions};
use crate::io::{BLOCK, Disk, OpenMode, read_whole};
use crate::types::Zxid;

/// Starts the name of the decision.
const DECISION: &str = "truncate.";

/// Ends the name of a segment that is being written anew.
const TEMPORARY: &str = ".tmp";

impl Wal {
    /// Drops every record above `above` from the log in `dir`, which nobody may have open. When
    /// it returns, they are gone for good; after a crash on the way there, either all of them are
    /// still there, or the next [`Wal::recover`] drops the rest. `after` is the zxid of a snapshot
    /// from before the cut.
    ///
    /// # Errors
    /// [`WalError::Corrupt`] and its like where the log is not sound from `after` on: nothing was
    /// dropped then. [`WalError::Disk`]: dropping goes on at the next start, if it was decided.
    pub fn truncate(
        disk: &dyn Disk,
        dir: &Path,
        options: WalOptions,
        after: Zxid,
        above: Zxid,
    ) -> Result<(), WalError> {
        // What is dropped could be all that shows an older part to be damaged, so all of it is
        // read first; this makes it durable too.
        let mut has_later = false;
        let mut on_record = |zxid: Zxid, _: &[u8]| has_later |= zxid > above;
        drop(Wal::recover(disk, dir, options, after, &mut on_record)?);
        if !has_later {
            return Ok(());
        }
        let decision = decision_path(dir, above);
        disk.open(&decision, OpenMode::Create)?.sync()?;
        finish_truncation(disk, dir)
    }
}

/// Finishes what a crash left of a truncation, if anything.
pub(super) fn finish_truncation(disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
    let mut decisions = Vec::new();
    let mut leftovers = Vec::new();
    for name in disk.list(dir)? {
        if let Some(above) = zxid_of_decision(&name) {
            decisions.push(above);
        } else if name.starts_with("log.") && name.ends_with(TEMPORARY) {
            leftovers.push(dir.join(name));
        }
    }
    for path in &leftovers {
        disk.remove(path)?;
    }
    if !decisions.is_empty() {
        disk.sync_dir(dir)?;
    }
    // There is one at most; were there more, the lowest would decide.
    for above in &decisions {
        drop_above(disk, dir, *above)?;
        disk.remove(&decision_path(dir, *above))?;
    }
    if !decisions.is_empty() || !leftovers.is_empty() {
        disk.sync_dir(dir)?;
    }
    Ok(())
}

fn drop_above(disk: &dyn Disk, dir: &Path, above: Zxid) -> Result<(), WalError> {
    let mut segments = find_segments(disk, dir)?;
    while let Some(last) = segments.pop() {
        if last.first <= above {
            return cut_within(disk, &last.path, above);
        }
        disk.remove(&last.path)?;
        disk.sync_dir(dir)?;
    }
    Ok(())
}

/// Writes a segment anew without the records above `above`.
fn cut_within(disk: &dyn Disk, path: &Path, above: Zxid) -> Result<(), WalError> {
    let mut bytes = read_whole(disk, path)?;
    if !cut_bytes(&mut bytes, above) {
        return Ok(());
    }
    rewrite(disk, path, &bytes)
}

/// Puts a segment of these bytes in the place of one; after a crash it is the old or the new one.
pub(super) fn rewrite(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), WalError> {
    let mut temporary = path.to_path_buf().into_os_string();
    temporary.push(TEMPORARY);
    let temporary = PathBuf::from(temporary);
    let file = disk.open(&temporary, OpenMode::Create)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    Ok(())
}

/// Turns what stands after the records up to `above` into zeros; returns whether there was
/// anything. A batch with records on both sides keeps those of the one side.
fn cut_bytes(bytes: &mut [u8], above: Zxid) -> bool {
    let Ok(header) = SegmentHeader::decode(bytes) else {
        return false;
    };
    let seed = header.seed();
    let mut offset = BLOCK;
    while let Ok(batch) = read_batch(bytes, offset, seed) {
        if batch.header.last <= above {
            offset = batch.end;
            continue;
        }
        let kept = batch.records().take_while(|record| record.zxid <= above);
        let (mut length, mut records, mut last) = (BATCH_HEADER, 0, batch.header.previous);
        for record in kept {
            length += RECORD_HEADER + record.payload.len();
            records += 1;
            last = record.zxid;
        }
        let kept = BatchHeader {
            length: length as u32,
            records,
            last,
            ..batch.header
        };
        let mut end = offset;
        if records > 0 {
            bytes[offset..offset + BATCH_HEADER].copy_from_slice(&kept.encode(seed));
            // A file may end within the filling.
            end = (offset + length).next_multiple_of(BLOCK).min(bytes.len());
            bytes[offset + length..end].fill(FILL);
        }
        bytes[end..].fill(0);
        return true;
    }
    false
}

fn decision_path(dir: &Path, above: Zxid) -> PathBuf {
    dir.join(format!("{DECISION}{:x}", above.0))
}

fn zxid_of_decision(name: &str) -> Option<Zxid> {
    let digits = name.strip_prefix(DECISION)?;
    i64::from_str_radix(digits, 16).ok().map(Zxid)
}

/// Removes the whole log in `dir`, the newest segment first, so that what a crash leaves is the
/// start of it; nobody may have it open.
///
/// # Errors
/// [`WalError::Disk`], and [`WalError::Foreign`] and [`WalError::Version`] for files that are not
/// ours to remove.
pub fn remove_all(disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
    for name in disk.list(dir)? {
        if zxid_of_decision(&name).is_some() {
            disk.remove(&dir.join(name))?;
        }
    }
    let mut segments = find_segments(disk, dir)?;
    while let Some(last) = segments.pop() {
        disk.remove(&last.path)?;
        disk.sync_dir(dir)?;
    }
    disk.sync_dir(dir)?;
    Ok(())
}

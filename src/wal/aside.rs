//! Setting a damaged part of the log aside, for a member that can get it from the others.

use std::path::{Path, PathBuf};

use super::WalError;
use super::format::SegmentHeader;
use super::recovery::find_segments;
use super::scan::read_batch;
use super::truncate::rewrite;
use crate::io::{BLOCK, Disk, DiskError, OpenMode, read_whole};

/// Sets aside what [`WalError::Corrupt`] or [`WalError::Missing`] tells of: the damaged batches and
/// all that follows, or all that follows the gap. Files are renamed or copied under the suffix
/// `.bad`; none is removed. What is left is sound at each step, the newest segment going first.
/// Returns whether the error was one of these.
///
/// # Errors
/// [`WalError::Disk`]; to be tried again at the next start.
pub fn set_aside_damage(disk: &dyn Disk, dir: &Path, error: &WalError) -> Result<bool, WalError> {
    let (path, is_partly_good) = match error {
        WalError::Corrupt { path, .. } => (path, true),
        WalError::Missing { path, .. } => (path, false),
        _ => return Ok(false),
    };
    let mut segments = find_segments(disk, dir)?;
    while let Some(last) = segments.pop() {
        let is_damaged = last.path == *path;
        if is_damaged && is_partly_good && cut(disk, dir, path)? {
            break;
        }
        disk.rename(&last.path, &free_name(disk, dir, &last.path)?)?;
        disk.sync_dir(dir)?;
        if is_damaged {
            break;
        }
    }
    Ok(true)
}

/// Writes a segment anew with its whole batches only, after a copy of it was made; returns whether
/// it has any.
fn cut(disk: &dyn Disk, dir: &Path, path: &Path) -> Result<bool, WalError> {
    let mut bytes = read_whole(disk, path)?;
    let Ok(header) = SegmentHeader::decode(&bytes) else {
        return Ok(false);
    };
    let (mut offset, mut last) = (BLOCK, header.previous);
    while let Ok(batch) = read_batch(&bytes, offset, header.seed())
        && batch.header.previous == last
    {
        (offset, last) = (batch.end, batch.header.last);
    }
    if offset == BLOCK {
        return Ok(false);
    }
    let copy = disk.open(&free_name(disk, dir, path)?, OpenMode::Create)?;
    copy.write_at(0, &bytes)?;
    copy.sync()?;
    disk.sync_dir(dir)?;
    let end = bytes.len();
    bytes[offset.min(end)..].fill(0);
    rewrite(disk, path, &bytes)?;
    Ok(true)
}

/// The path with the suffix `.bad`, and a number before it if that is taken.
fn free_name(disk: &dyn Disk, dir: &Path, path: &Path) -> Result<PathBuf, DiskError> {
    let names = disk.list(dir)?;
    let base = path.file_name().unwrap_or_default().to_string_lossy();
    let mut name = format!("{base}.bad");
    let mut number = 1;
    while names.contains(&name) {
        number += 1;
        name = format!("{base}.{number}.bad");
    }
    Ok(dir.join(name))
}

//! Removing old snapshots.

use std::path::{Path, PathBuf};

use super::SnapshotError;
use super::format::zxid_of_name;
use crate::io::Disk;
use crate::types::Zxid;

/// The fewest snapshots that purging leaves (Apache's `PurgeTxnLog`).
pub const RETAIN_COUNT_MIN: usize = 3;

/// Removes all but the newest `retain_count` snapshots, at least [`RETAIN_COUNT_MIN`]. Those that
/// were set aside do not count, and stay. Returns the zxid of the oldest that is left: what of the log is older goes by
/// [`crate::wal::purge`].
///
/// # Errors
/// [`SnapshotError::Disk`]; what was removed until then is gone.
pub fn purge(
    disk: &dyn Disk,
    dir: &Path,
    retain_count: usize,
) -> Result<Option<Zxid>, SnapshotError> {
    let names = disk.list(dir)?;
    let mut snapshots: Vec<(Zxid, PathBuf)> = names
        .iter()
        .filter_map(|name| Some((zxid_of_name(name)?, dir.join(name))))
        .collect();
    snapshots.sort();
    let excess = snapshots
        .len()
        .saturating_sub(retain_count.max(RETAIN_COUNT_MIN));
    let kept = snapshots.split_off(excess);
    for (_, path) in &snapshots {
        disk.remove(path)?;
    }
    if !snapshots.is_empty() {
        disk.sync_dir(dir)?;
    }
    Ok(kept.first().map(|(zxid, _)| *zxid))
}

//! Removing segments that no snapshot needs.

use std::path::{Path, PathBuf};

use super::WalError;
use super::format::zxid_of_name;
use crate::io::Disk;
use crate::types::Zxid;

/// Removes the segments that are wholly older than `keep_from`, the zxid of the oldest snapshot
/// that is kept, and returns their paths. The segment that may hold that zxid stays, as
/// Apache's `PurgeTxnLog` keeps it.
///
/// # Errors
/// [`WalError::Disk`]; what was removed until then is gone.
pub fn purge(disk: &dyn Disk, dir: &Path, keep_from: Zxid) -> Result<Vec<PathBuf>, WalError> {
    let names = disk.list(dir)?;
    let mut segments: Vec<(Zxid, &String)> = names
        .iter()
        .filter_map(|name| Some((zxid_of_name(name)?, name)))
        .filter(|(first, _)| *first <= keep_from)
        .collect();
    segments.sort();
    // The newest of them reaches up to the next segment, and so to the snapshot's zxid.
    segments.pop();
    let mut removed = Vec::new();
    for (_, name) in segments {
        let path = dir.join(name);
        disk.remove(&path)?;
        removed.push(path);
    }
    if !removed.is_empty() {
        disk.sync_dir(dir)?;
    }
    Ok(removed)
}

//! Writes a view of the tree to disk and loads it back.
//!
//! Only the seam that the server uses: no snapshots are written yet, so a server recovers from its
//! log alone.

use std::path::Path;

use crate::io::Disk;
use crate::tree::{Tree, TreeConfig, View};
use crate::types::{SessionId, Zxid};

/// A snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("snapshots are not written yet")]
pub struct SnapshotError;

/// What was written.
pub struct SnapshotInfo {
    /// Nodes in it.
    pub nodes: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A snapshot that was read.
pub struct Snapshot {
    /// The tree.
    pub tree: Tree,
    /// The sessions with their timeouts in milliseconds.
    pub sessions: Vec<(SessionId, i32)>,
}

/// What was found in a folder.
pub struct Loaded {
    /// The newest valid snapshot.
    pub snapshot: Option<Snapshot>,
}

/// Writes a view and its sessions.
pub fn write(
    _disk: &dyn Disk,
    _dir: &Path,
    _view: &View,
    _sessions: &[(SessionId, i32)],
) -> Result<SnapshotInfo, SnapshotError> {
    Err(SnapshotError)
}

/// Loads the newest valid snapshot.
pub fn load(_disk: &dyn Disk, _dir: &Path, _config: TreeConfig) -> Result<Loaded, SnapshotError> {
    Ok(Loaded { snapshot: None })
}

/// Removes all but the newest; returns the zxid of the oldest that is left.
pub fn purge(_disk: &dyn Disk, _dir: &Path, _retain: usize) -> Result<Option<Zxid>, SnapshotError> {
    Ok(None)
}

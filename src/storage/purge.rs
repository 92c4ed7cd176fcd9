//! Purging, beside the storage's own work.
//!
//! A purge runs on a thread of its own, whenever its time has come. It removes files that recovery,
//! truncating and replacing have listed and are about to open or to remove, and which they would miss.
//! So these wait for each other.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::StorageError;
use crate::io::Disk;
use crate::types::Zxid;
use crate::{snapshot, wal};

/// Removes the files of one storage that nobody needs any more. Copies share what they wait for.
#[derive(Clone)]
pub struct Purger {
    disk: Arc<dyn Disk>,
    snapshot_dir: PathBuf,
    log_dir: PathBuf,
    under_way: Arc<Mutex<()>>,
}

/// What a purge left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// The zxid of the oldest snapshot.
    pub oldest_kept: Zxid,
    /// How many of the log's segments were removed.
    pub segments: usize,
}

impl Purger {
    /// For the files in these folders.
    pub fn new(disk: Arc<dyn Disk>, snapshot_dir: PathBuf, log_dir: PathBuf) -> Purger {
        Purger {
            disk,
            snapshot_dir,
            log_dir,
            under_way: Arc::default(),
        }
    }

    /// Removes snapshots beyond those to retain, and the log that only they would need; `None` where
    /// there is no snapshot. Waits for the storage where it is at work on the files.
    ///
    /// # Errors
    /// [`StorageError`]; what was removed until then is gone.
    pub fn purge(&self, retain_count: usize) -> Result<Option<Purged>, StorageError> {
        let _alone = self.hold();
        let oldest = snapshot::purge(&*self.disk, &self.snapshot_dir, retain_count)?;
        let Some(oldest_kept) = oldest else {
            return Ok(None);
        };
        let removed = wal::purge(&*self.disk, &self.log_dir, oldest_kept)?;
        Ok(Some(Purged {
            oldest_kept,
            segments: removed.len(),
        }))
    }

    /// Keeps purges away until the guard goes.
    pub(super) fn hold(&self) -> MutexGuard<'_, ()> {
        // It guards files, which a panic elsewhere leaves as a crash would.
        let held = self.under_way.lock();
        held.unwrap_or_else(PoisonError::into_inner)
    }
}

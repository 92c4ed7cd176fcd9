//! What can go wrong with the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{HeaderFault, VERSION};
use crate::io::DiskError;
use crate::types::Zxid;

/// The log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk refused a cold operation.
    #[error(transparent)]
    Disk(#[from] DiskError),

    /// A write failed or fell short. The log takes nothing more: what the device holds of it is
    /// not known until it is read back by a restart.
    #[error("the log cannot be written any more since a write to it failed: {0}")]
    Failed(Arc<str>),

    /// There is no room for the record and no further segment could be made. Writes are taken
    /// again as soon as one can.
    #[error("no room for the log: {0}")]
    NoSpace(Arc<str>),

    /// Records that were acknowledged are damaged.
    #[error(
        "log file {} is damaged at offset {offset}: {detail}; the last good transaction before it \
         is {last_good}, and acknowledged ones follow it. Nothing was changed. Restore the file, \
         or see with `zkore log {}` what can be saved. To go on without the transactions after \
         {last_good}: keep a copy, move later log files away, and `truncate -s {offset} {}`",
        path.display(), path.display(), path.display()
    )]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where the damage begins, in bytes.
        offset: u64,
        /// What is wrong there.
        detail: &'static str,
        /// The last transaction before the damage.
        last_good: Zxid,
    },

    /// The transactions between two zxids are not there.
    #[error(
        "log file {} continues after transaction {previous}, but the one before it ends at {last}: \
         the file in between is missing, or the newest snapshot is. Restore it; to go on without \
         the transactions after {last}, move this file and the later ones away",
        path.display()
    )]
    Missing {
        /// The segment after the gap.
        path: PathBuf,
        /// Where the snapshot or the segments before it end.
        last: Zxid,
        /// What the segment says comes before it.
        previous: Zxid,
    },

    /// The file is one of Apache ZooKeeper's.
    #[error(
        "{} is a transaction log of Apache ZooKeeper's, in another format: convert it, or use \
         another directory",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },

    /// The file was written by a newer version.
    #[error("{} has log format {version}; this server reads only format {supported}",
        path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// Ours.
        supported: u32,
    },

    /// A listing could not be written out.
    #[error("cannot write the listing: {0}")]
    Output(std::io::Error),
}

impl WalError {
    /// The error of a file that is sound, but not of this format.
    pub(super) fn of_other_format(path: &Path, fault: HeaderFault) -> Option<WalError> {
        let path = path.to_path_buf();
        match fault {
            HeaderFault::Foreign => Some(WalError::Foreign { path }),
            HeaderFault::Version(version) => Some(WalError::Version {
                path,
                version,
                supported: VERSION,
            }),
            HeaderFault::Blank | HeaderFault::Damaged => None,
        }
    }
}

//! What can go wrong with a snapshot.

use std::path::PathBuf;

use crate::io::DiskError;

/// A snapshot cannot be written or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk refused. When it is full ([`DiskError::is_no_space`]), nothing was left behind.
    #[error(transparent)]
    Disk(#[from] DiskError),

    /// A part of the tree could not be turned into bytes.
    #[error("cannot encode the snapshot {}: {reason}", path.display())]
    Encode {
        /// The file that was being written.
        path: PathBuf,
        /// What the encoder said.
        reason: String,
    },

    /// The file is one of Apache ZooKeeper's.
    #[error(
        "{} is no snapshot of this server's, it may be one of Apache ZooKeeper's: convert it, or \
         use another directory",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },

    /// The file was written by a newer version.
    #[error("{} has snapshot format {version}; this server reads only format {supported}",
        path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// Ours.
        supported: u32,
    },
}

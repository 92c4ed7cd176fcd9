//! What can go wrong with a file.

use std::io;
use std::path::{Path, PathBuf};

/// A disk operation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct DiskError {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    /// The error of `action` on `path`.
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> DiskError {
        DiskError {
            action,
            path: path.to_path_buf(),
            source,
        }
    }

    /// Whether the file system is full, or the user's share of it.
    pub fn is_no_space(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    /// Whether the file or directory is not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether the disk cannot read what it holds there.
    pub fn is_unreadable(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EIO)
    }

    /// Whether a lock is held by another.
    pub fn is_locked(&self) -> bool {
        self.source.kind() == io::ErrorKind::WouldBlock
    }
}

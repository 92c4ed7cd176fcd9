//! Writes a view of the tree to disk and loads it back.
//!
//! A snapshot is exact at one zxid: it is read from a view that is held meanwhile. It is a file of
//! chunks, each an rkyv archive with a checksum, so that memory stays small while writing and a
//! damaged byte is noticed when loading. It is written under a temporary name; a file of the final
//! name is complete and durable. The format is described byte by byte in ARCHITECTURE.md, "On
//! disk".

mod error;
mod format;
mod load;
mod purge;
mod replace;
#[cfg(test)]
mod tests;
pub mod wire;
mod write;

pub use error::SnapshotError;
pub use load::{Loaded, SetAside, Snapshot, load};
pub use purge::{RETAIN_COUNT_MIN, purge};
pub use replace::{
    install_replacement, newest_set_aside, newest_zxid, pending_replacement, set_aside_above,
    write_replacement,
};
pub use write::write;

use std::path::PathBuf;

use crate::types::Zxid;

/// A snapshot on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The file.
    pub path: PathBuf,
    /// The zxid up to which it has everything, and nothing after.
    pub zxid: Zxid,
    /// Nodes in it.
    pub nodes: u64,
    /// Sessions in it.
    pub sessions: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
}

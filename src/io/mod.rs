//! Traits for the disk, so that logic runs on a real one and on simulated ones.
//!
//! They cover what is cold: recovery, preparing log segments, snapshots. The hot writes of the log
//! do not come through here: `wal` hands out buffers and offsets, and the runtime submits them to
//! its ring on the file's descriptor.
//!
//! What is assumed of a disk: a sector of [`SECTOR`] bytes is written wholly or not at all; a
//! write is durable once its sync (or a write to a file opened for synchronous writing) has
//! returned success; a name is durable once its directory was synced; writes that are not durable
//! may survive in any combination.

mod buffer;
mod error;

pub mod memory;

pub use buffer::AlignedBuffer;
pub use error::DiskError;

use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;

/// Alignment of the log's writes, in bytes: offset, length and memory.
pub const BLOCK: usize = 4096;

/// The bytes that a disk writes wholly or not at all.
pub const SECTOR: usize = 512;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, or an old one of that name emptied, for writing.
    Create,
    /// An existing file for the log: past the page cache where the file system can.
    Log {
        /// Whether a write returns only when it is durable.
        is_synchronous: bool,
    },
}

/// The files of one machine. Every error names the path.
pub trait Disk: Send + Sync {
    /// Makes a directory and its missing parents, durably.
    fn create_dir(&self, dir: &Path) -> Result<(), DiskError>;

    /// Names of the regular files in a directory, sorted.
    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError>;

    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// A whole file for reading. It must not be written while it is mapped.
    fn map(&self, path: &Path) -> Result<Mapped, DiskError>;

    /// Gives a file another name, in place of a file that had it.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<(), DiskError>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError>;

    /// Bytes that can still be written to the file system of a directory.
    fn free_bytes(&self, dir: &Path) -> Result<u64, DiskError>;

    /// Takes the exclusive lock that a file of this name stands for, until the returned value is
    /// dropped or the process ends; [`DiskError::is_locked`] when another holds it.
    fn lock(&self, path: &Path) -> Result<DiskLock, DiskError>;
}

/// A lock that is held; dropping it gives it back.
pub type DiskLock = Box<dyn Send + Sync>;

/// The bytes of a whole file.
pub type Mapped = Box<dyn AsRef<[u8]> + Send + Sync>;

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Where it was opened; it may have another name by now.
    fn path(&self) -> &Path;

    /// Its length in bytes.
    fn length(&self) -> Result<u64, DiskError>;

    /// Reads at `offset` until `into` is full or the file ends; returns the bytes read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes all bytes at `offset`. A file opened for the log takes whole aligned blocks only,
    /// as an [`AlignedBuffer`] has them.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes what was written, and the length, durable.
    fn sync(&self) -> Result<(), DiskError>;

    /// The descriptor for the runtime's ring; a simulated file has none.
    fn raw_fd(&self) -> Option<RawFd>;
}

/// Reads a whole file into memory.
pub fn read_whole(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, DiskError> {
    let file = disk.open(path, OpenMode::Read)?;
    let mut bytes = vec![0; file.length()? as usize];
    let count = file.read_at(0, &mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

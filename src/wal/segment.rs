//! Making and naming segment files: what blocks, and so runs on the background thread.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::ahead_name;
use crate::io::{AlignedBuffer, BLOCK, Disk, DiskError, DiskFile, OpenMode};

/// Bytes that one write of zeros covers.
const ZERO_CHUNK: usize = 1 << 20;

const _: () = assert!(ZERO_CHUNK.is_multiple_of(BLOCK));

/// Work for the background thread, in the order given.
#[derive(Debug)]
pub struct SegmentTask {
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    /// Make the next segment.
    Prepare {
        dir: PathBuf,
        sequence: u64,
        bytes: u64,
        is_synchronous: bool,
    },
    /// Give a segment that is in use its name.
    Name { from: PathBuf, to: PathBuf },
}

/// What became of a [`SegmentTask`].
pub struct SegmentResult {
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    Prepared(Result<Prepared, DiskError>),
    Named {
        from: PathBuf,
        to: PathBuf,
        result: Result<(), DiskError>,
    },
}

/// A segment of zeros that is ready to be written.
pub(super) struct Prepared {
    pub file: Arc<dyn DiskFile>,
    pub sequence: u64,
    pub bytes: u64,
}

impl SegmentTask {
    /// Does the work; takes as long as the disk takes to write a segment.
    pub fn run(self, disk: &dyn Disk) -> SegmentResult {
        let outcome = match self.work {
            Work::Prepare {
                dir,
                sequence,
                bytes,
                is_synchronous,
            } => Outcome::Prepared(prepare(disk, &dir, sequence, bytes, is_synchronous)),
            Work::Name { from, to } => {
                let result = name(disk, &from, &to);
                Outcome::Named { from, to, result }
            }
        };
        SegmentResult { outcome }
    }
}

/// Makes a segment and its name durable; leaves nothing behind when that fails.
pub(super) fn prepare(
    disk: &dyn Disk,
    dir: &Path,
    sequence: u64,
    bytes: u64,
    is_synchronous: bool,
) -> Result<Prepared, DiskError> {
    let path = dir.join(ahead_name(sequence));
    // Asked first, so that trying again on a full disk costs nothing.
    if disk.free_bytes(dir)? < bytes {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        return Err(DiskError::new("make", &path, full));
    }
    let made = fill_with_zeros(disk, &path, bytes)
        .and_then(|()| disk.sync_dir(dir))
        .and_then(|()| disk.open(&path, OpenMode::Log { is_synchronous }));
    match made {
        Ok(file) => Ok(Prepared {
            file,
            sequence,
            bytes,
        }),
        Err(error) => {
            // The first error tells more than a failure to clean up after it.
            let _ = disk.remove(&path);
            Err(error)
        }
    }
}

fn fill_with_zeros(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<(), DiskError> {
    drop(disk.open(path, OpenMode::Create)?);
    // Past the page cache where possible: a segment of zeros would only push out what is useful.
    let file = disk.open(
        path,
        OpenMode::Log {
            is_synchronous: false,
        },
    )?;
    let mut zeros = AlignedBuffer::new(ZERO_CHUNK);
    zeros.grow(ZERO_CHUNK, 0);
    let mut offset = 0;
    while offset < bytes {
        let count = (bytes - offset).min(ZERO_CHUNK as u64);
        file.write_at(offset, &zeros[..count as usize])?;
        offset += count;
    }
    file.sync()
}

/// Gives a segment its name, durably.
pub(super) fn name(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), DiskError> {
    disk.rename(from, to)?;
    disk.sync_dir(to.parent().unwrap_or(Path::new(".")))
}

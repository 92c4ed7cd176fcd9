//! Making and naming segment files: what blocks, and so runs on the background thread.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::ahead_name;
use crate::io::{AlignedBuffer, BLOCK, Disk, DiskError, DiskFile, OpenMode};

/// Bytes that one write of zeros covers: few enough that a write of the log that comes behind it waits
/// for no longer than it takes itself.
const ZERO_CHUNK: usize = 256 << 10;

const _: () = assert!(ZERO_CHUNK.is_multiple_of(BLOCK));

/// Work for the background thread, in the order given.
#[derive(Debug)]
pub struct SegmentTask {
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    /// Begin to make the next segment.
    Begin(Plan),
    /// Fill a part of it.
    Fill(Filling),
    /// Give a segment that is in use its name.
    Name { from: PathBuf, to: PathBuf },
}

/// What became of a [`SegmentTask`].
pub struct SegmentResult {
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    Filled(Filling),
    Prepared(Result<Prepared, DiskError>),
    Named {
        from: PathBuf,
        to: PathBuf,
        result: Result<(), DiskError>,
    },
}

/// A segment to be made.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub dir: PathBuf,
    pub sequence: u64,
    pub bytes: u64,
    pub is_synchronous: bool,
}

/// A segment with zeros in a first part of it.
pub(super) struct Filling {
    plan: Plan,
    file: Arc<dyn DiskFile>,
    /// Bytes of zeros.
    pub filled: u64,
}

impl fmt::Debug for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {:?}", self.filled, self.plan)
    }
}

/// A segment of zeros that is ready to be written.
pub(super) struct Prepared {
    pub file: Arc<dyn DiskFile>,
    pub sequence: u64,
    pub bytes: u64,
}

impl SegmentTask {
    /// Does the work; takes as long as the disk takes to write a part of a segment.
    pub fn run(self, disk: &dyn Disk) -> SegmentResult {
        let outcome = match self.work {
            Work::Begin(plan) => match begin(disk, plan) {
                Ok(filling) => fill(disk, filling),
                Err(error) => Outcome::Prepared(Err(error)),
            },
            Work::Fill(filling) => fill(disk, filling),
            Work::Name { from, to } => {
                let result = name(disk, &from, &to);
                Outcome::Named { from, to, result }
            }
        };
        SegmentResult { outcome }
    }
}

/// Makes a segment and its name durable; leaves nothing behind when that fails.
pub(super) fn prepare(disk: &dyn Disk, plan: Plan) -> Result<Prepared, DiskError> {
    let mut filling = begin(disk, plan)?;
    loop {
        match fill(disk, filling) {
            Outcome::Filled(rest) => filling = rest,
            Outcome::Prepared(result) => return result,
            Outcome::Named { .. } => unreachable!("nothing is named here"),
        }
    }
}

fn begin(disk: &dyn Disk, plan: Plan) -> Result<Filling, DiskError> {
    let path = plan.path();
    // Asked first, so that trying again on a full disk costs nothing.
    if disk.free_bytes(&plan.dir)? < plan.bytes {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        return Err(DiskError::new("make", &path, full));
    }
    drop(disk.open(&path, OpenMode::Create)?);
    // Past the page cache where possible: a segment of zeros would only push out what is useful.
    let is_synchronous = false;
    let file = disk.open(&path, OpenMode::Log { is_synchronous });
    let file = file.inspect_err(|_| give_up(disk, &plan))?;
    Ok(Filling {
        plan,
        file,
        filled: 0,
    })
}

/// Fills the next part; with the last one the segment is ready.
fn fill(disk: &dyn Disk, mut filling: Filling) -> Outcome {
    let Filling { plan, file, filled } = &mut filling;
    let count = (plan.bytes - *filled).min(ZERO_CHUNK as u64) as usize;
    let mut zeros = AlignedBuffer::new(count);
    zeros.grow(count, 0);
    let written = file.write_at(*filled, &zeros);
    *filled += count as u64;
    let finished = match written {
        Ok(()) if *filled < plan.bytes => return Outcome::Filled(filling),
        Ok(()) => finish(disk, plan, &**file),
        Err(error) => Err(error),
    };
    Outcome::Prepared(finished.inspect_err(|_| give_up(disk, plan)))
}

fn finish(disk: &dyn Disk, plan: &Plan, file: &dyn DiskFile) -> Result<Prepared, DiskError> {
    file.sync()?;
    disk.sync_dir(&plan.dir)?;
    let is_synchronous = plan.is_synchronous;
    Ok(Prepared {
        file: disk.open(&plan.path(), OpenMode::Log { is_synchronous })?,
        sequence: plan.sequence,
        bytes: plan.bytes,
    })
}

/// Removes what was begun. The error that led here tells more than a failure to do so.
fn give_up(disk: &dyn Disk, plan: &Plan) {
    let _ = disk.remove(&plan.path());
}

impl Plan {
    fn path(&self) -> PathBuf {
        self.dir.join(ahead_name(self.sequence))
    }
}

/// Gives a segment its name, durably. One that has it already gets it again: an earlier try may have come
/// that far.
pub(super) fn name(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), DiskError> {
    match disk.rename(from, to) {
        Err(error) if error.is_not_found() && disk.open(to, OpenMode::Read).is_ok() => {}
        renamed => renamed?,
    }
    disk.sync_dir(to.parent().unwrap_or(Path::new(".")))
}

//! Reading the log back at a start, and cutting off what a crash left half written.
//!
//! Where whole batches end, either the log ends, or a crash tore its tail, or it is damaged. It is
//! damaged when a whole batch further on says that the log was durable past that place when it was
//! submitted, or when a whole batch follows one that was written in full. Otherwise nobody was
//! told of the records there, and they are cut off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{
    HeaderFault, SegmentHeader, ahead_name, segment_name, sequence_of_ahead_name, zxid_of_name,
};
use super::log::{Active, Start};
use super::scan::{
    Fault, is_damaged_not_torn, look_beyond, read_batch, seed_of_segment, written_end,
};
use super::segment::{Plan, Prepared, prepare};
use super::truncate::finish_truncation;
use super::{Wal, WalError, WalOptions};
use crate::io::{BLOCK, Disk, OpenMode, read_whole};
use crate::types::Zxid;

/// What a start found in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records handed to the callback.
    pub records: u64,
    /// The zxid to go on after: of the last record, or of the snapshot if that is newer.
    pub last: Zxid,
    /// The torn tail that was cut off.
    pub cut: Option<Cut>,
}

/// A torn tail: what was being written when the server or the machine stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Where it was cut, in bytes.
    pub offset: u64,
    /// Bytes cut off there and in later segments.
    pub bytes: u64,
}

/// A segment's file, before its batches are read.
pub(super) struct Found {
    pub path: PathBuf,
    header: Option<SegmentHeader>,
    /// The zxid of its first record, by its header or else its name; without either, that of the
    /// segment after it.
    pub first: Zxid,
}

/// Where the whole batches end.
struct End {
    index: usize,
    offset: usize,
}

impl Wal {
    /// Reads the log in `dir` from the segments that hold what comes after `after` (the newest
    /// snapshot's zxid) and calls `on_record` with each later record, in order. When it returns,
    /// all that was handed out is durable, and the log is ready to be written.
    ///
    /// # Errors
    /// [`WalError::Corrupt`], [`WalError::Missing`], [`WalError::Foreign`] and
    /// [`WalError::Version`]: the files are as they were, and what the callback got is to be
    /// forgotten.
    pub fn recover(
        disk: &dyn Disk,
        dir: &Path,
        options: WalOptions,
        after: Zxid,
        on_record: &mut dyn FnMut(Zxid, &[u8]),
    ) -> Result<(Wal, Recovered), WalError> {
        let options = options.rounded();
        disk.create_dir(dir)?;
        finish_truncation(disk, dir)?;
        let found = find_segments(disk, dir)?;
        let newest_needed = |found: &Found| found.first.0 <= after.0.saturating_add(1);
        let start = found.iter().rposition(newest_needed).unwrap_or(0);
        let mut reader = Reader {
            disk,
            found: &found,
            last: Zxid::ZERO,
            end: None,
            records: 0,
        };
        reader.read(start, after, on_record)?;
        let (last, end, records) = (reader.last.max(after), reader.end, reader.records);

        let cut = cut_tail(disk, dir, &found, start, end.as_ref())?;
        let kept = end.as_ref().map_or(start, |end| end.index + 1);
        settle(disk, dir, &found[..kept.min(found.len())], start)?;
        let sequence_next = found[..kept]
            .iter()
            .filter_map(|found| found.header.map(|header| header.sequence + 1))
            .max()
            .unwrap_or(1);

        // After a snapshot newer than the log, the chain of records has a gap: a new segment.
        let goes_on = end.filter(|_| reader.last >= after);
        let current = match goes_on {
            Some(end) => Some(reopen(disk, dir, &found[end.index], end.offset, &options)?),
            None => None,
        };
        let mut next = reuse_ahead(disk, dir, sequence_next, &options)?;
        if current.is_none() && next.is_none() {
            let plan = Plan {
                dir: dir.to_path_buf(),
                sequence: sequence_next,
                bytes: options.segment_bytes,
                is_synchronous: options.is_synchronous,
            };
            next = Some(prepare(disk, plan)?);
        }
        let wal = Wal::new(Start {
            dir: dir.to_path_buf(),
            options,
            current,
            next,
            sequence_next,
            last,
            marked: Zxid::ZERO,
        });
        Ok((wal, Recovered { records, last, cut }))
    }
}

/// All segments with anything in them, in the order of their first records.
pub(super) fn find_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<Found>, WalError> {
    let (mut found, mut nameless) = (Vec::new(), Vec::new());
    for name in disk.list(dir)? {
        let named = zxid_of_name(&name);
        if named.is_none() && sequence_of_ahead_name(&name).is_none() {
            continue;
        }
        let path = dir.join(&name);
        let mut head = vec![0; BLOCK];
        let file = disk.open(&path, OpenMode::Read)?;
        let count = file.read_at(0, &mut head)?;
        let header = SegmentHeader::decode(&head[..count]);
        if let Err(fault) = header {
            if let Some(error) = WalError::of_other_format(&path, fault) {
                return Err(error);
            }
            if named.is_none() && fault == HeaderFault::Blank && is_blank(disk, &path)? {
                continue;
            }
        }
        let header = header.ok();
        match header.map(|header| header.first).or(named) {
            Some(first) => found.push(Found {
                path,
                header,
                first,
            }),
            None => nameless.extend(sequence_of_ahead_name(&name).map(|number| (number, path))),
        }
    }
    found.sort_by_key(|found| found.first);
    for (number, path) in nameless {
        insert_by_number(&mut found, number, path);
    }
    Ok(found)
}

/// Puts a segment without a header and without its final name in its place: only its number is
/// known.
fn insert_by_number(found: &mut Vec<Found>, number: u64, path: PathBuf) {
    let is_later = |found: &Found| found.header.is_some_and(|header| header.sequence > number);
    let at = found.iter().position(is_later).unwrap_or(found.len());
    let first = found.get(at).map_or(Zxid(i64::MAX), |later| later.first);
    found.insert(
        at,
        Found {
            path,
            header: None,
            first,
        },
    );
}

fn is_blank(disk: &dyn Disk, path: &Path) -> Result<bool, WalError> {
    Ok(written_end(&read_whole(disk, path)?) == 0)
}

struct Reader<'a> {
    disk: &'a dyn Disk,
    found: &'a [Found],
    last: Zxid,
    end: Option<End>,
    records: u64,
}

impl Reader<'_> {
    fn read(
        &mut self,
        start: usize,
        after: Zxid,
        on_record: &mut dyn FnMut(Zxid, &[u8]),
    ) -> Result<(), WalError> {
        for index in start..self.found.len() {
            let found = &self.found[index];
            let bytes = read_whole(self.disk, &found.path)?;
            let Some(header) = found.header else {
                let fault = Fault {
                    offset: 0,
                    detail: "the header does not match its checksum",
                };
                self.last = if index == start { after } else { self.last };
                return self.judge(index, &bytes, 0, fault);
            };
            if index == start {
                if header.previous > after {
                    return Err(WalError::Missing {
                        path: found.path.clone(),
                        last: after,
                        previous: header.previous,
                    });
                }
                self.last = header.previous;
            }
            let mut offset = BLOCK;
            let fault = loop {
                match read_batch(&bytes, offset, header.seed()) {
                    Ok(batch) if batch.header.previous == self.last => {
                        for record in batch.records().filter(|record| record.zxid > after) {
                            on_record(record.zxid, record.payload);
                            self.records += 1;
                        }
                        self.last = batch.header.last;
                        offset = batch.end;
                        self.end = Some(End { index, offset });
                    }
                    Ok(_) => {
                        break Fault {
                            offset,
                            detail: "the batch does not follow the one before it",
                        };
                    }
                    Err(fault) => break fault,
                }
            };
            if !self.is_followed(index, header, &bytes, offset) {
                return self.judge(index, &bytes, offset, fault);
            }
        }
        Ok(())
    }

    /// Whether the segment ends where its whole batches end, and the next one goes on from there.
    fn is_followed(
        &self,
        index: usize,
        header: SegmentHeader,
        bytes: &[u8],
        offset: usize,
    ) -> bool {
        let next = self.found.get(index + 1).and_then(|next| next.header);
        next.is_some_and(|next| {
            next.previous == self.last
                && next.sequence == header.sequence + 1
                && look_beyond(bytes, offset, header.seed())
                    .first_valid
                    .is_none()
        })
    }

    /// Decides what the end of the whole batches at `offset` of a segment is: fine if the log may
    /// be cut there.
    fn judge(
        &self,
        index: usize,
        bytes: &[u8],
        offset: usize,
        fault: Fault,
    ) -> Result<(), WalError> {
        let found = &self.found[index];
        let seed = seed_of_segment(bytes).unwrap_or_default();
        let here = look_beyond(bytes, offset, seed);
        let (mut durable, mut is_followed) = (here.durable, here.first_valid.is_some());
        for later in &self.found[index + 1..] {
            let bytes = read_whole(self.disk, &later.path)?;
            let beyond = look_beyond(&bytes, BLOCK, seed_of_segment(&bytes).unwrap_or_default());
            durable = durable.max(beyond.durable);
            is_followed |= beyond.first_valid.is_some();
        }
        let next = self.found.get(index + 1).and_then(|next| next.header);
        let is_gap = match (found.header, next) {
            (Some(header), Some(next)) => next.sequence != header.sequence + 1,
            _ => false,
        };
        let is_damaged = durable > self.last
            || is_followed && is_damaged_not_torn(bytes, offset, here.first_valid, seed);
        if !is_gap && !is_damaged {
            return Ok(());
        }
        if let Some(next) = next
            && written_end(&bytes[offset.min(bytes.len())..]) == 0
        {
            return Err(WalError::Missing {
                path: self.found[index + 1].path.clone(),
                last: self.last,
                previous: next.previous,
            });
        }
        Err(WalError::Corrupt {
            path: found.path.clone(),
            offset: fault.offset as u64,
            detail: fault.detail,
            last_good: self.last,
        })
    }
}

/// Removes what stands after the whole batches, the newest first: a crash in between leaves the
/// same to do.
fn cut_tail(
    disk: &dyn Disk,
    dir: &Path,
    found: &[Found],
    start: usize,
    end: Option<&End>,
) -> Result<Option<Cut>, WalError> {
    let mut cut: Option<Cut> = None;
    let kept = end.map_or(start, |end| end.index + 1);
    for found in found.iter().skip(kept).rev() {
        let bytes = written_end(&read_whole(disk, &found.path)?) as u64;
        disk.remove(&found.path)?;
        disk.sync_dir(dir)?;
        cut = Some(Cut {
            path: found.path.clone(),
            offset: 0,
            bytes: bytes + cut.map_or(0, |cut| cut.bytes),
        });
    }
    let Some(end) = end else {
        return Ok(cut);
    };
    let path = &found[end.index].path;
    let bytes = read_whole(disk, path)?;
    let written = written_end(&bytes);
    if written > end.offset {
        let file = disk.open(path, OpenMode::Write)?;
        let zeros = vec![0; written - end.offset];
        file.write_at(end.offset as u64, &zeros)?;
        file.sync()?;
        cut = Some(Cut {
            path: path.clone(),
            offset: end.offset as u64,
            bytes: zeros.len() as u64 + cut.map_or(0, |cut| cut.bytes),
        });
    }
    Ok(cut)
}

/// Makes durable what was read, and gives segments their names that a crash kept from theirs.
fn settle(disk: &dyn Disk, dir: &Path, found: &[Found], start: usize) -> Result<(), WalError> {
    for found in found.iter().skip(start) {
        disk.open(&found.path, OpenMode::Write)?.sync()?;
    }
    for found in found {
        let named = dir.join(segment_name(found.first));
        if found.header.is_some() && found.path != named {
            disk.rename(&found.path, &named)?;
        }
    }
    disk.sync_dir(dir)?;
    Ok(())
}

fn reopen(
    disk: &dyn Disk,
    dir: &Path,
    found: &Found,
    tail: usize,
    options: &WalOptions,
) -> Result<Active, WalError> {
    let header = found.header.expect("whole batches were read under it");
    let path: Arc<Path> = dir.join(segment_name(found.first)).into();
    let is_synchronous = options.is_synchronous;
    let file = disk.open(&path, OpenMode::Log { is_synchronous })?;
    let bytes = file.length()? / BLOCK as u64 * BLOCK as u64;
    Ok(Active {
        file,
        path,
        bytes,
        tail: tail as u64,
        seed: header.seed(),
    })
}

/// Takes the segment that an earlier run made ahead and did not use, and removes any others.
fn reuse_ahead(
    disk: &dyn Disk,
    dir: &Path,
    sequence: u64,
    options: &WalOptions,
) -> Result<Option<Prepared>, WalError> {
    let mut prepared = None;
    let mut has_removed = false;
    for name in disk.list(dir)? {
        if sequence_of_ahead_name(&name).is_none() {
            continue;
        }
        let path = dir.join(&name);
        let file = disk.open(&path, OpenMode::Read)?;
        let is_whole = name == ahead_name(sequence)
            && file.length()? == options.segment_bytes
            && is_blank(disk, &path)?;
        if is_whole {
            disk.open(&path, OpenMode::Write)?.sync()?;
            let is_synchronous = options.is_synchronous;
            prepared = Some(Prepared {
                file: disk.open(&path, OpenMode::Log { is_synchronous })?,
                sequence,
                bytes: options.segment_bytes,
            });
        } else {
            disk.remove(&path)?;
            has_removed = true;
        }
    }
    if has_removed || prepared.is_some() {
        disk.sync_dir(dir)?;
    }
    Ok(prepared)
}

//! The epochs that a member agreed to: the files `acceptedEpoch` and `currentEpoch` (Apache's
//! `QuorumPeer.loadDataBase`, `readLongFromFile`, `writeLongToFile`).

use std::path::{Path, PathBuf};

use super::StorageError;
use crate::io::{Disk, DiskError, OpenMode, read_whole};
use crate::types::Zxid;

/// The last epoch whose leader the member promised not to go behind.
const ACCEPTED_FILE: &str = "acceptedEpoch";

/// The last epoch with whose leader the member was synchronised.
const CURRENT_FILE: &str = "currentEpoch";

/// Most bytes of a bad file that an error shows.
const SHOWN_BYTES_MAX: usize = 40;

/// What the files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epochs {
    pub accepted: i64,
    pub current: i64,
}

impl Epochs {
    /// Those of a server that has no files: of the newest transaction.
    pub fn of(last: Zxid) -> Epochs {
        let epoch = i64::from(last.epoch());
        Epochs {
            accepted: epoch,
            current: epoch,
        }
    }

    /// Reads the files, makes those that are missing, and makes all durable: a process that was
    /// ended between a write and its sync has left in the page cache what the disk may not have, or
    /// can even fail to have got, and the member is about to act on it.
    ///
    /// The log of a member may be of a later epoch than `currentEpoch` says: what a leader sent to
    /// synchronise it is durable before the epoch is, and a crash may come in between. Then the
    /// member has all that the leader of that epoch began with, so it counts as synchronised
    /// with it; Apache would refuse to start.
    pub fn load(disk: &dyn Disk, dir: &Path, last: Zxid) -> Result<Epochs, StorageError> {
        let assumed = Epochs::of(last);
        let (accepted, current) = (
            read(disk, &dir.join(ACCEPTED_FILE))?,
            read(disk, &dir.join(CURRENT_FILE))?,
        );
        let mut epochs = Epochs {
            accepted: accepted.unwrap_or(assumed.accepted),
            current: current.unwrap_or(assumed.current),
        };
        if epochs.current < assumed.current {
            if accepted.is_none_or(|accepted| accepted < assumed.current) {
                return Err(StorageError::CurrentEpochOld {
                    folder: dir.to_owned(),
                    current: epochs.current,
                    last,
                });
            }
            tracing::info!(
                current = epochs.current,
                last = %last,
                "a crash kept the current epoch behind the log; taking it from the log"
            );
            epochs.current = assumed.current;
        }
        if epochs.accepted < epochs.current {
            return Err(StorageError::AcceptedEpochOld {
                folder: dir.to_owned(),
                accepted: epochs.accepted,
                current: epochs.current,
            });
        }
        write(disk, dir, ACCEPTED_FILE, epochs.accepted)?;
        write(disk, dir, CURRENT_FILE, epochs.current)?;
        disk.sync_dir(dir)?;
        Ok(epochs)
    }

    /// Makes a new accepted epoch durable.
    pub fn accept(&mut self, disk: &dyn Disk, dir: &Path, epoch: i64) -> Result<(), DiskError> {
        write(disk, dir, ACCEPTED_FILE, epoch)?;
        self.accepted = epoch;
        Ok(())
    }

    /// Makes a new current epoch durable.
    pub fn enter(&mut self, disk: &dyn Disk, dir: &Path, epoch: i64) -> Result<(), DiskError> {
        write(disk, dir, CURRENT_FILE, epoch)?;
        self.current = epoch;
        Ok(())
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<i64>, StorageError> {
    let bytes = match read_whole(disk, path) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let epoch = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|epoch: &i64| *epoch >= 0);
    match epoch {
        Some(epoch) => Ok(Some(epoch)),
        None => Err(StorageError::EpochFile {
            path: path.to_owned(),
            content: String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).into(),
        }),
    }
}

/// Writes an epoch file. Its bytes lie in one sector, which a disk writes wholly or not at all, so
/// where the length stays it is written in place: a sync of data alone is many times faster than
/// one of names, and a failover waits for four of these.
fn write(disk: &dyn Disk, dir: &Path, name: &str, epoch: i64) -> Result<(), DiskError> {
    let text = epoch.to_string();
    match disk.open(&dir.join(name), OpenMode::Write) {
        Ok(file) if file.length()? == text.len() as u64 => {
            file.write_at(0, text.as_bytes())?;
            file.sync()
        }
        Ok(_) => write_small(disk, dir, name, text.as_bytes()),
        Err(error) if error.is_not_found() => write_small(disk, dir, name, text.as_bytes()),
        Err(error) => Err(error),
    }
}

/// Puts a small file in the place of what had its name; after a crash it is the old or the new
/// one.
pub(super) fn write_small(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<(), DiskError> {
    let temporary: PathBuf = dir.join(format!("{name}.tmp"));
    let file = disk.open(&temporary, OpenMode::Create)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&temporary, &dir.join(name))?;
    disk.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory::MemoryDisk;

    fn dir() -> PathBuf {
        PathBuf::from("/data/zkore-1")
    }

    fn put(disk: &MemoryDisk, name: &str, text: &str) {
        write_small(disk, &dir(), name, text.as_bytes()).expect("written");
    }

    #[test]
    fn missing_files_are_made_from_the_last_zxid() {
        let disk = MemoryDisk::default();
        let epochs = Epochs::load(&disk, &dir(), Zxid::new(3, 7)).expect("made");
        assert_eq!((epochs.accepted, epochs.current), (3, 3));
        assert_eq!(disk.bytes(&dir().join("acceptedEpoch")), b"3");
        assert_eq!(disk.bytes(&dir().join("currentEpoch")), b"3");
    }

    #[test]
    fn files_of_apache_are_read() {
        let disk = MemoryDisk::default();
        put(&disk, ACCEPTED_FILE, "12");
        put(&disk, CURRENT_FILE, "11\n");
        let epochs = Epochs::load(&disk, &dir(), Zxid::new(11, 1)).expect("sound");
        assert_eq!((epochs.accepted, epochs.current), (12, 11));
    }

    #[test]
    fn a_crash_within_synchronisation_is_made_good() {
        let disk = MemoryDisk::default();
        put(&disk, ACCEPTED_FILE, "5");
        put(&disk, CURRENT_FILE, "1");
        let epochs = Epochs::load(&disk, &dir(), Zxid::new(4, 9)).expect("made good");
        assert_eq!((epochs.accepted, epochs.current), (5, 4));
        assert_eq!(disk.bytes(&dir().join("currentEpoch")), b"4");
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused() {
        let disk = MemoryDisk::default();
        put(&disk, ACCEPTED_FILE, "3");
        put(&disk, CURRENT_FILE, "3");
        let refused = Epochs::load(&disk, &dir(), Zxid::new(4, 9)).expect_err("refused");
        assert!(matches!(refused, StorageError::CurrentEpochOld { .. }));
        put(&disk, CURRENT_FILE, "6");
        let refused = Epochs::load(&disk, &dir(), Zxid::new(3, 9)).expect_err("refused");
        assert!(matches!(refused, StorageError::AcceptedEpochOld { .. }));
        for text in ["", "x", "-1", "9223372036854775808"] {
            put(&disk, CURRENT_FILE, text);
            let refused = Epochs::load(&disk, &dir(), Zxid::new(3, 9)).expect_err("refused");
            assert!(refused.to_string().contains("currentEpoch"), "{refused}");
        }
    }

    /// Found by the simulator: an accepted epoch that was written and not synced was read back, the
    /// current epoch was raised to it, and a loss of power then took the accepted one.
    #[test]
    fn what_a_start_has_read_outlives_a_loss_of_power() {
        for first in [3, 9] {
            for fails in 0..8 {
                let disk = MemoryDisk::default();
                let mut epochs = Epochs::load(&disk, &dir(), Zxid::new(first, 7)).expect("made");
                disk.fail_at(disk.steps() + fails);
                let _ = epochs.accept(&disk, &dir(), i64::from(first) + 1);
                disk.fail_at(u64::MAX);
                // The process has ended, the machine has not.
                let read = Epochs::load(&disk, &dir(), Zxid::new(first, 7)).expect("sound");
                let disk = disk.crash(&mut || false);
                let last = Zxid::new(first, 7);
                assert_eq!(Epochs::load(&disk, &dir(), last).expect("sound"), read);
            }
        }
    }

    #[test]
    fn power_loss_leaves_the_old_or_the_new_epoch() {
        for steps in 0..6 {
            for survivors in 0..8 {
                let disk = MemoryDisk::default();
                let mut epochs = Epochs::load(&disk, &dir(), Zxid::new(3, 7)).expect("made");
                disk.die_at(disk.steps() + steps);
                let is_done = epochs.accept(&disk, &dir(), 10).is_ok();
                let mut asked = 0;
                let disk = disk.crash(&mut || {
                    asked += 1;
                    survivors >> (asked % 3) & 1 == 1
                });
                let found = Epochs::load(&disk, &dir(), Zxid::new(3, 7)).expect("sound");
                assert!(found.accepted == 10 || found.accepted == 3 && !is_done);
                assert_eq!(epochs.accepted == 10, is_done);
            }
        }
    }
}

//! Purges that come while the storage is at work on the same files.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::*;
use crate::io::{DiskError, DiskFile, DiskLock, Mapped, OpenMode};
use crate::snapshot::RETAIN_COUNT_MIN;
use crate::storage::{Purged, Purger};

/// How long the storage is kept at a listing, for a purge that nobody holds up to end meanwhile.
const PURGE_TIME: Duration = Duration::from_millis(50);

type PurgeResult = Result<Option<Purged>, StorageError>;

/// A disk on which a purge begins right behind a chosen listing of a folder.
struct PurgedMeanwhile {
    disk: MemoryDisk,
    /// Listings until then; negative afterwards.
    listings: AtomicI64,
    purger: Mutex<Option<Purger>>,
    purge: Mutex<Option<JoinHandle<PurgeResult>>>,
}

impl PurgedMeanwhile {
    fn new(disk: MemoryDisk) -> PurgedMeanwhile {
        PurgedMeanwhile {
            disk,
            listings: AtomicI64::new(-1),
            purger: Mutex::default(),
            purge: Mutex::default(),
        }
    }

    fn begin_purge(&self) {
        let purger = self.purger.lock().expect("no panics").take();
        let purger = purger.expect("it is there once");
        let (ended, end) = mpsc::channel();
        let purge = thread::spawn(move || {
            let result = purger.purge(RETAIN_COUNT_MIN);
            // Nobody may wait any more.
            let _ = ended.send(());
            result
        });
        *self.purge.lock().expect("no panics") = Some(purge);
        // That it takes longer is what the test is to show.
        let _ = end.recv_timeout(PURGE_TIME);
    }

    /// Begins a purge at the listing of this number, at the next work.
    fn arm(&self, storage: &Storage, listing: i64) {
        *self.purger.lock().expect("no panics") = Some(storage.purger());
        self.listings.store(listing, Ordering::SeqCst);
    }

    /// What came of the purge, if there was one.
    fn purged(&self) -> Option<PurgeResult> {
        let purge = self.purge.lock().expect("no panics").take()?;
        Some(purge.join().expect("no panic"))
    }
}

impl Disk for PurgedMeanwhile {
    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError> {
        let names = self.disk.list(dir);
        if self.listings.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.begin_purge();
        }
        names
    }

    fn create_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.disk.create_dir(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.disk.open(path, mode)
    }

    fn map(&self, path: &Path) -> Result<Mapped, DiskError> {
        self.disk.map(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64, DiskError> {
        self.disk.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> Result<DiskLock, DiskError> {
        self.disk.lock(path)
    }
}

/// Does `work` with a purge beginning at each of its listings in turn; `expected` is the history after it.
fn with_a_purge_at_every_listing(
    expected: &[i64],
    work: &dyn Fn(&mut Storage, Wal) -> Result<(), StorageError>,
) {
    let (base, old) = base();
    for zxid in [16, 20, 44, 46, 48] {
        let tree = tree_of(&old[..zxid]);
        let view = tree.view(tree.tip_zxid());
        let folder = PathBuf::from("/data/zkore-1");
        snapshot::write(&base, &folder, &view, &SESSIONS).expect("room");
    }
    let (disk, log) = (Arc::new(base.copy()), PathBuf::from("/log/zkore-1"));
    let purged = Purger::new(disk, "/data/zkore-1".into(), log).purge(RETAIN_COUNT_MIN);
    let purged = purged.expect("purged").expect("there are snapshots");
    assert!(purged.oldest_kept == Zxid(44) && purged.segments > 0);
    for listing in 0.. {
        let disk = base.copy();
        let meanwhile = Arc::new(PurgedMeanwhile::new(disk.clone()));
        let opened = Storage::open(options(), Arc::clone(&meanwhile) as Arc<dyn Disk>);
        let (mut storage, recovered) = opened.expect("sound");
        meanwhile.arm(&storage, listing);
        work(&mut storage, recovered.wal)
            .unwrap_or_else(|error| panic!("a purge at listing {listing}: {error}"));
        let purged = meanwhile.purged();
        drop(storage);
        let (_, recovered) = open(&disk).expect("sound again");
        assert_eq!(history_of(&recovered.tree), expected, "listing {listing}");
        match purged {
            Some(result) => assert!(result.expect("purged").is_some()),
            None => {
                assert!(listing > 2, "the work lists the folders");
                break;
            }
        }
    }
}

#[test]
fn a_purge_spares_what_a_replacement_removes() {
    let new = [2, 4, 70];
    let tree = tree_of(&new);
    let view = tree.view(tree.tip_zxid());
    with_a_purge_at_every_listing(&new, &|storage, wal| {
        storage.replace(wal, &view, &SESSIONS, Zxid::ZERO).map(drop)
    });
}

#[test]
fn a_purge_spares_what_a_truncation_reads() {
    let history = batches().concat();
    with_a_purge_at_every_listing(&history[..50], &|storage, wal| {
        storage.truncate(wal, Zxid(50)).map(drop)
    });
}

#[test]
fn a_purge_spares_what_is_recovered_anew() {
    let history = batches().concat();
    with_a_purge_at_every_listing(&history, &|storage, wal| storage.reopen(wal).map(drop));
}

//! All that a server keeps on disk, as one thing: snapshots, log and epochs.
//!
//! [`Storage`] owns the folders of one server and their locks. It blocks, and does the cold work:
//! bringing the tree back, truncating, replacing, reading the log back. The log's hot writes go
//! past it, through [`Wal`].
//!
//! Invariant: what [`Storage`] hands out as recovered is durable, and so is each change when the
//! call that made it has returned.

mod apache;
mod epochs;
mod error;
mod purge;
mod recovery;
#[cfg(test)]
mod tests;
mod unconfirmed;

pub use error::StorageError;
pub use purge::{Purged, Purger};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use epochs::Epochs;
use unconfirmed::Unconfirmed;

use crate::io::{Disk, DiskError, DiskLock};
use crate::mutation::{self, Mutation};
use crate::snapshot;
use crate::tree::{Tree, TreeConfig, View};
use crate::types::{SessionId, Zxid};
use crate::wal::{self, ReadLog, Wal, WalOptions};

/// The folder below `dataDir` and `dataLogDir` that holds our files, named as Apache names its own
/// `version-2`: by the format.
const FOLDER: &str = "zkore-1";

/// The file that says that a member lacks what it may have acknowledged.
const REPAIR_FILE: &str = "needsRepair";

/// Where and how a server keeps its data.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// Where the snapshots' and epochs' folder is made (`dataDir`).
    pub data_dir: PathBuf,
    /// Where the log's folder is made (`dataLogDir`); may be the same.
    pub data_log_dir: PathBuf,
    /// Whether those two are made where they are missing (`zookeeper.datadir.autocreate`).
    pub is_dir_autocreate: bool,
    /// Whether a server without data may begin with an empty tree (`zookeeper.db.autocreate`).
    pub is_db_autocreate: bool,
    /// Whether the server is a member of an ensemble, and so has epochs of its own.
    pub is_member: bool,
    /// For the tree.
    pub tree: TreeConfig,
    /// For the log.
    pub wal: WalOptions,
}

/// What the folders hold.
pub struct Recovered {
    /// The tree, at the newest durable zxid.
    pub tree: Tree,
    /// The sessions with their timeouts in milliseconds.
    pub sessions: Vec<(SessionId, i32)>,
    /// Up to where all is known to be committed: what a snapshot of this server's holds was, and of the
    /// log after it a member of an ensemble does not know. Zero without a snapshot.
    pub committed: Zxid,
    /// Transactions of the log after that snapshot.
    pub replayed: u64,
    /// Their bytes.
    pub replayed_bytes: u64,
    /// The log, ready to be written.
    pub wal: Wal,
    /// What was found damaged now and set aside; [`Storage::needs_repair`] holds then.
    pub damage: Option<String>,
}

/// The data folders of one server; locked until it is dropped.
pub struct Storage {
    disk: Arc<dyn Disk>,
    options: StorageOptions,
    snapshot_dir: PathBuf,
    log_dir: PathBuf,
    epochs: Epochs,
    needs_repair: bool,
    unconfirmed: Option<Unconfirmed>,
    purger: Purger,
    _locks: Vec<DiskLock>,
}

impl Storage {
    /// Locks the folders, loads the newest valid snapshot and replays the log after it.
    ///
    /// # Errors
    /// [`StorageError`]; no acknowledged record was changed or removed.
    pub fn open(
        options: StorageOptions,
        disk: Arc<dyn Disk>,
    ) -> Result<(Storage, Recovered), StorageError> {
        let snapshot_dir = options.data_dir.join(FOLDER);
        let log_dir = options.data_log_dir.join(FOLDER);
        let locks = lock_folders(&*disk, &options, &snapshot_dir, &log_dir)?;
        let names = disk.list(&snapshot_dir)?;
        let needs_repair = options.is_member && names.iter().any(|name| name == REPAIR_FILE);
        if needs_repair {
            // Whoever made the file may have ended before its name was durable.
            disk.sync_dir(&snapshot_dir)?;
        }
        let unconfirmed = Unconfirmed::read(&*disk, &snapshot_dir)?;
        let (snapshots, log) = (snapshot_dir.clone(), log_dir.clone());
        let mut storage = Storage {
            purger: Purger::new(Arc::clone(&disk), snapshots, log),
            disk,
            options,
            snapshot_dir,
            log_dir,
            epochs: Epochs::of(Zxid::ZERO),
            needs_repair,
            unconfirmed,
            _locks: locks,
        };
        let mut recovered = storage.recover()?;
        if mutation::is(Mutation::DropLastRecord) {
            let last = recovered.tree.tip_zxid();
            recovered = storage.truncate(recovered.wal, Zxid(last.0 - 1))?;
        }
        let last = recovered.tree.tip_zxid();
        storage.epochs = if storage.options.is_member {
            Epochs::load(&*storage.disk, &storage.snapshot_dir, last)?
        } else {
            Epochs::of(last)
        };
        Ok((storage, recovered))
    }

    /// Recovers; a member sets aside what is damaged, after it has noted durably that it lacks it.
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        let mut damage = None;
        loop {
            let (disk, options) = (&*self.disk, &self.options);
            let (snapshot_dir, log_dir) = (&self.snapshot_dir, &self.log_dir);
            let needs_repair = self.needs_repair;
            let result = recovery::recover(disk, options, snapshot_dir, log_dir, needs_repair);
            let error = match result {
                Ok(recovered) => {
                    let note = self.unconfirmed;
                    let known = note.and_then(|note| note.committed_of(recovered.committed));
                    return Ok(Recovered {
                        committed: known.unwrap_or(recovered.committed),
                        damage,
                        ..recovered
                    });
                }
                Err(error) if options.is_member && error.is_damage() => error,
                Err(error) => return Err(error),
            };
            let reason = error.to_string();
            tracing::error!(
                reason,
                "this member's data lacks what it may have acknowledged; it does not vote until a leader has \
                 repaired it"
            );
            if let StorageError::NewerForeignData { .. } = &error {
                // Not durably: only until those are moved away.
                self.needs_repair = true;
            } else {
                self.note_damage(&reason)?;
            }
            if let StorageError::Log(error) = &error {
                wal::set_aside_damage(&*self.disk, &self.log_dir, error)?;
            }
            damage.get_or_insert(reason);
        }
    }

    /// From now on [`Storage::needs_repair`] holds, durably.
    fn note_damage(&mut self, reason: &str) -> Result<(), StorageError> {
        if !self.needs_repair {
            let (disk, dir) = (&*self.disk, &self.snapshot_dir);
            epochs::write_small(disk, dir, REPAIR_FILE, reason.as_bytes())?;
            self.needs_repair = true;
        }
        Ok(())
    }

    /// Whether this member lacks transactions that it may have acknowledged (or never was given
    /// leave to begin with an empty tree). Leaders are elected by what a quorum has, and this
    /// member would speak for transactions that it has no more: so it votes, and answers a leader's
    /// new epoch, with the zxid -1, which Apache's servers do not count, until a leader that was
    /// established without it has synchronised it. A file `needsRepair` says so to later starts.
    pub fn needs_repair(&self) -> bool {
        self.needs_repair
    }

    /// Notes durably that a leader has synchronised this member; [`Storage::replace`] does it too.
    ///
    /// # Errors
    /// [`StorageError::Disk`].
    pub fn repaired(&mut self) -> Result<(), StorageError> {
        if self.needs_repair {
            match self.disk.remove(&self.snapshot_dir.join(REPAIR_FILE)) {
                Err(error) if error.is_not_found() => {}
                removed => removed?,
            }
            self.disk.sync_dir(&self.snapshot_dir)?;
            self.needs_repair = false;
        }
        Ok(())
    }

    /// Writes what `wal` has taken in, gives it up and recovers anew: for a server that changes its
    /// role.
    ///
    /// No write or segment task of `wal` may be under way, nor a snapshot being written; this
    /// holds for all that take the log away. A purge under way is waited for.
    ///
    /// # Errors
    /// [`StorageError`], as for [`Storage::open`]; [`crate::wal::WalError::Failed`] when the log could not be
    /// written.
    pub fn reopen(&mut self, mut wal: Wal) -> Result<Recovered, StorageError> {
        assert!(wal.is_quiet(), "nothing of the log is under way");
        let purger = self.purger();
        let _alone = purger.hold();
        wal.flush()?;
        drop(wal);
        self.recover()
    }

    /// Drops every transaction above `above`, then recovers anew: for a member whose leader does
    /// not have them (`TRUNC`). See [`Storage::reopen`] for what must hold.
    ///
    /// After a crash on the way, all of them are still there or all are gone. A snapshot that
    /// holds some of them gets the suffix `.dropped`: one that a leader sent before it was
    /// established, which it never was.
    ///
    /// # Errors
    /// [`StorageError`]. Where the log is damaged or does not reach back to a snapshot from before
    /// `above`, a member goes on with what there is, and [`Storage::needs_repair`] holds.
    pub fn truncate(&mut self, mut wal: Wal, above: Zxid) -> Result<Recovered, StorageError> {
        assert!(wal.is_quiet(), "nothing of the log is under way");
        let purger = self.purger();
        let _alone = purger.hold();
        wal.flush()?;
        drop(wal);
        let was_damaged = self.needs_repair;
        if snapshot::newest_zxid(&*self.disk, &self.snapshot_dir)? > Some(above) {
            self.note_damage("a snapshot held what no leader has")?;
        }
        let disk = &*self.disk;
        let oldest_needed = snapshot::set_aside_above(disk, &self.snapshot_dir, above)?;
        let after = oldest_needed.unwrap_or_default();
        let cut = Wal::truncate(disk, &self.log_dir, self.options.wal.clone(), after, above);
        match cut.map_err(StorageError::from) {
            Err(error) if !(self.options.is_member && error.is_damage()) => return Err(error),
            _ => {}
        }
        let recovered = self.recover()?;
        let is_whole = recovered.damage.is_none() && recovered.tree.tip_zxid() == above;
        if is_whole && !was_damaged {
            self.repaired()?;
        }
        Ok(recovered)
    }

    /// Puts what `view` shows, with the open sessions as of its zxid, in the place of the whole
    /// log and all snapshots: for a member that got a snapshot from its leader (`SNAP`), and knows
    /// everything up to `committed` to be so. That its leader is established is not known yet:
    /// [`Storage::tree_confirmed`] says so. Returns the log to go on with. Nothing of `wal` may be under
    /// way; what it has not written is lost, as the rest of it.
    ///
    /// After a crash on the way there is all that was before, or the new snapshot alone.
    ///
    /// # Errors
    /// [`StorageError`]; where the snapshot could not be written, all is as it was.
    pub fn replace(
        &mut self,
        wal: Wal,
        view: &View,
        sessions: &[(SessionId, i32)],
        committed: Zxid,
    ) -> Result<Wal, StorageError> {
        assert!(wal.is_quiet(), "nothing of the log is under way");
        let purger = self.purger();
        let _alone = purger.hold();
        drop(wal);
        let disk = &*self.disk;
        let note = Unconfirmed::note(disk, &self.snapshot_dir, view.zxid(), committed)?;
        self.unconfirmed = Some(note);
        let info = snapshot::write_replacement(disk, &self.snapshot_dir, view, sessions)?;
        recovery::finish_replacement(disk, &self.snapshot_dir, &self.log_dir, info.zxid)?;
        let options = self.options.wal.clone();
        let (wal, _) = Wal::recover(disk, &self.log_dir, options, info.zxid, &mut |_, _| {})?;
        self.repaired()?;
        tracing::info!(zxid = %info.zxid, nodes = info.nodes, "replaced all data by a snapshot");
        Ok(wal)
    }

    /// The zxid of a tree whose leader may never have been established: there is nothing from before it to
    /// go back to. Zero where there is none.
    pub fn tree_base(&self) -> Zxid {
        self.unconfirmed.map_or(Zxid::ZERO, |note| note.tree())
    }

    /// Notes durably that a leader was established whose log this member has: all of its tree that a
    /// leader may have sent is committed.
    ///
    /// # Errors
    /// [`StorageError::Disk`].
    pub fn tree_confirmed(&mut self) -> Result<(), StorageError> {
        if self.unconfirmed.is_some() {
            Unconfirmed::remove(&*self.disk, &self.snapshot_dir)?;
            self.unconfirmed = None;
        }
        Ok(())
    }

    /// Reads records back from the files of the log, which may be written meanwhile; see
    /// [`wal::read_log`].
    ///
    /// # Errors
    /// [`StorageError::Disk`] and [`StorageError::Log`].
    pub fn read_log(
        &self,
        after: Zxid,
        up_to: Zxid,
        bytes_max: usize,
        on_record: &mut dyn FnMut(Zxid, &[u8]),
    ) -> Result<ReadLog, StorageError> {
        let (disk, dir) = (&*self.disk, &self.log_dir);
        let read = wal::read_log(disk, dir, after, up_to, bytes_max, on_record)?;
        Ok(read)
    }

    /// What removes old files, at any time and on any thread.
    pub fn purger(&self) -> Purger {
        self.purger.clone()
    }

    /// Folder of the snapshots and the epochs.
    pub fn snapshot_dir(&self) -> &Path {
        &self.snapshot_dir
    }

    /// Folder of the log.
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// The last epoch whose leader this member promised not to go behind (file `acceptedEpoch`).
    pub fn accepted_epoch(&self) -> i64 {
        self.epochs.accepted
    }

    /// The last epoch with whose leader this member was synchronised (file `currentEpoch`).
    pub fn current_epoch(&self) -> i64 {
        self.epochs.current
    }

    /// Makes a new accepted epoch durable (Apache's `QuorumPeer.setAcceptedEpoch`).
    ///
    /// # Errors
    /// [`StorageError::Disk`]; the file holds the old or the new epoch then, and
    /// [`Storage::accepted_epoch`] the old one.
    pub fn set_accepted_epoch(&mut self, epoch: i64) -> Result<(), StorageError> {
        self.epochs.accept(&*self.disk, &self.snapshot_dir, epoch)?;
        Ok(())
    }

    /// Makes a new current epoch durable (Apache's `QuorumPeer.setCurrentEpoch`). It must have
    /// been accepted before, and what its leader sent must be durable.
    ///
    /// # Errors
    /// [`StorageError::Disk`], as for [`Storage::set_accepted_epoch`].
    pub fn set_current_epoch(&mut self, epoch: i64) -> Result<(), StorageError> {
        self.epochs.enter(&*self.disk, &self.snapshot_dir, epoch)?;
        Ok(())
    }
}

fn lock_folders(
    disk: &dyn Disk,
    options: &StorageOptions,
    snapshot_dir: &Path,
    log_dir: &Path,
) -> Result<Vec<DiskLock>, StorageError> {
    if !options.is_dir_autocreate {
        for folder in [&options.data_dir, &options.data_log_dir] {
            if let Err(error) = disk.list(folder) {
                return Err(missing(error, folder));
            }
        }
    }
    disk.create_dir(snapshot_dir)?;
    let mut locks = vec![lock(disk, snapshot_dir)?];
    if log_dir != snapshot_dir {
        disk.create_dir(log_dir)?;
        locks.push(lock(disk, log_dir)?);
    }
    Ok(locks)
}

fn missing(error: DiskError, folder: &Path) -> StorageError {
    if error.is_not_found() {
        StorageError::NoFolder {
            folder: folder.to_owned(),
        }
    } else {
        StorageError::Disk(error)
    }
}

fn lock(disk: &dyn Disk, folder: &Path) -> Result<DiskLock, StorageError> {
    disk.lock(&folder.join("lock")).map_err(|error| {
        if error.is_locked() {
            StorageError::Locked {
                folder: folder.to_owned(),
            }
        } else {
            StorageError::Disk(error)
        }
    })
}

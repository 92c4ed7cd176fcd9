//! Brings a server's tree, sessions and log back from its folders.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Recovered, StorageError, StorageOptions, apache};
use crate::io::Disk;
use crate::jute::JuteError;
use crate::jute::txn::{Txn, decode_txn};
use crate::snapshot;
use crate::tree::{DIGEST_VERSION, Tree};
use crate::types::{SessionId, Zxid};
use crate::wal::{self, Wal};

/// The file that says that a server may begin with an empty tree (Apache's `initialize`).
const INITIALIZE_FILE: &str = "initialize";

/// Loads the newest valid snapshot and replays the log after it. When it returns, all that the
/// tree shows is durable.
pub(super) fn recover(
    disk: &dyn Disk,
    options: &StorageOptions,
    snapshot_dir: &Path,
    log_dir: &Path,
    needs_repair: bool,
) -> Result<Recovered, StorageError> {
    let pending = snapshot::pending_replacement(disk, snapshot_dir, &options.tree)?;
    if let Some(zxid) = pending {
        finish_replacement(disk, snapshot_dir, log_dir, zxid)?;
    }
    let loaded = snapshot::load(disk, snapshot_dir, options.tree.clone())?;
    if !needs_repair && loaded.snapshot.is_none() && !has_log(disk, log_dir)? {
        refuse_only_damaged(disk, snapshot_dir)?;
        allow_beginning(options, disk, snapshot_dir)?;
    }
    let (tree, sessions) = match loaded.snapshot {
        Some(snapshot) => (snapshot.tree, snapshot.sessions),
        None => (Tree::new(options.tree.clone()), Vec::new()),
    };
    let after = tree.tip_zxid();
    let mut replay = Replay {
        tree,
        sessions: sessions.into_iter().collect(),
        checks_digest: options.tree.digest_enabled,
        bytes: 0,
        mismatches: 0,
        bad_record: None,
    };
    let mut on_record = |zxid: Zxid, payload: &[u8]| replay.take(zxid, payload);
    let (wal, found) = Wal::recover(disk, log_dir, options.wal.clone(), after, &mut on_record)?;
    if let Some(error) = replay.bad_record {
        return Err(error);
    }
    if !needs_repair
        && let Some(lost) = snapshot::newest_set_aside(disk, snapshot_dir)?
        && lost > found.last
    {
        return Err(StorageError::SnapshotLost {
            folder: snapshot_dir.to_owned(),
            lost,
            last: found.last,
        });
    }
    if !needs_repair {
        refuse_outdated(options, disk, found.last)?;
    }
    if let Some(cut) = &found.cut {
        tracing::warn!(
            file = %cut.path.display(),
            offset = cut.offset,
            bytes = cut.bytes,
            "cut off the end of the log that a crash left half written; none of it was acknowledged"
        );
    }
    warn_of(&replay, options);
    tracing::info!(
        snapshot = %after,
        records = found.records,
        zxid = %found.last,
        sessions = replay.sessions.len(),
        "recovered"
    );
    Ok(Recovered {
        tree: replay.tree,
        sessions: replay.sessions.into_iter().collect(),
        committed: after,
        replayed: found.records,
        replayed_bytes: replay.bytes,
        wal,
        damage: None,
    })
}

/// Says what is not as it should be, though it keeps nobody from starting.
fn warn_of(replay: &Replay, options: &StorageOptions) {
    if replay.mismatches > 0 {
        tracing::error!(
            mismatches = replay.mismatches,
            "transactions after which the tree is not what it was when they were logged"
        );
    }
    if !options.wal.is_synchronous {
        tracing::warn!(
            "forceSync=no: writes are answered before the disk has them; a power failure or a \
             crash of the machine may lose the last ones"
        );
    }
}

/// Removes what a decided replacement replaces, and gives it its name.
pub(super) fn finish_replacement(
    disk: &dyn Disk,
    snapshot_dir: &Path,
    log_dir: &Path,
    zxid: Zxid,
) -> Result<(), StorageError> {
    wal::remove_all(disk, log_dir)?;
    snapshot::install_replacement(disk, snapshot_dir, zxid)?;
    Ok(())
}

/// The records of the log on their way into the tree.
struct Replay {
    tree: Tree,
    sessions: BTreeMap<SessionId, i32>,
    checks_digest: bool,
    bytes: u64,
    mismatches: u64,
    bad_record: Option<StorageError>,
}

impl Replay {
    fn take(&mut self, zxid: Zxid, payload: &[u8]) {
        if self.bad_record.is_some() {
            return;
        }
        self.bytes += payload.len() as u64;
        match replay_one(&mut self.tree, &mut self.sessions, payload) {
            Ok(recorded) => {
                let is_other = self.checks_digest
                    && recorded.is_some_and(|recorded| recorded != self.tree.digest());
                if is_other && self.mismatches == 0 {
                    tracing::error!(%zxid, "the tree is not what it was when this was logged");
                }
                self.mismatches += u64::from(is_other);
            }
            Err(source) => self.bad_record = Some(StorageError::Record { zxid, source }),
        }
    }
}

/// Applies one record; returns the digest that the tree had after it when it was logged.
fn replay_one(
    tree: &mut Tree,
    sessions: &mut BTreeMap<SessionId, i32>,
    payload: &[u8],
) -> Result<Option<u64>, JuteError> {
    let (header, txn, digest) = decode_txn(payload)?;
    match &txn {
        Txn::CreateSession(create) => {
            sessions.insert(SessionId(header.client_id), create.timeout_ms);
        }
        Txn::CloseSession(_) => {
            sessions.remove(&SessionId(header.client_id));
        }
        _ => {}
    }
    tree.apply(&header, &txn);
    // Nobody reads the tree yet, so what was superseded can go at once.
    tree.reclaim(usize::MAX);
    Ok(digest
        .filter(|digest| digest.version == DIGEST_VERSION)
        .map(|digest| digest.tree_digest as u64))
}

/// Whether a server ever ran here: it makes a segment ahead before anything is written to it.
fn has_log(disk: &dyn Disk, log_dir: &Path) -> Result<bool, StorageError> {
    Ok(disk
        .list(log_dir)?
        .iter()
        .any(|name| name.starts_with("log.") || name.starts_with("segment.")))
}

/// Where an Apache server has run in the place of ours, what we have is out of date.
fn refuse_outdated(
    options: &StorageOptions,
    disk: &dyn Disk,
    last: Zxid,
) -> Result<(), StorageError> {
    match apache::newest(disk, [&options.data_dir, &options.data_log_dir])? {
        Some((newest, folder)) if newest > last => Err(StorageError::NewerForeignData {
            folder,
            newest,
            last,
        }),
        _ => Ok(()),
    }
}

/// Snapshots set aside, now or at an earlier start, with nothing beside them are no new beginning.
fn refuse_only_damaged(disk: &dyn Disk, folder: &Path) -> Result<(), StorageError> {
    let is_damaged = |name: &String| name.starts_with("snapshot.") && name.ends_with(".bad");
    if disk.list(folder)?.iter().any(is_damaged) {
        return Err(StorageError::OnlyDamaged {
            folder: folder.to_owned(),
        });
    }
    Ok(())
}

/// Whether a server without data may begin with an empty tree. Not beside data of Apache's, which
/// would seem lost; and not where `db.autocreate` forbids it.
fn allow_beginning(
    options: &StorageOptions,
    disk: &dyn Disk,
    folder: &Path,
) -> Result<(), StorageError> {
    if let Some((_, folder)) = apache::newest(disk, [&options.data_dir, &options.data_log_dir])? {
        return Err(StorageError::ForeignData { folder });
    }
    if options.is_db_autocreate {
        return Ok(());
    }
    if !disk
        .list(&options.data_dir)?
        .iter()
        .any(|name| name == INITIALIZE_FILE)
    {
        return Err(StorageError::NoData {
            folder: folder.to_owned(),
            parent: options.data_dir.clone(),
        });
    }
    disk.remove(&options.data_dir.join(INITIALIZE_FILE))?;
    Ok(())
}

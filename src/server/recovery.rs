//! Brings a server's tree, sessions and log back from its folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::io::{Disk, DiskError, DiskLock};
use crate::jute::JuteError;
use crate::jute::txn::{Txn, decode_txn};
use crate::snapshot;
use crate::tree::{DIGEST_VERSION, Tree, TreeConfig};
use crate::types::{SessionId, Zxid};
use crate::wal::{Wal, WalOptions};

use super::ServerError;

/// The folder below `dataDir` and `dataLogDir` that holds our files, named as Apache names its own
/// `version-2`: by the format.
const FOLDER: &str = "zkore-1";

/// Apache's folder.
const APACHE_FOLDER: &str = "version-2";

/// The file that says that a server may begin with an empty tree (Apache's `initialize`).
const INITIALIZE_FILE: &str = "initialize";

/// What a start found.
pub struct RecoveredServer {
    /// The tree, at the newest durable zxid.
    pub tree: Tree,
    /// The sessions with their timeouts in milliseconds.
    pub sessions: Vec<(SessionId, i32)>,
    /// The log, ready to be written.
    pub wal: Wal,
    /// Folder of the snapshots.
    pub snapshot_dir: PathBuf,
    /// Folder of the log.
    pub log_dir: PathBuf,
    /// Held until the server ends.
    pub locks: Vec<DiskLock>,
}

/// Locks the folders, loads the newest valid snapshot and replays the log after it. When it
/// returns, all that the tree shows is durable.
pub fn recover(config: &Config, disk: &dyn Disk) -> Result<RecoveredServer, ServerError> {
    let snapshot_dir = config.data_dir.join(FOLDER);
    let log_dir = config.data_log_dir.join(FOLDER);
    if !config.data_dir_autocreate {
        for folder in [&config.data_dir, &config.data_log_dir] {
            if let Err(error) = disk.list(folder) {
                return Err(missing(error, folder));
            }
        }
    }
    disk.create_dir(&snapshot_dir)?;
    let mut locks = vec![lock(disk, &snapshot_dir)?];
    if log_dir != snapshot_dir {
        disk.create_dir(&log_dir)?;
        locks.push(lock(disk, &log_dir)?);
    }

    let tree_config = TreeConfig {
        extended_types: config.extended_types,
        digest_enabled: config.tree_digest_enabled,
    };
    let loaded = snapshot::load(disk, &snapshot_dir, tree_config.clone())?;
    let is_new = loaded.snapshot.is_none() && !has_log(disk, &log_dir)?;
    if is_new {
        refuse_only_damaged(disk, &snapshot_dir)?;
        allow_beginning(config, disk, &snapshot_dir)?;
    }
    let (mut tree, sessions) = match loaded.snapshot {
        Some(snapshot) => (snapshot.tree, snapshot.sessions),
        None => (Tree::new(tree_config), Vec::new()),
    };
    let mut sessions: BTreeMap<SessionId, i32> = sessions.into_iter().collect();
    let after = tree.tip_zxid();
    let mut bad_record = None;
    let mut mismatches = 0u64;
    let mut replay = |zxid: Zxid, payload: &[u8]| {
        if bad_record.is_some() {
            return;
        }
        match replay_one(&mut tree, &mut sessions, payload) {
            Ok(recorded) => {
                let is_other = config.tree_digest_enabled
                    && recorded.is_some_and(|recorded| recorded != tree.digest());
                if is_other && mismatches == 0 {
                    tracing::error!(%zxid, "the tree is not what it was when this was logged");
                }
                mismatches += u64::from(is_other);
            }
            Err(source) => bad_record = Some(ServerError::Record { zxid, source }),
        }
    };
    let (wal, recovered) = Wal::recover(disk, &log_dir, wal_options(config), after, &mut replay)?;
    if let Some(error) = bad_record {
        return Err(error);
    }
    if let Some(cut) = &recovered.cut {
        tracing::warn!(
            file = %cut.path.display(),
            offset = cut.offset,
            bytes = cut.bytes,
            "cut off the end of the log that a crash left half written; none of it was acknowledged"
        );
    }
    if mismatches > 0 {
        tracing::error!(
            mismatches,
            "transactions after which the tree is not what it was when they were logged"
        );
    }
    if !config.force_sync {
        tracing::warn!(
            "forceSync=no: writes are answered before the disk has them; a power failure or a \
             crash of the machine may lose the last ones"
        );
    }
    tracing::info!(
        snapshot = %after,
        records = recovered.records,
        zxid = %recovered.last,
        sessions = sessions.len(),
        "recovered"
    );
    let sessions = sessions.into_iter().collect();
    Ok(RecoveredServer {
        tree,
        sessions,
        wal,
        snapshot_dir,
        log_dir,
        locks,
    })
}

fn missing(error: DiskError, folder: &Path) -> ServerError {
    if error.is_not_found() {
        ServerError::NoFolder {
            folder: folder.to_owned(),
        }
    } else {
        ServerError::Disk(error)
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

fn wal_options(config: &Config) -> WalOptions {
    let limit = config.txn_log_size_limit_bytes.unwrap_or(u64::MAX);
    WalOptions {
        segment_bytes: config.pre_alloc_bytes.min(limit),
        is_synchronous: config.force_sync,
        ..WalOptions::default()
    }
}

fn lock(disk: &dyn Disk, folder: &Path) -> Result<DiskLock, ServerError> {
    disk.lock(&folder.join("lock")).map_err(|error| {
        if error.is_locked() {
            ServerError::Locked {
                folder: folder.to_owned(),
            }
        } else {
            ServerError::Disk(error)
        }
    })
}

/// Whether a server ever ran here: it makes a segment ahead before anything is written to it.
fn has_log(disk: &dyn Disk, log_dir: &Path) -> Result<bool, ServerError> {
    Ok(disk
        .list(log_dir)?
        .iter()
        .any(|name| name.starts_with("log.") || name.starts_with("segment.")))
}

/// Snapshots set aside, now or at an earlier start, with nothing beside them are no new beginning.
fn refuse_only_damaged(disk: &dyn Disk, folder: &Path) -> Result<(), ServerError> {
    let is_damaged = |name: &String| name.starts_with("snapshot.") && name.ends_with(".bad");
    if disk.list(folder)?.iter().any(is_damaged) {
        return Err(ServerError::OnlyDamaged {
            folder: folder.to_owned(),
        });
    }
    Ok(())
}

/// Whether a server without data may begin with an empty tree. Not beside data of Apache's, which
/// would seem lost; and not where `db.autocreate` forbids it.
fn allow_beginning(config: &Config, disk: &dyn Disk, folder: &Path) -> Result<(), ServerError> {
    for dir in [&config.data_dir, &config.data_log_dir] {
        let apache = dir.join(APACHE_FOLDER);
        let names = match disk.list(&apache) {
            Ok(names) => names,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error.into()),
        };
        if names
            .iter()
            .any(|name| name.starts_with("snapshot.") || name.starts_with("log."))
        {
            return Err(ServerError::ForeignData { folder: apache });
        }
    }
    if config.db_autocreate {
        return Ok(());
    }
    if !disk
        .list(&config.data_dir)?
        .iter()
        .any(|name| name == INITIALIZE_FILE)
    {
        return Err(ServerError::NoData {
            folder: folder.to_owned(),
            parent: config.data_dir.clone(),
        });
    }
    disk.remove(&config.data_dir.join(INITIALIZE_FILE))?;
    Ok(())
}

//! Loading the newest snapshot that is whole.

use std::path::{Path, PathBuf};

use rkyv::rancor::Error;

use super::format::{
    ArchivedHead, ArchivedNodes, ArchivedSessions, ArchivedTail, ChunkKind, FILE_HEADER,
    HeaderFault, NO_DATA, VERSION, check_file_header, decode_chunk, zxid_of_name,
};
use super::{SnapshotError, SnapshotInfo};
use crate::io::Disk;
use crate::jute::data::{Acl, StatPersisted};
use crate::tree::{Tree, TreeConfig, TreeLoader};
use crate::types::{SessionId, Zxid};

/// What the directory of snapshots gave.
pub struct Loaded {
    /// The newest snapshot that is whole. Without one, the log must reach back to zxid 0, which
    /// [`crate::wal::Wal::recover`] checks.
    pub snapshot: Option<Snapshot>,
    /// Damaged snapshots, newest first; each has the suffix `.bad` now.
    pub set_aside: Vec<SetAside>,
}

/// A snapshot in memory.
pub struct Snapshot {
    /// The tree.
    pub tree: Tree,
    /// The sessions that were open and their timeouts in milliseconds.
    pub sessions: Vec<(SessionId, i32)>,
    /// About the file.
    pub info: SnapshotInfo,
}

/// A damaged snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its path before it was renamed.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Loads the newest snapshot in `dir` that is whole. A damaged one is renamed and the one before
/// it tried, with a warning. What writing left behind unfinished is removed.
///
/// # Errors
/// [`SnapshotError::Disk`]; [`SnapshotError::Foreign`] and [`SnapshotError::Version`] for a file
/// that is sound but not readable here, which stays as it is.
pub fn load(disk: &dyn Disk, dir: &Path, config: TreeConfig) -> Result<Loaded, SnapshotError> {
    disk.create_dir(dir)?;
    let mut snapshots: Vec<(Zxid, PathBuf)> = Vec::new();
    for name in disk.list(dir)? {
        if name.starts_with("snapshot.") && name.ends_with(".tmp") {
            disk.remove(&dir.join(&name))?;
        } else if let Some(zxid) = zxid_of_name(&name) {
            snapshots.push((zxid, dir.join(&name)));
        }
    }
    snapshots.sort();
    let mut aside = Vec::new();
    while let Some((zxid, path)) = snapshots.pop() {
        match load_file(disk, &path, zxid, &config)? {
            Ok(snapshot) => {
                return Ok(Loaded {
                    snapshot: Some(snapshot),
                    set_aside: aside,
                });
            }
            Err(reason) => {
                set_aside(disk, dir, &path)?;
                tracing::warn!(
                    file = %path.display(),
                    reason,
                    "set a damaged snapshot aside under the suffix .bad; trying the one before"
                );
                aside.push(SetAside { path, reason });
            }
        }
    }
    Ok(Loaded {
        snapshot: None,
        set_aside: aside,
    })
}

/// Gives a file the suffix `.bad`, durably.
pub(super) fn set_aside(disk: &dyn Disk, dir: &Path, path: &Path) -> Result<(), SnapshotError> {
    let mut bad = path.to_path_buf().into_os_string();
    bad.push(".bad");
    disk.rename(path, Path::new(&bad))?;
    disk.sync_dir(dir)?;
    Ok(())
}

/// Loads one file; the inner error says why it is damaged.
pub(super) fn load_file(
    disk: &dyn Disk,
    path: &Path,
    zxid: Zxid,
    config: &TreeConfig,
) -> Result<Result<Snapshot, String>, SnapshotError> {
    let map = match disk.map(path) {
        Err(error) if error.is_unreadable() => return Ok(Err(error.to_string())),
        map => map?,
    };
    let bytes: &[u8] = (*map).as_ref();
    let path = path.to_path_buf();
    match check_file_header(bytes) {
        Ok(()) => {}
        Err(HeaderFault::Damaged) => {
            return Ok(Err("the file header is damaged".to_string()));
        }
        Err(HeaderFault::Foreign) => return Err(SnapshotError::Foreign { path }),
        Err(HeaderFault::Version(version)) => {
            return Err(SnapshotError::Version {
                path,
                version,
                supported: VERSION,
            });
        }
    }
    let mut loading = Loading {
        loader: TreeLoader::new(config.clone()),
        acls: Vec::new(),
        sessions: Vec::new(),
        nodes: 0,
        digest: 0,
    };
    if let Err(reason) = loading.read(bytes, zxid) {
        return Ok(Err(reason));
    }
    let info = SnapshotInfo {
        path,
        zxid,
        nodes: loading.nodes,
        sessions: loading.sessions.len() as u64,
        bytes: bytes.len() as u64,
    };
    Ok(match loading.loader.finish(zxid, Some(loading.digest)) {
        Ok(tree) => Ok(Snapshot {
            tree,
            sessions: loading.sessions,
            info,
        }),
        Err(error) => Err(error.to_string()),
    })
}

struct Loading {
    loader: TreeLoader,
    acls: Vec<Vec<Acl>>,
    sessions: Vec<(SessionId, i32)>,
    nodes: u64,
    digest: u64,
}

impl Loading {
    fn read(&mut self, bytes: &[u8], zxid: Zxid) -> Result<(), String> {
        let mut offset = FILE_HEADER;
        for index in 0.. {
            let rest = bytes.get(offset..).unwrap_or_default();
            let (kind, archive, length) = decode_chunk(rest, index, zxid)
                .ok_or_else(|| format!("damaged at or after offset {offset}"))?;
            let invalid = |error: Error| format!("invalid chunk at offset {offset}: {error}");
            if (index == 0) != (kind == ChunkKind::Head) {
                return Err(format!("unexpected chunk at offset {offset}"));
            }
            match kind {
                ChunkKind::Head => {
                    let head = rkyv::access::<ArchivedHead, Error>(archive).map_err(invalid)?;
                    if head.zxid.to_native() != zxid.0 {
                        return Err("it is of another zxid than its name says".to_string());
                    }
                }
                ChunkKind::Nodes => {
                    let nodes = rkyv::access::<ArchivedNodes, Error>(archive).map_err(invalid)?;
                    self.add_nodes(nodes)?;
                }
                ChunkKind::Sessions => {
                    let chunk =
                        rkyv::access::<ArchivedSessions, Error>(archive).map_err(invalid)?;
                    let sessions = chunk.sessions.iter().map(|session| {
                        let id = SessionId(session.id.to_native());
                        (id, session.timeout_ms.to_native())
                    });
                    self.sessions.extend(sessions);
                }
                ChunkKind::Tail => {
                    let tail = rkyv::access::<ArchivedTail, Error>(archive).map_err(invalid)?;
                    self.digest = tail.digest.to_native();
                    return self.check_counts(tail);
                }
            }
            offset += length;
        }
        unreachable!("a file has fewer chunks than numbers")
    }

    fn add_nodes(&mut self, chunk: &ArchivedNodes) -> Result<(), String> {
        for acl in chunk.acls.iter() {
            let entries = acl.iter().map(|entry| Acl {
                perms: entry.perms.to_native(),
                scheme: entry.scheme.as_str().to_string(),
                id: entry.id.as_str().to_string(),
            });
            self.acls.push(entries.collect());
        }
        let mut paths = chunk.paths.as_str();
        let mut data = chunk.data.as_slice();
        let short = || "a node reaches past its chunk".to_string();
        for node in chunk.nodes.iter() {
            let path_bytes = node.path_bytes.to_native() as usize;
            let (path, rest) = paths.split_at_checked(path_bytes).ok_or_else(short)?;
            paths = rest;
            let node_data = match node.data_bytes.to_native() {
                NO_DATA => None,
                data_bytes => {
                    let (bytes, rest) = data
                        .split_at_checked(data_bytes as usize)
                        .ok_or_else(short)?;
                    data = rest;
                    Some(bytes)
                }
            };
            let acl = self
                .acls
                .get(node.acl.to_native() as usize)
                .ok_or_else(short)?;
            let stat = StatPersisted {
                czxid: node.czxid.to_native(),
                mzxid: node.mzxid.to_native(),
                ctime: node.ctime.to_native(),
                mtime: node.mtime.to_native(),
                version: node.version.to_native(),
                cversion: node.cversion.to_native(),
                aversion: node.aversion.to_native(),
                ephemeral_owner: node.ephemeral_owner.to_native(),
                pzxid: node.pzxid.to_native(),
            };
            self.loader
                .add(path, &stat, node_data, acl)
                .map_err(|error| error.to_string())?;
            self.nodes += 1;
        }
        Ok(())
    }

    fn check_counts(&self, tail: &ArchivedTail) -> Result<(), String> {
        let found = (
            self.nodes,
            self.sessions.len() as u64,
            self.acls.len() as u64,
        );
        let recorded = (
            tail.nodes.to_native(),
            tail.sessions.to_native(),
            tail.acls.to_native(),
        );
        if found != recorded {
            return Err(format!(
                "it has {found:?} nodes, sessions and ACLs, and should have {recorded:?}"
            ));
        }
        Ok(())
    }
}

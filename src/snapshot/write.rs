//! Writing a snapshot.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rkyv::api::high::HighSerializer;
use rkyv::rancor::Error;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;

use super::format::{
    ALIGNMENT, AclEntry, CHUNK_BYTES, CHUNK_SESSIONS, ChunkKind, Head, NO_DATA, Node, Nodes,
    Session, Sessions, Tail, encode_chunk_header, encode_file_header, snapshot_name,
};
use super::{SnapshotError, SnapshotInfo};
use crate::io::{Disk, DiskFile, OpenMode};
use crate::tree::{AclList, NodeRef, View};
use crate::types::{SessionId, Zxid};

/// Writes what `view` shows, with the open sessions and their timeouts in milliseconds as of its
/// zxid. Runs on the background thread; memory stays at
/// a few chunks of about 1 MiB. When it returns, the snapshot is durable.
///
/// # Errors
/// [`SnapshotError::Disk`] and [`SnapshotError::Encode`]; the temporary file is removed then.
pub fn write(
    disk: &dyn Disk,
    dir: &Path,
    view: &View,
    sessions: &[(SessionId, i32)],
) -> Result<SnapshotInfo, SnapshotError> {
    write_as(disk, dir, &snapshot_name(view.zxid()), view, sessions)
}

/// As [`write`], under another final name.
pub(super) fn write_as(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    view: &View,
    sessions: &[(SessionId, i32)],
) -> Result<SnapshotInfo, SnapshotError> {
    disk.create_dir(dir)?;
    let zxid = view.zxid();
    let path = dir.join(name);
    let temporary = dir.join(format!("{}.tmp", snapshot_name(zxid)));
    let written = Writer::create(disk, &temporary, zxid)
        .and_then(|writer| writer.write_all(view, sessions))
        .and_then(|info| {
            disk.rename(&temporary, &path)?;
            Ok(info)
        });
    match written {
        Ok(info) => {
            disk.sync_dir(dir)?;
            Ok(SnapshotInfo { path, ..info })
        }
        Err(error) => {
            // The first error tells more than a failure to clean up after it.
            let _ = disk.remove(&temporary);
            Err(error)
        }
    }
}

/// Bytes between two syncs of the file. One sync at the end would hand the disk all of it at once,
/// and the log's writes would wait behind that.
const SYNC_BYTES: u64 = 4 << 20;

struct Writer {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    zxid: Zxid,
    chunks: u64,
    bytes: u64,
    bytes_synced: u64,
}

impl Writer {
    fn create(disk: &dyn Disk, path: &Path, zxid: Zxid) -> Result<Writer, SnapshotError> {
        let file = disk.open(path, OpenMode::Create)?;
        let header = encode_file_header();
        file.write_at(0, &header)?;
        Ok(Writer {
            file,
            path: path.to_path_buf(),
            zxid,
            chunks: 0,
            bytes: header.len() as u64,
            bytes_synced: 0,
        })
    }

    fn write_all(
        mut self,
        view: &View,
        sessions: &[(SessionId, i32)],
    ) -> Result<SnapshotInfo, SnapshotError> {
        let zxid = self.zxid;
        self.write_chunk(ChunkKind::Head, &Head { zxid: zxid.0 })?;
        let (nodes, acls, digest) = self.write_nodes(view)?;
        for sessions in sessions.chunks(CHUNK_SESSIONS) {
            let sessions = Sessions {
                sessions: sessions
                    .iter()
                    .map(|(id, timeout_ms)| Session {
                        id: id.0,
                        timeout_ms: *timeout_ms,
                    })
                    .collect(),
            };
            self.write_chunk(ChunkKind::Sessions, &sessions)?;
        }
        let sessions = sessions.len() as u64;
        let tail = Tail {
            nodes,
            sessions,
            acls,
            digest,
        };
        self.write_chunk(ChunkKind::Tail, &tail)?;
        self.file.sync()?;
        Ok(SnapshotInfo {
            path: self.path,
            zxid,
            nodes,
            sessions,
            bytes: self.bytes,
        })
    }

    /// Writes the nodes; returns how many, how many ACLs they have, and their digest.
    fn write_nodes(&mut self, view: &View) -> Result<(u64, u64, u64), SnapshotError> {
        let mut chunk = NodesChunk::default();
        let (mut count, mut digest) = (0, 0u64);
        let mut result = Ok(());
        view.for_each(&mut |path, node| {
            if result.is_err() {
                return;
            }
            count += 1;
            digest = digest.wrapping_add(node.digest());
            chunk.add(path, node);
            if chunk.bytes >= CHUNK_BYTES {
                result = self.write_chunk(ChunkKind::Nodes, &chunk.nodes);
                chunk.clear();
            }
        });
        result?;
        if !chunk.nodes.nodes.is_empty() {
            self.write_chunk(ChunkKind::Nodes, &chunk.nodes)?;
        }
        Ok((count, chunk.acl_numbers.len() as u64, digest))
    }

    fn write_chunk<T>(&mut self, kind: ChunkKind, content: &T) -> Result<(), SnapshotError>
    where
        T: for<'a> rkyv::Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>,
    {
        let mut archive =
            rkyv::to_bytes(content).map_err(|error: Error| SnapshotError::Encode {
                path: self.path.clone(),
                reason: error.to_string(),
            })?;
        let header = encode_chunk_header(kind, self.chunks, self.zxid, &archive);
        archive.resize(archive.len().next_multiple_of(ALIGNMENT), 0);
        self.file.write_at(self.bytes, &header)?;
        self.bytes += header.len() as u64;
        self.file.write_at(self.bytes, &archive)?;
        self.bytes += archive.len() as u64;
        self.chunks += 1;
        if self.bytes - self.bytes_synced >= SYNC_BYTES {
            self.file.sync()?;
            self.bytes_synced = self.bytes;
        }
        Ok(())
    }
}

#[derive(Default)]
struct NodesChunk {
    nodes: Nodes,
    bytes: usize,
    /// By address: the tree interns them. Each is held, so that no address is used twice.
    acl_numbers: HashMap<usize, (u32, AclList)>,
}

impl NodesChunk {
    fn add(&mut self, path: &str, node: NodeRef<'_>) {
        let stat = node.persisted();
        let data = node.data();
        let acl = self.number_of(node.acl());
        self.nodes.nodes.push(Node {
            path_bytes: path.len() as u32,
            data_bytes: data.map_or(NO_DATA, |data| data.len() as u32),
            acl,
            version: stat.version,
            cversion: stat.cversion,
            aversion: stat.aversion,
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            pzxid: stat.pzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            ephemeral_owner: stat.ephemeral_owner,
        });
        let data = data.unwrap_or_default();
        self.nodes.paths.push_str(path);
        self.nodes.data.extend_from_slice(data);
        self.bytes += path.len() + data.len() + size_of::<Node>();
    }

    fn number_of(&mut self, acl: &AclList) -> u32 {
        let number = self.acl_numbers.len() as u32;
        let key = Arc::as_ptr(acl).cast::<u8>() as usize;
        let (number, _) = self.acl_numbers.entry(key).or_insert_with(|| {
            let entries = acl.iter().map(|entry| AclEntry {
                perms: entry.perms,
                scheme: entry.scheme.clone(),
                id: entry.id.clone(),
            });
            self.nodes.acls.push(entries.collect());
            (number, acl.clone())
        });
        *number
    }

    fn clear(&mut self) {
        self.bytes = 0;
        self.nodes.acls.clear();
        self.nodes.nodes.clear();
        self.nodes.paths.clear();
        self.nodes.data.clear();
    }
}

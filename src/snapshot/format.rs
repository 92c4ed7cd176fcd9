//! The bytes of a snapshot: a file header and chunks. Integers are little-endian.

use rkyv::{Archive, Deserialize, Serialize};

use crate::types::Zxid;

/// Starts a snapshot.
const MAGIC: [u8; 8] = *b"zkoreSNP";

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// Bytes of the file's header.
pub(super) const FILE_HEADER: usize = 16;

/// Bytes before a chunk's archive.
pub(super) const CHUNK_HEADER: usize = 32;

/// What archives are aligned to in the file, in bytes.
pub(super) const ALIGNMENT: usize = 16;

/// Bytes of paths, data and fixed fields at which a chunk is written out; one node more may
/// exceed it.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Sessions in one chunk.
pub(super) const CHUNK_SESSIONS: usize = 1 << 16;

const _: () = assert!(FILE_HEADER.is_multiple_of(ALIGNMENT));
const _: () = assert!(CHUNK_HEADER.is_multiple_of(ALIGNMENT));

/// Stands for data that is null.
pub(super) const NO_DATA: u32 = u32::MAX;

/// What a chunk's archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkKind {
    /// [`Head`]; the first chunk.
    Head = 1,
    /// [`Nodes`].
    Nodes = 2,
    /// [`Sessions`].
    Sessions = 3,
    /// [`Tail`]; the last chunk.
    Tail = 4,
}

impl ChunkKind {
    fn from_number(number: u32) -> Option<ChunkKind> {
        use ChunkKind::*;
        [Head, Nodes, Sessions, Tail]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}

/// What the snapshot is of.
#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Head {
    pub zxid: i64,
}

/// Nodes, parents before children.
#[derive(Archive, Serialize, Default)]
pub(super) struct Nodes {
    /// The ACLs that occur for the first time; they are numbered from 0 through the whole file.
    pub acls: Vec<Vec<AclEntry>>,
    pub nodes: Vec<Node>,
    /// The paths of the nodes, one after the other.
    pub paths: String,
    /// The data of the nodes, one after the other.
    pub data: Vec<u8>,
}

/// One entry of an ACL.
#[derive(Archive, Serialize)]
pub(super) struct AclEntry {
    pub perms: i32,
    pub scheme: String,
    pub id: String,
}

/// The fixed part of a node.
#[derive(Archive, Serialize)]
pub(super) struct Node {
    pub path_bytes: u32,
    /// [`NO_DATA`] for a null.
    pub data_bytes: u32,
    /// Number of its ACL.
    pub acl: u32,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub czxid: i64,
    pub mzxid: i64,
    pub pzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub ephemeral_owner: i64,
}

/// Sessions that were open.
#[derive(Archive, Serialize)]
pub(super) struct Sessions {
    pub sessions: Vec<Session>,
}

/// One session.
#[derive(Archive, Serialize)]
pub(super) struct Session {
    pub id: i64,
    pub timeout_ms: i32,
}

/// What came before, counted.
#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Tail {
    pub nodes: u64,
    pub sessions: u64,
    pub acls: u64,
    /// The tree's digest, version 2: the wrapping sum over the nodes.
    pub digest: u64,
}

/// Why a file's header is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// It is one of ours, damaged.
    Damaged,
    /// Not a snapshot of ours.
    Foreign,
    /// Another version of the format.
    Version(u32),
}

/// The file's header.
pub(super) fn encode_file_header() -> [u8; FILE_HEADER] {
    let mut bytes = [0; FILE_HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Checks the file's header.
pub(super) fn check_file_header(bytes: &[u8]) -> Result<(), HeaderFault> {
    /// Starts of Apache's snapshots: plain, gzip, snappy.
    const APACHE: [&[u8]; 3] = [b"ZKSN", &[0x1f, 0x8b], &[0x82, b'S', b'N', b'A']];
    if APACHE.iter().any(|magic| bytes.starts_with(magic)) {
        return Err(HeaderFault::Foreign);
    }
    let head = bytes.get(..FILE_HEADER).ok_or(HeaderFault::Damaged)?;
    if head[..8] != MAGIC || u32_at(head, 12) != crc32c::crc32c(&head[..12]) {
        return Err(HeaderFault::Damaged);
    }
    match u32_at(head, 8) {
        VERSION => Ok(()),
        other => Err(HeaderFault::Version(other)),
    }
}

/// The bytes before a chunk's archive. The checksum binds the archive to its place in this
/// snapshot.
pub(super) fn encode_chunk_header(
    kind: ChunkKind,
    index: u64,
    zxid: Zxid,
    archive: &[u8],
) -> [u8; CHUNK_HEADER] {
    let mut bytes = [0; CHUNK_HEADER];
    bytes[4..8].copy_from_slice(&(kind as u32).to_le_bytes());
    bytes[8..16].copy_from_slice(&index.to_le_bytes());
    bytes[16..24].copy_from_slice(&zxid.0.to_le_bytes());
    bytes[24..].copy_from_slice(&(archive.len() as u64).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[4..]), archive);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads the chunk at the start of `bytes`, if it is whole and the one expected there: its kind,
/// its archive, and the bytes it takes.
pub(super) fn decode_chunk(
    bytes: &[u8],
    index: u64,
    zxid: Zxid,
) -> Option<(ChunkKind, &[u8], usize)> {
    let head = bytes.get(..CHUNK_HEADER)?;
    let length = usize::try_from(u64_at(head, 24)).ok()?;
    let end = CHUNK_HEADER.checked_add(length)?;
    let archive = bytes.get(CHUNK_HEADER..end)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[4..]), archive);
    let is_expected = u64_at(head, 8) == index && u64_at(head, 16) as i64 == zxid.0;
    if crc != u32_at(head, 0) || !is_expected {
        return None;
    }
    let kind = ChunkKind::from_number(u32_at(head, 4))?;
    Some((kind, archive, end.next_multiple_of(ALIGNMENT)))
}

/// The file name of the snapshot as of a zxid (Apache's `Util.makeSnapshotName`).
pub(super) fn snapshot_name(zxid: Zxid) -> String {
    format!("snapshot.{:x}", zxid.0)
}

/// The zxid in a snapshot's file name.
pub(super) fn zxid_of_name(name: &str) -> Option<Zxid> {
    let digits = name.strip_prefix("snapshot.")?;
    i64::from_str_radix(digits, 16).ok().map(Zxid)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

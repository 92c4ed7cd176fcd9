//! Apache's serialised tree, as a leader sends it to a learner after `SNAP` (Apache's
//! `SerializeUtils.serializeSnapshot`, `ReferenceCountedACLCache`, `DataTree.serialize`,
//! `DataNode.serialize`).
//!
//! In jute: the number of sessions, then id and timeout of each; the number of ACLs, then number
//! and entries of each; then path, data, number of the ACL and StatPersisted of each node, parents
//! before children, the root's path being empty; last the path `/`.
//!
//! The signature that follows on the wire is not part of it. What Apache sends may be fuzzy: it may
//! hold parts of transactions later than its zxid, which follow.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use crate::jute::data::{Acl, StatPersisted};
use crate::jute::{Decoder, JuteError, Record};
use crate::tree::{AclList, NodeRef, Tree, TreeConfig, TreeError, TreeLoader, View};
use crate::types::{SessionId, Zxid};

/// Bytes past which a chunk is handed on.
const CHUNK_BYTES: usize = 64 << 10;

/// Ends the nodes.
const END_PATH: &str = "/";

/// The number that stands for an ACL open to everybody (Apache's `OPEN_UNSAFE_ACL_ID`).
const OPEN_ACL: i64 = -1;

/// Most entries of one ACL; a larger one fits in no request.
const ACL_ENTRIES_MAX: i32 = 1 << 20;

/// Bytes of a node's fields beside path and data.
const NODE_FIXED_BYTES: usize = 4 + 4 + 8 + 60;

/// Why bytes are no serialised tree.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A record is broken.
    #[error("the snapshot from the leader is broken at byte {offset}: {source}")]
    Record {
        /// Where the record starts.
        offset: u64,
        /// What is wrong with it.
        source: JuteError,
    },
    /// A count is negative, or larger than can be.
    #[error("the snapshot from the leader is broken at byte {offset}: {count} {what}")]
    Count {
        /// Where it stands.
        offset: u64,
        /// The count.
        count: i64,
        /// What is counted.
        what: &'static str,
    },
    /// A string or buffer is longer than allowed.
    #[error(
        "the snapshot from the leader has {bytes} bytes in one field at byte {offset}, more than \
         jute.maxbuffer allows ({bytes_max})"
    )]
    TooLarge {
        /// Where its record starts.
        offset: u64,
        /// Its bytes.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The nodes make no tree.
    #[error("the snapshot from the leader is no tree: {0}")]
    Tree(#[from] TreeError),
    /// It ended too early.
    #[error("the snapshot from the leader is not complete")]
    Incomplete,
}

/// Encodes what `view` shows, with the sessions and their timeouts in milliseconds, and hands it to
/// `sink` in chunks of about 64 KiB; a node with more data makes its chunk larger. Blocks as long
/// as `sink` does.
///
/// # Errors
/// The first error of `sink`; it is not called again then.
pub fn encode(
    view: &View,
    sessions: &[(SessionId, i32)],
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = Chunks {
        bytes: Vec::with_capacity(2 * CHUNK_BYTES),
        sink,
        result: Ok(()),
    };
    (sessions.len() as i32).encode(&mut out.bytes);
    for (id, timeout_ms) in sessions {
        id.0.encode(&mut out.bytes);
        timeout_ms.encode(&mut out.bytes);
        out.flush_at(CHUNK_BYTES);
    }
    let acls = NumberedAcls::of(view);
    (acls.lists.len() as i32).encode(&mut out.bytes);
    for (index, list) in acls.lists.iter().enumerate() {
        (index as i64 + 1).encode(&mut out.bytes);
        (list.len() as i32).encode(&mut out.bytes);
        list.iter().for_each(|entry| entry.encode(&mut out.bytes));
        out.flush_at(CHUNK_BYTES);
    }
    view.for_each(&mut |path, node| {
        if out.result.is_ok() {
            let path = if path == "/" { "" } else { path };
            path.encode(&mut out.bytes);
            node.data().encode(&mut out.bytes);
            acls.number_of(&node).encode(&mut out.bytes);
            node.persisted().encode(&mut out.bytes);
            out.flush_at(CHUNK_BYTES);
        }
    });
    END_PATH.encode(&mut out.bytes);
    out.flush_at(1);
    out.result
}

struct Chunks<'a> {
    bytes: Vec<u8>,
    sink: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    result: io::Result<()>,
}

impl Chunks<'_> {
    fn flush_at(&mut self, bytes: usize) {
        if self.bytes.len() >= bytes && self.result.is_ok() {
            self.result = (self.sink)(&self.bytes);
            self.bytes.clear();
        }
    }
}

/// The ACLs of a view, in the order of their numbers from 1 on.
struct NumberedAcls {
    lists: Vec<AclList>,
    /// By address: the tree interns them, and `lists` holds each, so that none is used twice.
    numbers: HashMap<usize, i64>,
}

impl NumberedAcls {
    fn of(view: &View) -> NumberedAcls {
        let mut acls = NumberedAcls {
            lists: Vec::new(),
            numbers: HashMap::new(),
        };
        view.for_each(&mut |_, node| {
            let NumberedAcls { lists, numbers } = &mut acls;
            numbers.entry(address(node.acl())).or_insert_with(|| {
                lists.push(node.acl().clone());
                lists.len() as i64
            });
        });
        acls
    }

    fn number_of(&self, node: &NodeRef<'_>) -> i64 {
        let number = self.numbers.get(&address(node.acl()));
        *number.expect("the view shows the same nodes each time")
    }
}

fn address(acl: &AclList) -> usize {
    Arc::as_ptr(acl).cast::<u8>() as usize
}

/// Decodes a serialised tree from bytes that arrive in any pieces. Memory: the tree, and one
/// record that is not whole yet.
pub struct WireDecoder {
    loader: TreeLoader,
    field_bytes_max: usize,
    sessions: BTreeMap<SessionId, i32>,
    acls: BTreeMap<i64, Vec<Acl>>,
    expected: Expected,
    /// The start of a record whose end has not come.
    pending: Vec<u8>,
    /// Bytes decoded.
    offset: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    SessionCount,
    Session { left: i32 },
    AclCount,
    Acl { left: i32 },
    AclEntry { number: i64, left: i32, acls: i32 },
    Node,
    Nothing,
}

impl WireDecoder {
    /// A decoder at the start. No string or buffer may have more than `field_bytes_max` bytes
    /// (`jute.maxbuffer` with its extra size).
    pub fn new(config: TreeConfig, field_bytes_max: usize) -> WireDecoder {
        WireDecoder {
            loader: TreeLoader::new(config),
            field_bytes_max,
            sessions: BTreeMap::new(),
            acls: BTreeMap::new(),
            expected: Expected::SessionCount,
            pending: Vec::new(),
            offset: 0,
        }
    }

    /// Takes the next bytes in; returns how many of them belong to the tree: all, until
    /// [`WireDecoder::is_done`].
    ///
    /// # Errors
    /// [`WireError`]; the decoder is of no use then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, WireError> {
        if self.pending.is_empty() {
            let used = self.decode(bytes)?;
            if self.is_done() {
                return Ok(used);
            }
            self.pending.extend_from_slice(&bytes[used..]);
            return Ok(bytes.len());
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let used = self.decode(&pending)?;
        if self.is_done() {
            return Ok(bytes.len() - (pending.len() - used));
        }
        pending.drain(..used);
        self.pending = pending;
        Ok(bytes.len())
    }

    /// Whether the end of the tree has come.
    pub fn is_done(&self) -> bool {
        self.expected == Expected::Nothing
    }

    /// The tree as of `zxid`, and the sessions with their timeouts in milliseconds.
    ///
    /// # Errors
    /// [`WireError::Incomplete`], and [`WireError::Tree`] where there is no root.
    pub fn finish(self, zxid: Zxid) -> Result<(Tree, Vec<(SessionId, i32)>), WireError> {
        if !self.is_done() {
            return Err(WireError::Incomplete);
        }
        let tree = self.loader.finish(zxid, None)?;
        Ok((tree, self.sessions.into_iter().collect()))
    }

    /// Decodes whole records; returns their bytes.
    fn decode(&mut self, bytes: &[u8]) -> Result<usize, WireError> {
        let mut from = Decoder::new(bytes);
        while !self.is_done() {
            let mut ahead = from.clone();
            match self.decode_one(&mut ahead) {
                Ok(()) => {
                    self.offset += (from.rest().len() - ahead.rest().len()) as u64;
                    from = ahead;
                }
                Err(WireError::Record {
                    source: JuteError::Truncated { want, .. },
                    ..
                }) => {
                    self.check_field(want)?;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(bytes.len() - from.rest().len())
    }

    /// Decodes one record; changes nothing where it is not whole.
    fn decode_one(&mut self, from: &mut Decoder<'_>) -> Result<(), WireError> {
        self.expected = match self.expected {
            Expected::SessionCount => {
                let left = self.count(from, "sessions", i32::MAX)?;
                Expected::Session { left }
            }
            Expected::Session { left: 0 } => Expected::AclCount,
            Expected::Session { left } => {
                let id: i64 = self.field(from)?;
                let timeout_ms = self.field(from)?;
                self.sessions.insert(SessionId(id), timeout_ms);
                Expected::Session { left: left - 1 }
            }
            Expected::AclCount => {
                let left = self.count(from, "ACLs", i32::MAX)?;
                Expected::Acl { left }
            }
            Expected::Acl { left: 0 } => Expected::Node,
            Expected::Acl { left: acls } => {
                let number = self.field(from)?;
                let left = self.count(from, "entries in an ACL", ACL_ENTRIES_MAX)?;
                self.acls.insert(number, Vec::new());
                Expected::AclEntry { number, left, acls }
            }
            Expected::AclEntry { left: 0, acls, .. } => Expected::Acl { left: acls - 1 },
            Expected::AclEntry { number, left, acls } => {
                let perms = self.field(from)?;
                let scheme: &str = self.field(from)?;
                let id: &str = self.field(from)?;
                self.check_field(scheme.len().max(id.len()))?;
                self.acls.entry(number).or_default().push(Acl {
                    perms,
                    scheme: scheme.to_owned(),
                    id: id.to_owned(),
                });
                let left = left - 1;
                Expected::AclEntry { number, left, acls }
            }
            Expected::Node => self.decode_node(from)?,
            Expected::Nothing => Expected::Nothing,
        };
        Ok(())
    }

    fn decode_node(&mut self, from: &mut Decoder<'_>) -> Result<Expected, WireError> {
        let path: &str = self.field(from)?;
        self.check_field(path.len())?;
        if path == END_PATH {
            return Ok(Expected::Nothing);
        }
        let data: Option<&[u8]> = self.field(from)?;
        self.check_field(data.map_or(0, <[u8]>::len))?;
        let acl: i64 = self.field(from)?;
        let stat: StatPersisted = self.field(from)?;
        let open = [crate::tree::open_acl()];
        // The ACL of a node that was changed while a fuzzy snapshot was taken may be missing. The
        // transaction that sets it follows; until then nobody may do anything.
        let closed = [Acl {
            perms: 0,
            ..crate::tree::open_acl()
        }];
        let acl = match self.acls.get(&acl) {
            Some(acl) => acl,
            None if acl == OPEN_ACL => &open[..],
            None => &closed[..],
        };
        self.loader.add(path, &stat, data, acl)?;
        Ok(Expected::Node)
    }

    fn field<'a, T: Record<'a>>(&self, from: &mut Decoder<'a>) -> Result<T, WireError> {
        T::decode(from).map_err(|source| WireError::Record {
            offset: self.offset,
            source,
        })
    }

    fn count(
        &self,
        from: &mut Decoder<'_>,
        what: &'static str,
        count_max: i32,
    ) -> Result<i32, WireError> {
        let count: i32 = self.field(from)?;
        if (0..=count_max).contains(&count) {
            return Ok(count);
        }
        Err(WireError::Count {
            offset: self.offset,
            count: i64::from(count),
            what,
        })
    }

    fn check_field(&self, bytes: usize) -> Result<(), WireError> {
        let bytes_max = self.field_bytes_max.max(NODE_FIXED_BYTES);
        if bytes > bytes_max {
            return Err(WireError::TooLarge {
                offset: self.offset,
                bytes,
                bytes_max,
            });
        }
        Ok(())
    }
}

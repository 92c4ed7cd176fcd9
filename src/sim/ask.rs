//! What clients ask for.

use crate::jute::data::Acl;
use crate::jute::proto::{
    AddWatchRequest, CheckVersionRequest, CreateRequest, DeleteRequest, ExistsRequest,
    GetChildren2Request, GetDataRequest, MULTI_END, MultiHeader, RequestHeader, SetDataRequest,
    SyncRequest,
};
use crate::jute::{Record, op};
use crate::tree::open_acl;
use crate::types::{CreateMode, Zxid};

use super::random::Random;

/// Nodes that come and go.
const PATHS: [&str; 5] = ["/a", "/b", "/c", "/a/x", "/a/y"];

/// Nodes below which others are made; they stay.
pub const PARENTS: [&str; 2] = ["/ephemeral", "/sequence"];

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Create {
        path: String,
        data: Vec<u8>,
        mode: CreateMode,
        with_stat: bool,
    },
    Set {
        path: String,
        data: Vec<u8>,
        version: i32,
    },
    Delete {
        path: String,
        version: i32,
    },
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Op>),
    Sync(String),
    Exists(String, bool),
    Get(String, bool),
    Children(String, bool),
    AddWatch(String, bool),
    /// Restores the watches that were registered, relative to this zxid.
    Restore(Zxid),
    Ping,
    Close,
}

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its number.
    pub xid: i32,
    /// What.
    pub op: Op,
    /// When, in microseconds.
    pub at_us: u64,
    /// The newest write that anybody was told of by then.
    pub acknowledged: Zxid,
    /// The newest zxid that anybody was shown by then.
    pub shown: Zxid,
}

impl Op {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Op::Create { .. } | Op::Set { .. } | Op::Delete { .. } | Op::Multi(_)
        )
    }

    /// Whether it makes an ephemeral node.
    pub fn makes_ephemeral(&self) -> bool {
        matches!(self, Op::Create { mode, .. } if mode.is_ephemeral())
    }

    fn code(&self) -> i32 {
        match self {
            Op::Create {
                with_stat: true, ..
            } => op::CREATE2,
            Op::Create { .. } => op::CREATE,
            Op::Set { .. } => op::SET_DATA,
            Op::Delete { .. } => op::DELETE,
            Op::Check { .. } => op::CHECK,
            Op::Multi(_) => op::MULTI,
            Op::Sync(_) => op::SYNC,
            Op::Exists(..) => op::EXISTS,
            Op::Get(..) => op::GET_DATA,
            Op::Children(..) => op::GET_CHILDREN2,
            Op::AddWatch(..) => op::ADD_WATCH,
            Op::Restore(_) => op::SET_WATCHES2,
            Op::Ping => op::PING,
            Op::Close => op::CLOSE_SESSION,
        }
    }

    /// The number that such a request has, where it is not the next one.
    pub fn reserved_xid(&self) -> Option<i32> {
        match self {
            Op::Restore(_) => Some(op::XID_SET_WATCHES),
            Op::Ping => Some(op::XID_PING),
            _ => None,
        }
    }

    /// Appends the record of the request; [`Op::Restore`] has one of its own.
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Op::Create {
                path, data, mode, ..
            } => CreateRequest {
                path,
                data: Some(data),
                acl: vec![Acl { ..open_acl() }],
                flags: *mode as i32,
            }
            .encode(out),
            Op::Set {
                path,
                data,
                version,
            } => SetDataRequest {
                path,
                data: Some(data),
                version: *version,
            }
            .encode(out),
            Op::Delete { path, version } => DeleteRequest {
                path,
                version: *version,
            }
            .encode(out),
            Op::Check { path, version } => CheckVersionRequest {
                path,
                version: *version,
            }
            .encode(out),
            Op::Multi(ops) => {
                for op in ops {
                    MultiHeader {
                        kind: op.code(),
                        done: false,
                        err: -1,
                    }
                    .encode(out);
                    op.encode(out);
                }
                MULTI_END.encode(out);
            }
            Op::Sync(path) => SyncRequest { path }.encode(out),
            Op::Exists(path, watch) => ExistsRequest {
                path,
                watch: *watch,
            }
            .encode(out),
            Op::Get(path, watch) => GetDataRequest {
                path,
                watch: *watch,
            }
            .encode(out),
            Op::Children(path, watch) => GetChildren2Request {
                path,
                watch: *watch,
            }
            .encode(out),
            Op::AddWatch(path, is_recursive) => AddWatchRequest {
                path,
                mode: i32::from(*is_recursive),
            }
            .encode(out),
            Op::Restore(_) | Op::Ping | Op::Close => {}
        }
    }

    /// The frame of a request; `body` is what follows what the operation itself says.
    pub fn frame(&self, xid: i32, body: &[u8]) -> Vec<u8> {
        let header = RequestHeader {
            xid,
            kind: self.code(),
        };
        let mut out = vec![0; 4];
        header.encode(&mut out);
        self.encode(&mut out);
        out.extend_from_slice(body);
        let length = (out.len() - 4) as i32;
        out[..4].copy_from_slice(&length.to_be_bytes());
        out
    }

    /// Any operation. `unique` is data that nobody else ever writes.
    pub fn any(random: &mut Random, unique: impl Fn(u64) -> Vec<u8>) -> Op {
        let path = random.pick(&PATHS).to_owned();
        let watch = random.one_in(3);
        match random.below(28) {
            0..=7 => Op::set(random, path, unique(0)),
            8..=10 => Op::create(random, path, unique(0)),
            11 => Op::Delete { path, version: -1 },
            12 | 13 => Op::multi(random, unique),
            14 | 15 => Op::Sync(path),
            16..=19 => Op::Get(path, watch),
            20..=22 => Op::Exists(path, watch),
            23 | 24 => Op::Children(random.pick(&["/a", "/b", PARENTS[0]]).to_owned(), watch),
            25 => Op::Children(random.pick(&PARENTS).to_owned(), watch),
            26 if random.one_in(4) => Op::AddWatch(path, random.one_in(2)),
            _ => Op::Create {
                path: format!("{}/{}-", random.pick(&PARENTS), random.below(3)),
                data: unique(0),
                mode: random.pick(&[
                    CreateMode::PersistentSequential,
                    CreateMode::EphemeralSequential,
                    CreateMode::EphemeralSequential,
                    CreateMode::Ephemeral,
                ]),
                with_stat: random.one_in(2),
            },
        }
    }

    /// What a client asks for where there is no leader: reads, and now and then what must be refused.
    pub fn any_without_leader(random: &mut Random, unique: impl Fn(u64) -> Vec<u8>) -> Op {
        let path = random.pick(&PATHS).to_owned();
        match random.below(8) {
            0 => Op::set(random, path, unique(0)),
            1 => Op::create(random, path, unique(0)),
            2 => Op::multi(random, unique),
            3 => Op::Sync(path),
            4 | 5 => Op::Exists(path, false),
            6 => Op::Children(random.pick(&PARENTS).to_owned(), false),
            _ => Op::Get(path, false),
        }
    }

    /// A read, or a sync.
    pub fn any_read(random: &mut Random) -> Op {
        let path = random.pick(&PATHS).to_owned();
        match random.below(3) {
            0 => Op::Sync(path),
            1 => Op::Get(path, random.one_in(3)),
            _ => Op::Exists(path, random.one_in(3)),
        }
    }

    fn set(random: &mut Random, path: String, data: Vec<u8>) -> Op {
        let version = if random.one_in(4) {
            random.below(6) as i32
        } else {
            -1
        };
        Op::Set {
            path,
            data,
            version,
        }
    }

    fn create(random: &mut Random, path: String, data: Vec<u8>) -> Op {
        let path = if random.one_in(3) {
            random.pick(&PARENTS).to_owned()
        } else {
            path
        };
        Op::Create {
            path,
            data,
            mode: CreateMode::Persistent,
            with_stat: random.one_in(2),
        }
    }

    /// A few operations on different nodes.
    fn multi(random: &mut Random, unique: impl Fn(u64) -> Vec<u8>) -> Op {
        let mut ops: Vec<Op> = Vec::new();
        for (number, path) in ["/b", "/c", "/a"].into_iter().enumerate() {
            let (path, data) = (path.to_owned(), unique(number as u64));
            ops.push(match random.below(6) {
                0 => Op::create(random, path, data),
                1 => Op::Check { path, version: -1 },
                2 if path != "/a" => Op::Delete { path, version: -1 },
                _ => Op::set(random, path, data),
            });
            if random.one_in(3) {
                break;
            }
        }
        let parents = ops.iter().filter(|op| PARENTS.contains(&op.path())).count();
        if parents > 1 {
            ops.truncate(1);
        }
        Op::Multi(ops)
    }

    /// The node that it is about.
    pub fn path(&self) -> &str {
        match self {
            Op::Create { path, .. }
            | Op::Set { path, .. }
            | Op::Delete { path, .. }
            | Op::Check { path, .. }
            | Op::Sync(path)
            | Op::Exists(path, _)
            | Op::Get(path, _)
            | Op::Children(path, _)
            | Op::AddWatch(path, _) => path,
            Op::Multi(_) | Op::Restore(_) | Op::Ping | Op::Close => "/",
        }
    }
}

//! What clients ask for.

use crate::jute::proto::{
    AddWatchRequest, AuthPacket, CheckVersionRequest, CreateRequest, CreateTtlRequest,
    DeleteRequest, ExistsRequest, GetAclRequest, GetChildren2Request, GetDataRequest, MULTI_END,
    MultiHeader, RequestHeader, SetAclRequest, SetDataRequest, SyncRequest,
};
use crate::jute::{Record, op};
use crate::types::{CreateMode, Zxid};

use super::guard::{Guard, User, Users};
use super::random::Random;

/// Nodes that come and go.
const PATHS: [&str; 5] = ["/a", "/b", "/c", "/a/x", "/a/y"];

/// Nodes below which others are made; they stay.
pub const PARENTS: [&str; 4] = ["/ephemeral", "/sequence", "/guarded", REAPED];

/// Nodes that not everybody may do everything with.
pub const GUARDED: [&str; 3] = ["/guarded/x", "/guarded/y", "/guarded/x/z"];

/// Those of nodes that are deleted by nobody but with their session.
const SEQUENCES: [&str; 2] = ["/ephemeral", "/sequence"];

/// The parent of containers and of nodes with a time to live, which the ensemble removes by itself.
pub const REAPED: &str = "/reaped";

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Create {
        path: String,
        data: Vec<u8>,
        mode: CreateMode,
        guard: Guard,
        /// Of a mode with a time to live.
        ttl_ms: i64,
        with_stat: bool,
    },
    Set {
        path: String,
        data: Vec<u8>,
        version: i32,
    },
    SetAcl {
        path: String,
        guard: Guard,
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
    GetAcl(String),
    AddWatch(String, bool),
    /// Restores the watches that were registered, relative to this zxid.
    Restore(Zxid),
    /// Proves to be somebody.
    Authenticate(User),
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
    /// Who asked.
    pub users: Users,
    /// The newest zxid that anybody was shown by then.
    pub shown: Zxid,
}

impl Op {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Op::Create { .. }
                | Op::Set { .. }
                | Op::SetAcl { .. }
                | Op::Delete { .. }
                | Op::Multi(_)
        )
    }

    /// Whether it makes an ephemeral node.
    pub fn makes_ephemeral(&self) -> bool {
        matches!(self, Op::Create { mode, .. } if mode.is_ephemeral())
    }

    fn code(&self) -> i32 {
        match self {
            Op::Create { mode, .. } if mode.is_container() => op::CREATE_CONTAINER,
            Op::Create { mode, .. } if mode.is_ttl() => op::CREATE_TTL,
            Op::Create {
                with_stat: true, ..
            } => op::CREATE2,
            Op::Create { .. } => op::CREATE,
            Op::Set { .. } => op::SET_DATA,
            Op::SetAcl { .. } => op::SET_ACL,
            Op::Delete { .. } => op::DELETE,
            Op::Check { .. } => op::CHECK,
            Op::Multi(_) => op::MULTI,
            Op::Sync(_) => op::SYNC,
            Op::Exists(..) => op::EXISTS,
            Op::Get(..) => op::GET_DATA,
            Op::Children(..) => op::GET_CHILDREN2,
            Op::GetAcl(_) => op::GET_ACL,
            Op::AddWatch(..) => op::ADD_WATCH,
            Op::Restore(_) => op::SET_WATCHES2,
            Op::Authenticate(_) => op::AUTH,
            Op::Ping => op::PING,
            Op::Close => op::CLOSE_SESSION,
        }
    }

    /// The number that such a request has, where it is not the next one.
    pub fn reserved_xid(&self) -> Option<i32> {
        match self {
            Op::Restore(_) => Some(op::XID_SET_WATCHES),
            Op::Authenticate(_) => Some(op::XID_AUTH),
            Op::Ping => Some(op::XID_PING),
            _ => None,
        }
    }

    /// Appends the record of the request; [`Op::Restore`] has one of its own.
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Op::Create { .. } => self.encode_create(out),
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
            Op::SetAcl {
                path,
                guard,
                version,
            } => SetAclRequest {
                path,
                acl: guard.sent(),
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
            _ => self.encode_read(out),
        }
    }

    fn encode_create(&self, out: &mut Vec<u8>) {
        match self {
            Op::Create {
                path,
                data,
                mode,
                guard,
                ttl_ms,
                ..
            } if mode.is_ttl() => CreateTtlRequest {
                path,
                data: Some(data),
                acl: guard.sent(),
                flags: *mode as i32,
                ttl_ms: *ttl_ms,
            }
            .encode(out),
            Op::Create {
                path,
                data,
                mode,
                guard,
                ..
            } => CreateRequest {
                path,
                data: Some(data),
                acl: guard.sent(),
                flags: *mode as i32,
            }
            .encode(out),
            _ => unreachable!("{self:?} creates nothing"),
        }
    }

    fn encode_read(&self, out: &mut Vec<u8>) {
        match self {
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
            Op::GetAcl(path) => GetAclRequest { path }.encode(out),
            Op::Authenticate(user) => AuthPacket {
                kind: 0,
                scheme: "digest",
                auth: Some(user.secret().as_bytes()),
            }
            .encode(out),
            Op::AddWatch(path, is_recursive) => AddWatchRequest {
                path,
                mode: i32::from(*is_recursive),
            }
            .encode(out),
            _ => {}
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
        match random.below(42) {
            0..=7 => Op::set(random, path, unique(0)),
            8..=10 => Op::create(random, path, unique(0)),
            11 => Op::Delete { path, version: -1 },
            12 | 13 => Op::multi(random, unique),
            14 | 15 => Op::Sync(path),
            16..=19 => Op::Get(path, watch),
            20..=22 => Op::Exists(path, watch),
            23 | 24 => Op::Children(random.pick(&["/a", "/b", PARENTS[0]]).to_owned(), watch),
            25 => Op::Children(random.pick(&PARENTS).to_owned(), watch),
            28..=33 => Op::of_reaped(random, unique(0)),
            34..=41 => Op::of_guarded(random, unique),
            26 if random.one_in(4) => Op::AddWatch(path, random.one_in(2)),
            _ => Op::Create {
                path: format!("{}/{}-", random.pick(&SEQUENCES), random.below(3)),
                data: unique(0),
                mode: random.pick(&[
                    CreateMode::PersistentSequential,
                    CreateMode::EphemeralSequential,
                    CreateMode::EphemeralSequential,
                    CreateMode::Ephemeral,
                ]),
                guard: Guard::Open,
                ttl_ms: 0,
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

    /// What a leader answers without a transaction.
    pub fn any_without_txn(random: &mut Random) -> Op {
        let (path, version) = ("/none".to_owned(), -1);
        if random.one_in(2) {
            Op::Sync(path)
        } else {
            Op::Delete { path, version }
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

    /// Something about containers and nodes with a time to live, which clients make and use and never
    /// delete.
    fn of_reaped(random: &mut Random, data: Vec<u8>) -> Op {
        let path = format!("{REAPED}/{}", random.pick(&["x", "y", "z"]));
        let watch = random.one_in(3);
        let (path, mode) = match random.below(12) {
            0 | 1 => (path, CreateMode::Container),
            2 => (path, CreateMode::PersistentWithTtl),
            3 if random.one_in(4) => {
                let path = format!("{path}-");
                (path, CreateMode::PersistentSequentialWithTtl)
            }
            3..=5 => (format!("{path}/0"), CreateMode::Persistent),
            6 => (format!("{path}/e-"), CreateMode::EphemeralSequential),
            7 | 8 => {
                let path = format!("{path}/0");
                return Op::Delete { path, version: -1 };
            }
            9 => return Op::set(random, path, data),
            10 => return Op::Exists(path, watch),
            _ => return Op::Children(path, watch),
        };
        Op::Create {
            path,
            data,
            mode,
            guard: Guard::Open,
            ttl_ms: random.between(1, 1_500) as i64,
            with_stat: mode.is_container() || mode.is_ttl() || random.one_in(2),
        }
    }

    /// Something about nodes that not everybody may do everything with.
    fn of_guarded(random: &mut Random, unique: impl Fn(u64) -> Vec<u8>) -> Op {
        let path = random.pick(&GUARDED).to_owned();
        let watch = random.one_in(3);
        match random.below(12) {
            0..=2 => Op::guarded(random, path, unique(0)),
            3 | 4 => Op::set(random, path, unique(0)),
            5 => Op::Delete { path, version: -1 },
            6 | 7 => Op::set_acl(random, path),
            8 => Op::Get(path, watch),
            9 => Op::Exists(path, watch),
            10 if random.one_in(2) => Op::Children(path, watch),
            10 => Op::GetAcl(path),
            _ => Op::guarded_multi(random, unique),
        }
    }

    fn guarded_multi(random: &mut Random, unique: impl Fn(u64) -> Vec<u8>) -> Op {
        let [first, second] = [0, 1].map(|at| GUARDED[at].to_owned());
        let version = -1;
        let first = if random.one_in(2) {
            Op::set(random, first, unique(0))
        } else {
            Op::Check {
                path: first,
                version,
            }
        };
        let second = match random.below(3) {
            0 => Op::Delete {
                path: second,
                version,
            },
            1 => Op::set(random, second, unique(1)),
            _ => Op::guarded(random, second, unique(1)),
        };
        Op::Multi(vec![first, second])
    }

    fn guarded(random: &mut Random, path: String, data: Vec<u8>) -> Op {
        Op::Create {
            path,
            data,
            mode: CreateMode::Persistent,
            guard: Guard::any(random),
            ttl_ms: 0,
            with_stat: random.one_in(2),
        }
    }

    fn set_acl(random: &mut Random, path: String) -> Op {
        Op::SetAcl {
            path,
            guard: Guard::any(random),
            version: random.pick(&[-1, -1, 0, 1]),
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
            guard: Guard::Open,
            ttl_ms: 0,
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
            | Op::SetAcl { path, .. }
            | Op::Delete { path, .. }
            | Op::Check { path, .. }
            | Op::Sync(path)
            | Op::Exists(path, _)
            | Op::Get(path, _)
            | Op::Children(path, _)
            | Op::GetAcl(path)
            | Op::AddWatch(path, _) => path,
            Op::Multi(_) | Op::Restore(_) | Op::Authenticate(_) | Op::Ping | Op::Close => "/",
        }
    }
}

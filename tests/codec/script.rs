//! Well-formed messages of other servers, chosen by any bytes: what they hold may be nonsense, so that
//! more than the decoders is reached. Shared by the property tests and the fuzz targets.

use zkore::jute::quorum::{AuthId, QuorumPacket, kind};
use zkore::jute::txn::{
    CheckVersionTxn, CloseSessionTxn, CreateSessionTxn, CreateTtlTxn, CreateTxn, DeleteTxn,
    ErrorTxn, SetAclTxn, SetDataTxn, Txn, TxnDigest, TxnHeader, encode_txn,
};
use zkore::jute::{Record, op};
use zkore::tree::{DIGEST_VERSION, open_acl};
use zkore::types::{ServerId, Zxid};
use zkore::zab::election::{PeerState, Vote, wire};
use zkore::zab::learner::SIGNATURE;

/// Bytes that decide what comes next.
struct Script<'a> {
    bytes: &'a [u8],
}

impl<'a> Script<'a> {
    /// The next byte; 0 after the last.
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        first
    }

    /// One of these.
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// A small number, or now and then any.
    fn number(&mut self) -> i64 {
        match self.byte() {
            small @ 0..250 => i64::from(small % 16) - 1,
            _ => i64::from_be_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn zxid(&mut self) -> i64 {
        match self.byte() {
            0xff => self.number(),
            chosen => Zxid::new(u32::from(chosen >> 5), u32::from(chosen & 31)).0,
        }
    }

    /// Some of what is left.
    fn rest(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.bytes.len());
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        taken
    }

    fn path(&mut self) -> &'static str {
        self.one_of(&[
            "/",
            "/a",
            "/a/b",
            "/a/b/c",
            "/c",
            "/zookeeper",
            "/zookeeper/quota",
            "/zookeeper/quota/a",
            "/zookeeper/quota/a/zookeeper_limits",
            "/zookeeper/config",
            "/zookeeper/not",
            "",
            "a",
            "/a/",
            "//",
        ])
    }

    fn data(&mut self) -> Option<&'a [u8]> {
        match self.byte() % 4 {
            0 => None,
            1 => Some(b"count=1,bytes=-1"),
            _ => Some(self.rest()),
        }
    }

    fn txn(&mut self, is_in_multi: bool) -> Txn<'a> {
        let (path, acl) = (self.path(), vec![open_acl()]);
        match self.byte() % 12 {
            0..=2 => Txn::Create {
                txn: CreateTxn {
                    path: path.into(),
                    data: self.data(),
                    acl,
                    ephemeral: self.byte() % 2 == 1,
                    parent_cversion: self.number() as i32,
                },
                is_create2: self.byte() % 2 == 1,
            },
            3 => Txn::CreateTtl(CreateTtlTxn {
                path: path.into(),
                data: self.data(),
                acl,
                parent_cversion: self.number() as i32,
                ttl_ms: self.number(),
            }),
            4 => Txn::Delete {
                txn: DeleteTxn { path },
                is_container: self.byte() % 2 == 1,
            },
            5 => Txn::SetData(SetDataTxn {
                path,
                data: self.data(),
                version: self.number() as i32,
            }),
            6 => Txn::SetAcl(SetAclTxn {
                path,
                acl: self
                    .one_of(&[0, 1])
                    .eq(&1)
                    .then(open_acl)
                    .into_iter()
                    .collect(),
                version: self.number() as i32,
            }),
            7 => Txn::CreateSession(CreateSessionTxn {
                timeout_ms: self.number() as i32,
            }),
            8 => Txn::CloseSession(None),
            9 => Txn::CloseSession(Some(CloseSessionTxn {
                paths_to_delete: vec![path.into()],
            })),
            10 if !is_in_multi => {
                let count = self.byte() % 4;
                Txn::Multi((0..count).map(|_| self.txn(true)).collect())
            }
            10 => Txn::Check(CheckVersionTxn {
                path,
                version: self.number() as i32,
            }),
            _ => Txn::Error(ErrorTxn {
                err: self.number() as i32,
            }),
        }
    }

    fn transaction(&mut self, zxid: i64) -> Vec<u8> {
        let txn = self.txn(false);
        let header = TxnHeader {
            client_id: self.number(),
            cxid: self.number() as i32,
            zxid: if self.byte() == 0xff {
                self.number()
            } else {
                zxid
            },
            time: self.number(),
            kind: txn.kind(),
        };
        let digest = (self.byte() % 4 == 1).then(|| TxnDigest {
            version: DIGEST_VERSION,
            tree_digest: self.number(),
        });
        let mut bytes = Vec::new();
        encode_txn(&header, &txn, digest.as_ref(), &mut bytes);
        bytes
    }

    /// What packets of this kind carry.
    fn content(&mut self, kind: i32, zxid: i64) -> Option<Vec<u8>> {
        let mut data = Vec::new();
        match kind {
            kind::FOLLOWER_INFO | kind::OBSERVER_INFO => {
                self.number().encode(&mut data);
                0x10000_i32.encode(&mut data);
                self.number().encode(&mut data);
                if self.byte() % 2 == 1 {
                    data.extend(zkore::zab::EXTENSION);
                }
            }
            kind::LEADER_INFO => {
                0x10000_i32.encode(&mut data);
                if self.byte() % 2 == 1 {
                    data.extend(zkore::zab::EXTENSION);
                }
            }
            kind::ACK_EPOCH => (self.number() as i32).encode(&mut data),
            kind::PROPOSAL | kind::INFORM => data = self.transaction(zxid),
            kind::REQUEST => {
                self.number().encode(&mut data);
                (self.number() as i32).encode(&mut data);
                self.one_of(&[
                    op::CREATE,
                    op::SYNC,
                    op::CREATE_SESSION,
                    op::CLOSE_SESSION,
                    op::MULTI,
                ])
                .encode(&mut data);
                data.extend(self.rest());
            }
            kind::PING => {
                for _ in 0..self.byte() % 4 {
                    self.number().encode(&mut data);
                    (self.number() as i32).encode(&mut data);
                }
            }
            kind::REVALIDATE => {
                self.number().encode(&mut data);
                data.extend(self.rest());
            }
            _ if self.byte().is_multiple_of(2) => return None,
            _ => data.extend(self.rest()),
        }
        Some(data)
    }
}

/// Packets of any kind, most with what such a packet carries, and a tree or bytes in between.
pub fn packets(script: &[u8]) -> Vec<u8> {
    /// With two that there are not, REJECT of ours, and some twice since they lead further.
    const KINDS: [i32; 26] = [
        -1,
        0,
        kind::REQUEST,
        kind::PROPOSAL,
        kind::ACK,
        kind::COMMIT,
        kind::PING,
        kind::REVALIDATE,
        kind::SYNC,
        kind::INFORM,
        kind::COMMIT_AND_ACTIVATE,
        kind::NEW_LEADER,
        kind::FOLLOWER_INFO,
        kind::UP_TO_DATE,
        kind::DIFF,
        kind::TRUNC,
        kind::SNAP,
        kind::OBSERVER_INFO,
        kind::LEADER_INFO,
        kind::ACK_EPOCH,
        kind::INFORM_AND_ACTIVATE,
        100,
        kind::PROPOSAL,
        kind::PROPOSAL,
        kind::COMMIT,
        kind::INFORM,
    ];
    let mut script = Script { bytes: script };
    let mut out = Vec::new();
    while !script.bytes.is_empty() {
        match script.byte() {
            0xff => out.extend(script.rest()),
            0xfe => {
                out.extend(TREE);
                SIGNATURE.encode(&mut out);
            }
            chosen => {
                let kind = KINDS[usize::from(chosen) % KINDS.len()];
                let zxid = script.zxid();
                let content = script.content(kind, zxid);
                let identity = (chosen >= 128).then_some(AuthId {
                    scheme: "ip",
                    id: "::1",
                });
                let identities = identity.into_iter().collect();
                let packet = QuorumPacket {
                    kind,
                    zxid,
                    data: content.as_deref(),
                    authinfo: identities,
                };
                packet.encode(&mut out);
            }
        }
    }
    out
}

/// A tree of Apache's; its signature follows it on the wire.
const TREE: &[u8] = include_bytes!("../data/apache-3.9.5-snap.bin");

/// Notifications, each with its length (2 bytes) before it, as [`super::peers::election_port`] takes
/// them.
pub fn notifications(script: &[u8]) -> Vec<u8> {
    const CONFIGS: [&[u8]; 6] = [
        b"",
        b"server.1=a:1:2:participant\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2:observer\nversion=0",
        b"server.1=a:1:2\nserver.2=b:1:2:observer;0.0.0.0:3\nserver.5=c:1:2\nversion=1f",
        b"server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1\ngroup.2=2:3\nweight.1=0\nweight.2=7\nversion=0",
        b"server.=\nserver.x=y\ngroup.1=:::\nweight.=1\nversion=zz\nversion",
        b"\xff\xfe=\n.\n==",
    ];
    let mut script = Script { bytes: script };
    let mut out = Vec::new();
    while !script.bytes.is_empty() {
        let state = PeerState::from_code(i32::from(script.byte() % 4)).expect("there are four");
        let vote = Vote {
            leader: ServerId(script.number()),
            zxid: Zxid(script.zxid()),
            peer_epoch: script.number(),
            election_epoch: script.number(),
        };
        let config = match script.byte() {
            0xff => script.rest(),
            chosen => CONFIGS[usize::from(chosen) % CONFIGS.len()],
        };
        let mut message = wire::write(state, vote, config);
        if script.byte() == 0xff {
            message.truncate(usize::from(script.byte()));
        }
        out.extend((message.len() as u16).to_be_bytes());
        out.extend(message);
    }
    out
}

//! The hot paths whose cost is guarded, each as something that can be done again and again. Both
//! the count of instructions and the count of allocations run them.

use std::hint::black_box;
use std::sync::Arc;

use zkore::auth::Identity;
use zkore::exchange::{Answer, Batch, ConnId, Item, Origin, Request, ShardId, ToSequencer};
use zkore::jute::data::Stat;
use zkore::jute::proto::{
    ConnectRequest, CreateRequest, DeleteRequest, GetDataRequest, GetDataResponse, ReplyHeader,
    RequestHeader, SetDataRequest,
};
use zkore::jute::txn::{CreateTxn, SetDataTxn, Txn, TxnHeader, encode_txn};
use zkore::jute::{Record, op};
use zkore::metrics::{ShardMetrics, WriteMetrics};
use zkore::prep::{PrepConfig, ReapConfig};
use zkore::rt::disk::StdDisk;
use zkore::sequencer::{self, Log, Sequencer, SequencerConfig, SnapshotPolicy};
use zkore::session::{SessionConfig, SessionTable};
use zkore::shard::{self, Shard, ShardConfig, Shared};
use zkore::tree::{
    AclList, ChangeKind, Changed, Changes, Outcome, Tree, TreeConfig, View, open_acl,
};
use zkore::types::{SessionId, Zxid};
use zkore::wal::{Wal, WalOptions};
use zkore::watch::Watches;

#[path = "zab.rs"]
mod zab;

const NODES: usize = 1_000;
const DATA: [u8; 100] = [7; 100];
const ORIGIN: Origin = Origin {
    shard: ShardId(0),
    conn: ConnId(1),
};

/// What can be done, and how many requests (or records, or events) it is at once.
pub struct Case {
    /// Its name in the baseline.
    pub name: &'static str,
    /// Requests at once.
    pub requests: u64,
    /// Whether it is a part of a read, which allocates nothing.
    pub is_read: bool,
    /// Sets up, and gives what is measured.
    pub make: fn() -> Box<dyn FnMut()>,
}

/// All cases.
pub const CASES: &[Case] = &[
    Case {
        name: "codec-get",
        requests: 1,
        is_read: true,
        make: codec_get,
    },
    Case {
        name: "tree-read",
        requests: 1,
        is_read: true,
        make: tree_read,
    },
    Case {
        name: "shard-get-pipeline-1",
        requests: 1,
        is_read: true,
        make: || shard_read(op::GET_DATA, 1, DATA_REPLY),
    },
    Case {
        name: "shard-get-pipeline-16",
        requests: 16,
        is_read: true,
        make: || shard_read(op::GET_DATA, 16, DATA_REPLY),
    },
    Case {
        name: "shard-exists-pipeline-16",
        requests: 16,
        is_read: true,
        make: || shard_read(op::EXISTS, 16, STAT_REPLY),
    },
    Case {
        name: "shard-children-pipeline-16",
        requests: 16,
        is_read: true,
        make: || shard_read(op::GET_CHILDREN2, 16, CHILDREN_REPLY),
    },
    Case {
        name: "shard-set-publish-and-reply-16",
        requests: 16,
        is_read: false,
        make: shard_set,
    },
    Case {
        name: "sequencer-set-batch-16",
        requests: 16,
        is_read: false,
        make: sequencer_set,
    },
    Case {
        name: "sequencer-create-and-delete-batch-32",
        requests: 32,
        is_read: false,
        make: sequencer_create,
    },
    Case {
        name: "zab-lead-two-batch-16",
        requests: zab::BATCH,
        is_read: false,
        make: zab::lead,
    },
    Case {
        name: "zab-follow-batch-16",
        requests: zab::BATCH,
        is_read: false,
        make: zab::follow,
    },
    Case {
        name: "watch-fire-and-set-again",
        requests: 1,
        is_read: false,
        make: watch_fire,
    },
    Case {
        name: "log-encode-and-append",
        requests: 16,
        is_read: false,
        make: log_append,
    },
];

fn path_of(number: usize) -> String {
    format!("/services/region-17/instance-{number:08}")
}

/// Numbers that jump about, so that caches and predictors see no pattern.
fn next_of(number: &mut usize) -> usize {
    *number = (*number + 379) % NODES;
    *number
}

fn codec_get() -> Box<dyn FnMut()> {
    let path = path_of(1);
    let request = GetDataRequest {
        path: &path,
        watch: false,
    }
    .to_vec();
    let mut out = Vec::with_capacity(4_096);
    Box::new(move || {
        let request = GetDataRequest::from_slice(black_box(&request)).expect("it was encoded");
        black_box(request.path);
        out.clear();
        ReplyHeader::default().encode(&mut out);
        let reply = GetDataResponse {
            data: Some(&DATA),
            stat: Stat::default(),
        };
        reply.encode(&mut out);
        black_box(&out);
    })
}

fn tree() -> Tree {
    let mut tree = Tree::new(TreeConfig {
        extended_types: false,
        digest_enabled: true,
    });
    create(&mut tree, "/services");
    create(&mut tree, "/services/region-17");
    for number in 0..NODES {
        create(&mut tree, &path_of(number));
    }
    tree
}

fn create(tree: &mut Tree, path: &str) {
    let zxid = Zxid(tree.tip_zxid().0 + 1);
    let header = TxnHeader {
        client_id: 1,
        cxid: 1,
        zxid: zxid.0,
        time: 1,
        kind: op::CREATE,
    };
    let txn = Txn::Create {
        txn: CreateTxn {
            path: path.into(),
            data: Some(&DATA),
            acl: vec![open_acl()],
            ephemeral: false,
            parent_cversion: -1,
        },
        is_create2: false,
    };
    tree.apply(&header, &txn);
}

/// Children of each of the nodes whose children are listed.
const CHILDREN: usize = 8;

/// Such nodes.
const PARENTS: usize = 64;

fn tree_with_children() -> Tree {
    let mut tree = tree();
    for number in 0..PARENTS * CHILDREN {
        let path = format!(
            "{}/{CHILD}{}",
            path_of(number / CHILDREN),
            number % CHILDREN
        );
        create(&mut tree, &path);
    }
    tree
}

/// The name of a child, but for a digit behind it.
const CHILD: &str = "member-";

fn tree_read() -> Box<dyn FnMut()> {
    let tree = tree();
    let view = tree.view(tree.tip_zxid());
    let paths: Vec<String> = (0..NODES).map(path_of).collect();
    let mut number = 0;
    Box::new(move || {
        // The view lives from the tree.
        black_box(&tree);
        let node = view.node(black_box(&paths[next_of(&mut number)]));
        black_box(node.expect("it was created").data());
    })
}

fn framed(body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(body.len() as i32).to_be_bytes());
    out.extend_from_slice(body);
}

/// A shard with one client that has a session.
struct Client {
    tree: Tree,
    shard: Shard,
    conn: ConnId,
    now: shard::Now,
    out: Vec<u8>,
    dirty: Vec<ConnId>,
}

impl Client {
    fn new(tree: Tree) -> Client {
        let zxid = tree.tip_zxid();
        let mut shard = Shard::new(
            Arc::new(ShardConfig::default()),
            Arc::new(Shared::new(zxid)),
            Arc::new(ShardMetrics::new()),
            ShardId(0),
            tree.view(zxid),
        );
        let now = shard::Now {
            us: 1_000_000,
            wall_ms: 1_700_000_000_000,
        };
        let peer = "127.0.0.1:4567".parse().expect("an address");
        let conn = shard.open(peer, now).expect("no limit is met");
        let connect = ConnectRequest {
            timeout_ms: 30_000,
            passwd: Some(&[0; 16]),
            ..ConnectRequest::default()
        };
        let mut frame = Vec::new();
        framed(&connect.to_vec(), &mut frame);
        shard.receive(conn, &frame, now);
        shard.drain_to_sequencer(|_| Ok(()));
        let origin = Origin {
            shard: ShardId(0),
            conn,
        };
        let attached = Answer::Attached {
            session: SessionId(1),
            password: [0; 16],
            timeout_ms: 30_000,
        };
        let items = vec![Item {
            zxid,
            changes: Changes::new(),
            answer: Some((origin, attached)),
        }];
        shard.publish(&Batch { items }, now);
        let mut client = Client {
            tree,
            shard,
            conn,
            now,
            out: Vec::new(),
            dirty: Vec::new(),
        };
        assert!(client.turn(&[]) > 0, "the handshake is answered");
        client
    }

    /// What the driver does with bytes that came; gives the length of the answers.
    fn turn(&mut self, bytes: &[u8]) -> usize {
        self.now.us += 10;
        if !bytes.is_empty() {
            self.shard.receive(self.conn, bytes, self.now);
        }
        self.shard.take_dirty(&mut self.dirty);
        self.dirty.clear();
        let status = self.shard.status(self.conn);
        assert!(status.has_output);
        self.out.clear();
        self.shard.take_output(self.conn, &mut self.out);
        self.shard.sent(self.conn, self.out.len(), self.now);
        black_box(&self.tree);
        self.out.len()
    }
}

/// Bytes of a Stat, and of the replies without their errors.
const STAT_BYTES: usize = 68;
const STAT_REPLY: usize = 4 + 16 + STAT_BYTES;
const DATA_REPLY: usize = STAT_REPLY + 4 + DATA.len();
const CHILDREN_REPLY: usize = STAT_REPLY + 4 + CHILDREN * (4 + CHILD.len() + 1);

/// Reads of one kind; their requests all are a path and whether to watch it.
fn shard_read(kind: i32, pipeline: usize, reply_bytes: usize) -> Box<dyn FnMut()> {
    let is_listing = kind == op::GET_CHILDREN2;
    let (tree, nodes) = if is_listing {
        (tree_with_children(), PARENTS)
    } else {
        (tree(), NODES)
    };
    let mut client = Client::new(tree);
    let mut number = 0;
    let turns: Vec<Vec<u8>> = (0..64)
        .map(|_| {
            let mut bytes = Vec::new();
            for xid in 0..pipeline {
                let mut body = header(xid as i32 + 1, kind);
                let path = path_of(next_of(&mut number) % nodes);
                let get = GetDataRequest {
                    path: &path,
                    watch: false,
                };
                get.encode(&mut body);
                framed(&body, &mut bytes);
            }
            bytes
        })
        .collect();
    let mut turn = 0;
    Box::new(move || {
        turn = (turn + 1) % turns.len();
        let answered = client.turn(black_box(&turns[turn]));
        assert_eq!(answered, pipeline * reply_bytes);
    })
}

fn header(xid: i32, kind: i32) -> Vec<u8> {
    RequestHeader { xid, kind }.to_vec()
}

/// A shard's part of sets: it takes them in and hands them on, and walks the batch that they come back in.
fn shard_set() -> Box<dyn FnMut()> {
    let mut client = Client::new(tree());
    let origin = Origin {
        shard: ShardId(0),
        conn: client.conn,
    };
    let mut bytes = Vec::new();
    let mut items = Vec::new();
    for xid in 1..=16 {
        let path = path_of(xid as usize);
        let set = SetDataRequest {
            path: &path,
            data: Some(&DATA),
            version: -1,
        };
        let mut body = header(xid, op::SET_DATA);
        set.encode(&mut body);
        framed(&body, &mut bytes);
        let answer = Answer::Reply {
            xid,
            op: op::SET_DATA,
            outcome: Outcome::Stat(Stat::default()),
            received_us: 0,
        };
        items.push(Item {
            // None of them moves the tree, which is another case's part.
            zxid: client.tree.tip_zxid(),
            changes: Changes::new(),
            answer: Some((origin, answer)),
        });
    }
    let batch = Batch { items };
    Box::new(move || {
        let (shard, now) = (&mut client.shard, client.now);
        shard.receive(client.conn, black_box(&bytes), now);
        shard.drain_to_sequencer(|message| {
            black_box(message);
            Ok(())
        });
        shard.publish(black_box(&batch), now);
        let answered = client.turn(&[]);
        assert_eq!(answered, batch.items.len() * STAT_REPLY);
    })
}

/// A log that takes everything and remembers how far it got.
#[derive(Default)]
struct Taken {
    last: Zxid,
}

impl Log for Taken {
    fn has_room(&mut self, _: usize) -> bool {
        true
    }

    fn append(&mut self, zxid: Zxid, payload: &[u8]) {
        self.last = zxid;
        black_box(payload);
    }
}

/// A sequencer with one session, and the one shard's view.
struct Writer {
    sequencer: Sequencer,
    view: View,
    log: Taken,
    now: sequencer::Now,
    session: SessionId,
}

impl Writer {
    fn new() -> Writer {
        let tree = tree();
        let view = tree.view(tree.tip_zxid());
        let sessions = SessionConfig {
            tick_ms: 2_000,
            server_id: 1,
            shards: 1,
        };
        let config = SequencerConfig {
            prep: PrepConfig::default(),
            reap: ReapConfig::default(),
            digest_enabled: true,
        };
        // A snapshot would hold a view for ever here.
        let never = SnapshotPolicy::new(Some(u32::MAX), None, 1);
        let now = sequencer::Now {
            monotonic_ms: 1,
            wall_ms: 1_700_000_000_000,
        };
        let metrics = Arc::new(WriteMetrics::new());
        let table = SessionTable::new(sessions, 1);
        let mut writer = Writer {
            sequencer: Sequencer::new(config, tree, table, never, metrics, now),
            view,
            log: Taken::default(),
            now,
            session: SessionId::NONE,
        };
        let open = ToSequencer::OpenSession {
            origin: ORIGIN,
            timeout_ms: 30_000,
        };
        writer.sequencer.handle(open, writer.now, &mut writer.log);
        writer.publish();
        writer
    }

    /// As if the log had become durable, and the shard had walked what was published.
    fn publish(&mut self) {
        self.sequencer.commit(self.log.last);
        while let Some(batch) = self.sequencer.poll_publish() {
            for item in &batch.items {
                if let Some((_, Answer::Attached { session, .. })) = item.answer {
                    self.session = session;
                }
            }
            black_box(batch);
        }
        self.view.advance(self.log.last);
        self.sequencer.reclaim(usize::MAX);
    }
}

impl Writer {
    /// Has a request decided.
    fn request(&mut self, op: i32, body: &[u8], identities: &Arc<[Identity]>) {
        let request = Request {
            origin: ORIGIN,
            session: self.session,
            xid: 1,
            op,
            body: body.into(),
            identities: identities.clone(),
            received_us: 0,
        };
        let request = ToSequencer::Request(request);
        self.sequencer.handle(request, self.now, &mut self.log);
    }
}

fn sequencer_set() -> Box<dyn FnMut()> {
    let mut writer = Writer::new();
    let set = |number| {
        let path = path_of(number);
        let set = SetDataRequest {
            path: &path,
            data: Some(&DATA),
            version: -1,
        };
        set.to_vec()
    };
    let bodies: Vec<Vec<u8>> = (0..NODES).map(set).collect();
    let identities: Arc<[_]> = Arc::new([]);
    let mut number = 0;
    Box::new(move || {
        for _ in 0..16 {
            let body = &bodies[next_of(&mut number)];
            writer.request(op::SET_DATA, body, &identities);
        }
        writer.publish();
    })
}

/// Nodes that come and go, so that the tree stays as large as it is.
fn sequencer_create() -> Box<dyn FnMut()> {
    let mut writer = Writer::new();
    let paths: Vec<String> = (NODES..NODES + 16).map(path_of).collect();
    let create = |path: &String| {
        let create = CreateRequest {
            path,
            data: Some(&DATA),
            acl: vec![open_acl()],
            flags: 0,
        };
        create.to_vec()
    };
    let delete = |path: &String| DeleteRequest { path, version: -1 }.to_vec();
    let creates: Vec<Vec<u8>> = paths.iter().map(create).collect();
    let deletes: Vec<Vec<u8>> = paths.iter().map(delete).collect();
    let identities: Arc<[_]> = Arc::new([]);
    Box::new(move || {
        let before = writer.log.last;
        for body in &creates {
            writer.request(op::CREATE, body, &identities);
        }
        for body in &deletes {
            writer.request(op::DELETE, body, &identities);
        }
        assert_eq!(writer.log.last.0, before.0 + 32, "none of them fails");
        writer.publish();
    })
}

fn watch_fire() -> Box<dyn FnMut()> {
    let mut watches = Watches::new();
    let acl: AclList = vec![open_acl()].into();
    let paths: Vec<String> = (0..NODES).map(path_of).collect();
    for path in &paths {
        watches.add_data(path, ConnId(7));
    }
    let mut number = 0;
    Box::new(move || {
        let path = &paths[next_of(&mut number)];
        let change = Changed {
            path,
            kind: ChangeKind::DataChanged,
            acl: &acl,
            parent_acl: None,
        };
        let mut fired = 0;
        watches.changed(&change, &mut |conn, event, path, _| {
            black_box((conn, event, path));
            fired += 1;
        });
        assert_eq!(fired, 1);
        watches.add_data(path, ConnId(7));
    })
}

/// The processor's part of the log: encoding, checksums, batches; nothing is written.
fn log_append() -> Box<dyn FnMut()> {
    let place = tempfile::tempdir().expect("a temporary folder");
    let options = WalOptions {
        segment_bytes: 64 << 20,
        ..WalOptions::default()
    };
    let recovered = Wal::recover(&StdDisk, place.path(), options, Zxid::ZERO, &mut |_, _| {});
    let mut wal = recovered.expect("an empty directory").0;
    let path = path_of(1);
    let mut payload = Vec::new();
    Box::new(move || {
        black_box(&place);
        for _ in 0..16 {
            let zxid = Zxid(wal.appended_zxid().0 + 1);
            let header = TxnHeader {
                client_id: 1,
                cxid: 1,
                zxid: zxid.0,
                time: 1,
                kind: op::SET_DATA,
            };
            let txn = Txn::SetData(SetDataTxn {
                path: &path,
                data: Some(&DATA),
                version: 1,
            });
            payload.clear();
            encode_txn(&header, &txn, None, &mut payload);
            wal.append(zxid, black_box(&payload)).expect("room");
        }
        while let Some(write) = wal.poll_write(0) {
            let bytes = write.buffer.len();
            let completion = wal.complete(write.id, write.buffer, Ok(bytes), 0);
            completion.expect("it is complete");
        }
    })
}

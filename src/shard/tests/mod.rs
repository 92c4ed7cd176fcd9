//! A shard driven by hand: bytes in, batches in, frames out.

mod any_bytes;
mod connecting;
mod limits;
mod order;
mod reads;
mod watching;
mod words;

use crate::auth::AuthConfig;
use crate::exchange::{Answer, Batch, Item, Origin, Request};
use crate::jute::data::{Acl, Stat};
use crate::jute::proto::{
    AuthPacket, ConnectRequest, GetDataRequest, ReplyHeader, RequestHeader, SetDataRequest,
    SyncRequest, WatcherEvent,
};
use crate::jute::txn::{CreateTxn, DeleteTxn, SetDataTxn, Txn, TxnHeader};
use crate::jute::{Decoder, Record, op};
use crate::tree::{Applied, Changes, Outcome, Tree, TreeConfig, open_acl};
use crate::types::{ErrorCode, Zxid};

use super::*;

const PASSWORD: [u8; 16] = *b"0123456789abcdef";

/// A shard, the tree behind it, and a sequencer that does as it is told.
struct Rig {
    tree: Tree,
    shard: Shard,
    shared: Arc<Shared>,
    now: Now,
    next_session: i64,
}

/// A reply as a client reads it.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    xid: i32,
    zxid: i64,
    err: i32,
    body: Vec<u8>,
}

impl Reply {
    fn event(&self) -> (i32, String) {
        assert_eq!(self.xid, op::XID_NOTIFICATION);
        let event = WatcherEvent::from_slice(&self.body).expect("an event");
        (event.kind, event.path.to_owned())
    }
}

impl Rig {
    fn new() -> Rig {
        Rig::with(ShardConfig::default())
    }

    fn with(config: ShardConfig) -> Rig {
        let mut tree = Tree::new(TreeConfig {
            extended_types: false,
            digest_enabled: false,
        });
        for path in ["/a", "/a/b"] {
            create(&mut tree, path, &[open_acl()]);
        }
        let zxid = tree.tip_zxid();
        let shared = Arc::new(Shared::new(zxid));
        let shard = Shard::new(
            Arc::new(config),
            shared.clone(),
            Arc::new(ShardMetrics::new()),
            ShardId(0),
            tree.view(zxid),
        );
        Rig {
            tree,
            shard,
            shared,
            now: Now {
                us: 1_000_000,
                wall_ms: 1_700_000_000_000,
            },
            next_session: 0x1000,
        }
    }

    fn open(&mut self) -> ConnId {
        let peer = "10.1.2.3:4567".parse().expect("an address");
        self.shard.open(peer, self.now).expect("no limit is met")
    }

    /// A connection with a session, its handshake read.
    fn client(&mut self) -> ConnId {
        let conn = self.open();
        self.send_frame(conn, &connect_request(0, 0));
        assert!(matches!(
            self.messages()[..],
            [ToSequencer::OpenSession { .. }]
        ));
        self.attach(conn);
        let answer = self.output(conn);
        assert_eq!(answer.len(), 4 + 37);
        conn
    }

    fn attach(&mut self, conn: ConnId) -> SessionId {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        self.publish(vec![self.answer(
            conn,
            Answer::Attached {
                session,
                password: PASSWORD,
                timeout_ms: 10_000,
            },
        )]);
        session
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.shard.receive(conn, bytes, self.now);
    }

    fn send_frame(&mut self, conn: ConnId, body: &[u8]) {
        self.send(conn, &framed(body));
    }

    fn request<'a>(&mut self, conn: ConnId, xid: i32, kind: i32, record: &impl Record<'a>) {
        self.send_frame(conn, &request(xid, kind, record));
    }

    fn get(&mut self, conn: ConnId, xid: i32, path: &str, watch: bool) {
        self.request(conn, xid, op::GET_DATA, &GetDataRequest { path, watch });
    }

    fn set(&mut self, conn: ConnId, xid: i32, path: &str, data: &[u8]) {
        let record = SetDataRequest {
            path,
            data: Some(data),
            version: -1,
        };
        self.request(conn, xid, op::SET_DATA, &record);
    }

    fn messages(&mut self) -> Vec<ToSequencer> {
        let mut all = Vec::new();
        self.shard.drain_to_sequencer(|message| {
            all.push(message);
            Ok(())
        });
        all
    }

    /// The requests that reached the sequencer, by xid.
    fn forwarded(&mut self) -> Vec<i32> {
        let messages = self.messages().into_iter();
        messages
            .map(|message| match message {
                ToSequencer::Request(Request { xid, .. }) => xid,
                other => panic!("not a request: {other:?}"),
            })
            .collect()
    }

    /// An item without a change.
    fn answer(&self, conn: ConnId, answer: Answer) -> Item {
        Item {
            zxid: self.tree.tip_zxid(),
            changes: Changes::new(),
            answer: Some((self.shard.origin(conn), answer)),
        }
    }

    fn outcome(&self, conn: ConnId, xid: i32, outcome: Outcome) -> Item {
        let reply = Answer::Reply {
            xid,
            op: 0,
            outcome,
            received_us: self.now.us,
        };
        self.answer(conn, reply)
    }

    /// Sets data, as the answer to a request of `conn`.
    fn applied_set(&mut self, conn: ConnId, xid: i32, path: &str, data: &[u8]) -> Item {
        let applied = set(&mut self.tree, path, data);
        let mut item = self.outcome(conn, xid, applied.outcome);
        item.changes = applied.changes;
        item
    }

    fn change(&mut self, applied: Applied) {
        self.publish(vec![Item {
            zxid: applied.zxid,
            changes: applied.changes,
            answer: None,
        }]);
    }

    fn publish(&mut self, items: Vec<Item>) {
        self.shard.publish(&Batch { items }, self.now);
    }

    fn output(&mut self, conn: ConnId) -> Vec<u8> {
        let mut out = Vec::new();
        self.shard.take_output(conn, &mut out);
        self.shard.sent(conn, out.len(), self.now);
        out
    }

    fn replies(&mut self, conn: ConnId) -> Vec<Reply> {
        parse(&self.output(conn))
    }

    fn reply(&mut self, conn: ConnId) -> Reply {
        let mut replies = self.replies(conn);
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.remove(0)
    }

    fn xids(&mut self, conn: ConnId) -> Vec<i32> {
        let replies = self.replies(conn).into_iter();
        replies.map(|reply| reply.xid).collect()
    }

    fn events(&mut self, conn: ConnId) -> Vec<(i32, String)> {
        self.replies(conn).iter().map(Reply::event).collect()
    }

    fn close_of(&self, conn: ConnId) -> Close {
        self.shard.status(conn).close
    }

    fn wants_read(&self, conn: ConnId) -> bool {
        self.shard.status(conn).wants_read
    }

    fn advance_ms(&mut self, ms: u64) {
        self.now.us += ms * 1000;
        self.now.wall_ms += ms as i64;
    }
}

fn parse(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (frame, rest) = rest.split_at(length);
        let mut from = Decoder::new(frame);
        let header = ReplyHeader::decode(&mut from).expect("a header");
        replies.push(Reply {
            xid: header.xid,
            zxid: header.zxid,
            err: header.err,
            body: from.rest().to_vec(),
        });
        bytes = rest;
    }
    assert!(bytes.is_empty());
    replies
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

fn request<'a>(xid: i32, kind: i32, record: &impl Record<'a>) -> Vec<u8> {
    let mut out = RequestHeader { xid, kind }.to_vec();
    record.encode(&mut out);
    out
}

fn connect_request(session: i64, last_zxid_seen: i64) -> Vec<u8> {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen,
        timeout_ms: 10_000,
        session_id: session,
        passwd: Some(&PASSWORD),
        read_only: false,
    }
    .to_vec()
}

fn apply(tree: &mut Tree, txn: Txn<'_>) -> Applied {
    let zxid = tree.tip_zxid().0 + 1;
    let header = TxnHeader {
        client_id: 1,
        cxid: 0,
        zxid,
        time: 0,
        kind: txn.kind(),
    };
    let applied = tree.apply(&header, &txn);
    assert!(
        !matches!(applied.outcome, Outcome::Failed(_)),
        "{applied:?}"
    );
    applied
}

fn create(tree: &mut Tree, path: &str, acl: &[Acl]) -> Applied {
    let txn = CreateTxn {
        path: path.into(),
        data: Some(b"data"),
        acl: acl.to_vec(),
        ephemeral: false,
        parent_cversion: -1,
    };
    let is_create2 = false;
    apply(tree, Txn::Create { txn, is_create2 })
}

fn set(tree: &mut Tree, path: &str, data: &[u8]) -> Applied {
    let version = tree.node(path).expect("the node is there").stat().version + 1;
    let txn = SetDataTxn {
        path,
        data: Some(data),
        version,
    };
    apply(tree, Txn::SetData(txn))
}

fn delete(tree: &mut Tree, path: &str) -> Applied {
    let txn = DeleteTxn { path };
    let is_container = false;
    apply(tree, Txn::Delete { txn, is_container })
}

/// Data and version that a getData answers.
fn data_of(reply: &Reply) -> (Vec<u8>, i32) {
    assert_eq!(reply.err, 0);
    let mut from = Decoder::new(&reply.body);
    let data = Option::<&[u8]>::decode(&mut from).expect("data");
    let stat = Stat::decode(&mut from).expect("a stat");
    assert!(from.is_empty());
    (data.expect("not null").to_vec(), stat.version)
}

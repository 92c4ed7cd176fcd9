//! The other side for tests: a server without rules, checks or state beyond paths and data.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::jute::data::Stat;
use crate::jute::proto::{
    ConnectRequest, ConnectResponse, CreateRequest, DeleteRequest, GetDataRequest, MULTI_END,
    MultiHeader, ReplyHeader, RequestHeader, SetDataRequest,
};
use crate::jute::{Decoder, JuteError, Record, op};
use crate::types::ErrorCode;

use super::frame::Frames;
use super::request::{Requests, framed};

type Tree = Arc<Mutex<BTreeMap<String, Znode>>>;

/// The last write of any tree.
static ZXID: AtomicI64 = AtomicI64::new(0);

/// What a path leads to.
#[derive(Clone, Debug)]
pub struct Znode {
    data: Vec<u8>,
    mzxid: i64,
}

impl Znode {
    /// As a write of this moment makes it.
    pub fn new(data: &[u8]) -> Znode {
        Znode {
            data: data.to_vec(),
            mzxid: ZXID.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    fn stat(&self) -> Stat {
        Stat {
            mzxid: self.mzxid,
            data_length: self.data.len() as i32,
            ..Stat::default()
        }
    }
}

/// What a responder does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Acknowledges writes and forgets them.
    LosesSets,
    /// Keeps a write's Stat and the data of before.
    KeepsOldData,
    /// Acknowledges writes with the Stat of before, as if there were none.
    IgnoresSets,
    /// Lists one child twice and another not.
    MixesUpChildren,
}

/// Answers one connection.
#[derive(Debug, Default)]
pub struct Responder {
    tree: Tree,
    /// The session that is granted is one more.
    number: i64,
    has_session: bool,
    frames: Frames,
    /// What it does wrong, if anything.
    pub lie: Option<Lie>,
}

impl Responder {
    /// A responder that holds what a run prepares.
    pub fn prepared(requests: &Requests, keys: u32, children: u32) -> Responder {
        let mut responder = Responder {
            has_session: true,
            ..Responder::default()
        };
        let mut out = Vec::new();
        for key in 0..keys {
            requests.append_create_key(key, 1, &mut out);
        }
        for child in 0..children {
            let path = format!("{}/c{child}", requests.list_directory());
            requests.append_create(&path, &[], 1, &mut out);
        }
        responder.respond(&out, &mut Vec::new());
        responder.has_session = false;
        responder
    }

    /// The next frame asks for a session.
    pub fn forget_session(&mut self) {
        self.has_session = false;
    }

    /// Appends the answers to what `bytes` asks.
    pub fn respond(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut frames = std::mem::take(&mut self.frames);
        frames
            .feed(bytes, |frame| {
                framed(out, |out| self.answer(frame, out));
                Ok(())
            })
            .expect("the client sends valid frames");
        self.frames = frames;
    }

    fn answer(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        if !self.has_session {
            self.has_session = true;
            let asked = ConnectRequest::from_slice(frame).expect("the client asks for a session");
            self.number += i64::from(asked.session_id == 0);
            let granted = ConnectResponse {
                timeout_ms: 30_000,
                session_id: match asked.session_id {
                    0 => self.number,
                    resumed => resumed,
                },
                ..ConnectResponse::default()
            };
            return granted.encode(out);
        }
        let mut from = Decoder::new(frame);
        let header = RequestHeader::decode(&mut from).expect("the client sends valid headers");
        let mut body = Vec::new();
        let code = self
            .execute(header.kind, &mut from, &mut body)
            .expect("the client sends valid records");
        assert!(from.is_empty(), "nothing follows the record");
        let reply = ReplyHeader {
            xid: header.xid,
            zxid: 0,
            err: code.code(),
        };
        reply.encode(out);
        if code == ErrorCode::Ok {
            out.extend_from_slice(&body);
        }
    }

    fn execute(
        &self,
        kind: i32,
        from: &mut Decoder<'_>,
        out: &mut Vec<u8>,
    ) -> Result<ErrorCode, JuteError> {
        let mut tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            op::CREATE => {
                let create = CreateRequest::decode(from)?;
                if tree.contains_key(create.path) {
                    return Ok(ErrorCode::NodeExists);
                }
                let data = create.data.unwrap_or_default();
                tree.insert(create.path.to_owned(), Znode::new(data));
                create.path.encode(out);
            }
            op::DELETE => {
                let delete = DeleteRequest::decode(from)?;
                let below = format!("{}/", delete.path);
                let mut later = tree.range(below.clone()..).map(|(path, _)| path);
                if later.next().is_some_and(|path| path.starts_with(&below)) {
                    return Ok(ErrorCode::NotEmpty);
                }
                if tree.remove(delete.path).is_none() {
                    return Ok(ErrorCode::NoNode);
                }
            }
            op::GET_DATA | op::EXISTS => {
                let get = GetDataRequest::decode(from)?;
                let Some(znode) = tree.get(get.path) else {
                    return Ok(ErrorCode::NoNode);
                };
                if kind == op::GET_DATA {
                    Some(&znode.data[..]).encode(out);
                }
                znode.stat().encode(out);
            }
            op::SET_DATA => {
                let set = SetDataRequest::decode(from)?;
                let Some(znode) = tree.get_mut(set.path) else {
                    return Ok(ErrorCode::NoNode);
                };
                let new = Znode::new(set.data.unwrap_or_default());
                self.set(znode, new).encode(out);
            }
            op::GET_CHILDREN => {
                let prefix = GetDataRequest::decode(from)?.path.to_owned() + "/";
                let mut names: Vec<&str> = tree
                    .keys()
                    .filter_map(|path| path.strip_prefix(&prefix))
                    .filter(|name| !name.contains('/'))
                    .collect();
                if self.lie == Some(Lie::MixesUpChildren) {
                    names[0] = names[1];
                }
                names.encode(out);
            }
            op::MULTI => self.set_all(&mut tree, from, out)?,
            op::SYNC => <&str>::decode(from)?.encode(out),
            op::PING | op::CLOSE_SESSION => {}
            other => return Err(JuteError::UnknownType(other)),
        }
        Ok(ErrorCode::Ok)
    }

    /// Writes what a multi sets, all with one zxid.
    fn set_all(
        &self,
        tree: &mut BTreeMap<String, Znode>,
        from: &mut Decoder<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), JuteError> {
        let mzxid = Znode::new(&[]).mzxid;
        loop {
            let header = MultiHeader::decode(from)?;
            header.encode(out);
            if header == MULTI_END {
                return Ok(());
            }
            let set = SetDataRequest::decode(from)?;
            let znode = tree.get_mut(set.path).expect("a key that was prepared");
            let data = set.data.unwrap_or_default().to_vec();
            self.set(znode, Znode { data, mzxid }).encode(out);
        }
    }

    /// Writes `new`; the Stat to answer.
    fn set(&self, znode: &mut Znode, new: Znode) -> Stat {
        let (before, after) = (znode.stat(), new.stat());
        match self.lie {
            Some(Lie::LosesSets) => {}
            Some(Lie::IgnoresSets) => return before,
            Some(Lie::KeepsOldData) => znode.mzxid = new.mzxid,
            _ => *znode = new,
        }
        after
    }
}

/// Serves a tree of its own on a free loopback port until the test process ends.
pub fn serve() -> (SocketAddr, Tree) {
    serve_breaking(|_| usize::MAX)
}

/// Like [`serve`], and closes the connection with a number after as many reads as `reads_of` says.
pub fn serve_breaking(reads_of: fn(usize) -> usize) -> (SocketAddr, Tree) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the port is bound");
    let tree = Tree::default();
    let shared = Arc::clone(&tree);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let responder = Responder {
                tree: Arc::clone(&shared),
                number: number as i64,
                ..Responder::default()
            };
            thread::spawn(move || serve_one(stream, responder, reads_of(number)));
        }
    });
    (address, tree)
}

fn serve_one(mut stream: TcpStream, mut responder: Responder, reads: usize) {
    let mut buffer = vec![0; 1 << 16];
    for _ in 0..reads {
        let Ok(count @ 1..) = stream.read(&mut buffer) else {
            return;
        };
        let mut out = Vec::new();
        responder.respond(&buffer[..count], &mut out);
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

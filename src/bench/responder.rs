//! A server that does nothing but answer: what the client can do at most, and what any server
//! pays for its sockets and bytes.
//!
//! It keeps no znodes. It knows what a run of the same options put where, and answers each
//! request with what the run expects. Of watches it knows those that getData sets, and takes any
//! setData for the one that they wait for: that is all of watch-fanout. Other scenarios read what
//! they wrote, and need a server.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::client::{EventKind, KeeperState};
use crate::jute::data::Stat;
use crate::jute::proto::{
    ConnectRequest, ConnectResponse, CreateRequest, GetDataRequest, MULTI_END, MultiHeader,
    ReplyHeader, RequestHeader, SetDataRequest, WatcherEvent,
};
use crate::jute::{Decoder, JuteError, Record, op};
use crate::types::ErrorCode;

use super::error::ProtocolError;
use super::frame::Frames;
use super::request::{CHILD, framed};
use super::value::Values;

/// The token of the listener; connections have the smaller ones.
const LISTENER: Token = Token(usize::MAX);

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// How soon a responder that is to end does so.
const PATIENCE: Duration = Duration::from_millis(50);

/// Digits of a number at the end of a path.
const DIGITS: usize = 10;

/// What a run expects.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The data of each key.
    pub values: Values,
    /// Children of every directory.
    pub children: u32,
}

/// Listens on a port, and answers until it is told to end.
#[derive(Debug)]
pub struct Responder {
    common: Common,
    listener: TcpListener,
    poll: Poll,
    peers: Vec<Option<Peer>>,
    buffer: Vec<u8>,
}

/// What all connections share.
#[derive(Debug)]
struct Common {
    expected: Expected,
    /// Replies so far: each is as new as can be.
    zxid: i64,
    /// The places of those that watch.
    watchers: Vec<usize>,
    /// The path of a write that they are to be told of.
    written: Option<String>,
}

/// One connection.
#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    has_session: bool,
    frames: Frames,
    out: Vec<u8>,
    sent: usize,
}

impl Responder {
    /// Listens on `address`.
    pub fn bind(address: SocketAddr, expected: Expected) -> io::Result<Responder> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Responder {
            common: Common {
                expected,
                zxid: 0,
                watchers: Vec::new(),
                written: None,
            },
            listener,
            poll,
            peers: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop`.
    pub fn run(mut self, stop: &Arc<AtomicBool>) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        while !stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(PATIENCE)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(place) => {
                        // A client that breaks ends its own connection only.
                        if self.serve(place).is_err() {
                            self.forget(place);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let free = self.peers.iter().position(Option::is_none);
            let place = free.unwrap_or(self.peers.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, Token(place), interest)?;
            let peer = Some(Peer {
                stream,
                has_session: false,
                frames: Frames::default(),
                out: Vec::new(),
                sent: 0,
            });
            if place == self.peers.len() {
                self.peers.push(peer);
            } else {
                self.peers[place] = peer;
            }
        }
    }

    fn forget(&mut self, place: usize) {
        self.peers[place] = None;
        self.common.watchers.retain(|&watcher| watcher != place);
    }

    /// Answers what a connection asks, and tells the others of what it wrote.
    fn serve(&mut self, place: usize) -> Result<(), Gone> {
        let served = self.answer(place);
        let Some(path) = self.common.written.take() else {
            return served;
        };
        for watcher in std::mem::take(&mut self.common.watchers) {
            if let Some(peer) = &mut self.peers[watcher]
                && peer.notify(&path).is_err()
            {
                self.forget(watcher);
            }
        }
        served
    }

    fn answer(&mut self, place: usize) -> Result<(), Gone> {
        let Some(peer) = &mut self.peers[place] else {
            return Ok(());
        };
        loop {
            match peer.stream.read(&mut self.buffer) {
                Ok(0) => return Err(Gone),
                Ok(count) => {
                    peer.handle(&self.buffer[..count], place, &mut self.common)?;
                    peer.flush()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
        peer.flush()
    }
}

/// The connection has ended, or must.
#[derive(Debug)]
struct Gone;

impl From<ProtocolError> for Gone {
    fn from(_: ProtocolError) -> Gone {
        Gone
    }
}

impl Peer {
    fn handle(&mut self, bytes: &[u8], place: usize, common: &mut Common) -> Result<(), Gone> {
        let Peer {
            has_session,
            frames,
            out,
            ..
        } = self;
        frames.feed(bytes, |frame| {
            let mut result = Ok(());
            framed(out, |out| {
                result = if *has_session {
                    answer(frame, place, common, out)
                } else {
                    *has_session = true;
                    grant(frame, place, out)
                };
            });
            Ok(result?)
        })?;
        Ok(())
    }

    fn notify(&mut self, path: &str) -> Result<(), Gone> {
        framed(&mut self.out, |out| {
            let header = ReplyHeader {
                xid: op::XID_NOTIFICATION,
                zxid: -1,
                err: ErrorCode::Ok.code(),
            };
            header.encode(out);
            let event = WatcherEvent {
                kind: EventKind::NodeDataChanged as i32,
                state: KeeperState::SyncConnected as i32,
                path,
            };
            event.encode(out);
        });
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Gone> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }
}

fn grant(frame: &[u8], place: usize, out: &mut Vec<u8>) -> Result<(), JuteError> {
    let asked = ConnectRequest::from_slice(frame)?;
    let granted = ConnectResponse {
        timeout_ms: asked.timeout_ms,
        session_id: match asked.session_id {
            0 => place as i64 + 1,
            resumed => resumed,
        },
        passwd: Some(&[0; 16]),
        ..ConnectResponse::default()
    };
    granted.encode(out);
    Ok(())
}

fn answer(
    frame: &[u8],
    place: usize,
    common: &mut Common,
    out: &mut Vec<u8>,
) -> Result<(), JuteError> {
    let Common {
        expected,
        zxid,
        watchers,
        written,
    } = common;
    *zxid += 1;
    let zxid = *zxid;
    let from = &mut Decoder::new(frame);
    let header = RequestHeader::decode(from)?;
    let reply = ReplyHeader {
        xid: header.xid,
        zxid,
        err: ErrorCode::Ok.code(),
    };
    reply.encode(out);
    match header.kind {
        op::GET_DATA => {
            let get = GetDataRequest::decode(from)?;
            if get.watch {
                watchers.push(place);
            }
            let key = key_of(get.path);
            let size = expected.values.size(key);
            (size as i32).encode(out);
            expected.values.append(key, zxid as u32, out);
            stat(size, zxid).encode(out);
        }
        op::EXISTS => {
            let key = key_of(<&str>::decode(from)?);
            stat(expected.values.size(key), zxid).encode(out);
        }
        op::SET_DATA => {
            let path = set(from, zxid, out)?;
            if !watchers.is_empty() {
                *written = Some(path.to_owned());
            }
        }
        op::CREATE => CreateRequest::decode(from)?.path.encode(out),
        op::GET_CHILDREN => {
            (expected.children as i32).encode(out);
            for child in 0..expected.children {
                format!("{CHILD}{child}").as_str().encode(out);
            }
        }
        op::MULTI => loop {
            let header = MultiHeader::decode(from)?;
            header.encode(out);
            if header == MULTI_END {
                break;
            }
            let _ = set(from, zxid, out)?;
        },
        op::SYNC => <&str>::decode(from)?.encode(out),
        op::DELETE | op::PING | op::CLOSE_SESSION => {}
        other => return Err(JuteError::UnknownType(other)),
    }
    Ok(())
}

/// Answers a setData; its path.
fn set<'a>(from: &mut Decoder<'a>, zxid: i64, out: &mut Vec<u8>) -> Result<&'a str, JuteError> {
    let set = SetDataRequest::decode(from)?;
    stat(set.data.unwrap_or_default().len(), zxid).encode(out);
    Ok(set.path)
}

/// The number at the end of a prepared key's path; 0 where there is none.
fn key_of(path: &str) -> u32 {
    let digits = path.len().checked_sub(DIGITS);
    digits
        .and_then(|at| path.get(at..)?.parse().ok())
        .unwrap_or(0)
}

fn stat(data_length: usize, mzxid: i64) -> Stat {
    Stat {
        mzxid,
        data_length: data_length as i32,
        ..Stat::default()
    }
}

//! Znodes before and after the load, over one blocking session.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::jute::proto::{
    DeleteRequest, GetChildrenRequest, GetChildrenResponse, GetDataRequest, GetDataResponse,
    ReplyHeader,
};
use crate::jute::{Decoder, JuteError, Record, op};
use crate::types::ErrorCode;

use super::error::{BenchError, ProtocolError};
use super::frame::Frames;
use super::request::{Requests, append_bare, append_connect, framed, header, read_connect};

/// What the base znode holds, so that nothing else is ever deleted.
const MARK: &[u8] = b"made by zkore bench; may be deleted";

/// Requests sent ahead of their replies.
const AHEAD_MAX: usize = 256;

/// Bytes of requests sent at once, unless a single one is larger. Small enough that the server
/// is never stuck with replies that we do not read while we wait for it to read.
const SEND_BYTES: usize = 64 << 10;

/// A server that says nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A session for requests that are not measured.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    address: SocketAddr,
    frames: Frames,
    buffer: Vec<u8>,
    next_xid: i32,
}

impl Session {
    /// Opens a session with the first of `addresses` that grants one.
    pub fn open(addresses: &[SocketAddr], timeout_ms: u32) -> Result<Session, BenchError> {
        let mut last = None;
        for &address in addresses {
            match Session::open_one(address, timeout_ms) {
                Ok(session) => return Ok(session),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is at least one address"))
    }

    fn open_one(address: SocketAddr, timeout_ms: u32) -> Result<Session, BenchError> {
        let broken = |source| BenchError::Connect {
            address: address.to_string(),
            source,
        };
        let stream = TcpStream::connect_timeout(&address, SILENCE_MAX).map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(broken)?;
        stream
            .set_write_timeout(Some(SILENCE_MAX))
            .map_err(broken)?;
        let mut session = Session {
            stream,
            address,
            frames: Frames::default(),
            buffer: vec![0; 1 << 16],
            next_xid: 1,
        };
        let mut out = Vec::new();
        append_connect(timeout_ms, None, &mut out);
        session.send(&out)?;
        let mut granted = None;
        while granted.is_none() {
            session.receive(|frame| {
                granted = Some(read_connect(frame)?);
                Ok(())
            })?;
        }
        Ok(session)
    }

    /// Makes the znodes of a mix, below a base that was claimed.
    /// `counts` are the prepared keys and the children of the directory for getChildren.
    pub fn prepare(&mut self, requests: &Requests, counts: (u32, u32)) -> Result<(), BenchError> {
        let directories = requests.keys_directories();
        for directory in directories.chain([requests.list_directory()]) {
            self.create(requests, directory, b"")?;
        }
        let (keys, children) = counts;
        self.pipeline(
            "create of a key",
            keys as usize,
            |key, xid, out| requests.append_create_key(key as u32, xid, out),
            is_done,
        )?;
        self.pipeline(
            "create of a child",
            children as usize,
            |child, xid, out| requests.append_create(&requests.child(child as u32), b"", xid, out),
            is_done,
        )
    }

    /// Deletes all that was made, by this run or by earlier ones.
    pub fn clean_up(&mut self, requests: &Requests) -> Result<(), BenchError> {
        // Level by level: what cannot be deleted has children, which are the next level.
        let mut parents = vec![vec![requests.base().to_owned()]];
        while let Some(level) = parents.last()
            && !level.is_empty()
        {
            let children = self.children(level)?;
            let with_children = self.delete(children, &[ErrorCode::NoNode, ErrorCode::NotEmpty])?;
            parents.push(with_children);
        }
        for level in parents.into_iter().rev() {
            self.delete(level, &[ErrorCode::NoNode])?;
        }
        Ok(())
    }

    /// Ends the session.
    pub fn close(mut self) -> Result<(), BenchError> {
        let mut out = Vec::new();
        append_bare(op::CLOSE_SESSION, self.next_xid, &mut out);
        self.send(&out)?;
        let mut confirmed = false;
        while !confirmed {
            self.receive(|_| {
                confirmed = true;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Makes znodes of any paths and data, in their order.
    pub fn create_all(
        &mut self,
        requests: &Requests,
        znodes: &[(String, Vec<u8>)],
    ) -> Result<(), BenchError> {
        self.pipeline(
            "create of a znode",
            znodes.len(),
            |place, xid, out| {
                let (path, data) = &znodes[place];
                requests.append_create(path, data, xid, out);
            },
            is_done,
        )
    }

    /// Makes the base of a run; what an earlier one left below it is deleted.
    pub fn claim_base(&mut self, requests: &Requests) -> Result<(), BenchError> {
        let base = requests.base();
        let ancestors = base.match_indices('/').map(|(at, _)| &base[..at]);
        for ancestor in ancestors.filter(|ancestor| !ancestor.is_empty()) {
            self.try_create(requests, ancestor, b"")?;
        }
        if self.try_create(requests, base, MARK)? {
            return Ok(());
        }
        let what = || format!("getData of {base}");
        let is_ours = self.call(
            what,
            |xid, out| {
                framed(out, |out| {
                    header(xid, op::GET_DATA, out);
                    let get = GetDataRequest {
                        path: base,
                        watch: false,
                    };
                    get.encode(out);
                });
            },
            |body| Ok(GetDataResponse::from_slice(body)?.data == Some(MARK)),
        )?;
        if !is_ours {
            return Err(BenchError::ForeignBase(base.to_owned()));
        }
        self.clean_up(requests)?;
        self.create(requests, base, MARK)
    }

    /// The paths of all children of `parents`; of one that has gone there are none.
    fn children(&mut self, parents: &[String]) -> Result<Vec<String>, BenchError> {
        let mut found = Vec::new();
        self.pipeline(
            "getChildren of a leftover",
            parents.len(),
            |index, xid, out| append_list(&parents[index], xid, out),
            |index, reply| match reply {
                Ok(body) => {
                    let names = GetChildrenResponse::from_slice(body)?.children;
                    let parent = &parents[index];
                    found.extend(names.into_iter().map(|name| format!("{parent}/{name}")));
                    Ok(true)
                }
                Err(code) => Ok(code == ErrorCode::NoNode.code()),
            },
        )?;
        Ok(found)
    }

    /// Deletes `paths`, except where one of the `excuses` forbids it; returns those that are
    /// still there.
    fn delete(
        &mut self,
        paths: Vec<String>,
        excuses: &[ErrorCode],
    ) -> Result<Vec<String>, BenchError> {
        let mut kept = Vec::new();
        self.pipeline(
            "delete of a leftover",
            paths.len(),
            |index, xid, out| append_delete(&paths[index], xid, out),
            |index, reply| match reply {
                Ok(_) => Ok(true),
                Err(code) => {
                    if code != ErrorCode::NoNode.code() {
                        kept.push(index);
                    }
                    Ok(excuses.iter().any(|excuse| excuse.code() == code))
                }
            },
        )?;
        Ok(kept.into_iter().map(|index| paths[index].clone()).collect())
    }

    fn create(&mut self, requests: &Requests, path: &str, data: &[u8]) -> Result<(), BenchError> {
        self.call(
            || format!("create of {path}"),
            |xid, out| requests.append_create(path, data, xid, out),
            |_| Ok(()),
        )
    }

    /// Creates `path` and says whether it was not there before.
    fn try_create(
        &mut self,
        requests: &Requests,
        path: &str,
        data: &[u8],
    ) -> Result<bool, BenchError> {
        match self.create(requests, path, data) {
            Ok(()) => Ok(true),
            Err(BenchError::Refused { code, .. }) if code == ErrorCode::NodeExists.code() => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// One request and what `read` makes of the body of its reply.
    fn call<T>(
        &mut self,
        what: impl Fn() -> String,
        append: impl Fn(i32, &mut Vec<u8>),
        mut read: impl FnMut(&[u8]) -> Result<T, JuteError>,
    ) -> Result<T, BenchError> {
        let mut out = Vec::new();
        append(self.take_xid(), &mut out);
        self.send(&out)?;
        let mut answer = None;
        while answer.is_none() {
            self.receive(|frame| {
                let mut from = Decoder::new(frame);
                let reply = ReplyHeader::decode(&mut from)?;
                answer = Some(match reply.err {
                    0 => Ok(read(from.rest())?),
                    code => Err(code),
                });
                Ok(())
            })?;
        }
        let answer = answer.expect("the loop ends with an answer");
        answer.map_err(|code| BenchError::Refused { what: what(), code })
    }

    /// Sends `count` requests, many at a time, and hands each reply, its body or the code of its
    /// error, to `read`, which says whether it is as it may be. The first that is not ends it.
    fn pipeline(
        &mut self,
        what: &str,
        count: usize,
        append: impl Fn(usize, i32, &mut Vec<u8>),
        mut read: impl FnMut(usize, Result<&[u8], i32>) -> Result<bool, JuteError>,
    ) -> Result<(), BenchError> {
        let (mut sent, mut answered) = (0, 0);
        let mut refused = None;
        let mut out = Vec::new();
        while answered < count {
            out.clear();
            while sent < count && sent - answered < AHEAD_MAX && out.len() < SEND_BYTES {
                append(sent, self.take_xid(), &mut out);
                sent += 1;
            }
            self.send(&out)?;
            self.receive(|frame| {
                let mut from = Decoder::new(frame);
                let code = ReplyHeader::decode(&mut from)?.err;
                let reply = if code == 0 {
                    Ok(from.rest())
                } else {
                    Err(code)
                };
                if !read(answered, reply)? {
                    refused.get_or_insert(code);
                }
                answered += 1;
                Ok(())
            })?;
            if let Some(code) = refused {
                let what = what.to_owned();
                return Err(BenchError::Refused { what, code });
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BenchError> {
        let sent = self.stream.write_all(bytes);
        sent.map_err(|source| self.broken(source))
    }

    /// Waits for bytes and hands on the frames that they complete, which may be none.
    fn receive(
        &mut self,
        each: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<(), BenchError> {
        let count = match self.stream.read(&mut self.buffer) {
            Ok(0) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => count,
            Err(source) => return Err(self.broken(source)),
        };
        let fed = self.frames.feed(&self.buffer[..count], each);
        fed.map_err(|source| BenchError::Protocol {
            address: self.address.to_string(),
            source,
        })
    }

    fn broken(&self, source: io::Error) -> BenchError {
        BenchError::Connect {
            address: self.address.to_string(),
            source,
        }
    }

    fn take_xid(&mut self) -> i32 {
        let xid = self.next_xid;
        self.next_xid = xid.checked_add(1).unwrap_or(1);
        xid
    }
}

/// For replies of which only the header matters.
fn is_done(_index: usize, reply: Result<&[u8], i32>) -> Result<bool, JuteError> {
    Ok(reply.is_ok())
}

fn append_list(path: &str, xid: i32, out: &mut Vec<u8>) {
    framed(out, |out| {
        header(xid, op::GET_CHILDREN, out);
        GetChildrenRequest { path, watch: false }.encode(out);
    });
}

fn append_delete(path: &str, xid: i32, out: &mut Vec<u8>) {
    framed(out, |out| {
        header(xid, op::DELETE, out);
        DeleteRequest { path, version: -1 }.encode(out);
    });
}

#[cfg(test)]
mod tests {
    use super::super::request::Sizes;
    use super::super::spread::Spread;
    use super::super::testing::{self, Znode};
    use super::*;

    fn requests(value: u32) -> Requests {
        let sizes = Sizes {
            value: Spread::only(value),
            depth: Spread::only(1),
            keys: 1_000,
            children: 5,
            multi: 1,
        };
        Requests::new("/load/here", sizes)
    }

    #[test]
    fn znodes_are_made_and_removed() {
        let (address, tree) = testing::serve();
        let mut session = Session::open(&[address], 30_000).expect("a session");
        let requests = requests(100);
        // The second time finds what the first left, as after a run that was killed.
        for _ in 0..2 {
            session.claim_base(&requests).expect("claimed");
            session.prepare(&requests, (1_000, 5)).expect("prepared");
            let tree = tree.lock().expect("no thread panicked");
            assert_eq!(tree.len(), 2 + 2 + 1_000 + 5);
        }
        session.clean_up(&requests).expect("cleaned up");
        let left: Vec<String> = {
            let tree = tree.lock().expect("no thread panicked");
            tree.keys().cloned().collect()
        };
        assert_eq!(left, ["/load"]);
        session.close().expect("closed");
    }

    #[test]
    fn what_others_made_is_left_alone() {
        let (address, tree) = testing::serve();
        tree.lock()
            .expect("no thread panicked")
            .insert("/load/here".to_owned(), Znode::new(b"precious"));
        let mut session = Session::open(&[address], 30_000).expect("a session");
        let refused = session.claim_base(&requests(10));
        assert!(matches!(refused, Err(BenchError::ForeignBase(base)) if base == "/load/here"));
    }
}

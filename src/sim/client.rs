//! A client that speaks the protocol in bytes and checks everything that it is told.

use std::collections::VecDeque;

use crate::jute::proto::{ConnectRequest, ConnectResponse, ReplyHeader, WatcherEvent};
use crate::jute::{Decoder, Record, op};
use crate::types::{ErrorCode, Zxid};

use super::answer::Answer;
use super::ask::{Asked, Op};
use super::checks::Invariant;
use super::course::say;
use super::event::Event;
use super::network::{End, Piece};
use super::process::{HEARTBEAT_MS, SILENCE_LIMIT_MS, TICK_MS};
use super::watching::{Registers, Watching};
use super::world::World;

/// A client.
pub struct Client {
    /// Its session; 0 without one.
    pub session: i64,
    password: Vec<u8>,
    timeout_ms: i32,
    /// The newest zxid that it was shown.
    seen: Zxid,
    connection: Option<Connection>,
    connections: u64,
    values: u64,
    watching: Watching,
    /// It asks for something once in so many of its turns.
    pace: u64,
    /// Whether it only reads, until the faults have ended.
    only_reads: bool,
    /// Until when it does nothing at all, in microseconds.
    pub silent_until_us: u64,
    /// When it asked the last thing that was answered, in microseconds.
    heard_us: u64,
    /// Until when it may be told that its session is over although it was heard from since: it had
    /// been silent for too long before, in microseconds.
    excused_until_us: u64,
    /// When it last sent something, in microseconds, and to which of a member's processes.
    sent: (u64, u32),
    /// Whether it has never let its timeout pass without sending something since it has its session.
    is_patient: bool,
    /// Whether it has asked to close its session.
    is_closing: bool,
}

/// A connection to a member.
struct Connection {
    pipe: u64,
    member: usize,
    is_up: bool,
    input: Vec<u8>,
    asked: VecDeque<Asked>,
    xid: i32,
    sent_us: u64,
    heard_us: u64,
}

/// Requests of one client on their way at most.
const PIPELINE_MAX: usize = 4;

/// How much sooner than its timeout a session may end after the last sign of life that its client
/// knows to have arrived, in microseconds: what a member had no time to tell its leader.
const UNREPORTED_US_MAX: u64 = (SILENCE_LIMIT_MS + 4 * HEARTBEAT_MS + TICK_MS + 200) * 1000;

/// How long the news that a session is over may take, in microseconds.
const EXCUSED_US: u64 = 2_000_000;

impl Client {
    /// A client without a session, which asks for something once in so many of its turns.
    pub fn new(timeout_ms: i32, pace: u64, only_reads: bool) -> Client {
        Client {
            pace,
            only_reads,
            session: 0,
            password: vec![0; 16],
            timeout_ms,
            seen: Zxid::ZERO,
            connection: None,
            connections: 0,
            values: 0,
            watching: Watching::default(),
            silent_until_us: 0,
            heard_us: 0,
            excused_until_us: 0,
            sent: (0, 0),
            is_patient: false,
            is_closing: false,
        }
    }

    fn timeout_us(&self) -> u64 {
        self.timeout_ms as u64 * 1000
    }

    /// How long a silence its session must survive, in microseconds.
    fn survives_us(&self) -> u64 {
        (self.timeout_us() * 9 / 10).saturating_sub(UNREPORTED_US_MAX)
    }

    /// It sends something to this process of a member.
    fn note_sent(&mut self, now_us: u64, life: u32) {
        self.is_patient &= now_us < self.sent.0 + self.survives_us() && life == self.sent.1;
        self.sent = (now_us, life);
    }

    /// Something that it asked for at this time was answered.
    fn note_heard(&mut self, asked_us: u64) {
        if asked_us > self.heard_us + self.survives_us() {
            self.excused_until_us = asked_us + EXCUSED_US;
        }
        self.heard_us = self.heard_us.max(asked_us);
    }

    fn forget_session(&mut self) {
        self.session = 0;
        self.password = vec![0; 16];
        self.watching = Watching::default();
        self.is_closing = false;
    }
}

impl World {
    /// A client has its turn.
    pub fn client_turn(&mut self, at: usize) {
        let now_us = self.course.now_us;
        let mut wait_us = self.course.random.between(2_000, 20_000);
        let client = &mut self.clients[at];
        if client.silent_until_us > now_us {
            wait_us *= 3;
        } else if client.connection.is_none() {
            wait_us *= 3;
            self.connect(at);
        } else if self.is_timed_out(at) {
            self.disconnect(at, "nothing was heard");
        } else {
            self.use_connection(at);
        }
        self.course.after(wait_us, Event::Client(at));
    }

    fn is_timed_out(&self, at: usize) -> bool {
        let client = &self.clients[at];
        let limit_us = client.timeout_us() * 2 / 3;
        client.connection.as_ref().is_some_and(|connection| {
            let limit_us = if connection.is_up {
                limit_us
            } else {
                limit_us / 2
            };
            self.course.now_us - connection.heard_us > limit_us
        })
    }

    fn connect(&mut self, at: usize) {
        let to = self.choose_member(at);
        let Some(process) = &self.members[to].process else {
            return;
        };
        let shard = self.course.random.index(process.shards.len());
        let now_us = self.course.now_us;
        let client = &mut self.clients[at];
        client.connections += 1;
        let ends = [
            End::Client {
                client: at,
                number: client.connections,
            },
            End::Shard {
                member: to,
                life: self.members[to].life,
                shard,
            },
        ];
        let pipe = self.network.open(ends);
        client.connection = Some(Connection {
            pipe,
            member: to,
            is_up: false,
            input: Vec::new(),
            asked: VecDeque::new(),
            xid: 0,
            sent_us: now_us,
            heard_us: now_us,
        });
        client.note_sent(now_us, self.members[to].life);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: client.seen.0,
            timeout_ms: client.timeout_ms,
            session_id: client.session,
            passwd: Some(&client.password),
            read_only: false,
        };
        let mut frame = vec![0; 4];
        request.encode(&mut frame);
        let length = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.network.send(&mut self.course, pipe, 1, Piece::Opened);
        self.network.send_bytes(&mut self.course, pipe, 1, frame);
    }

    /// While all is well each client keeps to a member, so that every member is asked.
    fn choose_member(&mut self, at: usize) -> usize {
        if self.is_calm {
            at % self.members.len()
        } else {
            self.course.random.index(self.members.len())
        }
    }

    /// Ends a client's connection.
    pub fn disconnect(&mut self, at: usize, why: &str) {
        let client = &mut self.clients[at];
        let Some(connection) = client.connection.take() else {
            return;
        };
        client.watching.disconnected();
        // The connection may take the wish along: nothing more is to be asked of that session.
        if client.is_closing {
            client.forget_session();
        }
        say!(
            self.course,
            "client {at} leaves member {}: {why}",
            connection.member
        );
        self.network
            .send(&mut self.course, connection.pipe, 1, Piece::Closed);
    }

    fn use_connection(&mut self, at: usize) {
        let now_us = self.course.now_us;
        let client = &self.clients[at];
        let Some(connection) = &client.connection else {
            return;
        };
        if !connection.is_up {
            return;
        }
        let is_idle = now_us - connection.sent_us > client.timeout_us() / 4;
        let is_elsewhere = self.is_calm && connection.member != at % self.members.len();
        let has_room = connection.asked.len() < PIPELINE_MAX && !client.is_closing;
        let random = &mut self.course.random;
        if is_elsewhere || random.one_in(250) && !self.is_calm {
            self.disconnect(at, "it moves on");
        } else if random.one_in(1500) && !self.is_calm {
            let client = &mut self.clients[at];
            let span_us = client.timeout_us() + random.below(client.timeout_us());
            client.silent_until_us = now_us + span_us;
            say!(self.course, "client {at} falls silent");
        } else if self.has_requests && random.one_in(800) && has_room {
            self.ask(at, Op::Close);
        } else if is_idle {
            self.ask(at, Op::Ping);
        } else if has_room && self.has_requests && random.one_in(client.pace) {
            let client = &mut self.clients[at];
            client.values += 1;
            let value = client.values;
            let unique = |part: u64| format!("{at}.{value}.{part}").into_bytes();
            let op = if client.only_reads && !self.is_calm {
                Op::any_read(random)
            } else {
                Op::any(random, unique)
            };
            self.ask(at, op);
        }
    }

    fn ask(&mut self, at: usize, op: Op) {
        let client = &mut self.clients[at];
        let Some(connection) = &mut client.connection else {
            return;
        };
        let mut body = Vec::new();
        if let Op::Restore(relative) = op {
            match client.watching.request(relative) {
                Some(request) => request.encode(&mut body),
                None => return,
            }
        }
        let xid = op.reserved_xid().unwrap_or_else(|| {
            connection.xid += 1;
            connection.xid
        });
        client.is_closing |= op == Op::Close;
        let life = self.members[connection.member].life;
        connection.sent_us = self.course.now_us;
        let frame = op.frame(xid, &body);
        connection.asked.push_back(Asked {
            xid,
            op,
            at_us: self.course.now_us,
            acknowledged: self.acknowledged,
            shown: self.shown,
        });
        let pipe = connection.pipe;
        client.note_sent(self.course.now_us, life);
        self.network.send_bytes(&mut self.course, pipe, 1, frame);
    }

    /// Something has come over a client's connection.
    pub fn client_receives(&mut self, at: usize, number: u64, piece: Piece) {
        let client = &mut self.clients[at];
        if client.connections != number {
            return;
        }
        let Some(connection) = &mut client.connection else {
            return;
        };
        match piece {
            Piece::Bytes(bytes) => {
                connection.heard_us = self.course.now_us;
                connection.input.extend_from_slice(&bytes);
                self.take_frames(at);
            }
            Piece::Closed => {
                let (member, was_up) = (connection.member, connection.is_up);
                client.connection = None;
                client.watching.disconnected();
                if client.is_closing {
                    client.forget_session();
                }
                if was_up {
                    say!(
                        self.course,
                        "client {at} is disconnected from member {member}"
                    );
                }
            }
            Piece::Opened | Piece::Message(_) => {}
        }
    }

    fn take_frames(&mut self, at: usize) {
        while let Some(connection) = &mut self.clients[at].connection {
            let input = &mut connection.input;
            let Some(prefix) = input.first_chunk::<4>() else {
                return;
            };
            let length = i32::from_be_bytes(*prefix) as usize + 4;
            if input.len() < length {
                return;
            }
            let rest = input.split_off(length);
            let frame = std::mem::replace(input, rest);
            let is_up = connection.is_up;
            self.course.trace.mix(&frame);
            if is_up {
                self.take_answer(at, &frame[4..]);
            } else {
                self.take_connect_response(at, &frame[4..]);
            }
        }
    }

    fn take_connect_response(&mut self, at: usize, frame: &[u8]) {
        let Ok(response) = ConnectResponse::from_slice(frame) else {
            let what = format!("client {at}: the connect response cannot be read");
            return self.checks.fail(Invariant::ReadsTrue, what);
        };
        if response.session_id == 0 {
            return self.session_is_over(at, "refused");
        }
        let now_us = self.course.now_us;
        let client = &mut self.clients[at];
        let Some(connection) = &mut client.connection else {
            return;
        };
        connection.is_up = true;
        let is_new = client.session == 0;
        self.checks.require(
            is_new || client.session == response.session_id,
            Invariant::Sessions,
            || format!("client {at} gets another's session"),
        );
        client.session = response.session_id;
        client.timeout_ms = response.timeout_ms;
        client.password = response.passwd.unwrap_or_default().to_vec();
        let sent_us = connection.sent_us;
        let (session, member, seen) = (client.session, connection.member, client.seen);
        if is_new {
            client.heard_us = now_us;
            client.excused_until_us = 0;
            client.is_patient = true;
            say!(
                self.course,
                "client {at} has the session {session:x} at member {member}"
            );
        } else {
            say!(
                self.course,
                "client {at} goes on with {session:x} at member {member}"
            );
        }
        client.note_heard(sent_us);
        self.check_is_alive(at);
        self.ask(at, Op::Restore(seen));
    }

    /// A session whose ephemerals are gone must not be gone on with.
    fn check_is_alive(&mut self, at: usize) {
        let client = &self.clients[at];
        let (session, seen) = (client.session, client.seen);
        if let Some(closed) = self.model.closed_at(session)
            && seen >= closed
        {
            let what = format!("client {at} sees {seen} with {session:x}, which ended at {closed}");
            self.checks.fail(Invariant::Sessions, what);
        }
    }

    /// The client is told that its session is over: that must be by its own wish, or because it was
    /// silent for too long.
    fn session_is_over(&mut self, at: usize, how: &str) {
        let now_us = self.course.now_us;
        let client = &mut self.clients[at];
        let silent_us = now_us - client.heard_us;
        let is_due = client.is_closing
            || client.session == 0
            || silent_us >= client.survives_us()
            || now_us <= client.excused_until_us;
        let session = client.session;
        say!(
            self.course,
            "client {at}: its session {session:x} is over: {how}"
        );
        self.checks.require(is_due, Invariant::Sessions, || {
            format!(
                "client {at}: its session {session:x} of {} ms is over after {} ms",
                self.clients[at].timeout_ms,
                silent_us / 1000
            )
        });
        let client = &self.clients[at];
        let is_kept_waiting = self.shape.voters == 1
            && client.sent.1 == self.members[0].life
            && client.is_patient
            && session != 0
            && !client.is_closing;
        self.checks
            .require(!is_kept_waiting, Invariant::Sessions, || {
                format!("client {at}: its session {session:x} is over, and it was never silent")
            });
        self.clients[at].forget_session();
        self.disconnect(at, "its session is over");
    }

    fn take_answer(&mut self, at: usize, frame: &[u8]) {
        let mut from = Decoder::new(frame);
        let Ok(header) = ReplyHeader::decode(&mut from) else {
            let what = format!("client {at}: an answer cannot be read");
            return self.checks.fail(Invariant::ReadsTrue, what);
        };
        if header.xid == op::XID_NOTIFICATION {
            return self.take_notification(at, header.zxid, from.rest());
        }
        let client = &mut self.clients[at];
        let Some(connection) = &mut client.connection else {
            return;
        };
        let asked = connection.asked.pop_front();
        let Some(asked) = asked.filter(|asked| asked.xid == header.xid) else {
            let what = format!("client {at} is answered {} out of turn", header.xid);
            return self.checks.fail(Invariant::SessionOrder, what);
        };
        client.note_heard(asked.at_us);
        let zxid = Zxid(header.zxid);
        self.checks
            .require(zxid >= client.seen, Invariant::SessionOrder, || {
                format!(
                    "client {at} is answered {:?} as of {zxid} and had seen {}",
                    asked.op, client.seen
                )
            });
        client.seen = client.seen.max(zxid);
        self.shown = self.shown.max(zxid);
        let answer = Answer {
            asked: &asked,
            zxid,
            err: header.err,
            body: from.rest(),
            session: client.session,
        };
        if let Err((invariant, what)) = answer.check(&self.model) {
            return self.checks.fail(invariant, format!("client {at}: {what}"));
        }
        if answer.is_refusal() && header.err != ErrorCode::SystemError.code() {
            return self.session_is_over(at, "an answer says so");
        }
        self.after_answer(at, &asked, zxid, header.err);
    }

    fn after_answer(&mut self, at: usize, asked: &Asked, zxid: Zxid, err: i32) {
        if asked.op != Op::Close {
            self.check_is_alive(at);
        }
        let client = &mut self.clients[at];
        let member = client
            .connection
            .as_ref()
            .map(|connection| connection.member);
        if let Op::Restore(relative) = asked.op {
            if let Err(what) = client.watching.restored(&self.model, relative, zxid) {
                let what = format!("client {at}: {what}");
                self.checks.fail(Invariant::Watches, what);
            }
            return;
        }
        if let Some(due) = client.watching.shown(&self.model, zxid) {
            let what = format!("client {at} can see {zxid} and was not told of {due:?}");
            return self.checks.fail(Invariant::Watches, what);
        }
        let ok = err == 0;
        let is_missing = err == ErrorCode::NoNode.code();
        let registers = match &asked.op {
            Op::Exists(path, true) if ok => Some((Registers::Data, path)),
            Op::Exists(path, true) if is_missing => Some((Registers::Exist, path)),
            Op::Get(path, true) if ok => Some((Registers::Data, path)),
            Op::Children(path, true) if ok => Some((Registers::Child, path)),
            Op::AddWatch(path, false) if ok => Some((Registers::Persistent, path)),
            Op::AddWatch(path, true) if ok => Some((Registers::Recursive, path)),
            _ => None,
        };
        if let Some((what, path)) = registers {
            client.watching.add(what, path);
        }
        if asked.op.is_write() && ok {
            self.acknowledged = self.acknowledged.max(zxid);
            self.writes += 1;
            if let Some(member) = member {
                self.wrote_us[member] = self.course.now_us;
            }
        }
        if asked.op == Op::Close {
            say!(self.course, "client {at} has closed its session");
            self.clients[at].forget_session();
            self.disconnect(at, "its session is closed");
        }
    }

    fn take_notification(&mut self, at: usize, zxid: i64, body: &[u8]) {
        let Ok(event) = WatcherEvent::from_slice(body) else {
            let what = format!("client {at}: an event cannot be read");
            return self.checks.fail(Invariant::Watches, what);
        };
        let client = &mut self.clients[at];
        if zxid == -1 {
            return client.watching.notified_of_missed(event.kind, event.path);
        }
        let event = (Zxid(zxid), event.kind, event.path);
        if let Err(what) = client.watching.notified(&self.model, event) {
            let what = format!("client {at}: {what}");
            self.checks.fail(Invariant::Watches, what);
        }
    }
}

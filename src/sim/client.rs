//! A client that speaks the protocol in bytes and checks everything that it is told.

mod receiving;

use std::collections::VecDeque;

use crate::jute::Record;
use crate::jute::proto::ConnectRequest;
use crate::types::Zxid;

use super::ask::{Asked, Op};
use super::course::say;
use super::event::Event;
use super::guard::Users;
use super::network::{End, Piece};
use super::process::{HEARTBEAT_MS, SILENCE_LIMIT_MS, TICK_MS};
use super::watching::Watching;
use super::world::World;

/// A client.
pub struct Client {
    /// Its session; 0 without one.
    pub session: i64,
    password: Vec<u8>,
    timeout_ms: i32,
    /// The newest zxid that it was shown.
    seen: Zxid,
    /// The newest that members without a leader have shown it since: what a leader may take back.
    seen_alone: Zxid,
    connection: Option<Connection>,
    connections: u64,
    values: u64,
    watching: Watching,
    /// It asks for something once in so many of its turns.
    pace: u64,
    tastes: Tastes,
    /// Where its session was opened, if it lives there alone as far as is known.
    home: Option<Home>,
    /// Until when it does nothing at all, in microseconds.
    pub silent_until_us: u64,
    /// When it asked the last thing that was answered, in microseconds.
    heard_us: u64,
    /// Whether it may be told that its session is over although it was heard from: it had been silent for
    /// too long before, and since then no leader has answered it.
    is_excused: bool,
    /// When it last sent something, in microseconds, and to which of a member's processes.
    sent: (u64, u32),
    /// Whether it has never let its timeout pass without something of it arriving since it has its
    /// session.
    is_patient: bool,
    /// Until when some member and it may not hear each other, in microseconds.
    cut_off_until_us: u64,
    /// Whether it has asked to close its session.
    is_closing: bool,
}

/// What a client is like.
#[derive(Clone, Copy)]
pub struct Tastes {
    /// Whether it only reads, until the faults have ended.
    pub only_reads: bool,
    /// Whether it makes do with a member that knows no leader.
    pub makes_do: bool,
    /// Who it proves to be.
    pub users: Users,
}

/// A stretch of time in which a member serves without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Home {
    member: usize,
    life: u32,
    stint: u32,
}

/// A connection to a member.
struct Connection {
    pipe: u64,
    member: usize,
    /// When the client connected.
    home: Home,
    /// Whether only reading is allowed.
    is_read_only: bool,
    /// Who it has proven to be.
    users: Users,
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

impl Client {
    /// A client without a session, which asks for something once in so many of its turns.
    pub fn new(timeout_ms: i32, pace: u64, tastes: Tastes) -> Client {
        Client {
            pace,
            tastes,
            home: None,
            session: 0,
            password: vec![0; 16],
            timeout_ms,
            seen: Zxid::ZERO,
            seen_alone: Zxid::ZERO,
            connection: None,
            connections: 0,
            values: 0,
            watching: Watching::default(),
            silent_until_us: 0,
            heard_us: 0,
            is_excused: false,
            sent: (0, 0),
            is_patient: false,
            cut_off_until_us: 0,
            is_closing: false,
        }
    }

    /// Whether it has a session at this member.
    pub fn is_at(&self, member: usize) -> bool {
        let is_there = |its: &Connection| its.is_up && its.member == member;
        self.connection.as_ref().is_some_and(is_there) && !self.is_closing
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

    /// Until then some member and it may not hear each other.
    pub fn cut_off(&mut self, until_us: u64) {
        self.cut_off_until_us = self.cut_off_until_us.max(until_us);
        self.is_patient = false;
    }

    /// Something that it asked for at this time was answered, perhaps by a leader.
    fn note_heard(&mut self, asked_us: u64, by_leader: bool) {
        let was_silent = asked_us > self.heard_us + self.survives_us();
        self.is_excused = !by_leader && (self.is_excused || was_silent);
        self.heard_us = self.heard_us.max(asked_us);
    }

    fn forget_session(&mut self) {
        self.session = 0;
        self.home = None;
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
        let home = Home {
            member: to,
            life: self.members[to].life,
            stint: process.stint,
        };
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
            home,
            is_read_only: false,
            users: &[],
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
            last_zxid_seen: client.seen.max(client.seen_alone).0,
            timeout_ms: client.timeout_ms,
            session_id: client.session,
            passwd: Some(&client.password),
            read_only: client.tastes.makes_do,
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
        // The connection may take the wish along: nothing more is to be asked of that session. Nor can
        // one that knows no leader go on elsewhere.
        if client.is_closing || connection.is_read_only {
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
        let may_wait = client.watching.is_empty() && connection.asked.is_empty();
        if may_wait && connection.users != client.tastes.users && self.course.random.one_in(5) {
            return self.authenticate(at);
        }
        // Every member's clients have to come to a write.
        let pace = client.pace.min(if self.is_calm { 3 } else { u64::MAX });
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
        } else if has_room && self.has_requests && random.one_in(pace) {
            let is_read_only = connection.is_read_only;
            let client = &mut self.clients[at];
            client.values += 1;
            let value = client.values;
            let unique = |part: u64| format!("{at}.{value}.{part}").into_bytes();
            let op = if is_read_only {
                Op::any_without_leader(random, unique)
            } else if client.tastes.only_reads && !self.is_calm {
                Op::any_read(random)
            } else {
                Op::any(random, unique)
            };
            self.ask(at, op);
        }
    }

    /// A client proves to be who it is.
    fn authenticate(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let users = client.tastes.users;
        if let Some(connection) = &mut client.connection {
            connection.users = users;
        }
        for user in users {
            self.ask(at, Op::Authenticate(*user));
        }
    }

    /// A client asks for something, if it can.
    pub fn ask(&mut self, at: usize, op: Op) {
        let client = &mut self.clients[at];
        let Some(connection) = client.connection.as_mut().filter(|its| its.is_up) else {
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
        if matches!(op, Op::Authenticate(_)) {
            // It is answered at once, out of turn.
            let pipe = connection.pipe;
            client.note_sent(self.course.now_us, life);
            return self.network.send_bytes(&mut self.course, pipe, 1, frame);
        }
        connection.asked.push_back(Asked {
            xid,
            op,
            at_us: self.course.now_us,
            users: connection.users,
            shown: self.shown,
        });
        let pipe = connection.pipe;
        client.note_sent(self.course.now_us, life);
        self.network.send_bytes(&mut self.course, pipe, 1, frame);
    }
}

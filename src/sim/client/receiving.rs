//! What comes over a client's connection.

use crate::jute::proto::{ConnectResponse, ReplyHeader, WatcherEvent};
use crate::jute::{Decoder, Record, op};
use crate::sequencer::LocalSessions;
use crate::sim::answer::{Answer, REFUSALS};
use crate::sim::ask::{Asked, Op};
use crate::sim::checks::Invariant;
use crate::sim::course::say;
use crate::sim::network::Piece;
use crate::sim::watching::Registers;
use crate::sim::world::World;
use crate::types::{ErrorCode, Zxid};

impl World {
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
                let is_read_only = connection.is_read_only;
                client.connection = None;
                client.watching.disconnected();
                if client.is_closing || is_read_only {
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
        let (now_us, local_sessions) = (self.course.now_us, self.leniency.local_sessions);
        let client = &mut self.clients[at];
        let Some(connection) = &mut client.connection else {
            return;
        };
        connection.is_up = true;
        connection.is_read_only = response.read_only;
        let is_new = client.session == 0;
        self.checks.require(
            is_new || client.session == response.session_id,
            Invariant::Sessions,
            || format!("client {at} gets another's session"),
        );
        client.session = response.session_id;
        client.timeout_ms = response.timeout_ms;
        client.password = response.passwd.unwrap_or_default().to_vec();
        let process = self.members[connection.member].process.as_ref();
        let is_taken_back = process.is_some_and(|process| client.seen_alone <= process.seen);
        if is_taken_back {
            // A leader has begun an epoch since, and what is beyond this member's log was none of it.
            client.seen_alone = Zxid::ZERO;
        }
        let sent_us = connection.sent_us;
        let is_local = response.read_only || local_sessions != LocalSessions::Disabled;
        if is_new && is_local {
            client.home = Some(connection.home);
        }
        let (session, member, seen) = (client.session, connection.member, client.seen);
        if is_new {
            client.heard_us = now_us;
            client.is_excused = false;
            client.is_patient = now_us >= client.cut_off_until_us;
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
        client.note_heard(sent_us, !response.read_only);
        self.check_is_alive(at);
        // Who has no watches may say later who it is: which of them fire for it depends on that.
        let has_watches = !self.clients[at].watching.is_empty();
        if has_watches || !self.course.random.one_in(4) {
            self.authenticate(at);
        }
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
        let is_stranded = self.is_stranded(at);
        let client = &mut self.clients[at];
        let silent_us = now_us - client.heard_us;
        let is_due = client.is_closing
            || client.session == 0
            || is_stranded
            || silent_us >= client.survives_us()
            || client.is_excused;
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
            && !is_stranded
            && session != 0
            && !client.is_closing;
        self.checks
            .require(!is_kept_waiting, Invariant::Sessions, || {
                format!("client {at}: its session {session:x} is over, and it was never silent")
            });
        self.clients[at].forget_session();
        self.disconnect(at, "its session is over");
    }

    /// Whether a client has a session that lives, as far as is known, on one member alone, and that
    /// is another one than the client is connected to, or has had a break since.
    fn is_stranded(&self, at: usize) -> bool {
        let client = &self.clients[at];
        let (Some(home), Some(connection)) = (client.home, &client.connection) else {
            return false;
        };
        let member = &self.members[home.member];
        let stint = member.process.as_ref().map(|process| process.stint);
        connection.member != home.member || (member.life, stint) != (home.life, Some(home.stint))
    }

    fn take_answer(&mut self, at: usize, frame: &[u8]) {
        let mut from = Decoder::new(frame);
        let Ok(header) = ReplyHeader::decode(&mut from) else {
            let what = format!("client {at}: an answer cannot be read");
            return self.checks.fail(Invariant::ReadsTrue, what);
        };
        if header.xid == op::XID_AUTH {
            let is_proven = header.err == 0;
            return self
                .checks
                .require(is_proven, Invariant::AccessControl, || {
                    format!("client {at} is not who it is: code {}", header.err)
                });
        }
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
        let is_read_only = connection.is_read_only;
        let needs_leader = asked.op.is_write() || matches!(asked.op, Op::Sync(_));
        let is_refused = REFUSALS.contains(&header.err);
        client.note_heard(asked.at_us, needs_leader && !is_read_only && !is_refused);
        let zxid = Zxid(header.zxid);
        let seen = if is_read_only {
            client.seen.max(client.seen_alone)
        } else {
            client.seen
        };
        self.checks
            .require(zxid >= seen, Invariant::SessionOrder, || {
                format!(
                    "client {at} is answered {:?} as of {zxid} and had seen {seen}",
                    asked.op
                )
            });
        if is_read_only {
            client.seen_alone = seen.max(zxid);
        } else {
            client.seen = seen.max(zxid);
            client.seen_alone = Zxid::ZERO;
            self.shown = self.shown.max(zxid);
        }
        let answer = Answer {
            asked: &asked,
            zxid,
            err: header.err,
            body: from.rest(),
            session: client.session,
            local_sessions: self.leniency.local_sessions,
        };
        let checked = if is_read_only {
            answer.check_without_leader(&self.model)
        } else {
            answer.check(&self.model)
        };
        if let Err((invariant, what)) = checked {
            return self.checks.fail(invariant, format!("client {at}: {what}"));
        }
        if answer.is_refusal() && header.err != ErrorCode::SystemError.code() {
            let how = format!("{:?} is answered {}", asked.op, header.err);
            return self.session_is_over(at, &how);
        }
        self.after_answer(at, &asked, zxid, header.err);
    }

    fn after_answer(&mut self, at: usize, asked: &Asked, zxid: Zxid, err: i32) {
        if asked.op != Op::Close {
            self.check_is_alive(at);
        }
        if asked.op.is_write() && err == ErrorCode::SystemError.code() {
            self.write_refused();
        }
        let client = &mut self.clients[at];
        let connection = client.connection.as_ref();
        let is_read_only = connection.is_some_and(|connection| connection.is_read_only);
        let member = connection.map(|connection| connection.member);
        let users = connection.map_or(&[][..], |connection| connection.users);
        if let Op::Restore(relative) = asked.op {
            if let Err(what) = client.watching.restored(&self.model, relative, zxid) {
                let what = format!("client {at}: {what}");
                self.checks.fail(Invariant::Watches, what);
            }
            return;
        }
        if is_read_only {
            // Nothing changes that could be watched.
        } else if let Some(due) = client.watching.shown(&self.model, zxid, users) {
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
        if asked.op.makes_ephemeral() && ok {
            client.home = None;
        }
        if asked.op.is_write() && ok {
            self.writes += 1;
            // Nothing is logged of a multi that failed, nor of the end of a session that one member alone
            // knows.
            let is_logged = !matches!(asked.op, Op::Close | Op::Multi(_));
            if let Some(member) = member.filter(|_| is_logged) {
                self.wrote_us[member] = self.course.now_us;
                self.refused_since_us = None;
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
        let connection = client.connection.as_ref();
        let users = connection.map_or(&[][..], |connection| connection.users);
        if let Err(what) = client.watching.notified(&self.model, event, users) {
            let what = format!("client {at}: {what}");
            self.checks.fail(Invariant::Watches, what);
        }
    }
}

//! One session as a state machine: bytes and times in, bytes out. It owns no socket and no clock.
//!
//! The driver calls [`Connection::handle_open`] when the socket is connected,
//! [`Connection::handle_input`] with what it reads, [`Connection::fill`] to keep the pipeline
//! full, [`Connection::handle_tick`] now and then, and writes what [`Connection::output`] shows.
//! Replies must come in the order of the requests; anything else is an error that ends it.

use std::collections::VecDeque;

use crate::jute::proto::ReplyHeader;
use crate::jute::{Decoder, Record, op};
use crate::types::ErrorCode;

use super::error::ProtocolError;
use super::frame::Frames;
use super::recorder::Recorder;
use super::request::{Granted, Requests, Verdict, append_bare, append_connect, read_connect};
use super::workload::{Generator, Mix, Operation, Step};

/// The part of the session's timeout after which a silent connection pings.
const PING_FRACTION: u64 = 3;

/// What all connections of a run have in common.
#[derive(Debug)]
pub struct Plan {
    /// The operations and their weights.
    pub mix: Mix,
    /// The znodes.
    pub requests: Requests,
    /// How many prepared keys there are.
    pub keys: u32,
    /// Requests outstanding on each connection, at least 1.
    pub depth: usize,
    /// The session timeout to ask for, in milliseconds.
    pub session_timeout_ms: u32,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The socket is not connected yet.
    Unconnected,
    /// The connect request is under way.
    Handshake,
    /// The directory for the connection's own znodes is being made.
    Directory,
    /// Requests may be sent.
    Ready,
    /// The close request is under way.
    Closing,
    /// The server confirmed the close.
    Closed,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    step: Step,
    xid: i32,
    sent_ns: u64,
}

/// One session of the load.
#[derive(Debug)]
pub struct Connection {
    state: State,
    generator: Generator,
    frames: Frames,
    out: Vec<u8>,
    out_sent: usize,
    pending: VecDeque<Pending>,
    next_xid: i32,
    own_prefix: String,
    ping_after_ns: u64,
    last_sent_ns: u64,
}

impl Connection {
    /// A connection that will make the requests of `generator`.
    pub fn new(generator: Generator, plan: &Plan) -> Connection {
        Connection {
            state: State::Unconnected,
            generator,
            frames: Frames::default(),
            out: Vec::new(),
            out_sent: 0,
            pending: VecDeque::with_capacity(plan.depth),
            next_xid: 1,
            own_prefix: String::new(),
            ping_after_ns: u64::MAX,
            last_sent_ns: 0,
        }
    }

    /// Where the connection stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// What is to be written to the socket.
    pub fn output(&self) -> &[u8] {
        &self.out[self.out_sent..]
    }

    /// The socket took `count` bytes of [`Connection::output`].
    pub fn consume_output(&mut self, count: usize) {
        self.out_sent += count;
        assert!(self.out_sent <= self.out.len(), "no more than was offered");
        if self.out_sent == self.out.len() {
            self.out.clear();
            self.out_sent = 0;
        }
    }

    /// The socket is connected: asks for a session.
    pub fn handle_open(&mut self, plan: &Plan, now_ns: u64) {
        assert_eq!(self.state, State::Unconnected);
        append_connect(plan.session_timeout_ms, &mut self.out);
        self.state = State::Handshake;
        self.last_sent_ns = now_ns;
    }

    /// Bytes came, read at `now_ns`.
    pub fn handle_input(
        &mut self,
        bytes: &[u8],
        plan: &Plan,
        recorder: &mut Recorder,
        now_ns: u64,
    ) -> Result<(), ProtocolError> {
        let mut frames = std::mem::take(&mut self.frames);
        let fed = frames.feed(bytes, |frame| {
            self.handle_frame(frame, plan, recorder, now_ns)
        });
        self.frames = frames;
        fed
    }

    /// Sends as many requests as the pipeline takes, if the session is ready.
    pub fn fill(&mut self, plan: &Plan, now_ns: u64) {
        if self.state != State::Ready {
            return;
        }
        while self.pending.len() < plan.depth {
            let step = self.generator.next(&plan.mix, plan.keys);
            let xid = self.take_xid();
            plan.requests
                .append(step, &self.own_prefix, xid, &mut self.out);
            self.pending.push_back(Pending {
                step,
                xid,
                sent_ns: now_ns,
            });
            self.last_sent_ns = now_ns;
        }
    }

    /// Pings where nothing was sent for a third of the session's timeout.
    pub fn handle_tick(&mut self, now_ns: u64) {
        let silent_ns = now_ns.saturating_sub(self.last_sent_ns);
        if self.state == State::Ready && silent_ns >= self.ping_after_ns {
            append_bare(op::PING, op::XID_PING, &mut self.out);
            self.last_sent_ns = now_ns;
        }
    }

    /// Asks for the session's end once every request is answered; call [`Connection::fill`] no
    /// more. Does nothing while requests are outstanding or when it is done already.
    pub fn close_when_idle(&mut self) {
        match self.state {
            State::Ready if self.pending.is_empty() => {
                append_bare(op::CLOSE_SESSION, self.next_xid, &mut self.out);
                self.state = State::Closing;
            }
            // Nothing has been promised to a server that has not granted a session.
            State::Unconnected => self.state = State::Closed,
            _ => {}
        }
    }

    /// The socket is gone or given up: reports what is outstanding as lost with `code`, and
    /// starts over with the requests that come next.
    pub fn reset(&mut self, recorder: &mut Recorder, code: ErrorCode, now_ns: u64) {
        for pending in self.pending.drain(..) {
            recorder.lost(pending.step.operation, code, now_ns);
        }
        self.frames.clear();
        self.out.clear();
        self.out_sent = 0;
        self.generator.forget_created();
        self.state = State::Unconnected;
    }

    fn handle_frame(
        &mut self,
        frame: &[u8],
        plan: &Plan,
        recorder: &mut Recorder,
        now_ns: u64,
    ) -> Result<(), ProtocolError> {
        if self.state == State::Handshake {
            self.handle_granted(read_connect(frame)?, plan);
            return Ok(());
        }
        let mut from = Decoder::new(frame);
        let header = ReplyHeader::decode(&mut from)?;
        if matches!(header.xid, op::XID_PING | op::XID_NOTIFICATION) {
            return Ok(());
        }
        match self.state {
            State::Directory if header.err == 0 => {
                self.state = State::Ready;
                Ok(())
            }
            State::Directory => Err(ProtocolError::DirectoryRefused(header.err)),
            State::Closing => {
                self.state = State::Closed;
                Ok(())
            }
            _ => self.handle_reply(&header, from.rest(), plan, recorder, now_ns),
        }
    }

    fn handle_granted(&mut self, granted: Granted, plan: &Plan) {
        self.ping_after_ns = u64::from(granted.timeout_ms) * 1_000_000 / PING_FRACTION;
        if plan.mix.contains(Operation::Create) || plan.mix.contains(Operation::Delete) {
            let directory = plan.requests.own_directory(granted.session_id);
            let xid = self.take_xid();
            plan.requests
                .append_create(&directory, &[], xid, &mut self.out);
            self.own_prefix = directory + "/n";
            self.state = State::Directory;
        } else {
            self.state = State::Ready;
        }
    }

    fn handle_reply(
        &mut self,
        header: &ReplyHeader,
        body: &[u8],
        plan: &Plan,
        recorder: &mut Recorder,
        now_ns: u64,
    ) -> Result<(), ProtocolError> {
        let pending = match self.pending.front() {
            Some(&pending) if pending.xid == header.xid => pending,
            due => {
                return Err(ProtocolError::OutOfOrder {
                    expected: due.map(|pending| pending.xid),
                    got: header.xid,
                });
            }
        };
        self.pending.pop_front();
        let step = pending.step;
        let verdict = match header.err {
            0 => plan.requests.judge(step, &self.own_prefix, body),
            code => Verdict::Refused(code),
        };
        recorder.answered(step.operation, verdict, pending.sent_ns, now_ns);
        Ok(())
    }

    fn take_xid(&mut self) -> i32 {
        let xid = self.next_xid;
        // Negative numbers are reserved.
        self.next_xid = if xid == i32::MAX { 1 } else { xid + 1 };
        xid
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::Window;
    use super::super::request::{Sizes, framed};
    use super::super::testing::Responder;
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn plan(mix: &str) -> Plan {
        let sizes = Sizes {
            value: 100,
            keys: 10,
            children: 4,
            multi: 2,
        };
        Plan {
            mix: mix.parse().expect("a valid mix"),
            requests: Requests::new("/bench", sizes),
            keys: sizes.keys,
            depth: 4,
            session_timeout_ms: 30_000,
        }
    }

    fn recorder() -> Recorder {
        Recorder::new(Window {
            start_ns: 0,
            end_ns: u64::MAX,
        })
    }

    /// Passes bytes between the connection and a responder, as a driver would.
    fn exchange(connection: &mut Connection, server: &mut Responder, plan: &Plan, now_ns: u64) {
        let mut answers = Vec::new();
        server.respond(connection.output(), &mut answers);
        let sent = connection.output().len();
        connection.consume_output(sent);
        connection
            .handle_input(&answers, plan, &mut recorder(), now_ns)
            .expect("a valid answer");
    }

    #[test]
    fn a_session_lives_and_ends() {
        let plan = plan("create");
        let mut server = Responder::default();
        let mut connection = Connection::new(Generator::new(1, 0), &plan);
        connection.handle_open(&plan, 0);
        exchange(&mut connection, &mut server, &plan, 1);
        assert_eq!(connection.state(), State::Directory);
        exchange(&mut connection, &mut server, &plan, 2);
        assert_eq!(connection.state(), State::Ready);

        connection.handle_tick(9 * SECOND_NS);
        assert!(connection.output().is_empty());
        connection.handle_tick(10 * SECOND_NS + 2);
        assert!(!connection.output().is_empty());
        exchange(&mut connection, &mut server, &plan, 11 * SECOND_NS);

        connection.fill(&plan, 12 * SECOND_NS);
        assert_eq!(connection.pending.len(), 4);
        connection.close_when_idle();
        assert_eq!(connection.state(), State::Ready);
        exchange(&mut connection, &mut server, &plan, 13 * SECOND_NS);
        connection.close_when_idle();
        assert_eq!(connection.state(), State::Closing);
        exchange(&mut connection, &mut server, &plan, 14 * SECOND_NS);
        assert_eq!(connection.state(), State::Closed);
    }

    #[test]
    fn every_operation_is_answered_and_timed() {
        let mix = "get,set,create,delete,exists,getChildren,multi,sync";
        let plan = plan(mix);
        let mut server = Responder::prepared(&plan.requests, 10, 4);
        let mut recorder = recorder();
        let mut connection = Connection::new(Generator::new(3, 0), &plan);
        connection.handle_open(&plan, 0);
        exchange(&mut connection, &mut server, &plan, 1);
        exchange(&mut connection, &mut server, &plan, 2);
        for round in 0..1_000 {
            connection.fill(&plan, round * 100);
            let mut answers = Vec::new();
            server.respond(connection.output(), &mut answers);
            let sent = connection.output().len();
            connection.consume_output(sent);
            connection
                .handle_input(&answers, &plan, &mut recorder, round * 100 + 50)
                .expect("valid answers");
        }
        let mut count = 0;
        for operation in Operation::ALL {
            let tally = recorder.tally(operation);
            assert!(tally.latency_ns.len() > 100, "{}", operation.name());
            assert_eq!((tally.latency_ns.min(), tally.latency_ns.max()), (50, 50));
            assert_eq!(
                (tally.errors.len(), tally.wrong),
                (0, 0),
                "{}",
                operation.name()
            );
            count += tally.latency_ns.len();
        }
        assert_eq!(count, 4_000);
    }

    #[test]
    fn replies_out_of_order_end_it() {
        let plan = plan("get");
        let mut server = Responder::default();
        let mut connection = Connection::new(Generator::new(1, 0), &plan);
        connection.handle_open(&plan, 0);
        exchange(&mut connection, &mut server, &plan, 1);
        assert_eq!(connection.state(), State::Ready);
        connection.fill(&plan, 2);
        let mut reply = Vec::new();
        let header = ReplyHeader {
            xid: 2,
            ..ReplyHeader::default()
        };
        framed(&mut reply, |out| header.encode(out));
        let mut recorder = recorder();
        assert_eq!(
            connection.handle_input(&reply, &plan, &mut recorder, 3),
            Err(ProtocolError::OutOfOrder {
                expected: Some(1),
                got: 2
            })
        );
        connection.reset(&mut recorder, ErrorCode::ConnectionLoss, 4);
        let errors = &recorder.tally(Operation::Get).errors;
        assert_eq!(errors.get(&ErrorCode::ConnectionLoss.code()), Some(&4));
        assert_eq!(connection.state(), State::Unconnected);
    }
}

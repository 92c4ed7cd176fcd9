//! One session as a state machine: bytes and times in, bytes out. It owns no socket and no clock.
//!
//! The driver calls [`Connection::handle_open`] when the socket is connected,
//! [`Connection::handle_input`] with what it reads, [`Connection::fill`] to keep the pipeline
//! full, [`Connection::handle_tick`] now and then, and writes what [`Connection::output`] shows.
//! Replies must come in the order of the requests; anything else is an error that ends it.

use std::collections::VecDeque;

use crate::jute::proto::{ReplyHeader, WatcherEvent};
use crate::jute::{Decoder, Record, op};
use crate::types::ErrorCode;

use super::actor::Actor;
use super::error::ProtocolError;
use super::frame::Frames;
use super::operation::Operation;
use super::pace::Pace;
use super::recorder::Recorder;
use super::request::{Granted, Requests, Verdict, append_bare, append_connect, read_connect};
use super::workload::Step;

/// The part of the session's timeout after which a silent connection pings.
const PING_FRACTION: u64 = 3;

/// What all connections of a run have in common.
#[derive(Debug)]
pub struct Plan {
    /// Requests outstanding on each connection, at least 1; in an open loop at most.
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
    /// The socket is to be cut and a new one connected ([`Connection::handle_cut`]).
    Cut,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    step: Step,
    xid: i32,
    from_ns: u64,
}

/// One session of the load.
#[derive(Debug)]
pub struct Connection {
    state: State,
    actor: Box<dyn Actor>,
    /// The intended times of an open loop.
    pace: Option<Pace>,
    frames: Frames,
    out: Vec<u8>,
    out_sent: usize,
    pending: VecDeque<Pending>,
    /// A reconnect or renewal that waits for all replies, or is under way.
    of_session: Option<(Operation, u64)>,
    session: Option<Granted>,
    last_zxid: i64,
    next_xid: i32,
    ping_after_ns: u64,
    last_sent_ns: u64,
}

impl Connection {
    /// A connection that does what `actor` says.
    pub fn new(actor: Box<dyn Actor>) -> Connection {
        Connection {
            state: State::Unconnected,
            actor,
            pace: None,
            frames: Frames::default(),
            out: Vec::new(),
            out_sent: 0,
            pending: VecDeque::new(),
            of_session: None,
            session: None,
            last_zxid: 0,
            next_xid: 1,
            ping_after_ns: u64::MAX,
            last_sent_ns: 0,
        }
    }

    /// Whether its actor goes on when others have done something.
    pub fn waits_for_others(&self) -> bool {
        self.actor.waits_for_others()
    }

    /// From now on requests are sent at given times.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = Some(pace);
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

    /// The socket is connected: asks for a session, or for the one that it had.
    pub fn handle_open(&mut self, plan: &Plan, now_ns: u64) {
        assert_eq!(self.state, State::Unconnected);
        let resumed = self
            .session
            .as_ref()
            .map(|granted| (granted, self.last_zxid));
        append_connect(plan.session_timeout_ms, resumed, &mut self.out);
        self.state = State::Handshake;
        self.last_sent_ns = now_ns;
    }

    /// The socket was cut, as [`State::Cut`] asks; what is connected next opens the session again.
    pub fn handle_cut(&mut self) {
        assert_eq!(self.state, State::Cut);
        self.frames.clear();
        self.state = State::Unconnected;
    }

    /// Bytes came, read at `now_ns`.
    pub fn handle_input(
        &mut self,
        bytes: &[u8],
        recorder: &mut Recorder,
        now_ns: u64,
    ) -> Result<(), ProtocolError> {
        let mut frames = std::mem::take(&mut self.frames);
        let fed = frames.feed(bytes, |frame| self.handle_frame(frame, recorder, now_ns));
        self.frames = frames;
        fed
    }

    /// Sends as many requests as the pipeline takes, if the session is ready: in a closed loop
    /// before `end_ns`, in an open loop those that were due by now and before `end_ns`.
    pub fn fill(&mut self, plan: &Plan, recorder: &mut Recorder, now_ns: u64, end_ns: u64) {
        while self.state == State::Ready
            && self.pending.len() < plan.depth
            && self.of_session.is_none()
            && let Some(from_ns) = self.due_ns(now_ns, end_ns)
        {
            let xid = self.next_xid;
            let Some(step) = self.actor.next(xid, now_ns, &mut self.out) else {
                break;
            };
            if let Some(pace) = &mut self.pace {
                pace.advance();
                recorder.sent(from_ns, now_ns);
            }
            if step.operation.is_of_session() {
                self.of_session = Some((step.operation, from_ns));
                break;
            }
            let xid = match step.operation {
                Operation::Ping => op::XID_PING,
                _ => self.take_xid(),
            };
            self.pending.push_back(Pending { step, xid, from_ns });
            self.last_sent_ns = now_ns;
        }
        self.leave_when_idle();
    }

    /// The time from which the next request counts, if it may be sent now.
    fn due_ns(&self, now_ns: u64, end_ns: u64) -> Option<u64> {
        let from_ns = self.pace.map_or(now_ns, |pace| pace.next_ns());
        (from_ns <= now_ns && from_ns < end_ns).then_some(from_ns)
    }

    /// Starts the reconnect or renewal that waits, once nothing is outstanding.
    fn leave_when_idle(&mut self) {
        if self.state != State::Ready || !self.pending.is_empty() || !self.output().is_empty() {
            return;
        }
        match self.of_session {
            Some((Operation::Renew, _)) => {
                append_bare(op::CLOSE_SESSION, self.next_xid, &mut self.out);
                self.state = State::Closing;
            }
            Some(_) => self.state = State::Cut,
            None => {}
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

    /// Asks for the session's end once every request is answered and, in an open loop, all that
    /// were due before `end_ns` are sent. Does nothing before that or when it is done already.
    pub fn close_when_idle(&mut self, end_ns: u64) {
        let has_backlog = self.pace.is_some_and(|pace| pace.next_ns() < end_ns);
        match self.state {
            State::Ready
                if self.pending.is_empty() && self.of_session.is_none() && !has_backlog =>
            {
                append_bare(op::CLOSE_SESSION, self.next_xid, &mut self.out);
                self.state = State::Closing;
            }
            // Nothing has been promised to a server that has not granted a session.
            State::Unconnected if self.of_session.is_none() && !has_backlog => {
                self.state = State::Closed;
            }
            _ => {}
        }
    }

    /// The socket is gone: reports what is outstanding as lost with `code`, and starts over with
    /// the requests that come next, in a new session.
    pub fn reset(&mut self, recorder: &mut Recorder, code: ErrorCode, now_ns: u64) {
        for pending in self.pending.drain(..) {
            recorder.lost(pending.step.operation, code, pending.from_ns, now_ns);
        }
        if let Some((operation, from_ns)) = self.of_session.take() {
            recorder.lost(operation, code, from_ns, now_ns);
        }
        self.frames.clear();
        self.out.clear();
        self.out_sent = 0;
        self.session = None;
        self.state = State::Unconnected;
    }

    /// The run is over: reports what is outstanding, and what was due before `end_ns` and never
    /// sent, as timed out.
    pub fn give_up(&mut self, recorder: &mut Recorder, now_ns: u64, end_ns: u64) {
        self.reset(recorder, ErrorCode::OperationTimeout, now_ns);
        let mut unheard = Vec::new();
        while let Some(from_ns) = self.pace.map(|pace| pace.next_ns())
            && from_ns < end_ns
            && let Some(step) = self.actor.next(self.next_xid, now_ns, &mut unheard)
        {
            let code = ErrorCode::OperationTimeout;
            recorder.sent(from_ns, now_ns);
            recorder.lost(step.operation, code, from_ns, now_ns);
            unheard.clear();
            self.pace.iter_mut().for_each(Pace::advance);
        }
        self.pace = None;
    }

    fn handle_frame(
        &mut self,
        frame: &[u8],
        recorder: &mut Recorder,
        now_ns: u64,
    ) -> Result<(), ProtocolError> {
        if self.state == State::Handshake {
            self.handle_granted(read_connect(frame)?, recorder, now_ns);
            return Ok(());
        }
        let mut from = Decoder::new(frame);
        let header = ReplyHeader::decode(&mut from)?;
        self.last_zxid = self.last_zxid.max(header.zxid);
        if header.xid == op::XID_NOTIFICATION {
            let event = WatcherEvent::decode(&mut from)?;
            // The end of a session removes its ephemerals, and it is told of those that it watches.
            if self.state != State::Closing {
                self.actor.notified(&event, recorder, now_ns);
            }
            return Ok(());
        }
        let is_due = self
            .pending
            .front()
            .is_some_and(|due| due.xid == op::XID_PING);
        if header.xid == op::XID_PING && !is_due {
            return Ok(());
        }
        match self.state {
            State::Directory if header.err == 0 => {
                self.state = State::Ready;
                self.finish_of_session(recorder, now_ns);
                Ok(())
            }
            State::Directory => Err(ProtocolError::DirectoryRefused(header.err)),
            State::Closing if self.of_session.is_some() => {
                self.session = None;
                self.state = State::Cut;
                Ok(())
            }
            State::Closing => {
                self.state = State::Closed;
                Ok(())
            }
            _ => self.handle_reply(&header, from.rest(), recorder, now_ns),
        }
    }

    fn handle_granted(&mut self, granted: Granted, recorder: &mut Recorder, now_ns: u64) {
        self.ping_after_ns = u64::from(granted.timeout_ms) * 1_000_000 / PING_FRACTION;
        let is_known = self
            .session
            .is_some_and(|known| known.session_id == granted.session_id);
        self.session = Some(granted);
        self.state = State::Ready;
        if !is_known && let Some(directory) = self.actor.begin(granted.session_id) {
            let xid = self.take_xid();
            Requests::append_directory(&directory, xid, &mut self.out);
            self.state = State::Directory;
            return;
        }
        self.finish_of_session(recorder, now_ns);
    }

    /// The session is there again, as a reconnect or a renewal wanted.
    fn finish_of_session(&mut self, recorder: &mut Recorder, now_ns: u64) {
        if let Some((operation, from_ns)) = self.of_session.take() {
            recorder.answered(operation, Verdict::Right, from_ns, now_ns);
        }
    }

    fn handle_reply(
        &mut self,
        header: &ReplyHeader,
        body: &[u8],
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
        let reply = match header.err {
            0 => Ok(body),
            code => Err(code),
        };
        let verdict = self.actor.judge(step, reply, recorder, now_ns);
        recorder.answered(step.operation, verdict, pending.from_ns, now_ns);
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
mod tests;

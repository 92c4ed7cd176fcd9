//! A client's session as a state machine (Apache's `ClientCnxn` without its threads and sockets).
//!
//! Bytes and the passing of time come in by `handle_*`, requests by [`Session::submit`]; bytes to
//! send, deadlines and events leave by [`Session::take_output`], [`Session::deadline_ms`] and
//! [`Session::poll_event`]. Times are milliseconds of any clock that does not go backwards.
//!
//! Requests wait until a server has accepted the session and are answered in their order. When the
//! connection goes, every request that has no answer fails: whether it took effect is unknown.

mod chroot;
mod frame;
mod request;

use std::collections::{BTreeSet, VecDeque};

use crate::jute::proto::{AuthPacket, ConnectRequest, ReplyHeader, RequestHeader, WatcherEvent};
use crate::jute::{Decoder, JuteError, Record, op};
use crate::types::{ErrorCode, SessionId};

use super::event::{EventKind, KeeperState, State, WatchedEvent, Watcher};
use super::rewatch;
use super::watches::WatchManager;

pub use chroot::{client_path, server_path};
pub use frame::FRAME_BYTES_MAX;
use frame::{push_frame, split_frame};
pub use request::{Delivery, Deregistration, Registration, Reply, Request, WatchChange};

/// Milliseconds after which a ping is sent although the timeout would not ask for one.
const PING_INTERVAL_MS_MAX: u64 = 10_000;

/// How a session is set up.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Session timeout to ask for, in milliseconds.
    pub timeout_ms: i32,
    /// Whether a server cut off from its quorum will do.
    pub can_be_read_only: bool,
    /// The path that stands before every path; `None` for the root.
    pub chroot: Option<String>,
    /// Number of servers, at least 1: each gets its share of the timeout to answer.
    pub servers: u32,
    /// Do not register watches again after a reconnect (`zookeeper.disableAutoWatchReset`).
    pub disable_watch_reset: bool,
    /// Called for every change of the session's state.
    pub default_watcher: Option<Watcher>,
}

/// Why a connection must be given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The server said nothing for too long.
    #[error("the server was silent for {0} ms")]
    ConnectionTimedOut(u64),
    /// No server was heard for so long that the session is gone.
    #[error("no server was heard for {0} ms: the session is lost")]
    SessionTimedOut(u64),
    /// The server no longer knows the session.
    #[error("session {0} has expired")]
    Expired(SessionId),
    /// The server refused an identity.
    #[error("the server refused the authentication")]
    AuthFailed,
    /// The server sent a length that is negative or beyond [`FRAME_BYTES_MAX`].
    #[error("frame length {0} is out of range")]
    FrameLength(i32),
    /// The server sent something that is not a reply.
    #[error("malformed reply: {0}")]
    Malformed(#[from] JuteError),
    /// The server answered another request than the oldest.
    #[error("reply has xid {got} where {want:?} was expected")]
    Xid {
        /// Xid of the reply.
        got: i32,
        /// Xid of the oldest request without an answer, if there is one.
        want: Option<i32>,
    },
    /// The server sent an event that the protocol does not have.
    #[error("event of type {kind} and state {state} is unknown")]
    UnknownEvent {
        /// Type of the event.
        kind: i32,
        /// State that the event carries.
        state: i32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    /// No connection.
    Down,
    /// The transport tries to connect.
    Connecting,
    /// The connect request was sent.
    Handshake,
    /// A server has accepted the session.
    Up,
}

/// The session of one client.
pub struct Session {
    config: SessionConfig,
    state: State,
    link: Link,
    closing: bool,
    id: SessionId,
    password: Vec<u8>,
    last_zxid: i64,
    seen_rw_server: bool,
    negotiated_timeout_ms: i32,
    xid: i32,
    auth: Vec<(String, Option<Vec<u8>>)>,
    watches: WatchManager,
    waiting: VecDeque<Request>,
    pending: VecDeque<(i32, Request)>,
    input: Vec<u8>,
    output: Vec<u8>,
    events: VecDeque<Delivery>,
    /// State in the last event that was queued: a change to the same is not told again.
    told_state: KeeperState,
    last_send_ms: u64,
    last_heard_ms: u64,
}

impl Session {
    /// A session that no server has accepted yet.
    pub fn new(config: SessionConfig, now_ms: u64) -> Session {
        assert!(config.servers > 0, "a connect string names a server");
        Session {
            negotiated_timeout_ms: config.timeout_ms,
            config,
            state: State::Connecting,
            link: Link::Down,
            closing: false,
            id: SessionId::NONE,
            password: vec![0; 16],
            last_zxid: 0,
            seen_rw_server: false,
            xid: 0,
            auth: Vec::new(),
            watches: WatchManager::default(),
            waiting: VecDeque::new(),
            pending: VecDeque::new(),
            input: Vec::new(),
            output: Vec::new(),
            events: VecDeque::new(),
            told_state: KeeperState::Disconnected,
            last_send_ms: now_ms,
            last_heard_ms: now_ms,
        }
    }

    /// State of the session.
    pub fn state(&self) -> State {
        self.state
    }

    /// The session's id, or none while no server has accepted it.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The session's password, with which another connection may take it over.
    pub fn password(&self) -> &[u8] {
        &self.password
    }

    /// The timeout that the server granted, in milliseconds; before that the one asked for.
    pub fn timeout_ms(&self) -> i32 {
        self.negotiated_timeout_ms
    }

    /// The last zxid seen.
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// Whether a server has accepted the session on the present connection.
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// Whether there is nothing more to do for the transport: the session is gone for good, or is
    /// to be closed and no server has been asked for it on the present connection.
    pub fn is_over(&self) -> bool {
        let asked = matches!(self.link, Link::Handshake | Link::Up);
        !self.state.is_alive() || (self.closing && !asked)
    }

    /// The path as the server names it.
    pub fn server_path(&self, client_path: &str) -> String {
        server_path(self.config.chroot.as_deref(), client_path)
    }

    /// Takes a request. It is sent once a server has accepted the session, and fails at once when
    /// the session is closed.
    pub fn submit(&mut self, request: Request) {
        if !self.state.is_alive() || self.closing {
            let err = self.loss_code();
            self.finish(request, err, 0, Vec::new());
            return;
        }
        if request.kind == op::CLOSE_SESSION {
            self.closing = true;
        }
        if self.link == Link::Up {
            self.send(request);
        } else {
            self.waiting.push_back(request);
        }
    }

    /// Adds an identity, now and after each reconnect.
    pub fn add_auth(&mut self, scheme: &str, auth: Option<&[u8]>) {
        if !self.state.is_alive() {
            return;
        }
        self.auth
            .push((scheme.to_owned(), auth.map(<[u8]>::to_vec)));
        if self.link == Link::Up {
            self.send_auth(self.auth.len() - 1);
        }
    }

    /// The transport begins to connect to a server.
    pub fn handle_connecting(&mut self, now_ms: u64) {
        self.link = Link::Connecting;
        if self.state.is_alive() {
            self.state = State::Connecting;
        }
        self.last_send_ms = now_ms;
    }

    /// The transport has a connection: asks for the session.
    pub fn handle_connected(&mut self, now_ms: u64) {
        self.link = Link::Handshake;
        self.last_send_ms = now_ms;
        self.last_heard_ms = now_ms;
        self.input.clear();
        self.output.clear();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout_ms: self.config.timeout_ms,
            // A session that only a read-only server knows is not known to any other.
            session_id: if self.seen_rw_server { self.id.0 } else { 0 },
            passwd: Some(&self.password),
            read_only: self.config.can_be_read_only,
        };
        push_frame(&mut self.output, |out| request.encode(out));
    }

    /// The connection is gone, or could not be made: every request without an answer fails.
    pub fn handle_disconnected(&mut self) {
        self.link = Link::Down;
        self.input.clear();
        self.output.clear();
        let err = self.loss_code();
        let pending = std::mem::take(&mut self.pending);
        let waiting = std::mem::take(&mut self.waiting);
        let requests = pending.into_iter().map(|(_, request)| request);
        for request in requests.chain(waiting) {
            self.finish(request, err, 0, Vec::new());
        }
        match self.state {
            State::Closed if self.closing => {}
            State::Closed => self.tell_session(KeeperState::Expired),
            State::AuthFailed => {}
            _ => {
                self.state = State::Connecting;
                self.tell_session(KeeperState::Disconnected);
            }
        }
    }

    /// Takes bytes from the server. On an error the connection must be given up, and then
    /// [`Session::handle_disconnected`] be called.
    pub fn handle_bytes(&mut self, bytes: &[u8], now_ms: u64) -> Result<(), SessionError> {
        self.last_heard_ms = now_ms;
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let mut rest = input.as_slice();
        while let Some(frame) = split_frame(&mut rest)? {
            if self.link == Link::Up {
                self.handle_frame(frame)?;
            } else {
                self.handle_connect_response(frame)?;
            }
        }
        let used = input.len() - rest.len();
        input.drain(..used);
        self.input = input;
        Ok(())
    }

    /// When [`Session::handle_timeout`] wants to be called, if nothing else happens.
    pub fn deadline_ms(&self) -> Option<u64> {
        let lost = self.session_lost_at_ms();
        let next = match self.link {
            Link::Down => lost,
            Link::Connecting | Link::Handshake => Some(self.connect_deadline_ms()),
            Link::Up => Some(self.read_deadline_ms().min(self.ping_due_ms())),
        };
        [lost, next].into_iter().flatten().min()
    }

    /// Looks at the clock: sends a ping when one is due. Errors are as with
    /// [`Session::handle_bytes`].
    pub fn handle_timeout(&mut self, now_ms: u64) -> Result<(), SessionError> {
        if !self.state.is_alive() {
            return Ok(());
        }
        let silent_ms = now_ms.saturating_sub(self.last_heard_ms);
        if self.session_lost_at_ms().is_some_and(|at| now_ms >= at) {
            self.state = State::Closed;
            return Err(SessionError::SessionTimedOut(silent_ms));
        }
        match self.link {
            Link::Down => {}
            Link::Connecting | Link::Handshake => {
                if now_ms >= self.connect_deadline_ms() {
                    return Err(SessionError::ConnectionTimedOut(silent_ms));
                }
            }
            Link::Up => {
                if now_ms >= self.read_deadline_ms() {
                    return Err(SessionError::ConnectionTimedOut(silent_ms));
                }
                if now_ms >= self.ping_due_ms() {
                    let header = RequestHeader {
                        xid: op::XID_PING,
                        kind: op::PING,
                    };
                    push_frame(&mut self.output, |out| header.encode(out));
                }
            }
        }
        Ok(())
    }

    /// Takes what is to be sent, if anything; it counts as sent at `now_ms`.
    pub fn take_output(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        if self.output.is_empty() {
            return None;
        }
        self.last_send_ms = now_ms;
        Some(std::mem::take(&mut self.output))
    }

    /// The next event, in the order in which they happened.
    pub fn poll_event(&mut self) -> Option<Delivery> {
        self.events.pop_front()
    }

    /// Whether an event waits to be taken.
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    fn read_timeout_ms(&self) -> u64 {
        (self.negotiated_timeout_ms.max(0) as u64) * 2 / 3
    }

    fn read_deadline_ms(&self) -> u64 {
        self.last_heard_ms + self.read_timeout_ms()
    }

    fn connect_deadline_ms(&self) -> u64 {
        let share_ms =
            self.negotiated_timeout_ms.max(0) as u64 / u64::from(self.config.servers.max(1));
        self.last_send_ms + share_ms
    }

    /// A session that has not heard from a server for four thirds of its timeout is taken for lost
    /// without being told so.
    fn session_lost_at_ms(&self) -> Option<u64> {
        let timeout_ms = self.negotiated_timeout_ms.max(0) as u64;
        (self.id != SessionId::NONE).then_some(self.last_heard_ms + timeout_ms * 4 / 3)
    }

    /// Half the read timeout after the last send; a second earlier where that is more than a
    /// second, so that a second ping still fits in when the first is lost.
    fn ping_due_ms(&self) -> u64 {
        let half_ms = self.read_timeout_ms() / 2;
        let early_ms = if half_ms > 2000 {
            half_ms - 1000
        } else {
            half_ms
        };
        self.last_send_ms + early_ms.min(PING_INTERVAL_MS_MAX)
    }

    fn send(&mut self, request: Request) {
        // The numbers from −8 to −1 are reserved, so the counter stays positive.
        self.xid = if self.xid == i32::MAX {
            1
        } else {
            self.xid + 1
        };
        let header = RequestHeader {
            xid: self.xid,
            kind: request.kind,
        };
        push_frame(&mut self.output, |out| {
            header.encode(out);
            out.extend_from_slice(&request.body);
        });
        self.pending.push_back((self.xid, request));
    }

    fn send_auth(&mut self, index: usize) {
        let (scheme, auth) = &self.auth[index];
        let header = RequestHeader {
            xid: op::XID_AUTH,
            kind: op::AUTH,
        };
        let packet = AuthPacket {
            kind: 0,
            scheme,
            auth: auth.as_deref(),
        };
        push_frame(&mut self.output, |out| {
            header.encode(out);
            packet.encode(out);
        });
    }

    fn handle_connect_response(&mut self, frame: &[u8]) -> Result<(), SessionError> {
        let mut from = Decoder::new(frame);
        let _protocol_version = i32::decode(&mut from)?;
        let timeout_ms = i32::decode(&mut from)?;
        let id = i64::decode(&mut from)?;
        let password = Option::<&[u8]>::decode(&mut from)?;
        // Servers before 3.4 do not send the byte.
        let read_only = !from.is_empty() && bool::decode(&mut from)?;
        if timeout_ms <= 0 {
            self.state = State::Closed;
            return Err(SessionError::Expired(self.id));
        }
        self.negotiated_timeout_ms = timeout_ms;
        self.id = SessionId(id);
        self.password = password.unwrap_or_default().to_vec();
        self.seen_rw_server |= !read_only;
        self.link = Link::Up;
        let (state, told) = if read_only {
            (State::ConnectedReadOnly, KeeperState::ConnectedReadOnly)
        } else {
            (State::Connected, KeeperState::SyncConnected)
        };
        self.state = state;
        self.tell_session(told);
        for index in 0..self.auth.len() {
            self.send_auth(index);
        }
        if !self.config.disable_watch_reset {
            self.send_watches();
        }
        for request in std::mem::take(&mut self.waiting) {
            self.send(request);
        }
        Ok(())
    }

    fn send_watches(&mut self) {
        let chroot = self.config.chroot.as_deref();
        for (kind, body) in rewatch::requests(&self.watches, self.last_zxid, |path| {
            server_path(chroot, path)
        }) {
            let header = RequestHeader {
                xid: op::XID_SET_WATCHES,
                kind,
            };
            push_frame(&mut self.output, |out| {
                header.encode(out);
                out.extend_from_slice(&body);
            });
        }
    }

    fn handle_frame(&mut self, frame: &[u8]) -> Result<(), SessionError> {
        let mut from = Decoder::new(frame);
        let header = ReplyHeader::decode(&mut from)?;
        match header.xid {
            op::XID_PING | op::XID_SET_WATCHES => Ok(()),
            op::XID_AUTH => {
                if header.err == ErrorCode::AuthFailed.code() {
                    self.state = State::AuthFailed;
                    self.tell_session(KeeperState::AuthFailed);
                    return Err(SessionError::AuthFailed);
                }
                Ok(())
            }
            op::XID_NOTIFICATION => {
                let event = WatcherEvent::decode(&mut from)?;
                self.handle_notification(&event, header.zxid)
            }
            xid => {
                let want = self.pending.front().map(|(xid, _)| *xid);
                if want != Some(xid) {
                    return Err(SessionError::Xid { got: xid, want });
                }
                let (_, request) = self
                    .pending
                    .pop_front()
                    .expect("the oldest request was just looked at");
                if header.zxid > 0 {
                    self.last_zxid = header.zxid;
                }
                let body = if header.err == 0 { from.rest() } else { &[] };
                self.finish(request, header.err, header.zxid, body.to_vec());
                Ok(())
            }
        }
    }

    fn handle_notification(
        &mut self,
        event: &WatcherEvent<'_>,
        zxid: i64,
    ) -> Result<(), SessionError> {
        let known = (
            EventKind::from_code(event.kind),
            KeeperState::from_code(event.state),
        );
        let (Some(kind), Some(state)) = known else {
            return Err(SessionError::UnknownEvent {
                kind: event.kind,
                state: event.state,
            });
        };
        if kind == EventKind::None {
            self.tell_session(state);
            return Ok(());
        }
        let path = client_path(self.config.chroot.as_deref(), event.path);
        let watchers = self.watches.fire(kind, path);
        self.tell(
            watchers,
            WatchedEvent {
                kind,
                state,
                path: Some(path.to_owned()),
                zxid,
            },
        );
        Ok(())
    }

    /// Answers a request, after changing the watches as it asks.
    fn finish(&mut self, request: Request, err: i32, zxid: i64, body: Vec<u8>) {
        let err = match &request.watch {
            None => err,
            Some((path, WatchChange::Register(registration))) => {
                if let Some(kind) = registration.registers.list(err) {
                    self.watches.add(kind, path, registration.watcher.clone());
                }
                err
            }
            Some((path, WatchChange::Deregister(deregistration))) => {
                self.deregister(path, deregistration, err)
            }
        };
        // Answered or not, a session that its user has closed is not used again.
        if request.kind == op::CLOSE_SESSION && self.state.is_alive() {
            self.state = State::Closed;
            self.tell_session(KeeperState::Closed);
        }
        (request.done)(Reply { err, zxid, body });
    }

    /// Removes watches after a reply with the code `err`; answers the code that the caller gets.
    fn deregister(&mut self, path: &str, what: &Deregistration, err: i32) -> i32 {
        let watcher = what.watcher.as_ref();
        if !self.watches.contains(path, watcher, what.of) {
            return ErrorCode::NoWatcher.code();
        }
        if err != ErrorCode::Ok.code() && !what.local {
            return err;
        }
        let unheard = [ErrorCode::SessionExpired, ErrorCode::ConnectionLoss]
            .iter()
            .any(|code| code.code() == err);
        let state = if unheard {
            KeeperState::Disconnected
        } else {
            KeeperState::SyncConnected
        };
        for (kind, watchers) in self.watches.remove(path, watcher, what.of) {
            self.tell(
                watchers,
                WatchedEvent {
                    kind,
                    state,
                    path: Some(path.to_owned()),
                    zxid: -1,
                },
            );
        }
        ErrorCode::Ok.code()
    }

    /// The code of requests that no server has answered.
    fn loss_code(&self) -> i32 {
        match self.state {
            State::AuthFailed => ErrorCode::AuthFailed,
            State::Closed => ErrorCode::SessionExpired,
            _ => ErrorCode::ConnectionLoss,
        }
        .code()
    }

    fn tell_session(&mut self, state: KeeperState) {
        if state == self.told_state {
            return;
        }
        let mut watchers = self
            .watches
            .fire_session(state, self.config.disable_watch_reset);
        watchers.extend(self.config.default_watcher.clone());
        self.tell(watchers, WatchedEvent::session(state));
    }

    fn tell(&mut self, watchers: BTreeSet<Watcher>, event: WatchedEvent) {
        self.told_state = event.state;
        if !watchers.is_empty() {
            self.events.push_back(Delivery { watchers, event });
        }
    }
}

#[cfg(test)]
mod tests;

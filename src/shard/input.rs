//! From bytes to requests: framing, four-letter words, connect requests
//! (Apache's `NIOServerCnxn`).

use std::mem;

use crate::admin::{AdminQueryKind, Word};
use crate::exchange::{ConnId, ToSequencer};
use crate::jute::Decoder;
use crate::jute::proto::{ConnectRequest, ConnectResponse};
use crate::types::{SessionId, Zxid};

use super::conn::State;
use super::{AdminQuery, Close, IDLE_BUFFER_MAX, Now, Shard, mark_dirty, reply};

/// Why a connection is closed for what it sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("frame length {0} is negative or beyond jute.maxbuffer, or this is no client")]
    FrameLength(i32),
    #[error("connect request cannot be read: {0}")]
    Connect(crate::jute::JuteError),
    #[error("request header cannot be read: {0}")]
    Header(crate::jute::JuteError),
    #[error("auth packet cannot be read: {0}")]
    Auth(crate::jute::JuteError),
}

/// Lines about bad input that are logged in one [`LOG_WINDOW_MS`].
const LOG_LINES_MAX: u32 = 10;
const LOG_WINDOW_MS: u64 = 10_000;

/// Keeps a flood of bad input from flooding the log: 10 lines in 10 seconds.
#[derive(Debug, Default)]
pub struct LogLimit {
    window_start_ms: u64,
    lines: u32,
    suppressed: u64,
}

impl LogLimit {
    /// Whether a line may be logged now, and how many were not since the last one.
    pub fn admit(&mut self, now: Now) -> Option<u64> {
        if now.ms() >= self.window_start_ms + LOG_WINDOW_MS {
            self.window_start_ms = now.ms();
            self.lines = 0;
        }
        if self.lines >= LOG_LINES_MAX {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(mem::take(&mut self.suppressed))
    }
}

/// The frame at the start of some bytes.
enum NextFrame<'a> {
    Incomplete,
    Whole(&'a [u8]),
}

/// Bytes of a length prefix, and of a four-letter word.
const PREFIX_LEN: usize = 4;
/// Bytes of the mask that follows `stmk`.
const TRACE_MASK_LEN: usize = 8;

fn next_frame(bytes: &[u8], max: usize) -> Result<NextFrame<'_>, Malformed> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_LEN>() else {
        return Ok(NextFrame::Incomplete);
    };
    let announced = i32::from_be_bytes(*prefix);
    let length = usize::try_from(announced)
        .ok()
        .filter(|&length| length <= max)
        .ok_or(Malformed::FrameLength(announced))?;
    Ok(rest
        .get(..length)
        .map_or(NextFrame::Incomplete, NextFrame::Whole))
}

impl Shard {
    /// Takes bytes in that came from a connection, cut in any way. May be called although the
    /// connection wants no reading (a read was already under way): the bytes are kept.
    pub fn receive(&mut self, conn: ConnId, bytes: &[u8], now: Now) {
        self.now = now;
        self.metrics.bytes_received.add(bytes.len() as u64);
        self.serve_guarded(conn, |shard| shard.take_in(conn, bytes));
    }

    /// The peer will send nothing more. A connection that still has a four-letter word's answer to
    /// get, or output before an agreed close, goes on to that; any other is to be closed.
    pub fn end_of_input(&mut self, conn: ConnId, now: Now) {
        self.now = now;
        let Some(found) = self.conns.get_mut(conn) else {
            return;
        };
        found.is_ended = true;
        mark_dirty(&mut self.dirty, found);
        if !found.is_stalled || found.input.is_empty() {
            self.close_ended(conn);
        }
    }

    fn close_ended(&mut self, conn: ConnId) {
        let Some(found) = self.conns.get(conn) else {
            return;
        };
        if found.state != State::Word && found.close == Close::No {
            self.metrics.connections_dropped.increment();
            self.close(conn, Close::Now);
        }
    }

    /// Takes in what is held back of a connection's input, and then `bytes`, as far as there is
    /// room.
    pub(super) fn take_in(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(found) = self.conns.get_mut(conn) else {
            return;
        };
        if found.close != Close::No || found.state == State::Word {
            return;
        }
        if found.is_stalled {
            found.input.extend_from_slice(bytes);
            return;
        }
        if found.input.is_empty() {
            let taken = self.take_frames(conn, bytes);
            self.hold_back(conn, Vec::new(), &bytes[taken..]);
        } else {
            let mut input = mem::take(&mut found.input);
            input.extend_from_slice(bytes);
            let taken = self.take_frames(conn, &input);
            input.drain(..taken);
            self.hold_back(conn, input, &[]);
        }
        self.after_taking(conn);
    }

    /// Keeps what could not be taken in: `input`, whose memory is used again, and `rest`.
    fn hold_back(&mut self, conn: ConnId, mut input: Vec<u8>, rest: &[u8]) {
        if let Some(found) = self.conns.get_mut(conn)
            && found.close == Close::No
        {
            input.extend_from_slice(rest);
            if input.is_empty() && input.capacity() > IDLE_BUFFER_MAX {
                input = Vec::new();
            }
            found.input = input;
        }
    }

    /// Stalls a connection that has no room left, and lets one go that will send nothing more.
    fn after_taking(&mut self, conn: ConnId) {
        let Some(found) = self.conns.get(conn) else {
            return;
        };
        if found.close != Close::No || found.state == State::Word {
            return;
        }
        if !self.has_room(found) {
            let found = self.conns.get_mut(conn).expect("it was found above");
            found.is_stalled = true;
            self.metrics.throttle_waits.increment();
            mark_dirty(&mut self.dirty, found);
            self.queue_if_stalled(conn);
        } else if found.is_ended {
            self.close_ended(conn);
        }
    }

    /// Takes whole frames off the front of `bytes` while there is room; returns how many bytes.
    fn take_frames(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let mut taken = 0;
        loop {
            let Some(found) = self.conns.get(conn) else {
                return bytes.len();
            };
            if found.close != Close::No || found.state == State::Word {
                return bytes.len();
            }
            let rest = &bytes[taken..];
            if !self.has_room(found) {
                // A full ring is no reason not to tell how the server is.
                if found.state == State::Fresh && self.take_if_word(conn, rest) {
                    taken += PREFIX_LEN;
                    continue;
                }
                return taken;
            }
            let step = match found.state {
                State::Fresh => self.take_first(conn, rest),
                State::TraceMask => Ok(self.take_trace_mask(conn, rest)),
                State::Open => self.take_request(conn, rest),
                State::Attaching | State::Word => return taken,
            };
            match step {
                Ok(0) => return taken,
                Ok(length) => taken += length,
                Err(reason) => {
                    self.malformed(conn, &reason);
                    return bytes.len();
                }
            }
        }
    }

    fn malformed(&mut self, conn: ConnId, reason: &Malformed) {
        self.metrics.malformed.increment();
        if let Some(suppressed) = self.malformed_log.admit(self.now)
            && let Some(found) = self.conns.get(conn)
        {
            let (peer, session) = (found.peer, found.session);
            tracing::warn!(%peer, %session, %reason, suppressed, "closing connection");
        }
        self.close(conn, Close::Now);
    }

    fn note_received(&mut self, conn: ConnId) {
        self.metrics.packets_received.increment();
        if let Some(found) = self.conns.get_mut(conn) {
            found.stats.packets_received += 1;
            found.last_heard_us = self.now.us;
        }
    }

    fn take_request(&mut self, conn: ConnId, bytes: &[u8]) -> Result<usize, Malformed> {
        match next_frame(bytes, self.config.jute_max_buffer_bytes)? {
            NextFrame::Incomplete => Ok(0),
            NextFrame::Whole(frame) => {
                self.note_received(conn);
                self.request(conn, frame)?;
                Ok(PREFIX_LEN + frame.len())
            }
        }
    }

    /// The first bytes of a connection are a four-letter word or a connect request.
    fn take_first(&mut self, conn: ConnId, bytes: &[u8]) -> Result<usize, Malformed> {
        if self.take_if_word(conn, bytes) {
            return Ok(PREFIX_LEN);
        }
        match next_frame(bytes, self.config.jute_max_buffer_bytes)? {
            NextFrame::Incomplete => Ok(0),
            NextFrame::Whole(frame) => {
                self.note_received(conn);
                self.connect(conn, frame)?;
                Ok(PREFIX_LEN + frame.len())
            }
        }
    }

    /// Whether `bytes` began with a four-letter word that was taken.
    fn take_if_word(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        let first = bytes.first_chunk::<PREFIX_LEN>();
        first
            .and_then(Word::name_of)
            .is_some_and(|name| self.take_word(conn, name))
    }

    /// False where the word is known and allowed, but none that is answered.
    fn take_word(&mut self, conn: ConnId, name: &str) -> bool {
        let is_allowed = self.config.four_letter_allowed(name);
        let word = Word::from_name(name);
        if is_allowed && word.is_none() {
            return false;
        }
        self.note_received(conn);
        if let Some(found) = self.conns.get_mut(conn) {
            found.state = State::Word;
        }
        let Some(word) = word.filter(|_| is_allowed) else {
            let refusal = format!("{name} is not executed because it is not in the whitelist.\n");
            self.admin_answer(conn, &refusal);
            return true;
        };
        match word.kind() {
            AdminQueryKind::Text(text) => self.admin_answer(conn, text),
            AdminQueryKind::ShowTraceMask => {
                let mask = self.shared.trace_mask().to_string();
                self.admin_answer(conn, &mask);
            }
            AdminQueryKind::SetTraceMask => {
                if let Some(found) = self.conns.get_mut(conn) {
                    found.state = State::TraceMask;
                }
            }
            AdminQueryKind::Server => self.admin_queries.push_back(AdminQuery { word, conn }),
        }
        true
    }

    fn take_trace_mask(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let Some(mask) = bytes.first_chunk::<TRACE_MASK_LEN>() else {
            return 0;
        };
        let mask = i64::from_be_bytes(*mask);
        self.shared.set_trace_mask(mask);
        if let Some(found) = self.conns.get_mut(conn) {
            found.state = State::Word;
        }
        self.admin_answer(conn, &mask.to_string());
        TRACE_MASK_LEN
    }

    /// Apache's `ZooKeeperServer.processConnectRequest`.
    fn connect(&mut self, conn: ConnId, frame: &[u8]) -> Result<(), Malformed> {
        let (request, knows_read_only) =
            ConnectRequest::decode_lenient(&mut Decoder::new(frame)).map_err(Malformed::Connect)?;
        self.metrics.connection_requests.increment();
        if !self.is_serving {
            self.close(conn, Close::Now);
            return Ok(());
        }
        if self.is_read_only && !request.read_only {
            tracing::debug!("refusing a client that does not make do with reading");
            self.close(conn, Close::Now);
            return Ok(());
        }
        let session = SessionId(request.session_id);
        let last_zxid_seen = Zxid(request.last_zxid_seen);
        // Compared with what any shard has shown to a client: this shard's view may be a moment
        // older, but it will have caught up before the sequencer's answer arrives here.
        let ours = self.shared.published();
        if last_zxid_seen > ours {
            tracing::info!(%session, %last_zxid_seen, %ours, "refusing a client that has seen a newer zxid");
            self.close(conn, Close::Now);
            return Ok(());
        }
        let timeout_ms = request
            .timeout_ms
            .max(self.config.min_session_timeout_ms)
            .min(self.config.max_session_timeout_ms);
        let origin = self.origin(conn);
        if let Some(found) = self.conns.get_mut(conn) {
            found.state = State::Attaching;
            found.knows_read_only = knows_read_only;
            found.session = session;
            found.timeout_ms = timeout_ms;
        }
        self.outbox.push_back(if session == SessionId::NONE {
            ToSequencer::OpenSession { origin, timeout_ms }
        } else {
            self.metrics.connections_revalidated.increment();
            ToSequencer::ReattachSession {
                origin,
                session,
                password: request.passwd.unwrap_or_default().to_vec(),
                timeout_ms,
            }
        });
        Ok(())
    }

    /// The sequencer has given a connection its session.
    pub(super) fn attached(
        &mut self,
        conn: ConnId,
        session: SessionId,
        password: &[u8; 16],
        timeout_ms: i32,
    ) {
        let zxid = self.view.zxid();
        let now = self.now;
        let Some(found) = self.conns.get_mut(conn) else {
            return;
        };
        if found.state != State::Attaching || found.close != Close::No {
            return;
        }
        found.state = State::Open;
        found.session = session;
        found.timeout_ms = timeout_ms;
        found.stats.replied(0, zxid.0, "SESS", now, 0);
        self.send_connect_response(conn, timeout_ms, session, password);
        self.note_heard(conn);
    }

    /// The sequencer does not know the session that a connection asked for, or the password is
    /// wrong.
    pub(super) fn session_refused(&mut self, conn: ConnId) {
        let Some(found) = self.conns.get_mut(conn) else {
            return;
        };
        if found.state != State::Attaching || found.close != Close::No {
            return;
        }
        tracing::info!(peer = %found.peer, session = %found.session, "invalid session, probably expired");
        found.session = SessionId::NONE;
        self.send_connect_response(conn, 0, SessionId::NONE, &[0; 16]);
        self.close(conn, Close::AfterFlush);
    }

    fn send_connect_response(
        &mut self,
        conn: ConnId,
        timeout_ms: i32,
        session: SessionId,
        password: &[u8; 16],
    ) {
        let Some(found) = self.conns.get_mut(conn) else {
            return;
        };
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session_id: session.0,
            passwd: Some(password),
            read_only: self.is_read_only,
        };
        reply::connect(&mut found.output, &response, found.knows_read_only);
        found.stats.packets_sent += 1;
        self.metrics.packets_sent.increment();
        mark_dirty(&mut self.dirty, found);
    }

    /// Notes that a client is alive, for the next report.
    pub(super) fn note_heard(&mut self, conn: ConnId) {
        if let Some(found) = self.conns.get_mut(conn) {
            found.last_heard_us = self.now.us;
            if !found.is_heard {
                found.is_heard = true;
                self.heard.push((conn, found.session));
            }
        }
    }
}

//! From requests to replies: what is answered here, and what the sequencer must decide
//! (Apache's `ZooKeeperServer.processPacket` and `FinalRequestProcessor`).

use crate::auth::{self, Identity};
use crate::exchange::{ConnId, Request, ToSequencer};
use crate::jute::proto::{AuthPacket, RequestHeader, SetSaslResponse, SyncRequest};
use crate::jute::{Decoder, Record, op};
use crate::metrics::OpKind;
use crate::tree::Outcome;
use crate::types::{ErrorCode, Zxid, limits};

use super::conn::{Conn, Pending};
use super::input::Malformed;
use super::read::Reader;
use super::reply::{self, Frame};
use super::{Close, IDLE_BUFFER_MAX, Shard, mark_dirty};

/// Where a request is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Here, from the view.
    Read,
    /// By the sequencer.
    Write,
    /// Nowhere: it is answered with `Unimplemented`, and the connection closes.
    Unknown,
}

/// Operations that the reference takes from a client (its `Request.isValid`), by who decides them.
fn class(kind: i32) -> Class {
    match kind {
        op::PING
        | op::EXISTS
        | op::GET_DATA
        | op::GET_ACL
        | op::GET_CHILDREN
        | op::GET_CHILDREN2
        | op::GET_ALL_CHILDREN_NUMBER
        | op::GET_EPHEMERALS
        | op::MULTI_READ
        | op::SET_WATCHES
        | op::SET_WATCHES2
        | op::ADD_WATCH
        | op::CHECK_WATCHES
        | op::REMOVE_WATCHES
        | op::WHO_AM_I => Class::Read,
        op::CREATE
        | op::CREATE2
        | op::CREATE_CONTAINER
        | op::CREATE_TTL
        | op::DELETE
        | op::DELETE_CONTAINER
        | op::SET_DATA
        | op::SET_ACL
        | op::MULTI
        | op::RECONFIG
        | op::SYNC
        | op::CLOSE_SESSION => Class::Write,
        _ => Class::Unknown,
    }
}

/// What `cons` calls an operation (Apache's `lastOp`).
fn short_name(kind: i32) -> &'static str {
    match kind {
        op::PING => "PING",
        op::MULTI => "MULT",
        op::MULTI_READ => "MLTR",
        op::CREATE | op::CREATE2 | op::CREATE_TTL | op::CREATE_CONTAINER => "CREA",
        op::DELETE | op::DELETE_CONTAINER => "DELE",
        op::SET_DATA => "SETD",
        op::RECONFIG => "RECO",
        op::SET_ACL => "SETA",
        op::CLOSE_SESSION => "CLOS",
        op::SYNC => "SYNC",
        op::EXISTS => "EXIS",
        op::GET_DATA => "GETD",
        op::SET_WATCHES => "SETW",
        op::SET_WATCHES2 => "STW2",
        op::ADD_WATCH => "ADDW",
        op::GET_ACL => "GETA",
        op::GET_CHILDREN | op::GET_CHILDREN2 => "GETC",
        op::GET_ALL_CHILDREN_NUMBER => "GETACN",
        op::CHECK_WATCHES => "CHKW",
        op::REMOVE_WATCHES => "REMW",
        op::WHO_AM_I => "HOMI",
        op::GET_EPHEMERALS => "GETE",
        _ => "NA",
    }
}

fn op_kind(kind: i32) -> OpKind {
    match kind {
        op::PING => OpKind::Ping,
        op::EXISTS => OpKind::Exists,
        op::GET_DATA => OpKind::GetData,
        op::GET_CHILDREN | op::GET_CHILDREN2 => OpKind::GetChildren,
        op::CREATE | op::CREATE2 | op::CREATE_TTL | op::CREATE_CONTAINER => OpKind::Create,
        op::DELETE | op::DELETE_CONTAINER => OpKind::Delete,
        op::SET_DATA => OpKind::SetData,
        op::MULTI => OpKind::Multi,
        op::SYNC => OpKind::Sync,
        _ if class(kind) == Class::Read => OpKind::OtherRead,
        _ => OpKind::OtherWrite,
    }
}

/// A read that is ready to be answered.
struct Read<'a> {
    xid: i32,
    kind: i32,
    body: &'a [u8],
    received_us: u64,
}

impl Shard {
    /// Takes one frame of an open connection in.
    pub(super) fn request(&mut self, conn: ConnId, frame: &[u8]) -> Result<(), Malformed> {
        let mut from = Decoder::new(frame);
        let header = RequestHeader::decode(&mut from).map_err(Malformed::Header)?;
        let body = from.rest();
        self.note_heard(conn);
        match header.kind {
            op::AUTH => return self.authenticate(conn, header.xid, body),
            op::SASL => self.refuse_sasl(conn, header.xid),
            kind => match class(kind) {
                Class::Write => self.forward(conn, header.xid, kind, body),
                Class::Read => self.read(conn, header.xid, kind, body),
                Class::Unknown => {
                    if let Some(suppressed) = self.malformed_log.admit(self.now) {
                        tracing::warn!(kind, suppressed, "request of an unknown type");
                    }
                    let error = Err(ErrorCode::Unimplemented);
                    self.reply_at_once(conn, header.xid, reply::NO_ZXID, error);
                    self.close(conn, Close::AfterFlush);
                }
            },
        }
        Ok(())
    }

    /// Answers out of turn, as the reference does for what never reaches its processors.
    fn reply_at_once(&mut self, conn: ConnId, xid: i32, zxid: Zxid, result: Result<(), ErrorCode>) {
        if let Some(found) = self.conns.get_mut(conn) {
            let length = reply::header(&mut found.output, xid, zxid, result);
            self.note_sent(conn, length);
        }
    }

    fn authenticate(&mut self, conn: ConnId, xid: i32, body: &[u8]) -> Result<(), Malformed> {
        let packet = AuthPacket::from_slice(body).map_err(Malformed::Auth)?;
        let Some(found) = self.conns.get_mut(conn) else {
            return Ok(());
        };
        let peer = found.peer.ip();
        match auth::add_auth(packet.scheme, packet.auth, &self.config.auth, peer) {
            Ok(proven) if found.identities.len() < limits::IDENTITIES_MAX => {
                let mut identities = found.identities.to_vec();
                for identity in proven {
                    if !identities.contains(&identity) {
                        identities.push(identity);
                    }
                }
                found.identities = identities.into();
                self.reply_at_once(conn, xid, Zxid::ZERO, Ok(()));
            }
            _ => {
                if let Some(suppressed) = self.malformed_log.admit(self.now) {
                    let scheme = packet.scheme;
                    tracing::warn!(%peer, scheme, suppressed, "authentication failed");
                }
                self.metrics.auth_failed.increment();
                self.reply_at_once(conn, xid, Zxid::ZERO, Err(ErrorCode::AuthFailed));
                self.close(conn, Close::AfterFlush);
            }
        }
        Ok(())
    }

    /// A server without SASL answers each step with a null token, as the reference does when no
    /// login is configured; clients take that for a refusal.
    fn refuse_sasl(&mut self, conn: ConnId, xid: i32) {
        if let Some(found) = self.conns.get_mut(conn) {
            let out = &mut found.output;
            let frame = Frame::reply(out, xid, Zxid::ZERO);
            SetSaslResponse { token: None }.encode(out);
            let length = frame.finish(out, Ok(()));
            self.note_sent(conn, length);
        }
    }

    fn forward(&mut self, conn: ConnId, xid: i32, kind: i32, body: &[u8]) {
        let origin = self.origin(conn);
        let Some(found) = self.conns.get_mut(conn) else {
            return;
        };
        let path = if kind == op::SYNC {
            SyncRequest::from_slice(body)
                .ok()
                .map(|request| request.path.into())
        } else {
            None
        };
        found.push_pending(Pending::Write {
            xid,
            op: kind,
            bytes: body.len(),
            path,
        });
        self.outstanding += 1;
        self.shared.request_sent();
        self.outbox.push_back(ToSequencer::Request(Request {
            origin,
            session: found.session,
            xid,
            op: kind,
            body: body.into(),
            identities: found.identities.clone(),
            received_us: self.now.us,
        }));
    }

    fn read(&mut self, conn: ConnId, xid: i32, kind: i32, body: &[u8]) {
        let Some(found) = self.conns.get_mut(conn) else {
            return;
        };
        let received_us = self.now.us;
        if found.pending.is_empty() {
            let read = Read {
                xid,
                kind,
                body,
                received_us,
            };
            self.serve(conn, &read, None, self.view.zxid());
        } else {
            found.push_pending(Pending::Read {
                xid,
                op: kind,
                body: body.into(),
                identities: found.identities.clone(),
                received_us,
            });
        }
    }

    /// Serves the reads at the front of a connection's queue, as of `zxid`. Without `force` it
    /// stops when the client is slow to take the replies.
    pub(super) fn serve_waiting(&mut self, conn: ConnId, zxid: Zxid, force: bool) -> u64 {
        let mut served = 0;
        while let Some(found) = self.conns.get_mut(conn) {
            let is_slow = found.unsent_bytes() >= limits::CONNECTION_SEND_SOFT_MAX;
            if found.close != Close::No || (is_slow && !force) {
                break;
            }
            let Some(Pending::Read { .. }) = found.pending.front() else {
                break;
            };
            let Some(Pending::Read {
                xid,
                op,
                body,
                identities,
                received_us,
            }) = found.pop_pending()
            else {
                break;
            };
            let read = Read {
                xid,
                kind: op,
                body: &body,
                received_us,
            };
            self.serve(conn, &read, Some(&identities), zxid);
            served += 1;
        }
        served
    }

    /// Answers a read as of `zxid`, for these identities or else those of the connection.
    fn serve(
        &mut self,
        conn: ConnId,
        read: &Read<'_>,
        identities: Option<&[Identity]>,
        zxid: Zxid,
    ) {
        let Some(found) = self.conns.get_mut(conn) else {
            return;
        };
        let Conn {
            output: out,
            identities: own,
            stats,
            session,
            ..
        } = found;
        let mut reader = Reader {
            view: &self.view,
            zxid,
            watches: &mut self.watches,
            auth: &self.config.auth,
            conn,
            session: *session,
            identities: identities.unwrap_or(own),
        };
        let is_set_watches = matches!(read.kind, op::SET_WATCHES | op::SET_WATCHES2);
        let (frame, result) = if is_set_watches {
            let metrics = &self.metrics;
            let result = reader.set_watches(read.kind, read.body, &mut |event, path| {
                let length = reply::notification(out, event, path, reply::NO_ZXID);
                metrics.watch_bytes.add(length as u64);
                metrics.packets_sent.increment();
                stats.packets_sent += 1;
            });
            (Frame::reply(out, read.xid, zxid), result)
        } else {
            let frame = Frame::reply(out, read.xid, zxid);
            let mut result = reader.answer(read.kind, read.body, out);
            let bytes = frame.length(out);
            if bytes > self.config.reply_bytes_max() {
                if let Some(suppressed) = self.malformed_log.admit(self.now) {
                    tracing::warn!(%session, bytes, suppressed, "refusing to send so large a reply");
                }
                // What Apache answers where a reply cannot be built.
                result = Err(ErrorCode::MarshallingError);
            }
            (frame, result)
        };
        let length = frame.finish(out, result);
        if out.capacity() > self.config.send_hard_max() {
            out.shrink_to(IDLE_BUFFER_MAX);
        }
        self.note_reply(conn, read.xid, read.kind, zxid, read.received_us);
        self.note_sent(conn, length);
    }

    /// Answers a request as the sequencer decided. `before` is the zxid of the step before, and
    /// `zxid` that of the decision.
    pub(super) fn decided(
        &mut self,
        conn: ConnId,
        xid: i32,
        outcome: &Outcome,
        received_us: u64,
        (before, zxid): (Zxid, Zxid),
    ) {
        // A slow client may have reads left that came before this request.
        self.serve_waiting(conn, before, true);
        let Some(found) = self.conns.get_mut(conn).filter(|conn| conn.is_open()) else {
            self.metrics.stale_replies.increment();
            return;
        };
        self.metrics
            .requests_waiting
            .record(found.pending.len() as u64);
        let (op, path) = match found.pop_pending() {
            Some(Pending::Write {
                xid: due, op, path, ..
            }) if due == xid => (op, path),
            other => {
                tracing::error!(xid, awaited = ?other, "an answer came out of order");
                self.close(conn, Close::Now);
                return;
            }
        };
        if is_moved(outcome) {
            self.close(conn, Close::AfterFlush);
            return;
        }
        let out = &mut found.output;
        let frame = Frame::reply(out, xid, zxid);
        let result = reply::outcome(out, op, outcome, path.as_deref());
        let length = frame.finish(out, result);
        self.note_reply(conn, xid, op, zxid, received_us);
        self.note_sent(conn, length);
        if op == op::CLOSE_SESSION {
            self.close(conn, Close::AfterFlush);
            return;
        }
        let served = self.serve_waiting(conn, zxid, false);
        self.metrics.reads_after_write.record(served);
    }

    /// Counts a reply and its latency.
    fn note_reply(&mut self, conn: ConnId, xid: i32, kind: i32, zxid: Zxid, received_us: u64) {
        let latency_us = self.now.us.saturating_sub(received_us);
        let metrics = &self.metrics;
        metrics.latency.record(latency_us / 1000);
        if class(kind) == Class::Read || kind == op::SYNC {
            metrics.read_latency.record(latency_us / 1000);
        } else {
            metrics.update_latency.record(latency_us / 1000);
            metrics.stages.answered.record(latency_us);
        }
        metrics.op_latency_us[op_kind(kind) as usize].record(latency_us);
        if let Some(found) = self.conns.get_mut(conn) {
            let name = short_name(kind);
            found.stats.replied(xid, zxid.0, name, self.now, latency_us);
        }
    }

    /// Counts a frame that was written, and has the driver send it.
    fn note_sent(&mut self, conn: ConnId, length: usize) {
        self.metrics.packets_sent.increment();
        self.metrics.response_bytes.add(length as u64);
        self.metrics.response_sizes.record(length as u64);
        if let Some(found) = self.conns.get_mut(conn) {
            found.stats.packets_sent += 1;
            found.output_since_us.get_or_insert(self.now.us);
            mark_dirty(&mut self.dirty, found);
            self.cut_off_if_slow(conn);
        }
    }

    /// Cuts a client off that lets too much pile up.
    pub(super) fn cut_off_if_slow(&mut self, conn: ConnId) {
        let is_too_slow = |conn: &Conn| conn.unsent_bytes() > self.config.send_hard_max();
        if let Some(found) = self.conns.get(conn)
            && is_too_slow(found)
            && found.close != Close::Now
        {
            let (peer, session) = (found.peer, found.session);
            tracing::warn!(%peer, %session, "cutting off a client that does not read");
            self.metrics.slow_readers_cut.increment();
            self.close(conn, Close::Now);
        }
    }
}

/// Whether the session has gone to another server: the client is then not answered.
fn is_moved(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed(error) => *error == ErrorCode::SessionMoved,
        Outcome::MultiFailed(errors) => errors.contains(&ErrorCode::SessionMoved),
        _ => false,
    }
}

//! Frames to the client, written straight into its output buffer.

use crate::jute::data::Stat;
use crate::jute::proto::{
    ConnectResponse, Create2Response, CreateResponse, ErrorResponse, MULTI_END, MultiHeader,
    ReplyHeader, SetDataResponse, SyncResponse, WatcherEvent,
};
use crate::jute::{Record, op};
use crate::tree::Outcome;
use crate::types::{ErrorCode, Zxid};
use crate::watch::EventType;

/// The state that events carry (Apache's `KeeperState.SyncConnected`).
const SYNC_CONNECTED: i32 = 3;
/// The zxid in the header of an event that belongs to no transaction (Apache's
/// `WatchedEvent.NO_ZXID`).
pub(super) const NO_ZXID: Zxid = Zxid(-1);

/// A frame that is being written: where it starts.
#[must_use]
pub(super) struct Frame {
    start: usize,
}

/// Bytes of a length prefix.
const LENGTH_LEN: usize = 4;
/// Bytes of a length prefix and a [`ReplyHeader`].
const HEADER_LEN: usize = LENGTH_LEN + 16;

impl Frame {
    /// Starts a reply; its length and error come with [`Frame::finish`].
    pub(super) fn reply(out: &mut Vec<u8>, xid: i32, zxid: Zxid) -> Frame {
        let start = out.len();
        0i32.encode(out);
        ReplyHeader {
            xid,
            zxid: zxid.0,
            err: 0,
        }
        .encode(out);
        Frame { start }
    }

    /// Bytes of the reply so far, without its prefix.
    pub(super) fn length(&self, out: &[u8]) -> usize {
        out.len() - self.start - LENGTH_LEN
    }

    /// Ends a reply. After an error nothing but the header is sent. Returns the frame's length
    /// without its prefix.
    pub(super) fn finish(self, out: &mut Vec<u8>, result: Result<(), ErrorCode>) -> usize {
        if let Err(error) = result {
            out.truncate(self.start + HEADER_LEN);
            let error_at = self.start + HEADER_LEN - 4;
            out[error_at..].copy_from_slice(&error.code().to_be_bytes());
        }
        self.finish_length(out)
    }

    fn finish_length(self, out: &mut [u8]) -> usize {
        let length = self.length(out);
        let prefix = i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes();
        out[self.start..self.start + LENGTH_LEN].copy_from_slice(&prefix);
        length
    }
}

/// Writes a reply of nothing but its header.
pub(super) fn header(
    out: &mut Vec<u8>,
    xid: i32,
    zxid: Zxid,
    result: Result<(), ErrorCode>,
) -> usize {
    Frame::reply(out, xid, zxid).finish(out, result)
}

/// Writes a notification; returns its length without its prefix.
pub(super) fn notification(out: &mut Vec<u8>, event: EventType, path: &str, zxid: Zxid) -> usize {
    let frame = Frame::reply(out, op::XID_NOTIFICATION, zxid);
    WatcherEvent {
        kind: event as i32,
        state: SYNC_CONNECTED,
        path,
    }
    .encode(out);
    frame.finish(out, Ok(()))
}

/// Writes the answer to a connect request. A client that did not send the `readOnly` byte gets
/// none.
pub(super) fn connect(out: &mut Vec<u8>, response: &ConnectResponse<'_>, knows_read_only: bool) {
    let frame = Frame { start: out.len() };
    0i32.encode(out);
    response.encode(out);
    if !knows_read_only {
        out.pop();
    }
    frame.finish_length(out);
}

/// Writes the record that answers a request which the sequencer decided. `path` is what the reply
/// to `sync` repeats.
pub(super) fn outcome(
    out: &mut Vec<u8>,
    kind: i32,
    outcome: &Outcome,
    path: Option<&str>,
) -> Result<(), ErrorCode> {
    match outcome {
        Outcome::Done if kind == op::SYNC => {
            let path = path.ok_or(ErrorCode::MarshallingError)?;
            SyncResponse { path }.encode(out);
        }
        Outcome::Done => {}
        Outcome::Created { path, stat } => created(out, kind, path, stat),
        Outcome::Stat(stat) => SetDataResponse { stat: stat.clone() }.encode(out),
        Outcome::Multi(results) => multi(out, results),
        Outcome::Failed(error) => return Err(*error),
        Outcome::MultiFailed(errors) => {
            for error in errors {
                multi_error(out, *error);
            }
            MULTI_END.encode(out);
        }
    }
    Ok(())
}

fn created(out: &mut Vec<u8>, kind: i32, path: &str, stat: &Stat) {
    if kind == op::CREATE {
        CreateResponse { path }.encode(out);
    } else {
        let stat = stat.clone();
        Create2Response { path, stat }.encode(out);
    }
}

fn multi(out: &mut Vec<u8>, results: &[(i32, Outcome)]) {
    for (kind, result) in results {
        match result {
            Outcome::Failed(error) => {
                multi_error(out, *error);
                continue;
            }
            // However a node was created with its Stat, the result says create2.
            Outcome::Created { .. } if *kind != op::CREATE => multi_header(out, op::CREATE2),
            _ => multi_header(out, *kind),
        }
        match result {
            Outcome::Created { path, stat } => created(out, *kind, path, stat),
            Outcome::Stat(stat) => SetDataResponse { stat: stat.clone() }.encode(out),
            _ => {}
        }
    }
    MULTI_END.encode(out);
}

/// Writes the header of one successful result of a multi.
pub(super) fn multi_header(out: &mut Vec<u8>, kind: i32) {
    MultiHeader {
        kind,
        done: false,
        err: 0,
    }
    .encode(out);
}

/// Writes one failed result of a multi.
pub(super) fn multi_error(out: &mut Vec<u8>, error: ErrorCode) {
    let err = error.code();
    MultiHeader {
        kind: op::ERROR,
        done: false,
        err,
    }
    .encode(out);
    ErrorResponse { err }.encode(out);
}

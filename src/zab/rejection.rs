//! A failed request of a learner's client, which needs no transaction between servers of ours.
//!
//! Apache's learners wait for a transaction in any case, so there a failed request costs a zxid, a
//! log record on every member and a round of acknowledgements. One of ours is told the errors
//! instead, in the stream of the leader's transactions, so that it finds whose request that was, and
//! answers when all before is committed and the leader has made sure that it still leads.

use crate::jute::{Decoder, JuteError, Record};
use crate::types::{ErrorCode, SessionId, Zxid};

/// The kind of the packet: none of Apache's.
pub const REJECT: i32 = 100;

/// The kind of the packet by which the oldest rejection is confirmed: none of Apache's either.
pub const CONFIRM: i32 = 101;

/// A request that failed at the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The client's session.
    pub session: SessionId,
    /// The client's number for the request.
    pub cxid: i32,
    /// The leader's last transaction before it.
    pub after: Zxid,
    /// Whether it was a multi whose operations failed each with its own error.
    pub is_multi: bool,
    /// The errors: one, or one for each operation.
    pub errors: Vec<ErrorCode>,
}

impl Rejection {
    /// The data of the packet, whose zxid is [`Rejection::after`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.session.0.encode(out);
        self.cxid.encode(out);
        self.is_multi.encode(out);
        for error in &self.errors {
            error.code().encode(out);
        }
    }

    /// Reads such data.
    ///
    /// # Errors
    /// Where it is cut off.
    pub fn decode(after: Zxid, data: &[u8]) -> Result<Rejection, JuteError> {
        let mut from = Decoder::new(data);
        let mut rejection = Rejection {
            session: SessionId(i64::decode(&mut from)?),
            cxid: i32::decode(&mut from)?,
            after,
            is_multi: bool::decode(&mut from)?,
            errors: Vec::new(),
        };
        while !from.is_empty() {
            let code = i32::decode(&mut from)?;
            let error = ErrorCode::from_code(code).unwrap_or(ErrorCode::SystemError);
            rejection.errors.push(error);
        }
        Ok(rejection)
    }
}

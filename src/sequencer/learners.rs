//! What a leader does for the clients of its learners.

use crate::exchange::Owner;
use crate::jute::txn::{ErrorTxn, Txn};
use crate::jute::{Record, op};
use crate::prep::{Prepared, RequestView, create_session};
use crate::tree::{Changes, Outcome};
use crate::types::{ErrorCode, LinkId, SessionId};
use crate::zab::Rejection;
use crate::zab::leader::Forwarded;

use super::{Log, NO_ROOM, Now, Sequencer};

impl Sequencer {
    /// A learner's client asks. Where nothing comes of it, the learner must be told so: one of ours
    /// by the rejection that is returned, one of Apache's by a transaction
    /// ([`Sequencer::log_rejection`]).
    pub fn request_of_learner(
        &mut self,
        link: LinkId,
        request: &Forwarded,
        now: Now,
        log: &mut impl Log,
    ) -> Option<Rejection> {
        self.metrics.requests_prepared.increment();
        let session = request.session;
        let owner = Owner::Learner(link);
        if request.op == op::CREATE_SESSION {
            let timeout_ms = i32::from_slice(&request.body).unwrap_or(0);
            let txn = create_session(timeout_ms);
            if self.append(&txn, session, request.cxid, now, log).is_some() {
                self.sessions
                    .opened_elsewhere(session, Some(owner), timeout_ms, now.monotonic_ms);
                self.step(Changes::new(), None);
                return None;
            }
            return Some(Rejection {
                session,
                cxid: request.cxid,
                after: self.tree.tip_zxid(),
                is_multi: false,
                errors: vec![ErrorCode::SystemError],
            });
        }
        self.sessions.touch(session, now.monotonic_ms);
        let (session_state, ephemerals) = self.session_states(session, owner);
        let view = RequestView {
            op: request.op,
            body: &request.body,
            session,
            session_state,
            ephemerals,
            identities: &request.identities,
            is_forwarded: true,
        };
        let outcome = match self.preparer.prepare(&self.tree, &view) {
            Prepared::Txn(txn) => match self.append(&txn, session, request.cxid, now, log) {
                Some(applied) => {
                    self.step(applied.changes, None);
                    return None;
                }
                None => NO_ROOM,
            },
            Prepared::Failed(outcome) | Prepared::Ordered(outcome) => outcome,
        };
        let (is_multi, errors) = match outcome {
            Outcome::Failed(error) => (false, vec![error]),
            Outcome::MultiFailed(errors) => (true, errors),
            _ => (false, vec![ErrorCode::Ok]),
        };
        Some(Rejection {
            session,
            cxid: request.cxid,
            after: self.tree.tip_zxid(),
            is_multi,
            errors,
        })
    }

    /// Makes a transaction of a learner's failed request, for a learner that waits for one. Without
    /// room nothing can be said: the learner's client gets no answer, and asks again elsewhere when
    /// its connection has timed out.
    pub fn log_rejection(&mut self, rejection: &Rejection, now: Now, log: &mut impl Log) {
        let error = |code: &ErrorCode| Txn::Error(ErrorTxn { err: code.code() });
        let txn = match &rejection.errors[..] {
            [code] if !rejection.is_multi => error(code),
            codes => Txn::Multi(codes.iter().map(error).collect()),
        };
        let (session, cxid) = (rejection.session, rejection.cxid);
        if let Some(applied) = self.append(&txn, session, cxid, now, log) {
            self.step(applied.changes, None);
        }
    }

    /// A learner's client wants to go on with a session; whether it may.
    pub fn revalidate(
        &mut self,
        link: LinkId,
        session: SessionId,
        timeout_ms: i32,
        now: Now,
    ) -> bool {
        let owner = Owner::Learner(link);
        self.sessions
            .revalidate(session, timeout_ms, owner, now.monotonic_ms)
    }

    /// A learner heard from these sessions.
    pub fn touched(&mut self, sessions: &[(SessionId, i32)], now: Now) {
        for &(session, _) in sessions {
            self.sessions.touch(session, now.monotonic_ms);
        }
    }
}

//! The sequencer of a learner: requests go to the leader, its transactions come back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::auth::Identity;
use crate::exchange::{Answer, Item, Origin, Owner, Request, ToSequencer};
use crate::jute::op;
use crate::jute::txn::{Txn, TxnHeader, decode_txn};
use crate::mutation::{self, Mutation};
use crate::prep::makes_ephemeral;
use crate::session::session_password;
use crate::tree::{Applied, Changes, DIGEST_VERSION, Outcome};
use crate::types::{ErrorCode, SessionId, Zxid};
use crate::zab::Rejection;
use crate::zab::leader::Forwarded;
use crate::zab::learner::AppendFault;

use super::digests::DIGEST_LEN;
use super::{Log, Now, Sequencer, attached, not_opened};

/// What goes to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToLeader {
    /// A client's request.
    Request(Forwarded),
    /// Does this session live? Its timeout in milliseconds goes with it.
    Revalidate(SessionId, i32),
}

/// A request on its way.
#[derive(Debug)]
struct Pending {
    /// Whom to answer; nobody where a session of this server alone becomes one of the ensemble.
    origin: Option<Origin>,
    xid: i32,
    op: i32,
    timeout_ms: i32,
    received_us: u64,
    /// What it means to the client when the leader says that the session is over: where one that this
    /// server alone knew is to own an ephemeral node, that the leader does not know it.
    expired_means: ErrorCode,
}

/// What a learner's clients wait for.
#[derive(Debug, Default)]
pub struct Following {
    /// Of each session, in order.
    requests: BTreeMap<SessionId, VecDeque<Pending>>,
    /// The leader answers syncs in order, without saying whose they are.
    syncs: VecDeque<(SessionId, Pending)>,
    /// Who closes a session that this server alone knows, behind requests on their way.
    closes: BTreeMap<SessionId, Pending>,
    /// Requests that failed after transactions that have not come yet.
    rejected: VecDeque<Rejection>,
    /// How many rejections were taken in, and how many of them the leader has confirmed. An answer
    /// waits in the history until it is.
    rejections: u64,
    confirmations: u64,
    revalidations: BTreeMap<SessionId, VecDeque<(Origin, i32)>>,
    /// Sessions heard from since the leader last asked, with their timeouts in milliseconds.
    touched: BTreeMap<SessionId, i32>,
    outbox: VecDeque<ToLeader>,
    waiting: usize,
}

impl Following {
    /// Requests on their way.
    pub fn len(&self) -> usize {
        self.waiting
    }

    fn forward(
        &mut self,
        session: SessionId,
        pending: Pending,
        body: Box<[u8]>,
        identities: Arc<[Identity]>,
    ) {
        self.outbox.push_back(ToLeader::Request(Forwarded {
            session,
            cxid: pending.xid,
            op: pending.op,
            body,
            identities,
        }));
        if mutation::is(Mutation::AskTwice) && pending.op != op::SYNC {
            let again = self.outbox.back().cloned();
            self.outbox.extend(again);
        }
        self.waiting += 1;
        if pending.op == op::SYNC {
            self.syncs.push_back((session, pending));
        } else {
            self.requests.entry(session).or_default().push_back(pending);
        }
    }

    /// The request that this transaction is the answer to, if one of our clients waits for it.
    fn answered_by(&mut self, header: &TxnHeader) -> Option<Pending> {
        let is_close = |op| op == op::CLOSE_SESSION;
        // A session that expires is closed by the leader under the number 0.
        self.take(SessionId(header.client_id), |pending| {
            pending.xid == header.cxid && is_close(header.kind) == is_close(pending.op)
        })
    }

    /// Takes the oldest request of a session that is like that. Those before it were rejected, and
    /// the word of it is on its way.
    fn take(&mut self, session: SessionId, is_it: impl Fn(&Pending) -> bool) -> Option<Pending> {
        let queue = self.requests.get_mut(&session)?;
        let at = queue.iter().position(is_it)?;
        let pending = queue.remove(at);
        if queue.is_empty() {
            self.requests.remove(&session);
        }
        self.waiting -= 1;
        pending
    }

    /// Who closes this session, if nothing that it asked for before is still on its way.
    fn take_close(&mut self, session: SessionId) -> Option<Pending> {
        if !self.closes.contains_key(&session)
            || self.requests.contains_key(&session)
            || self.syncs.iter().any(|(of, _)| *of == session)
        {
            return None;
        }
        self.closes.remove(&session)
    }
}

impl Sequencer {
    /// Takes in a shard's message where another server decides.
    pub(super) fn forward(&mut self, message: ToSequencer, now: Now) {
        match message {
            ToSequencer::Request(request) => self.forward_request(request),
            ToSequencer::OpenSession { origin, timeout_ms } if self.locals.are_enabled() => {
                self.open_local(origin, timeout_ms, now);
            }
            ToSequencer::OpenSession { origin, timeout_ms } => {
                let session = self.sessions.next_id();
                self.forward_open(session, Some(origin), timeout_ms);
            }
            ToSequencer::ReattachSession {
                origin,
                session,
                password,
                timeout_ms,
            } if self.is_local(session) => {
                self.reattach((origin, session), &password, timeout_ms, now, || 0);
            }
            ToSequencer::ReattachSession {
                origin,
                session,
                password,
                timeout_ms,
            } => {
                if session == SessionId::NONE || password != session_password(session) {
                    self.answer_now(origin, Answer::SessionRefused);
                    return;
                }
                let following = self.following();
                following
                    .revalidations
                    .entry(session)
                    .or_default()
                    .push_back((origin, timeout_ms));
                following
                    .outbox
                    .push_back(ToLeader::Revalidate(session, timeout_ms));
            }
            ToSequencer::Heard {
                shard,
                as_of_ms,
                sessions,
            } => self.heard(shard, as_of_ms, &sessions),
        }
    }

    /// Has the leader open a session for everybody.
    fn forward_open(&mut self, session: SessionId, origin: Option<Origin>, timeout_ms: i32) {
        let pending = Pending {
            origin,
            xid: 0,
            op: op::CREATE_SESSION,
            timeout_ms,
            received_us: 0,
            expired_means: ErrorCode::SessionExpired,
        };
        let body = timeout_ms.to_be_bytes().into();
        self.following()
            .forward(session, pending, body, Arc::default());
    }

    fn forward_request(&mut self, request: Request) {
        let session = request.session;
        self.note_touched(session);
        let mut pending = Pending {
            origin: Some(request.origin),
            xid: request.xid,
            op: request.op,
            timeout_ms: 0,
            received_us: request.received_us,
            expired_means: ErrorCode::SessionExpired,
        };
        let is_local = self.is_local(session);
        if is_local && request.op == op::CLOSE_SESSION {
            self.locals.remove(session);
            self.following().closes.insert(session, pending);
            return self.close_local(session);
        }
        if self.local_sessions().contains(session) && makes_ephemeral(request.op, &request.body) {
            pending.expired_means = ErrorCode::EphemeralOnLocalSession;
            if self.locals.can_upgrade() {
                // The leader had no room for the session.
                pending.expired_means = ErrorCode::SystemError;
                if is_local {
                    let timeout_ms = self.local_sessions().timeout_ms(session);
                    self.locals.begin_upgrade(session);
                    self.forward_open(session, None, timeout_ms.unwrap_or(0));
                }
            }
        }
        let identities = match mutation::is(Mutation::AskAnonymously) {
            true => Arc::default(),
            false => request.identities,
        };
        self.following()
            .forward(session, pending, request.body, identities);
    }

    /// Answers who closes a session that this server alone knows, once all that it asked for before
    /// has been answered.
    fn close_local(&mut self, session: SessionId) {
        let following = self.following.as_mut();
        if let Some(pending) = following.and_then(|following| following.take_close(session)) {
            // Behind what is applied, where the answers before this one are.
            let answer = reply(&pending, Outcome::Done);
            self.step(Changes::new(), pending.origin.zip(Some(answer)));
        }
    }

    pub(super) fn note_touched(&mut self, session: SessionId) {
        if let Some(timeout_ms) = self.sessions.timeout_ms(session) {
            self.following().touched.insert(session, timeout_ms);
        }
    }

    fn following(&mut self) -> &mut Following {
        self.following
            .as_mut()
            .expect("only asked where another server decides")
    }

    /// The next thing for the leader.
    pub fn poll_leader(&mut self) -> Option<ToLeader> {
        self.following.as_mut()?.outbox.pop_front()
    }

    /// The sessions heard from since the last call, with their timeouts in milliseconds, and those
    /// whose shard is late to say so: their pings may wait in its sockets, and the leader takes who is
    /// not named here for silent.
    pub fn take_touched(&mut self, now: Now) -> BTreeMap<SessionId, i32> {
        let Some(following) = &mut self.following else {
            return BTreeMap::new();
        };
        let mut touched = std::mem::take(&mut following.touched);
        touched.extend(self.sessions.unreported(now.monotonic_ms));
        touched
    }

    /// The leader knows a session, or does not.
    pub fn revalidated(&mut self, session: SessionId, is_valid: bool, now: Now) {
        let Some(following) = &mut self.following else {
            return;
        };
        let Some(queue) = following.revalidations.get_mut(&session) else {
            return;
        };
        let asked = queue.pop_front();
        if queue.is_empty() {
            following.revalidations.remove(&session);
        }
        let Some((origin, timeout_ms)) = asked else {
            return;
        };
        if !is_valid {
            self.answer_now(origin, Answer::SessionRefused);
            return;
        }
        if self.sessions.timeout_ms(session).is_none() {
            // Opened at another member, whose transaction has not come here yet.
            let owner = Some(Owner::Connection(origin));
            self.sessions
                .opened_elsewhere(session, owner, timeout_ms, now.monotonic_ms);
        }
        if let Some(former) = self.sessions.attach(session, timeout_ms, origin) {
            let reason = ErrorCode::SessionMoved;
            self.answer_now(former, Answer::Detached { session, reason });
        }
        self.note_touched(session);
        self.answer_now(origin, attached(session, timeout_ms));
    }

    /// The leader has done the oldest sync that was forwarded to it.
    pub fn synced(&mut self) {
        let Some(following) = &mut self.following else {
            return;
        };
        let Some((session, pending)) = following.syncs.pop_front() else {
            return;
        };
        following.waiting -= 1;
        if let Some(origin) = pending.origin {
            let answer = reply(&pending, Outcome::Done);
            self.answer_now(origin, answer);
        }
        self.close_local(session);
    }

    /// The leader has rejected a request that was forwarded to it.
    pub fn rejected(&mut self, rejection: Rejection) {
        if let Some(following) = &mut self.following {
            following.rejected.push_back(rejection);
            self.answer_rejected();
        }
    }

    /// The leader still led when it sent the oldest rejection that was not confirmed.
    pub fn confirmed(&mut self) {
        if let Some(following) = &mut self.following {
            following.confirmations += 1;
            self.history.confirm_round(following.confirmations);
        }
    }

    /// Answers those whose requests failed, once all transactions before are here (an observer gets
    /// them when they are committed): behind them, and before those after.
    fn answer_rejected(&mut self) {
        let tip = self.tree.tip_zxid();
        while let Some(following) = &mut self.following
            && following
                .rejected
                .front()
                .is_some_and(|first| first.after <= tip)
            && let Some(rejection) = following.rejected.pop_front()
        {
            following.rejections += 1;
            let round = following.rejections;
            let cxid = rejection.cxid;
            let pending = following.take(rejection.session, |pending| pending.xid == cxid);
            let session = rejection.session;
            let outcome = match rejection.errors[..] {
                [code] if !rejection.is_multi => Outcome::Failed(code),
                _ => Outcome::MultiFailed(rejection.errors),
            };
            if let Some(pending) = pending {
                let answer = if pending.op == op::CREATE_SESSION {
                    self.locals.end_upgrade(session);
                    not_opened(session)
                } else {
                    reply(&pending, outcome)
                };
                let item = Item {
                    zxid: rejection.after.max(self.committed),
                    changes: Changes::new(),
                    answer: pending.origin.map(|origin| (origin, answer)),
                };
                self.history.insert_after_round(item, round);
            }
            self.close_local(session);
        }
    }

    /// Answers behind all that is committed, before what is not.
    fn answer_now(&mut self, origin: Origin, answer: Answer) {
        self.history.insert(Item {
            zxid: self.committed,
            changes: Changes::new(),
            answer: Some((origin, answer)),
        });
    }

    /// Applies a transaction of the leader's and hands it to the log.
    ///
    /// # Errors
    /// Where it is none, does not come after the tip, or the disk has no room for it.
    pub fn apply(
        &mut self,
        payload: &[u8],
        now: Now,
        log: &mut impl Log,
    ) -> Result<Zxid, AppendFault> {
        let (header, txn, digest) =
            decode_txn(payload).map_err(|error| AppendFault::Bad(error.to_string()))?;
        let zxid = Zxid(header.zxid);
        if zxid <= self.tree.tip_zxid() {
            return Err(AppendFault::Bad(format!(
                "it does not come after {}",
                self.tree.tip_zxid()
            )));
        }
        if !log.has_room(payload.len() + DIGEST_LEN) {
            return Err(AppendFault::NoRoom);
        }
        let applied = self.tree.apply(&header, &txn);
        if let Some(digest) = digest.filter(|digest| digest.version == DIGEST_VERSION) {
            self.compare_digest(zxid, digest.tree_digest);
        }
        log.append(zxid, payload);
        self.metrics.commits.increment();
        self.note_applied(&header, &txn, applied, now);
        self.snapshots.logged(payload.len(), self.tree.node_count());
        self.request_snapshot_if_due();
        Ok(zxid)
    }

    /// Compares our tree with the leader's.
    fn compare_digest(&mut self, zxid: Zxid, leaders: i64) {
        if !self.digest_enabled {
            return;
        }
        self.digests.note(zxid, leaders);
        if self.digests.is_wrong(self.tree.digest() as i64, leaders) {
            self.metrics.digest_mismatches.increment();
            tracing::error!(%zxid, "the tree is not what it was at the leader");
        }
    }

    /// Keeps the sessions, and finds who waits for this transaction.
    fn note_applied(&mut self, header: &TxnHeader, txn: &Txn<'_>, applied: Applied, now: Now) {
        let session = SessionId(header.client_id);
        let answered = self
            .following
            .as_mut()
            .and_then(|following| following.answered_by(header));
        let origin = answered.as_ref().and_then(|pending| pending.origin);
        let mut answer = answered
            .as_ref()
            .and_then(|pending| Some((pending.origin?, reply(pending, applied.outcome))));
        match txn {
            Txn::CreateSession(create) => {
                let timeout_ms = create.timeout_ms;
                if let Some(origin) = origin {
                    let owner = Some(Owner::Connection(origin));
                    self.sessions
                        .opened_elsewhere(session, owner, timeout_ms, now.monotonic_ms);
                } else {
                    self.become_global(session, timeout_ms, now);
                }
                answer = answered.and_then(|pending| {
                    Some((pending.origin?, attached(session, pending.timeout_ms)))
                });
            }
            Txn::CloseSession(_) => {
                let owner = self.sessions.owner(session);
                self.sessions.begin_close(session);
                self.closing.push_back((applied.zxid, session));
                if answer.is_none() {
                    let reason = ErrorCode::SessionExpired;
                    answer = owner.map(|origin| (origin, Answer::Detached { session, reason }));
                }
            }
            _ => {}
        }
        self.step(applied.changes, answer);
        self.close_local(session);
        self.answer_rejected();
    }
}

fn reply(pending: &Pending, mut outcome: Outcome) -> Answer {
    let codes = match &mut outcome {
        Outcome::Failed(code) => std::slice::from_mut(code),
        Outcome::MultiFailed(codes) => codes,
        _ => &mut [],
    };
    for code in codes {
        if *code == ErrorCode::SessionExpired {
            *code = pending.expired_means;
        }
    }
    Answer::Reply {
        xid: pending.xid,
        op: pending.op,
        outcome,
        received_us: pending.received_us,
    }
}

//! Sessions that this server alone knows (Apache's `UpgradeableSessionTracker`), and serving those
//! who only read while there is no leader (Apache's `ReadOnlyZooKeeperServer`).
//!
//! A local session costs no transaction: it is opened, closed and expired here, and gone when this
//! server's role changes. It may do everything but own ephemeral nodes. Where that is allowed, it
//! becomes a session of the ensemble first: it keeps its id, and the leader opens it by a
//! transaction.

use std::collections::BTreeSet;

use crate::exchange::{Answer, Origin, Owner, ShardId, ToSequencer};
use crate::jute::op;
use crate::mutation::{self, Mutation};
use crate::prep::create_session;
use crate::session::SessionTable;
use crate::tree::{Changes, Outcome};
use crate::types::{ErrorCode, SessionId};

use super::{Log, Now, Sequencer, attached, reply_to};

/// Whether sessions may live on one member alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalSessions {
    /// All sessions are known to all members.
    #[default]
    Disabled,
    /// New ones live on one member, for good (`localSessionsEnabled`).
    Enabled,
    /// New ones live on one member until they make an ephemeral node
    /// (`localSessionsUpgradingEnabled`).
    Upgrading,
}

/// The sessions that this server alone knows.
#[derive(Debug)]
pub(super) struct Locals {
    policy: LocalSessions,
    table: SessionTable,
    /// Those that the leader was asked to open for everybody.
    upgrading: BTreeSet<SessionId>,
}

impl Locals {
    pub(super) fn new(global: &SessionTable) -> Locals {
        Locals {
            policy: LocalSessions::Disabled,
            table: global.sibling(),
            upgrading: BTreeSet::new(),
        }
    }

    pub(super) fn are_enabled(&self) -> bool {
        self.policy != LocalSessions::Disabled
    }

    pub(super) fn can_upgrade(&self) -> bool {
        self.policy == LocalSessions::Upgrading
    }

    pub(super) fn table(&mut self) -> &mut SessionTable {
        &mut self.table
    }

    /// Whether this session is known here alone, and is to stay so for now.
    pub(super) fn knows(&self, session: SessionId) -> bool {
        self.table.contains(session) && !self.upgrading.contains(&session)
    }

    pub(super) fn begin_upgrade(&mut self, session: SessionId) {
        self.upgrading.insert(session);
    }

    /// The leader could not open it.
    pub(super) fn end_upgrade(&mut self, session: SessionId) {
        self.upgrading.remove(&session);
    }

    pub(super) fn heard(&mut self, shard: ShardId, as_of_ms: u64, sessions: &[SessionId]) {
        self.table.heard(shard, as_of_ms, sessions);
    }

    /// Forgets a session; the connection that had it, and its timeout in milliseconds.
    pub(super) fn remove(&mut self, session: SessionId) -> Option<(Option<Owner>, i32)> {
        self.upgrading.remove(&session);
        let timeout_ms = self.table.timeout_ms(session)?;
        let owner = self.table.owner(session).map(Owner::Connection);
        self.table.remove(session);
        Some((owner, timeout_ms))
    }

    pub(super) fn clear(&mut self) {
        self.upgrading.clear();
        self.table.replace(&[], 0);
    }
}

impl Sequencer {
    /// Has new sessions live on this server alone from now on, or not.
    pub fn set_local_sessions(&mut self, policy: LocalSessions) {
        self.locals.policy = policy;
    }

    /// Whether there may be sessions that this server alone knows.
    pub fn has_local_sessions(&self) -> bool {
        self.locals.are_enabled() || self.is_read_only
    }

    /// The sessions that this server alone knows, to report about.
    pub fn local_sessions(&self) -> &SessionTable {
        &self.locals.table
    }

    /// Lets clients read all that there is, although no leader has said what of it is committed.
    pub fn serve_read_only(&mut self) {
        self.halt();
        self.is_read_only = true;
    }

    pub(super) fn is_local(&self, session: SessionId) -> bool {
        self.locals.knows(session)
    }

    /// Opens a session that nobody else knows.
    pub(super) fn open_local(&mut self, origin: Origin, timeout_ms: i32, now: Now) {
        let session = self.sessions.next_id();
        let owner = Some(Owner::Connection(origin));
        self.locals
            .table
            .opened_elsewhere(session, owner, timeout_ms, now.monotonic_ms);
        self.step(
            Changes::new(),
            Some((origin, attached(session, timeout_ms))),
        );
    }

    /// Takes in a message where clients may only read. A session of the ensemble cannot be gone on
    /// with, since nobody knows whether it still lives. Nor can it be said to be over: it may have been
    /// opened at another server since this one was cut off, or here before this one lost its data.
    pub(super) fn handle_read_only(&mut self, message: ToSequencer, now: Now) {
        match message {
            ToSequencer::Request(request) => {
                let is_end = request.op == op::CLOSE_SESSION;
                let is_end = is_end && self.locals.remove(request.session).is_some();
                let outcome = if is_end || mutation::is(Mutation::WriteWithoutLeader) {
                    Outcome::Done
                } else {
                    Outcome::Failed(ErrorCode::NotReadOnly)
                };
                let answer = reply_to(&request, outcome);
                self.step(Changes::new(), Some((request.origin, answer)));
            }
            ToSequencer::OpenSession { origin, timeout_ms } => {
                self.open_local(origin, timeout_ms, now);
            }
            ToSequencer::ReattachSession {
                origin, session, ..
            } if self.sessions.contains(session) || !self.sessions.is_of_this_run(session) => {
                tracing::info!(%session, "refusing a session of the ensemble in read-only mode");
                let reason = ErrorCode::ConnectionLoss;
                let answer = match mutation::is(Mutation::EndWithoutLeader) {
                    true => Answer::SessionRefused,
                    false => Answer::Detached { session, reason },
                };
                self.step(Changes::new(), Some((origin, answer)));
            }
            ToSequencer::ReattachSession {
                origin,
                session,
                password,
                timeout_ms,
            } => self.reattach((origin, session), &password, timeout_ms, now, || 0),
            ToSequencer::Heard {
                shard,
                as_of_ms,
                sessions,
            } => self.heard(shard, as_of_ms, &sessions),
        }
    }

    /// Whether somebody may act for a session, and whether it may own ephemeral nodes (Apache's
    /// `checkSession` and `checkGlobalSession`). A learner's may be one that only the learner knows.
    pub(super) fn session_states(
        &self,
        session: SessionId,
        from: Owner,
    ) -> (Result<(), ErrorCode>, Result<(), ErrorCode>) {
        if self.is_local(session) {
            let state = self.locals.table.check(session, from);
            return match mutation::is(Mutation::EphemeralOfLocal) {
                true => (state, Ok(())),
                false => (state, Err(ErrorCode::EphemeralOnLocalSession)),
            };
        }
        let state = self.sessions.check(session, from);
        let may_be_local = self.locals.are_enabled()
            && matches!(from, Owner::Learner(_))
            && !self.sessions.is_own(session);
        if state == Err(ErrorCode::UnknownSession) && may_be_local {
            return (Ok(()), Err(ErrorCode::SessionExpired));
        }
        (state, Ok(()))
    }

    /// Makes a session of this server alone one of the ensemble, which this server leads; false
    /// where the log has no room for it now.
    pub(super) fn upgrade(&mut self, session: SessionId, now: Now, log: &mut impl Log) -> bool {
        let timeout_ms = self.locals.table.timeout_ms(session).unwrap_or(0);
        let txn = create_session(timeout_ms);
        let is_told = !mutation::is(Mutation::LostUpgrade);
        if is_told && self.append(&txn, session, 0, now, log).is_none() {
            return false;
        }
        self.become_global(session, timeout_ms, now);
        self.step(Changes::new(), None);
        true
    }

    /// A session has been opened for everybody: it is none of this server alone any more, but its
    /// connection keeps it.
    pub(super) fn become_global(&mut self, session: SessionId, timeout_ms: i32, now: Now) {
        let owner = self.locals.remove(session).and_then(|(owner, _)| owner);
        let known = self.sessions.owner(session).map(Owner::Connection);
        self.sessions
            .opened_elsewhere(session, known.or(owner), timeout_ms, now.monotonic_ms);
    }

    /// Ends the sessions of this server alone whose time is over. To be called several times a tick
    /// where another server decides, or nobody does; [`Sequencer::tick`] does it too.
    pub fn expire_locals(&mut self) {
        for session in self.locals.table.expire(u64::MAX) {
            tracing::info!(%session, "session of this server alone expired");
            self.metrics.sessions_expired.increment();
            let owner = self.locals.table.owner(session);
            self.locals.remove(session);
            let reason = ErrorCode::SessionExpired;
            let detached = Answer::Detached { session, reason };
            self.step(Changes::new(), owner.map(|origin| (origin, detached)));
        }
    }
}

#[cfg(test)]
mod tests;

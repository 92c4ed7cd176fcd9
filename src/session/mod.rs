//! Sessions: who has one, for how long, over which connection, and when it is over
//! (Apache's `SessionTrackerImpl` and `ExpiryQueue`).
//!
//! All times are an argument, in milliseconds on one monotonic clock. A session expires when
//! nothing was heard from it for its timeout, rounded up to the next multiple of the tick. What
//! counts is not the clock but how far the shards have reported: as long as one of them has yet to
//! say what its sockets held up to some time, no session expires that could have been heard from
//! by then. So a server that was stopped for a while expires nobody whose pings are waiting.
//!
//! The table knows sessions from the moment they are opened. Making the transactions that open and
//! close them, in order and durably, is the sequencer's part.

mod password;

pub use password::session_password;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::exchange::{Origin, Owner, ShardId};
use crate::types::{ErrorCode, SessionId};

/// What the table must know of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// `tickTime` in milliseconds, at least 1.
    pub tick_ms: u64,
    /// The top byte of the ids: `myid`; alone, 1.
    pub server_id: u8,
    /// How many shards report what they heard.
    pub shards: u16,
}

/// A shard is late with its report when the last one is a tick old, but at least and at most so many
/// milliseconds: more than lies between two reports of a shard that gets its turns.
const REPORT_LATE_MS_MIN: u64 = 250;
const REPORT_LATE_MS_MAX: u64 = 1000;

/// The timeout that a client gets, in milliseconds (Apache's `processConnectRequest`): the one it
/// asked for, within `minSessionTimeout` and `maxSessionTimeout`. Where the two are contradictory
/// the maximum wins.
pub fn negotiate_timeout_ms(asked_ms: i32, min_ms: i32, max_ms: i32) -> i32 {
    asked_ms.max(min_ms).min(max_ms)
}

/// A client could not go on with its session: it is unknown or closing, or the password is wrong.
/// Clients are not told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session is unknown or its password is wrong")]
pub struct SessionRefused;

#[derive(Clone, Debug)]
struct Session {
    /// As opened: what survives a restart.
    opened_timeout_ms: i32,
    /// As negotiated by the connection that has it now.
    timeout_ms: i32,
    /// The bucket that the session is in; none once it is closing.
    expires_ms: Option<u64>,
    owner: Option<Owner>,
}

/// All sessions of a server.
#[derive(Clone, Debug)]
pub struct SessionTable {
    tick_ms: u64,
    server_id: u8,
    first_id: i64,
    next_id: i64,
    sessions: HashMap<SessionId, Session>,
    buckets: BTreeMap<u64, BTreeSet<SessionId>>,
    as_of_ms: Vec<u64>,
}

impl SessionTable {
    /// A table without sessions. `time_ms` is where ids start, so that those of one run are not
    /// those of another: milliseconds since the epoch.
    pub fn new(config: SessionConfig, time_ms: i64) -> SessionTable {
        assert!(config.tick_ms > 0, "a tick takes time");
        let first_id = first_session_id(config.server_id, time_ms);
        SessionTable {
            tick_ms: config.tick_ms,
            server_id: config.server_id,
            first_id,
            next_id: first_id,
            sessions: HashMap::new(),
            buckets: BTreeMap::new(),
            as_of_ms: vec![0; usize::from(config.shards)],
        }
    }

    /// Another table, without sessions, for the same shards.
    pub fn sibling(&self) -> SessionTable {
        SessionTable {
            tick_ms: self.tick_ms,
            server_id: self.server_id,
            first_id: self.first_id,
            next_id: self.next_id,
            sessions: HashMap::new(),
            buckets: BTreeMap::new(),
            as_of_ms: self.as_of_ms.clone(),
        }
    }

    /// Whether an id is one that this server gave out, in this run or another.
    pub fn is_own(&self, session: SessionId) -> bool {
        (session.0 >> 56) as u8 == self.server_id
    }

    /// Whether an id was given out in this run of this server.
    pub fn is_of_this_run(&self, session: SessionId) -> bool {
        (self.first_id..self.next_id).contains(&session.0)
    }

    /// Whether there is such a session, closing or not.
    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Takes over sessions with their timeouts in milliseconds, from a snapshot and a log. Each has
    /// its whole timeout before it, and no connection.
    pub fn restore(&mut self, sessions: impl IntoIterator<Item = (SessionId, i32)>, now_ms: u64) {
        for (session, timeout_ms) in sessions {
            self.track(session, timeout_ms, None, now_ms);
        }
    }

    /// All sessions and the timeouts, in milliseconds, with which they were opened, sorted by id.
    /// Closing ones are among them until they are removed: if the transaction that closes them is
    /// lost, they must be there to expire again, or their ephemerals would stay for ever.
    pub fn snapshot(&self) -> Vec<(SessionId, i32)> {
        let mut all: Vec<_> = self
            .sessions
            .iter()
            .map(|(&id, session)| (id, session.opened_timeout_ms))
            .collect();
        all.sort_unstable();
        all
    }

    /// How many sessions there are, closing ones included.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Opens a session for a connection.
    pub fn open(&mut self, owner: Origin, timeout_ms: i32, now_ms: u64) -> SessionId {
        let session = self.next_id();
        let owner = Some(Owner::Connection(owner));
        self.track(session, timeout_ms, owner, now_ms);
        session
    }

    /// An id for a session that is to be opened.
    pub fn next_id(&mut self) -> SessionId {
        let mut session = SessionId(self.next_id);
        while session == SessionId::NONE || self.sessions.contains_key(&session) {
            session = SessionId(session.0.wrapping_add(1));
        }
        self.next_id = session.0.wrapping_add(1);
        session
    }

    /// Notes a session that another server has opened, for one of its clients.
    pub fn opened_elsewhere(
        &mut self,
        session: SessionId,
        owner: Option<Owner>,
        timeout_ms: i32,
        now_ms: u64,
    ) {
        let known = self.sessions.get(&session).and_then(|entry| entry.owner);
        self.track(session, timeout_ms, owner.or(known), now_ms);
    }

    /// Takes these sessions in the place of all others.
    pub fn replace(&mut self, sessions: &[(SessionId, i32)], now_ms: u64) {
        self.sessions.clear();
        self.buckets.clear();
        self.restore(sessions.iter().copied(), now_ms);
    }

    /// Begins anew: nobody holds a session, none is closing, and each has its whole timeout before
    /// it. For a server whose role has changed.
    pub fn restart(&mut self, now_ms: u64) {
        let sessions = self.snapshot();
        self.replace(&sessions, now_ms);
    }

    /// Whether a session with this timeout can be gone on with, and gives it to `owner` if so
    /// (Apache's `checkIfValidGlobalSession` and `setOwner`).
    pub fn revalidate(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        owner: Owner,
        now_ms: u64,
    ) -> bool {
        let Some(entry) = self.sessions.get_mut(&session) else {
            return false;
        };
        if entry.expires_ms.is_none() {
            return false;
        }
        entry.timeout_ms = timeout_ms;
        entry.owner = Some(owner);
        self.touch(session, now_ms)
    }

    /// Gives a session to a connection of this server, which the leader has allowed. Returns the
    /// connection that had it.
    pub fn attach(&mut self, session: SessionId, timeout_ms: i32, owner: Origin) -> Option<Origin> {
        let entry = self.sessions.get_mut(&session)?;
        entry.timeout_ms = timeout_ms;
        let former = entry.owner.replace(Owner::Connection(owner));
        match former {
            Some(Owner::Connection(former)) if former != owner => Some(former),
            _ => None,
        }
    }

    /// Gives a session to another connection, with a timeout of its own (Apache's `reopenSession`).
    /// Returns the connection that had it, which must close; none after a restart, or where it is
    /// the same.
    pub fn reattach(
        &mut self,
        session: SessionId,
        password: &[u8],
        timeout_ms: i32,
        owner: Origin,
        now_ms: u64,
    ) -> Result<Option<Origin>, SessionRefused> {
        if session == SessionId::NONE || password != session_password(session) {
            return Err(SessionRefused);
        }
        let entry = self.sessions.get_mut(&session).ok_or(SessionRefused)?;
        if entry.expires_ms.is_none() {
            return Err(SessionRefused);
        }
        entry.timeout_ms = timeout_ms;
        let former = entry.owner.replace(Owner::Connection(owner));
        self.touch(session, now_ms);
        Ok(match former {
            Some(Owner::Connection(former)) if former != owner => Some(former),
            _ => None,
        })
    }

    /// Whether a connection may act for a session (Apache's `checkSession`): `UnknownSession`,
    /// `SessionExpired` where it is closing, `SessionMoved` where another connection has it.
    pub fn check(&self, session: SessionId, from: Owner) -> Result<(), ErrorCode> {
        match self.sessions.get(&session) {
            None => Err(ErrorCode::UnknownSession),
            Some(entry) if entry.expires_ms.is_none() => Err(ErrorCode::SessionExpired),
            Some(entry) if entry.owner.is_some_and(|owner| owner != from) => {
                Err(ErrorCode::SessionMoved)
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether a session lives, and is not being closed.
    pub fn is_open(&self, session: SessionId) -> bool {
        let entry = self.sessions.get(&session);
        entry.is_some_and(|entry| entry.expires_ms.is_some())
    }

    /// The connection of this server that has a session.
    pub fn owner(&self, session: SessionId) -> Option<Origin> {
        match self.sessions.get(&session)?.owner? {
            Owner::Connection(origin) => Some(origin),
            Owner::Learner(_) => None,
        }
    }

    /// The timeout of a session in milliseconds, as its connection negotiated it.
    pub fn timeout_ms(&self, session: SessionId) -> Option<i32> {
        Some(self.sessions.get(&session)?.timeout_ms)
    }

    /// Notes that a session was heard from. False where there is none, or it is closing.
    pub fn touch(&mut self, session: SessionId, now_ms: u64) -> bool {
        let Some(entry) = self.sessions.get_mut(&session) else {
            return false;
        };
        let Some(expires_ms) = entry.expires_ms else {
            return false;
        };
        let later_ms = bucket_ms(self.tick_ms, now_ms, entry.timeout_ms);
        // A report that was under way may be older than what a reconnect has noted since.
        if later_ms > expires_ms {
            entry.expires_ms = Some(later_ms);
            self.leave_bucket(expires_ms, session);
            self.buckets.entry(later_ms).or_default().insert(session);
        }
        true
    }

    /// The sessions, with their timeouts in milliseconds, whose shard has not reported for so long that
    /// their clients may have been heard from since: by `now_ms` it should have. In no order.
    pub fn unreported(&self, now_ms: u64) -> impl Iterator<Item = (SessionId, i32)> {
        let late_ms = self.tick_ms.clamp(REPORT_LATE_MS_MIN, REPORT_LATE_MS_MAX);
        let is_late = move |as_of_ms: &u64| as_of_ms + late_ms < now_ms;
        // Nearly always no shard is late, and nothing is looked through.
        let sessions = self.as_of_ms.iter().any(is_late).then_some(&self.sessions);
        let of_late_shard = move |(&id, session): (&SessionId, &Session)| match session.owner {
            Some(Owner::Connection(origin))
                if is_late(&self.as_of_ms[usize::from(origin.shard.0)]) =>
            {
                Some((id, session.timeout_ms))
            }
            _ => None,
        };
        sessions.into_iter().flatten().filter_map(of_late_shard)
    }

    /// Takes in a shard's report: up to `as_of_ms` it heard from these sessions and no others.
    pub fn heard(&mut self, shard: ShardId, as_of_ms: u64, sessions: &[SessionId]) {
        for &session in sessions {
            self.touch(session, as_of_ms);
        }
        let reported = &mut self.as_of_ms[usize::from(shard.0)];
        *reported = (*reported).max(as_of_ms);
    }

    /// Ends the sessions whose time is over, as far as all shards have reported and no further than
    /// `heard_up_to_ms`, until when others have; returns them. They are closing from now on.
    pub fn expire(&mut self, heard_up_to_ms: u64) -> Vec<SessionId> {
        let horizon_ms = self.as_of_ms.iter().copied().min().unwrap_or(0);
        let horizon_ms = horizon_ms.min(heard_up_to_ms);
        let mut expired = Vec::new();
        while let Some(bucket) = self.buckets.first_entry()
            && *bucket.key() <= horizon_ms
        {
            for session in bucket.remove() {
                self.sessions
                    .get_mut(&session)
                    .expect("a session in a bucket is in the table")
                    .expires_ms = None;
                expired.push(session);
            }
        }
        expired
    }

    /// A session that has just expired has its whole timeout anew: its closing could not be logged.
    pub fn live_on(&mut self, session: SessionId, now_ms: u64) {
        if let Some(entry) = self.sessions.get_mut(&session)
            && entry.expires_ms.is_none()
        {
            let expires_ms = bucket_ms(self.tick_ms, now_ms, entry.timeout_ms);
            entry.expires_ms = Some(expires_ms);
            self.buckets.entry(expires_ms).or_default().insert(session);
        }
    }

    /// When the next sessions can expire, in milliseconds: when all shards have reported up to this
    /// time, [`SessionTable::expire`] finds something.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.buckets.first_key_value().map(|(&at_ms, _)| at_ms)
    }

    /// Marks a session as closing (Apache's `setSessionClosing`), when the transaction that closes
    /// it is made. Its later requests fail.
    pub fn begin_close(&mut self, session: SessionId) {
        if let Some(entry) = self.sessions.get_mut(&session)
            && let Some(expires_ms) = entry.expires_ms.take()
        {
            self.leave_bucket(expires_ms, session);
        }
    }

    /// Forgets a session, when the transaction that closes it is committed.
    pub fn remove(&mut self, session: SessionId) {
        self.begin_close(session);
        self.sessions.remove(&session);
    }

    /// The sessions by the time, in milliseconds, at which they expire, earliest first.
    pub fn by_expiry(&self) -> impl Iterator<Item = (u64, &BTreeSet<SessionId>)> {
        self.buckets
            .iter()
            .map(|(&at_ms, sessions)| (at_ms, sessions))
    }

    fn track(&mut self, session: SessionId, timeout_ms: i32, owner: Option<Owner>, now_ms: u64) {
        let expires_ms = bucket_ms(self.tick_ms, now_ms, timeout_ms);
        let before = self.sessions.insert(
            session,
            Session {
                opened_timeout_ms: timeout_ms,
                timeout_ms,
                expires_ms: Some(expires_ms),
                owner,
            },
        );
        if let Some(expires_ms) = before.and_then(|before| before.expires_ms) {
            self.leave_bucket(expires_ms, session);
        }
        self.buckets.entry(expires_ms).or_default().insert(session);
    }

    fn leave_bucket(&mut self, expires_ms: u64, session: SessionId) {
        let bucket = self
            .buckets
            .get_mut(&expires_ms)
            .expect("a session that expires is in its bucket");
        let was_there = bucket.remove(&session);
        assert!(was_there, "a session that expires is in its bucket");
        if bucket.is_empty() {
            self.buckets.remove(&expires_ms);
        }
    }
}

/// The bucket of a session that was heard from at `now_ms`: the first tick after its timeout.
fn bucket_ms(tick_ms: u64, now_ms: u64, timeout_ms: i32) -> u64 {
    let due_ms = now_ms.saturating_add(timeout_ms.max(0) as u64);
    (due_ms / tick_ms).saturating_add(1).saturating_mul(tick_ms)
}

/// Where the ids of a run start (Apache's `initializeNextSessionId`): the server's id in the top
/// byte, then 40 bits of the time, then 16 bits to count in.
fn first_session_id(server_id: u8, time_ms: i64) -> i64 {
    let time = ((time_ms as u64) << 24) >> 8;
    let id = (time | (u64::from(server_id) << 56)) as i64;
    // This id would make the session's ephemerals containers.
    if id == crate::types::container_owner() {
        id + 1
    } else {
        id
    }
}

#[cfg(test)]
mod tests;

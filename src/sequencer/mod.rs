//! Orders writes: prepares, assigns zxids, hands transactions to the log, and publishes what is
//! durable.
//!
//! A [`Sequencer`] does no I/O and knows no clock. Its driver feeds it the shards' messages and the
//! position up to which the log is durable, and carries away [`Batch`]es for the shards. It owns
//! the tree's writing side: a transaction is applied at the tip at once, before it is durable, so
//! that the next request is prepared against it; shards see it only when it is published.
//!
//! ```text
//! handle(message) ─▶ prepare ─▶ zxid ─▶ apply at the tip ─▶ log.append
//!                       │                                      │
//!                       └─ failed, sync: no zxid               ▼
//!                                    └──────▶ history ─▶ commit(zxid) ─▶ Batch
//! ```
//!
//! Every answer waits in one history, also those that need no transaction: it leaves when all
//! transactions before it are committed. So no client ever learns of a state that a crash could
//! take back.
//!
//! Where another server leads, requests go to it instead ([`ToLeader`]), its transactions come in
//! through [`Sequencer::apply`], and those of our own clients find their answers by session and
//! number.

mod digests;
mod following;
mod history;
mod learners;
mod local;
mod reaper;
mod snapshots;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::exchange::{Answer, Batch, Item, Origin, Owner, Request, ShardId, ToSequencer};
use crate::jute::txn::{Txn, TxnDigest, TxnHeader, encode_txn};
use crate::jute::{Record, op};
use crate::metrics::WriteMetrics;
use crate::mutation::{self, Mutation};
use crate::prep::{
    PrepConfig, Prepared, Preparer, ReapConfig, RequestView, create_session, makes_ephemeral,
};
use crate::session::{SessionRefused, SessionTable, session_password};
use crate::tree::{Applied, Changes, DIGEST_VERSION, Outcome, Tree};
use crate::types::{ErrorCode, SessionId, Zxid};

use digests::{DIGEST_LEN, Digests};
use following::Following;
pub use following::ToLeader;
pub use history::HISTORY_MAX;
use history::History;
pub use local::LocalSessions;
use local::Locals;
use reaper::Reaper;
use snapshots::Snapshots;
pub use snapshots::{SnapshotPolicy, SnapshotRequest};

/// A point in time, as the driver's clocks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// The server's monotonic clock, in milliseconds.
    pub monotonic_ms: u64,
    /// Wall-clock time, in milliseconds since the Unix epoch: what nodes are stamped with.
    pub wall_ms: i64,
}

/// Where transactions are made durable.
pub trait Log {
    /// Whether a record with this many bytes of payload can be taken now. Where it cannot, the
    /// disk is full: the write is refused and nothing changes.
    fn has_room(&mut self, payload_len: usize) -> bool;

    /// Takes a record, for which there is room, and proposes it to an ensemble's followers. It is
    /// committed once the driver says so through [`Sequencer::commit`].
    fn append(&mut self, zxid: Zxid, payload: &[u8]);

    /// Asks for proof that this server still leads; the number of the proof, which
    /// [`Sequencer::confirm_round`] is called with. A server that is alone needs none: 0.
    fn ask_round(&mut self) -> u64 {
        0
    }
}

/// What the sequencer must know of the configuration.
#[derive(Clone, Debug)]
pub struct SequencerConfig {
    /// How requests are prepared.
    pub prep: PrepConfig,
    /// When containers and nodes past their time go.
    pub reap: ReapConfig,
    /// Whether transactions carry the tree's digest.
    pub digest_enabled: bool,
}

/// The one writer: prepares, orders, applies and publishes. See the module's documentation.
pub struct Sequencer {
    tree: Tree,
    sessions: SessionTable,
    locals: Locals,
    preparer: Preparer,
    reap: ReapConfig,
    reaper: Reaper,
    snapshots: Snapshots,
    history: History,
    /// Sessions whose opening is ordered and not committed, with the zxid from which on they are there.
    opening: VecDeque<(Zxid, SessionId)>,
    /// Sessions whose closing is ordered, with the zxid at which they are gone.
    closing: VecDeque<(Zxid, SessionId)>,
    committed: Zxid,
    /// The epoch of the zxids that are given out.
    epoch: u32,
    /// Set while another server decides.
    following: Option<Following>,
    /// Set while nobody decides, and clients may read what there is.
    is_read_only: bool,
    digests: Digests,
    metrics: Arc<WriteMetrics>,
    digest_enabled: bool,
    payload: Vec<u8>,
}

impl Sequencer {
    /// A sequencer for a tree and sessions that are durable up to the tree's tip.
    pub fn new(
        config: SequencerConfig,
        tree: Tree,
        sessions: SessionTable,
        snapshots: SnapshotPolicy,
        metrics: Arc<WriteMetrics>,
        now: Now,
    ) -> Sequencer {
        Sequencer {
            committed: tree.tip_zxid(),
            epoch: tree.tip_zxid().epoch(),
            following: None,
            is_read_only: false,
            tree,
            locals: Locals::new(&sessions),
            sessions,
            preparer: Preparer::new(config.prep),
            reaper: Reaper::new(&config.reap, now.monotonic_ms),
            reap: config.reap,
            snapshots: Snapshots::new(snapshots),
            history: History::default(),
            opening: VecDeque::new(),
            closing: VecDeque::new(),
            digests: Digests::default(),
            metrics,
            digest_enabled: config.digest_enabled,
            payload: Vec::new(),
        }
    }

    /// The tree, to make views from.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The sessions, to report about.
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// The sessions as of what is committed, with their timeouts in milliseconds: what goes with a tree for
    /// a learner. One whose opening is not committed may never have been opened, and nobody would close
    /// it there.
    pub fn committed_sessions(&self) -> Vec<(SessionId, i32)> {
        let opening: HashSet<SessionId> = self.opening.iter().map(|&(_, id)| id).collect();
        let mut sessions = self.sessions.snapshot();
        sessions.retain(|(id, _)| !opening.contains(id));
        sessions
    }

    /// The newest zxid that clients may see: what is committed or, where they may only read, all
    /// that there is (as with Apache's read-only servers).
    pub fn published_zxid(&self) -> Zxid {
        if self.is_read_only {
            self.tree.tip_zxid()
        } else {
            self.committed
        }
    }

    /// Digests of the tree at some recent zxids, oldest first (Apache's `digestLog`).
    pub fn digests(&self) -> Vec<(Zxid, i64)> {
        self.digests.recent().collect()
    }

    /// Whether as many steps wait for the log as may: the driver leaves further messages in the
    /// shards' rings, and the shards leave their sockets unread.
    pub fn is_full(&self) -> bool {
        let forwarded = self.following.as_ref().map_or(0, Following::len);
        self.history.len() + forwarded >= HISTORY_MAX
    }

    /// Takes in one message of a shard.
    pub fn handle(&mut self, message: ToSequencer, now: Now, log: &mut impl Log) {
        if self.is_read_only {
            return self.handle_read_only(message, now);
        }
        if self.following.is_some() {
            return self.forward(message, now);
        }
        match message {
            ToSequencer::Request(request) => self.request(&request, now, log),
            ToSequencer::OpenSession { origin, timeout_ms } if self.locals.are_enabled() => {
                self.open_local(origin, timeout_ms, now);
            }
            ToSequencer::OpenSession { origin, timeout_ms } => {
                self.open_session(origin, timeout_ms, now, log);
            }
            ToSequencer::ReattachSession {
                origin,
                session,
                password,
                timeout_ms,
            } => {
                self.reattach((origin, session), &password, timeout_ms, now, || {
                    log.ask_round()
                });
            }
            ToSequencer::Heard {
                shard,
                as_of_ms,
                sessions,
            } => self.heard(shard, as_of_ms, &sessions),
        }
    }

    /// A shard's report of whom it heard from. Also to be called while nobody is served: the
    /// sequencer goes by how far the shards have reported.
    pub fn heard(&mut self, shard: ShardId, as_of_ms: u64, sessions: &[SessionId]) {
        self.sessions.heard(shard, as_of_ms, sessions);
        self.locals.heard(shard, as_of_ms, sessions);
        if self.following.is_some() {
            for &session in sessions {
                self.note_touched(session);
            }
        }
    }

    /// Ends sessions whose time is over, and deletes containers and nodes past their time. To be
    /// called several times a tick. Sessions that learners hold have been heard of up to
    /// `heard_up_to_ms`.
    pub fn tick(&mut self, now: Now, heard_up_to_ms: u64, log: &mut impl Log) {
        if self.following.is_some() {
            return;
        }
        self.expire_locals();
        let heard_up_to_ms = if mutation::is(Mutation::ExpireUnheard) {
            self.sessions.heard(ShardId(0), now.monotonic_ms, &[]);
            u64::MAX
        } else {
            heard_up_to_ms
        };
        for session in self.sessions.expire(heard_up_to_ms) {
            if !self.close_expired(session, now, log) {
                // What is not logged has not happened, and its client may be there again.
                self.sessions.live_on(session, now.monotonic_ms);
            }
        }
        let now = match mutation::is(Mutation::ReapEarly) {
            true => Now {
                wall_ms: now.wall_ms + 200,
                ..now
            },
            false => now,
        };
        for path in self.reaper.due(&self.tree, now) {
            self.reap(&path, now, log);
        }
    }

    /// Everything up to `zxid` is committed: durable at a quorum, or here where this server is
    /// alone.
    pub fn commit(&mut self, zxid: Zxid) {
        debug_assert!(zxid <= self.tree.tip_zxid());
        self.committed = self.committed.max(zxid);
        while self.opening.front().is_some_and(|(at, _)| *at <= zxid) {
            self.opening.pop_front();
        }
        while let Some(&(at, session)) = self.closing.front() {
            if at > zxid {
                break;
            }
            self.closing.pop_front();
            self.sessions.remove(session);
        }
    }

    /// Has the tree show who belongs to the ensemble; before clients are served.
    pub fn set_config(&mut self, text: &str) {
        self.tree.set_config(text);
    }

    /// A member of an ensemble does not know how much of its log is committed when it starts: this
    /// much is.
    pub fn know_committed(&mut self, zxid: Zxid) {
        self.committed = zxid;
    }

    /// This server led when these rounds were asked for.
    pub fn confirm_round(&mut self, round: u64) {
        self.history.confirm_round(round);
    }

    /// Decides from now on, with zxids of this epoch: alone, or as a leader. Everybody who has a
    /// session gets its whole timeout anew.
    pub fn lead(&mut self, epoch: u32, now: Now) {
        self.halt();
        self.epoch = epoch;
        self.sessions.restart(now.monotonic_ms);
        self.reaper = Reaper::new(&self.reap, now.monotonic_ms);
    }

    /// Another server decides from now on.
    pub fn follow(&mut self, now: Now) {
        self.halt();
        self.sessions.restart(now.monotonic_ms);
        self.following = Some(Following::default());
    }

    /// Nobody decides for now, and all connections are gone: who waits for an answer waits no more.
    /// Transactions that are not committed stay at the tip; a leader will say what becomes of them.
    pub fn halt(&mut self) {
        self.following = None;
        self.is_read_only = false;
        self.locals.clear();
        self.history.clear();
        self.opening.clear();
        for (_, session) in self.closing.drain(..) {
            self.sessions.remove(session);
        }
    }

    /// Takes over another tree and its sessions: what a leader sent, or what was left of the log. It may
    /// end before the one that was there; nobody waits for anything of that one. No more of it is known to
    /// be committed than was before: its leader may never be established.
    pub fn replace(&mut self, tree: Tree, sessions: &[(SessionId, i32)], now: Now) {
        debug_assert_eq!(self.history.len(), 0, "no clients are served meanwhile");
        self.committed = self.committed.min(tree.tip_zxid());
        self.tree = tree;
        self.sessions.replace(sessions, now.monotonic_ms);
        self.snapshots.drop_waiting();
        self.digests.tree_replaced();
        self.closing.clear();
    }

    /// The next stretch of history that is committed.
    pub fn poll_publish(&mut self) -> Option<Batch> {
        self.history.take(self.published_zxid())
    }

    /// A snapshot that is due, once its zxid is durable and committed: a snapshot never holds what
    /// a leader may yet take back. The log may end its segment there.
    pub fn poll_snapshot(&mut self, durable: Zxid) -> Option<SnapshotRequest> {
        self.snapshots.take(durable.min(self.committed))
    }

    /// The snapshot that was handed out is written, or has failed; the next one may come.
    pub fn snapshot_ended(&mut self) {
        self.snapshots.ended();
    }

    /// Frees superseded versions of the tree; at most `most`, so that a round stays short.
    pub fn reclaim(&mut self, most: usize) -> usize {
        self.tree.reclaim(most)
    }

    fn request(&mut self, request: &Request, now: Now, log: &mut impl Log) {
        self.metrics.requests_prepared.increment();
        self.sessions.touch(request.session, now.monotonic_ms);
        let Decision {
            outcome,
            changes,
            is_logged,
        } = self.decide(request, now, log);
        let answer = reply_to(request, outcome);
        let is_asked = request.op == op::SYNC || !mutation::is(Mutation::ErrorUnasked);
        let round = if is_logged || !is_asked {
            0
        } else {
            log.ask_round()
        };
        self.request_snapshot_if_due();
        let item = self.item(changes, Some((request.origin, answer)));
        self.history.push_after_round(item, round);
    }

    /// What a request of one of our connections comes to.
    fn decide(&mut self, request: &Request, now: Now, log: &mut impl Log) -> Decision {
        let session = request.session;
        if self.is_local(session) {
            if request.op == op::CLOSE_SESSION {
                self.locals.remove(session);
                return Decision::without_txn(Outcome::Done);
            }
            if self.locals.can_upgrade()
                && makes_ephemeral(request.op, &request.body)
                && !self.upgrade(session, now, log)
            {
                return Decision::without_txn(NO_ROOM);
            }
        }
        let (session_state, ephemerals) =
            self.session_states(session, Owner::Connection(request.origin));
        let view = RequestView {
            op: request.op,
            body: &request.body,
            session,
            session_state,
            ephemerals,
            identities: &request.identities,
            is_forwarded: false,
        };
        match self.preparer.prepare(&self.tree, &view) {
            Prepared::Txn(txn) => self
                .append(&txn, session, request.xid, now, log)
                .map_or(Decision::without_txn(NO_ROOM), Decision::of),
            Prepared::Failed(outcome) | Prepared::Ordered(outcome) => {
                Decision::without_txn(outcome)
            }
        }
    }

    fn open_session(&mut self, origin: Origin, timeout_ms: i32, now: Now, log: &mut impl Log) {
        let session = self.sessions.open(origin, timeout_ms, now.monotonic_ms);
        let txn = create_session(timeout_ms);
        let answer = match self.append(&txn, session, 0, now, log) {
            Some(_) => attached(session, timeout_ms),
            None => {
                self.sessions.remove(session);
                not_opened(session)
            }
        };
        self.step(Changes::new(), Some((origin, answer)));
    }

    /// Somebody may go on with a session, or is told that it is over, after a round.
    fn reattach(
        &mut self,
        (origin, session): (Origin, SessionId),
        password: &[u8],
        timeout_ms: i32,
        now: Now,
        round: impl FnOnce() -> u64,
    ) {
        let table = if self.is_local(session) {
            self.locals.table()
        } else {
            &mut self.sessions
        };
        match table.reattach(session, password, timeout_ms, origin, now.monotonic_ms) {
            Err(SessionRefused) => {
                let item = self.item(Changes::new(), Some((origin, Answer::SessionRefused)));
                self.history.push_after_round(item, round());
            }
            Ok(former) => {
                if let Some(former) = former {
                    let answer = Answer::Detached {
                        session,
                        reason: ErrorCode::SessionMoved,
                    };
                    self.step(Changes::new(), Some((former, answer)));
                }
                self.step(
                    Changes::new(),
                    Some((origin, attached(session, timeout_ms))),
                );
            }
        }
    }

    /// Closes a session whose time is over; false where the log has no room for it now.
    fn close_expired(&mut self, session: SessionId, now: Now, log: &mut impl Log) -> bool {
        let txn = self.preparer.close_session(&self.tree, session);
        let Some(applied) = self.append(&txn, session, 0, now, log) else {
            return false;
        };
        tracing::info!(%session, "session expired");
        self.metrics.sessions_expired.increment();
        let detached = Answer::Detached {
            session,
            reason: ErrorCode::SessionExpired,
        };
        let owner = self.sessions.owner(session);
        self.step(applied.changes, owner.map(|origin| (origin, detached)));
        true
    }

    /// Deletes a container or a node past its time, unless it is in use again or the log has no
    /// room; it is then found again.
    fn reap(&mut self, path: &str, now: Now, log: &mut impl Log) {
        let Ok(txn) = self
            .preparer
            .reap(&self.tree, path, &self.reap, now.wall_ms)
        else {
            return;
        };
        if let Some(applied) = self.append(&txn, SessionId::NONE, 0, now, log) {
            tracing::info!(path, "removed a container or a node past its time to live");
            self.step(applied.changes, None);
        }
    }

    /// Gives a transaction its zxid, applies it at the tip and hands it to the log. `None`, and
    /// nothing done, where the log has no room.
    fn append(
        &mut self,
        txn: &Txn<'_>,
        session: SessionId,
        cxid: i32,
        now: Now,
        log: &mut impl Log,
    ) -> Option<Applied> {
        let zxid = self.next_zxid();
        let header = TxnHeader {
            client_id: session.0,
            cxid,
            zxid: zxid.0,
            time: now.wall_ms,
            kind: txn.kind(),
        };
        self.payload.clear();
        encode_txn(&header, txn, None, &mut self.payload);
        if !log.has_room(self.payload.len() + DIGEST_LEN) {
            return None;
        }
        let applied = self.tree.apply(&header, txn);
        if self.digest_enabled {
            let digest = TxnDigest {
                version: DIGEST_VERSION,
                tree_digest: self.tree.digest() as i64,
            };
            digest.encode(&mut self.payload);
            self.digests.note(zxid, digest.tree_digest);
        }
        log.append(zxid, &self.payload);
        self.metrics.commits.increment();
        match txn {
            Txn::CreateSession(_) => self.opening.push_back((zxid, session)),
            Txn::CloseSession(_) => {
                self.sessions.begin_close(session);
                self.closing.push_back((zxid, session));
            }
            _ => {}
        }
        // Not before the caller has noted what this does to sessions.
        self.snapshots
            .logged(self.payload.len(), self.tree.node_count());
        Some(applied)
    }

    /// Holds what a snapshot of the tip is to show, if one is due and none is being written.
    fn request_snapshot_if_due(&mut self) {
        if !self.snapshots.begins() {
            return;
        }
        // Sessions whose closing is in the log up to the tip are none of the snapshot's, although
        // it is not committed yet: nothing after the snapshot would close them.
        let mut sessions = self.sessions.snapshot();
        sessions.retain(|(id, _)| self.closing.iter().all(|(_, closing)| closing != id));
        let zxid = self.tree.tip_zxid();
        let request = SnapshotRequest {
            view: self.tree.view(zxid),
            sessions,
        };
        self.snapshots.hold(zxid, request);
    }

    /// The zxid after the tip's. An epoch that is used up is followed by the next one; a leader of
    /// an ensemble steps down before it comes to that ([`Sequencer::is_epoch_used_up`]).
    fn next_zxid(&self) -> Zxid {
        let tip = self.tree.tip_zxid();
        if tip.epoch() < self.epoch {
            return Zxid::new(self.epoch, 1);
        }
        tip.next().unwrap_or_else(|| Zxid::new(tip.epoch() + 1, 1))
    }

    /// Whether so few zxids are left in this epoch that a new one should begin.
    pub fn is_epoch_used_up(&self) -> bool {
        let tip = self.tree.tip_zxid();
        tip.epoch() == self.epoch && tip.counter() > u32::MAX - EPOCH_RESERVE
    }

    fn item(&self, changes: Changes, answer: Option<(Origin, Answer)>) -> Item {
        Item {
            zxid: self.tree.tip_zxid(),
            changes,
            answer,
        }
    }

    fn step(&mut self, changes: Changes, answer: Option<(Origin, Answer)>) {
        self.request_snapshot_if_due();
        let item = self.item(changes, answer);
        self.history.push(item);
    }
}

/// What a request came to.
struct Decision {
    outcome: Outcome,
    changes: Changes,
    /// Whether a transaction of its own makes it true. What is said without one could be long out of
    /// date where another server leads meanwhile, so it needs proof that this one does.
    is_logged: bool,
}

impl Decision {
    fn of(applied: Applied) -> Decision {
        Decision {
            outcome: applied.outcome,
            changes: applied.changes,
            is_logged: true,
        }
    }

    fn without_txn(outcome: Outcome) -> Decision {
        Decision {
            outcome,
            changes: Changes::new(),
            is_logged: false,
        }
    }
}

/// There was no room to open a session. To refuse it would tell the client that it had expired; a
/// closed connection tells it to try again.
fn not_opened(session: SessionId) -> Answer {
    Answer::Detached {
        session,
        reason: ErrorCode::ConnectionLoss,
    }
}

fn attached(session: SessionId, timeout_ms: i32) -> Answer {
    Answer::Attached {
        session,
        password: session_password(session),
        timeout_ms,
    }
}

fn reply_to(request: &Request, outcome: Outcome) -> Answer {
    Answer::Reply {
        xid: request.xid,
        op: request.op,
        outcome,
        received_us: request.received_us,
    }
}

/// Zxids of an epoch that are kept for what is already on its way when it ends.
const EPOCH_RESERVE: u32 = 1 << 20;

/// What a write comes to on a full disk.
const NO_ROOM: Outcome = Outcome::Failed(ErrorCode::SystemError);

//! One server as a whole, without its sockets: alone, or a member of an ensemble (Apache's
//! `QuorumPeer`).
//!
//! A [`Replica`] puts the election, the leader's or learner's part of ZAB, the sequencer and what
//! is on disk together. It does no I/O on sockets and knows no clock; the simulator runs the same
//! code as the server. On disk it does itself what is rare and happens while no client is served;
//! the log's writes are handed out ([`Replica::poll_write`]).
//!
//! ```text
//!          ┌────────────────────────────────────────────────────────┐
//!          ▼                                                        │ leader lost, quorum lost
//! alone  draining ─▶ looking ─▶ leading: discovery, synchronisation, serving ─▶
//!                        └────▶ dialing ─▶ learning: the same as a learner ───▶
//! ```
//!
//! The tip of the tree is always the end of the log: a transaction is applied when it is appended.
//! Clients see it when it is committed. When a server begins to look for a leader all its clients
//! are disconnected (as Apache's), but what its log holds beyond what is committed stays, in the
//! log and at the tip, until the next leader says what becomes of it.

mod config;
mod hosts;
mod leading;
mod learning;
mod looking;
mod read_only;
mod room;

pub use config::{MemberConfig, ReplicaConfig};

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::exchange::{Batch, ToSequencer};
use crate::io::AlignedBuffer;
use crate::sequencer::{Now, Sequencer, SnapshotRequest};
use crate::storage::{Storage, StorageError};
use crate::tree::{Tree, TreeConfig, View};
use crate::types::{LinkId, ServerId, SessionId, Zxid};
use crate::wal::{Completion, LogWrite, Wal, WalError};
use crate::zab::Proposals;
use crate::zab::election::{Election, ElectionConfig};
use crate::zab::leader::Leader;

use hosts::LogOf;
use leading::Leading;
use learning::Learning;

/// Why a server cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The data folders cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log cannot be written any more.
    #[error(transparent)]
    Log(#[from] WalError),
}

/// What a server does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is alone and serves.
    Standalone,
    /// It looks for a leader, or is not in step with one yet.
    Looking,
    /// It leads.
    Leader,
    /// It follows.
    Follower,
    /// It observes.
    Observer,
    /// It looks for a leader, and lets clients read meanwhile.
    ReadOnly,
}

/// What the driver is to do.
pub enum Output {
    /// Send an election message to a member.
    Election(ServerId, Vec<u8>),
    /// Connect to a member's quorum port; [`Replica::dialed`] is told what came of it.
    Dial(ServerId),
    /// Close a link between a leader and a learner.
    Close(LinkId),
    /// Encode this tree for a learner, without holding up anything else, and give the pieces to
    /// [`Replica::tree_piece`].
    SendTree {
        /// The learner's link.
        link: LinkId,
        /// The tree, exact at its zxid.
        view: View,
        /// The sessions, with their timeouts in milliseconds.
        sessions: Vec<(SessionId, i32)>,
    },
    /// Serve clients: each shard gets a view ([`Replica::view`]).
    Serve {
        /// Clients that have seen up to this zxid are welcome.
        seen: Zxid,
        /// Whether only those are who make do with reading. When this is carried out, it may all be
        /// over already, and [`Replica::mode`] another one.
        is_read_only: bool,
    },
    /// Serve nobody: disconnect all clients; each shard gets a view of an empty tree.
    Retire,
}

enum Role {
    /// No ensemble.
    Alone,
    /// Waits until the log's writes under way have ended.
    Draining,
    /// Looks for a leader.
    Looking,
    /// Connects to this leader.
    Dialing(ServerId),
    Leading(Box<Leading>),
    Learning(Box<Learning>),
}

/// A member's view of its ensemble.
struct Member {
    config: MemberConfig,
    election: Election,
    /// Learners that have connected before this server leads: what they have sent.
    early: BTreeMap<LinkId, Vec<u8>>,
    /// Before this time nothing is dialed: the last attempt was in vain.
    dial_not_before_ms: u64,
    /// Attempts in a row to follow somebody that came to nothing.
    failures: u32,
    /// Since when this server looks for a leader.
    looking_since_ms: u64,
}

/// A server. See the module's documentation.
pub struct Replica {
    tree_config: TreeConfig,
    member: Option<Member>,
    role: Role,
    sequencer: Sequencer,
    /// Absent only while the storage has it.
    wal: Option<Wal>,
    storage: Storage,
    /// The newest transactions, for learners that are behind; lent to the leader.
    proposals: Proposals,
    is_serving: bool,
    /// What was committed when clients began to be served.
    serves_from: Zxid,
    /// The beginning of the newest epoch in which clients were served.
    seen: Zxid,
    /// Whether a snapshot is being written.
    is_snapshotting: bool,
    /// Whether it takes no part in its ensemble until there is room for its log.
    is_aside: bool,
    failure: Option<ReplicaError>,
    outputs: VecDeque<Output>,
}

impl Replica {
    /// A server whose data were recovered; of its log, everything up to `committed` is known to be
    /// committed. A member looks for a leader from its first
    /// [`Replica::tick`] on; a server that is alone serves at once.
    pub fn new(
        config: ReplicaConfig,
        mut sequencer: Sequencer,
        storage: Storage,
        (wal, committed): (Wal, Zxid),
        now: Now,
    ) -> Replica {
        let tip = sequencer.tree().tip_zxid();
        let member = config.member.map(|config| {
            sequencer.halt();
            sequencer.know_committed(committed);
            sequencer.set_config(&config.ensemble.to_string());
            sequencer.set_local_sessions(config.local_sessions);
            let mut election = ElectionConfig::new(config.my_id, Arc::clone(&config.ensemble));
            (
                election.notification_interval_min_ms,
                election.notification_interval_max_ms,
            ) = config.notification_interval_ms;
            election.pass_over_ms = looking::pass_over_ms(config.init_limit_ms);
            Member {
                election: Election::new(election),
                config,
                early: BTreeMap::new(),
                dial_not_before_ms: 0,
                failures: 0,
                looking_since_ms: now.monotonic_ms,
            }
        });
        let mut replica = Replica {
            tree_config: config.tree,
            role: if member.is_some() {
                Role::Draining
            } else {
                Role::Alone
            },
            member,
            sequencer,
            wal: Some(wal),
            storage,
            proposals: Proposals::new(tip),
            is_serving: false,
            serves_from: tip,
            seen: Zxid::ZERO,
            is_snapshotting: false,
            is_aside: false,
            failure: None,
            outputs: VecDeque::new(),
        };
        match replica.role {
            Role::Alone => {
                replica.sequencer.lead(tip.epoch(), now);
                replica.sequencer.commit(tip);
                replica.is_serving = true;
            }
            _ => replica.try_vote(now),
        }
        replica
    }

    /// What it does at present.
    pub fn mode(&self) -> Mode {
        match &self.role {
            Role::Alone => Mode::Standalone,
            Role::Leading(leading) if leading.leader.is_established() => Mode::Leader,
            Role::Learning(learning) if learning.is_serving => {
                if learning.is_observer {
                    Mode::Observer
                } else {
                    Mode::Follower
                }
            }
            Role::Looking if self.is_serving => Mode::ReadOnly,
            _ => Mode::Looking,
        }
    }

    /// Whether clients are served.
    pub fn is_serving(&self) -> bool {
        self.is_serving
    }

    /// The sequencer, to report about.
    pub fn sequencer(&self) -> &Sequencer {
        &self.sequencer
    }

    /// The leader's part, where this server leads.
    pub fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leading(leading) => Some(&leading.leader),
            _ => None,
        }
    }

    /// How many members vote.
    pub fn voters(&self) -> usize {
        let ensemble = self.member.as_ref().map(|member| &member.config.ensemble);
        ensemble.map_or(0, |ensemble| ensemble.voters().count())
    }

    /// The leader that this server follows or observes, or is about to.
    pub fn following(&self) -> Option<ServerId> {
        match &self.role {
            Role::Dialing(leader) => Some(*leader),
            Role::Learning(learning) => Some(learning.leader),
            _ => None,
        }
    }

    /// Syncs of learners that wait, where this server leads.
    pub fn pending_syncs(&self) -> usize {
        match &self.role {
            Role::Leading(leading) => leading.pending_syncs(),
            _ => 0,
        }
    }

    /// The newest zxid that a client can have seen: what is committed or, before the first
    /// transaction of an epoch, the beginning of the epoch.
    pub fn seen_zxid(&self) -> Zxid {
        let committed = self.sequencer.published_zxid();
        match &self.role {
            Role::Alone => committed,
            _ => committed.max(self.seen),
        }
    }

    /// The epoch that this server was last synchronised in.
    pub fn current_epoch(&self) -> i64 {
        self.storage.current_epoch()
    }

    /// A view for a shard that begins to serve clients: of what was committed when this server said
    /// so, since all later commits follow as batches. While nobody is served, of an empty tree.
    pub fn view(&self) -> View {
        if self.is_serving {
            self.sequencer.tree().view(self.serves_from)
        } else {
            Tree::new(self.tree_config.clone()).view(Zxid::ZERO)
        }
    }

    /// Why the server must end, once it must.
    pub fn take_failure(&mut self) -> Option<ReplicaError> {
        self.failure.take()
    }

    /// The next thing for the driver to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(member) = &mut self.member
            && let Some((to, message)) = member.election.poll_send()
        {
            return Some(Output::Election(to, message));
        }
        self.outputs.pop_front()
    }

    /// Whether the storage has failed and kept the log: [`Replica::take_failure`] says why, and
    /// nothing more is done.
    fn has_failed(&self) -> bool {
        self.wal.is_none()
    }

    /// The log, for its figures.
    ///
    /// # Panics
    /// After a failure that the driver has not asked for.
    pub fn wal(&self) -> &Wal {
        self.wal.as_ref().expect("the storage gives it back")
    }

    fn wal_mut(&mut self) -> &mut Wal {
        self.wal.as_mut().expect("the storage gives it back")
    }

    /// Whether shards' messages may be taken in.
    pub fn is_open(&self) -> bool {
        !self.has_failed() && !self.sequencer.is_full() && !self.wal().is_full()
    }

    /// Takes in one message of a shard.
    pub fn handle(&mut self, message: ToSequencer, now: Now) {
        if self.has_failed() || !self.is_serving && !matches!(message, ToSequencer::Heard { .. }) {
            // Its connection is being closed, or is closed.
            return;
        }
        let wal = self.wal.as_mut().expect("the storage gives it back");
        let leader = match &mut self.role {
            Role::Leading(leading) => Some(&mut leading.leader),
            _ => None,
        };
        if let ToSequencer::Heard {
            shard,
            as_of_ms,
            sessions,
        } = message
        {
            self.sequencer.heard(shard, as_of_ms, &sessions);
        } else {
            let mut log = LogOf {
                wal,
                leader,
                now_ms: now.monotonic_ms,
            };
            self.sequencer.handle(message, now, &mut log);
        }
        self.settle(now);
    }

    /// Looks at timeouts. To be called every few milliseconds to tens of them.
    pub fn tick(&mut self, now: Now) {
        if self.has_failed() {
            return;
        }
        self.tick_member(now);
        if self.decides() {
            let (leader, heard_up_to_ms) = match &mut self.role {
                Role::Leading(leading) => {
                    let heard = leading.leader.heard_up_to_ms(now.monotonic_ms).min();
                    (Some(&mut leading.leader), heard.unwrap_or(u64::MAX))
                }
                _ => (None, u64::MAX),
            };
            let mut log = LogOf {
                wal: self.wal.as_mut().expect("the storage gives it back"),
                leader,
                now_ms: now.monotonic_ms,
            };
            self.sequencer.tick(now, heard_up_to_ms, &mut log);
        } else if self.is_serving {
            self.sequencer.expire_locals();
        }
        self.settle(now);
    }

    /// The next write of the log.
    pub fn poll_write(&mut self, now_us: u64) -> Option<LogWrite> {
        self.wal.as_mut()?.poll_write(now_us)
    }

    /// Takes the result of a write.
    ///
    /// # Errors
    /// [`WalError::Failed`]: the server must end.
    pub fn complete(
        &mut self,
        id: u64,
        buffer: AlignedBuffer,
        result: std::io::Result<usize>,
        now: Now,
        now_us: u64,
    ) -> Result<Completion, WalError> {
        let completion = self.wal_mut().complete(id, buffer, result, now_us)?;
        if completion.has_advanced {
            self.durable(now);
        }
        Ok(completion)
    }

    /// The next stretch of history for the shards.
    pub fn poll_publish(&mut self) -> Option<Batch> {
        if !self.is_serving {
            return None;
        }
        self.sequencer.poll_publish()
    }

    /// A snapshot that is due.
    pub fn poll_snapshot(&mut self) -> Option<SnapshotRequest> {
        let durable = self.wal.as_ref()?.durable_zxid();
        let request = self.sequencer.poll_snapshot(durable)?;
        self.is_snapshotting = true;
        self.wal_mut().roll();
        Some(request)
    }

    /// The snapshot that was handed out is written, or has failed.
    pub fn snapshot_ended(&mut self, now: Now) {
        self.is_snapshotting = false;
        self.sequencer.snapshot_ended();
        self.settle(now);
    }

    /// Whether more may be read from a link: not while what was read waits for a snapshot of ours to be
    /// written, or a whole tree would wait in memory.
    pub fn reads_on(&self, link: LinkId) -> bool {
        !matches!(&self.role, Role::Learning(learning)
            if learning.link == link && learning.learner.awaits_quiet())
    }

    /// Work on log segments for the background thread.
    pub fn poll_segment_task(&mut self) -> Option<crate::wal::SegmentTask> {
        if matches!(&self.role, Role::Learning(learning) if learning.learner.wants_quiet()) {
            // The log is about to be cut off or replaced.
            return None;
        }
        self.wal.as_mut()?.poll_segment_task()
    }

    /// Takes the result of such work.
    ///
    /// # Errors
    /// What went wrong, to be logged; it is tried again.
    pub fn segment_done(
        &mut self,
        result: crate::wal::SegmentResult,
        now: Now,
    ) -> Result<(), crate::io::DiskError> {
        let done = self.wal_mut().segment_done(result);
        self.settle(now);
        done
    }

    /// What an idle log does about once a second.
    pub fn upkeep(&mut self) {
        if let Some(wal) = &mut self.wal {
            wal.retry_segment_tasks();
            wal.mark();
        }
    }

    /// Has the log say that all of it is durable, before a clean stop.
    pub fn mark(&mut self) {
        if let Some(wal) = &mut self.wal {
            wal.mark();
        }
    }

    /// Frees superseded versions of the tree; at most `most`.
    pub fn reclaim(&mut self, most: usize) -> usize {
        // Whoever is about to be told to serve takes a view first.
        if (self.is_serving || self.decides()) && self.outputs.is_empty() {
            self.sequencer.reclaim(most)
        } else {
            0
        }
    }

    /// Whether this server decides: it is alone, or leads.
    fn decides(&self) -> bool {
        match &self.role {
            Role::Alone => true,
            Role::Leading(leading) => leading.leader.is_established(),
            _ => false,
        }
    }

    /// The log is durable a little further.
    fn durable(&mut self, now: Now) {
        let durable = self.wal().durable_zxid();
        match &mut self.role {
            Role::Alone => self.sequencer.commit(durable),
            Role::Leading(leading) => leading.leader.durable(durable),
            Role::Learning(_) | Role::Draining | Role::Looking | Role::Dialing(_) => {}
        }
        self.settle(now);
    }

    /// Carries on with whatever the last input has made possible.
    fn settle(&mut self, now: Now) {
        if self.has_failed() {
            return;
        }
        match &self.role {
            Role::Alone => {}
            Role::Draining => self.try_vote(now),
            Role::Looking => self.settle_election(now),
            Role::Dialing(_) => {}
            Role::Leading(_) => self.settle_leader(now),
            Role::Learning(_) => self.settle_learner(now),
        }
    }

    /// Begins to serve clients, who see what is committed.
    fn serve(&mut self, epoch: u32) {
        // What was committed before is in the view that the shards begin with.
        while self.sequencer.poll_publish().is_some() {}
        self.is_serving = true;
        self.serves_from = self.sequencer.published_zxid();
        self.seen = Zxid::new(epoch, 0);
        self.outputs.push_back(Output::Serve {
            seen: self.seen_zxid(),
            is_read_only: false,
        });
    }
}

//! A member's process: the real replica, storage and shards, with what its threads would hold.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::exchange::{Batch, ConnId, ShardId, ToSequencer};
use crate::io::memory::MemoryDisk;
use crate::metrics::{ShardMetrics, WriteMetrics};
use crate::prep::{PrepConfig, ReapConfig};
use crate::replica::{MemberConfig, Replica, ReplicaConfig};
use crate::sequencer::{
    LocalSessions, Now, Sequencer, SequencerConfig, SnapshotPolicy, SnapshotRequest,
};
use crate::session::{SessionConfig, SessionTable};
use crate::shard::{Shard, ShardConfig, Shared};
use crate::storage::{Storage, StorageError, StorageOptions};
use crate::tree::{TreeConfig, View};
use crate::types::{Ensemble, LinkId, Member, MemberAddress, Role, ServerId, Zxid};
use crate::wal::{LogWrite, SegmentTask, WalOptions};

use super::options::Shape;
use super::reaping::Reapables;

/// Where a member keeps its data.
pub const DATA_DIR: &str = "/data";

/// `tickTime` in milliseconds.
pub const TICK_MS: u64 = 100;

/// `syncLimit` in milliseconds.
pub const SYNC_LIMIT_MS: u64 = 500;

/// How long members may be silent, in milliseconds.
pub const SILENCE_LIMIT_MS: u64 = 300;

/// After how many milliseconds without a leader clients may read.
const READ_ONLY_AFTER_MS: u64 = 250;

/// Milliseconds between two heartbeats of a leader.
pub const HEARTBEAT_MS: u64 = 50;

/// What reaches a shard from the sequencer.
pub enum ToShard {
    /// A stretch of the history.
    Batch(Arc<Batch>),
    /// Clients are served from this view on; those who have seen up to this zxid.
    Serve(Box<View>, Zxid),
    /// The same, for those who make do with reading.
    ServeReaders(Box<View>, Zxid),
    /// Nobody is served.
    Retire(Box<View>),
}

/// A shard, and its queues.
pub struct ShardThread {
    /// The logic.
    pub shard: Shard,
    /// What the sequencer has for it.
    pub inbox: VecDeque<ToShard>,
    /// What it has for the sequencer.
    pub ring: VecDeque<ToSequencer>,
    /// When what was last put into each of the two arrives, in microseconds.
    pub inbox_due_us: u64,
    pub ring_due_us: u64,
    /// The pipes of its connections.
    pub conns: BTreeMap<ConnId, u64>,
    /// Until when its thread does nothing, in microseconds.
    pub stalled_until_us: u64,
}

/// A process.
pub struct Process {
    /// The logic.
    pub replica: Replica,
    /// Its clients' side.
    pub shards: Vec<ShardThread>,
    /// How often it has begun to serve.
    pub stint: u32,
    /// The newest zxid that clients whom it takes in can have seen.
    pub seen: Zxid,
    /// What the checks see, while clients are served.
    pub view: Option<View>,
    /// Up to where it has published.
    pub published: Zxid,
    /// Log writes under way.
    pub writes: BTreeMap<u64, LogWrite>,
    /// Segment work under way.
    pub segments: VecDeque<SegmentTask>,
    /// The snapshot that is being written.
    pub snapshot: Option<SnapshotRequest>,
    /// Pipes between leader and learners.
    pub links: BTreeMap<LinkId, u64>,
    /// Pipes for elections, by member, and the end of each that is ours.
    pub peers: BTreeMap<usize, (u64, usize)>,
    /// The newest election message for each member.
    pub messages: BTreeMap<usize, Vec<u8>>,
    /// What may go some day of its tree.
    pub reapables: Reapables,
    /// Its current epoch.
    pub epoch: i64,
    /// When it is woken for an election, in microseconds.
    pub wakes_us: u64,
}

/// All members of an ensemble of this shape.
pub fn ensemble(shape: Shape) -> Arc<Ensemble> {
    let member = |index: usize| {
        let address = MemberAddress {
            host: "member".into(),
            quorum_port: 2,
            election_port: 3,
        };
        let role = if index < shape.voters {
            Role::Participant
        } else {
            Role::Observer
        };
        let member = Member {
            addresses: vec![address],
            role,
            client: None,
        };
        (server_id(index), member)
    };
    Arc::new(Ensemble {
        members: (0..shape.voters + shape.observers).map(member).collect(),
        ..Ensemble::default()
    })
}

/// The number of the member with this index.
pub fn server_id(member: usize) -> ServerId {
    ServerId(member as i64 + 1)
}

/// The index of a member.
pub fn index_of(server: ServerId) -> usize {
    server.0 as usize - 1
}

fn tree_config() -> TreeConfig {
    TreeConfig {
        extended_types: true,
        digest_enabled: true,
    }
}

fn storage_options() -> StorageOptions {
    StorageOptions {
        data_dir: DATA_DIR.into(),
        data_log_dir: DATA_DIR.into(),
        is_dir_autocreate: true,
        is_db_autocreate: true,
        is_member: true,
        tree: tree_config(),
        wal: WalOptions {
            segment_bytes: 64 << 10,
            batch_bytes_max: 16 << 10,
            ..WalOptions::default()
        },
    }
}

/// What an ensemble allows beyond what all allow.
#[derive(Clone, Copy, Debug)]
pub struct Leniency {
    /// Whether clients may read where there is no leader.
    pub is_read_only_mode: bool,
    /// Whether sessions may live on one member.
    pub local_sessions: LocalSessions,
}

/// What differs from process to process.
pub struct Start {
    /// The member.
    pub member: usize,
    /// Its ensemble.
    pub ensemble: Arc<Ensemble>,
    /// Its disk.
    pub disk: MemoryDisk,
    /// Threads for clients.
    pub shards: usize,
    /// Transactions after which a snapshot is taken.
    pub snap_count: u32,
    /// When containers and nodes with a time to live go.
    pub reap: ReapConfig,
    /// For the draw of when.
    pub seed: u64,
    /// What clients without a leader and sessions of one member may do.
    pub leniency: Leniency,
    /// The time on its machine.
    pub now: Now,
}

impl Process {
    /// Starts a process on what is on the disk.
    ///
    /// # Errors
    /// Where the data cannot be used.
    pub fn start(start: Start) -> Result<Process, StorageError> {
        let now = start.now;
        let (storage, recovered) = Storage::open(storage_options(), Arc::new(start.disk))?;
        let session = SessionConfig {
            tick_ms: TICK_MS,
            server_id: start.member as u8 + 1,
            shards: start.shards as u16,
        };
        let mut sessions = SessionTable::new(session, now.wall_ms);
        sessions.restore(recovered.sessions, now.monotonic_ms);
        let config = SequencerConfig {
            prep: PrepConfig {
                extended_types: true,
                ..PrepConfig::default()
            },
            reap: start.reap,
            digest_enabled: true,
        };
        let sequencer = Sequencer::new(
            config,
            recovered.tree,
            sessions,
            SnapshotPolicy::new(Some(start.snap_count), None, start.seed)
                .replayed(recovered.replayed, recovered.replayed_bytes),
            Arc::new(WriteMetrics::new()),
            now,
        );
        let config = ReplicaConfig {
            member: Some(MemberConfig {
                my_id: server_id(start.member),
                ensemble: start.ensemble,
                init_limit_ms: 1000,
                sync_limit_ms: SYNC_LIMIT_MS,
                silence_limit_ms: SILENCE_LIMIT_MS,
                heartbeat_ms: HEARTBEAT_MS,
                leader_serves: true,
                read_only_after_ms: start
                    .leniency
                    .is_read_only_mode
                    .then_some(READ_ONLY_AFTER_MS),
                local_sessions: start.leniency.local_sessions,
                notification_interval_ms: (200, 400),
            }),
            tree: tree_config(),
        };
        let log = (recovered.wal, recovered.committed);
        let replica = Replica::new(config, sequencer, storage, log, now);
        Ok(Process {
            shards: shards(start.shards, &replica, now),
            epoch: replica.current_epoch(),
            replica,
            stint: 0,
            seen: Zxid::ZERO,
            view: None,
            published: Zxid::ZERO,
            writes: BTreeMap::new(),
            segments: VecDeque::new(),
            snapshot: None,
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            messages: BTreeMap::new(),
            reapables: Reapables::default(),
            wakes_us: u64::MAX,
        })
    }
}

/// Shards that serve nobody yet.
fn shards(count: usize, replica: &Replica, now: Now) -> Vec<ShardThread> {
    let config = Arc::new(ShardConfig {
        min_session_timeout_ms: 2 * TICK_MS as i32,
        ..ShardConfig::default()
    });
    let shared = Arc::new(Shared::new(replica.seen_zxid()));
    let thread = |id: usize| {
        let mut shard = Shard::new(
            Arc::clone(&config),
            Arc::clone(&shared),
            Arc::new(ShardMetrics::new()),
            ShardId(id as u16),
            replica.view(),
        );
        let now = crate::shard::Now {
            us: now.monotonic_ms * 1000,
            wall_ms: now.wall_ms,
        };
        shard.retire(replica.view(), now);
        ShardThread {
            shard,
            inbox: VecDeque::new(),
            ring: VecDeque::new(),
            inbox_due_us: 0,
            ring_due_us: 0,
            conns: BTreeMap::new(),
            stalled_until_us: 0,
        }
    };
    (0..count).map(thread).collect()
}

//! The server as the four-letter words show it.

use std::net::SocketAddr;

use crate::metrics::Table;
use crate::types::{SessionId, Zxid};

/// What [`super::answer`] tells from. Whoever asks fills in what the word needs; the rest may be
/// left at its default.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Whether the server takes requests.
    pub is_serving: bool,
    /// Whether it takes only reads.
    pub is_read_only: bool,
    /// `standalone`, `leader`, `follower`, `observer` or, where it takes only reads, `read-only`.
    pub mode: &'static str,
    /// Monotonic time of the question, in milliseconds.
    pub now_ms: u64,
    /// Wall-clock time of the question, in milliseconds since the epoch.
    pub wall_ms: i64,
    /// Since the server started, in milliseconds.
    pub uptime_ms: u64,
    /// The newest zxid that clients may see.
    pub zxid: Zxid,
    /// Requests that are with the sequencer.
    pub outstanding: usize,
    /// Open connections.
    pub connections: usize,
    /// Nodes, as Apache counts them: its root counts twice, so an empty tree has five.
    pub znode_count: usize,
    /// Ephemeral nodes.
    pub ephemerals_count: usize,
    /// Bytes of paths and data.
    pub approximate_data_size: u64,
    /// Open file descriptors.
    pub open_file_descriptors: u64,
    /// How many there may be.
    pub max_file_descriptors: u64,
    /// Live sessions that the whole ensemble knows.
    pub session_count: usize,
    /// Live sessions that this member alone knows.
    pub local_session_count: usize,
    /// For `mntr`: what a leader, follower or observer adds; `None` where the server stands alone
    /// or takes only reads.
    pub quorum: Option<QuorumReport>,
    /// What a leader adds: for `mntr`, and its proposals for `srvr` and `stat`.
    pub leader: Option<LeaderReport>,
    /// Live sessions and when they expire, in monotonic milliseconds: for `dump`.
    pub sessions: Vec<(SessionId, u64)>,
    /// Instead of those where another server decides when they expire: sessions of the ensemble and
    /// their timeouts in milliseconds.
    pub learner_sessions: Option<Vec<(SessionId, i32)>>,
    /// Like `sessions`, those that this member alone knows; `None` where there can be none.
    pub local_sessions: Option<Vec<(SessionId, u64)>>,
    /// Ephemeral nodes of each session that has any: for `dump`.
    pub ephemerals: Vec<(SessionId, Vec<String>)>,
    /// Recent digests of the tree: for `hash`.
    pub digests: Vec<(Zxid, i64)>,
    /// Bytes in the snapshot directory: for `dirs` and `conf`.
    pub data_dir_bytes: u64,
    /// Bytes in the log directory: for `dirs` and `conf`.
    pub log_dir_bytes: u64,
    /// For `conf`.
    pub settings: Settings,
    /// For `envi`: names and values, in order, `zookeeper.version` left out.
    pub environment: Vec<(String, String)>,
    /// What the writing side counted.
    pub metrics: Table,
    /// One report a shard.
    pub shards: Vec<ShardReport>,
}

/// What `mntr` shows of a member that has a leader or is one (Apache's `QuorumZooKeeperServer`).
#[derive(Clone, Debug, Default)]
pub struct QuorumReport {
    /// What the member does, in Apache's words (`QuorumPeer.getDetailedPeerState`): `leading`,
    /// `following` or `observing`; then its phase, ` - discovery`, ` - synchronization` or
    /// ` - broadcast`; then, after a synchronisation, ` - diff`, ` - snap` or ` - trunc`.
    pub peer_state: String,
    /// How many members vote.
    pub quorum_size: usize,
    /// Whom an observer follows, −1 for nobody; `None` on members that vote.
    pub observer_master_id: Option<i64>,
}

/// What a leader shows of itself (Apache's `LeaderZooKeeperServer`).
#[derive(Clone, Debug, Default)]
pub struct LeaderReport {
    /// Members connected to it, synchronised or not.
    pub learners: usize,
    /// Synchronised followers, without those that have no vote.
    pub synced_followers: usize,
    /// Synchronised followers that have no vote.
    pub synced_non_voting_followers: usize,
    /// Synchronised observers.
    pub synced_observers: usize,
    /// Syncs that wait for a proposal to be committed.
    pub pending_syncs: usize,
    /// Since it leads, in milliseconds.
    pub leader_uptime_ms: u64,
    /// Bytes of the newest proposal, −1 before the first.
    pub last_proposal_bytes: i64,
    /// Bytes of the smallest proposal, −1 before the first.
    pub min_proposal_bytes: i64,
    /// Bytes of the largest proposal, −1 before the first.
    pub max_proposal_bytes: i64,
}

/// The settings that `conf` shows.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `clientPort`.
    pub client_port: u16,
    /// `dataDir`, as an absolute path to the directory of the snapshots.
    pub data_dir: String,
    /// `dataLogDir`, as an absolute path to the directory of the log.
    pub data_log_dir: String,
    /// `tickTime`, in milliseconds.
    pub tick_time_ms: i32,
    /// `maxClientCnxns`.
    pub max_client_cnxns: usize,
    /// `minSessionTimeout`, in milliseconds.
    pub min_session_timeout_ms: i32,
    /// `maxSessionTimeout`, in milliseconds.
    pub max_session_timeout_ms: i32,
    /// `clientPortListenBacklog`; −1 is the system's.
    pub client_listen_backlog: i64,
    /// `serverId`; 0 where the server stands alone.
    pub server_id: i64,
    /// What a member of an ensemble adds.
    pub quorum: Option<QuorumSettings>,
}

/// The settings that `conf` shows of a member of an ensemble.
#[derive(Clone, Debug, Default)]
pub struct QuorumSettings {
    /// `initLimit`, in ticks.
    pub init_limit_ticks: u32,
    /// `syncLimit`, in ticks.
    pub sync_limit_ticks: u32,
    /// The member's election ports, one for each of its addresses.
    pub election_ports: Vec<u16>,
    /// The member's quorum ports, one for each of its addresses.
    pub quorum_ports: Vec<u16>,
    /// Whether the member has no vote.
    pub is_observer: bool,
    /// All members as [`crate::types::Ensemble`] displays them; left out while the server takes
    /// only reads.
    pub membership: String,
}

/// One shard's part of a [`Status`].
#[derive(Clone, Debug, Default)]
pub struct ShardReport {
    /// What it counted.
    pub metrics: Table,
    /// Watches, by Apache's count.
    pub watch_count: usize,
    /// Its connections: for `cons`, `stat` and `dump`.
    pub connections: Vec<ConnReport>,
    /// Connections with data watches: for `wchs`.
    pub watching_connections: usize,
    /// Data watches: for `wchs`.
    pub data_watches: usize,
    /// Paths with data watches, sorted: for `wchs`.
    pub watched_paths: Vec<String>,
    /// Data watches by session: for `wchc` and `wchp`.
    pub watches: Vec<(SessionId, String)>,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct ConnReport {
    /// The client's address.
    pub peer: SocketAddr,
    /// Its session, if it has one.
    pub session: SessionId,
    /// What the server waits for: 1 for input, 4 for output, their sum for both.
    pub interest: u32,
    /// Requests without an answer.
    pub queued: usize,
    /// Frames taken in.
    pub packets_received: u64,
    /// Frames given out.
    pub packets_sent: u64,
    /// When it was made, in milliseconds since the epoch.
    pub established_wall_ms: i64,
    /// Session timeout in milliseconds.
    pub timeout_ms: i32,
    /// Apache's four letters for the last operation.
    pub last_op: &'static str,
    /// Xid of the last request, −1 for none.
    pub last_cxid: i64,
    /// Zxid of the last reply.
    pub last_zxid: i64,
    /// Monotonic time of the last reply, in milliseconds.
    pub last_response_ms: u64,
    /// Latency of the last request, in milliseconds.
    pub last_latency_ms: u64,
    /// Least latency, in milliseconds.
    pub min_latency_ms: u64,
    /// Average latency, in milliseconds.
    pub avg_latency_ms: u64,
    /// Greatest latency, in milliseconds.
    pub max_latency_ms: u64,
    /// Monotonic time at which the client was last heard from, in milliseconds.
    pub last_heard_ms: u64,
}

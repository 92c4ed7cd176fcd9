//! The server as the four-letter words show it, beside what the shards report.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::admin::{LeaderReport, QuorumReport, QuorumSettings, Settings, Status, Word};
use crate::config::{Config, EnsembleConfig};
use crate::metrics::WriteMetrics;
use crate::replica::{Mode, Replica};
use crate::rt::clock::{self, Monotonic};
use crate::rt::{machine, probe};
use crate::session::SessionTable;
use crate::shard::Shared;
use crate::types::{Role, SessionId};

/// What the asker of a word adds to the parts of the shards and the sequencer.
pub struct ServerInfo {
    settings: Settings,
    snapshot_dir: PathBuf,
    log_dir: PathBuf,
    clock: Monotonic,
    shared: Arc<Shared>,
    writes: Arc<WriteMetrics>,
}

/// Where a server keeps its files.
pub struct Folders {
    /// Of the snapshots.
    pub snapshot_dir: PathBuf,
    /// Of the log.
    pub log_dir: PathBuf,
}

impl ServerInfo {
    /// For a server with these settings and parts.
    pub fn new(
        config: &Config,
        folders: &Folders,
        clock: Monotonic,
        shared: Arc<Shared>,
        writes: Arc<WriteMetrics>,
    ) -> ServerInfo {
        ServerInfo {
            settings: Settings {
                client_port: config.client_address.port(),
                data_dir: absolute(&folders.snapshot_dir),
                data_log_dir: absolute(&folders.log_dir),
                tick_time_ms: config.tick_time_ms,
                max_client_cnxns: config.max_client_cnxns,
                min_session_timeout_ms: config.min_session_timeout_ms,
                max_session_timeout_ms: config.max_session_timeout_ms,
                client_listen_backlog: i64::from(config.client_listen_backlog),
                server_id: config.ensemble.as_ref().map_or(0, |member| member.my_id.0),
                quorum: config.ensemble.as_ref().map(quorum_settings),
            },
            snapshot_dir: folders.snapshot_dir.clone(),
            log_dir: folders.log_dir.clone(),
            clock,
            shared,
            writes,
        }
    }

    /// What the writing side counts.
    pub fn writes(&self) -> &WriteMetrics {
        &self.writes
    }

    /// The server's clock now, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Adds what is known without asking anybody.
    pub fn complete(&self, status: &mut Status, word: Word) {
        status.now_ms = self.clock.now_ms();
        status.wall_ms = clock::wall_ms();
        status.uptime_ms = self.clock.now_ms();
        status.outstanding = self.shared.outstanding();
        status.connections = self.shared.connections();
        status.open_file_descriptors = probe::open_files();
        status.max_file_descriptors = probe::open_files_max();
        status.settings = self.settings.clone();
        if matches!(word, Word::Dirs | Word::Conf) {
            status.data_dir_bytes = folder_bytes(&self.snapshot_dir, "snapshot.");
            status.log_dir_bytes = folder_bytes(&self.log_dir, "log.");
        }
        if word == Word::Envi {
            status.environment = machine::environment();
        }
        self.writes.add_to(&mut status.metrics);
    }
}

/// What a member of an ensemble shows of its settings.
fn quorum_settings(config: &EnsembleConfig) -> QuorumSettings {
    let me = config.me();
    let addresses = me.addresses.iter();
    QuorumSettings {
        init_limit_ticks: config.init_limit_ticks,
        sync_limit_ticks: config.sync_limit_ticks,
        election_ports: addresses.clone().map(|own| own.election_port).collect(),
        quorum_ports: addresses.map(|own| own.quorum_port).collect(),
        is_observer: me.role == Role::Observer,
        membership: config.ensemble.to_string(),
    }
}

/// Adds the sequencer's part; runs on its thread, so only what the word needs.
pub fn add_sequencer(
    status: &mut Status,
    word: Word,
    replica: &Replica,
    writes: &WriteMetrics,
    now_ms: u64,
) {
    let sequencer = replica.sequencer();
    let sessions = sequencer.sessions();
    status.is_serving = replica.is_serving();
    status.is_read_only = replica.is_read_only();
    status.mode = mode_name(replica.mode());
    status.zxid = replica.seen_zxid();
    status.session_count = sessions.len();
    status.local_session_count = sequencer.local_sessions().len();
    let tree = sequencer.tree().stats();
    status.znode_count = tree.node_count() as usize;
    status.ephemerals_count = tree.ephemeral_count() as usize;
    status.approximate_data_size = u64::try_from(tree.approximate_data_size()).unwrap_or(0);
    add_quorum(status, replica, now_ms);
    match word {
        Word::Dump => add_sessions(status, replica),
        Word::Hash => status.digests = sequencer.digests(),
        Word::Srst => writes.reset(),
        _ => {}
    }
}

fn add_sessions(status: &mut Status, replica: &Replica) {
    let sequencer = replica.sequencer();
    let sessions = sequencer.sessions();
    status.sessions = by_expiry(sessions);
    for &(session, _) in &status.sessions {
        let paths = sequencer.tree().ephemerals(session);
        if !paths.is_empty() {
            status.ephemerals.push((session, paths));
        }
    }
    if matches!(
        replica.mode(),
        Mode::Follower | Mode::Observer | Mode::ReadOnly
    ) {
        status.learner_sessions = Some(sessions.snapshot());
    }
    if sequencer.has_local_sessions() {
        status.local_sessions = Some(by_expiry(sequencer.local_sessions()));
    }
}

fn by_expiry(sessions: &SessionTable) -> Vec<(SessionId, u64)> {
    let buckets = sessions.by_expiry();
    buckets
        .flat_map(|(at_ms, bucket)| bucket.iter().map(move |&session| (session, at_ms)))
        .collect()
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Standalone => "standalone",
        Mode::Leader => "leader",
        Mode::Follower => "follower",
        Mode::Observer => "observer",
        Mode::Looking => "looking",
        Mode::ReadOnly => "read-only",
    }
}

/// What a member of an ensemble adds.
fn add_quorum(status: &mut Status, replica: &Replica, now_ms: u64) {
    let doing = match replica.mode() {
        Mode::Leader => "leading - broadcast",
        Mode::Follower => "following - broadcast",
        Mode::Observer => "observing - broadcast",
        Mode::Standalone | Mode::Looking | Mode::ReadOnly => return,
    };
    let mut quorum = QuorumReport {
        peer_state: doing.to_owned(),
        quorum_size: replica.voters(),
        observer_master_id: None,
    };
    if replica.mode() == Mode::Observer {
        quorum.observer_master_id = replica.following().map(|leader| leader.0);
    }
    status.quorum = Some(quorum);
    let Some(leader) = replica.leader() else {
        return;
    };
    let mut report = LeaderReport {
        pending_syncs: replica.pending_syncs(),
        leader_uptime_ms: leader.uptime_ms(now_ms),
        ..LeaderReport::default()
    };
    (
        report.last_proposal_bytes,
        report.min_proposal_bytes,
        report.max_proposal_bytes,
    ) = leader.proposal_bytes();
    for learner in leader.learners() {
        report.learners += 1;
        match (learner.is_synced, learner.is_observer, learner.votes) {
            (false, _, _) => {}
            (true, true, _) => report.synced_observers += 1,
            (true, false, true) => report.synced_followers += 1,
            (true, false, false) => report.synced_non_voting_followers += 1,
        }
    }
    status.leader = Some(report);
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path)
        .unwrap_or_else(|_| path.to_owned())
        .display()
        .to_string()
}

/// Bytes of the files in a folder whose names begin so; 0 where it cannot be read.
fn folder_bytes(folder: &Path, prefix: &str) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

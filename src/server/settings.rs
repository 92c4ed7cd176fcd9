//! The part of the configuration that each module takes.

use std::sync::Arc;

use crate::auth::AuthConfig;
use crate::config::{Config, EnsembleConfig};
use crate::peer::PeerConfig;
use crate::prep::{PrepConfig, ReapConfig};
use crate::replica::{MemberConfig, ReplicaConfig};
use crate::sequencer::{LocalSessions, SequencerConfig};
use crate::session::SessionConfig;
use crate::shard::ShardConfig;
use crate::storage::StorageOptions;
use crate::tree::TreeConfig;
use crate::wal::WalOptions;

/// The id of a server that is alone, as Apache gives it.
const SERVER_ID_ALONE: u8 = 1;

/// For deciding access.
pub fn auth(config: &Config) -> AuthConfig {
    AuthConfig {
        skip_acl: config.skip_acl,
        digest_enabled: config.digest_auth_enabled,
        digest_algorithm: config.digest_algorithm,
        super_digest: config.super_digest.clone(),
        x509_enabled: config.x509_auth_enabled,
        x509_super_user: config.x509_super_user.clone(),
    }
}

/// For what is on disk.
pub fn storage(config: &Config) -> StorageOptions {
    let limit = config.txn_log_size_limit_bytes.unwrap_or(u64::MAX);
    let segment_bytes = config.pre_alloc_bytes.min(limit);
    StorageOptions {
        data_dir: config.data_dir.clone(),
        data_log_dir: config.data_log_dir.clone(),
        is_dir_autocreate: config.data_dir_autocreate,
        is_db_autocreate: config.db_autocreate,
        is_member: config.ensemble.is_some(),
        tree: TreeConfig {
            extended_types: config.extended_types,
            digest_enabled: config.tree_digest_enabled,
        },
        wal: WalOptions {
            segment_bytes,
            roll_bytes_min: segment_bytes / 4 * 3,
            is_synchronous: config.force_sync,
            ..WalOptions::default()
        },
    }
}

/// For the replica.
pub fn replica(config: &Config) -> ReplicaConfig {
    let tick_ms = config.tick_time_ms as u64;
    let member = config.ensemble.as_ref().map(|member| {
        let sync_limit_ms = tick_ms * u64::from(member.sync_limit_ticks);
        MemberConfig {
            my_id: member.my_id,
            ensemble: Arc::new(member.ensemble.clone()),
            init_limit_ms: tick_ms * u64::from(member.init_limit_ticks),
            sync_limit_ms,
            silence_limit_ms: sync_limit_ms.min(SILENCE_LIMIT_MS),
            heartbeat_ms: (tick_ms / 2).clamp(1, HEARTBEAT_MS_MAX),
            leader_serves: member.leader_serves,
            read_only_after_ms: config
                .read_only_mode
                .then(|| tick_ms.max(READ_ONLY_AFTER_MS_MIN)),
            local_sessions: local_sessions(member),
            notification_interval_ms: (
                member.notification_interval_ms_min,
                member.notification_interval_ms_max,
            ),
        }
    });
    ReplicaConfig {
        member,
        tree: storage(config).tree,
    }
}

/// How long a member looks for a leader at least before it lets clients read, in milliseconds
/// (Apache's `QuorumPeer.run`).
const READ_ONLY_AFTER_MS_MIN: u64 = 2000;

fn local_sessions(member: &EnsembleConfig) -> LocalSessions {
    match (member.has_local_sessions, member.is_upgrading_sessions) {
        (false, _) => LocalSessions::Disabled,
        (true, false) => LocalSessions::Enabled,
        (true, true) => LocalSessions::Upgrading,
    }
}

/// How long another server of ours may be silent, in milliseconds: far below the usual
/// `syncLimit`, since heartbeats come [`HEARTBEAT_MS_MAX`] apart.
const SILENCE_LIMIT_MS: u64 = 1200;

/// The longest time between two heartbeats of a leader, in milliseconds.
const HEARTBEAT_MS_MAX: u64 = 200;

/// For the session table.
pub fn session(config: &Config) -> SessionConfig {
    SessionConfig {
        tick_ms: config.tick_time_ms as u64,
        server_id: session_id_byte(config),
        shards: config.shards as u16,
    }
}

/// The top byte of this server's session ids: the low byte of its own id, as Apache cuts it.
fn session_id_byte(config: &Config) -> u8 {
    let ensemble = config.ensemble.as_ref();
    ensemble.map_or(SERVER_ID_ALONE, |ensemble| ensemble.my_id.0 as u8)
}

/// For the sequencer.
pub fn sequencer(config: &Config) -> SequencerConfig {
    SequencerConfig {
        prep: PrepConfig {
            auth: auth(config),
            extended_types: config.extended_types,
            enforce_quota: config.enforce_quota,
            reconfig_enabled: false,
            close_session_without_paths: !config.close_session_txn_enabled,
        },
        reap: ReapConfig {
            check_interval_ms: config.container_check_interval_ms,
            max_per_minute: config.container_max_per_minute,
            max_never_used_ms: config.container_max_never_used_interval_ms as i64,
        },
        digest_enabled: config.tree_digest_enabled,
    }
}

/// For the shards.
pub fn shard(config: &Config) -> ShardConfig {
    ShardConfig {
        min_session_timeout_ms: config.min_session_timeout_ms,
        max_session_timeout_ms: config.max_session_timeout_ms,
        jute_max_buffer_bytes: config.jute_max_buffer_bytes,
        max_client_cnxns: config.max_client_cnxns,
        max_cnxns: config.max_cnxns,
        global_outstanding_limit: config.global_outstanding_limit,
        sessionless_timeout_ms: config.sessionless_timeout_ms,
        auth: auth(config),
        four_letter_whitelist: config.four_letter_whitelist.clone(),
        read_only_mode: config.read_only_mode,
    }
}

/// Milliseconds between two reports of a shard to the sequencer of whom it heard from: a few in a
/// tick, so that sessions expire within their tick.
pub fn heard_interval_ms(config: &Config) -> u64 {
    (config.tick_time_ms as u64 / 4).clamp(10, 500)
}

/// Milliseconds between two looks of the sequencer at timeouts.
pub fn tick_interval_ms(config: &Config) -> u64 {
    (config.tick_time_ms as u64 / 10).clamp(5, 100)
}

/// For the links to the other members; `None` for a server that is alone.
pub fn peers(config: &Config) -> Option<PeerConfig> {
    let member = config.ensemble.as_ref()?;
    Some(PeerConfig {
        is_listening_on_all: member.is_listening_on_all,
        is_multi_address: member.is_multi_address,
        connect_timeout_ms: member.cnx_timeout_ms,
        bind_attempts_max: member.election_bind_attempts_max,
        is_keep_alive: member.is_peer_keep_alive,
        ..PeerConfig::new(member.my_id, Arc::new(member.ensemble.clone()))
    })
}

/// How long a learner tries to connect to its leader, in milliseconds.
pub fn dial_timeout_ms(config: &Config) -> u64 {
    config.ensemble.as_ref().map_or(0, |member| {
        let ticks = member
            .connect_limit_ticks
            .unwrap_or(member.init_limit_ticks);
        config.tick_time_ms as u64 * u64::from(ticks)
    })
}

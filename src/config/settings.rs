//! The settings of one server, validated and with their units in their names.
//!
//! Every field is within its range once `Config::load` has returned it;
//! code that edits fields by hand (tests) keeps to the ranges itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::EnsembleConfig;
use crate::types::{DigestAlgorithm, limits};

/// Port for clients where none is given.
pub const CLIENT_PORT_DEFAULT: u16 = 2181;
/// Length of a tick in milliseconds where none is given (Apache's `DEFAULT_TICK_TIME`).
pub const TICK_TIME_MS_DEFAULT: i32 = 3000;
/// The fewest snapshots that purging may leave (Apache's `MIN_SNAP_RETAIN_COUNT`).
pub const SNAP_RETAIN_COUNT_MIN: u32 = 3;
/// Milliseconds that an autopurge interval is counted in: an hour.
pub const PURGE_INTERVAL_UNIT_MS: u64 = 3_600_000;

/// Everything a server is told at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that was read, if one was.
    pub config_file: Option<PathBuf>,

    /// Address and port for clients. Default: every address, port 2181. An unspecified IPv6
    /// address takes IPv4 clients too. Port 0 lets the system choose. (`clientPort`,
    /// `clientPortAddress`)
    pub client_address: SocketAddr,
    /// Connections that the system may hold for us before they are accepted; 1 or more, default
    /// 50. (`clientPortListenBacklog`)
    pub client_listen_backlog: u32,
    /// Connections that one client address may have; 0 is no limit, default 60.
    /// (`maxClientCnxns`)
    pub max_client_cnxns: usize,
    /// Connections that all clients together may have; 0 is no limit, the default. (`maxCnxns`)
    pub max_cnxns: usize,
    /// Whether TCP keepalive is set on client sockets; default no. (`clientTcpKeepAlive`)
    pub client_tcp_keep_alive: bool,
    /// How long a connection may stay without a session, in milliseconds; 1 or more, default
    /// 10,000. (`nio.sessionlessCnxnTimeout`)
    pub sessionless_timeout_ms: u64,

    /// Directory of the snapshots; default `zkore-data` in the working directory. (`dataDir`)
    pub data_dir: PathBuf,
    /// Directory of the log; by default the same. (`dataLogDir`)
    pub data_log_dir: PathBuf,
    /// Whether missing data directories are made; default yes. (`datadir.autocreate`)
    pub data_dir_autocreate: bool,
    /// Whether a server without any data starts with an empty tree; default yes. Without it an
    /// empty data directory needs a file `initialize` beside it. (`db.autocreate`)
    pub db_autocreate: bool,

    /// Length of a tick in milliseconds; 1 or more, default 3,000. (`tickTime`)
    pub tick_time_ms: i32,
    /// Shortest session timeout in milliseconds; default two ticks. (`minSessionTimeout`)
    pub min_session_timeout_ms: i32,
    /// Longest session timeout in milliseconds, not below the shortest; default twenty ticks.
    /// (`maxSessionTimeout`)
    pub max_session_timeout_ms: i32,

    /// Largest request in bytes; 1 or more, default 0xfffff. (`jute.maxbuffer`)
    pub jute_max_buffer_bytes: usize,
    /// Requests of all clients in progress past which no connection is given more than a turn's; 1
    /// or more, default 1,000. (`globalOutstandingLimit`)
    pub global_outstanding_limit: usize,

    /// Most transactions between two snapshots; 2 or more. The actual number is random between half of
    /// it and it. By default 100,000, or half of the znodes where that is more. (`snapCount`)
    pub snap_count: Option<u32>,
    /// Most bytes of log between two snapshots, drawn likewise; default 4 GiB, `None` is no
    /// limit. (`snapSizeLimitInKb`)
    pub snap_size_limit_bytes: Option<u64>,
    /// Size at which a log segment ends, in bytes; default none. (`txnLogSizeLimitInKb`)
    pub txn_log_size_limit_bytes: Option<u64>,
    /// Bytes by which the log is allocated ahead; a multiple of 1024, at least 64 KiB, default 64
    /// MiB. (`preAllocSize`)
    pub pre_alloc_bytes: u64,
    /// Snapshots that purging leaves; 3 or more, default 3. (`autopurge.snapRetainCount`)
    pub purge_retain_count: u32,
    /// Hours between purges; 0, the default, is never. (`autopurge.purgeInterval`)
    pub purge_interval_hours: u32,
    /// Whether a write waits until the disk has it; default yes. (`forceSync`)
    pub force_sync: bool,
    /// Duration of a log write in milliseconds past which a warning is logged; default 1,000.
    /// (`fsync.warningthresholdms`)
    pub fsync_warning_threshold_ms: u64,

    /// Four-letter words that are answered, besides `srvr` (see
    /// [`Config::four_letter_allowed`]); `*` alone stands for all. (`4lw.commands.whitelist`)
    pub four_letter_whitelist: Vec<String>,

    /// Whether ACLs are not checked; default no. (`skipACL`)
    pub skip_acl: bool,
    /// Whether the digest scheme is there; default yes. (`DigestAuthenticationProvider.enabled`)
    pub digest_auth_enabled: bool,
    /// Hash of the digest scheme; default SHA-1. (`DigestAuthenticationProvider.digestAlg`)
    pub digest_algorithm: DigestAlgorithm,
    /// `super:` and the digest of the user who may do everything; default nobody.
    /// (`DigestAuthenticationProvider.superDigest`)
    pub super_digest: Option<String>,
    /// Whether the x509 scheme is there; default no. (`authProvider.*` naming Apache's
    /// `X509AuthenticationProvider`)
    pub x509_auth_enabled: bool,
    /// Distinguished name of the certificate that may do everything; default none.
    /// (`X509AuthenticationProvider.superUser`)
    pub x509_super_user: Option<String>,

    /// Whether a write past a hard quota is refused; default no. (`enforceQuota`)
    pub enforce_quota: bool,
    /// Whether nodes may have a time to live; default no. (`extendedTypesEnabled`)
    pub extended_types: bool,
    /// Milliseconds between two looks for empty containers and nodes past their time; 1 or more,
    /// default 60,000. (`znode.container.checkIntervalMs`)
    pub container_check_interval_ms: u64,
    /// Such nodes that are deleted in a minute at most; 1 or more, default 10,000.
    /// (`znode.container.maxPerMinute`)
    pub container_max_per_minute: u32,
    /// Milliseconds after which a container that never had a child goes too; 0, the default, is
    /// never. (`znode.container.maxNeverUsedIntervalMs`)
    pub container_max_never_used_interval_ms: u64,
    /// Whether the digest of the tree is kept and checked; default yes. (`digest.enabled`)
    pub tree_digest_enabled: bool,
    /// Whether closing a session logs the paths of its ephemerals; default yes.
    /// (`closeSessionTxn.enabled`)
    pub close_session_txn_enabled: bool,
    /// Whether the server may serve reads without a quorum; alone it has no effect but to allow
    /// `isro`. Default no. (`readonlymode.enabled`)
    pub read_only_mode: bool,

    /// The ensemble that this server is a member of; `None` where it stands alone. (`server.*`
    /// and what belongs to them)
    pub ensemble: Option<EnsembleConfig>,

    /// Threads that serve clients, each on its own core; 1 or more, by default one less than
    /// there are cores. (`zkore.shards`)
    pub shards: usize,
    /// What those threads run on. (`zkore.runtime`)
    pub runtime: Runtime,
    /// How long they and the sequencer look for something to do before they sleep; default 0.
    /// (`zkore.spinUs`)
    pub spin: Duration,
    /// Where the sequencer runs. (`zkore.placement`)
    pub placement: Placement,
    /// How log lines look. (`zkore.logFormat`)
    pub log_format: LogFormat,
    /// Which log lines are written, as `tracing_subscriber::EnvFilter` reads it; default `info`.
    /// (`zkore.logLevel`)
    pub log_filter: String,
}

/// What the threads that serve clients run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// A loop of their own on a bare io_uring.
    #[default]
    Ring,
    /// An executor of glommio.
    Glommio,
}

/// Where the threads run that order writes and serve clients: the latter each on a processor of its own,
/// unless all are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Where the load calls for.
    #[default]
    Adaptive,
    /// On a processor of its own.
    Apart,
    /// On that of the first thread that serves clients.
    Together,
    /// Where the system puts it, as it does the others.
    Free,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    /// The settings of a server that is told nothing.
    fn default() -> Config {
        let data_dir = PathBuf::from("zkore-data");
        Config {
            config_file: None,
            client_address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT_PORT_DEFAULT)),
            client_listen_backlog: 50,
            max_client_cnxns: 60,
            max_cnxns: 0,
            client_tcp_keep_alive: false,
            sessionless_timeout_ms: 10_000,
            data_log_dir: data_dir.clone(),
            data_dir,
            data_dir_autocreate: true,
            db_autocreate: true,
            tick_time_ms: TICK_TIME_MS_DEFAULT,
            min_session_timeout_ms: 2 * TICK_TIME_MS_DEFAULT,
            max_session_timeout_ms: 20 * TICK_TIME_MS_DEFAULT,
            jute_max_buffer_bytes: limits::JUTE_MAX_BUFFER_DEFAULT,
            global_outstanding_limit: limits::GLOBAL_OUTSTANDING_DEFAULT,
            snap_count: None,
            snap_size_limit_bytes: Some(4 << 30),
            txn_log_size_limit_bytes: None,
            pre_alloc_bytes: 65_536 * 1024,
            purge_retain_count: SNAP_RETAIN_COUNT_MIN,
            purge_interval_hours: 0,
            force_sync: true,
            fsync_warning_threshold_ms: 1000,
            four_letter_whitelist: vec!["srvr".to_string()],
            skip_acl: false,
            digest_auth_enabled: true,
            digest_algorithm: DigestAlgorithm::Sha1,
            super_digest: None,
            x509_auth_enabled: false,
            x509_super_user: None,
            enforce_quota: false,
            extended_types: false,
            container_check_interval_ms: 60_000,
            container_max_per_minute: 10_000,
            container_max_never_used_interval_ms: 0,
            tree_digest_enabled: true,
            close_session_txn_enabled: true,
            read_only_mode: false,
            ensemble: None,
            shards: default_shards(),
            runtime: Runtime::Ring,
            spin: Duration::ZERO,
            placement: Placement::Adaptive,
            log_format: LogFormat::Text,
            log_filter: "info".to_string(),
        }
    }
}

impl Config {
    /// Whether this four-letter word is answered: `srvr` always is, `isro` is with
    /// `readonlymode.enabled`, the others as the list says (Apache's
    /// `FourLetterCommands.isEnabled`).
    pub fn four_letter_allowed(&self, word: &str) -> bool {
        word == "srvr"
            || (word == "isro" && self.read_only_mode)
            || self
                .four_letter_whitelist
                .iter()
                .any(|allowed| allowed == "*" || allowed == word)
    }
}

/// One core is the sequencer's; on a machine of one core both share it.
fn default_shards() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srvr_is_always_allowed_and_a_star_allows_all() {
        let mut config = Config::default();
        assert!(config.four_letter_allowed("srvr"));
        assert!(!config.four_letter_allowed("ruok") && !config.four_letter_allowed("isro"));
        config.read_only_mode = true;
        assert!(config.four_letter_allowed("isro"));
        config.four_letter_whitelist = vec!["ruok".to_string()];
        assert!(config.four_letter_allowed("ruok") && config.four_letter_allowed("srvr"));
        config.four_letter_whitelist = vec!["*".to_string()];
        assert!(config.four_letter_allowed("mntr"));
    }
}

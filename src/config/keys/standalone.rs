//! Keys that a standalone server obeys.

use std::time::Duration;

use super::{Group, KeySpec, ignored, works};
use crate::config::draft::TICK_TIME_MS_MAX;
use crate::config::settings::{LogFormat, Placement, Runtime, SNAP_RETAIN_COUNT_MIN};
use crate::config::values::{self, Expected};
use crate::types::DigestAlgorithm;

const INT_MAX: i64 = i32::MAX as i64;
const INT_MIN: i64 = i32::MIN as i64;
const KIB: u64 = 1024;
/// The largest number of KiB whose bytes still fit an `i64`.
const KIB_MAX: i64 = i64::MAX / 1024;
/// The least by which the log can be allocated ahead.
const PRE_ALLOC_KIB_MIN: i64 = 64;

pub(super) const CLIENTS: Group = Group {
    title: "Clients",
    keys: CLIENT_KEYS,
};

static CLIENT_KEYS: &[KeySpec] = &[
    works(
        "clientPort",
        None,
        |draft, value| {
            draft.client_port = Some(values::decimal(value, 0..=65_535)? as u16);
            Ok(())
        },
        "Port for clients; 0 lets the system choose. Needed in a zoo.cfg; 2181 without one.",
    ),
    works(
        "clientPortAddress",
        None,
        |draft, value| {
            draft.client_port_address = Some(values::text(value, "an address or a host name")?);
            Ok(())
        },
        "Address on which clients are served. Default: every address.",
    ),
    works(
        "clientPortListenBacklog",
        None,
        |draft, value| {
            match values::decimal(value, -1..=INT_MAX)? {
                -1 => {}
                0 => return Err(Expected("a whole number from 1, or -1".to_string())),
                length => draft.config.client_listen_backlog = length as u32,
            }
            Ok(())
        },
        "Connections that may wait to be accepted. Default −1, which is 50.",
    ),
    works(
        "maxClientCnxns",
        None,
        |draft, value| {
            let most = values::decimal(value, INT_MIN..=INT_MAX)?;
            draft.config.max_client_cnxns = most.max(0) as usize;
            Ok(())
        },
        "Connections that one address may have; 0 is no limit. Default 60.",
    ),
    works(
        "maxCnxns",
        Some("zookeeper.maxCnxns"),
        |draft, value| {
            let most = values::decoded(value, INT_MIN..=INT_MAX)?;
            draft.config.max_cnxns = most.max(0) as usize;
            Ok(())
        },
        "Connections that all clients together may have; 0 is no limit. Default 0.",
    ),
    works(
        "clientTcpKeepAlive",
        Some("zookeeper.clientTcpKeepAlive"),
        |draft, value| {
            draft.config.client_tcp_keep_alive = values::boolean(value)?;
            Ok(())
        },
        "Whether TCP keepalive is set on client sockets. Default false.",
    ),
    works(
        "nio.sessionlessCnxnTimeout",
        Some("zookeeper.nio.sessionlessCnxnTimeout"),
        |draft, value| {
            draft.config.sessionless_timeout_ms = values::decoded(value, 1..=INT_MAX)? as u64;
            Ok(())
        },
        "Milliseconds that a connection may stay without a session. Default 10000.",
    ),
    works(
        "tickTime",
        None,
        |draft, value| {
            draft.config.tick_time_ms = values::decimal(value, 1..=TICK_TIME_MS_MAX)? as i32;
            Ok(())
        },
        "Length of a tick in milliseconds. Default 3000.",
    ),
    works(
        "minSessionTimeout",
        None,
        |draft, value| {
            draft.min_session_timeout_ms = session_timeout(value)?;
            Ok(())
        },
        "Shortest session timeout in milliseconds. Default −1, which is 2 ticks.",
    ),
    works(
        "maxSessionTimeout",
        None,
        |draft, value| {
            draft.max_session_timeout_ms = session_timeout(value)?;
            Ok(())
        },
        "Longest session timeout in milliseconds. Default −1, which is 20 ticks.",
    ),
    works(
        "globalOutstandingLimit",
        Some("zookeeper.globalOutstandingLimit"),
        |draft, value| {
            let most = values::decoded(value, 1..=INT_MAX)?;
            draft.config.global_outstanding_limit = most as usize;
            Ok(())
        },
        "Requests of all clients in progress past which no connection is given more than 16. \
         Default 1000.",
    ),
    works(
        "jute.maxbuffer",
        Some("jute.maxbuffer"),
        |draft, value| {
            draft.config.jute_max_buffer_bytes = values::decoded(value, 1..=INT_MAX)? as usize;
            Ok(())
        },
        "Largest request in bytes. Default 1048575.",
    ),
    ignored(
        "jute.maxbuffer.extrasize",
        Some("zookeeper.jute.maxbuffer.extrasize"),
        "what is read back from disk is held to its checksums, not to a size",
        "Bytes by which a record read back from disk may exceed that.",
    ),
    works(
        "4lw.commands.whitelist",
        Some("zookeeper.4lw.commands.whitelist"),
        |draft, value| {
            draft.config.four_letter_whitelist = value
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(str::to_string)
                .collect();
            Ok(())
        },
        "Four-letter words that are answered, parted by commas, or `*`. `srvr` always is.",
    ),
    works(
        "readonlymode.enabled",
        Some("readonlymode.enabled"),
        |draft, value| {
            draft.config.read_only_mode = values::boolean(value)?;
            Ok(())
        },
        "Whether clients that make do with reading are served without a quorum. Default false.",
    ),
];

fn session_timeout(value: &str) -> Result<Option<i32>, Expected> {
    match values::decimal(value, -1..=INT_MAX)? {
        -1 => Ok(None),
        0 => Err(Expected("a whole number from 1, or -1".to_string())),
        timeout_ms => Ok(Some(timeout_ms as i32)),
    }
}

pub(super) const DATA: Group = Group {
    title: "Data",
    keys: DATA_KEYS,
};

static DATA_KEYS: &[KeySpec] = &[
    works(
        "dataDir",
        None,
        |draft, value| {
            draft.data_dir = Some(values::directory(value)?);
            Ok(())
        },
        "Directory of the snapshots. Needed in a zoo.cfg; `zkore-data` without one.",
    ),
    works(
        "dataLogDir",
        None,
        |draft, value| {
            draft.data_log_dir = Some(values::directory(value)?);
            Ok(())
        },
        "Directory of the log. Default: `dataDir`.",
    ),
    works(
        "datadir.autocreate",
        Some("zookeeper.datadir.autocreate"),
        |draft, value| {
            draft.config.data_dir_autocreate = values::boolean(value)?;
            Ok(())
        },
        "Whether missing data directories are made. Default true.",
    ),
    works(
        "db.autocreate",
        Some("zookeeper.db.autocreate"),
        |draft, value| {
            draft.config.db_autocreate = values::boolean(value)?;
            Ok(())
        },
        "Whether a server without data starts with an empty tree. Default true.",
    ),
    works(
        "snapCount",
        Some("zookeeper.snapCount"),
        |draft, value| {
            let count = values::decoded(value, INT_MIN..=INT_MAX)?;
            if count < 2 {
                draft.adjustment = Some("snapCount is 2 at least; taken as 2".to_string());
            }
            draft.config.snap_count = Some(count.max(2) as u32);
            Ok(())
        },
        "Most transactions between two snapshots; a random number from half of it up. Default \
         100000, or half of the znodes where that is more.",
    ),
    works(
        "snapSizeLimitInKb",
        Some("zookeeper.snapSizeLimitInKb"),
        |draft, value| {
            draft.config.snap_size_limit_bytes = size_limit_bytes(value)?;
            Ok(())
        },
        "Most KiB of log between two snapshots, likewise; 0 or less is no limit. Default 4194304.",
    ),
    works(
        "txnLogSizeLimitInKb",
        Some("zookeeper.txnLogSizeLimitInKb"),
        |draft, value| {
            draft.config.txn_log_size_limit_bytes = size_limit_bytes(value)?;
            Ok(())
        },
        "KiB at which a log segment ends; 0 or less is no limit, the default.",
    ),
    works(
        "preAllocSize",
        Some("zookeeper.preAllocSize"),
        |draft, value| {
            let kib = values::decimal(value, INT_MIN..=KIB_MAX)?;
            if kib < PRE_ALLOC_KIB_MIN {
                draft.adjustment = Some(format!(
                    "preAllocSize is {PRE_ALLOC_KIB_MIN} at least; taken as {PRE_ALLOC_KIB_MIN}"
                ));
            }
            draft.config.pre_alloc_bytes = kib.max(PRE_ALLOC_KIB_MIN) as u64 * KIB;
            Ok(())
        },
        "KiB by which the log is allocated ahead. Default 65536.",
    ),
    works(
        "autopurge.snapRetainCount",
        None,
        |draft, value| {
            let count = values::decimal(value, INT_MIN..=INT_MAX)?;
            let least = i64::from(SNAP_RETAIN_COUNT_MIN);
            if count < least {
                draft.adjustment = Some(format!(
                    "autopurge.snapRetainCount is {least} at least; taken as {least}"
                ));
            }
            draft.config.purge_retain_count = count.max(least) as u32;
            Ok(())
        },
        "Snapshots that purging leaves; 3 at least. Default 3.",
    ),
    works(
        "autopurge.purgeInterval",
        None,
        |draft, value| {
            let hours = values::decimal(value, INT_MIN..=INT_MAX)?;
            draft.config.purge_interval_hours = hours.max(0) as u32;
            Ok(())
        },
        "Hours between purges; 0 is never. Default 0.",
    ),
    works(
        "forceSync",
        Some("zookeeper.forceSync"),
        |draft, value| {
            draft.config.force_sync = values::yes_or_no(value)?;
            Ok(())
        },
        "Whether a write is answered only when the disk has it: `yes` or `no`. Default yes.",
    ),
    works(
        "fsync.warningthresholdms",
        Some("zookeeper.fsync.warningthresholdms"),
        |draft, value| {
            let threshold_ms = values::decoded(value, 0..=i64::MAX)?;
            draft.config.fsync_warning_threshold_ms = threshold_ms as u64;
            Ok(())
        },
        "Milliseconds of a log write past which a warning is logged. Default 1000.",
    ),
    works(
        "digest.enabled",
        Some("zookeeper.digest.enabled"),
        |draft, value| {
            draft.config.tree_digest_enabled = values::boolean(value)?;
            Ok(())
        },
        "Whether the digest of the tree is kept and checked. Default true.",
    ),
    works(
        "closeSessionTxn.enabled",
        Some("zookeeper.closeSessionTxn.enabled"),
        |draft, value| {
            draft.config.close_session_txn_enabled = values::boolean(value)?;
            Ok(())
        },
        "Whether closing a session logs the paths of its ephemerals. Default true.",
    ),
];

fn size_limit_bytes(value: &str) -> Result<Option<u64>, Expected> {
    let kib = values::decoded(value, i64::MIN..=KIB_MAX)?;
    let kib = u64::try_from(kib).ok().filter(|&kib| kib > 0);
    Ok(kib.map(|kib| kib * KIB))
}

pub(super) const NODES: Group = Group {
    title: "Nodes and access",
    keys: NODE_KEYS,
};

static NODE_KEYS: &[KeySpec] = &[
    works(
        "enforceQuota",
        Some("zookeeper.enforceQuota"),
        |draft, value| {
            draft.config.enforce_quota = values::boolean(value)?;
            Ok(())
        },
        "Whether a write past a hard quota is refused. Default false.",
    ),
    works(
        "extendedTypesEnabled",
        Some("zookeeper.extendedTypesEnabled"),
        |draft, value| {
            draft.config.extended_types = values::boolean(value)?;
            Ok(())
        },
        "Whether nodes may have a time to live. Default false.",
    ),
    works(
        "znode.container.checkIntervalMs",
        Some("znode.container.checkIntervalMs"),
        |draft, value| {
            draft.config.container_check_interval_ms = values::decoded(value, 1..=INT_MAX)? as u64;
            Ok(())
        },
        "Milliseconds between looks for empty containers and nodes past their time. Default 60000.",
    ),
    works(
        "znode.container.maxPerMinute",
        Some("znode.container.maxPerMinute"),
        |draft, value| {
            draft.config.container_max_per_minute = values::decoded(value, 1..=INT_MAX)? as u32;
            Ok(())
        },
        "Such nodes deleted in a minute at most. Default 10000.",
    ),
    works(
        "znode.container.maxNeverUsedIntervalMs",
        Some("znode.container.maxNeverUsedIntervalMs"),
        |draft, value| {
            draft.config.container_max_never_used_interval_ms =
                values::decoded(value, 0..=i64::MAX)? as u64;
            Ok(())
        },
        "Milliseconds after which a container that never had a child goes; 0 is never. Default 0.",
    ),
    works(
        "skipACL",
        Some("zookeeper.skipACL"),
        |draft, value| {
            draft.config.skip_acl = values::yes_or_no(value)?;
            Ok(())
        },
        "Whether ACLs are not checked: `yes` or `no`. Default no.",
    ),
    works(
        "DigestAuthenticationProvider.enabled",
        Some("zookeeper.DigestAuthenticationProvider.enabled"),
        |draft, value| {
            draft.config.digest_auth_enabled = values::boolean(value)?;
            Ok(())
        },
        "Whether the digest scheme is there. Default true.",
    ),
    works(
        "DigestAuthenticationProvider.digestAlg",
        Some("zookeeper.DigestAuthenticationProvider.digestAlg"),
        |draft, value| {
            draft.config.digest_algorithm = digest_algorithm(value)?;
            Ok(())
        },
        "Hash of the digest scheme: SHA1, SHA-224, SHA-256, SHA-384 or SHA-512. Default SHA1.",
    ),
    works(
        "DigestAuthenticationProvider.superDigest",
        Some("zookeeper.DigestAuthenticationProvider.superDigest"),
        |draft, value| {
            draft.config.super_digest = Some(values::text(value, "super:<digest>")?);
            Ok(())
        },
        "User and digest of who may do everything. Default: nobody.",
    ),
    works(
        "authProvider.*",
        Some("zookeeper.authProvider.*"),
        |draft, value| {
            match value.strip_prefix(APACHE_AUTH_PACKAGE) {
                Some("X509AuthenticationProvider") => draft.config.x509_auth_enabled = true,
                // Both are there without being asked for.
                Some("DigestAuthenticationProvider" | "IPAuthenticationProvider") => {}
                _ => return Err(Expected(AUTH_PROVIDERS.to_string())),
            }
            Ok(())
        },
        "An authentication provider: Apache's `X509AuthenticationProvider` adds the x509 scheme; \
         digest and ip are always there. Others keep the server from starting.",
    ),
    works(
        "X509AuthenticationProvider.superUser",
        Some("zookeeper.X509AuthenticationProvider.superUser"),
        |draft, value| {
            draft.config.x509_super_user = Some(values::text(value, "a distinguished name")?);
            Ok(())
        },
        "Name of the certificate that may do everything. Default: none.",
    ),
];

const APACHE_AUTH_PACKAGE: &str = "org.apache.zookeeper.server.auth.";

const AUTH_PROVIDERS: &str = "Apache's DigestAuthenticationProvider, IPAuthenticationProvider or \
    X509AuthenticationProvider, each after org.apache.zookeeper.server.auth.: other Java classes \
    cannot be loaded, and SASL is not there yet";

/// Java's names of the algorithms, in any case.
fn digest_algorithm(value: &str) -> Result<DigestAlgorithm, Expected> {
    DigestAlgorithm::from_name(value)
        .ok_or_else(|| Expected("SHA1, SHA-224, SHA-256, SHA-384 or SHA-512".to_string()))
}

pub(super) const ZKORE: Group = Group {
    title: "This server's own",
    keys: ZKORE_KEYS,
};

/// Shards beyond this are a mistake rather than a machine.
const SHARDS_MAX: i64 = 1024;

/// Looking for longer than this is not worth a wake-up anywhere.
const SPIN_US_MAX: i64 = 10_000;

static ZKORE_KEYS: &[KeySpec] = &[
    works(
        "zkore.shards",
        Some("zkore.shards"),
        |draft, value| {
            draft.config.shards = values::decimal(value, 1..=SHARDS_MAX)? as usize;
            Ok(())
        },
        "Threads that serve clients, as `--shards`. Default: the cores but one.",
    ),
    works(
        "zkore.runtime",
        Some("zkore.runtime"),
        |draft, value| {
            draft.config.runtime = match value {
                "ring" => Runtime::Ring,
                "glommio" => Runtime::Glommio,
                _ => return Err(Expected("ring or glommio".to_string())),
            };
            Ok(())
        },
        "What those threads run on, as `--runtime`: `ring`, a loop of their own on io_uring, or \
         `glommio`. Default ring.",
    ),
    works(
        "zkore.spinUs",
        Some("zkore.spinUs"),
        |draft, value| {
            let spin_us = values::decimal(value, 0..=SPIN_US_MAX)?;
            draft.config.spin = Duration::from_micros(spin_us as u64);
            Ok(())
        },
        "Microseconds that those threads and the sequencer look for something to do before they \
         sleep: saves the time of waking them, at the cost of their processors. Default 0.",
    ),
    works(
        "zkore.placement",
        Some("zkore.placement"),
        |draft, value| {
            draft.config.placement = match value {
                "adaptive" => Placement::Adaptive,
                "apart" => Placement::Apart,
                "together" => Placement::Together,
                "free" => Placement::Free,
                _ => return Err(Expected("adaptive, apart, together or free".to_string())),
            };
            Ok(())
        },
        "Where the thread that orders writes runs: `apart`, on a processor of its own; `together` \
         with the first of the threads that serve clients; `adaptive`, together with the one that \
         writes most while both have little to do or another program keeps it waiting, and apart \
         otherwise; `free`, where the system puts it and the others, for a machine on which other \
         programs are as busy. Default adaptive.",
    ),
    works(
        "zkore.logFormat",
        Some("zkore.logFormat"),
        |draft, value| {
            draft.config.log_format = match value {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(Expected("text or json".to_string())),
            };
            Ok(())
        },
        "`text` or `json`, as `--log-format`. Default text.",
    ),
    works(
        "zkore.logLevel",
        Some("zkore.logLevel"),
        |draft, value| {
            draft.config.log_filter = values::text(value, "a level or a filter")?;
            Ok(())
        },
        "`error`, `warn`, `info`, `debug`, `trace` or a filter like `info,zkore::wal=debug`, as \
         `--log-level`. Default info.",
    ),
];

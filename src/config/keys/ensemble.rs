//! Keys of an ensemble. A server that stands alone takes them and has no use for most.

use super::{Group, KeySpec, family, ignored, refused, works};
use crate::config::servers;
use crate::config::values::{self, Expected};

const INT_MAX: i64 = i32::MAX as i64;
const NO_RECONFIG: &str = "reconfiguration is not there yet";
const LOG_DECIDES: &str = "a learner gets what the log has, and else a snapshot";
const BOUNDED: &str = "what is kept for a learner is bounded without it";

pub(super) const ENSEMBLE: Group = Group {
    title: "Ensemble",
    keys: ENSEMBLE_KEYS,
};

static ENSEMBLE_KEYS: &[KeySpec] = &[
    family(
        "server.*",
        |draft, id, value| draft.ensemble.add_member(id, servers::parse(value)?),
        "A member of the ensemble: host:port:election port, with :observer for one without a \
         vote, and ;port or ;address:port for its clients. One participant alone is served \
         without an ensemble.",
    ),
    family(
        "group.*",
        |draft, group, value| draft.ensemble.add_group(group, value),
        "Ids of the members of a group of a hierarchical quorum, with : between.",
    ),
    family(
        "weight.*",
        |draft, id, value| {
            let weight = values::decimal(value, 0..=INT_MAX)?;
            draft.ensemble.add_weight(id, weight)
        },
        "Weight of a member in its group. Default 1.",
    ),
    works(
        "version",
        None,
        |draft, value| {
            draft.ensemble.version = i64::from_str_radix(value, 16)
                .map_err(|_| Expected("a hexadecimal number".to_string()))?;
            Ok(())
        },
        "Version of the list of members, in hexadecimal. Default 0. With a dynamic file it is \
         what follows the last dot of its name.",
    ),
    works(
        "dynamicConfigFile",
        None,
        |_, value| values::text(value, "the path of a file").map(drop),
        "File with the server, group and weight lines.",
    ),
    works(
        "standaloneEnabled",
        None,
        |draft, value| {
            draft.ensemble.is_never_standalone = !values::boolean(value)?;
            Ok(())
        },
        "Whether one participant alone is served without an ensemble. Default true.",
    ),
    works(
        "peerType",
        None,
        |draft, value| {
            draft.ensemble.peer_type = servers::parse_role(value)
                .ok_or_else(|| Expected("participant or observer".to_string()))?;
            Ok(())
        },
        "Whether this member votes: participant or observer. Its server line counts where they \
         disagree.",
    ),
    refused(
        "electionAlg",
        None,
        &["3"],
        "only 3 is supported, as by Apache ZooKeeper",
        "Which election algorithm.",
    ),
    works(
        "initLimit",
        None,
        |draft, value| {
            let ticks = values::decimal(value, 0..=INT_MAX)?;
            draft.ensemble.config.init_limit_ticks = ticks as u32;
            Ok(())
        },
        "Ticks that a member may take to connect to the leader and to synchronise with it. Needed \
         in an ensemble.",
    ),
    works(
        "syncLimit",
        None,
        |draft, value| {
            let ticks = values::decimal(value, 0..=INT_MAX)?;
            draft.ensemble.config.sync_limit_ticks = ticks as u32;
            Ok(())
        },
        "Ticks that a member may stay unheard of. Needed in an ensemble.",
    ),
    works(
        "connectToLearnerMasterLimit",
        None,
        |draft, value| {
            let ticks = values::decimal(value, 0..=INT_MAX)? as u32;
            draft.ensemble.config.connect_limit_ticks = (ticks > 0).then_some(ticks);
            Ok(())
        },
        "Ticks that a member may take to connect to the leader. Default 0, which is initLimit.",
    ),
    ignored(
        "leaderConnectDelayDuringRetryMs",
        Some("zookeeper.leaderConnectDelayDuringRetryMs"),
        "a leader is tried again after 10 to 50 ms",
        "Milliseconds between attempts to connect to the leader.",
    ),
    works(
        "leaderServes",
        Some("zookeeper.leaderServes"),
        |draft, value| {
            draft.ensemble.config.leader_serves = values::yes_or_no(value)?;
            Ok(())
        },
        "Whether a leader serves clients. Default yes.",
    ),
    works(
        "localSessionsEnabled",
        None,
        |draft, value| {
            draft.ensemble.config.has_local_sessions = values::boolean(value)?;
            Ok(())
        },
        "Whether new sessions live on one member alone, without transactions. Default false.",
    ),
    works(
        "localSessionsUpgradingEnabled",
        None,
        |draft, value| {
            draft.ensemble.config.is_upgrading_sessions = values::boolean(value)?;
            Ok(())
        },
        "Whether such a session becomes one of the ensemble when it makes an ephemeral. Default false.",
    ),
    works(
        "quorumListenOnAllIPs",
        None,
        |draft, value| {
            draft.ensemble.config.is_listening_on_all = values::boolean(value)?;
            Ok(())
        },
        "Whether peers are served on every address instead of those of the server line. Default \
         false.",
    ),
    works(
        "multiAddress.enabled",
        Some("zookeeper.multiAddress.enabled"),
        |draft, value| {
            draft.ensemble.config.is_multi_address = values::boolean(value)?;
            Ok(())
        },
        "Whether a member may have several addresses; the same on every member. Default false.",
    ),
    ignored(
        "multiAddress.*",
        Some("zookeeper.multiAddress.*"),
        "the addresses of a member are tried by connecting to them",
        "How addresses are found reachable.",
    ),
    works(
        "cnxTimeout",
        Some("zookeeper.cnxTimeout"),
        |draft, value| {
            draft.ensemble.config.cnx_timeout_ms = values::decimal(value, 1..=INT_MAX)? as u64;
            Ok(())
        },
        "Milliseconds to open an election connection. Default 5000.",
    ),
    works(
        "electionPortBindRetry",
        Some("zookeeper.electionPortBindRetry"),
        |draft, value| {
            let attempts = values::decoded(value, 0..=INT_MAX)?;
            draft.ensemble.config.election_bind_attempts_max = attempts as u32;
            Ok(())
        },
        "Attempts to listen on the election port; 0 is no end. Default 3.",
    ),
    works(
        "tcpKeepAlive",
        Some("zookeeper.tcpKeepAlive"),
        |draft, value| {
            draft.ensemble.config.is_peer_keep_alive = values::boolean(value)?;
            Ok(())
        },
        "Whether TCP keepalive is set on election connections. Default false.",
    ),
    works(
        "fastleader.minNotificationInterval",
        Some("zookeeper.fastleader.minNotificationInterval"),
        |draft, value| {
            let interval_ms = values::decoded(value, 1..=INT_MAX)?;
            draft.ensemble.config.notification_interval_ms_min = interval_ms as u64;
            Ok(())
        },
        "Milliseconds after which a server that looks for a leader asks again at first. Default \
         200.",
    ),
    works(
        "fastleader.maxNotificationInterval",
        Some("zookeeper.fastleader.maxNotificationInterval"),
        |draft, value| {
            let interval_ms = values::decoded(value, 1..=INT_MAX)?;
            draft.ensemble.config.notification_interval_ms_max = interval_ms as u64;
            Ok(())
        },
        "Milliseconds to which that time grows. Default 60000.",
    ),
    refused(
        "reconfigEnabled",
        None,
        &["false"],
        NO_RECONFIG,
        "Whether members can be changed at run time.",
    ),
    refused(
        "observerMasterPort",
        None,
        &["0", "-1"],
        "followers do not serve observers yet; leave it out, and observers go to the leader",
        "Port for observers at a follower.",
    ),
    ignored(
        "observerMaster.sizeLimit",
        Some("zookeeper.observerMaster.sizeLimit"),
        "no effect without observerMasterPort",
        "Bytes that a follower keeps for its observers.",
    ),
    refused(
        "oraclePath",
        None,
        &[""],
        "the oracle is not there",
        "File by which two members decide.",
    ),
    refused(
        "quorum.auth.enableSasl",
        None,
        &["false"],
        "SASL is not there yet",
        "SASL between servers.",
    ),
    ignored(
        "quorum.auth.*",
        None,
        "no effect without quorum.auth.enableSasl",
        "SASL between servers.",
    ),
    ignored(
        "quorum.cnxn.threads.size",
        None,
        "no effect without quorum.auth.enableSasl",
        "Threads for SASL between servers.",
    ),
    ignored(
        "syncEnabled",
        Some("zookeeper.observer.syncEnabled"),
        "an observer always logs and takes snapshots",
        "Whether observers log and take snapshots.",
    ),
    ignored(
        "observer.*",
        Some("zookeeper.observer.*"),
        "an observer looks for a leader at once",
        "Delays of an observer.",
    ),
    ignored(
        "commitLogCount",
        Some("zookeeper.commitLogCount"),
        LOG_DECIDES,
        "Transactions kept for followers.",
    ),
    ignored(
        "snapshotSizeFactor",
        Some("zookeeper.snapshotSizeFactor"),
        LOG_DECIDES,
        "Share of the snapshot up to which a follower gets the log instead.",
    ),
    ignored(
        "forceSnapshotSync",
        Some("zookeeper.forceSnapshotSync"),
        LOG_DECIDES,
        "Whether followers always get a snapshot.",
    ),
    ignored(
        "maxConcurrentSnapSyncs",
        Some("zookeeper.leader.maxConcurrentSnapSyncs"),
        BOUNDED,
        "Followers that get a snapshot at once.",
    ),
    ignored(
        "maxConcurrentDiffSyncs",
        Some("zookeeper.leader.maxConcurrentDiffSyncs"),
        BOUNDED,
        "Followers that get the log at once.",
    ),
    ignored(
        "maxTimeToWaitForEpoch",
        Some("zookeeper.leader.maxTimeToWaitForEpoch"),
        "a new leader waits for initLimit",
        "Milliseconds that a new leader waits for an epoch.",
    ),
    ignored(
        "leader.*",
        Some("zookeeper.leader.*"),
        "sockets are never delayed, and closing one holds up nothing",
        "Sockets and log lines of a leader.",
    ),
    ignored(
        "learner.*",
        Some("zookeeper.learner.*"),
        "sending and closing hold up nothing",
        "Sockets of a learner.",
    ),
    ignored(
        "follower.*",
        Some("zookeeper.follower.*"),
        "sockets are never delayed",
        "Sockets and requests of a follower.",
    ),
    ignored(
        "forward_learner_requests_to_commit_processor_disabled",
        Some("zookeeper.forward_learner_requests_to_commit_processor_disabled"),
        "a leader does not queue what its learners will answer",
        "Whether a leader queues the requests of learners.",
    ),
    ignored(
        "quorumCnxnTimeoutMs",
        Some("zookeeper.quorumCnxnTimeoutMs"),
        "a silent election connection does no harm",
        "Milliseconds to read from an election connection.",
    ),
];

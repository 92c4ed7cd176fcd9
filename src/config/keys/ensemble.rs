//! Keys of an ensemble. A standalone server of Apache's ignores most of them too.

use super::{Group, KeySpec, ignored, refused, works};
use crate::config::servers;
use crate::config::values::Expected;

const ENSEMBLE_ONLY: &str = "only an ensemble needs it";
const NO_ENSEMBLE: &str = "the ensemble is not there yet";

pub(super) const ENSEMBLE: Group = Group {
    title: "Ensemble",
    keys: ENSEMBLE_KEYS,
};

static ENSEMBLE_KEYS: &[KeySpec] = &[
    works(
        "server.*",
        None,
        |draft, value| {
            let line = servers::parse(value).ok_or_else(|| Expected(servers::FORM.to_string()))?;
            draft.servers.push(line);
            Ok(())
        },
        "A member of the ensemble. One participant alone is served as a standalone server; more \
         are refused: the ensemble is not there yet.",
    ),
    refused(
        "group.*",
        None,
        &[],
        NO_ENSEMBLE,
        "Members of a group of a hierarchical quorum.",
    ),
    refused(
        "weight.*",
        None,
        &[],
        NO_ENSEMBLE,
        "Weight of a member in a hierarchical quorum.",
    ),
    refused(
        "dynamicConfigFile",
        None,
        &[],
        NO_ENSEMBLE,
        "File that names the members.",
    ),
    refused(
        "standaloneEnabled",
        None,
        &["true"],
        NO_ENSEMBLE,
        "Whether one member alone is a standalone server.",
    ),
    refused(
        "peerType",
        None,
        &["participant"],
        NO_ENSEMBLE,
        "Whether this member votes.",
    ),
    refused(
        "electionAlg",
        None,
        &["3"],
        "only 3 is supported, as by Apache ZooKeeper",
        "Which election algorithm.",
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
        ENSEMBLE_ONLY,
        "Threads for SASL between servers.",
    ),
    ignored(
        "reconfigEnabled",
        None,
        ENSEMBLE_ONLY,
        "Whether members can be changed at run time.",
    ),
    ignored("initLimit", None, ENSEMBLE_ONLY, "Ticks to join a leader."),
    ignored(
        "syncLimit",
        None,
        ENSEMBLE_ONLY,
        "Ticks that a follower may lag behind.",
    ),
    ignored(
        "connectToLearnerMasterLimit",
        Some("zookeeper.connectToLearnerMasterLimit"),
        ENSEMBLE_ONLY,
        "Ticks to connect to a leader.",
    ),
    ignored(
        "leaderServes",
        Some("zookeeper.leaderServes"),
        ENSEMBLE_ONLY,
        "Whether a leader serves clients.",
    ),
    ignored(
        "localSessionsEnabled",
        None,
        ENSEMBLE_ONLY,
        "Whether sessions may live on one member alone.",
    ),
    ignored(
        "localSessionsUpgradingEnabled",
        None,
        ENSEMBLE_ONLY,
        "Whether such a session becomes a global one when it has to.",
    ),
    ignored(
        "observerMasterPort",
        None,
        ENSEMBLE_ONLY,
        "Port for observers at a follower.",
    ),
    ignored(
        "observerMaster.sizeLimit",
        Some("zookeeper.observerMaster.sizeLimit"),
        ENSEMBLE_ONLY,
        "Bytes that a follower keeps for its observers.",
    ),
    ignored(
        "syncEnabled",
        Some("zookeeper.observer.syncEnabled"),
        ENSEMBLE_ONLY,
        "Whether observers log and take snapshots.",
    ),
    ignored(
        "observer.*",
        Some("zookeeper.observer.*"),
        ENSEMBLE_ONLY,
        "Delays of an observer.",
    ),
    ignored(
        "quorumListenOnAllIPs",
        None,
        ENSEMBLE_ONLY,
        "Whether peers are served on every address.",
    ),
    ignored(
        "multiAddress.*",
        Some("zookeeper.multiAddress.*"),
        ENSEMBLE_ONLY,
        "Several addresses of a member.",
    ),
    ignored(
        "oraclePath",
        None,
        ENSEMBLE_ONLY,
        "File by which two members decide.",
    ),
    ignored(
        "commitLogCount",
        Some("zookeeper.commitLogCount"),
        ENSEMBLE_ONLY,
        "Transactions kept for followers.",
    ),
    ignored(
        "snapshotSizeFactor",
        Some("zookeeper.snapshotSizeFactor"),
        ENSEMBLE_ONLY,
        "Share of the snapshot up to which a follower gets the log instead.",
    ),
    ignored(
        "forceSnapshotSync",
        Some("zookeeper.forceSnapshotSync"),
        ENSEMBLE_ONLY,
        "Whether followers always get a snapshot.",
    ),
    ignored(
        "maxConcurrentSnapSyncs",
        Some("zookeeper.leader.maxConcurrentSnapSyncs"),
        ENSEMBLE_ONLY,
        "Followers that get a snapshot at once.",
    ),
    ignored(
        "maxConcurrentDiffSyncs",
        Some("zookeeper.leader.maxConcurrentDiffSyncs"),
        ENSEMBLE_ONLY,
        "Followers that get the log at once.",
    ),
    ignored(
        "maxTimeToWaitForEpoch",
        Some("zookeeper.leader.maxTimeToWaitForEpoch"),
        ENSEMBLE_ONLY,
        "Milliseconds that a new leader waits for an epoch.",
    ),
    ignored(
        "leader.*",
        Some("zookeeper.leader.*"),
        ENSEMBLE_ONLY,
        "Sockets and log lines of a leader.",
    ),
    ignored(
        "leaderConnectDelayDuringRetryMs",
        Some("zookeeper.leaderConnectDelayDuringRetryMs"),
        ENSEMBLE_ONLY,
        "Milliseconds between attempts to reach the leader.",
    ),
    ignored(
        "learner.*",
        Some("zookeeper.learner.*"),
        ENSEMBLE_ONLY,
        "Sockets of a learner.",
    ),
    ignored(
        "follower.*",
        Some("zookeeper.follower.*"),
        ENSEMBLE_ONLY,
        "Sockets and requests of a follower.",
    ),
    ignored(
        "forward_learner_requests_to_commit_processor_disabled",
        Some("zookeeper.forward_learner_requests_to_commit_processor_disabled"),
        ENSEMBLE_ONLY,
        "Whether a leader queues the requests of learners.",
    ),
    ignored(
        "fastleader.*",
        Some("zookeeper.fastleader.*"),
        ENSEMBLE_ONLY,
        "Milliseconds between election messages.",
    ),
    ignored(
        "cnxTimeout",
        Some("zookeeper.cnxTimeout"),
        ENSEMBLE_ONLY,
        "Milliseconds to open an election connection.",
    ),
    ignored(
        "quorumCnxnTimeoutMs",
        Some("zookeeper.quorumCnxnTimeoutMs"),
        ENSEMBLE_ONLY,
        "Milliseconds to read from an election connection.",
    ),
    ignored(
        "electionPortBindRetry",
        Some("zookeeper.electionPortBindRetry"),
        ENSEMBLE_ONLY,
        "Attempts to listen on the election port.",
    ),
    ignored(
        "tcpKeepAlive",
        Some("zookeeper.tcpKeepAlive"),
        ENSEMBLE_ONLY,
        "Whether TCP keepalive is set between servers.",
    ),
];

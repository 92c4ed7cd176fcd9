//! Keys of the admin server, of metrics and of throttling.

use super::{Group, KeySpec, ignored};

const NO_ADMIN: &str = "arrives with the admin server";
const NO_METRICS: &str = "metrics are read by the four-letter word mntr until they are exported";
const NO_THROTTLER: &str =
    "requests are held back by globalOutstandingLimit and bounded queues instead";
const NO_CONNECTION_THROTTLER: &str =
    "connections are limited by maxClientCnxns and maxCnxns alone so far";

pub(super) const OPERATION: Group = Group {
    title: "Operation",
    keys: OPERATION_KEYS,
};

static OPERATION_KEYS: &[KeySpec] = &[
    ignored(
        "admin.enableServer",
        Some("zookeeper.admin.enableServer"),
        NO_ADMIN,
        "Whether there is an admin server.",
    ),
    ignored(
        "admin.*",
        Some("zookeeper.admin.*"),
        NO_ADMIN,
        "Address, port and options of the admin server.",
    ),
    ignored(
        "metricsProvider.className",
        None,
        NO_METRICS,
        "Where metrics go.",
    ),
    ignored(
        "metricsProvider.*",
        None,
        NO_METRICS,
        "Address, port and options of the metrics provider.",
    ),
    ignored(
        "pathStats.*",
        Some("zookeeper.pathStats.*"),
        "paths are not counted",
        "Counts of requests by path.",
    ),
    ignored(
        "messageTracker.BufferSize",
        Some("zookeeper.messageTracker.BufferSize"),
        "messages between servers are not kept",
        "Messages between servers kept for the log.",
    ),
    ignored(
        "messageTracker.Enabled",
        Some("zookeeper.messageTracker.Enabled"),
        "messages between servers are not kept",
        "Whether messages between servers are kept for the log.",
    ),
    ignored("jmx.*", Some("zookeeper.jmx.*"), "there is no JMX", "JMX."),
    ignored(
        "log.dir",
        Some("zookeeper.log.dir"),
        "the log goes to standard error",
        "Directory of the log of messages.",
    ),
    ignored(
        "log.file",
        Some("zookeeper.log.file"),
        "the log goes to standard error",
        "File of the log of messages.",
    ),
    ignored(
        "log.threshold",
        Some("zookeeper.log.threshold"),
        "zkore.logLevel sets the level",
        "Level of the log of messages.",
    ),
    ignored(
        "console.threshold",
        Some("zookeeper.console.threshold"),
        "zkore.logLevel sets the level",
        "Level of messages to the console.",
    ),
    ignored(
        "root.logger",
        Some("zookeeper.root.logger"),
        "zkore.logLevel sets the level",
        "Level and destination of the log of messages.",
    ),
    ignored(
        "snapshot.compression.method",
        Some("zookeeper.snapshot.compression.method"),
        "snapshots have a format of their own, which is not compressed",
        "Compression of snapshots.",
    ),
    ignored(
        "snapshot.trust.empty",
        Some("zookeeper.snapshot.trust.empty"),
        "only data of Apache ZooKeeper 3.4 needs it",
        "Whether a log without a snapshot is trusted.",
    ),
    ignored(
        "serializeLastProcessedZxid.enabled",
        Some("zookeeper.serializeLastProcessedZxid.enabled"),
        "a snapshot always says its zxid",
        "Whether a snapshot says its zxid.",
    ),
];

pub(super) const THROTTLING: Group = Group {
    title: "Throttling",
    keys: THROTTLING_KEYS,
};

static THROTTLING_KEYS: &[KeySpec] = &[
    ignored(
        "flushDelay",
        Some("zookeeper.flushDelay"),
        "writes are grouped without a timer",
        "Milliseconds that a flush of the log waits for more.",
    ),
    ignored(
        "maxWriteQueuePollTime",
        Some("zookeeper.maxWriteQueuePollTime"),
        "writes are grouped without a timer",
        "Milliseconds without a write before a flush.",
    ),
    ignored(
        "maxBatchSize",
        Some("zookeeper.maxBatchSize"),
        "a group of writes is what came while the last was written",
        "Transactions in one flush of the log.",
    ),
    ignored(
        "requestThrottleLimit",
        Some("zookeeper.request_throttle_max_requests"),
        NO_THROTTLER,
        "Requests before the throttler stalls.",
    ),
    ignored(
        "requestThrottleStallTime",
        Some("zookeeper.request_throttle_stall_time"),
        NO_THROTTLER,
        "Milliseconds that it stalls.",
    ),
    ignored(
        "requestThrottleDropStale",
        Some("zookeeper.request_throttle_drop_stale"),
        NO_THROTTLER,
        "Whether stale requests are dropped.",
    ),
    ignored(
        "requestStaleLatencyCheck",
        Some("zookeeper.request_stale_latency_check"),
        NO_THROTTLER,
        "Whether a request as old as the session timeout is stale.",
    ),
    ignored(
        "requestStaleConnectionCheck",
        Some("zookeeper.request_stale_connection_check"),
        NO_THROTTLER,
        "Whether a request of a closed connection is stale.",
    ),
    ignored(
        "request_throttler.shutdownTimeout",
        Some("zookeeper.request_throttler.shutdownTimeout"),
        NO_THROTTLER,
        "Milliseconds that the throttler has to empty its queue at the end.",
    ),
    ignored(
        "throttledOpWaitTime",
        Some("zookeeper.throttled_op_wait_time"),
        NO_THROTTLER,
        "Milliseconds in the queue after which a request is answered with an error.",
    ),
    ignored(
        "largeRequestMaxBytes",
        Some("zookeeper.largeRequestMaxBytes"),
        NO_THROTTLER,
        "Bytes of all large requests in progress.",
    ),
    ignored(
        "largeRequestThreshold",
        Some("zookeeper.largeRequestThreshold"),
        NO_THROTTLER,
        "Bytes from which a request is large.",
    ),
    ignored(
        "enableEagerACLCheck",
        Some("zookeeper.enableEagerACLCheck"),
        "ACLs are checked where writes are put into their order, by the leader",
        "Whether a follower checks ACLs before it forwards a write.",
    ),
    ignored(
        "connectionMaxTokens",
        Some("zookeeper.connection_throttle_tokens"),
        NO_CONNECTION_THROTTLER,
        "Size of the token bucket of the connection throttler.",
    ),
    ignored(
        "connectionTokenFillTime",
        Some("zookeeper.connection_throttle_fill_time"),
        NO_CONNECTION_THROTTLER,
        "Milliseconds between its refills.",
    ),
    ignored(
        "connectionTokenFillCount",
        Some("zookeeper.connection_throttle_fill_count"),
        NO_CONNECTION_THROTTLER,
        "Tokens in a refill.",
    ),
    ignored(
        "connectionFreezeTime",
        Some("zookeeper.connection_throttle_freeze_time"),
        NO_CONNECTION_THROTTLER,
        "Milliseconds between changes of its dropping probability.",
    ),
    ignored(
        "connectionDropIncrease",
        Some("zookeeper.connection_throttle_drop_increase"),
        NO_CONNECTION_THROTTLER,
        "Step up of that probability.",
    ),
    ignored(
        "connectionDropDecrease",
        Some("zookeeper.connection_throttle_drop_decrease"),
        NO_CONNECTION_THROTTLER,
        "Step down of that probability.",
    ),
    ignored(
        "connectionDecreaseRatio",
        Some("zookeeper.connection_throttle_decrease_ratio"),
        NO_CONNECTION_THROTTLER,
        "Filling of the bucket at which it steps down.",
    ),
    ignored(
        "connection_throttle_*",
        Some("zookeeper.connection_throttle_*"),
        NO_CONNECTION_THROTTLER,
        "Weights of sessions in the connection throttler.",
    ),
];

//! Keys about threads, buffers and classes of the Java server, which this one does not have.

use super::{Group, KeySpec, ignored, refused};

const THREADS: &str = "zkore.shards sets the threads";
const NO_CACHE: &str = "replies are not cached, being made from the tree directly";
const ONE_WATCH_TABLE: &str = "there is one kind of watch table, which needs no cleaner";
const JVM: &str = "there is no Java virtual machine";

pub(super) const JAVA: Group = Group {
    title: "Inside the Java server",
    keys: JAVA_KEYS,
};

static JAVA_KEYS: &[KeySpec] = &[
    ignored(
        "serverCnxnFactory",
        Some("zookeeper.serverCnxnFactory"),
        "there is one way of serving connections",
        "Class that serves connections.",
    ),
    ignored(
        "nio.numSelectorThreads",
        Some("zookeeper.nio.numSelectorThreads"),
        THREADS,
        "Selector threads.",
    ),
    ignored(
        "nio.numWorkerThreads",
        Some("zookeeper.nio.numWorkerThreads"),
        THREADS,
        "Worker threads.",
    ),
    ignored(
        "nio.directBufferBytes",
        Some("zookeeper.nio.directBufferBytes"),
        "buffers are sized by what is in them",
        "Bytes of a thread's buffer.",
    ),
    ignored(
        "nio.shutdownTimeout",
        Some("zookeeper.nio.shutdownTimeout"),
        THREADS,
        "Milliseconds that worker threads have to end.",
    ),
    ignored(
        "commitProcessor.*",
        Some("zookeeper.commitProcessor.*"),
        THREADS,
        "Threads and batches of the commit processor.",
    ),
    ignored(
        "netty.advancedFlowControl.enabled",
        Some("zookeeper.netty.advancedFlowControl.enabled"),
        "flow control is always on",
        "Whether Netty stops reading when requests pile up.",
    ),
    ignored(
        "advancedFlowControlEnabled",
        None,
        "flow control is always on",
        "The guide's name for the same.",
    ),
    ignored(
        "intBufferStartingSizeBytes",
        Some("zookeeper.intBufferStartingSizeBytes"),
        "buffers are sized by what is in them",
        "Bytes at which a buffer starts.",
    ),
    ignored(
        "maxResponseCacheSize",
        Some("zookeeper.maxResponseCacheSize"),
        NO_CACHE,
        "Cached replies to getData.",
    ),
    ignored(
        "maxGetChildrenResponseCacheSize",
        Some("zookeeper.maxGetChildrenResponseCacheSize"),
        NO_CACHE,
        "Cached replies to getChildren.",
    ),
    ignored(
        "watchManagerName",
        Some("zookeeper.watchManagerName"),
        ONE_WATCH_TABLE,
        "Class of the watch table.",
    ),
    ignored(
        "watcherCleanThreadsNum",
        Some("zookeeper.watcherCleanThreadsNum"),
        ONE_WATCH_TABLE,
        "Threads of the watch cleaner.",
    ),
    ignored(
        "watcherCleanThreshold",
        Some("zookeeper.watcherCleanThreshold"),
        ONE_WATCH_TABLE,
        "Dead watches at which it runs.",
    ),
    ignored(
        "watcherCleanIntervalInSeconds",
        Some("zookeeper.watcherCleanIntervalInSeconds"),
        ONE_WATCH_TABLE,
        "Seconds between its runs.",
    ),
    ignored(
        "maxInProcessingDeadWatchers",
        Some("zookeeper.maxInProcessingDeadWatchers"),
        ONE_WATCH_TABLE,
        "Dead watches that it may lag behind.",
    ),
    ignored(
        "bitHashCacheSize",
        Some("zookeeper.bitHashCacheSize"),
        ONE_WATCH_TABLE,
        "Cache of a set in the optimized watch table.",
    ),
    ignored(
        "jvm.pause.*",
        None,
        JVM,
        "Monitor of the virtual machine's pauses.",
    ),
    refused(
        "emulate353TTLNodes",
        Some("zookeeper.emulate353TTLNodes"),
        &["false"],
        "nodes with the faulty format of Apache ZooKeeper 3.5.3 are not supported",
        "Whether nodes with a time to live are read as 3.5.3 wrote them.",
    ),
];

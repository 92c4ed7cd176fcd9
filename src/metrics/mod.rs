//! Counters, gauges and summaries under the names of Apache's `ServerMetrics`.
//!
//! Each thread that counts owns a group ([`ShardMetrics`], [`WriteMetrics`]) and is the only one
//! that writes it; anybody may read. So counting is a load and a store on the owner's own cache
//! lines, and a total is the sum over the groups. A [`Table`] gathers the groups under their names.
//!
//! Not covered: what is read from the tree or from the operating system when it is asked for
//! (`znode_count`, `open_file_descriptor_count`); who answers the question adds it to the table.

mod cell;
mod stages;
mod table;

pub use cell::{Counter, Distribution, Sizes, Summary};
pub use stages::{ShardStages, WriteStages};
pub use table::{Table, Value};

/// What one shard counts. Times are milliseconds unless the name says otherwise.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    /// Frames and four-letter words taken in (Apache's `packets_received`).
    pub packets_received: Counter,
    /// Replies and notifications given out (`packets_sent`).
    pub packets_sent: Counter,
    /// `bytes_received_count`.
    pub bytes_received: Counter,
    /// `response_bytes`.
    pub response_bytes: Counter,
    /// `watch_bytes`.
    pub watch_bytes: Counter,
    /// `connection_request_count`.
    pub connection_requests: Counter,
    /// `connection_rejected`.
    pub connections_rejected: Counter,
    /// `connection_drop_count`.
    pub connections_dropped: Counter,
    /// `connection_revalidate_count`.
    pub connections_revalidated: Counter,
    /// `sessionless_connections_expired`.
    pub sessionless_expired: Counter,
    /// `auth_failed_count`, which Apache counts as a gauge.
    pub auth_failed: Counter,
    /// Answers that found their connection closed (`stale_replies`).
    pub stale_replies: Counter,
    /// How often a connection was left unread until there was room for its requests
    /// (`request_throttle_wait_count`).
    pub throttle_waits: Counter,
    /// Connections closed because of what they sent.
    pub malformed: Counter,
    /// Connections cut off because they did not read what was sent to them.
    pub slow_readers_cut: Counter,
    /// Latency of all requests: `min_latency`, `avg_latency`, `max_latency`.
    pub latency: Summary,
    /// `readlatency`.
    pub read_latency: Distribution,
    /// `updatelatency`.
    pub update_latency: Distribution,
    /// Sizes of replies: `last_client_response_size` and its relatives.
    pub response_sizes: Sizes,
    /// `node_created_watch_count`.
    pub node_created_watches: Summary,
    /// `node_deleted_watch_count`.
    pub node_deleted_watches: Summary,
    /// `node_changed_watch_count`.
    pub node_changed_watches: Summary,
    /// `node_children_watch_count`.
    pub node_children_watches: Summary,
    /// Requests of a connection that waited when an answer for it came
    /// (`requests_in_session_queue`).
    pub requests_waiting: Summary,
    /// Requests that waited behind a write when its answer came (`reads_after_write_in_session_queue`).
    pub reads_after_write: Summary,
    /// Time from taking a request in to its reply, in microseconds, by kind of operation; the
    /// index is [`OpKind`].
    pub op_latency_us: [Distribution; OpKind::COUNT],
    /// Where the time goes.
    pub stages: ShardStages,
}

impl ShardMetrics {
    /// Nothing counted yet.
    pub fn new() -> ShardMetrics {
        ShardMetrics::default()
    }

    /// Sets back what Apache's `ServerStats.reset` does (the word `srst`).
    pub fn reset(&self) {
        for counter in [
            &self.packets_received,
            &self.packets_sent,
            &self.bytes_received,
            &self.response_bytes,
            &self.watch_bytes,
            &self.connection_requests,
            &self.connections_rejected,
            &self.connections_dropped,
            &self.connections_revalidated,
            &self.sessionless_expired,
            &self.stale_replies,
            &self.throttle_waits,
            &self.malformed,
            &self.slow_readers_cut,
        ] {
            counter.reset();
        }
        for summary in [
            &self.latency,
            &self.node_created_watches,
            &self.node_deleted_watches,
            &self.node_changed_watches,
            &self.node_children_watches,
            &self.requests_waiting,
            &self.reads_after_write,
        ] {
            summary.reset();
        }
        self.read_latency.reset();
        self.update_latency.reset();
        self.response_sizes.reset();
        for latency in &self.op_latency_us {
            latency.reset();
        }
        self.stages.reset();
    }

    /// Adds what was counted to a table.
    pub fn add_to(&self, table: &mut Table) {
        self.stages.add_to(table);
        table.counter("packets_received", &self.packets_received);
        table.counter("packets_sent", &self.packets_sent);
        table.counter("bytes_received_count", &self.bytes_received);
        table.counter("response_bytes", &self.response_bytes);
        table.counter("watch_bytes", &self.watch_bytes);
        table.counter("connection_request_count", &self.connection_requests);
        table.counter("connection_rejected", &self.connections_rejected);
        table.counter("connection_drop_count", &self.connections_dropped);
        table.counter("connection_revalidate_count", &self.connections_revalidated);
        table.counter("sessionless_connections_expired", &self.sessionless_expired);
        table.counter("auth_failed_count", &self.auth_failed);
        table.counter("stale_replies", &self.stale_replies);
        table.counter("request_throttle_wait_count", &self.throttle_waits);
        table.counter("malformed_connections", &self.malformed);
        table.counter("slow_readers_cut", &self.slow_readers_cut);
        table.range("latency", &self.latency);
        table.distribution("readlatency", &self.read_latency);
        table.distribution("updatelatency", &self.update_latency);
        table.sizes("client_response_size", &self.response_sizes);
        table.summary("node_created_watch_count", &self.node_created_watches);
        table.summary("node_deleted_watch_count", &self.node_deleted_watches);
        table.summary("node_changed_watch_count", &self.node_changed_watches);
        table.summary("node_children_watch_count", &self.node_children_watches);
        table.summary("requests_in_session_queue", &self.requests_waiting);
        table.summary(
            "reads_after_write_in_session_queue",
            &self.reads_after_write,
        );
        for kind in OpKind::ALL {
            table.distribution(kind.metric(), &self.op_latency_us[kind as usize]);
        }
    }
}

/// What the writing side counts: the sequencer, the log and the snapshots. Each field has one
/// writer.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WriteMetrics {
    /// Transactions made durable (`commit_count`).
    pub commits: Counter,
    /// Requests prepared (`prep_processor_request_queued`).
    pub requests_prepared: Counter,
    /// Microseconds to prepare and apply one request (`prep_process_time_us`, ours).
    pub prep_time_us: Distribution,
    /// Milliseconds of one log write (`fsynctime`).
    pub fsync_time: Summary,
    /// Transactions in one log write (`sync_processor_batch_size`).
    pub batch_size: Summary,
    /// Log writes that took longer than `fsync.warningthresholdms`.
    pub fsync_threshold_exceeded: Counter,
    /// Milliseconds of one snapshot (`snapshottime`).
    pub snapshot_time: Summary,
    /// Snapshots that failed (`snapshot_error_count`).
    pub snapshot_errors: Counter,
    /// Milliseconds that the start took to open the data folders and to read the tree
    /// (`dbinittime`).
    pub db_init_time: Summary,
    /// Sessions that expired (`stale_sessions_expired`).
    pub sessions_expired: Counter,
    /// Errors after which the server stopped writing (`unrecoverable_error_count`).
    pub unrecoverable_errors: Counter,
    /// Transactions after which the tree was not what it was at the leader
    /// (`digest_mismatches_count`).
    pub digest_mismatches: Counter,
    /// Where the time goes.
    pub stages: WriteStages,
}

impl WriteMetrics {
    /// Nothing counted yet.
    pub fn new() -> WriteMetrics {
        WriteMetrics::default()
    }

    /// Sets everything back (the word `srst`).
    pub fn reset(&self) {
        for counter in [
            &self.commits,
            &self.requests_prepared,
            &self.fsync_threshold_exceeded,
            &self.snapshot_errors,
            &self.sessions_expired,
            &self.unrecoverable_errors,
            &self.digest_mismatches,
        ] {
            counter.reset();
        }
        for summary in [
            &self.fsync_time,
            &self.batch_size,
            &self.snapshot_time,
            &self.db_init_time,
        ] {
            summary.reset();
        }
        self.prep_time_us.reset();
        self.stages.reset();
    }

    /// Adds what was counted to a table.
    pub fn add_to(&self, table: &mut Table) {
        table.counter("commit_count", &self.commits);
        table.counter("prep_processor_request_queued", &self.requests_prepared);
        table.distribution("prep_process_time_us", &self.prep_time_us);
        table.summary("fsynctime", &self.fsync_time);
        table.summary("sync_processor_batch_size", &self.batch_size);
        table.counter(
            "fsync_threshold_exceed_count",
            &self.fsync_threshold_exceeded,
        );
        table.summary("snapshottime", &self.snapshot_time);
        table.counter("snapshot_error_count", &self.snapshot_errors);
        table.summary("dbinittime", &self.db_init_time);
        table.counter("stale_sessions_expired", &self.sessions_expired);
        table.counter("unrecoverable_error_count", &self.unrecoverable_errors);
        table.counter("digest_mismatches_count", &self.digest_mismatches);
        self.stages.add_to(table);
    }
}

/// Kinds of operations whose latency is kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the operations")]
pub enum OpKind {
    Ping,
    Exists,
    GetData,
    GetChildren,
    OtherRead,
    Create,
    Delete,
    SetData,
    Multi,
    Sync,
    OtherWrite,
}

impl OpKind {
    /// How many there are.
    pub const COUNT: usize = OpKind::ALL.len();

    /// Every kind, in the order of their numbers.
    pub const ALL: [OpKind; 11] = [
        OpKind::Ping,
        OpKind::Exists,
        OpKind::GetData,
        OpKind::GetChildren,
        OpKind::OtherRead,
        OpKind::Create,
        OpKind::Delete,
        OpKind::SetData,
        OpKind::Multi,
        OpKind::Sync,
        OpKind::OtherWrite,
    ];

    fn metric(self) -> &'static str {
        match self {
            OpKind::Ping => "op_ping_latency_us",
            OpKind::Exists => "op_exists_latency_us",
            OpKind::GetData => "op_get_data_latency_us",
            OpKind::GetChildren => "op_get_children_latency_us",
            OpKind::OtherRead => "op_other_read_latency_us",
            OpKind::Create => "op_create_latency_us",
            OpKind::Delete => "op_delete_latency_us",
            OpKind::SetData => "op_set_data_latency_us",
            OpKind::Multi => "op_multi_latency_us",
            OpKind::Sync => "op_sync_latency_us",
            OpKind::OtherWrite => "op_other_write_latency_us",
        }
    }
}

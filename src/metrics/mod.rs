//! Counters and summaries under Apache's names.

/// What one shard counts.
#[derive(Debug, Default)]
pub struct ShardMetrics {}

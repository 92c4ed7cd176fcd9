//! When to take a snapshot (Apache's `SyncRequestProcessor.shouldSnapshot`), and one that waits for its
//! zxid to be settled.

use crate::tree::View;
use crate::types::{SessionId, Zxid};

/// What the background thread needs to write a snapshot.
pub struct SnapshotRequest {
    /// The tree, exact at its zxid.
    pub view: View,
    /// The sessions at the same zxid, with their timeouts in milliseconds.
    pub sessions: Vec<(SessionId, i32)>,
}

/// Transactions between two snapshots where the configuration says nothing, as in Apache's.
const SNAP_COUNT_DEFAULT: u64 = 100_000;
/// Or the nodes of the tree divided by this, if that is more. So what a transaction costs in snapshots
/// does not grow with the tree, and to replay what they lack takes no longer than to load them.
const NODES_PER_TXN: u64 = 2;

/// Decides when a snapshot is due: after a number of transactions or bytes that is drawn anew each
/// time from between half of the limit and the limit, so that the members of an ensemble do not all
/// write theirs at once.
#[derive(Clone, Debug)]
pub struct SnapshotPolicy {
    snap_count: Option<u64>,
    size_limit_bytes: Option<u64>,
    seed: u64,
    /// What was drawn, of which the part within half a limit counts.
    count_draw: u64,
    bytes_draw: u64,
    count: u64,
    bytes: u64,
}

impl SnapshotPolicy {
    /// A policy for `snapCount` (`None` is its default) and `snapSizeLimitInKb` (in bytes; `None` is no
    /// limit). `seed` feeds the draw.
    pub fn new(snap_count: Option<u32>, size_limit_bytes: Option<u64>, seed: u64) -> Self {
        let mut policy = SnapshotPolicy {
            snap_count: snap_count.map(|count| u64::from(count.max(2))),
            size_limit_bytes,
            seed: seed | 1,
            count_draw: 0,
            bytes_draw: 0,
            count: 0,
            bytes: 0,
        };
        policy.draw();
        policy
    }

    /// Counts what a restart had to replay, so that a server that is restarted again and again writes
    /// snapshots, too, and its log does not grow for ever.
    pub fn replayed(mut self, transactions: u64, bytes: u64) -> Self {
        self.count += transactions;
        self.bytes += bytes;
        self
    }

    /// Counts a transaction, after which the tree has so many nodes; whether a snapshot is due now.
    pub fn logged(&mut self, bytes: usize, nodes: u64) -> bool {
        self.count += 1;
        self.bytes += bytes as u64;
        let snap_count = self
            .snap_count
            .unwrap_or_else(|| SNAP_COUNT_DEFAULT.max(nodes / NODES_PER_TXN));
        is_past(self.count, snap_count, self.count_draw)
            || self
                .size_limit_bytes
                .is_some_and(|limit| is_past(self.bytes, limit, self.bytes_draw))
    }

    /// A snapshot is being taken: counts from anew.
    pub fn taken(&mut self) {
        self.count = 0;
        self.bytes = 0;
        self.draw();
    }

    fn draw(&mut self) {
        self.count_draw = self.random();
        if self.size_limit_bytes.is_some() {
            self.bytes_draw = self.random();
        }
    }

    /// Marsaglia's xorshift: any draw will do, and it must follow from the seed.
    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }
}

/// Whether a value has come to what was drawn between half of the limit and the limit.
fn is_past(value: u64, limit: u64, draw: u64) -> bool {
    let half = limit / 2;
    value >= half && value - half >= draw % half.max(1)
}

/// The snapshots of a sequencer, of which one at most is on its way.
pub struct Snapshots {
    policy: SnapshotPolicy,
    is_due: bool,
    /// Whether one waits or is being written.
    is_running: bool,
    /// One that waits for its zxid to be settled.
    waiting: Option<(Zxid, SnapshotRequest)>,
}

impl Snapshots {
    pub fn new(policy: SnapshotPolicy) -> Snapshots {
        Snapshots {
            policy,
            is_due: false,
            is_running: false,
            waiting: None,
        }
    }

    /// Counts a transaction, after which the tree has so many nodes.
    pub fn logged(&mut self, bytes: usize, nodes: u64) {
        self.is_due |= self.policy.logged(bytes, nodes);
    }

    /// Whether one is due and none is on its way: [`Snapshots::hold`] follows. While one is on its way,
    /// the next transaction asks again.
    pub fn begins(&mut self) -> bool {
        let begins = std::mem::take(&mut self.is_due) && !self.is_running;
        if begins {
            self.policy.taken();
            self.is_running = true;
        }
        begins
    }

    /// Keeps one until `zxid` is settled.
    pub fn hold(&mut self, zxid: Zxid, request: SnapshotRequest) {
        self.waiting = Some((zxid, request));
    }

    /// The one that waited, if it is settled by now.
    pub fn take(&mut self, settled: Zxid) -> Option<SnapshotRequest> {
        let taken = self.waiting.take_if(|(zxid, _)| *zxid <= settled);
        taken.map(|(_, request)| request)
    }

    /// Gives up one that waits. One that is being written says itself when it has ended.
    pub fn drop_waiting(&mut self) {
        if self.waiting.take().is_some() {
            self.is_running = false;
        }
    }

    /// The one that was taken is written, or has failed.
    pub fn ended(&mut self) {
        self.is_running = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_come_between_half_the_limit_and_the_limit() {
        let mut policy = SnapshotPolicy::new(Some(100), None, 42);
        let mut distances = Vec::new();
        for _ in 0..50 {
            let distance = (1..)
                .find(|_| policy.logged(10, 1))
                .expect("one is due at last");
            assert!((50..=100).contains(&distance), "{distance}");
            distances.push(distance);
            policy.taken();
        }
        distances.dedup();
        assert!(distances.len() > 10, "the draw varies: {distances:?}");
    }

    #[test]
    fn bytes_count_too() {
        let mut policy = SnapshotPolicy::new(None, Some(1000), 7);
        let distance = (1..)
            .find(|_| policy.logged(10, 1))
            .expect("one is due at last");
        assert!((50..=100).contains(&distance), "{distance}");
    }

    #[test]
    fn what_was_replayed_counts() {
        let policy = SnapshotPolicy::new(Some(100), Some(1000), 42);
        assert!(!policy.clone().logged(1, 1));
        assert!(policy.clone().replayed(100, 0).logged(1, 1));
        assert!(policy.replayed(0, 1000).logged(1, 1));
    }

    #[test]
    fn by_default_a_large_tree_has_them_further_apart() {
        for (nodes, limit) in [(1, 100_000), (1_000_000, 500_000)] {
            let mut policy = SnapshotPolicy::new(None, None, 42);
            let distance = (1..)
                .find(|_| policy.logged(10, nodes))
                .expect("one is due at last");
            assert!((limit / 2..=limit).contains(&distance), "{distance}");
        }
    }
}

//! Figures about the tree that any thread may read.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::store::Totals;

/// Figures as of the newest change, for metrics and four-letter words.
#[derive(Debug, Default)]
pub struct TreeStats {
    nodes: AtomicU64,
    ephemerals: AtomicU64,
    data_size: AtomicI64,
    digest: AtomicU64,
}

impl TreeStats {
    pub(super) fn publish(&self, totals: &Totals) {
        self.nodes.store(totals.nodes, Ordering::Relaxed);
        self.ephemerals.store(totals.ephemerals, Ordering::Relaxed);
        self.data_size.store(totals.data_size, Ordering::Relaxed);
        self.digest.store(totals.digest, Ordering::Relaxed);
    }

    /// Nodes as Apache counts them (`zk_znode_count`): the root twice, so that an empty server has
    /// five.
    pub fn node_count(&self) -> u64 {
        self.nodes.load(Ordering::Relaxed) + 1
    }

    /// Ephemerals of all sessions (`zk_ephemerals_count`).
    pub fn ephemeral_count(&self) -> u64 {
        self.ephemerals.load(Ordering::Relaxed)
    }

    /// Length of paths (in UTF-16 units) and data (in bytes) together
    /// (`zk_approximate_data_size`). As in Apache, changes of quota usage are not followed, so it
    /// may even fall below zero.
    pub fn approximate_data_size(&self) -> i64 {
        self.data_size.load(Ordering::Relaxed)
    }

    /// The tree's digest.
    pub fn digest(&self) -> u64 {
        self.digest.load(Ordering::Relaxed)
    }
}

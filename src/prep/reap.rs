//! Removal of containers and TTL nodes that are over (Apache's `ContainerManager`).

use super::{Preparer, parent_of_deletable};
use crate::jute::txn::{DeleteTxn, Txn};
use crate::mutation::{self, Mutation};
use crate::tree::{NodeRef, Tree};
use crate::types::{EphemeralKind, ErrorCode, ephemeral_kind};

/// When the reaper removes what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReapConfig {
    /// How often it looks, in milliseconds (`znode.container.checkIntervalMs`, default 60,000).
    pub check_interval_ms: u64,
    /// How many nodes it removes in a minute at most (`znode.container.maxPerMinute`, default
    /// 10,000).
    pub max_per_minute: u32,
    /// After how many milliseconds a container that never had a child goes
    /// (`znode.container.maxNeverUsedIntervalMs`); 0, the default, keeps it.
    pub max_never_used_ms: i64,
}

impl Default for ReapConfig {
    fn default() -> ReapConfig {
        ReapConfig {
            check_interval_ms: 60_000,
            max_per_minute: 10_000,
            max_never_used_ms: 0,
        }
    }
}

impl Preparer {
    /// The transaction that removes one of [`Tree::reap_candidates`], if it may still go: since
    /// removals are paced, a candidate can have been used again, or deleted and created otherwise.
    /// `now_ms` is the wall clock in milliseconds since the epoch.
    ///
    /// Errors are those of the operation deleteContainer: `NoNode`, `NotEmpty`, and `BadVersion`
    /// for what is not to be reaped, or not any more.
    pub fn reap<'a>(
        &self,
        tree: &Tree,
        path: &'a str,
        reap: &ReapConfig,
        now_ms: i64,
    ) -> Result<Txn<'a>, ErrorCode> {
        parent_of_deletable(path)?;
        let node = tree.node(path).ok_or(ErrorCode::NoNode)?;
        if node.num_children() > 0 && !mutation::is(Mutation::ReapWithChild) {
            return Err(ErrorCode::NotEmpty);
        }
        if !self.is_over(node, reap, now_ms) {
            return Err(ErrorCode::BadVersion);
        }
        Ok(Txn::Delete {
            txn: DeleteTxn { path },
            is_container: true,
        })
    }

    fn is_over(&self, node: NodeRef<'_>, reap: &ReapConfig, now_ms: i64) -> bool {
        let unchanged_ms = now_ms.saturating_sub(node.persisted().mtime);
        match ephemeral_kind(node.ephemeral_owner(), self.config.extended_types) {
            EphemeralKind::Container => {
                node.child_counter() > 0
                    || (reap.max_never_used_ms != 0 && unchanged_ms > reap.max_never_used_ms)
            }
            EphemeralKind::Ttl { ttl_ms } => ttl_ms != 0 && unchanged_ms > ttl_ms,
            EphemeralKind::Void | EphemeralKind::Normal => false,
        }
    }
}

//! Builds a tree from what a snapshot holds (Apache's `DataTree.deserialize`).

use super::{HASH_SEED_DEFAULT, Tree, TreeConfig, TreeError};
use crate::jute::data::{Acl, StatPersisted};
use crate::types::Zxid;

/// Takes the nodes of a snapshot, parents before children, and gives the tree.
///
/// Nodes may have been changed after the zxid of the snapshot, as in fuzzy ones of Apache's.
pub struct TreeLoader {
    config: TreeConfig,
    hash_seed: u64,
    tree: Option<Tree>,
}

impl TreeLoader {
    /// A loader that has no nodes yet.
    pub fn new(config: TreeConfig) -> TreeLoader {
        TreeLoader::with_hash_seed(config, HASH_SEED_DEFAULT)
    }

    /// As [`TreeLoader::new`], for [`Tree::with_hash_seed`].
    pub fn with_hash_seed(config: TreeConfig, hash_seed: u64) -> TreeLoader {
        TreeLoader {
            config,
            hash_seed,
            tree: None,
        }
    }

    /// Adds a node; its parent must have been added, and the root before all. The root's path is
    /// `/` or, as in a snapshot of Apache's, empty.
    ///
    /// # Errors
    /// `BadPath`, `NoParent`, `Duplicate`, and `NoRoot` where another node comes first.
    pub fn add(
        &mut self,
        path: &str,
        stat: &StatPersisted,
        data: Option<&[u8]>,
        acl: &[Acl],
    ) -> Result<(), TreeError> {
        let is_root = path.is_empty() || path == "/";
        match &mut self.tree {
            Some(_) if is_root => Err(TreeError::Duplicate("/".to_owned())),
            Some(tree) => tree.load(path, stat, data, acl),
            None if is_root => {
                let config = self.config.clone();
                let tree = Tree::with_root(config, self.hash_seed, stat, data, acl);
                self.tree = Some(tree);
                Ok(())
            }
            None => Err(TreeError::NoRoot),
        }
    }

    /// The tree as of `zxid`. Checks the digest, where one was recorded and digests are kept, then
    /// counts the quotas anew.
    ///
    /// # Errors
    /// `NoRoot` and `DigestMismatch`.
    pub fn finish(self, zxid: Zxid, digest: Option<u64>) -> Result<Tree, TreeError> {
        let mut tree = self.tree.ok_or(TreeError::NoRoot)?;
        if let Some(expected) = digest
            && tree.config.digest_enabled
            && tree.totals.digest != expected
        {
            let actual = tree.totals.digest;
            return Err(TreeError::DigestMismatch { actual, expected });
        }
        for path in tree.paths_with_limits() {
            tree.recount_quota(&path);
            tree.quotas.add(&path);
        }
        tree.store.publish_loaded(zxid.0);
        tree.stats.publish(&tree.totals);
        Ok(tree)
    }
}

//! The multi-version znode tree: one writer, many views (Apache's `DataTree`).
//!
//! The writer ([`Tree`]) stamps each change with its zxid. A [`View`] is the tree as of one zxid;
//! each shard and each running snapshot holds one. Views are read on other threads while the
//! writer goes on, without locks. A version is freed once no view holds an older zxid than the one
//! that superseded it; module `store` says how.
//!
//! Transactions are applied as Apache's `DataTree.processTxn` does, to the same Stats, quota usage
//! and digest. The tree does not check whether a request was allowed: that was `prep`'s work.

mod acl;
mod apply;
mod change;
mod digest;
mod loader;
pub mod quota;
mod stats;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use change::{AclList, Applied, Change, ChangeKind, Changed, Changes, Outcome};
pub use digest::DIGEST_VERSION;
pub use loader::TreeLoader;
pub use stats::TreeStats;
pub use store::{NodeRef, View};

use crate::jute::data::{Acl, StatPersisted};
use crate::types::path::{CONFIG_NODE, QUOTA_LIMITS_NAME, QUOTA_ROOT, SYSTEM_ROOT};
use crate::types::{EphemeralKind, SessionId, Zxid, ephemeral_kind, path, perms};
use acl::AclTable;
use quota::{QuotaTrie, StatsTrack};
use store::{CellFields, DirFields, Handle, OwnerKind, Store, Totals, VersionFields};

/// Seed of the hashes where none is given.
const HASH_SEED_DEFAULT: u64 = 0x2545_f491_4f6c_dd1d;

/// What the tree must know of the configuration.
#[derive(Clone, Debug)]
pub struct TreeConfig {
    /// Whether TTL nodes are told apart from ephemerals (`zookeeper.extendedTypesEnabled`).
    pub extended_types: bool,
    /// Whether the digest of the tree is kept (`zookeeper.digest.enabled`, default true).
    pub digest_enabled: bool,
}

/// Why a tree could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// What was to be loaded is no path.
    #[error("{0:?} is no path of a node")]
    BadPath(String),
    /// A node came before its parent, or without one.
    #[error("node {0} has no parent")]
    NoParent(String),
    /// A node came twice.
    #[error("node {0} occurs twice")]
    Duplicate(String),
    /// No root came.
    #[error("the root is missing")]
    NoRoot,
    /// The digest of what came is not the one that was recorded.
    #[error("the digest is {actual:#x}, recorded was {expected:#x}")]
    DigestMismatch {
        /// Of the nodes that came.
        actual: u64,
        /// As recorded.
        expected: u64,
    },
}

/// The writer's side of the tree.
pub struct Tree {
    config: TreeConfig,
    store: Store,
    acls: AclTable,
    quotas: QuotaTrie,
    totals: Totals,
    stats: Arc<TreeStats>,
}

impl Tree {
    /// A tree with the root, `/zookeeper`, `/zookeeper/quota` and `/zookeeper/config`, as of zxid
    /// zero.
    pub fn new(config: TreeConfig) -> Tree {
        Tree::with_hash_seed(config, HASH_SEED_DEFAULT)
    }

    /// As [`Tree::new`]; who cannot know the seed cannot make paths whose hashes collide.
    pub fn with_hash_seed(config: TreeConfig, hash_seed: u64) -> Tree {
        let stat = StatPersisted::default();
        let mut tree = Tree::with_root(config, hash_seed, &stat, Some(&[]), &[open_acl()]);
        for path in [SYSTEM_ROOT, QUOTA_ROOT] {
            tree.load(path, &stat, Some(&[]), &[open_acl()])
                .expect("parents come first");
        }
        let config_stat = StatPersisted {
            aversion: -1,
            ..stat
        };
        let read_only = Acl {
            perms: perms::READ,
            ..open_acl()
        };
        tree.load(CONFIG_NODE, &config_stat, Some(&[]), &[read_only])
            .expect("parents come first");
        tree.store.publish_loaded(0);
        tree.stats.publish(&tree.totals);
        tree
    }

    /// The zxid of the newest change.
    pub fn tip_zxid(&self) -> Zxid {
        Zxid(self.store.tip())
    }

    /// The newest version of a node, committed or not.
    pub fn node(&self, path: &str) -> Option<NodeRef<'_>> {
        self.store.find(path).map(|handle| self.store.node(handle))
    }

    /// Paths of a session's ephemerals at the tip, sorted.
    pub fn ephemerals(&self, session: SessionId) -> Vec<String> {
        let members = self.store.group_members(OwnerKind::Session, session.0);
        let mut paths: Vec<_> = members.iter().map(|node| node.path().to_owned()).collect();
        paths.sort_unstable();
        paths
    }

    /// The digest of the tree at the tip (Apache's digest version 2); 0 where it is not kept.
    pub fn digest(&self) -> u64 {
        self.totals.digest
    }

    /// The digest of the tree as of `zxid`, which the oldest live view must not have passed.
    pub fn digest_at(&self, zxid: Zxid) -> u64 {
        self.store
            .digest_before_tip(zxid.0)
            .unwrap_or(self.totals.digest)
    }

    /// Nodes at the tip, the root counted once.
    pub fn node_count(&self) -> u64 {
        self.totals.nodes
    }

    /// Figures that any thread may read.
    pub fn stats(&self) -> Arc<TreeStats> {
        Arc::clone(&self.stats)
    }

    /// The nearest node at or above `path` that has a quota (Apache's `getMaxPrefixWithQuota`).
    pub fn quota_prefix(&self, path: &str) -> Option<String> {
        self.quotas.prefix_of(path)
    }

    /// Containers and TTL nodes that may go: those that are empty and were used or are past their
    /// time, sorted (Apache's `ContainerManager.getCandidates`). `max_never_used_ms` 0 keeps
    /// containers that never had a child.
    pub fn reap_candidates(&self, now_ms: i64, max_never_used_ms: i64) -> Vec<String> {
        let mut paths = Vec::new();
        for node in self.store.group_members(OwnerKind::Container, 0) {
            let unused_ms = now_ms - node.version_fields().mtime;
            let is_over = node.child_counter() > 0
                || (max_never_used_ms != 0 && unused_ms > max_never_used_ms);
            if node.num_children() == 0 && is_over {
                paths.push(node.path().to_owned());
            }
        }
        for node in self.store.group_members(OwnerKind::Ttl, 0) {
            let EphemeralKind::Ttl { ttl_ms } = ephemeral_kind(node.ephemeral_owner(), true) else {
                continue;
            };
            let unmodified_ms = now_ms - node.version_fields().mtime;
            if node.num_children() == 0 && ttl_ms != 0 && unmodified_ms > ttl_ms {
                paths.push(node.path().to_owned());
            }
        }
        paths.sort_unstable();
        paths
    }

    /// A view of the tree as of `zxid`.
    ///
    /// # Panics
    /// If `zxid` is above the tip, or so old that what it needs may be freed: older than the oldest
    /// live view at the last [`Tree::reclaim`].
    pub fn view(&self, zxid: Zxid) -> View {
        self.store.view(zxid.0)
    }

    /// Frees at most `most` superseded versions that no view can see any more; returns how many.
    pub fn reclaim(&mut self, most: usize) -> usize {
        self.store.reclaim(most)
    }

    /// Writes into `/zookeeper/config` who belongs to the ensemble, which each member does for
    /// itself and without a transaction (Apache's `initConfigInZKDatabase`). To be called while
    /// there is no view.
    pub fn set_config(&mut self, text: &str) {
        let Some(handle) = self.store.find(CONFIG_NODE) else {
            return;
        };
        let fields = VersionFields {
            version: -1,
            ..self.store.node(handle).version_fields()
        };
        self.store
            .update(handle, fields, Some(Some(text.as_bytes())));
        self.refresh_digest(handle);
    }

    fn with_root(
        config: TreeConfig,
        hash_seed: u64,
        stat: &StatPersisted,
        data: Option<&[u8]>,
        acl: &[Acl],
    ) -> Tree {
        let mut acls = AclTable::new(hash_seed);
        let version = version_fields(stat, acls.intern(acl));
        // The root's owner is of no use to anybody, and a group it could be in must not have it.
        let cell = CellFields {
            owner: 0,
            kind: OwnerKind::None,
            ..cell_fields(&config, stat)
        };
        let mut tree = Tree {
            store: Store::new(hash_seed, &cell, version, data),
            config,
            acls,
            quotas: QuotaTrie::default(),
            totals: Totals {
                nodes: 1,
                // The root counts under both of its names, of which one has a character.
                data_size: 1 + 2 * data_len(data),
                ..Totals::default()
            },
            stats: Arc::default(),
        };
        let root = tree.store.find("/").expect("a store has a root");
        tree.load_dir(root, stat);
        tree.refresh_digest(root);
        tree
    }

    /// Adds a node while the tree is being built.
    fn load(
        &mut self,
        path: &str,
        stat: &StatPersisted,
        data: Option<&[u8]>,
        acl: &[Acl],
    ) -> Result<(), TreeError> {
        if !path.starts_with('/') || path.len() > store::PATH_LEN_MAX {
            return Err(TreeError::BadPath(path.to_owned()));
        }
        let Some(parent) = self.store.find(path::parent(path)) else {
            return Err(TreeError::NoParent(path.to_owned()));
        };
        if self.store.find(path).is_some() {
            return Err(TreeError::Duplicate(path.to_owned()));
        }
        let version = version_fields(stat, self.acls.intern(acl));
        let cell = cell_fields(&self.config, stat);
        let dir = self.store.node(parent).dir();
        self.store.set_dir(
            parent,
            DirFields {
                num_children: dir.num_children + 1,
                ..dir
            },
        );
        let handle = self.store.create(parent, path, &cell, version, data);
        self.load_dir(handle, stat);
        self.refresh_digest(handle);
        self.count_node(path, data, cell.kind, 1);
        Ok(())
    }

    /// Most nodes never had a child; what their Stat says of children need not be stored.
    fn load_dir(&mut self, handle: Handle, stat: &StatPersisted) {
        if stat.cversion != 0 || stat.pzxid != stat.czxid {
            let dir = DirFields {
                pzxid: stat.pzxid,
                cversion: stat.cversion,
                num_children: 0,
            };
            self.store.set_dir(handle, dir);
        }
    }

    fn count_node(&mut self, path: &str, data: Option<&[u8]>, kind: OwnerKind, by: i64) {
        let totals = &mut self.totals;
        totals.nodes = totals.nodes.wrapping_add_signed(by);
        if kind == OwnerKind::Session {
            totals.ephemerals = totals.ephemerals.wrapping_add_signed(by);
        }
        totals.data_size += by * (utf16_len(path) + data_len(data));
    }

    fn digest_of(&self, handle: Handle) -> u32 {
        if !self.config.digest_enabled {
            return 0;
        }
        let node = self.store.node(handle);
        digest::of_node(node.path(), node.data(), &node.persisted())
    }

    /// Puts what a changed node adds to the digest in the place of what it added before.
    fn refresh_digest(&mut self, handle: Handle) {
        let (before, after) = (self.store.digest(handle), self.digest_of(handle));
        self.store.set_digest(handle, after);
        self.totals.digest = self
            .totals
            .digest
            .wrapping_sub(u64::from(before))
            .wrapping_add(u64::from(after));
    }

    /// The nodes whose limits stand below the quota root (Apache's `traverseNode`).
    fn paths_with_limits(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let Some(quota_root) = self.store.find(QUOTA_ROOT) else {
            return paths;
        };
        self.store.walk(quota_root, &mut |node| {
            if path::name(node.path()) == QUOTA_LIMITS_NAME && node.num_children() == 0 {
                let below = &path::parent(node.path())[QUOTA_ROOT.len()..];
                paths.push(below.to_owned());
            }
        });
        paths
    }

    /// Counts a subtree and writes its usage anew (Apache's `updateQuotaForPath`).
    fn recount_quota(&mut self, path: &str) {
        let (mut count, mut bytes) = (0, 0);
        let top = if path.is_empty() { "/" } else { path };
        if let Some(handle) = self.store.find(top) {
            let mut add = |node: NodeRef<'_>| {
                count += 1;
                bytes += data_len(node.data());
            };
            add(self.store.node(handle));
            self.store.walk(handle, &mut add);
        }
        let mut usage = StatsTrack::default();
        usage.set_count(count);
        usage.set_bytes(bytes);
        self.write_usage(path, |_| Some(usage));
    }

    /// Adds to the usage of `path` (Apache's `updateQuotaStat`).
    fn add_usage(&mut self, path: &str, count: i64, bytes: i64) {
        self.write_usage(path, |data| {
            let mut usage = StatsTrack::parse(data)?;
            usage.set_count(usage.count().wrapping_add(count));
            usage.set_bytes(usage.bytes().wrapping_add(bytes));
            Some(usage)
        });
    }

    /// Replaces the usage of `path`, if it has a node with one that can be read. Only the data
    /// change, and neither Stat nor data size tell of it, as in Apache.
    fn write_usage(&mut self, path: &str, change: impl FnOnce(&[u8]) -> Option<StatsTrack>) {
        let Some(handle) = self.store.find(&quota::stats_path(path)) else {
            return;
        };
        let node = self.store.node(handle);
        let fields = node.version_fields();
        if let Some(usage) = change(node.data().unwrap_or_default()) {
            let text = usage.to_string();
            self.store
                .update(handle, fields, Some(Some(text.as_bytes())));
        }
    }
}

fn cell_fields(config: &TreeConfig, stat: &StatPersisted) -> CellFields {
    CellFields {
        czxid: stat.czxid,
        ctime: stat.ctime,
        owner: stat.ephemeral_owner,
        kind: owner_kind(config, stat.ephemeral_owner),
        is_loaded: true,
    }
}

fn owner_kind(config: &TreeConfig, owner: i64) -> OwnerKind {
    match ephemeral_kind(owner, config.extended_types) {
        EphemeralKind::Void => OwnerKind::None,
        EphemeralKind::Normal => OwnerKind::Session,
        EphemeralKind::Container => OwnerKind::Container,
        EphemeralKind::Ttl { .. } => OwnerKind::Ttl,
    }
}

fn version_fields(stat: &StatPersisted, acl: Arc<AclList>) -> VersionFields {
    VersionFields {
        mzxid: stat.mzxid,
        mtime: stat.mtime,
        version: stat.version,
        aversion: stat.aversion,
        acl,
    }
}

fn data_len(data: Option<&[u8]>) -> i64 {
    data.map_or(0, |data| data.len() as i64)
}

/// Length of a string as Java counts it.
fn utf16_len(text: &str) -> i64 {
    if text.is_ascii() {
        text.len() as i64
    } else {
        text.encode_utf16().count() as i64
    }
}

/// An entry that allows everything to everybody (Apache's `Ids.OPEN_ACL_UNSAFE`).
pub fn open_acl() -> Acl {
    Acl {
        perms: perms::ALL,
        scheme: "world".into(),
        id: "anyone".into(),
    }
}

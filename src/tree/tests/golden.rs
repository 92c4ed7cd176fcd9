//! What Apache's `DataTree` gives for the same transactions.

use super::*;
use crate::jute::data::{Stat, StatPersisted};
use crate::jute::txn::{CheckVersionTxn, CreateContainerTxn, CreateSessionTxn, CreateTtlTxn};
use crate::tree::{ChangeKind, Outcome, TreeLoader};
use crate::types::{ErrorCode, SessionId, Zxid, ttl_owner};

#[test]
fn an_empty_tree_is_apaches() {
    let tree = Tree::new(config());
    let stat = |path: &str| tree.node(path).expect("there").stat();
    let base = Stat::default();
    assert_eq!(
        stat("/"),
        Stat {
            cversion: -1,
            num_children: 1,
            ..base
        }
    );
    assert_eq!(
        stat("/zookeeper"),
        Stat {
            cversion: -2,
            num_children: 2,
            ..base
        }
    );
    assert_eq!(stat("/zookeeper/quota"), base);
    assert_eq!(
        stat("/zookeeper/config"),
        Stat {
            aversion: -1,
            ..base
        }
    );
    assert_eq!(tree.stats().node_count(), 5);
    assert_eq!(tree.stats().approximate_data_size(), 44);
    assert_eq!(tree.view(Zxid(0)).descendants_at("/", Zxid(0)), 3);
    assert!(tree.node("").is_none() && tree.node("\0").is_none());
}

#[test]
fn stats_follow_creates_and_deletes() {
    let mut driver = Driver::new(config());
    driver.apply(1, &create("/a", b"12"));
    driver.apply(1, &create("/a/x", b"1"));
    driver.apply(1, &create("/a/y", b""));
    driver.apply(1, &set_data("/a", b"345", 1));
    driver.apply(1, &delete("/a/x"));
    let stat = driver.tree.node("/a").expect("there").stat();
    assert_eq!(
        stat,
        Stat {
            czxid: 1,
            mzxid: 4,
            ctime: 1001,
            mtime: 1004,
            version: 1,
            cversion: 3,
            pzxid: 5,
            data_length: 3,
            num_children: 1,
            ..Stat::default()
        }
    );
    let node = driver.tree.node("/a").expect("there");
    assert_eq!((node.child_counter(), node.num_children()), (2, 1));
}

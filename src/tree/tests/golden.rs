//! What Apache's `DataTree` gives for the same transactions.

use super::*;
use crate::jute::data::{Stat, StatPersisted};
use crate::jute::txn::{CheckVersionTxn, CreateContainerTxn, CreateSessionTxn, CreateTtlTxn};
use crate::tree::{ChangeKind, Outcome, TreeError, TreeLoader};
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

fn container<'a>(path: &'a str, data: &'a [u8]) -> Txn<'a> {
    Txn::CreateContainer(CreateContainerTxn {
        path: path.into(),
        data: Some(data),
        acl: vec![open_acl()],
        parent_cversion: -1,
    })
}

fn ttl<'a>(path: &'a str, data: &'a [u8], ttl_ms: i64) -> Txn<'a> {
    Txn::CreateTtl(CreateTtlTxn {
        path: path.into(),
        data: Some(data),
        acl: vec![open_acl()],
        parent_cversion: -1,
        ttl_ms,
    })
}

fn create2_null(path: &str, counter: i32) -> Txn<'_> {
    Txn::Create {
        txn: CreateTxn {
            path: path.into(),
            data: None,
            acl: vec![open_acl()],
            ephemeral: false,
            parent_cversion: counter,
        },
        is_create2: true,
    }
}

fn applied_multi() -> Txn<'static> {
    Txn::Multi(vec![
        create("/m", b"m"),
        Txn::Check(CheckVersionTxn {
            path: "/a",
            version: 1,
        }),
        set_data("/m", b"mm", 1),
        delete("/a/f"),
    ])
}

fn failed_multi() -> Txn<'static> {
    Txn::Multi(vec![create("/n", b"m"), error(-101), delete("/m")])
}

/// Session, transaction, and what `DataTree` says after it: error code, digest, data size, node
/// count, ephemerals.
type Step = (i64, Txn<'static>, (i32, u64, i64, u64, u64));

const LIMITS: &str = "/zookeeper/quota/a/zookeeper_limits";
const USAGE: &str = "/zookeeper/quota/a/zookeeper_stats";

#[rustfmt::skip]
fn steps() -> Vec<Step> {
    let session = Txn::CreateSession(CreateSessionTxn { timeout_ms: 4000 });
    let read_only = Acl {
        perms: 1,
        ..open_acl()
    };
    let container_delete = Txn::Delete {
        txn: DeleteTxn { path: "/c" },
        is_container: true,
    };
    vec![
        (1, session, (0, 0x51c6d660, 44, 5, 0)),
        (1, create("/a", b"12"), (0, 0xb492a1ec, 48, 6, 0)),
        (1, create2_null("/a/\u{e9}", 5), (0, 0x197935915, 52, 7, 0)),
        (1, create_with("/a/e", b"eph", true, 3), (0, 0x1f4e9f857, 59, 8, 1)),
        (7, create_with("/a/f", b"", true, -1), (0, 0x1ffa4aef4, 63, 9, 2)),
        (1, container("/c", b"c"), (0, 0x2d805638f, 66, 10, 2)),
        (1, ttl("/ttl", b"t", 5000), (0, 0x32ffe52fb, 71, 11, 2)),
        (1, create("/zookeeper/quota/a", b""), (0, 0x32ffe52fb, 89, 12, 2)),
        (1, create(LIMITS, b"count=5,bytes=100"), (0, 0x32ffe52fb, 141, 13, 2)),
        (1, create(USAGE, b"count=0,bytes=0"), (0, 0x32ffe52fb, 190, 14, 2)),
        (1, set_data("/a", b"longer data", 1), (0, 0x3045a9db1, 199, 14, 2)),
        (1, set_acl("/a", vec![read_only], 1), (0, 0x314df9170, 199, 14, 2)),
        (1, create_with("/a/e", b"again", false, 20), (-110, 0x30ddbf855, 199, 14, 2)),
        (1, delete("/a/gone"), (-101, 0x2c77b12f5, 199, 14, 2)),
        (1, delete("/nowhere/gone"), (-101, 0x2c77b12f5, 199, 14, 2)),
        (1, create("/nowhere/gone", b""), (-101, 0x2c77b12f5, 199, 14, 2)),
        (1, applied_multi(), (0, 0x22ea391aa, 199, 14, 1)),
        (1, failed_multi(), (-101, 0x22ea391aa, 199, 14, 1)),
        (1, close(None), (0, 0x2abbddadb, 192, 13, 0)),
        (1, create_with("/c/1", b"", true, -1), (0, 0x36d3a54b9, 196, 14, 1)),
        (1, create_with("/c/2", b"", true, -1), (0, 0x3cbf0687a, 200, 15, 2)),
        (1, close(Some(vec!["/c/1", "/never"])), (0, 0x2954b0c74, 192, 13, 0)),
        (1, error(-110), (-110, 0x2954b0c74, 192, 13, 0)),
        (1, set_data("/", b"root", 1), (0, 0x2af624680, 196, 13, 0)),
        (1, delete(LIMITS), (0, 0x2af624680, 144, 12, 0)),
        (1, set_data("/a", b"x", 2), (0, 0x1d9a66869, 134, 12, 0)),
        (1, container_delete, (0, 0x1c31980af, 131, 11, 0)),
    ]
}

fn err_of(outcome: &Outcome) -> i32 {
    match outcome {
        Outcome::Failed(code) => code.code(),
        Outcome::MultiFailed(codes) => codes
            .iter()
            .map(|code| code.code())
            .find(|&code| code != 0)
            .expect("a failed multi has an error"),
        _ => 0,
    }
}

fn usage(tree: &Tree) -> String {
    let node = tree.node(USAGE).expect("there");
    String::from_utf8(node.data().expect("not null").to_vec()).expect("text")
}

#[test]
fn every_step_agrees_with_apaches_data_tree() {
    let mut driver = Driver::new(config());
    assert_eq!(driver.tree.digest(), 0x51c6d660);
    for (session, txn, expected) in steps() {
        let applied = driver.apply(session, &txn);
        let stats = driver.tree.stats();
        let actual = (
            err_of(&applied.outcome),
            driver.tree.digest(),
            stats.approximate_data_size(),
            stats.node_count(),
            stats.ephemeral_count(),
        );
        assert_eq!(actual, expected, "zxid {}: {txn:?}", driver.zxid);
        assert_eq!(stats.digest(), driver.tree.digest());
        match driver.zxid {
            10 => assert_eq!(usage(&driver.tree), "count=4,bytes=5"),
            11 => assert_eq!(usage(&driver.tree), "count=4,bytes=14"),
            18 => assert_eq!(usage(&driver.tree), "count=3,bytes=14"),
            27 => assert_eq!(usage(&driver.tree), "count=2,bytes=11"),
            _ => {}
        }
    }
    let texts = [
        ("/", "0,24,0,1024,1,4,0,0,4,4,27"),
        ("/a", "2,26,1002,1026,2,39,1,0,1,1,19"),
        ("/a/\u{e9}", "3,3,1003,1003,0,0,0,0,0,0,3"),
        ("/ttl", "7,7,1007,1007,0,0,0,0,1,0,7"),
        ("/m", "17,17,1017,1017,1,0,0,0,2,0,17"),
        ("/zookeeper", "0,0,0,0,0,-2,0,0,0,2,0"),
        ("/zookeeper/quota/a", "8,8,1008,1008,0,3,0,0,0,1,25"),
        (USAGE, "10,10,1010,1010,0,0,0,0,16,0,10"),
    ];
    for (path, text) in texts {
        let stat = driver.tree.node(path).expect(path).stat();
        assert_eq!(stat_text(&stat), text, "{path}");
    }
    assert!(driver.tree.node("/c").is_none());
}

/// As Apache prints a Stat.
fn stat_text(stat: &Stat) -> String {
    format!(
        "{},{},{},{},{},{},{},{},{},{},{}",
        stat.czxid,
        stat.mzxid,
        stat.ctime,
        stat.mtime,
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children,
        stat.pzxid
    )
}

#[test]
fn changes_are_the_events_apache_triggers() {
    let mut driver = Driver::new(config());
    let mut all = Vec::new();
    for (session, txn, _) in steps() {
        let before = driver.tree.view(driver.tree.tip_zxid());
        let applied = driver.apply(session, &txn);
        for change in &applied.changes {
            let change = before.changed(change);
            assert_eq!(
                change.parent_acl.is_none(),
                change.kind == ChangeKind::DataChanged
            );
            all.push((applied.zxid.0, change.kind, change.path.to_owned()));
        }
    }
    use ChangeKind::{Created, DataChanged, Deleted};
    let expected = [
        (2, Created, "/a"),
        (3, Created, "/a/\u{e9}"),
        (4, Created, "/a/e"),
        (5, Created, "/a/f"),
        (6, Created, "/c"),
        (7, Created, "/ttl"),
        (8, Created, "/zookeeper/quota/a"),
        (9, Created, LIMITS),
        (10, Created, USAGE),
        (11, DataChanged, "/a"),
        (17, Created, "/m"),
        (17, DataChanged, "/m"),
        (17, Deleted, "/a/f"),
        (19, Deleted, "/a/e"),
        (20, Created, "/c/1"),
        (21, Created, "/c/2"),
        (22, Deleted, "/c/1"),
        (22, Deleted, "/c/2"),
        (24, DataChanged, "/"),
        (25, Deleted, LIMITS),
        (26, DataChanged, "/a"),
        (27, Deleted, "/c"),
    ];
    let expected = expected.map(|(zxid, kind, path)| (zxid, kind, path.to_owned()));
    assert_eq!(all, expected);
}

#[test]
fn multis_tell_of_each_operation() {
    let mut driver = Driver::new(config());
    driver.apply(1, &create("/a", b""));
    driver.apply(1, &create("/a/f", b""));
    let Outcome::Multi(outcomes) = driver.apply(1, &applied_multi()).outcome else {
        panic!("it was applied");
    };
    let kinds: Vec<_> = outcomes.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [1, 13, 5, 2]);
    assert!(matches!(&outcomes[2].1, Outcome::Stat(stat) if stat.version == 1));
    assert_eq!(
        driver.apply(1, &failed_multi()).outcome,
        Outcome::MultiFailed(vec![
            ErrorCode::Ok,
            ErrorCode::NoNode,
            ErrorCode::RuntimeInconsistency
        ])
    );
}

type SavedNode = (String, StatPersisted, Option<Vec<u8>>, Vec<Acl>);

/// Everything that a snapshot keeps of a tree.
fn nodes_of(tree: &Tree) -> Vec<SavedNode> {
    let mut nodes = Vec::new();
    tree.view(tree.tip_zxid()).for_each(&mut |path, node| {
        nodes.push((
            path.to_owned(),
            node.persisted(),
            node.data().map(<[u8]>::to_vec),
            node.acl().to_vec(),
        ));
    });
    nodes
}

#[test]
fn a_tree_is_loaded_as_it_was() {
    let mut driver = Driver::new(config());
    for (session, txn, _) in steps().into_iter().take(18) {
        driver.apply(session, &txn);
    }
    driver.apply(9, &create_with("/c/mine", b"", true, -1));
    let nodes = nodes_of(&driver.tree);
    let load = |digest| {
        let mut loader = TreeLoader::new(config());
        for (path, stat, data, acl) in &nodes {
            let path = if path == "/" { "" } else { path };
            loader
                .add(path, stat, data.as_deref(), acl)
                .expect("in order");
        }
        loader.finish(Zxid(19), digest)
    };
    let digest = driver.tree.digest();
    assert!(matches!(
        load(Some(digest + 1)),
        Err(TreeError::DigestMismatch { .. })
    ));
    let mut loaded = load(Some(digest)).expect("the digest is right");

    assert_eq!(nodes_of(&loaded), nodes);
    assert_eq!(loaded.tip_zxid(), Zxid(19));
    assert_eq!(loaded.digest(), digest);
    assert_eq!(loaded.ephemerals(SessionId(9)), ["/c/mine"]);
    let (old, new) = (driver.tree.stats(), loaded.stats());
    assert_eq!(new.node_count(), old.node_count());
    assert_eq!(new.ephemeral_count(), old.ephemeral_count());
    // Apache does not follow the growth of the usage either, and counts the root's data twice.
    assert_eq!(new.approximate_data_size(), old.approximate_data_size() + 1);
    assert_eq!(loaded.quota_prefix("/a/x").as_deref(), Some("/a"));
    assert_eq!(loaded.reap_candidates(9000, 0), ["/ttl"]);

    let txn = create("/a/new", b"123");
    loaded.apply(&header(1, 20, &txn), &txn);
    assert_eq!(usage(&loaded), "count=4,bytes=17");
}

#[test]
fn loading_refuses_what_is_no_tree() {
    let stat = StatPersisted::default();
    let mut loader = TreeLoader::new(config());
    assert_eq!(loader.add("/a", &stat, None, &[]), Err(TreeError::NoRoot));
    loader.add("", &stat, None, &[]).expect("the root is first");
    for (path, expected) in [
        ("/", TreeError::Duplicate("/".into())),
        ("/a/b", TreeError::NoParent("/a/b".into())),
        ("a", TreeError::BadPath("a".into())),
    ] {
        assert_eq!(loader.add(path, &stat, None, &[]), Err(expected));
    }
    assert!(TreeLoader::new(config()).finish(Zxid(1), None).is_err());
}

#[test]
fn reaping_follows_use_and_time() {
    let mut driver = Driver::new(config());
    driver.apply(1, &container("/c", b""));
    driver.apply(1, &container("/used", b""));
    driver.apply(1, &create("/used/child", b""));
    driver.apply(1, &ttl("/t", b"", 100));
    driver.apply(1, &ttl("/full", b"", 100));
    driver.apply(1, &create("/full/child", b""));
    let candidates = |driver: &Driver, now, unused| driver.tree.reap_candidates(now, unused);
    assert!(candidates(&driver, 1104, 0).is_empty());
    assert_eq!(candidates(&driver, 1105, 0), ["/t"]);
    assert_eq!(candidates(&driver, 1105, 50), ["/c", "/t"]);
    driver.apply(1, &delete("/used/child"));
    assert_eq!(candidates(&driver, 1000, 0), ["/used"]);
    driver.apply(1, &delete("/used"));
    assert!(candidates(&driver, 1000, 0).is_empty());
    let node = driver.tree.node("/t").expect("there");
    assert_eq!(Some(node.ephemeral_owner()), ttl_owner(100));
    assert_eq!(node.stat().ephemeral_owner, 0);
}

#[test]
fn without_extended_types_a_ttl_node_is_an_ephemeral() {
    let mut driver = Driver::new(TreeConfig {
        extended_types: false,
        digest_enabled: false,
    });
    driver.apply(1, &ttl("/t", b"", 100));
    let owner = ttl_owner(100).expect("in range");
    assert_eq!(driver.tree.ephemerals(SessionId(owner)), ["/t"]);
    assert_eq!(driver.tree.digest(), 0);
}

#[test]
fn deleting_what_has_children_takes_them_along() {
    let mut driver = Driver::new(config());
    for path in ["/a", "/a/b", "/a/b/c", "/a/d"] {
        driver.apply(1, &create(path, b"x"));
    }
    let before = driver.tree.view(Zxid(driver.zxid));
    let applied = driver.apply(1, &delete("/a"));
    let changes = applied.changes.iter();
    let paths: Vec<_> = changes.map(|change| before.changed(change).path).collect();
    assert_eq!(paths, ["/a/b/c", "/a/b", "/a/d", "/a"]);
    assert!(driver.tree.node("/a/b/c").is_none());
    assert_eq!(driver.tree.stats().node_count(), 5);
    assert_eq!(before.descendants_at("/a", Zxid(4)), 3);
    assert_eq!(before.descendants_at("/a", Zxid(5)), 0);
}

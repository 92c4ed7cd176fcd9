use std::collections::BTreeSet;

use super::*;
use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

fn fire(watches: &mut Watches, path: &str, kind: ChangeKind) -> Vec<(ConnId, EventType, String)> {
    let acl: AclList = vec![crate::tree::open_acl()].into();
    let change = Changed {
        path,
        kind,
        acl: &acl,
        parent_acl: (kind != ChangeKind::DataChanged).then_some(&acl),
    };
    let mut events = Vec::new();
    watches.changed(&change, &mut |conn, event, path, _| {
        events.push((conn, event, path.to_owned()));
    });
    events
}

#[test]
fn one_shot_watches_fire_once() {
    let mut watches = Watches::new();
    watches.add_data("/a", A);
    watches.add_data("/a", A);
    watches.add_child("/a", B);
    assert_eq!(watches.len(), 2);
    assert_eq!(
        fire(&mut watches, "/a", ChangeKind::DataChanged),
        [(A, NodeDataChanged, "/a".into())]
    );
    assert_eq!(fire(&mut watches, "/a", ChangeKind::DataChanged), []);
    assert_eq!(
        fire(&mut watches, "/a/b", ChangeKind::Created),
        [(B, NodeChildrenChanged, "/a".into())]
    );
    assert_eq!(fire(&mut watches, "/a/c", ChangeKind::Created), []);
    assert!(watches.is_empty());
}

#[test]
fn an_exist_watch_waits_for_the_node() {
    let mut watches = Watches::new();
    watches.add_data("/a", A);
    assert_eq!(
        fire(&mut watches, "/a", ChangeKind::Created),
        [(A, NodeCreated, "/a".into())]
    );
}

#[test]
fn a_deletion_is_told_once_to_each() {
    let mut watches = Watches::new();
    watches.add_data("/p/a", A);
    watches.add_child("/p/a", A);
    watches.add_child("/p/a", B);
    watches.add_child("/p", A);
    assert_eq!(
        fire(&mut watches, "/p/a", ChangeKind::Deleted),
        [
            (A, NodeDeleted, "/p/a".into()),
            (B, NodeDeleted, "/p/a".into()),
            (A, NodeChildrenChanged, "/p".into()),
        ]
    );
    assert!(watches.is_empty());
}

#[test]
fn persistent_watches_stay() {
    let mut watches = Watches::new();
    watches.add("/a", A, AddWatchMode::Persistent);
    watches.add_data("/a", A);
    assert_eq!(watches.len(), 2);
    for _ in 0..2 {
        assert_eq!(
            fire(&mut watches, "/a", ChangeKind::DataChanged),
            [(A, NodeDataChanged, "/a".into())]
        );
        assert_eq!(
            fire(&mut watches, "/a/b", ChangeKind::Created),
            [(A, NodeChildrenChanged, "/a".into())]
        );
        assert_eq!(
            fire(&mut watches, "/a", ChangeKind::Deleted),
            [(A, NodeDeleted, "/a".into())]
        );
    }
    assert_eq!(fire(&mut watches, "/a/b", ChangeKind::DataChanged), []);
}

#[test]
fn recursive_watches_see_the_subtree_but_no_child_events() {
    let mut watches = Watches::new();
    watches.add("/a", A, AddWatchMode::PersistentRecursive);
    watches.add_data("/a/b/c", A);
    watches.add("/", B, AddWatchMode::PersistentRecursive);
    assert_eq!(
        fire(&mut watches, "/a/b/c", ChangeKind::Created),
        [
            (A, NodeCreated, "/a/b/c".into()),
            (B, NodeCreated, "/a/b/c".into())
        ]
    );
    assert_eq!(
        fire(&mut watches, "/ab", ChangeKind::Deleted),
        [(B, NodeDeleted, "/ab".into())]
    );
    assert_eq!(
        fire(&mut watches, "/", ChangeKind::DataChanged),
        [(B, NodeDataChanged, "/".into())]
    );
    assert!(watches.remove("/", B, WatcherType::PersistentRecursive));
    assert_eq!(
        fire(&mut watches, "/a", ChangeKind::DataChanged),
        [(A, NodeDataChanged, "/a".into())]
    );
    assert_eq!(fire(&mut watches, "/b", ChangeKind::DataChanged), []);
}

/// Apache's `DataTree.removeWatch` and `containsWatcher`, type by type.
#[test]
fn removing_by_type() {
    use WatcherType::{Any, Children, Data, Persistent, PersistentRecursive};
    let register: [fn(&mut Watches); 4] = [
        |watches| watches.add_data("/a", A),
        |watches| watches.add_child("/a", A),
        |watches| watches.add("/a", A, AddWatchMode::Persistent),
        |watches| watches.add("/a", A, AddWatchMode::PersistentRecursive),
    ];
    let kinds = [Data, Children, Persistent, PersistentRecursive, Any];
    for (at, register) in register.iter().enumerate() {
        for (index, &kind) in kinds.iter().enumerate() {
            let mut watches = Watches::new();
            register(&mut watches);
            let matches = index == at || kind == Any;
            assert_eq!(watches.contains("/a", A, kind), matches, "{at} {kind:?}");
            assert!(!watches.contains("/a", B, kind));
            assert!(!watches.remove("/a", B, kind));
            assert_eq!(watches.remove("/a", A, kind), matches, "{at} {kind:?}");
            assert_eq!(watches.is_empty(), matches);
        }
    }
}

#[test]
fn a_closed_connection_leaves_nothing() {
    let mut watches = Watches::new();
    for number in 0..100 {
        let path = format!("/{number}");
        watches.add_data(&path, A);
        watches.add_child(&path, A);
        watches.add_data(&path, B);
        watches.add(&path, A, AddWatchMode::PersistentRecursive);
    }
    watches.remove_connection(A);
    assert_eq!(
        watches.data_summary(),
        Summary {
            connections: 1,
            paths: 100,
            total: 100
        }
    );
    watches.remove_connection(B);
    assert!(watches.is_empty());
    assert_eq!(watches.data_summary(), Summary::default());
}

/// Apache's `DataTree.setWatches`.
#[test]
fn restoring_tells_what_was_missed() {
    let mut watches = Watches::new();
    let node = |path: &str| {
        let (mzxid, pzxid) = match path {
            "/old" => (5, 5),
            "/new" => (6, 6),
            _ => return None,
        };
        Some(LastChange { mzxid, pzxid })
    };
    let all = vec!["/old", "/new", "/none"];
    let request = SetWatches2 {
        relative_zxid: 5,
        data_watches: all.clone(),
        exist_watches: all.clone(),
        child_watches: all.clone(),
        persistent_watches: all.clone(),
        persistent_recursive_watches: all,
    };
    let mut events = Vec::new();
    watches.restore(&request, A, &node, &mut |event, path| {
        events.push((event, path.to_owned()));
    });
    assert_eq!(
        events,
        [
            (NodeDataChanged, "/new".into()),
            (NodeDeleted, "/none".into()),
            (NodeCreated, "/old".into()),
            (NodeCreated, "/new".into()),
            (NodeChildrenChanged, "/new".into()),
            (NodeDeleted, "/none".into()),
        ]
    );
    assert!(watches.contains("/old", A, WatcherType::Data));
    assert!(watches.contains("/none", A, WatcherType::Data));
    assert!(!watches.contains("/new", A, WatcherType::Data));
    assert!(watches.contains("/old", A, WatcherType::Children));
    assert!(watches.contains("/new", A, WatcherType::Persistent));
    assert!(watches.contains("/new", A, WatcherType::PersistentRecursive));
}

/// Random registrations and changes, compared with sets of (path, connection, flag).
#[test]
fn agrees_with_a_plain_set() {
    let paths = ["/", "/a", "/a/b", "/a/b/c", "/d"];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound) as usize
    };
    let mut watches = Watches::new();
    // Kind: 0 data, 1 child, 2 persistent, 3 recursive.
    let mut model: BTreeSet<(usize, ConnId, usize)> = BTreeSet::new();
    for _ in 0..20_000 {
        let at = next(paths.len() as u64);
        let conn = ConnId(next(4) as u64);
        match next(8) {
            kind @ 0..=3 => {
                match kind {
                    0 => watches.add_data(paths[at], conn),
                    1 => watches.add_child(paths[at], conn),
                    2 => watches.add(paths[at], conn, AddWatchMode::Persistent),
                    _ => watches.add(paths[at], conn, AddWatchMode::PersistentRecursive),
                }
                model.insert((at, conn, kind));
            }
            4 => {
                watches.remove_connection(conn);
                model.retain(|entry| entry.1 != conn);
            }
            5 => {
                let had = model.remove(&(at, conn, 2));
                assert_eq!(
                    watches.remove(paths[at], conn, WatcherType::Persistent),
                    had
                );
            }
            _ => {
                let expected: BTreeSet<ConnId> = model
                    .iter()
                    .filter(|&&(path, _, kind)| match kind {
                        0 | 2 => path == at,
                        3 => path::is_at_or_below(paths[at], paths[path]),
                        _ => false,
                    })
                    .map(|entry| entry.1)
                    .collect();
                model.retain(|&(path, _, kind)| path != at || kind != 0);
                let fired = fire(&mut watches, paths[at], ChangeKind::DataChanged);
                let fired: Vec<ConnId> = fired.into_iter().map(|event| event.0).collect();
                assert_eq!(fired, expected.into_iter().collect::<Vec<_>>());
            }
        }
    }
}

//! Requests that pass, and what the tree makes of them.

use super::*;
use crate::types::path::QUOTA_ROOT;
use crate::types::{container_owner, ttl_owner};

fn world() -> World {
    World::new(PrepConfig {
        extended_types: true,
        ..PrepConfig::default()
    })
}

fn owner_of(world: &World, path: &str) -> i64 {
    world.tree.node(path).expect("created").ephemeral_owner()
}

#[test]
fn each_operation_makes_its_kind_of_node() {
    let mut world = world();
    for (op, body, path, owner) in [
        (op::CREATE, create("/p", 0, open()), "/p", 0),
        (op::CREATE2, create("/e", 1, open()), "/e", SESSION.0),
        (
            op::CREATE_CONTAINER,
            create("/c", 4, open()),
            "/c",
            container_owner(),
        ),
        (
            op::CREATE_TTL,
            create_ttl("/t", 5, 1000),
            "/t",
            ttl_owner(1000).expect("in range"),
        ),
        // The operation decides, not the flags.
        (op::CREATE, create("/c2", 4, open()), "/c2", 0),
        (
            op::CREATE_CONTAINER,
            create("/c3", 0, open()),
            "/c3",
            container_owner(),
        ),
    ] {
        let outcome = world.ask(op, &body);
        assert_eq!(created_path(&outcome), path);
        assert_eq!(owner_of(&world, path), owner, "{path}");
    }
}

#[test]
fn sequential_names_count_what_the_parent_ever_had() {
    let mut world = world();
    world.make("/q");
    for (path, flags, expected) in [
        ("/q/a-", 2, "/q/a-0000000000"),
        ("/q/b-", 3, "/q/b-0000000001"),
        ("/q/", 2, "/q/0000000002"),
        ("/q/plain", 0, "/q/plain"),
        ("/q/a-", 2, "/q/a-0000000004"),
    ] {
        assert_eq!(created_path(&world.create(path, flags)), expected);
    }
    world.ask(op::DELETE, &delete("/q/a-0000000004", -1));
    assert_eq!(created_path(&world.create("/q/a-", 2)), "/q/a-0000000005");
    let ttl = world.ask(op::CREATE_TTL, &create_ttl("/q/t", 6, 5));
    assert_eq!(created_path(&ttl), "/q/t0000000006");
}

#[test]
fn the_counter_wraps_into_negative_numbers() {
    let mut world = world();
    world.make("/q");
    for (counter, name) in [
        (i32::MAX, "/q/n-2147483647"),
        (i32::MIN, "/q/n--2147483648"),
        (-5, "/q/n--000000005"),
    ] {
        let mut work = work_on(&world);
        work.tip.note_changes();
        work.tip.set_counter_for_test("/q", counter);
        let request: CreateRequest<'_> = CreateRequest {
            path: "/q/n-",
            acl: open(),
            flags: 2,
            ..CreateRequest::default()
        };
        let txn = work
            .create(Create::of_request(op::CREATE, request))
            .expect("nothing is in the way");
        let Txn::Create { txn, .. } = txn else {
            panic!("not a create: {txn:?}");
        };
        assert_eq!(txn.path, name);
        assert_eq!(txn.parent_cversion, counter.wrapping_add(1));
    }
}

fn work_on(world: &World) -> Work<'_> {
    Work {
        config: &world.preparer.config,
        tip: Tip::new(&world.tree),
        session: SESSION,
        session_state: Ok(()),
        ephemerals: Ok(()),
        identities: &world.identities,
    }
}

#[test]
fn versions_are_those_after_the_current_ones() {
    let mut world = world();
    world.make("/a");
    for version in 0..3 {
        let outcome = world.ask(op::SET_DATA, &set_data("/a", b"x", version));
        let Outcome::Stat(stat) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(stat.version, version + 1);
    }
    let outcome = world.ask(op::SET_ACL, &set_acl("/a", open(), 0));
    let Outcome::Stat(stat) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!((stat.version, stat.aversion), (3, 1));
    assert_eq!(next_version(i32::MAX, -1), Ok(i32::MIN));
}

#[test]
fn auth_entries_become_the_identities() {
    let mut world = world();
    world.identities.push(Identity::new("digest", "alice:d"));
    let acl = vec![
        entry(perms::ALL, "auth", ""),
        entry(perms::READ, "world", "anyone"),
    ];
    world.make_with("/a", 0, acl);
    let node = world.tree.node("/a").expect("created");
    assert_eq!(
        node.acl()[..],
        [
            entry(perms::ALL, "digest", "alice:d"),
            entry(perms::READ, "world", "anyone")
        ]
    );
}

#[test]
fn operations_of_a_multi_see_those_before() {
    let mut world = world();
    world.make("/q");
    let operations = [
        (op::CREATE, create("/q/n-", 2, open())),
        (op::CREATE2, create("/q/n-", 2, open())),
        (op::CREATE, create("/q/dir", 0, open())),
        (op::CREATE, create("/q/dir/", 2, open())),
        (op::SET_DATA, set_data("/q/dir", b"1", 0)),
        (op::CHECK, check("/q/dir", 1)),
        (op::SET_DATA, set_data("/q/dir", b"2", 1)),
        (op::DELETE, delete("/q/dir/0000000000", 0)),
        (op::DELETE, delete("/q/dir", 2)),
        (op::CREATE, create("/q/dir", 4, open())),
        (op::CREATE_TTL, create_ttl("/q/plain", 0, 77)),
        (op::CREATE_TTL, create_ttl("/q/ttl", 5, 77)),
    ];
    let outcome = world.ask(op::MULTI, &multi(&operations));
    let Outcome::Multi(results) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(results.len(), operations.len());
    assert_eq!(created_path(&results[0].1), "/q/n-0000000000");
    assert_eq!(created_path(&results[1].1), "/q/n-0000000001");
    assert_eq!(created_path(&results[3].1), "/q/dir/0000000000");
    assert_eq!(owner_of(&world, "/q/dir"), container_owner());
    assert_eq!(owner_of(&world, "/q/plain"), 0);
    assert_eq!(Some(owner_of(&world, "/q/ttl")), ttl_owner(77));
    assert_eq!(world.zxid, 2);
}

#[test]
fn what_changes_nothing_needs_no_zxid() {
    let mut world = world();
    let checks = [(op::CHECK, check("/", 0)), (op::CHECK, check("/", -1))];
    let done = (op::CHECK, Outcome::Done);
    for (op, body, expected) in [
        (op::SYNC, path_of("/"), Outcome::Done),
        (op::SYNC, path_of("not a path"), Outcome::Done),
        (op::MULTI, multi(&[]), Outcome::Multi(vec![])),
        (
            op::MULTI,
            multi(&checks),
            Outcome::Multi(vec![done.clone(), done]),
        ),
    ] {
        assert_eq!(world.ask(op, &body), expected);
    }
    assert_eq!(world.zxid, 0);
}

fn path_of(path: &str) -> Vec<u8> {
    path.to_vec()
}

#[test]
fn closing_a_session_deletes_its_ephemerals() {
    let mut world = world();
    world.make("/a");
    for path in ["/z", "/a/y", "/a/x"] {
        world.make_with(path, 1, open());
    }
    let txn = world.preparer.close_session(&world.tree, SESSION);
    let Txn::CloseSession(Some(txn)) = &txn else {
        panic!("{txn:?}");
    };
    assert_eq!(txn.paths_to_delete, ["/a/x", "/a/y", "/z"]);
    let without_paths = Preparer::new(PrepConfig {
        close_session_without_paths: true,
        ..PrepConfig::default()
    });
    let Txn::CloseSession(Some(txn)) = without_paths.close_session(&world.tree, SESSION) else {
        panic!("it is always of this kind");
    };
    assert!(txn.paths_to_delete.is_empty());
    world.session_state = Err(ErrorCode::SessionExpired);
    assert_eq!(world.ask(op::CLOSE_SESSION, &[]), Outcome::Done);
    assert!(world.tree.node("/a/x").is_none() && world.tree.node("/z").is_none());
    assert_eq!(world.ask(op::CLOSE_SESSION, &[]), Outcome::Done);
    assert_eq!(create_session(4000).kind(), op::CREATE_SESSION);
}

#[test]
fn hard_quotas_refuse_where_they_are_enforced() {
    use ErrorCode::QuotaExceeded;
    for enforce_quota in [false, true] {
        let mut world = World::new(PrepConfig {
            enforce_quota,
            ..PrepConfig::default()
        });
        world.make("/a");
        set_quota(
            &mut world,
            "/a",
            "count=1,bytes=1=;byteHardLimit=12;countHardLimit=3",
        );
        world.make("/a/1");
        world.make("/a/2");
        let refused = enforce_quota.then_some(Outcome::Failed(QuotaExceeded));
        for (op, body) in [
            (op::CREATE, create("/a/3", 0, open())),
            (op::SET_DATA, set_data("/a/1", b"more bytes", -1)),
        ] {
            let outcome = world.ask(op, &body);
            match &refused {
                Some(refused) => assert_eq!(&outcome, refused),
                None => assert!(!matches!(outcome, Outcome::Failed(_)), "{outcome:?}"),
            }
        }
        let smaller = world.ask(op::SET_DATA, &set_data("/a/1", b"x", -1));
        assert!(matches!(smaller, Outcome::Stat(_)), "{smaller:?}");
    }
}

fn set_quota(world: &mut World, path: &str, limits: &str) {
    let quota = format!("{QUOTA_ROOT}{path}");
    world.make(&quota);
    for (name, data) in [
        ("zookeeper_limits", limits),
        ("zookeeper_stats", "count=0,bytes=0"),
    ] {
        let path = format!("{quota}/{name}");
        let request = CreateRequest {
            path: &path,
            data: Some(data.as_bytes()),
            acl: open(),
            flags: 0,
        };
        let outcome = world.ask(op::CREATE, &request.to_vec());
        assert_eq!(created_path(&outcome), path);
    }
}

#[test]
fn limits_that_cannot_be_read_fail_the_request() {
    let mut world = World::new(PrepConfig {
        enforce_quota: true,
        ..PrepConfig::default()
    });
    world.make("/a");
    set_quota(&mut world, "/a", "count=many");
    let outcome = world.create("/a/1", 0);
    assert_eq!(outcome, Outcome::Failed(ErrorCode::MarshallingError));
}

#[test]
fn only_what_is_over_is_reaped() {
    use ErrorCode::{BadArguments, BadVersion, NoNode, NotEmpty};
    let mut world = world();
    for (op, body) in [
        (op::CREATE_CONTAINER, create("/used", 4, open())),
        (op::CREATE, create("/used/child", 0, open())),
        (op::DELETE, delete("/used/child", -1)),
        (op::CREATE_CONTAINER, create("/full", 4, open())),
        (op::CREATE, create("/full/child", 0, open())),
        (op::CREATE_CONTAINER, create("/unused", 4, open())),
        (op::CREATE_TTL, create_ttl("/ttl", 5, 1000)),
        (op::CREATE, create("/plain", 0, open())),
        (op::CREATE, create("/eph", 1, open())),
    ] {
        let outcome = world.ask(op, &body);
        assert!(!matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    }
    let patient = ReapConfig::default();
    let impatient = ReapConfig {
        max_never_used_ms: 500,
        ..patient
    };
    let deleted = |path| {
        Ok(Txn::Delete {
            txn: DeleteTxn { path },
            is_container: true,
        })
    };
    for (path, reap, after_ms, expected) in [
        ("/used", patient, 0, deleted("/used")),
        ("/full", impatient, 9000, Err(NotEmpty)),
        ("/unused", patient, 9000, Err(BadVersion)),
        ("/unused", impatient, 500, Err(BadVersion)),
        ("/unused", impatient, 501, deleted("/unused")),
        ("/ttl", patient, 1000, Err(BadVersion)),
        ("/ttl", patient, 1001, deleted("/ttl")),
        ("/plain", impatient, 9000, Err(BadVersion)),
        ("/eph", impatient, 9000, Err(BadVersion)),
        ("/none", patient, 0, Err(NoNode)),
        ("/zookeeper", patient, 0, Err(BadArguments)),
    ] {
        let now_ms = NOW_MS + after_ms;
        let reaped = world.preparer.reap(&world.tree, path, &reap, now_ms);
        assert_eq!(reaped, expected, "{path} after {after_ms} ms");
    }
    assert_eq!(
        world.tree.reap_candidates(NOW_MS + 1001, 0),
        ["/ttl", "/used"]
    );
}

#[test]
fn a_client_may_send_what_the_reaper_sends() {
    let mut world = world();
    world.make("/plain");
    assert_eq!(
        world.ask(op::DELETE_CONTAINER, &path_of("/plain")),
        Outcome::Done
    );
    assert!(world.tree.node("/plain").is_none());
}

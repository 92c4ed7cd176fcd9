//! Requests with one fault or several: the error is that of the first check that fails.

use super::*;

/// `/open` with a child, `/closed` for nobody here, `/read` to be read only, `/eph` an ephemeral.
fn world() -> World {
    let mut world = World::new(PrepConfig::default());
    world.make("/open");
    world.make("/open/child");
    world.make_with("/read", 0, open());
    world.make("/read/child");
    world.make_with("/closed", 0, open());
    world.make("/closed/child");
    for (path, acl) in [
        ("/read", vec![entry(perms::READ, "world", "anyone")]),
        ("/closed", vec![entry(perms::ALL, "digest", "bob:d")]),
        ("/closed/child", vec![entry(perms::ALL, "digest", "bob:d")]),
    ] {
        let outcome = world.ask(op::SET_ACL, &set_acl(path, acl, 0));
        assert!(matches!(outcome, Outcome::Stat(_)), "{outcome:?}");
    }
    world.make_with("/eph", 1, open());
    world
}

fn expect(rows: Vec<(&str, i32, Vec<u8>, ErrorCode)>) {
    let mut world = world();
    let zxid = world.zxid;
    for (why, op, body, code) in rows {
        assert_eq!(world.ask(op, &body), Outcome::Failed(code), "{why}");
    }
    assert_eq!(world.zxid, zxid, "failed requests use no zxid");
}

fn no_acl() -> Vec<Acl> {
    Vec::new()
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn create_checks_in_order() {
    use ErrorCode::*;
    let c = op::CREATE;
    expect(vec![
        (
            "truncated",
            c,
            create("/a", 0, open())[..9].to_vec(),
            MarshallingError,
        ),
        ("null path", c, vec![0xff; 30], MarshallingError),
        ("mode before all", c, create("", 7, no_acl()), BadArguments),
        ("mode before all", c, create("", -1, no_acl()), BadArguments),
        (
            "TTL is not enabled",
            c,
            create("", 5, no_acl()),
            Unimplemented,
        ),
        (
            "TTL is not enabled",
            op::CREATE_TTL,
            create_ttl("", 6, -5),
            Unimplemented,
        ),
        (
            "TTL without its mode",
            op::CREATE_TTL,
            create_ttl("/a", 0, 5),
            BadArguments,
        ),
        (
            "TTL without its mode",
            op::CREATE_TTL,
            create_ttl("/a", 0, -1),
            BadArguments,
        ),
        (
            "no slash before acl",
            c,
            create("a", 0, no_acl()),
            BadArguments,
        ),
        ("empty path", c, create("", 0, no_acl()), BadArguments),
        (
            "NUL before acl",
            c,
            create("/none/\0", 0, no_acl()),
            BadArguments,
        ),
        (
            "acl before parent",
            c,
            create("/none/a", 0, no_acl()),
            InvalidAcl,
        ),
        (
            "acl before parent",
            c,
            create("/none/a", 0, vec![entry(1, "x", "")]),
            InvalidAcl,
        ),
        (
            "auth without identity",
            c,
            create("/a", 0, vec![entry(1, "auth", "")]),
            InvalidAcl,
        ),
        (
            "parent before form",
            c,
            create("/none/a/", 0, open()),
            NoNode,
        ),
        ("parent before form", c, create("none/a", 0, open()), NoNode),
        (
            "permission before form",
            c,
            create("/closed/..", 0, open()),
            NoAuth,
        ),
        (
            "permission before existence",
            c,
            create("/closed/child", 0, open()),
            NoAuth,
        ),
        (
            "READ is not CREATE",
            c,
            create("/read/a", 0, open()),
            NoAuth,
        ),
        ("form", c, create("/open/", 0, open()), BadArguments),
        ("form", c, create("//a", 0, open()), BadArguments),
        ("form", c, create("/open/.", 0, open()), BadArguments),
        ("form", c, create("/a\u{1}", 0, open()), BadArguments),
        ("exists", c, create("/open", 0, open()), NodeExists),
        ("exists", c, create("/", 0, open()), NodeExists),
        (
            "exists",
            op::CREATE_CONTAINER,
            create("/open", 4, open()),
            NodeExists,
        ),
        (
            "ephemeral parent",
            c,
            create("/eph/a", 0, open()),
            NoChildrenForEphemerals,
        ),
        (
            "form before ephemeral",
            c,
            create("/eph/.", 0, open()),
            BadArguments,
        ),
        (
            "bad UTF-8",
            c,
            [&[0, 0, 0, 2, b'/', 0xff][..], &[0; 12]].concat(),
            BadArguments,
        ),
    ]);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn other_operations_check_in_order() {
    use ErrorCode::*;
    expect(vec![
        (
            "truncated",
            op::DELETE,
            delete("/a", 0)[..5].to_vec(),
            MarshallingError,
        ),
        ("no slash", op::DELETE, delete("open", -1), BadArguments),
        ("special", op::DELETE, delete("/", -1), BadArguments),
        (
            "special",
            op::DELETE,
            delete("/zookeeper", -1),
            BadArguments,
        ),
        (
            "special",
            op::DELETE,
            delete("/zookeeper/quota", 9),
            BadArguments,
        ),
        (
            "special",
            op::DELETE,
            delete("/zookeeper/config", -1),
            BadArguments,
        ),
        ("parent", op::DELETE, delete("/none/a", -1), NoNode),
        (
            "permission before node",
            op::DELETE,
            delete("/closed/none", -1),
            NoAuth,
        ),
        (
            "permission before version",
            op::DELETE,
            delete("/read/child", 9),
            NoAuth,
        ),
        ("no form check", op::DELETE, delete("/open/", -1), NoNode),
        ("node", op::DELETE, delete("/none", -1), NoNode),
        (
            "version before children",
            op::DELETE,
            delete("/open", 9),
            BadVersion,
        ),
        ("children", op::DELETE, delete("/open", 0), NotEmpty),
        ("children", op::DELETE, delete("/open", -1), NotEmpty),
        (
            "special",
            op::DELETE_CONTAINER,
            path_only("/zookeeper"),
            BadArguments,
        ),
        ("node", op::DELETE_CONTAINER, path_only("/none"), NoNode),
        (
            "children",
            op::DELETE_CONTAINER,
            path_only("/open"),
            NotEmpty,
        ),
        (
            "ephemeral",
            op::DELETE_CONTAINER,
            path_only("/eph"),
            BadVersion,
        ),
        (
            "permission",
            op::DELETE_CONTAINER,
            path_only("/closed/child"),
            NoAuth,
        ),
        (
            "truncated",
            op::SET_DATA,
            set_data("/a", b"", 0)[..3].to_vec(),
            MarshallingError,
        ),
        (
            "form before node",
            op::SET_DATA,
            set_data("/none/", b"", 0),
            BadArguments,
        ),
        ("form", op::SET_DATA, set_data("", b"", 0), BadArguments),
        ("node", op::SET_DATA, set_data("/none", b"", 0), NoNode),
        (
            "permission before version",
            op::SET_DATA,
            set_data("/read", b"", 9),
            NoAuth,
        ),
        (
            "version",
            op::SET_DATA,
            set_data("/open", b"", 1),
            BadVersion,
        ),
        (
            "version",
            op::SET_DATA,
            set_data("/open", b"", -2),
            BadVersion,
        ),
        (
            "config is read-only",
            op::SET_DATA,
            set_data("/zookeeper/config", b"", -1),
            NoAuth,
        ),
        (
            "form before acl",
            op::SET_ACL,
            set_acl("/none/", no_acl(), 0),
            BadArguments,
        ),
        (
            "acl before node",
            op::SET_ACL,
            set_acl("/none", no_acl(), 0),
            InvalidAcl,
        ),
        ("node", op::SET_ACL, set_acl("/none", open(), 0), NoNode),
        (
            "permission before version",
            op::SET_ACL,
            set_acl("/read", open(), 9),
            NoAuth,
        ),
        (
            "version",
            op::SET_ACL,
            set_acl("/open", open(), 9),
            BadVersion,
        ),
        (
            "record before setting",
            op::RECONFIG,
            vec![],
            MarshallingError,
        ),
        (
            "disabled",
            op::RECONFIG,
            ReconfigRequest::default().to_vec(),
            ReconfigDisabled,
        ),
        (
            "only in a multi",
            op::CHECK,
            check("/open", 0),
            Unimplemented,
        ),
        (
            "not for clients",
            op::CREATE_SESSION,
            vec![0; 4],
            Unimplemented,
        ),
        ("unknown", 999, vec![], Unimplemented),
        ("truncated", op::SYNC, vec![0, 0], MarshallingError),
    ]);
}

/// The body of a request whose only field is the path.
fn path_only(path: &str) -> Vec<u8> {
    path.to_vec()
}

#[test]
fn sessions_come_after_records_and_modes() {
    let mut world = world();
    for state in [
        ErrorCode::UnknownSession,
        ErrorCode::SessionExpired,
        ErrorCode::SessionMoved,
    ] {
        world.session_state = Err(state);
        for (op, body) in [
            (op::CREATE, create("", 0, no_acl())),
            (op::DELETE, delete("", -1)),
            (op::SET_DATA, set_data("", b"", -1)),
            (op::SET_ACL, set_acl("", no_acl(), -1)),
            (op::SYNC, path_only("/")),
        ] {
            assert_eq!(world.ask(op, &body), Outcome::Failed(state), "{op}");
        }
        for (op, body, code) in [
            (op::CREATE, create("/a", 7, open()), ErrorCode::BadArguments),
            (
                op::CREATE,
                create("/a", 5, open()),
                ErrorCode::Unimplemented,
            ),
            (op::DELETE, vec![], ErrorCode::MarshallingError),
            (
                op::RECONFIG,
                ReconfigRequest::default().to_vec(),
                ErrorCode::ReconfigDisabled,
            ),
        ] {
            assert_eq!(world.ask(op, &body), Outcome::Failed(code), "{op}");
        }
    }
    world.session_state = Err(ErrorCode::UnknownSession);
    assert_eq!(
        world.create("/a", 1),
        Outcome::Failed(ErrorCode::SessionExpired)
    );
}

#[test]
fn ttl_is_checked_where_it_is_enabled() {
    use ErrorCode::*;
    let mut world = World::new(PrepConfig {
        extended_types: true,
        reconfig_enabled: true,
        ..PrepConfig::default()
    });
    for (op, body, code) in [
        (op::CREATE, create("/a", 5, open()), BadArguments),
        (op::CREATE_TTL, create_ttl("/a", 5, 0), BadArguments),
        (op::CREATE_TTL, create_ttl("/a", 5, -1), BadArguments),
        (op::CREATE_TTL, create_ttl("/a", 6, 1 << 40), BadArguments),
        (op::CREATE_TTL, create_ttl("/a", 0, 1), BadArguments),
        (
            op::RECONFIG,
            ReconfigRequest::default().to_vec(),
            Unimplemented,
        ),
    ] {
        assert_eq!(world.ask(op, &body), Outcome::Failed(code), "{op}");
    }
    world.session_state = Err(SessionMoved);
    let reconfig = ReconfigRequest::default().to_vec();
    assert_eq!(
        world.ask(op::RECONFIG, &reconfig),
        Outcome::Failed(SessionMoved)
    );
    assert_eq!(world.zxid, 0);
}

#[test]
fn a_failed_multi_tells_of_each_operation() {
    use ErrorCode::*;
    let mut world = world();
    let zxid = world.zxid;
    for (operations, codes) in [
        (
            vec![
                (op::CREATE, create("/new", 0, open())),
                (op::CHECK, check("/open", 5)),
                (op::DELETE, delete("/new", -1)),
            ],
            vec![Ok, BadVersion, RuntimeInconsistency],
        ),
        (
            vec![
                (op::SET_DATA, set_data("/closed", b"", -1)),
                (op::CHECK, check("/open", 0)),
            ],
            vec![NoAuth, RuntimeInconsistency],
        ),
        (
            vec![
                (op::CREATE, create("/new", 0, open())),
                (op::CREATE, create("/new/a", 1, open())),
                (op::CREATE, create("/new/a/b", 0, open())),
            ],
            vec![Ok, Ok, NoChildrenForEphemerals],
        ),
        (
            vec![
                (op::DELETE, delete("/open/child", -1)),
                (op::DELETE, delete("/open", -1)),
                (op::CREATE, create("/open/child", 0, open())),
            ],
            vec![Ok, Ok, NoNode],
        ),
        (
            vec![
                (op::SET_DATA, set_data("/open", b"1", 0)),
                (op::SET_DATA, set_data("/open", b"2", 0)),
            ],
            vec![Ok, BadVersion],
        ),
        (
            vec![(op::CREATE_TTL, create_ttl("/new", 9, 1))],
            vec![BadArguments],
        ),
    ] {
        assert_eq!(
            world.ask(op::MULTI, &multi(&operations)),
            Outcome::MultiFailed(codes.clone()),
            "{codes:?}"
        );
    }
    assert_eq!(world.zxid, zxid);
    assert!(world.tree.node("/new").is_none());
}

#[test]
fn some_faults_fail_a_multi_as_a_whole() {
    use ErrorCode::*;
    let mut world = world();
    for (operations, code) in [
        (
            vec![(op::CREATE, create("/new", 7, open()))],
            MarshallingError,
        ),
        (
            vec![(op::CREATE, create("/new", 5, open()))],
            MarshallingError,
        ),
        (
            vec![(op::SET_ACL, set_acl("/open", open(), 0))],
            MarshallingError,
        ),
        (vec![(op::GET_DATA, path_only("/open"))], MarshallingError),
        (vec![(op::DELETE, vec![0xff; 8])], MarshallingError),
        (
            vec![(op::CHECK, check("/open", 0)[..7].to_vec())],
            MarshallingError,
        ),
    ] {
        assert_eq!(
            world.ask(op::MULTI, &multi(&operations)),
            Outcome::Failed(code),
            "{operations:?}"
        );
    }
    assert_eq!(world.ask(op::MULTI, &[]), Outcome::Failed(MarshallingError));
    let operations = [
        (op::CHECK, check("/open", 0)),
        (op::CHECK, check("/open", 0)),
    ];
    world.session_state = Err(SessionMoved);
    assert_eq!(
        world.ask(op::MULTI, &multi(&operations)),
        Outcome::Failed(SessionMoved)
    );
    world.session_state = Err(SessionExpired);
    assert_eq!(
        world.ask(op::MULTI, &multi(&operations)),
        Outcome::MultiFailed(vec![SessionExpired, RuntimeInconsistency])
    );
}

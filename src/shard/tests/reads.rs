//! Each read, its record and its errors.

use crate::jute::proto::{
    AddWatchRequest, CheckWatchesRequest, GetAclRequest, GetAllChildrenNumberRequest,
    GetChildrenRequest, GetEphemeralsRequest, MULTI_END, MultiHeader,
};
use crate::types::perms;

use super::*;

fn digest_acl(perms: i32) -> Vec<Acl> {
    // The digest of `bob:pw`.
    let id = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=".into();
    vec![Acl {
        perms,
        scheme: "digest".into(),
        id,
    }]
}

fn names(body: &[u8]) -> Vec<&str> {
    let mut names = Vec::<&str>::from_slice(body).expect("a list");
    names.sort_unstable();
    names
}

#[test]
fn reads_of_an_open_node() {
    let mut rig = Rig::new();
    let conn = rig.client();
    let stat = rig.tree.node("/a").expect("there").stat();
    rig.get(conn, 1, "/a", false);
    let reply = rig.reply(conn);
    assert_eq!(reply.body[..8], [0, 0, 0, 4, b'd', b'a', b't', b'a']);
    assert_eq!(reply.body[8..], stat.to_vec());
    let path = "/a";
    let watch = false;
    rig.request(
        conn,
        2,
        op::EXISTS,
        &GetDataRequest {
            path: "/a",
            watch: false,
        },
    );
    assert_eq!(rig.reply(conn).body, stat.to_vec());
    let record = GetChildrenRequest { path: "/", watch };
    rig.request(conn, 3, op::GET_CHILDREN, &record);
    assert_eq!(names(&rig.reply(conn).body), ["a", "zookeeper"]);
    let record = GetChildrenRequest { path, watch };
    rig.request(conn, 4, op::GET_CHILDREN2, &record);
    let expected = [list(vec!["b"]), stat.to_vec()].concat();
    assert_eq!(rig.reply(conn).body, expected);
    rig.request(
        conn,
        5,
        op::GET_ALL_CHILDREN_NUMBER,
        &GetAllChildrenNumberRequest { path },
    );
    assert_eq!(rig.reply(conn).body, [0, 0, 0, 1]);
    rig.request(conn, 6, op::GET_ACL, &GetAclRequest { path });
    let expected = [list(vec![open_acl()]), stat.to_vec()].concat();
    assert_eq!(rig.reply(conn).body, expected);
    rig.request(conn, -2, op::PING, &0i32);
    let reply = rig.reply(conn);
    assert_eq!((reply.xid, reply.err, reply.body), (-2, 0, vec![]));
}

/// A list as it is encoded.
fn list<'a, T: Record<'a>>(elements: Vec<T>) -> Vec<u8> {
    elements.to_vec()
}

#[test]
fn reads_need_permission_and_a_node() {
    let kinds = [
        op::EXISTS,
        op::GET_DATA,
        op::GET_ACL,
        op::GET_CHILDREN,
        op::GET_CHILDREN2,
        op::GET_ALL_CHILDREN_NUMBER,
    ];
    let mut rig = Rig::new();
    let created = create(&mut rig.tree, "/secret", &digest_acl(perms::ALL));
    rig.change(created);
    let conn = rig.client();
    for kind in kinds {
        for (path, error) in [("/none", ErrorCode::NoNode), ("/secret", ErrorCode::NoAuth)] {
            let watch = false;
            rig.request(conn, 1, kind, &GetDataRequest { path, watch });
            let reply = rig.reply(conn);
            assert_eq!((reply.err, reply.body), (error.code(), vec![]), "{kind}");
        }
        rig.send_frame(conn, &request(1, kind, &77i32));
        let reply = rig.reply(conn);
        assert_eq!(reply.err, ErrorCode::MarshallingError.code(), "{kind}");
    }
    let auth = AuthPacket {
        kind: 0,
        scheme: "digest",
        auth: Some(b"bob:pw"),
    };
    let mut open = Rig::with(ShardConfig {
        auth: AuthConfig {
            skip_acl: true,
            ..AuthConfig::default()
        },
        ..ShardConfig::default()
    });
    let created = create(&mut open.tree, "/secret", &digest_acl(perms::ALL));
    open.change(created);
    let anybody = open.client();
    rig.request(conn, -4, op::AUTH, &auth);
    rig.reply(conn);
    for kind in kinds {
        for (rig, conn) in [(&mut rig, conn), (&mut open, anybody)] {
            let path = "/secret";
            let watch = false;
            rig.request(conn, 1, kind, &GetDataRequest { path, watch });
            assert_eq!(rig.reply(conn).err, 0, "{kind}");
        }
    }
}

#[test]
fn digests_are_hidden_from_those_who_may_not_set_the_acl() {
    let mut rig = Rig::new();
    let mut acl = digest_acl(perms::ALL);
    acl.push(Acl {
        perms: perms::READ,
        ..open_acl()
    });
    let created = create(&mut rig.tree, "/secret", &acl);
    rig.change(created);
    let conn = rig.client();
    let path = "/secret";
    rig.request(conn, 1, op::GET_ACL, &GetAclRequest { path });
    let reply = rig.reply(conn);
    let told = Vec::<Acl>::from_slice(&reply.body).expect("a list");
    assert_eq!(told[0].id, "bob:x");
    let auth = AuthPacket {
        kind: 0,
        scheme: "digest",
        auth: Some(b"bob:pw"),
    };
    rig.request(conn, -4, op::AUTH, &auth);
    rig.reply(conn);
    rig.request(conn, 2, op::GET_ACL, &GetAclRequest { path });
    let reply = rig.reply(conn);
    assert_eq!(Vec::<Acl>::from_slice(&reply.body).expect("a list"), acl);
}

#[test]
fn multi_reads_fail_one_by_one() {
    let mut rig = Rig::new();
    let conn = rig.client();
    let mut body = Vec::new();
    for (kind, path) in [
        (op::GET_DATA, "/a"),
        (op::GET_DATA, "/none"),
        (op::GET_CHILDREN, "/a"),
    ] {
        let (done, err, watch) = (false, -1, true);
        MultiHeader { kind, done, err }.encode(&mut body);
        GetDataRequest { path, watch }.encode(&mut body);
    }
    let unfinished = body.clone();
    MULTI_END.encode(&mut body);
    let frame = |xid: i32, body: &[u8]| {
        let kind = op::MULTI_READ;
        [&RequestHeader { xid, kind }.to_vec()[..], body].concat()
    };
    rig.send_frame(conn, &frame(1, &body));
    let reply = rig.reply(conn);
    assert_eq!(reply.err, 0);
    let mut from = Decoder::new(&reply.body);
    let first = MultiHeader::decode(&mut from).expect("a header");
    assert_eq!(
        (first.kind, first.done, first.err),
        (op::GET_DATA, false, 0)
    );
    assert_eq!(Option::<&[u8]>::decode(&mut from), Ok(Some(&b"data"[..])));
    Stat::decode(&mut from).expect("a stat");
    let second = MultiHeader::decode(&mut from).expect("a header");
    assert_eq!((second.kind, second.err), (-1, -101));
    assert_eq!(i32::decode(&mut from), Ok(-101));
    let third = MultiHeader::decode(&mut from).expect("a header");
    assert_eq!((third.kind, third.err), (op::GET_CHILDREN, 0));
    assert_eq!(Vec::<&str>::decode(&mut from), Ok(vec!["b"]));
    assert_eq!(MultiHeader::decode(&mut from), Ok(MULTI_END));
    assert!(from.is_empty());
    assert!(rig.shard.watches.is_empty());

    for body in [
        &unfinished[..],
        &(MultiHeader {
            kind: op::DELETE,
            done: false,
            err: -1,
        })
        .to_vec(),
    ] {
        rig.send_frame(conn, &frame(2, body));
        let reply = rig.reply(conn);
        assert_eq!(
            (reply.err, reply.body.len()),
            (ErrorCode::MarshallingError.code(), 0)
        );
    }
}

#[test]
fn ephemerals_of_the_session_by_prefix() {
    let mut rig = Rig::new();
    let conn = rig.client();
    let session = rig.next_session;
    for path in ["/a/e1", "/e2"] {
        let zxid = rig.tree.tip_zxid().0 + 1;
        let header = TxnHeader {
            client_id: session,
            cxid: 0,
            zxid,
            time: 0,
            kind: op::CREATE,
        };
        let txn = CreateTxn {
            path: path.into(),
            data: None,
            acl: vec![open_acl()],
            ephemeral: true,
            parent_cversion: -1,
        };
        let is_create2 = false;
        let applied = rig.tree.apply(&header, &Txn::Create { txn, is_create2 });
        rig.change(applied);
    }
    for (prefix_path, expected) in [
        ("", &["/a/e1", "/e2"][..]),
        ("/", &["/a/e1", "/e2"]),
        (" / ", &["/a/e1", "/e2"]),
        ("/a", &["/a/e1"]),
        ("/none", &[]),
    ] {
        rig.request(
            conn,
            1,
            op::GET_EPHEMERALS,
            &GetEphemeralsRequest { prefix_path },
        );
        assert_eq!(names(&rig.reply(conn).body), expected, "{prefix_path:?}");
    }
}

#[test]
fn who_am_i() {
    let mut rig = Rig::new();
    let conn = rig.client();
    rig.send_frame(
        conn,
        &RequestHeader {
            xid: 1,
            kind: op::WHO_AM_I,
        }
        .to_vec(),
    );
    let reply = rig.reply(conn);
    let expected = [vec![0, 0, 0, 1], "ip".to_vec(), "10.1.2.3".to_vec()].concat();
    assert_eq!((reply.err, reply.body), (0, expected));
}

#[test]
fn odd_codes_and_paths() {
    let mut rig = Rig::new();
    let conn = rig.client();
    let cases = [
        (op::ADD_WATCH, 7, ErrorCode::MarshallingError),
        (op::CHECK_WATCHES, 0, ErrorCode::MarshallingError),
        (op::REMOVE_WATCHES, 6, ErrorCode::MarshallingError),
        (op::CHECK_WATCHES, 3, ErrorCode::NoWatcher),
        (op::REMOVE_WATCHES, 1, ErrorCode::NoWatcher),
    ];
    for (kind, code, error) in cases {
        let record = CheckWatchesRequest {
            path: "/a",
            kind: code,
        };
        rig.request(conn, 1, kind, &record);
        assert_eq!(rig.reply(conn).err, error.code(), "{kind} {code}");
    }
    let watch = true;
    let path = "/a\0";
    rig.request(conn, 2, op::EXISTS, &GetDataRequest { path, watch });
    assert_eq!(rig.reply(conn).err, ErrorCode::BadArguments.code());
    assert!(rig.shard.watches.is_empty());
    // The root goes by the empty path too.
    let path = "";
    rig.request(conn, 3, op::GET_CHILDREN, &GetDataRequest { path, watch });
    assert_eq!(names(&rig.reply(conn).body), ["a", "zookeeper"]);
    let record = AddWatchRequest {
        path: "/a",
        mode: 1,
    };
    rig.request(conn, 4, op::ADD_WATCH, &record);
    assert_eq!(rig.reply(conn).body, [0; 4]);
}

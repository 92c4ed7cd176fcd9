//! Events: to whom, in what order, with what in their headers.

use crate::jute::proto::{AddWatchRequest, SetWatches, SetWatches2};
use crate::types::perms;

use super::*;

const CREATED: i32 = 1;
const DELETED: i32 = 2;
const DATA_CHANGED: i32 = 3;
const CHILDREN_CHANGED: i32 = 4;

fn exists(rig: &mut Rig, conn: ConnId, path: &str) -> Reply {
    let watch = true;
    rig.request(conn, 1, op::EXISTS, &GetDataRequest { path, watch });
    rig.reply(conn)
}

#[test]
fn reads_register_watches() {
    let mut rig = Rig::new();
    let conn = rig.client();
    assert_eq!(exists(&mut rig, conn, "/new").err, -101);
    rig.get(conn, 1, "/a", true);
    assert_eq!(rig.reply(conn).err, 0);
    let record = GetDataRequest {
        path: "/a/b",
        watch: true,
    };
    rig.request(conn, 2, op::GET_CHILDREN2, &record);
    assert_eq!(rig.reply(conn).err, 0);
    // A read that fails registers nothing.
    rig.get(conn, 3, "/none", true);
    assert_eq!(rig.reply(conn).err, -101);

    let zxid = rig.tree.tip_zxid().0 + 1;
    let applied = create(&mut rig.tree, "/new", &[open_acl()]);
    rig.change(applied);
    let event = rig.reply(conn);
    assert_eq!(event.event(), (CREATED, "/new".into()));
    // Header: xid −1 and the zxid of the change; record: type, state SyncConnected, path.
    assert_eq!((event.zxid, event.err), (zxid, 0));
    assert_eq!(event.body[4..8], [0, 0, 0, 3]);

    let applied = create(&mut rig.tree, "/a/b/c", &[open_acl()]);
    rig.change(applied);
    let applied = set(&mut rig.tree, "/a", b"x");
    rig.change(applied);
    let applied = create(&mut rig.tree, "/none", &[open_acl()]);
    rig.change(applied);
    assert_eq!(
        rig.events(conn),
        [
            (CHILDREN_CHANGED, "/a/b".into()),
            (DATA_CHANGED, "/a".into())
        ]
    );
}

#[test]
fn an_event_comes_before_the_change_can_be_read() {
    let mut rig = Rig::new();
    let conn = rig.client();
    rig.get(conn, 1, "/a", true);
    rig.set(conn, 2, "/a", b"mine");
    rig.get(conn, 3, "/a", true);
    rig.set(conn, 4, "/a", b"mine again");
    rig.reply(conn);
    let items = vec![
        rig.applied_set(conn, 2, "/a", b"mine"),
        rig.applied_set(conn, 4, "/a", b"mine again"),
    ];
    rig.publish(items);
    assert_eq!(rig.xids(conn), [-1, 2, 3, -1, 4]);
}

#[test]
fn events_go_only_to_those_who_may_read() {
    let mut rig = Rig::new();
    let conn = rig.client();
    exists(&mut rig, conn, "/secret");
    let acl = Acl {
        perms: perms::WRITE,
        ..open_acl()
    };
    let applied = create(&mut rig.tree, "/secret", &[acl]);
    rig.change(applied);
    assert!(rig.output(conn).is_empty());
    // The watch was spent all the same.
    assert!(rig.shard.watches.is_empty());
}

#[test]
fn persistent_watches_are_added() {
    let mut rig = Rig::new();
    let (plain, recursive) = (rig.client(), rig.client());
    for (conn, mode) in [(plain, 0), (recursive, 1)] {
        let record = AddWatchRequest { path: "/a", mode };
        rig.request(conn, 1, op::ADD_WATCH, &record);
        assert_eq!(rig.reply(conn).err, 0);
    }
    for _ in 0..2 {
        let applied = create(&mut rig.tree, "/a/c", &[open_acl()]);
        rig.change(applied);
        let applied = delete(&mut rig.tree, "/a/c");
        rig.change(applied);
    }
    let children = (CHILDREN_CHANGED, "/a".to_owned());
    assert_eq!(rig.events(plain), vec![children; 4]);
    let (created, deleted) = ((CREATED, "/a/c".to_owned()), (DELETED, "/a/c".to_owned()));
    assert_eq!(
        rig.events(recursive),
        [created.clone(), deleted.clone(), created, deleted]
    );
}

#[test]
fn watches_set_again_tell_first_what_was_missed() {
    let mut rig = Rig::new();
    let conn = rig.client();
    let relative_zxid = rig.tree.tip_zxid().0;
    let applied = set(&mut rig.tree, "/a", b"x");
    rig.change(applied);
    let record = SetWatches {
        relative_zxid,
        data_watches: vec!["/a", "/a/b", "/none"],
        exist_watches: vec!["/a/b", "/none"],
        child_watches: vec!["/a"],
    };
    rig.request(conn, op::XID_SET_WATCHES, op::SET_WATCHES, &record);
    let replies = rig.replies(conn);
    let events: Vec<_> = replies[..3].iter().map(Reply::event).collect();
    assert_eq!(
        events,
        [
            (DATA_CHANGED, "/a".into()),
            (DELETED, "/none".into()),
            (CREATED, "/a/b".into())
        ]
    );
    assert!(replies[..3].iter().all(|event| event.zxid == -1));
    let reply = &replies[3];
    assert_eq!(
        (reply.xid, reply.err, reply.body.len(), replies.len()),
        (-8, 0, 0, 4)
    );

    let record = SetWatches2 {
        relative_zxid,
        persistent_watches: vec!["/p"],
        persistent_recursive_watches: vec!["/r"],
        ..SetWatches2::default()
    };
    rig.request(conn, op::XID_SET_WATCHES, op::SET_WATCHES2, &record);
    assert_eq!(rig.reply(conn).err, 0);
    // Data of /a/b, exist of /none, children of /a; two for /p, one for /r.
    assert_eq!(rig.shard.watches.len(), 6);
    rig.send_frame(conn, &request(-8, op::SET_WATCHES, &5i32));
    assert_eq!(rig.reply(conn).err, ErrorCode::MarshallingError.code());
    rig.shard.closed(conn);
    assert!(rig.shard.watches.is_empty());
}

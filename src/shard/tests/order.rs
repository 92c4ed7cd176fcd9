//! Replies in the order of the requests, and what each of them sees.

use super::*;

#[test]
fn reads_behind_a_write_wait_and_see_it() {
    let mut rig = Rig::new();
    let conn = rig.client();
    let other = rig.client();
    let before = rig.tree.tip_zxid().0;
    rig.get(conn, 1, "/a", false);
    rig.set(conn, 2, "/a", b"new");
    rig.get(conn, 3, "/a", false);
    rig.request(conn, -2, op::PING, &0i32);
    assert_eq!(rig.xids(conn), [1]);
    assert_eq!(rig.forwarded(), [2]);
    // Others do not wait for it.
    rig.get(other, 1, "/a", false);
    assert_eq!(data_of(&rig.reply(other)), (b"data".to_vec(), 0));

    let item = rig.applied_set(conn, 2, "/a", b"new");
    let after = item.zxid.0;
    // A later change in the same batch is not seen by what waits for the earlier one.
    let later = set(&mut rig.tree, "/a", b"later");
    let later = Item {
        zxid: later.zxid,
        changes: later.changes,
        answer: None,
    };
    rig.publish(vec![item, later]);
    let replies = rig.replies(conn);
    let zxids: Vec<(i32, i64)> = replies
        .iter()
        .map(|reply| (reply.xid, reply.zxid))
        .collect();
    assert_eq!(zxids, [(2, after), (3, after), (-2, after)]);
    assert_eq!(data_of(&replies[1]), (b"new".to_vec(), 1));
    assert!(before < after);

    rig.get(conn, 4, "/a", false);
    let reply = rig.reply(conn);
    assert_eq!(
        (data_of(&reply), reply.zxid),
        ((b"later".to_vec(), 2), after + 1)
    );
}

#[test]
fn writes_and_reads_interleave() {
    let mut rig = Rig::new();
    let conn = rig.client();
    for xid in 0..10 {
        if xid % 2 == 0 {
            rig.set(conn, xid, "/a", &[xid as u8]);
        } else {
            rig.get(conn, xid, "/a", false);
        }
    }
    assert_eq!(rig.forwarded(), [0, 2, 4, 6, 8]);
    let items = (0..5).map(|n| rig.applied_set(conn, 2 * n, "/a", &[2 * n as u8]));
    let items: Vec<Item> = items.collect();
    for items in items.chunks(2) {
        rig.publish(items.to_vec());
    }
    let replies = rig.replies(conn);
    assert_eq!(
        replies.iter().map(|reply| reply.xid).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    for reply in replies.iter().filter(|reply| reply.xid % 2 == 1) {
        assert_eq!(data_of(reply).0, [reply.xid as u8 - 1]);
    }
    assert_eq!(rig.shared.outstanding(), 0);
}

#[test]
fn errors_carry_the_zxid_at_which_they_were_found() {
    let mut rig = Rig::new();
    let conn = rig.client();
    let tip = rig.tree.tip_zxid().0;
    rig.get(conn, 1, "/none", false);
    let reply = rig.reply(conn);
    assert_eq!(
        (reply.zxid, reply.err, reply.body.len()),
        (tip, ErrorCode::NoNode.code(), 0)
    );
    rig.set(conn, 2, "/a", b"x");
    let failed = Outcome::Failed(ErrorCode::BadVersion);
    rig.publish(vec![rig.outcome(conn, 2, failed)]);
    let reply = rig.reply(conn);
    assert_eq!(
        (reply.zxid, reply.err, reply.body.len()),
        (tip, ErrorCode::BadVersion.code(), 0)
    );
}

#[test]
fn sync_repeats_its_path() {
    let mut rig = Rig::new();
    let conn = rig.client();
    rig.request(conn, 1, op::SYNC, &SyncRequest { path: "/a" });
    rig.send_frame(conn, &request(2, op::SYNC, &7i32));
    assert_eq!(rig.forwarded(), [1, 2]);
    let items = [1, 2].map(|xid| rig.outcome(conn, xid, Outcome::Done));
    rig.publish(items.to_vec());
    let replies = rig.replies(conn);
    assert_eq!((replies[0].err, &replies[0].body), (0, &"/a".to_vec()));
    assert_eq!(replies[1].err, ErrorCode::MarshallingError.code());
}

#[test]
fn outcomes_are_encoded_by_their_operation() {
    let stat = Stat {
        version: 3,
        ..Stat::default()
    };
    let created = || Outcome::Created {
        path: "/x".into(),
        stat: stat.clone(),
    };
    let with_stat = [&"/x".to_vec()[..], &stat.to_vec()].concat();
    let end = [0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff];
    let header = |kind: i32| {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend([0; 5]);
        bytes
    };
    let error = |code: i32| {
        let code = code.to_be_bytes();
        [&[0xff; 4][..], &[0], &code, &code].concat()
    };
    let cases = [
        (op::CREATE, created(), "/x".to_vec()),
        (op::CREATE2, created(), with_stat.clone()),
        (op::CREATE_CONTAINER, created(), with_stat.clone()),
        (op::CREATE_TTL, created(), with_stat.clone()),
        (op::SET_DATA, Outcome::Stat(stat.clone()), stat.to_vec()),
        (op::SET_ACL, Outcome::Stat(stat.clone()), stat.to_vec()),
        (op::DELETE, Outcome::Done, vec![]),
        (
            op::MULTI,
            Outcome::Multi(vec![
                (op::CREATE, created()),
                (op::CREATE_TTL, created()),
                (op::SET_DATA, Outcome::Stat(stat.clone())),
                (op::DELETE, Outcome::Done),
                (op::CHECK, Outcome::Done),
            ]),
            [
                header(op::CREATE),
                "/x".to_vec(),
                header(op::CREATE2),
                with_stat,
                header(op::SET_DATA),
                stat.to_vec(),
                header(op::DELETE),
                header(op::CHECK),
                end.to_vec(),
            ]
            .concat(),
        ),
        (
            op::MULTI,
            Outcome::MultiFailed(vec![
                ErrorCode::Ok,
                ErrorCode::NoNode,
                ErrorCode::RuntimeInconsistency,
            ]),
            [error(0), error(-101), error(-2), end.to_vec()].concat(),
        ),
        (op::MULTI, Outcome::Multi(vec![]), end.to_vec()),
    ];
    for (kind, outcome, body) in cases {
        let mut rig = Rig::new();
        let conn = rig.client();
        rig.request(conn, 1, kind, &0i32);
        rig.publish(vec![rig.outcome(conn, 1, outcome.clone())]);
        let reply = rig.reply(conn);
        assert_eq!((reply.err, reply.body), (0, body), "{kind} {outcome:?}");
    }
}

#[test]
fn answers_to_a_connection_that_is_gone_are_dropped_and_counted() {
    let mut rig = Rig::new();
    let conn = rig.client();
    rig.set(conn, 1, "/a", b"x");
    assert_eq!(rig.shared.outstanding(), 1);
    rig.shard.closed(conn);
    let item = rig.applied_set(conn, 1, "/a", b"x");
    rig.publish(vec![item]);
    assert_eq!(rig.shared.outstanding(), 0);
    let next = rig.open();
    assert!(rig.output(next).is_empty());
}

#[test]
fn another_shards_answers_are_not_ours() {
    let mut rig = Rig::new();
    let conn = rig.client();
    rig.set(conn, 1, "/a", b"x");
    let mut item = rig.applied_set(conn, 1, "/a", b"x");
    item.answer = item.answer.map(|(_, answer)| {
        let shard = ShardId(1);
        (Origin { shard, conn }, answer)
    });
    rig.publish(vec![item]);
    assert!(rig.output(conn).is_empty());
}

//! Bounds: what is not read, what waits, who is cut off.

use crate::types::limits::{
    CONNECTION_PIPELINE_MAX, CONNECTION_SEND_HARD_MAX, CONNECTION_SEND_SOFT_MAX, CONNECTION_TURN,
    REPLY_MAX, SHARD_RING_LEN,
};

use super::*;

#[test]
fn connections_are_limited() {
    let mut rig = Rig::with(ShardConfig {
        max_client_cnxns: 2,
        max_cnxns: 3,
        ..ShardConfig::default()
    });
    let (_, second) = (rig.open(), rig.open());
    let open = |rig: &mut Rig, peer: &str| {
        let peer = peer.parse().expect("an address");
        rig.shard.open(peer, rig.now)
    };
    // The same address, as a socket for both families sees it.
    let refused = open(&mut rig, "[::ffff:10.1.2.3]:9");
    assert_eq!(refused, Err(Refused::TooManyFromAddress(2)));
    assert!(open(&mut rig, "10.1.2.4:9").is_ok());
    assert_eq!(open(&mut rig, "10.1.2.5:9"), Err(Refused::TooMany(3)));
    rig.shard.closed(second);
    rig.shard.closed(second);
    assert_eq!(rig.shared.connections(), 2);
    assert!(open(&mut rig, "10.1.2.3:9").is_ok());
}

#[test]
fn a_long_pipeline_is_not_read_further() {
    let mut rig = Rig::with(ShardConfig {
        global_outstanding_limit: usize::MAX,
        ..ShardConfig::default()
    });
    let conn = rig.client();
    let total = CONNECTION_PIPELINE_MAX as i32 + 10;
    for xid in 0..total {
        rig.set(conn, xid, "/a", b"x");
    }
    assert!(!rig.wants_read(conn));
    assert_eq!(rig.forwarded().len(), CONNECTION_PIPELINE_MAX);
    let item = rig.applied_set(conn, 0, "/a", b"x");
    rig.publish(vec![item]);
    assert_eq!(rig.forwarded(), [CONNECTION_PIPELINE_MAX as i32]);
    assert!(!rig.wants_read(conn));
    let items = (1..=20).map(|xid| rig.outcome(conn, xid, Outcome::Done));
    let items = items.collect();
    rig.publish(items);
    assert_eq!(rig.forwarded().len(), 9);
    assert!(rig.wants_read(conn));
}

#[test]
fn beyond_the_global_limit_connections_take_turns() {
    let mut rig = Rig::with(ShardConfig {
        global_outstanding_limit: 2,
        ..ShardConfig::default()
    });
    let turn = CONNECTION_TURN as i32;
    let (one, two) = (rig.client(), rig.client());
    for xid in 1..=turn + 2 {
        rig.set(one, xid, "/a", b"x");
    }
    for xid in 101..=101 + turn {
        rig.set(two, xid, "/a", b"x");
    }
    let turn_of = |first: i32| (first..first + turn).collect::<Vec<_>>();
    assert_eq!(rig.forwarded(), [turn_of(1), turn_of(101)].concat());
    assert!(!rig.wants_read(one) && !rig.wants_read(two));
    let mut answer = |conn: ConnId, xids: std::ops::RangeInclusive<i32>| {
        let items = xids.map(|xid| rig.outcome(conn, xid, Outcome::Done));
        let items = items.collect();
        rig.publish(items);
        rig.forwarded()
    };
    // Not before the last of a turn is answered: else what was split once would stay so.
    assert_eq!(answer(one, 1..=turn - 1), [0; 0]);
    assert_eq!(answer(one, turn..=turn), [turn + 1, turn + 2]);
    assert_eq!(answer(two, 101..=100 + turn), [101 + turn]);
    assert!(rig.wants_read(one) && rig.wants_read(two));
}

#[test]
fn a_full_ring_holds_requests_back_in_order() {
    let mut rig = Rig::with(ShardConfig {
        global_outstanding_limit: usize::MAX,
        ..ShardConfig::default()
    });
    let conns: Vec<ConnId> = (0..10).map(|_| rig.client()).collect();
    for xid in 0..1000 {
        for &conn in &conns {
            rig.set(conn, xid, "/a", b"x");
        }
    }
    assert_eq!(rig.shard.outbox.len(), SHARD_RING_LEN);
    let mut ring = Vec::new();
    rig.shard.drain_to_sequencer(|message| {
        if ring.len() == 100 {
            return Err(message);
        }
        ring.push(message);
        Ok(())
    });
    assert_eq!(rig.shard.outbox.len(), SHARD_RING_LEN - 100);
    let mut seen = vec![0; conns.len()];
    let mut total = 0;
    loop {
        for message in std::mem::take(&mut ring).into_iter().chain(rig.messages()) {
            let ToSequencer::Request(request) = message else {
                panic!("not a request");
            };
            let at = conns.iter().position(|&conn| conn == request.origin.conn);
            let seen = &mut seen[at.expect("one of ours")];
            assert_eq!(request.xid, *seen);
            *seen += 1;
            total += 1;
        }
        if total == 10_000 {
            break;
        }
        rig.shard.tick(rig.now);
    }
}

#[test]
fn who_is_held_back_by_a_full_ring_is_heard_from() {
    let mut rig = Rig::with(ShardConfig {
        global_outstanding_limit: usize::MAX,
        ..ShardConfig::default()
    });
    let writers: Vec<ConnId> = (0..5).map(|_| rig.client()).collect();
    let (pinging, _silent) = (rig.client(), rig.client());
    let session = SessionId(rig.next_session - 1);
    rig.shard.heard(1);
    rig.messages();
    for xid in 0..1000 {
        for &conn in &writers {
            rig.set(conn, xid, "/a", b"x");
        }
    }
    assert_eq!(rig.shard.outbox.len(), SHARD_RING_LEN);
    rig.shard.heard(2);
    rig.request(pinging, -2, op::PING, &0i32);
    assert!(!rig.wants_read(pinging));
    let word = rig.open();
    rig.send(word, b"srvr");
    assert!(rig.shard.take_admin_query().is_some());
    // The ring takes no report either; what waits does not grow with each.
    for as_of_ms in 3..10 {
        rig.shard.heard(as_of_ms);
    }
    let reported = rig.shard.heard_report.clone();
    let (as_of_ms, sessions) = reported.expect("a report waits");
    assert_eq!((as_of_ms, sessions.len()), (9, writers.len() + 1));
    assert!(sessions.contains(&session));
    // Its ping is answered in the end, and from then on it has to speak for itself.
    rig.messages();
    rig.shard.tick(rig.now);
    assert_eq!(rig.xids(pinging), [-2]);
    rig.messages();
    rig.shard.heard(10);
    rig.messages();
    rig.shard.heard(11);
    let reported = rig.shard.heard_report.take();
    assert_eq!(reported, Some((11, vec![])));
}

/// A client that has asked for a node of a MiB so often that it is not read before it takes replies.
fn glutted(gets: i32) -> (Rig, ConnId) {
    let mut rig = Rig::new();
    let applied = set(&mut rig.tree, "/a", &vec![7; 1 << 20]);
    rig.change(applied);
    let conn = rig.client();
    for xid in 0..gets {
        rig.get(conn, xid, "/a", false);
    }
    assert!(!rig.wants_read(conn));
    (rig, conn)
}

/// Its pings lie unread too, but that is its own doing.
#[test]
fn who_does_not_take_replies_is_not_heard_from() {
    let (mut rig, _) = glutted(10);
    rig.shard.heard(1);
    rig.messages();
    rig.shard.heard(2);
    assert_eq!(rig.shard.heard_report.take(), Some((2, vec![])));
}

#[test]
fn replies_that_are_not_taken_stop_the_requests() {
    let (mut rig, conn) = glutted(100);
    let mut received = 0;
    loop {
        let mut out = Vec::new();
        rig.shard.take_output(conn, &mut out);
        assert!(out.len() < CONNECTION_SEND_SOFT_MAX + (2 << 20));
        received += parse(&out).len();
        if received == 100 {
            break;
        }
        // Nothing goes on before the bytes are with the kernel.
        rig.shard.tick(rig.now);
        assert!(!rig.shard.status(conn).has_output);
        rig.shard.sent(conn, out.len(), rig.now);
    }
}

/// Large reads that waited behind a write are not all served at once, and still see what they
/// should when the next write is answered first.
#[test]
fn waiting_reads_of_a_slow_client_keep_their_place() {
    let mut rig = Rig::new();
    let applied = set(&mut rig.tree, "/a", &vec![1; 1 << 20]);
    rig.change(applied);
    let conn = rig.client();
    rig.set(conn, 0, "/a", b"");
    for xid in 1..=10 {
        rig.get(conn, xid, "/a", false);
    }
    rig.set(conn, 11, "/a", b"");
    rig.get(conn, 12, "/a", false);
    let item = rig.applied_set(conn, 0, "/a", &vec![2; 1 << 20]);
    rig.publish(vec![item]);
    let mut out = Vec::new();
    rig.shard.take_output(conn, &mut out);
    assert_eq!(parse(&out).len(), 1 + 4);
    let item = rig.applied_set(conn, 11, "/a", b"small");
    rig.publish(vec![item]);
    rig.shard.sent(conn, out.len(), rig.now);
    let mut replies = rig.replies(conn);
    replies.extend(rig.replies(conn));
    let xids: Vec<i32> = replies.iter().map(|reply| reply.xid).collect();
    assert_eq!(xids, (5..=12).collect::<Vec<_>>());
    for reply in &replies[..6] {
        assert_eq!(data_of(reply).0[0], 2);
    }
    assert_eq!(data_of(&replies[7]).0, b"small");
}

#[test]
fn a_watcher_that_does_not_read_is_cut_off() {
    let mut rig = Rig::new();
    let conn = rig.client();
    let path = format!("/{}", "x".repeat(900_000));
    let applied = create(&mut rig.tree, &path, &[open_acl()]);
    rig.change(applied);
    let record = crate::jute::proto::AddWatchRequest {
        path: &path,
        mode: 0,
    };
    rig.request(conn, 1, op::ADD_WATCH, &record);
    for _ in 0..CONNECTION_SEND_HARD_MAX / 900_000 {
        assert_eq!(rig.close_of(conn), Close::No);
        let applied = set(&mut rig.tree, &path, b"x");
        rig.change(applied);
    }
    let applied = set(&mut rig.tree, &path, b"x");
    rig.change(applied);
    assert_eq!(rig.close_of(conn), Close::Now);
}

#[test]
fn a_connection_is_named_once_until_it_is_looked_at() {
    let mut rig = Rig::new();
    let conn = rig.client();
    let mut dirty = Vec::new();
    rig.shard.take_dirty(&mut dirty);
    assert_eq!(dirty, [conn]);
    dirty.clear();
    rig.get(conn, 1, "/a", false);
    rig.get(conn, 2, "/a", false);
    rig.shard.take_dirty(&mut dirty);
    assert_eq!(dirty, [conn]);
    dirty.clear();
    rig.shard.take_dirty(&mut dirty);
    assert_eq!(dirty, []);
}

#[test]
fn a_reply_too_large_to_send_is_an_error_of_its_request_alone() {
    const NAME_LEN: usize = 900_000;
    let mut rig = Rig::new();
    let conn = rig.client();
    for child in 0..=REPLY_MAX / NAME_LEN {
        let path = format!("/a/b/{child}{}", "x".repeat(NAME_LEN));
        let applied = create(&mut rig.tree, &path, &[open_acl()]);
        rig.change(applied);
    }
    let record = crate::jute::proto::GetChildrenRequest {
        path: "/a/b",
        watch: false,
    };
    rig.request(conn, 1, op::GET_CHILDREN, &record);
    rig.get(conn, 2, "/a", false);
    let replies = rig.replies(conn);
    assert_eq!(replies[0].err, ErrorCode::MarshallingError.code());
    assert_eq!((replies[0].body.len(), replies[1].err), (0, 0));
    assert_eq!(rig.close_of(conn), Close::No);
}

#[test]
fn a_node_as_large_as_a_request_may_be_can_be_read() {
    let jute_max_buffer_bytes = CONNECTION_SEND_HARD_MAX + 1;
    let mut rig = Rig::with(ShardConfig {
        jute_max_buffer_bytes,
        ..ShardConfig::default()
    });
    let conn = rig.client();
    let data = vec![1; jute_max_buffer_bytes - 100];
    let applied = set(&mut rig.tree, "/a", &data);
    rig.change(applied);
    rig.get(conn, 1, "/a", false);
    assert_eq!(rig.reply(conn).err, 0);
}

#[test]
fn a_panic_costs_the_connection_that_it_concerns() {
    let mut rig = Rig::new();
    let (lost, other) = (rig.client(), rig.client());
    rig.set(lost, 1, "/a", b"1");
    rig.get(lost, 2, "/a", false);
    assert_eq!(rig.forwarded(), [1]);
    rig.shard
        .serve_guarded(lost, |_| panic!("a bug, as far as this test goes"));
    assert_eq!(rig.close_of(lost), Close::Now);
    // The answer that it was owed comes, and finds nobody.
    let item = rig.applied_set(lost, 1, "/a", b"1");
    rig.publish(vec![item]);
    assert!(rig.output(lost).is_empty());
    rig.shard.closed(lost);
    rig.get(other, 1, "/a", false);
    assert_eq!(data_of(&rig.reply(other)).0, b"1");
}

//! How connections come and go.

use super::*;

#[test]
fn a_new_session() {
    let mut rig = Rig::new();
    let conn = rig.open();
    assert!(rig.wants_read(conn));
    rig.send_frame(conn, &connect_request(0, 0));
    match &rig.messages()[..] {
        [ToSequencer::OpenSession { origin, timeout_ms }] => {
            assert_eq!((origin.conn, *timeout_ms), (conn, 10_000));
        }
        other => panic!("{other:?}"),
    }
    assert!(!rig.wants_read(conn));
    let session = rig.attach(conn);
    assert!(rig.wants_read(conn));
    let mut expected = vec![0, 0, 0, 37, 0, 0, 0, 0];
    expected.extend(10_000i32.to_be_bytes());
    expected.extend(session.0.to_be_bytes());
    expected.extend([0, 0, 0, 16]);
    expected.extend(PASSWORD);
    expected.push(0);
    assert_eq!(rig.output(conn), expected);
}

#[test]
fn a_client_that_omits_the_read_only_byte_gets_none() {
    let mut rig = Rig::new();
    let conn = rig.open();
    let mut old = connect_request(0, 0);
    old.pop();
    rig.send_frame(conn, &old);
    rig.attach(conn);
    let answer = rig.output(conn);
    assert_eq!(answer.len(), 4 + 36);
    assert_eq!(answer[..4], [0, 0, 0, 36]);
}

#[test]
fn timeouts_are_negotiated() {
    for (asked, given) in [(0, 6_000), (-5, 6_000), (7_777, 7_777), (90_000, 60_000)] {
        let mut rig = Rig::new();
        let conn = rig.open();
        let mut request = connect_request(0, 0);
        request[12..16].copy_from_slice(&i32::to_be_bytes(asked));
        rig.send_frame(conn, &request);
        match &rig.messages()[..] {
            [ToSequencer::OpenSession { timeout_ms, .. }] => assert_eq!(*timeout_ms, given),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_session_that_goes_on() {
    let mut rig = Rig::new();
    let conn = rig.open();
    rig.send_frame(conn, &connect_request(0x77, 0));
    match &rig.messages()[..] {
        [
            ToSequencer::ReattachSession {
                session, password, ..
            },
        ] => {
            assert_eq!((*session, &password[..]), (SessionId(0x77), &PASSWORD[..]));
        }
        other => panic!("{other:?}"),
    }
    rig.publish(vec![rig.answer(conn, Answer::SessionRefused)]);
    let mut expected = vec![0, 0, 0, 37];
    expected.extend([0; 4 + 4 + 8]);
    expected.extend([0, 0, 0, 16]);
    expected.extend([0; 17]);
    assert_eq!(rig.close_of(conn), Close::AfterFlush);
    assert_eq!(rig.output(conn), expected);
}

#[test]
fn a_client_that_has_seen_more_than_we_have_is_refused() {
    let mut rig = Rig::new();
    let tip = rig.tree.tip_zxid().0;
    let conn = rig.open();
    rig.send_frame(conn, &connect_request(0, tip));
    assert_eq!(rig.close_of(conn), Close::No);
    let conn = rig.open();
    rig.send_frame(conn, &connect_request(0, tip + 1));
    assert_eq!(rig.close_of(conn), Close::Now);
    // What another shard has shown is not from the future, although this view is older.
    rig.shared.publish(Zxid(tip + 1));
    let conn = rig.open();
    rig.send_frame(conn, &connect_request(0, tip + 1));
    assert_eq!(rig.close_of(conn), Close::No);
}

#[test]
fn without_a_leader_only_those_are_served_who_make_do_with_reading() {
    let mut rig = Rig::new();
    let (view, seen) = (rig.tree.view(rig.tree.tip_zxid()), rig.tree.tip_zxid());
    rig.shard.begin(view, seen, true, rig.now);
    let conn = rig.open();
    rig.send_frame(conn, &connect_request(0, 0));
    assert_eq!(rig.close_of(conn), Close::Now);
    let mut old = connect_request(0, 0);
    old.pop();
    let conn = rig.open();
    rig.send_frame(conn, &old);
    assert_eq!(rig.close_of(conn), Close::Now);
    let mut reader = connect_request(0, 0);
    *reader.last_mut().expect("the read-only byte") = 1;
    let conn = rig.open();
    rig.send_frame(conn, &reader);
    rig.attach(conn);
    assert_eq!(rig.output(conn).last(), Some(&1));
}

#[test]
fn bytes_may_come_one_by_one_or_all_together() {
    let mut stream = framed(&connect_request(0, 0));
    let path = "/a";
    let watch = false;
    for xid in 1..=3 {
        let record = GetDataRequest { path, watch };
        stream.extend(framed(&request(xid, op::GET_DATA, &record)));
    }
    for size in [1, 3, 7, stream.len()] {
        let mut rig = Rig::new();
        let conn = rig.open();
        for chunk in stream.chunks(size) {
            rig.send(conn, chunk);
        }
        assert!(rig.output(conn).is_empty());
        rig.attach(conn);
        let output = rig.output(conn);
        assert_eq!(
            parse(&output[41..])
                .iter()
                .map(|reply| reply.xid)
                .collect::<Vec<_>>(),
            [1, 2, 3],
            "in pieces of {size}"
        );
    }
}

/// Each closes its own connection, at once, and nothing else.
#[test]
fn malformed_input_closes() {
    let max = ShardConfig::default().jute_max_buffer_bytes as u32;
    let fresh: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01],
        &[0xff; 4],
        &[0xff, 0xf4, 0xff, 0xfd],
        &(max + 1).to_be_bytes(),
        &[0; 4],
        &framed(&connect_request(0, 0)[..20]),
        &framed(&[[0; 24], [0x7f; 24]].concat()),
    ];
    for bytes in fresh {
        let mut rig = Rig::with(ShardConfig {
            four_letter_whitelist: vec!["*".into()],
            ..ShardConfig::default()
        });
        let bystander = rig.client();
        let conn = rig.open();
        rig.send(conn, bytes);
        assert_eq!(rig.close_of(conn), Close::Now, "{bytes:?}");
        rig.shard.closed(conn);
        rig.get(bystander, 1, "/a", false);
        assert_eq!(rig.reply(bystander).xid, 1);
    }
    let open: &[&[u8]] = &[
        &[0xff; 4],
        &(max + 1).to_be_bytes(),
        &[0; 4],
        &framed(&[0; 7]),
        &framed(&request(-4, op::AUTH, &0i32)),
        b"ruok",
    ];
    for bytes in open {
        let mut rig = Rig::new();
        let conn = rig.client();
        rig.send(conn, bytes);
        assert_eq!(rig.close_of(conn), Close::Now, "{bytes:?}");
        rig.send(conn, &[1, 2, 3]);
        rig.shard.closed(conn);
        rig.send(conn, &[1, 2, 3]);
        assert_eq!(rig.close_of(conn), Close::Now);
    }
}

#[test]
fn a_request_of_the_largest_size_is_taken() {
    let mut rig = Rig::new();
    let conn = rig.client();
    let max = ShardConfig::default().jute_max_buffer_bytes;
    let mut body = request(1, op::SET_DATA, &"/a");
    body.resize(max, 0);
    rig.send_frame(conn, &body);
    assert_eq!(rig.forwarded(), [1]);
    assert_eq!(rig.close_of(conn), Close::No);
}

#[test]
fn unknown_operations_are_answered_and_close() {
    for kind in [op::NOTIFICATION, op::CHECK, op::CREATE_SESSION, 42, -1, 999] {
        let mut rig = Rig::new();
        let conn = rig.client();
        rig.request(conn, 9, kind, &0i64);
        let reply = rig.reply(conn);
        assert_eq!(
            (reply.xid, reply.zxid, reply.err),
            (9, -1, ErrorCode::Unimplemented.code())
        );
        assert_eq!(rig.close_of(conn), Close::AfterFlush);
        assert_eq!(rig.messages().len(), 0);
    }
}

#[test]
fn auth_packets() {
    let packet = |scheme, auth| AuthPacket {
        kind: 0,
        scheme,
        auth,
    };
    let mut rig = Rig::new();
    let conn = rig.client();
    // Answered at once, even behind a write.
    rig.set(conn, 1, "/a", b"x");
    rig.request(conn, -4, op::AUTH, &packet("digest", Some(b"bob:pw")));
    let reply = rig.reply(conn);
    assert_eq!((reply.xid, reply.zxid, reply.err), (-4, 0, 0));
    assert_eq!(rig.close_of(conn), Close::No);
    rig.set(conn, 2, "/a", b"x");
    let identities: Vec<usize> = rig
        .messages()
        .into_iter()
        .map(|message| match message {
            ToSequencer::Request(request) => request.identities.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(identities, [1, 2]);
    rig.request(conn, -4, op::AUTH, &packet("kerberos", Some(b"bob")));
    let reply = rig.reply(conn);
    assert_eq!(
        (reply.xid, reply.zxid, reply.err),
        (-4, 0, ErrorCode::AuthFailed.code())
    );
    assert_eq!(rig.close_of(conn), Close::AfterFlush);
}

#[test]
fn sasl_is_not_enabled() {
    let mut rig = Rig::new();
    let conn = rig.client();
    rig.request(conn, 5, op::SASL, &Some(&b""[..]));
    let reply = rig.reply(conn);
    assert_eq!((reply.xid, reply.zxid, reply.err), (5, 0, 0));
    assert_eq!(reply.body, [0xff; 4]);
}

#[test]
fn closing_a_session() {
    let mut rig = Rig::new();
    let conn = rig.client();
    rig.send_frame(conn, &request(7, op::CLOSE_SESSION, &MULTI_NOTHING));
    rig.get(conn, 8, "/a", false);
    assert_eq!(rig.forwarded(), [7]);
    rig.publish(vec![rig.outcome(conn, 7, Outcome::Done)]);
    let reply = rig.reply(conn);
    assert_eq!((reply.xid, reply.err, reply.body), (7, 0, vec![]));
    assert_eq!(rig.close_of(conn), Close::AfterFlush);
}

/// A record of nothing.
const MULTI_NOTHING: Nothing = Nothing;

struct Nothing;

impl Record<'_> for Nothing {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut Decoder<'_>) -> Result<Nothing, crate::jute::JuteError> {
        Ok(Nothing)
    }
}

#[test]
fn a_session_that_is_gone_takes_its_connection_along() {
    let mut rig = Rig::new();
    let conn = rig.client();
    let session = SessionId(rig.next_session);
    let detached = |session| Answer::Detached {
        session,
        reason: ErrorCode::SessionExpired,
    };
    rig.publish(vec![rig.answer(conn, detached(SessionId(1)))]);
    assert_eq!(rig.close_of(conn), Close::No);
    rig.publish(vec![rig.answer(conn, detached(session))]);
    assert_eq!(rig.close_of(conn), Close::Now);
}

#[test]
fn a_moved_session_gets_no_answer() {
    for outcome in [
        Outcome::Failed(ErrorCode::SessionMoved),
        Outcome::MultiFailed(vec![ErrorCode::SessionMoved, ErrorCode::Ok]),
    ] {
        let mut rig = Rig::new();
        let conn = rig.client();
        rig.set(conn, 1, "/a", b"x");
        rig.publish(vec![rig.outcome(conn, 1, outcome)]);
        assert!(rig.output(conn).is_empty());
        assert_eq!(rig.close_of(conn), Close::AfterFlush);
    }
}

#[test]
fn a_connection_must_say_what_it_is() {
    let mut rig = Rig::new();
    let silent = rig.open();
    let client = rig.client();
    let waiting = rig.open();
    rig.send_frame(waiting, &connect_request(0, 0));
    rig.advance_ms(9_999);
    rig.shard.tick(rig.now);
    assert_eq!(rig.close_of(silent), Close::No);
    rig.advance_ms(1);
    rig.shard.tick(rig.now);
    assert_eq!(rig.close_of(silent), Close::Now);
    assert_eq!(rig.close_of(client), Close::No);
    assert_eq!(rig.close_of(waiting), Close::No);
}

/// As when a client was lost without a FIN and came back at another member.
#[test]
fn a_silent_connection_is_closed() {
    let mut rig = Rig::new();
    let (silent, pinging, writing) = (rig.client(), rig.client(), rig.client());
    rig.set(writing, 1, "/a", b"x");
    for _ in 0..3 {
        rig.advance_ms(5_000);
        rig.request(pinging, -2, op::PING, &0i32);
        rig.shard.heard(rig.now.ms());
        rig.shard.tick(rig.now);
        assert_eq!(rig.close_of(silent), Close::No);
    }
    rig.advance_ms(6_000);
    // What the sockets hold is not known yet: the server may have been stopped.
    rig.shard.tick(rig.now);
    assert_eq!(rig.close_of(silent), Close::No);
    rig.shard.heard(rig.now.ms());
    rig.shard.tick(rig.now);
    assert_eq!(rig.close_of(silent), Close::Now);
    assert_eq!(rig.close_of(pinging), Close::No);
    assert_eq!(rig.close_of(writing), Close::No);
}

/// One tick looks at a part of them only.
#[test]
fn silent_connections_are_closed_however_many_there_are() {
    let mut rig = Rig::with(ShardConfig {
        max_client_cnxns: 0,
        ..ShardConfig::default()
    });
    let conns: Vec<ConnId> = (0..SILENT_SLICE + 1).map(|_| rig.client()).collect();
    rig.advance_ms(21_000);
    rig.shard.heard(rig.now.ms());
    rig.shard.tick(rig.now);
    assert_eq!(rig.close_of(conns[SILENT_SLICE - 1]), Close::Now);
    assert_eq!(rig.close_of(conns[SILENT_SLICE]), Close::No);
    rig.shard.tick(rig.now);
    assert_eq!(rig.close_of(conns[SILENT_SLICE]), Close::Now);
    assert_eq!(rig.shard.silent_from, 0);
}

#[test]
fn the_end_of_input_closes_once_all_is_taken_in() {
    let mut rig = Rig::new();
    let conn = rig.client();
    rig.shard.end_of_input(conn, rig.now);
    assert_eq!(rig.close_of(conn), Close::Now);
    // What was sent behind the connect request still counts.
    let conn = rig.open();
    rig.send_frame(conn, &connect_request(0, 0));
    rig.set(conn, 1, "/a", b"x");
    rig.shard.end_of_input(conn, rig.now);
    assert_eq!(rig.close_of(conn), Close::No);
    rig.messages();
    rig.attach(conn);
    assert_eq!(rig.forwarded(), [1]);
    assert_eq!(rig.close_of(conn), Close::Now);
}

#[test]
fn sessions_heard_from_are_reported_once_each() {
    let mut rig = Rig::new();
    let (one, two) = (rig.client(), rig.client());
    let sessions = |rig: &mut Rig| match rig.messages().remove(0) {
        ToSequencer::Heard {
            as_of_ms, sessions, ..
        } => (as_of_ms, sessions.len()),
        other => panic!("{other:?}"),
    };
    rig.shard.heard(5);
    assert_eq!(sessions(&mut rig), (5, 2));
    rig.get(one, 1, "/a", false);
    rig.get(one, 2, "/a", false);
    rig.shard.heard(6);
    rig.get(two, 1, "/a", false);
    rig.shard.closed(two);
    rig.shard.heard(7);
    assert_eq!(sessions(&mut rig), (7, 2));
    rig.shard.heard(8);
    assert_eq!(sessions(&mut rig), (8, 0));
}

#[test]
fn a_peer_that_does_not_take_the_last_words_is_cut_off() {
    let mut rig = Rig::new();
    let conn = rig.client();
    rig.request(conn, 9, 42, &0i64);
    assert_eq!(rig.close_of(conn), Close::AfterFlush);
    rig.advance_ms(LINGER_MS);
    rig.shard.tick(rig.now);
    assert_eq!(rig.close_of(conn), Close::Now);
}

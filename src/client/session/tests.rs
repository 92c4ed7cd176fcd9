//! A session against a server played by hand, in virtual time.

use std::sync::mpsc::{Receiver, channel};

use super::super::watches::{AddWatchMode, Registers, WatcherType};
use super::*;
use crate::jute::proto::{ConnectResponse, SetWatches2};

const TIMEOUT_MS: i32 = 30_000;

fn new_session() -> Session {
    Session::new(
        SessionConfig {
            timeout_ms: TIMEOUT_MS,
            can_be_read_only: false,
            chroot: None,
            servers: 3,
            disable_watch_reset: false,
            default_watcher: Some(Watcher::new(|_| {})),
        },
        0,
    )
}

fn frame(record: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_frame(&mut out, |out| out.extend_from_slice(record));
    out
}

fn accepted(timeout_ms: i32) -> Vec<u8> {
    let response = ConnectResponse {
        protocol_version: 0,
        timeout_ms,
        session_id: 0x1234,
        passwd: Some(b"0123456789abcdef"),
        read_only: false,
    };
    frame(&response.to_vec())
}

fn reply(xid: i32, err: i32, body: &[u8]) -> Vec<u8> {
    let mut record = ReplyHeader { xid, zxid: 77, err }.to_vec();
    record.extend_from_slice(body);
    frame(&record)
}

fn notification(kind: EventKind, path: &str) -> Vec<u8> {
    let event = WatcherEvent {
        kind: kind as i32,
        state: KeeperState::SyncConnected as i32,
        path,
    };
    reply(op::XID_NOTIFICATION, 0, &event.to_vec())
}

fn connect(session: &mut Session, now_ms: u64) {
    session.handle_connecting(now_ms);
    session.handle_connected(now_ms);
    session
        .handle_bytes(&accepted(TIMEOUT_MS), now_ms)
        .expect("accepted");
}

fn submit(session: &mut Session, kind: i32, watch: Option<(&str, WatchChange)>) -> Receiver<Reply> {
    let (done, replies) = channel();
    session.submit(Request {
        kind,
        body: vec![1, 2, 3],
        watch: watch.map(|(path, change)| (path.to_owned(), change)),
        // A test that only wants the watch does not listen.
        done: Box::new(move |reply| drop(done.send(reply))),
    });
    replies
}

fn watch(registers: Registers) -> WatchChange {
    WatchChange::Register(Registration {
        watcher: Watcher::new(|_| {}),
        registers,
    })
}

/// The frames that were sent, without their lengths.
fn sent(session: &mut Session, now_ms: u64) -> Vec<Vec<u8>> {
    let output = session.take_output(now_ms).unwrap_or_default();
    let mut rest = output.as_slice();
    let mut frames = Vec::new();
    while let Some(frame) = split_frame(&mut rest).expect("lengths are right") {
        frames.push(frame.to_vec());
    }
    assert!(rest.is_empty(), "frames are whole");
    frames
}

fn header(frame: &[u8]) -> (i32, i32) {
    let header = RequestHeader::from_slice(frame).expect("a header");
    (header.xid, header.kind)
}

fn states(session: &mut Session) -> Vec<KeeperState> {
    std::iter::from_fn(|| session.poll_event())
        .map(|delivery| delivery.event.state)
        .collect()
}

#[test]
fn requests_wait_for_the_session_and_are_answered_in_order() {
    let mut session = new_session();
    let early = submit(&mut session, op::EXISTS, None);
    session.add_auth("digest", Some(b"u:p"));
    session.handle_connecting(0);
    session.handle_connected(0);
    let frames = sent(&mut session, 0);
    assert_eq!(frames.len(), 1, "nothing but the connect request");
    let request = ConnectRequest::from_slice(&frames[0]).expect("connect request");
    assert_eq!((request.session_id, request.timeout_ms), (0, TIMEOUT_MS));

    session
        .handle_bytes(&accepted(12_000), 5)
        .expect("accepted");
    assert_eq!(session.state(), State::Connected);
    assert_eq!(session.timeout_ms(), 12_000);
    assert_eq!(session.id(), SessionId(0x1234));
    assert_eq!(states(&mut session), [KeeperState::SyncConnected]);
    let late = submit(&mut session, op::GET_DATA, None);
    let headers: Vec<_> = sent(&mut session, 5).iter().map(|f| header(f)).collect();
    assert_eq!(
        headers,
        [(op::XID_AUTH, op::AUTH), (1, op::EXISTS), (2, op::GET_DATA)]
    );

    // Replies may come in any pieces.
    let mut bytes = reply(1, -101, b"ignored");
    bytes.extend(reply(2, 0, b"body"));
    for byte in bytes {
        session.handle_bytes(&[byte], 6).expect("good replies");
    }
    let first = early.try_recv().expect("answered");
    assert_eq!((first.err, first.body), (-101, vec![]));
    let second = late.try_recv().expect("answered");
    assert_eq!((second.err, second.body), (0, b"body".to_vec()));
    assert_eq!(session.last_zxid(), 77);
}

#[test]
fn replies_out_of_order_and_bad_frames_end_the_connection() {
    for (bytes, error) in [
        (
            reply(9, 0, b""),
            SessionError::Xid {
                got: 9,
                want: Some(1),
            },
        ),
        (vec![0xff; 4], SessionError::FrameLength(-1)),
        (
            (FRAME_BYTES_MAX as i32 + 1).to_be_bytes().to_vec(),
            SessionError::FrameLength(FRAME_BYTES_MAX as i32 + 1),
        ),
        (
            frame(&[0; 3]),
            SessionError::Malformed(JuteError::Truncated { want: 4, have: 3 }),
        ),
    ] {
        let mut session = new_session();
        connect(&mut session, 0);
        let waiting = submit(&mut session, op::EXISTS, None);
        assert_eq!(session.handle_bytes(&bytes, 1), Err(error));
        session.handle_disconnected();
        let lost = waiting.try_recv().expect("failed");
        assert_eq!(lost.err, ErrorCode::ConnectionLoss.code());
    }
}

#[test]
fn pings_keep_the_connection_and_silence_ends_it() {
    let mut session = new_session();
    connect(&mut session, 0);
    sent(&mut session, 0);
    let due_ms = session.deadline_ms().expect("a deadline");
    assert_eq!(due_ms, 9_000, "half of two thirds, a second early");
    session.handle_timeout(due_ms).expect("in time");
    let frames = sent(&mut session, due_ms);
    assert_eq!(header(&frames[0]), (op::XID_PING, op::PING));
    session
        .handle_bytes(&reply(op::XID_PING, 0, b""), due_ms)
        .expect("the answer");
    assert_eq!(session.deadline_ms(), Some(18_000));

    let silent_ms = due_ms + 20_000;
    session.handle_timeout(silent_ms - 1).expect("in time");
    assert_eq!(
        session.handle_timeout(silent_ms),
        Err(SessionError::ConnectionTimedOut(20_000))
    );
    session.handle_disconnected();
    assert_eq!(
        states(&mut session),
        [KeeperState::SyncConnected, KeeperState::Disconnected]
    );

    // No other server is found: the session is given up after four thirds of its timeout.
    session.handle_connecting(silent_ms);
    session.handle_timeout(silent_ms + 9_999).expect("in time");
    assert!(session.handle_timeout(silent_ms + 10_000).is_err());
    session.handle_disconnected();
    let lost_ms = due_ms + 40_000;
    assert_eq!(session.deadline_ms(), Some(lost_ms));
    assert_eq!(
        session.handle_timeout(lost_ms),
        Err(SessionError::SessionTimedOut(40_000))
    );
    session.handle_disconnected();
    assert_eq!(session.state(), State::Closed);
    assert_eq!(states(&mut session), [KeeperState::Expired]);
    assert!(session.is_over());
    let refused = submit(&mut session, op::EXISTS, None);
    let refused = refused.try_recv().expect("refused at once");
    assert_eq!(refused.err, ErrorCode::SessionExpired.code());
}

#[test]
fn a_reconnect_takes_session_auth_and_watches_along() {
    let mut session = new_session();
    session.add_auth("digest", Some(b"u:p"));
    connect(&mut session, 0);
    for (path, registers, err) in [
        ("/data", Registers::Data, 0),
        ("/gone", Registers::Exists, -101),
        (
            "/tree",
            Registers::Add(AddWatchMode::PersistentRecursive),
            0,
        ),
    ] {
        submit(&mut session, op::EXISTS, Some((path, watch(registers))));
        let frames = sent(&mut session, 0);
        let (xid, _) = header(frames.last().expect("sent"));
        let _ = session.handle_bytes(&reply(xid, err, b""), 0);
    }
    session.handle_disconnected();
    session.handle_connecting(10);
    session.handle_connected(10);
    let frames = sent(&mut session, 10);
    let request = ConnectRequest::from_slice(&frames[0]).expect("connect request");
    assert_eq!(request.session_id, 0x1234);
    assert_eq!(request.passwd, Some(b"0123456789abcdef".as_slice()));
    assert_eq!(request.last_zxid_seen, 77);
    session
        .handle_bytes(&accepted(TIMEOUT_MS), 11)
        .expect("accepted");
    let frames = sent(&mut session, 11);
    assert_eq!(header(&frames[0]), (op::XID_AUTH, op::AUTH));
    assert_eq!(header(&frames[1]), (op::XID_SET_WATCHES, op::SET_WATCHES2));
    let record = SetWatches2::from_slice(&frames[1][8..]).expect("set watches");
    assert_eq!(record.relative_zxid, 77);
    assert_eq!(record.data_watches, ["/data"]);
    assert_eq!(record.exist_watches, ["/gone"]);
    assert_eq!(record.persistent_recursive_watches, ["/tree"]);
}

#[test]
fn a_server_that_forgot_the_session_expires_it() {
    let mut session = new_session();
    connect(&mut session, 0);
    session.handle_disconnected();
    session.handle_connecting(1);
    session.handle_connected(1);
    let waiting = submit(&mut session, op::EXISTS, None);
    assert_eq!(
        session.handle_bytes(&accepted(0), 2),
        Err(SessionError::Expired(SessionId(0x1234)))
    );
    session.handle_disconnected();
    let lost = waiting.try_recv().expect("failed");
    assert_eq!(lost.err, ErrorCode::SessionExpired.code());
    assert_eq!(
        states(&mut session),
        [
            KeeperState::SyncConnected,
            KeeperState::Disconnected,
            KeeperState::Expired
        ]
    );
}

#[test]
fn a_refused_identity_is_final() {
    let mut session = new_session();
    connect(&mut session, 0);
    let waiting = submit(&mut session, op::EXISTS, None);
    let refusal = reply(op::XID_AUTH, ErrorCode::AuthFailed.code(), b"");
    assert_eq!(
        session.handle_bytes(&refusal, 1),
        Err(SessionError::AuthFailed)
    );
    session.handle_disconnected();
    assert_eq!(session.state(), State::AuthFailed);
    let lost = waiting.try_recv().expect("failed");
    assert_eq!(lost.err, ErrorCode::AuthFailed.code());
    assert_eq!(
        states(&mut session),
        [KeeperState::SyncConnected, KeeperState::AuthFailed]
    );
}

#[test]
fn closing_is_told_once_and_final() {
    let mut session = new_session();
    connect(&mut session, 0);
    let closed = submit(&mut session, op::CLOSE_SESSION, None);
    assert!(!session.is_over(), "the server has still to answer");
    let after = submit(&mut session, op::EXISTS, None);
    assert!(after.try_recv().expect("refused at once").err != 0);
    session.handle_bytes(&reply(1, 0, b""), 1).expect("closed");
    assert_eq!(closed.try_recv().expect("answered").err, 0);
    assert!(session.is_over());
    session.handle_disconnected();
    assert_eq!(
        states(&mut session),
        [KeeperState::SyncConnected, KeeperState::Closed]
    );
}

#[test]
fn closing_without_a_server_does_not_wait_for_one() {
    let mut session = new_session();
    session.handle_connecting(0);
    let closed = submit(&mut session, op::CLOSE_SESSION, None);
    assert!(session.is_over());
    session.handle_disconnected();
    let lost = closed.try_recv().expect("failed");
    assert_eq!(lost.err, ErrorCode::ConnectionLoss.code());
    assert_eq!(session.state(), State::Closed);
}

#[test]
fn events_reach_their_watchers_below_the_chroot() {
    let mut session = new_session();
    session.config.chroot = Some("/root".into());
    assert_eq!(session.server_path("/"), "/root");
    assert_eq!(session.server_path("/a"), "/root/a");
    connect(&mut session, 0);
    submit(
        &mut session,
        op::GET_DATA,
        Some(("/a", watch(Registers::Data))),
    );
    session.handle_bytes(&reply(1, 0, b""), 0).expect("reply");
    let event = notification(EventKind::NodeDataChanged, "/root/a");
    session.handle_bytes(&event, 0).expect("event");
    session.handle_bytes(&event, 0).expect("nobody watches now");
    let events: Vec<String> = std::iter::from_fn(|| session.poll_event())
        .map(|delivery| delivery.event.to_string())
        .collect();
    assert_eq!(
        events,
        [
            "WatchedEvent state:SyncConnected type:None path:null zxid: -1",
            "WatchedEvent state:SyncConnected type:NodeDataChanged path:/a zxid: 77",
        ]
    );
    assert_eq!(client_path(Some("/root"), "/root"), "/");
    assert_eq!(client_path(Some("/root"), "/rooted"), "/rooted");
    assert_eq!(
        client_path(Some("/root"), "/zookeeper/config"),
        "/zookeeper/config"
    );
}

#[test]
fn removal_is_told_and_needs_a_watch() {
    let mut session = new_session();
    connect(&mut session, 0);
    let change = |local| {
        WatchChange::Deregister(Deregistration {
            watcher: None,
            of: WatcherType::Any,
            local,
        })
    };
    let removed = submit(&mut session, op::REMOVE_WATCHES, Some(("/a", change(true))));
    session.handle_bytes(&reply(1, 0, b""), 0).expect("reply");
    let code = removed.try_recv().expect("answered").err;
    assert_eq!(code, ErrorCode::NoWatcher.code());

    submit(
        &mut session,
        op::GET_DATA,
        Some(("/a", watch(Registers::Data))),
    );
    session.handle_bytes(&reply(2, 0, b""), 0).expect("reply");
    while session.poll_event().is_some() {}
    let refused = submit(
        &mut session,
        op::REMOVE_WATCHES,
        Some(("/a", change(false))),
    );
    session
        .handle_bytes(&reply(3, -102, b""), 0)
        .expect("reply");
    assert_eq!(refused.try_recv().expect("answered").err, -102);
    assert_eq!(session.poll_event(), None);

    // Removed here although the server could not be asked.
    let removed = submit(&mut session, op::REMOVE_WATCHES, Some(("/a", change(true))));
    session.handle_disconnected();
    assert_eq!(removed.try_recv().expect("answered").err, 0);
    let event = session.poll_event().expect("told").event;
    assert_eq!(
        event.to_string(),
        "WatchedEvent state:Disconnected type:DataWatchRemoved path:/a zxid: -1"
    );
}

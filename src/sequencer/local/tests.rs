//! Local sessions where this server leads, where it follows, and without a leader.

use std::sync::Arc;

use super::*;
use crate::exchange::{Batch, ConnId, Request};
use crate::jute::Record;
use crate::jute::proto::{CreateRequest, SetDataRequest, SyncRequest};
use crate::jute::txn::{CreateTxn, ErrorTxn, Txn, TxnHeader, encode_txn};
use crate::sequencer::{self, SnapshotPolicy, ToLeader};
use crate::types::{LinkId, Zxid};
use crate::zab::Rejection;
use crate::zab::leader::Forwarded;

const EPHEMERAL: i32 = 1;
const TIMEOUT_MS: i32 = 4000;

/// Zxids and payloads that were logged.
#[derive(Default)]
struct Logged(Vec<Zxid>);

impl Log for Logged {
    fn has_room(&mut self, _: usize) -> bool {
        true
    }

    fn append(&mut self, zxid: Zxid, _: &[u8]) {
        self.0.push(zxid);
    }
}

fn origin(conn: u64) -> Origin {
    Origin {
        shard: ShardId(0),
        conn: ConnId(conn),
    }
}

struct World {
    sequencer: Sequencer,
    log: Logged,
    now: Now,
}

impl World {
    fn new(policy: LocalSessions) -> World {
        let mut sequencer = sequencer::tests::new(7, SnapshotPolicy::new(Some(1000), None, 1));
        sequencer.set_local_sessions(policy);
        World {
            sequencer,
            log: Logged::default(),
            now: Now::default(),
        }
    }

    fn handle(&mut self, message: ToSequencer) {
        self.sequencer.handle(message, self.now, &mut self.log);
    }

    /// What is published when everything is committed.
    fn answers(&mut self) -> Vec<(Origin, Answer)> {
        let tip = self.sequencer.tree().tip_zxid();
        if !self.sequencer.is_read_only {
            self.sequencer.commit(tip);
        }
        let batches = std::iter::from_fn(|| self.sequencer.poll_publish());
        let items = batches.flat_map(|batch: Batch| batch.items);
        items.filter_map(|item| item.answer).collect()
    }

    fn open(&mut self, conn: u64) -> SessionId {
        self.handle(ToSequencer::OpenSession {
            origin: origin(conn),
            timeout_ms: TIMEOUT_MS,
        });
        match &self.answers()[..] {
            [(_, Answer::Attached { session, .. })] => *session,
            other => panic!("{other:?}"),
        }
    }

    fn ask<'a>(
        &mut self,
        session: SessionId,
        conn: u64,
        xid: i32,
        op: i32,
        record: &impl Record<'a>,
    ) {
        self.handle(ToSequencer::Request(Request {
            origin: origin(conn),
            session,
            xid,
            op,
            body: record.to_vec().into(),
            identities: Arc::new([]),
            received_us: 0,
        }));
    }

    fn create(&mut self, session: SessionId, xid: i32, path: &str, flags: i32) {
        self.ask(session, 1, xid, op::CREATE, &create_request(path, flags));
    }

    /// A transaction of the leader's comes in.
    fn leader_says(&mut self, session: SessionId, cxid: i32, txn: &Txn<'_>) {
        let tip = self.sequencer.tree().tip_zxid();
        let header = TxnHeader {
            client_id: session.0,
            cxid,
            zxid: tip.0 + 1,
            time: 1,
            kind: txn.kind(),
        };
        let mut payload = Vec::new();
        encode_txn(&header, txn, None, &mut payload);
        let applied = self
            .sequencer
            .apply(&payload, self.now, &mut self.log)
            .map(drop);
        applied.expect("it follows the tip");
    }

    fn forwarded(&mut self) -> Vec<(i32, i32)> {
        std::iter::from_fn(|| self.sequencer.poll_leader())
            .map(|message| match message {
                ToLeader::Request(request) => (request.op, request.cxid),
                ToLeader::Revalidate(..) => (0, 0),
            })
            .collect()
    }
}

/// The request that closes a session is empty.
struct Nothing;

impl<'a> Record<'a> for Nothing {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut crate::jute::Decoder<'a>) -> Result<Nothing, crate::jute::JuteError> {
        Ok(Nothing)
    }
}

fn create_request(path: &str, flags: i32) -> CreateRequest<'_> {
    CreateRequest {
        path,
        data: None,
        acl: vec![crate::tree::open_acl()],
        flags,
    }
}

/// The numbers of the requests that were answered, with their errors.
fn replies(answers: &[(Origin, Answer)]) -> Vec<(i32, ErrorCode)> {
    let reply = |answer: &Answer| match answer {
        Answer::Reply { xid, outcome, .. } => match outcome {
            Outcome::Failed(code) => (*xid, *code),
            _ => (*xid, ErrorCode::Ok),
        },
        other => panic!("{other:?}"),
    };
    answers.iter().map(|(_, answer)| reply(answer)).collect()
}

#[test]
fn a_leaders_local_session_costs_no_transaction_and_owns_nothing() {
    let mut world = World::new(LocalSessions::Enabled);
    let session = world.open(1);
    assert_eq!(session.0 >> 56, 7);
    assert!(world.log.0.is_empty() && world.sequencer.sessions().is_empty());
    world.create(session, 1, "/a", 0);
    world.create(session, 2, "/a/e", EPHEMERAL);
    world.ask(session, 1, 3, op::CLOSE_SESSION, &Nothing);
    world.create(session, 4, "/b", 0);
    assert_eq!(
        replies(&world.answers()),
        [
            (1, ErrorCode::Ok),
            (2, ErrorCode::EphemeralOnLocalSession),
            (3, ErrorCode::Ok),
            (4, ErrorCode::UnknownSession)
        ]
    );
    assert_eq!(world.log.0, [Zxid(1)]);
}

#[test]
fn a_local_session_moves_between_connections_and_expires() {
    let mut world = World::new(LocalSessions::Enabled);
    let session = world.open(1);
    world.handle(ToSequencer::ReattachSession {
        origin: origin(2),
        session,
        password: crate::session::session_password(session).to_vec(),
        timeout_ms: TIMEOUT_MS,
    });
    let answers = world.answers();
    assert!(matches!(answers[0], (to, Answer::Detached { .. }) if to == origin(1)));
    assert!(matches!(answers[1], (to, Answer::Attached { .. }) if to == origin(2)));
    world.create(session, 1, "/a", 0);
    assert_eq!(replies(&world.answers()), [(1, ErrorCode::SessionMoved)]);
    world.sequencer.heard(ShardId(0), 3900, &[]);
    world.sequencer.expire_locals();
    assert!(world.answers().is_empty());
    world.sequencer.heard(ShardId(0), 4200, &[]);
    world.sequencer.expire_locals();
    let answers = world.answers();
    assert!(matches!(answers[0], (to, Answer::Detached { .. }) if to == origin(2)));
    assert!(world.sequencer.local_sessions().is_empty());
}

#[test]
fn a_leader_opens_a_session_for_everybody_before_its_first_ephemeral() {
    let mut world = World::new(LocalSessions::Upgrading);
    let session = world.open(1);
    world.create(session, 1, "/e", EPHEMERAL);
    world.create(session, 2, "/e2", EPHEMERAL);
    assert_eq!(
        replies(&world.answers()),
        [(1, ErrorCode::Ok), (2, ErrorCode::Ok)]
    );
    assert_eq!(world.log.0.len(), 3, "one to open it, two nodes");
    assert!(world.sequencer.local_sessions().is_empty());
    assert_eq!(world.sequencer.sessions().owner(session), Some(origin(1)));
    assert_eq!(
        world.sequencer.tree().ephemerals(session),
        ["/e", "/e2"].map(String::from)
    );
}

#[test]
fn a_leader_takes_writes_but_no_ephemerals_of_a_learners_local_session() {
    let mut world = World::new(LocalSessions::Enabled);
    let theirs = SessionId(9 << 56 | 1);
    let own = SessionId(7 << 56 | 1);
    let tries = [
        (theirs, 0, ErrorCode::Ok),
        (theirs, EPHEMERAL, ErrorCode::SessionExpired),
        (own, 0, ErrorCode::UnknownSession),
    ];
    for (number, (session, flags, expected)) in tries.iter().enumerate() {
        let path = format!("/{number}");
        let request = Forwarded {
            session: *session,
            cxid: number as i32,
            op: op::CREATE,
            body: create_request(&path, *flags).to_vec().into(),
            identities: Default::default(),
        };
        let rejected =
            world
                .sequencer
                .request_of_learner(LinkId(1), &request, world.now, &mut world.log);
        let code = rejected.map_or(ErrorCode::Ok, |rejection| rejection.errors[0]);
        assert_eq!(code, *expected, "{number}");
    }
    let tree = world.sequencer.tree();

    let is_there = |path: &str| tree.node(path).is_some();
    assert_eq!(
        [is_there("/0"), is_there("/1"), is_there("/2")],
        [true, false, false]
    );
}

#[test]
fn a_followers_close_waits_for_what_came_before_it() {
    let mut world = World::new(LocalSessions::Enabled);
    world.sequencer.follow(world.now);
    let session = world.open(1);
    assert!(world.forwarded().is_empty(), "the leader does not know");
    let set = SetDataRequest {
        path: "/none",
        data: None,
        version: -1,
    };
    world.ask(session, 1, 1, op::SET_DATA, &set);
    world.ask(session, 1, 2, op::SYNC, &SyncRequest { path: "/" });
    world.create(session, 3, "/e", EPHEMERAL);
    world.ask(session, 1, 4, op::CLOSE_SESSION, &Nothing);
    assert_eq!(
        world.forwarded(),
        [(op::SET_DATA, 1), (op::SYNC, 2), (op::CREATE, 3)]
    );
    let error = |code: ErrorCode| Txn::Error(ErrorTxn { err: code.code() });
    world.leader_says(session, 1, &error(ErrorCode::NoNode));
    let mut answered = world.answers();
    world.sequencer.synced();
    answered.extend(world.answers());
    world.leader_says(session, 3, &error(ErrorCode::SessionExpired));
    answered.extend(world.answers());
    assert_eq!(
        replies(&answered),
        [
            (1, ErrorCode::NoNode),
            (2, ErrorCode::Ok),
            (3, ErrorCode::EphemeralOnLocalSession),
            (4, ErrorCode::Ok)
        ]
    );
    assert!(world.sequencer.local_sessions().is_empty());
}

#[test]
fn a_rejection_is_answered_in_its_turn() {
    let mut world = World::new(LocalSessions::Enabled);
    world.sequencer.follow(world.now);
    let session = world.open(1);
    let reject = |cxid, after| Rejection {
        session,
        cxid,
        after: Zxid(after),
        is_multi: false,
        errors: vec![ErrorCode::NoNode],
    };
    let set = SetDataRequest {
        path: "/none",
        data: None,
        version: -1,
    };
    for xid in 1..=5 {
        world.ask(session, 1, xid, op::SET_DATA, &set);
    }
    world.ask(session, 1, 6, op::CLOSE_SESSION, &Nothing);
    let fine = Txn::Error(ErrorTxn { err: 0 });
    // The word of a rejection is later than a transaction after it, and earlier than one before.
    world.leader_says(session, 1, &fine);
    world.leader_says(session, 3, &fine);
    world.sequencer.rejected(reject(2, 1));
    world.sequencer.rejected(reject(4, 3));
    world.leader_says(SessionId(99), 1, &fine);
    world.leader_says(session, 5, &fine);
    let no_node = |xid| (xid, ErrorCode::NoNode);
    let done = |xid| (xid, ErrorCode::Ok);
    assert_eq!(replies(&world.answers()), [done(1)]);
    world.sequencer.confirmed();
    assert_eq!(replies(&world.answers()), [no_node(2), done(3)]);
    world.sequencer.confirmed();
    assert_eq!(replies(&world.answers()), [no_node(4), done(5), done(6)]);
}

#[test]
fn a_session_that_the_leader_has_no_room_for_stays_with_its_follower() {
    let mut world = World::new(LocalSessions::Upgrading);
    world.sequencer.follow(world.now);
    let session = world.open(1);
    world.create(session, 1, "/e", EPHEMERAL);
    for (cxid, code) in [(0, ErrorCode::SystemError), (1, ErrorCode::SessionExpired)] {
        world.sequencer.rejected(Rejection {
            session,
            cxid,
            after: Zxid::ZERO,
            is_multi: false,
            errors: vec![code],
        });
        world.sequencer.confirmed();
    }
    let answered = replies(&world.answers());
    assert_eq!(answered, [(1, ErrorCode::SystemError)], "it lives");
    // The next one tries again, and nothing is left that a close would wait for.
    world.create(session, 2, "/e", EPHEMERAL);
    world.ask(session, 1, 3, op::CLOSE_SESSION, &Nothing);
    let forwarded = world.forwarded();
    assert_eq!(
        forwarded,
        [
            (op::CREATE_SESSION, 0),
            (op::CREATE, 1),
            (op::CREATE_SESSION, 0),
            (op::CREATE, 2),
            (op::CLOSE_SESSION, 3)
        ]
    );
}

#[test]
fn a_follower_has_the_leader_open_a_session_for_everybody() {
    let mut world = World::new(LocalSessions::Upgrading);
    world.sequencer.follow(world.now);
    let session = world.open(1);
    world.create(session, 1, "/e", EPHEMERAL);
    world.create(session, 2, "/e2", EPHEMERAL);
    assert_eq!(
        world.forwarded(),
        [(op::CREATE_SESSION, 0), (op::CREATE, 1), (op::CREATE, 2)]
    );
    world.leader_says(session, 0, &create_session(TIMEOUT_MS));
    assert!(world.answers().is_empty(), "nobody asked for that");
    assert_eq!(world.sequencer.sessions().owner(session), Some(origin(1)));
    assert!(world.sequencer.local_sessions().is_empty());
    for (xid, path) in [(1, "/e"), (2, "/e2")] {
        let txn = Txn::Create {
            txn: CreateTxn {
                path: path.into(),
                data: None,
                acl: vec![crate::tree::open_acl()],
                ephemeral: true,
                parent_cversion: xid,
            },
            is_create2: false,
        };
        world.leader_says(session, xid, &txn);
    }
    assert_eq!(
        replies(&world.answers()),
        [(1, ErrorCode::Ok), (2, ErrorCode::Ok)]
    );
}

#[test]
fn without_a_leader_nothing_is_written() {
    let mut world = World::new(LocalSessions::Disabled);
    let global = world.open(1);
    world.create(global, 1, "/a", 0);
    assert_eq!(world.log.0.len(), 2);
    world.sequencer.serve_read_only();
    let session = world.open(2);
    world.create(session, 1, "/b", 0);
    world.ask(session, 2, 2, op::SYNC, &SyncRequest { path: "/" });
    world.ask(session, 2, 3, op::CLOSE_SESSION, &Nothing);
    world.ask(session, 2, 4, op::CLOSE_SESSION, &Nothing);
    assert_eq!(
        replies(&world.answers()),
        [
            (1, ErrorCode::NotReadOnly),
            (2, ErrorCode::NotReadOnly),
            (3, ErrorCode::Ok),
            (4, ErrorCode::NotReadOnly)
        ]
    );
    let unheard = SessionId(0x0800_0000_0000_0001);
    // Found by the simulator: a member whose disk had been wiped said that it was over.
    let forgotten = SessionId(0x0700_0000_0000_0001);
    for session in [global, session, unheard, forgotten] {
        world.handle(ToSequencer::ReattachSession {
            origin: origin(3),
            session,
            password: crate::session::session_password(session).to_vec(),
            timeout_ms: TIMEOUT_MS,
        });
    }
    let answers = world.answers();
    assert!(
        matches!(answers[0].1, Answer::Detached { .. }),
        "not ours to decide"
    );
    assert!(
        matches!(answers[1].1, Answer::SessionRefused),
        "it is closed"
    );
    assert!(
        matches!(answers[2].1, Answer::Detached { .. }),
        "another server may know it"
    );
    assert!(
        matches!(answers[3].1, Answer::Detached { .. }),
        "others may know it from before"
    );
    assert_eq!(world.log.0.len(), 2, "nothing was logged");
    // A session for readers ends with the mode.
    let reader = world.open(4);
    world.sequencer.lead(1, world.now);
    world.create(reader, 1, "/c", 0);
    assert_eq!(replies(&world.answers()), [(1, ErrorCode::UnknownSession)]);
}

//! What a snapshot holds of sessions: those that are open at its zxid, whatever is committed by then.

use std::sync::Arc;

use super::*;
use crate::exchange::ConnId;
use crate::session::SessionConfig;
use crate::tree::TreeConfig;
use crate::types::LinkId;
use crate::zab::leader::Forwarded;

/// A log with room for everything, which counts the rounds that are asked for.
#[derive(Default)]
struct Endless {
    rounds: u64,
}

impl Log for Endless {
    fn has_room(&mut self, _: usize) -> bool {
        true
    }

    fn append(&mut self, _: Zxid, _: &[u8]) {}

    fn ask_round(&mut self) -> u64 {
        self.rounds += 1;
        self.rounds
    }
}

/// The connection of a client of this server.
const ORIGIN: Origin = Origin {
    shard: ShardId(0),
    conn: ConnId(1),
};

/// That client opens a session.
fn open() -> ToSequencer {
    ToSequencer::OpenSession {
        origin: ORIGIN,
        timeout_ms: 4000,
    }
}

/// A sequencer of a server whose tree is empty, and that is in no ensemble yet.
pub(super) fn new(server_id: u8, snapshots: SnapshotPolicy) -> Sequencer {
    let tree = Tree::new(TreeConfig {
        extended_types: false,
        digest_enabled: false,
    });
    let session = SessionConfig {
        tick_ms: 100,
        server_id,
        shards: 1,
    };
    let config = SequencerConfig {
        prep: PrepConfig::default(),
        reap: ReapConfig::default(),
        digest_enabled: false,
    };
    let sessions = SessionTable::new(session, 1);
    let metrics = Arc::new(WriteMetrics::new());
    Sequencer::new(config, tree, sessions, snapshots, metrics, Now::default())
}

/// A sequencer that leads and takes a snapshot after each transaction.
fn sequencer() -> Sequencer {
    let mut sequencer = new(1, SnapshotPolicy::new(Some(2), None, 1));
    sequencer.lead(1, Now::default());
    sequencer
}

fn sessions_of_snapshot(sequencer: &mut Sequencer) -> Vec<i64> {
    let tip = sequencer.tree().tip_zxid();
    sequencer.commit(tip);
    let request = sequencer.poll_snapshot(tip).expect("one is due");
    sequencer.snapshot_ended();
    request.sessions.iter().map(|(id, _)| id.0).collect()
}

/// Found by the simulator: members that started on such a snapshot kept a session that was closed
/// everywhere else.
#[test]
fn a_snapshot_is_without_a_session_whose_closing_it_holds() {
    let mut sequencer = sequencer();
    sequencer.handle(open(), Now::default(), &mut Endless::default());
    let [session] = sessions_of_snapshot(&mut sequencer)[..] else {
        panic!("it is open");
    };
    let close = ToSequencer::Request(Request {
        origin: ORIGIN,
        session: SessionId(session),
        xid: 1,
        op: op::CLOSE_SESSION,
        body: Box::default(),
        identities: Arc::from([]),
        received_us: 0,
    });
    sequencer.handle(close, Now::default(), &mut Endless::default());
    assert_eq!(sequencer.sessions().len(), 1, "it is not committed yet");
    assert!(sessions_of_snapshot(&mut sequencer).is_empty());
}

/// A leader noted a session of a learner's client only after the snapshot that its opening made
/// due.
#[test]
fn a_snapshot_holds_the_session_that_made_it_due() {
    let mut sequencer = sequencer();
    let open = Forwarded {
        session: SessionId(7),
        cxid: 0,
        op: op::CREATE_SESSION,
        body: 4000_i32.to_be_bytes().into(),
        identities: Default::default(),
    };
    sequencer.request_of_learner(LinkId(1), &open, Now::default(), &mut Endless::default());
    assert_eq!(sessions_of_snapshot(&mut sequencer), [7]);
}

/// Found by the simulator: a leader that had been stopped while another one was elected told its
/// clients of nodes that were there long since that they were not.
#[test]
fn what_rests_on_no_transaction_waits_for_a_round() {
    let (mut sequencer, mut log) = (sequencer(), Endless::default());
    sequencer.handle(open(), Now::default(), &mut log);
    sequencer.commit(sequencer.tree().tip_zxid());
    let batch = sequencer.poll_publish().expect("it is open");
    let Some((_, Answer::Attached { session, .. })) = batch.items[0].answer else {
        panic!("{batch:?}");
    };
    let mut body = Vec::new();
    let delete = crate::jute::proto::DeleteRequest {
        path: "/none",
        version: -1,
    };
    delete.encode(&mut body);
    let request = ToSequencer::Request(Request {
        origin: ORIGIN,
        session,
        xid: 1,
        op: op::DELETE,
        body: body.into(),
        identities: Arc::from([]),
        received_us: 0,
    });
    let unknown = ToSequencer::ReattachSession {
        origin: ORIGIN,
        session: SessionId(7),
        password: session_password(SessionId(7)).to_vec(),
        timeout_ms: 4000,
    };
    for message in [request, unknown] {
        let before = log.rounds;
        sequencer.handle(message, Now::default(), &mut log);
        assert_eq!(log.rounds, before + 1);
        assert!(sequencer.poll_publish().is_none());
        sequencer.confirm_round(log.rounds);
        assert!(sequencer.poll_publish().is_some());
    }
}

/// Found by the simulator: an observer got a tree with a session whose opening was lost with its leader, and kept
/// it for ever.
#[test]
fn what_goes_with_a_tree_is_without_a_session_that_may_never_be_opened() {
    let mut sequencer = sequencer();
    sequencer.handle(open(), Now::default(), &mut Endless::default());
    assert_eq!(sequencer.sessions().len(), 1);
    assert!(sequencer.committed_sessions().is_empty());
    sequencer.commit(sequencer.tree().tip_zxid());
    assert_eq!(sequencer.committed_sessions().len(), 1);
}

/// A log on a full disk.
struct Full;

impl Log for Full {
    fn has_room(&mut self, _: usize) -> bool {
        false
    }

    fn append(&mut self, zxid: Zxid, _: &[u8]) {
        panic!("there is no room for {zxid}");
    }
}

/// Found by the simulator (aim full, seed 278): a session whose closing waited for room was over and was
/// not, and who had it was told both.
#[test]
fn a_session_whose_closing_finds_no_room_lives_on() {
    let mut sequencer = sequencer();
    sequencer.handle(open(), Now::default(), &mut Endless::default());
    let tip = sequencer.tree().tip_zxid();
    sequencer.commit(tip);
    let session = sequencer.sessions().snapshot()[0].0;
    // After its timeout without room, and before and after another one with room.
    for (monotonic_ms, has_room, is_open) in
        [(5000, false, true), (8900, true, true), (9200, true, false)]
    {
        let now = Now {
            monotonic_ms,
            ..Now::default()
        };
        sequencer.heard(ShardId(0), monotonic_ms, &[]);
        if has_room {
            sequencer.tick(now, u64::MAX, &mut Endless::default());
        } else {
            sequencer.tick(now, u64::MAX, &mut Full);
        }
        assert_eq!(sequencer.sessions().is_open(session), is_open);
    }
}

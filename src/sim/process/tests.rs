//! Single processes, told by hand what the rest of a world would tell them.

use super::super::member::Member as Machine;
use super::*;
use crate::exchange::Origin;
use crate::io::{Disk, OpenMode};
use crate::jute::Record;
use crate::jute::quorum::{LearnerInfo, kind};
use crate::jute::txn::{SetDataTxn, Txn, TxnHeader, encode_txn};
use crate::replica::Output;
use crate::snapshot::wire as tree_wire;
use crate::tree::Tree;
use crate::zab::election::{PeerState, Vote, wire};
use crate::zab::leader::Leader;
use crate::zab::learner::SIGNATURE;
use crate::zab::{PROTOCOL_VERSION, PacketReader, encode_packet};

const NOW: Now = Now {
    monotonic_ms: 1000,
    wall_ms: 1,
};

fn start(shape: &str, disk: &MemoryDisk) -> Process {
    let start = Start {
        member: 0,
        ensemble: ensemble(shape.parse().expect("a shape")),
        disk: disk.clone(),
        shards: 1,
        snap_count: 1000,
        reap: ReapConfig::default(),
        seed: 1,
        leniency: Leniency {
            is_read_only_mode: false,
            local_sessions: LocalSessions::Disabled,
        },
        now: NOW,
    };
    Process::start(start).expect("sound")
}

/// Does all that the log asks for.
fn write(process: &mut Process, disk: &MemoryDisk) {
    let replica = &mut process.replica;
    while let Some(task) = replica.poll_segment_task() {
        let result = task.run(disk);
        replica.segment_done(result, NOW).expect("there is room");
    }
    while let Some(write) = replica.poll_write(0) {
        let length = write.buffer.len();
        let written = write.file.write_at(write.offset, &write.buffer);
        let result = written.map(|()| length).map_err(std::io::Error::other);
        let completed = replica.complete(write.id, write.buffer, result, NOW, 0);
        completed.expect("the disk is sound");
    }
}

/// The zxids of the votes that a member has sent.
fn voted(process: &mut Process) -> Vec<Zxid> {
    let outputs = std::iter::from_fn(|| process.replica.poll_output());
    let zxid = |output| match output {
        Output::Election(_, bytes) => Some(wire::read(&bytes).expect("our own").vote.zxid),
        _ => None,
    };
    outputs.filter_map(zxid).collect()
}

#[test]
fn a_member_whose_log_was_damaged_says_so_in_its_votes_and_does_not_lead() {
    let disk = MemoryDisk::default();
    assert_eq!(voted(&mut start("3", &disk)), [Zxid::ZERO; 2]);
    let mark = Machine::folder().join("needsRepair");
    let made = disk.open(&mark, OpenMode::Create);
    drop(made.expect("there is room"));
    assert_eq!(voted(&mut start("3", &disk)), [Zxid(-1); 2]);

    // Nor where it has nobody to ask.
    let mut process = start("1", &disk);
    process.replica.tick(NOW);
    assert!(process.replica.leader().is_none());
}

/// What a leader says over a link, by kind.
fn said(process: &mut Process, link: LinkId) -> Vec<i32> {
    let (mut bytes, mut reader) = (Vec::new(), PacketReader::default());
    process.replica.take_link_output(link, &mut bytes);
    reader.extend(&bytes);
    let mut kinds = Vec::new();
    while let Some((packet, length)) = reader.peek().expect("packets") {
        kinds.push(packet.kind);
        reader.skip(length);
    }
    kinds
}

/// What was asked for elsewhere must not come to a client as the answer to what it asks there, whose
/// numbers may be the same.
#[test]
fn an_observer_hears_that_a_session_goes_on_behind_what_was_ordered_before() {
    let disk = MemoryDisk::default();
    let mut process = start("1+1", &disk);
    process.replica.tick(NOW);
    let established = process.replica.leader().is_some_and(Leader::is_established);
    assert!(established, "the one voter is a quorum");

    let link = LinkId(1);
    process.replica.accepted(link, NOW);
    let info = LearnerInfo {
        server_id: 2,
        protocol_version: PROTOCOL_VERSION,
        config_version: 0,
    };
    let mut bytes = Vec::new();
    encode_packet(kind::OBSERVER_INFO, 0, Some(&info.to_vec()), &mut bytes);
    encode_packet(kind::ACK_EPOCH, 0, Some(&[0; 4]), &mut bytes);
    encode_packet(kind::ACK, Zxid::new(1, 0).0, None, &mut bytes);
    process.replica.received(link, &bytes, NOW);
    assert_eq!(said(&mut process, link).last(), Some(&kind::UP_TO_DATE));

    let origin = Origin {
        shard: ShardId(0),
        conn: ConnId(1),
    };
    let (timeout_ms, mut data) = (4000, Vec::new());
    let open = ToSequencer::OpenSession { origin, timeout_ms };
    process.replica.handle(open, NOW);
    let (session, _) = process.replica.sequencer().sessions().snapshot()[0];
    session.0.encode(&mut data);
    timeout_ms.encode(&mut data);
    bytes.clear();
    encode_packet(kind::REVALIDATE, -1, Some(&data), &mut bytes);
    process.replica.received(link, &bytes, NOW);
    assert!(
        said(&mut process, link).is_empty(),
        "nothing is committed yet"
    );
    write(&mut process, &disk);
    assert_eq!(said(&mut process, link), [kind::INFORM, kind::REVALIDATE]);
}

/// Has a member of three follow another one, which was elected in this round.
fn follow(process: &mut Process, leader: i64, round: i64, link: LinkId) {
    let vote = Vote {
        leader: ServerId(leader),
        zxid: Zxid::ZERO,
        peer_epoch: round,
        election_epoch: round,
    };
    for (from, state) in [
        (5 - leader, PeerState::Following),
        (leader, PeerState::Leading),
    ] {
        let message = wire::write(state, vote, b"");
        let replica = &mut process.replica;
        replica.election_message(ServerId(from), &message, NOW);
    }
    assert_eq!(process.replica.following(), Some(ServerId(leader)));
    process.replica.dialed(ServerId(leader), Some(link), NOW);
}

/// What a new leader of this epoch, whose log ends at `zxid`, says first.
fn leads(epoch: u32, plan: i32, zxid: Zxid) -> Vec<u8> {
    let mut bytes = Vec::new();
    let protocol = PROTOCOL_VERSION.to_be_bytes();
    let begins = Zxid::new(epoch, 0).0;
    encode_packet(kind::LEADER_INFO, begins, Some(&protocol), &mut bytes);
    encode_packet(plan, zxid.0, None, &mut bytes);
    if plan == kind::SNAP {
        let tree = Tree::new(tree_config());
        let mut add = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        tree_wire::encode(&tree.view(Zxid::ZERO), &[], &mut add).expect("encoded");
        SIGNATURE.encode(&mut bytes);
    }
    bytes
}

/// What ends synchronisation with a leader of this epoch, whose log has a quorum.
fn established(epoch: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_packet(kind::UP_TO_DATE, Zxid::new(epoch, 0).0, None, &mut bytes);
    bytes
}

fn new_leader(epoch: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_packet(kind::NEW_LEADER, Zxid::new(epoch, 0).0, None, &mut bytes);
    bytes
}

/// The leader that had sent it goes away, and the next one never had the end of it.
#[test]
fn a_tree_of_a_leader_that_was_never_established_is_given_up_for_another() {
    for restarts in [false, true] {
        let disk = MemoryDisk::default();
        let mut process = start("3", &disk);
        follow(&mut process, 2, 1, LinkId(1));
        let snap = leads(1, kind::SNAP, Zxid(9));
        process.replica.received(LinkId(1), &snap, NOW);
        assert_eq!(process.replica.sequencer().tree().tip_zxid(), Zxid(9));
        if restarts {
            drop(process);
            process = start("3", &disk);
        } else {
            process.replica.link_closed(LinkId(1), NOW);
        }
        follow(&mut process, 3, 2, LinkId(2));
        let snap = leads(2, kind::SNAP, Zxid(7));
        process.replica.received(LinkId(2), &snap, NOW);
        process.replica.received(LinkId(2), &new_leader(2), NOW);
        write(&mut process, &disk);
        let said = said(&mut process, LinkId(2));
        assert_eq!(said.last(), Some(&kind::ACK), "restarts: {restarts}");
        process.replica.received(LinkId(2), &established(2), NOW);
        assert!(process.replica.is_serving());

        // That one had a quorum: nobody else's log may end before it.
        drop(process);
        let mut process = start("3", &disk);
        follow(&mut process, 2, 3, LinkId(1));
        let snap = leads(3, kind::SNAP, Zxid(6));
        process.replica.received(LinkId(1), &snap, NOW);
        assert_eq!(process.replica.following(), None, "it is refused");
        assert_eq!(process.replica.sequencer().tree().tip_zxid(), Zxid(7));
    }
}

/// A follower that serves, at its leader's link.
fn serving(disk: &MemoryDisk, link: LinkId) -> Process {
    let mut process = start("3", disk);
    follow(&mut process, 2, 1, link);
    let diff = leads(1, kind::DIFF, Zxid::ZERO);
    for bytes in [diff, new_leader(1), established(1)] {
        process.replica.received(link, &bytes, NOW);
        write(&mut process, disk);
    }
    assert!(process.replica.is_serving());
    process
}

/// A transaction of two blocks of the log.
fn proposal(zxid: Zxid) -> Vec<u8> {
    let txn = Txn::SetData(SetDataTxn {
        path: "/",
        data: Some(&[7; 5000]),
        version: 1,
    });
    let header = TxnHeader {
        client_id: 1,
        cxid: 1,
        zxid: zxid.0,
        time: 1,
        kind: txn.kind(),
    };
    let (mut payload, mut bytes) = (Vec::new(), Vec::new());
    encode_txn(&header, &txn, None, &mut payload);
    encode_packet(kind::PROPOSAL, zxid.0, Some(&payload), &mut bytes);
    bytes
}

/// The log had a write under way when there was room again, and the member never voted any more.
#[test]
fn who_stood_aside_votes_once_there_is_room_and_all_is_durable() {
    let (disk, link) = (MemoryDisk::default(), LinkId(1));
    let mut process = serving(&disk, link);
    disk.leave_room(Some(0));
    let mut tip = Zxid::new(1, 0);
    while process.replica.following().is_some() {
        assert!(tip.counter() < 100, "the disk cannot take so much");
        tip = Zxid(tip.0 + 1);
        process.replica.received(link, &proposal(tip), NOW);
        while let Some(task) = process.replica.poll_segment_task() {
            // There is no room for one, but for the name of one that is there.
            let _ = process.replica.segment_done(task.run(&disk), NOW);
        }
        write(&mut process, &disk);
    }
    process.replica.tick(NOW);
    assert!(voted(&mut process).is_empty(), "it takes no part");

    disk.leave_room(None);
    process.replica.upkeep();
    let mark = process
        .replica
        .poll_write(0)
        .expect("how far it is durable");
    while let Some(task) = process.replica.poll_segment_task() {
        let done = process.replica.segment_done(task.run(&disk), NOW);
        done.expect("there is room");
    }
    process.replica.tick(NOW);
    assert!(voted(&mut process).is_empty(), "not all is durable");
    let length = mark.buffer.len();
    let completed = process
        .replica
        .complete(mark.id, mark.buffer, Ok(length), NOW, 0);
    completed.expect("the disk is sound");
    process.replica.tick(NOW);
    assert_eq!(voted(&mut process), [Zxid(tip.0 - 1); 2]);
}

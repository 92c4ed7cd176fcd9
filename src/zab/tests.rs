//! A leader and its learners, connected by hand: what is said when, and what is not.

mod apache;

use std::sync::Arc;

use super::leader::{
    Forwarded, HostFailed, Leader, LeaderConfig, LeaderEvent, LeaderHost, Summary, ToLearner,
};
use super::learner::{
    AppendFault, Learner, LearnerConfig, LearnerEvent, LearnerHost, SIGNATURE, TreeFault,
};
use super::{PacketReader, Proposals, Rejection};
use crate::jute::Record;
use crate::jute::quorum::kind;
use crate::types::{
    Ensemble, ErrorCode, LinkId, Member, MemberAddress, Role, ServerId, SessionId, Zxid,
};

const HEARTBEAT_MS: u64 = 50;
const SYNC_LIMIT_MS: u64 = 1000;
const INIT_LIMIT_MS: u64 = 2000;
const SILENCE_LIMIT_MS: u64 = 400;

/// Epochs and a log, in memory. A transaction is its zxid.
#[derive(Default)]
struct Host {
    accepted: u32,
    current: u32,
    log: Vec<Zxid>,
    /// What the tree that is coming ends with.
    tree: Option<Zxid>,
    /// That of a leader that was never established.
    tree_base: Zxid,
    /// What is durable at most, for ever.
    durable_max: Option<Zxid>,
    /// Whether a snapshot is being written.
    is_snapshotting: bool,
}

impl Host {
    fn with_log(current: u32, log: &[(u32, u32)]) -> Host {
        Host {
            accepted: current,
            current,
            log: log.iter().map(|&(e, c)| Zxid::new(e, c)).collect(),
            ..Host::default()
        }
    }

    fn end(&self) -> Zxid {
        self.log.last().copied().unwrap_or(Zxid::ZERO)
    }

    fn summary(&self) -> Summary {
        Summary {
            accepted_epoch: self.accepted,
            current_epoch: self.current,
            zxid: self.end(),
        }
    }
}

fn payload(zxid: Zxid) -> Vec<u8> {
    zxid.0.to_be_bytes().to_vec()
}

impl LeaderHost for Host {
    fn accept_epoch(&mut self, epoch: u32) -> Result<(), HostFailed> {
        self.accepted = epoch;
        Ok(())
    }

    fn adopt_epoch(&mut self, epoch: u32) -> Result<(), HostFailed> {
        self.current = epoch;
        Ok(())
    }

    fn read_log(&mut self, after: Zxid, up_to: Zxid) -> Option<Vec<(Zxid, Arc<[u8]>)>> {
        let start = self.log.iter().position(|&zxid| zxid == after)? + 1;
        let records = self.log[start..].iter().filter(|&&zxid| zxid <= up_to);
        Some(records.map(|&zxid| (zxid, payload(zxid).into())).collect())
    }
}

impl LearnerHost for Host {
    fn is_quiet(&self) -> bool {
        !self.is_snapshotting
    }

    fn accept_epoch(&mut self, epoch: u32) -> Result<(), HostFailed> {
        self.accepted = epoch;
        Ok(())
    }

    fn adopt_epoch(&mut self, epoch: u32) -> Result<(), HostFailed> {
        self.current = epoch;
        Ok(())
    }

    fn tip(&self) -> Zxid {
        self.end()
    }

    fn truncate(&mut self, zxid: Zxid) -> Result<(), TreeFault> {
        self.log.retain(|&kept| kept <= zxid);
        Ok(())
    }

    /// A tree is eight bytes here: its zxid.
    fn tree_bytes(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(usize, bool), TreeFault> {
        if bytes.len() < 8 {
            return Ok((0, false));
        }
        self.log = vec![zxid];
        self.tree = Some(zxid);
        Ok((8, true))
    }

    fn append(&mut self, payload: &[u8]) -> Result<Zxid, AppendFault> {
        let bytes = payload
            .try_into()
            .map_err(|_| AppendFault::Bad("size".into()))?;
        let zxid = Zxid(i64::from_be_bytes(bytes));
        self.log.push(zxid);
        Ok(zxid)
    }
}

fn ensemble(voters: i64, version: i64) -> Arc<Ensemble> {
    let member = |id: i64| {
        let address = MemberAddress {
            host: "127.0.0.1".into(),
            quorum_port: 2000 + id as u16,
            election_port: 3000 + id as u16,
        };
        let member = Member {
            addresses: vec![address],
            role: Role::Participant,
            client: None,
        };
        (ServerId(id), member)
    };
    Arc::new(Ensemble {
        members: (1..=voters).map(member).collect(),
        version,
        ..Ensemble::default()
    })
}

/// A leader, number 1, of three or more, and learners from number 2 on.
struct World {
    leader: Leader,
    leader_host: Host,
    learners: Vec<(Learner, Host)>,
    now_ms: u64,
    /// Whether trees are left to the test.
    holds_trees: bool,
    events: Vec<LeaderEvent>,
}

fn link(index: usize) -> LinkId {
    LinkId(index as u64)
}

impl World {
    fn new(voters: i64, leader_host: Host) -> World {
        World::with_version(voters, leader_host, 0)
    }

    fn with_version(voters: i64, mut leader_host: Host, version: i64) -> World {
        let config = LeaderConfig {
            my_id: ServerId(1),
            ensemble: ensemble(voters, version),
            init_limit_ms: INIT_LIMIT_MS,
            sync_limit_ms: SYNC_LIMIT_MS,
            silence_limit_ms: SILENCE_LIMIT_MS,
            heartbeat_ms: HEARTBEAT_MS,
        };
        let summary = leader_host.summary();
        let kept = Proposals::new(summary.zxid);
        let leader = Leader::new(config, summary, kept, 0, &mut leader_host);
        World {
            leader,
            leader_host,
            learners: Vec::new(),
            now_ms: 0,
            holds_trees: false,
            events: Vec::new(),
        }
    }

    fn join(&mut self, host: Host) -> usize {
        self.join_as(host, false)
    }

    fn join_as(&mut self, host: Host, is_observer: bool) -> usize {
        let index = self.learners.len();
        let config = LearnerConfig {
            my_id: ServerId(2 + index as i64),
            is_observer,
            config_version: 0,
            tree_base: host.tree_base,
            init_limit_ms: INIT_LIMIT_MS,
            sync_limit_ms: SYNC_LIMIT_MS,
            silence_limit_ms: SILENCE_LIMIT_MS,
        };
        let learner = Learner::new(config, host.summary(), self.now_ms);
        self.learners.push((learner, host));
        self.leader.link_opened(link(index), self.now_ms);
        index
    }

    /// Delivers everything, in one-byte pieces now and then, until nothing is left to say. What a
    /// learner appends is durable at once unless `is_durable` is false.
    fn run(&mut self, is_durable: bool) {
        loop {
            let mut is_idle = true;
            for (index, (learner, host)) in self.learners.iter_mut().enumerate() {
                let mut bytes = Vec::new();
                learner.take_output(&mut bytes);
                for piece in bytes.chunks(7) {
                    is_idle = false;
                    let leader_host = &mut self.leader_host;
                    self.leader
                        .receive(link(index), piece, self.now_ms, leader_host);
                }
                let mut bytes = Vec::new();
                self.leader.take_output(link(index), &mut bytes);
                for piece in bytes.chunks(5) {
                    is_idle = false;
                    learner.receive(piece, self.now_ms, host);
                }
                if is_durable {
                    let end = host
                        .durable_max
                        .map_or(host.end(), |max| max.min(host.end()));
                    learner.durable(end, host);
                    is_idle &= !learner.has_output();
                }
            }
            while let Some(event) = self.leader.poll_event() {
                is_idle = false;
                if let LeaderEvent::SendTree(id, zxid) = event
                    && !self.holds_trees
                {
                    let mut tree = payload(zxid);
                    SIGNATURE.encode(&mut tree);
                    self.leader.tree_piece(id, &tree, true, self.now_ms);
                }
                if !matches!(event, LeaderEvent::Touched(..)) {
                    self.events.push(event);
                }
            }
            if is_idle {
                return;
            }
        }
    }

    /// A heartbeat later: everybody answers.
    fn turn(&mut self) {
        self.beat(true);
        for index in 0..self.learners.len() {
            self.answer(index);
        }
        self.run(true);
    }

    /// A heartbeat later: everybody is pinged.
    fn beat(&mut self, is_durable: bool) {
        self.now_ms += HEARTBEAT_MS;
        self.leader.tick(self.now_ms);
        self.run(is_durable);
    }

    /// The pings that have reached a learner; its other events are gone.
    fn pings_of(&mut self, index: usize) -> Vec<Zxid> {
        let pings = self.events_of(index).into_iter();
        let zxid = |event| match event {
            LearnerEvent::Ping(zxid) => Some(zxid),
            _ => None,
        };
        pings.filter_map(zxid).collect()
    }

    /// A learner answers the pings that have reached it.
    fn answer(&mut self, index: usize) {
        for zxid in self.pings_of(index) {
            self.learners[index].0.pong(zxid, []);
        }
    }

    fn propose(&mut self, zxid: Zxid) {
        self.leader_host.log.push(zxid);
        self.leader.propose(zxid, &payload(zxid));
    }

    fn events_of(&mut self, index: usize) -> Vec<LearnerEvent> {
        let learner = &mut self.learners[index].0;
        std::iter::from_fn(|| learner.poll_event()).collect()
    }
}

#[test]
fn a_quorum_with_the_leaders_log_establishes_it() {
    let mut world = World::new(3, Host::with_log(4, &[(4, 1), (4, 2)]));
    world.run(true);
    assert_eq!(world.leader.epoch(), None, "one of three is no quorum");
    let follower = world.join(Host::with_log(4, &[(4, 1)]));
    world.run(true);
    assert_eq!(world.leader.epoch(), Some(5));
    assert!(world.leader.is_established() && world.learners[follower].0.is_active());
    let host = &world.learners[follower].1;
    assert_eq!((host.current, host.accepted), (5, 5));
    assert_eq!(host.log, world.leader_host.log);
    assert_eq!(world.events[0], LeaderEvent::Established);
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let mut world = World::new(3, Host::with_log(4, &[(4, 1), (4, 2)]));
    let follower = world.join(Host::with_log(4, &[(4, 1)]));
    world.run(false);
    let (learner, host) = &mut world.learners[follower];
    assert_eq!(host.log.len(), 2, "the log has come");
    assert_eq!(host.current, 4, "and is not durable yet (ZOOKEEPER-4643)");
    assert!(!world.leader.is_established(), "ZOOKEEPER-3911, 4646, 4785");
    learner.durable(Zxid::new(4, 2), host);
    world.run(false);
    assert!(world.leader.is_established());

    let zxid = Zxid::new(5, 1);
    world.propose(zxid);
    world.leader.durable(zxid);
    world.run(false);
    assert_eq!(
        world.leader.committed(),
        Zxid::new(4, 2),
        "the leader alone"
    );
    world.run(true);
    assert_eq!(world.leader.committed(), zxid);
    let committed = LearnerEvent::Committed(zxid);
    assert!(world.events_of(follower).contains(&committed));
}

#[test]
fn what_a_returning_follower_holds_is_acknowledged_anew() {
    let before = Host::with_log(4, &[(4, 1)]);
    let mut world = World::new(5, Host::with_log(4, &[(4, 1)]));
    world.join(Host::with_log(4, &[(4, 1)]));
    let slow = [(); 2].map(|()| {
        world.join(Host {
            durable_max: Some(before.end()),
            ..Host::with_log(4, &[(4, 1)])
        })
    });
    world.run(true);
    let zxid = Zxid::new(5, 1);
    world.propose(zxid);
    world.leader.durable(zxid);
    world.run(true);
    assert_eq!(world.leader.committed(), before.end(), "two of five");
    // One of the slow has it on disk, and its link breaks before it has said so.
    let log = std::mem::take(&mut world.learners[slow[0]].1.log);
    assert_eq!(log.last(), Some(&zxid));
    world.leader.link_closed(link(slow[0]));
    world.join(Host {
        accepted: 5,
        current: 5,
        log,
        ..Host::default()
    });
    world.run(true);
    assert_eq!(world.leader.committed(), zxid, "with no other proposal");
}

#[test]
fn a_quorum_commits_and_need_not_hold_the_leader() {
    let mut world = World::new(3, Host::default());
    world.join(Host::default());
    world.join(Host::default());
    world.run(true);
    world.propose(Zxid::new(1, 1));
    world.run(true);
    assert_eq!(world.leader.committed(), Zxid::new(1, 1));
}

#[test]
fn a_newer_history_in_the_quorum_ends_the_leader() {
    let mut world = World::new(3, Host::with_log(4, &[(4, 1)]));
    world.join(Host::with_log(4, &[(4, 1), (4, 2)]));
    world.run(true);
    assert!(matches!(world.events[..], [LeaderEvent::SteppedDown(_)]));
}

#[test]
fn a_damaged_member_makes_no_quorum() {
    let mut world = World::new(3, Host::with_log(4, &[(4, 1)]));
    let mut host = Host::with_log(4, &[]);
    host.log.push(Zxid(-1));
    world.join(host);
    world.run(true);
    assert!(world.leader.epoch().is_some() && !world.leader.is_established());
}

#[test]
fn each_history_gets_what_it_lacks() {
    let ours = &[(3, 1), (3, 2), (4, 1), (4, 2)];
    let all: Vec<Zxid> = ours.iter().map(|&(e, c)| Zxid::new(e, c)).collect();
    // A learner's current epoch and log, and whether it ends with all of ours or with a tree.
    for (current, log, has_tree) in [
        (4, &ours[..], false),
        (4, &ours[..3], false),
        (3, &ours[..2], false),
        // What follows in its epoch was never committed.
        (4, &[(3, 1), (3, 2), (4, 1), (4, 2), (4, 3)][..], false),
        // Of an older epoch, and not in our log: there is no telling what else differs.
        (3, &[(3, 1), (3, 2), (3, 3)][..], true),
        (0, &[][..], true),
    ] {
        let mut world = World::new(5, Host::with_log(4, ours));
        world.join(Host::with_log(4, ours));
        world.join(Host::with_log(4, ours));
        world.run(true);
        assert!(world.leader.is_established());
        // It comes late, so that nobody asks whose history is newer.
        let late = world.join(Host::with_log(current, log));
        // Only what is in memory is looked at while clients are served.
        world.leader_host.log.clone_from(&all);
        world.run(true);
        let host = &world.learners[late].1;
        assert!(world.learners[late].0.is_active(), "{log:?}");
        assert_eq!(host.tree.is_some(), has_tree, "{log:?}");
        if !has_tree {
            assert_eq!(host.log, all, "{log:?}");
        }
    }
}

/// A tree of a leader that was never established has no history to go back to.
#[test]
fn who_cannot_cut_its_tree_gets_another() {
    for (tree_base, has_tree) in [(Zxid::ZERO, false), (Zxid::new(4, 3), true)] {
        let mut world = World::new(3, Host::with_log(4, &[(4, 1)]));
        let follower = world.join(Host {
            tree_base,
            ..Host::with_log(3, &[(4, 1), (4, 3)])
        });
        world.run(true);
        assert!(world.leader.is_established());
        let host = &world.learners[follower].1;
        assert_eq!(host.log, world.leader_host.log);
        assert_eq!(host.tree.is_some(), has_tree);
    }
}

#[test]
fn a_lost_leaders_own_transactions_are_cut_off_and_what_it_missed_follows() {
    let ours = &[(3, 1), (4, 1), (4, 2)];
    let mut world = World::new(5, Host::with_log(4, ours));
    world.join(Host::with_log(4, ours));
    world.join(Host::with_log(4, ours));
    world.run(true);
    for counter in 1..=2 {
        world.propose(Zxid::new(5, counter));
        world.run(true);
    }
    let late = world.join(Host::with_log(4, &[(3, 1), (4, 1), (4, 2), (4, 3), (4, 4)]));
    world.run(true);
    let (learner, host) = &world.learners[late];
    assert!(learner.is_active() && host.tree.is_none());
    assert_eq!(host.log, world.leader_host.log);
}

#[test]
fn a_learner_hears_of_no_commit_behind_an_unanswered_sync() {
    let mut world = World::new(3, Host::default());
    let follower = world.join(Host::default());
    world.join(Host::default());
    world.run(true);
    world.learners[follower].0.request(&Forwarded {
        session: SessionId(7),
        cxid: 3,
        op: crate::jute::op::SYNC,
        body: Box::default(),
        identities: Default::default(),
    });
    world.run(true);
    let asked = |event: &LeaderEvent| matches!(event, LeaderEvent::Request(..));
    assert!(world.events.iter().any(asked));
    world.leader.hold(link(follower), Zxid::ZERO);
    world.propose(Zxid::new(1, 1));
    world.run(true);
    assert_eq!(world.leader.committed(), Zxid::new(1, 1));
    let before = world.events_of(follower);
    assert!(!before.contains(&LearnerEvent::Committed(Zxid::new(1, 1))));
    world.leader.release(link(follower), &ToLearner::Synced);
    world.run(true);
    let after = [
        LearnerEvent::Synced,
        LearnerEvent::Committed(Zxid::new(1, 1)),
    ];
    assert_eq!(world.events_of(follower), after);
}

#[test]
fn a_round_needs_answers_of_a_quorum() {
    let mut world = World::new(3, Host::default());
    let follower = world.join(Host::default());
    world.run(true);
    let round = world.leader.ask_round(world.now_ms);
    world.run(true);
    let confirmed = LeaderEvent::RoundConfirmed(round);
    assert!(!world.events.contains(&confirmed), "nobody has answered");
    world.answer(follower);
    world.run(true);
    assert!(world.events.contains(&confirmed));
}

#[test]
fn silence_and_lagging_behind_end_a_link_and_then_the_leader() {
    let mut world = World::new(3, Host::default());
    let follower = world.join(Host::default());
    world.run(true);
    for _ in 0..100 {
        world.beat(true);
        world.answer(follower);
        world.run(true);
    }
    assert_eq!(
        world.events,
        [LeaderEvent::Established],
        "who answers stays"
    );

    // It answers pings, and does not write.
    world.propose(Zxid::new(1, 1));
    for _ in 0..100 {
        world.beat(false);
        world.answer(follower);
        world.run(false);
    }
    assert!(matches!(
        world.events[1..],
        [LeaderEvent::Close(..), LeaderEvent::SteppedDown(_)]
    ));
}

#[test]
fn a_tree_may_take_longer_than_all_limits_while_it_goes_on() {
    let ours = &[(3, 1), (3, 2), (4, 1), (4, 2)];
    let mut world = World::new(3, Host::with_log(4, ours));
    world.join(Host::with_log(4, ours));
    world.run(true);
    world.holds_trees = true;
    let late = world.join(Host::default());
    world.run(true);
    let as_of = world.leader.committed();
    assert!(
        world
            .events
            .contains(&LeaderEvent::SendTree(link(late), as_of))
    );
    let mut tree = payload(as_of);
    SIGNATURE.encode(&mut tree);
    // Its disk takes the tree, and nothing more for a while.
    world.learners[late].1.durable_max = Some(as_of);
    let mut counter = 0;
    for (at, byte) in tree.iter().enumerate() {
        for _ in 0..SYNC_LIMIT_MS / 2 / HEARTBEAT_MS {
            counter += 1;
            world.propose(Zxid::new(5, counter));
            world.turn();
        }
        let piece = std::slice::from_ref(byte);
        let is_last = at + 1 == tree.len();
        world
            .leader
            .tree_piece(link(late), piece, is_last, world.now_ms);
    }
    world.run(true);
    assert!(world.now_ms > 2 * INIT_LIMIT_MS.max(SYNC_LIMIT_MS));
    assert!(world.learners[late].0.is_active(), "{:?}", world.events);
    world.events.clear();
    for _ in 0..SYNC_LIMIT_MS / HEARTBEAT_MS {
        world.turn();
    }
    assert_eq!(world.events, [], "it has a syncLimit to catch up");
    for _ in 0..2 {
        world.turn();
    }
    let reason = "server 3: it cannot keep up".to_owned();
    assert_eq!(world.events, [LeaderEvent::Close(link(late), reason)]);
}

#[test]
fn who_answers_later_and_later_is_cut_off_though_nothing_is_written() {
    let mut world = World::new(3, Host::default());
    let follower = world.join(Host::default());
    world.run(true);
    // It answers every other ping in time, and so is never silent.
    let mut unanswered = Vec::new();
    while world.events.len() == 1 && world.now_ms < 3 * SYNC_LIMIT_MS {
        world.beat(true);
        unanswered.extend(world.pings_of(follower));
        if (world.now_ms / HEARTBEAT_MS).is_multiple_of(2) {
            world.learners[follower].0.pong(unanswered.remove(0), []);
        }
        world.run(true);
    }
    let [
        _,
        LeaderEvent::Close(_, reason),
        LeaderEvent::SteppedDown(_),
    ] = &world.events[..]
    else {
        panic!("{:?}", world.events);
    };
    assert!(reason.ends_with("its answers are late"), "{reason}");
    let late_ms = SYNC_LIMIT_MS..3 * SYNC_LIMIT_MS;
    assert!(late_ms.contains(&world.now_ms), "{}", world.now_ms);
}

#[test]
fn an_observer_that_answers_late_keeps_no_session_from_expiring() {
    let mut world = World::new(3, Host::default());
    let follower = world.join(Host::default());
    world.run(true);
    let observer = world.join_as(Host::default(), true);
    world.run(true);
    assert!(world.learners[observer].0.is_active());
    world.turn();
    let heard = |world: &World| world.leader.heard_up_to_ms(world.now_ms).min();
    let start_ms = world.now_ms;
    assert_eq!(heard(&world), Some(start_ms));
    let mut unanswered = Vec::new();
    for _ in 0..SYNC_LIMIT_MS / HEARTBEAT_MS + 2 {
        assert_eq!(
            heard(&world),
            Some(start_ms),
            "it may have heard from somebody"
        );
        world.beat(true);
        world.answer(follower);
        unanswered.extend(world.pings_of(observer));
        // It is not silent.
        world.learners[observer].0.revalidate(SessionId(1), 1000);
        world.run(true);
    }
    let is_close = |event: &LeaderEvent| matches!(event, LeaderEvent::Close(..));
    assert!(!world.events.iter().any(is_close), "it may be late");
    assert_eq!(heard(&world), Some(world.now_ms));
    for zxid in unanswered {
        world.learners[observer].0.pong(zxid, []);
    }
    world.run(true);
    assert_eq!(heard(&world), Some(world.now_ms));
}

#[test]
fn what_changes_all_waits_for_a_snapshot_of_ones_own() {
    let mut world = World::new(5, Host::with_log(4, &[(4, 1), (4, 2)]));
    for _ in 0..2 {
        world.join(Host::with_log(4, &[(4, 1), (4, 2)]));
    }
    world.run(true);
    let [late, later] = [(); 2].map(|()| {
        world.join(Host {
            is_snapshotting: true,
            ..Host::with_log(3, &[(3, 7)])
        })
    });
    world.run(true);
    let (learner, host) = &mut world.learners[late];
    assert!(learner.awaits_quiet() && host.tree.is_none());
    host.is_snapshotting = false;
    learner.retry(host);
    world.run(true);
    let (learner, host) = &world.learners[late];
    assert!(learner.is_active() && host.tree.is_some());

    world.learners[later].0.tick(INIT_LIMIT_MS);
    let Some(LearnerEvent::Ended(reason)) = world.events_of(later).pop() else {
        panic!("it waits no longer than initLimit");
    };
    assert!(reason.ends_with("this server's own snapshot"), "{reason}");
}

#[test]
fn a_learner_gives_a_silent_leader_up() {
    let mut world = World::new(3, Host::default());
    let follower = world.join(Host::default());
    world.run(true);
    world.events_of(follower);
    let learner = &mut world.learners[follower].0;
    learner.tick(world.now_ms + SILENCE_LIMIT_MS);
    assert_eq!(learner.poll_event(), None);
    learner.tick(world.now_ms + SILENCE_LIMIT_MS + 1);
    assert!(matches!(learner.poll_event(), Some(LearnerEvent::Ended(_))));
}

fn rejection(cxid: i32, after: Zxid) -> Rejection {
    Rejection {
        session: SessionId(7),
        cxid,
        after,
        is_multi: cxid % 2 == 0,
        errors: vec![ErrorCode::Ok, ErrorCode::NoNode],
    }
}

#[test]
fn answers_come_behind_what_was_proposed_and_before_later_commits() {
    let mut world = World::new(3, Host::default());
    let follower = world.join(Host::default());
    world.run(true);
    world.events_of(follower);
    let to = link(follower);
    assert!(world.leader.takes_rejections(to) && !world.leader.is_holding(to));
    let (one, two) = (Zxid::new(1, 1), Zxid::new(1, 2));
    world.propose(one);
    world.leader.reject(to, &rejection(1, one));
    for tip in [one, one, two] {
        world.leader.hold(to, tip);
    }
    world.propose(two);
    world.run(true);
    world.leader.durable(two);
    world.run(true);
    let before = [
        LearnerEvent::Rejected(rejection(1, one)),
        LearnerEvent::Committed(one),
    ];
    assert_eq!(world.events_of(follower), before);
    world.leader.release(to, &ToLearner::Confirmed);
    world.leader.release(to, &ToLearner::Synced);
    world.run(true);
    let first = [
        LearnerEvent::Confirmed,
        LearnerEvent::Synced,
        LearnerEvent::Committed(two),
    ];
    assert_eq!(world.events_of(follower), first);
    let refused = ToLearner::Revalidated(SessionId(7), false);
    world.leader.release(to, &refused);
    assert!(!world.leader.is_holding(to));
    world.run(true);
    let last = [LearnerEvent::Revalidated(SessionId(7), false)];
    assert_eq!(world.events_of(follower), last);
}

/// A stranger's link, with what it says first.
fn stranger(world: &mut World, number: u64, bytes: &[u8]) -> LinkId {
    let id = LinkId(number);
    world.leader.link_opened(id, world.now_ms);
    let host = &mut world.leader_host;
    world.leader.receive(id, bytes, world.now_ms, host);
    id
}

/// Which links the leader has closed, and why.
fn closed(world: &mut World) -> Vec<(LinkId, String)> {
    let events = std::iter::from_fn(|| world.leader.poll_event());
    let close = |event| match event {
        LeaderEvent::Close(id, reason) => Some((id, reason)),
        _ => None,
    };
    events.filter_map(close).collect()
}

fn introduction(server: i64, accepted: Zxid, config_version: i64) -> Vec<u8> {
    let info = crate::jute::quorum::LearnerInfo {
        server_id: server,
        protocol_version: super::PROTOCOL_VERSION,
        config_version,
    };
    let mut bytes = Vec::new();
    super::encode_packet(
        kind::FOLLOWER_INFO,
        accepted.0,
        Some(&info.to_vec()),
        &mut bytes,
    );
    bytes
}

#[test]
fn epochs_without_a_next_one_are_refused() {
    let mut world = World::new(3, Host::default());
    for epoch in [super::EPOCH_MAX, u32::MAX] {
        let id = stranger(&mut world, 7, &introduction(2, Zxid::new(epoch, 0), 0));
        let closed = closed(&mut world);
        assert!(
            closed[0].0 == id && closed[0].1.contains("acceptedEpoch"),
            "{closed:?}"
        );
        assert_eq!(world.leader.epoch(), None);
    }
    let index = world.join(Host::default());
    let mut bytes = Vec::new();
    super::encode_packet(
        kind::LEADER_INFO,
        Zxid::new(u32::MAX, 0).0,
        Some(&[0; 4]),
        &mut bytes,
    );
    let (learner, host) = &mut world.learners[index];
    learner.receive(&bytes, 0, host);
    assert_eq!(host.accepted, 0);
    assert!(
        matches!(&world.events_of(index)[..], [LearnerEvent::Ended(reason)] if reason.contains("is none"))
    );
}

#[test]
fn who_has_a_later_configuration_is_refused() {
    let mut world = World::with_version(3, Host::default(), 0x1f);
    for version in [0x20, i64::MAX] {
        let id = stranger(&mut world, 7, &introduction(2, Zxid::ZERO, version));
        let closed = closed(&mut world);
        assert_eq!(closed.len(), 1);
        let says = format!("server 2 has version {version:x} of the");
        assert!(
            closed[0].0 == id && closed[0].1.contains(&says) && closed[0].1.contains("ours, 1f:"),
            "{closed:?}"
        );
        assert_eq!(world.leader.epoch(), None, "it does not count");
    }
    // Who has ours, or an earlier one, is welcome, and so is the refused one with ours.
    for (server, version) in [(3, 0), (2, 0x1f)] {
        let bytes = introduction(server, Zxid::ZERO, version);
        stranger(&mut world, server as u64, &bytes);
        assert_eq!(closed(&mut world), []);
    }
    assert_eq!(world.leader.epoch(), Some(1));
}

#[test]
fn who_does_not_say_who_it_is_costs_little() {
    let mut world = World::new(3, Host::default());
    world.join(Host::default());
    world.run(true);
    // A packet that announces more than a stranger has to say.
    let mut large = Vec::new();
    super::encode_packet(kind::FOLLOWER_INFO, 0, Some(&[0; 200 << 10]), &mut large);
    let id = stranger(&mut world, 7, &large[..100 << 10]);
    let reason = closed(&mut world);
    assert!(reason.len() == 1 && reason[0].0 == id, "{reason:?}");
    // One that trickles.
    let slow = stranger(&mut world, 8, &large[..1]);
    for at in 1..=(INIT_LIMIT_MS / HEARTBEAT_MS) as usize + 1 {
        world.now_ms += HEARTBEAT_MS;
        world
            .leader
            .receive(slow, &large[at..=at], world.now_ms, &mut world.leader_host);
        world.leader.tick(world.now_ms);
        world.run(true);
        world.answer(0);
    }
    let is_its_end =
        |event: &LeaderEvent| matches!(event, LeaderEvent::Close(id, _) if *id == slow);
    assert!(world.events.iter().any(is_its_end));
    // Many.
    for number in 100..200 {
        stranger(&mut world, number, &[]);
    }
    assert_eq!(closed(&mut world).len(), 100 - 64);
    assert_eq!(world.leader.learners().count(), 1, "the follower stays");
}

proptest::proptest! {
    /// Whatever a peer says, it ends its own link at most.
    #[test]
    fn any_bytes_do_no_more_than_end_a_link(
        bytes in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..200),
        kind in 0..25_i32,
    ) {
        let mut world = World::new(3, Host::default());
        world.join(Host::default());
        world.run(true);
        let mut packet = Vec::new();
        super::encode_packet(kind, 0, Some(&bytes), &mut packet);
        packet.extend_from_slice(&bytes);
        world.leader.receive(link(0), &packet, 0, &mut world.leader_host);
        let stranger = link(9);
        world.leader.link_opened(stranger, 0);
        world.leader.receive(stranger, &packet, 0, &mut world.leader_host);
        let (learner, host) = &mut world.learners[0];
        learner.receive(&packet, 0, host);
    }
}

//! Elections among several servers.

use std::sync::Mutex;

use super::network::{Network, ensemble};
use super::*;

fn zxid(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

/// Starts servers in this order, with some time between them.
fn started(network: &mut Network, ids: impl IntoIterator<Item = i64>) {
    for id in ids {
        network.start(id, 0, Zxid::ZERO);
        network.run(1000);
    }
}

#[test]
fn the_example_of_the_tutorial() {
    let mut network = Network::new(ensemble(5, 0), 1);
    started(&mut network, [1]);
    assert_eq!(network.table(), "1 looking 1 in 1\n");
    started(&mut network, [2]);
    assert_eq!(network.table(), "1 looking 2 in 1\n2 looking 2 in 1\n");
    started(&mut network, [3]);
    let three = "1 following 3 in 1\n2 following 3 in 1\n3 leading 3 in 1\n";
    assert_eq!(network.table(), three);
    started(&mut network, [4, 5]);
    let rest = "4 following 3 in 1\n5 following 3 in 1\n";
    assert_eq!(network.table(), format!("{three}{rest}"));
    assert_eq!(network.node(3).decision, Some(Decision::Lead));
    assert_eq!(
        network.node(5).decision,
        Some(Decision::Follow(ServerId(3)))
    );
}

#[test]
fn the_newest_data_wins_then_the_id() {
    // Epoch and zxid of servers 1 to 3, and who leads.
    let cases = [
        ([(1, zxid(1, 9)), (1, zxid(1, 8)), (1, zxid(1, 7))], 1),
        ([(1, zxid(1, 9)), (2, zxid(1, 8)), (1, zxid(1, 9))], 2),
        ([(1, zxid(1, 9)), (1, zxid(1, 9)), (1, zxid(1, 7))], 2),
        ([(1, zxid(1, 9)), (1, zxid(1, 9)), (1, zxid(1, 9))], 3),
        ([(0, zxid(0, 0)), (0, zxid(0, 0)), (0, zxid(0, 1))], 3),
    ];
    for (number, (data, leader)) in cases.into_iter().enumerate() {
        let mut network = Network::new(ensemble(3, 0), number as u64);
        for (id, (epoch, zxid)) in (1..).zip(data) {
            network.start(id, epoch, zxid);
        }
        network.run(0);
        let expected = BTreeMap::from([(1, BTreeSet::from([ServerId(leader)]))]);
        assert_eq!(network.leaders(), expected, "case {number}");
        assert!(network.nodes.values().all(|node| node.decision.is_some()));
    }
}

#[test]
fn a_zxid_of_minus_one_takes_no_part() {
    let mut network = Network::new(ensemble(3, 0), 1);
    for id in 1..=3 {
        network.start(id, 0, Zxid(-1));
    }
    network.run(1000);
    assert!(network.leaders().is_empty());
}

#[test]
fn the_wait_ends_early_only_when_all_that_are_connected_agree() {
    let mut network = Network::new(ensemble(3, 0), 1);
    network.start(1, 0, Zxid::ZERO);
    network.start(2, 0, Zxid::ZERO);
    network.run(4);
    assert_eq!(network.table(), "1 looking 2 in 1\n2 looking 2 in 1\n");
    network.run(1);
    assert_eq!(network.table(), "1 following 2 in 1\n2 leading 2 in 1\n");

    let mut network = Network::new(ensemble(3, 0), 1);
    network.tells_reachable = false;
    network.start(2, 0, Zxid::ZERO);
    network.start(1, 0, Zxid::ZERO);
    network.run(199);
    assert!(network.leaders().is_empty());
    network.run(1);
    assert_eq!(network.table(), "1 following 2 in 1\n2 leading 2 in 1\n");

    // A third one is connected and silent.
    let mut network = Network::new(ensemble(3, 0), 1);
    network.start(1, 0, Zxid::ZERO);
    network.start(2, 0, Zxid::ZERO);
    for id in [1, 2] {
        let election = &mut network.node(id).election;
        election.reachable(ServerId(3), true, 1000);
    }
    network.run(199);
    assert!(network.leaders().is_empty());
    network.run(1);
    assert_eq!(network.leaders().len(), 1);
}

#[test]
fn a_better_vote_during_the_wait_wins() {
    let mut network = Network::new(ensemble(5, 0), 1);
    network.tells_reachable = false;
    for id in 1..=3 {
        network.start(id, 0, Zxid::ZERO);
    }
    network.run(150);
    network.start(5, 0, Zxid::ZERO);
    network.run(199);
    assert!(network.leaders().is_empty());
    network.run(200);
    let expected = BTreeMap::from([(1, BTreeSet::from([ServerId(5)]))]);
    assert_eq!(network.leaders(), expected);
}

#[test]
fn a_leader_that_fails_is_replaced() {
    let mut network = Network::new(ensemble(3, 0), 7);
    started(&mut network, 1..=3);
    assert!(network.table().contains("2 leading"));
    network.stop(2);
    // Server 1 notices first, and its vote reaches server 3 before that looks.
    network.node(1).zxid = zxid(1, 5);
    network.look(1);
    network.run(0);
    network.look(3);
    network.run(5);
    assert_eq!(network.table(), "1 leading 1 in 2\n3 following 1 in 2\n");

    // The old leader comes back with more data and joins all the same.
    network.start(2, 1, zxid(1, 9));
    network.run(0);
    assert_eq!(
        network.table(),
        "1 leading 1 in 2\n2 following 1 in 2\n3 following 1 in 2\n"
    );
}

#[test]
fn a_joiner_needs_the_word_of_the_leader_itself() {
    let mut network = Network::new(ensemble(3, 0), 3);
    started(&mut network, 1..=3);
    network.cut(3, 2, true);
    network.stop(3);
    network.start(3, 0, Zxid::ZERO);
    network.run(100_000);
    assert!(network.table().ends_with("3 looking 3 in 1\n"));
    network.cut(3, 2, false);
    network.run(0);
    assert!(network.table().ends_with("3 following 2 in 1\n"));
}

#[test]
fn members_that_know_different_epochs_of_one_leader_are_told_apart() {
    let mut network = Network::new(ensemble(5, 0), 3);
    started(&mut network, 1..=3);
    network.node(3).election.set_vote_epoch(4);
    network.node(1).election.set_vote_epoch(4);
    // Two of five say epoch 4 and one says epoch 0: no quorum says the same.
    // In their own round the leader alone would count.
    network.start(4, 0, Zxid::ZERO);
    network.look(4);
    network.run(1000);
    assert!(network.table().contains("4 looking"));
    network.node(2).election.set_vote_epoch(4);
    network.run(1000);
    assert!(network.table().contains("4 following 3"));
    assert_eq!(network.node(4).election.vote().peer_epoch, 4);
}

#[test]
fn a_member_in_an_old_round_is_brought_up() {
    let mut network = Network::new(ensemble(3, 0), 3);
    network.start(1, 0, Zxid::ZERO);
    for _ in 0..5 {
        network.look(1);
    }
    network.start(3, 0, Zxid::ZERO);
    network.run(5);
    assert_eq!(network.table(), "1 following 3 in 6\n3 leading 3 in 6\n");
}

#[test]
fn observers_follow_and_do_not_count() {
    let mut network = Network::new(ensemble(3, 2), 1);
    started(&mut network, [1, 4, 5]);
    // They take over what they hear, and voters that hear of it stay unmoved.
    assert_eq!(
        network.table(),
        "1 looking 1 in 1\n4 looking 1 in 1\n5 looking 1 in 1\n"
    );
    network.run(60_000);
    assert!(network.leaders().is_empty());
    started(&mut network, [2]);
    assert_eq!(
        network.table(),
        "1 following 2 in 1\n2 leading 2 in 1\n4 observing 2 in 1\n5 observing 2 in 1\n"
    );
    let decision = network.node(4).decision;
    assert_eq!(decision, Some(Decision::Observe(ServerId(2))));

    // One that comes later finds the leader, too.
    network.stop(5);
    network.start(5, 0, Zxid::ZERO);
    network.run(0);
    assert!(network.table().contains("5 observing 2"));
}

#[test]
fn weights_decide_who_is_a_quorum_and_who_may_lead() {
    let mut nine = ensemble(9, 0);
    for group in 0..3 {
        let weights = (1..=3).map(|id| (ServerId(3 * group + id), 1)).collect();
        nine.groups.insert(group, weights);
    }
    // Server 9 may vote but its vote has no weight, and it never leads.
    let last = nine.groups.get_mut(&2).expect("the third group");
    last.insert(ServerId(9), 0);
    let mut network = Network::new(nine, 1);
    started(&mut network, [1, 2, 3, 7]);
    assert!(network.leaders().is_empty());
    started(&mut network, [9]);
    assert!(network.leaders().is_empty());
    started(&mut network, [4, 5]);
    assert_eq!(
        network.table(),
        "1 following 7 in 1\n2 following 7 in 1\n3 following 7 in 1\n4 following 7 in 1\n\
         5 following 7 in 1\n7 leading 7 in 1\n9 following 7 in 1\n"
    );
}

#[test]
fn a_minority_decides_nothing_and_rejoins() {
    let mut network = Network::new(ensemble(5, 0), 9);
    for id in 1..=5 {
        network.start(id, 0, Zxid::ZERO);
    }
    network.run(0);
    assert!(network.table().contains("5 leading"));
    for (one, other) in [(4, 1), (4, 2), (4, 3), (5, 1), (5, 2), (5, 3)] {
        network.cut(one, other, true);
    }
    for id in 1..=5 {
        network.look(id);
    }
    network.run(300_000);
    assert_eq!(
        network.table(),
        "1 following 3 in 2\n2 following 3 in 2\n3 leading 3 in 2\n\
         4 looking 5 in 2\n5 looking 5 in 2\n"
    );
    for (one, other) in [(4, 1), (4, 2), (4, 3), (5, 1), (5, 2), (5, 3)] {
        network.cut(one, other, false);
    }
    network.run(0);
    assert!(
        network
            .table()
            .ends_with("4 following 3 in 2\n5 following 3 in 2\n")
    );
}

#[test]
fn all_that_decide_in_one_round_agree() {
    for seed in 0..300 {
        let voters = [3, 4, 5][seed as usize % 3];
        let mut network = Network::new(ensemble(voters, 1), seed);
        network.tells_reachable = seed % 2 == 0;
        for id in 1..=voters + 1 {
            let counter = network.random(3) as u32;
            network.start(id, 1, zxid(1, counter));
        }
        for _ in 0..5 {
            network.run(1000);
            let leaders = network.leaders();
            assert!(
                leaders.values().all(|leaders| leaders.len() == 1),
                "seed {seed}: {leaders:?}\n{}",
                network.table()
            );
            assert!(
                network.nodes.values().all(|node| node.decision.is_some()),
                "seed {seed}:\n{}",
                network.table()
            );
            let restarted = network.random(voters as u64) as i64 + 1;
            let looking: Vec<i64> = network.nodes.keys().copied().collect();
            if network.node(restarted).election.state() == PeerState::Leading {
                looking.into_iter().for_each(|id| network.look(id));
            } else {
                network.start(restarted, 1, zxid(1, 0));
            }
        }
    }
}

#[test]
fn lost_messages_delay_a_leader_and_do_not_prevent_one() {
    for seed in 0..300 {
        let mut network = Network::new(ensemble(5, 0), seed);
        network.tells_reachable = seed % 2 == 0;
        network.loss_percent = 10 + 10 * (seed % 4);
        for id in 1..=5 {
            let counter = network.random(3) as u32;
            network.start(id, 1, zxid(1, counter));
        }
        let mut is_established = false;
        for _ in 0..100 {
            network.run(2000);
            // What discovery and synchronisation would do: give up without a quorum or a leader.
            let states: BTreeMap<i64, Option<Decision>> = network
                .nodes
                .iter()
                .map(|(&id, node)| (id, node.decision))
                .collect();
            let leader = states.keys().copied().find(|&id| {
                let follows = Some(Decision::Follow(ServerId(id)));
                let followers = states.values().filter(|other| **other == follows).count();
                states[&id] == Some(Decision::Lead) && followers >= 2
            });
            let is_content = |id: i64, decision: &Option<Decision>| {
                decision.is_none()
                    || Some(id) == leader
                    || *decision == leader.map(|leader| Decision::Follow(ServerId(leader)))
            };
            for (&id, decision) in &states {
                if !is_content(id, decision) {
                    network.look(id);
                }
            }
            is_established = leader.is_some() && states.values().all(Option::is_some);
            if is_established && states.iter().all(|(&id, it)| is_content(id, it)) {
                break;
            }
        }
        assert!(is_established, "seed {seed}:\n{}", network.table());
    }
}

#[test]
fn whose_vote_is_not_wanted_is_ignored() {
    let mut network = Network::new(ensemble(3, 1), 1);
    network.start(1, 0, Zxid::ZERO);
    network.run(0);
    let election = &mut network.node(1).election;
    let vote = |leader, round| Vote {
        leader: ServerId(leader),
        zxid: zxid(9, 9),
        peer_epoch: 9,
        election_epoch: round,
    };
    let before = election.vote();
    let strange = wire::write(PeerState::Looking, vote(77, 5), b"");
    election.receive(ServerId(2), &strange, 1000);
    for from in [4, 77, -3, 1] {
        for state in [PeerState::Looking, PeerState::Leading] {
            let message = wire::write(state, vote(3, 5), b"");
            election.receive(ServerId(from), &message, 1000);
        }
    }
    for message in [&b""[..], &[0xff; 44], &[0xff; 28]] {
        election.receive(ServerId(2), message, 1000);
    }
    assert_eq!(election.vote(), before);
    let answered: Vec<i64> = std::iter::from_fn(|| election.poll_send())
        .map(|(to, _)| to.0)
        .collect();
    assert_eq!(answered, [-3, 4, 77]);
    let again = wire::write(PeerState::Looking, vote(3, 5), b"");
    election.receive(ServerId(77), &again, 1019);
    assert_eq!(election.poll_send(), None);
    election.receive(ServerId(77), &again, 1020);
    assert!(election.poll_send().is_some());
}

#[test]
fn no_round_overflows() {
    let mut network = Network::new(ensemble(3, 0), 1);
    network.start(1, 0, Zxid::ZERO);
    let vote = Vote {
        leader: ServerId(2),
        zxid: Zxid(i64::MAX),
        peer_epoch: i64::MAX,
        election_epoch: i64::MAX,
    };
    let message = wire::write(PeerState::Looking, vote, b"");
    let election = &mut network.node(1).election;
    election.receive(ServerId(2), &message, u64::MAX - 1);
    election.look(Zxid::ZERO, 0, u64::MAX - 1);
    assert_eq!(election.vote().election_epoch, i64::MAX);
}

#[test]
fn what_is_sent_carries_the_configuration() {
    let mut network = Network::new(ensemble(3, 0), 1);
    network.start(2, 3, zxid(3, 1));
    let (to, message) = network.node(2).election.poll_send().expect("sent to all");
    let told = wire::read(&message).expect("our own");
    assert_eq!((to, told.state), (ServerId(1), Some(PeerState::Looking)));
    let text = ensemble(3, 0).to_string();
    assert_eq!(told.config, Some(text.as_bytes()));
    assert_eq!(told.vote, network.node(2).election.vote());
    assert_eq!(told.vote.rank(), (3, zxid(3, 1), ServerId(2)));
}

#[test]
fn votes_are_sent_again_ever_more_seldom() {
    let mut network = Network::new(ensemble(3, 0), 1);
    network.start(1, 0, Zxid::ZERO);
    network.run(0);
    let mut waits = Vec::new();
    for _ in 0..10 {
        let election = &network.node(1).election;
        let wake_ms = election.next_wake_ms().expect("looking");
        waits.push(wake_ms - network.now_ms);
        network.run(wake_ms - network.now_ms);
    }
    let expected = [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000];
    assert_eq!(waits, expected);
}

/// What is logged while `work` runs in this thread.
fn logged(work: impl FnOnce()) -> String {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&lines);
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || Lines(Arc::clone(&writer)))
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let lines = lines.lock().expect("nobody panicked");
    String::from_utf8(lines.clone()).expect("text")
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_member_with_another_configuration_is_named_once() {
    let mut other = ensemble(3, 0);
    let weights = [(1, 1), (2, 1), (3, 5)].map(|(id, weight)| (ServerId(id), weight));
    other.groups.insert(1, weights.into());
    let mut ours = other.clone();
    ours.groups
        .insert(1, (1..=3).map(|id| (ServerId(id), 1)).collect());
    let mut network = Network::new(ours, 1);
    let log = logged(|| {
        started(&mut network, [1, 2]);
        network.start_with(3, other);
        network.run(5000);
        for id in 1..=3 {
            network.look(id);
        }
        network.run(5000);
    });
    let of = |name: &str| log.lines().filter(|line| line.contains(name)).count();
    let differs = "has another configuration of the ensemble than this server: server 3 weighs";
    let there = format!("server 3 {differs} 5 there and 1 here");
    assert_eq!(of(&there), 2, "servers 1 and 2 say it: {log}");
    assert_eq!(of(differs), 4, "and server 3 says it of both: {log}");
}

/// Servers 1 to 3 have elected 3, and 1 and 2 could not reach it.
fn unreached() -> Network {
    let mut network = Network::new(ensemble(3, 0), 1);
    for id in 1..=3 {
        network.start(id, 0, Zxid::ZERO);
    }
    network.run(0);
    for id in [1, 2] {
        assert_eq!(
            network.node(id).decision,
            Some(Decision::Follow(ServerId(3)))
        );
        let now_ms = network.now_ms;
        network.node(id).election.pass_over(ServerId(3), now_ms);
        network.look(id);
    }
    network
}

#[test]
fn who_was_elected_and_cannot_be_reached_is_passed_over() {
    let mut network = unreached();
    network.run(300);
    let two = "1 following 2 in 2\n2 leading 2 in 2\n";
    assert_eq!(network.table(), format!("{two}3 leading 3 in 1\n"));
    // It gives up leading, and comes to the others.
    network.look(3);
    network.run(0);
    assert_eq!(network.table(), format!("{two}3 following 2 in 2\n"));
}

#[test]
fn who_was_passed_over_is_elected_again_after_a_while_and_left_for_longer_each_time() {
    let mut network = unreached();
    // Server 2 has gone, so that nobody else can win.
    network.stop(2);
    network.look(3);
    let mut waits_ms = Vec::new();
    for _ in 0..5 {
        let before_ms = network.now_ms;
        while network.node(1).decision.is_none() {
            network.run(5);
        }
        assert_eq!(
            network.node(1).decision,
            Some(Decision::Follow(ServerId(3)))
        );
        waits_ms.push(network.now_ms - before_ms);
        let now_ms = network.now_ms;
        network.node(1).election.pass_over(ServerId(3), now_ms);
        network.look(1);
        network.look(3);
    }
    // The election itself takes 5 ms.
    assert_eq!(waits_ms, [5_005, 10_005, 20_005, 40_005, 40_005]);

    network.node(1).election.reached(ServerId(3));
    network.look(1);
    network.look(3);
    network.run(5);
    assert_eq!(
        network.node(1).decision,
        Some(Decision::Follow(ServerId(3)))
    );
}

#[test]
fn a_server_without_a_vote_passes_nobody_over() {
    let mut network = Network::new(ensemble(3, 1), 1);
    for id in 1..=4 {
        network.start(id, 0, Zxid::ZERO);
    }
    network.run(0);
    let now_ms = network.now_ms;
    network.node(4).election.pass_over(ServerId(3), now_ms);
    network.look(4);
    network.run(300);
    assert_eq!(
        network.node(4).decision,
        Some(Decision::Observe(ServerId(3)))
    );
}

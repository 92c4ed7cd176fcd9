//! What is said to Apache's servers, and what is made of what they say.

use super::*;
use crate::jute::quorum::LearnerInfo;
use crate::zab::rejection::REJECT;
use crate::zab::{PROTOCOL_VERSION, encode_packet};

#[test]
fn towards_apache_each_transaction_is_committed_by_itself() {
    let mut world = World::new(3, Host::default());
    world.join(Host::default());
    world.run(true);
    // A learner without the extension.
    let apache = link(9);
    world.leader.link_opened(apache, 0);
    let info = LearnerInfo {
        server_id: 3,
        protocol_version: PROTOCOL_VERSION,
        config_version: 0,
    };
    let (mut data, mut bytes) = (Vec::new(), Vec::new());
    info.encode(&mut data);
    encode_packet(kind::FOLLOWER_INFO, 0, Some(&data), &mut bytes);
    let host = &mut world.leader_host;
    world.leader.receive(apache, &bytes, 0, host);
    assert!(!world.leader.takes_rejections(apache));
    bytes.clear();
    encode_packet(kind::ACK_EPOCH, 0, Some(&[0; 4]), &mut bytes);
    encode_packet(kind::ACK, Zxid::new(1, 0).0, None, &mut bytes);
    world.leader.receive(apache, &bytes, 0, host);
    for counter in 1..=3 {
        world.propose(Zxid::new(1, counter));
    }
    world.leader.durable(Zxid::new(1, 3));
    world.run(true);
    let mut said = Vec::new();
    world.leader.take_output(apache, &mut said);
    let mut reader = PacketReader::default();
    reader.extend(&said);
    let mut kinds = Vec::new();
    while let Some((packet, length)) = reader.peek().expect("packets") {
        assert!(packet.kind != kind::LEADER_INFO || packet.data.is_some_and(|d| d.len() == 4));
        kinds.push(packet.kind);
        reader.skip(length);
    }
    assert_eq!(
        kinds,
        [
            kind::LEADER_INFO,
            kind::DIFF,
            kind::NEW_LEADER,
            kind::UP_TO_DATE,
            kind::PROPOSAL,
            kind::PROPOSAL,
            kind::PROPOSAL,
            kind::COMMIT,
            kind::COMMIT,
            kind::COMMIT,
        ]
    );
}

/// A learner that Apache's leader has sent NEWLEADER, and its host.
fn led_by_apache() -> (Learner, Host) {
    let config = LearnerConfig {
        my_id: ServerId(2),
        is_observer: false,
        config_version: 0,
        tree_base: Zxid::ZERO,
        init_limit_ms: INIT_LIMIT_MS,
        sync_limit_ms: SYNC_LIMIT_MS,
        silence_limit_ms: SILENCE_LIMIT_MS,
    };
    let mut host = Host::default();
    let mut learner = Learner::new(config, host.summary(), 0);
    let (epoch, mut said) = (Zxid::new(1, 0).0, Vec::new());
    for (kind, data) in [
        (kind::LEADER_INFO, Some(&[0, 1, 0, 0][..])),
        (kind::DIFF, None),
        (kind::NEW_LEADER, None),
    ] {
        encode_packet(kind, epoch, data, &mut said);
    }
    learner.receive(&said, 0, &mut host);
    (learner, host)
}

fn hear(learner: &mut Learner, host: &mut Host, kind: i32, zxid: i64, data: Option<&[u8]>) {
    let mut said = Vec::new();
    encode_packet(kind, zxid, data, &mut said);
    learner.receive(&said, 0, host);
}

/// A follower that is in step with a leader of Apache's, and what it says when it is told this.
fn told_by_apache(kind: i32, data: Option<&[u8]>) -> Vec<LearnerEvent> {
    let (mut learner, mut host) = led_by_apache();
    learner.durable(Zxid::ZERO, &mut host);
    hear(&mut learner, &mut host, kind::UP_TO_DATE, -1, None);
    assert!(learner.is_active());
    hear(&mut learner, &mut host, kind, 0, data);
    std::iter::from_fn(|| learner.poll_event()).collect()
}

#[test]
fn the_first_answer_to_newleader_is_its_acknowledgement() {
    let (mut learner, mut host) = led_by_apache();
    for is_durable in [false, true] {
        if is_durable {
            learner.durable(Zxid::ZERO, &mut host);
        }
        hear(&mut learner, &mut host, kind::PING, 0, None);
        assert_eq!(learner.poll_event(), None, "Apache's do not answer, either");
    }
    let is_ping = |event: &LearnerEvent| matches!(event, LearnerEvent::Ping(_));
    assert!(told_by_apache(kind::PING, None).iter().any(is_ping));
}

#[test]
fn an_apache_leader_may_not_reject() {
    let events = told_by_apache(REJECT, Some(&[0; 13]));
    assert!(
        matches!(events.last(), Some(LearnerEvent::Ended(reason)) if reason.contains("REJECT"))
    );
}

#[test]
fn a_reconfigured_ensemble_is_left_with_a_reason() {
    for kind in [kind::COMMIT_AND_ACTIVATE, kind::INFORM_AND_ACTIVATE] {
        let events = told_by_apache(kind, Some(&[0; 8]));
        let reconfigured = "the ensemble was reconfigured; restart";
        assert!(
            matches!(events.last(), Some(LearnerEvent::Ended(reason)) if reason.starts_with(reconfigured)),
            "{events:?}"
        );
    }
}

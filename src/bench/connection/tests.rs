//! A connection against a responder, with times of our own.

use std::sync::Arc;

use super::super::keys::{Keys, Popularity};
use super::super::mixed::{Mixed, Mixture};
use super::super::pace::Schedule;
use super::super::recorder::Window;
use super::super::request::{Sizes, framed};
use super::super::spread::Spread;
use super::super::testing::{Lie, Responder};
use super::super::workload::Generator;
use super::*;

const SECOND_NS: u64 = 1_000_000_000;

const PLAN: Plan = Plan {
    depth: 4,
    session_timeout_ms: 30_000,
};

/// Both sides of a session.
struct World {
    connection: Connection,
    server: Responder,
    recorder: Recorder,
}

impl World {
    fn new(mix: &str, is_open: bool) -> World {
        let sizes = Sizes {
            value: Spread::only(100),
            depth: "1..3".parse().expect("valid"),
            keys: 10,
            children: 4,
            multi: 2,
        };
        let requests = Arc::new(Requests::new("/bench", sizes));
        let server = Responder::prepared(&requests, 10, 4);
        let mixture = Mixture {
            mix: mix.parse().expect("a valid mix"),
            keys: Keys::new(10, Popularity::Uniform),
            requests,
        };
        let actor = Mixed::new(Arc::new(mixture), Generator::new(3, 0));
        let window = Window {
            start_ns: 0,
            end_ns: u64::MAX,
        };
        let mut world = World {
            connection: Connection::new(Box::new(actor)),
            server,
            recorder: Recorder::new(window, is_open),
        };
        world.connection.handle_open(&PLAN, 0);
        world.exchange(1);
        world
    }

    /// Passes bytes to the responder and its answers back, as a driver would.
    fn exchange(&mut self, now_ns: u64) {
        let answers = self.answers();
        self.receive(&answers, now_ns).expect("valid answers");
    }

    fn answers(&mut self) -> Vec<u8> {
        let mut answers = Vec::new();
        self.server.respond(self.connection.output(), &mut answers);
        let sent = self.connection.output().len();
        self.connection.consume_output(sent);
        answers
    }

    fn receive(&mut self, bytes: &[u8], now_ns: u64) -> Result<(), ProtocolError> {
        self.connection
            .handle_input(bytes, &mut self.recorder, now_ns)
    }

    fn fill(&mut self, now_ns: u64) {
        self.connection
            .fill(&PLAN, &mut self.recorder, now_ns, u64::MAX);
    }

    fn tally(&self, operation: Operation) -> (u64, u64) {
        let tally = self.recorder.tally(operation).expect("it happened");
        (tally.latency_ns.len(), tally.latency_ns.max())
    }
}

#[test]
fn a_session_lives_and_ends() {
    let mut world = World::new("create", false);
    assert_eq!(world.connection.state(), State::Directory);
    world.exchange(2);
    assert_eq!(world.connection.state(), State::Ready);

    world.connection.handle_tick(9 * SECOND_NS);
    assert!(world.connection.output().is_empty());
    world.connection.handle_tick(10 * SECOND_NS + 2);
    assert!(!world.connection.output().is_empty());
    world.exchange(11 * SECOND_NS);

    world.fill(12 * SECOND_NS);
    assert_eq!(world.connection.pending.len(), 4);
    world.connection.close_when_idle(0);
    assert_eq!(world.connection.state(), State::Ready);
    world.exchange(13 * SECOND_NS);
    world.connection.close_when_idle(0);
    assert_eq!(world.connection.state(), State::Closing);
    world.exchange(14 * SECOND_NS);
    assert_eq!(world.connection.state(), State::Closed);
}

#[test]
fn every_operation_is_answered_and_timed() {
    let mix = "get,set,create,createEphemeral,delete,exists,getChildren,multi,sync,ping";
    let mut world = World::new(mix, false);
    world.exchange(2);
    for round in 0..1_000 {
        world.fill(round * 100);
        world.exchange(round * 100 + 50);
    }
    let mut count = 0;
    for &operation in Operation::REQUESTS
        .iter()
        .filter(|one| !one.is_of_session())
    {
        let tally = world.recorder.tally(operation).expect("it happened");
        assert!(tally.latency_ns.len() > 100, "{}", operation.name());
        assert_eq!((tally.latency_ns.min(), tally.latency_ns.max()), (50, 50));
        let failed = (tally.errors.len(), tally.wrong);
        assert_eq!(failed, (0, 0), "{}", operation.name());
        count += tally.latency_ns.len();
    }
    assert_eq!(count, 4_000);
}

#[test]
fn a_server_that_lies_is_seen_through() {
    use Operation::{Exists, Get, GetChildren, Multi, Set};
    for (lie, mix, wrong) in [
        (Lie::LosesSets, "get,set", Get),
        (Lie::LosesSets, "exists,set", Exists),
        (Lie::LosesSets, "get,multi", Get),
        (Lie::KeepsOldData, "get,set", Get),
        (Lie::KeepsOldData, "get,multi", Get),
        (Lie::IgnoresSets, "get,set", Set),
        (Lie::IgnoresSets, "get,multi", Multi),
        (Lie::MixesUpChildren, "getChildren,set", GetChildren),
    ] {
        let mut world = World::new(mix, false);
        world.server.lie = Some(lie);
        for round in 0..100 {
            world.fill(round * 100);
            world.exchange(round * 100 + 50);
        }
        let tally = world.recorder.tally(wrong).expect("it happened");
        assert!(tally.wrong > 10, "{lie:?}, {mix}: {} wrong", tally.wrong);
    }
}

#[test]
fn events_that_nobody_asked_for_are_wrong_but_at_the_end() {
    let mut event = Vec::new();
    framed(&mut event, |out| {
        let header = ReplyHeader {
            xid: op::XID_NOTIFICATION,
            ..ReplyHeader::default()
        };
        header.encode(out);
        WatcherEvent::default().encode(out);
    });
    let mut world = World::new("get", false);
    let mut wrong = || {
        world.receive(&event, 2).expect("a valid event");
        let tally = world.recorder.tally(Operation::Event);
        let wrong = tally.map_or(0, |tally| tally.wrong);
        world.connection.close_when_idle(0);
        wrong
    };
    assert_eq!(wrong(), 1);
    assert_eq!(wrong(), 1, "the session is being closed");
}

#[test]
fn replies_out_of_order_end_it() {
    let mut world = World::new("get", false);
    assert_eq!(world.connection.state(), State::Ready);
    world.fill(2);
    let mut reply = Vec::new();
    let header = ReplyHeader {
        xid: 2,
        ..ReplyHeader::default()
    };
    framed(&mut reply, |out| header.encode(out));
    let refused = ProtocolError::OutOfOrder {
        expected: Some(1),
        got: 2,
    };
    assert_eq!(world.receive(&reply, 3), Err(refused));
    let World {
        connection,
        recorder,
        ..
    } = &mut world;
    connection.reset(recorder, ErrorCode::ConnectionLoss, 4);
    let errors = &recorder.tally(Operation::Get).expect("it happened").errors;
    assert_eq!(errors.get(&ErrorCode::ConnectionLoss.code()), Some(&4));
    assert_eq!(connection.state(), State::Unconnected);
}

#[test]
fn an_open_loop_times_from_the_intended_moment() {
    let mut world = World::new("get", true);
    let schedule = Schedule {
        rate: 10.0,
        connections: 1,
        in_step: false,
    };
    world
        .connection
        .set_pace(Pace::new(&schedule, 0, SECOND_NS));
    world.fill(SECOND_NS - 1);
    assert!(world.connection.output().is_empty());
    world.fill(SECOND_NS);
    world.exchange(SECOND_NS + 1_000);
    assert_eq!(world.tally(Operation::Get), (1, 1_000));

    // The server stalls for a second: four requests are on their way, six wait for room. All ten
    // count from when they were due.
    world.fill(2 * SECOND_NS);
    assert_eq!(world.connection.pending.len(), 4);
    for _ in 0..3 {
        world.exchange(2 * SECOND_NS);
        world.fill(2 * SECOND_NS);
    }
    assert_eq!(world.tally(Operation::Get).0, 11);
    let tally = world.recorder.tally(Operation::Get).expect("it happened");
    let second = tally.latency_ns.value_at_quantile(1.0) as f64;
    assert!((second / 0.9e9 - 1.0).abs() < 0.01, "{second}");
    assert!(tally.latency_ns.value_at_quantile(0.5) > SECOND_NS / 3);

    // What is due and never sent is lost, not forgotten.
    let World {
        connection,
        recorder,
        ..
    } = &mut world;
    connection.give_up(recorder, 4 * SECOND_NS, 3 * SECOND_NS);
    let errors = &recorder.tally(Operation::Get).expect("it happened").errors;
    assert_eq!(errors.get(&ErrorCode::OperationTimeout.code()), Some(&9));
}

#[test]
fn a_session_is_taken_up_again_after_a_cut() {
    let mut world = World::new("get=1,reconnect=1", false);
    let id = world.connection.session.expect("granted").session_id;
    let mut cuts = 0;
    for round in 1..100 {
        world.fill(round * 100);
        if world.connection.state() == State::Cut {
            cuts += 1;
            world.connection.handle_cut();
            world.server.forget_session();
            world.connection.handle_open(&PLAN, round * 100);
        }
        world.exchange(round * 100 + 50);
    }
    assert!(cuts > 10);
    let (count, latency_ns_max) = world.tally(Operation::Reconnect);
    assert_eq!(count, cuts);
    assert!(latency_ns_max >= 50);
    assert_eq!(world.connection.session.expect("granted").session_id, id);
}

#[test]
fn a_renewal_closes_the_session_and_opens_another() {
    let mut world = World::new("createEphemeral=3,renew=1", false);
    world.exchange(2);
    let mut renewals = 0;
    for round in 1..200 {
        world.fill(round * 100);
        world.exchange(round * 100 + 50);
        if world.connection.state() == State::Cut {
            renewals += 1;
            assert!(world.connection.session.is_none());
            world.connection.handle_cut();
            world.server.forget_session();
            world.connection.handle_open(&PLAN, round * 100);
        }
    }
    assert!(renewals > 10);
    let (count, _) = world.tally(Operation::Renew);
    assert!(
        count == renewals || count + 1 == renewals,
        "{count} of {renewals}"
    );
}

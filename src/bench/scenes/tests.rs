//! Scenarios against a real server are in `tests/bench.rs`; here is what needs none: their znodes,
//! and that replies and events that cannot be are seen as wrong.

use clap::Parser;

use crate::client::EventKind;
use crate::jute::data::Stat;
use crate::jute::proto::{
    CreateResponse, GetChildrenResponse, GetDataResponse, MULTI_END, MultiHeader, SetDataResponse,
    WatcherEvent,
};
use crate::jute::{Record, op};

use super::super::operation::Operation;
use super::super::recorder::{Recorder, Window};
use super::super::spread::Spread;
use super::super::workload::Step;
use super::*;

#[test]
fn parents_come_before_their_children() {
    for scenario in Scenario::value_variants() {
        let words = ["bench", "--connections=25", "--keys=250", "--base=/b"];
        let options = Options::try_parse_from(words).expect("valid words");
        let Some(scene) = scenario.scene(&options) else {
            continue;
        };
        let mut known = vec!["/b".to_owned()];
        for (path, _) in scene.znodes() {
            let (parent, _) = path.rsplit_once('/').expect("absolute");
            assert!(known.iter().any(|one| one == parent), "{path}");
            assert!(!known.contains(&path), "{path} comes twice");
            known.push(path);
        }
        assert!(known.len() > 1, "{scenario:?}");
        for number in 0..25 {
            scene.actor(number);
        }
    }
}

/// An actor whose server the test plays. Its session is number 1.
struct Play {
    actor: Box<dyn Actor>,
    recorder: Recorder,
}

impl Play {
    fn new(scene: &dyn Scene, number: u32) -> Play {
        let window = Window {
            start_ns: 0,
            end_ns: u64::MAX,
        };
        let mut actor = scene.actor(number);
        actor.begin(1);
        Play {
            actor,
            recorder: Recorder::new(window, false),
        }
    }

    fn ask(&mut self) -> Step {
        let step = self.actor.next(1, 1, &mut Vec::new());
        step.expect("there is something to do")
    }

    fn is_idle(&mut self) -> bool {
        self.actor.next(1, 1, &mut Vec::new()).is_none()
    }

    fn judge(&mut self, step: Step, body: &[u8]) -> Verdict {
        self.actor.judge(step, Ok(body), &mut self.recorder, 2)
    }

    /// Whether the event is taken as a right one.
    fn takes(&mut self, kind: EventKind, path: &str) -> bool {
        let wrong = |recorder: &Recorder| {
            let tally = recorder.tally(Operation::Event);
            tally.map_or(0, |tally| tally.wrong)
        };
        let before = wrong(&self.recorder);
        let (kind, state) = (kind as i32, 3);
        let event = WatcherEvent { kind, state, path };
        self.actor.notified(&event, &mut self.recorder, 3);
        wrong(&self.recorder) == before
    }
}

/// Plays `script`, of each reply the right body and some wrong ones: once with the right ones, and
/// for each wrong one up to that.
fn lies_are_seen(scene: impl Fn() -> Box<dyn Scene>, script: &[(Vec<u8>, Vec<Vec<u8>>)]) {
    for (place, (_, lies)) in script.iter().enumerate() {
        for (number, lie) in lies.iter().enumerate() {
            let mut play = Play::new(&*scene(), 0);
            for (right, _) in &script[..place] {
                let step = play.ask();
                assert_eq!(play.judge(step, right), Verdict::Right, "{step:?}");
            }
            let step = play.ask();
            let judged = play.judge(step, lie);
            assert_eq!(judged, Verdict::Wrong, "{step:?}, lie {number}");
        }
    }
    let mut play = Play::new(&*scene(), 0);
    for (right, _) in script {
        let step = play.ask();
        assert_eq!(play.judge(step, right), Verdict::Right, "{step:?}");
    }
}

fn values() -> Arc<Values> {
    Arc::new(Values::new(Spread::only(20)))
}

fn data(data: &[u8], mzxid: i64, version: i32) -> Vec<u8> {
    let stat = Stat {
        mzxid,
        version,
        data_length: data.len() as i32,
        ..Stat::default()
    };
    let data = Some(data);
    GetDataResponse { data, stat }.to_vec()
}

fn list(names: &[&str]) -> Vec<u8> {
    let children = names.to_vec();
    GetChildrenResponse { children }.to_vec()
}

fn created(path: &str) -> Vec<u8> {
    CreateResponse { path }.to_vec()
}

fn set(version: i32) -> Vec<u8> {
    let stat = Stat {
        version,
        data_length: 20,
        ..Stat::default()
    };
    SetDataResponse { stat }.to_vec()
}

fn multi(results: &[(i32, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, body) in results {
        let header = MultiHeader {
            kind: *kind,
            done: false,
            err: 0,
        };
        header.encode(&mut out);
        out.extend_from_slice(body);
    }
    MULTI_END.encode(&mut out);
    out
}

#[test]
fn watchers_of_data_see_through_lies() {
    let values = values();
    let scene = fanout::Fanout::of_data("/b", 2, Arc::clone(&values));
    let (mut writer, mut watcher) = (Play::new(&scene, 0), Play::new(&scene, 1));
    let reply = |stamp, mzxid| data(&values.of(0, stamp), mzxid, 0);
    let get = watcher.ask();
    assert_eq!(watcher.judge(get, &reply(0, 5)), Verdict::Right);
    writer.ask();
    assert!(!watcher.takes(EventKind::NodeDeleted, "/b/watched"));
    assert!(!watcher.takes(EventKind::NodeDataChanged, "/b/other"));
    assert!(watcher.takes(EventKind::NodeDataChanged, "/b/watched"));
    assert!(!watcher.takes(EventKind::NodeDataChanged, "/b/watched"));
    assert!(!writer.takes(EventKind::NodeDataChanged, "/b/watched"));
    let get = watcher.ask();
    for stale in [reply(0, 5), reply(0, 6), reply(1, 5)] {
        assert_eq!(watcher.judge(get, &stale), Verdict::Wrong);
    }
    let of_another = data(&values.of(1, 1), 6, 0);
    assert_eq!(watcher.judge(get, &of_another), Verdict::Wrong);
    assert_eq!(watcher.judge(get, &reply(1, 6)[..9]), Verdict::Wrong);
    assert_eq!(watcher.judge(get, &reply(1, 6)), Verdict::Right);
}

#[test]
fn watchers_of_children_see_through_lies() {
    let values = values();
    let scene = fanout::Fanout::of_children("/b", 2, Arc::clone(&values));
    let (mut writer, mut watcher) = (Play::new(&scene, 0), Play::new(&scene, 1));
    let listed = watcher.ask();
    assert_eq!(watcher.judge(listed, &list(&[])), Verdict::Right);
    let create = writer.ask();
    for (path, verdict) in [
        ("/b/service-0", Verdict::Wrong),
        ("/b/service-0/instance", Verdict::Right),
    ] {
        assert_eq!(writer.judge(create, &created(path)), verdict);
    }
    assert!(!watcher.takes(EventKind::NodeChildrenChanged, "/b/service-1"));
    assert!(!watcher.takes(EventKind::NodeDataChanged, "/b/service-0"));
    assert!(watcher.takes(EventKind::NodeChildrenChanged, "/b/service-0"));
    let listed = watcher.ask();
    for names in [&[][..], &["other"], &["instance", "instance"]] {
        assert_eq!(watcher.judge(listed, &list(names)), Verdict::Wrong);
    }
    assert_eq!(watcher.judge(listed, &list(&["instance"])), Verdict::Right);
    let get = watcher.ask();
    let right = data(&values.of(0, 1), 9, 0);
    let gone = watcher
        .actor
        .judge(get, Err(-101), &mut watcher.recorder, 4);
    assert_eq!(gone, Verdict::Right);
    assert_eq!(watcher.judge(get, &right), Verdict::Right);
    for wrong in [data(&values.of(1, 1), 9, 0), data(&values.of(0, 0), 8, 0)] {
        assert_eq!(watcher.judge(get, &wrong), Verdict::Wrong);
    }
}

/// A watcher counted for less than nothing when its session was lost before the event of a write,
/// and the writer no longer waited for anybody.
#[test]
fn a_session_lost_before_the_event_of_a_write_leaves_the_counts_right() {
    let values = values();
    let scene = fanout::Fanout::of_data("/b", 3, Arc::clone(&values));
    let mut writer = Play::new(&scene, 0);
    let mut watchers = [1, 2].map(|number| Play::new(&scene, number));
    let arm = |watcher: &mut Play, mzxid: i64| {
        let get = watcher.ask();
        let reply = data(&values.of(0, mzxid as u32), mzxid, 0);
        assert_eq!(watcher.judge(get, &reply), Verdict::Right);
    };
    for watcher in &mut watchers {
        arm(watcher, 1);
    }
    let write = writer.ask();
    assert_eq!(writer.judge(write, &set(1)), Verdict::Right);
    watchers[0].actor.begin(2);
    assert!(writer.is_idle(), "nobody watches");
    assert!(watchers[0].is_idle(), "the other has not heard yet");
    assert!(watchers[1].takes(EventKind::NodeDataChanged, "/b/watched"));
    arm(&mut watchers[1], 2);
    assert!(writer.is_idle(), "one does not watch");
    arm(&mut watchers[0], 2);

    // All lose their sessions, and nobody knows of the other.
    writer.ask();
    writer.actor.begin(3);
    for watcher in &mut watchers {
        watcher.actor.begin(4);
    }
    for watcher in &mut watchers {
        assert!(writer.is_idle());
        arm(watcher, 3);
    }
    writer.ask();
    // The second was the last to hear of the first write too.
    for (watcher, last) in watchers.iter_mut().zip([0, 2]) {
        assert!(watcher.takes(EventKind::NodeDataChanged, "/b/watched"));
        let tally = watcher.recorder.tally(Operation::LastEvent);
        assert_eq!(tally.map_or(0, |tally| tally.latency_ns.len()), last);
    }
}

#[test]
fn contenders_for_locks_see_through_lies() {
    let own = created("/b/lock-0/c-0000000002");
    let lies = [
        "/b/lock-0/c-",
        "/b/lock-0/c-000000000x",
        "/b/lock-1/c-0000000002",
    ];
    let both = list(&["c-0000000002", "c-0000000001"]);
    let lists = [
        list(&["c-0000000001"]),
        list(&["c-0000000002", "c-1"]),
        vec![],
    ];
    let scene = || Box::new(locks::Locks::new("/b", 1)) as Box<dyn Scene>;
    let script = [
        (own.clone(), lies.map(created).to_vec()),
        (both.clone(), lists.to_vec()),
    ];
    lies_are_seen(scene, &script);

    let mut play = Play::new(&*scene(), 0);
    for body in [own, both, SetDataResponse::default().to_vec()] {
        let step = play.ask();
        assert_eq!(play.judge(step, &body), Verdict::Right);
    }
    let before = "/b/lock-0/c-0000000001";
    assert!(play.takes(EventKind::NodeDeleted, before));
    assert!(!play.takes(EventKind::NodeDeleted, before));
    for (kind, path) in [
        (EventKind::NodeDataChanged, before),
        (EventKind::NodeDeleted, "/b/lock-0/c-0000000002"),
    ] {
        let mut play = Play::new(&*scene(), 0);
        let watch = list(&["c-0000000002", "c-0000000001"]);
        for body in [created("/b/lock-0/c-0000000002"), watch, set(0)] {
            let step = play.ask();
            assert_eq!(play.judge(step, &body), Verdict::Right);
        }
        assert!(!play.takes(kind, path), "{kind:?} of {path}");
    }
}

#[test]
fn region_servers_see_through_lies() {
    let values = values();
    let of = |version: u32| data(&values.of(0, version), 1, version as i32);
    let path = "/b/region-in-transition/1-0";
    let old_data = data(&values.of(0, 2), 1, 3);
    let of_another = data(&values.of(1, 3), 1, 3);
    let script = [
        (created(path), vec![created("/b/region-in-transition/1-1")]),
        (of(0), vec![of(1), vec![]]),
        (set(1), vec![set(0), set(2)]),
        (set(2), vec![set(1)]),
        (set(3), vec![set(2)]),
        (of(3), vec![of(2), old_data, of_another]),
        (vec![], vec![vec![0]]),
    ];
    let scene = || Box::new(hbase::Assignment::new("/b", 1, Arc::clone(&values))) as Box<dyn Scene>;
    lies_are_seen(scene, &script);

    for (kind, path, is_right) in [
        (EventKind::NodeDataChanged, path, true),
        (EventKind::NodeDeleted, path, false),
        (
            EventKind::NodeDataChanged,
            "/b/region-in-transition/1-1",
            false,
        ),
    ] {
        let mut play = Play::new(&*scene(), 0);
        assert!(!play.takes(kind, path), "no watch is set");
        for (body, _) in &script[..2] {
            let step = play.ask();
            play.judge(step, body);
        }
        assert_eq!(play.takes(kind, path), is_right, "{kind:?} of {path}");
    }
}

#[test]
fn a_controller_sees_through_lies() {
    let values = values();
    let assignment = |topic: u32| data(format!("{topic:020}").repeat(100).as_bytes(), 1, 0);
    let state = |stamp: u32, version: i32| data(&values.of(0, stamp), 1, version);
    let elected = |version| multi(&[(op::CHECK, vec![]), (op::SET_DATA, set(version))]);
    let of_another = data(&values.of(1, 4), 1, 4);
    let not_a_check = multi(&[(op::SET_DATA, set(5)), (op::SET_DATA, set(5))]);
    let script = [
        (set(1), vec![set(0)]),
        (list(&["topic-0"]), vec![list(&["topic-1"]), list(&[])]),
        (assignment(0), vec![assignment(1), data(b"1", 1, 0)]),
        (state(4, 4), vec![state(3, 4), state(4, 5), of_another]),
        (elected(5), vec![elected(4), elected(6), not_a_check]),
        (set(2), vec![set(1)]),
        (list(&["topic-0"]), vec![]),
        (assignment(0), vec![]),
        (state(5, 5), vec![state(4, 4)]),
    ];
    let scene = || {
        let values = Arc::clone(&values);
        Box::new(kafka::Controller::new("/b", 1, 1, values)) as Box<dyn Scene>
    };
    lies_are_seen(scene, &script);
    // Nobody changes what it watches.
    let mut play = Play::new(&*scene(), 0);
    assert!(!play.takes(EventKind::NodeChildrenChanged, "/b/brokers/topics"));
}

#[test]
fn replicated_inserts_see_through_lies() {
    const CREATE: i32 = op::CREATE;
    let values = values();
    let table = |name: &str| created(&format!("/b/table-0/{name}"));
    let holder = |number: u32| table(&format!("temp/abandonable_lock-{number:010}"));
    let deleted = || (op::DELETE, vec![]);
    let numbered = |hash: &str, block: &str| {
        let (hash, block) = ((CREATE, table(hash)), (CREATE, table(block)));
        multi(&[hash, deleted(), block])
    };
    let committed = |entry: &str, hash: &str, part: &str| {
        let made = [entry, hash, part].map(|name| (CREATE, table(name)));
        let [entry, hash, part] = made;
        multi(&[entry, hash, part, deleted(), deleted()])
    };
    let queued = |name: &str| multi(&[(CREATE, table(name)), (op::SET_DATA, set(1))]);
    let (hash, part) = ("blocks/1-0", "parts/all-1-0");
    let (block, entry) = ("block_numbers/block-0000000007", "log/log-0000000003");
    let read = |number, stamp| data(&values.of(number, stamp), 1, 0);
    let script = [
        (holder(1), vec![table("temp/abandonable_lock-"), table("x")]),
        (
            numbered(hash, block),
            vec![
                numbered("blocks/1-1", block),
                numbered(hash, "block_numbers/block-7"),
                multi(&[(CREATE, table(hash)), deleted(), deleted()]),
            ],
        ),
        (
            committed(entry, hash, part),
            vec![
                committed("log/log-3", hash, part),
                committed(entry, part, hash),
            ],
        ),
        (read(0, 0), vec![read(1, 0), read(0, 1), vec![]]),
        (queued("queue/queue-0000000000"), vec![queued(entry)]),
        (vec![], vec![vec![0]]),
        (holder(2), vec![holder(1)]),
    ];
    let scene = || {
        let values = Arc::clone(&values);
        Box::new(clickhouse::Inserts::new("/b", 1, values)) as Box<dyn Scene>
    };
    lies_are_seen(scene, &script);
    assert!(!Play::new(&*scene(), 0).takes(EventKind::NodeDeleted, "/b/table-0/log"));
}

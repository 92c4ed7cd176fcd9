//! Hand-made histories with one thing wrong in each, and the search against all orders.

mod ephemerals;
mod random;
mod watching;

use proptest::prelude::*;

use super::linear::{Verdict, search};
use super::model::{Entry, NEVER, State, Step};
use super::*;

/// Checks lines in a short form of the file's: `process op path [value] outcome from [until] …`
/// with `key=value` for the rest.
fn report_of(lines: &[&str]) -> Report {
    let text: String = lines.iter().map(|line| json(line) + "\n").collect();
    let history = read_lines(text.as_bytes()).expect("the test's lines are right");
    check(&history, 10_000)
}

/// `1 set /a x ok 10 20 zxid=3 version=1`: client 1, in session 1, called at 10, answered at 20. A path
/// of `-` is none.
fn json(line: &str) -> String {
    let mut words = line.split(' ');
    let mut next = || words.next().expect("the test's line is whole");
    let process: u64 = next().parse().expect("a number");
    let (op, path) = (next(), next());
    let mut value = serde_json::json!({"process": process, "session": process, "op": op});
    if path != "-" {
        value["path"] = path.into();
    }
    if op == "create" || op == "set" {
        value["value"] = next().into();
    }
    let outcome = next();
    value["outcome"] = outcome.into();
    value["invoked_us"] = next().parse::<u64>().expect("a number").into();
    if outcome != "unknown" {
        value["answered_us"] = next().parse::<u64>().expect("a number").into();
    }
    for word in words {
        let (key, text) = word.split_once('=').expect("key=value");
        value[key] = match text.parse::<i64>() {
            Ok(number) if key != "value" => number.into(),
            Err(_) if text == "true" => true.into(),
            _ => text.into(),
        };
    }
    value.to_string()
}

fn violations(lines: &[&str]) -> Vec<String> {
    let report = report_of(lines);
    assert_eq!(report.undecided, Vec::<String>::new());
    report.violations.iter().map(ToString::to_string).collect()
}

/// Exactly one violation, which says this.
#[track_caller]
fn assert_only(lines: &[&str], part: &str) {
    let violations = violations(lines);
    assert_eq!(violations.len(), 1, "{}", violations.join("\n"));
    assert!(violations[0].contains(part), "{}", violations[0]);
}

#[track_caller]
fn assert_sound(lines: &[&str]) {
    let violations = violations(lines);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn a_whole_life_is_sound() {
    let report = report_of(&[
        "1 create /a x ok 0 10 zxid=1",
        "1 create /a y NODEEXISTS 11 12",
        "2 set /a y ok 20 30 zxid=2 version=1",
        "2 set /a z BADVERSION 31 32 expected=0",
        "1 sync /a ok 40 41",
        "1 read /a ok 42 43 value=y version=1 mzxid=2 zxid=2",
        "2 delete /a ok 50 60 zxid=3 expected=1",
        "1 sync /a ok 70 71",
        "1 read /a NONODE 72 73 zxid=3",
        "2 create /a w ok 80 90 zxid=4",
    ]);
    assert!(report.is_sound(), "{:?}", report.violations);
    assert_eq!((report.operations, report.paths), (10, 1));
    assert_eq!(
        (report.writes_done, report.synced_reads, report.unknown),
        (4, 2, 0)
    );
}

#[test]
fn a_stale_read_is_wrong_only_after_a_sync() {
    let stale = [
        "1 create /a x ok 0 10",
        "1 set /a y ok 20 30",
        "2 read /a ok 40 50 value=x",
    ];
    assert_sound(&stale);
    let synced = [
        &stale[..2],
        &["2 sync /a ok 40 41", "2 read /a ok 42 50 value=x"],
    ]
    .concat();
    assert_only(&synced, "not linearizable");
    // A sync that got no answer promises nothing, nor one of another session.
    let unanswered = [
        &stale[..2],
        &["2 sync /a unknown 40", "2 read /a ok 42 50 value=x"],
    ]
    .concat();
    assert_sound(&unanswered);
    let foreign = [
        &stale[..2],
        &["3 sync /a ok 40 41", "2 read /a ok 42 50 value=x"],
    ]
    .concat();
    assert_sound(&foreign);
    // Nor does it for what was acknowledged after it was called.
    assert_sound(&[
        "1 create /a x ok 0 10",
        "2 sync /a ok 15 16",
        "1 set /a y ok 20 30",
        "2 read /a ok 40 50 value=x",
    ]);
}

#[test]
fn an_unknown_write_happens_once_or_never_but_not_before_its_call() {
    let begin = ["1 create /a x ok 0 10", "1 set /a y unknown 20"];
    let read = |line| [&begin[..], &["2 sync /a ok 30 31", line]].concat();
    assert_sound(&read("2 read /a ok 32 33 value=x version=0"));
    assert_sound(&read("2 read /a ok 32 33 value=y version=1"));
    assert_only(
        &read("2 read /a ok 32 33 value=y version=2"),
        "not linearizable",
    );
    // Late, after another one that did not know of it.
    let late = [
        &begin[..],
        &[
            "2 set /a z ok 30 40 version=1",
            "2 sync /a ok 50 51",
            "2 read /a ok 52 53 value=y version=2",
        ],
    ];
    assert_sound(&late.concat());
    assert_only(
        &[
            "1 create /a x ok 0 10",
            "2 sync /a ok 11 12",
            "2 read /a ok 13 14 value=y",
            "1 set /a y unknown 20",
        ],
        "not linearizable",
    );
}

#[test]
fn lost_and_doubled_writes_are_found_by_versions() {
    let lost = violations(&[
        "1 create /a x ok 0 10 zxid=1",
        "1 set /a y ok 20 30 zxid=2 version=1",
        "2 set /a z ok 40 50 zxid=3 version=1",
    ]);
    assert!(
        lost.iter().any(|each| each.contains("a change is lost")),
        "{lost:?}"
    );
    let doubled = violations(&[
        "1 create /a x ok 0 10 zxid=1",
        "1 set /a y ok 20 30 zxid=2 version=1",
        "2 set /a z ok 40 50 zxid=4 version=3",
    ]);
    assert!(
        doubled
            .iter()
            .any(|each| each.contains("1 changes that nobody")),
        "{doubled:?}"
    );
    assert_sound(&[
        "1 create /a x ok 0 10 zxid=1",
        "1 set /a y unknown 20",
        "2 set /a z ok 40 50 zxid=4 version=2",
    ]);
}

#[test]
fn an_acknowledged_node_that_vanishes_is_found() {
    assert_only(
        &[
            "1 create /a x ok 0 10 zxid=1",
            "2 sync /a ok 20 21",
            "2 read /a NONODE 22 23",
        ],
        "not linearizable",
    );
    assert_sound(&[
        "1 create /a x ok 0 10 zxid=1",
        "3 delete /a unknown 5",
        "2 sync /a ok 20 21",
        "2 read /a NONODE 22 23",
    ]);
}

#[test]
fn zxids_are_unique_and_go_with_time() {
    assert_only(
        &[
            "1 create /a x ok 0 30 zxid=5",
            "2 create /b x ok 10 20 zxid=5",
        ],
        "zxid 0x5 twice",
    );
    assert_sound(&[
        "1 create /a x ok 0 10 zxid=5 multi=1",
        "1 create /b x ok 0 10 zxid=5 multi=1",
    ]);
    let across = [
        "1 create /a x ok 0 10 zxid=5",
        "2 create /b x ok 11 20 zxid=4",
    ];
    assert_only(&across, "zxids against time");
    assert_sound(&[
        "1 create /a x ok 0 11 zxid=5",
        "2 create /b x ok 11 20 zxid=4",
    ]);
    // A synced read's view is as new as what anybody was told before.
    assert_only(
        &[
            "1 create /a x ok 0 10 zxid=5",
            "2 sync /b ok 11 12",
            "2 read /b NONODE 13 14 zxid=4",
        ],
        "zxids against time",
    );
}

#[test]
fn a_multi_is_done_at_one_moment_or_not_at_all() {
    // As its own answer tells.
    let part = "1 create /a x ok 0 10 zxid=5 multi=1";
    for other in [
        "1 create /b x ok 0 10 zxid=6 multi=1",
        "1 create /b x NODEEXISTS 0 10 multi=1",
        "1 create /b x unknown 0 multi=1",
    ] {
        assert!(violations(&[part, other])[0].contains("done in part"));
    }
    assert_sound(&[
        "1 create /a x NONODE 0 10 multi=1",
        "1 create /b x ROLLEDBACK 0 10 multi=1",
    ]);
    // As others tell of one without an answer.
    let unknown = [
        "1 create /a x unknown 0 multi=1",
        "1 create /b y unknown 0 multi=1",
    ];
    let then = |lines: &[&'static str]| [&unknown[..], lines].concat();
    let seen = "2 read /a ok 20 21 value=x version=0 mzxid=5";
    assert_only(
        &then(&[seen, "2 read /b ok 22 23 value=y version=0 mzxid=6"]),
        "as seen by",
    );
    // Whoever has seen a part has seen the others.
    assert_only(&then(&[seen, "2 read /b NONODE 22 23"]), "which lacks");
    assert_only(
        &then(&[seen, "3 sync /b ok 30 31", "3 read /b NONODE 32 33"]),
        "not linearizable",
    );
    assert_only(
        &then(&[seen, "3 create /b z ok 30 31 zxid=7"]),
        "not linearizable",
    );
    assert_sound(&then(&[seen, "3 read /b NONODE 22 23"]));
    assert_sound(&then(&[seen, "2 read /b ok 22 23 value=y mzxid=5"]));
    assert_sound(&then(&["2 sync /a ok 20 21", "2 read /a NONODE 22 23"]));
    // Its client was not told of it, so it may still read what was before.
    assert_sound(&then(&[
        "1 read /a NONODE 12 13",
        "2 read /a ok 20 21 value=x mzxid=5",
    ]));
}

#[test]
fn one_change_looks_the_same_to_all() {
    let create = "1 create /a x ok 0 10 zxid=1";
    assert_only(
        &[create, "2 read /a ok 20 30 value=y mzxid=1"],
        "in two ways",
    );
    assert_only(
        &[create, "2 read /a ok 20 30 value=x version=3 mzxid=1"],
        "in two ways",
    );
    assert_sound(&[create, "2 read /a ok 20 30 mzxid=1"]);
}

#[test]
fn sessions_see_their_own_writes_and_never_go_back() {
    let begin = [
        "1 create /a x ok 0 10 zxid=1",
        "1 set /a y ok 20 30 zxid=2 version=1",
        "1 create /b x ok 40 50 zxid=3",
    ];
    let then = |line| [&begin[..], &[line]].concat();
    assert_only(
        &then("1 read /a ok 60 61 value=x version=0 mzxid=1"),
        "which lacks",
    );
    assert_sound(&then("2 read /a ok 60 61 value=x version=0 mzxid=1"));
    assert_only(&then("1 read /b NONODE 60 61"), "which lacks");
    // Another node's state tells how far a session has seen.
    let across = [
        &begin[..],
        &[
            "2 read /b ok 60 61 value=x mzxid=3",
            "2 read /a ok 62 63 value=x mzxid=1",
        ],
    ];
    assert_only(&across.concat(), "which lacks");
    let header = [
        &begin[..],
        &[
            "2 read /c NONODE 60 61 zxid=3",
            "2 read /c NONODE 62 63 zxid=2",
        ],
    ];
    assert_only(&header.concat(), "had seen 0x3");
}

#[test]
fn a_search_without_end_is_given_up() {
    // Many unknown writes of values that were seen more than once, and an answer that none explains.
    let mut lines = vec!["1 create /a x ok 0 10".to_owned()];
    for number in 0..20 {
        lines.push(format!("{} set /a v{} unknown 20", number + 2, number % 10));
    }
    for number in 0..10 {
        lines.push(format!("90 read /a ok 30 31 value=v{number}"));
    }
    lines.push("91 sync /a ok 50 51".to_owned());
    lines.push("91 read /a ok 52 53 value=w version=7".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let report = report_of(&lines);
    assert_eq!(report.undecided, ["/a"]);
    assert!(!report.is_sound());
}

#[test]
fn a_long_history_is_searched_in_no_time() {
    let mut lines = vec![json("1 create /a x ok 0 1 zxid=1")];
    for number in 1..20_000 {
        let at = 10 * number;
        // Each tenth gets no answer, and half of these were done.
        lines.push(json(&if number % 10 == 0 {
            format!("{number} set /a v{number} unknown {at}")
        } else {
            let version = number - number / 20;
            format!(
                "{number} set /a v{number} ok {at} {} zxid={} version={version}",
                at + 15,
                number + 1
            )
        }));
    }
    let history = read_lines(lines.join("\n").as_bytes()).expect("lines are right");
    let report = check(&history, 100_000);
    assert!(
        report.is_sound(),
        "{:?} {:?}",
        report.violations.first(),
        report.undecided
    );
}

#[test]
fn lines_that_make_no_sense_are_named() {
    let error = |line: &str| {
        let text = format!("{}\n{line}", json("1 read /a NONODE 0 1"));
        read_lines(text.as_bytes())
            .expect_err("the line is wrong")
            .to_string()
    };
    assert!(error("{").starts_with("line 2: not an operation"));
    assert!(error(&json("1 fly /a ok 0 1")).starts_with("line 2: not an operation"));
    assert!(error(&json("1 read /a ok 0 1 typo=3")).contains("unknown field `typo`"));
    assert!(error(&json("1 read /a ok 5 1")).contains("before it was called"));
    assert!(error(&json("1 read /a ok 5 6 mzxid=-3")).contains("not negative"));
    assert!(error(&json("1 set /a x unknown 5 answered_us=7")).contains("unknown outcome"));
    let multi = |line: &str| {
        let first = json("1 set /a x ok 5 6 multi=1");
        let text = format!("{first}\n{}", json(line));
        let error = read_lines(text.as_bytes()).expect_err("the line is wrong");
        error.to_string()
    };
    assert!(multi("1 set /a y ok 5 6 multi=1").contains("different paths"));
    assert!(multi("2 set /b y ok 5 6 multi=1").contains("one client"));
    assert!(multi("1 read /b ok 5 6 multi=1").contains("is a write"));
    assert!(error(&json("1 event /a ok 5 5")).contains("needs its kind"));
    assert!(error(&json("1 read - ok 5 6")).contains("the path of its node"));
    let nobodys = json("1 create /a x ok 5 6 ephemeral=true session=0");
    assert!(error(&nobodys).contains("needs its session"));
    let without_value =
        r#"{"process":1,"op":"set","path":"/a","outcome":"unknown","invoked_us":1}"#;
    assert!(error(without_value).contains("needs its value"));
    let without_time = r#"{"process":1,"op":"read","path":"/a","outcome":"ok","invoked_us":1}"#;
    assert!(error(without_time).contains("needs its time"));
}

/// Whether some order of all answered and any unknown entries explains everything: tries all.
fn is_linearizable(entries: &[Entry], placed: &mut Vec<usize>, state: &State) -> bool {
    let is_pending = |index: &usize| !placed.contains(index);
    let pending: Vec<usize> = (0..entries.len()).filter(is_pending).collect();
    if pending
        .iter()
        .all(|index| entries[*index].until_us == NEVER)
    {
        return true;
    }
    let deadline_us = pending.iter().map(|index| entries[*index].until_us).min();
    for index in pending {
        if Some(entries[index].from_us) > deadline_us {
            continue;
        }
        if let Some(after) = state.after(&entries[index].step) {
            placed.push(index);
            let found = is_linearizable(entries, placed, &after);
            placed.pop();
            if found {
                return true;
            }
        }
    }
    false
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let zxid = || proptest::option::of((1..6i64).prop_map(Zxid));
    let version = || proptest::option::of(0..3i32);
    let owner = || proptest::option::of((1..3i64).prop_map(SessionId));
    let step = prop_oneof![
        (0..3u32, zxid(), owner()).prop_map(|(value, zxid, owner)| Step::Create {
            value,
            zxid,
            owner
        }),
        (0..3u32, version(), version(), zxid()).prop_map(|(value, expected, version, zxid)| {
            Step::Set {
                value,
                expected,
                version,
                zxid,
            }
        }),
        (version(), zxid()).prop_map(|(expected, zxid)| Step::Delete { expected, zxid }),
        (proptest::option::of(1..3u32), version(), zxid()).prop_map(|(value, version, mzxid)| {
            Step::Found {
                value,
                version,
                mzxid,
            }
        }),
        Just(Step::IsAbsent),
        Just(Step::IsPresent),
        (0..3i32).prop_map(Step::HasOtherVersion),
        (1..3i64, any::<bool>()).prop_map(|(session, is_final)| Step::End {
            session: SessionId(session),
            is_final,
        }),
    ];
    (step, 0..20u64, 0..12u64, any::<bool>()).prop_map(|(step, from_us, length, is_unknown)| {
        Entry {
            number: 0,
            from_us,
            until_us: if is_unknown && step.may_change() {
                NEVER
            } else {
                from_us + length
            },
            step,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_search_agrees_with_trying_all_orders(mut entries in proptest::collection::vec(any_entry(), 0..7)) {
        entries.sort_by_key(|entry| entry.from_us);
        let expected = is_linearizable(&entries, &mut Vec::new(), &State::initial());
        let found = match search(&entries, 1_000_000) {
            Verdict::Linearizable => true,
            Verdict::Impossible(_) => false,
            Verdict::Undecided => panic!("the limit is large"),
        };
        prop_assert_eq!(found, expected);
    }
}

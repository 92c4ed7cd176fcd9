//! Ephemerals that live too long or not long enough.

use super::*;

const MADE: &str = "1 create /e x ok 0 10 zxid=1 ephemeral=true";

/// That the node is gone, as somebody sees who asks at this time.
fn gone_at(us: u64) -> [String; 2] {
    [
        format!("9 sync /e ok {us} {}", us + 1),
        format!("9 read /e NONODE {} {}", us + 2, us + 3),
    ]
}

fn there_at(us: u64) -> [String; 2] {
    [
        format!("9 sync /e ok {us} {}", us + 1),
        format!("9 read /e ok {} {} value=x", us + 2, us + 3),
    ]
}

fn with(lines: &[&str], then: [String; 2]) -> Vec<String> {
    let lines = lines.iter().map(|line| (*line).to_owned());
    lines.chain(then).collect()
}

#[track_caller]
fn sound(lines: &[&str], then: [String; 2]) {
    let lines = with(lines, then);
    assert_sound(&lines.iter().map(String::as_str).collect::<Vec<_>>());
}

#[track_caller]
fn wrong(lines: &[&str], then: [String; 2]) {
    let lines = with(lines, then);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_only(&lines, "not linearizable");
}

#[test]
fn one_is_there_while_its_session_lives() {
    let alive = [MADE, "1 read /other NONODE 50 51"];
    sound(&alive, there_at(20));
    wrong(&alive, gone_at(20));
    // Nobody knows whether the session lived on.
    sound(&[MADE], gone_at(20));
    sound(&[MADE], there_at(20));
    sound(&alive, gone_at(52));
    // An answer that the session is over does not say that it lives.
    sound(&[MADE, "1 set /other y SESSIONEXPIRED 50 51"], gone_at(20));
}

#[test]
fn one_is_gone_after_the_end_of_its_session() {
    let closed = [MADE, "1 end - ok 30 40"];
    sound(&closed, gone_at(41));
    wrong(&closed, there_at(41));
    // The end is between its call and its answer.
    sound(&closed, there_at(36));
    sound(&closed, gone_at(30));
    wrong(&closed, gone_at(20));
    let unknown = [MADE, "1 end - unknown 30"];
    sound(&unknown, gone_at(41));
    sound(&unknown, there_at(41));
    wrong(&unknown, gone_at(20));
}

#[test]
fn one_without_an_answer_is_not_left_behind() {
    let unknown = ["1 create /e x unknown 0 ephemeral=true", "1 end - ok 30 40"];
    sound(&unknown, there_at(20));
    sound(&unknown, gone_at(20));
    sound(&unknown, gone_at(41));
    wrong(&unknown, there_at(41));
}

#[test]
fn the_end_of_a_session_spares_what_is_not_its_own() {
    let lines = [
        "1 create /e w ok 0 10 zxid=1 ephemeral=true",
        "1 delete /e ok 11 12 zxid=2",
        "2 create /e x ok 13 14 zxid=3 ephemeral=true",
        "1 end - ok 30 40",
        "2 read /other NONODE 70 71",
    ];
    sound(&lines, there_at(50));
    wrong(&lines, gone_at(50));
    let lasting = ["1 create /e x ok 0 10 zxid=1", "1 end - ok 30 40"];
    sound(&lasting, there_at(50));
    wrong(&lasting, gone_at(50));
}

#[test]
fn a_session_sees_its_own_and_others_as_long_as_they_live() {
    let read = "1 read /e NONODE 20 21";
    assert_only(&[MADE, read], "which lacks");
    let other = ["2 read /e ok 12 13 mzxid=1", "2 read /e NONODE 20 21"];
    assert_sound(&[&[MADE], &other[..]].concat());
    let alive = "1 read /other NONODE 50 51";
    assert_only(&[&[MADE], &other[..], &[alive]].concat(), "which lacks");
}

#[test]
fn many_sessions_take_turns() {
    let mut lines = Vec::new();
    for session in 1..2_000 {
        let at = 100 * session;
        let (zxid, late) = (2 * session, session % 3 == 0);
        lines.push(json(&format!(
            "{session} create /e v{session} {} ephemeral=true",
            match late {
                true => format!("unknown {at}"),
                false => format!("ok {at} {} zxid={zxid}", at + 10),
            }
        )));
        lines.push(json(&format!(
            "9999 read /e ok {} {} value=v{session} mzxid={zxid}",
            at + 20,
            at + 21
        )));
        lines.push(json(&format!("{session} end - ok {} {}", at + 30, at + 40)));
    }
    let history = read_lines(lines.join("\n").as_bytes()).expect("lines are right");
    let report = check(&history, 100_000);
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.ephemerals, 1_333);
}

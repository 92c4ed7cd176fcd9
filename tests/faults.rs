//! Ensembles of real processes under load and faults: killed and stopped members, broken disks, cut
//! networks, slow and broken links. The scripts in `tests/faults/` make the faults; what their clients were answered is
//! recorded and judged by `zkore check-history`.

#[path = "interop/support.rs"]
#[allow(
    dead_code,
    reason = "shared with the interop tests, which use other parts"
)]
#[allow(clippy::disallowed_methods, reason = "waits for other processes")]
mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

/// Longer than any scenario's own limits, which say where it hangs.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs a scenario of `tests/faults/<script>` with as many members of ours as `kinds` has letters.
fn scenario(script: &str, name: &str, kinds: &str) {
    let parts: &[&str] = match script {
        "partitions.py" => &["venv", "ip"],
        _ => &["venv"],
    };
    support::scenario(&format!("faults/{script}"), name, kinds, parts, LIMIT);
}

#[test]
fn three_members_stand_kills_and_stops() {
    scenario("processes.py", "crashes", "zzz");
}

#[test]
fn five_members_stand_kills_and_stops_in_pairs() {
    scenario("processes.py", "crashes", "zzzzz");
}

#[test]
fn a_rolling_restart_costs_no_session() {
    scenario("processes.py", "rolling", "zzz");
    scenario("processes.py", "rolling", "zzzzz");
}

#[test]
fn members_rejoin_under_load_behind_empty_ahead_and_damaged() {
    scenario("processes.py", "rejoining", "zzzzz");
}

#[test]
fn a_member_with_nothing_joins_a_leader_at_its_limit() {
    scenario("processes.py", "crowded", "zzz");
}

#[test]
fn a_member_cut_off_without_a_word_is_noticed_and_comes_back() {
    scenario("partitions.py", "isolated", "zzz");
}

#[test]
fn lost_packets_of_one_direction_do_no_harm() {
    scenario("partitions.py", "one_way", "zzz");
}

#[test]
fn a_minority_serves_nobody() {
    scenario("partitions.py", "split", "zzzzz");
}

#[test]
fn links_that_come_and_go_do_no_harm() {
    scenario("partitions.py", "flapping", "zzz");
}

#[test]
fn slow_links_slow_only() {
    scenario("relays.py", "delayed", "zzz");
}

#[test]
fn links_cut_at_any_byte_are_made_anew() {
    scenario("relays.py", "cut", "zzz");
}

#[test]
fn stalled_links_are_given_up_only_after_a_while() {
    scenario("relays.py", "stalled", "zzz");
}

/// What `zkore check-history` says of a file, and whether it is content.
fn check_history(lines: &str) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let file = folder.path().join("history.jsonl");
    fs::write(&file, lines).expect("a new file can be written");
    let output = Command::new(support::zkore_binary())
        .arg("check-history")
        .arg(&file)
        .output()
        .expect("the binary runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn a_bad_history_is_refused_in_words() {
    let begin = r#"{"process":1,"session":7,"op":"create","path":"/a","value":"x","outcome":"ok","invoked_us":1,"answered_us":2,"zxid":5,"version":0}
"#;
    let read = r#"{"process":2,"op":"read","path":"/a","value":"VALUE","outcome":"ok","invoked_us":3,"answered_us":4,"zxid":5,"mzxid":5,"version":0}
"#;
    let (is_sound, said) = check_history(&format!("{begin}{}", read.replace("VALUE", "x")));
    assert!(
        is_sound && said.starts_with("sound: 2 operations"),
        "{said}"
    );
    let (is_sound, said) = check_history(&format!("{begin}{}", read.replace("VALUE", "y")));
    assert!(!is_sound, "{said}");
    assert!(
        said.contains("one change seen in two ways") && said.contains("NOT SOUND"),
        "{said}"
    );
    let (is_sound, said) = check_history("nonsense\n");
    assert!(
        !is_sound && said.contains("line 1: not an operation"),
        "{said}"
    );
}

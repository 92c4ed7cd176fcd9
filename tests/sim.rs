//! `zkore sim` as a developer and a script see it: what it prints, and that a seed repeats itself to the byte.

#![allow(clippy::disallowed_methods, reason = "how long it runs is asked for")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How much longer than it was told a run may take: the seeds that were begun come to their end.
const MARGIN: Duration = Duration::from_secs(60);

fn sim(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zkore"));
    command.arg("sim").args(arguments);
    command.output().expect("zkore runs")
}

/// What is printed by a run in which nothing fails.
fn printed(arguments: &[&str]) -> String {
    let output = sim(arguments);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{arguments:?}: {text}");
    assert_eq!(output.stderr, b"", "{arguments:?}");
    text
}

/// The lines of single seeds, in the order of the seeds, of a run that says how many stood.
fn seeds(text: &str) -> Vec<&str> {
    let (seeds, count) = text
        .trim_end()
        .rsplit_once('\n')
        .unwrap_or(("", text.trim_end()));
    let mut seeds: Vec<&str> = seeds.lines().collect();
    assert_eq!(
        count,
        format!("{} seeds stood all that went wrong", seeds.len())
    );
    // Those that run at once end in any order.
    seeds.sort_by_key(|line| number(line));
    seeds
}

fn number(line: &str) -> u64 {
    let seed = line
        .strip_prefix("seed ")
        .and_then(|rest| rest.split_once(": "));
    let (seed, _) = seed.unwrap_or_else(|| panic!("{line:?} is not of a seed"));
    seed.parse().expect("a number")
}

#[test]
fn a_seed_repeats_itself_to_the_byte() {
    let first = printed(&["--seed", "7", "--trace"]);
    assert!(first.lines().count() > 200, "everything is told");
    assert!(first == printed(&["--seed", "7", "--trace"]));
    let summary = printed(&["--seed", "7"]);
    assert!(first.ends_with(&summary), "{summary}");
    let line = seeds(&summary)[0];
    for part in ["seed 7: ", " members, ", " writes, checksum "] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn a_range_is_run_seed_by_seed_on_all_processors() {
    let range = printed(&["--seeds", "3..7"]);
    let lines = seeds(&range);
    assert_eq!(
        lines.iter().map(|line| number(line)).collect::<Vec<_>>(),
        [3, 4, 5, 6]
    );
    for line in lines {
        let alone = printed(&["--seed", &number(line).to_string()]);
        assert_eq!(seeds(&alone), [line]);
    }
}

#[test]
fn minutes_bound_the_time() {
    let limit = Duration::from_millis(1200);
    let begun = Instant::now();
    let text = printed(&["--minutes", "0.02", "--members", "3"]);
    let took = begun.elapsed();
    assert!(took >= limit && took < limit + MARGIN, "{took:?}");
    let lines = seeds(&text);
    assert!(
        lines
            .iter()
            .map(|line| number(line))
            .eq(1..=lines.len() as u64),
        "{text}"
    );
    assert!(
        lines.iter().all(|line| line.contains(": 3 members")),
        "{text}"
    );
    assert_eq!(
        printed(&["--minutes", "0"]),
        "0 seeds stood all that went wrong\n"
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (arguments, word) in [
        (&["--seeds", "7..7"][..], "FIRST..END"),
        (&["--seed", "x"], "invalid digit"),
        (&["--seed", "1", "--seeds", "1..2"], "cannot be used with"),
        (&["--minutes=-1"], "wanted a number of minutes"),
        (&["--minutes", "soon"], "wanted a number of minutes"),
        (&["--members", "0"], "voters"),
        (&["--aim", "harm"], "deposed"),
        (&["--trace"], "--seed"),
    ] {
        let output = sim(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

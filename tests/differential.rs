//! Sends the same requests to Apache ZooKeeper and to zkore and compares every answer.
//!
//! The client and the plans are in `tests/interop/differential` (Python, with a codec of its own).
//! `ZKORE_DIFFERENTIAL_SELF=1` compares Apache with itself, which checks the harness;
//! `ZKORE_DIFFERENTIAL_SEEDS` and `ZKORE_DIFFERENTIAL_FIRST` choose the random plans, so that a
//! longer search, or a failure's seed, can be run by hand.

#[path = "interop/support.rs"]
#[allow(
    dead_code,
    reason = "shared with the interop tests, which use another part"
)]
#[allow(clippy::disallowed_methods, reason = "waits for other processes")]
mod support;

use std::process::Command;
use std::time::Duration;

use support::{Kind, Server};

/// Containers and TTL znodes stay until a plan deletes them. One shard: as with Apache, what one
/// session has written every other one sees at once.
const NO_REAPING: &[(&str, &str)] = &[
    ("znode.container.checkIntervalMs", "3600000"),
    ("zkore.shards", "1"),
];

/// The random plans of three sessions.
#[test]
fn random_plans() {
    let seeds = std::env::var("ZKORE_DIFFERENTIAL_SEEDS").unwrap_or_else(|_| "200".into());
    let first = std::env::var("ZKORE_DIFFERENTIAL_FIRST").unwrap_or_else(|_| "1".into());
    let args = ["--suite", "random", "--seeds", &seeds, "--first", &first];
    compare("random plans", NO_REAPING, &args);
}

/// Random plans against a server with several shards, whose sessions sync after each step: only
/// then need they see what others wrote.
#[test]
fn random_plans_on_three_shards() {
    let settings = [
        ("znode.container.checkIntervalMs", "3600000"),
        ("zkore.shards", "3"),
    ];
    let args = [
        "--suite", "random", "--settle", "sync", "--first", "5001", "--seeds", "60",
    ];
    compare("random plans on three shards", &settings, &args);
}

/// The scripted cases: connecting, errors and their order, permissions, watches, multis, quotas,
/// malformed frames.
#[test]
fn scripted_plans() {
    compare("scripted plans", NO_REAPING, &["--suite", "scripted"]);
}

/// Containers and TTL znodes that the server removes by itself.
#[test]
fn reaping() {
    let often = [
        ("znode.container.checkIntervalMs", "300"),
        ("zkore.shards", "1"),
    ];
    compare("reaping", &often, &["--suite", "reaping"]);
}

/// Sessions that end by silence.
#[test]
fn expiry() {
    compare("expiry", NO_REAPING, &["--suite", "expiry"]);
}

/// Lines and fields of the four-letter words.
#[test]
fn four_letter_words() {
    compare("four-letter words", NO_REAPING, &["--suite", "words"]);
}

/// Starts Apache and the server under test with `settings` and compares them.
fn compare(what: &str, settings: &[(&str, &str)], args: &[&str]) {
    if !support::ready(what, &["jars"]) {
        return;
    }
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|o| o.status.success()) {
        return support::skip(what, "python3 is not installed");
    }
    let apache = Server::start(Kind::Apache, settings);
    let itself = std::env::var("ZKORE_DIFFERENTIAL_SELF").is_ok_and(|v| v == "1");
    let other = Server::start(if itself { Kind::Apache } else { Kind::Zkore }, settings);
    let mut harness = Command::new("python3");
    harness
        .arg(support::top().join("tests/interop/differential/differential.py"))
        .args(["--left", apache.address(), "--right", other.address()])
        .args(args)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let output = support::must_pass(what, &mut harness, Duration::from_secs(400), &other);
    print!("{output}");
}

//! Other people's clients, unchanged, against a zkore server that each test starts.
//!
//! What they need is fetched at test time by `tools/interop-setup`. With
//! `ZKORE_TEST_CONNECT=host:port` the programs use that running server instead, so that they can
//! be checked against Apache ZooKeeper itself.

#[path = "interop/support.rs"]
#[allow(
    dead_code,
    reason = "shared with the differential test, which uses another part"
)]
#[allow(clippy::disallowed_methods, reason = "waits for other processes")]
mod support;

use std::process::Command;
use std::time::Duration;

use support::Server;

/// Longer than any program's own limit, which says where it hangs.
const LIMIT: Duration = Duration::from_secs(130);

/// kazoo's client: operations, watches, transactions, ACLs, sessions.
#[test]
fn kazoo_basics() {
    kazoo("basics.py");
}

/// kazoo's recipes: locks, election, queues, parties, barriers and more.
#[test]
fn kazoo_recipes() {
    kazoo("recipes.py");
}

/// The tutorial: a list of servers that come and go, the lock with ten contenders, master election
/// with failover, shared configuration.
#[test]
fn tutorial_programs() {
    kazoo("tutorial.py");
}

/// Apache's Java client.
#[test]
fn java_client() {
    java("ClientTest");
}

/// Curator's recipes.
#[test]
fn curator_recipes() {
    java("CuratorTest");
}

/// Apache's C client.
#[test]
fn c_client() {
    if support::ready("the C client", &["c"]) {
        pass(
            "the C client",
            Command::new(support::cache().join("c-client")),
        );
    }
}

/// The crate `zookeeper-client`.
#[test]
fn rust_client() {
    if support::ready("the Rust client", &["rust-client"]) {
        let binary = support::cache().join("rust-client/debug/rust-client");
        pass("the Rust client", Command::new(binary));
    }
}

fn kazoo(program: &str) {
    if support::ready(program, &["venv"]) {
        let mut python = Command::new(support::cache().join("venv/bin/python"));
        python.arg(support::top().join("tests/interop/python").join(program));
        python.env("PYTHONDONTWRITEBYTECODE", "1");
        pass(program, python);
    }
}

fn java(class: &str) {
    if support::ready(class, &["classes"]) {
        let mut java = support::java();
        java.arg(class);
        pass(class, java);
    }
}

/// Runs a program with the address of a server as its last argument; it must succeed.
fn pass(what: &str, mut program: Command) {
    let server = Server::under_test(&[]);
    program.arg(server.address());
    print!("{}", support::must_pass(what, &mut program, LIMIT, &server));
}

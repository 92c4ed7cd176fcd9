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

use std::io::Write;
use std::process::{Command, Stdio};
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

/// `zkore cli` prints what Apache's zkCli prints, command by command: standard output, standard
/// error and exit code. Each works on a server of its own, so that both see the same tree.
#[test]
fn zkcli_output() {
    if !support::ready("zkCli", &["jars"]) {
        return;
    }
    let (theirs, ours) = (
        Server::under_test(&[]),
        Server::start(support::Kind::Zkore, &[]),
    );
    let reference = std::thread::spawn({
        let address = theirs.address().to_owned();
        move || shell_words(&address, zkcli)
    });
    let answers = shell_words(ours.address(), |args| {
        let mut zkore = Command::new(support::zkore_binary());
        zkore.arg("cli").args(args);
        zkore
    });
    let expected = reference.join().expect("zkCli runs");
    let mut wrong = String::new();
    for ((command, expected), got) in ZKCLI_COMMANDS.iter().zip(expected).zip(answers) {
        if expected != got {
            wrong += &format!("\n{command}\n  zkCli: {expected:#?}\n  zkore: {got:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "different answers:{wrong}");
}

/// `zkore cli` prompts for lines from a pipe as zkCli with its line editor does.
#[test]
fn zkcli_prompts() {
    if !support::ready("zkCli's prompts", &["jars"]) {
        return;
    }
    let server = Server::under_test(&[]);
    let said = |mut program: Command, node: &str| {
        let mut child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be run");
        let mut stdin = child.stdin.take().expect("piped");
        let lines = format!("create {node} one\n\nget {node}\nset {node} two\nbogus\nquit\n");
        stdin
            .write_all(lines.as_bytes())
            .expect("the shell reads what it is told");
        drop(stdin);
        let output = child.wait_with_output().expect("our child");
        // The first prompt may come before the connection.
        String::from_utf8_lossy(&output.stdout)
            .replace(node, "NODE")
            .replace("(CONNECTING)", "(CONNECTED)")
    };
    let args = ["-server", server.address()];
    let mut zkore = Command::new(support::zkore_binary());
    zkore.arg("cli").args(args);
    assert_eq!(said(zkore, "/zkore"), said(zkcli(&args), "/java"));
}

/// One-shot commands in an order in which each finds what those before it left.
const ZKCLI_COMMANDS: &[&str] = &[
    "create /a one",
    "create /a again",
    "create /a/b",
    "create /a/c two world:anyone:cdrwa",
    "create -s /a/s- three",
    "create -c /container",
    "create -t 3600000 /ttl data",
    "ls /",
    "ls /a",
    "ls -s /a",
    "ls -R /a",
    "get /a",
    "get -s /a",
    "get /none",
    "stat /a",
    "set /a changed",
    "set -s /a again",
    "set -v 0 /a stale",
    "set -v 2 /a fresh",
    "getAcl /a",
    "getAcl -s /a",
    "setAcl /a/b world:anyone:r",
    "setAcl /a/b nosuch:x:r",
    "setAcl -R /a world:anyone:cdrwa",
    "getEphemerals",
    "setquota -n 5 /a",
    "setquota -N 50 /a",
    "listquota /a",
    "delquota -n /a",
    "listquota /a",
    "listquota /none",
    "whoami",
    "config",
    "reconfig -remove 3",
    "addauth digest ann:secret",
    "delete /a",
    "delete /a/b",
    "delete /none",
    "deleteall /a",
    "version",
    "removewatches /a",
    "bogus",
    "create",
    "create -e /e gone-soon",
    "create -s -e /es- gone-too",
];

/// What a one-shot command said, without what depends on the moment.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    exit_code: Option<i32>,
    out: Vec<String>,
    err: Vec<String>,
}

fn zkcli(args: &[&str]) -> Command {
    let mut java = support::java();
    java.arg("org.apache.zookeeper.ZooKeeperMain").args(args);
    java
}

/// Runs all commands, each in a process of its own.
fn shell_words(address: &str, program: impl Fn(&[&str]) -> Command) -> Vec<Said> {
    let run = |command: &&str| {
        let mut args = vec!["-server", address];
        args.extend(command.split(' '));
        let output = program(&args).output().expect("the program can be run");
        Said {
            exit_code: output.status.code(),
            out: plain(&output.stdout, address),
            err: plain(&output.stderr, address),
        }
    };
    ZKCLI_COMMANDS.iter().map(run).collect()
}

fn plain(output: &[u8], address: &str) -> Vec<String> {
    const PASSING: &[&str] = &[
        "SLF4J",
        "WATCHER::",
        "WatchedEvent state:SyncConnected type:None",
    ];
    const VERSION: &str = "ZooKeeper CLI version: 3.9.5-";
    const VARYING: &[&str] = &["cZxid", "mZxid", "pZxid", "ctime", "mtime"];
    String::from_utf8_lossy(output)
        .replace(address, "ADDRESS")
        .lines()
        .filter(|line| !line.is_empty() && !PASSING.iter().any(|p| line.starts_with(p)))
        .map(|line| match line.split_once(" = ") {
            Some((name, _)) if VARYING.contains(&name) => name.to_owned(),
            _ if line.starts_with(VERSION) => VERSION.to_owned(),
            _ => line.to_owned(),
        })
        .collect()
}

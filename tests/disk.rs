//! Damage to the files of a stopped server, and disks that fill up under a running one.

#![allow(clippy::disallowed_methods, reason = "waits for real servers")]

#[path = "interop/support.rs"]
#[allow(
    dead_code,
    reason = "shared with the interop tests, which use other parts"
)]
mod interop;
mod support;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::{RawClient, ServerSpec, open_acl};
use tempfile::TempDir;
use zkore::jute::op;
use zkore::jute::proto::{CreateRequest, ExistsRequest};

const OK: i32 = 0;
const SYSTEM_ERROR: i32 = -1;
const NO_NODE: i32 = -101;
const BLOCK: u64 = 4096;
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than all that a test waits for, each of which says what it is.
const LIMIT: Duration = Duration::from_secs(240);
/// Set in the process that has mounts of its own.
const HAS_OWN_MOUNTS: &str = "ZKORE_TEST_HAS_OWN_MOUNTS";
/// How many nodes of 1 KiB fill several log segments of 64 KiB.
const NODES: usize = 200;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn spec(folder: &Path) -> ServerSpec {
    ServerSpec::new(folder)
        .with("preAllocSize=64")
        .with("maxSessionTimeout=60000")
}

fn connect(spec: &ServerSpec) -> RawClient {
    RawClient::connect(spec.address(), 60_000).expect("it serves")
}

fn create(client: &mut RawClient, number: usize) -> i32 {
    try_to_create(client, number).expect("it answers")
}

fn try_to_create(client: &mut RawClient, number: usize) -> io::Result<i32> {
    let request = CreateRequest {
        path: &format!("/n{number}"),
        data: Some(&[7; 1024]),
        acl: open_acl(),
        flags: 0,
    };
    let reply = client.call(op::CREATE, &request)?;
    Ok(reply.header.err)
}

fn exists(client: &mut RawClient, number: usize) -> i32 {
    let request = ExistsRequest {
        path: &format!("/n{number}"),
        watch: false,
    };
    let reply = client.call(op::EXISTS, &request).expect("it answers");
    reply.header.err
}

/// Starts a server, creates nodes, and ends it, with SIGKILL or in order.
fn fill(spec: &ServerSpec, is_killed: bool) {
    let server = spec.start();
    let mut client = connect(spec);
    for number in 0..NODES {
        assert_eq!(create(&mut client, number), OK);
    }
    if is_killed {
        server.kill();
    } else {
        assert!(server.stop());
    }
}

/// All that was created is there.
fn check(spec: &ServerSpec) {
    let server = spec.start();
    let mut client = connect(spec);
    for number in 0..NODES {
        assert_eq!(exists(&mut client, number), OK, "{number}");
    }
    assert_eq!(create(&mut client, NODES), OK, "it can be written");
    assert!(server.stop());
}

fn flip(path: &Path, offset: u64) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("it is ours");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("within it");
    file.write_all_at(&[byte[0] ^ 4], offset).expect("writable");
}

/// What a start that must fail prints.
fn refusal(spec: &ServerSpec) -> String {
    match spec.try_start() {
        Ok(_) => panic!("it started"),
        Err(log) => log,
    }
}

#[test]
fn a_torn_tail_is_cut_off_and_nothing_acknowledged_is_lost() {
    let folder = folder();
    let spec = spec(folder.path());
    fill(&spec, true);
    let last = spec.files("log.").pop().expect("there is a log");
    let bytes = fs::read(&last).expect("readable");
    let used = bytes.iter().rposition(|&byte| byte != 0).expect("written");
    let end = (used as u64 + 1).next_multiple_of(BLOCK);
    let file = fs::File::options().write(true).open(&last);
    let file = file.expect("it is ours");
    file.write_all_at(&[0x5a; 700], end).expect("writable");
    let server = spec.start();
    assert!(
        server.log().contains("cut off the end of the log"),
        "{}",
        server.log()
    );
    assert!(server.stop());
    check(&spec);
}

#[test]
fn damage_in_the_middle_of_the_log_is_named_and_never_cut_off() {
    let folder = folder();
    let spec = spec(folder.path());
    fill(&spec, false);
    let log = spec.files("log.");
    assert!(log.len() > 2, "{log:?}");
    let damaged = &log[1];
    let offset = 3 * BLOCK + 200;
    flip(damaged, offset);
    let text = refusal(&spec);
    let named = format!("log file {} is damaged at offset ", damaged.display());
    assert!(text.contains(&named), "{text}");
    let mut list = Command::new(env!("CARGO_BIN_EXE_zkore"));
    let listed = list.arg("log").arg(damaged).output().expect("zkore runs");
    let text = String::from_utf8_lossy(&listed.stdout);
    assert_eq!(listed.status.code(), Some(1), "{text}");
    assert!(
        text.contains("create /n") && text.contains("offset "),
        "{text}"
    );
    flip(damaged, offset);
    check(&spec);
}

#[test]
fn a_missing_segment_is_named() {
    let folder = folder();
    let spec = spec(folder.path());
    fill(&spec, false);
    let log = spec.files("log.");
    let aside = folder.path().join("aside");
    fs::rename(&log[1], &aside).expect("it is ours");
    let text = refusal(&spec);
    let named = format!("log file {} continues after transaction", log[2].display());
    assert!(
        text.contains(&named) && text.contains("is missing"),
        "{text}"
    );
    fs::rename(&aside, &log[1]).expect("it is ours");
    check(&spec);
}

#[test]
fn a_damaged_snapshot_is_set_aside_for_the_one_before() {
    for is_truncated in [false, true] {
        let folder = folder();
        let spec = spec(folder.path()).with("snapCount=40");
        fill(&spec, false);
        let newest = spec.files("snapshot.").pop().expect("several were due");
        let bytes = fs::read(&newest).expect("readable");
        if is_truncated {
            fs::write(&newest, &bytes[..bytes.len() / 2]).expect("writable");
        } else {
            flip(&newest, bytes.len() as u64 / 2);
        }
        let server = spec.start();
        assert!(
            server.log().contains("set a damaged snapshot aside"),
            "{}",
            server.log()
        );
        assert!(server.stop());
        let aside = PathBuf::from(format!("{}.bad", newest.display()));
        assert!(aside.exists());
        check(&spec);
    }
}

#[test]
fn damaged_snapshots_alone_are_no_new_beginning() {
    let folder = folder();
    let spec = spec(folder.path()).with("snapCount=40");
    fill(&spec, false);
    for path in spec.files("snapshot.") {
        flip(&path, 100);
    }
    for entry in fs::read_dir(spec.data_dir().join("zkore-1")).expect("it is there") {
        let path = entry.expect("readable").path();
        if !path.display().to_string().contains("snapshot.") {
            fs::remove_file(path).expect("it is ours");
        }
    }
    for _ in ["the first start", "and the next"] {
        let text = refusal(&spec);
        assert!(text.contains("every snapshot in"), "{text}");
    }
}

/// A program in a mount namespace of its own, where whoever runs this may mount.
fn with_own_mounts(program: impl AsRef<OsStr>) -> Command {
    let mut unshare = Command::new("unshare");
    let own_uid = fs::metadata("/proc/self").expect("it runs").uid();
    if own_uid != 0 {
        unshare.arg("--map-root-user");
    }
    unshare.arg("--mount").arg("--").arg(program);
    unshare
}

/// The error says why it cannot be run, or what it complains of.
fn try_to_run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("{}: {error}", command.get_program().display())),
    }
}

/// Whether a test is to go on here. If not, it has run in another process, whose mounts are its own
/// and end with it however it ends, or was skipped where there can be none.
fn has_own_mounts(test: &str) -> bool {
    if env::var_os(HAS_OWN_MOUNTS).is_some() {
        return true;
    }
    if let Err(why) = try_to_run(&mut with_own_mounts("true")) {
        interop::skip(test, &format!("mounts of its own cannot be had: {why}"));
        return false;
    }
    let mut again = with_own_mounts(env::current_exe().expect("it runs"));
    again.args(["--exact", test, "--nocapture"]);
    let outcome = interop::run(again.env(HAS_OWN_MOUNTS, "1"), LIMIT);
    assert!(outcome.success(), "{test}:\n{}", outcome.output);
    assert!(outcome.output.contains("1 passed"), "{test} is its name");
    print!("{}", outcome.output);
    false
}

/// A file system of a few hundred KiB in memory, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` if the test is to be skipped: not even with mounts of its own may it mount one.
    fn mount(test: &str, at: &Path, kib: usize) -> Option<SmallDisk> {
        fs::create_dir_all(at).expect("writable");
        let mut mount = Command::new("mount");
        let size = format!("size={kib}k");
        mount
            .args(["-t", "tmpfs", "-o", &size, "zkore-test"])
            .arg(at);
        if let Err(why) = try_to_run(&mut mount) {
            interop::skip(test, &format!("a small disk cannot be mounted: {why}"));
            return None;
        }
        Some(SmallDisk(at.to_owned()))
    }

    /// Uses up the room that is left; returns the file to remove for there to be room again.
    fn use_up(&self) -> PathBuf {
        let path = self.0.join("filling");
        let file = fs::File::create(&path).expect("room for a name");
        let mut offset = 0;
        for chunk in [64 << 10, 4 << 10] {
            while file.write_all_at(&vec![1; chunk], offset).is_ok() {
                offset += chunk as u64;
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_full_log_disk_refuses_writes_until_there_is_room() {
    const TEST: &str = "a_full_log_disk_refuses_writes_until_there_is_room";
    if !has_own_mounts(TEST) {
        return;
    }
    let folder = folder();
    let log_dir = folder.path().join("log");
    let Some(disk) = SmallDisk::mount(TEST, &log_dir, 1024) else {
        return;
    };
    let spec = spec(folder.path()).with(&format!("dataLogDir={}", log_dir.display()));
    let server = spec.start();
    let mut client = connect(&spec);
    assert_eq!(create(&mut client, 0), OK);
    let filling = disk.use_up();
    let mut last = 0;
    let refused = loop {
        match create(&mut client, last + 1) {
            OK => last += 1,
            error => break error,
        }
        assert!(last < 2000, "the disk cannot take so much");
    };
    assert_eq!(refused, SYSTEM_ERROR);
    assert_eq!(exists(&mut client, last), OK, "reads go on");
    assert_eq!(
        exists(&mut client, last + 1),
        NO_NODE,
        "nothing is half there"
    );
    wait_until("the log says why", || {
        server.log().contains("writes are refused")
    });
    fs::remove_file(filling).expect("it is ours");
    wait_until("writes are taken again", || {
        create(&mut client, last + 1) == OK
    });
    wait_until("the log says so", || {
        server.log().contains("there is room again")
    });
    assert!(!server.log().contains("panic"), "{}", server.log());
    server.kill();
    let server = spec.start();
    let mut client = connect(&spec);
    for number in 0..=last + 1 {
        assert_eq!(exists(&mut client, number), OK, "{number}");
    }
    assert!(server.stop());
}

/// Three members, with logs on disks of their own.
fn ensemble(folder: &Path) -> Vec<ServerSpec> {
    let ports: Vec<u16> = (0..6).map(|_| support::free_port()).collect();
    let members = 0..3;
    let member = |index: usize| {
        let at = folder.join(index.to_string());
        let spec = spec(&at)
            .with(&format!("dataLogDir={}", at.join("log").display()))
            .with("initLimit=50")
            .with("syncLimit=20");
        fs::create_dir_all(spec.data_dir()).expect("writable");
        fs::write(spec.data_dir().join("myid"), index.to_string()).expect("writable");
        members.clone().fold(spec, |spec, index| {
            let (quorum, election) = (ports[index], ports[index + 3]);
            spec.with(&format!("server.{index}=127.0.0.1:{quorum}:{election}"))
        })
    };
    members.clone().map(member).collect()
}

fn is_in_mode(spec: &ServerSpec, mode: &str) -> bool {
    let answer = support::four_letter_word(spec.address(), "srvr");
    answer.is_ok_and(|answer| answer.contains(&format!("Mode: {mode}")))
}

/// Whether a new client's write succeeds.
fn can_create(spec: &ServerSpec, number: usize) -> bool {
    let client = RawClient::connect(spec.address(), 60_000);
    client.is_ok_and(|mut client| try_to_create(&mut client, number).is_ok_and(|error| error == OK))
}

#[test]
fn a_leader_with_a_full_log_disk_gives_way_and_comes_back() {
    const TEST: &str = "a_leader_with_a_full_log_disk_gives_way_and_comes_back";
    if !has_own_mounts(TEST) {
        return;
    }
    let folder = folder();
    let specs = ensemble(folder.path());
    let mount = |index: usize| {
        let at = folder.path().join(index.to_string()).join("log");
        SmallDisk::mount(TEST, &at, 1024)
    };
    let Some(disks) = (0..3).map(mount).collect::<Option<Vec<SmallDisk>>>() else {
        return;
    };
    let servers: Vec<_> = specs.iter().map(ServerSpec::start).collect();
    let leader = || (0..3).find(|index| is_in_mode(&specs[*index], "leader"));
    wait_until("one leads", || leader().is_some());
    let full = leader().expect("one leads");
    let other = &specs[(full + 1) % 3];
    let filling = disks[full].use_up();
    let mut number = 0;
    wait_until("another one leads", || {
        number += 1;
        can_create(other, number);
        leader().is_some_and(|leader| leader != full)
    });
    for _ in 0..10 {
        number += 1;
        wait_until("writes go on", || can_create(other, number));
    }
    wait_until("the log says why it takes no part", || {
        let log = servers[full].log();
        log.contains("takes no part in its ensemble") && log.contains("writes are refused")
    });
    fs::remove_file(filling).expect("it is ours");
    wait_until("it follows", || is_in_mode(&specs[full], "follower"));
    let mut client = connect(&specs[full]);
    assert_eq!(exists(&mut client, number), OK);
    for server in servers {
        assert!(!server.log().contains("panic"), "{}", server.log());
        assert!(server.stop());
    }
}

#[test]
fn a_full_snapshot_disk_costs_only_the_snapshot() {
    const TEST: &str = "a_full_snapshot_disk_costs_only_the_snapshot";
    if !has_own_mounts(TEST) {
        return;
    }
    let folder = folder();
    let small = folder.path().join("data");
    let Some(disk) = SmallDisk::mount(TEST, &small, 1024) else {
        return;
    };
    let log_dir = folder.path().join("log");
    let spec = spec(folder.path())
        .with(&format!("dataLogDir={}", log_dir.display()))
        .with("snapCount=40");
    let server = spec.start();
    let mut client = connect(&spec);
    let filling = disk.use_up();
    for number in 0..NODES / 2 {
        assert_eq!(create(&mut client, number), OK, "writes go on");
    }
    wait_until("the log says what is missing", || {
        server.log().contains("cannot write a snapshot")
    });
    fs::remove_file(filling).expect("it is ours");
    for number in NODES / 2..NODES {
        assert_eq!(create(&mut client, number), OK);
    }
    wait_until("snapshots are written again", || {
        server.log().contains("snapshot written")
    });
    assert!(server.stop());
    check(&spec);
}

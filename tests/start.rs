//! Starts that must fail, each with one clear line and Apache's exit code; and starts under tight
//! limits that must not.

#![allow(clippy::disallowed_methods, reason = "waits for real servers")]

mod support;

use std::fs;
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::{RawClient, Server, ServerSpec, four_letter_word};
use tempfile::TempDir;

/// Apache's `ExitCode`s.
const UNEXPECTED_ERROR: i32 = 1;
const INVALID_INVOCATION: i32 = 2;
const UNABLE_TO_ACCESS_DATADIR: i32 = 3;
/// An ordinary user that every Linux has.
const NOBODY: u32 = 65_534;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn spec(folder: &TempDir) -> ServerSpec {
    ServerSpec::new(folder.path()).with("preAllocSize=64")
}

/// Runs a server that cannot start; returns its last line.
fn refused(config: &Path, code: i32, prepare: impl FnOnce(&mut Command)) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zkore"));
    command.arg("server").arg(config);
    prepare(&mut command);
    let output = command.output().expect("zkore runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!text.contains("panic"), "{text}");
    text.lines().last().unwrap_or_default().to_string()
}

/// A copy of the program where everybody may read it. Another process makes it: a file that this
/// one has open for writing would be inherited by a child of another test, and be too busy to run.
fn copy_of_program(folder: &Path) -> PathBuf {
    let copy = folder.join("zkore");
    let mut cp = Command::new("cp");
    let status = cp.arg(env!("CARGO_BIN_EXE_zkore")).arg(&copy).status();
    assert!(status.expect("cp exists").success(), "room for a copy");
    copy
}

fn is_root() -> bool {
    // SAFETY: it takes and touches nothing.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn a_configuration_that_cannot_be_used_is_named_with_file_and_line() {
    let folder = folder();
    let config = folder.path().join("zoo.cfg");
    for (text, reason) in [
        (
            "dataDir=d\n# a comment\ntickTime=soon\n",
            "zoo.cfg:3: tickTime=soon",
        ),
        (
            "dataDir=d\nclientPort=99999\n",
            "zoo.cfg:2: clientPort=99999",
        ),
        ("clientPort=1\n", "dataDir is not set"),
        ("dataDir=d\n", "clientPort is not set"),
        (
            "dataDir=d\nclientPort=1\nsslQuorum=true\n",
            "zoo.cfg:3: sslQuorum=true is refused: TLS is not there yet",
        ),
        (
            "dataDir=d\nclientPort=1\nauthProvider.1=com.example.Mine\n",
            "zoo.cfg:3: authProvider.1=com.example.Mine",
        ),
        (
            "dataDir=d\nclientPort=1\nminSessionTimeout=9\nmaxSessionTimeout=8\n",
            "minSessionTimeout must not be larger than maxSessionTimeout",
        ),
        (
            "dataDir=d\nclientPort=1\nzkore.logLevel=a=b=c\n",
            "log level",
        ),
    ] {
        fs::write(&config, text).expect("writable");
        let line = refused(&config, INVALID_INVOCATION, |_| {});
        assert!(line.contains(reason), "{reason}: {line}");
        assert!(!folder.path().join("d").exists(), "nothing was made");
    }
    fs::remove_file(&config).expect("it is there");
    let line = refused(&config, INVALID_INVOCATION, |_| {});
    assert!(line.contains("zoo.cfg"), "{line}");

    let unknown = ServerSpec::new(folder.path()).with("dataDirs=x").start();
    let log = unknown.log();
    assert!(
        log.contains("WARN")
            && log.contains("unknown key dataDirs, ignored; did you mean dataDir?"),
        "{log}"
    );
    assert!(unknown.stop());
}

#[test]
fn data_folders_that_cannot_be_used_end_the_start() {
    let folder = folder();
    let missing = spec(&folder).with("datadir.autocreate=false");
    let config = missing.write_config();
    let line = refused(&config, UNABLE_TO_ACCESS_DATADIR, |_| {});
    assert!(
        line.contains("/data is missing and datadir.autocreate is off"),
        "{line}"
    );
    fs::write(missing.data_dir(), "a file").expect("writable");
    let config = spec(&folder).write_config();
    let line = refused(&config, UNABLE_TO_ACCESS_DATADIR, |_| {});
    assert!(line.contains("cannot create directory"), "{line}");
    fs::remove_file(missing.data_dir()).expect("it is there");

    let empty = spec(&folder).with("db.autocreate=false");
    let config = empty.write_config();
    let line = refused(&config, UNABLE_TO_ACCESS_DATADIR, |_| {});
    assert!(
        line.contains("holds no data and db.autocreate is off"),
        "{line}"
    );
    let permit = empty.data_dir().join("initialize");
    fs::write(&permit, "").expect("writable");
    assert!(empty.start().stop());
    assert!(!permit.exists(), "the permission counts once");
    assert!(empty.start().stop(), "a server that has begun may go on");

    let apache = self::folder();
    let foreign = spec(&apache);
    fs::create_dir_all(foreign.data_dir().join("version-2")).expect("writable");
    fs::write(foreign.data_dir().join("version-2/snapshot.0"), "x").expect("writable");
    let line = refused(&foreign.write_config(), UNABLE_TO_ACCESS_DATADIR, |_| {});
    assert!(line.contains("holds data of Apache ZooKeeper"), "{line}");
}

#[test]
fn a_folder_without_permission_ends_the_start() {
    let folder = folder();
    let spec = spec(&folder);
    let config = spec.write_config();
    fs::create_dir(spec.data_dir()).expect("writable");
    let permissions = fs::Permissions::from_mode(0o555);
    fs::set_permissions(spec.data_dir(), permissions).expect("it is ours");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let binary = copy_of_program(folder.path());
    let mut command = Command::new(&binary);
    command.arg("server").arg(&config).current_dir("/");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().expect("zkore runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(UNABLE_TO_ACCESS_DATADIR),
        "{text}"
    );
    assert!(text.contains("/data/zkore-1: Permission denied"), "{text}");
}

#[test]
fn folder_and_port_belong_to_one_server() {
    let folders = [folder(), folder()];
    let first = spec(&folders[0]);
    let running = first.start();
    let same_folder = spec(&folders[0]).write_config();
    let line = refused(&same_folder, UNABLE_TO_ACCESS_DATADIR, |_| {});
    assert!(line.contains("is in use by another server"), "{line}");

    let same_port = spec(&folders[1]).with(&format!("clientPort={}", running.address.port()));
    let line = refused(&same_port.write_config(), UNEXPECTED_ERROR, |_| {});
    assert!(
        line.contains("cannot listen on 127.0.0.1:") && line.contains("another server runs there"),
        "{line}"
    );
    let no_address = spec(&folders[1]).with("clientPortAddress=192.0.2.1");
    let line = refused(&no_address.write_config(), UNEXPECTED_ERROR, |_| {});
    assert!(line.contains("this machine has no such address"), "{line}");
    RawClient::connect(running.address, 10_000).expect("the first one serves as before");
    assert!(running.stop());
}

/// Has the kernel refuse io_uring_setup to the program that is about to run.
fn refuse_io_uring() -> io::Result<()> {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, libc::SYS_io_uring_setup as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: both calls concern the own process; the program and its filter are live locals.
    let is_set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    };
    is_set.then_some(()).ok_or_else(io::Error::last_os_error)
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: the pointer is to a live local.
    match unsafe { libc::setrlimit(resource, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs `before` in the new process, just before its program.
fn run_before(
    command: &mut Command,
    before: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: what runs there makes system calls only, and neither allocates nor locks.
    unsafe { command.pre_exec(before) };
}

#[test]
fn a_machine_without_what_is_needed_is_told_so() {
    let folder = folder();
    let spec = spec(&folder);
    let config = spec.write_config();
    let line = refused(&config, UNEXPECTED_ERROR, |command| {
        run_before(command, refuse_io_uring);
    });
    assert!(
        line.contains("the kernel refuses io_uring") && line.contains("seccomp"),
        "{line}"
    );
    let line = refused(&config, UNEXPECTED_ERROR, |command| {
        run_before(command, || limit(libc::RLIMIT_NOFILE, 100));
    });
    assert!(
        line.contains("only 100 file descriptors are allowed") && line.contains("ulimit -n"),
        "{line}"
    );
    assert!(!spec.data_dir().exists(), "nothing was made");
}

#[test]
fn running_out_of_descriptors_stops_new_connections_only() {
    let folder = folder();
    let spec = spec(&folder)
        .with("maxClientCnxns=0")
        .with("maxSessionTimeout=60000")
        .with("clientPortListenBacklog=500");
    let server = spec
        .try_start_with(|command| run_before(command, || limit(libc::RLIMIT_NOFILE, 160)))
        .expect("enough to start with");
    let mut client = RawClient::connect(server.address, 20_000).expect("it serves");
    let idle: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(server.address).expect("the kernel accepts"))
        .collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server.log().contains("cannot accept a connection") {
        assert!(Instant::now() < deadline, "{}", server.log());
        ping(&mut client);
        std::thread::sleep(Duration::from_millis(20));
    }
    ping(&mut client);
    drop(idle);
    while !four_letter_word(server.address, "ruok").is_ok_and(|answer| answer == "imok") {
        assert!(Instant::now() < deadline, "{}", server.log());
    }
    assert!(!server.log().contains("panic"), "{}", server.log());
    assert!(server.stop());
}

fn ping(client: &mut RawClient) {
    let request = zkore::jute::proto::ExistsRequest {
        path: "/",
        watch: false,
    };
    let reply = client.call(zkore::jute::op::EXISTS, &request);
    assert_eq!(reply.expect("answers").header.err, 0);
}

/// Starts a copy of the program, which everybody may read, as an ordinary user.
fn start_as_nobody(folder: &TempDir, line: &str, memlock: u64) -> Server {
    let spec = spec(folder).with(line);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let binary = copy_of_program(folder.path());
    let started = spec.with_program(&binary).try_start_with(|command| {
        command.current_dir("/");
        run_before(command, move || limit(libc::RLIMIT_MEMLOCK, memlock));
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
    });
    started.unwrap_or_else(|log| panic!("{log}"))
}

#[test]
fn an_ordinary_user_with_little_locked_memory_can_run_it() {
    for (shards, memlock) in [("zkore.shards=1", 8 << 20), ("zkore.shards=4", 8 << 20)] {
        let folder = folder();
        let server = start_as_nobody(&folder, shards, memlock);
        let mut client = RawClient::connect(server.address, 20_000).expect("it serves");
        ping(&mut client);
        client.close().expect("it closes");
        assert!(!server.log().contains("panic"), "{}", server.log());
        assert!(server.stop());
    }
}

/// Connections of a port on which the kernel's keepalive timer runs.
fn keepalive_timers(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    const KEEPALIVE: &str = "02:";
    let table = fs::read_to_string("/proc/net/tcp").expect("proc is there");
    let local = format!("0100007F:{port:04X}");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() > 5 && fields[1] == local && fields[3] == ESTABLISHED)
        .filter(|fields| fields[5].starts_with(KEEPALIVE))
        .count()
}

#[test]
fn limits_of_connections_and_sessions_hold_as_configured() {
    let folder = folder();
    let server = spec(&folder)
        .with("maxClientCnxns=3")
        .with("minSessionTimeout=5000")
        .with("maxSessionTimeout=7000")
        .with("clientTcpKeepAlive=true")
        .start();
    let connect = |timeout| RawClient::connect(server.address, timeout).expect("it serves");
    let clients = [connect(1), connect(6000), connect(99_000)];
    let timeouts = clients.each_ref().map(|client| client.session.timeout_ms);
    assert_eq!(timeouts, [5000, 6000, 7000]);
    assert!(
        RawClient::connect(server.address, 6000).is_err(),
        "the fourth"
    );
    assert!(keepalive_timers(server.address.port()) >= 3);
    drop(clients);
    assert!(server.stop());
}

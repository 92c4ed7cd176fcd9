//! The commands of zkServer.sh as a script sees them: output, exit codes and files.

#![allow(clippy::disallowed_methods, reason = "waits for real servers")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use support::free_port;
use tempfile::TempDir;

/// How long a server may take to answer on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const USED_CONFIG: &str = "Using config: ";

/// A directory with a zoo.cfg, in which commands run with no variable of the surroundings.
struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    fn new(config: &str) -> Sandbox {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("zoo.cfg"), config).expect("writable");
        Sandbox { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("USER", "ann");
        command
    }

    fn zkore(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_zkore"));
        command.args(arguments).output().expect("zkore runs")
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A process of this program that stays for a while and ends at SIGTERM: it waits for an answer
/// that does not come.
fn lingering_process(sandbox: &Sandbox, silent: &TcpListener) -> Child {
    let port = silent.local_addr().expect("bound").port();
    let config = format!("dataDir=d\nclientPort={port}\nclientPortAddress=127.0.0.1\n");
    fs::write(sandbox.path("silent.cfg"), config).expect("writable");
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_zkore"));
    command
        .args(["status", "silent.cfg"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("zkore runs")
}

/// Answers one connection, and returns its port.
fn answer_once(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut word = [0; 4];
        stream.read_exact(&mut word).expect("a word");
        assert_eq!(&word, b"srvr");
        stream.write_all(answer.as_bytes()).expect("writable");
    });
    port
}

#[test]
fn a_bad_configuration_ends_with_2_and_one_line() {
    for (config, arguments, message) in [
        (
            "dataDir=d\nclientPort=x\n",
            &["server", "zoo.cfg"][..],
            "zkore: invalid config: zoo.cfg:2: clientPort=x: expected a whole number from 0 to \
             65535\n",
        ),
        (
            "clientPort=2181\n",
            &["server", "zoo.cfg"],
            "zkore: invalid config: zoo.cfg: dataDir is not set\n",
        ),
        (
            "",
            &["server", "none.cfg"],
            "zkore: cannot read none.cfg: No such file or directory (os error 2)\n",
        ),
        (
            "",
            &["server", "--shards", "0"],
            "zkore: invalid config: command line: zkore.shards=0: expected a whole number from 1 \
             to 1024\n",
        ),
        (
            "",
            &["server", "port", "data"],
            "zkore: invalid config: command line: clientPort=port: expected a whole number from 0 \
             to 65535\n",
        ),
        (
            "",
            &["server", "--log-level", "x=y=z"],
            "zkore: log level \"x=y=z\": error parsing level filter: expected one of \"off\", \
             \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5\n",
        ),
    ] {
        let output = Sandbox::new(config).zkore(arguments);
        assert_eq!(stderr(&output), message);
        assert_eq!(stdout(&output), "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn start_reports_a_bad_configuration_itself() {
    let sandbox = Sandbox::new("dataDir=d\nclientPort=x\n");
    let output = sandbox.zkore(&["start", "zoo.cfg"]);
    assert_eq!(stdout(&output), "Starting zookeeper ... FAILED TO START\n");
    assert!(stderr(&output).contains("zoo.cfg:2: clientPort=x"));
    assert_eq!(output.status.code(), Some(2));
    assert!(!sandbox.path("d/zookeeper_server.pid").exists());
}

#[test]
fn a_running_server_is_not_started_twice_and_can_be_stopped() {
    let sandbox = Sandbox::new("dataDir = d \nclientPort=2181\n");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut running = lingering_process(&sandbox, &silent);
    let pid_file = sandbox.path("d/zookeeper_server.pid");
    fs::create_dir(sandbox.path("d")).expect("writable");
    fs::write(&pid_file, running.id().to_string()).expect("writable");

    let output = sandbox.zkore(&["start", "zoo.cfg"]);
    let expected = format!(
        "Starting zookeeper ... already running as process {}.\n",
        running.id()
    );
    assert_eq!(stdout(&output), expected);
    assert_eq!(stderr(&output), format!("{USED_CONFIG}zoo.cfg\n"));
    assert_eq!(output.status.code(), Some(1));

    let output = sandbox.zkore(&["stop", "zoo.cfg"]);
    assert_eq!(stdout(&output), "Stopping zookeeper ... STOPPED\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(!pid_file.exists());
    let end = running.wait().expect("it ended");
    assert_eq!(end.code(), None, "a signal ended it");

    let output = sandbox.zkore(&["stop", "zoo.cfg"]);
    let expected = "Stopping zookeeper ... no zookeeper to stop (could not find file \
                    d/zookeeper_server.pid)\n";
    assert_eq!(stdout(&output), expected);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_process_that_took_the_number_of_a_dead_server_is_left_alone() {
    let sandbox = Sandbox::new("dataDir=d\nclientPort=2181\n");
    let mut other = Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("sleep is there");
    fs::create_dir(sandbox.path("d")).expect("writable");
    fs::write(
        sandbox.path("d/zookeeper_server.pid"),
        other.id().to_string(),
    )
    .expect("writable");
    let output = sandbox.zkore(&["stop", "zoo.cfg"]);
    assert_eq!(stdout(&output), "Stopping zookeeper ... STOPPED\n");
    assert!(stderr(&output).contains("is not running, or is not a server"));
    assert!(other.try_wait().expect("asked").is_none());
    other.kill().expect("it runs");
    other.wait().expect("it ended");
}

#[test]
fn status_says_the_mode_or_that_nobody_answers() {
    let port = answer_once("Zookeeper version: x\nMode: standalone\nNode count: 5\n");
    let config = format!("dataDir=d\nclientPort={port}\nclientPortAddress=127.0.0.1\n");
    let sandbox = Sandbox::new(&config);
    let found =
        format!("Client port found: {port}. Client address: 127.0.0.1. Client SSL: false.\n");

    let output = sandbox.zkore(&["status", "zoo.cfg"]);
    assert_eq!(stdout(&output), format!("{found}Mode: standalone\n"));
    assert_eq!(stderr(&output), format!("{USED_CONFIG}zoo.cfg\n"));
    assert_eq!(output.status.code(), Some(0));

    let output = sandbox.zkore(&["status", "zoo.cfg"]);
    let nobody = "Error contacting service. It is probably not running.\n";
    assert_eq!(stdout(&output), format!("{found}{nobody}"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_scripts_find_the_configuration_and_hand_over() {
    let sandbox = Sandbox::new("dataDir=d\nclientPort=1\n");
    fs::write(
        sandbox.path("java.env"),
        "ZOO_LOG_DIR=/made/up\nSERVER_JVMFLAGS=-Dzookeeper.snapCount=x\n",
    )
    .expect("writable");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/zkServer.sh");
    let run = |arguments: &[&str]| {
        let mut command = sandbox.command(&script);
        command
            .env("ZKORE_BIN", env!("CARGO_BIN_EXE_zkore"))
            .args(["--config", "."])
            .args(arguments);
        command.output().expect("the script runs")
    };

    let output = run(&["print-cmd"]);
    assert_eq!(stderr(&output), format!("{USED_CONFIG}./zoo.cfg\n"));
    let printed = stdout(&output);
    assert!(printed.contains("\"server\" \"./zoo.cfg\" > \"/made/up/zookeeper-ann-server-"));
    assert!(printed.ends_with(".out\" 2>&1 < /dev/null\n"), "{printed}");

    let output = run(&["start"]);
    assert!(stderr(&output).contains("SERVER_JVMFLAGS: zookeeper.snapCount=x: expected"));
    assert_eq!(output.status.code(), Some(2));

    let output = run(&["dance"]);
    assert!(stderr(&output).starts_with("Usage: "));
}

#[test]
fn version_and_completions_are_printed() {
    let sandbox = Sandbox::new("");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        stdout(&sandbox.zkore(&["--version"])),
        format!("zkore {version}\n")
    );
    assert!(stdout(&sandbox.zkore(&["version"])).starts_with(&format!("zkore, version {version}")));
    for shell in ["bash", "zsh", "fish"] {
        let output = sandbox.zkore(&["completions", shell]);
        assert!(stdout(&output).contains("start-foreground"), "{shell}");
    }
}

/// Stops the server of a sandbox when a test ends, however it ends.
struct Stopped<'a>(&'a Sandbox);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.zkore(&["stop", "zoo.cfg"]);
    }
}

/// Asks for the status until a server answers.
fn wait_for_status(sandbox: &Sandbox) -> String {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let output = sandbox.zkore(&["status", "zoo.cfg"]);
        if output.status.success() {
            return stdout(&output);
        }
        assert!(Instant::now() < deadline, "{}", server_log(sandbox));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn server_log(sandbox: &Sandbox) -> String {
    let logs = fs::read_dir(sandbox.path("logs")).expect("the server was started");
    logs.map(|entry| fs::read_to_string(entry.expect("readable").path()).expect("text"))
        .collect()
}

fn server_config(port: u16) -> String {
    format!(
        "dataDir=d\nclientPort={port}\nclientPortAddress=127.0.0.1\nzkore.shards=1\n\
         preAllocSize=64\nadmin.enableServer=false\n"
    )
}

#[test]
fn a_server_starts_answers_restarts_and_stops() {
    let port = free_port();
    let sandbox = Sandbox::new(&server_config(port));
    let _stopped = Stopped(&sandbox);
    let read_pid = || fs::read_to_string(sandbox.path("d/zookeeper_server.pid")).expect("written");

    let output = sandbox.zkore(&["start", "zoo.cfg"]);
    assert_eq!(
        stdout(&output),
        "Starting zookeeper ... STARTED\n",
        "{}",
        stderr(&output)
    );
    let first = read_pid();
    let mode = format!(
        "Client port found: {port}. Client address: 127.0.0.1. Client SSL: false.\n\
         Mode: standalone\n"
    );
    assert_eq!(wait_for_status(&sandbox), mode);

    let output = sandbox.zkore(&["start", "zoo.cfg"]);
    let running = format!("Starting zookeeper ... already running as process {first}.\n");
    assert_eq!(stdout(&output), running);

    let output = sandbox.zkore(&["restart", "zoo.cfg"]);
    let restarted = "Stopping zookeeper ... STOPPED\nStarting zookeeper ... STARTED\n";
    assert_eq!(stdout(&output), restarted, "{}", stderr(&output));
    assert_ne!(read_pid(), first);
    assert_eq!(wait_for_status(&sandbox), mode);

    let output = sandbox.zkore(&["stop", "zoo.cfg"]);
    assert_eq!(stdout(&output), "Stopping zookeeper ... STOPPED\n");
    assert!(!sandbox.zkore(&["status", "zoo.cfg"]).status.success());
}

#[test]
fn a_server_in_the_foreground_ends_well_when_asked() {
    let port = free_port();
    let sandbox = Sandbox::new(&server_config(port));
    let port_argument = port.to_string();
    for arguments in [
        &["server", "zoo.cfg"][..],
        &[
            "server",
            "--shards",
            "1",
            "-DclientPortAddress=127.0.0.1",
            &port_argument,
            "d",
        ],
        &["start-foreground", "zoo.cfg"],
    ] {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_zkore"));
        let mut server = command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("zkore runs");
        assert!(wait_for_status(&sandbox).ends_with("Mode: standalone\n"));
        let pid = i32::try_from(server.id()).expect("process ids fit");
        // SAFETY: a signal to a process that this test started and has not yet waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let end = server.wait().expect("it ended");
        assert_eq!(end.code(), Some(0), "{arguments:?}");
    }
}

/// A process that is told to stop when dropped.
struct Terminated(Child);

impl Drop for Terminated {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            terminate(&self.0);
            // Nothing is left to do where that fails.
            let _ = self.0.wait();
        }
    }
}

/// `zkore ensemble` in the folder `e` of a sandbox, and what it prints.
struct Ensemble {
    child: Terminated,
    lines: Receiver<String>,
    /// The mode that was printed last for each member that serves, by its number.
    modes: BTreeMap<usize, String>,
}

impl Ensemble {
    fn start(sandbox: &Sandbox, members: u16) -> Ensemble {
        let (count, base_port) = (members.to_string(), base_port(members).to_string());
        let mut child = sandbox
            .command(env!("CARGO_BIN_EXE_zkore"))
            .args(["ensemble", "--members", &count, "--dir", "e"])
            .args(["--base-port", &base_port])
            .stdout(Stdio::piped())
            .spawn()
            .expect("zkore runs");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let modes = BTreeMap::new();
        Ensemble {
            child: Terminated(child),
            lines,
            modes,
        }
    }

    /// The next line.
    fn next(&mut self) -> String {
        let line = self.lines.recv_timeout(ANSWER_TIMEOUT);
        let line = line.unwrap_or_else(|error| panic!("{error}, after {:?}", self.modes));
        // `   12.3 s  server 2: leader`
        let told = line.split_once(" s  server ").map(|(_, told)| told);
        if let Some((number, mode)) = told.and_then(|told| told.split_once(": ")) {
            match (number.parse(), mode) {
                (Ok(number), "does not serve") => drop(self.modes.remove(&number)),
                (Ok(number), mode) => drop(self.modes.insert(number, mode.to_owned())),
                (Err(_), _) => {}
            }
        }
        line
    }

    /// Passes over lines until one that holds this text.
    fn hear(&mut self, text: &str) -> String {
        loop {
            let line = self.next();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Passes over lines until these members, and no others, serve under one leader; its number.
    fn hear_leader(&mut self, members: &[usize]) -> usize {
        loop {
            let leads = |number: &&usize| self.modes[number] == "leader";
            let follow = self.modes.values().filter(|mode| *mode == "follower");
            if self.modes.keys().eq(members) && follow.count() == members.len() - 1 {
                return *members
                    .iter()
                    .find(leads)
                    .expect("the one that does not follow");
            }
            self.next();
        }
    }

    fn stop(&mut self) {
        terminate(&self.child.0);
        self.hear("ending all servers");
        assert!(self.child.0.wait().expect("our child").success());
    }
}

fn terminate(child: &Child) {
    let pid = i32::try_from(child.id()).expect("process ids fit");
    // SAFETY: a signal to a process that this test started and has not yet waited for.
    unsafe { libc::kill(pid, libc::SIGTERM) };
}

/// A port above which those of an ensemble are free.
fn base_port(members: u16) -> u16 {
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let base = free_port();
        let mut ports = (0..members).flat_map(|at| [base + at, base + 100 + at, base + 200 + at]);
        if ports.all(is_free) {
            return base;
        }
    }
}

#[test]
fn an_ensemble_of_one_runs_until_it_is_told_to_stop() {
    let sandbox = Sandbox::new("");
    let mut ensemble = Ensemble::start(&sandbox, 1);
    let addresses = ensemble.next();
    assert!(addresses.starts_with("Clients connect to 127.0.0.1:"));
    assert!(ensemble.next().starts_with("server 1 is process "));
    assert!(ensemble.next().contains("kill -9"));
    assert!(ensemble.next().ends_with("server 1: standalone"));
    ensemble.stop();
    let log = fs::read_to_string(sandbox.path("e/1/zkore.log")).expect("the member's log");
    assert!(log.contains("stopping"), "{log}");
    let other = sandbox.zkore(&["ensemble", "--members", "3", "--dir", "e"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(stderr(&other).contains("is of another ensemble"));
}

/// What README promises a newcomer: three addresses, and a failover to watch.
#[test]
fn an_ensemble_of_three_is_seen_to_fail_over() {
    let sandbox = Sandbox::new("");
    let mut ensemble = Ensemble::start(&sandbox, 3);
    let connect = ensemble.next();
    let connect = connect.strip_prefix("Clients connect to ").expect(&connect);
    let addresses: Vec<&str> = connect.split(',').collect();
    assert_eq!(addresses.len(), 3, "{connect}");
    let pids: Vec<i32> = (1..=3)
        .map(|number| {
            let line = ensemble.next();
            let rest = line.strip_prefix(&format!("server {number} is process "));
            let (pid, log) = rest.and_then(|rest| rest.split_once(", ")).expect(&line);
            assert!(log.starts_with("log in "), "{line}");
            pid.parse().expect(&line)
        })
        .collect();
    assert!(ensemble.next().contains("kill -9"));
    let leader = ensemble.hear_leader(&[1, 2, 3]);
    let cli = |server: &str, arguments: &[&str]| {
        let output = sandbox.zkore(&[&["cli", "-server", server], arguments].concat());
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        stdout(&output)
    };
    let status = |number: usize| {
        let output = sandbox.zkore(&["status", &format!("e/{number}/zoo.cfg")]);
        stdout(&output)
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned()
    };
    cli(connect, &["create", "/a", "before"]);
    for number in 1..=3 {
        let mode = if number == leader {
            "leader"
        } else {
            "follower"
        };
        assert_eq!(status(number), format!("Mode: {mode}"));
    }

    // SAFETY: a signal to a process that our child started and has not yet waited for.
    unsafe { libc::kill(pids[leader - 1], libc::SIGKILL) };
    ensemble.hear(&format!("server {leader} has ended: signal: 9"));
    let again = ensemble.hear("to start it again: zkore server ");
    let others: Vec<usize> = (1..=3).filter(|number| *number != leader).collect();
    let heir = ensemble.hear_leader(&others);
    assert_ne!(heir, leader);
    assert_eq!(status(heir), "Mode: leader");
    // As zkCli does, it would send the command at once, and lose it where it tries the dead one first.
    let set = ["-waitforconnection", "set", "/a", "after"];
    cli(connect, &set);
    for number in others {
        let address = addresses[number - 1];
        cli(address, &["sync", "/a"]);
        let got = cli(address, &["get", "/a"]);
        assert!(got.ends_with("\nafter\n"), "{got}");
    }

    let (_, config) = again.split_once("zkore server ").expect("just heard");
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_zkore"));
    command.args(["server", config]).stderr(Stdio::null());
    let _returned = Terminated(command.spawn().expect("zkore runs"));
    assert_eq!(ensemble.hear_leader(&[1, 2, 3]), heir);
    ensemble.stop();
}

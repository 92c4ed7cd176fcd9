//! Starts and stops the servers that the interop tests talk to, and runs other people's programs
//! against them with a time limit.
//!
//! A tool that is absent skips its test with a line that says why; with
//! `ZKORE_REQUIRE_INTEROP=1` it fails it instead.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a server may take to end after SIGTERM before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// `super:adminpw` as DigestAuthenticationProvider hashes it.
const SUPER_DIGEST: &str = "super:YW0smZw1fP8Plz4LetS54OLjO/8=";

/// The package's directory.
pub fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tools/interop-setup` keeps what it fetched.
pub fn cache() -> PathBuf {
    std::env::var_os("ZKORE_INTEROP_CACHE")
        .map_or_else(|| top().join("target/interop"), PathBuf::from)
}

/// Fetches the named parts; false if the test is to be skipped.
pub fn ready(test: &str, parts: &[&str]) -> bool {
    let output = Command::new(top().join("tools/interop-setup"))
        .args(parts)
        .stdin(Stdio::null())
        .output()
        .expect("tools/interop-setup is part of the package");
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => true,
        Some(3) => {
            skip(test, &said);
            false
        }
        _ => panic!("{test}: setting up {parts:?} failed:\n{said}"),
    }
}

/// Says that a test is skipped, or fails it where skipping is forbidden.
pub fn skip(test: &str, why: &str) {
    let required = std::env::var("ZKORE_REQUIRE_INTEROP").is_ok_and(|v| v == "1");
    assert!(
        !required,
        "{test} is required (ZKORE_REQUIRE_INTEROP=1), but {why}"
    );
    eprintln!("SKIPPED: {test} because {why}");
}

/// Which server to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Apache ZooKeeper, from the jars.
    Apache,
    /// The server under test.
    Zkore,
}

/// A running server; ends when dropped, its data with it.
pub struct Server {
    child: Option<Child>,
    address: String,
    dir: Option<tempfile::TempDir>,
}

impl Server {
    /// The server under test: zkore on a free port, or the one that `ZKORE_TEST_CONNECT` names.
    pub fn under_test(settings: &[(&str, &str)]) -> Server {
        match std::env::var("ZKORE_TEST_CONNECT") {
            Ok(address) => Server {
                child: None,
                address,
                dir: None,
            },
            Err(_) => Server::start(Kind::Zkore, settings),
        }
    }

    /// Starts a server with the common settings and `settings` (lines of zoo.cfg).
    pub fn start(kind: Kind, settings: &[(&str, &str)]) -> Server {
        let mut last = String::new();
        for _ in 0..3 {
            match Server::try_start(kind, settings) {
                Ok(server) => return server,
                Err(why) => last = why,
            }
        }
        panic!("{kind:?} did not start: {last}");
    }

    fn try_start(kind: Kind, settings: &[(&str, &str)]) -> Result<Server, String> {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let port = free_port();
        let cfg = dir.path().join("zoo.cfg");
        fs::write(&cfg, zoo_cfg(dir.path(), port, settings)).expect("a new file can be written");
        let log_path = dir.path().join("log");
        let log = File::create(&log_path).expect("a new file can be written");
        let child = command(kind, &cfg, settings)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{kind:?}: {e}"))?;
        let address = format!("127.0.0.1:{port}");
        let mut server = Server {
            child: Some(child),
            address,
            dir: Some(dir),
        };
        if server.wait_until_serving() {
            return Ok(server);
        }
        Err(format!("it does not serve; its log:\n{}", tail(&log_path)))
    }

    fn wait_until_serving(&mut self) -> bool {
        let deadline = Instant::now() + START_TIMEOUT;
        let child = self
            .child
            .as_mut()
            .expect("only a started server is waited for");
        while Instant::now() < deadline {
            if child.try_wait().ok().flatten().is_some() {
                return false;
            }
            if opens_a_session(&self.address).is_ok() {
                return true;
            }
            sleep(Duration::from_millis(50));
        }
        false
    }

    /// `host:port` for clients.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The end of the server's log, for the report of a failure.
    pub fn log_tail(&self) -> String {
        self.dir
            .as_ref()
            .map_or_else(String::new, |d| tail(&d.path().join("log")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if child.try_wait().ok().flatten().is_none() {
            let pid = libc::pid_t::try_from(child.id()).expect("process ids fit pid_t");
            // SAFETY: a signal to a process that this test started and has not yet waited for.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        if wait(child, STOP_TIMEOUT).is_none() {
            // Nothing more can be done about errors here: the process is gone or was never ours.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The settings that all servers of the interop tests share, then `settings`.
fn zoo_cfg(dir: &Path, port: u16, settings: &[(&str, &str)]) -> String {
    let mut cfg = format!(
        "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
         maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n\
         extendedTypesEnabled=true\nenforceQuota=true\nforceSync=no\n\
         DigestAuthenticationProvider.superDigest={SUPER_DIGEST}\n",
        dir.join("data").display()
    );
    for (key, value) in settings {
        cfg.push_str(&format!("{key}={value}\n"));
    }
    cfg
}

fn command(kind: Kind, cfg: &Path, settings: &[(&str, &str)]) -> Command {
    match kind {
        Kind::Zkore => {
            let mut zkore = Command::new(zkore_binary());
            zkore.arg("server").arg(cfg);
            zkore
        }
        Kind::Apache => {
            let mut java = self::java();
            // Apache reads the settings of containers as system properties without its prefix.
            for (key, value) in settings.iter().filter(|(key, _)| key.starts_with("znode.")) {
                java.arg(format!("-D{key}={value}"));
            }
            java.arg("org.apache.zookeeper.server.ZooKeeperServerMain")
                .arg(cfg);
            java
        }
    }
}

/// A small Java machine with the fetched jars and the compiled programs.
pub fn java() -> Command {
    let mut java = Command::new("java");
    java.args([
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
    ]);
    java.arg(format!("{0}/jars/*:{0}/classes", cache().display()));
    java
}

/// The zkore binary: the one cargo built for the tests, unless `ZKORE_BIN` names another.
pub fn zkore_binary() -> PathBuf {
    std::env::var_os("ZKORE_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_zkore")), PathBuf::from)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("loopback has a free port")
        .port()
}

/// Opens a session and closes it: only then does a server really serve. (Apache answers `ruok`
/// before it does.)
fn opens_a_session(address: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    request.extend(45i32.to_be_bytes());
    request.extend([0; 12]);
    request.extend(4000i32.to_be_bytes());
    request.extend([0; 8]);
    request.extend(16i32.to_be_bytes());
    request.extend([0; 17]);
    stream.write_all(&request)?;
    let mut reply = [0; 41];
    stream.read_exact(&mut reply)?;
    let close_session = [0, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xf5];
    stream.write_all(&close_session)?;
    stream.read_exact(&mut reply[..20])
}

/// What a program said and how it ended.
pub struct Outcome {
    /// Its status, `None` if it ran out of time and was killed.
    pub status: Option<ExitStatus>,
    /// Standard output and error, as they came.
    pub output: String,
}

impl Outcome {
    /// True if the program ended by itself with status 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|s| s.success())
    }
}

/// Runs a program with a time limit and collects what it prints.
pub fn run(command: &mut Command, limit: Duration) -> Outcome {
    let mut file = tempfile::tempfile().expect("a temporary file can be made");
    let out = file.try_clone().expect("a file handle can be cloned");
    let err = file.try_clone().expect("a file handle can be cloned");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let status = wait(&mut child, limit);
    if status.is_none() {
        child.kill().expect("a child of ours can be killed");
        child.wait().expect("a killed child can be waited for");
    }
    let mut output = Vec::new();
    std::io::Seek::rewind(&mut file).expect("a file can be read from its start");
    file.read_to_end(&mut output)
        .expect("a file of ours can be read");
    Outcome {
        status,
        output: String::from_utf8_lossy(&output).into_owned(),
    }
}

/// With this code a script says that the machine cannot do what it needs; it has said why.
const CANNOT: i32 = 3;

/// Runs a scenario of a script in `tests/`, with members of these kinds, as far as the parts that it needs can be
/// had; panics with its output if it fails.
pub fn scenario(script: &str, name: &str, kinds: &str, parts: &[&str], limit: Duration) {
    if !ready(name, parts) {
        return;
    }
    let mut python = Command::new(cache().join("venv/bin/python"));
    python
        .arg(top().join("tests").join(script))
        .args([name, kinds])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ZKORE", zkore_binary())
        .env("ZKORE_INTEROP_CACHE", cache());
    let outcome = run(&mut python, limit);
    if outcome.status.and_then(|status| status.code()) == Some(CANNOT) {
        skip(name, outcome.output.trim());
        return;
    }
    assert!(outcome.success(), "{name} {kinds}:\n{}", outcome.output);
    print!("{}", outcome.output);
}

/// Runs a program that must succeed; panics with its output, and the server's log, if not.
pub fn must_pass(what: &str, command: &mut Command, limit: Duration, server: &Server) -> String {
    let outcome = run(command, limit);
    if !outcome.success() {
        let end = outcome.status.map_or_else(
            || format!("did not end within {} s", limit.as_secs()),
            |status| format!("ended with {status}"),
        );
        panic!(
            "{what} {end}:\n{}\nserver's log:\n{}",
            outcome.output,
            server.log_tail()
        );
    }
    outcome.output
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours can be waited for") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(Duration::from_millis(20));
    }
}

fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

//! `zkore ensemble`: several servers on this machine, for trying an ensemble out.
//!
//! Writes each member's folder, runs the members as processes of this same program, and says which
//! of them leads until it is told to stop. A member that ends is not started again: that is what
//! there is to watch.

use std::fs::{self, File};
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::status::{self, Target};
use super::{LaunchError, process, say};
use crate::rt::signal;

/// How often members are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a member may take to tell its mode before it counts as one that does not answer.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// How long members may take to end.
const END_WAIT: Duration = Duration::from_secs(30);
/// More members than this make no sense on one machine, and ports are set apart for as many.
const MEMBERS_MAX: usize = 50;
/// What is added to the port for clients to have the one for learners.
const QUORUM_PORT_STEP: u16 = 100;
/// And the one for elections.
const ELECTION_PORT_STEP: u16 = 200;

/// What kind of ensemble to run.
#[derive(Clone, Debug)]
pub struct EnsembleRequest {
    /// Members that vote; 1 or more.
    pub members: usize,
    /// Members that do not.
    pub observers: usize,
    /// Where each gets a folder, named by its number.
    pub dir: PathBuf,
    /// The first member's port for clients. The others' follow it; the ports 100 and 200 above are
    /// for the members among themselves.
    pub base_port: u16,
}

/// One member.
struct Member {
    id: usize,
    folder: PathBuf,
    client_port: u16,
}

/// Something to tell.
enum Event {
    /// The mode of a member, `None` while it does not answer.
    Mode(usize, Option<String>),
    /// Asked to stop.
    Stop,
}

/// Runs the ensemble until SIGINT or SIGTERM, or until the last member has ended, which is a
/// failure.
pub fn ensemble(request: &EnsembleRequest) -> Result<ExitCode, LaunchError> {
    request.check()?;
    let dir = std::path::absolute(&request.dir).map_err(LaunchError::file("find", &request.dir))?;
    let members = request.members(&dir);
    for member in &members {
        prepare(member, &request.configuration(&members, member))?;
    }
    signal::block().map_err(LaunchError::file("block", Path::new("signals")))?;
    let mut processes = Processes::start(&members)?;
    say(&format!("Clients connect to {}", addresses(&members)));
    for (member, process) in members.iter().zip(&processes.children) {
        say(&format!(
            "server {} is process {}, log in {}",
            member.id,
            process.id(),
            member.log().display()
        ));
    }
    say("To watch a failover, end the leader: kill -9 <its process>. Ctrl-C ends all.");
    let (events, inbox) = channel();
    for member in &members {
        watch(member, events.clone());
    }
    thread::spawn(move || {
        if signal::wait().is_ok() {
            // The other end went away because all is over.
            let _ = events.send(Event::Stop);
        }
    });
    let code = follow(&members, &mut processes, &inbox);
    processes.stop();
    Ok(code)
}

impl EnsembleRequest {
    fn check(&self) -> Result<(), LaunchError> {
        let all = self.members.saturating_add(self.observers);
        let refuse = |reason: String| Err(LaunchError::Ensemble { reason });
        if self.members == 0 || all > MEMBERS_MAX {
            return refuse(format!("an ensemble has from 1 to {MEMBERS_MAX} members"));
        }
        if self.members == 1 && self.observers > 0 {
            return refuse("observers need at least 2 other members".to_string());
        }
        let highest = usize::from(self.base_port) + usize::from(ELECTION_PORT_STEP) + all;
        if self.base_port == 0 || highest > usize::from(u16::MAX) {
            return refuse(format!(
                "base port {} leaves no room for the ports above it",
                self.base_port
            ));
        }
        Ok(())
    }

    fn members(&self, dir: &Path) -> Vec<Member> {
        (1..=self.members + self.observers)
            .map(|id| Member {
                id,
                folder: dir.join(id.to_string()),
                client_port: self.base_port + (id - 1) as u16,
            })
            .collect()
    }

    /// A member's zoo.cfg.
    fn configuration(&self, members: &[Member], member: &Member) -> String {
        let mut lines = vec![
            "# Made by zkore ensemble.".to_string(),
            "tickTime=2000".to_string(),
            "initLimit=10".to_string(),
            "syncLimit=5".to_string(),
            format!("dataDir={}", escaped(&member.data_dir())),
            "4lw.commands.whitelist=*".to_string(),
            // They share the machine.
            "zkore.shards=1".to_string(),
            "zkore.placement=free".to_string(),
        ];
        if member.id > self.members {
            lines.push("peerType=observer".to_string());
        }
        lines.extend(members.iter().map(|other| {
            let port = other.client_port;
            let (quorum, election) = (port + QUORUM_PORT_STEP, port + ELECTION_PORT_STEP);
            let role = match other.id > self.members {
                true => "observer",
                false => "participant",
            };
            let id = other.id;
            format!("server.{id}=127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{port}")
        }));
        lines.push(String::new());
        lines.join("\n")
    }
}

impl Member {
    fn config(&self) -> PathBuf {
        self.folder.join("zoo.cfg")
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("zkore.log")
    }
}

/// A path as a properties file holds it, which is read as Latin-1.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for unit in path.to_string_lossy().encode_utf16() {
        match u8::try_from(unit) {
            Ok(b'\\') => text.push_str("\\\\"),
            Ok(byte) if byte.is_ascii() => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\u{unit:04x}")),
        }
    }
    text
}

/// The addresses of all members as zkCli takes them behind `-server`.
fn addresses(members: &[Member]) -> String {
    let addresses: Vec<String> = members
        .iter()
        .map(|member| format!("127.0.0.1:{}", member.client_port))
        .collect();
    addresses.join(",")
}

/// Writes a member's folder, or finds that it is the same: a second run goes on with the data.
fn prepare(member: &Member, configuration: &str) -> Result<(), LaunchError> {
    let data_dir = member.data_dir();
    fs::create_dir_all(&data_dir).map_err(LaunchError::file("create", &data_dir))?;
    write_once(&member.config(), configuration)?;
    write_once(&data_dir.join("myid"), &format!("{}\n", member.id))
}

fn write_once(path: &Path, text: &str) -> Result<(), LaunchError> {
    match fs::read_to_string(path) {
        Ok(present) if present == text => Ok(()),
        Ok(_) => Err(LaunchError::Ensemble {
            reason: format!(
                "{} is of another ensemble; run it with the same numbers and ports, or name \
                 another folder",
                path.display()
            ),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::write(path, text).map_err(LaunchError::file("write", path))
        }
        Err(error) => Err(LaunchError::file("read", path)(error)),
    }
}

/// The members' processes; they end when this is dropped.
struct Processes {
    children: Vec<Child>,
    has_ended: Vec<bool>,
}

impl Processes {
    fn start(members: &[Member]) -> Result<Processes, LaunchError> {
        let program = process::own_program()?;
        let mut processes = Processes {
            children: Vec::new(),
            has_ended: vec![false; members.len()],
        };
        for member in members {
            let path = member.log();
            let failed = || LaunchError::file("write", &path);
            let mut log = File::options();
            let log = log
                .create(true)
                .append(true)
                .open(&path)
                .map_err(failed())?;
            let also_log = log.try_clone().map_err(failed())?;
            let mut command = Command::new(&program);
            command
                .arg("server")
                .arg(member.config())
                .stdin(Stdio::null())
                .stdout(log)
                .stderr(also_log);
            process::bind_to_parent(&mut command);
            let child = command
                .spawn()
                .map_err(LaunchError::file("run", &program))?;
            processes.children.push(child);
        }
        Ok(processes)
    }

    /// The members whose process has ended since the last time, and how.
    fn ended(&mut self) -> Vec<(usize, String)> {
        let mut ended = Vec::new();
        for (index, child) in self.children.iter_mut().enumerate() {
            if self.has_ended[index] {
                continue;
            }
            let how = match child.try_wait() {
                Ok(None) => continue,
                Ok(Some(status)) => status.to_string(),
                Err(error) => error.to_string(),
            };
            self.has_ended[index] = true;
            ended.push((index, how));
        }
        ended
    }

    fn have_all_ended(&self) -> bool {
        self.has_ended.iter().all(|&has_ended| has_ended)
    }

    /// Asks all to end and waits until they have.
    fn stop(&mut self) {
        self.ended();
        for (child, has_ended) in self.children.iter().zip(&self.has_ended) {
            if !has_ended && let Ok(pid) = i32::try_from(child.id()) {
                process::terminate(pid);
            }
        }
        let begun = Instant::now();
        while !self.have_all_ended() && begun.elapsed() < END_WAIT {
            thread::sleep(LOOK_INTERVAL);
            self.ended();
        }
        for (child, has_ended) in self.children.iter_mut().zip(&self.has_ended) {
            if !has_ended {
                process::kill_child(child);
            }
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tells of a member's mode whenever it changes, from a thread of its own.
fn watch(member: &Member, events: Sender<Event>) {
    let (id, port) = (member.id, member.client_port);
    thread::spawn(move || {
        let target = Target {
            address: "127.0.0.1".to_string(),
            port,
            tls: false,
        };
        let mut last = None;
        loop {
            let mode = ask_mode(&target);
            if mode != last && events.send(Event::Mode(id, mode.clone())).is_err() {
                return;
            }
            last = mode;
            thread::sleep(LOOK_INTERVAL);
        }
    });
}

/// The mode without the word before it; `None` while the member does not serve.
fn ask_mode(target: &Target) -> Option<String> {
    let answer = status::ask(target, ANSWER_WAIT).ok()?;
    let line = status::mode_line(&answer)?;
    Some(line.trim_start_matches("Mode: ").to_string())
}

/// Prints what happens until it is over.
fn follow(members: &[Member], processes: &mut Processes, inbox: &Receiver<Event>) -> ExitCode {
    let begun = Instant::now();
    let tell = |text: &str| say(&format!("{:8.1} s  {text}", begun.elapsed().as_secs_f64()));
    loop {
        match inbox.recv_timeout(LOOK_INTERVAL) {
            Ok(Event::Mode(id, Some(mode))) => tell(&format!("server {id}: {mode}")),
            Ok(Event::Mode(id, None)) => tell(&format!("server {id}: does not serve")),
            Ok(Event::Stop) => {
                tell("ending all servers");
                return ExitCode::SUCCESS;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return ExitCode::FAILURE,
        }
        for (index, how) in processes.ended() {
            let member = &members[index];
            tell(&format!("server {} has ended: {how}", member.id));
            if let Some(line) = last_line(&member.log()) {
                say(&format!("            {line}"));
            }
            say(&format!(
                "            to start it again: zkore server {}",
                member.config().display()
            ));
        }
        if processes.have_all_ended() {
            tell("no server is left");
            return ExitCode::FAILURE;
        }
    }
}

/// The last line of a log that says something.
fn last_line(path: &Path) -> Option<String> {
    let lines = io::BufReader::new(File::open(path).ok()?).lines();
    lines
        .map_while(Result::ok)
        .filter(|line| !line.trim().is_empty())
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn request(members: usize, observers: usize, dir: &Path) -> EnsembleRequest {
        EnsembleRequest {
            members,
            observers,
            dir: dir.to_owned(),
            base_port: 2181,
        }
    }

    #[test]
    fn every_member_gets_a_configuration_that_the_server_takes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let dir = dir.path().join("with space, \\ and ä");
        let request = request(3, 1, &dir);
        let members = request.members(&dir);
        assert_eq!(
            addresses(&members),
            "127.0.0.1:2181,127.0.0.1:2182,127.0.0.1:2183,127.0.0.1:2184"
        );
        for member in &members {
            let text = request.configuration(&members, member);
            prepare(member, &text).expect("the folder is new");
            prepare(member, &text).expect("the folder is the same");
            let mut sources = Sources::default();
            sources.read_file(&member.config()).expect("just written");
            let (config, warnings) = Config::load(&sources).expect("the configuration is good");
            assert!(warnings.is_empty(), "{warnings:?}");
            assert_eq!(
                config.data_dir,
                dir.join(member.id.to_string()).join("data")
            );
            assert_eq!(config.client_address.port(), member.client_port);
            let ensemble = config.ensemble.expect("four members");
            assert_eq!(ensemble.my_id.0, member.id as i64);
            assert_eq!(ensemble.ensemble.voters().count(), 3);
            let addresses = &ensemble.me().addresses;
            assert_eq!(addresses[0].quorum_port, member.client_port + 100);
            assert_eq!(addresses[0].election_port, member.client_port + 200);
        }
        let other = prepare(&members[0], "tickTime=1\n").expect_err("another ensemble's folder");
        assert!(other.to_string().contains("is of another ensemble"));
    }

    #[test]
    fn numbers_that_make_no_ensemble() {
        let dir = Path::new("/d");
        for (members, observers, base_port, reason) in [
            (0, 0, 2181, "an ensemble has from 1 to 50 members"),
            (50, 1, 2181, "an ensemble has from 1 to 50 members"),
            (1, 1, 2181, "observers need at least 2 other members"),
            (3, 0, 0, "base port 0 leaves no room for the ports above it"),
            (
                3,
                0,
                65_400,
                "base port 65400 leaves no room for the ports above it",
            ),
        ] {
            let mut request = request(members, observers, dir);
            request.base_port = base_port;
            let refused = request.check().expect_err(reason).to_string();
            assert_eq!(refused, reason);
        }
        request(3, 2, dir).check().expect("five members");
    }

    #[test]
    fn the_log_s_last_words_are_found() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("log");
        assert_eq!(last_line(&path), None);
        fs::write(&path, "first\nlast\n\n").expect("writable");
        assert_eq!(last_line(&path).as_deref(), Some("last"));
    }
}

//! What process tests share: a real server in a folder of its own, and a bare client that shows
//! every frame.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use zkore::jute::data::Acl;
use zkore::jute::proto::{ConnectRequest, ConnectResponse, ReplyHeader, RequestHeader};
use zkore::jute::{Decoder, Record, op};

/// How long a server may take to answer after its start.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// A port that was free a moment ago, and that no client is given as its own: a server that is
/// started again finds it still free. Processes that test at once begin at different ones.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    loop {
        let offset = std::process::id() % COUNT * 101 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + offset % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A server process; killed when dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    log: PathBuf,
}

/// How to start a server.
pub struct ServerSpec {
    program: PathBuf,
    folder: PathBuf,
    ip: IpAddr,
    port: u16,
    lines: Vec<String>,
}

impl ServerSpec {
    /// A server whose files are below `folder`, on a free port, with a short tick.
    pub fn new(folder: &Path) -> ServerSpec {
        ServerSpec {
            program: env!("CARGO_BIN_EXE_zkore").into(),
            folder: folder.to_owned(),
            ip: Ipv4Addr::LOCALHOST.into(),
            port: free_port(),
            lines: vec!["tickTime=100".into()],
        }
    }

    /// Adds a line to its zoo.cfg.
    pub fn with(mut self, line: &str) -> ServerSpec {
        self.lines.push(line.to_owned());
        self
    }

    /// Listens on this address instead of on 127.0.0.1.
    pub fn with_ip(mut self, ip: IpAddr) -> ServerSpec {
        self.ip = ip;
        self
    }

    /// Runs this file instead of the binary that was built.
    pub fn with_program(mut self, program: &Path) -> ServerSpec {
        self.program = program.to_owned();
        self
    }

    /// Where it keeps its data.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its log segments or snapshots (`log.`, `snapshot.`), oldest first.
    pub fn files(&self, prefix: &str) -> Vec<PathBuf> {
        let names = fs::read_dir(self.data_dir().join("zkore-1")).expect("it was made");
        let mut found: Vec<(u64, PathBuf)> = names
            .filter_map(|entry| {
                let path = entry.expect("readable").path();
                let name = path.file_name()?.to_str()?;
                let zxid = u64::from_str_radix(name.strip_prefix(prefix)?, 16).ok()?;
                Some((zxid, path))
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    /// Writes its zoo.cfg.
    pub fn write_config(&self) -> PathBuf {
        let config = self.folder.join("zoo.cfg");
        let mut text = format!(
            "clientPort={}\nclientPortAddress={}\ndataDir={}\n4lw.commands.whitelist=*\n",
            self.port,
            self.ip,
            self.data_dir().display()
        );
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        fs::write(&config, text).expect("the folder takes files");
        config
    }

    /// Starts it and waits until it answers.
    pub fn start(&self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(log) => panic!("the server did not start:\n{log}"),
        }
    }

    /// Starts it; where it ends instead of answering, the error is what it printed.
    pub fn try_start(&self) -> Result<Server, String> {
        self.try_start_with(|_| {})
    }

    /// The same, with something done to the command before it runs.
    pub fn try_start_with(&self, prepare: impl FnOnce(&mut Command)) -> Result<Server, String> {
        let config = self.write_config();
        let log = self.folder.join("server.log");
        let output = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .expect("writable");
        let mut command = Command::new(&self.program);
        command
            .arg("server")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("descriptors are left"))
            .stderr(output);
        prepare(&mut command);
        let child = command.spawn().expect("the binary was built for this test");
        let address = self.address();
        let mut server = Server {
            child,
            address,
            log,
        };
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if let Some(status) = server.child.try_wait().expect("our child") {
                return Err(format!("{status}\n{}", server.log()));
            }
            if four_letter_word(address, "ruok").is_ok_and(|answer| answer == "imok") {
                return Ok(server);
            }
            assert!(
                Instant::now() < deadline,
                "no answer in time:\n{}",
                server.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Server {
    /// What it has printed so far, earlier starts included.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Bytes of memory that it has in use now.
    pub fn memory_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.and_then(|kib| kib.parse::<usize>().ok())
            .expect("the kernel counts it")
            * 1024
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would: SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }

    /// Asks it to stop (SIGTERM) and waits; returns whether it exited with success.
    pub fn stop(mut self) -> bool {
        let status = Command::new("kill")
            .arg(self.pid().to_string())
            .status()
            .expect("kill exists");
        assert!(status.success());
        self.child.wait().expect("our child").success()
    }

    /// Waits until it ends by itself; returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("our child").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a four-letter word and reads the answer to its end.
pub fn four_letter_word(address: SocketAddr, word: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The field `name` of an answer of `name<tab>value` lines, as `mntr` gives.
pub fn field(answer: &str, name: &str) -> Option<String> {
    BufReader::new(answer.as_bytes())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| {
            let (key, value) = line.split_once('\t')?;
            (key == name).then(|| value.to_owned())
        })
}

/// A connection that sends and shows single frames.
pub struct RawClient {
    /// The socket.
    pub stream: TcpStream,
    /// The session, its password and its timeout.
    pub session: ConnectResponseOwned,
    xid: i32,
}

/// An owned [`ConnectResponse`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectResponseOwned {
    /// Negotiated timeout in milliseconds; 0 refuses.
    pub timeout_ms: i32,
    /// Session id; 0 refuses.
    pub session_id: i64,
    /// Its password.
    pub passwd: Vec<u8>,
}

/// A reply, split into its header and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The header.
    pub header: ReplyHeader,
    /// The record behind it.
    pub body: Vec<u8>,
}

/// The ACL that lets everybody do everything.
pub fn open_acl() -> Vec<Acl> {
    vec![Acl {
        perms: 31,
        scheme: "world".into(),
        id: "anyone".into(),
    }]
}

impl RawClient {
    /// Opens a new session.
    pub fn connect(address: SocketAddr, timeout_ms: i32) -> io::Result<RawClient> {
        RawClient::attach(address, timeout_ms, &ConnectResponseOwned::default())
    }

    /// Goes on with a session.
    pub fn attach(
        address: SocketAddr,
        timeout_ms: i32,
        session: &ConnectResponseOwned,
    ) -> io::Result<RawClient> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        let mut client = RawClient {
            stream,
            session: ConnectResponseOwned::default(),
            xid: 0,
        };
        let passwd = if session.passwd.is_empty() {
            &[0; 16][..]
        } else {
            &session.passwd
        };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms,
            session_id: session.session_id,
            passwd: Some(passwd),
            read_only: false,
        };
        client.send_frame(&request.to_vec())?;
        let frame = client.receive_frame()?;
        let response = ConnectResponse::from_slice(&frame).map_err(io::Error::other)?;
        client.session = ConnectResponseOwned {
            timeout_ms: response.timeout_ms,
            session_id: response.session_id,
            passwd: response.passwd.unwrap_or_default().to_vec(),
        };
        Ok(client)
    }

    /// Sends one frame.
    pub fn send_frame(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut bytes = (frame.len() as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(frame);
        self.stream.write_all(&bytes)
    }

    /// Receives one frame.
    pub fn receive_frame(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame)
    }

    /// Sends a request without waiting; returns its xid.
    pub fn send<'a>(&mut self, op: i32, body: &impl Record<'a>) -> io::Result<i32> {
        self.xid += 1;
        let mut frame = RequestHeader {
            xid: self.xid,
            kind: op,
        }
        .to_vec();
        body.encode(&mut frame);
        self.send_frame(&frame)?;
        Ok(self.xid)
    }

    /// Receives the next reply or notification.
    pub fn receive(&mut self) -> io::Result<Reply> {
        let frame = self.receive_frame()?;
        let mut from = Decoder::new(&frame);
        let header = ReplyHeader::decode(&mut from).map_err(io::Error::other)?;
        Ok(Reply {
            header,
            body: from.rest().to_vec(),
        })
    }

    /// Sends a request and waits for its reply; notifications before it are dropped.
    pub fn call<'a>(&mut self, op: i32, body: &impl Record<'a>) -> io::Result<Reply> {
        let xid = self.send(op, body)?;
        loop {
            let reply = self.receive()?;
            if reply.header.xid == xid {
                return Ok(reply);
            }
        }
    }

    /// Closes the session.
    pub fn close(mut self) -> io::Result<()> {
        self.call(op::CLOSE_SESSION, &Empty).map(drop)
    }
}

/// A request without a record.
pub struct Empty;

impl Record<'_> for Empty {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut Decoder<'_>) -> Result<Empty, zkore::jute::JuteError> {
        Ok(Empty)
    }
}

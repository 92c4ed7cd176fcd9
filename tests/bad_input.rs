//! Bad input over the network: each kind gets its clear answer, harms no other client, loses
//! nothing, and does not make the server grow.
//!
//! `ZKORE_FUZZ_SEED` and `ZKORE_FUZZ_CONNECTIONS` set the seed and the length of the fuzzing.

#![allow(clippy::disallowed_methods, reason = "waits for real servers")]

mod support;

use std::env;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::{ConnectResponseOwned, RawClient, Server, ServerSpec, four_letter_word, open_acl};
use tempfile::TempDir;
use zkore::jute::proto::{
    AddWatchRequest, CreateRequest, ExistsRequest, GetDataRequest, GetDataResponse, MULTI_END,
    MultiHeader, RequestHeader, SetDataRequest,
};
use zkore::jute::{Decoder, JuteError, Record, op};

const PATIENCE: Duration = Duration::from_secs(20);
const SESSION_TIMEOUT_MS: i32 = 20_000;
const OK: i32 = 0;
const MARSHALLING_ERROR: i32 = -5;
const UNIMPLEMENTED: i32 = -6;
const NO_NODE: i32 = -101;
const MIB: usize = 1 << 20;

/// A server, and a client whose session and data must come through whatever others do.
struct Scene {
    server: Server,
    spec: ServerSpec,
    witness: RawClient,
    writes: u32,
    _folder: TempDir,
}

impl Scene {
    fn new(lines: &[&str]) -> Scene {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut spec = ServerSpec::new(folder.path())
            .with("preAllocSize=64")
            .with("maxSessionTimeout=60000");
        for line in lines {
            spec = spec.with(line);
        }
        let server = spec.start();
        let mut witness =
            RawClient::connect(server.address, SESSION_TIMEOUT_MS).expect("it serves");
        create(&mut witness, "/witness", b"0");
        Scene {
            server,
            spec,
            witness,
            writes: 0,
            _folder: folder,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        stream
    }

    fn client(&self) -> RawClient {
        RawClient::connect(self.server.address, SESSION_TIMEOUT_MS).expect("it serves")
    }

    /// The witness still reads what it wrote, and can write.
    fn check(&mut self, case: &str) {
        let request = GetDataRequest {
            path: "/witness",
            watch: false,
        };
        let reply = self.witness.call(op::GET_DATA, &request).expect(case);
        let response = GetDataResponse::from_slice(&reply.body).expect(case);
        let expected = self.writes.to_string();
        assert_eq!(response.data, Some(expected.as_bytes()), "{case}");
        self.writes += 1;
        let data = self.writes.to_string();
        assert_eq!(
            set(&mut self.witness, "/witness", data.as_bytes()),
            OK,
            "{case}"
        );
    }

    /// Ends it in order; nothing of its log may speak of a bug, and a restart finds all of it.
    fn finish(mut self) {
        self.check("at the end");
        let log = self.server.log();
        for word in ["panic", "came out of order", "fatal"] {
            assert!(!log.contains(word), "{log}");
        }
        let session = self.witness.session.clone();
        assert!(self.server.stop(), "SIGTERM stops it cleanly");
        self.server = self.spec.start();
        self.witness =
            RawClient::attach(self.server.address, SESSION_TIMEOUT_MS, &session).expect("serves");
        assert_eq!(self.witness.session.session_id, session.session_id);
        self.check("after a restart");
    }
}

fn create(client: &mut RawClient, path: &str, data: &[u8]) {
    let request = CreateRequest {
        path,
        data: Some(data),
        acl: open_acl(),
        flags: 0,
    };
    let reply = client.call(op::CREATE, &request).expect("it answers");
    assert_eq!(reply.header.err, OK, "create {path}");
}

fn set(client: &mut RawClient, path: &str, data: &[u8]) -> i32 {
    let request = SetDataRequest {
        path,
        data: Some(data),
        version: -1,
    };
    let reply = client.call(op::SET_DATA, &request).expect("it answers");
    reply.header.err
}

fn exists(client: &mut RawClient, path: &str) -> i32 {
    let request = ExistsRequest { path, watch: false };
    let reply = client.call(op::EXISTS, &request).expect("it answers");
    reply.header.err
}

/// Reads to the end, which the server must bring about; returns what came before.
fn read_to_close(stream: &mut TcpStream, case: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{case}: the server did not close the connection: {error}"),
    }
    bytes
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as i32).to_be_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// Bytes as a request record.
struct Bytes<'a>(&'a [u8]);

impl Record<'_> for Bytes<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }

    fn decode(_: &mut Decoder<'_>) -> Result<Self, JuteError> {
        unreachable!("requests are only written")
    }
}

fn header(xid: i32, kind: i32) -> Vec<u8> {
    RequestHeader { xid, kind }.to_vec()
}

#[test]
fn garbage_on_the_port_closes_only_its_connection() {
    let mut scene = Scene::new(&[]);
    let tls_hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 512]].concat();
    let not_whole = frame(&[0; 20]);
    let bad_password_length = frame(&[&[0; 24][..], &[0xff, 0xff, 0xff, 0xfe]].concat());
    let huge_password = frame(&[&[0; 24][..], &[0x7f, 0xff, 0xff, 0xff]].concat());
    let cases: &[(&str, &[u8], &str)] = &[
        (
            "negative length",
            &[0xff, 0xff, 0xff, 0xf0, 1],
            "frame length -16",
        ),
        (
            "huge length",
            &[0x7f, 0xff, 0xff, 0xff, 1],
            "frame length 2147483647",
        ),
        (
            "over jute.maxbuffer",
            &[0, 0x10, 0, 0, 1],
            "frame length 1048576",
        ),
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "frame length 1195725856",
        ),
        ("TLS", &tls_hello, "frame length 369295618"),
        (
            "empty frame",
            &[0, 0, 0, 0],
            "connect request cannot be read",
        ),
        (
            "truncated connect request",
            &not_whole,
            "connect request cannot be read",
        ),
        (
            "negative length inside",
            &bad_password_length,
            "connect request cannot be read",
        ),
        (
            "huge length inside",
            &huge_password,
            "connect request cannot be read",
        ),
    ];
    for (case, bytes, reason) in cases {
        let mut stream = scene.connect();
        stream.write_all(bytes).expect(case);
        assert_eq!(read_to_close(&mut stream, case), b"", "{case}");
        let log = scene.server.log();
        assert!(log.contains(reason), "{case}:\n{log}");
        scene.check(case);
    }
    scene.finish();
}

#[test]
fn a_bad_frame_closes_the_connection_and_leaves_the_session() {
    let mut scene = Scene::new(&[]);
    let cases: &[(&str, &[u8])] = &[
        ("negative length", &[0x80, 0, 0, 0]),
        ("over jute.maxbuffer", &[0, 0x10, 0, 0]),
        ("huge length", &[0x7f, 0xff, 0xff, 0xff]),
        ("empty frame", &[0, 0, 0, 0]),
        ("half a header", &[0, 0, 0, 6, 0, 0, 0, 1, 0, 0]),
        ("auth without a body", &frame(&header(-4, op::AUTH))),
    ];
    for (case, bytes) in cases {
        let mut client = scene.client();
        client.stream.write_all(bytes).expect(case);
        read_to_close(&mut client.stream, case);
        let session = client.session.clone();
        let client = RawClient::attach(scene.server.address, SESSION_TIMEOUT_MS, &session);
        let client = client.expect(case);
        assert_eq!(client.session.session_id, session.session_id, "{case}");
        client.close().expect(case);
        scene.check(case);
    }
    scene.finish();
}

/// Each operation with a record that is whole; `/t` is there, `/new` is not.
#[allow(clippy::too_many_lines, reason = "a list")]
fn whole_requests() -> Vec<(&'static str, i32, Vec<u8>)> {
    let create = CreateRequest {
        path: "/new",
        data: Some(b"data"),
        acl: open_acl(),
        flags: 0,
    }
    .to_vec();
    let create_ttl = [&create[..], &1000i64.to_be_bytes()].concat();
    let container = CreateRequest {
        path: "/new",
        data: Some(b"data"),
        acl: open_acl(),
        flags: 4,
    }
    .to_vec();
    let path = "/t".to_vec();
    let path_and = |rest: &[u8]| [&path[..], rest].concat();
    let version = (-1i32).to_be_bytes();
    let set = SetDataRequest {
        path: "/t",
        data: Some(b"changed"),
        version: -1,
    }
    .to_vec();
    let set_acl = path_and(&[&open_acl().to_vec()[..], &version].concat());
    let paths = vec!["/t"].to_vec();
    let watches = [&0i64.to_be_bytes()[..], &paths, &paths, &paths].concat();
    let watches2 = [&watches[..], &paths, &paths].concat();
    let mut multi = Vec::new();
    let part = |kind| MultiHeader {
        kind,
        done: false,
        err: -1,
    };
    part(op::CREATE).encode(&mut multi);
    multi.extend_from_slice(&create);
    part(op::SET_DATA).encode(&mut multi);
    multi.extend_from_slice(&set);
    MULTI_END.encode(&mut multi);
    let mut multi_read = Vec::new();
    part(op::GET_DATA).encode(&mut multi_read);
    multi_read.extend_from_slice(&path_and(&[0]));
    MULTI_END.encode(&mut multi_read);
    let reconfig = [&path[..], &path, &path, &0i64.to_be_bytes()].concat();
    vec![
        ("create", op::CREATE, create.clone()),
        ("create2", op::CREATE2, create),
        ("createContainer", op::CREATE_CONTAINER, container),
        ("createTTL", op::CREATE_TTL, create_ttl),
        ("delete", op::DELETE, path_and(&version)),
        ("deleteContainer", op::DELETE_CONTAINER, path.clone()),
        ("exists", op::EXISTS, path_and(&[0])),
        ("getData", op::GET_DATA, path_and(&[0])),
        ("setData", op::SET_DATA, set),
        ("getACL", op::GET_ACL, path.clone()),
        ("setACL", op::SET_ACL, set_acl),
        ("getChildren", op::GET_CHILDREN, path_and(&[0])),
        ("getChildren2", op::GET_CHILDREN2, path_and(&[0])),
        ("sync", op::SYNC, path.clone()),
        ("multi", op::MULTI, multi),
        ("multiRead", op::MULTI_READ, multi_read),
        ("reconfig", op::RECONFIG, reconfig),
        ("checkWatches", op::CHECK_WATCHES, path_and(&[0, 0, 0, 3])),
        ("removeWatches", op::REMOVE_WATCHES, path_and(&[0, 0, 0, 3])),
        ("setWatches", op::SET_WATCHES, watches),
        ("setWatches2", op::SET_WATCHES2, watches2),
        ("getEphemerals", op::GET_EPHEMERALS, path.clone()),
        (
            "getAllChildrenNumber",
            op::GET_ALL_CHILDREN_NUMBER,
            path.clone(),
        ),
        ("addWatch", op::ADD_WATCH, path_and(&[0, 0, 0, 0])),
    ]
}

#[test]
fn truncated_records_of_every_operation_are_refused_and_change_nothing() {
    let mut scene = Scene::new(&[]);
    create(&mut scene.witness, "/t", b"unchanged");
    let mut client = scene.client();
    for (name, kind, record) in whole_requests() {
        // All at once: replies come in the order of the requests.
        let mut xids = Vec::new();
        for length in 0..record.len() {
            xids.push(client.send(kind, &Bytes(&record[..length])).expect(name));
        }
        for (length, xid) in xids.into_iter().enumerate() {
            let reply = loop {
                let reply = client.receive().unwrap_or_else(|error| {
                    panic!("{name} cut to {length} of {} bytes: {error}", record.len())
                });
                if reply.header.xid != op::XID_NOTIFICATION {
                    break reply;
                }
            };
            let case = format!("{name} cut to {length} of {} bytes", record.len());
            assert_eq!(reply.header.xid, xid, "{case}");
            assert_ne!(reply.header.err, OK, "{case}");
            assert_eq!(reply.body, b"", "{case}");
        }
        assert_eq!(exists(&mut client, "/new"), NO_NODE, "{name}");
        let request = GetDataRequest {
            path: "/t",
            watch: false,
        };
        let reply = client.call(op::GET_DATA, &request).expect(name);
        let response = GetDataResponse::from_slice(&reply.body).expect(name);
        assert_eq!(response.data, Some(&b"unchanged"[..]), "{name}");
        assert_eq!(response.stat.aversion, 0, "{name}");
        scene.check(name);
    }
    scene.finish();
}

#[test]
fn records_that_lie_about_their_content_are_refused() {
    let mut scene = Scene::new(&[]);
    let mut client = scene.client();
    let bad_utf8 = [&[0, 0, 0, 3, b'/', 0xff, 0xfe][..], &[0]].concat();
    let huge_path = [0x7f, 0xff, 0xff, 0xff, b'/', 0];
    let negative_path = [0xff, 0xff, 0xff, 0xfe, 0];
    let huge_list = [&"/x".to_vec()[..], &[0, 0, 0, 0], &[0x7f, 0xff, 0xff, 0xff]].concat();
    let many_watches = [&0i64.to_be_bytes()[..], &[0x7f, 0xff, 0xff, 0xff]].concat();
    for (case, kind, record) in [
        ("bad UTF-8", op::GET_DATA, &bad_utf8[..]),
        ("huge path", op::EXISTS, &huge_path),
        ("negative path", op::GET_CHILDREN, &negative_path),
        ("two billion ACLs", op::CREATE, &huge_list),
        ("two billion watches", op::SET_WATCHES, &many_watches),
    ] {
        let reply = client.call(kind, &Bytes(record)).expect(case);
        assert_eq!(reply.header.err, MARSHALLING_ERROR, "{case}");
        scene.check(case);
    }
    let session = &client.session;
    let wrong = ConnectResponseOwned {
        passwd: vec![9; 16],
        ..session.clone()
    };
    let mut refused =
        RawClient::attach(scene.server.address, SESSION_TIMEOUT_MS, &wrong).expect("answers");
    assert_eq!(
        (refused.session.session_id, refused.session.timeout_ms),
        (0, 0)
    );
    assert_eq!(read_to_close(&mut refused.stream, "wrong password"), b"");
    assert_eq!(exists(&mut client, "/"), OK, "the session itself goes on");
    for unknown in [
        0,
        10,
        23,
        99,
        110,
        -2,
        i32::MAX,
        i32::MIN,
        op::CREATE_SESSION,
        op::ERROR,
    ] {
        let mut other = scene.client();
        let reply = other
            .call(unknown, &Bytes(b"\0\0\0\x01/"))
            .expect("answered");
        assert_eq!(reply.header.err, UNIMPLEMENTED, "operation {unknown}");
        read_to_close(&mut other.stream, "unknown operation");
    }
    scene.finish();
}

#[test]
fn connections_that_say_nothing_or_too_little_are_closed_in_time() {
    let mut scene = Scene::new(&["nio.sessionlessCnxnTimeout=500", "minSessionTimeout=200"]);
    let mut silent = scene.connect();
    let mut slow = scene.connect();
    // One byte of a connect request at a time: alive, but never done.
    let sender = slow.try_clone().expect("descriptors are left");
    let trickle = thread::spawn(move || {
        for byte in frame(&[0; 44]) {
            if (&sender).write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(40));
        }
    });
    assert_eq!(read_to_close(&mut silent, "silent"), b"");
    assert_eq!(read_to_close(&mut slow, "slow"), b"");
    trickle.join().expect("it only writes");
    scene.check("sessionless");

    // A client that goes silent loses its session, and its half-open connection with it.
    let mut lost = RawClient::connect(scene.server.address, 300).expect("it serves");
    let request = CreateRequest {
        path: "/ephemeral",
        data: None,
        acl: open_acl(),
        flags: 1,
    };
    assert_eq!(
        lost.call(op::CREATE, &request).expect("answers").header.err,
        OK
    );
    read_to_close(&mut lost.stream, "silent session");
    assert_eq!(exists(&mut scene.witness, "/ephemeral"), NO_NODE);

    // A client that ends its side only: there is no more to expect of it.
    let mut half = scene.client();
    half.stream.shutdown(Shutdown::Write).expect("a socket");
    read_to_close(&mut half.stream, "half closed");

    // Byte by byte is slow, and right.
    let mut slow = scene.client();
    let request = [header(7, op::EXISTS), "/witness".to_vec(), vec![0]].concat();
    for byte in frame(&request) {
        slow.stream.write_all(&[byte]).expect("it reads");
    }
    assert_eq!(slow.receive().expect("answered").header.xid, 7);
    scene.finish();
}

#[test]
fn a_thousand_connections_of_one_address_do_not_pass_its_limit() {
    const LIMIT: usize = 40;
    const ATTEMPTS: usize = 1000;
    raise_file_limit();
    let mut scene = Scene::new(&["maxClientCnxns=40"]);
    let streams: Vec<TcpStream> = (0..ATTEMPTS).map(|_| scene.connect()).collect();
    let mut refused = 0;
    for stream in &streams {
        stream.set_nonblocking(true).expect("a socket");
    }
    let is_closed = |mut stream: &TcpStream| match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    wait_until("most are refused", || {
        refused = streams.iter().filter(|stream| is_closed(stream)).count();
        refused >= ATTEMPTS - (LIMIT - 1)
    });
    scene.check("a thousand connections");
    assert_eq!(refused, ATTEMPTS - (LIMIT - 1));
    let log = scene.server.log();
    assert!(log.contains("(maxClientCnxns=40)"), "{log}");
    let lines = log
        .lines()
        .filter(|line| line.contains("maxClientCnxns=40"))
        .count();
    assert!(lines < 100, "a flood is not logged line by line: {lines}");
    drop(streams);
    wait_until("places are free again", || {
        four_letter_word(scene.server.address, "ruok").is_ok_and(|answer| answer == "imok")
    });
    scene.finish();
}

/// A test has a thousand sockets open at once.
fn raise_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a pointer to a live local.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

#[test]
fn a_client_that_never_reads_replies_is_not_served_ahead() {
    let mut scene = Scene::new(&[]);
    create(&mut scene.witness, "/large", &vec![7; MIB - 1000]);
    let before = scene.server.memory_bytes();
    let mut client = scene.client();
    client
        .stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a socket");
    let request = GetDataRequest {
        path: "/large",
        watch: false,
    };
    // 20 GiB of replies, if the server made them; it stops reading instead.
    let mut sent = 0;
    while sent < 20_000 && client.send(op::GET_DATA, &request).is_ok() {
        sent += 1;
        if sent % 1000 == 0 {
            scene.check("while another does not read");
        }
    }
    thread::sleep(Duration::from_millis(200));
    scene.check("while another does not read");
    let grown = scene.server.memory_bytes().saturating_sub(before);
    assert!(grown < 64 * MIB, "the server grew by {grown} bytes");
    // Whoever reads again gets its replies, in order.
    for xid in 1..=20 {
        let reply = client.receive().expect("replies wait");
        assert_eq!((reply.header.xid, reply.header.err), (xid, OK));
        assert!(reply.body.len() > MIB - 1000);
    }
    drop(client);
    scene.finish();
}

#[test]
fn large_requests_behind_a_write_do_not_pile_up() {
    let scene = Scene::new(&[]);
    let before = scene.server.memory_bytes();
    let mut clients: Vec<RawClient> = (0..4).map(|_| scene.client()).collect();
    // A record may be followed by anything; each such read holds a MiB while it waits.
    let bulky = [&"/witness".to_vec()[..], &[0], &vec![1; MIB - 1000]].concat();
    let senders: Vec<_> = clients
        .iter()
        .map(|client| {
            let mut stream = client.stream.try_clone().expect("descriptors are left");
            let bytes = frame(&[header(1, op::EXISTS), bulky.clone()].concat());
            let sync = frame(&[header(1, op::SYNC), "/".to_vec()].concat());
            thread::spawn(move || {
                for _ in 0..60 {
                    stream.write_all(&sync).expect("it reads in time");
                    stream.write_all(&bytes).expect("it reads in time");
                }
            })
        })
        .collect();
    let mut most = 0;
    for client in &mut clients {
        for _ in 0..120 {
            let reply = client.receive().expect("answered");
            assert_eq!(reply.header.err, OK);
            most = most.max(scene.server.memory_bytes());
        }
    }
    for sender in senders {
        sender.join().expect("all was taken");
    }
    let grown = most.saturating_sub(before);
    assert!(grown < 100 * MIB, "the server grew by {grown} bytes");
    scene.finish();
}

#[test]
fn a_small_request_cannot_ask_for_a_huge_reply() {
    let mut scene = Scene::new(&[]);
    create(&mut scene.witness, "/large", &vec![7; MIB - 1000]);
    let before = scene.server.memory_bytes();
    let mut reads = Vec::new();
    for _ in 0..10_000 {
        MultiHeader {
            kind: op::GET_DATA,
            done: false,
            err: -1,
        }
        .encode(&mut reads);
        GetDataRequest {
            path: "/large",
            watch: false,
        }
        .encode(&mut reads);
    }
    MULTI_END.encode(&mut reads);
    let mut client = scene.client();
    let reply = client
        .call(op::MULTI_READ, &Bytes(&reads))
        .expect("answered");
    assert_eq!(reply.header.err, MARSHALLING_ERROR);
    assert_eq!(exists(&mut client, "/large"), OK, "the connection goes on");
    let grown = scene.server.memory_bytes().saturating_sub(before);
    assert!(grown < 100 * MIB, "the server grew by {grown} bytes");
    scene.finish();
}

#[test]
fn a_client_that_never_reads_notifications_is_cut_off() {
    let mut scene = Scene::new(&[]);
    let name = format!("/{}", "n".repeat(MIB / 2));
    create(&mut scene.witness, &name, b"");
    let before = scene.server.memory_bytes();
    let mut watcher = scene.client();
    let request = AddWatchRequest {
        path: &name,
        mode: 0,
    };
    let reply = watcher.call(op::ADD_WATCH, &request).expect("answered");
    assert_eq!(reply.header.err, OK);
    let mut most = 0;
    // Until it is cut off and not longer: its session goes on for a while only.
    let is_cut_off = (0..200).any(|_| {
        assert_eq!(set(&mut scene.witness, &name, b""), OK);
        most = most.max(scene.server.memory_bytes());
        let log = scene.server.log();
        log.contains("cutting off a client that does not read")
    });
    assert!(is_cut_off, "{}", scene.server.log());
    let grown = most.saturating_sub(before);
    assert!(grown < 200 * MIB, "the server grew by {grown} bytes");
    let session = watcher.session.clone();
    let again = RawClient::attach(scene.server.address, SESSION_TIMEOUT_MS, &session);
    assert_eq!(
        again.expect("answers").session.session_id,
        session.session_id
    );
    scene.finish();
}

/// Marsaglia's xorshift: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.next() as u8).collect()
    }
}

fn from_env(name: &str, default: u64) -> u64 {
    let value = env::var(name).ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn random_bytes_on_thousands_of_connections_harm_nobody() {
    const THREADS: u64 = 4;
    let seed = from_env("ZKORE_FUZZ_SEED", 0x00c0_ffee);
    let connections = from_env("ZKORE_FUZZ_CONNECTIONS", 2000);
    println!("seed {seed}, {connections} connections");
    let mut scene = Scene::new(&["maxClientCnxns=0"]);
    create(&mut scene.witness, "/t", b"");
    let address = scene.server.address;
    let workers: Vec<_> = (0..THREADS)
        .map(|number| {
            let mut random = Random(
                seed.wrapping_add(number)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15),
            );
            thread::spawn(move || {
                let requests = whole_requests();
                for _ in 0..connections / THREADS {
                    // What the server does with it is its own affair, as long as it lives.
                    let _ = fuzz(address, &mut random, &requests);
                }
            })
        })
        .collect();
    for worker in workers {
        while !worker.is_finished() {
            // The fuzzers may delete or change what they like, but not this.
            scene.check("fuzzing");
            thread::sleep(Duration::from_millis(20));
        }
        worker.join().expect("it handles all errors");
    }
    let grown = scene.server.memory_bytes();
    assert!(grown < 300 * MIB, "the server has {grown} bytes");
    scene.finish();
}

/// One connection: garbage at once, or a session and then requests that are nearly right.
fn fuzz(
    address: SocketAddr,
    random: &mut Random,
    requests: &[(&str, i32, Vec<u8>)],
) -> io::Result<()> {
    if random.below(4) == 0 {
        let mut stream = TcpStream::connect(address)?;
        let bytes = match random.below(2) {
            0 => random.bytes(200),
            _ => frame(&random.bytes(200)),
        };
        return stream.write_all(&bytes);
    }
    let mut client = RawClient::connect(address, 1000)?;
    for _ in 0..random.below(12) {
        let (_, kind, record) = &requests[random.below(requests.len())];
        let mut record = record.clone();
        for _ in 0..random.below(4) {
            let at = random.below(record.len());
            record[at] = random.next() as u8;
        }
        if random.below(4) == 0 {
            record.truncate(random.below(record.len()));
        }
        let kind = match random.below(20) {
            0 => random.next() as i32,
            1 => op::AUTH,
            2 => op::SASL,
            3 => op::CLOSE_SESSION,
            _ => *kind,
        };
        client.send(kind, &Bytes(&record))?;
        if random.below(30) == 0 {
            client.stream.write_all(&random.bytes(50))?;
        }
    }
    client.stream.shutdown(Shutdown::Write)?;
    client
        .stream
        .set_read_timeout(Some(Duration::from_secs(5)))?;
    client.stream.read_to_end(&mut Vec::new()).map(drop)
}

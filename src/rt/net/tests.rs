//! The same for all drivers: an echo server on [`Sockets`] under clients of many kinds.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::{Event, SocketId, Sockets, UnboundListener, executor, listen, ring};
use crate::rt::clock;
use crate::rt::mailbox::{self, RingBell, RingReceiver, Sender};
use crate::rt::probe;

/// Bytes waiting to be sent above which a client is not read.
const AHEAD_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
enum Driver {
    Ring,
    /// As on a kernel that lacks what is newer than Linux 5.11.
    OldRing,
    /// Looks for something to do before it sleeps.
    SpinningRing,
    Executor,
}

const DRIVERS: [Driver; 4] = [
    Driver::Ring,
    Driver::OldRing,
    Driver::SpinningRing,
    Driver::Executor,
];

const SPIN: Duration = Duration::from_micros(50);

enum Order {
    /// Whether clients are to be read.
    Read(bool),
    Count(Sender<usize>),
    Stop,
}

#[derive(Default)]
struct Client {
    /// Received and not sent.
    held: Vec<u8>,
    sending: usize,
    has_ended: bool,
    has_failed: bool,
    is_read: bool,
}

/// Sends back what it gets.
#[derive(Default)]
struct Echo {
    clients: HashMap<u32, Client>,
    is_reading: bool,
}

impl Echo {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Accepted { socket, peer } => {
                assert!(peer.ip().is_loopback());
                let former = self.clients.insert(
                    socket.0,
                    Client {
                        is_read: true,
                        ..Client::default()
                    },
                );
                assert!(
                    former.is_none(),
                    "a number is used again after it is closed"
                );
            }
            Event::NotAccepted(error) => panic!("{error}"),
            Event::Received { socket, bytes } => {
                assert!(!bytes.is_empty());
                self.client(socket).held.extend_from_slice(bytes);
            }
            Event::Ended(socket) => self.client(socket).has_ended = true,
            Event::Sent { socket, bytes } => self.client(socket).sending -= bytes,
            Event::Failed(socket) => self.client(socket).has_failed = true,
        }
    }

    fn client(&mut self, socket: SocketId) -> &mut Client {
        self.clients.get_mut(&socket.0).expect("it is open")
    }

    fn act(&mut self, sockets: &mut impl Sockets) {
        let is_reading = self.is_reading;
        self.clients.retain(|&number, client| {
            let socket = SocketId(number);
            if client.sending == 0 && !client.held.is_empty() && !client.has_failed {
                let length = client.held.len();
                match sockets.send(socket, &mut client.held) {
                    Ok(sent) => client.sending = length - sent,
                    Err(_) => client.has_failed = true,
                }
                assert!(client.has_failed || client.held.is_empty());
            }
            let is_over = client.has_ended && client.sending == 0 && client.held.is_empty();
            if is_over || client.has_failed {
                sockets.close(socket);
                return false;
            }
            let is_behind = client.sending + client.held.len() > AHEAD_MAX;
            let is_wanted = is_reading && !client.has_ended && !is_behind;
            if client.is_read != is_wanted {
                client.is_read = is_wanted;
                sockets.set_reading(socket, is_wanted);
            }
            true
        });
    }
}

async fn echo(mut sockets: impl Sockets, orders: RingReceiver<Order>) -> io::Result<()> {
    let mut this = Echo {
        is_reading: true,
        ..Echo::default()
    };
    loop {
        let idle = || orders.is_empty();
        let take = |event: Event<'_>| this.take(event);
        sockets.wait(Duration::from_millis(50), idle, take).await?;
        while let Some(order) = orders.try_receive() {
            match order {
                Order::Read(wanted) => this.is_reading = wanted,
                Order::Count(answer) => {
                    assert!(answer.post(this.clients.len()).is_ok());
                    sockets.ring(answer.bell())?;
                }
                Order::Stop => return Ok(()),
            }
        }
        this.act(&mut sockets);
    }
}

struct Server {
    driver: Driver,
    address: SocketAddr,
    orders: Sender<Order>,
    thread: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start(driver: Driver) -> Server {
        let mut listeners = listen(([127, 0, 0, 1], 0).into(), 50, false, 1).expect("a free port");
        let listener: UnboundListener = listeners.remove(0);
        let address = listener.local_addr().expect("bound");
        let bell = match driver {
            Driver::Executor => RingBell::for_executor(),
            _ => RingBell::new(),
        };
        let bell = bell.expect("descriptors are left");
        let (orders, receiver) = mailbox::to_ring(16, &bell);
        let thread = thread::spawn(move || match driver {
            Driver::Ring => ring::run(listener, bell, Duration::ZERO, |sockets| {
                echo(sockets, receiver)
            }),
            Driver::OldRing => ring::run_as_old(listener, bell, |sockets| echo(sockets, receiver)),
            Driver::SpinningRing => {
                ring::run(listener, bell, SPIN, |sockets| echo(sockets, receiver))
            }
            Driver::Executor => executor::run("echo", listener, bell, Duration::ZERO, |sockets| {
                echo(sockets, receiver)
            }),
        });
        Server {
            driver,
            address,
            orders,
            thread,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("a setting");
        stream.set_write_timeout(patience).expect("a setting");
        stream
    }

    fn order(&self, order: Order) {
        assert!(self.orders.send(order).is_ok(), "{:?}", self.driver);
    }

    /// Clients that the server has.
    fn count(&self) -> usize {
        let bell = RingBell::new().expect("descriptors are left");
        let (answer, answers) = mailbox::to_ring(1, &bell);
        self.order(Order::Count(answer));
        for _ in 0..5000 {
            if let Some(count) = answers.try_receive() {
                return count;
            }
            clock::pause(Duration::from_millis(1));
        }
        panic!("{:?} hears no bell", self.driver);
    }

    fn wait_for_count(&self, wanted: usize) {
        for _ in 0..1000 {
            if self.count() == wanted {
                return;
            }
            clock::pause(Duration::from_millis(5));
        }
        panic!("{:?} has {} clients", self.driver, self.count());
    }

    fn stop(self) {
        self.order(Order::Stop);
        let result = self.thread.join().expect("it does not panic");
        result.expect("it ends well");
    }
}

/// Bytes that are not the same anywhere else.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn echoed(stream: &mut TcpStream, sent: &[u8]) {
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back).expect("it comes back");
    assert!(back == sent, "and is the same");
}

#[test]
fn what_is_sent_comes_back() {
    for server in DRIVERS.map(Server::start) {
        let mut stream = server.connect();
        for (turn, length) in [1, 100, 16 << 10, 100_000].into_iter().enumerate() {
            let sent = bytes(turn as u64, length);
            stream.write_all(&sent).expect("it is read");
            echoed(&mut stream, &sent);
        }
        assert_eq!(server.count(), 1);
        drop(stream);
        server.wait_for_count(0);
        server.stop();
    }
}

#[test]
fn the_end_of_input_comes_after_the_input() {
    for server in DRIVERS.map(Server::start) {
        let mut stream = server.connect();
        let sent = bytes(7, 300_000);
        let mut writer = stream.try_clone().expect("descriptors are left");
        let wanted = sent.clone();
        let other = thread::spawn(move || {
            writer.write_all(&sent).expect("it is read");
            writer.shutdown(Shutdown::Write).expect("connected");
        });
        echoed(&mut stream, &wanted);
        assert_eq!(stream.read(&mut [0]).expect("an orderly end"), 0);
        other.join().expect("it wrote");
        server.wait_for_count(0);
        server.stop();
    }
}

#[test]
fn a_client_that_does_not_read_is_waited_for() {
    for server in DRIVERS.map(Server::start) {
        let mut slow = server.connect();
        let sent = bytes(3, 24 << 20);
        let wanted = sent.clone();
        let mut writer = slow.try_clone().expect("descriptors are left");
        let other = thread::spawn(move || writer.write_all(&sent).expect("it is read"));
        clock::pause(Duration::from_millis(100));
        // The others do not wait.
        let mut quick = server.connect();
        quick.write_all(b"quick").expect("it is read");
        echoed(&mut quick, b"quick");
        assert!(!other.is_finished(), "sockets are not as large");
        echoed(&mut slow, &wanted);
        other.join().expect("it wrote");
        server.stop();
    }
}

#[test]
fn clients_that_are_not_to_be_read_wait() {
    // More than sockets hold.
    let sent = Arc::new(bytes(5, 16 << 20));
    for server in DRIVERS.map(Server::start) {
        let mut stream = server.connect();
        stream.write_all(b"before").expect("it is read");
        echoed(&mut stream, b"before");
        for _ in 0..3 {
            server.order(Order::Read(false));
            assert_eq!(server.count(), 1);
            // What was under way may still come in, but no more than that.
            let written = Arc::clone(&sent);
            let mut writer = stream.try_clone().expect("descriptors are left");
            let other = thread::spawn(move || writer.write_all(&written).expect("it is read"));
            clock::pause(Duration::from_millis(50));
            let is_held = !other.is_finished();
            server.order(Order::Read(true));
            echoed(&mut stream, &sent);
            other.join().expect("it wrote");
            assert!(is_held, "{:?} reads on", server.driver);
        }
        server.stop();
    }
}

#[test]
fn the_server_stops_while_clients_wait() {
    for server in DRIVERS.map(Server::start) {
        let mut never_reads = server.connect();
        never_reads.set_nonblocking(true).expect("a setting");
        while never_reads.write(&[7; 65536]).is_ok() {}
        let mut idle = server.connect();
        server.wait_for_count(2);
        server.stop();
        assert!(!matches!(idle.read(&mut [0]), Ok(1..)));
    }
}

/// Connections come and go, are cut in the middle, and are more than there are buffers.
#[test]
fn many_clients_at_once_get_their_own_bytes() {
    for server in DRIVERS.map(Server::start) {
        let server = Arc::new(server);
        let threads: Vec<_> = (0..8u64)
            .map(|number| {
                let server = Arc::clone(&server);
                thread::spawn(move || churn(&server, number))
            })
            .collect();
        for thread in threads {
            thread.join().expect("all came back");
        }
        let mut crowd: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
        server.wait_for_count(300);
        for (number, stream) in crowd.iter_mut().enumerate() {
            stream
                .write_all(&bytes(number as u64, 20_000))
                .expect("it is read");
        }
        for (number, stream) in crowd.iter_mut().enumerate() {
            echoed(stream, &bytes(number as u64, 20_000));
        }
        drop(crowd);
        server.wait_for_count(0);
        Arc::into_inner(server)
            .expect("the threads have ended")
            .stop();
    }
}

/// Clients that starved some when a ring had fewer buffers and completions, and began with the last.
const CROWD: usize = 4_000;

/// Each sends one byte after the other; none has to stand aside for those who got buffers first.
#[test]
fn all_of_a_crowd_are_served() {
    const TURNS: usize = 20;
    if let Err(error) = probe::file_descriptors(2 * CROWD as u64 + 100) {
        eprintln!("skipped: {error}");
        return;
    }
    for server in [Driver::Ring, Driver::OldRing].map(Server::start) {
        let mut poll = Poll::new().expect("descriptors are left");
        let mut crowd = Vec::new();
        while crowd.len() < CROWD {
            crowd.extend((0..40).map(|_| server.connect()));
            server.wait_for_count(crowd.len());
        }
        for (number, stream) in crowd.iter_mut().enumerate() {
            stream.set_nonblocking(true).expect("a setting");
            let mut source = SourceFd(&stream.as_raw_fd());
            let registry = poll.registry();
            let registered = registry.register(&mut source, Token(number), Interest::READABLE);
            registered.expect("it can be waited for");
            stream.write_all(&[0]).expect("there is room");
        }
        let mut answers = vec![0; CROWD];
        let mut events = Events::with_capacity(CROWD);
        for _ in 0..TURNS * CROWD {
            poll.poll(&mut events, None).expect("it waits");
            for event in &events {
                let Token(number) = event.token();
                crowd[number].read_exact(&mut [0]).expect("it is there");
                answers[number] += 1;
                crowd[number].write_all(&[0]).expect("there is room");
            }
            if answers.iter().sum::<usize>() > TURNS * CROWD {
                break;
            }
        }
        let least = answers.into_iter().min();
        assert!(least >= Some(TURNS / 4), "{least:?}, {:?}", server.driver);
        drop(crowd);
        server.wait_for_count(0);
        server.stop();
    }
}

fn churn(server: &Server, number: u64) {
    let mut state = number + 1;
    let mut draw = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    for round in 0..40 {
        let mut stream = server.connect();
        for turn in 0..draw(10) {
            let sent = bytes(number << 32 | round << 16 | turn, draw(50_000) as usize + 1);
            let (first, second) = sent.split_at(draw(sent.len() as u64) as usize);
            stream.write_all(first).expect("it is read");
            stream.write_all(second).expect("it is read");
            if draw(8) == 0 {
                // Gone without having read.
                break;
            }
            echoed(&mut stream, &sent);
        }
    }
}

/// Two loops wake each other by messages between their rings, and a thread both by descriptor.
#[test]
fn loops_on_rings_wake_each_other() {
    const ROUNDS: u32 = 2000;
    let (first_bell, second_bell) = (RingBell::new(), RingBell::new());
    let bells = [first_bell, second_bell].map(|bell| bell.expect("descriptors are left"));
    let (to_first, first) = mailbox::to_ring::<u32>(4, &bells[0]);
    let (to_second, second) = mailbox::to_ring::<u32>(4, &bells[1]);
    let is_late = Arc::new(AtomicBool::new(false));
    let start = |bell: &RingBell, spin, inbox: RingReceiver<u32>, other: Sender<u32>| {
        let (bell, is_late) = (bell.clone(), Arc::clone(&is_late));
        let clock = clock::Monotonic::start();
        thread::spawn(move || {
            let mut ring = crate::rt::loop_ring::LoopRing::new(bell, spin, 8, 16).expect("a ring");
            loop {
                let waited_since_ms = clock.now_ms();
                let patience = Duration::from_secs(10);
                ring.wait(0, patience, || inbox.is_empty()).expect("waits");
                ring.collect(|_, _, _| {});
                is_late.fetch_or(clock.now_ms() - waited_since_ms > 8000, Ordering::Relaxed);
                while let Some(count) = inbox.try_receive() {
                    if count < ROUNDS + 2 {
                        assert!(other.post(count + 1).is_ok(), "one message at a time");
                        ring.ring(other.bell()).expect("rung");
                    }
                    if count >= ROUNDS {
                        // Hands the last message over.
                        ring.poll().expect("handed over");
                        return;
                    }
                }
            }
        })
    };
    let threads = [
        start(&bells[0], Duration::ZERO, first, to_second.clone()),
        start(&bells[1], SPIN, second, to_first.clone()),
    ];
    assert!(to_first.send(0).is_ok());
    for thread in threads {
        thread.join().expect("it does not panic");
    }
    assert!(!is_late.load(Ordering::Relaxed), "no bell is missed");
}

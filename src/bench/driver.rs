//! The dirty part of the load: sockets, the clock, and one epoll loop for each thread.
//!
//! A round of the loop reads each socket that has something, lets its connection judge the
//! replies and queue the next requests, and writes those at once: two system calls for as many
//! requests as the replies of one read. Nothing is allocated for a request.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::types::ErrorCode;

use super::connection::{Connection, Plan, State};
use super::error::{BenchError, ProtocolError};
use super::recorder::{Recorder, Window};
use super::workload::Generator;

/// Bytes read at once; replies to a deep pipeline fit.
const READ_BYTES: usize = 256 << 10;

/// Events taken from epoll at once.
const EVENTS_MAX: usize = 1_024;

/// How often connections are looked at for pings and reconnects.
const TICK_NS: u64 = 100_000_000;

/// How long a thread sleeps while it waits for the start, or for the last replies.
const NAP: Duration = Duration::from_millis(5);

/// A broken connection is opened again after this long.
const RETRY_NS: u64 = 100_000_000;

/// Sessions that are being opened at a time on each thread, below any usual listen backlog.
const OPENING_MAX: usize = 64;

/// What is not answered this long after the end counts as timed out.
const DRAIN_NS: u64 = 10_000_000_000;

/// What the threads of a run share.
#[derive(Debug)]
pub struct Shared {
    /// The beginning of the run's clock.
    pub origin: Instant,
    /// When the load starts, in nanoseconds of the run's clock; [`NOT_YET`] before it is known.
    pub start_ns: AtomicU64,
    /// The run has failed elsewhere: stop.
    pub abort: AtomicBool,
    /// How long the load lasts before it is measured, in nanoseconds.
    pub warmup_ns: u64,
    /// How long it is measured, in nanoseconds.
    pub measured_ns: u64,
}

/// A start that is not known yet.
pub const NOT_YET: u64 = u64::MAX;

impl Shared {
    /// Nanoseconds since the beginning of the run.
    pub fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// What is measured, once the start is known.
    pub fn window(&self) -> Option<Window> {
        let start = self.start_ns.load(Ordering::Acquire);
        (start != NOT_YET).then(|| Window {
            start_ns: start + self.warmup_ns,
            end_ns: start + self.warmup_ns + self.measured_ns,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Sessions are being opened.
    Opening,
    /// All sessions of this thread are ready; other threads may not be.
    Waiting,
    /// Load.
    Running,
    /// No new requests; what is outstanding is awaited and sessions are closed.
    Draining,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    stream: Option<TcpStream>,
    server: usize,
    retry_at_ns: u64,
}

/// One thread's share of the load.
#[derive(Debug)]
pub struct Driver {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    servers: Vec<SocketAddr>,
    links: Vec<Link>,
    poll: Poll,
    buffer: Vec<u8>,
    recorder: Recorder,
    phase: Phase,
    /// The next of `links` that has no socket yet, while sessions are being opened.
    next_to_open: usize,
    next_tick_ns: u64,
}

impl Driver {
    /// A driver of the connections with `numbers` among all connections of the run.
    pub fn new(
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        servers: Vec<SocketAddr>,
        seed: u64,
        numbers: impl Iterator<Item = u32>,
    ) -> Result<Driver, BenchError> {
        let poll = Poll::new().map_err(|source| BenchError::System {
            what: "epoll",
            source,
        })?;
        let links = numbers
            .map(|number| Link {
                connection: Connection::new(Generator::new(seed, u64::from(number)), &plan),
                stream: None,
                server: number as usize % servers.len(),
                retry_at_ns: 0,
            })
            .collect();
        let not_yet = Window {
            start_ns: NOT_YET,
            end_ns: NOT_YET,
        };
        Ok(Driver {
            plan,
            shared,
            servers,
            links,
            poll,
            buffer: vec![0; READ_BYTES],
            recorder: Recorder::new(not_yet),
            phase: Phase::Opening,
            next_to_open: 0,
            next_tick_ns: 0,
        })
    }

    /// Opens the sessions, says so on `ready`, awaits the start, makes the load, and returns what
    /// was seen. Errors before the start end the run; later ones are counted.
    pub fn run(mut self, ready: &Sender<()>) -> Result<Recorder, BenchError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            self.advance(ready)?;
            if self.phase == Phase::Draining && self.is_drained() {
                return Ok(self.recorder);
            }
            if self.shared.abort.load(Ordering::Relaxed) {
                return Ok(self.recorder);
            }
            match self.poll.poll(&mut events, Some(self.patience())) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    let what = "epoll";
                    return Err(BenchError::System { what, source });
                }
            }
            for event in &events {
                let index = event.token().0;
                if let Err(error) = self.serve(index, event) {
                    self.handle_break(index, error)?;
                }
            }
        }
    }

    /// How long to wait for events.
    fn patience(&self) -> Duration {
        match self.phase {
            Phase::Running => {
                let until = self.recorder.window().end_ns.min(self.next_tick_ns);
                Duration::from_nanos(until.saturating_sub(self.shared.now_ns()).max(1_000_000))
            }
            _ => NAP,
        }
    }

    /// Moves through the phases and does what is due by time.
    fn advance(&mut self, ready: &Sender<()>) -> Result<(), BenchError> {
        let now_ns = self.shared.now_ns();
        match self.phase {
            Phase::Opening => {
                self.open_more()?;
                if self.links.iter().all(Link::is_ready) {
                    self.phase = Phase::Waiting;
                    // Nobody waits any more when the run has failed; `abort` is set then.
                    let _ = ready.send(());
                }
            }
            Phase::Waiting => {
                if let Some(window) = self.shared.window() {
                    self.recorder.set_window(window);
                    self.phase = Phase::Running;
                    self.fill_all(now_ns)?;
                }
            }
            Phase::Running if now_ns >= self.recorder.window().end_ns => {
                self.phase = Phase::Draining;
            }
            Phase::Running | Phase::Draining => {}
        }
        if self.phase == Phase::Draining {
            self.close_idle(now_ns)?;
        }
        if now_ns >= self.next_tick_ns {
            self.next_tick_ns = now_ns + TICK_NS;
            self.tick(now_ns)?;
        }
        Ok(())
    }

    fn open_more(&mut self) -> Result<(), BenchError> {
        let ready = self.links[..self.next_to_open]
            .iter()
            .filter(|link| link.is_ready())
            .count();
        let mut opening = self.next_to_open - ready;
        while self.next_to_open < self.links.len() && opening < OPENING_MAX {
            let index = self.next_to_open;
            self.next_to_open += 1;
            opening += 1;
            if let Err(error) = self.connect(index) {
                self.handle_break(index, Break::Socket(error))?;
            }
        }
        Ok(())
    }

    fn fill_all(&mut self, now_ns: u64) -> Result<(), BenchError> {
        for index in 0..self.links.len() {
            self.links[index].connection.fill(&self.plan, now_ns);
            self.flush_or_break(index)?;
        }
        Ok(())
    }

    fn close_idle(&mut self, now_ns: u64) -> Result<(), BenchError> {
        let overdue = now_ns >= self.recorder.window().end_ns + DRAIN_NS;
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            if overdue {
                link.connection
                    .reset(&mut self.recorder, ErrorCode::OperationTimeout, now_ns);
            }
            link.connection.close_when_idle();
            self.flush_or_break(index)?;
        }
        Ok(())
    }

    fn tick(&mut self, now_ns: u64) -> Result<(), BenchError> {
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            link.connection.handle_tick(now_ns);
            let is_down = link.stream.is_none() && link.connection.state() == State::Unconnected;
            let is_due = self.phase == Phase::Running && now_ns >= link.retry_at_ns;
            if is_down
                && is_due
                && let Err(error) = self.connect(index)
            {
                self.handle_break(index, Break::Socket(error))?;
            }
            self.flush_or_break(index)?;
        }
        Ok(())
    }

    fn is_drained(&self) -> bool {
        self.links
            .iter()
            .all(|link| link.connection.state() == State::Closed)
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let link = &mut self.links[index];
        let mut stream = TcpStream::connect(self.servers[link.server])?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(index), interest)?;
        link.stream = Some(stream);
        Ok(())
    }

    /// Does what a socket is ready for.
    fn serve(&mut self, index: usize, event: &Event) -> Result<(), Break> {
        let link = &mut self.links[index];
        let Some(stream) = &mut link.stream else {
            // An event of a socket that was closed earlier in the same round.
            return Ok(());
        };
        if link.connection.state() == State::Unconnected {
            if let Some(error) = stream.take_error()? {
                return Err(Break::Socket(error));
            }
            match stream.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(Break::Socket(error)),
            }
            stream.set_nodelay(true)?;
            let now_ns = self.shared.now_ns();
            link.connection.handle_open(&self.plan, now_ns);
        }
        if event.is_readable() {
            self.read(index, event.is_read_closed())?;
        }
        self.flush(index)?;
        Ok(())
    }

    /// Reads what is there; `to_the_end` where the server has closed its side.
    fn read(&mut self, index: usize, to_the_end: bool) -> Result<(), Break> {
        let link = &mut self.links[index];
        while let Some(stream) = &mut link.stream {
            let count = match stream.read(&mut self.buffer) {
                Ok(0) => return Err(Break::Socket(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Break::Socket(error)),
            };
            let now_ns = self.shared.now_ns();
            let connection = &mut link.connection;
            let bytes = &self.buffer[..count];
            connection.handle_input(bytes, &self.plan, &mut self.recorder, now_ns)?;
            if self.phase == Phase::Running && now_ns < self.recorder.window().end_ns {
                connection.fill(&self.plan, now_ns);
            }
            if connection.state() == State::Closed {
                link.stream = None;
            }
            // A read that does not fill the buffer has emptied the socket: what comes later
            // raises a new event. An end that came before this event does not.
            if count < self.buffer.len() && !to_the_end {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes what the connection wants to send, as far as the socket takes it; the rest goes
    /// when epoll says that there is room.
    fn flush(&mut self, index: usize) -> io::Result<()> {
        let link = &mut self.links[index];
        let Some(stream) = &mut link.stream else {
            return Ok(());
        };
        while !link.connection.output().is_empty() {
            match stream.write(link.connection.output()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => link.connection.consume_output(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn flush_or_break(&mut self, index: usize) -> Result<(), BenchError> {
        match self.flush(index) {
            Ok(()) => Ok(()),
            Err(error) => self.handle_break(index, Break::Socket(error)),
        }
    }

    /// A connection broke: before the load that ends the run, later it is counted and opened
    /// again, at the next server.
    fn handle_break(&mut self, index: usize, why: Break) -> Result<(), BenchError> {
        let now_ns = self.shared.now_ns();
        let link = &mut self.links[index];
        let address = self.servers[link.server].to_string();
        if matches!(self.phase, Phase::Opening | Phase::Waiting) {
            return Err(why.into_error(address));
        }
        let had_session = link.connection.state() != State::Unconnected;
        let was_closing = link.connection.state() == State::Closing;
        link.stream = None;
        link.connection
            .reset(&mut self.recorder, ErrorCode::ConnectionLoss, now_ns);
        link.server = (link.server + 1) % self.servers.len();
        link.retry_at_ns = now_ns + RETRY_NS;
        if had_session && !was_closing {
            self.recorder.reconnects += 1;
            self.recorder.last_break = Some(why.into_error(address).to_string());
        }
        Ok(())
    }
}

impl Link {
    fn is_ready(&self) -> bool {
        self.connection.state() == State::Ready
    }
}

/// Why a connection broke.
#[derive(Debug)]
enum Break {
    Socket(io::Error),
    Protocol(ProtocolError),
}

impl Break {
    fn into_error(self, address: String) -> BenchError {
        match self {
            Break::Socket(source) => BenchError::Connect { address, source },
            Break::Protocol(source) => BenchError::Protocol { address, source },
        }
    }
}

impl From<io::Error> for Break {
    fn from(error: io::Error) -> Break {
        Break::Socket(error)
    }
}

impl From<ProtocolError> for Break {
    fn from(error: ProtocolError) -> Break {
        Break::Protocol(error)
    }
}

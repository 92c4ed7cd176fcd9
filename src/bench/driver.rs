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

use super::actor::Actor;
use super::connection::{Connection, Plan, State};
use super::error::{BenchError, ProtocolError};
use super::pace::{Pace, Rounds, Schedule};
use super::recorder::{Recorder, Window};
use super::socket;
use super::timer::Timer;

/// Bytes read at once; replies to a deep pipeline fit.
const READ_BYTES: usize = 256 << 10;

/// Events taken from epoll at once.
const EVENTS_MAX: usize = 1_024;

/// The token of the open loop's timer.
const TIMER: Token = Token(usize::MAX);

/// How often connections are looked at for pings and reconnects.
const TICK_NS: u64 = 100_000_000;

/// How long a thread sleeps while it waits for the start, or for the last replies.
const NAP: Duration = Duration::from_millis(5);

/// The shortest wait: epoll counts in milliseconds.
const PATIENCE_NS_MIN: u64 = 1_000_000;

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
    /// When requests are sent in an open loop.
    pub schedule: Option<Schedule>,
    /// Answers so far, for whoever watches the run.
    pub answers: AtomicU64,
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
    /// Its place among all connections of the run.
    number: u32,
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
    /// Answers that `shared` knows of.
    answers_told: u64,
    phase: Phase,
    /// Which connection is due when, in an open loop.
    rounds: Option<(Rounds, Timer)>,
    /// Those of `links` that go on when others have done something.
    waiting: Vec<usize>,
    /// How many of `links` are ready, while sessions are being opened.
    ready: usize,
    /// The next of `links` that has no socket yet, while sessions are being opened.
    next_to_open: usize,
    next_tick_ns: u64,
}

impl Driver {
    /// A driver of some of the run's connections: their numbers and what they do.
    pub fn new(
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        servers: Vec<SocketAddr>,
        actors: impl Iterator<Item = (u32, Box<dyn Actor>)>,
    ) -> Result<Driver, BenchError> {
        let poll = Poll::new().map_err(epoll_failed)?;
        let links: Vec<Link> = actors
            .map(|(number, actor)| Link {
                number,
                connection: Connection::new(actor),
                stream: None,
                server: number as usize % servers.len(),
                retry_at_ns: 0,
            })
            .collect();
        let not_yet = Window {
            start_ns: NOT_YET,
            end_ns: NOT_YET,
        };
        let recorder = Recorder::new(not_yet, shared.schedule.is_some());
        let waiting = (0..links.len())
            .filter(|&index| links[index].connection.waits_for_others())
            .collect();
        Ok(Driver {
            plan,
            shared,
            servers,
            links,
            poll,
            buffer: vec![0; READ_BYTES],
            recorder,
            answers_told: 0,
            phase: Phase::Opening,
            rounds: None,
            waiting,
            ready: 0,
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
                Err(source) => return Err(epoll_failed(source)),
            }
            for event in events.iter().filter(|event| event.token() != TIMER) {
                let index = event.token().0;
                if let Err(error) = self.serve(index, event) {
                    self.handle_break(index, error)?;
                }
            }
            self.tell_answers();
        }
    }

    /// How long to wait for events.
    fn patience(&self) -> Duration {
        match self.phase {
            Phase::Running => {
                let until = self.recorder.window().end_ns.min(self.next_tick_ns);
                let left_ns = until
                    .saturating_sub(self.shared.now_ns())
                    .max(PATIENCE_NS_MIN);
                // What others do on another thread wakes nobody here.
                Duration::from_nanos(match self.waiting[..] {
                    [] => left_ns,
                    _ => PATIENCE_NS_MIN,
                })
            }
            _ => NAP,
        }
    }

    fn tell_answers(&mut self) {
        let more = self.recorder.answers - self.answers_told;
        self.answers_told += more;
        self.shared.answers.fetch_add(more, Ordering::Relaxed);
    }

    /// Moves through the phases and does what is due by time.
    fn advance(&mut self, ready: &Sender<()>) -> Result<(), BenchError> {
        let now_ns = self.shared.now_ns();
        match self.phase {
            Phase::Opening => {
                self.open_more()?;
                if self.ready == self.links.len() {
                    self.phase = Phase::Waiting;
                    // Nobody waits any more when the run has failed; `abort` is set then.
                    let _ = ready.send(());
                }
            }
            Phase::Waiting => self.start_when_told(now_ns)?,
            Phase::Running if now_ns >= self.recorder.window().end_ns => {
                self.phase = Phase::Draining;
            }
            Phase::Running | Phase::Draining => {}
        }
        self.send_due(now_ns)?;
        if self.phase == Phase::Running {
            for place in 0..self.waiting.len() {
                self.fill(self.waiting[place], now_ns)?;
            }
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

    /// Begins with the load when its start is known and, in a closed loop, has come.
    fn start_when_told(&mut self, now_ns: u64) -> Result<(), BenchError> {
        let Some(window) = self.shared.window() else {
            return Ok(());
        };
        self.recorder.set_window(window);
        match self.shared.schedule {
            Some(schedule) => self.set_paces(&schedule)?,
            None if now_ns < window.start_ns - self.shared.warmup_ns => return Ok(()),
            None => self.fill_all(now_ns)?,
        }
        self.phase = Phase::Running;
        Ok(())
    }

    fn open_more(&mut self) -> Result<(), BenchError> {
        while self.next_to_open < self.links.len() && self.next_to_open - self.ready < OPENING_MAX {
            let index = self.next_to_open;
            self.next_to_open += 1;
            if let Err(error) = self.connect(index) {
                self.handle_break(index, Break::Socket(error))?;
            }
        }
        Ok(())
    }

    fn fill_all(&mut self, now_ns: u64) -> Result<(), BenchError> {
        for index in 0..self.links.len() {
            self.fill(index, now_ns)?;
        }
        Ok(())
    }

    /// Starts the open loop.
    fn set_paces(&mut self, schedule: &Schedule) -> Result<(), BenchError> {
        let start_ns = self.shared.start_ns.load(Ordering::Acquire);
        let mut paces = Vec::with_capacity(self.links.len());
        for link in &mut self.links {
            let pace = Pace::new(schedule, link.number, start_ns);
            link.connection.set_pace(pace);
            paces.push(pace);
        }
        let timer = Timer::new(self.poll.registry(), TIMER).map_err(timer_failed)?;
        self.rounds = Some((Rounds::new(paces), timer));
        Ok(())
    }

    /// Sends what an open loop has due, and sets its timer to what is due next.
    fn send_due(&mut self, now_ns: u64) -> Result<(), BenchError> {
        let end_ns = self.recorder.window().end_ns;
        while let Some((rounds, _)) = &mut self.rounds
            && rounds.next_ns() < end_ns
            && let Some(index) = rounds.take_due(now_ns)
        {
            self.fill(index, now_ns)?;
        }
        if let Some((rounds, timer)) = &self.rounds
            && rounds.next_ns() < end_ns
        {
            let after_ns = rounds.next_ns().saturating_sub(self.shared.now_ns());
            timer.set(after_ns).map_err(timer_failed)?;
        }
        Ok(())
    }

    /// Lets a connection send what it may, and writes it.
    fn fill(&mut self, index: usize, now_ns: u64) -> Result<(), BenchError> {
        let end_ns = self.recorder.window().end_ns;
        let connection = &mut self.links[index].connection;
        connection.fill(&self.plan, &mut self.recorder, now_ns, end_ns);
        match self.flush(index).and_then(|()| self.cut_if_asked(index)) {
            Ok(()) => Ok(()),
            Err(error) => self.handle_break(index, Break::Socket(error)),
        }
    }

    fn close_idle(&mut self, now_ns: u64) -> Result<(), BenchError> {
        let end_ns = self.recorder.window().end_ns;
        let overdue = now_ns >= end_ns + DRAIN_NS;
        for index in 0..self.links.len() {
            let connection = &mut self.links[index].connection;
            if overdue {
                connection.give_up(&mut self.recorder, now_ns, end_ns);
            }
            connection.close_when_idle(end_ns);
            self.flush_or_break(index)?;
        }
        Ok(())
    }

    fn tick(&mut self, now_ns: u64) -> Result<(), BenchError> {
        let may_retry = matches!(self.phase, Phase::Running | Phase::Draining);
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            link.connection.handle_tick(now_ns);
            let is_down = link.stream.is_none() && link.connection.state() == State::Unconnected;
            if is_down
                && may_retry
                && now_ns >= link.retry_at_ns
                && let Err(error) = self.connect(index)
            {
                self.handle_break(index, Break::Socket(error))?;
            }
            // An actor that had nothing to do may have by now.
            match self.phase {
                Phase::Running => self.fill(index, now_ns)?,
                _ => self.flush_or_break(index)?,
            }
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
        let mut stream = socket::connect(self.servers[link.server], link.number)?;
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
        self.cut_if_asked(index)?;
        Ok(())
    }

    /// Cuts the socket of a connection that asks for it, without a farewell, and connects anew.
    fn cut_if_asked(&mut self, index: usize) -> io::Result<()> {
        let link = &mut self.links[index];
        if link.connection.state() != State::Cut {
            return Ok(());
        }
        if let Some(stream) = link.stream.take() {
            socket::cut(stream)?;
        }
        link.connection.handle_cut();
        self.connect(index)
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
            let was_ready = connection.state() == State::Ready;
            connection.handle_input(bytes, &mut self.recorder, now_ns)?;
            if matches!(self.phase, Phase::Running | Phase::Draining) {
                let end_ns = self.recorder.window().end_ns;
                connection.fill(&self.plan, &mut self.recorder, now_ns, end_ns);
            }
            match connection.state() {
                State::Ready => self.ready += usize::from(!was_ready),
                State::Closed => link.stream = None,
                State::Cut => return Ok(()),
                _ => {}
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

fn epoll_failed(source: io::Error) -> BenchError {
    let what = "epoll";
    BenchError::System { what, source }
}

fn timer_failed(source: io::Error) -> BenchError {
    let what = "timer";
    BenchError::System { what, source }
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

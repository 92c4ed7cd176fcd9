//! Sockets, threads and the clock behind a [`Session`].
//!
//! One thread does all the socket work and looks at the clock; another calls the watchers, so
//! that a watcher may use the client. Callers submit under the session's lock and wake the first.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use super::connect_string::ServerAddress;
use super::event::State;
use super::servers::{Servers, random};
use super::session::Session;

const WAKE: Token = Token(0);
const SOCKET: Token = Token(1);

/// Bytes read from the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// Milliseconds over which clients spread their reconnects, so that they do not all come at once.
const RECONNECT_SPREAD_MS: u64 = 1000;

/// Milliseconds between looks for a server that can write, while one serves reads only: at first,
/// and at most, after doubling each time.
const RW_SEARCH_MS_MIN: u64 = 100;
const RW_SEARCH_MS_MAX: u64 = 60_000;

/// What the threads of a client share.
pub struct Shared {
    inner: Mutex<Inner>,
    /// Signalled when there are events, when they have been delivered, and at the end.
    changed: Condvar,
    waker: Waker,
}

/// What stands under the lock.
pub struct Inner {
    /// The session.
    pub session: Session,
    /// The user has dropped the client: end, without closing the session.
    abandoned: bool,
    /// The socket thread has ended: no more events will come.
    ended: bool,
    /// A watcher is being called.
    delivering: bool,
}

impl Shared {
    /// The lock. A panic elsewhere cannot leave the session half changed in a way that matters
    /// more than not being able to use it at all.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the socket thread look at the session.
    pub fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the client's socket thread");
        }
    }

    /// Ends the threads without closing the session.
    pub fn abandon(&self) {
        self.lock().abandoned = true;
        self.wake();
        self.changed.notify_all();
    }

    /// Waits until every event that has come in by now is delivered, at most `timeout`.
    pub fn flush_events(&self, timeout: Duration) {
        let guard = self.lock();
        // A timeout leaves events for later, which is all that was promised.
        let _ = self
            .changed
            .wait_timeout_while(guard, timeout, |inner| {
                inner.session.has_event() || inner.delivering
            })
            .unwrap_or_else(PoisonError::into_inner);
    }

    fn wait(&self, guard: MutexGuard<'_, Inner>) {
        drop(
            self.changed
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// Starts the threads of a client; `make` gets the time at which the session's clock stands.
pub fn start(
    servers: Vec<ServerAddress>,
    make: impl FnOnce(u64) -> Session,
) -> io::Result<Arc<Shared>> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKE)?;
    let clock = Instant::now();
    let shared = Arc::new(Shared {
        inner: Mutex::new(Inner {
            session: make(0),
            abandoned: false,
            ended: false,
            delivering: false,
        }),
        changed: Condvar::new(),
        waker,
    });
    let socket = SocketThread {
        poll,
        shared: Arc::clone(&shared),
        clock,
        servers: Servers::new(servers),
        link: Link::Down { retry_at_ms: 0 },
        unsent: Vec::new(),
        rw_search: None,
    };
    thread::Builder::new()
        .name("zkore-client".into())
        .spawn(move || socket.run())?;
    let for_events = Arc::clone(&shared);
    thread::Builder::new()
        .name("zkore-client-events".into())
        .spawn(move || deliver_events(&for_events))?;
    Ok(shared)
}

/// Calls the watchers, one event after the other, until the socket thread has ended.
fn deliver_events(shared: &Shared) {
    loop {
        let mut inner = shared.lock();
        let Some(delivery) = inner.session.poll_event() else {
            if inner.ended || inner.abandoned {
                return;
            }
            shared.wait(inner);
            continue;
        };
        inner.delivering = true;
        drop(inner);
        for watcher in &delivery.watchers {
            if catch_unwind(AssertUnwindSafe(|| watcher.process(&delivery.event))).is_err() {
                tracing::error!(event = %delivery.event, "a watcher panicked");
            }
        }
        shared.lock().delivering = false;
        shared.changed.notify_all();
    }
}

/// When a client of a read-only server looks for another.
struct RwSearch {
    due_ms: u64,
    interval_ms: u64,
}

enum Link {
    Down {
        retry_at_ms: u64,
    },
    /// Waits for the pause before this server.
    Pausing {
        server: ServerAddress,
        until_ms: u64,
    },
    Connecting {
        stream: TcpStream,
        /// Other addresses of the same server.
        rest: Vec<SocketAddr>,
    },
    Open {
        stream: TcpStream,
    },
}

struct SocketThread {
    poll: Poll,
    shared: Arc<Shared>,
    clock: Instant,
    servers: Servers,
    link: Link,
    unsent: Vec<u8>,
    /// While the server serves reads only.
    rw_search: Option<RwSearch>,
}

impl SocketThread {
    fn run(mut self) {
        let mut events = Events::with_capacity(16);
        while !self.is_done() {
            self.advance();
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "the client cannot wait for its socket");
                    break;
                }
            }
            if events.iter().any(|event| event.token() == SOCKET) {
                self.handle_ready();
            }
            self.handle_time();
            self.search_rw_server();
        }
        let mut inner = self.shared.lock();
        if !inner.abandoned {
            inner.session.handle_disconnected();
        }
        inner.ended = true;
        drop(inner);
        self.shared.changed.notify_all();
    }

    fn now_ms(&self) -> u64 {
        self.clock.elapsed().as_millis() as u64
    }

    fn is_done(&self) -> bool {
        let inner = self.shared.lock();
        inner.abandoned || inner.session.is_over()
    }

    /// Goes as far as possible without waiting.
    fn advance(&mut self) {
        let now_ms = self.now_ms();
        match &self.link {
            Link::Down { retry_at_ms } if now_ms >= *retry_at_ms => {
                let (server, pause_ms) = self.servers.take();
                if pause_ms == 0 {
                    self.connect(&server);
                } else {
                    let until_ms = now_ms + pause_ms;
                    self.link = Link::Pausing { server, until_ms };
                }
            }
            Link::Pausing { server, until_ms } if now_ms >= *until_ms => {
                let server = server.clone();
                self.connect(&server);
            }
            Link::Open { .. } => self.write(),
            _ => {}
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let now_ms = self.now_ms();
        let retry_at_ms = match &self.link {
            Link::Down { retry_at_ms } => Some(*retry_at_ms),
            Link::Pausing { until_ms, .. } => Some(*until_ms),
            _ => None,
        };
        let deadline_ms = self.shared.lock().session.deadline_ms();
        let search_ms = self.rw_search.as_ref().map(|search| search.due_ms);
        [retry_at_ms, deadline_ms, search_ms]
            .into_iter()
            .flatten()
            .min()
            .map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms)))
    }

    fn connect(&mut self, server: &ServerAddress) {
        self.shared.lock().session.handle_connecting(self.now_ms());
        match (server.host.as_str(), server.port).to_socket_addrs() {
            Ok(addresses) => {
                let mut rest: Vec<SocketAddr> = addresses.collect();
                rest.reverse();
                self.connect_next(rest);
            }
            Err(error) => {
                tracing::warn!(host = server.host, %error, "cannot resolve the server");
                self.drop_link();
            }
        }
    }

    /// Tries the last address of `rest`, and on failure the one before it.
    fn connect_next(&mut self, mut rest: Vec<SocketAddr>) {
        while let Some(address) = rest.pop() {
            let connected = TcpStream::connect(address).and_then(|mut stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll
                    .registry()
                    .register(&mut stream, SOCKET, interest)?;
                Ok(stream)
            });
            match connected {
                Ok(stream) => {
                    self.link = Link::Connecting { stream, rest };
                    return;
                }
                Err(error) => tracing::debug!(%address, %error, "cannot connect"),
            }
        }
        self.drop_link();
    }

    fn handle_ready(&mut self) {
        if matches!(self.link, Link::Connecting { .. }) {
            self.finish_connect();
        }
        if matches!(self.link, Link::Open { .. }) {
            self.read();
        }
        if matches!(self.link, Link::Open { .. }) {
            self.write();
        }
    }

    fn finish_connect(&mut self) {
        let now_ms = self.now_ms();
        let placeholder = Link::Down {
            retry_at_ms: now_ms,
        };
        let Link::Connecting { stream, rest } = std::mem::replace(&mut self.link, placeholder)
        else {
            unreachable!("the caller has looked");
        };
        let outcome = match stream.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => stream.peer_addr().map(drop),
        };
        match outcome {
            Ok(()) => {
                // Requests are written whole; waiting to join them helps nobody. A socket that
                // refuses the option works all the same.
                let _ = stream.set_nodelay(true);
                self.link = Link::Open { stream };
                self.shared.lock().session.handle_connected(now_ms);
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                self.link = Link::Connecting { stream, rest };
            }
            Err(error) => {
                tracing::debug!(%error, "cannot connect");
                drop(stream);
                self.connect_next(rest);
            }
        }
    }

    fn read(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let Link::Open { stream } = &mut self.link else {
                return;
            };
            match stream.read(&mut buffer) {
                Ok(0) => {
                    tracing::debug!("the server has closed the connection");
                    return self.drop_link();
                }
                Ok(length) => {
                    let now_ms = self.now_ms();
                    let mut inner = self.shared.lock();
                    let was_up = inner.session.is_up();
                    let handled = inner.session.handle_bytes(&buffer[..length], now_ms);
                    let is_up = inner.session.is_up();
                    drop(inner);
                    self.shared.changed.notify_all();
                    if let Err(error) = handled {
                        tracing::warn!(%error, "the connection is given up");
                        return self.drop_link();
                    }
                    if is_up && !was_up {
                        self.servers.connected();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot read from the server");
                    return self.drop_link();
                }
            }
        }
    }

    fn write(&mut self) {
        loop {
            if self.unsent.is_empty() {
                let now_ms = self.now_ms();
                match self.shared.lock().session.take_output(now_ms) {
                    Some(output) => self.unsent = output,
                    None => return,
                }
            }
            let Link::Open { stream } = &mut self.link else {
                return;
            };
            match stream.write(&self.unsent) {
                Ok(length) => {
                    self.unsent.drain(..length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot write to the server");
                    return self.drop_link();
                }
            }
        }
    }

    fn handle_time(&mut self) {
        let now_ms = self.now_ms();
        let handled = self.shared.lock().session.handle_timeout(now_ms);
        if let Err(error) = handled {
            tracing::warn!(%error, "the connection is given up");
            self.drop_link();
        }
    }

    /// Leaves a server that only serves reads once another can write.
    fn search_rw_server(&mut self) {
        if self.shared.lock().session.state() != State::ConnectedReadOnly {
            self.rw_search = None;
            return;
        }
        let now_ms = self.now_ms();
        let search = self.rw_search.get_or_insert(RwSearch {
            due_ms: now_ms + RW_SEARCH_MS_MIN,
            interval_ms: RW_SEARCH_MS_MIN,
        });
        if now_ms < search.due_ms {
            return;
        }
        search.interval_ms = (search.interval_ms * 2).min(RW_SEARCH_MS_MAX);
        search.due_ms = now_ms + search.interval_ms;
        if self.servers.next_can_write() {
            self.rw_search = None;
            self.drop_link();
        }
    }

    /// Gives up the connection and plans the next.
    fn drop_link(&mut self) {
        let was_open = matches!(self.link, Link::Open { .. });
        let pause_ms = if was_open {
            random() % RECONNECT_SPREAD_MS
        } else {
            0
        };
        self.link = Link::Down {
            retry_at_ms: self.now_ms() + pause_ms,
        };
        self.unsent.clear();
        self.shared.lock().session.handle_disconnected();
        self.shared.changed.notify_all();
    }
}

//! The thread that drives all election links and listeners.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::dial::connect_any;
use super::link::{Link, MESSAGE_MAX, Progress};
use super::{PeerConfig, PeerError, PeerEvent, Shared, Sink, greeting, lock};
use crate::rt::clock::{self, Monotonic};
use crate::types::ServerId;

const WAKER: Token = Token(0);
/// Connections that have not said yet who they are; a further one closes the oldest.
const STRANGERS_MAX: usize = 64;
/// How long such a connection may take.
const GREETING_MS: u64 = 5000;
/// Servers outside of the configuration that may have a link: one that is about to join, or an
/// observer without an id.
const GUESTS_MAX: usize = 64;
/// How long the one with the smaller id waits for the other to connect before it asks for it.
const ASK_AFTER_MS: u64 = 20;
/// Pauses between attempts to reach a voter, which double with each failure.
const RETRY_MS_MIN: u64 = 10;
const RETRY_MS_MAX: u64 = 2000;
/// The shortest pause after having asked to be called back.
const ASK_AGAIN_MS: u64 = 500;
/// A link that lived as long lets the pauses begin anew.
const STEADY_MS: u64 = 1000;
/// How often complaints of one kind are logged.
const COMPLAINT_MS: u64 = 1000;
/// How often it is logged that a member cannot be reached.
const UNREACHED_MS: u64 = 10_000;
/// When accepting is tried again after it failed, for example for lack of descriptors.
const ACCEPT_AGAIN_MS: u64 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    Election,
    Quorum,
}

/// What is known of another server.
#[derive(Default)]
struct Peer {
    link: Option<Token>,
    linked_at_ms: u64,
    queued: Option<Vec<u8>>,
    last_sent: Option<Vec<u8>>,
    is_dialing: bool,
    retry_at_ms: Option<u64>,
    retry_ms: u64,
    complain_at_ms: u64,
    /// Where it says that it holds elections.
    advertised: Vec<(String, u16)>,
}

enum Who {
    Stranger { until_ms: u64 },
    Peer(ServerId),
}

struct Manager {
    config: PeerConfig,
    sink: Sink,
    shared: Arc<Shared>,
    poll: Poll,
    clock: Monotonic,
    listeners: BTreeMap<Token, (TcpListener, Port)>,
    accept_again_ms: Option<u64>,
    sockets: BTreeMap<Token, (Link, Who)>,
    peers: BTreeMap<ServerId, Peer>,
    /// Sockets with more to read than their turn allowed.
    unread: Vec<Token>,
    next_token: usize,
    next_nameless: i64,
    complain_at_ms: u64,
    complaints_skipped: u64,
}

/// Listens and starts the thread.
pub(super) fn start(
    config: PeerConfig,
    sink: Sink,
) -> Result<(Arc<Shared>, JoinHandle<()>), PeerError> {
    let member = config.ensemble.members.get(&config.my_id);
    let addresses = &member.ok_or(PeerError::NotAMember(config.my_id))?.addresses;
    let election = addresses
        .iter()
        .map(|it| (it.host.clone(), it.election_port));
    let quorum = addresses.iter().map(|it| (it.host.clone(), it.quorum_port));
    let mut bound = Vec::new();
    for (port, wanted) in [
        (Port::Election, election.collect::<Vec<_>>()),
        (Port::Quorum, quorum.collect()),
    ] {
        let listeners = listen_patiently(&config, &wanted)?;
        bound.extend(listeners.into_iter().map(|listener| (listener, port)));
    }
    let poll = Poll::new().map_err(PeerError::Thread)?;
    let waker = mio::Waker::new(poll.registry(), WAKER).map_err(PeerError::Thread)?;
    let shared = Arc::new(Shared {
        waker,
        outbox: Mutex::default(),
        connected: Mutex::default(),
        is_stopping: AtomicBool::new(false),
    });
    let mut manager = Manager {
        config,
        sink,
        shared: Arc::clone(&shared),
        poll,
        clock: Monotonic::start(),
        listeners: BTreeMap::new(),
        accept_again_ms: None,
        sockets: BTreeMap::new(),
        peers: BTreeMap::new(),
        unread: Vec::new(),
        next_token: 1,
        next_nameless: -1,
        complain_at_ms: 0,
        complaints_skipped: 0,
    };
    for (listener, port) in bound {
        manager
            .add_listener(listener, port)
            .map_err(PeerError::Thread)?;
    }
    let thread = thread::Builder::new()
        .name("peers".to_owned())
        .spawn(move || {
            if let Err(error) = manager.run() {
                (manager.sink)(PeerEvent::Fault(PeerError::Thread(error)));
            }
        })
        .map_err(PeerError::Thread)?;
    Ok((shared, thread))
}

/// Listens on those of the addresses where it is possible; at least on one.
fn listen_patiently(
    config: &PeerConfig,
    addresses: &[(String, u16)],
) -> Result<Vec<StdListener>, PeerError> {
    let mut attempts = 0;
    loop {
        let mut listeners = Vec::new();
        let mut failed = None;
        for (host, port) in addresses {
            match listen(config, host, *port) {
                Ok(listener) => listeners.push(listener),
                Err(source) => {
                    tracing::error!(%source, "cannot listen on {host}:{port}");
                    let address = format!("{host}:{port}");
                    failed = Some(PeerError::Listen { address, source });
                }
            }
        }
        attempts += 1;
        match failed {
            Some(error) if listeners.is_empty() => {
                if attempts == config.bind_attempts_max {
                    return Err(error);
                }
            }
            _ => return Ok(listeners),
        }
        clock::pause(Duration::from_secs(1));
    }
}

fn listen(config: &PeerConfig, host: &str, port: u16) -> io::Result<StdListener> {
    if config.is_listening_on_all {
        let every = [
            SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
        ];
        return StdListener::bind(&every[..]);
    }
    StdListener::bind(&(config.resolve)(host, port)?[..])
}

impl Manager {
    fn add_listener(&mut self, listener: StdListener, port: Port) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        let token = self.token();
        self.poll
            .registry()
            .register(&mut listener, token, Interest::READABLE)?;
        self.listeners.insert(token, (listener, port));
        Ok(())
    }

    fn token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    fn run(&mut self) -> io::Result<()> {
        let my_id = self.config.my_id;
        let ensemble = Arc::clone(&self.config.ensemble);
        for id in ensemble.voters().filter(|id| *id != my_id) {
            let wait_ms = if id > my_id { ASK_AFTER_MS } else { 0 };
            let retry_at_ms = Some(self.clock.now_ms() + wait_ms);
            self.peers.entry(id).or_default().retry_at_ms = retry_at_ms;
        }
        let mut events = Events::with_capacity(256);
        while !self.shared.is_stopping.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let mut tokens: Vec<Token> = std::mem::take(&mut self.unread);
            tokens.extend(events.iter().map(mio::event::Event::token));
            for token in tokens {
                if self.listeners.contains_key(&token) {
                    self.accept(token);
                } else if token != WAKER {
                    self.serve(token);
                }
            }
            self.take_connected();
            self.take_outbox();
            self.do_due();
        }
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.unread.is_empty() {
            return Some(Duration::ZERO);
        }
        let retries = self.peers.values().filter_map(|peer| peer.retry_at_ms);
        let strangers = self.sockets.values().filter_map(|(_, who)| match who {
            Who::Stranger { until_ms } => Some(*until_ms),
            Who::Peer(_) => None,
        });
        let next_ms = retries.chain(strangers).chain(self.accept_again_ms).min()?;
        let wait_ms = next_ms.saturating_sub(self.clock.now_ms());
        Some(Duration::from_millis(wait_ms))
    }

    fn do_due(&mut self) {
        let now_ms = self.clock.now_ms();
        if self.accept_again_ms.is_some_and(|at| at <= now_ms) {
            self.accept_again_ms = None;
            let tokens: Vec<Token> = self.listeners.keys().copied().collect();
            tokens.into_iter().for_each(|token| self.accept(token));
        }
        let late = self.sockets.iter().filter_map(|(token, (_, who))| {
            matches!(who, Who::Stranger { until_ms } if *until_ms <= now_ms).then_some(*token)
        });
        for token in late.collect::<Vec<_>>() {
            self.close(token, &"it did not say who it is");
        }
        let due = self.peers.iter().filter_map(|(id, peer)| {
            let is_due = peer.retry_at_ms.is_some_and(|at| at <= now_ms);
            is_due.then_some(*id)
        });
        for id in due.collect::<Vec<_>>() {
            self.dial(id);
        }
    }

    fn accept(&mut self, token: Token) {
        loop {
            let Some((listener, port)) = self.listeners.get(&token) else {
                return;
            };
            match listener.accept() {
                Ok((stream, address)) if *port == Port::Quorum => {
                    self.hand_over(stream, address);
                }
                Ok((stream, address)) => self.welcome(stream, address),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.complain(format_args!("cannot accept a connection: {error}"));
                    self.accept_again_ms = Some(self.clock.now_ms() + ACCEPT_AGAIN_MS);
                    return;
                }
            }
        }
    }

    fn hand_over(&mut self, stream: TcpStream, address: SocketAddr) {
        let stream = std::net::TcpStream::from(stream);
        // A ring waits for a socket only in blocking mode.
        let prepared = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_nodelay(true));
        if prepared.is_ok() {
            (self.sink)(PeerEvent::LearnerAccepted { stream, address });
        }
    }

    fn welcome(&mut self, stream: TcpStream, address: SocketAddr) {
        let strangers = self
            .sockets
            .iter()
            .filter_map(|(token, (_, who))| matches!(who, Who::Stranger { .. }).then_some(*token));
        let strangers: Vec<Token> = strangers.collect();
        if let (true, Some(&oldest)) = (strangers.len() >= STRANGERS_MAX, strangers.first()) {
            self.close(oldest, &"too many connections have not said who they are");
        }
        let until_ms = self.clock.now_ms() + GREETING_MS;
        if let Some(token) = self.add(stream, address, Who::Stranger { until_ms }) {
            self.serve(token);
        }
    }

    /// Registers a socket; `None`, and closed, where that fails.
    fn add(&mut self, stream: TcpStream, address: SocketAddr, who: Who) -> Option<Token> {
        let token = self.token();
        let mut link = Link::new(stream, address);
        let prepared = link
            .stream
            .set_nodelay(true)
            .and_then(|()| {
                socket2::SockRef::from(&link.stream).set_keepalive(self.config.is_keep_alive)
            })
            .and_then(|()| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                let registry = self.poll.registry();
                registry.register(&mut link.stream, token, interest)
            });
        match prepared {
            Ok(()) => {
                self.sockets.insert(token, (link, who));
                Some(token)
            }
            Err(error) => {
                self.complain(format_args!(
                    "cannot use a connection of {address}: {error}"
                ));
                None
            }
        }
    }

    /// Reads and writes what a socket has and takes.
    fn serve(&mut self, token: Token) {
        let Some((link, _)) = self.sockets.get_mut(&token) else {
            return;
        };
        let progress = match link.read() {
            Ok(progress) => progress,
            Err(error) => return self.close(token, &error),
        };
        if !self.identify(token) {
            return;
        }
        let Some((link, who)) = self.sockets.get_mut(&token) else {
            return;
        };
        if let Who::Peer(id) = *who {
            let (messages, result) = link.messages();
            for bytes in messages {
                (self.sink)(PeerEvent::ElectionMessage { from: id, bytes });
            }
            if let Err(length) = result {
                return self.close(token, &format_args!("it sent a message of {length} bytes"));
            }
            self.send_queued(id);
        }
        match progress {
            Progress::More => self.unread.push(token),
            Progress::Closed => self.close(token, &"it closed the connection"),
            Progress::Drained => {}
        }
    }

    /// Takes the first message of a stranger. False when the socket is no more.
    fn identify(&mut self, token: Token) -> bool {
        let Some((link, Who::Stranger { .. })) = self.sockets.get_mut(&token) else {
            return true;
        };
        let greeting = match link.greeting() {
            Ok(Some(greeting)) => greeting,
            Ok(None) => return true,
            Err(error) => {
                self.close(token, &error);
                return false;
            }
        };
        let address = link.address;
        let is_nameless = greeting.from.is_none();
        let id = greeting.from.unwrap_or(ServerId(self.next_nameless));
        if is_nameless {
            self.next_nameless -= 1;
        }
        let my_id = self.config.my_id;
        if id == my_id {
            self.close(
                token,
                &format_args!("it says that it is server {my_id}, as we are"),
            );
            return false;
        }
        let is_member = self.config.ensemble.members.contains_key(&id);
        let members = &self.config.ensemble.members;
        let guests = self.peers.keys().filter(|id| !members.contains_key(id));
        if !is_member && !self.peers.contains_key(&id) && guests.count() >= GUESTS_MAX {
            self.close(
                token,
                &format_args!("server {id} is not in the configuration"),
            );
            return false;
        }
        if id < my_id && !is_nameless {
            // It has no connection, whatever we believe, and wants to be called.
            tracing::debug!("server {id} at {address} asks to be connected");
            self.warn_of_two(id, address);
            self.forget(token);
            self.unlink(id);
            self.peers.entry(id).or_default().advertised = greeting.addresses;
            self.dial(id);
            return false;
        }
        self.establish(id, token);
        true
    }

    /// Makes a socket the link to a server.
    fn establish(&mut self, id: ServerId, token: Token) {
        let now_ms = self.clock.now_ms();
        if let Some((link, _)) = self.sockets.get(&token) {
            self.warn_of_two(id, link.address);
        }
        let peer = self.peers.entry(id).or_default();
        let before = peer.link.replace(token);
        peer.linked_at_ms = now_ms;
        peer.retry_at_ms = None;
        if peer.queued.is_none() {
            peer.queued = peer.last_sent.clone();
        }
        if let Some((_, who)) = self.sockets.get_mut(&token) {
            *who = Who::Peer(id);
        }
        match before {
            Some(before) => self.forget(before),
            None => (self.sink)(PeerEvent::Reachable(id)),
        }
        tracing::debug!("linked to server {id}");
        self.send_queued(id);
    }

    /// Warns where a server makes a connection while it has one.
    fn warn_of_two(&mut self, id: ServerId, new: SocketAddr) {
        let former = self.peers.get(&id).and_then(|peer| peer.link);
        if let Some((link, _)) = former.and_then(|token| self.sockets.get(&token)) {
            let former = link.address;
            self.complain(format_args!(
                "server {id} has connected from {new} and was still connected at {former}: it has \
                 started anew, or two servers have its number in their myid files"
            ));
        }
    }

    fn send_queued(&mut self, id: ServerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(token) = peer.link else {
            return;
        };
        let Some((link, _)) = self.sockets.get_mut(&token) else {
            return;
        };
        let mut result = link.flush();
        if let (Ok(()), false) = (&result, link.is_sending())
            && let Some(message) = peer.queued.take()
        {
            link.put_message(&message);
            peer.last_sent = Some(message);
            result = link.flush();
        }
        if let Err(error) = result {
            self.close(token, &error);
        }
    }

    /// Closes a socket for a reason.
    fn close(&mut self, token: Token, reason: &dyn std::fmt::Display) {
        let Some((link, who)) = self.sockets.get(&token) else {
            return;
        };
        let (address, id) = match who {
            Who::Stranger { .. } => (link.address, None),
            Who::Peer(id) => (link.address, Some(*id)),
        };
        match id {
            None => self.complain(format_args!("closed a connection of {address}: {reason}")),
            Some(id) => {
                self.complain(format_args!("lost server {id} at {address}: {reason}"));
            }
        }
        self.forget(token);
        if let Some(id) = id {
            self.unlink(id);
        }
    }

    fn forget(&mut self, token: Token) {
        if let Some((mut link, _)) = self.sockets.remove(&token) {
            // It is closed right after, which does the same.
            let _ = self.poll.registry().deregister(&mut link.stream);
        }
    }

    /// A server has no link any more, if it had one.
    fn unlink(&mut self, id: ServerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(token) = peer.link.take() else {
            return;
        };
        if self.clock.now_ms() >= peer.linked_at_ms + STEADY_MS {
            peer.retry_ms = 0;
        }
        self.forget(token);
        (self.sink)(PeerEvent::Unreachable(id));
        if self.config.ensemble.members.contains_key(&id) {
            self.retry_later(id, ASK_AFTER_MS);
        } else {
            self.peers.remove(&id);
        }
    }

    /// Plans the next attempt at a voter, ever later.
    fn retry_later(&mut self, id: ServerId, ms_min: u64) {
        let is_voter = self.config.ensemble.is_voter(id);
        let now_ms = self.clock.now_ms();
        if let Some(peer) = self.peers.get_mut(&id)
            && is_voter
            && peer.link.is_none()
        {
            peer.retry_ms = (peer.retry_ms * 2).clamp(RETRY_MS_MIN, RETRY_MS_MAX);
            peer.retry_at_ms = Some(now_ms + peer.retry_ms.max(ms_min));
        }
    }

    /// Begins an attempt to connect, unless one runs.
    fn dial(&mut self, id: ServerId) {
        let members = &self.config.ensemble.members;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.retry_at_ms = None;
        if peer.is_dialing || peer.link.is_some() {
            return;
        }
        let configured = members.get(&id).into_iter().flat_map(|it| &it.addresses);
        let mut addresses: Vec<(String, u16)> = configured
            .map(|address| (address.host.clone(), address.election_port))
            .collect();
        if addresses.is_empty() {
            addresses.clone_from(&peer.advertised);
        }
        peer.is_dialing = true;
        let shared = Arc::clone(&self.shared);
        let resolve = Arc::clone(&self.config.resolve);
        let timeout_ms = self.config.connect_timeout_ms;
        let run = move || {
            let result = connect_any(&addresses, &resolve, timeout_ms);
            lock(&shared.connected).push((id, result));
            shared.wake();
        };
        let thread = thread::Builder::new().name(format!("peer-{id}"));
        if let Err(error) = thread.spawn(run) {
            lock(&self.shared.connected).push((id, Err(error)));
            self.shared.wake();
        }
    }

    fn take_connected(&mut self) {
        let connected = std::mem::take(&mut *lock(&self.shared.connected));
        for (id, result) in connected {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            peer.is_dialing = false;
            match result.and_then(|stream| self.introduce(id, stream)) {
                Ok(()) => {}
                Err(error) => self.unreached(id, &error),
            }
        }
    }

    /// Says who we are on a connection that we made, and keeps it if our id is the larger one.
    fn introduce(&mut self, id: ServerId, stream: std::net::TcpStream) -> io::Result<()> {
        let my_id = self.config.my_id;
        if id > my_id && self.peers.get(&id).is_some_and(|peer| peer.link.is_some()) {
            return Ok(());
        }
        let address = stream.peer_addr()?;
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        let hello = greeting::write(my_id, &self.config.ensemble, self.config.is_multi_address);
        if id > my_id {
            let mut link = Link::new(stream, address);
            link.put(&hello);
            link.flush()?;
            self.retry_later(id, ASK_AGAIN_MS);
            return Ok(());
        }
        if let Some(token) = self.add(stream, address, Who::Peer(id)) {
            if let Some((link, _)) = self.sockets.get_mut(&token) {
                link.put(&hello);
            }
            self.establish(id, token);
        }
        Ok(())
    }

    fn unreached(&mut self, id: ServerId, error: &io::Error) {
        let now_ms = self.clock.now_ms();
        if let Some(peer) = self.peers.get_mut(&id)
            && peer.complain_at_ms <= now_ms
        {
            peer.complain_at_ms = now_ms + UNREACHED_MS;
            tracing::warn!("cannot reach server {id}: {error}; trying again");
        }
        if self.config.ensemble.members.contains_key(&id) {
            self.retry_later(id, RETRY_MS_MIN);
        } else {
            self.peers.remove(&id);
        }
    }

    fn take_outbox(&mut self) {
        let outbox = std::mem::take(&mut *lock(&self.shared.outbox));
        for (id, message) in outbox {
            if message.len() > MESSAGE_MAX || id == self.config.my_id {
                continue;
            }
            let is_member = self.config.ensemble.members.contains_key(&id);
            if !is_member && !self.peers.contains_key(&id) {
                continue;
            }
            let peer = self.peers.entry(id).or_default();
            peer.queued = Some(message);
            if peer.link.is_some() {
                self.send_queued(id);
            } else if peer.retry_at_ms.is_none() {
                self.dial(id);
            }
        }
    }

    /// Logs what others do wrong, but not as often as they like.
    fn complain(&mut self, what: std::fmt::Arguments<'_>) {
        let now_ms = self.clock.now_ms();
        if now_ms < self.complain_at_ms {
            self.complaints_skipped += 1;
            return;
        }
        self.complain_at_ms = now_ms + COMPLAINT_MS;
        let skipped = std::mem::take(&mut self.complaints_skipped);
        tracing::warn!(skipped, "{what}");
    }
}

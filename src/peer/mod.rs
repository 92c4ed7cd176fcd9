//! The real sockets between members: election links (Apache's `QuorumCnxManager`) and the
//! connections of learners to their leader.
//!
//! There is one election connection between two members. The one with the larger id makes it; the
//! other one, when it has none, connects only to say so, and is called back. One thread drives all
//! of them and all listeners. What blocks, looking up names and connecting, runs in threads that
//! live as long as one attempt; there is at most one attempt to each member.
//!
//! Only the newest message to a member is kept while there is no connection, and the last one is
//! sent again when a connection is made, since it may have been lost with the one before.

mod dial;
pub mod greeting;
mod learner;
mod link;
mod manager;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

pub use dial::{Resolve, system_resolve};

use crate::types::{Ensemble, ServerId};

/// Who takes part, and how.
#[derive(Clone)]
pub struct PeerConfig {
    /// This server.
    pub my_id: ServerId,
    /// All members, with their addresses.
    pub ensemble: Arc<Ensemble>,
    /// Whether to listen on every address instead of those of the server line
    /// (`quorumListenOnAllIPs`).
    pub is_listening_on_all: bool,
    /// Whether all own addresses are told (`multiAddress.enabled`).
    pub is_multi_address: bool,
    /// Milliseconds to open an election connection; default 5,000 (`cnxTimeout`).
    pub connect_timeout_ms: u64,
    /// Attempts to listen, a second apart; 0 is no end, default 3 (`electionPortBindRetry`).
    pub bind_attempts_max: u32,
    /// Whether election connections are kept alive by probes (`tcpKeepAlive`).
    pub is_keep_alive: bool,
    /// How names are looked up.
    pub resolve: Resolve,
}

impl PeerConfig {
    /// The defaults.
    pub fn new(my_id: ServerId, ensemble: Arc<Ensemble>) -> PeerConfig {
        PeerConfig {
            my_id,
            ensemble,
            is_listening_on_all: false,
            is_multi_address: false,
            connect_timeout_ms: 5000,
            bind_attempts_max: 3,
            is_keep_alive: false,
            resolve: system_resolve(),
        }
    }
}

/// What came from the network. Streams are in blocking mode and send without delay.
#[derive(Debug)]
pub enum PeerEvent {
    /// A message on an election link.
    ElectionMessage {
        /// Who sent it.
        from: ServerId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// There is an election link to this member now.
    Reachable(ServerId),
    /// There is none any more.
    Unreachable(ServerId),
    /// Somebody has connected to the quorum port. It is open in every state: who does not lead
    /// and is not about to closes the stream.
    LearnerAccepted {
        /// The connection.
        stream: TcpStream,
        /// Where it comes from.
        address: SocketAddr,
    },
    /// The outcome of [`Peers::dial`].
    Dialed {
        /// The leader.
        leader: ServerId,
        /// The connection.
        result: io::Result<TcpStream>,
    },
    /// The links have ended for good: elections are over for this server.
    Fault(PeerError),
}

/// The links cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// This server has no line in the configuration.
    #[error("server {0} is not in the configuration")]
    NotAMember(ServerId),
    /// None of the addresses can be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address, as configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The thread or its selector cannot be made or has failed.
    #[error("election links: {0}")]
    Thread(#[source] io::Error),
}

pub(crate) type Sink = Arc<dyn Fn(PeerEvent) + Send + Sync>;

/// What other threads leave for the one that drives the links.
struct Shared {
    waker: mio::Waker,
    /// The newest message for each member.
    outbox: Mutex<BTreeMap<ServerId, Vec<u8>>>,
    /// Outcomes of attempts; at most one for each member that is dialed.
    connected: Mutex<Vec<(ServerId, io::Result<TcpStream>)>>,
    is_stopping: AtomicBool,
}

impl Shared {
    fn wake(&self) {
        // It fails only when the selector is gone, and then nobody is left to wake.
        let _ = self.waker.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

/// Attempts to reach a leader that may run at once; an older one ends by its deadline.
const DIALS_MAX: usize = 16;

/// The links of this server. Dropping them closes them.
pub struct Peers {
    config: PeerConfig,
    shared: Arc<Shared>,
    sink: Sink,
    thread: Option<JoinHandle<()>>,
    /// The number of the newest dial; older ones are given up.
    dial: Arc<AtomicU64>,
    dials: Arc<AtomicUsize>,
}

impl Peers {
    /// Listens on the quorum and election ports and connects to all voters. `events` is called on
    /// the threads of the links, and must not block. Waits a second between attempts to listen.
    pub fn start(
        config: PeerConfig,
        events: impl Fn(PeerEvent) + Send + Sync + 'static,
    ) -> Result<Peers, PeerError> {
        let sink: Sink = Arc::new(events);
        let (shared, thread) = manager::start(config.clone(), Arc::clone(&sink))?;
        Ok(Peers {
            config,
            shared,
            sink,
            thread: Some(thread),
            dial: Arc::new(AtomicU64::new(0)),
            dials: Arc::new(AtomicUsize::new(0)),
        })
    }

    /// Sends an election message, as soon as there is a link; a newer one replaces it until then.
    pub fn send(&self, to: ServerId, message: Vec<u8>) {
        lock(&self.shared.outbox).insert(to, message);
        self.shared.wake();
    }

    /// Connects to a leader's quorum port within `timeout_ms`, on any of its addresses;
    /// [`PeerEvent::Dialed`] follows. A newer call supersedes this one, whose event does not come
    /// then.
    pub fn dial(&self, leader: ServerId, timeout_ms: u64) {
        let number = self.dial.fetch_add(1, Ordering::Relaxed) + 1;
        let members = &self.config.ensemble.members;
        let addresses: Vec<(String, u16)> = members
            .get(&leader)
            .into_iter()
            .flat_map(|member| &member.addresses)
            .map(|address| (address.host.clone(), address.quorum_port))
            .collect();
        if self.dials.fetch_add(1, Ordering::Relaxed) >= DIALS_MAX {
            self.dials.fetch_sub(1, Ordering::Relaxed);
            let error = io::Error::other("too many attempts to reach a leader still run");
            return (self.sink)(PeerEvent::Dialed {
                leader,
                result: Err(error),
            });
        }
        let resolve = Arc::clone(&self.config.resolve);
        let (sink, newest, dials) = (
            Arc::clone(&self.sink),
            Arc::clone(&self.dial),
            Arc::clone(&self.dials),
        );
        let run = move || {
            let is_wanted = || newest.load(Ordering::Relaxed) == number;
            let result = learner::connect_to_leader(&addresses, &resolve, timeout_ms, is_wanted);
            dials.fetch_sub(1, Ordering::Relaxed);
            if is_wanted() {
                sink(PeerEvent::Dialed { leader, result });
            }
        };
        let spawned = std::thread::Builder::new()
            .name("peer-dial".to_owned())
            .spawn(run);
        if let Err(error) = spawned {
            self.dials.fetch_sub(1, Ordering::Relaxed);
            (self.sink)(PeerEvent::Dialed {
                leader,
                result: Err(error),
            });
        }
    }

    /// Closes all links and waits for their thread. Attempts to connect end by themselves.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.dial.fetch_add(1, Ordering::Relaxed);
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // Its panic was printed when it happened.
            let _ = thread.join();
        }
    }
}

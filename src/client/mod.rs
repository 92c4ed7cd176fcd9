//! The client side of the protocol: a blocking client with the behaviour of Apache's Java client.
//!
//! [`session`] is the protocol as a state machine without sockets, clock or threads; `transport`
//! drives it; [`Client`] is what users hold. Watches are kept here too ([`watches`]), as every
//! client must, and registered again after a reconnect.
//!
//! Not covered: SASL and TLS.

pub mod connect_string;
mod error;
pub mod event;
pub mod multi;
mod ops;
mod rewatch;
mod servers;
pub mod session;
mod transport;
pub mod watches;

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use crate::jute::op;
use crate::types::{ErrorCode, SessionId};

pub use connect_string::{ConnectString, ConnectStringError, ServerAddress};
pub use error::{ClientError, keeper_message};
pub use event::{EventKind, KeeperState, State, WatchedEvent, Watcher};
pub use multi::{Op, OpResult};
pub use ops::open_acl;
pub use watches::{AddWatchMode, WatcherType};

use session::{Reply, Request, Session, SessionConfig, WatchChange};
use transport::Shared;

/// How a client connects.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Session timeout to ask for, in milliseconds; the server may grant another.
    pub session_timeout_ms: i32,
    /// Whether a server cut off from its quorum will do, for reads.
    pub can_be_read_only: bool,
    /// Milliseconds to wait for an answer (`zookeeper.request.timeout`); `None` to wait until the
    /// connection is lost.
    pub request_timeout_ms: Option<u64>,
    /// Do not register watches again after a reconnect (`zookeeper.disableAutoWatchReset`).
    pub disable_watch_reset: bool,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            session_timeout_ms: 30_000,
            can_be_read_only: false,
            request_timeout_ms: None,
            disable_watch_reset: false,
        }
    }
}

/// A client of a ZooKeeper service. Operations block until they are answered; any number of
/// threads may use one client, and their requests share its connection and keep their order.
///
/// Dropping a client ends its connection without closing its session: ephemerals stay until the
/// session expires. [`Client::close`] removes them at once.
pub struct Client {
    shared: Arc<Shared>,
    config: ClientConfig,
    chroot: Option<String>,
}

impl Client {
    /// Begins to connect to `host:port,host:port/chroot` and returns at once; operations wait for
    /// the connection. `default_watcher` is called for every change of the session's state.
    pub fn connect(
        connect_string: &str,
        config: ClientConfig,
        default_watcher: Option<Watcher>,
    ) -> Result<Client, ClientError> {
        let ConnectString { servers, chroot } = ConnectString::parse(connect_string)?;
        let session_config = SessionConfig {
            timeout_ms: config.session_timeout_ms,
            can_be_read_only: config.can_be_read_only,
            chroot: chroot.clone(),
            servers: servers.len() as u32,
            disable_watch_reset: config.disable_watch_reset,
            default_watcher,
        };
        let shared = transport::start(servers, |now_ms| Session::new(session_config, now_ms))
            .map_err(ClientError::Start)?;
        Ok(Client {
            shared,
            config,
            chroot,
        })
    }

    /// State of the session.
    pub fn state(&self) -> State {
        self.shared.lock().session.state()
    }

    /// Id of the session; none before a server has accepted it.
    pub fn session_id(&self) -> SessionId {
        self.shared.lock().session.id()
    }

    /// The session timeout that the server granted, in milliseconds.
    pub fn session_timeout_ms(&self) -> i32 {
        self.shared.lock().session.timeout_ms()
    }

    /// The last zxid that this client has seen.
    pub fn last_zxid(&self) -> i64 {
        self.shared.lock().session.last_zxid()
    }

    /// Waits until the events that have come in by now were delivered, at most `timeout`. Not to
    /// be called by a watcher, which would wait for itself.
    pub fn flush_events(&self, timeout: Duration) {
        self.shared.flush_events(timeout);
    }

    /// Adds an identity to the session, now and after each reconnect. Returns without waiting: a
    /// refusal puts the client into [`State::AuthFailed`].
    pub fn add_auth(&self, scheme: &str, auth: Option<&[u8]>) {
        self.shared.lock().session.add_auth(scheme, auth);
        self.shared.wake();
    }

    /// Closes the session: its ephemerals go, and the client cannot be used any more. Does nothing
    /// on a session that is already closed.
    pub fn close(&self) {
        if self.state().is_alive() {
            // The session is closed whatever the answer is.
            let _ = self.request(op::CLOSE_SESSION, Vec::new(), None);
        }
    }

    /// Sends a request without waiting; `done` is called with the reply, in the order of the
    /// requests, on the client's socket thread: it must not block.
    pub fn submit(
        &self,
        kind: i32,
        body: Vec<u8>,
        watch: Option<(String, WatchChange)>,
        done: impl FnOnce(Reply) + Send + 'static,
    ) {
        self.shared.lock().session.submit(Request {
            kind,
            body,
            watch,
            done: Box::new(done),
        });
        self.shared.wake();
    }

    /// Sends a request and waits for its reply.
    fn request(&self, kind: i32, body: Vec<u8>, watch: Option<(String, WatchChange)>) -> Reply {
        let (done, reply) = sync_channel(1);
        self.submit(kind, body, watch, move |reply| {
            // Nobody listens any more once the request has timed out.
            let _ = done.send(reply);
        });
        let received = match self.config.request_timeout_ms {
            None => reply.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(timeout_ms) => reply.recv_timeout(Duration::from_millis(timeout_ms)),
        };
        received.unwrap_or_else(|error| {
            let code = match error {
                RecvTimeoutError::Timeout => ErrorCode::RequestTimeout,
                RecvTimeoutError::Disconnected => ErrorCode::ConnectionLoss,
            };
            Reply {
                err: code.code(),
                zxid: 0,
                body: Vec::new(),
            }
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

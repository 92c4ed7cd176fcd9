//! States of a client, and the events that watchers get (Apache's `Watcher` and `WatchedEvent`).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// State of a client (Apache's `ZooKeeper.States`); displays under Apache's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No server has accepted the session yet, or the connection was lost.
    Connecting,
    /// A server that can write holds the session.
    Connected,
    /// A server cut off from its quorum serves reads.
    ConnectedReadOnly,
    /// Closed by the user or expired; for good.
    Closed,
    /// The server refused an identity; for good.
    AuthFailed,
}

impl State {
    /// Whether the session may still be used.
    pub fn is_alive(self) -> bool {
        !matches!(self, State::Closed | State::AuthFailed)
    }

    /// Whether a server holds the session now.
    pub fn is_connected(self) -> bool {
        matches!(self, State::Connected | State::ConnectedReadOnly)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Connecting => "CONNECTING",
            State::Connected => "CONNECTED",
            State::ConnectedReadOnly => "CONNECTEDREADONLY",
            State::Closed => "CLOSED",
            State::AuthFailed => "AUTH_FAILED",
        })
    }
}

/// What happened (Apache's `EventType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are Apache's own")]
#[repr(i32)]
pub enum EventKind {
    None = -1,
    NodeCreated = 1,
    NodeDeleted = 2,
    NodeDataChanged = 3,
    NodeChildrenChanged = 4,
    DataWatchRemoved = 5,
    ChildWatchRemoved = 6,
    PersistentWatchRemoved = 7,
}

impl EventKind {
    /// The kind with this number on the wire.
    pub fn from_code(code: i32) -> Option<EventKind> {
        Some(match code {
            -1 => EventKind::None,
            1 => EventKind::NodeCreated,
            2 => EventKind::NodeDeleted,
            3 => EventKind::NodeDataChanged,
            4 => EventKind::NodeChildrenChanged,
            5 => EventKind::DataWatchRemoved,
            6 => EventKind::ChildWatchRemoved,
            7 => EventKind::PersistentWatchRemoved,
            _ => return None,
        })
    }
}

/// State of the session that an event carries (Apache's `KeeperState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Apache's own")]
#[repr(i32)]
pub enum KeeperState {
    Disconnected = 0,
    SyncConnected = 3,
    AuthFailed = 4,
    ConnectedReadOnly = 5,
    SaslAuthenticated = 6,
    Closed = 7,
    Expired = -112,
}

impl KeeperState {
    /// The state with this number on the wire.
    pub fn from_code(code: i32) -> Option<KeeperState> {
        Some(match code {
            0 => KeeperState::Disconnected,
            3 => KeeperState::SyncConnected,
            4 => KeeperState::AuthFailed,
            5 => KeeperState::ConnectedReadOnly,
            6 => KeeperState::SaslAuthenticated,
            7 => KeeperState::Closed,
            -112 => KeeperState::Expired,
            _ => return None,
        })
    }
}

/// An event; displays as Apache's `WatchedEvent` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedEvent {
    /// What happened.
    pub kind: EventKind,
    /// State of the session.
    pub state: KeeperState,
    /// The node, as the client names it; `None` for changes of the session's state.
    pub path: Option<String>,
    /// Zxid of the change, or −1 where the server sent none.
    pub zxid: i64,
}

impl WatchedEvent {
    /// A change of the session's state.
    pub fn session(state: KeeperState) -> WatchedEvent {
        WatchedEvent {
            kind: EventKind::None,
            state,
            path: None,
            zxid: -1,
        }
    }
}

impl fmt::Display for WatchedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "WatchedEvent state:{:?} type:{:?} path:{} zxid: {}",
            self.state,
            self.kind,
            self.path.as_deref().unwrap_or("null"),
            self.zxid
        )
    }
}

/// A callback for events. Clones are the same watcher; two made from equal closures are not.
#[derive(Clone)]
pub struct Watcher(Arc<dyn Fn(&WatchedEvent) + Send + Sync>);

impl Watcher {
    /// A watcher that calls `callback`, on the client's event thread. The callback may use the
    /// client, but while it runs no other event is delivered.
    pub fn new(callback: impl Fn(&WatchedEvent) + Send + Sync + 'static) -> Watcher {
        Watcher(Arc::new(callback))
    }

    /// Delivers an event.
    pub fn process(&self, event: &WatchedEvent) {
        (self.0)(event);
    }

    /// The address of the callback: unique as long as the watcher lives.
    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<()>() as usize
    }
}

impl PartialEq for Watcher {
    fn eq(&self, other: &Watcher) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Watcher {}

impl PartialOrd for Watcher {
    fn partial_cmp(&self, other: &Watcher) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Watcher {
    fn cmp(&self, other: &Watcher) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watcher({:#x})", self.identity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_print_as_the_reference_prints_them() {
        assert_eq!(
            WatchedEvent::session(KeeperState::SyncConnected).to_string(),
            "WatchedEvent state:SyncConnected type:None path:null zxid: -1"
        );
        let event = WatchedEvent {
            kind: EventKind::NodeDataChanged,
            state: KeeperState::SyncConnected,
            path: Some("/x".into()),
            zxid: 7,
        };
        assert_eq!(
            event.to_string(),
            "WatchedEvent state:SyncConnected type:NodeDataChanged path:/x zxid: 7"
        );
        assert_eq!(State::AuthFailed.to_string(), "AUTH_FAILED");
    }
}

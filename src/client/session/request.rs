//! What a session is asked for, and what it answers.

use std::collections::BTreeSet;

use crate::client::event::{WatchedEvent, Watcher};
use crate::client::watches::{Registers, WatcherType};

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Number of the error code; 0 for success.
    pub err: i32,
    /// Zxid that the server had reached; 0 where no server answered.
    pub zxid: i64,
    /// The record that follows the header; empty on error.
    pub body: Vec<u8>,
}

/// A watch that a reply registers.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Who is called.
    pub watcher: Watcher,
    /// Which list the watch comes to stand in.
    pub registers: Registers,
}

/// Watches that a reply removes.
#[derive(Clone, Debug)]
pub struct Deregistration {
    /// Whose watch; `None` for everybody's.
    pub watcher: Option<Watcher>,
    /// Which watches.
    pub of: WatcherType,
    /// Remove here even when the server refuses or cannot be reached.
    pub local: bool,
}

/// What a request does to the client's own watches.
#[derive(Clone, Debug)]
pub enum WatchChange {
    /// Adds one.
    Register(Registration),
    /// Removes some.
    Deregister(Deregistration),
}

/// A request on its way.
pub struct Request {
    /// Operation code.
    pub kind: i32,
    /// The encoded record; empty where the operation has none.
    pub body: Vec<u8>,
    /// The change of watches that the reply brings, with the path as the client names it.
    pub watch: Option<(String, WatchChange)>,
    /// Called once, under the session's lock: it must not block.
    pub done: Box<dyn FnOnce(Reply) + Send>,
}

/// An event and those to be called for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Who is called.
    pub watchers: BTreeSet<Watcher>,
    /// What happened.
    pub event: WatchedEvent,
}

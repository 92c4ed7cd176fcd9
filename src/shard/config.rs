//! What a shard is told, and what all shards of a server share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crate::types::{Zxid, limits};

/// The settings of a shard. Names in parentheses are those of zoo.cfg.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Shortest session timeout in milliseconds (`minSessionTimeout`).
    pub min_session_timeout_ms: i32,
    /// Longest session timeout in milliseconds (`maxSessionTimeout`).
    pub max_session_timeout_ms: i32,
    /// Largest request in bytes (`jute.maxbuffer`).
    pub jute_max_buffer_bytes: usize,
    /// Connections that one client address may have; 0 is no limit (`maxClientCnxns`).
    pub max_client_cnxns: usize,
    /// Connections that all clients together may have; 0 is no limit (`maxCnxns`).
    pub max_cnxns: usize,
    /// Requests of all clients that may be in progress before reading stops
    /// (`globalOutstandingLimit`).
    pub global_outstanding_limit: usize,
    /// How long a connection may stay without a session, in milliseconds
    /// (`nio.sessionlessCnxnTimeout`).
    pub sessionless_timeout_ms: u64,
    /// Whether ACLs are not checked (`skipACL`).
    pub skip_acl: bool,
    /// Four-letter words that are answered; `*` alone stands for all
    /// (`4lw.commands.whitelist`). `srvr` always is, `isro` is with `read_only_mode`.
    pub four_letter_whitelist: Vec<String>,
    /// Whether read-only mode is enabled (`readonlymode.enabled`).
    pub read_only_mode: bool,
}

impl Default for ShardConfig {
    /// The settings of a server that is told nothing.
    fn default() -> ShardConfig {
        ShardConfig {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 60_000,
            jute_max_buffer_bytes: limits::JUTE_MAX_BUFFER_DEFAULT,
            max_client_cnxns: 60,
            max_cnxns: 0,
            global_outstanding_limit: limits::GLOBAL_OUTSTANDING_DEFAULT,
            sessionless_timeout_ms: 10_000,
            skip_acl: false,
            four_letter_whitelist: vec!["srvr".to_string()],
            read_only_mode: false,
        }
    }
}

/// What all shards of a server count together.
#[derive(Debug, Default)]
pub struct Shared {
    /// Requests that are with the sequencer.
    outstanding: AtomicUsize,
    /// Open connections.
    connections: AtomicUsize,
    /// Open connections by client address. Touched only when a connection opens or closes.
    by_address: Mutex<HashMap<IpAddr, usize>>,
    /// The newest zxid that any client of this server can have seen.
    published: AtomicI64,
}

impl Shared {
    /// Counters of a server whose tree is at `zxid`.
    pub fn new(zxid: Zxid) -> Shared {
        Shared {
            published: AtomicI64::new(zxid.0),
            ..Shared::default()
        }
    }

    /// Requests of all clients that are with the sequencer.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Open connections of all shards.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

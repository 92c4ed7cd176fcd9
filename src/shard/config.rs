//! What a shard is told, and what all shards of a server share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::auth::AuthConfig;
use crate::types::{Zxid, limits};

use super::Refused;

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
    /// Requests of all clients in progress past which no connection is given more than
    /// [`limits::CONNECTION_TURN`] (`globalOutstandingLimit`).
    pub global_outstanding_limit: usize,
    /// How long a connection may stay without a session, in milliseconds
    /// (`nio.sessionlessCnxnTimeout`).
    pub sessionless_timeout_ms: u64,
    /// Who may do what.
    pub auth: AuthConfig,
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
            auth: AuthConfig::default(),
            four_letter_whitelist: vec!["srvr".to_string()],
            read_only_mode: false,
        }
    }
}

/// What a reply to getData holds beside the data, and then some.
const REPLY_OVERHEAD_BYTES: usize = 1024;

impl ShardConfig {
    /// Bytes of the largest reply: a node as large as `jute.maxbuffer` allows can always be read.
    pub fn reply_bytes_max(&self) -> usize {
        limits::REPLY_MAX.max(self.jute_max_buffer_bytes + REPLY_OVERHEAD_BYTES)
    }

    /// Bytes waiting to be sent to one connection before it is cut off.
    pub fn send_hard_max(&self) -> usize {
        let beside_a_reply = limits::CONNECTION_SEND_HARD_MAX - limits::REPLY_MAX;
        self.reply_bytes_max() + beside_a_reply
    }

    /// Whether a four-letter word is answered (Apache's `FourLetterCommands.isEnabled`).
    pub fn four_letter_allowed(&self, word: &str) -> bool {
        word == "srvr"
            || (word == "isro" && self.read_only_mode)
            || self
                .four_letter_whitelist
                .iter()
                .any(|allowed| allowed == "*" || allowed == word)
    }
}

/// What all shards of a server count together.
#[derive(Debug)]
pub struct Shared {
    /// Requests that are with the sequencer.
    outstanding: AtomicUsize,
    /// Open connections.
    connections: AtomicUsize,
    /// Open connections by client address. Touched only when a connection opens or closes.
    by_address: Mutex<HashMap<IpAddr, usize>>,
    /// The newest zxid that any client of this server can have seen.
    published: AtomicI64,
    /// What `stmk` sets and `gtmk` shows. Nothing else looks at it.
    trace_mask: AtomicI64,
}

/// What `gtmk` shows at first (Apache's `ZooTrace`: client requests, server packets, sessions,
/// warnings).
const TRACE_MASK_DEFAULT: i64 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8;

impl Shared {
    /// Counters of a server whose tree is at `zxid`.
    pub fn new(zxid: Zxid) -> Shared {
        Shared {
            outstanding: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            by_address: Mutex::default(),
            published: AtomicI64::new(zxid.0),
            trace_mask: AtomicI64::new(TRACE_MASK_DEFAULT),
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

    /// The newest zxid that any client of this server can have seen.
    pub fn published(&self) -> Zxid {
        Zxid(self.published.load(Ordering::Acquire))
    }

    /// Clients may see `zxid` from now on.
    pub(super) fn publish(&self, zxid: Zxid) {
        self.published.fetch_max(zxid.0, Ordering::AcqRel);
    }

    pub(super) fn request_sent(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn request_answered(&self) {
        let before = self.outstanding.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "every answer belongs to a request");
    }

    pub(super) fn trace_mask(&self) -> i64 {
        self.trace_mask.load(Ordering::Relaxed)
    }

    pub(super) fn set_trace_mask(&self, mask: i64) {
        self.trace_mask.store(mask, Ordering::Relaxed);
    }

    /// Counts a new connection, unless a limit forbids it.
    pub(super) fn connect(&self, peer: IpAddr, config: &ShardConfig) -> Result<(), Refused> {
        let mut by_address = self.by_address();
        let (max, max_of_one) = (config.max_cnxns, config.max_client_cnxns);
        // The lock makes checking and counting one step.
        if max > 0 && self.connections() >= max {
            return Err(Refused::TooMany(max));
        }
        let count = by_address.entry(peer).or_insert(0);
        if max_of_one > 0 && *count >= max_of_one {
            return Err(Refused::TooManyFromAddress(max_of_one));
        }
        *count += 1;
        self.connections.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a closed connection.
    pub(super) fn disconnect(&self, peer: IpAddr) {
        let mut by_address = self.by_address();
        if let Some(count) = by_address.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&peer);
            }
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // The counts are whole after every step, so a panic elsewhere does not spoil them.
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_over_all_shards() {
        let config = ShardConfig {
            max_client_cnxns: 2,
            max_cnxns: 3,
            ..ShardConfig::default()
        };
        let shared = Shared::new(Zxid::ZERO);
        let [a, b, c]: [IpAddr; 3] = [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]].map(Into::into);
        assert_eq!(shared.connect(a, &config), Ok(()));
        assert_eq!(shared.connect(a, &config), Ok(()));
        assert_eq!(
            shared.connect(a, &config),
            Err(Refused::TooManyFromAddress(2))
        );
        assert_eq!(shared.connect(b, &config), Ok(()));
        assert_eq!(shared.connect(c, &config), Err(Refused::TooMany(3)));
        shared.disconnect(a);
        assert_eq!(shared.connect(c, &config), Ok(()));
        assert_eq!(shared.connections(), 3);
    }
}

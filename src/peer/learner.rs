//! A learner's connection to its leader (Apache's `Learner.connectToLeader`).

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use super::dial::{Resolve, connect_any};
use crate::rt::clock::{self, Monotonic};

/// How often a connection is tried.
const TRIES: u32 = 5;
/// The pause after the first failure; it doubles with each. Apache waits 100 ms or a second each
/// time, which would be most of a failover.
const PAUSE_MS: u64 = 10;

/// Connects to the leader on one of its addresses: five tries, within `timeout_ms`.
pub(super) fn connect_to_leader(
    addresses: &[(String, u16)],
    resolve: &Resolve,
    timeout_ms: u64,
    is_wanted: impl Fn() -> bool,
) -> io::Result<TcpStream> {
    let clock = Monotonic::start();
    let mut pause_ms = PAUSE_MS;
    let mut tries = 0;
    loop {
        let left_ms = timeout_ms.saturating_sub(clock.now_ms()).max(1);
        let error = match connect_any(addresses, resolve, left_ms) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        tries += 1;
        if tries == TRIES || !is_wanted() || clock.now_ms() + pause_ms >= timeout_ms {
            return Err(error);
        }
        tracing::debug!(%error, tries, "the leader does not answer yet");
        clock::pause(Duration::from_millis(pause_ms));
        pause_ms *= 2;
    }
}

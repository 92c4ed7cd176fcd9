//! A learner's connection to its leader (Apache's `Learner.connectToLeader`).

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use super::dial::{Resolve, connect_any};
use crate::rt::clock::{self, Monotonic};

/// The pause after the first failure, which doubles with each, and the longest one. Apache waits
/// 100 ms or a second each time, which would be most of a failover.
const PAUSE_MS: u64 = 10;
const PAUSE_MS_MAX: u64 = 50;
/// How long to try at most. A leader of Apache's begins to listen a moment after it was elected: it
/// waits 200 ms for a better vote, and we do not always.
const PATIENCE_MS: u64 = 2000;

/// Connects to the leader on one of its addresses: again and again within `timeout_ms`,
/// and no longer than [`PATIENCE_MS`].
pub(super) fn connect_to_leader(
    addresses: &[(String, u16)],
    resolve: &Resolve,
    timeout_ms: u64,
    is_wanted: impl Fn() -> bool,
) -> io::Result<TcpStream> {
    let clock = Monotonic::start();
    let timeout_ms = timeout_ms.min(PATIENCE_MS);
    let mut pause_ms = PAUSE_MS;
    loop {
        let left_ms = timeout_ms.saturating_sub(clock.now_ms()).max(1);
        let error = match connect_any(addresses, resolve, left_ms) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        if !is_wanted() || clock.now_ms() + pause_ms >= timeout_ms {
            return Err(error);
        }
        tracing::debug!(%error, "the leader does not answer yet");
        clock::pause(Duration::from_millis(pause_ms));
        pause_ms = (2 * pause_ms).min(PAUSE_MS_MAX);
    }
}

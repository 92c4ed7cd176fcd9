//! Servers that were elected and cannot be reached. While an election link to such a server is up it
//! goes on voting, and would be elected for ever.

use std::collections::BTreeMap;

use crate::types::ServerId;

/// Whom this server passes over, and for how long. Votes decide nothing about safety, so any of them
/// may be left out.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    servers: BTreeMap<ServerId, Passed>,
}

#[derive(Debug, Default)]
struct Passed {
    /// Absent once the time is over.
    until_ms: Option<u64>,
    /// How often in a row it could not be reached.
    times: u32,
}

impl PassedOver {
    /// Passes a server over, each time in a row for twice as long: `span_ms` is the shortest and the
    /// longest time. Others may have needed longer to find out, and all must do it at once. For how
    /// many milliseconds.
    pub(super) fn add(&mut self, id: ServerId, now_ms: u64, span_ms: (u64, u64)) -> u64 {
        let passed = self.servers.entry(id).or_default();
        let doubled_ms = 1u64
            .checked_shl(passed.times)
            .map_or(u64::MAX, |times| span_ms.0.saturating_mul(times));
        let wait_ms = doubled_ms.min(span_ms.1);
        passed.times = passed.times.saturating_add(1);
        passed.until_ms = Some(now_ms.saturating_add(wait_ms));
        wait_ms
    }

    /// The server was reached.
    pub(super) fn remove(&mut self, id: ServerId) {
        self.servers.remove(&id);
    }

    /// Whether votes for this server are left out.
    pub(super) fn contains(&self, id: ServerId) -> bool {
        self.servers
            .get(&id)
            .is_some_and(|passed| passed.until_ms.is_some())
    }

    /// When the next one counts again.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        let ends = self.servers.values().filter_map(|passed| passed.until_ms);
        ends.min()
    }

    /// Lets those count again whose time is over. Whether there are any.
    pub(super) fn end_due(&mut self, now_ms: u64) -> bool {
        let mut is_any = false;
        for passed in self.servers.values_mut() {
            if passed.until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
                passed.until_ms = None;
                is_any = true;
            }
        }
        is_any
    }
}

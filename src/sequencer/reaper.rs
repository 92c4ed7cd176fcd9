//! When containers and nodes past their time to live are deleted (Apache's `ContainerManager`).

use std::collections::VecDeque;

use crate::prep::ReapConfig;
use crate::tree::Tree;

use super::Now;

/// Paces deletions: candidates are looked for once an interval and deleted at an even rate, so that
/// a great many of them do not crowd out the clients.
#[derive(Debug)]
pub struct Reaper {
    interval_ms: u64,
    pause_ms: u64,
    never_used_ms: i64,
    next_look_ms: u64,
    next_deletion_ms: u64,
    candidates: VecDeque<String>,
}

impl Reaper {
    /// A reaper that looks for the first time one interval from `now_ms`.
    pub fn new(config: &ReapConfig, now_ms: u64) -> Reaper {
        Reaper {
            interval_ms: config.check_interval_ms,
            pause_ms: 60_000 / u64::from(config.max_per_minute.max(1)),
            never_used_ms: config.max_never_used_ms,
            next_look_ms: now_ms + config.check_interval_ms,
            next_deletion_ms: now_ms,
            candidates: VecDeque::new(),
        }
    }

    /// The nodes to delete now.
    pub fn due(&mut self, tree: &Tree, now: Now) -> Vec<String> {
        if now.monotonic_ms >= self.next_look_ms {
            self.next_look_ms = now.monotonic_ms + self.interval_ms;
            // What is left of the last look would be found again.
            self.candidates = tree.reap_candidates(now.wall_ms, self.never_used_ms).into();
            self.next_deletion_ms = self.next_deletion_ms.max(now.monotonic_ms);
        }
        let mut due = Vec::new();
        while now.monotonic_ms >= self.next_deletion_ms
            && let Some(path) = self.candidates.pop_front()
        {
            due.push(path);
            self.next_deletion_ms += self.pause_ms;
        }
        due
    }
}

//! A member that finds no leader for a while lets clients read, if it may
//! (Apache's `ReadOnlyZooKeeperServer`).
//!
//! What they see is all that this server's log holds, which may be old, and of which a leader may
//! yet take the end back. They are disconnected as soon as there is a leader.

use crate::sequencer::Now;

use super::{Output, Replica, Role};

impl Replica {
    /// Whether only clients are served that make do with reading.
    pub fn is_read_only(&self) -> bool {
        self.is_serving && matches!(self.role, Role::Looking)
    }

    /// Begins to serve those who only read, if the time has come.
    pub(super) fn serve_read_only_if_due(&mut self, now: Now) {
        let Some(member) = &self.member else {
            return;
        };
        let is_due = member
            .config
            .read_only_after_ms
            .is_some_and(|after_ms| now.monotonic_ms >= member.looking_since_ms + after_ms);
        if self.is_serving || !is_due {
            return;
        }
        let zxid = self.tip();
        tracing::warn!(%zxid, "there is no leader: serving clients that only read");
        self.sequencer.serve_read_only();
        self.is_serving = true;
        self.serves_from = zxid;
        self.outputs.push_back(Output::Serve {
            seen: self.seen_zxid(),
            is_read_only: true,
        });
    }

    /// Disconnects those who only read.
    pub(super) fn end_read_only(&mut self) {
        if self.is_read_only() {
            tracing::info!("no longer serving clients that only read");
            self.is_serving = false;
            self.sequencer.halt();
            self.outputs.push_back(Output::Retire);
        }
    }
}

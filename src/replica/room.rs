//! A member of an ensemble whose disk has no room for its log.
//!
//! Apache's servers end then, and the others go on without them. So do ours, but for ending: who leads
//! lets another lead where one can, and who cannot log what is proposed takes no part, not even in
//! elections, until there is room again.

use crate::mutation::{self, Mutation};
use crate::sequencer::Now;

use super::{Replica, Role};

/// For how long a leader waits for room before it lets another lead, in milliseconds: long enough for
/// the next try to make a segment, after old files were purged.
const PATIENCE_MS: u64 = 1500;

impl Replica {
    /// Lets another lead, where one can, if there has been no room for a while. Where none can, leading
    /// on lets clients read at least.
    pub(super) fn give_way_if_due(&mut self, now: Now) {
        let lacks_room = self.wal().lacks_room() && !mutation::is(Mutation::LeadWithoutRoom);
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        if !lacks_room {
            leading.full_since_ms = None;
            return;
        }
        let since_ms = *leading.full_since_ms.get_or_insert(now.monotonic_ms);
        if now.monotonic_ms >= since_ms + PATIENCE_MS && leading.leader.can_be_replaced() {
            self.is_aside = true;
            self.look(
                now,
                "there is no room for the log, and others have a quorum",
            );
        }
    }

    /// Takes part again, if there is room for the log, and all of it is durable.
    pub(super) fn come_back_if_there_is_room(&mut self, now: Now) {
        let wal = self.wal();
        let is_durable = !wal.has_unwritten() && wal.in_flight() == 0;
        if self.is_aside && is_durable && wal.refusal().is_none() {
            tracing::info!("there is room for the log again");
            self.is_aside = false;
            self.try_vote(now);
        }
    }
}

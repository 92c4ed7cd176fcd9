//! The newest transactions of a leader, kept for learners that are a little behind (Apache's
//! `committedLog`) together with those that are not committed yet (`outstandingProposals`).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::types::Zxid;

/// Bytes of committed transactions that are kept; a learner further behind is served from disk.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// Transactions in zxid order without a gap.
#[derive(Debug)]
pub struct Proposals {
    /// The zxid before the first one kept.
    before: Zxid,
    kept: VecDeque<(Zxid, Arc<[u8]>)>,
    bytes: usize,
}

impl Proposals {
    /// None kept; the next transaction follows `tip`.
    pub fn new(tip: Zxid) -> Proposals {
        Proposals {
            before: tip,
            kept: VecDeque::new(),
            bytes: 0,
        }
    }

    /// The newest zxid.
    pub fn tip(&self) -> Zxid {
        self.kept.back().map_or(self.before, |(zxid, _)| *zxid)
    }

    /// The zxid after which all transactions are kept.
    pub fn before(&self) -> Zxid {
        self.before
    }

    /// Adds the newest one.
    pub fn push(&mut self, zxid: Zxid, payload: Arc<[u8]>) {
        assert!(zxid > self.tip(), "proposals come in zxid order");
        self.bytes += payload.len();
        self.kept.push_back((zxid, payload));
    }

    /// Forgets old ones, of those that are committed.
    pub fn trim(&mut self, committed: Zxid) {
        while self.bytes > KEPT_BYTES_MAX
            && let Some((zxid, payload)) = self.kept.front()
            && *zxid <= committed
        {
            self.before = *zxid;
            self.bytes -= payload.len();
            self.kept.pop_front();
        }
    }

    /// The newest one that is not newer than `zxid`, which is not older than [`Proposals::before`].
    pub fn newest_up_to(&self, zxid: Zxid) -> Zxid {
        assert!(zxid >= self.before, "what is older is not known here");
        let newer = self.kept.partition_point(|(kept, _)| *kept <= zxid);
        newer
            .checked_sub(1)
            .map_or(self.before, |newest| self.kept[newest].0)
    }

    /// Those after `after`, up to and with `up_to`, oldest first.
    pub fn range(&self, after: Zxid, up_to: Zxid) -> impl Iterator<Item = (Zxid, &Arc<[u8]>)> {
        let start = self.kept.partition_point(|(zxid, _)| *zxid <= after);
        let end = self.kept.partition_point(|(zxid, _)| *zxid <= up_to);
        self.kept
            .range(start..end.max(start))
            .map(|(zxid, payload)| (*zxid, payload))
    }

    /// Whether a transaction with this zxid is kept, or is the one just before.
    pub fn knows(&self, zxid: Zxid) -> bool {
        zxid == self.before
            || self
                .kept
                .binary_search_by_key(&zxid, |(zxid, _)| *zxid)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_committed_ones_are_forgotten() {
        let mut proposals = Proposals::new(Zxid(10));
        let payload: Arc<[u8]> = vec![0; KEPT_BYTES_MAX / 2].into();
        for zxid in 11..=14 {
            proposals.push(Zxid(zxid), Arc::clone(&payload));
        }
        proposals.trim(Zxid(11));
        assert_eq!((proposals.before(), proposals.tip()), (Zxid(11), Zxid(14)));
        proposals.trim(Zxid(14));
        assert_eq!(proposals.before(), Zxid(12));
        assert!(proposals.knows(Zxid(12)) && !proposals.knows(Zxid(11)));
        let range: Vec<_> = proposals
            .range(Zxid(12), Zxid(13))
            .map(|(z, _)| z.0)
            .collect();
        assert_eq!(range, [13]);
        assert_eq!(proposals.range(Zxid(14), Zxid(3)).count(), 0);
        let newest = [12, 13, 99].map(|zxid| proposals.newest_up_to(Zxid(zxid)).0);
        assert_eq!(newest, [12, 13, 14]);
    }
}

//! The tree's digest at recent zxids, and whether a leader's is the same (Apache's `DataTree.compareDigest`
//! and `digestLog`).

use std::collections::VecDeque;

use crate::types::Zxid;

/// Bytes of an encoded [`crate::jute::txn::TxnDigest`].
pub const DIGEST_LEN: usize = 12;

/// Distance of the zxids whose digests are remembered (Apache's `DIGEST_LOG_INTERVAL`).
const INTERVAL: i64 = 128;

/// How many of them are (Apache's `DIGEST_LOG_LIMIT`).
const RECENT_MAX: usize = 1024;

/// Transactions after a tree that was received for which its digest may differ from the leader's.
const DOUBTS_MAX: u32 = 1 << 16;

/// What is remembered of digests.
#[derive(Debug, Default)]
pub struct Digests {
    recent: VecDeque<(Zxid, i64)>,
    /// How many more of a leader's may differ from ours before that is an error: a tree of
    /// Apache's may hold parts of transactions that follow it.
    doubts: u32,
}

impl Digests {
    /// The tree was replaced by one from elsewhere.
    pub fn tree_replaced(&mut self) {
        self.recent.clear();
        self.doubts = DOUBTS_MAX;
    }

    /// At some recent zxids, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = (Zxid, i64)> {
        self.recent.iter().copied()
    }

    /// Remembers the digest at this zxid, if it is one of those that are.
    pub fn note(&mut self, zxid: Zxid, digest: i64) {
        if zxid.0 % INTERVAL == 0 {
            self.recent.push_back((zxid, digest));
            if self.recent.len() > RECENT_MAX {
                self.recent.pop_front();
            }
        }
    }

    /// Whether ours is wrong, which the leader's tells. After a tree that was received, only from
    /// the first transaction on that finds both equal.
    pub fn is_wrong(&mut self, ours: i64, leaders: i64) -> bool {
        if ours == leaders {
            self.doubts = 0;
            return false;
        }
        let is_doubtful = self.doubts > 0;
        self.doubts = self.doubts.saturating_sub(1);
        !is_doubtful
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_received_tree_may_differ_until_it_agrees() {
        let mut digests = Digests::default();
        assert!(digests.is_wrong(1, 2));
        digests.tree_replaced();
        assert!(!digests.is_wrong(1, 2) && !digests.is_wrong(1, 2));
        assert!(!digests.is_wrong(2, 2) && digests.is_wrong(1, 2));
        digests.tree_replaced();
        let wrong = (0..=DOUBTS_MAX).position(|_| digests.is_wrong(1, 2));
        assert_eq!(wrong, Some(DOUBTS_MAX as usize));
    }

    #[test]
    fn some_of_the_newest_are_remembered() {
        let mut digests = Digests::default();
        let last = INTERVAL * (RECENT_MAX as i64 + 9);
        for zxid in 1..=last {
            digests.note(Zxid(zxid), zxid);
        }
        let recent: Vec<_> = digests.recent().collect();
        assert_eq!(recent.len(), RECENT_MAX);
        assert_eq!(recent[0], (Zxid(INTERVAL * 10), INTERVAL * 10));
        assert_eq!(recent[RECENT_MAX - 1], (Zxid(last), last));
    }
}

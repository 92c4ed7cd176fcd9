//! What every follower must have acknowledged by now (Apache's `SyncLimitCheck`).

use std::collections::VecDeque;

use crate::types::Zxid;

/// Into how many steps the limit is cut.
const STEPS: u64 = 16;

/// The newest proposals at some times within a limit.
#[derive(Debug)]
pub struct Marks {
    limit_ms: u64,
    /// When, and which proposal; oldest first. The first one may be older than the limit.
    marks: VecDeque<(u64, Zxid)>,
}

impl Marks {
    pub fn new(limit_ms: u64) -> Marks {
        Marks {
            limit_ms,
            marks: VecDeque::new(),
        }
    }

    /// What was proposed longer ago than the limit; zero before anything was. `tip` is the newest
    /// proposal now.
    pub fn due(&mut self, tip: Zxid, now_ms: u64) -> Zxid {
        let step_ms = self.limit_ms / STEPS;
        let is_time = |&(at_ms, _): &(u64, Zxid)| now_ms >= at_ms + step_ms;
        if self.marks.back().is_none_or(is_time) {
            self.marks.push_back((now_ms, tip));
        }
        let is_old = |at_ms: u64| now_ms.saturating_sub(at_ms) > self.limit_ms;
        while self.marks.get(1).is_some_and(|&(at_ms, _)| is_old(at_ms)) {
            self.marks.pop_front();
        }
        match self.marks.front() {
            Some(&(at_ms, zxid)) if is_old(at_ms) => zxid,
            _ => Zxid::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_due_once_the_limit_is_over() {
        let mut marks = Marks::new(1600);
        assert_eq!(marks.due(Zxid(7), 1000), Zxid::ZERO);
        assert_eq!(marks.due(Zxid(8), 1100), Zxid::ZERO);
        assert_eq!(marks.due(Zxid(9), 2600), Zxid::ZERO);
        assert_eq!(marks.due(Zxid(9), 2601), Zxid(7));
        assert_eq!(marks.due(Zxid(9), 2701), Zxid(8));
        for now_ms in (2700..90_000).step_by(10) {
            marks.due(Zxid(9), now_ms);
            assert!(marks.marks.len() <= STEPS as usize + 2, "it is bounded");
        }
        assert_eq!(marks.due(Zxid(9), 90_000), Zxid(9));
    }
}

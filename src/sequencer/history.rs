//! The steps that are ordered but not yet durable.

use std::collections::VecDeque;

use crate::exchange::{Batch, Item};
use crate::types::Zxid;

/// Steps that may wait; past it the driver takes no more messages from the shards.
pub const HISTORY_MAX: usize = 64 * 1024;

/// Items of one batch at most: shards answer what they have before they take the next one.
const BATCH_ITEMS_MAX: usize = 1024;

/// A step, and the round of pings without which it must not leave.
#[derive(Debug)]
struct Step {
    item: Item,
    round: u64,
}

/// The steps in order, oldest first. An item's zxid is the tip at the time when it was added, so
/// it may leave once that zxid is committed. A sync or an error waits for a round of pings too (at a
/// learner, for the leader's word that there was one), and all behind it with it: so answers keep their
/// order.
#[derive(Debug, Default)]
pub struct History {
    waiting: VecDeque<Step>,
    confirmed_round: u64,
}

impl History {
    /// Adds the newest step, which may leave at once as far as rounds go.
    pub fn push(&mut self, item: Item) {
        self.push_after_round(item, 0);
    }

    /// Adds the newest step; it leaves when this round is confirmed.
    pub fn push_after_round(&mut self, item: Item, round: u64) {
        debug_assert!(
            self.waiting
                .back()
                .is_none_or(|last| last.item.zxid <= item.zxid)
        );
        self.waiting.push_back(Step { item, round });
    }

    /// Adds a step behind those of its zxid and before, although later ones are there already; but
    /// before one of its zxid that waits for a round.
    pub fn insert(&mut self, item: Item) {
        let before = |step: &Step| step.item.zxid < item.zxid;
        let (first, end) = (self.waiting.partition_point(before), self.behind(item.zxid));
        let mut of_its_zxid = self.waiting.range(first..end);
        let waits = of_its_zxid.position(|step| step.round > self.confirmed_round);
        let at = waits.map_or(end, |waits| first + waits);
        self.waiting.insert(at, Step { item, round: 0 });
    }

    /// Adds a step behind those of its zxid and before; it leaves when this round is confirmed.
    pub fn insert_after_round(&mut self, item: Item, round: u64) {
        let at = self.behind(item.zxid);
        self.waiting.insert(at, Step { item, round });
    }

    fn behind(&self, zxid: Zxid) -> usize {
        self.waiting.partition_point(|step| step.item.zxid <= zxid)
    }

    /// This round and all before it are confirmed.
    pub fn confirm_round(&mut self, round: u64) {
        self.confirmed_round = self.confirmed_round.max(round);
    }

    /// Drops all steps: nobody waits for them any more. Rounds are counted anew.
    pub fn clear(&mut self) {
        *self = History::default();
    }

    /// Steps that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the steps up to `committed`, as many as fit into one batch; `None` where there are
    /// none.
    pub fn take(&mut self, committed: Zxid) -> Option<Batch> {
        let may_leave =
            |step: &&Step| step.item.zxid <= committed && step.round <= self.confirmed_round;
        let most = self.waiting.iter().take(BATCH_ITEMS_MAX);
        let ready = most.take_while(may_leave).count();
        if ready == 0 {
            return None;
        }
        Some(Batch {
            items: self.waiting.drain(..ready).map(|step| step.item).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Answer, ConnId, Origin, ShardId};
    use crate::tree::Changes;

    fn item(zxid: i64) -> Item {
        Item {
            zxid: Zxid(zxid),
            changes: Changes::new(),
            answer: None,
        }
    }

    #[test]
    fn steps_leave_in_order_and_only_when_durable() {
        let mut history = History::default();
        assert!(history.take(Zxid(9)).is_none());
        for zxid in [1, 1, 2, 3, 3] {
            history.push(item(zxid));
        }
        assert!(history.take(Zxid(0)).is_none());
        let batch = history.take(Zxid(2)).expect("two transactions are durable");
        assert_eq!(
            batch
                .items
                .iter()
                .map(|item| item.zxid.0)
                .collect::<Vec<_>>(),
            [1, 1, 2]
        );
        assert_eq!(history.len(), 2);
        assert!(history.take(Zxid(2)).is_none());
    }

    #[test]
    fn a_sync_waits_for_its_round_and_all_behind_it_too() {
        let mut history = History::default();
        history.push(item(1));
        history.push_after_round(item(1), 1);
        history.push(item(2));
        let taken = |history: &mut History| history.take(Zxid(2)).map(|batch| batch.items.len());
        assert_eq!((taken(&mut history), taken(&mut history)), (Some(1), None));
        history.insert(item(1));
        history.confirm_round(1);
        assert_eq!(taken(&mut history), Some(3));
    }

    /// A sync that a leader has done was asked for before all errors that wait.
    #[test]
    fn what_is_inserted_comes_before_what_waits_for_a_round() {
        let mut history = History::default();
        let answered = |zxid, conn| {
            let origin = Origin {
                shard: ShardId(0),
                conn: ConnId(conn),
            };
            Item {
                answer: Some((origin, Answer::SessionRefused)),
                ..item(zxid)
            }
        };
        history.push(answered(1, 1));
        history.push(answered(2, 6));
        history.insert_after_round(answered(1, 3), 1);
        history.insert_after_round(answered(1, 4), 2);
        history.insert(answered(1, 2));
        history.confirm_round(2);
        history.insert(answered(1, 5));
        let batch = history.take(Zxid(2)).expect("all may leave");
        let answers = batch.items.iter().filter_map(|item| item.answer.as_ref());
        let conns: Vec<u64> = answers.map(|(origin, _)| origin.conn.0).collect();
        assert_eq!(conns, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut history = History::default();
        for _ in 0..BATCH_ITEMS_MAX + 1 {
            history.push(item(0));
        }
        assert_eq!(
            history.take(Zxid(0)).map(|batch| batch.items.len()),
            Some(BATCH_ITEMS_MAX)
        );
        assert_eq!(
            history.take(Zxid(0)).map(|batch| batch.items.len()),
            Some(1)
        );
    }
}

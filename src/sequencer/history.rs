//! The steps that are ordered but not yet durable.

use std::collections::VecDeque;

use crate::exchange::{Batch, Item};
use crate::types::Zxid;

/// Steps that may wait; past it the driver takes no more messages from the shards.
pub const HISTORY_MAX: usize = 64 * 1024;

/// Items of one batch at most: shards answer what they have before they take the next one.
const BATCH_ITEMS_MAX: usize = 1024;

/// The steps in order, oldest first. An item's zxid is the tip at the time when it was added, so
/// it may leave once that zxid is durable.
#[derive(Debug, Default)]
pub struct History {
    waiting: VecDeque<Item>,
}

impl History {
    /// Adds the newest step.
    pub fn push(&mut self, item: Item) {
        debug_assert!(
            self.waiting
                .back()
                .is_none_or(|last| last.zxid <= item.zxid)
        );
        self.waiting.push_back(item);
    }

    /// Steps that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the steps up to `durable`, as many as fit into one batch; `None` where there are none.
    pub fn take(&mut self, durable: Zxid) -> Option<Batch> {
        let ready = self.waiting.partition_point(|item| item.zxid <= durable);
        if ready == 0 {
            return None;
        }
        Some(Batch {
            items: self.waiting.drain(..ready.min(BATCH_ITEMS_MAX)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(zxid: i64) -> Item {
        Item {
            zxid: Zxid(zxid),
            changes: Vec::new(),
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

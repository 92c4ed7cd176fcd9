//! Answers that need every shard and the sequencer: each adds its part, the last one tells the
//! shard that asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::admin::{self, ShardReport, Status, Word};
use crate::exchange::{ConnId, ShardId};
use crate::rt::mailbox::Sender;
use crate::sequencer::Sequencer;
use crate::shard::AdminQuery;

use super::report;
use super::sequencer_loop::Control;
use super::shard_loop::ToShard;

/// One question under way.
pub struct Gather {
    /// What was asked.
    pub word: Word,
    /// The connection that asked.
    pub conn: ConnId,
    asker: ShardId,
    status: Mutex<Status>,
    missing: AtomicUsize,
}

/// Those who contribute to answers.
#[derive(Clone)]
pub struct Gatherers {
    shards: Arc<[Sender<ToShard>]>,
    sequencer: Sender<Control>,
    info: Arc<report::ServerInfo>,
}

impl Gatherers {
    /// All shards and the sequencer of a server.
    pub fn new(
        shards: Vec<Sender<ToShard>>,
        sequencer: Sender<Control>,
        info: Arc<report::ServerInfo>,
    ) -> Gatherers {
        Gatherers {
            shards: shards.into(),
            sequencer,
            info,
        }
    }

    /// Asks everybody. Who cannot be asked because its inbox is full is left out of the answer.
    pub fn start(&self, asker: ShardId, query: AdminQuery) {
        let gather = Arc::new(Gather {
            word: query.word,
            conn: query.conn,
            asker,
            status: Mutex::default(),
            missing: AtomicUsize::new(self.shards.len() + 1),
        });
        for shard in self.shards.iter() {
            if shard.send(ToShard::Report(Arc::clone(&gather))).is_err() {
                self.arrived(&gather);
            }
        }
        if self
            .sequencer
            .send(Control::Report(Arc::clone(&gather)))
            .is_err()
        {
            self.arrived(&gather);
        }
    }

    /// Adds a shard's part.
    pub fn add_shard(&self, gather: &Arc<Gather>, report: ShardReport) {
        lock(gather).shards.push(report);
        self.arrived(gather);
    }

    /// Adds the sequencer's part.
    pub fn add_sequencer(&self, gather: &Arc<Gather>, sequencer: &Sequencer) {
        report::add_sequencer(
            &mut lock(gather),
            gather.word,
            sequencer,
            self.info.writes(),
        );
        self.arrived(gather);
    }

    /// The text of the answer, once all parts are there.
    pub fn answer(&self, gather: &Gather) -> String {
        let mut status = lock(gather);
        self.info.complete(&mut status, gather.word);
        admin::answer(gather.word, &status)
    }

    fn arrived(&self, gather: &Arc<Gather>) {
        if gather.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let asker = &self.shards[usize::from(gather.asker.0)];
            // Where even this does not fit, the client waits until it gives up; it can ask again.
            let _ = asker.send(ToShard::Gathered(Arc::clone(gather)));
        }
    }
}

/// A panic elsewhere does not make a list of reports unreadable.
fn lock(gather: &Gather) -> std::sync::MutexGuard<'_, Status> {
    gather.status.lock().unwrap_or_else(PoisonError::into_inner)
}

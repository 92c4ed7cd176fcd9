//! Answers that need every shard and the sequencer: each adds its part, the last one tells the
//! shard that asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::admin::{self, ShardReport, Status, Word};
use crate::exchange::{ConnId, ShardId};
use crate::replica::Replica;
use crate::rt::mailbox::Sender;
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
    /// Complete answers whose asker's inbox was full. At most one a connection.
    unnoticed: Arc<Mutex<Vec<Arc<Gather>>>>,
}

/// Who contributes to an answer.
enum Part {
    Shard(usize),
    Sequencer,
}

/// A question that has not reached everybody yet.
pub struct Asking {
    gather: Arc<Gather>,
    unasked: Vec<Part>,
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
            unnoticed: Arc::default(),
        }
    }

    /// A question to everybody, who is then asked by [`Gatherers::ask`].
    pub fn start(&self, asker: ShardId, query: AdminQuery) -> Asking {
        let shards = (0..self.shards.len()).map(Part::Shard);
        let unasked: Vec<Part> = shards.chain([Part::Sequencer]).collect();
        let gather = Arc::new(Gather {
            word: query.word,
            conn: query.conn,
            asker,
            status: Mutex::default(),
            missing: AtomicUsize::new(unasked.len()),
        });
        Asking { gather, unasked }
    }

    /// Asks those who have not been; returns whether all have been now. Whose inbox is full is to
    /// be asked again later.
    pub fn ask(&self, asking: &mut Asking) -> bool {
        let gather = &asking.gather;
        asking.unasked.retain(|part| {
            let gather = Arc::clone(gather);
            let is_sent = match *part {
                Part::Shard(number) => self.shards[number].send(ToShard::Report(gather)).is_ok(),
                Part::Sequencer => self.sequencer.send(Control::Report(gather)).is_ok(),
            };
            !is_sent
        });
        asking.unasked.is_empty()
    }

    /// Goes without the parts of those who could not be asked.
    pub fn leave_out_unasked(&self, asking: Asking) {
        for _ in asking.unasked {
            self.arrived(&asking.gather);
        }
    }

    /// Adds a shard's part.
    pub fn add_shard(&self, gather: &Arc<Gather>, report: ShardReport) {
        lock(&gather.status).shards.push(report);
        self.arrived(gather);
    }

    /// Adds the sequencer's part.
    pub fn add_sequencer(&self, gather: &Arc<Gather>, replica: &Replica) {
        report::add_sequencer(
            &mut lock(&gather.status),
            gather.word,
            replica,
            self.info.writes(),
            self.info.now_ms(),
        );
        self.arrived(gather);
    }

    /// The text of the answer, once all parts are there.
    pub fn answer(&self, gather: &Gather) -> String {
        let mut status = lock(&gather.status);
        self.info.complete(&mut status, gather.word);
        admin::answer(gather.word, &status)
    }

    fn arrived(&self, gather: &Arc<Gather>) {
        if gather.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let asker = &self.shards[usize::from(gather.asker.0)];
            if asker.send(ToShard::Gathered(Arc::clone(gather))).is_err() {
                lock(&self.unnoticed).push(Arc::clone(gather));
            }
        }
    }

    /// Complete answers that did not fit the asker's inbox; it is to look for them now and then.
    pub fn take_unnoticed(&self, asker: ShardId) -> Vec<Arc<Gather>> {
        let mut unnoticed = lock(&self.unnoticed);
        let is_own = |gather: &mut Arc<Gather>| gather.asker == asker;
        unnoticed.extract_if(.., is_own).collect()
    }
}

/// A panic elsewhere does not make a list of reports unreadable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::exchange::Batch;
    use crate::rt::clock::Monotonic;
    use crate::rt::mailbox::{self, RingBell, RingReceiver};
    use crate::shard::Shared;
    use crate::types::Zxid;

    fn gatherers(shards: Vec<Sender<ToShard>>, sequencer: Sender<Control>) -> Gatherers {
        let config = Config::default();
        let folder = std::path::Path::new("/data");
        let folders = report::Folders {
            snapshot_dir: folder.into(),
            log_dir: folder.into(),
        };
        let shared = Arc::new(Shared::new(Zxid::ZERO));
        let clock = Monotonic::start();
        let writes = Arc::default();
        let info = report::ServerInfo::new(&config, &folders, clock, shared, writes);
        Gatherers::new(shards, sequencer, Arc::new(info))
    }

    fn taken(inbox: &RingReceiver<ToShard>) -> Arc<Gather> {
        match inbox.try_receive() {
            Some(ToShard::Report(gather) | ToShard::Gathered(gather)) => gather,
            _ => panic!("a question or an answer"),
        }
    }

    #[test]
    fn who_has_a_full_inbox_is_asked_again_and_told_late() {
        let bell = RingBell::new().expect("descriptors are left");
        let (to_first, first) = mailbox::to_ring(1, &bell);
        let (to_second, second) = mailbox::to_ring(1, &bell);
        let (to_sequencer, sequencer) = mailbox::to_ring(1, &bell);
        let batch = || ToShard::Batch(Arc::new(Batch { items: Vec::new() }));
        assert!(to_second.send(batch()).is_ok());
        let gatherers = gatherers(vec![to_first.clone(), to_second], to_sequencer);
        let query = AdminQuery {
            word: Word::Mntr,
            conn: ConnId(7),
        };
        let mut asking = gatherers.start(ShardId(0), query);
        assert!(!gatherers.ask(&mut asking), "the second has no room");
        assert!(second.try_receive().is_some());
        assert!(gatherers.ask(&mut asking), "it has now");

        gatherers.add_shard(&taken(&first), ShardReport::default());
        assert!(to_first.send(batch()).is_ok(), "the asker has no room");
        gatherers.add_shard(&taken(&second), ShardReport::default());
        let Some(Control::Report(gather)) = sequencer.try_receive() else {
            panic!("it is asked");
        };
        assert!(gatherers.take_unnoticed(ShardId(0)).is_empty());
        gatherers.arrived(&gather);
        assert!(gatherers.take_unnoticed(ShardId(1)).is_empty(), "not its");
        let [late] = &gatherers.take_unnoticed(ShardId(0))[..] else {
            panic!("it is told late");
        };
        assert_eq!(late.conn, ConnId(7));
        assert!(gatherers.answer(late).contains("not currently serving"));
    }

    #[test]
    fn who_stays_full_is_left_out() {
        let bell = RingBell::new().expect("descriptors are left");
        let (to_first, first) = mailbox::to_ring(2, &bell);
        let (to_sequencer, _sequencer) = mailbox::to_ring(1, &bell);
        let filled = to_sequencer.send(Control::Stop);
        assert!(filled.is_ok());
        let gatherers = gatherers(vec![to_first], to_sequencer);
        let query = AdminQuery {
            word: Word::Mntr,
            conn: ConnId(7),
        };
        let mut asking = gatherers.start(ShardId(0), query);
        assert!(!gatherers.ask(&mut asking));
        gatherers.leave_out_unasked(asking);
        gatherers.add_shard(&taken(&first), ShardReport::default());
        assert!(matches!(first.try_receive(), Some(ToShard::Gathered(_))));
    }
}

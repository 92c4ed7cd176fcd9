//! What one write costs the sequencer, without the disk: preparing, applying at the tip, encoding
//! for the log, and publishing; in batches as a group commit makes them.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use zkore::exchange::{Answer, ConnId, Origin, Request, ShardId, ToSequencer};
use zkore::jute::proto::{CreateRequest, DeleteRequest, SetDataRequest};
use zkore::jute::{Record, op};
use zkore::metrics::WriteMetrics;
use zkore::prep::{PrepConfig, ReapConfig};
use zkore::sequencer::{Log, Now, Sequencer, SequencerConfig, SnapshotPolicy};
use zkore::session::{SessionConfig, SessionTable};
use zkore::tree::{Tree, TreeConfig, View, open_acl};
use zkore::types::{SessionId, Zxid};

#[global_allocator]
static ALLOCATOR: zkore::rt::allocator::Allocator = zkore::rt::allocator::Allocator;

const ORIGIN: Origin = Origin {
    shard: ShardId(0),
    conn: ConnId(1),
};
const NODES: usize = 10_000;
/// Writes of one group commit.
const BATCH: usize = 16;

/// A log that takes everything and remembers how far it got.
#[derive(Default)]
struct Taken {
    last: Zxid,
    bytes: usize,
}

impl Log for Taken {
    fn has_room(&mut self, _: usize) -> bool {
        true
    }

    fn append(&mut self, zxid: Zxid, payload: &[u8]) {
        self.last = zxid;
        self.bytes += black_box(payload).len();
    }
}

struct World {
    sequencer: Sequencer,
    view: View,
    log: Taken,
    session: SessionId,
    now: Now,
}

impl World {
    fn new() -> World {
        let tree = Tree::new(TreeConfig {
            extended_types: false,
            digest_enabled: true,
        });
        let view = tree.view(Zxid::ZERO);
        let sessions = SessionTable::new(
            SessionConfig {
                tick_ms: 2000,
                server_id: 1,
                shards: 1,
            },
            1,
        );
        let config = SequencerConfig {
            prep: PrepConfig::default(),
            reap: ReapConfig::default(),
            digest_enabled: true,
        };
        // A snapshot would hold a view for ever here.
        let never = SnapshotPolicy::new(Some(u32::MAX), None, 1);
        let now = Now {
            monotonic_ms: 1,
            wall_ms: 1_700_000_000_000,
        };
        let metrics = Arc::new(WriteMetrics::new());
        let sequencer = Sequencer::new(config, tree, sessions, never, metrics, now);
        let log = Taken::default();
        let mut world = World {
            sequencer,
            view,
            log,
            session: SessionId::NONE,
            now,
        };
        let open = ToSequencer::OpenSession {
            origin: ORIGIN,
            timeout_ms: 30_000,
        };
        world.sequencer.handle(open, world.now, &mut world.log);
        world.publish();
        for at in 0..NODES {
            world.write(op::CREATE, create(&path_of(at)).to_vec());
        }
        world.publish();
        world
    }

    fn write(&mut self, op: i32, body: Vec<u8>) {
        let request = Request {
            origin: ORIGIN,
            session: self.session,
            xid: 1,
            op,
            body: body.into(),
            identities: Arc::new([]),
            received_us: 0,
        };
        self.sequencer
            .handle(ToSequencer::Request(request), self.now, &mut self.log);
    }

    /// As if the log had become durable, and a shard had walked what was published.
    fn publish(&mut self) {
        self.sequencer.commit(self.log.last);
        while let Some(batch) = self.sequencer.poll_publish() {
            for item in &batch.items {
                if let Some((_, Answer::Attached { session, .. })) = item.answer {
                    self.session = session;
                }
            }
            black_box(batch);
        }
        self.view.advance(self.log.last);
        self.sequencer.reclaim(usize::MAX);
    }
}

fn path_of(at: usize) -> String {
    format!("/bench-of-the-sequencer-{at:016}")
}

fn create(path: &str) -> CreateRequest<'_> {
    CreateRequest {
        path,
        data: Some(&[7; 100]),
        acl: vec![open_acl()],
        flags: 0,
    }
}

fn writes(criterion: &mut Criterion) {
    let mut world = World::new();
    let mut at = 0;
    criterion.bench_function("sequencer/16 setData of 100 bytes", |bench| {
        bench.iter(|| {
            for _ in 0..BATCH {
                at = (at + 7919) % NODES;
                let path = path_of(at);
                let set = SetDataRequest {
                    path: &path,
                    data: Some(&[9; 100]),
                    version: -1,
                };
                world.write(op::SET_DATA, set.to_vec());
            }
            world.publish();
        });
    });
    let mut next = NODES;
    criterion.bench_function("sequencer/16 creates and 16 deletes", |bench| {
        bench.iter(|| {
            let first = next;
            next += BATCH;
            for at in first..next {
                world.write(op::CREATE, create(&path_of(at)).to_vec());
            }
            for at in first..next {
                world.write(
                    op::DELETE,
                    DeleteRequest {
                        path: &path_of(at),
                        version: -1,
                    }
                    .to_vec(),
                );
            }
            world.publish();
        });
    });
    let count = world.sequencer.tree().stats().node_count();
    assert_eq!(count, NODES as u64 + 5, "every write was made");
}

criterion_group!(benches, writes);
criterion_main!(benches);

//! The tree at a million znodes (paths of 40 bytes, data of 100) against what ARCHITECTURE.md asks:
//! a read in 0.25 µs, an update in 1.0 µs, 150 bytes a znode beyond path and data, the names of
//! 10,000 children in 1 ms. Small when run as a test.
//!
//! Beside it stands what no tree of versions can beat: a hash map of the same paths and data, for
//! one thread, without Stat, versions or views. On a busy machine the ratio of the two says more
//! than either.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hashbrown::HashMap;
use zkore::jute::data::Acl;
use zkore::jute::txn::{CreateTxn, DeleteTxn, SetDataTxn, Txn, TxnHeader};
use zkore::rt::allocator::Allocator;
use zkore::tree::{Tree, TreeConfig, View, open_acl};
use zkore::types::Zxid;

const DIRS: usize = 1000;
const PATH_LEN: usize = 40;
const DATA_LEN: usize = 100;
/// Transactions between two moves of the view, as a group commit makes them.
const BATCH: i64 = 16;

/// Counts the bytes that are allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the server's allocator does the work; counting does not touch what it returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the server's allocator asks for.
        unsafe { Allocator.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { Allocator.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { Allocator.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Random numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Paths one after the other, so that fetching the next one costs the bench little.
struct Paths {
    text: String,
    next: usize,
}

impl Paths {
    fn shuffled(count: usize) -> Paths {
        let mut order: Vec<usize> = (0..count).collect();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for at in (1..count).rev() {
            order.swap(at, random.below(at + 1));
        }
        let text = order.into_iter().map(path_of).collect();
        Paths { text, next: 0 }
    }

    fn next(&mut self) -> &str {
        if self.next == self.text.len() {
            self.next = 0;
        }
        let from = self.next;
        self.next += PATH_LEN;
        &self.text[from..self.next]
    }
}

fn dir_of(at: usize) -> String {
    format!("/service-{:09}", at % DIRS)
}

fn path_of(at: usize) -> String {
    let path = format!("{}/instance-{at:012}", dir_of(at));
    debug_assert_eq!(path.len(), PATH_LEN);
    path
}

/// A tree, the view of its only reader, and the zxid it has come to.
struct World {
    tree: Tree,
    view: View,
    zxid: i64,
    acl: Vec<Acl>,
}

impl World {
    fn new() -> World {
        let tree = Tree::new(TreeConfig {
            extended_types: false,
            digest_enabled: true,
        });
        World {
            view: tree.view(Zxid(0)),
            tree,
            zxid: 0,
            acl: vec![open_acl()],
        }
    }

    fn apply(&mut self, txn: &Txn<'_>) {
        self.zxid += 1;
        let header = TxnHeader {
            client_id: 1,
            cxid: 1,
            zxid: self.zxid,
            time: 1_700_000_000_000 + self.zxid,
            kind: txn.kind(),
        };
        black_box(self.tree.apply(&header, txn));
        if self.zxid % BATCH == 0 {
            self.view.advance(Zxid(self.zxid));
            self.tree.reclaim(4 * BATCH as usize);
        }
    }

    fn create(&mut self, path: &str) {
        let txn = Txn::Create {
            txn: CreateTxn {
                path: path.into(),
                data: Some(&[7; DATA_LEN]),
                acl: self.acl.clone(),
                ephemeral: false,
                parent_cversion: -1,
            },
            is_create2: false,
        };
        self.apply(&txn);
    }

    fn delete(&mut self, path: &str) {
        self.apply(&Txn::Delete {
            txn: DeleteTxn { path },
            is_container: false,
        });
    }

    fn set_data(&mut self, path: &str, data: &[u8]) {
        self.apply(&Txn::SetData(SetDataTxn {
            path,
            data: Some(data),
            version: 1,
        }));
    }
}

/// Fills a tree and says what a node costs.
fn filled(count: usize) -> World {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut world = World::new();
    for dir in 0..DIRS {
        world.create(&dir_of(dir));
    }
    for node in 0..count {
        world.create(&path_of(node));
    }
    world.view.advance(Zxid(world.zxid));
    while world.tree.reclaim(usize::MAX) > 0 {}
    let allocated = ALLOCATED.load(Ordering::Relaxed) - before;
    let beyond = allocated as f64 / count as f64 - (PATH_LEN + DATA_LEN) as f64;
    println!("{count} znodes: {beyond:.1} bytes each beyond path and data");
    world
}

fn tree(criterion: &mut Criterion) {
    // Cargo passes this to benches that are to be measured, not to those that are only tried.
    let is_measured = std::env::args().any(|arg| arg == "--bench");
    let count = if is_measured { 1_000_000 } else { 5_000 };
    let mut world = filled(count);
    let mut paths = Paths::shuffled(count);

    criterion.bench_function("tree/read", |bench| {
        bench.iter(|| {
            let node = world.view.node(paths.next()).expect("it was created");
            node.data().map(|data| data[0])
        });
    });
    criterion.bench_function("tree/read and stat", |bench| {
        bench.iter(|| {
            let node = world.view.node(paths.next()).expect("it was created");
            (node.stat(), node.data().map(|data| data[0]))
        });
    });
    criterion.bench_function("tree/setData", |bench| {
        bench.iter(|| world.set_data(paths.next(), &[8; DATA_LEN]));
    });
    criterion.bench_function("tree/create and delete", |bench| {
        let mut at = count;
        bench.iter_batched(
            || {
                at += 1;
                path_of(at)
            },
            |path| {
                world.create(&path);
                world.delete(&path);
            },
            BatchSize::SmallInput,
        );
    });

    baseline(criterion, count, &mut paths);

    for child in 0..10_000 {
        world.create(&format!("/zookeeper/quota/child-{child:06}"));
    }
    world.view.advance(Zxid(world.zxid));
    criterion.bench_function("tree/names of 10,000 children", |bench| {
        bench.iter(|| {
            let node = world
                .view
                .node("/zookeeper/quota")
                .expect("it is always there");
            let mut bytes = 0;
            node.for_each_child(&mut |name| bytes += black_box(name).len());
            bytes
        });
    });
}

/// The same paths and data in a plain map.
fn baseline(criterion: &mut Criterion, count: usize, paths: &mut Paths) {
    let mut map: HashMap<Box<str>, Box<[u8]>, foldhash::fast::FixedState> = HashMap::default();
    for node in 0..count {
        map.insert(path_of(node).into(), [7; DATA_LEN].into());
    }
    criterion.bench_function("tree/baseline: hashbrown, read", |bench| {
        bench.iter(|| map.get(paths.next()).expect("it was inserted")[0]);
    });
    criterion.bench_function("tree/baseline: hashbrown, update", |bench| {
        bench.iter(|| {
            let data = map.get_mut(paths.next()).expect("it was inserted");
            // A version is made anew, so is this.
            *data = [8; DATA_LEN].into();
        });
    });
}

criterion_group!(benches, tree);
criterion_main!(benches);

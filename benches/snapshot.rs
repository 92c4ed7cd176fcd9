//! Writing and loading a snapshot of a million nodes; a thousand where it runs as a test.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use zkore::jute::data::StatPersisted;
use zkore::rt::disk::StdDisk;
use zkore::snapshot;
use zkore::tree::{Tree, TreeConfig, TreeLoader, open_acl};
use zkore::types::{SessionId, Zxid};

#[global_allocator]
static ALLOCATOR: zkore::rt::allocator::Allocator = zkore::rt::allocator::Allocator;

const NODES: usize = 1_000_000;
const CHILDREN: usize = 1000;
const ZXID: Zxid = Zxid(0x1_0000_0000);

fn config() -> TreeConfig {
    TreeConfig {
        extended_types: false,
        digest_enabled: true,
    }
}

/// Directories of a thousand nodes, each node with a path of about 40 bytes and 100 bytes of data.
fn tree_of(nodes: usize) -> Tree {
    let mut loader = TreeLoader::new(config());
    let (stat, acl, data) = (StatPersisted::default(), [open_acl()], [7; 100]);
    let mut add = |path: &str| {
        let added = loader.add(path, &stat, Some(&data), &acl);
        added.expect("parents come first");
    };
    add("/");
    for dir in 0..nodes.div_ceil(CHILDREN) {
        let dir = format!("/services/region-{dir:010}");
        if dir.ends_with("0000000000") {
            add("/services");
        }
        add(&dir);
        for child in 0..CHILDREN {
            add(&format!("{dir}/n-{child:010}"));
        }
    }
    loader.finish(ZXID, None).expect("sound")
}

fn write_and_load(criterion: &mut Criterion) {
    let is_test = !std::env::args().any(|arg| arg == "--bench");
    let nodes = if is_test { CHILDREN } else { NODES };
    let tree = tree_of(nodes);
    let view = tree.view(ZXID);
    let sessions: Vec<_> = (0..1000).map(|id| (SessionId(id), 10_000)).collect();
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");

    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10);
    group.throughput(Throughput::Elements(nodes as u64));
    group.bench_function("write", |bencher| {
        bencher.iter(|| snapshot::write(&StdDisk, place.path(), &view, &sessions));
    });
    snapshot::write(&StdDisk, place.path(), &view, &sessions).expect("written");
    group.bench_function("load", |bencher| {
        bencher.iter(|| {
            let loaded = snapshot::load(&StdDisk, place.path(), config()).expect("loaded");
            loaded.snapshot.expect("one").info.nodes
        });
    });
    group.finish();
}

criterion_group!(benches, write_and_load);
criterion_main!(benches);

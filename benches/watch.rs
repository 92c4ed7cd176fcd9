//! Firing watches while 100,000 are registered.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

use zkore::exchange::ConnId;
use zkore::tree::{AclList, Change, ChangeKind, open_acl};
use zkore::watch::{AddWatchMode, Watches};

const WATCHES: usize = 100_000;
const CONNECTIONS: usize = 1_000;

fn path(number: usize) -> String {
    format!("/services/region-{}/instance-{number:08}", number % 100)
}

fn change(path: String, kind: ChangeKind) -> Change {
    let acl: AclList = vec![open_acl()].into();
    Change {
        path: path.into(),
        kind,
        acl: acl.clone(),
        parent_acl: (kind != ChangeKind::DataChanged).then_some(acl),
    }
}

/// One watch a path, spread over the connections.
fn registered() -> Watches {
    let mut watches = Watches::new();
    for number in 0..WATCHES {
        watches.add_data(&path(number), ConnId((number % CONNECTIONS) as u64));
    }
    watches
}

fn fire(watches: &mut Watches, change: &Change) {
    watches.changed(change, &mut |conn, event, path, _| {
        black_box((conn, event, path));
    });
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("100,000 watches");
    group.sample_size(10);

    let mut watches = registered();
    let unwatched = change("/elsewhere".into(), ChangeKind::DataChanged);
    group.bench_function("change nobody watches", |bencher| {
        bencher.iter(|| fire(&mut watches, &unwatched));
    });
    let mut number = 0;
    group.bench_function("fire one and set it again", |bencher| {
        bencher.iter(|| {
            number = (number + 7919) % WATCHES;
            let path = path(number);
            let conn = ConnId((number % CONNECTIONS) as u64);
            fire(&mut watches, &change(path.clone(), ChangeKind::DataChanged));
            watches.add_data(&path, conn);
        });
    });
    watches.add("/", ConnId(7), AddWatchMode::PersistentRecursive);
    let deep = change(path(1) + "/a/b/c/d", ChangeKind::Created);
    group.bench_function("change below a recursive watch", |bencher| {
        bencher.iter(|| fire(&mut watches, &deep));
    });
    group.bench_function("register all", |bencher| bencher.iter(registered));
    group.bench_function("fire all on one path", |bencher| {
        let everybody = || {
            let mut watches = Watches::new();
            for conn in 0..WATCHES {
                watches.add_data("/config", ConnId(conn as u64));
            }
            watches
        };
        let config = change("/config".into(), ChangeKind::DataChanged);
        bencher.iter_batched_ref(
            everybody,
            |watches| fire(watches, &config),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("close a connection with all", |bencher| {
        let one = || {
            let mut watches = Watches::new();
            for number in 0..WATCHES {
                watches.add_data(&path(number), ConnId(1));
            }
            watches
        };
        bencher.iter_batched_ref(
            one,
            |watches| watches.remove_connection(ConnId(1)),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(watch, benches);
criterion_main!(watch);
